/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * hostport - what a user or a client names: an address, a name or a unix path,
 * with a port. A value; owns nothing.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"

enum host_kind {
	HOST_NONE,
	HOST_ADDR,    /* .addr */
	HOST_NAME,    /* .text: LDH, '_' and '.', at most 253, no trailing dot, lower case */
	HOST_UNIX,    /* .text: an absolute path */
	HOST_SERVICE, /* .text: a service's DNS label */
};

enum {
	HOST_DNS_MAX = 253,  /* characters of a name: RFC 1035, 2.3.4 (255 on the wire) */
	HOST_LABEL_MAX = 63, /* RFC 1035, 2.3.4 */
	HOST_UNIX_MAX = 107, /* sun_path less its NUL */
	HOST_TEXT_MAX = 255,
};

struct hostport {
	enum host_kind kind;
	uint16_t port;                /* 0 where the kind has none */
	struct addr addr;             /* with the same port; as written, not yet addr_canonical() */
	char text[HOST_TEXT_MAX + 1]; /* NUL-terminated */
};

enum { HOSTPORT_TEXT_MAX = 300 };

/**
 * host_name_is_valid() - a DNS name as HOST_NAME holds it
 * Lower case, no trailing dot (the callers below fold and strip first). A hyphen may stand
 * anywhere in a label: such names exist and resolve. A name whose last label is all digits or
 * 0x-hex is none: a resolver would read it as an address.
 */
bool host_name_is_valid(const char *text, size_t size);
/* A DNS label: [a-z0-9-], 1..63, no '-' at either end. */
bool host_label_is_valid(const char *text, size_t size);

/**
 * hostport_from_name() - classify what a client put where a name belongs
 * An IP literal (IPv6 also in brackets) becomes HOST_ADDR, as Chromium sends them; else a name
 * (lower-cased, trailing dot removed). A numeric disguise ("0x7f.1", "2130706433", "127.1"),
 * i.e. a name whose last label is all digits or 0x-hex, is refused.
 * Return: 0 or -EINVAL; @out unchanged then.
 */
CV_NODISCARD int hostport_from_name(const char *text, size_t size, uint16_t port,
                                    struct hostport *out);

/**
 * hostport_parse() - "HOST:PORT", "[V6]:PORT", "PORT" (localhost), "unix:/path", "service:NAME"
 * @default_port: used when the text has none and is a name or bracketed/plain address;
 *                0: a port is required
 * A bare PORT is the name `localhost`. Port 0 is accepted: whether it means anything is the
 * caller's business.
 * Return: 0 or -EINVAL with *@why a static sentence for the user.
 */
CV_NODISCARD int hostport_parse(const char *text, uint16_t default_port, struct hostport *out,
                                const char **why);
/* The inverse; returns @out. */
const char *hostport_format(const struct hostport *h, char out[HOSTPORT_TEXT_MAX]);
bool hostport_equal(const struct hostport *a, const struct hostport *b);

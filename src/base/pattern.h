/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * pattern - an allow pattern of the configuration, `HOST:PORTS[/udp]` or
 * `unix:/path[*]`, and its match. The rule is the user's contract: `*`, wide
 * networks and names never include loopback, link-local or multicast, which must
 * be named by address or `localhost`.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/hostport.h"

enum pattern_kind {
	PATTERN_ANY,       /* `*` */
	PATTERN_NAME,      /* an exact name */
	PATTERN_SUFFIX,    /* `*.suffix`; .text keeps "suffix" */
	PATTERN_NET,       /* .net / .bits; an address has all its bits */
	PATTERN_LOCALHOST, /* 127.0.0.1 and ::1 */
	PATTERN_UNIX,      /* .text; .is_prefix when it ended in `*` */
};

enum { PATTERN_PORTS_MAX = 16 };

struct pattern {
	enum pattern_kind kind;
	bool is_udp;
	bool is_prefix;
	uint8_t bits;
	uint8_t range_count; /* 0: every port (`*`) */
	struct {
		uint16_t first, last;
	} ports[PATTERN_PORTS_MAX];
	struct addr net;
	char text[HOST_TEXT_MAX + 1];
};

/**
 * pattern_parse() - read an allow pattern
 * Names are folded to lower case. An IPv6 address or network stands in brackets. Bits of a
 * network beyond its length are cleared. What embeds IPv4 is reduced to IPv4, as the addresses
 * it is compared with are.
 * Return: 0, or -EINVAL with *@why a static sentence and @out unchanged.
 */
CV_NODISCARD int pattern_parse(const char *text, struct pattern *out, const char **why);
/* HOST alone, as routes have it (`*.office.example`, `10.0.0.0/8`): every port. */
CV_NODISCARD int pattern_parse_host(const char *text, struct pattern *out, const char **why);

/* True when the name matches by name (exact, suffix or `*`), whatever it resolves to. */
bool pattern_match_name(const struct pattern *p, const char *name);
bool pattern_match_port(const struct pattern *p, uint16_t port, bool is_udp);
/**
 * pattern_match_dial() - may this resolved address be dialled under this pattern?
 * @name:  what the client asked for, or NULL for a literal
 * @addr:  the address about to be dialled, with its port; canonical
 * PATTERN_ANY, PATTERN_NAME, PATTERN_SUFFIX and networks wider than the special range itself
 * refuse loopback, link-local, multicast and invalid addresses.
 */
bool pattern_match_dial(const struct pattern *p, const char *name, const struct addr *addr,
                        bool is_udp);
/* A prefix never matches a path with an empty, `.` or `..` component: it could lead elsewhere. */
bool pattern_match_unix(const struct pattern *p, const char *path);

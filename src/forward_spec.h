/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * forward_spec - what `culvert forward` takes: ssh's grammar of -L (ssh(1), OpenSSH 9).
 *
 *	[BIND:]PORT:HOST:HOSTPORT    [BIND:]PORT:/SOCKET
 *	/SOCKET:HOST:HOSTPORT        /SOCKET:/SOCKET
 *
 * IPv6 addresses in brackets; a backslash takes the next character as it is; BIND `*` or empty is
 * every address, without BIND (and for `localhost`) it is 127.0.0.1 and ::1. Beyond ssh: `service`
 * as HOST makes HOSTPORT the name of a service of the peer.
 *
 * Knows texts only. Any bytes give a verdict.
 */

#include "base/compiler.h"
#include "base/hostport.h"

enum { FORWARD_SPEC_WHY_MAX = 256 };

struct forward_spec {
	/* "*:PORT", or a text for hostport_parse(): a bare port, an address and port, unix:/path */
	char listen[HOSTPORT_TEXT_MAX];
	char target[HOSTPORT_TEXT_MAX]; /* for hostport_parse() */
};

/* 0, or -EINVAL with @why, a sentence for the user; @out is unchanged then. */
CV_NODISCARD int forward_spec_parse(const char *text, struct forward_spec *out,
                                    char why[FORWARD_SPEC_WHY_MAX]);
/* The part before the target alone: [BIND:]PORT or /SOCKET. */
CV_NODISCARD int forward_spec_parse_listen(const char *text, char out[HOSTPORT_TEXT_MAX],
                                           char why[FORWARD_SPEC_WHY_MAX]);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * sniff - which protocol a proxy's client speaks, by its first byte.
 *
 * SOCKS5 begins with 5, SOCKS4 with 4, HTTP with the capital letter of a method;
 * no two overlap. Everything else (TLS, another tool) is unknown and closed at
 * once, so that a browser lured here learns nothing. Knows no protocol further.
 */

#include "base/compiler.h"
#include "base/rd.h"

enum sniff_kind {
	SNIFF_NEED_MORE,
	SNIFF_SOCKS5,
	SNIFF_SOCKS4,
	SNIFF_HTTP,
	SNIFF_UNKNOWN,
};

/* Looks at the first byte of @in and consumes nothing. */
CV_NODISCARD enum sniff_kind sniff_first_byte(const struct rd *in);

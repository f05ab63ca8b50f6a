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
#include "base/wr.h"

enum sniff_kind {
	SNIFF_NEED_MORE,
	SNIFF_SOCKS5,
	SNIFF_SOCKS4, /* recognised and refused in this version */
	SNIFF_HTTP,   /* recognised and refused in this version */
	SNIFF_UNKNOWN,
};

enum { SNIFF_REFUSAL_MAX = 320 };

/* Looks at the first byte of @in and consumes nothing. */
CV_NODISCARD enum sniff_kind sniff_first_byte(const struct rd *in);

/**
 * sniff_write_refusal() - append what a client of this kind understands as "no"
 * The caller writes it and closes. Nothing is appended for SNIFF_UNKNOWN and for
 * the kinds that are not refused. Fits in SNIFF_REFUSAL_MAX bytes.
 */
void sniff_write_refusal(struct wr *w, enum sniff_kind kind);

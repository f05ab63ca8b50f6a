/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * binding - a server's answers to STUN clients: which socket an answer leaves from, what it tells,
 * and who gets none. Keeps nothing of anybody but one bucket a source, in a table of fixed size.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/ratelimit.h"
#include "base/time.h"
#include "tunnel/stun.h"

enum binding_mode {
	BINDING_OFF,
	BINDING_PADDED, /* no answer is larger than its request; silent where that cannot be */
	BINDING_ANY,    /* unpadded requests and those of RFC 3489 too: up to 7 times as large */
};

enum {
	BINDING_PLACES_MAX = 32,
	BINDING_SOURCES_MAX = 16384, /* 10/s each: a table that is full is free again in 2 s */
	BINDING_RATE = 10,           /* answers per second and source (/32, /64) */
	BINDING_BURST = 64, /* what three clients ask that want to know all about their NAT */
};

/* A socket of ours. */
struct binding_place {
	uint16_t socket;
	struct addr local; /* as bound: its address may be that of all interfaces */
	struct addr real;  /* how it is known outside; ADDR_NONE: not known */
};

struct binding {
	enum binding_mode mode;
	struct binding_place places[BINDING_PLACES_MAX];
	unsigned count;
	struct source_limit sources;
};

/* 0, -ENOMEM. */
CV_NODISCARD int binding_init(struct binding *b, enum binding_mode mode, uint64_t seed);
void binding_deinit(struct binding *b);
/* Copied; what is beyond BINDING_PLACES_MAX is left out. */
void binding_set_places(struct binding *b, const struct binding_place *list, unsigned count);

enum binding_verdict {
	BINDING_ANSWERED,
	BINDING_MALFORMED, /* no request at all */
	BINDING_LIMITED,
	BINDING_SILENT, /* off, or too small for its answer, or nothing that can be done */
};

struct binding_answer {
	uint8_t bytes[STUN_ANSWER_MAX];
	size_t size;
	uint16_t socket;
	struct addr to;
};

/* What to do about a datagram that came from @from to @socket. @out: its .socket and .to are set
 * by the caller to these two, and changed with the rest by BINDING_ANSWERED alone. */
enum binding_verdict binding_on_datagram(struct binding *b, cv_time now, const uint8_t *bytes,
                                         size_t size, struct binding_answer *out);

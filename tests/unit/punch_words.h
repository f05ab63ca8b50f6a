/* SPDX-License-Identifier: MIT */
#pragma once

/* punch_words - what the tests of punching say of its world; after cmocka.h. */

#include "tests/unit/punch_world.h"

enum { SMALLER = 0, LARGER = 1 };

static struct punch_world w;

static inline void meet(unsigned side, struct nat_profile mine, struct nat_profile theirs)
{
	world_init(&w, side, 5);
	world_know(&w, &mine);
	world_says_nat(&w, &theirs);
}

static inline struct wire_punch asks(enum punch_kind kind, uint16_t round)
{
	struct wire_punch p = {
		.kind = (uint8_t)kind,
		.round = round,
		.address = w.peer,
	};

	p.address.port = 20000;
	if (kind == PUNCH_RANGE) {
		p.port_high = 20999;
	} else {
		p.step = 1;
		p.count = 8;
	}
	return p;
}

static inline const struct world_probe *probe(uint64_t i)
{
	assert_true(i < w.probe_count);
	return &w.probes[i % WORLD_PROBES];
}

static inline enum punch_role role_now(void)
{
	const struct punch_attempt *a = world_attempt(&w);

	return a ? (enum punch_role)a->role : PUNCH_NOBODY;
}

static inline void is_over(void)
{
	assert_null(world_attempt(&w));
	assert_int_equal(w.open, 0);
	assert_int_equal(w.e->extras.used, 0);
	assert_null(w.s->punch_doing);
}

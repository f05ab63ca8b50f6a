/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * path_world - one path under virtual time: a run collects the instants, sizes and flags of its
 * probes and answers them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tunnel/path.h"

enum { PROBES_MAX = 64 };
#define START CV_SEC(500)
#define RTT CV_MS(30)

struct probe {
	cv_time at;
	struct path_probe probe;
};

struct world {
	struct path p;
	struct rng_seeded seeded;
	struct rng rng;
	cv_time now;
	bool is_busy, is_idle_path; /* streams are open; data go elsewhere */
	struct probe probes[PROBES_MAX];
	unsigned count;
};

static struct world w;

static inline struct origin direct(void)
{
	return (struct origin){ .addr = addr_v4(198, 51, 100, 7, 4000) };
}

static inline struct origin relay(void)
{
	return (struct origin){ .is_relay = true, .server = 2, .channel = 77 };
}

static inline void begin(const struct origin *to)
{
	memset(&w, 0, sizeof(w));
	rng_seeded_init(&w.seeded, 3);
	w.rng = rng_from_seeded(&w.seeded);
	w.now = START;
	path_init(&w.p, w.now, 5, to, CC_CUBIC, 1);
	assert_true(path_check(&w.p));
}

/* Moves to the path's next deadline; true when it asks for a probe, which is noted. */
static inline bool next(void)
{
	struct path_probe out;

	w.now = CV_MAX(w.now, path_deadline(&w.p));
	if (!path_probe_due(&w.p, w.now, &w.rng, w.is_busy, !w.is_idle_path, &out)) {
		assert_true(path_check(&w.p));
		assert_true(path_deadline(&w.p) > w.now);
		return false;
	}
	assert_true(path_check(&w.p));
	assert_true(w.count < PROBES_MAX);
	w.probes[w.count++] = (struct probe){ w.now, out };
	return true;
}

static inline const struct probe *last(void)
{
	assert_true(w.count > 0);
	return &w.probes[w.count - 1];
}

/* The newest probe is answered after RTT with a datagram of @size. */
static inline bool answer(uint32_t size)
{
	w.now = last()->at + RTT;
	return path_on_answer(&w.p, w.now, last()->probe.token, size);
}

/* Every probe until the state is @state. */
static inline void reach(enum path_state state)
{
	while (w.p.state != state) {
		assert_true(next());
		assert_true(answer(last()->probe.size + path_overhead(&w.p)));
	}
}

/* Runs for @d without an answer to anything. */
static inline void wait(cv_duration d)
{
	cv_time until = w.now + d;

	while (path_deadline(&w.p) <= until && w.p.state != PATH_FAILED)
		(void)next();
	w.now = CV_MAX(w.now, until);
}

/* A usable path that knows its packet size; no probe of any kind is out. */
static inline void be_usable(const struct origin *to)
{
	begin(to);
	reach(PATH_USABLE);
	while (w.p.pmtud.state == PMTUD_SEARCHING) {
		assert_true(next());
		assert_true(answer(last()->probe.size + path_overhead(&w.p)));
	}
	w.count = 0;
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: over any time no more than the rate leaves, and no less when there is enough to send;
 * trains stay whole; the instant that is promised is the first that works. Method: rows of rates
 * driven like an event loop, then 10,000 random operations with pacer_check() after each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "base/rng.h"
#include "tunnel/pacer.h"

static void without_a_rate_all_may_leave(void **state)
{
	struct pacer p;

	(void)state;
	pacer_init(&p, 5);
	assert_int_equal(pacer_budget(&p, 5, 1000), UINT64_MAX);
	pacer_on_sent(&p, 5, 1 << 30);
	assert_int_equal(pacer_ready_at(&p, 7, 1000), 7);
	assert_true(pacer_check(&p));
}

static void quantum_and_depth_follow_the_rate(void **state)
{
	static const struct {
		uint64_t rate, quantum, depth;
		uint32_t mss;
	} rows[] = {
		{ .rate = 999, .mss = 1200, .quantum = 2400, .depth = 2400 },
		{ .rate = 1000, .mss = 1200, .quantum = 2400, .depth = 2401 },
		{ .rate = 1250000, .mss = 1200, .quantum = 2400, .depth = 3650 },
		/* two packets a millisecond: from here on the rate decides */
		{ .rate = 2400999, .mss = 1200, .quantum = 2400, .depth = 4800 },
		{ .rate = 2401000, .mss = 1200, .quantum = 2401, .depth = 4802 },
		{ .rate = 20000000, .mss = 1200, .quantum = 20000, .depth = 40000 },
		{ .rate = 65536000, .mss = 1472, .quantum = 65536, .depth = 131072 },
		{ .rate = 65537000, .mss = 1472, .quantum = 65536, .depth = 131073 },
		{ .rate = 1000000000, .mss = 1472, .quantum = 65536, .depth = 1065536 },
		{ .rate = 1000, .mss = 65507, .quantum = 65536, .depth = 65537 },
	};
	struct pacer p;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		pacer_init(&p, 0);
		pacer_set_rate(&p, 0, rows[i].rate, rows[i].mss);
		assert_int_equal(p.quantum, rows[i].quantum);
		assert_int_equal(p.depth, rows[i].depth);
		assert_true(pacer_check(&p));
	}
}

static void small_packets_do_not_wait_for_a_train(void **state)
{
	struct pacer p;
	uint64_t left;

	(void)state;
	pacer_init(&p, 0);
	/* Two packets, and what a loop may come late. */
	pacer_set_rate(&p, 0, 2000000, 1200);
	left = pacer_budget(&p, 0, UINT64_MAX);
	assert_int_equal(left, 2400 + 2000);
	pacer_on_sent(&p, 0, left - 1000);
	assert_int_equal(pacer_budget(&p, 0, UINT64_MAX), 0);
	assert_int_equal(pacer_budget(&p, 0, 1001), 0);
	assert_int_equal(pacer_budget(&p, 0, 1000), 1000);
	assert_int_equal(pacer_ready_at(&p, 0, 1000), 0);
	assert_int_equal(pacer_ready_at(&p, 0, UINT64_MAX), CV_US(700));
}

/* Its bytes, and no more: a datagram of a game is no full packet. */
static void a_small_packet_costs_its_bytes(void **state)
{
	struct pacer p;
	unsigned count = 0;

	(void)state;
	pacer_init(&p, 0);
	pacer_set_rate(&p, 0, 1000000, 1200);
	for (cv_time now = 0; now < CV_SEC(1); now += CV_US(50)) {
		if (pacer_budget(&p, now, 100) == 0)
			continue;
		pacer_on_sent(&p, now, 100);
		count++;
	}
	/* 1 MB in hundreds, and the bucket that was full. */
	assert_in_range(count, 10000, 10000 + 34);
}

/* Sends all that may leave for ten seconds, asking again when it was told to. */
static uint64_t drive(struct pacer *p, uint64_t rate)
{
	cv_time now = 1000, end = now + CV_SEC(10);
	uint64_t sent = 0, budget;

	pacer_init(p, now);
	pacer_set_rate(p, now, rate, 1200);
	while (now < end) {
		budget = CV_MIN(pacer_budget(p, now, UINT64_MAX), 65536);
		pacer_on_sent(p, now, budget);
		sent += budget;
		now = CV_MAX(pacer_ready_at(p, now, UINT64_MAX), now + 1);
	}
	return sent;
}

static void the_rate_is_met(void **state)
{
	static const uint64_t rates[] = { 3000, 125000, 1250000, 12500000, 125000000, 1250000000 };
	struct pacer p;
	uint64_t sent;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rates); i++) {
		sent = drive(&p, rates[i]);
		assert_in_range(sent, rates[i] * 10 - p.quantum, rates[i] * 10 + p.depth);
	}
}

static void being_asked_often_loses_nothing(void **state)
{
	struct pacer p;

	(void)state;
	pacer_init(&p, 0);
	pacer_set_rate(&p, 0, 1000, 1200);
	pacer_on_sent(&p, 0, p.depth);
	/* A tenth of a byte each time. */
	for (cv_time now = 0; now <= CV_SEC(1); now += CV_US(100))
		(void)pacer_budget(&p, now, UINT64_MAX);
	assert_in_range(pacer_budget(&p, CV_SEC(1), 999), 999, 1000);
}

static void a_cap_holds_an_unpaced_path(void **state)
{
	struct pacer p;

	(void)state;
	pacer_init(&p, 0);
	pacer_set_cap(&p, 1000000);
	assert_int_equal(p.rate, 1000000);
	pacer_set_rate(&p, 0, 5000000, 1200);
	assert_int_equal(p.rate, 1000000);
	pacer_set_rate(&p, 0, 500000, 1200);
	assert_int_equal(p.rate, 500000);
	pacer_set_rate(&p, 0, 0, 1200);
	assert_int_equal(p.rate, 1000000);
	pacer_set_cap(&p, 0);
	assert_int_equal(p.rate, 0);
	assert_int_equal(pacer_budget(&p, 0, 1), UINT64_MAX);
}

static void promises_are_kept(void **state)
{
	struct rng_seeded seeded;
	struct rng rng = rng_from_seeded(&seeded);
	struct pacer p, probe;
	cv_time now = 0, at;
	uint64_t want;

	(void)state;
	rng_seeded_init(&seeded, 11);
	pacer_init(&p, now);
	for (unsigned i = 0; i < 10000; i++) {
		now += rng_u64(&rng) >> (24 + rng_below(&rng, 40));
		switch (rng_below(&rng, 6)) {
		case 0:
			pacer_set_rate(&p, now, rng_u64(&rng) >> rng_below(&rng, 64),
			               1 + (uint32_t)rng_below(&rng, 65507));
			break;
		case 1:
			pacer_set_cap(&p, rng_below(&rng, 2) ? rng_u64(&rng) >> rng_below(&rng, 64)
			                                     : 0);
			break;
		default:
			pacer_on_sent(&p, now, rng_u64(&rng) >> rng_below(&rng, 64));
			break;
		}
		assert_true(pacer_check(&p));
		want = 1 + (rng_u64(&rng) >> rng_below(&rng, 64)) / 2;
		at = pacer_ready_at(&p, now, want);
		assert_true(at >= now);
		probe = p;
		assert_true(pacer_budget(&probe, at, want) > 0);
		if (at > now + 1) {
			probe = p;
			assert_int_equal(pacer_budget(&probe, at - 1, want), 0);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_rate_all_may_leave),
		cmocka_unit_test(quantum_and_depth_follow_the_rate),
		cmocka_unit_test(small_packets_do_not_wait_for_a_train),
		cmocka_unit_test(a_small_packet_costs_its_bytes),
		cmocka_unit_test(the_rate_is_met),
		cmocka_unit_test(being_asked_often_loses_nothing),
		cmocka_unit_test(a_cap_holds_an_unpaced_path),
		cmocka_unit_test(promises_are_kept),
	};

	return cmocka_run_group_tests_name("pacer", tests, NULL, NULL);
}

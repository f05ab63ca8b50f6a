/* SPDX-License-Identifier: MIT */

/*
 * Goal: the largest size that a path passes is found among the usual ones, kept while it
 * works and left when it does not. Method: a path is one number, the largest datagram it
 * passes; rows of ceilings and paths; then the events that come in between; at last two whole
 * endpoints over interfaces of several sizes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "base/rng.h"
#include "tunnel/pmtud.h"

#define PAIR_DATAGRAM_MAX 65507
#define PAIR_FLIGHT_MAX 512
#include "endpoint_pair.h"

static uint64_t next_token;

/* Lets the search run until it rests. Return: probes sent. */
static unsigned run(struct pmtud *m, cv_time *now, uint32_t passes, bool *is_refused)
{
	unsigned probes = 0;
	uint32_t size;

	while (m->state == PMTUD_SEARCHING) {
		*now = CV_MAX(*now, pmtud_deadline(m));
		size = pmtud_due(m, *now);
		assert_true(pmtud_check(m));
		if (size == 0)
			continue;
		probes++;
		assert_true(size > m->size);
		pmtud_on_sent(m, *now, ++next_token, CV_MS(100));
		assert_int_equal(pmtud_due(m, *now), 0);
		if (size > passes && is_refused) {
			*is_refused = true;
			pmtud_on_refused(m, *now, size);
		} else if (size <= passes) {
			assert_false(pmtud_on_answer(m, *now + CV_MS(50), next_token + 1));
			assert_true(pmtud_on_answer(m, *now + CV_MS(50), next_token));
			assert_int_equal(m->size, size);
		}
		assert_true(pmtud_check(m));
	}
	return probes;
}

static void the_largest_usual_size_is_found(void **state)
{
	static const struct {
		uint32_t ceiling, passes, found;
		unsigned probes;
	} rows[] = {
		{ .ceiling = 1472, .passes = 1472, .found = 1472, .probes = 1 },
		{ .ceiling = 1452, .passes = 1500, .found = 1452, .probes = 1 },
		{ .ceiling = 1472, .passes = 1464, .found = 1452, .probes = 4 },
		{ .ceiling = 1472, .passes = 1392, .found = 1392, .probes = 13 },
		{ .ceiling = 1472, .passes = 1252, .found = 1232, .probes = 22 },
		{ .ceiling = 1472, .passes = 1200, .found = 1200, .probes = 24 },
		/* More than an Ethernet's is tried only where that much passes. */
		{ .ceiling = 8952, .passes = 9000, .found = 8952, .probes = 2 },
		{ .ceiling = 8952, .passes = 1472, .found = 1472, .probes = 4 },
		{ .ceiling = 8952, .passes = 1464, .found = 1452, .probes = 4 },
		{ .ceiling = 65507, .passes = 65507, .found = 65507, .probes = 2 },
		{ .ceiling = 65507, .passes = 16384, .found = 16336, .probes = 5 },
		{ .ceiling = 65507, .passes = 9000, .found = 8952, .probes = 8 },
		{ .ceiling = 1300, .passes = 1500, .found = 1300, .probes = 1 },
		{ .ceiling = 1200, .passes = 1500, .found = 1200, .probes = 0 },
		{ .ceiling = 0, .passes = 1500, .found = 1200, .probes = 0 },
		{ .ceiling = UINT32_MAX, .passes = 65507, .found = 65507, .probes = 2 },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct pmtud m;
		cv_time now = CV_SEC(1);

		pmtud_init(&m, 1472, rows[i].ceiling);
		assert_true(pmtud_check(&m));
		assert_int_equal(pmtud_deadline(&m), CV_TIME_NEVER);
		assert_int_equal(pmtud_due(&m, now), 0);
		pmtud_start(&m, now);
		assert_int_equal(run(&m, &now, rows[i].passes, NULL), rows[i].probes);
		assert_int_equal(m.size, rows[i].found);
		assert_int_equal(m.state, PMTUD_COMPLETE);
	}
}

static void tries_are_spaced(void **state)
{
	struct pmtud m;

	(void)state;
	pmtud_init(&m, 1472, 1472);
	pmtud_start(&m, 0);
	assert_int_equal(pmtud_due(&m, 0), 1472);
	pmtud_on_sent(&m, 0, 1, CV_MS(10));
	assert_int_equal(pmtud_deadline(&m), CV_SEC(1));
	assert_int_equal(pmtud_due(&m, CV_SEC(1) - 1), 0);
	assert_int_equal(pmtud_due(&m, CV_SEC(1)), 1472);
	pmtud_on_sent(&m, CV_SEC(1), 2, CV_MS(500));
	assert_int_equal(pmtud_deadline(&m), CV_MS(2500));
	/* Not sent after all: it stays due. */
	assert_int_equal(pmtud_due(&m, CV_MS(2500)), 1472);
	assert_int_equal(pmtud_due(&m, CV_MS(2600)), 1472);
	assert_true(pmtud_check(&m));
}

static void it_is_raised_again_later(void **state)
{
	struct pmtud m;
	cv_time now = 0;

	(void)state;
	pmtud_init(&m, 1472, 1472);
	pmtud_start(&m, now);
	(void)run(&m, &now, 1412, NULL);
	assert_int_equal(m.size, 1412);
	now = pmtud_deadline(&m);
	assert_in_range(now, CV_SEC(600), CV_SEC(700));
	assert_int_equal(pmtud_due(&m, now), 1472);
	(void)run(&m, &now, 1452, NULL);
	assert_int_equal(m.size, 1452);
	now = pmtud_deadline(&m);
	assert_int_equal(pmtud_due(&m, now), 1472);
	(void)run(&m, &now, 1472, NULL);
	/* The ceiling: nothing more to ask. */
	assert_int_equal(pmtud_deadline(&m), CV_TIME_NEVER);
}

static void a_refusal_shrinks_at_once(void **state)
{
	struct pmtud m;
	cv_time now = CV_SEC(5);
	bool is_refused = false;

	(void)state;
	pmtud_init(&m, 1472, 65507);
	pmtud_start(&m, now);
	assert_int_equal(run(&m, &now, 1452, &is_refused), 2);
	assert_true(is_refused);
	assert_int_equal(now, CV_SEC(5));
	assert_int_equal(m.size, 1452);
	assert_int_equal(m.ceiling, 1452);

	/* What the interface does not carry costs no time, whatever it is. */
	pmtud_init(&m, 1472, 65507);
	now = CV_SEC(5);
	pmtud_start(&m, now);
	assert_int_equal(run(&m, &now, 8960, &is_refused), 4);
	assert_int_equal(now, CV_SEC(5) + CV_MS(50)); /* of the answer to the first */
	assert_int_equal(m.size, 8952);
	assert_int_equal(m.ceiling, 8952);
	pmtud_init(&m, 1472, 65507);
	pmtud_start(&m, now);
	assert_int_equal(run(&m, &now, 1452, &is_refused), 2);

	/* Of an earlier size: known. */
	pmtud_on_refused(&m, now, 1472);
	assert_int_equal(m.size, 1452);
	/* The interface changed under a confirmed size. */
	pmtud_on_refused(&m, now, 1452);
	assert_int_equal(m.size, WIRE_DATAGRAM_BASE);
	assert_int_equal(pmtud_due(&m, now), 1432);
	pmtud_on_refused(&m, now, 1300);
	assert_int_equal(m.ceiling, 1232);
	assert_int_equal(pmtud_due(&m, now), 1232);

	pmtud_on_refused(&m, now, 1200);
	assert_int_equal(m.state, PMTUD_ERROR);
	assert_int_equal(pmtud_due(&m, now + CV_SEC(59)), 0);
	assert_int_equal(pmtud_due(&m, now + CV_SEC(60)), 1232);
	assert_true(pmtud_check(&m));
}

static void a_black_hole_is_left(void **state)
{
	struct pmtud m;
	cv_time now = CV_SEC(1);

	(void)state;
	pmtud_init(&m, 1472, 1472);
	pmtud_start(&m, now);
	(void)run(&m, &now, 1472, NULL);

	/* One burst of many losses is congestion, and so is any number while large ones arrive. */
	for (unsigned i = 0; i < 1000; i++)
		assert_false(pmtud_on_lost(&m, now, 1472));
	assert_int_equal(m.holes, 1);
	for (unsigned i = 0; i < 20; i++) {
		now += CV_MS(100);
		assert_false(pmtud_on_lost(&m, now, 1472));
		pmtud_on_acked(&m, 1472);
	}
	/* Small ones that arrive prove nothing, small ones that are lost neither. */
	for (unsigned i = 0; i < 4; i++) {
		now += CV_MS(100);
		assert_int_equal(pmtud_on_lost(&m, now, 1472), i == 3);
		assert_false(pmtud_on_lost(&m, now, 1200));
		pmtud_on_acked(&m, 1400);
	}
	assert_int_equal(m.size, WIRE_DATAGRAM_BASE);
	assert_false(pmtud_on_lost(&m, now, 1472));
	assert_true(pmtud_check(&m));
	assert_int_equal(pmtud_due(&m, now + CV_SEC(59)), 0);
	assert_int_equal(pmtud_due(&m, now + CV_SEC(60)), 1472);
	now += CV_SEC(60);
	(void)run(&m, &now, 1400, NULL);
	assert_int_equal(m.size, 1392);
}

/* Silence is a hole in the path's MTU only when something large was sent into it. */
static void silence_after_small_ones_says_nothing(void **state)
{
	struct pmtud m;
	cv_time now = CV_SEC(1);

	(void)state;
	pmtud_init(&m, 1472, 1472);
	pmtud_start(&m, now);
	(void)run(&m, &now, 1472, NULL);
	for (unsigned i = 0; i < 20; i++) {
		now += CV_MS(100);
		pmtud_on_packet(&m, 100);
		assert_false(pmtud_on_lost(&m, now, m.sent_max));
	}
	/* What was acknowledged is not silence. */
	for (unsigned i = 0; i < 20; i++) {
		now += CV_MS(100);
		pmtud_on_packet(&m, 1472);
		pmtud_on_acked(&m, 100);
		pmtud_on_packet(&m, 100);
		assert_false(pmtud_on_lost(&m, now, m.sent_max));
	}
	pmtud_on_packet(&m, 1472);
	for (unsigned i = 0; i < 4; i++) {
		now += CV_MS(100);
		assert_int_equal(pmtud_on_lost(&m, now, m.sent_max), i == 3);
	}
	assert_int_equal(m.size, WIRE_DATAGRAM_BASE);
}

/* Larger sizes are asked for again after a while, and a hole among them is left as well. */
static void large_ones_come_and_go(void **state)
{
	struct pmtud m;
	cv_time now = CV_SEC(1);

	(void)state;
	pmtud_init(&m, 1472, 65507);
	pmtud_start(&m, now);
	(void)run(&m, &now, 1472, NULL);
	assert_int_equal(m.size, 1472);
	now = pmtud_deadline(&m);
	assert_int_equal(pmtud_due(&m, now), 65507);
	(void)run(&m, &now, 65507, NULL);
	assert_int_equal(m.size, 65507);
	assert_int_equal(pmtud_deadline(&m), CV_TIME_NEVER);
	for (unsigned i = 0; i < 4; i++) {
		now += CV_MS(100);
		assert_int_equal(pmtud_on_lost(&m, now, 65507), i == 3);
		pmtud_on_acked(&m, 8952);
	}
	assert_int_equal(m.size, WIRE_DATAGRAM_BASE);
	assert_int_equal(pmtud_due(&m, now + CV_SEC(60)), 1472);
}

/* Two endpoints, 2 MB: the largest datagram that left. */
static size_t largest_between(const struct addr *a, const struct addr *b, uint32_t datagram_max,
                              uint32_t interface_max)
{
	static struct pair p;
	struct endpoint_peer_stats stats;

	pair_init(&p, 11);
	p.datagram_max = datagram_max;
	p.interface_max = interface_max;
	p.side[0].addr[PAIR_PUBLIC] = *a;
	p.side[1].addr[PAIR_PUBLIC] = *b;
	pair_start(&p);
	pair_run(&p, CV_SEC(2));
	p.sinks = true;
	(void)pair_open(&p, 0, 2000000);
	pair_run(&p, CV_SEC(5));
	assert_int_equal(p.side[1].flows[0].read, 2000000);
	endpoint_peer_stats(p.side[0].e, p.now, p.side[0].peer, &stats);
	assert_int_equal(stats.mtu, p.side[0].largest);
	pair_deinit(&p);
	return p.side[0].largest;
}

static void a_session_uses_what_its_interface_carries(void **state)
{
	struct addr loop[2] = { addr_v4(127, 0, 0, 1, 1000), addr_v4(127, 0, 0, 1, 2000) };
	struct addr lan[2] = { addr_v4(192, 168, 7, 1, 1000), addr_v4(192, 168, 7, 2, 1000) };

	(void)state;
	assert_int_equal(largest_between(&loop[0], &loop[1], 65507, 0), 65507);
	assert_int_equal(largest_between(&loop[0], &loop[1], 20000, 0), 20000);
	assert_int_equal(largest_between(&loop[0], &loop[1], 0, 0), 1472);
	assert_int_equal(largest_between(&lan[0], &lan[1], 65507, 0), 8972);
	assert_int_equal(largest_between(&lan[0], &lan[1], 65507, 8960), 8952);
	assert_int_equal(largest_between(&lan[0], &lan[1], 65507, 1472), 1472);
	assert_int_equal(largest_between(&lan[0], &lan[1], 65507, 1392), 1392);
}

static void a_late_answer_changes_nothing(void **state)
{
	struct pmtud m;

	(void)state;
	pmtud_init(&m, 1472, 1472);
	assert_false(pmtud_on_answer(&m, 0, 0));
	pmtud_start(&m, 0);
	(void)pmtud_due(&m, 0);
	pmtud_on_sent(&m, 0, 7, CV_MS(10));
	pmtud_on_refused(&m, 1, 1472);
	assert_false(pmtud_on_answer(&m, 2, 7));
	assert_int_equal(m.size, WIRE_DATAGRAM_BASE);
}

static void any_order_of_events_keeps_the_bounds(void **state)
{
	struct rng_seeded seeded;
	struct rng rng = rng_from_seeded(&seeded);
	struct pmtud m;
	cv_time now = 0;

	(void)state;
	rng_seeded_init(&seeded, 13);
	for (unsigned i = 0; i < 10000; i++) {
		uint32_t size = 1100 + (uint32_t)rng_below(&rng, 450);

		if (i % 200 == 0)
			pmtud_init(&m, (uint32_t)rng_u64(&rng) >> rng_below(&rng, 32),
			           (uint32_t)rng_u64(&rng) >> rng_below(&rng, 32));
		now += rng_below(&rng, CV_SEC(1) << rng_below(&rng, 8));
		switch (rng_below(&rng, 8)) {
		case 0:
			pmtud_start(&m, now);
			break;
		case 1:
			pmtud_on_refused(&m, now, rng_below(&rng, 9) ? UINT32_MAX : size);
			break;
		case 2:
			pmtud_on_acked(&m, size);
			break;
		case 3:
			(void)pmtud_on_lost(&m, now, size);
			break;
		case 4:
			(void)pmtud_on_answer(&m, now, rng_below(&rng, 4));
			break;
		default:
			if (pmtud_due(&m, now) > 0)
				pmtud_on_sent(&m, now, rng_below(&rng, 4), rng_u64(&rng));
			break;
		}
		assert_true(pmtud_check(&m));
		assert_in_range(m.size, WIRE_DATAGRAM_BASE, m.ceiling);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_largest_usual_size_is_found),
		cmocka_unit_test(tries_are_spaced),
		cmocka_unit_test(it_is_raised_again_later),
		cmocka_unit_test(a_refusal_shrinks_at_once),
		cmocka_unit_test(a_black_hole_is_left),
		cmocka_unit_test(silence_after_small_ones_says_nothing),
		cmocka_unit_test(large_ones_come_and_go),
		cmocka_unit_test(a_session_uses_what_its_interface_carries),
		cmocka_unit_test(a_late_answer_changes_nothing),
		cmocka_unit_test(any_order_of_events_keeps_the_bounds),
	};

	return cmocka_run_group_tests_name("pmtud", tests, NULL, NULL);
}

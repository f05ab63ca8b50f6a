/* SPDX-License-Identifier: MIT */

/*
 * Goal: an address that does not answer is asked no more often when several peers name it than when
 * one does, and ever more rarely. Method: the table alone, then the paths of two sessions that
 * share it, under virtual time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tunnel/paths.h"

#define NOW CV_SEC(1000)

static struct asked asked;
static struct paths ps, theirs;
static struct rng_seeded seeded;
static struct rng rng;

static int setup(void **state)
{
	(void)state;
	rng_seeded_init(&seeded, 9);
	rng = rng_from_seeded(&seeded);
	asked_init(&asked, 1);
	paths_init(&ps, CC_CUBIC, true, 1, &asked);
	paths_init(&theirs, CC_CUBIC, false, 2, &asked);
	return 0;
}

static void an_entry_is_kept_for_five_minutes(void **state)
{
	struct addr a = addr_v4(20, 1, 1, 1, 9999), b = addr_v4(20, 1, 1, 1, 9998);
	struct asked_entry *e;

	(void)state;
	e = asked_find(&asked, NOW, &a);
	assert_int_equal(e->count, 0);
	assert_int_equal(e->at, 0);
	e->count = 3;
	e->at = NOW;
	assert_int_equal(asked_find(&asked, NOW, &b)->count, 0);
	assert_int_equal(asked_find(&asked, NOW + CV_SEC(299), &a)->count, 3);
	asked_forget(&asked, &b);
	assert_int_equal(asked_find(&asked, NOW + CV_SEC(299), &a)->count, 3);
	assert_int_equal(asked_find(&asked, NOW + CV_SEC(300), &a)->count, 0);
	e = asked_find(&asked, NOW + CV_SEC(300), &a);
	e->count = 1;
	e->at = NOW + CV_SEC(300);
	asked_forget(&asked, &a);
	assert_int_equal(asked_find(&asked, NOW + CV_SEC(300), &a)->count, 0);
}

/* Whoever comes later takes the place, and knows nothing of who had it. */
static void more_addresses_than_places(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 4 * ASKED_MAX; i++) {
		struct addr a = addr_v4(20, 1, (uint8_t)(i >> 8), (uint8_t)i, 9999);
		struct asked_entry *e = asked_find(&asked, NOW, &a);

		assert_int_equal(e->count, 0);
		e->count = 1;
		e->at = NOW;
		assert_int_equal(asked_find(&asked, NOW, &a)->count, 1);
	}
}

/* One that never answers is asked more and more rarely, however often it is announced. */
static void nobody_is_asked_for_ever(void **state)
{
	struct path_probe out;
	unsigned probes = 0;
	uint8_t slot, i;

	(void)state;
	i = paths_add(&ps, NOW, &(struct origin){ .addr = addr_v4(20, 1, 1, 1, 9999) });
	ps.list[i].is_candidate = true;
	for (cv_time now = NOW; now < NOW + CV_SEC(300); now += CV_MS(100)) {
		ps.list[i].announced_at = ps.announced_at = now;
		path_check_now(&ps.list[i], now);
		paths_on_deadline(&ps, now);
		probes += paths_probe_due(&ps, now, &rng, false, &slot, &out);
	}
	assert_in_range(probes, 64, 110);
	path_on_heard(&ps.list[i], NOW);
	assert_int_equal(ps.list[i].asked_count, 0);
}

static unsigned probes_of(struct paths *p, cv_time now)
{
	struct path_probe out;
	uint8_t slot;

	path_check_now(&p->list[0], now);
	return paths_probe_due(p, now, &rng, false, &slot, &out);
}

static void named_by_two_it_is_asked_as_by_one(void **state)
{
	struct origin o = { .addr = addr_v4(20, 1, 1, 1, 9999) };
	unsigned probes = 0;
	cv_time now;

	(void)state;
	assert_int_equal(paths_add(&ps, NOW, &o), 0);
	assert_int_equal(paths_add(&theirs, NOW, &o), 0);
	for (now = NOW; now < NOW + CV_SEC(20); now += CV_MS(10))
		probes += probes_of(&ps, now) + probes_of(&theirs, now);
	assert_in_range(probes, 20, 25);
	assert_false(paths_may_ask(&theirs, now, &theirs.list[0], WIRE_INIT_SIZE));
	/* It has answered one of them. */
	path_on_heard(&ps.list[0], now);
	assert_true(paths_may_ask(&ps, now, &ps.list[0], WIRE_INIT_SIZE));
	theirs.list[0].asked_at = 0;
	assert_true(paths_may_ask(&theirs, now, &theirs.list[0], WIRE_INIT_SIZE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(an_entry_is_kept_for_five_minutes, setup),
		cmocka_unit_test_setup(more_addresses_than_places, setup),
		cmocka_unit_test_setup(nobody_is_asked_for_ever, setup),
		cmocka_unit_test_setup(named_by_two_it_is_asked_as_by_one, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: half-done handshakes are few, short-lived and found at once; a flood of them pushes out its
 * own and never a rekey. Method: rows of the limits, and random operations against a plain array.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tunnel/pending.h"

static struct rng_seeded seeded;
static struct rng rng;
static struct indexes indexes;
static struct pendings p;
static cv_time now;

static int setup(void **state)
{
	(void)state;
	rng_seeded_init(&seeded, 1);
	rng = rng_from_seeded(&seeded);
	now = CV_SEC(50);
	assert_int_equal(indexes_init(&indexes, 1), 0);
	return pendings_init(&p, 8);
}

static int teardown(void **state)
{
	(void)state;
	pendings_deinit(&p, now, &indexes);
	indexes_deinit(&indexes);
	return 0;
}

/* An entry, filled in; its mac1 begins with @mark. */
static uint32_t take(uint64_t owner, bool is_continuing, uint8_t mark)
{
	struct pending *e = pendings_take(&p, now, &indexes, owner, is_continuing);

	e->index = indexes_take(&indexes, now, &rng, 0);
	e->init_mac1[0] = mark;
	return e->index;
}

static void two_of_an_owner_and_one_that_continues(void **state)
{
	uint32_t a, b, c, d, e;

	(void)state;
	a = take(1, false, 1);
	b = take(1, false, 2);
	c = take(1, true, 3);
	assert_int_equal(p.count, 3);
	d = take(1, false, 4); /* the oldest of its kind goes */
	assert_null(pendings_find(&p, a));
	assert_int_equal(indexes_find(&indexes, a), INDEXES_NONE);
	for (uint8_t i = 0; i < 50; i++)
		(void)take(1, false, (uint8_t)(10 + i));
	assert_non_null(pendings_find(&p, c)); /* a flood of new ones does not stop a rekey */
	assert_null(pendings_find(&p, b));
	assert_null(pendings_find(&p, d));
	e = take(1, true, 5);
	assert_null(pendings_find(&p, c));
	assert_non_null(pendings_find(&p, e));
	assert_int_equal(p.count, 3);
}

static void a_full_table_drops_the_oldest(void **state)
{
	uint32_t first = take(0, false, 100);

	(void)state;
	for (uint8_t i = 1; i < 8; i++)
		(void)take(i, false, i);
	assert_non_null(pendings_find(&p, first));
	(void)take(9, false, 9);
	assert_null(pendings_find(&p, first));
	assert_int_equal(p.count, 8);
}

static void a_repeat_finds_its_answer(void **state)
{
	uint8_t mac1[MAC_SIZE] = { 7 };
	uint32_t index = take(1, false, 7);

	(void)state;
	assert_int_equal(pendings_repeat(&p, mac1)->index, index);
	mac1[MAC_SIZE - 1] = 1; /* equal in the part that is the key of the map */
	assert_null(pendings_repeat(&p, mac1));
}

static void five_seconds_and_no_more(void **state)
{
	uint32_t index = take(1, false, 1);

	(void)state;
	assert_int_equal(pendings_deadline(&p), now + PENDING_LIFE);
	now += PENDING_LIFE - 1;
	pendings_expire(&p, now, &indexes);
	assert_non_null(pendings_find(&p, index));
	now += 1;
	pendings_expire(&p, now, &indexes);
	assert_null(pendings_find(&p, index));
	assert_int_equal(indexes_find(&indexes, index), INDEXES_NONE);
	assert_int_equal(pendings_deadline(&p), CV_TIME_NEVER);
}

/* Rule 3.3: three that end unconfirmed within five seconds; confirmed ones do not count. */
static void pressure_needs_three_within_five_seconds(void **state)
{
	(void)state;
	for (uint8_t i = 0; i < 8; i++) {
		uint32_t index = take(i, false, i);

		pendings_drop(&p, now, &indexes, pendings_find(&p, index), true);
		indexes_free(&indexes, now, index);
	}
	assert_false(pendings_under_pressure(&p, now));
	for (uint8_t i = 0; i < 4; i++)
		(void)take(1, false, i); /* two are evicted */
	assert_false(pendings_under_pressure(&p, now));
	now += CV_SEC(4);
	(void)take(1, false, 5);
	assert_true(pendings_under_pressure(&p, now));
	now += CV_SEC(1) + 1;
	assert_false(pendings_under_pressure(&p, now));
}

static void an_entry_left_empty_is_free_again(void **state)
{
	(void)state;
	(void)pendings_take(&p, now, &indexes, 1, false); /* no index could be had */
	assert_null(pendings_find(&p, 1));
	assert_int_equal(p.count, 0);
	assert_int_equal(pendings_deadline(&p), CV_TIME_NEVER);
}

static void an_owner_takes_all_of_his_with_him(void **state)
{
	uint32_t other;

	(void)state;
	(void)take(1, false, 1);
	(void)take(1, true, 2);
	other = take(2, false, 3);
	pendings_drop_owner(&p, now, &indexes, 1);
	assert_int_equal(p.count, 1);
	assert_non_null(pendings_find(&p, other));
}

/* What must be there, in the order in which it came. */
struct model {
	uint32_t index;
	uint64_t owner;
	bool is_continuing;
	cv_time made_at;
};

static void random_operations_agree_with_a_model(void **state)
{
	struct model model[8] = { 0 };
	unsigned count = 0;

	(void)state;
	for (unsigned step = 0; step < 20000; step++) {
		unsigned gone = 8, same = 0;

		now += CV_MS(rng_below(&rng, 400));
		pendings_expire(&p, now, &indexes);
		while (count > 0 && now >= model[0].made_at + PENDING_LIFE) {
			memmove(model, model + 1, sizeof(model[0]) * 7);
			count--;
		}
		if (rng_below(&rng, 3) > 0) {
			struct model m = { .owner = rng_below(&rng, 4),
				           .is_continuing = rng_below(&rng, 2),
				           .made_at = now };

			for (unsigned i = count; i-- > 0;) {
				if (model[i].owner != m.owner ||
				    model[i].is_continuing != m.is_continuing)
					continue;
				same++;
				gone = i;
			}
			if (same < (m.is_continuing ? 1u : 2u))
				gone = count == 8 ? 0 : 8;
			if (gone < 8) {
				memmove(model + gone, model + gone + 1,
				        sizeof(model[0]) * (7 - gone));
				count--;
			}
			m.index = take(m.owner, m.is_continuing, (uint8_t)step);
			model[count++] = m;
		} else if (count > 0) {
			unsigned i = (unsigned)rng_below(&rng, count);

			pendings_drop(&p, now, &indexes, pendings_find(&p, model[i].index), false);
			memmove(model + i, model + i + 1, sizeof(model[0]) * (7 - i));
			count--;
		}
		assert_int_equal(p.count, count);
		for (unsigned i = 0; i < count; i++) {
			const struct pending *e = pendings_find(&p, model[i].index);

			assert_non_null(e);
			assert_int_equal(e->owner, model[i].owner);
		}
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(two_of_an_owner_and_one_that_continues),
		TEST(a_full_table_drops_the_oldest),
		TEST(a_repeat_finds_its_answer),
		TEST(five_seconds_and_no_more),
		TEST(pressure_needs_three_within_five_seconds),
		TEST(an_entry_left_empty_is_free_again),
		TEST(an_owner_takes_all_of_his_with_him),
		TEST(random_operations_agree_with_a_model),
	};

	return cmocka_run_group_tests_name("pending", tests, NULL, NULL);
}

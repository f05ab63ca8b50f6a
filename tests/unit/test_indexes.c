/* SPDX-License-Identifier: MIT */

/*
 * Goal: a late packet finds nobody rather than somebody else. Method: numbers are taken, freed and
 * asked for round the end of their rest; an rng that repeats itself; memory that runs out at each
 * allocation; ten thousand random operations beside a table.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "tunnel/indexes.h"

#define REST CV_SEC(180)

/* Yields the given numbers in turn, again and again. */
struct script {
	const uint64_t *numbers;
	size_t count, at;
};

static void fill_script(void *ctx, uint8_t *out, size_t size)
{
	struct script *s = ctx;
	const uint64_t v = s->numbers[s->at++ % s->count];

	assert_int_equal(size, sizeof(v));
	memcpy(out, &v, size);
}

static void a_number_names_its_owner(void **state)
{
	struct rng_seeded seeded;
	struct indexes t;
	struct rng rng;
	uint32_t a, b;

	(void)state;
	rng_seeded_init(&seeded, 1);
	rng = rng_from_seeded(&seeded);
	assert_int_equal(indexes_init(&t, 1), 0);
	assert_true(indexes_find(&t, 5) == INDEXES_NONE);
	assert_true(indexes_find(&t, 0) == INDEXES_NONE);
	a = indexes_take(&t, 0, &rng, 0);
	b = indexes_take(&t, 0, &rng, 77);
	assert_int_not_equal(a, 0);
	assert_int_not_equal(b, 0);
	assert_int_not_equal(a, b);
	assert_true(indexes_find(&t, a) == 0);
	assert_true(indexes_find(&t, b) == 77);
	indexes_deinit(&t);
	indexes_deinit(&t);
}

static void freed_ones_rest(void **state)
{
	static const uint64_t numbers[] = { 0, 42, 42, 42, 43 };
	struct script script = { .numbers = numbers, .count = 5 };
	const struct rng rng = { .fill = fill_script, .ctx = &script };
	struct indexes t;

	(void)state;
	assert_int_equal(indexes_init(&t, 1), 0);
	assert_int_equal(indexes_take(&t, 0, &rng, 1), 42); /* 0 is no index */
	assert_int_equal(indexes_take(&t, 0, &rng, 2), 43); /* 42 is taken */
	indexes_free(&t, CV_SEC(1), 42);
	assert_true(indexes_find(&t, 42) == INDEXES_NONE);
	script.at = 3;
	/* Only 42 and 43 ever come, the one resting and the other in use: no endless loop. */
	assert_int_equal(indexes_take(&t, CV_SEC(1) + REST - 1, &rng, 3), 0);
	script.at = 3;
	assert_int_equal(indexes_take(&t, CV_SEC(1) + REST, &rng, 4), 42);
	assert_true(indexes_find(&t, 42) == 4);
	assert_true(indexes_find(&t, 43) == 2);
	indexes_deinit(&t);
}

static void memory_that_runs_out_changes_nothing(void **state)
{
	const uint64_t live = cv_alloc_live();
	struct rng_seeded seeded;
	struct indexes t;
	struct rng rng;

	(void)state;
	rng_seeded_init(&seeded, 2);
	rng = rng_from_seeded(&seeded);
	cv_alloc_fail_at(1);
	assert_int_equal(indexes_init(&t, 1), -ENOMEM);
	cv_alloc_fail_at(0);
	indexes_deinit(&t);

	assert_int_equal(indexes_init(&t, 1), 0);
	for (unsigned i = 0; i < 1000; i++) {
		const size_t count = t.map.count;
		uint32_t index;

		cv_alloc_fail_at(1);
		index = indexes_take(&t, 0, &rng, i);
		cv_alloc_fail_at(0);
		if (index == 0) {
			assert_int_equal(t.map.count, count);
			index = indexes_take(&t, 0, &rng, i);
		}
		assert_true(indexes_find(&t, index) == i);
		if (i % 3 == 0)
			indexes_free(&t, 0, index);
	}
	indexes_deinit(&t);
	assert_int_equal(cv_alloc_live(), live);
}

enum { MODEL_MAX = 300 };

struct entry {
	uint32_t index;
	uint64_t owner;
};

/* Freeing needs no memory at any moment, and no number comes back within its rest. */
static void random_operations(void **state)
{
	static struct entry live[MODEL_MAX];
	static struct {
		uint32_t index;
		cv_time at;
	} freed[20000];
	size_t live_count = 0, freed_count = 0;
	struct rng_seeded seeded;
	struct indexes t;
	struct rng rng;
	cv_time now = 0;

	(void)state;
	rng_seeded_init(&seeded, 3);
	rng = rng_from_seeded(&seeded);
	assert_int_equal(indexes_init(&t, 1), 0);
	for (unsigned i = 0; i < 10000; i++) {
		now += rng_below(&rng, CV_SEC(1));
		if (live_count < MODEL_MAX && rng_below(&rng, 2) == 0) {
			live[live_count].owner = i;
			live[live_count].index = indexes_take(&t, now, &rng, i);
			assert_int_not_equal(live[live_count].index, 0);
			for (size_t k = freed_count; k-- > 0 && now - freed[k].at < REST;)
				assert_int_not_equal(freed[k].index, live[live_count].index);
			live_count++;
		} else if (live_count > 0) {
			const size_t k = rng_below(&rng, live_count);

			assert_true(indexes_find(&t, live[k].index) == live[k].owner);
			cv_alloc_fail_at(1);
			indexes_free(&t, now, live[k].index);
			cv_alloc_fail_at(0);
			assert_true(indexes_find(&t, live[k].index) == INDEXES_NONE);
			freed[freed_count].index = live[k].index;
			freed[freed_count++].at = now;
			live[k] = live[--live_count];
		}
		assert_int_equal(t.map.count, live_count + t.rest_count);
		assert_true(idmap_check(&t.map));
	}
	indexes_deinit(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_number_names_its_owner),
		cmocka_unit_test(freed_ones_rest),
		cmocka_unit_test(memory_that_runs_out_changes_nothing),
		cmocka_unit_test(random_operations),
	};

	return cmocka_run_group_tests_name("indexes", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: a map is a map, at every size and after any history. Method: 10,000
 * random operations on few keys (so that runs form and break) against an array,
 * with idmap_check() after each; growth with a heap that fails.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/idmap.h"
#include "base/rng.h"

enum { KEYS = 200 };

static uint64_t key_of(unsigned i)
{
	/* Small, large and multiples of a large power of two. */
	return i % 3 == 0 ? i : i % 3 == 1 ? UINT64_MAX - i : (uint64_t)i << 40;
}

static void walk_equals(const struct idmap *m, const uint64_t *model)
{
	uint64_t key, value;
	size_t at = 0, seen = 0, expected = 0;

	while (idmap_next(m, &at, &key, &value)) {
		unsigned i;

		for (i = 0; i < KEYS && key_of(i) != key; i++)
			;
		assert_true(i < KEYS);
		assert_int_equal(model[i], value);
		seen++;
	}
	for (unsigned i = 0; i < KEYS; i++)
		expected += model[i] != IDMAP_NONE;
	assert_int_equal(seen, expected);
	assert_int_equal(m->count, expected);
}

static void random_operations_equal_an_array(uint64_t seed)
{
	struct rng_seeded seeded;
	struct rng rng = rng_from_seeded(&seeded);
	uint64_t model[KEYS], value;
	struct idmap m;
	unsigned i;

	rng_seeded_init(&seeded, seed);
	idmap_init(&m, rng_u64(&rng));
	for (i = 0; i < KEYS; i++)
		model[i] = IDMAP_NONE;
	for (unsigned round = 0; round < 10000; round++) {
		/* The number of keys in play swings, so that the table is full and empty by turns.
		 */
		i = (unsigned)rng_below(&rng, round / 1000 % 2 ? 12 : KEYS);
		switch (rng_below(&rng, 3)) {
		case 0:
			value = rng_below(&rng, 4) ? rng_u64(&rng) >> 1 : 0;
			assert_int_equal(idmap_add(&m, key_of(i), value), 0);
			model[i] = value;
			break;
		case 1:
			assert_int_equal(idmap_remove(&m, key_of(i)), model[i]);
			model[i] = IDMAP_NONE;
			break;
		default:
			assert_int_equal(idmap_find(&m, key_of(i)), model[i]);
		}
		assert_true(idmap_check(&m));
		if (round % 100 == 0)
			walk_equals(&m, model);
	}
	idmap_deinit(&m);
	assert_int_equal(cv_alloc_live(), 0);
}

static void it_is_a_map(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 4; seed++)
		random_operations_equal_an_array(seed);
}

static void empty_map_has_nothing(void **state)
{
	struct idmap m;
	uint64_t key, value;
	size_t at = 0;

	(void)state;
	idmap_init(&m, 1);
	assert_true(idmap_check(&m));
	assert_int_equal(idmap_find(&m, 0), IDMAP_NONE);
	assert_int_equal(idmap_remove(&m, 0), IDMAP_NONE);
	assert_false(idmap_next(&m, &at, &key, &value));
	idmap_deinit(&m);
	idmap_deinit(&m); /* twice is harmless */
}

static void failing_to_grow_changes_nothing(void **state)
{
	struct idmap m;
	size_t cap = 0;

	(void)state;
	idmap_init(&m, 3);
	cv_alloc_fail_at(1);
	assert_int_equal(idmap_add(&m, 0, 0), -ENOMEM);
	assert_true(idmap_check(&m));
	for (uint64_t k = 0; k < 1000; k++) {
		cv_alloc_fail_at(1);
		if (idmap_add(&m, k, k) < 0) {
			assert_int_equal(m.cap, cap);
			assert_int_equal(idmap_find(&m, k), IDMAP_NONE);
			cv_alloc_fail_at(0);
			assert_int_equal(idmap_add(&m, k, k), 0);
		}
		assert_int_equal(m.count, k + 1);
		assert_true(m.count <= m.cap - m.cap / 4);
		cap = m.cap;
	}
	cv_alloc_fail_at(0);
	assert_true(idmap_check(&m));
	for (uint64_t k = 0; k < 1000; k++)
		assert_int_equal(idmap_find(&m, k), k);
	idmap_deinit(&m);
}

static void reserved_room_needs_no_heap(void **state)
{
	struct idmap m;
	uint64_t calls;

	(void)state;
	idmap_init(&m, 5);
	assert_int_equal(idmap_reserve(&m, 1000), 0);
	calls = cv_alloc_calls();
	for (uint64_t k = 0; k < 1000; k++)
		assert_int_equal(idmap_add(&m, k, k), 0);
	assert_int_equal(cv_alloc_calls(), calls);
	assert_int_equal(idmap_reserve(&m, SIZE_MAX), -ENOMEM);
	assert_true(idmap_check(&m));
	idmap_deinit(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_is_a_map),
		cmocka_unit_test(empty_map_has_nothing),
		cmocka_unit_test(failing_to_grow_changes_nothing),
		cmocka_unit_test(reserved_room_needs_no_heap),
	};

	return cmocka_run_group_tests_name("idmap", tests, NULL, NULL);
}

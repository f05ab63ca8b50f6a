/* SPDX-License-Identifier: MIT */

/*
 * Goal: the process never holds more than its budget, and what is given back is
 * used again. Method: the limits one by one; then 10,000 random operations
 * against plain sums, with pool_check() after each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "base/rng.h"

static void budget_is_exact(void **state)
{
	struct pool p;
	void *block;

	(void)state;
	for (uint64_t budget = 4095; budget <= 4097; budget++) {
		pool_init(&p, budget);
		block = pool_take(&p, POOL_4K);
		assert_int_equal(block != NULL, budget >= 4096);
		assert_int_equal(pool_charge(&p, budget + 1), -ENOMEM);
		assert_int_equal(pool_charge(&p, 1), budget == 4096 ? -ENOMEM : 0);
		if (budget != 4096)
			pool_uncharge(&p, 1);
		if (block)
			pool_give(&p, POOL_4K, block);
		assert_true(pool_check(&p));
		pool_deinit(&p);
	}
}

static void blocks_are_reused_without_the_heap(void **state)
{
	struct pool p;
	uint64_t calls;
	void *block;

	(void)state;
	pool_init(&p, 1u << 20);
	for (unsigned class = 0; class < POOL_CLASSES; class ++) {
		block = pool_take(&p, (enum pool_class) class);
		assert_non_null(block);
		memset(block, 0xff, pool_block_size((enum pool_class) class));
		pool_give(&p, (enum pool_class) class, block);
		calls = cv_alloc_calls();
		assert_ptr_equal(pool_take(&p, (enum pool_class) class), block);
		assert_int_equal(cv_alloc_calls(), calls);
		pool_give(&p, (enum pool_class) class, block);
	}
	pool_deinit(&p);
	assert_int_equal(cv_alloc_live(), 0);
}

static void idle_blocks_make_room(void **state)
{
	struct pool p;
	void *small[16], *large;

	(void)state;
	pool_init(&p, 65536);
	for (unsigned i = 0; i < 16; i++)
		small[i] = pool_take(&p, POOL_4K);
	assert_null(pool_take(&p, POOL_4K));
	for (unsigned i = 0; i < 16; i++)
		pool_give(&p, POOL_4K, small[i]);
	assert_int_equal(cv_alloc_live(), 65536);

	/* The sixteen must go before the one can come. */
	large = pool_take(&p, POOL_64K);
	assert_non_null(large);
	assert_int_equal(cv_alloc_live(), 65536);
	assert_true(pool_check(&p));
	pool_give(&p, POOL_64K, large);

	assert_int_equal(pool_charge(&p, 1), 0);
	assert_int_equal(cv_alloc_live(), 0);
	assert_true(pool_check(&p));
	pool_uncharge(&p, 1);
	pool_deinit(&p);
}

static void a_failing_heap_changes_nothing(void **state)
{
	struct pool p;

	(void)state;
	pool_init(&p, 1u << 20);
	cv_alloc_fail_at(1);
	assert_null(pool_take(&p, POOL_64K));
	assert_true(pool_check(&p));
	assert_int_equal(pool_permille(&p), 0);
	pool_deinit(&p);
}

static void share_is_in_thousandths(void **state)
{
	struct pool p;

	(void)state;
	pool_init(&p, UINT64_C(1) << 40);
	assert_int_equal(pool_permille(&p), 0);
	assert_int_equal(pool_charge(&p, UINT64_C(1) << 39), 0);
	assert_int_equal(pool_permille(&p), 500);
	assert_int_equal(pool_charge(&p, UINT64_C(1) << 39), 0);
	assert_int_equal(pool_permille(&p), 1000);
	pool_uncharge(&p, UINT64_C(1) << 40);
	pool_deinit(&p);
	pool_init(&p, 0);
	assert_int_equal(pool_permille(&p), 1000);
	pool_deinit(&p);
}

enum { BUDGET = 1 << 20, LENT_MAX = 300 };

/* What is lent and charged, as plain sums. */
struct model {
	void *lent[POOL_CLASSES][LENT_MAX];
	unsigned count[POOL_CLASSES];
	uint64_t charged, used;
};

static void take(struct pool *p, struct model *m, enum pool_class class)
{
	size_t size = pool_block_size(class);
	void *block = pool_take(p, class);

	assert_int_equal(block != NULL, m->used + size <= BUDGET);
	if (!block)
		return;
	memset(block, 0xff, size);
	m->lent[class][m->count[class]++] = block;
	m->used += size;
}

static void give(struct pool *p, struct model *m, enum pool_class class)
{
	if (m->count[class] == 0)
		return;
	pool_give(p, class, m->lent[class][--m->count[class]]);
	m->used -= pool_block_size(class);
}

static void charge(struct pool *p, struct model *m, uint64_t size)
{
	bool fits = m->used + size <= BUDGET;

	assert_int_equal(pool_charge(p, size), fits ? 0 : -ENOMEM);
	m->used += fits ? size : 0;
	m->charged += fits ? size : 0;
}

static void uncharge(struct pool *p, struct model *m, uint64_t size)
{
	pool_uncharge(p, size);
	m->used -= size;
	m->charged -= size;
}

static void random_operations(void **state)
{
	static struct model m;
	struct rng_seeded seeded;
	struct rng rng = rng_from_seeded(&seeded);
	struct pool p;

	(void)state;
	rng_seeded_init(&seeded, 1);
	pool_init(&p, BUDGET);
	for (unsigned i = 0; i < 10000; i++) {
		enum pool_class class = rng_below(&rng, 4) ? POOL_4K : POOL_64K;
		uint64_t choice = rng_below(&rng, 5);

		if (choice < 2)
			take(&p, &m, class);
		else if (choice == 2)
			give(&p, &m, class);
		else if (choice == 3)
			charge(&p, &m, rng_below(&rng, BUDGET / 4));
		else
			uncharge(&p, &m, rng_below(&rng, m.charged + 1));
		assert_true(pool_check(&p));
		assert_int_equal(p.used, m.used);
		assert_true(cv_alloc_live() + m.charged <= BUDGET);
	}
	for (unsigned class = 0; class < POOL_CLASSES; class ++) {
		while (m.count[class] > 0)
			give(&p, &m, (enum pool_class) class);
	}
	uncharge(&p, &m, m.charged);
	pool_deinit(&p);
	assert_int_equal(cv_alloc_live(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(budget_is_exact),
		cmocka_unit_test(blocks_are_reused_without_the_heap),
		cmocka_unit_test(idle_blocks_make_room),
		cmocka_unit_test(a_failing_heap_changes_nothing),
		cmocka_unit_test(share_is_in_thousandths),
		cmocka_unit_test(random_operations),
	};

	return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: the set equals a plain table of booleans after any operations, and at its
 * capacity refuses without changing. Method: rows for the edges; then 10,000 random
 * operations against the table, compared whole after each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

#include "base/rng.h"
#include "tunnel/ranges.h"

enum { CAP = 6, UNIVERSE = 64 };

struct model {
	bool has[UNIVERSE + 1]; /* the last is never set: every run of values ends */
};

static uint32_t model_spans(const struct model *m)
{
	uint32_t count = 0;

	for (uint32_t v = 0; v < UNIVERSE; v++)
		count += m->has[v] && !m->has[v + 1];
	return count;
}

static void model_set(struct model *m, uint64_t begin, uint64_t end, bool value)
{
	for (uint64_t v = begin; v < end; v++)
		m->has[v] = value;
}

static void assert_equal(const struct ranges *r, const struct model *m)
{
	uint64_t gap = UNIVERSE;

	assert_true(ranges_check(r));
	assert_int_equal(r->count, model_spans(m));
	for (uint64_t v = UNIVERSE; v-- > 0;) {
		assert_int_equal(ranges_contains(r, v), m->has[v]);
		if (!m->has[v])
			gap = v;
		assert_int_equal(ranges_first_gap(r, v), gap);
	}
}

static void grows_at_the_tail(void **state)
{
	struct span spans[2];
	struct ranges r;

	(void)state;
	ranges_init(&r, spans, 2);
	for (uint64_t n = 10; n < 1000; n++)
		assert_int_equal(ranges_add(&r, n, n + 1), 0);
	assert_int_equal(r.count, 1);
	assert_int_equal(r.span[0].begin, 10);
	assert_int_equal(r.span[0].end, 1000);
	assert_int_equal(ranges_add(&r, 5, 5), 0);
	assert_int_equal(r.count, 1);
}

static void touching_spans_become_one(void **state)
{
	struct span spans[3];
	struct ranges r;

	(void)state;
	ranges_init(&r, spans, 3);
	assert_int_equal(ranges_add(&r, 0, 2), 0);
	assert_int_equal(ranges_add(&r, 4, 6), 0);
	assert_int_equal(ranges_add(&r, 8, 10), 0);
	assert_int_equal(r.count, 3);
	assert_int_equal(ranges_add(&r, 2, 4), 0);
	assert_int_equal(r.count, 2);
	assert_int_equal(r.span[0].end, 6);
	assert_int_equal(ranges_add(&r, 0, UINT64_MAX), 0);
	assert_int_equal(r.count, 1);
	assert_int_equal(ranges_first_gap(&r, 3), UINT64_MAX);
}

static void a_full_set_refuses_and_stays(void **state)
{
	struct span spans[2], before[2];
	struct ranges r;

	(void)state;
	ranges_init(&r, spans, 2);
	assert_int_equal(ranges_add(&r, 10, 20), 0);
	assert_int_equal(ranges_add(&r, 30, 40), 0);
	memcpy(before, spans, sizeof(before));

	assert_int_equal(ranges_add(&r, 50, 60), -ENOBUFS);
	assert_int_equal(ranges_add(&r, 0, 9), -ENOBUFS);
	assert_int_equal(ranges_remove(&r, 12, 18), -ENOBUFS);
	assert_int_equal(r.count, 2);
	assert_memory_equal(before, spans, sizeof(before));

	/* What needs no further span passes. */
	assert_int_equal(ranges_add(&r, 20, 30), 0);
	assert_int_equal(r.count, 1);
	assert_int_equal(ranges_remove(&r, 12, 18), 0);
	assert_int_equal(r.count, 2);
}

static void the_oldest_is_forgotten(void **state)
{
	struct span spans[2];
	struct ranges r;

	(void)state;
	ranges_init(&r, spans, 2);
	ranges_add_forget(&r, 10, 20);
	ranges_add_forget(&r, 30, 40);
	ranges_add_forget(&r, 50, 60);
	assert_int_equal(r.count, 2);
	assert_int_equal(r.span[0].begin, 30);
	/* It would itself be the lowest. */
	ranges_add_forget(&r, 1, 2);
	assert_int_equal(r.span[0].begin, 30);
	assert_int_equal(r.span[1].begin, 50);
	ranges_add_forget(&r, 45, 46);
	assert_int_equal(r.span[0].begin, 45);
	assert_int_equal(r.span[1].begin, 50);
}

static void a_set_without_memory_is_empty(void **state)
{
	struct ranges r;

	(void)state;
	ranges_init(&r, NULL, 0);
	assert_int_equal(ranges_add(&r, 1, 2), -ENOBUFS);
	ranges_add_forget(&r, 1, 2);
	assert_int_equal(ranges_remove(&r, 0, 9), 0);
	ranges_drop_below(&r, 9);
	assert_false(ranges_contains(&r, 1));
	assert_int_equal(ranges_first_gap(&r, 1), 1);
	assert_true(ranges_check(&r));
}

static void add_both(struct ranges *r, struct model *m, uint64_t begin, uint64_t end)
{
	struct model after = *m;

	model_set(&after, begin, end, true);
	if (ranges_add(r, begin, end) == 0) {
		*m = after;
		return;
	}
	assert_true(model_spans(&after) > CAP);
}

static void forget_both(struct ranges *r, struct model *m, uint64_t begin, uint64_t end)
{
	model_set(m, begin, end, true);
	if (model_spans(m) > CAP) {
		uint64_t v = 0;

		while (!m->has[v])
			v++;
		while (m->has[v])
			m->has[v++] = false;
	}
	ranges_add_forget(r, begin, end);
}

static void remove_both(struct ranges *r, struct model *m, uint64_t begin, uint64_t end)
{
	struct model after = *m;

	model_set(&after, begin, end, false);
	if (ranges_remove(r, begin, end) == 0) {
		*m = after;
		return;
	}
	assert_true(model_spans(&after) > CAP);
}

static void equals_a_table(void **state)
{
	struct rng_seeded seeded;
	struct rng rng = rng_from_seeded(&seeded);
	struct model m = { 0 };
	struct span spans[CAP];
	struct ranges r;

	(void)state;
	rng_seeded_init(&seeded, 1);
	ranges_init(&r, spans, CAP);
	for (unsigned i = 0; i < 10000; i++) {
		uint64_t begin = rng_below(&rng, UNIVERSE);
		uint64_t end = begin + rng_below(&rng, rng_below(&rng, 8) ? 6 : UNIVERSE);

		end = end > UNIVERSE ? UNIVERSE : end;
		switch (rng_below(&rng, 8)) {
		case 0:
			ranges_drop_below(&r, begin / 4);
			model_set(&m, 0, begin / 4, false);
			break;
		case 1:
		case 2:
			remove_both(&r, &m, begin, end);
			break;
		case 3:
			forget_both(&r, &m, begin, end);
			break;
		default:
			add_both(&r, &m, begin, end);
			break;
		}
		assert_equal(&r, &m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_at_the_tail),
		cmocka_unit_test(touching_spans_become_one),
		cmocka_unit_test(a_full_set_refuses_and_stays),
		cmocka_unit_test(the_oldest_is_forgotten),
		cmocka_unit_test(a_set_without_memory_is_empty),
		cmocka_unit_test(equals_a_table),
	};

	return cmocka_run_group_tests_name("ranges", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: the earliest deadline is always first, ties leave in the order in which
 * they were set, and a deadline can move or go from anywhere. Method: 10,000
 * random operations against a scan of all nodes, with heap_check() after each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "base/alloc.h"
#include "base/heap.h"
#include "base/rng.h"

enum { NODES = 100 };

/* What the heap should hold, and a look at all of it for the first. */
struct model {
	cv_time at[NODES];
	uint64_t order[NODES];
	uint64_t next_order;
};

static void heap_equals(const struct heap *h, const struct heap_node *nodes, const struct model *m)
{
	unsigned first = NODES;
	size_t count = 0;

	for (unsigned k = 0; k < NODES; k++) {
		if (m->at[k] == CV_TIME_NEVER) {
			assert_true(nodes[k].slot == HEAP_OUT);
			continue;
		}
		count++;
		if (first == NODES || m->at[k] < m->at[first] ||
		    (m->at[k] == m->at[first] && m->order[k] < m->order[first]))
			first = k;
	}
	assert_true(heap_check(h));
	assert_int_equal(h->count, count);
	assert_ptr_equal(heap_first(h), first == NODES ? NULL : &nodes[first]);
}

static void random_operations_equal_a_scan(void **state)
{
	static struct heap_node nodes[NODES];
	struct model m = { .next_order = 1 };
	struct rng_seeded seeded;
	struct rng rng = rng_from_seeded(&seeded);
	struct heap h;

	(void)state;
	rng_seeded_init(&seeded, 1);
	heap_init(&h);
	assert_int_equal(heap_reserve(&h, NODES), 0);
	for (unsigned i = 0; i < NODES; i++) {
		heap_node_init(&nodes[i]);
		m.at[i] = CV_TIME_NEVER;
	}
	for (unsigned round = 0; round < 10000; round++) {
		unsigned i = (unsigned)rng_below(&rng, NODES);
		/* Few instants, so that ties are the rule. */
		cv_time at = rng_below(&rng, 4) ? rng_below(&rng, 20) : CV_TIME_NEVER;

		if (at == CV_TIME_NEVER && rng_below(&rng, 2))
			heap_remove(&h, &nodes[i]);
		else
			heap_set(&h, &nodes[i], at);
		if (m.at[i] != at)
			m.order[i] = m.next_order++;
		m.at[i] = at;
		heap_equals(&h, nodes, &m);
	}
	heap_deinit(&h);
	assert_int_equal(cv_alloc_live(), 0);
}

static void everything_leaves_in_order(void **state)
{
	static struct heap_node nodes[1000];
	struct rng_seeded seeded;
	struct rng rng = rng_from_seeded(&seeded);
	struct heap_node *n;
	struct heap h;
	cv_time last_at = 0;
	uint64_t last_order = 0;

	(void)state;
	rng_seeded_init(&seeded, 2);
	heap_init(&h);
	for (size_t i = 0; i < 1000; i++) {
		assert_int_equal(heap_reserve(&h, i + 1), 0); /* while nodes are in it */
		heap_node_init(&nodes[i]);
		heap_set(&h, &nodes[i], rng_below(&rng, 50));
	}
	for (size_t i = 0; i < 1000; i++) {
		n = heap_first(&h);
		assert_non_null(n);
		assert_true(n->at >= last_at);
		if (i > 0 && n->at == last_at)
			assert_true(n->order > last_order);
		last_at = n->at;
		last_order = n->order;
		heap_remove(&h, n);
		assert_true(heap_check(&h));
	}
	assert_null(heap_first(&h));
	heap_deinit(&h);
}

static void failing_to_reserve_changes_nothing(void **state)
{
	struct heap_node n;
	struct heap h;

	(void)state;
	heap_init(&h);
	assert_int_equal(heap_reserve(&h, 1), 0);
	heap_node_init(&n);
	heap_set(&h, &n, 7);
	cv_alloc_fail_at(1);
	assert_int_equal(heap_reserve(&h, 100), -ENOMEM);
	assert_true(heap_check(&h));
	assert_ptr_equal(heap_first(&h), &n);
	heap_deinit(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_operations_equal_a_scan),
		cmocka_unit_test(everything_leaves_in_order),
		cmocka_unit_test(failing_to_reserve_changes_nothing),
	};

	return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}

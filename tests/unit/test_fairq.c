/* SPDX-License-Identifier: MIT */

/*
 * Goal: who sends little waits for nobody who sends much, who sends much gets an equal share, and
 * memory is bounded in whatever order they leave. Method: flows that keep the queue full, counted
 * by whose turn it was; then random ones against a list per flow.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tunnel/fairq.h"

enum { FLOWS = 40, BYTES_MAX = FAIRQ_BLOCKS * 65536 };

static uint8_t payload[FAIRQ_DATAGRAM_MAX];

struct world {
	struct pool pool;
	struct fairq q;
	cv_time now;
	unsigned dropped;
};

static void init(struct world *w, uint64_t budget)
{
	memset(w, 0, sizeof(*w));
	pool_init(&w->pool, budget);
	fairq_init(&w->q, &w->pool);
	w->now = CV_SEC(1);
}

static void deinit(struct world *w)
{
	assert_true(fairq_check(&w->q));
	fairq_deinit(&w->q);
	assert_int_equal(w->pool.used, 0);
	pool_deinit(&w->pool);
}

static void push(struct world *w, uint64_t flow, size_t size)
{
	while (fairq_make_room(&w->q, size))
		w->dropped++;
	assert_int_equal(fairq_push(&w->q, w->now, flow, payload, size), 0);
	assert_true(fairq_check(&w->q));
	assert_true(w->pool.used <= BYTES_MAX);
}

static struct fairq_datagram pop(struct world *w)
{
	struct fairq_datagram d = { .flow = UINT64_MAX };

	assert_true(fairq_first(&w->q, &d));
	assert_true(fairq_is_chosen(&w->q));
	fairq_pop(&w->q);
	assert_false(fairq_is_chosen(&w->q));
	assert_true(fairq_check(&w->q));
	return d;
}

static void a_game_waits_for_no_blast(void **state)
{
	static struct world w;
	struct fairq_datagram d;

	(void)state;
	init(&w, 16 << 20);
	for (unsigned i = 0; i < 400; i++)
		push(&w, 4, 1250);
	assert_true(w.dropped > 0);
	for (unsigned i = 0; i < 10; i++)
		(void)pop(&w);
	for (unsigned i = 0; i < 100; i++) {
		/* It loses nothing, though the queue is full. */
		push(&w, 8, 100);
		push(&w, 4, 1250);
		push(&w, 4, 1250);
		/* The first one at once; later ones after one turn of the other's. */
		for (size_t waited = 0; (d = pop(&w)).flow != 8;) {
			waited += d.size;
			assert_true(waited <= (i == 0 ? 0 : FAIRQ_QUANTUM + 1250));
		}
	}
	deinit(&w);
}

/* Bytes, not datagrams; and what has come more often is not sent more often. */
static void shares_are_equal(void **state)
{
	static struct world w;
	static const size_t sizes[] = { 1250, 200, 9000 };
	uint64_t bytes[3] = { 0 };

	(void)state;
	init(&w, 16 << 20);
	for (unsigned i = 0; i < 3000; i++) {
		struct fairq_datagram d;

		for (unsigned k = 0; k < 60; k++)
			push(&w, 1, sizes[1]);
		for (unsigned k = 0; k < 20; k++)
			push(&w, 0, sizes[0]);
		push(&w, 2, sizes[2]);
		d = pop(&w);
		assert_int_equal(d.size, sizes[d.flow]);
		bytes[d.flow] += d.size + FAIRQ_COST;
	}
	for (unsigned i = 0; i < 3; i++)
		assert_in_range(bytes[i], (bytes[0] + bytes[1] + bytes[2]) * 30 / 100,
		                (bytes[0] + bytes[1] + bytes[2]) * 37 / 100);
	deinit(&w);
}

static void the_longest_loses_its_oldest(void **state)
{
	static struct world w;
	struct fairq_datagram d;

	(void)state;
	init(&w, 16 << 20);
	push(&w, 7, 300);
	for (unsigned i = 0; i < FAIRQ_MAX / 1024; i++) {
		w.now += CV_US(10);
		push(&w, 4, 1024 - FAIRQ_COST);
	}
	assert_int_equal(w.dropped, 1);
	assert_in_range(fairq_oldest_at(&w.q), CV_SEC(1), CV_SEC(1) + 1023);
	assert_int_equal(fairq_flow_size(&w.q, 7), 304 + FAIRQ_COST);
	assert_int_equal(pop(&w).flow, 7);
	/* What is chosen may be dropped: then it is not chosen any more. */
	assert_true(fairq_first(&w.q, &d));
	fairq_drop_oldest(&w.q);
	assert_false(fairq_is_chosen(&w.q));
	assert_in_range(fairq_oldest_at(&w.q), CV_SEC(1) + CV_US(30), CV_SEC(1) + CV_US(30) + 1023);
	deinit(&w);
}

/* One small datagram of each block stays: blocks are not to be had for ever. */
static void memory_is_bounded_in_any_order(void **state)
{
	static struct world w;

	(void)state;
	init(&w, 16 << 20);
	for (unsigned i = 0; i < 400; i++) {
		push(&w, 100 + i, 0);
		push(&w, 4, 40000);
		push(&w, 4, 25000);
		while (fairq_flow_size(&w.q, 4) > 0 && w.q.entries > 2)
			(void)pop(&w);
	}
	deinit(&w);
	/* One in a block leaves the most room unused. */
	init(&w, 16 << 20);
	for (unsigned i = 0; i < 50; i++)
		push(&w, i, 33000);
	assert_true(w.q.size > (FAIRQ_BLOCKS - 1) * 33000);
	deinit(&w);
	init(&w, 16 << 20);
	for (unsigned i = 0; i < 20; i++)
		push(&w, i, FAIRQ_DATAGRAM_MAX);
	assert_int_equal(w.q.entries, 4);
	deinit(&w);
}

static void no_memory_changes_nothing(void **state)
{
	static struct world w;

	(void)state;
	init(&w, 4096);
	push(&w, 1, 2000);
	assert_false(fairq_make_room(&w.q, 3000));
	assert_int_equal(fairq_push(&w.q, w.now, 2, payload, 3000), -ENOBUFS);
	assert_true(fairq_check(&w.q));
	assert_int_equal(w.q.entries, 1);
	assert_int_equal(pop(&w).size, 2000);
	assert_int_equal(w.pool.used, 0);
	assert_int_equal(fairq_oldest_at(&w.q), CV_TIME_NEVER);
	deinit(&w);
}

/* Each datagram begins with its flow and number: of a flow they leave in order, unchanged. */
static void random_flows_keep_their_order(void **state)
{
	static struct world w;
	static uint8_t bytes[FAIRQ_DATAGRAM_MAX];
	static uint32_t sent[FLOWS], seen[FLOWS];
	struct rng_seeded seeded;
	struct fairq_datagram d;
	struct rng rng;
	uint32_t head[2];
	int r;

	(void)state;
	init(&w, 600000); /* sometimes none */
	rng_seeded_init(&seeded, 3);
	rng = rng_from_seeded(&seeded);
	for (unsigned i = 0; i < 60000; i++) {
		size_t size =
			sizeof(head) + (size_t)rng_below(&rng, rng_below(&rng, 50) ? 1500 : 60000);

		head[0] = (uint32_t)rng_below(&rng, FLOWS);
		head[1] = ++sent[head[0]];
		memset(bytes + sizeof(head), (int)(head[1] & 0xff), size - sizeof(head));
		memcpy(bytes, head, sizeof(head));
		while (fairq_make_room(&w.q, size))
			continue;
		r = fairq_push(&w.q, w.now, head[0], bytes, size);
		assert_true(r == 0 || r == -ENOBUFS);
		w.now += rng_below(&rng, CV_US(20));
		assert_true(fairq_check(&w.q));
		while (rng_below(&rng, 3) == 0 && fairq_first(&w.q, &d)) {
			memcpy(head, d.bytes, sizeof(head));
			assert_int_equal(head[0], d.flow);
			assert_true(head[1] > seen[d.flow]);
			seen[d.flow] = head[1];
			for (size_t k = sizeof(head); k < d.size; k += 97)
				assert_int_equal(d.bytes[k], head[1] & 0xff);
			fairq_pop(&w.q);
			assert_true(fairq_check(&w.q));
		}
		if (rng_below(&rng, 100) == 0 && w.q.entries > 0)
			fairq_drop_oldest(&w.q);
	}
	deinit(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_game_waits_for_no_blast),
		cmocka_unit_test(shares_are_equal),
		cmocka_unit_test(the_longest_loses_its_oldest),
		cmocka_unit_test(memory_is_bounded_in_any_order),
		cmocka_unit_test(no_memory_changes_nothing),
		cmocka_unit_test(random_flows_keep_their_order),
	};

	return cmocka_run_group_tests_name("fairq", tests, NULL, NULL);
}

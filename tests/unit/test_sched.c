/* SPDX-License-Identifier: MIT */

/*
 * Goal: bulk streams share evenly, small and new ones come first but only for
 * their credit, lost bytes before all, and nobody starves. Method: nodes with a
 * backlog; each turn picks, writes a packet, charges, as streams.c does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tunnel/sched.h"

enum { NODES = 50, PACKET = 1200, QUANTUM = 12000 };

struct source {
	struct sched_node node;
	uint64_t backlog, sent;
};

struct world {
	struct sched sched;
	struct source source[NODES];
	cv_time now;
};

#define RTT CV_MS(50)

static void init(struct world *w)
{
	memset(w, 0, sizeof(*w));
	sched_init(&w->sched);
	sched_set_quantum(&w->sched, QUANTUM);
	w->now = CV_SEC(10);
	for (unsigned i = 0; i < NODES; i++)
		sched_node_init(&w->source[i].node);
}

static void give(struct world *w, unsigned i, uint64_t bytes)
{
	w->source[i].backlog += bytes;
	sched_set(&w->sched, &w->source[i].node, w->now, RTT, false, w->source[i].backlog > 0);
	assert_true(sched_check(&w->sched));
}

/* One packet of whoever is next; its index, or NODES. */
static unsigned step(struct world *w)
{
	struct sched_node *n = sched_pick(&w->sched, true);
	struct source *s;
	uint64_t size;

	if (!n)
		return NODES;
	s = CV_CONTAINER_OF(n, struct source, node);
	size = CV_MIN(s->backlog, (uint64_t)PACKET);
	assert_true(size > 0);
	s->backlog -= size;
	s->sent += size;
	(void)sched_charge(&w->sched, n, (size_t)size);
	sched_set(&w->sched, n, w->now, RTT, false, s->backlog > 0);
	assert_true(sched_check(&w->sched));
	return (unsigned)(s - w->source);
}

static void bulk_shares_evenly(void **state)
{
	static struct world w;
	uint64_t low = UINT64_MAX, high = 0;

	(void)state;
	init(&w);
	for (unsigned i = 0; i < NODES; i++)
		give(&w, i, UINT64_C(1) << 30);
	for (unsigned n = 0; n < 100000; n++)
		(void)step(&w);
	for (unsigned i = 0; i < NODES; i++) {
		low = CV_MIN(low, w.source[i].sent);
		high = CV_MAX(high, w.source[i].sent);
	}
	assert_true(high - low <= UINT64_C(2) * QUANTUM);
}

static void a_turn_is_a_quantum(void **state)
{
	static struct world w;
	unsigned first, changes = 0;

	(void)state;
	init(&w);
	for (unsigned i = 0; i < 4; i++)
		give(&w, i, UINT64_C(1) << 30);
	while (w.source[3].sent < SCHED_CREDIT + PACKET)
		(void)step(&w);
	first = step(&w);
	for (unsigned n = 0; n < 400; n++) {
		unsigned next = step(&w);

		changes += next != first;
		first = next;
	}
	assert_true(changes >= 400 * PACKET / QUANTUM - 2);
	assert_true(changes <= 400 * PACKET / QUANTUM + 2);
}

static void a_new_stream_goes_first_for_its_credit(void **state)
{
	static struct world w;

	(void)state;
	init(&w);
	for (unsigned i = 0; i < 10; i++)
		give(&w, i, UINT64_C(1) << 30);
	for (unsigned n = 0; n < 5000; n++)
		(void)step(&w);
	give(&w, 20, 1 << 20);
	for (unsigned n = 0; n < SCHED_CREDIT / PACKET; n++)
		assert_int_equal(step(&w), 20);
	(void)step(&w);
	/* Then it is one of eleven. */
	for (unsigned n = 0; n < 10 * QUANTUM / PACKET; n++)
		assert_int_not_equal(step(&w), 20);
}

static void a_stream_that_rests_is_sparse_again(void **state)
{
	static struct world w;

	(void)state;
	init(&w);
	give(&w, 0, UINT64_C(1) << 30);
	for (unsigned n = 0; n < 100; n++)
		(void)step(&w);
	for (unsigned n = 0; n < 100; n++) {
		give(&w, 1, 100);
		assert_int_equal(step(&w), 1);
		w.now += CV_MS(60);
		(void)step(&w);
	}
}

/* Without a rest of a round trip the credit is not renewed, however often it runs dry. */
static void bursts_do_not_renew_credit(void **state)
{
	static struct world w;

	(void)state;
	init(&w);
	give(&w, 0, UINT64_C(1) << 30);
	for (unsigned n = 0; n < 100; n++)
		(void)step(&w);
	for (unsigned n = 0; n < 1000; n++) {
		give(&w, 1, PACKET);
		(void)step(&w);
		(void)step(&w);
		w.now += CV_MS(1);
	}
	assert_true(w.source[0].sent >= UINT64_C(900) * PACKET);
}

static void nobody_starves(void **state)
{
	static struct world w;
	struct rng_seeded seeded;
	struct rng rng;
	uint64_t last[NODES] = { 0 };

	(void)state;
	init(&w);
	rng_seeded_init(&seeded, 1);
	rng = rng_from_seeded(&seeded);
	for (unsigned n = 0; n < 100000; n++) {
		unsigned who = (unsigned)rng_below(&rng, NODES);

		if (w.source[who].backlog == 0)
			last[who] = n;
		give(&w, who, rng_below(&rng, 3000));
		who = step(&w);
		if (who < NODES)
			last[who] = n;
		w.now += CV_US(100);
		for (unsigned i = 0; i < NODES; i++) {
			if (w.source[i].backlog > 0)
				assert_true(n - last[i] < 2 * NODES * QUANTUM / PACKET);
		}
	}
}

static void urgent_needs_no_window_and_goes_first(void **state)
{
	static struct world w;
	struct sched_node *a, *b;

	(void)state;
	init(&w);
	a = &w.source[0].node;
	b = &w.source[1].node;
	give(&w, 0, 100);
	assert_null(sched_pick(&w.sched, false));
	assert_ptr_equal(sched_pick(&w.sched, true), a);
	sched_set(&w.sched, b, w.now, RTT, true, false);
	assert_ptr_equal(sched_pick(&w.sched, false), b);
	assert_ptr_equal(sched_pick(&w.sched, true), b);
	/* Both kinds at once: its place for new data stays. */
	sched_set(&w.sched, a, w.now, RTT, true, true);
	sched_set(&w.sched, b, w.now, RTT, false, false);
	assert_ptr_equal(sched_pick(&w.sched, false), a);
	sched_set(&w.sched, a, w.now, RTT, false, true);
	assert_null(sched_pick(&w.sched, false));
	assert_true(sched_has_data(&w.sched));
	sched_remove(a);
	assert_null(sched_pick(&w.sched, true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bulk_shares_evenly),
		cmocka_unit_test(a_turn_is_a_quantum),
		cmocka_unit_test(a_new_stream_goes_first_for_its_credit),
		cmocka_unit_test(a_stream_that_rests_is_sparse_again),
		cmocka_unit_test(bursts_do_not_renew_credit),
		cmocka_unit_test(nobody_starves),
		cmocka_unit_test(urgent_needs_no_window_and_goes_first),
	};

	return cmocka_run_group_tests_name("sched", tests, NULL, NULL);
}

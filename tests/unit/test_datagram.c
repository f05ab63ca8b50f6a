/* SPDX-License-Identifier: MIT */

/*
 * Goal: a datagram arrives whole or not at all, and what nobody takes is bounded
 * in bytes and time. Method: two ends joined by packets of several sizes, in any
 * order; then the limits of protocol rule 7.8 one by one, with impossible parts.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tunnel/datagram.h"

enum { PACKETS_MAX = 128, ROOM_MAX = 9000, DATAGRAM_MAX = 65507 };

struct world {
	struct pool pool;
	struct datagrams *a, *b;
	cv_time now;
	struct {
		size_t size;
		uint8_t bytes[ROOM_MAX];
	} packet[PACKETS_MAX];
	unsigned count;
};

static uint8_t payload[DATAGRAM_MAX + 1];

static void init(struct world *w, uint64_t budget)
{
	memset(w, 0, sizeof(*w));
	pool_init(&w->pool, budget);
	assert_int_equal(datagrams_new(&w->a, &w->pool), 0);
	assert_int_equal(datagrams_new(&w->b, &w->pool), 0);
	w->now = CV_SEC(1);
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(i * 13 + (i >> 8));
}

static void deinit(struct world *w)
{
	assert_true(datagrams_check(w->a));
	assert_true(datagrams_check(w->b));
	datagrams_free(w->a);
	datagrams_free(w->b);
	assert_int_equal(w->pool.used, 0);
	pool_deinit(&w->pool);
}

/* Packets of @room until nothing more comes. */
static void send_all(struct world *w, size_t room)
{
	struct wr out;

	while (datagrams_has_data(w->a) && w->count < PACKETS_MAX) {
		out = wr_init(w->packet[w->count].bytes, room);
		w->packet[w->count].size = datagrams_write(w->a, w->now, &out, room, true);
		assert_int_equal(w->packet[w->count].size, wr_size(&out));
		w->count++;
		assert_true(datagrams_check(w->a));
	}
}

static void receive(struct world *w, unsigned i)
{
	struct rd in = rd_init(w->packet[i].bytes, w->packet[i].size);
	struct wire_frame f;

	while (wire_read_frame(&in, &f) == WIRE_FRAME) {
		assert_int_equal(datagrams_on_frame(w->b, w->now, &f), 0);
		assert_true(datagrams_check(w->b));
	}
}

static void expect(struct world *w, uint64_t flow, size_t size)
{
	uint64_t got_flow = 0;
	const uint8_t *bytes = NULL;
	size_t got = 0;

	assert_true(datagrams_next(w->b, &got_flow, &bytes, &got));
	assert_int_equal(got_flow, flow);
	assert_int_equal(got, size);
	assert_memory_equal(bytes, payload, size);
}

static void expect_none(struct world *w)
{
	uint64_t flow;
	const uint8_t *bytes;
	size_t size;

	assert_false(datagrams_next(w->b, &flow, &bytes, &size));
}

static void every_size_arrives_in_any_order(void **state)
{
	static const size_t sizes[] = { 0,    1,    100,  243,  1147, 1148,  1149,
		                        1187, 1188, 1200, 1472, 4096, 20000, DATAGRAM_MAX };
	static const size_t rooms[] = { 600, 1160, 1200, 1452, 8900 };
	static struct world w;

	(void)state;
	for (size_t k = 0; k < CV_ARRAY_SIZE(rooms); k++) {
		for (size_t i = 0; i < CV_ARRAY_SIZE(sizes); i++) {
			/* Large ones need parts that fit packets of the base size. */
			if (rooms[k] < 1100 && sizes[i] > 20000)
				continue;
			init(&w, 4 << 20);
			assert_int_equal(datagrams_send(w.a, w.now, 5, payload, sizes[i]), 0);
			send_all(&w, rooms[k]);
			assert_false(datagrams_has_data(w.a));
			while (w.count > 0)
				receive(&w, --w.count);
			expect(&w, 5, sizes[i]);
			expect_none(&w);
			datagrams_settle(w.b);
			assert_int_equal(w.pool.used, 0);
			deinit(&w);
		}
	}
}

static void a_missing_part_loses_one_datagram_only(void **state)
{
	static struct world w;

	(void)state;
	init(&w, 4 << 20);
	assert_int_equal(datagrams_send(w.a, w.now, 1, payload, 2000), 0);
	assert_int_equal(datagrams_send(w.a, w.now, 2, payload, 300), 0);
	assert_int_equal(datagrams_send(w.a, w.now, 3, payload, 3000), 0);
	send_all(&w, 1200);
	for (unsigned i = 1; i < w.count; i++) {
		receive(&w, i);
		receive(&w, i); /* duplicates of parts do no harm */
	}
	w.now += CV_MS(499);
	datagrams_on_deadline(w.b, w.now);
	assert_true(datagrams_deadline(w.b) > w.now);
	assert_true(datagrams_deadline(w.b) != CV_TIME_NEVER);
	w.now = datagrams_deadline(w.b);
	datagrams_on_deadline(w.b, w.now);
	while (datagrams_deadline(w.b) != CV_TIME_NEVER) {
		w.now = datagrams_deadline(w.b);
		datagrams_on_deadline(w.b, w.now);
	}
	receive(&w, 0); /* too late to be whole */
	deinit(&w);
}

static void the_queue_drops_its_oldest(void **state)
{
	static struct world w;

	(void)state;
	init(&w, 16 << 20);
	for (unsigned i = 0; i < 2000; i++) {
		assert_int_equal(datagrams_send(w.a, w.now, 3, payload, 1000 + i % 9), 0);
		assert_true(datagrams_check(w.a));
	}
	assert_true(w.pool.used <= UINT64_C(256) * 1024 + UINT64_C(2) * 65536);
	send_all(&w, 1200);
	receive(&w, 0);
	expect(&w, 3, 1000 + (2000 - 262144 / 1024) % 9); /* with its entry: 1024 */
	w.now += CV_MS(101);
	assert_true(datagrams_deadline(w.a) <= w.now);
	datagrams_on_deadline(w.a, w.now);
	assert_false(datagrams_has_data(w.a));
	assert_int_equal(datagrams_deadline(w.a), CV_TIME_NEVER);
	/* What arrives and is not taken is bounded too. */
	for (uint64_t i = 0; i < 3000; i++) {
		struct wire_frame f = { .type = FRAME_DATAGRAM };

		f.datagram.flow = i;
		f.datagram.count = 1;
		f.datagram.bytes = payload;
		f.datagram.size = 1000;
		assert_int_equal(datagrams_on_frame(w.b, w.now, &f), 0);
	}
	assert_true(w.pool.used <= UINT64_C(1024) * 1024 + UINT64_C(2) * 65536);
	assert_true(datagrams_check(w.b));
	deinit(&w);
}

/* What was read can be read until all was read and more arrives: the reader gathers many. */
static void what_was_read_stays(void **state)
{
	static struct world w;
	const uint8_t *list[200];
	struct wire_frame f = { .type = FRAME_DATAGRAM };
	uint64_t flow;
	size_t size;

	(void)state;
	init(&w, 16 << 20);
	f.datagram.count = 1;
	f.datagram.bytes = payload;
	f.datagram.size = 1200;
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(datagrams_on_frame(w.b, w.now, &f), 0);
	for (unsigned i = 0; i < 200; i++)
		assert_true(datagrams_next(w.b, &flow, &list[i], &size));
	expect_none(&w);
	for (unsigned i = 0; i < 200; i++)
		assert_memory_equal(list[i], payload, 1200);
	datagrams_settle(w.b);
	assert_int_equal(w.pool.used, 0);
	/* Half of them, then more: the first half stays. */
	for (unsigned i = 0; i < 200; i++)
		assert_int_equal(datagrams_on_frame(w.b, w.now, &f), 0);
	for (unsigned i = 0; i < 100; i++)
		assert_true(datagrams_next(w.b, &flow, &list[i], &size));
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(datagrams_on_frame(w.b, w.now, &f), 0);
	for (unsigned i = 0; i < 100; i++)
		assert_memory_equal(list[i], payload, 1200);
	for (unsigned i = 0; i < 200; i++)
		expect(&w, 0, 1200);
	expect_none(&w);
	deinit(&w);
}

/* In a train of smaller packets nothing is cut, and nothing is held up for ever. */
static void small_packets_of_a_train_cut_nothing(void **state)
{
	static struct world w;
	uint8_t bytes[1400];
	struct wr out;

	(void)state;
	init(&w, 16 << 20);
	assert_int_equal(datagrams_send(w.a, w.now, 1, payload, 1300), 0);
	out = wr_init(bytes, 1000);
	assert_int_equal(datagrams_write(w.a, w.now, &out, 1400, false), 0);
	assert_int_equal(datagrams_write(w.a, w.now, &out, 1400, false), 0);
	out = wr_init(bytes, 1400);
	assert_int_equal(datagrams_write(w.a, w.now, &out, 1400, true), 1313);
	assert_false(datagrams_has_data(w.a));
	/* Put off once where others took its room, then cut: the first part fills the packet. */
	assert_int_equal(datagrams_send(w.a, w.now, 1, payload, 1300), 0);
	out = wr_init(bytes, 1300);
	assert_int_equal(datagrams_write(w.a, w.now, &out, 1400, true), 0);
	assert_int_equal(datagrams_write(w.a, w.now, &out, 1400, true), 1300);
	out = wr_init(bytes, 1400);
	assert_int_equal(datagrams_write(w.a, w.now, &out, 1400, true), 13 + 13);
	/* A path that has become narrower than the parts: lost. */
	assert_int_equal(datagrams_send(w.a, w.now, 1, payload, 3000), 0);
	out = wr_init(bytes, 1400);
	assert_int_equal(datagrams_write(w.a, w.now, &out, 1400, true), 1336);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(datagrams_has_data(w.a));
		out = wr_init(bytes, 1200);
		assert_int_equal(datagrams_write(w.a, w.now, &out, 1200, true), 0);
	}
	assert_false(datagrams_has_data(w.a));
	deinit(&w);
}

/* A QUIC Initial, and a packet of the smallest size that every path carries. */
static void a_quic_initial_takes_two_parts(void **state)
{
	static struct world w;

	(void)state;
	init(&w, 16 << 20);
	assert_int_equal(datagrams_send(w.a, w.now, 1, payload, 1200), 0);
	send_all(&w, 1200 - 32);
	assert_int_equal(w.count, 2);
	receive(&w, 1);
	receive(&w, 0);
	expect(&w, 1, 1200);
	deinit(&w);
}

static struct wire_frame part(uint64_t flow, uint16_t id, uint8_t index, uint8_t count, size_t size)
{
	struct wire_frame f = { .type = FRAME_DATAGRAM };

	f.datagram.flow = flow;
	f.datagram.id = id;
	f.datagram.index = index;
	f.datagram.count = count;
	f.datagram.bytes = payload;
	f.datagram.size = size;
	return f;
}

static void reassembly_is_bounded(void **state)
{
	static struct world w;
	struct wire_frame f;

	(void)state;
	init(&w, 16 << 20);
	for (unsigned i = 0; i < 1000; i++) {
		f = part(i, 1, (uint8_t)(i % 3), 3, 1000);
		assert_int_equal(datagrams_on_frame(w.b, w.now + i, &f), 0);
		assert_true(datagrams_check(w.b));
		assert_true(w.pool.used <= UINT64_C(128) * 1024);
	}
	expect_none(&w);
	/* A number used twice: neither is whole. */
	f = part(5000, 1, 0, 2, 1000);
	assert_int_equal(datagrams_on_frame(w.b, w.now, &f), 0);
	f = part(5000, 1, 1, 3, 1000);
	assert_int_equal(datagrams_on_frame(w.b, w.now, &f), 0);
	/* The last part larger than the others: never made so. */
	f = part(6000, 1, 0, 2, 10);
	assert_int_equal(datagrams_on_frame(w.b, w.now, &f), 0);
	f = part(6000, 1, 1, 2, 11);
	assert_int_equal(datagrams_on_frame(w.b, w.now, &f), 0);
	expect_none(&w);
	deinit(&w);
}

static void impossible_parts(void **state)
{
	static const struct {
		const char *what;
		uint8_t index;
		uint8_t count;
		int result;
		size_t size;
	} rows[] = {
		{ "no parts", 0, 0, -EPROTO, 1 },
		{ "index at the count", 2, 2, -EPROTO, 1 },
		{ "index at one", 1, 1, -EPROTO, 1 },
		{ "65 parts", 0, 65, -EPROTO, 1 },
		{ "64 parts", 0, 64, 0, 1 },
		{ "the last of 64", 63, 64, 0, 1 },
		{ "an empty part", 0, 2, -EPROTO, 0 },
		{ "an empty datagram", 0, 1, 0, 0 },
		{ "parts that make too much", 0, 3, -EPROTO, 32754 },
		{ "parts that make all but the last", 0, 3, 0, 32753 },
		{ "the largest", 0, 1, 0, DATAGRAM_MAX },
		{ "larger than the largest", 0, 1, -EPROTO, DATAGRAM_MAX + 1 },
	};
	static struct world w;
	struct wire_frame f;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		init(&w, 16 << 20);
		f = part(1, 1, rows[i].index, rows[i].count, rows[i].size);
		if (datagrams_on_frame(w.b, w.now, &f) != rows[i].result)
			fail_msg("%s", rows[i].what);
		deinit(&w);
	}
}

static void too_large_and_no_memory(void **state)
{
	static struct world w;
	struct wire_frame f;
	uint64_t all;

	(void)state;
	init(&w, 16 << 20);
	assert_int_equal(datagrams_send(w.a, w.now, 1, payload, DATAGRAM_MAX + 1), -EMSGSIZE);
	all = w.pool.budget;
	assert_int_equal(pool_charge(&w.pool, all), 0);
	assert_int_equal(datagrams_send(w.a, w.now, 1, payload, 10), -ENOBUFS);
	f = part(1, 1, 0, 2, 100);
	assert_int_equal(datagrams_on_frame(w.b, w.now, &f), 0);
	f = part(1, 1, 0, 1, 100);
	assert_int_equal(datagrams_on_frame(w.b, w.now, &f), 0);
	expect_none(&w);
	pool_uncharge(&w.pool, all);
	deinit(&w);
}

static void random_parts_never_break_it(void **state)
{
	static struct world w;
	struct rng_seeded seeded;
	struct rng rng;
	struct wire_frame f;
	uint64_t flow;
	const uint8_t *bytes;
	size_t size;
	int r;

	(void)state;
	init(&w, 300000);
	rng_seeded_init(&seeded, 1);
	rng = rng_from_seeded(&seeded);
	for (unsigned i = 0; i < 10000; i++) {
		size = (size_t)rng_below(&rng, rng_below(&rng, 20) ? 2000 : DATAGRAM_MAX);
		f = part(rng_below(&rng, 3), (uint16_t)rng_below(&rng, 4),
		         (uint8_t)rng_below(&rng, 5), (uint8_t)rng_below(&rng, 5), size);
		r = datagrams_on_frame(w.b, w.now, &f);
		assert_true(r == 0 || r == -EPROTO);
		assert_true(datagrams_check(w.b));
		if (rng_below(&rng, 3) == 0)
			(void)datagrams_next(w.b, &flow, &bytes, &size);
		w.now += CV_MS(rng_below(&rng, 20));
		if (rng_below(&rng, 10) == 0)
			datagrams_on_deadline(w.b, w.now);
		assert_true(datagrams_check(w.b));
	}
	deinit(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_size_arrives_in_any_order),
		cmocka_unit_test(a_missing_part_loses_one_datagram_only),
		cmocka_unit_test(the_queue_drops_its_oldest),
		cmocka_unit_test(what_was_read_stays),
		cmocka_unit_test(small_packets_of_a_train_cut_nothing),
		cmocka_unit_test(a_quic_initial_takes_two_parts),
		cmocka_unit_test(reassembly_is_bounded),
		cmocka_unit_test(impossible_parts),
		cmocka_unit_test(too_large_and_no_memory),
		cmocka_unit_test(random_parts_never_break_it),
	};

	return cmocka_run_group_tests_name("datagram", tests, NULL, NULL);
}

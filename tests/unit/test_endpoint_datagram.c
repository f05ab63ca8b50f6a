/* SPDX-License-Identifier: MIT */

/*
 * Goal: datagrams of flows come whole or not at all, in no promised order, soon; streams and
 * datagrams share a path as builder.c says; where flows may not go, datagrams do not.
 * Method: a pair of endpoints over links that lose, reorder and are narrow.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/endpoint_pair.h"

enum { A = 0, B = 1, LARGEST = 65507, HEADER = 16 };

static struct pair p;

/* What arrived: every datagram begins with its number and when it was sent. */
static struct {
	unsigned count;
	uint64_t flow;
	uint64_t bytes;
	cv_duration slowest;
	uint8_t seen[4096];
} got[2];

static uint8_t payload[LARGEST + 1];

static void on_datagram(struct pair *pair, unsigned side, uint64_t flow, const uint8_t *bytes,
                        size_t size)
{
	uint64_t number, at;

	got[side].count++;
	got[side].flow = flow;
	got[side].bytes += size;
	if (size < HEADER)
		return;
	memcpy(&number, bytes, 8);
	memcpy(&at, bytes + 8, 8);
	got[side].slowest = CV_MAX(got[side].slowest, pair->now - at);
	for (size_t i = HEADER; i < size; i++)
		assert_int_equal(bytes[i], (uint8_t)(number + i));
	assert_true(number < CV_ARRAY_SIZE(got[side].seen));
	got[side].seen[number]++;
}

static int give(unsigned side, uint64_t flow, uint64_t number, size_t size)
{
	memcpy(payload, &number, 8);
	memcpy(payload + 8, &p.now, 8);
	for (size_t i = HEADER; i < size; i++)
		payload[i] = (uint8_t)(number + i);
	return endpoint_send_datagram(p.side[side].e, p.now, p.side[side].peer, flow, payload,
	                              size);
}

static void begin(uint64_t seed)
{
	memset(got, 0, sizeof(got));
	pair_init(&p, seed);
	p.on_datagram = on_datagram;
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	pair_run(&p, CV_SEC(2)); /* packets have their size */
}

static void every_size_arrives(void **state)
{
	static const size_t sizes[] = { 0, 1, HEADER, 148, 1200, 1372, 1420, 1472, 9000, LARGEST };

	(void)state;
	begin(1);
	assert_int_equal(give(A, 7, 0, LARGEST + 1), -EMSGSIZE);
	for (unsigned i = 0; i < CV_ARRAY_SIZE(sizes); i++) {
		assert_int_equal(give(A, 7, i, sizes[i]), 0);
		assert_int_equal(give(B, 7, i, sizes[i]), 0);
		pair_poke(&p, A);
		pair_poke(&p, B);
		pair_run(&p, CV_SEC(1));
		assert_int_equal(got[A].count, i + 1);
		assert_int_equal(got[B].count, i + 1);
		assert_int_equal(got[B].flow, 7);
	}
	pair_deinit(&p);
}

/* One in thirty is lost, and the others come in any order. */
static bool rough(struct pair *pair, struct pair_datagram *d)
{
	if (rng_below(&pair->rng, 30) == 0)
		return true;
	pair_copy(pair, d, d->at + rng_below(&pair->rng, CV_MS(30)));
	return true;
}

static void a_rough_path_loses_and_nothing_else(void **state)
{
	enum { COUNT = 1000 };
	unsigned twice = 0;

	(void)state;
	begin(2);
	p.filter = rough;
	for (unsigned i = 0; i < COUNT; i++) {
		assert_int_equal(give(A, 3, i, 100 + i % 1300), 0);
		assert_int_equal(give(B, 3, i, 100 + i % 1300), 0);
		pair_poke(&p, A);
		pair_poke(&p, B);
		pair_run(&p, CV_MS(5));
	}
	pair_run(&p, CV_SEC(2));
	for (unsigned i = 0; i < COUNT; i++)
		twice += got[A].seen[i] > 1 || got[B].seen[i] > 1;
	assert_int_equal(twice, 0);
	/* Some are in two parts. */
	assert_in_range(got[A].count, COUNT * 85 / 100, COUNT * 98 / 100);
	assert_in_range(got[B].count, COUNT * 85 / 100, COUNT * 98 / 100);
	pair_deinit(&p);
}

static void nobody_to_send_to(void **state)
{
	struct path *path;

	(void)state;
	memset(got, 0, sizeof(got));
	pair_init(&p, 3);
	p.on_datagram = on_datagram;
	pair_start(&p);
	assert_int_equal(give(A, 1, 0, 100), -ENOTCONN);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	assert_int_equal(give(A, 1, 0, 100), 0);
	pair_poke(&p, A);
	pair_run(&p, CV_SEC(1));
	assert_int_equal(got[B].count, 1);
	/* `path: direct` and only a relay: not by that, neither new ones nor what is queued. */
	assert_int_equal(give(A, 1, 0, 100), 0);
	path = paths_active(&pair_session(&p, A)->paths);
	path->to.is_relay = true;
	pair_session(&p, A)->policy = POLICY_DIRECT;
	assert_int_equal(give(A, 1, 0, 100), -ENOTCONN);
	p.train = (struct train){ .bytes = p.train_bytes };
	assert_false(endpoint_write(p.side[A].e, p.now, &p.train));
	path->to.is_relay = false;
	pair_session(&p, A)->policy = POLICY_AUTO;
	pair_poke(&p, A);
	pair_run(&p, CV_SEC(1));
	assert_int_equal(got[B].count, 2);
	pair_deinit(&p);
}

/* When its first datagram is handed out, a flow is known. */
static void open_first(struct pair *pair, unsigned side, uint64_t flow, const uint8_t *bytes,
                       size_t size)
{
	bool is_known = false;

	for (unsigned i = 0; i < pair->side[side].flow_count; i++)
		is_known |= pair->side[side].flows[i].id == flow;
	assert_true(is_known);
	on_datagram(pair, side, flow, bytes, size);
}

static void the_first_rides_with_the_open(void **state)
{
	static const size_t sizes[] = { 40, 1200, 1350 };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(sizes); i++) {
		struct pair_flow *f;
		uint64_t before;

		begin(4 + i);
		p.on_datagram = open_first;
		before = p.side[A].datagrams;
		f = pair_open_for(&p, A, 0, true); /* nothing is sent yet */
		CV_ASSERT(f);
		(void)stream_write(f->streams, f->stream, (const uint8_t *)"\0", 1);
		f->goal = f->written = 1;
		assert_int_equal(give(A, f->id, 0, sizes[i]), 0);
		pair_poke(&p, A);
		pair_run(&p, CV_MS(15));
		assert_int_equal(got[B].count, 1);
		if (sizes[i] <= 1200) /* one packet and the probes of two seconds */
			assert_in_range(p.side[A].datagrams - before, 1, 2);
		pair_deinit(&p);
	}
}

/* 10 Mbit/s with a queue of 50 ms, A to B. */
static cv_time free_at;

static bool narrow(struct pair *pair, struct pair_datagram *d)
{
	cv_time begins = CV_MAX(free_at, pair->now);

	if (d->sender != A)
		return false;
	if (begins > pair->now + CV_MS(50))
		return true;
	free_at = begins + d->size * 800;
	d->at = free_at + pair->delay;
	return false;
}

struct share {
	uint64_t datagrams, stream; /* bytes of two seconds */
	cv_duration slowest;
};

/* Sends @size bytes of datagrams every @gap beside a transfer that never ends, for 4 s, of which
 * the last two are looked at. */
static struct share beside_bulk(uint64_t seed, size_t size, cv_duration gap)
{
	struct share s;
	uint64_t read;

	begin(seed);
	free_at = 0;
	p.filter = narrow;
	p.sinks = true;
	assert_non_null(pair_open(&p, A, UINT64_C(1) << 40));
	pair_run(&p, CV_SEC(2));
	for (cv_time until = p.now + CV_SEC(2); p.now < until; pair_run(&p, gap)) {
		assert_int_equal(give(A, 9, 0, size), 0);
		pair_poke(&p, A);
	}
	memset(got, 0, sizeof(got));
	read = p.side[B].flows[0].read;
	for (cv_time until = p.now + CV_SEC(2); p.now < until; pair_run(&p, gap)) {
		assert_int_equal(give(A, 9, 0, size), 0);
		pair_poke(&p, A);
	}
	s.datagrams = got[B].bytes;
	s.slowest = got[B].slowest;
	s.stream = p.side[B].flows[0].read - read;
	pair_deinit(&p);
	return s;
}

static void streams_and_datagrams_share(void **state)
{
	struct share s;

	(void)state;
	/* 20 Mbit/s of datagrams into 10: half each. */
	s = beside_bulk(8, 1200, CV_US(480));
	assert_in_range(s.datagrams, 900000, 1600000);
	assert_in_range(s.stream, 800000, 1600000);
	/* A game: all of it arrives, and waits for the link's queue only. */
	s = beside_bulk(9, 100, CV_MS(16));
	assert_in_range(s.datagrams, 12000, 12600);
	assert_in_range(s.stream, 1800000, 2500000);
	assert_true(s.slowest < CV_MS(75));
}

/* Datagrams of one size leave in trains, also where an ACK rides with the first. */
static unsigned longest;

static void on_train(struct pair *pair, unsigned side, const struct train *train)
{
	(void)pair;
	if (side == A)
		longest = CV_MAX(longest, train->count);
}

static void they_leave_in_trains(void **state)
{
	(void)state;
	begin(10);
	p.delay = CV_US(200); /* unpaced */
	pair_run(&p, CV_SEC(30));
	p.on_train = on_train;
	for (unsigned i = 0; i < 200; i++) {
		for (unsigned k = 0; k < 20; k++)
			assert_int_equal(give(A, 9, 0, 1200), 0);
		assert_int_equal(give(B, 9, 0, 1200), 0);
		pair_poke(&p, A);
		pair_poke(&p, B);
		pair_run(&p, CV_MS(20));
	}
	assert_int_equal(got[B].count, 4000);
	assert_true(longest >= 15);
	pair_deinit(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_size_arrives),
		cmocka_unit_test(a_rough_path_loses_and_nothing_else),
		cmocka_unit_test(nobody_to_send_to),
		cmocka_unit_test(the_first_rides_with_the_open),
		cmocka_unit_test(streams_and_datagrams_share),
		cmocka_unit_test(they_leave_in_trains),
	};

	return cmocka_run_group_tests_name("endpoint_datagram", tests, NULL, NULL);
}

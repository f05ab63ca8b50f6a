/* SPDX-License-Identifier: MIT */

/*
 * Goal: two hard routers, one of them at random within a block, are crossed with what the plan
 * says, by both sides, and with no more. Method: the world of punching; every probe is looked at:
 * each socket and port once, none outside of what was told, half of a block at most.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tests/unit/punch_words.h"

static struct nat_profile in_block(uint16_t size)
{
	struct nat_profile p = world_hard(NAT_PORTS_RANDOM);

	p.port_low = 8192;
	p.port_high = (uint16_t)(8192 + size - 1);
	return p;
}

static struct wire_punch cross(uint16_t round, uint16_t low, uint16_t high)
{
	struct wire_punch p = asks(PUNCH_CROSS, round);

	p.step = 0;
	p.count = 0;
	p.address.port = low;
	p.port_high = high;
	return p;
}

/* All probes: @sockets of them, from the one @skip after the first on, to ports of [low, high]. */
static void expect_cells(unsigned count, unsigned skip, unsigned sockets, uint16_t low,
                         uint16_t high)
{
	static bool seen[64][65536];

	assert_true(sockets <= 64);
	memset(seen, 0, sizeof(seen));
	assert_int_equal(w.probe_count, count);
	for (unsigned i = 0; i < count; i++) {
		unsigned socket = probe(i)->socket - (unsigned)SOCKET_EXTRA - skip;

		assert_true(socket < sockets);
		assert_true(probe(i)->to.port >= low && probe(i)->to.port <= high);
		assert_false(seen[socket][probe(i)->to.port]);
		seen[socket][probe(i)->to.port] = true;
	}
}

/* We are random, the peer's ports are known: half of our block is aimed at its row. */
static void row_is_aimed_at(void **state)
{
	struct wire_punch said = { 0 }, answer;

	(void)state;
	for (unsigned side = SMALLER; side <= LARGER; side++) {
		meet(side, in_block(512), world_hard(NAT_PORTS_REGULAR));
		world_run(&w, CV_MS(100));
		assert_int_equal(role_now(), PUNCH_LEAD_CROSS);
		assert_int_equal(w.open, 8);
		assert_int_equal(w.requests, 0);
		assert_true(world_said(&w, &said));
		assert_int_equal(said.kind, PUNCH_CROSS);
		assert_int_equal(said.address.port, 8192);
		assert_int_equal(said.port_high, 8192 + 511);
		assert_int_equal(w.probe_count, 0);
		answer = asks(PUNCH_ANSWER, said.round);
		answer.count = 32;
		world_says_punch(&w, &answer);
		world_run(&w, CV_SEC(10));
		expect_cells(256, 0, 8, 20000, 20031);
		is_over();
		/* Neither soon, nor for somebody else. */
		assert_true(w.s->range_at > w.now && w.e->punch.cross_at > w.now);
		/* When it is tried again is known at once: the user is told. */
		assert_true(w.s->punch_at >= CV_MAX(w.s->range_at, w.e->punch.cross_at));
		world_run(&w, CV_SEC(110));
		assert_int_equal(w.e->punch.stats.attempts, 1);
		world_run(&w, CV_SEC(10));
		assert_int_equal(w.e->punch.stats.attempts, 2);
		world_deinit(&w);
	}
	/* No answer comes. */
	meet(SMALLER, in_block(512), world_hard(NAT_PORTS_REGULAR));
	world_run(&w, CV_SEC(10));
	assert_int_equal(w.probe_count, 0);
	is_over();
	world_deinit(&w);
}

/* The peer is random: our next ports go to one of its own, which is not always the same. */
static void row_goes_to_one_port(void **state)
{
	struct wire_punch said = { 0 }, wish;
	uint16_t first = 0;
	unsigned same = 0;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		struct nat_profile mine = world_hard(NAT_PORTS_REGULAR), theirs = in_block(512);

		world_init(&w, LARGER, 5 + i);
		world_know(&w, &mine);
		world_says_nat(&w, &theirs);
		wish = cross(3, 8192, 8192 + 511);
		world_says_punch(&w, &wish);
		world_run(&w, CV_SEC(2));
		assert_int_equal(role_now(), PUNCH_HELP_CROSS);
		assert_int_equal(w.open, 33);
		assert_int_equal(w.requests, 1);
		assert_true(world_said(&w, &said));
		assert_int_equal(said.kind, PUNCH_ANSWER);
		assert_int_equal(said.round, 3);
		assert_int_equal(said.address.port, WORLD_FIRST_PORT + 1);
		assert_int_equal(said.step, 1);
		assert_int_equal(said.count, 32);
		assert_int_equal(said.port_high, 0);
		expect_cells(32, 1, 32, probe(0)->to.port, probe(0)->to.port);
		assert_true(probe(0)->to.port >= 8192 && probe(0)->to.port <= 8192 + 511);
		first = i == 0 ? probe(0)->to.port : first;
		same += probe(0)->to.port == first;
		/* Told twice. */
		world_says_punch(&w, &wish);
		world_run(&w, CV_SEC(2));
		assert_int_equal(w.probe_count, 32);
		/* Its sockets stay while the peer may send. */
		assert_int_equal(w.open, 33);
		world_run(&w, CV_SEC(40));
		is_over();
		world_deinit(&w);
	}
	assert_true(same < 4);
}

/* Both are random: each sprays the other's block. */
static void blocks_are_crossed(void **state)
{
	struct wire_punch said = { 0 }, answer, wish;

	(void)state;
	meet(SMALLER, in_block(1024), in_block(512));
	world_run(&w, CV_MS(100));
	assert_int_equal(role_now(), PUNCH_LEAD_CROSS);
	assert_int_equal(w.open, 1);
	assert_true(world_said(&w, &said));
	answer = cross(said.round, 20000, 20511);
	answer.kind = PUNCH_ANSWER;
	answer.count = 256;
	world_says_punch(&w, &answer);
	world_run(&w, CV_SEC(20));
	expect_cells(512, 0, 1, 20000, 20511);
	is_over();
	world_deinit(&w);

	meet(LARGER, in_block(1024), in_block(512));
	world_run(&w, CV_SEC(3));
	assert_int_equal(role_now(), PUNCH_NOBODY);
	wish = cross(9, 20000, 20511);
	world_says_punch(&w, &wish);
	world_run(&w, CV_SEC(10));
	assert_true(world_said(&w, &said));
	assert_int_equal(said.kind, PUNCH_ANSWER);
	assert_int_equal(said.address.port, 8192);
	assert_int_equal(said.port_high, 8192 + 1023);
	assert_int_equal(said.count, 512);
	expect_cells(512, 0, 1, 20000, 20511);
	world_run(&w, CV_SEC(40));
	is_over();
	world_deinit(&w);
}

/* Wishes that make no sense, or come to a router that needs none. */
static void what_is_ignored(void **state)
{
	struct wire_punch wish = cross(1, 9000, 8999);

	(void)state;
	meet(LARGER, in_block(512), in_block(512));
	world_says_punch(&w, &wish);
	world_run(&w, CV_SEC(5));
	assert_int_equal(w.probe_count + w.opened, 0);
	world_deinit(&w);

	meet(LARGER, world_easy(), in_block(512));
	wish = cross(1, 9000, 9999);
	world_says_punch(&w, &wish);
	world_run(&w, CV_SEC(5));
	assert_int_equal(w.probe_count + w.opened, 0);
	world_deinit(&w);

	/* None below 1024, whatever is told. */
	meet(LARGER, in_block(4096), in_block(512));
	wish = cross(1, 1, 1100);
	world_says_punch(&w, &wish);
	world_run(&w, CV_SEC(60));
	assert_true(w.probe_count > 0);
	for (unsigned i = 0; i < w.probe_count; i++)
		assert_true(probe(i)->to.port >= 1024);
	world_deinit(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(row_is_aimed_at),
		cmocka_unit_test(row_goes_to_one_port),
		cmocka_unit_test(blocks_are_crossed),
		cmocka_unit_test(what_is_ignored),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

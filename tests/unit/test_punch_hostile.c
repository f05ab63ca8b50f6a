/* SPDX-License-Identifier: MIT */

/*
 * Goal: whatever a peer asks for, however often, costs no more than it may and goes nowhere else;
 * whatever the shell can open, no socket is left open that no path has, and no path on a socket
 * that is closed. Method: punch_world, peers that ask for anything, and a shell that is slow or
 * poor.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/punch_words.h"

/* ---- what a peer must not be able to do ---- */

static void forbidden_addresses(void **state)
{
	static const struct addr bad[] = {
		{ .family = ADDR_V4, .port = 2000, .ip = { 127, 0, 0, 1 } },
		{ .family = ADDR_V4, .port = 2000, .ip = { 224, 0, 0, 1 } },
		{ .family = ADDR_V4, .port = 2000, .ip = { 0, 0, 0, 0 } },
		{ .family = ADDR_V4, .port = 2000, .ip = { 192, 168, 1, 1 } },
		{ .family = ADDR_V4, .port = 53, .ip = { 203, 0, 113, 9 } },
		{ .family = ADDR_V6, .port = 2000, .ip = { 0x20, 1, 0xd, 0xb8 } },
	};

	(void)state;
	meet(LARGER, world_hard(NAT_PORTS_REGULAR), world_hard(NAT_PORTS_REGULAR));
	for (size_t i = 0; i < CV_ARRAY_SIZE(bad); i++) {
		for (enum punch_kind kind = PUNCH_ROW; kind <= PUNCH_CROSS; kind++) {
			struct wire_punch p = asks(kind, (uint16_t)(1 + i));

			p.address = bad[i];
			world_says_punch(&w, &p);
			world_run(&w, CV_SEC(6));
		}
	}
	assert_int_equal(w.probe_count + w.opened, 0);
	world_deinit(&w);
	/* Ports of reflectors within a range that is allowed are left out. */
	meet(SMALLER, world_easy(), world_hard(NAT_PORTS_RANDOM));
	{
		struct wire_punch p = asks(PUNCH_RANGE, 1);

		p.address.port = 1890;
		p.port_high = 1909;
		world_says_punch(&w, &p);
		world_run(&w, CV_SEC(6));
		assert_int_equal(w.probe_count, 19);
	}
	world_deinit(&w);
}

static void empty_wishes(void **state)
{
	struct wire_punch range, row;

	(void)state;
	meet(SMALLER, world_easy(), world_hard(NAT_PORTS_RANDOM));
	range = asks(PUNCH_RANGE, 1);
	range.port_high = 19999;
	world_says_punch(&w, &range);
	row = asks(PUNCH_ROW, 2);
	row.count = 0;
	world_says_punch(&w, &row);
	assert_null(world_attempt(&w));
	/* Not even in the course of a range. */
	range = asks(PUNCH_RANGE, 3);
	world_says_punch(&w, &range);
	world_run(&w, CV_MS(100));
	row.round = 4;
	row.address.port = 65535;
	world_says_punch(&w, &row);
	world_run(&w, CV_SEC(1));
	for (uint64_t i = 0; i < w.probe_count; i++)
		assert_true(probe(i)->to.port >= 20000 && probe(i)->to.port <= 20999);
	/* An answer of no ports is none. */
	world_deinit(&w);
}

/* A wish for more ports than anybody needs. */
static void long_rows(void **state)
{
	struct wire_punch p;

	(void)state;
	meet(SMALLER, world_easy(), world_hard(NAT_PORTS_REGULAR));
	p = asks(PUNCH_ROW, 1);
	p.count = UINT16_MAX;
	world_says_punch(&w, &p);
	world_run(&w, CV_SEC(6));
	assert_int_equal(w.probe_count, 2 * 128);
	world_deinit(&w);
	meet(LARGER, world_hard(NAT_PORTS_REGULAR), world_hard(NAT_PORTS_REGULAR));
	w.s->punch_at = CV_TIME_NEVER;
	p = asks(PUNCH_ASK, 1);
	p.count = UINT16_MAX;
	world_says_punch(&w, &p);
	world_run(&w, CV_SEC(6));
	assert_true(w.probe_count >= 8);
	for (uint64_t i = 0; i < w.probe_count; i++)
		assert_in_range(probe(i)->to.port, 20000, 20007);
	world_deinit(&w);
}

/* An answer changes the aim of who has asked, and once: not of who helps at the peer's wish, nor of
 * who is sending already. */
static void answers_that_nobody_waits_for(void **state)
{
	static const struct {
		enum punch_kind wish;
		enum punch_role role;
	} rows[] = {
		{ PUNCH_ROW, PUNCH_HELP_SPRAY },
		{ PUNCH_RANGE, PUNCH_HELP_SPRAY },
		{ PUNCH_CROSS, PUNCH_HELP_CROSS },
	};
	struct wire_punch p, said = { 0 };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		meet(LARGER,
		     rows[i].wish == PUNCH_CROSS ? world_hard(NAT_PORTS_REGULAR) : world_easy(),
		     world_hard(NAT_PORTS_RANDOM));
		p = asks(rows[i].wish, 1);
		if (rows[i].wish == PUNCH_CROSS)
			p.port_high = 20255;
		world_says_punch(&w, &p);
		world_run(&w, CV_MS(100));
		assert_int_equal(role_now(), rows[i].role);
		p = asks(PUNCH_ANSWER, 1);
		p.address.port = 40000;
		world_says_punch(&w, &p);
		world_run(&w, CV_SEC(6));
		assert_true(w.probe_count > 0);
		for (uint64_t k = 0; k < w.probe_count; k++)
			assert_in_range(probe(k)->to.port, 20000, 20999);
		world_deinit(&w);
	}
	meet(SMALLER, world_hard(NAT_PORTS_REGULAR), world_hard(NAT_PORTS_REGULAR));
	world_run(&w, CV_MS(500));
	assert_int_equal(role_now(), PUNCH_LEAD_PAIR);
	assert_true(world_said(&w, &said));
	p = asks(PUNCH_ANSWER, said.round);
	world_says_punch(&w, &p);
	p.address.port = 40000;
	world_says_punch(&w, &p);
	world_run(&w, CV_MS(500));
	assert_true(w.probe_count > 0);
	for (uint64_t k = 0; k < w.probe_count; k++)
		assert_in_range(probe(k)->to.port, 20000, 20999);
	world_deinit(&w);
}

/* As often as it can, whatever it says: the world keeps rate and hours. */
static void storm_of_wishes(void **state)
{
	static const enum punch_kind kinds[] = { PUNCH_ASK, PUNCH_RANGE, PUNCH_ROW };

	(void)state;
	for (size_t k = 0; k < CV_ARRAY_SIZE(kinds); k++) {
		meet(LARGER, world_hard(NAT_PORTS_REGULAR), world_hard(NAT_PORTS_REGULAR));
		w.s->punch_at = CV_TIME_NEVER; /* nothing of our own */
		for (unsigned i = 0; i < 60 * 100; i++) {
			struct wire_punch p = asks(kinds[k], (uint16_t)i);

			p.port_high = UINT16_MAX;
			p.count = 65535;
			world_says_punch(&w, &p);
			world_run(&w, CV_MS(10));
		}
		/* In a minute: two sockets a round, five rounds an attempt, twelve attempts. */
		assert_true(w.opened <= 2 * 5 * 12);
		assert_true(w.requests <= 5 * 12 * 4);
		/* All at once, then as much in 75 s: about what a router has room for. */
		assert_true(w.probe_count <= 2 * PUNCH_PACKETS_DEFAULT);
		if (kinds[k] == PUNCH_RANGE)
			assert_true(w.probe_count <= PUNCH_PACKETS_DEFAULT);
		assert_true(w.probe_count + w.requests > 10);
		world_deinit(&w);
	}
}

static void hours_of_wishes(void **state)
{
	const struct punch_share other = { 0 };

	(void)state;
	meet(SMALLER, world_easy(), world_hard(NAT_PORTS_RANDOM));
	for (unsigned i = 0; i < 3 * 3600 / 6; i++) {
		struct wire_punch p = asks(i % 2 ? PUNCH_ROW : PUNCH_RANGE, (uint16_t)i);

		p.count = 128;
		p.port_high = UINT16_MAX;
		world_says_punch(&w, &p);
		world_run(&w, CV_SEC(6));
	}
	assert_true(w.probe_count <= 3 * PUNCH_HOURLY_DEFAULT / 2);
	/* One peer's share: a quarter of it at once, and three hours' worth. */
	assert_true(w.probe_count >= PUNCH_HOURLY_DEFAULT * 9 / 10);
	/* And it has taken nothing from the others. */
	assert_true(punch_budget_has_attempt(&w.e->punch.budget, w.now, &other,
	                                     PUNCH_SOCKETS_DEFAULT, PUNCH_PACKETS_DEFAULT));
	world_deinit(&w);
}

/* News of the peer's, each another: our own attempts stay within the budget of sockets. */
static void storm_of_news(void **state)
{
	struct nat_profile theirs = world_easy();

	(void)state;
	meet(LARGER, world_hard(NAT_PORTS_RANDOM), theirs);
	for (unsigned i = 0; i < 600; i++) {
		theirs.address.port = (uint16_t)(2000 + i);
		world_says_nat(&w, &theirs);
		world_run(&w, CV_MS(200));
	}
	/* Two minutes: a router's entries live so long. */
	assert_true(w.opened <= 3 * PUNCH_SOCKETS_DEFAULT);
	assert_true(w.opened >= 2 * PUNCH_SOCKETS_DEFAULT);
	world_deinit(&w);
}

/* And of packets, so that those for other peers remain. */
static void hours_of_news(void **state)
{
	struct nat_profile theirs = world_easy();
	const struct punch_share other = { 0 };
	unsigned chances = 0;

	(void)state;
	meet(LARGER, world_hard(NAT_PORTS_RANDOM), theirs);
	for (unsigned i = 0; i < 3600 / 5; i++) {
		theirs.address.port = (uint16_t)(2000 + i);
		world_says_nat(&w, &theirs);
		world_run(&w, CV_SEC(5));
		chances += punch_budget_has_attempt(&w.e->punch.budget, w.now, &other, 5,
		                                    PUNCH_PACKETS_DEFAULT);
	}
	assert_true(w.probe_count <= PUNCH_HOURLY_DEFAULT / 2);
	assert_true(w.probe_count >= PUNCH_HOURLY_DEFAULT / 3);
	assert_true(chances >= 3600 / 5 * 3 / 4);
	world_deinit(&w);
}

/* Ways that are found and die at once: sockets have a budget of their own. */
static void ways_that_die(void **state)
{
	struct nat_profile theirs = world_easy();
	struct path *path;

	(void)state;
	meet(LARGER, world_hard(NAT_PORTS_RANDOM), theirs);
	for (unsigned i = 0; i < 20; i++) {
		world_run(&w, CV_MS(500));
		path = world_hear(&w, w.s, SOCKET_MAIN);
		world_choose(w.s, path);
		world_run(&w, CV_MS(100));
		assert_null(world_attempt(&w));
		assert_int_equal(w.open, 0);
		world_choose(w.s, NULL);
		paths_remove(&w.s->paths, (uint8_t)(path - w.s->paths.list));
		theirs.address.port++;
		world_says_nat(&w, &theirs);
		world_run(&w, CV_MS(5400));
	}
	assert_true(w.opened >= 2 * PUNCH_SOCKETS_DEFAULT);
	assert_true(w.opened <= 3 * PUNCH_SOCKETS_DEFAULT);
	world_deinit(&w);
}

static struct session *add_peer(uint8_t tag)
{
	uint8_t sk[32] = { 0, tag };
	struct identity other;
	struct endpoint_peer peer = { .pk = other.pk };
	uint32_t number;
	struct session *s;

	identity_init(&other, sk);
	peer.pk = other.pk;
	assert_int_equal(endpoint_add_peer(w.e, w.now, &peer, &number), 0);
	s = w.e->sessions[number];
	s->assoc.is_bound = true; /* without keys: nothing leaves */
	return s;
}

static unsigned attempts_now(void)
{
	unsigned count = 0;

	for (unsigned i = 0; i < PUNCH_ATTEMPTS_MAX; i++)
		count += w.e->punch.list[i].role != PUNCH_NOBODY;
	return count;
}

/* Peers who ask for help leave room for what we want ourselves. */
static void room_for_our_own(void **state)
{
	struct wire_frame f = { .type = FRAME_PUNCH };
	struct session *others[5];

	(void)state;
	meet(LARGER, world_hard(NAT_PORTS_REGULAR), world_easy());
	w.s->punch_at = CV_TIME_NEVER;
	f.punch = asks(PUNCH_RANGE, 1);
	for (uint8_t i = 0; i < 5; i++) {
		others[i] = add_peer((uint8_t)(100 + i));
		punch_talk_on_frame(&others[i]->punch, 1, &f);
		punch_consider(w.e, w.now, others[i]);
	}
	assert_int_equal(attempts_now(), PUNCH_HELPS_MAX);
	w.s->punch_at = w.now;
	world_run(&w, CV_MS(100));
	assert_int_equal(role_now(), PUNCH_LEAD_ROW);
	/* A fifth waits, and is tried again. */
	others[3]->punch.peer = world_easy();
	others[3]->punch.has_peer = true;
	others[3]->paths.active = 0;
	others[3]->paths.list[0].to.is_relay = true;
	others[3]->punch_at = w.now;
	punch_consider(w.e, w.now, others[3]);
	assert_int_equal(attempts_now(), PUNCH_ATTEMPTS_MAX);
	assert_true(others[3]->punch_at > w.now && others[3]->punch_at <= w.now + CV_SEC(1));
	others[3]->paths.active = PATHS_NONE;
	for (unsigned i = 0; i < 5; i++)
		others[i]->assoc.is_bound = false;
	world_deinit(&w);
}

/* Nor does their number of packets: the rate is shared by turns. */
static void turns_for_our_own(void **state)
{
	struct wire_frame f = { .type = FRAME_PUNCH };
	unsigned ours = 0, theirs = 0;
	struct session *other;
	struct assoc saved;

	(void)state;
	meet(LARGER, world_hard(NAT_PORTS_REGULAR), world_easy());
	other = add_peer(42);
	saved = other->assoc;
	other->assoc = w.s->assoc; /* keys to send with */
	world_run(&w, CV_MS(100));
	assert_int_equal(role_now(), PUNCH_LEAD_ROW);
	f.punch = asks(PUNCH_RANGE, 1);
	punch_talk_on_frame(&other->punch, 1, &f);
	punch_consider(w.e, w.now, other);
	world_run(&w, CV_MS(500)); /* what may leave at once has left */
	w.probe_count = 0;
	world_run(&w, CV_SEC(1));
	for (uint64_t i = 0; i < w.probe_count; i++) {
		ours += probe(i)->socket != SOCKET_MAIN;
		theirs += probe(i)->socket == SOCKET_MAIN;
	}
	/* Four sockets, every 300 ms. */
	assert_true(ours >= 3 * 4);
	assert_true(theirs >= 80);
	other->assoc = saved;
	other->assoc.is_bound = false;
	world_deinit(&w);
}

/* ---- sockets ---- */

static void shell_opens_fewer(void **state)
{
	(void)state;
	meet(LARGER, world_hard(NAT_PORTS_RANDOM), world_easy());
	w.sockets_left = 40;
	world_run(&w, CV_SEC(2));
	assert_int_equal(w.open, 40);
	assert_true(w.probe_count > 40);
	world_run(&w, CV_SEC(20));
	is_over();
	assert_int_equal(w.sockets_left, 40);
	world_deinit(&w);
	/* None at all. */
	for (enum nat_ports ports = NAT_PORTS_PRESERVED; ports < NAT_PORTS_KINDS; ports++) {
		meet(SMALLER, world_hard(ports), world_easy());
		w.sockets_left = 0;
		world_run(&w, CV_SEC(5));
		is_over();
		assert_int_equal(w.probe_count, 0);
		world_deinit(&w);
	}
}

static void shell_is_slow(void **state)
{
	(void)state;
	meet(LARGER, world_hard(NAT_PORTS_REGULAR), world_easy());
	w.is_slow = true;
	world_run(&w, CV_MS(500));
	assert_int_equal(w.probe_count + w.requests, 0);
	w.is_slow = false;
	world_answer_shell(&w);
	world_run(&w, CV_MS(100));
	assert_int_equal(w.probe_count, 4);
	world_deinit(&w);
	/* Too slow: what it opens then is closed. */
	meet(LARGER, world_hard(NAT_PORTS_REGULAR), world_easy());
	w.is_slow = true;
	world_run(&w, CV_SEC(10));
	assert_null(world_attempt(&w));
	w.is_slow = false;
	w.s->punch_at = CV_TIME_NEVER;
	world_answer_shell(&w);
	world_run(&w, CV_MS(100));
	is_over();
	world_deinit(&w);
}

/* Whoever asks when all numbers are in use gets nothing, and breaks nothing. */
static void no_numbers_left(void **state)
{
	struct wire_punch ask;

	(void)state;
	for (enum nat_ports ports = NAT_PORTS_PRESERVED; ports <= NAT_PORTS_REGULAR; ports++) {
		meet(LARGER, world_hard(ports), world_hard(NAT_PORTS_REGULAR));
		(void)extras_take(&w.e->extras, SOCKETS_EXTRA_MAX);
		w.sockets_left = 0;
		ask = asks(PUNCH_ASK, 1);
		world_says_punch(&w, &ask);
		assert_null(world_attempt(&w));
		world_run(&w, CV_SEC(10));
		assert_int_equal(w.probe_count + w.requests, 0);
		world_deinit(&w);
	}
}

/* A low limit of sockets is one. */
static void low_limits(void **state)
{
	(void)state;
	for (uint32_t max = 1; max <= 6; max++) {
		meet(LARGER, world_hard(NAT_PORTS_REGULAR), world_easy());
		w.e->punch.budget.limits.sockets_max = max;
		world_run(&w, CV_SEC(10));
		assert_true(w.open_peak <= max);
		assert_true(max < 5 || w.opened > 0);
		world_deinit(&w);
	}
}

/* Another peer's packets come by a socket of this one's attempt. */
static void sockets_of_other_peers(void **state)
{
	struct session *other;
	struct path *path;

	(void)state;
	meet(LARGER, world_hard(NAT_PORTS_RANDOM), world_easy());
	other = add_peer(42);
	world_run(&w, CV_SEC(1));
	(void)world_hear(&w, other, SOCKET_EXTRA + 8);
	path = world_hear(&w, other, SOCKET_EXTRA + 9);
	world_choose(other, path);
	world_run(&w, CV_SEC(12));
	assert_null(world_attempt(&w));
	/* What carries data stays; the rest is gone with its socket. */
	assert_int_equal(w.open, 1);
	assert_true(w.is_open[SOCKET_EXTRA + 9]);
	for (unsigned i = 0; i < PATHS_MAX; i++)
		assert_true(other->paths.list[i].state == PATH_FREE ||
		            &other->paths.list[i] == path);
	paths_remove(&other->paths, (uint8_t)(path - other->paths.list));
	w.s->punch_at = CV_TIME_NEVER;
	world_run(&w, CV_SEC(11));
	is_over();
	other->assoc.is_bound = false;
	world_deinit(&w);
}

/* By a socket that is no punch's, such as those that discovery asks from. */
static void sockets_of_nobody(void **state)
{
	struct path *path;
	uint16_t number;

	(void)state;
	meet(SMALLER, world_easy(), world_easy());
	number = extras_take(&w.e->extras, 1);
	world_run(&w, CV_MS(1));
	assert_int_equal(w.open, 1);
	path = world_hear(&w, w.s, number);
	world_choose(w.s, path);
	extras_give_back(&w.e->extras, number, 1);
	world_run(&w, CV_MS(1));
	assert_int_equal(w.open, 0);
	assert_int_equal(path->state, PATH_FREE);
	/* Data are on the relay again. */
	assert_true(paths_active(&w.s->paths)->to.is_relay);
	assert_true(w.s->news & SESSION_NEWS_PATH);
	world_deinit(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forbidden_addresses),
		cmocka_unit_test(empty_wishes),
		cmocka_unit_test(long_rows),
		cmocka_unit_test(answers_that_nobody_waits_for),
		cmocka_unit_test(storm_of_wishes),
		cmocka_unit_test(hours_of_wishes),
		cmocka_unit_test(storm_of_news),
		cmocka_unit_test(hours_of_news),
		cmocka_unit_test(ways_that_die),
		cmocka_unit_test(room_for_our_own),
		cmocka_unit_test(turns_for_our_own),
		cmocka_unit_test(shell_opens_fewer),
		cmocka_unit_test(shell_is_slow),
		cmocka_unit_test(no_numbers_left),
		cmocka_unit_test(low_limits),
		cmocka_unit_test(sockets_of_other_peers),
		cmocka_unit_test(sockets_of_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

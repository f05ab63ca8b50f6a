/* SPDX-License-Identifier: MIT */

/*
 * Goal: a peer that is gone is given up within seconds, a network that is gone is waited
 * for, and neither sleep nor a lie resets a stream. Method: a pair of endpoints; processes end,
 * networks are cut, one side sleeps, under virtual time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/endpoint_pair.h"
#include "tunnel/attempt.h"
#include "tunnel/liveness.h"

enum { A = 0, B = 1 };

static struct pair p;

/* An echoed stream that stays open: half of it is written now, the rest by resume(). */
static struct pair_flow *meet(uint64_t seed)
{
	struct pair_flow *f;

	pair_init(&p, seed);
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	f = pair_open_for(&p, A, 1000, true);
	assert_non_null(f);
	pair_run(&p, CV_SEC(3));
	assert_int_equal(f->read, 1000);
	assert_non_null(f->stream);
	return f;
}

static void resume(struct pair_flow *f)
{
	f->stays_open = false;
	f->goal = 2000;
	pair_write_flow(f);
	pair_poke(&p, A);
}

static void cut(bool is_cut)
{
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned n = 0; n < PAIR_NETWORKS; n++)
			p.is_cut[i][n] = is_cut;
	}
}

static void who_refuses_is_gone_within_seconds(void **state)
{
	struct pair_flow *f;
	cv_time ended;

	(void)state;
	f = meet(1);
	pair_stop_side(&p, B, false);
	p.side[B].refuses = true;
	ended = p.now;
	while (p.side[A].downs == 0 && p.now < ended + CV_SEC(20))
		(void)pair_step(&p, ended + CV_SEC(20));
	assert_true(f->is_reset);
	assert_in_range(p.now - ended, SESSION_REFUSED_SILENCE, CV_SEC(8));
	assert_int_equal(endpoint_peer_state(p.side[A].e, p.side[A].peer), PEER_DOWN);
	pair_deinit(&p);
}

static void who_answers_is_not_gone_whatever_icmp_says(void **state)
{
	struct pair_flow *f;

	(void)state;
	f = meet(2);
	for (unsigned i = 0; i < 200; i++) {
		endpoint_on_refused(p.side[A].e, p.now, 0, &p.side[B].addr[PAIR_PUBLIC]);
		pair_poke(&p, A);
		pair_run(&p, CV_MS(260));
	}
	assert_int_equal(p.side[A].downs, 0);
	resume(f);
	pair_run(&p, CV_SEC(2));
	assert_true(pair_is_echoed(f));
	pair_deinit(&p);
}

/* The network is away: streams wait five minutes, over the end of every key. */
static void a_silent_network_is_waited_for(void **state)
{
	static const unsigned seconds[] = { 3, 40, 200, 295 };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(seconds); i++) {
		struct pair_flow *f = meet(3 + i);

		print_message("%u s\n", seconds[i]);
		cut(true);
		pair_run(&p, CV_SEC(seconds[i]));
		assert_int_equal(p.side[A].downs + p.side[B].downs, 0);
		cut(false);
		resume(f);
		/* Tries grow no rarer than this while streams wait. */
		pair_run(&p, CV_SEC(20));
		assert_true(pair_is_echoed(f));
		assert_int_equal(p.side[A].downs + p.side[B].downs, 0);
		pair_deinit(&p);
	}
}

static void but_not_for_ever(void **state)
{
	struct pair_flow *f;
	cv_time ended;

	(void)state;
	f = meet(10);
	ended = p.now;
	cut(true);
	pair_run(&p, SESSION_LINGER - CV_SEC(6));
	assert_int_equal(p.side[A].downs, 0);
	pair_run(&p, CV_SEC(6));
	assert_int_equal(p.side[A].downs, 1);
	assert_true(f->is_reset);
	assert_in_range(p.side[A].down_at - ended, SESSION_LINGER - CV_SEC(6), SESSION_LINGER);
	pair_deinit(&p);
}

static void a_minute_where_a_server_says_that_it_is_absent(void **state)
{
	cv_time ended;

	(void)state;
	(void)meet(11);
	ended = p.now;
	cut(true);
	liveness_on_presence(pair_session(&p, A), p.now, 0, false, false);
	pair_poke(&p, A);
	pair_run(&p, CV_SEC(50));
	assert_int_equal(p.side[A].downs, 0);
	pair_run(&p, CV_SEC(10));
	assert_int_equal(p.side[A].downs, 1);
	assert_in_range(p.side[A].down_at - ended, CV_SEC(50), CV_SEC(60));
	pair_deinit(&p);
}

/* Rule 3.7: hints cause a handshake, never a reset. */
static void a_server_may_lie(void **state)
{
	struct pair_flow *f;
	struct session *s;
	uint64_t inits;

	(void)state;
	f = meet(12);
	s = pair_session(&p, A);
	inits = p.side[A].kinds[WIRE_INIT >> 4];
	for (unsigned i = 0; i < 60; i++) {
		liveness_on_presence(s, p.now, 3, i % 3 == 2, i % 3 == 1);
		pair_poke(&p, A);
		pair_run(&p, CV_SEC(1));
	}
	assert_int_equal(p.side[A].downs + p.side[B].downs, 0);
	assert_true(p.side[A].kinds[WIRE_INIT >> 4] > inits);
	resume(f);
	pair_run(&p, CV_SEC(2));
	assert_true(pair_is_echoed(f));
	pair_deinit(&p);
}

/* All ways have refused, and a server says that the process has ended. */
static void claim(struct session *s)
{
	for (unsigned i = 0; i < PATHS_MAX; i++)
		s->paths.list[i].refusals = PATH_REFUSALS;
	liveness_on_presence(s, p.now, 3, false, true);
	pair_poke(&p, A);
}

/* An idle session has heard nothing for long: the peer is asked before it is given up. */
static void who_is_said_to_be_gone_is_asked(void **state)
{
	struct pair_flow *f;
	struct session *s;

	(void)state;
	f = meet(14);
	s = pair_session(&p, A);
	pair_run(&p, CV_SEC(10));
	attempt_doubt(s, p.now);
	pair_poke(&p, A);
	for (unsigned i = 0; i < 10; i++) { /* the first just after a hint: not asked at once */
		claim(s);
		pair_run(&p, CV_SEC(3) - CV_MS(100));
	}
	assert_int_equal(p.side[A].downs, 0);
	assert_true(f->stream != NULL);
	cut(true);
	claim(s);
	pair_run(&p, SESSION_REFUSED_SILENCE - CV_MS(100));
	assert_int_equal(p.side[A].downs, 0);
	pair_run(&p, CV_SEC(2));
	assert_int_equal(p.side[A].downs, 1);
	pair_deinit(&p);
}

static void without_streams_nothing_lingers(void **state)
{
	(void)state;
	pair_init(&p, 13);
	pair_start(&p);
	pair_run(&p, CV_SEC(1));
	assert_int_equal(liveness_linger_at(pair_session(&p, A)), CV_TIME_NEVER);
	cut(true);
	pair_run(&p, CV_SEC(1000));
	assert_int_equal(p.side[A].downs, 0); /* nobody misses it */
	assert_int_equal(endpoint_peer_state(p.side[A].e, p.side[A].peer), PEER_DOWN);
	cut(false);
	pair_run(&p, CV_SEC(70));
	assert_int_equal(endpoint_peer_state(p.side[A].e, p.side[A].peer), PEER_CONNECTED);
	assert_int_equal(p.side[A].ups, 1); /* the same object, under new keys */
	pair_deinit(&p);
}

/* Rule 8.4: a sleep is not the peer's silence. */
static void streams_survive_sleep(void **state)
{
	static const struct {
		unsigned seconds;
		bool survives;
	} rows[] = {
		{ 3, true },   { 10, true },    { 200, true }, /* every key is too old */
		{ 290, true }, { 7200, false },                /* the peer has given up meanwhile */
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct pair_flow *f = meet(20 + i);

		print_message("%u s\n", rows[i].seconds);
		p.side[A].is_asleep = true;
		pair_run(&p, CV_SEC(rows[i].seconds));
		pair_wake(&p, A);
		if (rows[i].survives)
			resume(f);
		pair_run(&p, CV_SEC(3));
		assert_int_equal(p.side[A].downs, !rows[i].survives);
		assert_true(pair_is_up(&p));
		if (rows[i].survives)
			assert_true(pair_is_echoed(f));
		pair_deinit(&p);
	}
}

/* Two machines in one bag: neither has waited for the other. */
static void both_may_sleep(void **state)
{
	struct pair_flow *f;

	(void)state;
	f = meet(29);
	p.side[A].is_asleep = p.side[B].is_asleep = true;
	pair_run(&p, CV_SEC(7200));
	pair_wake(&p, A);
	pair_wake(&p, B);
	resume(f);
	pair_run(&p, CV_SEC(3));
	assert_true(pair_is_echoed(f));
	assert_int_equal(p.side[A].downs + p.side[B].downs, 0);
	pair_deinit(&p);
}

/* The one that slept finds that everything moved on without a pause: nothing is taken for a loss.
 */
static void a_short_stall_is_no_gap(void **state)
{
	struct pair_flow *f;

	(void)state;
	f = meet(30);
	(void)f;
	pair_run(&p, CV_SEC(10));
	p.side[A].is_asleep = true;
	pair_run(&p, CV_MS(1900));
	p.side[A].kinds[WIRE_INIT >> 4] = 0;
	pair_wake(&p, A);
	pair_run(&p, CV_SEC(1));
	assert_int_equal(p.side[A].kinds[WIRE_INIT >> 4], 0);
	assert_int_equal(p.side[A].downs, 0);
	/* Longer than any deadline and 2 s more: it asks. */
	p.side[A].is_asleep = true;
	pair_run(&p, CV_SEC(12));
	pair_wake(&p, A);
	assert_int_equal(p.side[A].kinds[WIRE_INIT >> 4], 1);
	pair_deinit(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_refuses_is_gone_within_seconds),
		cmocka_unit_test(who_answers_is_not_gone_whatever_icmp_says),
		cmocka_unit_test(a_silent_network_is_waited_for),
		cmocka_unit_test(but_not_for_ever),
		cmocka_unit_test(a_minute_where_a_server_says_that_it_is_absent),
		cmocka_unit_test(a_server_may_lie),
		cmocka_unit_test(who_is_said_to_be_gone_is_asked),
		cmocka_unit_test(without_streams_nothing_lingers),
		cmocka_unit_test(streams_survive_sleep),
		cmocka_unit_test(both_may_sleep),
		cmocka_unit_test(a_short_stall_is_no_gap),
	};

	return cmocka_run_group_tests_name("liveness", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Against a router that forgets after a given time, with answers that get lost; and against what
 * happens meanwhile.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tunnel/lifetime.h"

#define BEGIN CV_SEC(1000)
#define RTT CV_MS(50)

static struct {
	struct extras extras;
	struct lifetime l;
	struct rng_seeded seeded;
	struct rng rng;
	cv_time now;
	cv_duration timeout; /* of the router */
	bool is_server_old;  /* answers at once, whatever is asked */
	bool is_server_deaf;
	unsigned loss;     /* percent of the answers */
	cv_time used_at;   /* the mapping */
	cv_time answer_at; /* CV_TIME_NEVER: none is under way */
	uint64_t token;
	unsigned questions;
} w;

static void init(uint64_t seed, cv_duration timeout)
{
	memset(&w, 0, sizeof(w));
	w.now = BEGIN;
	w.timeout = timeout;
	w.answer_at = CV_TIME_NEVER;
	rng_seeded_init(&w.seeded, seed);
	w.rng = rng_from_seeded(&w.seeded);
	lifetime_init(&w.l, &w.extras);
}

static void open_sockets(void)
{
	struct extras_wish wish;
	uint16_t port = 40000;

	while (extras_next_wish(&w.extras, &wish)) {
		if (!wish.is_close)
			extras_on_opened(&w.extras, wish.first, wish.count, 1, &port);
	}
}

static void send(const struct lifetime_question *q)
{
	w.questions++;
	assert_true(extras_is_open(&w.extras, q->socket));
	w.used_at = w.now;
	w.token = q->token;
	w.answer_at = w.is_server_deaf
	                      ? CV_TIME_NEVER
	                      : w.now + RTT + (w.is_server_old ? 0 : CV_SEC((cv_time)q->seconds));
}

static void turn(void)
{
	struct lifetime_question q;

	open_sockets();
	if (w.now >= w.answer_at) {
		w.answer_at = CV_TIME_NEVER;
		if (w.now - w.used_at < w.timeout && rng_below(&w.rng, 100) >= w.loss) {
			w.used_at = w.now;
			lifetime_on_answer(&w.l, w.now, w.token);
		}
	}
	lifetime_on_deadline(&w.l, w.now);
	open_sockets();
	while (lifetime_next(&w.l, w.now, &w.rng, &q))
		send(&q);
	assert_true(lifetime_check(&w.l));
	assert_true(extras_check(&w.extras));
}

static void run(cv_duration d)
{
	cv_time end = w.now + d;

	for (unsigned same = 0;;) {
		cv_time next;

		turn();
		next = cv_time_min(lifetime_deadline(&w.l), w.answer_at);
		if (next > end)
			break;
		same = next <= w.now ? same + 1 : 0;
		assert_true(same < 10);
		w.now = CV_MAX(next, w.now);
	}
	w.now = end;
}

static void learns_what_the_router_does(void **state)
{
	static const struct {
		unsigned timeout, proven, keepalive_ms; /* s; s; */
	} rows[] = {
		{ 5, 0, 8000 },    { 10, 0, 8000 },    { 12, 10, 8500 },     { 20, 15, 12750 },
		{ 30, 28, 23800 }, { 59, 40, 34000 },  { 61, 60, 51000 },    { 90, 60, 51000 },
		{ 95, 90, 76500 }, { 119, 90, 76500 }, { 180, 120, 100000 }, { 7200, 120, 100000 },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		init(i, CV_SEC((cv_duration)rows[i].timeout));
		assert_int_equal(lifetime_keepalive(&w.l), CV_SEC(25)); /* nobody to ask */
		lifetime_begin(&w.l, w.now);
		assert_int_equal(lifetime_keepalive(&w.l), CV_SEC(8));
		run(CV_SEC(600));
		assert_int_equal(w.l.state, LIFETIME_RESTING);
		assert_int_equal(w.l.proven_s, rows[i].proven);
		assert_int_equal(lifetime_keepalive(&w.l),
		                 CV_MS((cv_duration)rows[i].keepalive_ms));
		assert_int_equal(w.extras.used, 0); /* the socket was given back */
		assert_true(w.questions < 40);
	}
}

/* Never more than the router allows, at no time. */
static void never_promises_too_much(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 200; seed++) {
		init(seed, CV_SEC(9 + seed));
		w.loss = (unsigned)seed % 3 * 10;
		lifetime_begin(&w.l, w.now);
		for (unsigned i = 0; i < 900; i++) {
			run(CV_SEC(1));
			assert_true(lifetime_keepalive(&w.l) < w.timeout);
		}
	}
}

/* One answer that gets lost does not make the mapping shorter. */
static void one_silence_is_no_proof(void **state)
{
	(void)state;
	init(1, CV_SEC(180));
	lifetime_begin(&w.l, w.now);
	while (w.l.state != LIFETIME_WAITING || w.l.until == CV_TIME_NEVER)
		run(CV_MS(100));
	w.answer_at = CV_TIME_NEVER;
	run(CV_SEC(800));
	assert_int_equal(w.l.proven_s, 120);
}

static void who_cannot_answer_later_is_not_asked_for_long(void **state)
{
	(void)state;
	init(2, CV_SEC(180));
	w.is_server_old = true;
	lifetime_begin(&w.l, w.now);
	run(CV_SEC(60));
	assert_int_equal(w.l.state, LIFETIME_RESTING);
	assert_int_equal(lifetime_keepalive(&w.l), CV_SEC(25));
	assert_int_equal(w.extras.used, 0);

	init(3, CV_SEC(180));
	w.is_server_deaf = true;
	lifetime_begin(&w.l, w.now);
	run(CV_SEC(60));
	assert_int_equal(w.l.state, LIFETIME_RESTING);
	assert_int_equal(lifetime_keepalive(&w.l), CV_SEC(25));
	w.is_server_deaf = false;
	run(CV_SEC(1200)); /* it is asked again */
	assert_int_equal(w.l.proven_s, 120);
}

static void a_lost_mapping_halves_it_once(void **state)
{
	(void)state;
	init(4, CV_SEC(180));
	lifetime_begin(&w.l, w.now);
	run(CV_SEC(600));
	w.timeout = CV_SEC(32);
	lifetime_on_lost(&w.l, w.now);
	assert_int_equal(w.l.proven_s, 60);
	run(CV_SEC(1));
	lifetime_on_lost(&w.l, w.now); /* another server tells the same */
	assert_int_equal(w.l.proven_s, 60);
	run(CV_SEC(60));
	lifetime_on_lost(&w.l, w.now);
	assert_int_equal(w.l.proven_s, 28);
	run(CV_SEC(3600 + 600)); /* learnt anew, an hour later */
	assert_int_equal(w.l.proven_s, 28);
	w.timeout = CV_SEC(180);
	lifetime_on_lost(&w.l, w.now);
	assert_int_equal(w.l.proven_s, 10);
	run(CV_SEC(31));
	lifetime_on_lost(&w.l, w.now);
	assert_int_equal(w.l.proven_s, 0);
	assert_int_equal(lifetime_keepalive(&w.l), CV_SEC(8));
	run(CV_SEC(3600 + 600));
	assert_int_equal(w.l.proven_s, 120);
}

static void without_a_server_it_is_remembered(void **state)
{
	(void)state;
	init(5, CV_SEC(70));
	lifetime_begin(&w.l, w.now);
	run(CV_SEC(100));
	assert_int_equal(w.l.proven_s, 40);
	lifetime_stop(&w.l);
	assert_int_equal(w.extras.used, 1); /* to be closed */
	run(CV_SEC(100));
	assert_int_equal(w.extras.used, 0);
	assert_int_equal(lifetime_keepalive(&w.l), CV_SEC(34));
	lifetime_begin(&w.l, w.now);
	run(CV_SEC(300));
	assert_int_equal(w.l.proven_s, 60);
	lifetime_forget(&w.l, w.now); /* another network */
	assert_int_equal(lifetime_keepalive(&w.l), CV_SEC(8));
	lifetime_stop(&w.l);
	lifetime_forget(&w.l, w.now);
	assert_int_equal(w.l.state, LIFETIME_OFF);
}

static void anything_may_happen(void **state)
{
	(void)state;
	for (uint64_t seed = 0; seed < 20; seed++) {
		init(seed, CV_SEC(60));
		for (unsigned i = 0; i < 500; i++) {
			switch (rng_below(&w.rng, 8)) {
			case 0:
				lifetime_begin(&w.l, w.now);
				break;
			case 1:
				lifetime_stop(&w.l);
				break;
			case 2:
				lifetime_forget(&w.l, w.now);
				break;
			case 3:
				lifetime_on_lost(&w.l, w.now);
				break;
			case 4:
				lifetime_on_answer(&w.l, w.now, rng_below(&w.rng, 2) ? w.token : 7);
				break;
			default:
				run(rng_below(&w.rng, CV_SEC(100)));
				break;
			}
			assert_true(lifetime_check(&w.l));
			assert_in_range(lifetime_keepalive(&w.l), CV_SEC(8), CV_SEC(100));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(learns_what_the_router_does),
		cmocka_unit_test(never_promises_too_much),
		cmocka_unit_test(one_silence_is_no_proof),
		cmocka_unit_test(who_cannot_answer_later_is_not_asked_for_long),
		cmocka_unit_test(a_lost_mapping_halves_it_once),
		cmocka_unit_test(without_a_server_it_is_remembered),
		cmocka_unit_test(anything_may_happen),
	};

	return cmocka_run_group_tests_name("lifetime", tests, NULL, NULL);
}

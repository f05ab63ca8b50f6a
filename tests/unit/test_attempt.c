/* SPDX-License-Identifier: MIT */

/*
 * Goal: a peer is asked soon, everywhere it may be, and not for ever at that pace; what
 * cannot succeed never does, and says why. Method: a pair of endpoints of which one is off, deaf or
 * has other secrets; every INIT that leaves is noted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/endpoint_pair.h"

enum { A = 0, B = 1, INITS_MAX = 256 };

static struct pair p;
static struct {
	cv_time at;
	struct addr to;
	uint8_t bytes[WIRE_INIT_SIZE];
} inits[INITS_MAX];
static unsigned init_count;

static void note_inits(struct pair *pair, unsigned side, const struct train *train)
{
	if (side != A || (train->bytes[0] & WIRE_KIND_MASK) != WIRE_INIT)
		return;
	assert_int_equal(train->size, WIRE_INIT_SIZE);
	assert_int_equal(train->count, 1);
	assert_true(init_count < INITS_MAX);
	inits[init_count].at = pair->now;
	inits[init_count].to = train->to;
	memcpy(inits[init_count++].bytes, train->bytes, WIRE_INIT_SIZE);
}

static void begin(uint64_t seed)
{
	pair_init(&p, seed);
	init_count = 0;
	p.on_train = note_inits;
}

static void expect_why(unsigned side, enum peer_state state, const char *text)
{
	struct endpoint_peer_stats stats;

	endpoint_peer_stats(p.side[side].e, p.now, p.side[side].peer, &stats);
	assert_int_equal(stats.state, state);
	assert_int_equal(endpoint_peer_state(p.side[side].e, p.side[side].peer), state);
	if (!strstr(stats.why, text))
		fail_msg("\"%s\" has no \"%s\"", stats.why, text);
}

static bool is_same_init(unsigned a, unsigned b)
{
	return memcmp(inits[a].bytes, inits[b].bytes, WIRE_INIT_SIZE - MAC_SIZE) == 0;
}

static void an_attempt_lasts_nine_seconds(void **state)
{
	unsigned remade = 0;

	(void)state;
	begin(1);
	pair_start_side(&p, A);
	expect_why(A, PEER_CONNECTING, "connecting");
	pair_run(&p, SESSION_ATTEMPT - 1);
	expect_why(A, PEER_CONNECTING, "connecting");
	pair_run(&p, 1);
	expect_why(A, PEER_DOWN, "no answer to the handshake");
	expect_why(A, PEER_DOWN, "; next try in 6 s"); /* 5 s and a bit, rounded up */

	assert_int_equal(inits[0].at, PAIR_START);
	for (unsigned i = 1; i < init_count; i++) {
		cv_duration gap = inits[i].at - inits[i - 1].at;

		assert_true(gap >= CV_MS(200) && gap <= CV_SEC(1));
		assert_true(addr_equal(&inits[i].to, &p.side[B].addr[PAIR_PUBLIC]));
		/* One INIT is repeated for five seconds, then another is made. */
		if (!is_same_init(i, i - 1)) {
			remade++;
			assert_in_range(inits[i].at - PAIR_START, INITIATOR_INIT_LIFE,
			                INITIATOR_INIT_LIFE + CV_SEC(1));
		}
	}
	assert_int_equal(remade, 1);
	assert_in_range(init_count, 9, 16);
	pair_deinit(&p);
}

/* When attempts begin: each asks for the address anew. */
static void pauses_stay_short_then_grow_to_a_minute(void **state)
{
	cv_time last = 0;
	unsigned resolves = 0, failures = 0, slow = 0;

	(void)state;
	begin(2);
	p.on_train = NULL;
	pair_start_side(&p, A);
	while (p.now < PAIR_START + CV_SEC(1500)) {
		cv_duration pause;

		(void)pair_step(&p, p.now + CV_SEC(100));
		if (p.side[A].resolves == resolves)
			continue;
		resolves = p.side[A].resolves;
		pause = last ? p.now - last - SESSION_ATTEMPT : 0;
		last = p.now;
		if (failures >= 1 && failures <= 15)
			assert_in_range(pause, SESSION_RETRY, SESSION_RETRY + CV_MS(334));
		if (failures >= 20) {
			assert_in_range(pause, SESSION_RETRY_MAX, SESSION_RETRY_MAX + CV_MS(334));
			slow++;
		}
		failures++;
	}
	assert_true(slow > 5);
	pair_deinit(&p);
}

static void whoever_waits_need_not_wait_for_the_pause(void **state)
{
	unsigned before;

	(void)state;
	begin(3);
	pair_start_side(&p, A);
	pair_run(&p, SESSION_ATTEMPT + CV_SEC(1));
	before = init_count;
	pair_run(&p, CV_SEC(1));
	assert_int_equal(init_count, before);
	endpoint_want_peer(p.side[A].e, p.now, p.side[A].peer);
	pair_drain(&p, A);
	assert_int_equal(init_count, before + 1);
	assert_int_equal(inits[before].at, p.now);
	/* While one runs, another wish changes nothing. */
	endpoint_want_peer(p.side[A].e, p.now, p.side[A].peer);
	pair_drain(&p, A);
	assert_int_equal(init_count, before + 1);
	pair_deinit(&p);
}

/*
 * Within a round. The next round begins with the first repeat after the last address, which is a
 * draw of its own: at once or a second later, but no address is asked again within a round.
 */
/* Who comes while an attempt is in its last second gets one of his own right behind it. */
static void whoever_comes_late_waits_no_pause(void **state)
{
	unsigned before;

	(void)state;
	begin(3);
	pair_start_side(&p, A);
	pair_run(&p, SESSION_ATTEMPT - CV_MS(500));
	endpoint_want_peer(p.side[A].e, p.now, p.side[A].peer);
	pair_drain(&p, A);
	pair_run(&p, CV_MS(400));
	before = init_count;
	pair_run(&p, CV_MS(200));
	assert_int_equal(init_count, before + 1);
	/* Once: nobody has come since. */
	pair_run(&p, SESSION_ATTEMPT);
	before = init_count;
	pair_run(&p, CV_SEC(2));
	assert_int_equal(init_count, before);
	pair_deinit(&p);
}

static void every_address_a_quarter_second_apart(void **state)
{
	const cv_duration round = CV_MS(250) * (ENDPOINT_ADDRESSES_MAX - 1);
	struct addr list[ENDPOINT_ADDRESSES_MAX + 1];
	cv_duration gap;

	(void)state;
	for (unsigned i = 0; i < CV_ARRAY_SIZE(list); i++)
		list[i] = addr_v4(203, 0, 113, (uint8_t)i, 4000);
	begin(4);
	pair_start_side(&p, A);
	pair_run(&p, CV_MS(1)); /* it has asked what the name resolves to */
	assert_int_equal(p.side[A].resolves, 1);
	endpoint_set_peer_addresses(p.side[A].e, p.now, p.side[A].peer, list, CV_ARRAY_SIZE(list));
	init_count = 0;
	pair_poke(&p, A);
	pair_run(&p, CV_MS(4900));
	/* Round after round, however often it is repeated. */
	for (unsigned i = 0; i < 2 * ENDPOINT_ADDRESSES_MAX; i++) {
		assert_true(i < init_count);
		assert_true(addr_equal(&inits[i].to, &list[i % ENDPOINT_ADDRESSES_MAX]));
		assert_true(is_same_init(0, i));
		gap = i > 0 ? inits[i].at - inits[i - 1].at : 0;
		if (i % ENDPOINT_ADDRESSES_MAX != 0)
			assert_int_equal(gap, CV_MS(250));
		else
			assert_true(gap <= CV_SEC(1));
		if (i >= ENDPOINT_ADDRESSES_MAX)
			assert_true(inits[i].at - inits[i - ENDPOINT_ADDRESSES_MAX].at >= round);
	}
	/* A name that does not resolve is no end: the next attempt asks again. */
	endpoint_set_peer_addresses(p.side[A].e, p.now, p.side[A].peer, NULL, 0);
	pair_poke(&p, A);
	init_count = 0;
	pair_run(&p, CV_SEC(5));
	assert_int_equal(init_count, 0);
	pair_start_side(&p, B);
	pair_run(&p, CV_SEC(15));
	assert_true(pair_is_up(&p));
	pair_deinit(&p);
}

static void secrets_must_match(void **state)
{
	static const uint8_t one[32] = { 1, 2, 3 }, other[32] = { 1, 2, 4 };
	static const struct {
		const char *what;
		const uint8_t *a, *b;
		bool is_up;
	} rows[] = {
		{ "none", NULL, NULL, true },          { "the same", one, one, true },
		{ "one side only", one, NULL, false }, { "the other side only", NULL, one, false },
		{ "two of them", one, other, false },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		print_message("pre-shared key: %s\n", rows[i].what);
		begin(5);
		p.side[A].psk = rows[i].a;
		p.side[B].psk = rows[i].b;
		pair_start(&p);
		pair_run(&p, CV_SEC(12));
		for (unsigned side = 0; side < 2; side++) {
			assert_int_equal(p.side[side].ups, rows[i].is_up);
			if (!rows[i].is_up)
				expect_why(side, PEER_DOWN, "pre-shared key on one side only");
		}
		pair_deinit(&p);
	}
}

static void a_stranger_hears_nothing(void **state)
{
	struct rng_seeded seeded;
	struct rng rng;
	uint8_t sk[32];
	struct identity third;

	(void)state;
	rng_seeded_init(&seeded, 77);
	rng = rng_from_seeded(&seeded);
	rng_fill(&rng, sk, sizeof(sk));
	identity_init(&third, sk);
	/* B knows only the third's key: A is a stranger, and with B's key wrong, so is B. */
	for (unsigned wrong = 0; wrong < 2; wrong++) {
		begin(6);
		p.side[wrong].peer_pk = third.pk;
		p.side[B].has_address = false;
		pair_start(&p);
		pair_run(&p, CV_SEC(30));
		assert_int_equal(p.side[A].ups + p.side[B].ups, 0);
		assert_int_equal(p.side[B].datagrams, 0);
		assert_true(init_count > 10);
		expect_why(A, PEER_DOWN, "wrong key");
		pair_deinit(&p);
	}
}

/* Rule 5.10: nothing goes to the address, nothing that comes from there is answered. */
static void a_policy_of_relay_neither_asks_nor_answers(void **state)
{
	(void)state;
	begin(7);
	p.side[A].policy = POLICY_RELAY;
	pair_start(&p);
	pair_run(&p, CV_SEC(20));
	assert_int_equal(p.side[A].datagrams, 0);
	assert_true(p.side[B].datagrams > 0);
	assert_int_equal(p.side[A].ups + p.side[B].ups, 0);
	pair_deinit(&p);
}

static void a_doubt_a_second(void **state)
{
	(void)state;
	begin(8);
	pair_start(&p);
	pair_run(&p, CV_SEC(2));
	assert_true(pair_is_up(&p));
	init_count = 0;
	for (unsigned i = 0; i < 300; i++) {
		endpoint_on_refused(p.side[A].e, p.now, 0, &p.side[B].addr[PAIR_PUBLIC]);
		pair_poke(&p, A);
		pair_run(&p, CV_MS(10));
	}
	assert_in_range(init_count, 3, 4);
	/* Each was answered: nothing is lost, nothing begun anew. */
	assert_int_equal(p.side[A].downs + p.side[B].downs, 0);
	pair_deinit(&p);
}

/* A responder under load demands a cookie of the path: one round trip more, no more. */
static void a_cookie_costs_a_round_trip(void **state)
{
	(void)state;
	begin(9);
	p.side[B].has_address = false;
	pair_start(&p);
	pair_stop_side(&p, A, false);
	pair_run(&p, CV_SEC(1));
	gate_press(&p.side[B].e->gate, p.now);
	p.side[B].ups = p.side[B].downs = 0;
	p.side[B].kinds[WIRE_COOKIE >> 4] = 0;
	init_count = 0;
	pair_start_side(&p, A);
	pair_run(&p, CV_MS(100));
	assert_true(p.side[A].ups == 1);
	assert_int_equal(p.side[B].kinds[WIRE_COOKIE >> 4], 1);
	assert_int_equal(init_count, 2);
	assert_int_equal(inits[1].at - inits[0].at, 2 * p.delay);
	assert_true(is_same_init(0, 1)); /* but for mac2 */
	pair_deinit(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_attempt_lasts_nine_seconds),
		cmocka_unit_test(pauses_stay_short_then_grow_to_a_minute),
		cmocka_unit_test(whoever_waits_need_not_wait_for_the_pause),
		cmocka_unit_test(whoever_comes_late_waits_no_pause),
		cmocka_unit_test(every_address_a_quarter_second_apart),
		cmocka_unit_test(secrets_must_match),
		cmocka_unit_test(a_stranger_hears_nothing),
		cmocka_unit_test(a_policy_of_relay_neither_asks_nor_answers),
		cmocka_unit_test(a_doubt_a_second),
		cmocka_unit_test(a_cookie_costs_a_round_trip),
	};

	return cmocka_run_group_tests_name("attempt", tests, NULL, NULL);
}

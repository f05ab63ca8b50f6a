/* SPDX-License-Identifier: MIT */

/*
 * Goal: a peer that holds the keys cannot have us send to an address that is not its own more than
 * three times what seemed to come from there, whatever it claims by a handshake (T41, T43). Method:
 * a pair of endpoints, of which B lies about where its datagrams come from; what A sends to the
 * victim is counted.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/endpoint_pair.h"
#include "tunnel/attempt.h"

enum { A = 0, B = 1 };

static struct pair p;
static struct addr victim;
static uint64_t seemed, sent; /* bytes, from and to the victim */

static void on_train(struct pair *pair, unsigned side, const struct train *train)
{
	(void)pair;
	if (side == A && addr_equal(&train->to, &victim))
		sent += train->size;
}

static void init(uint64_t seed)
{
	pair_init(&p, seed);
	p.on_train = on_train;
	seemed = sent = 0;
}

static void claim(struct pair_datagram *d)
{
	d->from = victim;
	seemed += d->size;
}

/* Three times, the packet that exceeds it, the questions of one address, and what asks whether
 * the peer lives: an INIT a second. */
static void expect_little(unsigned seconds)
{
	const uint64_t asked = 9 * WIRE_PROBE_MIN + (uint64_t)seconds * WIRE_INIT_SIZE;

	assert_true(seemed > 0);
	assert_in_range(sent, 1, 3 * seemed + WIRE_DATAGRAM_BASE + asked);
}

/* The INIT comes from both, so B reads the RESP; all that follows seems to be the victim's. */
static bool confirm_elsewhere(struct pair *pair, struct pair_datagram *d)
{
	struct addr from = d->from;

	if (d->sender != B)
		return false;
	claim(d);
	if (d->bytes[0] >> 4 == WIRE_INIT >> 4) {
		pair_copy(pair, d, d->at);
		d->from = from;
		pair_session(pair, B)->initiator.is_sent_elsewhere |= pair->arg != 0;
	}
	return false;
}

static void a_confirmation_proves_no_address_that_others_share(void **state)
{
	(void)state;
	/* B asks with large challenges, or with small ones: it is not sure of us either. */
	for (unsigned is_small = 0; is_small < 2; is_small++) {
		init(1);
		victim = addr_v4(203, 0, 113, 7, 4000);
		p.side[A].has_address = false;
		p.filter = confirm_elsewhere;
		p.arg = is_small;
		pair_start(&p);
		pair_run(&p, CV_MS(35));
		assert_int_equal(p.side[A].ups, 1);
		assert_non_null(pair_open(&p, A, 1000000));
		pair_run(&p, CV_MS(300));
		expect_little(0);
		pair_run(&p, CV_SEC(10));
		expect_little(10);
		pair_deinit(&p);
	}
}

static bool answer_elsewhere(struct pair *pair, struct pair_datagram *d)
{
	(void)pair;
	if (d->sender == B && d->bytes[0] >> 4 == WIRE_RESP >> 4)
		claim(d);
	return false;
}

static void a_response_proves_no_address_that_was_not_asked_alone(void **state)
{
	struct pair_flow *f;

	(void)state;
	init(2);
	victim = addr_v4(192, 168, 7, 99, 4000); /* better than what there is, if it were true */
	p.side[A].announced = 1u << PAIR_LAN;
	p.is_cut[A][PAIR_LAN] = p.is_cut[B][PAIR_LAN] = true;
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	pair_run(&p, CV_SEC(2));
	endpoint_set_local_addresses(p.side[B].e, p.now, &victim, 1);
	pair_poke(&p, B);
	pair_run(&p, CV_MS(500));
	assert_int_equal(sent, 3 * WIRE_PROBE_MIN); /* announced: it is asked */
	sent = 0;
	f = pair_open(&p, A, 3000000);
	assert_non_null(f);
	p.filter = answer_elsewhere;
	attempt_doubt(pair_session(&p, A), p.now);
	pair_poke(&p, A);
	pair_run(&p, CV_MS(300));
	expect_little(0);
	pair_run(&p, CV_SEC(10));
	expect_little(10);
	assert_true(pair_is_echoed(f)); /* nor is anybody held up by it */
	pair_deinit(&p);
}

static bool come_from_anywhere(struct pair *pair, struct pair_datagram *d)
{
	if (d->sender == B) {
		victim.port = (uint16_t)(2000 + pair->arg++ % 40000);
		claim(d);
	}
	return false;
}

static void on_any_train(struct pair *pair, unsigned side, const struct train *train)
{
	(void)pair;
	if (side == A && train->to.ip[0] == victim.ip[0])
		sent += train->size;
}

/* Each packet from another address: four of those a second are heard. */
static void new_sources_are_few(void **state)
{
	(void)state;
	init(4);
	victim = addr_v4(203, 0, 113, 7, 0);
	p.on_train = on_any_train;
	p.sinks = true;
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	pair_run(&p, CV_SEC(2));
	p.filter = come_from_anywhere;
	for (unsigned i = 0; i < 10; i++) {
		(void)pair_open(&p, B, 300000);
		pair_run(&p, CV_SEC(1));
	}
	assert_true(p.arg > 200);
	/* Sixteen and ten seconds' worth; nine questions each, and an answer and INITs. */
	assert_in_range(sent, 1, (16 + 10 * 4) * (10 * WIRE_PROBE_MIN + 2 * WIRE_INIT_SIZE));
	pair_deinit(&p);
}

/* Who is asked at one address alone, and answers there, is there: data need not wait. */
static void what_only_one_address_was_told_proves_it(void **state)
{
	const struct path *path;

	(void)state;
	init(3);
	p.side[B].has_address = false;
	pair_start(&p);
	pair_run(&p, 2 * p.delay);
	path = paths_active(&pair_session(&p, A)->paths);
	assert_non_null(path);
	assert_int_equal(path->state, PATH_VALID);
	pair_run(&p, p.delay);
	path = paths_active(&pair_session(&p, B)->paths);
	assert_non_null(path);
	assert_true(path->state == PATH_VALID || path->state == PATH_USABLE);
	pair_deinit(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_confirmation_proves_no_address_that_others_share),
		cmocka_unit_test(a_response_proves_no_address_that_was_not_asked_alone),
		cmocka_unit_test(what_only_one_address_was_told_proves_it),
		cmocka_unit_test(new_sources_are_few),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: peers and servers come and go while others go on: who is removed hears it, his streams end
 * at once, his number is nobody else's until nothing is left of him; what can change in place does.
 * Method: a pair of endpoints under virtual time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "tests/unit/endpoint_pair.h"

enum { A = 0, B = 1 };

static struct pair p;

static void meet(uint64_t seed)
{
	pair_init(&p, seed);
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
}

/* One that the far side never ends. */
static struct pair_flow *begin_flow(void)
{
	struct pair_flow *f;

	p.sinks = true;
	f = pair_open(&p, A, 50000);
	if (!f)
		fail();
	pair_run(&p, CV_SEC(1));
	p.sinks = false;
	assert_int_equal(p.side[B].flows[0].read, 50000);
	return f;
}

static void expect_echo(unsigned side, uint64_t size)
{
	struct pair_flow *f = pair_open(&p, side, size);

	assert_non_null(f);
	pair_run(&p, CV_SEC(5));
	assert_true(pair_is_echoed(f));
	assert_false(f->is_reset);
}

static struct endpoint_peer as_configured(unsigned side)
{
	return (struct endpoint_peer){
		.pk = p.side[!side].me.pk,
		.psk = p.side[side].psk,
		.policy = p.side[side].policy,
		.has_address = true,
	};
}

static void remove_peer(unsigned side)
{
	endpoint_on_turn(p.side[side].e, p.now);
	endpoint_remove_peer(p.side[side].e, p.now, p.side[side].peer);
	pair_drain(&p, side);
}

static uint32_t add_peer(unsigned side)
{
	struct endpoint_peer peer = as_configured(side);
	uint32_t number = UINT32_MAX;

	endpoint_on_turn(p.side[side].e, p.now);
	assert_int_equal(endpoint_add_peer(p.side[side].e, p.now, &peer, &number), 0);
	pair_drain(&p, side);
	return number;
}

static void a_removed_peer_hears_it_and_is_forgotten(void **state)
{
	struct pair_flow *f;
	uint64_t answers;

	(void)state;
	meet(1);
	f = begin_flow();
	remove_peer(A);
	assert_true(f->is_reset); /* in the same turn */
	assert_int_equal(p.side[A].downs, 1);
	pair_run(&p, 2 * p.delay);
	assert_true(p.side[B].flows[0].is_reset);
	assert_int_equal(p.side[B].down_code, CLOSE_REMOVED);
	assert_non_null(p.side[A].e->sessions[0]); /* what is on its way finds nobody else */
	pair_run(&p, SESSION_LEAVE);
	assert_int_equal(p.side[A].e->session_count, 0);
	/* An unknown key gets no answer, however often it asks. */
	answers = p.side[A].datagrams;
	pair_run(&p, CV_SEC(30));
	assert_true(p.side[B].kinds[WIRE_INIT >> 4] > 2);
	assert_int_equal(p.side[A].datagrams, answers);
	pair_deinit(&p);
}

static void it_is_kept_until_its_streams_are_let_go(void **state)
{
	struct endpoint *e;
	struct streams *streams;
	struct stream *stream;
	struct endpoint_event ev;

	(void)state;
	meet(2);
	e = p.side[A].e;
	streams = endpoint_streams(e, 0);
	assert_int_equal(streams_open(streams, &stream), 0);
	endpoint_remove_peer(e, p.now, 0);
	/* A shell that takes its time. */
	while (endpoint_next_event(e, p.now, &ev))
		;
	p.now += CV_SEC(5);
	endpoint_on_turn(e, p.now);
	endpoint_on_deadline(e, p.now);
	while (endpoint_next_event(e, p.now, &ev))
		;
	assert_non_null(e->sessions[0]);
	stream_release(streams, stream, 0);
	endpoint_touch(e, 0);
	while (endpoint_next_event(e, p.now, &ev))
		;
	assert_int_equal(e->session_count, 0);
	pair_drain(&p, A);
	pair_deinit(&p);
}

static void added_again_it_comes_back(void **state)
{
	static const struct {
		const char *what;
		cv_duration after;
	} table[] = {
		{ "in the same turn", 0 },
		{ "while it leaves", CV_MS(300) },
		{ "when it has left", CV_SEC(2) },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(table); i++) {
		meet(3 + i);
		(void)begin_flow();
		remove_peer(A);
		pair_run(&p, table[i].after);
		assert_int_equal(add_peer(A), 0);
		pair_run(&p, CV_SEC(8));
		assert_true(pair_is_up(&p));
		expect_echo(A, 100000);
		expect_echo(B, 100000);
		pair_run(&p, CV_SEC(2));
		assert_int_equal(p.side[A].e->session_count, 1);
		assert_int_equal(p.side[A].e->leaving_count, 0);
		pair_deinit(&p);
	}
}

static void numbers_are_used_again_only_when_free(void **state)
{
	uint8_t sk[32] = { 8 }, other_sk[32] = { 16 };
	struct identity x, y;
	struct endpoint_peer peer = { .pk = x.pk };
	uint32_t first, second, third;

	(void)state;
	meet(7);
	identity_init(&x, sk);
	identity_init(&y, other_sk);
	assert_int_equal(endpoint_add_peer(p.side[A].e, p.now, &peer, &first), 0);
	assert_int_equal(first, 1);
	endpoint_remove_peer(p.side[A].e, p.now, first);
	peer.pk = y.pk;
	assert_int_equal(endpoint_add_peer(p.side[A].e, p.now, &peer, &second), 0);
	assert_int_equal(second, 2);
	assert_int_equal(endpoint_add_peer(p.side[A].e, p.now, &peer, &third), -EINVAL);
	pair_drain(&p, A);
	pair_run(&p, CV_SEC(2));
	peer.pk = x.pk;
	assert_int_equal(endpoint_add_peer(p.side[A].e, p.now, &peer, &third), 0);
	assert_int_equal(third, 1);
	expect_echo(A, 100000);
	pair_deinit(&p);
}

static void another_psk_is_another_session(void **state)
{
	static const uint8_t psk[32] = { 1, 2, 3 };
	struct endpoint_peer peer;
	struct pair_flow *f;

	(void)state;
	meet(8);
	f = begin_flow();
	for (unsigned side = 0; side < 2; side++) {
		p.side[side].psk = psk;
		peer = as_configured(side);
		assert_int_equal(endpoint_change_peer(p.side[side].e, p.now, 0, &peer), 0);
		pair_drain(&p, side);
		assert_true(p.side[A].flows[0].is_reset);
		if (side == A) { /* one side alone has no session */
			pair_run(&p, CV_SEC(10));
			assert_false(pair_is_up(&p));
			assert_int_equal(p.side[B].ups, p.side[B].downs);
		}
	}
	assert_true(f->is_reset);
	pair_run(&p, CV_SEC(8));
	assert_true(pair_is_up(&p));
	expect_echo(A, 100000);
	pair_deinit(&p);
}

static void the_same_again_changes_nothing(void **state)
{
	struct endpoint_peer peer;
	struct pair_flow *f;
	uint64_t inits;

	(void)state;
	meet(9);
	f = begin_flow();
	inits = p.side[A].kinds[WIRE_INIT >> 4];
	for (unsigned i = 0; i < 100; i++) {
		peer = as_configured(A);
		assert_int_equal(endpoint_change_peer(p.side[A].e, p.now, 0, &peer), 0);
		pair_drain(&p, A);
		pair_run(&p, CV_MS(20));
	}
	assert_false(f->is_reset);
	assert_int_equal(p.side[A].kinds[WIRE_INIT >> 4], inits);
	pair_deinit(&p);
}

static void a_policy_changes_in_place(void **state)
{
	struct endpoint_peer peer;
	struct pair_flow *f;

	(void)state;
	meet(10);
	f = begin_flow();
	peer = as_configured(A);
	peer.policy = POLICY_DIRECT;
	assert_int_equal(endpoint_change_peer(p.side[A].e, p.now, 0, &peer), 0);
	pair_drain(&p, A);
	pair_run(&p, CV_SEC(1));
	assert_int_equal(pair_session(&p, B)->assoc.peer_policy, POLICY_DIRECT);
	assert_false(f->is_reset);
	/* The relay only: the direct path is left at once, though there is no other. */
	peer.policy = POLICY_RELAY;
	assert_int_equal(endpoint_change_peer(p.side[A].e, p.now, 0, &peer), 0);
	assert_int_equal(pair_session(&p, A)->paths.active, PATHS_NONE);
	pair_drain(&p, A);
	pair_run(&p, CV_SEC(1));
	assert_false(f->is_reset);
	peer.policy = POLICY_AUTO;
	assert_int_equal(endpoint_change_peer(p.side[A].e, p.now, 0, &peer), 0);
	pair_drain(&p, A);
	pair_run(&p, CV_SEC(3));
	assert_int_not_equal(pair_session(&p, A)->paths.active, PATHS_NONE);
	assert_int_equal(pair_session(&p, B)->assoc.peer_policy, POLICY_AUTO);
	assert_false(f->is_reset);
	pair_deinit(&p);
}

static void servers_come_and_go(void **state)
{
	uint8_t pk[32] = { 0 };
	uint8_t sk[32] = { 0 };
	struct identity id;
	uint32_t number;

	(void)state;
	meet(11);
	for (unsigned i = 0; i < 3 * ENDPOINT_SERVERS_MAX; i++) {
		sk[0] = (uint8_t)(i + 1);
		identity_init(&id, sk);
		memcpy(pk, id.pk, sizeof(pk));
		assert_int_equal(endpoint_add_server(p.side[A].e, p.now, pk, &number), 0);
		assert_true(number < ENDPOINT_SERVERS_MAX);
		pair_drain(&p, A);
		endpoint_remove_server(p.side[A].e, p.now, number);
		pair_drain(&p, A);
		pair_run(&p, CV_MS(100));
	}
	for (unsigned i = 0; i < ENDPOINT_SERVERS_MAX; i++)
		assert_int_equal(endpoint_add_server(p.side[A].e, p.now, pk, &number), 0);
	assert_int_equal(endpoint_add_server(p.side[A].e, p.now, pk, &number), -ENOBUFS);
	expect_echo(A, 100000);
	pair_deinit(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_removed_peer_hears_it_and_is_forgotten),
		cmocka_unit_test(it_is_kept_until_its_streams_are_let_go),
		cmocka_unit_test(added_again_it_comes_back),
		cmocka_unit_test(numbers_are_used_again_only_when_free),
		cmocka_unit_test(another_psk_is_another_session),
		cmocka_unit_test(the_same_again_changes_nothing),
		cmocka_unit_test(a_policy_changes_in_place),
		cmocka_unit_test(servers_come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

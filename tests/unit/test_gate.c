/* SPDX-License-Identifier: MIT */

/*
 * Goal: nobody makes us compute a DH who has not first shown what rule 9.1 asks for, and nobody
 * with keys in common is held up by those who have none. Method: INITs of a real initiator, shown
 * to a gate from here and there, damaged, replayed, with cookies of other places and times.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tunnel/gate.h"
#include "tunnel/initiator.h"

static struct rng_seeded seeded;
static struct rng rng;
static cv_time now;
static uint8_t me_sk[32], peer_sk[32];
static struct identity me, peer; /* @peer begins handshakes with @me */
static struct remote me_seen;    /* @me as @peer knows it */
static struct gate gate;
static struct indexes indexes;
static struct assoc assoc; /* of the initiator */
static struct epoch epochs[ASSOC_EPOCHS_MAX];
static struct initiator initiator;

static uint8_t init[WIRE_INIT_SIZE];
static uint8_t reply[WIRE_INIT_SIZE];
static size_t reply_size;
static struct wire_handshake head;

static void start(bool is_strict)
{
	struct assoc_options opt = { .indexes = &indexes,
		                     .limits = &EPOCH_LIMITS_AGENT,
		                     .epochs = epochs,
		                     .epochs_max = ASSOC_EPOCHS_MAX };

	rng_seeded_init(&seeded, 1);
	rng = rng_from_seeded(&seeded);
	now = CV_SEC(1000);
	rng_fill(&rng, me_sk, sizeof(me_sk));
	rng_fill(&rng, peer_sk, sizeof(peer_sk));
	identity_init(&me, me_sk);
	identity_init(&peer, peer_sk);
	assert_int_equal(remote_init(&me_seen, &peer, me.pk, NULL), 0);
	assert_int_equal(indexes_init(&indexes, 1), 0);
	memset(epochs, 0, sizeof(epochs));
	assoc_init(&assoc, &opt, &rng);
	initiator_init(&initiator);
	assert_int_equal(gate_init(&gate, &me, is_strict, 64, 1), 0);
}

static void stop(void)
{
	initiator_stop(&initiator, now, &assoc);
	assoc_deinit(&assoc, now);
	indexes_deinit(&indexes);
	gate_deinit(&gate);
}

static int setup_agent(void **state)
{
	(void)state;
	start(false);
	return 0;
}

static int setup_server(void **state)
{
	(void)state;
	start(true);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	stop();
	return 0;
}

static struct gate_source at(uint8_t host, uint16_t port)
{
	struct addr a = addr_v4(192, 0, 2, host, port);
	struct gate_source s;

	gate_source_addr(&s, 0, &a);
	return s;
}

/* A new INIT for @path in init[]. */
static void make(uint64_t path)
{
	initiator_stop(&initiator, now, &assoc);
	initiator_start(&initiator, now);
	assert_true(initiator_turn(&initiator, now, &assoc, &peer, &me_seen, HANDSHAKE_PEER, &rng,
	                           AEAD_BIT_CHACHA, POLICY_AUTO));
	initiator_write(&initiator, &assoc, now, path, init);
}

static enum gate_verdict show(const struct gate_source *from, struct assoc *continues)
{
	return gate_check(&gate, now, &rng, from, continues, init, sizeof(init), &head, reply,
	                  &reply_size);
}

static void an_agent_in_calm_asks_nothing(void **state)
{
	struct gate_source a = at(1, 1);

	(void)state;
	make(1);
	assert_int_equal(show(&a, NULL), GATE_PASS);
	assert_int_equal(head.sender, initiator.local_index);
}

static void damage_costs_one_hash(void **state)
{
	struct gate_source a = at(1, 1);

	(void)state;
	make(1);
	assert_int_equal(gate_check(&gate, now, &rng, &a, NULL, init, sizeof(init) - 1, &head,
	                            reply, &reply_size),
	                 GATE_MALFORMED);
	for (size_t i = 1; i < WIRE_INIT_SIZE - MAC_SIZE; i++) {
		init[i] ^= 1;
		assert_int_equal(show(&a, NULL), GATE_BAD_MAC);
		init[i] ^= 1;
	}
	assert_int_equal(gate.sources.count, 0); /* no source was charged for it */
	assert_int_equal(show(&a, NULL), GATE_PASS);
}

static void another_version_is_told(void **state)
{
	struct gate_source a = at(1, 1);
	uint8_t newest = 0;

	(void)state;
	make(1);
	init[1] = 9;
	cookie_write_mac1(&me.macs, init, sizeof(init), 2 * (size_t)MAC_SIZE);
	assert_int_equal(show(&a, NULL), GATE_VERSION);
	assert_true(reply_size <= sizeof(init));
	assert_true(cookie_read_version(&me.macs, init + WIRE_INIT_SIZE - 2 * MAC_SIZE, reply,
	                                reply_size, &newest));
	assert_int_equal(newest, WIRE_VERSION_1);
}

/* T6: the right cookie at the right place and time, and no other. */
static void a_server_wants_the_cookie_of_this_source(void **state)
{
	struct gate_source a = at(1, 1), port = at(1, 2), host = at(2, 1), socket = a, relayed;

	(void)state;
	socket.name[1] ^= 1;
	gate_source_relay(&relayed, 1, 1);
	make(1);
	assert_int_equal(show(&a, NULL), GATE_COOKIE);
	assert_int_equal(reply_size, WIRE_COOKIE_SIZE);
	assert_true(initiator_on_cookie(&initiator, now, &me_seen, 1, reply, reply_size));
	initiator_write(&initiator, &assoc, now, 1, init);
	assert_int_equal(show(&port, NULL), GATE_COOKIE);
	assert_int_equal(show(&host, NULL), GATE_COOKIE);
	assert_int_equal(show(&socket, NULL), GATE_COOKIE);
	assert_int_equal(show(&relayed, NULL), GATE_COOKIE);
	for (size_t bit = 0; bit < 8 * (size_t)MAC_SIZE; bit++) {
		init[WIRE_INIT_SIZE - MAC_SIZE + bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_not_equal(show(&a, NULL), GATE_PASS);
		init[WIRE_INIT_SIZE - MAC_SIZE + bit / 8] ^= (uint8_t)(1 << bit % 8);
		now += CV_MS(10);
	}
	assert_int_equal(show(&a, NULL), GATE_PASS);
	assert_int_equal(show(&a, NULL), GATE_STALE); /* once: rule 3.3 */
	now += CV_SEC(120); /* the secret changes; the one before is good for 5 s more */
	assert_int_equal(show(&host, NULL), GATE_COOKIE);
	now += CV_SEC(6);
	assert_int_equal(show(&a, NULL), GATE_COOKIE);
}

static void a_pressed_agent_asks_for_ten_seconds(void **state)
{
	struct gate_source a = at(1, 1);

	(void)state;
	make(1);
	gate_press(&gate, now);
	assert_int_equal(show(&a, NULL), GATE_COOKIE);
	now += CV_SEC(10);
	assert_int_equal(show(&a, NULL), GATE_PASS);
}

static void a_source_has_twenty_a_second(void **state)
{
	struct gate_source a = at(1, 1), b = at(2, 1);
	unsigned passed = 0;

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		make(1);
		passed += show(&a, NULL) == GATE_PASS;
	}
	assert_int_equal(passed, 5);
	assert_int_equal(show(&a, NULL), GATE_LIMITED);
	assert_int_equal(show(&b, NULL), GATE_PASS);
	for (unsigned i = 0; i < 100; i++) {
		now += CV_MS(10);
		passed += show(&a, NULL) == GATE_PASS;
	}
	assert_in_range(passed, 24, 26);
}

/* Rule 9.2: per channel, and all servers together half of what the agent can do. */
static void relayed_ones_have_half(void **state)
{
	unsigned passed = 0;
	struct gate_source s;

	(void)state;
	gate_source_relay(&s, 1, 77);
	make(1);
	for (unsigned i = 0; i < 50; i++)
		passed += show(&s, NULL) == GATE_PASS;
	assert_int_equal(passed, 5);
	for (unsigned i = 0; i < 1000; i++) {
		gate_source_relay(&s, 1, 1000 + i);
		passed += show(&s, NULL) == GATE_PASS;
	}
	assert_int_equal(passed, 125);
	s = at(9, 9);
	assert_int_equal(show(&s, NULL), GATE_PASS);
}

/* One handshake, so that both ends have an epoch: the responder's association. */
static void join(struct assoc *responder, struct epoch *theirs, struct indexes *t)
{
	struct assoc_options opt = { .indexes = t,
		                     .limits = &EPOCH_LIMITS_AGENT,
		                     .epochs = theirs,
		                     .epochs_max = ASSOC_EPOCHS_MAX };
	struct handshake_secrets secrets;
	struct assoc_join j = { .secrets = &secrets, .aead = AEAD_CHACHA20_POLY1305 };
	uint32_t a = indexes_take(&indexes, now, &rng, 0);
	uint32_t b;

	assert_int_equal(indexes_init(t, 2), 0);
	assoc_init(responder, &opt, &rng);
	b = indexes_take(t, now, &rng, 0);
	rng_fill(&rng, &secrets, sizeof(secrets));
	j.ours = assoc.incarnation;
	j.theirs = responder->incarnation;
	j.is_initiator = true;
	j.local_index = a;
	j.remote_index = b;
	assert_int_equal(assoc_join(&assoc, now, &rng, &j), ASSOC_BOUND);
	assoc_on_opened(&assoc, assoc_find(&assoc, a));
	j.ours = responder->incarnation;
	j.theirs = assoc.incarnation;
	j.is_initiator = false;
	j.local_index = b;
	j.remote_index = a;
	assert_int_equal(assoc_join(responder, now, &rng, &j), ASSOC_BOUND);
}

/* Rule 3.2: keys in common pass by cookie and buckets; the number keeps replays out. */
static void a_session_needs_no_cookie(void **state)
{
	struct gate_source a = at(1, 1);
	struct epoch theirs[ASSOC_EPOCHS_MAX] = { 0 };
	struct assoc responder;
	struct indexes t;
	uint8_t first[WIRE_INIT_SIZE];

	(void)state;
	join(&responder, theirs, &t);
	for (unsigned i = 0; i < 200; i++) { /* every bucket of this prefix is empty */
		make(0);
		(void)show(&a, NULL);
	}
	make(1);
	memcpy(first, init, sizeof(init));
	assert_int_equal(show(&a, &responder), GATE_CONTINUES);
	assert_int_equal(show(&a, &responder), GATE_STALE);
	make(1);
	assert_int_equal(show(&a, &responder), GATE_CONTINUES);
	memcpy(init, first, sizeof(init));
	assert_int_equal(show(&a, &responder), GATE_STALE);
	make(1);
	init[WIRE_INIT_SIZE - 1] ^= 1; /* mac2 of nobody: a stranger's */
	assert_int_equal(show(&a, &responder), GATE_LIMITED);
	for (unsigned i = 0; i < 20; i++) {
		make(1);
		(void)show(&a, &responder);
	}
	make(1);
	assert_int_equal(show(&a, &responder), GATE_LIMITED); /* 10/s */
	assoc_deinit(&responder, now);
	indexes_deinit(&t);
}

#define AGENT(f) cmocka_unit_test_setup_teardown(f, setup_agent, teardown)
#define SERVER(f) cmocka_unit_test_setup_teardown(f, setup_server, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		AGENT(an_agent_in_calm_asks_nothing),
		AGENT(damage_costs_one_hash),
		AGENT(another_version_is_told),
		SERVER(a_server_wants_the_cookie_of_this_source),
		AGENT(a_pressed_agent_asks_for_ten_seconds),
		AGENT(a_source_has_twenty_a_second),
		AGENT(relayed_ones_have_half),
		SERVER(a_session_needs_no_cookie),
	};

	return cmocka_run_group_tests_name("gate", tests, NULL, NULL);
}

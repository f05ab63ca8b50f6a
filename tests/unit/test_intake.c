/* SPDX-License-Identifier: MIT */

/*
 * Goal: each datagram finds its session or nobody, strangers get no answer and leave
 * nothing behind, and a repeat costs no second handshake. Method: genuine datagrams of a pair of
 * endpoints are kept, cut, damaged and given again by hand; the counters say where they ended.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/endpoint_pair.h"
#include "tunnel/directory.h"
#include "tunnel/intake.h"
#include "tunnel/rendezvous_state.h"

enum { A = 0, B = 1 };

static struct pair p;
static struct pair_datagram init, data, probe; /* the newest of each kind that A sent */

static bool keep(struct pair *pair, struct pair_datagram *d)
{
	(void)pair;
	if (d->sender != A)
		return false;
	if ((d->bytes[0] & WIRE_KIND_MASK) == WIRE_INIT)
		init = *d;
	if ((d->bytes[0] & WIRE_KIND_MASK) == WIRE_DATA)
		data = *d;
	if ((d->bytes[0] & WIRE_KIND_MASK) == WIRE_PROBE)
		probe = *d;
	return false;
}

static void meet(uint64_t seed)
{
	pair_init(&p, seed);
	p.filter = keep;
	p.side[B].has_address = false;
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	pair_run(&p, CV_SEC(3));
	p.filter = NULL;
}

/* Gives @size bytes to B; returns how many datagrams it sent in answer. */
static uint64_t give_by(uint16_t socket, const uint8_t *bytes, size_t size, const struct addr *from)
{
	uint8_t copy[2048];
	struct arrival in = {
		.bytes = copy, .size = size, .segment_size = size, .socket = socket, .from = *from
	};
	uint64_t before = p.side[B].datagrams;

	memcpy(copy, bytes, size);
	endpoint_on_turn(p.side[B].e, p.now);
	endpoint_on_arrival(p.side[B].e, p.now, &in);
	pair_drain(&p, B);
	return p.side[B].datagrams - before;
}

static uint64_t give(const uint8_t *bytes, size_t size, const struct addr *from)
{
	return give_by(SOCKET_MAIN, bytes, size, from);
}

static struct endpoint_counters counters(void)
{
	struct endpoint_counters c;

	endpoint_counters(p.side[B].e, &c);
	return c;
}

static void noise_is_counted_and_not_answered(void **state)
{
	struct addr from = addr_v4(203, 0, 113, 50, 999);
	uint8_t bytes[1500];
	uint64_t live;

	(void)state;
	meet(1);
	live = cv_alloc_live();
	for (unsigned first = 0; first < 256; first++) {
		for (size_t size = 1; size < sizeof(bytes); size = size * 3 / 2 + 1) {
			struct endpoint_counters before = counters(), after;
			uint64_t told;

			rng_fill(&p.rng, bytes, sizeof(bytes));
			bytes[0] = (uint8_t)first;
			assert_int_equal(give(bytes, size, &from), 0);
			after = counters();
			told = after.malformed + after.unknown_index + after.gate_drops +
			       after.relay_strays - before.malformed - before.unknown_index -
			       before.gate_drops - before.relay_strays;
			/* A relay's header that is cut short names nothing at all. */
			assert_int_equal(told, (first & WIRE_KIND_MASK) == WIRE_RELAY &&
			                                       size < WIRE_RELAY_HEADER
			                               ? 0
			                               : 1);
		}
	}
	assert_int_equal(cv_alloc_live(), live);
	assert_true(pair_is_up(&p));
	pair_deinit(&p);
}

static void every_cut_of_a_genuine_datagram_is_nothing(void **state)
{
	const struct pair_datagram *kinds[] = { &init, &data, &probe };

	(void)state;
	meet(2);
	for (size_t k = 0; k < CV_ARRAY_SIZE(kinds); k++) {
		for (size_t size = 1; size < kinds[k]->size; size++)
			assert_int_equal(give(kinds[k]->bytes, size, &kinds[k]->from), 0);
	}
	assert_int_equal(p.side[B].ups, 1);
	assert_int_equal(p.side[B].downs, 0);
	pair_deinit(&p);
}

static void every_damaged_byte_of_a_genuine_datagram_is_nothing(void **state)
{
	const struct pair_datagram *kinds[] = { &init, &data, &probe };

	(void)state;
	meet(3);
	for (size_t k = 0; k < CV_ARRAY_SIZE(kinds); k++) {
		for (size_t i = 0; i < kinds[k]->size; i++) {
			struct pair_datagram bad = *kinds[k];

			bad.bytes[i] ^= 0x20;
			/* mac2 of an INIT counts under load alone. */
			if (k == 0 && i >= WIRE_INIT_SIZE - MAC_SIZE)
				continue;
			assert_int_equal(give(bad.bytes, bad.size, &bad.from), 0);
		}
	}
	assert_int_equal(p.side[B].downs, 0);
	assert_true(counters().forged > 0);
	pair_deinit(&p);
}

static void a_replay_is_nothing(void **state)
{
	struct endpoint_counters before;

	(void)state;
	meet(4);
	before = counters();
	assert_int_equal(give(data.bytes, data.size, &data.from), 0);
	assert_int_equal(counters().replayed, before.replayed + 1);
	assert_int_equal(give(probe.bytes, probe.size, &probe.from), 0);
	/* From elsewhere it is not even a new path. */
	assert_int_equal(give(data.bytes, data.size, &p.side[A].addr[PAIR_LAN]), 0);
	assert_int_equal(paths_find(&pair_session(&p, B)->paths,
	                            &(struct origin){ .addr = p.side[A].addr[PAIR_LAN] }),
	                 PATHS_NONE);
	assert_int_equal(p.side[B].downs, 0);
	pair_deinit(&p);
}

static void an_init_is_answered_with_the_same_words(void **state)
{
	uint8_t resp[WIRE_RESP_SIZE];

	(void)state;
	pair_init(&p, 5);
	p.filter = keep;
	p.side[B].has_address = false;
	p.is_cut[B][PAIR_PUBLIC] = true; /* A gets no answer and repeats itself */
	pair_start(&p);
	pair_run(&p, p.delay);
	assert_int_equal(p.side[B].kinds[WIRE_RESP >> 4], 1);
	memcpy(resp, p.train_bytes, sizeof(resp));
	for (unsigned i = 0; i < 3; i++) {
		memset(p.train_bytes, 0, sizeof(resp));
		assert_int_equal(give(init.bytes, init.size, &init.from), 1);
		assert_int_equal(p.side[B].e->pendings.count, 1);
	}
	assert_int_equal(p.side[B].kinds[WIRE_RESP >> 4], 4);
	/* Wherever it comes from: the answer goes back there. */
	init.from = addr_v4(203, 0, 113, 7, 7);
	assert_int_equal(give(init.bytes, init.size, &init.from), 1);
	assert_int_equal(p.stray_count, 1);
	assert_true(addr_equal(&p.strays[0], &init.from));
	assert_int_equal(p.side[B].ups, 0);
	pair_deinit(&p);
}

static bool keep_and_lose(struct pair *pair, struct pair_datagram *d)
{
	(void)keep(pair, d);
	return true;
}

/* Under `path: relay` an INIT that came by the relay is not answered to whoever repeats it
 * directly: the peer could find out whether we are where it believes. */
static void a_relayed_init_has_no_answer_elsewhere(void **state)
{
	const struct origin relay = { .is_relay = true, .channel = 5 };
	static const struct {
		uint8_t ours, theirs;
	} rows[] = { { POLICY_RELAY, POLICY_AUTO },
		     { POLICY_AUTO, POLICY_RELAY },
		     { POLICY_AUTO, POLICY_AUTO } };
	uint8_t sk[32] = { 7 };
	struct identity server;
	uint32_t number;

	(void)state;
	identity_init(&server, sk);
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		pair_init(&p, 8);
		p.filter = keep_and_lose;
		p.side[B].has_address = false;
		p.side[B].policy = rows[i].ours;
		pair_start(&p);
		pair_session(&p, A)->policy = rows[i].theirs; /* said, not kept */
		pair_run(&p, CV_SEC(6));
		assert_int_equal(endpoint_add_server(p.side[B].e, p.now, server.pk, &number), 0);
		intake_init(p.side[B].e, p.now, &relay, init.bytes, init.size);
		assert_int_equal(p.side[B].e->pendings.count, 1);
		assert_int_equal(give(init.bytes, init.size, &init.from),
		                 rows[i].ours == POLICY_AUTO && rows[i].theirs == POLICY_AUTO);
		pair_deinit(&p);
	}
}

/* Nor does anybody who knows our key find out by a COOKIE: if no peer may come directly, nobody has
 * anything to ask there. */
static void who_only_relays_answers_nobody(void **state)
{
	const uint8_t policies[] = { POLICY_AUTO, POLICY_DIRECT, POLICY_RELAY };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(policies); i++) {
		pair_init(&p, 9);
		p.filter = keep_and_lose;
		p.side[B].has_address = false;
		p.side[B].policy = policies[i];
		pair_start(&p);
		pair_run(&p, CV_MS(300));
		gate_press(&p.side[B].e->gate, p.now);
		assert_int_equal(give(init.bytes, init.size, &init.from),
		                 policies[i] != POLICY_RELAY);
		assert_int_equal(counters().gate_drops, 1);
		pair_deinit(&p);
	}
}

static void who_is_leaving_takes_no_new_handshake(void **state)
{
	(void)state;
	pair_init(&p, 6);
	p.filter = keep;
	p.side[B].has_address = false;
	pair_start_side(&p, A);
	pair_run(&p, CV_MS(5));
	pair_start_side(&p, B);
	endpoint_close(p.side[B].e, p.now);
	assert_int_equal(give(init.bytes, init.size, &init.from), 0);
	assert_int_equal(counters().malformed, 1);
	pair_deinit(&p);
}

static void peers_are_found_by_their_keys(void **state)
{
	uint8_t other[32];

	(void)state;
	meet(7);
	assert_ptr_equal(intake_find_peer(p.side[B].e, p.side[A].me.pk), pair_session(&p, B));
	memcpy(other, p.side[A].me.pk, 32);
	other[31] ^= 1;
	assert_null(intake_find_peer(p.side[B].e, other));
	pair_deinit(&p);
}

/* Rule 3.1: a channel is believed from the server that announced it; here there is none. */
static void a_relayed_datagram_of_nobodys_channel_is_a_stray(void **state)
{
	uint8_t bytes[PAIR_DATAGRAM_MAX + WIRE_RELAY_HEADER];

	(void)state;
	meet(8);
	wire_write_relay(bytes, 12345);
	memcpy(bytes + WIRE_RELAY_HEADER, data.bytes, data.size);
	assert_int_equal(give(bytes, data.size + WIRE_RELAY_HEADER, &data.from), 0);
	assert_int_equal(counters().relay_strays, 1);
	assert_int_equal(counters().replayed, 0);
	pair_deinit(&p);
}

/* Nor is it taken for one of a channel that there is, when it does not come from its server. */
static void a_channel_is_its_servers(void **state)
{
	const struct addr at = addr_v4(203, 0, 113, 1, 28583),
			  other = addr_v4(203, 0, 113, 2, 28583);
	uint8_t bytes[PAIR_DATAGRAM_MAX + WIRE_RELAY_HEADER], sk[32] = { 6 };
	struct wire_message m = { .type = MESSAGE_OPENED, .channel = 12345 };
	struct contacts_event told;
	struct identity server;
	struct rendezvous *r;
	uint32_t number;

	(void)state;
	meet(9);
	identity_init(&server, sk);
	assert_int_equal(endpoint_add_server(p.side[B].e, p.now, server.pk, &number), 0);
	r = p.side[B].e->servers[number].r;
	p.is_unchecked = true; /* the session has no keys */
	r->session.assoc.is_bound = true;
	r->current = at;
	directory_tag(server.pk, p.side[B].me.pk, p.side[A].me.pk, m.tag);
	assert_int_equal(contacts_on_message(&r->contacts, &m, &told), CONTACTS_CHANNEL);
	wire_write_relay(bytes, 12345);
	memcpy(bytes + WIRE_RELAY_HEADER, data.bytes, data.size);
	(void)give(bytes, data.size + WIRE_RELAY_HEADER, &other);
	assert_int_equal(counters().relay_strays, 1);
	(void)give_by(1, bytes, data.size + WIRE_RELAY_HEADER, &at);
	assert_int_equal(counters().relay_strays, 2);
	(void)give(bytes, data.size + WIRE_RELAY_HEADER, &at);
	assert_int_equal(counters().relay_strays, 2);
	r->session.assoc.is_bound = false;
	pair_deinit(&p);
}

/* A server's TCP brings what is the server's, and what is relayed: a bare packet of a peer would
 * make a path of it. */
static void no_peer_comes_by_tcp(void **state)
{
	const struct pair_datagram *kinds[] = { &init, &data, &probe };
	struct endpoint_counters before;

	(void)state;
	pair_init(&p, 9);
	p.filter = keep;
	p.side[B].has_address = false;
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	before = counters();
	for (size_t k = 0; k < CV_ARRAY_SIZE(kinds); k++)
		assert_int_equal(
			give_by(SOCKET_TCP, kinds[k]->bytes, kinds[k]->size, &kinds[k]->from), 0);
	assert_int_equal(counters().malformed, before.malformed + 1);
	assert_int_equal(counters().unknown_index, before.unknown_index + 2);
	assert_int_equal(counters().replayed, before.replayed);
	pair_deinit(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(noise_is_counted_and_not_answered),
		cmocka_unit_test(every_cut_of_a_genuine_datagram_is_nothing),
		cmocka_unit_test(every_damaged_byte_of_a_genuine_datagram_is_nothing),
		cmocka_unit_test(a_replay_is_nothing),
		cmocka_unit_test(an_init_is_answered_with_the_same_words),
		cmocka_unit_test(a_relayed_init_has_no_answer_elsewhere),
		cmocka_unit_test(who_only_relays_answers_nobody),
		cmocka_unit_test(who_is_leaving_takes_no_new_handshake),
		cmocka_unit_test(peers_are_found_by_their_keys),
		cmocka_unit_test(no_peer_comes_by_tcp),
		cmocka_unit_test(a_relayed_datagram_of_nobodys_channel_is_a_stray),
		cmocka_unit_test(a_channel_is_its_servers),
	};

	return cmocka_run_group_tests_name("intake", tests, NULL, NULL);
}

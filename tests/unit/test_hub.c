/* SPDX-License-Identifier: MIT */

/*
 * Goal: agents meet at a server and reach each other through it, whatever the network loses,
 * doubles or renumbers, and whoever restarts; and nobody gets from it what is not his. Method: the
 * real hub and real rendezvous objects, joined in memory under virtual time; a seed decides what
 * is lost. Invariants are checked after every delivery.
 */
#include "hub_world.h"
#include "tunnel/rendezvous_state.h"

static void agents_meet(void **state)
{
	struct world *w = pair_new(1);
	struct rendezvous_stats s;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(w->agents[i].ups, 1);
		assert_true(w->agents[i].is_present[!i]);
		rendezvous_stats(w->agents[i].rv, &s);
		assert_true(s.is_up);
		assert_true(addr_equal(&s.public_address, &w->agents[i].addr));
		assert_true(s.rtt >= CV_MS(40) && s.rtt < CV_MS(50));
	}
	assert_int_equal(stats_of(w).agents, 2);
	assert_int_equal(w->agents[0].downs, 0);
	world_free(w);
}

static void open_carries_the_init(void **state)
{
	struct world *w = pair_new(2);
	uint8_t init[WIRE_INIT_SIZE];

	(void)state;
	memset(init, 0x41, sizeof(init));
	rendezvous_open(w->agents[0].rv, w->now, 1, init);
	run(w, CV_MS(200));
	assert_int_not_equal(w->agents[0].channel[1], 0);
	assert_int_not_equal(w->agents[1].channel[0], 0);
	assert_int_not_equal(w->agents[0].channel[1], w->agents[1].channel[0]);
	assert_int_equal(w->agents[1].offers, 1);
	assert_memory_equal(w->agents[1].offered, init, sizeof(init));
	assert_int_equal(stats_of(w).channels, 1);
	world_free(w);
}

static void open_is_idempotent(void **state)
{
	struct world *w = pair_new(3);
	uint8_t init[WIRE_INIT_SIZE] = { 0x40 };
	uint64_t first;

	(void)state;
	rendezvous_open(w->agents[0].rv, w->now, 1, init);
	run(w, CV_MS(200));
	first = w->agents[0].channel[1];
	rendezvous_open(w->agents[0].rv, w->now, 1, init);
	rendezvous_open(w->agents[1].rv, w->now, 0, init);
	run(w, CV_MS(200));
	assert_int_equal(w->agents[0].channel[1], first);
	assert_int_equal(rendezvous_channel(w->agents[0].rv, 1), first);
	assert_int_equal(stats_of(w).channels, 1);
	world_free(w);
}

/* Rule 2.5: four round trips to the first byte, of which three are the server's. */
static void cold_start_takes_three_round_trips(void **state)
{
	struct world *w = world_new(4);
	uint8_t init[WIRE_INIT_SIZE] = { 0x40 };
	cv_time began;

	(void)state;
	make_agent(w, 1);
	know(w, 1, 0);
	run(w, CV_SEC(2));
	make_agent(w, 0);
	know(w, 0, 1);
	rendezvous_open(w->agents[0].rv, w->now, 1, init);
	began = w->now;
	w->jitter = 0;
	while (w->agents[1].offers == 0 && w->now - began < CV_SEC(1))
		run(w, CV_MS(1));
	/* INIT, COOKIE, INIT, RESP, OPEN, OFFER: six ways of 20 ms. */
	assert_in_range(w->now - began, CV_MS(120), CV_MS(122));
	world_free(w);
}

static void relay_carries_bytes_both_ways(void **state)
{
	struct world *w = pair_new(5);
	struct hub_session *s = hub_session_at(w->hub, SOCKET_MAIN, &w->agents[0].addr);

	(void)state;
	rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
	run(w, CV_MS(200));
	s->port.strayed_at = w->now; /* what it sends to others says that it has not left */
	send_relayed(w, 0, w->agents[0].channel[1], WIRE_RELAYED_MAX);
	send_relayed(w, 1, w->agents[1].channel[0], 1);
	run(w, CV_MS(100));
	assert_int_equal(s->port.strayed_at, 0);
	assert_int_equal(w->agents[1].relayed, 1);
	assert_int_equal(w->agents[1].relayed_size, WIRE_RELAYED_MAX);
	assert_int_equal(w->agents[0].relayed, 1);
	assert_int_equal(w->agents[0].relayed_size, 1);

	send_relayed(w, 0, w->agents[0].channel[1], WIRE_RELAYED_MAX + 1);
	send_relayed(w, 0, w->agents[1].channel[0], 10); /* the other end's number */
	send_relayed(w, 0, 12345, 10);
	run(w, CV_MS(100));
	assert_int_equal(w->agents[1].relayed, 1);
	assert_int_equal(w->agents[0].relayed, 1);
	assert_int_equal(stats_of(w).drop_too_large, 1);
	assert_int_equal(stats_of(w).drop_wrong_source, 1);
	assert_int_equal(stats_of(w).drop_unknown_channel, 1);
	world_free(w);
}

/* Not registered, not mutual, unknown: byte for byte one answer (T58). */
static void absent_says_nothing_more(void **state)
{
	struct world *w = world_new(6);

	(void)state;
	make_agent(w, 0);
	make_agent(w, 1); /* there, but does not know 0 */
	know(w, 0, 1);
	know(w, 0, 2); /* never there */
	run(w, CV_SEC(2));
	rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
	rendezvous_open(w->agents[0].rv, w->now, 2, NULL);
	run(w, CV_SEC(1));
	assert_int_equal(w->agents[0].absents[1], 1);
	assert_int_equal(w->agents[0].absents[2], 1);
	assert_false(w->agents[0].was_gone[1]);
	assert_false(w->agents[0].was_gone[2]);
	assert_int_equal(w->agents[1].offers, 0);
	assert_int_equal(stats_of(w).channels, 0);
	world_free(w);
}

static void loss_and_duplicates_only_delay(void **state)
{
	(void)state;
	for (uint64_t seed = 100; seed < 130; seed++) {
		struct world *w = world_new(seed);
		uint8_t init[WIRE_INIT_SIZE] = { 0x40 };

		w->loss = 30;
		w->duplicate = 20;
		w->jitter = CV_MS(50);
		make_agent(w, 0);
		make_agent(w, 1);
		know(w, 0, 1);
		know(w, 1, 0);
		rendezvous_open(w->agents[0].rv, w->now, 1, init);
		run(w, CV_SEC(40));
		w->loss = 0; /* calm: everything must be in order soon */
		run(w, CV_SEC(40));
		if (w->agents[0].channel[1] == 0) {
			rendezvous_open(w->agents[0].rv, w->now, 1, init);
			run(w, CV_SEC(2));
		}
		assert_true(w->agents[0].is_present[1]);
		assert_true(w->agents[1].is_present[0]);
		assert_int_not_equal(w->agents[0].channel[1], 0);
		assert_int_not_equal(w->agents[1].channel[0], 0);
		w->agents[1].relayed = 0;
		w->duplicate = 0;
		send_relayed(w, 0, w->agents[0].channel[1], 100);
		run(w, CV_SEC(1));
		assert_int_equal(w->agents[1].relayed, 1);
		world_free(w);
	}
}

/* A GRO batch of one channel leaves as one train again, and nothing is allocated for it. */
static void batches_stay_whole(void **state)
{
	struct world *w = pair_new(7);
	static uint8_t batch[TRAIN_SEGMENTS_MAX * 1000];
	struct arrival in = { .bytes = batch, .segment_size = 1000, .from = w->agents[0].addr };
	struct train t = { .bytes = w->train };
	uint64_t calls;

	(void)state;
	rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
	run(w, CV_MS(200));
	memset(batch, WIRE_DATA, sizeof(batch));
	for (unsigned i = 0; i < 44; i++)
		wire_write_relay(batch + i * 1000, w->agents[0].channel[1]);
	in.size = 43 * 1000 + 500; /* the last is shorter */
	calls = cv_alloc_calls();
	hub_on_arrival(w->hub, w->now, &in);
	assert_true(hub_write(w->hub, w->now, &t));
	assert_int_equal(t.count, 44);
	assert_int_equal(t.segment_size, 1000);
	assert_int_equal(t.size, in.size);
	assert_true(addr_equal(&t.to, &w->agents[1].addr));
	assert_false(hub_write(w->hub, w->now, &t));
	assert_int_equal(cv_alloc_calls(), calls);
	world_free(w);
}

static void a_full_queue_drops_its_oldest(void **state)
{
	struct world *w = pair_new(8);
	uint8_t bytes[WIRE_RELAY_HEADER + 10] = { 0 };
	struct arrival in = { .bytes = bytes,
		              .size = sizeof(bytes),
		              .segment_size = sizeof(bytes) };
	struct train t = { .bytes = w->train };

	(void)state;
	rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
	run(w, CV_MS(200));
	in.from = w->agents[0].addr;
	for (unsigned i = 0; i < RELAY_QUEUE_PACKETS + 3; i++) {
		wire_write_relay(bytes, w->agents[0].channel[1]);
		bytes[WIRE_RELAY_HEADER] = WIRE_DATA;
		bytes[WIRE_RELAY_HEADER + 1] = (uint8_t)i;
		hub_on_arrival(w->hub, w->now, &in);
	}
	assert_int_equal(stats_of(w).drop_queue_full, 3);
	assert_true(hub_write(w->hub, w->now, &t));
	assert_int_equal(t.count, RELAY_QUEUE_PACKETS);
	assert_int_equal(t.bytes[WIRE_RELAY_HEADER + 1], 3);
	world_free(w);
}

/* Rule 5.9: a spent quota still passes 20 small packets a second. */
static void a_spent_quota_lets_small_packets_pass(void **state)
{
	struct world *w = world_new(9);
	unsigned small;

	(void)state;
	hub_free(w->hub, w->now);
	w->opt.relay_rate = 1000;
	make_hub(w);
	make_agent(w, 0);
	make_agent(w, 1);
	know(w, 0, 1);
	know(w, 1, 0);
	run(w, CV_SEC(2));
	rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
	run(w, CV_MS(200));
	for (unsigned i = 0; i < 400; i++)
		send_relayed(w, 0, w->agents[0].channel[1], 1400);
	run(w, CV_MS(100));
	assert_in_range(w->agents[1].relayed, 150, 256 * 1024 / 1400 + 1);
	assert_true(stats_of(w).drop_quota > 0);
	w->agents[1].relayed = 0;
	send_relayed(w, 0, w->agents[0].channel[1], RELAY_SMALL_MAX + 1);
	run(w, CV_MS(100));
	assert_int_equal(w->agents[1].relayed, 0);
	for (unsigned i = 0; i < 100; i++)
		send_relayed(w, 0, w->agents[0].channel[1], RELAY_SMALL_MAX);
	run(w, CV_MS(100));
	small = w->agents[1].relayed;
	assert_in_range(small, RELAY_SMALL_RATE, RELAY_SMALL_RATE + 3);
	world_free(w);
}

/* An operator who lends no bandwidth still lets agents find each other. */
static void without_relay_only_small_packets_pass(void **state)
{
	struct world *w = world_new(10);

	(void)state;
	hub_free(w->hub, w->now);
	w->opt.relay_enabled = false;
	make_hub(w);
	make_agent(w, 0);
	make_agent(w, 1);
	know(w, 0, 1);
	know(w, 1, 0);
	run(w, CV_SEC(2));
	rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
	run(w, CV_MS(200));
	send_relayed(w, 0, w->agents[0].channel[1], 1400);
	send_relayed(w, 0, w->agents[0].channel[1], 500);
	run(w, CV_MS(100));
	assert_int_equal(w->agents[1].relayed, 1);
	assert_int_equal(w->agents[1].relayed_size, 500);
	world_free(w);
}

/* Both ends hear how fast the relay is, what is no rate, and when either becomes the other. */
static void agents_know_what_is_lent(void **state)
{
	static const struct {
		bool is_lent;
		uint64_t rate; /* bytes */
		uint32_t kbit;
	} rows[] = {
		{ true, 6250000, 50000 },
		{ false, 6250000, MESSAGE_RATE_SMALL },
		{ true, 6250000, 50000 },
		{ false, 0, MESSAGE_RATE_SMALL },
		{ true, 0, 0 },
		{ false, 0, MESSAGE_RATE_SMALL },
		{ true, (uint64_t)MESSAGE_RATE_SMALL * 125, MESSAGE_RATE_SMALL + 1 },
	};
	struct world *w = pair_new(12);
	uint64_t channel;

	(void)state;
	rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
	run(w, CV_MS(200));
	channel = w->agents[0].channel[1];
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		w->opt.relay_enabled = rows[i].is_lent;
		w->opt.relay_rate = rows[i].rate;
		assert_int_equal(hub_change(w->hub, w->now, &w->opt), 0);
		run(w, CV_MS(200));
		assert_int_equal(w->agents[0].rate_kbit[1], rows[i].kbit);
		assert_int_equal(w->agents[1].rate_kbit[0], rows[i].kbit);
	}
	assert_int_equal(w->agents[0].channel[1], channel);
	world_free(w);
}

/* A NAT forgets: the relay is black for two round trips, not until the next keepalive (rule 2.4).
 */
static void rebinding_is_noticed_by_a_relayed_packet(void **state)
{
	struct world *w = pair_new(11);

	(void)state;
	rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
	run(w, CV_MS(200));
	w->agents[0].addr.port = 4999;
	send_relayed(w, 0, w->agents[0].channel[1], 200);
	run(w, CV_MS(100));
	assert_int_equal(w->agents[1].relayed, 0);
	send_relayed(w, 0, w->agents[0].channel[1], 200);
	send_relayed(w, 1, w->agents[1].channel[0], 200);
	run(w, CV_MS(100));
	assert_int_equal(w->agents[1].relayed, 1);
	assert_int_equal(w->agents[0].relayed, 1);
	assert_int_equal(stats_of(w).agents, 2);
	run(w, CV_SEC(60));
	assert_int_equal(w->agents[0].downs, 0);
	assert_true(w->agents[0].addresses >= 2); /* and it learnt of it */
	world_free(w);
}

/* Who copies packets from elsewhere gets one PROBE, no larger, and moves nothing. */
static void a_copier_is_not_followed(void **state)
{
	struct world *w = pair_new(12);
	struct addr thief = addr_v4(203, 0, 113, 66, 6666);
	uint8_t bytes[WIRE_RELAY_HEADER + 100];
	struct arrival in = { .bytes = bytes,
		              .size = sizeof(bytes),
		              .segment_size = sizeof(bytes) };
	struct train t = { .bytes = w->train };
	unsigned answers = 0;

	(void)state;
	rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
	run(w, CV_MS(200));
	for (unsigned i = 0; i < 50; i++) {
		wire_write_relay(bytes, w->agents[0].channel[1]);
		bytes[WIRE_RELAY_HEADER] = WIRE_DATA;
		in.from = thief;
		hub_on_arrival(w->hub, w->now, &in);
		while (hub_write(w->hub, w->now, &t)) {
			assert_true(addr_equal(&t.to, &thief));
			assert_true(t.size <= sizeof(bytes));
			answers++;
		}
	}
	assert_in_range(answers, 1, 4);
	send_relayed(w, 0, w->agents[0].channel[1], 200);
	run(w, CV_MS(100));
	assert_int_equal(w->agents[1].relayed, 1);
	world_free(w);
}

/* STUN on the hub's own ports; beside agents, which are not disturbed. */
static void stun_is_answered(void **state)
{
	struct world *w = pair_new(14);
	struct binding_place places[] = {
		{ 0, w->server_addr, w->server_addr },
		{ 1, addr_v4(192, 0, 2, 1, 28584), addr_v4(192, 0, 2, 1, 28584) },
	};
	static const uint8_t id[STUN_ID_SIZE] = { 1 };
	uint8_t bytes[STUN_PADDED_SIZE];
	struct arrival in = { .bytes = bytes, .from = addr_v4(203, 0, 113, 1, 7) };
	struct train t = { .bytes = w->train };
	struct stun_message m;

	(void)state;
	hub_free(w->hub, w->now);
	w->opt.stun = BINDING_PADDED;
	make_hub(w);
	hub_set_places(w->hub, places, 2);
	in.size = stun_write_request(bytes, sizeof(bytes), id, STUN_CHANGE_PORT, sizeof(bytes));
	in.segment_size = in.size;
	hub_on_arrival(w->hub, w->now, &in);
	assert_true(hub_write(w->hub, w->now, &t));
	assert_int_equal(t.socket, 1);
	assert_true(addr_equal(&t.to, &in.from));
	assert_true(t.size <= in.size);
	assert_true(stun_read(t.bytes, t.size, &m));
	assert_true(stun_is_answer(&m, id));
	assert_true(addr_equal(&m.mapped, &in.from));
	assert_false(hub_write(w->hub, w->now, &t));

	in.size = in.segment_size = stun_write_request(bytes, sizeof(bytes), id, 0, 0);
	hub_on_arrival(w->hub, w->now, &in);
	bytes[0] = 3;
	hub_on_arrival(w->hub, w->now, &in);
	bytes[0] = 0;
	for (unsigned i = 0; i < 100; i++)
		hub_on_arrival(w->hub, w->now, &in);
	assert_false(hub_write(w->hub, w->now, &t));
	assert_int_equal(stats_of(w).stun_answers, 1);
	assert_int_equal(stats_of(w).drop_stun_silent, BINDING_BURST - 1);
	assert_int_equal(stats_of(w).drop_stun_limited, 102 - BINDING_BURST);
	assert_int_equal(stats_of(w).drop_malformed, 1);
	run(w, CV_SEC(70));
	assert_int_equal(stats_of(w).agents, 2);
	world_free(w);
}

static struct flight flight_of(const struct world *w, unsigned kind, const struct addr *to)
{
	for (unsigned i = 0; i < w->flight_count; i++) {
		if ((w->flights[i].bytes[0] & WIRE_KIND_MASK) == kind &&
		    addr_equal(&w->flights[i].to, to))
			return w->flights[i];
	}
	fail();
	return (struct flight){ 0 };
}

/* An agent that seals whatever it likes: it begins a new object by a continuing INIT, which
 * needs no cookie, and repeats it with a stranger's address. RESP goes there, but nothing
 * else may: through the relay it would be a flood. @is_spoofed: the confirmation seems to come from
 * there, too, for it could read the other RESP. */
static void repeat_from_elsewhere(bool is_spoofed)
{
	struct world *w = pair_new(13);
	struct rendezvous *r = w->agents[0].rv;
	struct addr victim = addr_v4(203, 0, 113, 66, 6666);
	uint8_t incarnation[INCARNATION_SIZE];
	struct train t = { .bytes = w->train };
	struct flight init;

	rng_fill(&w->rng, incarnation, sizeof(incarnation));
	r->session.assoc.is_bound = false; /* as if it had forgotten all but its keys */
	assoc_rename(&r->session.assoc, incarnation);
	initiator_start(&r->initiator, w->now);
	r->rekey_until = w->now + CV_SEC(5);
	assert_true(rendezvous_write(r, w->now, &t));
	r->session.assoc.is_bound = true;
	put_train(w, &w->agents[0].addr, &t);
	init = flight_of(w, WIRE_INIT, &w->server_addr);
	run(w, CV_MS(22));
	put(w, &victim, &w->server_addr, init.bytes, init.size);
	w->now = flight_of(w, WIRE_RESP, &w->agents[0].addr).at;
	r->session.assoc.is_bound = false;
	turn(w);
	assert_true(r->session.assoc.is_bound);
	for (unsigned i = 0; i < w->flight_count && is_spoofed; i++) {
		if (addr_equal(&w->flights[i].from, &w->agents[0].addr))
			w->flights[i].from = victim;
	}
	run(w, CV_MS(200));
	assert_null(hub_session_at(w->hub, SOCKET_MAIN, &victim));
	assert_non_null(hub_session_at(w->hub, SOCKET_MAIN, &w->agents[0].addr));
	run(w, CV_SEC(70));
	assert_int_equal(stats_of(w).agents, 2);
	world_free(w);
}

static void a_repeat_from_elsewhere_moves_nothing(void **state)
{
	(void)state;
	repeat_from_elsewhere(false);
	repeat_from_elsewhere(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(stun_is_answered),
		cmocka_unit_test(agents_meet),
		cmocka_unit_test(open_carries_the_init),
		cmocka_unit_test(open_is_idempotent),
		cmocka_unit_test(cold_start_takes_three_round_trips),
		cmocka_unit_test(relay_carries_bytes_both_ways),
		cmocka_unit_test(absent_says_nothing_more),
		cmocka_unit_test(loss_and_duplicates_only_delay),
		cmocka_unit_test(batches_stay_whole),
		cmocka_unit_test(a_full_queue_drops_its_oldest),
		cmocka_unit_test(a_spent_quota_lets_small_packets_pass),
		cmocka_unit_test(without_relay_only_small_packets_pass),
		cmocka_unit_test(agents_know_what_is_lent),
		cmocka_unit_test(rebinding_is_noticed_by_a_relayed_packet),
		cmocka_unit_test(a_copier_is_not_followed),
		cmocka_unit_test(a_repeat_from_elsewhere_moves_nothing),
	};

	return cmocka_run_group_tests_name("hub", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: a server is tried for ever, at all its addresses, with decent pauses; and a session that is
 * up is looked after. Method: without a server, what leaves and when; with one, hub_world. What the
 * two do together is in test_hub.
 */
#include "hub_world.h"
#include "tunnel/rendezvous_state.h"

struct lone {
	struct rng_seeded seeded;
	struct rng rng;
	uint8_t sk[32], server_sk[32];
	struct identity me, server;
	struct indexes indexes;
	struct rendezvous *r;
	unsigned resolves, inits[4];
	cv_time last[4];
	uint8_t bytes[WIRE_DATAGRAM_MAX];
};

static const struct addr addresses[3] = {
	{ .family = ADDR_V4, .port = 1, .ip = { 192, 0, 2, 1 } },
	{ .family = ADDR_V4, .port = 1, .ip = { 192, 0, 2, 2 } },
	{ .family = ADDR_V6, .port = 1, .ip = { 0x20, 1 } },
};

static void lone_init(struct lone *l, cv_time now)
{
	struct rendezvous_options opt = { .me = &l->me, .indexes = &l->indexes, .rng = &l->rng };

	memset(l, 0, sizeof(*l));
	rng_seeded_init(&l->seeded, 1);
	l->rng = rng_from_seeded(&l->seeded);
	rng_fill(&l->rng, l->sk, 32);
	rng_fill(&l->rng, l->server_sk, 32);
	identity_init(&l->me, l->sk);
	identity_init(&l->server, l->server_sk);
	opt.server_pk = l->server.pk;
	assert_int_equal(indexes_init(&l->indexes, 1), 0);
	assert_int_equal(rendezvous_new(&l->r, now, &opt), 0);
}

static void lone_deinit(struct lone *l, cv_time now)
{
	rendezvous_free(l->r, now);
	assert_int_equal(l->indexes.map.count, l->indexes.rest_count);
	indexes_deinit(&l->indexes);
}

/* Until @end; resolving gives @count addresses. */
static void lone_run(struct lone *l, cv_time *now, cv_time end, unsigned count)
{
	struct train t = { .bytes = l->bytes };
	struct rendezvous_event e;

	for (;;) {
		while (rendezvous_next_event(l->r, &e)) {
			/* Nobody makes a connection here. */
			if (e.kind == RENDEZVOUS_EVENT_TCP_OPEN ||
			    e.kind == RENDEZVOUS_EVENT_TCP_CLOSE)
				continue;
			assert_int_equal(e.kind, RENDEZVOUS_EVENT_RESOLVE);
			l->resolves++;
			rendezvous_set_addresses(l->r, *now, addresses, count);
		}
		while (rendezvous_write(l->r, *now, &t)) {
			assert_int_equal(t.size, WIRE_INIT_SIZE);
			for (unsigned i = 0; i < CV_ARRAY_SIZE(addresses); i++) {
				if (!addr_equal(&t.to, &addresses[i]))
					continue;
				l->inits[i]++;
				l->last[i] = *now;
			}
		}
		assert_true(rendezvous_check(l->r));
		if (rendezvous_deadline(l->r) > end)
			break;
		*now = CV_MAX(*now, rendezvous_deadline(l->r));
		rendezvous_on_deadline(l->r, *now);
	}
	*now = end;
}

static void every_address_is_tried(void **state)
{
	static struct lone l;
	cv_time now = CV_SEC(100);

	(void)state;
	lone_init(&l, now);
	lone_run(&l, &now, now + CV_MS(100), 3);
	assert_int_equal(l.inits[0], 1);
	assert_int_equal(l.inits[1], 0);
	lone_run(&l, &now, now + CV_SEC(2), 3);
	assert_true(l.inits[1] > 0);
	assert_true(l.inits[2] > 0);
	assert_true(l.inits[0] > l.inits[2]);
	lone_deinit(&l, now);
}

static const char *why(const struct lone *l)
{
	struct rendezvous_stats s;

	rendezvous_stats(l->r, &s);
	assert_false(s.is_up);
	return s.why;
}

/* What a user reads who waits for his server. */
static void why_it_is_not_up(void **state)
{
	static struct lone l;
	cv_time now = CV_SEC(100);

	(void)state;
	lone_init(&l, now);
	lone_run(&l, &now, now + CV_SEC(3), 0);
	assert_string_equal(why(&l), "its name is not resolved");
	rendezvous_set_addresses(l.r, now, addresses, 1);
	lone_run(&l, &now, now + CV_MS(4900), 1); /* of an attempt, which is for TCP, too */
	assert_string_equal(why(&l), "connecting");
	for (unsigned i = 0; i < 600; i++) { /* also in pauses, and whenever it is tried again */
		lone_run(&l, &now, now + (CV_MS(100)), 1);
		assert_non_null(strstr(why(&l), "no answer by UDP or TCP"));
	}
	lone_deinit(&l, now);
}

/* 5 s of trying, then 0, 1, 2, 4 ... 60 s: a server that is down for a day gets little to hear. */
static void pauses_grow_to_a_minute(void **state)
{
	static struct lone l;
	cv_time now = CV_SEC(100);
	unsigned early, late;

	(void)state;
	lone_init(&l, now);
	lone_run(&l, &now, now + CV_SEC(10), 1);
	early = l.inits[0];
	assert_in_range(early, 10, 20);
	assert_in_range(l.resolves, 2, 3);
	lone_run(&l, &now, now + CV_SEC(3600), 1);
	late = l.inits[0];
	lone_run(&l, &now, now + CV_SEC(3600), 1);
	late = l.inits[0] - late;
	/* One attempt of 6 to 8 INITs in 50 to 65 s. */
	assert_in_range(late, 55 * 6, 72 * 9);
	lone_deinit(&l, now);
}

static void news_end_a_pause(void **state)
{
	static struct lone l;
	cv_time now = CV_SEC(100);
	unsigned before;

	(void)state;
	lone_init(&l, now);
	lone_run(&l, &now, now + CV_SEC(1000), 1);
	while (now - l.last[0] < CV_SEC(10))
		lone_run(&l, &now, now + CV_SEC(1), 1);
	before = l.inits[0];
	rendezvous_check_now(l.r, now);
	lone_run(&l, &now, now + CV_MS(1), 1);
	assert_int_equal(l.inits[0], before + 1);
	for (unsigned i = 0; i < 100; i++) { /* our own INIT was refused, again and again */
		rendezvous_check_now(l.r, now);
		lone_run(&l, &now, now + CV_MS(1), 1);
	}
	assert_int_equal(l.inits[0], before + 1);
	lone_run(&l, &now, now + CV_SEC(60), 1);
	while (now - l.last[0] < CV_SEC(1))
		lone_run(&l, &now, now + CV_MS(100), 1);
	rendezvous_set_addresses(l.r, now, addresses, 3);
	lone_run(&l, &now, now + CV_SEC(2), 3);
	assert_true(l.inits[1] > 0);
	lone_deinit(&l, now);
}

static void without_an_address_it_asks_again(void **state)
{
	static struct lone l;
	cv_time now = CV_SEC(100);

	(void)state;
	lone_init(&l, now);
	lone_run(&l, &now, now + CV_SEC(60), 0);
	assert_in_range(l.resolves, 6, 7);
	lone_run(&l, &now, now + CV_SEC(60), 1);
	assert_true(l.inits[0] > 0);
	lone_deinit(&l, now);
}

/* Its name may mean another address there, whether it has one by now or not. */
static void another_network_is_asked_for_the_name(void **state)
{
	static struct lone l;
	cv_time now = CV_SEC(100);

	(void)state;
	for (unsigned count = 0; count < 2; count++) {
		lone_init(&l, now);
		lone_run(&l, &now, now + CV_SEC(1), count);
		assert_int_equal(l.resolves, 1);
		rendezvous_on_network(l.r, now);
		lone_run(&l, &now, now + CV_MS(1), count);
		assert_int_equal(l.resolves, 2);
		lone_deinit(&l, now);
	}
}

static void nothing_leaves_after_goodbye(void **state)
{
	static struct lone l;
	cv_time now = CV_SEC(100);
	struct train t = { .bytes = l.bytes };

	(void)state;
	lone_init(&l, now);
	rendezvous_set_addresses(l.r, now, addresses, 1);
	rendezvous_close(l.r, now);
	rendezvous_close(l.r, now);
	assert_false(rendezvous_write(l.r, now, &t));
	assert_int_equal(rendezvous_deadline(l.r), CV_TIME_NEVER);
	lone_deinit(&l, now);
}

/* What is not from the server's address is not looked at, whatever it is. */
static void others_are_not_heard(void **state)
{
	struct world *w = pair_new(51);
	struct addr other = addr_v4(203, 0, 113, 9, 9);
	struct rendezvous_stats before, after;

	(void)state;
	rendezvous_stats(w->agents[0].rv, &before);
	for (unsigned kind = 0; kind < 256; kind++) {
		uint8_t bytes[100] = { (uint8_t)kind };

		rendezvous_on_datagram(w->agents[0].rv, w->now, 0, &other, bytes, sizeof(bytes));
		rendezvous_on_datagram(w->agents[0].rv, w->now, 1, &w->server_addr, bytes,
		                       sizeof(bytes));
		rendezvous_on_datagram(w->agents[0].rv, w->now, 0, &w->server_addr, bytes,
		                       sizeof(bytes));
		rendezvous_on_datagram(w->agents[0].rv, w->now, 0, &w->server_addr, bytes, 0);
	}
	assert_false(rendezvous_is_from(w->agents[0].rv, 0, &other));
	assert_false(rendezvous_is_from(w->agents[0].rv, 1, &w->server_addr));
	rendezvous_stats(w->agents[0].rv, &after);
	assert_true(after.is_up);
	assert_true(addr_equal(&before.address, &after.address));
	world_free(w);
}

/* Nor is what others copy: an INIT of ours is answered, faster than by the server, from elsewhere.
 */
static void a_copied_response_moves_nothing(void **state)
{
	struct world *w = pair_new(59);
	const struct addr other = addr_v4(203, 0, 113, 9, 9);
	struct rendezvous_stats after;
	unsigned copied = 0;

	(void)state;
	w->agents[0].rv->rekey_again_at = 0;
	initiator_start(&w->agents[0].rv->initiator, w->now);
	w->agents[0].rv->rekey_until = w->now + CV_SEC(5);
	for (unsigned i = 0; i < 200; i++) {
		for (unsigned k = 0; k < w->flight_count; k++) {
			struct flight *f = &w->flights[k];

			if (addr_equal(&f->to, &w->agents[0].addr) &&
			    (f->bytes[0] & WIRE_KIND_MASK) == WIRE_RESP) {
				f->from = other;
				copied++;
			}
		}
		run(w, CV_MS(1));
	}
	assert_true(copied > 0);
	rendezvous_stats(w->agents[0].rv, &after);
	assert_true(addr_equal(&after.address, &w->server_addr));
	assert_false(rendezvous_is_from(w->agents[0].rv, 0, &other));
	world_free(w);
}

/* An outage shorter than the lapse: the same session goes on, channels and all. */
static void a_short_outage_keeps_the_channels(void **state)
{
	struct world *w = pair_new(52);
	uint64_t channel;

	(void)state;
	rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
	run(w, CV_SEC(1));
	channel = w->agents[0].channel[1];
	w->is_server_cut = true;
	rendezvous_check_now(w->agents[0].rv, w->now);
	run(w, CV_SEC(20));
	assert_int_equal(w->agents[0].downs, 1);
	w->is_server_cut = false;
	run(w, CV_SEC(15));
	assert_int_equal(w->agents[0].ups, 2);
	assert_int_equal(w->agents[0].gones, 0);
	assert_int_equal(w->agents[0].channel[1], channel);
	assert_int_equal(stats_of(w).agents, 2);
	world_free(w);
}

static struct addr public_address(const struct world *w)
{
	struct rendezvous_stats s;

	rendezvous_stats(w->agents[0].rv, &s);
	return s.public_address;
}

/* Its NAT forgot it. The server sees that and asks; it asks back, and knows. */
static void a_new_address_is_learnt_when_the_server_asks(void **state)
{
	struct world *w = pair_new(54);

	(void)state;
	rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
	run(w, CV_SEC(5));
	w->agents[0].addr.port = 4999;
	send_relayed(w, 0, w->agents[0].channel[1], 200);
	run(w, CV_MS(100));
	assert_int_equal(public_address(w).port, 4999);
	assert_int_equal(w->agents[0].addresses, 2);
	world_free(w);
}

/* A server that asks without end, and each time tells another address: four of them a second at
 * most, as each is told to all peers, who are asked anew. */
static void a_lying_server_makes_no_storm(void **state)
{
	struct world *w = pair_new(58);
	const struct wire_probe challenge = { .type = PROBE_CHALLENGE, .token = 7 };
	uint8_t bytes[WIRE_DATAGRAM_BASE];
	unsigned before;

	(void)state;
	run(w, CV_SEC(5));
	w->delay = w->jitter = CV_MS(1);
	before = w->agents[0].addresses;
	for (unsigned i = 0; i < 10 * 200; i++) {
		for (uint32_t k = 0; k < w->hub->count; k++) {
			struct light *l = &w->hub->sessions[k]->light;
			size_t size = light_write_probe(assoc_send_epoch(&l->assoc, w->now), bytes,
			                                64, &challenge);

			if (memcmp(w->hub->sessions[k]->pk, w->agents[0].me.pk, 32) == 0)
				put(w, &w->server_addr, &w->agents[0].addr, bytes, size);
		}
		if (i % 20 == 0)
			w->agents[0].addr.port++;
		run(w, CV_MS(5));
	}
	assert_in_range(w->agents[0].addresses - before, 5, 4 * 10 + 2);
	world_free(w);
}

/* Each answer is later than the next question. */
static void a_server_far_away_can_answer_too(void **state)
{
	struct world *w = pair_new(56);

	(void)state;
	rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
	run(w, CV_SEC(5));
	w->delay = CV_MS(600);
	w->agents[0].addr.port = 4999;
	send_relayed(w, 0, w->agents[0].channel[1], 200);
	run(w, CV_SEC(3));
	assert_int_equal(public_address(w).port, 4999);
	world_free(w);
}

/* It gets lost, and something else is heard: that the server lives was not the question. */
static void the_question_stands_until_it_is_answered(void **state)
{
	struct world *w = pair_new(57);
	struct rendezvous_stats s;

	(void)state;
	rendezvous_remove_peer(w->agents[1].rv, w->now, 0);
	run(w, CV_SEC(5));
	assert_false(w->agents[0].is_present[1]);
	w->delay = CV_MS(70);
	w->agents[0].is_cut = true;
	rendezvous_check_now(w->agents[0].rv, w->now);
	run(w, CV_MS(10));
	w->agents[0].is_cut = false;
	know(w, 1, 0);
	run(w, CV_MS(300));
	assert_true(w->agents[0].is_present[1]);
	run(w, CV_MS(500));
	rendezvous_stats(w->agents[0].rv, &s);
	assert_in_range(s.rtt, CV_MS(140), CV_MS(145));
	world_free(w);
}

/* A hundred peers that fall silent are one question a second, and a network that changes is one at
 * once. */
static void doubts_are_rare_and_network_events_are_not(void **state)
{
	struct world *w = pair_new(55);
	uint64_t before = w->order;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		rendezvous_doubt(w->agents[0].rv, w->now);
		run(w, CV_MS(100));
	}
	assert_in_range(w->order - before, 2 * 9, 2 * 11);
	before = w->order;
	rendezvous_doubt(w->agents[0].rv, w->now);
	w->agents[0].addr.port = 4999;
	rendezvous_check_now(w->agents[0].rv, w->now);
	run(w, CV_MS(500));
	assert_int_equal(public_address(w).port, 4999);
	world_free(w);
}

static void a_removed_peer_is_not_offered(void **state)
{
	struct world *w = pair_new(53);

	(void)state;
	rendezvous_remove_peer(w->agents[0].rv, w->now, 1);
	run(w, CV_SEC(1));
	assert_false(w->agents[1].is_present[0]);
	rendezvous_open(w->agents[1].rv, w->now, 0, NULL);
	run(w, CV_SEC(1));
	assert_int_equal(w->agents[0].offers, 0);
	know(w, 0, 1);
	run(w, CV_SEC(1));
	assert_true(w->agents[1].is_present[0]);
	assert_true(w->agents[0].is_present[1]);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(why_it_is_not_up),
		cmocka_unit_test(every_address_is_tried),
		cmocka_unit_test(pauses_grow_to_a_minute),
		cmocka_unit_test(news_end_a_pause),
		cmocka_unit_test(without_an_address_it_asks_again),
		cmocka_unit_test(another_network_is_asked_for_the_name),
		cmocka_unit_test(nothing_leaves_after_goodbye),
		cmocka_unit_test(others_are_not_heard),
		cmocka_unit_test(a_copied_response_moves_nothing),
		cmocka_unit_test(a_short_outage_keeps_the_channels),
		cmocka_unit_test(a_new_address_is_learnt_when_the_server_asks),
		cmocka_unit_test(a_lying_server_makes_no_storm),
		cmocka_unit_test(a_server_far_away_can_answer_too),
		cmocka_unit_test(the_question_stands_until_it_is_answered),
		cmocka_unit_test(doubts_are_rare_and_network_events_are_not),
		cmocka_unit_test(a_removed_peer_is_not_offered),
	};

	return cmocka_run_group_tests_name("rendezvous", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: a session at the server ends when it should and never otherwise: restart of either side,
 * two agents with one identity, silence, refusals, limits. And it costs no more than it may.
 * Method: as test_hub, the real objects under virtual time.
 */
#include "hub_world.h"

static void restart_agent(struct world *w, unsigned i, unsigned peer)
{
	struct agent *a = &w->agents[i];

	rendezvous_free(a->rv, w->now);
	a->rv = NULL;
	memset(a->channel, 0, sizeof(a->channel));
	a->ups = 0;
	make_agent(w, i);
	know(w, i, peer);
}

static void a_restarted_server_is_found_again(void **state)
{
	struct world *w = pair_new(21);

	(void)state;
	rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
	run(w, CV_SEC(1));
	hub_free(w->hub, w->now);
	make_hub(w);
	run(w, CV_SEC(35)); /* idle: at the next keepalive */
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(w->agents[i].downs, 1);
		assert_int_equal(w->agents[i].ups, 2);
		assert_int_equal(w->agents[i].gones, 1);
		assert_int_equal(w->agents[i].channel[!i], 0);
		assert_true(w->agents[i].is_present[!i]);
	}
	rendezvous_open(w->agents[1].rv, w->now, 0, NULL);
	run(w, CV_SEC(1));
	assert_int_not_equal(w->agents[0].channel[1], 0);
	world_free(w);
}

static void asked_to_look_it_is_found_within_two_seconds(void **state)
{
	struct world *w = pair_new(22);

	(void)state;
	run(w, CV_SEC(5));
	hub_free(w->hub, w->now);
	make_hub(w);
	rendezvous_check_now(w->agents[0].rv, w->now);
	run(w, CV_SEC(3));
	assert_int_equal(w->agents[0].ups, 2);
	assert_int_equal(stats_of(w).agents, 1);
	world_free(w);
}

static void goodbye_of_the_server_is_heard(void **state)
{
	struct world *w = pair_new(23);

	(void)state;
	hub_close(w->hub, w->now);
	run(w, CV_MS(100));
	assert_int_equal(w->agents[0].downs, 1);
	assert_int_equal(w->agents[1].downs, 1);
	hub_free(w->hub, w->now);
	make_hub(w);
	run(w, CV_SEC(8)); /* a spread of 5 s */
	assert_int_equal(w->agents[0].ups, 2);
	assert_int_equal(w->agents[1].ups, 2);
	world_free(w);
}

/* A restarted agent is believed at once, and its peer is told that the channel is gone. */
static void a_restarted_agent_replaces_itself(void **state)
{
	struct world *w = pair_new(24);

	(void)state;
	rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
	run(w, CV_SEC(1));
	assert_int_not_equal(w->agents[1].channel[0], 0);
	restart_agent(w, 0, 1);
	run(w, CV_SEC(1));
	assert_int_equal(w->agents[0].ups, 1);
	assert_int_equal(w->agents[0].refusals, 0); /* its own past is no twin */
	assert_int_equal(w->agents[1].gones, 1);
	assert_int_equal(w->agents[1].channel[0], 0);
	assert_true(w->agents[1].is_present[0]);
	assert_int_equal(stats_of(w).agents, 2);
	assert_int_equal(stats_of(w).channels, 0);
	world_free(w);
}

/* Rule 3.8: the newest wins, and the other stays away for a minute, then two ... */
static void twins_do_not_fight(void **state)
{
	struct world *w = pair_new(25);
	struct agent *twin = &w->agents[2];
	unsigned flips;

	(void)state;
	memcpy(twin->sk, w->agents[0].sk, sizeof(twin->sk));
	identity_init(&twin->me, twin->sk);
	make_agent(w, 2);
	know(w, 2, 1);
	run(w, CV_SEC(2));
	assert_int_equal(twin->ups, 1);
	assert_int_equal(w->agents[0].refusals, 1);
	assert_string_equal(w->agents[0].refusal, "another agent uses this identity");
	assert_int_equal(w->agents[0].downs, 1);
	assert_int_equal(stats_of(w).agents, 2);
	run(w, CV_SEC(50));
	assert_int_equal(twin->downs, 0);
	run(w, CV_SEC(3600));
	flips = twin->downs + w->agents[0].downs;
	assert_in_range(flips, 4, 20);
	world_free(w);
}

static void silence_for_a_minute_is_absence(void **state)
{
	struct world *w = pair_new(26);

	(void)state;
	rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
	run(w, CV_SEC(1));
	w->agents[0].is_cut = true;
	run(w, CV_SEC(34));
	assert_true(w->agents[1].is_present[0]);
	send_relayed(w, 1, w->agents[1].channel[0], 100);
	run(w, CV_SEC(1));
	assert_int_equal(stats_of(w).drop_silent_peer + w->agents[0].relayed, 1);
	run(w, CV_SEC(30));
	assert_false(w->agents[1].is_present[0]);
	assert_false(w->agents[1].was_gone[0]);
	assert_int_equal(w->agents[1].gones, 1);
	assert_int_equal(stats_of(w).agents, 1);
	w->agents[0].is_cut = false;
	run(w, CV_SEC(70)); /* it tries for ever, with pauses up to a minute */
	assert_true(w->agents[1].is_present[0]);
	assert_int_equal(stats_of(w).agents, 2);
	world_free(w);
}

/* Who said that it may be silent for longer is waited for, and gets what is sent meanwhile. */
static void announced_silence_is_no_absence(void **state)
{
	struct world *w = pair_new(40);

	(void)state;
	rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
	run(w, CV_SEC(1));
	rendezvous_set_keepalive(w->agents[0].rv, w->now, CV_SEC(100));
	run(w, CV_SEC(26)); /* the next challenge tells it */
	w->agents[0].is_cut = true;
	run(w, CV_SEC(70));
	send_relayed(w, 1, w->agents[1].channel[0], 100);
	run(w, CV_SEC(1));
	assert_int_equal(stats_of(w).drop_silent_peer, 0);
	assert_true(w->agents[1].is_present[0]);
	run(w, CV_SEC(70));
	assert_false(w->agents[1].is_present[0]);
	world_free(w);
}

/* Fills @t with a challenge of agent 0's from another port of its router, and sends it. */
static void ask_aside(struct world *w, const struct addr *from, uint16_t seconds, uint64_t token)
{
	struct train t = { .bytes = w->train };

	assert_true(
		rendezvous_write_aside(w->agents[0].rv, w->now, SOCKET_EXTRA, seconds, token, &t));
	assert_int_equal(t.socket, SOCKET_EXTRA);
	put_train(w, from, &t);
}

static void an_answer_comes_later_and_elsewhere(void **state)
{
	struct world *w = pair_new(41);
	struct addr home = w->agents[0].addr, aside = home;
	struct hub_session *s = hub_session_at(w->hub, SOCKET_MAIN, &home);
	cv_time heard_at;
	uint64_t token;

	(void)state;
	aside.port = (uint16_t)(home.port + 7);
	heard_at = s->port.heard_at;
	ask_aside(w, &aside, 30, 11);
	ask_aside(w, &aside, 0, 13);
	w->agents[0].addr = aside; /* where the answer goes; else nobody would take it */
	w->agents[0].socket = SOCKET_EXTRA;
	run(w, CV_SEC(1));
	assert_true(rendezvous_take_aside(w->agents[0].rv, &token));
	assert_int_equal(token, 13);
	/* Neither has the session moved nor is it asked whether it has. */
	assert_ptr_equal(hub_session_at(w->hub, SOCKET_MAIN, &home), s);
	assert_int_equal(s->challenge_token, 0);
	assert_int_equal(s->port.heard_at, heard_at);
	ask_aside(w, &aside, 30, 12); /* one at most: the newest */
	/* Its keepalives seem to come from there too, now, and their answers. */
	for (unsigned i = 0; i < 299; i++) {
		run(w, CV_MS(100));
		if (rendezvous_take_aside(w->agents[0].rv, &token))
			assert_true(token != 11 && token != 12);
	}
	run(w, CV_MS(500));
	assert_true(rendezvous_take_aside(w->agents[0].rv, &token));
	assert_int_equal(token, 12);
	assert_false(rendezvous_take_aside(w->agents[0].rv, &token));
	world_free(w);
}

/* Datagrams on their way to @to in the next @d, looked for every 5 ms of 20 that they take. */
static unsigned sent_to(struct world *w, const struct addr *to, cv_duration d)
{
	unsigned count = 0, seen = 0;

	for (cv_time end = w->now + d; w->now < end; run(w, CV_MS(5))) {
		unsigned now = 0;

		for (unsigned i = 0; i < w->flight_count; i++)
			now += addr_equal(&w->flights[i].to, to);
		count += now > seen ? now - seen : 0;
		seen = now;
	}
	return count;
}

/* An agent speaks from elsewhere, and no more from where it was: that is asked three times, and
 * then left in peace, whatever there is for the agent. A router may refuse whoever goes on. */
static void a_path_that_was_left_is_left_alone(void **state)
{
	struct world *w = pair_new(47);
	struct addr home = w->agents[0].addr, away = addr_v4(203, 0, 113, 9, 9);
	struct hub_session *s = hub_session_at(w->hub, SOCKET_MAIN, &home);

	(void)state;
	w->agents[0].is_cut = true; /* it wakes somewhere where nothing reaches it yet */
	hub_session_on_opened(w->hub, w->now, s, SOCKET_MAIN, &away, LIGHT_PROBE_MIN);
	restart_agent(w, 1, 0); /* news for it */
	/* Nobody is at home; but it lives. */
	hub_on_refused(w->hub, w->now, SOCKET_MAIN, &home);
	assert_in_range(sent_to(w, &home, CV_MS(1600)), 3, 3);
	assert_ptr_equal(hub_session_at(w->hub, SOCKET_MAIN, &home), s);
	assert_true(relay_port_is_left(&s->port, w->now));
	for (unsigned i = 0; i < 10; i++) {
		hub_session_on_opened(w->hub, w->now, s, SOCKET_MAIN, &away, LIGHT_PROBE_MIN);
		assert_int_equal(sent_to(w, &home, CV_SEC(1)), 0);
	}
	assert_true(s->light.link.queued > 0);
	/* What was waiting goes where it is heard again. */
	hub_session_on_opened(w->hub, w->now, s, SOCKET_MAIN, &home, LIGHT_PROBE_MIN);
	assert_false(relay_port_is_left(&s->port, w->now));
	assert_true(sent_to(w, &home, CV_SEC(1)) > 0);
	world_free(w);
}

/* Whoever copies what an agent sends, however often, does not part it from its path. */
static void copies_do_not_part_an_agent_from_its_path(void **state)
{
	struct world *w = pair_new(48);
	struct addr home = w->agents[0].addr, away = addr_v4(203, 0, 113, 9, 9);
	struct hub_session *s = hub_session_at(w->hub, SOCKET_MAIN, &home);

	(void)state;
	for (unsigned i = 0; i < 50; i++) {
		hub_session_on_opened(w->hub, w->now, s, SOCKET_MAIN, &away, LIGHT_PROBE_MIN);
		run(w, CV_MS(200));
		assert_int_equal(s->port.strayed_at, 0); /* it was asked, and answered */
	}
	/* So does what it sends to others. */
	s->port.strayed_at = w->now;
	hub_session_stays(w->hub, s);
	assert_int_equal(s->port.strayed_at, 0);
	world_free(w);
}

/* Keys that are spent for sending still open: what comes under them from elsewhere is a question,
 * and the session stays until its deadline, for whoever goes on with it. */
static void spent_keys_end_nothing_under_way(void **state)
{
	struct world *w = pair_new(49);
	struct addr home = w->agents[0].addr, away = addr_v4(203, 0, 113, 9, 9);
	struct hub_session *s = hub_session_at(w->hub, SOCKET_MAIN, &home);

	(void)state;
	w->agents[0].is_cut = true;
	for (unsigned i = 0; i < CV_ARRAY_SIZE(s->light.epochs); i++)
		s->light.epochs[i].sealed = s->light.assoc.opt.limits->reject_packets;
	assert_false(assoc_is_live(&s->light.assoc, w->now));
	hub_session_on_opened(w->hub, w->now, s, SOCKET_MAIN, &away, LIGHT_PROBE_MIN);
	assert_ptr_equal(hub_session_at(w->hub, SOCKET_MAIN, &home), s);
	run(w, CV_MS(10));
	assert_null(hub_session_at(w->hub, SOCKET_MAIN, &home));
	world_free(w);
}

/* Numbers that an agent may name, and an answer from where nobody was asked. */
static void what_an_agent_says_has_bounds(void **state)
{
	struct world *w = pair_new(43);
	struct hub_session *s = hub_session_at(w->hub, SOCKET_MAIN, &w->agents[0].addr);
	const struct wire_probe later = { .type = PROBE_CHALLENGE,
		                          .token = 9,
		                          .seconds = UINT16_MAX };
	struct addr there = addr_v4(203, 0, 113, 7, 7), other = addr_v4(203, 0, 113, 8, 8);

	(void)state;
	assert_true(hub_session_on_aside(w->hub, w->now, s, SOCKET_MAIN, &there, &later));
	assert_int_equal(s->later.at, w->now + CV_SEC(240));
	hub_session_on_interval(s, UINT16_MAX);
	assert_int_equal(s->port.silence_s, 125);
	/* Too little came to be answered by a challenge. */
	hub_session_doubt(w->hub, w->now, s, SOCKET_MAIN, &there, LIGHT_PROBE_MIN - 1);
	assert_false(s->is_challenge_due);
	hub_session_doubt(w->hub, w->now, s, SOCKET_MAIN, &there, LIGHT_PROBE_MIN);
	assert_true(s->is_challenge_due);
	s->challenge_token = 77;
	hub_session_on_answer(w->hub, w->now, s, SOCKET_MAIN, &other, 77);
	hub_session_on_answer(w->hub, w->now, s, SOCKET_EXTRA, &there, 77);
	hub_session_on_answer(w->hub, w->now, s, SOCKET_MAIN, &there, 78);
	assert_true(addr_equal(&s->port.path, &w->agents[0].addr));
	hub_session_on_answer(w->hub, w->now, s, SOCKET_MAIN, &there, 77);
	assert_true(addr_equal(&s->port.path, &there));
	world_free(w);
}

static void a_closed_agent_is_gone_at_once(void **state)
{
	struct world *w = pair_new(27);

	(void)state;
	rendezvous_close(w->agents[0].rv, w->now);
	run(w, CV_MS(100));
	assert_false(w->agents[1].is_present[0]);
	assert_true(w->agents[1].was_gone[0]);
	world_free(w);
}

/* Killed without a word: its kernel refuses what the server sends, three challenges long. */
static void a_refusing_port_is_gone_within_two_seconds(void **state)
{
	struct world *w = pair_new(28);

	(void)state;
	rendezvous_free(w->agents[0].rv, w->now);
	w->agents[0].rv = NULL;
	w->is_refusing = true;
	hub_on_refused(w->hub, w->now, 0, &w->agents[0].addr);
	run(w, CV_SEC(2));
	assert_false(w->agents[1].is_present[0]);
	assert_true(w->agents[1].was_gone[0]);
	assert_int_equal(stats_of(w).agents, 1);
	world_free(w);
}

/* One forged refusal, and a living agent: it answers, and stays. */
static void a_forged_refusal_changes_nothing(void **state)
{
	struct world *w = pair_new(29);

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		hub_on_refused(w->hub, w->now, 0, &w->agents[0].addr);
		run(w, CV_MS(100));
	}
	run(w, CV_SEC(5));
	assert_true(w->agents[1].is_present[0]);
	assert_int_equal(stats_of(w).agents, 2);
	world_free(w);
}

static void only_listed_keys_are_served(void **state)
{
	struct world *w = world_new(30);
	uint8_t keys[2][32];

	(void)state;
	hub_free(w->hub, w->now);
	memcpy(keys[0], w->agents[0].me.pk, 32);
	memcpy(keys[1], w->agents[2].me.pk, 32);
	w->opt.access_anyone = false;
	w->opt.access = (const uint8_t(*)[32])keys;
	w->opt.access_count = 2;
	make_hub(w);
	make_agent(w, 0);
	make_agent(w, 1);
	run(w, CV_SEC(4));
	assert_int_equal(w->agents[0].ups, 1);
	assert_int_equal(w->agents[1].ups, 0);
	assert_true(stats_of(w).drop_access > 0);
	assert_int_equal(w->hub->pendings.count, 0); /* no state for a stranger */
	world_free(w);
}

static void limits_are_told_in_words(void **state)
{
	struct world *w = world_new(31);

	(void)state;
	hub_free(w->hub, w->now);
	w->opt.agents_max = 2;
	make_hub(w);
	for (unsigned i = 0; i < 3; i++) {
		make_agent(w, i);
		run(w, CV_SEC(1));
	}
	assert_int_equal(w->agents[2].ups, 0);
	assert_int_equal(w->agents[2].refusals, 1);
	assert_non_null(strstr(w->agents[2].refusal, "as many agents"));
	assert_int_equal(stats_of(w).drop_agents_full, 1);

	hub_free(w->hub, w->now);
	w->opt.agents_max = 64;
	w->opt.agents_per_address_max = 1;
	make_hub(w);
	w->agents[3].addr = w->agents[0].addr;
	w->agents[3].addr.port++;
	make_agent(w, 3);
	run(w, CV_SEC(70));
	assert_int_equal(stats_of(w).agents, 3); /* of 0 and 3 one, and 1 and 2 */
	assert_true(stats_of(w).drop_address_full > 0);
	world_free(w);
}

static void keys_are_renewed_every_hour(void **state)
{
	struct world *w = pair_new(32);
	uint64_t channel;

	(void)state;
	rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
	run(w, CV_SEC(1));
	channel = w->agents[0].channel[1];
	w->loss = 10;
	run(w, CV_SEC(4 * 3600 + 600));
	w->loss = 0;
	run(w, CV_SEC(60));
	assert_int_equal(w->agents[0].downs, w->agents[0].ups - 1);
	assert_int_equal(w->agents[0].channel[1], channel);
	send_relayed(w, 0, channel, 100);
	run(w, CV_SEC(1));
	assert_int_equal(w->agents[1].relayed, 1);
	world_free(w);
}

/* What goes to an address that has proven nothing is less than what came from there (T52, T53). */
static void strangers_get_less_than_they_send(void **state)
{
	struct world *w = world_new(33);

	(void)state;
	for (unsigned i = 0; i < AGENTS; i++)
		make_agent(w, i);
	w->loss = 20;
	run(w, CV_SEC(20));
	assert_true(w->from_unproven > 0);
	assert_true(w->to_unproven <= w->from_unproven);
	world_free(w);
}

/* An INIT without a cookie, from a hundred thousand sources: nothing is kept. */
static void spoofed_sources_leave_nothing(void **state)
{
	struct world *w = world_new(34);
	struct train t = { .bytes = w->train };
	uint8_t init[WIRE_INIT_SIZE];
	uint64_t live;

	(void)state;
	make_agent(w, 0);
	w->agents[0].is_cut = true;
	rendezvous_set_addresses(w->agents[0].rv, w->now, &w->server_addr, 1);
	assert_true(rendezvous_write(w->agents[0].rv, w->now, &t));
	memcpy(init, t.bytes, sizeof(init));
	live = cv_alloc_live();
	for (unsigned i = 0; i < 100000; i++) {
		struct arrival in = { .bytes = init,
			              .size = sizeof(init),
			              .segment_size = sizeof(init) };

		in.from = addr_v4(10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i, 9);
		hub_on_arrival(w->hub, w->now, &in);
		while (hub_write(w->hub, w->now, &t))
			assert_true(t.size <= sizeof(init));
		w->now += CV_US(10);
	}
	assert_int_equal(cv_alloc_live(), live);
	assert_int_equal(w->hub->pendings.count, 0);
	assert_int_equal(stats_of(w).agents, 0);
	world_free(w);
}

/* 2 KiB an agent, with two tags, its maps and indices (AGENT_SIZE_MAX). */
static void a_registration_costs_two_kilobytes(void **state)
{
	enum { COUNT = 3000 };
	struct world *w = world_new(35);
	const uint8_t incarnation[INCARNATION_SIZE] = { 1 };
	const struct handshake_secrets secrets = { .to_initiator = { 1 } };
	struct assoc_join join = { .secrets = &secrets,
		                   .ours = incarnation,
		                   .theirs = incarnation,
		                   .aead = AEAD_CHACHA20_POLY1305,
		                   .remote_index = 1 };
	struct hub_session *s;
	uint8_t key[32], tag[TAG_SIZE];
	struct addr from;
	uint64_t before;

	(void)state;
	hub_free(w->hub, w->now);
	w->opt.agents_max = COUNT;
	w->opt.agents_per_address_max = COUNT;
	make_hub(w);
	before = cv_alloc_live();
	for (unsigned i = 0; i < COUNT; i++) {
		rng_fill(&w->rng, key, sizeof(key));
		from = addr_v4(100, 64, (uint8_t)(i >> 8), (uint8_t)i, 5);
		assert_int_equal(hub_session_new(w->hub, w->now, key, 0, &from, incarnation, &s),
		                 HUB_ADMITTED);
		for (unsigned k = 0; k < 2; k++) { /* the last handshake and the one before it */
			join.local_index = indexes_take(&w->hub->indexes, w->now, &w->rng, 0);
			(void)assoc_join(&s->light.assoc, w->now, &w->rng, &join);
			rng_fill(&w->rng, tag, sizeof(tag));
			assert_int_equal(directory_add(&w->hub->directory, &s->member, tag), 0);
		}
		hub_session_plan(w->hub, s);
	}
	print_message("%u bytes a registration\n", (unsigned)((cv_alloc_live() - before) / COUNT));
	assert_true((cv_alloc_live() - before) / COUNT <= 2048);
	world_free(w);
}

/* The k-th allocation fails, for every k: what fails is refused, nothing breaks or leaks. */
static void a_failed_allocation_is_made_up_for(void **state)
{
	(void)state;
	for (uint64_t k = 1; k < 40; k++) {
		struct world *w = world_new(36);

		make_agent(w, 0);
		make_agent(w, 1);
		know(w, 0, 1);
		know(w, 1, 0);
		rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
		cv_alloc_fail_at(k);
		run(w, CV_SEC(70));
		cv_alloc_fail_at(0);
		run(w, CV_SEC(130));
		assert_true(w->agents[0].is_present[1]);
		assert_true(w->agents[1].is_present[0]);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_restarted_server_is_found_again),
		cmocka_unit_test(asked_to_look_it_is_found_within_two_seconds),
		cmocka_unit_test(goodbye_of_the_server_is_heard),
		cmocka_unit_test(a_restarted_agent_replaces_itself),
		cmocka_unit_test(twins_do_not_fight),
		cmocka_unit_test(silence_for_a_minute_is_absence),
		cmocka_unit_test(announced_silence_is_no_absence),
		cmocka_unit_test(an_answer_comes_later_and_elsewhere),
		cmocka_unit_test(a_path_that_was_left_is_left_alone),
		cmocka_unit_test(copies_do_not_part_an_agent_from_its_path),
		cmocka_unit_test(spent_keys_end_nothing_under_way),
		cmocka_unit_test(what_an_agent_says_has_bounds),
		cmocka_unit_test(a_closed_agent_is_gone_at_once),
		cmocka_unit_test(a_refusing_port_is_gone_within_two_seconds),
		cmocka_unit_test(a_forged_refusal_changes_nothing),
		cmocka_unit_test(only_listed_keys_are_served),
		cmocka_unit_test(limits_are_told_in_words),
		cmocka_unit_test(keys_are_renewed_every_hour),
		cmocka_unit_test(strangers_get_less_than_they_send),
		cmocka_unit_test(spoofed_sources_leave_nothing),
		cmocka_unit_test(a_registration_costs_two_kilobytes),
		cmocka_unit_test(a_failed_allocation_is_made_up_for),
	};

	return cmocka_run_group_tests_name("hub_session", tests, NULL, NULL);
}

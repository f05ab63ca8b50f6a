/* SPDX-License-Identifier: MIT */

/*
 * Goal: where UDP does not pass, the session goes by TCP, soon and with all that it had; and back,
 * once UDP answers steadily. Method: hub_world with connections of its own, real objects on both
 * sides; and one agent whose every word by the shell comes at the worst moment.
 */
#include "hub_world.h"

static struct rendezvous_stats rv_stats(const struct world *w, unsigned i)
{
	struct rendezvous_stats s;

	rendezvous_stats(w->agents[i].rv, &s);
	return s;
}

static bool is_by_tcp(const struct world *w, unsigned i)
{
	return rv_stats(w, i).is_up && rv_stats(w, i).is_tcp;
}

static bool is_by_udp(const struct world *w, unsigned i)
{
	return rv_stats(w, i).is_up && !rv_stats(w, i).is_tcp;
}

static cv_duration run_until(struct world *w, bool (*is_true)(const struct world *, unsigned),
                             unsigned i, cv_duration bound)
{
	cv_time begun = w->now;

	while (!is_true(w, i)) {
		assert_true(w->now - begun < bound);
		run(w, CV_MS(10));
	}
	return w->now - begun;
}

/* Both up by UDP, joined by a channel. */
static struct world *joined(uint64_t seed)
{
	struct world *w = pair_new(seed);

	w->has_tcp = true;
	rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
	run(w, CV_SEC(5));
	assert_int_not_equal(w->agents[0].channel[1], 0);
	assert_int_equal(w->agents[0].tcp_opens, 0);
	return w;
}

/* A packet each way arrives. */
static void check_relay(struct world *w)
{
	unsigned before[2] = { w->agents[0].relayed, w->agents[1].relayed };

	send_relayed(w, 0, w->agents[0].channel[1], 1000);
	send_relayed(w, 1, w->agents[1].channel[0], 100);
	run(w, CV_MS(300));
	assert_int_equal(w->agents[0].relayed, before[0] + 1);
	assert_int_equal(w->agents[1].relayed, before[1] + 1);
	assert_int_equal(w->agents[1].relayed_size, 1000);
}

/* UDP never passed: a second of patience, then a connection, and no cookie. */
static void a_cold_start_takes_a_second_more(void **state)
{
	struct world *w = world_new(70);
	uint8_t init[WIRE_INIT_SIZE] = { 0x40 };
	cv_duration took;

	(void)state;
	w->has_tcp = true;
	make_agent(w, 1);
	know(w, 1, 0);
	run(w, CV_SEC(2));
	make_agent(w, 0);
	know(w, 0, 1);
	w->agents[0].is_udp_cut = true;
	rendezvous_open(w->agents[0].rv, w->now, 1, init);
	took = run_until(w, is_by_tcp, 0, CV_SEC(2));
	/* One second, then connect, INIT and RESP, the first DATA and its answer: 6 ways of 20 ms.
	 */
	assert_in_range(took, CV_MS(1120), CV_MS(1150));
	run(w, CV_MS(100));
	assert_int_equal(w->agents[1].offers, 1);
	assert_int_equal(w->agents[1].peer_leg[0], LEG_TCP);
	assert_int_equal(w->agents[0].peer_leg[1], LEG_UDP);
	assert_int_equal(rv_stats(w, 0).public_address.family, ADDR_NONE);
	check_relay(w);
	world_free(w);
}

static void with_udp_there_is_no_tcp(void **state)
{
	struct world *w = joined(71);

	(void)state;
	run(w, CV_SEC(3600));
	assert_int_equal(w->agents[0].tcp_opens, 0);
	assert_int_equal(w->agents[0].legs, 0);
	world_free(w);
}

/* It dies after the first packets: the session moves, nothing is registered anew. */
static void the_session_survives_the_move(void **state)
{
	struct world *w = joined(72);
	uint64_t channel = w->agents[0].channel[1];
	cv_duration took;

	(void)state;
	w->agents[0].is_udp_cut = true;
	rendezvous_check_now(w->agents[0].rv, w->now);
	took = run_until(w, is_by_tcp, 0, CV_SEC(2));
	/* Three challenges, 400 ms apart, then connect, INIT, RESP. */
	assert_in_range(took, CV_MS(880), CV_MS(910));
	assert_int_equal(w->agents[0].downs, 0);
	run(w, CV_MS(100));
	check_relay(w);
	assert_int_equal(w->agents[0].channel[1], channel);
	assert_int_equal(w->agents[0].gones, 0);
	assert_int_equal(w->agents[0].leg, LEG_TCP);
	assert_int_equal(w->agents[1].peer_leg[0], LEG_TCP);
	assert_int_equal(w->agents[1].peer_leg[0], LEG_TCP);
	assert_int_equal(stats_of(w).agents, 2);
	world_free(w);
}

/* And the other one too; each hears what the other has. */
static void both_may_use_it(void **state)
{
	struct world *w = joined(73);

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		w->agents[i].is_udp_cut = true;
		rendezvous_check_now(w->agents[i].rv, w->now);
	}
	run(w, CV_SEC(2));
	assert_true(is_by_tcp(w, 0) && is_by_tcp(w, 1));
	assert_int_equal(w->agents[0].peer_leg[1], LEG_TCP);
	assert_int_equal(w->agents[1].peer_leg[0], LEG_TCP);
	check_relay(w);
	run(w, CV_SEC(3600)); /* keepalives and rekeys go by it */
	assert_true(is_by_tcp(w, 0) && is_by_tcp(w, 1));
	assert_int_equal(w->agents[0].downs, 0);
	check_relay(w);
	world_free(w);
}

/* UDP returns: within 30 s and three answers it carries the session, and TCP is closed. */
static void udp_takes_over_again(void **state)
{
	struct world *w = joined(74);
	uint64_t channel = w->agents[0].channel[1];
	unsigned relayed;
	cv_duration took;

	(void)state;
	w->agents[0].is_udp_cut = true;
	rendezvous_check_now(w->agents[0].rv, w->now);
	run(w, CV_SEC(100));
	assert_true(is_by_tcp(w, 0));
	w->agents[0].is_udp_cut = false;
	w->agents[0].addr.port = 4321;
	took = run_until(w, is_by_udp, 0, CV_SEC(40));
	assert_in_range(took, CV_SEC(2), CV_SEC(35));
	assert_int_equal(w->agents[0].downs, 0);
	assert_int_equal(w->agents[0].tcp_closes, 0);
	/* The server has moved too. What is in the connection's queue still counts. */
	run(w, CV_SEC(1));
	w->agents[0].leg = LEG_TCP;
	relayed = w->agents[1].relayed;
	send_relayed(w, 0, channel, 10);
	w->agents[0].leg = LEG_UDP;
	run(w, CV_MS(100));
	assert_int_equal(w->agents[1].relayed, relayed + 1);
	run(w, CV_SEC(1));
	assert_int_equal(w->agents[0].leg, LEG_UDP);
	assert_int_equal(w->agents[1].peer_leg[0], LEG_UDP);
	assert_int_equal(rv_stats(w, 0).public_address.port, 4321);
	check_relay(w);
	run(w, CV_SEC(5));
	assert_int_equal(w->agents[0].tcp_closes, 1);
	assert_int_equal(w->agents[0].tcp.family, ADDR_NONE);
	check_relay(w);
	assert_int_equal(w->agents[0].channel[1], channel);
	assert_int_equal(stats_of(w).drop_wrong_source, 0);
	run(w, CV_SEC(3600));
	assert_int_equal(w->agents[0].tcp_opens, 1);
	world_free(w);
}

static void a_change_of_the_network_asks_udp_at_once(void **state)
{
	struct world *w = joined(75);

	(void)state;
	w->agents[0].is_udp_cut = true;
	rendezvous_check_now(w->agents[0].rv, w->now);
	run(w, CV_SEC(8));
	w->agents[0].is_udp_cut = false;
	rendezvous_on_network(w->agents[0].rv, w->now);
	assert_in_range(run_until(w, is_by_udp, 0, CV_SEC(40)), CV_SEC(2), CV_MS(2200));
	world_free(w);
}

/* An agent that was started @ms ago, before there was a network. */
static struct world *without_network(unsigned ms)
{
	struct world *w = world_new(91);

	w->has_tcp = true;
	make_agent(w, 0);
	w->agents[0].is_udp_cut =
		true; /* TCP may be just in time: it is made as the network comes */
	run(w, CV_MS(ms));
	return w;
}

/* Before TCP is tried, while it is being made and when it is: UDP has its time again, and wins. */
static void a_network_that_appears_is_asked_by_udp_first(void **state)
{
	unsigned count = 0;

	(void)state;
	for (unsigned ms = 900; ms < 2500; ms += 10, count++) {
		struct world *w = without_network(ms);
		struct agent *a = &w->agents[0];
		bool is_too_late = a->leg == LEG_TCP;

		a->is_udp_cut = is_too_late;
		rendezvous_on_network(a->rv, w->now);
		if (is_too_late) {
			world_free(w);
			break;
		}
		/* INIT, COOKIE, INIT, RESP, the first DATA and its answer: 6 ways of 20 ms. */
		assert_in_range(run_until(w, is_by_udp, 0, CV_SEC(1)), CV_MS(120), CV_MS(130));
		run(w, CV_SEC(60));
		assert_int_equal(a->legs, 0);
		assert_int_equal(a->tcp.family, ADDR_NONE);
		world_free(w);
	}
	assert_in_range(count, 15, 25); /* tried after 1 s, made by 1040 ms, answered by 1080 */
}

/* By TCP is RESP, and the session not up yet: it will be, and UDP is asked then, not 5 s later. */
static void a_network_that_appears_too_late_is_asked_at_once(void **state)
{
	struct world *w = without_network(1100);
	struct agent *a = &w->agents[0];

	(void)state;
	assert_int_equal(a->leg, LEG_TCP);
	assert_false(rv_stats(w, 0).is_up);
	a->is_udp_cut = false;
	rendezvous_on_network(a->rv, w->now);
	run_until(w, is_by_tcp, 0, CV_MS(50));
	assert_in_range(run_until(w, is_by_udp, 0, CV_SEC(10)), CV_SEC(2), CV_MS(2200));
	world_free(w);
}

/* Between two attempts, while what was dialled in the first may still come about: likewise, however
 * often something changed in that. */
static void a_network_that_appears_in_a_pause_is_asked_by_udp_first(void **state)
{
	struct world *w = without_network(0);
	struct agent *a = &w->agents[0];

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		rendezvous_on_network(a->rv, w->now);
	run(w, CV_MS(1010));
	a->tcp_at = CV_TIME_NEVER;
	run(w, CV_MS(9200)); /* two attempts, 5 s each; then the first pause that lasts */
	assert_int_equal(a->tcp_opens, 1);
	a->is_udp_cut = false;
	a->tcp_at = w->now;
	rendezvous_on_network(a->rv, w->now);
	assert_in_range(run_until(w, is_by_udp, 0, CV_SEC(1)), CV_MS(120), CV_MS(130));
	assert_int_equal(a->legs, 0);
	world_free(w);
}

/* Something changes all the time, and UDP does not pass: TCP has its turn all the same. */
static void a_restless_network_does_not_keep_tcp_away(void **state)
{
	struct world *w = without_network(500);

	(void)state;
	for (unsigned i = 0; i < 100 && !is_by_tcp(w, 0); i++) {
		rendezvous_on_network(w->agents[0].rv, w->now);
		run(w, CV_MS(900));
	}
	assert_true(is_by_tcp(w, 0));
	assert_in_range(w->now - CV_SEC(1000), CV_SEC(5), CV_MS(6500));
	world_free(w);
}

/* One answer is not "steadily": every second one gets lost. */
static void udp_that_comes_and_goes_is_not_taken(void **state)
{
	struct world *w = joined(76);
	cv_time next = 0;

	(void)state;
	w->agents[0].is_udp_cut = true;
	rendezvous_check_now(w->agents[0].rv, w->now);
	run(w, CV_SEC(3));
	for (unsigned i = 0; i < 600; i++) {
		w->agents[0].is_udp_cut = w->now >= next;
		if (w->now >= next + CV_MS(1200))
			next = w->now + CV_MS(1200);
		run(w, CV_MS(100));
		assert_true(is_by_tcp(w, 0));
	}
	assert_int_equal(w->agents[0].legs, 1);
	world_free(w);
}

/* It asks wherever it hears us, and we answer where our path is: UDP answers twice and is gone. */
static void answers_by_udp_do_not_move_the_server(void **state)
{
	struct world *w = joined(90);

	(void)state;
	w->agents[0].is_udp_cut = true;
	rendezvous_check_now(w->agents[0].rv, w->now);
	run_until(w, is_by_tcp, 0, CV_SEC(2));
	w->agents[0].is_udp_cut = false;
	run(w, CV_MS(6500)); /* trials after 5 and 6 s */
	assert_int_equal(rv_stats(w, 0).public_address.port, w->agents[0].addr.port);
	w->agents[0].is_udp_cut = true;
	check_relay(w);
	assert_true(is_by_tcp(w, 0));
	world_free(w);
}

/* A firewall that looks at the first packets: every return ends after 5 s. Returns get rarer. */
static void relapses_make_returns_rarer(void **state)
{
	struct world *w = joined(77);
	cv_time by_udp = 0;
	unsigned early = 0;

	(void)state;
	w->agents[0].is_udp_cut = true;
	rendezvous_check_now(w->agents[0].rv, w->now);
	run(w, CV_SEC(3));
	w->agents[0].is_udp_cut = false;
	for (unsigned i = 0; i < 3600; i++) {
		if (w->agents[0].leg == LEG_TCP)
			by_udp = w->now;
		w->agents[0].is_udp_cut =
			w->now - by_udp > CV_SEC(5) && w->now - by_udp < CV_SEC(10);
		if (w->agents[0].is_udp_cut)
			rendezvous_doubt(w->agents[0].rv, w->now);
		run(w, CV_SEC(1));
		if (i == 300)
			early = w->agents[0].legs;
	}
	assert_in_range(early, 6, 12);
	assert_in_range(w->agents[0].legs - early, 6, 20);
	assert_int_equal(w->agents[0].gones, 0);
	world_free(w);
}

/* The connection ends: the next one at once, and the server sends nothing into the void. */
static void a_lost_connection_is_made_again(void **state)
{
	struct world *w = joined(78);
	uint64_t channel = w->agents[0].channel[1];

	(void)state;
	w->agents[0].is_udp_cut = true;
	rendezvous_check_now(w->agents[0].rv, w->now);
	run(w, CV_SEC(15));
	assert_true(hub_has_tcp(w->hub, &w->agents[0].tcp));
	end_tcp(w, &w->agents[0]);
	send_relayed(w, 1, w->agents[1].channel[0], 100);
	run(w, CV_MS(100));
	assert_int_equal(stats_of(w).drop_silent_peer, 1);
	rendezvous_on_tcp_closed(w->agents[0].rv, w->now);
	run(w, CV_MS(200));
	assert_true(is_by_tcp(w, 0));
	assert_int_equal(w->agents[0].tcp_opens, 2);
	assert_int_equal(w->agents[0].channel[1], channel);
	check_relay(w);
	/* Again, and before it has lasted: with a pause. */
	end_tcp(w, &w->agents[0]);
	rendezvous_on_tcp_closed(w->agents[0].rv, w->now);
	run(w, CV_SEC(1));
	assert_false(is_by_tcp(w, 0));
	run(w, CV_SEC(2));
	assert_true(is_by_tcp(w, 0));
	/* The pause does not grow where each of them has served. */
	for (unsigned i = 0; i < 10; i++) {
		end_tcp(w, &w->agents[0]);
		rendezvous_on_tcp_closed(w->agents[0].rv, w->now);
		run(w, CV_MS(2500));
		assert_true(is_by_tcp(w, 0));
	}
	world_free(w);
}

/* Another network, where UDP passes: its answer comes as the next connection does, so the INIT went
 * both ways, and the server still believes in the connection of old. */
static void udp_and_tcp_at_once(void **state)
{
	for (uint64_t seed = 200; seed < 220; seed++) {
		struct world *w = joined(seed);
		struct agent *a = &w->agents[0];

		a->is_udp_cut = true;
		rendezvous_check_now(a->rv, w->now);
		run(w, CV_SEC(15));
		assert_true(is_by_tcp(w, 0));
		a->tcp.family = ADDR_NONE; /* and nobody tells the server */
		a->addr.ip[3] ^= 0x40;
		a->is_udp_cut = false;
		rendezvous_on_tcp_closed(a->rv, w->now);
		rendezvous_on_network(a->rv, w->now);
		assert_in_range(run_until(w, is_by_udp, 0, CV_SEC(1)), CV_MS(80), CV_MS(140));
		run(w, CV_MS(100));
		check_relay(w);
		world_free(w);
	}
	(void)state;
}

/* Nobody hears of its end: challenges do not come back. */
static void a_silent_connection_is_given_up(void **state)
{
	struct world *w = joined(79);

	(void)state;
	w->agents[0].is_udp_cut = true;
	rendezvous_check_now(w->agents[0].rv, w->now);
	run(w, CV_SEC(15));
	w->agents[0].is_cut = true;
	rendezvous_check_now(w->agents[0].rv, w->now);
	run(w, CV_SEC(5));
	w->agents[0].is_cut = false;
	assert_int_equal(w->agents[0].tcp_closes, 1);
	run(w, CV_SEC(5));
	assert_true(is_by_tcp(w, 0));
	assert_int_equal(w->agents[0].gones, 0);
	check_relay(w);
	world_free(w);
}

/* A server that does not listen: tries get rarer, and UDP is found at once when it returns. */
static void nobody_listens(void **state)
{
	struct world *w = world_new(80);
	unsigned before;

	(void)state;
	make_agent(w, 0);
	w->agents[0].is_udp_cut = true;
	run(w, CV_SEC(300));
	assert_in_range(w->agents[0].tcp_opens, 5, 12);
	before = w->agents[0].tcp_opens;
	run(w, CV_SEC(3600));
	assert_in_range(w->agents[0].tcp_opens - before, 40, 70);
	w->agents[0].is_udp_cut = false;
	run(w, CV_SEC(65));
	assert_true(is_by_udp(w, 0));
	world_free(w);
}

/* Who listens there is no server of ours: whatever it says is not believed, UDP goes on. */
static void somebody_else_listens(void **state)
{
	struct world *w = world_new(81);
	struct hub *hub = NULL;
	uint8_t nonsense[100] = { WIRE_RESP };

	(void)state;
	w->has_tcp = true;
	make_agent(w, 0);
	w->agents[0].is_udp_cut = true;
	hub = w->hub;
	w->is_server_cut = true; /* datagrams go nowhere, connections are made */
	run(w, CV_MS(1100));
	assert_int_equal(w->agents[0].tcp.family, ADDR_V4);
	rendezvous_on_datagram(w->agents[0].rv, w->now, SOCKET_TCP, &w->agents[0].tcp_server,
	                       nonsense, sizeof(nonsense));
	run(w, CV_SEC(6));
	assert_int_equal(w->agents[0].tcp_closes, 1);
	w->agents[0].is_udp_cut = false;
	w->is_server_cut = false;
	assert_ptr_equal(hub, w->hub);
	run(w, CV_SEC(4));
	assert_true(is_by_udp(w, 0) || is_by_tcp(w, 0));
	world_free(w);
}

/* UDP is slow, not blocked: the slower RESP does no harm, and TCP does not stay. */
static void slow_udp_wins_in_the_end(void **state)
{
	struct world *w = world_new(82);

	(void)state;
	w->has_tcp = true;
	w->delay = CV_MS(600);
	make_agent(w, 0);
	run(w, CV_SEC(60));
	assert_true(is_by_udp(w, 0));
	assert_int_equal(w->agents[0].tcp.family, ADDR_NONE);
	assert_int_equal(stats_of(w).agents, 1);
	world_free(w);
}

/* The server restarts: the connection ends, all is registered anew by the next. */
static void a_restarted_server_is_found_by_tcp(void **state)
{
	struct world *w = joined(83);

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		w->agents[i].is_udp_cut = true;
		rendezvous_check_now(w->agents[i].rv, w->now);
	}
	run(w, CV_SEC(15));
	hub_free(w->hub, w->now);
	make_hub(w);
	for (unsigned i = 0; i < 2; i++) {
		end_tcp(w, &w->agents[i]);
		rendezvous_on_tcp_closed(w->agents[i].rv, w->now);
	}
	run(w, CV_SEC(1));
	assert_true(is_by_tcp(w, 0) && is_by_tcp(w, 1));
	assert_true(w->agents[0].is_present[1]);
	rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
	run(w, CV_SEC(1));
	check_relay(w);
	world_free(w);
}

/* RELAY and answers are taken from the connection that there is, and from no other. */
static void other_connections_are_not_heard(void **state)
{
	struct world *w = joined(84);
	struct addr other = addr_v4(203, 0, 113, 9, 443);

	(void)state;
	assert_false(rendezvous_is_from(w->agents[0].rv, SOCKET_TCP, &w->server_addr));
	w->agents[0].is_udp_cut = true;
	rendezvous_check_now(w->agents[0].rv, w->now);
	run(w, CV_SEC(3));
	assert_true(rendezvous_is_from(w->agents[0].rv, SOCKET_TCP, &w->agents[0].tcp_server));
	assert_false(rendezvous_is_from(w->agents[0].rv, SOCKET_TCP, &other));
	assert_false(rendezvous_is_from(w->agents[0].rv, SOCKET_MAIN, &w->agents[0].tcp_server));
	world_free(w);
}

/* The shell's words cross ours. */
static void late_words_of_the_shell_are_ignored(void **state)
{
	struct world *w = joined(85);
	struct rendezvous *r = w->agents[0].rv;
	struct rendezvous_event e;

	(void)state;
	rendezvous_on_tcp(r, w->now, &w->server_addr);
	rendezvous_on_tcp_closed(r, w->now);
	assert_false(rendezvous_next_event(r, &e));
	w->agents[0].is_udp_cut = true;
	rendezvous_check_now(r, w->now);
	run(w, CV_MS(810));
	assert_int_equal(w->agents[0].tcp_opens, 1);
	/* UDP answers while the connection is being made. */
	w->agents[0].is_udp_cut = false;
	run(w, CV_MS(10));
	w->agents[0].tcp_at = CV_TIME_NEVER;
	run(w, CV_SEC(1));
	assert_true(is_by_udp(w, 0));
	assert_int_equal(w->agents[0].tcp_closes, 1);
	rendezvous_on_tcp(r, w->now, &w->server_addr);
	run(w, CV_SEC(2));
	assert_true(is_by_udp(w, 0));
	world_free(w);
}

/* One was given up and the next is wanted, and the shell knows of neither: what it says is about
 * the first. */
static void words_about_the_one_before_are_not_about_the_next(void **state)
{
	struct world *w = joined(89);
	struct rendezvous *r = w->agents[0].rv;
	struct rendezvous_event e;
	struct train t = { .bytes = w->train };
	unsigned opens = 0, closes = 0;

	(void)state;
	w->agents[0].is_udp_cut = true;
	rendezvous_check_now(r, w->now);
	run(w, CV_SEC(15));
	assert_true(is_by_tcp(w, 0));
	rendezvous_check_now(r, w->now);
	for (unsigned i = 0; i < 20; i++) { /* nothing comes back, and nobody asks for events */
		w->now = CV_MAX(w->now, rendezvous_deadline(r));
		rendezvous_on_deadline(r, w->now);
		while (rendezvous_write(r, w->now, &t))
			;
	}
	rendezvous_on_tcp(r, w->now, &w->server_addr);
	assert_false(rendezvous_is_from(r, SOCKET_TCP, &w->server_addr));
	while (rendezvous_next_event(r, &e)) {
		opens += e.kind == RENDEZVOUS_EVENT_TCP_OPEN;
		closes += e.kind == RENDEZVOUS_EVENT_TCP_CLOSE;
		assert_true(closes == 1 || opens == 0); /* in this order */
	}
	assert_int_equal(opens, 1);
	assert_int_equal(closes, 1);
	rendezvous_on_tcp(r, w->now, &w->server_addr);
	world_free(w);
}

static void ports_are_the_servers_own_then_443(void **state)
{
	struct world *w = world_new(86);
	struct addr list[RENDEZVOUS_TCP_ADDRESSES_MAX];
	struct addr servers[2] = { w->server_addr, addr_v4(192, 0, 2, 2, 443) };

	(void)state;
	make_agent(w, 0);
	rendezvous_set_addresses(w->agents[0].rv, w->now, servers, 2);
	assert_int_equal(rendezvous_tcp_addresses(w->agents[0].rv, list), 3);
	assert_int_equal(list[0].port, 28583);
	assert_int_equal(list[1].port, 443);
	assert_true(addr_equal_ip(&list[1], &servers[1]));
	assert_int_equal(list[2].port, 443);
	assert_true(addr_equal_ip(&list[2], &servers[0]));
	rendezvous_set_tcp_port(w->agents[0].rv, 8443);
	assert_int_equal(rendezvous_tcp_addresses(w->agents[0].rv, list), 2);
	assert_int_equal(list[0].port, 8443);
	assert_int_equal(list[1].port, 8443);
	world_free(w);
}

/* Its last words go by it. */
static void goodbye_goes_by_tcp(void **state)
{
	struct world *w = joined(87);

	(void)state;
	w->agents[0].is_udp_cut = true;
	rendezvous_check_now(w->agents[0].rv, w->now);
	run(w, CV_SEC(3));
	rendezvous_close(w->agents[0].rv, w->now);
	run(w, CV_MS(200));
	assert_true(w->agents[1].was_gone[0]);
	assert_int_equal(stats_of(w).agents, 1);
	assert_false(hub_has_tcp(w->hub, &w->agents[0].tcp));
	world_free(w);
}

/* One address of UDP, and the same of another's TCP, are two agents' paths. */
static void addresses_of_tcp_are_not_those_of_udp(void **state)
{
	struct world *w = joined(88);

	(void)state;
	w->tcp_ports = (uint16_t)(4000 - 50000);
	w->agents[1].addr.ip[3] = w->agents[0].addr.ip[3];
	w->agents[1].addr.port = 4001;
	w->agents[1].is_udp_cut = true;
	rendezvous_check_now(w->agents[1].rv, w->now);
	run(w, CV_SEC(3));
	assert_true(is_by_tcp(w, 1));
	assert_true(addr_equal(&w->agents[1].tcp, &w->agents[0].addr));
	assert_non_null(hub_session_at(w->hub, SOCKET_MAIN, &w->agents[0].addr));
	assert_non_null(hub_session_at(w->hub, SOCKET_TCP, &w->agents[1].tcp));
	assert_ptr_not_equal(hub_session_at(w->hub, SOCKET_MAIN, &w->agents[0].addr),
	                     hub_session_at(w->hub, SOCKET_TCP, &w->agents[1].tcp));
	check_relay(w);
	world_free(w);
}

/* Connections come and go, UDP too, at random: never stuck, and no channel is ever lost. */
static void any_order_of_events_ends_well(void **state)
{
	(void)state;
	for (uint64_t seed = 900; seed < 930; seed++) {
		struct world *w = joined(seed);

		w->loss = (unsigned)rng_below(&w->rng, 20);
		w->jitter = CV_MS(30);
		for (unsigned i = 0; i < 200; i++) {
			struct agent *a = &w->agents[rng_below(&w->rng, 2)];

			switch (rng_below(&w->rng, 6)) {
			case 0:
				a->is_udp_cut = !a->is_udp_cut;
				break;
			case 1:
				if (a->tcp.family != ADDR_NONE) {
					end_tcp(w, a);
					rendezvous_on_tcp_closed(a->rv, w->now);
				}
				break;
			case 2:
				rendezvous_on_network(a->rv, w->now);
				break;
			case 3:
				w->has_tcp = rng_below(&w->rng, 4) != 0;
				break;
			case 4:
				rendezvous_doubt(a->rv, w->now);
				break;
			default:
				break;
			}
			run(w, rng_below(&w->rng, CV_SEC(4)));
		}
		w->loss = 0;
		w->has_tcp = true;
		w->agents[0].is_udp_cut = true;
		w->agents[1].is_udp_cut = false;
		run(w, CV_SEC(700));
		assert_true(is_by_tcp(w, 0) && is_by_udp(w, 1));
		assert_int_equal(w->agents[1].tcp.family, ADDR_NONE);
		if (w->agents[0].channel[1] == 0) {
			rendezvous_open(w->agents[0].rv, w->now, 1, NULL);
			run(w, CV_SEC(1));
		}
		check_relay(w);
		assert_int_equal(w->agents[1].peer_leg[0], LEG_TCP);
		assert_int_equal(w->agents[0].peer_leg[1], LEG_UDP);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cold_start_takes_a_second_more),
		cmocka_unit_test(with_udp_there_is_no_tcp),
		cmocka_unit_test(the_session_survives_the_move),
		cmocka_unit_test(both_may_use_it),
		cmocka_unit_test(udp_takes_over_again),
		cmocka_unit_test(a_change_of_the_network_asks_udp_at_once),
		cmocka_unit_test(a_network_that_appears_is_asked_by_udp_first),
		cmocka_unit_test(a_network_that_appears_too_late_is_asked_at_once),
		cmocka_unit_test(a_network_that_appears_in_a_pause_is_asked_by_udp_first),
		cmocka_unit_test(a_restless_network_does_not_keep_tcp_away),
		cmocka_unit_test(udp_that_comes_and_goes_is_not_taken),
		cmocka_unit_test(answers_by_udp_do_not_move_the_server),
		cmocka_unit_test(relapses_make_returns_rarer),
		cmocka_unit_test(a_lost_connection_is_made_again),
		cmocka_unit_test(udp_and_tcp_at_once),
		cmocka_unit_test(a_silent_connection_is_given_up),
		cmocka_unit_test(nobody_listens),
		cmocka_unit_test(somebody_else_listens),
		cmocka_unit_test(slow_udp_wins_in_the_end),
		cmocka_unit_test(a_restarted_server_is_found_by_tcp),
		cmocka_unit_test(other_connections_are_not_heard),
		cmocka_unit_test(late_words_of_the_shell_are_ignored),
		cmocka_unit_test(words_about_the_one_before_are_not_about_the_next),
		cmocka_unit_test(ports_are_the_servers_own_then_443),
		cmocka_unit_test(goodbye_goes_by_tcp),
		cmocka_unit_test(addresses_of_tcp_are_not_those_of_udp),
		cmocka_unit_test(any_order_of_events_ends_well),
	};

	return cmocka_run_group_tests_name("rendezvous_tcp", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: what comes by one way says nothing of the other, whatever a server sends where; and what a
 * change of the network does to an attempt. Method: hub_world, one agent; packets of its server's
 * own keys, put where the test wants them.
 */
#include "hub_world.h"
#include "tunnel/rendezvous_state.h"

/* Up by UDP, then UDP dies: up by TCP. */
static struct world *on_tcp(uint64_t seed)
{
	struct world *w = world_new(seed);
	struct agent *a = &w->agents[0];

	w->has_tcp = true;
	make_agent(w, 0);
	run(w, CV_SEC(5));
	a->is_udp_cut = true;
	rendezvous_check_now(a->rv, w->now);
	run(w, CV_SEC(4));
	assert_int_equal(a->rv->state, STATE_UP);
	assert_int_equal(a->rv->socket, SOCKET_TCP);
	return w;
}

/* The server sends @probe to the agent, and it comes by @socket. */
static void server_says(struct world *w, uint16_t socket, const struct wire_probe *probe)
{
	struct agent *a = &w->agents[0];
	struct hub_session *s = hub_session_at(w->hub, SOCKET_TCP, &a->tcp);
	struct epoch *e = assoc_send_epoch(&s->light.assoc, w->now);
	uint8_t bytes[WIRE_DATAGRAM_BASE];
	size_t size = light_write_probe(e, bytes, 0, probe);

	rendezvous_on_datagram(a->rv, w->now, socket,
	                       socket == SOCKET_TCP ? &a->tcp_server : &w->server_addr, bytes,
	                       size);
}

/* It asks wherever it thinks that we are; an answer from there would move it. */
static void challenges_beside_the_path_are_not_answered(void **state)
{
	const struct wire_probe challenge = { .type = PROBE_CHALLENGE, .token = 5 };
	struct world *w = on_tcp(300);
	struct rendezvous *r = w->agents[0].rv;

	(void)state;
	server_says(w, SOCKET_MAIN, &challenge);
	assert_int_equal(r->answer_count, 0);
	server_says(w, SOCKET_TCP, &challenge);
	assert_int_equal(r->answer_count, 1);
	world_free(w);
}

/* A trial asks whether UDP passes: an answer by TCP is none. */
static void a_trial_is_not_answered_by_tcp(void **state)
{
	struct wire_probe answer = { .type = PROBE_ANSWER };
	struct world *w = on_tcp(301);
	struct rendezvous *r = w->agents[0].rv;

	(void)state;
	while (r->tcp.trial_token == 0)
		run(w, CV_MS(1));
	answer.token = r->tcp.trial_token;
	server_says(w, SOCKET_TCP, &answer);
	assert_int_equal(r->tcp.trial_token, answer.token);
	assert_int_equal(r->tcp.trial_count, 0);
	server_says(w, SOCKET_MAIN, &answer);
	assert_int_equal(r->tcp.trial_token, 0);
	assert_int_equal(r->tcp.trial_count, 1);
	world_free(w);
}

/* The connection is silent: that UDP is not, is no sign of its life. */
static void what_comes_by_udp_does_not_keep_tcp_alive(void **state)
{
	const struct wire_probe answer = { .type = PROBE_ANSWER, .token = 99 };
	struct world *w = on_tcp(302);
	struct rendezvous *r = w->agents[0].rv;

	(void)state;
	w->is_server_cut = true;
	rendezvous_check_now(r, w->now);
	run(w, CV_MS(1500));
	assert_int_equal(r->probes, 2);
	server_says(w, SOCKET_MAIN, &answer);
	assert_int_equal(r->probes, 2);
	server_says(w, SOCKET_TCP, &answer);
	assert_int_equal(r->probes, 0);
	world_free(w);
}

/* RESP by a connection that has just been given up, of which the shell has yet to hear. */
static void what_comes_by_a_connection_given_up_is_not_heard(void **state)
{
	for (unsigned is_given_up = 0; is_given_up < 2; is_given_up++) {
		struct world *w = world_new(303);
		struct agent *a = &w->agents[0];

		w->has_tcp = true;
		make_agent(w, 0);
		a->is_udp_cut = true;
		run(w, CV_MS(1070));
		assert_int_equal(w->flight_count, 1);
		assert_int_equal(w->flights[0].bytes[0] & WIRE_KIND_MASK, WIRE_RESP);
		assert_int_equal(w->flights[0].socket, SOCKET_TCP);
		if (is_given_up)
			rendezvous_on_network(a->rv, w->now);
		rendezvous_on_datagram(a->rv, w->now, SOCKET_TCP, &w->flights[0].from,
		                       w->flights[0].bytes, w->flights[0].size);
		assert_int_equal(a->rv->socket, is_given_up ? SOCKET_MAIN : SOCKET_TCP);
		assert_true(rendezvous_check(a->rv));
		world_free(w);
	}
	(void)state;
}

static bool has_init(const struct world *w)
{
	for (unsigned i = 0; i < w->flight_count; i++) {
		if ((w->flights[i].bytes[0] & WIRE_KIND_MASK) == WIRE_INIT)
			return true;
	}
	return false;
}

/* What is as good as done is not begun anew. */
static void a_change_after_the_answer_is_no_new_attempt(void **state)
{
	struct world *w = world_new(305);
	struct rendezvous *r;

	(void)state;
	make_agent(w, 0);
	r = w->agents[0].rv;
	while (r->initiator.is_running || r->state == STATE_RESOLVING)
		run(w, CV_MS(1));
	assert_int_equal(r->state, STATE_CONNECTING);
	rendezvous_on_network(r, w->now);
	run(w, CV_MS(1));
	assert_false(has_init(w));
	run(w, CV_MS(100));
	assert_int_equal(r->state, STATE_UP);
	world_free(w);
}

/* The first INIT of the new network gets lost: the next is not a second away. */
static void a_new_attempt_is_repeated_as_at_first(void **state)
{
	struct world *w = world_new(306);
	struct agent *a = &w->agents[0];

	(void)state;
	make_agent(w, 0);
	a->is_udp_cut = true;
	run(w, CV_SEC(4));
	rendezvous_on_network(a->rv, w->now);
	run(w, CV_MS(1));
	a->is_udp_cut = false;
	run(w, CV_MS(250 + 130)); /* and six ways */
	assert_int_equal(a->rv->state, STATE_UP);
	world_free(w);
}

/* A connection that is being made when the network changes is given up, each time, for how many
 * times it may be is counted anew whenever the server was there. */
static void changes_of_one_attempt_are_counted(void **state)
{
	struct world *w = world_new(307);
	struct agent *a = &w->agents[0];

	(void)state;
	w->has_tcp = true;
	make_agent(w, 0);
	run(w, CV_SEC(2));
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(a->rv->state, STATE_UP);
		a->is_cut = true;
		rendezvous_check_now(a->rv, w->now);
		while (a->rv->state != STATE_CONNECTING || a->tcp_at == CV_TIME_NEVER)
			run(w, CV_MS(1));
		a->is_cut = false;
		rendezvous_on_network(a->rv, w->now);
		run(w, CV_MS(1));
		assert_true(a->tcp_at == CV_TIME_NEVER);
		run(w, CV_SEC(20));
	}
	world_free(w);
}

/* The smallest challenge that can be read is smaller than an answer: it gets none. */
static void a_challenge_smaller_than_its_answer_is_not_answered(void **state)
{
	static const uint8_t plain[1 + 1 + 8 + 1] = { PROBE_CHALLENGE, 0, 7 };
	struct world *w = world_new(304);
	struct agent *a = &w->agents[0];

	(void)state;
	make_agent(w, 0);
	run(w, CV_SEC(5));
	for (unsigned is_full = 0; is_full < 2; is_full++) {
		struct epoch *e = assoc_send_epoch(&a->rv->session.assoc, w->now);
		uint8_t bytes[WIRE_DATAGRAM_BASE] = { 0 };
		struct train t = { .bytes = w->train };
		size_t size = is_full ? WIRE_PROBE_PLAIN : sizeof(plain);

		memcpy(bytes + WIRE_DATA_HEADER, plain, sizeof(plain));
		size = epoch_seal_probe(e, bytes, size);
		assert_true(is_full ? size == LIGHT_PROBE_MIN : size < LIGHT_PROBE_MIN);
		hub_on_arrival(w->hub, w->now,
		               &(struct arrival){ .bytes = bytes,
		                                  .size = size,
		                                  .segment_size = size,
		                                  .socket = SOCKET_MAIN,
		                                  .from = a->addr });
		assert_int_equal(stats_of(w).drop_malformed, 0);
		assert_int_equal(hub_write(w->hub, w->now, &t), is_full);
		assert_true(!is_full || t.size <= size);
	}
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(challenges_beside_the_path_are_not_answered),
		cmocka_unit_test(a_trial_is_not_answered_by_tcp),
		cmocka_unit_test(what_comes_by_udp_does_not_keep_tcp_alive),
		cmocka_unit_test(what_comes_by_a_connection_given_up_is_not_heard),
		cmocka_unit_test(a_change_after_the_answer_is_no_new_attempt),
		cmocka_unit_test(a_new_attempt_is_repeated_as_at_first),
		cmocka_unit_test(changes_of_one_attempt_are_counted),
		cmocka_unit_test(a_challenge_smaller_than_its_answer_is_not_answered),
	};

	return cmocka_run_group_tests_name("rendezvous_packets", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: what a user is told follows from the state that decides, in words that say what to
 * do. Method: a pair of endpoints brought into each state; paths of a session put into the states
 * of a relayed one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/endpoint_pair.h"
#include "tunnel/vitals.h"

enum { A = 0, B = 1 };

static struct pair p;

static void begin(uint64_t seed)
{
	pair_init(&p, seed);
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	pair_run(&p, CV_SEC(2));
}

static const char *why(struct endpoint_peer_stats *stats)
{
	vitals_read(pair_session(&p, A), p.now, WHY_SERVERS_UP, stats);
	print_message("\"%s\"\n", stats->why);
	assert_true(strlen(stats->why) < ENDPOINT_WHY_MAX);
	return stats->why;
}

static void a_direct_path_needs_no_words(void **state)
{
	struct endpoint_peer_stats stats;

	(void)state;
	begin(1);
	assert_string_equal(why(&stats), "");
	assert_int_equal(stats.state, PEER_CONNECTED);
	assert_string_equal(stats.path_kind, "direct");
	assert_true(addr_equal(&stats.path_address, &p.side[B].addr[PAIR_PUBLIC]));
	assert_int_equal(stats.rtt, 2 * p.delay);
	assert_int_equal(stats.mtu, 1472);
	pair_deinit(&p);
}

static void why_there_is_no_session(void **state)
{
	struct endpoint_peer_stats stats;
	struct session *s;

	(void)state;
	pair_init(&p, 2);
	p.side[B].refuses = true;
	pair_start_side(&p, A);
	s = pair_session(&p, A);
	assert_string_equal(why(&stats), "connecting");
	assert_int_equal(stats.state, PEER_CONNECTING);
	assert_string_equal(stats.path_kind, "none");
	assert_int_equal(stats.rtt + stats.mtu, 0);
	pair_run(&p, SESSION_ATTEMPT + CV_MS(100));
	assert_int_equal(stats.path_address.family, ADDR_NONE);
	assert_string_equal(why(&stats), "nobody listens at the peer's address; next try in 6 s");
	assert_int_equal(stats.state, PEER_DOWN);

	/* What is known more certainly comes first. */
	s->absent_servers = 1;
	assert_non_null(strstr(why(&stats), "not at the server, or has not configured this agent"));
	s->gone_servers = 1;
	assert_non_null(strstr(why(&stats), "the server saw the peer end"));
	s->down_code = CLOSE_SHUTDOWN;
	assert_non_null(strstr(why(&stats), "the peer was stopped"));
	s->duplicate_until = p.now + 1;
	assert_non_null(strstr(why(&stats), "another agent uses this identity"));
	s->initiator.version_seen = 9;
	assert_non_null(strstr(why(&stats), "another protocol version"));
	pair_deinit(&p);
}

static void why_the_path_is_a_relay(void **state)
{
	struct endpoint_peer_stats stats;
	struct origin relay = { .is_relay = true, .channel = 5 };
	struct origin direct = { .addr = addr_v4(203, 0, 113, 1, 4000) };
	struct session *s;
	struct path *way;
	uint8_t slot;

	(void)state;
	begin(3);
	s = pair_session(&p, A);
	paths_remove(&s->paths, s->paths.active);
	slot = paths_add(&s->paths, p.now, &relay);
	path_on_handshake(&s->paths.list[slot], p.now, true);
	s->paths.active = slot;
	assert_string_equal(why(&stats), "no direct address is known yet");
	assert_string_equal(stats.path_kind, "relay");
	way = &s->paths.list[paths_add(&s->paths, p.now, &direct)];
	assert_string_equal(why(&stats), "direct addresses are being tried");
	path_fail(way, p.now);
	assert_string_equal(why(&stats), "no direct address answered; next try in 2 s");
	way->is_narrow = true;
	assert_string_equal(why(&stats),
	                    "a direct path passes small packets only; next try in 2 s");
	s->policy = POLICY_DIRECT;
	assert_string_equal(why(&stats),
	                    "path: direct, so streams wait: a direct path passes small "
	                    "packets only; next try in 2 s");
	s->policy = POLICY_AUTO;
	s->assoc.peer_policy = POLICY_RELAY;
	assert_string_equal(why(&stats), "the peer's configuration says path: relay");
	s->policy = POLICY_RELAY;
	assert_string_equal(why(&stats), "the configuration says path: relay");
	pair_deinit(&p);
}

/* Which side's network blocks UDP stands first; why there is a relay at all comes behind. */
static void where_udp_does_not_pass(void **state)
{
	static const struct {
		bool is_here, is_there;
		const char *words;
	} rows[] = {
		{ true, false, "UDP to the server does not pass here; " },
		{ false, true, "UDP to the server does not pass at the peer; " },
		{ true, true, "UDP to the server does not pass on either side; " },
	};
	struct endpoint_peer_stats stats;
	struct path *active;

	(void)state;
	begin(7);
	active = paths_active(&pair_session(&p, A)->paths);
	active->to = (struct origin){ .is_relay = true, .channel = 5 };
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		(void)path_set_legs(active, rows[i].is_here, rows[i].is_there);
		assert_memory_equal(why(&stats), rows[i].words, strlen(rows[i].words));
		assert_true(strlen(stats.why) > strlen(rows[i].words));
		assert_string_equal(stats.path_kind, "tcp");
	}
	(void)path_set_legs(active, false, false);
	assert_null(strstr(why(&stats), "UDP"));
	assert_string_equal(stats.path_kind, "relay");
	pair_deinit(&p);
}

static void policies_that_exclude_each_other(void **state)
{
	static const struct {
		uint8_t ours, theirs;
		bool clash;
		enum path_policy holds;
	} rows[] = {
		{ POLICY_AUTO, POLICY_AUTO, false, POLICY_AUTO },
		{ POLICY_AUTO, POLICY_DIRECT, false, POLICY_DIRECT },
		{ POLICY_AUTO, POLICY_RELAY, false, POLICY_RELAY },
		{ POLICY_DIRECT, POLICY_AUTO, false, POLICY_DIRECT },
		{ POLICY_DIRECT, POLICY_DIRECT, false, POLICY_DIRECT },
		{ POLICY_DIRECT, POLICY_RELAY, true, POLICY_DIRECT },
		{ POLICY_RELAY, POLICY_AUTO, false, POLICY_RELAY },
		{ POLICY_RELAY, POLICY_DIRECT, true, POLICY_RELAY },
		{ POLICY_RELAY, POLICY_RELAY, false, POLICY_RELAY },
	};
	struct endpoint_peer_stats stats;
	struct session *s;

	(void)state;
	begin(4);
	s = pair_session(&p, A);
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		s->policy = rows[i].ours;
		s->assoc.peer_policy = rows[i].theirs;
		assert_int_equal(session_policy(s), rows[i].holds);
		assert_int_equal(strstr(why(&stats), "one side says path: direct") != NULL,
		                 rows[i].clash);
		assert_int_equal(stats.state, rows[i].clash ? PEER_DOWN : PEER_CONNECTED);
	}
	pair_deinit(&p);
}

static void bytes_and_rates(void **state)
{
	struct endpoint_peer_stats stats;
	struct pair_flow *f;

	(void)state;
	begin(5);
	f = pair_open(&p, A, 250000);
	pair_run(&p, CV_SEC(3));
	assert_true(pair_is_echoed(f));
	(void)why(&stats);
	assert_int_equal(stats.tx_bytes, 250000);
	assert_int_equal(stats.rx_bytes, 250000);
	assert_int_equal(stats.streams, 0);
	assert_int_equal(stats.lost_10s, 0);
	assert_true(stats.sent_10s > 150);
	pair_run(&p, CV_SEC(30));
	(void)why(&stats);
	assert_int_equal((uint64_t)stats.tx_bps, 0);
	assert_int_equal(stats.tx_bytes, 250000);

	/* A stream of 1 MB/s, watched for a while. */
	f = pair_open_for(&p, A, 0, true);
	for (unsigned i = 0; i < 400; i++) {
		f->goal += 10000;
		pair_write_flow(f);
		pair_poke(&p, A);
		pair_run(&p, CV_MS(10));
	}
	(void)why(&stats);
	assert_in_range((uint64_t)stats.tx_bps, 7500000, 8500000);
	assert_in_range((uint64_t)stats.rx_bps, 7500000, 8500000);
	assert_int_equal(stats.streams, 1);
	/* What an object carried stays in the sum when it ends. */
	pair_stop_side(&p, B, true);
	pair_run(&p, CV_MS(100));
	(void)why(&stats);
	assert_int_equal(stats.tx_bytes, 250000 + 4000000);
	pair_deinit(&p);
}

static bool lose_some(struct pair *pair, struct pair_datagram *d)
{
	return d->sender == A && d->size > 1000 && ++pair->arg % 20 == 0;
}

static void losses_of_ten_seconds(void **state)
{
	struct endpoint_peer_stats stats;

	(void)state;
	begin(6);
	p.filter = lose_some;
	(void)pair_open(&p, A, 1000000);
	pair_run(&p, CV_SEC(4));
	(void)why(&stats);
	assert_in_range(stats.lost_10s, p.arg / 20 - 2, p.arg / 20 + 10);
	p.filter = NULL;
	for (unsigned i = 0; i < 30; i++) {
		pair_run(&p, CV_SEC(1));
		pair_poke(&p, A);
	}
	(void)why(&stats);
	assert_int_equal(stats.lost_10s, 0);
	pair_deinit(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_direct_path_needs_no_words),
		cmocka_unit_test(why_there_is_no_session),
		cmocka_unit_test(why_the_path_is_a_relay),
		cmocka_unit_test(where_udp_does_not_pass),
		cmocka_unit_test(policies_that_exclude_each_other),
		cmocka_unit_test(bytes_and_rates),
		cmocka_unit_test(losses_of_ten_seconds),
	};

	return cmocka_run_group_tests_name("vitals", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: each text that a user may read is said in the state that it describes, whole, in order of
 * what matters most; and no state makes it longer than its buffer. Method: a session made of
 * nothing but what is read, put into each state; then random states.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/rng.h"
#include "tunnel/why.h"

#define NOW CV_SEC(1000)

static struct session_core core;
static struct session s;
static char text[ENDPOINT_WHY_MAX];
static enum why_servers servers = WHY_SERVERS_UP;

static void fresh(void)
{
	memset(&core, 0, sizeof(core));
	memset(&s, 0, sizeof(s));
	s.core = &core;
	s.attempt_at = CV_TIME_NEVER;
	s.paths.active = PATHS_NONE;
}

static const char *no_session(void)
{
	memset(text, 0, sizeof(text));
	why_no_session(&s, NOW, servers, text);
	return text;
}

static const char *relayed(void)
{
	memset(text, 0, sizeof(text));
	why_relayed(&s, NOW, text);
	return text;
}

static void no_session_at_all(void **state)
{
	(void)state;
	fresh();
	assert_string_equal(no_session(), "connecting");
	s.attempts_failed = 1;
	assert_string_equal(no_session(), "no answer to the handshake (peer off, network, wrong "
	                                  "key, or a pre-shared key on one side only)");
	/* The last one that is true of those below holds. */
	s.address_refusals = 2;
	assert_non_null(strstr(no_session(), "no answer"));
	s.address_refusals = 3;
	assert_string_equal(no_session(), "nobody listens at the peer's address");
	s.absent_servers = 1;
	assert_string_equal(no_session(),
	                    "the peer is not at the server, or has not configured this agent");
	s.gone_servers = 1;
	assert_string_equal(no_session(), "the server saw the peer end");
	s.down_code = CLOSE_SHUTDOWN;
	assert_string_equal(no_session(), "the peer was stopped");
	s.duplicate_until = NOW + 1;
	assert_string_equal(no_session(), "another agent uses this identity");
	s.initiator.version_seen = true;
	assert_string_equal(no_session(), "the peer speaks another protocol version");
}

/* What servers said before they went counts no more, and the handshake's tries go nowhere. */
static void nobody_to_ask(void **state)
{
	(void)state;
	fresh();
	s.attempts_failed = 1;
	s.absent_servers = s.gone_servers = 1;
	s.down_code = CLOSE_SHUTDOWN;
	s.attempt_at = NOW + CV_SEC(5);
	servers = WHY_SERVERS_DOWN;
	assert_string_equal(no_session(), "no server is connected");
	servers = WHY_SERVERS_NONE;
	assert_string_equal(no_session(),
	                    "there is neither a server nor an address: the peer has to call");
	/* An address is a way without them, unless the configuration says relay. */
	s.has_address = true;
	assert_string_equal(no_session(), "the peer was stopped; next try in 5 s");
	s.paths.is_relay_only = true;
	servers = WHY_SERVERS_DOWN;
	assert_string_equal(no_session(), "no server is connected");
	servers = WHY_SERVERS_UP;
}

static void next_try_is_told(void **state)
{
	static const struct {
		cv_duration d;
		const char *text;
	} rows[] = {
		{ 1, "connecting; next try in 1 s" },
		{ CV_SEC(1), "connecting; next try in 1 s" },
		{ CV_SEC(1) + 1, "connecting; next try in 2 s" },
		{ CV_SEC(60), "connecting; next try in 60 s" },
	};

	(void)state;
	fresh();
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		s.attempt_at = NOW + rows[i].d;
		assert_string_equal(no_session(), rows[i].text);
	}
	s.attempt_at = NOW;
	assert_string_equal(no_session(), "connecting");
	s.attempt_at = NOW + CV_SEC(1);
	s.initiator.is_running = true;
	assert_string_equal(no_session(), "connecting");
}

static void policies(void **state)
{
	(void)state;
	fresh();
	memset(text, 0, sizeof(text));
	why_clash(text);
	assert_string_equal(text, "one side says path: direct, the other path: relay");
	s.assoc.peer_policy = POLICY_RELAY;
	assert_string_equal(relayed(), "the peer's configuration says path: relay");
	s.policy = POLICY_RELAY;
	assert_string_equal(relayed(), "the configuration says path: relay");
}

static struct path *add_path(unsigned slot, enum path_state state)
{
	s.paths.list[slot] = (struct path){
		.state = (uint8_t)state,
		.retry_interval = PATH_RETRY_MIN,
		.retry_at = CV_TIME_NEVER,
	};
	return &s.paths.list[slot];
}

static void plain_probes(void **state)
{
	struct path *p;

	(void)state;
	fresh();
	assert_string_equal(relayed(), "no direct address is known yet");
	add_path(0, PATH_USABLE)->to.is_relay = true;
	assert_string_equal(relayed(), "no direct address is known yet");
	add_path(1, PATH_CHECKING);
	assert_string_equal(relayed(), "direct addresses are being tried");
	add_path(1, PATH_VALID);
	assert_string_equal(relayed(), "direct addresses are being tried");
	p = add_path(1, PATH_FAILED);
	assert_string_equal(relayed(), "no direct address answered");
	p->retry_at = NOW + CV_SEC(3);
	assert_string_equal(relayed(), "no direct address answered; next try in 3 s");
	add_path(2, PATH_FAILED)->retry_at = NOW + CV_SEC(2);
	assert_string_equal(relayed(), "no direct address answered; next try in 2 s");
	p->is_narrow = true;
	assert_string_equal(relayed(), "a direct path passes small packets only; next try in 2 s");
	/* What is being tried again is known to have failed. */
	fresh();
	add_path(1, PATH_CHECKING)->retry_interval = PATH_RETRY_MIN + 1;
	assert_string_equal(relayed(), "no direct address answered");
}

/* Addresses of a family that we have none of: nothing leaves for them, whatever their state. */
static void families_that_are_not_shared(void **state)
{
	static const struct {
		uint8_t ours, theirs;
		const char *why;
	} rows[] = {
		{ ADDR_V4, ADDR_V6, "no address family in common: IPv4 here, IPv6 at the peer" },
		{ ADDR_V6, ADDR_V4, "no address family in common: IPv6 here, IPv4 at the peer" },
		{ ADDR_V4, ADDR_V4, NULL },
		{ ADDR_V6, ADDR_V6, NULL },
	};
	static const enum path_state states[] = { PATH_CHECKING, PATH_VALID, PATH_FAILED };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows) * CV_ARRAY_SIZE(states); i++) {
		const char *why = rows[i / CV_ARRAY_SIZE(states)].why;
		struct path *p;

		fresh();
		core.candidates[0].addr.family = rows[i / CV_ARRAY_SIZE(states)].ours;
		p = add_path(1, states[i % CV_ARRAY_SIZE(states)]);
		p->to.addr.family = rows[i / CV_ARRAY_SIZE(states)].theirs;
		p->retry_at = NOW + CV_SEC(3);
		/* Of ourselves nothing is known yet. */
		assert_null(strstr(relayed(), "family"));
		core.candidate_count = 1;
		if (!why) {
			assert_null(strstr(relayed(), "family"));
			continue;
		}
		assert_string_equal(relayed(), why);
		/* One that we have is being tried beside it, and then it is what counts. */
		p = add_path(2, PATH_CHECKING);
		p->to.addr.family = core.candidates[0].addr.family;
		assert_string_equal(relayed(), "direct addresses are being tried");
		p->retry_interval = PATH_RETRY_MIN + 1;
		assert_string_equal(relayed(), "no direct address answered");
	}
}

/* Whatever else there is to say, streams wait. */
static void a_relay_that_is_not_lent(void **state)
{
	(void)state;
	fresh();
	s.paths.active = 0;
	add_path(0, PATH_USABLE)->to.is_relay = true;
	s.paths.list[0].is_scant = true;
	assert_string_equal(relayed(), "the server lends no relay, so streams wait: "
	                               "no direct address is known yet");
	s.policy = POLICY_DIRECT;
	assert_string_equal(relayed(), "the server lends no relay, so streams wait: "
	                               "no direct address is known yet");
	s.policy = POLICY_RELAY;
	assert_string_equal(relayed(), "the server lends no relay, so streams wait: "
	                               "the configuration says path: relay");
}

static void know_routers(enum nat_ports ours, enum nat_ports theirs)
{
	core.nat_version = 1;
	core.nat = (struct nat_profile){ .mapping = NAT_ADDRESS_AND_PORT_DEPENDENT,
		                         .filtering = NAT_ADDRESS_AND_PORT_DEPENDENT,
		                         .ports = (uint8_t)ours };
	s.punch.has_peer = true;
	s.punch.peer = core.nat;
	s.punch.peer.ports = (uint8_t)theirs;
}

static void routers_are_named(void **state)
{
	(void)state;
	fresh();
	know_routers(NAT_PORTS_RANDOM, NAT_PORTS_REGULAR);
	s.punch_one_in = 84;
	assert_string_equal(
		relayed(),
		"both routers give every destination another port, and not in an order that could "
		"be known: one attempt in 84 would meet (our router: address-and-port-dependent "
		"mapping, random ports; the peer's: "
		"address-and-port-dependent mapping, regular ports)");
	/* One that is easy: its filter is what counts. */
	s.punch.peer.mapping = NAT_ENDPOINT_INDEPENDENT;
	assert_string_equal(relayed(), "no direct address is known yet (our router: "
	                               "address-and-port-dependent mapping, random ports; the "
	                               "peer's: endpoint-independent mapping, port-dependent "
	                               "filtering)");
	s.punches_failed = 1;
	s.punch_at = NOW + CV_SEC(20);
	assert_string_equal(relayed(),
	                    "the ports of the routers were not met (our router: "
	                    "address-and-port-dependent mapping, random ports; the peer's: "
	                    "endpoint-independent mapping, port-dependent filtering); next try in "
	                    "20 s");
	s.punch_doing = "something is tried";
	assert_string_equal(relayed(),
	                    "something is tried (our router: address-and-port-dependent mapping, "
	                    "random ports; the peer's: endpoint-independent mapping, "
	                    "port-dependent filtering)");
	/* Nothing is said of routers before both are known. */
	fresh();
	know_routers(NAT_PORTS_RANDOM, NAT_PORTS_RANDOM);
	s.punch.has_peer = false;
	assert_string_equal(relayed(), "no direct address is known yet");
	/* Ports of which nothing is known are not mentioned. */
	fresh();
	know_routers(NAT_PORTS_UNKNOWN, NAT_PORTS_UNKNOWN);
	assert_null(strstr(relayed(), "ports;"));
}

static void legs_of_tcp(void **state)
{
	static const struct {
		uint8_t kind;
		bool here, there;
		const char *text;
	} rows[] = {
		{ PATH_KIND_RELAY, false, false, "" },
		{ PATH_KIND_TCP, true, false, "UDP to the server does not pass here; " },
		{ PATH_KIND_TCP, false, true, "UDP to the server does not pass at the peer; " },
		{ PATH_KIND_TCP, true, true, "UDP to the server does not pass on either side; " },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct path p = { .kind = rows[i].kind,
			          .is_tcp_here = rows[i].here,
			          .is_tcp_there = rows[i].there };

		memset(text, 0, sizeof(text));
		why_tcp(&p, text);
		assert_string_equal(text, rows[i].text);
	}
}

/* Behind whatever stands there already, in whatever state: cut, not overrun. */
static void never_too_long(void **state)
{
	struct rng_seeded seeded;
	struct rng rng;

	(void)state;
	rng_seeded_init(&seeded, 1);
	rng = rng_from_seeded(&seeded);
	for (unsigned i = 0; i < 20000; i++) {
		char guarded[ENDPOINT_WHY_MAX + 1];

		fresh();
		know_routers((enum nat_ports)(unsigned)rng_below(&rng, NAT_PORTS_KINDS),
		             (enum nat_ports)(unsigned)rng_below(&rng, NAT_PORTS_KINDS));
		core.nat.mapping = (uint8_t)rng_below(&rng, NAT_RULES);
		s.punch.peer.mapping = (uint8_t)rng_below(&rng, NAT_RULES);
		s.punches_failed = (uint8_t)rng_below(&rng, 2);
		s.punch_at = rng_u64(&rng);
		s.attempt_at = rng_u64(&rng);
		if (rng_below(&rng, 2))
			s.punch_doing = "the next ports of both routers are being guessed";
		add_path(3, (enum path_state)(unsigned)rng_below(&rng, PATH_FAILED + 1))->retry_at =
			rng_u64(&rng);
		memset(guarded, 'x', sizeof(guarded));
		guarded[rng_below(&rng, ENDPOINT_WHY_MAX)] = 0;
		if (rng_below(&rng, 2))
			why_relayed(&s, NOW, guarded);
		else
			why_no_session(&s, NOW, (enum why_servers)(i % 3), guarded);
		assert_true(memchr(guarded, 0, ENDPOINT_WHY_MAX) != NULL);
		assert_int_equal(guarded[ENDPOINT_WHY_MAX], 'x');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_session_at_all),
		cmocka_unit_test(next_try_is_told),
		cmocka_unit_test(policies),
		cmocka_unit_test(plain_probes),
		cmocka_unit_test(a_relay_that_is_not_lent),
		cmocka_unit_test(families_that_are_not_shared),
		cmocka_unit_test(routers_are_named),
		cmocka_unit_test(legs_of_tcp),
		cmocka_unit_test(never_too_long),
		cmocka_unit_test(nobody_to_ask),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

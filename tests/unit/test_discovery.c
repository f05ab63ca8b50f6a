/* SPDX-License-Identifier: MIT */

/*
 * Goal: what is found out about a router is what it does, from whatever servers there are; what
 * cannot be known stays unknown; nothing that is lost, late, forged or old makes it otherwise; and
 * a router never has more to carry than the header says. Method: a NAT of the test's own between
 * discovery and servers that answer real STUN, in virtual time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/discovery_world.h"

enum servers { OWN, TWO_OWN, FOREIGN, TWO_FOREIGN, MIXED, CASTS };

static void cast(struct world *w, enum servers who)
{
	switch (who) {
	case TWO_OWN:
		add(w, 1, true, CV_MS(20));
		add(w, 2, true, CV_MS(150));
		return;
	case MIXED:
		add(w, 1, true, CV_MS(20));
		add(w, 2, false, CV_MS(60));
		return;
	case TWO_FOREIGN:
		add(w, 3, false, CV_MS(10));
		add(w, 2, false, CV_MS(60));
		return;
	case FOREIGN:
		add(w, 2, false, CV_MS(60));
		return;
	case OWN:
	case CASTS:
		add(w, 1, true, CV_MS(20));
		return;
	}
}

/* What can be known of a mapping, from whom. */
static enum nat_rule knowable(enum nat_rule mapping, enum servers who)
{
	bool has_two = who == TWO_OWN || who == TWO_FOREIGN || who == MIXED;
	bool has_ports = who != FOREIGN && who != TWO_FOREIGN;

	if (mapping == NAT_NONE)
		return NAT_NONE;
	if (mapping == NAT_ADDRESS_AND_PORT_DEPENDENT) {
		if (has_ports)
			return mapping;
		/* Two addresses with a port each: that they differ is all that is seen. */
		return has_two ? NAT_ADDRESS_DEPENDENT : NAT_UNKNOWN;
	}
	return has_two ? mapping : NAT_UNKNOWN;
}

static void finds_every_kind(void **state)
{
	static const struct router rows[] = {
		{ "none", NAT_NONE, NAT_ENDPOINT_INDEPENDENT, PRESERVING, 0 },
		{ "EIM/EIF", NAT_ENDPOINT_INDEPENDENT, NAT_ENDPOINT_INDEPENDENT, SEQUENTIAL, 0 },
		{ "EIM/ADF", NAT_ENDPOINT_INDEPENDENT, NAT_ADDRESS_DEPENDENT, SEQUENTIAL, 0 },
		{ "EIM/APDF", NAT_ENDPOINT_INDEPENDENT, NAT_ADDRESS_AND_PORT_DEPENDENT, RANDOM, 0 },
		{ "preserving EIM", NAT_ENDPOINT_INDEPENDENT, NAT_ADDRESS_AND_PORT_DEPENDENT,
		  PRESERVING, 0 },
		{ "ADM", NAT_ADDRESS_DEPENDENT, NAT_ADDRESS_AND_PORT_DEPENDENT, SEQUENTIAL,
		  NAT_PORTS_REGULAR },
		{ "APDM", NAT_ADDRESS_AND_PORT_DEPENDENT, NAT_ADDRESS_AND_PORT_DEPENDENT,
		  SEQUENTIAL, NAT_PORTS_REGULAR },
		{ "APDM by two", NAT_ADDRESS_AND_PORT_DEPENDENT, NAT_ADDRESS_AND_PORT_DEPENDENT,
		  BY_TWO, NAT_PORTS_REGULAR },
		{ "APDM downwards", NAT_ADDRESS_AND_PORT_DEPENDENT, NAT_ADDRESS_AND_PORT_DEPENDENT,
		  DOWNWARDS, NAT_PORTS_REGULAR },
		{ "APDM random", NAT_ADDRESS_AND_PORT_DEPENDENT, NAT_ADDRESS_AND_PORT_DEPENDENT,
		  RANDOM, NAT_PORTS_RANDOM },
		{ "APDM in a block", NAT_ADDRESS_AND_PORT_DEPENDENT, NAT_ADDRESS_AND_PORT_DEPENDENT,
		  BLOCK, NAT_PORTS_RANDOM },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		for (enum servers who = OWN; who < CASTS; who++) {
			static struct world w;
			enum nat_rule mapping = knowable(rows[i].mapping, who);
			enum nat_rule filtering = rows[i].filtering;
			bool is_hard = mapping == NAT_ADDRESS_DEPENDENT ||
			               mapping == NAT_ADDRESS_AND_PORT_DEPENDENT;

			/* The other port of the same address tells no more than that. */
			if (filtering == NAT_ADDRESS_DEPENDENT)
				filtering = NAT_ENDPOINT_INDEPENDENT;
			if (who == FOREIGN || who == TWO_FOREIGN)
				filtering = NAT_UNKNOWN;
			init(&w, &rows[i]);
			cast(&w, who);
			tell(&w);
			run(&w, CV_SEC(5));
			expect(&w, mapping, filtering, is_hard ? rows[i].ports : NAT_PORTS_UNKNOWN);
			assert_true(discovery_take_news(&w.d));
			assert_false(discovery_take_news(&w.d));
			if (rows[i].mapping != NAT_NONE)
				assert_true(addr_equal_ip(&w.d.profile.address, &w.outside));
			if (rows[i].allocation == BY_TWO && is_hard)
				assert_int_equal(w.d.profile.step, 2);
			if (rows[i].allocation == DOWNWARDS && is_hard)
				assert_int_equal(w.d.profile.step, -1);
			if (rows[i].allocation == BLOCK && is_hard) {
				assert_int_equal(w.d.profile.port_low, 8192);
				assert_int_equal(w.d.profile.port_high, 8192 + 511);
			}
			/* Each destination asked, eight samples, one of filters, two of its; and
			 * the one that was there before. */
			assert_true(ports_used(&w) <= 4 + 8 + 1 + 1);
		}
	}
}

/* Each packet once: the answer is the same, and comes in time. */
static void one_loss_changes_nothing(void **state)
{
	static struct world w;

	(void)state;
	for (unsigned lost = 1; lost <= 16; lost++) {
		init(&w, &HARD);
		cast(&w, TWO_OWN);
		w.lost = lost;
		tell(&w);
		run(&w, CV_SEC(5));
		expect(&w, NAT_ADDRESS_AND_PORT_DEPENDENT, NAT_ADDRESS_AND_PORT_DEPENDENT,
		       NAT_PORTS_REGULAR);
		init(&w, &CONE);
		cast(&w, TWO_OWN);
		w.lost = lost;
		tell(&w);
		run(&w, CV_SEC(5));
		expect(&w, NAT_ENDPOINT_INDEPENDENT, NAT_ADDRESS_AND_PORT_DEPENDENT,
		       NAT_PORTS_UNKNOWN);
	}
}

static void silence_ends(void **state)
{
	static struct world w;
	unsigned sent;

	(void)state;
	init(&w, &CONE);
	cast(&w, TWO_OWN);
	w.servers[0].is_mute = w.servers[1].is_mute = true;
	tell(&w);
	run(&w, CV_MS(2600));
	/* What their sessions saw is all there is. */
	expect(&w, NAT_ENDPOINT_INDEPENDENT, NAT_UNKNOWN, NAT_PORTS_UNKNOWN);
	assert_true(w.sent <= 4 * 6);
	sent = w.sent;
	run(&w, CV_SEC(3600));
	assert_int_equal(w.sent, sent);

	init(&w, &CONE);
	cast(&w, FOREIGN);
	w.servers[0].is_mute = true;
	tell(&w);
	run(&w, CV_SEC(5));
	expect(&w, NAT_UNKNOWN, NAT_UNKNOWN, NAT_PORTS_UNKNOWN);
	assert_int_equal(w.d.profile.address.family, ADDR_NONE);
}

static void asks_nobody_without_servers(void **state)
{
	static struct world w;
	struct addr v6;

	(void)state;
	init(&w, &CONE);
	tell(&w);
	run(&w, CV_SEC(60));
	assert_int_equal(w.sent, 0);
	assert_false(w.d.has_profile);
	assert_int_equal(discovery_deadline(&w.d), CV_TIME_NEVER);
	assert_int_equal(discovery_sample(&w.d, w.now, &w.rng, SOCKET_EXTRA), DISCOVERY_NOBODY);
	/* Nor one that cannot be asked by IPv4. */
	assert_int_equal(addr_parse("[2001:db8::1]:28583", &v6), 0);
	discovery_set_server(&w.d, w.now, 0, &v6, &v6);
	discovery_set_server(&w.d, w.now, DISCOVERY_SERVERS_MAX, &v6, &v6);
	discovery_set_foreign(&w.d, w.now, &v6, 1);
	run(&w, CV_SEC(60));
	assert_int_equal(w.sent, 0);
}

/* Without sockets the mapping is known, and how ports follow each other is not. */
static void shell_refuses_sockets(void **state)
{
	static struct world w;

	(void)state;
	init(&w, &HARD);
	cast(&w, TWO_OWN);
	w.refuses = true;
	tell(&w);
	run(&w, CV_SEC(6));
	expect(&w, NAT_ADDRESS_AND_PORT_DEPENDENT, NAT_UNKNOWN, NAT_PORTS_UNKNOWN);
	/* Nor when all numbers are taken. */
	init(&w, &HARD);
	cast(&w, TWO_OWN);
	assert_int_equal(extras_take(&w.x, SOCKETS_EXTRA_MAX), SOCKET_EXTRA);
	tell(&w);
	run(&w, CV_SEC(6));
	assert_int_equal(w.d.profile.mapping, NAT_ADDRESS_AND_PORT_DEPENDENT);
	assert_int_equal(w.d.until, CV_TIME_NEVER);
}

static void unchanged_news_start_nothing(void **state)
{
	static struct world w;
	struct addr seen;
	unsigned sent;

	(void)state;
	init(&w, &CONE);
	cast(&w, MIXED);
	tell(&w);
	run(&w, CV_SEC(5));
	sent = w.sent;
	seen = seen_by(&w, 0);
	discovery_set_server(&w.d, w.now, 0, &w.servers[0].addr, &seen);
	discovery_set_foreign(&w.d, w.now, &w.servers[1].addr, 1);
	run(&w, CV_SEC(5));
	assert_int_equal(w.sent, sent);
	/* Down for a moment, and back. */
	discovery_drop_server(&w.d, 0);
	run(&w, CV_SEC(5));
	discovery_set_server(&w.d, w.now, 0, &w.servers[0].addr, &seen);
	run(&w, CV_SEC(5));
	assert_int_equal(w.sent, sent);
	/* A round that did not ask it is one short. */
	discovery_drop_server(&w.d, 0);
	discovery_restart(&w.d, w.now);
	run(&w, CV_SEC(5));
	sent = w.sent;
	discovery_set_server(&w.d, w.now, 0, &w.servers[0].addr, &seen);
	run(&w, CV_SEC(5));
	assert_true(w.sent > sent);
	expect(&w, NAT_ENDPOINT_INDEPENDENT, NAT_ADDRESS_AND_PORT_DEPENDENT, NAT_PORTS_UNKNOWN);
}

/* The new address reaches one server before the other: that is no second mapping. */
static void old_sights_do_not_count(void **state)
{
	static struct world w;
	struct addr seen, old;

	(void)state;
	init(&w, &CONE);
	cast(&w, TWO_OWN);
	tell(&w);
	run(&w, CV_SEC(5));
	old = seen_by(&w, 1);
	/* Another network; the second server is gone, and knows us as we were. */
	w.outside = addr_v4(192, 0, 2, 9, 0);
	w.mapping_count = 0;
	w.servers[1].is_mute = true;
	seen = seen_by(&w, 0);
	discovery_set_server(&w.d, w.now, 0, &w.servers[0].addr, &seen);
	discovery_set_server(&w.d, w.now, 1, &w.servers[1].addr, &old);
	run(&w, CV_SEC(5));
	assert_int_equal(w.d.profile.mapping, NAT_UNKNOWN);
	assert_true(addr_equal_ip(&w.d.profile.address, &w.outside));
	/* Nor those of one that is down, though the address is the same. */
	old = seen;
	old.port++;
	discovery_set_server(&w.d, w.now, 1, &w.servers[1].addr, &old);
	discovery_drop_server(&w.d, 1);
	discovery_restart(&w.d, w.now);
	run(&w, CV_SEC(5));
	assert_int_equal(w.d.profile.mapping, NAT_UNKNOWN);
}

/* Samples go to who answers, though another is named first. */
static void asks_who_answers(void **state)
{
	static struct world w;
	struct addr seen;
	uint8_t question;
	uint16_t socket;

	(void)state;
	init(&w, &HARD);
	cast(&w, TWO_OWN);
	tell(&w);
	w.servers[0].is_mute = true;
	run(&w, CV_SEC(8));
	/* FILTER asked the first, as nothing was known yet. */
	expect(&w, NAT_ADDRESS_AND_PORT_DEPENDENT, NAT_UNKNOWN, NAT_PORTS_REGULAR);
	socket = extras_take(&w.x, 1);
	serve_sockets(&w);
	question = discovery_sample(&w.d, w.now, &w.rng, socket);
	assert_false(discovery_is_sampled(&w.d, question, &seen));
	run(&w, CV_SEC(1));
	assert_true(discovery_is_sampled(&w.d, question, &seen));
	assert_true(addr_equal_ip(&seen, &w.outside));
	discovery_forget(&w.d, question);
	assert_false(discovery_is_sampled(&w.d, question, &seen));
	discovery_forget(&w.d, DISCOVERY_NOBODY);
	/* The next round asks the second for filters. */
	extras_give_back(&w.x, socket, 1);
	serve_sockets(&w);
	discovery_restart(&w.d, w.now);
	run(&w, CV_SEC(8));
	expect(&w, NAT_ADDRESS_AND_PORT_DEPENDENT, NAT_ADDRESS_AND_PORT_DEPENDENT,
	       NAT_PORTS_REGULAR);
}

/* A new network in mid-round: what the old one said is not published. */
static void network_ends_a_round(void **state)
{
	static struct world w;
	struct addr local = addr_v4(10, 0, 0, 2, MAIN_PORT);

	(void)state;
	init(&w, &HARD);
	cast(&w, TWO_OWN);
	tell(&w);
	for (unsigned i = 0; i < 40; i++) {
		run(&w, CV_MS(10));
		discovery_set_local(&w.d, w.now, &local, 1);
		serve_sockets(&w);
		assert_true(is_idle(&w));
	}
	assert_false(w.d.has_profile && w.d.profile.mapping == NAT_UNKNOWN);
	w.nat = CONE;
	w.mapping_count = 0;
	run(&w, CV_SEC(5));
	expect(&w, NAT_ENDPOINT_INDEPENDENT, NAT_ADDRESS_AND_PORT_DEPENDENT, NAT_PORTS_UNKNOWN);
}

/* A restart while a round is under way: one more follows. */
static void restart_waits_for_the_round(void **state)
{
	static struct world w;
	unsigned sent;

	(void)state;
	init(&w, &CONE);
	cast(&w, OWN);
	tell(&w);
	run(&w, CV_MS(60));
	assert_true(w.d.until != CV_TIME_NEVER);
	discovery_restart(&w.d, w.now);
	discovery_restart(&w.d, w.now);
	run(&w, CV_SEC(10));
	assert_true(is_idle(&w));
	sent = w.sent;
	run(&w, CV_SEC(60));
	assert_int_equal(w.sent, sent);
}

/* Who tells another address each time has us ask six times, then once in ten seconds. */
static void liar_is_expensive_to_nobody(void **state)
{
	static struct world w;
	struct addr seen;
	unsigned mappings;

	(void)state;
	init(&w, &HARD);
	cast(&w, OWN);
	tell(&w);
	for (unsigned i = 0; i < 600; i++) {
		seen = addr_v4(198, 51, 100, 7, (uint16_t)(2000 + i));
		discovery_set_server(&w.d, w.now, 0, &w.servers[0].addr, &seen);
		run(&w, CV_MS(100));
	}
	mappings = w.mapping_count;
	assert_true(mappings > 50); /* it was asked */
	assert_true(mappings <= 13 * (9 + 4));
}

static void suspicion_takes_samples(void **state)
{
	static struct world w;
	static const struct router by_address = { "ADM", NAT_ADDRESS_DEPENDENT,
		                                  NAT_ADDRESS_AND_PORT_DEPENDENT, SEQUENTIAL, 0 };
	struct addr local = addr_v4(10, 0, 0, 2, MAIN_PORT);

	(void)state;
	init(&w, &by_address);
	cast(&w, OWN);
	discovery_suspect(&w.d, w.now); /* nothing is known yet */
	assert_int_equal(discovery_deadline(&w.d), CV_TIME_NEVER);
	tell(&w);
	run(&w, CV_SEC(5));
	expect(&w, NAT_UNKNOWN, NAT_ADDRESS_AND_PORT_DEPENDENT, NAT_PORTS_UNKNOWN);
	assert_true(discovery_take_news(&w.d));
	discovery_suspect(&w.d, w.now);
	run(&w, CV_SEC(5));
	expect(&w, NAT_UNKNOWN, NAT_ADDRESS_AND_PORT_DEPENDENT, NAT_PORTS_REGULAR);
	assert_true(w.d.profile.is_suspect && nat_is_hard(&w.d.profile));
	assert_true(discovery_take_news(&w.d));
	discovery_suspect(&w.d, w.now); /* once is enough */
	assert_int_equal(discovery_deadline(&w.d), CV_TIME_NEVER);
	/* Until the network is another one. */
	discovery_set_local(&w.d, w.now, &local, 1);
	run(&w, CV_SEC(5));
	assert_false(w.d.profile.is_suspect);
	/* What is known cannot be suspected. */
	init(&w, &CONE);
	cast(&w, TWO_OWN);
	tell(&w);
	run(&w, CV_SEC(5));
	discovery_suspect(&w.d, w.now);
	assert_int_equal(discovery_deadline(&w.d), CV_TIME_NEVER);
}

/* A filter that is being asked again is what it was until then. */
static void filtering_is_kept_meanwhile(void **state)
{
	static struct world w;

	(void)state;
	init(&w, &CONE);
	cast(&w, TWO_OWN);
	tell(&w);
	run(&w, CV_SEC(5));
	assert_true(discovery_take_news(&w.d));
	discovery_restart(&w.d, w.now);
	run(&w, CV_SEC(5));
	assert_false(discovery_take_news(&w.d));
	assert_int_equal(w.d.profile.filtering, NAT_ADDRESS_AND_PORT_DEPENDENT);
}

/* A sample from a port that was sampled before is not in order: the mapping may be the one of that
 * time. */
static void reused_port_is_no_sample(void **state)
{
	static struct world w;

	(void)state;
	init(&w, &HARD);
	cast(&w, OWN);
	tell(&w);
	run(&w, CV_SEC(5));
	w.again = w.mappings[w.mapping_count - 1];
	w.next_port = (uint16_t)(w.next_port + 100);
	discovery_restart(&w.d, w.now);
	run(&w, CV_SEC(5));
	expect(&w, NAT_ADDRESS_AND_PORT_DEPENDENT, NAT_ADDRESS_AND_PORT_DEPENDENT,
	       NAT_PORTS_REGULAR);
}

static size_t forge(const struct world *w, uint8_t *out, const uint8_t id[STUN_ID_SIZE])
{
	struct stun_told told = { .mapped = addr_v4(192, 0, 2, 66, 666) };
	struct stun_message m;

	assert_true(stun_read(w->last, w->last_size, &m));
	memcpy(m.id + 4, id, STUN_ID_SIZE);
	return stun_write_answer(out, STUN_REQUEST_MAX, &m, &told);
}

/* Only the one that was asked, at the socket that asked, with the number that was drawn. */
static void forgeries_are_refused(void **state)
{
	static struct world w;
	const struct discovery_question *q = NULL;
	uint8_t bytes[STUN_REQUEST_MAX], id[STUN_ID_SIZE];
	struct addr from;
	size_t size;

	(void)state;
	init(&w, &CONE);
	cast(&w, OWN);
	w.servers[0].is_mute = true;
	tell(&w);
	run(&w, CV_MS(60));
	for (unsigned i = 0; i < DISCOVERY_QUESTIONS_MAX && !q; i++) {
		if (w.d.questions[i].tries > 0 && w.d.questions[i].socket == SOCKET_MAIN)
			q = &w.d.questions[i];
	}
	assert_non_null(q);
	CV_ASSERT(q);
	memcpy(id, q->id, sizeof(id));
	for (unsigned i = 0; i < STUN_ID_SIZE; i++) {
		id[i] ^= 1;
		size = forge(&w, bytes, id);
		assert_false(discovery_on_datagram(&w.d, w.now, SOCKET_MAIN, &q->to, bytes, size));
		id[i] ^= 1;
	}
	size = forge(&w, bytes, id);
	assert_false(discovery_on_datagram(&w.d, w.now, SOCKET_EXTRA, &q->to, bytes, size));
	from = q->to;
	from.port = (uint16_t)(from.port + 7);
	assert_false(discovery_on_datagram(&w.d, w.now, SOCKET_MAIN, &from, bytes, size));
	from = q->to;
	from.ip[3]++;
	assert_false(discovery_on_datagram(&w.d, w.now, SOCKET_MAIN, &from, bytes, size));
	for (size_t cut = 0; cut < size; cut++)
		assert_false(discovery_on_datagram(&w.d, w.now, SOCKET_MAIN, &q->to, bytes, cut));
	assert_false(discovery_on_datagram(&w.d, w.now, SOCKET_MAIN, &q->to, w.last, w.last_size));
	/* Nor one that tells an address of IPv6. */
	{
		struct stun_message m;
		struct stun_told told = { .mapped = { .family = ADDR_V6, .port = 7 } };
		uint8_t other[STUN_ANSWER_MAX];

		assert_int_equal(stun_write_request(other, sizeof(other), id, 0, 0), STUN_HEADER);
		assert_true(stun_read(other, STUN_HEADER, &m));
		assert_false(
			discovery_on_datagram(&w.d, w.now, SOCKET_MAIN, &q->to, other,
		                              stun_write_answer(other, sizeof(other), &m, &told)));
	}
	/* The real one counts once. */
	assert_true(discovery_on_datagram(&w.d, w.now, SOCKET_MAIN, &q->to, bytes, size));
	assert_false(discovery_on_datagram(&w.d, w.now, SOCKET_MAIN, &q->to, bytes, size));
}

/* "From another port" came from the same: that is no answer to it. */
static void same_port_is_no_other(void **state)
{
	static struct world w;
	const struct discovery_question *q = NULL;
	uint8_t bytes[STUN_REQUEST_MAX];
	struct addr from;
	size_t size;

	(void)state;
	init(&w, &CONE);
	cast(&w, OWN);
	w.servers[0].is_mute = true;
	tell(&w);
	run(&w, CV_MS(60));
	for (unsigned i = 0; i < DISCOVERY_QUESTIONS_MAX; i++) {
		if (w.d.questions[i].tries > 0 && w.d.questions[i].socket != SOCKET_MAIN)
			q = &w.d.questions[i]; /* the later of the two of that socket */
	}
	assert_non_null(q);
	size = forge(&w, bytes, q->id);
	assert_false(discovery_on_datagram(&w.d, w.now, q->socket, &q->to, bytes, size));
	from = q->to;
	from.port++;
	assert_true(discovery_on_datagram(&w.d, w.now, q->socket, &from, bytes, size));
}

static void questions_run_out(void **state)
{
	static struct world w;
	uint16_t first;

	(void)state;
	init(&w, &CONE);
	cast(&w, OWN);
	tell(&w);
	run(&w, CV_SEC(5));
	first = extras_take(&w.x, DISCOVERY_QUESTIONS_MAX + 1);
	serve_sockets(&w);
	for (uint16_t i = 0; i < DISCOVERY_QUESTIONS_MAX; i++)
		assert_int_not_equal(discovery_sample(&w.d, w.now, &w.rng, (uint16_t)(first + i)),
		                     DISCOVERY_NOBODY);
	assert_int_equal(
		discovery_sample(&w.d, w.now, &w.rng, (uint16_t)(first + DISCOVERY_QUESTIONS_MAX)),
		DISCOVERY_NOBODY);
	/* A round that finds none of them free ends all the same. */
	discovery_restart(&w.d, w.now);
	run(&w, CV_SEC(10));
	assert_int_equal(w.d.until, CV_TIME_NEVER);
}

/* The last port there is has none above it. */
static void last_port(void **state)
{
	static struct world w;

	(void)state;
	init(&w, &PUBLIC);
	add(&w, 1, true, CV_MS(1));
	w.servers[0].addr.port = UINT16_MAX;
	tell(&w);
	run(&w, CV_SEC(5));
	for (unsigned i = 0; i < w.sent; i++)
		assert_int_equal(w.sent_to[i].port, UINT16_MAX);
	assert_int_equal(w.d.profile.mapping, NAT_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_every_kind),
		cmocka_unit_test(one_loss_changes_nothing),
		cmocka_unit_test(silence_ends),
		cmocka_unit_test(asks_nobody_without_servers),
		cmocka_unit_test(shell_refuses_sockets),
		cmocka_unit_test(unchanged_news_start_nothing),
		cmocka_unit_test(old_sights_do_not_count),
		cmocka_unit_test(asks_who_answers),
		cmocka_unit_test(network_ends_a_round),
		cmocka_unit_test(restart_waits_for_the_round),
		cmocka_unit_test(liar_is_expensive_to_nobody),
		cmocka_unit_test(suspicion_takes_samples),
		cmocka_unit_test(filtering_is_kept_meanwhile),
		cmocka_unit_test(reused_port_is_no_sample),
		cmocka_unit_test(forgeries_are_refused),
		cmocka_unit_test(same_port_is_no_other),
		cmocka_unit_test(questions_run_out),
		cmocka_unit_test(last_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

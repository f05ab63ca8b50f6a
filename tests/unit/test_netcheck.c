/* SPDX-License-Identifier: MIT */

/*
 * Goal: of every kind of router netcheck says what it is, or that it cannot tell, whatever is lost;
 * and it asks no server for more than it answers. Method: the server's own answers (binding) behind
 * a small NAT of RFC 4787's kinds, under virtual time; every combination, some with loss.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <string.h>

#include "base/addr.h"
#include "base/alloc.h"
#include "tunnel/binding.h"
#include "tunnel/netcheck.h"

enum { SERVERS = 2, MAPPINGS = 64, FLIGHTS = 256, SENT_TO = 16 };
enum allocation { PRESERVING, SEQUENTIAL, RANDOM };

struct mapping {
	uint16_t inside, outside; /* ports; 0: unused */
	struct addr to;           /* what it depends on */
	struct addr sent[SENT_TO];
	unsigned sent_count;
};

struct flight {
	cv_time at;
	uint8_t bytes[1500];
	size_t size;
	struct addr from, to;
};

struct world {
	struct netcheck n;
	cv_time now;
	struct rng_seeded seeded;
	struct rng rng;
	struct binding servers[SERVERS];
	unsigned addresses; /* of each server */
	bool has_next;      /* a second port */
	enum nat_rule mapping, filtering;
	enum allocation allocation;
	bool hairpin;
	uint32_t mtu; /* UDP payload; 0: any */
	unsigned loss;
	cv_duration delay; /* one way */
	bool is_silent, ignores_change;
	struct mapping mappings[MAPPINGS];
	uint16_t next_port;
	struct flight flights[FLIGHTS];
	unsigned flight_count, limited;
	struct netcheck_result result;
};

static struct addr inside_address(void)
{
	return addr_v4(192, 168, 1, 2, 0);
}

/* Address @i of server @s. */
static struct addr server_address(unsigned s, unsigned i, uint16_t port)
{
	return addr_v4(203, 0, (uint8_t)(113 + s), (uint8_t)(10 + i), port);
}

static void open_servers(struct world *w, enum binding_mode mode)
{
	for (unsigned s = 0; s < SERVERS; s++) {
		struct binding_place places[4] = { { 0 } };
		unsigned count = 0;

		assert_int_equal(binding_init(&w->servers[s], mode, 1 + s), 0);
		for (unsigned port = 0; port <= w->has_next; port++) {
			for (unsigned i = 0; i < w->addresses; i++) {
				places[count].socket = (uint16_t)count;
				places[count].local =
					server_address(s, i, (uint16_t)(28583 + port));
				places[count].real = places[count].local;
				count++;
			}
		}
		binding_set_places(&w->servers[s], places, count);
	}
}

static struct world *world_new(enum nat_rule mapping, enum nat_rule filtering)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->now = CV_SEC(1000);
	rng_seeded_init(&w->seeded, 1);
	w->rng = rng_from_seeded(&w->seeded);
	w->addresses = 1;
	w->has_next = true;
	w->mapping = mapping;
	w->filtering = filtering;
	w->next_port = 5000;
	w->delay = CV_MS(25);
	return w;
}

/* ---- the router ---- */

static bool depends_on(enum nat_rule rule, const struct addr *a, const struct addr *b)
{
	if (rule == NAT_ADDRESS_DEPENDENT)
		return addr_equal_ip(a, b);
	return rule == NAT_ENDPOINT_INDEPENDENT || addr_equal(a, b);
}

static uint16_t allocate(struct world *w, uint16_t inside)
{
	switch (w->allocation) {
	case PRESERVING:
		for (unsigned i = 0; i < MAPPINGS; i++) {
			if (w->mappings[i].outside == inside)
				return w->next_port++; /* taken by another destination */
		}
		return inside;
	case SEQUENTIAL:
		return w->next_port++;
	case RANDOM:
		return (uint16_t)(1024 + rng_below(&w->rng, 64512));
	}
	CV_UNREACHABLE();
}

static struct mapping *map(struct world *w, uint16_t inside, const struct addr *to)
{
	struct mapping *m = NULL;

	for (unsigned i = 0; i < MAPPINGS && !m; i++) {
		m = &w->mappings[i];
		if (m->inside == 0)
			break;
		if (m->inside != inside || !depends_on(w->mapping, &m->to, to))
			m = NULL;
	}
	assert_non_null(m);
	if (m->inside == 0)
		*m = (struct mapping){ .inside = inside,
			               .outside = allocate(w, inside),
			               .to = *to };
	assert_true(m->sent_count < SENT_TO);
	m->sent[m->sent_count++ % SENT_TO] = *to;
	if (m->sent_count == SENT_TO)
		m->sent_count = 0; /* enough for the few destinations here */
	return m;
}

static bool passes_filter(const struct world *w, const struct mapping *m, const struct addr *from)
{
	for (unsigned i = 0; i < SENT_TO; i++) {
		if (m->sent[i].family != ADDR_NONE && depends_on(w->filtering, &m->sent[i], from))
			return true;
	}
	return w->filtering == NAT_ENDPOINT_INDEPENDENT;
}

static struct addr outside_address(uint16_t port)
{
	return addr_v4(198, 51, 100, 7, port);
}

/* ---- the network ---- */

static void fly(struct world *w, const struct addr *from, const struct addr *to,
                const uint8_t *bytes, size_t size)
{
	struct flight *f = &w->flights[w->flight_count];

	if (rng_below(&w->rng, 100) < w->loss || (w->mtu && size > w->mtu) || w->is_silent)
		return;
	assert_true(w->flight_count < FLIGHTS && size <= sizeof(f->bytes));
	w->flight_count++;
	*f = (struct flight){ .at = w->now + w->delay, .size = size, .from = *from, .to = *to };
	memcpy(f->bytes, bytes, size);
}

static uint16_t socket_of(const struct world *w, uint16_t port)
{
	for (uint16_t i = 0; i < NETCHECK_SOCKETS; i++) {
		if (w->n.ports[i] == port)
			return i;
	}
	return NETCHECK_SOCKETS;
}

static void to_us(struct world *w, uint16_t port, const struct flight *f)
{
	uint16_t socket = socket_of(w, port);

	if (socket < NETCHECK_SOCKETS)
		netcheck_on_datagram(&w->n, w->now, socket, &f->from, f->bytes, f->size);
	assert_true(netcheck_check(&w->n));
}

static void to_server(struct world *w, const struct flight *f)
{
	for (unsigned s = 0; s < SERVERS; s++) {
		for (unsigned i = 0; i < w->servers[s].count; i++) {
			struct binding_answer answer = { .socket = (uint16_t)i, .to = f->from };
			enum binding_verdict verdict;

			if (!addr_equal(&w->servers[s].places[i].local, &f->to))
				continue;
			verdict = binding_on_datagram(&w->servers[s], w->now, f->bytes, f->size,
			                              &answer);
			w->limited += verdict == BINDING_LIMITED;
			if (w->ignores_change)
				answer.socket = (uint16_t)i;
			if (verdict == BINDING_ANSWERED)
				fly(w, &w->servers[s].places[answer.socket].local, &answer.to,
				    answer.bytes, answer.size);
		}
	}
}

static void deliver(struct world *w, const struct flight *f)
{
	struct addr us = outside_address(0);

	if (w->mapping == NAT_NONE) {
		us = inside_address();
		if (addr_equal_ip(&us, &f->to)) {
			to_us(w, f->to.port, f);
			return;
		}
	}
	if (!addr_equal_ip(&us, &f->to)) {
		to_server(w, f);
		return;
	}
	if (addr_equal_ip(&us, &f->from) && !w->hairpin)
		return;
	for (unsigned i = 0; i < MAPPINGS; i++) {
		struct mapping *m = &w->mappings[i];

		if (m->inside != 0 && m->outside == f->to.port && passes_filter(w, m, &f->from)) {
			to_us(w, m->inside, f);
			return;
		}
	}
}

static void send_all(struct world *w)
{
	uint8_t bytes[TRAIN_BYTES_MAX > 2048 ? 2048 : TRAIN_BYTES_MAX];
	struct train t = { .bytes = bytes };

	while (netcheck_write(&w->n, w->now, &t)) {
		struct addr from = inside_address();

		from.port = w->n.ports[t.socket];
		if (w->mapping != NAT_NONE)
			from = outside_address(map(w, from.port, &t.to)->outside);
		fly(w, &from, &t.to, t.bytes, t.size);
	}
}

static void run(struct world *w)
{
	cv_time end = w->now + CV_SEC(40);
	struct addr local = inside_address();

	netcheck_set_local(&w->n, &local, 1);
	for (unsigned i = 0; i < NETCHECK_SOCKETS; i++) {
		if (i != NETCHECK_MAIN6)
			netcheck_set_socket(&w->n, i, (uint16_t)(40000 + i));
	}
	netcheck_start(&w->n, w->now);
	while (!netcheck_is_done(&w->n)) {
		cv_time at;

		send_all(w);
		at = netcheck_deadline(&w->n);
		for (unsigned i = 0; i < w->flight_count; i++)
			at = cv_time_min(at, w->flights[i].at);
		w->now = CV_MAX(at, w->now);
		assert_true(w->now < end);
		for (unsigned i = 0; i < w->flight_count; i++) {
			struct flight f = w->flights[i];

			if (f.at > w->now)
				continue;
			w->flights[i--] = w->flights[--w->flight_count];
			deliver(w, &f);
		}
		netcheck_on_deadline(&w->n, w->now);
	}
	assert_int_equal(w->limited, 0);
	netcheck_read(&w->n, &w->result);
}

static void add_servers(struct world *w, unsigned count, bool are_own)
{
	netcheck_init(&w->n, &w->rng);
	open_servers(w, BINDING_ANY);
	for (unsigned s = 0; s < count; s++) {
		struct addr a = server_address(s, 0, 28583);

		assert_true(netcheck_add(&w->n, &a, are_own));
		assert_false(netcheck_add(&w->n, &a, are_own));
	}
}

static void world_free(struct world *w)
{
	for (unsigned s = 0; s < SERVERS; s++)
		binding_deinit(&w->servers[s]);
	free(w);
}

/* ---- tests ---- */

static const enum nat_rule rules[] = { NAT_ENDPOINT_INDEPENDENT, NAT_ADDRESS_DEPENDENT,
	                               NAT_ADDRESS_AND_PORT_DEPENDENT };

static void check_kind(enum nat_rule mapping, enum nat_rule filtering, enum allocation allocation,
                       unsigned loss)
{
	static const enum nat_ports ports[] = { [PRESERVING] = NAT_PORTS_PRESERVED,
		                                [SEQUENTIAL] = NAT_PORTS_REGULAR,
		                                [RANDOM] = NAT_PORTS_RANDOM };
	struct world *w = world_new(mapping, filtering);

	w->allocation = allocation;
	w->hairpin = mapping == NAT_ENDPOINT_INDEPENDENT && filtering != NAT_ADDRESS_DEPENDENT;
	w->loss = loss;
	w->addresses = 2;
	add_servers(w, 2, true);
	run(w);
	assert_true(w->result.is_answered);
	assert_int_equal(w->result.mapping, mapping);
	assert_int_equal(w->result.filtering, filtering);
	assert_int_equal(w->result.filters_ports,
	                 filtering == NAT_ADDRESS_AND_PORT_DEPENDENT ? NETCHECK_YES : NETCHECK_NO);
	if (mapping == NAT_ENDPOINT_INDEPENDENT)
		assert_int_equal(w->result.hairpin, w->hairpin ? NETCHECK_YES : NETCHECK_NO);
	else
		assert_int_equal(w->result.hairpin, NETCHECK_UNKNOWN);
	assert_int_equal(w->result.ports.ports, ports[allocation]);
	assert_true(w->result.public4.family == ADDR_V4);
	assert_int_equal(w->result.public6.family, ADDR_NONE);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(w->n.places[i].mtu, 1472);
		assert_int_equal(w->n.places[i].rtt, CV_MS(50));
	}
	world_free(w);
}

static void test_every_kind(void **state)
{
	(void)state;
	for (unsigned m = 0; m < 3; m++) {
		for (unsigned f = 0; f < 3; f++) {
			for (unsigned a = 0; a < 3; a++)
				check_kind(rules[m], rules[f], (enum allocation)a, 0);
		}
	}
}

/* Two servers of one address each: whether addresses count in a filter cannot be seen. */
static void test_one_address_each(void **state)
{
	(void)state;
	for (unsigned m = 0; m < 3; m++) {
		for (unsigned f = 0; f < 3; f++) {
			struct world *w = world_new(rules[m], rules[f]);
			bool is_port = rules[f] == NAT_ADDRESS_AND_PORT_DEPENDENT;

			add_servers(w, 2, true);
			run(w);
			assert_int_equal(w->result.mapping, rules[m]);
			assert_int_equal(w->result.filtering, is_port ? rules[f] : NAT_UNKNOWN);
			assert_int_equal(w->result.filters_ports,
			                 is_port ? NETCHECK_YES : NETCHECK_NO);
			world_free(w);
		}
	}
}

/* One server with one address: of mappings only the worst kind shows. */
static void test_one_server(void **state)
{
	(void)state;
	for (unsigned m = 0; m < 3; m++) {
		struct world *w = world_new(rules[m], NAT_ADDRESS_AND_PORT_DEPENDENT);
		bool is_port = rules[m] == NAT_ADDRESS_AND_PORT_DEPENDENT;

		add_servers(w, 1, true);
		run(w);
		assert_int_equal(w->result.mapping, is_port ? rules[m] : NAT_UNKNOWN);
		world_free(w);
	}
}

/* Who does not know that his address is the same for all cannot say that the router fails to turn
 * round what is sent there: it may be another one for whom it is sent by. */
static void test_hairpin_in_doubt(void **state)
{
	(void)state;
	for (unsigned m = 0; m < 3; m++) {
		for (unsigned own = 0; own < 2; own++) {
			struct world *w = world_new(rules[m], NAT_ADDRESS_AND_PORT_DEPENDENT);

			w->hairpin = true;
			add_servers(w, 1, own);
			run(w);
			assert_int_equal(w->result.hairpin, rules[m] == NAT_ENDPOINT_INDEPENDENT
			                                            ? NETCHECK_YES
			                                            : NETCHECK_UNKNOWN);
			world_free(w);
		}
	}
}

/* A satellite: answers come after their questions were repeated. */
static void test_far_away(void **state)
{
	static const unsigned delays[] = { 110, 350, 700 };

	(void)state;
	for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
		struct world *w = world_new(NAT_ENDPOINT_INDEPENDENT, NAT_ADDRESS_DEPENDENT);

		w->delay = CV_MS(delays[i]);
		w->addresses = 2;
		add_servers(w, 2, true);
		run(w);
		for (unsigned s = 0; s < 2; s++) {
			assert_int_equal(w->n.places[s].rtt, 2 * w->delay);
			assert_int_equal(w->n.places[s].mtu, 1472);
		}
		assert_int_equal(w->result.mapping, NAT_ENDPOINT_INDEPENDENT);
		assert_int_equal(w->result.filtering, NAT_ADDRESS_DEPENDENT);
		assert_int_equal(w->result.hairpin, NETCHECK_NO);
		world_free(w);
	}
}

/* Foreign ones: asked on one port, and on another address where they name one. */
static void test_foreign_servers(void **state)
{
	(void)state;
	for (unsigned addresses = 1; addresses <= 2; addresses++) {
		for (unsigned f = 0; f < 3; f++) {
			struct world *w = world_new(NAT_ENDPOINT_INDEPENDENT, rules[f]);

			w->addresses = addresses;
			add_servers(w, 2, false);
			run(w);
			assert_int_equal(w->result.mapping, NAT_ENDPOINT_INDEPENDENT);
			assert_int_equal(w->result.filtering,
			                 addresses == 2 ? rules[f] : NAT_UNKNOWN);
			assert_int_equal(w->n.places[0].mtu, 0);
			world_free(w);
		}
	}
}

/* One with two addresses tells all kinds of mapping apart; two with one address each cannot tell
 * whether the port counts too. */
static void test_foreign_mappings(void **state)
{
	(void)state;
	for (unsigned m = 0; m < 3; m++) {
		struct world *w = world_new(rules[m], NAT_ADDRESS_AND_PORT_DEPENDENT);

		w->addresses = 2;
		add_servers(w, 1, false);
		run(w);
		assert_int_equal(w->result.mapping, rules[m]);
		assert_true(w->result.has_compared_ports);
		world_free(w);

		w = world_new(rules[m], NAT_ADDRESS_AND_PORT_DEPENDENT);
		add_servers(w, 2, false);
		run(w);
		assert_int_equal(w->result.mapping,
		                 m == 0 ? NAT_ENDPOINT_INDEPENDENT : NAT_ADDRESS_DEPENDENT);
		assert_false(w->result.has_compared_ports);
		world_free(w);
	}
}

/* A server without its second port can answer from nowhere else: silence is no filter. */
static void test_no_second_port(void **state)
{
	struct world *w = world_new(NAT_ENDPOINT_INDEPENDENT, NAT_ENDPOINT_INDEPENDENT);

	(void)state;
	w->has_next = false;
	add_servers(w, 1, true);
	run(w);
	assert_int_equal(w->result.mapping, NAT_UNKNOWN);
	assert_int_equal(w->result.filtering, NAT_UNKNOWN);
	assert_int_equal(w->result.filters_ports, NETCHECK_UNKNOWN);
	world_free(w);
}

/* A server that passes over CHANGE-REQUEST has not been filtered. */
static void test_ignored_change(void **state)
{
	struct world *w = world_new(NAT_ENDPOINT_INDEPENDENT, NAT_ENDPOINT_INDEPENDENT);

	(void)state;
	w->addresses = 2;
	w->ignores_change = true;
	add_servers(w, 1, false);
	run(w);
	assert_int_equal(w->result.mapping, NAT_ENDPOINT_INDEPENDENT);
	assert_int_equal(w->result.filtering, NAT_UNKNOWN);
	assert_int_equal(w->result.filters_ports, NETCHECK_UNKNOWN);
	world_free(w);
}

static void test_no_nat(void **state)
{
	struct world *w = world_new(NAT_NONE, NAT_ENDPOINT_INDEPENDENT);
	struct addr local = inside_address();

	(void)state;
	w->addresses = 2;
	add_servers(w, 1, true);
	run(w);
	assert_int_equal(w->result.mapping, NAT_NONE);
	assert_int_equal(w->result.filtering, NAT_ENDPOINT_INDEPENDENT);
	assert_int_equal(w->result.hairpin, NETCHECK_UNKNOWN);
	assert_int_equal(w->result.ports.ports, NAT_PORTS_PRESERVED);
	assert_true(addr_equal_ip(&w->result.public4, &local));
	world_free(w);
}

static void test_sizes(void **state)
{
	static const uint32_t limits[] = { 1472, 1464, 1440, 1392, 1372, 1203, 1200, 1000, 576 };

	(void)state;
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		struct world *w = world_new(NAT_ENDPOINT_INDEPENDENT, NAT_ENDPOINT_INDEPENDENT);

		w->mtu = limits[i];
		add_servers(w, 1, true);
		run(w);
		assert_int_equal(w->n.places[0].mtu, limits[i] & ~3u);
		world_free(w);
	}
}

/* What the kernel refuses is not waited for. */
static void test_too_large(void **state)
{
	struct world *w = world_new(NAT_NONE, NAT_ENDPOINT_INDEPENDENT);
	uint8_t bytes[2048];
	struct train t = { .bytes = bytes };
	struct addr local = inside_address();

	(void)state;
	add_servers(w, 1, true);
	netcheck_set_local(&w->n, &local, 1);
	netcheck_set_socket(&w->n, NETCHECK_MAIN, 40000);
	netcheck_start(&w->n, w->now);
	while (!netcheck_is_done(&w->n)) {
		while (netcheck_write(&w->n, w->now, &t)) {
			struct addr from = local;

			from.port = 40000;
			if (t.size > 1300)
				netcheck_on_too_large(&w->n);
			else
				fly(w, &from, &t.to, t.bytes, t.size);
		}
		w->now += CV_MS(10);
		for (unsigned i = 0; i < w->flight_count; i++) {
			struct flight f = w->flights[i];

			if (f.at > w->now)
				continue;
			w->flights[i--] = w->flights[--w->flight_count];
			deliver(w, &f);
		}
		netcheck_on_deadline(&w->n, w->now);
	}
	assert_int_equal(w->n.places[0].mtu, 1300);
	world_free(w);
}

static void test_silence(void **state)
{
	struct world *w = world_new(NAT_ENDPOINT_INDEPENDENT, NAT_ENDPOINT_INDEPENDENT);
	cv_time begin = w->now;

	(void)state;
	w->is_silent = true;
	add_servers(w, 2, true);
	run(w);
	assert_false(w->result.is_answered);
	assert_int_equal(w->result.mapping, NAT_UNKNOWN);
	assert_int_equal(w->result.filtering, NAT_UNKNOWN);
	assert_true(w->now - begin < CV_SEC(3));
	world_free(w);

	w = world_new(NAT_NONE, NAT_ENDPOINT_INDEPENDENT);
	add_servers(w, 0, true);
	netcheck_start(&w->n, w->now);
	assert_true(netcheck_is_done(&w->n));
	assert_int_equal(netcheck_deadline(&w->n), CV_TIME_NEVER);
	world_free(w);
}

/* Lost packets may hide something, and never make it something else. */
static void test_loss(void **state)
{
	unsigned right = 0, all = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 60; seed++) {
		enum nat_rule m = rules[seed % 3], f = rules[seed / 3 % 3];
		struct world *w = world_new(m, f);

		rng_seeded_init(&w->seeded, seed);
		w->loss = 10;
		w->addresses = 2;
		add_servers(w, 2, true);
		run(w);
		assert_true(w->result.mapping == m || w->result.mapping == NAT_UNKNOWN);
		right += w->result.mapping == m && w->result.filtering == f;
		all++;
		world_free(w);
	}
	assert_true(right * 100 >= all * 95); /* 0.19^3 and 0.19^4 are rare */
}

/* Whatever comes in, from whom it was not asked. */
static void test_strangers(void **state)
{
	struct world *w = world_new(NAT_ENDPOINT_INDEPENDENT, NAT_ENDPOINT_INDEPENDENT);
	struct addr stranger = addr_v4(6, 6, 6, 6, 6), seen = addr_v4(9, 9, 9, 9, 9);
	struct stun_message request = { .type = STUN_REQUEST };
	struct stun_told told = { .mapped = seen };
	uint8_t bytes[STUN_ANSWER_MAX];
	size_t size;

	(void)state;
	add_servers(w, 1, true);
	netcheck_set_socket(&w->n, NETCHECK_MAIN, 40000);
	netcheck_start(&w->n, w->now);
	cv_store32(request.id, 0x2112a442);
	memcpy(request.id + 4, w->n.questions[0].id, 12);
	size = stun_write_answer(bytes, sizeof(bytes), &request, &told);
	/* Before it was asked, from elsewhere, to another socket. */
	netcheck_on_datagram(&w->n, w->now, 0, &w->n.questions[0].to, bytes, size);
	assert_false(w->n.places[0].is_answered);
	w->n.questions[0].tries = 1;
	netcheck_on_datagram(&w->n, w->now, 0, &stranger, bytes, size);
	netcheck_on_datagram(&w->n, w->now, 3, &w->n.questions[0].to, bytes, size);
	assert_false(w->n.places[0].is_answered);
	netcheck_on_datagram(&w->n, w->now, 0, &w->n.questions[0].to, bytes, size);
	assert_true(w->n.places[0].is_answered);
	world_free(w);
}

/* One server that tells this to every question: how many of ours went anywhere else. */
static unsigned sent_elsewhere(const struct addr *server, const struct stun_told *told)
{
	struct world *w = world_new(NAT_ENDPOINT_INDEPENDENT, NAT_ENDPOINT_INDEPENDENT);
	struct addr local = inside_address();
	uint8_t bytes[2048];
	struct train t = { .bytes = bytes };
	unsigned count = 0;

	add_servers(w, 0, false);
	assert_true(netcheck_add(&w->n, server, false));
	netcheck_set_local(&w->n, &local, 1);
	for (unsigned i = 0; i < NETCHECK_SOCKETS; i++)
		netcheck_set_socket(&w->n, i, (uint16_t)(40000 + i));
	netcheck_start(&w->n, w->now);
	while (!netcheck_is_done(&w->n)) {
		while (netcheck_write(&w->n, w->now, &t)) {
			struct stun_message m;
			uint8_t answer[STUN_ANSWER_MAX];

			if (!addr_equal(&t.to, server)) {
				count++;
				continue;
			}
			assert_true(stun_read(t.bytes, t.size, &m));
			netcheck_on_datagram(&w->n, w->now, t.socket, server, answer,
			                     stun_write_answer(answer, sizeof(answer), &m, told));
		}
		w->now = CV_MAX(w->now, CV_MIN(netcheck_deadline(&w->n), w->now + CV_SEC(1)));
		netcheck_on_deadline(&w->n, w->now);
	}
	world_free(w);
	return count;
}

/* T40: what a server tells is no reason to send to whom a peer could not have us probe. */
static void test_pointed_at_victims(void **state)
{
	static const struct {
		uint8_t ip[4];
		uint16_t port;
		bool is_allowed;
	} rows[] = {
		{ { 203, 0, 114, 9 }, 4000, true },  { { 192, 168, 1, 9 }, 4000, true },
		{ { 127, 0, 0, 1 }, 4000, false },   { { 169, 254, 169, 254 }, 4000, false },
		{ { 224, 0, 0, 1 }, 4000, false },   { { 255, 255, 255, 255 }, 4000, false },
		{ { 10, 0, 0, 9 }, 4000, false },    { { 172, 16, 0, 9 }, 4000, false },
		{ { 203, 0, 114, 9 }, 1900, false },
	};
	struct addr server = server_address(0, 0, 3478), at_dns = server_address(0, 0, 53);
	struct addr us = outside_address(40000);
	struct stun_told told = { .mapped = us };
	unsigned usual = sent_elsewhere(&server, &told); /* to ourselves, round the router */

	(void)state;
	assert_true(usual > 0);
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		const uint8_t *ip = rows[i].ip;
		struct addr a = addr_v4(ip[0], ip[1], ip[2], ip[3], rows[i].port);

		told = (struct stun_told){ .mapped = a };
		assert_int_equal(sent_elsewhere(&server, &told), rows[i].is_allowed ? usual : 0);
		/* On the port that it tells, and on the one that was asked. */
		told = (struct stun_told){ .mapped = us, .other = a };
		assert_int_equal(sent_elsewhere(&server, &told),
		                 usual + (rows[i].is_allowed ? 2 * NETCHECK_TRIES_MAX : 0));
	}
	told.other = addr_v4(203, 0, 114, 9, 4000);
	assert_int_equal(sent_elsewhere(&at_dns, &told), usual + NETCHECK_TRIES_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_kind),
		cmocka_unit_test(test_one_address_each),
		cmocka_unit_test(test_one_server),
		cmocka_unit_test(test_foreign_servers),
		cmocka_unit_test(test_no_second_port),
		cmocka_unit_test(test_ignored_change),
		cmocka_unit_test(test_no_nat),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_too_large),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_loss),
		cmocka_unit_test(test_strangers),
		cmocka_unit_test(test_foreign_mappings),
		cmocka_unit_test(test_far_away),
		cmocka_unit_test(test_hairpin_in_doubt),
		cmocka_unit_test(test_pointed_at_victims),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

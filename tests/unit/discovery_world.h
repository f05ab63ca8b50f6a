/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * discovery_world - a NAT between discovery and servers that answer real STUN, in virtual time. The
 * router maps, filters and draws ports by a table's row; each server may be far, mute, or foreign.
 */

#include <string.h>

#include "tunnel/discovery.h"
#include "tunnel/stun.h"

enum {
	MAIN_PORT = 5000,
	SERVER_PORT = 28583,
	MAPPINGS_MAX = 2048,
	ANSWERS_MAX = 64,
	SENT_MAX = 4096,
	STEPS_MAX = 100000,
};

enum allocation { SEQUENTIAL, BY_TWO, DOWNWARDS, RANDOM, BLOCK, PRESERVING };

struct router {
	const char *what;
	enum nat_rule mapping, filtering;
	enum allocation allocation;
	enum nat_ports ports; /* what is to be found */
};

static const struct router PUBLIC = { "none", NAT_NONE, NAT_ENDPOINT_INDEPENDENT, PRESERVING, 0 };
static const struct router CONE = { "cone", NAT_ENDPOINT_INDEPENDENT,
	                            NAT_ADDRESS_AND_PORT_DEPENDENT, SEQUENTIAL, 0 };
static const struct router HARD = { "hard", NAT_ADDRESS_AND_PORT_DEPENDENT,
	                            NAT_ADDRESS_AND_PORT_DEPENDENT, SEQUENTIAL, NAT_PORTS_REGULAR };

struct server {
	struct addr addr;
	bool is_own;  /* has the next port up, too, and sends from there when asked to */
	bool is_mute; /* answers nothing */
	cv_duration delay;
};

struct mapping {
	uint16_t socket, port;
	struct addr to;
};

struct answer {
	cv_time at;
	uint16_t socket;
	struct addr from;
	uint8_t bytes[STUN_REQUEST_MAX];
	size_t size;
};

struct world {
	struct extras x;
	struct discovery d;
	struct rng_seeded seeded;
	struct rng rng;
	cv_time now;
	struct router nat;
	struct addr outside; /* the router's own */
	uint16_t next_port;
	struct mapping mappings[MAPPINGS_MAX];
	unsigned mapping_count;
	struct server servers[8];
	unsigned server_count;
	struct answer answers[ANSWERS_MAX];
	unsigned answer_count;
	unsigned sent, lost; /* the packet with this number, from 1, is lost; 0: none */
	unsigned refuses;    /* the shell opens no sockets */
	unsigned open;
	struct addr sent_to[SENT_MAX];
	uint16_t sampled;     /* local port of the newest sample */
	struct mapping again; /* the second of the next samples gets that, and has this mapping
	                       * already; .port 0: none */
	uint8_t last[STUN_REQUEST_MAX]; /* request */
	size_t last_size;
};

/* ---- the router ---- */

static inline struct addr local_of(const struct world *w, uint16_t socket)
{
	uint16_t port = MAIN_PORT;

	if (socket != SOCKET_MAIN)
		port = extras_port(&w->x, socket);
	return addr_v4(10, 0, 0, 2, port);
}

static inline uint16_t draw_port(struct world *w, uint16_t socket)
{
	switch (w->nat.allocation) {
	case SEQUENTIAL:
		return w->next_port++;
	case BY_TWO:
		w->next_port = (uint16_t)(w->next_port + 2);
		return w->next_port;
	case DOWNWARDS:
		return w->next_port--;
	case RANDOM:
		return (uint16_t)(1024 + rng_below(&w->rng, 64512));
	case BLOCK:
		return (uint16_t)(8192 + rng_below(&w->rng, 512));
	case PRESERVING:
		return local_of(w, socket).port;
	}
	return 0;
}

static inline bool is_same(enum nat_rule rule, const struct addr *a, const struct addr *b)
{
	if (rule == NAT_ADDRESS_AND_PORT_DEPENDENT)
		return addr_equal(a, b);
	return rule != NAT_ADDRESS_DEPENDENT || addr_equal_ip(a, b);
}

static inline uint16_t map(struct world *w, uint16_t socket, const struct addr *to)
{
	struct mapping *m = NULL;

	for (unsigned i = 0; i < w->mapping_count; i++) {
		struct mapping *at = &w->mappings[i];

		if (at->socket != socket || !is_same(w->nat.mapping, &at->to, to))
			continue;
		if (addr_equal(&at->to, to))
			return at->port;
		m = at;
	}
	assert_true(w->mapping_count < MAPPINGS_MAX);
	w->mappings[w->mapping_count] = (struct mapping){
		.socket = socket,
		.port = m ? m->port : draw_port(w, socket),
		.to = *to,
	};
	return w->mappings[w->mapping_count++].port;
}

static inline bool passes(const struct world *w, uint16_t socket, const struct addr *from)
{
	if (w->nat.mapping == NAT_NONE)
		return true;
	for (unsigned i = 0; i < w->mapping_count; i++) {
		if (w->mappings[i].socket == socket &&
		    is_same(w->nat.filtering, &w->mappings[i].to, from))
			return true;
	}
	return false;
}

/* Ports that the router uses, but for those which differ only in what they let in. */
static inline unsigned ports_used(const struct world *w)
{
	unsigned count = 0;

	for (unsigned i = 0; i < w->mapping_count; i++) {
		bool is_new = true;

		for (unsigned k = 0; k < i; k++)
			is_new &= w->mappings[k].port != w->mappings[i].port;
		count += is_new;
	}
	return count;
}

/* ---- servers ---- */

static inline void answer(struct world *w, const struct server *s, uint16_t socket,
                          const struct addr *to, const struct stun_message *m)
{
	struct answer *a = &w->answers[w->answer_count];
	struct stun_told told = { .mapped = w->outside };

	told.mapped.port = map(w, socket, to);
	if (w->nat.mapping == NAT_NONE)
		told.mapped = local_of(w, socket);
	a->from = *to;
	if (m->change == STUN_CHANGE_PORT && s->is_own)
		a->from.port = (uint16_t)(to->port == s->addr.port ? to->port + 1 : s->addr.port);
	else if (m->change)
		return;
	if (!passes(w, socket, &a->from))
		return;
	assert_true(w->answer_count < ANSWERS_MAX);
	a->at = cv_time_after(w->now, s->delay);
	a->socket = socket;
	a->size = stun_write_answer(a->bytes, sizeof(a->bytes), m, &told);
	w->answer_count++;
}

static inline void on_request(struct world *w, const struct train *t)
{
	struct stun_message m;

	assert_true(w->sent < SENT_MAX);
	w->sent_to[w->sent++] = t->to;
	assert_int_equal(t->count, 1);
	memcpy(w->last, t->bytes, t->size);
	w->last_size = t->size;
	(void)map(w, t->socket, &t->to);
	if (w->sent == w->lost)
		return;
	assert_true(stun_read(t->bytes, t->size, &m));
	for (unsigned i = 0; i < w->server_count; i++) {
		struct server *s = &w->servers[i];
		unsigned above = (unsigned)(t->to.port - s->addr.port);

		if (addr_equal_ip(&s->addr, &t->to) && above <= s->is_own && !s->is_mute) {
			/* An answer as large as the request, or it would not be given. */
			assert_int_equal(t->size, s->is_own ? STUN_PADDED_SIZE
			                                    : STUN_HEADER + (m.change ? 8 : 0));
			answer(w, s, t->socket, &t->to, &m);
		}
	}
}

/* ---- time ---- */

static inline void init(struct world *w, const struct router *nat)
{
	memset(w, 0, sizeof(*w));
	rng_seeded_init(&w->seeded, 1);
	w->rng = rng_from_seeded(&w->seeded);
	w->now = CV_SEC(100);
	w->nat = *nat;
	w->outside = addr_v4(198, 51, 100, 7, 0);
	w->next_port = 30000;
	discovery_init(&w->d, &w->x);
	/* All numbers are not of the same socket. */
	(void)map(w, SOCKET_MAIN, &(struct addr){ .family = ADDR_V4, .port = 1 });
}

static inline void add(struct world *w, uint8_t ip, bool is_own, cv_duration delay)
{
	w->servers[w->server_count++] = (struct server){
		.addr = addr_v4(203, 0, 113, ip, SERVER_PORT),
		.is_own = is_own,
		.delay = delay,
	};
}

/* What its session saw of us. */
static inline struct addr seen_by(struct world *w, unsigned i)
{
	struct addr seen = w->outside;

	if (w->nat.mapping == NAT_NONE)
		return local_of(w, SOCKET_MAIN);
	seen.port = map(w, SOCKET_MAIN, &w->servers[i].addr);
	return seen;
}

/* All that there are are told: own ones are up, foreign ones configured. */
static inline void tell(struct world *w)
{
	struct addr foreign[8], seen, local = local_of(w, SOCKET_MAIN);
	unsigned count = 0;

	discovery_set_local(&w->d, w->now, &local, 1);
	for (unsigned i = 0; i < w->server_count; i++) {
		if (!w->servers[i].is_own) {
			foreign[count++] = w->servers[i].addr;
			continue;
		}
		seen = seen_by(w, i);
		discovery_set_server(&w->d, w->now, i, &w->servers[i].addr, &seen);
	}
	discovery_set_foreign(&w->d, w->now, foreign, count);
}

static inline void serve_sockets(struct world *w)
{
	struct extras_wish wish;
	uint16_t ports[SOCKETS_EXTRA_MAX];

	while (extras_next_wish(&w->x, &wish)) {
		if (wish.is_close) {
			w->open--;
			/* The next socket of this number is another one to the router. */
			for (unsigned i = 0; i < w->mapping_count; i++) {
				if (w->mappings[i].socket == wish.first)
					w->mappings[i].socket = UINT16_MAX;
			}
			continue;
		}
		for (unsigned i = 0; i < wish.count; i++)
			ports[i] = (uint16_t)(40000 + rng_below(&w->rng, 20000));
		if (wish.count == DISCOVERY_SAMPLES && w->again.port != 0) {
			ports[1] = w->sampled;
			w->again.socket = (uint16_t)(wish.first + 1);
			w->mappings[w->mapping_count++] = w->again;
		}
		if (wish.count == DISCOVERY_SAMPLES)
			w->sampled = ports[DISCOVERY_SAMPLES - 1];
		extras_on_opened(&w->x, wish.first, wish.count, w->refuses ? 0 : wish.count, ports);
		w->open += w->refuses ? 0 : wish.count;
	}
}

static inline void turn(struct world *w)
{
	uint8_t bytes[2048];
	struct train t = { .bytes = bytes };

	discovery_on_deadline(&w->d, w->now, &w->rng);
	serve_sockets(w);
	while (discovery_write(&w->d, w->now, &t))
		on_request(w, &t);
	assert_true(discovery_check(&w->d) && extras_check(&w->x));
}

static inline void deliver_due(struct world *w)
{
	for (unsigned i = 0; i < w->answer_count;) {
		struct answer a = w->answers[i];

		if (a.at > w->now) {
			i++;
			continue;
		}
		w->answers[i] = w->answers[--w->answer_count];
		(void)discovery_on_datagram(&w->d, w->now, a.socket, &a.from, a.bytes, a.size);
	}
}

static inline void run(struct world *w, cv_duration d)
{
	cv_time end = w->now + d;

	for (unsigned steps = 0;; steps++) {
		cv_time at = discovery_deadline(&w->d);

		assert_true(steps < STEPS_MAX); /* never spins */
		for (unsigned i = 0; i < w->answer_count; i++)
			at = cv_time_min(at, w->answers[i].at);
		if (at > end)
			break;
		w->now = CV_MAX(w->now, at);
		deliver_due(w);
		turn(w);
	}
	w->now = end;
}

static inline bool is_idle(const struct world *w)
{
	return w->d.until == CV_TIME_NEVER && w->open == 0;
}

static inline void expect(const struct world *w, enum nat_rule mapping, enum nat_rule filtering,
                          enum nat_ports ports)
{
	const struct nat_profile *p = &w->d.profile;

	assert_true(w->d.has_profile && is_idle(w));
	if (p->mapping != mapping || p->filtering != filtering || p->ports != ports)
		print_message("%s: %s, %s, %s\n", w->nat.what,
		              nat_rule_name((enum nat_rule)p->mapping),
		              nat_rule_name((enum nat_rule)p->filtering),
		              nat_ports_name((enum nat_ports)p->ports));
	assert_int_equal(p->mapping, mapping);
	assert_int_equal(p->filtering, filtering);
	assert_int_equal(p->ports, ports);
}

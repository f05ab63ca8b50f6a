/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * hub_world - a server and four agents joined in memory, under virtual time: for the
 * tests of the hub. A seed decides what is lost, doubled and how late the rest comes. Invariants of
 * every object are checked after each delivery.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "tunnel/hub.h"
#include "tunnel/hub_session.h"
#include "tunnel/rendezvous.h"

enum { AGENTS = 4, FLIGHT_MAX = 4096 };

struct agent {
	uint8_t sk[32];
	struct identity me;
	struct indexes indexes;
	struct rendezvous *rv;
	struct addr addr;
	uint16_t socket; /* that UDP to it comes to */
	bool is_cut;     /* nothing gets through either way */
	bool is_udp_cut; /* but TCP does */
	struct addr tcp; /* its end of its connection to the server; ADDR_NONE: none */
	struct addr tcp_server;
	cv_time tcp_at;      /* it is made by then; CV_TIME_NEVER: none is being made */
	cv_time tcp_last[2]; /* when the newest datagram arrives, at the agent and at the server */
	unsigned tcp_opens, tcp_closes, legs;
	uint8_t leg, peer_leg[AGENTS];
	/* what it was told */
	unsigned ups, downs, resolves, addresses, refusals, gones;
	char refusal[128];
	bool is_present[AGENTS];
	bool was_gone[AGENTS];
	unsigned absents[AGENTS];
	uint64_t channel[AGENTS];
	uint32_t rate_kbit[AGENTS];
	uint8_t offered[WIRE_INIT_SIZE];
	unsigned offers;
	unsigned relayed;
	size_t relayed_size;
	uint8_t relayed_bytes[WIRE_RELAYED_MAX];
};

struct flight {
	cv_time at;
	uint64_t order;
	uint16_t socket;
	struct addr from, to;
	size_t size;
	uint8_t bytes[1600];
};

struct world {
	cv_time now;
	struct rng_seeded seeded;
	struct rng rng;
	uint8_t server_sk[32];
	struct identity server;
	struct hub *hub;
	struct hub_options opt;
	struct addr server_addr;
	struct agent agents[AGENTS];
	struct flight flights[FLIGHT_MAX];
	unsigned flight_count;
	uint64_t order;
	unsigned loss, duplicate; /* percent */
	cv_duration delay, jitter;
	bool is_server_cut;
	bool has_tcp; /* the server listens, and agents connect */
	uint16_t tcp_ports;
	bool is_refusing; /* ICMP for agents that are gone */
	uint64_t to_unproven, from_unproven;
	uint8_t train[TRAIN_BYTES_MAX];
};

static inline void put(struct world *w, const struct addr *from, const struct addr *to,
                       const uint8_t *bytes, size_t size)
{
	unsigned copies = rng_below(&w->rng, 100) < w->duplicate ? 2 : 1;

	assert_true(size <= sizeof(w->flights[0].bytes));
	for (unsigned i = 0; i < copies; i++) {
		struct flight *f;

		if (rng_below(&w->rng, 100) < w->loss)
			continue;
		assert_true(w->flight_count < FLIGHT_MAX);
		f = &w->flights[w->flight_count++];
		f->at = w->now + w->delay + rng_below(&w->rng, w->jitter);
		f->order = w->order++;
		f->socket = SOCKET_MAIN;
		f->from = *from;
		f->to = *to;
		f->size = size;
		memcpy(f->bytes, bytes, size);
	}
}

/* In order and whole. */
static inline void put_tcp(struct world *w, struct agent *a, bool to_server, const uint8_t *bytes,
                           size_t size)
{
	struct flight *f;

	if (a->tcp.family == ADDR_NONE || a->is_cut)
		return;
	assert_true(w->flight_count < FLIGHT_MAX);
	f = &w->flights[w->flight_count++];
	f->at = CV_MAX(w->now + w->delay, a->tcp_last[to_server]);
	a->tcp_last[to_server] = f->at;
	f->order = w->order++;
	f->socket = SOCKET_TCP;
	f->from = to_server ? a->tcp : a->tcp_server;
	f->to = to_server ? a->tcp_server : a->tcp;
	f->size = size;
	memcpy(f->bytes, bytes, size);
}

/* Both ends notice. */
static inline void end_tcp(struct world *w, struct agent *a)
{
	struct addr tcp = a->tcp;

	a->tcp = (struct addr){ .family = ADDR_NONE };
	a->tcp_at = CV_TIME_NEVER;
	for (unsigned i = 0; i < w->flight_count;) {
		if (w->flights[i].socket == SOCKET_TCP &&
		    (addr_equal(&w->flights[i].from, &tcp) || addr_equal(&w->flights[i].to, &tcp)))
			w->flights[i] = w->flights[--w->flight_count];
		else
			i++;
	}
	if (tcp.family != ADDR_NONE && w->hub)
		hub_on_tcp_closed(w->hub, w->now, &tcp);
}

static inline struct agent *agent_with_tcp(struct world *w, const struct addr *end)
{
	for (unsigned i = 0; i < AGENTS; i++) {
		if (addr_equal(&w->agents[i].tcp, end))
			return &w->agents[i];
	}
	return NULL;
}

static inline void put_train(struct world *w, const struct addr *from, const struct train *t)
{
	if (t->socket == SOCKET_TCP) {
		bool to_server = !addr_equal(from, &w->server_addr);
		struct agent *a = NULL;

		for (unsigned i = 0; i < AGENTS && to_server; i++)
			a = addr_equal(&w->agents[i].addr, from) ? &w->agents[i] : a;
		if (!to_server)
			a = agent_with_tcp(w, &t->to);
		for (size_t at = 0; a && at < t->size; at += t->segment_size)
			put_tcp(w, a, to_server, t->bytes + at,
			        CV_MIN(t->segment_size, t->size - at));
		return;
	}
	for (size_t at = 0; at < t->size; at += t->segment_size)
		put(w, from, &t->to, t->bytes + at, CV_MIN(t->segment_size, t->size - at));
}

static inline void take_event(struct world *w, struct agent *a, const struct rendezvous_event *e)
{
	switch (e->kind) {
	case RENDEZVOUS_EVENT_RESOLVE:
		a->resolves++;
		rendezvous_set_addresses(a->rv, w->now, &w->server_addr, 1);
		return;
	case RENDEZVOUS_EVENT_UP:
		a->ups++;
		return;
	case RENDEZVOUS_EVENT_DOWN:
		a->downs++;
		return;
	case RENDEZVOUS_EVENT_ADDRESS:
		a->addresses++;
		return;
	case RENDEZVOUS_EVENT_PRESENT:
		a->is_present[e->peer] = true;
		a->was_gone[e->peer] = false;
		return;
	case RENDEZVOUS_EVENT_ABSENT:
		a->is_present[e->peer] = false;
		a->was_gone[e->peer] = e->is_gone;
		a->absents[e->peer]++;
		return;
	case RENDEZVOUS_EVENT_OFFER:
		a->channel[e->peer] = e->channel;
		a->peer_leg[e->peer] = e->leg;
		a->rate_kbit[e->peer] = e->rate_kbit;
		a->offers++;
		if (e->init)
			memcpy(a->offered, e->init, WIRE_INIT_SIZE);
		return;
	case RENDEZVOUS_EVENT_CHANNEL:
		a->channel[e->peer] = e->channel;
		a->peer_leg[e->peer] = e->leg;
		a->rate_kbit[e->peer] = e->rate_kbit;
		return;
	case RENDEZVOUS_EVENT_CHANNEL_GONE:
		a->channel[e->peer] = 0;
		a->gones++;
		return;
	case RENDEZVOUS_EVENT_TCP_OPEN:
		a->tcp_opens++;
		assert_int_equal(a->tcp.family, ADDR_NONE);
		assert_true(a->tcp_at == CV_TIME_NEVER);
		a->tcp_at = w->now + 2 * w->delay;
		return;
	case RENDEZVOUS_EVENT_TCP_CLOSE:
		a->tcp_closes++;
		end_tcp(w, a);
		return;
	case RENDEZVOUS_EVENT_LEG:
		a->legs++;
		a->leg = e->leg;
		return;
	case RENDEZVOUS_EVENT_REFUSED:
		a->refusals++;
		strncpy(a->refusal, e->text, sizeof(a->refusal) - 1);
		return;
	}
}

static inline void pump_agent(struct world *w, struct agent *a)
{
	struct rendezvous_event e;
	struct train t = { .bytes = w->train };

	if (!a->rv)
		return;
	while (rendezvous_next_event(a->rv, &e))
		take_event(w, a, &e);
	while (rendezvous_write(a->rv, w->now, &t)) {
		assert_int_equal(t.count, 1);
		if (!a->is_cut && !(a->is_udp_cut && t.socket != SOCKET_TCP))
			put_train(w, &a->addr, &t);
		while (rendezvous_next_event(a->rv, &e))
			take_event(w, a, &e);
	}
	assert_true(rendezvous_check(a->rv));
}

static inline void pump_hub(struct world *w)
{
	struct train t = { .bytes = w->train };

	if (!w->hub)
		return;
	while (hub_write(w->hub, w->now, &t)) {
		if (!hub_session_at(w->hub, t.socket, &t.to))
			w->to_unproven += t.size;
		if (!w->is_server_cut)
			put_train(w, &w->server_addr, &t);
	}
	assert_true(hub_check(w->hub));
}

static inline void pump(struct world *w)
{
	pump_hub(w);
	for (unsigned i = 0; i < AGENTS; i++)
		pump_agent(w, &w->agents[i]);
	pump_hub(w);
}

static inline void deliver_to_agent(struct world *w, struct agent *a, struct flight *f)
{
	uint64_t channel;
	uint32_t peer;

	if (a->is_cut || (a->is_udp_cut && f->socket != SOCKET_TCP))
		return;
	if ((f->bytes[0] & WIRE_KIND_MASK) != WIRE_RELAY) {
		rendezvous_on_datagram(a->rv, w->now,
		                       f->socket == SOCKET_TCP ? SOCKET_TCP : a->socket, &f->from,
		                       f->bytes, f->size);
		return;
	}
	assert_true(rendezvous_is_from(a->rv, f->socket, &f->from));
	assert_true(wire_read_relay(f->bytes, f->size, &channel));
	if (!rendezvous_find_channel(a->rv, channel, &peer))
		return;
	a->relayed++;
	a->relayed_size = f->size - WIRE_RELAY_HEADER;
	memcpy(a->relayed_bytes, f->bytes + WIRE_RELAY_HEADER, a->relayed_size);
}

static inline void deliver(struct world *w, struct flight *f)
{
	struct arrival in = {
		.bytes = f->bytes, .size = f->size, .segment_size = f->size, .from = f->from
	};

	in.socket = f->socket;
	if (f->socket == SOCKET_TCP) {
		struct agent *a = agent_with_tcp(w, &f->to);

		if (a)
			deliver_to_agent(w, a, f);
		else if (w->hub && !w->is_server_cut)
			hub_on_arrival(w->hub, w->now, &in);
		return;
	}
	if (addr_equal(&f->to, &w->server_addr)) {
		if (!w->hub || w->is_server_cut)
			return;
		if (!hub_session_at(w->hub, f->socket, &f->from))
			w->from_unproven += f->size;
		hub_on_arrival(w->hub, w->now, &in);
		return;
	}
	for (unsigned i = 0; i < AGENTS; i++) {
		struct agent *a = &w->agents[i];

		if (!addr_equal(&a->addr, &f->to))
			continue;
		if (a->rv)
			deliver_to_agent(w, a, f);
		else if (w->is_refusing && w->hub)
			hub_on_refused(w->hub, w->now, 0, &f->to);
	}
}

static inline cv_time next_at(const struct world *w)
{
	cv_time at = w->hub ? hub_deadline(w->hub) : CV_TIME_NEVER;

	for (unsigned i = 0; i < AGENTS; i++) {
		if (w->agents[i].rv)
			at = cv_time_min(at, rendezvous_deadline(w->agents[i].rv));
		at = cv_time_min(at, w->agents[i].tcp_at);
	}
	for (unsigned i = 0; i < w->flight_count; i++)
		at = cv_time_min(at, w->flights[i].at);
	return CV_MAX(at, w->now);
}

static inline bool pop(struct world *w, struct flight *out)
{
	unsigned best = w->flight_count;

	for (unsigned i = 0; i < w->flight_count; i++) {
		const struct flight *f = &w->flights[i];

		if (f->at <= w->now &&
		    (best == w->flight_count || f->at < w->flights[best].at ||
		     (f->at == w->flights[best].at && f->order < w->flights[best].order)))
			best = i;
	}
	if (best == w->flight_count)
		return false;
	*out = w->flights[best];
	w->flights[best] = w->flights[--w->flight_count];
	return true;
}

/* What was asked for is there, or refused. */
static inline void connect_tcp(struct world *w, struct agent *a)
{
	struct addr list[RENDEZVOUS_TCP_ADDRESSES_MAX];

	a->tcp_at = CV_TIME_NEVER;
	if (!w->has_tcp || a->is_cut || !w->hub) {
		rendezvous_on_tcp_closed(a->rv, w->now);
		return;
	}
	assert_true(rendezvous_tcp_addresses(a->rv, list) > 0);
	a->tcp = a->addr;
	a->tcp.port = (uint16_t)(50000 + w->tcp_ports++);
	a->tcp_server = list[0];
	a->tcp_last[0] = a->tcp_last[1] = 0;
	rendezvous_on_tcp(a->rv, w->now, &list[0]);
}

static inline void turn(struct world *w)
{
	struct flight f;

	for (unsigned i = 0; i < AGENTS; i++) {
		if (w->agents[i].rv && w->agents[i].tcp_at <= w->now)
			connect_tcp(w, &w->agents[i]);
	}

	while (pop(w, &f)) {
		deliver(w, &f);
		pump(w);
	}
	if (w->hub && hub_deadline(w->hub) <= w->now)
		hub_on_deadline(w->hub, w->now);
	for (unsigned i = 0; i < AGENTS; i++) {
		if (w->agents[i].rv && rendezvous_deadline(w->agents[i].rv) <= w->now)
			rendezvous_on_deadline(w->agents[i].rv, w->now);
	}
	pump(w);
}

static inline void run(struct world *w, cv_duration d)
{
	cv_time end = w->now + d;
	unsigned same = 0;

	pump(w);
	for (cv_time at = next_at(w); at <= end; at = next_at(w)) {
		same = at == w->now ? same + 1 : 0;
		assert_true(same < 1000); /* a deadline that is never met would spin the loop */
		w->now = at;
		turn(w);
	}
	w->now = end;
}

static inline void make_agent(struct world *w, unsigned i)
{
	struct agent *a = &w->agents[i];
	struct rendezvous_options opt = { .me = &a->me,
		                          .server_pk = w->server.pk,
		                          .indexes = &a->indexes,
		                          .owner = 7,
		                          .rng = &w->rng,
		                          .number = i };

	a->tcp_at = CV_TIME_NEVER;
	assert_int_equal(rendezvous_new(&a->rv, w->now, &opt), 0);
}

/* @i is configured with @k. */
static inline void know(struct world *w, unsigned i, unsigned k)
{
	assert_int_equal(rendezvous_add_peer(w->agents[i].rv, k, w->agents[k].me.pk), 0);
}

static inline void make_hub(struct world *w)
{
	assert_int_equal(hub_new(&w->hub, w->now, &w->opt), 0);
}

static inline struct world *world_new(uint64_t seed)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->now = CV_SEC(1000);
	rng_seeded_init(&w->seeded, seed);
	w->rng = rng_from_seeded(&w->seeded);
	w->delay = CV_MS(20);
	w->jitter = CV_MS(1);
	w->server_addr = addr_v4(192, 0, 2, 1, 28583);
	rng_fill(&w->rng, w->server_sk, 32);
	identity_init(&w->server, w->server_sk);
	w->opt = (struct hub_options){ .me = &w->server,
		                       .rng = &w->rng,
		                       .agents_max = 64,
		                       .agents_per_address_max = 16,
		                       .relay_enabled = true,
		                       .relay_rate = 6250000,
		                       .access_anyone = true };
	make_hub(w);
	for (unsigned i = 0; i < AGENTS; i++) {
		struct agent *a = &w->agents[i];

		rng_fill(&w->rng, a->sk, 32);
		identity_init(&a->me, a->sk);
		a->addr = addr_v4(198, 51, 100, (uint8_t)(i + 1), 4000);
		a->tcp_at = CV_TIME_NEVER;
		assert_int_equal(indexes_init(&a->indexes, 1), 0);
	}
	return w;
}

static inline void world_free(struct world *w)
{
	for (unsigned i = 0; i < AGENTS; i++) {
		rendezvous_free(w->agents[i].rv, w->now);
		indexes_deinit(&w->agents[i].indexes);
	}
	hub_free(w->hub, w->now);
	free(w);
}

/* Two agents that know each other, up and registered. */
static inline struct world *pair_new(uint64_t seed)
{
	struct world *w = world_new(seed);

	make_agent(w, 0);
	make_agent(w, 1);
	know(w, 0, 1);
	know(w, 1, 0);
	run(w, CV_SEC(2));
	return w;
}

static inline void send_relayed(struct world *w, unsigned i, uint64_t channel, size_t size)
{
	uint8_t bytes[WIRE_RELAY_HEADER + WIRE_RELAYED_MAX + 1];

	wire_write_relay(bytes, channel);
	memset(bytes + WIRE_RELAY_HEADER, WIRE_DATA, size);
	if (w->agents[i].leg == LEG_TCP)
		put_tcp(w, &w->agents[i], true, bytes, WIRE_RELAY_HEADER + size);
	else if (!w->agents[i].is_udp_cut)
		put(w, &w->agents[i].addr, &w->server_addr, bytes, WIRE_RELAY_HEADER + size);
}

static inline struct hub_stats stats_of(const struct world *w)
{
	struct hub_stats s;

	hub_stats(w->hub, &s);
	return s;
}

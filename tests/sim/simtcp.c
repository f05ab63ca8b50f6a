/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <string.h>

/*
 * TCP between an agent and its server, as far as the core sees it: a pipe each way, reliable and in
 * order, over both hosts' links. What a link would lose comes a round trip late, now and then 200
 * ms more, and all behind it too. What the narrowest link has not sent yet waits: beyond 32 KiB the
 * agent hears that it is to build no more, and beyond 96 KiB more the server drops.
 *
 * NATs let it pass, whatever they do with UDP. A way that is blocked swallows it without a word: so
 * does a host that has moved, or sleeps.
 */

enum {
	FIRST_PORT = 50000,
	UNSENT_MAX = 32768, /* TCP_NOTSENT_LOWAT */
	QUEUE_MAX = 96 * 1024,
	OVERHEAD = 42, /* a frame's length, and headers of IP and TCP */
	TIMEOUTS = 10, /* one of so many losses is not noticed by what comes behind it */
};
#define RTO_MIN CV_MS(200)

static struct sim_tcp *conn_of(struct sim *sim, const struct sim_host *h)
{
	return &sim->tcps[h->number];
}

static uint64_t narrowest(const struct sim_link *a, const struct sim_link *b)
{
	if (a->rate == 0 || b->rate == 0)
		return CV_MAX(a->rate, b->rate);
	return CV_MIN(a->rate, b->rate);
}

static bool is_cut(const struct sim *sim, const struct sim_tcp *t)
{
	const struct sim_host *a = &sim->hosts[t->agent], *s = &sim->hosts[t->hub];

	return t->is_dead || sim->blocked[t->agent][t->hub] || sim->blocked[t->hub][t->agent] ||
	       a->is_asleep || s->is_asleep || a->up.is_down || a->down.is_down;
}

/* ---- life ---- */

static void on_connected(struct sim *sim, uint64_t arg)
{
	struct sim_host *h = &sim->hosts[arg & 255];
	struct sim_tcp *t = conn_of(sim, h);
	struct sim_host *hub = &sim->hosts[t->hub];

	if (t->serial != arg >> 8 || !h->is_running)
		return;
	if (!hub->is_running || !hub->has_tcp || is_cut(sim, t)) {
		t->is_wanted = false;
		sim_tell(sim, "tcp refused", h->number, 0, 0);
		endpoint_tcp_on_closed(h->endpoint, sim->now, h->servers[t->hub]);
	} else {
		t->is_open = true;
		t->births = hub->births;
		sim_tell(sim, "tcp opens", h->number, t->client.port, 0);
		endpoint_tcp_on_open(h->endpoint, sim->now, h->servers[t->hub], &t->server);
	}
	simhost_poke(sim, h);
}

void simtcp_open(struct sim *sim, struct sim_host *h, uint32_t server)
{
	struct addr list[RENDEZVOUS_TCP_ADDRESSES_MAX];
	struct sim_tcp *t = conn_of(sim, h);
	uint64_t serial = t->serial + 1;
	int hub = 0;

	while (!sim->hosts[hub].is_hub || h->servers[hub] != server)
		hub++;
	CV_ASSERT(endpoint_tcp_addresses(h->endpoint, server, list) > 0);
	*t = (struct sim_tcp){
		.serial = serial, .agent = h->number, .hub = hub, .is_wanted = true
	};
	t->client = simhost_public_address(sim, h);
	t->client.port = (uint16_t)(FIRST_PORT + sim->tcp_ports++);
	t->server = list[0];
	sim_at(sim, sim->now + 2 * (h->up.delay + h->down.delay + CV_MS(1)), on_connected,
	       serial << 8 | (uint64_t)h->number);
}

static void end(struct sim *sim, struct sim_tcp *t)
{
	struct sim_host *hub = &sim->hosts[t->hub];
	bool was_open = t->is_open;

	t->is_open = t->is_wanted = false;
	t->serial++; /* what is on its way is nobody's */
	if (was_open && hub->is_running && hub->births == t->births) {
		hub_on_tcp_closed(hub->hub, sim->now, &t->client);
		simhost_poke(sim, hub);
	}
}

void simtcp_close(struct sim *sim, struct sim_host *h)
{
	struct sim_tcp *t = conn_of(sim, h);

	sim_tell(sim, "tcp closes", h->number, t->client.port, 0);
	end(sim, t);
}

/* Word of the other end's reaches the agent. */
static void on_reset(struct sim *sim, uint64_t arg)
{
	struct sim_host *h = &sim->hosts[arg & 255];
	struct sim_tcp *t = conn_of(sim, h);

	if (t->serial != arg >> 8 || !t->is_open || is_cut(sim, t))
		return;
	end(sim, t);
	if (!h->is_running)
		return;
	sim_tell(sim, "tcp is reset", h->number, t->client.port, 0);
	endpoint_tcp_on_closed(h->endpoint, sim->now, h->servers[t->hub]);
	simhost_poke(sim, h);
}

void simtcp_reset(struct sim *sim, struct sim_host *h)
{
	on_reset(sim, conn_of(sim, h)->serial << 8 | (uint64_t)h->number);
}

void simtcp_on_dead(struct sim *sim, struct sim_host *h)
{
	for (int i = 0; i < sim->host_count; i++) {
		struct sim_tcp *t = &sim->tcps[i];

		if (!t->is_open && !t->is_wanted)
			continue;
		if (t->agent == h->number)
			end(sim, t);
		else if (t->hub == h->number && t->is_open)
			sim_at(sim, sim->now + sim->hosts[i].down.delay + CV_MS(1), on_reset,
			       t->serial << 8 | (uint64_t)i);
	}
}

void simtcp_on_moved(struct sim *sim, struct sim_host *h)
{
	conn_of(sim, h)->is_dead = true;
}

/* ---- bytes ---- */

static void on_drained(struct sim *sim, uint64_t arg)
{
	struct sim_host *h = &sim->hosts[arg & 255];
	struct sim_tcp *t = conn_of(sim, h);

	if (t->serial != arg >> 8 || !t->is_open || !h->is_running)
		return;
	t->is_blocked = false;
	endpoint_tcp_on_writable(h->endpoint, sim->now, h->servers[t->hub], true);
	simhost_poke(sim, h);
}

/* The agent builds no more until what waits is below 32 KiB. */
static void consider_blocking(struct sim *sim, struct sim_tcp *t, cv_time busy_until, uint64_t rate)
{
	struct sim_host *h = &sim->hosts[t->agent];
	cv_duration room = UNSENT_MAX * CV_SEC(1) / rate;

	if (t->is_blocked || busy_until <= sim->now + room)
		return;
	t->is_blocked = true;
	endpoint_tcp_on_writable(h->endpoint, sim->now, h->servers[t->hub], false);
	sim_at(sim, busy_until - room, on_drained, t->serial << 8 | (uint64_t)t->agent);
}

static void send_one(struct sim *sim, struct sim_tcp *t, struct sim_host *from,
                     const uint8_t *bytes, size_t size)
{
	bool to_hub = !from->is_hub;
	const struct sim_host *to = &sim->hosts[to_hub ? t->hub : t->agent];
	uint64_t rate = narrowest(&from->up, &to->down);
	struct sim_tcp_way *way = &t->ways[to_hub];
	cv_duration delay = from->up.delay + to->down.delay + CV_US(10);
	struct sim_datagram *d;
	cv_time at = sim->now;

	if (is_cut(sim, t))
		return;
	if (rate > 0) {
		at = CV_MAX(at, way->busy_until);
		/* Whole packets are dropped where the reader is slow. */
		if (!to_hub && (at - sim->now) * rate / CV_SEC(1) > UNSENT_MAX + QUEUE_MAX) {
			sim_tell(sim, "is dropped", from->number, size, 0);
			return;
		}
		at += (size + OVERHEAD) * CV_SEC(1) / rate;
		way->busy_until = at;
		if (to_hub)
			consider_blocking(sim, t, at, rate);
	}
	at += delay;
	if (sim_chance(sim, from->up.loss_ppm) || sim_chance(sim, to->down.loss_ppm))
		at += 2 * delay + (sim_below(sim, TIMEOUTS) ? CV_MS(5) : RTO_MIN);
	at = CV_MAX(at, way->last_at);
	way->last_at = at;
	way->bytes += size;
	d = simnet_new(sim);
	d->tcp_serial = t->serial;
	d->src = to_hub ? t->client : t->server;
	d->dst = to_hub ? t->server : t->client;
	d->sent_to = d->dst;
	d->from = from->number;
	d->size = (uint16_t)size;
	memcpy(d->bytes, bytes, size);
	from->sent++;
	sim_tell(sim, "sends by tcp", from->number, size,
	         sim->is_light ? 0 : simlink_digest(bytes, size, 0));
	sim_push(sim,
	         (struct sim_event){
			 .at = at, .kind = SIM_EVENT_ARRIVE, .number = to->number, .datagram = d });
}

static struct sim_tcp *find(struct sim *sim, struct sim_host *h, const struct addr *to)
{
	for (int i = 0; i < sim->host_count; i++) {
		struct sim_tcp *t = &sim->tcps[i];

		if (!t->is_open)
			continue;
		if (h->is_hub ? t->hub == h->number && addr_equal(&t->client, to)
		              : t->agent == h->number && addr_equal(&t->server, to))
			return t;
	}
	return NULL;
}

void simtcp_send(struct sim *sim, struct sim_host *h, const struct train *t)
{
	struct sim_tcp *conn = find(sim, h, &t->to);

	for (size_t at = 0; at < t->size; at += t->segment_size) {
		size_t size = CV_MIN(t->segment_size, t->size - at);

		if (size > WIRE_RELAY_HEADER + WIRE_RELAYED_MAX)
			sim_fail(sim, "%s: %zu bytes by TCP", h->name, size);
		else if (conn)
			send_one(sim, conn, h, t->bytes + at, size);
	}
}

bool simtcp_is_whole(const struct sim *sim, const struct sim_host *to, const struct sim_datagram *d)
{
	const struct sim_tcp *t = &sim->tcps[to->is_hub ? d->from : to->number];

	return t->is_open && t->serial == d->tcp_serial && !is_cut(sim, t);
}

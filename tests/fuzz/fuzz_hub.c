/* SPDX-License-Identifier: MIT */

/*
 * A server and three agents with real keys, in a network that the input rules: operations of one
 * byte deliver, drop, double, damage and redirect datagrams, move agents, restart them, let them
 * open and leave, claim each other's channels, and let time pass; some take raw bytes that follow.
 *
 * Oracles besides the sanitizers: hub_check() (each end of a channel is of the session that
 * registered its tag, counts and quotas are those of live objects); whoever has proven nothing gets
 * no more bytes than came from him; a relayed packet goes to a session's path, one out for one in,
 * none larger; nothing is left at the end.
 */
#include <string.h>

#include "base/alloc.h"
#include "tunnel/hub.h"
#include "tunnel/hub_session.h"
#include "tunnel/rendezvous.h"

/* Hosts from TCP_HOSTS on are reached by TCP: what stands between is not the hub's matter. */
enum { AGENTS = 3, FLIGHTS = 32, HOSTS = 8, TCP_HOSTS = 6, ROOM = 1500 };

struct flight {
	uint8_t bytes[ROOM];
	size_t size;
	uint8_t host; /* of the agent's side */
	bool to_hub;
};

struct host {
	uint64_t sent, got; /* bytes, while it had proven nothing */
	bool is_proven;
};

struct target {
	struct rng_seeded seeded;
	struct rng rng;
	cv_time now;
	struct identity server;
	struct hub *hub;
	struct identity me[AGENTS];
	struct indexes indexes[AGENTS];
	struct rendezvous *agents[AGENTS];
	uint8_t host_of[AGENTS];
	struct flight flights[FLIGHTS];
	unsigned count;
	struct host hosts[HOSTS];
	uint64_t relayed_in, relayed_out;
};

static uint8_t train_bytes[TRAIN_BYTES_MAX];
static uint8_t secrets[AGENTS + 1][32];

static struct addr addr_of(uint8_t host)
{
	return addr_v4(192, 0, 2, host, 1000);
}

static uint16_t socket_of(uint8_t host)
{
	return host >= TCP_HOSTS ? SOCKET_TCP : SOCKET_MAIN;
}

static const struct addr server_addr = { .family = ADDR_V4, .port = 1, .ip = { 10, 0, 0, 1 } };

static void put(struct target *t, const uint8_t *bytes, size_t size, uint8_t host, bool to_hub)
{
	struct flight *f = &t->flights[t->count];

	if (t->count == FLIGHTS || size == 0 || size > ROOM)
		return;
	memcpy(f->bytes, bytes, size);
	f->size = size;
	f->host = host;
	f->to_hub = to_hub;
	t->count++;
}

static void note_out(struct target *t, const struct train *out)
{
	const uint8_t host = out->to.ip[3];
	struct addr expected = addr_of(host);

	CV_ASSERT(host < HOSTS && addr_equal(&out->to, &expected));
	CV_ASSERT(out->socket == socket_of(host));
	if (hub_session_at(t->hub, out->socket, &out->to))
		t->hosts[host].is_proven = true;
	if (!t->hosts[host].is_proven && host < TCP_HOSTS)
		t->hosts[host].got += out->size;
	CV_ASSERT(t->hosts[host].got <= t->hosts[host].sent);
	if ((out->bytes[0] & WIRE_KIND_MASK) != WIRE_RELAY)
		return;
	CV_ASSERT(hub_session_at(t->hub, out->socket, &out->to));
	CV_ASSERT(out->segment_size <= WIRE_RELAY_HEADER + WIRE_RELAYED_MAX);
	t->relayed_out += out->count;
	CV_ASSERT(t->relayed_out <= t->relayed_in);
}

static void pump_hub(struct target *t)
{
	struct train out = { .bytes = train_bytes };

	while (hub_write(t->hub, t->now, &out)) {
		note_out(t, &out);
		for (size_t at = 0; at < out.size; at += out.segment_size)
			put(t, out.bytes + at, CV_MIN(out.segment_size, out.size - at),
			    out.to.ip[3], false);
	}
	CV_ASSERT(hub_check(t->hub));
}

static void pump_agent(struct target *t, unsigned i)
{
	struct train out = { .bytes = train_bytes };
	struct rendezvous_event e;

	while (rendezvous_next_event(t->agents[i], &e)) {
		if (e.kind == RENDEZVOUS_EVENT_RESOLVE)
			rendezvous_set_addresses(t->agents[i], t->now, &server_addr, 1);
	}
	while (rendezvous_write(t->agents[i], t->now, &out)) {
		CV_ASSERT(addr_equal(&out.to, &server_addr)); /* and nobody else */
		put(t, out.bytes, out.size, t->host_of[i], true);
	}
	CV_ASSERT(rendezvous_check(t->agents[i]));
}

static void pump(struct target *t)
{
	pump_hub(t);
	for (unsigned i = 0; i < AGENTS; i++)
		pump_agent(t, i);
}

static void to_hub(struct target *t, uint8_t host, uint8_t *bytes, size_t size)
{
	struct arrival in = { .bytes = bytes, .size = size, .segment_size = size };

	in.from = addr_of(host);
	in.socket = socket_of(host);
	t->hosts[host].sent += size;
	t->relayed_in += (bytes[0] & WIRE_KIND_MASK) == WIRE_RELAY;
	hub_on_arrival(t->hub, t->now, &in);
}

static void deliver(struct target *t, struct flight *f)
{
	if (f->to_hub) {
		to_hub(t, f->host, f->bytes, f->size);
		return;
	}
	for (unsigned i = 0; i < AGENTS; i++) {
		if (t->host_of[i] == f->host)
			rendezvous_on_datagram(t->agents[i], t->now, 0, &server_addr, f->bytes,
			                       f->size);
	}
}

/* Delivers the oldest datagram, changed as @how says: 1 twice, 2 damaged, 3 from another host. */
static void deliver_first(struct target *t, unsigned how, struct rd *in)
{
	struct flight f;

	if (t->count == 0)
		return;
	f = t->flights[0];
	if (how != 1)
		memmove(t->flights, t->flights + 1, --t->count * sizeof(f));
	if (how == 2) {
		size_t at = rd_u8(in) % f.size;

		f.bytes[at] ^= (uint8_t)(1 << (rd_u8(in) & 7));
	}
	if (how == 3)
		f.host = rd_u8(in) % HOSTS;
	deliver(t, &f);
}

static void wait(struct target *t, cv_duration d)
{
	t->now += d;
	if (hub_deadline(t->hub) <= t->now)
		hub_on_deadline(t->hub, t->now);
	CV_ASSERT(hub_deadline(t->hub) > t->now || t->count < FLIGHTS);
	for (unsigned i = 0; i < AGENTS; i++) {
		if (rendezvous_deadline(t->agents[i]) <= t->now)
			rendezvous_on_deadline(t->agents[i], t->now);
	}
}

static void make_agent(struct target *t, unsigned i)
{
	struct rendezvous_options opt = { .me = &t->me[i],
		                          .server_pk = t->server.pk,
		                          .indexes = &t->indexes[i],
		                          .rng = &t->rng,
		                          .number = i };
	int r = rendezvous_new(&t->agents[i], t->now, &opt);

	CV_ASSERT(r == 0);
	for (uint32_t k = 0; k < AGENTS; k++)
		r |= k == i ? 0 : rendezvous_add_peer(t->agents[i], k, t->me[k].pk);
	CV_ASSERT(r == 0);
	rendezvous_set_addresses(t->agents[i], t->now, &server_addr, 1);
}

/* A relayed packet on the channel of agent @owner to @peer, sent from @host. */
static void send_relayed(struct target *t, unsigned owner, uint32_t peer, uint8_t host, size_t size)
{
	uint8_t bytes[WIRE_RELAY_HEADER + 256] = { 0 };

	wire_write_relay(bytes, rendezvous_channel(t->agents[owner], peer));
	bytes[WIRE_RELAY_HEADER] = WIRE_DATA;
	to_hub(t, host, bytes, WIRE_RELAY_HEADER + size);
}

static void change_agent(struct target *t, unsigned i, uint8_t how, struct rd *in)
{
	uint8_t init[WIRE_INIT_SIZE] = { WIRE_INIT };
	uint32_t peer = (i + 1 + (how >> 3 & 1)) % AGENTS;
	uint8_t host;

	switch (how & 7) {
	case 0:
		rendezvous_open(t->agents[i], t->now, peer, how & 16 ? init : NULL);
		return;
	case 1:
		t->host_of[i] = rd_u8(in) % HOSTS;
		return;
	case 2:
		rendezvous_free(t->agents[i], t->now);
		make_agent(t, i);
		return;
	case 3:
		rendezvous_close(t->agents[i], t->now);
		return;
	case 4:
		rendezvous_check_now(t->agents[i], t->now);
		return;
	case 5:
		rendezvous_remove_peer(t->agents[i], t->now, peer);
		return;
	case 6:
		if (!rendezvous_channel(t->agents[i], peer) &&
		    rendezvous_add_peer(t->agents[i], 100 + peer, t->me[peer].pk) == 0)
			rendezvous_remove_peer(t->agents[i], t->now, 100 + peer);
		return;
	default:
		host = how & 16 ? t->host_of[i] : rd_u8(in) % HOSTS;
		send_relayed(t, i, peer, host, rd_u8(in));
		return;
	}
}

static void step(struct target *t, struct rd *in)
{
	uint8_t op = rd_u8(in), raw[64];
	struct addr refused;
	size_t size;

	switch (op & 7) {
	case 0:
	case 1:
	case 2:
		for (unsigned k = op >> 3 & 7; k + 1 > 0; k--) {
			deliver_first(t, 0, in);
			pump(t);
		}
		break;
	case 3:
		deliver_first(t, op >> 3 & 3, in);
		break;
	case 4:
		if (t->count > 0)
			memmove(t->flights, t->flights + 1, --t->count * sizeof(t->flights[0]));
		break;
	case 5:
		wait(t, CV_MS(1) << (op >> 3 & 15));
		break;
	case 6:
		change_agent(t, rd_u8(in) % AGENTS, op >> 3, in);
		break;
	default:
		refused = addr_of((op >> 3) % HOSTS);
		size = CV_MIN(rd_left(in), sizeof(raw));
		if ((op & 128) && (op >> 3) % HOSTS >= TCP_HOSTS)
			hub_on_tcp_closed(t->hub, t->now, &refused);
		else if (op & 128)
			hub_on_refused(t->hub, t->now, 0, &refused);
		else if (size > 0) {
			rd_copy(in, raw, size);
			to_hub(t, (op >> 3) % HOSTS, raw, size);
		}
		break;
	}
	pump(t);
}

static void begin(struct target *t)
{
	struct hub_options opt = { .me = &t->server,
		                   .rng = &t->rng,
		                   .agents_max = 8,
		                   .agents_per_address_max = 2,
		                   .relay_enabled = true,
		                   .relay_rate = 100000,
		                   .access_anyone = true };
	int r;

	*t = (struct target){ .now = CV_SEC(1000) };
	rng_seeded_init(&t->seeded, 1);
	t->rng = rng_from_seeded(&t->seeded);
	for (unsigned i = 0; i <= AGENTS; i++) {
		rng_fill(&t->rng, secrets[i], 32);
		identity_init(i < AGENTS ? &t->me[i] : &t->server, secrets[i]);
	}
	r = hub_new(&t->hub, t->now, &opt);
	CV_ASSERT(r == 0);
	for (uint8_t i = 0; i < AGENTS; i++) {
		r = indexes_init(&t->indexes[i], 1);
		CV_ASSERT(r == 0);
		t->host_of[i] = i;
		make_agent(t, i);
	}
	pump(t);
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct target t;
	uint64_t live = cv_alloc_live();
	struct rd in = rd_init(size > 0 ? data : (const uint8_t *)"", CV_MIN(size, 512));

	begin(&t);
	while (rd_left(&in) > 0 && !in.bad)
		step(&t, &in);
	for (unsigned i = 0; i < AGENTS; i++) {
		rendezvous_free(t.agents[i], t.now);
		indexes_deinit(&t.indexes[i]);
	}
	hub_free(t.hub, t.now);
	CV_ASSERT(cv_alloc_live() == live);
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

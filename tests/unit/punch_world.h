/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * punch_world - one agent that is joined to a peer through a relay, with punch, discovery and
 * extras as they are, and all that is around them played: the peer's frames, the shell's sockets, a
 * server that answers STUN behind a router which gives the next port to each new socket. The rest
 * of the endpoint stands still, so that what is seen is theirs alone. For test_punch and
 * fuzz_punch.
 *
 * Kept at all times, whatever is played: punch_check(), discovery_check(), extras_check(); packets
 * of an attempt, of a second and of an hour, sockets; nothing goes where candidate.h forbids, nor
 * below port 1024 at the peer's wish; what the shell closed is not sent from; no deadline without
 * end.
 */

#include "tests/unit/endpoint_pair.h"
#include "tunnel/stun.h"
#include "tunnel/traversal.h"

enum {
	WORLD_SOCKETS = SOCKET_EXTRA + SOCKETS_EXTRA_MAX,
	WORLD_PROBES = 32768,
	WORLD_ANSWERS = 64,
	WORLD_STEPS = 400000,
	WORLD_FIRST_PORT = 30000,
};

struct world_probe {
	cv_time at;
	uint16_t socket;
	struct addr to;
};

struct world_answer {
	cv_time at;
	uint16_t socket;
	struct addr from;
	uint8_t bytes[STUN_PADDED_SIZE];
	size_t size;
};

struct punch_world {
	struct pair p;
	struct endpoint *e;
	struct session *s;
	cv_time now;
	uint64_t number; /* of the peer's next packet */
	struct addr server, outside, peer;
	/* the shell */
	bool is_open[WORLD_SOCKETS];
	uint16_t port[WORLD_SOCKETS]; /* local */
	uint16_t seen[WORLD_SOCKETS]; /* by the router, once used; 0: not yet */
	uint16_t next_local, next_port;
	unsigned open, open_peak, opened;
	unsigned sockets_left; /* the shell can open so many more */
	bool is_slow;          /* the shell has not answered what it was asked last */
	struct endpoint_event asked;
	/* the server */
	bool is_mute;
	struct world_answer answers[WORLD_ANSWERS];
	unsigned answer_count;
	/* what left */
	struct world_probe probes[WORLD_PROBES]; /* a ring */
	uint64_t probe_count;
	unsigned requests;
	uint64_t steps;
	uint8_t bytes[TRAIN_BYTES_MAX];
};

/* ---- making ---- */

static inline struct nat_profile world_easy(void)
{
	return (struct nat_profile){ .mapping = NAT_ENDPOINT_INDEPENDENT,
		                     .filtering = NAT_ADDRESS_AND_PORT_DEPENDENT,
		                     .address = addr_v4(203, 0, 113, 9, 7000) };
}

static inline struct nat_profile world_hard(enum nat_ports ports)
{
	return (struct nat_profile){ .mapping = NAT_ADDRESS_AND_PORT_DEPENDENT,
		                     .filtering = NAT_ADDRESS_AND_PORT_DEPENDENT,
		                     .ports = (uint8_t)ports,
		                     .step = ports == NAT_PORTS_REGULAR ? 1 : 0,
		                     .address = addr_v4(198, 51, 100, 77, 29000) };
}

/* Side 0 has the smaller key. What the first direct path was is a relay from now on. */
static inline void world_init(struct punch_world *w, unsigned side, uint64_t seed)
{
	struct path *path;

	memset(w, 0, sizeof(*w));
	pair_init(&w->p, seed);
	pair_start(&w->p);
	CV_ASSERT(pair_until(&w->p, CV_SEC(5), pair_is_up));
	pair_run(&w->p, CV_SEC(1));
	w->e = w->p.side[side].e;
	w->s = w->e->sessions[w->p.side[side].peer];
	w->now = w->p.now;
	w->server = addr_v4(203, 0, 113, 1, 28583);
	w->outside = addr_v4(198, 51, 100, 77, 29000);
	w->peer = addr_v4(203, 0, 113, 9, 7000);
	w->next_local = 40000;
	w->next_port = WORLD_FIRST_PORT;
	w->sockets_left = UINT32_MAX;
	path = paths_active(&w->s->paths);
	CV_ASSERT(path);
	path->to = (struct origin){ .is_relay = true, .channel = 1 };
	path->kind = PATH_KIND_RELAY;
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		if (i != w->s->paths.active && w->s->paths.list[i].state != PATH_FREE)
			paths_remove(&w->s->paths, i);
	}
	w->e->discovery.servers[0] =
		(struct discovery_server){ .address = w->server, .is_up = true };
	w->number = 1000;
}

static inline void world_deinit(struct punch_world *w)
{
	pair_deinit(&w->p);
}

/* ---- the peer ---- */

static inline void world_frame(struct punch_world *w, const struct wire_frame *f)
{
	uint8_t bytes[128];
	struct wr out = wr_init(bytes, sizeof(bytes));
	struct wire_frame back;
	struct rd in;

	wire_write_frame(&out, f);
	CV_ASSERT(!out.bad);
	in = rd_init(bytes, wr_size(&out));
	CV_ASSERT(wire_read_frame(&in, &back) == WIRE_FRAME);
	punch_talk_on_frame(&w->s->punch, w->number++, &back);
	punch_consider(w->e, w->now, w->s);
}

static inline void world_says_nat(struct punch_world *w, const struct nat_profile *nat)
{
	world_frame(w, &(struct wire_frame){ .type = FRAME_NAT, .nat = *nat });
}

static inline void world_says_punch(struct punch_world *w, const struct wire_punch *punch)
{
	world_frame(w, &(struct wire_frame){ .type = FRAME_PUNCH, .punch = *punch });
}

/* What we know of our own router. */
static inline void world_know(struct punch_world *w, const struct nat_profile *nat)
{
	w->e->core.nat = *nat;
	w->e->core.nat_version++;
	punch_on_network(w->now, w->s);
}

/* What we told the peer since the last time. */
static inline bool world_said(struct punch_world *w, struct wire_punch *out)
{
	if (!w->s->punch.is_out_due)
		return false;
	*out = w->s->punch.out;
	w->s->punch.is_out_due = false;
	return true;
}

/* A packet of the peer comes by @socket, from where it is; the path that it makes. */
static inline struct path *world_hear(struct punch_world *w, struct session *s, uint16_t socket)
{
	struct origin o = { .socket = socket, .addr = w->peer };
	uint8_t slot = paths_add(&s->paths, w->now, &o);

	if (slot == PATHS_NONE)
		return NULL;
	path_on_heard(&s->paths.list[slot], w->now);
	return &s->paths.list[slot];
}

/* Data go there from now on; NULL: back to the relay. */
static inline void world_choose(struct session *s, const struct path *path)
{
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		if (path ? &s->paths.list[i] == path : s->paths.list[i].to.is_relay)
			s->paths.active = i;
	}
	s->paths.list[s->paths.active].state = PATH_USABLE;
}

/* ---- the shell ---- */

static inline void world_answer_shell(struct punch_world *w)
{
	uint16_t first = w->asked.socket, ports[SOCKETS_EXTRA_MAX];
	unsigned count = w->asked.count, opened = CV_MIN(count, w->sockets_left);

	if (count == 0)
		return;
	for (unsigned i = 0; i < opened; i++) {
		CV_ASSERT(!w->is_open[first + i]);
		w->is_open[first + i] = true;
		ports[i] = w->port[first + i] = w->next_local++;
		w->seen[first + i] = 0;
		w->next_local = CV_MAX(w->next_local, (uint16_t)NAT_PORT_MIN);
	}
	w->sockets_left -= opened;
	w->open += opened;
	w->opened += opened;
	w->open_peak = CV_MAX(w->open_peak, w->open);
	w->asked.count = 0;
	endpoint_on_sockets_opened(w->e, w->now, first, count, opened, ports);
}

static inline void world_pull_events(struct punch_world *w)
{
	struct endpoint_event ev;

	while (w->asked.count == 0 && traversal_next_event(w->e, w->now, &ev)) {
		if (ev.kind == ENDPOINT_EVENT_CLOSE_SOCKET) {
			CV_ASSERT(w->is_open[ev.socket]);
			w->is_open[ev.socket] = false;
			w->open--;
			if (w->sockets_left != UINT32_MAX)
				w->sockets_left++;
			for (uint8_t i = 0; i < PATHS_MAX; i++)
				CV_ASSERT(w->s->paths.list[i].state == PATH_FREE ||
				          w->s->paths.list[i].to.is_relay ||
				          w->s->paths.list[i].to.socket != ev.socket);
			continue;
		}
		CV_ASSERT(ev.kind == ENDPOINT_EVENT_OPEN_SOCKETS);
		w->asked = ev;
		if (!w->is_slow)
			world_answer_shell(w);
	}
}

/* ---- the router and the server ---- */

static inline uint16_t world_map(struct punch_world *w, uint16_t socket)
{
	if (w->e->core.nat.ports == NAT_PORTS_PRESERVED)
		return w->port[socket];
	if (w->seen[socket] == 0) {
		w->seen[socket] = w->next_port;
		w->next_port = (uint16_t)(w->next_port + w->e->core.nat.step);
		if (w->next_port < NAT_PORT_MIN)
			w->next_port = NAT_PORT_MIN;
	}
	return w->seen[socket];
}

static inline void world_on_request(struct punch_world *w, const struct train *t)
{
	struct stun_told told = { .mapped = w->outside };
	struct world_answer *a = &w->answers[w->answer_count];
	struct stun_message m;

	w->requests++;
	CV_ASSERT(stun_read(t->bytes, t->size, &m) && addr_equal_ip(&t->to, &w->server));
	told.mapped.port = world_map(w, t->socket);
	if (w->is_mute || w->answer_count == WORLD_ANSWERS)
		return;
	a->at = cv_time_after(w->now, CV_MS(20));
	a->socket = t->socket;
	a->from = t->to;
	a->size = stun_write_answer(a->bytes, sizeof(a->bytes), &m, &told);
	w->answer_count++;
}

/* ---- the budget ---- */

static inline unsigned world_sent_in(const struct punch_world *w, cv_duration window)
{
	unsigned count = 0;

	for (uint64_t i = w->probe_count; i > 0 && count < WORLD_PROBES; i--) {
		if (w->now - w->probes[(i - 1) % WORLD_PROBES].at >= window)
			break;
		count++;
	}
	return count;
}

static inline void world_on_probe(struct punch_world *w, const struct train *t)
{
	const struct punch_limits *l = &w->e->punch.budget.limits;

	CV_ASSERT(t->size == WIRE_PROBE_MIN && t->count == 1);
	CV_ASSERT(candidate_is_allowed(&w->e->core.scope, &t->to));
	/* The peer's own address may be below, but nothing that it asks for. */
	CV_ASSERT(t->to.port >= NAT_PORT_MIN || t->socket != SOCKET_MAIN);
	CV_ASSERT(t->socket == SOCKET_MAIN || w->is_open[t->socket]);
	if (t->socket != SOCKET_MAIN)
		(void)world_map(w, t->socket);
	w->probes[w->probe_count++ % WORLD_PROBES] =
		(struct world_probe){ w->now, t->socket, t->to };
	CV_ASSERT(world_sent_in(w, CV_SEC(1)) <= l->rate + CV_MIN(l->rate, 25u));
	/* Looked at now and then: it is long. */
	if (w->probe_count % 64 == 0)
		CV_ASSERT(world_sent_in(w, CV_SEC(3600)) <= l->hourly);
}

static inline void world_check(const struct punch_world *w)
{
	CV_ASSERT(punch_check(&w->e->punch) && extras_check(&w->e->extras));
	CV_ASSERT(discovery_check(&w->e->discovery));
}

/* ---- time ---- */

static inline cv_time world_deadline(const struct punch_world *w)
{
	cv_time at =
		cv_time_min(punch_deadline(&w->e->punch), discovery_deadline(&w->e->discovery));

	for (unsigned i = 0; i < w->answer_count; i++)
		at = cv_time_min(at, w->answers[i].at);
	if (w->s->punch_at > w->now)
		at = cv_time_min(at, w->s->punch_at);
	return at;
}

static inline void world_deliver(struct punch_world *w)
{
	for (unsigned i = 0; i < w->answer_count;) {
		struct world_answer a = w->answers[i];

		if (a.at > w->now) {
			i++;
			continue;
		}
		w->answers[i] = w->answers[--w->answer_count];
		(void)discovery_on_datagram(&w->e->discovery, w->now, a.socket, &a.from, a.bytes,
		                            a.size);
	}
}

static inline void world_turn(struct punch_world *w)
{
	struct train t = { .bytes = w->bytes };

	/* Keys that are new, and a relay that is heard: what they do is another test's. */
	for (unsigned i = 0; i < ASSOC_EPOCHS_MAX; i++)
		w->s->epochs[i].made_at = w->now;
	w->s->paths.list[w->s->paths.active].heard_at = w->now;
	world_deliver(w);
	w->e->discovery.turn_at = CV_TIME_NEVER; /* whoever wants rounds had his turn */
	punch_on_deadline(w->e, w->now);
	punch_consider(w->e, w->now, w->s);
	world_pull_events(w);
	while (discovery_write(&w->e->discovery, w->now, &t) || punch_write(w->e, w->now, &t)) {
		if (wire_is_stun(t.bytes[0]))
			world_on_request(w, &t);
		else
			world_on_probe(w, &t);
		CV_ASSERT(++w->steps < WORLD_STEPS);
	}
	world_check(w);
}

/* The next thing that happens by @until; false: nothing did. */
static inline bool world_step(struct punch_world *w, cv_time until)
{
	cv_time at = world_deadline(w);

	CV_ASSERT(++w->steps < WORLD_STEPS);
	if (at > until) {
		w->now = until;
		return false;
	}
	w->now = CV_MAX(w->now, at);
	world_turn(w);
	return true;
}

static inline void world_run(struct punch_world *w, cv_duration d)
{
	cv_time until = w->now + d;

	w->steps = 0;
	world_turn(w);
	while (world_step(w, until))
		;
}

static inline struct punch_attempt *world_attempt(struct punch_world *w)
{
	for (unsigned i = 0; i < PUNCH_ATTEMPTS_MAX; i++) {
		if (w->e->punch.list[i].role != PUNCH_NOBODY &&
		    w->e->punch.list[i].peer == w->s->number)
			return &w->e->punch.list[i];
	}
	return NULL;
}

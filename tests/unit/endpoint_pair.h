/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * endpoint_pair - two endpoints joined in memory, under virtual time: for the tests of
 * everything that a session is made of, and for the fuzzers. Side 0 has the smaller key. Each side
 * has three addresses, on three networks that know nothing of one another; a datagram to any other
 * address is a stray. The delay is constant; what else happens to a datagram is the filter's
 * choice.
 *
 * A small application writes a pattern and verifies what it reads: bytes delivered are a prefix of
 * those written, always. After each turn both endpoints must pass endpoint_check().
 */

#include <string.h>

#include "base/alloc.h"
#include "base/pool.h"
#include "base/rng.h"
#include "tunnel/endpoint_inner.h"

/* A test with larger datagrams defines both before it includes this. */
#ifndef PAIR_DATAGRAM_MAX
#define PAIR_DATAGRAM_MAX 1500
#define PAIR_FLIGHT_MAX 16384
#endif

enum {
	PAIR_FLOWS = 64,
	PAIR_STRAYS = 64,
	PAIR_PORT = 28583,
	PAIR_SPINS_MAX = 20000, /* steps at one instant */
	PAIR_PUBLIC = 0,        /* networks */
	PAIR_LAN = 1,
	PAIR_V6 = 2,
	PAIR_NETWORKS = 3,
};

#define PAIR_START CV_SEC(1000)

struct pair_datagram {
	struct pair_datagram *next, *before;
	cv_time at;
	struct addr from, to;
	int sender;
	uint8_t ecn;     /* enum ecn_codepoint */
	bool is_refusal; /* ICMP, on its way back to the sender */
	size_t size;
	uint8_t bytes[PAIR_DATAGRAM_MAX];
};

struct pair_flow {
	struct streams *streams;
	struct stream *stream; /* NULL: over, or never */
	uint64_t id;
	uint64_t goal, written, read; /* bytes */
	bool echoes;                  /* writes what it has read */
	bool stays_open;              /* is not finished at its goal */
	bool is_finished, is_at_end, is_reset, was_acked;
	uint16_t code;
};

struct pair_side {
	uint8_t sk[32];
	struct identity me;
	struct rng_seeded seeded;
	struct rng rng;
	struct pool pool;
	struct endpoint *e; /* NULL: not running */
	uint32_t peer;
	struct addr addr[PAIR_NETWORKS];
	/* to be set before pair_start() */
	uint8_t policy;
	const uint8_t *psk;
	const uint8_t *peer_pk; /* NULL: the right one */
	bool has_address;       /* knows the other's public address */
	unsigned announced;     /* bit a network: told as a local address */
	uint8_t aead_bits;
	/* the machine */
	bool is_asleep;
	bool refuses; /* sends ICMP while the process does not run */
	cv_time deadline;
	/* what it was told */
	unsigned ups, downs, duplicates, paths, resolves;
	uint16_t down_code;
	cv_time up_at, down_at;
	struct pair_flow flows[PAIR_FLOWS];
	unsigned flow_count;
	/* what it sent */
	uint64_t datagrams, bytes, kinds[16], trains;
	size_t largest;
};

struct pair {
	cv_time now;
	cv_duration delay;
	struct rng_seeded seeded;
	struct rng rng;
	struct pair_side side[2];
	struct pair_datagram *first, *last, *free;
	unsigned flight, made;
	bool is_cut[2][PAIR_NETWORKS]; /* what this side sends there is lost */
	uint32_t mtu;                  /* largest datagram that passes; 0: any */
	uint32_t datagram_max;         /* of both shells; to be set before pair_start() */
	uint32_t interface_max;        /* larger ones are refused at once; 0: none is */
	bool (*filter)(struct pair *p, struct pair_datagram *d); /* true: lost */
	/* A datagram of a flow arrived at @side. */
	void (*on_datagram)(struct pair *p, unsigned side, uint64_t flow, const uint8_t *bytes,
	                    size_t size);
	void (*on_train)(struct pair *p, unsigned side, const struct train *train);
	uint64_t arg;
	struct addr strays[PAIR_STRAYS];
	unsigned stray_count;
	bool sinks;              /* what is opened is read, not echoed */
	bool is_unchecked;       /* for long transfers */
	bool is_hostile;         /* a side invents frames: contents are not compared */
	enum cc_kind congestion; /* of both, from the next start on */
	unsigned spins;
	struct train train;
	uint8_t train_bytes[TRAIN_BYTES_MAX];
};

static struct pair_datagram pair_store[PAIR_FLIGHT_MAX];

/* ---- making ---- */

static inline void pair_init(struct pair *p, uint64_t seed)
{
	memset(p, 0, sizeof(*p));
	p->now = PAIR_START;
	p->delay = CV_MS(10);
	p->congestion = CC_CUBIC;
	rng_seeded_init(&p->seeded, seed);
	p->rng = rng_from_seeded(&p->seeded);
	for (unsigned i = 0; i < 2; i++) {
		struct pair_side *s = &p->side[i];

		rng_fill(&p->rng, s->sk, sizeof(s->sk));
		identity_init(&s->me, s->sk);
		s->addr[PAIR_PUBLIC] = addr_v4(198, 51, 100, (uint8_t)(1 + i), PAIR_PORT);
		s->addr[PAIR_LAN] = addr_v4(192, 168, 7, (uint8_t)(1 + i), PAIR_PORT);
		CV_ASSERT(addr_parse("[2001:db8::1]:28583", &s->addr[PAIR_V6]) == 0);
		s->addr[PAIR_V6].ip[15] = (uint8_t)(1 + i);
		s->aead_bits = AEAD_BIT_CHACHA; /* on every CPU the same bytes */
		s->deadline = CV_TIME_NEVER;
		s->has_address = true;
	}
	if (memcmp(p->side[0].me.pk, p->side[1].me.pk, 32) > 0) {
		uint8_t sk[32];

		memcpy(sk, p->side[0].sk, 32);
		memcpy(p->side[0].sk, p->side[1].sk, 32);
		memcpy(p->side[1].sk, sk, 32);
		identity_init(&p->side[0].me, p->side[0].sk);
		identity_init(&p->side[1].me, p->side[1].sk);
	}
}

/* The session of @i with the other. */
static inline struct session *pair_session(struct pair *p, unsigned i)
{
	return p->side[i].e->sessions[p->side[i].peer];
}

/* ---- the network ---- */

static inline void pair_insert(struct pair *p, struct pair_datagram *d)
{
	struct pair_datagram *after = p->last;

	while (after && after->at > d->at)
		after = after->before;
	d->before = after;
	d->next = after ? after->next : p->first;
	if (d->next)
		d->next->before = d;
	else
		p->last = d;
	if (after)
		after->next = d;
	else
		p->first = d;
	p->flight++;
}

static inline struct pair_datagram *pair_take(struct pair *p)
{
	struct pair_datagram *d = p->free;

	if (d)
		p->free = d->next;
	else if (p->made < PAIR_FLIGHT_MAX)
		d = &pair_store[p->made++];
	return d; /* NULL: a full queue drops */
}

static inline void pair_give(struct pair *p, struct pair_datagram *d)
{
	d->next = p->free;
	p->free = d;
}

static inline void pair_remove(struct pair *p, struct pair_datagram *d)
{
	if (d->before)
		d->before->next = d->next;
	else
		p->first = d->next;
	if (d->next)
		d->next->before = d->before;
	else
		p->last = d->before;
	p->flight--;
}

/* The network that @a belongs to on side @i, or PAIR_NETWORKS. */
static inline unsigned pair_network(const struct pair *p, unsigned i, const struct addr *a)
{
	unsigned n = 0;

	while (n < PAIR_NETWORKS && !addr_equal(a, &p->side[i].addr[n]))
		n++;
	return n;
}

/* One datagram leaves side @i for @to. */
static inline void pair_send(struct pair *p, unsigned i, const struct addr *to,
                             const uint8_t *bytes, size_t size)
{
	unsigned network = pair_network(p, !i, to);
	struct pair_side *s = &p->side[i];
	struct pair_datagram *d;

	if (p->interface_max && size > p->interface_max) {
		endpoint_on_too_large(s->e, p->now, 0, to, size);
		return;
	}
	s->datagrams++;
	s->bytes += size;
	s->kinds[bytes[0] >> 4]++;
	s->largest = CV_MAX(s->largest, size);
	CV_ASSERT(size <= PAIR_DATAGRAM_MAX);
	if (network == PAIR_NETWORKS) {
		if (p->stray_count < PAIR_STRAYS)
			p->strays[p->stray_count++] = *to;
		return;
	}
	if (p->is_cut[i][network] || (p->mtu && size > p->mtu))
		return;
	d = pair_take(p);
	if (!d)
		return;
	d->at = p->now + p->delay;
	d->from = s->addr[network];
	d->to = *to;
	d->sender = (int)i;
	d->ecn = p->train.ecn;
	d->is_refusal = false;
	d->size = size;
	memcpy(d->bytes, bytes, size);
	if (p->filter && p->filter(p, d))
		pair_give(p, d);
	else
		pair_insert(p, d);
}

/* A copy that arrives at @at. */
static inline void pair_copy(struct pair *p, const struct pair_datagram *d, cv_time at)
{
	struct pair_datagram *copy = pair_take(p);

	if (!copy)
		return;
	*copy = *d;
	copy->at = at;
	pair_insert(p, copy);
}

/* ---- the application ---- */

static inline uint8_t pair_byte(uint64_t offset)
{
	return (uint8_t)(offset * 31 + (offset >> 8) * 7);
}

static inline void pair_close_flow(struct pair_flow *f)
{
	stream_release(f->streams, f->stream, 0);
	f->stream = NULL;
}

static inline void pair_write_flow(struct pair_flow *f)
{
	uint64_t goal = f->echoes ? f->read : f->goal;

	while (f->stream && f->written < goal && stream_room(f->streams, f->stream) > 0) {
		uint8_t block[4096];
		size_t size = (size_t)CV_MIN(goal - f->written, sizeof(block));
		size_t taken;

		for (size_t i = 0; i < size; i++)
			block[i] = pair_byte(f->written + i);
		taken = stream_write(f->streams, f->stream, block, size);
		f->written += taken;
		if (taken == 0)
			return;
	}
	if (f->stream && !f->is_finished && !f->stays_open && f->written == goal &&
	    (!f->echoes || f->is_at_end)) {
		stream_finish(f->streams, f->stream);
		f->is_finished = true;
	}
}

static inline void pair_read_flow(struct pair *p, struct pair_flow *f)
{
	struct stream_vec vec[4];
	unsigned count;

	while (f->stream && (count = stream_peek(f->stream, vec, 4)) > 0) {
		size_t size = 0;

		for (unsigned i = 0; i < count; i++) {
			for (size_t k = 0; k < vec[i].size && !p->is_hostile; k++)
				CV_ASSERT(vec[i].bytes[k] == pair_byte(f->read + size + k));
			size += vec[i].size;
		}
		f->read += size;
		stream_consume(f->streams, f->stream, p->now, size);
	}
	if (f->stream && stream_is_at_end(f->stream))
		f->is_at_end = true;
}

static inline struct pair_flow *pair_add_flow(struct pair_side *s, struct streams *streams,
                                              struct stream *stream)
{
	struct pair_flow *f;

	if (s->flow_count == PAIR_FLOWS) {
		stream_release(streams, stream, 0);
		return NULL;
	}
	f = &s->flows[s->flow_count++];
	*f = (struct pair_flow){ .streams = streams, .stream = stream, .id = stream_id(stream) };
	stream_set_tag(stream, s->flow_count);
	return f;
}

static inline void pair_on_stream(struct pair *p, struct pair_side *s,
                                  const struct endpoint_event *ev)
{
	struct stream *stream = ev->stream.stream;
	struct pair_flow *f;

	if (!stream)
		return;
	if (ev->stream.kind == STREAM_EVENT_OPENED) {
		f = pair_add_flow(s, ev->streams, stream);
		if (!f)
			return;
		f->echoes = !p->sinks;
		f->stays_open = p->sinks;
		stream_accept(ev->streams, stream);
	} else {
		CV_ASSERT(stream_tag(stream) > 0 && stream_tag(stream) <= s->flow_count);
		f = &s->flows[stream_tag(stream) - 1];
	}
	CV_ASSERT(f->stream == stream);
	if (ev->stream.kind == STREAM_EVENT_RESET) {
		f->is_reset = true;
		f->code = ev->stream.code;
		pair_close_flow(f);
		return;
	}
	if (ev->stream.kind == STREAM_EVENT_STOPPED)
		f->is_finished = true;
	if (ev->stream.kind == STREAM_EVENT_ACKED)
		f->was_acked = true;
	pair_read_flow(p, f);
	pair_write_flow(f);
	if (f->is_at_end && f->is_finished)
		pair_close_flow(f);
}

/* ---- one side ---- */

static inline void pair_on_event(struct pair *p, unsigned i, const struct endpoint_event *ev)
{
	struct pair_side *s = &p->side[i];

	switch (ev->kind) {
	case ENDPOINT_EVENT_RESOLVE_PEER:
		s->resolves++;
		endpoint_set_peer_addresses(s->e, p->now, ev->peer, &p->side[!i].addr[PAIR_PUBLIC],
		                            1);
		return;
	case ENDPOINT_EVENT_PEER_UP:
		s->ups++;
		s->up_at = p->now;
		CV_ASSERT(s->ups == s->downs + 1);
		return;
	case ENDPOINT_EVENT_PEER_DOWN:
		s->downs++;
		s->down_at = p->now;
		s->down_code = ev->code;
		CV_ASSERT(s->ups == s->downs);
		return;
	case ENDPOINT_EVENT_PATH:
		s->paths++;
		return;
	case ENDPOINT_EVENT_STREAM:
		pair_on_stream(p, s, ev);
		return;
	case ENDPOINT_EVENT_CLASH:
		return;
	case ENDPOINT_EVENT_DUPLICATE:
		s->duplicates++;
		return;
	case ENDPOINT_EVENT_RESOLVE_SERVER:
	case ENDPOINT_EVENT_SERVER_UP:
	case ENDPOINT_EVENT_SERVER_DOWN:
	case ENDPOINT_EVENT_SERVER_REFUSED:
	case ENDPOINT_EVENT_TCP_OPEN:
	case ENDPOINT_EVENT_TCP_CLOSE:
	case ENDPOINT_EVENT_CLOSE_SOCKET:
		return;
	case ENDPOINT_EVENT_OPEN_SOCKETS: /* this host has no more */
		endpoint_on_sockets_opened(s->e, p->now, ev->socket, ev->count, 0, NULL);
		return;
	}
	CV_UNREACHABLE();
}

/* What endpoint.h prescribes. */
static inline void pair_drain(struct pair *p, unsigned i)
{
	struct pair_side *s = &p->side[i];
	struct endpoint_event ev;
	const uint8_t *bytes;
	unsigned limit = 0;
	uint32_t peer;
	uint64_t flow;
	size_t size;

	while (endpoint_next_event(s->e, p->now, &ev)) {
		pair_on_event(p, i, &ev);
		CV_ASSERT(++limit < 100000);
	}
	while (endpoint_next_datagram(s->e, &peer, &flow, &bytes, &size)) {
		CV_ASSERT(peer == s->peer);
		if (p->on_datagram)
			p->on_datagram(p, i, flow, bytes, size);
		CV_ASSERT(++limit < 100000);
	}
	for (;;) {
		p->train = (struct train){ .bytes = p->train_bytes };
		if (!endpoint_write(s->e, p->now, &p->train))
			break;
		CV_ASSERT(p->train.size > 0 && p->train.size <= TRAIN_BYTES_MAX);
		CV_ASSERT(++limit < 100000);
		s->trains++;
		if (p->on_train)
			p->on_train(p, i, &p->train);
		for (size_t at = 0; at < p->train.size; at += p->train.segment_size)
			pair_send(p, i, &p->train.to, p->train_bytes + at,
			          CV_MIN(p->train.segment_size, p->train.size - at));
	}
	s->deadline = endpoint_deadline(s->e);
	CV_ASSERT(p->is_unchecked || (endpoint_check(s->e) && pool_check(&s->pool)));
}

static inline void pair_start_side(struct pair *p, unsigned i)
{
	struct pair_side *s = &p->side[i];
	struct endpoint_options opt = {
		.me = &s->me,
		.rng = &s->rng,
		.pool = &s->pool,
		.aead_bits = s->aead_bits,
		.streams_max = 256,
		.congestion = p->congestion,
		.datagram_max = p->datagram_max,
	};
	struct endpoint_peer peer = {
		.pk = s->peer_pk ? s->peer_pk : p->side[!i].me.pk,
		.psk = s->psk,
		.policy = s->policy,
		.has_address = s->has_address,
	};
	struct addr local[PAIR_NETWORKS];
	unsigned count = 0;

	rng_seeded_init(&s->seeded, rng_u64(&p->rng));
	s->rng = rng_from_seeded(&s->seeded);
	pool_init(&s->pool, UINT64_C(64) << 20);
	CV_ASSERT(endpoint_new(&s->e, p->now, &opt) == 0);
	CV_ASSERT(endpoint_add_peer(s->e, p->now, &peer, &s->peer) == 0);
	for (unsigned n = 0; n < PAIR_NETWORKS; n++) {
		if (s->announced >> n & 1)
			local[count++] = s->addr[n];
	}
	if (count > 0)
		endpoint_set_local_addresses(s->e, p->now, local, count);
	pair_drain(p, i);
}

static inline void pair_start(struct pair *p)
{
	pair_start_side(p, 0);
	pair_start_side(p, 1);
}

/* The process ends: without a word, or with its goodbyes. */
static inline void pair_stop_side(struct pair *p, unsigned i, bool is_polite)
{
	struct pair_side *s = &p->side[i];

	if (!s->e)
		return;
	if (is_polite) {
		endpoint_close(s->e, p->now);
		pair_drain(p, i);
	}
	endpoint_free(s->e, p->now);
	s->e = NULL;
	s->deadline = CV_TIME_NEVER;
	s->ups = s->downs = 0;
	s->flow_count = 0;
	CV_ASSERT(s->pool.used == 0);
	pool_deinit(&s->pool);
}

static inline void pair_deinit(struct pair *p)
{
	pair_stop_side(p, 0, false);
	pair_stop_side(p, 1, false);
}

/* After something was changed from outside. */
static inline void pair_poke(struct pair *p, unsigned i)
{
	endpoint_on_turn(p->side[i].e, p->now);
	endpoint_touch(p->side[i].e, p->side[i].peer);
	pair_drain(p, i);
}

/* ---- time ---- */

static inline void pair_deliver(struct pair *p, struct pair_datagram *d)
{
	unsigned i = d->is_refusal ? (unsigned)d->sender : (unsigned)!d->sender;
	struct pair_side *s = &p->side[i];
	struct arrival in = {
		.bytes = d->bytes,
		.size = d->size,
		.segment_size = d->size,
		.ecn = d->ecn,
		.from = d->from,
	};

	if (!s->e || s->is_asleep) {
		if (!s->e && s->refuses && !d->is_refusal) {
			d->is_refusal = true;
			d->at = p->now + p->delay;
			pair_insert(p, d);
			return;
		}
		pair_give(p, d);
		return;
	}
	endpoint_on_turn(s->e, p->now);
	if (d->is_refusal)
		endpoint_on_refused(s->e, p->now, 0, &d->to);
	else
		endpoint_on_arrival(s->e, p->now, &in);
	pair_give(p, d);
	pair_drain(p, i);
}

/* The next thing that happens, if it happens by @until. */
static inline bool pair_step(struct pair *p, cv_time until)
{
	cv_time at = p->first ? p->first->at : CV_TIME_NEVER;
	struct pair_datagram *d = p->first;

	for (unsigned i = 0; i < 2; i++) {
		if (p->side[i].e && !p->side[i].is_asleep)
			at = cv_time_min(at, p->side[i].deadline);
	}
	if (at > until) {
		p->now = CV_MAX(p->now, until);
		return false;
	}
	p->spins = at > p->now ? 0 : p->spins + 1;
	CV_ASSERT(p->spins < PAIR_SPINS_MAX);
	p->now = CV_MAX(p->now, at);
	if (d && d->at <= p->now) {
		pair_remove(p, d);
		pair_deliver(p, d);
		return true;
	}
	for (unsigned i = 0; i < 2; i++) {
		struct pair_side *s = &p->side[i];

		if (!s->e || s->is_asleep || s->deadline > p->now)
			continue;
		endpoint_on_turn(s->e, p->now);
		endpoint_on_deadline(s->e, p->now);
		pair_drain(p, i);
	}
	return true;
}

static inline void pair_run(struct pair *p, cv_duration d)
{
	cv_time until = p->now + d;

	while (pair_step(p, until))
		;
}

/* Runs until @is_true says so; false when it did not within @bound. */
static inline bool pair_until(struct pair *p, cv_duration bound,
                              bool (*is_true)(const struct pair *p))
{
	cv_time until = p->now + bound;

	while (!is_true(p)) {
		if (!pair_step(p, until))
			return is_true(p);
	}
	return true;
}

static inline bool pair_is_up(const struct pair *p)
{
	return p->side[0].ups > p->side[0].downs && p->side[1].ups > p->side[1].downs;
}

static inline void pair_wake(struct pair *p, unsigned i)
{
	p->side[i].is_asleep = false;
	endpoint_on_turn(p->side[i].e, p->now);
	if (p->side[i].deadline <= p->now)
		endpoint_on_deadline(p->side[i].e, p->now);
	pair_drain(p, i);
}

/* ---- doing ---- */

/* A stream with @size bytes, which the far side echoes; NULL when none may be opened. */
static inline struct pair_flow *pair_open_for(struct pair *p, unsigned i, uint64_t size,
                                              bool stays_open)
{
	struct pair_side *s = &p->side[i];
	struct streams *streams = endpoint_streams(s->e, s->peer);
	struct stream *stream;
	struct pair_flow *f;

	if (s->flow_count == PAIR_FLOWS || streams_open(streams, &stream) < 0)
		return NULL;
	f = pair_add_flow(s, streams, stream);
	if (!f)
		return NULL;
	f->goal = size;
	f->stays_open = stays_open;
	pair_write_flow(f);
	pair_poke(p, i);
	return f;
}

static inline struct pair_flow *pair_open(struct pair *p, unsigned i, uint64_t size)
{
	return pair_open_for(p, i, size, false);
}

static inline bool pair_is_echoed(const struct pair_flow *f)
{
	return f->is_at_end && f->read == f->goal;
}

/* Side @i seals @frames as if it were its own packet, and sends them on the active path. False: no
 * keys or no path. */
static inline bool pair_forge(struct pair *p, unsigned i, uint8_t flags, const uint8_t *frames,
                              size_t size)
{
	struct session *s = pair_session(p, i);
	struct epoch *e = assoc_send_epoch(&s->assoc, p->now);
	struct path *path = paths_active(&s->paths);
	uint8_t packet[PAIR_DATAGRAM_MAX];
	uint64_t number;

	CV_ASSERT(size + WIRE_DATA_OVERHEAD <= sizeof(packet));
	if (!e || !path || !s->assoc.is_bound || sent_reserve(&s->sent, 1, 1) < 0)
		return false;
	number = sent_open(&s->sent);
	memcpy(packet + WIRE_DATA_HEADER, frames, size);
	size = epoch_seal_data(e, flags, number, packet, size);
	sent_commit(&s->sent, p->now, s->paths.active, path->age, 0, false, false);
	pair_send(p, i, &path->to.addr, packet, size);
	return true;
}

static inline bool pair_forge_frame(struct pair *p, unsigned i, const struct wire_frame *f)
{
	uint8_t bytes[1200];
	struct wr w = wr_init(bytes, sizeof(bytes));

	wire_write_frame(&w, f);
	CV_ASSERT(!w.bad);
	return pair_forge(p, i, 0, bytes, wr_size(&w));
}

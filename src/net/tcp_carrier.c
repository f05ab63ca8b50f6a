/* SPDX-License-Identifier: MIT */

/*
 * Out: a train is written as frames in one call, as far as the kernel takes it. The kernel keeps
 * 32 KiB of unsent bytes at most (TCP_NOTSENT_LOWAT); what it does not take waits here, in packets,
 * and the first of them may be written in part. It is the one that is never dropped, as the stream
 * would break. Every connection may have such a one, so the pool has a place for each of them, and
 * some thousands more; when those are gone, what is too old anywhere is dropped first.
 *
 *	queue of a connection:   first (offset) -> next -> ... -> last
 *	                         written in part   dropped from here on
 *
 * In: all connections read into one buffer; a frame that is not whole at its end is kept in the
 * connection. What is whole lies in the buffer until the owner has settled.
 *
 * Who has not yet said who he is may be displaced, so that nobody who holds connections open keeps
 * others out: the oldest of those goes when there are too many.
 */
#include "net/tcp_carrier.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/idmap.h"
#include "base/list.h"
#include "net/clock.h"
#include "tunnel/carriage.h"

enum {
	POOL_EXTRA = 8192,  /* waiting packets of all, beside one a connection: 12 MiB */
	READ_SIZE = 65536,  /* bytes a call */
	UNSENT_MAX = 32768, /* that the kernel keeps of each connection */
	CONNS_SPARE = 64,   /* accepted, and about to displace others */
	TICK_MS = 1000,
	STALE_TRIES = 64, /* connections looked at for old packets when the pool is empty */
};
#define WELCOME_WITHIN CV_SEC(10) /* a valid INIT is due by then (protocol rule 6.1) */
#define NONE UINT32_MAX

struct packet {
	uint32_t next;
	uint16_t size; /* with its length in front */
	cv_time at;
	uint8_t bytes[CARRIAGE_FRAME_MAX];
};

struct leg {
	struct tcp_carrier *carrier;
	struct tcp_conn *conn;
	struct addr peer;
	uint64_t prefix;
	uint32_t slot;
	struct list order; /* by check_at: in carrier.strangers until found welcome, then .known */
	struct list waiting; /* in carrier.waiting while it has packets */
	cv_time check_at;
	uint32_t first, last; /* of its queue */
	uint32_t count, bytes;
	uint16_t offset; /* bytes of the first that are written */
	bool is_gone;
	struct carriage in;
};

struct tcp_carrier {
	struct tcp_carrier_options opt;
	const struct tcp_carrier_ops *ops;
	void *ctx;
	struct tcp_set *set;
	uv_timer_t timer;
	struct leg **legs; /* owned, by slot */
	uint32_t *unused;  /* stack of slots */
	uint32_t unused_count, count, closing;
	struct idmap by_peer, by_prefix; /* to slots; to counts */
	uint64_t seed;
	struct list strangers, known, waiting;
	struct packet *pool; /* owned */
	uint32_t pool_free, pool_fresh, pool_used, pool_cap, pool_extra;
	uint32_t waiting_count; /* connections with packets */
	uint8_t *scratch;       /* owned: a train as frames */
	uint8_t *input;         /* owned: READ_SIZE */
	struct tcp_carrier_counters counters;
	bool is_closing, is_timer_closed;
};

/* ---- packets that wait ---- */

static void give_back(struct tcp_carrier *c, uint32_t i)
{
	c->pool[i].next = c->pool_free;
	c->pool_free = i;
	c->pool_used--;
}

static void release_first(struct leg *l)
{
	struct tcp_carrier *c = l->carrier;
	struct packet *p = &c->pool[l->first];
	uint32_t i = l->first;

	l->first = p->next;
	if (l->first == NONE)
		l->last = NONE;
	l->count--;
	l->bytes -= p->size;
	l->offset = 0;
	give_back(c, i);
	if (l->count > 0)
		return;
	list_remove(&l->waiting);
	c->waiting_count--;
}

/* Drops the oldest that may be; false: there is none. */
static bool drop_oldest(struct leg *l)
{
	struct tcp_carrier *c = l->carrier;
	struct packet *first, *second;
	uint32_t i;

	if (l->count == 0 || (l->count == 1 && l->offset > 0))
		return false;
	c->counters.dropped++;
	if (l->offset == 0) {
		release_first(l);
		return true;
	}
	first = &c->pool[l->first];
	i = first->next;
	second = &c->pool[i];
	first->next = second->next;
	if (l->last == i)
		l->last = l->first;
	l->count--;
	l->bytes -= second->size;
	give_back(c, i);
	return true;
}

static bool is_stale(const struct leg *l, cv_time now)
{
	const struct tcp_carrier *c = l->carrier;
	uint32_t i = l->first;

	if (c->opt.age_max == 0 || i == NONE)
		return false;
	if (l->offset > 0)
		i = c->pool[i].next;
	return i != NONE && cv_time_since(now, c->pool[i].at) > c->opt.age_max;
}

static void drop_stale(struct leg *l, cv_time now)
{
	while (is_stale(l, now)) {
		if (!drop_oldest(l))
			return;
	}
}

/* A place for one more of @l; NONE: there is none. The first of a queue always has one. */
static uint32_t take_packet(struct leg *l)
{
	struct tcp_carrier *c = l->carrier;
	uint32_t i = c->pool_free;

	if (l->count > 0 && c->pool_used - c->waiting_count >= c->pool_extra)
		return NONE;
	if (i != NONE)
		c->pool_free = c->pool[i].next;
	else
		i = c->pool_fresh++;
	CV_ASSERT(i < c->pool_cap);
	c->pool_used++;
	return i;
}

/* There is no place: what waits too long for others, whose queues nobody looks at meanwhile. */
static void sweep(struct tcp_carrier *c, cv_time now)
{
	for (int i = 0; i < STALE_TRIES && !list_is_empty(&c->waiting); i++) {
		struct leg *l = list_entry(c->waiting.next, struct leg, waiting);

		list_remove(&l->waiting);
		list_add_tail(&c->waiting, &l->waiting);
		drop_stale(l, now);
	}
}

/* A frame of which @offset bytes were written waits; or, where there is no room, is lost. */
static void queue_frame(struct leg *l, cv_time now, const uint8_t *frame, size_t size,
                        uint16_t offset)
{
	struct tcp_carrier *c = l->carrier;
	uint32_t i;

	while ((l->count >= TCP_CARRIER_PACKETS || l->bytes + size > TCP_CARRIER_BYTES) &&
	       drop_oldest(l))
		;
	i = take_packet(l);
	if (i == NONE) {
		if (!drop_oldest(l))
			sweep(c, now);
		i = take_packet(l);
	}
	if (i == NONE) {
		c->counters.dropped++;
		return;
	}
	c->pool[i].next = NONE;
	c->pool[i].size = (uint16_t)size;
	c->pool[i].at = now;
	memcpy(c->pool[i].bytes, frame, size);
	if (l->last == NONE) {
		l->first = i;
		l->offset = offset;
		list_add_tail(&c->waiting, &l->waiting);
		c->waiting_count++;
	} else {
		CV_ASSERT(offset == 0);
		c->pool[l->last].next = i;
	}
	l->last = i;
	l->count++;
	l->bytes += (uint32_t)size;
}

/* ---- the end of one ---- */

static uint64_t key_of(const struct tcp_carrier *c, const struct addr *peer)
{
	return addr_hash(peer, c->seed);
}

static struct leg *find(const struct tcp_carrier *c, const struct addr *peer)
{
	uint64_t slot = idmap_find(&c->by_peer, key_of(c, peer));
	struct leg *l = slot == IDMAP_NONE ? NULL : c->legs[slot];

	return l && addr_equal(&l->peer, peer) ? l : NULL;
}

/* /32 or /64: what one subscriber has. */
static uint64_t prefix_of(const struct tcp_carrier *c, const struct addr *peer)
{
	struct addr prefix = *peer;

	prefix.port = 0;
	prefix.scope = 0;
	if (prefix.family == ADDR_V6)
		memset(prefix.ip + 8, 0, 8);
	return addr_hash(&prefix, ~c->seed);
}

static void count_prefix(struct tcp_carrier *c, uint64_t prefix, int change)
{
	uint64_t count = idmap_find(&c->by_prefix, prefix);
	int r = 0;

	count = (count == IDMAP_NONE ? 0 : count) + (uint64_t)change;
	if (count == 0)
		(void)idmap_remove(&c->by_prefix, prefix);
	else
		r = idmap_add(&c->by_prefix, prefix, count);
	CV_ASSERT(r == 0); /* replaces, or reserved */
}

/* Nothing of it is used any more but the memory, until the loop lets go of its handle. */
static void end_leg(struct leg *l)
{
	struct tcp_carrier *c = l->carrier;

	CV_ASSERT(!l->is_gone);
	l->is_gone = true;
	while (l->count > 0)
		release_first(l);
	list_remove(&l->order);
	(void)idmap_remove(&c->by_peer, key_of(c, &l->peer));
	count_prefix(c, l->prefix, -1);
	c->legs[l->slot] = NULL;
	c->unused[c->unused_count++] = l->slot;
	c->count--;
	c->closing++;
	tcp_conn_close(l->conn);
}

static void fail_leg(struct leg *l, cv_time now)
{
	struct tcp_carrier *c = l->carrier;
	struct addr peer = l->peer;

	end_leg(l);
	c->ops->on_closed(c->ctx, now, &peer);
}

/* ---- out ---- */

static void say_writable(struct leg *l, cv_time now, bool is_writable)
{
	if (l->carrier->ops->on_writable)
		l->carrier->ops->on_writable(l->carrier->ctx, now, &l->peer, is_writable);
}

/* The packets of @t as frames; returns the bytes. */
static size_t frame_train(struct tcp_carrier *c, const struct train *t)
{
	size_t out = 0;

	for (size_t at = 0; at < t->size; at += t->segment_size) {
		size_t size = CV_MIN(t->segment_size, t->size - at);

		if (size > CARRIAGE_DATAGRAM_MAX) { /* of no server session */
			c->counters.dropped++;
			continue;
		}
		carriage_write_header(c->scratch + out, size);
		memcpy(c->scratch + out + CARRIAGE_HEADER, t->bytes + at, size);
		out += CARRIAGE_HEADER + size;
		c->counters.tx_packets++;
		c->counters.tx_bytes += size;
	}
	return out;
}

/* What the kernel took ends at @taken of @size: the rest waits. */
static void keep_rest(struct leg *l, cv_time now, const uint8_t *frames, size_t size, size_t taken)
{
	size_t at = 0, frame;

	for (; at < size; at += frame) {
		frame = CARRIAGE_HEADER + ((size_t)frames[at] << 8 | frames[at + 1]);
		if (at + frame > taken)
			queue_frame(l, now, frames + at, frame,
			            (uint16_t)(taken > at ? taken - at : 0));
	}
}

void tcp_carrier_send(struct tcp_carrier *c, cv_time now, const struct train *t)
{
	struct leg *l = find(c, &t->to);
	size_t size, taken = 0;
	bool was_empty;

	if (!l) {
		c->counters.dropped += t->count;
		return;
	}
	size = frame_train(c, t);
	was_empty = l->count == 0;
	if (was_empty) {
		struct iovec piece = { .iov_base = c->scratch, .iov_len = size };

		/* That the connection has ended is read from it, not told in the middle of this. */
		if (tcp_conn_writev(l->conn, &piece, 1, &taken) < 0)
			taken = size;
	}
	keep_rest(l, now, c->scratch, size, taken);
	drop_stale(l, now);
	if (was_empty && l->count > 0)
		say_writable(l, now, false);
}

/* Until the kernel takes no more or nothing waits. */
static void flush(struct leg *l, cv_time now)
{
	struct tcp_carrier *c = l->carrier;
	struct iovec pieces[TCP_CONN_PIECES_MAX];
	size_t taken, total;
	unsigned n;

	drop_stale(l, now);
	while (l->count > 0) {
		total = 0;
		n = 0;
		for (uint32_t i = l->first; i != NONE && n < TCP_CONN_PIECES_MAX;
		     i = c->pool[i].next) {
			size_t skip = n == 0 ? l->offset : 0;

			pieces[n].iov_base = c->pool[i].bytes + skip;
			pieces[n].iov_len = c->pool[i].size - skip;
			total += pieces[n++].iov_len;
		}
		if (tcp_conn_writev(l->conn, pieces, n, &taken) < 0) {
			fail_leg(l, now);
			return;
		}
		for (size_t left = taken; left > 0;) {
			size_t rest = (size_t)c->pool[l->first].size - l->offset;

			if (left < rest) {
				l->offset = (uint16_t)(l->offset + left);
				break;
			}
			left -= rest;
			release_first(l);
		}
		if (taken < total)
			return;
	}
	say_writable(l, now, true);
}

/* ---- events of a connection ---- */

static uint8_t *on_alloc(void *ctx, size_t *size)
{
	struct leg *l = ctx;

	*size = READ_SIZE;
	return l->carrier->input;
}

static void on_read(void *ctx, size_t size)
{
	struct leg *l = ctx;
	struct tcp_carrier *c = l->carrier;
	uint8_t *bytes = c->input;
	cv_time now = clock_now();
	struct carriage_datagram d;
	enum carriage_verdict v;
	bool any = false;

	while ((v = carriage_next(&l->in, &bytes, &size, &d)) == CARRIAGE_DATAGRAM) {
		struct arrival in = {
			.bytes = d.bytes,
			.size = d.size,
			.segment_size = d.size,
			.socket = SOCKET_TCP,
			.stays = c->ops->settle && !d.is_copied,
			.from = l->peer,
		};

		any = true;
		c->counters.rx_packets++;
		c->counters.rx_bytes += d.size;
		c->ops->on_arrival(c->ctx, now, &in);
		if (l->is_gone)
			break;
	}
	if (any && c->ops->settle)
		c->ops->settle(c->ctx, now);
	if (v == CARRIAGE_BROKEN && !l->is_gone) {
		c->counters.broken++;
		fail_leg(l, now);
	}
}

static void on_eof(void *ctx)
{
	fail_leg(ctx, clock_now());
}

static void on_error(void *ctx, int error)
{
	(void)error;
	fail_leg(ctx, clock_now());
}

static void on_writable(void *ctx)
{
	flush(ctx, clock_now());
}

static void release(struct tcp_carrier *c)
{
	if (!c->is_closing || !c->is_timer_closed || c->closing > 0)
		return;
	idmap_deinit(&c->by_peer);
	idmap_deinit(&c->by_prefix);
	cv_free(c->legs);
	cv_free(c->unused);
	cv_free(c->pool);
	cv_free(c->scratch);
	cv_free(c->input);
	cv_free(c);
}

static void on_conn_closed(void *ctx)
{
	struct leg *l = ctx;
	struct tcp_carrier *c = l->carrier;

	CV_ASSERT(l->is_gone && c->closing > 0);
	c->closing--;
	cv_free(l);
	release(c);
}

static const struct tcp_conn_events conn_events = {
	.alloc = on_alloc,
	.on_read = on_read,
	.on_eof = on_eof,
	.on_error = on_error,
	.on_writable = on_writable,
	.on_closed = on_conn_closed,
};

/* ---- who may stay ---- */

static bool is_welcome(struct leg *l)
{
	struct tcp_carrier *c = l->carrier;

	return !c->ops->is_welcome || c->ops->is_welcome(c->ctx, &l->peer);
}

/* Its turn will come again. */
static void stay(struct leg *l, cv_time now)
{
	const struct tcp_carrier *c = l->carrier;

	list_remove(&l->order);
	list_add_tail(&l->carrier->known, &l->order);
	l->check_at = cv_time_after(now, c->opt.welcome_within);
}

static void check_list(struct tcp_carrier *c, struct list *list, cv_time now)
{
	while (!list_is_empty(list)) {
		struct leg *l = list_entry(list->next, struct leg, order);

		if (l->check_at > now)
			return;
		if (is_welcome(l)) {
			stay(l, now);
			continue;
		}
		c->counters.expired++;
		fail_leg(l, now);
	}
}

static void on_tick(uv_timer_t *timer)
{
	struct tcp_carrier *c = timer->data;
	cv_time now = clock_now();

	check_list(c, &c->strangers, now);
	check_list(c, &c->known, now);
}

/* Room for one more: whoever waited longest without saying who he is goes. */
static bool displace(struct tcp_carrier *c, cv_time now)
{
	while (!list_is_empty(&c->strangers)) {
		struct leg *l = list_entry(c->strangers.next, struct leg, order);

		if (is_welcome(l)) {
			stay(l, now);
			continue;
		}
		c->counters.displaced++;
		fail_leg(l, now);
		return true;
	}
	return false;
}

static bool may_come(struct tcp_carrier *c, cv_time now, const struct addr *peer, uint64_t prefix)
{
	uint64_t count = idmap_find(&c->by_prefix, prefix);

	/* Two of a NAT's connections, to different ports of ours, may have one far end. */
	if (peer->family == ADDR_NONE || find(c, peer))
		return false;
	if (c->opt.conns_per_prefix_max > 0 && count != IDMAP_NONE &&
	    count >= c->opt.conns_per_prefix_max)
		return false;
	return c->count < c->opt.conns_max || displace(c, now);
}

bool tcp_carrier_take(struct tcp_carrier *c, struct tcp_conn *conn)
{
	struct addr peer = tcp_conn_peer_address(conn);
	uint64_t prefix = prefix_of(c, &peer);
	cv_time now = clock_now();
	struct leg *l = NULL;
	int r;

	c->counters.taken++;
	if (!may_come(c, now, &peer, prefix) || idmap_reserve(&c->by_peer, c->count + 1) < 0 ||
	    idmap_reserve(&c->by_prefix, c->count + 2) < 0 || !(l = cv_zalloc(sizeof(*l)))) {
		c->counters.refused++;
		tcp_conn_reset(conn);
		return false;
	}
	*l = (struct leg){ .carrier = c, .conn = conn, .peer = peer, .prefix = prefix };
	l->first = l->last = NONE;
	l->check_at = cv_time_after(now, c->opt.welcome_within);
	carriage_init(&l->in);
	list_init(&l->order);
	list_init(&l->waiting);
	l->slot = c->unused_count > 0 ? c->unused[--c->unused_count] : c->count;
	c->legs[l->slot] = l;
	c->count++;
	r = idmap_add(&c->by_peer, key_of(c, &peer), l->slot);
	CV_ASSERT(r == 0);
	count_prefix(c, prefix, 1);
	list_add_tail(&c->strangers, &l->order);
	tcp_conn_keep_short(conn, UNSENT_MAX);
	tcp_conn_start(conn, &conn_events, l);
	tcp_conn_read_start(conn);
	return true;
}

void tcp_carrier_drop(struct tcp_carrier *c, const struct addr *peer)
{
	struct leg *l = find(c, peer);

	if (l)
		end_leg(l);
}

/* ---- life ---- */

static int allocate(struct tcp_carrier *c)
{
	uint32_t most = c->opt.conns_max;

	c->pool_extra = CV_MIN(c->opt.packets_max ? c->opt.packets_max : (uint32_t)POOL_EXTRA,
	                       (uint32_t)TCP_CARRIER_PACKETS * most);
	c->pool_cap = most + c->pool_extra;
	c->pool_free = NONE;
	c->legs = cv_zalloc_array(most, sizeof(struct leg *));
	c->unused = cv_zalloc_array(most, sizeof(c->unused[0]));
	c->pool = cv_zalloc_array(c->pool_cap, sizeof(c->pool[0]));
	c->scratch = cv_zalloc(TRAIN_BYTES_MAX + (size_t)CARRIAGE_HEADER * TRAIN_SEGMENTS_MAX);
	c->input = cv_zalloc_aligned(READ_SIZE, 64);
	return c->legs && c->unused && c->pool && c->scratch && c->input ? 0 : -ENOMEM;
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct tcp_carrier *c = handle->data;

	c->is_timer_closed = true;
	release(c);
}

int tcp_carrier_open(uv_loop_t *loop, const struct tcp_carrier_options *opt,
                     const struct tcp_carrier_ops *ops, void *ctx, struct tcp_carrier **out)
{
	struct tcp_carrier *c = cv_zalloc(sizeof(*c));
	uint64_t tick;
	int r;

	CV_ASSERT(opt->conns_max > 0);
	if (!c)
		return -ENOMEM;
	*c = (struct tcp_carrier){ .opt = *opt, .ops = ops, .ctx = ctx };
	if (c->opt.welcome_within == 0)
		c->opt.welcome_within = WELCOME_WITHIN;
	/* Without it the tables' order could be guessed: dear to somebody, wrong for nobody. */
	(void)uv_random(NULL, NULL, &c->seed, sizeof(c->seed), 0, NULL);
	list_init(&c->strangers);
	list_init(&c->known);
	list_init(&c->waiting);
	idmap_init(&c->by_peer, c->seed);
	idmap_init(&c->by_prefix, ~c->seed);
	r = allocate(c);
	if (r == 0)
		r = tcp_set_open(loop, opt->conns_max + CONNS_SPARE, &c->set);
	if (r < 0) {
		c->is_closing = c->is_timer_closed = true;
		release(c);
		return r;
	}
	r = uv_timer_init(loop, &c->timer);
	CV_ASSERT(r == 0); /* libuv's never fails */
	c->timer.data = c;
	tick = CV_MIN((uint64_t)TICK_MS, c->opt.welcome_within / CV_MS(4));
	(void)uv_timer_start(&c->timer, on_tick, tick, tick);
	uv_unref((uv_handle_t *)&c->timer); /* connections keep the loop alive themselves */
	*out = c;
	return 0;
}

struct tcp_set *tcp_carrier_set(const struct tcp_carrier *c)
{
	return c->set;
}

void tcp_carrier_close(struct tcp_carrier *c)
{
	CV_ASSERT(!c->is_closing);
	c->is_closing = true;
	while (!list_is_empty(&c->strangers))
		end_leg(list_entry(c->strangers.next, struct leg, order));
	while (!list_is_empty(&c->known))
		end_leg(list_entry(c->known.next, struct leg, order));
	tcp_set_close(c->set);
	uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}

void tcp_carrier_counters(const struct tcp_carrier *c, struct tcp_carrier_counters *out)
{
	*out = c->counters;
	out->conns = c->count;
}

/* SPDX-License-Identifier: MIT */
#include "flows/udp_flow.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "flows/bridge.h"
#include "net/clock.h"
#include "net/entropy.h"

enum {
	/* What waits for a lookup or a handshake: the first flight of any protocol. */
	HELD_EACH_MAX = 8,
	HELD_EACH_SIZE_MAX = 16 * 1024,
	HELD_SIZE_MAX = 4 * 1024 * 1024, /* of all flows */
	EARLY_EACH_MAX = 32,             /* of one peer */
	EARLY_SIZE_MAX = 2048,
	TICK_MS = 250, /* deadlines of flows are long */
};
#define EARLY_AGE CV_MS(250)

/* Of the 256 KiB that a session may queue: from here on sockets of flows that have so much of it
 * are left alone, until so little is left. */
enum {
	QUEUE_HIGH = 128 * 1024,
	FLOW_HIGH = 16 * 1024,
	QUEUE_LOW = 48 * 1024,
	PAUSE_MAX_MS = 5,
};

static void on_tick(uv_timer_t *timer);

/* ---- life ---- */

void udp_flows_init(struct bridge *b)
{
	idmap_init(&b->udp.by_id, entropy_u64());
	heap_init(&b->udp.deadlines);
	b->udp.far_sockets_max = UINT32_MAX;
	list_init(&b->udp.waiting);
	list_init(&b->udp.paused);
	list_init(&b->udp.far);
	(void)uv_timer_init(b->loop, &b->udp.timer); /* never fails */
	b->udp.timer.data = b;
	(void)uv_timer_init(b->loop, &b->udp.pause_timer);
	b->udp.pause_timer.data = b;
	(void)uv_prepare_init(b->loop, &b->udp.prepare);
	b->udp.prepare.data = b;
}

static void drop_early(struct udp_early *e)
{
	cv_free(e->datagram);
	e->datagram = NULL;
}

void udp_flows_close(struct bridge *b)
{
	if (b->udp.set)
		udp_set_close(b->udp.set);
	for (unsigned i = 0; i < UDP_EARLY_MAX; i++)
		drop_early(&b->udp.early[i]);
	uv_close((uv_handle_t *)&b->udp.timer, NULL);
	uv_close((uv_handle_t *)&b->udp.pause_timer, NULL);
	uv_close((uv_handle_t *)&b->udp.prepare, NULL);
}

void udp_flows_deinit(struct bridge *b)
{
	CV_ASSERT(b->udp.count == 0);
	idmap_deinit(&b->udp.by_id);
	heap_deinit(&b->udp.deadlines);
	udp_set_free(b->udp.set);
}

struct udp_set *udp_flows_set(struct bridge *b)
{
	if (!b->udp.set && udp_set_open(b->loop, &b->udp.set) < 0)
		b->udp.set = NULL;
	return b->udp.set;
}

/* A stream's id has 48 bits, a peer's number 12. */
static uint64_t key_of(uint32_t peer, uint64_t id)
{
	return (uint64_t)peer << 48 | id;
}

static struct udp_flow *find(struct bridge *b, uint32_t peer, uint64_t id)
{
	struct udp_flow *f = b->udp.last;
	uint64_t value;

	/* Datagrams come in runs. */
	if (f && f->id == id && f->peer == peer)
		return f;
	value = idmap_find(&b->udp.by_id, key_of(peer, id));
	if (value == IDMAP_NONE)
		return NULL;
	f = (struct udp_flow *)(uintptr_t)value;
	b->udp.last = f;
	return f;
}

int udp_flow_add(struct udp_flow *f, cv_time now)
{
	struct udp_flows *all = &f->b->udp;

	if (all->count >= UDP_FLOWS_MAX)
		return -ENOBUFS;
	f->id = stream_id(f->stream);
	if (heap_reserve(&all->deadlines, (size_t)all->count + 1) < 0 ||
	    idmap_add(&all->by_id, key_of(f->peer, f->id), (uint64_t)(uintptr_t)f) < 0)
		return -ENOMEM;
	all->last = NULL; /* may have the same number, from an object that is lost */
	heap_node_init(&f->deadline);
	list_init(&f->waiting);
	f->held_end = &f->held;
	f->used_at = now;
	stream_set_tag(f->stream, (uint64_t)(uintptr_t)f | 1);
	if (all->count++ == 0 && !all->is_ticking && !f->b->is_closing) {
		all->is_ticking = true;
		(void)uv_timer_start(&all->timer, on_tick, TICK_MS, TICK_MS); /* never fails here */
	}
	return 0;
}

void udp_flow_drop_held(struct udp_flow *f)
{
	while (f->held) {
		struct udp_held *h = f->held;

		f->held = h->next;
		f->b->udp.held_size -= h->size;
		cv_free(h);
	}
	f->held_end = &f->held;
	f->held_count = f->held_size = 0;
	list_remove(&f->waiting);
}

void udp_flow_remove(struct udp_flow *f, enum target_code code)
{
	struct udp_flows *all = &f->b->udp;

	if (all->last == f)
		all->last = NULL;
	/* The place may be another's: the next object of the peer numbers its streams anew. */
	if (idmap_find(&all->by_id, key_of(f->peer, f->id)) == (uint64_t)(uintptr_t)f)
		(void)idmap_remove(&all->by_id, key_of(f->peer, f->id));
	heap_remove(&all->deadlines, &f->deadline);
	udp_flow_drop_held(f);
	all->count--;
	if (!f->stream)
		return;
	stream_set_tag(f->stream, 0);
	stream_release(f->streams, f->stream, (uint16_t)code);
	f->stream = NULL;
	endpoint_touch(f->b->endpoint, f->peer);
	udp_flow_kick(f->b);
}

bool udp_flow_discard(struct udp_flow *f, cv_time now)
{
	stream_consume(f->streams, f->stream, now, stream_readable(f->stream));
	return stream_is_at_end(f->stream);
}

/* ---- time ---- */

void udp_flow_set_deadline(struct udp_flow *f, cv_time at)
{
	heap_set(&f->b->udp.deadlines, &f->deadline, at);
}

static void on_tick(uv_timer_t *timer)
{
	struct bridge *b = timer->data;
	cv_time now = clock_now();
	struct heap_node *first;

	while ((first = heap_first(&b->udp.deadlines)) != NULL && first->at <= now) {
		struct udp_flow *f = CV_CONTAINER_OF(first, struct udp_flow, deadline);

		heap_remove(&b->udp.deadlines, first);
		f->ops->on_deadline(f, now);
	}
	for (unsigned i = 0; i < UDP_EARLY_MAX; i++) {
		if (b->udp.early[i].datagram && cv_time_since(now, b->udp.early[i].at) > EARLY_AGE)
			drop_early(&b->udp.early[i]);
	}
	if (b->udp.set)
		udp_set_flush(b->udp.set);
	if (b->udp.count > 0)
		return;
	b->udp.is_ticking = false;
	(void)uv_timer_stop(timer);
}

/* ---- what waits ---- */

static struct udp_held *copy(const uint8_t *bytes, size_t size)
{
	struct udp_held *h = cv_zalloc(sizeof(*h) + size);

	if (!h)
		return NULL;
	h->size = size;
	if (size > 0)
		memcpy(h->bytes, bytes, size);
	return h;
}

bool udp_flow_hold(struct udp_flow *f, const uint8_t *bytes, size_t size)
{
	struct udp_flows *all = &f->b->udp;
	struct udp_held *h = NULL;

	if (f->held_count < HELD_EACH_MAX && f->held_size + size <= HELD_EACH_SIZE_MAX &&
	    all->held_size + size <= HELD_SIZE_MAX)
		h = copy(bytes, size);
	if (!h) {
		all->counters.dropped++;
		return false;
	}
	*f->held_end = h;
	f->held_end = &h->next;
	f->held_count++;
	f->held_size += (uint32_t)size;
	all->held_size += size;
	return true;
}

/* Of a flow that is not known: its open may be a packet behind, or lost and sent again. */
static void keep_early(struct bridge *b, cv_time now, uint32_t peer, uint64_t id,
                       const uint8_t *bytes, size_t size)
{
	struct udp_early *unused = NULL;
	unsigned count = 0;

	b->udp.counters.unknown++;
	for (unsigned i = 0; i < UDP_EARLY_MAX; i++) {
		struct udp_early *e = &b->udp.early[i];

		if (e->datagram && cv_time_since(now, e->at) > EARLY_AGE)
			drop_early(e);
		if (!e->datagram)
			unused = e;
		else if (e->peer == peer)
			count++;
	}
	if (!unused || count >= EARLY_EACH_MAX || size > EARLY_SIZE_MAX || b->is_closing)
		return;
	unused->datagram = copy(bytes, size);
	unused->peer = peer;
	unused->id = id;
	unused->at = now;
}

void udp_flows_adopt_early(struct bridge *b, cv_time now, uint32_t peer, uint64_t id)
{
	for (unsigned i = 0; i < UDP_EARLY_MAX; i++) {
		struct udp_early *e = &b->udp.early[i];
		struct udp_flow *f;

		if (!e->datagram || e->peer != peer || e->id != id)
			continue;
		f = find(b, peer, id);
		if (f && cv_time_since(now, e->at) <= EARLY_AGE)
			f->ops->on_datagram(f, now, e->datagram->bytes, e->datagram->size);
		/* Sent before the memory goes. */
		if (b->udp.set)
			udp_set_flush(b->udp.set);
		drop_early(e);
	}
}

/* ---- into the tunnel ---- */

void udp_flow_kick(struct bridge *b)
{
	if (b->port)
		udp_port_kick(b->port);
}

/* Before the loop waits, after the tunnel has written what it may: who is read again? */
static void on_prepare(uv_prepare_t *prepare)
{
	struct bridge *b = prepare->data;
	struct list *at, *next;
	cv_time now = clock_now();

	list_for_each(at, next, &b->udp.paused)
	{
		struct udp_pause *p = list_entry(at, struct udp_pause, node);

		if (endpoint_datagrams_queued(b->endpoint, p->peer) > QUEUE_LOW &&
		    cv_time_since(now, p->at) < CV_MS(PAUSE_MAX_MS))
			continue;
		list_remove(&p->node);
		udp_local_pause(p->sock, false);
	}
	if (!list_is_empty(&b->udp.paused))
		return;
	(void)uv_prepare_stop(&b->udp.prepare);
	(void)uv_timer_stop(&b->udp.pause_timer);
}

/* Wakes the loop: on_prepare() looks. */
static void on_pause_timer(uv_timer_t *timer)
{
	(void)timer;
}

void udp_flow_after_batch(struct bridge *b, struct udp_pause *p, struct udp_local *sock,
                          uint32_t peer, uint64_t id)
{
	udp_flow_kick(b);
	if (b->is_closing || endpoint_datagrams_queued(b->endpoint, peer) < QUEUE_HIGH ||
	    endpoint_flow_queued(b->endpoint, peer, id) < FLOW_HIGH)
		return;
	if (!p->sock)
		list_init(&p->node);
	if (list_is_linked(&p->node))
		return;
	*p = (struct udp_pause){ .sock = sock, .peer = peer, .at = clock_now() };
	list_init(&p->node);
	if (list_is_empty(&b->udp.paused)) {
		(void)uv_prepare_start(&b->udp.prepare, on_prepare); /* neither fails here */
		(void)uv_timer_start(&b->udp.pause_timer, on_pause_timer, PAUSE_MAX_MS,
		                     PAUSE_MAX_MS);
	}
	list_add_tail(&b->udp.paused, &p->node);
	udp_local_pause(sock, true);
}

void udp_flow_forget_pause(struct udp_pause *p)
{
	if (p->sock)
		list_remove(&p->node);
	p->sock = NULL;
}

int udp_flow_try_send(struct udp_flow *f, cv_time now, const uint8_t *bytes, size_t size)
{
	/* Of an object that is lost: its number may be another flow's in the one that follows, and
	 * the event that ends this flow is on its way. */
	if (f->streams != endpoint_streams(f->b->endpoint, f->peer))
		return -ESTALE;
	return endpoint_send_datagram(f->b->endpoint, now, f->peer, f->id, bytes, size);
}

void udp_flow_send(struct udp_flow *f, cv_time now, const uint8_t *bytes, size_t size)
{
	int r = udp_flow_try_send(f, now, bytes, size);

	f->used_at = now;
	if (r != -ENOTCONN)
		return; /* sent, or counted as dropped by the endpoint */
	if (udp_flow_hold(f, bytes, size) && !list_is_linked(&f->waiting))
		list_add_tail(&f->b->udp.waiting, &f->waiting);
}

void udp_flows_on_peer(struct bridge *b, cv_time now, uint32_t peer)
{
	struct list *at, *next;

	list_for_each(at, next, &b->udp.waiting)
	{
		struct udp_flow *f = list_entry(at, struct udp_flow, waiting);

		if (f->peer != peer)
			continue;
		for (const struct udp_held *h = f->held; h; h = h->next) {
			if (udp_flow_try_send(f, now, h->bytes, h->size) == -ENOTCONN)
				return; /* nor can the others */
		}
		udp_flow_drop_held(f);
		udp_flow_kick(b);
	}
}

/* ---- out of the tunnel ---- */

void udp_flows_drain(struct bridge *b, cv_time now)
{
	const uint8_t *bytes;
	uint64_t id;
	uint32_t peer;
	size_t size;

	while (endpoint_next_datagram(b->endpoint, &peer, &id, &bytes, &size)) {
		struct udp_flow *f = find(b, peer, id);

		if (f)
			f->ops->on_datagram(f, now, bytes, size);
		else
			keep_early(b, now, peer, id, bytes, size);
	}
	if (b->udp.set)
		udp_set_flush(b->udp.set);
}

void udp_flows_on_stream(struct bridge *b, cv_time now, const struct endpoint_event *ev,
                         bool is_lost)
{
	uint64_t tag = stream_tag(ev->stream.stream) - 1;
	struct udp_flow *f = (struct udp_flow *)(uintptr_t)tag;

	CV_ASSERT(f->b == b);
	switch (ev->stream.kind) {
	case STREAM_EVENT_READABLE:
		f->ops->on_readable(f, now);
		return;
	case STREAM_EVENT_RESET:
	case STREAM_EVENT_STOPPED:
		f->ops->on_end(f, now,
		               is_lost ? TARGET_SESSION_LOST
		                       : target_code_from_wire(ev->stream.code));
		return;
	case STREAM_EVENT_WRITABLE:
	case STREAM_EVENT_ACKED:
	case STREAM_EVENT_OPENED:
	case STREAM_EVENT_OPENABLE:
		return;
	}
	CV_UNREACHABLE();
}

/* SPDX-License-Identifier: MIT */
#include "tunnel/datagram.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "tunnel/sendbuf.h"

/*
 * Both queues are a sendbuf used as a FIFO of bytes: a struct entry, then the
 * datagram, then the next entry. What is taken from the front counts as sent and
 * acknowledged, which frees its chunks.
 *
 *	  | entry | bytes ........ | entry | bytes .. | entry | bytes ...... |
 *	  ^ acked = sent                                                     ^ end
 *
 * A datagram that does not fit a packet is cut into equal parts that fit every
 * path; only the last may be smaller. So a part's place follows from its index
 * and size, and is known before the others have come. The last part alone does
 * not tell: it waits at the end of the block, out of everyone's way, because
 * all parts together are smaller than the block.
 *
 *	block   | part 0 | part 1 | (2) | ...                     | last |
 */

enum {
	/* Rule 7.8. */
	QUEUE_MAX = 256 * 1024,
	REASSEMBLIES_MAX = 8,
	REASSEMBLY_BYTES_MAX = 128 * 1024,
	PARTS_MAX = 64,
	DATAGRAM_MAX = 65507, /* what UDP over IPv4 can carry */

	/* kind, flow, id, index, count, size */
	FRAME_HEADER = 1 + 6 + 2 + 1 + 1 + 2,
	/* Fits a packet of 1,200 through a relay, behind an ACK of a few ranges. */
	PART_MAX = 1060,
	PART_MIN = 256,
	/* A packet's worth, to choose a block before the size of the parts is known. */
	PART_GUESS = 1452,
};

_Static_assert((DATAGRAM_MAX + PART_MAX - 1) / PART_MAX <= PARTS_MAX, "64 parts are enough");

#define QUEUED_MAX_AGE CV_MS(100)
#define REASSEMBLY_MAX_AGE CV_MS(500)

struct entry {
	uint64_t flow;
	cv_time at;
	uint64_t size;
};

/* A FIFO of datagrams. The first may be loaded: in one piece, in a block of its own. */
struct queue {
	struct sendbuf bytes;
	uint32_t count; /* entries in `bytes` */
	struct entry first;
	uint8_t *block; /* bytes of `first`, no longer in `bytes`; NULL: not loaded */
	enum pool_class class;
};

struct reassembly {
	uint8_t *block; /* from the pool; NULL: free */
	enum pool_class class;
	uint64_t flow;
	uint16_t id;
	uint8_t count;
	uint64_t seen;      /* bit per part */
	uint32_t part_size; /* of every part but the last; 0: unknown */
	uint32_t last_size; /* 0: not here */
	cv_time at;
};

struct datagrams {
	struct pool *pool;
	struct queue out;
	struct queue in;
	/* Of the datagram loaded in `out`: */
	uint8_t part_count; /* 0: not begun */
	uint8_t part_next;
	bool was_put_off; /* it did not fit what other frames had left over */
	uint16_t next_id;
	size_t room_max; /* the largest room seen: a packet with little else in it */
	struct reassembly list[REASSEMBLIES_MAX];
	uint64_t dropped; /* too old, pushed out, or no memory */
};

static enum pool_class class_for(size_t size)
{
	return size <= pool_block_size(POOL_4K) ? POOL_4K : POOL_64K;
}

/* ---- a queue ---- */

static void queue_unload(struct queue *q, struct pool *pool)
{
	if (q->block)
		pool_give(pool, q->class, q->block);
	q->block = NULL;
}

static void queue_drop(struct queue *q, struct pool *pool)
{
	queue_unload(q, pool);
	sendbuf_drop(&q->bytes, pool);
	*q = (struct queue){ 0 };
}

static void queue_skip(struct queue *q, struct pool *pool, uint64_t size)
{
	uint64_t begin = q->bytes.sent;

	sendbuf_on_sent(&q->bytes, pool, begin, begin + size);
	sendbuf_on_acked(&q->bytes, pool, begin, begin + size);
}

/* Loads the first datagram; false when there is none, or no memory: then one is lost. */
static bool queue_load(struct queue *q, struct pool *pool)
{
	CV_ASSERT(!q->block);
	if (q->count == 0)
		return false;
	sendbuf_copy(&q->bytes, q->bytes.sent, (uint8_t *)&q->first, sizeof(q->first));
	queue_skip(q, pool, sizeof(q->first));
	q->count--;
	q->class = class_for((size_t)q->first.size);
	q->block = pool_take(pool, q->class);
	if (q->block)
		sendbuf_copy(&q->bytes, q->bytes.sent, q->block, (size_t)q->first.size);
	queue_skip(q, pool, q->first.size);
	return q->block != NULL;
}

/* Chunks for @size bytes are to be had; small ones at worst. */
static bool has_memory(struct pool *pool, uint64_t size)
{
	uint64_t whole = (size / 4000 + 1) * pool_block_size(POOL_4K);

	if (pool_charge(pool, whole) < 0)
		return false;
	pool_uncharge(pool, whole);
	return true;
}

static int queue_push(struct queue *q, struct pool *pool, const struct entry *e,
                      const uint8_t *bytes)
{
	size_t taken;

	if (!has_memory(pool, sizeof(*e) + e->size))
		return -ENOBUFS;
	taken = sendbuf_append(&q->bytes, pool, (const uint8_t *)e, sizeof(*e));
	if (taken == sizeof(*e) && e->size > 0)
		taken += sendbuf_append(&q->bytes, pool, bytes, (size_t)e->size);
	if (taken != sizeof(*e) + e->size) {
		/* The heap failed where the budget had not: half an entry is no entry, and what
		 * was queued before it may be lost like any datagram. */
		sendbuf_drop(&q->bytes, pool);
		sendbuf_init(&q->bytes);
		q->count = 0;
		return -ENOBUFS;
	}
	q->count++;
	return 0;
}

/* When the first one that is not loaded came. */
static cv_time queue_first_at(const struct queue *q)
{
	struct entry e;

	CV_ASSERT(q->count > 0);
	sendbuf_copy(&q->bytes, q->bytes.sent, (uint8_t *)&e, sizeof(e));
	return e.at;
}

/* Bytes waiting, with what is loaded. */
static uint64_t queue_size(const struct queue *q)
{
	return sendbuf_unsent(&q->bytes) + (q->block ? q->first.size : 0);
}

/* Pushes, and the oldest go for it. Counts them. */
static int queue_push_bounded(struct queue *q, struct pool *pool, const struct entry *e,
                              const uint8_t *bytes, uint64_t *dropped)
{
	int r;

	while (queue_size(q) + sizeof(*e) + e->size > QUEUE_MAX) {
		/* With nothing loaded, loading is how the first leaves. */
		if (!q->block)
			(void)queue_load(q, pool);
		queue_unload(q, pool);
		(*dropped)++;
	}
	r = queue_push(q, pool, e, bytes);
	if (r < 0)
		(*dropped)++;
	return r;
}

static bool queue_check(const struct queue *q)
{
	return sendbuf_check(&q->bytes) && q->bytes.acked == q->bytes.sent &&
	       queue_size(q) <= QUEUE_MAX && (q->count == 0) == (sendbuf_unsent(&q->bytes) == 0);
}

int datagrams_new(struct datagrams **out, struct pool *pool)
{
	struct datagrams *d = cv_zalloc(sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->pool = pool;
	*out = d;
	return 0;
}

static void forget(struct datagrams *d, struct reassembly *r)
{
	if (r->block)
		pool_give(d->pool, r->class, r->block);
	*r = (struct reassembly){ 0 };
}

void datagrams_free(struct datagrams *d)
{
	if (!d)
		return;
	for (unsigned i = 0; i < REASSEMBLIES_MAX; i++)
		forget(d, &d->list[i]);
	queue_drop(&d->out, d->pool);
	queue_drop(&d->in, d->pool);
	cv_free(d);
}

/* ---- out ---- */

int datagrams_send(struct datagrams *d, cv_time now, uint64_t flow, const uint8_t *bytes,
                   size_t size)
{
	struct entry e = { .flow = flow, .at = now, .size = size };

	if (size > DATAGRAM_MAX)
		return -EMSGSIZE;
	return queue_push_bounded(&d->out, d->pool, &e, bytes, &d->dropped);
}

bool datagrams_has_data(const struct datagrams *d)
{
	return d->out.block || d->out.count > 0;
}

/* The next datagram of the queue becomes the loaded one; false when it was lost over that. */
static bool load_next(struct datagrams *d)
{
	d->part_count = 0;
	d->was_put_off = false;
	return queue_load(&d->out, d->pool);
}

/* Makes a datagram that is young enough the loaded one; false when none is left. */
static bool load_out(struct datagrams *d, cv_time now)
{
	while (datagrams_has_data(d)) {
		if ((d->out.block || load_next(d)) &&
		    cv_time_since(now, d->out.first.at) <= QUEUED_MAX_AGE)
			return true;
		queue_unload(&d->out, d->pool);
		d->dropped++;
	}
	return false;
}

/* Into how many parts does the loaded datagram go? False: it waits for the next packet. */
static bool begin_first(struct datagrams *d, size_t room)
{
	size_t size = (size_t)d->out.first.size;
	size_t whole = FRAME_HEADER + size;
	size_t part;

	if (whole <= room) {
		d->part_count = 1;
	} else if (whole <= d->room_max && !d->was_put_off) {
		d->was_put_off = true; /* whole in a packet of its own is better than cut */
		return false;
	} else {
		/* What fits here, so that packets with long ACKs do not hold it up for ever. */
		part = room > FRAME_HEADER ? room - FRAME_HEADER : 0;
		part = CV_MAX(part, CV_MAX((size_t)PART_MIN, (size + PARTS_MAX - 1) / PARTS_MAX));
		part = CV_MIN(part, (size_t)PART_MAX);
		d->part_count = (uint8_t)CV_MAX((size + part - 1) / part, (size_t)2);
	}
	d->part_next = 0;
	if (d->part_count > 1)
		d->next_id++;
	return true;
}

/* One part of the loaded datagram; false when it does not fit. */
static bool write_part(struct datagrams *d, struct wr *w, struct sent *sent)
{
	size_t size = (size_t)d->out.first.size;
	size_t part = (size + d->part_count - 1) / d->part_count; /* equal: none is a crumb */
	size_t at = part * d->part_next;
	struct wire_frame f;

	size = CV_MIN(part, size - at);
	if (wr_left(w) < FRAME_HEADER + size || sent_notes_left(sent) == 0)
		return false;
	f.type = FRAME_DATAGRAM;
	f.datagram.flow = d->out.first.flow;
	f.datagram.id = d->next_id;
	f.datagram.index = d->part_next;
	f.datagram.count = d->part_count;
	f.datagram.bytes = d->out.block + at;
	f.datagram.size = size;
	wire_write_frame(w, &f);
	CV_ASSERT(!w->bad);
	sent_note(sent, &(struct note){ .tag = NOTE_DATAGRAM });
	d->part_next++;
	return true;
}

size_t datagrams_write(struct datagrams *d, cv_time now, struct wr *w, struct sent *sent)
{
	size_t before = wr_size(w);

	d->room_max = CV_MAX(d->room_max, wr_left(w));
	while (load_out(d, now)) {
		if (d->part_count == 0 && !begin_first(d, wr_left(w)))
			break;
		if (!write_part(d, w, sent))
			break;
		if (d->part_next == d->part_count)
			queue_unload(&d->out, d->pool);
	}
	return wr_size(w) - before;
}

/* ---- in ---- */

static uint64_t reassembly_bytes(const struct datagrams *d)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < REASSEMBLIES_MAX; i++) {
		if (d->list[i].block)
			total += pool_block_size(d->list[i].class);
	}
	return total;
}

static struct reassembly *oldest_but(struct datagrams *d, const struct reassembly *but)
{
	struct reassembly *oldest = NULL;

	for (unsigned i = 0; i < REASSEMBLIES_MAX; i++) {
		struct reassembly *r = &d->list[i];

		if (r->block && r != but && (!oldest || r->at < oldest->at))
			oldest = r;
	}
	return oldest;
}

/* A block for @r within the session's bound; the oldest others go for it. */
static uint8_t *take_block(struct datagrams *d, const struct reassembly *r, enum pool_class class)
{
	uint64_t own = r->block ? pool_block_size(r->class) : 0;
	struct reassembly *oldest;

	while (reassembly_bytes(d) - own + pool_block_size(class) > REASSEMBLY_BYTES_MAX) {
		oldest = oldest_but(d, r);
		CV_ASSERT(oldest);
		forget(d, oldest);
		d->dropped++;
	}
	return pool_take(d->pool, class);
}

static struct reassembly *find_or_begin(struct datagrams *d, cv_time now,
                                        const struct wire_frame *f)
{
	struct reassembly *r, *unused = NULL;
	enum pool_class class;

	for (unsigned i = 0; i < REASSEMBLIES_MAX; i++) {
		r = &d->list[i];
		if (r->block && r->flow == f->datagram.flow && r->id == f->datagram.id)
			return r;
		if (!r->block && !unused)
			unused = r;
	}
	if (!unused) {
		unused = oldest_but(d, NULL);
		forget(d, unused);
		d->dropped++;
	}
	r = unused;
	class = class_for(CV_MAX(f->datagram.size, (size_t)PART_GUESS) * f->datagram.count);
	r->block = take_block(d, r, class);
	if (!r->block)
		return NULL;
	r->class = class;
	r->flow = f->datagram.flow;
	r->id = f->datagram.id;
	r->count = f->datagram.count;
	r->at = now;
	return r;
}

/* The parts turned out larger than guessed. The last part lies at the end of either block. */
static bool enlarge(struct datagrams *d, struct reassembly *r)
{
	size_t was = pool_block_size(r->class), is = pool_block_size(POOL_64K);
	uint8_t *block;

	CV_ASSERT(r->class == POOL_4K);
	block = take_block(d, r, POOL_64K);
	if (!block)
		return false;
	memcpy(block, r->block, was);
	memcpy(block + is - r->last_size, r->block + was - r->last_size, r->last_size);
	pool_give(d->pool, r->class, r->block);
	r->block = block;
	r->class = POOL_64K;
	return true;
}

/* Does the part agree with those before it? */
static bool agrees(const struct reassembly *r, const struct wire_frame *f)
{
	bool is_last = f->datagram.index + 1 == f->datagram.count;
	size_t part = is_last ? r->part_size : f->datagram.size;
	size_t last = is_last ? f->datagram.size : r->last_size;

	if (f->datagram.count != r->count)
		return false;
	if (!is_last && r->part_size != 0 && f->datagram.size != r->part_size)
		return false;
	if (part == 0 || last == 0)
		return true;
	return last <= part && part * (r->count - 1U) + last <= DATAGRAM_MAX;
}

/* Puts a part in its place; false when memory for it is refused. */
static bool place(struct datagrams *d, struct reassembly *r, const struct wire_frame *f)
{
	size_t size = f->datagram.size, end;
	bool is_last = f->datagram.index + 1 == f->datagram.count;

	/* The end of the last part, where it lies now or will lie. */
	end = is_last ? size + (size_t)r->part_size * (r->count - 1U)
	              : size * (r->count - 1U) + r->last_size;
	if (end > pool_block_size(r->class) && !enlarge(d, r))
		return false;
	if (is_last) {
		r->last_size = (uint32_t)size;
		memcpy(r->block + pool_block_size(r->class) - size, f->datagram.bytes, size);
	} else {
		r->part_size = (uint32_t)size;
		memcpy(r->block + size * f->datagram.index, f->datagram.bytes, size);
	}
	r->seen |= UINT64_C(1) << f->datagram.index;
	return true;
}

static void deliver(struct datagrams *d, cv_time now, struct reassembly *r)
{
	size_t head = (size_t)r->part_size * (r->count - 1U);
	struct entry e = { .flow = r->flow, .at = now, .size = head + r->last_size };

	memmove(r->block + head, r->block + pool_block_size(r->class) - r->last_size, r->last_size);
	/* Refused: it is lost, and counted. */
	(void)queue_push_bounded(&d->in, d->pool, &e, r->block, &d->dropped);
	forget(d, r);
}

static int on_part(struct datagrams *d, cv_time now, const struct wire_frame *f)
{
	bool is_last = f->datagram.index + 1 == f->datagram.count;
	struct reassembly *r;
	uint64_t all;

	/* No part is empty, and no number of parts makes more than a datagram can be. */
	if (f->datagram.size == 0 ||
	    (!is_last && f->datagram.size * (f->datagram.count - 1U) > DATAGRAM_MAX))
		return -EPROTO;
	r = find_or_begin(d, now, f);
	if (!r) {
		d->dropped++;
		return 0;
	}
	if (r->seen >> f->datagram.index & 1)
		return 0;
	if (!agrees(r, f) || !place(d, r, f)) {
		/* Two datagrams under one number (it has 16 bits), or no memory: neither is whole.
		 */
		forget(d, r);
		d->dropped++;
		return 0;
	}
	all = r->count == PARTS_MAX ? UINT64_MAX : (UINT64_C(1) << r->count) - 1;
	if (r->seen == all)
		deliver(d, now, r);
	return 0;
}

int datagrams_on_frame(struct datagrams *d, cv_time now, const struct wire_frame *f)
{
	struct entry e = { .flow = f->datagram.flow, .at = now, .size = f->datagram.size };

	CV_ASSERT(f->type == FRAME_DATAGRAM);
	if (f->datagram.count == 0 || f->datagram.count > PARTS_MAX ||
	    f->datagram.index >= f->datagram.count || f->datagram.size > DATAGRAM_MAX)
		return -EPROTO;
	if (f->datagram.count > 1)
		return on_part(d, now, f);
	/* Refused: it is lost, and counted. */
	(void)queue_push_bounded(&d->in, d->pool, &e, f->datagram.bytes, &d->dropped);
	return 0;
}

bool datagrams_next(struct datagrams *d, uint64_t *flow, const uint8_t **bytes, size_t *size)
{
	queue_unload(&d->in, d->pool);
	while (d->in.count > 0) {
		if (!queue_load(&d->in, d->pool)) {
			d->dropped++;
			continue;
		}
		*flow = d->in.first.flow;
		*bytes = d->in.block;
		*size = (size_t)d->in.first.size;
		return true;
	}
	return false;
}

/* ---- time ---- */

cv_time datagrams_deadline(const struct datagrams *d)
{
	cv_time at = CV_TIME_NEVER;

	for (unsigned i = 0; i < REASSEMBLIES_MAX; i++) {
		if (d->list[i].block)
			at = cv_time_min(at, cv_time_after(d->list[i].at, REASSEMBLY_MAX_AGE));
	}
	/* What waits to be sent is too old one tick after its limit. */
	if (d->out.block)
		at = cv_time_min(at, cv_time_after(d->out.first.at, QUEUED_MAX_AGE + 1));
	else if (d->out.count > 0)
		at = cv_time_min(at, cv_time_after(queue_first_at(&d->out), QUEUED_MAX_AGE + 1));
	return at;
}

void datagrams_on_deadline(struct datagrams *d, cv_time now)
{
	for (unsigned i = 0; i < REASSEMBLIES_MAX; i++) {
		struct reassembly *r = &d->list[i];

		if (r->block && cv_time_since(now, r->at) >= REASSEMBLY_MAX_AGE) {
			forget(d, r);
			d->dropped++;
		}
	}
	if (datagrams_deadline(d) <= now)
		(void)load_out(d, now); /* drops what is too old */
}

bool datagrams_check(const struct datagrams *d)
{
	for (unsigned i = 0; i < REASSEMBLIES_MAX; i++) {
		const struct reassembly *r = &d->list[i];

		if (r->block && (r->count < 2 || r->count > PARTS_MAX || r->seen == 0))
			return false;
		if (!r->block && r->seen != 0)
			return false;
	}
	return reassembly_bytes(d) <= REASSEMBLY_BYTES_MAX && queue_check(&d->out) &&
	       queue_check(&d->in) && (d->part_count == 0 || d->part_next <= d->part_count);
}

/* SPDX-License-Identifier: MIT */
#include "tunnel/datagram.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "tunnel/fairq.h"

/*
 * What is to be sent waits in a fairq. What has arrived waits in a FIFO of entries in blocks of the
 * pool: a datagram lies in one piece, from where it goes to a socket without another copy.
 *
 *	block  | entry | bytes .... | entry | bytes .. |        block  | entry | bytes ...... |
 *	                            ^ read             ^ used
 *
 * What was read stays where it is until all was read and something else happens: the reader gathers
 * many datagrams for one call to the kernel.
 *
 * A datagram that does not fit a packet is cut into equal parts; only the last may be smaller. The
 * first part fills its packet, so that the packets of a train are alike. So a part's place follows
 * from its index and size, and is known before the others have come. The last part alone does
 * not tell: it waits at the end of the block, out of everyone's way, because
 * all parts together are smaller than the block.
 *
 *	block   | part 0 | part 1 | (2) | ...                     | last |
 */

enum {
	/* Rule 7.8. */
	REASSEMBLIES_MAX = 8,
	REASSEMBLY_BYTES_MAX = 128 * 1024,
	PARTS_MAX = 64,
	DATAGRAM_MAX = FAIRQ_DATAGRAM_MAX, /* what UDP over IPv4 can carry */

	/* Arrivals of one call to the kernel, eight full buffers, and as much that waits. */
	ARRIVED_MAX = 1024 * 1024,
	/* Each block but the last is at least half full, or its entry would have found room in
	 * the one before. */
	BLOCKS_MAX = 2 * ARRIVED_MAX / 65536 + 3,

	/* kind, flow, id, index, count, size */
	FRAME_HEADER = 1 + 6 + 2 + 1 + 1 + 2,
	PART_MIN = 256,
	/* What a part leaves to the ACK in front of a later one. */
	ACK_ROOM = 64,
	/* Packets that a datagram may miss before it is dropped: ACKs are seldom long. */
	PUT_OFF_MAX = 4,
	/* A packet's worth, to choose a block before the size of the parts is known. */
	PART_GUESS = 1452,
};

#define QUEUED_MAX_AGE CV_MS(100)
#define REASSEMBLY_MAX_AGE CV_MS(500)

/* Before each datagram in a block; the next one begins at a multiple of its size. */
struct entry {
	cv_time at;
	uint32_t flow_low;
	uint16_t flow_high; /* of 48 bits */
	uint16_t size;
};

_Static_assert(sizeof(struct entry) == 16, "an entry and the largest datagram fit a block");

struct block {
	uint8_t *bytes;
	uint32_t used, read;
	enum pool_class class;
};

/* A FIFO of datagrams. */
struct queue {
	struct block blocks[BLOCKS_MAX]; /* a ring */
	uint8_t begin;                   /* the oldest block */
	uint8_t count;                   /* blocks */
	uint8_t read_count;              /* of them, from the oldest: read to the end, but lent */
	uint32_t entries;                /* unread */
	uint64_t size;                   /* bytes unread, with their entries */
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
	struct fairq out;
	struct queue in;
	/* Of the one in `out` whose turn it is: */
	uint8_t part_count; /* 0: not begun */
	uint8_t part_next;
	uint32_t part_size;
	uint8_t put_off; /* packets in which it found no room */
	uint16_t next_id;
	struct reassembly list[REASSEMBLIES_MAX];
	struct datagrams_stats stats;
};

static enum pool_class class_for(size_t size)
{
	return size <= pool_block_size(POOL_4K) ? POOL_4K : POOL_64K;
}

/* ---- a queue ---- */

static struct block *queue_block(struct queue *q, unsigned i)
{
	return &q->blocks[(q->begin + i) % BLOCKS_MAX];
}

static void queue_drop(struct queue *q, struct pool *pool)
{
	for (unsigned i = 0; i < q->count; i++)
		pool_give(pool, queue_block(q, i)->class, queue_block(q, i)->bytes);
	*q = (struct queue){ 0 };
}

/* Blocks that were read are used again. */
static void queue_return(struct queue *q, struct pool *pool)
{
	while (q->read_count > 0) {
		pool_give(pool, queue_block(q, 0)->class, queue_block(q, 0)->bytes);
		q->begin = (uint8_t)((q->begin + 1) % BLOCKS_MAX);
		q->count--;
		q->read_count--;
	}
}

static struct entry make_entry(cv_time now, uint64_t flow, size_t size)
{
	return (struct entry){ now, (uint32_t)flow, (uint16_t)(flow >> 32), (uint16_t)size };
}

static uint64_t entry_flow(const struct entry *e)
{
	return (uint64_t)e->flow_high << 32 | e->flow_low;
}

static size_t entry_room(size_t size)
{
	return sizeof(struct entry) +
	       (size + sizeof(struct entry) - 1) / sizeof(struct entry) * sizeof(struct entry);
}

/* The block that takes @room more bytes at its end, or NULL: no memory. */
static struct block *queue_room(struct queue *q, struct pool *pool, size_t room)
{
	struct block *b = q->count > q->read_count ? queue_block(q, q->count - 1U) : NULL;
	enum pool_class class;
	uint8_t *bytes;

	if (b && pool_block_size(b->class) - b->used >= room)
		return b;
	if (q->count == BLOCKS_MAX)
		return NULL;
	/* A resolver's few datagrams need no large block. */
	class = b ? POOL_64K : class_for(room);
	bytes = pool_take(pool, class);
	if (!bytes)
		return NULL;
	b = queue_block(q, q->count++);
	*b = (struct block){ .bytes = bytes, .class = class };
	return b;
}

static int queue_push(struct queue *q, struct pool *pool, const struct entry *e,
                      const uint8_t *bytes)
{
	size_t room = entry_room(e->size);
	struct block *b = queue_room(q, pool, room);

	if (!b)
		return -ENOBUFS;
	memcpy(b->bytes + b->used, e, sizeof(*e));
	if (e->size > 0)
		memcpy(b->bytes + b->used + sizeof(*e), bytes, e->size);
	b->used += (uint32_t)room;
	q->entries++;
	q->size += room;
	return 0;
}

/* The first unread one; its bytes follow it. */
static const struct entry *queue_first(const struct queue *q)
{
	const struct block *b = &q->blocks[(q->begin + q->read_count) % BLOCKS_MAX];

	if (q->entries == 0)
		return NULL;
	CV_ASSERT(b->read < b->used);
	/* Blocks are aligned, and so is every entry in them. */
	return (const void *)(b->bytes + b->read);
}

static const uint8_t *entry_bytes(const struct entry *e)
{
	return (const uint8_t *)(e + 1);
}

/* The first one was read. */
static void queue_pop(struct queue *q)
{
	struct block *b = queue_block(q, q->read_count);
	const struct entry *e = queue_first(q);
	size_t room;

	CV_ASSERT(e);
	room = entry_room(e->size);
	b->read += (uint32_t)room;
	q->entries--;
	q->size -= room;
	if (b->read == b->used)
		q->read_count++;
}

static bool queue_check(const struct queue *q, uint64_t max)
{
	uint64_t size = 0;

	for (unsigned i = 0; i < q->count; i++) {
		const struct block *b = &q->blocks[(q->begin + i) % BLOCKS_MAX];

		if (!b->bytes || b->read > b->used || b->used > pool_block_size(b->class) ||
		    (i < q->read_count) != (b->read == b->used))
			return false;
		size += b->used - b->read;
	}
	return q->count <= BLOCKS_MAX && q->read_count <= q->count && size == q->size &&
	       size <= max && (q->entries == 0) == (size == 0);
}

int datagrams_new(struct datagrams **out, struct pool *pool)
{
	struct datagrams *d = cv_zalloc(sizeof(*d));

	if (!d)
		return -ENOMEM;
	d->pool = pool;
	fairq_init(&d->out, pool);
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
	fairq_deinit(&d->out);
	queue_drop(&d->in, d->pool);
	cv_free(d);
}

/* ---- out ---- */

/* Was the one dropped whose parts were being sent? */
static void on_dropped(struct datagrams *d)
{
	d->stats.dropped++;
	if (fairq_is_chosen(&d->out))
		return;
	d->part_count = 0;
	d->put_off = 0;
}

/* The one whose turn it is leaves, whole or in parts. */
static void pop_out(struct datagrams *d)
{
	fairq_pop(&d->out);
	d->part_count = 0;
	d->put_off = 0;
}

int datagrams_send(struct datagrams *d, cv_time now, uint64_t flow, const uint8_t *bytes,
                   size_t size)
{
	int r;

	if (size > DATAGRAM_MAX)
		return -EMSGSIZE;
	while (fairq_make_room(&d->out, size))
		on_dropped(d);
	r = fairq_push(&d->out, now, flow, bytes, size);
	if (r < 0)
		d->stats.dropped++;
	return r;
}

bool datagrams_has_data(const struct datagrams *d)
{
	return d->out.entries > 0;
}

size_t datagrams_queued(const struct datagrams *d)
{
	return d->out.size;
}

size_t datagrams_flow_queued(const struct datagrams *d, uint64_t flow)
{
	return fairq_flow_size(&d->out, flow);
}

static void drop_old(struct datagrams *d, cv_time now)
{
	while (d->out.entries > 0 &&
	       cv_time_since(now, fairq_oldest_at(&d->out)) > QUEUED_MAX_AGE) {
		fairq_drop_oldest(&d->out);
		on_dropped(d);
	}
}

/* Into how many parts does the one go whose turn it is? False: it waits for the next packet. */
static bool begin_first(struct datagrams *d, size_t size, size_t room, size_t most, bool may_cut)
{
	size_t part = CV_MIN(room, most - ACK_ROOM);

	d->part_next = 0;
	d->part_count = 1;
	d->part_size = (uint32_t)size;
	if (FRAME_HEADER + size <= room)
		return true;
	d->part_count = 0;
	/* Whole in a packet of its own is better than cut. */
	if (!may_cut || (FRAME_HEADER + size <= most && d->put_off == 0))
		return false;
	/* What fits here, so that packets with long ACKs do not hold it up for ever. */
	part = part > FRAME_HEADER ? part - FRAME_HEADER : 0;
	if (part < PART_MIN || part < (size + PARTS_MAX - 1) / PARTS_MAX)
		return false;
	d->part_size = (uint32_t)part;
	d->part_count = (uint8_t)((size + part - 1) / part);
	d->next_id++;
	return true;
}

/* One part of it; false when it does not fit. */
static bool write_part(struct datagrams *d, const struct fairq_datagram *e, struct wr *w)
{
	size_t at = (size_t)d->part_size * d->part_next;
	size_t size = CV_MIN((size_t)d->part_size, e->size - at);
	struct wire_frame f;

	if (wr_left(w) < FRAME_HEADER + size)
		return false;
	f.type = FRAME_DATAGRAM;
	f.datagram.flow = e->flow;
	f.datagram.id = d->next_id;
	f.datagram.index = d->part_next;
	f.datagram.count = d->part_count;
	f.datagram.bytes = e->bytes + at;
	f.datagram.size = size;
	wire_write_frame(w, &f);
	CV_ASSERT(!w->bad);
	d->part_next++;
	return true;
}

size_t datagrams_write(struct datagrams *d, cv_time now, struct wr *w, size_t most, bool may_cut)
{
	size_t before = wr_size(w);
	struct fairq_datagram e;

	CV_ASSERT(most > ACK_ROOM);
	drop_old(d, now);
	while (fairq_first(&d->out, &e)) {
		if ((d->part_count == 0 && !begin_first(d, e.size, wr_left(w), most, may_cut)) ||
		    !write_part(d, &e, w)) {
			/* Nor does it hold up the others for ever. */
			if (may_cut && wr_size(w) == before && ++d->put_off > PUT_OFF_MAX) {
				pop_out(d);
				d->stats.dropped++;
			}
			break;
		}
		if (d->part_next < d->part_count)
			continue;
		d->stats.sent_bytes += e.size;
		d->stats.sent++;
		pop_out(d);
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
		d->stats.dropped++;
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
		d->stats.dropped++;
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

/* A whole one: it waits for its reader. What finds no room is lost, and counted. */
static void arrived(struct datagrams *d, cv_time now, uint64_t flow, const uint8_t *bytes,
                    size_t size)
{
	struct entry e = make_entry(now, flow, size);

	datagrams_settle(d);
	if (d->in.size + entry_room(size) > ARRIVED_MAX ||
	    queue_push(&d->in, d->pool, &e, bytes) < 0) {
		d->stats.dropped++;
		return;
	}
	d->stats.received_bytes += size;
	d->stats.received++;
}

static void deliver(struct datagrams *d, cv_time now, struct reassembly *r)
{
	size_t head = (size_t)r->part_size * (r->count - 1U);
	uint64_t flow = r->flow;

	memmove(r->block + head, r->block + pool_block_size(r->class) - r->last_size, r->last_size);
	arrived(d, now, flow, r->block, head + r->last_size);
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
		d->stats.dropped++;
		return 0;
	}
	if (r->seen >> f->datagram.index & 1)
		return 0;
	if (!agrees(r, f) || !place(d, r, f)) {
		/* Two datagrams under one number (it has 16 bits), or no memory: neither is whole.
		 */
		forget(d, r);
		d->stats.dropped++;
		return 0;
	}
	all = r->count == PARTS_MAX ? UINT64_MAX : (UINT64_C(1) << r->count) - 1;
	if (r->seen == all)
		deliver(d, now, r);
	return 0;
}

int datagrams_on_frame(struct datagrams *d, cv_time now, const struct wire_frame *f)
{
	CV_ASSERT(f->type == FRAME_DATAGRAM);
	if (f->datagram.count == 0 || f->datagram.count > PARTS_MAX ||
	    f->datagram.index >= f->datagram.count || f->datagram.size > DATAGRAM_MAX)
		return -EPROTO;
	if (f->datagram.count > 1)
		return on_part(d, now, f);
	arrived(d, now, f->datagram.flow, f->datagram.bytes, f->datagram.size);
	return 0;
}

bool datagrams_has_arrived(const struct datagrams *d)
{
	return d->in.entries > 0;
}

void datagrams_settle(struct datagrams *d)
{
	if (d->in.entries == 0)
		queue_return(&d->in, d->pool);
}

bool datagrams_next(struct datagrams *d, uint64_t *flow, const uint8_t **bytes, size_t *size)
{
	const struct entry *e;

	e = queue_first(&d->in);
	if (!e)
		return false;
	*flow = entry_flow(e);
	*bytes = entry_bytes(e);
	*size = e->size;
	queue_pop(&d->in);
	return true;
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
	if (d->out.entries > 0)
		at = cv_time_min(at, cv_time_after(fairq_oldest_at(&d->out), QUEUED_MAX_AGE + 1));
	return at;
}

void datagrams_on_deadline(struct datagrams *d, cv_time now)
{
	for (unsigned i = 0; i < REASSEMBLIES_MAX; i++) {
		struct reassembly *r = &d->list[i];

		if (r->block && cv_time_since(now, r->at) >= REASSEMBLY_MAX_AGE) {
			forget(d, r);
			d->stats.dropped++;
		}
	}
	drop_old(d, now);
}

void datagrams_stats(const struct datagrams *d, struct datagrams_stats *out)
{
	*out = d->stats;
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
	return reassembly_bytes(d) <= REASSEMBLY_BYTES_MAX && fairq_check(&d->out) &&
	       queue_check(&d->in, ARRIVED_MAX) &&
	       (d->part_count == 0 || d->part_next <= d->part_count);
}

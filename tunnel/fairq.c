/* SPDX-License-Identifier: MIT */
#include "tunnel/fairq.h"

#include <errno.h>
#include <string.h>

/*
 * All datagrams lie in blocks of the pool in order of arrival, each in one piece behind its entry;
 * the entries of a bucket are chained through them. They leave in another order, so a block goes
 * back to the pool when its last one has left:
 *
 *	blocks   | gone  b  gone  a  a |  | (given back) |  | a  gone  a  b ...      |
 *	                 ^ read, the oldest of all                          ^ used
 *
 * What stays long is what there is much of, so old blocks empty soon. If seven should still not do,
 * the oldest datagrams are dropped until the first block is free: memory is bounded whatever the
 * order.
 *
 * Turns are those of FQ-CoDel: a bucket that had nothing is `fresh` and goes first, with credit for
 * one quantum; when that is used up, or when it is empty, it goes behind the others, and is only
 * forgotten there when its turn comes and it has still nothing. So who comes back at once is not
 * fresh again.
 */

enum { UNIT = FAIRQ_COST, UNITS_OF_BLOCK = 65536 / UNIT, NOWHERE = 0x7fff, GONE = 0x8000 };

enum { LIST_NONE, LIST_FRESH, LIST_OTHERS };

/* At a multiple of its size; so is its datagram. A place is a block's number and a unit in it. */
struct entry {
	uint64_t at_and_next; /* 48 bits: in 1,024 ns; 16 bits: the next of its bucket, or GONE */
	uint32_t flow_low;
	uint16_t flow_high; /* of 48 bits */
	uint16_t size;
};

_Static_assert(sizeof(struct entry) == FAIRQ_COST, "an entry and the largest datagram fit a block");
_Static_assert(FAIRQ_BLOCKS *UNITS_OF_BLOCK <= NOWHERE, "a place has 15 bits");
_Static_assert((FAIRQ_DATAGRAM_MAX + UNIT - 1) / UNIT * UNIT + UNIT <= 65536, "and fits a block");

static size_t room_of(size_t size)
{
	return UNIT + (size + UNIT - 1) / UNIT * UNIT;
}

static uint8_t bucket_of(uint64_t flow)
{
	/* Numbers of flows follow each other: these are spread evenly (Fibonacci hashing). */
	return (uint8_t)(flow * UINT64_C(0x9e3779b97f4a7c15) >> 58);
}

_Static_assert(FAIRQ_BUCKETS == 1 << 6, "bucket_of() keeps 6 bits");

static uint64_t flow_of(const struct entry *e)
{
	return (uint64_t)e->flow_high << 32 | e->flow_low;
}

static cv_time at_of(const struct entry *e)
{
	return e->at_and_next >> 16 << 10;
}

static uint16_t next_of(const struct entry *e)
{
	return (uint16_t)e->at_and_next;
}

static void set_next(struct entry *e, uint16_t next)
{
	e->at_and_next = e->at_and_next >> 16 << 16 | next;
}

static struct entry *entry_at(const struct fairq *q, uint16_t place)
{
	const struct fairq_block *b = &q->blocks[place / UNITS_OF_BLOCK];

	CV_ASSERT(place < NOWHERE && b->bytes);
	/* Blocks are aligned, and so is every entry in them. */
	return (void *)(b->bytes + (size_t)(place % UNITS_OF_BLOCK) * UNIT);
}

/* ---- lists of buckets ---- */

static void list_push(struct fairq *q, uint8_t list, uint8_t bucket)
{
	struct fairq_list *l = list == LIST_FRESH ? &q->fresh : &q->others;

	CV_ASSERT(l->count < FAIRQ_BUCKETS && q->buckets[bucket].list == LIST_NONE);
	l->bucket[(l->begin + l->count++) % FAIRQ_BUCKETS] = bucket;
	q->buckets[bucket].list = list;
}

static uint8_t list_pop(struct fairq *q, struct fairq_list *l)
{
	uint8_t bucket = l->bucket[l->begin];

	CV_ASSERT(l->count > 0);
	l->begin = (uint8_t)((l->begin + 1U) % FAIRQ_BUCKETS);
	l->count--;
	q->buckets[bucket].list = LIST_NONE;
	return bucket;
}

/* ---- blocks ---- */

static unsigned slot(const struct fairq *q, unsigned i)
{
	return (q->begin + i) % FAIRQ_BLOCKS;
}

/* Past what has gone: the first block begins with the oldest datagram. */
static void trim(struct fairq *q)
{
	while (q->count > 0 && !q->blocks[slot(q, q->count - 1U)].bytes)
		q->count--;
	while (q->count > 0) {
		struct fairq_block *b = &q->blocks[q->begin];
		const struct entry *e;

		if (!b->bytes) {
			q->begin = (uint8_t)slot(q, 1);
			q->count--;
			continue;
		}
		CV_ASSERT(b->read < b->used);
		e = (const void *)(b->bytes + b->read);
		if (next_of(e) != GONE)
			return;
		b->read += (uint32_t)room_of(e->size);
	}
}

static void give(struct fairq *q, struct fairq_block *b)
{
	pool_give(q->pool, b->class, b->bytes);
	*b = (struct fairq_block){ 0 };
}

/* Is there another block to be had, or room in the last? */
static bool has_place(const struct fairq *q, size_t room)
{
	const struct fairq_block *last;

	if (q->count < FAIRQ_BLOCKS)
		return true;
	last = &q->blocks[slot(q, q->count - 1U)];
	return pool_block_size(last->class) - last->used >= room;
}

/* The number of the block that takes @room more bytes at its end; negative: no memory. */
static int block_for(struct fairq *q, size_t room)
{
	unsigned i = q->count > 0 ? slot(q, q->count - 1U) : 0;
	enum pool_class class = POOL_64K;
	uint8_t *bytes;

	if (q->count > 0 && pool_block_size(q->blocks[i].class) - q->blocks[i].used >= room)
		return (int)i;
	CV_ASSERT(q->count < FAIRQ_BLOCKS);
	/* A resolver's few datagrams need no large block. */
	if (q->count == 0 && room <= pool_block_size(POOL_4K))
		class = POOL_4K;
	bytes = pool_take(q->pool, class);
	if (!bytes)
		return -ENOBUFS;
	i = slot(q, q->count++);
	q->blocks[i] = (struct fairq_block){ .bytes = bytes, .class = class };
	return (int)i;
}

/* The first datagram of a bucket goes, sent or not. */
static size_t remove_head(struct fairq *q, uint8_t bucket)
{
	struct fairq_bucket *k = &q->buckets[bucket];
	uint16_t place = k->head;
	struct fairq_block *b = &q->blocks[place / UNITS_OF_BLOCK];
	struct entry *e = entry_at(q, place);
	size_t room = room_of(e->size);

	CV_ASSERT(k->size >= room && next_of(e) != GONE);
	k->head = next_of(e);
	if (k->head == NOWHERE)
		k->tail = NOWHERE;
	k->size -= (uint32_t)room;
	q->size -= (uint32_t)room;
	q->entries--;
	if (q->chosen == bucket)
		q->chosen = FAIRQ_BUCKETS;
	set_next(e, GONE);
	if (--b->live == 0)
		give(q, b);
	trim(q);
	return room;
}

/* ---- life ---- */

void fairq_init(struct fairq *q, struct pool *pool)
{
	*q = (struct fairq){ .pool = pool, .chosen = FAIRQ_BUCKETS };
	for (unsigned i = 0; i < FAIRQ_BUCKETS; i++)
		q->buckets[i].head = q->buckets[i].tail = NOWHERE;
}

void fairq_deinit(struct fairq *q)
{
	for (unsigned i = 0; i < FAIRQ_BLOCKS; i++) {
		if (q->blocks[i].bytes)
			give(q, &q->blocks[i]);
	}
	fairq_init(q, q->pool);
}

/* ---- in ---- */

bool fairq_make_room(struct fairq *q, size_t size)
{
	size_t room = room_of(size);
	uint8_t longest = 0;

	CV_ASSERT(size <= FAIRQ_DATAGRAM_MAX);
	if (q->size + room > FAIRQ_MAX) {
		for (uint8_t i = 1; i < FAIRQ_BUCKETS; i++) {
			if (q->buckets[i].size > q->buckets[longest].size)
				longest = i;
		}
		(void)remove_head(q, longest);
		return true;
	}
	if (has_place(q, room))
		return false;
	fairq_drop_oldest(q);
	return true;
}

int fairq_push(struct fairq *q, cv_time now, uint64_t flow, const uint8_t *bytes, size_t size)
{
	uint8_t bucket = bucket_of(flow);
	struct fairq_bucket *k = &q->buckets[bucket];
	size_t room = room_of(size);
	int i = block_for(q, room);
	struct fairq_block *b;
	struct entry *e;
	uint16_t place;

	CV_ASSERT(q->size + room <= FAIRQ_MAX);
	if (i < 0)
		return i;
	b = &q->blocks[i];
	place = (uint16_t)((unsigned)i * UNITS_OF_BLOCK + b->used / UNIT);
	e = (void *)(b->bytes + b->used);
	*e = (struct entry){ .at_and_next = (now + 1023) >> 10 << 16 | NOWHERE,
		             .flow_low = (uint32_t)flow,
		             .flow_high = (uint16_t)(flow >> 32),
		             .size = (uint16_t)size };
	if (size > 0)
		memcpy(e + 1, bytes, size);
	b->used += (uint32_t)room;
	b->live++;
	if (k->tail == NOWHERE)
		k->head = place;
	else
		set_next(entry_at(q, k->tail), place);
	k->tail = place;
	k->size += (uint32_t)room;
	q->size += (uint32_t)room;
	q->entries++;
	if (k->list == LIST_NONE) {
		k->credit = FAIRQ_QUANTUM;
		list_push(q, LIST_FRESH, bucket);
	}
	return 0;
}

/* ---- out ---- */

/* The bucket whose turn it is. Something waits. Every step gives a credit or takes one that is
 * empty off a list: at most 64 times what the largest datagram costs, in quanta. */
static uint8_t choose(struct fairq *q)
{
	for (;;) {
		bool is_fresh = q->fresh.count > 0;
		struct fairq_list *l = is_fresh ? &q->fresh : &q->others;
		uint8_t bucket = l->bucket[l->begin];
		struct fairq_bucket *k = &q->buckets[bucket];

		CV_ASSERT(l->count > 0);
		if (k->size > 0 && k->credit > 0)
			return bucket;
		(void)list_pop(q, l);
		if (k->credit <= 0)
			k->credit += FAIRQ_QUANTUM;
		else if (!is_fresh || q->others.count == 0)
			continue; /* forgotten */
		list_push(q, LIST_OTHERS, bucket);
	}
}

bool fairq_first(struct fairq *q, struct fairq_datagram *out)
{
	const struct entry *e;

	if (q->entries == 0)
		return false;
	if (q->chosen == FAIRQ_BUCKETS)
		q->chosen = choose(q);
	e = entry_at(q, q->buckets[q->chosen].head);
	out->flow = flow_of(e);
	out->bytes = (const uint8_t *)(e + 1);
	out->size = e->size;
	return true;
}

bool fairq_is_chosen(const struct fairq *q)
{
	return q->chosen < FAIRQ_BUCKETS;
}

void fairq_pop(struct fairq *q)
{
	uint8_t bucket = q->chosen;

	CV_ASSERT(bucket < FAIRQ_BUCKETS);
	q->buckets[bucket].credit -= (int32_t)remove_head(q, bucket);
}

/* ---- the oldest ---- */

static const struct entry *oldest(const struct fairq *q)
{
	const struct fairq_block *b = &q->blocks[q->begin];

	return q->entries > 0 ? (const void *)(b->bytes + b->read) : NULL;
}

cv_time fairq_oldest_at(const struct fairq *q)
{
	const struct entry *e = oldest(q);

	return e ? at_of(e) : CV_TIME_NEVER;
}

void fairq_drop_oldest(struct fairq *q)
{
	const struct entry *e = oldest(q);
	uint8_t bucket;

	CV_ASSERT(e);
	/* The oldest of all is the first of its bucket. */
	bucket = bucket_of(flow_of(e));
	CV_ASSERT(entry_at(q, q->buckets[bucket].head) == e);
	(void)remove_head(q, bucket);
}

size_t fairq_flow_size(const struct fairq *q, uint64_t flow)
{
	return q->buckets[bucket_of(flow)].size;
}

/* ---- invariants ---- */

static bool check_blocks(const struct fairq *q)
{
	uint32_t live = 0;

	for (unsigned i = 0; i < FAIRQ_BLOCKS; i++) {
		const struct fairq_block *b = &q->blocks[slot(q, i)];

		if (!b->bytes && (i == 0 || i + 1U == q->count) && i < q->count)
			return false;
		if (b->bytes && (i >= q->count || b->live == 0 || b->read >= b->used ||
		                 b->used > pool_block_size(b->class)))
			return false;
		live += b->live;
	}
	return live == q->entries && (q->count == 0) == (q->entries == 0);
}

bool fairq_check(const struct fairq *q)
{
	uint32_t size = 0;
	unsigned fresh = 0, others = 0;

	for (unsigned i = 0; i < FAIRQ_BUCKETS; i++) {
		const struct fairq_bucket *k = &q->buckets[i];

		size += k->size;
		fresh += k->list == LIST_FRESH;
		others += k->list == LIST_OTHERS;
		if ((k->size == 0) != (k->head == NOWHERE) ||
		    (k->head == NOWHERE) != (k->tail == NOWHERE) ||
		    (k->size > 0 && k->list == LIST_NONE) || k->credit > FAIRQ_QUANTUM)
			return false;
	}
	return size == q->size && size <= FAIRQ_MAX && (size == 0) == (q->entries == 0) &&
	       fresh == q->fresh.count && others == q->others.count && check_blocks(q);
}

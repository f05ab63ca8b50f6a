/* SPDX-License-Identifier: MIT */
#include "tunnel/recvbuf.h"

#include <errno.h>
#include <string.h>

/*
 * The offsets of a stream are cut into cells as large as a small chunk. A small
 * chunk is one cell; a large one begins at a cell and covers up to sixteen, fewer
 * when another chunk lies in the way. It is taken only where it covers at least
 * eight, so that large blocks are at worst half used: whatever the order of
 * pieces, memory stays below twice the span of offsets that the windows allow.
 *
 *	cells   |    |    |    |    |    |    |    |    | ...
 *	chunks  [ 4K ]         [ 64K ................................ ]
 */

struct recvbuf_chunk {
	struct recvbuf_chunk *next;
	uint64_t begin; /* offset of bytes[0]; a multiple of CELL */
	uint32_t cap;   /* bytes covered; a multiple of CELL */
	uint8_t class;
	bool is_fresh; /* taken for the piece that is being written */
	uint8_t bytes[];
};

enum {
	CELL = 4096 - 32,
	CHUNK_CELLS = 16,
	CHUNK_CELLS_MIN = 8,
	/* A stream is bulk after so many bytes, in pieces of at least so many. */
	BULK_OFFSET = 32 * 1024,
	BULK_PIECE = 1024,
};

_Static_assert(sizeof(struct recvbuf_chunk) + CELL <= 4096, "a cell fits a small block");
_Static_assert(sizeof(struct recvbuf_chunk) + (size_t)CELL * CHUNK_CELLS <= 65536,
               "and 16 a large one");

static uint64_t chunk_end(const struct recvbuf_chunk *c)
{
	return c->begin + c->cap;
}

void recvbuf_init(struct recvbuf *b)
{
	*b = (struct recvbuf){ 0 };
}

static void free_chunks(struct recvbuf *b, struct pool *pool)
{
	struct recvbuf_chunk *c;

	while ((c = b->head) != NULL) {
		b->head = c->next;
		pool_give(pool, (enum pool_class)c->class, c);
	}
	b->tail = NULL;
}

void recvbuf_drop(struct recvbuf *b, struct pool *pool)
{
	free_chunks(b, pool);
	spans_free(&b->beyond, pool);
	b->consumed = b->in_order;
}

/* The last chunk that begins at or below @offset, or NULL. Most pieces are at the tail; one that
 * was lost is near the head. */
static struct recvbuf_chunk *find(const struct recvbuf *b, uint64_t offset)
{
	struct recvbuf_chunk *c = b->head;

	if (!c || c->begin > offset)
		return NULL;
	if (b->tail->begin <= offset)
		return b->tail;
	while (c->next && c->next->begin <= offset)
		c = c->next;
	return c;
}

/* A chunk for the cell of @offset, after @prev (NULL: first). */
static struct recvbuf_chunk *insert(struct recvbuf *b, struct pool *pool,
                                    struct recvbuf_chunk *prev, uint64_t offset, bool is_bulk)
{
	struct recvbuf_chunk *next = prev ? prev->next : b->head;
	uint64_t begin = offset / CELL * CELL;
	uint64_t room = next ? next->begin - begin : UINT64_MAX;
	enum pool_class class = POOL_4K;
	struct recvbuf_chunk *c = NULL;

	CV_ASSERT(!prev || chunk_end(prev) <= begin);
	if (is_bulk && room >= (uint64_t)CELL * CHUNK_CELLS_MIN) {
		class = POOL_64K;
		c = pool_take(pool, class);
	}
	if (!c) {
		class = POOL_4K;
		c = pool_take(pool, class);
	}
	if (!c)
		return NULL;
	c->begin = begin;
	c->cap = class == POOL_4K ? CELL : (uint32_t)CV_MIN(room, (uint64_t)CELL * CHUNK_CELLS);
	c->class = (uint8_t) class;
	c->is_fresh = true;
	c->next = next;
	if (prev)
		prev->next = c;
	else
		b->head = c;
	if (!next)
		b->tail = c;
	return c;
}

/* Chunks for every byte of [@begin, @end): 0 or -ENOBUFS, with the fresh ones still in the list. */
static int cover(struct recvbuf *b, struct pool *pool, uint64_t begin, uint64_t end, bool *took)
{
	bool is_bulk = end - begin >= BULK_PIECE && begin >= BULK_OFFSET;
	struct recvbuf_chunk *c = find(b, begin);

	while (begin < end) {
		while (c && c->next && c->next->begin <= begin)
			c = c->next;
		if (!c || chunk_end(c) <= begin) {
			c = insert(b, pool, c, begin, is_bulk);
			if (!c)
				return -ENOBUFS;
			*took = true;
		}
		begin = chunk_end(c);
	}
	return 0;
}

/* Ends a write: what was taken for it stays, or goes back. */
static void settle_fresh(struct recvbuf *b, struct pool *pool, bool keep)
{
	struct recvbuf_chunk *prev = NULL, *next;

	for (struct recvbuf_chunk *c = b->head; c; c = next) {
		next = c->next;
		if (!c->is_fresh || keep) {
			c->is_fresh = false;
			prev = c;
			continue;
		}
		if (prev)
			prev->next = next;
		else
			b->head = next;
		if (b->tail == c)
			b->tail = prev;
		pool_give(pool, (enum pool_class)c->class, c);
	}
}

/* Copies into chunks that cover it. */
static void store(struct recvbuf *b, uint64_t offset, const uint8_t *bytes, size_t size)
{
	struct recvbuf_chunk *c = find(b, offset);
	size_t at, n;

	while (size > 0) {
		CV_ASSERT(c);
		if (chunk_end(c) <= offset) {
			c = c->next;
			continue;
		}
		CV_ASSERT(c->begin <= offset);
		at = (size_t)(offset - c->begin);
		n = CV_MIN(size, c->cap - at);
		memcpy(c->bytes + at, bytes, n);
		offset += n;
		bytes += n;
		size -= n;
	}
}

/* Only bytes that are not there yet: the first writer wins. */
static void store_gaps(struct recvbuf *b, uint64_t offset, const uint8_t *bytes, size_t size)
{
	uint64_t end = offset + size, at = offset;
	struct span gap;

	while (spans_next_gap(b->beyond, at, end, &gap)) {
		store(b, gap.begin, bytes + (gap.begin - offset), (size_t)(gap.end - gap.begin));
		at = gap.end;
	}
}

static void absorb_beyond(struct recvbuf *b, struct pool *pool)
{
	const struct span *first;

	if (!b->beyond)
		return;
	first = &b->beyond->ranges.span[0];
	for (uint32_t i = 0; i < b->beyond->ranges.count && first[i].begin <= b->in_order; i++)
		b->in_order = CV_MAX(b->in_order, first[i].end);
	spans_drop_below(&b->beyond, pool, b->in_order);
}

static bool may_have_more_gaps(const struct recvbuf *b)
{
	return spans_total(b->beyond) / RECVBUF_GAP_BYTES >= spans_count(b->beyond);
}

/* The long way: something is missing, or chunks are. */
static int write_any(struct recvbuf *b, struct pool *pool, uint64_t offset, const uint8_t *bytes,
                     size_t size)
{
	uint64_t end = offset + size;
	bool took = false;
	int r;

	r = cover(b, pool, offset, end, &took);
	if (r < 0) {
		settle_fresh(b, pool, false);
		return r;
	}
	/* A byte outside every span is nobody's yet, so that writing it is no change. */
	store_gaps(b, offset, bytes, size);
	if (offset > b->in_order) {
		r = spans_add(&b->beyond, pool, offset, end, may_have_more_gaps(b));
	} else {
		b->in_order = end;
		absorb_beyond(b, pool);
	}
	if (took)
		settle_fresh(b, pool, r == 0);
	return r;
}

int recvbuf_write(struct recvbuf *b, struct pool *pool, uint64_t offset, const uint8_t *bytes,
                  size_t size)
{
	uint64_t end = offset + size;
	struct recvbuf_chunk *tail = b->tail;

	CV_ASSERT(size <= RECVBUF_PIECE_MAX);
	CV_ASSERT(end >= offset);
	/* A FIN alone may lie beyond a hole: nothing of it to keep. */
	if (end <= b->in_order || size == 0)
		return 0;
	if (offset < b->in_order) {
		bytes += b->in_order - offset;
		offset = b->in_order;
	}
	/* In order, nothing missing, room at the tail: nearly always. */
	if (offset == b->in_order && !b->beyond && tail && tail->begin <= offset &&
	    end <= chunk_end(tail)) {
		memcpy(tail->bytes + (offset - tail->begin), bytes, (size_t)(end - offset));
		b->in_order = end;
		return 0;
	}
	return write_any(b, pool, offset, bytes, (size_t)(end - offset));
}

unsigned recvbuf_peek(const struct recvbuf *b, struct recvbuf_piece *out, unsigned max)
{
	const struct recvbuf_chunk *c = b->head;
	uint64_t at = b->consumed;
	unsigned count = 0;
	size_t skip;

	for (; c && at < b->in_order && count < max; c = c->next) {
		if (chunk_end(c) <= at)
			continue;
		CV_ASSERT(c->begin <= at);
		skip = (size_t)(at - c->begin);
		out[count].bytes = c->bytes + skip;
		out[count].size = (size_t)CV_MIN(c->cap - skip, b->in_order - at);
		at += out[count].size;
		count++;
	}
	return count;
}

void recvbuf_consume(struct recvbuf *b, struct pool *pool, size_t size)
{
	struct recvbuf_chunk *c;

	CV_ASSERT(size <= recvbuf_readable(b));
	b->consumed += size;
	if (recvbuf_held(b) == 0) {
		free_chunks(b, pool); /* an idle stream holds nothing */
		return;
	}
	while ((c = b->head) != NULL && chunk_end(c) <= b->consumed) {
		b->head = c->next;
		CV_ASSERT(b->head);
		pool_give(pool, (enum pool_class)c->class, c);
	}
}

/* Every byte that is said to be there lies in a chunk. */
static bool covers(const struct recvbuf *b, uint64_t begin, uint64_t end)
{
	const struct recvbuf_chunk *c = b->head;

	while (begin < end) {
		while (c && chunk_end(c) <= begin)
			c = c->next;
		if (!c || c->begin > begin)
			return false;
		begin = chunk_end(c);
	}
	return true;
}

bool recvbuf_check(const struct recvbuf *b)
{
	const struct recvbuf_chunk *last = NULL;
	const struct span *span;
	uint64_t at = 0;

	if (b->consumed > b->in_order || !spans_check(b->beyond))
		return false;
	if (b->beyond && b->beyond->ranges.span[0].begin <= b->in_order)
		return false;
	for (const struct recvbuf_chunk *c = b->head; c; c = c->next) {
		if (c->begin < at || c->begin % CELL != 0 || c->cap % CELL != 0 || c->is_fresh ||
		    c->cap == 0 || chunk_end(c) <= b->consumed)
			return false;
		at = chunk_end(c);
		last = c;
	}
	if (last != b->tail || (recvbuf_held(b) == 0 && b->head))
		return false;
	if (!covers(b, b->consumed, b->in_order))
		return false;
	for (uint32_t i = 0; i < spans_count(b->beyond); i++) {
		span = &b->beyond->ranges.span[i];
		if (!covers(b, span->begin, span->end))
			return false;
	}
	return true;
}

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

void recvbuf_init(struct recvbuf *b, struct recvbuf_loans *loans)
{
	*b = (struct recvbuf){ .loans = loans };
}

static bool has_loans(const struct recvbuf *b)
{
	return b->loans && b->loans->of == b;
}

static void forget_loans(struct recvbuf_loans *l)
{
	l->count = 0;
	l->of = NULL;
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
	if (has_loans(b))
		forget_loans(b->loans);
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

/* Ends a write at @offset: what was taken for it stays. */
static void keep_fresh(struct recvbuf *b, uint64_t offset, uint64_t end)
{
	for (struct recvbuf_chunk *c = find(b, offset); c && c->begin < end; c = c->next)
		c->is_fresh = false;
}

/* The write failed: it goes back. */
static void free_fresh(struct recvbuf *b, struct pool *pool)
{
	struct recvbuf_chunk *prev = NULL, *next;

	for (struct recvbuf_chunk *c = b->head; c; c = next) {
		next = c->next;
		if (!c->is_fresh) {
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
		free_fresh(b, pool);
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
	if (took && r == 0)
		keep_fresh(b, offset, end);
	else if (took)
		free_fresh(b, pool);
	return r;
}

static bool may_lend(const struct recvbuf *b, uint64_t offset, size_t size)
{
	const struct recvbuf_loans *l = b->loans;

	return l && l->is_open && size >= RECVBUF_LOAN_MIN && offset == b->in_order && !b->beyond &&
	       (!l->of || l->of == b) && l->count < RECVBUF_LOANS_MAX;
}

/* In order and large: the room is taken, the bytes stay where they are. */
static int lend(struct recvbuf *b, struct pool *pool, uint64_t offset, const uint8_t *bytes,
                size_t size)
{
	struct recvbuf_loans *l = b->loans;
	bool took = false;
	int r = cover(b, pool, offset, offset + size, &took);

	if (r < 0) {
		free_fresh(b, pool);
		return r;
	}
	if (took)
		keep_fresh(b, offset, offset + size);
	l->of = b;
	l->list[l->count++] = (struct recvbuf_loan){ offset, bytes, size };
	b->in_order = offset + size;
	return 0;
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
	if (may_lend(b, offset, (size_t)(end - offset)))
		return lend(b, pool, offset, bytes, (size_t)(end - offset));
	/* In order, nothing missing, room at the tail: nearly always. */
	if (offset == b->in_order && !b->beyond && tail && tail->begin <= offset &&
	    end <= chunk_end(tail)) {
		memcpy(tail->bytes + (offset - tail->begin), bytes, (size_t)(end - offset));
		b->in_order = end;
		return 0;
	}
	return write_any(b, pool, offset, bytes, (size_t)(end - offset));
}

void recvbuf_keep(struct recvbuf_loans *l)
{
	struct recvbuf *b = l->of;

	for (unsigned i = 0; i < l->count; i++) {
		const struct recvbuf_loan *loan = &l->list[i];
		size_t done = (size_t)(CV_MAX(loan->begin, b->consumed) - loan->begin);

		store(b, loan->begin + done, loan->bytes + done, loan->size - done);
	}
	forget_loans(l);
}

/* The first loan that ends behind @at, or NULL. */
static const struct recvbuf_loan *next_loan(const struct recvbuf *b, uint64_t at)
{
	for (unsigned i = 0; has_loans(b) && i < b->loans->count; i++) {
		if (b->loans->list[i].begin + b->loans->list[i].size > at)
			return &b->loans->list[i];
	}
	return NULL;
}

unsigned recvbuf_peek(const struct recvbuf *b, struct recvbuf_piece *out, unsigned max)
{
	const struct recvbuf_chunk *c = b->head;
	uint64_t at = b->consumed;
	unsigned count = 0;

	for (; at < b->in_order && count < max; at += out[count].size, count++) {
		const struct recvbuf_loan *loan = next_loan(b, at);
		size_t skip;

		if (loan && loan->begin <= at) {
			skip = (size_t)(at - loan->begin);
			out[count].bytes = loan->bytes + skip;
			out[count].size = loan->size - skip;
			continue;
		}
		while (chunk_end(c) <= at)
			c = c->next;
		CV_ASSERT(c->begin <= at);
		skip = (size_t)(at - c->begin);
		out[count].bytes = c->bytes + skip;
		out[count].size = (size_t)CV_MIN(c->cap - skip, b->in_order - at);
		if (loan)
			out[count].size = (size_t)CV_MIN(out[count].size, loan->begin - at);
	}
	return count;
}

static void drop_loans_below(struct recvbuf_loans *l, uint64_t consumed)
{
	unsigned done = 0;

	while (done < l->count && l->list[done].begin + l->list[done].size <= consumed)
		done++;
	l->count -= done;
	memmove(l->list, l->list + done, l->count * sizeof(l->list[0]));
	if (l->count == 0)
		l->of = NULL;
}

void recvbuf_consume(struct recvbuf *b, struct pool *pool, size_t size)
{
	struct recvbuf_chunk *c;

	CV_ASSERT(size <= recvbuf_readable(b));
	b->consumed += size;
	if (has_loans(b))
		drop_loans_below(b->loans, b->consumed);
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

static bool loans_check(const struct recvbuf *b)
{
	uint64_t at = b->consumed;

	for (unsigned i = 0; has_loans(b) && i < b->loans->count; i++) {
		const struct recvbuf_loan *loan = &b->loans->list[i];

		if (loan->size == 0 || (i > 0 && loan->begin < at) ||
		    loan->begin + loan->size <= at)
			return false;
		at = loan->begin + loan->size;
	}
	return at <= b->in_order && (!has_loans(b) || b->loans->count > 0);
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

	if (b->consumed > b->in_order || !spans_check(b->beyond) || !loans_check(b))
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

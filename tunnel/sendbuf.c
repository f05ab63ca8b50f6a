/* SPDX-License-Identifier: MIT */
#include "tunnel/sendbuf.h"

#include <string.h>

struct sendbuf_chunk {
	struct sendbuf_chunk *next;
	uint64_t begin; /* offset of bytes[0] in the stream */
	uint32_t size;  /* bytes filled */
	uint8_t class;
	bool is_reserved; /* someone holds a pointer behind `size` */
	uint8_t bytes[];
};

enum {
	/* Less than this left in a chunk is not worth a read() of its own. */
	RESERVE_MIN = 1024,
	/* A copy of this much or more takes a large chunk at once. */
	APPEND_BULK = 16 * 1024,
};

static size_t chunk_cap(const struct sendbuf_chunk *c)
{
	return pool_block_size((enum pool_class)c->class) - sizeof(*c);
}

static size_t chunk_left(const struct sendbuf_chunk *c)
{
	return chunk_cap(c) - c->size;
}

static uint64_t chunk_end(const struct sendbuf_chunk *c)
{
	return c->begin + c->size;
}

void sendbuf_init(struct sendbuf *b)
{
	*b = (struct sendbuf){ 0 };
}

void sendbuf_drop(struct sendbuf *b, struct pool *pool)
{
	struct sendbuf_chunk *c;

	while ((c = b->head) != NULL) {
		b->head = c->next;
		pool_give(pool, (enum pool_class)c->class, c);
	}
	b->tail = NULL;
	b->cursor = NULL;
	b->lost_hull = (struct span){ 0 };
	spans_free(&b->lost, pool);
	spans_free(&b->acked_beyond, pool);
}

static struct sendbuf_chunk *add_chunk(struct sendbuf *b, struct pool *pool, enum pool_class class)
{
	struct sendbuf_chunk *c = pool_take(pool, class);

	if (!c && class != POOL_4K) {
		class = POOL_4K; /* better slowly than not at all */
		c = pool_take(pool, class);
	}
	if (!c)
		return NULL;
	c->next = NULL;
	c->begin = b->end;
	c->size = 0;
	c->class = (uint8_t) class;
	c->is_reserved = false;
	if (b->tail)
		b->tail->next = c;
	else
		b->head = c;
	b->tail = c;
	/* With everything sent the cursor may stay at the end of the chunk before: it moves on
	 * when it is used. */
	if (!b->cursor)
		b->cursor = c;
	return c;
}

/* The emptied front of the list goes back; the tail too when nothing is left to wait for. */
static void free_acked(struct sendbuf *b, struct pool *pool)
{
	struct sendbuf_chunk *c;

	while ((c = b->head) != NULL && chunk_end(c) <= b->acked) {
		if (c == b->tail && c->is_reserved)
			return;
		b->head = c->next;
		if (b->cursor == c)
			b->cursor = c->next;
		if (b->tail == c)
			b->tail = NULL;
		pool_give(pool, (enum pool_class)c->class, c);
	}
}

uint8_t *sendbuf_reserve(struct sendbuf *b, struct pool *pool, size_t *size)
{
	struct sendbuf_chunk *c = b->tail;
	enum pool_class class = POOL_4K;

	CV_ASSERT(*size > 0);
	if (c && chunk_left(c) < CV_MIN(*size, (size_t)RESERVE_MIN)) {
		class = POOL_64K; /* a whole chunk waits for its acknowledgement: bulk */
		c = NULL;
	}
	if (!c)
		c = add_chunk(b, pool, class);
	if (!c)
		return NULL;
	c->is_reserved = true;
	*size = CV_MIN(*size, chunk_left(c));
	return c->bytes + c->size;
}

void sendbuf_commit(struct sendbuf *b, struct pool *pool, size_t size)
{
	struct sendbuf_chunk *c = b->tail;

	if (!c) {
		/* The stream was reset between reservation and commit. */
		CV_ASSERT(size == 0);
		return;
	}
	CV_ASSERT(c->is_reserved || size == 0);
	CV_ASSERT(size <= chunk_left(c));
	c->is_reserved = false;
	c->size += (uint32_t)size;
	b->end += size;
	if (size == 0)
		free_acked(b, pool);
}

size_t sendbuf_append(struct sendbuf *b, struct pool *pool, const uint8_t *bytes, size_t size)
{
	size_t done = 0, n;
	struct sendbuf_chunk *c;

	while (done < size) {
		c = b->tail;
		if (!c || chunk_left(c) == 0)
			c = add_chunk(b, pool, size - done >= APPEND_BULK ? POOL_64K : POOL_4K);
		if (!c)
			break;
		c->is_reserved = false;
		n = CV_MIN(size - done, chunk_left(c));
		memcpy(c->bytes + c->size, bytes + done, n);
		c->size += (uint32_t)n;
		b->end += n;
		done += n;
	}
	return done;
}

bool sendbuf_next_lost(const struct sendbuf *b, struct span *out)
{
	if (b->lost_hull.begin < b->lost_hull.end) {
		*out = b->lost_hull;
		return true;
	}
	if (b->lost) {
		*out = b->lost->ranges.span[0];
		return true;
	}
	return false;
}

void sendbuf_copy(const struct sendbuf *b, uint64_t begin, uint8_t *out, size_t size)
{
	const struct sendbuf_chunk *c = begin >= b->sent ? b->cursor : b->head;
	size_t at, n;

	CV_ASSERT(begin >= b->acked);
	CV_ASSERT(begin + size <= b->end);
	while (size > 0) {
		/* Lost bytes are old ones: near the head. */
		while (chunk_end(c) <= begin)
			c = c->next;
		at = (size_t)(begin - c->begin);
		n = CV_MIN(size, c->size - at);
		memcpy(out, c->bytes + at, n);
		out += n;
		begin += n;
		size -= n;
	}
}

static void advance_cursor(struct sendbuf *b)
{
	while (b->cursor && chunk_end(b->cursor) <= b->sent && b->cursor->next)
		b->cursor = b->cursor->next;
}

static void clip_hull(struct sendbuf *b, uint64_t begin, uint64_t end)
{
	struct span *hull = &b->lost_hull;

	if (begin <= hull->begin && hull->begin < end)
		hull->begin = CV_MIN(end, hull->end);
	if (begin < hull->end && hull->end <= end)
		hull->end = CV_MAX(begin, hull->begin);
	if (hull->begin >= hull->end)
		*hull = (struct span){ 0 };
}

void sendbuf_on_sent(struct sendbuf *b, struct pool *pool, uint64_t begin, uint64_t end)
{
	CV_ASSERT(begin <= end);
	CV_ASSERT(end <= b->end);
	if (begin == b->sent) {
		b->sent = end;
		advance_cursor(b);
		return;
	}
	CV_ASSERT(end <= b->sent);
	clip_hull(b, begin, end);
	spans_remove(&b->lost, pool, begin, end);
}

/* Nothing more to say of what lies below: spans that now touch the prefix join it. */
static void absorb_acked(struct sendbuf *b, struct pool *pool)
{
	const struct span *first;

	if (!b->acked_beyond)
		return;
	first = &b->acked_beyond->ranges.span[0];
	for (uint32_t i = 0; i < b->acked_beyond->ranges.count && first[i].begin <= b->acked; i++)
		b->acked = CV_MAX(b->acked, first[i].end);
	spans_drop_below(&b->acked_beyond, pool, b->acked);
}

void sendbuf_on_acked(struct sendbuf *b, struct pool *pool, uint64_t begin, uint64_t end)
{
	CV_ASSERT(begin <= end);
	CV_ASSERT(end <= b->sent);
	/* A FIN alone has no bytes, and may arrive before those in front of it. */
	if (end <= b->acked || begin == end)
		return;
	if (begin <= b->acked) {
		b->acked = end;
		absorb_acked(b, pool);
	} else if (spans_add(&b->acked_beyond, pool, begin, end, true) < 0) {
		/* It cannot be remembered that they arrived: sending them again is the price. */
		sendbuf_on_lost(b, pool, begin, end);
		return;
	}
	if (b->lost) {
		spans_remove(&b->lost, pool, begin, end);
		spans_drop_below(&b->lost, pool, b->acked);
	}
	clip_hull(b, begin, end);
	clip_hull(b, 0, b->acked);
	free_acked(b, pool);
}

static void widen_hull(struct sendbuf *b, uint64_t begin, uint64_t end)
{
	struct span *hull = &b->lost_hull;

	if (hull->begin == hull->end) {
		*hull = (struct span){ .begin = begin, .end = end };
		return;
	}
	hull->begin = CV_MIN(hull->begin, begin);
	hull->end = CV_MAX(hull->end, end);
}

void sendbuf_on_lost(struct sendbuf *b, struct pool *pool, uint64_t begin, uint64_t end)
{
	struct span gap;

	CV_ASSERT(begin <= end);
	CV_ASSERT(end <= b->sent);
	begin = CV_MAX(begin, b->acked);
	while (begin < end && spans_next_gap(b->acked_beyond, begin, end, &gap)) {
		if (spans_add(&b->lost, pool, gap.begin, gap.end, true) < 0)
			widen_hull(b, gap.begin, gap.end);
		begin = gap.end;
	}
}

bool sendbuf_probe(struct sendbuf *b, struct pool *pool, size_t size)
{
	struct span gap;

	if (sendbuf_lost(b) > 0)
		return true; /* waits already */
	if (!spans_next_gap(b->acked_beyond, b->acked, b->sent, &gap))
		return false;
	sendbuf_on_lost(b, pool, gap.begin, CV_MIN(gap.end, gap.begin + size));
	return true;
}

static bool chunks_check(const struct sendbuf *b)
{
	const struct sendbuf_chunk *last = NULL;
	uint64_t at = b->head ? b->head->begin : b->end;
	bool has_cursor = false;

	if (at > b->acked && b->head)
		return false;
	for (const struct sendbuf_chunk *c = b->head; c; c = c->next) {
		if (c->begin != at || c->size > chunk_cap(c))
			return false;
		if (c == b->cursor) {
			has_cursor = true;
			if (b->sent < c->begin)
				return false;
		}
		at = chunk_end(c);
		last = c;
	}
	return at == b->end && last == b->tail && has_cursor == (b->cursor != NULL) &&
	       (b->cursor != NULL) == (b->head != NULL);
}

bool sendbuf_check(const struct sendbuf *b)
{
	const struct span *hull = &b->lost_hull;

	if (b->acked > b->sent || b->sent > b->end || hull->begin > hull->end ||
	    hull->end > b->sent)
		return false;
	if (!spans_check(b->lost) || !spans_check(b->acked_beyond))
		return false;
	/* A span at the prefix would have joined it. */
	if (b->acked_beyond && b->acked_beyond->ranges.span[0].begin <= b->acked)
		return false;
	if (b->lost && b->lost->ranges.span[0].begin < b->acked)
		return false;
	/* A stream that was reset holds nothing, whatever its offsets. */
	return !b->head || chunks_check(b);
}

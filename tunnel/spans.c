/* SPDX-License-Identifier: MIT */
#include "tunnel/spans.h"

#include <errno.h>
#include <string.h>

/*
 *	block   | struct spans | span | span | span | ...              |
 *	                         ^ ranges.span
 *
 * A span is 16 bytes, so that the two classes of the pool hold 254 and 4,094.
 * The small one is what a peer gets who has shown nothing; the large one is for
 * bulk over a long and lossy path, where each of thousands of packets in flight
 * may be the edge of a hole.
 */
_Static_assert(sizeof(struct spans) % sizeof(struct span) == 0, "the array begins aligned");

static uint32_t capacity(enum pool_class class)
{
	return class == POOL_4K ? SPANS_SMALL : SPANS_LARGE;
}

static struct spans *take(struct pool *pool, enum pool_class class)
{
	struct spans *s = pool_take(pool, class);

	if (!s)
		return NULL;
	s->total = 0;
	s->class = class;
	ranges_init(&s->ranges, (struct span *)(void *)(s + 1), capacity(class));
	return s;
}

/* Moves the set to a large block. */
static int grow(struct spans **at, struct pool *pool)
{
	struct spans *s = *at;
	struct spans *large;

	if (s->class != POOL_4K)
		return -ENOBUFS;
	large = take(pool, POOL_64K);
	if (!large)
		return -ENOBUFS;
	memcpy(large->ranges.span, s->ranges.span, s->ranges.count * sizeof(struct span));
	large->ranges.count = s->ranges.count;
	large->total = s->total;
	pool_give(pool, s->class, s);
	*at = large;
	return 0;
}

/* Index of the first span that ends after @value, or the count. */
static uint32_t first_after(const struct ranges *r, uint64_t value)
{
	uint32_t lo = 0, hi = r->count;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (r->span[mid].end <= value)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* How many values of [@begin, @end) the set has. */
static uint64_t overlap(const struct ranges *r, uint64_t begin, uint64_t end)
{
	uint64_t total = 0;

	for (uint32_t i = first_after(r, begin); i < r->count && r->span[i].begin < end; i++)
		total += CV_MIN(r->span[i].end, end) - CV_MAX(r->span[i].begin, begin);
	return total;
}

int spans_add(struct spans **at, struct pool *pool, uint64_t begin, uint64_t end, bool may_grow)
{
	uint64_t known;

	CV_ASSERT(begin < end);
	if (!*at) {
		*at = take(pool, POOL_4K);
		if (!*at)
			return -ENOBUFS;
	}
	known = overlap(&(*at)->ranges, begin, end);
	if (ranges_add(&(*at)->ranges, begin, end) < 0) {
		if (!may_grow || grow(at, pool) < 0)
			return -ENOBUFS;
		if (ranges_add(&(*at)->ranges, begin, end) < 0)
			return -ENOBUFS;
	}
	(*at)->total += end - begin - known;
	return 0;
}

static void free_if_empty(struct spans **at, struct pool *pool)
{
	if ((*at)->ranges.count == 0) {
		CV_ASSERT((*at)->total == 0);
		spans_free(at, pool);
	}
}

void spans_remove(struct spans **at, struct pool *pool, uint64_t begin, uint64_t end)
{
	uint64_t known;

	if (!*at || begin >= end)
		return;
	known = overlap(&(*at)->ranges, begin, end);
	if (known == 0 || ranges_remove(&(*at)->ranges, begin, end) < 0)
		return;
	(*at)->total -= known;
	free_if_empty(at, pool);
}

void spans_drop_below(struct spans **at, struct pool *pool, uint64_t floor)
{
	if (!*at || (*at)->ranges.span[0].begin >= floor)
		return;
	(*at)->total -= overlap(&(*at)->ranges, 0, floor);
	ranges_drop_below(&(*at)->ranges, floor);
	free_if_empty(at, pool);
}

void spans_free(struct spans **at, struct pool *pool)
{
	if (*at)
		pool_give(pool, (*at)->class, *at);
	*at = NULL;
}

bool spans_next_gap(const struct spans *s, uint64_t begin, uint64_t end, struct span *out)
{
	const struct ranges *r;
	uint32_t i;

	if (s) {
		r = &s->ranges;
		i = first_after(r, begin);
		if (i < r->count && r->span[i].begin <= begin) {
			/* Spans do not touch, so the value after one is a gap. */
			begin = r->span[i].end;
			i++;
		}
		if (i < r->count && r->span[i].begin < end)
			end = r->span[i].begin;
	}
	if (begin >= end)
		return false;
	*out = (struct span){ .begin = begin, .end = end };
	return true;
}

bool spans_check(const struct spans *s)
{
	uint64_t total = 0;

	if (!s)
		return true;
	for (uint32_t i = 0; i < s->ranges.count; i++)
		total += s->ranges.span[i].end - s->ranges.span[i].begin;
	return ranges_check(&s->ranges) && s->ranges.count > 0 && total == s->total &&
	       s->ranges.cap == capacity(s->class);
}

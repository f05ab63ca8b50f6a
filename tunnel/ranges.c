/* SPDX-License-Identifier: MIT */
#include "tunnel/ranges.h"

#include <errno.h>
#include <string.h>

/*
 * Nearly every value arrives in order, so the last span is tried first and the
 * search is only for what came late:
 *
 *	span   0      1            n-1
 *	     [----) [---)   ...  [------)  <- add() grows this end
 */

void ranges_init(struct ranges *r, struct span *spans, uint32_t cap)
{
	CV_ASSERT(spans || cap == 0);
	*r = (struct ranges){ .span = spans, .cap = cap };
}

/* Index of the first span that ends at or after @value, or r->count. */
static uint32_t first_reaching(const struct ranges *r, uint64_t value)
{
	uint32_t lo = 0, hi = r->count, mid;

	while (lo < hi) {
		mid = lo + (hi - lo) / 2;
		if (r->span[mid].end < value)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Moves the spans from index @from so that they start at index @to. */
static void shift(struct ranges *r, uint32_t from, uint32_t to)
{
	CV_ASSERT(from <= r->count);
	CV_ASSERT(r->count - from <= r->cap - to);
	if (from != to && from < r->count)
		memmove(&r->span[to], &r->span[from], (r->count - from) * sizeof(r->span[0]));
	r->count = r->count - from + to;
}

/* Everything that is not plainly at the tail. */
static int add_anywhere(struct ranges *r, uint64_t begin, uint64_t end)
{
	uint32_t lo, hi;

	/* [lo, hi) are the spans that overlap [begin, end) or touch it. */
	lo = first_reaching(r, begin);
	for (hi = lo; hi < r->count && r->span[hi].begin <= end; hi++)
		;

	if (lo == hi) {
		if (r->count == r->cap)
			return -ENOBUFS;
		shift(r, lo, lo + 1);
	} else {
		/* Widen first, then close the gap: the ends are read before they move. */
		begin = CV_MIN(begin, r->span[lo].begin);
		end = CV_MAX(end, r->span[hi - 1].end);
		shift(r, hi, lo + 1);
	}
	r->span[lo] = (struct span){ .begin = begin, .end = end };
	return 0;
}

int ranges_add(struct ranges *r, uint64_t begin, uint64_t end)
{
	struct span *last;

	CV_ASSERT(begin <= end);
	if (begin == end)
		return 0;
	if (CV_LIKELY(r->count > 0)) {
		last = &r->span[r->count - 1];
		if (CV_LIKELY(begin >= last->begin && begin <= last->end)) {
			last->end = CV_MAX(last->end, end);
			return 0;
		}
	}
	return add_anywhere(r, begin, end);
}

void ranges_add_forget(struct ranges *r, uint64_t begin, uint64_t end)
{
	if (ranges_add(r, begin, end) == 0)
		return;
	/*
	 * Full. When the new span would be the lowest of all, it is the one to be
	 * forgotten: what matters to a peer that waits for ACKs is the recent end.
	 */
	if (r->count == 0 || end < r->span[0].begin)
		return;
	shift(r, 1, 0);
	if (ranges_add(r, begin, end) < 0)
		CV_UNREACHABLE();
}

int ranges_remove(struct ranges *r, uint64_t begin, uint64_t end)
{
	struct span *s;
	uint64_t tail_end;
	uint32_t lo, hi;

	CV_ASSERT(begin <= end);
	if (begin == end)
		return 0;

	/* [lo, hi) are the spans that share a value with [begin, end). */
	lo = first_reaching(r, begin);
	if (lo < r->count && r->span[lo].end == begin)
		lo++;
	for (hi = lo; hi < r->count && r->span[hi].begin < end; hi++)
		;
	if (lo == hi)
		return 0;

	s = &r->span[lo];
	if (s->begin < begin && s->end > end) {
		if (r->count == r->cap)
			return -ENOBUFS;
		tail_end = s->end;
		s->end = begin;
		shift(r, lo + 1, lo + 2);
		r->span[lo + 1] = (struct span){ .begin = end, .end = tail_end };
		return 0;
	}
	if (s->begin < begin) {
		s->end = begin;
		lo++;
	}
	if (hi > lo && r->span[hi - 1].end > end) {
		r->span[hi - 1].begin = end;
		hi--;
	}
	shift(r, hi, lo);
	return 0;
}

void ranges_drop_below(struct ranges *r, uint64_t floor)
{
	uint32_t first;

	if (r->count == 0 || r->span[0].begin >= floor)
		return;
	first = first_reaching(r, floor);
	if (first < r->count && r->span[first].end == floor)
		first++;
	shift(r, first, 0);
	if (r->count > 0 && r->span[0].begin < floor)
		r->span[0].begin = floor;
}

/* The span that holds @value, or NULL. */
static const struct span *find(const struct ranges *r, uint64_t value)
{
	uint32_t i = first_reaching(r, value);

	if (i < r->count && r->span[i].end == value)
		i++;
	return i < r->count && r->span[i].begin <= value ? &r->span[i] : NULL;
}

uint64_t ranges_first_gap(const struct ranges *r, uint64_t from)
{
	const struct span *s = find(r, from);

	return s ? s->end : from;
}

bool ranges_contains(const struct ranges *r, uint64_t value)
{
	return find(r, value) != NULL;
}

bool ranges_check(const struct ranges *r)
{
	if (r->count > r->cap || (r->cap > 0 && !r->span))
		return false;
	for (uint32_t i = 0; i < r->count; i++) {
		if (r->span[i].begin >= r->span[i].end)
			return false;
		if (i > 0 && r->span[i].begin <= r->span[i - 1].end)
			return false;
	}
	return true;
}

/* SPDX-License-Identifier: MIT */

/*
 * Input: operations of three bytes (what, begin, length) on a set of at most five spans.
 *
 * Oracles: a bitmap of 256 values. What was done equals it; what was refused changed
 * nothing and would have needed a sixth span.
 */
#include <string.h>

#include "base/compiler.h"
#include "base/rd.h"
#include "tunnel/ranges.h"

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CAP = 5, UNIVERSE = 512 };

struct bitmap {
	bool has[UNIVERSE + 1];
};

static void fill(struct bitmap *m, uint64_t begin, uint64_t end, bool value)
{
	for (uint64_t v = begin; v < end; v++)
		m->has[v] = value;
}

static uint32_t spans_of(const struct bitmap *m)
{
	uint32_t count = 0;

	for (uint32_t v = 0; v < UNIVERSE; v++)
		count += m->has[v] && !m->has[v + 1];
	return count;
}

static void forget_lowest(struct bitmap *m)
{
	uint64_t v = 0;

	while (!m->has[v])
		v++;
	while (m->has[v])
		m->has[v++] = false;
}

static void compare(const struct ranges *r, const struct bitmap *m)
{
	uint64_t gap = UNIVERSE;

	CV_ASSERT(ranges_check(r));
	CV_ASSERT(r->count == spans_of(m));
	for (uint64_t v = UNIVERSE; v-- > 0;) {
		gap = m->has[v] ? gap : v;
		CV_ASSERT(ranges_contains(r, v) == m->has[v]);
		CV_ASSERT(ranges_first_gap(r, v) == gap);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rd in = rd_init(data, size);
	struct span spans[CAP];
	struct bitmap m = { 0 };
	struct ranges r;

	ranges_init(&r, spans, CAP);
	for (unsigned i = 0; i < 120 && rd_left(&in) >= 3; i++) {
		uint8_t what = rd_u8(&in);
		uint64_t begin = rd_u8(&in);
		uint64_t end = begin + rd_u8(&in);
		struct bitmap after = m;
		bool is_refused = false;

		switch (what & 3) {
		case 0:
			fill(&after, begin, end, true);
			is_refused = ranges_add(&r, begin, end) < 0;
			break;
		case 1:
			fill(&after, begin, end, false);
			is_refused = ranges_remove(&r, begin, end) < 0;
			break;
		case 2:
			fill(&after, begin, end, true);
			if (spans_of(&after) > CAP)
				forget_lowest(&after);
			ranges_add_forget(&r, begin, end);
			break;
		default:
			fill(&after, 0, begin, false);
			ranges_drop_below(&r, begin);
			break;
		}
		if (is_refused)
			CV_ASSERT(spans_of(&after) > CAP);
		else
			m = after;
		compare(&r, &m);
	}
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

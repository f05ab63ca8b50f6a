/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * spans - a set of ranges that lives in a block of the pool, and only while it
 * is not empty: a pointer that is NULL is the empty set. It starts in a small
 * block and may move to a large one.
 *
 * For what a stream seldom needs: bytes received out of order, bytes
 * acknowledged out of order, bytes to send again.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/pool.h"
#include "tunnel/ranges.h"

/* Open so that callers can walk it; changed only in spans.c. */
struct spans {
	struct ranges ranges; /* its array fills the rest of the block */
	uint64_t total;       /* values in the set */
	enum pool_class class;
};

/* What the two classes of block hold. */
enum {
	SPANS_SMALL = (4096 - sizeof(struct spans)) / sizeof(struct span),
	SPANS_LARGE = (65536 - sizeof(struct spans)) / sizeof(struct span),
};

/**
 * spans_add() - add every value in [@begin, @end)
 * @may_grow: whether a full small block may be exchanged for a large one
 *
 * Return: 0; -ENOBUFS when the set is full or the pool refuses: unchanged.
 */
CV_NODISCARD int spans_add(struct spans **at, struct pool *pool, uint64_t begin, uint64_t end,
                           bool may_grow);
/* Removes [@begin, @end); where that would need a span more than there are, nothing is removed. */
void spans_remove(struct spans **at, struct pool *pool, uint64_t begin, uint64_t end);
void spans_drop_below(struct spans **at, struct pool *pool, uint64_t floor);
/* Empties the set and returns its block. */
void spans_free(struct spans **at, struct pool *pool);

static inline uint64_t spans_total(const struct spans *s)
{
	return s ? s->total : 0;
}

static inline uint32_t spans_count(const struct spans *s)
{
	return s ? s->ranges.count : 0;
}

/* The first piece of [@begin, @end) that is not in the set; false when there is none. */
bool spans_next_gap(const struct spans *s, uint64_t begin, uint64_t end, struct span *out);
bool spans_check(const struct spans *s);

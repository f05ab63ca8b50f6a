/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * ranges - a bounded set of uint64_t kept as sorted spans in memory of the
 * caller, so that a set that is seldom needed costs nothing until it is.
 *
 * Used for packet numbers to acknowledge, stream bytes received out of order,
 * acknowledged stream bytes and bytes to send again. A peer that opens more holes than
 * the capacity gets -ENOBUFS, never more of our memory.
 *
 * Invariant (ranges_check): spans are non-empty, ascending, and separated by at
 * least one missing value, so equal sets have equal representations.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct span {
	uint64_t begin;
	uint64_t end; /* exclusive */
};

struct ranges {
	struct span *span; /* borrowed */
	uint32_t count;
	uint32_t cap;
};

void ranges_init(struct ranges *r, struct span *spans, uint32_t cap);
/* Adds [begin, end). 0, or -ENOBUFS (unchanged) when it would need a span more than the capacity.
 * Time: O(1) at the tail, else O(log n + moved). */
CV_NODISCARD int ranges_add(struct ranges *r, uint64_t begin, uint64_t end);
/* As ranges_add(), but at the capacity the lowest span is forgotten to make room. */
void ranges_add_forget(struct ranges *r, uint64_t begin, uint64_t end);
/* Removes [begin, end). 0, or -ENOBUFS (unchanged) when a span would have to be split at the
 * capacity. */
CV_NODISCARD int ranges_remove(struct ranges *r, uint64_t begin, uint64_t end);
void ranges_drop_below(struct ranges *r, uint64_t floor);
/* First value >= @from that is not in the set. */
uint64_t ranges_first_gap(const struct ranges *r, uint64_t from);
bool ranges_contains(const struct ranges *r, uint64_t value);
bool ranges_check(const struct ranges *r);

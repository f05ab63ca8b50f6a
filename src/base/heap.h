/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * heap - 4-ary min-heap of (instant, owner) with a back index, so that a
 * deadline can be moved or removed in O(log n). Ties leave in insertion order:
 * a simulation must not depend on the layout of memory.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/time.h"

struct heap_node {
	cv_time at;
	uint64_t order;
	size_t slot; /* index in heap, or HEAP_OUT */
};

#define HEAP_OUT SIZE_MAX

struct heap {
	struct heap_node **nodes; /* owned array of borrowed nodes */
	size_t count;
	size_t cap;
	uint64_t order;
};

void heap_init(struct heap *h);
void heap_deinit(struct heap *h);
void heap_node_init(struct heap_node *n);
/* Makes room for @cap nodes, so that heap_set() cannot fail. 0 or -ENOMEM. */
CV_NODISCARD int heap_reserve(struct heap *h, size_t cap);
/* Inserts, moves, or (for CV_TIME_NEVER) removes @n. Room must have been reserved. */
void heap_set(struct heap *h, struct heap_node *n, cv_time at);
void heap_remove(struct heap *h, struct heap_node *n);
/* The earliest node, or NULL. */
struct heap_node *heap_first(const struct heap *h);
bool heap_check(const struct heap *h);

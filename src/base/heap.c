/* SPDX-License-Identifier: MIT */
#include "base/heap.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"

/*
 * Four children a node: half the levels of a binary heap, and the children of a
 * node share a cache line. Node i has the children 4i + 1 .. 4i + 4.
 */
enum { ARITY = 4 };

static bool is_before(const struct heap_node *a, const struct heap_node *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

static void put(struct heap *h, size_t slot, struct heap_node *n)
{
	h->nodes[slot] = n;
	n->slot = slot;
}

/* Moves the gap at @slot towards the root until @n may stand in it. */
static size_t sift_up(struct heap *h, size_t slot, const struct heap_node *n)
{
	size_t parent;

	while (slot > 0) {
		parent = (slot - 1) / ARITY;
		if (!is_before(n, h->nodes[parent]))
			break;
		put(h, slot, h->nodes[parent]);
		slot = parent;
	}
	return slot;
}

/* Moves the gap at @slot towards the leaves until @n may stand in it. */
static size_t sift_down(struct heap *h, size_t slot, const struct heap_node *n)
{
	size_t first, least;

	for (;;) {
		first = slot * ARITY + 1;
		if (first >= h->count)
			return slot;
		least = first;
		for (size_t i = first + 1; i < h->count && i < first + ARITY; i++) {
			if (is_before(h->nodes[i], h->nodes[least]))
				least = i;
		}
		if (!is_before(h->nodes[least], n))
			return slot;
		put(h, slot, h->nodes[least]);
		slot = least;
	}
}

/* Fills the gap at @slot with @n, wherever that ends. At most one of the two moves. */
static void settle(struct heap *h, size_t slot, struct heap_node *n)
{
	slot = sift_up(h, slot, n);
	slot = sift_down(h, slot, n);
	put(h, slot, n);
}

void heap_init(struct heap *h)
{
	*h = (struct heap){ 0 };
}

void heap_deinit(struct heap *h)
{
	cv_free(h->nodes);
	*h = (struct heap){ 0 };
}

void heap_node_init(struct heap_node *n)
{
	*n = (struct heap_node){ .at = CV_TIME_NEVER, .slot = HEAP_OUT };
}

int heap_reserve(struct heap *h, size_t cap)
{
	struct heap_node **nodes;

	if (cap <= h->cap)
		return 0;
	/* Doubling, so that making room for one more each time costs little. */
	if (cap < 2 * h->cap)
		cap = 2 * h->cap;
	nodes = cv_zalloc_array(cap, sizeof(struct heap_node *));
	if (!nodes)
		return -ENOMEM;
	if (h->count)
		memcpy(nodes, h->nodes, h->count * sizeof(struct heap_node *));
	cv_free(h->nodes);
	h->nodes = nodes;
	h->cap = cap;
	return 0;
}

void heap_set(struct heap *h, struct heap_node *n, cv_time at)
{
	if (at == CV_TIME_NEVER) {
		heap_remove(h, n);
		return;
	}
	if (n->slot == HEAP_OUT) {
		CV_ASSERT(h->count < h->cap);
		n->slot = h->count++;
	} else {
		CV_ASSERT(n->slot < h->count);
		CV_ASSERT(h->nodes[n->slot] == n);
		if (n->at == at)
			return; /* keeps its place among those of the same instant */
	}
	n->at = at;
	n->order = h->order++;
	settle(h, n->slot, n);
}

void heap_remove(struct heap *h, struct heap_node *n)
{
	size_t slot = n->slot;
	struct heap_node *last;

	if (slot == HEAP_OUT)
		return;
	CV_ASSERT(slot < h->count);
	CV_ASSERT(h->nodes[slot] == n);
	last = h->nodes[--h->count];
	if (last != n)
		settle(h, slot, last);
	n->slot = HEAP_OUT;
	n->at = CV_TIME_NEVER;
}

struct heap_node *heap_first(const struct heap *h)
{
	return h->count ? h->nodes[0] : NULL;
}

bool heap_check(const struct heap *h)
{
	if (h->count > h->cap)
		return false;
	for (size_t i = 0; i < h->count; i++) {
		if (h->nodes[i]->slot != i || h->nodes[i]->at == CV_TIME_NEVER)
			return false;
		if (i > 0 && is_before(h->nodes[i], h->nodes[(i - 1) / ARITY]))
			return false;
	}
	return true;
}

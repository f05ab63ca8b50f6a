/* SPDX-License-Identifier: MIT */
#include "tunnel/indexes.h"

#include <errno.h>

#include "base/alloc.h"

/*
 * The ring is made long enough when an index is *taken*, for every index there is: so freeing one,
 * which happens on the way down and must not fail, never needs memory.
 */

struct indexes_rest {
	cv_time freed_at;
	uint32_t index;
};

/* Longer than any epoch that could still be sealed under by a peer with a slow clock. */
#define REST_TIME CV_SEC(180)
#define INDEXES_RESTING (UINT64_MAX - 1)

_Static_assert(INDEXES_NONE == IDMAP_NONE, "a map's miss is passed on as it is");

enum {
	RING_FIRST = 64,
	/* Even with every second number taken, all of these would be in use once in 2^64 calls. */
	DRAWS_MAX = 64,
};

int indexes_init(struct indexes *t, uint64_t seed)
{
	struct indexes_rest *rest = cv_zalloc_array(RING_FIRST, sizeof(*rest));

	*t = (struct indexes){ 0 };
	idmap_init(&t->map, seed);
	if (!rest)
		return -ENOMEM;
	t->rest = rest;
	t->rest_cap = RING_FIRST;
	return 0;
}

void indexes_deinit(struct indexes *t)
{
	idmap_deinit(&t->map);
	cv_free(t->rest);
	*t = (struct indexes){ 0 };
}

static struct indexes_rest *ring_at(const struct indexes *t, uint32_t i)
{
	return &t->rest[(t->rest_head + i) & (t->rest_cap - 1)];
}

static int grow_ring(struct indexes *t)
{
	struct indexes_rest *rest;

	if (t->rest_cap > UINT32_MAX / 2)
		return -ENOMEM;
	rest = cv_zalloc_array((size_t)t->rest_cap * 2, sizeof(*rest));
	if (!rest)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->rest_count; i++)
		rest[i] = *ring_at(t, i);
	cv_free(t->rest);
	t->rest = rest;
	t->rest_cap *= 2;
	t->rest_head = 0;
	return 0;
}

static void release_rested(struct indexes *t, cv_time now)
{
	while (t->rest_count > 0 && cv_time_since(now, ring_at(t, 0)->freed_at) >= REST_TIME) {
		const uint64_t was = idmap_remove(&t->map, ring_at(t, 0)->index);

		CV_ASSERT(was == INDEXES_RESTING);
		t->rest_head = (t->rest_head + 1) & (t->rest_cap - 1);
		t->rest_count--;
	}
}

uint32_t indexes_take(struct indexes *t, cv_time now, const struct rng *rng, uint64_t owner)
{
	CV_ASSERT(owner < INDEXES_RESTING);
	release_rested(t, now);
	if (t->map.count >= t->rest_cap && grow_ring(t) < 0)
		return 0;
	for (unsigned i = 0; i < DRAWS_MAX; i++) {
		const uint32_t index = rng_u32(rng);

		if (index == 0 || idmap_find(&t->map, index) != IDMAP_NONE)
			continue;
		return idmap_add(&t->map, index, owner) < 0 ? 0 : index;
	}
	return 0;
}

void indexes_free(struct indexes *t, cv_time now, uint32_t index)
{
	int r;

	CV_ASSERT(indexes_find(t, index) != INDEXES_NONE);
	CV_ASSERT(t->rest_count < t->rest_cap);
	r = idmap_add(&t->map, index, INDEXES_RESTING); /* replaces: needs no memory */
	CV_ASSERT(r == 0);
	*ring_at(t, t->rest_count) = (struct indexes_rest){ .freed_at = now, .index = index };
	t->rest_count++;
}

void indexes_give(struct indexes *t, uint32_t index, uint64_t owner)
{
	int r;

	CV_ASSERT(owner < INDEXES_RESTING);
	CV_ASSERT(indexes_find(t, index) != INDEXES_NONE);
	r = idmap_add(&t->map, index, owner); /* replaces: needs no memory */
	CV_ASSERT(r == 0);
}

uint64_t indexes_find(const struct indexes *t, uint32_t index)
{
	const uint64_t owner = idmap_find(&t->map, index);

	return owner == INDEXES_RESTING ? INDEXES_NONE : owner;
}

/* SPDX-License-Identifier: MIT */
#include "base/ratelimit.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"

/*
 * Levels are tokens times 1e9: a rate per second times nanoseconds is then a
 * level without a division, and nothing is lost to rounding however often a
 * bucket is looked at.
 */
#define TOKEN UINT64_C(1000000000)

enum {
	/* Entries looked at when the table is full. A small constant: the work of an unknown
	 * source must not grow with the table, or the table is the attack. */
	SWEEP_STEP = 8,
};

static uint64_t depth(uint64_t burst)
{
	CV_ASSERT(burst < UINT64_C(1) << 33); /* so that times 1e9 it fits 63 bits */
	return burst * TOKEN;
}

static uint64_t level_at(const struct bucket *b, cv_time now, uint64_t rate, uint64_t burst)
{
	cv_u128 level;

	if (b->filled_at == 0)
		return depth(burst);
	level = (cv_u128)cv_time_since(now, b->filled_at) * rate + b->level;
	return level < depth(burst) ? (uint64_t)level : depth(burst);
}

bool bucket_take(struct bucket *b, cv_time now, uint64_t rate, uint64_t burst, uint64_t cost)
{
	uint64_t level = level_at(b, now, rate, burst);

	if (cost > burst || level < cost * TOKEN)
		return false; /* unchanged: what has accrued is computed again next time */
	b->level = level - cost * TOKEN;
	/* 0 would mean "never used"; a clock that stands still must not refill either. */
	b->filled_at = CV_MAX(CV_MAX(now, b->filled_at), 1);
	return true;
}

cv_time bucket_ready_at(const struct bucket *b, cv_time now, uint64_t rate, uint64_t burst,
                        uint64_t cost)
{
	uint64_t level = level_at(b, now, rate, burst);
	uint64_t missing;

	if (cost > burst)
		return CV_TIME_NEVER;
	if (level >= cost * TOKEN)
		return now;
	if (rate == 0)
		return CV_TIME_NEVER;
	missing = cost * TOKEN - level;
	return cv_time_after(now, missing / rate + (missing % rate != 0));
}

uint64_t bucket_level(const struct bucket *b, cv_time now, uint64_t rate, uint64_t burst)
{
	return level_at(b, now, rate, burst) / TOKEN;
}

struct source_bucket {
	uint64_t key;
	struct bucket bucket;
};

int source_limit_init(struct source_limit *l, uint32_t cap, uint64_t rate, uint64_t burst,
                      uint64_t seed)
{
	struct source_limit next = { .cap = cap, .rate = rate, .burst = burst };

	CV_ASSERT(cap > 0);
	idmap_init(&next.map, seed);
	next.entries = cv_zalloc_array(cap, sizeof(next.entries[0]));
	if (!next.entries || idmap_reserve(&next.map, cap) < 0) {
		source_limit_deinit(&next);
		return -ENOMEM;
	}
	*l = next;
	return 0;
}

void source_limit_deinit(struct source_limit *l)
{
	idmap_deinit(&l->map);
	cv_free(l->entries);
	*l = (struct source_limit){ 0 };
}

/* 64 bits under a secret seed stand for the source: two sources share a bucket once in 2^64. */
static uint64_t source_key(const struct source_limit *l, const struct addr *from, bool with_port)
{
	struct addr prefix = *from;

	if (with_port)
		return addr_hash(from, l->map.seed);
	prefix.port = 0;
	prefix.scope = 0;
	if (prefix.family == ADDR_V6)
		memset(prefix.ip + 8, 0, 8); /* whoever has one address of a /64 has all */
	/* Another seed: the prefix 10.0.0.1 and the source 10.0.0.1:0 are two things. */
	return addr_hash(&prefix, ~l->map.seed);
}

/* An entry for a new source: an unused one, or one whose bucket says nothing any more; else NULL.
 */
static struct source_bucket *claim(struct source_limit *l, cv_time now)
{
	struct source_bucket *e;
	uint64_t index;

	if (l->count < l->cap)
		return &l->entries[l->count++];
	for (unsigned i = 0; i < SWEEP_STEP; i++) {
		e = &l->entries[l->sweep];
		l->sweep = (l->sweep + 1) % l->cap;
		if (level_at(&e->bucket, now, l->rate, l->burst) < depth(l->burst))
			continue;
		index = idmap_remove(&l->map, e->key);
		CV_ASSERT(index == (uint64_t)(e - l->entries));
		return e;
	}
	return NULL;
}

bool source_limit_take(struct source_limit *l, cv_time now, const struct addr *from, bool with_port)
{
	uint64_t key = source_key(l, from, with_port);
	uint64_t index = idmap_find(&l->map, key);
	struct source_bucket *e;
	int r;

	if (index != IDMAP_NONE) {
		CV_ASSERT(index < l->count);
		return bucket_take(&l->entries[index].bucket, now, l->rate, l->burst, 1);
	}
	e = claim(l, now);
	if (!e)
		return false;
	*e = (struct source_bucket){ .key = key };
	r = idmap_add(&l->map, key, (uint64_t)(e - l->entries));
	CV_ASSERT(r == 0); /* reserved at the start */
	return bucket_take(&e->bucket, now, l->rate, l->burst, 1);
}

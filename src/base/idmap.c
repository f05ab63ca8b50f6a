/* SPDX-License-Identifier: MIT */
#include "base/idmap.h"

#include <errno.h>

#include "base/alloc.h"

/*
 * Linear probing: a key lies at its home slot or in the run of full slots after
 * it. Removal closes the hole by moving later members of the run back (Knuth,
 * TAOCP 3, 6.4, algorithm R), so there are no tombstones and a table that is
 * used for a year looks like one that was filled a minute ago.
 */

enum { CAP_MIN = 16 };

/* A bijection for any seed; the seed enters twice, so that a difference between two keys that
 * survives the first half for every seed does not survive the second. */
static uint64_t mix(const struct idmap *m, uint64_t key)
{
	uint64_t x = (key ^ m->seed) * UINT64_C(0x9e3779b97f4a7c15);

	x ^= x >> 32;
	x *= m->seed | 1;
	x ^= x >> 29;
	x *= UINT64_C(0xd6e8feb86659fd93);
	return x ^ x >> 32;
}

static size_t home(const struct idmap *m, uint64_t key)
{
	return (size_t)mix(m, key) & (m->cap - 1);
}

static bool is_empty(const struct idmap *m, size_t slot)
{
	return m->slots[slot].value == IDMAP_NONE;
}

/* The slot that holds @key, or the empty one where it belongs. There is always an empty one. */
static size_t probe(const struct idmap *m, uint64_t key)
{
	size_t slot = home(m, key);

	CV_ASSERT(m->count < m->cap);
	while (!is_empty(m, slot) && m->slots[slot].key != key)
		slot = (slot + 1) & (m->cap - 1);
	return slot;
}

void idmap_init(struct idmap *m, uint64_t seed)
{
	*m = (struct idmap){ .seed = seed };
}

void idmap_deinit(struct idmap *m)
{
	cv_free(m->slots);
	*m = (struct idmap){ .seed = m->seed };
}

static int resize(struct idmap *m, size_t cap)
{
	struct idmap next = { .cap = cap, .count = m->count, .seed = m->seed };

	CV_ASSERT((cap & (cap - 1)) == 0);
	CV_ASSERT(m->count < cap);
	next.slots = cv_zalloc_array(cap, sizeof(next.slots[0]));
	if (!next.slots)
		return -ENOMEM;
	for (size_t i = 0; i < cap; i++)
		next.slots[i].value = IDMAP_NONE;
	for (size_t i = 0; i < m->cap; i++) {
		if (!is_empty(m, i))
			next.slots[probe(&next, m->slots[i].key)] = m->slots[i];
	}
	cv_free(m->slots);
	*m = next;
	return 0;
}

int idmap_reserve(struct idmap *m, size_t count)
{
	size_t cap = m->cap ? m->cap : CAP_MIN;

	/* At most 3/4 full: a miss then looks at 8.5 slots on average (Knuth, 6.4). */
	while (cap - cap / 4 < count) {
		if (cap > SIZE_MAX / 2 / sizeof(struct idmap_slot))
			return -ENOMEM;
		cap *= 2;
	}
	return cap == m->cap ? 0 : resize(m, cap);
}

uint64_t idmap_find(const struct idmap *m, uint64_t key)
{
	return m->count ? m->slots[probe(m, key)].value : IDMAP_NONE;
}

int idmap_add(struct idmap *m, uint64_t key, uint64_t value)
{
	size_t slot;
	int r;

	CV_ASSERT(value != IDMAP_NONE);
	if (m->cap) {
		slot = probe(m, key);
		if (!is_empty(m, slot)) {
			m->slots[slot].value = value;
			return 0;
		}
	}
	r = idmap_reserve(m, m->count + 1);
	if (r < 0)
		return r;
	slot = probe(m, key); /* the table may have moved */
	CV_ASSERT(is_empty(m, slot));
	m->slots[slot] = (struct idmap_slot){ .key = key, .value = value };
	m->count++;
	return 0;
}

uint64_t idmap_remove(struct idmap *m, uint64_t key)
{
	size_t mask = m->cap - 1;
	size_t hole, at;
	uint64_t value;

	if (m->count == 0)
		return IDMAP_NONE;
	hole = probe(m, key);
	value = m->slots[hole].value;
	if (value == IDMAP_NONE)
		return IDMAP_NONE;

	for (at = (hole + 1) & mask; !is_empty(m, at); at = (at + 1) & mask) {
		/* May move back only if that is not before its home: the distance from home
		 * to here, going round, reaches at least as far as the hole. */
		if (((at - home(m, m->slots[at].key)) & mask) >= ((at - hole) & mask)) {
			m->slots[hole] = m->slots[at];
			hole = at;
		}
	}
	m->slots[hole] = (struct idmap_slot){ .value = IDMAP_NONE };
	m->count--;
	return value;
}

bool idmap_next(const struct idmap *m, size_t *at, uint64_t *key, uint64_t *value)
{
	for (; *at < m->cap; (*at)++) {
		if (is_empty(m, *at))
			continue;
		*key = m->slots[*at].key;
		*value = m->slots[*at].value;
		(*at)++;
		return true;
	}
	return false;
}

bool idmap_check(const struct idmap *m)
{
	size_t count = 0;

	if (m->cap == 0)
		return !m->slots && m->count == 0;
	if ((m->cap & (m->cap - 1)) != 0 || m->count > m->cap - m->cap / 4)
		return false;
	for (size_t i = 0; i < m->cap; i++) {
		if (is_empty(m, i))
			continue;
		count++;
		/* Found from its home without meeting a hole, and only once. */
		if (probe(m, m->slots[i].key) != i)
			return false;
	}
	return count == m->count;
}

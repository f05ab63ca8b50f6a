/* SPDX-License-Identifier: MIT */
#include "tunnel/pending.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "base/alloc.h"

/*
 * All entries live equally long, so the list by age is also the list by deadline and expiring is
 * taking from its old end. Three maps lead to an entry: by our index (a packet came), by the INIT's
 * mac1 (a repeat came), by owner (a third handshake of one remote). A stranger with a cookie can
 * keep the table full; nothing here may therefore walk it.
 *
 * The caller fills in index and mac1 after pendings_take(), so an entry enters those two maps at
 * the next call.
 */

/* Replay pressure: that many unconfirmed ends within that time (rule 3.3). */
enum { PRESSURE_MIN = 3 };
#define PRESSURE_TIME CV_SEC(5)

static uint32_t slot_of(const struct pendings *p, const struct pending *e)
{
	return (uint32_t)(e - p->slots);
}

/* 64 bits of a keyed hash: two INITs share them once in 2^64, and then the older is forgotten. */
static uint64_t mac1_key(const uint8_t mac1[MAC_SIZE])
{
	return cv_load64(mac1);
}

int pendings_init(struct pendings *p, uint32_t cap)
{
	struct pendings next = { .cap = cap,
		                 .oldest = PENDING_NONE,
		                 .newest = PENDING_NONE,
		                 .free = PENDING_NONE,
		                 .fresh = PENDING_NONE };

	CV_ASSERT(cap > 0 && cap < PENDING_NONE);
	idmap_init(&next.by_index, 0); /* the indices are random, and ours */
	idmap_init(&next.by_mac1, 0);
	idmap_init(&next.by_owner, 0);
	next.slots = cv_zalloc_array(cap, sizeof(next.slots[0]));
	if (!next.slots || idmap_reserve(&next.by_index, cap) < 0 ||
	    idmap_reserve(&next.by_mac1, cap) < 0 || idmap_reserve(&next.by_owner, cap) < 0) {
		pendings_deinit(&next, 0, NULL);
		return -ENOMEM;
	}
	for (uint32_t i = cap; i-- > 0;) {
		next.slots[i].newer = next.free;
		next.free = i;
	}
	*p = next;
	return 0;
}

void pendings_deinit(struct pendings *p, cv_time now, struct indexes *indexes)
{
	if (p->slots) {
		while (p->oldest != PENDING_NONE)
			pendings_drop(p, now, indexes, &p->slots[p->oldest], false);
		sodium_memzero(p->slots, p->cap * sizeof(p->slots[0]));
	}
	cv_free(p->slots);
	idmap_deinit(&p->by_index);
	idmap_deinit(&p->by_mac1);
	idmap_deinit(&p->by_owner);
	*p = (struct pendings){ 0 };
}

static void list_remove_entry(struct pendings *p, struct pending *e)
{
	if (e->older != PENDING_NONE)
		p->slots[e->older].newer = e->newer;
	else
		p->oldest = e->newer;
	if (e->newer != PENDING_NONE)
		p->slots[e->newer].older = e->older;
	else
		p->newest = e->older;
}

/* At most PENDING_PER_OWNER + 1 steps. */
static void owner_remove(struct pendings *p, struct pending *e)
{
	uint32_t at = (uint32_t)idmap_find(&p->by_owner, e->owner);
	int r = 0;

	if (at == slot_of(p, e)) {
		(void)idmap_remove(&p->by_owner, e->owner);
		if (e->next_of_owner != PENDING_NONE)
			r = idmap_add(&p->by_owner, e->owner, e->next_of_owner);
		CV_ASSERT(r == 0); /* in the room just left */
		return;
	}
	while (p->slots[at].next_of_owner != slot_of(p, e))
		at = p->slots[at].next_of_owner;
	p->slots[at].next_of_owner = e->next_of_owner;
}

static void map_remove(struct idmap *m, uint64_t key, uint32_t slot)
{
	if (idmap_find(m, key) == slot)
		(void)idmap_remove(m, key);
}

static void forget(struct pendings *p, struct pending *e)
{
	uint32_t slot = slot_of(p, e);

	if (p->fresh == slot) {
		p->fresh = PENDING_NONE;
	} else {
		map_remove(&p->by_index, e->index, slot);
		map_remove(&p->by_mac1, mac1_key(e->init_mac1), slot);
	}
	list_remove_entry(p, e);
	owner_remove(p, e);
	sodium_memzero(e, sizeof(*e));
	e->newer = p->free;
	p->free = slot;
	CV_ASSERT(p->count > 0);
	p->count--;
}

/* The entry taken last is filled in by now: into the maps with it, or back if it was not wanted. */
static void settle(struct pendings *p)
{
	struct pending *e;
	int r;

	if (p->fresh == PENDING_NONE)
		return;
	e = &p->slots[p->fresh];
	if (e->index == 0) {
		forget(p, e);
		return;
	}
	p->fresh = PENDING_NONE;
	r = idmap_add(&p->by_index, e->index, slot_of(p, e));
	CV_ASSERT(r == 0); /* reserved */
	r = idmap_add(&p->by_mac1, mac1_key(e->init_mac1), slot_of(p, e));
	CV_ASSERT(r == 0);
}

static void count_end(struct pendings *p, cv_time now)
{
	if (cv_time_since(now, p->expired_since) > PRESSURE_TIME)
		p->expired = 0;
	if (p->expired == 0)
		p->expired_since = now;
	p->expired++;
}

static void evict(struct pendings *p, cv_time now, struct indexes *indexes, struct pending *e)
{
	count_end(p, now);
	pendings_drop(p, now, indexes, e, false);
}

/* The oldest entry of @owner of that kind if it has its full share of them, else NULL. */
static struct pending *surplus(struct pendings *p, uint64_t owner, bool is_continuing)
{
	uint64_t at = idmap_find(&p->by_owner, owner);
	struct pending *last = NULL;
	unsigned count = 0;

	if (at == IDMAP_NONE)
		return NULL;
	for (uint32_t i = (uint32_t)at; i != PENDING_NONE; i = p->slots[i].next_of_owner) {
		if (p->slots[i].is_continuing != is_continuing)
			continue;
		count++;
		last = &p->slots[i]; /* newest first */
	}
	return count >= (is_continuing ? 1u : PENDING_PER_OWNER) ? last : NULL;
}

struct pending *pendings_take(struct pendings *p, cv_time now, struct indexes *indexes,
                              uint64_t owner, bool is_continuing)
{
	struct pending *e;
	uint64_t first;
	uint32_t slot;
	int r;

	settle(p);
	e = surplus(p, owner, is_continuing);
	if (e)
		evict(p, now, indexes, e);
	if (p->free == PENDING_NONE)
		evict(p, now, indexes, &p->slots[p->oldest]);
	slot = p->free;
	e = &p->slots[slot];
	p->free = e->newer;
	first = idmap_find(&p->by_owner, owner);
	*e = (struct pending){ .owner = owner,
		               .made_at = now,
		               .is_continuing = is_continuing,
		               .older = p->newest,
		               .newer = PENDING_NONE,
		               .next_of_owner =
		                       first == IDMAP_NONE ? PENDING_NONE : (uint32_t)first };
	if (p->newest != PENDING_NONE)
		p->slots[p->newest].newer = slot;
	else
		p->oldest = slot;
	p->newest = slot;
	p->fresh = slot;
	p->count++;
	r = idmap_add(&p->by_owner, owner, slot);
	CV_ASSERT(r == 0);
	return e;
}

struct pending *pendings_find(struct pendings *p, uint32_t index)
{
	uint64_t slot;

	settle(p);
	slot = idmap_find(&p->by_index, index);
	return index == 0 || slot == IDMAP_NONE ? NULL : &p->slots[slot];
}

struct pending *pendings_repeat(struct pendings *p, const uint8_t mac1[MAC_SIZE])
{
	struct pending *e;
	uint64_t slot;

	settle(p);
	slot = idmap_find(&p->by_mac1, mac1_key(mac1));
	if (slot == IDMAP_NONE)
		return NULL;
	e = &p->slots[slot];
	return sodium_memcmp(e->init_mac1, mac1, MAC_SIZE) == 0 ? e : NULL;
}

void pendings_drop(struct pendings *p, cv_time now, struct indexes *indexes, struct pending *e,
                   bool keep_index)
{
	if (e->index != 0 && !keep_index)
		indexes_free(indexes, now, e->index);
	forget(p, e);
}

void pendings_drop_owner(struct pendings *p, cv_time now, struct indexes *indexes, uint64_t owner)
{
	uint64_t slot;

	settle(p);
	while ((slot = idmap_find(&p->by_owner, owner)) != IDMAP_NONE)
		pendings_drop(p, now, indexes, &p->slots[slot], false);
}

void pendings_expire(struct pendings *p, cv_time now, struct indexes *indexes)
{
	settle(p);
	while (p->oldest != PENDING_NONE &&
	       now >= cv_time_after(p->slots[p->oldest].made_at, PENDING_LIFE))
		evict(p, now, indexes, &p->slots[p->oldest]);
}

cv_time pendings_deadline(const struct pendings *p)
{
	if (p->oldest == PENDING_NONE)
		return CV_TIME_NEVER;
	return cv_time_after(p->slots[p->oldest].made_at, PENDING_LIFE);
}

bool pendings_under_pressure(const struct pendings *p, cv_time now)
{
	return p->expired >= PRESSURE_MIN && cv_time_since(now, p->expired_since) <= PRESSURE_TIME;
}

void pending_add_source(struct pending *e, uint64_t name)
{
	if (e->source_count < PENDING_SOURCES && !pending_was_sent_to(e, name))
		e->sources[e->source_count++] = name;
}

bool pending_was_sent_to(const struct pending *e, uint64_t name)
{
	for (uint8_t i = 0; i < e->source_count; i++) {
		if (e->sources[i] == name)
			return true;
	}
	return false;
}

bool pending_was_sent_only_to(const struct pending *e, uint64_t name)
{
	return e->source_count == 1 && e->sources[0] == name;
}

/* SPDX-License-Identifier: MIT */
#include "tunnel/stream_table.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "tunnel/stream.h"

struct stream_slab {
	struct stream streams[STREAM_SLAB_COUNT];
};

#define SLOT_NONE UINT32_MAX

_Static_assert(sizeof(struct stream) <= 384, "ten thousand idle streams cost little");

void stream_table_init(struct stream_table *t, struct pool *pool, uint64_t seed,
                       bool has_smaller_key, uint32_t streams_max)
{
	CV_ASSERT(streams_max > 0);
	*t = (struct stream_table){
		.pool = pool,
		.free_slot = SLOT_NONE,
		.own_bit = has_smaller_key ? 0 : 1,
		.streams_max = streams_max,
		.own_max = STREAM_FIRST_COUNT,
		.peer_told = STREAM_FIRST_COUNT,
	};
	idmap_init(&t->ids, seed);
	ranges_init(&t->finished, NULL, 0);
}

void stream_table_deinit(struct stream_table *t)
{
	for (uint32_t i = 0; i < t->slab_count; i++) {
		pool_uncharge(t->pool, sizeof(struct stream_slab));
		cv_free(t->slabs[i]);
	}
	cv_free(t->slabs);
	cv_free(t->finished.span);
	idmap_deinit(&t->ids);
	*t = (struct stream_table){ .free_slot = SLOT_NONE };
}

static struct stream *at_slot(const struct stream_table *t, uint32_t slot)
{
	CV_ASSERT(slot / STREAM_SLAB_COUNT < t->slab_count);
	return &t->slabs[slot / STREAM_SLAB_COUNT]->streams[slot % STREAM_SLAB_COUNT];
}

static int add_slab(struct stream_table *t)
{
	struct stream_slab **slabs;
	struct stream_slab *slab;
	uint32_t cap;

	if (t->slab_count == t->slab_cap) {
		cap = t->slab_cap ? t->slab_cap * 2 : 4;
		slabs = cv_zalloc_array(cap, sizeof(struct stream_slab *));
		if (!slabs)
			return -ENOMEM;
		if (t->slab_count)
			memcpy(slabs, t->slabs, t->slab_count * sizeof(struct stream_slab *));
		cv_free(t->slabs);
		t->slabs = slabs;
		t->slab_cap = cap;
	}
	if (pool_charge(t->pool, sizeof(*slab)) < 0)
		return -ENOMEM;
	slab = cv_zalloc(sizeof(*slab));
	if (!slab) {
		pool_uncharge(t->pool, sizeof(*slab));
		return -ENOMEM;
	}
	/* A free object's `slot` is the next free one; the chain begins with the lowest. */
	for (uint32_t i = STREAM_SLAB_COUNT; i-- > 0;) {
		slab->streams[i].slot = t->free_slot;
		t->free_slot = t->slab_count * STREAM_SLAB_COUNT + i;
	}
	t->slabs[t->slab_count++] = slab;
	return 0;
}

static int add(struct stream_table *t, uint64_t id, struct stream **out)
{
	uint32_t slot;
	struct stream *st;

	if (t->free_slot == SLOT_NONE && add_slab(t) < 0)
		return -ENOMEM;
	if (idmap_add(&t->ids, id, t->free_slot) < 0)
		return -ENOMEM;
	slot = t->free_slot;
	st = at_slot(t, slot);
	CV_ASSERT(!st->is_live);
	t->free_slot = st->slot;
	*st = (struct stream){ .id = id, .slot = slot, .is_live = true };
	t->last = st;
	*out = st;
	return 0;
}

static void drop(struct stream_table *t, struct stream *st)
{
	uint64_t value = idmap_remove(&t->ids, st->id);
	uint32_t slot = st->slot;

	CV_ASSERT(value == slot);
	if (t->last == st)
		t->last = NULL;
	st->is_live = false;
	st->slot = t->free_slot;
	t->free_slot = slot;
}

static bool is_own(const struct stream_table *t, uint64_t id)
{
	return (id & 1) == t->own_bit;
}

struct stream *stream_table_find(const struct stream_table *t, uint64_t id)
{
	uint64_t slot = idmap_find(&t->ids, id);

	return slot == IDMAP_NONE ? NULL : at_slot(t, (uint32_t)slot);
}

struct stream *stream_table_find_cached(struct stream_table *t, uint64_t id)
{
	struct stream *st = t->last;

	if (CV_LIKELY(st && st->id == id))
		return st;
	st = stream_table_find(t, id);
	if (st)
		t->last = st;
	return st;
}

enum stream_id_kind stream_table_classify(struct stream_table *t, uint64_t id, struct stream **out)
{
	struct stream *st = stream_table_find_cached(t, id);

	if (st) {
		*out = st;
		return STREAM_ID_OPEN;
	}
	if (is_own(t, id))
		return id >> 1 < t->own_next ? STREAM_ID_FINISHED : STREAM_ID_FORBIDDEN;
	if (id >> 1 >= t->peer_told)
		return STREAM_ID_FORBIDDEN;
	return ranges_contains(&t->finished, id >> 1) ? STREAM_ID_FINISHED : STREAM_ID_NEW;
}

bool stream_table_can_open(const struct stream_table *t)
{
	return t->own_next < t->own_max && t->own_open < t->streams_max &&
	       t->own_next <= WIRE_STREAM_ID_MAX >> 1;
}

int stream_table_add_own(struct stream_table *t, struct stream **out)
{
	int r;

	CV_ASSERT(stream_table_can_open(t));
	r = add(t, t->own_next << 1 | t->own_bit, out);
	if (r < 0)
		return r;
	t->own_next++;
	t->own_open++;
	return 0;
}

/* Room for as many spans as could be needed when every open stream ends. */
static int reserve_finished(struct stream_table *t)
{
	uint32_t need = t->finished.count + t->peer_open + 1;
	uint32_t cap = t->finished.cap ? t->finished.cap : 16;
	struct span *spans;

	if (need <= t->finished.cap)
		return 0;
	while (cap < need)
		cap *= 2;
	spans = cv_zalloc_array(cap, sizeof(*spans));
	if (!spans)
		return -ENOMEM;
	if (t->finished.count)
		memcpy(spans, t->finished.span, t->finished.count * sizeof(*spans));
	cv_free(t->finished.span);
	t->finished.span = spans;
	t->finished.cap = cap;
	return 0;
}

int stream_table_add_peer(struct stream_table *t, uint64_t id, struct stream **out)
{
	int r;

	CV_ASSERT(!is_own(t, id));
	CV_ASSERT(id >> 1 < t->peer_told);
	r = reserve_finished(t);
	if (r < 0)
		return r;
	r = add(t, id, out);
	if (r < 0)
		return r;
	t->peer_open++;
	return 0;
}

void stream_table_finish(struct stream_table *t, struct stream *st)
{
	int r;

	if (is_own(t, st->id)) {
		CV_ASSERT(t->own_open > 0);
		t->own_open--;
	} else {
		CV_ASSERT(t->peer_open > 0);
		t->peer_open--;
		t->peer_gone++;
		r = ranges_add(&t->finished, st->id >> 1, (st->id >> 1) + 1);
		CV_ASSERT(r == 0); /* reserved when it was admitted */
	}
	drop(t, st);
}

void stream_table_undo(struct stream_table *t, struct stream *st)
{
	CV_ASSERT(!is_own(t, st->id));
	CV_ASSERT(t->peer_open > 0);
	t->peer_open--;
	drop(t, st);
}

struct stream *stream_table_next(const struct stream_table *t, uint32_t *at)
{
	struct stream *st;

	while (*at < t->slab_count * STREAM_SLAB_COUNT) {
		st = at_slot(t, (*at)++);
		if (st->is_live)
			return st;
	}
	return NULL;
}

bool stream_table_raise(struct stream_table *t, uint64_t max)
{
	if (max <= t->own_max)
		return false;
	t->own_max = max;
	return true;
}

static uint64_t limit(const struct stream_table *t)
{
	return CV_MIN(t->peer_gone + t->streams_max, (WIRE_STREAM_ID_MAX >> 1) + 1);
}

bool stream_table_is_due(const struct stream_table *t)
{
	uint64_t next = limit(t);

	/* An eighth at a time: a frame per stream would double the packets of short streams. */
	return next > t->peer_told && next - t->peer_told >= CV_MAX(t->streams_max / 8, 1U);
}

uint64_t stream_table_tell(struct stream_table *t)
{
	t->peer_told = CV_MAX(t->peer_told, limit(t));
	return t->peer_told;
}

bool stream_table_check(const struct stream_table *t)
{
	uint32_t own = 0, peer = 0, at = 0;
	uint64_t finished = 0;
	const struct stream *st;

	while ((st = stream_table_next(t, &at)) != NULL) {
		if (stream_table_find(t, st->id) != st)
			return false;
		if (is_own(t, st->id))
			own++;
		else
			peer++;
		if (!is_own(t, st->id) && ranges_contains(&t->finished, st->id >> 1))
			return false;
	}
	for (uint32_t i = 0; i < t->finished.count; i++)
		finished += t->finished.span[i].end - t->finished.span[i].begin;
	return own == t->own_open && peer == t->peer_open && t->ids.count == own + peer &&
	       finished == t->peer_gone && t->own_open <= t->streams_max &&
	       t->peer_open + t->peer_gone <= t->peer_told && idmap_check(&t->ids) &&
	       (t->finished.count == 0 || ranges_check(&t->finished)) &&
	       (t->peer_open == 0 || t->finished.count + t->peer_open <= t->finished.cap);
}

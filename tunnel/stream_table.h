/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * stream_table - the stream objects of a session by id: slabs that grow at
 * admission and stay, a map from id to slot, and which ids are finished.
 *
 * Of our own ids everything below `own_next` was opened, so what is not in the
 * map is finished. The peer's may arrive in any order, so its finished ones are a
 * set of ranges; admission makes room for the span that the end of each stream
 * may need, so that finishing cannot fail.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/idmap.h"
#include "base/pool.h"
#include "tunnel/ranges.h"

struct stream;
struct stream_slab;

enum { STREAM_SLAB_COUNT = 64 };

/* Open so that it can be embedded; touch the members only in stream_table.c. */
struct stream_table {
	struct pool *pool;          /* charged for the slabs */
	struct stream_slab **slabs; /* owned */
	uint32_t slab_count, slab_cap;
	uint32_t free_slot;  /* first of a chain, or UINT32_MAX */
	struct stream *last; /* found last, or NULL */
	struct idmap ids;
	struct ranges finished; /* of the peer's, without bit 0; its array is owned */
	uint8_t own_bit;        /* bit 0 of our ids */
	uint32_t streams_max;   /* open at once, each way */
	uint32_t own_open, peer_open;
	uint64_t own_next;  /* streams that we opened so far */
	uint64_t own_max;   /* cumulative limit told by the peer */
	uint64_t peer_gone; /* the peer's streams that are gone for good */
	uint64_t peer_told; /* cumulative limit that we told */
};

enum stream_id_kind {
	STREAM_ID_OPEN,      /* in the table */
	STREAM_ID_NEW,       /* the peer may open it */
	STREAM_ID_FINISHED,  /* late: ignore */
	STREAM_ID_FORBIDDEN, /* the peer broke a rule */
};

void stream_table_init(struct stream_table *t, struct pool *pool, uint64_t seed,
                       bool has_smaller_key, uint32_t streams_max);
/* Every stream was removed, or is forgotten. */
void stream_table_deinit(struct stream_table *t);

/* What @id is; *@out is set for STREAM_ID_OPEN. */
enum stream_id_kind stream_table_classify(struct stream_table *t, uint64_t id, struct stream **out);
struct stream *stream_table_find(const struct stream_table *t, uint64_t id);
/* As stream_table_find(), quick when it is the stream found last. */
struct stream *stream_table_find_cached(struct stream_table *t, uint64_t id);
/* True when we may open another. */
bool stream_table_can_open(const struct stream_table *t);
/* A zeroed object with id and slot set, for our next id or one that is STREAM_ID_NEW; 0 or -ENOMEM.
 */
CV_NODISCARD int stream_table_add_own(struct stream_table *t, struct stream **out);
CV_NODISCARD int stream_table_add_peer(struct stream_table *t, uint64_t id, struct stream **out);
/* Ends an id for ever. */
void stream_table_finish(struct stream_table *t, struct stream *st);
/* Takes the admission of a peer's stream back, as if its frame had not come. */
void stream_table_undo(struct stream_table *t, struct stream *st);
/* Walks all streams: start with *@at = 0; the one returned may be removed meanwhile. NULL at the
 * end. */
struct stream *stream_table_next(const struct stream_table *t, uint32_t *at);

/* The peer's limit, cumulative; true when it is news. */
bool stream_table_raise(struct stream_table *t, uint64_t max);
/* True when enough streams are gone that the peer should be told a new limit. */
bool stream_table_is_due(const struct stream_table *t);
/* Puts the new limit in force and returns it. */
uint64_t stream_table_tell(struct stream_table *t);
bool stream_table_check(const struct stream_table *t);

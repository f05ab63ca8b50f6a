/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * fairq - datagrams that wait to be sent, fair between their flows (RFC 8290, 4.1, without CoDel).
 *
 * Knows whose turn it is, what goes when too much waits, and how old the oldest is. Knows no
 * packets, parts or limits of age (datagram).
 *
 * Flows share 64 buckets by a hash of their numbers. Those that have something take turns, by
 * bytes; one that had nothing goes before them, once. When all together are more than FAIRQ_MAX the
 * oldest of the longest bucket goes. So a blast waits for itself and loses its own, while a game or
 * a resolver beside it waits for the datagram that is leaving. Of one flow the order is kept.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/pool.h"
#include "base/time.h"

enum {
	FAIRQ_MAX = 256 * 1024, /* bytes that wait, with FAIRQ_COST of each; rule 7.8 */
	FAIRQ_COST = 16,        /* and each is rounded up to as much */
	FAIRQ_DATAGRAM_MAX = 65507,
	FAIRQ_BUCKETS = 64,
	/* Some four full packets in a turn: trains of packets that are alike stay possible. */
	FAIRQ_QUANTUM = 6 * 1024,
	/* Of 64 KiB. A block is left half empty only for one larger than the other half. */
	FAIRQ_BLOCKS = 7,
};

struct fairq_block {
	uint8_t *bytes; /* NULL: all of it has gone */
	uint32_t used;
	uint32_t read; /* of the first block: where the oldest lies */
	uint32_t live; /* datagrams */
	enum pool_class class;
};

struct fairq_bucket {
	uint16_t head, tail; /* places of datagrams */
	uint8_t list;        /* which of the lists it is on */
	uint32_t size;       /* bytes that wait */
	int32_t credit;      /* bytes that it may send in this turn */
};

/* Buckets, first in, first out. */
struct fairq_list {
	uint8_t bucket[FAIRQ_BUCKETS];
	uint8_t begin, count;
};

/* Open so that it can be embedded. */
struct fairq {
	struct pool *pool;
	struct fairq_block blocks[FAIRQ_BLOCKS]; /* a ring, in order of arrival */
	uint8_t begin, count;
	uint8_t chosen; /* the bucket whose first datagram is being sent, or FAIRQ_BUCKETS */
	struct fairq_bucket buckets[FAIRQ_BUCKETS];
	struct fairq_list fresh, others;
	uint32_t entries;
	uint32_t size; /* of all */
};

struct fairq_datagram {
	uint64_t flow;
	const uint8_t *bytes; /* borrowed until it is popped or dropped */
	size_t size;
};

void fairq_init(struct fairq *q, struct pool *pool);
void fairq_deinit(struct fairq *q);
/* Drops one if that is needed for one of @size bytes more; false: there is room. */
bool fairq_make_room(struct fairq *q, size_t size);
/* Copies. There is room. 0; -ENOBUFS: no memory, and nothing has changed. */
CV_NODISCARD int fairq_push(struct fairq *q, cv_time now, uint64_t flow, const uint8_t *bytes,
                            size_t size);
/* Whose turn it is, the same until it is popped or dropped; false: nothing waits. */
bool fairq_first(struct fairq *q, struct fairq_datagram *out);
/* The one of fairq_first() is still there. */
bool fairq_is_chosen(const struct fairq *q);
void fairq_pop(struct fairq *q);
/* When the oldest was pushed, up to 1.024 us later; CV_TIME_NEVER: nothing waits. */
cv_time fairq_oldest_at(const struct fairq *q);
void fairq_drop_oldest(struct fairq *q);
/* Bytes of @flow that wait, with those that share its bucket. */
size_t fairq_flow_size(const struct fairq *q, uint64_t flow);
bool fairq_check(const struct fairq *q);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * ratelimit - token buckets: one alone, and a bounded table of them keyed by a
 * source (IPv4 /32, IPv6 /64), as WireGuard's ratelimiter has them.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/idmap.h"
#include "base/time.h"

/* A zeroed bucket is full at its first use. Tokens are in units of the caller. */
struct bucket {
	cv_time filled_at; /* 0: never used */
	uint64_t level;    /* tokens * 1e9 */
};

/* Takes @cost tokens if they are there. @rate per second; @burst the depth (below 2^33). */
bool bucket_take(struct bucket *b, cv_time now, uint64_t rate, uint64_t burst, uint64_t cost);
/* When @cost tokens will be there, @now if they are. Takes nothing. */
cv_time bucket_ready_at(const struct bucket *b, cv_time now, uint64_t rate, uint64_t burst,
                        uint64_t cost);

/* Whole tokens that are there. Takes nothing. */
uint64_t bucket_level(const struct bucket *b, cv_time now, uint64_t rate, uint64_t burst);

struct source_bucket;

/* One bucket a source; at the cap, entries that are full again are dropped, else unknown sources
 * refused. All memory is taken by source_limit_init(). */
struct source_limit {
	struct idmap map;
	struct source_bucket *entries; /* owned */
	uint32_t count, cap;
	uint32_t sweep; /* where the next clean-up step looks */
	uint64_t rate, burst;
};

CV_NODISCARD int source_limit_init(struct source_limit *l, uint32_t cap, uint64_t rate,
                                   uint64_t burst, uint64_t seed);
void source_limit_deinit(struct source_limit *l);
/* @with_port: the whole address and port is the key (after a cookie), else its prefix. */
bool source_limit_take(struct source_limit *l, cv_time now, const struct addr *from,
                       bool with_port);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * indexes - receiver indices of one endpoint: random 32-bit numbers, each naming
 * its owner (a session or link, by number). A freed index rests 180 s before it is used again,
 * so that late packets find nobody rather than somebody else.
 */

#include <stdint.h>

#include "base/compiler.h"
#include "base/idmap.h"
#include "base/rng.h"
#include "base/time.h"

struct indexes_rest;

struct indexes {
	struct idmap map;          /* index -> owner, or INDEXES_RESTING */
	struct indexes_rest *rest; /* owned ring of freed ones, oldest first */
	uint32_t rest_count, rest_head, rest_cap;
};

#define INDEXES_NONE UINT64_MAX

CV_NODISCARD int indexes_init(struct indexes *t, uint64_t seed);
void indexes_deinit(struct indexes *t);
/* A new index that is not 0, or 0 when memory is out. */
uint32_t indexes_take(struct indexes *t, cv_time now, const struct rng *rng, uint64_t owner);
void indexes_free(struct indexes *t, cv_time now, uint32_t index);
/* A taken index leads to @owner from now on: a pending handshake became a session. */
void indexes_give(struct indexes *t, uint32_t index, uint64_t owner);
/* The owner, or INDEXES_NONE. */
uint64_t indexes_find(const struct indexes *t, uint32_t index);

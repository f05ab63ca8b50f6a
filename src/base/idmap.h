/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * idmap - 64-bit key to 64-bit value, open addressing, linear probing, backward
 * shift on removal (no tombstones). Grows by doubling when 3/4 full; adding can
 * therefore fail, finding and removing cannot.
 *
 * Keys are mixed with a seed, so that a peer that chooses keys cannot choose
 * collisions.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct idmap_slot {
	uint64_t key;
	uint64_t value; /* IDMAP_NONE: the slot is empty */
};

#define IDMAP_NONE UINT64_MAX

struct idmap {
	struct idmap_slot *slots; /* owned; NULL before the first add */
	size_t cap;               /* power of two, or 0 */
	size_t count;
	uint64_t seed;
};

void idmap_init(struct idmap *m, uint64_t seed);
void idmap_deinit(struct idmap *m);
/* Makes room for @count keys, so that adding up to there cannot fail. 0 or -ENOMEM. */
CV_NODISCARD int idmap_reserve(struct idmap *m, size_t count);
/* The value of @key, or IDMAP_NONE. */
uint64_t idmap_find(const struct idmap *m, uint64_t key);
/* Adds or replaces; @value is not IDMAP_NONE. 0 or -ENOMEM (unchanged). */
CV_NODISCARD int idmap_add(struct idmap *m, uint64_t key, uint64_t value);
/* Removes and returns the value, or IDMAP_NONE when the key was not there. */
uint64_t idmap_remove(struct idmap *m, uint64_t key);
/* Walks in slot order: start with *@at = 0; false at the end. No changes meanwhile. */
bool idmap_next(const struct idmap *m, size_t *at, uint64_t *key, uint64_t *value);
bool idmap_check(const struct idmap *m);

#pragma once
/* SPDX-License-Identifier: MIT */

/*
 * lab_table - hash table from a 24-byte key to a number, of a fixed capacity.
 *
 * Memory is taken once in lab_table_init(); nothing is allocated afterwards.
 */

#include "lab_base.h"

struct lab_key {
	uint64_t word[3];
};

struct lab_table_entry {
	struct lab_key key;
	uint32_t value;
	uint32_t next; /* index + 1 of the next in the bucket or free list; 0 ends it */
};

struct lab_table {
	struct lab_table_entry *entries; /* owned */
	uint32_t *buckets;               /* owned; index + 1, 0 is empty */
	uint32_t mask;
	uint32_t capacity;
	uint32_t fresh; /* entries from here on were never used */
	uint32_t free;  /* index + 1 */
};

/** lab_table_init() - room for @capacity entries. Return: 0 or -ENOMEM. */
LAB_NODISCARD int lab_table_init(struct lab_table *t, uint32_t capacity);

void lab_table_deinit(struct lab_table *t);

/** lab_table_clear() - forget all entries, keep the memory. */
void lab_table_clear(struct lab_table *t);

/** lab_table_get() - find @key; @value is written only when true is returned. */
LAB_NODISCARD bool lab_table_get(const struct lab_table *t, const struct lab_key *key,
                                 uint32_t *value);

/** lab_table_add() - add a key that is absent. Return: 0 or -ENOSPC. */
LAB_NODISCARD int lab_table_add(struct lab_table *t, const struct lab_key *key, uint32_t value);

/** lab_table_remove() - forget @key; nothing happens when it is absent. */
void lab_table_remove(struct lab_table *t, const struct lab_key *key);

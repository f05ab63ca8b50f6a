/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * pool - memory of a process under one budget (`tunnel.memory`).
 *
 * Growth of buffers is a request that may be refused (protocol rule 8.2): the
 * asker then stays at its present size. Blocks are kept on free lists by size
 * class, so that steady traffic never reaches the heap.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

enum pool_class {
	POOL_4K,  /* 4,096 bytes: small writes, small receive buffers */
	POOL_64K, /* 65,536 bytes: bulk */
	POOL_CLASSES,
};

struct pool_block {
	struct pool_block *next;
};

/* Open so that it can be embedded; touch the members only in pool.c. */
struct pool {
	uint64_t budget; /* bytes */
	uint64_t used;   /* bytes lent out and charged */
	uint64_t idle;   /* bytes on the free lists: within the process, not charged */
	struct pool_block *free[POOL_CLASSES];
};

void pool_init(struct pool *p, uint64_t budget);
/* Everything lent must have come back. */
void pool_deinit(struct pool *p);

/* A block of that class (not zeroed), or NULL when the budget refuses it. */
void *pool_take(struct pool *p, enum pool_class class);
void pool_give(struct pool *p, enum pool_class class, void *block);
/* Bytes of a block of that class. */
size_t pool_block_size(enum pool_class class);

/* Charges @size bytes that live elsewhere; 0 or -ENOMEM (nothing charged). */
CV_NODISCARD int pool_charge(struct pool *p, uint64_t size);
void pool_uncharge(struct pool *p, uint64_t size);
/* Share of the budget in use, in thousandths. */
unsigned pool_permille(const struct pool *p);
/* Used and idle bytes together stay within the budget; the lists hold what they say. */
bool pool_check(const struct pool *p);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * arena - memory that is taken piece by piece and given back all at once, wiped:
 * a configuration holds passwords. Zero-initialised is empty.
 */

#include <stddef.h>

#include "base/compiler.h"

struct arena_block;

struct arena {
	struct arena_block *blocks; /* owned; newest first */
};

/* Zeroed memory for @count elements of @size bytes, or NULL. Lives until arena_deinit(). */
void *arena_zalloc(struct arena *a, size_t count, size_t size);
/* A copy of @size bytes with a NUL behind them, or NULL. */
char *arena_copy(struct arena *a, const char *text, size_t size);
/* Wipes and frees all of it. Safe when called twice. */
void arena_deinit(struct arena *a);

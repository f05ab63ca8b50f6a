/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * alloc - the only way to the heap. Called when something is admitted, never on
 * the packet path: a counting allocator in tests proves it, and a failing one
 * (the k-th call) drives the torture tests.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

/* Zeroed memory, or NULL. Release with cv_free(). */
void *cv_zalloc(size_t size);
/* As cv_zalloc(@count * @size), refusing an overflow with NULL. */
void *cv_zalloc_array(size_t count, size_t size);
/* Zeroed memory aligned to @align (a power of two); release with cv_free(). */
void *cv_zalloc_aligned(size_t size, size_t align);
/* A copy of @text owned by the caller, or NULL. */
char *cv_strdup(const char *text);
/* NULL is allowed. */
void cv_free(void *p);

/* For tests: calls so far, bytes in live blocks, and fail the k-th call from now, once
 * (0: never). */
uint64_t cv_alloc_calls(void);
uint64_t cv_alloc_live(void);
void cv_alloc_fail_at(uint64_t k);

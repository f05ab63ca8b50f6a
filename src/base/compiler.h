/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * compiler - the few GNU C attributes the tree relies on, and the assertion.
 *
 * CV_ASSERT states what the programmer believes. It is never compiled out and
 * must not be reachable from anything a peer, a file or the kernel can send:
 * those are operating errors and have return values.
 */

#include <stddef.h> /* offsetof, for CV_CONTAINER_OF */

#define CV_NODISCARD __attribute__((warn_unused_result))
#define CV_CLEANUP(fn) __attribute__((cleanup(fn)))
#define CV_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define CV_LIKELY(x) __builtin_expect(!!(x), 1)
#define CV_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define CV_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
/* A local that the build's flags (-ftrivial-auto-var-init) shall not clear: large, on a hot path,
 * and read only where it was written. */
#define CV_UNINITIALIZED __attribute__((uninitialized))
/* The struct that embeds @member, from a pointer to that member. */
#define CV_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Prints the failed belief and aborts; the only exit of the core. */
_Noreturn void cv_assert_fail(const char *what, const char *file, int line);

#define CV_ASSERT(cond) (CV_LIKELY(cond) ? (void)0 : cv_assert_fail(#cond, __FILE__, __LINE__))
#define CV_UNREACHABLE() cv_assert_fail("unreachable", __FILE__, __LINE__)

__extension__ typedef unsigned __int128 cv_u128;

#define CV_MIN(a, b) ((a) < (b) ? (a) : (b))
#define CV_MAX(a, b) ((a) > (b) ? (a) : (b))

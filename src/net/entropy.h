/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * entropy - the kernel's randomness as a struct rng.
 *
 * Small requests come out of a buffer of 512 bytes: one system call then serves dozens of
 * nonces and timers. What was handed out is wiped from it at once. Not thread-safe.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/rng.h"

enum { ENTROPY_BUFFER_SIZE = 512 };

struct entropy {
	uint8_t bytes[ENTROPY_BUFFER_SIZE];
	size_t left; /* unused bytes, at the end of @bytes */
};

/* sodium_init() must have succeeded before the first byte is drawn. */
void entropy_init(struct entropy *e);
/* Wipes. Safe on a zeroed struct, and twice. */
void entropy_deinit(struct entropy *e);
/* @e is borrowed for the life of the rng. */
struct rng entropy_rng(struct entropy *e);
/* One number, for a seed or a draw: whoever needs many keeps a struct entropy. */
uint64_t entropy_u64(void);

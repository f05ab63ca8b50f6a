/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * replay - sliding window that refuses a packet number seen before; its size is
 * given at init (65,536 between agents, 128 for a server session, 1,024 for probes).
 *
 * The module knows nothing of keys, sockets or time. Algorithm: RFC 6479,
 * "IPsec Anti-Replay Algorithm without Bit Shifting".
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

enum replay_verdict {
	REPLAY_FRESH,     /* first sight: deliver the packet */
	REPLAY_DUPLICATE, /* seen: drop */
	REPLAY_TOO_OLD,   /* below the window: cannot tell, so drop */
};

/* Words needed for a window of @bits (a power of two): one more is always being recycled. */
#define REPLAY_WORDS(bits) ((bits) / 64 * 2)

struct replay {
	uint64_t next;  /* one above the largest number accepted; 0 before the first */
	uint64_t *seen; /* borrowed: REPLAY_WORDS() words, a power of two */
	uint32_t words;
	uint32_t window; /* numbers below next - window are TOO_OLD */
};

/* Forgets everything. @words: borrowed for the life of the window; @count a power of two. */
void replay_init(struct replay *w, uint64_t *words, uint32_t count, uint32_t window);
/* Says what replay_accept() would, and changes nothing: before the AEAD, to save its cost. */
CV_NODISCARD enum replay_verdict replay_check(const struct replay *w, uint64_t number);
/* Records @number after the AEAD has verified and never before. */
CV_NODISCARD enum replay_verdict replay_accept(struct replay *w, uint64_t number);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * sendbuf - bytes of one stream from the application until they are acknowledged.
 *
 *	0        acked           sent           end
 *	| freed  | in flight, lost | not yet sent |  offsets of the stream
 *
 * Bytes lie in chunks of the pool, filled in place, and are copied once more,
 * into a packet. A packet remembers offset and size, never bytes. What is lost
 * becomes pending again; acknowledgements and losses may name any bytes that
 * were sent, in any order, any number of times.
 *
 * Knows no frames, no windows, no FIN.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/pool.h"
#include "tunnel/spans.h"

struct sendbuf_chunk;

/* Open so that it can be embedded; touch the members only in sendbuf.c. */
struct sendbuf {
	struct sendbuf_chunk *head;   /* oldest, holds `acked`; NULL: empty */
	struct sendbuf_chunk *tail;   /* being filled */
	struct sendbuf_chunk *cursor; /* holds `sent`, or ends there */
	uint64_t acked;
	uint64_t sent;
	uint64_t end;
	struct span lost_hull; /* what `lost` had no memory for: too much rather than too little */
	struct spans *lost;    /* to send again */
	struct spans *acked_beyond; /* acknowledged above `acked` */
};

void sendbuf_init(struct sendbuf *b);
/* Frees everything; the offsets stay. Safe to repeat. */
void sendbuf_drop(struct sendbuf *b, struct pool *pool);

/**
 * sendbuf_reserve() - memory to write the next bytes in place
 * @size: in: bytes wanted, > 0; out: bytes there, 1 .. wanted
 *
 * A small chunk first, a large one once a chunk was filled to its end. Every
 * reservation ends with sendbuf_commit(), with 0 when nothing was filled: until
 * then the chunk stays even if all else is acknowledged.
 *
 * Return: the memory, or NULL when the pool refuses.
 */
uint8_t *sendbuf_reserve(struct sendbuf *b, struct pool *pool, size_t *size);
void sendbuf_commit(struct sendbuf *b, struct pool *pool, size_t size);
/* Copies; returns how many bytes the pool had room for. */
size_t sendbuf_append(struct sendbuf *b, struct pool *pool, const uint8_t *bytes, size_t size);

/* The lowest bytes to send again; false: none. */
bool sendbuf_next_lost(const struct sendbuf *b, struct span *out);
/* Copies [@begin, @begin + @size) out; all of it is held. O(1) for new bytes. */
void sendbuf_copy(const struct sendbuf *b, uint64_t begin, uint8_t *out, size_t size);
/* [@begin, @end) went out: new bytes at `sent`, or some of sendbuf_next_lost(). */
void sendbuf_on_sent(struct sendbuf *b, struct pool *pool, uint64_t begin, uint64_t end);
void sendbuf_on_acked(struct sendbuf *b, struct pool *pool, uint64_t begin, uint64_t end);
void sendbuf_on_lost(struct sendbuf *b, struct pool *pool, uint64_t begin, uint64_t end);
/* Makes up to @size of the oldest unacknowledged bytes pending; false when all is acknowledged. */
bool sendbuf_probe(struct sendbuf *b, struct pool *pool, size_t size);

static inline uint64_t sendbuf_unsent(const struct sendbuf *b)
{
	return b->end - b->sent;
}

/* Bytes to send again, from above. */
static inline uint64_t sendbuf_lost(const struct sendbuf *b)
{
	return b->lost_hull.end - b->lost_hull.begin + spans_total(b->lost);
}

bool sendbuf_check(const struct sendbuf *b);

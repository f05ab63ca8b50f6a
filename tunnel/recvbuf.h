/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * recvbuf - bytes of one stream from packets, in any order, until the
 * application has consumed them.
 *
 *	0         consumed         in_order
 *	| freed   | readable       | holes and bytes beyond |  offsets of the stream
 *
 * The first writer of a byte wins; what overlaps it later is ignored, so no
 * order of frames mixes two versions (threat T22). Memory is bounded by what the
 * caller lets arrive: chunks lie on a grid and hold at most twice the span
 * between `consumed` and the highest byte. Holes are bounded by RECVBUF_GAPS for
 * small pieces and by one per RECVBUF_GAP_BYTES for bulk.
 *
 * Knows no windows and no final size.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/pool.h"
#include "tunnel/spans.h"

enum {
	/* Holes for whoever sends crumbs: a small block of the pool, just under the 256 of T22. */
	RECVBUF_GAPS = SPANS_SMALL,
	/* More of them if they divide at least so many bytes each: 5 % loss at 32 MiB in flight. */
	RECVBUF_GAP_BYTES = 2048,
	RECVBUF_GAPS_BULK = SPANS_LARGE,
	/* The largest piece: what fits in a UDP datagram. */
	RECVBUF_PIECE_MAX = 65536,
};

struct recvbuf_chunk;

/* Open so that it can be embedded; touch the members only in recvbuf.c. */
struct recvbuf {
	struct recvbuf_chunk *head; /* ascending, disjoint; NULL: nothing is held */
	struct recvbuf_chunk *tail;
	uint64_t consumed;
	uint64_t in_order;
	struct spans *beyond; /* received above in_order */
};

struct recvbuf_piece {
	const uint8_t *bytes;
	size_t size;
};

void recvbuf_init(struct recvbuf *b);
/* Frees everything held; unread bytes count as consumed. Safe to repeat. */
void recvbuf_drop(struct recvbuf *b, struct pool *pool);

/**
 * recvbuf_write() - take what is new of [@offset, @offset + @size)
 * @size: 0 .. RECVBUF_PIECE_MAX; the sum does not overflow
 *
 * Return: 0; -ENOBUFS when the pool or the number of holes refuses: nothing
 *         changed, the piece must come again.
 */
CV_NODISCARD int recvbuf_write(struct recvbuf *b, struct pool *pool, uint64_t offset,
                               const uint8_t *bytes, size_t size);
/* Readable bytes as up to @max pieces, borrowed until they are consumed; their number. */
unsigned recvbuf_peek(const struct recvbuf *b, struct recvbuf_piece *out, unsigned max);
/* @size bytes, at most what is readable, are done with. */
void recvbuf_consume(struct recvbuf *b, struct pool *pool, size_t size);

static inline size_t recvbuf_readable(const struct recvbuf *b)
{
	return (size_t)(b->in_order - b->consumed);
}

/* Bytes held, in order or not. */
static inline uint64_t recvbuf_held(const struct recvbuf *b)
{
	return b->in_order - b->consumed + spans_total(b->beyond);
}

bool recvbuf_check(const struct recvbuf *b);

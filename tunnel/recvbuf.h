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
 * Large pieces in order are not copied at first when their packets' memory stays for a
 * while (struct recvbuf_loans): who reads at once gets them where they came. Room for them
 * is taken all the same, so that what is left can always be kept.
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
	/* Smaller ones are copied: a copy is cheaper than one more piece to write. */
	RECVBUF_LOAN_MIN = 4096,
	RECVBUF_LOANS_MAX = 16,
};

struct recvbuf_chunk;

struct recvbuf_loan {
	uint64_t begin; /* offset of bytes[0] */
	const uint8_t *bytes;
	size_t size;
};

/* Pieces that lie where they came: of one stream at a time, for all of a process. */
struct recvbuf_loans {
	bool is_open; /* set by the owner: packets that come now stay until recvbuf_keep() */
	unsigned count;
	struct recvbuf *of;                          /* NULL: nothing is lent */
	struct recvbuf_loan list[RECVBUF_LOANS_MAX]; /* ascending, disjoint */
};

/* Open so that it can be embedded; touch the members only in recvbuf.c. */
struct recvbuf {
	struct recvbuf_chunk *head; /* ascending, disjoint; NULL: nothing is held */
	struct recvbuf_chunk *tail;
	uint64_t consumed;
	uint64_t in_order;
	struct spans *beyond;        /* received above in_order */
	struct recvbuf_loans *loans; /* borrowed; NULL: every piece is copied */
};

struct recvbuf_piece {
	const uint8_t *bytes;
	size_t size;
};

/* @loans: borrowed, or NULL. */
void recvbuf_init(struct recvbuf *b, struct recvbuf_loans *loans);
/* Frees everything held; unread bytes count as consumed. Safe to repeat. */
void recvbuf_drop(struct recvbuf *b, struct pool *pool);

/**
 * recvbuf_write() - take what is new of [@offset, @offset + @size)
 * @bytes: copied; borrowed until recvbuf_keep() while the loans are open
 * @size: 0 .. RECVBUF_PIECE_MAX; the sum does not overflow
 *
 * Return: 0; -ENOBUFS when the pool or the number of holes refuses: nothing
 *         changed, the piece must come again.
 */
CV_NODISCARD int recvbuf_write(struct recvbuf *b, struct pool *pool, uint64_t offset,
                               const uint8_t *bytes, size_t size);
/* Readable bytes as up to @max pieces, borrowed until they are consumed; their number. */
unsigned recvbuf_peek(const struct recvbuf *b, struct recvbuf_piece *out, unsigned max);
/* The packets' memory is about to go: what was not consumed is copied. */
void recvbuf_keep(struct recvbuf_loans *loans);
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

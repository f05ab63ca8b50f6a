/* SPDX-License-Identifier: MIT */

/*
 * Reassembly against an array that knows the first writer of each byte. The input
 * is a list of operations of four bytes: what, where, how much. Oracles besides
 * the sanitizers: recvbuf_check(), equal bytes, memory within twice the window.
 */
#include <string.h>

#include "tunnel/recvbuf.h"

enum { SPACE = 1 << 18, WINDOW = 1 << 17 };

static struct recvbuf_loans loans;
static uint8_t store[8][RECVBUF_PIECE_MAX]; /* of packets, used again when they are kept */
static unsigned packets;
static uint8_t bytes_of[SPACE];
static bool has[SPACE];

static void keep(void)
{
	recvbuf_keep(&loans);
	memset(store, 0xee, packets * sizeof(store[0]));
	packets = 0;
}

static void write_piece(struct recvbuf *b, struct pool *pool, uint64_t offset, size_t size,
                        uint8_t value)
{
	uint64_t limit = CV_MIN(b->consumed + WINDOW, (uint64_t)SPACE);
	uint8_t *bytes;

	offset = CV_MIN(offset, limit);
	size = (size_t)CV_MIN((uint64_t)size, limit - offset);
	if (packets == CV_ARRAY_SIZE(store))
		keep();
	bytes = store[packets++];
	memset(bytes, value, size);
	if (recvbuf_write(b, pool, offset, bytes, size) < 0)
		return;
	for (size_t i = 0; i < size; i++) {
		if (!has[offset + i]) {
			has[offset + i] = true;
			bytes_of[offset + i] = value;
		}
	}
}

static void read_all(struct recvbuf *b, struct pool *pool, size_t max)
{
	struct recvbuf_piece piece[4];
	unsigned count = recvbuf_peek(b, piece, 4);
	size_t total = 0;

	for (unsigned i = 0; i < count; i++) {
		CV_ASSERT(memcmp(piece[i].bytes, bytes_of + b->consumed + total, piece[i].size) ==
		          0);
		total += piece[i].size;
	}
	recvbuf_consume(b, pool, CV_MIN(total, max));
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct recvbuf b;
	struct pool pool;
	uint64_t in_order = 0;

	if (size < 1 || size > 4096)
		return 0;
	memset(has, 0, sizeof(has));
	/* The first byte is the budget: some runs are short of memory. */
	pool_init(&pool, UINT64_C(8192) * (1u + data[0]));
	loans = (struct recvbuf_loans){ 0 };
	packets = 0;
	recvbuf_init(&b, &loans);
	for (size_t i = 1; i + 4 <= size; i += 4) {
		uint64_t where = (uint64_t)data[i + 1] << 8 | data[i + 2];
		size_t amount = data[i + 3];

		switch (data[i] & 7) {
		case 0: /* anywhere in the window, large */
			write_piece(&b, &pool, b.consumed + where * 2, amount * 257, (uint8_t)i);
			break;
		case 1: /* anywhere, small */
			write_piece(&b, &pool, b.consumed + where * 2, amount, (uint8_t)i);
			break;
		case 2: /* in order */
			write_piece(&b, &pool, b.in_order, amount * 17, (uint8_t)i);
			break;
		case 3: /* near the edge */
			write_piece(&b, &pool, b.in_order + (where & 255), amount, (uint8_t)i);
			break;
		case 4: /* from the beginning of the stream */
			write_piece(&b, &pool, where, amount * 17, (uint8_t)i);
			break;
		case 5:
			read_all(&b, &pool, where);
			break;
		case 6:
			read_all(&b, &pool, SIZE_MAX);
			break;
		default:
			keep();
			loans.is_open = amount & 1;
			break;
		}
		CV_ASSERT(recvbuf_check(&b));
		while (in_order < SPACE && has[in_order])
			in_order++;
		CV_ASSERT(b.in_order == in_order);
		CV_ASSERT(pool.used <= 2 * WINDOW + 3 * 65536);
	}
	recvbuf_drop(&b, &pool);
	pool_deinit(&pool);
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

/* SPDX-License-Identifier: MIT */

/*
 * Goal: bytes come out in order, each as its first writer sent it, and neither
 * the order nor the number of pieces buys memory. Method: random pieces with
 * random contents against an array that remembers the first writer of each
 * byte; recvbuf_check() after every step.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tunnel/recvbuf.h"

enum { SPACE = 4000000, WINDOW = 300000 };

struct model {
	uint8_t bytes[SPACE];
	bool has[SPACE];
	uint64_t consumed, in_order;
};

static struct model model;

static void model_write(uint64_t offset, const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (!model.has[offset + i]) {
			model.has[offset + i] = true;
			model.bytes[offset + i] = bytes[i];
		}
	}
	while (model.in_order < SPACE && model.has[model.in_order])
		model.in_order++;
}

static void read_some(struct recvbuf *b, struct pool *pool, size_t max)
{
	struct recvbuf_piece piece[3];
	unsigned count = recvbuf_peek(b, piece, 3);
	size_t total = 0;

	for (unsigned i = 0; i < count && total < max; i++) {
		size_t n = CV_MIN(piece[i].size, max - total);

		assert_memory_equal(piece[i].bytes, model.bytes + model.consumed + total, n);
		total += n;
	}
	recvbuf_consume(b, pool, total);
	model.consumed += total;
}

static size_t piece_size(const struct rng *rng)
{
	switch (rng_below(rng, 4)) {
	case 0:
		return (size_t)rng_below(rng, 20);
	case 1:
		return (size_t)rng_below(rng, 60000);
	default:
		return (size_t)rng_below(rng, 3000);
	}
}

/* The packets' memory is used again: what was lent and not read is copied before. */
static void reuse(struct recvbuf_loans *loans, uint8_t *store, size_t size)
{
	recvbuf_keep(loans);
	assert_null(loans->of);
	memset(store, 0xee, size);
}

static void run(uint64_t seed, uint64_t budget, bool lends)
{
	static uint8_t store[8][65536];
	struct recvbuf_loans loans = { .is_open = lends };
	unsigned lent = 0, packet = 0;
	uint8_t *bytes;
	struct rng_seeded seeded;
	struct rng rng;
	struct recvbuf b;
	struct pool pool;
	uint64_t offset, limit;
	size_t size;
	int r;

	memset(&model, 0, sizeof(model));
	pool_init(&pool, budget);
	recvbuf_init(&b, &loans);
	rng_seeded_init(&seeded, seed);
	rng = rng_from_seeded(&seeded);
	for (unsigned i = 0; i < 10000; i++) {
		limit = CV_MIN(model.consumed + WINDOW, (uint64_t)SPACE);
		/* Mostly near the edge, sometimes anywhere in the window or below it. */
		offset = rng_below(&rng, 3) ? model.in_order + rng_below(&rng, 4000)
		                            : model.consumed / 2 + rng_below(&rng, WINDOW);
		if (rng_below(&rng, 3) == 0)
			offset = model.in_order;
		offset = CV_MIN(offset, limit);
		size = piece_size(&rng);
		size = (size_t)CV_MIN((uint64_t)size, limit - offset);
		if (packet == CV_ARRAY_SIZE(store) || rng_below(&rng, 6) == 0) {
			reuse(&loans, store[0], sizeof(store));
			packet = 0;
		}
		bytes = store[packet++];
		rng_fill(&rng, bytes, size);
		r = recvbuf_write(&b, &pool, offset, bytes, size);
		if (r == 0)
			model_write(offset, bytes, size);
		else
			assert_int_equal(r, -ENOBUFS);
		assert_true(recvbuf_check(&b));
		lent += loans.count;
		assert_int_equal(b.in_order, model.in_order);
		/* Twice the window, spans, and a chunk at each end. */
		assert_true(pool.used <= 2 * WINDOW + 3 * 65536);
		if (rng_below(&rng, 2))
			read_some(&b, &pool, (size_t)rng_below(&rng, 30000));
		assert_true(recvbuf_check(&b));
		assert_int_equal(b.consumed, model.consumed);
	}
	assert_int_equal(lent > 0, lends);
	reuse(&loans, store[0], sizeof(store));
	while (recvbuf_readable(&b) > 0)
		read_some(&b, &pool, SIZE_MAX);
	recvbuf_drop(&b, &pool);
	assert_true(recvbuf_check(&b));
	assert_int_equal(pool.used, 0);
	pool_deinit(&pool);
}

static void random_pieces_match_the_model(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 5; seed++)
		run(seed, 64 << 20, seed & 1);
}

static void refused_pieces_change_nothing(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 5; seed++)
		run(seed, 70000 * seed, seed & 1);
}

static void the_first_writer_wins(void **state)
{
	struct recvbuf_piece piece;
	struct recvbuf b;
	struct pool pool;

	(void)state;
	pool_init(&pool, 1 << 20);
	recvbuf_init(&b, NULL);
	assert_int_equal(recvbuf_write(&b, &pool, 2, (const uint8_t *)"cd", 2), 0);
	assert_int_equal(recvbuf_write(&b, &pool, 1, (const uint8_t *)"XXXX", 4), 0);
	assert_int_equal(recvbuf_write(&b, &pool, 0, (const uint8_t *)"aYYYYf", 6), 0);
	assert_int_equal(recvbuf_peek(&b, &piece, 1), 1);
	assert_int_equal(piece.size, 6);
	assert_memory_equal(piece.bytes, "aXcdXf", 6);
	recvbuf_drop(&b, &pool);
	pool_deinit(&pool);
}

static void crumbs_stop_at_the_cap(void **state)
{
	struct recvbuf b;
	struct pool pool;

	(void)state;
	pool_init(&pool, 1 << 20);
	recvbuf_init(&b, NULL);
	for (uint64_t i = 0; i < RECVBUF_GAPS; i++)
		assert_int_equal(recvbuf_write(&b, &pool, 1 + 2 * i, (const uint8_t *)"x", 1), 0);
	assert_int_equal(recvbuf_write(&b, &pool, 1 + 2 * RECVBUF_GAPS, (const uint8_t *)"x", 1),
	                 -ENOBUFS);
	/* What joins two of them is welcome. */
	assert_int_equal(recvbuf_write(&b, &pool, 2, (const uint8_t *)"x", 1), 0);
	assert_int_equal(recvbuf_write(&b, &pool, 1 + 2 * RECVBUF_GAPS, (const uint8_t *)"x", 1),
	                 0);
	assert_true(recvbuf_check(&b));
	recvbuf_drop(&b, &pool);
	pool_deinit(&pool);
}

/* A lossy path at full speed has thousands of holes, each with kilobytes behind it. */
static void bulk_may_have_more_holes(void **state)
{
	static const uint8_t bytes[1400];
	struct recvbuf b;
	struct pool pool;

	(void)state;
	pool_init(&pool, 64 << 20);
	recvbuf_init(&b, NULL);
	for (uint64_t i = 0; i < 20000; i++) {
		if (i % 20 != 0)
			assert_int_equal(recvbuf_write(&b, &pool, i * 1400, bytes, 1400), 0);
	}
	assert_true(recvbuf_check(&b));
	assert_int_equal(spans_count(b.beyond), 1000);
	for (uint64_t i = 0; i < 20000; i += 20)
		assert_int_equal(recvbuf_write(&b, &pool, i * 1400, bytes, 1400), 0);
	assert_int_equal(recvbuf_readable(&b), 20000 * 1400);
	assert_null(b.beyond);
	recvbuf_consume(&b, &pool, (size_t)20000 * 1400);
	assert_int_equal(pool.used, 0);
	pool_deinit(&pool);
}

/* Both sides of the grid: the last byte of a chunk, the first of the next, across, and no byte. */
static void edges_of_chunks(void **state)
{
	static const uint64_t at[] = { 4063, 4064, 4065, 65023, 65024, 65025, 130047, 130048 };
	static uint8_t bytes[200000];
	struct recvbuf b;
	struct pool pool;

	(void)state;
	pool_init(&pool, 4 << 20);
	for (size_t i = 0; i < CV_ARRAY_SIZE(at); i++) {
		for (uint64_t size = 0; size < 3; size++) {
			recvbuf_init(&b, NULL);
			assert_int_equal(recvbuf_write(&b, &pool, at[i], bytes, size), 0);
			assert_true(recvbuf_check(&b));
			for (uint64_t n = 0; n < at[i]; n += 50000)
				assert_int_equal(
					recvbuf_write(&b, &pool, n, bytes,
				                      (size_t)CV_MIN(at[i] - n, (uint64_t)50000)),
					0);
			assert_int_equal(recvbuf_readable(&b), at[i] + size);
			assert_true(recvbuf_check(&b));
			recvbuf_drop(&b, &pool);
			assert_int_equal(pool.used, 0);
		}
	}
	pool_deinit(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_pieces_match_the_model),
		cmocka_unit_test(refused_pieces_change_nothing),
		cmocka_unit_test(the_first_writer_wins),
		cmocka_unit_test(crumbs_stop_at_the_cap),
		cmocka_unit_test(bulk_may_have_more_holes),
		cmocka_unit_test(edges_of_chunks),
	};

	return cmocka_run_group_tests_name("recvbuf", tests, NULL, NULL);
}

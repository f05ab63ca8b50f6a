/* SPDX-License-Identifier: MIT */

/*
 * Goal: every byte stays until it is acknowledged and no longer, whatever is
 * lost, repeated or acknowledged late. Method: random operations against an
 * array with one state a byte; in-flight pieces are remembered with their fate
 * and told in any order, some of them twice. sendbuf_check() after every step.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tunnel/sendbuf.h"

enum { SPACE = 3000000, FLIGHT_MAX = 2000 };

struct model {
	bool acked[SPACE];
	struct span flight[FLIGHT_MAX];
	unsigned flight_count;
	uint64_t prefix; /* all below is acknowledged */
};

static struct model model;

static uint8_t byte_at(uint64_t offset)
{
	return (uint8_t)(offset * 7 + (offset >> 9));
}

static void fill(struct sendbuf *b, struct pool *pool, const struct rng *rng)
{
	uint8_t bytes[20000];
	size_t size = (size_t)rng_below(rng, sizeof(bytes)) + 1;
	uint8_t *at;

	if (b->end + sizeof(bytes) > SPACE)
		return;
	if (rng_below(rng, 2)) {
		at = sendbuf_reserve(b, pool, &size);
		if (!at)
			return;
		size = (size_t)rng_below(rng, size + 1);
		for (size_t i = 0; i < size; i++)
			at[i] = byte_at(b->end + i);
		sendbuf_commit(b, pool, size);
		return;
	}
	for (size_t i = 0; i < size; i++)
		bytes[i] = byte_at(b->end + i);
	(void)sendbuf_append(b, pool, bytes, size);
}

static void send_one(struct sendbuf *b, struct pool *pool, const struct rng *rng)
{
	uint8_t bytes[1400];
	struct span s;
	uint64_t size;

	if (model.flight_count == FLIGHT_MAX)
		return;
	if (!sendbuf_next_lost(b, &s))
		s = (struct span){ .begin = b->sent, .end = b->end };
	size = 1 + rng_below(rng, sizeof(bytes));
	size = CV_MIN(size, s.end - s.begin);
	if (size == 0)
		return;
	sendbuf_copy(b, s.begin, bytes, (size_t)size);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(bytes[i], byte_at(s.begin + i));
	s.end = s.begin + size;
	sendbuf_on_sent(b, pool, s.begin, s.end);
	model.flight[model.flight_count++] = s;
}

static void tell_one(struct sendbuf *b, struct pool *pool, const struct rng *rng)
{
	struct span s;
	unsigned i;

	if (model.flight_count == 0)
		return;
	i = (unsigned)rng_below(rng, model.flight_count);
	s = model.flight[i];
	if (rng_below(rng, 4) == 0) {
		sendbuf_on_lost(b, pool, s.begin, s.end);
		if (rng_below(rng, 2))
			return; /* and its acknowledgement comes late */
	} else {
		sendbuf_on_acked(b, pool, s.begin, s.end);
		for (uint64_t at = s.begin; at < s.end; at++)
			model.acked[at] = true;
		while (model.prefix < SPACE && model.acked[model.prefix])
			model.prefix++;
		if (rng_below(rng, 8) == 0)
			return; /* told again */
	}
	model.flight[i] = model.flight[--model.flight_count];
}

/* Whatever is not acknowledged is unsent, in flight, or waits to be sent again. */
static void nothing_is_forgotten(const struct sendbuf *b)
{
	static bool known[SPACE];
	const struct span *hull = &b->lost_hull;

	memset(known, 0, sizeof(known));
	for (unsigned i = 0; i < model.flight_count; i++) {
		for (uint64_t at = model.flight[i].begin; at < model.flight[i].end; at++)
			known[at] = true;
	}
	for (uint32_t i = 0; i < spans_count(b->lost); i++) {
		const struct span *s = &b->lost->ranges.span[i];

		for (uint64_t at = s->begin; at < s->end; at++)
			known[at] = true;
	}
	for (uint64_t at = hull->begin; at < hull->end; at++)
		known[at] = true;
	for (uint64_t at = 0; at < b->sent; at++) {
		if (!model.acked[at])
			assert_true(known[at]);
	}
}

static void run(uint64_t seed, uint64_t budget, bool is_exact)
{
	struct rng_seeded seeded;
	struct rng rng;
	struct sendbuf b;
	struct pool pool;

	memset(&model, 0, sizeof(model));
	pool_init(&pool, budget);
	sendbuf_init(&b);
	rng_seeded_init(&seeded, seed);
	rng = rng_from_seeded(&seeded);
	for (unsigned i = 0; i < 10000; i++) {
		switch (rng_below(&rng, 8)) {
		case 0:
			fill(&b, &pool, &rng);
			break;
		case 1:
		case 2:
		case 3:
		case 4:
			send_one(&b, &pool, &rng);
			break;
		default:
			tell_one(&b, &pool, &rng);
			break;
		}
		assert_true(sendbuf_check(&b));
		/* Without memory for the set it forgets, and sends again. */
		if (is_exact)
			assert_int_equal(b.acked, model.prefix);
		else
			assert_true(b.acked <= model.prefix);
		if (i % 500 == 0)
			nothing_is_forgotten(&b);
	}
	while (b.acked < b.end) {
		struct span s;

		if (!sendbuf_next_lost(&b, &s))
			s = (struct span){ .begin = b.sent, .end = b.end };
		if (s.begin < s.end)
			sendbuf_on_sent(&b, &pool, s.begin, s.end);
		sendbuf_on_acked(&b, &pool, s.begin, s.end);
		for (unsigned i = 0; i < model.flight_count; i++)
			sendbuf_on_acked(&b, &pool, model.flight[i].begin, model.flight[i].end);
	}
	assert_true(sendbuf_check(&b));
	assert_int_equal(pool.used, 0); /* nothing is held of what is acknowledged */
	sendbuf_drop(&b, &pool);
	pool_deinit(&pool);
}

static void random_fates_match_the_model(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 8; seed++)
		run(seed, 64 << 20, true);
}

static void without_memory_it_repeats_rather_than_forgets(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 8; seed++)
		run(seed, 20000 * seed, false);
}

static void chunks_grow_with_the_stream(void **state)
{
	struct sendbuf b;
	struct pool pool;
	size_t size = 65536;

	(void)state;
	pool_init(&pool, 1 << 20);
	sendbuf_init(&b);
	assert_non_null(sendbuf_reserve(&b, &pool, &size));
	assert_true(size < 4096);
	assert_int_equal(pool.used, 4096);
	sendbuf_commit(&b, &pool, 100);
	size = 65536;
	assert_non_null(sendbuf_reserve(&b, &pool, &size));
	assert_int_equal(pool.used, 4096); /* the same chunk, further on */
	sendbuf_commit(&b, &pool, size);
	size = 65536;
	assert_non_null(sendbuf_reserve(&b, &pool, &size));
	assert_true(size > 60000);
	/* Acknowledging all else does not take the reserved chunk away. */
	sendbuf_on_sent(&b, &pool, 0, b.end);
	sendbuf_on_acked(&b, &pool, 0, b.end);
	assert_int_equal(pool.used, 65536);
	sendbuf_commit(&b, &pool, 0);
	assert_int_equal(pool.used, 0);
	assert_true(sendbuf_check(&b));
	pool_deinit(&pool);
}

static void a_probe_takes_the_oldest(void **state)
{
	struct sendbuf b;
	struct pool pool;
	struct span s;

	(void)state;
	pool_init(&pool, 1 << 20);
	sendbuf_init(&b);
	assert_false(sendbuf_probe(&b, &pool, 1000));
	assert_int_equal(sendbuf_append(&b, &pool, (const uint8_t *)"0123456789", 10), 10);
	assert_false(sendbuf_probe(&b, &pool, 1000));
	sendbuf_on_sent(&b, &pool, 0, 10);
	sendbuf_on_acked(&b, &pool, 3, 5);
	assert_true(sendbuf_probe(&b, &pool, 1000));
	assert_true(sendbuf_next_lost(&b, &s));
	assert_int_equal(s.begin, 0);
	assert_int_equal(s.end, 3);
	sendbuf_on_acked(&b, &pool, 0, 3);
	assert_int_equal(b.acked, 5);
	assert_false(sendbuf_next_lost(&b, &s));
	sendbuf_on_acked(&b, &pool, 5, 10);
	assert_false(sendbuf_probe(&b, &pool, 1000));
	assert_int_equal(pool.used, 0);
	pool_deinit(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_fates_match_the_model),
		cmocka_unit_test(without_memory_it_repeats_rather_than_forgets),
		cmocka_unit_test(chunks_grow_with_the_stream),
		cmocka_unit_test(a_probe_takes_the_oldest),
	};

	return cmocka_run_group_tests_name("sendbuf", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: a seed is a run, on every machine. Method: the published first outputs
 * of splitmix64 and the recurrence of xoshiro256** written out again; sizes that
 * are no multiple of a word; a coarse look at the spread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/compiler.h"
#include "base/rng.h"

static uint64_t little_endian(const uint8_t *p)
{
	uint64_t v = 0;

	for (unsigned i = 8; i-- > 0;)
		v = v << 8 | p[i];
	return v;
}

static void seeding_is_splitmix64(void **state)
{
	/* The first outputs for seed 1234567, as the author's program prints them. */
	static const uint64_t expected[4] = {
		UINT64_C(6457827717110365317),
		UINT64_C(3203168211198807973),
		UINT64_C(9817491932198370423),
		UINT64_C(4593380528125082431),
	};
	struct rng_seeded s;

	(void)state;
	rng_seeded_init(&s, 1234567);
	for (unsigned i = 0; i < 4; i++)
		assert_true(s.s[i] == expected[i]);
}

static void stream_is_xoshiro(void **state)
{
	/* State 1, 2, 3, 4: the first outputs by hand: rotl(2 * 5, 7) * 9, rotl(0, 7) * 9, ... */
	static const uint64_t expected[4] = { 11520, 0, 1509978240, 1215971899390074240 };
	struct rng_seeded s = { .s = { 1, 2, 3, 4 } };
	struct rng r = rng_from_seeded(&s);
	uint8_t bytes[8];

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		rng_fill(&r, bytes, 8);
		assert_true(little_endian(bytes) == expected[i]);
	}
}

static void one_seed_is_one_stream(void **state)
{
	struct rng_seeded a, b, c;
	struct rng ra = rng_from_seeded(&a), rb = rng_from_seeded(&b), rc = rng_from_seeded(&c);
	uint8_t x[100], y[100], z[100];

	(void)state;
	rng_seeded_init(&a, 42);
	rng_seeded_init(&b, 42);
	rng_seeded_init(&c, 43);
	for (size_t size = 0; size <= sizeof(x); size++) {
		memset(x, 0, sizeof(x));
		memset(y, 0, sizeof(y));
		rng_fill(&ra, x, size);
		rng_fill(&rb, y, size);
		rng_fill(&rc, z, size);
		assert_memory_equal(x, y, sizeof(x)); /* beyond @size too: untouched */
		if (size >= 8)
			assert_memory_not_equal(x, z, size);
	}
	assert_true(rng_u64(&ra) == rng_u64(&rb));
	assert_int_equal(rng_u32(&ra), rng_u32(&rb));
}

static void below_is_below_and_reaches_all(void **state)
{
	struct rng_seeded s;
	struct rng r = rng_from_seeded(&s);
	unsigned hits[10] = { 0 };

	(void)state;
	rng_seeded_init(&s, 1);
	assert_int_equal(rng_below(&r, 0), 0);
	assert_int_equal(rng_below(&r, 1), 0);
	for (unsigned i = 0; i < 10000; i++)
		hits[rng_below(&r, 10)]++;
	/* 1,000 each on average; six standard deviations are 180. */
	for (unsigned i = 0; i < 10; i++)
		assert_in_range(hits[i], 820, 1180);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seeding_is_splitmix64),
		cmocka_unit_test(stream_is_xoshiro),
		cmocka_unit_test(one_seed_is_one_stream),
		cmocka_unit_test(below_is_below_and_reaches_all),
	};

	return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}

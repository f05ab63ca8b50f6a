/* SPDX-License-Identifier: MIT */

/*
 * Goal: never more than burst + rate x time, never less than is due, and a
 * table that strangers cannot grow. Method: exact instants round each refill;
 * a flood of sources against a small table; random asking against the formula.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/ratelimit.h"
#include "base/rng.h"

#define START CV_SEC(100)

static void bucket_starts_full_and_refills(void **state)
{
	struct bucket b = { 0 };

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		assert_true(bucket_take(&b, START, 2, 10, 1));
	assert_false(bucket_take(&b, START, 2, 10, 1));
	/* Two a second: the next after exactly half of one. */
	assert_int_equal(bucket_ready_at(&b, START, 2, 10, 1), START + CV_MS(500));
	assert_false(bucket_take(&b, START + CV_MS(500) - 1, 2, 10, 1));
	assert_true(bucket_take(&b, START + CV_MS(500), 2, 10, 1));
	assert_false(bucket_take(&b, START + CV_MS(500), 2, 10, 1));
	/* Never deeper than its depth, however long it stood. */
	assert_true(bucket_take(&b, START + CV_SEC(1000000000), 2, 10, 10));
	assert_false(bucket_take(&b, START + CV_SEC(1000000000), 2, 10, 1));
}

static void asking_often_loses_nothing(void **state)
{
	struct bucket b = { 0 };
	unsigned taken = 0;

	(void)state;
	assert_true(bucket_take(&b, START, 3, 1, 1));
	for (cv_time t = 0; t <= CV_SEC(10); t += CV_MS(1))
		taken += bucket_take(&b, START + t, 3, 1, 1);
	assert_in_range(taken, 29, 30);
}

static void extremes_do_not_overflow(void **state)
{
	uint64_t deepest = (UINT64_C(1) << 33) - 1;
	struct bucket b = { 0 };

	(void)state;
	assert_true(bucket_take(&b, 1, UINT64_MAX, deepest, deepest));
	assert_true(bucket_take(&b, UINT64_MAX - 1, UINT64_MAX, deepest, deepest));
	assert_false(bucket_take(&b, UINT64_MAX - 1, UINT64_MAX, deepest, UINT64_MAX));
	b = (struct bucket){ 0 };
	assert_true(bucket_take(&b, 0, 1, 1, 1)); /* at the origin of time, too, only once */
	assert_false(bucket_take(&b, 0, 1, 1, 1));
	assert_false(bucket_take(&b, 0, 1, 0, 1));
	assert_int_equal(bucket_ready_at(&b, 5, 0, 1, 1), CV_TIME_NEVER);
	assert_int_equal(bucket_ready_at(&b, 5, 1, 1, 2), CV_TIME_NEVER);
}

static void ready_means_ready(void **state)
{
	struct rng_seeded seeded;
	struct rng rng = rng_from_seeded(&seeded);

	(void)state;
	rng_seeded_init(&seeded, 1);
	for (unsigned i = 0; i < 10000; i++) {
		uint64_t rate = 1 + rng_below(&rng, 1u << (1 + rng_below(&rng, 30)));
		uint64_t burst = 1 + rng_below(&rng, 1000);
		struct bucket b = { 0 }, copy;
		cv_time at;

		assert_true(bucket_take(&b, START, rate, burst, rng_below(&rng, burst + 1)));
		at = bucket_ready_at(&b, START, rate, burst, burst);
		copy = b;
		if (at > START)
			assert_false(bucket_take(&copy, at - 1, rate, burst, burst));
		assert_true(bucket_take(&b, at, rate, burst, burst));
	}
}

static void sources_are_prefixes(void **state)
{
	static const struct {
		const char *what;
		const char *a, *b;
		bool with_port;
		bool is_shared;
	} rows[] = {
		{ "an IPv4 address whatever the port", "192.0.2.1:1", "192.0.2.1:2", false, true },
		{ "two IPv4 addresses", "192.0.2.1:1", "192.0.2.2:1", false, false },
		{ "one /64", "[2001:db8::1]:1", "[2001:db8::ffff:0:0:1]:2", false, true },
		{ "two /64", "[2001:db8::1]:1", "[2001:db8:0:1::1]:1", false, false },
		{ "two ports after a cookie", "192.0.2.1:1", "192.0.2.1:2", true, false },
		{ "one /64 after a cookie", "[2001:db8::1]:1", "[2001:db8::2]:1", true, false },
		{ "the same after a cookie", "192.0.2.1:1", "192.0.2.1:1", true, true },
	};
	struct source_limit l;
	struct addr a, b;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		print_message("%s\n", rows[i].what);
		assert_int_equal(addr_parse(rows[i].a, &a), 0);
		assert_int_equal(addr_parse(rows[i].b, &b), 0);
		assert_int_equal(source_limit_init(&l, 10, 1, 1, 7), 0);
		assert_true(source_limit_take(&l, START, &a, rows[i].with_port));
		assert_int_equal(source_limit_take(&l, START, &b, rows[i].with_port),
		                 !rows[i].is_shared);
		source_limit_deinit(&l);
	}
	/* Before and after the cookie are two buckets, even where the port is 0. */
	a = addr_v4(192, 0, 2, 1, 0);
	assert_int_equal(source_limit_init(&l, 10, 1, 1, 7), 0);
	assert_true(source_limit_take(&l, START, &a, false));
	assert_true(source_limit_take(&l, START, &a, true));
	source_limit_deinit(&l);
}

static struct addr stranger(uint32_t i)
{
	return addr_v4(10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i, 1);
}

static void strangers_cannot_grow_the_table(void **state)
{
	enum { CAP = 64 };
	struct source_limit l;
	struct addr a;
	uint64_t calls;
	unsigned passed = 0;

	(void)state;
	assert_int_equal(source_limit_init(&l, CAP, 1, 2, 7), 0);
	calls = cv_alloc_calls();
	for (uint32_t i = 0; i < 10000; i++) {
		a = stranger(i);
		passed += source_limit_take(&l, START, &a, false);
		assert_true(l.count <= CAP);
		assert_true(idmap_check(&l.map));
	}
	assert_int_equal(passed, CAP);
	/* Who was there keeps his bucket; */
	a = stranger(0);
	assert_true(source_limit_take(&l, START, &a, false));
	assert_false(source_limit_take(&l, START, &a, false));
	/* and when the flood is over, the table serves others. */
	for (uint32_t i = 0; i < CAP - 1; i++) {
		a = stranger(20000 + i);
		assert_true(source_limit_take(&l, START + CV_SEC(1), &a, false));
	}
	a = stranger(0);
	assert_true(source_limit_take(&l, START + CV_SEC(1), &a, false));
	assert_false(source_limit_take(&l, START + CV_SEC(1), &a, false));
	assert_int_equal(cv_alloc_calls(), calls);
	source_limit_deinit(&l);
	source_limit_deinit(&l);
	assert_int_equal(cv_alloc_live(), 0);
}

static void every_allocation_may_fail(void **state)
{
	struct source_limit l = { 0 };

	(void)state;
	for (uint64_t k = 1; k <= 2; k++) {
		cv_alloc_fail_at(k);
		assert_int_equal(source_limit_init(&l, 10, 1, 1, 7), -ENOMEM);
		assert_int_equal(cv_alloc_live(), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bucket_starts_full_and_refills),
		cmocka_unit_test(asking_often_loses_nothing),
		cmocka_unit_test(extremes_do_not_overflow),
		cmocka_unit_test(ready_means_ready),
		cmocka_unit_test(sources_are_prefixes),
		cmocka_unit_test(strangers_cannot_grow_the_table),
		cmocka_unit_test(every_allocation_may_fail),
	};

	return cmocka_run_group_tests_name("ratelimit", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: the estimate follows RFC 9002, 5, and no sample or delay that a peer can cause puts it
 * out of range. Method: the RFC's arithmetic done by hand; extreme and random inputs.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tunnel/rtt.h"

static void the_first_sample_is_taken_whole(void **state)
{
	struct rtt r;

	(void)state;
	rtt_init(&r);
	assert_false(r.has_sample);
	assert_int_equal(rtt_pto(&r), CV_MS(300));
	rtt_on_sample(&r, CV_MS(40), CV_MS(30));
	assert_true(r.has_sample);
	assert_int_equal(r.smoothed, CV_MS(40));
	assert_int_equal(r.var, CV_MS(20));
	assert_int_equal(r.min, CV_MS(40));
	assert_int_equal(rtt_pto(&r), CV_MS(120));
}

static void later_samples_are_smoothed(void **state)
{
	struct rtt r;

	(void)state;
	rtt_init(&r);
	rtt_on_sample(&r, CV_MS(40), 0);
	rtt_on_sample(&r, CV_MS(60), CV_MS(4)); /* adjusted: 56 */
	assert_int_equal(r.latest, CV_MS(60));
	assert_int_equal(r.smoothed, CV_MS(42));
	assert_int_equal(r.var, CV_MS(19));
	/* A delay that would go below the minimum is ignored. */
	rtt_on_sample(&r, CV_MS(50), CV_MS(11));
	assert_int_equal(r.smoothed, CV_MS(43));
	assert_int_equal(r.min, CV_MS(40));
}

static void steady_paths_keep_the_granularity(void **state)
{
	struct rtt r;

	(void)state;
	rtt_init(&r);
	for (unsigned i = 0; i < 200; i++)
		rtt_on_sample(&r, CV_MS(10), 0);
	assert_in_range(r.smoothed, CV_MS(10) - 1000, CV_MS(10));
	assert_in_range(rtt_pto(&r), r.smoothed + RTT_GRANULARITY, CV_MS(11) + 1000);
}

static void no_input_leaves_the_range(void **state)
{
	static const cv_duration samples[] = { 0, 1, CV_MS(1), CV_SEC(600), UINT64_MAX };
	struct rng_seeded seeded;
	struct rng rng = rng_from_seeded(&seeded);
	struct rtt r;

	(void)state;
	rng_seeded_init(&seeded, 3);
	rtt_init(&r);
	for (unsigned i = 0; i < 10000; i++) {
		rtt_on_sample(&r, samples[rng_below(&rng, 5)], samples[rng_below(&rng, 5)]);
		assert_in_range(r.smoothed, 1, CV_SEC(600));
		assert_in_range(r.var, 0, CV_SEC(600));
		assert_in_range(r.min, 1, r.latest);
		assert_true(rtt_pto(&r) > r.smoothed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_sample_is_taken_whole),
		cmocka_unit_test(later_samples_are_smoothed),
		cmocka_unit_test(steady_paths_keep_the_granularity),
		cmocka_unit_test(no_input_leaves_the_range),
	};

	return cmocka_run_group_tests_name("rtt", tests, NULL, NULL);
}

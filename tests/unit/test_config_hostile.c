/* SPDX-License-Identifier: MIT */

/*
 * Goal: a file made to hurt costs next to nothing, in time and memory. Method: what parsers of YAML
 * are known to choke on, through config_parse(), against the clock of the processor.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "tests/unit/config_load.h"

static double cpu_ms(void)
{
	struct timespec ts;

	assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts), 0);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

/* Parses @size bytes of @unit repeated, which must be an error within @limit_ms of processor time;
 * the best of three, as even that clock runs slower on a busy machine. */
static void assert_cheap(const char *unit, size_t size, double limit_ms)
{
	char *text = malloc(size + 1);
	size_t unit_size = strlen(unit);
	struct loaded l;
	double best = 1e9;

	assert_non_null(text);
	for (size_t i = 0; i < size; i++)
		text[i] = unit[i % unit_size];
	for (int round = 0; round < 3; round++) {
		double start = cpu_ms(), taken;

		l = parse_as(text, size, CONFIG_ROLE_AGENT);
		taken = cpu_ms() - start;
		best = taken < best ? taken : best;
		assert_int_equal(l.result, -EINVAL);
		assert_true(report_errors(&l.report) > 0);
		drop(&l);
	}
	print_message("%.10s...: %.1f ms\n", unit, best);
#if defined(__SANITIZE_ADDRESS__) || defined(CULVERT_SANITIZED)
	limit_ms *= 20; /* libyaml is not instrumented, but its allocations are */
#endif
	assert_true(best < limit_ms);
	free(text);
}

static void hostile_files_are_cheap(void **state)
{
	(void)state;
	assert_cheap("[", 200 * 1024, 10);
	assert_cheap("{", 200 * 1024, 10);
	assert_cheap("- ", 200 * 1024, 10);
	assert_cheap("? ", 200 * 1024, 10);
	assert_cheap("[a,", 200 * 1024, 50);
	assert_cheap("&a ", 200 * 1024, 50);
	assert_cheap("\"", 200 * 1024, 50);
	assert_cheap("a: ", 200 * 1024, 50);
	assert_cheap("a:\n", 200 * 1024, 200);
	assert_cheap("x", 1024 * 1024, 10);
}

static void many_values_are_cheap(void **state)
{
	/* One map of as many different unknown keys as a file can hold. */
	size_t cap = CONFIG_FILE_MAX;
	char *text = malloc(cap + 64);
	size_t size = 0;
	struct loaded l;
	double start;

	(void)state;
	assert_non_null(text);
	for (unsigned i = 0; size < cap - 64 && i < 16000; i++)
		size += (size_t)snprintf(text + size, 64, "listn%u: 1\n", i);
	start = cpu_ms();
	l = parse_as(text, size, CONFIG_ROLE_AGENT);
	print_message("%zu bytes of keys: %.1f ms\n", size, cpu_ms() - start);
	assert_int_equal(l.result, -EINVAL);
	drop(&l);
	free(text);
}

static void a_billion_laughs_are_not_heard(void **state)
{
	struct loaded l = parse("a: &a [ lol, lol, lol, lol, lol, lol, lol, lol, lol ]\n"
	                        "b: &b [ *a, *a, *a, *a, *a, *a, *a, *a, *a ]\n"
	                        "c: &c [ *b, *b, *b, *b, *b, *b, *b, *b, *b ]\n"
	                        "d: &d [ *c, *c, *c, *c, *c, *c, *c, *c, *c ]\n");

	(void)state;
	assert_int_equal(l.result, -EINVAL);
	assert_true(report_errors(&l.report) >= 4 + 27);
	drop(&l);
}

static void sizes_of_files_have_a_limit(void **state)
{
	struct loaded l;
	char *text = malloc(1024 * 1024);

	(void)state;
	assert_non_null(text);
	memset(text, '\n', 1024 * 1024);
	memcpy(text, AGENT, strlen(AGENT));
	l = parse_as(text, CONFIG_FILE_MAX, CONFIG_ROLE_AGENT);
	assert_int_equal(l.result, 0);
	drop(&l);
	l = parse_as(text, CONFIG_FILE_MAX + 1, CONFIG_ROLE_AGENT);
	assert_int_equal(l.result, -EINVAL);
	assert_string_equal(error_at(&l.report, 0)->message, "a configuration has at most 256 KiB");
	drop(&l);
	l = parse_as(text, 1024 * 1024, CONFIG_ROLE_AGENT);
	assert_int_equal(l.result, -EINVAL);
	drop(&l);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hostile_files_are_cheap),
		cmocka_unit_test(many_values_are_cheap),
		cmocka_unit_test(a_billion_laughs_are_not_heard),
		cmocka_unit_test(sizes_of_files_have_a_limit),
	};

	return cmocka_run_group_tests_name("config_hostile", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: whatever is logged, a line is one line of printable ASCII within its
 * bound, and a flood is cut short and counted. Method: a sink that keeps the
 * last line; every byte; every buffer size.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

static struct {
	char line[LOG_LINE_MAX];
	enum log_level level;
	unsigned count;
} seen;

static void keep(void *ctx, enum log_level level, const char *line)
{
	assert_ptr_equal(ctx, &seen);
	seen.level = level;
	seen.count++;
	(void)snprintf(seen.line, sizeof(seen.line), "%s", line);
	errno = ENOSPC; /* as a sink that writes to a full disk leaves it */
}

static int set_up(void **state)
{
	(void)state;
	memset(&seen, 0, sizeof(seen));
	log_init(LOG_INFO, keep, &seen);
	return 0;
}

static void levels_are_kept_apart(void **state)
{
	(void)state;
	for (unsigned max = LOG_ERROR; max <= LOG_DEBUG; max++) {
		log_set_level((enum log_level)max);
		for (unsigned level = LOG_ERROR; level <= LOG_DEBUG; level++) {
			seen.count = 0;
			log_write((enum log_level)level, "x=%d", 1);
			assert_int_equal(seen.count, level <= max);
			assert_int_equal(log_enabled((enum log_level)level), level <= max);
			if (seen.count)
				assert_int_equal(seen.level, level);
		}
	}
	log_init(LOG_DEBUG, NULL, NULL);
	assert_false(log_enabled(LOG_ERROR));
	log_error("nobody listens");
}

static void a_line_is_one_printable_line(void **state)
{
	(void)state;
	errno = EAGAIN;
	log_info("host=%s n=%d", "a\nb\x1b[31m\xff", 7);
	assert_int_equal(errno, EAGAIN);
	assert_string_equal(seen.line, "host=a\\x0ab\\x1b[31m\\xff n=7");
}

static void long_lines_are_cut(void **state)
{
	char text[2 * LOG_LINE_MAX];

	(void)state;
	memset(text, 'a', sizeof(text));
	for (size_t size = LOG_LINE_MAX - 2; size <= LOG_LINE_MAX + 1; size++) {
		text[size] = 0;
		log_info("%s", text);
		assert_int_equal(strlen(seen.line), size < LOG_LINE_MAX ? size : LOG_LINE_MAX - 1);
		text[size] = 'a';
	}
	memset(text, '\n', sizeof(text));
	text[sizeof(text) - 1] = 0;
	log_info("%s", text);
	assert_int_equal(strlen(seen.line), (LOG_LINE_MAX - 1) / 4 * 4);
}

static void every_byte_is_escaped_or_plain(void **state)
{
	char out[8], expected[8];

	(void)state;
	for (unsigned c = 0; c < 256; c++) {
		char in = (char)c;

		(void)snprintf(expected, sizeof(expected), c >= 32 && c < 127 ? "%c" : "\\x%02x",
		               c);
		assert_int_equal(log_escape(out, sizeof(out), &in, 1), strlen(expected));
		assert_string_equal(out, expected);
	}
}

static void escapes_are_whole_at_every_size(void **state)
{
	static const char in[] = "ab\ncd\x80";
	static const char whole[] = "ab\\x0acd\\x80";
	static const size_t ends[] = { 0, 1, 2, 6, 7, 8, 12 };
	char out[16];

	(void)state;
	for (size_t cap = 1; cap < sizeof(out); cap++) {
		size_t size = log_escape(out, cap, in, sizeof(in) - 1), expected = 0;

		for (size_t i = 0; i < CV_ARRAY_SIZE(ends); i++) {
			if (ends[i] < cap)
				expected = ends[i];
		}
		assert_int_equal(size, expected);
		assert_int_equal(out[size], 0);
		assert_memory_equal(out, whole, size);
	}
	assert_int_equal(log_escape(out, 1, in, sizeof(in) - 1), 0);
}

static void floods_are_cut_and_counted(void **state)
{
	struct log_gate g = { 0 };
	uint64_t suppressed = 99;
	cv_time now = CV_SEC(1);

	(void)state;
	for (unsigned i = 0; i < 20; i++) {
		assert_true(log_gate_pass(&g, now, &suppressed));
		assert_int_equal(suppressed, 0);
	}
	for (unsigned i = 0; i < 7; i++)
		assert_false(log_gate_pass(&g, now, &suppressed));
	assert_false(log_gate_pass(&g, now + CV_MS(200) - 1, &suppressed));
	assert_true(log_gate_pass(&g, now + CV_MS(200), &suppressed));
	assert_int_equal(suppressed, 8);
	assert_true(log_gate_pass(&g, now + CV_MS(400), &suppressed));
	assert_int_equal(suppressed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(levels_are_kept_apart, set_up),
		cmocka_unit_test_setup(a_line_is_one_printable_line, set_up),
		cmocka_unit_test_setup(long_lines_are_cut, set_up),
		cmocka_unit_test(every_byte_is_escaped_or_plain),
		cmocka_unit_test(escapes_are_whole_at_every_size),
		cmocka_unit_test(floods_are_cut_and_counted),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: one number, one text. Method: every number up to a limit by printf() and back; every text
 * of up to two of some characters against what a reader would say; what is beyond the limit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/decimal.h"

static void every_number_up_to_the_limit(void **state)
{
	char text[8];

	(void)state;
	for (unsigned i = 0; i <= UINT16_MAX + 1u; i++) {
		unsigned got = 77777;
		int size = snprintf(text, sizeof(text), "%u", i);

		assert_true(decimal_read(text, (size_t)size, UINT16_MAX, &got) ==
		            (i <= UINT16_MAX));
		assert_int_equal(got, i <= UINT16_MAX ? i : 77777);
		assert_false(i > 31 && decimal_read(text, (size_t)size, 31, &got));
	}
}

static void nothing_but_digits(void **state)
{
	static const char *const rows[] = { "",      "+1",     "-1",        " 1",    "1 ", "0x1",
		                            "1.",    "00",     "01",        "a",     "/",  ":",
		                            "1e1",   "\n1",    "1\n",       "1\xb2", "9a", "000",
		                            "99999", "100000", "4294967297" };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		unsigned got = 5;

		assert_false(decimal_read(rows[i], strlen(rows[i]), UINT16_MAX, &got));
		assert_int_equal(got, 5);
	}
}

/* What follows the number is not looked at. */
static void ends_where_it_is_said(void **state)
{
	unsigned got = 0;

	(void)state;
	assert_true(decimal_read("4435", 3, UINT16_MAX, &got));
	assert_int_equal(got, 443);
	assert_true(decimal_read("0", 1, 0, &got));
	assert_int_equal(got, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_number_up_to_the_limit),
		cmocka_unit_test(nothing_but_digits),
		cmocka_unit_test(ends_where_it_is_said),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

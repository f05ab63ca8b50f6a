/* SPDX-License-Identifier: MIT */

/*
 * Goal: zeroed, aligned, counted, and failing when told to, since the torture
 * tests of everything else rest on it. Method: every alignment and many sizes,
 * the counters before and after.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/alloc.h"

static void blocks_are_zero_and_aligned(void **state)
{
	(void)state;
	for (size_t align = 1; align <= 65536; align *= 2) {
		for (size_t size = 0; size < 300; size += 7) {
			uint64_t live = cv_alloc_live();
			unsigned char *p = cv_zalloc_aligned(size, align);

			assert_non_null(p);
			assert_int_equal((uintptr_t)p % align, 0);
			assert_int_equal((uintptr_t)p % _Alignof(max_align_t), 0);
			for (size_t i = 0; i < size; i++)
				assert_int_equal(p[i], 0);
			if (size)
				memset(p, 0xff, size);
			assert_int_equal(cv_alloc_live(), live + size);
			cv_free(p);
			assert_int_equal(cv_alloc_live(), live);
		}
	}
}

static void overflow_is_refused(void **state)
{
	/* Volatile, so that the compiler does not see through to calloc() and warn. */
	volatile size_t huge = SIZE_MAX;

	(void)state;
	assert_null(cv_zalloc(huge));
	assert_null(cv_zalloc(huge - 31));
	assert_null(cv_zalloc_array(huge / 2 + 1, 2));
	assert_null(cv_zalloc_array(2, huge / 2 + 1));
	assert_null(cv_zalloc_array(huge, huge));
	assert_int_equal(cv_alloc_live(), 0);
}

static void the_kth_call_fails_once(void **state)
{
	(void)state;
	for (uint64_t k = 1; k <= 5; k++) {
		cv_alloc_fail_at(k);
		for (uint64_t i = 1; i <= 6; i++) {
			uint64_t calls = cv_alloc_calls();
			char *p = i % 2 ? cv_zalloc(1) : cv_strdup("x");

			assert_int_equal(p == NULL, i == k);
			assert_int_equal(cv_alloc_calls(), calls + 1);
			cv_free(p);
		}
	}
	cv_alloc_fail_at(1);
	cv_alloc_fail_at(0); /* called off */
	for (unsigned i = 0; i < 3; i++) {
		void *p = cv_zalloc(1);

		assert_non_null(p);
		cv_free(p);
	}
}

static void text_is_copied(void **state)
{
	char text[] = "abc";
	char *copy = cv_strdup(text), *empty = cv_strdup("");

	(void)state;
	text[0] = 'x';
	assert_string_equal(copy, "abc");
	assert_string_equal(empty, "");
	cv_free(copy);
	cv_free(empty);
	cv_free(NULL);
	assert_int_equal(cv_alloc_live(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_are_zero_and_aligned),
		cmocka_unit_test(overflow_is_refused),
		cmocka_unit_test(the_kth_call_fails_once),
		cmocka_unit_test(text_is_copied),
	};

	return cmocka_run_group_tests_name("alloc", tests, NULL, NULL);
}

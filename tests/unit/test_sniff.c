/* SPDX-License-Identifier: MIT */

/*
 * Goal: the first byte alone decides, each of its 256 values has one verdict.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/sniff.h"

static enum sniff_kind expected(unsigned first)
{
	if (first == 4)
		return SNIFF_SOCKS4;
	if (first == 5)
		return SNIFF_SOCKS5;
	return first >= 'A' && first <= 'Z' ? SNIFF_HTTP : SNIFF_UNKNOWN;
}

static void every_first_byte_has_a_kind(void **state)
{
	uint8_t bytes[2] = { 0, 5 };
	struct rd in = rd_init(bytes, 0);

	(void)state;
	assert_int_equal(sniff_first_byte(&in), SNIFF_NEED_MORE);
	for (unsigned i = 0; i < 256; i++) {
		bytes[0] = (uint8_t)i;
		for (size_t size = 1; size <= 2; size++) {
			in = rd_init(bytes, size);
			assert_int_equal(sniff_first_byte(&in), expected(i));
			assert_ptr_equal(in.pos, bytes);
			assert_false(in.bad);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_first_byte_has_a_kind),
	};

	return cmocka_run_group_tests_name("sniff", tests, NULL, NULL);
}

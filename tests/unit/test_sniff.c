/* SPDX-License-Identifier: MIT */

/*
 * Goal: the first byte alone decides, each of its 256 values has one verdict, and a
 * refusal is what that client can read.
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

static void refusals_are_readable(void **state)
{
	uint8_t out[SNIFF_REFUSAL_MAX + 1] = { 0 };
	struct wr w = wr_init(out, SNIFF_REFUSAL_MAX);
	const char *body;

	(void)state;
	sniff_write_refusal(&w, SNIFF_UNKNOWN);
	sniff_write_refusal(&w, SNIFF_SOCKS5);
	sniff_write_refusal(&w, SNIFF_NEED_MORE);
	assert_int_equal(wr_size(&w), 0);

	sniff_write_refusal(&w, SNIFF_SOCKS4);
	assert_int_equal(wr_size(&w), 8);
	assert_memory_equal(out, "\0\x5b\0\0\0\0\0\0", 8);

	w = wr_init(out, SNIFF_REFUSAL_MAX);
	sniff_write_refusal(&w, SNIFF_HTTP);
	assert_false(w.bad);
	assert_int_equal(strncmp((const char *)out, "HTTP/1.1 501 ", 13), 0);
	body = strstr((const char *)out, "\r\n\r\n");
	assert_non_null(body);
	assert_non_null(strstr((const char *)out, "Content-Length: 30\r\n"));
	assert_int_equal(strlen(body + 4), 30);
	assert_int_equal(strlen((const char *)out), wr_size(&w));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_first_byte_has_a_kind),
		cmocka_unit_test(refusals_are_readable),
	};

	return cmocka_run_group_tests_name("sniff", tests, NULL, NULL);
}

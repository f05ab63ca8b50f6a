/* SPDX-License-Identifier: MIT */

/*
 * Goal: no read or write passes its end, and after the first that would, nothing
 * changes any more. Method: one message with every kind of field, written and
 * read with every size of buffer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/rd.h"
#include "base/wr.h"

static const uint8_t message[] = {
	0x01,                                           /* u8 */
	0x02, 0x03,                                     /* u16 */
	0x04, 0x05, 0x06, 0x07,                         /* u32 */
	0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d,             /* u48 */
	0x0e, 0x0f, 0x10, 0x11, 0x12, 0x13, 0x14, 0xff, /* u64 */
	'a',  'b',  'c',                                /* copy */
	0,    0,                                        /* zero */
};

static void write_all(struct wr *w)
{
	wr_u8(w, 1);
	wr_u16(w, 0x0203);
	wr_u32(w, 0x04050607);
	wr_u48(w, UINT64_C(0x08090a0b0c0d));
	wr_u64(w, UINT64_C(0x0e0f1011121314ff));
	wr_copy(w, "abc", 3);
	wr_zero(w, 2);
}

static void everything_is_written_or_nothing_more(void **state)
{
	/* Where each field ends. */
	static const size_t ends[] = { 0, 1, 3, 7, 13, 21, 24, 26 };
	uint8_t bytes[sizeof(message) + 2];

	(void)state;
	for (size_t cap = 0; cap <= sizeof(message) + 1; cap++) {
		struct wr w = wr_init(bytes, cap);
		size_t fits = 0;

		memset(bytes, 0xee, sizeof(bytes));
		write_all(&w);
		for (size_t i = 0; i < CV_ARRAY_SIZE(ends) && ends[i] <= cap; i++)
			fits = ends[i];
		assert_int_equal(w.bad, cap < sizeof(message));
		assert_int_equal(wr_size(&w), fits);
		assert_int_equal(wr_left(&w), w.bad ? 0 : cap - fits);
		assert_memory_equal(bytes, message, fits);
		for (size_t i = fits; i < sizeof(bytes); i++)
			assert_int_equal(bytes[i], 0xee);
	}
}

static void everything_is_read_or_zero(void **state)
{
	(void)state;
	for (size_t size = 0; size <= sizeof(message); size++) {
		struct rd r = rd_init(message, size);
		uint8_t copy[3] = { 9, 9, 9 };

		assert_int_equal(rd_u8(&r), size >= 1 ? 1 : 0);
		assert_int_equal(rd_u16(&r), size >= 3 ? 0x0203 : 0);
		assert_int_equal(rd_u32(&r), size >= 7 ? 0x04050607 : 0);
		assert_true(rd_u48(&r) == (size >= 13 ? UINT64_C(0x08090a0b0c0d) : 0));
		assert_true(rd_u64(&r) == (size >= 21 ? UINT64_C(0x0e0f1011121314ff) : 0));
		rd_copy(&r, copy, 3);
		assert_memory_equal(copy, size >= 24 ? "abc" : "\0\0\0", 3);
		assert_int_equal(r.bad, size < 24);
		if (!r.bad)
			assert_int_equal(rd_left(&r), size - 24);
	}
}

static void bad_is_final(void **state)
{
	struct rd r = rd_init(message, 2);
	uint8_t bytes[2] = { 0 };
	struct wr w = wr_init(bytes, 2);

	(void)state;
	assert_int_equal(rd_u32(&r), 0);
	assert_int_equal(rd_u8(&r), 0); /* though a byte is there */
	assert_true(r.bad);
	assert_null(rd_take(&r, 0));

	wr_u32(&w, 1);
	wr_u8(&w, 1);
	assert_true(w.bad);
	assert_int_equal(wr_size(&w), 0);
	assert_null(wr_take(&w, 0));
}

static void a_copy_looks_ahead(void **state)
{
	struct rd r = rd_init(message, sizeof(message)), ahead = r;

	(void)state;
	assert_int_equal(rd_u16(&ahead), 0x0102);
	assert_int_equal(rd_left(&r), sizeof(message));
	r = ahead;
	assert_int_equal(rd_u8(&r), 3);
	assert_null(rd_take(&r, SIZE_MAX)); /* no pointer beyond the end is made */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_is_written_or_nothing_more),
		cmocka_unit_test(everything_is_read_or_zero),
		cmocka_unit_test(bad_is_final),
		cmocka_unit_test(a_copy_looks_ahead),
	};

	return cmocka_run_group_tests_name("rd_wr", tests, NULL, NULL);
}

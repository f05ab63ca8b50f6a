/* SPDX-License-Identifier: MIT */

/*
 * Goal: what one end writes into a stream comes out at the other as the same datagrams, wherever
 * the stream is cut, and a bad length ends it. Method: a stream of datagrams of all sizes that
 * matter, cut in two at every place, and read byte by byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tunnel/carriage.h"

static const size_t sizes[] = { 1, CARRIAGE_DATAGRAM_MAX, 2, 255, 256, 257, 1, 1460 };

enum { ROOM = 8 * CARRIAGE_FRAME_MAX };

static size_t write_stream(uint8_t *out)
{
	size_t at = 0;

	for (size_t i = 0; i < CV_ARRAY_SIZE(sizes); i++) {
		carriage_write_header(out + at, sizes[i]);
		at += CARRIAGE_HEADER;
		for (size_t k = 0; k < sizes[i]; k++)
			out[at++] = (uint8_t)(k * 7 + i);
	}
	return at;
}

/* Reads @size bytes; *@next counts the datagrams. */
static void read_part(struct carriage *c, const uint8_t *bytes, size_t size, size_t *next)
{
	uint8_t *copy = malloc(size + 1), *at = copy;
	struct carriage_datagram d;

	assert_non_null(copy);
	memcpy(copy, bytes, size);
	while (carriage_next(c, &at, &size, &d) == CARRIAGE_DATAGRAM) {
		assert_true(*next < CV_ARRAY_SIZE(sizes));
		assert_int_equal(d.size, sizes[*next]);
		for (size_t k = 0; k < d.size; k++)
			assert_int_equal(d.bytes[k], (uint8_t)(k * 7 + *next));
		++*next;
	}
	assert_int_equal(size, 0);
	free(copy);
}

static void every_cut_reads_the_same(void **state)
{
	static uint8_t stream[ROOM];
	size_t size = write_stream(stream);

	(void)state;
	for (size_t cut = 0; cut <= size; cut++) {
		struct carriage c;
		size_t next = 0;

		carriage_init(&c);
		read_part(&c, stream, cut, &next);
		read_part(&c, stream + cut, size - cut, &next);
		assert_int_equal(next, CV_ARRAY_SIZE(sizes));
		assert_int_equal(c.have, 0);
	}
}

static void bytes_may_come_one_by_one(void **state)
{
	static uint8_t stream[ROOM];
	size_t size = write_stream(stream), next = 0;
	struct carriage c;

	(void)state;
	carriage_init(&c);
	for (size_t i = 0; i < size; i++)
		read_part(&c, stream + i, 1, &next);
	assert_int_equal(next, CV_ARRAY_SIZE(sizes));
}

static void what_is_whole_is_not_copied(void **state)
{
	uint8_t bytes[] = { 0, 1, 9, 0, 2, 8, 7, 0 };
	uint8_t *at = bytes;
	size_t size = sizeof(bytes);
	struct carriage_datagram d;
	struct carriage c;

	(void)state;
	carriage_init(&c);
	assert_int_equal(carriage_next(&c, &at, &size, &d), CARRIAGE_DATAGRAM);
	assert_ptr_equal(d.bytes, bytes + 2);
	assert_false(d.is_copied);
	assert_int_equal(carriage_next(&c, &at, &size, &d), CARRIAGE_DATAGRAM);
	assert_ptr_equal(d.bytes, bytes + 5);
	assert_int_equal(carriage_next(&c, &at, &size, &d), CARRIAGE_NEED_MORE);
	assert_int_equal(c.have, 1);
	at = bytes + 1;
	size = 2;
	assert_int_equal(carriage_next(&c, &at, &size, &d), CARRIAGE_DATAGRAM);
	assert_true(d.is_copied);
	assert_int_equal(d.size, 1);
	assert_int_equal(d.bytes[0], 9);
}

static void a_bad_length_is_the_end(void **state)
{
	static const struct {
		uint16_t length;
		bool is_good;
	} rows[] = {
		{ 0, false },
		{ 1, true },
		{ CARRIAGE_DATAGRAM_MAX, true },
		{ CARRIAGE_DATAGRAM_MAX + 1, false },
		{ UINT16_MAX, false },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		for (size_t cut = 0; cut <= 2; cut++) {
			uint8_t bytes[6] = { (uint8_t)(rows[i].length >> 8),
				             (uint8_t)rows[i].length, 0, 1, 5 };
			uint8_t *at = bytes;
			size_t size = cut;
			struct carriage_datagram d;
			struct carriage c;
			enum carriage_verdict v;

			carriage_init(&c);
			v = carriage_next(&c, &at, &size, &d);
			if (v == CARRIAGE_NEED_MORE && !rows[i].is_good) {
				size = sizeof(bytes) - cut;
				v = carriage_next(&c, &at, &size, &d);
			}
			if (rows[i].is_good) {
				assert_int_not_equal(v, CARRIAGE_BROKEN);
				continue;
			}
			assert_int_equal(v, CARRIAGE_BROKEN);
			at = bytes + 2; /* a good frame, and too late */
			size = 3;
			assert_int_equal(carriage_next(&c, &at, &size, &d), CARRIAGE_BROKEN);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_cut_reads_the_same),
		cmocka_unit_test(bytes_may_come_one_by_one),
		cmocka_unit_test(what_is_whole_is_not_copied),
		cmocka_unit_test(a_bad_length_is_the_end),
	};

	return cmocka_run_group_tests_name("carriage", tests, NULL, NULL);
}

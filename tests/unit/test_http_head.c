/* SPDX-License-Identifier: MIT */

/*
 * Goal: the lines of a request come out as places in its bytes, the line before the fields, and
 * memory is asked for when it is used up and not before. The grammar at every cut is test_http's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/http_head.h"

static void assert_text(const struct http_head *h, size_t at, size_t size, const char *text)
{
	assert_int_equal(size, strlen(text));
	assert_memory_equal(h->bytes + at, text, size);
}

static void line_and_fields(void **state)
{
	static const uint8_t text[] =
		"PUT http://a/ HTTP/1.0\r\nA:b\r\nLong-Name:\t x y \t\r\nC: \r\n\r\n!";
	struct rd in = rd_init(text, sizeof(text) - 1);
	uint8_t bytes[sizeof(text)];
	struct http_head h;

	(void)state;
	http_head_init(&h, bytes, sizeof(bytes));
	assert_int_equal(http_head_on_bytes(&h, &in), HTTP_HEAD_LINE);
	assert_int_equal(in.pos - text, 24);
	assert_text(&h, 0, h.method_size, "PUT");
	assert_text(&h, h.target_at, h.target_size, "http://a/");
	assert_int_equal(h.minor, 0);
	assert_false(h.is_connect);
	assert_int_equal(http_head_on_bytes(&h, &in), HTTP_HEAD_DONE);
	assert_int_equal(rd_left(&in), 1);
	assert_int_equal(h.size, sizeof(text) - 2);
	assert_int_equal(h.field_count, 3);
	assert_text(&h, h.fields[0].name_at, h.fields[0].name_size, "A");
	assert_text(&h, h.fields[0].value_at, h.fields[0].value_size, "b");
	assert_text(&h, h.fields[1].name_at, h.fields[1].name_size, "Long-Name");
	assert_text(&h, h.fields[1].value_at, h.fields[1].value_size, "x y");
	assert_int_equal(h.fields[2].value_size, 0);
	assert_true(http_head_field_is(&h, &h.fields[1], "long-name"));
	assert_false(http_head_field_is(&h, &h.fields[1], "long-nam"));
	assert_false(http_head_field_is(&h, &h.fields[1], "long-name2"));
	/* It is over: nothing more is taken. */
	assert_int_equal(http_head_on_bytes(&h, &in), HTTP_HEAD_NEED_MORE);
	assert_int_equal(rd_left(&in), 1);
}

static void room_is_asked_for_when_it_is_used_up(void **state)
{
	static const uint8_t text[] = "CONNECT a:1 HTTP/1.1\r\nA: 0123456789\r\n\r\n";
	uint8_t small[HTTP_HEAD_METHOD_MAX], large[64];
	struct rd in = rd_init(text, sizeof(small));
	struct http_head h;

	(void)state;
	http_head_init(&h, small, sizeof(small));
	assert_int_equal(http_head_on_bytes(&h, &in), HTTP_HEAD_LINE);
	assert_true(h.is_connect);
	assert_int_equal(h.minor, 1);
	assert_int_equal(http_head_on_bytes(&h, &in), HTTP_HEAD_NEED_MORE);
	in = rd_init(text + sizeof(small), sizeof(text) - 1 - sizeof(small));
	assert_int_equal(http_head_on_bytes(&h, &in), HTTP_HEAD_NEED_ROOM);
	assert_int_equal(http_head_on_bytes(&h, &in), HTTP_HEAD_NEED_ROOM);
	http_head_lend(&h, large, sizeof(large));
	memset(small, 0, sizeof(small));
	assert_int_equal(http_head_on_bytes(&h, &in), HTTP_HEAD_DONE);
	assert_int_equal(h.size, sizeof(text) - 1);
	assert_memory_equal(large, text, h.size);
}

static void what_is_wrong_stays_wrong(void **state)
{
	static const uint8_t text[] = "GET \n";
	uint8_t bytes[HTTP_HEAD_METHOD_MAX];
	struct rd in = rd_init(text, sizeof(text) - 1);
	struct http_head h;

	(void)state;
	http_head_init(&h, bytes, sizeof(bytes));
	assert_int_equal(http_head_on_bytes(&h, &in), HTTP_HEAD_BAD);
	assert_int_equal(h.status, 400);
	assert_non_null(h.why);
	in = rd_init(text, sizeof(text) - 1);
	assert_int_equal(http_head_on_bytes(&h, &in), HTTP_HEAD_BAD);
	assert_int_equal(rd_left(&in), sizeof(text) - 1);
}

/* RFC 9110, 5.6.2 and 5.5, in the RFC's own words. */
static void characters(void **state)
{
	static const char tokens[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
				     "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	(void)state;
	for (unsigned c = 0; c < 256; c++) {
		assert_int_equal(http_head_is_token((uint8_t)c),
		                 c != 0 && strchr(tokens, (int)c) != NULL);
		assert_int_equal(http_head_is_value((uint8_t)c), c == 9 || (c >= 32 && c != 127));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(line_and_fields),
		cmocka_unit_test(room_is_asked_for_when_it_is_used_up),
		cmocka_unit_test(what_is_wrong_stays_wrong),
		cmocka_unit_test(characters),
	};

	return cmocka_run_group_tests_name("http_head", tests, NULL, NULL);
}

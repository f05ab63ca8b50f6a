/* SPDX-License-Identifier: MIT */

/*
 * Goal: exactly the body goes on, in a form that has one reading, however its bytes were cut up.
 * Method: every row whole, byte by byte, and cut in two at every place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/http_body.h"

enum { LENGTH_5, CHUNKED };

static const struct {
	const char *what;
	int framing;
	const char *bytes;
	const char *kept;
	enum { MORE, DONE, BAD } end;
} rows[] = {
	{ "nothing yet", LENGTH_5, "", "", MORE },
	{ "a part", LENGTH_5, "abcd", "abcd", MORE },
	{ "all", LENGTH_5, "abcde", "abcde", DONE },
	{ "and more", LENGTH_5, "abcdeGET http://x/ HTTP/1.1\r\n\r\n", "abcde", DONE },
	{ "no chunk", CHUNKED, "0\r\n\r\n", "0\r\n\r\n", DONE },
	{ "zeros", CHUNKED, "000\r\n\r\n", "000\r\n\r\n", DONE },
	{ "one chunk", CHUNKED, "3\r\nabc\r\n0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n", DONE },
	{ "two chunks", CHUNKED, "1\r\na\r\n0A\r\n0123456789\r\n0\r\n\r\n",
	  "1\r\na\r\n0A\r\n0123456789\r\n0\r\n\r\n", DONE },
	{ "line ends are data", CHUNKED, "4\r\n\r\n\r\n\r\n0\r\n\r\n", "4\r\n\r\n\r\n\r\n0\r\n\r\n",
	  DONE },
	{ "small letters", CHUNKED, "a\r\n0123456789\r\n0\r\n\r\n", "a\r\n0123456789\r\n0\r\n\r\n",
	  DONE },
	{ "and more", CHUNKED, "0\r\n\r\nGET http://x/ HTTP/1.1\r\n\r\n", "0\r\n\r\n", DONE },
	{ "extensions are dropped", CHUNKED, "1;a=\"b\"\r\nx\r\n0;c\r\n\r\n", "1\r\nx\r\n0\r\n\r\n",
	  DONE },
	{ "trailers are dropped", CHUNKED, "1\r\nx\r\n0\r\nA: b\r\nContent-Length: 5\r\n\r\n",
	  "1\r\nx\r\n0\r\n\r\n", DONE },
	{ "an empty trailer", CHUNKED, "0\r\nA:\r\n\r\n", "0\r\n\r\n", DONE },
	{ "no size", CHUNKED, "\r\n", "", BAD },
	{ "an extension alone", CHUNKED, ";a\r\n", "", BAD },
	{ "a sign", CHUNKED, "+1\r\nx\r\n", "", BAD },
	{ "0x", CHUNKED, "0x1\r\nx\r\n", "0", BAD },
	{ "a space before", CHUNKED, " 1\r\nx\r\n", "", BAD },
	{ "a space behind", CHUNKED, "1 \r\nx\r\n", "1", BAD },
	{ "a space before the extension", CHUNKED, "1 ;a\r\nx\r\n", "1", BAD },
	{ "LF behind the size", CHUNKED, "1\nx\r\n", "1", BAD },
	{ "CR alone behind the size", CHUNKED, "1\rx", "1\r", BAD },
	{ "LF in an extension", CHUNKED, "1;a\nx", "1", BAD },
	{ "a CR in an extension", CHUNKED, "1;a\rb\r\n", "1\r", BAD },
	{ "a control in an extension", CHUNKED, "1;\x01", "1", BAD },
	{ "LF behind the data", CHUNKED, "1\r\nx\n0\r\n\r\n", "1\r\nx", BAD },
	{ "too much data", CHUNKED, "1\r\nxy\r\n", "1\r\nx", BAD },
	{ "CR alone behind the data", CHUNKED, "1\r\nx\r0", "1\r\nx\r", BAD },
	{ "the largest size", CHUNKED, "fffffffffffffff\r\nx", "fffffffffffffff\r\nx", MORE },
	{ "a digit more", CHUNKED, "0fffffffffffffff\r\n", "0ffffffffffffff", BAD },
	{ "a folded trailer", CHUNKED, "0\r\nA: b\r\n c\r\n\r\n", "0\r\n", BAD },
	{ "a trailer without a colon", CHUNKED, "0\r\nA\r\n\r\n", "0\r\n", BAD },
	{ "a trailer without a name", CHUNKED, "0\r\n: a\r\n\r\n", "0\r\n", BAD },
	{ "a space before the colon", CHUNKED, "0\r\nA : b\r\n\r\n", "0\r\n", BAD },
	{ "LF ends a trailer", CHUNKED, "0\r\nA: b\n\r\n", "0\r\n", BAD },
	{ "CR alone in a trailer", CHUNKED, "0\r\nA: b\rc", "0\r\n", BAD },
	{ "LF ends it", CHUNKED, "0\r\n\n", "0\r\n", BAD },
	{ "CR alone ends it", CHUNKED, "0\r\n\rx", "0\r\n\r", BAD },
};

struct sink {
	struct http_body body;
	char kept[256];
	size_t size;
};

static void begin(struct sink *s, int framing)
{
	memset(s, 0, sizeof(*s));
	if (framing == CHUNKED)
		http_body_init_chunked(&s->body);
	else
		http_body_init_length(&s->body, 5);
}

static void take(struct sink *s, const char *bytes, size_t size)
{
	uint8_t *copy = malloc(size + (size == 0));
	size_t kept;

	assert_non_null(copy);
	memcpy(copy, bytes, size);
	kept = http_body_filter(&s->body, copy, size);
	assert_true(kept <= size);
	assert_true(s->size + kept < sizeof(s->kept));
	memcpy(s->kept + s->size, copy, kept);
	s->size += kept;
	free(copy);
}

static void bodies_at_every_cut(void **state)
{
	struct sink s;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		size_t size = strlen(rows[i].bytes);

		print_message("%s\n", rows[i].what);
		for (size_t a = 0; a <= size + 1; a++) {
			begin(&s, rows[i].framing);
			for (size_t k = 0; a > size && k < size; k++)
				take(&s, rows[i].bytes + k, 1);
			if (a <= size) {
				take(&s, rows[i].bytes, a);
				take(&s, rows[i].bytes + a, size - a);
			}
			assert_string_equal(s.kept, rows[i].kept);
			assert_int_equal(http_body_is_done(&s.body), rows[i].end == DONE);
			assert_int_equal(http_body_is_bad(&s.body), rows[i].end == BAD);
		}
	}
}

static void a_request_without_a_body(void **state)
{
	struct http_body b;
	uint8_t more[] = "more";

	(void)state;
	http_body_init_length(&b, 0);
	assert_true(http_body_is_done(&b));
	assert_int_equal(http_body_filter(&b, more, 4), 0);
	assert_false(http_body_is_bad(&b));
}

/* What is dropped costs nobody anything, but it must end. */
static void extras_are_bounded(void **state)
{
	for (int kind = 0; kind < 2; kind++) {
		for (size_t over = 0; over < 2; over++) {
			struct sink s;

			(void)state;
			begin(&s, CHUNKED);
			take(&s, kind ? "0\r\nA:" : "0;", kind ? 5 : 2);
			for (size_t i = kind ? 1 : 0; i < HTTP_BODY_EXTRAS_MAX + over; i++)
				take(&s, "x", 1);
			take(&s, "\r\n\r\n", 4);
			assert_int_equal(http_body_is_bad(&s.body), over);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bodies_at_every_cut),
		cmocka_unit_test(a_request_without_a_body),
		cmocka_unit_test(extras_are_bounded),
	};

	return cmocka_run_group_tests_name("http_body", tests, NULL, NULL);
}

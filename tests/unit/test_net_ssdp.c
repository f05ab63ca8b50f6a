/* SPDX-License-Identifier: MIT */

/*
 * Goal: from what anybody in a LAN may send, a URL comes out only if it is one and lies at the
 * gateway. Method: rows of answers as routers give them and as nobody should; every cut of a good
 * one; URLs that two parsers might read differently.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "net/ssdp.h"

#define URL "http://192.168.1.1:5000/rootDesc.xml"

static void answers_are_read(void **state)
{
	static const struct {
		const char *text;
		const char *url; /* NULL: refused */
	} rows[] = {
		{ "HTTP/1.1 200 OK\r\nST: x\r\nLOCATION: " URL "\r\n\r\n", URL },
		{ "HTTP/1.1 200 OK\r\nLocation:" URL "\r\n\r\n", URL },
		{ "HTTP/1.1 200 OK\nlocation: \t" URL " \t\n\n", URL },
		{ "HTTP/1.1 200 OK\r\nLOCATION: " URL "\r\n", URL },
		{ "HTTP/1.1 200 OK\r\nLOCATION: " URL "\r\nLOCATION: http://other/\r\n\r\n", URL },
		{ "HTTP/1.1 404 No\r\nLOCATION: " URL "\r\n\r\n", NULL },
		{ "NOTIFY * HTTP/1.1\r\nLOCATION: " URL "\r\n\r\n", NULL },
		{ "HTTP/1.1 200 OK\r\nXLOCATION: " URL "\r\n\r\n", NULL },
		{ "HTTP/1.1 200 OK\r\nLOCATION " URL "\r\n\r\n", NULL },
		{ "HTTP/1.1 200 OK\r\nLOCATION:\r\n\r\n", NULL },
		{ "HTTP/1.1 200 OK\r\nLOCATION: " URL, NULL },
		{ "HTTP/1.1 200 OK\r\n\r\nLOCATION: " URL "\r\n", NULL },
		{ "HTTP/1.1 200 OK\r\nLOCATION: http://a b/\r\n\r\n", NULL },
		{ "HTTP/1.1 200 OK\r\nLOCATION: http://\x01/\r\n\r\n", NULL },
		{ "HTTP/1.1 200 OK\r\nLOCATION: http://\x80/\r\n\r\n", NULL },
		{ "", NULL },
		{ "\r\n", NULL },
	};
	char url[SSDP_URL_MAX];

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		const uint8_t *bytes = (const uint8_t *)rows[i].text;
		bool is_good = ssdp_read_answer(bytes, strlen(rows[i].text), url);

		print_message("%zu\n", i);
		assert_int_equal(is_good, rows[i].url != NULL);
		if (is_good)
			assert_string_equal(url, rows[i].url);
	}
}

static void no_cut_gives_another_url(void **state)
{
	static const char text[] = "HTTP/1.1 200 OK\r\nST: x\r\nLOCATION: " URL "\r\n";
	char url[SSDP_URL_MAX];

	(void)state;
	/* Without the last newline it may have been longer. */
	for (size_t size = 0; size < sizeof(text) - 1; size++)
		assert_false(ssdp_read_answer((const uint8_t *)text, size, url));
	assert_true(ssdp_read_answer((const uint8_t *)text, sizeof(text) - 1, url));
}

static void a_url_has_a_greatest_length(void **state)
{
	char text[SSDP_URL_MAX + 64], url[SSDP_URL_MAX];

	(void)state;
	for (int size = SSDP_URL_MAX - 2; size <= SSDP_URL_MAX; size++) {
		int n = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nLOCATION: %0*d\r\n", size,
		                 0);

		assert_int_equal(ssdp_read_answer((const uint8_t *)text, (size_t)n, url),
		                 size < SSDP_URL_MAX);
	}
}

static void only_the_gateway_itself_is_the_place(void **state)
{
	static const struct {
		const char *url;
		bool is_at;
	} rows[] = {
		{ "http://192.168.1.1/", true },
		{ "http://192.168.1.1", true },
		{ "http://192.168.1.1:80", true },
		{ "HTTP://192.168.1.1:49152/desc/root.xml?x=1", true },
		{ "https://192.168.1.1/", false },
		{ "http://192.168.1.10/", false },
		{ "http://192.168.1.1.evil.example/", false },
		{ "http://192.168.1.1@evil.example/", false },
		{ "http://192.168.1.1:80@evil.example/", false },
		{ "http://192.168.1.1:80x/", false },
		{ "http://192.168.1.1#@evil/", false },
		{ "http://192.168.1.1?@evil/", false },
		{ "http://192.168.1.1\\@evil/", false },
		{ "http://user@192.168.1.1/", false },
		{ "http://192.168.1.2/", false },
		{ "http://127.0.0.1/", false },
		{ "http://0300.0250.1.1/", false },
		{ "http://3232235777/", false },
		{ "http://192.168.257/", false },
		{ "http://[::ffff:192.168.1.1]/", false },
		{ "http://router/", false },
		{ "http:///", false },
		{ "http://", false },
		{ "file:///etc/passwd", false },
		{ "", false },
	};
	const struct addr gateway = addr_v4(192, 168, 1, 1, 0);
	const struct addr none = { .family = ADDR_NONE };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		print_message("%s\n", rows[i].url);
		assert_int_equal(ssdp_is_at(rows[i].url, &gateway), rows[i].is_at);
		assert_false(ssdp_is_at(rows[i].url, &none));
	}
}

static void a_search_is_one(void **state)
{
	char text[SSDP_SEARCH_MAX];
	size_t size = ssdp_write_search(text, "239.255.255.250:1900");

	(void)state;
	assert_memory_equal(text, "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\n", 49);
	assert_memory_equal(text + size - 4, "\r\n\r\n", 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_read),
		cmocka_unit_test(no_cut_gives_another_url),
		cmocka_unit_test(a_url_has_a_greatest_length),
		cmocka_unit_test(only_the_gateway_itself_is_the_place),
		cmocka_unit_test(a_search_is_one),
	};

	return cmocka_run_group_tests_name("ssdp", tests, NULL, NULL);
}

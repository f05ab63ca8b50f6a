/* SPDX-License-Identifier: MIT */

/*
 * Goal: one meaning for each text, and no disguise of an address passes as a
 * name. Method: tables with both sides of each rule; lengths at their limits;
 * parse(format(x)) is x.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/hostport.h"

static const struct {
	const char *text;
	const char *formatted; /* NULL: refused */
	enum host_kind kind;
	uint16_t default_port;
} parses[] = {
	{ "80", "localhost:80", HOST_NAME, 0 },
	{ "0", "localhost:0", HOST_NAME, 0 },
	{ "65535", "localhost:65535", HOST_NAME, 0 },
	{ "65536", NULL, HOST_NONE, 0 },
	{ "080", NULL, HOST_NONE, 0 },
	{ "99999999999999999999", NULL, HOST_NONE, 0 },
	{ "80", "localhost:80", HOST_NAME, 7 },
	{ "a.example:80", "a.example:80", HOST_NAME, 0 },
	{ "A.Example.:80", "a.example:80", HOST_NAME, 0 },
	{ "a.example", NULL, HOST_NONE, 0 },
	{ "a.example", "a.example:7", HOST_NAME, 7 },
	{ "a.example:", NULL, HOST_NONE, 7 },
	{ "a.example:65536", NULL, HOST_NONE, 7 },
	{ "a.example:8x", NULL, HOST_NONE, 7 },
	{ "192.0.2.1:80", "192.0.2.1:80", HOST_ADDR, 0 },
	{ "192.0.2.1", "192.0.2.1:7", HOST_ADDR, 7 },
	{ "192.0.2.1", NULL, HOST_NONE, 0 },
	{ "[192.0.2.1]:80", NULL, HOST_NONE, 0 },
	{ "127.1:80", NULL, HOST_NONE, 0 },
	{ "[::1]:80", "[::1]:80", HOST_ADDR, 0 },
	{ "[::1]", "[::1]:7", HOST_ADDR, 7 },
	{ "[::1]", NULL, HOST_NONE, 0 },
	{ "::1", "[::1]:7", HOST_ADDR, 7 },
	{ "::1", NULL, HOST_NONE, 0 },
	{ "2001:db8::1:80", NULL, HOST_NONE, 0 },
	{ "[::1]80", NULL, HOST_NONE, 7 },
	{ "[::1:80", NULL, HOST_NONE, 7 },
	{ "[a.example]:80", NULL, HOST_NONE, 7 },
	{ "[fe80::1%1]:80", NULL, HOST_NONE, 7 },
	{ "unix:/run/x", "unix:/run/x", HOST_UNIX, 0 },
	{ "unix:x", NULL, HOST_NONE, 0 },
	{ "unix:/", NULL, HOST_NONE, 0 },
	{ "unix:", NULL, HOST_NONE, 0 },
	{ "unix", "unix.:7", HOST_NAME, 7 },
	{ "unix.:7", "unix.:7", HOST_NAME, 0 },
	{ "service", "service.:7", HOST_NAME, 7 },
	{ "service:web", "service:web", HOST_SERVICE, 0 },
	{ "service:Web", NULL, HOST_NONE, 0 },
	{ "service:a_b", NULL, HOST_NONE, 0 },
	{ "service:", NULL, HOST_NONE, 0 },
	{ "", NULL, HOST_NONE, 0 },
	{ "", NULL, HOST_NONE, 7 },
	{ ":80", NULL, HOST_NONE, 7 },
	{ "*:80", NULL, HOST_NONE, 7 },
	{ " a:80", NULL, HOST_NONE, 7 },
};

static void texts_mean_one_thing(void **state)
{
	char text[HOSTPORT_TEXT_MAX];
	struct hostport h, again;
	const char *why;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(parses); i++) {
		print_message("'%s' (%u)\n", parses[i].text, parses[i].default_port);
		why = NULL;
		h = (struct hostport){ .port = 4711 };
		if (!parses[i].formatted) {
			assert_int_equal(
				hostport_parse(parses[i].text, parses[i].default_port, &h, &why),
				-EINVAL);
			assert_non_null(why);
			assert_int_equal(h.port, 4711); /* unchanged */
			continue;
		}
		assert_int_equal(hostport_parse(parses[i].text, parses[i].default_port, &h, &why),
		                 0);
		assert_int_equal(h.kind, parses[i].kind);
		assert_string_equal(hostport_format(&h, text), parses[i].formatted);
		assert_int_equal(hostport_parse(text, 0, &again, &why), 0);
		assert_true(hostport_equal(&h, &again));
		if (h.kind == HOST_ADDR)
			assert_int_equal(h.addr.port, h.port);
	}
}

static const struct {
	const char *text;
	size_t size; /* 0: strlen */
	enum host_kind kind;
	const char *name;
} names[] = {
	{ "www.example", 0, HOST_NAME, "www.example" },
	{ "WWW.example.", 0, HOST_NAME, "www.example" },
	{ "_dmarc.a-b.example", 0, HOST_NAME, "_dmarc.a-b.example" },
	{ "r3---sn-x.example", 0, HOST_NAME, "r3---sn-x.example" },
	{ "localhost.", 0, HOST_NAME, "localhost" },
	{ "1.example", 0, HOST_NAME, "1.example" },
	{ "1a", 0, HOST_NAME, "1a" },
	{ "0xg", 0, HOST_NAME, "0xg" },
	{ "beef", 0, HOST_NAME, "beef" },
	{ "127.0.0.1", 0, HOST_ADDR, NULL },
	{ "::1", 0, HOST_ADDR, NULL },
	{ "[::1]", 0, HOST_ADDR, NULL },
	{ "[::ffff:127.0.0.1]", 0, HOST_ADDR, NULL },
	{ "", 0, HOST_NONE, NULL },
	{ ".", 0, HOST_NONE, NULL },
	{ "..", 0, HOST_NONE, NULL },
	{ "a..b", 0, HOST_NONE, NULL },
	{ "a.example..", 0, HOST_NONE, NULL },
	{ ".a", 0, HOST_NONE, NULL },
	{ "a b", 0, HOST_NONE, NULL },
	{ "a\nb", 0, HOST_NONE, NULL },
	{ "a%00b", 0, HOST_NONE, NULL },
	{ "a\0b", 3, HOST_NONE, NULL },
	{ "a.example\0", 10, HOST_NONE, NULL },
	{ "b\xc3\xbc"
	  "cher.example",
	  0, HOST_NONE, NULL },
	{ "a/b", 0, HOST_NONE, NULL },
	{ "a:80", 0, HOST_NONE, NULL },
	{ "0x7f.1", 0, HOST_NONE, NULL },
	{ "0X7F.0.0.0x1", 0, HOST_NONE, NULL },
	{ "0177.0.0.1", 0, HOST_NONE, NULL },
	{ "2130706433", 0, HOST_NONE, NULL },
	{ "127.1", 0, HOST_NONE, NULL },
	{ "127.0.0.1.", 0, HOST_NONE, NULL },
	{ "127.0.0.01", 0, HOST_NONE, NULL },
	{ "a.example.1", 0, HOST_NONE, NULL },
	{ "a.0x", 0, HOST_NONE, NULL },
	{ "[127.0.0.1]", 0, HOST_NONE, NULL },
	{ "[a]", 0, HOST_NONE, NULL },
	{ "[", 0, HOST_NONE, NULL },
	{ "[]", 0, HOST_NONE, NULL },
	{ "[::1", 0, HOST_NONE, NULL },
	{ "fe80::1%lo", 0, HOST_NONE, NULL },
};

static void clients_names_are_classified(void **state)
{
	struct hostport h;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(names); i++) {
		size_t size = names[i].size ? names[i].size : strlen(names[i].text);

		print_message("'%s'\n", names[i].text);
		h = (struct hostport){ .port = 4711 };
		if (names[i].kind == HOST_NONE) {
			assert_int_equal(hostport_from_name(names[i].text, size, 80, &h), -EINVAL);
			assert_int_equal(h.port, 4711);
			continue;
		}
		assert_int_equal(hostport_from_name(names[i].text, size, 80, &h), 0);
		assert_int_equal(h.kind, names[i].kind);
		assert_int_equal(h.port, 80);
		if (names[i].name)
			assert_string_equal(h.text, names[i].name);
	}
}

static void lengths_end_where_they_should(void **state)
{
	char text[400];
	struct hostport h;
	const char *why;

	(void)state;
	/* Labels of 63, so that only the whole counts: 3 x 64 + 61 = 253. */
	memset(text, 'a', sizeof(text));
	text[63] = text[127] = text[191] = '.';
	assert_int_equal(hostport_from_name(text, HOST_DNS_MAX - 1, 1, &h), 0);
	assert_int_equal(hostport_from_name(text, HOST_DNS_MAX, 1, &h), 0);
	assert_int_equal(strlen(h.text), HOST_DNS_MAX);
	assert_int_equal(hostport_from_name(text, HOST_DNS_MAX + 1, 1, &h), -EINVAL);
	assert_int_equal(hostport_from_name(text, 400, 1, &h), -EINVAL);
	text[HOST_DNS_MAX] = '.';
	assert_int_equal(hostport_from_name(text, HOST_DNS_MAX + 1, 1, &h), 0);
	assert_int_equal(strlen(h.text), HOST_DNS_MAX);

	memset(text, 'a', sizeof(text));
	assert_true(host_name_is_valid(text, HOST_LABEL_MAX));
	assert_false(host_name_is_valid(text, HOST_LABEL_MAX + 1));
	assert_true(host_label_is_valid(text, HOST_LABEL_MAX));
	assert_false(host_label_is_valid(text, HOST_LABEL_MAX + 1));

	memcpy(text, "unix:/", 6);
	text[5 + HOST_UNIX_MAX] = 0;
	assert_int_equal(hostport_parse(text, 0, &h, &why), 0);
	assert_int_equal(strlen(h.text), HOST_UNIX_MAX);
	text[5 + HOST_UNIX_MAX] = 'a';
	text[5 + HOST_UNIX_MAX + 1] = 0;
	assert_int_equal(hostport_parse(text, 0, &h, &why), -EINVAL);
}

static void labels_are_strict(void **state)
{
	static const char *const good[] = { "a", "0", "a-b", "home2", "xn--a" };
	static const char *const bad[] = { "", "-", "-a", "a-", "a.b", "A", "a_b", "a b" };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(good); i++)
		assert_true(host_label_is_valid(good[i], strlen(good[i])));
	for (size_t i = 0; i < CV_ARRAY_SIZE(bad); i++)
		assert_false(host_label_is_valid(bad[i], strlen(bad[i])));
	assert_false(host_name_is_valid("A", 1)); /* the callers fold */
	assert_false(host_name_is_valid("a.", 2));
}

static void equality_looks_at_all_parts(void **state)
{
	struct hostport a, b, none = { 0 };
	const char *why;

	(void)state;
	assert_true(hostport_equal(&none, &none));
	assert_int_equal(hostport_parse("a:1", 0, &a, &why), 0);
	assert_int_equal(hostport_parse("a:2", 0, &b, &why), 0);
	assert_false(hostport_equal(&a, &b));
	assert_int_equal(hostport_parse("b:1", 0, &b, &why), 0);
	assert_false(hostport_equal(&a, &b));
	assert_int_equal(hostport_parse("10.0.0.1:1", 0, &a, &why), 0);
	assert_false(hostport_equal(&a, &b));
	assert_int_equal(hostport_parse("10.0.0.2:1", 0, &b, &why), 0);
	assert_false(hostport_equal(&a, &b));
	assert_true(hostport_equal(&a, &a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_mean_one_thing),
		cmocka_unit_test(clients_names_are_classified),
		cmocka_unit_test(lengths_end_where_they_should),
		cmocka_unit_test(labels_are_strict),
		cmocka_unit_test(equality_looks_at_all_parts),
	};

	return cmocka_run_group_tests_name("hostport", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: a peer's listeners are opened only where its patterns say so; what is special has to be
 * named; "any free port" is never one that was not granted.
 * Method: a table of patterns against addresses, both verdicts; then the ports in their order.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/listen_acl.h"

enum { PATTERNS_MAX = 8 };

static struct pattern patterns[PATTERNS_MAX];

/* Of the patterns in @texts, separated by blanks. */
static struct listen_acl acl_of(const char *texts)
{
	char copy[256];
	char *rest = copy, *word;
	struct listen_acl acl = { .allow = patterns };
	const char *why = NULL;

	assert_true(strlen(texts) < sizeof(copy));
	memcpy(copy, texts, strlen(texts) + 1);
	while ((word = strsep(&rest, " ")) != NULL && word[0]) {
		assert_true(acl.allow_count < PATTERNS_MAX);
		assert_int_equal(pattern_parse(word, &patterns[acl.allow_count++], &why), 0);
	}
	return acl;
}

static struct hostport at_of(const char *text)
{
	struct hostport at;
	const char *why = NULL;

	assert_int_equal(hostport_parse(text, 0, &at, &why), 0);
	return at;
}

static void places(void **state)
{
	static const struct {
		const char *allow;
		const char *at;
		bool is_udp;
		bool is_allowed;
	} rows[] = {
		{ "", "127.0.0.1:80", false, false },
		{ "127.0.0.1:8000-8099", "127.0.0.1:7999", false, false },
		{ "127.0.0.1:8000-8099", "127.0.0.1:8000", false, true },
		{ "127.0.0.1:8000-8099", "127.0.0.1:8099", false, true },
		{ "127.0.0.1:8000-8099", "127.0.0.1:8100", false, false },
		{ "127.0.0.1:8000-8099", "127.0.0.1:0", false, true },
		{ "127.0.0.1:8000-8099", "127.0.0.2:8000", false, false },
		{ "127.0.0.1:8000-8099", "0.0.0.0:8000", false, false },
		{ "127.0.0.1:8000-8099", "127.0.0.1:8000", true, false },
		{ "127.0.0.1:53/udp", "127.0.0.1:53", true, true },
		{ "127.0.0.1:53/udp", "127.0.0.1:53", false, false },
		{ "127.0.0.1:53/udp", "127.0.0.1:0", false, false },
		{ "127.0.0.1:80", "[::ffff:127.0.0.1]:80", false, true },
		{ "localhost:80", "127.0.0.1:80", false, true },
		{ "localhost:80", "[::1]:80", false, true },
		{ "localhost:80", "127.0.0.2:80", false, false },
		{ "*:80", "192.0.2.1:80", false, true },
		{ "*:80", "0.0.0.0:80", false, true },
		{ "*:80", "[::]:80", false, true },
		{ "*:80", "0.0.0.0:81", false, false },
		{ "*:80", "127.0.0.1:80", false, false },
		{ "*:80", "[::1]:80", false, false },
		{ "*:80", "169.254.1.1:80", false, false },
		{ "*:80", "[fe80::1]:80", false, false },
		{ "*:*", "unix:/run/x", false, false },
		{ "0.0.0.0/0:80", "192.0.2.1:80", false, true },
		{ "0.0.0.0/0:80", "0.0.0.0:80", false, false },
		{ "0.0.0.0:80", "0.0.0.0:80", false, true },
		{ "[::]:80", "[::]:80", false, true },
		{ "0.0.0.0:80", "192.0.2.1:80", false, false },
		{ "192.0.2.0/24:80", "192.0.2.7:80", false, true },
		{ "192.0.2.0/24:80", "198.51.100.1:80", false, false },
		{ "a.example:80", "192.0.2.1:80", false, false },
		{ "unix:/run/app/*", "unix:/run/app/x", false, true },
		{ "unix:/run/app/*", "unix:/run/app/x", true, false },
		{ "unix:/run/app/*", "unix:/run/app/../x", false, false },
		{ "unix:/run/app/*", "unix:/run/other", false, false },
		{ "unix:/run/x", "unix:/run/x", false, true },
		{ "unix:/run/x", "127.0.0.1:80", false, false },
	};
	struct listen_acl acl;
	struct hostport at;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		print_message("%s allows %s?\n", rows[i].allow, rows[i].at);
		acl = acl_of(rows[i].allow);
		at = at_of(rows[i].at);
		assert_int_equal(listen_acl_allows(&acl, &at, rows[i].is_udp), rows[i].is_allowed);
	}
}

static void names_are_no_places(void **state)
{
	struct listen_acl acl = acl_of("*:* localhost:*");
	struct hostport name = at_of("localhost:80"), service = at_of("service:web");
	struct hostport none = { .kind = HOST_NONE };

	(void)state;
	assert_false(listen_acl_allows(&acl, &name, false));
	assert_false(listen_acl_allows(&acl, &service, false));
	assert_false(listen_acl_allows(&acl, &none, false));
}

static void free_ports_are_granted_ones(void **state)
{
	static const uint16_t wanted[] = { 80, 8000, 8001, 0, 90 };
	struct listen_acl acl = acl_of("127.0.0.1:80,8000-8001 127.0.0.2:1-65535 localhost:* "
	                               "127.0.0.1:53/udp unix:/x 127.0.0.0/8:90");
	struct hostport at = at_of("127.0.0.1:7");
	uint16_t port;

	(void)state;
	for (uint32_t i = 0; i < CV_ARRAY_SIZE(wanted); i++) {
		assert_true(listen_acl_port(&acl, &at, false, i, &port));
		assert_int_equal(port, wanted[i]);
	}
	assert_false(listen_acl_port(&acl, &at, false, CV_ARRAY_SIZE(wanted), &port));
	assert_false(listen_acl_port(&acl, &at, false, UINT32_MAX, &port));
	assert_true(listen_acl_port(&acl, &at, true, 0, &port));
	assert_int_equal(port, 53);
	assert_false(listen_acl_port(&acl, &at, true, 1, &port));

	acl = acl_of("127.0.0.2:1-65535");
	at = at_of("127.0.0.2:0");
	assert_true(listen_acl_port(&acl, &at, false, 65534, &port));
	assert_int_equal(port, 65535);
	assert_false(listen_acl_port(&acl, &at, false, 65535, &port));
	at = at_of("127.0.0.3:0");
	assert_false(listen_acl_allows(&acl, &at, false));
}

/* A range of the configuration does not begin with 0; were one to, it would not be the system's
 * choice. */
static void port_0_is_no_port(void **state)
{
	struct listen_acl acl = acl_of("127.0.0.1:1-2");
	struct hostport at = at_of("127.0.0.1:0");
	uint16_t port;

	(void)state;
	patterns[0].ports[0].first = 0;
	assert_true(listen_acl_port(&acl, &at, false, 0, &port));
	assert_int_equal(port, 1);
	patterns[0].ports[0].last = 0;
	assert_false(listen_acl_port(&acl, &at, false, 0, &port));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(places),
		cmocka_unit_test(names_are_no_places),
		cmocka_unit_test(free_ports_are_granted_ones),
		cmocka_unit_test(port_0_is_no_port),
	};

	return cmocka_run_group_tests_name("listen_acl", tests, NULL, NULL);
}

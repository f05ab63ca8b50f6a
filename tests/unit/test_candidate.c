/* SPDX-License-Identifier: MIT */

/*
 * Goal: neither a peer nor a server can point us at a victim (T40). Method: each
 * class of address under each scope, at the edges of its range; every avoided port and its
 * neighbours.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tunnel/candidate.h"

static struct addr at(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

/* Interfaces that we may have. */
enum { HAS_10 = 1, HAS_172 = 2, HAS_192 = 4, HAS_ULA = 8, HAS_ALL = 15, NEVER = 16 };

static struct candidate_scope scope_of(unsigned has)
{
	static const char *const own[] = { "10.1.2.3:1", "172.20.0.9:1", "192.168.7.7:1",
		                           "[fd12::1]:1" };
	struct candidate_scope scope = { 0 };

	for (unsigned i = 0; i < CV_ARRAY_SIZE(own); i++) {
		struct addr a = at(own[i]);

		if (has >> i & 1)
			candidate_scope_add(&scope, &a);
	}
	return scope;
}

static void each_class_needs_its_interface(void **state)
{
	static const struct {
		const char *text;
		unsigned needs; /* 0: nothing; NEVER */
		bool is_announced;
	} rows[] = {
		{ "1.0.0.0:4000", 0, true },
		{ "198.18.0.1:4000", 0, true },
		{ "[2001:db8::1]:4000", 0, true },
		{ "100.64.0.1:4000", 0, true }, /* behind the same carrier's NAT */
		{ "100.127.255.255:4000", 0, true },

		{ "10.0.0.0:4000", HAS_10, true },
		{ "10.255.255.255:4000", HAS_10, true },
		{ "11.0.0.0:4000", 0, true },
		{ "172.15.255.255:4000", 0, true },
		{ "172.16.0.0:4000", HAS_172, true },
		{ "172.31.255.255:4000", HAS_172, true },
		{ "172.32.0.0:4000", 0, true },
		{ "192.167.255.255:4000", 0, true },
		{ "192.168.0.0:4000", HAS_192, true },
		{ "192.168.255.255:4000", HAS_192, true },
		{ "192.169.0.0:4000", 0, true },
		{ "[fc00::1]:4000", HAS_ULA, true },
		{ "[fdff:ffff::1]:4000", HAS_ULA, true },

		{ "0.0.0.0:4000", NEVER, false },
		{ "0.1.2.3:4000", NEVER, false },
		{ "127.0.0.1:4000", NEVER, false },
		{ "127.255.255.254:4000", NEVER, false },
		{ "169.254.169.254:4000", NEVER, false },
		{ "224.0.0.1:4000", NEVER, false },
		{ "239.255.255.255:4000", NEVER, false },
		{ "240.0.0.1:4000", NEVER, false },
		{ "255.255.255.255:4000", NEVER, false },
		{ "[::]:4000", NEVER, false },
		{ "[::1]:4000", NEVER, false },
		{ "[fe80::1]:4000", NEVER, false },
		{ "[fec0::1]:4000", NEVER, false },
		{ "[ff02::1]:4000", NEVER, false },
		{ "[fd00:ec2::254]:4000", NEVER, false }, /* a cloud's metadata */
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct addr a = at(rows[i].text);

		print_message("%s\n", rows[i].text);
		for (unsigned has = 0; has <= HAS_ALL; has++) {
			struct candidate_scope scope = scope_of(has);

			assert_int_equal(candidate_is_allowed(&scope, &a),
			                 rows[i].needs != NEVER &&
			                         (has & rows[i].needs) == rows[i].needs);
		}
		assert_int_equal(candidate_is_announced(&a), rows[i].is_announced);
	}
}

static void an_address_in_disguise_is_refused(void **state)
{
	/* Even those that hide a harmless one: nobody honest announces them. */
	static const char *const disguised[] = {
		"[::ffff:127.0.0.1]:4000", "[::ffff:198.51.100.7]:4000", "[::7f00:1]:4000",
		"[2002:7f00:1::]:4000",    "[2002:c633:6407::]:4000",    "[64:ff9b::7f00:1]:4000",
	};
	struct candidate_scope scope = scope_of(HAS_ALL);

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(disguised); i++) {
		struct addr a = at(disguised[i]);

		assert_false(candidate_is_allowed(&scope, &a));
	}
}

static void nothing_is_no_candidate(void **state)
{
	struct candidate_scope scope = scope_of(HAS_ALL);
	struct addr none = { .family = ADDR_NONE, .port = 4000 };

	(void)state;
	assert_false(candidate_is_allowed(&scope, &none));
	assert_false(candidate_is_announced(&none));
}

static void ports_that_amplify_are_avoided(void **state)
{
	static const uint16_t avoided[] = { 0,   7,   17,  19,  53,   69,   111,  123,  137,
		                            161, 389, 500, 520, 1900, 3702, 5353, 5683, 11211 };
	struct candidate_scope scope = scope_of(HAS_ALL);
	unsigned refused = 0;

	(void)state;
	for (uint32_t port = 0; port <= UINT16_MAX; port++) {
		struct addr v4 = addr_v4(198, 51, 100, 7, (uint16_t)port);
		struct addr v6 = at("[2001:db8::7]:1");
		struct addr near = addr_v4(10, 0, 0, 1, (uint16_t)port);
		bool allowed = candidate_is_allowed(&scope, &v4);

		v6.port = (uint16_t)port;
		assert_int_equal(candidate_is_allowed(&scope, &v6), allowed);
		assert_int_equal(candidate_is_allowed(&scope, &near), allowed);
		refused += !allowed;
	}
	for (size_t i = 0; i < CV_ARRAY_SIZE(avoided); i++) {
		struct addr a = addr_v4(198, 51, 100, 7, avoided[i]);

		assert_false(candidate_is_allowed(&scope, &a));
	}
	assert_int_equal(refused, CV_ARRAY_SIZE(avoided));
}

static void public_interfaces_open_nothing(void **state)
{
	struct candidate_scope scope = { 0 };
	static const char *const own[] = { "198.51.100.1:1", "127.0.0.1:1",     "100.64.0.1:1",
		                           "172.15.0.1:1",   "172.32.0.1:1",    "192.169.0.1:1",
		                           "11.0.0.1:1",     "[2001:db8::1]:1", "[fe80::1]:1" };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(own); i++) {
		struct addr a = at(own[i]);

		candidate_scope_add(&scope, &a);
	}
	assert_false(scope.has_private[0] || scope.has_private[1] || scope.has_private[2]);
	assert_false(scope.has_ula);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_class_needs_its_interface),
		cmocka_unit_test(an_address_in_disguise_is_refused),
		cmocka_unit_test(nothing_is_no_candidate),
		cmocka_unit_test(ports_that_amplify_are_avoided),
		cmocka_unit_test(public_interfaces_open_nothing),
	};

	return cmocka_run_group_tests_name("candidate", tests, NULL, NULL);
}

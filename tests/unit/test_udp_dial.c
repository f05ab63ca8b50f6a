/* SPDX-License-Identifier: MIT */

/*
 * Goal: a flow of datagrams goes only where the policy lets it, to the first address that is of any
 * use. Method: each verdict, with lists of addresses of which some are denied or fail.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/udp_dial.h"

static struct pattern allow[4];
static struct udp_dial d;

static struct acl policy(const char *const *texts)
{
	struct acl acl = { .allow = allow };
	const char *why;

	for (; texts && *texts; texts++)
		assert_int_equal(pattern_parse(*texts, &allow[acl.allow_count++], &why), 0);
	return acl;
}

static struct hostport to(const char *text)
{
	struct hostport h;
	const char *why;

	assert_int_equal(hostport_parse(text, 0, &h, &why), 0);
	return h;
}

static struct addr address(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

static void expect_at(const char *text)
{
	struct addr a = address(text);

	assert_true(addr_equal(&d.addr, &a));
}

static void an_address_is_judged(void **state)
{
	static const char *const udp[] = { "192.0.2.1:53/udp", NULL };
	static const char *const tcp[] = { "192.0.2.1:53", NULL };
	struct hostport h = to("192.0.2.1:53");
	struct acl acl = policy(udp);

	(void)state;
	assert_int_equal(udp_dial_begin(&d, &acl, &h), UDP_DIAL_CONNECT);
	expect_at("192.0.2.1:53");
	assert_false(udp_dial_has_next(&d));
	assert_int_equal(udp_dial_on_failed(&d, &acl, -ECONNREFUSED), UDP_DIAL_FAIL);
	assert_int_equal(d.code, TARGET_REFUSED);
	/* TCP alone is allowed. */
	acl = policy(tcp);
	assert_int_equal(udp_dial_begin(&d, &acl, &h), UDP_DIAL_FAIL);
	assert_int_equal(d.code, TARGET_POLICY);
	/* Our own configuration names it: nobody is asked. */
	acl = policy(NULL);
	acl.is_operators_own = true;
	assert_int_equal(udp_dial_begin(&d, &acl, &h), UDP_DIAL_CONNECT);
}

static void a_name_is_looked_up(void **state)
{
	static const char *const texts[] = { "*:53/udp", NULL };
	struct addr list[] = { address("127.0.0.1:1"), address("[2001:db8::5]:1"),
		               address("192.0.2.5:1"), address("192.0.2.5:1") };
	struct hostport h = to("dns.example:53");
	struct acl acl = policy(texts);

	(void)state;
	assert_int_equal(udp_dial_begin(&d, &acl, &h), UDP_DIAL_RESOLVE);
	/* Loopback is denied, the resolver's order holds, each address once. */
	assert_int_equal(udp_dial_on_resolved(&d, &acl, list, CV_ARRAY_SIZE(list)),
	                 UDP_DIAL_CONNECT);
	expect_at("[2001:db8::5]:53");
	assert_true(udp_dial_has_next(&d));
	assert_int_equal(udp_dial_on_failed(&d, &acl, -ENETUNREACH), UDP_DIAL_CONNECT);
	expect_at("192.0.2.5:53");
	assert_int_equal(udp_dial_on_failed(&d, &acl, -ECONNREFUSED), UDP_DIAL_FAIL);
	assert_int_equal(d.code, TARGET_REFUSED);
	/* All of them denied. */
	assert_int_equal(udp_dial_begin(&d, &acl, &h), UDP_DIAL_RESOLVE);
	assert_int_equal(udp_dial_on_resolved(&d, &acl, list, 1), UDP_DIAL_FAIL);
	assert_int_equal(d.code, TARGET_POLICY);
	/* None. */
	assert_int_equal(udp_dial_begin(&d, &acl, &h), UDP_DIAL_RESOLVE);
	assert_int_equal(udp_dial_on_resolved(&d, &acl, list, 0), UDP_DIAL_FAIL);
	assert_int_equal(d.code, TARGET_NAME_NOT_RESOLVED);
}

static void a_lookup_fails(void **state)
{
	static const char *const texts[] = { "*:53/udp", NULL };
	static const struct {
		enum dial_resolve_error why;
		enum target_code code;
	} rows[] = { { DIAL_RESOLVE_NOT_FOUND, TARGET_NAME_NOT_RESOLVED },
		     { DIAL_RESOLVE_TIMEOUT, TARGET_RESOLVER_TIMEOUT },
		     { DIAL_RESOLVE_LIMIT, TARGET_LIMIT } };
	struct hostport h = to("dns.example:53");
	struct acl acl = policy(texts);

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		assert_int_equal(udp_dial_begin(&d, &acl, &h), UDP_DIAL_RESOLVE);
		assert_int_equal(udp_dial_on_resolve_failed(&d, rows[i].why), UDP_DIAL_FAIL);
		assert_int_equal(d.code, rows[i].code);
	}
}

static void localhost_is_v4_first(void **state)
{
	static const char *const both[] = { "localhost:53/udp", NULL };
	static const char *const v6[] = { "[::1]:53/udp", NULL };
	struct hostport h = to("localhost:53");
	struct acl acl = policy(both);

	(void)state;
	assert_int_equal(udp_dial_begin(&d, &acl, &h), UDP_DIAL_CONNECT);
	expect_at("127.0.0.1:53");
	assert_int_equal(udp_dial_on_failed(&d, &acl, -ECONNREFUSED), UDP_DIAL_CONNECT);
	expect_at("[::1]:53");
	acl = policy(v6);
	assert_int_equal(udp_dial_begin(&d, &acl, &h), UDP_DIAL_CONNECT);
	expect_at("[::1]:53");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_address_is_judged),
		cmocka_unit_test(a_name_is_looked_up),
		cmocka_unit_test(a_lookup_fails),
		cmocka_unit_test(localhost_is_v4_first),
	};

	return cmocka_run_group_tests_name("udp_dial", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: nothing is dialled that the operator did not allow, in no disguise; what a
 * wide pattern must not include has to be named; own listeners have to be named by
 * address and port.
 * Method: the SSRF table: each special address in every form IPv6 has for it,
 * against every kind of wide pattern and against a pattern that names it; then the
 * rules for names, listeners and unix paths from both sides.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/acl.h"

enum { PATTERNS_MAX = 8 };

static struct pattern patterns[PATTERNS_MAX];

/* An acl of the patterns in @texts, separated by blanks. */
static struct acl acl_of(const char *texts)
{
	char copy[256];
	char *rest = copy, *word;
	struct acl acl = { .allow = patterns };
	const char *why = NULL;

	assert_true(strlen(texts) < sizeof(copy));
	memcpy(copy, texts, strlen(texts) + 1);
	while ((word = strsep(&rest, " ")) != NULL && word[0]) {
		assert_true(acl.allow_count < PATTERNS_MAX);
		assert_int_equal(pattern_parse(word, &patterns[acl.allow_count++], &why), 0);
	}
	return acl;
}

static struct addr addr_of(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

static bool may_dial(const struct acl *acl, const char *name, const char *text)
{
	struct addr a = addr_of(text);

	return acl_check_dial(acl, name, &a, false) == ACL_ALLOW;
}

/* The IPv6 forms that reach the IPv4 address @v4. */
static unsigned forms_of(const uint8_t v4[4], struct addr out[8])
{
	static const struct {
		uint8_t ip[16];
		unsigned at; /* where the IPv4 address lies */
	} forms[] = {
		{ { [10] = 0xff, [11] = 0xff }, 12 },     /* ::ffff:a.b.c.d */
		{ { 0 }, 12 },                            /* ::a.b.c.d */
		{ { 0x20, 0x02 }, 2 },                    /* 2002:aabb:ccdd:: */
		{ { 0x20, 0x02, [6] = 7, [15] = 1 }, 2 }, /* any host behind that 6to4 router */
		{ { 0, 0x64, 0xff, 0x9b }, 12 },          /* 64:ff9b::a.b.c.d */
		{ { 0, 0x64, 0xff, 0x9b, 0, 1 }, 12 },    /* 64:ff9b:1::a.b.c.d */
	};
	unsigned count = 0;

	out[count++] = addr_v4(v4[0], v4[1], v4[2], v4[3], 80);
	for (size_t i = 0; i < CV_ARRAY_SIZE(forms); i++) {
		out[count] = (struct addr){ .family = ADDR_V6, .port = 80 };
		memcpy(out[count].ip, forms[i].ip, 16);
		memcpy(out[count].ip + forms[i].at, v4, 4);
		count++;
	}
	return count;
}

static void no_form_of_a_special_address_slips_through(void **state)
{
	static const struct {
		uint8_t v4[4];
		const char *named; /* what allows it; NULL: nothing does */
	} rows[] = {
		{ { 127, 0, 0, 1 }, "127.0.0.1:80" },
		{ { 127, 255, 255, 254 }, "127.0.0.0/8:80" },
		{ { 169, 254, 169, 254 }, "169.254.169.254:*" },
		{ { 169, 254, 1, 1 }, "169.254.0.0/16:80" },
		{ { 224, 0, 0, 251 }, "224.0.0.251:80" },
		{ { 239, 255, 255, 250 }, "239.255.255.250:80" },
		{ { 0, 0, 0, 0 }, NULL },
		{ { 0, 1, 2, 3 }, "0.1.2.3:80" },
		{ { 255, 255, 255, 255 }, "255.255.255.255:80" },
		{ { 240, 0, 0, 1 }, "240.0.0.0/4:80" },
	};
	static const char *const wide[] = {
		"*:*",           "0.0.0.0/0:*",
		"[::/0]:*",      "*:80 *.example:* evil.example:*",
		"64.0.0.0/2:*",  "128.0.0.0/1:*",
		"192.0.0.0/2:*", "0.0.0.0/1:*",
		"168.0.0.0/5:*", "[2000::/3]:*",
	};
	struct addr forms[8];
	struct acl acl;
	unsigned count;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		count = forms_of(rows[i].v4, forms);
		for (unsigned f = 0; f < count; f++) {
			for (size_t p = 0; p < CV_ARRAY_SIZE(wide); p++) {
				acl = acl_of(wide[p]);
				assert_int_equal(acl_check_dial(&acl, NULL, &forms[f], false),
				                 ACL_DENY);
				assert_int_equal(
					acl_check_dial(&acl, "evil.example", &forms[f], false),
					ACL_DENY);
			}
			acl = acl_of(rows[i].named ? rows[i].named : "0.0.0.0:80 0.0.0.0/8:*");
			/* ::0.0.0.1 and ::0.0.0.0 are addresses of their own. */
			assert_int_equal(acl_check_dial(&acl, NULL, &forms[f], false),
			                 rows[i].named ? ACL_ALLOW : ACL_DENY);
		}
	}
}

static void no_special_ipv6_address_slips_through(void **state)
{
	static const struct {
		const char *addr;
		const char *named;
	} rows[] = {
		{ "[::1]:80", "[::1]:80" },
		{ "[fe80::1]:80", "[fe80::/10]:80" },
		{ "[febf::1]:80", "[febf::1]:80" },
		{ "[fec0::1]:80", "[fec0::1]:80" },
		{ "[ff02::1]:80", "[ff02::1]:80" },
		{ "[fd00:ec2::254]:80", "[fd00:ec2::254]:80" },
		{ "[::]:80", NULL },
	};
	static const char *const wide[] = {
		"*:*",     "[::/0]:*", "[fc00::/6]:*", "[fd00::/8]:*", "*.example:* evil.example:*",
		"[::/1]:*"
	};
	struct acl acl;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		for (size_t p = 0; p < CV_ARRAY_SIZE(wide); p++) {
			acl = acl_of(wide[p]);
			assert_false(may_dial(&acl, NULL, rows[i].addr));
			assert_false(may_dial(&acl, "evil.example", rows[i].addr));
		}
		acl = acl_of(rows[i].named ? rows[i].named : "[::]:80");
		assert_int_equal(may_dial(&acl, NULL, rows[i].addr), rows[i].named != NULL);
	}
}

static void private_networks_are_only_what_patterns_say(void **state)
{
	struct addr forms[8];
	struct acl acl = acl_of("*.example:80 8.0.0.0/8:*");
	unsigned count = forms_of((const uint8_t[]){ 192, 168, 1, 1 }, forms);

	(void)state;
	for (unsigned f = 0; f < count; f++)
		assert_int_equal(acl_check_dial(&acl, NULL, &forms[f], false), ACL_DENY);
	acl = acl_of("192.168.1.0/24:80");
	for (unsigned f = 0; f < count; f++)
		assert_int_equal(acl_check_dial(&acl, NULL, &forms[f], false), ACL_ALLOW);
}

static void by_default_nothing_is_allowed(void **state)
{
	static const struct acl none;
	struct addr a = addr_of("192.0.2.1:80"), nowhere = { 0 };
	struct acl acl = acl_of("*:*");

	(void)state;
	assert_int_equal(acl_check_dial(&none, NULL, &a, false), ACL_DENY);
	assert_int_equal(acl_check_dial(&acl, NULL, &a, false), ACL_ALLOW);
	assert_int_equal(acl_check_dial(&acl, NULL, &a, true), ACL_DENY);
	assert_int_equal(acl_check_dial(&acl, NULL, &nowhere, false), ACL_DENY);
	a.port = 0;
	assert_int_equal(acl_check_dial(&acl, NULL, &a, false), ACL_DENY);
}

static void the_address_decides_not_the_name(void **state)
{
	struct acl acl = acl_of("intra.example:443 *.lan:* localhost:22");

	(void)state;
	assert_true(may_dial(&acl, "intra.example", "192.0.2.1:443"));
	assert_false(may_dial(&acl, "intra.example", "192.0.2.1:80"));
	assert_false(may_dial(&acl, "other.example", "192.0.2.1:443"));
	assert_false(may_dial(&acl, NULL, "192.0.2.1:443"));
	/* Rebinding: an allowed name that says loopback, metadata, or 0.0.0.0. */
	assert_false(may_dial(&acl, "intra.example", "127.0.0.1:443"));
	assert_false(may_dial(&acl, "a.lan", "169.254.169.254:80"));
	assert_false(may_dial(&acl, "a.lan", "0.0.0.0:80"));
	assert_true(may_dial(&acl, "a.lan", "192.168.1.1:80"));
	/* And any name that says an address which is allowed. */
	assert_true(may_dial(&acl, "other.example", "127.0.0.1:22"));
	assert_true(may_dial(&acl, "localhost", "[::1]:22"));
	assert_false(may_dial(&acl, "localhost", "127.0.0.2:22"));
}

static enum acl_verdict check_text(const struct acl *acl, const char *text, bool is_udp)
{
	struct hostport to;
	const char *why;

	assert_int_equal(hostport_parse(text, 0, &to, &why), 0);
	return acl_check_name(acl, &to, is_udp);
}

static void hopeless_names_are_not_resolved(void **state)
{
	static const struct {
		const char *patterns;
		const char *target;
		enum acl_verdict verdict;
	} rows[] = {
		{ "", "a.example:80", ACL_DENY },
		{ "a.example:80", "a.example:80", ACL_ALLOW },
		{ "a.example:80", "A.EXAMPLE.:80", ACL_ALLOW },
		{ "a.example:80", "a.example:81", ACL_DENY },
		{ "a.example:80/udp", "a.example:80", ACL_DENY },
		{ "a.example:80", "b.a.example:80", ACL_DENY },
		{ "*.example:80", "a.example:80", ACL_ALLOW },
		{ "*.example:80", "example:80", ACL_DENY },
		{ "*.example:80", "a.example.org:80", ACL_DENY },
		{ "10.0.0.0/8:80", "a.example:80", ACL_ALLOW }, /* it may live there */
		{ "10.0.0.0/8:80", "a.example:443", ACL_DENY },
		{ "localhost:80", "a.example:80", ACL_ALLOW },
		{ "*:*", "a.example:80", ACL_ALLOW },
		{ "*:*", "a.example:0", ACL_DENY },
		{ "unix:/run/*", "a.example:80", ACL_DENY },
		/* for addresses and paths the verdict is final */
		{ "10.0.0.0/8:80", "10.1.1.1:80", ACL_ALLOW },
		{ "10.0.0.0/8:80", "11.1.1.1:80", ACL_DENY },
		{ "*:*", "127.0.0.1:80", ACL_DENY },
		{ "*:*", "[::ffff:127.0.0.1]:80", ACL_DENY },
		{ "unix:/run/app/*", "unix:/run/app/sock", ACL_ALLOW },
		{ "unix:/run/app/*", "unix:/run/other", ACL_DENY },
		{ "unix:/run/app/*", "unix:/run/app/../docker.sock", ACL_DENY },
		{ "unix:/run/app/sock", "unix:/run/app/sock", ACL_ALLOW },
		{ "unix:/run/app/sock", "unix:/run/app/sock2", ACL_DENY },
		{ "*:*", "unix:/run/app/sock", ACL_DENY },
		{ "*:*", "service:web", ACL_DENY },
	};
	struct acl acl;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		print_message("%s: %s\n", rows[i].patterns, rows[i].target);
		acl = acl_of(rows[i].patterns);
		assert_int_equal(check_text(&acl, rows[i].target, false), rows[i].verdict);
	}
	acl = acl_of("unix:/run/*");
	assert_int_equal(check_text(&acl, "unix:/run/a", true), ACL_DENY);
	acl = acl_of("10.0.0.1:53/udp");
	assert_int_equal(check_text(&acl, "10.0.0.1:53", true), ACL_ALLOW);
	assert_int_equal(check_text(&acl, "10.0.0.1:53", false), ACL_DENY);
}

static void own_listeners_must_be_named(void **state)
{
	const struct addr own[] = {
		addr_of("127.0.0.1:1080"),   addr_of("0.0.0.0:9464"),       addr_of("[::]:28583"),
		addr_of("192.168.1.5:8080"), addr_of("[2001:db8::5]:8081"),
	};
	const struct addr local[] = { addr_of("192.168.1.5:0"), addr_of("[2001:db8::5]:0"),
		                      addr_of("198.51.100.5:0") };
	static const struct {
		const char *patterns;
		const char *addr;
		enum acl_verdict verdict;
	} rows[] = {
		{ "127.0.0.1:*", "127.0.0.1:1080", ACL_DENY_OWN },
		{ "127.0.0.0/8:1080", "127.0.0.1:1080", ACL_DENY_OWN },
		{ "127.0.0.1:1000-1100", "127.0.0.1:1080", ACL_DENY_OWN },
		{ "127.0.0.1:1080-1090", "127.0.0.1:1080", ACL_DENY_OWN },
		{ "127.0.0.1:1000-1080", "127.0.0.1:1080", ACL_DENY_OWN },
		{ "192.168.1.4/31:8080", "192.168.1.5:8080", ACL_DENY_OWN },
		{ "[2001:db8::4]:8081 [2001:db8::4/127]:8081", "[2001:db8::5]:8081", ACL_DENY_OWN },
		{ "localhost:*", "127.0.0.1:1080", ACL_DENY_OWN },
		{ "127.0.0.1:*", "127.0.0.1:1081", ACL_ALLOW },
		{ "127.0.0.1:1080", "127.0.0.1:1080", ACL_ALLOW },
		{ "127.0.0.1:* 127.0.0.1:22,1080", "127.0.0.1:1080", ACL_ALLOW },
		{ "localhost:1080", "127.0.0.1:1080", ACL_ALLOW },
		{ "127.0.0.0/8:*", "[::ffff:127.0.0.1]:1080", ACL_DENY_OWN },
		{ "127.0.0.0/8:*", "127.0.0.2:1080", ACL_ALLOW },
		/* a wildcard is every local address */
		{ "192.168.1.0/24:*", "192.168.1.5:9464", ACL_DENY_OWN },
		{ "*:*", "198.51.100.5:9464", ACL_DENY_OWN },
		{ "*:*", "198.51.100.6:9464", ACL_ALLOW },
		{ "192.168.1.5:9464", "192.168.1.5:9464", ACL_ALLOW },
		{ "127.0.0.0/8:*", "127.9.9.9:9464", ACL_DENY_OWN },
		{ "*:*", "[2001:db8::5]:9464", ACL_ALLOW }, /* 0.0.0.0 is IPv4 alone */
		{ "*:*", "[2001:db8::5]:28583", ACL_DENY_OWN },
		{ "*:*", "198.51.100.5:28583", ACL_DENY_OWN },
		{ "*:*", "[64:ff9b::198.51.100.5]:28583", ACL_DENY_OWN },
		{ "[2001:db8::5]:28583", "[2001:db8::5]:28583", ACL_ALLOW },
		/* and one address is itself */
		{ "*:*", "192.168.1.5:8080", ACL_DENY_OWN },
		{ "*:*", "192.168.1.6:8080", ACL_ALLOW },
		{ "*:*", "[2001:db8::5]:8081", ACL_DENY_OWN },
		/* what is not allowed at all is not allowed for that reason */
		{ "*:*", "127.0.0.1:1080", ACL_DENY },
		{ "10.0.0.0/8:*", "192.168.1.5:8080", ACL_DENY },
	};
	struct addr a;
	struct acl acl;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		print_message("%s: %s\n", rows[i].patterns, rows[i].addr);
		acl = acl_of(rows[i].patterns);
		acl.own = own;
		acl.own_count = CV_ARRAY_SIZE(own);
		acl.local = local;
		acl.local_count = CV_ARRAY_SIZE(local);
		a = addr_of(rows[i].addr);
		assert_int_equal(acl_check_dial(&acl, NULL, &a, false), rows[i].verdict);
	}
	/* By the name of this host the listener is not named either. */
	acl = acl_of("me.example:9464");
	acl.own = own;
	acl.own_count = CV_ARRAY_SIZE(own);
	acl.local = local;
	acl.local_count = CV_ARRAY_SIZE(local);
	a = addr_of("198.51.100.5:9464");
	assert_int_equal(acl_check_dial(&acl, "me.example", &a, false), ACL_DENY_OWN);
}

static void a_scope_does_not_hide_a_listener(void **state)
{
	struct addr own = addr_of("[fe80::5]:8080"), a = own;
	struct acl acl = acl_of("[fe80::/10]:*");

	(void)state;
	own.scope = 2;
	acl.own = &own;
	acl.own_count = 1;
	assert_int_equal(acl_check_dial(&acl, NULL, &a, false), ACL_DENY_OWN);
	a.scope = 3;
	assert_int_equal(acl_check_dial(&acl, NULL, &a, false), ACL_DENY_OWN);
}

static void the_operators_own_targets_are_allowed(void **state)
{
	static const struct acl own = { .is_operators_own = true };

	(void)state;
	assert_true(may_dial(&own, NULL, "127.0.0.1:80"));
	assert_true(may_dial(&own, "a.example", "192.168.1.1:80"));
	assert_false(may_dial(&own, NULL, "0.0.0.0:80"));
	assert_int_equal(check_text(&own, "a.example:80", false), ACL_ALLOW);
	assert_int_equal(check_text(&own, "unix:/run/x", false), ACL_ALLOW);
	assert_int_equal(check_text(&own, "service:x", false), ACL_DENY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_form_of_a_special_address_slips_through),
		cmocka_unit_test(no_special_ipv6_address_slips_through),
		cmocka_unit_test(private_networks_are_only_what_patterns_say),
		cmocka_unit_test(by_default_nothing_is_allowed),
		cmocka_unit_test(the_address_decides_not_the_name),
		cmocka_unit_test(hopeless_names_are_not_resolved),
		cmocka_unit_test(own_listeners_must_be_named),
		cmocka_unit_test(a_scope_does_not_hide_a_listener),
		cmocka_unit_test(the_operators_own_targets_are_allowed),
	};

	return cmocka_run_group_tests_name("acl", tests, NULL, NULL);
}

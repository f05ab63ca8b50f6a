/* SPDX-License-Identifier: MIT */

/*
 * Goal: a pattern allows what the manual says and nothing beside it. Method:
 * one table of (pattern, name, address, protocol, answer) with both sides of
 * every rule; one of texts that must be refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "base/pattern.h"

static struct pattern parse(const char *text)
{
	struct pattern p;
	const char *why = "";

	if (pattern_parse(text, &p, &why) < 0)
		fail_msg("%s: %s", text, why);
	return p;
}

static const struct {
	const char *pattern;
	const char *name; /* asked; NULL: a literal */
	const char *addr;
	bool is_udp;
	bool allowed;
} dials[] = {
	/* `*` is the world without what is special. */
	{ "*:*", NULL, "8.8.8.8:53", false, true },
	{ "*:*", NULL, "10.0.0.1:1", false, true },
	{ "*:*", NULL, "100.64.0.1:1", false, true },
	{ "*:*", NULL, "[2001:db8::1]:65535", false, true },
	{ "*:*", "a.example", "8.8.8.8:53", false, true },
	{ "*:*", NULL, "8.8.8.8:53", true, false },
	{ "*:*/udp", NULL, "8.8.8.8:53", true, true },
	{ "*:*/udp", NULL, "8.8.8.8:53", false, false },
	{ "*:*", NULL, "127.0.0.1:22", false, false },
	{ "*:*", "localhost", "127.0.0.1:22", false, false },
	{ "*:*", NULL, "[::1]:22", false, false },
	{ "*:*", NULL, "[::ffff:127.0.0.1]:22", false, false },
	{ "*:*", NULL, "[2002:7f00:1::]:22", false, false },
	{ "*:*", NULL, "[64:ff9b::127.0.0.1]:22", false, false },
	{ "*:*", NULL, "[64:ff9b:1::127.0.0.1]:22", false, false },
	{ "*:*", NULL, "[::127.0.0.1]:22", false, false },
	{ "*:*", NULL, "169.254.169.254:80", false, false },
	{ "*:*", NULL, "[fd00:ec2::254]:80", false, false },
	{ "*:*", NULL, "[fe80::1]:80", false, false },
	{ "*:*", NULL, "[fec0::1]:80", false, false },
	{ "*:*", NULL, "224.0.0.1:80", false, false },
	{ "*:*", NULL, "[ff02::1]:80", false, false },
	{ "*:*", NULL, "0.0.0.0:80", false, false },
	{ "*:*", NULL, "[::]:80", false, false },
	{ "*:*", NULL, "255.255.255.255:80", false, false },
	/* Networks include the special only when they lie inside it. */
	{ "127.0.0.0/8:22", NULL, "127.0.0.1:22", false, true },
	{ "127.0.0.0/8:22", NULL, "127.255.255.255:22", false, true },
	{ "127.0.0.0/8:22", NULL, "128.0.0.0:22", false, false },
	{ "127.0.0.0/7:22", NULL, "127.0.0.1:22", false, false },
	{ "127.0.0.1:22", NULL, "127.0.0.1:22", false, true },
	{ "127.0.0.1:22", "any.example", "127.0.0.1:22", false, true },
	{ "127.0.0.1:22", NULL, "[::ffff:127.0.0.1]:22", false, true },
	{ "127.0.0.1:22", NULL, "127.0.0.2:22", false, false },
	{ "127.0.0.1:22", NULL, "[::1]:22", false, false },
	{ "0.0.0.0/0:*", NULL, "8.8.8.8:22", false, true },
	{ "0.0.0.0/0:*", NULL, "127.0.0.1:22", false, false },
	{ "0.0.0.0/0:*", NULL, "0.0.0.1:22", false, false },
	{ "0.0.0.0/0:*", NULL, "169.254.169.254:22", false, false },
	{ "0.0.0.0/0:*", NULL, "[2001:db8::1]:22", false, false },
	{ "10.0.0.0/8:*", NULL, "127.0.0.1:22", false, false },
	{ "10.0.0.0/8:*", NULL, "10.1.2.3:22", false, true },
	{ "10.0.0.0/8:*", "db.example", "10.1.2.3:22", false, true },
	{ "10.0.0.0/8:*", NULL, "[::ffff:10.1.2.3]:22", false, true },
	{ "10.0.0.0/8:*", NULL, "11.0.0.0:22", false, false },
	{ "10.9.9.9/8:*", NULL, "10.1.2.3:22", false, true },
	{ "169.254.169.254/32:80", NULL, "169.254.169.254:80", false, true },
	{ "169.254.0.0/16:80", NULL, "169.254.169.254:80", false, true },
	{ "169.254.0.0/15:80", NULL, "169.254.169.254:80", false, false },
	{ "224.0.0.0/4:80", NULL, "239.1.1.1:80", false, true },
	{ "224.0.0.0/3:80", NULL, "239.1.1.1:80", false, false },
	{ "[::1]:22", NULL, "[::1]:22", false, true },
	{ "[::1]:22", NULL, "127.0.0.1:22", false, false },
	{ "[::/0]:22", NULL, "[::1]:22", false, false },
	{ "[::/0]:22", NULL, "[2001:db8::1]:22", false, true },
	{ "[::/0]:22", NULL, "8.8.8.8:22", false, false },
	{ "[::/0]:22", NULL, "[::ffff:8.8.8.8]:22", false, false },
	{ "[::ffff:0:0/96]:22", NULL, "8.8.8.8:22", false, true },
	{ "[::ffff:0:0/96]:22", NULL, "127.0.0.1:22", false, false },
	{ "[::ffff:127.0.0.0/104]:22", NULL, "127.0.0.1:22", false, true },
	{ "[::ffff:127.0.0.0/103]:22", NULL, "127.0.0.1:22", false, false },
	{ "[64:ff9b::/96]:22", NULL, "8.8.8.8:22", false, true },
	{ "[64:ff9b::8.8.8.8]:22", NULL, "8.8.8.8:22", false, true },
	{ "[2002:808:808::]:22", NULL, "8.8.8.8:22", false, true },
	{ "[fd00::/8]:22", NULL, "[fd00::1]:22", false, true },
	{ "[fd00::/8]:22", NULL, "[fc00::1]:22", false, false },
	{ "[fd00::/8]:22", NULL, "[fd00:ec2::254]:22", false, false },
	{ "[fd00:ec2::254]:22", NULL, "[fd00:ec2::254]:22", false, true },
	{ "[fe80::/10]:22", NULL, "[fe80::1]:22", false, true },
	{ "[fe80::/10]:22", NULL, "[fec0::1]:22", false, false },
	{ "[fe80::/9]:22", NULL, "[fec0::1]:22", false, true },
	{ "[fe80::/8]:22", NULL, "[fe80::1]:22", false, false },
	/* localhost is two addresses, whatever was asked. */
	{ "localhost:22", NULL, "127.0.0.1:22", false, true },
	{ "localhost:22", "localhost", "[::1]:22", false, true },
	{ "LocalHost.:22", NULL, "[::1]:22", false, true },
	{ "localhost:22", NULL, "127.0.0.2:22", false, false },
	{ "localhost:22", "localhost", "8.8.8.8:22", false, false },
	/* Names match the name, and never lead inside. */
	{ "a.example:443", "a.example", "8.8.8.8:443", false, true },
	{ "A.Example.:443", "a.eXample.", "8.8.8.8:443", false, true },
	{ "a.example:443", "b.example", "8.8.8.8:443", false, false },
	{ "a.example:443", "a.exampl", "8.8.8.8:443", false, false },
	{ "a.example:443", "a.examplee", "8.8.8.8:443", false, false },
	{ "a.example:443", NULL, "8.8.8.8:443", false, false },
	{ "a.example:443", "a.example", "10.0.0.1:443", false, true },
	{ "a.example:443", "a.example", "127.0.0.1:443", false, false },
	{ "a.example:443", "a.example", "[::1]:443", false, false },
	{ "a.example:443", "a.example", "169.254.169.254:443", false, false },
	{ "a.example:443", "a.example", "0.0.0.0:443", false, false },
	{ "a.example:443", "a.example", "[64:ff9b::7f00:1]:443", false, false },
	{ "*.lan:*", "a.lan", "192.168.0.1:1", false, true },
	{ "*.lan:*", "a.b.LAN.", "192.168.0.1:1", false, true },
	{ "*.lan:*", "lan", "192.168.0.1:1", false, false },
	{ "*.lan:*", ".lan", "192.168.0.1:1", false, false },
	{ "*.lan:*", "alan", "192.168.0.1:1", false, false },
	{ "*.lan:*", "a.lan.example", "192.168.0.1:1", false, false },
	{ "*.lan:*", NULL, "192.168.0.1:1", false, false },
	{ "*.lan:*", "a.lan", "127.0.0.1:1", false, false },
	/* Ports. */
	{ "*:80,443,8000-8999", NULL, "8.8.8.8:79", false, false },
	{ "*:80,443,8000-8999", NULL, "8.8.8.8:80", false, true },
	{ "*:80,443,8000-8999", NULL, "8.8.8.8:81", false, false },
	{ "*:80,443,8000-8999", NULL, "8.8.8.8:443", false, true },
	{ "*:80,443,8000-8999", NULL, "8.8.8.8:7999", false, false },
	{ "*:80,443,8000-8999", NULL, "8.8.8.8:8000", false, true },
	{ "*:80,443,8000-8999", NULL, "8.8.8.8:8999", false, true },
	{ "*:80,443,8000-8999", NULL, "8.8.8.8:9000", false, false },
	{ "10.0.0.0/8:53/udp", NULL, "10.0.0.1:53", true, true },
	{ "10.0.0.0/8:53/udp", NULL, "10.0.0.1:53", false, false },
	{ "unix:/a", NULL, "8.8.8.8:1", false, false },
};

static void dials_follow_the_rules(void **state)
{
	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(dials); i++) {
		struct pattern p = parse(dials[i].pattern);
		struct addr a;

		print_message("%s: %s %s%s\n", dials[i].pattern,
		              dials[i].name ? dials[i].name : "-", dials[i].addr,
		              dials[i].is_udp ? "/udp" : "");
		assert_int_equal(addr_parse(dials[i].addr, &a), 0);
		assert_int_equal(pattern_match_dial(&p, dials[i].name, &a, dials[i].is_udp),
		                 dials[i].allowed);
	}
}

static const char *const not_patterns[] = {
	"",
	":",
	"*",
	"a.example",
	"a.example:",
	":80",
	"*:0",
	"*:65536",
	"*:080",
	"*:80,",
	"*:,80",
	"*:80,,81",
	"*:80-",
	"*:-80",
	"*:81-80",
	"*:0-5",
	"*:1-65536",
	"*:a",
	"*: 80",
	"*:80 ",
	"*:*,80",
	"*:80/tcp",
	"*:80/UDP",
	"*:/udp",
	"**:80",
	"*.:80",
	"*a.example:80",
	"a.*.example:80",
	"*.*.example:80",
	"a..b:80",
	".a:80",
	"a b:80",
	"a%b:80",
	"127.1:80",
	"0x7f.1:80",
	"2130706433:80",
	"*.1:80",
	"*.127.0.0.1:80",
	"10.0.0.0/33:80",
	"10.0.0.0/:80",
	"10.0.0.0/08:80",
	"10.0.0.0/-1:80",
	"10.0.0/8:80",
	"10.0.0.0/8/8:80",
	"a.example/8:80",
	"[fd00::/129]:80",
	"[fd00::/8:80",
	"[fd00::]/8:80",
	"fd00::/8:80",
	"::1:80",
	"[::1]",
	"[]:80",
	"[10.0.0.0/8]:80",
	"[a.example]:80",
	"[::1]x:80",
	"[2002::/16]:80",
	"[2002:a00::/24]:80",
	"[64:ff9b:1::/48]:80",
	"[::/96]:80",
	"[::7f00:0/104]:80",
	"unix:",
	"unix:a",
	"unix:*",
	"unix:/a*b",
	"unix:/a**",
	"*:1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17",
};

static void what_is_not_a_pattern_is_refused(void **state)
{
	struct pattern p = { .kind = PATTERN_NET };
	const char *why;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(not_patterns); i++) {
		print_message("'%s'\n", not_patterns[i]);
		why = NULL;
		assert_int_equal(pattern_parse(not_patterns[i], &p, &why), -EINVAL);
		assert_non_null(why);
		assert_int_equal(p.kind, PATTERN_NET); /* unchanged */
	}
	parse("*:1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16");
}

static void routes_are_hosts_alone(void **state)
{
	static const struct {
		const char *text;
		enum pattern_kind kind;
		int result;
	} rows[] = {
		{ "*", PATTERN_ANY, 0 },
		{ "*.office.example", PATTERN_SUFFIX, 0 },
		{ "a.example", PATTERN_NAME, 0 },
		{ "10.0.0.0/8", PATTERN_NET, 0 },
		{ "10.0.0.1", PATTERN_NET, 0 },
		{ "fd00::/8", PATTERN_NET, 0 },
		{ "[fd00::/8]", PATTERN_NET, 0 },
		{ "::1", PATTERN_NET, 0 },
		{ "localhost", PATTERN_LOCALHOST, 0 },
		{ "", PATTERN_ANY, -EINVAL },
		{ "a.example:80", PATTERN_ANY, -EINVAL },
		{ "[", PATTERN_ANY, -EINVAL },
		{ "[]", PATTERN_ANY, -EINVAL },
	};
	struct pattern p;
	const char *why;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		print_message("'%s'\n", rows[i].text);
		assert_int_equal(pattern_parse_host(rows[i].text, &p, &why), rows[i].result);
		if (rows[i].result < 0)
			continue;
		assert_int_equal(p.kind, rows[i].kind);
		assert_true(pattern_match_port(&p, 1, false));
		assert_true(pattern_match_port(&p, 65535, false));
	}
}

static void names_match_before_they_are_resolved(void **state)
{
	struct pattern any = parse("*:1"), net = parse("10.0.0.0/8:1"), host = parse("localhost:1");

	(void)state;
	assert_true(pattern_match_name(&any, "a.example"));
	assert_false(pattern_match_name(&net, "a.example"));
	assert_true(pattern_match_name(&host, "LOCALHOST"));
	assert_false(pattern_match_name(&host, "localhost.example"));
	assert_false(pattern_match_name(&host, ""));
}

static void unix_paths_do_not_lead_out(void **state)
{
	static const struct {
		const char *pattern;
		const char *path;
		bool allowed;
	} rows[] = {
		{ "unix:/run/a", "/run/a", true },
		{ "unix:/run/a", "/run/ab", false },
		{ "unix:/run/a", "/run/", false },
		{ "unix:/run/a", "run/a", false },
		{ "unix:/run/app/*", "/run/app/x", true },
		{ "unix:/run/app/*", "/run/app/x/y", true },
		{ "unix:/run/app/*", "/run/app/", false },
		{ "unix:/run/app/*", "/run/app", false },
		{ "unix:/run/app/*", "/run/apps/x", false },
		{ "unix:/run/app/*", "/run/app/../x", false },
		{ "unix:/run/app/*", "/run/app/x/../../y", false },
		{ "unix:/run/app/*", "/run/app/..", false },
		{ "unix:/run/app/*", "/run/app/.", false },
		{ "unix:/run/app/*", "/run/app//x", false },
		{ "unix:/run/app/*", "/run/app/x/", false },
		{ "unix:/run/app/*", "/run/app/..x", true },
		{ "unix:/run/app/*", "/run/app/.x", true },
		{ "unix:/run/app/*", "/run/app/...", true },
		{ "unix:/run/app*", "/run/app2", true },
		{ "unix:/*", "/x", true },
		{ "*:*", "/x", false },
	};
	char text[200];
	struct pattern p;
	const char *why;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		p = parse(rows[i].pattern);
		print_message("%s: %s\n", rows[i].pattern, rows[i].path);
		assert_int_equal(pattern_match_unix(&p, rows[i].path), rows[i].allowed);
	}
	/* The longest path and one more. */
	memset(text, 'a', sizeof(text));
	memcpy(text, "unix:/", 6);
	text[5 + HOST_UNIX_MAX] = 0;
	assert_int_equal(pattern_parse(text, &p, &why), 0);
	text[5 + HOST_UNIX_MAX] = 'a';
	text[5 + HOST_UNIX_MAX + 1] = 0;
	assert_int_equal(pattern_parse(text, &p, &why), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dials_follow_the_rules),
		cmocka_unit_test(what_is_not_a_pattern_is_refused),
		cmocka_unit_test(routes_are_hosts_alone),
		cmocka_unit_test(names_match_before_they_are_resolved),
		cmocka_unit_test(unix_paths_do_not_lead_out),
	};

	return cmocka_run_group_tests_name("pattern", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: the first rule that matches decides, names are not resolved to find it, and
 * a .culvert name never reaches anybody's resolver. Method: a table of targets over
 * one set of rules.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/route.h"

enum { HOME, OFFICE, LAB };

static const char *const peers[] = { "home", "office", "lab" };

static const struct {
	const char *pattern;
	uint32_t peer;
} rule_texts[] = {
	{ "special.office.example", LAB }, { "*.office.example", OFFICE }, { "10.1.0.0/16", LAB },
	{ "10.0.0.0/8", OFFICE },          { "[fd00::/8]", OFFICE },       { "localhost", LAB },
	{ "169.254.0.0/16", LAB },
};

static const struct {
	const char *target;
	uint32_t peer;
	const char *out;
} rows[] = {
	{ "www.office.example:80", OFFICE, "www.office.example:80" },
	{ "special.office.example:80", LAB, "special.office.example:80" },
	{ "office.example:80", HOME, "office.example:80" },
	{ "xoffice.example:80", HOME, "xoffice.example:80" },
	{ "WWW.Office.Example.:80", OFFICE, "www.office.example:80" },
	{ "10.1.2.3:80", LAB, "10.1.2.3:80" },
	{ "10.2.2.3:80", OFFICE, "10.2.2.3:80" },
	{ "[::ffff:10.2.2.3]:80", OFFICE, "[::ffff:10.2.2.3]:80" },
	{ "11.0.0.1:80", HOME, "11.0.0.1:80" },
	{ "[fd12::1]:80", OFFICE, "[fd12::1]:80" },
	{ "[fe80::1]:80", HOME, "[fe80::1]:80" },
	/* A route is no policy: special addresses have one too. */
	{ "169.254.169.254:80", LAB, "169.254.169.254:80" },
	{ "localhost:80", LAB, "localhost:80" },
	{ "127.0.0.1:80", LAB, "127.0.0.1:80" },
	{ "[::1]:80", LAB, "[::1]:80" },
	/* A name is not looked up, whatever it would resolve to. */
	{ "ten.example:80", HOME, "ten.example:80" },
	{ "unix:/run/x", HOME, "unix:/run/x" },
	{ "service:web", HOME, "service:web" },
	/* Services of peers. */
	{ "web.home.culvert:80", HOME, "service:web" },
	{ "web.lab.culvert:1", LAB, "service:web" },
	{ "Web.Office.Culvert.:443", OFFICE, "service:web" },
	{ "web.nobody.culvert:80", ROUTE_NO_PEER, 0 },
	{ "web.hom.culvert:80", ROUTE_NO_PEER, 0 },
	{ "web.homee.culvert:80", ROUTE_NO_PEER, 0 },
	{ "home.culvert:80", ROUTE_NO_PEER, 0 },
	{ "culvert:80", ROUTE_NO_PEER, 0 },
	{ "a.web.home.culvert:80", ROUTE_NO_PEER, 0 },
	{ "we_b.home.culvert:80", ROUTE_NO_PEER, 0 },
	{ "-web.home.culvert:80", ROUTE_NO_PEER, 0 },
	{ "web.home.culvertx:80", HOME, "web.home.culvertx:80" },
	{ "web.home.xculvert:80", HOME, "web.home.xculvert:80" },
};

static struct route_rule rules[CV_ARRAY_SIZE(rule_texts)];
static struct route_table table = {
	.rules = rules,
	.rule_count = CV_ARRAY_SIZE(rules),
	.peer_names = peers,
	.peer_count = CV_ARRAY_SIZE(peers),
	.default_peer = HOME,
};

static int set_up(void **state)
{
	const char *why;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rules); i++) {
		if (pattern_parse_host(rule_texts[i].pattern, &rules[i].to, &why) < 0)
			return -1;
		rules[i].peer = rule_texts[i].peer;
	}
	return 0;
}

static struct hostport target(const char *text)
{
	struct hostport h;
	const char *why;

	assert_int_equal(hostport_parse(text, 0, &h, &why), 0);
	return h;
}

static void each_target_has_its_peer(void **state)
{
	char text[HOSTPORT_TEXT_MAX];
	struct hostport to, out;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		print_message("%s\n", rows[i].target);
		to = target(rows[i].target);
		memset(&out, 0, sizeof(out));
		assert_int_equal(route_find(&table, &to, &out), rows[i].peer);
		if (rows[i].out)
			assert_string_equal(hostport_format(&out, text), rows[i].out);
		else
			assert_int_equal(out.kind, HOST_NONE);
	}
}

static void without_a_default_only_rules_lead_anywhere(void **state)
{
	struct route_table strict = table;
	struct hostport to, out = { 0 };

	(void)state;
	strict.default_peer = ROUTE_NO_PEER;
	to = target("www.office.example:80");
	assert_int_equal(route_find(&strict, &to, &out), OFFICE);
	out = (struct hostport){ 0 };
	to = target("a.example:80");
	assert_int_equal(route_find(&strict, &to, &out), ROUTE_NO_PEER);
	assert_int_equal(out.kind, HOST_NONE);

	assert_int_equal(pattern_parse_host("*", &rules[0].to, &(const char *){ NULL }), 0);
	assert_int_equal(route_find(&strict, &to, &out), LAB);
	to = target("127.0.0.1:80");
	assert_int_equal(route_find(&strict, &to, &out), LAB);
	assert_int_equal(set_up(state), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_target_has_its_peer),
		cmocka_unit_test(without_a_default_only_rules_lead_anywhere),
	};

	return cmocka_run_group_tests_name("route", tests, set_up, NULL);
}

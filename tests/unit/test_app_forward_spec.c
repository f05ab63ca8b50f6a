/* SPDX-License-Identifier: MIT */

/*
 * Goal: what ssh's -L accepts means the same here, and what it refuses is refused in words.
 * Method: a table; every prefix and random damage give a verdict, and a verdict of 0 gives texts
 * that the agent takes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "forward_spec.h"

static const struct row {
	const char *text, *listen, *target; /* listen NULL: refused */
} rows[] = {
	{ "2222:localhost:22", "2222", "localhost:22" },
	{ "2222:127.0.0.1:22", "2222", "127.0.0.1:22" },
	{ "0:host.example:80", "0", "host.example:80" },
	{ "localhost:2222:h:22", "2222", "h:22" },
	{ "127.0.0.1:2222:h:22", "127.0.0.1:2222", "h:22" },
	{ "*:2222:h:22", "*:2222", "h:22" },
	{ ":2222:h:22", "*:2222", "h:22" },
	{ "[::1]:2222:[fd00::1]:22", "[::1]:2222", "[fd00::1]:22" },
	{ "[::]:2222:h:22", "[::]:2222", "h:22" },
	{ "[127.0.0.1]:2222:h:22", NULL, NULL },
	{ "2222:[::1]:22", "2222", "[::1]:22" },
	{ "/run/a.sock:h:22", "unix:/run/a.sock", "h:22" },
	{ "/run/a.sock:/run/b.sock", "unix:/run/a.sock", "unix:/run/b.sock" },
	{ "2222:/run/b.sock", "2222", "unix:/run/b.sock" },
	{ "127.0.0.1:2222:/run/b.sock", "127.0.0.1:2222", "unix:/run/b.sock" },
	{ "*:2222:/run/b.sock", "*:2222", "unix:/run/b.sock" },
	{ "2222:/run/with\\:colon", "2222", "unix:/run/with:colon" },
	{ "2222:service:web", "2222", "service:web" },
	{ "2222:service:80", "2222", "service:80" },
	{ "", NULL, NULL },
	{ "2222", NULL, NULL },
	{ "2222:h", NULL, NULL },
	{ "h:22:2222", NULL, NULL },
	{ "2222:h:0", NULL, NULL },
	{ "2222:h:65536", NULL, NULL },
	{ "65536:h:22", NULL, NULL },
	{ "x:h:22", NULL, NULL },
	{ "2222::22", NULL, NULL },
	{ "host.example:2222:h:22", NULL, NULL },
	{ "::1:2222:h:22", NULL, NULL },
	{ "[::1:2222:h:22", NULL, NULL },
	{ "[::1]2222:h:22", NULL, NULL },
	{ "2222:h:22:", NULL, NULL },
	{ "1:2:3:4:5", NULL, NULL },
	{ "run/a.sock:h:22", NULL, NULL },
	{ "/run/a.sock:2222:h:22", NULL, NULL },
	{ "/run/a.sock", NULL, NULL },
	{ "2222:/run/b.sock:22", NULL, NULL },
	{ "2222:h:22\\", NULL, NULL },
	{ "2222:service:No_Name", NULL, NULL },
	{ "-1:h:22", NULL, NULL },
	{ "2222:0x7f.1:22", NULL, NULL },
};

static void the_table(void **state)
{
	struct forward_spec spec;
	char why[FORWARD_SPEC_WHY_MAX];

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		int r;

		why[0] = 0;
		r = forward_spec_parse(rows[i].text, &spec, why);
		if ((r == 0) != (rows[i].listen != NULL))
			print_message("'%s': %d %s\n", rows[i].text, r, why);
		assert_int_equal(r == 0, rows[i].listen != NULL);
		if (r < 0) {
			assert_true(why[0] != 0);
			continue;
		}
		assert_string_equal(spec.listen, rows[i].listen);
		assert_string_equal(spec.target, rows[i].target);
	}
}

static void the_place_alone(void **state)
{
	static const char *const table[][2] = {
		{ "2222", "2222" },
		{ "localhost:2222", "2222" },
		{ "127.0.0.1:2222", "127.0.0.1:2222" },
		{ "[::1]:2222", "[::1]:2222" },
		{ "*:2222", "*:2222" },
		{ ":2222", "*:2222" },
		{ "/run/a.sock", "unix:/run/a.sock" },
		{ "h:2222", NULL },
		{ "2222:h:22", NULL },
		{ "/run/a.sock:22", NULL },
		{ "", NULL },
	};
	char listen[HOSTPORT_TEXT_MAX], why[FORWARD_SPEC_WHY_MAX];

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(table); i++) {
		int r = forward_spec_parse_listen(table[i][0], listen, why);

		assert_int_equal(r == 0, table[i][1] != NULL);
		if (r == 0)
			assert_string_equal(listen, table[i][1]);
	}
}

static void long_ones_are_refused(void **state)
{
	char text[2048], why[FORWARD_SPEC_WHY_MAX];
	struct forward_spec spec;

	(void)state;
	for (size_t size = 90; size < 1200; size++) {
		(void)snprintf(text, sizeof(text), "2222:/%0*d", (int)size, 1);
		/* "/" and @size digits: 107 bytes are the most. */
		assert_int_equal(forward_spec_parse(text, &spec, why) == 0, size <= 106);
		(void)snprintf(text, sizeof(text), "2222:%0*d:22", (int)size, 1);
		assert_int_equal(forward_spec_parse(text, &spec, why) == 0, size < 4);
	}
}

static void whatever_is_typed_has_a_verdict(void **state)
{
	static const char letters[] = "0123:[]*/\\ah.-\x80 ";
	struct rng_seeded seeded;
	struct rng rng;

	(void)state;
	rng_seeded_init(&seeded, 1);
	rng = rng_from_seeded(&seeded);
	for (unsigned i = 0; i < 200000; i++) {
		char text[24] = { 0 }, why[FORWARD_SPEC_WHY_MAX];
		struct forward_spec spec;
		struct hostport h;
		const char *cause;

		for (size_t k = rng_below(&rng, sizeof(text)); k-- > 0;)
			text[k] = letters[rng_below(&rng, sizeof(letters) - 1)];
		if (forward_spec_parse(text, &spec, why) < 0)
			continue;
		assert_int_equal(hostport_parse(spec.target, 0, &h, &cause), 0);
		assert_int_equal(
			hostport_parse(spec.listen + 2 * (spec.listen[0] == '*'), 0, &h, &cause),
			0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table),
		cmocka_unit_test(the_place_alone),
		cmocka_unit_test(long_ones_are_refused),
		cmocka_unit_test(whatever_is_typed_has_a_verdict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

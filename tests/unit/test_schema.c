/* SPDX-License-Identifier: MIT */

/*
 * Goal: what the schema says reaches the manual and the full example, and slips
 * of the finger are recognised. Method: the tables themselves, walked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/schema.h"

/* Every key of @table that this version does must stand in the full example. */
static void assert_in_example(const struct schema_table *table, const char *text)
{
	char word[80];

	for (size_t i = 0; i < table->key_count; i++) {
		if (table->keys[i].flags & SCHEMA_NOT_YET ||
		    strcmp(table->keys[i].name, "psk") == 0)
			continue;
		(void)snprintf(word, sizeof(word), "%s:", table->keys[i].name);
		print_message("%s\n", word);
		assert_non_null(strstr(text, word));
		if (table->keys[i].table)
			assert_in_example(table->keys[i].table, text);
	}
}

static void the_full_example_has_every_key(void **state)
{
	static char text[16384];
	FILE *file = fopen(TEST_SOURCE_DIR "/../contrib/examples/full.yaml", "r");

	(void)state;
	assert_non_null(file);
	assert_true(fread(text, 1, sizeof(text) - 1, file) > 0);
	assert_int_equal(fclose(file), 0);
	assert_in_example(&schema_root, text);
}

static void the_manual_lists_every_key(void **state)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	assert_non_null(out);
	schema_write_manual(out);
	assert_int_equal(fclose(out), 0);
	assert_non_null(strstr(text, "\nproxies[].routes[].to\n"));
	assert_non_null(strstr(text, "\npeers.NAME.allow[]\n"));
	assert_non_null(strstr(text, "\nserver.relay.rate\n\tmost for one agent, each way.\n"
	                             "\tType: a rate with its unit, such as 50Mbit.\n"
	                             "\tDefault: 50Mbit.\n"));
	assert_non_null(strstr(text, "\tOne of: cubic, bbr.\n\tDefault: bbr.\n"));
	assert_non_null(strstr(text, "required (not supported yet)"));
	free(text);
}

static void slips_are_recognised(void **state)
{
	static const struct {
		const char *typed;
		const char *meant; /* NULL: nothing is like it */
	} rows[] = {
		{ "forwrads", "forwards" }, /* a swap */
		{ "forward", "forwards" },  /* a letter missing */
		{ "peeers", "peers" },      /* one too many */
		{ "lugs", NULL },           /* two of four letters are another word */
		{ "sevrer", "server" },
		{ "servrs", "servers" },
		{ "remoteforwards", "remote_forwards" },
		{ "controll", "control" },
		{ "pears", "peers" },
		{ "", NULL },
		{ "x", NULL },
		{ "completely_different", NULL },
		{ "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		  NULL },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		const char *like = schema_suggest(&schema_root, rows[i].typed);

		print_message("%s\n", rows[i].typed);
		if (rows[i].meant)
			assert_string_equal(like, rows[i].meant);
		else
			assert_null(like);
	}
}

static void names_in_one_table_differ(void **state)
{
	(void)state;
	for (size_t i = 0; i < schema_root.key_count; i++) {
		const struct schema_key *key = &schema_root.keys[i];

		assert_ptr_equal(schema_find(&schema_root, key->name), key);
		assert_non_null(key->help);
	}
	assert_null(schema_find(&schema_root, "none"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_full_example_has_every_key),
		cmocka_unit_test(the_manual_lists_every_key),
		cmocka_unit_test(slips_are_recognised),
		cmocka_unit_test(names_in_one_table_differ),
	};

	return cmocka_run_group_tests_name("schema", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: one key, one text. Method: the vectors of RFC 4648's alphabet by an
 * independent table; every single change of a valid text is another key or
 * none; lengths at their limit.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "base/base64.h"
#include "base/rng.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void known_keys(void **state)
{
	static const struct {
		uint8_t first, rest;
		const char *text;
	} rows[] = {
		{ 0x00, 0x00, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" },
		{ 0xff, 0xff, "//////////////////////////////////////////8=" },
		{ 0xfb, 0xef, "++/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+/v7+8=" },
	};
	char text[KEY_TEXT_SIZE + 1];
	uint8_t key[KEY_SIZE], back[KEY_SIZE];

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		memset(key, rows[i].rest, sizeof(key));
		key[0] = rows[i].first;
		base64_key_write(text, key);
		assert_string_equal(text, rows[i].text);
		assert_int_equal(base64_key_read(text, KEY_TEXT_SIZE, back), 0);
		assert_memory_equal(back, key, KEY_SIZE);
	}
}

/* Digit @i of the text of @key, bit by bit: slow, and nothing in common with the module. */
static char digit_slowly(const uint8_t *key, unsigned i)
{
	unsigned v = 0;

	for (unsigned bit = 6 * i; bit < 6 * i + 6; bit++)
		v = v << 1 | (bit < 256 ? (unsigned)key[bit / 8] >> (7 - bit % 8) & 1 : 0);
	return alphabet[v];
}

static void random_keys_round_trip(void **state)
{
	struct rng_seeded seeded;
	struct rng rng = rng_from_seeded(&seeded);
	char text[KEY_TEXT_SIZE + 1];
	uint8_t key[KEY_SIZE], back[KEY_SIZE];

	(void)state;
	rng_seeded_init(&seeded, 1);
	for (unsigned round = 0; round < 2000; round++) {
		rng_fill(&rng, key, sizeof(key));
		base64_key_write(text, key);
		for (unsigned i = 0; i < KEY_TEXT_SIZE - 1; i++)
			assert_int_equal(text[i], digit_slowly(key, i));
		assert_int_equal(text[KEY_TEXT_SIZE - 1], '=');
		assert_int_equal(base64_key_read(text, KEY_TEXT_SIZE, back), 0);
		assert_memory_equal(back, key, KEY_SIZE);
	}
}

/* Whether @text is read; if so it must be the text of its key, else the key untouched. */
static bool is_read(const char *text)
{
	char again[KEY_TEXT_SIZE + 1];
	uint8_t key[KEY_SIZE], untouched[KEY_SIZE];

	memset(key, 0xee, sizeof(key));
	memset(untouched, 0xee, sizeof(untouched));
	if (base64_key_read(text, KEY_TEXT_SIZE, key) < 0) {
		assert_memory_equal(key, untouched, KEY_SIZE);
		return false;
	}
	base64_key_write(again, key);
	assert_string_equal(again, text);
	return true;
}

/* Every byte at every place. */
static void only_canonical_text_is_read(void **state)
{
	char text[KEY_TEXT_SIZE + 1];
	uint8_t key[KEY_SIZE];

	(void)state;
	memset(key, 0x5a, sizeof(key));
	for (unsigned at = 0; at < KEY_TEXT_SIZE; at++) {
		unsigned accepted = 0;

		base64_key_write(text, key);
		for (unsigned c = 0; c < 256; c++) {
			text[at] = (char)c;
			accepted += is_read(text);
		}
		/* The last digit carries four bits, the sign of padding none. */
		assert_int_equal(accepted, at < 42 ? 64 : at == 42 ? 16 : 1);
	}
}

static void other_lengths_are_refused(void **state)
{
	char text[KEY_TEXT_SIZE + 2] = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==";
	uint8_t key[KEY_SIZE];

	(void)state;
	for (size_t size = 0; size <= KEY_TEXT_SIZE + 1; size++) {
		assert_int_equal(base64_key_read(text, size, key),
		                 size == KEY_TEXT_SIZE ? 0 : -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_keys),
		cmocka_unit_test(random_keys_round_trip),
		cmocka_unit_test(only_canonical_text_is_read),
		cmocka_unit_test(other_lengths_are_refused),
	};

	return cmocka_run_group_tests_name("base64", tests, NULL, NULL);
}

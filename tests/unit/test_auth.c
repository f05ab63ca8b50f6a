/* SPDX-License-Identifier: MIT */

/*
 * Goal: exactly the users of a listener are let in, by either way of saying name and password, and
 * nothing that only resembles one of them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/auth.h"

#define BYTES(text) (const uint8_t *)(text), sizeof(text) - 1

static const struct auth_user users[] = {
	{ "alice", "secret" },
	{ "bob", "a:b" },
	{ "carol", "" }, /* refused at load; must not be a way in here either */
	{ "dave", "\xc3\xa4" },
};

static const struct {
	const char *what;
	const uint8_t *value;
	size_t size;
	const char *name; /* NULL: nobody */
} rows[] = {
	{ "right", BYTES("Basic YWxpY2U6c2VjcmV0"), "alice" },
	{ "capitals of the scheme do not matter", BYTES("bAsIC YWxpY2U6c2VjcmV0"), "alice" },
	{ "a colon in the password", BYTES("Basic Ym9iOmE6Yg=="), "bob" },
	{ "UTF-8", BYTES("Basic ZGF2ZTrDpA=="), "dave" },
	{ "wrong password", BYTES("Basic YWxpY2U6c2VjcmV0cw=="), NULL },
	{ "empty password", BYTES("Basic Y2Fyb2w6"), NULL },
	{ "empty name", BYTES("Basic OnNlY3JldA=="), NULL },
	{ "no colon", BYTES("Basic YWxpY2U="), NULL },
	{ "a NUL behind", BYTES("Basic YWxpY2U6c2VjcmV0AA=="), NULL },
	{ "nothing", BYTES(""), NULL },
	{ "no credentials", BYTES("Basic "), NULL },
	{ "no space", BYTES("BasicYWxpY2U6c2VjcmV0"), NULL },
	{ "two spaces", BYTES("Basic  YWxpY2U6c2VjcmV0"), NULL },
	{ "another scheme", BYTES("Bearer YWxpY2U6c2VjcmV0"), NULL },
	{ "no base64", BYTES("Basic YWxpY2U6c2VjcmV_"), NULL },
	{ "cut off", BYTES("Basic YWxpY2U6c2VjcmV"), NULL },
	{ "padding is missing", BYTES("Basic Ym9iOmE6Yg"), NULL },
	{ "padding in the middle", BYTES("Basic Ym9=OmE6Yg=="), NULL },
	{ "unused bits", BYTES("Basic Ym9iOmE6Yh=="), NULL },
	{ "three of padding", BYTES("Basic Y==="), NULL },
	{ "padding alone", BYTES("Basic ===="), NULL },
};

static void credentials(void **state)
{
	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		const struct auth_user *user;

		print_message("%s\n", rows[i].what);
		user = auth_find_basic(users, CV_ARRAY_SIZE(users), rows[i].value, rows[i].size);
		if (rows[i].name) {
			assert_non_null(user);
			assert_string_equal(user->name, rows[i].name);
		} else {
			assert_null(user);
		}
		assert_null(auth_find_basic(NULL, 0, rows[i].value, rows[i].size));
	}
}

/* 255:255 bytes fit, and nothing longer is looked at. */
static void the_longest(void **state)
{
	char word[AUTH_WORD_MAX + 1], value[6 + 684 + 4] = "Basic ";
	struct auth_user user = { word, word };

	(void)state;
	memset(word, 'A', AUTH_WORD_MAX);
	word[AUTH_WORD_MAX] = 0;
	/* "AAA" is "QUFB"; the colon is byte 255, the first of a group: ":AA" is "OkFB". */
	for (size_t at = 6; at < 6 + 684; at += 4)
		memcpy(value + at, "QUFB", 4);
	memcpy(value + 6 + 340, "OkFB", 4);
	memcpy(value + 6 + 680, "QQ==", 4);
	/* 340 + 340 + 4 characters: 255 A, a colon, 254 A, and one more. */
	assert_null(auth_find_basic(&user, 1, (const uint8_t *)value, 6 + 680));
	assert_non_null(
		auth_find(&user, 1, (const uint8_t *)word, 255, (const uint8_t *)word, 255));
	assert_null(auth_find(&user, 1, (const uint8_t *)word, 254, (const uint8_t *)word, 255));
	memcpy(value + 6 + 680, "QUE=", 4);
	assert_null(auth_find_basic(&user, 1, (const uint8_t *)value, 6 + 684));
	memcpy(value + 6 + 680, "QQ==", 4);
	assert_non_null(auth_find_basic(&user, 1, (const uint8_t *)value, 6 + 684));
	memcpy(value + 6 + 684, "QQ==", 4);
	assert_null(auth_find_basic(&user, 1, (const uint8_t *)value, 6 + 688));
}

static void what_is_wiped_is_gone(void **state)
{
	uint8_t bytes[5] = { 1, 2, 3, 4, 5 };

	(void)state;
	auth_wipe(bytes + 1, 3);
	assert_memory_equal(bytes, "\1\0\0\0\5", 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(credentials),
		cmocka_unit_test(the_longest),
		cmocka_unit_test(what_is_wiped_is_gone),
	};

	return cmocka_run_group_tests_name("auth", tests, NULL, NULL);
}

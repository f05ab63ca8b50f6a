/* SPDX-License-Identifier: MIT */
#include "proxy/auth.h"

#include <stdbool.h>
#include <string.h>

enum {
	BASIC_MAX = 2 * AUTH_WORD_MAX + 1, /* NAME:PASSWORD */
	BASE64_MAX = (BASIC_MAX + 2) / 3 * 4,
};

void auth_wipe(void *bytes, size_t size)
{
	volatile uint8_t *p = bytes;

	for (size_t i = 0; i < size; i++)
		p[i] = 0;
}

/*
 * True when @size bytes equal the string, in a time that depends on @size alone,
 * which the client knows: past its end the string is read at its NUL again and
 * again. No NUL of the client's equals that one.
 */
static bool equal_slowly(const char *secret, const uint8_t *bytes, size_t size)
{
	volatile unsigned difference = 0;
	size_t at = 0;

	for (size_t i = 0; i < size; i++) {
		difference |= (unsigned)((uint8_t)secret[at] ^ bytes[i]);
		difference |= bytes[i] == 0;
		at += secret[at] != 0;
	}
	difference |= (uint8_t)secret[at];
	return difference == 0;
}

const struct auth_user *auth_find(const struct auth_user *users, size_t user_count,
                                  const uint8_t *name, size_t name_size, const uint8_t *password,
                                  size_t password_size)
{
	const struct auth_user *found = NULL;
	bool is_name, is_password;

	/* No early end: the time must not tell which names exist. */
	for (size_t i = 0; i < user_count; i++) {
		is_name = equal_slowly(users[i].name, name, name_size);
		is_password = equal_slowly(users[i].password, password, password_size);
		if (is_name && is_password)
			found = &users[i];
	}
	/* An empty password is refused when the configuration is read; a second lock costs a line.
	 */
	return name_size > 0 && password_size > 0 ? found : NULL;
}

/* 0..63, or 64 for what is no digit of RFC 4648, 4. */
static unsigned digit(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - (unsigned)'A';
	if (c >= 'a' && c <= 'z')
		return c - (unsigned)'a' + 26;
	if (c >= '0' && c <= '9')
		return c - (unsigned)'0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : 64;
}

/* Whole groups of four, padded as RFC 4648 says; unused bits are zero. False: none of it. */
static bool decode(const uint8_t *text, size_t size, uint8_t out[BASIC_MAX + 2], size_t *out_size)
{
	size_t at = 0, padding = 0;
	uint32_t group;
	unsigned d;

	if (size == 0 || size % 4 != 0 || size > BASE64_MAX)
		return false;
	while (padding < 2 && text[size - 1 - padding] == '=')
		padding++;
	for (size_t i = 0; i < size; i += 4) {
		group = 0;
		for (size_t k = 0; k < 4; k++) {
			d = i + k < size - padding ? digit(text[i + k]) : 0;
			if (d > 63)
				return false;
			group = group << 6 | d;
		}
		out[at++] = (uint8_t)(group >> 16);
		out[at++] = (uint8_t)(group >> 8);
		out[at++] = (uint8_t)group;
	}
	for (size_t i = 0; i < padding; i++) {
		if (out[--at] != 0)
			return false;
	}
	*out_size = at;
	return true;
}

static bool is_basic(const uint8_t *value, size_t size)
{
	static const char scheme[] = "basic ";

	if (size < sizeof(scheme) - 1)
		return false;
	for (size_t i = 0; i < sizeof(scheme) - 1; i++) {
		uint8_t c = value[i];

		if (c >= 'A' && c <= 'Z')
			c = (uint8_t)(c - 'A' + 'a');
		if (c != (uint8_t)scheme[i])
			return false;
	}
	return true;
}

const struct auth_user *auth_find_basic(const struct auth_user *users, size_t user_count,
                                        const uint8_t *value, size_t size)
{
	uint8_t plain[BASIC_MAX + 2];
	const struct auth_user *found = NULL;
	const uint8_t *colon;
	size_t plain_size, name_size;

	_Static_assert(BASE64_MAX / 4 * 3 <= sizeof(plain), "the last group is written whole");
	if (!is_basic(value, size))
		return NULL;
	if (decode(value + 6, size - 6, plain, &plain_size)) {
		/* RFC 7617, 2: the first colon; a password may have more. */
		colon = memchr(plain, ':', plain_size);
		if (colon) {
			name_size = (size_t)(colon - plain);
			found = auth_find(users, user_count, plain, name_size, colon + 1,
			                  plain_size - name_size - 1);
		}
	}
	auth_wipe(plain, sizeof(plain));
	return found;
}

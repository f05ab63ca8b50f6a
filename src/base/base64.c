/* SPDX-License-Identifier: MIT */
#include "base/base64.h"

#include <errno.h>

/*
 * The alphabet is five runs of characters. Instead of looking a character up in
 * a table, which would leave the address of a secret in the cache, each run is
 * tested with arithmetic and contributes its part of the answer under a mask.
 */

/* All ones when @lo <= @v <= @hi, else 0; every argument is far below 2^31. */
static uint32_t mask_between(uint32_t v, uint32_t lo, uint32_t hi)
{
	return ((v - lo) >> 31 | (hi - v) >> 31) - 1;
}

static char encode(uint32_t v)
{
	uint32_t c = (mask_between(v, 0, 25) & (v + 'A')) |
	             (mask_between(v, 26, 51) & (v - 26 + 'a')) |
	             (mask_between(v, 52, 61) & (v - 52 + '0')) | (mask_between(v, 62, 62) & '+') |
	             (mask_between(v, 63, 63) & '/');

	return (char)c;
}

/* The value of a character; UINT32_MAX when it is none of the alphabet. */
static uint32_t decode(char ch)
{
	uint32_t c = (uint8_t)ch;
	uint32_t upper = mask_between(c, 'A', 'Z');
	uint32_t lower = mask_between(c, 'a', 'z');
	uint32_t digit = mask_between(c, '0', '9');
	uint32_t plus = mask_between(c, '+', '+');
	uint32_t slash = mask_between(c, '/', '/');

	return (upper & (c - 'A')) | (lower & (c - 'a' + 26)) | (digit & (c - '0' + 52)) |
	       (plus & 62) | (slash & 63) | ~(upper | lower | digit | plus | slash);
}

void base64_key_write(char out[KEY_TEXT_SIZE + 1], const uint8_t key[KEY_SIZE])
{
	uint32_t group;
	unsigned i;

	/* Ten groups of three bytes, then two bytes and one sign of padding. */
	for (i = 0; i + 3 <= KEY_SIZE; i += 3) {
		group = (uint32_t)key[i] << 16 | (uint32_t)key[i + 1] << 8 | key[i + 2];
		*out++ = encode(group >> 18);
		*out++ = encode(group >> 12 & 63);
		*out++ = encode(group >> 6 & 63);
		*out++ = encode(group & 63);
	}
	_Static_assert(KEY_SIZE % 3 == 2, "the tail below has two bytes");
	group = (uint32_t)key[i] << 8 | key[i + 1];
	*out++ = encode(group >> 10);
	*out++ = encode(group >> 4 & 63);
	*out++ = encode(group << 2 & 63);
	*out++ = '=';
	*out = 0;
}

int base64_key_read(const char *text, size_t size, uint8_t out[KEY_SIZE])
{
	enum { DIGITS = KEY_TEXT_SIZE - 1 };
	uint32_t bad = 0, pending = 0;
	unsigned bits = 0;

	if (size != KEY_TEXT_SIZE || text[DIGITS] != '=')
		return -EINVAL;
	/* Looked at as a whole first, so that @out is written only on success and no copy of
	 * a secret lies about. Only the verdict is branched upon. */
	for (unsigned i = 0; i < DIGITS; i++)
		bad |= decode(text[i]) >> 6;
	/* 43 digits carry 258 bits, 2 more than a key: one key, one text. */
	bad |= decode(text[DIGITS - 1]) & 3;
	if (bad)
		return -EINVAL;

	for (unsigned i = 0; i < DIGITS; i++) {
		pending = pending << 6 | decode(text[i]);
		bits += 6;
		if (bits >= 8) { /* depends on the position alone */
			bits -= 8;
			*out++ = (uint8_t)(pending >> bits);
		}
	}
	CV_ASSERT(bits == 2);
	return 0;
}

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * rd - bounds-checked big-endian reader over borrowed bytes.
 *
 * The first read past the end sets `bad`; every later read is then a no-op that
 * yields zero. A parser therefore reads a whole fixed part straight through and
 * checks once. Copy the struct to look ahead: assign it back to consume.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"

struct rd {
	const uint8_t *pos; /* borrowed; valid as long as the caller's buffer */
	const uint8_t *end;
	bool bad;
};

static inline struct rd rd_init(const uint8_t *bytes, size_t size)
{
	CV_ASSERT(bytes); /* even for size 0: NULL + 0 is undefined in C17 */
	return (struct rd){ .pos = bytes, .end = bytes + size };
}

static inline size_t rd_left(const struct rd *r)
{
	return (size_t)(r->end - r->pos);
}

/* Returns `size` bytes in place, or NULL (and marks `r` bad) when fewer remain. */
static inline const uint8_t *rd_take(struct rd *r, size_t size)
{
	const uint8_t *at = r->pos;

	if (r->bad || rd_left(r) < size) {
		r->bad = true;
		return NULL;
	}
	r->pos += size;
	return at;
}

static inline uint8_t rd_u8(struct rd *r)
{
	const uint8_t *p = rd_take(r, 1);

	return p ? p[0] : 0;
}

/* Big-endian loads: one instruction and a byte swap on every compiler we use. */
static inline uint16_t cv_load16(const uint8_t *p)
{
	return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

static inline uint32_t cv_load32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t cv_load48(const uint8_t *p)
{
	return (uint64_t)cv_load16(p) << 32 | cv_load32(p + 2);
}

static inline uint64_t cv_load64(const uint8_t *p)
{
	return (uint64_t)cv_load32(p) << 32 | cv_load32(p + 4);
}

static inline uint16_t rd_u16(struct rd *r)
{
	const uint8_t *p = rd_take(r, 2);

	return p ? cv_load16(p) : 0;
}

static inline uint32_t rd_u32(struct rd *r)
{
	const uint8_t *p = rd_take(r, 4);

	return p ? cv_load32(p) : 0;
}

static inline uint64_t rd_u48(struct rd *r)
{
	const uint8_t *p = rd_take(r, 6);

	return p ? cv_load48(p) : 0;
}

static inline uint64_t rd_u64(struct rd *r)
{
	const uint8_t *p = rd_take(r, 8);

	return p ? cv_load64(p) : 0;
}

/* Copies @size bytes out; zeroes @out when fewer remain. */
static inline void rd_copy(struct rd *r, uint8_t *out, size_t size)
{
	const uint8_t *p = rd_take(r, size);

	if (p)
		memcpy(out, p, size);
	else
		memset(out, 0, size);
}

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * wr - bounds-checked big-endian writer into borrowed memory.
 *
 * The first write past the end sets `bad`; every later write is then a no-op.
 * Copy the struct before an attempt and assign it back to undo it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/compiler.h"

struct wr {
	uint8_t *start; /* borrowed */
	uint8_t *pos;
	uint8_t *end;
	bool bad;
};

static inline struct wr wr_init(uint8_t *bytes, size_t cap)
{
	CV_ASSERT(bytes);
	return (struct wr){ .start = bytes, .pos = bytes, .end = bytes + cap };
}

static inline size_t wr_size(const struct wr *w)
{
	return (size_t)(w->pos - w->start);
}

static inline size_t wr_left(const struct wr *w)
{
	return w->bad ? 0 : (size_t)(w->end - w->pos);
}

/* Reserves `size` bytes in place, or NULL (and marks `w` bad) when they do not fit. */
static inline uint8_t *wr_take(struct wr *w, size_t size)
{
	uint8_t *at = w->pos;

	if (w->bad || wr_left(w) < size) {
		w->bad = true;
		return NULL;
	}
	w->pos += size;
	return at;
}

static inline void cv_store16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static inline void cv_store32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

static inline void cv_store48(uint8_t *p, uint64_t v)
{
	cv_store16(p, (uint16_t)(v >> 32));
	cv_store32(p + 2, (uint32_t)v);
}

static inline void cv_store64(uint8_t *p, uint64_t v)
{
	cv_store32(p, (uint32_t)(v >> 32));
	cv_store32(p + 4, (uint32_t)v);
}

static inline void wr_u8(struct wr *w, uint8_t v)
{
	uint8_t *p = wr_take(w, 1);

	if (p)
		p[0] = v;
}

static inline void wr_u16(struct wr *w, uint16_t v)
{
	uint8_t *p = wr_take(w, 2);

	if (p)
		cv_store16(p, v);
}

static inline void wr_u32(struct wr *w, uint32_t v)
{
	uint8_t *p = wr_take(w, 4);

	if (p)
		cv_store32(p, v);
}

/* @v must fit in 48 bits. */
static inline void wr_u48(struct wr *w, uint64_t v)
{
	uint8_t *p = wr_take(w, 6);

	CV_ASSERT(v >> 48 == 0);
	if (p)
		cv_store48(p, v);
}

static inline void wr_u64(struct wr *w, uint64_t v)
{
	uint8_t *p = wr_take(w, 8);

	if (p)
		cv_store64(p, v);
}

static inline void wr_copy(struct wr *w, const void *bytes, size_t size)
{
	uint8_t *p = wr_take(w, size);

	if (p && size)
		memcpy(p, bytes, size);
}

static inline void wr_zero(struct wr *w, size_t size)
{
	uint8_t *p = wr_take(w, size);

	if (p && size)
		memset(p, 0, size);
}

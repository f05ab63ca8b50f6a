/* SPDX-License-Identifier: MIT */
#include "net/entropy.h"

#include <string.h>

#include <sodium.h>

#include "base/compiler.h"

void entropy_init(struct entropy *e)
{
	e->left = 0;
}

void entropy_deinit(struct entropy *e)
{
	sodium_memzero(e, sizeof(*e));
}

static void fill(void *ctx, uint8_t *out, size_t size)
{
	struct entropy *e = ctx;
	uint8_t *at;

	CV_ASSERT(e->left <= sizeof(e->bytes));
	/* What would empty half of the buffer is not worth a copy. */
	if (size > sizeof(e->bytes) / 2) {
		randombytes_buf(out, size);
		return;
	}
	if (e->left < size) {
		randombytes_buf(e->bytes, sizeof(e->bytes));
		e->left = sizeof(e->bytes);
	}
	at = e->bytes + (sizeof(e->bytes) - e->left);
	memcpy(out, at, size);
	/* A secret drawn an hour ago must not lie here still when memory is read one day. */
	sodium_memzero(at, size);
	e->left -= size;
}

struct rng entropy_rng(struct entropy *e)
{
	return (struct rng){ .fill = fill, .ctx = e };
}

uint64_t entropy_u64(void)
{
	uint64_t v;

	randombytes_buf(&v, sizeof(v));
	return v;
}

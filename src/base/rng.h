/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * rng - randomness as an argument. The shell passes the kernel's; a simulation
 * passes a seeded generator, so that a seed replays a run bit for bit.
 */

#include <stddef.h>
#include <stdint.h>

struct rng {
	void (*fill)(void *ctx, uint8_t *out, size_t size);
	void *ctx; /* borrowed; outlives every user of the rng */
};

static inline void rng_fill(const struct rng *r, void *out, size_t size)
{
	r->fill(r->ctx, out, size);
}

static inline uint64_t rng_u64(const struct rng *r)
{
	uint64_t v;

	rng_fill(r, &v, sizeof(v));
	return v;
}

static inline uint32_t rng_u32(const struct rng *r)
{
	return (uint32_t)rng_u64(r);
}

/* Uniform in [0, bound); 0 for bound 0. The bias is below 2^-32 for small bounds. */
static inline uint64_t rng_below(const struct rng *r, uint64_t bound)
{
	return bound ? rng_u64(r) % bound : 0;
}

/* xoshiro256**: for simulations and tests, never for keys of real sessions. */
struct rng_seeded {
	uint64_t s[4];
};

void rng_seeded_init(struct rng_seeded *s, uint64_t seed);
struct rng rng_from_seeded(struct rng_seeded *s);

#pragma once
/* SPDX-License-Identifier: MIT */

/*
 * lab_base - what every file of labnet needs: the assertion, the clock's unit,
 * a seeded generator and big-endian access.
 *
 * labnet is test equipment. It shares no code with the program under test, so
 * that a mistake in one cannot hide the same mistake in the other.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* Never compiled out: a lab that lies is worse than one that stops. */
#define LAB_ASSERT(cond) ((cond) ? (void)0 : abort())

#define LAB_NODISCARD __attribute__((warn_unused_result))
#define LAB_TIME_NEVER UINT64_MAX
#define LAB_SECOND UINT64_C(1000000000) /* all instants and durations are nanoseconds */

enum {
	LAB_PPM = 1000000,
};

/* splitmix64: any seed is good, also 0 and neighbours. */
struct lab_rng {
	uint64_t state;
};

static inline uint64_t lab_rng_next(struct lab_rng *rng)
{
	uint64_t z = rng->state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Uniform in [0, limit); the bias for limits far under 2^64 does not matter here. */
static inline uint64_t lab_rng_below(struct lab_rng *rng, uint64_t limit)
{
	return limit ? lab_rng_next(rng) % limit : 0;
}

/* Draws nothing for 0, so that switching one fault off does not move the others. */
static inline bool lab_rng_chance(struct lab_rng *rng, uint64_t ppm)
{
	return ppm && lab_rng_below(rng, LAB_PPM) < ppm;
}

static inline uint16_t lab_get16(const uint8_t *p)
{
	return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

static inline uint32_t lab_get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t lab_get64(const uint8_t *p)
{
	return (uint64_t)lab_get32(p) << 32 | lab_get32(p + 4);
}

static inline void lab_put16(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static inline void lab_put32(uint8_t *p, uint32_t value)
{
	lab_put16(p, value >> 16);
	lab_put16(p + 2, value);
}

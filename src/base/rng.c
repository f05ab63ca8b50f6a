/* SPDX-License-Identifier: MIT */
#include "base/rng.h"

static uint64_t rotate_left(uint64_t v, unsigned bits)
{
	return v << bits | v >> (64 - bits);
}

/* splitmix64, the seeder that the authors of xoshiro recommend: never yields the all-zero state. */
static uint64_t splitmix(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

void rng_seeded_init(struct rng_seeded *s, uint64_t seed)
{
	for (unsigned i = 0; i < 4; i++)
		s->s[i] = splitmix(&seed);
}

/* xoshiro256**, Blackman and Vigna, https://prng.di.unimi.it/ */
static uint64_t next(struct rng_seeded *s)
{
	uint64_t result = rotate_left(s->s[1] * 5, 7) * 9;
	uint64_t t = s->s[1] << 17;

	s->s[2] ^= s->s[0];
	s->s[3] ^= s->s[1];
	s->s[1] ^= s->s[2];
	s->s[0] ^= s->s[3];
	s->s[2] ^= t;
	s->s[3] = rotate_left(s->s[3], 45);
	return result;
}

/* Each call starts a fresh word, so that a run does not depend on how requests are cut: it
 * depends on their number and sizes alone. Little-endian on every machine. */
static void fill(void *ctx, uint8_t *out, size_t size)
{
	struct rng_seeded *s = ctx;
	uint64_t word = 0;

	for (size_t i = 0; i < size; i++) {
		if (i % 8 == 0)
			word = next(s);
		out[i] = (uint8_t)word;
		word >>= 8;
	}
}

struct rng rng_from_seeded(struct rng_seeded *s)
{
	return (struct rng){ .fill = fill, .ctx = s };
}

/* SPDX-License-Identifier: MIT */
#include "tunnel/loss_floor.h"

/*
 * Sampled at random, n packets of which a share p is lost have a share of p +- sqrt(p(1-p)/n).
 * A flight of 400 packets at 5 % shows 4 to 6 % most of the time, one of 40 shows 2 to 8 %: a
 * threshold of two percent above the floor would be crossed by chance in every second flight. So
 * what is allowed grows with the deviation, and what is believed needs enough packets.
 *
 * Where several flows fill a buffer, one that slows down by a tenth changes nothing: each would
 * learn the losses that all of them make, send so much more to make up for them, and lose more.
 * Hence only what is lost without a queue counts, and what was learnt fades where there is always
 * one.
 */

enum {
	SCALE = 16, /* counts are in sixteenths of a packet: halving keeps its remainder */
	ALL_MIN = 200 * SCALE,
	DOWN_MIN = 16 * SCALE,
	START_MIN = 100, /* packets of a round */
	MILLION = 1000000,
	CALM_PART = 4, /* of the packets in phases that say nothing */
};

static uint64_t square_root(uint64_t v)
{
	uint64_t r = 0;

	for (uint64_t bit = UINT64_C(1) << 31; bit > 0; bit >>= 1) {
		uint64_t t = r | bit;

		if (t * t <= v)
			r = t;
	}
	return r;
}

void loss_floor_init(struct loss_floor *f)
{
	*f = (struct loss_floor){ .start_ppm = UINT32_MAX };
}

void loss_floor_on_acked(struct loss_floor *f, uint32_t mss,
                         const uint64_t acked_in[DELIVERY_PHASES])
{
	for (unsigned i = 0; i < DELIVERY_PHASES; i++)
		f->acked[i] += acked_in[i] * SCALE / mss;
}

void loss_floor_on_lost(struct loss_floor *f, uint32_t mss, uint8_t phase, uint64_t size)
{
	f->lost[phase % DELIVERY_PHASES] += size * SCALE / mss;
}

static uint32_t share_ppm(uint64_t lost, uint64_t all)
{
	return all == 0 ? 0 : (uint32_t)(lost * MILLION / all);
}

void loss_floor_on_start_round(struct loss_floor *f, uint32_t mss, uint64_t lost, uint64_t all)
{
	if (all / mss < START_MIN)
		return;
	f->start_ppm = CV_MIN(f->start_ppm, share_ppm(lost, all));
	f->ppm =
		f->start_ppm > LOSS_FLOOR_ABSURD_PPM ? 0 : CV_MIN(f->start_ppm, LOSS_FLOOR_MAX_PPM);
}

/* Standard deviation, in ppm, of a share seen in @count (in units of SCALE) packets. */
static uint32_t deviation_ppm(uint32_t ppm, uint64_t count)
{
	uint64_t variance = (uint64_t)ppm * (MILLION - CV_MIN(ppm, (uint32_t)MILLION));

	return (uint32_t)square_root(variance * SCALE / CV_MAX(count, 1));
}

/* Without a queue often enough: what is not learnt there is not known. */
static bool is_calm(const struct loss_floor *f)
{
	uint64_t calm = f->acked[LOSS_PHASE_CRUISE] + f->acked[LOSS_PHASE_DOWN];

	return calm >= f->acked[LOSS_PHASE_OTHER] / CALM_PART;
}

void loss_floor_update(struct loss_floor *f)
{
	uint64_t lost = f->lost[LOSS_PHASE_CRUISE] + f->lost[LOSS_PHASE_DOWN];
	uint64_t down = f->acked[LOSS_PHASE_DOWN] + f->lost[LOSS_PHASE_DOWN];
	uint64_t all = f->acked[LOSS_PHASE_CRUISE] + f->acked[LOSS_PHASE_DOWN] + lost;
	uint32_t ppm, slower;

	if (all < ALL_MIN || down < DOWN_MIN || !is_calm(f))
		return;
	ppm = share_ppm(lost, all);
	f->is_known = true;
	slower = share_ppm(f->lost[LOSS_PHASE_DOWN], down) + 2 * deviation_ppm(ppm, down);
	ppm = CV_MIN(ppm, slower);
	f->ppm = ppm > LOSS_FLOOR_ABSURD_PPM ? 0 : CV_MIN(ppm, LOSS_FLOOR_MAX_PPM);
}

void loss_floor_on_cycle(struct loss_floor *f)
{
	for (unsigned i = 0; i < DELIVERY_PHASES; i++) {
		f->acked[i] /= 2;
		f->lost[i] /= 2;
	}
	if (!is_calm(f))
		f->ppm /= 2;
}

static uint64_t part_of(uint64_t bytes, uint32_t ppm)
{
	return bytes / MILLION * ppm + bytes % MILLION * ppm / MILLION;
}

/* 4 sqrt(n p) packets; windows are below 2^31 bytes, so n p in ppm fits. */
static uint64_t four_deviations(uint32_t mss, uint64_t bytes, uint32_t ppm)
{
	return 4 * square_root(bytes / mss * ppm) * mss / 1000;
}

uint64_t loss_floor_blind(uint32_t mss, uint64_t bytes)
{
	return part_of(bytes, LOSS_FLOOR_MAX_PPM) + four_deviations(mss, bytes, LOSS_FLOOR_MAX_PPM);
}

uint64_t loss_floor_allowed(const struct loss_floor *f, uint32_t mss, uint64_t bytes,
                            uint32_t percent)
{
	uint64_t beyond = bytes / 100 * percent;

	return part_of(bytes, f->ppm) + CV_MAX(beyond, four_deviations(mss, bytes, f->ppm));
}

bool loss_floor_check(const struct loss_floor *f)
{
	return f->ppm <= LOSS_FLOOR_MAX_PPM;
}

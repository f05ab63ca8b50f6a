/* SPDX-License-Identifier: MIT */

/*
 * Goal: the share that a bad line loses is learnt, and neither what a policer, a full buffer nor
 * other flows take away; a threshold that chance does not cross. Method: counts of packets by
 * phase with the answer beside them; drawn losses with a fixed seed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tunnel/loss_floor.h"

enum { MSS = 1000 };

static struct loss_floor f;

/* @packets were decided in @phase, of which so many were lost. */
static void decide(enum loss_phase phase, uint64_t packets, uint64_t lost)
{
	uint64_t acked_in[DELIVERY_PHASES] = { 0 };

	acked_in[phase] = (packets - lost) * MSS;
	loss_floor_on_acked(&f, MSS, acked_in);
	for (uint64_t i = 0; i < lost; i++)
		loss_floor_on_lost(&f, MSS, (uint8_t)phase, MSS);
}

static uint32_t look(void)
{
	loss_floor_update(&f);
	assert_true(loss_floor_check(&f));
	return f.ppm;
}

static void nothing_is_known_at_first(void **state)
{
	(void)state;
	loss_floor_init(&f);
	assert_true(loss_floor_check(&f));
	assert_int_equal(look(), 0);
	assert_false(f.is_known);
	assert_int_equal(loss_floor_allowed(&f, MSS, 100000, 2), 2000);
}

static void it_takes_two_hundred_packets_and_sixteen_of_them_slow(void **state)
{
	static const struct {
		uint64_t cruise, down;
		bool is_known;
	} rows[] = {
		{ 183, 16, false },  { 184, 16, true },  { 185, 16, true },
		{ 5000, 15, false }, { 5000, 16, true },
	};

	(void)state;
	for (unsigned i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		loss_floor_init(&f);
		decide(LOSS_PHASE_CRUISE, rows[i].cruise, 0);
		decide(LOSS_PHASE_DOWN, rows[i].down, 0);
		(void)look();
		assert_int_equal(f.is_known, rows[i].is_known);
	}
}

static void a_bad_line_loses_at_every_rate(void **state)
{
	(void)state;
	loss_floor_init(&f);
	decide(LOSS_PHASE_CRUISE, 1000, 50);
	decide(LOSS_PHASE_DOWN, 200, 10);
	assert_int_equal(look(), 50000);
}

/*
 * A policer, a shallow buffer: a tenth slower, and it is over. Two deviations are believed to be
 * chance: 2 * sqrt(0.0417 * 0.958 / 200) = 2.8 % of 200 packets, a tenth of that of a hundred times
 * as many.
 */
static void what_ends_when_it_goes_slower_is_no_bad_line(void **state)
{
	(void)state;
	loss_floor_init(&f);
	decide(LOSS_PHASE_CRUISE, 1000, 50);
	decide(LOSS_PHASE_DOWN, 200, 0);
	assert_in_range(look(), 28000, 28500);
	loss_floor_init(&f);
	decide(LOSS_PHASE_CRUISE, 100000, 5000);
	decide(LOSS_PHASE_DOWN, 20000, 0);
	assert_in_range(look(), 2800, 2850);
	/* What is left of it then is the line's. */
	loss_floor_init(&f);
	decide(LOSS_PHASE_CRUISE, 100000, 5000);
	decide(LOSS_PHASE_DOWN, 20000, 200);
	assert_in_range(look(), 12700, 12900);
}

static void probing_and_other_phases_say_nothing(void **state)
{
	(void)state;
	loss_floor_init(&f);
	decide(LOSS_PHASE_CRUISE, 1000, 0);
	decide(LOSS_PHASE_DOWN, 200, 0);
	decide(LOSS_PHASE_PROBE, 1000, 500);
	decide(LOSS_PHASE_OTHER, 1000, 500);
	assert_int_equal(look(), 0);
	/* A byte from outside is reduced to a phase. */
	loss_floor_on_lost(&f, MSS, 255, MSS);
	assert_true(loss_floor_check(&f));
}

static void there_is_a_most(void **state)
{
	static const struct {
		uint64_t lost; /* of 1,000, and the same share of 1,000 slow ones */
		uint32_t ppm;
	} rows[] = {
		{ 99, 99000 },   { 100, 100000 }, { 101, 100000 },
		{ 150, 100000 }, { 151, 0 }, /* that is no bad line */
		{ 1000, 0 },
	};

	(void)state;
	for (unsigned i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		loss_floor_init(&f);
		decide(LOSS_PHASE_CRUISE, 1000, rows[i].lost);
		decide(LOSS_PHASE_DOWN, 1000, rows[i].lost);
		assert_int_equal(look(), rows[i].ppm);
	}
}

static void what_is_old_fades(void **state)
{
	uint32_t before;

	(void)state;
	loss_floor_init(&f);
	decide(LOSS_PHASE_CRUISE, 1000, 80);
	decide(LOSS_PHASE_DOWN, 200, 16);
	before = look();
	assert_int_equal(before, 80000);
	for (unsigned i = 0; i < 6; i++) {
		loss_floor_on_cycle(&f);
		decide(LOSS_PHASE_CRUISE, 1000, 0);
		decide(LOSS_PHASE_DOWN, 200, 0);
		assert_true(look() <= before / 2 + 1000);
		before = f.ppm;
	}
	assert_true(f.ppm <= 2000);
}

/* Others keep the queue full: nothing is learnt, and what was learnt before is given up. */
static void beside_a_standing_queue_it_is_forgotten(void **state)
{
	(void)state;
	loss_floor_init(&f);
	decide(LOSS_PHASE_CRUISE, 1000, 80);
	decide(LOSS_PHASE_DOWN, 200, 16);
	assert_int_equal(look(), 80000);
	for (unsigned i = 0; i < 10; i++) {
		loss_floor_on_cycle(&f);
		decide(LOSS_PHASE_OTHER, 1200, 120);
		decide(LOSS_PHASE_CRUISE, 160, 16); /* enough to learn from, were it not so rare */
		decide(LOSS_PHASE_DOWN, 60, 6);
		(void)look();
	}
	assert_true(f.ppm <= 2000);
}

/* ---- what is allowed ---- */

/* The floor, and the greater of so many percent and four deviations: 4 sqrt(n p). */
static void chance_is_allowed_for(void **state)
{
	static const struct {
		uint32_t ppm;
		uint64_t bytes;
		uint32_t percent;
		uint64_t allowed;
	} rows[] = {
		{ 0, 0, 2, 0 },
		{ 0, 100000, 2, 2000 },
		{ 10000, 100000, 2, 1000 + 4000 },        /* 4 sqrt(100 * 0.01) = 4 packets */
		{ 50000, 400000, 2, 20000 + 17884 },      /* 4 sqrt(20) = 17.9 packets */
		{ 50000, 40000000, 2, 2000000 + 800000 }, /* 4 sqrt(2000) = 179 < 800 */
		{ 100000, 4000000, 2, 400000 + 80000 },   /* 4 sqrt(400) = 80 packets either way */
	};

	(void)state;
	for (unsigned i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		loss_floor_init(&f);
		f.ppm = rows[i].ppm;
		assert_in_range(loss_floor_allowed(&f, MSS, rows[i].bytes, rows[i].percent),
		                rows[i].allowed - rows[i].allowed / 50, rows[i].allowed + 10);
	}
	/* Of the worst line that is believed in. */
	f.ppm = LOSS_FLOOR_MAX_PPM;
	assert_int_equal(loss_floor_blind(MSS, 400000), loss_floor_allowed(&f, MSS, 400000, 0));
	/* Windows are below 2^31 bytes: no product overflows. */
	assert_true(loss_floor_allowed(&f, 1200, UINT64_C(1) << 31, 2) > UINT64_C(1) << 27);
	assert_true(loss_floor_allowed(&f, 1200, UINT64_C(1) << 31, 2) < UINT64_C(1) << 29);
	assert_int_equal(loss_floor_blind(MSS, 0), 0);
}

/* ---- the start ---- */

static void the_start_takes_the_least_of_its_rounds(void **state)
{
	(void)state;
	loss_floor_init(&f);
	loss_floor_on_start_round(&f, MSS, 5 * MSS, 99 * MSS); /* too few */
	assert_int_equal(f.ppm, 0);
	loss_floor_on_start_round(&f, MSS, 6 * MSS, 100 * MSS);
	assert_int_equal(f.ppm, 60000);
	loss_floor_on_start_round(&f, MSS, 10 * MSS, 200 * MSS);
	assert_int_equal(f.ppm, 50000);
	loss_floor_on_start_round(&f, MSS, 80 * MSS, 400 * MSS); /* the buffer's doing */
	assert_int_equal(f.ppm, 50000);
	assert_false(f.is_known);
	loss_floor_init(&f);
	loss_floor_on_start_round(&f, MSS, 40 * MSS, 200 * MSS);
	assert_int_equal(f.ppm, 0); /* no bad line loses a fifth */
	assert_true(loss_floor_check(&f));
}

/* ---- chance ---- */

/* Ten cycles of a line that loses at random: what is believed is near, and never far above. */
static void drawn_losses_are_estimated(void **state)
{
	static const uint32_t shares[] = { 0, 1000, 10000, 50000, 90000 };
	struct rng_seeded seeded;
	struct rng rng = rng_from_seeded(&seeded);
	unsigned alarms = 0, flights = 0;

	(void)state;
	rng_seeded_init(&seeded, 9);
	for (unsigned k = 0; k < CV_ARRAY_SIZE(shares); k++) {
		loss_floor_init(&f);
		for (unsigned cycle = 0; cycle < 10; cycle++) {
			loss_floor_on_cycle(&f);
			for (unsigned i = 0; i < 4000; i++)
				decide(i < 800 ? LOSS_PHASE_DOWN : LOSS_PHASE_CRUISE, 1,
				       rng_below(&rng, 1000000) < shares[k]);
			(void)look();
		}
		assert_in_range(f.ppm, shares[k] * 3 / 4, shares[k] + shares[k] / 4);
		/* A flight of 200 packets does not raise an alarm by chance. */
		for (unsigned n = 0; n < 1000; n++) {
			uint64_t lost = 0;

			for (unsigned i = 0; i < 200; i++)
				lost += rng_below(&rng, 1000000) < shares[k] ? MSS : 0;
			alarms += lost > loss_floor_allowed(&f, MSS, 200 * MSS, 2);
			flights++;
		}
	}
	print_message("%u false alarms in %u flights\n", alarms, flights);
	assert_true(alarms * 1000 <= flights * 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_known_at_first),
		cmocka_unit_test(it_takes_two_hundred_packets_and_sixteen_of_them_slow),
		cmocka_unit_test(a_bad_line_loses_at_every_rate),
		cmocka_unit_test(what_ends_when_it_goes_slower_is_no_bad_line),
		cmocka_unit_test(probing_and_other_phases_say_nothing),
		cmocka_unit_test(there_is_a_most),
		cmocka_unit_test(what_is_old_fades),
		cmocka_unit_test(beside_a_standing_queue_it_is_forgotten),
		cmocka_unit_test(chance_is_allowed_for),
		cmocka_unit_test(the_start_takes_the_least_of_its_rounds),
		cmocka_unit_test(drawn_losses_are_estimated),
	};

	return cmocka_run_group_tests_name("loss_floor", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: what BBR believes of a path follows from what it was told, and from nothing that says less
 * than it seems to: pauses of the application, heaps of ACKs, single losses. Method: rounds of ACKs
 * with the numbers of draft-ietf-ccwg-bbr, 5.5, done by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tunnel/bbr_model.h"
#include "tunnel/cc.h"

enum { MSS = 1000 };
#define START CV_SEC(5)
#define RATE UINT64_C(1000000)
#define RTT CV_MS(50)
#define NO_BOUND UINT64_MAX

static struct bbr_model m;
static cv_time now;
static uint64_t delivered;
static uint64_t number;

static void begin(void)
{
	now = START;
	delivered = 0;
	number = 0;
	bbr_model_init(&m, now);
	assert_true(bbr_model_check(&m));
}

/* One batch of ACKs, of packets that left a round ago when @is_next. */
static void hear(struct cc_ack *ack, bool is_next)
{
	ack->rate.has_data = true;
	ack->rate.prior_delivered = is_next ? delivered : 0;
	delivered += ack->acked;
	ack->delivered = delivered;
	bbr_model_on_ack(&m, now, ack, MSS);
}

/* A round: @packets acknowledged at @rate after @rtt, behind @lost that were lost. */
static void round_of(uint64_t rate, cv_duration rtt, uint64_t packets, uint64_t lost)
{
	struct cc_ack ack = { .acked = packets * MSS, .rtt_sample = rtt };

	now += rtt;
	for (uint64_t i = 0; i < lost; i++) {
		struct cc_lost one = { .size = MSS, .delivered = delivered, .number = number };

		number += 2;
		bbr_model_on_lost(&m, &one, MSS);
	}
	ack.rate.rate = rate;
	ack.rate.delivered = packets * MSS;
	hear(&ack, true);
	bbr_model_adapt_bounds(&m, MSS, 100 * MSS, false);
	bbr_model_update_aggregation(&m, now, ack.acked, 100 * MSS);
	bbr_model_update_min_rtt(&m, now, rtt);
	bbr_model_advance(&m, &ack);
	assert_true(bbr_model_check(&m));
}

/* ---- rounds, rates ---- */

static void a_round_ends_with_what_left_after_it_began(void **state)
{
	struct cc_ack ack = { .acked = MSS };

	(void)state;
	begin();
	hear(&ack, true);
	assert_true(m.is_round_start);
	assert_int_equal(m.rounds, 1);
	hear(&ack, false);
	hear(&ack, false);
	assert_false(m.is_round_start);
	assert_int_equal(m.rounds, 1);
	/* Exactly what was delivered when it began, and one byte less. */
	m.next_round_delivered = delivered + 1;
	hear(&ack, true);
	assert_false(m.is_round_start);
	m.next_round_delivered = delivered;
	hear(&ack, true);
	assert_true(m.is_round_start);
	bbr_model_start_round(&m, delivered + 5 * MSS);
	hear(&ack, true);
	assert_false(m.is_round_start);
	/* Late packets alone, without a sample, end nothing. */
	bbr_model_start_round(&m, 0);
	ack.rate = (struct delivery_sample){ .has_data = false };
	bbr_model_on_ack(&m, now, &ack, MSS);
	assert_false(m.is_round_start);
}

/* What the application limited counts only where it is more than is known. A.22 */
static void limited_samples_are_admitted_when_they_are_higher(void **state)
{
	struct cc_ack ack = { .acked = MSS };

	(void)state;
	begin();
	ack.rate.is_app_limited = true;
	ack.rate.rate = 1000;
	hear(&ack, true);
	/* The first, too: a filter that is empty for ever bounds nothing. */
	assert_int_equal(bbr_model_max_bw(&m), 1000);
	ack.rate.rate = 999;
	hear(&ack, true);
	assert_int_equal(bbr_model_max_bw(&m), 1000);
	ack.rate.rate = 2000;
	hear(&ack, true);
	assert_int_equal(bbr_model_max_bw(&m), 2000);
	bbr_model_next_cycle(&m);
	ack.rate.rate = 1999;
	hear(&ack, true);
	assert_int_equal(m.max_bw_of[1], 0);
	ack.rate.is_app_limited = false;
	hear(&ack, true);
	assert_int_equal(m.max_bw_of[1], 1999);
}

/* Two cycles; one in which nothing was seen does not count. */
static void the_maximum_lives_for_two_cycles(void **state)
{
	(void)state;
	begin();
	round_of(RATE, RTT, 50, 0);
	assert_int_equal(bbr_model_max_bw(&m), RATE);
	bbr_model_next_cycle(&m);
	round_of(RATE / 2, RTT, 50, 0);
	assert_int_equal(bbr_model_max_bw(&m), RATE);
	bbr_model_next_cycle(&m);
	assert_int_equal(bbr_model_max_bw(&m), RATE / 2);
	for (unsigned i = 0; i < 100; i++)
		bbr_model_next_cycle(&m);
	assert_int_equal(bbr_model_max_bw(&m), RATE / 2);
}

/* Three rounds at less than a third, behind a queue of a round trip. */
static void a_maximum_that_is_belied_ends_at_once(void **state)
{
	(void)state;
	begin();
	round_of(RATE, RTT, 50, 0);
	round_of(RATE, RTT, 50, 0);
	for (unsigned i = 0; i < 3; i++) {
		round_of(RATE / 4, 3 * RTT, 50, 0);
		assert_int_equal(bbr_model_max_bw(&m), RATE);
	}
	for (unsigned i = 0; i < 3; i++)
		round_of(RATE / 4, 3 * RTT, 50, 0);
	assert_int_equal(bbr_model_max_bw(&m), RATE / 4);
	/* Slower without a queue: others, or the application. */
	begin();
	round_of(RATE, RTT, 50, 0);
	for (unsigned i = 0; i < 20; i++)
		round_of(RATE / 4, RTT, 50, 0);
	assert_int_equal(bbr_model_max_bw(&m), RATE);
}

/* ---- products ---- */

static void products_do_not_overflow(void **state)
{
	(void)state;
	begin();
	assert_int_equal(bbr_model_bdp(&m, RATE, 100), NO_BOUND); /* no round trip yet */
	m.min_rtt = RTT;
	assert_int_equal(bbr_model_bdp(&m, 0, 100), NO_BOUND); /* no rate yet */
	assert_int_equal(bbr_model_bdp(&m, RATE, 100), 50000);
	assert_int_equal(bbr_model_bdp(&m, RATE, 225), 112500);
	assert_int_equal(bbr_model_bdp(&m, UINT64_MAX - 1, 200), 2 * CC_CWND_MAX);
	m.min_rtt = CV_SEC(600);
	assert_int_equal(bbr_model_bdp(&m, UINT64_MAX - 1, 200), 2 * CC_CWND_MAX);
	assert_int_equal(bbr_model_bdp(&m, 1, 100), 600);
	m.min_rtt = 1;
	assert_int_equal(bbr_model_bdp(&m, 1, 100), 0);
}

/* ---- bounds ---- */

/* 0.7 of what was, but never less than what was delivered. A.17 */
static void losses_draw_bounds(void **state)
{
	(void)state;
	begin();
	round_of(RATE, RTT, 100, 0);
	round_of(RATE, RTT, 100, 0);
	assert_int_equal(m.bw_short, NO_BOUND);
	round_of(RATE / 2, RTT, 100, 10);
	assert_int_equal(m.bw_short, RATE); /* delivered in the round before */
	round_of(RATE / 2, RTT, 50, 10);
	assert_int_equal(m.bw_short, RATE / 10 * 7);
	assert_int_equal(m.inflight_short, 100 * MSS);
	round_of(RATE / 2, RTT, 50, 10);
	assert_int_equal(m.bw_short, RATE / 2);
	assert_int_equal(m.inflight_short, 70 * MSS);
	assert_int_equal(bbr_model_bw(&m), RATE / 2);
	round_of(RATE / 2, RTT, 50, 0);
	assert_int_equal(m.bw_short, RATE / 2);
	bbr_model_forget_short(&m);
	assert_int_equal(bbr_model_bw(&m), RATE);
}

/* At most one percent beyond the floor is forgiven; and a probe draws nothing. */
static void small_losses_and_probes_draw_none(void **state)
{
	struct cc_lost one = { .size = MSS };
	struct cc_ack ack = { .acked = 100 * MSS };

	(void)state;
	begin();
	for (unsigned i = 0; i < 3; i++)
		round_of(RATE, RTT, 99, 1);
	assert_int_equal(m.bw_short, NO_BOUND);
	round_of(RATE, RTT, 98, 2);
	round_of(RATE, RTT, 98, 2);
	assert_int_not_equal(m.bw_short, NO_BOUND);
	/* With a floor of 5 %, five of a hundred and their deviation are forgiven: 5 + 8.9. */
	begin();
	m.floor.ppm = 50000;
	for (unsigned i = 0; i < 3; i++)
		round_of(RATE, RTT, 87, 13);
	assert_int_equal(m.bw_short, NO_BOUND);
	for (unsigned i = 0; i < 2; i++)
		round_of(RATE, RTT, 85, 15);
	assert_int_not_equal(m.bw_short, NO_BOUND);

	begin();
	for (unsigned i = 0; i < 5; i++) {
		for (unsigned k = 0; k < 50; k++)
			bbr_model_on_lost(&m, &one, MSS);
		hear(&ack, true);
		bbr_model_adapt_bounds(&m, MSS, 100 * MSS, true);
	}
	assert_int_equal(m.bw_short, NO_BOUND);
}

/* A mark is a loss that did not happen. */
static void marks_draw_bounds(void **state)
{
	struct cc_ack ack = { .acked = 100 * MSS, .ce = 10 };

	(void)state;
	begin();
	round_of(RATE, RTT, 100, 0);
	for (unsigned i = 0; i < 3; i++) {
		ack.rate.rate = RATE / 2;
		hear(&ack, true);
		assert_true(bbr_model_is_queued(&m, MSS));
		bbr_model_adapt_bounds(&m, MSS, 100 * MSS, false);
		bbr_model_advance(&m, &ack);
	}
	assert_int_not_equal(m.bw_short, NO_BOUND);
	assert_int_equal(m.round_ce, 0);
}

static void bursts_are_counted_not_packets(void **state)
{
	static const uint64_t lost[] = { 10, 11, 12, 20, 22, 23, 30 };

	(void)state;
	begin();
	for (unsigned i = 0; i < CV_ARRAY_SIZE(lost); i++)
		bbr_model_on_lost(&m, &(struct cc_lost){ .size = MSS, .number = lost[i] }, MSS);
	assert_int_equal(m.round_bursts, 4);
	/* Number 0 continues nothing. */
	begin();
	bbr_model_on_lost(&m, &(struct cc_lost){ .size = MSS, .number = 0 }, MSS);
	assert_int_equal(m.round_bursts, 1);
}

/* ---- too high ---- */

static void two_percent_are_too_many(void **state)
{
	(void)state;
	begin();
	m.floor.is_known = true;
	assert_false(bbr_model_is_too_high(&m, 2000, 100000, MSS));
	assert_true(bbr_model_is_too_high(&m, 2001, 100000, MSS));
	assert_true(bbr_model_is_too_high(&m, 1, 0, MSS));
	assert_false(bbr_model_is_too_high(&m, 0, 0, MSS));
	/* Where nothing is known of the line it has the benefit of the doubt, until a queue is
	 * seen. */
	m.floor.is_known = false;
	assert_false(bbr_model_is_too_high(&m, 20000, 100000, MSS));
	assert_true(bbr_model_is_too_high(&m, 25000, 100000, MSS));
	m.min_rtt = RTT;
	m.last_rtt_min = RTT + CV_MS(4);
	m.max_bw_of[1] = 100 * RATE;
	assert_true(bbr_model_is_too_high(&m, 2001, 100000, MSS));
}

/* Where in the train the share of losses passed the threshold; and never 2^64 bytes. */
static void the_volume_at_a_loss_is_within_its_train(void **state)
{
	static const struct {
		const char *what;
		uint64_t tx_in_flight, size, lost, lost_then, volume;
	} rows[] = {
		/* before = 99,000; allowed 1,980; prefix = 1,980 / 0.98, more than the packet */
		{ "the first loss of many", 100000, 1000, 1000, 0, 100000 },
		{ "half of the packet", 100000, 1000, 2500, 0, 99000 + 489 },
		{ "earlier losses were too many", 100000, 1000, 50000, 0, 99000 },
		{ "more lost than was in flight", 1000, 1000, 5000, 0, 0 },
		{ "a packet larger than all that was in flight", 500, 1000, 1000, 0, 0 },
		{ "more lost then than now", 100000, 1000, 1000, 9000, 100000 },
	};

	(void)state;
	begin();
	for (unsigned i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct cc_lost lost = {
			.size = rows[i].size,
			.lost = rows[i].lost,
			.sent = { .tx_in_flight = rows[i].tx_in_flight, .lost = rows[i].lost_then },
		};

		print_message("%s\n", rows[i].what);
		assert_int_equal(bbr_model_inflight_at(&m, &lost, MSS), rows[i].volume);
	}
}

/* ---- round trips ---- */

static void the_least_round_trip_lives_ten_seconds(void **state)
{
	(void)state;
	begin();
	assert_int_equal(m.min_rtt, CV_TIME_NEVER);
	bbr_model_update_min_rtt(&m, now, 0); /* an ACK without a sample */
	assert_int_equal(m.min_rtt, CV_TIME_NEVER);
	bbr_model_update_min_rtt(&m, now, RTT);
	assert_int_equal(m.min_rtt, RTT);
	for (unsigned i = 0; i < 10; i++) {
		now += CV_SEC(1);
		bbr_model_update_min_rtt(&m, now, 2 * RTT);
		assert_int_equal(m.min_rtt, RTT);
	}
	now += 1;
	bbr_model_update_min_rtt(&m, now, 2 * RTT);
	assert_int_equal(m.min_rtt, 2 * RTT);
	bbr_model_update_min_rtt(&m, now, RTT);
	assert_int_equal(m.min_rtt, RTT);
}

static void a_probe_is_due_after_five_seconds_without_confirmation(void **state)
{
	(void)state;
	begin();
	bbr_model_update_min_rtt(&m, now, RTT);
	now += CV_SEC(5);
	bbr_model_update_min_rtt(&m, now, 2 * RTT);
	assert_false(m.is_probe_due);
	now += 1;
	bbr_model_update_min_rtt(&m, now, 2 * RTT);
	assert_true(m.is_probe_due);
	/* Within a sixteenth it is confirmed, and none is needed. */
	begin();
	bbr_model_update_min_rtt(&m, now, RTT);
	for (unsigned i = 0; i < 30; i++) {
		now += CV_SEC(1);
		bbr_model_update_min_rtt(&m, now, RTT + RTT / 16);
		assert_false(m.is_probe_due);
	}
	assert_int_equal(m.min_rtt, RTT);
	/* A bit more is not. */
	begin();
	bbr_model_update_min_rtt(&m, now, RTT);
	for (unsigned i = 0; i < 5; i++) {
		now += CV_SEC(1);
		bbr_model_update_min_rtt(&m, now, RTT + RTT / 16 + 1);
	}
	now += 1;
	bbr_model_update_min_rtt(&m, now, RTT);
	assert_true(m.is_probe_due);
}

/* Before the first round trip, with clocks that stand still, and beyond every sum. */
static void extremes_of_time_do_no_harm(void **state)
{
	(void)state;
	begin();
	bbr_model_update_min_rtt(&m, now, 1);
	bbr_model_update_min_rtt(&m, CV_TIME_NEVER - 1, CV_SEC(600));
	assert_true(bbr_model_check(&m));
	m.min_rtt = CV_TIME_NEVER;
	m.last_rtt_min = CV_SEC(600);
	assert_false(bbr_model_is_queued(&m, MSS));
	assert_false(bbr_model_is_crowded(&m, MSS));
	m.min_rtt = 1;
	m.last_rtt_min = CV_TIME_NEVER;
	assert_false(bbr_model_is_queued(&m, MSS));
}

/* 50 ms at 1 MB/s: a tenth, 2 ms and two packets; or a 32nd, half a millisecond and one. */
static void queues_are_told_from_noise(void **state)
{
	const cv_duration queued = RTT + RTT / 10 + CV_MS(2) + CV_MS(2);
	const cv_duration crowded = RTT + RTT / 32 + CV_US(500) + CV_MS(1);

	(void)state;
	begin();
	m.min_rtt = RTT;
	m.max_bw_of[1] = RATE;
	m.last_rtt_min = queued;
	assert_false(bbr_model_is_queued(&m, MSS));
	m.last_rtt_min = queued + 1;
	assert_true(bbr_model_is_queued(&m, MSS));
	m.last_rtt_min = crowded;
	assert_false(bbr_model_is_crowded(&m, MSS));
	m.last_rtt_min = crowded + 1;
	assert_true(bbr_model_is_crowded(&m, MSS));
	/* On a slow line one packet behind another is no queue. */
	m.max_bw_of[1] = 10000;
	assert_false(bbr_model_is_crowded(&m, MSS));
}

/* ---- aggregation ---- */

/* What came beyond the rate, at most a tenth of a second of it and the window. A.13 */
static void heaps_of_acks_are_credited(void **state)
{
	(void)state;
	begin();
	m.max_bw_of[1] = RATE;
	m.rounds = 1;
	bbr_model_update_aggregation(&m, now, 0, 100 * MSS);
	now += CV_MS(20);
	bbr_model_update_aggregation(&m, now, 50 * MSS, 100 * MSS);
	assert_int_equal(bbr_model_extra(&m, false), 50 * MSS); /* a new epoch with the heap */
	/* 10 more within 5 ms, in which 5 were expected. */
	now += CV_MS(5);
	bbr_model_update_aggregation(&m, now, 10 * MSS, 100 * MSS);
	assert_int_equal(bbr_model_extra(&m, false), 55 * MSS);
	/* Bounds. */
	bbr_model_update_aggregation(&m, now, 500 * MSS, 60 * MSS);
	assert_int_equal(bbr_model_extra(&m, false), 60 * MSS);
	bbr_model_update_aggregation(&m, now, 500 * MSS, 1000 * MSS);
	assert_int_equal(bbr_model_extra(&m, false), 100 * MSS);
	/* Ten rounds, and at the start only the present one. */
	for (unsigned i = 0; i < 9; i++) {
		m.rounds++;
		now += CV_SEC(2);
		bbr_model_update_aggregation(&m, now, 0, 1000 * MSS);
		assert_int_equal(bbr_model_extra(&m, true), 0);
		assert_int_equal(bbr_model_extra(&m, false), 100 * MSS);
	}
	m.rounds++;
	bbr_model_update_aggregation(&m, now, 0, 1000 * MSS);
	assert_int_equal(bbr_model_extra(&m, false), 0);
	/* Rounds that had no ACK of their own held nothing. */
	bbr_model_update_aggregation(&m, now, 50 * MSS, 1000 * MSS);
	assert_int_equal(bbr_model_extra(&m, false), 50 * MSS);
	m.rounds += 1000;
	bbr_model_update_aggregation(&m, now + CV_SEC(1), 0, 1000 * MSS);
	assert_int_equal(bbr_model_extra(&m, false), 0);
}

/* Without a rate nothing is beyond it: no window grows by it. */
static void without_a_rate_nothing_is_credited(void **state)
{
	(void)state;
	begin();
	for (unsigned i = 0; i < 100; i++) {
		now += CV_MS(1);
		bbr_model_update_aggregation(&m, now, 100 * MSS, UINT64_MAX);
		assert_int_equal(bbr_model_extra(&m, false), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_round_ends_with_what_left_after_it_began),
		cmocka_unit_test(limited_samples_are_admitted_when_they_are_higher),
		cmocka_unit_test(the_maximum_lives_for_two_cycles),
		cmocka_unit_test(a_maximum_that_is_belied_ends_at_once),
		cmocka_unit_test(products_do_not_overflow),
		cmocka_unit_test(losses_draw_bounds),
		cmocka_unit_test(small_losses_and_probes_draw_none),
		cmocka_unit_test(marks_draw_bounds),
		cmocka_unit_test(bursts_are_counted_not_packets),
		cmocka_unit_test(two_percent_are_too_many),
		cmocka_unit_test(the_volume_at_a_loss_is_within_its_train),
		cmocka_unit_test(the_least_round_trip_lives_ten_seconds),
		cmocka_unit_test(a_probe_is_due_after_five_seconds_without_confirmation),
		cmocka_unit_test(extremes_of_time_do_no_harm),
		cmocka_unit_test(queues_are_told_from_noise),
		cmocka_unit_test(heaps_of_acks_are_credited),
		cmocka_unit_test(without_a_rate_nothing_is_credited),
	};

	return cmocka_run_group_tests_name("bbr_model", tests, NULL, NULL);
}

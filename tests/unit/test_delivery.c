/* SPDX-License-Identifier: MIT */

/*
 * Goal: a sample says what the path delivers: neither a burst of ours nor a heap of ACKs makes it
 * more, and a pause of the application is known for what it is. Method: trains and ACKs at instants
 * whose arithmetic is done by hand; at last 10,000 random operations with sums beside them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tunnel/delivery.h"

#define START CV_SEC(5)
#define SLACK CV_MS(1)
enum { SIZE = 1000 };

static struct delivery d;
static struct delivery_mark marks[256];
static cv_time sent_at[256];
static struct delivery_sample sample;

static void begin(void)
{
	delivery_init(&d, START);
	sample = (struct delivery_sample){ .rate = 0 };
}

/* Train @i of one packet leaves. */
static void leave(unsigned i, cv_time now, uint64_t inflight)
{
	delivery_on_train(&d, now, inflight, SLACK, &marks[i]);
	marks[i].tx_in_flight = inflight + SIZE;
	sent_at[i] = now;
}

static void acknowledge(unsigned i, cv_time now)
{
	struct delivery_acked packet = {
		.mark = &marks[i], .sent_at = sent_at[i], .number = i, .size = SIZE
	};

	delivery_on_acked(&d, now, &packet, &sample);
}

static void finish(cv_duration min_rtt)
{
	delivery_finish(&d, min_rtt, &sample);
}

static void next_batch(void)
{
	sample = (struct delivery_sample){ .rate = 0 };
}

/* Every 10 ms a packet, 50 ms round trip: 100 KB/s, whichever sample. */
static void a_steady_flow_shows_its_rate(void **state)
{
	unsigned acked = 0;

	(void)state;
	begin();
	for (unsigned i = 0; i < 60; i++) {
		cv_time now = START + i * CV_MS(10);

		if (now >= START + CV_MS(50)) {
			next_batch();
			acknowledge(acked++, now);
			finish(CV_MS(50));
			assert_true(sample.has_data);
			/* The first samples begin with the first packet: one too many over 50 ms.
			 */
			if (acked > 6)
				assert_int_equal(sample.rate, 100000);
			assert_false(sample.is_app_limited);
		}
		leave(i, now, (i - acked) * SIZE);
	}
	assert_int_equal(d.delivered, acked * SIZE);
	assert_int_equal(sample.prior_delivered + sample.delivered, d.delivered);
}

/* Ten packets were sent over 90 ms; their ACKs come in one instant. */
static void a_heap_of_acks_is_no_faster_than_what_was_sent(void **state)
{
	(void)state;
	begin();
	for (unsigned i = 0; i < 10; i++)
		leave(i, START + i * CV_MS(10), i * SIZE);
	acknowledge(0, START + CV_MS(50));
	finish(CV_MS(50));
	next_batch();
	for (unsigned i = 1; i < 10; i++)
		acknowledge(i, START + CV_MS(150));
	finish(CV_MS(50));
	/* 10 packets, from the first's sending to the last's ACK. */
	assert_int_equal(sample.delivered, 10 * SIZE);
	assert_int_equal(sample.rate, UINT64_C(10) * SIZE * 1000 / 150);
	/* Two packets that were sent 60 ms apart (the ninth at 80 ms, the eleventh at 140) are
	 * acknowledged 50 ms after the heap that held the ninth's ACK back. */
	begin();
	for (unsigned i = 0; i < 10; i++)
		leave(i, START + i * CV_MS(10), i * SIZE);
	for (unsigned i = 0; i < 9; i++)
		acknowledge(i, START + CV_MS(140));
	finish(CV_MS(50));
	leave(10, START + CV_MS(140), SIZE);
	next_batch();
	acknowledge(9, START + CV_MS(190));
	acknowledge(10, START + CV_MS(190));
	finish(CV_MS(50));
	assert_int_equal(sample.delivered, 2 * SIZE);
	assert_int_equal(sample.send_elapsed, CV_MS(60));
	assert_int_equal(sample.ack_elapsed, CV_MS(50));
	assert_int_equal(sample.rate, UINT64_C(2) * SIZE * 1000 / 60);
}

/* Ten packets leave in one instant and arrive one every 10 ms. */
static void a_burst_is_no_faster_than_its_acks(void **state)
{
	(void)state;
	begin();
	for (unsigned i = 0; i < 10; i++)
		leave(i, START, i * SIZE);
	for (unsigned i = 0; i < 10; i++) {
		next_batch();
		acknowledge(i, START + CV_MS(50) + i * CV_MS(10));
		finish(CV_MS(50));
		assert_int_equal(sample.send_elapsed, 0);
		assert_int_equal(sample.rate, (i + UINT64_C(1)) * SIZE * CV_SEC(1) /
		                                      (CV_MS(50) + i * CV_MS(10)));
	}
}

/* Below the least round trip, at it and above. */
static void a_short_interval_is_no_sample(void **state)
{
	static const cv_duration spans[] = { CV_MS(50) - 1, CV_MS(50), CV_MS(50) + 1 };

	(void)state;
	for (unsigned i = 0; i < CV_ARRAY_SIZE(spans); i++) {
		begin();
		leave(0, START, 0);
		acknowledge(0, START + spans[i]);
		finish(CV_MS(50));
		assert_true(sample.has_data);
		assert_int_equal(sample.delivered, SIZE);
		assert_int_equal(sample.rate > 0, spans[i] >= CV_MS(50));
	}
	begin();
	leave(0, START, 0);
	acknowledge(0, START); /* a clock that stood still */
	finish(0);
	assert_int_equal(sample.rate, 0);
	begin();
	finish(0);
	assert_false(sample.has_data);
}

static void the_newest_packet_speaks_for_the_batch(void **state)
{
	(void)state;
	begin();
	leave(0, START, 0);
	acknowledge(0, START + CV_MS(50));
	next_batch();
	for (unsigned i = 1; i < 4; i++)
		leave(i, START + CV_MS(60) * i, (i - 1) * SIZE);
	sent_at[2] = sent_at[3]; /* of one train: the number decides */
	marks[3].phase = 3;
	marks[2].phase = 1;
	acknowledge(3, START + CV_MS(300));
	acknowledge(1, START + CV_MS(300));
	acknowledge(2, START + CV_MS(300));
	assert_int_equal(sample.newest_number, 3);
	assert_int_equal(sample.tx_in_flight, 3 * SIZE);
	assert_int_equal(sample.acked_in[3], SIZE);
	assert_int_equal(sample.acked_in[1], SIZE);
	assert_int_equal(sample.acked_in[0], SIZE);
	assert_int_equal(sample.acked_in[2], 0);
	finish(0);
	assert_int_equal(sample.delivered, 3 * SIZE);
}

/* ---- application-limited ---- */

/* A pause counts when window and pacer would have let more go for longer than the slack. */
static void a_pause_limits_the_next_round_trip(void **state)
{
	static const struct {
		const char *what;
		cv_duration dry_at, sent_at; /* since the start */
		bool is_limited;
	} rows[] = {
		{ "as long as the slack", CV_MS(10), CV_MS(11), false },
		{ "a bit longer", CV_MS(10), CV_MS(11) + 1, true },
		{ "filled again in the same turn", CV_MS(10), CV_MS(10), false },
		{ "the pacer would have waited anyway", CV_MS(20), CV_MS(11), false },
	};

	(void)state;
	for (unsigned i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		print_message("%s\n", rows[i].what);
		begin();
		leave(0, START, 0);
		delivery_on_dry(&d, START + rows[i].dry_at);
		leave(1, START + rows[i].sent_at, SIZE);
		assert_int_equal(marks[1].is_app_limited, rows[i].is_limited);
		assert_false(marks[0].is_app_limited);
	}
	/* It was dry from the first time on; and each pause counts once. */
	begin();
	leave(0, START, 0);
	delivery_on_dry(&d, START + CV_MS(1));
	delivery_on_dry(&d, START + CV_MS(9));
	leave(1, START + CV_MS(10), SIZE);
	assert_true(marks[1].is_app_limited);
	d.app_limited = 0;
	leave(2, START + CV_SEC(1), SIZE);
	assert_false(marks[2].is_app_limited);
}

/* The bubble is as long as what was in flight behind it. */
static void the_bubble_leaves_the_pipe(void **state)
{
	(void)state;
	begin();
	leave(0, START, 0);
	leave(1, START, SIZE);
	delivery_on_dry(&d, START);
	leave(2, START + CV_MS(20), 2 * SIZE);
	assert_true(marks[2].is_app_limited);
	acknowledge(0, START + CV_MS(50));
	acknowledge(1, START + CV_MS(50));
	finish(0);
	leave(3, START + CV_MS(50), SIZE);
	assert_true(marks[3].is_app_limited); /* exactly so much is delivered */
	next_batch();
	acknowledge(2, START + CV_MS(70));
	assert_true(sample.is_app_limited);
	finish(0);
	leave(4, START + CV_MS(70), SIZE);
	assert_false(marks[4].is_app_limited);
	/* From the very beginning, when nothing was delivered: 0 would mean "never". */
	begin();
	delivery_limit(&d, 0);
	leave(0, START, 0);
	assert_true(marks[0].is_app_limited);
}

/* An hour of silence is no interval in which one packet was delivered. */
static void after_silence_measuring_begins_anew(void **state)
{
	(void)state;
	begin();
	leave(0, START, 0);
	acknowledge(0, START + CV_MS(50));
	finish(0);
	next_batch();
	leave(1, START + CV_SEC(3600), 0);
	acknowledge(1, START + CV_SEC(3600) + CV_MS(50));
	finish(CV_MS(50));
	assert_int_equal(sample.rate, UINT64_C(20) * SIZE);
}

/* ---- losses ---- */

static void losses_between_are_told(void **state)
{
	(void)state;
	begin();
	leave(0, START, 0);
	leave(1, START, SIZE);
	delivery_on_lost(&d, SIZE);
	leave(2, START + CV_MS(10), SIZE);
	delivery_on_lost(&d, 700);
	acknowledge(0, START + CV_MS(50));
	acknowledge(2, START + CV_MS(60));
	finish(0);
	assert_int_equal(marks[2].lost, SIZE);
	assert_int_equal(sample.lost, 700);
	assert_int_equal(d.lost, SIZE + 700);
	/* Both have only been late. */
	delivery_on_late(&d, START + CV_MS(70), SIZE);
	delivery_on_late(&d, START + CV_MS(70), 700);
	assert_int_equal(d.lost, 0);
	assert_int_equal(d.delivered, 3 * SIZE + 700);
	delivery_on_late(&d, START + CV_MS(70), 1);
	assert_int_equal(d.lost, 0);
	/* Less is lost now than when it left: no loss, not 2^64 bytes. */
	next_batch();
	acknowledge(2, START + CV_MS(80));
	finish(0);
	assert_int_equal(sample.lost, 0);
}

static void random_operations_keep_the_sums(void **state)
{
	uint64_t delivered = 0, lost = 0, size;
	struct rng_seeded seeded;
	struct rng rng = rng_from_seeded(&seeded);
	cv_time now = START;

	(void)state;
	rng_seeded_init(&seeded, 5);
	begin();
	for (unsigned i = 0; i < CV_ARRAY_SIZE(marks); i++)
		leave(i, now, i * SIZE);
	for (unsigned i = 0; i < 10000; i++) {
		unsigned slot = (unsigned)rng_below(&rng, 256);

		now += rng_u64(&rng) >> (34 + rng_below(&rng, 30));
		size = 1 + rng_below(&rng, 65507);
		switch (rng_below(&rng, 6)) {
		case 0:
			leave(slot, now, rng_u64(&rng) >> (33 + rng_below(&rng, 31)));
			break;
		case 1:
			delivery_on_lost(&d, size);
			lost += size;
			break;
		case 2:
			delivery_on_late(&d, now, size);
			delivered += size;
			lost -= CV_MIN(lost, size);
			break;
		case 3:
			delivery_on_dry(&d, now + rng_below(&rng, CV_MS(20)));
			break;
		default:
			next_batch();
			acknowledge(slot, now);
			delivered += SIZE;
			finish(rng_below(&rng, CV_MS(100)));
			assert_true(sample.delivered <= delivered);
			assert_true(sample.lost <= lost);
			break;
		}
		assert_int_equal(d.delivered, delivered);
		assert_int_equal(d.lost, lost);
		assert_true(d.delivered_at <= now);
		assert_true(d.first_sent_at <= now);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_steady_flow_shows_its_rate),
		cmocka_unit_test(a_heap_of_acks_is_no_faster_than_what_was_sent),
		cmocka_unit_test(a_burst_is_no_faster_than_its_acks),
		cmocka_unit_test(a_short_interval_is_no_sample),
		cmocka_unit_test(the_newest_packet_speaks_for_the_batch),
		cmocka_unit_test(a_pause_limits_the_next_round_trip),
		cmocka_unit_test(the_bubble_leaves_the_pipe),
		cmocka_unit_test(after_silence_measuring_begins_anew),
		cmocka_unit_test(losses_between_are_told),
		cmocka_unit_test(random_operations_keep_the_sums),
	};

	return cmocka_run_group_tests_name("delivery", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: what a single BBR flow has to reach on a link, as numbers: goodput under random loss on
 * both ways, in bursts, with jitter, behind a policer and with ACKs that come in heaps; short
 * queues; links that change. Method: cc_link in virtual time, thirty seconds behind the first
 * three, rows with the least goodput (per mille of what the link carries) over two seeds. Each
 * run prints what it measured: the bounds are goals, or where there is no goal a little below the
 * measurement.
 */
#include "tests/unit/cc_link.h"

enum { SEEDS = 2 };

static void measure(struct cc_link *l, unsigned warm_s, unsigned s)
{
	cc_link_run(l, CV_SEC(warm_s), NULL);
	cc_link_mark(l);
	cc_link_run(l, CV_SEC(s), NULL);
	assert_true(bbr_model_check(&l->flows[0].cc.bbr.model));
}

static void tell(const struct cc_link *l, const char *what)
{
	print_message("%s: goodput %u, drops %u per mille; queue p50 %u, p99 %u ms\n", what,
	              cc_link_goodput(l), cc_link_drops(l), cc_link_queue(l, 500),
	              cc_link_queue(l, 990));
}

/* 100 Mbit/s; loss on both ways. */
static void random_loss_costs_little(void **state)
{
	static const struct {
		const char *what;
		unsigned rtt_ms, buffer_percent;
		uint32_t loss_ppm;
		unsigned least; /* per mille */
	} rows[] = {
		{ "50 ms, one product, no loss", 50, 100, 0, 950 },
		{ "100 ms, one product, no loss", 100, 100, 0, 950 },
		{ "200 ms, one product, no loss", 200, 100, 0, 950 },
		{ "50 ms, two products, no loss", 50, 200, 0, 950 },
		{ "50 ms, one product, 1 %", 50, 100, 10000, 920 },
		{ "100 ms, one product, 1 %", 100, 100, 10000, 920 },
		{ "200 ms, one product, 1 %", 200, 100, 10000, 920 },
		{ "50 ms, two products, 1 %", 50, 200, 10000, 920 },
		{ "100 ms, two products, 1 %", 100, 200, 10000, 920 },
		{ "200 ms, two products, 1 %", 200, 200, 10000, 920 },
		{ "50 ms, one product, 5 %", 50, 100, 50000, 850 },
		{ "100 ms, one product, 5 %", 100, 100, 50000, 850 },
		{ "200 ms, one product, 5 %", 200, 100, 50000, 850 },
		{ "50 ms, two products, 5 %", 50, 200, 50000, 850 },
		{ "100 ms, two products, 5 %", 100, 200, 50000, 850 },
		{ "200 ms, two products, 5 %", 200, 200, 50000, 850 },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		for (uint64_t seed = 1; seed <= SEEDS; seed++) {
			struct cc_link *l = cc_link_new(CC_BBR, 100, CV_MS(rows[i].rtt_ms),
			                                rows[i].buffer_percent, seed);

			l->loss_ppm = l->ack_loss_ppm = rows[i].loss_ppm;
			measure(l, 3, 30);
			tell(l, rows[i].what);
			assert_true(cc_link_goodput(l) >= rows[i].least);
		}
	}
}

static void a_shallow_buffer_is_not_flooded(void **state)
{
	static const unsigned rtts_ms[] = { 50, 100, 200 };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rtts_ms); i++) {
		struct cc_link *l = cc_link_new(CC_BBR, 100, CV_MS(rtts_ms[i]), 10, i);

		measure(l, 3, 30);
		tell(l, "a tenth of a product");
		assert_true(cc_link_drops(l) <= 50);
		assert_true(cc_link_goodput(l) >= 880);
	}
}

/* What the tunnel's other streams wait for. */
static void a_lone_flow_keeps_the_queue_short(void **state)
{
	static const unsigned buffers[] = { 50, 100, 200, 400 };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(buffers); i++) {
		for (uint64_t seed = 1; seed <= SEEDS; seed++) {
			struct cc_link *l = cc_link_new(CC_BBR, 100, CV_MS(50), buffers[i], seed);

			measure(l, 3, 30);
			tell(l, "a lone flow");
			assert_true(cc_link_queue(l, 990) <= 15);
			assert_true(cc_link_queue(l, 500) <= 2);
		}
	}
}

/* A token bucket that drops, at a tenth of the link. A.17 */
static void a_policer_is_conformed_to(void **state)
{
	static const uint64_t depths[] = { 30000, 100000, 300000, 1000000 };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(depths); i++) {
		for (uint64_t seed = 1; seed <= SEEDS; seed++) {
			struct cc_link *l = cc_link_new(CC_BBR, 100, CV_MS(50), 200, seed);

			l->policer_rate = 1250000;
			l->policer_depth = depths[i];
			l->policer_level = (int64_t)depths[i];
			measure(l, 3, 30);
			tell(l, "policed to a tenth");
			assert_true(cc_link_drops(l) <= 60);
			assert_true(cc_link_goodput(l) >= 90);
		}
	}
}

/* ACKs are let go every so often. A.12, A.13; the ACK burst of a sleeping radio */
static void heaps_of_acks_do_not_stall_the_flow(void **state)
{
	static const struct {
		const char *what;
		unsigned hold_ms, rtt_ms;
	} rows[] = {
		{ "5 ms on 20", 5, 20 },   { "5 ms on 50", 5, 50 },   { "5 ms on 100", 5, 100 },
		{ "20 ms on 20", 20, 20 }, { "20 ms on 50", 20, 50 }, { "20 ms on 100", 20, 100 },
		{ "50 ms on 20", 50, 20 }, { "50 ms on 50", 50, 50 }, { "50 ms on 100", 50, 100 },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct cc_link *l = cc_link_new(CC_BBR, 100, CV_MS(rows[i].rtt_ms), 200, 1);

		l->hold = CV_MS(rows[i].hold_ms);
		measure(l, 3, 30);
		tell(l, rows[i].what);
		assert_true(cc_link_goodput(l) >= 850);
	}
}

/* 50 to 150 ms, packets in order. */
static void jitter_is_not_taken_for_a_queue(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct cc_link *l = cc_link_new(CC_BBR, 10, CV_MS(50), 400, seed);

		l->jitter = CV_MS(100);
		measure(l, 3, 30);
		tell(l, "50 to 150 ms at 10 Mbit/s");
		assert_true(cc_link_goodput(l) >= 900);
	}
}

/* Gilbert's model, bursts of five packets on average. There is no goal: what was measured, less a
 * bit. */
static void bursts_of_loss_are_survived(void **state)
{
	static const struct {
		const char *what;
		uint32_t loss_ppm;
		unsigned rtt_ms, least;
	} rows[] = {
		{ "1 % in bursts, 50 ms", 10000, 50, 880 },
		{ "1 % in bursts, 100 ms", 10000, 100, 880 },
		{ "1 % in bursts, 200 ms", 10000, 200, 880 },
		{ "5 % in bursts, 50 ms", 50000, 50, 750 },
		{ "5 % in bursts, 100 ms", 50000, 100, 750 },
		{ "5 % in bursts, 200 ms", 50000, 200, 750 },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		for (uint64_t seed = 1; seed <= SEEDS; seed++) {
			struct cc_link *l =
				cc_link_new(CC_BBR, 100, CV_MS(rows[i].rtt_ms), 100, seed);

			l->loss_ppm = rows[i].loss_ppm;
			l->burst = 5;
			measure(l, 3, 30);
			tell(l, rows[i].what);
			assert_true(cc_link_goodput(l) >= rows[i].least);
		}
	}
}

/* From 1 to 1000 Mbit/s and 1 to 600 ms: no path on which it fails to work. */
static void every_kind_of_path_is_filled(void **state)
{
	static const unsigned rtts_ms[] = { 1, 2, 5, 20, 50, 200, 600 };
	static const unsigned rates[] = { 1, 10, 100, 1000 };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rates); i++) {
		for (size_t k = 0; k < CV_ARRAY_SIZE(rtts_ms); k++) {
			struct cc_link *l =
				cc_link_new(CC_BBR, rates[i], CV_MS(rtts_ms[k]), 100, 1);

			measure(l, 5 + rtts_ms[k] / 40, rates[i] == 1000 ? 5 : 15);
			print_message("%u Mbit/s, %u ms: ", rates[i], rtts_ms[k]);
			tell(l, "");
			/* 64 MiB in 600 ms are 895 Mbit/s: the most a window may be. */
			assert_true(cc_link_goodput(l) >=
			            (rates[i] == 1000 && rtts_ms[k] == 600 ? 800 : 950));
			assert_true(cc_link_drops(l) <= 50);
		}
	}
}

/* A.15 at the link: 10 Mbit/s become 100. */
static void ten_times_the_rate_is_found_within_four_seconds(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct cc_link *l = cc_link_new(CC_BBR, 10, CV_MS(50), 200, seed);

		cc_link_run(l, CV_SEC(10), NULL);
		l->rate *= 10;
		l->buffer *= 10;
		measure(l, 4, 2);
		tell(l, "four seconds after the rate rose tenfold");
		assert_true(cc_link_goodput(l) >= 900);
	}
}

/* A.16 at the link: 100 Mbit/s become 10. */
static void a_tenth_of_the_rate_is_respected_within_six_seconds(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct cc_link *l = cc_link_new(CC_BBR, 100, CV_MS(50), 200, seed);

		cc_link_run(l, CV_SEC(10), NULL);
		l->rate /= 10;
		l->buffer /= 10;
		measure(l, 6, 4);
		tell(l, "six seconds after the rate fell tenfold");
		assert_true(cc_link_goodput(l) >= 950);
		assert_true(cc_link_drops(l) <= 10);
		assert_true(cc_link_queue(l, 500) <= 15);
	}
}

/* The old minimum is believed for ten seconds; then the new one. */
static void a_longer_path_is_filled_again(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct cc_link *l = cc_link_new(CC_BBR, 100, CV_MS(50), 200, seed);

		cc_link_run(l, CV_SEC(10), NULL);
		l->rtt *= 2;
		l->flows[0].rtt = l->rtt;
		measure(l, 1, 9);
		tell(l, "the first ten seconds at twice the round trip");
		assert_true(cc_link_goodput(l) >= 750);
		measure(l, 2, 10);
		tell(l, "later");
		assert_true(cc_link_goodput(l) >= 950);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(random_loss_costs_little),
		cmocka_unit_test(a_shallow_buffer_is_not_flooded),
		cmocka_unit_test(a_lone_flow_keeps_the_queue_short),
		cmocka_unit_test(a_policer_is_conformed_to),
		cmocka_unit_test(heaps_of_acks_do_not_stall_the_flow),
		cmocka_unit_test(jitter_is_not_taken_for_a_queue),
		cmocka_unit_test(bursts_of_loss_are_survived),
		cmocka_unit_test(every_kind_of_path_is_filled),
		cmocka_unit_test(ten_times_the_rate_is_found_within_four_seconds),
		cmocka_unit_test(a_tenth_of_the_rate_is_respected_within_six_seconds),
		cmocka_unit_test(a_longer_path_is_filled_again),
	};

	return cmocka_run_group_tests_name("bbr_targets", tests, NULL, NULL);
}

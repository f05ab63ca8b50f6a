/* SPDX-License-Identifier: MIT */

/*
 * Goal: what other stacks got wrong with BBR stays right here, each mistake a test; and the
 * contract of cc.h. Method: rounds that are told (bbr_story) and a link in virtual time (cc_link).
 * Mistakes that belong to one part alone are tested there:
 *
 *	flow-controlled or idle taken for path-limited, pacing for idleness	test_delivery
 *	products and volumes below zero or beyond 64 bits, sentinels		test_bbr_model
 *	one burst of losses taken for congestion in STARTUP			test_bbr_draft, A.2
 *	a handshake or a pause taken for a plateau				test_bbr_draft, A.7
 *	jitter taken for a queue						test_bbr_targets
 *	trains of one packet, small packets charged like large ones		test_pacer
 *	the controller not told of packets, or told too late			test_builder
 */
#include "tests/unit/bbr_story.h"
#include "tests/unit/cc_link.h"

static struct story s;

static struct bbr *b(void)
{
	return story_bbr(&s);
}

/* ---- the contract ---- */

static void every_state_has_a_name(void **state)
{
	(void)state;
	for (unsigned i = 0; i <= BBR_PROBE_RTT; i++) {
		for (unsigned k = 0; k < i; k++)
			assert_string_not_equal(bbr_state_name(i), bbr_state_name(k));
	}
	assert_string_equal(bbr_ops.name, "bbr");
}

/* The initial window in one round trip, times 2.77; done again when the round trip is known. */
static void an_idle_flow_is_paced_once_its_round_trip_is_known(void **state)
{
	const uint64_t window = (uint64_t)CC_INITIAL_PACKETS * STORY_MSS * 277 / 100;
	struct rtt rtt;

	(void)state;
	cc_init(&s.cc, CC_BBR, STORY_MSS, UINT64_C(64) << 20, CV_SEC(1), 1);
	assert_int_equal(s.cc.cwnd, (uint64_t)CC_INITIAL_PACKETS * STORY_MSS);
	assert_in_range(s.cc.pacing_rate, window * 10 - 10,
	                window * 10); /* 100 ms for want of any */
	rtt_init(&rtt);
	rtt_on_sample(&rtt, CV_MS(200), 0);
	s.cc.ops->on_first_rtt(&s.cc, CV_SEC(1), &rtt);
	assert_in_range(s.cc.pacing_rate, window * 5 - 10, window * 5);
	/* Or by the first ACK, which brings the tiny rate of a small packet as well. */
	story_begin(&s);
	rtt_init(&s.rtt);
	cc_init(&s.cc, CC_BBR, STORY_MSS, UINT64_C(64) << 20, CV_SEC(1), 1);
	s.is_app_limited = true;
	s.packets = 1;
	s.inflight = 0;
	story_round(&s, 20000);
	assert_in_range(s.cc.pacing_rate, window * 20 - 20, window * 20);
	/* Then whatever it sends, as little as it is. */
	story_begin(&s);
	s.is_app_limited = true;
	s.packets = 1;
	s.inflight = 0;
	for (unsigned i = 0; i < 100; i++)
		story_round(&s, 20000);
	assert_true(s.cc.pacing_rate <= window * 20);
	assert_true(s.cc.pacing_rate >= 20000 * 2);
}

static void limits_hold(void **state)
{
	(void)state;
	story_reach_cruise(&s);
	cc_set_cwnd_max(&s.cc, 50 * STORY_MSS);
	assert_int_equal(s.cc.cwnd, 50 * STORY_MSS);
	for (unsigned i = 0; i < 100; i++)
		story_round(&s, STORY_RATE);
	assert_true(s.cc.cwnd <= 50 * STORY_MSS);
	cc_set_cwnd_max(&s.cc, 0);
	story_round(&s, STORY_RATE);
	assert_int_equal(s.cc.cwnd, UINT64_C(4) * STORY_MSS);
	cc_set_cwnd_max(&s.cc, UINT64_MAX);
	cc_set_mss(&s.cc, CC_MSS_MAX);
	story_round(&s, STORY_RATE);
	assert_true(s.cc.cwnd >= UINT64_C(4) * CC_MSS_MAX);
	for (unsigned i = 0; i < 500; i++)
		story_round(&s, UINT64_MAX);
	assert_true(s.cc.cwnd <= CC_CWND_MAX);
}

/* Two to three seconds, drawn: flows do not probe in step. */
static void probes_are_apart_at_random(void **state)
{
	cv_duration least = CV_SEC(9), most = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 50; seed++) {
		story_begin(&s);
		b()->seed = (seed << 20) | 1;
		story_until(&s, BBR_DRAIN, 10);
		story_until(&s, BBR_DOWN, 10);
		assert_in_range(b()->probe_wait, CV_SEC(2), CV_SEC(3));
		least = CV_MIN(least, b()->probe_wait);
		most = CV_MAX(most, b()->probe_wait);
	}
	assert_true(most - least > CV_MS(600));
}

/* ---- flows that have little to send ---- */

static void a_sparse_flow_does_not_grow_its_window(void **state)
{
	struct cc_link *l = cc_link_new(CC_BBR, 100, CV_MS(50), 100, 1);
	struct cc_flow *f = &l->flows[0];

	(void)state;
	f->app_rate = 125000; /* 1 Mbit/s */
	cc_link_run(l, CV_SEC(5), NULL);
	assert_true(bbr_model_max_bw(&f->cc.bbr.model) > 0);
	for (unsigned i = 0; i < 60; i++) {
		cc_link_run(l, CV_SEC(1), NULL);
		assert_true(f->cc.cwnd <= 100 * UINT64_C(1472));
		assert_true(bbr_model_extra(&f->cc.bbr.model, false) <= 30 * UINT64_C(1472));
	}
	assert_int_equal(f->cc.bbr.state, BBR_STARTUP);
}

/* A window of the receiver, or an application, that holds the flow below the path: as soon as it is
 * gone the path is filled. */
static void a_limit_that_ends_is_not_remembered(void **state)
{
	struct cc_link *l = cc_link_new(CC_BBR, 100, CV_MS(50), 100, 1);

	(void)state;
	l->flows[0].app_rate = 8000000 / 8;
	cc_link_run(l, CV_SEC(20), NULL);
	l->flows[0].app_rate = UINT64_MAX;
	cc_link_run(l, CV_MS(1500), NULL);
	cc_link_mark(l);
	cc_link_run(l, CV_SEC(3), NULL);
	print_message("goodput %u per mille\n", cc_link_goodput(l));
	assert_true(cc_link_goodput(l) >= 900);
}

/* Tunnels are idle most of the time: data that come back find the rate that was known. */
static void a_rate_is_remembered_through_pauses(void **state)
{
	static const uint64_t rates[] = { 0, 2000, 125000 };

	(void)state;
	for (unsigned i = 0; i < CV_ARRAY_SIZE(rates); i++) {
		struct cc_link *l = cc_link_new(CC_BBR, 100, CV_MS(50), 100, 1);

		cc_link_run(l, CV_SEC(5), NULL);
		l->flows[0].app_rate = rates[i];
		cc_link_run(l, CV_SEC(120), NULL);
		l->flows[0].app_rate = UINT64_MAX;
		cc_link_run(l, CV_MS(60), NULL);
		cc_link_mark(l);
		cc_link_run(l, CV_SEC(1), NULL);
		print_message("after two minutes of %u bytes a second: %u per mille\n",
		              (unsigned)rates[i], cc_link_goodput(l));
		assert_true(cc_link_goodput(l) >= 850);
		assert_true(cc_link_drops(l) <= 10);
	}
}

/* After a pause the first round trips are those of somebody else's queue: not for long. */
static void a_queue_after_a_pause_is_not_believed_for_long(void **state)
{
	struct cc_link *l = cc_link_new(CC_BBR, 100, CV_MS(50), 400, 1);
	struct cc_flow *f = &l->flows[0];

	(void)state;
	cc_link_run(l, CV_SEC(5), NULL);
	f->app_rate = 0;
	cc_link_run(l, CV_SEC(1), NULL);
	(void)cc_link_add(l, CC_CUBIC);
	cc_link_run(l, CV_SEC(20), NULL);
	f->app_rate = UINT64_MAX;
	cc_link_run(l, CV_SEC(2), NULL);
	l->flows[1].app_rate = 0;
	print_message("least round trip %u ms\n", (unsigned)(f->cc.bbr.model.min_rtt / CV_MS(1)));
	cc_link_run(l, CV_SEC(5), NULL);
	assert_true(f->cc.bbr.model.min_rtt <= CV_MS(55));
	cc_link_mark(l);
	cc_link_run(l, CV_SEC(5), NULL);
	assert_true(cc_link_queue(l, 990) <= 20);
	assert_true(cc_link_share(l, f) >= 900);
}

/* ---- slow and fast paths ---- */

static unsigned restarts;

static void count_restarts(struct cc_link *l)
{
	restarts += l->flows[0].cc.bbr.is_restarting;
}

/* One packet at a time leaves nothing in flight between two: that is pacing, no idleness. */
static void nothing_in_flight_between_two_packets_is_no_pause(void **state)
{
	struct cc_link *l = cc_link_new(CC_BBR, 1, CV_MS(2), 100, 1);

	(void)state;
	l->buffer = 20 * l->mss;
	restarts = 0;
	cc_link_run(l, CV_SEC(30), count_restarts);
	assert_int_equal(restarts, 0);
	assert_in_range(bbr_model_max_bw(&l->flows[0].cc.bbr.model), l->rate * 8 / 10,
	                l->rate * 13 / 10);
}

/* Half of the product is less than the window ever is: four packets in flight are low enough. */
static void probe_rtt_ends_on_a_path_of_one_packet(void **state)
{
	(void)state;
	story_begin(&s);
	s.packets = 4;
	s.inflight = 4 * STORY_MSS;
	for (unsigned i = 0; i < 10; i++)
		story_round(&s, 20000);
	s.round_trip = STORY_RTT * 2;
	for (unsigned i = 0; i < 200 && b()->state != BBR_PROBE_RTT; i++)
		story_round(&s, 20000);
	assert_int_equal(b()->state, BBR_PROBE_RTT);
	assert_int_equal(s.cc.cwnd, UINT64_C(4) * STORY_MSS);
	for (unsigned i = 0; i < 6; i++)
		story_round(&s, 20000);
	assert_int_not_equal(b()->state, BBR_PROBE_RTT);
}

/* The schedulers of two hosts are no path: no pacing, no freezing, no ProbeRTT, whatever they do.
 */
static void a_lan_is_not_paced(void **state)
{
	(void)state;
	story_begin(&s);
	rtt_init(&s.rtt);
	s.round_trip = CV_US(60);
	s.packets = 20;
	for (unsigned i = 0; i < 20000; i++) {
		s.round_trip = CV_US(60) + CV_US(i * 37 % 900);
		if (i % 500 == 0)
			story_lose(&s, 20, true, 20 * STORY_MSS);
		if (i % 1000 == 0)
			s.now += CV_SEC(1);
		story_round(&s, STORY_RATE);
		assert_int_equal(s.cc.pacing_rate, 0);
		assert_true(s.cc.cwnd >= 200 * STORY_MSS || i < 60);
		assert_int_not_equal(b()->state, BBR_PROBE_RTT);
	}
}

/* A radio that sleeps: nothing, then all ACKs at once. */
static void a_path_that_sleeps_is_filled_again(void **state)
{
	struct cc_link *l = cc_link_new(CC_BBR, 100, CV_MS(50), 200, 1);

	(void)state;
	cc_link_run(l, CV_SEC(5), NULL);
	l->hold = CV_MS(600);
	cc_link_run(l, CV_SEC(3), NULL);
	l->hold = 0;
	cc_link_run(l, CV_SEC(1), NULL);
	cc_link_mark(l);
	cc_link_run(l, CV_SEC(4), NULL);
	print_message("goodput %u per mille\n", cc_link_goodput(l));
	assert_true(cc_link_goodput(l) >= 900);
}

/* ---- the cycle ---- */

static cv_time down_since;
static cv_duration down_longest;

static void watch_down(struct cc_link *l)
{
	if (l->flows[0].cc.bbr.state != BBR_DOWN)
		down_since = l->now;
	down_longest = CV_MAX(down_longest, l->now - down_since);
}

/* Some round trips of a queue that drains, not a cycle. */
static void down_is_short(void **state)
{
	static const unsigned rtts_ms[] = { 10, 50, 200 };

	(void)state;
	for (unsigned i = 0; i < CV_ARRAY_SIZE(rtts_ms); i++) {
		struct cc_link *l = cc_link_new(CC_BBR, 100, CV_MS(rtts_ms[i]), 200, 1);

		down_since = l->now;
		down_longest = 0;
		cc_link_run(l, CV_SEC(30), watch_down);
		print_message("%u ms: %u ms\n", rtts_ms[i], (unsigned)(down_longest / CV_MS(1)));
		assert_true(down_longest <= 5 * CV_MS(rtts_ms[i]) + CV_MS(20));
	}
}

/* Held back at any time of the round: by its end the ACKs have made room again. */
static void a_window_that_was_full_for_a_moment_may_grow(void **state)
{
	uint64_t before = 0;

	(void)state;
	for (unsigned was_full = 0; was_full < 2; was_full++) {
		story_reach_up(&s, true);
		b()->model.inflight_long = s.cc.cwnd;
		s.inflight = 0;
		for (unsigned i = 0; i < 3; i++) {
			before = b()->model.inflight_long;
			s.cc.cwnd = before;
			s.packets = 1;
			s.is_limited = was_full;
			story_ack(&s, STORY_RATE, false);
			s.is_limited = false;
			s.cc.cwnd = b()->model.inflight_long;
			s.packets = s.cc.cwnd / STORY_MSS;
			story_ack(&s, STORY_RATE, false);
			s.now += STORY_RTT;
			s.packets = 1;
			story_ack(&s, STORY_RATE * 2, true);
		}
		assert_int_equal(b()->model.inflight_long > before, was_full);
	}
}

/* What its numbers say of losses is told with each train: nothing, where a queue stands. */
static void phases_are_told_with_trains(void **state)
{
	(void)state;
	story_begin(&s);
	assert_int_equal(s.cc.phase, LOSS_PHASE_PROBE);
	story_until(&s, BBR_DRAIN, 10);
	assert_int_equal(s.cc.phase, LOSS_PHASE_OTHER);
	story_reach_down(&s);
	assert_int_equal(s.cc.phase, LOSS_PHASE_DOWN);
	story_reach_cruise(&s);
	assert_int_equal(s.cc.phase, LOSS_PHASE_CRUISE);
	s.round_trip = STORY_RTT + STORY_RTT / 10;
	for (unsigned i = 0; i < 3; i++)
		story_round(&s, STORY_RATE);
	assert_int_equal(b()->state, BBR_CRUISE);
	assert_int_equal(s.cc.phase, LOSS_PHASE_OTHER);
	story_reach_up(&s, true);
	assert_int_equal(s.cc.phase, LOSS_PHASE_PROBE);
	assert_true(s.cc.is_probing);
}

/* The same story, the same window: integers only, and no draw but the seed's. */
static void a_seed_gives_the_same_bytes(void **state)
{
	uint64_t bytes[2] = { 0 };

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct cc_link *l = cc_link_new(CC_BBR, 100, CV_MS(50), 50, 7);

		l->loss_ppm = 10000;
		cc_link_run(l, CV_SEC(10), NULL);
		bytes[i] = l->flows[0].sent_bytes ^ l->flows[0].cc.pacing_rate << 20;
	}
	assert_int_equal(bytes[0], bytes[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_state_has_a_name),
		cmocka_unit_test(an_idle_flow_is_paced_once_its_round_trip_is_known),
		cmocka_unit_test(limits_hold),
		cmocka_unit_test(probes_are_apart_at_random),
		cmocka_unit_test(a_sparse_flow_does_not_grow_its_window),
		cmocka_unit_test(a_limit_that_ends_is_not_remembered),
		cmocka_unit_test(a_rate_is_remembered_through_pauses),
		cmocka_unit_test(a_queue_after_a_pause_is_not_believed_for_long),
		cmocka_unit_test(nothing_in_flight_between_two_packets_is_no_pause),
		cmocka_unit_test(probe_rtt_ends_on_a_path_of_one_packet),
		cmocka_unit_test(a_lan_is_not_paced),
		cmocka_unit_test(a_path_that_sleeps_is_filled_again),
		cmocka_unit_test(down_is_short),
		cmocka_unit_test(a_window_that_was_full_for_a_moment_may_grow),
		cmocka_unit_test(phases_are_told_with_trains),
		cmocka_unit_test(a_seed_gives_the_same_bytes),
	};

	return cmocka_run_group_tests_name("bbr", tests, NULL, NULL);
}

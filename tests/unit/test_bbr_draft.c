/* SPDX-License-Identifier: MIT */

/*
 * Goal: the example test cases of draft-ietf-ccwg-bbr-06, appendix A, by their numbers. Method: the
 * controller is told of rounds (bbr_story), or, where what it sends must come back, runs on a link
 * in virtual time (cc_link). Where bbr.c does otherwise than the draft the case says so.
 */
#include "tests/unit/bbr_story.h"
#include "tests/unit/cc_link.h"

#define NO_BOUND UINT64_MAX

static struct story s;

static struct bbr *b(void)
{
	return story_bbr(&s);
}

static void expect(enum bbr_state state)
{
	assert_string_equal(bbr_state_name(b()->state), bbr_state_name(state));
}

/* A rate that @percent of the path's gives, paced with the margin of one percent. */
static void expect_pacing(uint64_t percent)
{
	uint64_t rate = STORY_RATE * percent / 100 / 100 * 99;

	assert_in_range(s.cc.pacing_rate, rate - 100, rate + 100);
}

/* ---- STARTUP, DRAIN ---- */

/* Three rounds without a queue; one where a queue stands (not the draft's). */
static void a1_startup_ends_on_a_plateau(void **state)
{
	(void)state;
	story_begin(&s);
	for (uint64_t rate = 1000000; rate < STORY_RATE; rate = rate * 5 / 4) {
		story_round(&s, rate);
		expect(BBR_STARTUP);
		assert_int_equal(b()->full_bw_count, 0);
	}
	story_round(&s, STORY_RATE);
	for (unsigned i = 1; i < 3; i++) {
		story_round(&s, STORY_RATE / 100 * 124);
		if (i == 1) /* 24 % above a maximum that is a bit lower may be growth */
			b()->full_bw_count = 1;
		expect(BBR_STARTUP);
	}
	assert_false(b()->was_full);
	story_round(&s, STORY_RATE);
	assert_true(b()->was_full);
	expect(BBR_DRAIN);

	story_begin(&s);
	story_round(&s, STORY_RATE);
	s.round_trip = STORY_RTT + STORY_RTT / 4 + CV_MS(2); /* just no queue of a quarter */
	story_round(&s, STORY_RATE);
	story_round(&s, STORY_RATE);
	expect(BBR_STARTUP);
	story_begin(&s);
	story_round(&s, STORY_RATE);
	s.round_trip = STORY_RTT + STORY_RTT / 4 + CV_MS(2) + 1;
	story_round(&s, STORY_RATE * 2); /* growth: nothing is full */
	expect(BBR_STARTUP);
	story_round(&s, STORY_RATE * 2);
	expect(BBR_DRAIN);
}

/* Losses above two percent in six places, in a queue. */
static void lose_in_startup(uint64_t packets, bool bursts)
{
	story_begin(&s);
	s.inflight = 100 * STORY_BDP; /* nothing is drained */
	story_round(&s, STORY_RATE / 4);
	s.round_trip = STORY_RTT * 2;
	story_round(&s, STORY_RATE / 2);
	story_round(&s, STORY_RATE);
	story_lose(&s, packets, bursts, 2 * STORY_BDP);
	story_round(&s, STORY_RATE * 2);
}

static void a2_startup_ends_on_loss(void **state)
{
	uint64_t bdp;

	(void)state;
	lose_in_startup(40, true);
	expect(BBR_DRAIN);
	assert_true(b()->was_full);
	assert_int_equal(b()->undo_state, BBR_STARTUP);
	bdp = bbr_model_bdp(&b()->model, bbr_model_max_bw(&b()->model), 100);
	assert_true(b()->model.inflight_long >= bdp || b()->model.inflight_long >= 500000);
	assert_int_not_equal(b()->model.inflight_long, NO_BOUND);
	/* One burst, however long, is not enough. */
	lose_in_startup(100, false);
	expect(BBR_STARTUP);
	/* Nor are few packets. */
	lose_in_startup(6, true);
	expect(BBR_STARTUP);
}

static void a3_drain_ends_on_inflight(void **state)
{
	(void)state;
	story_begin(&s);
	story_until(&s, BBR_DRAIN, 10);
	expect_pacing(50);
	s.inflight = 2 * STORY_BDP;
	story_round(&s, STORY_RATE);
	expect(BBR_DRAIN);
	/* Nothing holds DOWN up then. */
	s.inflight = STORY_BDP;
	story_round(&s, STORY_RATE);
	expect(BBR_CRUISE);
}

static void a4_drain_ends_on_time(void **state)
{
	unsigned rounds = 0;

	(void)state;
	story_begin(&s);
	story_until(&s, BBR_DRAIN, 10);
	s.inflight = 3 * STORY_BDP;
	while (b()->state == BBR_DRAIN) {
		story_round(&s, STORY_RATE / 10 * 9);
		rounds++;
		assert_true(rounds <= 4);
	}
	assert_int_equal(rounds, 4); /* three round trips, and the ACK that shows it */
	expect(BBR_DOWN);
}

/* ---- UP ---- */

/* Nothing but the bound holds the flow back, and a window is acknowledged in two batches. */
static void round_at_the_bound(void)
{
	s.is_limited = true;
	s.inflight = 0;
	s.cc.cwnd = b()->model.inflight_long;
	s.packets = s.cc.cwnd / STORY_MSS;
	story_round(&s, STORY_RATE);
	s.cc.cwnd = b()->model.inflight_long;
	s.packets = 0;
	story_ack(&s, STORY_RATE, false);
}

/* Beside others three rounds, alone two (not the draft's). */
static void a5_up_ends_on_a_plateau(void **state)
{
	(void)state;
	story_reach_up(&s, true);
	expect_pacing(125);
	for (unsigned i = 0; i < 3; i++) {
		expect(BBR_UP);
		story_round(&s, STORY_RATE);
	}
	assert_true(b()->model.inflight_long == NO_BOUND);
	expect(BBR_DOWN);
	assert_false(b()->was_too_high);
	/* It persists as long as the rate grows. */
	story_reach_up(&s, true);
	for (uint64_t i = 0, rate = STORY_RATE; i < 12; i++) {
		rate = rate * 13 / 10;
		story_round(&s, rate);
		expect(BBR_UP);
	}
	/* Where our own bound is what keeps the rate, it is no plateau. */
	story_reach_up(&s, true);
	b()->model.inflight_long = s.cc.cwnd;
	for (unsigned i = 0; i < 6; i++)
		round_at_the_bound();
	expect(BBR_UP);

	story_reach_up(&s, false);
	assert_true(b()->is_alone);
	story_round(&s, STORY_RATE);
	story_round(&s, STORY_RATE);
	expect(BBR_UP);
	story_round(&s, STORY_RATE);
	expect(BBR_DOWN);
}

static void a6_up_ends_on_loss_though_the_application_limits(void **state)
{
	(void)state;
	story_reach_up(&s, true);
	b()->model.inflight_long = 2 * STORY_BDP;
	s.is_app_limited = true;
	story_lose(&s, 100, true, STORY_BDP / 4);
	expect(BBR_DOWN);
	assert_true(b()->was_too_high);
	/* A volume that the application chose says nothing about what the path takes. */
	assert_int_equal(b()->model.inflight_long, 2 * STORY_BDP);
}

static void a7_up_and_startup_wait_for_the_application(void **state)
{
	(void)state;
	story_begin(&s);
	s.is_app_limited = true;
	s.inflight = 0;
	for (unsigned i = 0; i < 200; i++)
		story_round(&s, 100000);
	expect(BBR_STARTUP);
	for (unsigned i = 0; i < 2; i++) {
		story_reach_up(&s, i == 0);
		s.is_app_limited = true;
		s.inflight = STORY_BDP / 4;
		s.round_trip = STORY_RTT;
		for (unsigned k = 0; k < 200; k++) {
			story_round(&s, STORY_RATE / 4);
			expect(BBR_UP);
		}
	}
}

/* ---- DOWN ---- */

/* CRUISE keeps the headroom by its window: after two rounds the BDP is enough (not the draft's). */
static void a8_down_ends_on_inflight(void **state)
{
	(void)state;
	story_reach_down(&s);
	expect_pacing(90);
	s.inflight = 2 * STORY_BDP;
	story_round(&s, STORY_RATE);
	expect(BBR_DOWN);
	s.inflight = STORY_BDP;
	story_round(&s, STORY_RATE);
	expect(BBR_CRUISE);
	expect_pacing(100);
	/* With a bound: 15 % below it. */
	story_reach_down(&s);
	b()->model.inflight_long = STORY_BDP;
	s.packets = 0; /* in flight as much as the bound, no more */
	s.inflight = STORY_BDP * 86 / 100;
	story_ack(&s, STORY_RATE, false);
	expect(BBR_DOWN);
	s.inflight = STORY_BDP * 85 / 100;
	story_ack(&s, STORY_RATE, false);
	expect(BBR_CRUISE);
}

static void a9_down_ends_on_time(void **state)
{
	cv_time began;

	(void)state;
	story_reach_down(&s);
	began = s.now;
	s.inflight = 3 * STORY_BDP;
	s.round_trip = STORY_RTT + STORY_RTT / 16; /* ten of a hundred too much is in flight */
	while (b()->state == BBR_DOWN)
		story_round(&s, STORY_RATE / 10 * 9);
	expect(BBR_REFILL);
	assert_in_range(s.now - began, CV_SEC(2), CV_MS(3100));
	assert_true(b()->model.bw_short == NO_BOUND);
}

/* ---- PROBE_RTT ---- */

static void a10_probe_rtt_begins_and_ends(void **state)
{
	cv_time began;

	(void)state;
	story_reach_cruise(&s);
	/* A sixteenth more would confirm the minimum: no probe would be due. */
	s.round_trip = STORY_RTT + STORY_RTT / 10;
	began = s.now;
	while (b()->state != BBR_PROBE_RTT) {
		story_round(&s, STORY_RATE);
		assert_true(s.now < began + CV_MS(5200));
	}
	assert_true(s.now > began + CV_MS(4800));
	assert_true(s.cc.cwnd <= STORY_BDP * 11 / 10 / 2 + STORY_MSS);
	expect_pacing(100);
	/* The time counts from when the volume is down. */
	for (unsigned i = 0; i < 20; i++)
		story_round(&s, STORY_RATE);
	expect(BBR_PROBE_RTT);
	s.inflight = STORY_BDP / 2;
	began = s.now;
	while (b()->state == BBR_PROBE_RTT)
		story_round(&s, STORY_RATE);
	assert_in_range(s.now - began, CV_MS(200), CV_MS(400));
	expect(BBR_CRUISE);
	assert_true(s.cc.cwnd >= 2 * STORY_BDP);
}

static void a11_idleness_is_a_probe_of_its_own(void **state)
{
	struct cc_sent sent = { .number = 1, .bytes = STORY_MSS, .is_app_limited = true };

	(void)state;
	story_reach_cruise(&s);
	s.now += CV_SEC(6);
	s.cc.ops->on_sent(&s.cc, s.now, &sent);
	assert_true(b()->is_restarting);
	s.round_trip = STORY_RTT * 2;
	s.now += s.round_trip;
	story_ack(&s, STORY_RATE, true);
	assert_true(b()->model.is_probe_due);
	assert_int_not_equal(b()->state, BBR_PROBE_RTT);
	assert_false(b()->is_restarting);
	/* Not idle: a pacer that lets one packet go at a time is no pause. */
	sent.is_app_limited = false;
	s.cc.ops->on_sent(&s.cc, s.now, &sent);
	assert_false(b()->is_restarting);
}

static void a20_probe_rtt_in_startup_leads_back(void **state)
{
	uint64_t rate = 100000;

	(void)state;
	story_begin(&s);
	story_round(&s, rate);
	s.round_trip = STORY_RTT * 11 / 10;
	while (b()->state == BBR_STARTUP && s.now < CV_SEC(10)) {
		s.now += CV_MS(500); /* a slow start indeed */
		rate = rate * 13 / 10;
		story_ack(&s, rate, true);
	}
	expect(BBR_PROBE_RTT);
	s.inflight = 0;
	for (unsigned i = 0; i < 6 && b()->state == BBR_PROBE_RTT; i++)
		story_round(&s, rate);
	expect(BBR_STARTUP);
	assert_false(b()->was_full);
}

/* ---- what happens to a path ---- */

static void a12_startup_on_a_path_that_aggregates(void **state)
{
	struct cc_link *l = cc_link_new(CC_BBR, 100, CV_MS(50), 200, 1);
	struct cc_flow *f = &l->flows[0];
	bool is_wider = false;

	(void)state;
	l->hold = CV_MS(30);
	for (unsigned i = 0; i < 2000 && f->cc.bbr.state == BBR_STARTUP; i++) {
		const struct bbr_model *m = &f->cc.bbr.model;

		cc_link_run(l, CV_MS(1), NULL);
		is_wider |= bbr_model_extra(m, true) > 0 &&
		            f->cc.cwnd > 2 * bbr_model_bdp(m, bbr_model_bw(m), 100);
	}
	assert_int_not_equal(f->cc.bbr.state, BBR_STARTUP);
	assert_true(is_wider);
	/* All of the rate was found, and not much more. */
	assert_in_range(bbr_model_max_bw(&f->cc.bbr.model), l->rate * 85 / 100, l->rate * 12 / 10);
}

static void a13_cruise_on_a_path_that_aggregates(void **state)
{
	struct cc_link *l = cc_link_new(CC_BBR, 100, CV_MS(50), 200, 1);
	struct cc_flow *f = &l->flows[0];

	(void)state;
	cc_link_run(l, CV_SEC(5), NULL);
	l->hold = CV_MS(30);
	cc_link_run(l, CV_SEC(5), NULL);
	cc_link_mark(l);
	cc_link_run(l, CV_SEC(10), NULL);
	print_message("goodput %u, extra %u KB\n", cc_link_goodput(l),
	              (unsigned)(bbr_model_extra(&f->cc.bbr.model, false) / 1000));
	assert_true(cc_link_goodput(l) >= 900);
	assert_true(bbr_model_extra(&f->cc.bbr.model, false) > 50000);
}

static void a14_less_than_a_packet_is_a_product(void **state)
{
	struct cc_link *l = cc_link_new(CC_BBR, 1, CV_MS(2), 100, 1);
	struct cc_flow *f = &l->flows[0];

	(void)state;
	l->buffer = 20 * l->mss;
	assert_true(cc_link_bdp(l) < l->mss);
	cc_link_run(l, CV_SEC(10), NULL);
	cc_link_mark(l);
	for (unsigned i = 0; i < 10000; i++) {
		cc_link_run(l, CV_MS(1), NULL);
		assert_true(f->cc.cwnd >= UINT64_C(4) * l->mss);
		assert_true(f->cc.pacing_rate > l->rate / 3 && f->cc.pacing_rate < l->rate * 3 / 2);
	}
	assert_true(cc_link_goodput(l) >= 950);
}

/* The steps by which the bound rises double with each round. */
static void a15_a_faster_path_is_found(void **state)
{
	uint64_t before, step = 0;

	(void)state;
	story_reach_up(&s, true);
	b()->model.inflight_long = s.cc.cwnd;
	for (unsigned i = 0; i < 7; i++) {
		before = b()->model.inflight_long;
		round_at_the_bound();
		expect(BBR_UP);
		if (i > 1)
			assert_in_range(b()->model.inflight_long - before, step * 3 / 2,
			                step * 5 / 2);
		step = b()->model.inflight_long - before;
	}
	assert_true(step >= 32 * STORY_MSS);
}

static void a16_a_slower_path_is_respected(void **state)
{
	struct cc_link *l = cc_link_new(CC_BBR, 100, CV_MS(50), 100, 1);
	struct bbr_model *m = &l->flows[0].cc.bbr.model;
	bool is_bounded = false;

	(void)state;
	cc_link_run(l, CV_SEC(10), NULL);
	assert_true(bbr_model_max_bw(m) > l->rate * 9 / 10);
	l->rate /= 10;
	l->buffer /= 10;
	for (unsigned i = 0; i < 2000; i++) {
		cc_link_run(l, CV_MS(1), NULL);
		is_bounded |= m->bw_short < l->rate * 3 || bbr_model_max_bw(m) < l->rate * 3;
	}
	assert_true(is_bounded);
	cc_link_run(l, CV_SEC(8), NULL);
	assert_in_range(bbr_model_max_bw(m), l->rate * 9 / 10, l->rate * 11 / 10);
}

/* How little is lost is a row of test_bbr_targets. */
static void a17_a_policer_draws_bounds(void **state)
{
	struct cc_link *l = cc_link_new(CC_BBR, 100, CV_MS(50), 200, 1);
	struct bbr_model *m = &l->flows[0].cc.bbr.model;
	bool is_rate_bounded = false, is_volume_bounded = false;

	(void)state;
	l->policer_rate = 1250000;
	l->policer_depth = 1000000;
	l->policer_level = 1000000;
	for (unsigned i = 0; i < 10000; i++) {
		cc_link_run(l, CV_MS(1), NULL);
		is_rate_bounded |= m->bw_short < NO_BOUND;
		is_volume_bounded |= m->inflight_short < NO_BOUND;
	}
	assert_true(is_rate_bounded);
	assert_true(is_volume_bounded);
	cc_link_run(l, CV_SEC(10), NULL);
	assert_in_range(bbr_model_bw(m), l->policer_rate * 7 / 10, l->policer_rate * 15 / 10);
}

/* ---- losses that were none, losses that were ---- */

static void a18_a_loss_that_was_none_is_undone(void **state)
{
	uint64_t window;

	(void)state;
	story_reach_up(&s, true);
	b()->model.inflight_long = 3 * STORY_BDP;
	window = s.cc.cwnd;
	story_lose(&s, 100, true, STORY_BDP);
	expect(BBR_DOWN);
	assert_int_equal(b()->undo_state, BBR_UP);
	assert_int_equal(b()->undo_inflight_long, 3 * STORY_BDP);
	assert_int_equal(b()->undo_bw_short, NO_BOUND);
	assert_int_equal(b()->undo_inflight_short, NO_BOUND);
	assert_true(b()->model.inflight_long < 3 * STORY_BDP);
	s.cc.ops->on_spurious(&s.cc, s.now);
	assert_int_equal(b()->model.inflight_long, 3 * STORY_BDP);
	assert_true(s.cc.cwnd >= window);
	/* The state comes back by way of REFILL. */
	story_round(&s, STORY_RATE);
	expect(BBR_REFILL);
	story_until(&s, BBR_UP, 3);
	/* Once. */
	b()->model.inflight_long = STORY_BDP;
	b()->undo_inflight_long = STORY_BDP;
	s.cc.ops->on_spurious(&s.cc, s.now);
	expect(BBR_UP);

	lose_in_startup(40, true);
	expect(BBR_DRAIN);
	s.cc.ops->on_spurious(&s.cc, s.now);
	expect(BBR_STARTUP);
	assert_false(b()->was_full);
}

static void a19_a_timeout_that_was_none_is_undone(void **state)
{
	struct cc_loss loss = { .lost = STORY_BDP, .inflight = 20 * STORY_MSS };
	uint64_t window;

	(void)state;
	story_reach_cruise(&s);
	window = s.cc.cwnd;
	story_lose(&s, 100, true, STORY_BDP);
	loss.is_persistent = true;
	s.cc.ops->on_loss(&s.cc, s.now, &loss, &s.rtt);
	assert_int_equal(s.cc.cwnd, 21 * STORY_MSS);
	assert_true(cc_check(&s.cc));
	s.cc.ops->on_spurious(&s.cc, s.now);
	assert_int_equal(s.cc.cwnd, window);
	assert_int_equal(b()->model.bw_short, NO_BOUND);
	assert_int_equal(b()->model.inflight_long, NO_BOUND);
	expect(BBR_CRUISE);
	/* A timeout that is not persistent takes nothing. */
	loss.is_persistent = false;
	s.cc.ops->on_loss(&s.cc, s.now, &loss, &s.rtt);
	assert_int_equal(s.cc.cwnd, window);
	/* Nor does it ever leave fewer than four packets. */
	loss = (struct cc_loss){ .lost = STORY_BDP, .is_persistent = true };
	s.cc.ops->on_loss(&s.cc, s.now, &loss, &s.rtt);
	assert_int_equal(s.cc.cwnd, UINT64_C(4) * STORY_MSS);
}

/* Beside others to seven tenths of where it lost (not the draft's), but not below those of the
 * product. */
static void a21_loss_in_up_ends_it(void **state)
{
	(void)state;
	story_reach_up(&s, true);
	b()->model.inflight_long = 3 * STORY_BDP;
	story_lose(&s, 100, true, 2 * STORY_BDP);
	expect(BBR_DOWN);
	assert_in_range(b()->model.inflight_long, STORY_BDP * 138 / 100, STORY_BDP * 145 / 100);
	assert_true(b()->was_too_high);
	story_reach_up(&s, true);
	story_lose(&s, 100, true, STORY_BDP / 10);
	expect(BBR_DOWN);
	assert_in_range(b()->model.inflight_long, STORY_BDP * 69 / 100, STORY_BDP * 71 / 100);
	/* Alone it stays at what it was. */
	story_reach_up(&s, false);
	story_lose(&s, 200, true, 2 * STORY_BDP);
	expect(BBR_DOWN);
	assert_in_range(b()->model.inflight_long, STORY_BDP * 195 / 100, STORY_BDP * 21 / 10);
	/* Two percent of what was in flight are the bound. */
	story_reach_up(&s, true);
	story_lose(&s, 10, true, STORY_BDP);
	expect(BBR_UP);
	story_lose(&s, 11, true, STORY_BDP);
	expect(BBR_DOWN);
}

static void a22_the_application_pauses_in_refill(void **state)
{
	uint64_t before;

	(void)state;
	story_reach_refill(&s);
	before = bbr_model_max_bw(&b()->model);
	s.is_app_limited = true;
	s.inflight = 0;
	s.packets = 1;
	story_ack(&s, STORY_RATE / 1000, false);
	assert_int_equal(bbr_model_max_bw(&b()->model), before);
	expect(BBR_REFILL);
	story_round(&s, STORY_RATE / 1000);
	expect(BBR_UP);
	assert_int_equal(bbr_model_max_bw(&b()->model), before);
	s.is_app_limited = false;
	s.packets = 500;
	story_until(&s, BBR_DOWN, 10);
	assert_int_equal(bbr_model_max_bw(&b()->model), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a1_startup_ends_on_a_plateau),
		cmocka_unit_test(a2_startup_ends_on_loss),
		cmocka_unit_test(a3_drain_ends_on_inflight),
		cmocka_unit_test(a4_drain_ends_on_time),
		cmocka_unit_test(a5_up_ends_on_a_plateau),
		cmocka_unit_test(a6_up_ends_on_loss_though_the_application_limits),
		cmocka_unit_test(a7_up_and_startup_wait_for_the_application),
		cmocka_unit_test(a8_down_ends_on_inflight),
		cmocka_unit_test(a9_down_ends_on_time),
		cmocka_unit_test(a10_probe_rtt_begins_and_ends),
		cmocka_unit_test(a11_idleness_is_a_probe_of_its_own),
		cmocka_unit_test(a12_startup_on_a_path_that_aggregates),
		cmocka_unit_test(a13_cruise_on_a_path_that_aggregates),
		cmocka_unit_test(a14_less_than_a_packet_is_a_product),
		cmocka_unit_test(a15_a_faster_path_is_found),
		cmocka_unit_test(a16_a_slower_path_is_respected),
		cmocka_unit_test(a17_a_policer_draws_bounds),
		cmocka_unit_test(a18_a_loss_that_was_none_is_undone),
		cmocka_unit_test(a19_a_timeout_that_was_none_is_undone),
		cmocka_unit_test(a20_probe_rtt_in_startup_leads_back),
		cmocka_unit_test(a21_loss_in_up_ends_it),
		cmocka_unit_test(a22_the_application_pauses_in_refill),
	};

	return cmocka_run_group_tests_name("bbr_draft", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * bbr_story - a BBR controller that is told of rounds, one batch of ACKs each, with whatever
 * numbers the test wants: what it does then is arithmetic. Where the numbers have to agree with
 * each other, cc_link is the better way.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tunnel/cc.h"

enum { STORY_MSS = 1000 };
#define STORY_RTT CV_MS(50)
#define STORY_RATE UINT64_C(10000000) /* 500 packets are its product with the round trip */
#define STORY_BDP UINT64_C(500000)

struct story {
	struct cc cc;
	struct rtt rtt;
	cv_time now;
	uint64_t delivered, lost, number;
	/* of the next round; kept */
	cv_duration round_trip;
	uint64_t inflight; /* behind it */
	uint64_t packets;
	bool is_app_limited, is_limited;
};

static inline struct bbr *story_bbr(struct story *s)
{
	return &s->cc.bbr;
}

static inline void story_begin(struct story *s)
{
	*s = (struct story){
		.now = CV_SEC(1), .round_trip = STORY_RTT, .inflight = 4 * STORY_BDP, .packets = 500
	};
	cc_init(&s->cc, CC_BBR, STORY_MSS, UINT64_C(64) << 20, s->now, 1);
	rtt_init(&s->rtt);
	rtt_on_sample(&s->rtt, STORY_RTT, 0);
	s->cc.ops->on_first_rtt(&s->cc, s->now, &s->rtt);
}

/* So many packets of one train are lost, two numbers apart when @bursts, else in a row. */
static inline void story_lose(struct story *s, uint64_t packets, bool bursts, uint64_t tx_in_flight)
{
	struct cc_lost one = { .size = STORY_MSS, .delivered = s->delivered };

	one.sent.lost = s->lost;
	one.sent.tx_in_flight = tx_in_flight;
	one.sent.is_app_limited = s->is_app_limited;
	one.sent.phase = s->cc.phase;
	/* All of them were out. */
	s->cc.ops->on_sent(&s->cc, s->now,
	                   &(struct cc_sent){ .number = s->number + 2 * packets,
	                                      .bytes = STORY_MSS,
	                                      .inflight_before = tx_in_flight });
	for (uint64_t i = 0; i < packets; i++) {
		s->lost += STORY_MSS;
		one.lost = s->lost;
		one.number = s->number;
		s->number += bursts ? 2 : 1;
		s->cc.ops->on_lost(&s->cc, s->now, &one);
		assert_true(cc_check(&s->cc));
	}
	s->number += packets + 1;
}

/* One batch; it ends a round if @is_next. */
static inline void story_ack(struct story *s, uint64_t rate, bool is_next)
{
	struct cc_ack ack = { .acked = s->packets * STORY_MSS, .rtt_sample = s->round_trip };

	ack.inflight_before = s->inflight + ack.acked;
	ack.inflight = s->inflight;
	ack.is_app_limited = s->is_app_limited;
	ack.rate.has_data = true;
	ack.rate.rate = rate;
	ack.rate.prior_delivered = is_next ? s->delivered : 0;
	ack.rate.delivered = ack.acked;
	ack.rate.tx_in_flight = ack.inflight_before;
	ack.rate.is_app_limited = s->is_app_limited;
	s->delivered += ack.acked;
	ack.delivered = s->delivered;
	rtt_on_sample(&s->rtt, s->round_trip, 0);
	s->cc.is_limited |= s->is_limited;
	s->cc.ops->on_ack(&s->cc, s->now, &ack, &s->rtt);
	assert_true(cc_check(&s->cc));
	assert_true(bbr_model_check(&s->cc.bbr.model));
	assert_true(s->cc.pacing_rate > 0 || s->rtt.min < CV_MS(1));
}

/* A round trip in which @rate was measured. */
static inline void story_round(struct story *s, uint64_t rate)
{
	s->now += s->round_trip;
	story_ack(s, rate, true);
}

/* Rounds at the path's rate until @state, at most @limit of them. */
static inline void story_until(struct story *s, enum bbr_state state, unsigned limit)
{
	for (unsigned i = 0; i < limit && story_bbr(s)->state != state; i++)
		story_round(s, STORY_RATE);
	assert_string_equal(bbr_state_name(story_bbr(s)->state), bbr_state_name(state));
}

/* STARTUP is over, the path's rate is known, DOWN has just begun. */
static inline void story_reach_down(struct story *s)
{
	story_begin(s);
	story_until(s, BBR_DRAIN, 10);
	story_until(s, BBR_DOWN, 10); /* for want of time: nothing is drained */
}

static inline void story_reach_cruise(struct story *s)
{
	story_reach_down(s);
	s->inflight = STORY_BDP / 2;
	story_until(s, BBR_CRUISE, 10);
	s->inflight = STORY_BDP;
}

/* Seconds of cruising later. */
static inline void story_reach_refill(struct story *s)
{
	story_reach_cruise(s);
	story_until(s, BBR_REFILL, 64);
}

/* @is_queued: a queue of half a round trip stands, so others are there. */
static inline void story_reach_up(struct story *s, bool is_queued)
{
	story_reach_cruise(s);
	if (is_queued)
		s->round_trip = STORY_RTT * 3 / 2;
	story_until(s, BBR_REFILL, 64);
	story_until(s, BBR_UP, 4);
	assert_int_equal(story_bbr(s)->is_beside, is_queued);
}

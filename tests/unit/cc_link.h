/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * cc_link - one link in virtual time between a sender that always (or sometimes) has data and a
 * receiver that acknowledges some packets at once, driven through the real controller, pacer,
 * delivery-rate samples and RTT estimate. No frames, no keys: what is tested is how much is sent.
 *
 *	sender --pacer, window--> [ policer | queue, rate ] --loss--> receiver
 *	   ^------------------------- ACKs, held back for a while ------+
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/compiler.h"
#include "base/rng.h"
#include "tunnel/cc.h"
#include "tunnel/pacer.h"

enum { CC_LINK_FLIGHT = 1 << 17, CC_LINK_ACKS = 1 << 13, CC_LINK_BINS = 4096 };

struct cc_link_packet {
	cv_time sent_at;
	cv_time arrives_at; /* at the receiver; CV_TIME_NEVER: it does not */
	struct delivery_mark mark;
	bool is_settled;
};

struct cc_link_ack {
	cv_time arrives_at;
	uint64_t until; /* every packet below has arrived, or never will */
	uint32_t ce;
};

struct cc_link {
	/* what the path is; may be changed between two calls of cc_link_run() */
	uint64_t rate; /* bytes a second */
	cv_duration rtt;
	uint64_t buffer; /* bytes */
	uint32_t loss_ppm, ack_loss_ppm;
	uint64_t policer_rate, policer_depth; /* bytes; 0: none */
	cv_duration hold;                     /* ACKs are let go at multiples of it; 0: at once */
	cv_duration jitter;                   /* drawn for each packet; they stay in order */
	uint64_t ce_above;                    /* bytes of queue; 0: no marks */
	/* what the application has: bytes a second; UINT64_MAX: always more; 0: nothing */
	uint64_t app_rate;

	uint32_t mss;
	cv_time now, busy_until, last_arrival, app_at, policer_at;
	uint64_t app_credit;
	int64_t policer_level;
	uint64_t next, received, acked_until, begin;
	uint64_t inflight;
	cv_time receiver_due, last_heard;
	uint64_t told;
	uint32_t ce_seen;
	struct cc_link_ack acks[CC_LINK_ACKS];
	uint64_t ack_begin, ack_next;
	struct rng_seeded seeded;
	struct cc cc;
	struct pacer pacer;
	struct delivery delivery;
	struct rtt estimate;
	/* what came of it */
	uint64_t sent_bytes, arrived_bytes, lost_bytes, dropped_bytes;
	uint32_t queue_ms[CC_LINK_BINS]; /* packets by queueing delay */
	uint64_t queue_packets;
	struct cc_link_packet flight[CC_LINK_FLIGHT];
};

static struct cc_link cc_link_only;

static inline uint64_t cc_link_bdp(const struct cc_link *l)
{
	return l->rate / 1000 * (l->rtt / CV_US(1)) / 1000;
}

static inline struct cc_link *cc_link_new(enum cc_kind kind, uint64_t mbit, cv_duration rtt,
                                          unsigned buffer_percent, uint64_t seed)
{
	struct cc_link *l = &cc_link_only;

	memset(l, 0, sizeof(*l));
	l->rate = mbit * 125000;
	l->rtt = rtt;
	l->mss = 1472;
	l->buffer = CV_MAX(cc_link_bdp(l) * buffer_percent / 100, 4 * l->mss);
	l->app_rate = UINT64_MAX;
	l->now = CV_SEC(1);
	l->app_at = l->now;
	l->receiver_due = CV_TIME_NEVER;
	l->last_heard = l->now;
	rng_seeded_init(&l->seeded, seed);
	cc_init(&l->cc, kind, l->mss, UINT64_C(64) << 20, l->now, seed);
	pacer_init(&l->pacer, l->now);
	delivery_init(&l->delivery, l->now);
	rtt_init(&l->estimate);
	rtt_on_sample(&l->estimate, rtt, 0); /* the handshake's */
	l->cc.ops->on_first_rtt(&l->cc, l->now, &l->estimate);
	pacer_set_rate(&l->pacer, l->now, l->cc.pacing_rate, l->mss);
	return l;
}

static inline bool cc_link_chance(struct cc_link *l, uint32_t ppm)
{
	struct rng rng = rng_from_seeded(&l->seeded);

	return ppm && rng_below(&rng, 1000000) < ppm;
}

static inline bool cc_link_policed(struct cc_link *l)
{
	if (l->policer_rate == 0)
		return false;
	l->policer_level += (int64_t)((l->now - l->policer_at) * l->policer_rate / CV_SEC(1));
	l->policer_level = CV_MIN(l->policer_level, (int64_t)l->policer_depth);
	l->policer_at = l->now;
	if (l->policer_level < (int64_t)l->mss)
		return true;
	l->policer_level -= l->mss;
	return false;
}

static inline void cc_link_enqueue(struct cc_link *l, struct cc_link_packet *p)
{
	cv_time start = CV_MAX(l->now, l->busy_until);
	uint64_t queued = (start - l->now) * l->rate / CV_SEC(1);
	struct rng rng = rng_from_seeded(&l->seeded);
	uint64_t bin = (start - l->now) / CV_MS(1);

	p->arrives_at = CV_TIME_NEVER;
	if (cc_link_policed(l) || queued + l->mss > l->buffer) {
		l->dropped_bytes += l->mss;
		return;
	}
	l->queue_ms[CV_MIN(bin, (uint64_t)CC_LINK_BINS - 1)]++;
	l->queue_packets++;
	if (l->ce_above && queued > l->ce_above)
		l->ce_seen++;
	l->busy_until = start + (l->mss + 28) * CV_SEC(1) / l->rate;
	if (cc_link_chance(l, l->loss_ppm))
		return;
	p->arrives_at = l->busy_until + l->rtt / 2;
	if (l->jitter)
		p->arrives_at += rng_below(&rng, l->jitter);
	p->arrives_at = CV_MAX(p->arrives_at, l->last_arrival);
	l->last_arrival = p->arrives_at;
}

static inline void cc_link_send_one(struct cc_link *l, const struct delivery_mark *mark)
{
	struct cc_link_packet *p = &l->flight[l->next % CC_LINK_FLIGHT];
	struct cc_sent sent = {
		.number = l->next,
		.bytes = l->mss,
		.inflight_before = l->inflight,
		.is_app_limited = l->delivery.app_limited != 0,
	};

	assert_true(l->next - l->begin < CC_LINK_FLIGHT);
	*p = (struct cc_link_packet){ .sent_at = l->now, .mark = *mark };
	p->mark.phase = l->cc.phase;
	cc_link_enqueue(l, p);
	l->cc.ops->on_sent(&l->cc, l->now, &sent);
	l->inflight += l->mss;
	p->mark.tx_in_flight = l->inflight;
	l->sent_bytes += l->mss;
	l->next++;
}

static inline void cc_link_fill_app(struct cc_link *l)
{
	if (l->app_rate == UINT64_MAX) {
		l->app_credit = UINT64_MAX / 2;
	} else {
		if (l->app_credit > UINT64_MAX / 4)
			l->app_credit = 0;
		l->app_credit +=
			cc_mul_div(l->app_rate, cv_time_since(l->now, l->app_at), CV_SEC(1));
		l->app_credit = CV_MIN(l->app_credit, UINT64_C(1) << 24);
	}
	l->app_at = l->now;
}

/* Sends what window, pacer and application allow. Return: when to try again. */
static inline cv_time cc_link_send(struct cc_link *l)
{
	struct delivery_mark mark;
	uint64_t sent, budget, window;

	cc_link_fill_app(l);
	for (;;) {
		window = l->cc.cwnd > l->inflight ? l->cc.cwnd - l->inflight : 0;
		if (l->app_credit < l->mss) {
			if (window > 0)
				delivery_on_dry(&l->delivery,
				                pacer_ready_at(&l->pacer, l->now, l->mss));
			return l->app_rate ? l->now + CV_MS(1) : CV_TIME_NEVER;
		}
		if (window < l->mss) {
			l->cc.is_limited = true;
			return CV_TIME_NEVER;
		}
		budget = CV_MIN(pacer_budget(&l->pacer, l->now, UINT64_MAX), UINT64_C(65536));
		if (budget < l->mss)
			return CV_MAX(pacer_ready_at(&l->pacer, l->now, UINT64_MAX), l->now + 1);
		delivery_on_train(&l->delivery, l->now, l->inflight, l->estimate.smoothed / 32,
		                  &mark);
		for (sent = 0; sent + l->mss <= CV_MIN(budget, window) && l->app_credit >= l->mss;
		     sent += l->mss) {
			l->app_credit -= l->mss;
			cc_link_send_one(l, &mark);
		}
		pacer_on_sent(&l->pacer, l->now, sent);
	}
}

/* What has arrived by now is acknowledged, if it is time. */
static inline void cc_link_receive(struct cc_link *l)
{
	uint64_t packets = l->cc.cwnd / l->mss, threshold, before = l->received;
	cv_duration delay = CV_MIN(CV_MAX(l->estimate.smoothed / 8, CV_MS(1)), CV_MS(10));
	struct cc_link_ack *ack;

	threshold = CV_MIN(CV_MAX(packets / (l->cc.is_probing ? 32 : 16), 2), 64);
	while (l->received < l->next) {
		struct cc_link_packet *p = &l->flight[l->received % CC_LINK_FLIGHT];

		if (p->arrives_at != CV_TIME_NEVER && p->arrives_at > l->now)
			break;
		/* What is lost is only seen behind a packet that is not. */
		l->arrived_bytes += p->arrives_at == CV_TIME_NEVER ? 0 : l->mss;
		l->received++;
	}
	if (l->received > before && l->receiver_due == CV_TIME_NEVER)
		l->receiver_due = l->now + delay;
	if (l->received - l->told < threshold && l->now < l->receiver_due)
		return;
	if (l->received == l->told)
		return;
	l->told = l->received;
	l->receiver_due = CV_TIME_NEVER;
	if (cc_link_chance(l, l->ack_loss_ppm))
		return;
	assert_true(l->ack_next - l->ack_begin < CC_LINK_ACKS);
	ack = &l->acks[l->ack_next++ % CC_LINK_ACKS];
	*ack = (struct cc_link_ack){ .arrives_at = l->now + l->rtt / 2, .until = l->told };
	ack->ce = l->ce_seen;
	l->ce_seen = 0;
	if (l->hold)
		ack->arrives_at = (ack->arrives_at / l->hold + 1) * l->hold;
}

static inline void cc_link_lose(struct cc_link *l, uint64_t number, uint64_t *lost)
{
	struct cc_link_packet *p = &l->flight[number % CC_LINK_FLIGHT];
	struct cc_lost one = { .size = l->mss, .number = number, .sent = p->mark };

	p->is_settled = true;
	l->inflight -= l->mss;
	l->lost_bytes += l->mss;
	delivery_on_lost(&l->delivery, l->mss);
	one.lost = l->delivery.lost;
	one.delivered = l->delivery.delivered;
	l->cc.ops->on_lost(&l->cc, l->now, &one);
	*lost += l->mss;
}

/* Acknowledges what arrived below @until, and gives up what did not and is old enough. */
static inline void cc_link_on_ack(struct cc_link *l, uint64_t until, uint32_t ce)
{
	struct delivery_sample rate = { .rate = 0 };
	struct cc_ack ack = { .inflight_before = l->inflight, .ce = ce, .next_number = l->next };
	struct cc_loss loss = { .lost = 0 };
	cv_duration late = l->estimate.smoothed + l->estimate.smoothed / 8;
	uint64_t n;

	for (n = l->begin; n < until; n++) {
		struct cc_link_packet *p = &l->flight[n % CC_LINK_FLIGHT];
		struct delivery_acked acked = { &p->mark, p->sent_at, n, l->mss };

		if (p->is_settled || p->arrives_at == CV_TIME_NEVER)
			continue;
		p->is_settled = true;
		l->inflight -= l->mss;
		ack.acked += l->mss;
		ack.newest_number = n;
		ack.newest_sent_at = p->sent_at;
		ack.rtt_sample = l->now - p->sent_at;
		ack.is_app_limited = p->mark.is_app_limited;
		delivery_on_acked(&l->delivery, l->now, &acked, &rate);
	}
	if (ack.acked) {
		rtt_on_sample(&l->estimate, ack.rtt_sample, 0);
		l->last_heard = l->now;
		l->acked_until = until;
	}
	for (n = l->begin; n < l->acked_until; n++) {
		struct cc_link_packet *p = &l->flight[n % CC_LINK_FLIGHT];

		if (!p->is_settled && (n + 3 < l->acked_until || p->sent_at + late < l->now)) {
			loss.newest_number = n;
			loss.newest_sent_at = p->sent_at;
			cc_link_lose(l, n, &loss.lost);
		}
		if (l->begin == n && p->is_settled)
			l->begin++;
	}
	loss.inflight = l->inflight;
	if (loss.lost)
		l->cc.ops->on_loss(&l->cc, l->now, &loss, &l->estimate);
	if (ack.acked) {
		delivery_finish(&l->delivery, l->estimate.min, &rate);
		ack.rate = rate;
		ack.inflight = l->inflight;
		ack.delivered = l->delivery.delivered;
		l->cc.ops->on_ack(&l->cc, l->now, &ack, &l->estimate);
	}
	pacer_set_rate(&l->pacer, l->now, l->cc.pacing_rate, l->mss);
	assert_true(cc_check(&l->cc));
}

/* Silence: everything that is out is taken for lost. */
static inline void cc_link_time_out(struct cc_link *l)
{
	uint64_t lost = 0;

	while (l->begin < l->next) {
		if (!l->flight[l->begin % CC_LINK_FLIGHT].is_settled)
			cc_link_lose(l, l->begin, &lost);
		l->begin++;
	}
	l->acked_until = l->next;
	l->last_heard = l->now;
}

/* @every: NULL, or called after each step. */
static inline void cc_link_run(struct cc_link *l, cv_duration d, void (*every)(struct cc_link *l))
{
	cv_time end = l->now + d, at;

	for (;;) {
		at = cc_link_send(l);
		if (l->received < l->next) {
			/* The next one that arrives; those that never do come with it. */
			for (uint64_t n = l->received; n < l->next; n++) {
				cv_time arrival = l->flight[n % CC_LINK_FLIGHT].arrives_at;

				if (arrival == CV_TIME_NEVER)
					continue;
				at = cv_time_min(at, arrival);
				break;
			}
		}
		at = cv_time_min(at, l->receiver_due);
		if (l->ack_begin < l->ack_next)
			at = cv_time_min(at, l->acks[l->ack_begin % CC_LINK_ACKS].arrives_at);
		if (l->inflight > 0)
			at = cv_time_min(at, l->last_heard +
			                             CV_MAX(4 * l->estimate.smoothed, CV_SEC(1)));
		if (at > end)
			break;
		l->now = CV_MAX(at, l->now);
		cc_link_receive(l);
		while (l->ack_begin < l->ack_next &&
		       l->acks[l->ack_begin % CC_LINK_ACKS].arrives_at <= l->now) {
			const struct cc_link_ack *ack = &l->acks[l->ack_begin++ % CC_LINK_ACKS];

			cc_link_on_ack(l, ack->until, ack->ce);
		}
		if (l->inflight > 0 &&
		    l->now >= l->last_heard + CV_MAX(4 * l->estimate.smoothed, CV_SEC(1)))
			cc_link_time_out(l);
		if (every)
			every(l);
	}
	l->now = end;
}

/* Forgets what was counted. */
static inline void cc_link_mark(struct cc_link *l)
{
	l->sent_bytes = l->arrived_bytes = l->lost_bytes = l->dropped_bytes = 0;
	memset(l->queue_ms, 0, sizeof(l->queue_ms));
	l->queue_packets = 0;
}

/* Per mille of the link that arrived since cc_link_mark(), @d ago. */
static inline unsigned cc_link_goodput(const struct cc_link *l, cv_duration d)
{
	uint64_t could = cc_mul_div(l->rate, d, CV_SEC(1)) / (l->mss + 28) * l->mss;

	return (unsigned)(l->arrived_bytes * 1000 / could);
}

/* Milliseconds of queue that @permille of the packets did not exceed. */
static inline unsigned cc_link_queue(const struct cc_link *l, unsigned permille)
{
	uint64_t count = 0, wanted = l->queue_packets * permille / 1000;
	unsigned ms = 0;

	while (ms < CC_LINK_BINS && (count += l->queue_ms[ms]) < wanted)
		ms++;
	return ms;
}

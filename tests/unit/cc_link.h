/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * cc_link - one link in virtual time between senders that always (or sometimes) have data and
 * receivers that acknowledge some packets at once, driven through the real controllers, pacers,
 * delivery-rate samples and RTT estimates. No frames, no keys: what is tested is how much is sent.
 *
 *	flow 0 --pacer, window--+
 *	flow 1 --pacer, window--+--> [ policer | queue, rate ] --loss--> a receiver for each
 *	   ^                                                                |
 *	   +------------------------- ACKs, held back for a while ----------+
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

enum {
	CC_LINK_FLOWS = 8,
	CC_LINK_FLIGHT = 1 << 16,
	CC_LINK_ACKS = 1 << 13,
	CC_LINK_BINS = 4096,
	CC_LINK_HEADERS = 28, /* on the wire beside each datagram */
};

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

struct cc_flow {
	/* May be changed between two calls of cc_link_run(). What the application has: bytes a
	 * second; UINT64_MAX: always more; 0: nothing. */
	uint64_t app_rate;
	cv_duration rtt;

	uint64_t app_credit;
	cv_time app_at, last_arrival;
	uint64_t next, received, acked_until, begin;
	uint64_t inflight;
	cv_time receiver_due, last_heard;
	uint64_t told, unsaid;
	uint32_t ce_seen;
	struct cc_link_ack acks[CC_LINK_ACKS];
	uint64_t ack_begin, ack_next;
	struct cc cc;
	struct pacer pacer;
	struct delivery delivery;
	struct rtt estimate;
	struct cc_link_packet *flight;
	/* what came of it since cc_link_mark() */
	uint64_t sent_bytes, arrived_bytes, lost_bytes, dropped_bytes;
};

struct cc_link {
	/* What the path is; may be changed between two calls of cc_link_run(). */
	uint64_t rate; /* bytes a second */
	cv_duration rtt;
	uint64_t buffer; /* bytes */
	uint32_t loss_ppm, ack_loss_ppm;
	uint32_t burst; /* mean length of a burst of losses, packets; 0 and 1: each by itself */
	uint64_t policer_rate, policer_depth; /* bytes; 0: none */
	cv_duration hold;                     /* ACKs are let go at multiples of it; 0: at once */
	cv_duration jitter;                   /* drawn for each packet; they stay in order */
	uint64_t ce_above;                    /* bytes of queue; 0: no marks */

	uint32_t mss;
	cv_time now, busy_until, policer_at, marked_at;
	int64_t policer_level;
	bool is_in_burst;
	struct rng_seeded seeded;
	uint64_t seed;
	uint32_t queue_ms[CC_LINK_BINS]; /* packets by queueing delay */
	uint64_t queue_packets;
	unsigned flow_count;
	struct cc_flow flows[CC_LINK_FLOWS];
};

static struct cc_link cc_link_only;
static struct cc_link_packet cc_link_flights[CC_LINK_FLOWS][CC_LINK_FLIGHT];

static inline uint64_t cc_link_bdp(const struct cc_link *l)
{
	return l->rate / 1000 * (l->rtt / CV_US(1)) / 1000;
}

/* Another sender, from now on. */
static inline struct cc_flow *cc_link_add(struct cc_link *l, enum cc_kind kind)
{
	struct cc_flow *f = &l->flows[l->flow_count];

	assert_true(l->flow_count < CC_LINK_FLOWS);
	memset(f, 0, sizeof(*f));
	f->flight = cc_link_flights[l->flow_count++];
	f->app_rate = UINT64_MAX;
	f->rtt = l->rtt;
	f->app_at = l->now;
	f->receiver_due = CV_TIME_NEVER;
	f->last_heard = l->now;
	cc_init(&f->cc, kind, l->mss, UINT64_C(64) << 20, l->now, l->seed++);
	pacer_init(&f->pacer, l->now);
	delivery_init(&f->delivery, l->now);
	rtt_init(&f->estimate);
	rtt_on_sample(&f->estimate, f->rtt, 0); /* the handshake's */
	f->cc.ops->on_first_rtt(&f->cc, l->now, &f->estimate);
	pacer_set_rate(&f->pacer, l->now, f->cc.pacing_rate, l->mss);
	return f;
}

/* A link without senders. */
static inline struct cc_link *cc_link_empty(uint64_t mbit, cv_duration rtt, unsigned buffer_percent,
                                            uint64_t seed)
{
	struct cc_link *l = &cc_link_only;

	memset(l, 0, offsetof(struct cc_link, flows));
	l->rate = mbit * 125000;
	l->rtt = rtt;
	l->mss = 1472;
	l->buffer = CV_MAX(cc_link_bdp(l) * buffer_percent / 100, 4 * l->mss);
	l->now = l->marked_at = l->policer_at = CV_SEC(1);
	l->seed = seed * 1000;
	rng_seeded_init(&l->seeded, seed);
	return l;
}

static inline struct cc_link *cc_link_new(enum cc_kind kind, uint64_t mbit, cv_duration rtt,
                                          unsigned buffer_percent, uint64_t seed)
{
	struct cc_link *l = cc_link_empty(mbit, rtt, buffer_percent, seed);

	(void)cc_link_add(l, kind);
	return l;
}

static inline bool cc_link_chance(struct cc_link *l, uint32_t ppm)
{
	struct rng rng = rng_from_seeded(&l->seeded);

	return ppm && rng_below(&rng, 1000000) < ppm;
}

/* Each by itself, or Gilbert's two states: in the bad one everything is lost. */
static inline bool cc_link_loses(struct cc_link *l)
{
	uint64_t begins;

	if (l->burst <= 1 || l->loss_ppm == 0)
		return cc_link_chance(l, l->loss_ppm);
	begins = (uint64_t)l->loss_ppm * 1000000 / l->burst / (1000000 - l->loss_ppm);
	l->is_in_burst = l->is_in_burst ? !cc_link_chance(l, 1000000 / l->burst)
	                                : cc_link_chance(l, (uint32_t)begins);
	return l->is_in_burst;
}

static inline bool cc_link_policed(struct cc_link *l)
{
	uint64_t filled;

	if (l->policer_rate == 0)
		return false;
	filled = cc_mul_div(l->now - l->policer_at, l->policer_rate, CV_SEC(1));
	l->policer_level = CV_MIN(l->policer_level + (int64_t)filled, (int64_t)l->policer_depth);
	l->policer_at = l->now;
	if (l->policer_level < (int64_t)l->mss)
		return true;
	l->policer_level -= l->mss;
	return false;
}

static inline void cc_link_enqueue(struct cc_link *l, struct cc_flow *f, struct cc_link_packet *p)
{
	cv_time start = CV_MAX(l->now, l->busy_until);
	uint64_t queued = cc_mul_div(start - l->now, l->rate, CV_SEC(1));
	struct rng rng = rng_from_seeded(&l->seeded);
	uint64_t bin = (start - l->now) / CV_MS(1);

	p->arrives_at = CV_TIME_NEVER;
	if (cc_link_policed(l) || queued + l->mss > l->buffer) {
		f->dropped_bytes += l->mss;
		return;
	}
	l->queue_ms[CV_MIN(bin, (uint64_t)CC_LINK_BINS - 1)]++;
	l->queue_packets++;
	if (l->ce_above && queued > l->ce_above)
		f->ce_seen++;
	l->busy_until = start + (l->mss + CC_LINK_HEADERS) * CV_SEC(1) / l->rate;
	if (cc_link_loses(l))
		return;
	p->arrives_at = l->busy_until + f->rtt / 2;
	if (l->jitter)
		p->arrives_at += rng_below(&rng, l->jitter);
	p->arrives_at = CV_MAX(p->arrives_at, f->last_arrival);
	f->last_arrival = p->arrives_at;
}

static inline void cc_link_send_one(struct cc_link *l, struct cc_flow *f,
                                    const struct delivery_mark *mark)
{
	struct cc_link_packet *p = &f->flight[f->next % CC_LINK_FLIGHT];
	struct cc_sent sent = {
		.number = f->next,
		.bytes = l->mss,
		.inflight_before = f->inflight,
		.is_app_limited = f->delivery.app_limited != 0,
	};

	assert_true(f->next - f->begin < CC_LINK_FLIGHT);
	*p = (struct cc_link_packet){ .sent_at = l->now, .mark = *mark };
	p->mark.phase = f->cc.phase;
	cc_link_enqueue(l, f, p);
	f->cc.ops->on_sent(&f->cc, l->now, &sent);
	f->inflight += l->mss;
	p->mark.tx_in_flight = f->inflight;
	f->sent_bytes += l->mss;
	f->next++;
}

static inline void cc_link_fill_app(struct cc_link *l, struct cc_flow *f)
{
	if (f->app_rate == UINT64_MAX) {
		f->app_credit = UINT64_MAX / 2;
	} else {
		if (f->app_credit > UINT64_MAX / 4)
			f->app_credit = 0;
		f->app_credit +=
			cc_mul_div(f->app_rate, cv_time_since(l->now, f->app_at), CV_SEC(1));
		f->app_credit = CV_MIN(f->app_credit, UINT64_C(1) << 24);
	}
	f->app_at = l->now;
}

/* Sends what window, pacer and application allow. Return: when to try again. */
static inline cv_time cc_link_send(struct cc_link *l, struct cc_flow *f)
{
	struct delivery_mark mark;
	uint64_t sent, budget, window;

	if (f->app_rate == UINT64_MAX || l->now - f->app_at >= CV_MS(1))
		cc_link_fill_app(l, f);
	for (;;) {
		window = f->cc.cwnd > f->inflight ? f->cc.cwnd - f->inflight : 0;
		if (f->app_credit < l->mss) {
			if (window > 0)
				delivery_on_dry(&f->delivery,
				                pacer_ready_at(&f->pacer, l->now, l->mss));
			return f->app_rate ? f->app_at + CV_MS(1) : CV_TIME_NEVER;
		}
		if (window < l->mss) {
			f->cc.is_limited = true;
			return CV_TIME_NEVER;
		}
		budget = CV_MIN(pacer_budget(&f->pacer, l->now, UINT64_MAX), UINT64_C(65536));
		if (budget < l->mss)
			return CV_MAX(pacer_ready_at(&f->pacer, l->now, UINT64_MAX), l->now + 1);
		delivery_on_train(&f->delivery, l->now, f->inflight, f->estimate.smoothed / 32,
		                  &mark);
		for (sent = 0; sent + l->mss <= CV_MIN(budget, window) && f->app_credit >= l->mss;
		     sent += l->mss) {
			f->app_credit -= l->mss;
			cc_link_send_one(l, f, &mark);
		}
		pacer_on_sent(&f->pacer, l->now, sent);
	}
}

/* The next packet that arrives, or f->next: what is lost before it is seen with it. */
static inline uint64_t cc_link_next_arrival(const struct cc_flow *f)
{
	uint64_t n = f->received;

	while (n < f->next && f->flight[n % CC_LINK_FLIGHT].arrives_at == CV_TIME_NEVER)
		n++;
	return n;
}

/* What has arrived by now is acknowledged, if it is time. */
static inline void cc_link_receive(struct cc_link *l, struct cc_flow *f)
{
	uint64_t packets = f->cc.cwnd / l->mss, threshold, n;
	cv_duration delay = CV_MIN(CV_MAX(f->estimate.smoothed / 8, CV_MS(1)), CV_MS(10));
	struct cc_link_ack *ack;

	threshold = CV_MIN(CV_MAX(packets / (f->cc.is_probing ? 32 : 16), 2), 64);
	while ((n = cc_link_next_arrival(f)) < f->next &&
	       f->flight[n % CC_LINK_FLIGHT].arrives_at <= l->now) {
		f->arrived_bytes += l->mss;
		f->received = n + 1;
		f->unsaid++;
	}
	if (f->unsaid == 0)
		return;
	if (f->receiver_due == CV_TIME_NEVER)
		f->receiver_due = l->now + delay;
	if (f->unsaid < threshold && l->now < f->receiver_due)
		return;
	f->unsaid = 0;
	f->receiver_due = CV_TIME_NEVER;
	if (cc_link_chance(l, l->ack_loss_ppm))
		return;
	assert_true(f->ack_next - f->ack_begin < CC_LINK_ACKS);
	ack = &f->acks[f->ack_next++ % CC_LINK_ACKS];
	*ack = (struct cc_link_ack){ .arrives_at = l->now + f->rtt / 2, .until = f->received };
	ack->ce = f->ce_seen;
	f->ce_seen = 0;
	if (l->hold)
		ack->arrives_at = (ack->arrives_at / l->hold + 1) * l->hold;
}

static inline void cc_link_lose(struct cc_link *l, struct cc_flow *f, uint64_t number,
                                uint64_t *lost)
{
	struct cc_link_packet *p = &f->flight[number % CC_LINK_FLIGHT];
	struct cc_lost one = { .size = l->mss, .number = number, .sent = p->mark };

	p->is_settled = true;
	f->inflight -= l->mss;
	f->lost_bytes += l->mss;
	delivery_on_lost(&f->delivery, l->mss);
	one.lost = f->delivery.lost;
	one.delivered = f->delivery.delivered;
	f->cc.ops->on_lost(&f->cc, l->now, &one);
	*lost += l->mss;
}

/* Gives up what did not arrive and is old enough. */
static inline void cc_link_find_losses(struct cc_link *l, struct cc_flow *f)
{
	cv_duration late = f->estimate.smoothed + f->estimate.smoothed / 8;
	struct cc_loss loss = { .lost = 0 };

	for (uint64_t n = f->begin; n < f->acked_until; n++) {
		struct cc_link_packet *p = &f->flight[n % CC_LINK_FLIGHT];

		if (!p->is_settled && (n + 3 < f->acked_until || p->sent_at + late < l->now)) {
			loss.newest_number = n;
			loss.newest_sent_at = p->sent_at;
			cc_link_lose(l, f, n, &loss.lost);
		}
		if (f->begin == n && p->is_settled)
			f->begin++;
	}
	loss.inflight = f->inflight;
	if (loss.lost)
		f->cc.ops->on_loss(&f->cc, l->now, &loss, &f->estimate);
}

/* Acknowledges what arrived below @until. */
static inline void cc_link_on_ack(struct cc_link *l, struct cc_flow *f, uint64_t until, uint32_t ce)
{
	struct delivery_sample rate = { .rate = 0 };
	struct cc_ack ack = { .inflight_before = f->inflight, .ce = ce, .next_number = f->next };

	for (uint64_t n = f->begin; n < until; n++) {
		struct cc_link_packet *p = &f->flight[n % CC_LINK_FLIGHT];
		struct delivery_acked acked = { &p->mark, p->sent_at, n, l->mss };

		if (p->is_settled || p->arrives_at == CV_TIME_NEVER)
			continue;
		p->is_settled = true;
		f->inflight -= l->mss;
		ack.acked += l->mss;
		ack.newest_number = n;
		ack.newest_sent_at = p->sent_at;
		ack.rtt_sample = l->now - p->sent_at;
		ack.is_app_limited = p->mark.is_app_limited;
		delivery_on_acked(&f->delivery, l->now, &acked, &rate);
	}
	if (ack.acked) {
		rtt_on_sample(&f->estimate, ack.rtt_sample, 0);
		f->last_heard = l->now;
		f->acked_until = until;
	}
	cc_link_find_losses(l, f);
	if (ack.acked) {
		delivery_finish(&f->delivery, f->estimate.min, &rate);
		ack.rate = rate;
		ack.inflight = f->inflight;
		ack.delivered = f->delivery.delivered;
		f->cc.ops->on_ack(&f->cc, l->now, &ack, &f->estimate);
	}
	pacer_set_rate(&f->pacer, l->now, f->cc.pacing_rate, l->mss);
	assert_true(cc_check(&f->cc));
}

static inline cv_time cc_link_gives_up_at(const struct cc_flow *f)
{
	return f->inflight == 0 ? CV_TIME_NEVER
	                        : f->last_heard + CV_MAX(4 * f->estimate.smoothed, CV_SEC(1));
}

/* Silence: everything that is out is taken for lost. */
static inline void cc_link_time_out(struct cc_link *l, struct cc_flow *f)
{
	uint64_t lost = 0;

	while (f->begin < f->next) {
		if (!f->flight[f->begin % CC_LINK_FLIGHT].is_settled)
			cc_link_lose(l, f, f->begin, &lost);
		f->begin++;
	}
	f->acked_until = f->next;
	f->received = CV_MAX(f->received, f->next);
	f->unsaid = 0;
	f->last_heard = l->now;
}

/* What flow @f waits for, once it has sent what it may. */
static inline cv_time cc_link_flow_at(struct cc_link *l, struct cc_flow *f)
{
	cv_time at = cc_link_send(l, f);
	uint64_t n = cc_link_next_arrival(f);

	if (n < f->next)
		at = cv_time_min(at, f->flight[n % CC_LINK_FLIGHT].arrives_at);
	at = cv_time_min(at, f->receiver_due);
	if (f->ack_begin < f->ack_next)
		at = cv_time_min(at, f->acks[f->ack_begin % CC_LINK_ACKS].arrives_at);
	return cv_time_min(at, cc_link_gives_up_at(f));
}

static inline void cc_link_turn(struct cc_link *l, struct cc_flow *f)
{
	cc_link_receive(l, f);
	while (f->ack_begin < f->ack_next &&
	       f->acks[f->ack_begin % CC_LINK_ACKS].arrives_at <= l->now) {
		const struct cc_link_ack *ack = &f->acks[f->ack_begin++ % CC_LINK_ACKS];

		cc_link_on_ack(l, f, ack->until, ack->ce);
	}
	if (l->now >= cc_link_gives_up_at(f))
		cc_link_time_out(l, f);
}

/* @every: NULL, or called after each step. */
static inline void cc_link_run(struct cc_link *l, cv_duration d, void (*every)(struct cc_link *l))
{
	cv_time end = l->now + d, at;

	for (;;) {
		at = CV_TIME_NEVER;
		for (unsigned i = 0; i < l->flow_count; i++)
			at = cv_time_min(at, cc_link_flow_at(l, &l->flows[i]));
		if (at > end)
			break;
		l->now = CV_MAX(at, l->now);
		for (unsigned i = 0; i < l->flow_count; i++)
			cc_link_turn(l, &l->flows[i]);
		if (every)
			every(l);
	}
	l->now = end;
}

/* ---- what came of it ---- */

/* Forgets what was counted. */
static inline void cc_link_mark(struct cc_link *l)
{
	for (unsigned i = 0; i < l->flow_count; i++) {
		struct cc_flow *f = &l->flows[i];

		f->sent_bytes = f->arrived_bytes = f->lost_bytes = f->dropped_bytes = 0;
	}
	memset(l->queue_ms, 0, sizeof(l->queue_ms));
	l->queue_packets = 0;
	l->marked_at = l->now;
}

/* Per mille of the link that arrived of flow @f. */
static inline unsigned cc_link_share(const struct cc_link *l, const struct cc_flow *f)
{
	uint64_t could = cc_mul_div(l->rate, l->now - l->marked_at, CV_SEC(1)) /
	                 (l->mss + CC_LINK_HEADERS) * l->mss;

	return (unsigned)(f->arrived_bytes * 1000 / could);
}

/* Of all flows. */
static inline unsigned cc_link_goodput(const struct cc_link *l)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < l->flow_count; i++)
		sum += cc_link_share(l, &l->flows[i]);
	return sum;
}

/* Per mille of what was sent that queue or policer dropped. */
static inline unsigned cc_link_drops(const struct cc_link *l)
{
	uint64_t dropped = 0, sent = 0;

	for (unsigned i = 0; i < l->flow_count; i++) {
		dropped += l->flows[i].dropped_bytes;
		sent += l->flows[i].sent_bytes;
	}
	return (unsigned)(dropped * 1000 / CV_MAX(sent, 1));
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

/* Jain's index of the flows' shares, per mille: 1000 when all are equal. */
static inline unsigned cc_link_jain(const struct cc_link *l)
{
	uint64_t sum = 0, squares = 0;

	for (unsigned i = 0; i < l->flow_count; i++) {
		uint64_t share = cc_link_share(l, &l->flows[i]);

		sum += share;
		squares += share * share;
	}
	return (unsigned)(sum * sum * 1000 / CV_MAX(squares * l->flow_count, 1));
}

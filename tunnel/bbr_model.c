/* SPDX-License-Identifier: MIT */
#include "tunnel/bbr_model.h"

#include "tunnel/cc.h"

/*
 * Names of the draft: max_bw_of = max_bw_filter, bw_short = bw_shortterm, inflight_long =
 * inflight_longterm, inflight_short = inflight_shortterm, probe_min = probe_rtt_min_delay, extra =
 * extra_acked_filter.
 *
 * Otherwise than there:
 *
 * - A round with losses draws bounds only when more was lost than the path loses anyway
 *   (loss_floor) and one percent: the draft slows down for every loss, and is at a third of
 *   the rate after a minute of five percent.
 * - A round trip within a sixteenth of the least confirms it. Cruising without a queue is as
 *   good a measurement as ProbeRTT, which then does not interrupt a flow without need.
 * - Three rounds that delivered less than a third of the maximum behind a queue of a whole
 *   round trip end the maximum at once: the link has become slower, and two cycles of
 *   probing, each as long as that queue makes them, would only feed it.
 * - What aggregation is credited is at most 100 ms of the bandwidth: it cannot feed itself.
 */

enum {
	ROUND_LOSS_PERCENT = 1,
	BURSTS_MAX = 1 << 20,
	STALE_ROUNDS = 3,
};

#define MIN_RTT_WINDOW CV_SEC(10)
#define PROBE_RTT_INTERVAL CV_SEC(5)
#define EXTRA_MAX CV_MS(100)
#define QUEUE_MIN CV_MS(2)
#define QUEUE_LEAST CV_US(500)
#define NO_BOUND UINT64_MAX

void bbr_model_init(struct bbr_model *m, cv_time now)
{
	*m = (struct bbr_model){
		.round_rtt_min = CV_TIME_NEVER,
		.last_rtt_min = CV_TIME_NEVER,
		.bw_short = NO_BOUND,
		.inflight_long = NO_BOUND,
		.inflight_short = NO_BOUND,
		.min_rtt = CV_TIME_NEVER,
		.min_rtt_at = now,
		.probe_min = CV_TIME_NEVER,
		.probe_min_at = now,
		.extra_at = now,
	};
	loss_floor_init(&m->floor);
}

uint64_t bbr_model_max_bw(const struct bbr_model *m)
{
	return CV_MAX(m->max_bw_of[0], m->max_bw_of[1]);
}

uint64_t bbr_model_bw(const struct bbr_model *m)
{
	return CV_MIN(bbr_model_max_bw(m), m->bw_short);
}

uint64_t bbr_model_bdp(const struct bbr_model *m, uint64_t bw, uint32_t percent)
{
	uint64_t bdp;

	if (m->min_rtt == CV_TIME_NEVER || bw == 0)
		return NO_BOUND;
	bdp = cc_mul_div(bw, m->min_rtt, CV_SEC(1));
	/* No product beyond the largest window means anything. */
	return CV_MIN(bdp, CC_CWND_MAX) * percent / 100;
}

uint64_t bbr_model_extra(const struct bbr_model *m, bool is_starting)
{
	uint64_t extra = 0;

	if (is_starting)
		return m->extra[m->extra_round % BBR_MODEL_EXTRA_ROUNDS];
	for (unsigned i = 0; i < BBR_MODEL_EXTRA_ROUNDS; i++)
		extra = CV_MAX(extra, m->extra[i]);
	return extra;
}

static bool stands_above(const struct bbr_model *m, cv_duration margin, uint64_t bytes)
{
	if (m->round_ce > 0)
		return true;
	if (m->min_rtt == CV_TIME_NEVER || m->last_rtt_min == CV_TIME_NEVER)
		return false;
	/* On a slow line one packet behind another is no queue. */
	margin += cc_mul_div(bytes, CV_SEC(1), CV_MAX(bbr_model_bw(m), 1));
	return m->last_rtt_min > cv_time_after(m->min_rtt, margin);
}

bool bbr_model_is_queued(const struct bbr_model *m, uint32_t mss)
{
	return stands_above(m, m->min_rtt / 10 + QUEUE_MIN, UINT64_C(2) * mss);
}

bool bbr_model_is_crowded(const struct bbr_model *m, uint32_t mss)
{
	return stands_above(m, m->min_rtt / 32 + QUEUE_LEAST, mss);
}

void bbr_model_start_round(struct bbr_model *m, uint64_t delivered)
{
	m->next_round_delivered = delivered;
}

static void update_round(struct bbr_model *m, const struct cc_ack *ack)
{
	m->is_round_start = false;
	if (ack->rate.has_data && ack->rate.prior_delivered >= m->next_round_delivered) {
		bbr_model_start_round(m, ack->delivered);
		m->rounds++;
		m->is_round_start = true;
		m->last_rtt_min = m->round_rtt_min;
		m->round_rtt_min = CV_TIME_NEVER;
	}
	if (ack->rtt_sample)
		m->round_rtt_min = CV_MIN(m->round_rtt_min, ack->rtt_sample);
}

/* The end of a round, before its counts are closed. */
static void judge_round(struct bbr_model *m, const struct cc_ack *ack, uint32_t mss)
{
	uint64_t max = bbr_model_max_bw(m);
	bool is_long = m->last_rtt_min != CV_TIME_NEVER && m->min_rtt != CV_TIME_NEVER &&
	               m->last_rtt_min > 2 * m->min_rtt + QUEUE_MIN;

	if (is_long && !ack->rate.is_app_limited && m->round_bw > 0 && m->round_bw < max / 3)
		m->stale_rounds++;
	else
		m->stale_rounds = 0;
	if (m->stale_rounds >= STALE_ROUNDS) {
		m->max_bw_of[0] = m->max_bw_of[1] = m->round_bw;
		m->stale_rounds = 0;
	}
	if (m->is_loss_in_round || bbr_model_is_crowded(m, mss))
		m->calm_rounds = 0;
	else if (m->calm_rounds < UINT8_MAX)
		m->calm_rounds++;
	m->round_bw = 0;
}

void bbr_model_on_ack(struct bbr_model *m, cv_time now, const struct cc_ack *ack, uint32_t mss)
{
	const struct delivery_sample *rate = &ack->rate;

	(void)now;
	/* UpdateLatestDeliverySignals() */
	m->is_loss_round_start = false;
	m->bw_latest = CV_MAX(m->bw_latest, rate->rate);
	m->inflight_latest = CV_MAX(m->inflight_latest, rate->delivered);
	if (rate->has_data && rate->prior_delivered >= m->loss_round_delivered) {
		m->loss_round_delivered = ack->delivered;
		m->is_loss_round_start = true;
	}
	/* UpdateMaxBw() */
	update_round(m, ack);
	if (m->is_round_start)
		judge_round(m, ack, mss);
	m->round_bw = CV_MAX(m->round_bw, rate->rate);
	if (rate->rate > 0 && (rate->rate >= bbr_model_max_bw(m) || !rate->is_app_limited))
		m->max_bw_of[1] = CV_MAX(m->max_bw_of[1], rate->rate);
	m->round_acked += ack->acked;
	if (ack->ce > 0 && !m->is_loss_in_round) {
		m->loss_round_delivered = ack->delivered;
		m->is_loss_in_round = true;
	}
	m->round_ce += (uint64_t)ack->ce * mss;
	loss_floor_on_acked(&m->floor, mss, rate->acked_in);
}

static void draw_bounds(struct bbr_model *m, uint64_t cwnd)
{
	if (m->bw_short == NO_BOUND)
		m->bw_short = bbr_model_max_bw(m);
	if (m->inflight_short == NO_BOUND)
		m->inflight_short = cwnd;
	m->bw_short = CV_MAX(m->bw_latest, m->bw_short / 10 * BBR_MODEL_BETA_TENTHS);
	m->inflight_short =
		CV_MAX(m->inflight_latest, m->inflight_short / 10 * BBR_MODEL_BETA_TENTHS);
}

void bbr_model_adapt_bounds(struct bbr_model *m, uint32_t mss, uint64_t cwnd, bool is_probing)
{
	uint64_t all = m->round_acked + m->round_lost;

	if (!m->is_loss_round_start)
		return;
	if (!is_probing && m->is_loss_in_round &&
	    (m->round_lost > loss_floor_allowed(&m->floor, mss, all, ROUND_LOSS_PERCENT) ||
	     m->round_ce > all / 100 * BBR_MODEL_LOSS_PERCENT))
		draw_bounds(m, cwnd);
	loss_floor_update(&m->floor);
	m->is_loss_in_round = false;
	m->round_lost = 0;
	m->round_acked = 0;
	m->round_ce = 0;
	m->round_bursts = 0;
}

/* UpdateACKAggregation() */
void bbr_model_update_aggregation(struct bbr_model *m, cv_time now, uint64_t acked, uint64_t cwnd)
{
	uint64_t bw = bbr_model_bw(m);
	uint64_t expected = cc_mul_div(bw, cv_time_since(now, m->extra_at), CV_SEC(1));
	uint64_t extra;
	uint32_t *slot;

	if (m->extra_delivered <= expected) {
		m->extra_delivered = 0;
		m->extra_at = now;
		expected = 0;
	}
	m->extra_delivered += acked;
	extra = m->extra_delivered - CV_MIN(expected, m->extra_delivered);
	extra = CV_MIN(CV_MIN(extra, cwnd), cc_mul_div(bw, EXTRA_MAX, CV_SEC(1)));
	/* Rounds that passed without an ACK of their own held nothing back. */
	for (unsigned i = 0; m->extra_round < m->rounds && i < BBR_MODEL_EXTRA_ROUNDS; i++)
		m->extra[++m->extra_round % BBR_MODEL_EXTRA_ROUNDS] = 0;
	m->extra_round = m->rounds;
	slot = &m->extra[m->rounds % BBR_MODEL_EXTRA_ROUNDS];
	*slot = CV_MAX(*slot, (uint32_t)CV_MIN(extra, (uint64_t)UINT32_MAX));
}

/* UpdateMinRTT() */
void bbr_model_update_min_rtt(struct bbr_model *m, cv_time now, cv_duration rtt)
{
	m->is_probe_due = now > cv_time_after(m->probe_min_at, PROBE_RTT_INTERVAL);
	if (rtt && (rtt < m->probe_min || m->is_probe_due)) {
		m->probe_min = rtt;
		m->probe_min_at = now;
	} else if (rtt && rtt <= m->probe_min + m->probe_min / 16) {
		m->probe_min_at = now; /* confirmed */
	}
	if (m->probe_min < m->min_rtt || now > cv_time_after(m->min_rtt_at, MIN_RTT_WINDOW)) {
		m->min_rtt = m->probe_min;
		m->min_rtt_at = m->probe_min_at;
	} else if (rtt && rtt <= m->min_rtt + m->min_rtt / 16) {
		m->min_rtt_at = now;
	}
}

/* AdvanceLatestDeliverySignals() */
void bbr_model_advance(struct bbr_model *m, const struct cc_ack *ack)
{
	if (!m->is_loss_round_start)
		return;
	m->bw_latest = ack->rate.rate;
	m->inflight_latest = ack->rate.delivered;
}

void bbr_model_on_lost(struct bbr_model *m, const struct cc_lost *lost, uint32_t mss)
{
	if (!m->is_loss_in_round) {
		m->loss_round_delivered = lost->delivered;
		m->is_loss_in_round = true;
	}
	m->round_lost += lost->size;
	if ((lost->number != m->lost_next || m->round_bursts == 0) && m->round_bursts < BURSTS_MAX)
		m->round_bursts++;
	m->lost_next = lost->number + 1;
	loss_floor_on_lost(&m->floor, mss, lost->sent.phase, lost->size);
}

bool bbr_model_is_too_high(const struct bbr_model *m, uint64_t lost, uint64_t tx_in_flight,
                           uint32_t mss)
{
	uint64_t allowed = loss_floor_allowed(&m->floor, mss, tx_in_flight, BBR_MODEL_LOSS_PERCENT);

	/* Nothing is known of this path, and no queue is seen: it may just be a bad link. */
	if (!m->floor.is_known && !bbr_model_is_crowded(m, mss))
		allowed = CV_MAX(allowed, loss_floor_blind(mss, tx_in_flight));
	return lost > allowed;
}

/* InflightAtLoss(). Where earlier losses alone were too many, the train itself adds nothing. */
uint64_t bbr_model_inflight_at(const struct bbr_model *m, const struct cc_lost *lost, uint32_t mss)
{
	uint64_t since = lost->lost - CV_MIN(lost->lost, lost->sent.lost);
	uint64_t before = lost->sent.tx_in_flight - CV_MIN(lost->sent.tx_in_flight, lost->size);
	uint64_t lost_before = since - CV_MIN(since, lost->size);
	uint64_t allowed = loss_floor_allowed(&m->floor, mss, before, BBR_MODEL_LOSS_PERCENT);
	uint64_t prefix = 0;

	if (allowed > lost_before)
		prefix = (allowed - lost_before) * 100 / (100 - BBR_MODEL_LOSS_PERCENT);
	return before + CV_MIN(prefix, lost->size);
}

void bbr_model_forget_short(struct bbr_model *m)
{
	m->bw_short = NO_BOUND;
	m->inflight_short = NO_BOUND;
}

void bbr_model_reset_signals(struct bbr_model *m)
{
	m->is_loss_in_round = false;
	m->bw_latest = 0;
	m->inflight_latest = 0;
}

void bbr_model_next_cycle(struct bbr_model *m)
{
	/* A cycle that saw no rate has nothing to put in the place of an older one: a tunnel is
	 * idle most of the time. */
	if (m->max_bw_of[1] == 0)
		return;
	m->max_bw_of[0] = m->max_bw_of[1];
	m->max_bw_of[1] = 0;
}

bool bbr_model_check(const struct bbr_model *m)
{
	return loss_floor_check(&m->floor) && m->min_rtt > 0 && m->extra_round <= m->rounds;
}

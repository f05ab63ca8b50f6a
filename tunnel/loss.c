/* SPDX-License-Identifier: MIT */
#include "tunnel/loss.h"

/*
 * Packets of one path leave in the order of their numbers, so both rules are monotone:
 * when one packet is not lost yet, none after it is. The search therefore stops at the first
 * survivor, whose time is loss_at, and starts there again the next time:
 *
 *	settled or of other paths | first in flight ...      | largest acknowledged
 *	                          ^ scan_from                ^ what lies beyond proves nothing yet
 *
 * Reordering. A fixed threshold of 3 leaves a path that reorders at a fifth of its
 * capacity, so the first late ACK moves the threshold to the displacement seen. From the
 * second event on, or when the clock and not the threshold was wrong, the time rule is relaxed too.
 * After 16 round trips without a late packet the threshold shrinks by an eighth.
 */

enum {
	TIME_EIGHTHS_MAX = 8, /* 2 RTT in all */
	LATE_RTTS = 4,
	DECAY_ROUNDS = 16,
	PTO_COUNT_MAX = 30, /* beyond it every backoff is at its cap */
	TCP_LEG_EIGHTHS = 8,
};

#define PTO_MIN CV_MS(10)
#define PTO_MIN_TCP_LEG CV_SEC(1)
#define LAN_RTT CV_MS(1) /* below it a probe after some milliseconds is right */

void loss_init(struct loss *l, uint8_t path, uint8_t path_age, cv_duration peer_ack_delay)
{
	*l = (struct loss){
		.path = path,
		.path_age = path_age,
		.loss_at = CV_TIME_NEVER,
		.reorder_threshold = LOSS_REORDER_INITIAL,
		.time_eighths = 1,
		.peer_ack_delay = peer_ack_delay,
	};
}

static bool is_ours(const struct loss *l, const struct sent_record *r)
{
	return r->path == l->path && r->path_age == l->path_age;
}

void loss_on_sent(struct loss *l, cv_time now, uint64_t number, bool is_eliciting, bool asked_ack)
{
	l->next_number = CV_MAX(l->next_number, number + 1);
	if (!is_eliciting)
		return;
	l->eliciting_count++;
	l->last_eliciting_at = now;
	l->tail_asked_ack = asked_ack;
}

/* Nothing has come late for a while: what the threshold was raised for may be over. */
static void decay(struct loss *l, const struct rtt *rtt, cv_time sent_at)
{
	if ((l->reorder_threshold <= LOSS_REORDER_INITIAL && l->late_age == 0) ||
	    cv_time_since(sent_at, l->late_at) < DECAY_ROUNDS * rtt->smoothed)
		return;
	l->late_age -= (l->late_age + 7) / 8;
	if (l->reorder_threshold > LOSS_REORDER_INITIAL)
		l->reorder_threshold = CV_MAX(l->reorder_threshold - (l->reorder_threshold + 7) / 8,
		                              LOSS_REORDER_INITIAL);
	l->late_at = sent_at;
}

void loss_on_acked(struct loss *l, const struct rtt *rtt, uint64_t number,
                   const struct sent_record *r)
{
	CV_ASSERT(is_ours(l, r));
	if (l->has_acked && number <= l->largest_acked)
		return;
	l->has_acked = true;
	l->largest_acked = number;
	l->largest_sent_at = r->sent_at;
	decay(l, rtt, r->sent_at);
}

static void raise_threshold(struct loss *l, uint64_t displacement, uint64_t cwnd_packets)
{
	/* Where a whole flight arrives in any order no number of packets proves a loss; beyond the
	 * window the threshold is out of reach, and the clock alone decides. */
	uint64_t max = CV_MAX(2 * cwnd_packets, LOSS_REORDER_INITIAL);
	uint64_t wanted = CV_MIN(CV_MIN(displacement + 1, max), UINT32_MAX);

	if (l->reorder_threshold != 0 && wanted > l->reorder_threshold)
		l->reorder_threshold = (uint32_t)wanted;
}

void loss_on_spurious(struct loss *l, uint64_t number, cv_duration age, uint64_t cwnd_packets)
{
	uint64_t displacement = l->largest_acked > number ? l->largest_acked - number : 0;
	bool was_clock = l->reorder_threshold == 0 || displacement < l->reorder_threshold;

	raise_threshold(l, displacement, cwnd_packets);
	l->late_at = l->largest_sent_at;
	l->late_age = CV_MAX(l->late_age, age);
	if (number >= l->episode_begin && number < l->episode_until &&
	    l->episode_late < l->episode_lost)
		l->episode_late++;

	/* A whole flight that comes late is one event, not one for each of its packets. */
	if (number < l->spurious_until)
		return;
	l->spurious_until = CV_MAX(l->next_number, number + 1);
	if (l->spurious_events < UINT32_MAX)
		l->spurious_events++;
	if (was_clock || l->spurious_events > 1)
		l->time_eighths = CV_MIN(l->time_eighths * 2, TIME_EIGHTHS_MAX);
}

bool loss_is_undone(const struct loss *l)
{
	return l->episode_lost > 0 && l->episode_late == l->episode_lost;
}

static void count_lost(struct loss *l, uint64_t number)
{
	if (number >= l->episode_until || l->episode_lost == 0) {
		l->episode_begin = number;
		l->episode_until = CV_MAX(l->next_number, number + 1);
		l->episode_lost = 0;
		l->episode_late = 0;
	}
	l->episode_lost++;
}

/* RFC 9002, 6.1.2, with the reordering window of RFC 8985 in eighths of an RTT. */
static cv_duration lost_after(const struct loss *l, const struct rtt *rtt)
{
	uint32_t eighths = l->is_tcp_leg ? TCP_LEG_EIGHTHS : l->time_eighths;
	cv_duration base = CV_MAX(rtt->smoothed, rtt->latest);

	cv_duration after = CV_MAX(base + base / 8 * eighths, RTT_GRANULARITY);

	/* The newest packet of an ACK is the one that was fast: where packets overtake each other
	 * the smoothed RTT is that of the fastest, and twice that may be too little. What was seen
	 * says how long to wait. */
	return CV_MAX(after, CV_MIN(l->late_age + l->late_age / 8, LATE_RTTS * base));
}

struct sent_record *loss_next(struct loss *l, struct sent *s, const struct rtt *rtt, cv_time now,
                              uint64_t *number)
{
	uint32_t threshold = l->is_tcp_leg ? 0 : l->reorder_threshold;
	cv_duration after = lost_after(l, rtt);
	struct sent_record *r;
	cv_time lost_at;
	uint64_t n;

	l->loss_at = CV_TIME_NEVER;
	if (!l->has_acked)
		return NULL;

	for (n = sent_next_inflight(s, *number); n < l->largest_acked;
	     n = sent_next_inflight(s, n + 1)) {
		r = sent_find(s, n);
		CV_ASSERT(r);
		if (!is_ours(l, r))
			continue;
		/* Silence from before a wake-up proves nothing (rule 8.4). */
		lost_at = cv_time_after(CV_MAX(r->sent_at, l->restarted_at), after);
		l->scan_from = n;
		*number = n;
		if (lost_at <= now || (threshold && l->largest_acked - n >= threshold)) {
			count_lost(l, n);
			return r;
		}
		l->loss_at = lost_at;
		return NULL;
	}
	l->scan_from = n;
	*number = n;
	return NULL;
}

void loss_on_gone(struct loss *l, const struct sent_record *r)
{
	if (!r->is_eliciting || !is_ours(l, r))
		return;
	CV_ASSERT(l->eliciting_count > 0);
	l->eliciting_count--;
}

cv_time loss_pto_at(const struct loss *l, const struct rtt *rtt, bool is_busy)
{
	cv_duration cap = is_busy ? LOSS_PTO_CAP : LOSS_PTO_CAP_IDLE;
	cv_duration timeout;

	if (l->eliciting_count == 0)
		return CV_TIME_NEVER;
	timeout = rtt_pto(rtt) + (l->tail_asked_ack ? 0 : l->peer_ack_delay);
	if (!rtt->has_sample || rtt->min >= LAN_RTT)
		timeout = CV_MAX(timeout, PTO_MIN);
	if (l->is_tcp_leg)
		timeout = CV_MAX(timeout, PTO_MIN_TCP_LEG);
	/* The cap bounds the backoff; a path slower than the cap still gets its one timeout. */
	cap = CV_MAX(cap, timeout);
	timeout = timeout > cap >> l->pto_count ? cap : timeout << l->pto_count;
	return cv_time_after(l->last_eliciting_at, timeout);
}

void loss_on_answer(struct loss *l)
{
	l->pto_count = 0;
}

void loss_on_pto(struct loss *l, cv_time now)
{
	if (l->pto_count < PTO_COUNT_MAX)
		l->pto_count++;
	/* A probe that cannot leave at once must not make the timeout due again and again. */
	l->last_eliciting_at = now;
}

void loss_on_network(struct loss *l)
{
	l->pto_count = 0;
}

void loss_restart(struct loss *l, cv_time now)
{
	l->restarted_at = now;
	l->pto_count = 0;
	l->last_eliciting_at = now;
	if (l->loss_at != CV_TIME_NEVER)
		l->loss_at = CV_MAX(l->loss_at, now);
}

bool loss_check(const struct loss *l, const struct sent *s)
{
	uint32_t eliciting = 0;

	if (l->time_eighths < 1 || l->time_eighths > TIME_EIGHTHS_MAX)
		return false;
	if (l->reorder_threshold != 0 && l->reorder_threshold < LOSS_REORDER_INITIAL)
		return false;
	if (l->loss_at != CV_TIME_NEVER && !l->has_acked)
		return false;
	if (l->episode_late > l->episode_lost || l->pto_count > PTO_COUNT_MAX)
		return false;
	for (uint64_t n = s->begin; n < s->next; n++) {
		const struct sent_record *r = sent_find(s, n);

		if (!r || r->state != SENT_INFLIGHT || !is_ours(l, r))
			continue;
		if (n < l->scan_from)
			return false;
		eliciting += r->is_eliciting;
	}
	return eliciting == l->eliciting_count;
}

/* SPDX-License-Identifier: MIT */
#include "tunnel/cc.h"

/*
 * CUBIC (RFC 9438) with HyStart++ (RFC 9406), in integers.
 *
 * After a reduction the window follows a cubic of the time since, whose plateau is the
 * window at which the loss came:
 *
 *	W(t) = C (t - K)^3 + W_max      C = 0.4 packets/s^3,  K = cbrt((W_max - cwnd) / C)
 *
 *	 W_max - - - - - - - .-----'      concave up to the plateau, then convex:
 *	               .-'          /     it looks for the new limit slowly at first
 *	 0.7 W_max   /
 *	             0        K         t
 *
 * Windows are bytes and times are milliseconds; the products that need it have 128 bits,
 * and divisions keep their remainders (the *_credit fields), or a window of 25 MB acknowledged two
 * packets at a time would never grow.
 *
 * Where the cubic lies below what Reno would have (w_est), short round trips, Reno's window
 * holds. Growth is for windows that are really used: an idle minute must not raise
 * what a flow may send in the next instant. Time during which the window was not used does not
 * count for the cubic (RFC 9438, 5.8).
 *
 * Slow start. HyStart++ looks at the smallest RTT of a whole round; but the first packets of a
 * paced round meet a queue that has just drained, so that minimum rises two rounds late, at a
 * window four times too large: on a link with one bandwidth-delay product of buffer the model in
 *the unit test lost up to three of these products. Here the alarm is raised by a *stretch*, an
 * eighth of a round trip and at least eight samples, and judged by whole rounds:
 *
 *	slow start ---- a stretch above the threshold ----> hold: the old flight comes in
 *	    ^                                                     | a round later
 *	    |                                               hold: one round is measured
 *	    +-- its smallest RTT is low: jitter --------------<---+
 *	                                                          | it is high
 *	    CSS: grows four times slower, at most five rounds; at once over when the smallest RTT
 *	    stands a quarter above the path's --> congestion avoidance
 *
 * The window then becomes what the path holds without the queue, as both RTTs tell, though never
 *less than a loss would have left. Each false alarm doubles the threshold, so jitter costs a few
 * rounds, not the start.
 *
 * The queue of paths with RTTs below a millisecond is the scheduler of the two hosts, which no RTT
 * describes: no delay-based exit there, no pacing (the clock is too coarse), and a window
 * floor that keeps whole trains going.
 *
 * Packets of a train are acknowledged together; all arithmetic is per batch of ACKs, about ten
 *times per round trip.
 */

enum {
	BETA_TENTHS = 7,
	BETA_PERCENT = 70,
	BETA_ECN_PERCENT = 85, /* a mark comes from a short queue: RFC 8511 */
	/* Reno-friendly increase 3 (1 - beta) / (1 + beta) = 9 / 17 packets per window. */
	ALPHA_NUM = 9,
	ALPHA_DEN = 17,
	LAN_PACKETS = 256,
	K_MS_MAX = 1000000, /* 17 minutes: beyond it the curve is flat and t^3 stays in range */

	HYSTART_SAMPLES = 8,
	HYSTART_DIVISOR = 8,
	STRETCHES = 8, /* of a round trip */
	CSS_DIVISOR = 4,
	HOLD_ROUNDS = 2, /* the old flight, and the one that is measured */
	CSS_ROUNDS = HOLD_ROUNDS + 5,
	MISTAKES_MAX = 6,

	PACING_STARTUP_PERCENT = 200,
	PACING_PERCENT = 125,
};

#define LAN_RTT CV_MS(1)
#define LAN_WINDOW (UINT32_C(1) << 20)
#define HYSTART_THRESHOLD_MIN CV_MS(4)
#define HYSTART_THRESHOLD_MAX CV_MS(16)
#define NO_SSTHRESH UINT64_MAX

/* Largest r < 2^21 with r^3 <= v; bit by bit, once per epoch. */
static uint64_t cube_root(uint64_t v)
{
	uint64_t r = 0, bit, t;

	for (bit = UINT64_C(1) << 20; bit > 0; bit >>= 1) {
		t = r | bit;
		if (t * t * t <= v)
			r = t;
	}
	return r;
}

static bool is_lan(const struct rtt *rtt)
{
	return rtt->has_sample && rtt->min < LAN_RTT;
}

static uint32_t floor_packets(const struct cc *cc, const struct rtt *rtt)
{
	/* Datagrams of 64 KiB make fewer of them. */
	return is_lan(rtt) ? CV_MIN((uint32_t)LAN_PACKETS, LAN_WINDOW / cc->mss) : 0;
}

static bool in_slow_start(const struct cc *cc)
{
	return cc->cwnd < cc->cubic.ssthresh;
}

/* After every change: the limits, and the rate that follows from the window. */
static void settle(struct cc *cc, const struct rtt *rtt)
{
	uint64_t percent = PACING_PERCENT;

	cc->cwnd = cc_clamp(cc, cc->cwnd, floor_packets(cc, rtt));
	if (is_lan(rtt)) {
		cc->pacing_rate = 0;
		return;
	}
	/* In CSS the queue is already there: no reason to push trains out at twice its speed. */
	if (in_slow_start(cc) && !cc->cubic.in_css)
		percent = PACING_STARTUP_PERCENT;
	cc->pacing_rate = cc_mul_div(cc->cwnd, CV_SEC(1) / 100 * percent, CV_MAX(rtt->smoothed, 1));
	cc->pacing_rate = CV_MAX(cc->pacing_rate, 1);
}

/* ---- HyStart++ ---- */

static void start_stretch(struct cubic *c, cv_time now)
{
	c->stretch_rtt_min = CV_TIME_NEVER;
	c->stretch_samples = 0;
	c->stretch_at = now;
}

/* What slow start learnt is void. */
static void reset_start(struct cubic *c, cv_time now)
{
	start_stretch(c, now);
	c->round_end = c->next_number;
	c->round_rtt_min = CV_TIME_NEVER;
	c->start_rtt_min = CV_TIME_NEVER;
	c->in_css = false;
	c->css_rounds = 0;
	c->css_mistakes = 0;
}

/* An RTT that means a queue. RFC 9406, 4.2: RttThresh. */
static cv_duration alarm_rtt(const struct cubic *c)
{
	cv_duration rtt = c->start_rtt_min;
	cv_duration threshold =
		CV_MIN(CV_MAX(rtt / HYSTART_DIVISOR, HYSTART_THRESHOLD_MIN), HYSTART_THRESHOLD_MAX);

	return rtt + (threshold << c->css_mistakes);
}

/* The end of a stretch outside CSS. */
static void judge_stretch(struct cubic *c, cv_time now)
{
	if (c->stretch_rtt_min >= alarm_rtt(c)) {
		c->in_css = true;
		c->css_rounds = 0;
		/* What is out left before: its RTTs are those of the window's growth. */
		c->round_end = c->next_number;
	}
	start_stretch(c, now);
}

/* The end of a round of CSS that was measured. Return: true when slow start is over. */
static bool judge_round(struct cc *cc, cv_duration seen)
{
	struct cubic *c = &cc->cubic;
	uint64_t drained;

	if (seen < alarm_rtt(c)) {
		c->in_css = false;
		c->css_mistakes = CV_MIN(c->css_mistakes + 1, (uint32_t)MISTAKES_MAX);
		return false;
	}
	if (seen < alarm_rtt(c) + c->start_rtt_min / 4 && c->css_rounds < CSS_ROUNDS)
		return false;
	drained = cc_mul_div(cc->cwnd, c->start_rtt_min, seen);
	cc->cwnd = CV_MAX(drained, cc->cwnd / 10 * BETA_TENTHS);
	c->ssthresh = cc->cwnd;
	c->epoch_at = 0;
	return true;
}

/* Return: true when slow start is over. */
static bool on_round_end(struct cc *cc, cv_time now)
{
	struct cubic *c = &cc->cubic;
	cv_duration seen = c->round_rtt_min;

	c->round_end = c->next_number;
	c->round_rtt_min = CV_TIME_NEVER;
	/* The new round begins behind a pause: its samples say nothing about the end of the last.
	 */
	start_stretch(c, now);
	if (!c->in_css || c->css_rounds++ == 0 || seen == CV_TIME_NEVER)
		return false;
	if (!judge_round(cc, seen))
		return false;
	reset_start(c, now);
	return true;
}

static void hystart_on_ack(struct cc *cc, cv_time now, const struct cc_ack *ack,
                           const struct rtt *rtt)
{
	struct cubic *c = &cc->cubic;

	if (ack->newest_number >= c->round_end && on_round_end(cc, now))
		return;
	if (ack->rtt_sample == 0 || is_lan(rtt))
		return;
	c->start_rtt_min = CV_MIN(c->start_rtt_min, ack->rtt_sample);
	c->round_rtt_min = CV_MIN(c->round_rtt_min, ack->rtt_sample);
	c->stretch_rtt_min = CV_MIN(c->stretch_rtt_min, ack->rtt_sample);
	c->stretch_samples++;
	if (!c->in_css && c->stretch_samples >= HYSTART_SAMPLES &&
	    cv_time_since(now, c->stretch_at) >= c->start_rtt_min / STRETCHES)
		judge_stretch(c, now);
}

/* Slow start's share of what was acknowledged. */
static uint64_t start_growth(const struct cubic *c, uint64_t acked)
{
	if (!c->in_css)
		return acked;
	return c->css_rounds < HOLD_ROUNDS ? 0 : acked / CSS_DIVISOR;
}

/* ---- congestion avoidance ---- */

static void start_epoch(struct cc *cc, cv_time now)
{
	struct cubic *c = &cc->cubic;
	uint64_t cube;

	c->epoch_at = CV_MAX(now, 1);
	c->ack_credit = 0;
	c->est_credit = 0;
	c->w_est = cc->cwnd;
	if (c->w_max <= cc->cwnd) {
		/* Beyond the plateau, or slow start ended without a loss: look upwards from here.
		 */
		c->w_max = cc->cwnd;
		c->k_ms = 0;
		return;
	}
	/* K^3 = (w_max - cwnd) / mss / 0.4 s^3 = ... * 2.5e9 ms^3; windows are below 2^31. */
	cube = (c->w_max - cc->cwnd) * UINT64_C(2500000000) / cc->mss;
	c->k_ms = CV_MIN(cube_root(cube), (uint64_t)K_MS_MAX);
}

/* W(t) in bytes. RFC 9438, 4.2. */
static uint64_t window_at(const struct cc *cc, uint64_t t_ms)
{
	const struct cubic *c = &cc->cubic;
	uint64_t d, offset;

	t_ms = CV_MIN(t_ms, (uint64_t)K_MS_MAX);
	d = t_ms > c->k_ms ? t_ms - c->k_ms : c->k_ms - t_ms;
	/* 0.4 packets/s^3 = 4 mss / 1e10 bytes/ms^3; d^3 is at most 1e18. */
	offset = cc_mul_div(d * d * d, UINT64_C(4) * cc->mss, UINT64_C(10000000000));
	if (t_ms < c->k_ms)
		return c->w_max > offset ? c->w_max - offset : 0;
	return c->w_max + offset;
}

/* RFC 9438, 4.3: one alpha per window acknowledged, and Reno's own 1 above the last loss. */
static void grow_reno(struct cc *cc, uint64_t acked)
{
	struct cubic *c = &cc->cubic;
	uint64_t num = c->w_est < c->cwnd_prior ? ALPHA_NUM : ALPHA_DEN;
	uint64_t unit = ALPHA_DEN * cc->cwnd;

	/* A maximum may have cut the window since: Reno would have been cut, too. */
	c->w_est = CV_MIN(c->w_est, cc->cwnd);
	c->est_credit += acked * cc->mss * num;
	c->w_est += c->est_credit / unit;
	c->est_credit %= unit;
}

static void avoid_congestion(struct cc *cc, cv_time now, uint64_t acked, const struct rtt *rtt)
{
	struct cubic *c = &cc->cubic;
	uint64_t t_ms, target;

	if (c->epoch_at == 0)
		start_epoch(cc, now);
	grow_reno(cc, acked);
	t_ms = cv_time_since(now, c->epoch_at) / CV_MS(1);
	if (window_at(cc, t_ms) < c->w_est) {
		cc->cwnd = CV_MAX(cc->cwnd, c->w_est);
		return;
	}
	/* RFC 9438, 4.2: where the curve will be a round trip from now, within half a window. */
	target = window_at(cc, t_ms + rtt->smoothed / CV_MS(1));
	target = CV_MIN(CV_MAX(target, cc->cwnd), cc->cwnd + cc->cwnd / 2);
	c->ack_credit += (target - cc->cwnd) * acked;
	cc->cwnd += c->ack_credit / cc->cwnd;
	c->ack_credit %= cc->cwnd;
}

/* True when the sender was held back by the window, give or take a train. */
static bool is_window_used(const struct cc *cc, const struct cc_ack *ack)
{
	uint64_t slack = CV_MAX(UINT64_C(4) * cc->mss, cc->cwnd / 8);

	if (ack->inflight_before + slack >= cc->cwnd)
		return true;
	/* Held back by pacing: it had more to send, and no less than half a window was out. */
	return !ack->is_app_limited && ack->inflight_before >= cc->cwnd / 2;
}

/* ---- losses and marks ---- */

static void reduce(struct cc *cc, cv_time now, const struct rtt *rtt, unsigned beta_percent)
{
	struct cubic *c = &cc->cubic;

	c->can_undo = true;
	c->undo_cwnd = cc->cwnd;
	c->undo_ssthresh = c->ssthresh;
	c->undo_w_max = c->w_max;
	c->undo_cwnd_prior = c->cwnd_prior;

	/* Fast convergence: who could not even get back to his plateau makes room for others, by
	 * (1 + beta) / 2. */
	c->w_max = cc->cwnd < c->w_max ? cc_mul_div(cc->cwnd, 100 + beta_percent, 200) : cc->cwnd;
	c->cwnd_prior = cc->cwnd;
	cc->cwnd = cc_clamp(cc, cc_mul_div(cc->cwnd, beta_percent, 100), floor_packets(cc, rtt));
	c->ssthresh = cc->cwnd;
	c->epoch_at = 0;
	reset_start(c, now);
}

/* Once a round, like a loss; it really happened, so there is nothing to undo. */
static void on_marks(struct cc *cc, cv_time now, const struct cc_ack *ack, const struct rtt *rtt)
{
	struct cubic *c = &cc->cubic;

	if (ack->ce == 0 || ack->newest_number < c->recovery_until)
		return;
	/* RFC 8511 is about congestion avoidance: a doubling that fills a queue overshoots more. */
	reduce(cc, now, rtt, in_slow_start(cc) ? BETA_PERCENT : BETA_ECN_PERCENT);
	c->can_undo = false;
	c->recovery_until = c->next_number;
}

static void cubic_on_ack(struct cc *cc, cv_time now, const struct cc_ack *ack,
                         const struct rtt *rtt)
{
	struct cubic *c = &cc->cubic;
	/* More than a window in one batch is an ACK after an outage: no reason to leap. */
	uint64_t acked = CV_MIN(ack->acked, cc->cwnd);
	bool is_recovering;

	c->next_number = CV_MAX(CV_MAX(c->next_number, ack->next_number), ack->newest_number + 1);
	on_marks(cc, now, ack, rtt);
	is_recovering = ack->newest_number < c->recovery_until;
	if (!is_recovering && in_slow_start(cc))
		hystart_on_ack(cc, now, ack, rtt);
	if (!is_recovering && is_window_used(cc, ack)) {
		if (in_slow_start(cc))
			cc->cwnd = CV_MIN(cc->cwnd + start_growth(c, acked), c->ssthresh);
		else
			avoid_congestion(cc, now, acked, rtt);
	} else if (c->epoch_at != 0) {
		c->epoch_at = CV_MIN(cv_time_after(c->epoch_at, cv_time_since(now, c->last_ack_at)),
		                     CV_MAX(now, 1));
	}
	c->last_ack_at = now;
	settle(cc, rtt);
}

static void cubic_on_loss(struct cc *cc, cv_time now, const struct cc_loss *loss,
                          const struct rtt *rtt)
{
	struct cubic *c = &cc->cubic;
	uint64_t min = cc_clamp(cc, 0, 0);

	c->next_number = CV_MAX(c->next_number, loss->newest_number + 1);
	if (loss->newest_number >= c->recovery_until) {
		/* An outage repeats itself: the threshold remembers the window before it. */
		if (!loss->is_persistent || cc->cwnd > min)
			reduce(cc, now, rtt, BETA_PERCENT);
		c->recovery_until = c->next_number;
	}
	if (loss->is_persistent) {
		cc->cwnd = min;
		c->epoch_at = 0;
		c->can_undo = false;
		c->recovery_until = 0; /* whatever arrives now is news */
		reset_start(c, now);
	}
	settle(cc, rtt);
}

static void cubic_on_spurious(struct cc *cc, cv_time now)
{
	struct cubic *c = &cc->cubic;

	(void)now;
	if (!c->can_undo)
		return;
	c->can_undo = false;
	c->recovery_until = 0;
	c->ssthresh = c->undo_ssthresh;
	c->w_max = c->undo_w_max;
	c->cwnd_prior = c->undo_cwnd_prior;
	c->epoch_at = 0;
	cc->cwnd = cc_clamp(cc, CV_MAX(cc->cwnd, c->undo_cwnd), 0);
	/* The rate follows with the next ACK, which is in the same batch. */
}

/* ---- the rest ---- */

static void cubic_init(struct cc *cc, cv_time now, uint64_t seed)
{
	struct rtt rtt;

	(void)seed;
	cc->cubic = (struct cubic){
		.ssthresh = NO_SSTHRESH,
		.last_ack_at = now,
	};
	reset_start(&cc->cubic, now);
	rtt_init(&rtt);
	settle(cc, &rtt);
}

static void cubic_on_first_rtt(struct cc *cc, cv_time now, const struct rtt *rtt)
{
	(void)now;
	settle(cc, rtt);
}

static void cubic_on_sent(struct cc *cc, cv_time now, const struct cc_sent *sent)
{
	(void)now;
	cc->cubic.next_number = CV_MAX(cc->cubic.next_number, sent->number + 1);
}

/* A flight's losses are one signal: cubic_on_loss(). */
static void cubic_on_lost(struct cc *cc, cv_time now, const struct cc_lost *lost)
{
	(void)cc;
	(void)now;
	(void)lost;
}

/*
 * The window halves with every second of idleness, down to an initial one, and slow start brings
 * it back to three quarters of what it was (RFC 2861, with a slower clock: trains are
 * paced, so a window that is somewhat old does no harm).
 */
static void cubic_on_idle(struct cc *cc, cv_time now, cv_duration idle)
{
	struct cubic *c = &cc->cubic;
	uint64_t seconds = CV_MIN(idle / CV_SEC(1), 63);
	uint64_t restart = (uint64_t)CC_INITIAL_PACKETS * cc->mss;

	c->epoch_at = 0;
	c->last_ack_at = now;
	if (seconds == 0 || cc->cwnd <= restart)
		return;
	if (c->ssthresh != NO_SSTHRESH)
		c->ssthresh = CV_MAX(c->ssthresh, cc->cwnd / 4 * 3);
	cc->cwnd = cc_clamp(cc, CV_MAX(cc->cwnd >> seconds, restart), 0);
	reset_start(c, now);
}

const struct cc_ops cubic_ops = {
	.name = "cubic",
	.init = cubic_init,
	.on_first_rtt = cubic_on_first_rtt,
	.on_sent = cubic_on_sent,
	.on_ack = cubic_on_ack,
	.on_lost = cubic_on_lost,
	.on_loss = cubic_on_loss,
	.on_spurious = cubic_on_spurious,
	.on_idle = cubic_on_idle,
};

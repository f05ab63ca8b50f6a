/* SPDX-License-Identifier: MIT */
#include "tunnel/bbr.h"

#include "tunnel/cc.h"

/*
 * Order of work per batch of ACKs, literally the draft's (5.2.3): model, full pipe, STARTUP and
 * DRAIN done, cycle, RTT, bounds; then rate and window.
 *
 * Otherwise than there:
 *
 * - Losses are judged against the path's own (loss_floor), and what it loses anyway is sent on
 *   top: rate / (1 - floor). Without it 5 % of random loss leave a third of the rate.
 * - STARTUP ends a round after the rate stopped to grow when a queue stands (a quarter of the
 *   round trip), not after three: one product less of queue, and of loss in a short buffer.
 * - UP, where no queue stood when it began, builds one of at most 10 ms until the rate has
 *   really grown: who has the link for himself has nothing to win by more, and his other
 *   streams wait in that queue. Beside others it goes as far as the draft.
 * - Rounds without a loss and without a queue end what losses had made of the rate: whoever
 *   took the bandwidth has left. The draft waits for the next probe.
 * - A probe that lost where a queue stood before it began gives back three tenths of the
 *   volume, as a CUBIC flow that lost in the same instant does. The draft stays where it
 *   lost, and left CUBIC a quarter of the link in a buffer of one product.
 * - Where the round trip is below a millisecond nothing is paced and no queue is felt: the
 *   schedulers of the two hosts are the path. The window is a fixed one, of which each side
 *   can work while the other sleeps. No ProbeRTT there.
 */

enum {
	STARTUP_PACING = 277, /* percent */
	DRAIN_PACING = 50,
	DOWN_PACING = 90,
	UP_PACING = 125,
	WINDOW_GAIN = 200,
	UP_WINDOW_GAIN = 225,
	PROBE_RTT_GAIN = 50,
	PACING_MARGIN = 1,
	HEADROOM_PERCENT = 15,

	FULL_ROUNDS = 3,
	DRAIN_ROUNDS = 3,
	RENO_ROUNDS_MIN = 16, /* a path of some packets would be probed without a pause */
	RENO_ROUNDS = 63,
	UP_ROUNDS_MAX = 30,
	STARTUP_BURSTS = 6,
	ALONE_ROUNDS = 2,
	DOWN_ROUNDS = 2,
	CALM_ROUNDS = 6,
	GROWTH_PERCENT = 4, /* of the rate: more than noise */
	ACKS_PER_FLIGHT = 16,
	ACK_PACKETS_MAX = 64,
};

#define LAN_RTT CV_MS(1)
#define LAN_WINDOW (UINT64_C(1) << 19)
#define QUANTUM_MAX UINT64_C(65536)
#define PROBE_RTT_TIME CV_MS(200)
#define ALONE_QUEUE CV_MS(10)
#define NO_BOUND UINT64_MAX

#define TO(state) (1u << (state))
static const unsigned edges[] = {
	[BBR_STARTUP] = TO(BBR_DRAIN) | TO(BBR_PROBE_RTT),
	[BBR_DRAIN] = TO(BBR_DOWN) | TO(BBR_STARTUP) | TO(BBR_PROBE_RTT),
	[BBR_DOWN] = TO(BBR_CRUISE) | TO(BBR_REFILL) | TO(BBR_STARTUP) | TO(BBR_PROBE_RTT),
	[BBR_CRUISE] = TO(BBR_REFILL) | TO(BBR_STARTUP) | TO(BBR_PROBE_RTT),
	[BBR_REFILL] = TO(BBR_UP) | TO(BBR_STARTUP) | TO(BBR_PROBE_RTT),
	[BBR_UP] = TO(BBR_DOWN) | TO(BBR_STARTUP) | TO(BBR_PROBE_RTT),
	[BBR_PROBE_RTT] = TO(BBR_STARTUP) | TO(BBR_DOWN),
};

static const struct tactic {
	const char *name;
	uint16_t pacing, window; /* percent */
	uint8_t phase;           /* enum loss_phase */
	bool is_probing;
} tactics[] = {
	[BBR_STARTUP] = { "startup", STARTUP_PACING, WINDOW_GAIN, LOSS_PHASE_PROBE, true },
	[BBR_DRAIN] = { "drain", DRAIN_PACING, WINDOW_GAIN, LOSS_PHASE_OTHER, false },
	[BBR_DOWN] = { "down", DOWN_PACING, WINDOW_GAIN, LOSS_PHASE_DOWN, false },
	[BBR_CRUISE] = { "cruise", 100, WINDOW_GAIN, LOSS_PHASE_CRUISE, false },
	[BBR_REFILL] = { "refill", 100, WINDOW_GAIN, LOSS_PHASE_OTHER, true },
	[BBR_UP] = { "up", UP_PACING, UP_WINDOW_GAIN, LOSS_PHASE_PROBE, true },
	[BBR_PROBE_RTT] = { "probe_rtt", 100, PROBE_RTT_GAIN, LOSS_PHASE_OTHER, false },
};

const char *bbr_state_name(enum bbr_state state)
{
	return tactics[state].name;
}

static bool in_probe_bw(const struct bbr *b)
{
	return b->state == BBR_DOWN || b->state == BBR_CRUISE || b->state == BBR_REFILL ||
	       b->state == BBR_UP;
}

static bool is_lan(const struct rtt *rtt)
{
	return rtt->has_sample && rtt->min < LAN_RTT;
}

/* The only place that writes b->state. */
static void enter(struct cc *cc, enum bbr_state next)
{
	struct bbr *b = &cc->bbr;

	if (b->state == next)
		return;
	CV_ASSERT(edges[b->state] & TO(next));
	b->state = (uint8_t)next;
	b->phase_round = b->model.rounds;
	cc->phase = tactics[next].phase;
	cc->is_probing = tactics[next].is_probing;
}

/* xorshift64*: enough to keep flows from marching in step. */
static uint64_t draw_below(struct bbr *b, uint64_t bound)
{
	b->seed ^= b->seed >> 12;
	b->seed ^= b->seed << 25;
	b->seed ^= b->seed >> 27;
	return (b->seed * UINT64_C(0x2545f4914f6cdd1d) >> 32) % bound;
}

/* ---- volumes ---- */

/* What the receiver may be silent about: it names every so many packets. */
static uint64_t unsaid(const struct cc *cc)
{
	uint64_t packets = cc->cwnd / cc->mss / ACKS_PER_FLIGHT;

	return CV_MIN(CV_MAX(packets, 2), (uint64_t)ACK_PACKETS_MAX) * cc->mss;
}

static uint64_t offload_budget(const struct cc *cc)
{
	uint64_t quantum = CV_MIN(cc->pacing_rate / 1000, QUANTUM_MAX);

	return CV_MAX(quantum, UINT64_C(2) * cc->mss) + unsaid(cc);
}

/* QuantizationBudget() */
static uint64_t at_least(const struct cc *cc, uint64_t volume)
{
	volume = CV_MAX(volume, CV_MAX(offload_budget(cc), cc_least(cc)));
	return cc->bbr.state == BBR_UP ? volume + UINT64_C(2) * cc->mss : volume;
}

static uint64_t bdp(const struct cc *cc, uint64_t bw, uint32_t percent)
{
	uint64_t volume = bbr_model_bdp(&cc->bbr.model, bw, percent);

	return volume == NO_BOUND ? (uint64_t)CC_INITIAL_PACKETS * cc->mss * percent / 100 : volume;
}

/* Volume without a queue; half of what is unsaid has left the path already. */
static uint64_t drained(const struct cc *cc)
{
	return at_least(cc, bdp(cc, bbr_model_max_bw(&cc->bbr.model), 100) + unsaid(cc) / 2);
}

static uint64_t with_headroom(const struct cc *cc)
{
	uint64_t high = cc->bbr.model.inflight_long;
	uint64_t headroom;

	if (high == NO_BOUND)
		return NO_BOUND;
	headroom = CV_MAX(high / 100 * HEADROOM_PERCENT, (uint64_t)cc->mss);
	return CV_MAX(high - CV_MIN(high, headroom), cc_least(cc));
}

/* TargetInflight() */
static uint64_t target(const struct cc *cc)
{
	return CV_MIN(bdp(cc, bbr_model_bw(&cc->bbr.model), 100), cc->cwnd);
}

static uint64_t probe_rtt_window(const struct cc *cc)
{
	return CV_MAX(bdp(cc, bbr_model_bw(&cc->bbr.model), PROBE_RTT_GAIN), cc_least(cc));
}

static void save_window(struct cc *cc)
{
	struct bbr *b = &cc->bbr;

	if (b->state != BBR_PROBE_RTT && !b->model.is_loss_in_round)
		b->prior_cwnd = cc->cwnd;
	else
		b->prior_cwnd = CV_MAX(b->prior_cwnd, cc->cwnd);
}

/* ---- full pipe ---- */

static void reset_full(struct bbr *b)
{
	b->full_bw = 0;
	b->full_bw_count = 0;
	b->is_full_now = false;
}

/* A queue of a quarter of the round trip: nobody needs two more rounds to believe it. */
static bool is_full_of_queue(const struct bbr_model *m)
{
	return m->last_rtt_min != CV_TIME_NEVER && m->min_rtt != CV_TIME_NEVER &&
	       m->last_rtt_min > m->min_rtt + m->min_rtt / 4 + CV_MS(2);
}

static void check_full(struct bbr *b, const struct cc_ack *ack)
{
	unsigned needed = FULL_ROUNDS;

	/* In PROBE_RTT it is our own doing that the rate does not grow. */
	if (b->is_full_now || !b->model.is_round_start || ack->rate.is_app_limited ||
	    ack->rate.rate == 0 || b->state == BBR_PROBE_RTT)
		return;
	if (ack->rate.rate >= b->full_bw + b->full_bw / 4) {
		reset_full(b);
		b->full_bw = ack->rate.rate;
		return;
	}
	b->full_bw_count++;
	if (b->state == BBR_STARTUP && is_full_of_queue(&b->model))
		needed = 1;
	b->is_full_now = b->full_bw_count >= needed;
	b->was_full |= b->is_full_now;
}

/* ---- STARTUP, DRAIN ---- */

/* Before the model closes the round. */
static void check_startup_loss(struct cc *cc)
{
	struct bbr *b = &cc->bbr;
	struct bbr_model *m = &b->model;
	uint64_t all = m->round_acked + m->round_lost;
	uint64_t allowed;

	if (b->state != BBR_STARTUP || !m->is_loss_round_start)
		return;
	allowed = loss_floor_allowed(&m->floor, cc->mss, all, BBR_MODEL_LOSS_PERCENT);
	if (!bbr_model_is_queued(m, cc->mss)) {
		loss_floor_on_start_round(&m->floor, cc->mss, m->round_lost, all);
		allowed = CV_MAX(allowed, loss_floor_blind(cc->mss, all));
	}
	if (!m->is_loss_in_round || m->round_bursts < STARTUP_BURSTS ||
	    (m->round_lost <= allowed && m->round_ce <= all / 100 * BBR_MODEL_LOSS_PERCENT))
		return;
	b->undo_state = BBR_STARTUP;
	b->is_full_now = true;
	b->was_full = true;
	m->inflight_long = CV_MAX(bdp(cc, bbr_model_max_bw(m), 100), m->inflight_latest);
}

static void start_down(struct cc *cc, cv_time now, const uint64_t *delivered);

static void check_start_done(struct cc *cc, cv_time now, const struct cc_ack *ack)
{
	struct bbr *b = &cc->bbr;

	if (b->state == BBR_STARTUP && b->was_full)
		enter(cc, BBR_DRAIN);
	if (b->state == BBR_DRAIN &&
	    (ack->inflight <= drained(cc) || b->model.rounds > b->phase_round + DRAIN_ROUNDS))
		start_down(cc, now, &ack->delivered);
}

/* ---- the cycle ---- */

static void raise_slope(struct cc *cc)
{
	struct bbr *b = &cc->bbr;
	uint64_t growth = UINT64_C(1) << b->up_rounds;

	b->up_rounds = (uint8_t)CV_MIN(b->up_rounds + 1, UP_ROUNDS_MAX);
	b->up_acked_per_mss = CV_MAX(cc->cwnd / growth, (uint64_t)cc->mss);
}

/* @delivered: NULL leaves the round as it is. */
static void start_down(struct cc *cc, cv_time now, const uint64_t *delivered)
{
	struct bbr *b = &cc->bbr;

	bbr_model_reset_signals(&b->model);
	loss_floor_on_cycle(&b->model.floor);
	b->up_acked_per_mss = NO_BOUND;
	b->rounds_since_up = (uint32_t)draw_below(b, 2);
	b->probe_wait = CV_SEC(2) + draw_below(b, CV_SEC(1));
	b->cycle_at = now;
	b->acks = BBR_ACKS_STOPPING;
	if (delivered)
		bbr_model_start_round(&b->model, *delivered);
	enter(cc, BBR_DOWN);
}

static void start_refill(struct cc *cc, const struct cc_ack *ack)
{
	struct bbr *b = &cc->bbr;

	bbr_model_forget_short(&b->model);
	b->up_rounds = 0;
	b->up_acked = 0;
	b->was_cautious = false;
	b->acks = BBR_ACKS_REFILLING;
	bbr_model_start_round(&b->model, ack->delivered);
	enter(cc, BBR_REFILL);
}

static void start_up(struct cc *cc, const struct cc_ack *ack)
{
	struct bbr *b = &cc->bbr;

	b->acks = BBR_ACKS_STARTING;
	bbr_model_start_round(&b->model, ack->delivered);
	reset_full(b);
	b->full_bw = ack->rate.rate;
	b->up_bw = bbr_model_max_bw(&b->model);
	b->is_beside = bbr_model_is_queued(&b->model, cc->mss);
	b->is_alone = cc->pacing_rate != 0 && !b->is_beside;
	enter(cc, BBR_UP);
	raise_slope(cc);
}

/* A rate that losses brought down, on a path that loses no more and has no queue. */
static bool is_slow_in_vain(const struct bbr *b)
{
	return b->model.calm_rounds >= CALM_ROUNDS &&
	       b->model.bw_short < bbr_model_max_bw(&b->model) / 10 * 9;
}

static bool is_time_to_probe(struct cc *cc, cv_time now, const struct cc_ack *ack)
{
	struct bbr *b = &cc->bbr;
	uint64_t reno = target(cc) / cc->mss;

	reno = CV_MIN(CV_MAX(reno, (uint64_t)RENO_ROUNDS_MIN), (uint64_t)RENO_ROUNDS);
	if (now <= cv_time_after(b->cycle_at, b->probe_wait) && b->rounds_since_up < reno &&
	    !is_slow_in_vain(b))
		return false;
	start_refill(cc, ack);
	return true;
}

/* The bound of UP while nobody else is there and the rate has not grown; NO_BOUND else. */
static uint64_t alone_bound(struct cc *cc)
{
	struct bbr *b = &cc->bbr;
	uint64_t bw = bbr_model_max_bw(&b->model);
	uint64_t volume = bdp(cc, bw, 100);

	if (!b->is_alone)
		return NO_BOUND;
	if (bw > b->up_bw + b->up_bw / 100 * GROWTH_PERCENT) {
		b->is_alone = false;
		return NO_BOUND;
	}
	return volume + CV_MIN(volume / 4, cc_mul_div(bw, ALONE_QUEUE, CV_SEC(1))) + unsaid(cc) +
	       UINT64_C(2) * cc->mss;
}

static bool is_time_to_go_down(struct cc *cc, const struct cc_ack *ack)
{
	struct bbr *b = &cc->bbr;

	if (b->was_too_high && ack->inflight >= b->model.inflight_long) {
		b->was_cautious = true;
		return true;
	}
	if (b->was_limited && cc->cwnd >= b->model.inflight_long) {
		reset_full(b); /* it is our bound that keeps the rate where it is */
		b->full_bw = ack->rate.rate;
		return false;
	}
	if (b->is_alone && alone_bound(cc) < b->model.inflight_long &&
	    b->model.rounds > b->phase_round + ALONE_ROUNDS && !ack->rate.is_app_limited)
		return true;
	return b->is_full_now;
}

/* ProbeInflightLongtermUpward() */
static void raise_long(struct cc *cc, const struct cc_ack *ack)
{
	struct bbr *b = &cc->bbr;
	uint64_t steps;

	if (!b->was_limited || cc->cwnd < b->model.inflight_long)
		return;
	b->up_acked += ack->acked;
	if (b->up_acked >= b->up_acked_per_mss) {
		steps = b->up_acked / b->up_acked_per_mss;
		b->up_acked -= steps * b->up_acked_per_mss;
		b->model.inflight_long += steps * cc->mss;
	}
	if (b->model.is_round_start)
		raise_slope(cc);
}

static void handle_too_high(struct cc *cc, cv_time now, uint64_t tx_in_flight, bool is_app_limited,
                            const uint64_t *delivered)
{
	struct bbr *b = &cc->bbr;

	b->was_too_high = true;
	b->is_probe_sample = false; /* once a probe */
	if (b->is_beside)
		tx_in_flight = tx_in_flight / 10 * BBR_MODEL_BETA_TENTHS;
	if (!is_app_limited)
		b->model.inflight_long =
			CV_MAX(tx_in_flight, target(cc) / 10 * BBR_MODEL_BETA_TENTHS);
	if (b->state == BBR_UP) {
		b->undo_state = BBR_UP;
		start_down(cc, now, delivered);
	}
}

/* Return: true when a new state was entered. */
static bool adapt_long(struct cc *cc, cv_time now, const struct cc_ack *ack)
{
	struct bbr *b = &cc->bbr;
	struct bbr_model *m = &b->model;
	const struct delivery_sample *rs = &ack->rate;

	if (b->acks == BBR_ACKS_STARTING && m->is_round_start)
		b->acks = BBR_ACKS_FEEDBACK;
	if (b->acks == BBR_ACKS_STOPPING && m->is_round_start) {
		b->is_probe_sample = false;
		b->acks = BBR_ACKS_INIT;
		if (in_probe_bw(b) && !rs->is_app_limited)
			bbr_model_next_cycle(m);
		if (in_probe_bw(b) && b->was_cautious && !b->was_too_high) {
			start_refill(cc, ack);
			return true;
		}
	}
	if (!rs->has_data || bbr_model_is_too_high(m, rs->lost, rs->tx_in_flight, cc->mss))
		return false;
	/* Marks say what losses would, before there are any. */
	if (b->is_probe_sample && m->round_ce > m->round_acked / 100 * BBR_MODEL_LOSS_PERCENT) {
		handle_too_high(cc, now, rs->tx_in_flight, rs->is_app_limited, &ack->delivered);
		return true;
	}
	if (m->inflight_long == NO_BOUND)
		return false;
	m->inflight_long = CV_MAX(m->inflight_long, rs->tx_in_flight);
	if (b->state == BBR_UP)
		raise_long(cc, ack);
	return false;
}

static void update_cycle(struct cc *cc, cv_time now, const struct cc_ack *ack)
{
	struct bbr *b = &cc->bbr;

	if (!b->was_full || adapt_long(cc, now, ack))
		return;
	switch ((enum bbr_state)b->state) {
	case BBR_DOWN:
		/* CRUISE keeps the headroom by its window: waiting for it at a lower rate, where
		 * the rate is all there is to come down by, could take until the next probe. */
		if (!is_time_to_probe(cc, now, ack) && ack->inflight <= drained(cc) &&
		    (ack->inflight <= with_headroom(cc) ||
		     b->model.rounds > b->phase_round + DOWN_ROUNDS))
			enter(cc, BBR_CRUISE);
		return;
	case BBR_CRUISE:
		(void)is_time_to_probe(cc, now, ack);
		return;
	case BBR_REFILL:
		if (b->model.is_round_start) {
			b->is_probe_sample = true;
			start_up(cc, ack);
		}
		return;
	case BBR_UP:
		if (is_time_to_go_down(cc, ack)) {
			b->was_too_high = false;
			start_down(cc, now, &ack->delivered);
		}
		return;
	case BBR_STARTUP:
	case BBR_DRAIN:
	case BBR_PROBE_RTT:
		return;
	}
	CV_UNREACHABLE();
}

/* ---- PROBE_RTT ---- */

static void leave_probe_rtt(struct cc *cc, cv_time now)
{
	struct bbr *b = &cc->bbr;

	b->model.probe_min_at = now; /* the next one in five seconds */
	cc->cwnd = cc_clamp(cc, CV_MAX(cc->cwnd, b->prior_cwnd), 0);
	bbr_model_forget_short(&b->model);
	if (!b->was_full) {
		reset_full(b);
		enter(cc, BBR_STARTUP);
		return;
	}
	/* The volume is down already. */
	start_down(cc, now, NULL);
	enter(cc, BBR_CRUISE);
}

static void check_probe_rtt(struct cc *cc, cv_time now, const struct cc_ack *ack,
                            const struct rtt *rtt)
{
	struct bbr *b = &cc->bbr;

	if (b->state != BBR_PROBE_RTT && b->model.is_probe_due && !b->is_restarting &&
	    !is_lan(rtt)) {
		save_window(cc);
		b->probe_rtt_until = 0;
		b->acks = BBR_ACKS_STOPPING;
		bbr_model_start_round(&b->model, ack->delivered);
		enter(cc, BBR_PROBE_RTT);
	}
	if (b->state == BBR_PROBE_RTT) {
		if (b->probe_rtt_until == 0 && ack->inflight <= probe_rtt_window(cc)) {
			b->probe_rtt_until = cv_time_after(now, PROBE_RTT_TIME);
			b->is_rtt_round_done = false;
			bbr_model_start_round(&b->model, ack->delivered);
		} else if (b->probe_rtt_until != 0) {
			b->is_rtt_round_done |= b->model.is_round_start;
			if (b->is_rtt_round_done && now > b->probe_rtt_until)
				leave_probe_rtt(cc, now);
		}
	}
	if (ack->acked > 0)
		b->is_restarting = false;
}

/* ---- what is allowed ---- */

static void set_pacing(struct cc *cc, const struct rtt *rtt, uint32_t percent)
{
	struct bbr *b = &cc->bbr;
	uint64_t bw = bbr_model_bw(&b->model);
	uint64_t window = (uint64_t)CC_INITIAL_PACKETS * cc->mss;
	uint64_t rate;

	if (is_lan(rtt)) {
		cc->pacing_rate = 0;
		return;
	}
	/* InitPacingRate(), done again when the first round trip is known, whoever measured it:
	 * the first ACK may bring it together with the tiny rate of a handshake. */
	if (bw == 0 || (rtt->has_sample && !b->has_rtt)) {
		rate = cc_mul_div(window, CV_SEC(1) / 100 * STARTUP_PACING, rtt->smoothed);
		cc->pacing_rate = CV_MAX(rate, 1);
		b->has_rtt |= rtt->has_sample;
		return;
	}
	rate = cc_mul_div(bw, (uint64_t)percent * (100 - PACING_MARGIN), 10000);
	/* What chance adds to the greatest of many samples would become a queue. */
	if (b->state == BBR_STARTUP || !bbr_model_is_crowded(&b->model, cc->mss))
		rate = cc_mul_div(rate, 1000000, 1000000 - b->model.floor.ppm);
	if (b->was_full || rate > cc->pacing_rate)
		cc->pacing_rate = CV_MAX(rate, 1);
}

/* UpdateMaxInflight() */
static uint64_t most_in_flight(const struct cc *cc, const struct rtt *rtt)
{
	const struct bbr *b = &cc->bbr;
	uint64_t volume = bdp(cc, bbr_model_bw(&b->model), tactics[b->state].window);
	uint64_t extra = bbr_model_extra(&b->model, !b->was_full);

	if (is_lan(rtt))
		return CV_MAX(volume, LAN_WINDOW);
	return at_least(cc, volume + extra);
}

static uint64_t model_bound(struct cc *cc)
{
	struct bbr *b = &cc->bbr;
	uint64_t bound = NO_BOUND;

	switch ((enum bbr_state)b->state) {
	case BBR_UP:
		bound = CV_MIN(b->model.inflight_long, alone_bound(cc));
		break;
	case BBR_DOWN:
	case BBR_REFILL:
	case BBR_DRAIN:
		bound = b->model.inflight_long;
		break;
	case BBR_CRUISE:
	case BBR_PROBE_RTT:
		bound = with_headroom(cc);
		break;
	case BBR_STARTUP:
		break;
	}
	return CV_MAX(CV_MIN(bound, b->model.inflight_short), cc_least(cc));
}

static void set_window(struct cc *cc, uint64_t acked, uint64_t delivered, const struct rtt *rtt)
{
	struct bbr *b = &cc->bbr;
	uint64_t most = most_in_flight(cc, rtt);
	uint64_t window = cc->cwnd;

	if (b->was_full)
		window = CV_MIN(window + acked, most);
	else if (window < most || delivered < (uint64_t)CC_INITIAL_PACKETS * cc->mss)
		window += acked;
	if (b->state == BBR_PROBE_RTT)
		window = CV_MIN(window, probe_rtt_window(cc));
	cc->cwnd = cc_clamp(cc, CV_MIN(window, model_bound(cc)), 0);
}

/* What the packets that leave now will say about losses. */
static uint8_t phase_of_sending(const struct cc *cc)
{
	const struct bbr *b = &cc->bbr;

	if (b->state != BBR_CRUISE && b->state != BBR_DOWN)
		return tactics[b->state].phase;
	/* A queue that others made says nothing about what this rate loses. */
	if (bbr_model_is_crowded(&b->model, cc->mss))
		return LOSS_PHASE_OTHER;
	if (b->state == BBR_DOWN)
		return LOSS_PHASE_DOWN;
	/* Slowed down for losses: if they go on, it was in vain. */
	return b->model.bw_short / 10 <= bbr_model_max_bw(&b->model) / 100 * 9 ? LOSS_PHASE_DOWN
	                                                                       : LOSS_PHASE_CRUISE;
}

static void bbr_on_ack(struct cc *cc, cv_time now, const struct cc_ack *ack, const struct rtt *rtt)
{
	struct bbr *b = &cc->bbr;
	struct bbr_model *m = &b->model;

	bbr_model_on_ack(m, now, ack, cc->mss);
	b->was_limited |= cc->is_limited;
	cc->is_limited = false;
	if (m->is_round_start)
		b->rounds_since_up++;
	check_startup_loss(cc);
	bbr_model_adapt_bounds(m, cc->mss, cc->cwnd, tactics[b->state].is_probing);
	bbr_model_update_aggregation(m, now, ack->acked, cc->cwnd);
	check_full(b, ack);
	check_start_done(cc, now, ack);
	update_cycle(cc, now, ack);
	bbr_model_update_min_rtt(m, now, ack->rtt_sample);
	check_probe_rtt(cc, now, ack, rtt);
	bbr_model_advance(m, ack);
	set_pacing(cc, rtt, tactics[b->state].pacing);
	set_window(cc, ack->acked, ack->delivered, rtt);
	cc->phase = phase_of_sending(cc);
	if (m->is_round_start)
		b->was_limited = false;
}

/* ---- losses ---- */

/* Once for all that was out when the first of them was lost, as loss.c counts what arrives after
 * all: the second loss of a flight finds what the first has made of the bounds. */
static void save_for_undo(struct cc *cc, uint64_t number)
{
	struct bbr *b = &cc->bbr;

	if (number < b->undo_until)
		return;
	b->undo_until = CV_MAX(b->next_number, number + 1);
	save_window(cc);
	b->undo_state = BBR_DRAIN;
	b->undo_bw_short = b->model.bw_short;
	b->undo_inflight_short = b->model.inflight_short;
	b->undo_inflight_long = b->model.inflight_long;
}

static void bbr_on_lost(struct cc *cc, cv_time now, const struct cc_lost *lost)
{
	struct bbr *b = &cc->bbr;
	uint64_t since = lost->lost - CV_MIN(lost->lost, lost->sent.lost);

	save_for_undo(cc, lost->number);
	bbr_model_on_lost(&b->model, lost, cc->mss);
	if (!b->is_probe_sample ||
	    !bbr_model_is_too_high(&b->model, since, lost->sent.tx_in_flight, cc->mss))
		return;
	handle_too_high(cc, now, bbr_model_inflight_at(&b->model, lost, cc->mss),
	                lost->sent.is_app_limited, &lost->delivered);
}

/* Three probe timeouts without an answer: from what is still out there, one packet at a time. */
static void bbr_on_loss(struct cc *cc, cv_time now, const struct cc_loss *loss,
                        const struct rtt *rtt)
{
	(void)now;
	(void)rtt;
	if (!loss->is_persistent)
		return;
	save_window(cc);
	cc->cwnd = cc_clamp(cc, CV_MIN(cc->cwnd, loss->inflight + cc->mss), 0);
}

/* HandleSpuriousLossDetection() */
static void bbr_on_spurious(struct cc *cc, cv_time now)
{
	struct bbr *b = &cc->bbr;
	struct bbr_model *m = &b->model;

	cc->cwnd = cc_clamp(cc, CV_MAX(cc->cwnd, b->prior_cwnd), 0);
	m->is_loss_in_round = false;
	reset_full(b);
	m->bw_short = CV_MAX(m->bw_short, b->undo_bw_short);
	m->inflight_short = CV_MAX(m->inflight_short, b->undo_inflight_short);
	m->inflight_long = CV_MAX(m->inflight_long, b->undo_inflight_long);
	if (b->undo_state == BBR_STARTUP && b->state != BBR_STARTUP) {
		b->was_full = false;
		if (b->state != BBR_PROBE_RTT)
			enter(cc, BBR_STARTUP);
	} else if (b->undo_state == BBR_UP && b->state != BBR_UP && b->state != BBR_PROBE_RTT) {
		/* The next ACK probes again. */
		b->cycle_at = 0;
		b->probe_wait = 0;
	}
	b->undo_state = BBR_DRAIN;
	(void)now;
}

/* ---- the rest ---- */

static void bbr_init(struct cc *cc, cv_time now, uint64_t seed)
{
	struct bbr *b = &cc->bbr;
	struct rtt rtt;

	*b = (struct bbr){
		.state = BBR_STARTUP,
		.undo_state = BBR_DRAIN,
		.up_acked_per_mss = NO_BOUND,
		.undo_bw_short = NO_BOUND,
		.undo_inflight_short = NO_BOUND,
		.undo_inflight_long = NO_BOUND,
		.seed = seed | 1,
	};
	bbr_model_init(&b->model, now);
	cc->phase = tactics[BBR_STARTUP].phase;
	cc->is_probing = true;
	rtt_init(&rtt);
	set_pacing(cc, &rtt, STARTUP_PACING);
}

static void bbr_on_first_rtt(struct cc *cc, cv_time now, const struct rtt *rtt)
{
	(void)now;
	/* A probe is a small packet: its round trip is too short for the model. */
	set_pacing(cc, rtt, tactics[cc->bbr.state].pacing);
}

/* HandleRestartFromIdle(): at the rate that was known, without the gain of whatever was tried. */
static void bbr_on_sent(struct cc *cc, cv_time now, const struct cc_sent *sent)
{
	struct bbr *b = &cc->bbr;
	uint64_t bw = bbr_model_bw(&b->model);

	b->next_number = CV_MAX(b->next_number, sent->number + 1);
	if (sent->inflight_before > 0 || !sent->is_app_limited)
		return;
	b->is_restarting = true;
	b->model.extra_at = now;
	b->model.extra_delivered = 0;
	if (in_probe_bw(b) && cc->pacing_rate > 0 && bw > 0)
		cc->pacing_rate = CV_MAX(cc_mul_div(bw, 100 - PACING_MARGIN, 100), 1);
	else if (b->state == BBR_PROBE_RTT && b->probe_rtt_until != 0 && now > b->probe_rtt_until)
		leave_probe_rtt(cc, now);
}

/* What is known of the path stays known; the pacer sees to it that it is tried gently. */
static void bbr_on_idle(struct cc *cc, cv_time now, cv_duration idle)
{
	(void)idle;
	cc->bbr.is_restarting = true;
	cc->bbr.model.extra_at = now;
	cc->bbr.model.extra_delivered = 0;
}

const struct cc_ops bbr_ops = {
	.name = "bbr",
	.init = bbr_init,
	.on_first_rtt = bbr_on_first_rtt,
	.on_sent = bbr_on_sent,
	.on_ack = bbr_on_ack,
	.on_lost = bbr_on_lost,
	.on_loss = bbr_on_loss,
	.on_spurious = bbr_on_spurious,
	.on_idle = bbr_on_idle,
};

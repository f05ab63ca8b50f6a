/* SPDX-License-Identifier: MIT */

/*
 * Input: a list of events for one path's controller, pacer and packet size search, with any
 * numbers in them; BBR and CUBIC are told the same story.
 *
 * Oracles: the window stays between four packets (two of the largest) and its maximum; a loss never
 * makes it larger, and CUBIC's grows by no more than what was acknowledged and half a window; the
 * rate is 0 only below a millisecond; BBR's model stays consistent and its phase is one that
 * delivery.h knows; the pacer's promise holds; the packet size stays within [1200, ceiling].
 */
#include "base/compiler.h"
#include "base/rd.h"
#include "tunnel/cc.h"
#include "tunnel/pacer.h"
#include "tunnel/pmtud.h"

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
	struct cc cc;
	struct pacer pacer;
	struct pmtud pmtud;
	struct rtt rtt;
	cv_time now;
	uint64_t number;
	uint64_t delivered, lost;
};

/* One byte for the exponent, two for the digits: all magnitudes are equally likely. */
static uint64_t read_any(struct rd *in)
{
	uint8_t shift = rd_u8(in) & 63;
	uint64_t digits = rd_u8(in);

	digits = digits << 8 | rd_u8(in);
	return shift < 48 ? digits << shift : digits >> (shift - 48);
}

static void read_sample(struct rd *in, struct delivery_sample *rate)
{
	uint8_t flags = rd_u8(in);

	rate->has_data = flags & 1;
	rate->is_app_limited = flags & 2;
	if (!rate->has_data)
		return;
	rate->rate = read_any(in);
	rate->delivered = read_any(in);
	rate->prior_delivered = read_any(in);
	rate->lost = read_any(in);
	rate->tx_in_flight = read_any(in);
	if (flags & 4)
		rate->acked_in[flags >> 6] = read_any(in);
}

static void on_ack(struct world *w, struct rd *in)
{
	uint64_t before = w->cc.cwnd;
	struct cc_ack ack = {
		.acked = read_any(in),
		.inflight_before = read_any(in),
		.rtt_sample = read_any(in),
		.next_number = w->number,
	};
	uint64_t limit;
	uint8_t what;

	ack.newest_number = w->number - CV_MIN(w->number, rd_u8(in));
	what = rd_u8(in);
	ack.is_app_limited = what & 1;
	w->cc.is_limited |= (what & 2) != 0;
	if (what & 4)
		ack.inflight = read_any(in);
	w->delivered += what & 8 ? read_any(in) : ack.acked;
	ack.delivered = w->delivered;
	ack.ce = what >> 4;
	if (ack.rtt_sample)
		rtt_on_sample(&w->rtt, ack.rtt_sample, read_any(in));
	read_sample(in, &ack.rate);
	w->cc.ops->on_ack(&w->cc, w->now, &ack, &w->rtt);
	if (w->cc.ops == &bbr_ops)
		return;
	/* On a LAN it grows from the floor of one. */
	if (w->rtt.has_sample && w->rtt.min < CV_MS(1))
		before = CV_MAX(before, UINT64_C(256) * w->cc.mss);
	limit = before + CV_MIN(ack.acked, before) + before / 2;
	CV_ASSERT(w->cc.cwnd <= limit);
}

static void on_lost(struct world *w, struct rd *in)
{
	struct cc_lost lost = { .size = read_any(in), .delivered = w->delivered };
	uint64_t before = w->cc.cwnd;
	uint8_t flags = rd_u8(in);

	lost.number = w->number - CV_MIN(w->number, rd_u8(in));
	w->lost += lost.size;
	lost.lost = w->lost;
	lost.sent.lost = flags & 1 ? read_any(in) : w->lost;
	lost.sent.tx_in_flight = read_any(in);
	lost.sent.delivered = read_any(in);
	lost.sent.phase = flags >> 5;
	lost.sent.is_app_limited = flags & 2;
	w->cc.ops->on_lost(&w->cc, w->now, &lost);
	CV_ASSERT(w->cc.cwnd <= before);
}

static void on_loss(struct world *w, struct rd *in)
{
	uint64_t before = w->cc.cwnd;
	uint64_t floor = UINT64_C(256) * w->cc.mss;
	struct cc_loss loss = { .lost = read_any(in), .inflight = read_any(in) };

	loss.newest_number = w->number - CV_MIN(w->number, rd_u8(in));
	loss.is_persistent = rd_u8(in) & 1;
	w->cc.ops->on_loss(&w->cc, w->now, &loss, &w->rtt);
	CV_ASSERT(w->cc.cwnd <= CV_MAX(before, floor));
}

static void on_control(struct world *w, uint8_t what, struct rd *in)
{
	uint64_t value = read_any(in);

	switch (what & 7) {
	case 0:
		w->cc.ops->on_spurious(&w->cc, w->now);
		break;
	case 1:
		w->cc.ops->on_idle(&w->cc, w->now, value);
		break;
	case 2:
		cc_set_cwnd_max(&w->cc, value);
		break;
	case 3:
		pacer_set_cap(&w->pacer, value);
		break;
	case 4:
		cc_set_mss(&w->cc, w->pmtud.size);
		break;
	case 5:
		/* Once, before there is any other. */
		if (w->rtt.has_sample)
			break;
		rtt_on_sample(&w->rtt, value, 0);
		w->cc.ops->on_first_rtt(&w->cc, w->now, &w->rtt);
		break;
	default:
		w->now += CV_MIN(value, CV_SEC(3600));
		break;
	}
}

static void on_send(struct world *w, struct rd *in)
{
	uint64_t budget = pacer_budget(&w->pacer, w->now, read_any(in));
	uint64_t bytes = CV_MIN(CV_MIN(budget, w->cc.cwnd), 65536);

	w->cc.ops->on_sent(&w->cc, w->now,
	                   &(struct cc_sent){ .number = w->number,
	                                      .bytes = bytes,
	                                      .inflight_before = read_any(in),
	                                      .is_app_limited = rd_u8(in) & 1 });
	w->number++;
	pacer_on_sent(&w->pacer, w->now, bytes);
}

static void on_pmtud(struct world *w, uint8_t what, struct rd *in)
{
	uint32_t before = w->pmtud.size;
	uint32_t size = (uint32_t)read_any(in);
	uint32_t due;

	switch (what & 7) {
	case 0:
		pmtud_start(&w->pmtud, w->now);
		break;
	case 1:
		pmtud_on_refused(&w->pmtud, w->now, size);
		break;
	case 2:
		pmtud_on_acked(&w->pmtud, size);
		break;
	case 3:
		if (pmtud_on_lost(&w->pmtud, w->now, size))
			CV_ASSERT(w->pmtud.size == WIRE_DATAGRAM_BASE);
		break;
	case 4:
		if (pmtud_on_answer(&w->pmtud, w->now, size & 3))
			CV_ASSERT(w->pmtud.size > before);
		break;
	default:
		due = pmtud_due(&w->pmtud, w->now);
		CV_ASSERT(due == 0 || (due > w->pmtud.size && due <= w->pmtud.ceiling));
		if (due)
			pmtud_on_sent(&w->pmtud, w->now, size & 3, read_any(in));
		break;
	}
	CV_ASSERT(pmtud_check(&w->pmtud));
}

static void check(struct world *w)
{
	uint64_t min = cc_least(&w->cc);
	struct pacer probe = w->pacer;
	cv_time at;

	CV_ASSERT(cc_check(&w->cc));
	CV_ASSERT(w->cc.cwnd >= min && min >= UINT64_C(2) * w->cc.mss);
	CV_ASSERT(w->cc.mss > 4096 || min == (uint64_t)CC_MIN_PACKETS * w->cc.mss);
	CV_ASSERT(w->cc.cwnd <= CV_MAX(min, CV_MIN(w->cc.cwnd_max, CC_CWND_MAX)));
	CV_ASSERT(w->cc.pacing_rate > 0 || w->rtt.min < CV_MS(1));
	CV_ASSERT(w->cc.phase < DELIVERY_PHASES);
	if (w->cc.ops == &bbr_ops)
		CV_ASSERT(bbr_model_check(&w->cc.bbr.model) && w->cc.bbr.state <= BBR_PROBE_RTT);
	pacer_set_rate(&w->pacer, w->now, w->cc.pacing_rate, w->cc.mss);
	CV_ASSERT(pacer_check(&w->pacer));
	probe = w->pacer;
	at = pacer_ready_at(&probe, w->now, UINT64_MAX);
	CV_ASSERT(at >= w->now);
	CV_ASSERT(pacer_budget(&probe, at, UINT64_MAX) > 0);
	CV_ASSERT(w->pmtud.size >= WIRE_DATAGRAM_BASE && w->pmtud.size <= w->pmtud.ceiling);
}

static void run(enum cc_kind kind, const uint8_t *data, size_t size)
{
	struct rd in = rd_init(data, size);
	struct world w = { .now = CV_SEC(1), .number = 1 };

	cc_init(&w.cc, kind, WIRE_DATAGRAM_BASE, read_any(&in), w.now, 1);
	pacer_init(&w.pacer, w.now);
	pmtud_init(&w.pmtud, 1472, (uint32_t)read_any(&in));
	rtt_init(&w.rtt);
	for (unsigned i = 0; i < 2000 && rd_left(&in) >= 2; i++) {
		uint8_t op = rd_u8(&in);

		switch (op >> 5) {
		case 0:
			if (op & 16)
				on_lost(&w, &in);
			else
				on_loss(&w, &in);
			break;
		case 1:
			on_control(&w, op, &in);
			break;
		case 2:
			on_pmtud(&w, op, &in);
			break;
		case 3:
		case 4:
			on_send(&w, &in);
			break;
		default:
			w.now += CV_US(50) << (op & 15);
			on_ack(&w, &in);
			break;
		}
		check(&w);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	run(CC_BBR, data, size);
	run(CC_CUBIC, data, size);
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

/* SPDX-License-Identifier: MIT */

/*
 * Two agents and everything that may happen between them: the input is a schedule of
 * operations, a high nibble each, and of fates for the datagrams that follow (lost, doubled, late,
 * damaged). Then the faults end. Oracles besides the sanitizers: bytes delivered are a prefix of
 * those written; endpoint_check() and pool_check() after each turn; no turn without end; up and
 * down alternate; nobody takes its own restart for a twin; in calm the two meet again, and a stream
 * that was not reset then ends whole; nothing leaks.
 */
#include "tests/unit/endpoint_pair.h"

enum { FATES_MAX = 64, STEPS_MAX = 4000 };

enum fate { FATE_LOST = 1, FATE_DOUBLED, FATE_LATE, FATE_DAMAGED, FATE_KEPT };

static struct pair p;
static uint8_t fates[FATES_MAX];
static unsigned fate_first, fate_count;
static struct pair_datagram kept; /* to be sent again much later */
static bool has_kept;

static bool meet_fate(struct pair *pair, struct pair_datagram *d)
{
	uint8_t fate;

	if (fate_count == 0)
		return false;
	fate = fates[fate_first++ % FATES_MAX];
	fate_count--;
	switch (fate & 7) {
	case FATE_LOST:
		return true;
	case FATE_DOUBLED:
		pair_copy(pair, d, d->at + CV_MS(fate >> 3));
		return false;
	case FATE_LATE:
		d->at += CV_MS(5) * (fate >> 3);
		return false;
	case FATE_DAMAGED:
		d->bytes[d->size * (fate >> 3) / 32] ^= (uint8_t)(1 << (fate >> 5));
		return false;
	case FATE_KEPT:
		kept = *d;
		has_kept = true;
		return false;
	default:
		return false;
	}
}

/* As much as a schedule can afford: a busy wait for ever would be slow, not wrong. */
static void run(cv_duration d)
{
	cv_time until = p.now + d;

	for (unsigned i = 0; i < STEPS_MAX; i++) {
		if (!pair_step(&p, until))
			return;
	}
}

static void use_flow(unsigned side, unsigned what)
{
	struct pair_side *s = &p.side[side];
	struct pair_flow *f = s->flow_count ? &s->flows[what % s->flow_count] : NULL;

	if (!s->e)
		return;
	if (!f || !f->stream) {
		(void)pair_open(&p, side, 40u << (what & 14));
		return;
	}
	if (what & 1)
		stream_reset(f->streams, f->stream, 7);
	else
		stream_stop(f->streams, f->stream, 8);
	f->is_reset = true;
	pair_close_flow(f);
	pair_poke(&p, side);
}

static void toggle_side(unsigned side, unsigned how)
{
	struct pair_side *s = &p.side[side];

	if (s->is_asleep)
		return;
	if (s->e)
		pair_stop_side(&p, side, (how & 1) != 0);
	else
		pair_start_side(&p, side);
	s->refuses = (how & 2) != 0;
}

static void hint(unsigned side, unsigned what)
{
	struct pair_side *s = &p.side[side];
	struct endpoint_peer_stats stats;
	struct addr local = s->addr[what % PAIR_NETWORKS];
	struct endpoint_ping ping;

	if (!s->e || s->is_asleep)
		return;
	endpoint_on_turn(s->e, p.now);
	switch (what & 7) {
	case 0:
		endpoint_want_peer(s->e, p.now, s->peer);
		break;
	case 1:
		endpoint_on_refused(s->e, p.now, 0, &p.side[!side].addr[PAIR_PUBLIC]);
		break;
	case 2:
		endpoint_on_too_large(s->e, p.now, 0, &p.side[!side].addr[PAIR_PUBLIC], 1300);
		break;
	case 3:
		endpoint_set_local_addresses(s->e, p.now, &local, 1);
		break;
	case 4:
		endpoint_ping(s->e, p.now, s->peer);
		(void)endpoint_ping_result(s->e, p.now, s->peer, &ping);
		break;
	case 5:
		endpoint_peer_stats(s->e, p.now, s->peer, &stats);
		CV_ASSERT(strlen(stats.why) < ENDPOINT_WHY_MAX);
		break;
	default:
		endpoint_set_local_addresses(s->e, p.now, s->addr, PAIR_NETWORKS);
		break;
	}
	pair_drain(&p, side);
}

static void sleep_or_wake(unsigned side)
{
	if (!p.side[side].e)
		return;
	if (p.side[side].is_asleep)
		pair_wake(&p, side);
	else
		p.side[side].is_asleep = true;
}

static void read_fates(struct rd *in, unsigned count)
{
	while (count-- > 0 && rd_left(in) > 0 && fate_count < FATES_MAX)
		fates[(fate_first + fate_count++) % FATES_MAX] = rd_u8(in);
}

static void step(struct rd *in)
{
	uint8_t op = rd_u8(in);
	unsigned low = op & 15, side = op & 1;

	switch (op >> 4) {
	case 0:
	case 1:
		run(CV_MS(1) << low);
		return;
	case 2:
	case 3:
	case 4:
		read_fates(in, low + 1);
		return;
	case 5:
	case 6:
		if (p.side[side].e && !p.side[side].is_asleep)
			use_flow(side, low >> 1);
		return;
	case 7:
		p.is_cut[side][(low >> 1) % PAIR_NETWORKS] ^= true;
		return;
	case 8:
		toggle_side(side, low >> 1);
		return;
	case 9:
		sleep_or_wake(side);
		return;
	case 10: /* its NAT has forgotten it */
		p.side[side].addr[(low >> 1) % PAIR_NETWORKS].port++;
		return;
	case 11:
	case 12:
		hint(side, low >> 1);
		return;
	case 13:
		p.mtu = low ? 1100 + 50 * low : 0;
		return;
	case 14:
		p.delay = CV_MS(1) << (low >> 1);
		return;
	default:
		if (has_kept)
			pair_copy(&p, &kept, p.now);
		return;
	}
}

static bool are_flows_over(const struct pair *pair)
{
	for (unsigned i = 0; i < 2; i++) {
		for (unsigned k = 0; k < pair->side[i].flow_count; k++) {
			if (pair->side[i].flows[k].stream)
				return false;
		}
	}
	return true;
}

static void calm_down(void)
{
	fate_count = 0;
	p.mtu = 0;
	p.delay = CV_MS(10);
	memset(p.is_cut, 0, sizeof(p.is_cut));
	for (unsigned i = 0; i < 2; i++) {
		if (p.side[i].is_asleep)
			pair_wake(&p, i);
		if (!p.side[i].e)
			pair_start_side(&p, i);
	}
	/* The longest pause between attempts is 60 s. */
	CV_ASSERT(pair_until(&p, CV_SEC(150), pair_is_up));
	CV_ASSERT(pair_until(&p, CV_SEC(400), are_flows_over));
	CV_ASSERT(pair_until(&p, CV_SEC(150), pair_is_up));
	for (unsigned i = 0; i < 2; i++) {
		CV_ASSERT(p.side[i].duplicates == 0);
		for (unsigned k = 0; k < p.side[i].flow_count; k++) {
			const struct pair_flow *f = &p.side[i].flows[k];

			CV_ASSERT(f->is_reset || (f->is_at_end && f->is_finished));
			CV_ASSERT(f->is_reset || f->echoes || f->read == f->goal);
		}
	}
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rd in = rd_init(data, CV_MIN(size, 400));
	uint64_t live = cv_alloc_live();

	pair_init(&p, 1);
	fate_first = fate_count = 0;
	has_kept = false;
	p.filter = meet_fate;
	pair_start(&p);
	while (rd_left(&in) > 0)
		step(&in);
	calm_down();
	pair_deinit(&p);
	CV_ASSERT(cv_alloc_live() == live);
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <string.h>

/* Streams beside each other, their ends, and what comes too late. */

static const struct sim_link NEAR = { .delay = CV_MS(12), .jitter = CV_MS(1) };

static void add_pair(struct sim *sim)
{
	struct sim_host *a = simhost_add_agent(sim, "a", SIM_ROOT, &NEAR);
	struct sim_host *b = simhost_add_agent(sim, "b", SIM_ROOT, &NEAR);

	simhost_know(a, b, true);
	simhost_start_all(sim);
	sim_run(sim, CV_SEC(1));
}

static struct sim_flow *flow(struct sim *sim, uint64_t size, uint64_t back)
{
	return simapp_open(sim, &sim->hosts[0], &sim->hosts[1], size, back);
}

static bool is_last_done(struct sim *sim)
{
	return simapp_is_done(sim, &sim->flows[sim->flow_count - 1]);
}

/* S33: 64 streams that nobody reads, and one that somebody does (rule 7.4). */
static void unread(struct sim *sim)
{
	struct sim_flow *f;

	add_pair(sim);
	for (int i = 0; i < 64; i++) {
		f = flow(sim, 2000000, 0);
		f->side[1].is_patient = true;
		f->side[1].refuses = sim_variant(sim, 2) == 1;
		simapp_begin(sim, f);
	}
	sim_run(sim, CV_SEC(5));
	f = flow(sim, 3000000, 0);
	simapp_begin(sim, f);
	sim_until(sim, CV_SEC(8), is_last_done, "the stream that is read");
	sim_expect(sim, simapp_is_whole(f));
}

/* 7.5: either direction ends first, or both at once, with data still on the way. */
static void half_close(struct sim *sim)
{
	static const uint64_t sizes[][2] = { { 8, 0 },           { 8, 500000 },     { 500000, 1 },
		                             { 500000, 500000 }, { 100, 100 },      { 300000, 0 },
		                             { 16384, 16385 },   { 262144, 262145 } };
	unsigned v = sim_variant(sim, CV_ARRAY_SIZE(sizes));

	add_pair(sim);
	sim->hosts[0].up.loss_ppm = sim->hosts[1].up.loss_ppm = 20000;
	for (int i = 0; i < 8; i++)
		simapp_begin(sim, flow(sim, sizes[v][0], sizes[v][1]));
	sim_until(sim, CV_SEC(20), simapp_are_done, "all ends");
	for (unsigned i = 0; i < sim->flow_count; i++)
		sim_expect(sim, simapp_is_whole(&sim->flows[i]));
}

/* S34: abandoned after any number of bytes, by either side; the others do not notice. */
static void resets(struct sim *sim)
{
	struct sim_flow *whole;

	add_pair(sim);
	sim->hosts[0].up.loss_ppm = sim->hosts[1].up.loss_ppm = 50000;
	for (uint64_t i = 0; i < 60; i++) {
		struct sim_flow *f = flow(sim, 50000, 50000);

		f->side[i & 1].reset_at = i * i * 14 + 8;
		simapp_begin(sim, f);
	}
	whole = flow(sim, 300000, 300000);
	simapp_begin(sim, whole);
	sim_until(sim, CV_SEC(30), simapp_are_done, "all ends");
	sim_expect(sim, simapp_is_whole(whole));
}

/* ---- each order of closing ---- */

/* What a local socket's end becomes here (proxy/pump): a shutdown, a close (a shutdown, and what
 * comes after it is refused), a reset, a close with bytes unread. */
enum way { HALF, CLOSE, RESET, UNREAD, WAYS };

enum { CLOSINGS = 12, CLOSE_AFTER = 100000 };

static struct closing {
	enum way way[2];   /* of the first to end and of the second */
	bool has_begun[2]; /* likewise */
	bool is_refusing[2];
} closings[CLOSINGS];

/* One side's turn to end has come. */
static void begin_end(struct sim *sim, struct sim_flow *f, unsigned side, struct closing *c,
                      unsigned nth)
{
	struct sim_side *s = &f->side[side];

	c->has_begun[nth] = true;
	switch (c->way[nth]) {
	case HALF:
	case CLOSE:
		s->size = s->written; /* and so it finishes */
		c->is_refusing[nth] = c->way[nth] == CLOSE;
		s->is_patient = c->is_refusing[nth];
		simapp_wake(sim, &sim->hosts[s->host]);
		return;
	case RESET:
	case UNREAD:
	case WAYS:
		simapp_drop(sim, f, side);
		return;
	}
	CV_UNREACHABLE();
}

static bool is_ready_to_end(const struct closing *c, const struct sim_side *s, unsigned nth,
                            const struct sim_side *other)
{
	if (!s->stream || c->has_begun[nth])
		return false;
	if (nth == 1)
		return (s->was_ended || other->was_released) && s->written >= CLOSE_AFTER;
	return s->written >= CLOSE_AFTER && (c->way[0] != UNREAD || stream_readable(s->stream) > 0);
}

static void step_closing(struct sim *sim, struct sim_flow *f, struct closing *c, unsigned first)
{
	for (unsigned nth = 0; nth < 2; nth++) {
		unsigned side = nth ^ first;
		struct sim_side *s = &f->side[side];

		if (nth == 0 && c->way[0] == UNREAD && s->written >= CLOSE_AFTER)
			s->is_patient = true;
		if (is_ready_to_end(c, s, nth, &f->side[!side]))
			begin_end(sim, f, side, c, nth);
		if (!c->is_refusing[nth] || !s->stream)
			continue;
		if (stream_is_at_end(s->stream)) {
			s->is_patient = false;
			simapp_wake(sim, &sim->hosts[s->host]);
		} else if (stream_readable(s->stream) > 0) {
			simapp_drop(sim, f, side);
		}
	}
}

/* What the second saw of the first's end, which is what this is about. */
static void expect_closing(struct sim *sim, const struct sim_flow *f, const struct closing *c,
                           unsigned first)
{
	const struct sim_side *a = &f->side[first], *b = &f->side[!first];

	sim_expect(sim, c->has_begun[0]);
	if (c->way[0] == HALF)
		sim_expect(sim, b->was_ended && b->read == a->written);
	else if (c->way[0] == CLOSE) /* what it is still sent may overtake its end with a reset */
		sim_expect(sim, b->is_reset || (b->was_ended && b->read == a->written));
	else
		sim_expect(sim, b->is_reset && !b->was_ended);
	if (c->way[0] != HALF)
		return;
	if (c->way[1] == HALF || c->way[1] == CLOSE)
		sim_expect(sim, a->was_ended && a->read == b->written);
	else
		sim_expect(sim, a->is_reset && !a->was_ended);
}

/* S34: one side ends in each way while data flow both ways, then the other in each. */
static void close_orders(struct sim *sim)
{
	unsigned v = sim_variant(sim, WAYS * WAYS);

	memset(closings, 0, sizeof(closings));
	add_pair(sim);
	sim->hosts[0].up.loss_ppm = sim->hosts[1].up.loss_ppm = 20000;
	for (int i = 0; i < CLOSINGS; i++) {
		struct sim_flow *f = flow(sim, UINT64_MAX, UINT64_MAX);

		closings[i] =
			(struct closing){ .way = { (enum way)(v / WAYS), (enum way)(v % WAYS) } };
		f->side[0].chunk = f->side[1].chunk = 4096;
		simapp_begin(sim, f);
	}
	for (int ms = 0; ms < 5000 && !simapp_are_done(sim); ms++) {
		sim_run(sim, CV_MS(1));
		for (unsigned i = 0; i < CLOSINGS; i++)
			step_closing(sim, &sim->flows[i], &closings[i], i & 1);
	}
	sim_expect(sim, simapp_are_done(sim));
	for (unsigned i = 0; i < CLOSINGS; i++)
		expect_closing(sim, &sim->flows[i], &closings[i], i & 1);
}

/* ---- too late ---- */

static struct sim_datagram late;

static bool hold_first(struct sim *sim, const struct sim_datagram *d)
{
	if (sim->filter_arg == 0 || d->from != 0 || (d->bytes[0] & WIRE_KIND_MASK) != WIRE_DATA)
		return false;
	sim->filter_arg = 0;
	late = *d;
	return true;
}

/* 7.2: the packet that opens a stream arrives again when the stream has ended: no second dial. */
static void first_frame_late(struct sim *sim)
{
	add_pair(sim);
	sim->filter = hold_first;
	sim->filter_arg = 1;
	simapp_begin(sim, flow(sim, 300, 300));
	sim_until(sim, CV_SEC(3), simapp_are_done, "the stream");
	sim_expect(sim, late.size > 0);
	simnet_inject(sim, SIM_NOBODY, &late.src, &late.dst, late.bytes, late.size);
	sim_run(sim, CV_SEC(1));
	simapp_begin(sim, flow(sim, 300, 300));
	sim_until(sim, CV_SEC(1), simapp_are_done, "another stream");
	sim_expect(sim, simapp_is_whole(&sim->flows[0]) && simapp_is_whole(&sim->flows[1]));
}

/* S03: only small datagrams get lost, which are acknowledgements and windows. */
static bool lose_small(struct sim *sim, const struct sim_datagram *d)
{
	return d->size < 100 && (d->bytes[0] & WIRE_KIND_MASK) == WIRE_DATA &&
	       sim_below(sim, 4) != 0;
}

static void lost_acks(struct sim *sim)
{
	add_pair(sim);
	sim->filter = lose_small;
	simapp_begin(sim, flow(sim, 1000000, 0));
	simapp_begin(sim, flow(sim, 8, 1000000));
	sim_until(sim, CV_SEC(20), simapp_are_done, "transfers with few acknowledgements");
	sim_expect(sim, simapp_is_whole(&sim->flows[0]) && simapp_is_whole(&sim->flows[1]));
}

/* S01: uniform loss each way. */
static void uniform_loss(struct sim *sim)
{
	static const uint32_t ppm[] = { 1000, 10000, 50000, 100000, 300000 };
	unsigned v = sim_variant(sim, CV_ARRAY_SIZE(ppm));

	add_pair(sim);
	sim->hosts[0].up.loss_ppm = sim->hosts[1].up.loss_ppm = ppm[v];
	simapp_begin(sim, flow(sim, v < 4 ? 10000000 : 300000, 1000));
	sim_until(sim, CV_SEC(120), simapp_are_done, "10 MB, or 300 kB at 30 %");
	sim_expect(sim, simapp_is_whole(&sim->flows[0]));
}

/* S04: delays that jump by up to a second; S06: everything twice. */
static void disorder(struct sim *sim)
{
	add_pair(sim);
	for (int i = 0; i < 2; i++) {
		sim->hosts[i].up.jitter = CV_MS(40);
		sim->hosts[i].up.reorder_ppm = 20000;
		sim->hosts[i].up.reorder_delay = CV_SEC(1);
		sim->hosts[i].up.duplicate_ppm = 1000000;
	}
	simapp_begin(sim, flow(sim, 1000000, 1000000));
	sim_until(sim, CV_SEC(60), simapp_are_done, "a transfer in disorder");
	sim_expect(sim, simapp_is_whole(&sim->flows[0]));
}

/* More streams than the first limit allows, all at once (S45). */
static void herd(struct sim *sim)
{
	add_pair(sim);
	for (int i = 0; i < 250; i++)
		simapp_begin(sim, flow(sim, 200, 200));
	sim_until(sim, CV_SEC(5), simapp_are_done, "250 streams");
	for (unsigned i = 0; i < sim->flow_count; i++)
		sim_expect(sim, simapp_is_whole(&sim->flows[i]));
}

const struct sim_case CASES_STREAMS[] = {
	{ "unread", unread, "S33: 64 unread streams beside one", 2 },
	{ "half-close", half_close, "ends in every order", 8 },
	{ "resets", resets, "S34: streams abandoned after any number of bytes", 0 },
	{ "close-orders", close_orders, "S34: each side in each of four ways, data in flight", 16 },
	{ "first-frame-late", first_frame_late, "7.2: the opening packet comes again after the end",
	  0 },
	{ "lost-acks", lost_acks, "S03: three of four small packets get lost", 0 },
	{ "uniform-loss", uniform_loss, "S01: 0.1 to 30 % each way", 5 },
	{ "disorder", disorder, "S04, S06: reordering and duplicates", 0 },
	{ "churn", churn_run, "S55: half an hour of streams that come and go; memory stays", 0 },
	{ "herd", herd, "S45: 250 streams at once", 0 },
	{ NULL, NULL, NULL, 0 },
};

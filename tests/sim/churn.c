/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <string.h>
#include <time.h>

#include "base/alloc.h"

/*
 * churn - a day of streams between two agents whose session lives all that time: some five a second
 * come and go in every way a stream can, and a herd at once every period; a few are open from the
 * first minute to the last, so that what is finished is never one range. Links lose half a percent.
 *
 * Every period ends with silence, in which memory is looked at: it must be level. What is promised
 * of each stream is checked as everywhere (P1, P2, P4).
 */

enum {
	SLOTS = 240,
	KEPT = 40,  /* of these are open all day */
	HERD = 150, /* within 15 ms, at the beginning of each period */
	HERD_STEP = 10,
	LOOKS = 20,        /* at memory in a silence, a second apart; the least counts */
	PERIODS_MAX = 400, /* hours */
	PERIODS_SHORT = 6,
	WARM_UPS = 3,
	WARM_UP_SIZE = 150000,
	SLOPE_MAX = 1024, /* bytes an hour */
};

#define TICK CV_MS(100)
#define PERIOD CV_SEC(3600)
#define PERIOD_SHORT CV_SEC(240)
#define SILENCE CV_SEC(60)
#define ENDS_WITHIN CV_SEC(30)

static struct churn {
	/* What is still to be done to the flow in each slot. */
	struct plan {
		cv_time at; /* CV_TIME_NEVER: nothing */
		unsigned side;
		bool drops, ends;
	} plans[SLOTS];
	uint64_t streams, dropped, refused, resets;
	struct look {
		uint64_t heap, used; /* bytes, with the pools' free lists and without */
	} looks[PERIODS_MAX];
	unsigned periods;
} churn;

static bool one_in(struct sim *sim, uint64_t n)
{
	return sim_below(sim, n) == 0;
}

static void plan(struct sim *sim, unsigned slot, bool drops, cv_duration low, cv_duration high)
{
	churn.plans[slot] = (struct plan){
		.at = sim->now + sim_draw(sim, low, high),
		.side = (unsigned)sim_below(sim, 2),
		.drops = drops,
		.ends = !drops,
	};
}

/* Speaks, is silent for up to half an hour, and speaks again. */
static void be_idle(struct sim *sim, struct sim_flow *f, unsigned slot)
{
	for (unsigned i = 0; i < 2; i++) {
		f->side[i].hold_at = 8 + sim_below(sim, 3000);
		f->side[i].size = f->side[i].hold_at + sim_below(sim, 3000);
	}
	plan(sim, slot, one_in(sim, 4), CV_SEC(1), CV_SEC(1800));
}

/* What becomes of a stream that is about to begin. */
static void draw_life(struct sim *sim, struct sim_flow *f, unsigned slot)
{
	uint64_t kind = sim_below(sim, 100);

	churn.plans[slot].at = CV_TIME_NEVER;
	if (kind < 60)
		return; /* an orderly one; either side may be first with its end */
	if (kind < 64) {
		f->side[one_in(sim, 2)].size = sim_draw(sim, 8, 400000);
	} else if (kind < 74) {
		f->side[one_in(sim, 2)].reset_at = 8 + sim_below(sim, 2000);
		f->may_reset = true;
		churn.resets++;
	} else if (kind < 84) {
		plan(sim, slot, true, CV_MS(1), CV_SEC(1));
		churn.dropped++;
	} else if (kind < 92) {
		f->side[1].refuses = f->side[1].is_patient = true;
		churn.refused++;
	} else {
		be_idle(sim, f, slot);
	}
}

static bool is_free(const struct sim *sim, unsigned slot)
{
	const struct sim_flow *f = &sim->flows[slot];

	return !f->is_used || simapp_is_done(sim, f);
}

static struct sim_flow *open_in(struct sim *sim, unsigned slot)
{
	struct sim_host *from = &sim->hosts[sim_below(sim, 2)];
	struct sim_host *to = &sim->hosts[!from->number];
	uint64_t size = sim_below(sim, 2000), back = sim_draw(sim, 1, 20000) - 1;

	simapp_reopen(sim, &sim->flows[slot], from, to, size, back);
	return &sim->flows[slot];
}

static void open_some(struct sim *sim, unsigned count)
{
	for (unsigned slot = KEPT; slot < SLOTS && count > 0; slot++) {
		struct sim_flow *f;

		if (!is_free(sim, slot))
			continue;
		f = open_in(sim, slot);
		draw_life(sim, f, slot);
		simapp_begin(sim, f);
		churn.streams++;
		count--;
	}
}

static void keep_some(struct sim *sim)
{
	for (unsigned slot = 0; slot < KEPT; slot++) {
		struct sim_flow *f = open_in(sim, slot);

		f->side[0].hold_at = f->side[1].hold_at = 100;
		f->side[0].size = f->side[1].size = 200;
		churn.plans[slot].at = CV_TIME_NEVER;
		simapp_begin(sim, f);
		open_some(sim, 3); /* so that these are no range of their own */
		sim_run(sim, CV_MS(50));
	}
}

static bool is_quiet(struct sim *sim)
{
	for (unsigned slot = KEPT; slot < SLOTS; slot++) {
		if (!is_free(sim, slot))
			return false;
	}
	return true;
}

/* Buffers and tables grow to what was needed at once and stay so: a first hour that needs more than
 * any that follows. */
static void warm_up(struct sim *sim)
{
	for (int i = 0; i < WARM_UPS; i++) {
		for (unsigned slot = KEPT; slot < SLOTS; slot++) {
			struct sim_flow *f = open_in(sim, slot);

			f->side[0].size = f->side[1].size = WARM_UP_SIZE;
			churn.plans[slot].at = CV_TIME_NEVER;
			simapp_begin(sim, f);
			if (slot % HERD_STEP == 0)
				sim_run(sim, CV_MS(1));
		}
		/* As much as may wait, in blocks that are never full. */
		for (unsigned k = 0; k < 2; k++) {
			for (unsigned n = 0; n < 16; n++)
				sim_expect(sim, simgram_send(sim, k, !k, (uint16_t)n, 40000) == 0);
		}
		sim_until(sim, ENDS_WITHIN, is_quiet, "the warm-up");
	}
}

/* Of flows that come and go, and now and then one in many parts. */
static void send_datagrams(struct sim *sim)
{
	unsigned from = (unsigned)sim_below(sim, 2);
	uint16_t flow = (uint16_t)(sim->now / CV_SEC(20));
	size_t size = one_in(sim, 50) ? 30000 : 20 + (size_t)sim_below(sim, 1200);

	sim_expect(sim, simgram_send(sim, from, !from, flow, size) == 0);
}

static void let_go(struct sim *sim, struct sim_flow *f)
{
	for (unsigned i = 0; i < 2; i++) {
		f->side[i].hold_at = UINT64_MAX;
		simapp_wake(sim, &sim->hosts[f->side[i].host]);
	}
}

static void carry_out(struct sim *sim, bool all)
{
	for (unsigned slot = KEPT; slot < SLOTS; slot++) {
		struct sim_flow *f = &sim->flows[slot];
		struct plan *p = &churn.plans[slot];

		if (f->side[1].refuses && f->side[1].stream)
			simapp_drop(sim, f, 1);
		if (p->at == CV_TIME_NEVER || (!all && p->at > sim->now))
			continue;
		p->at = CV_TIME_NEVER;
		/* The far side may not have heard of it yet. */
		if (p->drops)
			simapp_drop(sim, f, f->side[p->side].stream ? p->side : 0);
		else if (p->ends)
			let_go(sim, f);
	}
}

static void come_to_rest(struct sim *sim)
{
	cv_time end = sim->now + ENDS_WITHIN;

	while (!sim->has_failed && !is_quiet(sim) && sim->now < end) {
		carry_out(sim, true);
		sim_run(sim, TICK);
	}
	if (!is_quiet(sim))
		sim_fail(sim, "streams do not end");
}

/* Blocks on the pools' free lists are no leak, and would hide one. */
static uint64_t bytes_idle(const struct sim *sim)
{
	return sim->hosts[0].pool.idle + sim->hosts[1].pool.idle;
}

static void look_at_memory(struct sim *sim)
{
	struct look least = { .heap = UINT64_MAX, .used = UINT64_MAX };

	sim_run(sim, SILENCE - LOOKS * CV_SEC(1));
	for (int i = 0; i < LOOKS; i++) {
		uint64_t heap;

		sim_run(sim, CV_SEC(1));
		heap = cv_alloc_live() - sim->live_before;
		least.heap = CV_MIN(least.heap, heap);
		least.used = CV_MIN(least.used, heap - bytes_idle(sim));
	}
	sim_tell(sim, "bytes", SIM_NOBODY, least.heap, least.used);
	churn.looks[churn.periods++] = least;
}

/* Bytes a period, of the line of least squares through all looks. */
static double slope(bool of_heap)
{
	double n = 0, sum_x = 0, sum_y = 0, sum_xx = 0, sum_xy = 0;

	for (unsigned i = 0; i < churn.periods; i++) {
		double x = i;
		double y = (double)(of_heap ? churn.looks[i].heap : churn.looks[i].used);

		n += 1;
		sum_x += x;
		sum_y += y;
		sum_xx += x * x;
		sum_xy += x * y;
	}
	return n < 2 ? 0 : (n * sum_xy - sum_x * sum_y) / (n * sum_xx - sum_x * sum_x);
}

static void print_summary(const struct sim *sim, clock_t begun_at)
{
	const struct look *last = &churn.looks[CV_MAX(churn.periods, 1u) - 1];

	printf("churn, seed %llu: %u periods, %llu streams: %llu dropped, %llu refused, %llu "
	       "reset; "
	       "in use %llu bytes after the first, %llu at the end, %+.1f a period; heap %llu, "
	       "%+.1f a period; %.0f s\n",
	       (unsigned long long)sim->seed, churn.periods, (unsigned long long)churn.streams,
	       (unsigned long long)churn.dropped, (unsigned long long)churn.refused,
	       (unsigned long long)churn.resets, (unsigned long long)churn.looks[0].used,
	       (unsigned long long)last->used, slope(false), (unsigned long long)last->heap,
	       slope(true), (double)(clock() - begun_at) / CLOCKS_PER_SEC);
}

void churn_run(struct sim *sim)
{
	static const struct sim_link link = { .delay = CV_MS(12), .jitter = CV_MS(1) };
	bool is_short = sim->hours == 0;
	unsigned periods = is_short ? PERIODS_SHORT : CV_MIN(sim->hours, (unsigned)PERIODS_MAX);
	cv_duration period = is_short ? PERIOD_SHORT : PERIOD;
	clock_t begun_at = clock();

	memset(&churn, 0, sizeof(churn));
	sim->events_max = UINT64_MAX;
	sim->check_interval = 64;
	for (int i = 0; i < 2; i++) {
		struct sim_host *h = simhost_add_agent(sim, i ? "b" : "a", SIM_ROOT, &link);

		h->up.loss_ppm = 5000;
	}
	simhost_know(&sim->hosts[0], &sim->hosts[1], true);
	simhost_start_all(sim);
	sim->flow_count = SLOTS;
	simgram_begin(sim);
	sim_run(sim, CV_SEC(1));
	keep_some(sim);
	come_to_rest(sim);
	warm_up(sim);
	while (!sim->has_failed && churn.periods < periods) {
		cv_time end = sim->now + period - SILENCE;

		simgram_begin(sim); /* the last period's have long come, or never will */
		for (unsigned i = 0; i < HERD; i += HERD_STEP) {
			open_some(sim, HERD_STEP);
			sim_run(sim, CV_MS(1));
		}
		while (!sim->has_failed && sim->now < end) {
			sim_run(sim, TICK);
			carry_out(sim, false);
			open_some(sim, (unsigned)sim_below(sim, 2));
			send_datagrams(sim);
		}
		come_to_rest(sim);
		look_at_memory(sim);
	}
	if (!is_short || sim->prints_measures)
		print_summary(sim, begun_at);
	if (CV_MAX(slope(true), slope(false)) * (double)PERIOD / (double)period > SLOPE_MAX)
		sim_fail(sim, "memory grows by %.0f bytes a period, %.0f of them in use",
		         slope(true), slope(false));
	for (unsigned slot = 0; slot < KEPT; slot++)
		let_go(sim, &sim->flows[slot]);
	sim_until(sim, CV_SEC(10), simapp_are_done, "the streams of the first minute end");
	for (unsigned slot = 0; slot < KEPT; slot++)
		sim_expect(sim, simapp_is_whole(&sim->flows[slot]));
}

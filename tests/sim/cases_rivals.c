/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

/* Who competes for one bottleneck, and what waits behind whom. */

#define MBIT UINT64_C(1000000)

enum { ASKS = 200 };

/* The second begins 3 s after the first; shares of the last 20 s. */
static void compete(struct sim *sim, enum cc_kind second, unsigned buffer_permille)
{
	uint64_t first, other;

	simload_build(sim, &(struct sim_load_spec){ .rate = 20 * MBIT,
	                                            .rtt = CV_MS(40),
	                                            .buffer_permille = buffer_permille,
	                                            .pairs = 2 });
	sim->hosts[2].congestion = sim->hosts[3].congestion = second;
	simload_connect(sim);
	simload_bulk(sim, 0);
	sim_run(sim, CV_SEC(3));
	simload_bulk(sim, 1);
	sim_run(sim, CV_SEC(5));
	simload_mark(sim);
	sim_run(sim, CV_SEC(20));
	first = simload_goodput(sim, 0);
	other = simload_goodput(sim, 1);
	sim_least(sim, "together, permille", first + other, 900, 900);
	/* The design's bound is for one BDP; in four CUBIC keeps what BBR does not fill. */
	sim_least(sim, "share of the first, permille", first * 1000 / CV_MAX(first + other, 1),
	          buffer_permille > 1000 ? 200 : 300, 300);
	sim_most(sim, "share of the first, permille", first * 1000 / CV_MAX(first + other, 1), 700,
	         700);
	sim_most(sim, "queue, p95, us", simlink_wait(&sim->load.meter, 950) / 1000, 0, 0);
	sim_most(sim, "dropped, permille", simload_dropped(sim), 50, 50);
}

static void alike(struct sim *sim)
{
	compete(sim, sim->congestion, 1000);
}

static void beside_cubic(struct sim *sim)
{
	if (sim_kind(sim->congestion)->is_bbr) /* else it were the case above */
		compete(sim, CC_CUBIC, sim_variant(sim, 2) == 0 ? 1000 : 4000);
}

/* Half the link is taken by something without congestion control, every other second. */
static void blasted(struct sim *sim)
{
	uint64_t left = 1000 - 250;

	simload_init(sim, &(struct sim_load_spec){
				  .rate = 20 * MBIT, .rtt = CV_MS(40), .buffer_permille = 1000 });
	simload_bulk(sim, 0);
	sim_run(sim, CV_SEC(3));
	simload_blast(sim, 10 * MBIT, CV_SEC(1), CV_SEC(1));
	sim_run(sim, CV_SEC(2));
	simload_mark(sim);
	sim_run(sim, CV_SEC(12));
	/* Who never took the free half of a second would get 667. */
	sim_least(sim, "goodput of what is left, permille", simload_goodput(sim, 0) * 1000 / left,
	          800, 667);
	sim_least(sim, "worst 2 s, permille",
	          simload_window(sim, 0, 20 * MBIT, CV_SEC(2), sim->load.marked_at, sim->now), 250,
	          250);
	sim_most(sim, "queue, p95, us", simlink_wait(&sim->load.meter, 950) / 1000, 0, 0);
}

/* ---- latency beside bulk, in the same tunnel ---- */

static void ask(struct sim *sim, uint64_t left)
{
	simapp_begin(sim, simapp_open(sim, &sim->hosts[0], &sim->hosts[1], 200, 1000));
	if (left > 1)
		sim_at(sim, sim->now + CV_MS(25), ask, left - 1);
}

/* The @permille-th of all questions' times until the answer's last byte; unanswered: for ever. */
static cv_duration answered_within(const struct sim *sim, unsigned permille)
{
	cv_duration times[ASKS];
	unsigned count = 0;

	for (unsigned i = 0; i < sim->flow_count; i++) {
		const struct sim_flow *f = &sim->flows[i];
		cv_duration d = f->side[0].end_at ? f->side[0].end_at - f->begun_at : CV_SEC(99);
		unsigned k = count;

		if (f == sim->load.bulk[0])
			continue;
		CV_ASSERT(count < ASKS);
		for (; k > 0 && times[k - 1] > d; k--)
			times[k] = times[k - 1];
		times[k] = d;
		count++;
	}
	CV_ASSERT(count == ASKS);
	return times[(count * permille + 999) / 1000 - 1];
}

static void asked(struct sim *sim)
{
	simload_init(sim, &(struct sim_load_spec){
				  .rate = 100 * MBIT, .rtt = CV_MS(50), .buffer_permille = 2000 });
	simload_bulk(sim, 0);
	sim_run(sim, CV_SEC(3));
	simload_mark(sim);
	ask(sim, ASKS);
	sim_run(sim, CV_SEC(6));
	sim_most(sim, "answer, median, us", answered_within(sim, 500) / 1000, 60000, 0);
	sim_most(sim, "answer, p99, us", answered_within(sim, 990) / 1000, 65000, 0);
	sim_least(sim, "goodput beside, permille", simload_goodput(sim, 0), 900, 900);
}

const struct sim_case CASES_RIVALS[] = {
	{ "rivals-alike", alike, "two flows of one kind share 20 Mbit/s", 0 },
	{ "rivals-cubic", beside_cubic, "beside a CUBIC flow, buffers of 1 and 4 BDP", 2 },
	{ "rivals-blast", blasted, "beside UDP that takes half, on and off", 0 },
	{ "rivals-asked", asked, "questions and answers beside bulk: p99", 0 },
	{ NULL, NULL, NULL, 0 },
};

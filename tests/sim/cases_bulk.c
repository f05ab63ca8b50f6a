/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

/* One transfer without end over one bottleneck that does not change. */

#define MBIT UINT64_C(1000000)

/* What it carries in @d after @warm; the bounds are the callers'. */
static void carry(struct sim *sim, cv_duration warm, cv_duration d)
{
	simload_bulk(sim, 0);
	sim_run(sim, warm);
	simload_mark(sim);
	sim_run(sim, d);
}

static void tell_queue(struct sim *sim)
{
	const struct sim_meter *m = &sim->load.meter;

	sim_most(sim, "queue, median, us", simlink_wait(m, 500) / 1000, 0, 0);
	sim_most(sim, "queue, p95, us", simlink_wait(m, 950) / 1000, 0, 0);
	sim_most(sim, "sent again, 1/10000", simload_resent(sim, 0), 0, 0);
}

static uint64_t worst_two_seconds(const struct sim *sim)
{
	return simload_window(sim, 0, sim->load.spec.rate, CV_SEC(2), sim->load.marked_at,
	                      sim->now);
}

/* 100 Mbit/s, one BDP of buffer: what loss at random leaves. */
static void lossy(struct sim *sim)
{
	static const struct {
		uint32_t loss_ppm;
		uint64_t bbr, cubic;
	} rows[] = { { 0, 900, 900 }, { 10000, 880, 0 }, { 50000, 800, 0 } };
	static const cv_duration rtts[] = { CV_MS(50), CV_MS(100), CV_MS(200) };
	unsigned v = sim_variant(sim, 9);
	struct sim_load_spec spec = { .rate = 100 * MBIT,
		                      .rtt = rtts[v / 3],
		                      .buffer_permille = 1000,
		                      .loss_ppm = rows[v % 3].loss_ppm };

	simload_init(sim, &spec);
	carry(sim, CV_SEC(3), CV_SEC(9));
	sim_least(sim, "goodput, permille", simload_goodput(sim, 0), rows[v % 3].bbr,
	          rows[v % 3].cubic);
	sim_least(sim, "worst 2 s, permille", worst_two_seconds(sim), 250, v % 3 ? 0 : 250);
	tell_queue(sim);
}

const struct sim_case CASES_BULK[] = {
	{ "bulk-lossy", lossy, "100 Mbit/s, 50 to 200 ms, 0 to 5 % loss each way", 9 },
	{ NULL, NULL, NULL, 0 },
};

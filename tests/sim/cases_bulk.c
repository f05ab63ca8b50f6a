/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

/*
 * One transfer without end over one bottleneck that does not change. Goodput is in thousandths of
 * what the link leaves for payload, after a time to warm up.
 */

#define MBIT UINT64_C(1000000)

/* What it carries in @d after @warm; the bounds are the callers'. */
static void carry(struct sim *sim, cv_duration warm, cv_duration d)
{
	simload_bulk(sim, 0);
	sim_run(sim, warm);
	simload_mark(sim);
	sim_run(sim, d);
}

static uint64_t worst_two_seconds(const struct sim *sim)
{
	return simload_window(sim, 0, sim->load.spec.rate, CV_SEC(2), sim->load.marked_at,
	                      sim->now);
}

/* What has no bound of its own: for the reader of --measures. */
static void record(struct sim *sim)
{
	const struct sim_meter *m = &sim->load.meter;

	sim_most(sim, "queue, median, us", simlink_wait(m, 500) / 1000, 0, 0);
	sim_most(sim, "queue, p95, us", simlink_wait(m, 950) / 1000, 0, 0);
	sim_most(sim, "sent again, 1/10000", simload_resent(sim, 0), 0, 0);
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

	simload_init(sim, &(struct sim_load_spec){ .rate = 100 * MBIT,
	                                           .rtt = rtts[v / 3],
	                                           .buffer_permille = 1000,
	                                           .loss_ppm = rows[v % 3].loss_ppm });
	carry(sim, CV_SEC(3), CV_SEC(8));
	sim_least(sim, "goodput, permille", simload_goodput(sim, 0), rows[v % 3].bbr,
	          rows[v % 3].cubic);
	sim_least(sim, "worst 2 s, permille", worst_two_seconds(sim), 250, v % 3 ? 0 : 250);
	record(sim);
}

/* The goal of quality.md for a fast long link. */
static void fat(struct sim *sim)
{
	simload_init(sim, &(struct sim_load_spec){ .rate = 400 * MBIT,
	                                           .rtt = CV_MS(100),
	                                           .buffer_permille = 1000,
	                                           .loss_ppm = 1000 });
	carry(sim, CV_SEC(3), CV_SEC(4));
	sim_least(sim, "goodput, permille", simload_goodput(sim, 0), 900, 0);
	record(sim);
}

/* A tenth of a BDP: it must not be flooded (3.5), by either. */
static void shallow(struct sim *sim)
{
	simload_init(sim, &(struct sim_load_spec){
				  .rate = 100 * MBIT, .rtt = CV_MS(100), .buffer_permille = 100 });
	carry(sim, CV_SEC(3), CV_SEC(8));
	sim_least(sim, "goodput, permille", simload_goodput(sim, 0), 750, 0);
	sim_most(sim, "dropped, permille", simload_dropped(sim), 50, 50);
	record(sim);
}

/* A link of 100 Mbit/s of which a token bucket gives 20. */
static void policed(struct sim *sim)
{
	simload_build(sim, &(struct sim_load_spec){
				   .rate = 100 * MBIT, .rtt = CV_MS(50), .buffer_permille = 1000 });
	sim->load.there->police_rate = 20 * MBIT / 8;
	sim->load.there->police_burst = 250000;
	simload_connect(sim);
	carry(sim, CV_SEC(4), CV_SEC(12));
	sim_least(sim, "goodput, permille of the policer", 5 * simload_goodput(sim, 0), 800, 0);
	sim_most(sim, "dropped, permille", simload_dropped(sim), 100, 100);
	record(sim);
}

/* Acknowledgements, then data too, leave in bunches: Wi-Fi, cable, LTE. */
static void aggregated(struct sim *sim)
{
	simload_build(sim, &(struct sim_load_spec){
				   .rate = 20 * MBIT, .rtt = CV_MS(50), .buffer_permille = 1000 });
	sim->load.back->grant_interval = sim_variant(sim, 2) == 0 ? CV_MS(20) : CV_MS(10);
	if (sim_variant(sim, 2) == 1)
		sim->load.there->grant_interval = CV_MS(10);
	simload_connect(sim);
	carry(sim, CV_SEC(3), CV_SEC(8));
	sim_least(sim, "goodput, permille", simload_goodput(sim, 0), 850, 850);
	record(sim);
}

/* 100 +- 50 ms (table 3.3, 19), in order and not. */
static void jittery(struct sim *sim)
{
	bool keeps_order = sim_variant(sim, 2) == 0;

	simload_build(sim, &(struct sim_load_spec){
				   .rate = 10 * MBIT, .rtt = CV_MS(50), .buffer_permille = 2000 });
	sim->load.there->jitter = CV_MS(100);
	sim->load.there->keeps_order = keeps_order;
	simload_connect(sim);
	carry(sim, CV_SEC(5), CV_SEC(20));
	sim_least(sim, "goodput, permille", simload_goodput(sim, 0), 700, 0);
	if (!keeps_order)
		sim_least(sim, "not sent again, 1/10000", 10000 - simload_resent(sim, 0), 9700, 0);
	record(sim);
}

/* Delays that differ by 5 ms put 40 packets out of order: not lost. */
static void reordered(struct sim *sim)
{
	simload_build(sim, &(struct sim_load_spec){ .rate = 100 * MBIT,
	                                            .rtt = CV_MS(100),
	                                            .buffer_permille = 1000 });
	sim->load.there->jitter = CV_MS(5);
	simload_connect(sim);
	carry(sim, CV_SEC(3), CV_SEC(5));
	sim_least(sim, "goodput, permille", simload_goodput(sim, 0), 850, 850);
	record(sim);
}

/* Losses that come in bunches: 0.2 % of the datagrams begin one of 5; a fixed pattern of 1 in 64.
 */
static void bursty(struct sim *sim)
{
	simload_build(sim, &(struct sim_load_spec){
				   .rate = 50 * MBIT, .rtt = CV_MS(50), .buffer_permille = 1000 });
	if (sim_variant(sim, 2) == 0) {
		sim->hosts[1].down.burst_ppm = 2000;
		sim->hosts[1].down.burst_mean = 5;
	} else {
		sim->hosts[1].down.drop_mask = UINT64_C(1) << 20;
	}
	simload_connect(sim);
	carry(sim, CV_SEC(3), CV_SEC(10));
	sim_least(sim, "goodput, permille", simload_goodput(sim, 0), 850, 0);
	record(sim);
}

/* A router that marks from a quarter of a BDP on, with four of buffer: nothing is dropped, and the
 * queue stays near the mark. */
static void marked(struct sim *sim)
{
	simload_build(sim, &(struct sim_load_spec){
				   .rate = 50 * MBIT, .rtt = CV_MS(50), .buffer_permille = 4000 });
	sim->load.there->mark_queue = (uint32_t)simload_bdp(&sim->load.spec) / 4;
	simload_connect(sim);
	carry(sim, CV_SEC(4), CV_SEC(10));
	sim_least(sim, "goodput, permille", simload_goodput(sim, 0), 850, 850);
	sim_least(sim, "marked", sim->load.meter.marked, 0, 1);
	sim_most(sim, "dropped", sim->load.meter.dropped, 1, 1);
	sim_most(sim, "queue, p95, us", simlink_wait(&sim->load.meter, 950) / 1000, 50000, 50000);
	record(sim);
}

/* Links whose BDP is less than a packet, and of some packets. */
static void small(struct sim *sim)
{
	bool is_slow = sim_variant(sim, 2) == 0;

	simload_init(sim, &(struct sim_load_spec){ .rate = is_slow ? MBIT : 10 * MBIT,
	                                           .rtt = is_slow ? CV_MS(1) : CV_MS(5),
	                                           .buffer_permille = 1000 });
	carry(sim, CV_SEC(3), CV_SEC(10));
	sim_least(sim, "goodput, permille", simload_goodput(sim, 0), 900, 900);
	record(sim);
}

/* How long until the link is full, and what it costs those who share the queue. */
static void start(struct sim *sim)
{
	static const cv_duration rtts[] = { CV_MS(10), CV_MS(50), CV_MS(200) };
	cv_duration rtt = rtts[sim_variant(sim, 3)], reached;
	cv_time begin;

	simload_init(sim, &(struct sim_load_spec){
				  .rate = 100 * MBIT, .rtt = rtt, .buffer_permille = 1000 });
	simload_mark(sim);
	begin = sim->now;
	simload_bulk(sim, 0);
	sim_run(sim, 12 * rtt + CV_MS(300));
	reached = simload_reaches(sim, 0, 100 * MBIT, 800, begin);
	/* 32 packets double to a BDP of at most 1,700 in six round trips; the window of 100 ms
	 * that shows it must be full. */
	sim_most(sim, "ms until 80 % for 100 ms", reached / CV_MS(1),
	         (10 * rtt + CV_MS(150)) / CV_MS(1), (10 * rtt + CV_MS(150)) / CV_MS(1));
	sim_most(sim, "dropped, permille", simload_dropped(sim), 0, 0);
	record(sim);
}

const struct sim_case CASES_BULK[] = {
	{ "bulk-lossy", lossy, "100 Mbit/s, 50 to 200 ms, 0 to 5 % loss each way", 9 },
	{ "bulk-fat", fat, "400 Mbit/s, 100 ms, 0.1 % loss", 0 },
	{ "bulk-shallow", shallow, "a buffer of 0.1 BDP", 0 },
	{ "bulk-policed", policed, "a policer at a fifth of the link", 0 },
	{ "bulk-aggregated", aggregated, "ACKs, then data too, leave every 20 or 10 ms", 2 },
	{ "bulk-jittery", jittery, "19: 100 +- 50 ms on 10 Mbit/s, in order and not", 2 },
	{ "bulk-reordered", reordered, "5 ms of reordering at 100 Mbit/s", 0 },
	{ "bulk-bursty", bursty, "bursts of loss, and one of 64", 2 },
	{ "bulk-marked", marked, "ECN marks from a quarter of a BDP on", 0 },
	{ "bulk-small", small, "BDP below a packet, and of four", 2 },
	{ "bulk-start", start, "time until the link is full", 3 },
	{ NULL, NULL, NULL, 0 },
};

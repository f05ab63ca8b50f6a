/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

/* A bottleneck, or an application, that changes while a transfer runs. */

#define MBIT UINT64_C(1000000)

static void change_rate(struct sim *sim, cv_time at, uint64_t rate)
{
	struct sim_link to = *sim->load.there;

	to.rate = rate / 8;
	simlink_change_at(sim, at, sim->load.there, &to);
}

/* Both directions. */
static void change_delay(struct sim *sim, cv_time at, cv_duration rtt)
{
	struct sim_link *links[] = { sim->load.there, sim->load.back };

	for (unsigned i = 0; i < CV_ARRAY_SIZE(links); i++) {
		struct sim_link to = *links[i];

		to.delay = rtt / 2;
		to.keeps_order = true;
		simlink_change_at(sim, at, links[i], &to);
	}
}

/* A tenth of the rate is all there is at first. */
static void widens(struct sim *sim)
{
	cv_time at;

	simload_build(sim, &(struct sim_load_spec){
				   .rate = 100 * MBIT, .rtt = CV_MS(50), .buffer_permille = 1000 });
	sim->load.there->rate = 10 * MBIT / 8;
	simload_connect(sim);
	at = sim->now + CV_SEC(6);
	change_rate(sim, at, 100 * MBIT);
	simload_bulk(sim, 0);
	sim_run(sim, CV_SEC(14));
	sim_least(sim, "goodput before, permille",
	          simload_goodput_between(sim, 0, 10 * MBIT, at - CV_SEC(3), at), 900, 900);
	sim_most(sim, "ms until 80 % of the new rate",
	         simload_reaches(sim, 0, 100 * MBIT, 800, at) / CV_MS(1), 6000, 0);
}

/* And the other way: what stood in the pipe is ten times the new BDP. */
static void narrows(struct sim *sim)
{
	cv_time at;

	simload_init(sim, &(struct sim_load_spec){
				  .rate = 100 * MBIT, .rtt = CV_MS(50), .buffer_permille = 1000 });
	at = sim->now + CV_SEC(4);
	change_rate(sim, at, 10 * MBIT);
	simload_bulk(sim, 0);
	sim_run(sim, CV_SEC(12));
	simload_mark(sim);
	sim_run(sim, CV_SEC(6));
	sim_least(sim, "goodput before, permille",
	          simload_goodput_between(sim, 0, 100 * MBIT, at - CV_SEC(2), at), 900, 900);
	sim_least(sim, "goodput after, permille",
	          simload_goodput_between(sim, 0, 10 * MBIT, at + CV_SEC(2), sim->now), 900, 900);
	/* Three rounds belie the old rate; then cwnd_gain 2 allows a BDP of queue, here 50 ms, and
	 * half of it for a probe. */
	sim_most(sim, "queue, p95, 8 to 14 s after, us", simlink_wait(&sim->load.meter, 950) / 1000,
	         75000, 0);
	sim_most(sim, "dropped, permille, likewise", simload_dropped(sim), 50, 0);
}

/* The path gets longer, or shorter: the smallest round trip must follow within its 10 s. */
static void stretches(struct sim *sim)
{
	static const cv_duration rtts[][2] = { { CV_MS(50), CV_MS(150) },
		                               { CV_MS(150), CV_MS(50) } };
	const cv_duration *rtt = rtts[sim_variant(sim, 2)];
	cv_time at;

	simload_init(sim, &(struct sim_load_spec){
				  .rate = 20 * MBIT, .rtt = rtt[0], .buffer_permille = 1000 });
	at = sim->now + CV_SEC(6);
	change_delay(sim, at, rtt[1]);
	simload_bulk(sim, 0);
	sim_run(sim, CV_SEC(18));
	simload_mark(sim);
	sim_run(sim, CV_SEC(8));
	sim_least(sim, "worst 2 s after the change, permille",
	          simload_window(sim, 0, 20 * MBIT, CV_SEC(2), at, at + CV_SEC(12)), 250, 250);
	sim_least(sim, "goodput 12 s after, permille", simload_goodput(sim, 0), 900, 900);
	sim_most(sim, "queue 12 s after, p95, us", simlink_wait(&sim->load.meter, 950) / 1000, 0,
	         0);
}

/* S27 under load: what is larger than 1,300 vanishes. */
static void mtu_hole(struct sim *sim)
{
	struct sim_link to;
	cv_time at;

	simload_init(sim, &(struct sim_load_spec){
				  .rate = 20 * MBIT, .rtt = CV_MS(50), .buffer_permille = 1000 });
	to = *sim->load.there;
	to.mtu = 1300;
	at = sim->now + CV_SEC(3);
	simlink_change_at(sim, at, sim->load.there, &to);
	simload_bulk(sim, 0);
	sim_run(sim, CV_SEC(15));
	sim_most(sim, "ms of standstill", simload_stall(sim, 0, at, sim->now) / CV_MS(1), 3000,
	         3000);
	sim_least(sim, "goodput 6 to 12 s after, permille",
	          simload_goodput_between(sim, 0, 20 * MBIT, at + CV_SEC(6), sim->now), 800, 800);
}

/* Table 3.3, 16: a radio is silent for a second, then lets everything out at once. */
static void suspended(struct sim *sim)
{
	cv_time at;

	/* An access point has room for a second of it. */
	simload_init(sim, &(struct sim_load_spec){
				  .rate = 20 * MBIT, .rtt = CV_MS(50), .buffer_permille = 20000 });
	at = sim->now + CV_SEC(4);
	for (unsigned i = 0; i < 2; i++) {
		struct sim_link to = sim->shared[i];

		to.held_until = at + CV_SEC(1);
		simlink_change_at(sim, at, &sim->shared[i], &to);
	}
	simload_bulk(sim, 0);
	sim_run(sim, CV_SEC(12));
	/* 20 round trips, where the bug took 37 to get back to a tenth. */
	sim_most(sim, "ms after the silence until 80 %",
	         simload_reaches(sim, 0, 20 * MBIT, 800, at + CV_SEC(1)) / CV_MS(1), 1000, 0);
	sim_least(sim, "goodput 2 to 7 s after, permille",
	          simload_goodput_between(sim, 0, 20 * MBIT, at + CV_SEC(3), sim->now), 900, 0);
}

/* 0: as fast as it goes. */
static void set_sides(struct sim *sim, uint32_t chunk, uint32_t sip)
{
	struct sim_flow *f = sim->load.bulk[0];

	f->side[0].chunk = chunk;
	f->side[1].sip = sip;
	f->side[1].is_slow = sip != 0;
	simapp_wake(sim, &sim->hosts[0]);
	simapp_wake(sim, &sim->hosts[1]);
}

/* Bulk, then little for long, then bulk again: what was known of the path must not be forgotten
 * (table 3.3, 4 and 20). */
static void pauses(struct sim *sim, cv_duration d, uint32_t chunk, uint32_t sip)
{
	cv_time at;

	simload_init(sim, &(struct sim_load_spec){
				  .rate = 20 * MBIT, .rtt = CV_MS(50), .buffer_permille = 1000 });
	simload_bulk(sim, 0);
	sim_run(sim, CV_SEC(4));
	set_sides(sim, chunk, sip);
	sim_run(sim, d);
	at = sim->now;
	set_sides(sim, 0, 0);
	sim_run(sim, CV_SEC(5));
	sim_least(sim, "goodput before, permille",
	          simload_goodput_between(sim, 0, 20 * MBIT, sim->load.begun_at + CV_SEC(2),
	                                  sim->load.begun_at + CV_SEC(4)),
	          900, 900);
	sim_most(sim, "goodput while little is wanted, permille",
	         simload_goodput_between(sim, 0, 20 * MBIT, at - d / 2, at), 200, 200);
	sim_most(sim, "ms until 80 % again", simload_sends(sim, 0, 20 * MBIT, 800, at) / CV_MS(1),
	         1000, 2000);
}

/* 1,200 bytes every 5 to 20 ms for two minutes. */
static void trickles(struct sim *sim)
{
	pauses(sim, CV_SEC(120), 1200, 0);
}

static void slow_reader(struct sim *sim)
{
	pauses(sim, CV_SEC(10), 0, 4000);
}

/* A reader that is slow from the first byte on, then not: the first windows are small. */
static void late_reader(struct sim *sim)
{
	cv_time at;

	simload_init(sim, &(struct sim_load_spec){
				  .rate = 20 * MBIT, .rtt = CV_MS(50), .buffer_permille = 1000 });
	simload_bulk(sim, 0);
	set_sides(sim, 0, 4000);
	sim_run(sim, CV_SEC(10));
	at = sim->now;
	set_sides(sim, 0, 0);
	sim_run(sim, CV_SEC(5));
	sim_most(sim, "ms until 80 %", simload_sends(sim, 0, 20 * MBIT, 800, at) / CV_MS(1), 1500,
	         1500);
}

const struct sim_case CASES_CHANGES[] = {
	{ "change-widens", widens, "10 to 100 Mbit/s", 0 },
	{ "change-narrows", narrows, "100 to 10 Mbit/s", 0 },
	{ "change-rtt", stretches, "50 to 150 ms, and 150 to 50", 2 },
	{ "change-mtu", mtu_hole, "S27: a hole for more than 1,300 bytes under load", 0 },
	{ "change-suspended", suspended, "16: a second of silence, then all at once", 0 },
	{ "change-trickles", trickles, "4: application-limited for two minutes, then bulk", 0 },
	{ "change-slow-reader", slow_reader, "20: flow-control-limited for 10 s, then bulk", 0 },
	{ "change-late-reader", late_reader, "20: a slow reader from the start, then a fast one",
	  0 },
	{ NULL, NULL, NULL, 0 },
};

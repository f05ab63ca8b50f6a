/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

/* Death, sleep and outages: what is reset, what waits, and for how long. */

static const struct sim_link NEAR = { .delay = CV_MS(12), .jitter = CV_MS(1) };

static void add_pair(struct sim *sim)
{
	struct sim_host *a = simhost_add_agent(sim, "a", SIM_ROOT, &NEAR);
	struct sim_host *b = simhost_add_agent(sim, "b", SIM_ROOT, &NEAR);

	simhost_know(a, b, true);
	simhost_know(b, a, true);
	simhost_start_all(sim);
}

/* A stream that stays open: its far side waits before it reads, so the opener cannot end. */
static struct sim_flow *open_long(struct sim *sim)
{
	struct sim_flow *f = simapp_open(sim, &sim->hosts[0], &sim->hosts[1], 600000, 0);

	f->side[1].is_patient = true;
	simapp_begin(sim, f);
	sim_run(sim, CV_SEC(2));
	return f;
}

static void let_read(struct sim *sim, struct sim_flow *f)
{
	struct sim_host *h = &sim->hosts[f->side[1].host];

	f->side[1].is_patient = false;
	if (!h->is_running)
		return;
	endpoint_on_turn(h->endpoint, sim->now);
	simapp_tick(sim, h);
	simhost_poke(sim, h);
}

static bool is_first_reset(struct sim *sim)
{
	return sim->flows[0].side[0].is_reset;
}

static void try_fresh(struct sim *sim, cv_duration bound)
{
	struct sim_flow *f = simapp_open(sim, &sim->hosts[0], &sim->hosts[1], 2000, 2000);

	simapp_begin(sim, f);
	if (sim_until(sim, bound, simapp_are_done, "a fresh stream"))
		sim_expect(sim, simapp_is_whole(f));
}

/* The machine answers with ICMP, its process is gone: seconds, not minutes. */
static void killed(struct sim *sim)
{
	struct sim_flow *f;

	add_pair(sim);
	f = open_long(sim);
	simhost_kill(sim, &sim->hosts[1], sim_variant(sim, 2) == 1);
	f->may_reset = true;
	sim_until(sim, CV_SEC(8), is_first_reset, "a reset after the far process died");
	simhost_start(sim, &sim->hosts[1]);
	sim_run(sim, CV_SEC(6));
	try_fresh(sim, CV_SEC(2));
}

/* The far machine is off: nobody can tell it from a network that is away. */
static void vanished(struct sim *sim)
{
	struct sim_flow *f;

	add_pair(sim);
	sim->hosts[1].is_silent = true;
	f = open_long(sim);
	simhost_kill(sim, &sim->hosts[1], false);
	f->may_reset = true;
	sim_run(sim, CV_SEC(60));
	sim_expect(sim, !f->side[0].is_reset);
	sim_until(sim, CV_SEC(245), is_first_reset, "a reset after the linger");
}

/* Both ways are dead for 5, 29, 31, 90 or 280 s: no stream ends. */
static void outage(struct sim *sim)
{
	static const cv_duration lengths[] = { CV_SEC(5), CV_SEC(29), CV_SEC(31), CV_SEC(90),
		                               CV_SEC(280) };
	cv_duration length = lengths[sim_variant(sim, CV_ARRAY_SIZE(lengths))];
	struct sim_flow *f;

	add_pair(sim);
	f = open_long(sim);
	sim->blocked[0][1] = sim->blocked[1][0] = true;
	sim_run(sim, length);
	sim->blocked[0][1] = sim->blocked[1][0] = false;
	let_read(sim, f);
	sim_until(sim, length <= CV_SEC(30) ? CV_SEC(5) : CV_SEC(12), simapp_are_done,
	          "the stream after an outage");
	sim_expect(sim, simapp_is_whole(f));
}

/* One direction only, in mid-transfer. */
static void one_way(struct sim *sim)
{
	struct sim_flow *f;
	unsigned way = sim_variant(sim, 2);

	add_pair(sim);
	f = open_long(sim);
	sim->blocked[way][!way] = true;
	sim_run(sim, CV_SEC(20));
	sim->blocked[way][!way] = false;
	let_read(sim, f);
	sim_until(sim, CV_SEC(5), simapp_are_done, "the stream after a one-way outage");
	sim_expect(sim, simapp_is_whole(f));
}

/* S24: one sleeps; when it wakes, the other still has its state, or has restarted. */
static void sleeps(struct sim *sim)
{
	static const cv_duration gaps[] = { CV_SEC(10), CV_SEC(200), CV_SEC(7200) };
	unsigned v = sim_variant(sim, 6);
	cv_duration gap = gaps[v % 3];
	bool is_lost = v >= 3;
	struct sim_flow *f;

	add_pair(sim);
	f = open_long(sim);
	simhost_sleep(&sim->hosts[0]);
	f->may_reset = is_lost || gap > CV_SEC(300);
	sim_run(sim, gap);
	if (is_lost) {
		simhost_kill(sim, &sim->hosts[1], false);
		simhost_start(sim, &sim->hosts[1]);
	}
	simhost_wake(sim, &sim->hosts[0]);
	let_read(sim, f);
	sim_until(sim, CV_SEC(5), simapp_are_done, "the stream after sleep: alive or reset");
	sim_expect(sim, simapp_is_whole(f) == !f->may_reset);
	try_fresh(sim, CV_SEC(4));
}

/* Both machines stand still at once, as a laptop with two virtual ones does. */
static void both_sleep(struct sim *sim)
{
	struct sim_flow *f;

	add_pair(sim);
	f = open_long(sim);
	simhost_sleep(&sim->hosts[0]);
	simhost_sleep(&sim->hosts[1]);
	sim_run(sim, CV_SEC(7200));
	simhost_wake(sim, &sim->hosts[0]);
	simhost_wake(sim, &sim->hosts[1]);
	let_read(sim, f);
	sim_until(sim, CV_SEC(5), simapp_are_done, "the stream after two hours of sleep");
	sim_expect(sim, simapp_is_whole(f));
}

/* S22: a peer that restarts every two seconds; then it stays. */
static void restart_loop(struct sim *sim)
{
	add_pair(sim);
	sim->may_reset = true;
	for (int i = 0; i < 12; i++) {
		simapp_begin(sim, simapp_open(sim, &sim->hosts[0], &sim->hosts[1], 500000, 20000));
		sim_run(sim, CV_SEC(2));
		simhost_kill(sim, &sim->hosts[1], false);
		sim_run(sim, CV_MS(50));
		simhost_start(sim, &sim->hosts[1]);
	}
	sim_until(sim, CV_SEC(8), simapp_are_done, "an end of all old streams");
	sim_run(sim, CV_SEC(2)); /* "new requests ok 2 s after return" */
	sim->may_reset = false;
	try_fresh(sim, CV_SEC(2));
}

/* S12: a path that comes and goes five times a second. */
static void flapping(struct sim *sim)
{
	struct sim_flow *f;

	add_pair(sim);
	f = open_long(sim);
	let_read(sim, f);
	for (int i = 0; i < 150; i++) {
		sim->blocked[0][1] = sim->blocked[1][0] = (i & 1) == 0;
		sim_run(sim, CV_MS(200));
	}
	sim_until(sim, CV_SEC(5), simapp_are_done, "the stream after the flapping");
	sim_expect(sim, simapp_is_whole(f));
}

const struct sim_case CASES_LIVES[] = {
	{ "killed", killed, "the far process dies: resets within seconds", 2 },
	{ "vanished", vanished, "S23: the far machine is off: resets after the linger", 0 },
	{ "outage", outage, "S11: both ways dead, up to 280 s: nothing is reset", 5 },
	{ "one-way", one_way, "S10: one way dead in mid-transfer", 2 },
	{ "sleep", sleeps, "S24: gaps of 10 s, 200 s, 2 h, the peer's object kept or lost", 6 },
	{ "both-sleep", both_sleep, "two hours of sleep of both", 0 },
	{ "restart-loop", restart_loop, "S22: a restart every two seconds", 0 },
	{ "flapping", flapping, "S12: 200 ms on, 200 ms off", 0 },
	{ NULL, NULL, NULL, 0 },
};

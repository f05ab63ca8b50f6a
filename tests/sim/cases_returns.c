/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <string.h>

/*
 * Back to a direct path, after each way in which one ends: NATs that forget, hosts that move, ways
 * that are cut. The world is drawn from the seed, data flow all the time, and three figures count:
 * how long nothing arrived, how long it took until both sides were direct again and heard each
 * other there, and that no stream ended.
 */

#define STEP CV_MS(10)
/* What left before a NAT forgot its host may still arrive. */
#define LATE CV_MS(500)

enum { SERVER = 2 };

enum flow { FLOW_THERE, FLOW_BACK, FLOW_BOTH, FLOWS };

struct story {
	int nats[2], other; /* one more, for whom moves */
	struct sim_flow *flow;
};

static bool is_direct(struct sim *sim)
{
	return strcmp(simhost_path(sim, &sim->hosts[0], &sim->hosts[1]), "direct") == 0 &&
	       strcmp(simhost_path(sim, &sim->hosts[1], &sim->hosts[0]), "direct") == 0;
}

static int draw_nat(struct sim *sim)
{
	static const enum sim_rule rules[] = { SIM_EI, SIM_AD, SIM_APD };
	static const enum sim_allocation ways[] = { SIM_PRESERVE, SIM_SEQUENTIAL, SIM_RANDOM };
	int i = simnat_add(sim, SIM_EI, rules[sim_below(sim, 3)], SIM_ROOT);

	sim->nats[i].allocation = ways[sim_below(sim, 3)];
	return i;
}

static struct sim_link draw_link(struct sim *sim)
{
	struct sim_link l = {
		.delay = sim_draw(sim, CV_MS(2), CV_MS(60)),
		.rate = sim_draw(sim, 250000, 2500000),
		.loss_ppm = sim_below(sim, 2) ? (uint32_t)sim_draw(sim, 1000, 20000) : 0,
	};

	l.jitter = l.delay / 8;
	return l;
}

/* More than any of these stories has time for. */
static void begin_flow(struct sim *sim, struct story *t)
{
	uint64_t way = sim_below(sim, FLOWS);

	t->flow = simapp_open(sim, &sim->hosts[0], &sim->hosts[1],
	                      way == FLOW_BACK ? 1000 : UINT64_C(1) << 32,
	                      way == FLOW_THERE ? 1000 : UINT64_C(1) << 32);
	/* A few applications only trickle. */
	if (sim_below(sim, 3) == 0) {
		t->flow->side[0].chunk = 2000;
		t->flow->side[1].chunk = 2000;
	}
	simapp_begin(sim, t->flow);
}

static bool is_relayed(struct sim *sim)
{
	return strcmp(simhost_path(sim, &sim->hosts[0], &sim->hosts[1]), "relay") == 0 &&
	       strcmp(simhost_path(sim, &sim->hosts[1], &sim->hosts[0]), "relay") == 0;
}

static bool begin_by(struct sim *sim, struct story *t, uint8_t policy)
{
	struct sim_link agents[2], server = draw_link(sim);

	*t = (struct story){ .nats = { draw_nat(sim), draw_nat(sim) }, .other = draw_nat(sim) };
	for (int i = 0; i < 2; i++) {
		agents[i] = draw_link(sim);
		(void)simhost_add_agent(sim, i ? "b" : "a", t->nats[i], &agents[i]);
	}
	(void)simhost_add_hub(sim, "s", &server);
	sim->check_interval = 16;
	sim->hosts[0].policy = policy;
	simhost_know(&sim->hosts[0], &sim->hosts[1], false);
	for (int i = 0; i < 2; i++)
		simhost_use_hub(&sim->hosts[i], &sim->hosts[SERVER]);
	simhost_start_all(sim);
	if (!sim_until(sim, CV_SEC(15), policy == POLICY_RELAY ? is_relayed : is_direct, "a path"))
		return false;
	/* The keepalives of server and path are anywhere. */
	sim_run(sim, sim_below(sim, CV_SEC(60)));
	begin_flow(sim, t);
	sim_run(sim, CV_SEC(1) + sim_below(sim, CV_SEC(3)));
	return !sim->has_failed;
}

static bool begin(struct sim *sim, struct story *t)
{
	return begin_by(sim, t, POLICY_AUTO);
}

static uint64_t progress(const struct story *t)
{
	return t->flow->side[0].read + t->flow->side[1].read;
}

static bool is_heard(const struct sim *sim, cv_time since)
{
	return sim->hosts[0].heard_at[1] > since && sim->hosts[1].heard_at[0] > since;
}

/* From now, when it has happened, until both are direct again: at most @bound, with nothing
 * arriving for at most @stall. */
static void expect_return(struct sim *sim, struct story *t, cv_duration stall, cv_duration bound)
{
	cv_time begun_at = sim->now, moved_at = sim->now, back_at = 0;
	cv_duration longest = 0;
	uint64_t before = progress(t);

	while (!sim->has_failed && sim->now < begun_at + CV_SEC(70) &&
	       (back_at == 0 || sim->now < back_at + CV_SEC(2))) {
		sim_run(sim, STEP);
		if (progress(t) != before) {
			before = progress(t);
			moved_at = sim->now;
		}
		longest = CV_MAX(longest, sim->now - moved_at);
		if (!is_direct(sim) || !is_heard(sim, begun_at + LATE))
			back_at = 0;
		else if (back_at == 0)
			back_at = sim->now;
	}
	if (back_at == 0)
		back_at = sim->now;
	sim_most(sim, "longest standstill, ms", longest / CV_MS(1), stall / CV_MS(1),
	         stall / CV_MS(1));
	sim_most(sim, "direct again, ms", (back_at - begun_at) / CV_MS(1), bound / CV_MS(1),
	         bound / CV_MS(1));
	sim_expect(sim, !t->flow->side[0].is_reset && !t->flow->side[1].is_reset);
	sim_expect(sim, sim->hosts[0].downs[1] == 0 && sim->hosts[1].downs[0] == 0);
}

/* ---- stories ---- */

/* One NAT restarts: its mappings are gone, its address may be another. */
static void one_restarts(struct sim *sim)
{
	struct story t;

	if (!begin(sim, &t))
		return;
	simnat_reboot(sim, t.nats[sim_below(sim, 2)], sim_below(sim, 2));
	expect_return(sim, &t, CV_SEC(4), CV_SEC(5));
}

/* Both, at once or not quite. */
static void both_restart(struct sim *sim)
{
	struct story t;

	if (!begin(sim, &t))
		return;
	simnat_reboot(sim, t.nats[0], sim_below(sim, 2));
	sim_run(sim, sim_below(sim, 2) ? sim_below(sim, CV_SEC(1)) : 0);
	simnat_reboot(sim, t.nats[1], sim_below(sim, 2));
	expect_return(sim, &t, CV_SEC(7), CV_SEC(5));
}

/* From one network into another: Wi-Fi is left for the mobile network. */
static void one_moves(struct sim *sim)
{
	struct story t;
	struct sim_host *h = &sim->hosts[sim_below(sim, 2)];
	struct sim_link link;

	if (!begin(sim, &t))
		return;
	link = draw_link(sim);
	simhost_set_link(h, &link);
	simhost_move(sim, h, t.other);
	expect_return(sim, &t, CV_SEC(4), CV_SEC(5));
}

/* The direct way is cut while both NATs restart: there is only the relay. Then it is not cut. */
static void relay_meanwhile(struct sim *sim)
{
	struct story t;

	if (!begin(sim, &t))
		return;
	sim->blocked[0][1] = sim->blocked[1][0] = true;
	sim_run(sim, sim_below(sim, CV_SEC(2)));
	simnat_reboot(sim, t.nats[0], sim_below(sim, 2));
	if (sim_below(sim, 2))
		simnat_reboot(sim, t.nats[1], sim_below(sim, 2));
	sim_run(sim, CV_SEC(5) + sim_below(sim, CV_SEC(15)));
	sim->blocked[0][1] = sim->blocked[1][0] = false;
	/* By now candidates rest for up to 4.5 s between their tries. */
	expect_return(sim, &t, CV_SEC(4), CV_SEC(7));
}

/* While nobody says a word. The side that begins to speak finds out at once. The other one cannot
 * be reached by anybody until its own next beat, after 25 s at most; by then all is as it was. */
static void idle_restarts(struct sim *sim)
{
	struct story t;
	uint64_t which = sim_below(sim, 4);

	if (!begin(sim, &t))
		return;
	simapp_abort(sim, t.flow, 0);
	t.flow->may_reset = true;
	sim_run(sim, CV_SEC(30) + sim_below(sim, CV_SEC(30)));
	for (unsigned i = 0; i < 2; i++) {
		if (which == 3 || which == 2 * i)
			simnat_reboot(sim, t.nats[i], sim_below(sim, 2));
	}
	sim_run(sim, which == 0 ? sim_below(sim, CV_SEC(5)) : CV_SEC(30));
	begin_flow(sim, &t);
	expect_return(sim, &t, CV_SEC(4), CV_SEC(5));
}

/* The relay restarts, with a goodbye or without; who has streams on it does not wait for a second
 * of his own choice, as all its other agents do. */
static void relay_restarts(struct sim *sim)
{
	struct story t;
	cv_time begun_at;
	uint64_t before;

	if (!begin_by(sim, &t, POLICY_RELAY))
		return;
	begun_at = sim->now;
	before = progress(&t);
	simhost_kill(sim, &sim->hosts[SERVER], sim_below(sim, 2));
	sim_run(sim, sim_below(sim, CV_MS(500)));
	simhost_start(sim, &sim->hosts[SERVER]);
	sim_run(sim, CV_MS(500));
	while (!sim->has_failed && sim->now < begun_at + CV_SEC(20) &&
	       (!is_relayed(sim) || progress(&t) == before)) {
		before = progress(&t);
		sim_run(sim, STEP);
	}
	sim_most(sim, "data flow again, ms", (sim->now - begun_at) / CV_MS(1), 4000, 4000);
	sim_expect(sim, !t.flow->side[0].is_reset && !t.flow->side[1].is_reset);
}

const struct sim_case CASES_RETURNS[] = {
	{ "return-one", one_restarts, "S18: one NAT restarts in mid-transfer", 12 },
	{ "return-both", both_restart, "S18: both do", 12 },
	{ "return-moved", one_moves, "S41: one side changes its network", 12 },
	{ "return-relayed", relay_meanwhile, "S18: while the direct way is cut", 12 },
	{ "return-restarted", relay_restarts, "E12: the relay in use restarts", 12 },
	{ "return-idle", idle_restarts, "S18: while nothing flows", 12 },
	{ NULL, NULL, NULL, 0 },
};

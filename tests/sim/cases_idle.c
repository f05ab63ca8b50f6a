/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <string.h>

/*
 * Nothing flows for an hour and more, behind a router that forgets: no mapping may be lost, from
 * the first minute on, and keepalives may be as rare as the router allows. It maps by the
 * destination and takes a new port each time, so a lost mapping shows: at the server, and at the
 * peer, which has no router and sees where packets come from.
 */

enum { A, B, SERVER };

#define LEARNING CV_SEC(600) /* all steps and what may get lost of them */
#define HOUR CV_SEC(3600)

static bool is_idle_direct(struct sim *sim)
{
	return strcmp(simhost_path(sim, &sim->hosts[A], &sim->hosts[B]), "direct") == 0 &&
	       strcmp(simhost_path(sim, &sim->hosts[B], &sim->hosts[A]), "direct") == 0;
}

/* Every probe of a's, whatever carries it. */
static bool count_probes(struct sim *sim, const struct sim_datagram *d)
{
	const uint8_t *at = d->bytes;

	if (d->from == A && (at[0] & 0xf0) == WIRE_RELAY)
		at += WIRE_RELAY_HEADER;
	if (d->from == A && (at[0] & 0xf0) == WIRE_PROBE)
		sim->filter_count++;
	return false;
}

/* Where the server and the peer see a. */
static void look(struct sim *sim, struct addr seen[2])
{
	struct rendezvous_stats server;
	struct endpoint_peer_stats peer;

	endpoint_server_stats(sim->hosts[A].endpoint, sim->hosts[A].servers[SERVER], &server);
	endpoint_peer_stats(sim->hosts[B].endpoint, sim->now, sim->hosts[B].peers[A], &peer);
	seen[0] = server.public_address;
	seen[1] = peer.path_address;
}

static bool start(struct sim *sim, cv_duration timeout)
{
	struct sim_link link = { .delay = sim_draw(sim, CV_MS(2), CV_MS(60)) };
	int nat = simnat_add(sim, SIM_APD, SIM_APD, SIM_ROOT);

	link.jitter = link.delay / 8;
	link.loss_ppm = sim_below(sim, 2) ? (uint32_t)sim_draw(sim, 100, 10000) : 0;
	sim->nats[nat].allocation = SIM_SEQUENTIAL;
	sim->nats[nat].timeout = timeout;
	sim->nats[nat].inbound_refreshes = sim_below(sim, 2);
	if (sim_below(sim, 2)) {
		/* As netfilter has it. */
		sim->nats[nat].timeout = CV_MIN(timeout, CV_SEC(30));
		sim->nats[nat].timeout_answered = timeout;
	}
	(void)simhost_add_agent(sim, "a", nat, &link);
	(void)simhost_add_agent(sim, "b", SIM_ROOT, &link);
	(void)simhost_add_hub(sim, "s", &link);
	sim->check_interval = 16;
	simhost_know(&sim->hosts[A], &sim->hosts[B], false);
	simhost_use_hub(&sim->hosts[A], &sim->hosts[SERVER]);
	simhost_use_hub(&sim->hosts[B], &sim->hosts[SERVER]);
	simhost_start_all(sim);
	if (!sim_until(sim, CV_SEC(15), is_idle_direct, "a direct path"))
		return false;
	sim_run(sim, CV_SEC(3));
	return !sim->has_failed;
}

static void stay(struct sim *sim, const struct addr before[2], cv_duration d)
{
	struct addr seen[2];
	unsigned elsewhere = 0;

	for (cv_time end = sim->now + d; sim->now < end && !sim->has_failed;) {
		sim_run(sim, CV_SEC(1));
		look(sim, seen);
		sim_expect(sim, addr_equal(&seen[0], &before[0]));
		/* Two probes in a row that get lost put a path in doubt until the next. */
		if (!is_idle_direct(sim))
			sim_expect(sim, ++elsewhere < 30);
		else
			sim_expect(sim, addr_equal(&seen[1], &before[1]));
	}
}

static void idle(struct sim *sim, cv_duration timeout, uint64_t probes_max)
{
	struct addr before[2];

	if (!start(sim, timeout))
		return;
	look(sim, before);
	stay(sim, before, LEARNING);
	sim->tap = count_probes;
	sim->filter_count = 0;
	stay(sim, before, HOUR);
	sim_most(sim, "probes in an hour", sim->filter_count, probes_max, probes_max);
	sim_expect(sim, sim->hosts[A].downs[B] == 0 && sim->hosts[B].downs[A] == 0);
	sim_expect(sim, sim->hosts[A].server_downs == 0);
}

static void idle_12(struct sim *sim)
{
	idle(sim, CV_SEC(12), 2000);
}

static void idle_30(struct sim *sim)
{
	idle(sim, CV_SEC(30), 720);
}

static void idle_60(struct sim *sim)
{
	idle(sim, CV_SEC(60), 480);
}

static void idle_180(struct sim *sim)
{
	idle(sim, CV_SEC(180), 200);
}

/* What was learnt no longer holds: the router was replaced by one that forgets sooner. */
static void idle_shrinks(struct sim *sim)
{
	struct addr before[2];

	if (!start(sim, CV_SEC(180)))
		return;
	look(sim, before);
	stay(sim, before, LEARNING);
	sim->nats[0].timeout = CV_MIN(sim->nats[0].timeout, CV_SEC(40));
	sim->nats[0].timeout_answered = CV_SEC(40);
	/* Each halving takes the loss of a mapping, which the next keepalive finds. */
	sim_run(sim, CV_SEC(400));
	look(sim, before);
	stay(sim, before, CV_SEC(1200));
}

const struct sim_case CASES_IDLE[] = {
	{ "idle-12", idle_12, "S19: a router that forgets after 12 s", 4 },
	{ "idle-30", idle_30, "S19: after 30 s", 4 },
	{ "idle-60", idle_60, "S19: after 60 s", 4 },
	{ "idle-180", idle_180, "S19: after 180 s", 4 },
	{ "idle-shrinks", idle_shrinks, "S19: after 180 s, then after 40 s", 4 },
	{ NULL, NULL, NULL, 0 },
};

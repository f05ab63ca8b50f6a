/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <string.h>

/*
 * Networks that block UDP: the server is reached by TCP. Two agents behind NATs that let UDP pass
 * or not, as the story goes; streams are written all the time, none may end, and how long nothing
 * arrived is bounded.
 */

#define STEP CV_MS(10)

enum { SERVER = 2 };

struct story {
	int nats[2];
	struct sim_flow *flow;
	uint64_t read;
	cv_time moved_at;
	cv_duration stall; /* the longest */
};

static const struct sim_link USUAL = { .delay = CV_MS(10), .rate = 1250000 };

static void build(struct sim *sim, struct story *t, const struct sim_link *link)
{
	*t = (struct story){ .nats = { simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT),
		                       simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT) } };
	for (int i = 0; i < 2; i++)
		(void)simhost_add_agent(sim, i ? "b" : "a", t->nats[i], link);
	(void)simhost_add_hub(sim, "s", NULL);
	sim->hosts[SERVER].has_tcp = true;
	simhost_know(&sim->hosts[0], &sim->hosts[1], false);
	for (int i = 0; i < 2; i++)
		simhost_use_hub(&sim->hosts[i], &sim->hosts[SERVER]);
	sim->check_interval = 16;
}

static void block(struct sim *sim, const struct story *t, int side, bool is_blocked)
{
	sim->nats[t->nats[side]].blocks_udp = is_blocked;
}

static bool is_path(struct sim *sim, const char *kind)
{
	return strcmp(simhost_path(sim, &sim->hosts[0], &sim->hosts[1]), kind) == 0 &&
	       strcmp(simhost_path(sim, &sim->hosts[1], &sim->hosts[0]), kind) == 0;
}

static bool is_tcp(struct sim *sim)
{
	return is_path(sim, "tcp");
}

static bool is_direct(struct sim *sim)
{
	return is_path(sim, "direct");
}

static bool is_leg_tcp(const struct sim *sim, int side)
{
	struct rendezvous_stats s;

	endpoint_server_stats(sim->hosts[side].endpoint, sim->hosts[side].servers[SERVER], &s);
	return s.is_up && s.is_tcp;
}

static bool is_by_udp(struct sim *sim)
{
	struct hub_stats s;

	hub_stats(sim->hosts[SERVER].hub, &s);
	return s.agents == 2 && !is_leg_tcp(sim, 0) && !is_leg_tcp(sim, 1) &&
	       !sim->tcps[0].is_open && !sim->tcps[1].is_open;
}

static void begin_flow(struct sim *sim, struct story *t, bool is_bulk)
{
	t->flow = simapp_open(sim, &sim->hosts[0], &sim->hosts[1],
	                      is_bulk ? UINT64_C(1) << 32 : 1 << 30, 1 << 30);
	if (!is_bulk) {
		t->flow->side[0].chunk = 2000;
		t->flow->side[1].chunk = 2000;
	}
	simapp_begin(sim, t->flow);
	t->moved_at = sim->now;
}

/* As sim_run(), with an eye on what arrives at the second agent. */
static void watch(struct sim *sim, struct story *t, cv_duration d)
{
	cv_time end = sim->now + d;

	while (!sim->has_failed && sim->now < end) {
		sim_run(sim, CV_MIN(STEP, end - sim->now));
		if (t->flow->side[1].read != t->read)
			t->moved_at = sim->now;
		t->read = t->flow->side[1].read;
		t->stall = CV_MAX(t->stall, sim->now - t->moved_at);
	}
}

static void expect_unharmed(struct sim *sim, const struct story *t, cv_duration stall)
{
	sim_most(sim, "longest standstill, ms", t->stall / CV_MS(1), stall / CV_MS(1),
	         stall / CV_MS(1));
	sim_expect(sim, !t->flow->side[0].is_reset && !t->flow->side[1].is_reset);
	sim_expect(sim, sim->hosts[0].downs[1] == 0 && sim->hosts[1].downs[0] == 0);
}

/* ---- stories ---- */

/* From the start, at one side, at the other, at both: how long until the first byte? */
static void cold(struct sim *sim)
{
	unsigned which = 1 + sim_variant(sim, 3);
	struct story t;
	cv_time begun;

	build(sim, &t, &USUAL);
	for (int i = 0; i < 2; i++)
		block(sim, &t, i, which & 1u << i);
	simhost_start_all(sim);
	begun = sim->now;
	begin_flow(sim, &t, false);
	while (!sim->has_failed && t.flow->side[1].read == 0 && sim->now < begun + CV_SEC(10))
		sim_run(sim, CV_MS(1));
	sim_most(sim, "first byte, ms", (sim->now - begun) / CV_MS(1), 1500, 1500);
	watch(sim, &t, CV_SEC(300));
	sim_expect(sim, is_tcp(sim));
	for (int i = 0; i < 2; i++)
		sim_expect(sim, is_leg_tcp(sim, i) == ((which >> i & 1) != 0));
	expect_unharmed(sim, &t, CV_SEC(2));
}

/* It dies in mid-transfer at one side, then at the other; returns at one, then at both. */
static void dies_and_returns(struct sim *sim)
{
	unsigned v = sim_variant(sim, 4);
	struct story t;
	int first = v & 1;

	build(sim, &t, &USUAL);
	simhost_start_all(sim);
	if (!sim_until(sim, CV_SEC(5), is_direct, "a direct path"))
		return;
	begin_flow(sim, &t, v & 2);
	watch(sim, &t, CV_SEC(5));
	block(sim, &t, first, true);
	watch(sim, &t, CV_SEC(10));
	sim_expect(sim, is_tcp(sim) && is_leg_tcp(sim, first) && !is_leg_tcp(sim, !first));
	block(sim, &t, !first, true);
	watch(sim, &t, CV_SEC(10));
	sim_expect(sim, is_tcp(sim) && is_leg_tcp(sim, 0) && is_leg_tcp(sim, 1));
	block(sim, &t, first, false);
	watch(sim, &t, CV_SEC(45));
	sim_expect(sim, is_tcp(sim) && !is_leg_tcp(sim, first) && is_leg_tcp(sim, !first));
	block(sim, &t, !first, false);
	watch(sim, &t, CV_SEC(60));
	sim_expect(sim, is_direct(sim));
	sim_until(sim, CV_SEC(10), is_by_udp, "the server reached by UDP, and no connection left");
	expect_unharmed(sim, &t, CV_MS(3500));
}

/* Only the server's UDP is blocked, not that between the agents: the direct way is taken. */
static bool drop_server_udp(struct sim *sim, const struct sim_datagram *d)
{
	const struct addr *server = &sim->hosts[SERVER].address;

	return addr_equal_ip(&d->dst, server) || addr_equal_ip(&d->src, server);
}

static void direct_all_the_same(struct sim *sim)
{
	struct story t;

	build(sim, &t, &USUAL);
	for (int i = 0; i < 2; i++) /* who knows no address from outside can only be reached so */
		sim->nats[t.nats[i]].filtering = SIM_EI;
	simhost_start_all(sim);
	if (!sim_until(sim, CV_SEC(5), is_direct, "a direct path"))
		return;
	sim->filter = drop_server_udp;
	begin_flow(sim, &t, false);
	watch(sim, &t, CV_SEC(60));
	sim_expect(sim, is_direct(sim) && is_leg_tcp(sim, 0) && is_leg_tcp(sim, 1));
	/* The direct way is cut: TCP carries, at once. */
	sim->blocked[0][1] = sim->blocked[1][0] = true;
	watch(sim, &t, CV_SEC(10));
	sim_expect(sim, is_tcp(sim));
	sim->blocked[0][1] = sim->blocked[1][0] = false;
	watch(sim, &t, CV_SEC(70));
	sim_expect(sim, is_direct(sim));
	expect_unharmed(sim, &t, CV_SEC(3));
}

/* A slow, lossy line: what TCP delivers late is not sent twice, and it is filled. */
static void bulk(struct sim *sim)
{
	static const struct {
		uint64_t rate; /* bytes a second */
		cv_duration delay;
		uint32_t loss_ppm;
		unsigned least; /* permille of the rate */
		unsigned rtt;   /* ms, at most: the queue is short */
		enum cc_kind kind;
	} rows[] = {
		{ 125000, CV_MS(20), 0, 800, 500, CC_BBR },
		{ 125000, CV_MS(20), 10000, 600, 700, CC_BBR },
		{ 1250000, CV_MS(20), 0, 800, 150, CC_BBR },
		{ 1250000, CV_MS(5), 2000, 600, 100, CC_BBR },
		/* It would fill any queue. */
		{ 125000, CV_MS(20), 0, 800, 1000, CC_CUBIC },
	};
	unsigned v = sim_variant(sim, CV_ARRAY_SIZE(rows));
	struct sim_link link = { .delay = rows[v].delay, .rate = rows[v].rate };
	struct story t;
	uint64_t carried, read;
	struct endpoint_peer_stats stats;

	link.loss_ppm = rows[v].loss_ppm;
	sim->congestion = rows[v].kind;
	build(sim, &t, &link);
	block(sim, &t, 0, true);
	block(sim, &t, 1, true);
	simhost_start_all(sim);
	if (!sim_until(sim, CV_SEC(10), is_tcp, "a path by TCP"))
		return;
	begin_flow(sim, &t, true);
	t.flow->side[1].size = 1000;
	watch(sim, &t, CV_SEC(20));
	carried = sim->tcps[0].ways[1].bytes;
	read = t.read;
	t.stall = 0;
	watch(sim, &t, CV_SEC(20));
	carried = sim->tcps[0].ways[1].bytes - carried;
	read = t.read - read;
	simhost_stats(sim, &sim->hosts[0], &sim->hosts[1], &stats);
	sim_least(sim, "goodput, permille", read * 1000 / (20 * rows[v].rate), rows[v].least,
	          rows[v].least);
	sim_most(sim, "carried beyond what was read, permille",
	         carried > read ? (carried - read) * 1000 / read : 0, 120, 120);
	sim_most(sim, "round trip, ms", stats.rtt / CV_MS(1), rows[v].rtt, rows[v].rtt);
	expect_unharmed(sim, &t, CV_SEC(3));
}

/* The server is killed and comes back; the connection is reset; a host moves; one sleeps. */
static void accidents(struct sim *sim)
{
	unsigned v = sim_variant(sim, 4);
	struct story t;
	int other;

	build(sim, &t, &USUAL);
	other = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);
	sim->nats[other].blocks_udp = true;
	block(sim, &t, 0, true);
	block(sim, &t, 1, true);
	simhost_start_all(sim);
	if (!sim_until(sim, CV_SEC(10), is_tcp, "a path by TCP"))
		return;
	begin_flow(sim, &t, false);
	watch(sim, &t, CV_SEC(15));
	switch (v) {
	case 0:
		simhost_kill(sim, &sim->hosts[SERVER], false);
		watch(sim, &t, CV_MS(100));
		simhost_start(sim, &sim->hosts[SERVER]);
		break;
	case 1:
		simtcp_reset(sim, &sim->hosts[0]);
		break;
	case 2:
		simhost_move(sim, &sim->hosts[0], other);
		break;
	default:
		simhost_sleep(&sim->hosts[0]);
		sim_run(sim, CV_SEC(20));
		simtcp_on_moved(sim, &sim->hosts[0]); /* somebody's timer is shorter */
		simhost_wake(sim, &sim->hosts[0]);
		t.moved_at = sim->now;
		break;
	}
	watch(sim, &t, CV_SEC(30));
	sim_expect(sim, is_tcp(sim));
	expect_unharmed(sim, &t, CV_SEC(8));
}

/* Whatever comes in whatever order: a stream is never lost, and in the end all is as it should be.
 */
static void anything(struct sim *sim)
{
	struct sim_link link = { .delay = sim_draw(sim, CV_MS(2), CV_MS(80)) };
	struct story t;

	link.rate = sim_draw(sim, 60000, 500000);
	link.loss_ppm = sim_below(sim, 2) ? (uint32_t)sim_draw(sim, 1000, 20000) : 0;
	build(sim, &t, &link);
	simhost_start_all(sim);
	if (!sim_until(sim, CV_SEC(15), is_direct, "a direct path"))
		return;
	begin_flow(sim, &t, sim_below(sim, 2));
	for (unsigned i = 0; i < 20 && !sim->has_failed; i++) {
		int side = (int)sim_below(sim, 2);

		switch (sim_below(sim, 4)) {
		case 0:
			simtcp_reset(sim, &sim->hosts[side]);
			break;
		case 1:
			simnat_reboot(sim, t.nats[side], sim_below(sim, 2));
			simtcp_on_moved(sim, &sim->hosts[side]);
			break;
		default:
			block(sim, &t, side, sim_below(sim, 2));
			break;
		}
		watch(sim, &t, sim_below(sim, CV_SEC(15)));
	}
	sim->hosts[SERVER].has_tcp = true;
	block(sim, &t, 0, true);
	block(sim, &t, 1, sim_below(sim, 2));
	watch(sim, &t, CV_SEC(130));
	sim_expect(sim, is_tcp(sim));
	block(sim, &t, 0, false);
	block(sim, &t, 1, false);
	watch(sim, &t, CV_SEC(70));
	sim_expect(sim, is_direct(sim));
	sim_until(sim, CV_SEC(610), is_by_udp, "the server reached by UDP");
	expect_unharmed(sim, &t, CV_SEC(15));
}

/* UDP reaches the server and nothing comes back: the handshake that goes on by TCP is one of which
 * the server has seen the beginning from elsewhere. */
static bool drop_answers(struct sim *sim, const struct sim_datagram *d)
{
	struct addr there = simhost_public_address(sim, &sim->hosts[sim->filter_arg]);

	return d->from == SERVER && addr_equal_ip(&d->dst, &there);
}

static void nothing_comes_back(struct sim *sim)
{
	struct story t;
	int side = (int)sim_variant(sim, 2);

	build(sim, &t, &USUAL);
	sim->blocked[0][1] = sim->blocked[1][0] = true;
	simhost_start_all(sim);
	begin_flow(sim, &t, false);
	watch(sim, &t, CV_SEC(3));
	sim->filter_arg = (uint64_t)side;
	sim->filter = drop_answers;
	watch(sim, &t, CV_SEC(20));
	sim_expect(sim, is_leg_tcp(sim, side) && is_tcp(sim));
	expect_unharmed(sim, &t, CV_MS(4000));
}

const struct sim_case CASES_TCP[] = {
	{ "tcp-cold", cold, "UDP is blocked from the start", 3 },
	{ "tcp-one-way", nothing_comes_back, "UDP passes to the server, and none back", 2 },
	{ "tcp-returns", dies_and_returns, "a TCP leg on one side, then both, then none", 4 },
	{ "tcp-direct", direct_all_the_same, "only the server's UDP is blocked", 0 },
	{ "tcp-bulk", bulk, "narrow and lossy lines: filled, and nothing is sent twice", 5 },
	{ "tcp-accidents", accidents, "restart, reset, move, sleep", 4 },
	{ "tcp-anything", anything, "all of it, in any order", 5 },
	{ NULL, NULL, NULL, 0 },
};

/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

/* Datagrams of flows (PROTOCOL.md, 12). simgram.c knows each of them. */

enum { GAME = 8, BLAST = 4, LARGE = 12 };

static const struct sim_link MIDDLE = { .delay = CV_MS(10) };

static void add_pair(struct sim *sim, const struct sim_link *link)
{
	struct sim_host *a = simhost_add_agent(sim, "a", SIM_ROOT, link);
	struct sim_host *b = simhost_add_agent(sim, "b", SIM_ROOT, link);

	simhost_know(a, b, true);
	simhost_start_all(sim);
	simgram_begin(sim);
	sim_run(sim, CV_SEC(2));
}

static void must_send(struct sim *sim, unsigned from, uint16_t flow, size_t size)
{
	sim_expect(sim, simgram_send(sim, from, !from, flow, size) == 0);
}

/* Small ones both ways, and now and then a large one. */
static void talk(struct sim *sim, cv_duration d)
{
	cv_time end = sim->now + d;

	while (!sim->has_failed && sim->now < end) {
		for (unsigned i = 0; i < 2; i++) {
			must_send(sim, i, GAME, 40 + sim_below(sim, 400));
			if (sim_below(sim, 50) == 0)
				must_send(sim, i, LARGE, sim_draw(sim, 1000, 60000));
		}
		sim_run(sim, CV_MS(8));
	}
}

static void expect_share(struct sim *sim, uint16_t flow, unsigned permille)
{
	struct sim_grams seen = simgram_seen(sim, flow, 0);

	if (seen.sent == 0 || seen.arrived * 1000 < seen.sent * permille)
		sim_fail(sim, "flow %u: %llu of %llu arrive", flow,
		         (unsigned long long)seen.arrived, (unsigned long long)seen.sent);
}

/* Without faults all arrive, the largest too; with all of them what arrives is what was sent. */
static void both_ways(struct sim *sim)
{
	unsigned v = sim_variant(sim, 4);
	struct sim_link link = MIDDLE;

	if (v & 1) {
		link.jitter = CV_MS(20);
		link.reorder_ppm = 50000;
		link.reorder_delay = CV_MS(200);
		link.duplicate_ppm = 300000;
	}
	if (v & 2) {
		link.loss_ppm = 20000;
		link.corrupt_ppm = 5000;
	}
	add_pair(sim, &link);
	talk(sim, CV_SEC(10));
	sim_run(sim, CV_SEC(1));
	expect_share(sim, GAME, v & 2 ? 900 : v ? 950 : 1000);
	/* One part lost loses all of them; two large ones that are late push each other out. */
	expect_share(sim, LARGE, v & 2 ? 150 : v ? 300 : 1000);
}

/* From the relay to the direct path, and to another address of it. */
static void moves(struct sim *sim)
{
	int a = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);
	int b = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);

	simworld_add(sim, a, b, &MIDDLE, &MIDDLE);
	simgram_begin(sim);
	sim->blocked[0][1] = sim->blocked[1][0] = true;
	simhost_start_all(sim);
	sim_run(sim, CV_SEC(3));
	sim_expect(sim, simworld_is_relayed(sim));
	talk(sim, CV_SEC(2));
	sim->blocked[0][1] = sim->blocked[1][0] = false;
	talk(sim, CV_SEC(40));
	sim_expect(sim, simworld_is_direct(sim));
	simnat_reboot(sim, a, true);
	talk(sim, CV_SEC(10));
	sim_run(sim, CV_SEC(1));
	/* What is under way when the router forgets is lost. */
	expect_share(sim, GAME, 850);
	expect_share(sim, LARGE, 800);
}

/* Three times what the path carries, and a game beside it: the blast loses its own. */
static void blast(struct sim *sim)
{
	struct sim_link link = { .delay = CV_MS(12), .rate = 100000000 / 8, .queue = 1250000 };
	struct sim_meter meter = { 0 };
	struct sim_grams game, other;
	cv_time begun_at;
	cv_duration wait;

	add_pair(sim, &link);
	begun_at = sim->now + CV_SEC(2);
	for (unsigned i = 0; !sim->has_failed && i < 7500; i++) {
		if (sim->now >= begun_at && !sim->hosts[0].up.meter)
			sim->hosts[0].up.meter = &meter;
		for (unsigned k = 0; k < 30; k++)
			must_send(sim, 0, BLAST, 1250);
		if (i % 8 == 0)
			must_send(sim, 0, GAME, 100);
		sim_run(sim, CV_MS(1));
	}
	sim_run(sim, CV_SEC(1));
	game = simgram_seen(sim, GAME, begun_at);
	other = simgram_seen(sim, BLAST, begun_at);
	wait = simlink_wait(&meter, 10);
	if (sim->prints_measures)
		printf("blast: %llu of %llu arrive; game: %llu of %llu, %.1f ms at most; link: "
		       "%.1f ms for 99 %%, %llu dropped\n",
		       (unsigned long long)other.arrived, (unsigned long long)other.sent,
		       (unsigned long long)game.arrived, (unsigned long long)game.sent,
		       (double)game.delay_max / 1e6, (double)wait / 1e6,
		       (unsigned long long)meter.dropped);
	sim->hosts[0].up.meter = NULL;
	sim_expect(sim, other.arrived * 1000 > other.sent * 270);
	sim_expect(sim, game.arrived == game.sent);
	sim_expect(sim, game.delay_max < CV_MS(120));
}

const struct sim_case CASES_DATAGRAMS[] = {
	{ "datagrams-both-ways", both_ways, "12: small and large ones; disorder, loss", 4 },
	{ "datagrams-moves", moves, "12: relay, direct, another address", 0 },
	{ "datagrams-blast", blast, "12: a game beside what the path cannot carry", 0 },
	{ NULL, NULL, NULL, 0 },
};

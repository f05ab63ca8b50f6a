/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <string.h>

/*
 * Ways through routers that give every destination another port. The two agents are 50 ms apart,
 * and from the server; both know which kind of pair they are within a second of coming up.
 */

#include "tunnel/punch.h"

static const struct sim_link LEG = { .delay = CV_US(12500) };

struct router {
	const char *what;
	enum sim_rule mapping, filtering;
	enum sim_allocation allocation;
	int step;
	uint16_t block_size;
	uint32_t noise;
};

static const struct router EASY = { "easy", SIM_EI, SIM_APD, SIM_SEQUENTIAL, 1, 0, 0 };

static int add_router(struct sim *sim, const struct router *r)
{
	int nat = simnat_add(sim, r->mapping, r->filtering, SIM_ROOT);
	struct sim_nat *n = &sim->nats[nat];

	n->allocation = r->allocation;
	n->step = r->step;
	n->block_size = r->block_size;
	n->noise_rate = r->noise;
	n->table_max = 1024;
	n->timeout = CV_SEC(60);
	return nat;
}

/* Hosts 0 and 1 are the agents, 2 is the server; which of them has which router is the seed's. */
static void add_pair(struct sim *sim, const struct router *first, const struct router *second)
{
	bool swaps = sim_below(sim, 2) == 1;
	int a = add_router(sim, swaps ? second : first),
	    b = add_router(sim, swaps ? first : second);
	struct sim_host *hosts[3];

	hosts[0] = simhost_add_agent(sim, "a", a, &LEG);
	hosts[1] = simhost_add_agent(sim, "b", b, &LEG);
	hosts[2] = simhost_add_hub(sim, "s", &LEG);
	simhost_know(hosts[0], hosts[1], false);
	simhost_use_hub(hosts[0], hosts[2]);
	simhost_use_hub(hosts[1], hosts[2]);
	simhost_start_all(sim);
}

static bool is_up(struct sim *sim)
{
	return simhost_is_up(&sim->hosts[0], &sim->hosts[1]) &&
	       simhost_is_up(&sim->hosts[1], &sim->hosts[0]);
}

static bool is_direct(struct sim *sim)
{
	return strcmp(simhost_path(sim, &sim->hosts[0], &sim->hosts[1]), "direct") == 0 &&
	       strcmp(simhost_path(sim, &sim->hosts[1], &sim->hosts[0]), "direct") == 0;
}

static struct endpoint_nat_stats cost(const struct sim *sim, unsigned host)
{
	struct endpoint_nat_stats out;

	endpoint_nat_stats(sim->hosts[host].endpoint, sim->now, &out);
	return out;
}

/* Within its budget: what was sent, opened and mapped. */
static void expect_cheap(struct sim *sim, unsigned attempts)
{
	for (unsigned i = 0; i < 2; i++) {
		struct endpoint_nat_stats c = cost(sim, i);

		sim_expect(sim, c.packets <= (uint64_t)attempts * PUNCH_PACKETS_DEFAULT);
		sim_expect(sim, sim->hosts[i].extra_peak <=
		                        PUNCH_SOCKETS_DEFAULT + 2 + DISCOVERY_SAMPLES);
		sim_expect(sim, sim->nats[i].session_peak <= 1024);
	}
}

/* One of a path, and one that a mapping is measured with. */
static bool has_few_sockets(struct sim *sim)
{
	return sim->hosts[0].extra_open <= 2 && sim->hosts[1].extra_open <= 2;
}

static void expect_direct(struct sim *sim, cv_duration bound, cv_duration wait)
{
	cv_time begin = sim->now;

	sim_until(sim, CV_SEC(5), is_up, "both are up");
	sim_until(sim, wait, is_direct, "both are direct");
	sim_most(sim, "ms until both are direct", cv_time_since(sim->now, begin) / CV_MS(1),
	         bound / CV_MS(1), 0);
	sim_most(sim, "packets of the two", cost(sim, 0).packets + cost(sim, 1).packets, 0, 0);
	expect_cheap(sim, wait > CV_SEC(30) ? 4 : 1);
	sim_until(sim, CV_SEC(15), has_few_sockets, "what is not needed is closed");
	simapp_begin(sim, simapp_open(sim, &sim->hosts[0], &sim->hosts[1], 3000000, 100000));
	sim_until(sim, CV_SEC(20), simapp_are_done, "a stream over it");
	sim_expect(sim, is_direct(sim));
}

static void punch_row(struct sim *sim)
{
	static const struct router hard[] = {
		{ "sequential", SIM_APD, SIM_APD, SIM_SEQUENTIAL, 1, 0, 0 },
		{ "by two", SIM_APD, SIM_APD, SIM_SEQUENTIAL, 2, 0, 0 },
		{ "downwards", SIM_APD, SIM_APD, SIM_SEQUENTIAL, -1, 0, 0 },
		{ "busy", SIM_APD, SIM_APD, SIM_SEQUENTIAL, 1, 0, 20 },
		{ "preserving", SIM_APD, SIM_APD, SIM_PRESERVE, 1, 0, 0 },
	};

	add_pair(sim, &hard[sim_variant(sim, CV_ARRAY_SIZE(hard))], &EASY);
	expect_direct(sim, CV_SEC(3), CV_SEC(6));
}

/* One server cannot tell that its address counts: that plain probes fail does. */
static void punch_suspect(struct sim *sim)
{
	static const struct router hard = {
		"address-dependent", SIM_AD, SIM_APD, SIM_SEQUENTIAL, 1, 0, 0
	};

	add_pair(sim, &hard, &EASY);
	expect_direct(sim, CV_SEC(12), CV_SEC(20));
}

static void punch_pair(struct sim *sim)
{
	static const struct router hard[] = {
		{ "sequential", SIM_APD, SIM_APD, SIM_SEQUENTIAL, 1, 0, 0 },
		{ "by two", SIM_APD, SIM_APD, SIM_SEQUENTIAL, 2, 0, 0 },
		{ "preserving", SIM_APD, SIM_APD, SIM_PRESERVE, 1, 0, 0 },
	};
	unsigned v = sim_variant(sim, 9);

	add_pair(sim, &hard[v / 3], &hard[v % 3]);
	expect_direct(sim, CV_SEC(3), CV_SEC(10));
}

static void punch_block(struct sim *sim)
{
	static const struct router hard[] = {
		{ "block of 512", SIM_APD, SIM_APD, SIM_BLOCKS, 1, 512, 0 },
		{ "block of 1024", SIM_APD, SIM_APD, SIM_BLOCKS, 1, 1024, 0 },
		{ "block of 4096", SIM_APD, SIM_APD, SIM_BLOCKS, 1, 4096, 0 },
	};

	add_pair(sim, &hard[sim_variant(sim, CV_ARRAY_SIZE(hard))], &EASY);
	expect_direct(sim, CV_SEC(12), CV_SEC(60));
}

/* One attempt in twenty fails: the next follows by itself. */
static void punch_birthday(struct sim *sim)
{
	static const struct router hard = { "random", SIM_APD, SIM_APD, SIM_RANDOM, 1, 0, 0 };

	add_pair(sim, &hard, &EASY);
	expect_direct(sim, 0, CV_SEC(150));
}

/* Both routers give each destination a port of its own, one of them at random within a block: an
 * attempt meets in half of all cases where the other one's are known, in a fifth where they are
 * not, and attempts follow each other more and more rarely. */
static void punch_cross(struct sim *sim)
{
	static const struct router known[] = {
		{ "sequential", SIM_APD, SIM_APD, SIM_SEQUENTIAL, 1, 0, 0 },
		{ "busy, by two", SIM_APD, SIM_APD, SIM_SEQUENTIAL, 2, 0, 20 },
	};
	static const struct router hard[] = {
		{ "block of 512", SIM_APD, SIM_APD, SIM_BLOCKS, 1, 512, 0 },
		{ "block of 1024", SIM_APD, SIM_APD, SIM_BLOCKS, 1, 1024, 0 },
		{ "block of 4096", SIM_APD, SIM_APD, SIM_BLOCKS, 1, 4096, 0 },
	};
	unsigned v = sim_variant(sim, 5);
	cv_time begin = sim->now;

	if (v == 4)
		add_pair(sim, &hard[0], &hard[0]);
	else
		add_pair(sim, &hard[v % 3], &known[v / 3]);
	for (int i = 0; i < sim->nat_count; i++)
		sim->nats[i].timeout = CV_SEC(120); /* RFC 4787, REQ-5 */
	sim_until(sim, CV_SEC(5), is_up, "both are up");
	while (!is_direct(sim) && cv_time_since(sim->now, begin) < CV_SEC(4 * 3600))
		sim_run(sim, CV_MS(100));
	/* Sixteen attempts; of those that meet in a fifth of all cases 2 % need more. */
	sim_expect(sim, is_direct(sim) || v == 2 || v == 4);
	sim_most(sim, "ms until both are direct", cv_time_since(sim->now, begin) / CV_MS(1), 0, 0);
	sim_most(sim, "attempts", cost(sim, 0).attempts + cost(sim, 1).attempts, 0, 0);
	for (unsigned i = 0; i < 2; i++) {
		sim_expect(sim, sim->hosts[i].extra_peak <=
		                        PUNCH_SOCKETS_DEFAULT + 2 + DISCOVERY_SAMPLES);
		sim_expect(sim, sim->nats[i].session_peak <= 1024);
		/* The user's other connections have ports at all times. */
		if (sim->nats[i].block_size != 0)
			sim_most(sim, "most of its block that is in use", sim->nats[i].session_peak,
			         sim->nats[i].block_size * 5u / 8, 0);
	}
	if (!is_direct(sim))
		return;
	sim_until(sim, CV_SEC(40), has_few_sockets, "what is not needed is closed");
	simapp_begin(sim, simapp_open(sim, &sim->hosts[0], &sim->hosts[1], 3000000, 100000));
	sim_until(sim, CV_SEC(20), simapp_are_done, "a stream over it");
	sim_expect(sim, is_direct(sim));
}

/* Where no plan helps none is tried, and the relay does. */
static void punch_hopeless(struct sim *sim)
{
	static const struct router hard[] = {
		{ "random", SIM_APD, SIM_APD, SIM_RANDOM, 1, 0, 0 },
		{ "sequential", SIM_APD, SIM_APD, SIM_SEQUENTIAL, 1, 0, 0 },
	};

	add_pair(sim, &hard[0], &hard[sim_variant(sim, 2)]);
	sim_until(sim, CV_SEC(5), is_up, "both are up");
	sim_run(sim, CV_SEC(60));
	sim_expect(sim, !is_direct(sim));
	sim_expect(sim, cost(sim, 0).packets + cost(sim, 1).packets == 0);
	simapp_begin(sim, simapp_open(sim, &sim->hosts[0], &sim->hosts[1], 100000, 100000));
	sim_until(sim, CV_SEC(20), simapp_are_done, "a stream over the relay");
}

/* Routers that block a source for minutes whose packet came unasked: first packets must not get
 * there. */
static void punch_blacklist(struct sim *sim)
{
	add_pair(sim, &EASY, &EASY);
	for (int i = 0; i < sim->nat_count; i++)
		sim->nats[i].blacklist = CV_SEC(60);
	expect_direct(sim, CV_SEC(1), CV_SEC(3));
}

const struct sim_case CASES_PUNCH[] = {
	{ "punch-row", punch_row, "one router's ports can be known", 5 },
	{ "punch-suspect", punch_suspect, "a mapping by address, and one server", 0 },
	{ "punch-pair", punch_pair, "both routers' ports can be known", 9 },
	{ "punch-block", punch_block, "random within a carrier's block", 3 },
	{ "punch-birthday", punch_birthday, "random ports against one easy router", 0 },
	{ "punch-cross", punch_cross, "two hard routers, one at random within a block", 5 },
	{ "punch-blacklist", punch_blacklist, "who sends what was not asked for is blocked", 0 },
	{ "punch-hopeless", punch_hopeless, "random ports on both sides, or on one of two", 2 },
	{ NULL, NULL, NULL, 0 },
};

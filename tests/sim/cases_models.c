/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

/* The translators themselves, without a core: what they are said to do, they do. */

enum { PORT = 5000, TABLE = 1024, SOCKETS = 256 };

static struct addr inside(unsigned host, unsigned port)
{
	return addr_v4(192, 168, 0, (uint8_t)host, (uint16_t)port);
}

static struct addr remote(unsigned host, unsigned port)
{
	return addr_v4(11, 9, (uint8_t)(host >> 8), (uint8_t)host, (uint16_t)port);
}

/* What @src looks like at @dst; ADDR_NONE: it does not get out. */
static struct addr go_out(struct sim *sim, int nat, struct addr src, struct addr dst)
{
	struct sim_datagram *d = simnet_new(sim);
	struct addr seen = { 0 };

	d->src = src;
	d->dst = dst;
	d->zone = nat;
	if (simnat_out(sim, &sim->nats[nat], d))
		seen = d->src;
	simnet_free(sim, d);
	return seen;
}

static bool come_in(struct sim *sim, int nat, struct addr src, struct addr dst)
{
	struct sim_datagram *d = simnet_new(sim);
	bool is_in;

	d->src = src;
	d->dst = dst;
	is_in = simnat_in(sim, &sim->nats[nat], d);
	simnet_free(sim, d);
	return is_in;
}

/* 3 mappings times 3 filters: who shares a port, who is let in. */
static void model_rules(struct sim *sim)
{
	unsigned v = sim_variant(sim, 9);
	enum sim_rule mapping = (enum sim_rule)(v % 3), filtering = (enum sim_rule)(v / 3);
	int nat = simnat_add(sim, mapping, filtering, SIM_ROOT);
	struct addr a, same_host, other_host;

	sim->nats[nat].allocation = SIM_RANDOM;
	a = go_out(sim, nat, inside(2, PORT), remote(1, 80));
	same_host = go_out(sim, nat, inside(2, PORT), remote(1, 81));
	other_host = go_out(sim, nat, inside(2, PORT), remote(2, 80));
	sim_expect(sim, addr_equal(&a, &same_host) == (mapping != SIM_APD));
	sim_expect(sim, addr_equal(&a, &other_host) == (mapping == SIM_EI));
	sim_expect(sim, come_in(sim, nat, remote(1, 80), a));
	sim_expect(sim, come_in(sim, nat, remote(1, 99), a) == (filtering != SIM_APD));
	sim_expect(sim, come_in(sim, nat, remote(3, 80), a) == (filtering == SIM_EI));
	sim_expect(sim, simnat_sessions(sim, nat) == 3);
	sim_run(sim, CV_SEC(31));
	sim_expect(sim, simnat_sessions(sim, nat) == 0);
	sim_expect(sim, !come_in(sim, nat, remote(1, 80), a));
}

static void expect_steps(struct sim *sim, int step)
{
	int nat = simnat_add(sim, SIM_APD, SIM_APD, SIM_ROOT), last = 0;
	struct sim_nat *n = &sim->nats[nat];

	n->allocation = SIM_SEQUENTIAL;
	n->step = step;
	n->range_first = 30000;
	n->range_last = 30999;
	n->port_next = 30500;
	for (unsigned i = 0; i < SOCKETS; i++) {
		int port = go_out(sim, nat, inside(2, PORT), remote(1, 100 + i)).port;

		sim_expect(sim, port >= 30000 && port <= 30999);
		sim_expect(sim, i == 0 || (port - last - step) % 1000 == 0);
		last = port;
	}
}

/* Ports in steps, in a block of the inside host, of a range, as inside. */
static void model_ports(struct sim *sim)
{
	int nat = simnat_add(sim, SIM_APD, SIM_APD, SIM_ROOT);
	struct sim_nat *n = &sim->nats[nat];
	struct addr a, b, first;

	expect_steps(sim, 1);
	expect_steps(sim, 3);
	expect_steps(sim, -1);

	n->allocation = SIM_BLOCKS;
	n->block_size = 512;
	first = go_out(sim, nat, inside(2, PORT), remote(1, 1));
	for (unsigned i = 2; i <= 512; i++) {
		a = go_out(sim, nat, inside(2, PORT), remote(1, i));
		sim_expect(sim, (a.port - 1024) / 512 == (first.port - 1024) / 512);
	}
	b = go_out(sim, nat, inside(3, PORT), remote(1, 1));
	sim_expect(sim, (b.port - 1024) / 512 != (first.port - 1024) / 512);
	a = go_out(sim, nat, inside(2, PORT), remote(2, 1));
	sim_expect(sim, a.family == ADDR_NONE); /* its block is full */
	n->blocks_per_host = 2;
	sim_expect(sim, go_out(sim, nat, inside(2, PORT), remote(2, 1)).port != 0);
	/* All blocks are given away; those of hosts that are gone are given again. */
	for (unsigned i = 0; i < SIM_NAT_BLOCKS; i++)
		(void)go_out(sim, nat, inside(10 + i, PORT), remote(1, 1));
	sim_expect(sim, go_out(sim, nat, inside(9, PORT), remote(1, 1)).family == ADDR_NONE);
	sim_run(sim, CV_SEC(31));
	sim_expect(sim, go_out(sim, nat, inside(9, PORT), remote(1, 1)).port != 0);

	simnat_reboot(sim, nat, false);
	n->allocation = SIM_PRESERVE;
	n->fallback = SIM_RANDOM;
	sim_expect(sim, go_out(sim, nat, inside(2, PORT), remote(1, 1)).port == PORT);
	sim_expect(sim, go_out(sim, nat, inside(2, PORT), remote(1, 2)).port != PORT);
	simnat_reboot(sim, nat, true);
	n->allocation = SIM_PRESERVE;
	n->overloads = true;
	sim_expect(sim, go_out(sim, nat, inside(2, PORT), remote(1, 1)).port == PORT);
	sim_expect(sim, go_out(sim, nat, inside(2, PORT), remote(1, 2)).port == PORT);
	sim_expect(sim, go_out(sim, nat, inside(3, PORT), remote(1, 2)).port != PORT);
	b = n->address;
	b.port = PORT;
	sim_expect(sim, come_in(sim, nat, remote(1, 2), b));
	sim_expect(sim, !come_in(sim, nat, remote(1, 3), b));
}

/* A table that is full refuses, or gives up what nobody has used for longest. */
static void model_table(struct sim *sim)
{
	bool refuses = sim_variant(sim, 2) == 1;
	int nat = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);
	struct sim_nat *n = &sim->nats[nat];
	struct addr kept, gone;

	n->allocation = SIM_RANDOM;
	n->table_max = TABLE;
	n->refuses_new = refuses;
	kept = go_out(sim, nat, inside(2, PORT), remote(1, 1));
	gone = go_out(sim, nat, inside(2, PORT), remote(1, 2));
	sim_expect(sim, come_in(sim, nat, remote(1, 1), kept)); /* it has an answer */
	for (unsigned i = 0; i < TABLE - 2; i++)
		(void)go_out(sim, nat, inside(3, 1000 + i), remote(2, 80));
	sim_expect(sim, n->evicted == 0 && n->refused_new == 0);
	for (unsigned i = 0; i < SOCKETS; i++) {
		struct addr a = go_out(sim, nat, inside(4, 1000 + i), remote(2, 80));

		sim_expect(sim, (a.family == ADDR_NONE) == refuses);
	}
	sim_expect(sim, n->evicted == (refuses ? 0 : SOCKETS));
	sim_expect(sim, n->refused_new == (refuses ? SOCKETS : 0));
	sim_expect(sim, simnat_sessions(sim, nat) == TABLE && n->session_peak == TABLE);
	sim_expect(sim, come_in(sim, nat, remote(1, 1), kept));
	sim_expect(sim, come_in(sim, nat, remote(1, 2), gone) == refuses);
}

/* Others take ports, and room. */
static void model_noise(struct sim *sim)
{
	int nat = simnat_add(sim, SIM_APD, SIM_APD, SIM_ROOT);
	struct sim_nat *n = &sim->nats[nat];
	uint32_t sessions;
	int first, second;

	n->allocation = SIM_SEQUENTIAL;
	n->noise_rate = 20;
	(void)go_out(sim, nat, inside(2, PORT), remote(1, 1));
	first = go_out(sim, nat, inside(2, PORT), remote(1, 2)).port;
	sim_run(sim, CV_SEC(10));
	second = go_out(sim, nat, inside(2, PORT), remote(1, 3)).port;
	sim_expect(sim, second - first > 150 && second - first < 250);
	sim_run(sim, CV_SEC(1000));
	sessions = simnat_sessions(sim, nat);
	sim_expect(sim, sessions > 30 * 15 && sessions < 30 * 25);
}

/* How long: without an answer, with one, refreshed from within, from without, rebound. */
static void model_time(struct sim *sim)
{
	int nat = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);
	struct sim_nat *n = &sim->nats[nat];
	struct addr a, b;

	n->timeout_answered = CV_SEC(120);
	n->allocation = SIM_RANDOM;
	a = go_out(sim, nat, inside(2, PORT), remote(1, 1));
	(void)go_out(sim, nat, inside(2, PORT), remote(1, 2));
	sim_expect(sim, come_in(sim, nat, remote(1, 1), a));
	sim_run(sim, CV_SEC(31));
	sim_expect(sim, come_in(sim, nat, remote(1, 1), a));
	sim_expect(sim, !come_in(sim, nat, remote(1, 2), a)); /* its hole is closed */
	sim_run(sim, CV_SEC(88));
	sim_expect(sim, come_in(sim, nat, remote(1, 1), a));
	sim_run(sim, CV_SEC(2)); /* what came in did not count */
	sim_expect(sim, !come_in(sim, nat, remote(1, 1), a));

	n->inbound_refreshes = true;
	a = go_out(sim, nat, inside(2, PORT), remote(1, 1));
	for (unsigned i = 0; i < 10; i++) {
		sim_expect(sim, come_in(sim, nat, remote(1, 1), a));
		sim_run(sim, CV_SEC(100));
	}
	n->rebinds_after = CV_SEC(60);
	b = go_out(sim, nat, inside(2, PORT), remote(1, 1));
	sim_expect(sim, !addr_equal(&a, &b));
	sim_run(sim, CV_SEC(59));
	a = go_out(sim, nat, inside(2, PORT), remote(1, 1));
	sim_expect(sim, addr_equal(&a, &b));
	sim_run(sim, CV_SEC(2));
	a = go_out(sim, nat, inside(2, PORT), remote(1, 1));
	sim_expect(sim, !addr_equal(&a, &b) && !come_in(sim, nat, remote(1, 1), b));
	sim_expect(sim, come_in(sim, nat, remote(1, 1), a));
}

/* Who comes unasked is not let in for a while, asked or not; several public addresses. */
static void model_manners(struct sim *sim)
{
	int nat = simnat_add(sim, SIM_APD, SIM_APD, SIM_ROOT);
	struct sim_nat *n = &sim->nats[nat];
	unsigned addresses[3] = { 0 };
	struct addr a, b;

	n->blacklist = CV_SEC(20);
	n->allocation = SIM_RANDOM;
	a = n->address;
	a.port = PORT;
	sim_expect(sim, !come_in(sim, nat, remote(1, 1), a));
	a = go_out(sim, nat, inside(2, PORT), remote(1, 1));
	b = go_out(sim, nat, inside(2, PORT), remote(1, 2));
	sim_expect(sim, !come_in(sim, nat, remote(1, 1), a));
	sim_expect(sim, come_in(sim, nat, remote(1, 2), b));
	sim_run(sim, CV_SEC(21));
	sim_expect(sim, come_in(sim, nat, remote(1, 1), a));

	n->blacklist = 0;
	n->pool = 3;
	for (unsigned i = 0; i < 60; i++) {
		a = go_out(sim, nat, inside(2, PORT), remote(2, 1 + i));
		sim_expect(sim, simnat_has_address(n, &a));
		addresses[(a.ip[2] - n->address.ip[2]) / SIM_NATS_MAX]++;
	}
	sim_expect(sim, addresses[0] > 8 && addresses[1] > 8 && addresses[2] > 8);
	n->is_paired = true;
	a = go_out(sim, nat, inside(2, PORT), remote(3, 1));
	for (unsigned i = 0; i < 20; i++) {
		b = go_out(sim, nat, inside(2, PORT + i), remote(3, 2));
		sim_expect(sim, addr_equal_ip(&a, &b));
	}
}

/* ---- the way, between hosts that say nothing by themselves ---- */

static void send_to(struct sim *sim, struct sim_host *h, struct addr to, uint8_t ttl)
{
	static uint8_t bytes[64];

	simnet_send(sim, h,
	            &(struct train){ .bytes = bytes,
	                             .size = sizeof(bytes),
	                             .segment_size = sizeof(bytes),
	                             .count = 1,
	                             .ttl = ttl,
	                             .to = to });
	sim_run(sim, CV_MS(10));
}

static bool record(struct sim *sim, const struct sim_datagram *d)
{
	(void)d;
	sim->filter_count++;
	return false;
}

/* A datagram that may pass few routers makes a mapping and does not reach the other network. */
static void model_ttl(struct sim *sim)
{
	int nat = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);
	int other = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);
	struct sim_host *a = simhost_add_agent(sim, "a", nat, NULL);
	struct addr to = sim->nats[other].address;

	to.port = PORT;
	sim->nats[other].blacklist = CV_SEC(60);
	send_to(sim, a, to, 1);
	sim_expect(sim, sim->nats[nat].made == 0);
	send_to(sim, a, to, 2);
	sim_expect(sim, sim->nats[nat].made == 1);
	send_to(sim, a, to, SIM_HOPS + 2);
	sim_expect(sim, sim->nats[other].blacklisted == 0);
	send_to(sim, a, to, SIM_HOPS + 3);
	sim_expect(sim, sim->nats[other].blacklisted == 1);
	send_to(sim, a, to, 0);
	sim_expect(sim, simnat_sessions(sim, nat) == 1);
}

/* Two homes behind a carrier; with hairpin they reach each other by their outer names. */
static void model_carrier(struct sim *sim)
{
	bool hairpins = sim_variant(sim, 2) == 0;
	int carrier = simnat_add(sim, SIM_EI, SIM_EI, SIM_ROOT);
	int homes[2] = { simnat_add(sim, SIM_EI, SIM_EI, carrier),
		         simnat_add(sim, SIM_EI, SIM_EI, carrier) };
	struct sim_host *a = simhost_add_attacker(sim, NULL), *b;
	struct addr outer, elsewhere = remote(1, 1);

	/* Attackers are in the internet; these two are not. They have no core that might speak. */
	b = simhost_add_attacker(sim, NULL);
	simhost_move(sim, a, homes[0]);
	simhost_move(sim, b, homes[1]);
	sim->nats[carrier].hairpins = hairpins;
	send_to(sim, b, elsewhere, 0);
	sim_expect(sim, sim->nats[homes[1]].made == 1 && sim->nats[carrier].made == 1);
	outer = sim->nats[homes[1]].address;
	outer.port = SIM_PORT;
	outer = go_out(sim, carrier, outer, elsewhere);
	sim->filter = record;
	send_to(sim, a, outer, 0);
	sim_expect(sim, sim->filter_count == 1);
	sim_expect(sim, sim->nats[carrier].made == (hairpins ? 2 : 1));
}

/* IPv6 is filtered, not translated. */
static void model_v6(struct sim *sim)
{
	static const enum sim_rule rules[] = { SIM_EI, SIM_AD, SIM_APD };
	enum sim_rule filtering = rules[sim_variant(sim, 3)];
	int nat = simnat_add(sim, SIM_APD, SIM_APD, SIM_ROOT);
	struct addr a = { .family = ADDR_V6, .port = PORT, .ip = { 0x2a, [15] = 1 } };
	struct addr b = { .family = ADDR_V6, .port = 1, .ip = { 0x2a, [15] = 2 } }, c = b, d = b,
		    out;

	c.port = 2;
	d.ip[15] = 3;
	sim->nats[nat].filtering6 = filtering;
	sim_expect(sim, !come_in(sim, nat, b, a));
	out = go_out(sim, nat, a, b);
	sim_expect(sim, addr_equal(&out, &a));
	sim_expect(sim, come_in(sim, nat, b, a));
	sim_expect(sim, come_in(sim, nat, c, a) == (filtering != SIM_APD));
	sim_expect(sim, come_in(sim, nat, d, a) == (filtering == SIM_EI));
}

const struct sim_case CASES_MODELS[] = {
	{ "model-rules", model_rules, "who shares a port, who is let in", 9 },
	{ "model-ports", model_ports, "steps, blocks, ranges, ports preserved", 0 },
	{ "model-table", model_table, "1,024 entries: the oldest goes, or the new one", 2 },
	{ "model-noise", model_noise, "other hosts behind the same router", 0 },
	{ "model-time", model_time, "timeouts, refresh, a new port every 60 s", 0 },
	{ "model-manners", model_manners, "who is blacklisted; several public addresses", 0 },
	{ "model-ttl", model_ttl, "few routers: past the own one, not to the peer's", 0 },
	{ "model-carrier", model_carrier, "two homes behind a carrier, with hairpin and not", 2 },
	{ "model-v6", model_v6, "a firewall before IPv6", 3 },
	{ NULL, NULL, NULL, 0 },
};

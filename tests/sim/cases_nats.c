/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

/*
 * Which routers can be passed (S19, S20, S41). A cell of the grid says what must
 * come of a pair:
 *
 *	D  direct, with no more than what a server sees
 *	p  direct, once ports are predicted: one side's allocation is regular
 *	h  direct, once one side sprays and the other opens sockets: one side's address is known
 *	u  as h, but one server cannot tell a mapping by address from an independent one: when both
 *	   sides suspect theirs, nothing is tried
 *	?  nobody knows the other's port: the relay will do
 */

static const struct sim_link LINK = { .delay = CV_MS(6) }; /* round trip by the server: 48 ms */

/* Whether the core does that; else p and h mean ?. */
static const bool PREDICTS = true, SPRAYS = true;

enum kind { PUBLIC, EI_EI, EI_AD, EI_APD, APD_EI, APD_AD, APD_APD, APD_STEPS, AD_AD, KINDS };

static const struct {
	const char *name;
	enum sim_rule mapping, filtering;
	enum sim_allocation allocation;
} kinds[KINDS] = {
	[PUBLIC] = { "public", SIM_EI, SIM_EI, SIM_RANDOM },
	[EI_EI] = { "EIM+EIF", SIM_EI, SIM_EI, SIM_RANDOM },
	[EI_AD] = { "EIM+ADF", SIM_EI, SIM_AD, SIM_RANDOM },
	[EI_APD] = { "EIM+APDF", SIM_EI, SIM_APD, SIM_RANDOM },
	[APD_EI] = { "APDM+EIF", SIM_APD, SIM_EI, SIM_RANDOM },
	[APD_AD] = { "APDM+ADF", SIM_APD, SIM_AD, SIM_RANDOM },
	[APD_APD] = { "APDM+APDF", SIM_APD, SIM_APD, SIM_RANDOM },
	[APD_STEPS] = { "APDM+APDF, in steps", SIM_APD, SIM_APD, SIM_SEQUENTIAL },
	[AD_AD] = { "ADM+ADF", SIM_AD, SIM_AD, SIM_RANDOM },
};

/* clang-format off */
static const char grid[KINDS][KINDS + 1] = {
	/*              P E A R e a r s m */
	[PUBLIC] =    "DDDDDDDDD",
	[EI_EI] =     "DDDDDDDDD",
	[EI_AD] =     "DDDDDDDDD",
	[EI_APD] =    "DDDDhhhpu",
	[APD_EI] =    "DDDhDD??D",
	[APD_AD] =    "DDDhD????",
	[APD_APD] =   "DDDh?????",
	[APD_STEPS] = "DDDp???p?",
	[AD_AD] =     "DDDuD????",
};
/* clang-format on */

static int add_kind(struct sim *sim, enum kind kind)
{
	int nat;

	if (kind == PUBLIC)
		return SIM_ROOT;
	nat = simnat_add(sim, kinds[kind].mapping, kinds[kind].filtering, SIM_ROOT);
	sim->nats[nat].allocation = kinds[kind].allocation;
	return nat;
}

static bool must_be_direct(char cell)
{
	return cell == 'D' || (cell == 'p' && PREDICTS) || (cell == 'h' && SPRAYS);
}

/* How long after the start both may be on the relay: cone pairs a second, predicted ones three. One
 * birthday in twenty fails, and the next attempt follows by itself. */
static cv_duration patience(char cell)
{
	return cell == 'D' ? CV_SEC(1) : cell == 'p' ? CV_SEC(3) : CV_SEC(150);
}

/* From now; @bound when it does not come to that. */
static cv_duration until_direct(struct sim *sim, cv_duration bound)
{
	cv_time begun_at = sim->now;

	while (!sim->has_failed && sim->now < begun_at + bound && !simworld_is_direct(sim))
		sim_run(sim, CV_MS(10));
	return sim->now - begun_at;
}

/* S20: every pair: data at once, direct where it can be, and it stays so. */
static void nat_grid(struct sim *sim)
{
	unsigned v = sim_variant(sim, KINDS * KINDS);
	char cell = grid[v / KINDS][v % KINDS], what[80];
	int a = add_kind(sim, (enum kind)(v / KINDS)), b = add_kind(sim, (enum kind)(v % KINDS));

	cv_duration after;

	simworld_add(sim, a, b, &LINK, &LINK);
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 100000, 100000);
	after = until_direct(sim, must_be_direct(cell) ? CV_SEC(200) : CV_SEC(60));
	(void)snprintf(what, sizeof(what), "%s with %s: direct, ms", kinds[v / KINDS].name,
	               kinds[v % KINDS].name);
	if (must_be_direct(cell))
		sim_most(sim, what, after / CV_MS(1), patience(cell) / CV_MS(1),
		         patience(cell) / CV_MS(1));
	else
		sim_most(sim, what, after / CV_MS(1), 0, 0);
	sim_until(sim, CV_SEC(3), simapp_are_done, "the transfer");
	sim_run(sim, CV_SEC(60));
	sim_expect(sim,
	           simworld_is_direct(sim) || (!must_be_direct(cell) && simworld_is_relayed(sim)));
	simworld_transfer(sim, 1, 0, 1000, 1000);
	sim_until(sim, CV_SEC(1), simapp_are_done, "a stream after a minute");
	simworld_check_whole(sim);
}

/* ---- places ---- */

static void expect_path(struct sim *sim, const char *kind)
{
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 100000, 100000);
	sim_until(sim, CV_SEC(3), simapp_are_done, "the transfer");
	sim_run(sim, CV_SEC(2));
	sim_expect(sim, simworld_is_path(sim, kind));
	simworld_check_whole(sim);
}

/* Behind one router: by the LAN, whether it hairpins or not; if hosts must not talk to each other
 * there, by its outside if it hairpins. */
static bool forbid_lan(struct sim *sim, const struct sim_datagram *d)
{
	return d->from < 2 && d->dst.ip[0] == 192 && sim->hosts[0].zone == sim->hosts[1].zone;
}

static void same_nat(struct sim *sim)
{
	unsigned v = sim_variant(sim, 4);
	bool hairpins = v & 1, is_isolated = v & 2;
	int nat = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);

	sim->nats[nat].hairpins = hairpins;
	sim->filter = is_isolated ? forbid_lan : NULL;
	simworld_add(sim, nat, nat, &LINK, &LINK);
	expect_path(sim, !is_isolated ? "lan" : hairpins ? "direct" : "relay");
}

/* Two homes of one carrier: through its hairpin, or by the relay. */
static void same_carrier(struct sim *sim)
{
	bool hairpins = sim_variant(sim, 2) == 1;
	int carrier = simnat_add(sim, SIM_EI, SIM_EI, SIM_ROOT);
	int a = simnat_add(sim, SIM_EI, SIM_APD, carrier);
	int b = simnat_add(sim, SIM_EI, SIM_APD, carrier);

	sim->nats[carrier].hairpins = hairpins;
	sim->nats[carrier].allocation = SIM_BLOCKS;
	sim->nats[carrier].block_size = 512;
	simworld_add(sim, a, b, &LINK, &LINK);
	expect_path(sim, hairpins ? "direct" : "relay");
}

/* A home behind a carrier, against each kind. */
static void carrier(struct sim *sim)
{
	unsigned v = sim_variant(sim, EI_APD + 1);
	int outer = simnat_add(sim, SIM_EI, SIM_EI, SIM_ROOT);
	int a = simnat_add(sim, SIM_EI, SIM_APD, outer);
	int b = add_kind(sim, (enum kind)v);

	sim->nats[outer].allocation = SIM_BLOCKS;
	sim->nats[outer].block_size = 512;
	sim->nats[outer].hops = 3;
	simworld_add(sim, a, b, &LINK, &LINK);
	expect_path(sim, "direct");
}

/* ---- IPv6 ---- */

/* Firewalls open for who writes first, so both must (RFC 6092). Variants: both stacks, IPv6 only on
 * one side, IPv6 only against IPv4 only, IPv4 black-holed. */
static bool forbid_v4(struct sim *sim, const struct sim_datagram *d)
{
	return d->from == (int)sim->filter_arg && d->dst.family == ADDR_V4;
}

static void stacks(struct sim *sim)
{
	unsigned v = sim_variant(sim, 4);
	int a = simnat_add(sim, SIM_APD, SIM_APD, SIM_ROOT);
	int b = simnat_add(sim, SIM_APD, SIM_APD, SIM_ROOT);

	sim->nats[a].allocation = sim->nats[b].allocation = SIM_RANDOM;
	simworld_add(sim, a, b, &LINK, &LINK);
	simhost_add_v6(&sim->hosts[0], v == 1 || v == 2);
	simhost_add_v6(&sim->hosts[2], false);
	if (v != 2)
		simhost_add_v6(&sim->hosts[1], false);
	sim->filter = v == 3 ? forbid_v4 : NULL;
	expect_path(sim, v == 2 ? "relay" : "direct");
}

/* S41: one side loses its IPv6 address in mid-transfer, then gets it back. */
static void loses_v6(struct sim *sim)
{
	int a = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);
	int b = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);
	struct addr before;

	simworld_add(sim, a, b, &LINK, &LINK);
	for (int i = 0; i < 3; i++)
		simhost_add_v6(&sim->hosts[i], false);
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 1000, 1000);
	sim_until(sim, CV_SEC(2), simworld_is_direct, "a direct path");
	before = sim->hosts[0].address6;
	for (unsigned i = 0; i < 2; i++) {
		simworld_transfer(sim, 0, 1, 2000000, 2000000);
		sim_run(sim, CV_MS(200));
		sim->hosts[0].address6 = i == 0 ? (struct addr){ 0 } : before;
		simhost_move(sim, &sim->hosts[0], a);
		sim_until(sim, CV_SEC(8), simapp_are_done, "the transfer");
		sim_until(sim, CV_SEC(5), simworld_is_direct, "a direct path again");
	}
	simworld_check_whole(sim);
}

/* ---- time ---- */

/* S19: a NAT forgets after 30, 60, 120 s; idle for ten minutes, then data: within 2 s. */
static void idle(struct sim *sim)
{
	static const cv_duration timeouts[] = { CV_SEC(30), CV_SEC(60), CV_SEC(120) };
	unsigned v = sim_variant(sim, 6);
	int a = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);
	int b = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);

	sim->nats[a].timeout = sim->nats[b].timeout = timeouts[v % 3];
	sim->nats[a].allocation = sim->nats[b].allocation = SIM_RANDOM;
	sim->nats[a].inbound_refreshes = v >= 3;
	simworld_add(sim, a, b, &LINK, &LINK);
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 1000, 1000);
	for (int i = 0; i < 3 && !sim->has_failed; i++) {
		sim_run(sim, CV_SEC(600) + sim_below(sim, CV_SEC(30)));
		sim_expect(sim, simworld_is_direct(sim));
		simworld_transfer(sim, i & 1, ~i & 1, 1000, 1000);
		sim_until(sim, CV_SEC(2), simapp_are_done, "a stream after ten minutes");
	}
	simworld_check_whole(sim);
}

/* A mapping gets another port every 60 s, whatever flows. */
static void rebinds(struct sim *sim)
{
	int a = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);
	int b = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);

	sim->nats[a].allocation = sim->nats[b].allocation = SIM_RANDOM;
	sim->nats[a].rebinds_after = CV_SEC(60);
	sim->nats[b].rebinds_after = sim_variant(sim, 2) ? CV_SEC(60) : 0;
	simworld_add(sim, a, b, &LINK, &LINK);
	simhost_start_all(sim);
	for (int i = 0; i < 10 && !sim->has_failed; i++) {
		struct sim_flow *f = simworld_transfer(sim, 0, 1, 200000, 200000);

		f->side[0].chunk = f->side[1].chunk = 80; /* about a minute */
		sim_run(sim, CV_SEC(45));
	}
	sim_until(sim, CV_SEC(30), simapp_are_done, "transfers over changing ports");
	sim_until(sim, CV_SEC(5), simworld_is_direct, "a direct path");
	simworld_check_whole(sim);
}

/* ---- tables and manners ---- */

/* A table of 64 entries with others that use it; full, it refuses or evicts. */
static void small_table(struct sim *sim)
{
	int a = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);
	int b = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);

	sim->nats[a].table_max = 64;
	sim->nats[a].noise_rate = sim_variant(sim, 2) ? 1 : 4; /* 30 of 64, and too many */
	sim->nats[a].refuses_new = sim_variant(sim, 2) == 1;
	simworld_add(sim, a, b, &LINK, &LINK);
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 100000, 100000);
	sim_until(sim, CV_SEC(3), simworld_is_direct, "a direct path");
	sim_until(sim, CV_SEC(5), simapp_are_done, "the transfer");
	sim_run(sim, CV_SEC(300));
	simworld_transfer(sim, 0, 1, 1000, 1000);
	sim_until(sim, CV_SEC(2), simapp_are_done, "a stream after five minutes");
	simworld_check_whole(sim);
}

/* Three public addresses, drawn for each mapping, or one for each host. */
static void pool(struct sim *sim)
{
	bool is_paired = sim_variant(sim, 2) == 1;
	int a = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);
	int b = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);

	sim->nats[a].pool = sim->nats[b].pool = 3;
	sim->nats[a].is_paired = sim->nats[b].is_paired = is_paired;
	sim->nats[a].allocation = sim->nats[b].allocation = SIM_RANDOM;
	simworld_add(sim, a, b, &LINK, &LINK);
	/* Endpoint-independent: one mapping has one address. */
	expect_path(sim, "direct");
}

/* Who writes first is not let in for 20 s, asked or not; or gets ICMP. Data flow all the same. */
static void strict(struct sim *sim)
{
	unsigned v = sim_variant(sim, 3);
	int a = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);
	int b = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);

	if (v < 2)
		sim->nats[a].blacklist = CV_SEC(20);
	if (v == 1)
		sim->nats[b].blacklist = CV_SEC(20);
	sim->nats[a].refuses = sim->nats[b].refuses = v == 2;
	simworld_add(sim, a, b, &LINK, &LINK);
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 100000, 100000);
	sim_until(sim, CV_SEC(3), simapp_are_done, "the transfer");
	sim_until(sim, CV_SEC(120), simworld_is_direct, "a direct path");
	sim_most(sim, "direct after, ms", (sim->now - SIM_START) / CV_MS(1), 0, 0);
	simworld_check_whole(sim);
}

const struct sim_case CASES_NATS[] = {
	{ "nat-grid", nat_grid, "S20: nine kinds against nine", KINDS *KINDS },
	{ "nat-same", same_nat, "S20: one NAT, with hairpin, with hosts isolated", 4 },
	{ "nat-carrier", carrier, "S20: a carrier's NAT behind the home's", EI_APD + 1 },
	{ "nat-same-carrier", same_carrier, "S20: two homes of one carrier", 2 },
	{ "nat-stacks", stacks, "3.5: IPv6 through firewalls, IPv6 only, IPv4 black-holed", 4 },
	{ "nat-loses-v6", loses_v6, "S41: from IPv6 to IPv4 and back", 0 },
	{ "nat-idle", idle, "S19: timeouts of 30, 60, 120 s", 6 },
	{ "nat-rebinds", rebinds, "3.5: a new port every 60 s", 2 },
	{ "nat-small-table", small_table, "3.5: a table of 64 entries with others in it", 2 },
	{ "nat-pool", pool, "3.5: arbitrary pooling", 2 },
	{ "nat-strict", strict, "3.5: blacklists, ICMP", 3 },
	{ NULL, NULL, NULL, 0 },
};

/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <string.h>

/* Ways to a peer: relay, punching, moves between paths, narrow ones. */

static const struct sim_link NEAR = { .delay = CV_US(2500) };
static const struct sim_link FAR = { .delay = CV_MS(95) };
static const struct sim_link MIDDLE = { .delay = CV_MS(10) };

static void block(struct sim *sim, bool is_blocked)
{
	sim->blocked[0][1] = sim->blocked[1][0] = is_blocked;
}

/* S20: NATs that map by the inside alone meet directly, whatever they filter. */
static void nat_pairs(struct sim *sim)
{
	static const enum sim_rule rules[] = { SIM_EI, SIM_AD, SIM_APD };
	static const enum sim_allocation ways[] = { SIM_PRESERVE, SIM_SEQUENTIAL, SIM_RANDOM };
	unsigned v = sim_variant(sim, 27);
	int a = simnat_add(sim, SIM_EI, rules[v % 3], SIM_ROOT);
	int b = simnat_add(sim, SIM_EI, rules[v / 3 % 3], SIM_ROOT);

	sim->nats[a].allocation = sim->nats[b].allocation = ways[v / 9];
	simworld_add(sim, a, b, &MIDDLE, &MIDDLE);
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 100000, 100000);
	if (!sim_until(sim, CV_SEC(1), simworld_is_direct, "a direct path") ||
	    !sim_until(sim, CV_SEC(5), simapp_are_done, "the transfer"))
		return;
	simworld_check_whole(sim);
	sim_run(sim, CV_SEC(300));
	sim_expect(sim, simworld_is_direct(sim)); /* keepalives hold the mappings */
	simworld_transfer(sim, 1, 0, 1000, 1000);
	sim_until(sim, CV_SEC(1), simapp_are_done, "a stream after 300 s of idling");
	simworld_check_whole(sim);
}

/* NATs that map by destination and filter by it cannot meet: the relay carries. */
static void nat_symmetric(struct sim *sim)
{
	int a = simnat_add(sim, SIM_APD, SIM_APD, SIM_ROOT);
	int b = simnat_add(sim, SIM_APD, SIM_APD, SIM_ROOT);

	sim->nats[a].allocation = sim->nats[b].allocation = SIM_RANDOM;
	simworld_add(sim, a, b, &MIDDLE, &MIDDLE);
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 100000, 100000);
	sim_until(sim, CV_SEC(10), simapp_are_done, "the transfer");
	sim_expect(sim, simworld_is_relayed(sim));
	simworld_check_whole(sim);
}

static bool is_lan(struct sim *sim)
{
	return simworld_is_path(sim, "lan");
}

/* Two NATs one behind the other, and two agents behind one: the LAN's own addresses. */
static void nat_nested(struct sim *sim)
{
	bool is_same = sim_variant(sim, 2) == 1;
	int outer = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);
	int a = simnat_add(sim, SIM_EI, SIM_APD, outer);
	int b = is_same ? a : simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);

	simworld_add(sim, a, b, &MIDDLE, &MIDDLE);
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 100000, 100000);
	sim_until(sim, CV_SEC(5), simapp_are_done, "the transfer");
	sim_until(sim, CV_SEC(1) - (sim->now - SIM_START), is_same ? is_lan : simworld_is_direct,
	          "the best path within a second of the start");
	simworld_check_whole(sim);
}

/* ---- policy ---- */

static bool forbid_direct(struct sim *sim, const struct sim_datagram *d)
{
	if (d->from < 2 && !addr_equal_ip(&d->dst, &sim->hosts[2].address))
		sim_fail(sim, "relay only, yet %s writes to the other", sim->hosts[d->from].name);
	return false;
}

/* One side says `relay`: not a byte goes directly, and nobody learns an address. */
static void relay_only(struct sim *sim)
{
	simworld_add(sim, SIM_ROOT, SIM_ROOT, &MIDDLE, &MIDDLE);
	sim->hosts[sim_variant(sim, 2)].policy = POLICY_RELAY;
	sim->tap = forbid_direct;
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 300000, 300000);
	sim_until(sim, CV_SEC(20), simapp_are_done, "the transfer");
	sim_expect(sim, simworld_is_relayed(sim));
	simworld_check_whole(sim);
}

/* The NAT of a relayed agent forgets it in mid-transfer (rule 2.4). */
static void relay_rebinds(struct sim *sim)
{
	int nat = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);

	simworld_add(sim, nat, SIM_ROOT, &MIDDLE, &MIDDLE);
	sim->hosts[0].policy = POLICY_RELAY;
	simhost_start_all(sim);
	sim_run(sim, CV_SEC(2));
	simworld_transfer(sim, sim_variant(sim, 2) ? 1 : 0, sim_variant(sim, 2) ? 0 : 1, 200000, 0);
	for (int i = 0; i < 3; i++) {
		sim_run(sim, CV_MS(60));
		simnat_reboot(sim, nat, i == 1);
	}
	sim_until(sim, CV_SEC(8), simapp_are_done, "the transfer after three new addresses");
	simworld_check_whole(sim);
}

/* S18: the same on a direct path, both sides at once. */
static void direct_rebinds(struct sim *sim)
{
	int a = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);
	int b = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);

	simworld_add(sim, a, b, &MIDDLE, &MIDDLE);
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 100, 100);
	sim_until(sim, CV_SEC(2), simworld_is_direct, "a direct path");
	simworld_transfer(sim, 0, 1, 2000000, 2000000);
	sim_run(sim, CV_MS(200));
	simnat_reboot(sim, a, true);
	if (sim_variant(sim, 2))
		simnat_reboot(sim, b, false);
	sim_until(sim, CV_SEC(15), simapp_are_done, "the transfer after new addresses");
	sim_until(sim, CV_SEC(10), simworld_is_direct, "a direct path again");
	simworld_check_whole(sim);
}

/* ---- the server goes ---- */

static void server_stops(struct sim *sim)
{
	simworld_add(sim, SIM_ROOT, SIM_ROOT, &MIDDLE, &MIDDLE);
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 100, 100);
	sim_until(sim, CV_SEC(2), simworld_is_direct, "a direct path");
	simworld_transfer(sim, 0, 1, 3000000, 3000000);
	sim_run(sim, CV_MS(200));
	simhost_kill(sim, &sim->hosts[2], sim_variant(sim, 2) == 1);
	sim_until(sim, CV_SEC(4), simapp_are_done, "a transfer that the server is no part of");
	sim_run(sim, CV_SEC(400));
	simworld_transfer(sim, 1, 0, 1000, 1000);
	sim_until(sim, CV_MS(500), simapp_are_done, "a stream without a server");
	simhost_start(sim, &sim->hosts[2]);
	sim_run(sim, CV_SEC(70));
	sim_expect(sim, sim->hosts[0].server_ups >= 2 && sim->hosts[1].server_ups >= 2);
	simworld_check_whole(sim);
}

/* S13 and back: the direct path dies in mid-transfer, the relay takes over, the direct returns. */
static void direct_dies(struct sim *sim)
{
	simworld_add(sim, SIM_ROOT, SIM_ROOT, &MIDDLE, &MIDDLE);
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 100, 100);
	sim_until(sim, CV_SEC(2), simworld_is_direct, "a direct path");
	simworld_transfer(sim, 0, 1, 1000000, 1000000);
	sim_run(sim, CV_MS(100));
	block(sim, true);
	sim_until(sim, CV_SEC(7), simworld_is_relayed, "the relay");
	sim_until(sim, CV_SEC(10), simapp_are_done, "the transfer");
	block(sim, false);
	sim_until(sim, CV_SEC(65), simworld_is_direct, "the direct path again");
	simworld_check_whole(sim);
}

/* ---- moves ---- */

static bool has_begun(struct sim *sim)
{
	return sim->flows[0].side[1].read > 50000;
}

/* A flight is out on a path of 200 ms when one of 5 ms appears; and back. */
static void slow_to_fast(struct sim *sim)
{
	simworld_add(sim, SIM_ROOT, SIM_ROOT, &NEAR, &FAR);
	block(sim, true);
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 3000000, 0);
	sim_until(sim, CV_SEC(10), has_begun, "data on the slow path");
	sim_expect(sim, simworld_is_relayed(sim));
	block(sim, false);
	sim_until(sim, CV_SEC(65), simworld_is_direct, "the fast path");
	simworld_transfer(sim, 0, 1, 3000000, 3000000);
	sim_run(sim, CV_MS(50));
	block(sim, true);
	sim_until(sim, CV_SEC(60), simapp_are_done, "both transfers");
	simworld_check_whole(sim);
}

/* ---- probes ---- */

static bool lose_probes(struct sim *sim, const struct sim_datagram *d)
{
	unsigned kind = d->bytes[0] & WIRE_KIND_MASK;

	return kind == WIRE_PROBE && d->from < 2 &&
	       !addr_equal_ip(&d->dst, &sim->hosts[2].address) && sim->filter_arg > 0 &&
	       sim->filter_arg-- > 0;
}

/* 1,000 probes get lost while data move: they have numbers of their own. */
static void lost_probes(struct sim *sim)
{
	struct sim_link slow = MIDDLE;

	slow.rate = 200000;
	simworld_add(sim, SIM_ROOT, SIM_ROOT, &slow, &MIDDLE);
	sim->filter = lose_probes;
	sim->filter_arg = 1000;
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 3000000, 0);
	for (int i = 0; i < 150 && !sim->has_failed; i++) {
		struct sim_host *h = &sim->hosts[i & 1];

		/* What an interface that flaps does: every candidate is probed anew. */
		sim_run(sim, CV_MS(100));
		endpoint_on_turn(h->endpoint, sim->now);
		endpoint_set_local_addresses(h->endpoint, sim->now, &h->address, 1);
		simhost_poke(sim, h);
	}
	sim_until(sim, CV_SEC(15), simapp_are_done, "the transfer");
	simworld_check_whole(sim);
}

/* S27: small probes pass directly, 1,200 bytes do not: a black hole is no path. */
static void narrow(struct sim *sim)
{
	simworld_add(sim, SIM_ROOT, SIM_ROOT, &MIDDLE, &MIDDLE);
	sim->pair_mtu[0][1] = sim_variant(sim, 3) == 1 ? 0 : 1100;
	sim->pair_mtu[1][0] = sim_variant(sim, 3) == 2 ? 0 : 100;
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 300000, 300000);
	sim_until(sim, CV_SEC(8), simapp_are_done, "the transfer");
	sim_expect(sim, simworld_is_relayed(sim));
	simworld_check_whole(sim);
}

/* The path shrinks in mid-transfer, nobody says so. */
static void shrinks(struct sim *sim)
{
	simworld_add(sim, SIM_ROOT, SIM_ROOT, &MIDDLE, &MIDDLE);
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 100, 100);
	sim_until(sim, CV_SEC(2), simworld_is_direct, "a direct path");
	sim_run(sim, CV_SEC(10)); /* the search ends at 1,472 */
	simworld_transfer(sim, 0, 1, 1000000, 1000000);
	sim_run(sim, CV_MS(100));
	sim->pair_mtu[0][1] = sim->pair_mtu[1][0] = 1300;
	sim_until(sim, CV_SEC(8), simapp_are_done, "the transfer through less");
	simworld_check_whole(sim);
}

/* ---- quota ---- */

/* S52: the quota is spent, then keys are due, then punching becomes possible. */
static void quota(struct sim *sim)
{
	simworld_add(sim, SIM_ROOT, SIM_ROOT, &MIDDLE, &MIDDLE);
	sim->hosts[2].relay_rate = 20000;
	block(sim, true);
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 4000000, 0);
	sim_run(sim, CV_SEC(170));
	sim_expect(sim, simworld_is_relayed(sim));
	sim_expect(sim, sim->flows[0].side[1].read > 1000000);
	block(sim, false);
	sim_until(sim, CV_SEC(65), simworld_is_direct, "a direct path");
	sim_until(sim, CV_SEC(10), simapp_are_done, "the transfer");
	simworld_check_whole(sim);
}

/* A server that lends no relay: agents that cannot meet stay in touch, quietly, for as long as it
 * takes; not a byte of a stream goes before there is a direct way, or the server lends it after
 * all.
 */
static void not_lent(struct sim *sim)
{
	bool is_direct_in_the_end = sim_variant(sim, 2);
	struct endpoint_peer_stats stats;

	simworld_add(sim, SIM_ROOT, SIM_ROOT, &MIDDLE, &MIDDLE);
	sim->hosts[2].lends_no_relay = true;
	block(sim, true);
	simhost_start_all(sim);
	if (!sim_until(sim, CV_SEC(2), simworld_is_relayed, "a session"))
		return;
	simworld_transfer(sim, 0, 1, 100000, 100000);
	for (unsigned i = 0; i < 600 && !sim->has_failed; i++) {
		sim_run(sim, CV_SEC(1));
		sim_expect(sim, simworld_is_relayed(sim));
		for (int k = 0; k < 2; k++) {
			simhost_stats(sim, &sim->hosts[k], &sim->hosts[!k], &stats);
			sim_expect(sim, strstr(stats.why, "the server lends no relay") != NULL);
		}
	}
	sim_expect(sim, sim->flows[0].side[1].read == 0);
	sim_expect(sim, sim->hosts[0].ups[1] == 1 && sim->hosts[0].downs[1] == 0);
	if (is_direct_in_the_end) {
		block(sim, false);
		sim_until(sim, CV_SEC(65), simworld_is_direct, "a direct path");
	} else {
		simhost_lend_relay(sim, &sim->hosts[2]);
	}
	sim_until(sim, CV_SEC(5), simapp_are_done, "the transfer");
	simworld_check_whole(sim);
}

const struct sim_case CASES_PATHS[] = {
	{ "nat-pairs", nat_pairs, "S20: endpoint-independent NATs become direct", 27 },
	{ "nat-symmetric", nat_symmetric, "S20: random ports on both sides: relay", 0 },
	{ "nat-nested", nat_nested, "S20: behind two NATs; behind the same ones", 2 },
	{ "relay-only", relay_only, "policy relay: not a byte goes directly", 2 },
	{ "relay-not-lent", not_lent, "a server without a relay: quiet, and nothing flows", 2 },
	{ "relay-rebinds", relay_rebinds, "new addresses of a relayed agent", 2 },
	{ "direct-rebinds", direct_rebinds, "S18: new addresses on a direct path", 2 },
	{ "server-stops", server_stops, "S15: a direct path needs no server", 2 },
	{ "direct-dies", direct_dies, "S13: the relay takes over, the direct path returns", 0 },
	{ "slow-to-fast", slow_to_fast, "from a path of 200 ms to one of 5 ms, and back", 0 },
	{ "lost-probes", lost_probes, "1,000 lost probes during a transfer", 0 },
	{ "narrow", narrow, "S27: 64 bytes pass, 1,200 do not", 3 },
	{ "shrinks", shrinks, "S27: the path shrinks to 1,300 bytes", 0 },
	{ "quota", quota, "S52: quota spent, then a rekey, then punching", 0 },
	{ NULL, NULL, NULL, 0 },
};

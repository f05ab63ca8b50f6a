/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

/* Ways that fail and come back: one direction, the server, the server's address, routers that
 * forget at a bad moment, sleep behind them, sizes that do not pass. */

static const struct sim_link LINK = { .delay = CV_MS(10) };

enum { SERVER = 2 };

static void block(struct sim *sim, int from, int to, bool is_blocked)
{
	sim->blocked[from][to] = is_blocked;
}

static void block_both(struct sim *sim, bool is_blocked)
{
	block(sim, 0, 1, is_blocked);
	block(sim, 1, 0, is_blocked);
}

static void add_pair(struct sim *sim)
{
	struct sim_host *a = simhost_add_agent(sim, "a", SIM_ROOT, &LINK);
	struct sim_host *b = simhost_add_agent(sim, "b", SIM_ROOT, &LINK);

	simhost_know(a, b, true);
	simhost_know(b, a, true);
	simhost_start_all(sim);
}

static bool begin_direct(struct sim *sim)
{
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 1000, 1000);
	return sim_until(sim, CV_SEC(2), simworld_is_direct, "a direct path") &&
	       sim_until(sim, CV_SEC(1), simapp_are_done, "the first stream");
}

/* ---- S10: one way ---- */

/* From the start; nobody takes for connected what only half is. */
static void one_way_start(struct sim *sim)
{
	unsigned way = sim_variant(sim, 2);

	add_pair(sim);
	block(sim, (int)way, (int)!way, true);
	sim_run(sim, CV_SEC(20));
	sim_expect(sim, !simhost_is_up(&sim->hosts[0], &sim->hosts[1]));
	sim_expect(sim, !simhost_is_up(&sim->hosts[1], &sim->hosts[0]));
	block(sim, (int)way, (int)!way, false);
	simworld_transfer(sim, 0, 1, 1000, 1000);
	simworld_transfer(sim, 1, 0, 1000, 1000);
	sim_until(sim, CV_SEC(7), simapp_are_done, "streams once both ways are open");
	simworld_check_whole(sim);
}

/* With a server: the relay carries both ways, from the start or from mid-transfer on. */
static void one_way_relayed(struct sim *sim)
{
	unsigned v = sim_variant(sim, 4);
	int from = (int)(v & 1), to = !from;

	simworld_add(sim, SIM_ROOT, SIM_ROOT, &LINK, &LINK);
	if (v < 2) {
		block(sim, from, to, true);
		simhost_start_all(sim);
		simworld_transfer(sim, 0, 1, 300000, 300000);
		sim_until(sim, CV_SEC(5), simapp_are_done, "the transfer");
	} else if (begin_direct(sim)) {
		simworld_transfer(sim, 0, 1, 2000000, 2000000);
		sim_run(sim, CV_MS(150));
		block(sim, from, to, true);
		sim_until(sim, CV_SEC(7), simworld_is_relayed, "the relay");
		sim_until(sim, CV_SEC(10), simapp_are_done, "the transfer");
	}
	sim_run(sim, CV_SEC(5));
	sim_expect(sim, simworld_is_relayed(sim));
	block(sim, from, to, false);
	sim_until(sim, CV_SEC(65), simworld_is_direct, "the direct path");
	simworld_check_whole(sim);
}

/* Only the relay exists, and it carries one way for ten seconds. */
static void one_way_relay(struct sim *sim)
{
	unsigned v = sim_variant(sim, 2);
	int from = v ? SERVER : 1, to = v ? 1 : SERVER;

	simworld_add(sim, SIM_ROOT, SIM_ROOT, &LINK, &LINK);
	sim->hosts[0].policy = POLICY_RELAY;
	simhost_start_all(sim);
	sim_run(sim, CV_SEC(1));
	simworld_transfer(sim, 0, 1, 2000000, 2000000);
	sim_run(sim, CV_MS(150));
	block(sim, from, to, true);
	sim_run(sim, CV_SEC(10));
	block(sim, from, to, false);
	sim_until(sim, CV_SEC(7), simapp_are_done, "the transfer");
	simworld_check_whole(sim);
}

/* ---- S11: both ways ---- */

/* Longer than streams wait: both ends are told, and new ones work. */
static void too_long(struct sim *sim)
{
	struct sim_flow *f;

	add_pair(sim);
	f = simworld_transfer(sim, 0, 1, 600000, 0);
	f->side[1].is_patient = true;
	f->may_reset = true;
	sim_run(sim, CV_SEC(2));
	block_both(sim, true);
	sim_run(sim, CV_SEC(295));
	sim_expect(sim, !f->side[0].is_reset && !f->side[1].is_reset);
	sim_run(sim, CV_SEC(15));
	sim_expect(sim, f->side[0].is_reset && f->side[1].is_reset);
	block_both(sim, false);
	simworld_transfer(sim, 1, 0, 1000, 1000);
	sim_until(sim, CV_SEC(12), simapp_are_done, "a new stream");
	sim_expect(sim, simapp_is_whole(&sim->flows[1]));
}

/* Five seconds without, two with, for a minute. */
static void now_and_then(struct sim *sim)
{
	struct sim_flow *f;
	uint64_t before = 0;

	add_pair(sim);
	f = simworld_transfer(sim, 0, 1, UINT64_C(1) << 32, 0);
	f->side[0].chunk = 2000;
	for (int i = 0; i < 9 && !sim->has_failed; i++) {
		sim_run(sim, CV_SEC(2));
		block_both(sim, true);
		sim_expect(sim, f->side[1].read > before + 10000);
		before = f->side[1].read;
		sim_run(sim, CV_SEC(5));
		block_both(sim, false);
	}
	sim_expect(sim, sim->hosts[0].downs[1] == 0 && sim->hosts[1].downs[0] == 0);
}

/* ---- S14, S16: the server ---- */

/* It dies while it is the only way, and comes back after a while. */
static void relay_dies(struct sim *sim)
{
	static const cv_duration gaps[] = { CV_MS(200), CV_SEC(5), CV_SEC(40), CV_SEC(250) };
	unsigned v = sim_variant(sim, 8);

	simworld_add(sim, SIM_ROOT, SIM_ROOT, &LINK, &LINK);
	sim->hosts[v & 1].policy = POLICY_RELAY;
	simhost_start_all(sim);
	sim_run(sim, CV_SEC(1));
	simworld_transfer(sim, 0, 1, 2000000, 2000000);
	sim_run(sim, CV_MS(150));
	simhost_kill(sim, &sim->hosts[SERVER], (v & 1) != 0);
	sim_run(sim, gaps[v / 2]);
	simhost_start(sim, &sim->hosts[SERVER]);
	sim_until(sim, CV_SEC(15), simapp_are_done, "the transfer");
	simworld_check_whole(sim);
}

/* It is not there at the start; who is asked for something finds it within seconds. */
static void server_late(struct sim *sim)
{
	bool asks = sim_variant(sim, 2) == 1;

	simworld_add(sim, SIM_ROOT, SIM_ROOT, &LINK, &LINK);
	sim->hosts[SERVER].is_silent = sim_variant(sim, 4) >= 2;
	simhost_start(sim, &sim->hosts[0]);
	simhost_start(sim, &sim->hosts[1]);
	sim_run(sim, CV_SEC(200));
	simhost_start(sim, &sim->hosts[SERVER]);
	if (asks) {
		simworld_transfer(sim, 0, 1, 1000, 1000);
		simworld_transfer(sim, 1, 0, 1000, 1000);
		sim_until(sim, CV_SEC(10), simapp_are_done, "streams by a server that came");
	}
	sim_until(sim, CV_SEC(70), simworld_is_direct, "a direct path");
	sim_expect(sim, sim->hosts[0].downs[1] == 0 && sim->hosts[1].downs[0] == 0);
}

/* Its name means another address from now on. */
static void server_moves(struct sim *sim)
{
	simworld_add(sim, SIM_ROOT, SIM_ROOT, &LINK, &LINK);
	sim->hosts[0].policy = POLICY_RELAY;
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 1000, 1000);
	sim_run(sim, CV_SEC(10));
	simhost_kill(sim, &sim->hosts[SERVER], false);
	sim->hosts[SERVER].address.ip[3] = 200;
	simhost_start(sim, &sim->hosts[SERVER]);
	if (sim_variant(sim, 2))
		sim_run(sim, CV_SEC(60)); /* the next keepalive finds out */
	simworld_transfer(sim, 0, 1, 100000, 100000);
	sim_until(sim, sim_variant(sim, 2) ? CV_SEC(1) : CV_SEC(30), simapp_are_done,
	          "a stream by the server's new address");
	simworld_check_whole(sim);
}

/* Two servers, one of which is dead, or dies in mid-transfer. */
static void two_servers(struct sim *sim)
{
	unsigned v = sim_variant(sim, 2);
	struct sim_host *other;

	simworld_add(sim, SIM_ROOT, SIM_ROOT, &LINK, &LINK);
	other = simhost_add_hub(sim, "t", &LINK);
	sim->hosts[0].policy = POLICY_RELAY;
	for (int i = 0; i < 2; i++)
		simhost_use_hub(&sim->hosts[i], other);
	sim->hosts[SERVER].is_silent = true;
	for (int i = 0; i < sim->host_count; i++) {
		if (i != SERVER || v == 1)
			simhost_start(sim, &sim->hosts[i]);
	}
	if (v == 1)
		sim_run(sim, CV_SEC(3));
	simworld_transfer(sim, 0, 1, 1000000, 1000000);
	if (v == 1) {
		sim_run(sim, CV_MS(100));
		simhost_kill(sim, &sim->hosts[SERVER], false);
	}
	sim_until(sim, v == 1 ? CV_SEC(8) : CV_SEC(3), simapp_are_done, "the transfer");
	simworld_check_whole(sim);
}

/* ---- S18, S24: routers that forget ---- */

static void reboot_again(struct sim *sim, uint64_t left)
{
	simnat_reboot(sim, (int)(left & 1), (left & 2) != 0);
	if (left > 0)
		sim_at(sim, sim->now + CV_SEC(1), reboot_again, left - 1);
}

static void add_nats(struct sim *sim)
{
	for (int i = 0; i < 2; i++) {
		int nat = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);

		sim->nats[nat].allocation = SIM_RANDOM;
	}
	simworld_add(sim, 0, 1, &LINK, &LINK);
}

/* A router a second for twenty seconds. */
static void rebinds_each_second(struct sim *sim)
{
	add_nats(sim);
	if (!begin_direct(sim))
		return;
	simworld_transfer(sim, 0, 1, 3000000, 3000000);
	sim_at(sim, sim->now + CV_MS(100), reboot_again, 20);
	sim_run(sim, CV_SEC(21));
	sim_until(sim, CV_SEC(10), simapp_are_done, "the transfer");
	sim_until(sim, CV_SEC(5), simworld_is_direct, "a direct path");
	simworld_check_whole(sim);
}

enum { REBIND_STEPS = 40 };

/* One or both forget at some moment of the first handshakes. */
static void rebinds_at_start(struct sim *sim)
{
	unsigned v = sim_variant(sim, 3 * REBIND_STEPS);

	add_nats(sim);
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 1000, 1000);
	simworld_transfer(sim, 1, 0, 1000, 1000);
	sim_run(sim, CV_MS(10) * (v / 3));
	for (int i = 0; i < 2; i++) {
		if (v % 3 == 2 || (int)(v % 3) == i)
			simnat_reboot(sim, i, sim_below(sim, 2));
	}
	sim_until(sim, CV_SEC(7), simapp_are_done, "the first streams");
	/* Then nothing flows, and who has been forgotten is not reached before its own beat. */
	sim_until(sim, CV_SEC(30), simworld_is_direct, "a direct path");
	simworld_check_whole(sim);
}

static void ask_again(struct sim *sim, uint64_t left)
{
	simworld_transfer(sim, (int)(left & 1), (int)(~left & 1), 3000, 3000);
	if (left > 0)
		sim_at(sim, sim->now + CV_MS(500), ask_again, left - 1);
}

/* While keys are due: every second from 112 to 128 s and from 142 to 158 s. */
static void rebinds_at_rekey(struct sim *sim)
{
	add_nats(sim);
	if (!begin_direct(sim))
		return;
	sim_run(sim, CV_SEC(112) - (sim->now - SIM_START) + sim_below(sim, CV_SEC(1)));
	sim_at(sim, sim->now, reboot_again, 16);
	sim_at(sim, sim->now, ask_again, 100);
	sim_run(sim, CV_SEC(30));
	sim_at(sim, sim->now, reboot_again, 16);
	sim_run(sim, CV_SEC(40));
	sim_until(sim, CV_SEC(10), simapp_are_done, "all streams");
	sim_until(sim, CV_SEC(5), simworld_is_direct, "a direct path");
	simworld_check_whole(sim);
}

/* S24: one sleeps until its router has forgotten it, the other's object still lives. */
static void sleeps_behind(struct sim *sim)
{
	/* Longer, and the server says that it is absent: then streams are reset after a minute. */
	static const cv_duration gaps[] = { CV_SEC(10), CV_SEC(45), CV_SEC(58) };
	unsigned v = sim_variant(sim, 6);
	struct sim_flow *f;

	add_nats(sim);
	if (!begin_direct(sim))
		return;
	f = simworld_transfer(sim, 0, 1, 600000, 600000);
	f->side[1].is_patient = true;
	sim_run(sim, CV_SEC(2));
	simhost_sleep(&sim->hosts[v & 1]);
	sim_run(sim, gaps[v / 2]);
	f->side[1].is_patient = false;
	simhost_wake(sim, &sim->hosts[v & 1]);
	simapp_wake(sim, &sim->hosts[1]);
	sim_until(sim, CV_SEC(5), simapp_are_done, "the stream after sleep");
	sim_until(sim, CV_SEC(5), simworld_is_direct, "a direct path");
	simworld_check_whole(sim);
}

/* ---- S27, S40: sizes ---- */

/* The relay carries less than the direct path: from the start, or from mid-transfer on. */
static void narrow_relay(struct sim *sim)
{
	static const uint32_t sizes[] = { 1400, 1300, 1232 };
	unsigned v = sim_variant(sim, 12);
	uint32_t size = sizes[v % 3];
	bool is_relayed = v < 6, is_late = (v / 3 & 1) != 0;

	simworld_add(sim, SIM_ROOT, SIM_ROOT, &LINK, &LINK);
	if (is_relayed)
		sim->hosts[1].policy = POLICY_RELAY;
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 1000, 1000);
	sim_run(sim, is_late ? CV_SEC(10) : 0);
	sim->pair_mtu[0][SERVER] = sim->pair_mtu[SERVER][1] = size;
	if (v & 1)
		sim->pair_mtu[SERVER][0] = size;
	simworld_transfer(sim, 0, 1, 1000000, 1000000);
	sim_run(sim, CV_MS(200));
	block_both(sim, true); /* a direct path loses its way, too */
	sim_until(sim, CV_SEC(10), simapp_are_done, "the transfer");
	sim_expect(sim, simworld_is_relayed(sim));
	simworld_check_whole(sim);
}

/* EMSGSIZE: the interface carries less than an Ethernet, from the start or from now on. */
static void narrow_interface(struct sim *sim)
{
	unsigned v = sim_variant(sim, 4);

	simworld_add(sim, SIM_ROOT, SIM_ROOT, &LINK, &LINK);
	sim->hosts[0].interface_mtu = v < 2 ? 1392 : 0;
	if (!begin_direct(sim))
		return;
	sim_run(sim, CV_SEC(10));
	simworld_transfer(sim, 0, 1, 2000000, 2000000);
	sim_run(sim, CV_MS(150));
	sim->hosts[v & 1].interface_mtu = v < 2 ? 1392 : 1232;
	sim_until(sim, CV_SEC(4), simapp_are_done, "the transfer");
	sim_expect(sim, simworld_is_direct(sim));
	simworld_check_whole(sim);
}

/* ---- rule 11 ---- */

static unsigned kind_of(const struct sim_datagram *d)
{
	size_t skip = (d->bytes[0] & WIRE_KIND_MASK) == WIRE_RELAY ? WIRE_RELAY_HEADER : 0;

	return d->bytes[skip] & WIRE_KIND_MASK;
}

/* No handshake until both sides have begun one, then bits of filter_arg say which gets lost. */
static bool lose_until_both(struct sim *sim, const struct sim_datagram *d)
{
	unsigned kind = kind_of(d);

	if (sim->now < SIM_START + CV_SEC(60) || (kind != WIRE_INIT && kind != WIRE_RESP))
		return false;
	if (sim->now < SIM_START + CV_SEC(156))
		return true;
	return (sim->filter_arg >> sim->filter_count++ & 1) != 0;
}

enum { BOTH_VARIANTS = 64 };

/* Both rekey at once, any subset of their messages gets lost; the old keys end at 180 s. */
static void both_rekey(struct sim *sim)
{
	add_pair(sim);
	sim->filter = lose_until_both;
	sim->filter_arg = sim_variant(sim, BOTH_VARIANTS);
	simworld_transfer(sim, 0, 1, 1000, 1000);
	sim_run(sim, CV_SEC(100));
	sim_at(sim, sim->now, ask_again, 220);
	sim_run(sim, CV_SEC(115));
	sim_expect(sim, simapp_are_done(sim));
	sim_run(sim, CV_SEC(4));
	simworld_check_whole(sim);
}

const struct sim_case CASES_OUTAGES[] = {
	{ "one-way-start", one_way_start, "S10: one way is dead from the start", 2 },
	{ "one-way-relayed", one_way_relayed, "S10: the relay carries both", 4 },
	{ "one-way-relay", one_way_relay, "S10: the relay carries one way for 10 s", 2 },
	{ "too-long", too_long, "S11: 310 s: streams are reset", 0 },
	{ "now-and-then", now_and_then, "S11: five seconds off, two on", 0 },
	{ "relay-dies", relay_dies, "S14: the only way dies, for 0.2 to 250 s", 8 },
	{ "server-late", server_late, "S16: no server at the start", 4 },
	{ "server-moves", server_moves, "S16: the server's name has another address", 2 },
	{ "two-servers", two_servers, "S16: one of two is dead, or dies", 2 },
	{ "rebinds-each-second", rebinds_each_second, "S18: a router forgets every second", 0 },
	{ "rebinds-at-start", rebinds_at_start, "S18: during the first handshakes",
	  3 * REBIND_STEPS },
	{ "rebinds-at-rekey", rebinds_at_rekey, "S18: while keys are due", 0 },
	{ "sleeps-behind", sleeps_behind, "S24: sleep until the router has forgotten", 6 },
	{ "narrow-relay", narrow_relay, "S27: the relay carries less than the direct path", 12 },
	{ "narrow-interface", narrow_interface, "S40: EMSGSIZE", 4 },
	{ "both-rekey", both_rekey, "11: both rekey at once, any subset lost", BOTH_VARIANTS },
	{ NULL, NULL, NULL, 0 },
};

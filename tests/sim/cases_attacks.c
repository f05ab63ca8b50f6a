/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

/*
 * Who is made to write to whom (T40, T41, T43, T45): a peer with the right key and bad intentions,
 * a server that lies, a router between, a stranger who got somebody's address. What leaves for
 * addresses that never answer is counted, address by address.
 */

static const struct sim_link LINK = { .delay = CV_MS(10) };

enum { SERVER = 2, LIST = 12 };

/* Its own core takes what it is told for its interfaces and announces it. */
static void announce(struct sim *sim, uint64_t left)
{
	struct sim_host *evil = &sim->hosts[1];
	struct addr list[LIST];

	for (unsigned i = 0; i < LIST; i++)
		list[i] = simtarget_draw(sim);
	if (evil->is_running) {
		endpoint_on_turn(evil->endpoint, sim->now);
		endpoint_set_local_addresses(evil->endpoint, sim->now, list, LIST);
		simhost_poke(sim, evil);
	}
	if (left > 0)
		sim_at(sim, sim->now + CV_MS(40), announce, left - 1);
}

/* 10,000 candidates within half a minute, then ten minutes of silence; or it dies then, with a
 * stream that waits, so that handshakes are tried. Bounded are the flood, what follows, and each
 * address. */
static void flood(struct sim *sim)
{
	bool dies = sim_variant(sim, 2) == 1;
	struct sim_targets early, all;

	simworld_add(sim, SIM_ROOT, SIM_ROOT, &LINK, &LINK);
	simtarget_begin(sim, 1u << 0, false);
	sim->hosts[1].is_silent = true;
	/* There is no direct way: nothing ends the search. */
	sim->blocked[0][1] = sim->blocked[1][0] = true;
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 1000, 1000);
	sim_run(sim, CV_SEC(3));
	sim_at(sim, sim->now, announce, 10000 / LIST);
	sim_run(sim, CV_SEC(36));
	simtarget_seen(0, &early);
	sim_most(sim, "packets during the flood", early.packets, 256, 256);
	sim_most(sim, "addresses", early.addresses, 0, 0);
	if (dies) {
		simworld_transfer(sim, 0, 1, UINT64_C(1) << 32, 1000)->may_reset = true;
		simhost_kill(sim, &sim->hosts[1], false);
	}
	sim_run(sim, CV_SEC(600));
	simtarget_seen(0, &all);
	sim_most(sim, "bytes in the ten minutes after it", all.bytes - early.bytes,
	         256 * 64 + 600 * 64, 256 * 64 + 600 * 64);
	if (dies)
		return;
	simworld_transfer(sim, 0, 1, 1000, 1000);
	sim_until(sim, CV_SEC(1), simapp_are_done, "a stream after the flood");
	simworld_check_whole(sim);
}

/* One address, announced again and again, in the best rhythm for whoever is meant. */
static const struct addr VICTIM = { .family = ADDR_V4, .port = 26666, .ip = { 66, 6, 6, 6 } };

static void announce_one(struct sim *sim, uint64_t left)
{
	struct sim_host *evil = &sim->hosts[1];
	struct addr list[2] = { VICTIM, simtarget_draw(sim) };

	if (evil->is_running) {
		endpoint_on_turn(evil->endpoint, sim->now);
		endpoint_set_local_addresses(evil->endpoint, sim->now, list, 2);
		simhost_poke(sim, evil);
	}
	if (left > 0)
		sim_at(sim, sim->now + CV_MS(200) + sim_below(sim, CV_SEC(2)), announce_one,
		       left - 1);
}

static void one_victim(struct sim *sim)
{
	simworld_add(sim, SIM_ROOT, SIM_ROOT, &LINK, &LINK);
	simtarget_begin(sim, 1u << 0, false);
	sim->blocked[0][1] = sim->blocked[1][0] = true;
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 1000, 1000);
	sim_run(sim, CV_SEC(3));
	sim_at(sim, sim->now, announce_one, 240);
	sim_run(sim, CV_SEC(300));
	sim_most(sim, "bytes to the victim in five minutes", simtarget_bytes(&VICTIM), 256 * 64,
	         256 * 64);
}

/* ---- T43: the server lies ---- */

/* Host 1 seems to be where the victim is, to the server, which tells host 0 so. */
static void lie(struct sim *sim, struct sim_datagram *d)
{
	if (d->from == 1 && addr_equal(&d->dst, &sim->hosts[SERVER].address))
		d->src = VICTIM;
	else if (d->from == SERVER && addr_equal(&d->dst, &VICTIM))
		d->dst = sim->hosts[1].address;
}

static void false_address(struct sim *sim)
{
	int nat = simnat_add(sim, SIM_EI, SIM_APD, SIM_ROOT);

	simworld_add(sim, nat, SIM_ROOT, &LINK, &LINK);
	simtarget_begin(sim, 1u << 0, false);
	sim->mangle = lie;
	sim->blocked[0][1] = sim->blocked[1][0] = true;
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 1000000, 1000000);
	sim_run(sim, CV_SEC(1800));
	sim_expect(sim, simworld_is_relayed(sim));
	sim_most(sim, "bytes to the victim in half an hour", simtarget_bytes(&VICTIM), 256 * 64,
	         256 * 64);
	simworld_check_whole(sim);
}

/* ---- T41, S36: a router of his own making ---- */

/* Copies what host 0 sends to host 1, faster and from an address of his own, and hands back what
 * comes to it: as long as filter_arg says. */
static bool copy_and_forward(struct sim *sim, const struct sim_datagram *d)
{
	const struct addr *own = &sim->hosts[SERVER + 1].address;

	if (sim->now < SIM_START + CV_SEC(2) || sim->now > SIM_START + sim->filter_arg)
		return false;
	if (d->from == 0 && addr_equal(&d->dst, &sim->hosts[1].address) && !d->is_spoofed)
		simnet_inject(sim, SIM_NOBODY, own, &d->dst, d->bytes, d->size);
	if (d->from == 1 && addr_equal(&d->dst, own) && !d->is_spoofed)
		simnet_inject(sim, SIM_NOBODY, own, &sim->hosts[0].address, d->bytes, d->size);
	return false;
}

static void forwarded(struct sim *sim)
{
	struct endpoint_peer_stats stats;

	simworld_add(sim, SIM_ROOT, SIM_ROOT, &LINK, &LINK);
	(void)simhost_add_attacker(sim, NULL);
	sim->tap = copy_and_forward;
	sim->filter_arg = CV_SEC(30);
	simhost_start_all(sim);
	simworld_transfer(sim, 0, 1, 1000, 1000);
	for (unsigned i = 0; i < 8; i++) {
		struct sim_flow *f =
			simworld_transfer(sim, (int)(i & 1), (int)(~i & 1), 200000, 200000);

		f->side[0].chunk = f->side[1].chunk = 1500;
		sim_run(sim, CV_SEC(4));
	}
	/* He has gone: what went through him goes another way, soon. */
	sim_until(sim, CV_SEC(10), simapp_are_done, "all transfers");
	sim_run(sim, CV_SEC(35));
	for (int i = 0; i < 2; i++) {
		simhost_stats(sim, &sim->hosts[i], &sim->hosts[!i], &stats);
		sim_expect(sim, addr_equal(&stats.path_address, &sim->hosts[!i].address));
	}
	simworld_check_whole(sim);
}

/* ---- T45: consent ---- */

/* The peer's machine is gone for ever, and a stranger has its address: no data for him. */
static bool check_consent(struct sim *sim, const struct sim_datagram *d)
{
	unsigned kind = d->bytes[0] & WIRE_KIND_MASK;

	if (d->from != 0 || !addr_equal(&d->dst, &sim->hosts[1].address) || sim->filter_arg == 0)
		return false;
	sim->filter_count += d->size;
	if (kind == WIRE_DATA && sim->now > sim->filter_arg + CV_SEC(30))
		sim_fail(sim, "T45: data to where nothing was heard for %llu ms",
		         (unsigned long long)((sim->now - sim->filter_arg) / CV_MS(1)));
	return false;
}

static void stranger(struct sim *sim)
{
	struct sim_flow *f;
	uint64_t before;

	simworld_add(sim, SIM_ROOT, SIM_ROOT, &LINK, &LINK);
	sim->hosts[1].is_silent = true;
	sim->tap = check_consent;
	simhost_start_all(sim);
	f = simworld_transfer(sim, 0, 1, UINT64_C(1) << 32, 0);
	f->side[0].chunk = 2000;
	f->may_reset = true;
	sim_until(sim, CV_SEC(2), simworld_is_direct, "a direct path");
	sim_run(sim, CV_SEC(2));
	if (sim_variant(sim, 2))
		simhost_kill(sim, &sim->hosts[SERVER], false);
	simhost_kill(sim, &sim->hosts[1], false);
	sim->filter_arg = sim->now;
	sim_run(sim, CV_SEC(31));
	sim_most(sim, "bytes in the first 31 s", sim->filter_count, 0, 0);
	before = sim->filter_count;
	sim_run(sim, CV_SEC(300));
	sim_most(sim, "bytes in the next five minutes", sim->filter_count - before, 360 * 244,
	         360 * 244);
}

const struct sim_case CASES_ATTACKS[] = {
	{ "flood", flood, "T40: a peer announces 10,000 candidates", 2 },
	{ "one-victim", one_victim, "T40: and one of them again and again", 0 },
	{ "false-address", false_address, "T43, S17: the server lies about an address", 0 },
	{ "forwarded", forwarded, "T41, S36: copies and forwards, then goes", 0 },
	{ "stranger", stranger, "T45: a stranger gets the peer's address", 2 },
	{ NULL, NULL, NULL, 0 },
};

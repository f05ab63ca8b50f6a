/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <string.h>

#include "tunnel/aead.h"

/* How sessions begin and go on: first handshakes, rekeys, replays, twins. */

static const struct sim_link NEAR = { .delay = CV_MS(12), .jitter = CV_MS(1) };
static const struct sim_link TEN = { .delay = CV_MS(10) };

static void add_pair(struct sim *sim, const struct sim_link *link)
{
	struct sim_host *a = simhost_add_agent(sim, "a", SIM_ROOT, link);
	struct sim_host *b = simhost_add_agent(sim, "b", SIM_ROOT, link);

	simhost_know(a, b, true);
}

static void transfer(struct sim *sim, int from, int to, uint64_t size, uint64_t back)
{
	simapp_begin(sim, simapp_open(sim, &sim->hosts[from], &sim->hosts[to], size, back));
}

static unsigned kind_of(const struct sim_datagram *d)
{
	size_t skip = (d->bytes[0] & WIRE_KIND_MASK) == WIRE_RELAY ? WIRE_RELAY_HEADER : 0;

	return d->bytes[skip] & WIRE_KIND_MASK;
}

/* Two agents meet without a server, one knows the other's address; both directions carry data. */
static void static_address(struct sim *sim)
{
	add_pair(sim, &NEAR);
	simhost_start_all(sim);
	transfer(sim, 0, 1, 300000, 200000);
	if (!sim_until(sim, CV_SEC(10), simapp_are_done, "a transfer both ways"))
		return;
	sim_expect(sim, simapp_is_whole(&sim->flows[0]));
	transfer(sim, 1, 0, 10, 0);
	sim_until(sim, CV_SEC(2), simapp_are_done, "a stream the other way");
	sim_run(sim, CV_SEC(400));
	transfer(sim, 1, 0, 1000, 1000);
	sim_until(sim, CV_SEC(2), simapp_are_done, "a stream after 400 s of idling");
	sim_expect(sim, sim->hosts[0].downs[1] == 0 && sim->hosts[1].downs[0] == 0);
}

/* ---- crossing first handshakes ---- */

/* Loses the datagram whose turn filter_arg says. */
static bool lose_nth(struct sim *sim, const struct sim_datagram *d)
{
	(void)d;
	return sim->filter_count++ == sim->filter_arg;
}

enum { CROSSING_MESSAGES = 12 };

static void crossing(struct sim *sim)
{
	add_pair(sim, &TEN);
	simhost_know(&sim->hosts[1], &sim->hosts[0], true);
	sim->filter = lose_nth;
	sim->filter_arg = sim_variant(sim, CROSSING_MESSAGES);
	simhost_start_all(sim);
	transfer(sim, 0, 1, 2000, 2000);
	transfer(sim, 1, 0, 2000, 2000);
	if (!sim_until(sim, CV_SEC(2), simapp_are_done, "both streams"))
		return;
	sim_expect(sim, simapp_is_whole(&sim->flows[0]) && simapp_is_whole(&sim->flows[1]));
	sim_run(sim, CV_SEC(4));
	sim_expect(sim, sim->hosts[0].downs[1] == 0 && sim->hosts[1].downs[0] == 0);
}

/* ---- rekeys ---- */

/* Bits of filter_arg say which of the handshakes' messages get lost. */
static bool lose_handshakes(struct sim *sim, const struct sim_datagram *d)
{
	unsigned kind = kind_of(d);

	if (sim->now < SIM_START + CV_SEC(100) || (kind != WIRE_INIT && kind != WIRE_RESP))
		return false;
	return (sim->filter_arg >> sim->filter_count++ & 1) != 0;
}

static void open_now_and_then(struct sim *sim, uint64_t left)
{
	transfer(sim, (int)(left & 1), (int)(~left & 1), 3000, 3000);
	if (left > 0)
		sim_at(sim, sim->now + CV_SEC(3), open_now_and_then, left - 1);
}

enum { REKEY_VARIANTS = 16 };

static void rekey(struct sim *sim)
{
	add_pair(sim, &NEAR);
	sim->filter = lose_handshakes;
	sim->filter_arg = sim_variant(sim, REKEY_VARIANTS);
	simhost_start_all(sim);
	open_now_and_then(sim, 100);
	sim_run(sim, CV_SEC(320));
	sim_expect(sim, sim->flow_count == 101);
	sim_expect(sim, simapp_are_done(sim));
	for (unsigned i = 0; i < sim->flow_count; i++)
		sim_expect(sim, simapp_is_whole(&sim->flows[i]));
	sim_expect(sim, sim->hosts[0].downs[1] == 0 && sim->hosts[1].downs[0] == 0);
}

/* ---- replays ---- */

enum { RECORDED_MAX = 64 };

/* Nobody is there; what goes to it must not be more than came in its name (P7). */
static const struct addr VICTIM = { .family = ADDR_V4, .port = 666, .ip = { 66, 6, 6, 6 } };

static struct sim_datagram recorded[RECORDED_MAX];
static unsigned recorded_count;

static bool record_inits(struct sim *sim, const struct sim_datagram *d)
{
	(void)sim;
	if (kind_of(d) == WIRE_INIT && d->from == 0 && recorded_count < RECORDED_MAX)
		recorded[recorded_count++] = *d;
	return false;
}

static void replay_one(struct sim *sim, uint64_t left)
{
	const struct sim_datagram *d;

	if (recorded_count > 0) {
		d = &recorded[sim_below(sim, recorded_count)];
		/* From its own address as often as from another. */
		simnet_inject(sim, SIM_NOBODY, left & 1 ? &VICTIM : &d->src, &d->dst, d->bytes,
		              d->size);
	}
	if (left > 0)
		sim_at(sim, sim->now + CV_MS(10), replay_one, left - 1);
}

/* INITs of earlier incarnations and of this one at 100/s, during start and rekey. */
static void replayed_inits(struct sim *sim)
{
	recorded_count = 0;
	simwatch_add_victim(sim, &VICTIM);
	add_pair(sim, &NEAR);
	sim->tap = record_inits;
	simhost_start_all(sim);
	for (int i = 0; i < 3; i++) {
		sim_run(sim, CV_SEC(1));
		simhost_kill(sim, &sim->hosts[0], false);
		sim_run(sim, CV_MS(100));
		simhost_start(sim, &sim->hosts[0]);
	}
	simhost_kill(sim, &sim->hosts[0], true);
	sim_run(sim, CV_SEC(1));
	sim_at(sim, sim->now, replay_one, 100 * 170);
	sim_run(sim, CV_SEC(2));
	simhost_start(sim, &sim->hosts[0]);
	transfer(sim, 0, 1, 2000, 2000);
	if (!sim_until(sim, CV_SEC(4), simapp_are_done, "a start under replays"))
		return;
	memset(sim->hosts[0].downs, 0, sizeof(sim->hosts[0].downs));
	memset(sim->hosts[1].downs, 0, sizeof(sim->hosts[1].downs));
	open_now_and_then(sim, 50);
	sim_run(sim, CV_SEC(180));
	sim_expect(sim, simapp_are_done(sim));
	sim_expect(sim, sim->hosts[0].downs[1] == 0 && sim->hosts[1].downs[0] == 0);
}

/* S36: whoever sits on the path copies what one side sends, and is faster with a forged source. */
static bool copy_faster(struct sim *sim, const struct sim_datagram *d)
{
	if (sim->now > SIM_START + CV_SEC(1) && d->from == 0)
		simnet_inject(sim, SIM_NOBODY, &VICTIM, &d->dst, d->bytes, d->size);
	return false;
}

static void copied(struct sim *sim)
{
	add_pair(sim, &TEN);
	simwatch_add_victim(sim, &VICTIM);
	sim->tap = copy_faster;
	simhost_start_all(sim);
	transfer(sim, 0, 1, 1000, 1000);
	sim_run(sim, CV_SEC(2));
	transfer(sim, 0, 1, 500000, 500000);
	sim_until(sim, CV_SEC(5), simapp_are_done, "a transfer that is copied ahead");
	sim_run(sim, CV_SEC(30));
	transfer(sim, 1, 0, 1000, 1000);
	sim_until(sim, CV_SEC(1), simapp_are_done, "a stream the other way");
	sim_expect(sim, sim->hosts[0].downs[1] == 0 && sim->hosts[1].downs[0] == 0);
}

/* ---- ciphers ---- */

/* Each side may lack AES: the choice is common, and each epoch makes it anew. */
static void ciphers(struct sim *sim)
{
	unsigned v = sim_variant(sim, 3);
	uint8_t all = aead_available();

	add_pair(sim, &NEAR);
	sim->hosts[0].aead_bits = v == 1 ? AEAD_BIT_CHACHA : all;
	sim->hosts[1].aead_bits = v == 2 ? AEAD_BIT_CHACHA : all;
	simhost_start_all(sim);
	transfer(sim, 0, 1, 300000, 300000);
	sim_run(sim, CV_SEC(200));
	transfer(sim, 1, 0, 3000, 3000);
	sim_until(sim, CV_SEC(1), simapp_are_done, "streams under either cipher");
	sim_expect(sim, simapp_is_whole(&sim->flows[0]) && simapp_is_whole(&sim->flows[1]));
}

/* ---- restarts in mid-handshake ---- */

enum { RESTART_VARIANTS = 40 };

/* One or both die at some millisecond of the handshake and are back soon. */
static void restart_in_handshake(struct sim *sim)
{
	unsigned v = sim_variant(sim, RESTART_VARIANTS);

	add_pair(sim, &TEN);
	simhost_know(&sim->hosts[1], &sim->hosts[0], (v & 1) != 0);
	sim->may_reset = true;
	simhost_start_all(sim);
	transfer(sim, 0, 1, 2000, 2000);
	sim_run(sim, CV_MS(5) * (v / 4 + 1));
	simhost_kill(sim, &sim->hosts[v & 2 ? 1 : 0], false);
	if (v & 1)
		simhost_kill(sim, &sim->hosts[v & 2 ? 0 : 1], false);
	sim_run(sim, CV_MS(3));
	simhost_start_all(sim);
	sim_run(sim, CV_SEC(4)); /* in calm both ends agree within 4 s */
	sim->may_reset = false;
	transfer(sim, 0, 1, 2000, 2000);
	transfer(sim, 1, 0, 2000, 2000);
	if (!sim_until(sim, CV_SEC(2), simapp_are_done, "streams after the restart"))
		return;
	sim_expect(sim, simapp_is_whole(&sim->flows[1]) && simapp_is_whole(&sim->flows[2]));
}

/* ---- twins ---- */

/* Two agents with one identity: the newest wins, and they do not throw each other out for ever. */
static void twins(struct sim *sim)
{
	struct sim_host *twin;

	add_pair(sim, &NEAR);
	twin = simhost_add_agent(sim, "twin", SIM_ROOT, &NEAR);
	memcpy(twin->sk, sim->hosts[0].sk, sizeof(twin->sk));
	identity_init(&twin->me, twin->sk);
	twin->knows[1] = true;
	twin->is_static[1] = true;
	sim->may_reset = true;
	simhost_start(sim, &sim->hosts[0]);
	simhost_start(sim, &sim->hosts[1]);
	sim_run(sim, CV_SEC(5));
	simhost_start(sim, twin);
	sim_run(sim, CV_SEC(5));
	sim_expect(sim, twin->is_up[1]);
	sim_expect(sim, sim->hosts[0].duplicates > 0);
	sim_run(sim, CV_SEC(590));
	/* 60, 120, 240 s of silence: a few changes, not hundreds. */
	sim_expect(sim, sim->hosts[1].downs[0] + sim->hosts[1].downs[2] <= 10);
}

/* ---- cold start ---- */

static bool has_answer(struct sim *sim)
{
	return sim->flows[0].side[0].first_at != 0;
}

/* Four round trips to the first byte: two to the server, two through it. */
static void cold_start(struct sim *sim)
{
	struct sim_host *a = simhost_add_agent(sim, "a", SIM_ROOT, &TEN);
	struct sim_host *b = simhost_add_agent(sim, "b", SIM_ROOT, &TEN);
	struct sim_host *s = simhost_add_hub(sim, "s", &TEN);

	simhost_know(a, b, false);
	simhost_use_hub(a, s);
	simhost_use_hub(b, s);
	simhost_start(sim, s);
	simhost_start(sim, b);
	sim_run(sim, CV_SEC(2));
	simhost_start(sim, a);
	transfer(sim, 0, 1, 500, 500);
	sim_until(sim, CV_MS(40 + 40 + 80 + 80 + 5), has_answer, "an answer after 4 round trips");
	sim_until(sim, CV_MS(100), simapp_are_done, "the end of the stream");
}

const struct sim_case CASES_START[] = {
	{ "static-address", static_address, "two public agents, one address", 0 },
	{ "crossing", crossing, "first handshakes cross, each message lost in turn",
	  CROSSING_MESSAGES },
	{ "rekey", rekey, "rekeys of both sides, any subset of their messages lost",
	  REKEY_VARIANTS },
	{ "replayed-inits", replayed_inits, "INITs replayed at 100/s during start and rekey", 0 },
	{ "copied", copied, "S36: copies with a forged source overtake the originals", 0 },
	{ "ciphers", ciphers, "AES on both sides, on one, on the other", 3 },
	{ "restart-in-handshake", restart_in_handshake, "one or both die in mid-handshake",
	  RESTART_VARIANTS },
	{ "twins", twins, "two agents with one identity", 0 },
	{ "cold-start", cold_start, "four round trips to the first byte", 0 },
	{ NULL, NULL, NULL, 0 },
};

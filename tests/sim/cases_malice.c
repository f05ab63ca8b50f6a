/* SPDX-License-Identifier: MIT */
#include "tests/sim/simmalice.h"

/*
 * S17: a server that lies; S51: a relay that does what it likes. At worst nobody gets through:
 * never a session with somebody else, never a wrong byte, and what is sent to addresses that the
 * server made up is bounded. When it is honest again, or another one is, all is well soon.
 */

enum { A, B, C, EVIL, MORE, PEERS = 3 };

struct world {
	struct sim *sim;
	struct sim_malice malice;
	bool has_honest; /* server MORE is another one */
	bool has_thief;  /* C is not a friend, but wants to be taken for the last host */
	bool is_direct;  /* there is a direct way */
	cv_duration length;
};

static bool one_in(struct sim *sim, uint64_t n)
{
	return sim_below(sim, n) == 0;
}

static uint32_t draw_strength(struct sim *sim)
{
	return (uint32_t)sim_draw(sim, 10000, 1000000);
}

/* ---- the world ---- */

static int draw_nat(struct sim *sim)
{
	static const enum sim_rule rules[] = { SIM_EI, SIM_AD, SIM_APD };
	int i;

	if (one_in(sim, 2))
		return SIM_ROOT;
	i = simnat_add(sim, one_in(sim, 2) ? SIM_EI : rules[sim_below(sim, 3)],
	               rules[sim_below(sim, 3)], SIM_ROOT);
	sim->nats[i].allocation = one_in(sim, 2) ? SIM_SEQUENTIAL : SIM_RANDOM;
	return i;
}

/* A, B, and C: friends, or C a thief that A does not know. No direct way unless @w says so. */
static void build(struct world *w, const struct sim_link *link, bool has_nats)
{
	static const char *const names[] = { "a", "b", "c" };
	struct sim *sim = w->sim;
	struct sim_host *h = sim->hosts;

	for (int i = 0; i < PEERS; i++)
		(void)simhost_add_agent(sim, names[i], has_nats ? draw_nat(sim) : SIM_ROOT, link);
	for (int i = EVIL; i <= (w->has_honest ? MORE : EVIL); i++) {
		(void)simhost_add_hub(sim, i == EVIL ? "evil" : "honest", link);
		for (int k = 0; k < PEERS; k++)
			simhost_use_hub(&h[k], &h[i]);
	}
	simhost_know(&h[A], &h[B], false);
	if (w->has_thief) {
		struct sim_host *ghost = simhost_add_agent(sim, "ghost", SIM_ROOT, NULL);

		simhost_know(&h[A], ghost, false);
		h[C].knows[A] = true;
		w->malice.thief = C;
		w->malice.ghost = ghost->number;
	} else {
		simhost_know(&h[A], &h[C], false);
		simhost_know(&h[B], &h[C], false);
	}
	for (int i = 0; i < PEERS && !w->is_direct; i++) {
		for (int k = 0; k < PEERS; k++)
			sim->blocked[i][k] = true;
	}
}

static void start(struct world *w)
{
	for (int i = 0; i < w->sim->host_count; i++) {
		if (i != w->malice.ghost)
			simhost_start(w->sim, &w->sim->hosts[i]);
	}
}

/* ---- what is promised ---- */

/* Bytes that host @i may have sent to nobody in @time: each of its sessions 12,800 at once and 64 a
 * second; and punches, where a lie makes them. */
static void check_targets(struct world *w, cv_duration time, unsigned sessions)
{
	uint64_t bound = sessions * (12800 + time / CV_SEC(1) * 64);
	struct sim_targets seen;

	if (w->malice.stun_lies)
		bound += sessions * (time / CV_SEC(75) + 2) * 768 * 64;
	for (int i = 0; i < PEERS; i++) {
		simtarget_seen(i, &seen);
		sim_most(w->sim, "bytes to nobody", seen.bytes, bound, bound);
	}
}

static bool is_fresh_done(struct sim *sim)
{
	return simapp_is_done(sim, &sim->flows[sim->flow_count - 1]) &&
	       simapp_is_done(sim, &sim->flows[sim->flow_count - 2]);
}

/* New streams of @a and @b, both ways; how long it takes them. */
static void check_pair(struct sim *sim, int a, int b, cv_duration bound, const char *what)
{
	cv_time begin = sim->now;
	struct sim_flow *f[2];

	for (int i = 0; i < 2; i++) {
		f[i] = simapp_open(sim, &sim->hosts[i ? b : a], &sim->hosts[i ? a : b], 2000, 2000);
		f[i]->may_reset = sim->may_reset;
		simapp_begin(sim, f[i]);
	}
	if (!sim_until(sim, bound, is_fresh_done, what))
		return;
	sim_most(sim, what, (sim->now - begin) / CV_MS(1), 0, 0);
	sim_expect(sim, sim->may_reset || (simapp_is_whole(f[0]) && simapp_is_whole(f[1])));
}

/* The longest of the promises: a server that came back. */
#define WELL_WITHIN CV_SEC(15)

/* The server is honest; all is well again. */
static void recover(struct world *w)
{
	struct sim *sim = w->sim;

	check_pair(sim, A, B, WELL_WITHIN, "ms until a and b are well");
	if (sim->may_reset && !sim->has_failed) {
		/* Who was told to be gone while the server restarted finds out when it is there. */
		sim_run(sim, CV_SEC(30));
		sim->may_reset = false;
		check_pair(sim, A, B, WELL_WITHIN, "ms of another one");
	}
	if (!w->has_thief && !sim->has_failed)
		check_pair(sim, A, C, WELL_WITHIN, "ms until a and c are well");
	if (!sim->has_failed)
		(void)sim_until(sim, CV_SEC(90), simapp_are_done, "the end of every stream");
}

/* ---- S17, all of it ---- */

static void draw_words(struct world *w)
{
	struct sim *sim = w->sim;
	struct sim_malice *m = &w->malice;

	m->only = one_in(sim, 2) ? (int)sim_below(sim, PEERS) : SIM_NOBODY;
	if (one_in(sim, 3))
		m->lies = draw_strength(sim);
	if (one_in(sim, 4))
		m->stun_lies = draw_strength(sim);
	if (one_in(sim, 2))
		m->place = simtarget_draw(sim);
	m->asks = one_in(sim, 3);
	m->swaps = !w->has_thief && one_in(sim, 3);
	if (one_in(sim, 3))
		m->swallows = draw_strength(sim);
	if (one_in(sim, 4))
		m->deaf = draw_strength(sim);
	if (one_in(sim, 2)) {
		m->talks = sim_draw(sim, CV_MS(20), CV_SEC(5));
		m->topics = 1 + (unsigned)sim_below(sim, MALICE_TOPICS);
	}
}

static void draw_relay(struct world *w)
{
	struct sim *sim = w->sim;
	struct sim_malice *m = &w->malice;

	if (one_in(sim, 3))
		m->drops = draw_strength(sim) / 2;
	if (one_in(sim, 3)) {
		m->delays = draw_strength(sim);
		m->delay_max = sim_draw(sim, CV_MS(10), CV_SEC(3));
	}
	if (one_in(sim, 3))
		m->doubles = draw_strength(sim);
	if (one_in(sim, 3))
		m->mixes = draw_strength(sim) / 2;
	if (one_in(sim, 3))
		m->damages = draw_strength(sim) / 2;
}

/* Transfers while it lasts; with an honest server beside, or a direct way, one that must end. */
static void suffer(struct world *w)
{
	struct sim *sim = w->sim;

	for (unsigned i = 0; i < 8; i++) {
		bool is_friend = !w->has_thief && one_in(sim, 3);
		bool is_back = one_in(sim, 2);
		int other = is_friend ? C : B;
		struct sim_flow *f =
			simworld_transfer(sim, is_back ? other : A, is_back ? A : other,
		                          sim_draw(sim, 8, 200000), sim_draw(sim, 8, 200000));

		f->may_reset = sim->may_reset;
		sim_run(sim, w->length / 8);
	}
}

static void lying_server(struct sim *sim)
{
	struct sim_link link = { .delay = sim_draw(sim, CV_MS(1), CV_MS(60)) };
	struct world w = { .sim = sim, .malice = SIM_HONEST };
	bool is_late = one_in(sim, 2), restarts = one_in(sim, 3);
	cv_time begin = sim->now;

	w.has_honest = one_in(sim, 2);
	w.has_thief = one_in(sim, 3);
	w.is_direct = one_in(sim, 3);
	w.length = sim_draw(sim, CV_SEC(5), CV_SEC(90));
	build(&w, &link, one_in(sim, 2));
	draw_words(&w);
	if (one_in(sim, 2))
		draw_relay(&w);
	simtarget_begin(sim, 1u << A | 1u << B | 1u << C, w.malice.stun_lies != 0);
	/* It may say that a peer's process has ended. */
	sim->may_reset = (w.malice.topics & MALICE_PRESENCE) != 0;
	if (!is_late)
		simmalice_begin(sim, EVIL, &w.malice);
	start(&w);
	if (is_late) {
		sim_run(sim, sim_draw(sim, CV_MS(100), CV_SEC(10)));
		simmalice_begin(sim, EVIL, &w.malice);
	}
	suffer(&w);
	if (w.has_honest)
		check_pair(sim, A, B, WELL_WITHIN, "ms beside an honest server");
	simmalice_end(sim);
	/* Who does not know what he has acknowledged or granted is not honest before he has begun
	 * anew. */
	if (restarts || w.malice.swallows || (w.malice.talks && w.malice.topics & MALICE_GRANTS)) {
		simhost_kill(sim, &sim->hosts[EVIL], one_in(sim, 2));
		simhost_start(sim, &sim->hosts[EVIL]);
	}
	check_targets(&w, sim->now - begin, 2);
	recover(&w);
}

/* ---- S51, all of it ---- */

static void relay_adversary(struct sim *sim)
{
	struct sim_link link = { .delay = sim_draw(sim, CV_MS(1), CV_MS(60)) };
	struct world w = { .sim = sim, .malice = SIM_HONEST };

	w.length = sim_draw(sim, CV_SEC(5), CV_SEC(60));
	build(&w, &link, one_in(sim, 2));
	draw_relay(&w);
	simmalice_begin(sim, EVIL, &w.malice);
	start(&w);
	suffer(&w);
	simmalice_end(sim);
	recover(&w);
}

/* ---- one vice each ---- */

static const struct sim_link NEAR = { .delay = CV_MS(10) };

static struct world plain_world(struct sim *sim, const struct sim_link *link)
{
	struct world w = { .sim = sim, .malice = SIM_HONEST };

	build(&w, link, false);
	return w;
}

static bool has_lied_enough(struct sim *sim)
{
	(void)sim;
	return simmalice_deeds() >= 10000;
}

/* 10,000 answers tell the agents, and they their peers, of as many places or of one. */
static void false_places(struct sim *sim)
{
	struct world w = plain_world(sim, &NEAR);
	cv_time begin = sim->now;

	if (sim_variant(sim, 2))
		w.malice.place = simtarget_draw(sim);
	w.malice.lies = 1000000;
	w.malice.asks = true;
	simtarget_begin(sim, 1u << A | 1u << B | 1u << C, false);
	simmalice_begin(sim, EVIL, &w.malice);
	start(&w);
	(void)sim_until(sim, CV_SEC(3600), has_lied_enough, "10,000 lies");
	check_targets(&w, sim->now - begin, 2);
	sim_most(sim, "bytes to the one place", simtarget_bytes(&w.malice.place), 3 * 256 * 64,
	         3 * 256 * 64);
	check_pair(sim, A, B, CV_SEC(1), "ms of a stream beside it");
	sim_expect(sim, simworld_is_relayed(sim));
}

/* The relay also sends what it relays bare, from 10,000 addresses: each packet is authentic, and
 * each source a path that might be. */
static void leaked(struct sim *sim)
{
	struct sim_link link = { .delay = CV_MS(10), .rate = 1250000 };
	struct world w = plain_world(sim, &link);
	struct sim_targets seen;
	cv_time begin = sim->now;
	uint64_t bound;

	w.malice.leaks = 1000000;
	simtarget_begin(sim, 1u << A | 1u << B | 1u << C, true);
	simmalice_begin(sim, EVIL, &w.malice);
	start(&w);
	simworld_transfer(sim, A, B, 12000000, 12000000);
	(void)sim_until(sim, CV_SEC(120), has_lied_enough, "10,000 leaks");
	/* 16 sources at once and 4 a second; nine challenges each. */
	bound = 2 * (16 + (sim->now - begin) / CV_SEC(1) * 4) * 9 * 64;
	for (int i = 0; i < PEERS; i++) {
		simtarget_seen(i, &seen);
		sim_most(sim, "bytes to nobody", seen.bytes, bound, bound);
	}
	(void)sim_until(sim, CV_SEC(60), simapp_are_done, "the transfer");
	simworld_check_whole(sim);
}

/* C's words are taken for those of somebody whom A trusts, and A's words to him are given to C. */
static void impostor(struct sim *sim)
{
	struct world w = { .sim = sim, .malice = SIM_HONEST, .has_thief = true };
	struct sim_flow *f;

	build(&w, &NEAR, false);
	simmalice_begin(sim, EVIL, &w.malice);
	start(&w);
	f = simworld_transfer(sim, A, w.malice.ghost, 1000, 1000);
	f->may_reset = true;
	simworld_transfer(sim, C, A, 1000, 1000)->may_reset = true;
	sim_run(sim, CV_SEC(60));
	sim_expect(sim, simmalice_deeds() > 10);
	sim_expect(sim, f->side[1].birth == 0);
	check_pair(sim, A, B, CV_SEC(1), "ms of a stream beside it");
}

/* A asks for B and is given C, and the other way round: names are the server's, keys are not, so
 * that each finds the right session by the wrong way. */
static void swapped(struct sim *sim)
{
	struct world w = { .sim = sim, .malice = SIM_HONEST };

	w.has_honest = sim_variant(sim, 2) == 1;
	build(&w, &NEAR, false);
	w.malice.swaps = true;
	simmalice_begin(sim, EVIL, &w.malice);
	start(&w);
	simworld_transfer(sim, A, B, 20000, 20000);
	simworld_transfer(sim, A, C, 20000, 20000);
	(void)sim_until(sim, CV_SEC(15), simapp_are_done, "transfers, under wrong names");
	sim_run(sim, CV_SEC(20));
	simmalice_end(sim);
	recover(&w);
}

/* Dozens of them a second, under all names, through five minutes and two rekeys: nothing happens.
 */
static void old_introductions(struct sim *sim)
{
	struct world w = plain_world(sim, &NEAR);

	simmalice_begin(sim, EVIL, &w.malice); /* it listens */
	start(&w);
	sim_run(sim, CV_SEC(2));
	w.malice.talks = CV_MS(20);
	w.malice.topics = MALICE_OLD_INITS;
	simmalice_begin(sim, EVIL, &w.malice);
	for (unsigned i = 0; i < 30; i++) {
		simworld_transfer(sim, (int)(i & 1), (int)(~i & 1), 20000, 20000);
		sim_run(sim, CV_SEC(10));
	}
	sim_expect(sim, simapp_are_done(sim) && simmalice_deeds() > 3000);
	simworld_check_whole(sim);
}

/* Five times a second somebody's process has ended, or is there again. Nothing was heard for long,
 * and there is no other way; but who is asked answers. */
static void said_to_be_gone(struct sim *sim)
{
	struct world w = plain_world(sim, &NEAR);

	start(&w);
	simworld_transfer(sim, A, B, 1000, 1000)->side[0].hold_at = 500;
	sim_run(sim, CV_SEC(2));
	w.malice.talks = CV_MS(100);
	w.malice.topics = MALICE_PRESENCE;
	simmalice_begin(sim, EVIL, &w.malice);
	sim_run(sim, CV_SEC(300));
	simmalice_end(sim);
	sim_expect(sim, simmalice_deeds() > 1000);
	sim_run(sim, CV_SEC(300));
	sim->flows[0].side[0].hold_at = UINT64_MAX;
	recover(&w);
	simworld_check_whole(sim);
}

/* B alone: not a word of his is minded, or heard, or nothing reaches him. */
static void one_sided(struct sim *sim)
{
	struct world w = { .sim = sim, .malice = SIM_HONEST };
	unsigned v = sim_variant(sim, 6);

	w.has_honest = v >= 3;
	build(&w, &NEAR, false);
	w.malice.only = B;
	*(v % 3 == 0   ? &w.malice.swallows
	  : v % 3 == 1 ? &w.malice.deaf
	               : &w.malice.drops) = 1000000;
	simmalice_begin(sim, EVIL, &w.malice);
	start(&w);
	simworld_transfer(sim, A, B, 20000, 20000);
	sim_run(sim, CV_SEC(20));
	sim_expect(sim, simapp_are_done(sim) == w.has_honest);
	simmalice_end(sim);
	if (w.malice.swallows) {
		simhost_kill(sim, &sim->hosts[EVIL], false);
		simhost_start(sim, &sim->hosts[EVIL]);
	}
	recover(&w);
}

/* ---- S51, one vice each ---- */

enum { RELAY_VICES = 6, RELAY_RATE = 1250000 };

static void set_relay_vice(struct sim_malice *m, unsigned number)
{
	switch (number) {
	case 0:
		m->drops = 500000;
		break;
	case 1:
		m->delays = 500000; /* reorders */
		m->delay_max = CV_MS(50);
		break;
	case 2:
		m->delays = 1000000;
		m->delay_max = CV_SEC(3);
		break;
	case 3:
		m->doubles = 1000000;
		break;
	case 4:
		m->mixes = 500000;
		break;
	default:
		m->damages = 500000;
	}
}

/* Bytes of @f in a second from now on. */
static uint64_t goodput(struct sim *sim, const struct sim_flow *f)
{
	uint64_t before = f->side[1].read;

	sim_run(sim, CV_SEC(1));
	return f->side[1].read - before;
}

static void relay_vices(struct sim *sim)
{
	struct sim_link link = { .delay = CV_MS(20), .rate = RELAY_RATE };
	struct world w = plain_world(sim, &link);
	struct sim_flow *f, *small;
	uint64_t seconds = 0;

	set_relay_vice(&w.malice, sim_variant(sim, RELAY_VICES));
	start(&w);
	(void)sim_until(sim, CV_SEC(2), simworld_is_relayed, "a relayed path");
	f = simworld_transfer(sim, A, B, UINT64_C(1) << 32, 0);
	small = simworld_transfer(sim, A, C, 20000, 20000);
	sim_run(sim, CV_SEC(4));
	sim_expect(sim, simapp_is_whole(small));
	simmalice_begin(sim, EVIL, &w.malice);
	simworld_transfer(sim, C, A, 20000, 20000);
	sim_run(sim, CV_SEC(20));
	simmalice_end(sim);
	sim_expect(sim, simmalice_deeds() > 50);
	while (goodput(sim, f) < RELAY_RATE * 8 / 10 && seconds < 60)
		seconds++;
	sim_most(sim, "s until 80 % of the rate", seconds, 15, 15);
	check_pair(sim, A, B, CV_SEC(3), "ms of a stream beside it");
	check_pair(sim, A, C, CV_SEC(3), "ms of a stream to c");
	simapp_abort(sim, f, 0);
	(void)sim_until(sim, CV_SEC(5), simapp_are_done, "the end of every stream");
	sim_expect(sim, sim->hosts[A].downs[B] + sim->hosts[B].downs[A] + sim->hosts[A].downs[C] +
	                                sim->hosts[C].downs[A] ==
	                        0);
}

const struct sim_case CASES_MALICE[] = {
	{ "false-places", false_places, "S17, T43: 10,000 places where it sees nobody, or one", 2 },
	{ "leaked", leaked, "S17, T40: relayed packets come bare from 10,000 addresses", 0 },
	{ "impostor", impostor, "S17: somebody else under a trusted name", 0 },
	{ "swapped", swapped, "S17: two peers under each other's name; and an honest server", 2 },
	{ "old-introductions", old_introductions, "S17: INITs heard before, offered again", 0 },
	{ "said-to-be-gone", said_to_be_gone, "S17: a peer's process has ended, the server says",
	  0 },
	{ "one-sided", one_sided, "S17: one peer's words are lost; and an honest server", 6 },
	{ "relay-vices", relay_vices,
	  "S51: loses, mixes up, delays, doubles, damages; then goodput", RELAY_VICES },
	{ "lying-server", lying_server, "S17: a server with vices drawn from the seed", 300 },
	{ "relay-adversary", relay_adversary, "S51: a relay with vices drawn from the seed", 100 },
	{ NULL, NULL, NULL, 0 },
};

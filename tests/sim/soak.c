/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <stdlib.h>
#include <time.h>

#include "base/alloc.h"
#include "tunnel/punch_budget.h"

/*
 * soak - a day in the life of six agents and one or two servers, drawn from the seed: routers of
 * every kind, networks that are left for others, losses, outages, restarts, sleep, small streams.
 * Twenty minutes of that, then ten of calm, in which all must come right again:
 *
 *	connected     every pair answers a new stream within CALM_FRESH
 *	direct        where the two routers allow it, within the time that kind of pair is given
 *	ended         every stream of before
 *	steady        until the end of the calm
 *
 * Memory of the second hour is compared with that of the last, and what leaves for nobody is
 * counted by the hour.
 */

enum {
	AGENTS = 6,
	PAIRS = 6,
	NETWORKS = 9, /* that agents are in, and move between; carriers come on top */
	SAMPLES_MAX = 4096,
	FLOWS_LEFT = 48, /* kept for the calm */
};

#define STORM CV_SEC(1200)
#define CALM CV_SEC(600)
#define CALM_FRESH CV_SEC(15)
#define CALM_ALL CV_SEC(330)   /* streams wait for 300 s for whoever does not come back */
#define BLINK CV_SEC(2)        /* on the relay, while a way is in doubt: nobody notices */
#define DIRECT_CONE CV_SEC(70) /* candidates rest for up to a minute between their tries */

static struct soak {
	int pairs[PAIRS][2];
	int networks[NETWORKS];
	int carriers[2];
	cv_time storm_until;
	uint64_t faults, flows, moves, restarts;
	uint64_t live_early, live_last, live_most;
	uint64_t unanswered_before[AGENTS], unanswered_most;
	uint64_t punched_most; /* an hour */
	cv_time looked_at;
	uint64_t punched_before[AGENTS];
	uint32_t times[SAMPLES_MAX]; /* ms from the calm until direct */
	unsigned time_count;
	unsigned hard_tries, hard_direct;
	cv_time calm_at;
	bool was_direct[PAIRS]; /* in this calm */
	bool is_steady[PAIRS];
	cv_time direct_at[PAIRS];       /* last */
	unsigned sockets_least[AGENTS]; /* between attempts all but the paths' are closed */
} soak;

/* ---- drawing ---- */

static bool one_in(struct sim *sim, uint64_t n)
{
	return sim_below(sim, n) == 0;
}

static enum sim_rule draw_rule(struct sim *sim)
{
	static const enum sim_rule rules[] = { SIM_EI, SIM_AD, SIM_APD };

	return rules[sim_below(sim, 3)];
}

static void draw_ports(struct sim *sim, struct sim_nat *n)
{
	static const enum sim_allocation ways[] = { SIM_PRESERVE, SIM_SEQUENTIAL, SIM_RANDOM,
		                                    SIM_BLOCKS };

	n->allocation = ways[sim_below(sim, 4)];
	n->fallback = one_in(sim, 2) ? SIM_RANDOM : SIM_SEQUENTIAL;
	n->step = (int)sim_below(sim, 4) - 1;
	n->block_size = (uint16_t)(512u << sim_below(sim, 4));
	n->blocks_per_host = 4;
	n->overloads = n->allocation == SIM_PRESERVE && one_in(sim, 2);
}

static int draw_nat(struct sim *sim, int zone)
{
	int i = simnat_add(sim, one_in(sim, 3) ? draw_rule(sim) : SIM_EI, draw_rule(sim), zone);
	struct sim_nat *n = &sim->nats[i];

	draw_ports(sim, n);
	n->hairpins = one_in(sim, 2);
	n->timeout = sim_draw(sim, CV_SEC(30), CV_SEC(300));
	n->timeout_answered = one_in(sim, 2) ? CV_MAX(n->timeout, CV_SEC(120)) : 0;
	n->inbound_refreshes = one_in(sim, 2);
	n->filtering6 = draw_rule(sim);
	n->hops = (unsigned)sim_below(sim, 3);
	if (one_in(sim, 3)) {
		n->table_max = 1024u << sim_below(sim, 3);
		n->refuses_new = one_in(sim, 4);
	}
	if (one_in(sim, 3))
		n->noise_rate = (uint32_t)(1 + sim_below(sim, 4));
	if (one_in(sim, 10))
		n->blacklist = sim_draw(sim, CV_MS(500), CV_SEC(2)); /* far below CALM_FRESH */
	if (one_in(sim, 10)) {
		n->pool = 2 + (unsigned)sim_below(sim, 2);
		n->is_paired = one_in(sim, 2);
	}
	if (one_in(sim, 16))
		n->rebinds_after = CV_SEC(60);
	n->refuses = one_in(sim, 10);
	return i;
}

static struct sim_link draw_link(struct sim *sim)
{
	struct sim_link l = { .delay = sim_draw(sim, CV_MS(1), CV_MS(60)) };

	if (one_in(sim, 3)) {
		l.rate = sim_draw(sim, 125000, 12500000);
		l.queue = 100000;
	}
	if (one_in(sim, 5))
		l.mtu = (uint32_t)(1280 + sim_below(sim, 192));
	return l;
}

static int draw_network(struct sim *sim)
{
	unsigned i = (unsigned)sim_below(sim, NETWORKS + 1);

	return i == NETWORKS ? SIM_ROOT : soak.networks[i];
}

static void draw_world(struct sim *sim)
{
	static const char *const names[AGENTS] = { "a", "b", "c", "d", "e", "f" };
	static const int pairs[PAIRS][2] = { { 0, 1 }, { 2, 3 }, { 4, 5 },
		                             { 0, 2 }, { 1, 4 }, { 3, 5 } };
	bool has_v6 = one_in(sim, 2);

	memcpy(soak.pairs, pairs, sizeof(pairs));
	for (int i = 0; i < 2; i++)
		soak.carriers[i] = draw_nat(sim, SIM_ROOT);
	for (int i = 0; i < NETWORKS; i++)
		soak.networks[i] =
			draw_nat(sim, one_in(sim, 4) ? soak.carriers[sim_below(sim, 2)] : SIM_ROOT);
	for (int i = 0; i < AGENTS; i++) {
		struct sim_link l = draw_link(sim);
		struct sim_host *h = simhost_add_agent(sim, names[i], draw_network(sim), &l);

		h->is_silent = one_in(sim, 3);
		if (has_v6 && one_in(sim, 2))
			simhost_add_v6(h, false);
	}
	for (int i = 0; i < PAIRS; i++)
		simhost_know(&sim->hosts[pairs[i][0]], &sim->hosts[pairs[i][1]], false);
	for (unsigned i = 0; i < 1 + sim_below(sim, 2); i++) {
		struct sim_link l = { .delay = sim_draw(sim, CV_MS(1), CV_MS(40)) };
		struct sim_host *s = simhost_add_hub(sim, i ? "t" : "s", &l);

		if (has_v6)
			simhost_add_v6(s, false);
		for (int k = 0; k < AGENTS; k++)
			simhost_use_hub(&sim->hosts[k], s);
	}
}

/* ---- what must be direct ---- */

enum { MAY, HARD, CONE };

struct way {
	bool is_hard;          /* some mapping depends on the destination */
	bool is_odd;           /* pools, blacklists, rebinding: nothing is promised */
	enum sim_rule filters; /* the strictest */
	int carrier;
};

static struct way way_of(const struct sim *sim, const struct sim_host *h)
{
	struct way w = { .filters = SIM_EI, .carrier = SIM_ROOT };

	for (int z = h->zone; z != SIM_ROOT; z = sim->nats[z].zone) {
		const struct sim_nat *n = &sim->nats[z];

		w.is_hard |= n->mapping != SIM_EI;
		w.is_odd |= n->blacklist > 0 || n->pool > 1 || n->rebinds_after > 0 ||
		            (n->refuses_new && n->table_max > 0);
		w.filters = CV_MAX(w.filters, n->filtering);
		w.carrier = z;
	}
	return w;
}

static unsigned promise(const struct sim *sim, const struct sim_host *a, const struct sim_host *b)
{
	struct way x = way_of(sim, a), y = way_of(sim, b);

	if (a->zone == b->zone)
		return CONE;
	if (x.is_odd || y.is_odd)
		return MAY;
	/* Who has got to the server by IPv6, because IPv4 was away, stays there, and nobody knows
	 * what its IPv4 address is. */
	if ((a->address6.family == ADDR_NONE) != (b->address6.family == ADDR_NONE))
		return MAY;
	if (x.carrier == y.carrier && x.carrier != SIM_ROOT)
		return MAY; /* hairpins, or not */
	if (!x.is_hard && !y.is_hard)
		return CONE;
	/* The easy side is hit by whatever port the hard one gets. */
	if ((!x.is_hard && x.filters != SIM_APD) || (!y.is_hard && y.filters != SIM_APD))
		return CONE;
	return x.is_hard && y.is_hard ? MAY : HARD;
}

static bool is_direct(struct sim *sim, int pair)
{
	for (int i = 0; i < 2; i++) {
		const char *kind = simhost_path(sim, &sim->hosts[soak.pairs[pair][i]],
		                                &sim->hosts[soak.pairs[pair][!i]]);

		if (strcmp(kind, "direct") != 0 && strcmp(kind, "lan") != 0)
			return false;
	}
	return true;
}

/* ---- faults ---- */

static struct sim_host *draw_agent(struct sim *sim)
{
	return &sim->hosts[sim_below(sim, AGENTS)];
}

static cv_time draw_end(struct sim *sim, cv_duration low, cv_duration high)
{
	return CV_MIN(sim->now + sim_draw(sim, low, high), soak.storm_until);
}

static void link_is_up(struct sim *sim, uint64_t host)
{
	sim->hosts[host].up.is_down = sim->hosts[host].down.is_down = false;
}

static void way_is_open(struct sim *sim, uint64_t pair)
{
	sim->blocked[pair >> 8][pair & 0xff] = false;
}

static void start_again(struct sim *sim, uint64_t host)
{
	simhost_start(sim, &sim->hosts[host]);
}

static void wake_again(struct sim *sim, uint64_t host)
{
	if (sim->hosts[host].is_asleep)
		simhost_wake(sim, &sim->hosts[host]);
}

static void outage(struct sim *sim)
{
	uint64_t a = sim_below(sim, (uint64_t)sim->host_count);
	uint64_t b = sim_below(sim, (uint64_t)sim->host_count);

	if (a == b) {
		sim->hosts[a].up.is_down = sim->hosts[a].down.is_down = true;
		sim_at(sim, draw_end(sim, CV_MS(200), CV_SEC(600)), link_is_up, a);
		return;
	}
	sim->blocked[a][b] = true;
	sim_at(sim, draw_end(sim, CV_MS(200), CV_SEC(600)), way_is_open, a << 8 | b);
	if (one_in(sim, 2)) {
		sim->blocked[b][a] = true;
		sim_at(sim, draw_end(sim, CV_MS(200), CV_SEC(600)), way_is_open, b << 8 | a);
	}
}

static void weather(struct sim *sim)
{
	struct sim_host *h = draw_agent(sim);
	struct sim_link *l = one_in(sim, 2) ? &h->up : &h->down;

	l->loss_ppm = one_in(sim, 2) ? (uint32_t)sim_draw(sim, 500, 100000) : 0;
	l->burst_ppm = one_in(sim, 4) ? (uint32_t)sim_draw(sim, 500, 10000) : 0;
	l->burst_mean = (uint32_t)sim_draw(sim, 2, 40);
	l->jitter = one_in(sim, 2) ? sim_draw(sim, CV_US(10), l->delay) : 0;
	l->duplicate_ppm = one_in(sim, 4) ? 20000 : 0;
	l->corrupt_ppm = one_in(sim, 4) ? 10000 : 0;
}

static void move(struct sim *sim)
{
	struct sim_host *h = draw_agent(sim);
	int zone = draw_network(sim);

	if (zone == h->zone || h->is_asleep)
		return;
	simhost_move(sim, h, zone);
	soak.moves++;
}

static void restart(struct sim *sim)
{
	int i = (int)sim_below(sim, (uint64_t)sim->host_count);

	simhost_kill(sim, &sim->hosts[i], one_in(sim, 2));
	sim_at(sim, draw_end(sim, CV_MS(1), CV_SEC(600)), start_again, (uint64_t)i);
	soak.restarts++;
}

static void sleep_awhile(struct sim *sim)
{
	struct sim_host *h = draw_agent(sim);

	if (!h->is_running || h->is_asleep)
		return;
	sim_tell(sim, "sleeps", h->number, 0, 0);
	simhost_sleep(h);
	sim_at(sim, draw_end(sim, CV_MS(500), CV_SEC(1200)), wake_again, (uint64_t)h->number);
}

/* About one in half a minute. */
static void fault(struct sim *sim, uint64_t unused)
{
	(void)unused;
	if (sim->now >= soak.storm_until)
		return;
	soak.faults++;
	switch (sim_below(sim, 8)) {
	case 0:
	case 1:
		outage(sim);
		break;
	case 2:
	case 3:
		weather(sim);
		break;
	case 4:
		move(sim);
		break;
	case 5:
		simnat_reboot(sim, (int)sim_below(sim, (uint64_t)sim->nat_count), one_in(sim, 2));
		break;
	case 6:
		if (one_in(sim, 2))
			restart(sim);
		break;
	default:
		sleep_awhile(sim);
		break;
	}
	sim_at(sim, sim->now + sim_draw(sim, CV_SEC(1), CV_SEC(120)), fault, 0);
}

static void begin_stream(struct sim *sim, uint64_t unused)
{
	const int *pair = soak.pairs[sim_below(sim, PAIRS)];
	unsigned way = (unsigned)sim_below(sim, 2);
	struct sim_host *from = &sim->hosts[pair[way]], *to = &sim->hosts[pair[!way]];
	struct sim_flow *f;

	(void)unused;
	if (sim->now >= soak.storm_until)
		return;
	sim_at(sim, sim->now + sim_draw(sim, CV_MS(100), CV_SEC(20)), begin_stream, 0);
	if (sim->flow_count + FLOWS_LEFT > SIM_FLOWS_MAX || !from->is_running || from->is_asleep)
		return;
	f = simapp_open(sim, from, to, sim_draw(sim, 8, 50000), sim_draw(sim, 1, 50000));
	if (one_in(sim, 4))
		f->side[0].chunk = f->side[1].chunk = (uint32_t)sim_draw(sim, 50, 2000);
	if (one_in(sim, 12))
		f->side[sim_below(sim, 2)].reset_at = sim_draw(sim, 8, 20000);
	simapp_begin(sim, f);
	soak.flows++;
}

/* ---- calm ---- */

static void be_calm(struct sim *sim)
{
	sim_tell(sim, "CALM", SIM_NOBODY, 0, 0);
	memset(sim->blocked, 0, sizeof(sim->blocked));
	for (int i = 0; i < sim->host_count; i++) {
		struct sim_host *h = &sim->hosts[i];

		for (int k = 0; k < 2; k++) {
			struct sim_link *l = k ? &h->up : &h->down;

			l->loss_ppm = l->burst_ppm = l->duplicate_ppm = l->corrupt_ppm = 0;
			l->jitter = 0;
			l->is_down = l->is_bursting = false;
		}
		simhost_start(sim, h);
		wake_again(sim, (uint64_t)i);
	}
}

static bool is_fresh_whole(struct sim *sim)
{
	for (unsigned i = sim->flow_count - 2 * PAIRS; i < sim->flow_count; i++) {
		if (!simapp_is_done(sim, &sim->flows[i]))
			return false;
	}
	return true;
}

static bool answer_all(struct sim *sim, const char *what)
{
	for (int i = 0; i < 2 * PAIRS; i++) {
		const int *pair = soak.pairs[i / 2];
		struct sim_flow *f = simapp_open(sim, &sim->hosts[pair[i & 1]],
		                                 &sim->hosts[pair[~i & 1]], 2000, 2000);

		f->may_reset = sim->may_reset;
		simapp_begin(sim, f);
	}
	if (!sim_until(sim, CALM_FRESH, is_fresh_whole, what))
		return false;
	for (unsigned i = sim->flow_count - 2 * PAIRS; i < sim->flow_count; i++)
		sim_expect(sim, sim->may_reset || simapp_is_whole(&sim->flows[i]));
	return true;
}

static void note_direct(struct sim *sim, int pair)
{
	const struct sim_host *a = &sim->hosts[soak.pairs[pair][0]];
	const struct sim_host *b = &sim->hosts[soak.pairs[pair][1]];
	bool is_now = is_direct(sim, pair), is_early = sim->now <= soak.calm_at + CALM_FRESH;

	if (is_now)
		soak.direct_at[pair] = sim->now;
	else if (soak.is_steady[pair] && sim->now > soak.direct_at[pair] + BLINK &&
	         promise(sim, a, b) != MAY)
		sim_fail(sim, "%s and %s were direct in calm and are no more", a->name, b->name);
	/* In the first seconds each may still have to find out what the other has become. */
	soak.is_steady[pair] |= is_now && !is_early;
	if (is_now && !soak.was_direct[pair] && sim->now > soak.calm_at &&
	    soak.time_count < SAMPLES_MAX)
		soak.times[soak.time_count++] = (uint32_t)((sim->now - soak.calm_at) / CV_MS(1));
	soak.was_direct[pair] |= is_now;
	if (!is_now && !soak.was_direct[pair] && promise(sim, a, b) == CONE &&
	    sim->now >= soak.calm_at + DIRECT_CONE)
		sim_fail(sim, "%s and %s are not direct after %llu s of calm", a->name, b->name,
		         (unsigned long long)((sim->now - soak.calm_at) / CV_SEC(1)));
}

/* Looks every tenth of a second until the calm ends; who has been direct stays so. */
static void look(struct sim *sim, uint64_t unused)
{
	(void)unused;
	if (sim->now >= soak.calm_at + CALM)
		return;
	for (int i = 0; i < PAIRS; i++)
		note_direct(sim, i);
	for (int i = 0; i < AGENTS; i++)
		soak.sockets_least[i] = CV_MIN(soak.sockets_least[i], sim->hosts[i].extra_open);
	sim_at(sim, sim->now + CV_MS(100), look, 0);
}

static void count_hard(const struct sim *sim)
{
	for (int i = 0; i < PAIRS; i++) {
		bool is_hard = promise(sim, &sim->hosts[soak.pairs[i][0]],
		                       &sim->hosts[soak.pairs[i][1]]) == HARD;

		soak.hard_tries += is_hard;
		soak.hard_direct += is_hard && soak.was_direct[i];
	}
}

static void calm(struct sim *sim)
{
	soak.calm_at = sim->now;
	memset(soak.was_direct, 0, sizeof(soak.was_direct));
	memset(soak.is_steady, 0, sizeof(soak.is_steady));
	memset(soak.sockets_least, 0xff, sizeof(soak.sockets_least));
	be_calm(sim);
	look(sim, 0);
	if (!answer_all(sim, "new streams in calm"))
		return;
	/* Crossing handshakes of restarted agents may replace an object once more, within 4 s. */
	sim_run(sim, CV_SEC(4));
	sim->may_reset = false;
	if (!answer_all(sim, "and once more"))
		return;
	sim_run(sim, CV_MAX(soak.calm_at + CALM_ALL, sim->now) - sim->now);
	if (!simapp_are_done(sim))
		sim_fail(sim, "streams have not ended after %u s of calm",
		         (unsigned)(CALM_ALL / CV_SEC(1)));
	sim_run(sim, soak.calm_at + CALM - sim->now);
	count_hard(sim);
	for (int i = 0; i < AGENTS; i++) {
		if (soak.sockets_least[i] > 8)
			sim_fail(sim, "%s had at least %u sockets open all the calm",
			         sim->hosts[i].name, soak.sockets_least[i]);
	}
	if (sim->has_failed || !answer_all(sim, "streams after the calm"))
		return;
	simapp_forget(sim);
	simwatch_forget(sim);
	sim->may_reset = true;
}

/* ---- what it costs ---- */

static void look_at_memory(struct sim *sim, bool is_early)
{
	soak.live_last = cv_alloc_live() - sim->live_before;
	soak.live_most = CV_MAX(soak.live_most, soak.live_last);
	if (is_early)
		soak.live_early = soak.live_last;
	sim_tell(sim, "live bytes", SIM_NOBODY, soak.live_last, 0);
}

/* By the hour, and a bit more. A restart begins to count anew, and its budget begins full. */
static void look_at_packets(struct sim *sim)
{
	uint64_t passed_s = cv_time_since(sim->now, soak.looked_at) / CV_SEC(1);
	uint64_t most = PUNCH_HOURLY_DEFAULT / 2 * (3600 + passed_s) / 3600 + 1;

	for (int i = 0; i < AGENTS; i++) {
		struct sim_host *h = &sim->hosts[i];
		struct endpoint_nat_stats stats = { 0 };
		uint64_t punched;

		soak.unanswered_most =
			CV_MAX(soak.unanswered_most, h->unanswered - soak.unanswered_before[i]);
		soak.unanswered_before[i] = h->unanswered;
		if (h->is_running)
			endpoint_nat_stats(h->endpoint, sim->now, &stats);
		punched = stats.packets;
		if (punched >= soak.punched_before[i])
			punched -= soak.punched_before[i];
		soak.punched_before[i] = stats.packets;
		soak.punched_most = CV_MAX(soak.punched_most, punched);
		sim_expect(sim, punched <= most);
	}
	soak.looked_at = sim->now;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void print_summary(struct sim *sim, unsigned hours, clock_t begun_at)
{
	uint64_t downs = 0, ms = (uint64_t)(clock() - begun_at) * 1000 / CLOCKS_PER_SEC;
	unsigned n = soak.time_count;

	for (int i = 0; i < AGENTS; i++) {
		for (int k = 0; k < AGENTS; k++)
			downs += sim->hosts[i].downs[k];
	}
	qsort(soak.times, n, sizeof(soak.times[0]), compare);
	printf("soak %llu: %u h, %llu events, %llu faults (%llu moves, %llu restarts), %llu "
	       "streams, "
	       "%llu reconnects; direct after p50 %u ms, p99 %u ms, most %u ms; hard pairs %u of "
	       "%u; "
	       "live %llu KiB at 2 h, %llu at the end, %llu at most; an hour at most %llu "
	       "unanswered, "
	       "%llu punched; %llu ms, %llu x real time\n",
	       (unsigned long long)sim->seed, hours, (unsigned long long)sim->events,
	       (unsigned long long)soak.faults, (unsigned long long)soak.moves,
	       (unsigned long long)soak.restarts, (unsigned long long)soak.flows,
	       (unsigned long long)downs, n ? soak.times[n / 2] : 0,
	       n ? soak.times[n * 99 / 100] : 0, n ? soak.times[n - 1] : 0, soak.hard_direct,
	       soak.hard_tries, (unsigned long long)(soak.live_early / 1024),
	       (unsigned long long)(soak.live_last / 1024),
	       (unsigned long long)(soak.live_most / 1024),
	       (unsigned long long)soak.unanswered_most, (unsigned long long)soak.punched_most,
	       (unsigned long long)ms,
	       (unsigned long long)(hours * UINT64_C(3600000) / CV_MAX(ms, UINT64_C(1))));
}

/* For whoever looks for the reason of a failure. */
static void print_world(const struct sim *sim)
{
	static const char *const rules[] = { "EI", "AD", "APD" };
	static const char *const ways[] = { "preserve", "sequential", "random", "blocks" };

	for (int i = 0; i < sim->host_count; i++) {
		printf("  %s:%s%s", sim->hosts[i].name,
		       sim->hosts[i].address6.family == ADDR_NONE ? "" : " v6,",
		       sim->hosts[i].zone == SIM_ROOT ? " public" : "");
		for (int z = sim->hosts[i].zone; z != SIM_ROOT; z = sim->nats[z].zone) {
			const struct sim_nat *n = &sim->nats[z];

			printf(" [%d %s/%s %s step %d, block %u, table %u of %u%s, pool %u%s, "
			       "rebinds %u, noise %u, blacklist %u, timeout %u/%u%s]",
			       z, rules[n->mapping], rules[n->filtering], ways[n->allocation],
			       n->step, n->block_size, n->session_count, n->table_max,
			       n->refuses_new ? " refuses" : "", n->pool,
			       n->is_paired ? " paired" : "",
			       (unsigned)(n->rebinds_after / CV_SEC(1)), n->noise_rate,
			       (unsigned)(n->blacklist / CV_SEC(1)),
			       (unsigned)(n->timeout / CV_SEC(1)),
			       (unsigned)(n->timeout_answered / CV_SEC(1)),
			       n->hairpins ? " hairpins" : "");
		}
		printf("\n");
	}
}

void soak_run(struct sim *sim)
{
	unsigned hours = sim->hours ? sim->hours : 24;
	clock_t begun_at = clock();
	cv_time hour_at = sim->now + CV_SEC(3600), early_at = sim->now + CV_SEC(7200);

	memset(&soak, 0, sizeof(soak));
	soak.looked_at = sim->now;
	sim->events_max = UINT64_MAX;
	sim->check_interval = 64;
	sim->may_reset = true;
	draw_world(sim);
	simhost_start_all(sim);
	while (!sim->has_failed && sim->now < SIM_START + hours * CV_SEC(3600)) {
		soak.storm_until = sim->now + STORM;
		sim_at(sim, sim->now, fault, 0);
		sim_at(sim, sim->now, begin_stream, 0);
		sim_run(sim, STORM);
		if (!sim->has_failed)
			calm(sim);
		if (sim->has_failed)
			break;
		look_at_memory(sim, sim->now < early_at + STORM);
		if (sim->now >= hour_at) {
			look_at_packets(sim);
			hour_at += CV_SEC(3600);
		}
	}
	print_summary(sim, hours, begun_at);
	if (sim->has_failed)
		print_world(sim);
	/* Growth of tables by doubling is over by then. */
	if (!sim->has_failed && hours > 2 &&
	    soak.live_last > soak.live_early + soak.live_early / 4 + (UINT64_C(256) << 10))
		sim_fail(sim, "memory grew from %llu to %llu bytes",
		         (unsigned long long)soak.live_early, (unsigned long long)soak.live_last);
}

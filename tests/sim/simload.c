/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <string.h>

#include "tunnel/aead.h"

/*
 * Hosts whose traffic meets at one link, and the figures that a user would see.
 *
 *	a0 ──┐                                 ┌── b0      host 2 i sends to host 2 i + 1
 *	a1 ──┼─▸ there: rate, queue, delay ────┼─▸ b1      b i loses at random what has
 *	a2 ──┘   back: as fast, half a second  └── b2      crossed the bottleneck
 *	              of queue
 */

enum {
	PACKET = 1500,
	BUFFER_PACKETS = 4, /* CC_MIN_PACKETS fit into any buffer */
	BLAST_SIZE = 1200,
};

#define POOL_SIZE (UINT64_C(256) << 20) /* as tunnel.memory has it */
/* What a link of 1,500-byte packets leaves for payload, in thousandths. */
#define PAYLOAD_PERMILLE 955
#define FAST UINT64_C(100000000)

uint64_t simload_bdp(const struct sim_load_spec *spec)
{
	return spec->rate / 8 * (spec->rtt / 1000) / 1000000;
}

static const char *const NAMES[] = { "a0", "b0", "a1", "b1", "a2", "b2" };

void simload_build(struct sim *sim, const struct sim_load_spec *spec)
{
	struct sim_load *l = &sim->load;
	uint64_t buffer = simload_bdp(spec) * spec->buffer_permille / 1000;
	const struct sim_link near = { .is_instant = true, .loss_ppm = spec->loss_ppm };

	/* A look takes as long as what is in flight is large. */
	if (spec->rate >= FAST)
		sim->check_interval = sim->is_light ? 4096 : 8;
	l->spec = *spec;
	l->spec.pairs = CV_MAX(spec->pairs, 1);
	l->there = &sim->shared[0];
	l->back = &sim->shared[1];
	*l->there = (struct sim_link){
		.rate = spec->rate / 8,
		.queue = (uint32_t)CV_MAX(buffer, (uint64_t)(BUFFER_PACKETS * PACKET)),
		.delay = spec->rtt / 2,
		.meter = &l->meter,
	};
	*l->back = (struct sim_link){
		.rate = spec->rate / 8,
		.queue = (uint32_t)CV_MAX(spec->rate / 16, (uint64_t)(64 * PACKET)),
		.delay = spec->rtt - spec->rtt / 2,
	};
	for (unsigned i = 0; i < l->spec.pairs; i++) {
		struct sim_host *a = simhost_add_agent(sim, NAMES[2 * i], SIM_ROOT,
		                                       &(struct sim_link){ .is_instant = true });
		struct sim_host *b = simhost_add_agent(sim, NAMES[2 * i + 1], SIM_ROOT,
		                                       &(struct sim_link){ .is_instant = true });

		a->down = b->down = near;
		a->pool_size = b->pool_size = POOL_SIZE;
		if (sim->is_light) /* as long in bytes, and in virtual time */
			a->aead_bits = b->aead_bits = aead_available();
		simhost_know(a, b, true);
		sim->via[a->number][b->number] = l->there;
		sim->via[b->number][a->number] = l->back;
	}
}

static bool are_connected(struct sim *sim)
{
	for (unsigned i = 0; i < sim->load.spec.pairs; i++) {
		const struct sim_host *a = &sim->hosts[2 * i], *b = &sim->hosts[2 * i + 1];

		if (!simhost_is_up(a, b) || !simhost_is_up(b, a))
			return false;
	}
	return true;
}

void simload_connect(struct sim *sim)
{
	simhost_start_all(sim);
	sim_until(sim, CV_SEC(20), are_connected, "every pair is connected");
	/* The search for the packet size, and for other paths, is over. */
	sim_run(sim, CV_SEC(2));
}

void simload_init(struct sim *sim, const struct sim_load_spec *spec)
{
	simload_build(sim, spec);
	simload_connect(sim);
}

/* ---- traffic ---- */

static uint64_t read_of(const struct sim *sim, unsigned pair)
{
	return sim->load.bulk[pair] ? sim->load.bulk[pair]->side[1].read : 0;
}

static void sample(struct sim *sim, uint64_t number)
{
	struct sim_load *l = &sim->load;

	if (number >= SIM_SAMPLES_MAX)
		return;
	for (unsigned i = 0; i < l->spec.pairs; i++) {
		l->samples[i][number] = read_of(sim, i);
		l->sent[i][number] = sim->hosts[2 * i].sent_payload;
	}
	l->sample_count = (unsigned)number + 1;
	sim_at(sim, sim->now + SIM_SAMPLE, sample, number + 1);
}

struct sim_flow *simload_bulk(struct sim *sim, unsigned pair)
{
	struct sim_load *l = &sim->load;
	struct sim_flow *f = simapp_open(sim, &sim->hosts[2 * pair], &sim->hosts[2 * pair + 1],
	                                 UINT64_MAX / 2, 0);

	CV_ASSERT(pair < l->spec.pairs);
	l->bulk[pair] = f;
	if (l->begun_at == 0) {
		l->begun_at = sim->now;
		sample(sim, 0);
	}
	simapp_begin(sim, f);
	return f;
}

/* ---- cross traffic ---- */

struct blast {
	cv_duration gap, on, off;
	cv_time until; /* of this burst */
};
static struct blast blast;

static void blow(struct sim *sim, uint64_t from)
{
	struct sim_host *h = &sim->hosts[from], *sink = &sim->hosts[from + 1];
	struct sim_datagram *d = simnet_new(sim);

	d->src = h->address;
	d->dst = d->sent_to = sink->address;
	d->from = h->number;
	d->zone = h->zone;
	d->size = BLAST_SIZE;
	memset(d->bytes, 0, d->size);
	simnet_launch(sim, h, d);
	if (sim->now + blast.gap < blast.until) {
		sim_at(sim, sim->now + blast.gap, blow, from);
		return;
	}
	blast.until += blast.off + blast.on;
	sim_at(sim, blast.until - blast.on, blow, from);
}

void simload_blast(struct sim *sim, uint64_t rate, cv_duration on, cv_duration off)
{
	const struct sim_link near = { .is_instant = true };
	struct sim_host *from = simhost_add_attacker(sim, &near);
	struct sim_host *sink = simhost_add_attacker(sim, &near);

	sim->via[from->number][sink->number] = sim->load.there;
	blast = (struct blast){
		.gap = (uint64_t)(BLAST_SIZE + SIM_IP_UDP) * 8 * CV_SEC(1) / rate,
		.on = on,
		.off = off,
		.until = sim->now + on,
	};
	blow(sim, (uint64_t)from->number);
}

/* ---- figures ---- */

static uint64_t new_bytes(const struct sim *sim, unsigned pair)
{
	const struct sim_flow *f = sim->load.bulk[pair];
	struct streams_stats stats;

	if (!f || !f->side[0].stream)
		return 0;
	streams_stats(f->side[0].streams, &stats);
	return stats.sent_bytes;
}

void simload_mark(struct sim *sim)
{
	struct sim_load *l = &sim->load;

	l->marked_at = sim->now;
	l->meter = (struct sim_meter){ 0 };
	for (unsigned i = 0; i < l->spec.pairs; i++) {
		l->read_before[i] = read_of(sim, i);
		l->sent_before[i] = sim->hosts[2 * i].sent_payload;
		l->new_before[i] = new_bytes(sim, i);
	}
}

static uint64_t share_of(uint64_t bytes, cv_duration d, uint64_t rate)
{
	uint64_t us = CV_MAX(d / 1000, 1);
	/* bits a second of payload, then of what the link leaves for it */
	uint64_t bps = bytes * 8 / us * 1000000 + bytes * 8 % us * 1000000 / us;

	return bps / (rate / 1000 * PAYLOAD_PERMILLE / 1000);
}

uint64_t simload_goodput(const struct sim *sim, unsigned pair)
{
	const struct sim_load *l = &sim->load;

	return share_of(read_of(sim, pair) - l->read_before[pair], sim->now - l->marked_at,
	                l->spec.rate);
}

static unsigned number_at(const struct sim_load *l, cv_time at)
{
	uint64_t number = (at - l->begun_at) / SIM_SAMPLE;

	CV_ASSERT(l->sample_count > 0 && at >= l->begun_at);
	return (unsigned)CV_MIN(number, (uint64_t)l->sample_count - 1);
}

uint64_t simload_goodput_between(const struct sim *sim, unsigned pair, uint64_t rate, cv_time begin,
                                 cv_time end)
{
	const struct sim_load *l = &sim->load;
	unsigned a = number_at(l, begin), b = number_at(l, end);

	return share_of(l->samples[pair][b] - l->samples[pair][a], (b - a) * SIM_SAMPLE, rate);
}

uint64_t simload_window(const struct sim *sim, unsigned pair, uint64_t rate, cv_duration window,
                        cv_time begin, cv_time end)
{
	uint64_t worst = UINT64_MAX;

	for (cv_time at = begin; at + window <= end; at += SIM_SAMPLE) {
		uint64_t share = simload_goodput_between(sim, pair, rate, at, at + window);

		worst = CV_MIN(worst, share);
	}
	return worst;
}

static cv_duration reaches(const struct sim_load *l, const uint64_t *samples, uint64_t rate,
                           unsigned permille, cv_time begin)
{
	enum { WINDOW = 5 };

	for (unsigned i = number_at(l, begin); i + WINDOW < l->sample_count; i++) {
		uint64_t bytes = samples[i + WINDOW] - samples[i];

		if (share_of(bytes, WINDOW * SIM_SAMPLE, rate) >= permille)
			return l->begun_at + (i + WINDOW) * SIM_SAMPLE - begin;
	}
	return CV_SEC(99);
}

cv_duration simload_reaches(const struct sim *sim, unsigned pair, uint64_t rate, unsigned permille,
                            cv_time begin)
{
	return reaches(&sim->load, sim->load.samples[pair], rate, permille, begin);
}

cv_duration simload_sends(const struct sim *sim, unsigned pair, uint64_t rate, unsigned permille,
                          cv_time begin)
{
	return reaches(&sim->load, sim->load.sent[pair], rate, permille, begin);
}

cv_duration simload_stall(const struct sim *sim, unsigned pair, cv_time begin, cv_time end)
{
	const struct sim_load *l = &sim->load;
	cv_duration longest = 0, stall = 0;

	for (unsigned i = number_at(l, begin) + 1; i <= number_at(l, end); i++) {
		bool moves = l->samples[pair][i] > l->samples[pair][i - 1];

		stall = moves ? 0 : stall + SIM_SAMPLE;
		longest = CV_MAX(longest, stall);
	}
	return longest;
}

uint64_t simload_resent(const struct sim *sim, unsigned pair)
{
	const struct sim_load *l = &sim->load;
	uint64_t sent = sim->hosts[2 * pair].sent_payload - l->sent_before[pair];
	uint64_t first = new_bytes(sim, pair) - l->new_before[pair];

	return sent > first ? (sent - first) * 10000 / sent : 0;
}

uint64_t simload_dropped(const struct sim *sim)
{
	const struct sim_meter *m = &sim->load.meter;
	uint64_t dropped = m->dropped + m->policed;

	return dropped * 1000 / CV_MAX(dropped + m->passed + m->lost, 1);
}

/* ---- bounds ---- */

const struct sim_kind SIM_KINDS[] = {
	{ "bbr", CC_BBR, true },
	{ "cubic", CC_CUBIC, false },
	{ NULL, CC_CUBIC, false },
};

const struct sim_kind *sim_kind(enum cc_kind kind)
{
	const struct sim_kind *k = SIM_KINDS;

	while (k->name && k->kind != kind)
		k++;
	CV_ASSERT(k->name);
	return k;
}

const struct sim_kind *sim_kind_number(uint64_t number)
{
	unsigned count = 0;

	while (SIM_KINDS[count].name)
		count++;
	return &SIM_KINDS[number % count];
}

static void print(const struct sim *sim, const char *what, uint64_t value, const char *word,
                  uint64_t bound)
{
	if (!sim->prints_measures)
		return;
	printf("  %s %llu %s: %s %llu", sim->scenario, (unsigned long long)sim->seed,
	       sim_kind(sim->congestion)->name, what, (unsigned long long)value);
	if (bound)
		printf(" (%s %llu)", word, (unsigned long long)bound);
	printf("\n");
}

void sim_least(struct sim *sim, const char *what, uint64_t value, uint64_t bbr, uint64_t cubic)
{
	uint64_t bound = sim_kind(sim->congestion)->is_bbr ? bbr : cubic;

	sim_tell(sim, what, SIM_NOBODY, value, bound);
	print(sim, what, value, "at least", bound);
	if (bound && value < bound)
		sim_fail(sim, "%s: %llu, should be %llu at least", what, (unsigned long long)value,
		         (unsigned long long)bound);
}

void sim_most(struct sim *sim, const char *what, uint64_t value, uint64_t bbr, uint64_t cubic)
{
	uint64_t bound = sim_kind(sim->congestion)->is_bbr ? bbr : cubic;

	sim_tell(sim, what, SIM_NOBODY, value, bound);
	print(sim, what, value, "at most", bound);
	if (bound && value > bound)
		sim_fail(sim, "%s: %llu, should be %llu at most", what, (unsigned long long)value,
		         (unsigned long long)bound);
}

/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { EVENTS_MAX = 20000000, TURNS_MAX = 200000 };

/* ---- story ---- */

static uint64_t mix(uint64_t h, uint64_t v)
{
	h ^= v + UINT64_C(0x9e3779b97f4a7c15) + (h << 6) + (h >> 2);
	h *= UINT64_C(0xff51afd7ed558ccd);
	return h ^ (h >> 33);
}

static const char *name_of(const struct sim *sim, int host)
{
	return host >= 0 && host < sim->host_count ? sim->hosts[host].name : "-";
}

static void print_time(const struct sim *sim)
{
	uint64_t us = (sim->now - SIM_START) / 1000;

	printf("%5llu.%06llu ", (unsigned long long)(us / 1000000),
	       (unsigned long long)(us % 1000000));
}

void sim_tell(struct sim *sim, const char *what, int host, uint64_t a, uint64_t b)
{
	sim->hash = mix(sim->hash, sim->now);
	sim->hash = mix(sim->hash, (uint64_t)host);
	sim->hash = mix(sim->hash, a);
	sim->hash = mix(sim->hash, b);
	if (!sim->is_traced)
		return;
	print_time(sim);
	printf("%-6s %s %llu %llu\n", name_of(sim, host), what, (unsigned long long)a,
	       (unsigned long long)b);
}

void sim_fail(struct sim *sim, const char *format, ...)
{
	va_list args;

	/* The first failure is the cause. */
	if (sim->has_failed)
		return;
	sim->has_failed = true;
	va_start(args, format);
	(void)vsnprintf(sim->why, sizeof(sim->why), format, args);
	va_end(args);
	if (sim->is_traced) {
		print_time(sim);
		printf("FAILED %s\n", sim->why);
	}
}

/* ---- chance ---- */

uint64_t sim_below(struct sim *sim, uint64_t bound)
{
	return rng_below(&sim->rng, bound);
}

bool sim_chance(struct sim *sim, uint32_t ppm)
{
	return ppm > 0 && rng_below(&sim->rng, 1000000) < ppm;
}

uint64_t sim_draw(struct sim *sim, uint64_t low, uint64_t high)
{
	unsigned bits = 0;
	uint64_t top;

	while (bits < 62 && (low << (bits + 1)) <= high)
		bits++;
	top = low << sim_below(sim, bits + 1);
	return CV_MIN(high, top + sim_below(sim, top));
}

/* ---- queue ---- */

static bool is_before(const struct sim_event *a, const struct sim_event *b)
{
	if (a->at != b->at)
		return a->at < b->at;
	if (a->shuffle != b->shuffle)
		return a->shuffle < b->shuffle;
	return a->sequence < b->sequence;
}

static void swap(struct sim_event *a, struct sim_event *b)
{
	struct sim_event t = *a;

	*a = *b;
	*b = t;
}

void sim_push(struct sim *sim, struct sim_event event)
{
	size_t i = sim->queue_count;

	if (i == sim->queue_cap) {
		sim->queue_cap = sim->queue_cap ? 2 * sim->queue_cap : 1024;
		sim->queue = realloc(sim->queue, sim->queue_cap * sizeof(sim->queue[0]));
		CV_ASSERT(sim->queue);
	}
	CV_ASSERT(event.at >= sim->now);
	event.shuffle = rng_u64(&sim->rng);
	event.sequence = sim->sequence++;
	sim->queue[sim->queue_count++] = event;
	while (i > 0 && is_before(&sim->queue[i], &sim->queue[(i - 1) / 2])) {
		swap(&sim->queue[i], &sim->queue[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
}

static struct sim_event pop(struct sim *sim)
{
	struct sim_event first = sim->queue[0];
	size_t i = 0;

	sim->queue[0] = sim->queue[--sim->queue_count];
	for (;;) {
		size_t least = i;

		for (size_t k = 2 * i + 1; k <= 2 * i + 2 && k < sim->queue_count; k++) {
			if (is_before(&sim->queue[k], &sim->queue[least]))
				least = k;
		}
		if (least == i)
			return first;
		swap(&sim->queue[i], &sim->queue[least]);
		i = least;
	}
}

void sim_at(struct sim *sim, cv_time at, sim_call *call, uint64_t arg)
{
	sim_push(sim, (struct sim_event){
			      .at = CV_MAX(at, sim->now),
			      .kind = SIM_EVENT_CALL,
			      .number = SIM_NOBODY,
			      .call = call,
			      .arg = arg,
		      });
}

/* ---- running ---- */

static void step(struct sim *sim)
{
	struct sim_event event = pop(sim);

	sim->now = event.at;
	if (++sim->events > sim->events_max)
		sim_fail(sim, "the story does not end: %llu events",
		         (unsigned long long)sim->events_max);
	switch (event.kind) {
	case SIM_EVENT_ROUTE:
		simnet_route(sim, event.datagram);
		return;
	case SIM_EVENT_CALL:
		event.call(sim, event.arg);
		return;
	case SIM_EVENT_ARRIVE:
	case SIM_EVENT_REFUSED:
	case SIM_EVENT_TIMER:
	case SIM_EVENT_APP:
		simhost_on_event(sim, &event);
		return;
	}
	CV_UNREACHABLE();
}

void sim_run(struct sim *sim, cv_duration d)
{
	cv_time end = sim->now + d;

	while (!sim->has_failed && sim->queue_count > 0 && sim->queue[0].at <= end)
		step(sim);
	if (!sim->has_failed)
		sim->now = end;
}

bool sim_until(struct sim *sim, cv_duration bound, sim_predicate *is_true, const char *what)
{
	cv_time end = sim->now + bound;

	while (!sim->has_failed && !is_true(sim)) {
		if (sim->queue_count == 0 || sim->queue[0].at > end) {
			sim->now = end;
			sim_fail(sim, "not within %llu ms: %s",
			         (unsigned long long)(bound / CV_MS(1)), what);
			break;
		}
		step(sim);
	}
	return !sim->has_failed;
}

/* ---- life ---- */

void sim_init(struct sim *sim, uint64_t seed, const char *scenario, bool is_traced)
{
	memset(sim, 0, sizeof(*sim));
	sim->live_before = cv_alloc_live();
	sim->seed = seed;
	sim->scenario = scenario;
	sim->is_traced = is_traced;
	sim->now = SIM_START;
	sim->events_max = EVENTS_MAX;
	sim->turns_max = TURNS_MAX;
	sim->check_interval = 1;
	sim->hops = SIM_HOPS;
	rng_seeded_init(&sim->seeded, seed);
	sim->rng = rng_from_seeded(&sim->seeded);
	sim->train_bytes = malloc(TRAIN_BYTES_MAX);
	CV_ASSERT(sim->train_bytes);
	simwatch_init(sim);
}

bool sim_deinit(struct sim *sim)
{
	uint64_t live;

	for (int i = 0; i < sim->host_count; i++)
		simhost_kill(sim, &sim->hosts[i], false);
	live = cv_alloc_live();
	if (live != sim->live_before)
		sim_fail(sim, "%lld bytes are left behind", (long long)(live - sim->live_before));
	for (size_t i = 0; i < sim->queue_count; i++)
		free(sim->queue[i].datagram);
	while (sim->spare) {
		struct sim_datagram *next = sim->spare->next;

		free(sim->spare);
		sim->spare = next;
	}
	for (int i = 0; i < sim->nat_count; i++)
		simnat_deinit(&sim->nats[i]);
	free(sim->queue);
	free(sim->train_bytes);
	simwatch_deinit(sim);
	return !sim->has_failed;
}

/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <string.h>

/*
 * One direction of a link. A datagram does not wait in a list: when it enters, the instant at which
 * it leaves is already known from the instant at which the one before it leaves.
 *
 *	       policer     queue, serialiser                propagation, grants
 *	enters ───────▸ |· · · · waits · · · ·|▸ bits leave ─────────────────▸ leaves
 *	       loss      now … begin             begin … busy_until
 *
 * Loss comes first and costs no time of the serialiser. A lossy radio behind a bottleneck is two
 * links: the shared one with the rate, the host's with the loss.
 */

enum { MTU_DEFAULT = 1472, QUEUE_DEFAULT = 128 * 1024, MASK_BITS = 64 };

static bool is_lost(struct sim *sim, struct sim_link *l)
{
	uint64_t number = l->count++;

	if (number + 1 == l->drop_number || (l->drop_mask >> (number % MASK_BITS) & 1))
		return true;
	if (l->is_bursting)
		l->is_bursting = !sim_chance(sim, 1000000 / CV_MAX(l->burst_mean, 1));
	else if (l->burst_ppm)
		l->is_bursting = sim_chance(sim, l->burst_ppm);
	return l->is_bursting || sim_chance(sim, l->loss_ppm);
}

/* Where a bit matters: mac2 is not looked at without load, and reserved bits are ignored. */
static size_t draw_place(struct sim *sim, const uint8_t *bytes, size_t size, unsigned *bit)
{
	unsigned kind = bytes[0] & WIRE_KIND_MASK;
	size_t begin = 0;

	*bit = (unsigned)sim_below(sim, 8);
	if (kind == WIRE_INIT && size > MAC_SIZE + 1)
		size -= MAC_SIZE;
	if ((kind == WIRE_COOKIE || kind == WIRE_VERSION) && size > 4)
		begin = 4;
	begin += sim_below(sim, size - begin);
	if (begin == 0)
		*bit |= 4; /* the kind itself */
	return begin;
}

void simlink_damage(struct sim *sim, struct sim_datagram *d)
{
	/* An outer RELAY header is no more than a label; what matters lies behind it. */
	size_t skip = (d->bytes[0] & WIRE_KIND_MASK) == WIRE_RELAY ? WIRE_RELAY_HEADER : 0;
	unsigned bit;

	if (d->is_corrupt || d->size <= skip + 1) /* twice might undo it */
		return;
	if (d->bytes[0] < WIRE_INIT) /* STUN has nothing but UDP's checksum, which is enough */
		return;
	if (sim_below(sim, 4) == 0) {
		d->size = (uint16_t)(1 + skip + sim_below(sim, d->size - skip - 1));
	} else {
		size_t at = skip + draw_place(sim, d->bytes + skip, d->size - skip, &bit);

		d->bytes[at] ^= (uint8_t)(1u << bit);
	}
	d->is_corrupt = true;
}

/* ---- rate ---- */

/* True: within what the policer allows. */
static bool take_tokens(const struct sim *sim, struct sim_link *l, uint64_t size)
{
	uint64_t burst = l->police_burst * CV_SEC(1);
	cv_duration idle = CV_MIN(sim->now - l->tokens_at, CV_SEC(10));

	if (l->tokens_at == 0)
		l->tokens = burst;
	else
		l->tokens = CV_MIN(burst, l->tokens + idle * l->police_rate);
	l->tokens_at = sim->now;
	if (l->tokens < size * CV_SEC(1))
		return false;
	l->tokens -= size * CV_SEC(1);
	return true;
}

static uint64_t bytes_in(cv_duration d, uint64_t rate)
{
	return d / CV_SEC(1) * rate + d % CV_SEC(1) * rate / CV_SEC(1);
}

/* Bytes that wait at @start. */
static uint64_t backlog(const struct sim_link *l, cv_time start)
{
	cv_time stale = CV_MAX(CV_MIN(l->stale_until, l->busy_until), start);

	if (l->busy_until <= start)
		return 0;
	return bytes_in(stale - start, l->stale_rate) + bytes_in(l->busy_until - stale, l->rate);
}

/* When the last bit of @d leaves; CV_TIME_NEVER: no room. */
static cv_time serialise(struct sim *sim, struct sim_link *l, struct sim_datagram *d)
{
	cv_time start = CV_MAX(sim->now, l->held_until);
	cv_time begin = CV_MAX(start, l->busy_until);
	uint64_t waiting = backlog(l, start);

	if (waiting > (l->queue ? l->queue : QUEUE_DEFAULT))
		return CV_TIME_NEVER;
	if (l->mark_queue && waiting >= l->mark_queue && d->ecn != ECN_NOT_ECT) {
		d->ecn = ECN_CE;
		if (l->meter)
			l->meter->marked++;
	}
	l->busy_until = begin + (uint64_t)(d->size + SIM_IP_UDP) * CV_SEC(1) / l->rate;
	return l->busy_until;
}

/* ---- meter ---- */

static unsigned bucket_of(uint64_t wait)
{
	unsigned octave = 0;

	while (wait >> octave >= 2 * SIM_WAIT_STEPS)
		octave++;
	return CV_MIN(octave * SIM_WAIT_STEPS + (unsigned)(wait >> octave),
	              (unsigned)SIM_WAITS - 1);
}

static void measure(struct sim_meter *m, uint64_t size, cv_duration wait)
{
	if (!m)
		return;
	m->passed++;
	m->passed_bytes += size;
	m->wait_max = CV_MAX(m->wait_max, wait);
	m->waits[bucket_of(wait)]++;
}

cv_duration simlink_wait(const struct sim_meter *m, unsigned permille)
{
	uint64_t want = (m->passed * permille + 999) / 1000, seen = 0;

	for (unsigned i = 0; i < SIM_WAITS; i++) {
		unsigned octave = i < 2 * SIM_WAIT_STEPS ? 0 : i / SIM_WAIT_STEPS - 1;

		seen += m->waits[i];
		if (seen >= want && seen > 0)
			return CV_MIN(((uint64_t)(i - octave * SIM_WAIT_STEPS) + 1) << octave,
			              m->wait_max);
	}
	return m->wait_max;
}

/* ---- through it ---- */

/* Out of the serialiser at @at: what is left of the way. */
static cv_time propagate(struct sim *sim, struct sim_link *l, struct sim_datagram *d, cv_time at)
{
	at += l->delay + sim_below(sim, l->jitter + 1);
	if (sim_chance(sim, l->reorder_ppm))
		at += l->reorder_delay;
	if (sim_chance(sim, l->corrupt_ppm))
		simlink_damage(sim, d);
	if (l->grant_interval)
		at += (l->grant_interval - at % l->grant_interval) % l->grant_interval;
	if (l->keeps_order)
		at = CV_MAX(at, l->last_at);
	l->last_at = CV_MAX(at, l->last_at);
	return at;
}

cv_time simlink_pass(struct sim *sim, struct sim_link *l, struct sim_datagram *d)
{
	uint64_t size = d->size + (uint64_t)SIM_IP_UDP;
	cv_time at = sim->now;

	if (l->is_down || d->size > (l->mtu ? l->mtu : MTU_DEFAULT) || is_lost(sim, l)) {
		if (l->meter)
			l->meter->lost++;
		return CV_TIME_NEVER;
	}
	if (l->police_rate && !take_tokens(sim, l, size)) {
		if (l->meter)
			l->meter->policed++;
		return CV_TIME_NEVER;
	}
	at = l->rate ? serialise(sim, l, d) : CV_MAX(at, l->held_until);
	if (at == CV_TIME_NEVER) {
		if (l->meter)
			l->meter->dropped++;
		return CV_TIME_NEVER;
	}
	measure(l->meter, size, at - sim->now - (l->rate ? size * CV_SEC(1) / l->rate : 0));
	return propagate(sim, l, d, at);
}

/* ---- changes ---- */

static void change(struct sim *sim, uint64_t index)
{
	struct sim_link *l = sim->changes[index].link, old = *l;

	*l = sim->changes[index].to;
	l->meter = old.meter;
	l->is_down = old.is_down;
	l->is_bursting = old.is_bursting;
	l->count = old.count;
	l->busy_until = old.busy_until;
	l->last_at = old.last_at;
	l->tokens = old.tokens;
	l->tokens_at = l->police_rate == old.police_rate ? old.tokens_at : 0;
	l->stale_until = old.stale_until;
	l->stale_rate = old.stale_rate;
	if (l->rate != old.rate && old.rate) {
		l->stale_until = old.busy_until;
		l->stale_rate = old.rate;
	}
	sim_tell(sim, "link changes", SIM_NOBODY, l->rate, l->delay);
}

void simlink_change_at(struct sim *sim, cv_time at, struct sim_link *l, const struct sim_link *to)
{
	CV_ASSERT(sim->change_count < SIM_CHANGES_MAX);
	sim->changes[sim->change_count] = (struct sim_change){ l, *to };
	sim_at(sim, at, change, sim->change_count++);
}

/* ---- story ---- */

/* Differs when one bit does. */
uint64_t simlink_digest(const uint8_t *bytes, size_t size, uint64_t h)
{
	h ^= UINT64_C(0xcbf29ce484222325);
	for (; size >= 8; size -= 8, bytes += 8) {
		uint64_t v;

		memcpy(&v, bytes, 8);
		h = (h ^ sim_little(v)) * UINT64_C(0x9fb21c651e98df25);
		h ^= h >> 32;
	}
	for (; size > 0; size--, bytes++)
		h = (h ^ *bytes) * UINT64_C(0x100000001b3);
	return h ^ (h >> 29);
}

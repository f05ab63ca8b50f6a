/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

enum { SOURCES_MAX = 256, LARGEST = 1472 };

/* Who has shown a server that he is where he says. */
struct source {
	struct addr addr;
	int hub;
	uint64_t in, out;
	bool has_cookie; /* it has read one: an INIT with it proves where it is */
	bool is_proven;
};

/* What a packet number was used for. */
struct use {
	uint64_t name; /* kind, index and number; 0: free */
	uint64_t bytes;
};

struct sim_watch {
	struct use *uses; /* open addressing */
	size_t use_count, use_cap;
	struct source sources[SOURCES_MAX];
	unsigned source_count;
	struct addr victim;
	uint64_t victim_in, victim_out;
};

void simwatch_init(struct sim *sim)
{
	sim->watch = calloc(1, sizeof(*sim->watch));
	CV_ASSERT(sim->watch);
}

void simwatch_deinit(struct sim *sim)
{
	free(sim->watch->uses);
	free(sim->watch);
	sim->watch = NULL;
}

static struct use *place_of(struct use *uses, size_t cap, uint64_t name)
{
	size_t i = name & (cap - 1);

	while (uses[i].name != 0 && uses[i].name != name)
		i = (i + 1) & (cap - 1);
	return &uses[i];
}

static void grow(struct sim_watch *w)
{
	size_t cap = w->use_cap ? 2 * w->use_cap : 4096;
	struct use *uses = calloc(cap, sizeof(*uses));

	CV_ASSERT(uses);
	for (size_t i = 0; i < w->use_cap; i++) {
		if (w->uses[i].name)
			*place_of(uses, cap, w->uses[i].name) = w->uses[i];
	}
	free(w->uses);
	w->uses = uses;
	w->use_cap = cap;
}

/* Bytes behind a RELAY header, if there is one. */
static const uint8_t *sealed_part(const struct sim_datagram *d, size_t *size)
{
	size_t skip = (d->bytes[0] & WIRE_KIND_MASK) == WIRE_RELAY ? WIRE_RELAY_HEADER : 0;

	*size = d->size > skip ? d->size - skip : 0;
	return d->bytes + skip;
}

static uint64_t name_of(const uint8_t *bytes)
{
	return simlink_digest(bytes + 1, WIRE_DATA_HEADER - 1, bytes[0] & WIRE_KIND_MASK) | 1;
}

/* Damaged before a relay and behind it in the same bit: as its author sealed it. */
bool simwatch_is_whole(const struct sim *sim, const struct sim_datagram *d)
{
	const struct sim_watch *w = sim->watch;
	size_t size;
	const uint8_t *bytes = sealed_part(d, &size);
	const struct use *u;

	if (size < WIRE_DATA_OVERHEAD || w->use_cap == 0)
		return false;
	u = place_of(w->uses, w->use_cap, name_of(bytes));
	return u->name != 0 && u->bytes == simlink_digest(bytes, size, 1);
}

/* P9: a number under a key seals one packet; the very same bytes may leave again. */
static void check_number(struct sim *sim, const struct sim_datagram *d)
{
	struct sim_watch *w = sim->watch;
	size_t size;
	const uint8_t *bytes = sealed_part(d, &size);
	unsigned kind = bytes[0] & WIRE_KIND_MASK;
	struct use *u;

	if (bytes != d->bytes && sim->hosts[d->from].is_hub)
		return; /* sealed by another, and perhaps damaged on the way here */
	if ((kind != WIRE_DATA && kind != WIRE_PROBE) || size < WIRE_DATA_OVERHEAD)
		return;
	if (4 * w->use_count >= 3 * w->use_cap)
		grow(w);
	u = place_of(w->uses, w->use_cap, name_of(bytes));
	if (u->name == 0) {
		*u = (struct use){ name_of(bytes), simlink_digest(bytes, size, 1) };
		w->use_count++;
	} else if (u->bytes != simlink_digest(bytes, size, 1)) {
		sim_fail(sim, "P9: %s sealed two packets of kind %x under one number",
		         sim->hosts[d->from].name, kind);
	}
}

static struct source *source_of(struct sim_watch *w, int hub, const struct addr *a)
{
	for (unsigned i = 0; i < w->source_count; i++) {
		if (w->sources[i].hub == hub && addr_equal(&w->sources[i].addr, a))
			return &w->sources[i];
	}
	if (w->source_count == SOURCES_MAX)
		return NULL;
	w->sources[w->source_count] = (struct source){ .addr = *a, .hub = hub };
	return &w->sources[w->source_count++];
}

static void check_amplification(struct sim *sim, const struct sim_datagram *d)
{
	struct sim_watch *w = sim->watch;
	struct source *s;

	if (w->victim.family != ADDR_NONE && addr_equal(&d->dst, &w->victim)) {
		w->victim_out += d->size;
		if (w->victim_out > w->victim_in)
			sim_fail(sim, "P7: %s sent a victim more than it was said to have sent",
			         sim->hosts[d->from].name);
	}
	if (!sim->hosts[d->from].is_hub)
		return;
	s = source_of(w, d->from, &d->dst);
	if (!s)
		return;
	s->out += d->size;
	if (!s->is_proven && s->out > s->in)
		sim_fail(sim, "P7: %s sent %llu bytes to an address that sent %llu",
		         sim->hosts[d->from].name, (unsigned long long)s->out,
		         (unsigned long long)s->in);
}

void simwatch_on_sent(struct sim *sim, const struct sim_datagram *d)
{
	if (d->size == 0 || d->size > LARGEST)
		sim_fail(sim, "%s sent %u bytes", sim->hosts[d->from].name, d->size);
	if (!sim->hosts[d->from].is_trusted)
		return;
	if (!sim->is_light)
		check_number(sim, d);
	check_amplification(sim, d);
}

static bool has_mac2(const struct sim_datagram *d)
{
	static const uint8_t none[MAC_SIZE];

	return d->size == WIRE_INIT_SIZE &&
	       memcmp(d->bytes + d->size - MAC_SIZE, none, MAC_SIZE) != 0;
}

void simwatch_on_arrival(struct sim *sim, const struct sim_host *h, const struct sim_datagram *d)
{
	struct sim_watch *w = sim->watch;
	unsigned kind = d->bytes[0] & WIRE_KIND_MASK;
	struct source *s;

	if (w->victim.family != ADDR_NONE && addr_equal(&d->src, &w->victim))
		w->victim_in += d->size;
	/* Who confirms a RESP has read it: where it went is proven, wherever the proof comes from.
	 */
	if (d->from >= 0 && sim->hosts[d->from].is_hub && kind == WIRE_RESP && !d->is_corrupt) {
		s = source_of(w, d->from, &d->sent_to);
		if (s)
			s->is_proven = true;
	}
	if (d->from >= 0 && sim->hosts[d->from].is_hub && kind == WIRE_COOKIE && !d->is_corrupt) {
		s = source_of(w, d->from, &d->sent_to);
		if (s)
			s->has_cookie = true;
	}
	if (!h->is_hub)
		return;
	s = source_of(w, h->number, &d->src);
	if (!s)
		return;
	s->in += d->size;
	if (s->has_cookie && kind == WIRE_INIT && has_mac2(d) && !d->is_corrupt)
		s->is_proven = true;
	/* Sealed under keys that only came about by hearing our answers there. */
	if (!d->is_spoofed && !d->is_corrupt && (kind == WIRE_DATA || kind == WIRE_PROBE))
		s->is_proven = true;
}

void simwatch_forget(struct sim *sim)
{
	struct sim_watch *w = sim->watch;

	if (w->use_cap > 0)
		memset(w->uses, 0, w->use_cap * sizeof(w->uses[0]));
	w->use_count = 0;
}

void simwatch_add_victim(struct sim *sim, const struct addr *victim)
{
	sim->watch->victim = *victim;
}

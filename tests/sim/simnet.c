/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

enum {
	HOPS_MAX = 8,
	STREAM_OVERHEAD = WIRE_DATA_OVERHEAD + 13, /* of a packet full of one stream's bytes */
};

/* ---- memory ---- */

/* The heap is asked once for each datagram that is on its way at the same time as all others. */
struct sim_datagram *simnet_new(struct sim *sim)
{
	struct sim_datagram *d = sim->spare;

	if (d)
		sim->spare = d->next;
	else
		d = malloc(sizeof(*d));
	CV_ASSERT(d);
	memset(d, 0, offsetof(struct sim_datagram, bytes));
	return d;
}

void simnet_free(struct sim *sim, struct sim_datagram *d)
{
	if (!d)
		return;
	d->next = sim->spare;
	sim->spare = d;
}

static struct sim_datagram *copy(struct sim *sim, const struct sim_datagram *d)
{
	struct sim_datagram *c = simnet_new(sim);

	memcpy(c, d, offsetof(struct sim_datagram, bytes) + d->size);
	return c;
}

/* ---- sending ---- */

/* Through a link to what comes behind it, once or twice. */
static void carry(struct sim *sim, struct sim_link *l, struct sim_datagram *d,
                  enum sim_event_kind kind, int number, cv_duration more)
{
	struct sim_datagram *twin = sim_chance(sim, l->duplicate_ppm) ? copy(sim, d) : NULL;

	for (; d; d = twin, twin = NULL) {
		cv_time at = simlink_pass(sim, l, d);

		if (at == CV_TIME_NEVER) {
			sim_tell(sim, "lost", d->from, d->size, d->bytes[0]);
			simnet_free(sim, d);
			continue;
		}
		sim_push(sim, (struct sim_event){
				      .at = at + more,
				      .kind = kind,
				      .number = number,
				      .datagram = d,
			      });
	}
}

/* For the reader of a trace: what kind of datagram goes where. */
static void describe(const struct sim *sim, const struct sim_datagram *d)
{
	static const char *const kinds[] = { "STUN",   "?",       "?",    "?",     "INIT", "RESP",
		                             "COOKIE", "VERSION", "DATA", "PROBE", "RELAY" };
	char to[ADDR_TEXT_MAX];
	unsigned kind = d->bytes[0] >> 4;
	unsigned inner = kind == WIRE_RELAY >> 4 && d->size > WIRE_RELAY_HEADER
	                         ? d->bytes[WIRE_RELAY_HEADER] >> 4
	                         : 0;

	if (!sim->is_traced)
		return;
	printf("             %-6s %s%s%s, %u bytes to %s\n", sim->hosts[d->from].name,
	       kind < CV_ARRAY_SIZE(kinds) ? kinds[kind] : "?", inner ? " " : "",
	       inner && inner < CV_ARRAY_SIZE(kinds) ? kinds[inner] : "", d->size,
	       addr_format(&d->dst, to));
}

void simnet_launch(struct sim *sim, struct sim_host *h, struct sim_datagram *d)
{
	simwatch_on_sent(sim, d);
	sim_tell(sim, "sends", h->number, d->size,
	         sim->is_light ? 0 : simlink_digest(d->bytes, d->size, 0));
	describe(sim, d);
	if (sim->tap)
		(void)sim->tap(sim, d);
	h->sent++;
	if (d->size > 2 * STREAM_OVERHEAD && (d->bytes[0] & WIRE_KIND_MASK) == WIRE_DATA)
		h->sent_payload += d->size - (uint64_t)STREAM_OVERHEAD;
	if (h->up.is_instant)
		simnet_route(sim, d);
	else
		carry(sim, &h->up, d, SIM_EVENT_ROUTE, SIM_NOBODY, 0);
}

void simnet_send(struct sim *sim, struct sim_host *h, const struct train *t)
{
	size_t step = t->segment_size;
	unsigned count = 0;

	if (t->size == 0 || step == 0 || step > t->size || t->size > TRAIN_BYTES_MAX ||
	    t->to.family == ADDR_NONE) {
		sim_fail(sim, "%s: a train without sense: size %zu, segment %zu, to family %u",
		         h->name, t->size, step, t->to.family);
		return;
	}
	for (size_t at = 0; at < t->size; at += step, count++) {
		size_t size = CV_MIN(step, t->size - at);
		struct sim_datagram *d;

		if (size > SIM_DATAGRAM_MAX) {
			sim_fail(sim, "%s: a datagram of %zu bytes", h->name, size);
			return;
		}
		d = simnet_new(sim);
		d->src = h->address;
		d->dst = t->to;
		d->sent_to = t->to;
		d->from = h->number;
		d->zone = h->zone;
		d->ecn = t->ecn;
		d->size = (uint16_t)size;
		memcpy(d->bytes, t->bytes + at, size);
		simnet_launch(sim, h, d);
	}
	if (count != t->count || count > TRAIN_SEGMENTS_MAX)
		sim_fail(sim, "%s: a train of %u says %u", h->name, count, t->count);
}

void simnet_inject(struct sim *sim, int from, const struct addr *as, const struct addr *to,
                   const uint8_t *bytes, size_t size)
{
	struct sim_datagram *d = simnet_new(sim);

	CV_ASSERT(size <= SIM_DATAGRAM_MAX);
	d->src = *as;
	d->dst = *to;
	d->sent_to = *to;
	d->from = from;
	d->zone = SIM_ROOT;
	d->is_spoofed = true;
	d->size = (uint16_t)size;
	memcpy(d->bytes, bytes, size);
	sim_push(sim, (struct sim_event){
			      .at = sim->now + CV_MS(1),
			      .kind = SIM_EVENT_ROUTE,
			      .number = SIM_NOBODY,
			      .datagram = d,
		      });
}

/* ---- the way ---- */

static struct sim_host *host_at(struct sim *sim, int zone, const struct addr *a)
{
	for (int i = 0; i < sim->host_count; i++) {
		if (sim->hosts[i].zone == zone && addr_equal_ip(&sim->hosts[i].address, a))
			return &sim->hosts[i];
	}
	return NULL;
}

static int nat_at(const struct sim *sim, int zone, const struct addr *a)
{
	for (int i = 0; i < sim->nat_count; i++) {
		if (sim->nats[i].zone == zone && addr_equal_ip(&sim->nats[i].address, a))
			return i;
	}
	return SIM_ROOT;
}

/* The host that @d reaches, its addresses translated on the way; NULL: it gets lost. */
static struct sim_host *walk(struct sim *sim, struct sim_datagram *d)
{
	for (unsigned hops = 0; hops < HOPS_MAX; hops++) {
		struct sim_host *h = host_at(sim, d->zone, &d->dst);
		int nat;

		if (h)
			return h->address.port == d->dst.port ? h : NULL;
		nat = nat_at(sim, d->zone, &d->dst);
		if (nat != SIM_ROOT) { /* down, into what it hides */
			if (!simnat_in(sim, &sim->nats[nat], d))
				return NULL;
			d->zone = nat;
			continue;
		}
		if (d->zone == SIM_ROOT)
			return NULL;
		nat = d->zone; /* up */
		if (addr_equal_ip(&sim->nats[nat].address, &d->dst) && !sim->nats[nat].hairpins)
			return NULL;
		if (!simnat_out(sim, &sim->nats[nat], d))
			return NULL;
		d->zone = sim->nats[nat].zone;
	}
	return NULL;
}

/* Over the link that both hosts' traffic shares with others', and back to simnet_route(). */
static void share(struct sim *sim, struct sim_link *l, struct sim_datagram *d)
{
	d->has_crossed = true;
	carry(sim, l, d, SIM_EVENT_ROUTE, SIM_NOBODY, 0);
}

static void deliver(struct sim *sim, struct sim_host *h, struct sim_datagram *d)
{
	cv_time at;

	/* Only a datagram that an event brought here may reach a host within this call: the host
	 * that sends is in the middle of its turn. */
	if (!h->down.is_instant || !d->has_crossed) {
		carry(sim, &h->down, d, SIM_EVENT_ARRIVE, h->number,
		      d->from >= 0 ? sim->pair_delay[d->from][h->number] : 0);
		return;
	}
	at = simlink_pass(sim, &h->down, d);
	if (at == sim->now) {
		simhost_on_event(sim, &(struct sim_event){ .at = at,
		                                           .kind = SIM_EVENT_ARRIVE,
		                                           .number = h->number,
		                                           .datagram = d });
		return;
	}
	CV_ASSERT(at == CV_TIME_NEVER);
	sim_tell(sim, "lost", d->from, d->size, d->bytes[0]);
	simnet_free(sim, d);
}

void simnet_route(struct sim *sim, struct sim_datagram *d)
{
	struct sim_host *h = NULL;
	int from = d->from;

	if (d->has_crossed || !sim->filter || !sim->filter(sim, d))
		h = walk(sim, d);
	if (!h || (from >= 0 && !d->is_spoofed &&
	           (sim->blocked[from][h->number] || (sim->pair_mtu[from][h->number] &&
	                                              d->size > sim->pair_mtu[from][h->number])))) {
		sim_tell(sim, h ? "is blocked" : "finds no way", from, d->size, d->bytes[0]);
		simnet_free(sim, d);
		return;
	}
	if (from >= 0 && sim->via[from][h->number] && !d->has_crossed)
		share(sim, sim->via[from][h->number], d);
	else
		deliver(sim, h, d);
}

/* The machine of a dead process answers with ICMP, which finds its way back through NATs. */
void simnet_refuse(struct sim *sim, const struct sim_datagram *d)
{
	struct sim_host *h;

	if (d->from < 0 || d->is_spoofed)
		return;
	h = &sim->hosts[d->from];
	sim_push(sim, (struct sim_event){
			      .at = sim->now + h->down.delay,
			      .kind = SIM_EVENT_REFUSED,
			      .number = d->from,
			      .datagram = copy(sim, d),
		      });
}

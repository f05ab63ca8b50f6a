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
	uint16_t port = simhost_port_of(h, t->socket);
	unsigned count = 0;

	if (t->size == 0 || step == 0 || step > t->size || t->size > TRAIN_BYTES_MAX ||
	    t->to.family == ADDR_NONE) {
		sim_fail(sim, "%s: a train without sense: size %zu, segment %zu, to family %u",
		         h->name, t->size, step, t->to.family);
		return;
	}
	if (port == 0) {
		char to[ADDR_TEXT_MAX];

		sim_fail(sim, "%s writes %x to %s by socket %u, which is not open", h->name,
		         t->bytes[0], addr_format(&t->to, to), t->socket);
		return;
	}
	if (t->to.family == ADDR_V6 ? h->address6.family == ADDR_NONE : h->lacks_v4) {
		sim_tell(sim, "has no route", h->number, t->size, t->count); /* ENETUNREACH */
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
		d->src = t->to.family == ADDR_V6 ? h->address6 : h->address;
		d->src.port = port;
		d->dst = t->to;
		d->socket = t->socket;
		d->ttl = t->ttl;
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

void simnet_delay(struct sim *sim, const struct sim_datagram *d, cv_duration later)
{
	struct sim_datagram *c = copy(sim, d);

	c->is_spoofed = true;
	sim_push(sim, (struct sim_event){
			      .at = sim->now + later,
			      .kind = SIM_EVENT_ROUTE,
			      .number = SIM_NOBODY,
			      .datagram = c,
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
		if (sim->nats[i].zone == zone && simnat_has_address(&sim->nats[i], a))
			return i;
	}
	return SIM_ROOT;
}

/* True while @d is allowed to pass @count routers more. */
static bool passes_routers(struct sim_datagram *d, unsigned count)
{
	if (d->ttl == 0)
		return true;
	if (d->ttl <= count)
		return false;
	d->ttl = (uint8_t)(d->ttl - count);
	return true;
}

/* Router @nat lets @d in, or tells its sender that it does not. */
static bool enter(struct sim *sim, int nat, struct sim_datagram *d)
{
	struct sim_nat *n = &sim->nats[nat];

	if (!passes_routers(d, 1 + n->hops))
		return false;
	if (simnat_in(sim, n, d)) {
		d->zone = nat;
		return true;
	}
	if (n->refuses)
		simnet_refuse(sim, d);
	return false;
}

/* Router @nat lets @d out. */
static bool leave(struct sim *sim, int nat, struct sim_datagram *d)
{
	struct sim_nat *n = &sim->nats[nat];

	if (!passes_routers(d, 1 + n->hops) || !simnat_out(sim, n, d))
		return false;
	d->zone = n->zone;
	return true;
}

static bool is_inside(const struct sim *sim, int zone, int outer)
{
	while (zone != outer && zone != SIM_ROOT)
		zone = sim->nats[zone].zone;
	return zone == outer;
}

/* The router by which one gets from @zone to @inner, which lies behind it. */
static int way_down(const struct sim *sim, int zone, int inner)
{
	while (sim->nats[inner].zone != zone)
		inner = sim->nats[inner].zone;
	return inner;
}

/* IPv6 is routed, not translated: firewalls on both ways. */
static struct sim_host *walk_v6(struct sim *sim, struct sim_datagram *d)
{
	struct sim_host *h = NULL;

	for (int i = 0; i < sim->host_count; i++) {
		if (addr_equal_ip(&sim->hosts[i].address6, &d->dst))
			h = &sim->hosts[i];
	}
	if (!h || d->src.family != ADDR_V6)
		return NULL;
	while (!is_inside(sim, h->zone, d->zone)) {
		const struct sim_nat *n = &sim->nats[d->zone];

		if (!n->is_open6 && !leave(sim, d->zone, d))
			return NULL;
		d->zone = n->zone;
	}
	if (d->zone == SIM_ROOT && !passes_routers(d, sim->hops))
		return NULL;
	while (d->zone != h->zone) {
		int nat = way_down(sim, d->zone, h->zone);

		if (sim->nats[nat].is_open6)
			d->zone = nat;
		else if (!enter(sim, nat, d))
			return NULL;
	}
	return h;
}

/* The host that @d reaches, its addresses translated on the way; NULL: it gets lost. */
static struct sim_host *walk(struct sim *sim, struct sim_datagram *d)
{
	bool has_crossed = false; /* the internet, from one network to another */

	if (d->dst.family == ADDR_V6)
		return walk_v6(sim, d);
	for (unsigned hops = 0; hops < HOPS_MAX; hops++) {
		struct sim_host *h = host_at(sim, d->zone, &d->dst);
		int nat = nat_at(sim, d->zone, &d->dst);

		if ((h || nat != SIM_ROOT) && d->zone == SIM_ROOT && !has_crossed &&
		    !passes_routers(d, sim->hops))
			return NULL;
		has_crossed |= d->zone == SIM_ROOT;
		if (h)
			return h;
		if (nat != SIM_ROOT) { /* down, into what it hides */
			if (!enter(sim, nat, d))
				return NULL;
			continue;
		}
		if (d->zone == SIM_ROOT)
			return NULL;
		nat = d->zone; /* up */
		if (simnat_has_address(&sim->nats[nat], &d->dst) && !sim->nats[nat].hairpins)
			return NULL;
		if (!leave(sim, nat, d))
			return NULL;
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
	uint16_t socket;

	if (sim->mangle && !d->has_crossed)
		sim->mangle(sim, d);
	if (d->has_crossed || !sim->filter || !sim->filter(sim, d))
		h = walk(sim, d);
	if (h && !simhost_socket_at(h, d->dst.port, &socket))
		h = NULL;
	if (!h || (from >= 0 && !d->is_spoofed &&
	           (sim->blocked[from][h->number] || (sim->pair_mtu[from][h->number] &&
	                                              d->size > sim->pair_mtu[from][h->number])))) {
		sim_tell(sim, h ? "is blocked" : "finds no way", from, d->size, d->bytes[0]);
		if (!h && from >= 0 && !d->is_spoofed)
			sim->hosts[from].unanswered++;
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

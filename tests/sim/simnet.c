/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

enum { MTU_DEFAULT = 1472, QUEUE_DEFAULT = 128 * 1024, HOPS_MAX = 8, WIRE_OVERHEAD = 28 };

/* ---- links ---- */

static bool is_lost(struct sim *sim, struct sim_link *l)
{
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

static void damage(struct sim *sim, struct sim_datagram *d)
{
	/* An outer RELAY header is no more than a label; what matters lies behind it. */
	size_t skip = (d->bytes[0] & WIRE_KIND_MASK) == WIRE_RELAY ? WIRE_RELAY_HEADER : 0;
	unsigned bit;

	if (d->is_corrupt || d->size <= skip + 1) /* twice might undo it */
		return;
	if (sim_below(sim, 4) == 0) {
		d->size = (uint16_t)(1 + skip + sim_below(sim, d->size - skip - 1));
	} else {
		size_t at = skip + draw_place(sim, d->bytes + skip, d->size - skip, &bit);

		d->bytes[at] ^= (uint8_t)(1u << bit);
	}
	d->is_corrupt = true;
}

/* When @d is through @l; CV_TIME_NEVER: lost. */
static cv_time pass(struct sim *sim, struct sim_link *l, struct sim_datagram *d)
{
	cv_time at = sim->now;
	cv_duration wait = 0;

	if (l->is_down || d->size > (l->mtu ? l->mtu : MTU_DEFAULT) || is_lost(sim, l))
		return CV_TIME_NEVER;
	if (l->rate) {
		uint32_t queue = l->queue ? l->queue : QUEUE_DEFAULT;

		at = CV_MAX(at, l->busy_until);
		if ((at - sim->now) * l->rate / CV_SEC(1) > queue)
			return CV_TIME_NEVER;
		at += (uint64_t)(d->size + WIRE_OVERHEAD) * CV_SEC(1) / l->rate;
		l->busy_until = at;
	}
	wait = l->delay + sim_below(sim, l->jitter + 1);
	if (sim_chance(sim, l->reorder_ppm))
		wait += l->reorder_delay;
	if (sim_chance(sim, l->corrupt_ppm))
		damage(sim, d);
	return at + wait;
}

static struct sim_datagram *copy(const struct sim_datagram *d)
{
	struct sim_datagram *c = malloc(sizeof(*c));

	CV_ASSERT(c);
	memcpy(c, d, offsetof(struct sim_datagram, bytes) + d->size);
	return c;
}

/* Through a link to what comes behind it, once or twice. */
static void carry(struct sim *sim, struct sim_link *l, struct sim_datagram *d,
                  enum sim_event_kind kind, int number, cv_duration more)
{
	struct sim_datagram *twin = sim_chance(sim, l->duplicate_ppm) ? copy(d) : NULL;

	for (; d; d = twin, twin = NULL) {
		cv_time at = pass(sim, l, d);

		if (at == CV_TIME_NEVER) {
			sim_tell(sim, "lost", d->from, d->size, d->bytes[0]);
			free(d);
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

/* ---- sending ---- */

static uint64_t digest(const uint8_t *bytes, size_t size)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < size; i++)
		h = (h ^ bytes[i]) * UINT64_C(0x100000001b3);
	return h;
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

static void launch(struct sim *sim, struct sim_host *h, struct sim_datagram *d)
{
	simwatch_on_sent(sim, d);
	sim_tell(sim, "sends", h->number, d->size, digest(d->bytes, d->size));
	describe(sim, d);
	if (sim->tap)
		(void)sim->tap(sim, d);
	h->sent++;
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
		d = malloc(sizeof(*d));
		CV_ASSERT(d);
		*d = (struct sim_datagram){
			.src = h->address,
			.dst = t->to,
			.sent_to = t->to,
			.from = h->number,
			.zone = h->zone,
			.size = (uint16_t)size,
		};
		memcpy(d->bytes, t->bytes + at, size);
		launch(sim, h, d);
	}
	if (count != t->count || count > TRAIN_SEGMENTS_MAX)
		sim_fail(sim, "%s: a train of %u says %u", h->name, count, t->count);
}

void simnet_inject(struct sim *sim, int from, const struct addr *as, const struct addr *to,
                   const uint8_t *bytes, size_t size)
{
	struct sim_datagram *d = malloc(sizeof(*d));

	CV_ASSERT(d && size <= SIM_DATAGRAM_MAX);
	*d = (struct sim_datagram){
		.src = *as,
		.dst = *to,
		.sent_to = *to,
		.from = from,
		.zone = SIM_ROOT,
		.is_spoofed = true,
		.size = (uint16_t)size,
	};
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

void simnet_route(struct sim *sim, struct sim_datagram *d)
{
	struct sim_host *h = NULL;
	int from = d->from;

	if (!sim->filter || !sim->filter(sim, d))
		h = walk(sim, d);
	if (!h || (from >= 0 && !d->is_spoofed &&
	           (sim->blocked[from][h->number] || (sim->pair_mtu[from][h->number] &&
	                                              d->size > sim->pair_mtu[from][h->number])))) {
		sim_tell(sim, h ? "is blocked" : "finds no way", from, d->size, d->bytes[0]);
		free(d);
		return;
	}
	carry(sim, &h->down, d, SIM_EVENT_ARRIVE, h->number,
	      from >= 0 ? sim->pair_delay[from][h->number] : 0);
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
			      .datagram = copy(d),
		      });
}

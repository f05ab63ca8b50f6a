/* SPDX-License-Identifier: MIT */
#include "tests/sim/simmalice.h"

#include <string.h>

#include "tunnel/hub_session.h"
#include "tunnel/stun.h"

/*
 *	agent ── DATA, PROBE ──▸ mangle: opened, changed, sealed again ──▸ hub
 *	agent ◂── mangle: likewise ◂── DATA, PROBE, STUN ────────────────── hub
 *	agent ◂── mangle: damaged, mixed; filter: lost, late, twice ◂ RELAY ┘
 *
 * The hub's keys are the liar's own, so that all of it is authentic to the agents. What it says
 * unasked is queued in the hub's own links.
 */

enum { INITS_MAX = 64, NO_MESSAGE = 99 /* a type that does not exist */ };

const struct sim_malice SIM_HONEST = { .only = SIM_NOBODY,
	                               .thief = SIM_NOBODY,
	                               .ghost = SIM_NOBODY };

static struct sim_malice malice;
static int server;
static uint64_t life; /* of .talks: an older one has ended */
static uint64_t deeds;
static uint8_t inits[INITS_MAX][WIRE_INIT_SIZE];
static unsigned init_count;

static struct hub *hub_of(const struct sim *sim)
{
	return sim->hosts[server].hub;
}

static int host_of(const struct sim *sim, const uint8_t pk[32])
{
	for (int i = 0; i < sim->host_count; i++) {
		if (memcmp(sim->hosts[i].me.pk, pk, 32) == 0)
			return i;
	}
	return SIM_NOBODY;
}

static struct hub_session *session_of(const struct sim *sim, int host)
{
	return hub_session_find(hub_of(sim), sim->hosts[host].me.pk);
}

static bool is_meant(int host)
{
	return malice.only == SIM_NOBODY || malice.only == host;
}

static bool does(struct sim *sim, int host, uint32_t ppm)
{
	if (!is_meant(host) || !sim_chance(sim, ppm))
		return false;
	deeds++;
	return true;
}

static struct addr invented(struct sim *sim)
{
	return malice.place.family != ADDR_NONE ? malice.place : simtarget_draw(sim);
}

/* ---- tags ---- */

static void tag_between(const struct sim *sim, int a, int b, uint8_t out[TAG_SIZE])
{
	directory_tag(sim->hosts[server].me.pk, sim->hosts[a].me.pk, sim->hosts[b].me.pk, out);
}

static void exchange(uint8_t tag[TAG_SIZE], const uint8_t a[TAG_SIZE], const uint8_t b[TAG_SIZE])
{
	const uint8_t *to = memcmp(tag, a, TAG_SIZE) == 0   ? b
	                    : memcmp(tag, b, TAG_SIZE) == 0 ? a
	                                                    : NULL;

	if (!to)
		return;
	memcpy(tag, to, TAG_SIZE);
	deeds++;
}

/* Between what @host means and what the server makes of it: the same there and back. */
static void translate(const struct sim *sim, int host, uint8_t tag[TAG_SIZE])
{
	uint8_t a[TAG_SIZE], b[TAG_SIZE];

	if (malice.swaps && host == 0) {
		tag_between(sim, 0, 1, a);
		tag_between(sim, 0, 2, b);
		exchange(tag, a, b);
	}
	if (malice.thief != SIM_NOBODY && host == malice.thief) {
		tag_between(sim, 0, malice.thief, a);
		tag_between(sim, 0, malice.ghost, b);
		exchange(tag, a, b);
	}
}

/* The server takes the thief for the ghost, whose tags it may then register. */
static void promote(struct sim *sim)
{
	struct hub_session *s = malice.thief != SIM_NOBODY ? session_of(sim, malice.thief) : NULL;
	const uint8_t *ghost = sim->hosts[malice.ghost].me.pk;
	uint8_t tag[TAG_SIZE];

	if (!s || s->member.pk == ghost)
		return;
	directory_remove_member(&hub_of(sim)->directory, &s->member, false);
	s->member.pk = ghost;
	tag_between(sim, 0, malice.ghost, tag);
	if (directory_add(&hub_of(sim)->directory, &s->member, tag) < 0)
		sim_fail(sim, "no room for the thief");
	deeds++;
}

/* ---- packets of its sessions ---- */

struct lock {
	int host; /* whose session it is */
	struct wire_data head;
	uint8_t key[AEAD_KEY_SIZE];
};

static void lock_from(const struct epoch *e, bool is_in, bool is_probe, struct lock *out)
{
	const uint8_t *key = is_in ? e->recv_key : e->send_key;

	if (is_probe)
		key = is_in ? e->recv_probe_key : e->send_probe_key;
	memcpy(out->key, key, AEAD_KEY_SIZE);
}

/* Under which of the hub's keys an agent sealed it. */
static bool find_lock_in(struct sim *sim, bool is_probe, struct lock *out)
{
	struct hub *h = hub_of(sim);
	struct hub_session *s =
		hub_session_by_number(h, indexes_find(&h->indexes, out->head.receiver));
	struct epoch *e = s ? assoc_find(&s->light.assoc, out->head.receiver) : NULL, first = { 0 };
	const struct pending *p;

	if (e) {
		out->host = host_of(sim, s->pk);
		lock_from(e, true, is_probe, out);
		return true;
	}
	p = pendings_find(&h->pendings, out->head.receiver);
	if (!p)
		return false;
	out->host = host_of(sim, h->pending_info[p - h->pendings.slots].pk);
	epoch_init(&first, &p->secrets, false, AEAD_CHACHA20_POLY1305, p->index, p->remote_index,
	           sim->now, NULL);
	lock_from(&first, true, is_probe, out);
	epoch_wipe(&first);
	return true;
}

static bool find_lock_out(struct sim *sim, bool is_probe, struct lock *out)
{
	for (int i = 0; i < sim->host_count; i++) {
		const struct hub_session *s = session_of(sim, i);

		for (unsigned k = 0; s && k < ASSOC_EPOCHS_LIGHT; k++) {
			const struct epoch *e = &s->light.epochs[k];

			if (e->local_index == 0 || e->remote_index != out->head.receiver)
				continue;
			out->host = i;
			lock_from(e, false, is_probe, out);
			return true;
		}
	}
	return false;
}

static void remember(const uint8_t *init)
{
	memcpy(inits[init_count++ % INITS_MAX], init, WIRE_INIT_SIZE);
}

static void change_message(struct sim *sim, int host, struct wire_frame *f, uint8_t *body)
{
	struct wire_message m;

	if (!wire_read_message(f->message.body, f->message.size, f->message.type, &m))
		return;
	if (m.init)
		remember(m.init);
	translate(sim, host, m.tag);
	for (unsigned i = 0; i < m.tag_count; i++)
		translate(sim, host, m.tags[i]);
	f->message.size = wire_write_message(body, FRAME_MESSAGE_MAX, &m);
	f->message.body = body;
	if (does(sim, host, malice.swallows))
		f->message.type = NO_MESSAGE;
}

/* Frames are written again in as many bytes. */
static void change_frames(struct sim *sim, int host, uint8_t *plain, size_t size)
{
	uint8_t out[SIM_DATAGRAM_MAX], body[FRAME_MESSAGE_MAX];
	struct wr w = wr_init(out, size);
	struct rd r = rd_init(plain, size);
	struct wire_frame f;

	while (wire_read_frame(&r, &f) == WIRE_FRAME) {
		if (f.type == FRAME_MESSAGE)
			change_message(sim, host, &f, body);
		wire_write_frame(&w, &f);
	}
	if (w.bad) {
		sim_fail(sim, "the liar has no room");
		return;
	}
	wr_zero(&w, size - wr_size(&w)); /* PADDING */
	memcpy(plain, out, size);
}

static void change_probe(struct sim *sim, int host, uint8_t *plain, size_t size)
{
	struct wire_probe p;

	if (!wire_read_probe(plain, size, &p) || p.type != PROBE_ANSWER ||
	    !does(sim, host, malice.lies))
		return;
	p.seen = invented(sim);
	wire_write_probe(plain, size, &p);
}

static void change_sealed(struct sim *sim, struct sim_datagram *d, bool is_in)
{
	const struct aead_ops *ops = aead_ops(AEAD_CHACHA20_POLY1305);
	bool is_probe = (d->bytes[0] & WIRE_KIND_MASK) == WIRE_PROBE;
	uint8_t copy[SIM_DATAGRAM_MAX];
	uint8_t *plain = copy + WIRE_DATA_HEADER;
	struct lock lock;
	size_t size;

	if (!wire_read_data(d->bytes, d->size, &lock.head) ||
	    !(is_in ? find_lock_in(sim, is_probe, &lock) : find_lock_out(sim, is_probe, &lock)))
		return;
	memcpy(copy, d->bytes, d->size);
	if (!ops->open(lock.key, lock.head.number, copy, WIRE_DATA_HEADER, plain,
	               d->size - (size_t)WIRE_DATA_HEADER))
		return; /* damaged on its way */
	size = d->size - (size_t)WIRE_DATA_OVERHEAD;
	if (is_probe && !is_in)
		change_probe(sim, lock.host, plain, size);
	else if (!is_probe)
		change_frames(sim, lock.host, plain, size);
	ops->seal(lock.key, lock.head.number, copy, WIRE_DATA_HEADER, plain, size);
	memcpy(d->bytes, copy, d->size);
}

/* The same answer with another address in it. */
static void change_stun(struct sim *sim, struct sim_datagram *d)
{
	struct stun_message m;
	struct stun_told told;

	if (!stun_read(d->bytes, d->size, &m) || m.type != STUN_SUCCESS ||
	    !does(sim, SIM_NOBODY, malice.stun_lies))
		return;
	told = (struct stun_told){ .mapped = invented(sim), .origin = m.origin, .other = m.other };
	m.type = STUN_REQUEST; /* as it was asked */
	told.mapped.port = (uint16_t)(1024 + sim_below(sim, 64000));
	d->size = (uint16_t)stun_write_answer(d->bytes, d->size, &m, &told);
}

/* ---- the relay ---- */

struct end {
	struct hub_session *s;
	uint64_t number;
};

/* An end of some channel. */
static bool draw_end(struct sim *sim, struct end *out)
{
	struct end list[SIM_HOSTS_MAX * SIM_HOSTS_MAX];
	struct relay_end_info info;
	unsigned count = 0;

	for (int i = 0; i < sim->host_count; i++) {
		struct hub_session *s = session_of(sim, i);

		for (struct list *n = s ? s->port.channels.next : NULL; s && n != &s->port.channels;
		     n = n->next) {
			relay_describe(&hub_of(sim)->relay, n, &info);
			list[count++] = (struct end){ s, info.number };
		}
	}
	if (count == 0)
		return false;
	*out = list[sim_below(sim, count)];
	return true;
}

static int host_at(struct sim *sim, const struct addr *a)
{
	const struct hub_session *s = hub_session_at(hub_of(sim), 0, a);

	return s ? host_of(sim, s->pk) : SIM_NOBODY;
}

static void change_relayed(struct sim *sim, struct sim_datagram *d)
{
	const uint8_t *inner = d->bytes + WIRE_RELAY_HEADER;
	int host = host_at(sim, &d->dst);
	struct end end;

	if (d->size == WIRE_RELAY_HEADER + WIRE_INIT_SIZE && inner[0] == WIRE_INIT)
		remember(inner);
	if (does(sim, host, malice.damages))
		simlink_damage(sim, d);
	if (does(sim, host, malice.leaks)) {
		struct addr from = simtarget_draw(sim);

		simnet_inject(sim, SIM_NOBODY, &from, &d->dst, inner,
		              (size_t)d->size - WIRE_RELAY_HEADER);
	}
	if (does(sim, host, malice.mixes) && draw_end(sim, &end)) {
		d->dst = end.s->port.path;
		wire_write_relay(d->bytes, end.number);
	}
}

static void mangle(struct sim *sim, struct sim_datagram *d)
{
	unsigned kind = d->bytes[0] & WIRE_KIND_MASK;
	bool is_out = d->from == server;

	if (d->is_spoofed || d->from < 0 || !sim->hosts[server].is_running ||
	    (!is_out && !addr_equal_ip(&d->dst, &sim->hosts[server].address)))
		return;
	if (wire_is_stun(d->bytes[0])) {
		if (is_out)
			change_stun(sim, d);
	} else if (kind == WIRE_RELAY) {
		if (is_out)
			change_relayed(sim, d);
	} else if (kind == WIRE_DATA || kind == WIRE_PROBE) {
		change_sealed(sim, d, !is_out);
	}
}

static bool withhold(struct sim *sim, const struct sim_datagram *d)
{
	unsigned kind = d->bytes[0] & WIRE_KIND_MASK;
	bool is_out = d->from == server;
	int host;

	if (d->is_spoofed || d->from < 0 || !sim->hosts[server].is_running ||
	    (!is_out && !addr_equal_ip(&d->dst, &sim->hosts[server].address)))
		return false;
	host = is_out ? host_at(sim, &d->dst) : d->from;
	if (kind != WIRE_RELAY)
		return !wire_is_stun(d->bytes[0]) && does(sim, host, malice.deaf);
	if (!is_out)
		return false;
	if (does(sim, host, malice.doubles))
		simnet_delay(sim, d, sim_draw(sim, CV_MS(1), CV_SEC(1)));
	if (does(sim, host, malice.delays)) {
		simnet_delay(sim, d, 1 + sim_below(sim, malice.delay_max));
		return true;
	}
	return does(sim, host, malice.drops);
}

/* ---- what it says unasked ---- */

/* A meeting of @host's. */
static void draw_tag(struct sim *sim, int host, uint8_t tag[TAG_SIZE])
{
	int other = (int)sim_below(sim, (uint64_t)sim->host_count);

	tag_between(sim, host, other, tag);
}

static uint64_t draw_channel(struct sim *sim)
{
	struct end end;

	if (sim_below(sim, 2) == 0 || !draw_end(sim, &end))
		return rng_u64(&sim->rng);
	return end.number;
}

static void compose(struct sim *sim, struct hub_session *s, struct wire_message *m)
{
	static const uint8_t grants[] = { MESSAGE_OFFER, MESSAGE_OPENED, MESSAGE_CHANNEL_GONE };
	uint32_t entry = directory_find(&hub_of(sim)->directory, &s->member, m->tag);
	unsigned topic;

	do {
		topic = 1u << sim_below(sim, 4);
	} while (!(topic & malice.topics));
	m->channel =
		entry == DIRECTORY_NONE ? 0 : directory_channel(&hub_of(sim)->directory, entry);
	if (topic == MALICE_CHANNELS || m->channel == 0)
		m->channel = draw_channel(sim);
	switch (topic) {
	case MALICE_OLD_INITS:
		m->type = MESSAGE_OFFER;
		if (init_count > 0)
			m->init = inits[sim_below(sim, CV_MIN(init_count, (unsigned)INITS_MAX))];
		break;
	case MALICE_CHANNELS:
		m->type = grants[sim_below(sim, CV_ARRAY_SIZE(grants))];
		break;
	case MALICE_PRESENCE:
		m->type = sim_below(sim, 2) ? MESSAGE_PRESENT : MESSAGE_ABSENT;
		m->is_gone = sim_below(sim, 2);
		break;
	default:
		m->type = MESSAGE_OPENED;
		m->rate_kbit = (uint32_t)sim_draw(sim, 1, 1000);
		m->leg = sim_below(sim, 2) ? LEG_TCP : LEG_UDP;
	}
}

static void talk(struct sim *sim, uint64_t its_life)
{
	int host = (int)sim_below(sim, (uint64_t)sim->host_count);
	struct wire_message m = { 0 };
	struct hub_session *s;

	if (its_life != life || sim->has_failed)
		return;
	sim_at(sim, sim->now + malice.talks / 2 + sim_below(sim, malice.talks), talk, life);
	if (!sim->hosts[server].is_running)
		return;
	s = session_of(sim, host);
	if (!s || !is_meant(host))
		return;
	draw_tag(sim, host, m.tag);
	compose(sim, s, &m);
	if (link_send(&s->light.link, &m) == 0)
		deeds++;
	hub_session_wake(hub_of(sim), s);
	simhost_poke(sim, &sim->hosts[server]);
}

/* A challenge is a reason for the agent to send one of its own, whose answer is a lie. */
static void ask(struct sim *sim, uint64_t its_life)
{
	if (its_life != life || sim->has_failed)
		return;
	sim_at(sim, sim->now + CV_MS(100), ask, life);
	for (int i = 0; i < sim->host_count && sim->hosts[server].is_running; i++) {
		struct hub_session *s = session_of(sim, i);

		if (s && s->port.path.family != ADDR_NONE)
			hub_session_doubt(hub_of(sim), sim->now, s, s->port.socket, &s->port.path,
			                  LIGHT_PROBE_MIN);
	}
	simhost_poke(sim, &sim->hosts[server]);
}

static void keep_thief(struct sim *sim, uint64_t its_life)
{
	if (its_life != life || sim->has_failed)
		return;
	sim_at(sim, sim->now + CV_MS(100), keep_thief, life);
	if (sim->hosts[server].is_running)
		promote(sim);
	simhost_poke(sim, &sim->hosts[server]);
}

/* ---- begin, end ---- */

/* For the reader of a trace. */
static void describe(const struct sim *sim, const struct sim_malice *m)
{
	char place[ADDR_TEXT_MAX] = "anywhere";

	if (!sim->is_traced)
		return;
	if (m->place.family != ADDR_NONE)
		addr_format(&m->place, place);
	printf("             vices: only %d; lies %u stun %u (%s) asks %d; swaps %d thief %d "
	       "swallows %u deaf %u; talks %llu ms of %x; drops %u delays %u (%llu ms) doubles %u "
	       "mixes %u damages %u leaks %u\n",
	       m->only, m->lies, m->stun_lies, place, m->asks, m->swaps, m->thief, m->swallows,
	       m->deaf, (unsigned long long)(m->talks / CV_MS(1)), m->topics, m->drops, m->delays,
	       (unsigned long long)(m->delay_max / CV_MS(1)), m->doubles, m->mixes, m->damages,
	       m->leaks);
}

void simmalice_begin(struct sim *sim, int hub, const struct sim_malice *m)
{
	if (sim->mangle != mangle) {
		init_count = 0;
		deeds = 0;
	}
	describe(sim, m);
	malice = *m;
	server = hub;
	life++;
	sim->mangle = mangle;
	sim->filter = withhold;
	if (malice.talks)
		sim_at(sim, sim->now, talk, life);
	if (malice.asks)
		sim_at(sim, sim->now, ask, life);
	if (malice.thief != SIM_NOBODY)
		sim_at(sim, sim->now, keep_thief, life);
}

void simmalice_end(struct sim *sim)
{
	struct hub_session *s = malice.thief != SIM_NOBODY && sim->hosts[server].is_running
	                                ? session_of(sim, malice.thief)
	                                : NULL;

	life++;
	malice = SIM_HONEST;
	if (s && s->member.pk != s->pk)
		hub_session_drop(hub_of(sim), sim->now, s, false);
}

uint64_t simmalice_deeds(void)
{
	return deeds;
}

/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

/*
 * Routers between an inside and an outside, in the terms of RFC 4787: to whom a mapping belongs,
 * who is let in, which port it gets, how long it lives. What a router has a limited number of are
 * sessions, one for each remote that a mapping talks to: so netfilter counts, and so do home
 * routers made of it.
 *
 *	inside ─hash─▸ mapping ─▸ sessions: one for each remote      (mapping, remote) ─hash─▸
 *session outside ─hash─▸ mapping
 *
 * Sessions that have got an answer and those that have not are two lists, ordered by their last
 * use: what expires, and what has to go when the table is full, is at their heads.
 *
 * IPv6 passes the same tables untranslated: a mapping whose outside is its inside.
 */

enum { UNANSWERED, ANSWERED, LISTS };

struct list_of_sessions {
	uint32_t oldest, newest;
};

struct sim_nat_state {
	struct sim_mapping *mappings;
	struct sim_session *sessions;
	uint32_t mapping_cap, session_cap, mapping_free, session_free;
	uint32_t by_inside[SIM_NAT_BUCKETS], by_outside[SIM_NAT_BUCKETS];
	uint32_t by_remote[SIM_NAT_BUCKETS];
	struct list_of_sessions lists[LISTS];
	cv_time noise_at;
	struct {
		struct addr host;
		uint16_t first;
	} blocks[SIM_NAT_BLOCKS];
	unsigned block_count;
	struct {
		struct addr remote;
		cv_time until;
	} blacklist[SIM_BLACKLIST_MAX];
	unsigned blacklist_next;
};

/* Which part of a remote address a rule looks at. */
static struct addr part(enum sim_rule rule, const struct addr *remote)
{
	struct addr a = *remote;

	switch (rule) {
	case SIM_EI:
		return (struct addr){ 0 };
	case SIM_AD:
		a.port = 0;
		return a;
	case SIM_APD:
		return a;
	}
	CV_UNREACHABLE();
}

static enum sim_rule mapping_rule(const struct sim_nat *n, const struct addr *a)
{
	return a->family == ADDR_V6 ? SIM_EI : n->mapping;
}

static enum sim_rule filtering_rule(const struct sim_nat *n, const struct addr *a)
{
	return a->family == ADDR_V6 ? n->filtering6 : n->filtering;
}

/* ---- making ---- */

int simnat_add(struct sim *sim, enum sim_rule mapping, enum sim_rule filtering, int zone)
{
	int i = sim->nat_count++;

	CV_ASSERT(i < SIM_NATS_MAX);
	sim->nats[i] = (struct sim_nat){
		.mapping = mapping,
		.filtering = filtering,
		.filtering6 = filtering,
		.timeout = CV_SEC(30),
		.zone = zone,
		.port_next = (uint16_t)(20000 + sim_below(sim, 20000)),
	};
	if (zone == SIM_ROOT)
		sim->nats[i].address = addr_v4(12, 0, (uint8_t)i, 1, 0);
	else
		sim->nats[i].address = addr_v4(10, (uint8_t)(zone + 1), (uint8_t)i, 2, 0);
	sim->nats[i].state = calloc(1, sizeof(struct sim_nat_state));
	CV_ASSERT(sim->nats[i].state);
	return i;
}

void simnat_deinit(struct sim_nat *n)
{
	if (!n->state)
		return;
	free(n->state->mappings);
	free(n->state->sessions);
	free(n->state);
	n->state = NULL;
}

/* The @k-th of the pool. */
static struct addr address_of(const struct sim_nat *n, unsigned k)
{
	struct addr a = n->address;

	a.ip[2] = (uint8_t)(a.ip[2] + k * SIM_NATS_MAX);
	return a;
}

bool simnat_has_address(const struct sim_nat *n, const struct addr *a)
{
	for (unsigned k = 0; k < CV_MAX(n->pool, 1u); k++) {
		struct addr own = address_of(n, k);

		if (addr_equal_ip(&own, a))
			return true;
	}
	return false;
}

/* ---- tables ---- */

static unsigned bucket(const struct addr *a, uint64_t salt)
{
	return (unsigned)(addr_hash(a, salt) % SIM_NAT_BUCKETS);
}

/* Room for one more, and its number. */
static uint32_t take_mapping(struct sim_nat_state *t)
{
	uint32_t i = t->mapping_free;

	if (i == SIM_NOBODYS) {
		uint32_t cap = t->mapping_cap ? 2 * t->mapping_cap : 64;

		t->mappings = realloc(t->mappings, cap * sizeof(t->mappings[0]));
		CV_ASSERT(t->mappings);
		/* Number 0 is nobody's. */
		for (i = cap - 1; i >= CV_MAX(t->mapping_cap, 1u); i--) {
			t->mappings[i] = (struct sim_mapping){ .next_in = t->mapping_free };
			t->mapping_free = i;
		}
		t->mapping_cap = cap;
		i = t->mapping_free;
	}
	t->mapping_free = t->mappings[i].next_in;
	return i;
}

static uint32_t take_session(struct sim_nat_state *t)
{
	uint32_t i = t->session_free;

	if (i == SIM_NOBODYS) {
		uint32_t cap = t->session_cap ? 2 * t->session_cap : 64;

		t->sessions = realloc(t->sessions, cap * sizeof(t->sessions[0]));
		CV_ASSERT(t->sessions);
		for (i = cap - 1; i >= CV_MAX(t->session_cap, 1u); i--) {
			t->sessions[i] = (struct sim_session){ .next = t->session_free };
			t->session_free = i;
		}
		t->session_cap = cap;
		i = t->session_free;
	}
	t->session_free = t->sessions[i].next;
	return i;
}

static void add_outside(struct sim_nat_state *t, uint32_t i)
{
	uint32_t *head = &t->by_outside[bucket(&t->mappings[i].outside, 0)];

	t->mappings[i].next_out = *head;
	*head = i;
}

static void remove_outside(struct sim_nat_state *t, uint32_t i)
{
	uint32_t *at = &t->by_outside[bucket(&t->mappings[i].outside, 0)];

	while (*at != i)
		at = &t->mappings[*at].next_out;
	*at = t->mappings[i].next_out;
}

static void remove_mapping(struct sim_nat_state *t, uint32_t i)
{
	uint32_t *at = &t->by_inside[bucket(&t->mappings[i].inside, 0)];

	CV_ASSERT(t->mappings[i].sessions == SIM_NOBODYS);
	remove_outside(t, i);
	while (*at != i)
		at = &t->mappings[*at].next_in;
	*at = t->mappings[i].next_in;
	t->mappings[i] = (struct sim_mapping){ .next_in = t->mapping_free };
	t->mapping_free = i;
}

/* ---- the order of last use ---- */

static void leave_order(struct sim_nat_state *t, uint32_t i)
{
	struct sim_session *s = &t->sessions[i];
	struct list_of_sessions *l = &t->lists[s->is_answered];

	if (s->older)
		t->sessions[s->older].newer = s->newer;
	else
		l->oldest = s->newer;
	if (s->newer)
		t->sessions[s->newer].older = s->older;
	else
		l->newest = s->older;
}

static void join_order(struct sim_nat_state *t, uint32_t i)
{
	struct sim_session *s = &t->sessions[i];
	struct list_of_sessions *l = &t->lists[s->is_answered];

	/* An answer that refreshes nothing brings its session among the answered with an old use.
	 */
	s->older = l->newest;
	s->newer = SIM_NOBODYS;
	while (s->older && t->sessions[s->older].used_at > s->used_at) {
		s->newer = s->older;
		s->older = t->sessions[s->older].older;
	}
	if (s->older)
		t->sessions[s->older].newer = i;
	else
		l->oldest = i;
	if (s->newer)
		t->sessions[s->newer].older = i;
	else
		l->newest = i;
}

static void touch(struct sim_nat_state *t, uint32_t i, cv_time at, bool is_answered)
{
	leave_order(t, i);
	t->sessions[i].used_at = at;
	t->sessions[i].is_answered |= is_answered;
	join_order(t, i);
}

/* ---- sessions ---- */

static uint64_t salt_of(uint32_t mapping)
{
	return mapping * UINT64_C(0x9e3779b97f4a7c15);
}

static uint32_t find_session(const struct sim_nat_state *t, uint32_t mapping,
                             const struct addr *remote)
{
	uint32_t i = t->by_remote[bucket(remote, salt_of(mapping))];

	while (i != SIM_NOBODYS &&
	       (t->sessions[i].mapping != mapping || !addr_equal(&t->sessions[i].remote, remote)))
		i = t->sessions[i].next;
	return i;
}

static void remove_session(struct sim_nat *n, uint32_t i)
{
	struct sim_nat_state *t = n->state;
	struct sim_session *s = &t->sessions[i];
	struct sim_mapping *m = &t->mappings[s->mapping];
	uint32_t *at = &t->by_remote[bucket(&s->remote, salt_of(s->mapping))];

	while (*at != i)
		at = &t->sessions[*at].next;
	*at = s->next;
	leave_order(t, i);
	if (s->before)
		t->sessions[s->before].behind = s->behind;
	else
		m->sessions = s->behind;
	if (s->behind)
		t->sessions[s->behind].before = s->before;
	if (m->sessions == SIM_NOBODYS)
		remove_mapping(t, s->mapping);
	*s = (struct sim_session){ .next = t->session_free };
	t->session_free = i;
	n->session_count--;
}

static uint32_t add_session(struct sim_nat *n, uint32_t mapping, const struct addr *remote,
                            cv_time at)
{
	struct sim_nat_state *t = n->state;
	uint32_t i = take_session(t), *head = &t->by_remote[bucket(remote, salt_of(mapping))];
	struct sim_mapping *m = &t->mappings[mapping];

	t->sessions[i] = (struct sim_session){
		.remote = *remote,
		.mapping = mapping,
		.used_at = at,
		.next = *head,
		.behind = m->sessions,
	};
	*head = i;
	if (m->sessions)
		t->sessions[m->sessions].before = i;
	m->sessions = i;
	join_order(t, i);
	n->session_count++;
	n->session_peak = CV_MAX(n->session_peak, n->session_count);
	n->made++;
	return i;
}

static void expire(struct sim_nat *n, cv_time now)
{
	struct sim_nat_state *t = n->state;

	for (unsigned k = 0; k < LISTS; k++) {
		cv_duration timeout =
			k == ANSWERED && n->timeout_answered ? n->timeout_answered : n->timeout;
		uint32_t i;

		while ((i = t->lists[k].oldest) != SIM_NOBODYS &&
		       cv_time_since(now, t->sessions[i].used_at) >= timeout)
			remove_session(n, i);
	}
}

/* False: the table is full, and nobody has to go. */
static bool make_room(struct sim_nat *n)
{
	const struct sim_nat_state *t = n->state;

	while (n->table_max && n->session_count >= n->table_max) {
		/* Who has got an answer stays longer, as netfilter does it. */
		uint32_t i = t->lists[UNANSWERED].oldest ? t->lists[UNANSWERED].oldest
		                                         : t->lists[ANSWERED].oldest;

		if (n->refuses_new) {
			n->refused_new++;
			return false;
		}
		remove_session(n, i);
		n->evicted++;
	}
	return true;
}

/* ---- ports ---- */

static uint16_t first_of(const struct sim_nat *n)
{
	return n->range_first ? n->range_first : 1024;
}

static uint16_t last_of(const struct sim_nat *n)
{
	if (n->range_last)
		return n->range_last;
	return n->allocation == SIM_RANDOM ? 61023 : UINT16_MAX;
}

/* Whether @outside cannot be had for @remote. */
static bool is_taken(const struct sim_nat *n, const struct addr *outside, const struct addr *remote)
{
	const struct sim_nat_state *t = n->state;

	for (uint32_t i = t->by_outside[bucket(outside, 0)]; i; i = t->mappings[i].next_out) {
		if (addr_equal(&t->mappings[i].outside, outside) &&
		    (!n->overloads || addr_equal(&t->mappings[i].remote, remote)))
			return true;
	}
	return false;
}

static uint16_t next_port(struct sim_nat *n)
{
	int port = n->port_next, step = n->step ? n->step : 1, next = port + step;
	int first = first_of(n), last = last_of(n), span = last - first + 1;

	if (next > last || next < first)
		next = first + ((next - first) % span + span) % span;
	n->port_next = (uint16_t)next;
	return (uint16_t)CV_MIN(CV_MAX(port, first), last);
}

/* Carriers take a block back when nothing of it is in use. */
static void take_back_blocks(struct sim_nat_state *t)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < t->block_count; i++) {
		bool is_used = false;

		for (uint32_t m = 1; m < t->mapping_cap && !is_used; m++)
			is_used = t->mappings[m].is_used &&
			          addr_equal_ip(&t->mappings[m].inside, &t->blocks[i].host);
		if (is_used)
			t->blocks[kept++] = t->blocks[i];
	}
	t->block_count = kept;
}

/* One of @host's blocks; a new one if @wants_new and it may have one. 0: none. */
static uint16_t draw_block(struct sim *sim, struct sim_nat *n, const struct addr *host,
                           bool wants_new)
{
	struct sim_nat_state *t = n->state;
	unsigned blocks = (unsigned)(last_of(n) - first_of(n) + 1) / n->block_size, own = 0;
	unsigned most = CV_MIN(blocks, (unsigned)SIM_NAT_BLOCKS);
	uint16_t first = 0, newest = 0;

	for (unsigned i = 0; i < t->block_count; i++) {
		if (addr_equal_ip(&t->blocks[i].host, host)) {
			newest = t->blocks[i].first;
			own++;
		}
	}
	if (own > 0 && (!wants_new || own >= CV_MAX(n->blocks_per_host, 1u)))
		return wants_new ? 0 : newest;
	if (t->block_count == most)
		take_back_blocks(t);
	if (t->block_count == most)
		return 0;
	for (bool is_used = true; is_used;) {
		first = (uint16_t)(first_of(n) + n->block_size * sim_below(sim, blocks));
		is_used = false;
		for (unsigned i = 0; i < t->block_count; i++)
			is_used |= t->blocks[i].first == first;
	}
	t->blocks[t->block_count].host = *host;
	t->blocks[t->block_count++].first = first;
	return first;
}

/* A number of tries after which a range or a block counts as full. */
enum { TRIES = 4096 };

static bool take_in_block(struct sim *sim, struct sim_nat *n, struct sim_mapping *m)
{
	bool wants_new = false;
	uint16_t first;

	while ((first = draw_block(sim, n, &m->inside, wants_new)) != 0) {
		for (unsigned i = 0; i < TRIES; i++) {
			m->outside.port = (uint16_t)(first + sim_below(sim, n->block_size));
			if (!is_taken(n, &m->outside, &m->remote))
				return true;
		}
		wants_new = true;
	}
	return false;
}

static bool take_port(struct sim *sim, struct sim_nat *n, struct sim_mapping *m)
{
	enum sim_allocation way = n->allocation;

	if (way == SIM_PRESERVE) {
		m->outside.port = m->inside.port;
		if (!is_taken(n, &m->outside, &m->remote))
			return true;
		way = n->fallback;
	}
	if (way == SIM_BLOCKS)
		return take_in_block(sim, n, m);
	for (unsigned i = 0; i < TRIES; i++) {
		if (way == SIM_RANDOM)
			m->outside.port =
				(uint16_t)(first_of(n) +
			                   sim_below(sim,
			                             (uint64_t)(last_of(n) - first_of(n)) + 1));
		else
			m->outside.port = next_port(n);
		if (!is_taken(n, &m->outside, &m->remote))
			return true;
	}
	return false;
}

/* Which of the pool's addresses @inside has. */
static struct addr draw_address(struct sim *sim, const struct sim_nat *n, const struct addr *inside)
{
	struct addr host = *inside;

	host.port = 0;
	if (n->pool < 2)
		return n->address;
	return address_of(n, n->is_paired ? (unsigned)(addr_hash(&host, 1) % n->pool)
	                                  : (unsigned)sim_below(sim, n->pool));
}

/* ---- mappings ---- */

static uint32_t find_mapping(const struct sim_nat *n, const struct addr *inside,
                             const struct addr *remote)
{
	const struct sim_nat_state *t = n->state;
	struct addr key = part(mapping_rule(n, inside), remote);
	uint32_t i = t->by_inside[bucket(inside, 0)];

	while (i != SIM_NOBODYS && (!addr_equal(&t->mappings[i].inside, inside) ||
	                            !addr_equal(&t->mappings[i].remote, &key)))
		i = t->mappings[i].next_in;
	return i;
}

static uint32_t add_mapping(struct sim *sim, struct sim_nat *n, const struct addr *inside,
                            const struct addr *remote, cv_time at)
{
	struct sim_nat_state *t = n->state;
	struct sim_mapping m = {
		.inside = *inside,
		.outside = *inside,
		.remote = part(mapping_rule(n, inside), remote),
		.made_at = at,
		.is_used = true,
	};
	uint32_t i, *head = &t->by_inside[bucket(inside, 0)];

	if (inside->family == ADDR_V4) {
		m.outside = draw_address(sim, n, inside);
		if (!take_port(sim, n, &m))
			return SIM_NOBODYS;
	}
	i = take_mapping(t);
	t->mappings[i] = m;
	t->mappings[i].next_in = *head;
	*head = i;
	add_outside(t, i);
	return i;
}

/* The session of @inside with @remote, made if need be; SIM_NOBODYS: there is no room. */
static uint32_t session_of(struct sim *sim, struct sim_nat *n, const struct addr *inside,
                           const struct addr *remote, cv_time at)
{
	uint32_t m = find_mapping(n, inside, remote);
	uint32_t s = m ? find_session(n->state, m, remote) : SIM_NOBODYS;

	if (s)
		return s;
	if (!make_room(n))
		return SIM_NOBODYS;
	m = find_mapping(n, inside, remote); /* which may have had to go */
	if (!m)
		m = add_mapping(sim, n, inside, remote, at);
	return m ? add_session(n, m, remote, at) : SIM_NOBODYS;
}

/* What other hosts did since the last look. */
static void catch_up(struct sim *sim, struct sim_nat *n)
{
	struct sim_nat_state *t = n->state;
	cv_duration mean;

	if (n->noise_rate == 0) {
		expire(n, sim->now);
		return;
	}
	mean = CV_SEC(1) / n->noise_rate;
	if (cv_time_since(sim->now, t->noise_at) > n->timeout) {
		/* All of it has expired meanwhile; only its ports were taken. */
		uint64_t missed = (sim->now - n->timeout - t->noise_at) / mean;

		for (uint64_t i = missed % 65536; i > 0 && n->allocation == SIM_SEQUENTIAL; i--)
			(void)next_port(n);
		t->noise_at = sim->now - n->timeout;
	}
	while (t->noise_at <= sim->now) {
		/* One neighbour where each has a block of ports: 200 would have them all. */
		uint64_t hosts = n->allocation == SIM_BLOCKS ? 1 : 200;
		struct addr inside = addr_v4(192, 168, 250, (uint8_t)(1 + sim_below(sim, hosts)),
		                             (uint16_t)(1024 + sim_below(sim, 60000)));
		struct addr remote = addr_v4(8, 8, (uint8_t)sim_below(sim, 256),
		                             (uint8_t)sim_below(sim, 256), 443);

		expire(n, t->noise_at);
		(void)session_of(sim, n, &inside, &remote, t->noise_at);
		t->noise_at += 1 + sim_below(sim, 2 * mean);
	}
	expire(n, sim->now);
}

static void rebind(struct sim *sim, struct sim_nat *n, uint32_t i)
{
	struct sim_mapping *m = &n->state->mappings[i];

	if (n->rebinds_after == 0 || m->inside.family == ADDR_V6 ||
	    cv_time_since(sim->now, m->made_at) < n->rebinds_after)
		return;
	remove_outside(n->state, i);
	m->made_at = sim->now;
	(void)take_port(sim, n, m); /* else it keeps the old one */
	add_outside(n->state, i);
	sim_tell(sim, "nat rebinds", SIM_NOBODY, m->outside.port, 0);
}

/* ---- the way through ---- */

bool simnat_out(struct sim *sim, struct sim_nat *n, struct sim_datagram *d)
{
	struct sim_nat_state *t = n->state;
	uint32_t s;

	if (n->blocks_udp)
		return false;
	catch_up(sim, n);
	s = session_of(sim, n, &d->src, &d->dst, sim->now);
	if (!s)
		return false;
	touch(t, s, sim->now, false);
	rebind(sim, n, t->sessions[s].mapping);
	d->src = t->mappings[t->sessions[s].mapping].outside;
	return true;
}

/* The session of mapping @m that lets @src in; SIM_NOBODYS: none does. */
static uint32_t admits(const struct sim_nat *n, uint32_t m, const struct addr *src)
{
	const struct sim_nat_state *t = n->state;
	uint32_t s;

	switch (filtering_rule(n, src)) {
	case SIM_EI:
		s = find_session(t, m, src);
		return s ? s : t->mappings[m].sessions;
	case SIM_AD:
		for (s = t->mappings[m].sessions; s; s = t->sessions[s].behind) {
			if (addr_equal_ip(&t->sessions[s].remote, src))
				break;
		}
		return s;
	case SIM_APD:
		return find_session(t, m, src);
	}
	CV_UNREACHABLE();
}

static bool is_blacklisted(struct sim *sim, const struct sim_nat *n, const struct addr *src)
{
	for (unsigned i = 0; n->blacklist && i < SIM_BLACKLIST_MAX; i++) {
		if (addr_equal(&n->state->blacklist[i].remote, src) &&
		    n->state->blacklist[i].until > sim->now)
			return true;
	}
	return false;
}

static void blacklist(struct sim *sim, struct sim_nat *n, const struct addr *src)
{
	unsigned i = n->state->blacklist_next++ % SIM_BLACKLIST_MAX;

	if (n->blacklist == 0)
		return;
	n->state->blacklist[i].remote = *src;
	n->state->blacklist[i].until = sim->now + n->blacklist;
	n->blacklisted++;
}

/* Who lets @d in; of several that share a port the one that talks to its source. */
static uint32_t find_entry(const struct sim_nat *n, const struct sim_datagram *d)
{
	const struct sim_nat_state *t = n->state;
	uint32_t found = SIM_NOBODYS;

	for (uint32_t m = t->by_outside[bucket(&d->dst, 0)]; m; m = t->mappings[m].next_out) {
		uint32_t s;

		if (!addr_equal(&t->mappings[m].outside, &d->dst))
			continue;
		s = admits(n, m, &d->src);
		if (s && (!found || addr_equal(&t->sessions[s].remote, &d->src)))
			found = s;
	}
	return found;
}

bool simnat_in(struct sim *sim, struct sim_nat *n, struct sim_datagram *d)
{
	struct sim_nat_state *t = n->state;
	uint32_t s;

	if (n->blocks_udp || is_blacklisted(sim, n, &d->src))
		return false;
	catch_up(sim, n);
	s = find_entry(n, d);
	if (!s) {
		blacklist(sim, n, &d->src);
		return false;
	}
	if (n->inbound_refreshes || !t->sessions[s].is_answered)
		touch(t, s, n->inbound_refreshes ? sim->now : t->sessions[s].used_at, true);
	d->dst = t->mappings[t->sessions[s].mapping].inside;
	return true;
}

void simnat_reboot(struct sim *sim, int nat, bool is_moved)
{
	struct sim_nat *n = &sim->nats[nat];

	free(n->state->mappings);
	free(n->state->sessions);
	memset(n->state, 0, sizeof(*n->state));
	n->state->noise_at = sim->now;
	n->session_count = 0;
	n->port_next = (uint16_t)(20000 + sim_below(sim, 20000));
	if (n->allocation == SIM_PRESERVE)
		n->allocation = n->fallback ? n->fallback : SIM_SEQUENTIAL; /* else nothing would
		                                                               have changed */
	if (is_moved)
		n->address.ip[3]++;
	sim_tell(sim, "nat reboots", SIM_NOBODY, (uint64_t)nat, is_moved);
}

uint32_t simnat_sessions(struct sim *sim, int nat)
{
	catch_up(sim, &sim->nats[nat]);
	return sim->nats[nat].session_count;
}

/* SPDX-License-Identifier: MIT */
#include "tunnel/endpoint.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "tunnel/endpoint_inner.h"
#include "tunnel/inbound.h"
#include "tunnel/intake.h"
#include "tunnel/liveness.h"
#include "tunnel/traversal.h"
#include "tunnel/vitals.h"

/* A turn this much later than both the one before and the deadline asked for is a gap (rule 8.3).
 */
#define GAP CV_SEC(2)

/* ---- life ---- */

int endpoint_new(struct endpoint **out, cv_time now, const struct endpoint_options *opt)
{
	struct endpoint *e = cv_zalloc(sizeof(*e));
	uint64_t seed;
	int r;

	if (!e)
		return -ENOMEM;
	list_init(&e->ready);
	heap_init(&e->deadlines);
	e->turned_at = now;
	e->asked_for = CV_TIME_NEVER;
	e->core = (struct session_core){
		.me = opt->me,
		.rng = opt->rng,
		.trace = opt->trace,
		.pool = opt->pool,
		.indexes = &e->indexes,
		.pendings = &e->pendings,
		.aead_bits = opt->aead_bits,
		.streams_max = opt->streams_max,
		.congestion = opt->congestion,
		.datagram_max = opt->datagram_max,
		.candidate_version = 1,
	};
	traversal_init(e, opt);
	seed = rng_u64(opt->rng);
	asked_init(&e->core.asked, ~seed);
	r = indexes_init(&e->indexes, seed);
	if (r == 0)
		r = pendings_init(&e->pendings, PENDINGS_MAX);
	if (r == 0)
		r = gate_init(&e->gate, opt->me, false, SOURCES_MAX, rng_u64(opt->rng));
	if (r < 0) {
		endpoint_free(e, now);
		return r;
	}
	*out = e;
	return 0;
}

void endpoint_free(struct endpoint *e, cv_time now)
{
	struct session *s;

	if (!e)
		return;
	endpoint_for_each_session(e, i, s)
	{
		heap_remove(&e->deadlines, &s->deadline_node);
		list_remove(&s->ready_node);
		session_free(s, now);
	}
	for (uint32_t i = 0; i < e->server_count; i++)
		rendezvous_free(e->servers[i].r, now);
	pendings_deinit(&e->pendings, now, &e->indexes);
	gate_deinit(&e->gate);
	indexes_deinit(&e->indexes);
	heap_deinit(&e->deadlines);
	cv_free(e);
}

/* ---- bookkeeping ---- */

static struct session *session_of(const struct endpoint *e, uint32_t peer)
{
	struct session *s = endpoint_find_session(e, peer);

	CV_ASSERT(s);
	return s;
}

void endpoint_touch(struct endpoint *e, uint32_t peer)
{
	endpoint_touch_session(e, session_of(e, peer));
}

static void notice(struct endpoint *e, const struct endpoint_event *event)
{
	/* Drained every turn; what does not fit is news that a later one repeats (resolve, path).
	 */
	if (e->notice_count == NOTICES_MAX)
		return;
	e->notices[(e->notice_first + e->notice_count++) % NOTICES_MAX] = *event;
}

static void add_candidate(struct session_core *c, enum candidate_kind kind, const struct addr *a)
{
	if (a->family == ADDR_NONE || c->candidate_count == FRAME_CANDIDATES_MAX)
		return;
	for (unsigned i = 0; i < c->candidate_count; i++) {
		if (addr_equal(&c->candidates[i].addr, a))
			return;
	}
	c->candidates[c->candidate_count++] = (struct wire_candidate){ (uint8_t)kind, *a };
}

/* Mappings first: they are few, and the surest. */
void endpoint_announce(struct endpoint *e, cv_time now)
{
	struct session_core *c = &e->core;
	struct rendezvous_stats stats;
	struct session *s;
	bool is_seen = false;

	c->candidate_count = 0;
	for (unsigned i = 0; i < e->mapped_count; i++)
		add_candidate(c, CANDIDATE_MAPPED, &e->mapped[i]);
	for (unsigned i = 0; i < e->local_count; i++)
		add_candidate(c, CANDIDATE_HOST, &e->local[i]);
	for (uint32_t i = 0; i < e->server_count; i++) {
		if (e->servers[i].is_removed)
			continue;
		rendezvous_stats(e->servers[i].r, &stats);
		add_candidate(c, CANDIDATE_SERVER, &stats.public_address);
		is_seen |= e->servers[i].is_up && stats.public_address.family == ADDR_V4;
	}
	/* As a foreign STUN server sees us, where none of ours is reached by UDP over IPv4. */
	if (!is_seen && !nat_is_hard(&c->nat))
		add_candidate(c, CANDIDATE_SERVER, &c->nat.address);
	c->candidate_version++;
	endpoint_for_each_session(e, i, s)
	{
		session_on_candidates_changed(s, now);
		endpoint_touch_session(e, s);
	}
}

void endpoint_set_server_addresses(struct endpoint *e, cv_time now, uint32_t server,
                                   const struct addr *list, unsigned count)
{
	CV_ASSERT(server < e->server_count);
	rendezvous_set_addresses(e->servers[server].r, now, list, count);
}

void endpoint_set_peer_addresses(struct endpoint *e, cv_time now, uint32_t peer,
                                 const struct addr *list, unsigned count)
{
	session_set_addresses(session_of(e, peer), now, list, count);
	endpoint_touch(e, peer);
}

void endpoint_set_local_addresses(struct endpoint *e, cv_time now, const struct addr *list,
                                  unsigned count)
{
	struct session *s;

	e->local_count = 0;
	e->core.scope = (struct candidate_scope){ 0 };
	for (unsigned i = 0; i < count && e->local_count < ENDPOINT_LOCAL_MAX; i++) {
		candidate_scope_add(&e->core.scope, &list[i]);
		if (candidate_is_announced(&list[i]))
			e->local[e->local_count++] = list[i];
	}
	endpoint_announce(e, now);
	endpoint_for_each_session(e, i, s)
	{
		inbound_on_scope(s, now);
	}
	traversal_on_network(e, now);
	for (uint32_t i = 0; i < e->server_count; i++)
		rendezvous_on_network(e->servers[i].r, now);
}

void endpoint_set_mapped_addresses(struct endpoint *e, cv_time now, const struct addr *list,
                                   unsigned count)
{
	CV_ASSERT(count <= ENDPOINT_MAPPED_MAX);
	e->mapped_count = 0;
	e->core.has_mapping = false;
	for (unsigned i = 0; i < count; i++) {
		if (list[i].port == 0 || !candidate_is_announced(&list[i]))
			continue;
		e->mapped[e->mapped_count++] = list[i];
		e->core.has_mapping |=
			list[i].family == ADDR_V4 && addr_class(&list[i]) == ADDR_CLASS_GLOBAL;
	}
	if (e->core.nat.has_mapped != e->core.has_mapping) {
		e->core.nat.has_mapped = e->core.has_mapping;
		e->core.nat_version += e->core.nat_version != 0;
	}
	endpoint_announce(e, now);
}

void endpoint_set_stun_addresses(struct endpoint *e, cv_time now, const struct addr *list,
                                 unsigned count)
{
	discovery_set_foreign(&e->discovery, now, list, count);
}

void endpoint_on_sockets_opened(struct endpoint *e, cv_time now, uint16_t first, unsigned count,
                                unsigned opened, const uint16_t *ports)
{
	extras_on_opened(&e->extras, first, count, opened, ports);
	punch_on_deadline(e, now);
}

/* ---- in ---- */

void endpoint_on_turn(struct endpoint *e, cv_time now)
{
	struct session *s;

	CV_ASSERT(now >= e->turned_at);
	if (e->asked_for != CV_TIME_NEVER && now > cv_time_after(e->asked_for, GAP) &&
	    now > cv_time_after(e->turned_at, GAP)) {
		endpoint_for_each_session(e, i, s)
		{
			liveness_on_gap(s, now);
			endpoint_touch_session(e, s);
		}
		for (uint32_t i = 0; i < e->server_count; i++)
			rendezvous_on_network(e->servers[i].r, now);
		traversal_on_network(e, now);
	}
	e->turned_at = now;
}

void endpoint_on_arrival(struct endpoint *e, cv_time now, struct arrival *in)
{
	struct origin from = { .socket = in->socket, .ecn = in->ecn, .addr = in->from };
	size_t step = in->segment_size ? in->segment_size : in->size;

	e->turned_at = now;
	e->core.loans.is_open = in->stays;
	for (size_t at = 0; at < in->size; at += step) {
		uint8_t *bytes = in->bytes + at;
		size_t size = CV_MIN(step, in->size - at);

		e->counters.rx_packets++;
		e->counters.rx_bytes += size;
		if ((bytes[0] & WIRE_KIND_MASK) == WIRE_RELAY)
			intake_relayed(e, now, &from, bytes, size);
		else
			intake_datagram(e, now, &from, bytes, size);
	}
}

bool endpoint_has_loans(const struct endpoint *e)
{
	return e->core.loans.count > 0;
}

void endpoint_keep(struct endpoint *e)
{
	recvbuf_keep(&e->core.loans);
}

void endpoint_on_refused(struct endpoint *e, cv_time now, uint16_t socket, const struct addr *to)
{
	struct session *s;

	endpoint_for_each_session(e, i, s)
	{
		liveness_on_refused(s, now, socket, to);
		endpoint_touch_session(e, s);
	}
	for (uint32_t i = 0; i < e->server_count; i++) {
		if (rendezvous_is_from(e->servers[i].r, socket, to))
			rendezvous_check_now(e->servers[i].r, now);
	}
}

void endpoint_on_too_large(struct endpoint *e, cv_time now, uint16_t socket, const struct addr *to,
                           size_t size)
{
	struct origin o = { .socket = socket, .addr = *to };
	struct session *s;

	endpoint_for_each_session(e, i, s)
	{
		uint8_t slot = paths_find(&s->paths, &o);

		if (slot == PATHS_NONE)
			continue;
		pmtud_on_refused(&s->paths.list[slot].pmtud, now, (uint32_t)size);
		cc_set_mss(&s->paths.list[slot].cc, s->paths.list[slot].pmtud.size);
		endpoint_touch_session(e, s);
	}
}

/* ---- servers' news ---- */

static void on_channel(struct endpoint *e, cv_time now, uint32_t i,
                       const struct rendezvous_event *ev, struct session *s)
{
	struct origin from = { .is_relay = true, .server = i, .channel = ev->channel };

	session_add_relay(s, now, i, ev->channel, ev->rate_kbit, ev->leg);
	endpoint_tcp_tell(e, now, i, s);
	if (ev->init)
		intake_init(e, now, &from, ev->init, WIRE_INIT_SIZE);
}

static void on_server_event(struct endpoint *e, cv_time now, uint32_t i,
                            const struct rendezvous_event *ev)
{
	struct server *server = &e->servers[i];
	struct endpoint_event out = { .server = i };
	struct session *s = endpoint_find_session(e, ev->peer), *waiting;

	switch (ev->kind) {
	case RENDEZVOUS_EVENT_RESOLVE:
		out.kind = ENDPOINT_EVENT_RESOLVE_SERVER;
		notice(e, &out);
		return;
	case RENDEZVOUS_EVENT_UP:
	case RENDEZVOUS_EVENT_DOWN:
		server->is_up = ev->kind == RENDEZVOUS_EVENT_UP;
		out.kind = server->is_up ? ENDPOINT_EVENT_SERVER_UP : ENDPOINT_EVENT_SERVER_DOWN;
		notice(e, &out);
		traversal_on_server(e, now, i);
		if (!server->is_up)
			return;
		endpoint_for_each_session(e, k, waiting)
		{
			/* Whoever is not joined tries through the server at once. */
			if (!waiting->assoc.is_bound)
				session_want(waiting, now);
			endpoint_touch_session(e, waiting);
		}
		return;
	case RENDEZVOUS_EVENT_ADDRESS:
		traversal_on_address(e, now, i);
		traversal_on_server(e, now, i);
		endpoint_announce(e, now);
		return;
	case RENDEZVOUS_EVENT_PRESENT:
	case RENDEZVOUS_EVENT_ABSENT:
		if (s) {
			liveness_on_presence(s, now, i, ev->kind == RENDEZVOUS_EVENT_PRESENT,
			                     ev->is_gone);
			endpoint_touch_session(e, s);
		}
		return;
	case RENDEZVOUS_EVENT_OFFER:
	case RENDEZVOUS_EVENT_CHANNEL:
		if (s)
			on_channel(e, now, i, ev, s);
		return;
	case RENDEZVOUS_EVENT_CHANNEL_GONE:
		if (s) {
			session_drop_relay(s, now, i);
			endpoint_touch_session(e, s);
		}
		return;
	case RENDEZVOUS_EVENT_REFUSED:
		out.kind = ENDPOINT_EVENT_SERVER_REFUSED;
		out.text = ev->text;
		notice(e, &out);
		return;
	case RENDEZVOUS_EVENT_TCP_OPEN:
	case RENDEZVOUS_EVENT_TCP_CLOSE:
		out.kind = ev->kind == RENDEZVOUS_EVENT_TCP_OPEN ? ENDPOINT_EVENT_TCP_OPEN
		                                                 : ENDPOINT_EVENT_TCP_CLOSE;
		endpoint_tcp_on_writable(e, now, i, true); /* the next one is, when it comes */
		notice(e, &out);
		return;
	case RENDEZVOUS_EVENT_LEG:
		endpoint_tcp_on_leg(e, now, i, ev->leg == LEG_TCP);
		traversal_on_server(e, now, i);
		return;
	}
	CV_UNREACHABLE();
}

static void pull_servers(struct endpoint *e, cv_time now)
{
	struct rendezvous_event ev;

	for (uint32_t i = 0; i < e->server_count; i++) {
		/* What finds no room is told when there is some: nobody repeats it. */
		while (e->notice_count < NOTICES_MAX && rendezvous_next_event(e->servers[i].r, &ev))
			on_server_event(e, now, i, &ev);
	}
}

/* A way died. Whoever has a new address is told so by the server, and tells it to the peer through
 * the relay; else both would go on probing where nobody is any more. */
static void ask_servers(struct endpoint *e, cv_time now, struct session *s)
{
	/* Streams that wait for a way do not wait as all the agents of a server that restarts do:
	 * those that it relayed for are few. */
	bool is_stuck = session_is_busy(s) && s->paths.active == PATHS_NONE;

	for (uint32_t i = 0; i < e->server_count; i++) {
		if (s->wants_servers || (s->asks_servers && is_stuck && !e->servers[i].is_up))
			rendezvous_want(e->servers[i].r, now);
		else if (s->asks_servers)
			rendezvous_doubt(e->servers[i].r, now);
	}
	s->asks_servers = s->wants_servers = false;
}

/* ---- events out ---- */

static void pull_news(struct endpoint *e, struct session *s)
{
	static const struct {
		uint32_t bit;
		enum endpoint_event_kind kind;
	} table[] = {
		/* Down before up: a replaced object ends and another begins in one turn. */
		{ SESSION_NEWS_DOWN, ENDPOINT_EVENT_PEER_DOWN },
		{ SESSION_NEWS_UP, ENDPOINT_EVENT_PEER_UP },
		{ SESSION_NEWS_PATH, ENDPOINT_EVENT_PATH },
		{ SESSION_NEWS_RESOLVE, ENDPOINT_EVENT_RESOLVE_PEER },
		{ SESSION_NEWS_DUPLICATE, ENDPOINT_EVENT_DUPLICATE },
		{ SESSION_NEWS_CLASH, ENDPOINT_EVENT_CLASH },
	};

	for (size_t i = 0; i < CV_ARRAY_SIZE(table); i++) {
		struct endpoint_event ev = {
			.kind = table[i].kind,
			.peer = s->number,
			.server = UINT32_MAX,
			.code = s->down_code,
		};

		if ((s->news & table[i].bit) == 0 || e->notice_count == NOTICES_MAX)
			continue;
		s->news &= ~table[i].bit;
		notice(e, &ev);
	}
}

bool endpoint_next_event(struct endpoint *e, cv_time now, struct endpoint_event *out)
{
	struct list *at, *next;

	pull_servers(e, now);
	traversal_turn(e, now);
	list_for_each(at, next, &e->ready)
	{
		struct session *s = list_entry(at, struct session, ready_node);

		session_settle(s, now);
		ask_servers(e, now, s);
		traversal_on_session(e, now, s);
		punch_consider(e, now, s);
		pull_news(e, s);
	}
	pull_servers(e, now); /* what was asked may need an address */
	if (e->notice_count > 0) {
		*out = e->notices[e->notice_first];
		e->notice_first = (e->notice_first + 1) % NOTICES_MAX;
		e->notice_count--;
		return true;
	}
	if (traversal_next_event(e, now, out))
		return true;
	list_for_each(at, next, &e->ready)
	{
		struct session *s = list_entry(at, struct session, ready_node);

		*out = (struct endpoint_event){ .kind = ENDPOINT_EVENT_STREAM, .peer = s->number };
		if (session_next_stream_event(s, &out->streams, &out->stream))
			return true;
	}
	endpoint_sweep_peers(e, now);
	return false;
}

/* ---- out ---- */

static bool write_reply(struct endpoint *e, struct train *out)
{
	unsigned i;

	if (e->reply_count == 0)
		return false;
	i = --e->reply_count;
	memcpy(out->bytes, e->replies[i].bytes, e->replies[i].size);
	out->size = e->replies[i].size;
	out->segment_size = out->size;
	out->count = 1;
	out->socket = e->replies[i].socket;
	out->to = e->replies[i].to;
	return true;
}

enum { TRUSTED_TRIES = 3 /* a second of INITs that nobody answered */ };

/* A number that is a lie, or a mistake, is never heard; and there may be one for which the table of
 * paths had no room. */
static bool trusts_channel(const struct session *s, cv_time now, uint32_t server, uint64_t channel)
{
	struct origin o = { .is_relay = true, .server = server, .channel = channel };

	return channel != 0 && paths_find(&s->paths, &o) != PATHS_NONE &&
	       (s->initiator.tries <= TRUSTED_TRIES || paths_hear(&s->paths, now, &o));
}

/* The INIT in @train rides to the peer in an OPEN at every server through which no way leads. */
static void open_channels(struct endpoint *e, cv_time now, struct session *s,
                          const struct train *train)
{
	for (uint32_t i = 0; i < e->server_count; i++) {
		if (trusts_channel(s, now, i, rendezvous_channel(e->servers[i].r, s->number)))
			continue;
		rendezvous_open(e->servers[i].r, now, s->number, train->bytes);
		initiator_on_opens(&s->initiator);
	}
}

/* False: this train cannot leave (its server is not up) and is dropped, as on the way. */
static bool address_train(struct endpoint *e, cv_time now, struct session *s, struct train *train,
                          const struct session_out *where)
{
	if (where->opens_channels) {
		open_channels(e, now, s, train);
		return false;
	}
	if (!where->to.is_relay)
		return true;
	return rendezvous_address(e->servers[where->to.server].r, &train->socket, &train->to);
}

static bool write_session(struct endpoint *e, cv_time now, struct session *s, struct train *out)
{
	struct session_out where;

	session_settle(s, now);
	while (session_write(s, now, out, &where)) {
		if (address_train(e, now, s, out, &where))
			return true;
		out->ttl = 0; /* of the one that did not leave */
	}
	return false;
}

/* After the sessions' goodbyes: a relay carries them only while its server knows us. */
static bool close_servers(struct endpoint *e, cv_time now, struct train *out)
{
	for (uint32_t i = 0; i < e->server_count; i++) {
		rendezvous_close(e->servers[i].r, now);
		if (rendezvous_write(e->servers[i].r, now, out))
			return true;
	}
	return false;
}

bool endpoint_write(struct endpoint *e, cv_time now, struct train *out)
{
	out->ecn = ECN_NOT_ECT;
	out->ttl = 0;
	if (write_reply(e, out))
		goto sent;
	for (uint32_t i = 0; i < e->server_count; i++) {
		if (rendezvous_write(e->servers[i].r, now, out))
			goto sent;
	}
	if (traversal_write(e, now, out))
		goto sent;
	while (!list_is_empty(&e->ready)) {
		struct session *s = list_entry(e->ready.next, struct session, ready_node);

		list_remove(&s->ready_node);
		if (write_session(e, now, s, out)) {
			/* To the back: trains of several busy peers take turns. */
			endpoint_touch_session(e, s);
			goto sent;
		}
		vitals_mark(s, now);
		datagrams_settle(s->datagrams);
		heap_set(&e->deadlines, &s->deadline_node, session_deadline(s));
		/* An attempt may just have queued an OPEN at a server. */
		for (uint32_t i = 0; i < e->server_count; i++) {
			if (rendezvous_write(e->servers[i].r, now, out))
				goto sent;
		}
	}
	if (!e->is_closing || !close_servers(e, now, out))
		return false;

sent:
	e->counters.tx_packets += out->count;
	e->counters.tx_bytes += out->size;
	return true;
}

cv_time endpoint_deadline(struct endpoint *e)
{
	const struct heap_node *first = heap_first(&e->deadlines);
	cv_time at = first ? first->at : CV_TIME_NEVER;

	for (uint32_t i = 0; i < e->server_count; i++)
		at = cv_time_min(at, rendezvous_deadline(e->servers[i].r));
	if (!list_is_empty(&e->ready))
		at = cv_time_min(at, e->turned_at);
	at = cv_time_min(at, pendings_deadline(&e->pendings));
	at = cv_time_min(at, traversal_deadline(e));
	/* The shell arms its timer with this; a turn much later is a gap (rule 8.3). */
	e->asked_for = at;
	return at;
}

/* A relay that falls silent, be it to data or to an INIT, may be the server's doing, or our own new
 * address: it is asked at once, not at the next keepalive. */
static void doubt_servers(struct endpoint *e, cv_time now, const struct session *s)
{
	bool is_unanswered = s->initiator.is_running && s->initiator.tries > 2;

	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		const struct path *p = &s->paths.list[i];

		if (p->state == PATH_FREE || !p->to.is_relay)
			continue;
		/* With a leg of TCP it takes seconds to become doubtful; the server knows sooner,
		 * and no challenge costs as little as one to it. */
		if (!p->is_doubtful && !is_unanswered &&
		    !(p->kind == PATH_KIND_TCP && (p->beats_missed > 0 || p->loss.pto_count > 0)))
			continue;
		rendezvous_doubt(e->servers[p->to.server].r, now);
	}
}

void endpoint_on_deadline(struct endpoint *e, cv_time now)
{
	struct heap_node *first;

	e->turned_at = now;
	pendings_expire(&e->pendings, now, &e->indexes);
	for (uint32_t i = 0; i < e->server_count; i++) {
		if (rendezvous_deadline(e->servers[i].r) <= now)
			rendezvous_on_deadline(e->servers[i].r, now);
	}
	traversal_on_deadline(e, now);
	while ((first = heap_first(&e->deadlines)) != NULL && first->at <= now) {
		struct session *s = CV_CONTAINER_OF(first, struct session, deadline_node);

		heap_remove(&e->deadlines, first);
		session_on_deadline(s, now);
		liveness_want_servers(s, now);
		doubt_servers(e, now, s);
		endpoint_touch_session(e, s);
	}
}

void endpoint_close(struct endpoint *e, cv_time now)
{
	struct session *s;

	e->is_closing = true;
	traversal_close(e, now);
	endpoint_for_each_session(e, i, s)
	{
		session_close(s, now, CLOSE_SHUTDOWN);
		endpoint_touch_session(e, s);
	}
}

/* ---- state ---- */

enum peer_state endpoint_peer_state(const struct endpoint *e, uint32_t peer)
{
	return session_state(session_of(e, peer), e->turned_at);
}

void endpoint_want_peer(struct endpoint *e, cv_time now, uint32_t peer)
{
	struct session *s = session_of(e, peer);
	struct addr unused;
	uint16_t socket;

	/* A server that is being left alone for a while is asked again: a client waits. */
	for (uint32_t i = 0; i < e->server_count && session_state(s, now) != PEER_CONNECTED; i++) {
		if (!rendezvous_address(e->servers[i].r, &socket, &unused))
			rendezvous_want(e->servers[i].r, now);
	}
	session_want(s, now);
	endpoint_touch(e, peer);
}

struct streams *endpoint_streams(struct endpoint *e, uint32_t peer)
{
	return session_of(e, peer)->streams;
}

bool endpoint_check(const struct endpoint *e)
{
	const struct session *s;

	endpoint_for_each_session(e, i, s)
	{
		if (!session_check(s))
			return false;
	}
	for (uint32_t i = 0; i < e->server_count; i++) {
		if (!rendezvous_check(e->servers[i].r))
			return false;
	}
	return heap_check(&e->deadlines) && idmap_check(&e->indexes.map) && traversal_check(e);
}

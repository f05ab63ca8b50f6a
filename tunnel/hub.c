/* SPDX-License-Identifier: MIT */
#include "tunnel/hub.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "base/alloc.h"
#include "tunnel/aead.h"
#include "tunnel/hub_session.h"
#include "tunnel/stun.h"

/*
 *	INIT ---> gate ---> key listed? ---> pending ---> RESP
 *	DATA ---> index ---> session ----------------------------> frames
 *	              \----> pending ---> opens? ---> session ---> frames
 *	PROBE --> index ---> session ---> answer, or the path moves
 *	RELAY --> channel -> queue of the other end
 *
 * Before the first DATA opens there is no session: a pending handshake is 400 bytes of a fixed
 * table. The table of sessions, the quotas and the maps are touched only by somebody who has
 * proven his key and that he receives at his address.
 *
 * Everything that is answered without a session goes through one ring of replies, none larger
 * than its question. When the ring is full, replies are lost: the other side repeats.
 */

static const char FULL_TEXT[] = "the server has as many agents as it may";
static const char ADDRESS_TEXT[] = "too many agents at your address";

static uint32_t pending_max(const struct hub *h)
{
	return CV_MIN(CV_MAX(h->opt.agents_max, HUB_PENDING_MIN), HUB_PENDING_MAX);
}

static uint32_t sources_max(const struct hub *h)
{
	return CV_MIN(CV_MAX(h->opt.agents_max, HUB_SOURCES_MIN), HUB_SOURCES_MAX);
}

static int allocate(struct hub *h)
{
	h->pending_info = cv_zalloc_array(pending_max(h), sizeof(h->pending_info[0]));
	h->sessions = cv_zalloc_array(h->opt.agents_max, sizeof(struct hub_session *));
	h->unused = cv_zalloc_array(h->opt.agents_max, sizeof(h->unused[0]));
	h->replies = cv_zalloc_array(HUB_REPLIES_MAX, sizeof(h->replies[0]));
	return h->pending_info && h->sessions && h->unused && h->replies ? 0 : -ENOMEM;
}

int hub_new(struct hub **out, cv_time now, const struct hub_options *opt)
{
	struct hub *h = cv_zalloc(sizeof(*h));
	/* As many tags as a busy half of the agents has peers; one agent alone may have all of his.
	 */
	uint32_t tags_max = opt->agents_max * 4 + DIRECTORY_TAGS_PER_MEMBER;
	int r;

	CV_ASSERT(opt->agents_max > 0 && opt->agents_max < UINT32_MAX / 16);
	if (!h)
		return -ENOMEM;
	h->opt = *opt;
	h->seed = rng_u64(opt->rng);
	heap_init(&h->deadlines);
	list_init(&h->ready);
	idmap_init(&h->by_key, h->seed);
	idmap_init(&h->by_addr, h->seed);
	idmap_init(&h->by_prefix, h->seed);
	r = allocate(h);
	if (r == 0)
		r = gate_init(&h->gate, opt->me, true, sources_max(h), rng_u64(opt->rng));
	if (r == 0)
		r = indexes_init(&h->indexes, rng_u64(opt->rng));
	if (r == 0)
		r = pendings_init(&h->pendings, pending_max(h));
	if (r == 0)
		r = directory_init(&h->directory, opt->me->pk, tags_max, rng_u64(opt->rng));
	if (r == 0)
		r = relay_init(&h->relay, opt->agents_max, opt->relay_rate, !opt->relay_enabled,
		               rng_u64(opt->rng));
	if (r == 0)
		r = binding_init(&h->binding, opt->stun, ~h->seed);
	if (r == 0)
		r = hub_list_access(h, opt, &h->access);
	if (r < 0) {
		hub_free(h, now);
		return r;
	}
	*out = h;
	return 0;
}

void hub_free(struct hub *h, cv_time now)
{
	if (!h)
		return;
	for (uint32_t i = 0; h->sessions && i < h->opt.agents_max && h->count > 0; i++) {
		if (h->sessions[i])
			hub_session_drop(h, now, h->sessions[i], false);
	}
	pendings_deinit(&h->pendings, now, &h->indexes);
	relay_deinit(&h->relay);
	binding_deinit(&h->binding);
	directory_deinit(&h->directory);
	indexes_deinit(&h->indexes);
	gate_deinit(&h->gate);
	heap_deinit(&h->deadlines);
	idmap_deinit(&h->by_key);
	idmap_deinit(&h->by_addr);
	idmap_deinit(&h->by_prefix);
	idmap_deinit(&h->access);
	cv_free(h->pending_info);
	cv_free(h->sessions);
	cv_free(h->unused);
	cv_free(h->replies);
	sodium_memzero(h, sizeof(*h));
	cv_free(h);
}

/* ---- replies without a session ---- */

static uint8_t *reply_begin(struct hub *h, uint16_t socket, const struct addr *to)
{
	struct hub_reply *e;

	if (h->reply_count == HUB_REPLIES_MAX) {
		h->stats.drop_queue_full++;
		return NULL;
	}
	e = &h->replies[(h->reply_first + h->reply_count) & (HUB_REPLIES_MAX - 1)];
	e->to = *to;
	e->socket = socket;
	return e->bytes;
}

static void reply_end(struct hub *h, size_t size)
{
	unsigned at = (h->reply_first + h->reply_count) & (HUB_REPLIES_MAX - 1);

	CV_ASSERT(size > 0 && size <= sizeof(h->replies[at].bytes));
	h->replies[at].size = (uint16_t)size;
	h->reply_count++;
}

static void reply(struct hub *h, uint16_t socket, const struct addr *to, const uint8_t *bytes,
                  size_t size)
{
	uint8_t *out = reply_begin(h, socket, to);

	if (!out)
		return;
	memcpy(out, bytes, size);
	reply_end(h, size);
}

static size_t write_close(uint8_t *packet, uint16_t code, const char *text)
{
	struct wire_frame f = { .type = FRAME_CLOSE };
	struct wr w = wr_init(packet + WIRE_DATA_HEADER, WIRE_INIT_SIZE - WIRE_DATA_OVERHEAD);

	f.close.code = code;
	f.close.text = (const uint8_t *)text;
	f.close.text_size = strlen(text);
	wire_write_frame(&w, &f);
	CV_ASSERT(!w.bad);
	return wr_size(&w);
}

/* ---- INIT ---- */

static struct hub_pending *info_of(struct hub *h, const struct pending *e)
{
	return &h->pending_info[e - h->pendings.slots];
}

static void answer_init(struct hub *h, cv_time now, struct arrival *from, bool is_continuing,
                        struct handshake_in *in, const struct remote *remote, const uint8_t *mac1)
{
	struct hub_session *s = hub_session_find(h, in->peer_pk);
	struct handshake_payload payload = { .aead_bits = AEAD_BIT_CHACHA };
	struct pending *e;
	struct hub_pending *info;

	e = pendings_take(&h->pendings, now, &h->indexes, hub_session_key(h, in->peer_pk),
	                  is_continuing);
	e->index = indexes_take(&h->indexes, now, h->opt.rng, HUB_PENDING_OWNER);
	if (e->index == 0)
		return; /* no memory: the slot is free again */
	memcpy(e->theirs, in->payload.incarnation, INCARNATION_SIZE);
	if (s)
		assoc_offer(&s->light.assoc, e->theirs, e->ours);
	else
		rng_fill(h->opt.rng, e->ours, INCARNATION_SIZE);
	memcpy(payload.incarnation, e->ours, INCARNATION_SIZE);
	memcpy(e->init_mac1, mac1, MAC_SIZE);
	e->remote_index = in->head.sender;
	e->number = in->head.number;
	e->aead = AEAD_CHACHA20_POLY1305;
	handshake_write_resp(in, h->opt.me, remote, h->opt.rng, e->index, &payload, e->resp,
	                     &e->secrets);
	info = info_of(h, e);
	memcpy(info->pk, in->peer_pk, 32);
	info->from = from->from;
	info->socket = from->socket;
	info->has_others = false;
	reply(h, from->socket, &from->from, e->resp, WIRE_RESP_SIZE);
}

/* Rule 9.1 from the first DH on. @continues: the session whose mac2 it carries, or NULL. */
static void open_init(struct hub *h, cv_time now, struct arrival *from,
                      struct hub_session *continues, const uint8_t *init)
{
	struct handshake_in in;
	struct remote remote = { 0 };

	if (handshake_read_init_key(&in, h->opt.me, HANDSHAKE_SERVER, init) != HANDSHAKE_OK) {
		h->stats.drop_forged++;
		return;
	}
	if (!hub_is_listed(h, in.peer_pk)) {
		h->stats.drop_access++;
	} else if ((continues && memcmp(continues->pk, in.peer_pk, 32) != 0) ||
	           remote_init(&remote, h->opt.me, in.peer_pk, NULL) < 0 ||
	           handshake_read_init_payload(&in, &remote, init) != HANDSHAKE_OK) {
		h->stats.drop_forged++;
	} else {
		answer_init(h, now, from, continues != NULL, &in, &remote,
		            init + WIRE_INIT_SIZE - 2 * MAC_SIZE);
	}
	remote_wipe(&remote);
	handshake_in_wipe(&in);
}

static void repeat_resp(struct hub *h, struct arrival *from, const uint8_t *init)
{
	struct pending *e = pendings_repeat(&h->pendings, init + WIRE_INIT_SIZE - 2 * MAC_SIZE);
	struct hub_pending *info;

	if (!e) {
		h->stats.drop_replay++;
		return;
	}
	info = info_of(h, e);
	info->has_others |= info->socket != from->socket || !addr_equal(&info->from, &from->from);
	info->from = from->from;
	info->socket = from->socket;
	reply(h, from->socket, &from->from, e->resp, WIRE_RESP_SIZE);
}

static void on_init(struct hub *h, cv_time now, struct arrival *from, const uint8_t *bytes,
                    size_t size)
{
	struct wire_handshake head;
	struct hub_session *s = NULL;
	struct gate_source source;
	uint8_t out[WIRE_INIT_SIZE];
	size_t out_size = 0;

	if (!wire_read_handshake(bytes, size, &head)) {
		h->stats.drop_malformed++;
		return;
	}
	s = hub_session_by_number(h, indexes_find(&h->indexes, head.receiver));
	gate_source_addr(&source, from->socket, &from->from);
	switch (gate_check(&h->gate, now, h->opt.rng, &source, s ? &s->light.assoc : NULL, bytes,
	                   size, &head, out, &out_size)) {
	case GATE_PASS:
		open_init(h, now, from, NULL, bytes);
		return;
	case GATE_CONTINUES:
		open_init(h, now, from, s, bytes);
		return;
	case GATE_STALE:
		repeat_resp(h, from, bytes);
		return;
	case GATE_COOKIE:
	case GATE_VERSION:
		reply(h, from->socket, &from->from, out, out_size);
		return;
	case GATE_MALFORMED:
		h->stats.drop_malformed++;
		return;
	case GATE_BAD_MAC:
		h->stats.drop_bad_mac++;
		return;
	case GATE_LIMITED:
		h->stats.drop_limited++;
		return;
	}
	CV_UNREACHABLE();
}

/* ---- DATA and PROBE ---- */

/* No room: said once, under keys that are forgotten with it. */
static void turn_away(struct hub *h, struct arrival *from, struct epoch *e, const char *text)
{
	uint8_t *out = reply_begin(h, from->socket, &from->from);

	if (out)
		reply_end(h, epoch_seal_data(e, 0, 0, out, write_close(out, CLOSE_LIMIT, text)));
}

void hub_say_close(struct hub *h, cv_time now, struct hub_session *s, uint16_t code,
                   const char *text)
{
	struct epoch *e = assoc_send_epoch(&s->light.assoc, now);
	uint8_t *out = e && s->port.path.family != ADDR_NONE
	                       ? reply_begin(h, s->port.socket, &s->port.path)
	                       : NULL;

	if (out)
		reply_end(h, light_seal(&s->light, e, out, write_close(out, code, text)));
}

static struct hub_session *admit(struct hub *h, cv_time now, struct arrival *from,
                                 const struct pending *p, struct epoch *e)
{
	const struct hub_pending *info = info_of(h, p);
	struct hub_session *s = NULL;

	switch (hub_session_new(h, now, info->pk, info->socket, &info->from, p->ours, &s)) {
	case HUB_ADMITTED:
		return s;
	case HUB_AGENTS_FULL:
		h->stats.drop_agents_full++;
		turn_away(h, from, e, FULL_TEXT);
		return NULL;
	case HUB_ADDRESS_FULL:
		h->stats.drop_address_full++;
		turn_away(h, from, e, ADDRESS_TEXT);
		return NULL;
	case HUB_NO_MEMORY:
		turn_away(h, from, e, FULL_TEXT);
		return NULL;
	}
	CV_UNREACHABLE();
}

/* Joins the confirmed handshake to its session, new or old. NULL: it meant nothing any more. */
static struct hub_session *join(struct hub *h, cv_time now, struct arrival *from, struct pending *p,
                                struct epoch *e)
{
	struct assoc_join join = { .secrets = &p->secrets,
		                   .ours = p->ours,
		                   .theirs = p->theirs,
		                   .aead = p->aead,
		                   .policy = p->policy,
		                   .local_index = p->index,
		                   .remote_index = p->remote_index };
	const struct hub_pending *info = info_of(h, p);
	struct hub_session *s = hub_session_find(h, info->pk);
	enum assoc_verdict verdict;

	if (!s) {
		s = admit(h, now, from, p, e);
		if (!s) {
			pendings_drop(&h->pendings, now, &h->indexes, p, false);
			return NULL;
		}
	} else if (memcmp(p->ours, s->light.assoc.incarnation, INCARNATION_SIZE) != 0) {
		hub_say_close(h, now, s, CLOSE_DUPLICATE, "");
	}
	verdict = assoc_join(&s->light.assoc, now, h->opt.rng, &join);
	trace_emit(h->opt.trace, now, TRACE_HANDSHAKE_DONE, s->number, p->index, verdict);
	if (verdict == ASSOC_REPLACED)
		hub_session_begin_again(h, now, s);
	/* RESP went there, and what only its reader can seal came back from there: as good as a
	 * PROBE answered, if it went nowhere else or nobody can say by TCP that he is another. Else
	 * it proves nothing: a continuing INIT needs no cookie, so whoever repeats it may say that
	 * he is anybody. */
	if ((verdict == ASSOC_REPLACED || verdict == ASSOC_ADDED) &&
	    (!info->has_others || from->socket == SOCKET_TCP) && info->socket == from->socket &&
	    addr_equal(&info->from, &from->from))
		hub_session_move(h, now, s, info->socket, &info->from);
	pendings_drop(&h->pendings, now, &h->indexes, p, true); /* joined, or freed by the join */
	return verdict == ASSOC_VOID ? NULL : s;
}

/* The first packet under a pending handshake confirms it; only DATA does, so that its number is
 * recorded in the window of the session. */
static void confirm(struct hub *h, cv_time now, struct arrival *from, uint8_t *bytes, size_t size,
                    const struct wire_data *head)
{
	struct pending *p = pendings_find(&h->pendings, head->receiver);
	struct hub_session *s;
	struct epoch e;
	size_t plain_size;

	if (!p || (bytes[0] & WIRE_KIND_MASK) != WIRE_DATA) {
		h->stats.drop_unknown_index++;
		return;
	}
	epoch_init(&e, &p->secrets, false, (enum aead_kind)p->aead, p->index, p->remote_index, now,
	           NULL);
	if (!epoch_open_data(&e, head->number, bytes, size, &plain_size)) {
		h->stats.drop_forged++;
		epoch_wipe(&e);
		return;
	}
	s = join(h, now, from, p, &e);
	epoch_wipe(&e);
	if (!s)
		return;
	if (replay_accept(&s->light.window, head->number) != REPLAY_FRESH) {
		h->stats.drop_replay++;
		return;
	}
	hub_session_on_opened(h, now, s, from->socket, &from->from, size);
	hub_session_on_frames(h, now, s, bytes + WIRE_DATA_HEADER, plain_size);
}

static void on_probe(struct hub *h, cv_time now, struct hub_session *s, struct arrival *from,
                     struct epoch *e, const uint8_t *plain, size_t plain_size, size_t size)
{
	struct wire_probe probe;
	size_t answer_size = 0;
	bool is_aside;
	uint8_t *out;

	if (!wire_read_probe(plain, plain_size, &probe)) {
		h->stats.drop_malformed++;
		return;
	}
	is_aside = probe.type == PROBE_CHALLENGE && (probe.flags & PROBE_FLAG_ASIDE);
	if (is_aside && hub_session_on_aside(h, now, s, from->socket, &from->from, &probe))
		return;
	if (probe.type == PROBE_CHALLENGE && (probe.flags & PROBE_FLAG_INTERVAL))
		hub_session_on_interval(s, probe.seconds);
	if (probe.type == PROBE_CHALLENGE && size >= LIGHT_PROBE_MIN) {
		bool is_padded = (probe.flags & PROBE_FLAG_PAD_ANSWER) && size <= WIRE_INIT_SIZE;
		struct wire_probe answer = { .type = PROBE_ANSWER,
			                     .token = probe.token,
			                     .seen = from->from };

		out = reply_begin(h, from->socket, &from->from);
		if (out) {
			answer_size = light_write_probe(e, out, is_padded ? size : 0, &answer);
			reply_end(h, answer_size);
		}
	} else if (probe.type == PROBE_ANSWER) {
		hub_session_on_answer(h, now, s, from->socket, &from->from, probe.token);
	}
	/* Else it tells where the session is, and that its own mapping is alive. */
	if (!is_aside)
		hub_session_on_opened(h, now, s, from->socket, &from->from, size - answer_size);
}

static void on_sealed(struct hub *h, cv_time now, struct arrival *from, uint8_t *bytes, size_t size)
{
	struct hub_session *s;
	struct wire_data head;
	struct epoch *e;
	size_t plain_size;

	if (!wire_read_data(bytes, size, &head)) {
		h->stats.drop_malformed++;
		return;
	}
	s = hub_session_by_number(h, indexes_find(&h->indexes, head.receiver));
	if (!s) {
		confirm(h, now, from, bytes, size, &head);
		return;
	}
	switch (light_open(&s->light, now, bytes, size, &plain_size, &e)) {
	case LIGHT_OPENED:
		break;
	case LIGHT_MALFORMED:
		h->stats.drop_malformed++;
		return;
	case LIGHT_UNKNOWN:
		h->stats.drop_unknown_index++;
		return;
	case LIGHT_REPLAY:
		h->stats.drop_replay++;
		return;
	case LIGHT_FORGED:
		h->stats.drop_forged++;
		return;
	}
	if ((bytes[0] & WIRE_KIND_MASK) == WIRE_PROBE) {
		on_probe(h, now, s, from, e, bytes + WIRE_DATA_HEADER, plain_size, size);
		return;
	}
	hub_session_on_opened(h, now, s, from->socket, &from->from, size);
	hub_session_on_frames(h, now, s, bytes + WIRE_DATA_HEADER, plain_size);
}

/* ---- RELAY ---- */

static void on_relay(struct hub *h, cv_time now, struct arrival *from, const uint8_t *bytes,
                     size_t size)
{
	struct relay_port *owner;
	enum relay_verdict verdict =
		relay_on_datagram(&h->relay, now, from->socket, &from->from, bytes, size, &owner);

	if (owner && verdict != RELAY_WRONG_SOURCE)
		hub_session_stays(h, list_entry(owner, struct hub_session, port));
	switch (verdict) {
	case RELAY_FORWARDED:
		return;
	case RELAY_MALFORMED:
		h->stats.drop_malformed++;
		return;
	case RELAY_UNKNOWN:
		h->stats.drop_unknown_channel++;
		return;
	case RELAY_WRONG_SOURCE:
		h->stats.drop_wrong_source++;
		hub_session_doubt(h, now, list_entry(owner, struct hub_session, port), from->socket,
		                  &from->from, size);
		return;
	case RELAY_SILENT:
		h->stats.drop_silent_peer++;
		return;
	case RELAY_TOO_LARGE:
		h->stats.drop_too_large++;
		return;
	case RELAY_QUOTA:
		h->stats.drop_quota++;
		return;
	case RELAY_FULL:
		h->stats.drop_queue_full++;
		return;
	}
	CV_UNREACHABLE();
}

/* ---- STUN ---- */

static void on_stun(struct hub *h, cv_time now, struct arrival *from, const uint8_t *bytes,
                    size_t size)
{
	struct binding_answer answer = { .socket = from->socket, .to = from->from };

	switch (binding_on_datagram(&h->binding, now, bytes, size, &answer)) {
	case BINDING_ANSWERED:
		/* Handshakes have the other half of the ring to themselves. */
		if (h->reply_count >= HUB_REPLIES_MAX / 2) {
			h->stats.drop_queue_full++;
			return;
		}
		h->stats.stun_answers++;
		reply(h, answer.socket, &answer.to, answer.bytes, answer.size);
		return;
	case BINDING_MALFORMED:
		h->stats.drop_malformed++;
		return;
	case BINDING_LIMITED:
		h->stats.drop_stun_limited++;
		return;
	case BINDING_SILENT:
		h->stats.drop_stun_silent++;
		return;
	}
	CV_UNREACHABLE();
}

/* ---- the shell's side ---- */

void hub_set_places(struct hub *h, const struct binding_place *list, unsigned count)
{
	binding_set_places(&h->binding, list, count);
}

static void on_datagram(struct hub *h, cv_time now, struct arrival *in, uint8_t *bytes, size_t size)
{
	if (wire_is_stun(bytes[0])) {
		on_stun(h, now, in, bytes, size);
		return;
	}
	switch (bytes[0] & WIRE_KIND_MASK) {
	case WIRE_RELAY:
		on_relay(h, now, in, bytes, size);
		return;
	case WIRE_DATA:
	case WIRE_PROBE:
		on_sealed(h, now, in, bytes, size);
		return;
	case WIRE_INIT:
		on_init(h, now, in, bytes, size);
		return;
	default: /* a byte from outside; RESP, COOKIE and VERSION are for who begins */
		h->stats.drop_malformed++;
		return;
	}
}

void hub_on_arrival(struct hub *h, cv_time now, struct arrival *in)
{
	size_t step = in->segment_size > 0 ? in->segment_size : in->size;

	for (size_t at = 0; at < in->size && !h->is_closing; at += step)
		on_datagram(h, now, in, in->bytes + at, CV_MIN(step, in->size - at));
}

void hub_on_refused(struct hub *h, cv_time now, uint16_t socket, const struct addr *to)
{
	struct hub_session *s = hub_session_at(h, socket, to);

	if (s && s->port.socket == socket)
		hub_session_on_refused(h, now, s);
}

void hub_on_tcp_closed(struct hub *h, cv_time now, const struct addr *from)
{
	struct hub_session *s = hub_session_at(h, SOCKET_TCP, from);

	(void)now;
	if (s)
		hub_session_on_closed(h, s);
}

bool hub_has_tcp(const struct hub *h, const struct addr *from)
{
	return hub_session_at(h, SOCKET_TCP, from) != NULL;
}

static bool write_reply(struct hub *h, struct train *out)
{
	const struct hub_reply *e = &h->replies[h->reply_first];

	if (h->reply_count == 0)
		return false;
	memcpy(out->bytes, e->bytes, e->size);
	out->size = e->size;
	out->segment_size = e->size;
	out->count = 1;
	out->socket = e->socket;
	out->to = e->to;
	h->reply_first = (h->reply_first + 1) & (HUB_REPLIES_MAX - 1);
	h->reply_count--;
	return true;
}

static bool write_sessions(struct hub *h, cv_time now, struct train *out)
{
	struct directory_member *m;
	struct hub_session *s;

	/* Whoever has news is ready; writing takes them, or puts them off. */
	while ((m = directory_next_member(&h->directory)) != NULL) {
		directory_defer(m);
		hub_session_wake(h, list_entry(m, struct hub_session, member));
	}
	while (!list_is_empty(&h->ready)) {
		s = list_entry(h->ready.next, struct hub_session, ready);
		/* First what came first: the CLOSE of a peer, then that its channel is gone. */
		if (relay_write_to(&h->relay, &s->port, out))
			return true;
		if (hub_session_write(h, now, s, out)) {
			list_remove(&s->ready); /* the others first */
			list_add_tail(&h->ready, &s->ready);
			return true;
		}
	}
	return false;
}

/* One agent a call: nothing is queued for a hundred thousand of them. */
static bool write_goodbye(struct hub *h, cv_time now, struct train *out)
{
	while (h->is_closing && h->closing_next < h->opt.agents_max) {
		struct hub_session *s = h->sessions[h->closing_next++];
		struct epoch *e = s ? assoc_send_epoch(&s->light.assoc, now) : NULL;

		if (!e || s->port.path.family == ADDR_NONE)
			continue;
		out->size = light_seal(&s->light, e, out->bytes,
		                       write_close(out->bytes, CLOSE_SHUTDOWN, ""));
		out->segment_size = out->size;
		out->count = 1;
		out->socket = s->port.socket;
		out->to = s->port.path;
		return true;
	}
	return false;
}

bool hub_write(struct hub *h, cv_time now, struct train *out)
{
	if (h->is_closing)
		return write_goodbye(h, now, out);
	return write_reply(h, out) || write_sessions(h, now, out) || relay_write(&h->relay, out);
}

cv_time hub_deadline(const struct hub *h)
{
	const struct heap_node *first = heap_first(&h->deadlines);

	if (h->is_closing)
		return CV_TIME_NEVER;
	return cv_time_min(first ? first->at : CV_TIME_NEVER, pendings_deadline(&h->pendings));
}

void hub_on_deadline(struct hub *h, cv_time now)
{
	struct heap_node *first;

	if (h->is_closing)
		return;
	pendings_expire(&h->pendings, now, &h->indexes);
	while ((first = heap_first(&h->deadlines)) != NULL && first->at <= now)
		hub_session_on_deadline(h, now, CV_CONTAINER_OF(first, struct hub_session, due));
}

void hub_close(struct hub *h, cv_time now)
{
	(void)now;
	h->is_closing = true;
}

void hub_stats(const struct hub *h, struct hub_stats *out)
{
	*out = h->stats;
	out->agents = h->count;
	out->channels = h->relay.count;
	out->relay_rx_bytes = h->relay.rx_bytes;
	out->relay_rx_packets = h->relay.rx_packets;
	out->relay_tx_bytes = h->relay.tx_bytes;
	out->drop_queue_full += h->relay.dropped;
}

/* Everything that counts agents agrees, and every session has a deadline. */
static bool check_sessions(const struct hub *h)
{
	uint64_t key, value, in_prefixes = 0;
	uint32_t count = 0;
	size_t at = 0;

	for (uint32_t i = 0; i < h->opt.agents_max; i++) {
		const struct hub_session *s = h->sessions[i];

		if (!s)
			continue;
		count++;
		if (s->number != i || hub_session_find(h, s->pk) != s || !light_check(&s->light))
			return false;
		if (s->due.slot == HEAP_OUT && !list_is_linked(&s->ready))
			return false;
	}
	while (idmap_next(&h->by_prefix, &at, &key, &value))
		in_prefixes += value;
	return count == h->count && in_prefixes == count && h->by_key.count == count &&
	       h->by_addr.count <= count;
}

/* Each end of a channel belongs to the session that registered its tag, and matches the other's. */
static bool check_channels(const struct hub *h)
{
	struct relay_end_info end;
	uint32_t ends = 0;

	for (uint32_t i = 0; i < h->opt.agents_max; i++) {
		const struct hub_session *s = h->sessions[i];

		for (struct list *n = s ? s->port.channels.next : NULL; s && n != &s->port.channels;
		     n = n->next) {
			relay_describe(&h->relay, n, &end);
			ends++;
			if (directory_member_of(&h->directory, end.name) != &s->member ||
			    directory_match(&h->directory, end.name) != end.other_name ||
			    directory_channel(&h->directory, end.name) != end.number)
				return false;
		}
	}
	return ends == 2 * h->relay.count;
}

bool hub_check(const struct hub *h)
{
	return check_sessions(h) && check_channels(h) && directory_check(&h->directory) &&
	       relay_check(&h->relay) && heap_check(&h->deadlines);
}

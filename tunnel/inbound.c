/* SPDX-License-Identifier: MIT */
#include "tunnel/inbound.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "tunnel/attempt.h"
#include "tunnel/builder.h"
#include "tunnel/recovery.h"

/* Where a NAT gives every destination a port of its own, and hairpins, each probe to a new source
 * makes one more new source, for both sides and for ever. */
enum {
	STRANGER_RATE = 4, /* new sources a second */
	STRANGER_BURST = 16,
};

/* Addresses that one peer may have us probe: two whole lists at once, then three a second. With
 * the table's size this bounds what a peer can make us send to strangers (T40). */
enum { CANDIDATES_RATE = 3, CANDIDATES_BURST = 2 * FRAME_CANDIDATES_MAX };

static bool is_acceptable(const struct session *s, const struct origin *from)
{
	return from->is_relay || !s->paths.is_relay_only;
}

/* The path that an authentic packet came by; a new source becomes a path under test (rule 5.8). */
static uint8_t arrival_slot(struct session *s, cv_time now, const struct origin *from)
{
	uint8_t slot = paths_find(&s->paths, from);
	struct path *active = paths_active(&s->paths);

	if (slot == PATHS_NONE) {
		if (!from->is_relay &&
		    !bucket_take(&s->strangers, now, STRANGER_RATE, STRANGER_BURST, 1))
			return PATHS_NONE;
		slot = paths_add(&s->paths, now, from);
		if (slot == PATHS_NONE)
			return PATHS_NONE;
		s->paths.list[slot].was_unannounced = true;
		trace_emit(s->core->trace, now, TRACE_PATH_ADDED, s->number, slot,
		           s->paths.list[slot].kind);
		if (active)
			path_check_now(active, now);
	} else if (s->paths.list[slot].state == PATH_FAILED) {
		path_check_now(&s->paths.list[slot], now);
	}
	path_on_heard(&s->paths.list[slot], now);
	return slot;
}

static void try_candidate(struct session *s, cv_time now, const struct addr *a)
{
	struct origin o = { .addr = *a };
	uint8_t slot = paths_find(&s->paths, &o);

	if (slot != PATHS_NONE)
		s->paths.list[slot].announced_at = s->paths.announced_at;
	if (!bucket_take(&s->candidates, now, CANDIDATES_RATE, CANDIDATES_BURST, 1))
		return;
	slot = paths_add(&s->paths, now, &o);
	if (slot == PATHS_NONE)
		return;
	s->paths.list[slot].is_candidate = true;
	s->paths.list[slot].announced_at = s->paths.announced_at;
	path_check_now(&s->paths.list[slot], now);
}

static void on_candidates(struct session *s, cv_time now, const struct wire_frame *f)
{
	if (s->paths.is_relay_only)
		return;
	s->paths.announced_at = now;
	s->unfit_count = 0;
	for (unsigned i = 0; i < f->candidates.count; i++) {
		const struct addr *a = &f->candidates.list[i].addr;

		if (candidate_is_allowed(&s->core->scope, a))
			try_candidate(s, now, a);
		else
			s->unfit[s->unfit_count++] = *a;
	}
}

void inbound_on_scope(struct session *s, cv_time now)
{
	unsigned count = s->unfit_count;

	s->unfit_count = 0;
	for (unsigned i = 0; i < count && !s->paths.is_relay_only; i++) {
		if (candidate_is_allowed(&s->core->scope, &s->unfit[i]))
			try_candidate(s, now, &s->unfit[i]);
		else
			s->unfit[s->unfit_count++] = s->unfit[i];
	}
}

/* ---- handshakes ---- */

static void on_bound(struct session *s, cv_time now)
{
	trace_emit(s->core->trace, now, TRACE_OBJECT_BOUND, s->number,
	           cv_load64(s->assoc.incarnation), 0);
	s->down_code = CLOSE_NONE;
	s->has_clashed = false;
	session_on_policies(s, now);
	if (s->address_count > 0 && !session_policies_clash(s))
		session_set_addresses(s, now, s->addresses, s->address_count);
}

/* RESP is sealed, its source is not: whoever copies it faster would become our router. */
static bool was_asked(const struct session *s, const struct origin *from)
{
	if (from->is_relay || paths_find(&s->paths, from) != PATHS_NONE)
		return true;
	for (unsigned i = 0; i < s->address_count; i++) {
		if (from->socket == 0 && addr_equal(&s->addresses[i], &from->addr))
			return true;
	}
	return false;
}

/* What a handshake says of the address that its last datagram seemed to come from. */
enum source {
	SOURCE_UNKNOWN, /* like that of any other packet */
	SOURCE_CLAIMED, /* our INIT or RESP may have gone there; but others could read it, too */
	SOURCE_PROVEN,  /* it went there alone, or to a server */
};

static enum source source_of(const struct origin *from, bool is_asked, bool is_only)
{
	if (!is_asked)
		return SOURCE_UNKNOWN;
	return from->is_relay || is_only ? SOURCE_PROVEN : SOURCE_CLAIMED;
}

static void on_handshake_done(struct session *s, cv_time now, const struct origin *from,
                              enum assoc_verdict verdict, enum source source)
{
	uint8_t slot = PATHS_NONE;

	if (source != SOURCE_UNKNOWN)
		slot = paths_add(&s->paths, now, from);
	else
		(void)arrival_slot(s, now, from);
	if (verdict == ASSOC_BOUND || verdict == ASSOC_REPLACED)
		on_bound(s, now);
	else
		session_on_policies(s, now); /* one of them may be new */
	if (slot != PATHS_NONE)
		path_on_handshake(&s->paths.list[slot], now, source == SOURCE_PROVEN);
	attempt_succeeded(s, now);
	if (!s->paths.is_relay_only || from->is_relay)
		session_rechoose(s, now);
	trace_emit(s->core->trace, now, TRACE_HANDSHAKE_DONE, s->number, 0, verdict);
}

bool inbound_on_init(struct session *s, cv_time now, struct handshake_in *in, const uint8_t *init,
                     const struct origin *from, bool is_continuing, uint8_t resp[WIRE_RESP_SIZE])
{
	struct session_core *c = s->core;
	struct handshake_payload payload = { .policy = s->policy };
	struct pending *e;
	enum aead_kind aead;
	uint32_t index;

	s->turned_at = now;
	if (!from->is_relay && (s->policy == POLICY_RELAY || in->payload.policy == POLICY_RELAY))
		return false;
	index = indexes_take(c->indexes, now, c->rng, s->number);
	e = index ? pendings_take(c->pendings, now, c->indexes, s->number, is_continuing) : NULL;
	if (!e) {
		if (index)
			indexes_free(c->indexes, now, index);
		return false;
	}
	assoc_offer(&s->assoc, in->payload.incarnation, payload.incarnation);
	aead = aead_choose(c->aead_bits, in->payload.aead_bits);
	e->aead = (uint8_t)aead;
	payload.aead_bits = (uint8_t)(1u << e->aead);
	e->index = index;
	e->remote_index = in->head.sender;
	pending_add_source(e, attempt_path_name(from));
	e->number = in->head.number;
	e->policy = in->payload.policy;
	memcpy(e->ours, payload.incarnation, INCARNATION_SIZE);
	memcpy(e->theirs, in->payload.incarnation, INCARNATION_SIZE);
	memcpy(e->init_mac1, init + WIRE_INIT_SIZE - 2 * MAC_SIZE, MAC_SIZE);
	handshake_write_resp(in, c->me, &s->remote, c->rng, index, &payload, e->resp, &e->secrets);
	memcpy(resp, e->resp, WIRE_RESP_SIZE);
	if (is_continuing)
		s->assoc.number_accepted = in->head.number;
	/* Theirs will do: an INIT of our own would only cross it. */
	if (!assoc_is_live(&s->assoc, now) && s->attempt_at != CV_TIME_NEVER)
		s->attempt_at = CV_MAX(s->attempt_at, cv_time_after(now, CV_SEC(1)));
	return true;
}

static void on_restart(struct session *s, cv_time now)
{
	session_renew_object(s, now, CLOSE_REPLACED);
	s->attempt_at = now;
}

void inbound_on_resp(struct session *s, cv_time now, const struct origin *from,
                     const uint8_t *bytes, size_t size)
{
	bool is_only = initiator_asked_only(&s->initiator, attempt_path_name(from));
	enum source source = source_of(from, was_asked(s, from), is_only);
	enum assoc_verdict verdict;
	uint8_t slot;
	bool is_forged;

	s->turned_at = now;
	if (!is_acceptable(s, from) || !session_has_room(s))
		return;
	verdict = initiator_on_resp(&s->initiator, now, &s->assoc, s->core->me, &s->remote,
	                            s->core->rng, bytes, size, &is_forged);
	if (is_forged) {
		s->forged++;
		return;
	}
	switch (verdict) {
	case ASSOC_REPLACED:
		session_renew_object(s, now, CLOSE_REPLACED);
		on_handshake_done(s, now, from, verdict, source);
		break;
	case ASSOC_ADDED:
	case ASSOC_BOUND:
		on_handshake_done(s, now, from, verdict, source);
		break;
	case ASSOC_RESTART:
		on_restart(s, now);
		break;
	case ASSOC_VOID:
		attempt_plan(s, now, assoc_is_live(&s->assoc, now) ? SESSION_RETRY_MAX : 0);
		return;
	}
	slot = paths_find(&s->paths, from);
	if (slot != PATHS_NONE)
		path_on_received(&s->paths.list[slot], size);
	/* Something must arrive under the new keys before the peer may use them. */
	s->confirm_at = now;
	s->confirm_interval = 0;
	s->is_pinging = true;
	s->probes_due = CV_MAX(s->probes_due, 1);
}

void inbound_on_cookie(struct session *s, cv_time now, const struct origin *from,
                       const uint8_t *bytes, size_t size)
{
	if (is_acceptable(s, from))
		(void)initiator_on_cookie(&s->initiator, now, &s->remote, attempt_path_name(from),
		                          bytes, size);
}

void inbound_on_version(struct session *s, const uint8_t *bytes, size_t size)
{
	initiator_on_version(&s->initiator, &s->remote, bytes, size);
}

/* The candidate is about to replace a living object: tell the one that it was joined to
 * (rule 3.5, 3.8). */
static void seal_farewell(struct session *s, cv_time now, const struct pending *e)
{
	if (memcmp(e->ours, s->assoc.incarnation, INCARNATION_SIZE) != 0)
		session_seal_farewell(s, now, CLOSE_REPLACED);
}

/* The first packet under keys that only a pending handshake has: key confirmation. Opened in place,
 * or false. */
static bool confirm(struct session *s, cv_time now, const struct origin *from,
                    const struct wire_data *head, uint8_t *bytes, size_t size, size_t *plain)
{
	struct session_core *c = s->core;
	struct pending *e = pendings_find(c->pendings, head->receiver);
	_Alignas(16) uint8_t states[2 * AEAD_STATE_SIZE];
	struct epoch trial = { 0 };
	struct assoc_join join;
	enum assoc_verdict verdict;
	enum source source;
	bool opened;

	if (!e || e->owner != s->number || !session_has_room(s))
		return false;
	epoch_init(&trial, &e->secrets, false, (enum aead_kind)e->aead, e->index, e->remote_index,
	           now, states);
	opened = epoch_open_data(&trial, head->number, bytes, size, plain);
	epoch_wipe(&trial);
	sodium_memzero(states, sizeof(states));
	if (!opened) {
		s->forged++;
		return false;
	}
	seal_farewell(s, now, e);
	join = (struct assoc_join){
		.secrets = &e->secrets,
		.ours = e->ours,
		.theirs = e->theirs,
		.aead = e->aead,
		.policy = e->policy,
		.local_index = e->index,
		.remote_index = e->remote_index,
	};
	source = source_of(from, pending_was_sent_to(e, attempt_path_name(from)),
	                   pending_was_sent_only_to(e, attempt_path_name(from)));
	verdict = assoc_join(&s->assoc, now, c->rng, &join);
	if (verdict != ASSOC_REPLACED)
		s->farewell_size = 0;
	pendings_drop(c->pendings, now, c->indexes, e, true);
	if (verdict == ASSOC_VOID || verdict == ASSOC_RESTART)
		return false;
	if (verdict == ASSOC_REPLACED)
		session_renew_object(s, now, CLOSE_REPLACED);
	initiator_stop(&s->initiator, now, &s->assoc);
	on_handshake_done(s, now, from, verdict, source);
	return true;
}

/* ---- packets in ---- */

static void on_close(struct session *s, cv_time now, uint16_t code)
{
	if (code == CLOSE_REPLACED || code == CLOSE_DUPLICATE) {
		/* We did not restart, yet another one took our place: it has our key (rule 3.8). */
		s->duplicate_pause = s->duplicate_pause
		                             ? CV_MIN(s->duplicate_pause * 2, CV_SEC(600))
		                             : CV_SEC(60);
		s->duplicate_until = cv_time_after(now, s->duplicate_pause);
		s->news |= SESSION_NEWS_DUPLICATE;
	}
	session_drop_object(s, now, code, SESSION_RETRY);
}

static void on_frequency(struct session *s, uint64_t number, const struct wire_frame *f)
{
	acks_on_frequency(&s->acks, number,
	                  &(struct acks_wish){
				  .threshold = f->ack_frequency.threshold,
				  .reorder = f->ack_frequency.reorder,
				  .delay = CV_US(f->ack_frequency.delay_us),
			  });
}

/* One frame of packet @number. 0, -EPROTO, -ENOBUFS (do not acknowledge), -ECONNRESET (the object
 * is gone). */
static int on_frame(struct session *s, cv_time now, uint64_t number, const struct wire_frame *f)
{
	switch (f->type) {
	case FRAME_PING:
		return 0;
	case FRAME_ACK:
		return recovery_on_ack(s, now, f);
	case FRAME_ACK_FREQUENCY:
		on_frequency(s, number, f);
		return 0;
	case FRAME_STREAM:
	case FRAME_RESET:
	case FRAME_STOP:
	case FRAME_MAX_DATA:
	case FRAME_MAX_STREAM_DATA:
	case FRAME_MAX_STREAMS:
	case FRAME_DATA_BLOCKED:
	case FRAME_STREAM_BLOCKED:
		return streams_on_frame(s->streams, now, f);
	case FRAME_DATAGRAM:
		return datagrams_on_frame(s->datagrams, now, f);
	case FRAME_CANDIDATES:
		on_candidates(s, now, f);
		return 0;
	case FRAME_NAT:
	case FRAME_PUNCH:
		if (!s->paths.is_relay_only)
			punch_talk_on_frame(&s->punch, number, f);
		return 0;
	case FRAME_CLOSE:
		on_close(s, now, f->close.code);
		return -ECONNRESET;
	default: /* a type of another kind of session */
		return -EPROTO;
	}
}

void session_protocol_error(struct session *s, cv_time now)
{
	trace_emit(s->core->trace, now, TRACE_PROTOCOL_ERROR, s->number, 0, 0);
	if (!s->assoc.is_bound || s->close_code != CLOSE_NONE)
		return;
	s->close_code = CLOSE_PROTOCOL;
	s->close_left = 1;
}

/* The peer's data take another path than the one that we chose. Either the word is still under way,
 * or it was overtaken by an older one, of another epoch: numbers do not tell. */
static void nominate_again(struct session *s, cv_time now, uint8_t slot)
{
	struct path *p = paths_active(&s->paths);

	if (!s->has_smaller_key || !p || s->paths.active == slot || p->state != PATH_USABLE ||
	    p->is_doubtful || cv_time_since(now, p->sent_at) < path_patience(p))
		return;
	p->must_nominate = true;
	p->probe_at = now;
}

static void on_frames(struct session *s, cv_time now, const struct wire_data *head, uint8_t slot,
                      const uint8_t *plain, size_t size)
{
	struct rd in = rd_init(plain, size);
	CV_UNINITIALIZED struct wire_frame f; /* 1 KiB for each packet */
	bool is_eliciting = false;
	enum wire_verdict v;
	int r;

	while ((v = wire_read_frame(&in, &f)) == WIRE_FRAME) {
		if (f.type != FRAME_ACK && f.type != FRAME_CLOSE)
			is_eliciting = true;
		r = on_frame(s, now, head->number, &f);
		if (r == -ENOBUFS || r == -ENOMEM || r == -ECONNRESET)
			return;
		if (r < 0)
			v = WIRE_BAD;
		if (v == WIRE_BAD)
			break;
	}
	if (v == WIRE_BAD) {
		session_protocol_error(s, now);
		return;
	}
	if (is_eliciting) {
		path_on_flow(&s->paths.list[slot], now);
		nominate_again(s, now, slot);
	}
	acks_on_packet(&s->acks, now, head->number, is_eliciting,
	               (head->flags & WIRE_FLAG_ACK_NOW) != 0, slot,
	               s->paths.list[slot].rtt.smoothed);
}

void inbound_on_data(struct session *s, cv_time now, const struct origin *from, uint8_t *bytes,
                     size_t size)
{
	struct wire_data head;
	struct epoch *e;
	size_t plain;
	uint8_t slot;

	s->turned_at = now;
	if (!wire_read_data(bytes, size, &head) || !is_acceptable(s, from))
		return;
	e = assoc_find(&s->assoc, head.receiver);
	if (e) {
		if (!epoch_can_open(e, now, &EPOCH_LIMITS_AGENT) ||
		    replay_check(&s->replay, head.number) != REPLAY_FRESH) {
			s->replayed++;
			return;
		}
		if (!epoch_open_data(e, head.number, bytes, size, &plain)) {
			s->forged++;
			return;
		}
		assoc_on_opened(&s->assoc, e);
	} else if (!confirm(s, now, from, &head, bytes, size, &plain)) {
		return;
	}
	/* Only what has verified moves the window; a duplicate that slipped in between is dropped
	 * here. */
	if (head.number > WIRE_NUMBER_MAX || replay_accept(&s->replay, head.number) != REPLAY_FRESH)
		return;
	trace_emit(s->core->trace, now, TRACE_PACKET_RECEIVED, s->number, head.number, size);
	slot = arrival_slot(s, now, from);
	if (slot == PATHS_NONE || s->close_code != CLOSE_NONE)
		return;
	path_on_received(&s->paths.list[slot], size);
	acks_on_ecn(&s->acks, (enum ecn_codepoint)from->ecn);
	on_frames(s, now, &head, slot, bytes + WIRE_DATA_HEADER, plain);
}

/* Paths overtake each other: the last word counts, not the last to arrive. */
static bool is_newest_nomination(struct session *s, const struct wire_data *head)
{
	if (head->receiver == s->nominated_index && head->number < s->nominated_number)
		return false;
	s->nominated_index = head->receiver;
	s->nominated_number = head->number;
	return true;
}

static void on_nomination(struct session *s, cv_time now, uint8_t slot)
{
	for (uint8_t i = 0; i < PATHS_MAX; i++)
		s->paths.list[i].is_nominated = i == slot;
	if (s->paths.list[slot].state != PATH_USABLE)
		path_check_now(&s->paths.list[slot], now);
}

static void on_challenge(struct session *s, uint8_t slot, const struct wire_probe *p,
                         const struct origin *from, size_t size)
{
	bool pads = (p->flags & PROBE_FLAG_PAD_ANSWER) != 0;

	if (s->answer_count == CV_ARRAY_SIZE(s->answers))
		return; /* the challenger asks again */
	s->answers[s->answer_count].slot = slot;
	s->answers[s->answer_count].token = p->token;
	s->answers[s->answer_count].size =
		(uint32_t)(pads ? CV_MIN(size, WIRE_DATAGRAM_BASE) : WIRE_PROBE_MIN);
	s->answers[s->answer_count].seen = from->is_relay ? (struct addr){ 0 } : from->addr;
	s->answer_count++;
}

/* The peer's packets moved to @p: where nothing came from since, its mapping has changed. */
static void doubt_left_paths(struct session *s, cv_time now, const struct path *p)
{
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		struct path *other = &s->paths.list[i];

		if (other == p || other->heard_at >= p->made_at ||
		    (other->state != PATH_USABLE && i != s->paths.active))
			continue;
		if (i != s->paths.active && other->to.is_relay)
			continue; /* keeps its own mapping, with the server */
		other->is_doubtful = true;
		path_check_now(other, now);
	}
}

/* An answer proves the path that its question took, wherever it arrives (RFC 9000, 8.2.3): else
 * whoever copies answers faster, with a source of his own, ends every path. */
static struct path *asker(struct session *s, uint8_t slot, uint64_t token)
{
	for (uint8_t i = 0; i < PATHS_MAX && !path_has_asked(&s->paths.list[slot], token); i++) {
		if (path_has_asked(&s->paths.list[i], token))
			return &s->paths.list[i];
	}
	return &s->paths.list[slot];
}

static void on_answer(struct session *s, cv_time now, uint8_t slot, const struct wire_data *head,
                      const struct wire_probe *answer, size_t size)
{
	struct path *p = asker(s, slot, answer->token);
	enum path_state before = (enum path_state)p->state;

	if (!path_on_answer(p, now, answer->token, (uint32_t)size + path_overhead(p)))
		return;
	slot = (uint8_t)(p - s->paths.list);
	s->has_lost_mapping |= path_on_seen(p, &answer->seen);
	if ((answer->flags & PROBE_FLAG_NOMINATE) && is_newest_nomination(s, head))
		on_nomination(s, now, slot);
	if (p->state != PATH_USABLE || before == PATH_USABLE)
		return;
	trace_emit(s->core->trace, now, TRACE_PATH_VALIDATED, s->number, slot, p->probe_rtt / 1000);
	if (p->was_unannounced)
		doubt_left_paths(s, now, p);
}

void inbound_on_probe(struct session *s, cv_time now, const struct origin *from, uint8_t *bytes,
                      size_t size)
{
	struct wire_data head;
	struct wire_probe probe;
	struct epoch *e;
	size_t plain;
	uint8_t slot;

	s->turned_at = now;
	if (!wire_read_data(bytes, size, &head) || !is_acceptable(s, from))
		return;
	e = assoc_find(&s->assoc, head.receiver);
	if (!e || !epoch_can_open(e, now, &EPOCH_LIMITS_AGENT))
		return;
	if (!epoch_open_probe(e, bytes, size, &plain) ||
	    !wire_read_probe(bytes + WIRE_DATA_HEADER, plain, &probe)) {
		s->forged++;
		return;
	}
	assoc_on_opened(&s->assoc, e);
	slot = arrival_slot(s, now, from);
	if (slot == PATHS_NONE)
		return;
	path_on_received(&s->paths.list[slot], size);
	if (probe.type == PROBE_CHALLENGE && (probe.flags & PROBE_FLAG_NOMINATE) &&
	    is_newest_nomination(s, &head))
		on_nomination(s, now, slot);
	if (probe.type == PROBE_CHALLENGE)
		on_challenge(s, slot, &probe, from, size);
	else
		on_answer(s, now, slot, &head, &probe, size);
	session_rechoose(s, now);
}

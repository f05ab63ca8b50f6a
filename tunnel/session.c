/* SPDX-License-Identifier: MIT */
#include "tunnel/session.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "tunnel/attempt.h"
#include "tunnel/builder.h"
#include "tunnel/liveness.h"
#include "tunnel/recovery.h"
#include "tunnel/vitals.h"

/* ---- life ---- */

static bool is_smaller(const uint8_t a[32], const uint8_t b[32])
{
	return memcmp(a, b, 32) < 0;
}

static int object_init(struct session *s)
{
	struct streams_options opt = {
		.pool = s->core->pool,
		.loans = &s->core->loans,
		.streams_max = s->core->streams_max,
		.has_smaller_key = s->has_smaller_key,
		.seed = rng_u64(s->core->rng),
		.stream_window_max = 32u << 20,
		.session_window_max = 64u << 20,
	};
	int r;

	r = streams_new(&s->streams, &opt);
	if (r < 0)
		return r;
	sent_init(&s->sent, SESSION_SENT_MAX);
	acks_init(&s->acks);
	s->acks_alone = 0;
	s->datagrams_lead = 0;
	s->ecn_ledger = (struct ecn_ledger){ 0 };
	memset(s->replay_words, 0, REPLAY_WORDS(SESSION_REPLAY_WINDOW) * sizeof(uint64_t));
	replay_init(&s->replay, s->replay_words, REPLAY_WORDS(SESSION_REPLAY_WINDOW),
	            SESSION_REPLAY_WINDOW);
	s->candidate_told = 0;
	punch_talk_reset(&s->punch);
	s->skip_at = 0;
	s->frequency_threshold = ACKS_THRESHOLD_DEFAULT;
	s->frequency_reorder = ACKS_REORDER_DEFAULT;
	s->frequency_delay = ACKS_DELAY_DEFAULT;
	s->frequency_due = false;
	s->probes_due = 0;
	s->is_pinging = false;
	s->must_settle = false;
	s->close_code = CLOSE_NONE;
	s->confirm_at = CV_TIME_NEVER;
	memset(s->batch, 0, sizeof(s->batch));
	return datagrams_new(&s->datagrams, s->core->pool);
}

int session_new(struct session **out, cv_time now, struct session_core *core, uint32_t number,
                const struct endpoint_peer *peer)
{
	struct session *s = cv_zalloc_aligned(sizeof(*s), 16);
	int r = -ENOMEM;

	if (!s)
		return -ENOMEM;
	s->core = core;
	s->number = number;
	s->policy = peer->policy;
	s->has_address = peer->has_address;
	s->attempt_at = now;
	s->attempt_pause = SESSION_RETRY;
	s->address_at = CV_TIME_NEVER;
	s->turned_at = now;
	list_init(&s->ready_node);
	heap_node_init(&s->deadline_node);
	initiator_init(&s->initiator);
	s->replay_words = cv_zalloc_array(REPLAY_WORDS(SESSION_REPLAY_WINDOW), sizeof(uint64_t));
	if (!s->replay_words)
		goto fail;
	r = remote_init(&s->remote, core->me, peer->pk, peer->psk);
	if (r < 0)
		goto fail;
	s->has_smaller_key = is_smaller(core->me->pk, s->remote.pk);
	assoc_init(&s->assoc,
	           &(struct assoc_options){
			   .indexes = core->indexes,
			   .owner = number,
			   .limits = &EPOCH_LIMITS_AGENT,
			   .epochs = s->epochs,
			   .states = s->states[0],
			   .epochs_max = ASSOC_EPOCHS_MAX,
			   .has_smaller_key = s->has_smaller_key,
		   },
	           core->rng);
	paths_init(&s->paths, core->congestion, s->has_smaller_key, rng_u64(core->rng),
	           &core->asked);
	s->paths.datagram_max = core->datagram_max;
	paths_set_keepalive(&s->paths, now, core->keepalive);
	s->paths.is_relay_only = s->policy == POLICY_RELAY;
	r = object_init(s);
	if (r < 0)
		goto fail;
	*out = s;
	return 0;

fail:
	session_free(s, now);
	return r;
}

void session_free(struct session *s, cv_time now)
{
	if (!s)
		return;
	initiator_stop(&s->initiator, now, &s->assoc);
	if (s->assoc.opt.epochs)
		assoc_deinit(&s->assoc, now);
	if (s->streams)
		streams_free(s->streams);
	for (unsigned i = 0; i < SESSION_OLD_STREAMS; i++) {
		if (s->old_streams[i])
			streams_free(s->old_streams[i]);
	}
	if (s->datagrams)
		datagrams_free(s->datagrams);
	sent_deinit(&s->sent);
	remote_wipe(&s->remote);
	cv_free(s->replay_words);
	cv_free(s);
}

bool session_has_room(const struct session *s)
{
	for (unsigned i = 0; i < SESSION_OLD_STREAMS; i++) {
		if (!s->old_streams[i])
			return true;
	}
	return false;
}

void session_renew_object(struct session *s, cv_time now, uint16_t code)
{
	unsigned i = 0;

	vitals_keep(s);
	trace_emit(s->core->trace, now, TRACE_OBJECT_DROPPED, s->number, 0, code);
	streams_abort_all(s->streams, code);
	while (i < SESSION_OLD_STREAMS && s->old_streams[i])
		i++;
	CV_ASSERT(i < SESSION_OLD_STREAMS); /* every caller that a peer can reach asked first */
	s->old_streams[i] = s->streams;
	s->streams = NULL;
	datagrams_free(s->datagrams);
	s->datagrams = NULL;
	sent_deinit(&s->sent);
	for (i = 0; i < PATHS_MAX; i++) {
		struct path *p = &s->paths.list[i];

		if (p->state == PATH_FREE)
			continue;
		p->inflight = 0;
		loss_init(&p->loss, (uint8_t)i, p->age, p->loss.peer_ack_delay);
		ecn_restart(&p->ecn);
		/* It led to the old object; the new one may be elsewhere. */
		p->is_doubtful = true;
		path_check_now(p, now);
	}
	/* The pool refuses buffers, not these few kilobytes; without them the process cannot go on.
	 */
	CV_ASSERT(object_init(s) == 0);
	/* An object that came and went before anybody was told of it makes no news. */
	if (s->news & SESSION_NEWS_UP)
		s->news &= ~(uint32_t)SESSION_NEWS_UP;
	else if (s->is_up)
		s->news |= SESSION_NEWS_DOWN;
	s->is_up = false;
}

/* The peer's object is gone for good: reset the streams now and begin again later. */
void session_drop_object(struct session *s, cv_time now, uint16_t code, cv_duration pause)
{
	if (!session_has_room(s))
		return;
	initiator_stop(&s->initiator, now, &s->assoc);
	assoc_reset(&s->assoc, now, s->core->rng);
	session_renew_object(s, now, code);
	s->down_code = code;
	s->attempts_failed = CV_MAX(s->attempts_failed, 1);
	attempt_plan(s, now, pause);
}

/* ---- ways ---- */

enum path_policy session_policy(const struct session *s)
{
	/* The stricter of the two holds; `direct` against `relay` is told in words by
	 * session_why(). */
	if (s->policy == POLICY_AUTO)
		return (enum path_policy)s->assoc.peer_policy;
	return (enum path_policy)s->policy;
}

bool session_lets_flow(const struct session *s, const struct path *p)
{
	return !p->to.is_relay || (!p->is_scant && session_policy(s) != POLICY_DIRECT);
}

bool session_is_held(const struct session *s)
{
	return s->paths.active != PATHS_NONE &&
	       !session_lets_flow(s, &s->paths.list[s->paths.active]) && !session_policies_clash(s);
}

bool session_policies_clash(const struct session *s)
{
	return (s->policy == POLICY_RELAY && s->assoc.peer_policy == POLICY_DIRECT) ||
	       (s->policy == POLICY_DIRECT && s->assoc.peer_policy == POLICY_RELAY);
}

void session_rechoose(struct session *s, cv_time now)
{
	struct path *p;
	uint8_t before;
	bool was_dead;

	if (!paths_choose(&s->paths, now, &before))
		return;
	s->news |= SESSION_NEWS_PATH;
	p = paths_active(&s->paths);
	trace_emit(s->core->trace, now, TRACE_PATH_ACTIVE, s->number, s->paths.active,
	           p ? p->kind : PATH_KIND_NONE);
	if (p && (!p->to.is_relay || s->relayed_at == 0))
		s->relayed_at = p->to.is_relay ? now : 0;
	if (before == PATHS_NONE)
		return;
	was_dead = s->paths.list[before].is_doubtful || s->paths.list[before].state == PATH_FAILED;
	/* From a dead path everything returns at once; a better one leaves the old flight a timeout
	 * to land. */
	s->asks_servers |= was_dead;
	if (was_dead && s->paths.list[before].inflight > 0)
		recovery_take_back(s, now, before);
	if (p)
		path_restart_control(p, now);
}

/* No way to the peer, or one that missed its beats: a continuing INIT on every known path finds out
 * whether its object still lives (rule 3.7). Without it nothing would be sent at all once the last
 * path has failed. */
static void doubt_ways(struct session *s, cv_time now)
{
	const struct path *p = paths_active(&s->paths);

	if (s->assoc.is_bound && assoc_is_live(&s->assoc, now) && (!p || p->is_doubtful))
		attempt_doubt(s, now);
}

void session_set_addresses(struct session *s, cv_time now, const struct addr *list, unsigned count)
{
	s->address_count = CV_MIN(count, (unsigned)ENDPOINT_ADDRESSES_MAX);
	for (unsigned i = 0; i < s->address_count; i++)
		s->addresses[i] = list[i];
	s->address_next = 0;
	if (count == 0 || s->paths.is_relay_only)
		return;
	if (s->initiator.is_running && s->initiator.tries > 0)
		s->address_at = now;
	if (!s->assoc.is_bound)
		return;
	/* A session that came up through a relay tries the configured address too. */
	for (unsigned i = 0; i < s->address_count; i++) {
		struct origin o = { .addr = s->addresses[i] };
		uint8_t slot = paths_add(&s->paths, now, &o);

		if (slot != PATHS_NONE)
			s->paths.list[slot].is_candidate = true;
	}
}

static void set_legs(struct session *s, cv_time now, uint8_t slot, bool is_here, bool is_there)
{
	struct path *p = &s->paths.list[slot];

	if (p->is_tcp_here == is_here && p->is_tcp_there == is_there)
		return;
	if (path_set_legs(p, is_here, is_there) && slot == s->paths.active)
		s->news |= SESSION_NEWS_PATH;
	/* What was in flight by the other way may be lost: nobody waits for a timeout's backoff. */
	path_on_network(p, now);
}

void session_add_relay(struct session *s, cv_time now, uint32_t server, uint64_t channel,
                       uint32_t rate_kbit, uint8_t leg)
{
	struct origin o = { .is_relay = true, .server = server, .channel = channel };
	bool is_scant = rate_kbit == MESSAGE_RATE_SMALL;
	uint8_t slot = paths_find(&s->paths, &o);

	/* Lent now, or no longer: what was found out about it is about another way. */
	if (slot == PATHS_NONE || s->paths.list[slot].is_scant != is_scant) {
		session_drop_relay(s, now, server);
		slot = paths_add(&s->paths, now, &o);
		if (slot == PATHS_NONE)
			return;
		s->paths.list[slot].is_scant = is_scant;
		trace_emit(s->core->trace, now, TRACE_CHANNEL_OPENED, s->number, server, 0);
		/* Until an epoch lives INIT is the probe (rule 3.10). */
		if (s->initiator.is_running)
			s->init_paths |= UINT32_C(1) << slot;
	}
	s->paths.list[slot].is_candidate = true;
	set_legs(s, now, slot, s->paths.list[slot].is_tcp_here, leg == LEG_TCP);
	/* So much passes every relay, whatever it grants; and a server that lies about it, while
	 * another one is honest, must not be obeyed beyond sense. */
	if (rate_kbit != 0)
		rate_kbit = CV_MAX(rate_kbit, (uint32_t)MESSAGE_RATE_SMALL);
	pacer_set_cap(&s->paths.list[slot].pacer, (uint64_t)rate_kbit * 125);
	path_check_now(&s->paths.list[slot], now);
}

void session_set_leg(struct session *s, cv_time now, uint32_t server, bool is_tcp, bool is_blocked)
{
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		struct path *p = &s->paths.list[i];

		if (p->state == PATH_FREE || !p->to.is_relay || p->to.server != server)
			continue;
		p->is_blocked = is_blocked;
		set_legs(s, now, i, is_tcp, p->is_tcp_there);
	}
	session_rechoose(s, now);
}

void session_drop_relay(struct session *s, cv_time now, uint32_t server)
{
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		struct path *p = &s->paths.list[i];

		if (p->state == PATH_FREE || !p->to.is_relay || p->to.server != server)
			continue;
		if (p->inflight > 0)
			recovery_take_back(s, now, i);
		paths_remove(&s->paths, i);
		s->news |= SESSION_NEWS_PATH;
	}
	session_rechoose(s, now);
	/* Without a way nothing else would ask for one. */
	if (session_is_busy(s))
		doubt_ways(s, now);
}

void session_on_candidates_changed(struct session *s, cv_time now)
{
	for (uint8_t i = 0; i < PATHS_MAX; i++)
		path_on_network(&s->paths.list[i], now);
}

void session_settle(struct session *s, cv_time now)
{
	s->turned_at = now;
	recovery_settle(s, now);
}

void session_want(struct session *s, cv_time now)
{
	s->turned_at = now;
	if (!assoc_is_live(&s->assoc, now) && !s->initiator.is_running)
		attempt_begin(s, now);
	else if (!assoc_is_live(&s->assoc, now))
		s->is_wanted = true; /* what runs may be in its last second */
	else
		doubt_ways(s, now);
	if (!session_is_held(s) || (s->held_at && cv_time_since(now, s->held_at) < PATH_ROUND))
		return;
	s->held_at = now;
	paths_check_now(&s->paths, now);
}

void session_close(struct session *s, cv_time now, uint16_t code)
{
	s->turned_at = now;
	initiator_stop(&s->initiator, now, &s->assoc);
	s->attempt_at = CV_TIME_NEVER;
	if (!s->assoc.is_bound || !assoc_send_epoch(&s->assoc, now) || s->close_code != CLOSE_NONE)
		return;
	s->close_code = code;
	s->close_left = 2;
}

/* ---- out ---- */

static bool write_farewell(struct session *s, struct train *train, struct session_out *out)
{
	if (s->farewell_size == 0)
		return false;
	memcpy(train->bytes, s->farewell, s->farewell_size);
	train->size = s->farewell_size;
	train->segment_size = train->size;
	train->count = 1;
	train->socket = s->farewell_to.socket;
	train->to = s->farewell_to.addr;
	*out = (struct session_out){ .to = s->farewell_to };
	if (--s->farewell_left == 0)
		s->farewell_size = 0;
	return true;
}

void session_seal_farewell(struct session *s, cv_time now, uint16_t code)
{
	struct path *p = paths_active(&s->paths);
	struct epoch *e = assoc_send_epoch(&s->assoc, now);
	struct train train = { .bytes = NULL };
	struct session_out out;
	uint8_t bytes[WIRE_DATAGRAM_BASE];

	if (!p || !e || !s->assoc.is_bound)
		return;
	train.bytes = bytes;
	if (!builder_write_close(s, now, e, s->paths.active, code, &train, &out) ||
	    train.size > sizeof(s->farewell))
		return;
	memcpy(s->farewell, bytes, train.size);
	s->farewell_size = (uint8_t)train.size;
	/* Nobody else tells the peer of a removal. */
	s->farewell_left = code == CLOSE_REMOVED ? 2 : 1;
	s->farewell_to = out.to;
}

/* CLOSE on each path that carries, twice; after the last copy a broken object is dropped. */
static bool write_close(struct session *s, cv_time now, struct train *train,
                        struct session_out *out)
{
	struct epoch *e = assoc_send_epoch(&s->assoc, now);
	uint16_t code = s->close_code;
	uint8_t slot = s->paths.active;

	if (code == CLOSE_NONE || s->close_left == 0)
		return false;
	s->close_left--;
	if (e && slot != PATHS_NONE && builder_write_close(s, now, e, slot, code, train, out)) {
		if (s->close_left == 0 && code == CLOSE_PROTOCOL)
			session_drop_object(s, now, CLOSE_PROTOCOL, SESSION_RETRY);
		return true;
	}
	s->close_left = 0;
	if (code == CLOSE_PROTOCOL)
		session_drop_object(s, now, CLOSE_PROTOCOL, SESSION_RETRY);
	return false;
}

static bool put_probe(struct session *s, cv_time now, const struct origin *to, uint32_t size,
                      const struct wire_probe *probe, struct train *train, struct session_out *out)
{
	struct epoch *e = assoc_send_epoch(&s->assoc, now);
	size_t head = to->is_relay ? WIRE_RELAY_HEADER : 0;

	if (!e)
		return false;
	if (head)
		wire_write_relay(train->bytes, to->channel);
	wire_write_probe(train->bytes + head + WIRE_DATA_HEADER, size - WIRE_DATA_OVERHEAD, probe);
	train->size = head + epoch_seal_probe(e, train->bytes + head, size - WIRE_DATA_OVERHEAD);
	train->segment_size = train->size;
	train->count = 1;
	train->socket = to->socket;
	train->to = to->addr;
	*out = (struct session_out){ .to = *to };
	return true;
}

bool session_write_probe(struct session *s, cv_time now, const struct origin *to,
                         struct train *train)
{
	struct wire_probe probe = { .type = PROBE_CHALLENGE, .token = rng_u64(s->core->rng) | 1 };
	struct session_out out;

	return put_probe(s, now, to, WIRE_PROBE_MIN, &probe, train, &out);
}

static bool write_answer(struct session *s, cv_time now, struct train *train,
                         struct session_out *out)
{
	while (s->answer_count > 0) {
		uint8_t i = --s->answer_count;
		struct path *p = &s->paths.list[s->answers[i].slot];
		struct wire_probe probe = {
			.type = PROBE_ANSWER,
			.token = s->answers[i].token,
			.seen = s->answers[i].seen,
		};

		/* Who follows may have left it by itself, and we need not ask while we are asked.
		 */
		if (s->has_smaller_key && s->answers[i].slot == s->paths.active)
			probe.flags = PROBE_FLAG_NOMINATE;
		if (p->state != PATH_FREE &&
		    put_probe(s, now, &p->to, s->answers[i].size, &probe, train, out)) {
			p->sent_at = now;
			return true;
		}
	}
	return false;
}

static bool write_probe(struct session *s, cv_time now, struct train *train,
                        struct session_out *out)
{
	struct path_probe due;
	uint8_t slot;

	if (!s->assoc.is_bound || !assoc_send_epoch(&s->assoc, now))
		return false;
	while (paths_probe_due(&s->paths, now, s->core->rng, session_is_busy(s), &slot, &due)) {
		struct wire_probe probe = {
			.type = PROBE_CHALLENGE,
			.flags = due.flags,
			.token = due.token,
		};

		if (s->paths.is_relay_only && !s->paths.list[slot].to.is_relay)
			continue;
		train->ttl = due.ttl;
		return put_probe(s, now, &s->paths.list[slot].to, due.size, &probe, train, out);
	}
	return false;
}

bool session_write(struct session *s, cv_time now, struct train *train, struct session_out *out)
{
	s->turned_at = now;
	if (write_farewell(s, train, out) || write_close(s, now, train, out))
		return true;
	if (attempt_write(s, now, train, out) || write_answer(s, now, train, out) ||
	    write_probe(s, now, train, out))
		return true;
	if (s->close_code != CLOSE_NONE)
		return false;
	return builder_write(s, now, train, out);
}

/* What writing caused is still to be told: room that a train made, or the end of the object that
 * its last CLOSE was. */
static bool has_unsaid(const struct session *s)
{
	if (s->news || streams_has_events(s->streams))
		return true;
	for (unsigned i = 0; i < SESSION_OLD_STREAMS; i++) {
		if (s->old_streams[i] && streams_has_events(s->old_streams[i]))
			return true;
	}
	return false;
}

cv_time session_deadline(const struct session *s)
{
	cv_time at = attempt_deadline(s);

	if (has_unsaid(s))
		return s->turned_at;
	if (s->is_leaving && s->leaves_at > s->turned_at)
		at = cv_time_min(at, s->leaves_at);
	at = cv_time_min(at, liveness_linger_at(s));
	if (s->punch_at > s->turned_at)
		at = cv_time_min(at, s->punch_at);
	if (s->punch_replan_at > s->turned_at)
		at = cv_time_min(at, s->punch_replan_at);
	at = cv_time_min(at, datagrams_deadline(s->datagrams));
	if (!s->assoc.is_bound || !assoc_is_live(&s->assoc, s->turned_at))
		return at;
	at = cv_time_min(at, paths_deadline(&s->paths));
	at = cv_time_min(at, recovery_deadline(s));
	return cv_time_min(at, builder_deadline(s));
}

void session_on_deadline(struct session *s, cv_time now)
{
	s->turned_at = now;
	attempt_on_deadline(s, now);
	datagrams_on_deadline(s->datagrams, now);
	recovery_on_deadline(s, now);
	paths_on_deadline(&s->paths, now);
	session_rechoose(s, now);
	doubt_ways(s, now);
	if (liveness_linger_at(s) <= now)
		session_drop_object(s, now, CLOSE_NONE, 0);
	else
		liveness_consider_gone(s, now);
}

bool session_next_stream_event(struct session *s, struct streams **streams,
                               struct stream_event *out)
{
	for (unsigned i = 0; i < SESSION_OLD_STREAMS; i++) {
		struct streams_stats stats;

		if (!s->old_streams[i])
			continue;
		if (streams_next_event(s->old_streams[i], out)) {
			*streams = s->old_streams[i];
			return true;
		}
		streams_stats(s->old_streams[i], &stats);
		if (stats.open == 0) {
			streams_free(s->old_streams[i]);
			s->old_streams[i] = NULL;
		}
	}
	*streams = s->streams;
	return streams_next_event(s->streams, out);
}

/* ---- state ---- */

bool session_is_busy(const struct session *s)
{
	struct streams_stats stats;

	streams_stats(s->streams, &stats);
	return stats.open > 0;
}

enum peer_state session_state(const struct session *s, cv_time now)
{
	bool is_live = s->assoc.is_bound && assoc_is_live(&s->assoc, now);

	if (session_policies_clash(s))
		return PEER_DOWN;
	if (is_live && s->paths.active != PATHS_NONE &&
	    path_can_carry(&s->paths.list[s->paths.active], now) &&
	    cv_time_since(now, paths_heard_at(&s->paths)) < paths_alive(&s->paths))
		return PEER_CONNECTED;
	if (is_live || s->attempts_failed == 0)
		return s->absent_servers && !s->initiator.is_running && !is_live && !s->has_address
		               ? PEER_DOWN
		               : PEER_CONNECTING;
	return PEER_DOWN;
}

bool session_check(const struct session *s)
{
	if (!assoc_check(&s->assoc) || !acks_check(&s->acks) || !sent_check(&s->sent))
		return false;
	if (!streams_check(s->streams) || !paths_check(&s->paths) || !datagrams_check(s->datagrams))
		return false;
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		if (s->paths.list[i].state != PATH_FREE &&
		    !loss_check(&s->paths.list[i].loss, &s->sent))
			return false;
	}
	return true;
}

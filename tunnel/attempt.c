/* SPDX-License-Identifier: MIT */
#include "tunnel/attempt.h"

#include <string.h>

#define ADDRESS_SPACING CV_MS(250)
#define DOUBT_SPACING CV_SEC(1)
/* Quick retries for this long after the last success, then slower ones (WireGuard's
 * REKEY_ATTEMPT_TIME). */
#define QUICK_RETRIES 15

uint64_t attempt_path_name(const struct origin *o)
{
	if (o->is_relay)
		return o->channel | 1;
	if (o->addr.family == ADDR_NONE)
		return 0;
	return addr_hash(&o->addr, o->socket) | 1;
}

static bool may_use_addresses(const struct session *s)
{
	return s->address_count > 0 && !s->paths.is_relay_only;
}

void attempt_begin(struct session *s, cv_time now)
{
	s->attempt_at = CV_TIME_NEVER;
	if (s->is_leaving)
		return;
	if (now < s->duplicate_until) {
		attempt_plan(s, now, s->duplicate_until - now);
		return;
	}
	if (s->initiator.is_running)
		return;
	s->attempt_began_at = now;
	s->address_at = CV_TIME_NEVER;
	if (s->has_address)
		s->news |= SESSION_NEWS_RESOLVE;
	initiator_start(&s->initiator, now);
	trace_emit(s->core->trace, now, TRACE_HANDSHAKE_START, s->number, s->assoc.number_next,
	           s->assoc.is_bound);
}

void attempt_plan(struct session *s, cv_time now, cv_duration pause)
{
	if (!s->initiator.is_running)
		s->attempt_at = cv_time_min(s->attempt_at, cv_time_after(now, pause));
}

void attempt_succeeded(struct session *s, cv_time now)
{
	(void)now;
	s->attempts_failed = 0;
	s->attempt_pause = SESSION_RETRY;
	s->attempt_at = CV_TIME_NEVER;
	s->absent_servers = 0;
	s->gone_servers = 0;
	s->address_refusals = 0;
	s->init_paths = 0;
	s->init_servers = false;
	s->address_at = CV_TIME_NEVER;
}

static void attempt_failed(struct session *s, cv_time now)
{
	initiator_stop(&s->initiator, now, &s->assoc);
	s->init_paths = 0;
	s->init_servers = false;
	s->address_at = CV_TIME_NEVER;
	s->attempts_failed++;
	if (s->attempts_failed > QUICK_RETRIES)
		s->attempt_pause = CV_MIN(s->attempt_pause * 2, SESSION_RETRY_MAX);
	attempt_plan(s, now,
	             s->is_wanted ? 0 : s->attempt_pause + rng_below(s->core->rng, CV_MS(334)));
	s->is_wanted = false;
	trace_emit(s->core->trace, now, TRACE_HANDSHAKE_DROP, s->number, s->attempts_failed, 0);
}

void attempt_doubt(struct session *s, cv_time now)
{
	if (s->is_leaving || (s->hint_at != 0 && cv_time_since(now, s->hint_at) < DOUBT_SPACING))
		return;
	s->hint_at = now;
	s->asks_servers = true;
	if (now < s->duplicate_until)
		return;
	if (!s->initiator.is_running) {
		s->attempt_at = CV_TIME_NEVER; /* this is it */
		s->attempt_began_at = now;
		initiator_start(&s->initiator, now);
		s->initiator.tries = 1; /* on every path at once, as a repeat would */
	}
}

/* An INIT is due: make it, and note where it has to go. */
static void turn(struct session *s, cv_time now)
{
	bool is_repeat = s->initiator.tries > 0;

	if (!initiator_turn(&s->initiator, now, &s->assoc, s->core->me, &s->remote, HANDSHAKE_PEER,
	                    s->core->rng, s->core->aead_bits, s->policy))
		return;
	s->init_paths = 0;
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		const struct path *p = &s->paths.list[i];

		if (p->state == PATH_FREE || (s->paths.is_relay_only && !p->to.is_relay))
			continue;
		/* A rekey in calm goes on the active path only; from its first repeat on all. */
		if (!is_repeat && assoc_is_live(&s->assoc, now) && i != s->paths.active)
			continue;
		s->init_paths |= UINT32_C(1) << i;
	}
	if (is_repeat || !assoc_is_live(&s->assoc, now)) {
		s->init_servers = true;
		if (!may_use_addresses(s)) {
			s->address_at = CV_TIME_NEVER;
		} else if (s->address_at == CV_TIME_NEVER) {
			/* Not while a round of them goes on: repeats are a second apart, and the
			 * fifth of eight addresses would never have its turn. */
			s->address_next = 0;
			s->address_at = now;
		}
	}
}

static void put_init(struct session *s, cv_time now, const struct origin *to, struct train *train,
                     struct session_out *out)
{
	size_t head = to->is_relay ? WIRE_RELAY_HEADER : 0;

	if (head)
		wire_write_relay(train->bytes, to->channel);
	initiator_write(&s->initiator, &s->assoc, now, attempt_path_name(to), train->bytes + head);
	train->size = head + WIRE_INIT_SIZE;
	train->segment_size = train->size;
	train->count = 1;
	train->socket = to->socket;
	train->to = to->addr;
	*out = (struct session_out){ .to = *to };
}

static bool write_to_address(struct session *s, cv_time now, struct train *train,
                             struct session_out *out)
{
	struct origin to = { .socket = 0 };
	uint8_t slot;

	while (s->address_next < s->address_count) {
		to.addr = s->addresses[s->address_next++];
		s->address_at = s->address_next < s->address_count
		                        ? cv_time_after(now, ADDRESS_SPACING)
		                        : CV_TIME_NEVER;
		slot = paths_find(&s->paths, &to);
		if (slot == PATHS_NONE || s->paths.list[slot].heard_at == 0) {
			put_init(s, now, &to, train, out);
			return true;
		}
	}
	s->address_at = CV_TIME_NEVER;
	return false;
}

bool attempt_write(struct session *s, cv_time now, struct train *train, struct session_out *out)
{
	if (!s->initiator.is_running)
		return false;
	if (initiator_deadline(&s->initiator) <= now)
		turn(s, now);
	while (s->init_paths) {
		unsigned slot = (unsigned)__builtin_ctz(s->init_paths);

		s->init_paths &= s->init_paths - 1;
		if (s->paths.list[slot].state == PATH_FREE ||
		    !paths_may_ask(&s->paths, now, &s->paths.list[slot], WIRE_INIT_SIZE))
			continue;
		put_init(s, now, &s->paths.list[slot].to, train, out);
		return true;
	}
	if (s->address_at <= now && write_to_address(s, now, train, out))
		return true;
	if (s->init_servers) {
		s->init_servers = false;
		/* No path yet, hence no cookie of one: mac2 is zero or the epoch's. */
		put_init(s, now, &(struct origin){ .is_relay = false }, train, out);
		out->opens_channels = true;
		return true;
	}
	return false;
}

cv_time attempt_deadline(const struct session *s)
{
	cv_time at = cv_time_min(s->attempt_at, initiator_deadline(&s->initiator));

	if (s->initiator.is_running) {
		at = cv_time_min(at, s->address_at);
		at = cv_time_min(at, cv_time_after(s->attempt_began_at, SESSION_ATTEMPT));
	} else {
		at = cv_time_min(
			at, CV_MAX(assoc_rekey_at(&s->assoc, s->turned_at), s->duplicate_until));
	}
	return at;
}

void attempt_on_deadline(struct session *s, cv_time now)
{
	if (s->initiator.is_running) {
		if (now < cv_time_after(s->attempt_began_at, SESSION_ATTEMPT))
			return;
		if (assoc_is_live(&s->assoc, now)) {
			/* The old keys still work: go on asking, in attempts of this length. */
			s->attempt_began_at = now;
			return;
		}
		attempt_failed(s, now);
		return;
	}
	if (s->attempt_at <= now ||
	    (now >= s->duplicate_until && assoc_rekey_at(&s->assoc, now) <= now))
		attempt_begin(s, now);
}

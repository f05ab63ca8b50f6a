/* SPDX-License-Identifier: MIT */
#include "tunnel/liveness.h"

#include "tunnel/attempt.h"

#define ABSENT_MIN CV_SEC(30)
#define WANT_SPACING CV_SEC(5)

cv_time liveness_linger_at(const struct session *s)
{
	cv_time heard_at = CV_MAX(paths_heard_at(&s->paths), 1);
	cv_time at = cv_time_after(heard_at, SESSION_LINGER);

	if (!s->assoc.is_bound || !session_is_busy(s))
		return CV_TIME_NEVER;
	/* A server that has just come back says so of whoever has not come back to it yet. */
	if (s->absent_servers)
		at = cv_time_min(at, CV_MAX(cv_time_after(heard_at, CV_SEC(60)),
		                            cv_time_after(s->absent_at, ABSENT_MIN)));
	return at;
}

/* The keys may live for minutes, and while they do no attempt would ask for the servers. */
void liveness_want_servers(struct session *s, cv_time now)
{
	const struct path *p = paths_active(&s->paths);

	if (!session_is_busy(s) || (p && !p->is_doubtful) ||
	    cv_time_since(now, s->wanted_at) < WANT_SPACING)
		return;
	s->wanted_at = now;
	s->wants_servers = true;
}

/* ---- hints ---- */

/* True when each way to the peer ends in a refusal: its host answers, its process does not. */
static bool is_refused_everywhere(const struct session *s)
{
	bool any = false;

	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		const struct path *p = &s->paths.list[i];
		bool refused;

		if (p->state != PATH_VALID && p->state != PATH_USABLE)
			continue;
		refused = p->to.is_relay ? (s->gone_servers >> p->to.server & 1) != 0
		                         : p->refusals >= PATH_REFUSALS;
		if (!refused)
			return false;
		any = true;
	}
	return any || s->gone_servers != 0;
}

/* A server says that the peer's process has ended: a hint like others, so that the peer is asked,
 * and an answer is the end of it. An idle session may not have heard anything for long, and what
 * was said a moment after the last hint would else hold until some later silence. */
static bool was_asked(struct session *s, cv_time now)
{
	if (s->gone_asked_at < s->gone_at) {
		attempt_doubt(s, now);
		if (s->hint_at >= s->gone_at)
			s->gone_asked_at = s->hint_at;
	}
	return s->gone_asked_at >= s->gone_at &&
	       cv_time_since(now, s->gone_asked_at) >= SESSION_REFUSED_SILENCE;
}

/* Silence for seconds, and every way refuses or its server saw the process end: not a network that
 * is away, a peer that is gone. */
void liveness_consider_gone(struct session *s, cv_time now)
{
	if (!s->assoc.is_bound)
		return;
	if (s->gone_servers && !was_asked(s, now))
		return;
	if (cv_time_since(now, paths_heard_at(&s->paths)) < SESSION_REFUSED_SILENCE)
		return;
	if (is_refused_everywhere(s))
		session_drop_object(s, now, CLOSE_NONE, SESSION_RETRY);
}

void liveness_on_presence(struct session *s, cv_time now, uint32_t server, bool is_present,
                          bool is_gone)
{
	uint64_t bit = UINT64_C(1) << server;

	s->turned_at = now;
	if (is_present) {
		s->absent_servers &= ~bit;
		s->gone_servers &= ~bit;
		if (s->assoc.is_bound)
			attempt_doubt(s, now);
		else if (s->attempt_at != CV_TIME_NEVER)
			s->attempt_at = cv_time_min(s->attempt_at, cv_time_after(now, CV_MS(20)));
		return;
	}
	if (s->absent_servers == 0)
		s->absent_at = now;
	s->absent_servers |= bit;
	if (is_gone && s->gone_servers == 0)
		s->gone_at = now;
	if (is_gone)
		s->gone_servers |= bit;
	if (s->assoc.is_bound) {
		paths_check_now(&s->paths, now);
		attempt_doubt(s, now);
		liveness_consider_gone(s, now);
	}
}

void liveness_on_refused(struct session *s, cv_time now, uint16_t socket, const struct addr *to)
{
	struct origin o = { .socket = socket, .addr = *to };
	uint8_t slot = paths_find(&s->paths, &o);

	s->turned_at = now;
	if (slot == PATHS_NONE) {
		for (unsigned i = 0; i < s->address_count; i++) {
			if (addr_equal(&s->addresses[i], to) && s->address_refusals < UINT8_MAX)
				s->address_refusals++;
		}
		return;
	}
	path_on_refused(&s->paths.list[slot], now);
	if (slot == s->paths.active)
		attempt_doubt(s, now);
	liveness_consider_gone(s, now);
}

void liveness_on_gap(struct session *s, cv_time now)
{
	s->turned_at = now;
	for (uint8_t i = 0; i < PATHS_MAX; i++)
		path_restart(&s->paths.list[i], now);
	if (s->paths.heard_at != 0) /* of paths that are gone */
		s->paths.heard_at = CV_MAX(s->paths.heard_at, now);
	if (s->assoc.is_bound)
		attempt_doubt(s, now);
	else if (s->attempt_at != CV_TIME_NEVER)
		s->attempt_at = now;
}

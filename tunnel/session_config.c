/* SPDX-License-Identifier: MIT */

/*
 * What another configuration means for one peer: another policy, in place; another pre-shared key,
 * by a new beginning; removal, by a goodbye.
 */
#include "tunnel/session.h"

#include <errno.h>
#include <string.h>

#include "tunnel/attempt.h"
#include "tunnel/recovery.h"

/* What the peer may not know is not used any longer. */
static void leave_direct_paths(struct session *s, cv_time now)
{
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		if (s->paths.list[i].state == PATH_FREE || s->paths.list[i].to.is_relay)
			continue;
		if (s->paths.list[i].inflight > 0)
			recovery_take_back(s, now, i);
		paths_remove(&s->paths, i);
		s->news |= SESSION_NEWS_PATH;
	}
	session_rechoose(s, now);
}

void session_on_policies(struct session *s, cv_time now)
{
	bool was_relay_only = s->paths.is_relay_only;

	s->paths.is_relay_only = s->policy == POLICY_RELAY ||
	                         (s->assoc.is_bound && s->assoc.peer_policy == POLICY_RELAY);
	if (s->paths.is_relay_only && !was_relay_only)
		leave_direct_paths(s, now);
	if (!s->paths.is_relay_only && was_relay_only) {
		s->candidate_told = 0;
		session_set_addresses(s, now, s->addresses, s->address_count);
	}
	if (!s->assoc.is_bound)
		return;
	if (session_policies_clash(s)) {
		if (!s->has_clashed)
			s->news |= SESSION_NEWS_CLASH;
		s->has_clashed = true;
		return; /* no stream is ever opened (rule 5.10) */
	}
	s->has_clashed = false;
	if (!s->is_up)
		s->news |= SESSION_NEWS_UP;
	s->is_up = true;
}

void session_set_policy(struct session *s, cv_time now, uint8_t policy)
{
	s->turned_at = now;
	if (s->policy == policy)
		return;
	s->policy = policy;
	session_on_policies(s, now);
	/* Policies travel in handshakes: the peer hears of it by a new one between the same two,
	 * and what was made with the old one is of no use. */
	pendings_drop_owner(s->core->pendings, now, s->core->indexes, s->number);
	if (!s->initiator.is_running && !assoc_is_live(&s->assoc, now))
		return;
	initiator_stop(&s->initiator, now, &s->assoc);
	s->attempt_at = CV_TIME_NEVER;
	s->attempt_began_at = now;
	initiator_start(&s->initiator, now);
}

/* Keys and streams go; the peer hears why. */
static void forsake(struct session *s, cv_time now)
{
	session_seal_farewell(s, now, CLOSE_REMOVED);
	initiator_stop(&s->initiator, now, &s->assoc);
	assoc_reset(&s->assoc, now, s->core->rng);
	pendings_drop_owner(s->core->pendings, now, s->core->indexes, s->number);
	s->attempt_at = CV_TIME_NEVER;
	s->address_at = CV_TIME_NEVER;
	s->init_paths = 0;
	s->init_servers = false;
}

void session_leave(struct session *s, cv_time now)
{
	CV_ASSERT(!s->is_leaving);
	s->turned_at = now;
	s->is_leaving = true;
	/* Until then its number is nobody else's, so that what is on its way finds nobody. */
	s->leaves_at = cv_time_after(now, SESSION_LEAVE);
	forsake(s, now);
	s->is_spent = !session_has_room(s);
	if (s->is_spent)
		streams_abort_all(s->streams, CLOSE_REMOVED);
	else
		session_renew_object(s, now, CLOSE_REMOVED);
	s->attempt_at = CV_TIME_NEVER;
	s->news &= SESSION_NEWS_DOWN;
}

bool session_has_left(const struct session *s, cv_time now)
{
	struct streams_stats stats;

	if (!s->is_leaving || now < s->leaves_at)
		return false;
	for (unsigned i = 0; i < SESSION_OLD_STREAMS; i++) {
		if (s->old_streams[i])
			return false;
	}
	streams_stats(s->streams, &stats);
	return stats.open == 0;
}

int session_restart(struct session *s, cv_time now, const uint8_t *psk)
{
	uint8_t pk[32];

	s->turned_at = now;
	/* One that leaves has its new object already, unless there was no room for it. */
	if (!session_has_room(s))
		return -EBUSY;
	if (!s->is_leaving || s->is_spent) {
		forsake(s, now);
		session_renew_object(s, now, CLOSE_REMOVED);
	}
	memcpy(pk, s->remote.pk, sizeof(pk));
	remote_wipe(&s->remote);
	/* It was a key that can be used before. */
	CV_ASSERT(remote_init(&s->remote, s->core->me, pk, psk) == 0);
	s->is_leaving = s->is_spent = false;
	s->attempts_failed = 0;
	s->attempt_pause = SESSION_RETRY;
	s->duplicate_until = 0;
	attempt_plan(s, now, 0);
	return 0;
}

/* SPDX-License-Identifier: MIT */
#include "tunnel/endpoint_inner.h"
#include "tunnel/vitals.h"

/* What users ask an endpoint: round trips, paths, figures. Nothing here changes what is sent, but
 * for the probe of a ping. */

static struct session *session_of(const struct endpoint *e, uint32_t peer)
{
	struct session *s = endpoint_find_session(e, peer);

	CV_ASSERT(s);
	return s;
}

bool endpoint_peer_is_held(const struct endpoint *e, cv_time now, uint32_t peer, cv_duration *since)
{
	const struct session *s = session_of(e, peer);

	if (!session_is_held(s))
		return false;
	*since = cv_time_since(now, s->relayed_at);
	return true;
}

bool endpoint_peer_is_relay_only(const struct endpoint *e, uint32_t peer)
{
	return session_of(e, peer)->paths.is_relay_only;
}

static void begin_ping(struct endpoint *e, cv_time now, struct session *s)
{
	struct path *p = paths_active(&s->paths);

	s->wants_ping = !p;
	if (!p)
		return;
	p->is_pinging = true;
	p->ping_rtt = 0;
	path_check_now(p, now);
	endpoint_touch_session(e, s);
}

void endpoint_ping(struct endpoint *e, cv_time now, uint32_t peer)
{
	begin_ping(e, now, session_of(e, peer));
}

/* Of @p: what it is called, and who is at its other end. */
static void describe(const struct endpoint *e, const struct path *p, struct endpoint_ping *out)
{
	struct rendezvous_stats server;

	out->path_kind = path_kind_name((enum path_kind)p->kind);
	out->address = p->to.addr;
	out->server = UINT32_MAX;
	if (!p->to.is_relay)
		return;
	rendezvous_stats(e->servers[p->to.server].r, &server);
	out->address = server.address;
	out->server = p->to.server;
}

bool endpoint_ping_result(struct endpoint *e, cv_time now, uint32_t peer, struct endpoint_ping *out)
{
	struct session *s = session_of(e, peer);

	/* It was asked for before there was a way. */
	if (s->wants_ping && paths_active(&s->paths))
		begin_ping(e, now, s);
	for (unsigned i = 0; i < PATHS_MAX; i++) {
		struct path *p = &s->paths.list[i];

		if (p->state != PATH_FREE && p->ping_rtt != 0) {
			out->rtt = p->ping_rtt;
			p->ping_rtt = 0;
			describe(e, p, out);
			return true;
		}
	}
	return false;
}

static enum why_servers servers_of(const struct endpoint *e)
{
	enum why_servers found = WHY_SERVERS_NONE;
	struct rendezvous_stats stats;

	for (uint32_t i = 0; i < e->server_count; i++) {
		if (e->servers[i].is_removed)
			continue;
		rendezvous_stats(e->servers[i].r, &stats);
		if (stats.is_up)
			return WHY_SERVERS_UP;
		found = WHY_SERVERS_DOWN;
	}
	return found;
}

void endpoint_peer_stats(struct endpoint *e, cv_time now, uint32_t peer,
                         struct endpoint_peer_stats *out)
{
	struct session *s = session_of(e, peer);
	struct endpoint_ping way;

	vitals_read(s, now, servers_of(e), out);
	if (s->paths.active == PATHS_NONE || out->state != PEER_CONNECTED)
		return;
	describe(e, &s->paths.list[s->paths.active], &way);
	out->path_address = way.address;
}

void endpoint_server_stats(const struct endpoint *e, uint32_t server, struct rendezvous_stats *out)
{
	CV_ASSERT(server < e->server_count);
	rendezvous_stats(e->servers[server].r, out);
}

void endpoint_nat_stats(const struct endpoint *e, cv_time now, struct endpoint_nat_stats *out)
{
	*out = (struct endpoint_nat_stats){
		.nat = e->core.nat,
		.attempts = e->punch.stats.attempts,
		.succeeded = e->punch.stats.succeeded,
		.packets = e->punch.stats.packets,
		.sockets = e->punch.stats.sockets,
		.limits = e->punch.budget.limits,
	};
	punch_budget_left(&e->punch.budget, now, &out->left);
}

void endpoint_counters(const struct endpoint *e, struct endpoint_counters *out)
{
	struct datagrams_stats datagrams;
	const struct session *s;

	*out = e->counters;
	endpoint_for_each_session(e, i, s)
	{
		datagrams_stats(s->datagrams, &datagrams);
		out->datagrams_dropped += s->dropped + datagrams.dropped;
		out->forged += s->forged;
		out->replayed += s->replayed;
	}
}

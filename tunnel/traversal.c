/* SPDX-License-Identifier: MIT */
#include "tunnel/traversal.h"

#include "tunnel/punch_sockets.h"

/* Whether streams are open; the deadlines of those that are wake us every 5 s. */
#define IDLE_LOOK CV_SEC(1)

void traversal_init(struct endpoint *e, const struct endpoint_options *opt)
{
	const struct punch_limits limits = {
		.sockets_max = opt->punch_sockets,
		.packets_max = opt->punch_packets,
		.rate = opt->punch_rate,
		.hourly = opt->punch_hourly,
	};

	discovery_init(&e->discovery, &e->extras);
	lifetime_init(&e->lifetime, &e->extras);
	e->core.keepalive = lifetime_keepalive(&e->lifetime);
	e->is_idle = true;
	punch_init(&e->punch, &limits, &e->extras, &e->discovery);
}

/* ---- keepalives ---- */

static void set_keepalives(struct endpoint *e, cv_time now)
{
	cv_duration longest = lifetime_keepalive(&e->lifetime);
	struct session *s;

	/* While streams are open a server should notice within a minute that we are gone. */
	for (uint32_t i = 0; i < e->server_count; i++)
		rendezvous_set_keepalive(e->servers[i].r, now,
		                         e->is_idle ? longest : CV_MIN(longest, PATH_KEEPALIVE));
	if (longest == e->core.keepalive)
		return;
	e->core.keepalive = longest;
	endpoint_for_each_session(e, i, s)
	{
		paths_set_keepalive(&s->paths, now, longest);
		endpoint_touch_session(e, s);
	}
}

/* Whom the questions go to: the first server that is up. */
static void choose_server(struct endpoint *e, cv_time now)
{
	bool is_asking = e->lifetime.state != LIFETIME_OFF;
	uint32_t i = 0;

	if (is_asking && e->servers[e->lifetime_server].is_up)
		return;
	while (i < e->server_count && !e->servers[i].is_up)
		i++;
	if (i < e->server_count) {
		e->lifetime_server = i;
		lifetime_begin(&e->lifetime, now);
	} else {
		lifetime_stop(&e->lifetime);
	}
	set_keepalives(e, now);
}

void traversal_on_address(struct endpoint *e, cv_time now, uint32_t server)
{
	struct rendezvous_stats stats;
	struct addr before = e->servers[server].seen;

	rendezvous_stats(e->servers[server].r, &stats);
	e->servers[server].seen = stats.public_address;
	if (before.family == ADDR_NONE)
		return;
	/* Another port of the same address, after nobody said a word, may be a mapping that did not
	 * live as long as we believed. */
	if (!addr_equal_ip(&before, &stats.public_address))
		lifetime_forget(&e->lifetime, now);
	else if (e->is_idle)
		lifetime_on_lost(&e->lifetime, now);
	set_keepalives(e, now);
}

void traversal_on_session(struct endpoint *e, cv_time now, struct session *s)
{
	if (s->has_lost_mapping && e->is_idle) {
		lifetime_on_lost(&e->lifetime, now);
		set_keepalives(e, now);
	}
	s->has_lost_mapping = false;
}

static void look_for_streams(struct endpoint *e, cv_time now)
{
	const struct session *s;
	bool is_idle = true;

	if (now < e->idle_at)
		return;
	e->idle_at = cv_time_after(now, IDLE_LOOK);
	endpoint_for_each_session(e, i, s)
	{
		is_idle = !session_is_busy(s);
		if (!is_idle)
			break;
	}
	if (is_idle == e->is_idle)
		return;
	e->is_idle = is_idle;
	set_keepalives(e, now);
}

static void turn_lifetime(struct endpoint *e, cv_time now)
{
	cv_duration before = e->core.keepalive;
	uint64_t token;

	for (uint32_t i = 0; i < e->server_count; i++) {
		while (rendezvous_take_aside(e->servers[i].r, &token))
			lifetime_on_answer(&e->lifetime, now, token);
	}
	lifetime_on_deadline(&e->lifetime, now);
	if (lifetime_keepalive(&e->lifetime) != before)
		set_keepalives(e, now);
}

static bool write_question(struct endpoint *e, cv_time now, struct train *out)
{
	struct lifetime_question q;

	return lifetime_next(&e->lifetime, now, e->core.rng, &q) &&
	       rendezvous_write_aside(e->servers[e->lifetime_server].r, now, q.socket, q.seconds,
	                              q.token, out);
}

/* ---- all of it ---- */

void traversal_on_server(struct endpoint *e, cv_time now, uint32_t server)
{
	struct rendezvous_stats stats;

	if (e->is_closing)
		return;
	choose_server(e, now);
	rendezvous_stats(e->servers[server].r, &stats);
	/* What TCP sees says nothing of UDP, and what UDP saw before is old. */
	if (stats.is_up && !stats.is_tcp)
		discovery_set_server(&e->discovery, now, server, &stats.address,
		                     &stats.public_address);
	else
		discovery_drop_server(&e->discovery, server);
}

void traversal_on_network(struct endpoint *e, cv_time now)
{
	struct session *s;

	discovery_set_local(&e->discovery, now, e->local, e->local_count);
	lifetime_forget(&e->lifetime, now);
	set_keepalives(e, now);
	endpoint_for_each_session(e, i, s)
	{
		punch_on_network(now, s);
		endpoint_touch_session(e, s);
	}
}

static bool is_candidate(const struct session_core *c, const struct addr *a)
{
	for (unsigned i = 0; i < c->candidate_count; i++) {
		if (addr_equal(&c->candidates[i].addr, a))
			return true;
	}
	return a->family == ADDR_NONE;
}

/* What discovery found is told to the peers, and what failed for want of it may be tried. */
static void take_profile(struct endpoint *e, cv_time now)
{
	struct session *s;
	bool is_moved = !addr_equal(&e->core.nat.address, &e->discovery.profile.address);

	e->core.nat = e->discovery.profile;
	e->core.nat.has_mapped = e->core.has_mapping;
	e->core.nat_version++;
	if (is_moved && !nat_is_hard(&e->core.nat) && !is_candidate(&e->core, &e->core.nat.address))
		endpoint_announce(e, now);
	endpoint_for_each_session(e, i, s)
	{
		punch_on_network(now, s);
		endpoint_touch_session(e, s);
	}
}

void traversal_turn(struct endpoint *e, cv_time now)
{
	if (discovery_take_news(&e->discovery))
		take_profile(e, now);
	turn_lifetime(e, now);
	punch_on_deadline(e, now);
}

bool traversal_next_event(struct endpoint *e, cv_time now, struct endpoint_event *out)
{
	struct extras_wish wish;

	if (!extras_next_wish(&e->extras, &wish))
		return false;
	if (wish.is_close)
		punch_sockets_on_close(e, now, wish.first);
	*out = (struct endpoint_event){
		.kind = wish.is_close ? ENDPOINT_EVENT_CLOSE_SOCKET : ENDPOINT_EVENT_OPEN_SOCKETS,
		.socket = wish.first,
		.count = wish.count,
	};
	return true;
}

void traversal_close(struct endpoint *e, cv_time now)
{
	punch_stop(e, now);
	discovery_stop(&e->discovery);
	lifetime_stop(&e->lifetime);
}

bool traversal_write(struct endpoint *e, cv_time now, struct train *out)
{
	return discovery_write(&e->discovery, now, out) || write_question(e, now, out) ||
	       punch_write(e, now, out);
}

cv_time traversal_deadline(const struct endpoint *e)
{
	cv_time at = cv_time_min(discovery_deadline(&e->discovery), punch_deadline(&e->punch));

	return cv_time_min(at, lifetime_deadline(&e->lifetime));
}

void traversal_on_deadline(struct endpoint *e, cv_time now)
{
	discovery_on_deadline(&e->discovery, now, e->core.rng);
	look_for_streams(e, now);
	turn_lifetime(e, now);
	punch_on_deadline(e, now);
}

bool traversal_check(const struct endpoint *e)
{
	return extras_check(&e->extras) && discovery_check(&e->discovery) &&
	       punch_check(&e->punch) && lifetime_check(&e->lifetime);
}

/* SPDX-License-Identifier: MIT */
#include "tunnel/traversal.h"

void traversal_init(struct endpoint *e, const struct endpoint_options *opt)
{
	const struct punch_limits limits = {
		.sockets_max = opt->punch_sockets,
		.packets_max = opt->punch_packets,
		.rate = opt->punch_rate,
		.hourly = opt->punch_hourly,
	};

	discovery_init(&e->discovery, &e->extras);
	punch_init(&e->punch, &limits, &e->extras, &e->discovery);
}

void traversal_on_server(struct endpoint *e, cv_time now, uint32_t server)
{
	struct rendezvous_stats stats;
	struct addr none = { 0 };

	rendezvous_stats(e->servers[server].r, &stats);
	/* Who is down for a moment has not changed our routers. */
	if (stats.is_up)
		discovery_set_server(&e->discovery, now, server, &stats.address,
		                     &stats.public_address);
	else if (stats.address.family == ADDR_NONE)
		discovery_set_server(&e->discovery, now, server, &none, &none);
}

void traversal_on_network(struct endpoint *e, cv_time now)
{
	discovery_set_local(&e->discovery, now, e->local, e->local_count);
	for (uint32_t i = 0; i < e->session_count; i++) {
		punch_on_network(now, e->sessions[i]);
		endpoint_touch_session(e, e->sessions[i]);
	}
}

/* What discovery found is told to the peers, and what failed for want of it may be tried. */
static void take_profile(struct endpoint *e, cv_time now)
{
	bool has_mapped = e->core.nat.has_mapped;

	e->core.nat = e->discovery.profile;
	e->core.nat.has_mapped = has_mapped;
	e->core.nat_version++;
	for (uint32_t i = 0; i < e->session_count; i++) {
		punch_on_network(now, e->sessions[i]);
		endpoint_touch_session(e, e->sessions[i]);
	}
}

void traversal_turn(struct endpoint *e, cv_time now)
{
	if (discovery_take_news(&e->discovery))
		take_profile(e, now);
	punch_on_deadline(e, now);
}

bool traversal_next_event(struct endpoint *e, struct endpoint_event *out)
{
	struct extras_wish wish;

	if (!extras_next_wish(&e->extras, &wish))
		return false;
	*out = (struct endpoint_event){
		.kind = wish.is_close ? ENDPOINT_EVENT_CLOSE_SOCKET : ENDPOINT_EVENT_OPEN_SOCKETS,
		.socket = wish.first,
		.count = wish.count,
	};
	return true;
}

bool traversal_write(struct endpoint *e, cv_time now, struct train *out)
{
	return discovery_write(&e->discovery, now, out) || punch_write(e, now, out);
}

cv_time traversal_deadline(const struct endpoint *e)
{
	return cv_time_min(discovery_deadline(&e->discovery), punch_deadline(&e->punch));
}

void traversal_on_deadline(struct endpoint *e, cv_time now)
{
	discovery_on_deadline(&e->discovery, now, e->core.rng);
	punch_on_deadline(e, now);
}

bool traversal_check(const struct endpoint *e)
{
	return extras_check(&e->extras) && discovery_check(&e->discovery) && punch_check(&e->punch);
}

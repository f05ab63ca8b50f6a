/* SPDX-License-Identifier: MIT */

/*
 * agent_core - the core's events, and the calls of the UDP port into the core.
 */
#include "agent_inner.h"
#include "base/log.h"

#define MEMORY_HIGH 950 /* thousandths of the budget */

/* ---- events of the core ---- */

static void log_path(struct agent *a, cv_time now, uint32_t peer)
{
	struct endpoint_peer_stats stats;
	char text[ADDR_TEXT_MAX];

	endpoint_peer_stats(a->endpoint, now, peer, &stats);
	log_info("path peer=%s kind=%s address=%s%s%s", agent_peers_name(a, peer), stats.path_kind,
	         addr_format(&stats.path_address, text), stats.why[0] ? " why=" : "", stats.why);
}

/* What cannot be opened (file descriptors) is missing from a punch, no more. */
static void open_sockets(struct agent *a, cv_time now, uint16_t first, uint16_t count)
{
	uint16_t ports[SOCKETS_EXTRA_MAX];
	unsigned opened = udp_port_open_extras(a->port, first, count, ports);

	if (opened < count)
		log_warn("sockets for a punch could not be opened wanted=%u opened=%u", count,
		         opened);
	endpoint_on_sockets_opened(a->endpoint, now, first, count, opened, ports);
}

static void on_event(struct agent *a, cv_time now, const struct endpoint_event *ev)
{
	struct endpoint_peer_stats stats;

	switch (ev->kind) {
	case ENDPOINT_EVENT_RESOLVE_SERVER:
		agent_peers_resolve(a, now, true, ev->server);
		return;
	case ENDPOINT_EVENT_RESOLVE_PEER:
		agent_peers_resolve(a, now, false, ev->peer);
		return;
	case ENDPOINT_EVENT_PEER_UP:
		log_info("peer up peer=%s", agent_peers_name(a, ev->peer));
		bridge_on_peer(&a->bridge, now, ev->peer);
		return;
	case ENDPOINT_EVENT_PEER_DOWN:
		endpoint_peer_stats(a->endpoint, now, ev->peer, &stats);
		log_info("peer down peer=%s why=%s", agent_peers_name(a, ev->peer), stats.why);
		bridge_on_peer(&a->bridge, now, ev->peer);
		return;
	case ENDPOINT_EVENT_PATH:
		log_path(a, now, ev->peer);
		mapping_on_doubt(&a->mapping);
		return;
	case ENDPOINT_EVENT_STREAM:
		bridge_on_stream(&a->bridge, now, ev);
		return;
	case ENDPOINT_EVENT_SERVER_UP:
		log_info("server up server=%s", agent_peers_server_name(a, ev->server));
		mapping_on_doubt(&a->mapping);
		return;
	case ENDPOINT_EVENT_SERVER_DOWN:
		log_info("server down server=%s", agent_peers_server_name(a, ev->server));
		return;
	case ENDPOINT_EVENT_SERVER_REFUSED:
		log_warn("server refused server=%s cause=%s",
		         agent_peers_server_name(a, ev->server), ev->text);
		return;
	case ENDPOINT_EVENT_TCP_OPEN:
		if (a->tcp)
			agent_tcp_connect(a->tcp, ev->server);
		return;
	case ENDPOINT_EVENT_TCP_CLOSE:
		if (a->tcp)
			agent_tcp_disconnect(a->tcp, ev->server);
		return;
	case ENDPOINT_EVENT_OPEN_SOCKETS:
		open_sockets(a, now, ev->socket, ev->count);
		return;
	case ENDPOINT_EVENT_CLOSE_SOCKET:
		udp_port_close_extra(a->port, ev->socket);
		return;
	case ENDPOINT_EVENT_CLASH:
		log_warn("peer refused peer=%s cause=\"one side says path: direct, the other "
		         "path: relay\"",
		         agent_peers_name(a, ev->peer));
		return;
	case ENDPOINT_EVENT_DUPLICATE:
		log_warn("another agent uses this identity");
		return;
	}
	CV_UNREACHABLE();
}

static bool drain_events(void *ctx, cv_time now)
{
	struct agent *a = ctx;
	struct endpoint_event ev;
	bool any = false;

	while (endpoint_next_event(a->endpoint, now, &ev)) {
		on_event(a, now, &ev);
		any = true;
	}
	udp_flows_drain(&a->bridge, now);
	agent_status_answer_pings(a, now);
	if (pool_permille(&a->pool) >= MEMORY_HIGH)
		bridge_relieve(&a->bridge);
	return any;
}

/* ---- the port's core ---- */

static void core_on_turn(void *ctx, cv_time now)
{
	endpoint_on_turn(((struct agent *)ctx)->endpoint, now);
}

static void core_on_arrival(void *ctx, cv_time now, struct arrival *in)
{
	endpoint_on_arrival(((struct agent *)ctx)->endpoint, now, in);
}

static void core_settle(void *ctx, cv_time now)
{
	struct agent *a = ctx;

	/* While it is in the processor's cache, and without a copy. */
	if (endpoint_has_loans(a->endpoint) || endpoint_has_datagrams(a->endpoint))
		(void)drain_events(a, now);
	endpoint_keep(a->endpoint);
}

static void core_on_refused(void *ctx, cv_time now, uint16_t socket, const struct addr *to)
{
	endpoint_on_refused(((struct agent *)ctx)->endpoint, now, socket, to);
}

static void core_on_too_large(void *ctx, cv_time now, uint16_t socket, const struct addr *to,
                              size_t size)
{
	endpoint_on_too_large(((struct agent *)ctx)->endpoint, now, socket, to, size);
}

static void core_send_tcp(void *ctx, cv_time now, const struct train *t)
{
	struct agent *a = ctx;

	if (a->tcp)
		agent_tcp_send(a->tcp, now, t);
}

static bool core_write(void *ctx, cv_time now, struct train *out)
{
	return endpoint_write(((struct agent *)ctx)->endpoint, now, out);
}

static cv_time core_deadline(void *ctx)
{
	return endpoint_deadline(((struct agent *)ctx)->endpoint);
}

static void core_on_deadline(void *ctx, cv_time now)
{
	endpoint_on_deadline(((struct agent *)ctx)->endpoint, now);
}

struct udp_core agent_core(struct agent *a)
{
	return (struct udp_core){
		.ctx = a,
		.on_turn = core_on_turn,
		.on_arrival = core_on_arrival,
		.on_refused = core_on_refused,
		.on_too_large = core_on_too_large,
		.write = core_write,
		.deadline = core_deadline,
		.on_deadline = core_on_deadline,
		.drain_events = drain_events,
		.settle = core_settle,
		.send_tcp = core_send_tcp,
	};
}

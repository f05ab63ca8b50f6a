/* SPDX-License-Identifier: MIT */
#include "agent.h"

#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "agent_tcp.h"
#include "base/alloc.h"
#include "base/log.h"
#include "bridge.h"
#include "config/keyfile.h"
#include "control.h"
#include "foreign.h"
#include "listeners.h"
#include "mapping.h"
#include "net/clock.h"
#include "net/entropy.h"
#include "net/interfaces.h"
#include "net/logsink.h"
#include "net/signals.h"
#include "status.h"
#include "tunnel/aead.h"

#define MEMORY_HIGH 950 /* thousandths of the budget */
#define TICK_MS 250     /* how soon a waiting client hears that its peer is down */
#define DRAIN_MS 1000   /* how long goodbyes may take to leave */

struct agent;

struct ping {
	uint64_t id; /* 0: none */
	uint32_t peer;
};

struct agent {
	uv_loop_t loop;
	const struct config *config;
	uint8_t *sk; /* guarded memory */
	struct identity me;
	struct entropy entropy;
	struct rng rng;
	struct pool pool;
	struct trace trace;
	struct endpoint *endpoint;
	struct udp_port *port;
	struct agent_tcp *tcp;
	struct tcp_set *conns;
	struct resolver *resolver;
	struct foreign *foreign;
	struct interfaces *interfaces;
	struct mapping mapping;
	struct signals *signals;
	struct control *control;
	struct bridge bridge;
	bool has_bridge;
	struct listeners listeners;
	uint64_t *peer_lookups, *server_lookups;
	struct lookup *lookups; /* contexts of the two above */
	struct ping pings[32];
	uv_timer_t tick, drain;
	cv_time started_at;
	char public_key[KEY_TEXT_SIZE + 1];
	bool is_stopping;
	int exit_code;
};

/* Context of one lookup for the tunnel itself. */
struct lookup {
	struct agent *agent;
	uint32_t index;
	bool is_server;
};

/* What the core tells of itself, one line an event, for developers. */
static void on_trace(void *ctx, cv_time now, enum trace_event event, uint64_t x, uint64_t y,
                     uint64_t z)
{
	(void)ctx;
	log_debug("trace t=%llu.%06u %s %s=%llu %s=%llu %s=%llu",
	          (unsigned long long)(now / CV_SEC(1)), (unsigned)(now % CV_SEC(1) / 1000),
	          trace_name(event), trace_field(event, 0), (unsigned long long)x,
	          trace_field(event, 1), (unsigned long long)y, trace_field(event, 2),
	          (unsigned long long)z);
}

/* ---- addresses of peers and servers ---- */

static void set_addresses(struct lookup *l, cv_time now, const struct addr *list, unsigned count)
{
	if (l->is_server)
		endpoint_set_server_addresses(l->agent->endpoint, now, l->index, list, count);
	else
		endpoint_set_peer_addresses(l->agent->endpoint, now, l->index, list, count);
	udp_port_kick(l->agent->port);
}

static void on_lookup(void *ctx, uint64_t id, enum resolver_verdict verdict,
                      const struct addr *list, unsigned count)
{
	struct lookup *l = ctx;
	const struct config *c = l->agent->config;

	(void)id;
	if (l->is_server)
		l->agent->server_lookups[l->index] = 0;
	else
		l->agent->peer_lookups[l->index] = 0;
	if (verdict != RESOLVER_OK) {
		log_warn("%s does not resolve: %s",
		         l->is_server ? c->servers[l->index].address.text
		                      : c->peers[l->index].address.text,
		         verdict == RESOLVER_NOT_FOUND ? "no such name" : "no answer");
		count = 0;
	}
	set_addresses(l, clock_now(), list, count);
}

static void resolve(struct agent *a, cv_time now, bool is_server, uint32_t index)
{
	const struct hostport *host = is_server ? &a->config->servers[index].address.host
	                                        : &a->config->peers[index].address.host;
	struct lookup *l = &a->lookups[is_server ? index : a->config->server_count + index];
	uint64_t *id = is_server ? &a->server_lookups[index] : &a->peer_lookups[index];

	if (host->kind == HOST_ADDR) {
		struct addr addr = addr_canonical(&host->addr);

		addr.port = host->port;
		set_addresses(l, now, &addr, 1);
	} else if (host->kind == HOST_NAME && *id == 0) {
		*id = resolver_start(a->resolver, UINT64_MAX, host->text, host->port, on_lookup, l);
	}
}

static void on_foreign(void *ctx, const struct addr *list, unsigned count)
{
	struct agent *a = ctx;

	endpoint_set_stun_addresses(a->endpoint, clock_now(), list, count);
	udp_port_kick(a->port);
}

/* ---- events of the core ---- */

static void log_path(struct agent *a, cv_time now, uint32_t peer)
{
	struct endpoint_peer_stats stats;
	char text[ADDR_TEXT_MAX];

	endpoint_peer_stats(a->endpoint, now, peer, &stats);
	log_info("path peer=%s kind=%s address=%s%s%s", a->config->peers[peer].name,
	         stats.path_kind, addr_format(&stats.path_address, text),
	         stats.why[0] ? " why=" : "", stats.why);
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
		resolve(a, now, true, ev->server);
		return;
	case ENDPOINT_EVENT_RESOLVE_PEER:
		resolve(a, now, false, ev->peer);
		return;
	case ENDPOINT_EVENT_PEER_UP:
		log_info("peer up peer=%s", a->config->peers[ev->peer].name);
		bridge_on_peer(&a->bridge, now, ev->peer);
		return;
	case ENDPOINT_EVENT_PEER_DOWN:
		endpoint_peer_stats(a->endpoint, now, ev->peer, &stats);
		log_info("peer down peer=%s why=%s", a->config->peers[ev->peer].name, stats.why);
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
		log_info("server up server=%s", a->config->servers[ev->server].address.text);
		mapping_on_doubt(&a->mapping);
		return;
	case ENDPOINT_EVENT_SERVER_DOWN:
		log_info("server down server=%s", a->config->servers[ev->server].address.text);
		return;
	case ENDPOINT_EVENT_SERVER_REFUSED:
		log_warn("server refused server=%s cause=%s",
		         a->config->servers[ev->server].address.text, ev->text);
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
		         a->config->peers[ev->peer].name);
		return;
	case ENDPOINT_EVENT_DUPLICATE:
		log_warn("another agent uses this identity");
		return;
	}
	CV_UNREACHABLE();
}

static void answer_pings(struct agent *a, cv_time now)
{
	for (size_t i = 0; i < CV_ARRAY_SIZE(a->pings); i++) {
		struct ping *p = &a->pings[i];
		struct endpoint_ping got;
		const char *address;
		char text[ADDR_TEXT_MAX];

		if (p->id == 0 || !endpoint_ping_result(a->endpoint, now, p->peer, &got))
			continue;
		/* A relay is known by the name that the user gave it. */
		address = got.server == UINT32_MAX ? addr_format(&got.address, text)
		                                   : a->config->servers[got.server].address.text;
		for (size_t k = i; k < CV_ARRAY_SIZE(a->pings); k++) {
			/* One answer serves all who asked about this peer. */
			if (a->pings[k].id == 0 || a->pings[k].peer != p->peer)
				continue;
			control_ping_done(a->control, a->pings[k].id, got.rtt, got.path_kind,
			                  address);
			if (k != i)
				a->pings[k].id = 0;
		}
		p->id = 0;
	}
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
	bridge_drain_datagrams(&a->bridge, now);
	answer_pings(a, now);
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

/* ---- control ---- */

static json_t *on_status(void *ctx)
{
	struct agent *a = ctx;
	const struct config *c = a->config;
	cv_time now = clock_now();
	struct status_agent s = {
		.public_key = a->public_key,
		.uptime_s = (double)(now - a->started_at) / 1e9,
		.server_count = c->server_count,
		.peer_count = c->peer_count,
		.listener_count = a->listeners.count,
	};
	struct status_agent_server *servers =
		cv_zalloc_array(CV_MAX(c->server_count, 1), sizeof(*servers));
	struct status_agent_peer *peers = cv_zalloc_array(CV_MAX(c->peer_count, 1), sizeof(*peers));
	char(*keys)[KEY_TEXT_SIZE + 1] = cv_zalloc_array(CV_MAX(c->peer_count, 1), sizeof(*keys));
	struct status_listener *listeners =
		cv_zalloc_array(CV_MAX(a->listeners.count, 1), sizeof(*listeners));
	json_t *out = NULL;

	if (!servers || !peers || !keys || !listeners)
		goto end;
	for (uint32_t i = 0; i < c->server_count; i++) {
		servers[i].address = c->servers[i].address.text;
		endpoint_server_stats(a->endpoint, i, &servers[i].stats);
	}
	for (uint32_t i = 0; i < c->peer_count; i++) {
		base64_key_write(keys[i], c->peers[i].key.key);
		peers[i].name = c->peers[i].name;
		peers[i].public_key = keys[i];
		endpoint_peer_stats(a->endpoint, now, i, &peers[i].stats);
	}
	for (unsigned i = 0; i < a->listeners.count; i++) {
		const struct listener *l = &a->listeners.list[i];

		listeners[i].kind = l->is_proxy ? "proxy" : "forward";
		listeners[i].address = l->address;
		listeners[i].peer = l->is_proxy ? c->proxies[l->index].peer.name
		                                : c->forwards[l->index].peer.name;
	}
	s.servers = servers;
	s.peers = peers;
	s.listeners = listeners;
	mapping_status(&a->mapping, &s.portmap);
	endpoint_nat_stats(a->endpoint, &s.nat);
	out = status_agent_json(&s);
end:
	cv_free(servers);
	cv_free(peers);
	cv_free(keys);
	cv_free(listeners);
	return out;
}

/* Valid until the next call. */
static const char *why_down(struct agent *a, cv_time now, uint32_t peer)
{
	static char text[ENDPOINT_WHY_MAX + 32];
	struct endpoint_peer_stats stats;

	endpoint_peer_stats(a->endpoint, now, peer, &stats);
	(void)snprintf(text, sizeof(text), "the peer is not connected: %s", stats.why);
	return text;
}

static int on_ping(void *ctx, const char *peer, uint64_t id, const char **why)
{
	struct agent *a = ctx;

	for (uint32_t i = 0; i < a->config->peer_count; i++) {
		if (strcmp(a->config->peers[i].name, peer) != 0)
			continue;
		for (size_t k = 0; k < CV_ARRAY_SIZE(a->pings); k++) {
			cv_time now = clock_now();

			if (a->pings[k].id != 0)
				continue;
			endpoint_want_peer(a->endpoint, now, i);
			udp_port_kick(a->port);
			if (endpoint_peer_state(a->endpoint, i) == PEER_DOWN) {
				*why = why_down(a, now, i);
				return EXIT_UNREACHABLE;
			}
			a->pings[k] = (struct ping){ .id = id, .peer = i };
			endpoint_ping(a->endpoint, now, i);
			return 0;
		}
		*why = "too many pings at once";
		return EXIT_FAILED;
	}
	*why = "no such peer is configured";
	return EXIT_USAGE;
}

static int on_nc(void *ctx, const char *peer, const char *target, struct tcp_conn *conn,
                 const uint8_t *early, size_t early_size, const char **why)
{
	return near_accept_nc(&((struct agent *)ctx)->bridge, peer, target, conn, early, early_size,
	                      why);
}

static const struct control_ops control_ops = { .status = on_status, .ping = on_ping, .nc = on_nc };

/* ---- start ---- */

static int read_identity(struct agent *a)
{
	char why[KEYFILE_WHY_MAX];

	a->sk = sodium_malloc(KEY_SIZE);
	if (!a->sk || keyfile_read(a->config->identity.path, a->sk, why) < 0) {
		log_error("%s", a->sk ? why : "out of memory");
		return -1;
	}
	(void)sodium_mprotect_readonly(a->sk); /* a second line of defence only */
	identity_init(&a->me, a->sk);
	base64_key_write(a->public_key, a->me.pk);
	return 0;
}

static int add_peer(struct agent *a, const struct config_peer *p)
{
	static const uint8_t policies[] = {
		[CONFIG_PATH_AUTO] = POLICY_AUTO,
		[CONFIG_PATH_DIRECT] = POLICY_DIRECT,
		[CONFIG_PATH_RELAY] = POLICY_RELAY,
	};
	char why[KEYFILE_WHY_MAX];
	uint8_t psk[KEY_SIZE];
	struct endpoint_peer opt = {
		.pk = p->key.key,
		.psk = p->psk.path ? psk : NULL,
		.policy = policies[p->path],
		.has_address = p->address.host.kind != HOST_NONE,
	};
	uint32_t number;
	int r;

	if (p->psk.path && keyfile_read(p->psk.path, psk, why) < 0) {
		log_error("%s", why);
		return -1;
	}
	r = endpoint_add_peer(a->endpoint, a->started_at, &opt, &number);
	keyfile_wipe(psk, sizeof(psk));
	if (r < 0)
		log_error("%s:%u: peer '%s': %s", a->config->file, p->mark.line, p->name,
		          r == -EINVAL ? "its key cannot be used (our own, or not a public key)"
		                       : uv_strerror(r));
	return r;
}

static int build_core(struct agent *a)
{
	struct endpoint_options opt = {
		.me = &a->me,
		.rng = &a->rng,
		.pool = &a->pool,
		.trace = log_enabled(LOG_DEBUG) ? &a->trace : NULL,
		.aead_bits = aead_available(),
		.streams_max = a->config->tunnel.streams_max,
		.congestion = a->config->tunnel.congestion == CONFIG_CUBIC ? CC_CUBIC : CC_BBR,
		.datagram_max = TRAIN_BYTES_MAX,
		.punch_sockets = a->config->punch.sockets_max,
		.punch_packets = a->config->punch.packets_max,
		.punch_rate = a->config->punch.rate,
		.punch_hourly = a->config->punch.hourly,
	};
	uint32_t number;

	if (endpoint_new(&a->endpoint, a->started_at, &opt) < 0)
		goto no_memory;
	for (size_t i = 0; i < a->config->peer_count; i++) {
		if (add_peer(a, &a->config->peers[i]) < 0)
			return -1;
	}
	for (size_t i = 0; i < a->config->server_count; i++) {
		const struct config_server_ref *s = &a->config->servers[i];

		if (endpoint_add_server(a->endpoint, a->started_at, s->key.key, &number) < 0) {
			log_error("%s:%u: this server cannot be used (its key, or more than %d of "
			          "them)",
			          a->config->file, s->mark.line, ENDPOINT_SERVERS_MAX);
			return -1;
		}
		endpoint_tcp_set_port(a->endpoint, number, (uint16_t)s->tcp_port);
	}
	a->peer_lookups = cv_zalloc_array(CV_MAX(a->config->peer_count, 1), sizeof(uint64_t));
	a->server_lookups = cv_zalloc_array(CV_MAX(a->config->server_count, 1), sizeof(uint64_t));
	a->lookups = cv_zalloc_array(a->config->peer_count + a->config->server_count + 1,
	                             sizeof(*a->lookups));
	if (!a->peer_lookups || !a->server_lookups || !a->lookups)
		goto no_memory;
	for (uint32_t i = 0; i < a->config->server_count; i++)
		a->lookups[i] = (struct lookup){ a, i, true };
	for (uint32_t i = 0; i < a->config->peer_count; i++)
		a->lookups[a->config->server_count + i] = (struct lookup){ a, i, false };
	return 0;

no_memory:
	log_error("out of memory");
	return -1;
}

/* What this host is reachable at: candidates for peers, and what the policy knows as ours. */
static void tell_local_addresses(struct agent *a, cv_time now)
{
	struct addr list[INTERFACES_MAX];
	unsigned count = interfaces_list(list, INTERFACES_MAX);
	unsigned heard = 0;

	bridge_set_local(&a->bridge, list, count);
	for (unsigned i = 0; i < count; i++) {
		list[heard] = list[i];
		list[heard].port = udp_port_number_at(a->port, &list[i]);
		heard += list[heard].port != 0;
	}
	endpoint_set_local_addresses(a->endpoint, now, list, heard);
}

static void on_network_change(void *ctx)
{
	struct agent *a = ctx;

	if (a->is_stopping)
		return;
	resolver_network_changed(a->resolver);
	foreign_network_changed(a->foreign);
	tell_local_addresses(a, clock_now());
	mapping_on_network_change(&a->mapping);
	udp_port_kick(a->port);
}

static int open_port(struct agent *a)
{
	const struct udp_core core = {
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
	struct addr binds[UDP_PORT_BINDS_MAX] = { { 0 } };
	struct udp_port_options opt = { .binds = binds, .bind_count = 1 };
	unsigned n = 0;
	int r;

	for (size_t i = 0; i < a->config->listen_count; i++) {
		for (uint8_t k = 0; k < a->config->listen[i].addr_count; k++) {
			if (n < UDP_PORT_BINDS_MAX)
				binds[n++] = a->config->listen[i].addrs[k];
		}
	}
	opt.bind_count = CV_MAX(n, 1);
	r = udp_port_open(&a->loop, &opt, &core, &a->port);
	if (r < 0) {
		log_error("cannot open the tunnel's UDP port: %s", uv_strerror(r));
		return -1;
	}
	if (agent_tcp_open(&a->loop, &(struct agent_tcp_options){ a->endpoint, a->port }, &a->tcp) <
	    0) {
		log_error("out of memory");
		return -1;
	}
	a->bridge.port = a->port;
	n = udp_port_local(a->port, binds, UDP_PORT_BINDS_MAX);
	for (unsigned i = 0; i < n; i++)
		bridge_add_own(&a->bridge, &binds[i]);
	return 0;
}

static void on_tick(uv_timer_t *timer)
{
	struct agent *a = timer->data;

	for (uint32_t i = 0; i < a->config->peer_count; i++)
		bridge_on_peer(&a->bridge, clock_now(), i);
}

static void on_stop(void *ctx);

static int start(struct agent *a, const char *control)
{
	const struct signals_events events = { .on_stop = on_stop };
	char why[CONTROL_WHY_MAX];

	if (read_identity(a) < 0 || build_core(a) < 0)
		return -1;
	if (tcp_set_open(&a->loop, a->config->tunnel.streams_max * 2, &a->conns) < 0 ||
	    resolver_open(&a->loop, NULL, &a->resolver) < 0 ||
	    bridge_init(&a->bridge, &a->loop, a->config, a->endpoint, a->conns, a->resolver) < 0) {
		log_error("out of memory");
		return -1;
	}
	a->has_bridge = true;
	if (signals_open(&a->loop, &events, a, &a->signals) < 0)
		return -1;
	if (control_open(&a->loop, control, &control_ops, a, &a->control, why) < 0) {
		log_error("%s", why);
		return -1;
	}
	bridge_add_own_unix(&a->bridge, control);
	if (open_port(a) < 0 ||
	    listeners_open(&a->listeners, a->config, a->conns, &a->bridge) < 0 ||
	    foreign_open(&a->loop, a->config, a->resolver, on_foreign, a, &a->foreign) < 0)
		return -1;
	if (interfaces_open(&a->loop, on_network_change, a, &a->interfaces) < 0)
		log_warn("changes of the network will go unnoticed");
	tell_local_addresses(a, a->started_at);
	if (a->config->has_portmap)
		mapping_open(&a->mapping, &a->loop, a->endpoint, a->port, &a->rng,
		             log_enabled(LOG_DEBUG) ? &a->trace : NULL);
	(void)uv_timer_start(&a->tick, on_tick, TICK_MS, TICK_MS); /* never fails here */
	return 0;
}

/* ---- stop: listeners, flows, goodbyes, ports, then the loop runs empty ---- */

static void close_port(struct agent *a)
{
	if (a->tcp)
		agent_tcp_close(a->tcp);
	a->tcp = NULL;
	if (a->port)
		udp_port_close(a->port, NULL, NULL);
	a->port = NULL;
	a->bridge.port = NULL;
	if (!uv_is_closing((uv_handle_t *)&a->drain))
		uv_close((uv_handle_t *)&a->drain, NULL);
}

static void on_drained(uv_timer_t *timer)
{
	close_port(timer->data);
}

static void stop(struct agent *a)
{
	if (a->is_stopping)
		return;
	a->is_stopping = true;
	listeners_close(&a->listeners);
	if (a->has_bridge)
		bridge_close(&a->bridge);
	if (a->control)
		control_close(a->control, NULL, NULL);
	mapping_close(&a->mapping);
	if (a->interfaces)
		interfaces_close(a->interfaces, NULL, NULL);
	if (a->signals)
		signals_close(a->signals, NULL, NULL);
	if (a->foreign)
		foreign_close(a->foreign);
	if (a->resolver)
		resolver_close(a->resolver, NULL, NULL);
	if (a->conns)
		tcp_set_close(a->conns);
	uv_close((uv_handle_t *)&a->tick, NULL);
	if (a->port) {
		endpoint_close(a->endpoint, clock_now());
		udp_port_kick(a->port);
		if (udp_port_flush(a->port))
			close_port(a);
		else
			(void)uv_timer_start(&a->drain, on_drained, DRAIN_MS, 0);
	} else {
		close_port(a);
	}
}

static void on_stop(void *ctx)
{
	log_info("stopping");
	stop(ctx);
}

static void free_agent(struct agent *a)
{
	if (a->has_bridge)
		bridge_deinit(&a->bridge);
	endpoint_free(a->endpoint, clock_now());
	cv_free(a->peer_lookups);
	cv_free(a->server_lookups);
	cv_free(a->lookups);
	pool_deinit(&a->pool);
	entropy_deinit(&a->entropy);
	sodium_free(a->sk);
	cv_free(a);
}

int agent_run(const struct config *config, const char *control)
{
	struct agent *a = cv_zalloc(sizeof(*a));
	int exit_code;

	if (!a || uv_loop_init(&a->loop) < 0) {
		log_error("out of memory");
		cv_free(a);
		return EXIT_FAILED;
	}
	a->config = config;
	a->started_at = clock_now();
	entropy_init(&a->entropy);
	a->rng = entropy_rng(&a->entropy);
	a->trace = (struct trace){ .emit = on_trace };
	pool_init(&a->pool, config->tunnel.memory_size);
	(void)uv_timer_init(&a->loop, &a->tick); /* neither fails */
	(void)uv_timer_init(&a->loop, &a->drain);
	a->tick.data = a;
	a->drain.data = a;
	if (start(a, control) < 0) {
		a->exit_code = EXIT_FAILED;
		stop(a);
	} else {
		log_info("ready key=%s port=%u listeners=%u", a->public_key,
		         udp_port_number(a->port), a->listeners.count);
	}
	(void)uv_run(&a->loop, UV_RUN_DEFAULT);
	CV_ASSERT(uv_loop_close(&a->loop) == 0);
	exit_code = a->exit_code;
	free_agent(a);
	return exit_code;
}

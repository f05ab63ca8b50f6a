/* SPDX-License-Identifier: MIT */
#include "server_tcp.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/clock.h"
#include "net/tcp_listener.h"

#define AGE_MAX CV_MS(200) /* of a packet that waits for a reader (protocol rule 6.2) */

struct server_tcp {
	struct server_tcp_options opt;
	struct tcp_carrier *carrier;
	struct tcp_listener *listeners[SERVER_TCP_LISTENERS_MAX];
	struct addr local[SERVER_TCP_LISTENERS_MAX];
	unsigned count;
};

/* ---- the carrier's owner ---- */

static void on_arrival(void *ctx, cv_time now, struct arrival *in)
{
	udp_port_feed(((struct server_tcp *)ctx)->opt.port, now, in);
}

static void on_closed(void *ctx, cv_time now, const struct addr *peer)
{
	struct server_tcp *s = ctx;

	hub_on_tcp_closed(s->opt.hub, now, peer);
	udp_port_kick(s->opt.port);
}

static bool is_welcome(void *ctx, const struct addr *peer)
{
	return hub_has_tcp(((struct server_tcp *)ctx)->opt.hub, peer);
}

static const struct tcp_carrier_ops ops = {
	.on_arrival = on_arrival,
	.on_closed = on_closed,
	.is_welcome = is_welcome,
};

static void on_accept(void *ctx, struct tcp_conn *conn)
{
	(void)tcp_carrier_take(((struct server_tcp *)ctx)->carrier, conn);
}

/* ---- listeners ---- */

static int listen_at(struct server_tcp *s, const struct addr *at)
{
	struct hostport place = { .kind = HOST_ADDR, .addr = *at, .port = at->port };
	struct hostport local;
	int r;

	if (s->count == SERVER_TCP_LISTENERS_MAX)
		return -ENOSPC;
	r = tcp_listener_open(tcp_carrier_set(s->carrier), &place, on_accept, s,
	                      &s->listeners[s->count]);
	if (r < 0)
		return r;
	tcp_listener_local(s->listeners[s->count], &local);
	s->local[s->count] = local.addr;
	s->local[s->count].port = local.port;
	s->count++;
	return 0;
}

static int listen_configured(struct server_tcp *s, const struct config_listen *l)
{
	struct addr at;
	uint16_t port = 0;
	int r;

	for (uint8_t i = 0; i < l->addr_count; i++) {
		at = l->addrs[i];
		if (at.port == 0) /* "any free port" of two families is one port */
			at.port = port;
		r = listen_at(s, &at);
		if (r == 0) {
			port = s->local[s->count - 1].port;
			continue;
		}
		/* A host without IPv6: a bare port means what there is. */
		if (i > 0 && at.family == ADDR_V6 && (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL))
			continue;
		log_error("%s:%u: cannot listen on TCP %s: %s", s->opt.config->file, l->mark.line,
		          l->text, uv_strerror(r));
		return r;
	}
	return 0;
}

/* Where the agents look for it: on the ports of UDP. The last of them is NAT detection's. */
static void listen_beside_udp(struct server_tcp *s)
{
	struct addr udp[UDP_PORT_SOCKETS_MAX];
	unsigned n = udp_port_local(s->opt.port, udp, UDP_PORT_SOCKETS_MAX);
	char text[ADDR_TEXT_MAX];

	for (unsigned i = 0; i < n; i++) {
		if (udp[i].port != udp_port_number(s->opt.port))
			continue;
		if (listen_at(s, &udp[i]) < 0)
			log_warn("TCP %s is in use: agents whose UDP is blocked do not reach this "
			         "server there",
			         addr_format(&udp[i], text));
	}
}

int server_tcp_open(uv_loop_t *loop, const struct server_tcp_options *opt, struct server_tcp **out)
{
	const struct config_server *c = &opt->config->server;
	const struct tcp_carrier_options carrier = {
		.conns_max = c->connections_max,
		.conns_per_prefix_max = c->connections_per_address_max,
		.age_max = AGE_MAX,
	};
	struct server_tcp *s = cv_zalloc(sizeof(*s));
	int r = s ? 0 : -ENOMEM;

	if (r == 0) {
		s->opt = *opt;
		r = tcp_carrier_open(loop, &carrier, &ops, s, &s->carrier);
	}
	if (r < 0) {
		log_error("out of memory");
		cv_free(s);
		return r;
	}
	if (c->tcp_count > 0 && c->tcp[0].mark.line == 0) {
		listen_beside_udp(s);
	} else {
		for (size_t i = 0; i < c->tcp_count && r == 0; i++)
			r = listen_configured(s, &c->tcp[i]);
	}
	if (r < 0) {
		server_tcp_close(s);
		return r;
	}
	*out = s;
	return 0;
}

unsigned server_tcp_local(const struct server_tcp *s, struct addr *out, unsigned cap)
{
	unsigned n = CV_MIN(s->count, cap);

	for (unsigned i = 0; i < n; i++)
		out[i] = s->local[i];
	return n;
}

void server_tcp_send(struct server_tcp *s, cv_time now, const struct train *t)
{
	tcp_carrier_send(s->carrier, now, t);
}

void server_tcp_counters(const struct server_tcp *s, struct tcp_carrier_counters *out)
{
	tcp_carrier_counters(s->carrier, out);
}

void server_tcp_close(struct server_tcp *s)
{
	for (unsigned i = 0; i < s->count; i++)
		tcp_listener_close(s->listeners[i], NULL, NULL);
	tcp_carrier_close(s->carrier);
	cv_free(s);
}

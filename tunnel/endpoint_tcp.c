/* SPDX-License-Identifier: MIT */
#include "tunnel/endpoint_inner.h"

/*
 * What is carried by TCP is decided in rendezvous_tcp.c; here it reaches the sessions. Their paths
 * through such a server wait longer before they call anything lost, and while the connection takes
 * no more they build nothing: a train that is built counts as sent.
 */

void endpoint_tcp_set_port(struct endpoint *e, uint32_t server, uint16_t port)
{
	CV_ASSERT(server < e->server_count);
	rendezvous_set_tcp_port(e->servers[server].r, port);
}

unsigned endpoint_tcp_addresses(const struct endpoint *e, uint32_t server,
                                struct addr out[RENDEZVOUS_TCP_ADDRESSES_MAX])
{
	CV_ASSERT(server < e->server_count);
	return rendezvous_tcp_addresses(e->servers[server].r, out);
}

void endpoint_tcp_tell(struct endpoint *e, cv_time now, uint32_t server, struct session *s)
{
	const struct server *to = &e->servers[server];

	session_set_leg(s, now, server, to->is_tcp, to->is_tcp && to->is_tcp_blocked);
	endpoint_touch_session(e, s);
}

static void tell_all(struct endpoint *e, cv_time now, uint32_t server)
{
	struct session *s;

	endpoint_for_each_session(e, i, s) endpoint_tcp_tell(e, now, server, s);
}

void endpoint_tcp_on_leg(struct endpoint *e, cv_time now, uint32_t server, bool is_tcp)
{
	e->servers[server].is_tcp = is_tcp;
	tell_all(e, now, server);
}

void endpoint_tcp_on_open(struct endpoint *e, cv_time now, uint32_t server, const struct addr *to)
{
	CV_ASSERT(server < e->server_count);
	endpoint_tcp_on_writable(e, now, server, true);
	rendezvous_on_tcp(e->servers[server].r, now, to);
}

void endpoint_tcp_on_closed(struct endpoint *e, cv_time now, uint32_t server)
{
	CV_ASSERT(server < e->server_count);
	endpoint_tcp_on_writable(e, now, server, true);
	rendezvous_on_tcp_closed(e->servers[server].r, now);
}

void endpoint_tcp_on_writable(struct endpoint *e, cv_time now, uint32_t server, bool is_writable)
{
	struct server *s = &e->servers[server];

	CV_ASSERT(server < e->server_count);
	if (s->is_tcp_blocked == !is_writable)
		return;
	s->is_tcp_blocked = !is_writable;
	if (s->is_tcp)
		tell_all(e, now, server);
}

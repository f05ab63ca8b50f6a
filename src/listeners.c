/* SPDX-License-Identifier: MIT */
#include "listeners.h"

#include <string.h>

#include "base/log.h"

static void on_accept(void *ctx, struct tcp_conn *conn)
{
	struct listener *l = ctx;

	if (l->all->is_closed)
		tcp_conn_close(conn);
	else if (l->is_proxy)
		near_accept_proxy(l->all->bridge, l->index, conn);
	else
		near_accept_forward(l->all->bridge, l->index, conn);
}

static int listen_at(struct listeners *ls, const struct hostport *at,
                     const struct config_listen *spec, bool is_proxy, uint32_t index)
{
	struct listener *l = &ls->list[ls->count];
	struct hostport local;
	int r;

	if (ls->count == LISTENERS_MAX) {
		log_error("more than %d listeners", LISTENERS_MAX);
		return -1;
	}
	*l = (struct listener){ .all = ls, .is_proxy = is_proxy, .index = index };
	r = tcp_listener_open(ls->conns, at, on_accept, l, &l->l);
	if (r < 0) {
		/* A host without IPv6 has no ::1: the other half of `localhost` serves. */
		if (at->kind == HOST_ADDR && at->addr.family == ADDR_V6 && spec->addr_count > 1)
			return 0;
		log_error("%s:%u: cannot listen on %s: %s", ls->config->file, spec->mark.line,
		          spec->text, uv_strerror(r));
		return -1;
	}
	tcp_listener_local(l->l, &local);
	(void)hostport_format(&local, l->address);
	if (local.kind == HOST_ADDR)
		bridge_add_own(ls->bridge, &local.addr);
	else if (local.kind == HOST_UNIX)
		bridge_add_own_unix(ls->bridge, local.text);
	ls->count++;
	return 0;
}

static int listen_all(struct listeners *ls, const struct config_listen *spec, bool is_proxy,
                      uint32_t index)
{
	struct hostport at = { .kind = HOST_UNIX };
	uint16_t port = 0;

	if (spec->unix_path) {
		memcpy(at.text, spec->unix_path, strlen(spec->unix_path) + 1);
		return listen_at(ls, &at, spec, is_proxy, index);
	}
	for (uint8_t i = 0; i < spec->addr_count; i++) {
		unsigned before = ls->count;

		at = (struct hostport){ .kind = HOST_ADDR, .addr = spec->addrs[i] };
		/* "Any free port" of two families is one port. */
		if (at.addr.port == 0)
			at.addr.port = port;
		at.port = at.addr.port;
		if (listen_at(ls, &at, spec, is_proxy, index) < 0)
			return -1;
		if (ls->count > before) {
			struct hostport local;

			tcp_listener_local(ls->list[before].l, &local);
			port = local.port;
		}
	}
	return 0;
}

int listeners_open(struct listeners *ls, const struct config *config, struct tcp_set *conns,
                   struct bridge *bridge)
{
	ls->config = config;
	ls->conns = conns;
	ls->bridge = bridge;
	for (uint32_t i = 0; i < config->proxy_count; i++) {
		if (listen_all(ls, &config->proxies[i].listen, true, i) < 0)
			return -1;
	}
	for (uint32_t i = 0; i < config->forward_count; i++) {
		if (listen_all(ls, &config->forwards[i].listen, false, i) < 0)
			return -1;
	}
	return 0;
}

void listeners_close(struct listeners *ls)
{
	ls->is_closed = true;
	for (unsigned i = 0; i < ls->count; i++)
		tcp_listener_close(ls->list[i].l, NULL, NULL);
}

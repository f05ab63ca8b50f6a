/* SPDX-License-Identifier: MIT */
#include "server_pages.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/tcp_listener.h"

struct server_pages {
	struct tcp_set *conns;
	struct metrics *metrics;
	struct tcp_listener *listeners[SERVER_PAGES_PLACES_MAX];
	char addresses[SERVER_PAGES_PLACES_MAX][HOSTPORT_TEXT_MAX];
	unsigned count;
};

/* The pages' library has its own way with a socket. */
static void on_accept(void *ctx, struct tcp_conn *conn)
{
	struct server_pages *p = ctx;
	int fd = tcp_conn_dup(conn);

	if (fd >= 0)
		metrics_take(p->metrics, fd, tcp_conn_is_unix(conn));
	tcp_conn_close(conn);
}

static int listen_at(struct server_pages *p, const struct hostport *at)
{
	struct hostport local;
	int r = tcp_listener_open(p->conns, at, on_accept, p, &p->listeners[p->count]);

	if (r < 0)
		return r;
	tcp_listener_local(p->listeners[p->count], &local);
	(void)hostport_format(&local, p->addresses[p->count++]);
	return 0;
}

static int listen_all(struct server_pages *p, const struct config_listen *spec)
{
	struct hostport at = { .kind = HOST_UNIX };
	int r = 0;

	if (spec->unix_path) {
		memcpy(at.text, spec->unix_path, strlen(spec->unix_path) + 1);
		return listen_at(p, &at);
	}
	for (uint8_t i = 0; i < spec->addr_count && r == 0; i++) {
		at = (struct hostport){ .kind = HOST_ADDR, .addr = spec->addrs[i] };
		at.port = at.addr.port;
		r = listen_at(p, &at);
		/* A host without IPv6 has no ::1: the other half of `localhost` serves. */
		if (r < 0 && i > 0 && at.addr.family == ADDR_V6)
			r = 0;
	}
	return r;
}

int server_pages_open(uv_loop_t *loop, const struct config *config, const struct metrics_ops *ops,
                      void *ctx, struct server_pages **out)
{
	const struct config_listen *spec = &config->server.metrics;
	struct server_pages *p;
	int r;

	*out = NULL;
	if (!spec->unix_path && spec->addr_count == 0)
		return 0;
	p = cv_zalloc(sizeof(*p));
	r = p ? metrics_open(loop, ops, ctx, &p->metrics) : -ENOMEM;
	if (r == 0)
		r = tcp_set_open(loop, METRICS_CONNS_MAX, &p->conns);
	if (r == 0)
		r = listen_all(p, spec);
	if (r == 0) {
		*out = p;
		return 0;
	}
	log_error("%s:%u: cannot listen on %s: %s", config->file, spec->mark.line, spec->text,
	          uv_strerror(r));
	server_pages_close(p);
	return r;
}

unsigned server_pages_list(const struct server_pages *p,
                           struct status_listener out[SERVER_PAGES_PLACES_MAX])
{
	unsigned count = p ? p->count : 0;

	for (unsigned i = 0; i < count; i++)
		out[i] = (struct status_listener){ .kind = "metrics", .address = p->addresses[i] };
	return count;
}

void server_pages_close(struct server_pages *p)
{
	if (!p)
		return;
	for (unsigned i = 0; i < p->count; i++)
		tcp_listener_close(p->listeners[i], NULL, NULL);
	if (p->conns)
		tcp_set_close(p->conns);
	if (p->metrics)
		metrics_close(p->metrics);
	cv_free(p);
}

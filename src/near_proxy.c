/* SPDX-License-Identifier: MIT */

/*
 * near_proxy - a proxy's client from its first byte to its answer: which protocol it speaks, what
 * it asks for, and what it is told.
 */
#include "bridge.h"

#include <string.h>

#include "base/log.h"
#include "net/clock.h"
#include "proxy/sniff.h"

#define HANDSHAKE_TIMEOUT CV_SEC(10)

void near_proxy_refuse(struct flow *f, enum target_code code, const char *cause)
{
	uint8_t reply[SOCKS5_REPLY_MAX];
	struct wr w = wr_init(reply, sizeof(reply));

	(void)cause; /* SOCKS has no room for words */
	socks5_write_reply(&w, code, NULL);
	(void)near_say(f, reply, wr_size(&w)); /* a client that is gone needs no answer */
	tcp_conn_shutdown(f->conn);
	flow_abandon(f, TARGET_ABORTED, false);
}

bool near_proxy_accept(struct flow *f, const struct addr *bound)
{
	uint8_t reply[SOCKS5_REPLY_MAX];
	struct wr w = wr_init(reply, sizeof(reply));

	socks5_write_reply(&w, TARGET_OK, bound);
	return near_say(f, reply, wr_size(&w));
}

void near_proxy_on_timeout(struct flow *f)
{
	flow_abandon(f, TARGET_ABORTED, false);
}

static void on_request(struct flow *f, const struct rd *rest)
{
	struct near *n = f->near;
	size_t left = rd_left(rest);
	cv_time now = clock_now();

	tcp_conn_read_stop(f->conn);
	/* What the client sent ahead is stream data: keep it at the front of the buffer. */
	memmove(n->in, rest->pos, left);
	n->early_size = left;
	n->to = n->socks.target;
	if (n->socks.command == SOCKS5_ASSOCIATE) {
		associate_open(f);
		return;
	}
	f->peer = route_find(n->routes, &n->socks.target, &n->to);
	if (f->peer == ROUTE_NO_PEER) {
		near_refuse(f, TARGET_NO_ROUTE);
		return;
	}
	if (n->socks.command == SOCKS5_BIND) {
		near_bind(f);
		return;
	}
	if (n->to.kind == HOST_SERVICE) {
		near_refuse(f, TARGET_SERVICE_UNKNOWN);
		return;
	}
	near_open(f, now);
}

static void refuse_protocol(struct flow *f, enum sniff_kind kind)
{
	uint8_t bytes[SNIFF_REFUSAL_MAX];
	struct wr w = wr_init(bytes, sizeof(bytes));

	sniff_write_refusal(&w, kind);
	if (wr_size(&w) > 0)
		(void)near_say(f, bytes, wr_size(&w));
	log_info("refused proxy client cause=\"%s\"",
	         kind == SNIFF_HTTP     ? "HTTP is not supported yet"
	         : kind == SNIFF_SOCKS4 ? "SOCKS4 is not supported yet"
	                                : "neither SOCKS nor HTTP");
	tcp_conn_shutdown(f->conn);
	flow_abandon(f, TARGET_ABORTED, false);
}

static void on_client_bytes(struct flow *f, size_t size)
{
	struct near *n = f->near;
	struct rd in = rd_init(n->in, size);
	enum sniff_kind kind;

	if (!n->is_sniffed) {
		kind = sniff_first_byte(&in);
		if (kind != SNIFF_SOCKS5) {
			refuse_protocol(f, kind);
			return;
		}
		n->is_sniffed = true;
	}
	for (;;) {
		enum socks5_verdict v = socks5_on_bytes(&n->socks, &in);

		if (n->socks.out_size > 0 && !near_say(f, n->socks.out, n->socks.out_size)) {
			flow_abandon(f, TARGET_ABORTED, true);
			return;
		}
		switch (v) {
		case SOCKS5_REPLY:
			continue;
		case SOCKS5_NEED_MORE:
			return;
		case SOCKS5_REQUEST:
			on_request(f, &in);
			return;
		case SOCKS5_CLOSE:
			log_info("refused SOCKS client cause=\"%s\"",
			         n->socks.why ? n->socks.why : "malformed");
			tcp_conn_shutdown(f->conn);
			flow_abandon(f, TARGET_ABORTED, false);
			return;
		}
		CV_UNREACHABLE();
	}
}

static uint8_t *client_alloc(void *ctx, size_t *size)
{
	struct flow *f = ctx;

	if (f->state != FLOW_HANDSHAKE)
		return NULL;
	*size = sizeof(f->near->in);
	return f->near->in;
}

static void client_read(void *ctx, size_t size)
{
	struct flow *f = ctx;

	if (size > 0)
		on_client_bytes(f, size);
}

/* Before the answer an end of file means that the client gave up, for a proxy; nothing was promised
 * to it. */
static void client_eof(void *ctx)
{
	struct flow *f = ctx;

	flow_abandon(f, TARGET_ABORTED, false);
}

static void client_error(void *ctx, int error)
{
	struct flow *f = ctx;

	(void)error;
	flow_abandon(f, TARGET_ABORTED, true);
}

static void client_writable(void *ctx)
{
	(void)ctx; /* replies are whole or the client is dropped */
}

static const struct tcp_conn_events client_events = {
	.alloc = client_alloc,
	.on_read = client_read,
	.on_eof = client_eof,
	.on_error = client_error,
	.on_writable = client_writable,
	.on_closed = flow_on_closed,
};

void near_proxy_rebind(struct flow *f, uint32_t proxy)
{
	const struct tables_proxy *t = &f->b->tables.proxies[proxy];
	struct near *n = f->near;

	n->proxy_index = proxy;
	n->proxy = &f->b->config->proxies[proxy];
	n->routes = &t->routes;
	n->socks.users = t->users;
	n->socks.user_count = t->user_count;
	n->socks.user = NULL; /* whoever has authenticated has */
}

void near_accept_proxy(struct bridge *b, uint32_t proxy, struct tcp_conn *conn)
{
	struct flow *f = near_new(b, FLOW_PROXY, conn);

	if (!f) {
		tcp_conn_reset(conn);
		return;
	}
	socks5_init(&f->near->socks, b->tables.proxies[proxy].users,
	            b->tables.proxies[proxy].user_count);
	near_proxy_rebind(f, proxy);
	flow_set_deadline(f, cv_time_after(f->began_at, HANDSHAKE_TIMEOUT));
	tcp_conn_start(conn, &client_events, f);
	tcp_conn_read_start(conn);
}

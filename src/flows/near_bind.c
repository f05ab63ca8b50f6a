/* SPDX-License-Identifier: MIT */

/*
 * near_bind - SOCKS5's BIND: the far side listens for one connection.
 *
 * Two answers come, and each becomes a reply: where it listens, and who has connected. In between
 * the client is read, so that its end is noticed; what it sends then is stream data.
 */
#include "flows/bridge.h"

#include "net/clock.h"

/* The far side's two minutes end first, and its answer comes. */
#define BOUND_TIMEOUT CV_SEC(125)

static bool is_unspecified(const struct addr *a)
{
	for (unsigned i = 0; i < sizeof(a->ip); i++) {
		if (a->ip[i])
			return false;
	}
	return true;
}

void near_bind(struct flow *f)
{
	struct near *n = f->near;

	if (n->to.kind == HOST_SERVICE) {
		near_refuse(f, TARGET_ADDRESS_UNSUPPORTED);
		return;
	}
	/* RFC 1928 knows no word for "anybody"; clients say 0.0.0.0. */
	if (n->to.kind == HOST_ADDR && is_unspecified(&n->to.addr))
		n->to = (struct hostport){ .kind = HOST_NONE };
	n->request_kind = TARGET_KIND_BIND;
	near_open(f, clock_now());
}

static uint8_t *on_alloc(void *ctx, size_t *size)
{
	struct flow *f = ctx;

	*size = SIZE_MAX;
	return f->stream ? stream_reserve(f->streams, f->stream, size) : NULL;
}

static void on_read(void *ctx, size_t size)
{
	struct flow *f = ctx;

	stream_commit(f->streams, f->stream, size);
	if (size > 0)
		flow_kick(f);
}

/* It waits for its second reply no more. */
static void on_eof(void *ctx)
{
	flow_abandon(ctx, TARGET_ABORTED, false);
}

static void on_error(void *ctx, int error)
{
	(void)error;
	flow_abandon(ctx, TARGET_ABORTED, true);
}

static void on_writable(void *ctx)
{
	(void)ctx; /* replies are whole or the client is dropped */
}

static const struct tcp_conn_events events = {
	.alloc = on_alloc,
	.on_read = on_read,
	.on_eof = on_eof,
	.on_error = on_error,
	.on_writable = on_writable,
	.on_closed = flow_on_closed,
};

void near_bind_wait(struct flow *f, cv_time now)
{
	f->near->is_bound = true;
	f->near->is_eager = true;
	f->near->bound_until = cv_time_after(now, BOUND_TIMEOUT);
	flow_set_deadline(f, f->near->bound_until);
	tcp_conn_start(f->conn, &events, f);
	tcp_conn_read_start(f->conn);
}

/* SPDX-License-Identifier: MIT */

/*
 * near - a client of ours until the far side has answered: a forward's fixed target or nc's, the
 * open with the client's first bytes in it, the true reply. What a proxy's client says and is
 * told is near_proxy's.
 */
#include "flows/bridge.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "flows/associate.h"
#include "flows/once.h"
#include "net/clock.h"

/* A peer that is not connected is reported within 10 s, a target's fault within 12 s. */
#define PEER_TIMEOUT CV_MS(9500)
#define ANSWER_TIMEOUT CV_MS(11800)
/* A direct path that did not come for that long is known to be missing: who asks then hears so
 * within a second, in which it is looked for once more. */
#define HELD_KNOWN CV_SEC(10)
#define HELD_TIMEOUT CV_MS(700)

enum { CAUSE_MAX = ENDPOINT_WHY_MAX + 64 };

void near_free(struct flow *f)
{
	if (f->near && f->kind == FLOW_PROXY)
		near_proxy_forget(f);
	cv_free(f->near);
	f->near = NULL;
}

/* Replies are far smaller than a socket's buffer: what does not fit at once has no reader. */
bool near_say(struct flow *f, const void *bytes, size_t size)
{
	struct iovec piece = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = size };
	size_t taken;

	return tcp_conn_writev(f->conn, &piece, 1, &taken) == 0 && taken == size;
}

/* In words; of a peer that cannot be reached, why. */
static const char *cause_of(const struct flow *f, enum target_code code, char out[CAUSE_MAX])
{
	struct endpoint_peer_stats stats;

	if (code != TARGET_PEER_DOWN)
		return target_code_text(code);
	endpoint_peer_stats(f->b->endpoint, clock_now(), f->peer, &stats);
	/* Held back by `path: direct` it is connected, and the reason says all. */
	if (stats.state == PEER_CONNECTED && stats.why[0])
		(void)snprintf(out, CAUSE_MAX, "%s", stats.why);
	else
		(void)snprintf(out, CAUSE_MAX, "%s%s%s", target_code_text(code),
		               stats.why[0] ? ": " : "", stats.why);
	return out;
}

void near_refuse(struct flow *f, enum target_code code)
{
	char cause_text[CAUSE_MAX];
	const char *cause = cause_of(f, code, cause_text);
	char text[HOSTPORT_TEXT_MAX];

	log_info("refused peer=%s target=%s cause=\"%s\"",
	         f->peer == ROUTE_NO_PEER ? "-" : flow_peer_name(f),
	         f->near->has_listener ? "remote_forward" : hostport_format(&f->near->to, text),
	         cause);
	if (f->kind == FLOW_PROXY) {
		near_proxy_refuse(f, code, cause);
		return;
	}
	if (f->kind == FLOW_NC) {
		char line[BRIDGE_NC_LINE_MAX];
		size_t size = f->b->write_nc_line(line, target_code_exit(code), cause);

		(void)near_say(f, line, size);
		flow_abandon(f, TARGET_ABORTED, false);
		return;
	}
	flow_abandon(f, TARGET_ABORTED, true);
}

/* The route is known: opens the stream, with the header and what the client sent ahead in its first
 * frame. */
void near_open(struct flow *f, cv_time now)
{
	struct bridge *b = f->b;
	struct target_request request = {
		.kind = f->near->request_kind ? f->near->request_kind : TARGET_KIND_TCP,
		.to = f->near->to,
		.listener = f->near->listener,
		.has_listener = f->near->has_listener,
	};
	uint8_t head[TARGET_REQUEST_MAX];
	struct wr w = wr_init(head, sizeof(head));
	enum peer_state state = endpoint_peer_state(b->endpoint, f->peer);

	f->state = FLOW_WAITING;
	f->began_at = now;
	endpoint_want_peer(b->endpoint, now, f->peer);
	if (state == PEER_DOWN) {
		flow_kick(f);
		near_refuse(f, TARGET_PEER_DOWN);
		return;
	}
	f->streams = endpoint_streams(b->endpoint, f->peer);
	if (streams_open(f->streams, &f->stream) < 0) {
		f->stream = NULL;
		near_refuse(f, TARGET_LIMIT);
		return;
	}
	stream_set_tag(f->stream, (uint64_t)(uintptr_t)f);
	if (request.to.kind == HOST_ADDR) {
		request.to.addr = addr_canonical(&request.to.addr);
	}
	target_write_request(&w, &request);
	CV_ASSERT(!w.bad);
	/* A flow of one HTTP request has its early bytes there, and may have more than fit. */
	CV_ASSERT(!f->once || f->near->early_size == 0);
	if (stream_write(f->streams, f->stream, head, wr_size(&w)) != wr_size(&w) ||
	    stream_write(f->streams, f->stream, f->near->in, f->near->early_size) !=
	            f->near->early_size) {
		near_refuse(f, TARGET_LIMIT);
		return;
	}
	f->near->early_size = 0;
	if (f->once)
		(void)once_push(f);
	flow_set_deadline(f, cv_time_after(now, PEER_TIMEOUT));
	flow_kick(f);
}

static void on_error(void *ctx, int error)
{
	struct flow *f = ctx;

	(void)error;
	flow_abandon(f, TARGET_ABORTED, true);
}

static void on_writable(void *ctx)
{
	(void)ctx; /* replies are whole or the client is dropped */
}

struct flow *near_new(struct bridge *b, enum flow_kind kind, struct tcp_conn *conn)
{
	struct flow *f = flow_new(b, kind, FLOW_HANDSHAKE);

	if (f) {
		f->peer = ROUTE_NO_PEER;
		f->near = cv_zalloc(sizeof(*f->near));
		if (!f->near) {
			flow_abandon(f, TARGET_LIMIT, true);
			f = NULL;
		}
	}
	if (!f)
		return NULL;
	f->near->flow = f;
	list_init(&f->near->asking);
	f->conn = conn;
	return f;
}

/* ---- bytes run at once, within what an unaccepted stream may hold: a forward's, nc's, and a
 * proxy's client that was told of success in advance or waits for BIND's second reply ---- */

static uint8_t *eager_alloc(void *ctx, size_t *size)
{
	struct flow *f = ctx;

	*size = SIZE_MAX;
	return f->stream ? stream_reserve(f->streams, f->stream, size) : NULL;
}

static void eager_read(void *ctx, size_t size)
{
	struct flow *f = ctx;

	stream_commit(f->streams, f->stream, size);
	if (size > 0)
		flow_kick(f);
}

/* The client has said all: that travels too, and is told to the pump when there is one. One of BIND
 * waits for its second reply no more. */
static void eager_eof(void *ctx)
{
	struct flow *f = ctx;

	stream_commit(f->streams, f->stream, 0);
	if (f->near->is_bound) {
		flow_abandon(f, TARGET_ABORTED, false);
		return;
	}
	f->had_local_eof = true;
	stream_finish(f->streams, f->stream);
	flow_kick(f);
}

static const struct tcp_conn_events eager_events = {
	.alloc = eager_alloc,
	.on_read = eager_read,
	.on_eof = eager_eof,
	.on_error = on_error,
	.on_writable = on_writable,
	.on_closed = flow_on_closed,
};

void near_go_eager(struct flow *f)
{
	CV_ASSERT(f->state == FLOW_WAITING);
	f->near->is_eager = true;
	tcp_conn_start(f->conn, &eager_events, f);
	tcp_conn_read_start(f->conn);
}

/* Peer and target are known from the beginning. */
static void open_eager(struct flow *f)
{
	tcp_conn_start(f->conn, &eager_events, f);
	near_open(f, f->began_at);
	if (f->state == FLOW_WAITING)
		near_go_eager(f);
}

void near_accept_forward(struct bridge *b, uint32_t peer, const struct hostport *to,
                         struct tcp_conn *conn)
{
	struct flow *f = near_new(b, FLOW_FORWARD, conn);

	if (!f) {
		tcp_conn_reset(conn);
		return;
	}
	f->peer = peer;
	f->near->to = *to;
	open_eager(f);
}

void near_accept_remote(const struct flow *listener, struct tcp_conn *conn)
{
	struct bridge *b = listener->b;
	struct flow *f = NULL;

	/* Its number means something to the session that asked, and to no other. */
	if (listener->streams == endpoint_streams(b->endpoint, listener->peer))
		f = near_new(b, FLOW_FORWARD, conn);
	if (!f) {
		tcp_conn_reset(conn);
		return;
	}
	f->peer = listener->peer;
	f->near->listener = stream_id(listener->stream);
	f->near->has_listener = true;
	open_eager(f);
}

int near_accept_nc(struct bridge *b, const char *peer, const char *target, struct tcp_conn *conn,
                   const uint8_t *early, size_t early_size, const char **why)
{
	struct hostport to;
	uint32_t number;
	struct flow *f;

	number = tables_find_peer(&b->tables, peer);
	if (number == ROUTE_NO_PEER) {
		*why = "no such peer is configured";
		return -ENOENT;
	}
	if (hostport_parse(target, 0, &to, why) < 0)
		return -EINVAL;
	f = early_size <= sizeof(f->near->in) ? near_new(b, FLOW_NC, conn) : NULL;
	if (!f) {
		*why = "the agent is at its limit of connections";
		return -EMFILE;
	}
	f->peer = number;
	f->near->to = to;
	f->near->early_size = early_size;
	memcpy(f->near->in, early, early_size);
	tcp_conn_expect_end(conn);
	open_eager(f);
	return 0;
}

/* ---- the far side's answer ---- */

static bool tell_client(struct flow *f, const struct addr *bound)
{
	char line[BRIDGE_NC_LINE_MAX];

	if (f->kind == FLOW_PROXY)
		return near_proxy_accept(f, bound);
	if (f->kind == FLOW_NC)
		return near_say(f, line, f->b->write_nc_line(line, 0, NULL));
	return true;
}

/* False: it has not come whole, or the flow has ended or runs. */
static bool take_answer(struct flow *f, cv_time now)
{
	uint8_t bytes[TARGET_STATUS_MAX];
	size_t size = flow_peek(f, bytes, sizeof(bytes));
	struct addr bound;
	struct rd in = rd_init(bytes, size);

	switch (target_read_status(&in, &bound)) {
	case TARGET_READ_NEED_MORE:
		if (stream_is_at_end(f->stream))
			near_refuse(f, TARGET_INTERNAL);
		return false;
	case TARGET_READ_UNSUPPORTED:
	case TARGET_READ_MALFORMED:
		near_refuse(f, TARGET_INTERNAL);
		return false;
	case TARGET_READ_DONE:
		break;
	}
	stream_consume(f->streams, f->stream, now, (size_t)(in.pos - bytes));
	if (f->near->request_kind == TARGET_KIND_UDP) {
		associate_start(f, now);
		return false;
	}
	if (!tell_client(f, &bound)) {
		flow_abandon(f, TARGET_ABORTED, true);
		return false;
	}
	if (f->near->request_kind == TARGET_KIND_BIND && !f->near->is_bound) {
		near_bind_wait(f, now);
		return true;
	}
	flow_start(f, now);
	return false;
}

static void on_answer(struct flow *f, cv_time now)
{
	/* BIND has two, which may come at once. */
	while (take_answer(f, now))
		;
}

void near_on_stream(struct flow *f, cv_time now, const struct endpoint_event *ev, bool is_lost)
{
	switch (ev->stream.kind) {
	case STREAM_EVENT_READABLE:
		on_answer(f, now);
		return;
	case STREAM_EVENT_WRITABLE:
		if (f->once)
			(void)once_push(f);
		else if (f->near->is_eager && !f->had_local_eof)
			tcp_conn_read_start(f->conn);
		return;
	case STREAM_EVENT_RESET:
	case STREAM_EVENT_STOPPED:
		near_refuse(f, is_lost ? TARGET_PEER_DOWN : target_code_from_wire(ev->stream.code));
		return;
	case STREAM_EVENT_ACKED:
		f->had_acked = true;
		return;
	case STREAM_EVENT_OPENED:
	case STREAM_EVENT_OPENABLE:
		return;
	}
	CV_UNREACHABLE();
}

/* Only a relay is there, and `path: direct` holds the stream back. False: it may still come. */
static bool refuse_held(struct flow *f, cv_time now)
{
	cv_duration waited = cv_time_since(now, f->began_at), since;

	if (!endpoint_peer_is_held(f->b->endpoint, now, f->peer, &since))
		return false;
	if (waited < (since >= HELD_KNOWN ? HELD_TIMEOUT : PEER_TIMEOUT))
		return false;
	near_refuse(f, TARGET_PEER_DOWN);
	return true;
}

void near_on_deadline(struct flow *f, cv_time now)
{
	if (f->state == FLOW_HANDSHAKE) {
		near_proxy_on_timeout(f);
		return;
	}
	if (endpoint_peer_state(f->b->endpoint, f->peer) != PEER_CONNECTED) {
		near_refuse(f, TARGET_PEER_DOWN);
		return;
	}
	if (f->near->is_bound) {
		if (now >= f->near->bound_until)
			near_refuse(f, TARGET_TIMEOUT);
		return;
	}
	if (refuse_held(f, now) || now < cv_time_after(f->began_at, PEER_TIMEOUT))
		return;
	if (now >= cv_time_after(f->began_at, ANSWER_TIMEOUT)) {
		near_refuse(f, TARGET_TIMEOUT);
		return;
	}
	flow_set_deadline(f, cv_time_after(f->began_at, ANSWER_TIMEOUT));
}

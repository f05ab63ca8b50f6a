/* SPDX-License-Identifier: MIT */

/*
 * flow - bytes between a connection and a stream, once both exist.
 *
 * Up: libuv says readable, the connection reads straight into the stream's own buffer; when the
 * stream has no room the connection is not read, until STREAM_EVENT_WRITABLE. Down: in-order pieces
 * of the stream go out with one writev; what the kernel does not take stays in the stream, so the
 * peer's window closes.
 *
 * A reset stands behind what was said before it: a server that refuses a long request answers,
 * closes with the request unread, and so resets, and its client reads the answer all the same. The
 * stream's RESET overtakes data, so it waits until these are acknowledged; for a while.
 */
#include "flows/bridge.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "flows/associate.h"
#include "flows/far_listen.h"
#include "flows/once.h"
#include "flows/remote.h"
#include "net/clock.h"

/* How long a refused client may take to read why. */
#define REFUSAL_TIMEOUT CV_SEC(1)
/* How long a reset waits for what stands before it, and how often it is looked at. */
#define BREAK_TIMEOUT CV_SEC(2)
#define BREAK_INTERVAL CV_MS(10)

const char *flow_peer_name(const struct flow *f)
{
	return f->b->peers[f->peer].name;
}

enum dial_resolve_error flow_resolve_error(enum resolver_verdict verdict)
{
	switch (verdict) {
	case RESOLVER_NOT_FOUND:
		return DIAL_RESOLVE_NOT_FOUND;
	case RESOLVER_NO_ANSWER:
		return DIAL_RESOLVE_TIMEOUT;
	case RESOLVER_LIMIT:
		return DIAL_RESOLVE_LIMIT;
	case RESOLVER_OK:
		break;
	}
	CV_UNREACHABLE();
}

struct flow *flow_new(struct bridge *b, enum flow_kind kind, enum flow_state state)
{
	struct flow *f;

	if (b->flow_count >= b->flows_max ||
	    heap_reserve(&b->deadlines, (size_t)b->flow_count + 1) < 0)
		return NULL;
	f = cv_zalloc(sizeof(*f));
	if (!f)
		return NULL;
	f->b = b;
	f->kind = (uint8_t)kind;
	f->state = (uint8_t)state;
	f->began_at = clock_now();
	heap_node_init(&f->deadline);
	list_init(&f->node);
	list_add_tail(&b->flows, &f->node);
	b->flow_count++;
	return f;
}

static void flow_free(struct flow *f)
{
	near_free(f);
	far_free(f);
	far_listen_free(f);
	remote_forget(f);
	once_free(f);
	associate_free(f);
	heap_remove(&f->b->deadlines, &f->deadline);
	list_remove(&f->node);
	f->b->flow_count--;
	cv_free(f);
}

void flow_on_closed(void *ctx)
{
	struct flow *f = ctx;

	f->conn = NULL;
	flow_free(f);
}

size_t flow_peek(const struct flow *f, uint8_t *out, size_t cap)
{
	struct stream_vec vec[4];
	unsigned count = stream_peek(f->stream, vec, CV_ARRAY_SIZE(vec));
	size_t size = 0;

	for (unsigned i = 0; i < count && size < cap; i++) {
		size_t n = CV_MIN(vec[i].size, cap - size);

		memcpy(out + size, vec[i].bytes, n);
		size += n;
	}
	return size;
}

void flow_kick(struct flow *f)
{
	endpoint_touch(f->b->endpoint, f->peer);
	if (f->b->port)
		udp_port_kick(f->b->port);
}

/* The stream goes; what is unfinished of it is reset with @code. */
static void let_stream_go(struct flow *f, enum target_code code)
{
	if (!f->stream)
		return;
	stream_set_tag(f->stream, 0);
	stream_release(f->streams, f->stream, (uint16_t)code);
	f->stream = NULL;
	flow_kick(f);
}

void flow_abandon(struct flow *f, enum target_code code, bool resets)
{
	CV_ASSERT(f->state != FLOW_CLOSING);
	f->state = FLOW_CLOSING;
	let_stream_go(f, code);
	flow_set_deadline(f, CV_TIME_NEVER);
	near_free(f);
	far_free(f);
	far_listen_free(f);
	remote_forget(f);
	associate_free(f);
	if (!f->conn)
		flow_free(f);
	else if (resets)
		tcp_conn_reset(f->conn);
	else
		tcp_conn_close(f->conn);
}

static uint8_t *linger_alloc(void *ctx, size_t *size)
{
	static uint8_t nobody_reads_it[4096];

	(void)ctx;
	*size = sizeof(nobody_reads_it);
	return nobody_reads_it;
}

static void linger_read(void *ctx, size_t size)
{
	(void)ctx;
	(void)size;
}

static void linger_eof(void *ctx)
{
	flow_abandon(ctx, TARGET_ABORTED, false);
}

static void linger_error(void *ctx, int error)
{
	(void)error;
	flow_abandon(ctx, TARGET_ABORTED, true);
}

static void linger_writable(void *ctx)
{
	(void)ctx;
}

static const struct tcp_conn_events linger_events = {
	.alloc = linger_alloc,
	.on_read = linger_read,
	.on_eof = linger_eof,
	.on_error = linger_error,
	.on_writable = linger_writable,
	.on_closed = flow_on_closed,
};

void flow_linger(struct flow *f)
{
	CV_ASSERT(f->conn);
	CV_ASSERT(f->state != FLOW_CLOSING);
	f->state = FLOW_LINGERING;
	let_stream_go(f, TARGET_ABORTED);
	near_free(f);
	far_free(f);
	associate_free(f);
	flow_set_deadline(f, cv_time_after(clock_now(), REFUSAL_TIMEOUT));
	tcp_conn_shutdown(f->conn);
	tcp_conn_start(f->conn, &linger_events, f);
	tcp_conn_read_start(f->conn);
}

static void act(struct flow *f, unsigned actions)
{
	uint16_t code = (uint16_t)f->pump.code;

	if (actions == 0)
		return;
	if (actions & PUMP_STREAM_FIN)
		stream_finish(f->streams, f->stream);
	if (actions & PUMP_STREAM_RESET)
		stream_reset(f->streams, f->stream, code);
	if (actions & PUMP_STREAM_STOP)
		stream_stop(f->streams, f->stream, code);
	if (actions & PUMP_LOCAL_SHUTDOWN_WR)
		tcp_conn_shutdown(f->conn);
	flow_kick(f);
	if (actions & PUMP_DONE) {
		f->state = FLOW_CLOSING;
		flow_set_deadline(f, CV_TIME_NEVER);
		let_stream_go(f, f->pump.code);
	}
	if ((actions & PUMP_LOCAL_RST) && f->kind == FLOW_NC)
		tcp_conn_tell_reset(f->conn);
	if (actions & PUMP_LOCAL_RST)
		tcp_conn_reset(f->conn);
	else if (actions & PUMP_LOCAL_CLOSE)
		tcp_conn_close(f->conn);
}

static uint8_t *on_alloc(void *ctx, size_t *size)
{
	struct flow *f = ctx;

	if (f->once)
		return once_alloc(f, size);
	*size = SIZE_MAX;
	return stream_reserve(f->streams, f->stream, size);
}

static void read_once(struct flow *f, size_t size)
{
	if (once_read(f, size))
		return;
	log_info("stream reset peer=%s cause=\"the chunks of an HTTP client's body are malformed\"",
	         flow_peer_name(f));
	act(f, pump_on_local_error(&f->pump, TARGET_MALFORMED));
}

static void on_read(void *ctx, size_t size)
{
	struct flow *f = ctx;

	if (f->once) {
		read_once(f, size);
		return;
	}
	stream_commit(f->streams, f->stream, size);
	if (size > 0)
		flow_kick(f);
}

void flow_local_eof(struct flow *f)
{
	act(f, pump_on_local_eof(&f->pump));
}

void flow_overrun(struct flow *f)
{
	act(f, pump_on_local_error(&f->pump, TARGET_LIMIT));
}

void flow_on_deadline(struct flow *f, cv_time now)
{
	CV_ASSERT(f->is_broken);
	if ((f->is_read_out && stream_is_delivered(f->stream)) ||
	    cv_time_since(now, f->began_at) >= BREAK_TIMEOUT)
		act(f, pump_on_local_error(&f->pump, TARGET_ABORTED));
	else
		flow_set_deadline(f, cv_time_after(now, BREAK_INTERVAL));
}

/* Nothing can be written any more: whatever it was, the other end sees a reset. */
static void break_off(struct flow *f)
{
	if (!f->is_broken)
		f->began_at = clock_now();
	f->is_broken = true;
	flow_on_deadline(f, clock_now());
}

static void on_eof(void *ctx)
{
	struct flow *f = ctx;

	stream_commit(f->streams, f->stream, 0); /* nothing was read into what on_alloc() lent */
	f->is_read_out = true;
	/* After a reset the kernel reports an end, too. */
	if (!f->is_broken || f->had_fin)
		flow_local_eof(f);
	if (f->is_broken && f->state == FLOW_PUMPING)
		break_off(f);
}

static void on_error(void *ctx, int error)
{
	struct flow *f = ctx;

	(void)error;
	stream_commit(f->streams, f->stream, 0);
	f->is_read_out = true;
	break_off(f);
}

/* The error of a write is told only once. EPIPE: the reset found the connection closed by the other
 * side already, whose end is still to be read. */
static void on_write_error(struct flow *f, int error)
{
	f->had_fin = error == -EPIPE;
	if (f->pump.up != PUMP_OPEN)
		f->is_read_out = true;
	else
		tcp_conn_read_start(f->conn);
	break_off(f);
}

/* Writes what the stream has and the kernel takes. */
static void push_down(struct flow *f, cv_time now)
{
	struct stream_vec vec[TCP_CONN_PIECES_MAX];
	struct iovec pieces[TCP_CONN_PIECES_MAX];
	unsigned count;
	size_t taken, offered;
	int r;

	if (f->is_broken)
		return;
	while (pump_wants_stream(&f->pump) &&
	       (count = stream_peek(f->stream, vec, TCP_CONN_PIECES_MAX)) > 0) {
		offered = 0;
		for (unsigned i = 0; i < count; i++) {
			/* iovec has no const: the kernel only reads here. */
			pieces[i].iov_base = (void *)(uintptr_t)vec[i].bytes;
			pieces[i].iov_len = vec[i].size;
			offered += vec[i].size;
		}
		r = tcp_conn_writev(f->conn, pieces, count, &taken);
		if (r < 0) {
			on_write_error(f, r);
			return;
		}
		stream_consume(f->streams, f->stream, now, taken);
		flow_kick(f);
		if (taken < offered)
			return; /* on_writable comes */
	}
	if (f->state != FLOW_PUMPING || !f->stream)
		return;
	if (stream_is_at_end(f->stream) && !f->is_at_end) {
		f->is_at_end = true;
		act(f, pump_on_stream_fin(&f->pump));
		if (f->state == FLOW_PUMPING)
			act(f, pump_on_down_flushed(&f->pump));
		/* There is no second request: the end of the response is the end of the flow. */
		if (f->state == FLOW_PUMPING && f->once && once_is_sent(f))
			flow_local_eof(f);
	}
}

static void on_writable(void *ctx)
{
	struct flow *f = ctx;

	if (f->state == FLOW_PUMPING)
		push_down(f, clock_now());
}

static const struct tcp_conn_events pump_events = {
	.alloc = on_alloc,
	.on_read = on_read,
	.on_eof = on_eof,
	.on_error = on_error,
	.on_writable = on_writable,
	.on_closed = flow_on_closed,
};

void flow_start(struct flow *f, cv_time now)
{
	CV_ASSERT(f->conn && f->stream);
	near_free(f);
	far_free(f);
	far_listen_free(f);
	flow_set_deadline(f, CV_TIME_NEVER);
	f->state = FLOW_PUMPING;
	pump_init(&f->pump);
	if (f->once)
		(void)once_push(f); /* what is left waits for STREAM_EVENT_WRITABLE */
	tcp_conn_start(f->conn, &pump_events, f);
	tcp_conn_read_start(f->conn);
	if (f->had_local_eof)
		act(f, pump_on_local_eof(&f->pump));
	if (f->had_acked)
		act(f, pump_on_stream_acked(&f->pump));
	push_down(f, now);
}

void flow_on_stream(struct flow *f, cv_time now, const struct endpoint_event *ev, bool is_lost)
{
	enum target_code code = target_code_from_wire(ev->stream.code);

	switch (ev->stream.kind) {
	case STREAM_EVENT_READABLE:
		push_down(f, now);
		return;
	case STREAM_EVENT_WRITABLE:
		if (pump_wants_local(&f->pump) && (!f->once || once_push(f)))
			tcp_conn_read_start(f->conn);
		return;
	case STREAM_EVENT_RESET:
		act(f, is_lost ? pump_on_session_lost(&f->pump)
		               : pump_on_stream_reset(&f->pump, code));
		return;
	case STREAM_EVENT_STOPPED:
		act(f, pump_on_stream_stopped(&f->pump, code));
		return;
	case STREAM_EVENT_ACKED:
		act(f, pump_on_stream_acked(&f->pump));
		return;
	case STREAM_EVENT_OPENED:
	case STREAM_EVENT_OPENABLE:
		return;
	}
	CV_UNREACHABLE();
}

/* SPDX-License-Identifier: MIT */

/*
 * A connection, from accept to its end:
 *
 *	        line            all taken
 *	READING ----> ANSWERING --------> READING ...
 *	   |  \--------^   ^
 *	   |   ping        | control_ping_done(), or CONTROL_PING_TIMEOUT
 *	   +----> PINGING -+
 *	   |
 *	   +----> ENDING (as ANSWERING, and then) ----> CLOSING
 *	   +----> given to ops->nc: no longer ours
 *
 * Only READING reads, so a client that asks without reading its answers fills its own kernel
 * buffer and nothing of ours. A client that pipelines gets TURN_MAX answers and then waits for
 * the next turn of the loop (`wants_turn` and the idle handle): packets go first.
 */
#include "control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/list.h"
#include "base/log.h"
#include "command.h"
#include "control_socket.h"
#include "net/fds.h"
#include "request.h"
#include "status.h"

enum {
	TURN_MAX = 8,    /* requests of one connection per turn of the loop */
	ACCEPTS_MAX = 8, /* connections per turn */
	TICK_MS = 1000,  /* deadlines are looked at this often */
};

_Static_assert((int)CONTROL_LINE_MAX >= (int)REQUEST_LINE_MAX, "an error line fits");
_Static_assert((int)CONTROL_WHY_MAX >= (int)REQUEST_WHY_MAX, "a sentence fits");

enum conn_state { CONN_READING, CONN_PINGING, CONN_ANSWERING, CONN_ENDING, CONN_CLOSING };

struct conn {
	struct list link;
	struct control *control;
	struct tcp_conn *tcp;
	enum conn_state state;
	bool wants_turn;  /* requests may be in `bytes`; the idle handle runs */
	uint64_t since;   /* ms: state entered, or progress made */
	uint64_t ping_id; /* while PINGING */
	char *out;        /* malloc(): jansson's; the answer that is not yet taken */
	size_t out_size, out_at;
	size_t begin, end; /* bytes[begin..end): received, not yet used */
	size_t scanned;    /* no newline before it */
	uint8_t bytes[REQUEST_SIZE_MAX + 1];
};

struct control {
	uv_poll_t poll;
	uv_timer_t timer;
	uv_idle_t idle;
	unsigned handles_open; /* handles and conns that libuv has not finished closing */
	struct control_socket socket;
	struct tcp_set *set;
	struct list conns;
	uint32_t conn_count;
	uint64_t ping_id; /* of the latest */
	bool is_closing;
	bool is_accepting;
	struct log_gate stranger_gate;
	const struct control_ops *ops;
	void *ctx;
	void (*on_closed)(void *ctx);
	void *closed_ctx;
};

static uint64_t now_ms(const struct control *control)
{
	return uv_now(tcp_set_loop(control->set));
}

static void release(struct control *control)
{
	void (*on_closed)(void *ctx) = control->on_closed;
	void *ctx = control->closed_ctx;

	CV_ASSERT(control->handles_open > 0);
	if (--control->handles_open > 0)
		return;
	CV_ASSERT(control->is_closing);
	CV_ASSERT(list_is_empty(&control->conns));
	cv_free(control);
	if (on_closed)
		on_closed(ctx);
}

static void enter(struct conn *c, enum conn_state to)
{
	static const uint8_t edges[] = {
		[CONN_READING] = 1 << CONN_PINGING | 1 << CONN_ANSWERING | 1 << CONN_ENDING |
		                 1 << CONN_CLOSING,
		[CONN_PINGING] = 1 << CONN_READING | 1 << CONN_ANSWERING | 1 << CONN_ENDING |
		                 1 << CONN_CLOSING,
		[CONN_ANSWERING] = 1 << CONN_READING | 1 << CONN_CLOSING,
		[CONN_ENDING] = 1 << CONN_CLOSING,
		[CONN_CLOSING] = 0,
	};

	CV_ASSERT(edges[c->state] & 1 << to);
	c->state = to;
	c->since = now_ms(c->control);
	c->ping_id = 0;
}

static void on_idle(uv_idle_t *idle);

/* Lets the loop run before more of @c's requests are looked at. */
static void want_turn(struct conn *c)
{
	c->wants_turn = true;
	(void)uv_idle_start(&c->control->idle, on_idle); /* fails without a callback only */
}

static void drop_answer(struct conn *c)
{
	free(c->out);
	c->out = NULL;
	c->out_size = c->out_at = 0;
}

static void close_conn(struct conn *c)
{
	if (c->state == CONN_CLOSING)
		return;
	enter(c, CONN_CLOSING);
	drop_answer(c);
	tcp_conn_close(c->tcp);
}

/* Writes what the kernel takes; when that is all, the next request may come. */
static void flush(struct conn *c)
{
	struct iovec piece = { c->out + c->out_at, c->out_size - c->out_at };
	size_t taken;

	if (tcp_conn_writev(c->tcp, &piece, 1, &taken) < 0) {
		close_conn(c); /* the client went: nobody is left to be told */
		return;
	}
	c->out_at += taken;
	if (taken > 0)
		c->since = now_ms(c->control);
	if (c->out_at < c->out_size)
		return;
	drop_answer(c);
	if (c->state == CONN_ENDING)
		close_conn(c);
	else
		enter(c, CONN_READING);
}

/* Takes @line (malloc); NULL: memory ran out. */
static void answer(struct conn *c, char *line, size_t size, enum conn_state state)
{
	CV_ASSERT(!c->out);
	if (!line) {
		close_conn(c);
		return;
	}
	c->out = line;
	c->out_size = size;
	enter(c, state);
	flush(c);
}

/* Takes the reference. */
static void answer_json(struct conn *c, json_t *object)
{
	char *line = object ? json_dumps(object, JSON_COMPACT | STATUS_JSON_FLAGS) : NULL;
	size_t size = line ? strlen(line) + 1 : 0;

	json_decref(object);
	if (line)
		line[size - 1] = '\n'; /* the NUL is not sent: a line ends in a newline */
	answer(c, line, size, CONN_ANSWERING);
}

static void answer_error(struct conn *c, int exit_code, const char *error, enum conn_state state)
{
	char *line = malloc(REQUEST_LINE_MAX);
	size_t size = line ? request_write_error(line, exit_code, error) : 0;

	answer(c, line, size, state);
}

static void do_status(struct conn *c)
{
	const struct control_ops *ops = c->control->ops;
	json_t *status;

	if (!ops->status) {
		answer_error(c, EXIT_USAGE, "this process has no status", CONN_ANSWERING);
		return;
	}
	status = ops->status(c->control->ctx);
	answer_json(c, status ? json_pack("{s:b,s:o}", "ok", 1, "status", status) : NULL);
}

static void do_ping(struct conn *c, const struct request *request)
{
	struct control *control = c->control;
	const char *why = "the ping failed";
	uint64_t id = ++control->ping_id;
	int r;

	if (!control->ops->ping) {
		answer_error(c, EXIT_USAGE, "this process pings nobody", CONN_ANSWERING);
		return;
	}
	enter(c, CONN_PINGING);
	c->ping_id = id;
	r = control->ops->ping(control->ctx, request->peer, id, &why);
	if (r != 0)
		answer_error(c, r, why, CONN_ANSWERING);
}

/* True when the connection was given away; @c is gone then. */
static bool do_nc(struct conn *c, const struct request *request)
{
	struct control *control = c->control;
	const char *why = "the connection failed";
	int r = EXIT_REFUSED;

	if (!control->ops->nc) {
		r = EXIT_USAGE;
		why = "this process connects nobody";
	} else if (tcp_set_count(control->set) - control->conn_count >= CONTROL_NC_MAX) {
		why = "too many connections through the control socket";
	} else {
		tcp_conn_read_stop(c->tcp);
		r = control->ops->nc(control->ctx, request->peer, request->target, c->tcp,
		                     c->bytes + c->begin, c->end - c->begin, &why);
	}
	if (r != 0) {
		/* What follows the request is a stream's bytes, not requests: close. */
		answer_error(c, r, why, CONN_ENDING);
		return false;
	}
	list_remove(&c->link);
	control->conn_count--;
	cv_free(c);
	release(control);
	return true;
}

static void do_manage(struct conn *c, const struct request *request)
{
	const struct control_ops *ops = c->control->ops;

	if (!ops->manage)
		answer_error(c, EXIT_USAGE, "this process has no such command", CONN_ANSWERING);
	else
		answer_json(c, ops->manage(c->control->ctx, request));
}

/* True when @c is gone. */
static bool do_line(struct conn *c, const char *line, size_t size)
{
	char why[REQUEST_WHY_MAX];
	struct request request;

	if (request_parse(line, size, &request, why) < 0) {
		answer_error(c, EXIT_USAGE, why, CONN_ANSWERING);
		return false;
	}
	switch (request.verb) {
	case REQUEST_STATUS:
		do_status(c);
		return false;
	case REQUEST_PING:
		do_ping(c, &request);
		return false;
	case REQUEST_NC:
		return do_nc(c, &request);
	case REQUEST_RELOAD:
	case REQUEST_STOP:
	case REQUEST_FORWARD:
	case REQUEST_FORWARD_REMOVE:
	case REQUEST_FORWARDS:
		do_manage(c, &request);
		return false;
	}
	CV_UNREACHABLE();
}

/* The next whole line; false when there is none yet. */
static bool next_line(struct conn *c, const char **line, size_t *size)
{
	const uint8_t *newline = NULL;

	if (c->scanned < c->end)
		newline = memchr(c->bytes + c->scanned, '\n', c->end - c->scanned);
	if (!newline) {
		c->scanned = c->end;
		return false;
	}
	*line = (const char *)c->bytes + c->begin;
	*size = (size_t)(newline - c->bytes) - c->begin;
	c->begin += *size + 1;
	c->scanned = c->begin;
	return true;
}

/* Answers what was read, as long as the answers are taken. */
static void process(struct conn *c)
{
	const char *line;
	size_t size;

	for (int i = 0; c->state == CONN_READING; i++) {
		if (i == TURN_MAX) {
			want_turn(c);
			break;
		}
		if (next_line(c, &line, &size)) {
			if (do_line(c, line, size))
				return;
		} else if (c->end - c->begin > REQUEST_SIZE_MAX) {
			answer_error(c, EXIT_USAGE, "the request is longer than 64 KiB",
			             CONN_ENDING);
		} else {
			tcp_conn_read_start(c->tcp);
			return;
		}
	}
	if (c->state != CONN_CLOSING)
		tcp_conn_read_stop(c->tcp);
}

static void on_idle(uv_idle_t *idle)
{
	struct control *control = idle->data;
	struct list *pos, *tmp;
	struct conn *c;

	(void)uv_idle_stop(idle);
	list_for_each(pos, tmp, &control->conns)
	{
		c = list_entry(pos, struct conn, link);
		if (!c->wants_turn)
			continue;
		c->wants_turn = false;
		process(c);
	}
}

static uint8_t *on_alloc(void *ctx, size_t *size)
{
	struct conn *c = ctx;

	if (c->state != CONN_READING || c->wants_turn)
		return NULL;
	/* Only a part of one line is left here. */
	memmove(c->bytes, c->bytes + c->begin, c->end - c->begin);
	c->end -= c->begin;
	c->scanned -= c->begin;
	c->begin = 0;
	CV_ASSERT(c->end < sizeof(c->bytes));
	*size = sizeof(c->bytes) - c->end;
	return c->bytes + c->end;
}

static void on_read(void *ctx, size_t size)
{
	struct conn *c = ctx;

	c->end += size;
	CV_ASSERT(c->end <= sizeof(c->bytes));
	process(c);
}

/* Every whole line has been answered: reading stops before one that has not. */
static void on_eof(void *ctx)
{
	struct conn *c = ctx;

	if (c->state == CONN_READING && c->begin < c->end)
		answer_error(c, EXIT_USAGE, "the request does not end in a newline", CONN_ENDING);
	else
		close_conn(c);
}

static void on_error(void *ctx, int error)
{
	(void)error;
	close_conn(ctx);
}

static void on_writable(void *ctx)
{
	struct conn *c = ctx;

	if (c->state != CONN_ANSWERING && c->state != CONN_ENDING)
		return;
	flush(c);
	process(c);
}

static void on_conn_closed(void *ctx)
{
	struct conn *c = ctx;
	struct control *control = c->control;

	CV_ASSERT(c->state == CONN_CLOSING);
	CV_ASSERT(!c->out);
	list_remove(&c->link);
	control->conn_count--;
	cv_free(c);
	release(control);
}

static void admit(struct control *control, int fd)
{
	static const struct tcp_conn_events events = {
		.alloc = on_alloc,
		.on_read = on_read,
		.on_eof = on_eof,
		.on_error = on_error,
		.on_writable = on_writable,
		.on_closed = on_conn_closed,
	};
	char line[REQUEST_LINE_MAX];
	struct conn *c = NULL;
	size_t size;

	if (control->conn_count < CONTROL_CONNS_MAX)
		c = cv_zalloc(sizeof(*c));
	if (!c) {
		size = request_write_error(line, EXIT_FAILED,
		                           "too many connections to the control socket");
		(void)send(fd, line, size, MSG_NOSIGNAL | MSG_DONTWAIT); /* a courtesy */
		fds_close(&fd);
		return;
	}
	if (tcp_conn_new(control->set, fd, &c->tcp) < 0) {
		cv_free(c);
		return;
	}
	c->control = control;
	c->since = now_ms(control);
	list_init(&c->link);
	list_add_tail(&control->conns, &c->link);
	control->conn_count++;
	control->handles_open++;
	tcp_conn_start(c->tcp, &events, c);
	tcp_conn_read_start(c->tcp);
}

static void on_stranger(struct control *control)
{
	uint64_t suppressed;

	if (log_gate_pass(&control->stranger_gate, CV_MS(now_ms(control)), &suppressed))
		log_warn("another user's connection to the control socket was refused");
}

static void on_connection(uv_poll_t *poll, int status, int events)
{
	struct control *control = poll->data;
	int fd;

	(void)status; /* an error of the listening socket is found by accept() */
	(void)events;
	for (int i = 0; i < ACCEPTS_MAX; i++) {
		fd = control_socket_accept(&control->socket);
		if (fd >= 0) {
			admit(control, fd);
		} else if (fd == -EPERM) {
			on_stranger(control);
		} else if (fd == -EAGAIN) {
			break;
		} else if (fd != -ECONNABORTED && fd != -EINTR) {
			/* Out of descriptors: the timer tries again, instead of spinning here. */
			(void)uv_poll_stop(poll);
			control->is_accepting = false;
			return;
		}
	}
}

static int start_accepting(struct control *control)
{
	int r = uv_poll_start(&control->poll, UV_READABLE, on_connection);

	control->is_accepting = r == 0;
	return r;
}

static void check_deadline(struct conn *c, uint64_t now)
{
	const uint64_t spent = now - c->since;

	switch (c->state) {
	case CONN_READING:
	case CONN_ANSWERING:
	case CONN_ENDING:
		if (spent >= CONTROL_IDLE_TIMEOUT / CV_MS(1))
			close_conn(c);
		return;
	case CONN_PINGING:
		if (spent >= CONTROL_PING_TIMEOUT / CV_MS(1)) {
			answer_error(c, EXIT_UNREACHABLE, "no reply within 5 s", CONN_ANSWERING);
			want_turn(c);
		}
		return;
	case CONN_CLOSING:
		return;
	}
	CV_UNREACHABLE();
}

static void on_tick(uv_timer_t *timer)
{
	struct control *control = timer->data;
	uint64_t now = now_ms(control);
	struct list *pos, *tmp;

	list_for_each(pos, tmp, &control->conns)
		check_deadline(list_entry(pos, struct conn, link), now);
	if (!control->is_accepting)
		(void)start_accepting(control); /* again at the next tick */
}

static void on_handle_closed(uv_handle_t *handle)
{
	release(handle->data);
}

static int open_handles(struct control *control, uv_loop_t *loop)
{
	int r = uv_poll_init(loop, &control->poll, control->socket.fd);

	if (r < 0)
		return r;
	/* These two cannot fail: nothing is left half open. */
	(void)uv_timer_init(loop, &control->timer);
	(void)uv_idle_init(loop, &control->idle);
	control->poll.data = control->timer.data = control->idle.data = control;
	control->handles_open = 3;
	(void)uv_timer_start(&control->timer, on_tick, TICK_MS, TICK_MS);
	(void)start_accepting(control); /* the timer tries again */
	return 0;
}

int control_open(uv_loop_t *loop, const char *path, const struct control_ops *ops, void *ctx,
                 struct control **out, char why[CONTROL_WHY_MAX])
{
	struct control *control = cv_zalloc(sizeof(*control));
	int r;

	if (!control) {
		(void)snprintf(why, CONTROL_WHY_MAX, "out of memory");
		return -ENOMEM;
	}
	list_init(&control->conns);
	control->ops = ops;
	control->ctx = ctx;
	r = control_socket_open(&control->socket, path, why, CONTROL_WHY_MAX);
	if (r < 0) {
		cv_free(control);
		return r;
	}
	r = tcp_set_open(loop, CONTROL_CONNS_MAX + CONTROL_NC_MAX, &control->set);
	if (r == 0)
		r = open_handles(control, loop);
	if (r < 0) {
		(void)snprintf(why, CONTROL_WHY_MAX, "cannot open the control socket %.200s: %s",
		               path, uv_strerror(r));
		if (control->set)
			tcp_set_close(control->set);
		control_socket_close(&control->socket);
		cv_free(control);
		return r;
	}
	*out = control;
	return 0;
}

static struct conn *find_ping(struct control *control, uint64_t id)
{
	struct list *pos, *tmp;
	struct conn *c;

	list_for_each(pos, tmp, &control->conns)
	{
		c = list_entry(pos, struct conn, link);
		if (c->state == CONN_PINGING && c->ping_id == id)
			return c;
	}
	return NULL;
}

void control_ping_done(struct control *control, uint64_t id, cv_duration rtt, const char *path_kind,
                       const char *address)
{
	struct conn *c = find_ping(control, id);

	if (!c)
		return;
	answer_json(c, json_pack("{s:b,s:f,s:{s:s,s:s?}}", "ok", 1, "rtt_ms", status_ms(rtt),
	                         "path", "kind", path_kind, "address", address));
	want_turn(c);
}

void control_ping_failed(struct control *control, uint64_t id, int exit_code, const char *error)
{
	struct conn *c = find_ping(control, id);

	if (!c)
		return;
	answer_error(c, exit_code, error, CONN_ANSWERING);
	want_turn(c);
}

size_t control_nc_line(char line[CONTROL_LINE_MAX], int exit_code, const char *error)
{
	static const char accepted[] = "{\"ok\":true}\n";

	if (exit_code != 0)
		return request_write_error(line, exit_code, error);
	memcpy(line, accepted, sizeof(accepted) - 1);
	return sizeof(accepted) - 1;
}

void control_close(struct control *control, void (*on_closed)(void *ctx), void *ctx)
{
	struct list *pos, *tmp;

	CV_ASSERT(!control->is_closing);
	control->is_closing = true;
	control->on_closed = on_closed;
	control->closed_ctx = ctx;
	list_for_each(pos, tmp, &control->conns) close_conn(list_entry(pos, struct conn, link));
	tcp_set_close(control->set);
	uv_close((uv_handle_t *)&control->poll, on_handle_closed);
	uv_close((uv_handle_t *)&control->timer, on_handle_closed);
	uv_close((uv_handle_t *)&control->idle, on_handle_closed);
	control_socket_close(&control->socket);
}

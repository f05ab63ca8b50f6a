/* SPDX-License-Identifier: MIT */

/*
 * Goal: the control socket answers every line once, in order, whatever is sent; it is ours
 * alone; and nobody who reads slowly, asks much or goes away costs more than his connection.
 * Method: a real loop and a real socket in a directory of its own, with raw clients of the same
 * thread; the loop is turned until the awaited bytes are there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/alloc.h"
#include "control.h"
#include "request.h"

enum {
	ROUNDS_MAX = 200000, /* turns of the loop until a test gives up */
	BIG = 256 * 1024,    /* bytes of a status no kernel buffer holds many of */
	PIPELINED = 10000,
};

struct fixture {
	uv_loop_t loop;
	struct control *control;
	char directory[64];
	char path[96];
	int asked;            /* status requests so far */
	size_t padding;       /* of a status */
	bool answers_at_once; /* pings */
	uint64_t ping_id;     /* of the latest one */
	struct tcp_conn *nc;
	char early[64], target[64];
	size_t early_size;
	bool is_closed;
};

static char padding[BIG + 1];

static json_t *op_status(void *ctx)
{
	struct fixture *f = ctx;

	return json_pack("{s:i,s:s%}", "n", f->asked++, "pad", padding, f->padding);
}

static int op_ping(void *ctx, const char *peer, uint64_t id, const char **why)
{
	struct fixture *f = ctx;

	if (strcmp(peer, "home") != 0) {
		*why = "unknown peer \"x\"";
		return 2;
	}
	f->ping_id = id;
	if (f->answers_at_once)
		control_ping_done(f->control, id, CV_US(21400), "direct", "192.0.2.1:9");
	return 0;
}

static uint8_t *nc_alloc(void *ctx, size_t *size)
{
	(void)ctx;
	(void)size;
	return NULL;
}

static void nc_ignore(void *ctx)
{
	(void)ctx;
}

static void nc_ignore_size(void *ctx, size_t size)
{
	(void)ctx;
	(void)size;
}

static void nc_ignore_error(void *ctx, int error)
{
	(void)ctx;
	(void)error;
}

static int op_nc(void *ctx, const char *peer, const char *target, struct tcp_conn *conn,
                 const uint8_t *early, size_t early_size, const char **why)
{
	static const struct tcp_conn_events events = {
		.alloc = nc_alloc,
		.on_read = nc_ignore_size,
		.on_eof = nc_ignore,
		.on_error = nc_ignore_error,
		.on_writable = nc_ignore,
		.on_closed = nc_ignore,
	};
	struct fixture *f = ctx;

	if (strcmp(peer, "home") != 0) {
		*why = "not connected";
		return 3;
	}
	f->nc = conn;
	tcp_conn_start(conn, &events, f);
	assert_true(early_size <= sizeof(f->early));
	memcpy(f->early, early, early_size);
	f->early_size = early_size;
	(void)snprintf(f->target, sizeof(f->target), "%s", target);
	return 0;
}

static json_t *op_manage(void *ctx, const struct request *request)
{
	(void)ctx;
	return json_pack("{s:b,s:i,s:s,s:s,s:s,s:b}", "ok", 1, "verb", (int)request->verb, "peer",
	                 request->peer, "listen", request->listen, "target", request->target, "udp",
	                 (int)request->is_udp);
}

static const struct control_ops ops = { op_status, op_ping, op_nc, op_manage };

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char why[CONTROL_WHY_MAX] = "";

	assert_non_null(f);
	memset(padding, 'x', BIG);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	(void)snprintf(f->directory, sizeof(f->directory), "/tmp/culvert-control-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	(void)snprintf(f->path, sizeof(f->path), "%s/run/c.sock", f->directory);
	if (control_open(&f->loop, f->path, &ops, f, &f->control, why) < 0)
		fail_msg("%s", why);
	*state = f;
	return 0;
}

static void on_closed(void *ctx)
{
	((struct fixture *)ctx)->is_closed = true;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char path[128];
	struct stat st;

	control_close(f->control, on_closed, f);
	assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
	assert_true(f->is_closed);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	assert_int_equal(cv_alloc_live(), 0);
	assert_int_equal(lstat(f->path, &st), -1); /* removed */
	(void)snprintf(path, sizeof(path), "%s/run", f->directory);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(f->directory), 0);
	free(f);
	return 0;
}

static int dial_path(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_true(strlen(path) < sizeof(un.sun_path));
	memcpy(un.sun_path, path, strlen(path) + 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	return fd;
}

/* Sends @size bytes, turning the loop when the kernel's buffer is full. */
static void push(struct fixture *f, int fd, const char *bytes, size_t size)
{
	ssize_t n;

	for (int i = 0; size > 0; i++) {
		assert_true(i < ROUNDS_MAX);
		n = send(fd, bytes, size, MSG_NOSIGNAL);
		if (n > 0) {
			bytes += n;
			size -= (size_t)n;
			continue;
		}
		assert_int_equal(errno, EAGAIN);
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	}
}

/* Reads one line, without its newline; false at the end of file. */
static bool pull(struct fixture *f, int fd, char *line, size_t cap)
{
	size_t size = 0;
	ssize_t n;

	for (int rounds = 0; rounds < ROUNDS_MAX;) {
		n = recv(fd, line + size, 1, 0);
		if (n == 1) {
			assert_true(size + 1 < cap);
			if (line[size] == '\n') {
				line[size] = 0;
				return true;
			}
			size++;
		} else if (n == 0 || errno == ECONNRESET) {
			assert_int_equal(size, 0);
			return false;
		} else {
			assert_int_equal(errno, EAGAIN);
			(void)uv_run(&f->loop, UV_RUN_NOWAIT);
			rounds++;
		}
	}
	fail_msg("nothing came");
	return false;
}

static json_t *pull_json(struct fixture *f, int fd)
{
	static char line[BIG + 256];
	json_t *object;

	assert_true(pull(f, fd, line, sizeof(line)));
	object = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
	assert_true(json_is_object(object));
	return object;
}

static void expect_error(struct fixture *f, int fd, const char *part, int exit_code)
{
	json_t *object = pull_json(f, fd);
	const char *error = json_string_value(json_object_get(object, "error"));

	assert_true(json_is_false(json_object_get(object, "ok")));
	assert_non_null(error);
	if (!strstr(error, part))
		fail_msg("'%s' is not in '%s'", part, error);
	assert_int_equal(json_integer_value(json_object_get(object, "exit")), exit_code);
	json_decref(object);
}

static void expect_status(struct fixture *f, int fd, int n)
{
	json_t *object = pull_json(f, fd);

	assert_true(json_is_true(json_object_get(object, "ok")));
	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(object, "status"), "n")), n);
	json_decref(object);
}

static void push_text(struct fixture *f, int fd, const char *text)
{
	push(f, fd, text, strlen(text));
}

static const char status_line[] = "{\"command\":\"status\"}\n";

static void test_bad_requests(void **state)
{
	static const struct {
		const char *request, *part;
	} rows[] = {
		{ "", "not JSON" },
		{ " ", "not JSON" },
		{ "GET / HTTP/1.1\r", "not JSON" },
		{ "{\"command\":\"status\"", "not JSON" },
		{ "{\"command\":\"status\"} x", "not JSON" },
		{ "{\"command\":\"status\",\"command\":\"status\"}", "not JSON" },
		{ "\x01\x02\xff\xfe", "not JSON" },
		{ "{\"command\":\"st\xff\"}", "not JSON" },
		{ "{\"command\":\"\\u0000\"}", "not JSON" },
		{ "[]", "one JSON object" },
		{ "1", "one JSON object" },
		{ "null", "one JSON object" },
		{ "{}", "needs 'command'" },
		{ "{\"command\":1}", "needs 'command'" },
		{ "{\"command\":\"\"}", "unknown command ''" },
		{ "{\"command\":\"exec\"}", "unknown command 'exec'" },
		{ "{\"command\":\"a\\u001bb\"}", "unknown command 'a\\x1bb'" },
		{ "{\"command\":\"STATUS\"}", "unknown command" },
		{ "{\"command\":\"status\",\"file\":\"/x\"}", "has no 'file'" },
		{ "{\"command\":\"status\",\"peer\":\"home\"}", "has no 'peer'" },
		{ "{\"command\":\"ping\"}", "needs 'peer'" },
		{ "{\"command\":\"ping\",\"peer\":null}", "needs 'peer'" },
		{ "{\"command\":\"ping\",\"peer\":\"\"}", "not the name of a peer" },
		{ "{\"command\":\"ping\",\"peer\":\"../x\"}", "not the name of a peer" },
		{ "{\"command\":\"ping\",\"peer\":\"other\"}", "unknown peer \"x\"" },
		{ "{\"command\":\"nc\",\"peer\":\"home\"}", "needs 'target'" },
		{ "{\"command\":\"nc\",\"target\":\"1\"}", "needs 'peer'" },
		{ "{\"command\":\"nc\",\"peer\":\"home\",\"target\":\"x\"}", "not a target" },
		{ "{\"command\":\"nc\",\"peer\":\"home\",\"target\":\"x:99999\"}", "not a target" },
		{ "{\"command\":\"reload\",\"file\":\"/x\"}", "has no 'file'" },
		{ "{\"command\":\"forward-remove\"}", "needs 'listen'" },
		{ "{\"command\":\"forward-remove\",\"listen\":\"1\",\"protocol\":\"sctp\"}",
		  "tcp or udp" },
		{ "{\"command\":\"forward-remove\",\"listen\":\"1\",\"protocol\":1}",
		  "tcp or udp" },
		{ "{\"command\":\"forward\",\"peer\":\"home\",\"target\":\"1\"}",
		  "needs 'listen'" },
	};
	struct fixture *f = *state;
	int fd = dial_path(f->path);

	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		push_text(f, fd, rows[i].request);
		push_text(f, fd, "\n");
		expect_error(f, fd, rows[i].part, 2);
		/* The connection is as good as before. */
		push_text(f, fd, status_line);
		expect_status(f, fd, (int)i);
	}
	close(fd);
}

/* @size bytes: a status request with blanks before its newline. */
static void test_manage(void **state)
{
	static const struct {
		const char *line;
		enum request_verb verb;
		const char *peer, *listen, *target;
		bool is_udp;
	} table[] = {
		{ "{\"command\":\"reload\"}\n", REQUEST_RELOAD, "", "", "", false },
		{ "{\"command\":\"stop\"}\n", REQUEST_STOP, "", "", "", false },
		{ "{\"command\":\"forwards\"}\n", REQUEST_FORWARDS, "", "", "", false },
		{ "{\"command\":\"forward\",\"peer\":\"a\",\"target\":\"h:1\",\"listen\":\"*:2\"}"
		  "\n",
		  REQUEST_FORWARD, "a", "*:2", "h:1", false },
		{ "{\"command\":\"forward-remove\",\"listen\":\"2\",\"protocol\":\"udp\"}\n",
		  REQUEST_FORWARD_REMOVE, "", "2", "", true },
	};
	struct fixture *f = *state;
	int fd = dial_path(f->path);

	for (size_t i = 0; i < CV_ARRAY_SIZE(table); i++) {
		json_t *answer;

		push_text(f, fd, table[i].line);
		answer = pull_json(f, fd);
		assert_int_equal(json_integer_value(json_object_get(answer, "verb")),
		                 table[i].verb);
		assert_string_equal(json_string_value(json_object_get(answer, "peer")),
		                    table[i].peer);
		assert_string_equal(json_string_value(json_object_get(answer, "listen")),
		                    table[i].listen);
		assert_string_equal(json_string_value(json_object_get(answer, "target")),
		                    table[i].target);
		assert_int_equal(json_is_true(json_object_get(answer, "udp")), table[i].is_udp);
		json_decref(answer);
	}
	(void)close(fd);
}

static char *padded_request(size_t size)
{
	char *line = malloc(size + 1);

	assert_non_null(line);
	memset(line, ' ', size);
	memcpy(line, status_line, sizeof(status_line) - 2);
	line[size] = '\n';
	return line;
}

static void test_size_of_a_request(void **state)
{
	struct fixture *f = *state;
	char line[64];
	char *bytes;
	int fd;

	for (size_t size = REQUEST_SIZE_MAX - 1; size <= REQUEST_SIZE_MAX; size++) {
		fd = dial_path(f->path);
		bytes = padded_request(size);
		push(f, fd, bytes, size + 1);
		expect_status(f, fd, (int)(size + 1 - REQUEST_SIZE_MAX));
		free(bytes);
		close(fd);
	}
	fd = dial_path(f->path);
	bytes = padded_request(REQUEST_SIZE_MAX + 1);
	push(f, fd, bytes, REQUEST_SIZE_MAX + 1); /* without its newline */
	expect_error(f, fd, "longer than 64 KiB", 2);
	assert_false(pull(f, fd, line, sizeof(line)));
	free(bytes);
	close(fd);
}

static void test_end_of_file(void **state)
{
	struct fixture *f = *state;
	char line[64];
	int fd = dial_path(f->path);

	/* Within a line */
	push_text(f, fd, "{\"command\":");
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	expect_error(f, fd, "does not end in a newline", 2);
	assert_false(pull(f, fd, line, sizeof(line)));
	close(fd);
	/* After lines: they are answered first */
	fd = dial_path(f->path);
	push_text(f, fd, status_line);
	push_text(f, fd, status_line);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	expect_status(f, fd, 0);
	expect_status(f, fd, 1);
	assert_false(pull(f, fd, line, sizeof(line)));
	close(fd);
	/* At once, and gone without a look at the answer */
	close(dial_path(f->path));
	fd = dial_path(f->path);
	push_text(f, fd, status_line);
	close(fd);
	fd = dial_path(f->path);
	push_text(f, fd, "{\"command\"");
	close(fd);
	fd = dial_path(f->path);
	push_text(f, fd, status_line);
	expect_status(f, fd, 3);
	close(fd);
}

static void test_byte_by_byte(void **state)
{
	struct fixture *f = *state;
	int fd = dial_path(f->path);

	for (size_t i = 0; i < sizeof(status_line) - 1; i++) {
		push(f, fd, &status_line[i], 1);
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	}
	expect_status(f, fd, 0);
	close(fd);
}

static void test_pipelined(void **state)
{
	const size_t size = sizeof(status_line) - 1;
	char *bytes = malloc(PIPELINED * size);
	struct fixture *f = *state;
	int fd = dial_path(f->path);
	size_t sent = 0;
	ssize_t n;

	assert_non_null(bytes);
	for (size_t i = 0; i < PIPELINED; i++)
		memcpy(bytes + i * size, status_line, size);
	for (int i = 0; i < PIPELINED; i++) {
		if (sent < PIPELINED * size) {
			n = send(fd, bytes + sent, PIPELINED * size - sent, MSG_NOSIGNAL);
			sent += n > 0 ? (size_t)n : 0;
		}
		expect_status(f, fd, i);
	}
	assert_int_equal(sent, PIPELINED * size);
	free(bytes);
	close(fd);
}

static void test_slow_reader(void **state)
{
	enum { REQUESTS = 50 };
	struct fixture *f = *state;
	int slow = dial_path(f->path);
	int quick, asked;

	f->padding = BIG;
	for (int i = 0; i < REQUESTS; i++)
		push_text(f, slow, status_line);
	for (int i = 0; i < 1000; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	/* What the kernel took, and one answer of ours: no more was even built. */
	assert_in_range(f->asked, 1, 10);
	/* Others do not wait for him. */
	quick = dial_path(f->path);
	push_text(f, quick, status_line);
	asked = f->asked;
	expect_status(f, quick, asked);
	close(quick);
	for (int i = 0; i < asked; i++)
		expect_status(f, slow, i);
	expect_status(f, slow, asked + 1);
	close(slow);
}

static void test_ping(void **state)
{
	struct fixture *f = *state;
	static const char ping[] = "{\"command\":\"ping\",\"peer\":\"home\"}\n";
	int fd = dial_path(f->path);
	char line[256];

	/* Answered later; what was asked behind it waits its turn. */
	push_text(f, fd, ping);
	push_text(f, fd, status_line);
	for (int i = 0; i < 100; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	assert_int_not_equal(f->ping_id, 0);
	assert_int_equal(f->asked, 0);
	control_ping_done(f->control, f->ping_id + 1, 1, "direct", NULL); /* unknown: ignored */
	control_ping_done(f->control, f->ping_id, CV_US(21400), "relay", NULL);
	control_ping_done(f->control, f->ping_id, 1, "direct", NULL); /* twice: ignored */
	assert_true(pull(f, fd, line, sizeof(line)));
	assert_string_equal(line, "{\"ok\":true,\"rtt_ms\":21.4,\"path\":{\"kind\":\"relay\","
	                          "\"address\":null}}");
	expect_status(f, fd, 0);

	push_text(f, fd, ping);
	for (int i = 0; i < 100; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	control_ping_failed(f->control, f->ping_id, 3, "it is down");
	expect_error(f, fd, "it is down", 3);

	f->answers_at_once = true;
	push_text(f, fd, ping);
	assert_true(pull(f, fd, line, sizeof(line)));
	assert_non_null(strstr(line, "\"address\":\"192.0.2.1:9\""));
	close(fd);

	/* Its client went meanwhile. */
	f->answers_at_once = false;
	fd = dial_path(f->path);
	push_text(f, fd, ping);
	for (int i = 0; i < 100; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	close(fd);
	control_ping_done(f->control, f->ping_id, 1, "direct", NULL);
	for (int i = 0; i < 100; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
}

static void test_nc(void **state)
{
	struct fixture *f = *state;
	int fd = dial_path(f->path);
	char line[CONTROL_LINE_MAX];
	struct iovec piece;
	char ok[CONTROL_LINE_MAX];
	size_t taken;

	push_text(f, fd, "{\"command\":\"nc\",\"peer\":\"home\",\"target\":\"22\"}\nSSH-2.0");
	for (int i = 0; i < 100 && !f->nc; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	assert_non_null(f->nc);
	assert_string_equal(f->target, "22");
	assert_int_equal(f->early_size, 7);
	assert_memory_equal(f->early, "SSH-2.0", 7);
	piece.iov_len = control_nc_line(ok, 0, NULL);
	piece.iov_base = ok;
	assert_int_equal(tcp_conn_writev(f->nc, &piece, 1, &taken), 0);
	assert_int_equal(taken, piece.iov_len);
	assert_true(pull(f, fd, line, sizeof(line)));
	assert_string_equal(line, "{\"ok\":true}");
	tcp_conn_close(f->nc);
	assert_false(pull(f, fd, line, sizeof(line)));
	close(fd);

	/* Refused: an error, and the stream's bytes are not taken for requests. */
	fd = dial_path(f->path);
	push_text(f, fd, "{\"command\":\"nc\",\"peer\":\"away\",\"target\":\"22\"}\n");
	push_text(f, fd, status_line);
	expect_error(f, fd, "not connected", 3);
	assert_false(pull(f, fd, line, sizeof(line)));
	assert_int_equal(f->asked, 0);
	close(fd);
}

static void test_many_connections(void **state)
{
	struct fixture *f = *state;
	int fds[CONTROL_CONNS_MAX];
	char line[64];
	int fd;

	for (size_t i = 0; i < CONTROL_CONNS_MAX; i++) {
		fds[i] = dial_path(f->path);
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	}
	for (int i = 0; i < 10; i++) {
		fd = dial_path(f->path);
		expect_error(f, fd, "too many connections", 1);
		assert_false(pull(f, fd, line, sizeof(line)));
		close(fd);
	}
	push_text(f, fds[0], status_line);
	expect_status(f, fds[0], 0);
	for (size_t i = 0; i < CONTROL_CONNS_MAX; i++)
		close(fds[i]);
	for (int i = 0; i < 100; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	fd = dial_path(f->path);
	push_text(f, fd, status_line);
	expect_status(f, fd, 1);
	close(fd);
}

/* control_open() at @path fails with @code and a sentence that names the path. */
static void expect_refused(struct fixture *f, const char *path, int code, const char *part)
{
	char why[CONTROL_WHY_MAX] = "";
	struct control *other = NULL;

	assert_int_equal(control_open(&f->loop, path, &ops, f, &other, why), code);
	assert_non_null(strstr(why, part));
	assert_non_null(strstr(why, path));
	assert_null(other);
}

static void test_place(void **state)
{
	struct fixture *f = *state;
	char path[200], other[160];
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	char why[CONTROL_WHY_MAX];
	struct control *second;
	struct stat st;
	int fd;

	assert_int_equal(lstat(f->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	(void)snprintf(path, sizeof(path), "%s/run", f->directory);
	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);

	expect_refused(f, f->path, -EADDRINUSE, "already answers");
	(void)snprintf(path, sizeof(path), "%s/a/b/c.sock", f->directory);
	expect_refused(f, path, -ENOENT, "directory");
	memset(path, 'p', 108);
	path[0] = '/';
	path[108] = 0;
	expect_refused(f, path, -ENAMETOOLONG, "107");

	/* A file, and a link to the socket, stay. */
	(void)snprintf(path, sizeof(path), "%s/file", f->directory);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	expect_refused(f, path, -EADDRINUSE, "no socket");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("run/c.sock", path), 0);
	expect_refused(f, path, -EADDRINUSE, "no socket");
	assert_int_equal(unlink(path), 0);

	/* Others may write beside it. */
	(void)snprintf(other, sizeof(other), "%s/open", f->directory);
	assert_int_equal(mkdir(other, 0700), 0);
	assert_int_equal(chmod(other, 0777), 0);
	(void)snprintf(path, sizeof(path), "%s/c.sock", other);
	expect_refused(f, path, -EPERM, "others may write");
	assert_int_equal(rmdir(other), 0);

	/* A stale socket is replaced, and removed at the end. */
	(void)snprintf(path, sizeof(path), "%s/stale", f->directory);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	memcpy(un.sun_path, path, strlen(path) + 1);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
	close(fd);
	assert_int_equal(control_open(&f->loop, path, &ops, f, &second, why), 0);
	fd = dial_path(path);
	push_text(f, fd, status_line);
	expect_status(f, fd, 0);
	control_close(second, NULL, NULL); /* with a client on it */
	while (lstat(path, &st) == 0)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	close(fd);
}

/* What took our place is not removed. */
static void test_replaced(void **state)
{
	struct fixture *f = *state;
	char why[CONTROL_WHY_MAX];
	struct control *second;
	char path[160];
	struct stat st;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/other", f->directory);
	assert_int_equal(control_open(&f->loop, path, &ops, f, &second, why), 0);
	assert_int_equal(unlink(path), 0);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	control_close(second, NULL, NULL);
	for (int i = 0; i < 100; i++)
		(void)uv_run(&f->loop, UV_RUN_NOWAIT);
	assert_int_equal(lstat(path, &st), 0);
	assert_int_equal(unlink(path), 0);
}

static void test_error_line(void **state)
{
	char line[CONTROL_LINE_MAX], text[2 * CONTROL_LINE_MAX];
	json_t *object;
	size_t size;

	(void)state;
	for (size_t i = 0; i < sizeof(text); i++) {
		memset(text, i % 2 ? '"' : 'x', sizeof(text));
		text[i] = 0;
		size = control_nc_line(line, 4, text);
		assert_true(size < sizeof(line));
		assert_int_equal(line[size - 1], '\n');
		object = json_loadb(line, size, 0, NULL);
		assert_non_null(object);
		if (i < 200)
			assert_string_equal(json_string_value(json_object_get(object, "error")),
			                    text);
		json_decref(object);
	}
	size = control_nc_line(line, 1, "a\n\x1b\xff z");
	assert_memory_equal(line, "{\"ok\":false,\"error\":\"a??? z\",\"exit\":1}\n", size);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_bad_requests, setup, teardown),
		cmocka_unit_test_setup_teardown(test_manage, setup, teardown),
		cmocka_unit_test_setup_teardown(test_size_of_a_request, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end_of_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_byte_by_byte, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pipelined, setup, teardown),
		cmocka_unit_test_setup_teardown(test_slow_reader, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ping, setup, teardown),
		cmocka_unit_test_setup_teardown(test_nc, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_connections, setup, teardown),
		cmocka_unit_test_setup_teardown(test_place, setup, teardown),
		cmocka_unit_test_setup_teardown(test_replaced, setup, teardown),
		cmocka_unit_test(test_error_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

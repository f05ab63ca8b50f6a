/* SPDX-License-Identifier: MIT */
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/time.h"
#include "command.h"
#include "net/clock.h"
#include "net/convert.h"
#include "net/fds.h"

enum {
	FIRST_SIZE = 16 * 1024, /* of the buffer; doubled as needed */
};

static int fail(char why[CLIENT_WHY_MAX], int code, const char *fmt, ...) CV_PRINTF(3, 4);
static int fail(char why[CLIENT_WHY_MAX], int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(why, CLIENT_WHY_MAX, fmt, args);
	va_end(args);
	return code;
}

int client_open(struct client *c, const char *path, const char *role, char why[CLIENT_WHY_MAX])
{
	struct sockaddr_un un;
	socklen_t size;
	int r;

	*c = (struct client){ .fd = -1 };
	r = convert_to_unix(path, &un, &size);
	if (r < 0)
		return fail(why, r,
		            "the path of the control socket is too long (at most 107 "
		            "bytes) or empty: %.200s",
		            path);
	c->fd = fds_socket(AF_UNIX, SOCK_STREAM, 0);
	if (c->fd < 0)
		return fail(why, c->fd, "cannot open a socket: %s", strerror(-c->fd));
	/* On a unix socket it succeeds or fails at once: EAGAIN is a full backlog. */
	if (connect(c->fd, (const struct sockaddr *)&un, size) == 0)
		return 0;
	r = -errno;
	client_close(c);
	if (r == -ENOENT || r == -ECONNREFUSED || r == -ENOTDIR)
		return fail(why, r, "no running %s at %s", role, path);
	return fail(why, r, "cannot reach the %s at %s: %s", role, path, strerror(-r));
}

void client_close(struct client *c)
{
	fds_close(&c->fd);
	free(c->bytes);
	*c = (struct client){ .fd = -1 };
}

/* Waits for @events until @end. 0, -ETIMEDOUT, -EINTR. */
static int wait_for(const struct client *c, short events, cv_time end)
{
	struct pollfd p = { .fd = c->fd, .events = events };
	cv_time now = clock_now();
	int r;

	if (now >= end)
		return -ETIMEDOUT;
	r = poll(&p, 1, (int)CV_MIN((end - now) / CV_MS(1) + 1, UINT64_C(60000)));
	return r < 0 ? -errno : 0;
}

static int send_all(const struct client *c, const char *bytes, size_t size)
{
	cv_time end = cv_time_after(clock_now(), CV_MS(CLIENT_TIMEOUT));
	ssize_t n;
	int r;

	while (size > 0) {
		n = send(c->fd, bytes, size, MSG_NOSIGNAL);
		if (n >= 0) {
			bytes += n;
			size -= (size_t)n;
		} else if (errno == EAGAIN) {
			r = wait_for(c, POLLOUT, end);
			if (r < 0)
				return r;
		} else if (errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}

int client_send(struct client *c, json_t *request, char why[CLIENT_WHY_MAX])
{
	char *line = request ? json_dumps(request, JSON_COMPACT) : NULL;
	size_t size;
	int r;

	json_decref(request);
	if (!line)
		return fail(why, -ENOMEM, "the request cannot be written as JSON text");
	size = strlen(line);
	line[size] = '\n'; /* in the place of the NUL, which is not sent */
	r = send_all(c, line, size + 1);
	free(line);
	/* A process that refuses us may have said why before it closed: that is read. */
	if (r == -EPIPE || r == -ECONNRESET)
		return 0;
	return r < 0 ? fail(why, r, "cannot send the request: %s", strerror(-r)) : 0;
}

static int make_room(struct client *c)
{
	size_t capacity = c->capacity ? c->capacity * 2 : FIRST_SIZE;
	char *bytes;

	if (c->size < c->capacity)
		return 0;
	if (c->size >= CLIENT_ANSWER_MAX)
		return -EMSGSIZE;
	bytes = realloc(c->bytes, capacity);
	if (!bytes)
		return -ENOMEM;
	c->bytes = bytes;
	c->capacity = capacity;
	return 0;
}

/* Reads until there is a newline; its index. */
static int read_line(struct client *c, cv_time end, size_t *line_size)
{
	size_t scanned = 0;
	char *newline;
	ssize_t n;
	int r;

	for (;;) {
		newline = c->size > scanned ? memchr(c->bytes + scanned, '\n', c->size - scanned)
		                            : NULL;
		if (newline) {
			*line_size = (size_t)(newline - c->bytes);
			return 0;
		}
		scanned = c->size;
		r = make_room(c);
		if (r < 0)
			return r;
		n = recv(c->fd, c->bytes + c->size, c->capacity - c->size, 0);
		if (n > 0) {
			c->size += (size_t)n;
			continue;
		}
		if (n == 0)
			return -ECONNRESET;
		if (errno != EAGAIN)
			return -errno;
		r = wait_for(c, POLLIN, end);
		if (r < 0)
			return r;
	}
}

int client_receive(struct client *c, int timeout, json_t **answer, char why[CLIENT_WHY_MAX])
{
	json_error_t error;
	json_t *object;
	size_t size = 0;
	int r;

	CV_ASSERT(timeout > 0);
	r = read_line(c, cv_time_after(clock_now(), CV_MS(timeout)), &size);
	if (r == -EINTR)
		return r;
	if (r == -ETIMEDOUT)
		return fail(why, r, "no answer from the control socket within %d s",
		            timeout / 1000);
	if (r == -ECONNRESET)
		return fail(why, r, "the control socket was closed without an answer");
	if (r < 0)
		return fail(why, r, "cannot read the answer: %s", strerror(-r));
	object = json_loadb(c->bytes, size, 0, &error);
	c->size -= size + 1;
	memmove(c->bytes, c->bytes + size + 1, c->size);
	if (!json_is_object(object)) {
		json_decref(object);
		return fail(why, -EBADMSG, "the answer of the control socket is not understood");
	}
	*answer = object;
	return 0;
}

int client_call(struct client *c, json_t *request, json_t **answer, char why[CLIENT_WHY_MAX])
{
	int r = client_send(c, request, why);

	if (r < 0)
		return r;
	do {
		r = client_receive(c, CLIENT_TIMEOUT, answer, why);
	} while (r == -EINTR);
	return r;
}

int client_exit_code(const json_t *answer, const char **error)
{
	const json_t *code = json_object_get(answer, "exit");
	json_int_t value = json_integer_value(code);

	*error = json_string_value(json_object_get(answer, "error"));
	if (json_is_true(json_object_get(answer, "ok")))
		return EXIT_DONE;
	if (!*error)
		*error = "the control socket refused the request";
	return value >= EXIT_FAILED && value <= EXIT_REFUSED ? (int)value : EXIT_FAILED;
}

/* "home, office" of a status answer; false when there are none. */
static bool print_peers(const json_t *answer)
{
	const json_t *peers = json_object_get(json_object_get(answer, "status"), "peers");
	const char *name;
	bool has_any = false;

	for (size_t i = 0; i < json_array_size(peers); i++) {
		name = json_string_value(json_object_get(json_array_get(peers, i), "name"));
		if (!name)
			continue;
		(void)fprintf(stderr, "%s%s", has_any ? ", " : " (known: ", name);
		has_any = true;
	}
	return has_any;
}

void client_print_unknown_peer(const char *path, const char *error)
{
	char why[CLIENT_WHY_MAX];
	json_t *answer = NULL;
	struct client c;

	(void)fprintf(stderr, "culvert: %s", error);
	if (client_open(&c, path, "agent", why) == 0) {
		if (client_call(&c, json_pack("{s:s}", "command", "status"), &answer, why) == 0) {
			if (print_peers(answer))
				(void)fputc(')', stderr);
			json_decref(answer);
		}
		client_close(&c);
	}
	(void)fputc('\n', stderr);
}

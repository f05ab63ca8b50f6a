/* SPDX-License-Identifier: MIT */
#include "net/tcp_listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/time.h"
#include "net/clock.h"
#include "net/convert.h"
#include "net/fds.h"

enum {
	BACKLOG = 512,
	ACCEPTS_MAX = 64, /* per wake-up */
	PAUSE_MS = 100,
	PAUSE_MAX_MS = 1000,
};
#define SAID_INTERVAL CV_SEC(60) /* between two lines about a shortage */

struct tcp_listener {
	uv_poll_t poll;
	uv_timer_t timer;
	unsigned handles_open;
	int fd;
	uint64_t pause_ms; /* the next pause */
	struct tcp_set_waiter waiter;
	cv_time said_at; /* 0: never */
	struct tcp_set *set;
	tcp_listener_accept on_accept;
	void *ctx;
	void (*on_closed)(void *ctx);
	void *closed_ctx;
	struct hostport at;
	dev_t device; /* of the unix socket's file: what is there later may be another's */
	ino_t inode;
	bool has_file;
	bool is_closing;
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct tcp_listener *l)
{
	int r = uv_poll_start(&l->poll, UV_READABLE, on_poll);

	CV_ASSERT(r == 0); /* fails only for a handle that is closing */
}

static void on_timer(uv_timer_t *timer)
{
	watch(timer->data);
}

static void on_room(struct tcp_set_waiter *waiter)
{
	struct tcp_listener *l = CV_CONTAINER_OF(waiter, struct tcp_listener, waiter);

	watch(l);
}

/* A full set (@error 0) says itself when it has room; other shortages are tried again. */
static void pause_accept(struct tcp_listener *l, int error)
{
	char where[HOSTPORT_TEXT_MAX];
	cv_time now = clock_now();

	(void)uv_poll_stop(&l->poll);
	if (error) {
		(void)uv_timer_start(&l->timer, on_timer, l->pause_ms, 0);
		l->pause_ms = CV_MIN(l->pause_ms * 2, (uint64_t)PAUSE_MAX_MS);
	} else {
		tcp_set_await_room(l->set, &l->waiter);
	}
	if (l->said_at && cv_time_since(now, l->said_at) < SAID_INTERVAL)
		return;
	l->said_at = now;
	log_warn("accepting paused at=%s reason=\"%s\"", hostport_format(&l->at, where),
	         error ? strerror(-error) : "too many connections");
}

/* Errors that belong to the one connection or to nobody: the next one may do. */
static bool is_passing(int error)
{
	return error == -ECONNABORTED || error == -EINTR || error == -EPROTO ||
	       error == -EPERM; /* a firewall rule */
}

static void accept_some(struct tcp_listener *l)
{
	struct tcp_conn *conn;
	int fd, r;

	for (int i = 0; i < ACCEPTS_MAX && !l->is_closing; i++) {
		if (!tcp_set_has_room(l->set)) {
			pause_accept(l, 0);
			return;
		}
		fd = fds_accept(l->fd);
		if (is_passing(fd))
			continue;
		if (fd == -EAGAIN)
			return;
		if (fd < 0) {
			/* EMFILE, ENFILE, ENOBUFS, ENOMEM: to ask again at once would spin. */
			pause_accept(l, fd);
			return;
		}
		r = tcp_conn_new(l->set, fd, &conn);
		if (r < 0) {
			pause_accept(l, r);
			return;
		}
		l->pause_ms = PAUSE_MS;
		l->on_accept(l->ctx, conn);
	}
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct tcp_listener *l = poll->data;

	(void)events;
	if (status < 0) {
		/* libuv stopped it for a POLLERR. */
		(void)fds_take_error(l->fd);
		pause_accept(l, status);
		return;
	}
	accept_some(l);
}

/* Removes a socket that a dead process left. 0: the way is free, also when nothing was there. */
static int clear_stale(const char *path, const struct sockaddr_storage *sa, socklen_t size)
{
	struct stat st;
	int fd, r;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode) || st.st_uid != geteuid())
		return -EADDRINUSE;
	fd = fds_socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0)
		return fd;
	/* Refused is what an abandoned file says; EAGAIN is a full backlog, so someone lives. */
	r = connect(fd, (const struct sockaddr *)sa, size) < 0 ? -errno : 0;
	fds_close(&fd);
	if (r != -ECONNREFUSED)
		return r == -ENOENT ? 0 : -EADDRINUSE;
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

static int bind_unix(struct tcp_listener *l, const struct sockaddr_storage *sa, socklen_t size)
{
	struct stat st;
	mode_t mask;
	int r;

	r = clear_stale(l->at.text, sa, size);
	if (r < 0)
		return r;
	/* By the mask, not by a chmod() afterwards: there is no moment in which others get in. */
	mask = umask(0177);
	r = bind(l->fd, (const struct sockaddr *)sa, size) < 0 ? -errno : 0;
	(void)umask(mask);
	if (r < 0)
		return r;
	if (lstat(l->at.text, &st) < 0)
		return -errno;
	l->device = st.st_dev;
	l->inode = st.st_ino;
	l->has_file = true;
	return 0;
}

static int bind_ip(struct tcp_listener *l, const struct sockaddr_storage *sa, socklen_t size)
{
	fds_option(l->fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (sa->ss_family == AF_INET6)
		fds_option(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (bind(l->fd, (const struct sockaddr *)sa, size) < 0)
		return -errno;
	l->at.addr = fds_local(l->fd);
	l->at.port = l->at.addr.port;
	return 0;
}

static void remove_file(struct tcp_listener *l)
{
	struct stat st;

	if (l->has_file && lstat(l->at.text, &st) == 0 && st.st_dev == l->device &&
	    st.st_ino == l->inode)
		(void)unlink(l->at.text); /* a left-over is found and removed at the next start */
	l->has_file = false;
}

int tcp_listener_open(struct tcp_set *set, const struct hostport *at, tcp_listener_accept on_accept,
                      void *ctx, struct tcp_listener **out)
{
	struct tcp_listener *l = NULL;
	struct sockaddr_storage sa;
	socklen_t size = 0;
	int r;

	r = convert_hostport(at, &sa, &size);
	if (r < 0)
		return r;
	l = cv_zalloc(sizeof(*l));
	if (!l)
		return -ENOMEM;
	*l = (struct tcp_listener){ .set = set, .on_accept = on_accept, .ctx = ctx, .at = *at };
	l->pause_ms = PAUSE_MS;
	l->waiter.on_room = on_room;
	list_init(&l->waiter.node);
	l->fd = r = fds_socket(sa.ss_family, SOCK_STREAM, 0);
	if (r < 0)
		goto fail;
	r = at->kind == HOST_UNIX ? bind_unix(l, &sa, size) : bind_ip(l, &sa, size);
	if (r < 0)
		goto fail;
	r = listen(l->fd, BACKLOG) < 0 ? -errno : 0;
	if (r < 0)
		goto fail;
	r = uv_poll_init(tcp_set_loop(set), &l->poll, l->fd);
	if (r < 0)
		goto fail;
	r = uv_timer_init(tcp_set_loop(set), &l->timer);
	CV_ASSERT(r == 0); /* libuv's never fails */
	l->poll.data = l;
	l->timer.data = l;
	l->handles_open = 2;
	watch(l);
	*out = l;
	return 0;

fail:
	remove_file(l);
	fds_close(&l->fd);
	cv_free(l);
	return r;
}

void tcp_listener_local(const struct tcp_listener *l, struct hostport *out)
{
	*out = l->at;
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct tcp_listener *l = handle->data;

	CV_ASSERT(l->handles_open > 0);
	if (--l->handles_open > 0)
		return;
	if (l->on_closed)
		l->on_closed(l->closed_ctx);
	cv_free(l);
}

void tcp_listener_close(struct tcp_listener *l, void (*on_closed)(void *ctx), void *ctx)
{
	CV_ASSERT(!l->is_closing);
	l->is_closing = true;
	l->on_closed = on_closed;
	l->closed_ctx = ctx;
	list_remove(&l->waiter.node);
	uv_close((uv_handle_t *)&l->poll, on_handle_closed);
	uv_close((uv_handle_t *)&l->timer, on_handle_closed);
	remove_file(l); /* before the descriptor: nobody may find the file unanswered */
	fds_close(&l->fd);
}

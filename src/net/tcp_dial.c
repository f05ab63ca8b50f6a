/* SPDX-License-Identifier: MIT */

/*
 * connect() answers at once (unix, or a failure) or later (TCP). Either way the owner hears
 * from the loop: an answer at once waits for a timer of 0 ms.
 *
 * A unix socket whose backlog is full answers EAGAIN instead of waiting, and there is
 * nothing to poll for: the same timer tries again until the owner has enough.
 */
#include "net/tcp_dial.h"

#include <errno.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "net/convert.h"
#include "net/fds.h"

enum { BACKLOG_RETRY_MS = 20 };

struct tcp_dial {
	uv_poll_t poll;
	uv_timer_t timer;
	unsigned handles_open;
	int fd;
	int error; /* of connect(), until the timer reports it */
	struct tcp_set *set;
	tcp_dial_done done;
	void *ctx;
	struct sockaddr_storage to;
	socklen_t to_size;
};

static void attempt(struct tcp_dial *d);

static void on_handle_closed(uv_handle_t *handle)
{
	struct tcp_dial *d = handle->data;

	CV_ASSERT(d->handles_open > 0);
	if (--d->handles_open == 0)
		cv_free(d);
}

static void close_handles(struct tcp_dial *d)
{
	uv_close((uv_handle_t *)&d->poll, on_handle_closed);
	uv_close((uv_handle_t *)&d->timer, on_handle_closed);
}

/* A dial to a free local port may be given that very port as its source: TCP then connects it to
 * itself. Nobody listened there, so say that. */
static bool is_own_echo(int fd)
{
	struct addr local = fds_local(fd), peer = fds_peer(fd);

	return local.family != ADDR_NONE && addr_equal(&local, &peer);
}

static void finish(struct tcp_dial *d, int error)
{
	struct tcp_conn *conn = NULL;
	int fd = d->fd;

	d->fd = -1;
	close_handles(d); /* first: libuv takes a descriptor only once */
	if (error == 0 && is_own_echo(fd))
		error = -ECONNREFUSED;
	if (error == 0)
		error = tcp_conn_new(d->set, fd, &conn);
	else
		fds_close(&fd);
	d->done(d->ctx, conn, error);
}

static void on_timer(uv_timer_t *timer)
{
	struct tcp_dial *d = timer->data;

	if (d->error == -EAGAIN)
		attempt(d);
	else
		finish(d, d->error);
}

/* POLLERR comes as a status: what counts is the socket's error in both cases. */
static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct tcp_dial *d = poll->data;
	int error = fds_take_error(d->fd);

	(void)events;
	if (error == 0 && status < 0)
		error = -ECONNABORTED;
	finish(d, error);
}

static void attempt(struct tcp_dial *d)
{
	int r = connect(d->fd, (const struct sockaddr *)&d->to, d->to_size) < 0 ? -errno : 0;

	if (r == -EINPROGRESS || r == -EINTR) {
		r = uv_poll_start(&d->poll, UV_WRITABLE, on_poll);
		CV_ASSERT(r == 0); /* fails only for a handle that is closing */
		return;
	}
	if (r == -EAGAIN && d->to.ss_family != AF_UNIX)
		r = -EADDRNOTAVAIL; /* TCP means: no free port here */
	d->error = r;
	(void)uv_timer_start(&d->timer, on_timer, r == -EAGAIN ? BACKLOG_RETRY_MS : 0, 0);
}

int tcp_dial_start(struct tcp_set *set, const struct hostport *to, tcp_dial_done done, void *ctx,
                   struct tcp_dial **out)
{
	struct tcp_dial *d = NULL;
	struct sockaddr_storage sa;
	socklen_t size = 0;
	int fd = -1, r;

	r = tcp_set_has_room(set) ? convert_hostport(to, &sa, &size) : -EMFILE;
	if (r < 0)
		goto fail;
	fd = r = fds_socket(sa.ss_family, SOCK_STREAM, 0);
	if (r < 0)
		goto fail;
	r = -ENOMEM;
	d = cv_zalloc(sizeof(*d));
	if (!d)
		goto fail;
	*d = (struct tcp_dial){ .fd = fd, .set = set, .done = done, .ctx = ctx, .to = sa };
	d->to_size = size;
	r = uv_poll_init(tcp_set_loop(set), &d->poll, fd);
	if (r < 0)
		goto fail;
	r = uv_timer_init(tcp_set_loop(set), &d->timer);
	CV_ASSERT(r == 0); /* libuv's never fails */
	d->poll.data = d;
	d->timer.data = d;
	d->handles_open = 2;
	*out = d;
	attempt(d);
	return 0;

fail:
	cv_free(d);
	fds_close(&fd);
	return r;
}

void tcp_dial_cancel(struct tcp_dial *d)
{
	close_handles(d);
	fds_close(&d->fd);
}

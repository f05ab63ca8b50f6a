/* SPDX-License-Identifier: MIT */

/*
 * The descriptor is under uv_poll instead of a uv_tcp_t: reads go straight into lent memory,
 * writes take many pieces and say how much was taken, errors keep their errno, and nothing
 * needs a request object.
 *
 * What is polled (`armed`) follows what is wanted, lazily: tcp_conn_read_stop() only notes
 * the wish, and the poll is changed when the next event comes in vain. Each change costs
 * system calls, and most stops are over before the client sends more.
 *
 * A conn that is not polled at all is in the set's list `gated`. epoll tells nothing about
 * it, so once a second its pending error is asked for: a client's RST leaves one
 * (ECONNRESET, after its FIN EPIPE), and so do keepalive and retransmission (ETIMEDOUT). To
 * poll for errors alone would not do: a FIN in the queue would wake us for ever.
 *
 * libuv stops a poll on POLLERR and says UV_EBADF. Then what can still be read is read, as
 * the reset may stand behind data; only after that the error counts. Where a reset came after
 * the other side's end, that end is read first.
 */
#include "net/tcp_conn.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/fds.h"

enum {
	GATED_CHECK_MS = 1000,   /* decisions: a reset is seen within about a second */
	READS_MAX = 4,           /* per wake-up: others want their turn; epoll comes again */
	KEEPALIVE_IDLE = 60,     /* seconds until the first probe */
	KEEPALIVE_INTERVAL = 15, /* seconds between probes; 4 of them: dead after 2 minutes */
	KEEPALIVE_COUNT = 4,
};

struct tcp_set {
	uv_loop_t *loop;
	uv_timer_t timer;
	struct list gated;
	struct list waiters; /* struct tcp_set_waiter */
	uint32_t count, count_max;
	bool is_closing, is_timer_closed;
};

struct tcp_conn {
	uv_poll_t poll;
	struct list gated;
	struct tcp_set *set;
	const struct tcp_conn_events *events; /* NULL before tcp_conn_start() */
	void *ctx;
	int fd;
	int error;     /* of the socket, while data before it wait for their reader; or 0 */
	uint8_t armed; /* enum uv_poll_event that libuv watches now */
	bool wants_read, wants_write;
	bool is_eof;    /* the other side's FIN was read */
	bool is_shut;   /* ours was sent */
	bool is_failed; /* the error was reported */
	bool is_closing;
	bool is_unix;
	bool expects_end; /* an end of file without a sign before it is an abort */
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void set_release(struct tcp_set *set)
{
	if (set->is_closing && set->is_timer_closed && set->count == 0)
		cv_free(set);
}

/* Makes libuv watch what is wanted; without a wish the conn is gated. */
static void arm(struct tcp_conn *c)
{
	int wanted = (c->wants_read ? UV_READABLE : 0) | (c->wants_write ? UV_WRITABLE : 0), r;

	if (c->is_closing || c->is_failed || !c->events)
		return;
	if (wanted != c->armed) {
		if (wanted)
			r = uv_poll_start(&c->poll, wanted, on_poll);
		else
			r = uv_poll_stop(&c->poll);
		CV_ASSERT(r == 0); /* fails only for a handle that is closing */
		c->armed = (uint8_t)wanted;
	}
	if (wanted) {
		list_remove(&c->gated);
	} else if (!list_is_linked(&c->gated)) {
		list_add_tail(&c->set->gated, &c->gated);
	}
}

static void fail(struct tcp_conn *c, int error)
{
	int r;

	CV_ASSERT(error < 0);
	CV_ASSERT(!c->is_closing);
	if (c->is_failed)
		return;
	c->is_failed = true;
	c->wants_read = c->wants_write = false;
	c->armed = 0;
	r = uv_poll_stop(&c->poll);
	CV_ASSERT(r == 0);
	list_remove(&c->gated);
	c->events->on_error(c->ctx, error);
}

/* True when more may be there. */
static bool read_once(struct tcp_conn *c)
{
	size_t size = 0;
	uint8_t *bytes = c->events->alloc(c->ctx, &size);
	ssize_t n;
	bool has_sign = false;
	int error;

	if (!bytes || c->is_closing || c->is_failed) {
		c->wants_read = false;
		return false;
	}
	CV_ASSERT(size > 0);
	if (c->expects_end)
		n = fds_receive_sign(c->fd, bytes, size, &has_sign);
	else
		n = recv(c->fd, bytes, size, 0);
	if (has_sign) {
		c->expects_end = false; /* it has come */
		c->events->on_read(c->ctx, (size_t)n - 1);
		return true;
	}
	if (n == 0 && c->expects_end) {
		c->events->on_read(c->ctx, 0);
		fail(c, -ECONNRESET);
		return false;
	}
	if (n > 0) {
		c->events->on_read(c->ctx, (size_t)n);
		return (size_t)n == size; /* a short read has emptied the socket */
	}
	if (n == 0 && c->error < 0) { /* no end: what the kernel says after a reset */
		fail(c, c->error);
		return false;
	}
	if (n == 0) {
		c->is_eof = true;
		c->wants_read = false;
		c->events->on_eof(c->ctx);
		return false;
	}
	error = errno;
	if (error == EAGAIN || error == EINTR) {
		c->events->on_read(c->ctx, 0);
		return false;
	}
	fail(c, -error);
	return false;
}

/* True when more may be there. */
static bool read_some(struct tcp_conn *c)
{
	for (int i = 0; i < READS_MAX; i++) {
		if (c->is_closing || !c->wants_read || !read_once(c))
			return false;
	}
	return true;
}

/* The socket has an error, and libuv watches it no more. What stands before a reset is read; where
 * the reader has no room now, the error waits for him, until check_gated() comes. */
static void on_broken(struct tcp_conn *c)
{
	int error;

	while (c->wants_read && read_some(c))
		;
	if (c->is_closing || c->is_failed)
		return;
	error = fds_take_error(c->fd);
	if (error == 0)
		return;
	if (c->wants_read || c->is_eof)
		fail(c, error);
	else
		c->error = error;
}

/* A unix client that is gone for good, after its end of file was read: no error ever says so. */
static bool has_hung_up(const struct tcp_conn *c)
{
	struct pollfd p = { .fd = c->fd };

	return c->is_unix && c->is_eof && !c->is_shut && poll(&p, 1, 0) == 1 &&
	       (p.revents & POLLHUP);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct tcp_conn *c = poll->data;

	if (status < 0) {
		c->armed = 0; /* libuv has stopped it */
		on_broken(c);
	} else if (c->wants_read && (events & UV_READABLE)) {
		(void)read_some(c); /* epoll comes again */
	}
	if ((events & UV_WRITABLE) && c->wants_write && !c->is_closing) {
		c->wants_write = false;
		c->events->on_writable(c->ctx);
	}
	arm(c);
}

static void check_gated(struct tcp_conn *c)
{
	int error = c->error ? c->error : fds_take_error(c->fd);

	if (error == 0 && has_hung_up(c))
		error = -EPIPE;
	if (error < 0)
		fail(c, error);
}

/* The list is emptied into another one first: callbacks may close any conn, and those that are
 * put back must not be met twice. */
static void on_timer(uv_timer_t *timer)
{
	struct tcp_set *set = timer->data;
	struct list todo;
	struct tcp_conn *c;

	list_init(&todo);
	while (!list_is_empty(&set->gated)) {
		c = list_entry(set->gated.next, struct tcp_conn, gated);
		list_remove(&c->gated);
		list_add_tail(&todo, &c->gated);
	}
	while (!list_is_empty(&todo)) {
		c = list_entry(todo.next, struct tcp_conn, gated);
		list_remove(&c->gated);
		list_add_tail(&set->gated, &c->gated);
		check_gated(c);
	}
}

int tcp_set_open(uv_loop_t *loop, uint32_t conns_max, struct tcp_set **out)
{
	struct tcp_set *set = cv_zalloc(sizeof(*set));
	int r;

	if (!set)
		return -ENOMEM;
	set->loop = loop;
	set->count_max = conns_max;
	list_init(&set->gated);
	list_init(&set->waiters);
	r = uv_timer_init(loop, &set->timer);
	if (r < 0) {
		cv_free(set);
		return r;
	}
	set->timer.data = set;
	(void)uv_timer_start(&set->timer, on_timer, GATED_CHECK_MS, GATED_CHECK_MS);
	/* It looks after others, who keep the loop alive themselves. */
	uv_unref((uv_handle_t *)&set->timer);
	*out = set;
	return 0;
}

static void on_set_closed(uv_handle_t *handle)
{
	struct tcp_set *set = handle->data;

	set->is_timer_closed = true;
	set_release(set);
}

void tcp_set_close(struct tcp_set *set)
{
	CV_ASSERT(!set->is_closing);
	CV_ASSERT(list_is_empty(&set->gated));
	set->is_closing = true;
	uv_close((uv_handle_t *)&set->timer, on_set_closed);
}

uint32_t tcp_set_count(const struct tcp_set *set)
{
	return set->count;
}

bool tcp_set_has_room(const struct tcp_set *set)
{
	return set->count < set->count_max;
}

void tcp_set_await_room(struct tcp_set *set, struct tcp_set_waiter *w)
{
	list_remove(&w->node);
	list_add_tail(&set->waiters, &w->node);
}

/* All of them: who is first may have nobody to let in. */
static void wake_waiters(struct tcp_set *set)
{
	while (!list_is_empty(&set->waiters)) {
		struct tcp_set_waiter *w =
			list_entry(set->waiters.next, struct tcp_set_waiter, node);

		list_remove(&w->node);
		w->on_room(w);
	}
}

uv_loop_t *tcp_set_loop(const struct tcp_set *set)
{
	return set->loop;
}

static bool is_unix_socket(int fd)
{
	struct sockaddr_storage sa = { .ss_family = AF_UNSPEC };
	socklen_t size = sizeof(sa);

	return getsockname(fd, (struct sockaddr *)&sa, &size) == 0 && sa.ss_family == AF_UNIX;
}

/* An interactive session waits for no full segment; a host that vanished is noticed. */
static void set_options(int fd)
{
	fds_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	/* TCP's urgent byte has no place in a stream, and without this the kernel takes it out of
	 * the data: telnet's data mark would be missing (RFC 6093, 4.1). */
	fds_option(fd, SOL_SOCKET, SO_OOBINLINE, 1);
	fds_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
#ifdef TCP_KEEPIDLE
	fds_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE);
#else
	fds_option(fd, IPPROTO_TCP, TCP_KEEPALIVE, KEEPALIVE_IDLE); /* macOS calls it that */
#endif
	fds_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL);
	fds_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
}

int tcp_conn_new(struct tcp_set *set, int fd, struct tcp_conn **out)
{
	struct tcp_conn *c = NULL;
	int r;

	CV_ASSERT(fd >= 0);
	r = tcp_set_has_room(set) ? fds_prepare(fd) : -EMFILE;
	if (r < 0)
		goto fail;
	r = -ENOMEM;
	c = cv_zalloc(sizeof(*c));
	if (!c)
		goto fail;
	r = uv_poll_init(set->loop, &c->poll, fd);
	if (r < 0)
		goto fail;
	c->poll.data = c;
	c->set = set;
	c->fd = fd;
	c->is_unix = is_unix_socket(fd);
	if (!c->is_unix)
		set_options(fd);
	list_init(&c->gated);
	set->count++;
	*out = c;
	return 0;

fail:
	cv_free(c);
	fds_close(&fd);
	return r;
}

void tcp_conn_keep_short(struct tcp_conn *c, int unsent)
{
#ifdef TCP_NOTSENT_LOWAT
	fds_option(c->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, unsent);
#else
	(void)unsent;
	(void)c;
#endif
}

void tcp_conn_start(struct tcp_conn *c, const struct tcp_conn_events *events, void *ctx)
{
	CV_ASSERT(!c->is_closing);
	c->events = events;
	c->ctx = ctx;
	c->wants_read = false;
	arm(c);
}

void tcp_conn_read_start(struct tcp_conn *c)
{
	CV_ASSERT(c->events);
	if (c->is_closing || c->is_failed || c->is_eof)
		return;
	c->wants_read = true;
	arm(c);
}

void tcp_conn_read_stop(struct tcp_conn *c)
{
	c->wants_read = false;
}

bool tcp_conn_is_reading(const struct tcp_conn *c)
{
	return c->wants_read;
}

int tcp_conn_writev(struct tcp_conn *c, const struct iovec *pieces, unsigned count, size_t *taken)
{
	struct iovec iov[TCP_CONN_PIECES_MAX];
	struct msghdr msg = { .msg_iov = iov };
	size_t total = 0;
	ssize_t n;

	CV_ASSERT(!c->is_closing);
	CV_ASSERT(!c->is_shut);
	*taken = 0;
	if (c->is_failed)
		return -EPIPE;
	if (c->error < 0)
		return c->error;
	for (unsigned i = 0; i < count; i++)
		total += pieces[i].iov_len;
	if (total == 0)
		return 0;
	/* msg_iov is not const, though sendmsg() only reads it. */
	msg.msg_iovlen = CV_MIN(count, (unsigned)TCP_CONN_PIECES_MAX);
	memcpy(iov, pieces, msg.msg_iovlen * sizeof(iov[0]));
	n = sendmsg(c->fd, &msg, MSG_NOSIGNAL);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS)
			return -errno;
		n = 0;
	}
	*taken = (size_t)n;
	if ((size_t)n < total) {
		c->wants_write = true;
		arm(c);
	}
	return 0;
}

void tcp_conn_shutdown(struct tcp_conn *c)
{
	CV_ASSERT(!c->is_closing);
	if (c->is_shut)
		return;
	c->is_shut = true;
	c->wants_write = false;
	/* Fails only when the connection is gone, which is reported where it is read. */
	(void)shutdown(c->fd, SHUT_WR);
}

static void on_conn_closed(uv_handle_t *handle)
{
	struct tcp_conn *c = handle->data;
	struct tcp_set *set = c->set;

	if (c->events)
		c->events->on_closed(c->ctx);
	cv_free(c);
	CV_ASSERT(set->count > 0);
	set->count--;
	wake_waiters(set);
	set_release(set);
}

void tcp_conn_close(struct tcp_conn *c)
{
	CV_ASSERT(!c->is_closing);
	c->is_closing = true;
	c->wants_read = c->wants_write = false;
	list_remove(&c->gated);
	uv_close((uv_handle_t *)&c->poll, on_conn_closed);
	/* uv_close() has taken it out of epoll: FIN or RST leave now, not at the end of the turn.
	 */
	fds_close(&c->fd);
}

int tcp_conn_dup(const struct tcp_conn *c)
{
	int fd;

	CV_ASSERT(!c->is_closing);
	fd = fcntl(c->fd, F_DUPFD_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

void tcp_conn_reset(struct tcp_conn *c)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	/* For a unix socket it is no error and does nothing. */
	(void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	tcp_conn_close(c);
}

void tcp_conn_tell_reset(struct tcp_conn *c)
{
	if (c->is_unix)
		(void)fds_send_sign(c->fd); /* best effort, as said */
}

void tcp_conn_expect_end(struct tcp_conn *c)
{
	c->expects_end = c->is_unix;
}

bool tcp_conn_is_unix(const struct tcp_conn *c)
{
	return c->is_unix;
}

struct addr tcp_conn_local_address(const struct tcp_conn *c)
{
	return fds_local(c->fd);
}

struct addr tcp_conn_peer_address(const struct tcp_conn *c)
{
	return fds_peer(c->fd);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: whoever connects is served or waits; a shortage of descriptors neither spins nor
 * loses anyone; a unix path is ours alone, and never taken from the living.
 * Method: plain clients on the loopback, RLIMIT_NOFILE, files in a directory of our own.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "net/convert.h"
#include "net/fds.h"
#include "net/tcp_dial.h"
#include "net/tcp_listener.h"
#include "test_net_loop.h"

enum { CLIENTS = 8 };

struct room {
	struct test_loop t;
	struct tcp_set *set;
	struct tcp_listener *l;
	struct tcp_conn *conns[CLIENTS];
	unsigned count, closed;
	struct tcp_conn *dialled;
	unsigned dials;
	int dial_error;
	char folder[64];
};

static void on_accept(void *ctx, struct tcp_conn *conn)
{
	struct room *r = ctx;

	assert_true(r->count < CLIENTS);
	r->conns[r->count++] = conn;
}

static void on_dialled(void *ctx, struct tcp_conn *conn, int error)
{
	struct room *r = ctx;

	r->dials++;
	r->dialled = conn;
	r->dial_error = error;
}

static void on_closed(void *ctx)
{
	struct room *r = ctx;

	r->closed++;
}

static void room_open(struct room *r, uint32_t conns_max)
{
	*r = (struct room){ .count = 0 };
	test_loop_open(&r->t);
	assert_int_equal(tcp_set_open(&r->t.loop, conns_max, &r->set), 0);
	(void)snprintf(r->folder, sizeof(r->folder), "/tmp/culvert-test-XXXXXX");
	assert_non_null(mkdtemp(r->folder));
}

static void close_conns(struct room *r)
{
	for (unsigned i = 0; i < r->count; i++)
		tcp_conn_close(r->conns[i]);
	r->count = 0;
	if (r->dialled)
		tcp_conn_close(r->dialled);
	r->dialled = NULL;
}

static void room_close(struct room *r)
{
	close_conns(r);
	if (r->l) {
		tcp_listener_close(r->l, on_closed, r);
		RUN_UNTIL(&r->t, r->closed == 1);
	}
	RUN_UNTIL(&r->t, tcp_set_count(r->set) == 0);
	tcp_set_close(r->set);
	test_loop_close(&r->t);
	assert_int_equal(rmdir(r->folder), 0); /* nothing is left in it */
}

static struct hostport loopback(void)
{
	return (struct hostport){ .kind = HOST_ADDR, .addr = addr_v4(127, 0, 0, 1, 0) };
}

static struct hostport unix_at(const struct room *r)
{
	struct hostport h = { .kind = HOST_UNIX };

	(void)snprintf(h.text, sizeof(h.text), "%s/s", r->folder);
	return h;
}

static int open_at(struct room *r, const struct hostport *at)
{
	return tcp_listener_open(r->set, at, on_accept, r, &r->l);
}

static int client(const struct tcp_listener *l)
{
	struct sockaddr_storage sa;
	struct hostport at;
	socklen_t size;
	int fd;

	tcp_listener_local(l, &at);
	assert_int_equal(convert_hostport(&at, &sa, &size), 0);
	fd = socket(sa.ss_family, SOCK_STREAM, 0);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, size), 0);
	return fd;
}

static void dial_to(struct room *r, const struct hostport *to)
{
	struct tcp_dial *dial;
	unsigned before = r->dials;

	assert_int_equal(tcp_dial_start(r->set, to, on_dialled, r, &dial), 0);
	assert_int_equal(r->dials, before); /* never from within */
	RUN_UNTIL(&r->t, r->dials == before + 1);
}

static void accepts(void **state)
{
	struct hostport at = loopback(), taken;
	struct tcp_listener *second;
	struct room r;

	(void)state;
	room_open(&r, 8);
	assert_int_equal(open_at(&r, &at), 0);
	tcp_listener_local(r.l, &taken);
	assert_true(taken.port != 0 && taken.addr.port == taken.port);
	assert_int_equal(tcp_listener_open(r.set, &taken, on_accept, &r, &second), -EADDRINUSE);
	dial_to(&r, &taken);
	assert_int_equal(r.dial_error, 0);
	RUN_UNTIL(&r.t, r.count == 1);
	room_close(&r);
}

static void dials_fail_with_a_reason(void **state)
{
	struct hostport at = loopback(), gone;
	struct tcp_dial *dial;
	struct room r;

	(void)state;
	room_open(&r, 1);
	assert_int_equal(open_at(&r, &at), 0);
	tcp_listener_local(r.l, &gone);
	tcp_listener_close(r.l, on_closed, &r);
	r.l = NULL;
	RUN_UNTIL(&r.t, r.closed == 1);
	dial_to(&r, &gone);
	assert_int_equal(r.dial_error, -ECONNREFUSED);
	gone = unix_at(&r);
	dial_to(&r, &gone);
	assert_int_equal(r.dial_error, -ENOENT);
	gone.kind = HOST_NAME;
	assert_int_equal(tcp_dial_start(r.set, &gone, on_dialled, &r, &dial), -EINVAL);
	room_close(&r);
}

static void a_cancelled_dial_is_silent(void **state)
{
	struct hostport at = loopback();
	struct tcp_dial *dial;
	struct room r;

	(void)state;
	room_open(&r, 8);
	assert_int_equal(open_at(&r, &at), 0);
	tcp_listener_local(r.l, &at);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(tcp_dial_start(r.set, &at, on_dialled, &r, &dial), 0);
		tcp_dial_cancel(dial);
	}
	dial_to(&r, &at);
	assert_int_equal(r.dials, 1);
	room_close(&r);
}

/* A unix backlog that is full answers EAGAIN; whoever dials waits until there is room. */
static void a_full_backlog_is_waited_for(void **state)
{
	struct sockaddr_storage sa;
	struct hostport at;
	struct tcp_dial *dials[4];
	socklen_t size;
	struct room r;
	int fd, conns[4];

	(void)state;
	room_open(&r, 8);
	at = unix_at(&r);
	assert_int_equal(convert_hostport(&at, &sa, &size), 0);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, size), 0);
	assert_int_equal(listen(fd, 0), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(tcp_dial_start(r.set, &at, on_dialled, &r, &dials[i]), 0);
	RUN_UNTIL(&r.t, r.dials == 1);
	r.conns[r.count++] = r.dialled;
	for (int i = 0; i < 3; i++)
		test_loop_turn(&r.t);
	assert_int_equal(r.dials, 1);
	conns[0] = accept(fd, NULL, NULL);
	RUN_UNTIL(&r.t, r.dials == 2);
	assert_int_equal(r.dial_error, 0);
	fds_close(&conns[0]);
	fds_close(&fd);
	assert_int_equal(unlink(at.text), 0);
	room_close(&r);
}

static void the_set_pauses(void **state)
{
	struct hostport at = loopback();
	int clients[3];
	struct room r;

	(void)state;
	room_open(&r, 2);
	assert_int_equal(open_at(&r, &at), 0);
	for (size_t i = 0; i < 3; i++)
		clients[i] = client(r.l);
	RUN_UNTIL(&r.t, r.count == 2);
	for (int i = 0; i < 5; i++)
		test_loop_turn(&r.t);
	assert_int_equal(r.count, 2);
	close_conns(&r);
	RUN_UNTIL(&r.t, r.count == 1); /* the third, who waited */
	for (size_t i = 0; i < 3; i++)
		fds_close(&clients[i]);
	room_close(&r);
}

static void no_descriptors_is_a_pause(void **state)
{
	struct hostport at = loopback();
	struct rlimit before, low;
	int clients[2], spare;
	cv_time until;
	unsigned turns;
	struct room r;

	(void)state;
	room_open(&r, 8);
	assert_int_equal(open_at(&r, &at), 0);
	clients[0] = client(r.l);
	RUN_UNTIL(&r.t, r.count == 1);
	clients[1] = client(r.l);
	/* From here on not one more: the limit is the next free number. */
	spare = dup(clients[0]);
	assert_true(spare >= 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	low = before;
	low.rlim_cur = (rlim_t)spare;
	assert_int_equal(close(spare), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	until = clock_now() + CV_MS(300);
	turns = r.t.turns;
	RUN_UNTIL(&r.t, clock_now() > until);
	assert_int_equal(r.count, 1);
	assert_in_range(r.t.turns - turns, 1, 60);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	RUN_UNTIL(&r.t, r.count == 2);
	fds_close(&clients[0]);
	fds_close(&clients[1]);
	room_close(&r);
}

static void unix_sockets_are_private(void **state)
{
	struct hostport at;
	struct stat st;
	struct room r;
	int fd;

	(void)state;
	room_open(&r, 8);
	at = unix_at(&r);
	assert_int_equal(open_at(&r, &at), 0);
	assert_int_equal(lstat(at.text, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0600);
	fd = client(r.l);
	RUN_UNTIL(&r.t, r.count == 1);
	assert_true(tcp_conn_is_unix(r.conns[0]));
	fds_close(&fd);
	room_close(&r); /* and the file is gone */
}

static void only_the_dead_are_replaced(void **state)
{
	struct tcp_listener *second;
	struct sockaddr_storage sa;
	struct hostport at;
	socklen_t size;
	struct room r;
	FILE *file;
	int fd;

	(void)state;
	room_open(&r, 8);
	at = unix_at(&r);
	/* No socket: somebody's file. */
	file = fopen(at.text, "w");
	assert_non_null(file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(open_at(&r, &at), -EADDRINUSE);
	assert_int_equal(unlink(at.text), 0);
	/* A link to one is no better. */
	assert_int_equal(symlink("nowhere", at.text), 0);
	assert_int_equal(open_at(&r, &at), -EADDRINUSE);
	assert_int_equal(unlink(at.text), 0);
	/* Left by the dead. */
	assert_int_equal(convert_hostport(&at, &sa, &size), 0);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, size), 0);
	fds_close(&fd);
	assert_int_equal(open_at(&r, &at), 0);
	/* The living. */
	assert_int_equal(tcp_listener_open(r.set, &at, on_accept, &r, &second), -EADDRINUSE);
	/* Replaced by another while we listened: not ours to remove. */
	assert_int_equal(unlink(at.text), 0);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, size), 0);
	RUN_UNTIL(&r.t, r.count == 1); /* the second's question, which came as a client */
	tcp_listener_close(r.l, on_closed, &r);
	r.l = NULL;
	RUN_UNTIL(&r.t, r.closed == 1);
	assert_int_equal(unlink(at.text), 0);
	fds_close(&fd);
	room_close(&r);
}

static void long_paths_are_refused(void **state)
{
	struct hostport at = { .kind = HOST_UNIX };
	struct room r;

	(void)state;
	room_open(&r, 1);
	memset(at.text, 'x', HOST_UNIX_MAX + 1);
	at.text[0] = '/';
	assert_int_equal(open_at(&r, &at), -ENAMETOOLONG);
	room_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts),
		cmocka_unit_test(dials_fail_with_a_reason),
		cmocka_unit_test(a_cancelled_dial_is_silent),
		cmocka_unit_test(a_full_backlog_is_waited_for),
		cmocka_unit_test(the_set_pauses),
		cmocka_unit_test(no_descriptors_is_a_pause),
		cmocka_unit_test(unix_sockets_are_private),
		cmocka_unit_test(only_the_dead_are_replaced),
		cmocka_unit_test(long_paths_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

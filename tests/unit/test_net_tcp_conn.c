/* SPDX-License-Identifier: MIT */

/*
 * Goal: an end is an end, an abort is an abort, also when nobody reads; nothing is lost
 * when one side is slow; and a half-closed client costs no turns.
 *
 * Method: a conn on one end of a real connection, TCP or unix; the test holds the other end
 * as a plain socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/convert.h"
#include "net/fds.h"
#include "net/tcp_conn.h"
#include "test_net_loop.h"

enum { BULK = 8 * 1024 * 1024 };

struct half {
	struct test_loop t;
	struct tcp_set *set;
	struct tcp_conn *conn;
	int peer; /* non-blocking */
	int fd;   /* the conn's, to look at */
	uint8_t memory[1 << 16];
	size_t lend, received;
	uint32_t sum;
	unsigned eofs, errors, writables, closed, allocs, allocs_max;
	int error;
	bool closes_in_read;
};

static uint8_t *on_alloc(void *ctx, size_t *size)
{
	struct half *h = ctx;

	if (h->allocs_max && h->allocs >= h->allocs_max)
		return NULL;
	h->allocs++;
	*size = h->lend;
	return h->memory;
}

static void on_read(void *ctx, size_t size)
{
	struct half *h = ctx;

	for (size_t i = 0; i < size; i++)
		h->sum = h->sum * 31 + h->memory[i];
	h->received += size;
	if (h->closes_in_read && size > 0)
		tcp_conn_close(h->conn);
}

static void on_eof(void *ctx)
{
	struct half *h = ctx;

	h->eofs++;
}

static void on_error(void *ctx, int error)
{
	struct half *h = ctx;

	h->errors++;
	h->error = error;
}

static void on_writable(void *ctx)
{
	struct half *h = ctx;

	h->writables++;
}

static void on_closed(void *ctx)
{
	struct half *h = ctx;

	h->closed++;
	h->conn = NULL;
}

static const struct tcp_conn_events events = {
	.alloc = on_alloc,
	.on_read = on_read,
	.on_eof = on_eof,
	.on_error = on_error,
	.on_writable = on_writable,
	.on_closed = on_closed,
};

static void tcp_pair(int fds[2])
{
	struct addr at = addr_v4(127, 0, 0, 1, 0);
	struct sockaddr_storage sa;
	socklen_t size = convert_to_sockaddr(&at, &sa);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	assert_true(listener >= 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&sa, size), 0);
	assert_int_equal(listen(listener, 1), 0);
	at = fds_local(listener);
	size = convert_to_sockaddr(&at, &sa);
	fds[1] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fds[1], (struct sockaddr *)&sa, size), 0);
	fds[0] = accept(listener, NULL, NULL);
	assert_true(fds[0] >= 0);
	fds_close(&listener);
}

static struct half *half_open(bool is_unix)
{
	struct half *h = test_calloc(1, sizeof(*h));
	int fds[2];

	test_loop_open(&h->t);
	if (is_unix)
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	else
		tcp_pair(fds);
	assert_int_equal(fds_prepare(fds[1]), 0);
	h->peer = fds[1];
	h->fd = fds[0];
	h->lend = sizeof(h->memory);
	assert_int_equal(tcp_set_open(&h->t.loop, 1, &h->set), 0);
	assert_int_equal(tcp_conn_new(h->set, fds[0], &h->conn), 0);
	assert_int_equal(tcp_conn_is_unix(h->conn), is_unix);
	assert_false(tcp_set_has_room(h->set));
	tcp_conn_start(h->conn, &events, h);
	return h;
}

static void half_close(struct half *h)
{
	if (h->conn)
		tcp_conn_close(h->conn);
	RUN_UNTIL(&h->t, h->closed == 1);
	assert_int_equal(tcp_set_count(h->set), 0);
	tcp_set_close(h->set);
	fds_close(&h->peer);
	test_loop_close(&h->t);
	test_free(h);
}

static void peer_says(const struct half *h, const char *text)
{
	assert_int_equal(write(h->peer, text, strlen(text)), strlen(text));
}

static void conn_says(const struct half *h, const char *a, const char *b)
{
	struct iovec pieces[2] = { { .iov_base = (void *)(uintptr_t)a, .iov_len = strlen(a) },
		                   { .iov_base = (void *)(uintptr_t)b, .iov_len = strlen(b) } };
	size_t taken;

	assert_int_equal(tcp_conn_writev(h->conn, pieces, 2, &taken), 0);
	assert_int_equal(taken, strlen(a) + strlen(b));
}

/* What the peer reads: bytes, 0 at the end, or a negative errno. */
static ssize_t peer_reads(struct half *h, char *out, size_t cap)
{
	ssize_t n = -EAGAIN;

	RUN_UNTIL(&h->t, (n = read(h->peer, out, cap)) >= 0 || errno != EAGAIN);
	return n < 0 ? -errno : n;
}

static void peer_resets(struct half *h)
{
	struct linger now = { .l_onoff = 1, .l_linger = 0 };

	assert_int_equal(setsockopt(h->peer, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	fds_close(&h->peer);
}

static void each(void (*test)(struct half *h))
{
	for (int is_unix = 0; is_unix <= 1; is_unix++) {
		struct half *h = half_open(is_unix);

		test(h);
		half_close(h);
	}
}

static void client_ends_first(struct half *h)
{
	char out[16];

	tcp_conn_read_start(h->conn);
	peer_says(h, "question");
	assert_int_equal(shutdown(h->peer, SHUT_WR), 0);
	RUN_UNTIL(&h->t, h->eofs == 1);
	assert_int_equal(h->received, 8);
	assert_false(tcp_conn_is_reading(h->conn));
	tcp_conn_read_start(h->conn); /* no effect any more */
	assert_false(tcp_conn_is_reading(h->conn));
	conn_says(h, "an", "swer");
	assert_int_equal(peer_reads(h, out, sizeof(out)), 6);
	assert_memory_equal(out, "answer", 6);
	tcp_conn_shutdown(h->conn);
	assert_int_equal(peer_reads(h, out, sizeof(out)), 0);
	assert_int_equal(h->errors, 0);
}

static void conn_ends_first(struct half *h)
{
	char out[16];

	tcp_conn_read_start(h->conn);
	conn_says(h, "bye", "");
	tcp_conn_shutdown(h->conn);
	tcp_conn_shutdown(h->conn);
	assert_int_equal(peer_reads(h, out, sizeof(out)), 3);
	assert_int_equal(peer_reads(h, out, sizeof(out)), 0);
	peer_says(h, "still here");
	RUN_UNTIL(&h->t, h->received == 10);
	fds_close(&h->peer);
	RUN_UNTIL(&h->t, h->eofs == 1);
	assert_int_equal(h->errors, 0);
}

static void half_close_both_ways(void **state)
{
	(void)state;
	each(client_ends_first);
	each(conn_ends_first);
}

/* The tick alone turns the loop: 10 times in 100 ms. */
static void half_closed_sleeps(struct half *h)
{
	cv_time until;
	unsigned before;

	tcp_conn_read_start(h->conn);
	assert_int_equal(shutdown(h->peer, SHUT_WR), 0);
	RUN_UNTIL(&h->t, h->eofs == 1);
	until = clock_now() + CV_MS(100);
	before = h->t.turns;
	RUN_UNTIL(&h->t, clock_now() > until);
	assert_in_range(h->t.turns - before, 1, 20);
}

/* The same with the end of file still unread. */
static void stopped_sleeps(struct half *h)
{
	cv_time until;
	unsigned before;

	tcp_conn_read_start(h->conn);
	tcp_conn_read_stop(h->conn);
	peer_says(h, "x");
	assert_int_equal(shutdown(h->peer, SHUT_WR), 0);
	until = clock_now() + CV_MS(100);
	before = h->t.turns;
	RUN_UNTIL(&h->t, clock_now() > until);
	assert_in_range(h->t.turns - before, 1, 20);
	assert_int_equal(h->received + h->eofs + h->errors, 0);
	tcp_conn_read_start(h->conn);
	RUN_UNTIL(&h->t, h->eofs == 1);
	assert_int_equal(h->received, 1);
}

static void nothing_spins(void **state)
{
	(void)state;
	each(half_closed_sleeps);
	each(stopped_sleeps);
}

static void a_reset_is_seen(void **state)
{
	struct half *h;

	(void)state;
	/* While reading, behind data. */
	h = half_open(false);
	tcp_conn_read_start(h->conn);
	peer_says(h, "data");
	peer_resets(h);
	RUN_UNTIL(&h->t, h->errors == 1);
	assert_int_equal(h->error, -ECONNRESET);
	assert_int_equal(h->received, 4);
	assert_int_equal(h->eofs, 0);
	half_close(h);
}

/* @mode 0: never read; 1: stopped, with bytes waiting; 2: after the client's end of file */
static void reset_while_gated(int mode)
{
	struct half *h = half_open(false);
	cv_time begin;

	if (mode == 1) {
		h->allocs_max = 1;
		h->lend = 1;
		tcp_conn_read_start(h->conn);
		peer_says(h, "abc");
		RUN_UNTIL(&h->t, !tcp_conn_is_reading(h->conn));
		assert_int_equal(h->received, 1);
	} else if (mode == 2) {
		tcp_conn_read_start(h->conn);
		assert_int_equal(shutdown(h->peer, SHUT_WR), 0);
		RUN_UNTIL(&h->t, h->eofs == 1);
	}
	begin = clock_now();
	peer_resets(h);
	RUN_UNTIL(&h->t, h->errors == 1);
	assert_true(clock_now() - begin <= CV_MS(1500));
	assert_true(h->error == (mode == 2 ? -EPIPE : -ECONNRESET));
	half_close(h);
}

static void a_reset_is_seen_while_gated(void **state)
{
	(void)state;
	reset_while_gated(0);
	reset_while_gated(1);
	reset_while_gated(2);
}

static void a_unix_client_hangs_up_while_gated(void **state)
{
	struct half *h = half_open(true);

	(void)state;
	tcp_conn_read_start(h->conn);
	assert_int_equal(shutdown(h->peer, SHUT_WR), 0);
	RUN_UNTIL(&h->t, h->eofs == 1);
	fds_close(&h->peer);
	RUN_UNTIL(&h->t, h->errors == 1);
	assert_int_equal(h->error, -EPIPE);
	half_close(h);
}

/* 8 MiB to a peer that reads in its own time: bounded in the kernel, whole in the end. */
static void slow_reader(struct half *h)
{
	static uint8_t bytes[BULK], got[BULK];
	struct iovec pieces[TCP_CONN_PIECES_MAX + 8];
	size_t done = 0, taken, read_size = 0, left;
	unsigned count;
	ssize_t n;

	for (size_t i = 0; i < BULK; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 4096);
	memset(got, 0, sizeof(got));
	while (read_size < BULK) {
		if (done < BULK) {
			left = BULK - done;
			for (count = 0; count < CV_ARRAY_SIZE(pieces) && left; count++) {
				pieces[count].iov_base = bytes + (BULK - left);
				pieces[count].iov_len = CV_MIN(left, (size_t)4096);
				left -= pieces[count].iov_len;
			}
			assert_int_equal(tcp_conn_writev(h->conn, pieces, count, &taken), 0);
			done += taken;
			if (taken > 0)
				continue;
		}
		n = read(h->peer, got + read_size, CV_MIN((size_t)100000, BULK - read_size));
		if (n > 0)
			read_size += (size_t)n;
		test_loop_turn(&h->t);
	}
	assert_true(h->writables > 0);
	assert_memory_equal(bytes, got, BULK);
}

/* The reader lends little and stops often: nothing is lost, nothing read in advance. */
static void little_memory(struct half *h)
{
	uint8_t bytes[4000];
	uint32_t sum = 0;

	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] = (uint8_t)(i * 13);
		sum = sum * 31 + bytes[i];
	}
	assert_int_equal(write(h->peer, bytes, sizeof(bytes)), sizeof(bytes));
	h->lend = 7;
	while (h->received < sizeof(bytes)) {
		h->allocs_max = h->allocs + 3;
		tcp_conn_read_start(h->conn);
		RUN_UNTIL(&h->t, !tcp_conn_is_reading(h->conn) || h->received == sizeof(bytes));
	}
	assert_int_equal(h->sum, sum);
}

static void back_pressure(void **state)
{
	(void)state;
	each(slow_reader);
	each(little_memory);
}

static void close_and_reset_differ(void **state)
{
	struct half *h = half_open(false);
	char out[4];

	(void)state;
	tcp_conn_close(h->conn);
	assert_int_equal(peer_reads(h, out, sizeof(out)), 0);
	RUN_UNTIL(&h->t, h->closed == 1);
	half_close(h);

	h = half_open(false);
	tcp_conn_reset(h->conn);
	assert_int_equal(peer_reads(h, out, sizeof(out)), -ECONNRESET);
	RUN_UNTIL(&h->t, h->closed == 1);
	half_close(h);

	h = half_open(true);
	tcp_conn_reset(h->conn);
	assert_int_equal(peer_reads(h, out, sizeof(out)), 0);
	RUN_UNTIL(&h->t, h->closed == 1);
	half_close(h);
}

static void closes_in_callback(struct half *h)
{
	h->closes_in_read = true;
	h->lend = 1;
	tcp_conn_read_start(h->conn);
	peer_says(h, "many bytes");
	RUN_UNTIL(&h->t, h->closed == 1);
	assert_int_equal(h->received, 1);
}

static void closing_in_a_callback(void **state)
{
	(void)state;
	each(closes_in_callback);
}

/* The peer is gone: the write says so, or the error comes, but never both. */
static void write_fails(struct half *h)
{
	uint8_t byte = 'x';
	struct iovec piece = { .iov_base = &byte, .iov_len = 1 };
	size_t taken;
	int r = 0;

	fds_close(&h->peer);
	RUN_UNTIL(&h->t, h->errors || (r = tcp_conn_writev(h->conn, &piece, 1, &taken)) < 0);
	assert_true(h->errors == 0 || h->error == -ECONNRESET || h->error == -EPIPE);
	assert_true(r == 0 || r == -EPIPE || r == -ECONNRESET);
}

static void writing_to_nobody(void **state)
{
	(void)state;
	each(write_fails);
}

static int option(const struct half *h, int level, int name)
{
	int value = 0;
	socklen_t size = sizeof(value);

	assert_int_equal(getsockopt(h->fd, level, name, &value, &size), 0);
	return value;
}

/* A key that was typed leaves at once; a host that is gone is noticed after two minutes, and
 * every byte is data. */
static void sockets_are_set_up_for_people(void **state)
{
	struct half *h = half_open(false);

	(void)state;
	assert_int_equal(option(h, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_int_equal(option(h, SOL_SOCKET, SO_KEEPALIVE), 1);
#ifdef TCP_KEEPIDLE
	assert_int_equal(option(h, IPPROTO_TCP, TCP_KEEPIDLE), 60);
#endif
	assert_int_equal(option(h, IPPROTO_TCP, TCP_KEEPINTVL), 15);
	assert_int_equal(option(h, IPPROTO_TCP, TCP_KEEPCNT), 4);
	tcp_conn_read_start(h->conn);
	assert_int_equal(send(h->peer, "ab", 2, 0), 2);
	assert_int_equal(send(h->peer, "c", 1, MSG_OOB), 1);
	assert_int_equal(send(h->peer, "de", 2, 0), 2);
	RUN_UNTIL(&h->t, h->received == 5);
	assert_int_equal(h->sum, (((('a' * 31u + 'b') * 31 + 'c') * 31 + 'd') * 31) + 'e');
	half_close(h);
}

static void the_set_is_bounded(void **state)
{
	struct half *h = half_open(true);
	struct tcp_conn *conn;
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(tcp_conn_new(h->set, fds[0], &conn), -EMFILE);
	assert_int_equal(fcntl(fds[0], F_GETFD), -1); /* taken all the same */
	fds_close(&fds[1]);
	half_close(h);
}

static void addresses_are_known(void **state)
{
	struct half *h = half_open(false);
	struct addr a = tcp_conn_local_address(h->conn), b = fds_peer(h->peer);

	(void)state;
	assert_true(addr_equal(&a, &b));
	a = tcp_conn_peer_address(h->conn);
	b = fds_local(h->peer);
	assert_true(addr_equal(&a, &b));
	half_close(h);
	h = half_open(true);
	assert_int_equal(tcp_conn_peer_address(h->conn).family, ADDR_NONE);
	half_close(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(half_close_both_ways),
		cmocka_unit_test(nothing_spins),
		cmocka_unit_test(a_reset_is_seen),
		cmocka_unit_test(a_reset_is_seen_while_gated),
		cmocka_unit_test(a_unix_client_hangs_up_while_gated),
		cmocka_unit_test(back_pressure),
		cmocka_unit_test(close_and_reset_differ),
		cmocka_unit_test(closing_in_a_callback),
		cmocka_unit_test(writing_to_nobody),
		cmocka_unit_test(sockets_are_set_up_for_people),
		cmocka_unit_test(the_set_is_bounded),
		cmocka_unit_test(addresses_are_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

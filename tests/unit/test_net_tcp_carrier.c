/* SPDX-License-Identifier: MIT */

/*
 * Goal: datagrams come out as they went in, whatever the stream does; who does not read costs a
 * short queue, and loses whole packets, oldest first; who does not say who he is goes, and keeps
 * nobody out. Method: plain clients on the loopback, which read and write as badly as they like.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/convert.h"
#include "net/fds.h"
#include "net/tcp_carrier.h"
#include "net/tcp_listener.h"
#include "test_net_loop.h"
#include "tunnel/carriage.h"

enum { ARRIVALS_MAX = 4096, STREAM_MAX = 1 << 22, PACKET = 1400 };

struct room {
	struct test_loop t;
	struct tcp_carrier *carrier;
	struct tcp_listener *l;
	unsigned taken, refused, closed, settles, blocks, unblocks;
	struct addr newest;
	struct addr welcome; /* the only one, unless none is */
	unsigned arrivals;
	size_t sizes[ARRIVALS_MAX];
	uint8_t firsts[ARRIVALS_MAX];
	struct addr from;
	uint8_t stream[STREAM_MAX]; /* what a client has read */
	size_t stream_size;
};

static void on_arrival(void *ctx, cv_time now, struct arrival *in)
{
	struct room *r = ctx;

	(void)now;
	assert_int_equal(in->socket, SOCKET_TCP);
	assert_int_equal(in->segment_size, in->size);
	assert_true(r->arrivals < ARRIVALS_MAX);
	r->sizes[r->arrivals] = in->size;
	r->firsts[r->arrivals++] = in->bytes[0];
	r->from = in->from;
}

static void on_settle(void *ctx, cv_time now)
{
	(void)now;
	((struct room *)ctx)->settles++;
}

static void on_closed(void *ctx, cv_time now, const struct addr *peer)
{
	(void)now;
	assert_int_equal(peer->family, ADDR_V4);
	((struct room *)ctx)->closed++;
}

static void on_writable(void *ctx, cv_time now, const struct addr *peer, bool is_writable)
{
	struct room *r = ctx;

	(void)now;
	(void)peer;
	if (is_writable)
		r->unblocks++;
	else
		r->blocks++;
}

static bool is_welcome(void *ctx, const struct addr *peer)
{
	return addr_equal(&((struct room *)ctx)->welcome, peer);
}

static const struct tcp_carrier_ops ops = { on_arrival, on_settle, on_closed, on_writable, NULL };
static const struct tcp_carrier_ops strict_ops = { on_arrival, on_settle, on_closed, on_writable,
	                                           is_welcome };

static void on_accept(void *ctx, struct tcp_conn *conn)
{
	struct room *r = ctx;

	r->newest = tcp_conn_peer_address(conn);
	if (tcp_carrier_take(r->carrier, conn))
		r->taken++;
	else
		r->refused++;
}

static void room_open(struct room *r, const struct tcp_carrier_options *opt,
                      const struct tcp_carrier_ops *with)
{
	struct hostport at = { .kind = HOST_ADDR, .addr = addr_v4(127, 0, 0, 1, 0) };

	memset(r, 0, sizeof(*r));
	test_loop_open(&r->t);
	assert_int_equal(tcp_carrier_open(&r->t.loop, opt, with, r, &r->carrier), 0);
	assert_int_equal(tcp_listener_open(tcp_carrier_set(r->carrier), &at, on_accept, r, &r->l),
	                 0);
}

static void room_close(struct room *r)
{
	tcp_listener_close(r->l, NULL, NULL);
	tcp_carrier_close(r->carrier);
	test_loop_close(&r->t);
}

static struct tcp_carrier_counters counters(const struct room *r)
{
	struct tcp_carrier_counters c;

	tcp_carrier_counters(r->carrier, &c);
	return c;
}

/* A connected client, taken or refused by now. @window: of its receive buffer; 0: as usual. */
static int client(struct room *r, int window)
{
	unsigned before = r->taken + r->refused;
	struct sockaddr_storage sa;
	struct hostport at;
	socklen_t size;
	int fd;

	tcp_listener_local(r->l, &at);
	assert_int_equal(convert_hostport(&at, &sa, &size), 0);
	fd = socket(sa.ss_family, SOCK_STREAM, 0);
	assert_true(fd >= 0);
	if (window > 0)
		fds_option(fd, SOL_SOCKET, SO_RCVBUF, window);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, size), 0);
	assert_int_equal(fds_prepare(fd), 0);
	fds_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	RUN_UNTIL(&r->t, r->taken + r->refused > before);
	return fd;
}

static void put(int fd, const void *bytes, size_t size)
{
	assert_int_equal(send(fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
}

/* True while the other end has not closed. */
static bool is_open(int fd)
{
	uint8_t byte;
	ssize_t n = recv(fd, &byte, 1, MSG_PEEK);

	return n > 0 || (n < 0 && errno == EAGAIN);
}

static void read_all(struct room *r, int fd)
{
	ssize_t n;

	while ((n = recv(fd, r->stream + r->stream_size, STREAM_MAX - r->stream_size, 0)) > 0)
		r->stream_size += (size_t)n;
}

/* A train of @count packets, numbered from @first on in their first two bytes. */
static void send_train(struct room *r, const struct addr *to, unsigned first, unsigned count)
{
	static uint8_t bytes[TRAIN_BYTES_MAX];
	struct train t = { .bytes = bytes,
		           .size = (size_t)count * PACKET,
		           .segment_size = PACKET,
		           .count = count,
		           .socket = SOCKET_TCP,
		           .to = *to };

	for (unsigned i = 0; i < count; i++) {
		memset(bytes + (size_t)i * PACKET, (int)(first + i) & 255, PACKET);
		bytes[(size_t)i * PACKET] = (uint8_t)((first + i) >> 8);
		bytes[(size_t)i * PACKET + 1] = (uint8_t)(first + i);
	}
	tcp_carrier_send(r->carrier, clock_now(), &t);
}

/* The numbers of the packets in the stream, all of them whole and in order; returns how many. */
static unsigned read_numbers(const struct room *r, unsigned *last)
{
	unsigned count = 0, number = 0;
	size_t at = 0;

	while (at < r->stream_size) {
		unsigned before = number;

		assert_true(r->stream_size - at >= CARRIAGE_HEADER + PACKET);
		assert_int_equal(r->stream[at] << 8 | r->stream[at + 1], PACKET);
		at += CARRIAGE_HEADER;
		number = (unsigned)(r->stream[at] << 8 | r->stream[at + 1]);
		assert_true(count == 0 || number > before);
		for (size_t i = 2; i < PACKET; i++)
			assert_int_equal(r->stream[at + i], number & 255);
		at += PACKET;
		count++;
	}
	*last = number;
	return count;
}

static struct room room;

static void datagrams_come_out_as_they_went_in(void **state)
{
	const struct tcp_carrier_options opt = { .conns_max = 4 };
	struct room *r = &room;
	uint8_t frames[] = { 0, 3, 0x41, 1, 2, 0, 1, 0x42, 0, 2, 0x43, 9 };
	unsigned last;
	int fd;

	(void)state;
	room_open(r, &opt, &ops);
	fd = client(r, 0);
	for (size_t cut = 0; cut <= sizeof(frames); cut++) {
		r->arrivals = 0;
		put(fd, frames, cut);
		test_loop_turn(&r->t);
		put(fd, frames + cut, sizeof(frames) - cut);
		RUN_UNTIL(&r->t, r->arrivals == 3);
		assert_int_equal(r->sizes[0], 3);
		assert_int_equal(r->firsts[0], 0x41);
		assert_int_equal(r->sizes[1], 1);
		assert_int_equal(r->firsts[1], 0x42);
		assert_int_equal(r->sizes[2], 2);
		assert_int_equal(r->firsts[2], 0x43);
	}
	assert_true(r->settles >= sizeof(frames));
	assert_true(addr_equal(&r->from, &r->newest));
	send_train(r, &r->newest, 0, 46);
	send_train(r, &r->newest, 46, 1);
	RUN_UNTIL(&r->t, (read_all(r, fd), r->stream_size == 47 * (CARRIAGE_HEADER + PACKET)));
	assert_int_equal(read_numbers(r, &last), 47);
	assert_int_equal(counters(r).dropped, 0);
	fds_close(&fd);
	RUN_UNTIL(&r->t, r->closed == 1);
	assert_int_equal(counters(r).conns, 0);
	room_close(r);
}

/* Rule 6.2: 64 packets, whole ones lost, oldest first; the newest is there when he reads again. */
static void a_slow_reader_loses_whole_packets(void **state)
{
	const struct tcp_carrier_options opt = { .conns_max = 4 };
	struct room *r = &room;
	unsigned last, count = 0;
	int fd;

	(void)state;
	room_open(r, &opt, &ops);
	fd = client(r, 4096);
	for (unsigned i = 0; i < 100; i++) {
		send_train(r, &r->newest, 40 * i, 40);
		test_loop_turn(&r->t);
	}
	assert_int_equal(r->blocks, 1);
	assert_int_equal(r->unblocks, 0);
	assert_true(counters(r).dropped > 3000);
	RUN_UNTIL(&r->t, (read_all(r, fd), r->unblocks == 1));
	send_train(r, &r->newest, 4000, 1);
	RUN_UNTIL(&r->t,
	          (read_all(r, fd), r->stream_size % (CARRIAGE_HEADER + PACKET) == 0 &&
	                                    (count = read_numbers(r, &last)) > 0 && last == 4000));
	assert_int_equal(count + counters(r).dropped, 4001);
	fds_close(&fd);
	room_close(r);
}

/* What has waited for 50 ms is of no use any more; but what has been begun is finished. */
static void old_packets_are_dropped(void **state)
{
	const struct tcp_carrier_options opt = { .conns_max = 4, .age_max = CV_MS(50) };
	struct room *r = &room;
	cv_time until;
	unsigned last, count = 0;
	int fd;

	(void)state;
	room_open(r, &opt, &ops);
	fd = client(r, 4096);
	for (unsigned i = 0; r->blocks == 0; i++)
		send_train(r, &r->newest, 40 * i, 40);
	assert_int_equal(counters(r).dropped, 0);
	until = clock_now() + CV_MS(60);
	RUN_UNTIL(&r->t, clock_now() > until);
	RUN_UNTIL(&r->t, (read_all(r, fd), r->unblocks == 1));
	assert_true(counters(r).dropped > 0);
	send_train(r, &r->newest, 60000, 1);
	RUN_UNTIL(&r->t,
	          (read_all(r, fd), r->stream_size % (CARRIAGE_HEADER + PACKET) == 0 &&
	                                    (count = read_numbers(r, &last)) > 0 && last == 60000));
	assert_int_equal(count + counters(r).dropped, counters(r).tx_packets);
	fds_close(&fd);
	room_close(r);
}

/* Many who do not read: what they hold is bounded, and who reads gets all of his. */
static void many_slow_readers_harm_nobody(void **state)
{
	enum { READERS = 20 };
	const struct tcp_carrier_options opt = { .conns_max = READERS + 1, .packets_max = 50 };
	struct room *r = &room;
	struct addr slow[READERS];
	int fds[READERS], fd;
	unsigned last;

	(void)state;
	room_open(r, &opt, &ops);
	for (unsigned i = 0; i < READERS; i++) {
		fds[i] = client(r, 4096);
		slow[i] = r->newest;
	}
	fd = client(r, 0);
	for (unsigned k = 0; k < 20; k++) {
		for (unsigned i = 0; i < READERS; i++)
			send_train(r, &slow[i], 46 * k, 46);
		send_train(r, &r->newest, k, 1);
		test_loop_turn(&r->t);
	}
	RUN_UNTIL(&r->t, (read_all(r, fd), r->stream_size == 20 * (CARRIAGE_HEADER + PACKET)));
	assert_int_equal(read_numbers(r, &last), 20);
	for (unsigned i = 0; i < READERS; i++) {
		/* Each finds whole packets, as far as there was room, when he reads at last. */
		r->stream_size = 0;
		RUN_UNTIL(&r->t, (read_all(r, fds[i]), r->unblocks > i));
		send_train(r, &slow[i], 60000, 1);
		RUN_UNTIL(&r->t, (read_all(r, fds[i]),
		                  r->stream_size % (CARRIAGE_HEADER + PACKET) == 0 &&
		                          read_numbers(r, &last) > 0 && last == 60000));
		fds_close(&fds[i]);
	}
	RUN_UNTIL(&r->t, r->closed == READERS);
	fds_close(&fd);
	room_close(r);
}

static void a_bad_length_closes(void **state)
{
	static const uint8_t bad[][4] = { { 0, 0, 1, 1 }, { 255, 255, 1, 1 }, { 5, 182, 1, 1 } };
	const struct tcp_carrier_options opt = { .conns_max = 4 };
	struct room *r = &room;

	(void)state;
	room_open(r, &opt, &ops);
	for (unsigned i = 0; i < CV_ARRAY_SIZE(bad); i++) {
		int fd = client(r, 0);

		put(fd, bad[i], sizeof(bad[i]));
		RUN_UNTIL(&r->t, r->closed == i + 1);
		RUN_UNTIL(&r->t, !is_open(fd));
		fds_close(&fd);
	}
	assert_int_equal(counters(r).broken, CV_ARRAY_SIZE(bad));
	assert_int_equal(r->arrivals, 0);
	room_close(r);
}

/* A stranger has his time, also one who writes a byte now and then; who is welcome stays. */
static void strangers_go(void **state)
{
	const struct tcp_carrier_options opt = { .conns_max = 4, .welcome_within = CV_MS(100) };
	struct room *r = &room;
	cv_time begun = clock_now();
	int stranger, dribbler, guest;

	(void)state;
	room_open(r, &opt, &strict_ops);
	stranger = client(r, 0);
	dribbler = client(r, 0);
	guest = client(r, 0);
	r->welcome = r->newest;
	put(dribbler, "\5\1", 2);
	for (unsigned i = 0; r->closed < 2; i++) {
		assert_true(clock_now() - begun < CV_SEC(10));
		if (i < 1000)
			(void)!send(dribbler, "x", 1, MSG_NOSIGNAL);
		test_loop_turn(&r->t);
	}
	assert_true(clock_now() - begun >= CV_MS(100));
	assert_false(is_open(stranger));
	assert_int_equal(counters(r).expired, 2);
	begun = clock_now();
	RUN_UNTIL(&r->t, clock_now() - begun > CV_MS(250));
	assert_true(is_open(guest));
	assert_int_equal(counters(r).conns, 1);
	/* He is forgotten. */
	r->welcome = (struct addr){ .family = ADDR_NONE };
	RUN_UNTIL(&r->t, r->closed == 3);
	fds_close(&stranger);
	fds_close(&dribbler);
	fds_close(&guest);
	room_close(r);
}

/* All places taken by those who say nothing: the next one displaces the first of them, and nobody
 * displaces a guest. */
static void strangers_keep_nobody_out(void **state)
{
	const struct tcp_carrier_options opt = { .conns_max = 3 };
	struct room *r = &room;
	int fds[6];

	(void)state;
	room_open(r, &opt, &strict_ops);
	for (unsigned i = 0; i < 3; i++) {
		fds[i] = client(r, 0);
		if (i == 0)
			r->welcome = r->newest;
	}
	fds[3] = client(r, 0);
	assert_int_equal(r->taken, 4);
	assert_true(is_open(fds[0]));
	RUN_UNTIL(&r->t, !is_open(fds[1]));
	fds[4] = client(r, 0);
	RUN_UNTIL(&r->t, !is_open(fds[2]));
	assert_true(is_open(fds[0]) && is_open(fds[3]) && is_open(fds[4]));
	assert_int_equal(counters(r).displaced, 2);
	for (unsigned i = 0; i < 5; i++)
		fds_close(&fds[i]);
	RUN_UNTIL(&r->t, counters(r).conns == 0);
	room_close(r);
}

static void one_address_has_its_share(void **state)
{
	const struct tcp_carrier_options opt = { .conns_max = 10, .conns_per_prefix_max = 2 };
	struct room *r = &room;
	int fds[3];

	(void)state;
	room_open(r, &opt, &ops);
	for (unsigned i = 0; i < 3; i++)
		fds[i] = client(r, 0);
	assert_int_equal(r->taken, 2);
	assert_int_equal(counters(r).refused, 1);
	RUN_UNTIL(&r->t, !is_open(fds[2]));
	fds_close(&fds[2]);
	fds_close(&fds[0]);
	RUN_UNTIL(&r->t, r->closed == 1);
	fds[0] = client(r, 0);
	assert_int_equal(r->taken, 3);
	fds_close(&fds[0]);
	fds_close(&fds[1]);
	room_close(r);
}

/* The owner has no use for it: no word comes of it afterwards. */
static void what_is_dropped_is_silent(void **state)
{
	const struct tcp_carrier_options opt = { .conns_max = 4 };
	struct room *r = &room;
	struct addr gone;
	unsigned last;
	int fd;

	(void)state;
	room_open(r, &opt, &ops);
	fd = client(r, 0);
	gone = r->newest;
	send_train(r, &gone, 7, 1);
	tcp_carrier_drop(r->carrier, &gone);
	tcp_carrier_drop(r->carrier, &gone);
	send_train(r, &gone, 8, 3);
	assert_int_equal(counters(r).dropped, 3);
	RUN_UNTIL(&r->t, (read_all(r, fd), !is_open(fd)));
	assert_int_equal(read_numbers(r, &last), 1); /* what was written has left */
	assert_int_equal(r->closed, 0);
	fds_close(&fd);
	room_close(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(datagrams_come_out_as_they_went_in),
		cmocka_unit_test(a_slow_reader_loses_whole_packets),
		cmocka_unit_test(old_packets_are_dropped),
		cmocka_unit_test(many_slow_readers_harm_nobody),
		cmocka_unit_test(a_bad_length_closes),
		cmocka_unit_test(strangers_go),
		cmocka_unit_test(strangers_keep_nobody_out),
		cmocka_unit_test(one_address_has_its_share),
		cmocka_unit_test(what_is_dropped_is_silent),
	};

	return cmocka_run_group_tests_name("tcp_carrier", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: every datagram of every train arrives once, whole and cut where it was, however the
 * kernel behaves; and no error makes the port deaf.
 *
 * Method: two ports over the loopback with a core each that numbers its datagrams; the
 * number says how long it must be and what is in it. A train leaves when the one before has
 * arrived, so the receiver's buffer is never the question. Trains take turns with the four ECN
 * codepoints. The kernel's refusals are ours: sendmsg() and sendmmsg() are replaced and fail as
 * told.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/rd.h"
#include "base/wr.h"
#include "net/fds.h"
#include "net/udp_port.h"
#include "test_net_loop.h"

/* ---- The kernel as told ---- */

static struct {
	int whole_error;  /* of the next calls with UDP_SEGMENT */
	int whole_times;  /* negative: always */
	int single_error; /* of sendmmsg(), and of sendmsg() without UDP_SEGMENT */
	int single_times;
	unsigned singles_max; /* datagrams that one sendmmsg() takes; 0: all */
	unsigned wholes;      /* calls with UDP_SEGMENT that went through */
} kernel;

static bool fails(int *times, int error)
{
	if (*times == 0)
		return false;
	if (*times > 0)
		--*times;
	errno = error;
	return true;
}

ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	const struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	bool is_whole = c && c->cmsg_level == IPPROTO_UDP; /* ours comes first */

	if (is_whole ? fails(&kernel.whole_times, kernel.whole_error)
	             : fails(&kernel.single_times, kernel.single_error))
		return -1;
	kernel.wholes += is_whole;
	return syscall(SYS_sendmsg, fd, msg, flags);
}

int sendmmsg(int fd, struct mmsghdr *msgs, unsigned count, int flags)
{
	if (fails(&kernel.single_times, kernel.single_error))
		return -1;
	if (kernel.singles_max && count > kernel.singles_max)
		count = kernel.singles_max;
	return (int)syscall(SYS_sendmmsg, fd, msgs, count, flags);
}

/* ---- A core that counts ---- */

enum { SEGMENT = 1000 };

struct side {
	struct udp_port *port;
	struct addr to;
	struct side *other;
	unsigned trains_left, segments, tail;
	unsigned train_count; /* segments of a train of a fixed size; 0: it grows, 1..64 */
	uint32_t sent, received;
	unsigned refused, too_large, turns, deadlines;
	size_t too_large_size;
	struct addr refused_to;
	cv_time due_at, fired_at;
	bool is_turn, has_events_for_ever;
	bool may_lose;  /* datagrams that are sent to it */
	bool has_marks; /* trains leave with codepoints in turn */
	uint8_t ecn;    /* of the newest one */
	uint16_t from_socket, to_socket;
	unsigned by_tcp, settles;
};

static unsigned size_of(uint32_t number)
{
	/* Ends of trains are marked in the number by the sender. */
	return number >> 16 ? number >> 16 : SEGMENT;
}

static void on_turn(void *ctx, cv_time now)
{
	struct side *s = ctx;

	(void)now;
	s->turns++;
	s->is_turn = true;
}

static void on_arrival(void *ctx, cv_time now, struct arrival *in)
{
	struct side *s = ctx;
	size_t size;

	(void)now;
	assert_true(s->is_turn);
	s->from_socket = in->socket;
	if (s->other && s->other->has_marks)
		assert_int_equal(in->ecn, s->other->ecn);
	else
		assert_int_equal(in->ecn, ECN_NOT_ECT);
	for (size_t at = 0; at < in->size; at += size) {
		const uint8_t *d = in->bytes + at;

		size = CV_MIN(in->segment_size, in->size - at);
		assert_true(size >= 4);
		assert_int_equal(size, size_of(cv_load32(d)));
		if (s->may_lose)
			s->received += (uint16_t)(cv_load32(d) - s->received);
		assert_int_equal(cv_load32(d) & 0xffff, s->received & 0xffff);
		for (size_t i = 4; i < size; i++)
			assert_int_equal(d[i], (uint8_t)(s->received + i));
		s->received++;
	}
	if (s->other)
		udp_port_kick(s->other->port); /* its next train */
}

static void on_refused(void *ctx, cv_time now, uint16_t socket, const struct addr *to)
{
	struct side *s = ctx;

	(void)now;
	assert_int_equal(socket, 0);
	s->refused++;
	s->refused_to = *to;
}

static void on_too_large(void *ctx, cv_time now, uint16_t socket, const struct addr *to,
                         size_t size)
{
	struct side *s = ctx;

	(void)now;
	(void)socket;
	assert_true(addr_equal(to, &s->to));
	s->too_large++;
	s->too_large_size = size;
}

static bool write_train(void *ctx, cv_time now, struct train *out)
{
	static const unsigned tails[] = { 4, 5, 999, SEGMENT };
	struct side *s = ctx;
	unsigned count, tail, size;
	uint8_t *d = out->bytes;

	(void)now;
	assert_true(s->is_turn);
	if (s->trains_left == 0 || (s->other && s->other->received != s->sent))
		return false;
	s->trains_left--;
	if (s->has_marks)
		s->ecn = (s->ecn + 1) & ECN_CE;
	out->ecn = s->ecn;
	count = s->train_count ? s->train_count : s->segments++ % TRAIN_SEGMENTS_MAX + 1;
	tail = tails[s->tail++ % CV_ARRAY_SIZE(tails)];
	for (unsigned i = 0; i < count; i++) {
		size = i + 1 < count ? SEGMENT : tail;
		cv_store32(d, (s->sent & 0xffff) | (size < SEGMENT ? size << 16 : 0));
		for (unsigned j = 4; j < size; j++)
			d[j] = (uint8_t)(s->sent + j);
		d += size;
		s->sent++;
	}
	out->size = (size_t)(d - out->bytes);
	out->segment_size = CV_MIN((size_t)SEGMENT, out->size);
	out->count = count;
	out->to = s->to;
	out->socket = s->to_socket;
	return true;
}

static cv_time deadline(void *ctx)
{
	struct side *s = ctx;

	s->is_turn = false; /* the last call of a pump */
	return s->due_at;
}

static void on_deadline(void *ctx, cv_time now)
{
	struct side *s = ctx;

	assert_true(s->is_turn);
	assert_true(now >= s->due_at);
	s->deadlines++;
	s->fired_at = now;
	s->due_at = CV_TIME_NEVER;
}

static void send_tcp(void *ctx, cv_time now, const struct train *t)
{
	struct side *s = ctx;

	(void)now;
	assert_int_equal(t->socket, SOCKET_TCP);
	assert_true(addr_equal(&t->to, &s->to));
	s->by_tcp += t->count;
}

static void settle(void *ctx, cv_time now)
{
	struct side *s = ctx;

	(void)now;
	s->settles++;
}

static bool drain_events(void *ctx, cv_time now)
{
	struct side *s = ctx;

	(void)now;
	return s->has_events_for_ever;
}

static void open_side(struct test_loop *t, struct side *s, const struct udp_port_options *opt)
{
	const struct udp_core core = {
		.ctx = s,
		.on_turn = on_turn,
		.on_arrival = on_arrival,
		.on_refused = on_refused,
		.on_too_large = on_too_large,
		.write = write_train,
		.deadline = deadline,
		.on_deadline = on_deadline,
		.drain_events = drain_events,
		.settle = settle,
		.send_tcp = send_tcp,
	};

	*s = (struct side){ .due_at = CV_TIME_NEVER };
	assert_int_equal(udp_port_open(&t->loop, opt, &core, &s->port), 0);
}

struct pair {
	struct test_loop t;
	struct side a, b;
	unsigned closed;
};

static void on_closed(void *ctx)
{
	struct pair *p = ctx;

	p->closed++;
}

static void pair_open_at(struct pair *p, const struct addr *at, bool without_gso)
{
	struct udp_port_options opt = { .binds = at, .bind_count = 1, .without_gso = without_gso };

	memset(&kernel, 0, sizeof(kernel));
	memset(p, 0, sizeof(*p));
	test_loop_open(&p->t);
	opt.buffer_size = 256 * 1024; /* no warning, and enough for a train */
	open_side(&p->t, &p->a, &opt);
	open_side(&p->t, &p->b, &opt);
	p->a.other = &p->b;
	p->b.other = &p->a;
	assert_int_equal(udp_port_local(p->b.port, &p->a.to, 1), 1);
	assert_int_equal(udp_port_local(p->a.port, &p->b.to, 1), 1);
	assert_int_equal(udp_port_number(p->b.port), p->a.to.port);
}

static void pair_open(struct pair *p, bool without_gso)
{
	struct addr at = addr_v4(127, 0, 0, 1, 0);

	pair_open_at(p, &at, without_gso);
}

static void pair_close(struct pair *p)
{
	udp_port_close(p->a.port, on_closed, p);
	udp_port_close(p->b.port, on_closed, p);
	RUN_UNTIL(&p->t, p->closed == 2);
	test_loop_close(&p->t);
}

/* Not as the port does it: the socket's own mark, and whether it is shown. */
static bool kernel_has_marks(bool is_v4)
{
	int level = is_v4 ? IPPROTO_IP : IPPROTO_IPV6;
	int rx = fds_socket(is_v4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
	int tx = fds_socket(is_v4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
	struct sockaddr_storage at = { .ss_family = is_v4 ? AF_INET : AF_INET6 };
	socklen_t size = is_v4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
	_Alignas(struct cmsghdr) uint8_t control[64];
	uint8_t byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	bool has_marks = false;

	msg.msg_control = control;
	msg.msg_controllen = sizeof(control);
	if (bind(rx, (struct sockaddr *)&at, size) == 0 &&
	    getsockname(rx, (struct sockaddr *)&at, &size) == 0) {
		fds_option(rx, level, is_v4 ? IP_RECVTOS : IPV6_RECVTCLASS, 1);
		fds_option(tx, level, is_v4 ? IP_TOS : IPV6_TCLASS, ECN_ECT0);
		has_marks = sendto(tx, &byte, 1, 0, (struct sockaddr *)&at, size) == 1 &&
		            recvmsg(rx, &msg, 0) == 1 && CMSG_FIRSTHDR(&msg) &&
		            CMSG_FIRSTHDR(&msg)->cmsg_level == level &&
		            *CMSG_DATA(CMSG_FIRSTHDR(&msg)) == ECN_ECT0;
	}
	fds_close(&rx);
	fds_close(&tx);
	return has_marks;
}

/* Every length of train with every tail, both ways at once. */
static void exchange(struct pair *p)
{
	bool is_v4 = p->a.to.family == ADDR_V4;
	struct udp_port_counters c, after;

	udp_port_counters(p->a.port, &c);
	p->a.has_marks = p->b.has_marks = is_v4 ? c.is_ecn_v4 : c.is_ecn_v6;
	assert_int_equal(p->a.has_marks, kernel_has_marks(is_v4));
	p->a.trains_left = p->b.trains_left = 4 * TRAIN_SEGMENTS_MAX + 3;
	udp_port_kick(p->a.port);
	udp_port_kick(p->b.port);
	RUN_UNTIL(&p->t, p->a.trains_left == 0 && p->b.trains_left == 0 &&
	                         p->a.received == p->b.sent && p->b.received == p->a.sent);
	/* Nothing that it was told made the kernel refuse. */
	udp_port_counters(p->a.port, &after);
	assert_true(after.is_gso_v4 == c.is_gso_v4 && after.is_gso_v6 == c.is_gso_v6);
}

static struct udp_port_counters counters(const struct side *s)
{
	struct udp_port_counters c;

	udp_port_counters(s->port, &c);
	return c;
}

static void trains_arrive(void **state)
{
	struct pair p;
	struct udp_port_counters c;

	(void)state;
	pair_open(&p, false);
	exchange(&p);
	c = counters(&p.a);
	assert_int_equal(c.tx_packets, p.a.sent);
	assert_int_equal(c.rx_packets, p.b.sent);
	assert_int_equal(c.tx_errors + c.tx_blocked + c.rx_truncated, 0);
	if (c.is_gso_v4)
		assert_int_equal(c.tx_calls, 4 * TRAIN_SEGMENTS_MAX + 3);
	pair_close(&p);
}

static void trains_arrive_without_gso(void **state)
{
	struct pair p;

	(void)state;
	pair_open(&p, true);
	kernel.wholes = 0; /* without those of the self-tests */
	assert_false(counters(&p.a).is_gso_v4);
	exchange(&p);
	assert_int_equal(kernel.wholes, 0);
	pair_close(&p);
}

static void the_environment_forbids_gso(void **state)
{
	struct pair p;

	(void)state;
	assert_int_equal(setenv("CULVERT_UDP_GSO", "0", 1), 0);
	pair_open(&p, false);
	assert_int_equal(unsetenv("CULVERT_UDP_GSO"), 0);
	assert_false(counters(&p.a).is_gso_v4);
	pair_close(&p);
}

static void trains_arrive_over_ipv6(void **state)
{
	struct addr at = { .family = ADDR_V6, .ip = { [15] = 1 } };
	int fd = fds_socket(AF_INET6, SOCK_DGRAM, 0);
	struct pair p;

	(void)state;
	if (fd < 0)
		skip();
	fds_close(&fd);
	pair_open_at(&p, &at, false);
	exchange(&p);
	pair_close(&p);
}

/* What the kernel says, and whether GSO may be used after it. */
static void no_refusal_loses_a_datagram(void **state)
{
	static const struct {
		const char *what;
		int whole_error, whole_times, single_error, single_times;
		unsigned singles_max;
		bool without_gso, keeps_gso;
	} rows[] = {
		{ "buffer full, with GSO", EAGAIN, 1, 0, 0, 0, false, true },
		{ "device full, with GSO", ENOBUFS, 3, 0, 0, 0, false, true },
		{ "somebody else's error first", ECONNREFUSED, 1, 0, 0, 0, false, true },
		{ "a leftover EMSGSIZE", EMSGSIZE, 2, 0, 0, 0, false, true },
		{ "no checksums", EIO, 1, 0, 0, 0, false, false },
		{ "virtio and IPv6", EINVAL, -1, 0, 0, 0, false, false },
		{ "no GSO, and full at once", EIO, 1, EAGAIN, 1, 0, false, false },
		{ "buffer full, singles", 0, 0, EAGAIN, 2, 0, true, false },
		{ "device full, singles", 0, 0, ENOBUFS, 2, 0, true, false },
		{ "three at a time", 0, 0, 0, 0, 3, true, false },
		{ "an error before singles", 0, 0, EHOSTUNREACH, 2, 5, true, false },
	};
	struct pair p;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		print_message("  %s\n", rows[i].what);
		pair_open(&p, rows[i].without_gso);
		if (!rows[i].without_gso && !counters(&p.a).is_gso_v4) {
			pair_close(&p);
			continue; /* this kernel has none */
		}
		p.a.train_count = 10;
		p.a.trains_left = 5;
		kernel.whole_error = rows[i].whole_error;
		kernel.whole_times = rows[i].whole_times;
		kernel.single_error = rows[i].single_error;
		kernel.single_times = rows[i].single_times;
		kernel.singles_max = rows[i].singles_max;
		udp_port_kick(p.a.port);
		RUN_UNTIL(&p.t, p.b.received == 50);
		assert_int_equal(kernel.single_times, 0);
		assert_int_equal(counters(&p.a).is_gso_v4, rows[i].keeps_gso);
		assert_int_equal(counters(&p.a).tx_packets, 50);
		assert_int_equal(counters(&p.a).tx_errors, 0);
		assert_int_equal(p.a.too_large, 0);
		memset(&kernel, 0, sizeof(kernel));
		pair_close(&p);
	}
}

/* While the kernel takes nothing, the core is not asked for more, nothing spins, and what is kept
 * leaves first. */
static void a_refused_train_waits(void **state)
{
	struct pair p;
	unsigned turns;

	(void)state;
	pair_open(&p, true);
	p.a.other = NULL; /* everything at once */
	p.a.train_count = 4;
	p.a.trains_left = 10;
	kernel.single_error = ENOBUFS;
	kernel.single_times = -1;
	udp_port_kick(p.a.port);
	RUN_UNTIL(&p.t, p.a.sent == 4);
	turns = p.t.turns;
	RUN_UNTIL(&p.t, counters(&p.a).tx_blocked >= 20); /* once a millisecond */
	assert_in_range(p.t.turns - turns, 10, 100);
	assert_int_equal(p.a.sent, 4);
	assert_false(udp_port_flush(p.a.port));
	kernel.single_times = 0;
	RUN_UNTIL(&p.t, p.b.received == 40);
	assert_true(udp_port_flush(p.a.port));
	pair_close(&p);
}

static void too_large_is_told_once_a_datagram(void **state)
{
	struct pair p;

	(void)state;
	pair_open(&p, false);
	p.a.train_count = 10;
	p.a.trains_left = 1;
	p.a.other = NULL;
	kernel.whole_error = kernel.single_error = EMSGSIZE;
	kernel.whole_times = kernel.single_times = -1;
	udp_port_kick(p.a.port);
	RUN_UNTIL(&p.t, p.a.too_large > 0 && p.a.trains_left == 0);
	if (counters(&p.a).is_gso_v4)
		assert_int_equal(p.a.too_large, 1); /* the train, at its segments' size */
	assert_int_equal(p.a.too_large_size, counters(&p.a).is_gso_v4 ? SEGMENT : 4);
	pair_close(&p);

	/* An older kernel says EINVAL for the train: the singles tell that it was the size. */
	pair_open(&p, false);
	if (counters(&p.a).is_gso_v4) {
		p.a.train_count = 3;
		p.a.trains_left = 1;
		p.a.other = NULL;
		kernel.whole_error = EINVAL;
		kernel.single_error = EMSGSIZE;
		kernel.whole_times = kernel.single_times = -1;
		udp_port_kick(p.a.port);
		RUN_UNTIL(&p.t, p.a.too_large > 0);
		assert_true(counters(&p.a).is_gso_v4);
	}
	memset(&kernel, 0, sizeof(kernel));
	pair_close(&p);
}

/* Nobody listens: the kernel sends ICMP, libuv stops polling, and the port must go on. */
static void refused_is_told_and_survived(void **state)
{
	struct addr at = addr_v4(127, 0, 0, 1, 0), nobody;
	struct udp_port_options opt = { .binds = &at, .bind_count = 1 };
	struct side gone;
	struct pair p;

	(void)state;
	pair_open(&p, false);
	open_side(&p.t, &gone, &opt);
	assert_int_equal(udp_port_local(gone.port, &nobody, 1), 1);
	udp_port_close(gone.port, on_closed, &p);
	RUN_UNTIL(&p.t, p.closed == 1);
	p.closed = 0;

	for (unsigned i = 1; i <= 3; i++) {
		struct addr friend = p.a.to;

		p.a.to = nobody;
		p.a.other = NULL;
		p.a.train_count = 1;
		p.a.trains_left = 1;
		udp_port_kick(p.a.port);
		RUN_UNTIL(&p.t, p.a.refused >= i);
		assert_true(addr_equal(&p.a.refused_to, &nobody));
		p.a.to = friend;
		p.b.received = p.a.sent;
		p.a.other = &p.b;
		p.a.train_count = 0;
		exchange(&p);
	}
#ifdef __linux__
	assert_true(counters(&p.a).poll_errors > 0);
#endif
	pair_close(&p);
}

static void both_families_have_one_number(void **state)
{
	struct addr any = { .family = ADDR_NONE }, local[UDP_PORT_SOCKETS_MAX];
	struct udp_port_options opt = { .binds = &any, .bind_count = 1, .with_next = true };
	struct pair p = { .closed = 0 };
	unsigned count;

	(void)state;
	memset(&kernel, 0, sizeof(kernel));
	test_loop_open(&p.t);
	open_side(&p.t, &p.a, &opt);
	count = udp_port_local(p.a.port, local, UDP_PORT_SOCKETS_MAX);
	assert_in_range(count, 1, 4);
	for (unsigned i = 0; i < count; i++) {
		assert_true(local[i].port == udp_port_number(p.a.port) ||
		            local[i].port == udp_port_number(p.a.port) + 1);
	}
	udp_port_close(p.a.port, on_closed, &p);
	RUN_UNTIL(&p.t, p.closed == 1);
	test_loop_close(&p.t);
}

/* Each address has its next port up, numbered behind all that were asked for. */
static void every_bind_has_a_next_port(void **state)
{
	struct addr at[2] = { addr_v4(127, 0, 0, 1, 0), addr_v4(127, 0, 0, 2, 0) };
	struct udp_port_options opt = { .binds = at, .bind_count = 2, .with_next = true };
	struct addr local[UDP_PORT_SOCKETS_MAX];
	uint16_t index[UDP_PORT_SOCKETS_MAX];
	struct pair p = { .closed = 0 };
	unsigned count;

	(void)state;
	memset(&kernel, 0, sizeof(kernel));
	test_loop_open(&p.t);
	open_side(&p.t, &p.a, &opt);
	count = udp_port_places(p.a.port, local, index, UDP_PORT_SOCKETS_MAX);
	assert_in_range(count, 2, 4); /* a next port may be taken */
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(index[i], i);
	for (unsigned i = 2; i < count; i++) {
		const struct addr *first = &local[addr_equal_ip(&local[i], &local[1])];

		assert_true(addr_equal_ip(&local[i], first));
		assert_int_equal(local[i].port, first->port + 1);
	}
	udp_port_close(p.a.port, on_closed, &p);
	RUN_UNTIL(&p.t, p.closed == 1);
	test_loop_close(&p.t);
}

/* Two addresses of one family are two socket numbers; an answer leaves where it is told. */
static void numbered_sockets(void **state)
{
	struct addr at[2] = { addr_v4(127, 0, 0, 1, 0), addr_v4(127, 0, 0, 1, 0) }, local[2];
	struct udp_port_options opt = { .binds = at, .bind_count = 2 };
	struct side two;
	struct pair p;

	(void)state;
	pair_open(&p, false);
	open_side(&p.t, &two, &opt);
	assert_int_equal(udp_port_local(two.port, local, 2), 2);
	for (uint8_t i = 0; i < 2; i++) {
		p.a.to = local[i];
		p.a.other = &two;
		two.other = &p.a;
		p.a.train_count = p.a.trains_left = 1;
		udp_port_kick(p.a.port);
		RUN_UNTIL(&p.t, two.received == i + 1U);
		assert_int_equal(two.from_socket, i);
		two.to = p.b.to;
		two.to_socket = i;
		two.train_count = two.trains_left = 1;
		udp_port_kick(two.port);
		RUN_UNTIL(&p.t, p.a.received == i + 1U);
	}
	udp_port_close(two.port, NULL, NULL);
	pair_close(&p);
}

static void taken_addresses_are_refused(void **state)
{
	struct udp_port_options opt = { .bind_count = 1 };
	struct udp_core core = { .ctx = NULL };
	struct udp_port *port;
	struct pair p;

	(void)state;
	pair_open(&p, false);
	opt.binds = &p.a.to;
	assert_int_equal(udp_port_open(&p.t.loop, &opt, &core, &port), -EADDRINUSE);
	opt.bind_count = 0;
	assert_int_equal(udp_port_open(&p.t.loop, &opt, &core, &port), -EINVAL);
	pair_close(&p);
}

static void deadlines_are_kept(void **state)
{
	struct pair p;
	cv_time due;

	(void)state;
	pair_open(&p, false);
	for (unsigned i = 1; i <= 20; i++) {
		due = p.a.due_at = clock_now() + CV_US(700);
		udp_port_kick(p.a.port);
		RUN_UNTIL(&p.t, p.a.deadlines == i);
		assert_true(p.a.fired_at >= due);
	}
	/* A later deadline over an earlier one that is still armed. */
	p.a.due_at = clock_now() + CV_MS(5);
	udp_port_kick(p.a.port);
	(void)uv_run(&p.t.loop, UV_RUN_NOWAIT);
	due = p.a.due_at = clock_now() + CV_MS(30);
	udp_port_kick(p.a.port);
	RUN_UNTIL(&p.t, p.a.deadlines == 21);
	assert_true(p.a.fired_at >= due);
	pair_close(&p);
}

/* An owner whose events never end, and a core that writes for ever, leave turns to others. */
static void a_pump_is_bounded(void **state)
{
	struct pair p;

	(void)state;
	pair_open(&p, true);
	p.a.has_events_for_ever = true;
	p.a.trains_left = 1000000;
	p.a.train_count = 1;
	p.a.other = NULL;
	p.b.other = NULL;
	p.b.may_lose = true; /* nobody waits for the receiver, whose buffer may be full */
	udp_port_kick(p.a.port);
	for (int i = 0; i < 50; i++)
		test_loop_turn(&p.t);
	assert_in_range(p.a.sent, 50, 50 * 2 * 8 * 16);
	assert_true(p.a.turns >= 50);
	p.a.trains_left = 0;
	p.a.has_events_for_ever = false;
	pair_close(&p);
}

/* What is no datagram of UDP passes by: trains to their owner, arrivals to the core. */
static void tcp_passes_by(void **state)
{
	struct pair p;
	uint8_t bytes[4] = { 0, 4, 0, 0 };
	struct arrival in = { .bytes = bytes, .size = 4, .segment_size = 4, .socket = SOCKET_TCP };

	(void)state;
	pair_open(&p, false);
	p.a.other = NULL;
	p.a.trains_left = 3;
	p.a.train_count = 2;
	p.a.to_socket = SOCKET_TCP;
	udp_port_kick(p.a.port);
	RUN_UNTIL(&p.t, p.a.by_tcp == 6);
	assert_int_equal(counters(&p.a).tx_packets, 0);
	assert_int_equal(counters(&p.a).tx_errors, 0);
	p.b.other = NULL;
	p.b.settles = 0;
	udp_port_feed(p.b.port, clock_now(), &in);
	udp_port_settle(p.b.port, clock_now());
	assert_int_equal(p.b.received, 1);
	assert_int_equal(p.b.from_socket, SOCKET_TCP);
	assert_int_equal(p.b.settles, 1);
	p.b.trains_left = 1;
	p.b.to_socket = SOCKET_TCP;
	RUN_UNTIL(&p.t, p.b.by_tcp > 0); /* it was kicked */
	pair_close(&p);
}

/* What a host tells others about itself: each of its addresses with the port it is bound to. */
static void each_address_has_its_number(void **state)
{
	const struct addr first = addr_v4(127, 0, 0, 1, 0), second = addr_v4(127, 0, 0, 2, 0);
	const struct addr third = addr_v4(127, 0, 0, 3, 9), six = { .family = ADDR_V6 };
	struct addr at[2] = { first, second }, any = { .family = ADDR_V4 }, local[2];
	struct udp_port_options opt = { .binds = at, .bind_count = 2 };
	struct pair p = { .closed = 0 };

	(void)state;
	memset(&kernel, 0, sizeof(kernel));
	test_loop_open(&p.t);
	open_side(&p.t, &p.a, &opt);
	assert_int_equal(udp_port_local(p.a.port, local, 2), 2);
	assert_int_equal(udp_port_number_at(p.a.port, &first), local[0].port);
	assert_int_equal(udp_port_number_at(p.a.port, &second), local[1].port);
	assert_int_not_equal(local[0].port, local[1].port);
	assert_int_equal(udp_port_number_at(p.a.port, &third), 0);
	opt = (struct udp_port_options){ .binds = &any, .bind_count = 1 };
	open_side(&p.t, &p.b, &opt);
	assert_int_equal(udp_port_number_at(p.b.port, &third), udp_port_number(p.b.port));
	assert_int_equal(udp_port_number_at(p.b.port, &six), 0);
	udp_port_close(p.a.port, on_closed, &p);
	udp_port_close(p.b.port, on_closed, &p);
	RUN_UNTIL(&p.t, p.closed == 2);
	test_loop_close(&p.t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(trains_arrive),
		cmocka_unit_test(trains_arrive_without_gso),
		cmocka_unit_test(the_environment_forbids_gso),
		cmocka_unit_test(trains_arrive_over_ipv6),
		cmocka_unit_test(no_refusal_loses_a_datagram),
		cmocka_unit_test(a_refused_train_waits),
		cmocka_unit_test(too_large_is_told_once_a_datagram),
		cmocka_unit_test(refused_is_told_and_survived),
		cmocka_unit_test(both_families_have_one_number),
		cmocka_unit_test(every_bind_has_a_next_port),
		cmocka_unit_test(numbered_sockets),
		cmocka_unit_test(taken_addresses_are_refused),
		cmocka_unit_test(deadlines_are_kept),
		cmocka_unit_test(a_pump_is_bounded),
		cmocka_unit_test(tcp_passes_by),
		cmocka_unit_test(each_address_has_its_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

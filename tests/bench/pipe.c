/* SPDX-License-Identifier: MIT */
/*
 * pipe - what two agents could do at most: TCP in, sealed datagrams, TCP out, and nothing else.
 *
 *	pipe far TARGET-PORT UDP-PORT PEER-UDP-PORT DATAGRAM-SIZE
 *	pipe near LISTEN-PORT UDP-PORT PEER-UDP-PORT DATAGRAM-SIZE
 *
 * All on 127.0.0.1, until it is killed; the far one is started first. The near one takes
 *connections; each is read straight into the places of a train of DATA packets, which are sealed
 *where they are, with culvert's own aead.c, and leave in one sendmsg (UDP_SEGMENT). The far one
 *takes what one recvmsg gives (UDP_GRO), opens it in place and writes it with one writev. Both do
 *so in both directions. The bytes of a packet are as many as culvert's; there is no loss recovery,
 *no acknowledgement, no congestion control, no pacing and no timer, so what culvert is slower than
 *this is what reliability costs it.
 *
 *	| kind:8 receiver:32 number:64 | type:8 id:32 offset:64 | bytes ... | tag:128 |
 *
 * Loopback loses only what a full receive buffer refuses, so each direction of a connection has a
 * window: its receiver tells, about every quarter of it, how much it has written. All windows
 * together fit the receive buffer. That is the one thing here that a pipe would not need, and
 * costs a datagram in a MiB. A number that is missing is a loss all the same: the pipe
 * says so and ends, because what it would measure then would not be a ceiling.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/rd.h"
#include "base/wr.h"
#include "tunnel/aead.h"
#include "tunnel/train.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
	HEADER_SIZE = 13, /* of a DATA packet (tunnel/PROTOCOL.md, 3); associated data */
	FRAME_SIZE = 13,
	OVERHEAD = HEADER_SIZE + FRAME_SIZE + AEAD_TAG_SIZE,
	RECEIVE_SIZE = 65536, /* UDP_GRO gives at most 65,535 */

	CONNS_MAX = 16,
	WINDOW_MAX = 4 << 20, /* bytes of one direction of a connection on their way */
	BUFFER_SIZE =
		128 << 20, /* the kernel doubles it; half of that is for its own bookkeeping */
	EVENTS_MAX = 64,
	BURST_MAX = 16, /* trains of one turn, so that the other side is not woken for each */

	TAG_LISTENER = 1000,
	TAG_UDP,
};

enum { FRAME_OPEN = 1, FRAME_DATA, FRAME_END, FRAME_CREDIT, FRAME_RESET };

/* Offsets count from 0; the end of a direction takes one. */
struct conn {
	int fd; /* -1: free */
	uint32_t id;
	bool can_read, can_write; /* as far as the kernel has told */
	uint64_t sent, credit;    /* what we said; what the other has written of it */
	uint64_t received, written, told;
	bool is_end_sent, is_end_received;
	uint8_t *ring; /* WINDOW_MAX bytes: received, not yet written */
};

struct key {
	_Alignas(16) uint8_t state[AEAD_STATE_SIZE];
	uint64_t next; /* number of the next packet to be sealed, or opened */
};

static struct {
	bool is_near;
	int epoll_fd, udp_fd, listener;
	uint16_t target;
	size_t datagram_size, window;
	uint32_t generation;
	const struct aead_ops *aead;
	struct key tx, rx;
	struct conn conns[CONNS_MAX];
} self;

static uint8_t tx_bytes[TRAIN_BYTES_MAX], rx_bytes[RECEIVE_SIZE];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
		                     .sin_port = htons(port),
		                     .sin_addr = { htonl(INADDR_LOOPBACK) } };
}

static void watch(int fd, uint32_t events, uint32_t tag)
{
	struct epoll_event ev = { .events = events, .data.u32 = tag };

	if (epoll_ctl(self.epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		die("epoll_ctl");
}

/* ---- Datagrams out ---- */

static void seal(uint8_t *at, uint8_t type, const struct conn *c, uint64_t offset, size_t size)
{
	uint64_t number = self.tx.next++;

	at[0] = 0x80;
	cv_store32(at + 1, 1);
	cv_store64(at + 5, number);
	at[HEADER_SIZE] = type;
	cv_store32(at + HEADER_SIZE + 1, c->id);
	cv_store64(at + HEADER_SIZE + 5, offset);
	self.aead->seal(self.tx.state, number, at, HEADER_SIZE, at + HEADER_SIZE,
	                FRAME_SIZE + size);
}

static void send_train(size_t size)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(uint16_t))] = { 0 };
	struct iovec iov = { .iov_base = tx_bytes, .iov_len = size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	uint16_t segment = (uint16_t)self.datagram_size;
	struct cmsghdr *c;

	if (size > segment) {
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_UDP;
		c->cmsg_type = UDP_SEGMENT;
		c->cmsg_len = CMSG_LEN(sizeof(segment));
		memcpy(CMSG_DATA(c), &segment, sizeof(segment));
	}
	if (sendmsg(self.udp_fd, &msg, 0) != (ssize_t)size)
		die("sendmsg");
}

static void send_frame(const struct conn *c, uint8_t type, uint64_t offset)
{
	seal(tx_bytes, type, c, offset, 0);
	send_train(OVERHEAD);
}

/* ---- Connections ---- */

static void conn_start(struct conn *c, int fd, uint32_t id)
{
	uint8_t *ring = c->ring ? c->ring : malloc(WINDOW_MAX);
	int on = 1;

	if (!ring)
		die("malloc");
	*c = (struct conn){ .fd = fd, .id = id, .ring = ring };
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, id % CONNS_MAX);
}

static void conn_close(struct conn *c)
{
	(void)close(c->fd);
	c->fd = -1;
}

static void conn_reset(struct conn *c)
{
	send_frame(c, FRAME_RESET, 0);
	conn_close(c);
}

/* Both directions have ended, and the other side knows of both. */
static void conn_close_if_done(struct conn *c)
{
	if (c->fd >= 0 && c->is_end_sent && c->credit == c->sent && c->is_end_received &&
	    c->written == c->received)
		conn_close(c);
}

static void accept_all(void)
{
	int fd;

	while ((fd = accept4(self.listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		uint32_t i = 0;

		while (i < CONNS_MAX && self.conns[i].fd >= 0)
			i++;
		if (i == CONNS_MAX) {
			(void)close(fd);
			continue;
		}
		conn_start(&self.conns[i], fd, ++self.generation * CONNS_MAX + i);
		send_frame(&self.conns[i], FRAME_OPEN, 0);
	}
}

static void dial(uint32_t id)
{
	struct conn *c = &self.conns[id % CONNS_MAX];
	struct sockaddr_in sin = loopback(self.target);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	/* On loopback it does not wait. */
	if (fd < 0 || connect(fd, (struct sockaddr *)&sin, sizeof(sin)) < 0) {
		send_frame(&(struct conn){ .id = id }, FRAME_RESET, 0);
		(void)close(fd);
		return;
	}
	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	conn_start(c, fd, id);
}

/* ---- TCP in ---- */

static size_t payload_size(void)
{
	return self.datagram_size - OVERHEAD;
}

/* As much as a train and the window hold; a few bytes of window are not worth a datagram. */
static bool wants_to_read(const struct conn *c)
{
	size_t left = self.window - (size_t)(c->sent - c->credit);

	return c->fd >= 0 && c->can_read && !c->is_end_sent && left >= self.window / 8;
}

static void read_train(struct conn *c)
{
	struct iovec iov[TRAIN_SEGMENTS_MAX];
	size_t left = self.window - (size_t)(c->sent - c->credit), size = 0, at = 0;
	int count = 0;
	ssize_t n;

	while (left > 0 && (size_t)(count + 1) * self.datagram_size <= TRAIN_BYTES_MAX &&
	       count < TRAIN_SEGMENTS_MAX) {
		struct iovec *v = &iov[count];

		v->iov_base =
			tx_bytes + (size_t)count++ * self.datagram_size + HEADER_SIZE + FRAME_SIZE;
		v->iov_len = left < payload_size() ? left : payload_size();
		left -= v->iov_len;
	}
	n = readv(c->fd, iov, count);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		c->can_read = errno == EINTR;
		return;
	}
	if (n < 0) {
		conn_reset(c);
		return;
	}
	if (n == 0) {
		c->is_end_sent = true;
		send_frame(c, FRAME_END, c->sent++);
		return;
	}
	for (size_t rest = (size_t)n; rest > 0; rest -= size, at += size + OVERHEAD) {
		size = rest < payload_size() ? rest : payload_size();
		seal(tx_bytes + at, FRAME_DATA, c, c->sent, size);
		c->sent += size;
	}
	send_train(at);
}

/* ---- TCP out ---- */

static void after_write(struct conn *c)
{
	if (c->is_end_received && c->written + 1 == c->received) {
		(void)shutdown(c->fd, SHUT_WR);
		c->written++;
	}
	if (c->written - c->told >= self.window / 4 ||
	    (c->is_end_received && c->written == c->received && c->told < c->written)) {
		c->told = c->written;
		send_frame(c, FRAME_CREDIT, c->told);
	}
	conn_close_if_done(c);
}

/* What the kernel takes; false when that was an error. */
static bool write_some(struct conn *c, const struct iovec *iov, int count, size_t *taken)
{
	ssize_t n;

	*taken = 0;
	if (!c->can_write)
		return true;
	n = writev(c->fd, iov, count);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		conn_reset(c);
		return false;
	}
	if (n < 0) {
		c->can_write = errno == EINTR;
		return true;
	}
	*taken = (size_t)n;
	c->written += (size_t)n;
	return true;
}

static size_t waiting(const struct conn *c)
{
	size_t size = (size_t)(c->received - c->written);

	return size > 0 && c->is_end_received ? size - 1 : size;
}

static void write_ring(struct conn *c)
{
	size_t taken = 1;

	while (c->can_write && taken > 0 && waiting(c) > 0) {
		size_t begin = (size_t)c->written % WINDOW_MAX, size = waiting(c);
		size_t whole = WINDOW_MAX - begin < size ? WINDOW_MAX - begin : size;
		struct iovec iov[2] = { { c->ring + begin, whole }, { c->ring, size - whole } };

		if (!write_some(c, iov, 2, &taken))
			return;
	}
	after_write(c);
}

static void store(struct conn *c, uint64_t offset, const uint8_t *bytes, size_t size)
{
	size_t begin = (size_t)offset % WINDOW_MAX;
	size_t whole = WINDOW_MAX - begin < size ? WINDOW_MAX - begin : size;

	memcpy(c->ring + begin, bytes, whole);
	memcpy(c->ring, bytes + whole, size - whole);
}

/* The bytes of one connection out of one arrival. */
struct batch {
	struct conn *c;
	struct iovec iov[RECEIVE_SIZE / (OVERHEAD + 1)];
	int count;
	size_t size;
};

static struct batch batch;

static void batch_write(void)
{
	struct conn *c = batch.c;
	bool was_empty = c && waiting(c) == 0;
	size_t taken = 0;

	batch.c = NULL;
	if (!c || c->fd < 0)
		return;
	c->received += batch.size;
	if (was_empty && !write_some(c, batch.iov, batch.count, &taken))
		return;
	for (int i = 0; i < batch.count; i++) {
		const struct iovec *v = &batch.iov[i];
		size_t skip = taken < v->iov_len ? taken : v->iov_len;

		taken -= skip;
		batch.size -= skip;
		store(c, c->received - batch.size, (const uint8_t *)v->iov_base + skip,
		      v->iov_len - skip);
		batch.size -= v->iov_len - skip;
	}
	after_write(c);
}

static void batch_add(struct conn *c, uint8_t *bytes, size_t size)
{
	if (batch.c != c) {
		batch_write();
		batch.c = c;
		batch.count = 0;
		batch.size = 0;
	}
	batch.iov[batch.count++] = (struct iovec){ bytes, size };
	batch.size += size;
}

/* ---- Datagrams in ---- */

static void on_frame(uint8_t *at, size_t size)
{
	uint8_t type = at[0];
	uint32_t id = cv_load32(at + 1);
	uint64_t offset = cv_load64(at + 5);
	struct conn *c = &self.conns[id % CONNS_MAX];

	if (type == FRAME_OPEN)
		dial(id);
	if (c->fd < 0 || c->id != id)
		return;
	if (type == FRAME_DATA) {
		batch_add(c, at + FRAME_SIZE, size - FRAME_SIZE);
		return;
	}
	batch_write();
	if (c->fd < 0)
		return;
	if (type == FRAME_END) {
		c->is_end_received = true;
		c->received++;
		after_write(c);
	} else if (type == FRAME_CREDIT) {
		c->credit = offset;
		conn_close_if_done(c);
	} else if (type == FRAME_RESET) {
		conn_close(c);
	}
}

static void on_packet(uint8_t *at, size_t size)
{
	uint64_t number = size >= OVERHEAD ? cv_load64(at + 5) : UINT64_MAX;

	if (number != self.rx.next) {
		(void)fprintf(stderr, "pipe: lost: packet %llu came instead of %llu\n",
		              (unsigned long long)number, (unsigned long long)self.rx.next);
		exit(1);
	}
	self.rx.next++;
	if (!self.aead->open(self.rx.state, number, at, HEADER_SIZE, at + HEADER_SIZE,
	                     size - HEADER_SIZE)) {
		(void)fprintf(stderr, "pipe: packet %llu is damaged\n", (unsigned long long)number);
		exit(1);
	}
	on_frame(at + HEADER_SIZE, size - HEADER_SIZE - AEAD_TAG_SIZE);
}

/* False when there was nothing. */
static bool receive(void)
{
	_Alignas(struct cmsghdr) uint8_t control[64];
	struct iovec iov = { .iov_base = rx_bytes, .iov_len = sizeof(rx_bytes) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control };
	ssize_t n;
	int segment = 0;

	msg.msg_controllen = sizeof(control);
	n = recvmsg(self.udp_fd, &msg, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n < 0)
		die("recvmsg"); /* the other process has ended */
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO)
			memcpy(&segment, CMSG_DATA(c), sizeof(segment));
	}
	for (size_t at = 0, left = (size_t)n; left > 0;) {
		size_t size = segment > 0 && (size_t)segment < left ? (size_t)segment : left;

		on_packet(rx_bytes + at, size);
		at += size;
		left -= size;
	}
	batch_write();
	return true;
}

/* ---- The two processes ---- */

static void on_event(const struct epoll_event *ev)
{
	struct conn *c;

	if (ev->data.u32 == TAG_LISTENER) {
		accept_all();
	} else if (ev->data.u32 == TAG_UDP) {
		for (int i = 0; i < BURST_MAX && receive(); i++)
			;
	} else {
		c = &self.conns[ev->data.u32];
		c->can_read |= (ev->events & ~(uint32_t)EPOLLOUT) != 0;
		c->can_write |= (ev->events & EPOLLOUT) != 0;
	}
}

static void run(void)
{
	struct epoll_event events[EVENTS_MAX];
	bool is_busy = false;

	for (;;) {
		int n = epoll_wait(self.epoll_fd, events, EVENTS_MAX, is_busy ? 0 : -1);

		for (int i = 0; i < n; i++)
			on_event(&events[i]);
		is_busy = false;
		for (unsigned i = 0; i < CONNS_MAX; i++) {
			struct conn *c = &self.conns[i];

			if (c->fd >= 0 && c->can_write && waiting(c) > 0)
				write_ring(c);
			for (int k = 0; k < BURST_MAX && wants_to_read(c); k++)
				read_train(c);
			is_busy |= wants_to_read(c);
		}
	}
}

static void open_udp(uint16_t port, uint16_t peer_port)
{
	struct sockaddr_in sin = loopback(port), peer = loopback(peer_port);
	int on = 1, size = BUFFER_SIZE;

	self.udp_fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (self.udp_fd < 0 || bind(self.udp_fd, (struct sockaddr *)&sin, sizeof(sin)) < 0 ||
	    connect(self.udp_fd, (struct sockaddr *)&peer, sizeof(peer)) < 0 ||
	    setsockopt(self.udp_fd, SOL_UDP, UDP_GRO, &on, sizeof(on)) < 0)
		die("UDP socket");
	if (setsockopt(self.udp_fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(self.udp_fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

static void choose_window(void)
{
	int size = 0;
	socklen_t option_size = sizeof(size);

	(void)getsockopt(self.udp_fd, SOL_SOCKET, SO_RCVBUF, &size, &option_size);
	self.window = (size_t)size / 4 / CONNS_MAX;
	if (self.window > WINDOW_MAX)
		self.window = WINDOW_MAX;
	if (self.window < WINDOW_MAX && self.is_near)
		(void)fprintf(stderr, "pipe: windows of %zu bytes only: run it as root\n",
		              self.window);
}

static void open_listener(uint16_t port)
{
	struct sockaddr_in sin = loopback(port);
	int on = 1;

	self.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	(void)setsockopt(self.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (self.listener < 0 || bind(self.listener, (struct sockaddr *)&sin, sizeof(sin)) < 0 ||
	    listen(self.listener, CONNS_MAX) < 0)
		die("listen");
	watch(self.listener, EPOLLIN | EPOLLET, TAG_LISTENER);
}

/* Both know them: this protects nothing. */
static void make_key(struct key *key, uint8_t direction)
{
	const uint8_t raw[AEAD_KEY_SIZE] = { direction };

	if (self.aead->expand)
		self.aead->expand(key->state, raw);
	else
		memcpy(key->state, raw, sizeof(raw));
}

static uint16_t port_of(const char *text)
{
	return (uint16_t)strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
	self.datagram_size = argc == 6 ? strtoul(argv[5], NULL, 10) : 0;
	if (self.datagram_size < 256 || self.datagram_size > TRAIN_BYTES_MAX) {
		(void)fprintf(stderr, "usage: pipe near|far TCP-PORT UDP-PORT PEER-UDP-PORT "
		                      "DATAGRAM-SIZE\n");
		return 2;
	}
	(void)signal(SIGPIPE, SIG_IGN);
	self.is_near = strcmp(argv[1], "near") == 0;
	self.aead = aead_ops(aead_choose(aead_available(), aead_available()));
	make_key(&self.tx, self.is_near);
	make_key(&self.rx, !self.is_near);
	for (unsigned i = 0; i < CONNS_MAX; i++)
		self.conns[i].fd = -1;
	self.epoll_fd = epoll_create1(0);
	open_udp(port_of(argv[3]), port_of(argv[4]));
	choose_window();
	watch(self.udp_fd, EPOLLIN, TAG_UDP);
	if (self.is_near)
		open_listener(port_of(argv[2]));
	self.target = port_of(argv[2]);
	run();
}

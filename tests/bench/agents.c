/* SPDX-License-Identifier: MIT */
/*
 * agents - very many agents of one server in one process: their side of the registration and
 * nothing else, to see what a registered agent costs the server.
 *
 *	agents SERVER-PORT SERVER-KEY COUNT     on 127.0.0.1; SERVER-KEY as 64 hexadecimal digits
 *
 * Each has its own key and a peer it wants to meet. About 64 share a socket, each with an
 * address of its own out of 127/8, so that no limit for one address is met. Prints "up N SECONDS"
 * when all are registered (or none has been for 10 s), then keeps them alive until stdin ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tunnel/indexes.h"
#include "tunnel/rendezvous.h"
#include "tunnel/wire.h"

enum {
	AGENTS_MAX = 100000,
	AGENTS_PER_SOCKET = 64,
	SOCKETS_MAX = AGENTS_MAX / AGENTS_PER_SOCKET + 1,
	STARTS_PER_S = 700, /* the server takes 1,000 handshakes a second */
	EVENTS_MAX = 64,
};
#define PATIENCE CV_SEC(10)

struct agent {
	uint8_t sk[32];
	struct identity me;
	struct rendezvous *r;
	bool is_up;
};

static struct agent agents[AGENTS_MAX];
static int sockets[SOCKETS_MAX];
static struct indexes indexes;
static struct addr server;
static uint8_t server_pk[32];
static uint32_t agent_count, socket_count, up_count;
static uint8_t train_bytes[TRAIN_BYTES_MAX];

static cv_time now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (cv_time)ts.tv_sec * CV_SEC(1) + (cv_time)ts.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void fill(void *ctx, uint8_t *out, size_t size)
{
	(void)ctx;
	randombytes_buf(out, size);
}

static const struct rng rng = { fill, NULL };

static void open_socket(uint32_t k, int epoll_fd)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = k };
	/* 127.X.Y.1: prefixes differ too. */
	struct sockaddr_in sin = { .sin_family = AF_INET,
		                   .sin_addr = { htonl(0x7f000001 | (k + 256) << 8) } };

	sockets[k] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	if (sockets[k] < 0 || bind(sockets[k], (struct sockaddr *)&sin, sizeof(sin)) < 0 ||
	    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, sockets[k], &ev) < 0)
		die("socket");
}

static void pump(uint32_t i, cv_time now)
{
	struct agent *a = &agents[i];
	struct train train = { .bytes = train_bytes };
	struct rendezvous_event event;
	struct sockaddr_in sin = { .sin_family = AF_INET,
		                   .sin_port = htons(server.port),
		                   .sin_addr = { htonl(INADDR_LOOPBACK) } };

	while (rendezvous_next_event(a->r, &event)) {
		if (event.kind == RENDEZVOUS_EVENT_RESOLVE)
			rendezvous_set_addresses(a->r, now, &server, 1);
		if (event.kind == RENDEZVOUS_EVENT_UP && !a->is_up) {
			a->is_up = true;
			up_count++;
		}
		if (event.kind == RENDEZVOUS_EVENT_DOWN && a->is_up) {
			a->is_up = false;
			up_count--;
		}
	}
	while (rendezvous_write(a->r, now, &train)) {
		(void)sendto(sockets[i % socket_count], train.bytes, train.size, 0,
		             (struct sockaddr *)&sin, sizeof(sin));
		train = (struct train){ .bytes = train_bytes };
	}
}

static void start(uint32_t i, cv_time now)
{
	struct agent *a = &agents[i];
	struct rendezvous_options opt = {
		.me = &a->me,
		.server_pk = server_pk,
		.indexes = &indexes,
		.owner = i,
		.rng = &rng,
	};

	if (rendezvous_new(&a->r, now, &opt) < 0 ||
	    rendezvous_add_peer(a->r, 0, agents[(i ^ 1) % agent_count].me.pk) < 0)
		die("rendezvous");
	pump(i, now);
}

/* Where the index of the receiver is, by kind (tunnel/PROTOCOL.md, 3). */
static uint64_t owner_of(const uint8_t *bytes, size_t size)
{
	static const uint8_t at[16] = { [5] = 8, [6] = 4, [7] = 4, [8] = 1, [9] = 1 };
	size_t offset = size >= 13 ? at[bytes[0] >> 4] : 0;
	const uint8_t *p = bytes + offset;

	if (offset == 0)
		return INDEXES_NONE;
	return indexes_find(&indexes, (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	                                      (uint32_t)p[2] << 8 | p[3]);
}

static void receive(uint32_t k)
{
	uint8_t buf[2048];
	ssize_t n;

	while ((n = recv(sockets[k], buf, sizeof(buf), 0)) >= 0) {
		uint64_t i = owner_of(buf, (size_t)n);
		cv_time now = now_ns();

		if (i >= agent_count || !agents[i].r)
			continue;
		rendezvous_on_datagram(agents[i].r, now, 0, &server, buf, (size_t)n);
		pump((uint32_t)i, now);
	}
}

static void on_time(uint32_t started)
{
	cv_time now = now_ns();

	for (uint32_t i = 0; i < started; i++) {
		if (rendezvous_deadline(agents[i].r) <= now) {
			rendezvous_on_deadline(agents[i].r, now);
			pump(i, now);
		}
	}
}

static bool stdin_ended(void)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	char c;

	return poll(&in, 1, 0) > 0 && read(STDIN_FILENO, &c, 1) <= 0;
}

static void run(int epoll_fd)
{
	struct epoll_event events[EVENTS_MAX];
	cv_time begin = now_ns(), progress_at = begin;
	uint32_t started = 0, best = 0;
	bool is_told = false;

	while (!stdin_ended()) {
		cv_duration age = cv_time_since(now_ns(), begin);
		int n = epoll_wait(epoll_fd, events, EVENTS_MAX, 5);

		for (int i = 0; i < n; i++)
			receive(events[i].data.u32);
		while (started < agent_count &&
		       started < 1 + (uint64_t)age * STARTS_PER_S / CV_SEC(1))
			start(started++, now_ns());
		on_time(started);
		if (up_count > best) {
			best = up_count;
			progress_at = now_ns();
		}
		if (!is_told &&
		    (up_count == agent_count || cv_time_since(now_ns(), progress_at) > PATIENCE)) {
			age = cv_time_since(now_ns(), begin);
			is_told = true;
			(void)printf("up %u %.3f\n", up_count, (double)age / 1e9);
			(void)fflush(stdout);
		}
	}
}

int main(int argc, char **argv)
{
	int epoll_fd = epoll_create1(0);

	if (argc != 4 || sodium_init() < 0 ||
	    sodium_hex2bin(server_pk, sizeof(server_pk), argv[2], strlen(argv[2]), NULL, NULL,
	                   NULL) != 0) {
		(void)fprintf(stderr, "usage: agents SERVER-PORT SERVER-KEY COUNT; see agents.c\n");
		return 2;
	}
	server = addr_v4(127, 0, 0, 1, (uint16_t)strtoul(argv[1], NULL, 10));
	agent_count = (uint32_t)strtoul(argv[3], NULL, 10);
	if (agent_count > AGENTS_MAX || indexes_init(&indexes, rng_u64(&rng)) < 0)
		return 2;
	for (uint32_t i = 0; i < agent_count; i++) {
		randombytes_buf(agents[i].sk, sizeof(agents[i].sk));
		identity_init(&agents[i].me, agents[i].sk);
	}
	/* Those of one socket start far apart: a server takes 20 handshakes a second from one. */
	socket_count = agent_count / AGENTS_PER_SOCKET + 1;
	for (uint32_t k = 0; k < socket_count; k++)
		open_socket(k, epoll_fd);
	run(epoll_fd);
	return 0;
}

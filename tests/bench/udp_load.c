/* SPDX-License-Identifier: MIT */
/*
 * udp_load - datagrams with a purpose, and who answers them; both ends of tests/bench/udp.
 *
 *	udp_load serve PORT                                  until it is killed
 *	udp_load dns TARGET-PORT SOCKS-PORT AT-ONCE MS       queries, so many under way
 *	udp_load blast TARGET-PORT SOCKS-PORT KBIT SIZE MS   datagrams of SIZE bytes at that rate
 *
 * All on 127.0.0.1. With a SOCKS-PORT other than 0 they go by UDP ASSOCIATE to 127.0.0.1 as the far
 * side knows it. `serve` answers every DNS query (dig's too) with one address, and counts what
 *`blast` sends. A query that is not answered within 2 s is lost. Each prints one JSON object.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	DATAGRAM_MAX = 65536,
	BATCH = 32,
	AT_ONCE_MAX = 4096,
	SAMPLES_MAX = 1 << 22,
	RUNS_MAX = 64,
	SOCKS_HEADER = 10, /* RSV, FRAG, ATYP 1, address, port */
	DNS_HEADER = 12,
	BUFFER_SIZE = 7 << 20, /* as culvert's */
	LOST_US = 2000000,
	SETTLE_US = 500000, /* what is under way arrives */
};

static const char BLAST[4] = { 'B', 'L', 'S', 'T' };
static const char STAT[4] = { 'S', 'T', 'A', 'T' };

struct blast_head {
	char magic[4];
	uint32_t run;
};

struct blast_answer {
	char magic[4];
	uint32_t run;
	uint64_t count, first_us, last_us;
};

static uint64_t now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
		                     .sin_port = htons(port),
		                     .sin_addr = { htonl(INADDR_LOOPBACK) } };
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int udp_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), size = BUFFER_SIZE;

	if (fd < 0)
		die("socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return fd;
}

static void wait_for(int fd, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (poll(&p, 1, timeout_ms) < 0 && errno != EINTR)
		die("poll");
}

/* ---- serve ---- */

static struct blast_answer runs[RUNS_MAX];

static struct blast_answer *run_of(uint32_t run)
{
	struct blast_answer *r = &runs[run % RUNS_MAX];

	if (r->run != run) {
		*r = (struct blast_answer){ .run = run };
		memcpy(r->magic, STAT, sizeof(STAT));
	}
	return r;
}

/* Size of the answer, written over the query; 0: none. */
static size_t answer_dns(uint8_t *q, size_t size)
{
	static const uint8_t record[] = { 0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1 };
	size_t at = DNS_HEADER;

	if (size < DNS_HEADER + 5 || (q[2] & 0x80))
		return 0;
	while (at < size && q[at])
		at += (size_t)q[at] + 1;
	at += 5;
	if (at > size)
		return 0;
	q[2] = 0x81;
	q[3] = 0x80;
	memcpy(q + 6, "\0\1\0\0\0\0", 6); /* one answer, and no EDNS */
	memcpy(q + at, record, sizeof(record));
	return at + sizeof(record);
}

static size_t answer(uint8_t *bytes, size_t size, uint64_t now)
{
	struct blast_head head;
	struct blast_answer *r;

	if (size < sizeof(head))
		return 0;
	memcpy(&head, bytes, sizeof(head));
	if (memcmp(head.magic, BLAST, sizeof(BLAST)) == 0) {
		r = run_of(head.run);
		if (r->count++ == 0)
			r->first_us = now;
		r->last_us = now;
		return 0;
	}
	if (memcmp(head.magic, STAT, sizeof(STAT)) == 0) {
		memcpy(bytes, run_of(head.run), sizeof(*r));
		return sizeof(*r);
	}
	return answer_dns(bytes, size);
}

static _Noreturn void serve(uint16_t port)
{
	static uint8_t bytes[BATCH][DATAGRAM_MAX];
	struct sockaddr_in sin = loopback(port), from[BATCH];
	struct mmsghdr in[BATCH], out[BATCH];
	struct iovec iov[BATCH];
	int fd = udp_socket();

	if (bind(fd, (struct sockaddr *)&sin, sizeof(sin)) < 0)
		die("bind");
	for (;;) {
		unsigned answers = 0;
		uint64_t now;
		int n;

		for (unsigned i = 0; i < BATCH; i++) {
			iov[i] = (struct iovec){ bytes[i], DATAGRAM_MAX - 64 };
			in[i] = (struct mmsghdr){ .msg_hdr = { .msg_name = &from[i],
				                               .msg_namelen = sizeof(from[i]),
				                               .msg_iov = &iov[i],
				                               .msg_iovlen = 1 } };
		}
		n = recvmmsg(fd, in, BATCH, 0, NULL);
		if (n <= 0) {
			wait_for(fd, -1);
			continue;
		}
		now = now_us();
		for (int i = 0; i < n; i++) {
			size_t size = answer(bytes[i], in[i].msg_len, now);

			if (size == 0)
				continue;
			iov[i].iov_len = size;
			out[answers++] = in[i];
		}
		if (answers > 0)
			(void)sendmmsg(fd, out, answers, 0); /* what does not fit is lost */
	}
}

/* ---- how a client gets there ---- */

struct way {
	int fd, control;
	size_t header; /* bytes of SOCKS in front of each datagram */
	uint8_t bytes[SOCKS_HEADER];
};

static void exactly(int fd, void *out, size_t size)
{
	size_t at = 0;

	while (at < size) {
		ssize_t n = read(fd, (uint8_t *)out + at, size - at);

		if (n <= 0)
			die("SOCKS");
		at += (size_t)n;
	}
}

static struct way open_way(uint16_t target, uint16_t socks)
{
	static const uint8_t words[] = { 5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0 };
	struct way w = { .fd = udp_socket(), .control = -1 };
	struct sockaddr_in sin = loopback(socks ? socks : target);
	uint8_t reply[12];

	if (socks) {
		w.control = socket(AF_INET, SOCK_STREAM, 0);
		if (connect(w.control, (struct sockaddr *)&sin, sizeof(sin)) < 0 ||
		    write(w.control, words, sizeof(words)) != (ssize_t)sizeof(words))
			die("SOCKS");
		exactly(w.control, reply, sizeof(reply)); /* 2 of the method, 10 */
		if (reply[3] != 0 || reply[5] != 1) {
			(void)fprintf(stderr, "SOCKS reply %u\n", reply[3]);
			exit(1);
		}
		memcpy(&sin.sin_addr, reply + 6, 4);
		memcpy(&sin.sin_port, reply + 10, 2);
		w.header = SOCKS_HEADER;
		memcpy(w.bytes, "\0\0\0\1\177\0\0\1", 8);
		w.bytes[8] = (uint8_t)(target >> 8);
		w.bytes[9] = (uint8_t)target;
	}
	if (connect(w.fd, (struct sockaddr *)&sin, sizeof(sin)) < 0)
		die("connect");
	return w;
}

static bool send_one(const struct way *w, const void *bytes, size_t size)
{
	struct iovec iov[2] = { { (void *)(uintptr_t)w->bytes, w->header },
		                { (void *)(uintptr_t)bytes, size } };
	struct msghdr m = { .msg_iov = iov, .msg_iovlen = 2 };

	return sendmsg(w->fd, &m, 0) >= 0;
}

/* Size of a datagram's payload, at *at; 0: none is there. */
static size_t take_one(const struct way *w, uint8_t *room, size_t size, uint8_t **at)
{
	ssize_t n = recv(w->fd, room, size, 0);

	if (n <= (ssize_t)w->header)
		return 0;
	*at = room + w->header;
	return (size_t)n - w->header;
}

/* ---- dns ---- */

static uint32_t samples_us[SAMPLES_MAX];

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double percentile_ms(size_t count, unsigned permille)
{
	return count ? samples_us[(count - 1) * permille / 1000] / 1000.0 : 0;
}

static bool ask(const struct way *w, uint16_t id)
{
	uint8_t q[] = { 0,   0,   1,   0,   0,   1,   0,   0, 0,   0,   0,   0, 3, 'w', 'w', 'w', 7,
		        'e', 'x', 'a', 'm', 'p', 'l', 'e', 3, 'c', 'o', 'm', 0, 0, 1,   0,   1 };

	q[0] = (uint8_t)(id >> 8);
	q[1] = (uint8_t)id;
	return send_one(w, q, sizeof(q));
}

/* Each of the queries under way has its id; 0: it is to be sent. */
static int dns(const struct way *w, unsigned at_once, uint64_t duration_us)
{
	static uint64_t sent_at[AT_ONCE_MAX];
	static uint8_t room[DATAGRAM_MAX];
	uint64_t begin = now_us(), now = begin, end = begin + duration_us;
	size_t count = 0, lost = 0, size;
	uint8_t *bytes;

	while (now < end) {
		for (unsigned i = 0; i < at_once; i++) {
			if (sent_at[i] && now - sent_at[i] > LOST_US) {
				lost++;
				sent_at[i] = 0;
			}
			if (sent_at[i] == 0 && ask(w, (uint16_t)i))
				sent_at[i] = now;
		}
		wait_for(w->fd, 100);
		now = now_us();
		while ((size = take_one(w, room, sizeof(room), &bytes)) > DNS_HEADER) {
			unsigned id = (unsigned)bytes[0] << 8 | bytes[1];

			if (id >= at_once || sent_at[id] == 0)
				continue;
			if (count < SAMPLES_MAX)
				samples_us[count++] = (uint32_t)(now - sent_at[id]);
			sent_at[id] = 0;
		}
	}
	qsort(samples_us, count, sizeof(samples_us[0]), by_size);
	printf("{\"count\": %zu, \"lost\": %zu, \"per_s\": %.1f, \"p50_ms\": %.3f, "
	       "\"p99_ms\": %.3f, \"max_ms\": %.3f}\n",
	       count, lost, (double)count * 1e6 / (double)(now - begin), percentile_ms(count, 500),
	       percentile_ms(count, 990), percentile_ms(count, 1000));
	return 0;
}

/* ---- blast ---- */

static bool fetch_count(const struct way *w, uint32_t run, struct blast_answer *out)
{
	struct blast_head head = { .run = run };
	uint8_t room[2048], *bytes;

	memcpy(head.magic, STAT, sizeof(STAT));
	for (unsigned i = 0; i < 20; i++) {
		uint64_t until = now_us() + 200000;

		(void)send_one(w, &head, sizeof(head));
		while (now_us() < until) {
			wait_for(w->fd, 50);
			if (take_one(w, room, sizeof(room), &bytes) < sizeof(*out))
				continue;
			memcpy(out, bytes, sizeof(*out));
			if (memcmp(out->magic, STAT, sizeof(STAT)) == 0 && out->run == run)
				return true;
		}
	}
	return false;
}

/* Up to BATCH datagrams; how many the kernel took. */
static unsigned send_many(const struct way *w, const void *bytes, size_t size, unsigned count)
{
	struct iovec iov[2] = { { (void *)(uintptr_t)w->bytes, w->header },
		                { (void *)(uintptr_t)bytes, size } };
	struct mmsghdr m[BATCH];
	int n;

	for (unsigned i = 0; i < count; i++)
		m[i] = (struct mmsghdr){ .msg_hdr = { .msg_iov = iov, .msg_iovlen = 2 } };
	n = sendmmsg(w->fd, m, count, 0);
	return n > 0 ? (unsigned)n : 0;
}

static int blast(const struct way *w, uint64_t kbit, size_t size, uint64_t duration_us)
{
	static uint8_t bytes[DATAGRAM_MAX];
	struct blast_head head = { .run = (uint32_t)getpid() };
	struct timespec nap = { .tv_nsec = 100000 };
	struct blast_answer got = { .count = 0 };
	uint64_t begin = now_us(), now = begin, sent = 0, due, spent;

	memcpy(head.magic, BLAST, sizeof(BLAST));
	memcpy(bytes, &head, sizeof(head));
	while (now - begin < duration_us) {
		due = kbit * (now - begin) / 8000 / size;
		while (sent < due) {
			unsigned n = send_many(w, bytes, size,
			                       due - sent > BATCH ? BATCH : (unsigned)(due - sent));

			if (n == 0)
				break;
			sent += n;
		}
		(void)nanosleep(&nap, NULL);
		now = now_us();
	}
	spent = now - begin;
	for (now = now_us(); now_us() - now < SETTLE_US;)
		(void)nanosleep(&nap, NULL);
	if (!fetch_count(w, head.run, &got)) {
		(void)fprintf(stderr, "nobody says what arrived\n");
		return 1;
	}
	printf("{\"sent\": %llu, \"received\": %llu, \"lost\": %.6f, \"sent_mbit\": %.2f, "
	       "\"received_mbit\": %.2f}\n",
	       (unsigned long long)sent, (unsigned long long)got.count,
	       sent ? 1.0 - (double)got.count / (double)sent : 0.0,
	       (double)sent * (double)size * 8 / (double)spent,
	       got.last_us > got.first_us
	               ? (double)got.count * (double)size * 8 / (double)(got.last_us - got.first_us)
	               : 0.0);
	return 0;
}

static unsigned long number(const char *text)
{
	return strtoul(text, NULL, 10);
}

int main(int argc, char **argv)
{
	struct way w;

	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		serve((uint16_t)number(argv[2]));
	if (argc == 6 && strcmp(argv[1], "dns") == 0 && number(argv[4]) <= AT_ONCE_MAX) {
		w = open_way((uint16_t)number(argv[2]), (uint16_t)number(argv[3]));
		return dns(&w, (unsigned)number(argv[4]), number(argv[5]) * 1000);
	}
	if (argc == 7 && strcmp(argv[1], "blast") == 0 &&
	    number(argv[5]) >= sizeof(struct blast_head) && number(argv[5]) < DATAGRAM_MAX) {
		w = open_way((uint16_t)number(argv[2]), (uint16_t)number(argv[3]));
		return blast(&w, number(argv[4]), number(argv[5]), number(argv[6]) * 1000);
	}
	(void)fprintf(stderr, "usage: see the head of udp_load.c\n");
	return 2;
}

/* SPDX-License-Identifier: MIT */
/*
 * bulk - one long TCP transfer, and who counts it where it arrives.
 *
 *	bulk sink PORT                      takes connections from anywhere, reads them
 *	bulk count FIFO                     reads what others write to that FIFO
 *	bulk send ADDRESS PORT              writes until it is killed
 *
 * `sink` and `count` print "US BYTES" every 100 ms from the first byte on: the clock
 * (CLOCK_MONOTONIC, the same in all namespaces) and all that has come so far. They run until they
 * are killed, `count` also until its writer is gone. Whoever reads the lines chooses the window
 * that counts, and several of them are of one clock.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	CONNS_MAX = 64,
	CHUNK_SIZE = 256 * 1024,
	TICK_US = 100000,
	READS_MAX = 16, /* of one connection before the others and the clock */
};

static char chunk[CHUNK_SIZE];
static uint64_t total, told_at;

static uint64_t now_us(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static _Noreturn void die(const char *what)
{
	perror(what);
	exit(1);
}

static void tell(void)
{
	uint64_t now = now_us();

	if (total == 0 || now - told_at < TICK_US)
		return;
	told_at = now;
	(void)printf("%llu %llu\n", (unsigned long long)now, (unsigned long long)total);
	(void)fflush(stdout);
}

/* False at the end of it. */
static int take(int fd)
{
	for (int i = 0; i < READS_MAX; i++) {
		ssize_t n = read(fd, chunk, sizeof(chunk));

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 1;
		if (n <= 0)
			return 0;
		total += (uint64_t)n;
		tell();
	}
	return 1;
}

static _Noreturn void sink(uint16_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct pollfd fds[1 + CONNS_MAX];
	nfds_t count = 1;
	int on = 1;

	fds[0] = (struct pollfd){ .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0),
		                  .events = POLLIN };
	(void)setsockopt(fds[0].fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fds[0].fd < 0 || bind(fds[0].fd, (struct sockaddr *)&sin, sizeof(sin)) < 0 ||
	    listen(fds[0].fd, CONNS_MAX) < 0)
		die("listen");
	for (;;) {
		(void)poll(fds, count, TICK_US / 1000);
		tell();
		for (nfds_t i = 1; i < count; i++) {
			if (fds[i].revents && !take(fds[i].fd)) {
				(void)close(fds[i].fd);
				fds[i--] = fds[--count];
			}
		}
		if (fds[0].revents && count <= CONNS_MAX) {
			int fd = accept4(fds[0].fd, NULL, NULL, SOCK_NONBLOCK);

			if (fd >= 0)
				fds[count++] = (struct pollfd){ .fd = fd, .events = POLLIN };
		}
	}
}

static int count_fifo(const char *path)
{
	int fd = open(path, O_RDONLY);

	if (fd < 0)
		die(path);
	while (take(fd))
		;
	return 0;
}

static _Noreturn void send_all(const char *address, uint16_t port)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || inet_pton(AF_INET, address, &sin.sin_addr) != 1)
		die(address);
	if (connect(fd, (struct sockaddr *)&sin, sizeof(sin)) < 0)
		die("connect");
	while (write(fd, chunk, sizeof(chunk)) >= 0 || errno == EINTR)
		;
	die("write");
}

int main(int argc, char **argv)
{
	(void)signal(SIGPIPE, SIG_IGN);
	if (argc == 3 && strcmp(argv[1], "sink") == 0)
		sink((uint16_t)strtoul(argv[2], NULL, 10));
	if (argc == 3 && strcmp(argv[1], "count") == 0)
		return count_fifo(argv[2]);
	if (argc == 4 && strcmp(argv[1], "send") == 0)
		send_all(argv[2], (uint16_t)strtoul(argv[3], NULL, 10));
	(void)fprintf(stderr, "usage: bulk sink PORT | count FIFO | send ADDRESS PORT\n");
	return 2;
}

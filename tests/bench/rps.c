/* SPDX-License-Identifier: MIT */
/*
 * rps - small requests over TCP, and who answers them; both ends of the bench's load.
 *
 *	rps serve ECHO-PORT GREET-PORT                     until it is killed
 *	rps load TARGET-PORT SOCKS-PORT AT-ONCE MS new     a connection for each request
 *	rps load TARGET-PORT SOCKS-PORT AT-ONCE MS keep    requests one after the other on each
 *	rps load TARGET-PORT SOCKS-PORT AT-ONCE MS greet   a connection that asks nothing
 *	rps idle TARGET-PORT SOCKS-PORT COUNT              opens, prints "open N SECONDS", until
 *	                                                   stdin ends; for each line of it all ask
 *once and "round N SECONDS" is printed
 *
 * All on 127.0.0.1; a SOCKS-PORT of 0 is none. A request is 64 bytes, which come back and are
 * compared. The time of
 * a request counts from connect() (new) or from its first byte (keep) to its last byte back. On
 * GREET-PORT the server speaks first, 64 bytes; the time of such a connection (greet) is from
 * connect() to their arrival. `load` prints one JSON object.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	REQUEST_SIZE = 64,
	EVENTS_MAX = 128,
	SAMPLES_MAX = 1 << 20,
	SLOTS_MAX = 30000,
	OPENING_MAX = 200,  /* connects of `idle` under way */
	OPENS_PER_S = 3000, /* of `idle`; an agent takes 4,000 a second, 8,000 at once */
};

/* What a connection waits for; each stage is so many bytes from the other side. */
enum stage { STAGE_CONNECT, STAGE_METHOD, STAGE_REPLY, STAGE_ECHO, STAGE_HELD };

struct slot {
	int fd;
	enum stage stage;
	unsigned missing; /* bytes of this stage */
	uint64_t begin_us;
};

struct load {
	uint16_t target, socks;
	bool is_keep, is_idle, is_greet;
	int epoll_fd;
	unsigned open, failures, round;
	size_t samples;
	bool is_over;
};

static struct slot slots[SLOTS_MAX];
static uint32_t samples_us[SAMPLES_MAX];
static struct load load;

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

static void watch(int epoll_fd, int fd, uint32_t events, uint32_t tag)
{
	struct epoll_event ev = { .events = events, .data.u32 = tag };

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		die("epoll_ctl");
}

/* ---- serve ---- */

static int listen_on(uint16_t port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct sockaddr_in sin = loopback(port);
	int on = 1;

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, (struct sockaddr *)&sin, sizeof(sin)) < 0 || listen(fd, 4096) < 0)
		die("listen");
	return fd;
}

/* Requests are small, so what was read always fits the socket's buffer. */
static void echo(int fd)
{
	char buf[2048];
	ssize_t n = read(fd, buf, sizeof(buf));

	if (n > 0 && write(fd, buf, (size_t)n) == n)
		return;
	if (n < 0 && errno == EAGAIN)
		return;
	(void)close(fd);
}

static void take_all(int epoll_fd, int listener, bool greets)
{
	static const char greeting[REQUEST_SIZE];
	int fd, on = 1;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		watch(epoll_fd, fd, EPOLLIN, (uint32_t)fd);
		if (greets && write(fd, greeting, sizeof(greeting)) < 0)
			(void)close(fd);
	}
}

static void serve(uint16_t echo_port, uint16_t greet_port)
{
	struct epoll_event events[EVENTS_MAX];
	int epoll_fd = epoll_create1(0);
	int echoing = listen_on(echo_port), greeting = listen_on(greet_port);

	watch(epoll_fd, echoing, EPOLLIN, (uint32_t)echoing);
	watch(epoll_fd, greeting, EPOLLIN, (uint32_t)greeting);
	for (;;) {
		int n = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);

		for (int i = 0; i < n; i++) {
			int fd = (int)events[i].data.u32;

			if (fd == echoing || fd == greeting)
				take_all(epoll_fd, fd, fd == greeting);
			else
				echo(fd);
		}
	}
}

/* ---- load, idle ---- */

static void slot_connect(uint32_t i)
{
	struct slot *s = &slots[i];
	struct sockaddr_in sin = loopback(load.socks ? load.socks : load.target);
	int on = 1;

	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (s->fd < 0)
		die("socket");
	(void)setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	s->begin_us = now_us();
	s->stage = STAGE_CONNECT;
	if (connect(s->fd, (struct sockaddr *)&sin, sizeof(sin)) < 0 && errno != EINPROGRESS)
		die("connect");
	watch(load.epoll_fd, s->fd, EPOLLIN | EPOLLOUT, i);
}

/* Bytes of each connection and of each round are others. */
static unsigned char byte_at(const struct slot *s, unsigned at)
{
	return (unsigned char)((unsigned)(s - slots) * 31 + load.round * 7 + at);
}

/* Sends what begins the next stage; small, so it goes at once. */
static void slot_send(struct slot *s, enum stage next, const void *bytes, size_t size,
                      unsigned missing)
{
	s->stage = next;
	s->missing = missing;
	if (write(s->fd, bytes, size) != (ssize_t)size)
		s->missing = 1; /* reading will find the error */
}

static void slot_send_request(struct slot *s)
{
	char request[REQUEST_SIZE];

	if (load.is_greet) {
		s->stage = STAGE_ECHO;
		s->missing = REQUEST_SIZE;
		return;
	}
	for (unsigned i = 0; i < sizeof(request); i++)
		request[i] = (char)byte_at(s, i);
	if (load.is_keep)
		s->begin_us = now_us();
	slot_send(s, STAGE_ECHO, request, sizeof(request), REQUEST_SIZE);
}

static void slot_again(struct slot *s)
{
	(void)close(s->fd);
	s->fd = -1;
	if (!load.is_over && !load.is_idle)
		slot_connect((uint32_t)(s - slots));
}

/* All bytes of a stage are here. */
static void slot_advance(struct slot *s)
{
	unsigned char ask[10] = { 5,
		                  1,
		                  0,
		                  1,
		                  127,
		                  0,
		                  0,
		                  1,
		                  (unsigned char)(load.target >> 8),
		                  (unsigned char)load.target };

	switch (s->stage) {
	case STAGE_METHOD:
		slot_send(s, STAGE_REPLY, ask, sizeof(ask), sizeof(ask));
		return;
	case STAGE_REPLY:
		slot_send_request(s);
		return;
	case STAGE_ECHO:
		if (load.is_idle) {
			s->stage = STAGE_HELD;
			load.open++;
			return;
		}
		if (load.samples < SAMPLES_MAX)
			samples_us[load.samples++] = (uint32_t)(now_us() - s->begin_us);
		if (load.is_keep && !load.is_over)
			slot_send_request(s);
		else
			slot_again(s);
		return;
	case STAGE_CONNECT:
	case STAGE_HELD:
		return;
	}
}

static void slot_on_connected(struct slot *s)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u32 = (uint32_t)(s - slots) };

	(void)epoll_ctl(load.epoll_fd, EPOLL_CTL_MOD, s->fd, &ev);
	if (load.socks)
		slot_send(s, STAGE_METHOD, "\5\1", 3, 2); /* its end is the method "none" */
	else
		slot_send_request(s);
}

/* Of an echo: are these bytes of it the ones that were sent? */
static bool is_right(const struct slot *s, const char *bytes, size_t size)
{
	for (unsigned i = 0; i < size; i++) {
		if ((unsigned char)bytes[i] != byte_at(s, REQUEST_SIZE - s->missing + i))
			return false;
	}
	return true;
}

static void slot_on_event(struct slot *s)
{
	char buf[REQUEST_SIZE];
	ssize_t n;

	if (s->fd < 0)
		return;
	if (s->stage == STAGE_CONNECT) {
		slot_on_connected(s);
		return;
	}
	n = read(s->fd, buf, s->missing < sizeof(buf) && s->missing ? s->missing : sizeof(buf));
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0 || (s->stage == STAGE_REPLY && s->missing == 10 && n >= 2 && buf[1] != 0) ||
	    (s->stage == STAGE_ECHO && !load.is_greet && !is_right(s, buf, (size_t)n))) {
		load.failures++;
		slot_again(s);
		return;
	}
	s->missing -= (unsigned)n;
	if (s->missing == 0)
		slot_advance(s);
}

static void poll_slots(int timeout_ms)
{
	struct epoll_event events[EVENTS_MAX];
	int n = epoll_wait(load.epoll_fd, events, EVENTS_MAX, timeout_ms);

	for (int i = 0; i < n; i++)
		slot_on_event(&slots[events[i].data.u32]);
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double percentile_ms(double share)
{
	size_t i = (size_t)(share * (double)load.samples);

	return load.samples ? samples_us[i < load.samples ? i : load.samples - 1] / 1000.0 : 0;
}

static double seconds_since(uint64_t begin_us)
{
	return (double)(now_us() - begin_us) / 1e6;
}

static int run_load(uint32_t at_once, uint64_t ms)
{
	uint64_t begin = now_us();
	double seconds;

	for (uint32_t i = 0; i < at_once; i++)
		slot_connect(i);
	while (now_us() - begin < ms * 1000)
		poll_slots(10);
	load.is_over = true;
	seconds = seconds_since(begin);
	qsort(samples_us, load.samples, sizeof(*samples_us), by_size);
	(void)printf("{\"requests\": %zu, \"seconds\": %.3f, \"per_s\": %.1f, \"failures\": %u, "
	             "\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f}\n",
	             load.samples, seconds, (double)load.samples / seconds, load.failures,
	             percentile_ms(0.5), percentile_ms(0.99), percentile_ms(1));
	return 0;
}

static void say(const char *what, double seconds)
{
	(void)printf("%s %u %.3f\n", what, load.open, seconds);
	(void)fflush(stdout);
}

/* Every connection that is held asks once more. */
static void ask_all(uint32_t count)
{
	uint64_t begin = now_us();

	load.round++;
	load.open = load.failures = 0;
	for (uint32_t i = 0; i < count; i++) {
		if (slots[i].fd < 0 || slots[i].stage != STAGE_HELD)
			load.failures++;
		else
			slot_send_request(&slots[i]);
	}
	while (load.open + load.failures < count)
		poll_slots(5);
	say("round", seconds_since(begin));
}

static int run_idle(uint32_t count)
{
	uint64_t begin = now_us();
	char c;

	for (uint32_t next = 0; load.open + load.failures < count;) {
		uint64_t due = (now_us() - begin) * OPENS_PER_S / 1000000;

		while (next < count && next < due && next - load.open - load.failures < OPENING_MAX)
			slot_connect(next++);
		poll_slots(5);
	}
	say("open", seconds_since(begin));
	while (read(STDIN_FILENO, &c, 1) > 0) {
		if (c == '\n')
			ask_all(count);
	}
	return 0;
}

static void raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int main(int argc, char **argv)
{
	unsigned long count;

	raise_limit();
	if (argc == 4 && strcmp(argv[1], "serve") == 0)
		serve((uint16_t)strtoul(argv[2], NULL, 10), (uint16_t)strtoul(argv[3], NULL, 10));
	if (argc < 5) {
		(void)fprintf(stderr, "usage: rps serve | load ... | idle ...; see rps.c\n");
		return 2;
	}
	load.epoll_fd = epoll_create1(0);
	load.target = (uint16_t)strtoul(argv[2], NULL, 10);
	load.socks = (uint16_t)strtoul(argv[3], NULL, 10);
	count = strtoul(argv[4], NULL, 10);
	if (count > SLOTS_MAX)
		count = SLOTS_MAX;
	if (strcmp(argv[1], "idle") == 0) {
		load.is_idle = true;
		return run_idle((uint32_t)count);
	}
	if (argc != 7)
		return 2;
	load.is_keep = strcmp(argv[6], "keep") == 0;
	load.is_greet = strcmp(argv[6], "greet") == 0;
	return run_load((uint32_t)count, strtoul(argv[5], NULL, 10));
}

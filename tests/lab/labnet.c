/* SPDX-License-Identifier: MIT */

/*
 * labnet - an internet in one process.
 *
 *   labnet [--seed N] [--no-offload]          commands on standard input, a socket
 *   labnet enter PID DIRECTORY die|stay CMD [ARG...]     run CMD inside a host
 *
 * It lives as long as its standard input has another end: when the test that
 * owns it ends, in whatever way, every host and all that runs in it ends too.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "lab_ctl.h"

enum {
	EVENTS_MAX = 64,
	/* What epoll says of a descriptor: the node of a host, or one of these. */
	TAG_CONTROL = LAB_NODES_MAX,
	TAG_TIMER,
};

struct shell {
	int epoll_fd;
	int timer_fd;
	uint64_t armed_at; /* what the timer is set to; LAB_TIME_NEVER when it is not */
	size_t line_size;
	char line[LAB_LINE_SIZE];
};

/* Large, and there is one of each: so not on the stack. */
static struct lab_net net;
static struct shell shell;

static uint64_t clock_now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * LAB_SECOND + (uint64_t)ts.tv_nsec;
}

static int watch(int fd, uint32_t tag)
{
	struct epoll_event event = { .events = EPOLLIN, .data = { .u32 = tag } };

	return epoll_ctl(shell.epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static void arm(uint64_t at)
{
	struct itimerspec spec = { 0 };

	if (at == shell.armed_at) {
		return;
	}
	if (at != LAB_TIME_NEVER) {
		spec.it_value.tv_sec = (time_t)(at / LAB_SECOND);
		spec.it_value.tv_nsec = (long)(at % LAB_SECOND);
	}
	(void)timerfd_settime(shell.timer_fd, TFD_TIMER_ABSTIME, &spec, NULL);
	shell.armed_at = at;
}

static bool answer_line(char *line)
{
	char answer[LAB_LINE_SIZE] = "";
	uint16_t host = lab_ctl_run(&net, line, answer);
	size_t size;

	if (host && watch(net.nodes[host].host.tun_fd, host)) {
		(void)snprintf(answer, sizeof(answer), "error epoll: %s", strerror(errno));
	}
	size = strlen(answer);
	answer[size < sizeof(answer) - 1 ? size++ : size] = '\n';
	return send(STDIN_FILENO, answer, size, MSG_NOSIGNAL) == (ssize_t)size;
}

/* Returns false at the end of the input, or when it makes no sense. */
static bool read_control(void)
{
	ssize_t size = read(STDIN_FILENO, shell.line + shell.line_size,
	                    sizeof(shell.line) - shell.line_size);
	char *newline;

	if (size <= 0) {
		return size < 0 && (errno == EINTR || errno == EAGAIN);
	}
	shell.line_size += (size_t)size;
	while ((newline = memchr(shell.line, '\n', shell.line_size))) {
		size_t used = (size_t)(newline - shell.line) + 1;

		*newline = '\0';
		net.now = clock_now();
		if (!answer_line(shell.line)) {
			return false;
		}
		shell.line_size -= used;
		memmove(shell.line, shell.line + used, shell.line_size);
	}
	return shell.line_size < sizeof(shell.line);
}

/*
 * Falling asleep after each packet is the dearest thing we could do. So when
 * there was work, let those who make more of it run, and look again before.
 */
static int wait_for(struct epoll_event *events, bool is_busy)
{
	int count = 0;

	if (is_busy) {
		(void)sched_yield();
		count = epoll_wait(shell.epoll_fd, events, EVENTS_MAX, 0);
	}
	return count ? count : epoll_wait(shell.epoll_fd, events, EVENTS_MAX, -1);
}

static void run(void)
{
	struct epoll_event events[EVENTS_MAX];
	bool is_open = true;
	bool is_busy = false;

	while (is_open) {
		int count = wait_for(events, is_busy);

		is_busy = count > 0;

		for (int i = 0; i < count && is_open; i++) {
			uint32_t tag = events[i].data.u32;

			if (tag == TAG_CONTROL) {
				is_open = read_control();
			} else if (tag != TAG_TIMER) {
				lab_net_on_readable(&net, (uint16_t)tag, clock_now());
			}
		}
		lab_net_on_deadline(&net, clock_now());
		/* Setting an expired timer anew also takes its readiness away. */
		arm(lab_net_deadline(&net));
	}
}

static int enter(int argc, char **argv)
{
	int r = -EINVAL;

	if (argc >= 6) {
		r = lab_host_enter((pid_t)strtol(argv[2], NULL, 10), argv[3],
		                   strcmp(argv[4], "die") == 0, argv + 5);
	}
	(void)fprintf(stderr, "labnet enter: %s: %s\n", argc >= 6 ? argv[5] : "usage",
	              strerror(-r));
	return 127; /* as a shell says of a command it cannot run */
}

int main(int argc, char **argv)
{
	bool has_offload = true;
	uint64_t seed = 1;
	int r;

	if (argc > 1 && strcmp(argv[1], "enter") == 0) {
		return enter(argc, argv);
	}
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--no-offload") == 0) {
			has_offload = false;
		} else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc) {
			seed = strtoull(argv[++i], NULL, 10);
		} else {
			(void)fprintf(stderr, "usage: labnet [--seed N] [--no-offload]\n");
			return 2;
		}
	}
	(void)signal(SIGINT, SIG_IGN); /* the test decides when its internet ends */
	shell.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	shell.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	shell.armed_at = LAB_TIME_NEVER;
	r = lab_net_init(&net, seed, has_offload);
	if (r || shell.epoll_fd < 0 || shell.timer_fd < 0 || watch(STDIN_FILENO, TAG_CONTROL) ||
	    watch(shell.timer_fd, TAG_TIMER)) {
		(void)fprintf(stderr, "labnet: cannot start: %s\n", strerror(r ? -r : errno));
		return 1;
	}
	run();
	lab_net_deinit(&net);
	return 0;
}

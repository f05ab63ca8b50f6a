/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/log.h"
#include "base/time.h"
#include "client.h"
#include "command.h"
#include "net/clock.h"

enum {
	TEXT_MAX = 256,
	ANSWER_TIMEOUT = 8000, /* ms; the agent answers within 5 s, with "no reply" if need be */
};

#define PING_INTERVAL CV_SEC(1)

struct pinger {
	const char *peer, *path;
	struct client client;
	long sent, received;
	double min, max, sum; /* ms */
	char way[TEXT_MAX];   /* the latest path, escaped; empty: none yet */
};

static volatile sig_atomic_t is_interrupted;

static void on_interrupt(int signal)
{
	(void)signal;
	is_interrupted = 1;
}

/* The text of a member, fit for a terminal. */
static const char *text_of(char *out, size_t size, const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	if (!text)
		text = "";
	(void)log_escape(out, size, text, strlen(text));
	return out;
}

static void count(struct pinger *p, double ms)
{
	p->min = p->received == 0 || ms < p->min ? ms : p->min;
	p->max = p->received == 0 || ms > p->max ? ms : p->max;
	p->sum += ms;
	p->received++;
}

static void print_reply(struct pinger *p, const json_t *answer)
{
	const json_t *path = json_object_get(answer, "path");
	double ms = json_number_value(json_object_get(answer, "rtt_ms"));
	char address[TEXT_MAX / 2], kind[16], way[TEXT_MAX];

	(void)text_of(address, sizeof(address), path, "address");
	(void)text_of(kind, sizeof(kind), path, "kind");
	(void)snprintf(way, sizeof(way), "via %s%s%s", kind, address[0] ? " " : "", address);
	if (p->way[0] && strcmp(p->way, way) != 0)
		(void)printf("path changed: %s -> %s\n", p->way, way);
	memcpy(p->way, way, sizeof(way));
	count(p, ms);
	(void)printf("reply from %s: %.1f ms %s\n", p->peer, ms, way);
}

/* An exit code that ends the command; EXIT_DONE: go on. */
static int on_answer(struct pinger *p, const json_t *answer)
{
	char text[TEXT_MAX];
	const char *error;
	int code = client_exit_code(answer, &error);

	if (code == EXIT_DONE) {
		print_reply(p, answer);
		return EXIT_DONE;
	}
	(void)log_escape(text, sizeof(text), error, strlen(error));
	if (code == EXIT_USAGE) {
		client_print_unknown_peer(p->path, text);
		return code;
	}
	if (code != EXIT_UNREACHABLE) {
		command_error("%s", text);
		return code;
	}
	(void)printf("no reply from %s: %s\n", p->peer, text);
	return EXIT_DONE;
}

static int ping_once(struct pinger *p)
{
	char why[CLIENT_WHY_MAX];
	json_t *answer = NULL;
	int code, r;

	r = client_send(&p->client, json_pack("{s:s,s:s}", "command", "ping", "peer", p->peer),
	                why);
	if (r == 0) {
		p->sent++;
		do {
			r = client_receive(&p->client, ANSWER_TIMEOUT, &answer, why);
		} while (r == -EINTR && !is_interrupted);
	}
	if (r == -EINTR)
		return EXIT_DONE;
	if (r < 0) {
		command_error("%s", why);
		return EXIT_FAILED;
	}
	code = on_answer(p, answer);
	json_decref(answer);
	(void)fflush(stdout);
	return code;
}

/* One second from send to send, as ping(8). */
static void wait_until(cv_time at)
{
	struct timespec left;
	cv_time now;

	while (!is_interrupted && (now = clock_now()) < at) {
		left.tv_sec = (time_t)((at - now) / CV_SEC(1));
		left.tv_nsec = (long)((at - now) % CV_SEC(1));
		(void)nanosleep(&left, NULL);
	}
}

static int ping_all(struct pinger *p, long wanted)
{
	cv_time next_at;
	int code;

	for (;;) {
		next_at = cv_time_after(clock_now(), PING_INTERVAL);
		code = ping_once(p);
		if (code != EXIT_DONE)
			return code;
		if (is_interrupted || p->sent == wanted)
			return EXIT_DONE;
		wait_until(next_at);
		if (is_interrupted)
			return EXIT_DONE;
	}
}

static void print_statistics(const struct pinger *p)
{
	const long lost = p->sent - p->received;

	(void)printf("\n--- %s: %ld sent, %ld received, %.0f %% lost", p->peer, p->sent,
	             p->received, p->sent ? 100.0 * (double)lost / (double)p->sent : 0.0);
	if (p->received > 0)
		(void)printf("; min/avg/max %.1f/%.1f/%.1f ms", p->min,
		             p->sum / (double)p->received, p->max);
	(void)putchar('\n');
}

int cmd_ping(const struct command_line *line)
{
	struct sigaction action = { .sa_handler = on_interrupt };
	struct pinger p = { .peer = line->args[0] };
	char path[CONFIG_PATH_MAX];
	char why[CLIENT_WHY_MAX];
	int code;

	if (!command_control_path(line, path))
		return EXIT_USAGE;
	p.path = path;
	if (client_open(&p.client, path, "agent", why) < 0) {
		command_error("%s", why);
		return EXIT_FAILED;
	}
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
	code = ping_all(&p, line->count);
	client_close(&p.client);
	if (code == EXIT_USAGE)
		return code;
	print_statistics(&p);
	if (fflush(stdout) != 0)
		return EXIT_FAILED;
	if (code != EXIT_DONE)
		return code;
	return p.received > 0 ? EXIT_DONE : EXIT_UNREACHABLE;
}

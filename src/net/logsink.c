/* SPDX-License-Identifier: MIT */
#include "net/logsink.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
	STAMP_SIZE = 32,
	/* A line of nothing but quotes doubles; the rest is stamp, level and braces. */
	OUT_SIZE = 2 * LOG_LINE_MAX + 128,
};

void logsink_init(struct logsink *s, int fd, bool is_json)
{
	*s = (struct logsink){ .fd = fd, .is_json = is_json };
}

static const char *level_name(enum log_level level)
{
	switch (level) {
	case LOG_ERROR:
		return "error";
	case LOG_WARN:
		return "warn";
	case LOG_INFO:
		return "info";
	case LOG_DEBUG:
		return "debug";
	}
	return "?";
}

/* RFC 3339 with milliseconds, in UTC: logs of two ends are laid side by side. */
static void stamp(char out[STAMP_SIZE])
{
	struct timespec ts = { .tv_sec = 0 };
	struct tm tm = { .tm_mday = 1 };
	char seconds[24];

	(void)clock_gettime(CLOCK_REALTIME, &ts); /* else 1970, and the line is still worth it */
	(void)gmtime_r(&ts.tv_sec, &tm);
	seconds[0] = 0;
	(void)strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(out, STAMP_SIZE, "%s.%03uZ", seconds,
	               (unsigned)(ts.tv_nsec / 1000000) % 1000U);
}

/* @line is printable ASCII, so only two characters mean something to JSON. */
static size_t quote(char *out, size_t cap, const char *line)
{
	size_t used = 0;

	for (; *line && used + 2 < cap; line++) {
		if (*line == '"' || *line == '\\')
			out[used++] = '\\';
		out[used++] = *line;
	}
	out[used] = 0;
	return used;
}

/*
 * The descriptor is shared with whoever started us, so it is not ours to make non-blocking.
 * poll() says writable when PIPE_BUF bytes (4 KiB) fit: a line does, in one write, whole.
 */
static bool put(int fd, const char *bytes, size_t size)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	if (poll(&p, 1, 0) < 1 || !(p.revents & POLLOUT))
		return false;
	return write(fd, bytes, size) == (ssize_t)size;
}

static bool put_line(const struct logsink *s, enum log_level level, const char *line)
{
	char when[STAMP_SIZE], out[OUT_SIZE], quoted[2 * LOG_LINE_MAX + 1];
	int size;

	stamp(when);
	if (s->is_json) {
		(void)quote(quoted, sizeof(quoted), line);
		size = snprintf(out, sizeof(out),
		                "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\"%s\"}\n", when,
		                level_name(level), quoted);
	} else {
		size = snprintf(out, sizeof(out), "%s %s %s\n", when, level_name(level), line);
	}
	if (size <= 0 || (size_t)size >= sizeof(out))
		return false;
	return put(s->fd, out, (size_t)size);
}

void logsink_write(void *ctx, enum log_level level, const char *line)
{
	struct logsink *s = ctx;
	char said[64];

	if (s->dropped > 0) {
		(void)snprintf(said, sizeof(said), "log lines dropped count=%" PRIu64, s->dropped);
		if (put_line(s, LOG_WARN, said))
			s->dropped = 0;
	}
	if (s->dropped > 0 || !put_line(s, level, line)) {
		s->dropped++;
		s->dropped_in_all++;
	}
}

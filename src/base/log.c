/* SPDX-License-Identifier: MIT */
#include "base/log.h"

#include <errno.h>
#include <stdio.h>

#include "base/ratelimit.h"

/* The one piece of global state in the tree: set at start-up, before there is anything to log. */
static enum log_level level_max = LOG_INFO;
static log_sink write_line;
static void *sink_ctx;

/* Enough to see what is going on, too little to fill a disk: 5 lines/s are 40 MiB a day. */
enum { GATE_RATE = 5, GATE_BURST = 20 };

void log_init(enum log_level max, log_sink sink, void *ctx)
{
	level_max = max;
	write_line = sink;
	sink_ctx = ctx;
}

void log_set_level(enum log_level max)
{
	level_max = max;
}

bool log_enabled(enum log_level level)
{
	return write_line && level <= level_max;
}

void log_write(enum log_level level, const char *fmt, ...)
{
	char raw[LOG_LINE_MAX], line[LOG_LINE_MAX];
	int saved = errno;
	va_list args;
	int size;

	if (!log_enabled(level))
		return;
	va_start(args, fmt);
	size = vsnprintf(raw, sizeof(raw), fmt, args);
	va_end(args);
	if (size > 0) {
		/* A line that is too long is cut: to drop it would be worse. */
		log_escape(line, sizeof(line), raw, CV_MIN((size_t)size, sizeof(raw) - 1));
		write_line(sink_ctx, level, line);
	}
	errno = saved;
}

bool log_gate_pass(struct log_gate *g, cv_time now, uint64_t *suppressed)
{
	struct bucket b = { .filled_at = g->filled_at, .level = g->level };

	if (!bucket_take(&b, now, GATE_RATE, GATE_BURST, 1)) {
		g->suppressed++;
		return false;
	}
	*suppressed = g->suppressed;
	*g = (struct log_gate){ .filled_at = b.filled_at, .level = b.level };
	return true;
}

/*
 * A backslash stays as it is: escaping what is escaped already then changes
 * nothing, so a caller may escape a part and log_write() the whole. What is lost,
 * telling a real newline from four typed characters, nobody needs.
 */
size_t log_escape(char *out, size_t cap, const char *text, size_t size)
{
	static const char digits[] = "0123456789abcdef";
	size_t used = 0;
	uint8_t c;

	CV_ASSERT(cap > 0);
	for (size_t i = 0; i < size; i++) {
		c = (uint8_t)text[i];
		if (c >= ' ' && c <= '~') {
			if (cap - used < 2)
				break;
			out[used++] = (char)c;
			continue;
		}
		if (cap - used < 5)
			break; /* whole or not at all */
		out[used++] = '\\';
		out[used++] = 'x';
		out[used++] = digits[c >> 4];
		out[used++] = digits[c & 15];
	}
	out[used] = 0;
	return used;
}

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * log - one line per event to a sink, `key=value`, escaped, rate-limited.
 *
 * Knows levels and lines; the shell sets the sink (standard error, text or JSON)
 * and the clock. The protocol core never logs: it emits trace events.
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/time.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

enum { LOG_LINE_MAX = 1024 };

/* @line has no newline and is printable ASCII (log_escape). */
typedef void (*log_sink)(void *ctx, enum log_level level, const char *line);

void log_init(enum log_level max, log_sink sink, void *ctx);
void log_set_level(enum log_level max);
bool log_enabled(enum log_level level);
/* errno survives. Control bytes and non-ASCII in the result are escaped as \xNN. */
void log_write(enum log_level level, const char *fmt, ...) CV_PRINTF(2, 3);

/* NOLINTBEGIN(readability-identifier-naming): they are called as functions are */
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
/* NOLINTEND(readability-identifier-naming) */

/* Suppresses floods of one category: 5 lines/s, burst 20; says how many it swallowed. */
struct log_gate {
	cv_time filled_at;
	uint64_t level;
	uint64_t suppressed;
};
/* True when a line may be written now; *@suppressed gets the number swallowed before it. */
bool log_gate_pass(struct log_gate *g, cv_time now, uint64_t *suppressed);

/* Printable ASCII only; always NUL-terminated; returns bytes written without NUL. */
size_t log_escape(char *out, size_t cap, const char *text, size_t size);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * logsink - where log lines go: a descriptor (standard error), as text or JSON.
 *
 *	2026-03-01T12:00:00.123Z info ready listeners=3
 *	{"time":"2026-03-01T12:00:00.123Z","level":"info","message":"ready listeners=3"}
 *
 * Never stalls the loop: a line that a full pipe does not take is dropped and counted, and
 * the next line that gets through is preceded by the number.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/log.h"

struct logsink {
	int fd; /* borrowed */
	bool is_json;
	uint64_t dropped; /* lines since the last one that got through */
	uint64_t dropped_in_all;
};

void logsink_init(struct logsink *s, int fd, bool is_json);
/* A log_sink; @ctx is the struct logsink. Meant for log_init(level, logsink_write, &sink). */
void logsink_write(void *ctx, enum log_level level, const char *line);

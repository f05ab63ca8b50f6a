/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * metrics - the pages of `metrics: ADDR`: `/` for people, `/metrics` for Prometheus, `/proxy.pac`
 * for browsers. HTTP by libmicrohttpd, on descriptors that the owner's listeners accept; where the
 * program was built without it there are no pages.
 *
 * GET and HEAD only. A request must call us by an address, or `localhost` (T72: a name that
 * somebody points at 127.0.0.1 is not ours). Bounded: METRICS_CONNS_MAX connections, 16 KiB a
 * request, 10 s of silence.
 */

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>
#include <uv.h>

#include "base/compiler.h"

struct metrics;

enum { METRICS_CONNS_MAX = 32 };

struct metrics_ops {
	/* A new reference, as `culvert status --json` prints it; NULL: memory ran out. */
	json_t *(*status)(void *ctx);
	/* Writes the PAC file for a browser that called us @host; NULL: there is none. */
	void (*pac)(void *ctx, const char *host, FILE *out);
};

bool metrics_is_built_in(void);
/* @ops and @ctx are borrowed. 0, -ENOTSUP where it is not built in, -ENOMEM. */
CV_NODISCARD int metrics_open(uv_loop_t *loop, const struct metrics_ops *ops, void *ctx,
                              struct metrics **out);
/* A connection was accepted: @fd is taken. @is_unix: whatever it calls us is well. */
void metrics_take(struct metrics *m, int fd, bool is_unix);
/* Takes @m; it is over when the loop has run. */
void metrics_close(struct metrics *m);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * signals - SIGTERM and SIGINT (stop), SIGHUP (reload) as callbacks from the loop; SIGPIPE
 * ignored.
 */

#include <uv.h>

#include "base/compiler.h"

struct signals;

struct signals_events {
	void (*on_stop)(void *ctx);   /* may come again: the user is impatient */
	void (*on_reload)(void *ctx); /* NULL: SIGHUP is ignored */
};

/* @events is copied. 0 or a negative errno. One at a time in a process. */
CV_NODISCARD int signals_open(uv_loop_t *loop, const struct signals_events *events, void *ctx,
                              struct signals **out);
/* Ignores SIGPIPE alone, for commands without a loop. */
void signals_ignore_pipe(void);
/* Takes @s. @on_closed (may be NULL) comes from the loop. */
void signals_close(struct signals *s, void (*on_closed)(void *ctx), void *ctx);

/* SPDX-License-Identifier: MIT */
#pragma once

/* server_pages - where the server's `metrics` listens, and what it shows there. */

#include <uv.h>

#include "config/config.h"
#include "metrics.h"
#include "status.h"

struct server_pages;

enum { SERVER_PAGES_PLACES_MAX = CONFIG_LISTEN_ADDRS_MAX };

/**
 * server_pages_open() - listens where @config says
 * @ops: borrowed, as @ctx
 * @out: NULL when @config has none
 * Return: 0, or a negative errno after a line in the log.
 */
CV_NODISCARD int server_pages_open(uv_loop_t *loop, const struct config *config,
                                   const struct metrics_ops *ops, void *ctx,
                                   struct server_pages **out);
/* Rows for status; returns their number. NULL has none. */
unsigned server_pages_list(const struct server_pages *p,
                           struct status_listener out[SERVER_PAGES_PLACES_MAX]);
/* Takes @p (NULL: harmless); it is over when the loop has run. */
void server_pages_close(struct server_pages *p);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * metrics_text - a status object as Prometheus' text format 0.0.4, and as a page for people.
 *
 * Names as Prometheus has them: base units (seconds, bytes), `_total` for what only grows. What is
 * not known has no sample.
 */

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>

/* @status: of an agent or a server, as `culvert status --json` prints it. */
void metrics_text_write(const json_t *status, FILE *out);
void metrics_text_write_page(const json_t *status, bool has_pac, FILE *out);
/* True when the Host of a request is an address or `localhost`, with or without a port; NULL is
 * neither. */
bool metrics_text_is_our_host(const char *host);

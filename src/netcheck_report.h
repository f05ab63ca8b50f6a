/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * netcheck_report - what `culvert netcheck` found, as JSON and in words. Knows no sockets; the
 * words are made from the JSON, so that both say the same.
 */

#include <stdio.h>

#include <jansson.h>

#include "net/portprobe.h"
#include "tunnel/netcheck.h"

/* One address of a server, or a server that has none. All borrowed. */
struct netcheck_row {
	const char *name;                   /* as configured */
	const struct netcheck_place *place; /* NULL: there is nobody to ask */
	const char *why;                    /* then why */
	bool is_own;
	enum netcheck_bool tcp; /* UNKNOWN: not tried */
};

struct netcheck_report {
	struct netcheck_result result;
	const struct netcheck_row *rows;
	size_t row_count;
	const struct portprobe_result *gateway; /* NULL: not asked */
	bool has_network;                       /* this host has an address */
};

/* A new reference; NULL when memory ran out. */
json_t *netcheck_report_json(const struct netcheck_report *r);
void netcheck_report_print(const json_t *report, FILE *out);

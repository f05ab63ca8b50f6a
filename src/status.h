/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * status - the JSON objects of `culvert status --json`, as the user's contract has them.
 *
 * Knows names and shapes of fields; the numbers come from the core, untouched. What is not
 * known is null, never 0. The human text of the same objects is in status_text.
 */

#include <stddef.h>

#include <jansson.h>

#include "base/compiler.h"
#include "net/portmap.h"
#include "tunnel/endpoint.h"
#include "tunnel/hub.h"

/* How every JSON text of this program is written: 21.4 stays 21.4. */
#define STATUS_JSON_FLAGS (JSON_REAL_PRECISION(15))

/* Milliseconds with three decimals, as every *_ms of an answer. */
double status_ms(cv_duration d);

struct status_agent_server {
	const char *address; /* as configured */
	struct rendezvous_stats stats;
};

struct status_agent_peer {
	const char *name;
	const char *public_key; /* 44 characters */
	struct endpoint_peer_stats stats;
};

struct status_listener {
	const char *kind;    /* "proxy", "forward", "remote_forward", "metrics"; of a server: "udp",
	                        "tcp", "metrics" */
	const char *address; /* with its real port */
	const char *peer;    /* NULL: none */
};

/* A listener that a peer was asked for. */
struct status_remote {
	const char *peer;
	const char *listen; /* as configured */
	const char *to;
	const char *address; /* at the peer, with its real port; NULL: it is not open */
	const char *why;     /* it is not; NULL: it is */
};

/* All borrowed for the call. */
struct status_agent {
	const char *public_key;
	double uptime_s;
	const struct status_agent_server *servers;
	size_t server_count;
	struct endpoint_nat_stats nat;
	struct portmap_status portmap;
	const struct status_agent_peer *peers;
	size_t peer_count;
	const struct status_listener *listeners;
	size_t listener_count;
	const struct status_remote *remotes;
	size_t remote_count;
};

struct status_server {
	const char *public_key;
	double uptime_s;
	const struct status_listener *listeners;
	size_t listener_count;
	uint64_t tcp_connections;
	struct hub_stats stats;
};

/* A new reference; NULL when memory ran out. Text that is not UTF-8 is escaped. */
json_t *status_agent_json(const struct status_agent *s);
json_t *status_server_json(const struct status_server *s);

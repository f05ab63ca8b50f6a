/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * tables - what flows look up in a configuration: policies by peer, routes and users by proxy.
 *
 * Built whole from a configuration before anything changes, then put in the place of the one
 * before: a reload is one assignment. Peers are numbers of the core here, which they keep over
 * reloads; their places in the file are not.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "config/config.h"
#include "proxy/route.h"
#include "proxy/socks5.h"

/* Policy of one peer; empty: may nothing. */
struct tables_peer {
	const struct config_peer *config; /* NULL: no peer has this number */
	const struct pattern *allow;      /* borrowed from the tables */
	size_t allow_count;
	const struct pattern *allow_listen; /* likewise */
	size_t allow_listen_count;
};

struct tables_proxy {
	struct route_table routes;
	const struct auth_user *users; /* NULL: none */
	size_t user_count;
};

struct tables {
	const struct config *config; /* borrowed; outlives the tables */
	uint32_t *slots; /* number of each peer of the configuration; all these are owned */
	struct tables_peer *peers; /* by number */
	uint32_t peers_size;
	struct tables_proxy *proxies; /* as in the configuration */
	struct pattern *patterns;
	struct route_rule *rules;
	const char **names; /* by number; "": none */
	struct auth_user *users;
};

/* @slots: the number of each peer of @config, copied. 0, or -ENOMEM and @t is empty. */
CV_NODISCARD int tables_init(struct tables *t, const struct config *config, const uint32_t *slots);
void tables_deinit(struct tables *t);
/* The policy of peer number @peer; of one that was removed: nothing is allowed. */
const struct tables_peer *tables_peer(const struct tables *t, uint32_t peer);
/* The number of the peer that @ref means; ROUTE_NO_PEER when it means none. */
uint32_t tables_peer_number(const struct tables *t, const struct config_peer_ref *ref);
/* The number of the peer called @name; ROUTE_NO_PEER: none. */
uint32_t tables_find_peer(const struct tables *t, const char *name);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * listeners - where local clients of an agent connect: its proxies and forwards, each on one or
 * more addresses. Embedded in its agent; zeroed it has none.
 *
 * Another configuration comes in two steps. listeners_prepare() opens what it needs beside what is
 * there, and changes nothing; listeners_commit() puts it in place and closes what is no longer
 * wanted, or listeners_abort() closes what was opened. A socket whose address is wanted again stays
 * open, whatever becomes of what is behind it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"
#include "flows/bridge.h"
#include "flows/near_udp.h"
#include "metrics.h"
#include "net/tcp_listener.h"

enum { LISTENERS_MAX = 256, LISTENERS_WHY_MAX = 512 };

enum listener_kind {
	LISTENER_PROXY,
	LISTENER_FORWARD,
	LISTENER_METRICS,
	LISTENER_ADDED, /* a forward by `culvert forward`: in no configuration, stays until stop */
};

/* Where the clients of a socket go. */
struct listener_role {
	enum listener_kind kind;
	uint32_t index; /* of the proxy or forward in the configuration */
	/* forwards */
	char peer_name[HOST_LABEL_MAX + 1];
	uint32_t peer; /* its number; ROUTE_NO_PEER: it is not configured now */
	struct hostport to;
	bool is_udp;
};

struct listener {
	struct listeners *all;
	struct tcp_listener *l; /* one of the two is NULL */
	struct near_udp *udp;
	struct hostport asked; /* as wanted: its port may be 0 */
	struct hostport local; /* as it is */
	char address[HOSTPORT_TEXT_MAX];
	struct listener_role role;
	/* between prepare and commit */
	bool is_new, is_wanted;
	struct listener_role next;
};

struct listeners {
	struct tcp_set *conns; /* borrowed, as the bridge */
	struct bridge *bridge;
	struct metrics *metrics; /* owned by its opener; NULL: not built in */
	bool is_closed;
	struct listener *list[LISTENERS_MAX]; /* owned */
	unsigned count;
	char why[LISTENERS_WHY_MAX]; /* of the last failure: a sentence with its place */
};

void listeners_init(struct listeners *ls, struct tcp_set *conns, struct bridge *bridge);
/* Opens what @config has and is not there. @slots: the number of each of its peers. 0, or a
 * negative errno with ls->why, and nothing has changed. */
CV_NODISCARD int listeners_prepare(struct listeners *ls, const struct config *config,
                                   const uint32_t *slots);
/* The bridge has adopted @config, or will within this turn of the loop. @proxies (may be NULL):
 * what each proxy of the one before is called now; given all UINT32_MAX. */
void listeners_commit(struct listeners *ls, const struct config *config, const uint32_t *slots,
                      uint32_t *proxies);
void listeners_abort(struct listeners *ls);
/* A LISTENER_ADDED on all addresses of @at: 0, or a negative errno with ls->why. @first: the first
 * of ls->list that is new; those behind it are new, too. */
CV_NODISCARD int listeners_add(struct listeners *ls, const struct config_listen *at,
                               const struct listener_role *role, unsigned *first);
/* Closes those of the addresses of @at that were added. 0, or -ENOENT with ls->why. */
CV_NODISCARD int listeners_remove(struct listeners *ls, const struct config_listen *at,
                                  bool is_udp);
void listeners_close(struct listeners *ls);

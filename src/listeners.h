/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * listeners - where local clients of an agent connect: its proxies and forwards, each on one or
 * more addresses. Embedded in its agent; zeroed it has none.
 */

#include <stdbool.h>
#include <stdint.h>

#include "bridge.h"
#include "config/config.h"
#include "net/tcp_listener.h"

enum { LISTENERS_MAX = 256 };

struct listener {
	struct listeners *all;
	struct tcp_listener *l;
	bool is_proxy;
	uint32_t index; /* of the proxy or forward */
	char address[HOSTPORT_TEXT_MAX];
};

struct listeners {
	const struct config *config; /* borrowed, as the others */
	struct tcp_set *conns;
	struct bridge *bridge;
	bool is_closed;
	struct listener list[LISTENERS_MAX];
	unsigned count;
};

/* Opens all that @config names; what is accepted goes to @bridge, which is told their addresses.
 * 0, or -1 after a line in the log: those that are open stay so until listeners_close(). */
CV_NODISCARD int listeners_open(struct listeners *ls, const struct config *config,
                                struct tcp_set *conns, struct bridge *bridge);
void listeners_close(struct listeners *ls);

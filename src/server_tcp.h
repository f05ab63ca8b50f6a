/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * server_tcp - the server's TCP: listens, and carries datagrams between its connections and the
 * hub, for agents whose UDP is blocked.
 */

#include <uv.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "config/config.h"
#include "net/tcp_carrier.h"
#include "net/udp_port.h"
#include "tunnel/hub.h"

struct server_tcp;

enum { SERVER_TCP_LISTENERS_MAX = 32 };

/* All borrowed; they outlive it. */
struct server_tcp_options {
	const struct config *config;
	struct hub *hub;
	struct udp_port *port; /* fed, kicked, and the place to listen at if none is configured */
};

/* What was configured must be had; of what was not, what is free. 0, or a negative errno that has
 * been logged. */
CV_NODISCARD int server_tcp_open(uv_loop_t *loop, const struct server_tcp_options *opt,
                                 struct server_tcp **out);
/* Where it listens, at most @cap; returns their number. */
unsigned server_tcp_local(const struct server_tcp *s, struct addr *out, unsigned cap);
void server_tcp_send(struct server_tcp *s, cv_time now, const struct train *t);
void server_tcp_counters(const struct server_tcp *s, struct tcp_carrier_counters *out);
/* Takes @s; what was written leaves. */
void server_tcp_close(struct server_tcp *s);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * agent_tcp - the agent's TCP connections to its servers, one each at most, made when the core asks
 * for them because UDP does not pass.
 *
 * Addresses are dialled in the core's order, the next one 250 ms after the last or as soon as that
 * has failed; the first that is there is the connection.
 */

#include <uv.h>

#include "base/compiler.h"
#include "net/udp_port.h"
#include "tunnel/endpoint.h"

struct agent_tcp;

/* All borrowed; they outlive it. */
struct agent_tcp_options {
	struct endpoint *endpoint;
	struct udp_port *port; /* fed and kicked */
};

CV_NODISCARD int agent_tcp_open(uv_loop_t *loop, const struct agent_tcp_options *opt,
                                struct agent_tcp **out);
/* ENDPOINT_EVENT_TCP_OPEN. */
void agent_tcp_connect(struct agent_tcp *a, uint32_t server);
/* ENDPOINT_EVENT_TCP_CLOSE. */
void agent_tcp_disconnect(struct agent_tcp *a, uint32_t server);
/* Dials again what is being dialled, and ends the connections whose own address is no longer that
 * from which their servers are reached. The core is told of the change afterwards. */
void agent_tcp_on_network_change(struct agent_tcp *a, cv_time now);
void agent_tcp_send(struct agent_tcp *a, cv_time now, const struct train *t);
/* Takes @a; what was written leaves. */
void agent_tcp_close(struct agent_tcp *a);

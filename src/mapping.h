/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * mapping - the agent's port mapping: what net/portmap gets is told to the core, to the log and in
 * `status`. Embedded in its agent; zeroed it is turned off, and all calls but mapping_open() are
 * harmless.
 */

#include <uv.h>

#include "base/rng.h"
#include "base/trace.h"
#include "net/portmap.h"
#include "net/udp_port.h"
#include "tunnel/endpoint.h"

struct mapping {
	struct portmap *portmap;   /* NULL: turned off, or could not be opened */
	struct endpoint *endpoint; /* borrowed */
	struct udp_port *port;     /* borrowed */
};

/* Begins to ask for the main port of @port. What cannot be opened is a line in the log. */
void mapping_open(struct mapping *m, uv_loop_t *loop, struct endpoint *endpoint,
                  struct udp_port *port, const struct rng *rng, const struct trace *trace);
void mapping_on_network_change(struct mapping *m);
/* See portmap_on_doubt(). */
void mapping_on_doubt(struct mapping *m);
/* Takes it back; over within PORTMAP_CLOSE_TIMEOUT of the loop. Endpoint and port may go before. */
void mapping_close(struct mapping *m);
void mapping_status(const struct mapping *m, struct portmap_status *out);

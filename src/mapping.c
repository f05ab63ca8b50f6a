/* SPDX-License-Identifier: MIT */
#include "mapping.h"

#include <stdio.h>

#include "base/log.h"
#include "net/clock.h"

static void on_change(void *ctx)
{
	struct mapping *m = ctx;
	struct addr list[PORTMAP_ADDRESSES_MAX];
	unsigned count = portmap_addresses(m->portmap, list);
	struct portmap_status status;
	char text[ADDR_TEXT_MAX];

	_Static_assert(PORTMAP_ADDRESSES_MAX <= (int)ENDPOINT_MAPPED_MAX, "all are announced");
	endpoint_set_mapped_addresses(m->endpoint, clock_now(), list, count);
	udp_port_kick(m->port);
	portmap_status(m->portmap, &status);
	if (status.protocol)
		log_info("port mapping protocol=%s address=%s%s%s", status.protocol,
		         addr_format(&status.address, text), status.why[0] ? " but=" : "",
		         status.why);
	else
		log_info("port mapping lost why=%s", status.why);
}

void mapping_open(struct mapping *m, uv_loop_t *loop, struct endpoint *endpoint,
                  struct udp_port *port, const struct rng *rng, const struct trace *trace)
{
	const struct portmap_options opt = { .rng = rng,
		                             .trace = trace,
		                             .port = udp_port_number(port),
		                             .on_change = on_change,
		                             .ctx = m };
	int r;

	*m = (struct mapping){ .endpoint = endpoint, .port = port };
	r = portmap_open(loop, &opt, &m->portmap);
	if (r == 0)
		return;
	m->portmap = NULL;
	log_warn("no port mapping can be asked for: %s", uv_strerror(r));
}

void mapping_on_network_change(struct mapping *m)
{
	if (m->portmap)
		portmap_on_network_change(m->portmap);
}

void mapping_on_doubt(struct mapping *m)
{
	if (m->portmap)
		portmap_on_doubt(m->portmap);
}

void mapping_close(struct mapping *m)
{
	if (m->portmap)
		portmap_close(m->portmap, NULL, NULL);
	m->portmap = NULL;
}

void mapping_status(const struct mapping *m, struct portmap_status *out)
{
	*out = (struct portmap_status){ .protocol = NULL };
	if (m->portmap)
		portmap_status(m->portmap, out);
	else
		(void)snprintf(out->why, sizeof(out->why), "turned off (portmap: false)");
}

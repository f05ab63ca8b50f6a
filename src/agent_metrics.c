/* SPDX-License-Identifier: MIT */

/* agent_metrics - what the agent's pages show: its status, and the way to its first proxy. */
#include <stdio.h>
#include <string.h>

#include "agent_inner.h"
#include "pac.h"

/* Where a browser finds the first proxy: IPv4 before IPv6; NULL: on no address. */
static const struct listener *first_proxy(const struct agent *a)
{
	const struct listener *found = NULL;

	for (unsigned i = 0; i < a->listeners.count; i++) {
		const struct listener *l = a->listeners.list[i];

		if (l->role.kind != LISTENER_PROXY || l->role.index != 0 ||
		    l->local.kind != HOST_ADDR)
			continue;
		if (!found || l->local.addr.family == ADDR_V4)
			found = l;
	}
	return found;
}

/* A proxy on every address is where the page is: the browser reached us there. */
static void name_proxy(const struct listener *l, const char *host, char out[HOSTPORT_TEXT_MAX])
{
	struct hostport h;
	const char *why;

	memcpy(out, l->address, strlen(l->address) + 1);
	if (!addr_is_unspecified(&l->local.addr))
		return;
	if (!host || hostport_parse(host, 80, &h, &why) < 0 ||
	    (h.kind != HOST_ADDR && h.kind != HOST_NAME))
		h = (struct hostport){ .kind = HOST_ADDR, .addr = addr_v4(127, 0, 0, 1, 0) };
	h.port = h.addr.port = l->local.port;
	(void)hostport_format(&h, out);
}

static void on_pac(void *ctx, const char *host, FILE *out)
{
	const struct agent *a = ctx;
	const struct listener *l = first_proxy(a);
	char address[HOSTPORT_TEXT_MAX];

	if (l)
		name_proxy(l, host, address);
	pac_write(out, a->config->proxy_count ? &a->config->proxies[0] : NULL, l ? address : NULL);
}

int agent_metrics_open(struct agent *a)
{
	static struct metrics_ops ops;

	if (!metrics_is_built_in())
		return 0;
	ops = (struct metrics_ops){ .status = agent_status_ops.status, .pac = on_pac };
	return metrics_open(&a->loop, &ops, a, &a->listeners.metrics);
}

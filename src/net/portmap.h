/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * portmap - has the gateway forward the main UDP port to us: by PCP or NAT-PMP (tunnel/mapper), and
 * by UPnP (net/upnp) where those do not answer within a second. In IPv6 firewalls by PCP alone.
 *
 * Finds the gateway, again when told that the network may have changed; keeps what it got until it
 * is closed, then takes it back. Never waits: the caller hears of every change.
 *
 * Asks only for addresses that need it: behind NAT, an IPv4 address that is not public; in IPv6 a
 * public one, for it may lie behind a firewall.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/rng.h"
#include "base/time.h"
#include "base/trace.h"

struct portmap;

enum {
	PORTMAP_ADDRESSES_MAX = 2, /* one a family */
	PORTMAP_WHY_MAX = 160,
};

struct portmap_options {
	const struct rng *rng;     /* borrowed */
	const struct trace *trace; /* borrowed; may be NULL */
	uint16_t port;             /* the main socket's */
	/* From the loop: portmap_addresses() or portmap_status() would say something else now. */
	void (*on_change)(void *ctx);
	void *ctx;
};

/* Begins at once. 0 or a negative errno: no memory, no descriptors. */
CV_NODISCARD int portmap_open(uv_loop_t *loop, const struct portmap_options *opt,
                              struct portmap **out);
/* Routes or addresses may be others now: looks at the gateway again. */
void portmap_on_network_change(struct portmap *p);
/* A sign that the NAT has forgotten its mappings (a server was lost and found, or sees another
 * address of ours): what there is, is renewed. */
void portmap_on_doubt(struct portmap *p);
/**
 * portmap_close() - take the mappings back, then end
 * Takes @p; on_change() does not come again. @on_closed (may be NULL) comes from the loop, at the
 * latest PORTMAP_CLOSE_TIMEOUT after this; a gateway that has not answered by then keeps the
 * mapping until it expires.
 */
void portmap_close(struct portmap *p, void (*on_closed)(void *ctx), void *ctx);
#define PORTMAP_CLOSE_TIMEOUT CV_MS(1000)

/* What gateways forward to us: addresses outside, with their ports; at most PORTMAP_ADDRESSES_MAX.
 * Returns their number. */
unsigned portmap_addresses(const struct portmap *p, struct addr out[PORTMAP_ADDRESSES_MAX]);

/* For people: of IPv4, of IPv6 where only that has a mapping. */
struct portmap_status {
	const char *protocol; /* "pcp", "nat-pmp", "upnp"; NULL: no mapping */
	struct addr address;  /* ADDR_NONE without one */
	cv_duration expires;  /* from now; 0 without one */
	/* Why there is no mapping, or why it may be of no use; empty: there is one. */
	char why[PORTMAP_WHY_MAX];
};
void portmap_status(const struct portmap *p, struct portmap_status *out);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * gateway - who forwards our packets to the internet, and from which of our addresses.
 *
 * Linux is asked through netlink for the route that a packet to a public address would take; so
 * rules, metrics and tunnels count as they do for the packets themselves. Nothing is sent. Other
 * systems: none is found.
 */

#include "base/addr.h"
#include "base/compiler.h"

struct gateway {
	struct addr address; /* port 0; a link-local one has its scope */
	struct addr own;     /* our address towards the internet; port 0 */
};

/* The address that packets to @to would be sent from; port 0. 0, or a negative errno (-ENETUNREACH:
 * there is no route). Nothing is sent. */
CV_NODISCARD int gateway_source(const struct addr *to, struct addr *out);

/**
 * gateway_find() - the first hop of packets to the internet
 * @family: ADDR_V4 or ADDR_V6
 *
 * Asks the kernel anew each time; does not wait.
 *
 * Return: 0; -ENETUNREACH: there is no route; -ENOENT: the route has no gateway (a point-to-point
 * link); -ENOTSUP: not on this system; another negative errno. @out is written on 0.
 */
CV_NODISCARD int gateway_find(enum addr_family family, struct gateway *out);

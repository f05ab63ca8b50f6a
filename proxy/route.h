/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * route - which peer serves a target.
 *
 * Knows `routes` and the default peer of one proxy, and that SERVICE.PEER.culvert
 * is a peer's service. Peers are numbers here; what they are and whether they are
 * connected is the caller's. Names are never resolved: a network matches IP
 * literals only.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/hostport.h"
#include "base/pattern.h"

#define ROUTE_NO_PEER UINT32_MAX

struct route_rule {
	struct pattern to; /* from pattern_parse_host() */
	uint32_t peer;     /* index of a peer */
};

/* Everything is borrowed and must outlive the table. */
struct route_table {
	const struct route_rule *rules; /* first match wins */
	size_t rule_count;
	const char *const *peer_names; /* index is the peer's number */
	size_t peer_count;
	uint32_t default_peer; /* or ROUTE_NO_PEER */
};

/**
 * route_find() - the peer for a target
 * @target: as the client named it
 * @out:    what to ask the peer for: @target, or HOST_SERVICE for a .culvert name
 *
 * A .culvert name that is not SERVICE.PEER.culvert of a known peer has no route:
 * it means nothing to anybody's resolver.
 * Return: the peer, or ROUTE_NO_PEER (refuse with TARGET_NO_ROUTE; @out unchanged).
 */
CV_NODISCARD uint32_t route_find(const struct route_table *t, const struct hostport *target,
                                 struct hostport *out);

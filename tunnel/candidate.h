/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * candidate - which announced addresses may be probed. A peer or server must not
 * be able to point us at a victim (T40): no loopback, multicast, broadcast or unspecified address,
 * none of the ports that UDP services amplify on, private ones only where we have an interface in
 * that range.
 */

#include <stdbool.h>

#include "base/addr.h"

struct candidate_scope {
	bool has_private[3]; /* an interface lies in 10/8, 172.16/12, 192.168/16 */
	bool has_ula;        /* or in fc00::/7 */
};

/* Learns from one of our own interface addresses. */
void candidate_scope_add(struct candidate_scope *scope, const struct addr *own);
bool candidate_is_allowed(const struct candidate_scope *scope, const struct addr *a);
/* May be announced: neither loopback, link-local, multicast nor unspecified. */
bool candidate_is_announced(const struct addr *own);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * listen_acl - where a peer may have listeners opened here: default-deny.
 *
 * Knows the peer's `allow_listen` patterns. Binds nothing.
 *
 * An address is judged as one that is dialled (pattern_match_dial()), so `*` and wide networks do
 * not include loopback, link-local and multicast addresses. But `*` includes 0.0.0.0 and [::]: it
 * was said that the peer may be reachable anywhere. Names match no listener.
 *
 * A zeroed one denies everything.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/hostport.h"
#include "base/pattern.h"

/* Borrowed. */
struct listen_acl {
	const struct pattern *allow;
	size_t allow_count;
};

/* May there be a listener at @at, HOST_ADDR or HOST_UNIX? Port 0: at some port of its address. */
CV_NODISCARD bool listen_acl_allows(const struct listen_acl *acl, const struct hostport *at,
                                    bool is_udp);

/**
 * listen_acl_port() - which ports "any free one" may be, one after another
 * @at:      HOST_ADDR; its port is ignored
 * @attempt: 0, 1, ... as long as the port before was taken
 * @port:    the port to try; 0: any that the system has
 * Return: false when there are no more.
 */
CV_NODISCARD bool listen_acl_port(const struct listen_acl *acl, const struct hostport *at,
                                  bool is_udp, uint32_t attempt, uint16_t *port);

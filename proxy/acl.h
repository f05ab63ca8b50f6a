/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * acl - what one peer may reach through this agent: default-deny.
 *
 * Knows the peer's allow patterns and this agent's own listeners. Resolves and
 * dials nothing; dial asks it about every address just before connecting, with
 * the acl of that moment, so that a reload counts from the next dial on.
 *
 * A zeroed acl denies everything.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/hostport.h"
#include "base/pattern.h"

/* Everything is borrowed and must outlive the acl. */
struct acl {
	const struct pattern *allow;
	size_t allow_count;
	const struct addr *own; /* every bound listener, real ports; TCP and UDP alike */
	size_t own_count;
	const struct addr *local; /* this host's addresses, for own listeners on a wildcard */
	size_t local_count;
	bool is_operators_own; /* the target comes from our own file (a service): all is allowed */
};

enum acl_verdict {
	ACL_ALLOW,
	ACL_DENY,
	ACL_DENY_OWN, /* an own listener that no pattern names by address and port */
};

/**
 * acl_check_name() - may this be worth resolving?
 * ACL_DENY when no address whatever could make it allowed, so that a refused name
 * costs no lookup and cannot be used to send queries. For addresses and unix paths
 * the verdict is final; for a name ACL_ALLOW only means "resolve, then ask
 * acl_check_dial()". HOST_SERVICE is denied: the caller replaces it by its target.
 */
CV_NODISCARD enum acl_verdict acl_check_name(const struct acl *acl, const struct hostport *to,
                                             bool is_udp);

/**
 * acl_check_dial() - may this address be dialled?
 * @name: what the client asked for, or NULL when it gave the address
 * @addr: the address about to be dialled, with its port; reduced here to the IPv4
 *        address that an IPv4-in-IPv6 form reaches
 */
CV_NODISCARD enum acl_verdict acl_check_dial(const struct acl *acl, const char *name,
                                             const struct addr *addr, bool is_udp);

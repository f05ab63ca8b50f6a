/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * udp_dial - from a target to the address that a flow of datagrams goes to: policy, lookup, the
 * next address when one is of no use.
 *
 * Nobody answers a datagram, so eyeballs cannot be happy: the addresses are tried one after the
 * other in the resolver's order (RFC 6724), the next one when the host has no way there or when
 * ICMP says that nobody listens. `localhost` is 127.0.0.1 first, where most services listen. Opens
 * no socket and asks no resolver; has no deadline, for the lookup has one.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/hostport.h"
#include "proxy/acl.h"
#include "proxy/dial.h"
#include "proxy/target.h"

enum { UDP_DIAL_ADDRESSES_MAX = 8 }; /* kept of an answer */

enum udp_dial_verdict {
	UDP_DIAL_RESOLVE, /* look up .to.text, then udp_dial_on_resolved() or _failed() */
	UDP_DIAL_CONNECT, /* to .addr, which the policy has judged */
	UDP_DIAL_FAIL,    /* refuse with .code */
};

/* Open so that it can be embedded; .to, .addr and .code may be read. */
struct udp_dial {
	struct hostport to;
	struct addr addr;
	enum target_code code;
	uint8_t count, next;
	struct addr list[UDP_DIAL_ADDRESSES_MAX];
};

/* @to is copied; HOST_ADDR or HOST_NAME. @acl: of the moment, as below; not kept. */
CV_NODISCARD enum udp_dial_verdict udp_dial_begin(struct udp_dial *d, const struct acl *acl,
                                                  const struct hostport *to);
/* @list in the resolver's order of preference, ports ignored; 0 of them: not found. */
CV_NODISCARD enum udp_dial_verdict udp_dial_on_resolved(struct udp_dial *d, const struct acl *acl,
                                                        const struct addr *list, size_t count);
CV_NODISCARD enum udp_dial_verdict udp_dial_on_resolve_failed(struct udp_dial *d,
                                                              enum dial_resolve_error why);
/* .addr is of no use: @error is an errno, its sign ignored. Never UDP_DIAL_RESOLVE. */
CV_NODISCARD enum udp_dial_verdict udp_dial_on_failed(struct udp_dial *d, const struct acl *acl,
                                                      int error);
/* True when udp_dial_on_failed() may still find another address. */
bool udp_dial_has_next(const struct udp_dial *d);

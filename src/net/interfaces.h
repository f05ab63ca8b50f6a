/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * interfaces - the addresses of this host, and word when they change.
 *
 * Linux tells changes of links, addresses and routes through netlink; elsewhere the list is
 * compared every 10 s. A burst of changes is one callback, 200 ms after its first.
 */

#include <uv.h>

#include "base/addr.h"
#include "base/compiler.h"

struct interfaces;

enum { INTERFACES_MAX = 64 }; /* addresses listed */

/* Addresses of interfaces that are up, without loopback and multicast ones, ports 0; at most @cap.
 * Returns their number. Needs nothing open. */
unsigned interfaces_list(struct addr *out, unsigned cap);

/* @on_change comes from the loop; addresses, links or routes are not what they were. 0 or a
 * negative errno. */
CV_NODISCARD int interfaces_open(uv_loop_t *loop, void (*on_change)(void *ctx), void *ctx,
                                 struct interfaces **out);
/* Takes @i. @on_closed (may be NULL) comes from the loop. */
void interfaces_close(struct interfaces *i, void (*on_closed)(void *ctx), void *ctx);

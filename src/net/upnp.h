/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * upnp - one errand at a UPnP gateway: is there one, map a port, take a mapping back.
 *
 * The library for it (miniupnpc) waits for the network, up to some seconds a call, so an errand is
 * run by a thread of its own that shares nothing with the loop but its request and its result.
 * Without the library everything here is refused (-ENOTSUP).
 *
 * Who is believed: the gateway's own address. A search is answered by whoever likes to; what is
 * not from there, or names a URL that is not there, is not looked at.
 *
 * Source: UPnP IGD, WANIPConnection:1 and :2; RFC 6970 for what the errors mean.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "net/ssdp.h"

struct upnp;

enum {
	UPNP_LIFETIME_S = 7200,
	UPNP_PORTS_MAX = 3, /* outside, one after the other */
};

enum upnp_task { UPNP_FIND, UPNP_MAP, UPNP_UNMAP };

/* Where a gateway takes commands, once it has been found. */
struct upnp_control {
	char url[SSDP_URL_MAX]; /* empty: not known */
	char service[128];
};

struct upnp_request {
	enum upnp_task task;
	struct addr gateway;
	struct addr client; /* our address in the LAN; UPNP_MAP: with the port to be mapped */
	uint16_t ports[UPNP_PORTS_MAX]; /* wanted outside, in this order; 0: none. UPNP_UNMAP: the
	                                   first is the mapping's */
	struct upnp_control control;
};

enum upnp_verdict {
	UPNP_DONE,
	UPNP_ABSENT,  /* the gateway does not answer a search */
	UPNP_REFUSED, /* it does, and will not */
};

struct upnp_result {
	enum upnp_verdict verdict;
	const char *why;      /* static; NULL with UPNP_DONE */
	struct addr external; /* UPNP_FIND: the address, ADDR_NONE if it does not tell; UPNP_MAP: of
	                         the mapping */
	struct upnp_control control;
};

bool upnp_is_built_in(void);

/**
 * upnp_start() - begin an errand
 * @req:     copied
 * @on_done: from the loop, once, unless abandoned; the errand is freed when it returns
 *
 * Return: 0; -ENOTSUP: not built in; another negative errno: no thread, no memory.
 */
CV_NODISCARD int upnp_start(uv_loop_t *loop, const struct upnp_request *req,
                            void (*on_done)(void *ctx, const struct upnp_result *result), void *ctx,
                            struct upnp **out);
/**
 * upnp_abandon() - do not wait for it
 * The thread is left to end by itself, also beyond the end of the loop; @on_done does not come.
 * @on_closed (may be NULL) comes from the loop when nothing of it is in the loop any more.
 */
void upnp_abandon(struct upnp *u, void (*on_closed)(void *ctx), void *ctx);

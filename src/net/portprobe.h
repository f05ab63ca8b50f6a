/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * portprobe - which protocols for port mappings does the gateway speak? Makes no mapping.
 *
 * PCP is asked with ANNOUNCE, NAT-PMP for its address, UPnP for a description and its address, all
 * at once; over after PORTPROBE_TIMEOUT, or as soon as all three have answered. For `culvert
 * netcheck`. A process that uses it ignores SIGPIPE (net/signals).
 */

#include <stdbool.h>
#include <uv.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/time.h"

struct portprobe;

#define PORTPROBE_TIMEOUT CV_MS(2500)

struct portprobe_result {
	/* NULL: a gateway was asked. Else nobody was, and this says why (static). */
	const char *why;
	struct addr gateway, own; /* ports 0 */
	bool has_pcp, has_natpmp, has_upnp;
	bool is_upnp_built_in; /* else has_upnp says nothing */
	/* The gateway's address outside as NAT-PMP or UPnP told it; ADDR_NONE: neither did. Not
	 * public: another NAT follows. */
	struct addr external;
};

/* @on_done comes from the loop, once. 0 or a negative errno. */
CV_NODISCARD int portprobe_start(uv_loop_t *loop,
                                 void (*on_done)(void *ctx, const struct portprobe_result *result),
                                 void *ctx, struct portprobe **out);
/* Ends it early; @on_done does not come. Not after it came. */
void portprobe_cancel(struct portprobe *p);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * near_udp - a local UDP port whose clients reach one target through one peer: a forward's, or one
 * that the peer has asked for (a remote forward, whose target is a listener's number).
 *
 * Each client address is a flow, opened by its first datagram and ended by silence. A flow that is
 * refused is not tried again for a moment: a client that goes on sending does not dial a thousand
 * times a second. Of that the client hears nothing: whoever listens on a UDP port cannot send ICMP
 * errors from it; the log has one line.
 */

#include "flows/bridge.h"
#include "proxy/target.h"

struct near_udp;

struct near_udp_role {
	uint32_t peer; /* ROUTE_NO_PEER: not configured now; what comes is dropped */
	struct target_request request; /* of kind UDP: what each flow's stream opens with */
	/* The session that a listener's number means something to, and no other; NULL: it has none.
	 */
	const struct streams *of;
};

/* @at: HOST_ADDR's address; port 0: any free one. What comes before near_udp_set_role() is dropped.
 * 0, or a negative errno of bind(), or -ENOMEM. */
CV_NODISCARD int near_udp_open(struct bridge *b, const struct addr *at, struct near_udp **out);
/* From now on; flows to another target than this end. Copied. */
void near_udp_set_role(struct near_udp *l, const struct near_udp_role *role);
/* The real address; its port is never 0. */
struct addr near_udp_local(const struct near_udp *l);
uint32_t near_udp_flows(const struct near_udp *l);
/* Takes @l: its flows end. @on_closed (may be NULL) comes from the loop. */
void near_udp_close(struct near_udp *l, void (*on_closed)(void *ctx), void *ctx);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * far_udp - a peer's flow of datagrams to one target: policy, lookup, a connected socket, the
 * answer.
 */

#include "flows/bridge.h"

/**
 * far_udp_open() - a stream of kind UDP has said where it wants to go
 * @f:  in FLOW_REQUEST; taken, as is its stream, whose header was consumed
 * @to: HOST_ADDR or HOST_NAME; copied
 * @is_operators_own: the target comes from our own configuration (a service, a remote forward): the
 *                    policy is not asked
 *
 * The caller has counted the open against the peer's rate. A refusal resets the stream.
 */
void far_udp_open(struct flow *f, cv_time now, const struct hostport *to, bool is_operators_own);
/* All flows of all peers end, at the end of the bridge. */
void far_udp_close_all(struct bridge *b);

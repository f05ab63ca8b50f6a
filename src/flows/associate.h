/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * associate - both ends of SOCKS5's UDP ASSOCIATE in the shell.
 *
 * associate.c: the client's connection, its UDP socket, and one flow for each peer and service that
 * its datagrams go to. far_associate.c: the other end of such a flow, with its sockets and lookups.
 * udp_scratch.c: memory for what is in front of datagrams.
 */

#include "flows/bridge.h"

/* The default peer has accepted, or there is none: the client is told where to send. May refuse. */
void associate_start(struct flow *f, cv_time now);
/* The configuration was replaced; @proxies as in bridge_adopt(). */
void associate_rebind(struct flow *f, const uint32_t *proxies);
/* If the flow has one: it ends. */
void associate_free(struct flow *f);

/**
 * far_associate_open() - a stream of kind UDP whose datagrams carry their addresses
 * @f: in FLOW_REQUEST; taken with its stream, whose header was consumed, if the return is TARGET_OK
 */
CV_NODISCARD enum target_code far_associate_open(struct flow *f, cv_time now);
/* All of all peers end, at the end of the bridge. */
void far_associate_close_all(struct bridge *b);

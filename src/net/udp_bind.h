/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * udp_bind - from the addresses of a port to bound sockets with their numbers.
 */

#include "base/compiler.h"
#include "net/udp_batch.h"
#include "net/udp_port.h"

struct udp_bound {
	struct udp_socket sockets[UDP_PORT_SOCKETS_MAX];
	unsigned count;
};

/* As udp_port_open() says; on failure nothing is left open. */
CV_NODISCARD int udp_bind_open(const struct udp_port_options *opt, struct udp_bound *out);
/* One more IPv4 socket on any free port, with buffers for bulk: it may become a path's. */
CV_NODISCARD int udp_bind_extra(struct udp_socket *out);
/* Buffers of a local socket, @wanted bytes each way or as many as we may have. */
void udp_bind_set_buffers(int fd, int wanted);

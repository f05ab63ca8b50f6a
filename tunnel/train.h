/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * train - datagrams between the core and the shell, in batches. A train has one
 * socket, one destination and one packet size; only its last packet may be shorter
 * (UDP GSO). One datagram is the degenerate case. Rule 8.1.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"

enum {
	TRAIN_BYTES_MAX = 65507,
	TRAIN_SEGMENTS_MAX = 64,
};

/* Sockets of a port, by number. */
enum {
	SOCKET_MAIN = 0,   /* the one that peers and servers know; further bound ones follow */
	SOCKET_EXTRA = 16, /* the first of those that are opened for a punch */
	SOCKETS_EXTRA_MAX = 1024,
	SOCKET_TCP = UINT16_MAX, /* no UDP: the connection to a server's TCP address, or from an
	                            agent's */
};

/* The two ECN bits of the IP header (RFC 3168, 5). */
enum ecn_codepoint { ECN_NOT_ECT = 0, ECN_ECT1 = 1, ECN_ECT0 = 2, ECN_CE = 3 };

/* Out: built by the core into memory that the shell lends. */
struct train {
	uint8_t *bytes;      /* borrowed from the shell: TRAIN_BYTES_MAX bytes */
	size_t size;         /* all packets */
	size_t segment_size; /* of each packet but the last */
	unsigned count;
	uint16_t socket;
	uint8_t ttl; /* hops that it may go; 0: as usual */
	uint8_t ecn; /* enum ecn_codepoint; a shell that cannot set it leaves it out */
	struct addr to;
};

/* In: what one recvmsg returned; with GRO several datagrams of one sender. Opened in place. */
struct arrival {
	uint8_t *bytes;
	size_t size;
	size_t segment_size; /* of each datagram but the last; equal to @size for one */
	uint16_t socket;
	bool stays;  /* the bytes are left alone until endpoint_keep() */
	uint8_t ecn; /* enum ecn_codepoint, the same for all: the kernel joins only such; 0: not
	                known */
	struct addr from;
};

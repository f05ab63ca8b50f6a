/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * udp_scratch - memory of a bridge for datagrams that get another header: what goes to a socket
 * must stay until its set has sent it, and is not copied by it.
 *
 * A ring: when it is full the set sends all that waits, and it begins again.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bridge;
struct udp_scratch;

enum {
	DATAGRAM_SIZE_MAX = 65507,       /* that a flow carries: PROTOCOL.md, 12 */
	UDP_SCRATCH_FRAME = 65536 + 512, /* any datagram with any header */
};

/* Takes the memory, once; false: there is none. Before any of the others. */
bool udp_scratch_reserve(struct bridge *b);
/* UDP_SCRATCH_FRAME bytes, until the next call of this. */
uint8_t *udp_scratch_frame(struct bridge *b);
/* @size bytes, at most UDP_SCRATCH_FRAME, that stay until what is sent of them has left; aligned
 * for any struct. May send what waits. */
uint8_t *udp_scratch_keep(struct bridge *b, size_t size);
/* Changes when memory that was kept is used again. */
uint64_t udp_scratch_round(const struct bridge *b);
void udp_scratch_free(struct bridge *b);

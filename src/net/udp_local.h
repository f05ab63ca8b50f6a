/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * udp_local - UDP sockets of local clients and of targets, in batches.
 *
 * Knows how datagrams enter and leave the kernel many at a time (recvmmsg, UDP_GRO; sendmmsg,
 * UDP_SEGMENT), which of our addresses a datagram was sent to, and what ICMP said. Knows no flows.
 * The tunnel's own port is udp_port.
 *
 * A set has the memory that its sockets share while they read, and what waits to be sent within one
 * turn of the loop: udp_local_send() gathers, udp_set_flush() sends. What the kernel does not take
 * then is lost: these are datagrams. Not thread-safe.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/time.h"

struct udp_set;
struct udp_local;

/* Borrows @loop. Takes 2 MiB of address space, of which it uses what datagrams are large. 0 or
 * -ENOMEM. */
CV_NODISCARD int udp_set_open(uv_loop_t *loop, struct udp_set **out);
/* Before the loop runs empty, when all its sockets have been closed or will be; no error is told
 * any more. */
void udp_set_close(struct udp_set *set);
/* After the loop has run empty. NULL is nothing. */
void udp_set_free(struct udp_set *set);
/* Sends what was gathered. Calls nobody. */
void udp_set_flush(struct udp_set *set);

/* Do datagrams from @from (an address of this host) come from one of our own sockets? Looks at each
 * of them. */
bool udp_set_has(const struct udp_set *set, const struct addr *from);

struct udp_set_counters {
	uint64_t rx_datagrams, rx_calls, tx_datagrams, tx_calls;
	uint64_t tx_dropped; /* the kernel did not take them, or said why not */
};
void udp_set_counters(const struct udp_set *set, struct udp_set_counters *out);

/* A datagram that came. The bytes are borrowed for the call. */
struct udp_local_arrival {
	cv_time now;
	const struct addr *from;
	const struct addr *to; /* our address that it was sent to, for a socket on a wildcard; port
	                          0. ADDR_NONE elsewhere */
	const uint8_t *bytes;
	size_t size; /* may be 0 */
};

/* None may be NULL. A socket may be closed from within any of them. */
struct udp_local_events {
	void (*on_datagram)(void *ctx, const struct udp_local_arrival *in);
	/* After some of these: what they caused is to be sent. More may come in the same turn,
	 * unless the socket is paused from here. */
	void (*on_batch)(void *ctx);
	/* Of a connected socket: what ICMP said, or why a datagram could not be sent. Negative
	 * errno. From the loop, never from within a call of ours. */
	void (*on_error)(void *ctx, int error);
};

/**
 * udp_local_bind() - a socket that anybody may send to
 * @at: port 0: any free one
 * Return: 0; -EADDRINUSE, -EADDRNOTAVAIL, -EACCES, -EMFILE, -ENOMEM, ...
 */
CV_NODISCARD int udp_local_bind(struct udp_set *set, const struct addr *at,
                                const struct udp_local_events *events, void *ctx,
                                struct udp_local **out);
/* A socket for one target, which alone is heard. 0; -ENETUNREACH, -EHOSTUNREACH, -EACCES, -EMFILE,
 * ... */
CV_NODISCARD int udp_local_connect(struct udp_set *set, const struct addr *to,
                                   const struct udp_local_events *events, void *ctx,
                                   struct udp_local **out);
/* Its own address; the port is never 0. */
struct addr udp_local_address(const struct udp_local *u);
/* Reading pauses, at most until the kernel's buffer is full; again: goes on. */
void udp_local_pause(struct udp_local *u, bool is_paused);

/* Where a datagram goes; made once, used often. */
struct udp_dest {
	struct sockaddr_storage to;
	socklen_t to_size; /* 0: the socket is connected */
	struct addr
		from; /* our address, for a socket on a wildcard; ADDR_NONE: the kernel's choice */
};
struct udp_dest udp_dest_make(const struct addr *to, const struct addr *from);

/* Gathered, not copied: @dest (NULL for a connected socket) and @bytes stay as they are until
 * udp_set_flush(), which may be called from here. */
void udp_local_send(struct udp_local *u, const struct udp_dest *dest, const uint8_t *bytes,
                    size_t size);
/* Takes @u. What waits to be sent is sent first. @on_closed (may be NULL) comes from the loop. */
void udp_local_close(struct udp_local *u, void (*on_closed)(void *ctx), void *ctx);

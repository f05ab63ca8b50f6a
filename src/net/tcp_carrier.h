/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * tcp_carrier - datagrams over TCP connections, between an agent and its servers.
 *
 * Makes of a connection what a link with a short queue is (protocol rule 6.2): frames in and out
 * (tunnel/carriage), whole packets dropped where the other end does not read, oldest first, never
 * one partly written. A connection is named by the address of its far end; trains and arrivals have
 * the socket SOCKET_TCP. Knows nothing of what the datagrams say: who is welcome, the owner says.
 *
 * Memory: what a connection costs is taken when it comes; waiting packets are in one pool, taken at
 * the start and touched only as far as it is used.
 *
 * Callbacks come from the loop, on_writable also from within tcp_carrier_send(); none after
 * tcp_carrier_drop() of that connection. Not thread-safe.
 */

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/time.h"
#include "net/tcp_conn.h"
#include "tunnel/train.h"

struct tcp_carrier;

enum {
	TCP_CARRIER_PACKETS = 64, /* that wait per connection ... */
	TCP_CARRIER_BYTES = 96 * 1024,
};

/* What the owner does. Functions marked so may be NULL. */
struct tcp_carrier_ops {
	/* One datagram; @in->stays when what is left of it lies where it is until settle. */
	void (*on_arrival)(void *ctx, cv_time now, struct arrival *in);
	/* After the datagrams of one read, whose memory is then used again. May be NULL. */
	void (*settle)(void *ctx, cv_time now);
	/* The connection is no more; not for one that was dropped. */
	void (*on_closed)(void *ctx, cv_time now, const struct addr *peer);
	/* False: packets wait for the other end to read. May be NULL. */
	void (*on_writable)(void *ctx, cv_time now, const struct addr *peer, bool is_writable);
	/* Asked 10 s after it came, and every 10 s: one that is not is closed. NULL: all are. */
	bool (*is_welcome)(void *ctx, const struct addr *peer);
};

struct tcp_carrier_options {
	uint32_t conns_max;
	/* Of one IPv4 address, or IPv6 /64; 0: any number. */
	uint32_t conns_per_prefix_max;
	uint32_t packets_max;       /* that wait, of all, beside one a connection; 0: 8,192 */
	cv_duration welcome_within; /* 0: 10 s */
	cv_duration age_max;        /* a packet that has waited longer is dropped; 0: none is */
};

/* @ops is borrowed (static); @ctx outlives the carrier. 0 or -ENOMEM. */
CV_NODISCARD int tcp_carrier_open(uv_loop_t *loop, const struct tcp_carrier_options *opt,
                                  const struct tcp_carrier_ops *ops, void *ctx,
                                  struct tcp_carrier **out);
/* Where its connections are made: for listeners and dials. Accepted ones beyond conns_max displace
 * one that is not welcome, so the set has some room more. */
struct tcp_set *tcp_carrier_set(const struct tcp_carrier *c);
/**
 * tcp_carrier_take() - a connection begins to carry
 * @conn: taken; closed at once where there are too many
 * Return: true when it carries. False also when another one has the same far end.
 */
bool tcp_carrier_take(struct tcp_carrier *c, struct tcp_conn *conn);
/* Sends each packet of @t (SOCKET_TCP) to t->to, or queues it, or drops it. */
void tcp_carrier_send(struct tcp_carrier *c, cv_time now, const struct train *t);
/* Closes the connection to @peer, if there is one; what waits is dropped, what was written leaves.
 */
void tcp_carrier_drop(struct tcp_carrier *c, const struct addr *peer);
/* Closes all; listeners and dials of its set are closed already. Taken. */
void tcp_carrier_close(struct tcp_carrier *c);

struct tcp_carrier_counters {
	uint64_t conns;     /* now */
	uint64_t taken;     /* since the start */
	uint64_t refused;   /* of those, too many of one address */
	uint64_t displaced; /* by newer ones, as nobody was welcome there */
	uint64_t expired;   /* not welcome 10 s after they came, or later */
	uint64_t broken;    /* a bad length */
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes;
	uint64_t dropped; /* packets that waited for a slow reader, or for none */
};
void tcp_carrier_counters(const struct tcp_carrier *c, struct tcp_carrier_counters *out);

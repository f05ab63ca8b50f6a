/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * udp_port - drives one sans-I/O core (an endpoint, a hub) from UDP sockets and one timer.
 *
 * Knows sockets, batches (GSO, GRO), readiness and when to pump; makes no protocol
 * decision. Every entry from libuv does the same: take `now`, feed the core, mark the port
 * dirty. The pump runs once per iteration of the loop (uv_check, after all sockets were
 * read; for what timers did, uv_prepare), so that what was read from many TCP sockets
 * leaves in common trains:
 *
 *	on_turn (first entry of an iteration) -> on_arrival... -> on_deadline if due
 *	-> drain_events -> write until false -> arm the timer for deadline()
 *
 * A train that the kernel refuses (EAGAIN, ENOBUFS) is kept, and the core is asked for no
 * more until it left (protocol rule 8.1).
 *
 * Sockets. Address i of the list gets the lowest socket index that has no socket of its
 * family yet: { 0.0.0.0:1, [::]:1, 0.0.0.0:2 } are socket 0 (both families) and socket 1.
 * A train leaves through the socket of its index and of the family of train.to. Numbers from
 * SOCKET_EXTRA on are further sockets that the core asked for.
 *
 * Not thread-safe; nothing here may be called from within a core callback but
 * udp_port_kick().
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/time.h"
#include "tunnel/train.h"

struct udp_port;

enum {
	UDP_PORT_BINDS_MAX = 8,    /* addresses given */
	UDP_PORT_SOCKETS_MAX = 16, /* sockets of one port: one a family and address */
};

/* What is pumped. Functions marked so may be NULL. */
struct udp_core {
	void *ctx;                               /* borrowed; outlives the port */
	void (*on_turn)(void *ctx, cv_time now); /* may be NULL */
	void (*on_arrival)(void *ctx, cv_time now, struct arrival *in);
	/* ICMP port unreachable for @to. May be NULL. */
	void (*on_refused)(void *ctx, cv_time now, uint16_t socket, const struct addr *to);
	/* A datagram of @size is larger than the path takes. May be NULL. */
	void (*on_too_large)(void *ctx, cv_time now, uint16_t socket, const struct addr *to,
	                     size_t size);
	/* Fills @out, whose bytes are TRAIN_BYTES_MAX of ours; false: nothing to send now. */
	bool (*write)(void *ctx, cv_time now, struct train *out);
	cv_time (*deadline)(void *ctx);
	void (*on_deadline)(void *ctx, cv_time now);
	/* Before writing: the owner pulls the core's events and acts on them. True when there
	 * was one: it is then asked again after the writes, a bounded number of times. May be
	 * NULL. */
	bool (*drain_events)(void *ctx, cv_time now);
	/* After the arrivals of one call to the kernel, whose memory is then used again: what the
	 * core has left in it must be read or copied. NULL: nothing is left (arrival.stays). */
	void (*settle)(void *ctx, cv_time now);
	/* A train for SOCKET_TCP, which is no socket of this port: it is lost unless the owner
	 * carries it. May be NULL. */
	void (*send_tcp)(void *ctx, cv_time now, const struct train *t);
};

struct udp_port_options {
	/* Copied. Port 0: any free one. ADDR_NONE with a port: every address of both families,
	 * under one and the same port; IPv4 alone where the kernel has no IPv6. */
	const struct addr *binds;
	unsigned bind_count; /* 1..UDP_PORT_BINDS_MAX */
	/* Also open the next port up of every bind, behind them in order of index, where it is
	 * free (a server's second port, for NAT detection). */
	bool with_next;
	bool without_gso;     /* single datagrams; also by CULVERT_UDP_GSO=0 in the environment */
	unsigned buffer_size; /* of the kernel's buffers, bytes; 0: 7 MiB */
};

/**
 * udp_port_open() - bind the sockets and start to pump
 * @core: copied; its ctx is borrowed
 *
 * The first pump runs in the first iteration of the loop, not from here.
 *
 * Return: 0; -EADDRINUSE, -EADDRNOTAVAIL, -EACCES, ... of the first bind that failed (nothing
 * is left open then); -EINVAL for a count out of range; -ENOMEM.
 */
CV_NODISCARD int udp_port_open(uv_loop_t *loop, const struct udp_port_options *opt,
                               const struct udp_core *core, struct udp_port **out);
/* The real bound addresses, at most @cap, in order of socket index; returns their number. */
unsigned udp_port_local(const struct udp_port *port, struct addr *out, unsigned cap);
/* The same with the socket index of each, if @index is not NULL. */
unsigned udp_port_places(const struct udp_port *port, struct addr *out, uint16_t *index,
                         unsigned cap);
/* The port number of socket 0. */
uint16_t udp_port_number(const struct udp_port *port);
/* The port number at which this host's address @own is listened to, or 0: families and addresses
 * that are bound to "any port" each have one of their own. The port of @own does not matter. */
uint16_t udp_port_number_at(const struct udp_port *port, const struct addr *own);
/**
 * udp_port_open_extras() - open IPv4 sockets with numbers of their own, for a punch
 * @first: the first of @count numbers in a row, from SOCKET_EXTRA on; none of them open
 * @numbers: gets the local ports
 *
 * Return: how many could be opened; the rest are not.
 */
unsigned udp_port_open_extras(struct udp_port *port, uint16_t first, unsigned count,
                              uint16_t *numbers);
/* Nothing, if it is not open. What waits to leave by it is lost. */
void udp_port_close_extra(struct udp_port *port, uint16_t number);
/* The core has something to send or its deadline moved: pump in this iteration. Cheap, may be
 * called from anywhere on the loop's thread. */
void udp_port_kick(struct udp_port *port);
/* A datagram that came another way, by TCP: to the core it is as one from a socket here. Any number
 * of these from one read, then udp_port_settle(). Not while pumping. */
void udp_port_feed(struct udp_port *port, cv_time now, struct arrival *in);
void udp_port_settle(struct udp_port *port, cv_time now);
/**
 * udp_port_flush() - pump now, until the core has nothing more or the kernel takes no more
 * For the goodbyes of a shutdown. Return: true when nothing is left to send.
 */
bool udp_port_flush(struct udp_port *port);
/* Takes @port; the core is not called again. @on_closed (may be NULL) comes from the loop. */
void udp_port_close(struct udp_port *port, void (*on_closed)(void *ctx), void *ctx);

struct udp_port_counters {
	uint64_t rx_packets, rx_bytes, rx_calls; /* datagrams, payload, recvmmsg */
	uint64_t tx_packets, tx_bytes, tx_calls; /* the same, sendmsg and sendmmsg */
	uint64_t rx_truncated;                   /* larger than a buffer: dropped */
	uint64_t tx_blocked;                     /* trains that had to wait for the kernel */
	uint64_t tx_too_large;                   /* EMSGSIZE */
	uint64_t tx_errors;   /* unreachable, no socket of that family, ...: lost */
	uint64_t refused;     /* ICMP port unreachable */
	uint64_t poll_errors; /* times libuv stopped polling and was restarted */
	bool is_gso_v4, is_gso_v6, is_gro, is_ecn_v4, is_ecn_v6;
};
void udp_port_counters(const struct udp_port *port, struct udp_port_counters *out);

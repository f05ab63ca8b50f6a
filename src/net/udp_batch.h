/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * udp_batch - how batches of datagrams enter and leave the kernel.
 *
 * Implemented by udp_linux.c (GSO, GRO, recvmmsg, the error queue) and udp_portable.c (one
 * datagram a call). Knows neither libuv nor a core.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "tunnel/train.h"

enum {
	UDP_BATCH_BUFFERS = 8,         /* arrivals of one call */
	UDP_BATCH_BUFFER_SIZE = 65536, /* GRO loses what does not fit into one buffer */
	UDP_BATCH_BYTES = UDP_BATCH_BUFFERS * UDP_BATCH_BUFFER_SIZE,
};

struct udp_socket {
	int fd;
	uint16_t index; /* as in struct train and struct arrival */
	uint8_t family; /* ADDR_V4, ADDR_V6 */
	bool has_gso;   /* a train may leave in one piece */
	bool has_ecn;   /* a train may leave marked */
	struct addr local;
};

struct udp_offloads {
	bool has_gso, has_gro;
	bool has_ecn_v4, has_ecn_v6;
};

/* What the kernel's loopback really does: sends trains to itself and looks what arrives. */
struct udp_offloads udp_batch_self_test(void);
/* Options of a bound socket: no fragmentation, errors queued, marks shown, GRO if asked for. */
void udp_batch_prepare(const struct udp_socket *s, bool with_gro);

struct udp_received {
	struct arrival arrivals[UDP_BATCH_BUFFERS];
	unsigned count;
	unsigned truncated; /* did not fit and were dropped */
	bool is_full;       /* more may be waiting */
};
/* Reads into @bytes, UDP_BATCH_BYTES of them. 0, or -EAGAIN, or a pending error of the socket,
 * which is cleared by that: drain the error queue and try again. */
CV_NODISCARD int udp_batch_receive(const struct udp_socket *s, uint8_t *bytes,
                                   struct udp_received *out);

enum udp_sent {
	UDP_SENT,      /* all of it */
	UDP_BLOCKED,   /* the socket's buffer is full: wait until it is writable */
	UDP_CONGESTED, /* the device's queue is full: there is nothing to wait for but time */
	UDP_TOO_LARGE, /* *offset is behind a datagram (or the train) that no path takes */
	UDP_LOST,      /* *offset is behind what could not be sent: no route, forbidden */
};
/**
 * udp_batch_send() - send what is left of a train
 * @offset: bytes of it that are dealt with; moved on
 * @failed: bytes that TOO_LARGE or LOST is about, just before *@offset; else 0
 * @calls:  incremented for each system call
 *
 * Call again while *@offset < t->size and the verdict is TOO_LARGE or LOST. When the kernel cannot
 * do GSO here it clears s->has_gso and sends the same datagrams one by one.
 */
enum udp_sent udp_batch_send(struct udp_socket *s, const struct train *t, size_t *offset,
                             size_t *failed, uint64_t *calls);

struct udp_error {
	struct addr to;
	bool is_refused; /* ICMP port unreachable */
};
/* The next entry of the error queue; false when it is empty. */
bool udp_batch_next_error(const struct udp_socket *s, struct udp_error *out);

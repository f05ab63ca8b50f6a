/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * udp_flow - flows of datagrams: a stream of kind UDP opens, refuses and ends one, and its id
 * stands in each of its datagrams (PROTOCOL.md, 12).
 *
 * Knows which flow a datagram of the tunnel belongs to, keeps what comes before it can be sent on,
 * and tells the flow what becomes of its stream. What a flow is for is its owner's business:
 * near_udp (local clients of a forward), far_udp (targets), and associations. A flow is embedded in
 * its owner's; a stream's tag is its address plus one, which tells it from a flow of bytes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/heap.h"
#include "base/idmap.h"
#include "base/list.h"
#include "net/udp_local.h"
#include "proxy/target.h"
#include "tunnel/endpoint.h"

struct bridge;
struct udp_flow;

struct udp_flow_ops {
	/* From the peer. The bytes stay until the end of this turn's udp_set_flush(). */
	void (*on_datagram)(struct udp_flow *f, cv_time now, const uint8_t *bytes, size_t size);
	/* Bytes of the stream are there to be consumed, or its end. */
	void (*on_readable)(struct udp_flow *f, cv_time now);
	/* It was refused or reset, for @code, or its session is lost. The owner ends it. */
	void (*on_end)(struct udp_flow *f, cv_time now, enum target_code code);
	void (*on_deadline)(struct udp_flow *f, cv_time now);
};

/* Datagrams that wait: for a connection with the peer, or for a target to be looked up. */
struct udp_held {
	struct udp_held *next;
	size_t size;
	uint8_t bytes[];
};

struct udp_flow {
	struct bridge *b;
	const struct udp_flow_ops *ops;
	struct streams *streams;
	struct stream *stream;
	uint64_t id;
	uint32_t peer;
	struct heap_node deadline;
	struct list waiting; /* for the peer, with held datagrams */
	struct udp_held *held, **held_end;
	uint32_t held_count, held_size;
	cv_time used_at; /* the last datagram, either way */
};

/* A local socket that may be left unread for a moment. */
struct udp_pause {
	struct list node; /* unlinked: it is read */
	struct udp_local *sock;
	uint32_t peer;
	cv_time at;
};

/* One that came before the open of its flow. */
struct udp_early {
	struct udp_held *datagram; /* NULL: none */
	uint64_t id;
	uint32_t peer;
	cv_time at;
};

enum { UDP_EARLY_MAX = 64 };

/* All of a bridge; embedded in it. */
struct udp_flows {
	struct udp_set *set;   /* opened when it is first needed */
	struct idmap by_id;    /* peer and id */
	struct udp_flow *last; /* the last one found, or NULL */
	uint32_t count;
	uint64_t held_size; /* of all */
	struct heap deadlines;
	struct list waiting;
	struct udp_early early[UDP_EARLY_MAX];
	uv_timer_t timer;
	bool is_ticking;
	struct list paused; /* udp_pause */
	uv_prepare_t prepare;
	uv_timer_t pause_timer;
	struct list far;                       /* far_udp, the longest unused first */
	uint32_t far_sockets, far_sockets_max; /* descriptors that peers have caused, associations'
	                                          included */
	struct udp_flows_counters {
		uint64_t unknown; /* datagrams of no flow */
		uint64_t dropped; /* too many waited, or the budget was used up */
	} counters;
};

/* Never fails; @b->loop is set. */
void udp_flows_init(struct bridge *b);
/* Before the loop has run empty: flows have ended. */
void udp_flows_close(struct bridge *b);
void udp_flows_deinit(struct bridge *b);
/* The sockets' set, or NULL without memory. */
struct udp_set *udp_flows_set(struct bridge *b);

/**
 * udp_flow_add() - make a flow known under its stream
 * @f: zeroed but for .b, .ops, .peer, .streams and .stream
 *
 * What came for it before its open is handed to it by udp_flows_adopt_early(), once it can take it.
 * Return: 0, -ENOBUFS at the limit of all flows, -ENOMEM; then the stream is untouched.
 */
CV_NODISCARD int udp_flow_add(struct udp_flow *f, cv_time now);
/* If the flow is still there. */
void udp_flows_adopt_early(struct bridge *b, cv_time now, uint32_t peer, uint64_t id);
/* Forgets it; an open stream is reset with @code. Held datagrams are freed. The owner frees @f. */
void udp_flow_remove(struct udp_flow *f, enum target_code code);
void udp_flow_set_deadline(struct udp_flow *f, cv_time at);
/* What comes on the stream behind its status means nothing: it is consumed. True at its end. */
CV_NODISCARD bool udp_flow_discard(struct udp_flow *f, cv_time now);
/* Keeps a copy; false: it is dropped. */
bool udp_flow_hold(struct udp_flow *f, const uint8_t *bytes, size_t size);
void udp_flow_drop_held(struct udp_flow *f);
/* Into the tunnel now: 0, or as endpoint_send_datagram(); -ESTALE when the flow's session has been
 * replaced, so that its stream's end is about to be told. */
CV_NODISCARD int udp_flow_try_send(struct udp_flow *f, cv_time now, const uint8_t *bytes,
                                   size_t size);
/* Into the tunnel. While the peer is not connected it is held, and goes when it is. */
void udp_flow_send(struct udp_flow *f, cv_time now, const uint8_t *bytes, size_t size);
/* What was given to the tunnel shall leave: once after a batch. */
void udp_flow_kick(struct bridge *b);
/**
 * udp_flow_after_batch() - a local socket has been read, and its datagrams given to the tunnel
 * @p:    of that socket; zeroed at first
 * @peer: and
 * @id:   of the flow that got the last of them
 *
 * As udp_flow_kick(). While much waits for the tunnel's turn, and much of it is that flow's, the
 * socket is left alone, for a few milliseconds at most: the kernel's buffer takes bursts, and what
 * is more than the path carries is dropped here, where flows are told apart, rather than there.
 */
void udp_flow_after_batch(struct bridge *b, struct udp_pause *p, struct udp_local *sock,
                          uint32_t peer, uint64_t id);
/* The socket goes. */
void udp_flow_forget_pause(struct udp_pause *p);

/* ---- called by the bridge ---- */

static inline bool udp_flow_is_tag(uint64_t tag)
{
	return (tag & 1) != 0;
}
void udp_flows_on_stream(struct bridge *b, cv_time now, const struct endpoint_event *ev,
                         bool is_lost);
/* All that arrived. */
void udp_flows_drain(struct bridge *b, cv_time now);
/* The peer may be connected now. */
void udp_flows_on_peer(struct bridge *b, cv_time now, uint32_t peer);

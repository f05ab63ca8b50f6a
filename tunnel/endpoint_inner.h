/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * endpoint_inner - the endpoint's state, for endpoint.c (the order of work), endpoint_config.c
 * (peers and servers come and go), intake.c (whose datagram is this?), traversal.c, punch.c and
 * punch_sockets.c (whose session?), endpoint_tcp.c (TCP to servers) and nobody else.
 */

#include "base/heap.h"
#include "base/list.h"
#include "tunnel/discovery.h"
#include "tunnel/endpoint.h"
#include "tunnel/extras.h"
#include "tunnel/gate.h"
#include "tunnel/lifetime.h"
#include "tunnel/punch.h"
#include "tunnel/session.h"

enum {
	PENDINGS_MAX = 1024,
	SOURCES_MAX = 65536,
	/* Owners of indices: peers count from 0, servers from here. */
	OWNER_SERVER = 1 << 30,
	NOTICES_MAX = 64,
};

struct server {
	struct rendezvous *r; /* also of one that was removed: closed for good */
	bool is_removed;
	bool is_up;
	bool is_tcp;         /* our leg of its channels */
	bool is_tcp_blocked; /* the connection takes no more now */
	struct addr seen;    /* where it saw us last */
};

struct endpoint {
	struct session_core core;
	struct indexes indexes;
	struct pendings pendings;
	struct gate gate;
	struct session *sessions[ENDPOINT_PEERS_MAX]; /* by number; NULL: that peer was removed */
	uint32_t session_count;                       /* no number is above it */
	uint32_t leaving_count;                       /* removed, and not yet let go */
	struct server servers[ENDPOINT_SERVERS_MAX];
	uint32_t server_count;
	struct addr local[ENDPOINT_LOCAL_MAX];
	unsigned local_count;
	struct addr mapped[ENDPOINT_MAPPED_MAX];
	unsigned mapped_count;
	struct extras extras;
	struct discovery discovery;
	struct punch punch;
	struct lifetime lifetime;
	uint32_t lifetime_server; /* whom it asks */
	bool is_idle;             /* no session has streams: servers need not hear from us often */
	cv_time idle_at;          /* when that is looked at again */
	struct heap deadlines;
	struct list ready; /* sessions that may have output or events */
	cv_time turned_at, asked_for;
	/* One answer to an INIT, or COOKIE or VERSION, waiting to leave; built at once, sent in
	 * order. */
	struct {
		uint8_t bytes[WIRE_RELAY_HEADER + WIRE_INIT_SIZE];
		uint16_t size;
		uint16_t socket;
		struct addr to;
	} replies[16];
	unsigned reply_count;
	struct endpoint_event notices[NOTICES_MAX];
	unsigned notice_first, notice_count;
	struct endpoint_counters counters;
	bool is_closing;
};

/* Tells @s what its channel at @server is carried by. */
void endpoint_tcp_tell(struct endpoint *e, cv_time now, uint32_t server, struct session *s);
/* Our leg of all channels at @server is TCP, or is not. */
void endpoint_tcp_on_leg(struct endpoint *e, cv_time now, uint32_t server, bool is_tcp);

/* Our candidates are others now: every peer is told. */
void endpoint_announce(struct endpoint *e, cv_time now);
/* The session with the lowest number from *@i on; NULL: there is none. */
static inline struct session *endpoint_next_session(const struct endpoint *e, uint32_t *i)
{
	while (*i < e->session_count && !e->sessions[*i])
		++*i;
	return *i < e->session_count ? e->sessions[*i] : NULL;
}

#define endpoint_for_each_session(e, i, s)                                                         \
	for (uint32_t i = 0; ((s) = endpoint_next_session(e, &i)) != NULL; i++)

/* Of a removed peer, or of a number that nobody has: NULL. */
static inline struct session *endpoint_find_session(const struct endpoint *e, uint64_t number)
{
	return number < e->session_count ? e->sessions[number] : NULL;
}

/* Lets go of removed peers that have said goodbye and whose streams the shell has released. */
void endpoint_sweep_peers(struct endpoint *e, cv_time now);
/* @s may have output or events now. */
static inline void endpoint_touch_session(struct endpoint *e, struct session *s)
{
	if (!list_is_linked(&s->ready_node))
		list_add_tail(&e->ready, &s->ready_node);
}

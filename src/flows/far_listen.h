/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * far_listen - a listener that a peer asked for, for its remote forwards: `allow_listen` is asked,
 * the socket opened, and each connection goes back through a stream that names the listener's
 * number.
 *
 * The listener lives as long as the peer's LISTEN stream; TCP connections that it accepted live on.
 * The policy knows it as our own, so no peer reaches it through us unless it is named.
 */

#include "flows/bridge.h"
#include "flows/near_udp.h"
#include "net/tcp_listener.h"

struct far_listen {
	struct tcp_listener *l; /* NULL: not yet, or UDP */
	struct near_udp *udp;   /* its clients' flows are ended with it */
	bool is_udp;
	struct hostport at; /* where it really is */
	/* BIND */
	struct addr from[RESOLVER_ADDRESSES_MAX]; /* who may connect */
	unsigned from_count;                      /* 0: anybody */
	uint64_t lookup;                          /* of the resolver, 0: none */
};

struct far_listen_info {
	const char *peer;
	char address[HOSTPORT_TEXT_MAX];
};

/* @request is LISTEN or LISTEN_UDP; the flow lives on as FLOW_LISTENING, or is refused. */
void far_listen_open(struct flow *f, cv_time now, const struct target_request *request);
void far_listen_on_stream(struct flow *f, cv_time now, const struct endpoint_event *ev);
/* Closes the listener, if the flow has one. */
void far_listen_free(struct flow *f);
/* The policy has changed: listeners that it does not allow any more are closed. */
void far_listen_adopt(struct bridge *b);
/* Addresses and peers of all of them; returns how many there are, which may be more than @cap. */
size_t far_listen_list(const struct bridge *b, struct far_listen_info *out, size_t cap);

/* ---- also for far_bind.c ---- */

/* Makes f->listen, which counts against the peer. TARGET_OK or TARGET_LIMIT. */
enum target_code far_listen_new(struct flow *f, cv_time now);
/* Might the peer have a TCP listener anywhere? */
bool far_listen_may_any(const struct flow *f);
/* Opens the listener at @at, where port 0 is the first free one that is allowed. */
enum target_code far_listen_bind(struct flow *f, const struct hostport *at,
                                 tcp_listener_accept on_accept);

/* ---- far_bind.c: SOCKS5's BIND ---- */

/* @request is BIND; the flow lives on as FLOW_BINDING, or is refused. */
void far_bind_open(struct flow *f, cv_time now, const struct target_request *request);
void far_bind_on_stream(struct flow *f, const struct endpoint_event *ev);
void far_bind_on_deadline(struct flow *f);

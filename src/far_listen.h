/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * far_listen - a listener that a peer asked for, for its remote forwards: `allow_listen` is asked,
 * the socket opened, and each connection goes back through a stream that names the listener's
 * number.
 *
 * The listener lives as long as the peer's LISTEN stream; what it accepted lives on. The policy
 * knows it as our own, so no peer reaches it through us unless it is named.
 */

#include "bridge.h"
#include "net/tcp_listener.h"

struct far_listen {
	struct tcp_listener *l;
	struct hostport at; /* where it really is */
};

struct far_listen_info {
	const char *peer;
	char address[HOSTPORT_TEXT_MAX];
};

/* @request is LISTEN; the flow lives on as FLOW_LISTENING, or is refused. */
void far_listen_open(struct flow *f, cv_time now, const struct target_request *request);
void far_listen_on_stream(struct flow *f, cv_time now, const struct endpoint_event *ev);
/* Closes the listener, if the flow has one. */
void far_listen_free(struct flow *f);
/* The policy has changed: listeners that it does not allow any more are closed. */
void far_listen_adopt(struct bridge *b);
/* Addresses and peers of all of them; returns how many there are, which may be more than @cap. */
size_t far_listen_list(const struct bridge *b, struct far_listen_info *out, size_t cap);

/* ---- also for far_bind.c ---- */

/* Opens the listener at @at, where port 0 is the first free one that is allowed. TARGET_OK:
 * f->listen is set. */
enum target_code far_listen_bind(struct flow *f, cv_time now, const struct hostport *at,
                                 tcp_listener_accept on_accept);

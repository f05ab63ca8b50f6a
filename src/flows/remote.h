/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * remote - remote forwards, at the side of their targets: the peer listens, this agent connects.
 *
 * For each address to be listened on a LISTEN stream is opened as soon as the peer is connected,
 * and kept; when it ends it is opened again. What the peer refuses is asked again after 1 s, and
 * up to 30 s; it is logged once a reason. Streams of what a listener accepted come back with its
 * number, and far.c asks here what that stands for.
 */

#include "flows/bridge.h"

struct remote_status {
	const char *peer;
	char listen[HOSTPORT_TEXT_MAX]; /* as asked for */
	char to[HOSTPORT_TEXT_MAX];
	char bound[HOSTPORT_TEXT_MAX]; /* "": not open */
	char why[128];                 /* of one that is not open, in words; "": not known */
};

/* The bridge's configuration is another one: listeners that it has no more are given up, new ones
 * asked for at once, as are those that were refused. The others keep their streams. */
void remote_adopt(struct bridge *b);
/* The peer is connected, or still is: what is due is asked for. */
void remote_on_peer(struct bridge *b, cv_time now, uint32_t peer);
void remote_on_stream(struct flow *f, cv_time now, const struct endpoint_event *ev, bool is_lost);
/* The flow ends: without effect on those of other kinds. */
void remote_forget(struct flow *f);
/* What a stream back stands for: f is the peer's flow, @number the listener that it names. NULL:
 * nothing that we asked for. */
const struct hostport *remote_target(const struct flow *f, uint64_t number, bool is_udp);
/* The @i-th of b->remote_count. */
void remote_status(const struct bridge *b, size_t i, struct remote_status *out);

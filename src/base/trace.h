/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * trace - what the core tells about itself: the single list of events. From it
 * come the text line, the JSON line and the simulator's story. The sink is
 * nullable and must not call back into the core.
 */

#include <stdint.h>

#include "base/time.h"

/* name, and what its three numbers mean ("-": unused) */
#define TRACE_EVENTS(X)                                                                            \
	X(HANDSHAKE_START, "peer", "number", "continuing")                                         \
	X(HANDSHAKE_DONE, "peer", "index", "initiator")                                            \
	X(HANDSHAKE_DROP, "peer", "reason", "-")                                                   \
	X(OBJECT_BOUND, "peer", "incarnation", "-")                                                \
	X(OBJECT_DROPPED, "peer", "incarnation", "reason")                                         \
	X(PATH_ADDED, "peer", "path", "kind")                                                      \
	X(PATH_VALIDATED, "peer", "path", "rtt_us")                                                \
	X(PATH_ACTIVE, "peer", "path", "kind")                                                     \
	X(PATH_DEAD, "peer", "path", "reason")                                                     \
	X(PACKET_SENT, "peer", "number", "size")                                                   \
	X(PACKET_RECEIVED, "peer", "number", "size")                                               \
	X(PACKET_LOST, "peer", "number", "path")                                                   \
	X(PTO, "peer", "path", "count")                                                            \
	X(MTU, "peer", "path", "size")                                                             \
	X(STREAM_OPENED, "peer", "stream", "local")                                                \
	X(STREAM_CLOSED, "peer", "stream", "code")                                                 \
	X(SERVER_UP, "server", "-", "-")                                                           \
	X(SERVER_DOWN, "server", "reason", "-")                                                    \
	X(CHANNEL_OPENED, "peer", "server", "-")                                                   \
	X(PUNCH_START, "peer", "role", "-")                                                        \
	X(PUNCH_END, "peer", "succeeded", "packets")                                               \
	X(PROTOCOL_ERROR, "peer", "code", "-")                                                     \
	X(MAPPER, "family", "state", "protocol")

#define TRACE_ENUM(name, a, b, c) TRACE_##name,
enum trace_event { TRACE_EVENTS(TRACE_ENUM) TRACE_EVENT_COUNT };
#undef TRACE_ENUM

struct trace {
	void (*emit)(void *ctx, cv_time now, enum trace_event event, uint64_t a, uint64_t b,
	             uint64_t c);
	void *ctx;
};

static inline void trace_emit(const struct trace *t, cv_time now, enum trace_event event,
                              uint64_t a, uint64_t b, uint64_t c)
{
	if (t && t->emit)
		t->emit(t->ctx, now, event, a, b, c);
}

/* Name of an event and of its three fields, for sinks that print. */
const char *trace_name(enum trace_event event);
const char *trace_field(enum trace_event event, unsigned index);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * flow - limits on bytes, of a stream or of a session: what we have told the
 * peer (flow_in) and what the peer has told us (flow_out).
 *
 * A window grows when half of it was used up within two round trips, or when the
 * peer says that it is blocked; never shrinks. Numbers: RFC 9000, 4; growth as
 * in quic-go (flowcontrol/base_flow_controller.go). Knows no frames.
 *
 * `done` is the caller's count of bytes that make room: consumed ones for a
 * stream. For a session it is those received *in order*, read or not: a stream that nobody
 * reads then keeps its own window full and takes nothing from the session's
 * (protocol rule 7.4), which bounds only what arrives out of order.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/time.h"

struct flow_in {
	uint64_t told;      /* limit in force; never falls */
	uint64_t tune_done; /* `done` when this measurement began */
	cv_time tune_at;
	uint32_t window;
	bool is_blocked; /* the peer said so since the window last grew */
};

struct flow_out {
	uint64_t max;        /* the peer's limit */
	uint64_t blocked_at; /* the limit we last called too small; 0: none */
};

void flow_in_init(struct flow_in *f, uint32_t window);
/* A quarter of the window was used up since the peer was told, or it waits: time to tell it. */
bool flow_in_is_due(const struct flow_in *f, uint64_t done);
/**
 * flow_in_tune() - see whether the window should grow; call when an update is due
 * @rtt:        smoothed; 0: unknown
 * @window_max: never beyond it
 * @may_grow:   the reader keeps up and memory is not short
 */
void flow_in_tune(struct flow_in *f, cv_time now, uint64_t done, cv_duration rtt,
                  uint32_t window_max, bool may_grow);
/* Puts the limit in force that @done and the window allow, and returns it. */
uint64_t flow_in_tell(struct flow_in *f, uint64_t done);
bool flow_in_check(const struct flow_in *f, uint64_t done);

void flow_out_init(struct flow_out *f, uint64_t max);
/* True when @max is news. A smaller one is an old packet, not a mistake. */
bool flow_out_raise(struct flow_out *f, uint64_t max);
/* True once per limit: @used has reached it and the peer should hear of it. */
bool flow_out_block(struct flow_out *f, uint64_t used);

static inline uint64_t flow_out_left(const struct flow_out *f, uint64_t used)
{
	return f->max > used ? f->max - used : 0;
}

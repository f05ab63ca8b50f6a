/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * bbr - BBR version 3 (draft-ietf-ccwg-bbr): which rate and which volume to try, given what
 * bbr_model believes of the path. The functions are behind struct cc_ops (cc.h).
 *
 *	STARTUP --> DRAIN --> DOWN --> CRUISE --> REFILL --> UP --+
 *	                       ^  \________________^              |
 *	                       +----------------------------------+
 *
 * and from each of them to PROBE_RTT and back. Where bbr.c does otherwise than the draft, it says
 * so and why.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/time.h"
#include "tunnel/bbr_model.h"

enum bbr_state {
	BBR_STARTUP,
	BBR_DRAIN,
	BBR_DOWN,
	BBR_CRUISE,
	BBR_REFILL,
	BBR_UP,
	BBR_PROBE_RTT,
};

/* Which sending the ACKs that arrive speak of. */
enum bbr_acks {
	BBR_ACKS_INIT,
	BBR_ACKS_REFILLING,
	BBR_ACKS_STARTING, /* UP has begun, its ACKs have not come yet */
	BBR_ACKS_FEEDBACK,
	BBR_ACKS_STOPPING, /* UP is over, its ACKs still come */
};

struct bbr {
	struct bbr_model model;
	uint8_t state;      /* enum bbr_state */
	uint8_t acks;       /* enum bbr_acks */
	uint8_t undo_state; /* BBR_STARTUP or BBR_UP, where a loss ended it; else BBR_DRAIN: nothing
	                     */
	uint8_t full_bw_count;
	bool is_full_now;     /* the rate has stopped to grow in this probe */
	bool was_full;        /* and in some probe before */
	bool is_probe_sample; /* what is lost now was sent while probing */
	bool was_too_high;    /* the last probe lost too much */
	bool was_cautious;    /* it ended before it could */
	bool is_restarting;   /* from idle, nothing acknowledged since */
	bool is_beside;       /* a queue stood when UP began: others are there */
	bool is_alone;        /* none did, and the rate has not grown since */
	bool was_limited;     /* the window held back what there was, in this round */
	bool is_rtt_round_done;
	uint8_t up_rounds; /* of growth */
	uint32_t rounds_since_up;
	uint64_t phase_round; /* round in which the state was entered */
	uint64_t full_bw;
	uint64_t up_bw; /* the estimate when UP began */
	uint64_t up_acked, up_acked_per_mss;
	cv_time cycle_at;
	cv_duration probe_wait;
	cv_time probe_rtt_until; /* 0: the volume is not down yet */
	uint64_t prior_cwnd;
	uint64_t next_number; /* one above the newest number sent, as far as it was told */
	uint64_t undo_until;  /* losses below this number belong to what can be undone */
	uint64_t undo_bw_short, undo_inflight_short, undo_inflight_long;
	uint64_t seed;
};

const char *bbr_state_name(enum bbr_state state);

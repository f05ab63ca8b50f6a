/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * cc - congestion control of one path behind a table of functions: how many
 * bytes may be in flight, and how fast they may leave. Integer arithmetic only: a seed
 * gives the same bytes on every machine.
 *
 * BBR (draft-ietf-ccwg-bbr), the default, lives in bbr.c and bbr_model.c; CUBIC (RFC 9438) with
 * HyStart++ (RFC 9406) in cubic.c.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/time.h"
#include "tunnel/bbr.h"
#include "tunnel/delivery.h"
#include "tunnel/rtt.h"

enum cc_kind { CC_BBR, CC_CUBIC };

enum {
	CC_INITIAL_PACKETS = 32, /* paced over the first round trip */
	CC_MIN_PACKETS = 4,      /* room for a loss to be proved by later packets */
	CC_MSS_MAX = 65507,
};
/* No window is larger, whatever the budget: products of two windows stay within 64 bits. */
#define CC_CWND_MAX (UINT64_C(1) << 31)

/* One packet that leaves. */
struct cc_sent {
	uint64_t number;
	uint64_t bytes;
	uint64_t inflight_before;
	bool is_app_limited; /* the flow ran dry within the last round trip */
};

/* What one batch of received datagrams acknowledged; one call per batch, after its losses. */
struct cc_ack {
	uint64_t acked;           /* bytes newly acknowledged */
	uint64_t inflight_before; /* bytes in flight before this batch */
	uint64_t inflight;        /* and after it */
	uint64_t delivered;       /* bytes delivered on this path so far */
	uint32_t ce;              /* packets newly reported as marked "congestion experienced" */
	struct delivery_sample rate;
	uint64_t newest_number; /* newest packet acknowledged */
	cv_time newest_sent_at;
	cv_duration rtt_sample; /* 0: none in this batch */
	bool is_app_limited;    /* the newest acknowledged packet left when nothing more waited */
	uint64_t next_number;   /* number of the next packet to be sent: ends a round */
};

/* One packet declared lost. */
struct cc_lost {
	uint64_t size;      /* bytes */
	uint64_t lost;      /* bytes lost on this path so far, this packet included */
	uint64_t delivered; /* bytes delivered on this path so far */
	uint64_t number;
	struct delivery_mark sent; /* of the train that it was in */
};

/* What one pass over a path declared lost, each packet of which was told by on_lost(). */
struct cc_loss {
	uint64_t lost;          /* bytes newly declared lost */
	uint64_t inflight;      /* bytes still in flight */
	uint64_t newest_number; /* newest packet declared lost */
	cv_time newest_sent_at;
	bool is_persistent; /* nothing has come through for 3 PTO: start over */
};

struct cc;
struct cc_ops {
	const char *name;
	void (*init)(struct cc *cc, cv_time now, uint64_t seed);
	/* The first round-trip time of the path, which may come before any data do. */
	void (*on_first_rtt)(struct cc *cc, cv_time now, const struct rtt *rtt);
	void (*on_sent)(struct cc *cc, cv_time now, const struct cc_sent *sent);
	void (*on_ack)(struct cc *cc, cv_time now, const struct cc_ack *ack, const struct rtt *rtt);
	void (*on_lost)(struct cc *cc, cv_time now, const struct cc_lost *lost);
	void (*on_loss)(struct cc *cc, cv_time now, const struct cc_loss *loss,
	                const struct rtt *rtt);
	/* Every packet whose loss made the last reduction has arrived after all (loss_is_undone()).
	 */
	void (*on_spurious)(struct cc *cc, cv_time now);
	/* Nothing was in flight for @idle: what the window knew of the path fades by halves a
	 * second. */
	void (*on_idle)(struct cc *cc, cv_time now, cv_duration idle);
};

struct cubic {
	uint64_t ssthresh; /* UINT64_MAX: none yet */
	uint64_t w_max; /* the plateau: window before the reduction, or less (fast convergence) */
	uint64_t cwnd_prior; /* window before the reduction, for the Reno-friendly region */
	uint64_t w_est;      /* Reno-friendly window, bytes */
	uint64_t est_credit; /* remainder of the growth of w_est */
	uint64_t ack_credit; /* remainder of the growth of the window, bytes * bytes */
	cv_time epoch_at;    /* 0: no congestion epoch yet */
	cv_time last_ack_at;
	uint64_t k_ms;           /* from the start of the epoch to the plateau */
	uint64_t next_number;    /* one above the newest number sent, as far as it was told */
	uint64_t recovery_until; /* losses of packets below this number belong to the past reduction
	                          */
	uint64_t round_end;
	cv_duration start_rtt_min;   /* smallest sample since slow start began */
	cv_duration round_rtt_min;   /* of this round */
	cv_duration stretch_rtt_min; /* of the present stretch of it */
	cv_time stretch_at;
	uint32_t stretch_samples;
	uint32_t css_rounds;
	uint32_t css_mistakes; /* times that it was jitter: doubles the threshold */
	bool in_css;
	bool can_undo;
	uint64_t undo_cwnd, undo_ssthresh, undo_w_max, undo_cwnd_prior;
};

struct cc {
	const struct cc_ops *ops;
	uint64_t cwnd;        /* bytes */
	uint64_t pacing_rate; /* bytes per second; 0: do not pace */
	uint32_t mss;         /* datagram size that the window counts in */
	uint64_t cwnd_max;    /* bytes; bounded by the send budget; CC_MIN_PACKETS win over it */
	uint8_t phase;        /* what the sender is doing, noted with each train (delivery.h) */
	bool is_probing;      /* it looks for more: frequent ACKs are worth their cost */
	bool is_limited; /* there was more to send than the window let out; the algorithm clears it
	                  */
	union {
		struct bbr bbr;
		struct cubic cubic;
	};
};

/* @seed: for what is drawn at random, so that flows do not march in step. */
void cc_init(struct cc *cc, enum cc_kind kind, uint32_t mss, uint64_t cwnd_max, cv_time now,
             uint64_t seed);
/* The path's packet size (1,200 .. 65,507) changed: windows keep their bytes, floors move. */
void cc_set_mss(struct cc *cc, uint32_t mss);
/* The send budget changed: takes effect at once. */
void cc_set_cwnd_max(struct cc *cc, uint64_t cwnd_max);
/* No window is smaller: CC_MIN_PACKETS, two where they are large. Bytes. */
uint64_t cc_least(const struct cc *cc);
/* The window brought between @floor_packets (at least cc_least()) and cwnd_max; for the algorithms.
 */
uint64_t cc_clamp(const struct cc *cc, uint64_t cwnd, uint32_t floor_packets);
bool cc_check(const struct cc *cc);

/* a * b / divisor without overflow on the way; saturated. */
static inline uint64_t cc_mul_div(uint64_t a, uint64_t b, uint64_t divisor)
{
	cv_u128 q = (cv_u128)a * b / divisor;

	return q > UINT64_MAX ? UINT64_MAX : (uint64_t)q;
}

extern const struct cc_ops bbr_ops;
extern const struct cc_ops cubic_ops;

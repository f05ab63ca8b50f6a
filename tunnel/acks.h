/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * acks - what this side has received and when it must say so. One set for an
 * object, over all paths and epochs. Never more than one ACK a batch; thinned by the sender's
 * wish (ACK_FREQUENCY), immediate when it asks (WIRE_FLAG_ACK_NOW), on a gap so old that the sender
 * takes it for a loss, on a mark of congestion, and for the first packets of an object or a path.
 * RFC 9000, 13.2; draft-ietf-quic-ack-frequency.
 *
 * A path that reorders fills most gaps by itself: an ACK for each would be one for every other
 * packet, and says nothing that the sender acts upon before its own threshold.
 *
 *	 received ####.##.####         threshold 3: the first gap is told, the second not yet
 *	              ^  ^   largest
 *	              |  told_below
 *	              told
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/time.h"
#include "base/wr.h"
#include "tunnel/ranges.h"
#include "tunnel/sent.h"
#include "tunnel/train.h"
#include "tunnel/wire.h"

enum {
	ACKS_SPANS = 64,
	ACKS_EAGER_PACKETS = 64,
	ACKS_THRESHOLD_DEFAULT = 2,
	ACKS_REORDER_DEFAULT = 3, /* LOSS_REORDER_INITIAL of the other side */
};
#define ACKS_DELAY_DEFAULT CV_MS(5)
#define ACKS_DELAY_MAX CV_MS(25)

struct acks {
	struct ranges received;
	struct span spans[ACKS_SPANS];
	uint64_t largest; /* newest number; valid when has_any */
	cv_time largest_at;
	cv_time due_at;     /* CV_TIME_NEVER: nothing owed */
	cv_time calm_until; /* the arriving path changed: gaps are not urgent (rule 5.2) */
	uint32_t owed;      /* ack-eliciting packets since the last ACK */
	uint32_t eager_left;
	uint16_t threshold;
	uint16_t reorder;          /* numbers that a gap is behind when it is urgent; 0: none is */
	uint64_t told_below;       /* gaps below it are no news to the peer */
	uint64_t frequency_number; /* of the packet that had the newest ACK_FREQUENCY */
	cv_duration delay;
	uint8_t path;        /* slot that the newest packet came by */
	bool is_congested;   /* a CE mark has not been told yet */
	struct wire_ecn ecn; /* packets that came with each codepoint, over all paths */
	bool has_any;
};

void acks_init(struct acks *a);
/* The packet that acks_on_packet() is told of next came with @codepoint. */
void acks_on_ecn(struct acks *a, enum ecn_codepoint codepoint);
/* @path: slot it came by; @rtt: of that path. */
void acks_on_packet(struct acks *a, cv_time now, uint64_t number, bool is_eliciting, bool ask_now,
                    uint8_t path, cv_duration rtt);
/* The sender's wish, in packet @number: one that came late does not undo a newer one. */
struct acks_wish {
	uint16_t threshold, reorder;
	cv_duration delay;
};
void acks_on_frequency(struct acks *a, uint64_t number, const struct acks_wish *wish);
/* True when an ACK is owed by @now. */
bool acks_are_due(const struct acks *a, cv_time now);
/* Writes an ACK and its note when there is anything to tell and it fits; nothing is owed then. */
void acks_write(struct acks *a, cv_time now, struct wr *w, struct sent *sent);
/* Our ACK up to @largest has arrived: what it told need not be told again. */
void acks_on_acked(struct acks *a, uint64_t largest);
bool acks_check(const struct acks *a);

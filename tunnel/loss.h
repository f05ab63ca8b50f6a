/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * loss - which packets of one path are lost, and when to ask. Time-based with an
 * adaptive packet threshold (RFC 9002, 6; RFC 8985): only a later packet *on
 * the same path* proves a loss (protocol rule 5.1).
 *
 *   lost when sent before the newest acknowledged one of this path, and
 *     older than max(smoothed, latest) * (1 + k/8), k = 1 at first, doubling to 8 with spurious
 *     losses, and than 9/8 of the age at which one of them was acknowledged, at most 4 RTT, or
 *     at least `reorder_threshold` numbers behind (3 until the first spurious loss, then the
 *     largest displacement seen + 1, at most two windows, shrinking while nothing is late)
 *
 * Probe timeout: rtt_pto() + the peer's ACK delay (not when the tail asked for an ACK at once), at
 * least 10 ms beyond a LAN, doubling, capped at 2 s while streams are open and the path is believed
 * alive, else at 60 s.
 *
 * The losses of one flight are an episode, as they are one reduction to congestion control;
 * loss_is_undone() says when all of it was a mistake.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/time.h"
#include "tunnel/rtt.h"
#include "tunnel/sent.h"

enum { LOSS_REORDER_INITIAL = 3 };
#define LOSS_PTO_CAP CV_SEC(2)
#define LOSS_PTO_CAP_IDLE CV_SEC(60)

struct loss {
	uint8_t path, path_age;
	bool has_acked;
	bool is_tcp_leg; /* no packet threshold, time threshold 2 RTT, PTO >= 1 s (rule 6.3) */
	uint64_t largest_acked; /* newest number of this path that was acknowledged */
	cv_time largest_sent_at;
	cv_time loss_at;    /* when the earliest undecided one becomes lost; CV_TIME_NEVER: none */
	uint64_t scan_from; /* no unsettled record of this path lies below */
	uint32_t reorder_threshold; /* 0: switched off */
	uint32_t time_eighths;      /* k */
	cv_duration late_age; /* greatest age at which a packet called lost was acknowledged */
	cv_time late_at;      /* when the newest packet left that made the threshold what it is */
	uint64_t next_number; /* one above the newest number sent on this path */
	uint64_t spurious_until; /* late packets below belong to the spurious event already counted
	                          */
	uint32_t spurious_events;
	uint64_t episode_begin,
		episode_until;               /* numbers of the flight that had the newest losses */
	uint32_t episode_lost, episode_late; /* declared lost in it; of those, arrived after all */
	cv_time restarted_at;                /* no silence counts from before; 0: never restarted */
	uint32_t pto_count;
	cv_time last_eliciting_at; /* newest ack-eliciting packet in flight; 0: none */
	bool tail_asked_ack;       /* that packet had WIRE_FLAG_ACK_NOW */
	uint32_t eliciting_count;  /* ack-eliciting packets in flight on this path */
	cv_duration peer_ack_delay;
};

void loss_init(struct loss *l, uint8_t path, uint8_t path_age, cv_duration peer_ack_delay);
void loss_on_sent(struct loss *l, cv_time now, uint64_t number, bool is_eliciting, bool asked_ack);
/* One record of this path was newly acknowledged. @now - sent_at is an RTT sample if it is the
 * largest (the caller takes it). */
void loss_on_acked(struct loss *l, const struct rtt *rtt, uint64_t number,
                   const struct sent_record *r);
/* A record that loss_next() gave was acknowledged after all: adapt. Harmless for one that was taken
 * off the path without a loss. @age: of the packet when its ACK came. */
void loss_on_spurious(struct loss *l, uint64_t number, cv_duration age, uint64_t cwnd_packets);
/* True when every packet of the newest episode has arrived after all: the reduction that it made
 * can be undone. Ask after the loss_on_spurious() of a batch. */
bool loss_is_undone(const struct loss *l);
/**
 * loss_next() - the next record of this path that must be called lost, after ACKs or at loss_at
 * @number: cursor, start with l->scan_from
 *
 * The caller settles the record it gets (sent_settle LOST, notes) and calls again until NULL; then
 * loss_at is up to date.
 *
 * Time: O(1) per record returned, plus one bitmap word per 64 settled records and one record per
 * packet of another path, each passed over once.
 */
struct sent_record *loss_next(struct loss *l, struct sent *s, const struct rtt *rtt, cv_time now,
                              uint64_t *number);
/* Numbers behind the newest at which a packet is lost, as the peer should know it; 0: at none. */
static inline uint16_t loss_reorder(const struct loss *l)
{
	return l->is_tcp_leg ? 0 : (uint16_t)CV_MIN(l->reorder_threshold, UINT16_MAX);
}
/* Bookkeeping when a record stops being in flight (acked, lost, or taken off a dead path). */
void loss_on_gone(struct loss *l, const struct sent_record *r);
/* When a probe is due; CV_TIME_NEVER with nothing ack-eliciting in flight. */
cv_time loss_pto_at(const struct loss *l, const struct rtt *rtt, bool is_busy);
/* Something of this path was acknowledged: timeouts back off from the beginning again. After the
 * loss_next() of the batch, whose caller wants to know how many there were (RFC 9002, 7.6). */
void loss_on_answer(struct loss *l);
/* The probe timeout fired: the caller sends up to two probes with data. */
void loss_on_pto(struct loss *l, cv_time now);
/* The network is another: the backoff was the old one's, and the next probe is due by now. */
void loss_on_network(struct loss *l);
/* Silence timers start again at @now (wake-up, network change): rule 8.4. */
void loss_restart(struct loss *l, cv_time now);
bool loss_check(const struct loss *l, const struct sent *s);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * pmtud - the largest datagram of one path, found by padded probes. RFC 8899.
 *
 * Sizes are UDP payloads as they leave the socket (a relay's header included).
 * Probes are PROBE packets: a lost one is no congestion. Order: what is usual, then what narrower
 * links and tunnels carry, downward; if what is usual passed, the ceiling and what lies between,
 * downward. Nothing finer. 3 tries each; raised again after 600 s. Black
 * hole: four bursts of large packets lost and none of that size acknowledged since -> back to the
 * base, cool-down 60 s.
 *
 *            start()                 answer, or nothing left
 *   BASE ---------------> SEARCHING ------------------------> COMPLETE
 *    ^  ^-- 60 s: again --^  ^  |                                | 600 s: search larger ones
 *    |                       |  +--------------------------------+
 *    +--- black hole --------|-----------------------------------+
 *   ERROR: even the base was refused; searched again after 60 s
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/time.h"
#include "tunnel/wire.h"

enum pmtud_state { PMTUD_BASE, PMTUD_SEARCHING, PMTUD_COMPLETE, PMTUD_ERROR };

struct pmtud {
	uint8_t state;      /* enum pmtud_state */
	uint8_t tries;      /* of the probe in flight */
	uint8_t candidate;  /* index of the size tried */
	uint8_t holes;      /* bursts of lost large packets without one acknowledged */
	uint32_t hole_size; /* smallest packet lost in them */
	cv_time burst_at;   /* when the newest of them began */
	uint32_t size;      /* confirmed */
	uint32_t usual;     /* tried first: an Ethernet's */
	uint32_t ceiling;   /* what the interface and the kind of path allow */
	uint32_t probing;   /* size of the probe in flight, 0: none */
	cv_time due_at;     /* next probe, or give up on the one in flight */
	uint64_t token;     /* of the probe in flight */
	uint32_t sent_max;  /* largest packet sent since one was acknowledged */
};

void pmtud_init(struct pmtud *m, uint32_t usual, uint32_t ceiling);
/* The path passed 1,200 bytes both ways: the search for more than is confirmed begins. */
void pmtud_start(struct pmtud *m, cv_time now);
/* Size of a probe that is due now, 0 for none; the caller sends it and calls pmtud_on_sent(). */
uint32_t pmtud_due(struct pmtud *m, cv_time now);
void pmtud_on_sent(struct pmtud *m, cv_time now, uint64_t token, cv_duration pto);
/* True when the answer was to our probe and the confirmed size grew. */
bool pmtud_on_answer(struct pmtud *m, cv_time now, uint64_t token);
/* The socket refused this size (EMSGSIZE): shrink at once below it; the ceiling falls too. */
void pmtud_on_refused(struct pmtud *m, cv_time now, uint32_t size);
/* A packet was acknowledged. */
/* A packet of @size leaves. */
static inline void pmtud_on_packet(struct pmtud *m, uint32_t size)
{
	m->sent_max = size > m->sent_max ? size : m->sent_max;
}
void pmtud_on_acked(struct pmtud *m, uint32_t size);
/* A packet was lost; losses within 50 ms are one burst. True: black hole, now at the base. */
bool pmtud_on_lost(struct pmtud *m, cv_time now, uint32_t size);
cv_time pmtud_deadline(const struct pmtud *m);
bool pmtud_check(const struct pmtud *m);

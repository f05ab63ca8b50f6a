/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * loss_floor - which share of a path's loss does not depend on how fast one sends: a bad radio
 * link, a noisy line. Slowing down for it helps nobody.
 *
 * Packets are told apart by the phase in which they were *sent*. What is lost while the sender
 * cruises at the path's rate, with no queue to be seen, is believed to be the path's own, but no
 * more of it than what is still lost while it sends a tenth slower: a policer or a shallow buffer
 * that overflows stops losing then, a bad link does not. Chance is allowed for.
 *
 * Knows counts of bytes; knows no states and no rates.
 */

#include <stdbool.h>
#include <stdint.h>

#include "tunnel/delivery.h"

/* Phases of sending, as noted with each train. */
enum loss_phase {
	LOSS_PHASE_OTHER,  /* says nothing: a queue stood, or the sender was on its way down */
	LOSS_PHASE_DOWN,   /* a tenth or more below the path's rate */
	LOSS_PHASE_CRUISE, /* at the path's rate, no queue */
	LOSS_PHASE_PROBE,  /* above it */
};

/* The share is never believed to be larger; loss beyond LOSS_FLOOR_ABSURD_PPM is no bad link. */
#define LOSS_FLOOR_MAX_PPM UINT32_C(100000)
#define LOSS_FLOOR_ABSURD_PPM UINT32_C(150000)

struct loss_floor {
	/* Sixteenths of packets, of this cycle and, halved each time, of those before. */
	uint64_t acked[DELIVERY_PHASES];
	uint64_t lost[DELIVERY_PHASES];
	uint32_t ppm;       /* what is believed now */
	bool is_known;      /* from enough packets */
	uint32_t start_ppm; /* least loss of a round before the pipe was full; UINT32_MAX: none yet
	                     */
};

void loss_floor_init(struct loss_floor *f);
/* @mss: bytes of a packet; counts are in packets, whatever their size. */
void loss_floor_on_acked(struct loss_floor *f, uint32_t mss,
                         const uint64_t acked_in[DELIVERY_PHASES]);
void loss_floor_on_lost(struct loss_floor *f, uint32_t mss, uint8_t phase, uint64_t size);
/* A round of the start, without a queue: bytes that were lost of all that were decided. */
void loss_floor_on_start_round(struct loss_floor *f, uint32_t mss, uint64_t lost, uint64_t all);
/* Once a round: look at the counts again. */
void loss_floor_update(struct loss_floor *f);
/* A new cycle of probing begins: what is old counts half. */
void loss_floor_on_cycle(struct loss_floor *f);
/**
 * loss_floor_allowed() - bytes that may be lost of @bytes before it means congestion
 * @percent: tolerated beyond the floor
 *
 * Four standard deviations are allowed for where the floor makes loss a matter of chance.
 */
uint64_t loss_floor_allowed(const struct loss_floor *f, uint32_t mss, uint64_t bytes,
                            uint32_t percent);
/* The same while nothing is known: what no bad link loses. */
uint64_t loss_floor_blind(uint32_t mss, uint64_t bytes);
bool loss_floor_check(const struct loss_floor *f);

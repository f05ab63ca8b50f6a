#pragma once
/* SPDX-License-Identifier: MIT */

/*
 * lab_queue - all packets that wait for an instant, in a binary heap.
 *
 * One heap for the whole internet: there is one clock, and a link with packets
 * that overtake each other needs no structure of its own.
 */

#include "lab_packet.h"

struct lab_queue {
	struct lab_packet **heap; /* owned, as the packets in it are */
	size_t count;
	uint64_t order_next;
};

/** lab_queue_init() - room for LAB_PACKETS_MAX. Return: 0 or -ENOMEM. */
LAB_NODISCARD int lab_queue_init(struct lab_queue *q);

void lab_queue_deinit(struct lab_queue *q);

/** lab_queue_add() - let @p, taken, wait until @at. */
void lab_queue_add(struct lab_queue *q, struct lab_packet *p, uint64_t at);

/** lab_queue_deadline() - when the first one is due; LAB_TIME_NEVER when empty. */
uint64_t lab_queue_deadline(const struct lab_queue *q);

/** lab_queue_take() - the first one that is due at @now, or NULL; the caller owns it. */
struct lab_packet *lab_queue_take(struct lab_queue *q, uint64_t now);

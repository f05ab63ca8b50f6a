/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * sched - which stream sends next, in O(1). Three lists, tried in this order:
 *
 *	urgent  bytes that were lost, or a FIN alone: they need no session window
 *	sparse  a stream that is new or was idle for a round trip: SCHED_CREDIT bytes ahead of bulk
 *	bulk    deficit round robin, one quantum a turn
 *
 * The shape is that of fq_codel (RFC 8290, 4): small and interactive streams
 * come first without being told apart, bulk shares what is left, and a stream
 * that never rests falls back to bulk. Turns pass only after bytes were really
 * written. A stream with nothing to send is on no list.
 *
 * Knows nodes, not streams: the owner embeds one and says what it needs.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/list.h"
#include "base/time.h"

enum {
	SCHED_CREDIT = 16 * 1024,  /* bytes ahead of bulk */
	SCHED_QUANTUM_MIN = 1200,  /* a turn is never less than a packet */
	SCHED_QUANTUM_MAX = 65536, /* nor more than a train */
};

enum sched_place {
	SCHED_OUT,
	SCHED_SPARSE,
	SCHED_BULK,
};

struct sched_node {
	struct list urgent;
	struct list data;
	cv_time idle_at; /* when it last ran out of data; 0: never had any */
	int32_t deficit; /* bytes left of its turn; > 0 while on the bulk list */
	uint16_t credit; /* bytes left ahead of bulk */
	uint8_t place;   /* enum sched_place: the list that `data` is on */
};

struct sched {
	struct list urgent;
	struct list sparse;
	struct list bulk;
	int32_t quantum;
};

void sched_init(struct sched *s);
void sched_node_init(struct sched_node *n);

/**
 * sched_set() - what @n has to send now
 * @is_urgent: something that needs no session window
 * @has_data:  new bytes within the stream's window
 * @rtt:       rest after which the credit is renewed
 */
void sched_set(struct sched *s, struct sched_node *n, cv_time now, cv_duration rtt, bool is_urgent,
               bool has_data);
/* Off all lists, as before the owner goes. */
void sched_remove(struct sched_node *n);
/* Bytes of a turn from now on; clamped to the limits above. */
void sched_set_quantum(struct sched *s, size_t quantum);
/* Who sends now, or NULL; without @has_window only urgent ones. */
struct sched_node *sched_pick(const struct sched *s, bool has_window);
/* @n wrote @bytes of new data. True when its turn is over: pick again. */
bool sched_charge(struct sched *s, struct sched_node *n, size_t bytes);

static inline bool sched_has_urgent(const struct sched *s)
{
	return !list_is_empty(&s->urgent);
}

static inline bool sched_has_data(const struct sched *s)
{
	return !list_is_empty(&s->sparse) || !list_is_empty(&s->bulk);
}

bool sched_check(const struct sched *s);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * punch_steps - what an attempt does once it has begun, step by step: its sockets are open, a
 * server has seen one of them, and what the peer is told then.
 *
 *   PUNCH_LEAD_ROW     OPENING -> SENDING, and a ROW is told as soon as the sample is there
 *   PUNCH_LEAD_RANGE   OPENING -> SENDING, and a RANGE is told
 *   PUNCH_LEAD_PAIR    OPENING -> SAMPLING -ASK-> WAITING -ANSWER-> SENDING
 *   PUNCH_HELP_PAIR    OPENING -> SAMPLING -ANSWER-> SENDING
 *   PUNCH_HELP_SPRAY   SENDING
 *   PUNCH_LEAD_CROSS   OPENING -CROSS-> WAITING -ANSWER-> SENDING
 *   PUNCH_HELP_CROSS   OPENING -> SENDING, and an ANSWER is told, with a row as soon as the sample
 *                      is there, or with a range
 *
 * The first socket of a row or pair is the sample: a server sees its port, and the ports that come
 * next are the row's. So nothing may make a mapping between it and the others: it is asked for and
 * the probes leave in one go, before its answer is known. A router that preserves ports needs no
 * sample, its row begins with the port of the socket itself.
 */

#include "tunnel/punch.h"
#include "tunnel/session.h"

struct endpoint;

enum punch_phase { PUNCH_OPENING, PUNCH_SAMPLING, PUNCH_WAITING, PUNCH_SENDING };

enum {
	PUNCH_ROW_SOCKETS = 4,
	PUNCH_ROW_COUNT = 8, /* twice as many are told each round; others may take some of them */
	PUNCH_PAIR_COUNT = 8,
	PUNCH_ROUNDS_MAX = 4,
	PUNCH_HELP_ROUNDS_MAX = PUNCH_ROUNDS_MAX + 1, /* and one of a plan that was given up */
	PUNCH_ROW_COUNT_MAX = 128,                    /* that a peer may ask for */
};

#define PUNCH_ROUND_TIME CV_MS(2000)
#define PUNCH_HELP_TAIL CV_MS(1500)     /* the next round of who leads comes after a round trip */
#define PUNCH_RANGE_TIME_MIN CV_SEC(30) /* at a peer's wish: others may share the rate */

/* @role: enum punch_role */
bool punch_leads(unsigned role);
bool punch_is_preserving(const struct endpoint *e);
/* All that our packets allow, one after the other. */
cv_duration punch_spending_time(const struct endpoint *e, unsigned packets);
/* The helper's sockets stay while who leads may still send. */
cv_duration punch_helping_time(const struct endpoint *e);

/* Every limit allows one packet more now; else @a waits, or its budget is spent. */
bool punch_may_send(const struct punch *p, cv_time now, struct session *s, struct punch_attempt *a);
void punch_count_packet(struct punch *p, cv_time now, struct session *s, struct punch_attempt *a);

/* The shell has opened all of the sockets, or will open no more. */
bool punch_are_settled(const struct endpoint *e, const struct punch_attempt *a);
/* False: the attempt cannot go on. */
bool punch_on_opened(struct endpoint *e, cv_time now, struct punch_attempt *a);
/* A server has seen the first socket as @seen. */
void punch_on_sampled(struct endpoint *e, cv_time now, struct punch_attempt *a,
                      const struct addr *seen);
/* The order in which probes leave from the sockets to @ports, @packets of them. */
void punch_set_cells(struct endpoint *e, struct punch_attempt *a, uint32_t ports, uint32_t packets);

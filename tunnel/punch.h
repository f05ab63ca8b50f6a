/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * punch - the ways through routers that give every destination another port: prediction of the
 * next ports, the birthday method, both within a budget. Plain probes to announced addresses are
 * path's; what a pair of routers calls for is punch_plan's; this carries plans out.
 *
 * The side that leads opens sockets beside the main one (a hard router maps each of them), probes
 * the peer's address from them, and asks the peer to probe the ports that it believes it got. The
 * first packet that opens under the session's keys makes its source a path like any other. When a
 * direct path carries data, or the budget is spent, the sockets that it does not need are closed.
 *
 * Budget: packets and sockets of an attempt, and what punch_budget.h bounds over all of them. What
 * a peer asks for is spent from ours: it cannot make us send more, nor anywhere else than to
 * addresses that candidate.h allows (T40); three peers at most are helped at once, each not more
 * often than every five seconds, and no attempt is longer than its rounds, whatever is heard.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/time.h"
#include "tunnel/discovery.h"
#include "tunnel/extras.h"
#include "tunnel/punch_budget.h"
#include "tunnel/punch_plan.h"
#include "tunnel/train.h"
#include "tunnel/wire.h"

struct endpoint;
struct session;

enum {
	PUNCH_ATTEMPTS_MAX = 4, /* at once; of different peers */
	PUNCH_HELPS_MAX = 3,    /* of them at a peer's wish */
};

/* Ours in an attempt; what each does is told in punch_steps.h. */
enum punch_role {
	PUNCH_NOBODY, /* no attempt */
	PUNCH_LEAD_ROW,
	PUNCH_LEAD_RANGE,
	PUNCH_LEAD_PAIR,
	PUNCH_HELP_PAIR,
	PUNCH_HELP_SPRAY,
	PUNCH_LEAD_CROSS,
	PUNCH_HELP_CROSS,
	PUNCH_ROLES,
};

struct punch_attempt {
	uint8_t role; /* enum punch_role */
	uint8_t phase;
	uint8_t question; /* of discovery; DISCOVERY_NOBODY: none */
	uint8_t rounds;   /* that have begun */
	uint8_t shift;
	bool has_sample; /* the first of the sockets is for a server to see */
	uint16_t number; /* of the round, as told */
	uint32_t peer;
	uint16_t first, count; /* sockets taken; 0: none */
	struct addr target;    /* of the probes; of a row or range its first port */
	int16_t step;
	uint16_t row_count;       /* 0: a range */
	uint16_t told;            /* count of an ANSWER to a CROSS */
	struct punch_order order; /* of a range, or of the sockets times the ports of a cross */
	unsigned at, sweeps;      /* where in the row or among the sockets */
	unsigned packets;         /* sent */
	cv_time began_at, due_at, until;
	cv_time held_at; /* something was heard for the first time; 0: not yet */
};

struct punch_stats {
	uint64_t attempts, succeeded, packets, sockets;
};

struct punch {
	struct punch_budget budget;
	struct extras *extras;       /* borrowed */
	struct discovery *discovery; /* borrowed */
	struct punch_attempt list[PUNCH_ATTEMPTS_MAX];
	unsigned turn;    /* whose packet is looked for first */
	uint16_t number;  /* of the newest round */
	cv_time cross_at; /* no cross that takes half of our block before, whoever it is with */
	cv_time sweep_at;
	struct punch_stats stats;
};

/* Limits of 0 stand for the defaults. */
void punch_init(struct punch *p, const struct punch_limits *limits, struct extras *extras,
                struct discovery *discovery);
/* @s may have got news: a PUNCH, a profile, a path; it may be time for an attempt. */
void punch_consider(struct endpoint *e, cv_time now, struct session *s);
/* Addresses or routers changed: what failed before may work now. */
void punch_on_network(cv_time now, struct session *s);
bool punch_write(struct endpoint *e, cv_time now, struct train *out);
cv_time punch_deadline(const struct punch *p);
void punch_on_deadline(struct endpoint *e, cv_time now);
/* A peer is no longer configured. */
void punch_stop_peer(struct endpoint *e, cv_time now, uint32_t peer);
/* The agent closes: what is tried ends, and its sockets are given back. */
void punch_stop(struct endpoint *e, cv_time now);
bool punch_check(const struct punch *p);

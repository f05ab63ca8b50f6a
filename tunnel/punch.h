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
 * Budget: packets and sockets of an attempt, packets a second of all, packets an hour of all. What
 * a peer asks for is spent from ours: it cannot make us send more, nor anywhere else than to
 * addresses that candidate.h allows (T40).
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ratelimit.h"
#include "base/time.h"
#include "tunnel/discovery.h"
#include "tunnel/extras.h"
#include "tunnel/punch_plan.h"
#include "tunnel/train.h"
#include "tunnel/wire.h"

struct endpoint;
struct session;

enum {
	PUNCH_ATTEMPTS_MAX = 4, /* at once; of different peers */
	PUNCH_SOCKETS_DEFAULT = 256,
	PUNCH_PACKETS_DEFAULT = 768,
	PUNCH_RATE_DEFAULT = 100,
	PUNCH_HOURLY_DEFAULT = 6144,
};

struct punch_limits {
	uint32_t sockets_max; /* of an attempt */
	uint32_t packets_max;
	uint32_t rate;   /* packets a second, all attempts */
	uint32_t hourly; /* packets an hour, all attempts */
};

struct punch_attempt {
	uint8_t role; /* 0: free */
	uint8_t phase;
	uint8_t question; /* of discovery; DISCOVERY_NOBODY: none */
	uint8_t rounds;   /* that have begun */
	uint8_t shift;
	uint16_t number; /* of the round, as told */
	uint32_t peer;
	uint16_t first, count; /* sockets taken; 0: none */
	struct addr target;    /* of the probes; of a row its first port */
	int16_t step;
	uint16_t row_count;
	struct punch_order order; /* of a range, which begins at .target.port */
	unsigned at, sweeps;      /* where in the row or among the sockets */
	unsigned packets;         /* sent */
	cv_time began_at, due_at, until;
};

struct punch_stats {
	uint64_t attempts, succeeded, packets, sockets;
};

struct punch {
	struct punch_limits limits;
	struct extras *extras;       /* borrowed */
	struct discovery *discovery; /* borrowed */
	struct bucket rate, hourly;
	struct punch_attempt list[PUNCH_ATTEMPTS_MAX];
	uint16_t number; /* of the newest round */
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
bool punch_check(const struct punch *p);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * punch_budget - what punching may cost, however often it is tried and whoever asks for it. Knows
 * no packets and no peers: it is asked before, and told after.
 *
 *   packets a second    .rate, at most 25 at once
 *   packets an hour     never more than .hourly in any hour: half of it at once, half as it accrues
 *   packets for a peer  not more than half of an hour's share. What it asks for: .packets_max at
 *                       once, then as much in 75 s, and never what an attempt of our own needs, of
 *                       packets or sockets. So whoever wants more for ever, or has other news each
 *                       time, takes no other peer's chance
 *   sockets             each is a mapping in a router that may have 1,024: two attempts' worth at
 *                       once, then one in 120 s, the time for which routers keep them
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/ratelimit.h"
#include "base/time.h"

/* Of an attempt; configurable. 256 sockets against 768 sprayed ports meet with 95 %. */
enum {
	PUNCH_SOCKETS_DEFAULT = 256,
	PUNCH_PACKETS_DEFAULT = 768,
	PUNCH_RATE_DEFAULT = 100, /* packets per second */
	PUNCH_HOURLY_DEFAULT = 6144,
};

struct punch_limits {
	uint32_t sockets_max; /* of an attempt */
	uint32_t packets_max;
	uint32_t rate;   /* packets a second, all attempts */
	uint32_t hourly; /* packets an hour, all attempts */
};

/* What may leave, or be opened, now. */
struct punch_left {
	uint32_t packets, sockets;
};

/* What one peer has cost, zeroed at first. */
struct punch_share {
	struct bucket asked;  /* packets at its wish */
	struct bucket hourly; /* all */
};

struct punch_budget {
	struct punch_limits limits;
	struct bucket rate, hourly, sockets;
};

/* Limits of 0 stand for the defaults; larger ones than 2^21 for that. */
void punch_budget_init(struct punch_budget *b, const struct punch_limits *limits);
/* When one packet more may leave; CV_TIME_NEVER: the hour's share is spent, for the time being.
 * @share: of the peer that it is about; @is_asked: and who wants it. */
cv_time punch_budget_ready_at(const struct punch_budget *b, cv_time now,
                              const struct punch_share *share, bool is_asked);
/* It leaves. */
void punch_budget_take_packet(struct punch_budget *b, cv_time now, struct punch_share *share,
                              bool is_asked);
/* True when @count more sockets may be opened now, and are. */
bool punch_budget_take_sockets(struct punch_budget *b, cv_time now, unsigned count, bool is_asked);
void punch_budget_left(const struct punch_budget *b, cv_time now, struct punch_left *out);
/* True when an attempt of our own with so many @sockets and @packets need not end early. */
bool punch_budget_has_attempt(const struct punch_budget *b, cv_time now,
                              const struct punch_share *share, unsigned sockets, uint64_t packets);

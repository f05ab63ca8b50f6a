/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * punch_plan - what this pair of routers calls for. Both sides read the same two profiles and come
 * to the same plan, each with its own part in it. Pure.
 *
 * With N ports to choose from, s of them opened by the hard side and p probed by the easy one, the
 * chance to meet is 1 - (1 - s/N)^p: 256 against 768 of 64,512 are 95 %. Where both choose at
 * random each packet has to guess a port of its own, and 1,000 of them would meet in 1.5 % of all
 * cases: that is not tried.
 */

#include <stdbool.h>

#include "tunnel/nat.h"

enum punch_plan_kind {
	PUNCH_PLAN_NONE,     /* plain probes to the announced addresses will do */
	PUNCH_PLAN_PREDICT,  /* one side is hard, its next ports are known */
	PUNCH_PLAN_BIRTHDAY, /* one side is hard, its ports are random */
	PUNCH_PLAN_BOTH,     /* both are hard, the next ports of both are known */
	PUNCH_PLAN_HOPELESS, /* both are known to be hard, and one at least is random */
};

struct punch_plan {
	enum punch_plan_kind kind;
	bool leads; /* we open the sockets, or ask first */
};

struct punch_plan punch_plan(const struct nat_profile *mine, const struct nat_profile *theirs,
                             bool has_smaller_key);

/**
 * punch_plan_sockets() - how many sockets the hard side of a birthday attempt opens
 * @ports: that a new mapping may get; @sockets_max, @packets: of the budget
 *
 * As few as leave one attempt in a thousand without a meeting, where the range is small.
 */
unsigned punch_plan_sockets(unsigned ports, unsigned sockets_max, unsigned packets);

/* The port that lies @steps further, in a range that ends at 65535 and begins again at
 * NAT_PORT_MIN: routers give no lower ones, and nobody can have us probe them. */
uint16_t punch_plan_port(uint16_t from, int steps);

/* Every number below .size once, in an order that looks random. */
struct punch_order {
	uint32_t size, step, at, left;
};
/* @random: any number. */
void punch_order_init(struct punch_order *o, uint32_t size, uint64_t random);
/* False when all were drawn. */
bool punch_order_next(struct punch_order *o, uint32_t *out);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * punch_plan - what this pair of routers calls for. Both sides read the same two profiles and come
 * to the same plan, each with its own part in it. Pure.
 *
 * With N ports to choose from, s of them opened by the hard side and p probed by the easy one, the
 * chance to meet is 1 - (1 - s/N)^p: 256 against 768 of 64,512 are 95 %.
 *
 * Where both are hard a probe makes a mapping of its own, with a port e, and is aimed at one port p
 * of the peer's; it meets the one of the peer's that got p and is aimed at e. M1 probes that are
 * spread over N1 x N2 such pairs, and M2 of the peer's, meet M1/N1 * M2/N2 times on average, and
 * never in e to the minus that of all attempts. Of a known router N is no range but the row of
 * ports that its probes are about to get: M/N is 1, and as all of these go to one port they meet
 * once or never. Of a random one M is at most half of the block, which a carrier gives to all that
 * the user does: so it is 50 % if the other one is known, 22 % if both are random. All ports there
 * are, instead of a block: 768 probes are 1.2 %, and 0.014 %.
 */

#include <stdbool.h>

#include "tunnel/nat.h"

enum punch_plan_kind {
	PUNCH_PLAN_NONE,     /* plain probes to the announced addresses will do */
	PUNCH_PLAN_PREDICT,  /* one side is hard, its next ports are known */
	PUNCH_PLAN_BIRTHDAY, /* one side is hard, its ports are random */
	PUNCH_PLAN_BOTH,     /* both are hard, the next ports of both are known */
	PUNCH_PLAN_CROSS,    /* both are hard, and one at least is random */
};

struct punch_plan {
	enum punch_plan_kind kind;
	bool leads; /* we open the sockets, or ask first */
};

/* What one side sends where both are hard. */
struct punch_part {
	uint32_t ports;   /* that its probes may get: the other side aims at these */
	uint32_t aims;    /* so many of the other side's, drawn from all, are aimed at */
	uint32_t packets; /* each of another socket and port of these */
	uint32_t sockets; /* beside one for a sample */
};

struct punch_cross {
	struct punch_part leader, helper;
	uint32_t one_in;  /* so many attempts one meets, on average */
	bool is_worth_it; /* one in twenty at least */
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

/* Ports that a new mapping may get. */
unsigned punch_plan_ports(const struct nat_profile *p);

/* Its router knows the port of a new mapping before it is made. */
bool punch_plan_is_known(const struct nat_profile *p);

/* Our part in a cross, of a peer that may get @aims ports. */
struct punch_part punch_plan_part(const struct nat_profile *mine, uint32_t aims,
                                  uint32_t sockets_max, uint32_t packets_max);

/* Both parts, and the odds, if the budget of the two is the same. */
struct punch_cross punch_plan_cross(const struct nat_profile *leader,
                                    const struct nat_profile *helper, uint32_t sockets_max,
                                    uint32_t packets_max);

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

/* SPDX-License-Identifier: MIT */
#include "tunnel/punch_plan.h"

static bool is_predictable(const struct nat_profile *p)
{
	return p->ports == NAT_PORTS_REGULAR || p->ports == NAT_PORTS_PRESERVED;
}

/* One side is hard. */
static struct punch_plan one_hard(const struct nat_profile *hard, bool is_mine)
{
	return (struct punch_plan){
		.kind = is_predictable(hard) ? PUNCH_PLAN_PREDICT : PUNCH_PLAN_BIRTHDAY,
		.leads = is_mine,
	};
}

/* Which of two hard routers is perhaps none, as only failed probes speak against it: the other one
 * leads. Of two such the one whose ports are known, as that costs little. */
static struct punch_plan both_hard(const struct nat_profile *mine, const struct nat_profile *theirs,
                                   bool has_smaller_key)
{
	bool is_mine = has_smaller_key;

	if (is_predictable(mine) && is_predictable(theirs))
		return (struct punch_plan){ PUNCH_PLAN_BOTH, has_smaller_key };
	if (!mine->is_suspect && !theirs->is_suspect)
		return (struct punch_plan){ PUNCH_PLAN_HOPELESS, has_smaller_key };
	if (mine->is_suspect != theirs->is_suspect)
		is_mine = theirs->is_suspect;
	else if (is_predictable(mine) != is_predictable(theirs))
		is_mine = is_predictable(mine);
	return one_hard(is_mine ? mine : theirs, is_mine);
}

struct punch_plan punch_plan(const struct nat_profile *mine, const struct nat_profile *theirs,
                             bool has_smaller_key)
{
	const bool i_am = nat_is_hard(mine), they_are = nat_is_hard(theirs);
	const struct nat_profile *easy = i_am ? theirs : mine;

	if (i_am && they_are)
		return both_hard(mine, theirs, has_smaller_key);
	/* Whose filter lets any port of an address in takes what comes from wherever it was sent,
	 * once it has probed that address. */
	if ((!i_am && !they_are) || easy->filtering == NAT_ENDPOINT_INDEPENDENT)
		return (struct punch_plan){ .kind = PUNCH_PLAN_NONE };
	return one_hard(i_am ? mine : theirs, i_am);
}

unsigned punch_plan_sockets(unsigned ports, unsigned sockets_max, unsigned packets)
{
	/* exp(-s * p / N) = 0.001. Within a small range half of it is probed twice over. */
	unsigned probes = CV_MAX(CV_MIN(packets, ports), 1u);
	unsigned wanted = 7 * ports / probes + 1;

	return CV_MAX(CV_MIN(wanted, sockets_max), 1u);
}

uint16_t punch_plan_port(uint16_t from, int steps)
{
	const int size = UINT16_MAX + 1 - NAT_PORT_MIN;
	int at = (from - NAT_PORT_MIN + steps) % size;

	return (uint16_t)(NAT_PORT_MIN + (at < 0 ? at + size : at));
}

static uint32_t divisor(uint32_t a, uint32_t b)
{
	while (b != 0) {
		uint32_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

void punch_order_init(struct punch_order *o, uint32_t size, uint64_t random)
{
	CV_ASSERT(size > 0 && size <= UINT16_MAX + 1u);
	*o = (struct punch_order){ .size = size, .left = size };
	o->at = (uint32_t)(random % size);
	/* A step without a common divisor comes by every number before it returns. */
	o->step = (uint32_t)((random >> 32) % size) | 1;
	while (divisor(o->step, size) != 1)
		o->step++;
}

bool punch_order_next(struct punch_order *o, uint32_t *out)
{
	if (o->left == 0)
		return false;
	o->left--;
	*out = o->at;
	o->at = (uint32_t)(((uint64_t)o->at + o->step) % o->size);
	return true;
}

/* SPDX-License-Identifier: MIT */
#include "tunnel/punch_plan.h"

static bool is_predictable(const struct nat_profile *p)
{
	return p->ports == NAT_PORTS_REGULAR || p->ports == NAT_PORTS_PRESERVED;
}

struct punch_plan punch_plan(const struct nat_profile *mine, const struct nat_profile *theirs,
                             bool has_smaller_key)
{
	struct punch_plan plan = { .kind = PUNCH_PLAN_NONE };
	const bool i_am = nat_is_hard(mine), they_are = nat_is_hard(theirs);
	const struct nat_profile *hard = i_am ? mine : theirs, *easy = i_am ? theirs : mine;

	if (i_am && they_are) {
		plan.leads = has_smaller_key;
		plan.kind = is_predictable(mine) && is_predictable(theirs) ? PUNCH_PLAN_BOTH
		                                                           : PUNCH_PLAN_HOPELESS;
		return plan;
	}
	/* Whose filter lets any port of an address in takes what comes from wherever it was sent,
	 * once it has probed that address. */
	if ((!i_am && !they_are) || easy->filtering == NAT_ENDPOINT_INDEPENDENT)
		return plan;
	plan.leads = i_am;
	plan.kind = is_predictable(hard) ? PUNCH_PLAN_PREDICT : PUNCH_PLAN_BIRTHDAY;
	return plan;
}

unsigned punch_plan_sockets(unsigned ports, unsigned sockets_max, unsigned packets)
{
	/* exp(-s * p / N) = 0.001. Within a small range half of it is probed twice over. */
	unsigned probes = CV_MAX(CV_MIN(packets, ports), 1u);
	unsigned wanted = 7 * ports / probes + 1;

	return CV_MAX(CV_MIN(wanted, sockets_max), 1u);
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

/* SPDX-License-Identifier: MIT */
#include "tunnel/punch_plan.h"

enum {
	ROW_PACKETS = 32, /* of a known router: 24 sockets then aim 768 times at its row */
	MILLION = 1000000,
	CHANCE_MIN = 50000, /* of a million: what is rarer is not tried */
	MEETINGS_MAX = 16,  /* in which it fails is nearly never */
	HALVINGS = 10,
};

bool punch_plan_is_known(const struct nat_profile *p)
{
	return p->ports == NAT_PORTS_REGULAR || p->ports == NAT_PORTS_PRESERVED;
}

/* One side is hard. */
static struct punch_plan one_hard(const struct nat_profile *hard, bool is_mine)
{
	return (struct punch_plan){
		.kind = punch_plan_is_known(hard) ? PUNCH_PLAN_PREDICT : PUNCH_PLAN_BIRTHDAY,
		.leads = is_mine,
	};
}

/* The mapping is the same whatever the port, and lets any port in, of an address that it was used
 * for: it is met like an easy one's, wherever the other side's probes come from. */
static bool is_wide(const struct nat_profile *p)
{
	return p->mapping == NAT_ADDRESS_DEPENDENT && p->filtering == NAT_ENDPOINT_INDEPENDENT;
}

/* The one of two, or whose ports are known, as that costs little, or who has the smaller key. */
static bool is_mine_of(bool mine, bool theirs, const struct nat_profile *my_nat,
                       const struct nat_profile *their_nat, bool has_smaller_key)
{
	if (mine != theirs)
		return mine;
	if (punch_plan_is_known(my_nat) != punch_plan_is_known(their_nat))
		return punch_plan_is_known(my_nat);
	return has_smaller_key;
}

/* Which of two hard routers is perhaps none, as only failed probes speak against it: the other one
 * leads. */
static struct punch_plan both_hard(const struct nat_profile *mine, const struct nat_profile *theirs,
                                   bool has_smaller_key)
{
	const bool i_am = punch_plan_is_known(mine), they_are = punch_plan_is_known(theirs);
	bool is_mine;

	if (i_am && they_are)
		return (struct punch_plan){ PUNCH_PLAN_BOTH, has_smaller_key };
	if (mine->is_suspect || theirs->is_suspect)
		is_mine = is_mine_of(theirs->is_suspect, mine->is_suspect, mine, theirs,
		                     has_smaller_key);
	else if (is_wide(mine) || is_wide(theirs))
		is_mine = is_mine_of(is_wide(mine), is_wide(theirs), mine, theirs, has_smaller_key);
	else
		/* Whose packets are many, and whose budget decides. */
		return (struct punch_plan){ PUNCH_PLAN_CROSS,
			                    i_am || they_are ? they_are : has_smaller_key };
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

unsigned punch_plan_ports(const struct nat_profile *p)
{
	if (p->port_high == 0 || p->port_high < p->port_low)
		return UINT16_MAX + 1 - NAT_PORT_MIN;
	return (unsigned)(p->port_high - p->port_low) + 1;
}

struct punch_part punch_plan_part(const struct nat_profile *mine, uint32_t aims,
                                  uint32_t sockets_max, uint32_t packets_max)
{
	struct punch_part out = { .ports = punch_plan_ports(mine), .sockets = 1, .aims = aims };

	if (!punch_plan_is_known(mine)) {
		out.packets = (uint32_t)CV_MIN((uint64_t)aims * sockets_max,
		                               CV_MIN(packets_max, out.ports / 2));
		out.sockets = CV_MAX((out.packets + aims - 1) / aims, 1u);
		return out;
	}
	if (mine->mapping == NAT_ADDRESS_DEPENDENT) {
		/* All of them come from one port. */
		out.packets = CV_MIN(packets_max, aims);
		out.ports = 1;
		return out;
	}
	/* A row, from as many sockets, to one port: no two of the other side's probes can both get
	 * that one, so no meeting is spent on an attempt that has one. What is preserved is the
	 * port of a socket's first mapping, and sockets have no order. */
	if (mine->ports != NAT_PORTS_PRESERVED)
		out.sockets = CV_MIN(CV_MIN(packets_max, sockets_max), (uint32_t)ROW_PACKETS);
	out.packets = out.ports = out.sockets;
	out.aims = 1;
	return out;
}

/* 1 - e^-x of a million; @x: millionths. */
static uint32_t chance_of(uint64_t x)
{
	const uint64_t one = 1000000000;
	uint64_t miss = one - x * 1000 / (1 << HALVINGS);

	for (unsigned i = 0; i < HALVINGS; i++)
		miss = miss * miss / one;
	return (uint32_t)((one - miss) / 1000);
}

struct punch_cross punch_plan_cross(const struct nat_profile *leader,
                                    const struct nat_profile *helper, uint32_t sockets_max,
                                    uint32_t packets_max)
{
	struct punch_cross out;
	uint64_t pairs, all, meetings;
	uint32_t chance;

	/* How many ports a known router gets depends on how many it may aim at. */
	out.helper = punch_plan_part(helper, punch_plan_ports(leader), sockets_max, packets_max);
	out.leader = punch_plan_part(leader, out.helper.ports, sockets_max, packets_max);
	pairs = (uint64_t)out.leader.packets * out.helper.packets;
	all = (uint64_t)out.leader.ports * out.helper.ports;
	meetings = CV_MIN(pairs * MILLION / all, (uint64_t)MEETINGS_MAX * MILLION);
	chance = out.helper.aims == 1 ? (uint32_t)CV_MIN(meetings, (uint64_t)MILLION)
	                              : chance_of(meetings);
	out.one_in = MILLION / CV_MAX(chance, 1u);
	out.is_worth_it = chance >= CHANCE_MIN;
	return out;
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

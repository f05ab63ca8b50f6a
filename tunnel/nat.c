/* SPDX-License-Identifier: MIT */
#include "tunnel/nat.h"

#include <string.h>

void nat_view_init(struct nat_view *v, const struct addr *local)
{
	*v = (struct nat_view){ .local = *local };
}

void nat_view_add(struct nat_view *v, const struct addr *to, const struct addr *as)
{
	unsigned i = 0;

	while (i < v->count && !addr_equal(&v->list[i].to, to))
		i++;
	if (i == NAT_SEEN_MAX)
		i = 0;
	if (i < v->count)
		v->count--;
	memmove(&v->list[i], &v->list[i + 1], (v->count - i) * sizeof(v->list[0]));
	v->list[v->count++] = (struct nat_seen){ .to = *to, .as = *as };
}

bool nat_view_is_open(const struct nat_view *v, const struct addr *local)
{
	for (unsigned i = 0; i < v->count; i++) {
		if (!addr_equal(&v->list[i].as, local))
			return false;
	}
	return v->count > 0;
}

/* What the pairs of things seen say, each bit once. */
enum {
	SAME_HOST_SAME = 1 << 0, /* two ports of one address saw the same */
	SAME_HOST_OTHER = 1 << 1,
	OTHER_HOST_SAME = 1 << 2,
	OTHER_HOST_OTHER = 1 << 3,
};

static unsigned compare(const struct nat_view *v)
{
	unsigned found = 0;

	for (unsigned i = 0; i < v->count; i++) {
		for (unsigned k = 0; k < i; k++) {
			bool is_same = addr_equal(&v->list[i].as, &v->list[k].as);

			if (addr_equal_ip(&v->list[i].to, &v->list[k].to))
				found |= is_same ? SAME_HOST_SAME : SAME_HOST_OTHER;
			else
				found |= is_same ? OTHER_HOST_SAME : OTHER_HOST_OTHER;
		}
	}
	return found;
}

enum nat_rule nat_mapping(const struct nat_view *v)
{
	unsigned found = compare(v);

	if (v->local.family != ADDR_NONE && nat_view_is_open(v, &v->local))
		return NAT_NONE;
	if (found & SAME_HOST_OTHER)
		return NAT_ADDRESS_AND_PORT_DEPENDENT;
	if (found & OTHER_HOST_OTHER)
		return NAT_ADDRESS_DEPENDENT;
	return found & OTHER_HOST_SAME ? NAT_ENDPOINT_INDEPENDENT : NAT_UNKNOWN;
}

bool nat_has_compared_ports(const struct nat_view *v)
{
	return (compare(v) & (SAME_HOST_SAME | SAME_HOST_OTHER)) != 0;
}

bool nat_is_stable(const struct nat_view *v)
{
	unsigned found = compare(v);

	return found != 0 && !(found & (SAME_HOST_OTHER | OTHER_HOST_OTHER));
}

/* ---- ports ---- */

static bool are_preserved(const struct nat_samples *s)
{
	for (unsigned i = 0; i < s->count; i++) {
		if (s->list[i].local != s->list[i].seen)
			return false;
	}
	return true;
}

/* The step, when nearly all ports follow each other in one direction; 0: they do not. Others take
 * ports too, so a difference may be several steps; one may be anything: the range begins anew, or
 * two packets changed places. */
static int16_t find_step(const struct nat_samples *s)
{
	unsigned up = 0, down = 0, count = s->count - 1;
	int least_up = NAT_STEP_MAX, least_down = NAT_STEP_MAX;

	for (unsigned i = 0; i < count; i++) {
		int delta = (int16_t)(s->list[i + 1].seen - s->list[i].seen);

		if (delta > 0 && delta <= NAT_STEP_MAX) {
			up++;
			least_up = CV_MIN(least_up, delta);
		} else if (delta < 0 && delta >= -NAT_STEP_MAX) {
			down++;
			least_down = CV_MIN(least_down, -delta);
		}
	}
	if (up + 1 >= count && up >= 3)
		return (int16_t)least_up;
	if (down + 1 >= count && down >= 3)
		return (int16_t)-least_down;
	return 0;
}

/* Carriers give each customer a block; its size is a power of two and it begins at a multiple of
 * that. @low and @high are the least and the greatest port seen among @count. */
static void guess_range(unsigned count, uint16_t low, uint16_t high, struct nat_profile *out)
{
	/* With so many drawn from a range, its ends lie about this much beyond those seen. */
	unsigned margin = (unsigned)(high - low) / (count - 1) + 1;
	unsigned begin = low > margin ? low - margin : 0;
	unsigned end = CV_MIN(high + margin, (unsigned)UINT16_MAX);

	/* Most of the ports there are: then it may be all of them. */
	if (end - begin >= 16384) {
		out->port_low = NAT_PORT_MIN;
		out->port_high = UINT16_MAX;
		return;
	}
	for (unsigned block = 64; block <= 4096; block *= 2) {
		if (low / block != high / block)
			continue;
		/* Half of a larger block would not have been missed by so many. */
		begin = low / block * block;
		end = begin + block - 1;
		break;
	}
	out->port_low = (uint16_t)CV_MAX(begin, (unsigned)NAT_PORT_MIN);
	out->port_high = (uint16_t)CV_MAX(end, out->port_low + 1u);
}

void nat_read_samples(const struct nat_samples *s, struct nat_profile *out)
{
	uint16_t low = UINT16_MAX, high = 0;

	out->ports = NAT_PORTS_UNKNOWN;
	out->step = 0;
	out->port_low = out->port_high = 0;
	if (s->count < NAT_SAMPLES_MIN)
		return;
	if (are_preserved(s)) {
		out->ports = NAT_PORTS_PRESERVED;
		return;
	}
	out->step = find_step(s);
	if (out->step != 0) {
		out->ports = NAT_PORTS_REGULAR;
		return;
	}
	out->ports = NAT_PORTS_RANDOM;
	for (unsigned i = 0; i < s->count; i++) {
		low = CV_MIN(low, s->list[i].seen);
		high = CV_MAX(high, s->list[i].seen);
	}
	guess_range(s->count, low, high, out);
}

/* ---- profiles ---- */

bool nat_is_hard(const struct nat_profile *p)
{
	return !p->has_mapped && (p->is_suspect || p->mapping == NAT_ADDRESS_DEPENDENT ||
	                          p->mapping == NAT_ADDRESS_AND_PORT_DEPENDENT);
}

bool nat_profile_is_equal(const struct nat_profile *a, const struct nat_profile *b)
{
	return a->mapping == b->mapping && a->filtering == b->filtering && a->ports == b->ports &&
	       a->has_mapped == b->has_mapped && a->is_suspect == b->is_suspect &&
	       a->step == b->step && a->port_low == b->port_low && a->port_high == b->port_high &&
	       addr_equal(&a->address, &b->address);
}

const char *nat_rule_name(enum nat_rule rule)
{
	static const char *const names[] = {
		[NAT_UNKNOWN] = "unknown",
		[NAT_NONE] = "none",
		[NAT_ENDPOINT_INDEPENDENT] = "endpoint-independent",
		[NAT_ADDRESS_DEPENDENT] = "address-dependent",
		[NAT_ADDRESS_AND_PORT_DEPENDENT] = "address-and-port-dependent",
	};

	CV_ASSERT(rule < NAT_RULES);
	return names[rule];
}

const char *nat_ports_name(enum nat_ports ports)
{
	static const char *const names[] = {
		[NAT_PORTS_UNKNOWN] = "unknown",
		[NAT_PORTS_PRESERVED] = "preserved",
		[NAT_PORTS_REGULAR] = "regular",
		[NAT_PORTS_RANDOM] = "random",
	};

	CV_ASSERT(ports < NAT_PORTS_KINDS);
	return names[ports];
}

/* SPDX-License-Identifier: MIT */
#include "tunnel/candidate.h"

/* Which of the three private ranges of RFC 1918, or -1. */
static int private_range(const struct addr *a)
{
	if (a->family != ADDR_V4)
		return -1;
	if (a->ip[0] == 10)
		return 0;
	if (a->ip[0] == 172 && (a->ip[1] & 0xf0) == 16)
		return 1;
	if (a->ip[0] == 192 && a->ip[1] == 168)
		return 2;
	return -1;
}

void candidate_scope_add(struct candidate_scope *scope, const struct addr *own)
{
	int range = private_range(own);

	if (range >= 0)
		scope->has_private[range] = true;
	else if (own->family == ADDR_V6 && addr_class(own) == ADDR_CLASS_PRIVATE)
		scope->has_ula = true;
}

/* UDP services that answer with more than they are asked, or that loop. */
static bool is_reflector_port(uint16_t port)
{
	static const uint16_t avoid[] = { 0,   7,   17,  19,  53,   69,   111,  123,  137,
		                          161, 389, 500, 520, 1900, 3702, 5353, 5683, 11211 };

	for (size_t i = 0; i < CV_ARRAY_SIZE(avoid); i++) {
		if (avoid[i] == port)
			return true;
	}
	return false;
}

bool candidate_is_allowed(const struct candidate_scope *scope, const struct addr *a)
{
	struct addr plain = addr_canonical(a);
	int range;

	if (a->family == ADDR_NONE || is_reflector_port(a->port) || !addr_equal(&plain, a))
		return false;
	switch (addr_class(a)) {
	case ADDR_CLASS_INVALID:
	case ADDR_CLASS_LOOPBACK:
	case ADDR_CLASS_LINK_LOCAL:
	case ADDR_CLASS_MULTICAST:
		return false;
	case ADDR_CLASS_PRIVATE:
		range = private_range(a);
		return range >= 0 ? scope->has_private[range] : scope->has_ula;
	case ADDR_CLASS_SHARED:
	case ADDR_CLASS_GLOBAL:
		return true;
	}
	CV_UNREACHABLE();
}

bool candidate_is_announced(const struct addr *own)
{
	switch (addr_class(own)) {
	case ADDR_CLASS_INVALID:
	case ADDR_CLASS_LOOPBACK:
	case ADDR_CLASS_LINK_LOCAL:
	case ADDR_CLASS_MULTICAST:
		return false;
	case ADDR_CLASS_PRIVATE:
	case ADDR_CLASS_SHARED:
	case ADDR_CLASS_GLOBAL:
		return true;
	}
	CV_UNREACHABLE();
}

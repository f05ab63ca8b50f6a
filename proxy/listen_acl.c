/* SPDX-License-Identifier: MIT */
#include "proxy/listen_acl.h"

/* Does @p speak of the address of @at, at whatever ports? */
static bool covers(const struct pattern *p, const struct hostport *at, bool is_udp)
{
	struct addr a = addr_canonical(&at->addr);

	if (p->kind == PATTERN_UNIX || p->is_udp != is_udp)
		return false;
	if (p->kind == PATTERN_ANY && addr_is_unspecified(&a))
		return true;
	a.scope = 0;
	a.port = p->range_count > 0 ? p->ports[0].first : 1; /* one of its ports, if not ours */
	return pattern_match_dial(p, NULL, &a, is_udp);
}

static bool allows_addr(const struct listen_acl *acl, const struct hostport *at, bool is_udp)
{
	uint16_t port;

	if (at->port == 0)
		return listen_acl_port(acl, at, is_udp, 0, &port);
	for (size_t i = 0; i < acl->allow_count; i++) {
		if (covers(&acl->allow[i], at, is_udp) &&
		    pattern_match_port(&acl->allow[i], at->port, is_udp))
			return true;
	}
	return false;
}

bool listen_acl_allows(const struct listen_acl *acl, const struct hostport *at, bool is_udp)
{
	switch (at->kind) {
	case HOST_ADDR:
		return allows_addr(acl, at, is_udp);
	case HOST_UNIX:
		for (size_t i = 0; i < acl->allow_count && !is_udp; i++) {
			if (pattern_match_unix(&acl->allow[i], at->text))
				return true;
		}
		return false;
	case HOST_NAME:
	case HOST_SERVICE:
	case HOST_NONE:
		return false;
	}
	CV_UNREACHABLE();
}

bool listen_acl_port(const struct listen_acl *acl, const struct hostport *at, bool is_udp,
                     uint32_t attempt, uint16_t *port)
{
	for (size_t i = 0; i < acl->allow_count; i++) {
		const struct pattern *p = &acl->allow[i];

		if (!covers(p, at, is_udp))
			continue;
		if (p->range_count == 0) {
			*port = 0;
			if (attempt-- == 0)
				return true;
			continue;
		}
		for (unsigned k = 0; k < p->range_count; k++) {
			/* Port 0 in a range would be the system's choice: nobody granted that. */
			uint32_t first = p->ports[k].first > 0 ? p->ports[k].first : 1;
			uint32_t size = p->ports[k].last + UINT32_C(1) - first;

			if (p->ports[k].last < first)
				continue;
			*port = (uint16_t)(first + attempt);
			if (attempt < size)
				return true;
			attempt -= size;
		}
	}
	return false;
}

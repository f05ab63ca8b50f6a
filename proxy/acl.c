/* SPDX-License-Identifier: MIT */
#include "proxy/acl.h"

/*
 * Everything here is about the one address that connect() will get. A name is
 * never judged for what it promises: it may resolve to anything, and to something
 * else the next time.
 */

/* Is @a one of this host's own addresses? Loopback is, listed or not. */
static bool is_local(const struct acl *acl, const struct addr *a)
{
	struct addr local;

	if (addr_class(a) == ADDR_CLASS_LOOPBACK)
		return true;
	for (size_t i = 0; i < acl->local_count; i++) {
		local = addr_canonical(&acl->local[i]);
		local.scope = 0; /* fe80::1 of two interfaces: better to refuse one too many */
		if (addr_equal_ip(&local, a))
			return true;
	}
	return false;
}

/* Does connecting to @a (canonical, without scope) reach one of our listeners? */
static bool is_own_listener(const struct acl *acl, const struct addr *a)
{
	struct addr own;

	for (size_t i = 0; i < acl->own_count; i++) {
		if (acl->own[i].port != a->port)
			continue;
		own = addr_canonical(&acl->own[i]);
		own.scope = 0;
		if (addr_equal_ip(&own, a))
			return true;
		/* A wildcard is every local address; "::" takes IPv4 too unless told otherwise. */
		if (addr_is_unspecified(&own) && (own.family == ADDR_V6 || a->family == ADDR_V4) &&
		    is_local(acl, a))
			return true;
	}
	return false;
}

/* Does @p name exactly this address and port? `localhost` is its two addresses. */
static bool names_exactly(const struct pattern *p, const struct addr *a)
{
	bool has_port = false;

	for (unsigned i = 0; i < p->range_count; i++) {
		if (p->ports[i].first == a->port && p->ports[i].last == a->port)
			has_port = true;
	}
	if (!has_port)
		return false;
	switch (p->kind) {
	case PATTERN_LOCALHOST: /* the caller knows that it matches */
		return true;
	case PATTERN_NET:
		return p->bits == (p->net.family == ADDR_V4 ? 32 : 128);
	case PATTERN_ANY:
	case PATTERN_NAME:
	case PATTERN_SUFFIX:
	case PATTERN_UNIX:
		return false;
	}
	CV_UNREACHABLE();
}

enum acl_verdict acl_check_dial(const struct acl *acl, const char *name, const struct addr *addr,
                                bool is_udp)
{
	struct addr a = addr_canonical(addr);
	bool is_allowed = false;
	bool is_own;

	a.scope = 0;
	/* 0.0.0.0 and :: connect to this host itself, whatever class a pattern thinks they are. */
	if (a.family == ADDR_NONE || addr_is_unspecified(&a) || a.port == 0)
		return ACL_DENY;
	if (acl->is_operators_own)
		return ACL_ALLOW;
	is_own = is_own_listener(acl, &a);
	for (size_t i = 0; i < acl->allow_count; i++) {
		if (!pattern_match_dial(&acl->allow[i], name, &a, is_udp))
			continue;
		is_allowed = true;
		if (!is_own || names_exactly(&acl->allow[i], &a))
			return ACL_ALLOW;
	}
	return is_allowed ? ACL_DENY_OWN : ACL_DENY;
}

/* Could an address that @name resolves to be allowed by @p? */
static bool may_match_name(const struct pattern *p, const struct hostport *to, bool is_udp)
{
	if (!pattern_match_port(p, to->port, is_udp))
		return false;
	switch (p->kind) {
	case PATTERN_NAME:
	case PATTERN_SUFFIX:
		return pattern_match_name(p, to->text);
	case PATTERN_ANY:
	case PATTERN_NET: /* any name may turn out to live in the network */
	case PATTERN_LOCALHOST:
		return true;
	case PATTERN_UNIX:
		return false;
	}
	CV_UNREACHABLE();
}

static enum acl_verdict check_unix(const struct acl *acl, const char *path)
{
	if (acl->is_operators_own)
		return ACL_ALLOW;
	for (size_t i = 0; i < acl->allow_count; i++) {
		if (pattern_match_unix(&acl->allow[i], path))
			return ACL_ALLOW;
	}
	return ACL_DENY;
}

enum acl_verdict acl_check_name(const struct acl *acl, const struct hostport *to, bool is_udp)
{
	struct addr addr;

	switch (to->kind) {
	case HOST_ADDR:
		addr = to->addr;
		addr.port = to->port;
		return acl_check_dial(acl, NULL, &addr, is_udp);
	case HOST_UNIX:
		return is_udp ? ACL_DENY : check_unix(acl, to->text);
	case HOST_NAME:
		if (to->port == 0)
			return ACL_DENY;
		if (acl->is_operators_own)
			return ACL_ALLOW;
		for (size_t i = 0; i < acl->allow_count; i++) {
			if (may_match_name(&acl->allow[i], to, is_udp))
				return ACL_ALLOW;
		}
		return ACL_DENY;
	case HOST_SERVICE:
	case HOST_NONE:
		return ACL_DENY;
	}
	CV_UNREACHABLE();
}

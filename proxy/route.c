/* SPDX-License-Identifier: MIT */
#include "proxy/route.h"

#include <string.h>

static bool rule_matches(const struct pattern *p, const struct hostport *target)
{
	struct addr ip;

	switch (target->kind) {
	case HOST_NAME:
		return pattern_match_name(p, target->text);
	case HOST_ADDR:
		break;
	case HOST_UNIX: /* what has no name and no address goes to the default peer */
	case HOST_SERVICE:
	case HOST_NONE:
		return false;
	}

	/*
	 * Not pattern_match_dial(): its exceptions for loopback and the like are a
	 * policy of who may connect, and here nobody connects yet.
	 */
	ip = addr_canonical(&target->addr);
	switch (p->kind) {
	case PATTERN_ANY:
		return true;
	case PATTERN_NET:
		return addr_in_net(&ip, &p->net, p->bits);
	case PATTERN_LOCALHOST:
		return addr_class(&ip) == ADDR_CLASS_LOOPBACK;
	case PATTERN_NAME:
	case PATTERN_SUFFIX:
	case PATTERN_UNIX:
		return false;
	}
	CV_UNREACHABLE();
}

/* True for "culvert" and everything below it. */
static bool is_own_name(const char *name)
{
	static const char suffix[] = ".culvert";
	size_t size = strlen(name), suffix_size = sizeof(suffix) - 1;

	if (strcmp(name, suffix + 1) == 0)
		return true;
	return size > suffix_size && strcmp(name + size - suffix_size, suffix) == 0;
}

/* SERVICE.PEER.culvert */
static uint32_t find_service(const struct route_table *t, const char *name, struct hostport *out)
{
	struct hostport service = { .kind = HOST_SERVICE };
	const char *dot = strchr(name, '.');
	const char *peer, *end;
	size_t service_size, peer_size;

	if (!dot)
		return ROUTE_NO_PEER;
	service_size = (size_t)(dot - name);
	peer = dot + 1;
	end = strchr(peer, '.');
	if (!end || strcmp(end, ".culvert") != 0 || !host_label_is_valid(name, service_size))
		return ROUTE_NO_PEER;
	peer_size = (size_t)(end - peer);
	for (size_t i = 0; i < t->peer_count; i++) {
		if (strlen(t->peer_names[i]) == peer_size &&
		    memcmp(t->peer_names[i], peer, peer_size) == 0) {
			memcpy(service.text, name, service_size);
			*out = service;
			return (uint32_t)i;
		}
	}
	return ROUTE_NO_PEER;
}

uint32_t route_find(const struct route_table *t, const struct hostport *target,
                    struct hostport *out)
{
	uint32_t peer = t->default_peer;

	CV_ASSERT(target->kind != HOST_NONE);
	if (target->kind == HOST_NAME && is_own_name(target->text))
		return find_service(t, target->text, out);
	for (size_t i = 0; i < t->rule_count; i++) {
		if (rule_matches(&t->rules[i].to, target)) {
			peer = t->rules[i].peer;
			break;
		}
	}
	if (peer != ROUTE_NO_PEER)
		*out = *target;
	return peer;
}

/* SPDX-License-Identifier: MIT */

/*
 * agent_manage - what the control socket may change about a running agent: another configuration,
 * its end, forwards that are in no configuration.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent_inner.h"
#include "config/value.h"
#include "reload.h"

static json_t *refusal(int exit_code, const char *error)
{
	return json_pack("{s:b,s:s,s:i}", "ok", 0, "error", error, "exit", exit_code);
}

/* "*:PORT" is every address; else as in a configuration. */
static int read_listen(const char *text, struct config_listen *out, char why[VALUE_WHY_MAX])
{
	struct hostport h;
	const char *cause;

	if (strncmp(text, "*:", 2) != 0)
		return value_read_listen(text, false, out, why);
	if (hostport_parse(text + 2, 0, &h, &cause) < 0 ||
	    text[2 + strspn(text + 2, "0123456789")]) {
		(void)snprintf(why, VALUE_WHY_MAX, "expected a port behind *:");
		return -EINVAL;
	}
	*out = (struct config_listen){ .text = text, .addr_count = 2 };
	out->addrs[0] = addr_v4(0, 0, 0, 0, h.port);
	out->addrs[1] = (struct addr){ .family = ADDR_V6, .port = h.port };
	return 0;
}

static json_t *add_forward(struct agent *a, const struct request *request)
{
	struct listener_role role = { .kind = LISTENER_ADDED, .is_udp = request->is_udp };
	struct config_listen at = { .text = NULL };
	char why[VALUE_WHY_MAX];
	json_t *addresses;
	unsigned first;

	role.peer = agent_peers_find(a, request->peer);
	if (role.peer == UINT32_MAX)
		return refusal(EXIT_USAGE, "no such peer is configured");
	if (read_listen(request->listen, &at, why) < 0 ||
	    value_read_target(request->target, &role.to, why) < 0)
		return refusal(EXIT_USAGE, why);
	if (role.is_udp && (at.unix_path || role.to.kind == HOST_UNIX))
		return refusal(EXIT_USAGE, "UDP has no unix sockets");
	memcpy(role.peer_name, request->peer, strlen(request->peer) + 1);
	if (listeners_add(&a->listeners, &at, &role, &first) < 0)
		return refusal(EXIT_FAILED, a->listeners.why);
	addresses = json_array();
	for (unsigned i = first; i < a->listeners.count; i++)
		(void)json_array_append_new(addresses, json_string(a->listeners.list[i]->address));
	return json_pack("{s:b,s:o}", "ok", 1, "addresses", addresses);
}

static json_t *remove_forward(struct agent *a, const struct request *request)
{
	struct config_listen at = { .text = NULL };
	char why[VALUE_WHY_MAX];

	if (read_listen(request->listen, &at, why) < 0)
		return refusal(EXIT_USAGE, why);
	if (listeners_remove(&a->listeners, &at, request->is_udp) < 0)
		return refusal(EXIT_FAILED, a->listeners.why);
	return json_pack("{s:b}", "ok", 1);
}

static json_t *list_forwards(const struct agent *a)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < a->listeners.count; i++) {
		const struct listener *l = a->listeners.list[i];
		char target[HOSTPORT_TEXT_MAX];

		if (l->role.kind != LISTENER_FORWARD && l->role.kind != LISTENER_ADDED)
			continue;
		(void)json_array_append_new(list,
		                            json_pack("{s:s,s:s,s:s,s:s,s:b}", "listen", l->address,
		                                      "peer", l->role.peer_name, "target",
		                                      hostport_format(&l->role.to, target),
		                                      "protocol", l->role.is_udp ? "udp" : "tcp",
		                                      "added", l->role.kind == LISTENER_ADDED));
	}
	return json_pack("{s:b,s:o}", "ok", 1, "forwards", list);
}

json_t *agent_manage(void *ctx, const struct request *request)
{
	struct agent *a = ctx;

	switch (request->verb) {
	case REQUEST_RELOAD:
		return reload_into_json(agent_reload, a);
	case REQUEST_STOP:
		agent_stop_soon(a);
		return json_pack("{s:b}", "ok", 1);
	case REQUEST_FORWARD:
		return add_forward(a, request);
	case REQUEST_FORWARD_REMOVE:
		return remove_forward(a, request);
	case REQUEST_FORWARDS:
		return list_forwards(a);
	case REQUEST_STATUS:
	case REQUEST_PING:
	case REQUEST_NC:
		break;
	}
	CV_UNREACHABLE();
}

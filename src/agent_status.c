/* SPDX-License-Identifier: MIT */

/*
 * agent_status - what the control socket asks of an agent: its state, pings, connections.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent_inner.h"
#include "base/alloc.h"
#include "flows/far_listen.h"
#include "flows/remote.h"
#include "status.h"

void agent_status_answer_pings(struct agent *a, cv_time now)
{
	for (size_t i = 0; i < CV_ARRAY_SIZE(a->pings); i++) {
		struct agent_ping *p = &a->pings[i];
		struct endpoint_ping got;
		const char *address;
		char text[ADDR_TEXT_MAX];

		/* Nothing is kept of a peer that is not asked for any more: it may be removed. */
		if (p->id != 0 && now >= p->until)
			p->id = 0;
		if (p->id == 0 || !endpoint_ping_result(a->endpoint, now, p->peer, &got))
			continue;
		/* A relay is known by the name that the user gave it. */
		address = got.server == UINT32_MAX ? addr_format(&got.address, text)
		                                   : agent_peers_server_name(a, got.server);
		for (size_t k = i; k < CV_ARRAY_SIZE(a->pings); k++) {
			/* One answer serves all who asked about this peer. */
			if (a->pings[k].id == 0 || a->pings[k].peer != p->peer)
				continue;
			control_ping_done(a->control, a->pings[k].id, got.rtt, got.path_kind,
			                  address);
			if (k != i)
				a->pings[k].id = 0;
		}
		p->id = 0;
	}
}

void agent_status_forget_peer(struct agent *a, uint32_t peer)
{
	for (size_t i = 0; i < CV_ARRAY_SIZE(a->pings); i++) {
		struct agent_ping *p = &a->pings[i];

		if (p->id == 0 || p->peer != peer)
			continue;
		control_ping_failed(a->control, p->id, EXIT_USAGE, "no such peer is configured");
		p->id = 0;
	}
}

/* Whose places are filled: the lists that the answer borrows. */
struct remote_lists {
	struct status_remote *remotes;
	struct remote_status *texts;
	struct far_listen_info *listened;
	size_t listened_count;
};

static int list_remotes(const struct bridge *b, struct remote_lists *l)
{
	size_t count = far_listen_list(b, NULL, 0);

	l->remotes = cv_zalloc_array(CV_MAX(b->remote_count, 1), sizeof(*l->remotes));
	l->texts = cv_zalloc_array(CV_MAX(b->remote_count, 1), sizeof(*l->texts));
	l->listened = cv_zalloc_array(CV_MAX(count, 1), sizeof(*l->listened));
	if (!l->remotes || !l->texts || !l->listened)
		return -1;
	l->listened_count = far_listen_list(b, l->listened, count);
	for (size_t i = 0; i < b->remote_count; i++) {
		struct remote_status *t = &l->texts[i];

		remote_status(b, i, t);
		l->remotes[i] = (struct status_remote){
			.peer = t->peer,
			.listen = t->listen,
			.to = t->to,
			.address = t->bound[0] ? t->bound : NULL,
			.why = t->why[0] ? t->why : NULL,
		};
	}
	return 0;
}

static json_t *on_status(void *ctx)
{
	static const char *const kinds[] = {
		[LISTENER_PROXY] = "proxy",
		[LISTENER_FORWARD] = "forward",
		[LISTENER_METRICS] = "metrics",
		[LISTENER_ADDED] = "forward",
	};
	struct agent *a = ctx;
	const struct config *c = a->config;
	cv_time now = clock_now();
	struct status_agent s = {
		.public_key = a->public_key,
		.uptime_s = (double)(now - a->started_at) / 1e9,
		.server_count = c->server_count,
		.peer_count = c->peer_count,
		.listener_count = a->listeners.count,
	};
	struct status_agent_server *servers =
		cv_zalloc_array(CV_MAX(c->server_count, 1), sizeof(*servers));
	struct status_agent_peer *peers = cv_zalloc_array(CV_MAX(c->peer_count, 1), sizeof(*peers));
	char(*keys)[KEY_TEXT_SIZE + 1] = cv_zalloc_array(CV_MAX(c->peer_count, 1), sizeof(*keys));
	struct status_listener *listeners = cv_zalloc_array(
		a->listeners.count + far_listen_list(&a->bridge, NULL, 0) + 1, sizeof(*listeners));
	struct remote_lists remote = { 0 };
	json_t *out = NULL;

	if (!servers || !peers || !keys || !listeners || list_remotes(&a->bridge, &remote) < 0)
		goto end;
	for (uint32_t i = 0; i < c->server_count; i++) {
		servers[i].address = c->servers[i].address.text;
		endpoint_server_stats(a->endpoint, a->server_slots[i], &servers[i].stats);
	}
	for (uint32_t i = 0; i < c->peer_count; i++) {
		base64_key_write(keys[i], c->peers[i].key.key);
		peers[i].name = c->peers[i].name;
		peers[i].public_key = keys[i];
		endpoint_peer_stats(a->endpoint, now, a->slots[i], &peers[i].stats);
	}
	for (unsigned i = 0; i < a->listeners.count; i++) {
		const struct listener *l = a->listeners.list[i];

		listeners[i] = (struct status_listener){
			.kind = kinds[l->role.kind],
			.address = l->address,
			.peer = l->role.kind == LISTENER_PROXY ? c->proxies[l->role.index].peer.name
			                                       : l->role.peer_name,
		};
		if (l->role.kind == LISTENER_METRICS)
			listeners[i].peer = NULL;
	}
	for (size_t i = 0; i < remote.listened_count; i++)
		listeners[s.listener_count++] =
			(struct status_listener){ "remote_forward", remote.listened[i].address,
			                          remote.listened[i].peer };
	s.remotes = remote.remotes;
	s.remote_count = a->bridge.remote_count;
	s.servers = servers;
	s.peers = peers;
	s.listeners = listeners;
	mapping_status(&a->mapping, &s.portmap);
	endpoint_nat_stats(a->endpoint, now, &s.nat);
	out = status_agent_json(&s);
end:
	cv_free(servers);
	cv_free(peers);
	cv_free(keys);
	cv_free(listeners);
	cv_free(remote.remotes);
	cv_free(remote.texts);
	cv_free(remote.listened);
	return out;
}

/* Valid until the next call. */
static const char *why_down(struct agent *a, cv_time now, uint32_t peer)
{
	static char text[ENDPOINT_WHY_MAX + 32];
	struct endpoint_peer_stats stats;

	endpoint_peer_stats(a->endpoint, now, peer, &stats);
	(void)snprintf(text, sizeof(text), "the peer is not connected: %s", stats.why);
	return text;
}

static int on_ping(void *ctx, const char *peer, uint64_t id, const char **why)
{
	struct agent *a = ctx;
	uint32_t number = agent_peers_find(a, peer);
	cv_time now = clock_now();

	if (number == UINT32_MAX) {
		*why = "no such peer is configured";
		return EXIT_USAGE;
	}
	for (size_t k = 0; k < CV_ARRAY_SIZE(a->pings); k++) {
		if (a->pings[k].id != 0)
			continue;
		endpoint_want_peer(a->endpoint, now, number);
		udp_port_kick(a->port);
		if (endpoint_peer_state(a->endpoint, number) == PEER_DOWN) {
			*why = why_down(a, now, number);
			return EXIT_UNREACHABLE;
		}
		a->pings[k] = (struct agent_ping){
			.id = id,
			.peer = number,
			.until = cv_time_after(now, CONTROL_PING_TIMEOUT),
		};
		endpoint_ping(a->endpoint, now, number);
		return 0;
	}
	*why = "too many pings at once";
	return EXIT_FAILED;
}

static int on_nc(void *ctx, const char *peer, const char *target, struct tcp_conn *conn,
                 const uint8_t *early, size_t early_size, const char **why)
{
	int r = near_accept_nc(&((struct agent *)ctx)->bridge, peer, target, conn, early,
	                       early_size, why);

	return r == 0 ? 0 : r == -EMFILE ? EXIT_FAILED : EXIT_USAGE;
}

const struct control_ops agent_status_ops = {
	.status = on_status,
	.ping = on_ping,
	.nc = on_nc,
	.manage = agent_manage,
};

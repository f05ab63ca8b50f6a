/* SPDX-License-Identifier: MIT */

/*
 * agent_peers - the peers and servers of the configuration, as the core knows them: by numbers that
 * stay the same over reloads. A peer is its public key: whoever renames one keeps its session.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "agent_inner.h"
#include "base/alloc.h"
#include "base/log.h"
#include "config/keyfile.h"

/* ---- addresses ---- */

/* NULL: no longer configured. */
static const struct config_host *address_of(const struct agent *a, const struct agent_lookup *l)
{
	const struct agent_peer *p = l->is_server ? &a->servers[l->number] : &a->peers[l->number];

	if (!p->is_used)
		return NULL;
	return l->is_server ? &a->config->servers[p->index].address
	                    : &a->config->peers[p->index].address;
}

static void set_addresses(struct agent_lookup *l, cv_time now, const struct addr *list,
                          unsigned count)
{
	if (l->is_server)
		endpoint_set_server_addresses(l->agent->endpoint, now, l->number, list, count);
	else
		endpoint_set_peer_addresses(l->agent->endpoint, now, l->number, list, count);
	udp_port_kick(l->agent->port);
}

static void start_lookup(struct agent_lookup *l, const struct hostport *host);

static void on_lookup(void *ctx, uint64_t id, enum resolver_verdict verdict,
                      const struct addr *list, unsigned count)
{
	struct agent_lookup *l = ctx;
	const struct config_host *address = address_of(l->agent, l);
	bool is_wanted_again = l->is_wanted_again;

	(void)id;
	l->id = 0;
	if (!address)
		return;
	if (verdict != RESOLVER_OK && is_wanted_again) {
		/* Most of its time may have gone by in another network. */
		start_lookup(l, &address->host);
		return;
	}
	if (verdict != RESOLVER_OK) {
		log_warn("%s does not resolve: %s", address->text,
		         verdict == RESOLVER_NOT_FOUND ? "no such name" : "no answer");
		count = 0;
	}
	set_addresses(l, clock_now(), list, count);
}

static void start_lookup(struct agent_lookup *l, const struct hostport *host)
{
	l->is_wanted_again = false;
	l->id = resolver_start(l->agent->resolver, UINT64_MAX, host->text, host->port, on_lookup,
	                       l);
}

void agent_peers_resolve(struct agent *a, cv_time now, bool is_server, uint32_t number)
{
	const struct agent_peer *p = is_server ? &a->servers[number] : &a->peers[number];
	const struct config_host *address = p->is_used ? address_of(a, p->lookup) : NULL;
	const struct hostport *host = address ? &address->host : NULL;

	if (host && host->kind == HOST_ADDR) {
		struct addr addr = addr_canonical(&host->addr);

		addr.port = host->port;
		set_addresses(p->lookup, now, &addr, 1);
	} else if (host && host->kind == HOST_NAME && p->lookup->id == 0) {
		start_lookup(p->lookup, host);
	} else if (host && host->kind == HOST_NAME) {
		p->lookup->is_wanted_again = true;
	}
}

/* ---- names ---- */

const char *agent_peers_name(const struct agent *a, uint32_t peer)
{
	const struct agent_peer *p = &a->peers[peer];

	return p->is_used ? a->config->peers[p->index].name : "-";
}

const char *agent_peers_server_name(const struct agent *a, uint32_t server)
{
	const struct agent_peer *p = &a->servers[server];

	return p->is_used ? a->config->servers[p->index].address.text : "-";
}

uint32_t agent_peers_find(const struct agent *a, const char *name)
{
	for (size_t i = 0; i < a->config->peer_count; i++) {
		if (strcmp(a->config->peers[i].name, name) == 0)
			return a->slots[i];
	}
	return UINT32_MAX;
}

/* ---- into the core ---- */

static int reserve(struct agent *a, uint32_t size)
{
	struct agent_peer *peers;

	if (size <= a->peers_size)
		return 0;
	peers = cv_zalloc_array(size, sizeof(*peers));
	if (!peers)
		return -ENOMEM;
	if (a->peers)
		memcpy(peers, a->peers, a->peers_size * sizeof(*peers));
	cv_free(a->peers);
	a->peers = peers;
	a->peers_size = size;
	return 0;
}

static int make_lookup(struct agent *a, struct agent_peer *p, uint32_t number, bool is_server)
{
	CV_ASSERT(!p->lookup);
	p->lookup = cv_zalloc(sizeof(*p->lookup));
	if (!p->lookup)
		return -ENOMEM;
	*p->lookup = (struct agent_lookup){
		.agent = a,
		.number = number,
		.is_server = is_server,
	};
	return 0;
}

static void forget(struct agent *a, struct agent_peer *p)
{
	if (p->lookup && p->lookup->id)
		resolver_cancel(a->resolver, p->lookup->id);
	cv_free(p->lookup);
	*p = (struct agent_peer){ .is_used = false };
}

static bool is_same_address(const struct config_host *a, const struct config_host *b)
{
	return hostport_equal(&a->host, &b->host);
}

/* ---- the next configuration ---- */

static int fail(struct agent_plan *plan, int code, const char *fmt, ...) CV_PRINTF(3, 4);
static int fail(struct agent_plan *plan, int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(plan->why, sizeof(plan->why), fmt, args);
	va_end(args);
	return code;
}

/* The number of the peer with this key; UINT32_MAX: none is configured. */
static uint32_t find_key(const struct agent *a, const uint8_t key[KEY_SIZE])
{
	for (uint32_t i = 0; i < a->peers_size; i++) {
		const struct agent_peer *p = &a->peers[i];

		if (p->is_used && memcmp(a->config->peers[p->index].key.key, key, KEY_SIZE) == 0)
			return i;
	}
	return UINT32_MAX;
}

static struct endpoint_peer options_of(const struct agent_plan *plan, uint32_t index)
{
	static const uint8_t policies[] = {
		[CONFIG_PATH_AUTO] = POLICY_AUTO,
		[CONFIG_PATH_DIRECT] = POLICY_DIRECT,
		[CONFIG_PATH_RELAY] = POLICY_RELAY,
	};
	const struct config_peer *p = &plan->config->peers[index];

	return (struct endpoint_peer){
		.pk = p->key.key,
		.psk = p->psk.path ? plan->psks[index] : NULL,
		.policy = policies[p->path],
		.has_address = p->address.host.kind != HOST_NONE,
	};
}

static int plan_peer(struct agent *a, struct agent_plan *plan, cv_time now, uint32_t index)
{
	const struct config_peer *p = &plan->config->peers[index];
	struct endpoint_peer opt;
	char why[KEYFILE_WHY_MAX];
	uint32_t number = find_key(a, p->key.key);
	int r;

	if (p->psk.path && keyfile_read(p->psk.path, plan->psks[index], why) < 0)
		return fail(plan, -EINVAL, "%s", why);
	opt = options_of(plan, index);
	plan->slots[index] = number;
	plan->peers_size = CV_MAX(plan->peers_size, number + 1);
	if (number != UINT32_MAX)
		return 0;
	r = endpoint_add_peer(a->endpoint, now, &opt, &number);
	if (r < 0)
		return fail(plan, r, "%s:%u: peer '%s': %s", plan->config->file, p->mark.line,
		            p->name,
		            r == -EINVAL ? "its key cannot be used (our own, or not a public key)"
		                         : uv_strerror(r));
	plan->slots[index] = number;
	plan->is_new[index] = true;
	plan->peers_size = CV_MAX(plan->peers_size, number + 1);
	r = reserve(a, number + 1);
	if (r == 0)
		r = make_lookup(a, &a->peers[number], number, false);
	return r == 0 ? 0 : fail(plan, r, "out of memory");
}

static uint32_t find_server(const struct agent *a, const struct config_server_ref *s)
{
	for (uint32_t i = 0; i < ENDPOINT_SERVERS_MAX; i++) {
		const struct agent_peer *p = &a->servers[i];
		const struct config_server_ref *old =
			p->is_used ? &a->config->servers[p->index] : NULL;

		if (old && memcmp(old->key.key, s->key.key, KEY_SIZE) == 0 &&
		    is_same_address(&old->address, &s->address))
			return i;
	}
	return UINT32_MAX;
}

static int plan_server(struct agent *a, struct agent_plan *plan, cv_time now, uint32_t index)
{
	const struct config_server_ref *s = &plan->config->servers[index];
	uint32_t number = find_server(a, s);
	int r;

	plan->server_slots[index] = number;
	if (number != UINT32_MAX)
		return 0;
	r = endpoint_add_server(a->endpoint, now, s->key.key, &number);
	if (r < 0)
		return fail(plan, r,
		            "%s:%u: this server cannot be used (its key, or more than %d of them, "
		            "new ones and those that go together)",
		            plan->config->file, s->mark.line, ENDPOINT_SERVERS_MAX);
	plan->server_slots[index] = number;
	plan->server_is_new[index] = true;
	r = make_lookup(a, &a->servers[number], number, true);
	return r == 0 ? 0 : fail(plan, r, "out of memory");
}

static void drop_plan(struct agent_plan *plan)
{
	if (plan->psks)
		keyfile_wipe(plan->psks[0], plan->config->peer_count * sizeof(plan->psks[0]));
	cv_free(plan->psks);
	cv_free(plan->is_new);
	cv_free(plan->slots);
	plan->psks = NULL;
	plan->is_new = NULL;
	plan->slots = NULL;
}

int agent_peers_prepare(struct agent *a, cv_time now, const struct config *config,
                        struct agent_plan *plan)
{
	size_t room = CV_MAX(config->peer_count, 1);
	int r = 0;

	*plan = (struct agent_plan){ .config = config };
	plan->slots = cv_zalloc_array(room, sizeof(*plan->slots));
	plan->is_new = cv_zalloc_array(room, sizeof(*plan->is_new));
	plan->psks = cv_zalloc_array(room, sizeof(*plan->psks));
	if (!plan->slots || !plan->is_new || !plan->psks)
		r = fail(plan, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < config->peer_count && r == 0; i++)
		r = plan_peer(a, plan, now, i);
	if (r == 0 && config->server_count > ENDPOINT_SERVERS_MAX)
		r = fail(plan, -ENOBUFS, "%s: more than %d servers", config->file,
		         ENDPOINT_SERVERS_MAX);
	for (uint32_t i = 0; i < config->server_count && r == 0; i++)
		r = plan_server(a, plan, now, i);
	if (r < 0)
		agent_peers_abort(a, now, plan);
	return r;
}

void agent_peers_abort(struct agent *a, cv_time now, struct agent_plan *plan)
{
	for (uint32_t i = 0; plan->is_new && i < plan->config->peer_count; i++) {
		if (!plan->is_new[i])
			continue;
		endpoint_remove_peer(a->endpoint, now, plan->slots[i]);
		if (plan->slots[i] < a->peers_size)
			forget(a, &a->peers[plan->slots[i]]);
	}
	for (uint32_t i = 0; i < ENDPOINT_SERVERS_MAX; i++) {
		if (!plan->server_is_new[i])
			continue;
		endpoint_remove_server(a->endpoint, now, plan->server_slots[i]);
		forget(a, &a->servers[plan->server_slots[i]]);
	}
	drop_plan(plan);
}

static void remove_others(struct agent *a, cv_time now, const struct agent_plan *plan)
{
	const struct config *c = plan->config;

	/* Whoever stays is marked by the place that he has in the file now. */
	for (uint32_t i = 0; i < a->peers_size; i++)
		a->peers[i].is_staying = false;
	for (uint32_t i = 0; i < c->peer_count; i++)
		a->peers[plan->slots[i]].is_staying = true;
	for (uint32_t i = 0; i < a->peers_size; i++) {
		if (!a->peers[i].is_used || a->peers[i].is_staying)
			continue;
		log_info("peer removed peer=%s", a->bridge.peers[i].name);
		agent_status_forget_peer(a, i);
		endpoint_remove_peer(a->endpoint, now, i);
		forget(a, &a->peers[i]);
	}
	for (uint32_t i = 0; i < ENDPOINT_SERVERS_MAX; i++)
		a->servers[i].is_staying = false;
	for (uint32_t i = 0; i < c->server_count; i++)
		a->servers[plan->server_slots[i]].is_staying = true;
	for (uint32_t i = 0; i < ENDPOINT_SERVERS_MAX; i++) {
		if (!a->servers[i].is_used || a->servers[i].is_staying)
			continue;
		endpoint_remove_server(a->endpoint, now, i);
		forget(a, &a->servers[i]);
	}
}

static void commit_peer(struct agent *a, cv_time now, const struct config *before,
                        const struct agent_plan *plan, uint32_t index)
{
	const struct config_peer *p = &plan->config->peers[index];
	uint32_t number = plan->slots[index];
	struct agent_peer *peer = &a->peers[number];
	struct endpoint_peer opt = options_of(plan, index);
	bool has_moved =
		peer->is_used && !is_same_address(&before->peers[peer->index].address, &p->address);

	if (!plan->is_new[index] && endpoint_change_peer(a->endpoint, now, number, &opt) < 0)
		log_error("peer '%s' keeps its pre-shared key: too many of its sessions have "
		          "just ended",
		          p->name);
	if (has_moved && peer->lookup->id) {
		resolver_cancel(a->resolver, peer->lookup->id);
		peer->lookup->id = 0;
	}
	peer->index = index;
	peer->is_used = true;
	if (has_moved && opt.has_address)
		agent_peers_resolve(a, now, false, number);
}

void agent_peers_commit(struct agent *a, cv_time now, const struct config *before,
                        struct agent_plan *plan)
{
	remove_others(a, now, plan);
	for (uint32_t i = 0; i < plan->config->peer_count; i++)
		commit_peer(a, now, before, plan, i);
	for (uint32_t i = 0; i < plan->config->server_count; i++) {
		uint32_t number = plan->server_slots[i];

		a->servers[number].index = i;
		a->servers[number].is_used = true;
		endpoint_tcp_set_port(a->endpoint, number,
		                      (uint16_t)plan->config->servers[i].tcp_port);
		a->server_slots[i] = number;
	}
	cv_free(a->slots);
	a->slots = plan->slots;
	plan->slots = NULL;
	drop_plan(plan);
}

void agent_peers_close(struct agent *a)
{
	/* The resolver has gone: its lookups, too. */
	for (uint32_t i = 0; i < a->peers_size; i++)
		cv_free(a->peers[i].lookup);
	for (uint32_t i = 0; i < ENDPOINT_SERVERS_MAX; i++)
		cv_free(a->servers[i].lookup);
	cv_free(a->peers);
	cv_free(a->slots);
}

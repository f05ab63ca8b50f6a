/* SPDX-License-Identifier: MIT */

/*
 * agent_peers - the peers and servers of the configuration, as the core knows them: by numbers that
 * stay the same over reloads. A peer is its public key: whoever renames one keeps its session.
 */
#include <errno.h>
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

static void on_lookup(void *ctx, uint64_t id, enum resolver_verdict verdict,
                      const struct addr *list, unsigned count)
{
	struct agent_lookup *l = ctx;
	const struct config_host *address = address_of(l->agent, l);

	(void)id;
	l->id = 0;
	if (!address)
		return;
	if (verdict != RESOLVER_OK) {
		log_warn("%s does not resolve: %s", address->text,
		         verdict == RESOLVER_NOT_FOUND ? "no such name" : "no answer");
		count = 0;
	}
	set_addresses(l, clock_now(), list, count);
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
		p->lookup->id = resolver_start(a->resolver, UINT64_MAX, host->text, host->port,
		                               on_lookup, p->lookup);
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

static int begin(struct agent *a, struct agent_peer *p, uint32_t index, uint32_t number,
                 bool is_server)
{
	p->lookup = cv_zalloc(sizeof(*p->lookup));
	if (!p->lookup)
		return -ENOMEM;
	*p->lookup = (struct agent_lookup){
		.agent = a,
		.number = number,
		.is_server = is_server,
	};
	p->index = index;
	p->is_used = true;
	return 0;
}

static void end(struct agent_peer *p)
{
	cv_free(p->lookup);
	*p = (struct agent_peer){ .is_used = false };
}

static int add_peer(struct agent *a, uint32_t index)
{
	static const uint8_t policies[] = {
		[CONFIG_PATH_AUTO] = POLICY_AUTO,
		[CONFIG_PATH_DIRECT] = POLICY_DIRECT,
		[CONFIG_PATH_RELAY] = POLICY_RELAY,
	};
	const struct config_peer *p = &a->config->peers[index];
	char why[KEYFILE_WHY_MAX];
	uint8_t psk[KEY_SIZE];
	struct endpoint_peer opt = {
		.pk = p->key.key,
		.psk = p->psk.path ? psk : NULL,
		.policy = policies[p->path],
		.has_address = p->address.host.kind != HOST_NONE,
	};
	uint32_t number;
	int r;

	if (p->psk.path && keyfile_read(p->psk.path, psk, why) < 0) {
		log_error("%s", why);
		return -1;
	}
	r = endpoint_add_peer(a->endpoint, a->started_at, &opt, &number);
	keyfile_wipe(psk, sizeof(psk));
	if (r == 0)
		r = reserve(a, number + 1);
	if (r == 0)
		r = begin(a, &a->peers[number], index, number, false);
	if (r == 0)
		a->slots[index] = number;
	if (r < 0)
		log_error("%s:%u: peer '%s': %s", a->config->file, p->mark.line, p->name,
		          r == -EINVAL ? "its key cannot be used (our own, or not a public key)"
		                       : uv_strerror(r));
	return r;
}

static int add_server(struct agent *a, uint32_t index)
{
	const struct config_server_ref *s = &a->config->servers[index];
	uint32_t number;

	if (endpoint_add_server(a->endpoint, a->started_at, s->key.key, &number) < 0 ||
	    begin(a, &a->servers[number], index, number, true) < 0) {
		log_error("%s:%u: this server cannot be used (its key, or more than %d of them)",
		          a->config->file, s->mark.line, ENDPOINT_SERVERS_MAX);
		return -1;
	}
	endpoint_tcp_set_port(a->endpoint, number, (uint16_t)s->tcp_port);
	a->server_slots[index] = number;
	return 0;
}

int agent_peers_open(struct agent *a)
{
	const struct config *c = a->config;

	a->slots = cv_zalloc_array(CV_MAX(c->peer_count, 1), sizeof(*a->slots));
	if (!a->slots || reserve(a, CV_MAX((uint32_t)c->peer_count, 1)) < 0) {
		log_error("out of memory");
		return -1;
	}
	for (uint32_t i = 0; i < c->peer_count; i++) {
		if (add_peer(a, i) < 0)
			return -1;
	}
	for (uint32_t i = 0; i < c->server_count; i++) {
		if (add_server(a, i) < 0)
			return -1;
	}
	return 0;
}

void agent_peers_close(struct agent *a)
{
	for (uint32_t i = 0; i < a->peers_size; i++)
		end(&a->peers[i]);
	for (uint32_t i = 0; i < ENDPOINT_SERVERS_MAX; i++)
		end(&a->servers[i]);
	cv_free(a->peers);
	cv_free(a->slots);
}

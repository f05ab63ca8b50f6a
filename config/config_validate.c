/* SPDX-License-Identifier: MIT */
#include "config/config_validate.h"

#include <string.h>

#include "config/keyfile.h"
#include "config/schema.h"

static const struct report_mark whole_file = { 0 };

/* Finds the peer that @ref names. */
static void resolve(struct config *c, struct config_peer_ref *ref, struct report *report)
{
	const char *like = NULL;
	unsigned distance = HOST_LABEL_MAX;

	if (!ref->name)
		return;
	for (size_t i = 0; i < c->peer_count; i++) {
		if (strcmp(c->peers[i].name, ref->name) == 0) {
			ref->index = (uint32_t)i;
			return;
		}
		if (schema_is_like(ref->name, c->peers[i].name, &distance))
			like = c->peers[i].name;
	}
	if (like)
		report_add(report, REPORT_ERROR, ref->mark,
		           "unknown peer '%.80s' (did you mean '%s'?)", ref->name, like);
	else
		report_add(report, REPORT_ERROR, ref->mark, "unknown peer '%.80s'", ref->name);
}

static void resolve_all(struct config *c, struct report *report)
{
	for (size_t i = 0; i < c->proxy_count; i++) {
		struct config_proxy *p = &c->proxies[i];

		resolve(c, &p->peer, report);
		for (size_t k = 0; k < p->route_count; k++)
			resolve(c, &p->routes[k].peer, report);
	}
	for (size_t i = 0; i < c->forward_count; i++)
		resolve(c, &c->forwards[i].peer, report);
	for (size_t i = 0; i < c->remote_forward_count; i++)
		resolve(c, &c->remote_forwards[i].peer, report);
	for (size_t i = 0; i < c->service_count; i++) {
		struct config_service *s = &c->services[i];

		for (size_t k = 0; k < s->allow_count; k++)
			resolve(c, &s->allow[k], report);
	}
}

static bool is_local(const struct config_listen *l)
{
	for (uint8_t i = 0; i < l->addr_count; i++) {
		if (addr_class(&l->addrs[i]) != ADDR_CLASS_LOOPBACK)
			return false;
	}
	return true;
}

static void check_proxy(const struct config_proxy *p, struct report *report)
{
	if (!p->peer.name && p->route_count == 0)
		report_add(report, REPORT_ERROR, p->mark, "a proxy needs 'peer' or 'routes'");
	if (!is_local(&p->listen) && p->user_count == 0 && !p->is_open)
		report_add(report, REPORT_ERROR, p->listen.mark,
		           "anybody who reaches %s could use this proxy: set 'users', or say "
		           "'open: true'",
		           p->listen.text);
}

static void check_peer(const struct config *c, size_t index, struct report *report)
{
	const struct config_peer *p = &c->peers[index];

	if (p->address.host.kind == HOST_NONE && c->server_count == 0)
		report_add(report, REPORT_WARNING, p->mark,
		           "'%s' has no 'address' and there are no 'servers': only it can connect "
		           "to this agent",
		           p->name);
	if (p->path == CONFIG_PATH_RELAY && c->server_count == 0)
		report_add(report, REPORT_WARNING, p->mark,
		           "'%s' may only be relayed, and there are no 'servers'", p->name);
	if (!p->key.is_set)
		return;
	for (size_t i = 0; i < index; i++) {
		if (!c->peers[i].key.is_set ||
		    memcmp(c->peers[i].key.key, p->key.key, KEY_SIZE) != 0)
			continue;
		report_add(report, REPORT_ERROR, p->key.mark, "the same key as peer '%s' (line %u)",
		           c->peers[i].name, c->peers[i].key.mark.line);
		return;
	}
}

static bool is_same_place(const struct config_listen *a, const struct config_listen *b)
{
	if (a->unix_path && b->unix_path)
		return strcmp(a->unix_path, b->unix_path) == 0;
	for (uint8_t i = 0; i < a->addr_count; i++) {
		for (uint8_t k = 0; k < b->addr_count; k++) {
			if (a->addrs[i].port != 0 && addr_equal(&a->addrs[i], &b->addrs[k]))
				return true;
		}
	}
	return false;
}

/* The n-th of all places where clients connect: proxies, then forwards. */
static const struct config_listen *client_listen(const struct config *c, size_t n)
{
	return n < c->proxy_count ? &c->proxies[n].listen : &c->forwards[n - c->proxy_count].listen;
}

/* A port of TCP and the same of UDP are two. */
static bool is_udp(const struct config *c, size_t n)
{
	return n >= c->proxy_count && c->forwards[n - c->proxy_count].protocol == CONFIG_UDP;
}

/* Quadratic, of at most a thousand and some. */
static void check_places(const struct config *c, struct report *report)
{
	size_t count = c->proxy_count + c->forward_count;

	for (size_t i = 1; i < count; i++) {
		const struct config_listen *l = client_listen(c, i);

		for (size_t k = 0; k < i; k++) {
			if (is_udp(c, i) != is_udp(c, k) || !is_same_place(l, client_listen(c, k)))
				continue;
			report_add(report, REPORT_ERROR, l->mark,
			           "%s is listened on twice (first on line %u)", l->text,
			           client_listen(c, k)->mark.line);
			break;
		}
	}
}

/* The same among the tunnel's ports of one kind. */
static void check_ports(const struct config_listen *list, size_t count, struct report *report)
{
	for (size_t i = 1; i < count; i++) {
		for (size_t k = 0; k < i; k++) {
			if (!is_same_place(&list[i], &list[k]))
				continue;
			report_add(report, REPORT_ERROR, list[i].mark,
			           "%s is listened on twice (first on line %u)", list[i].text,
			           list[k].mark.line);
			break;
		}
	}
}

static void check_server(struct config *c, struct report *report)
{
	struct config_server *s = &c->server;

	for (size_t i = 0; i < s->listen_count; i++) {
		if (s->listen[i].addr_count > 0 && s->listen[i].addrs[0].port == UINT16_MAX)
			report_add(report, REPORT_ERROR, s->listen[i].mark,
			           "the next port up is needed too, so 65534 is the last one");
	}
	for (size_t i = 0; i < s->access_count; i++) {
		if (s->access[i].is_anyone && s->access_count > 1)
			report_add(report, REPORT_ERROR, s->access[i].mark,
			           "'anyone' stands alone; with keys the list is what counts");
		s->access_anyone = s->access_anyone || s->access[i].is_anyone;
	}
	if (s->access_anyone) {
		s->access = NULL;
		s->access_count = 0;
	}
	check_ports(s->listen, s->listen_count, report);
	check_ports(s->tcp, s->tcp_count, report);
}

/* What leads to a target of this agent's own side. */
static void check_own_target(const struct config_host *to, const char *what, struct report *report)
{
	if (to->host.kind == HOST_SERVICE)
		report_add(report, REPORT_ERROR, to->mark,
		           "%s leads to a target of this agent, which is named here, not by "
		           "service:NAME",
		           what);
}

static void check_remote_forward(const struct config *c, size_t index, struct report *report)
{
	const struct config_forward *f = &c->remote_forwards[index];

	check_own_target(&f->to, "a remote forward", report);
	for (size_t i = 0; i < index; i++) {
		const struct config_forward *other = &c->remote_forwards[i];

		if (!f->peer.name || !other->peer.name ||
		    strcmp(f->peer.name, other->peer.name) != 0 || f->protocol != other->protocol ||
		    !is_same_place(&f->listen, &other->listen))
			continue;
		report_add(report, REPORT_ERROR, f->listen.mark,
		           "%s is listened on twice at peer '%s' (first on line %u)",
		           f->listen.text, f->peer.name, other->listen.mark.line);
		return;
	}
}

static void check_service(const struct config_service *s, struct report *report)
{
	check_own_target(&s->to, "a service", report);
	if (s->allow_count == 0)
		report_add(report, REPORT_WARNING, s->mark,
		           "service '%s' has no 'allow': nobody may use it", s->name);
}

/* Listeners have addresses: a name would never match, silently. */
static void check_allow_listen(const struct config_peer *p, struct report *report)
{
	for (size_t i = 0; i < p->allow_listen_count; i++) {
		const struct config_pattern *l = &p->allow_listen[i];

		if (l->pattern.kind == PATTERN_NAME || l->pattern.kind == PATTERN_SUFFIX)
			report_add(report, REPORT_ERROR, l->mark,
			           "a listener has an address, not a name: expected an address, a "
			           "network, localhost, * or unix:/path before the ports, found "
			           "'%.120s'",
			           l->text);
	}
}

static void check_protocol(enum config_protocol protocol, const struct config_listen *listen,
                           const struct config_host *to, struct report *report)
{
	if (protocol != CONFIG_UDP)
		return;
	if (listen && listen->unix_path)
		report_add(report, REPORT_ERROR, listen->mark,
		           "'protocol: udp' needs an address: unix sockets are for tcp");
	if (to->host.kind == HOST_UNIX)
		report_add(report, REPORT_ERROR, to->mark,
		           "'protocol: udp' needs a host and a port: unix sockets are for tcp");
}

static void check_protocols(const struct config *c, struct report *report)
{
	for (size_t i = 0; i < c->forward_count; i++)
		check_protocol(c->forwards[i].protocol, &c->forwards[i].listen, &c->forwards[i].to,
		               report);
	for (size_t i = 0; i < c->remote_forward_count; i++)
		check_protocol(c->remote_forwards[i].protocol, &c->remote_forwards[i].listen,
		               &c->remote_forwards[i].to, report);
	for (size_t i = 0; i < c->service_count; i++)
		check_protocol(c->services[i].protocol, NULL, &c->services[i].to, report);
}

static void check_agent(const struct config *c, struct report *report)
{
	for (size_t i = 0; i < c->peer_count; i++) {
		check_peer(c, i, report);
		check_allow_listen(&c->peers[i], report);
	}
	for (size_t i = 0; i < c->remote_forward_count; i++)
		check_remote_forward(c, i, report);
	for (size_t i = 0; i < c->service_count; i++)
		check_service(&c->services[i], report);
	for (size_t i = 0; i < c->proxy_count; i++)
		check_proxy(&c->proxies[i], report);
	check_protocols(c, report);
	check_places(c, report);
	check_ports(c->listen, c->listen_count, report);
}

static void check_role(const struct config *c, enum config_role role, struct report *report)
{
	if (role == CONFIG_ROLE_CLIENT)
		return;
	if (!c->identity.path && c->identity.mark.line == 0)
		report_add(
			report, REPORT_ERROR, whole_file,
			"'identity' is missing: the private key file that culvert keygen writes");
	if (role == CONFIG_ROLE_SERVER && !c->server.is_set)
		report_add(report, REPORT_ERROR, whole_file,
		           "'server' is missing; its smallest form is server: { access: anyone }");
	if (c->peer_count == 0 &&
	    (role == CONFIG_ROLE_AGENT || (role == CONFIG_ROLE_CHECK && !c->server.is_set)))
		report_add(report, REPORT_WARNING, whole_file,
		           "no 'peers': nothing can be reached");
}

void config_validate(struct config *config, enum config_role role, struct report *report)
{
	resolve_all(config, report);
	check_agent(config, report);
	check_server(config, report);
	check_role(config, role, report);
}

static void try_keyfile(const struct config_keyfile *f, const char *what, struct report *report)
{
	uint8_t key[KEY_SIZE];
	char why[KEYFILE_WHY_MAX];

	if (!f->path)
		return;
	if (keyfile_read(f->path, key, why) < 0)
		report_add(report, REPORT_ERROR, f->mark, "'%s': %s", what, why);
	keyfile_wipe(key, sizeof(key));
}

void config_validate_keyfiles(const struct config *config, struct report *report)
{
	try_keyfile(&config->identity, "identity", report);
	for (size_t i = 0; i < config->peer_count; i++)
		try_keyfile(&config->peers[i].psk, "psk", report);
}

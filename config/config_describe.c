/* SPDX-License-Identifier: MIT */
#include <inttypes.h>

#include "config/config.h"

/* In whole MiB, rounded up: this is about the size of a machine. */
static uint64_t in_mib(uint64_t bytes)
{
	return (bytes + (1u << 20) - 1) >> 20;
}

static void describe_listen(const struct config_listen *l, FILE *out)
{
	char text[ADDR_TEXT_MAX];

	if (l->unix_path)
		(void)fprintf(out, "unix:%s", l->unix_path);
	for (uint8_t i = 0; i < l->addr_count; i++)
		(void)fprintf(out, "%s%s", i > 0 ? " and " : "", addr_format(&l->addrs[i], text));
}

static void describe_ports(const char *protocol, const struct config_listen *list, size_t count,
                           FILE *out)
{
	for (size_t i = 0; i < count; i++) {
		(void)fprintf(out, "listens on %s ", protocol);
		describe_listen(&list[i], out);
		(void)fprintf(out, "%s\n",
		              list[i].addr_count > 0 && list[i].addrs[0].port == 0
		                      ? " (any free port)"
		                      : "");
	}
}

static const char *path_text(enum config_path_policy path)
{
	switch (path) {
	case CONFIG_PATH_AUTO:
		return "directly where possible, else relayed";
	case CONFIG_PATH_DIRECT:
		return "directly only";
	case CONFIG_PATH_RELAY:
		return "relayed only";
	}
	CV_UNREACHABLE();
}

static void describe_peer(const struct config_peer *p, FILE *out)
{
	char key[KEY_TEXT_SIZE + 1];
	char host[HOSTPORT_TEXT_MAX];

	base64_key_write(key, p->key.key);
	(void)fprintf(out, "peer %s: key %s%s", p->name, key,
	              p->psk.path ? " and a pre-shared key" : "");
	if (p->address.host.kind != HOST_NONE)
		(void)fprintf(out, ", at %s", hostport_format(&p->address.host, host));
	(void)fprintf(out, "; %s\n", path_text(p->path));
	if (p->allow_count == 0)
		(void)fprintf(out, "  may reach nothing through this agent\n");
	for (size_t i = 0; i < p->allow_count; i++)
		(void)fprintf(out, "  may reach %s\n", p->allow[i].text);
	for (size_t i = 0; i < p->allow_listen_count; i++)
		(void)fprintf(out, "  may listen here on %s\n", p->allow_listen[i].text);
}

/* @is_remote: the peer listens, and this agent connects. */
static void describe_forward(const struct config_forward *f, bool is_remote, FILE *out)
{
	char host[HOSTPORT_TEXT_MAX];

	if (is_remote)
		(void)fprintf(out, "remote forward at %s on ", f->peer.name);
	else
		(void)fprintf(out, "forward on ");
	describe_listen(&f->listen, out);
	(void)fprintf(out, "%s to %s", f->protocol == CONFIG_UDP ? " (UDP)" : "",
	              hostport_format(&f->to.host, host));
	if (is_remote)
		(void)fprintf(out, " from here\n");
	else
		(void)fprintf(out, " through %s\n", f->peer.name);
}

static void describe_service(const struct config_service *s, FILE *out)
{
	char host[HOSTPORT_TEXT_MAX];

	(void)fprintf(out, "service %s is %s%s, for ", s->name, hostport_format(&s->to.host, host),
	              s->protocol == CONFIG_UDP ? " (UDP)" : "");
	for (size_t i = 0; i < s->allow_count; i++)
		(void)fprintf(out, "%s%s", i > 0 ? ", " : "", s->allow[i].name);
	(void)fprintf(out, "%s\n", s->allow_count == 0 ? "nobody" : "");
}

static void describe_proxy(const struct config_proxy *p, FILE *out)
{
	(void)fprintf(out, "proxy on ");
	describe_listen(&p->listen, out);
	if (p->user_count > 0)
		(void)fprintf(out, " for %zu user%s with a password", p->user_count,
		              p->user_count > 1 ? "s" : "");
	else
		(void)fprintf(out, " for anybody who can connect to it");
	(void)fprintf(out, "\n");
	for (size_t i = 0; i < p->route_count; i++)
		(void)fprintf(out, "  %s through %s\n", p->routes[i].to.text,
		              p->routes[i].peer.name);
	if (p->peer.name)
		(void)fprintf(out, "  %s through %s\n",
		              p->route_count > 0 ? "everything else" : "everything", p->peer.name);
	else
		(void)fprintf(out, "  everything else is refused\n");
}

static void describe_agent(const struct config *c, FILE *out)
{
	char host[HOSTPORT_TEXT_MAX];

	(void)fprintf(out, "agent: identity %s\n", c->identity.path);
	describe_ports("UDP", c->listen, c->listen_count, out);
	(void)fprintf(out, "%s\n",
	              c->has_portmap ? "asks the gateway to forward that port (PCP, NAT-PMP, UPnP)"
	                             : "asks no gateway to forward that port");
	for (size_t i = 0; i < c->server_count; i++)
		(void)fprintf(out, "server %s\n",
		              hostport_format(&c->servers[i].address.host, host));
	for (size_t i = 0; i < c->peer_count; i++)
		describe_peer(&c->peers[i], out);
	for (size_t i = 0; i < c->stun_count; i++)
		(void)fprintf(out, "asks the STUN server %s\n",
		              hostport_format(&c->stun[i].host, host));
	for (size_t i = 0; i < c->proxy_count; i++)
		describe_proxy(&c->proxies[i], out);
	for (size_t i = 0; i < c->forward_count; i++)
		describe_forward(&c->forwards[i], false, out);
	for (size_t i = 0; i < c->remote_forward_count; i++)
		describe_forward(&c->remote_forwards[i], true, out);
	for (size_t i = 0; i < c->service_count; i++)
		describe_service(&c->services[i], out);
	if (c->metrics.unix_path || c->metrics.addr_count > 0) {
		(void)fprintf(out, "metrics, status page and proxy.pac on ");
		describe_listen(&c->metrics, out);
		(void)fprintf(out, "\n");
	}
	(void)fprintf(out, "control socket %s\n", c->control);
	(void)fprintf(out,
	              "memory: at most %" PRIu64
	              " MiB for buffers (tunnel.memory); at most %" PRIu32
	              " streams a peer and as many client connections\n",
	              in_mib(c->tunnel.memory_size), c->tunnel.streams_max);
}

static const char *stun_text(enum config_stun stun)
{
	switch (stun) {
	case CONFIG_STUN_OFF:
		return "answers no STUN client";
	case CONFIG_STUN_PADDED:
		return "answers STUN clients, never with more than they sent";
	case CONFIG_STUN_ANY:
		return "answers all STUN clients, with up to 7 times what they sent";
	}
	CV_UNREACHABLE();
}

static void describe_server(const struct config *c, FILE *out)
{
	enum { AGENT_SIZE = 2048 }; /* bytes that a registration may take */
	const struct config_server *s = &c->server;

	(void)fprintf(out, "server: identity %s\n", c->identity.path);
	describe_ports("UDP", s->listen, s->listen_count, out);
	if (s->tcp_count > 0 && s->tcp[0].mark.line == 0)
		(void)fprintf(out, "listens on TCP, on the same ports as far as they are free\n");
	else
		describe_ports("TCP", s->tcp, s->tcp_count, out);
	if (s->access_anyone)
		(void)fprintf(out, "anyone may register\n");
	else
		(void)fprintf(out, "%zu agents may register\n", s->access_count);
	if (s->relay.is_enabled)
		(void)fprintf(out, "relays up to %" PRIu64 " kbit/s for each agent\n",
		              s->relay.rate / 1000);
	else
		(void)fprintf(out, "does not relay\n");
	(void)fprintf(out, "%s\n", stun_text(s->stun));
	(void)fprintf(out, "control socket %s\n", s->control);
	(void)fprintf(out,
	              "memory: at most %" PRIu64 " MiB for %" PRIu32 " agents, %" PRIu32
	              " of them behind one address\n",
	              in_mib((uint64_t)s->agents_max * AGENT_SIZE), s->agents_max,
	              s->agents_per_address_max);
}

void config_describe(const struct config *c, enum config_role role, FILE *out)
{
	bool is_server =
		role == CONFIG_ROLE_SERVER || (role == CONFIG_ROLE_CHECK && c->server.is_set);
	/* A file may serve both; then `culvert check` says both. */
	bool is_agent = !is_server || (role == CONFIG_ROLE_CHECK && c->peer_count > 0);

	if (is_agent)
		describe_agent(c, out);
	if (is_server)
		describe_server(c, out);
}

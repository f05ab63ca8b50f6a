/* SPDX-License-Identifier: MIT */
#include "config/schema.h"

#include <inttypes.h>
#include <string.h>

#include "config/config.h"

const size_t schema_name_offset = offsetof(struct config_peer, name);

_Static_assert(offsetof(struct config_peer, mark) == 0, "elements start with their mark");
_Static_assert(offsetof(struct config_user, mark) == 0, "elements start with their mark");
_Static_assert(offsetof(struct config_service, mark) == 0, "elements start with their mark");
_Static_assert(offsetof(struct config_server_ref, mark) == 0, "elements start with their mark");
_Static_assert(offsetof(struct config_proxy, mark) == 0, "elements start with their mark");
_Static_assert(offsetof(struct config_forward, mark) == 0, "elements start with their mark");
_Static_assert(offsetof(struct config_route, mark) == 0, "elements start with their mark");
_Static_assert(offsetof(struct config_user, name) == offsetof(struct config_peer, name),
               "names stand at one place");
_Static_assert(offsetof(struct config_service, name) == offsetof(struct config_peer, name),
               "names stand at one place");
_Static_assert(offsetof(struct config_keyfile, mark) == 0, "the binder marks it first");
_Static_assert(sizeof(enum config_sandbox) == sizeof(int), "choices are written as int");

#define AT(type, member) .offset = offsetof(struct type, member)
#define ARRAY(type, member, count, most)                                                           \
	.offset = offsetof(struct type, member), .count_offset = offsetof(struct type, count),     \
	.element_size = sizeof(*((struct type *)NULL)->member), .count_max = (most)
#define TABLE(name, called, keys_)                                                                 \
	static const struct schema_table name = { .title = (called),                               \
		                                  .keys = (keys_),                                 \
		                                  .key_count = CV_ARRAY_SIZE(keys_) }

static const struct schema_choice path_choices[] = {
	{ "auto", CONFIG_PATH_AUTO, true },
	{ "direct", CONFIG_PATH_DIRECT, true },
	{ "relay", CONFIG_PATH_RELAY, true },
	{ 0 },
};

static const struct schema_choice protocol_choices[] = {
	{ "tcp", CONFIG_TCP, true },
	{ "udp", CONFIG_UDP, true },
	{ 0 },
};

static const struct schema_choice level_choices[] = {
	{ "error", LOG_ERROR, true },
	{ "warn", LOG_WARN, true },
	{ "info", LOG_INFO, true },
	{ "debug", LOG_DEBUG, true },
	{ 0 },
};

static const struct schema_choice format_choices[] = {
	{ "text", CONFIG_LOG_TEXT, true },
	{ "json", CONFIG_LOG_JSON, true },
	{ 0 },
};

static const struct schema_choice sandbox_choices[] = {
	{ "required", CONFIG_SANDBOX_REQUIRED, false },
	{ "best-effort", CONFIG_SANDBOX_BEST_EFFORT, true },
	{ "off", CONFIG_SANDBOX_OFF, true },
	{ 0 },
};

static const struct schema_choice congestion_choices[] = {
	{ "cubic", CONFIG_CUBIC, true },
	{ "bbr", CONFIG_BBR, true },
	{ 0 },
};

static const struct schema_choice stun_choices[] = {
	{ "off", CONFIG_STUN_OFF, true },
	{ "padded", CONFIG_STUN_PADDED, true },
	{ "any", CONFIG_STUN_ANY, true },
	{ 0 },
};

static const struct schema_key server_ref_keys[] = {
	{ "address", SCHEMA_ADDRESS, .flags = SCHEMA_REQUIRED, AT(config_server_ref, address),
	  .help = "host of the server; port 28583 unless it says another" },
	{ "key", SCHEMA_KEY, .flags = SCHEMA_REQUIRED, AT(config_server_ref, key),
	  .help = "its public key" },
	{ "tcp", SCHEMA_INTEGER, AT(config_server_ref, tcp_port), .min = 1, .max = 65535,
	  .help = "its TCP port, for when UDP is blocked; where it is not set, the port of its "
	          "address, and 443" },
};
TABLE(server_ref_table, "a server", server_ref_keys);

static const struct schema_key peer_keys[] = {
	{ "key", SCHEMA_KEY, .flags = SCHEMA_REQUIRED, AT(config_peer, key),
	  .help = "its public key" },
	{ "psk", SCHEMA_KEYFILE, AT(config_peer, psk),
	  .help = "file of a pre-shared key, the same on both sides" },
	{ "address", SCHEMA_ADDRESS, AT(config_peer, address),
	  .help = "where it can be reached without a server; port 28583 unless it says another" },
	{ "path", SCHEMA_CHOICE, AT(config_peer, path), .choices = path_choices, .fallback = "auto",
	  .help = "how its packets may travel" },
	{ "allow", SCHEMA_PATTERN, SCHEMA_ONE_OR_LIST, ARRAY(config_peer, allow, allow_count, 1024),
	  .help = "what it may reach through this agent; nothing unless listed" },
	{ "allow_listen", SCHEMA_PATTERN, SCHEMA_ONE_OR_LIST,
	  ARRAY(config_peer, allow_listen, allow_listen_count, 1024),
	  .help = "where it may open listeners here, for its remote forwards and SOCKS5's BIND" },
};
TABLE(peer_table, "a peer", peer_keys);

static const struct schema_key route_keys[] = {
	{ "to", SCHEMA_ROUTE_HOST, .flags = SCHEMA_REQUIRED, AT(config_route, to),
	  .help = "a name, *.suffix, address, network or *" },
	{ "peer", SCHEMA_PEER, .flags = SCHEMA_REQUIRED, AT(config_route, peer),
	  .help = "the peer that gets it" },
};
TABLE(route_table, "a route", route_keys);

static const struct schema_key proxy_keys[] = {
	{ "listen", SCHEMA_LISTEN, .flags = SCHEMA_REQUIRED, AT(config_proxy, listen),
	  .help = "HOST:PORT, a port on localhost, or unix:/path" },
	{ "peer", SCHEMA_PEER, AT(config_proxy, peer),
	  .help = "where all goes that no route names" },
	{ "users", SCHEMA_PASSWORD, SCHEMA_NAMED, SCHEMA_SECRET,
	  ARRAY(config_proxy, users, user_count, 1024),
	  .help = "names and passwords; without them nobody is asked" },
	{ "optimistic", SCHEMA_BOOL, AT(config_proxy, is_optimistic), .fallback = "false",
	  .help = "answer success at once; errors become resets" },
	{ "open", SCHEMA_BOOL, AT(config_proxy, is_open), .fallback = "false",
	  .help = "may listen beyond loopback without users" },
	{ "routes", SCHEMA_MAP, SCHEMA_LIST, ARRAY(config_proxy, routes, route_count, 4096),
	  .table = &route_table, .help = "which hosts go to which peer; the first match wins" },
};
TABLE(proxy_table, "a proxy", proxy_keys);

static const struct schema_key forward_keys[] = {
	{ "listen", SCHEMA_LISTEN, .flags = SCHEMA_REQUIRED, AT(config_forward, listen),
	  .help = "HOST:PORT, a port on localhost, or unix:/path" },
	{ "peer", SCHEMA_PEER, .flags = SCHEMA_REQUIRED, AT(config_forward, peer),
	  .help = "the peer at the other end" },
	{ "to", SCHEMA_TARGET, .flags = SCHEMA_REQUIRED, AT(config_forward, to),
	  .help = "HOST:PORT, a port on its localhost, unix:/path or service:NAME" },
	{ "protocol", SCHEMA_CHOICE, AT(config_forward, protocol), .choices = protocol_choices,
	  .fallback = "tcp", .help = "what is carried" },
};
TABLE(forward_table, "a forward", forward_keys);

static const struct schema_key service_keys[] = {
	{ "to", SCHEMA_TARGET, .flags = SCHEMA_REQUIRED, AT(config_service, to),
	  .help = "what is offered: HOST:PORT, a port, or unix:/path" },
	{ "protocol", SCHEMA_CHOICE, AT(config_service, protocol), .choices = protocol_choices,
	  .fallback = "tcp", .help = "what is carried" },
	{ "allow", SCHEMA_PEER, SCHEMA_ONE_OR_LIST, ARRAY(config_service, allow, allow_count, 1024),
	  .help = "peers that may use it; nobody unless listed" },
};
TABLE(service_table, "a service", service_keys);

static const struct schema_key log_keys[] = {
	{ "level", SCHEMA_CHOICE, AT(config_log, level), .choices = level_choices,
	  .fallback = "info", .help = "the least important kind of line that is written" },
	{ "format", SCHEMA_CHOICE, AT(config_log, format), .choices = format_choices,
	  .fallback = "text", .help = "lines for people, or a JSON object a line" },
};
TABLE(log_table, "log", log_keys);

/* As `log`, which also gives the values that are not set here. */
static const struct schema_key server_log_keys[] = {
	{ "level", SCHEMA_CHOICE, AT(config_log, level), .choices = level_choices,
	  .help = "as log.level, for the server" },
	{ "format", SCHEMA_CHOICE, AT(config_log, format), .choices = format_choices,
	  .help = "as log.format, for the server" },
};
static const struct schema_table server_log_table = {
	.title = "log",
	.keys = server_log_keys,
	.key_count = CV_ARRAY_SIZE(server_log_keys),
	.inherit_offset = offsetof(struct config, log),
	.inherit_size = sizeof(struct config_log),
};

static const struct schema_key tunnel_keys[] = {
	{ "congestion", SCHEMA_CHOICE, AT(config_tunnel, congestion), .choices = congestion_choices,
	  .fallback = "bbr", .help = "how the sending rate is found" },
	{ "streams_max", SCHEMA_INTEGER, AT(config_tunnel, streams_max), .min = 1, .max = 65536,
	  .fallback = "16384", .help = "streams of one peer, and connections of all clients" },
	{ "memory", SCHEMA_SIZE, AT(config_tunnel, memory_size), .min = UINT64_C(16) << 20,
	  .max = UINT64_C(1) << 40, .fallback = "256MiB",
	  .help = "most that all buffers together may take" },
};
TABLE(tunnel_table, "tunnel", tunnel_keys);

static const struct schema_key punch_keys[] = {
	{ "sockets", SCHEMA_INTEGER, AT(config_punch, sockets_max), .min = 1, .max = 1024,
	  .fallback = "256", .help = "most sockets of one attempt" },
	{ "packets", SCHEMA_INTEGER, AT(config_punch, packets_max), .min = 1, .max = 65536,
	  .fallback = "768", .help = "most packets of one attempt" },
	{ "rate", SCHEMA_INTEGER, AT(config_punch, rate), .min = 1, .max = 10000, .fallback = "100",
	  .help = "packets per second" },
	{ "hourly", SCHEMA_INTEGER, AT(config_punch, hourly), .min = 1, .max = 1000000,
	  .fallback = "6144", .help = "most packets of an hour" },
};
TABLE(punch_table, "punch", punch_keys);

static const struct schema_key relay_keys[] = {
	{ "enabled", SCHEMA_BOOL, AT(config_relay, is_enabled), .fallback = "true",
	  .help = "carry packets of agents that have no path of their own" },
	{ "rate", SCHEMA_RATE, AT(config_relay, rate), .min = 1000, .max = UINT64_C(1) << 40,
	  .fallback = "50Mbit", .help = "most for one agent, each way" },
};
TABLE(relay_table, "relay", relay_keys);

static const struct schema_key limits_keys[] = {
	{ "agents", SCHEMA_INTEGER, AT(config_server, agents_max), .min = 1, .max = 4194304,
	  .fallback = "131072", .help = "most agents at a time" },
	{ "agents_per_address", SCHEMA_INTEGER, AT(config_server, agents_per_address_max), .min = 1,
	  .max = 4194304, .fallback = "4096",
	  .help = "most agents behind one IPv4 address or IPv6 /64" },
	{ "connections", SCHEMA_INTEGER, AT(config_server, connections_max), .min = 1,
	  .max = 1048576, .fallback = "16384", .help = "most TCP connections at a time" },
	{ "connections_per_address", SCHEMA_INTEGER, AT(config_server, connections_per_address_max),
	  .min = 1, .max = 1048576, .fallback = "1024",
	  .help = "most of them from one IPv4 address or IPv6 /64" },
};
TABLE(limits_table, "limits", limits_keys);

static const struct schema_key server_keys[] = {
	{ "listen", SCHEMA_TUNNEL, SCHEMA_ONE_OR_LIST,
	  ARRAY(config_server, listen, listen_count, 16), .fallback = "28583",
	  .help = "UDP ports; the next port up is opened too, for NAT detection" },
	{ "tcp", SCHEMA_TUNNEL, SCHEMA_ONE_OR_LIST, ARRAY(config_server, tcp, tcp_count, 16),
	  .fallback = "28583",
	  .help = "TCP ports, for agents whose UDP is blocked, 443 for instance; [] for none. "
	          "Where it is not set: those of `listen`, as far as they are free" },
	{ "access", SCHEMA_ACCESS, SCHEMA_ONE_OR_LIST, SCHEMA_REQUIRED,
	  ARRAY(config_server, access, access_count, 16384),
	  .help = "`anyone`, or the public keys of the agents that may register" },
	{ "relay", SCHEMA_MAP, AT(config_server, relay), .table = &relay_table,
	  .help = "relaying" },
	{ "stun", SCHEMA_CHOICE, AT(config_server, stun), .choices = stun_choices,
	  .fallback = "padded",
	  .help = "answers to STUN clients: none, none larger than its request, or all" },
	{ "limits", SCHEMA_MAP, .offset = 0, .table = &limits_table, .help = "most of each" },
	{ "control", SCHEMA_SOCKET, AT(config_server, control),
	  .help = "as control, for the server; culvert-server.sock beside the agent's by default" },
	{ "metrics", SCHEMA_LISTEN, AT(config_server, metrics),
	  .help = "as metrics, for the server" },
	{ "log", SCHEMA_MAP, AT(config_server, log), .table = &server_log_table,
	  .help = "as log, for the server" },
};
TABLE(server_table, "server", server_keys);

static const struct schema_key root_keys[] = {
	{ "identity", SCHEMA_KEYFILE, AT(config, identity),
	  .help = "private key file, or credential:NAME" },
	{ "listen", SCHEMA_TUNNEL, SCHEMA_ONE_OR_LIST, ARRAY(config, listen, listen_count, 16),
	  .fallback = "0", .help = "UDP ports of the agent; 0 is any free one" },
	{ "portmap", SCHEMA_BOOL, AT(config, has_portmap), .fallback = "true",
	  .help = "ask the gateway to forward the UDP port (PCP, NAT-PMP, UPnP)" },
	{ "stun", SCHEMA_STUN, SCHEMA_ONE_OR_LIST, ARRAY(config, stun, stun_count, 16),
	  .help = "foreign STUN servers that may be asked as well; port 3478 unless it says "
	          "another" },
	{ "servers", SCHEMA_MAP, SCHEMA_LIST, ARRAY(config, servers, server_count, 16),
	  .table = &server_ref_table,
	  .help = "where peers are found; none where each has an address" },
	{ "peers", SCHEMA_MAP, SCHEMA_NAMED, SCHEMA_LABEL, ARRAY(config, peers, peer_count, 4096),
	  .table = &peer_table, .help = "other agents by name" },
	{ "proxies", SCHEMA_MAP, SCHEMA_LIST,
	  ARRAY(config, proxies, proxy_count, REPORT_HIDDEN_MAX), .table = &proxy_table,
	  .help = "SOCKS5 listeners for local clients" },
	{ "forwards", SCHEMA_MAP, SCHEMA_LIST, ARRAY(config, forwards, forward_count, 1024),
	  .table = &forward_table, .help = "ports here that lead to targets there, like ssh -L" },
	{ "remote_forwards", SCHEMA_MAP, SCHEMA_LIST,
	  ARRAY(config, remote_forwards, remote_forward_count, 1024), .table = &forward_table,
	  .help = "ports there that lead to targets here, like ssh -R" },
	{ "services", SCHEMA_MAP, SCHEMA_NAMED, SCHEMA_LABEL,
	  ARRAY(config, services, service_count, 1024), .table = &service_table,
	  .help = "targets offered to peers by name" },
	{ "control", SCHEMA_SOCKET, AT(config, control),
	  .help = "socket of a running culvert; $XDG_RUNTIME_DIR/culvert.sock by default, else "
	          "/run/culvert/culvert.sock" },
	{ "metrics", SCHEMA_LISTEN, AT(config, metrics),
	  .help = "Prometheus metrics and the status page" },
	{ "log", SCHEMA_MAP, AT(config, log), .table = &log_table,
	  .help = "lines on standard error" },
	{ "state", SCHEMA_DIRECTORY, AT(config, state),
	  .help = "directory of what is remembered; ~/.local/state/culvert by default" },
	{ "sandbox", SCHEMA_CHOICE, AT(config, sandbox), .choices = sandbox_choices,
	  .fallback = "best-effort", .help = "whether to run without one is allowed" },
	{ "tunnel", SCHEMA_MAP, AT(config, tunnel), .table = &tunnel_table,
	  .help = "the tunnel itself" },
	{ "punch", SCHEMA_MAP, AT(config, punch), .table = &punch_table,
	  .help = "hole punching behind difficult NATs" },
	{ "server", SCHEMA_MAP, AT(config, server), .table = &server_table,
	  .help = "read by `culvert server` only" },
};

const struct schema_table schema_root = {
	.title = "the configuration",
	.keys = root_keys,
	.key_count = CV_ARRAY_SIZE(root_keys),
};

const struct schema_key *schema_find(const struct schema_table *table, const char *name)
{
	for (size_t i = 0; i < table->key_count; i++) {
		if (strcmp(table->keys[i].name, name) == 0)
			return &table->keys[i];
	}
	return NULL;
}

enum { NAME_MAX_LIKE = 64 }; /* longer names are not compared */

/* Optimal string alignment distance; both at most NAME_MAX_LIKE bytes. */
static unsigned distance_of(const char *a, size_t a_size, const char *b, size_t b_size)
{
	/* Three rows of the table: row i needs the two above it. */
	unsigned row[3][NAME_MAX_LIKE + 1];

	for (size_t j = 0; j <= b_size; j++)
		row[0][j] = (unsigned)j;
	for (size_t i = 1; i <= a_size; i++) {
		unsigned *now = row[i % 3];
		const unsigned *above = row[(i + 2) % 3];
		const unsigned *above2 = row[(i + 1) % 3];

		now[0] = (unsigned)i;
		for (size_t j = 1; j <= b_size; j++) {
			unsigned best = above[j - 1] + (a[i - 1] != b[j - 1]);

			best = CV_MIN(best, above[j] + 1);
			best = CV_MIN(best, now[j - 1] + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = CV_MIN(best, above2[j - 2] + 1);
			now[j] = best;
		}
	}
	return row[a_size % 3][b_size];
}

bool schema_is_like(const char *text, const char *name, unsigned *distance)
{
	size_t text_size = strlen(text);
	size_t name_size = strlen(name);
	unsigned d;

	if (text_size > NAME_MAX_LIKE || name_size > NAME_MAX_LIKE)
		return false;
	d = distance_of(text, text_size, name, name_size);
	/* A short name that differs in half of its letters is another word. */
	if (d >= *distance || d > CV_MAX(1, name_size / 3) || d >= name_size)
		return false;
	*distance = d;
	return true;
}

const char *schema_suggest(const struct schema_table *table, const char *name)
{
	const char *best = NULL;
	unsigned distance = NAME_MAX_LIKE;

	for (size_t i = 0; i < table->key_count; i++) {
		if (schema_is_like(name, table->keys[i].name, &distance))
			best = table->keys[i].name;
	}
	return best;
}

const char *schema_type_text(enum schema_type type)
{
	switch (type) {
	case SCHEMA_MAP:
		return "a mapping of keys to values";
	case SCHEMA_BOOL:
		return "true or false";
	case SCHEMA_INTEGER:
		return "a whole number";
	case SCHEMA_SIZE:
		return "a size with its unit, such as 64KiB";
	case SCHEMA_RATE:
		return "a rate with its unit, such as 50Mbit";
	case SCHEMA_CHOICE:
		return "a word";
	case SCHEMA_DIRECTORY:
	case SCHEMA_SOCKET:
		return "a path";
	case SCHEMA_KEYFILE:
		return "the path of a key file, or credential:NAME";
	case SCHEMA_KEY:
		return "a public key, 44 characters of base64";
	case SCHEMA_ACCESS:
		return "anyone or public keys, each 44 characters of base64";
	case SCHEMA_LISTEN:
		return "HOST:PORT, a port, or unix:/path";
	case SCHEMA_TUNNEL:
		return "a port or HOST:PORT";
	case SCHEMA_ADDRESS:
	case SCHEMA_STUN:
		return "HOST or HOST:PORT";
	case SCHEMA_TARGET:
		return "HOST:PORT, a port, unix:/path or service:NAME";
	case SCHEMA_PATTERN:
		return "HOST:PORTS, HOST:PORTS/udp or unix:/path";
	case SCHEMA_ROUTE_HOST:
		return "a name, *.suffix, address, network or *";
	case SCHEMA_PEER:
		return "the name of a peer";
	case SCHEMA_PASSWORD:
		return "a password";
	}
	CV_UNREACHABLE();
}

static void write_key(const struct schema_key *key, FILE *out)
{
	(void)fprintf(out, "%s", key->name);
	if (key->shape == SCHEMA_LIST || key->shape == SCHEMA_ONE_OR_LIST)
		(void)fprintf(out, "[]");
	if (key->shape == SCHEMA_NAMED)
		(void)fprintf(out, ".NAME");
	(void)fprintf(out, "\n\t%s.\n", key->help);
	if (key->type != SCHEMA_MAP && key->type != SCHEMA_CHOICE)
		(void)fprintf(out, "\tType: %s.\n", schema_type_text(key->type));
	for (const struct schema_choice *c = key->choices; c && c->name; c++)
		(void)fprintf(out, "%s%s%s%s", c == key->choices ? "\tOne of: " : ", ", c->name,
		              c->is_supported ? "" : " (not supported yet)",
		              c[1].name ? "" : ".\n");
	if (key->type == SCHEMA_INTEGER)
		(void)fprintf(out, "\tRange: %" PRIu64 " to %" PRIu64 ".\n", key->min, key->max);
	if (key->fallback)
		(void)fprintf(out, "\tDefault: %s.\n", key->fallback);
	if (key->flags & SCHEMA_REQUIRED)
		(void)fprintf(out, "\tRequired.\n");
	if (key->flags & SCHEMA_NOT_YET)
		(void)fprintf(out, "\tNot supported yet.\n");
}

/* Where the walk over the tables stands on one level of nesting. */
struct level {
	const struct schema_table *table;
	size_t next;
	const char *name; /* of the key above, with what follows it in a path */
	const char *suffix;
};

static void write_path(const struct level *levels, size_t depth, FILE *out)
{
	for (size_t i = 1; i < depth; i++)
		(void)fprintf(out, "%s%s", levels[i].name, levels[i].suffix);
}

void schema_write_manual(FILE *out)
{
	enum { DEPTH_MAX = 8 }; /* of the tables above; they do not nest in a circle */
	struct level levels[DEPTH_MAX] = { { .table = &schema_root } };
	size_t depth = 1;

	while (depth > 0) {
		struct level *level = &levels[depth - 1];
		const struct schema_key *key;

		if (level->next == level->table->key_count) {
			depth--;
			continue;
		}
		key = &level->table->keys[level->next++];
		write_path(levels, depth, out);
		write_key(key, out);
		if (key->type != SCHEMA_MAP)
			continue;
		CV_ASSERT(depth < DEPTH_MAX);
		levels[depth++] = (struct level){
			.table = key->table,
			.name = key->name,
			.suffix = key->shape == SCHEMA_NAMED ? ".NAME."
			          : key->shape == SCHEMA_ONE ? "."
			                                     : "[].",
		};
	}
}

/* SPDX-License-Identifier: MIT */

/*
 * The order of members is the order in the user's manual; jansson keeps it. A build that runs
 * out of memory half way is not patched up: json_object_set_new() fails on NULL, the failure is
 * remembered, and the whole object is dropped.
 */
#include "status.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/log.h"

enum { TEXT_MAX = 1024 };

/* An object under construction. */
struct builder {
	json_t *object;
	bool is_bad;
};

static struct builder begin(void)
{
	json_t *object = json_object();

	return (struct builder){ .object = object, .is_bad = !object };
}

/* Takes @value; NULL: memory ran out. */
static void put(struct builder *b, const char *key, json_t *value)
{
	if (json_object_set_new(b->object, key, value) < 0)
		b->is_bad = true;
}

static json_t *finish(struct builder *b)
{
	if (!b->is_bad)
		return b->object;
	json_decref(b->object);
	return NULL;
}

/* NULL is null; a text from elsewhere that is not UTF-8 is shown escaped. */
static json_t *text_json(const char *text)
{
	char escaped[TEXT_MAX];
	json_t *value;

	if (!text)
		return json_null();
	value = json_string(text);
	if (value)
		return value;
	(void)log_escape(escaped, sizeof(escaped), text, strlen(text));
	return json_string(escaped);
}

static json_t *count_json(uint64_t n)
{
	return json_integer((json_int_t)CV_MIN(n, (uint64_t)INT64_MAX));
}

/* Three decimals: more would be noise. */
static double rounded(double v)
{
	const double scaled = v * 1000.0;

	if (!(scaled > 0 && scaled < 9e15))
		return 0.0;
	return (double)(uint64_t)(scaled + 0.5) / 1000.0;
}

double status_ms(cv_duration d)
{
	return rounded((double)d / 1e6);
}

static json_t *ms_json(cv_duration d)
{
	return d == 0 ? json_null() : json_real(status_ms(d));
}

static json_t *addr_json(const struct addr *a)
{
	char text[ADDR_TEXT_MAX];

	return a->family == ADDR_NONE ? json_null() : json_string(addr_format(a, text));
}

static json_t *loss_json(uint64_t sent, uint64_t lost)
{
	if (sent == 0)
		return json_null();
	return json_real(rounded((double)CV_MIN(lost, sent) / (double)sent));
}

static json_t *server_json(const struct status_agent_server *s)
{
	struct builder b = begin();
	bool is_up = s->stats.is_up;

	put(&b, "address", text_json(s->address));
	put(&b, "connected", json_boolean(is_up));
	put(&b, "rtt_ms", is_up ? ms_json(s->stats.rtt) : json_null());
	put(&b, "transport", is_up ? text_json(s->stats.is_tcp ? "tcp" : "udp") : json_null());
	put(&b, "public_address", is_up ? addr_json(&s->stats.public_address) : json_null());
	put(&b, "why", is_up ? json_null() : text_json(s->stats.why));
	return finish(&b);
}

static json_t *path_json(const struct endpoint_peer_stats *s)
{
	const bool is_up = s->state == PEER_CONNECTED && strcmp(s->path_kind, "none") != 0;
	struct builder b = begin();

	put(&b, "kind", json_string(is_up ? s->path_kind : "none"));
	put(&b, "address", is_up ? addr_json(&s->path_address) : json_null());
	put(&b, "rtt_ms", is_up ? ms_json(s->rtt) : json_null());
	put(&b, "mtu", is_up && s->mtu ? json_integer(s->mtu) : json_null());
	put(&b, "loss", is_up ? loss_json(s->sent_10s, s->lost_10s) : json_null());
	put(&b, "why", text_json(s->why[0] ? s->why : NULL));
	return finish(&b);
}

static json_t *peer_json(const struct status_agent_peer *p)
{
	const struct endpoint_peer_stats *s = &p->stats;
	struct builder b = begin();

	put(&b, "name", text_json(p->name));
	put(&b, "public_key", text_json(p->public_key));
	put(&b, "connected", json_boolean(s->state == PEER_CONNECTED));
	put(&b, "path", path_json(s));
	put(&b, "streams", json_integer(s->streams));
	put(&b, "tx_bytes", count_json(s->tx_bytes));
	put(&b, "rx_bytes", count_json(s->rx_bytes));
	put(&b, "tx_bps", json_real(rounded(s->tx_bps)));
	put(&b, "rx_bps", json_real(rounded(s->rx_bps)));
	return finish(&b);
}

static json_t *nat_json(const struct nat_profile *nat)
{
	struct builder b = begin();

	put(&b, "mapping", json_string(nat_rule_name((enum nat_rule)nat->mapping)));
	/* That the port does not count is known, not whether the address does. */
	put(&b, "filtering",
	    json_string(nat_rule_name(nat->filtering == NAT_ENDPOINT_INDEPENDENT
	                                      ? NAT_UNKNOWN
	                                      : (enum nat_rule)nat->filtering)));
	put(&b, "ports", json_string(nat_ports_name((enum nat_ports)nat->ports)));
	return finish(&b);
}

/* By the names of the configuration. */
static json_t *punch_limits_json(const struct punch_limits *l)
{
	struct builder b = begin();

	put(&b, "sockets", count_json(l->sockets_max));
	put(&b, "packets", count_json(l->packets_max));
	put(&b, "rate", count_json(l->rate));
	put(&b, "hourly", count_json(l->hourly));
	return finish(&b);
}

/* What finding ways through routers has cost since the start, may cost, and may cost now. */
static json_t *punch_json(const struct endpoint_nat_stats *s)
{
	struct builder b = begin();

	put(&b, "attempts", count_json(s->attempts));
	put(&b, "succeeded", count_json(s->succeeded));
	put(&b, "packets", count_json(s->packets));
	put(&b, "sockets", count_json(s->sockets));
	put(&b, "packets_left", count_json(s->left.packets));
	put(&b, "sockets_left", count_json(s->left.sockets));
	put(&b, "limits", punch_limits_json(&s->limits));
	return finish(&b);
}

static json_t *portmap_json(const struct portmap_status *s)
{
	struct builder b = begin();

	put(&b, "protocol", text_json(s->protocol));
	put(&b, "address", addr_json(&s->address));
	put(&b, "expires_s", s->protocol ? count_json(s->expires / CV_SEC(1)) : json_null());
	put(&b, "why", text_json(s->why[0] ? s->why : NULL));
	return finish(&b);
}

static json_t *listener_json(const struct status_listener *l)
{
	struct builder b = begin();

	put(&b, "kind", text_json(l->kind));
	put(&b, "address", text_json(l->address));
	put(&b, "peer", text_json(l->peer));
	return finish(&b);
}

static json_t *remote_json(const struct status_remote *r)
{
	struct builder b = begin();

	put(&b, "listen", text_json(r->listen));
	put(&b, "peer", text_json(r->peer));
	put(&b, "to", text_json(r->to));
	put(&b, "address", text_json(r->address));
	put(&b, "why", text_json(r->why));
	return finish(&b);
}

/* Appends to the list @key; takes @item. */
static void append(struct builder *b, json_t *list, json_t *item)
{
	if (json_array_append_new(list, item) < 0)
		b->is_bad = true;
}

static void put_listeners(struct builder *b, const struct status_listener *listeners, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		append(b, list, listener_json(&listeners[i]));
	put(b, "listeners", list);
}

static void put_head(struct builder *b, const char *role, const char *public_key, double uptime_s)
{
	put(b, "version", json_string(CULVERT_VERSION));
	put(b, "role", json_string(role));
	put(b, "public_key", text_json(public_key));
	put(b, "uptime_s", json_real(rounded(uptime_s)));
}

json_t *status_agent_json(const struct status_agent *s)
{
	struct builder b = begin();
	json_t *list;

	put_head(&b, "agent", s->public_key, s->uptime_s);
	list = json_array();
	for (size_t i = 0; i < s->server_count; i++)
		append(&b, list, server_json(&s->servers[i]));
	put(&b, "servers", list);
	put(&b, "nat", nat_json(&s->nat.nat));
	put(&b, "punch", punch_json(&s->nat));
	put(&b, "portmap", portmap_json(&s->portmap));
	list = json_array();
	for (size_t i = 0; i < s->peer_count; i++)
		append(&b, list, peer_json(&s->peers[i]));
	put(&b, "peers", list);
	put_listeners(&b, s->listeners, s->listener_count);
	list = json_array();
	for (size_t i = 0; i < s->remote_count; i++)
		append(&b, list, remote_json(&s->remotes[i]));
	put(&b, "remote_forwards", list);
	return finish(&b);
}

static json_t *drops_json(const struct hub_stats *s)
{
	struct builder b = begin();

#define PUT_DROP(name) put(&b, #name, count_json(s->drop_##name));
	HUB_DROPS(PUT_DROP)
#undef PUT_DROP
	return finish(&b);
}

json_t *status_server_json(const struct status_server *s)
{
	struct builder b = begin();

	put_head(&b, "server", s->public_key, s->uptime_s);
	put_listeners(&b, s->listeners, s->listener_count);
	put(&b, "agents", count_json(s->stats.agents));
	put(&b, "tcp_connections", count_json(s->tcp_connections));
	put(&b, "channels", count_json(s->stats.channels));
	put(&b, "relay_rx_bytes", count_json(s->stats.relay_rx_bytes));
	put(&b, "relay_tx_bytes", count_json(s->stats.relay_tx_bytes));
	put(&b, "stun_answers", count_json(s->stats.stun_answers));
	put(&b, "drops", drops_json(&s->stats));
	return finish(&b);
}

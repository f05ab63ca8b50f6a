/* SPDX-License-Identifier: MIT */

/*
 * Two tables lead to a mapping. The inside key holds as much of the remote
 * endpoint as the mapping rule depends on, so the rule is nothing but the shape
 * of a key; the filtering rule is the shape of a permission's key in the same
 * way. An outside port belongs to one mapping only: no port overloading.
 *
 * Time-outs are lazy. An expired mapping is removed when it is looked at, or
 * when room or a count is needed.
 */
#include "lab_nat.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

/* Below are the ports of services. Unsigned, for arithmetic modulo the count. */
#define PORT_MIN UINT64_C(1024)
#define PORT_COUNT (UINT64_C(65536) - PORT_MIN)

/* After FIN or RST; a half-closed connection that still talks is long-lived again. */
#define TCP_CLOSING_NS (60 * LAB_SECOND)

static uint16_t port_of(uint64_t number)
{
	return (uint16_t)(PORT_MIN + number % PORT_COUNT);
}

static uint64_t endpoint(uint32_t ip, uint16_t port)
{
	return (uint64_t)ip << 16 | port;
}

static uint64_t endpoint_by_rule(uint64_t rule, uint32_t ip, uint16_t port)
{
	if (rule == LAB_NAT_ENDPOINT_INDEPENDENT) {
		return 0;
	}
	return endpoint(ip, rule == LAB_NAT_ADDRESS_DEPENDENT ? 0 : port);
}

static struct lab_key outside_key(uint8_t protocol, uint32_t ip, uint16_t port)
{
	return (struct lab_key){ { protocol, endpoint(ip, port), 0 } };
}

/* An echo has one number for both ends; for the rules its remote port is 0. */
static uint16_t remote_port(const struct lab_flow *flow, uint16_t port)
{
	return flow->protocol == IPPROTO_ICMP ? 0 : port;
}

struct lab_nat *lab_nat_new(uint64_t seed)
{
	struct lab_nat *nat = calloc(1, sizeof(*nat));

	if (!nat) {
		return NULL;
	}
	nat->mappings = calloc(LAB_NAT_MAPPINGS_MAX, sizeof(*nat->mappings));
	nat->permissions = calloc(LAB_NAT_PERMISSIONS_MAX, sizeof(*nat->permissions));
	if (!nat->mappings || !nat->permissions ||
	    lab_table_init(&nat->inside, LAB_NAT_MAPPINGS_MAX) ||
	    lab_table_init(&nat->outside, LAB_NAT_MAPPINGS_MAX) ||
	    lab_table_init(&nat->allowed, LAB_NAT_PERMISSIONS_MAX)) {
		lab_nat_free(nat);
		return NULL;
	}
	nat->rng.state = seed;
	nat->config = (struct lab_nat_config){
		.inbound_refresh = 1,
		.mappings_max = LAB_NAT_MAPPINGS_MAX,
		.udp_timeout_ns = 120 * LAB_SECOND,  /* RFC 4787, REQ-5: at least two minutes */
		.tcp_timeout_ns = 7440 * LAB_SECOND, /* RFC 5382, REQ-5: 2 hours 4 minutes */
		.icmp_timeout_ns = 60 * LAB_SECOND,  /* RFC 5508, REQ-1 */
	};
	lab_nat_reboot(nat, true);
	nat->reboots = 0;
	nat->port_base = port_of(lab_rng_next(&nat->rng));
	return nat;
}

void lab_nat_free(struct lab_nat *nat)
{
	if (!nat) {
		return;
	}
	lab_table_deinit(&nat->inside);
	lab_table_deinit(&nat->outside);
	lab_table_deinit(&nat->allowed);
	free(nat->mappings);
	free(nat->permissions);
	free(nat);
}

static bool config_is_sound(const struct lab_nat_config *c)
{
	return c->mapping <= LAB_NAT_ADDRESS_AND_PORT_DEPENDENT &&
	       c->filtering <= LAB_NAT_ADDRESS_AND_PORT_DEPENDENT &&
	       c->allocation <= LAB_NAT_RANDOM && c->udp <= LAB_NAT_UDP_REJECT &&
	       c->mappings_max <= LAB_NAT_MAPPINGS_MAX && c->mappings_max && c->udp_timeout_ns &&
	       c->tcp_timeout_ns && c->icmp_timeout_ns;
}

int lab_nat_configure(struct lab_nat *nat, const struct lab_nat_config *config)
{
	const struct lab_nat_config *old = &nat->config;
	bool is_other = config->mapping != old->mapping || config->filtering != old->filtering ||
	                config->allocation != old->allocation ||
	                config->pooling_arbitrary != old->pooling_arbitrary ||
	                config->public_count != old->public_count;

	if (!config_is_sound(config)) {
		return -EINVAL;
	}
	for (size_t i = 0; i < config->public_count && !is_other; i++) {
		is_other = config->public_ip[i] != old->public_ip[i];
	}
	nat->config = *config;
	if (is_other) {
		lab_nat_reboot(nat, true);
		nat->reboots--;
	}
	return 0;
}

void lab_nat_reboot(struct lab_nat *nat, bool keeps_ports)
{
	lab_table_clear(&nat->inside);
	lab_table_clear(&nat->outside);
	lab_table_clear(&nat->allowed);
	nat->mapping_free = 0;
	nat->permission_free = 0;
	for (uint32_t i = LAB_NAT_MAPPINGS_MAX; i-- > 0;) {
		nat->mappings[i] = (struct lab_mapping){ .next = nat->mapping_free };
		nat->mapping_free = i + 1;
	}
	for (uint32_t i = LAB_NAT_PERMISSIONS_MAX; i-- > 0;) {
		nat->permissions[i] = (struct lab_permission){ .next = nat->permission_free };
		nat->permission_free = i + 1;
	}
	memset(nat->fragments, 0, sizeof(nat->fragments));
	nat->used = 0;
	nat->reboots++;
	if (!keeps_ports) {
		nat->port_base =
			port_of(nat->port_base + UINT64_C(4096) + lab_rng_below(&nat->rng, 16384));
		nat->port_offset = (uint16_t)(nat->port_offset + UINT64_C(1024) +
		                              lab_rng_below(&nat->rng, 16384));
	}
}

bool lab_nat_owns(const struct lab_nat *nat, uint32_t ip)
{
	for (size_t i = 0; i < nat->config.public_count; i++) {
		if (nat->config.public_ip[i] == ip) {
			return true;
		}
	}
	return false;
}

static void forget(struct lab_nat *nat, uint32_t index)
{
	struct lab_mapping *m = &nat->mappings[index];

	LAB_ASSERT(m->expires_at && nat->used > 0);
	while (m->permission) {
		uint32_t at = m->permission;
		struct lab_permission *permission = &nat->permissions[at - 1];

		m->permission = permission->next;
		lab_table_remove(&nat->allowed, &permission->key);
		*permission = (struct lab_permission){ .next = nat->permission_free };
		nat->permission_free = at;
	}
	lab_table_remove(&nat->inside, &m->inside_key);
	lab_table_remove(&nat->outside, &m->outside_key);
	*m = (struct lab_mapping){ .next = nat->mapping_free };
	nat->mapping_free = index + 1;
	nat->used--;
}

void lab_nat_expire(struct lab_nat *nat, uint64_t now)
{
	for (uint32_t i = 0; i < LAB_NAT_MAPPINGS_MAX; i++) {
		if (nat->mappings[i].expires_at && nat->mappings[i].expires_at <= now) {
			forget(nat, i);
		}
	}
}

/* A mapping that is alive, or false; a dead one is removed on sight. */
static bool find(struct lab_nat *nat, const struct lab_table *table, const struct lab_key *key,
                 uint64_t now, uint32_t *index)
{
	if (!lab_table_get(table, key, index)) {
		return false;
	}
	if (nat->mappings[*index].expires_at > now) {
		return true;
	}
	forget(nat, *index);
	return false;
}

static uint64_t lifetime(const struct lab_nat *nat, const struct lab_flow *flow)
{
	const struct lab_nat_config *c = &nat->config;

	if (flow->protocol == IPPROTO_UDP) {
		return c->udp_timeout_ns;
	}
	if (flow->protocol == IPPROTO_ICMP) {
		return c->icmp_timeout_ns;
	}
	if ((flow->tcp_flags & (TH_FIN | TH_RST)) && c->tcp_timeout_ns > TCP_CLOSING_NS) {
		return TCP_CLOSING_NS;
	}
	return c->tcp_timeout_ns;
}

static uint32_t choose_address(struct lab_nat *nat, const struct lab_flow *flow)
{
	const struct lab_nat_config *c = &nat->config;
	uint64_t pick = c->pooling_arbitrary ? lab_rng_next(&nat->rng) : flow->src;

	return c->public_ip[pick % c->public_count];
}

static bool choose_port(struct lab_nat *nat, const struct lab_flow *flow, uint64_t now, uint32_t ip,
                        uint16_t *port)
{
	uint16_t first = (uint16_t)(flow->src_port + nat->port_offset);
	uint32_t taken;

	if (nat->config.allocation == LAB_NAT_SEQUENTIAL) {
		first = nat->port_base;
	} else if (nat->config.allocation == LAB_NAT_RANDOM) {
		first = port_of(lab_rng_next(&nat->rng));
	}
	if (first < PORT_MIN) {
		first = port_of(first);
	}
	for (uint64_t i = 0; i < PORT_COUNT; i++) {
		uint16_t candidate = port_of((uint64_t)first - PORT_MIN + i);
		struct lab_key key = outside_key(flow->protocol, ip, candidate);

		if (!find(nat, &nat->outside, &key, now, &taken)) {
			nat->port_base = port_of((uint64_t)candidate - PORT_MIN + 1);
			*port = candidate;
			return true;
		}
	}
	return false;
}

static bool create(struct lab_nat *nat, const struct lab_flow *flow, uint64_t now,
                   const struct lab_key *inside_key, uint32_t *index)
{
	uint32_t ip;
	uint16_t port;
	struct lab_mapping *m;
	int r;

	if (nat->used >= nat->config.mappings_max) {
		lab_nat_expire(nat, now);
	}
	if (nat->used >= nat->config.mappings_max || !nat->config.public_count) {
		return false;
	}
	ip = choose_address(nat, flow);
	if (!choose_port(nat, flow, now, ip, &port)) {
		return false;
	}
	LAB_ASSERT(nat->mapping_free);
	*index = nat->mapping_free - 1;
	m = &nat->mappings[*index];
	nat->mapping_free = m->next;
	*m = (struct lab_mapping){
		.inside_key = *inside_key,
		.outside_key = outside_key(flow->protocol, ip, port),
		.expires_at = now + lifetime(nat, flow),
		.inside_ip = flow->src,
		.outside_ip = ip,
		.inside_port = flow->src_port,
		.outside_port = port,
	};
	/* The tables are as large as the array of mappings, so they have room. */
	r = lab_table_add(&nat->inside, &m->inside_key, *index);
	LAB_ASSERT(!r);
	r = lab_table_add(&nat->outside, &m->outside_key, *index);
	LAB_ASSERT(!r);
	nat->used++;
	nat->created++;
	return true;
}

static struct lab_key permission_key(const struct lab_nat *nat, uint32_t index, uint32_t ip,
                                     uint16_t port)
{
	return (struct lab_key){ { index, endpoint_by_rule(nat->config.filtering, ip, port), 1 } };
}

/* The remote may answer from now on. When the pool is empty, the answer will be filtered. */
static void permit(struct lab_nat *nat, const struct lab_flow *flow, uint64_t now, uint32_t index)
{
	struct lab_key key =
		permission_key(nat, index, flow->dst, remote_port(flow, flow->dst_port));
	struct lab_mapping *m = &nat->mappings[index];
	uint32_t at;
	int r;

	if (nat->config.filtering == LAB_NAT_ENDPOINT_INDEPENDENT) {
		return;
	}
	if (!lab_table_get(&nat->allowed, &key, &at)) {
		if (!nat->permission_free) {
			return;
		}
		at = nat->permission_free - 1;
		nat->permission_free = nat->permissions[at].next;
		nat->permissions[at] = (struct lab_permission){ .key = key, .next = m->permission };
		m->permission = at + 1;
		r = lab_table_add(&nat->allowed, &key, at);
		LAB_ASSERT(!r);
	}
	nat->permissions[at].expires_at = now + lifetime(nat, flow);
}

static struct lab_key fragment_key(const struct lab_flow *flow)
{
	return (struct lab_key){ {
		endpoint(flow->src, flow->id), endpoint(flow->dst, flow->protocol),
		1, /* so that an unused entry equals none */
	} };
}

static void note_fragment(struct lab_nat *nat, const struct lab_key *key, bool is_outbound,
                          uint32_t ip)
{
	nat->fragments[nat->fragment_next] = (struct lab_fragment){ *key, ip, is_outbound };
	nat->fragment_next = (nat->fragment_next + 1) % LAB_NAT_FRAGMENTS_MAX;
}

/* A NAT need not reassemble (RFC 4787, REQ-14): what overtakes its first piece is lost. */
static enum lab_nat_verdict follow_first(struct lab_nat *nat, struct lab_packet *p,
                                         struct lab_flow *flow, bool is_outbound)
{
	struct lab_key key = fragment_key(flow);

	for (size_t i = 0; i < LAB_NAT_FRAGMENTS_MAX; i++) {
		const struct lab_fragment *f = &nat->fragments[i];

		if (f->is_outbound == is_outbound && f->key.word[0] == key.word[0] &&
		    f->key.word[1] == key.word[1] && f->key.word[2] == key.word[2]) {
			lab_packet_rewrite(p, flow, is_outbound, f->ip, 0);
			return LAB_NAT_FORWARD;
		}
	}
	return LAB_NAT_UNSUPPORTED;
}

static bool is_translatable(const struct lab_flow *flow)
{
	return flow->version == 4 &&
	       (flow->protocol == IPPROTO_UDP || flow->protocol == IPPROTO_TCP ||
	        flow->protocol == IPPROTO_ICMP);
}

/* A complaint about a packet that came in: the quoted destination is ours inside. */
static enum lab_nat_verdict outbound_error(struct lab_nat *nat, uint64_t now, struct lab_packet *p,
                                           struct lab_flow *flow)
{
	struct lab_flow quoted;
	struct lab_key key;
	uint32_t index;

	if (!lab_packet_read_quoted(p, flow, &quoted)) {
		return LAB_NAT_UNSUPPORTED;
	}
	key = (struct lab_key){ {
		quoted.protocol,
		endpoint(quoted.dst, quoted.dst_port),
		endpoint_by_rule(nat->config.mapping, quoted.src,
		                 remote_port(&quoted, quoted.src_port)),
	} };
	if (!find(nat, &nat->inside, &key, now, &index)) {
		return LAB_NAT_NO_MAPPING;
	}
	lab_packet_rewrite_quoted(p, flow, &quoted, false, nat->mappings[index].outside_ip,
	                          nat->mappings[index].outside_port);
	lab_packet_rewrite(p, flow, true, nat->mappings[index].outside_ip, 0);
	return LAB_NAT_FORWARD;
}

enum lab_nat_verdict lab_nat_outbound(struct lab_nat *nat, uint64_t now, struct lab_packet *p,
                                      struct lab_flow *flow)
{
	struct lab_mapping *m;
	struct lab_key key;
	uint32_t index;

	if (!is_translatable(flow)) {
		return LAB_NAT_UNSUPPORTED;
	}
	if (flow->protocol == IPPROTO_UDP && nat->config.udp != LAB_NAT_UDP_PASS) {
		return LAB_NAT_UDP_BLOCKED;
	}
	if (flow->is_later_fragment) {
		return follow_first(nat, p, flow, true);
	}
	if (flow->is_icmp_error) {
		return outbound_error(nat, now, p, flow);
	}
	key = (struct lab_key){ {
		flow->protocol,
		endpoint(flow->src, flow->src_port),
		endpoint_by_rule(nat->config.mapping, flow->dst, remote_port(flow, flow->dst_port)),
	} };
	if (!find(nat, &nat->inside, &key, now, &index) && !create(nat, flow, now, &key, &index)) {
		return LAB_NAT_TABLE_FULL;
	}
	m = &nat->mappings[index];
	m->expires_at = now + lifetime(nat, flow);
	permit(nat, flow, now, index);
	if (flow->is_fragment) {
		key = fragment_key(flow);
		note_fragment(nat, &key, true, m->outside_ip);
	}
	lab_packet_rewrite(p, flow, true, m->outside_ip, m->outside_port);
	return LAB_NAT_FORWARD;
}

/* A complaint about a packet that went out: the quoted source is ours outside. */
static enum lab_nat_verdict inbound_error(struct lab_nat *nat, uint64_t now, struct lab_packet *p,
                                          struct lab_flow *flow)
{
	struct lab_flow quoted;
	struct lab_key key;
	uint32_t index;

	if (!lab_packet_read_quoted(p, flow, &quoted)) {
		return LAB_NAT_UNSUPPORTED;
	}
	key = outside_key(quoted.protocol, quoted.src, quoted.src_port);
	if (!find(nat, &nat->outside, &key, now, &index)) {
		return LAB_NAT_NO_MAPPING;
	}
	lab_packet_rewrite_quoted(p, flow, &quoted, true, nat->mappings[index].inside_ip,
	                          nat->mappings[index].inside_port);
	lab_packet_rewrite(p, flow, false, nat->mappings[index].inside_ip, 0);
	return LAB_NAT_FORWARD;
}

enum lab_nat_verdict lab_nat_inbound(struct lab_nat *nat, uint64_t now, struct lab_packet *p,
                                     struct lab_flow *flow)
{
	struct lab_mapping *m;
	struct lab_key key;
	uint32_t index;
	uint32_t at = 0;
	bool has_rule = nat->config.filtering != LAB_NAT_ENDPOINT_INDEPENDENT;

	if (!is_translatable(flow)) {
		return LAB_NAT_UNSUPPORTED;
	}
	if (flow->protocol == IPPROTO_UDP && nat->config.udp != LAB_NAT_UDP_PASS) {
		return LAB_NAT_UDP_BLOCKED;
	}
	if (flow->is_later_fragment) {
		return follow_first(nat, p, flow, false);
	}
	if (flow->is_icmp_error) {
		return inbound_error(nat, now, p, flow);
	}
	key = outside_key(flow->protocol, flow->dst, flow->dst_port);
	if (!find(nat, &nat->outside, &key, now, &index)) {
		return LAB_NAT_NO_MAPPING;
	}
	m = &nat->mappings[index];
	key = permission_key(nat, index, flow->src, remote_port(flow, flow->src_port));
	if (has_rule &&
	    (!lab_table_get(&nat->allowed, &key, &at) || nat->permissions[at].expires_at <= now)) {
		return LAB_NAT_FILTERED;
	}
	if (nat->config.inbound_refresh) {
		m->expires_at = now + lifetime(nat, flow);
		if (has_rule) {
			nat->permissions[at].expires_at = m->expires_at;
		}
	}
	if (flow->is_fragment) {
		key = fragment_key(flow);
		note_fragment(nat, &key, false, m->inside_ip);
	}
	lab_packet_rewrite(p, flow, false, m->inside_ip, m->inside_port);
	return LAB_NAT_FORWARD;
}

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
	nat->blocks = calloc(LAB_NAT_BLOCKS_MAX, sizeof(*nat->blocks));
	if (!nat->mappings || !nat->permissions || !nat->blocks ||
	    lab_table_init(&nat->inside, LAB_NAT_MAPPINGS_MAX) ||
	    lab_table_init(&nat->outside, LAB_NAT_MAPPINGS_MAX) ||
	    lab_table_init(&nat->allowed, LAB_NAT_PERMISSIONS_MAX) || lab_wall_init(&nat->wall)) {
		lab_nat_free(nat);
		return NULL;
	}
	nat->rng.state = seed;
	nat->config = (struct lab_nat_config){
		.port_step = 1,
		.port_block = 512,
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
	lab_wall_deinit(&nat->wall);
	free(nat->blocks);
	free(nat->mappings);
	free(nat->permissions);
	free(nat);
}

static bool config_is_sound(const struct lab_nat_config *c)
{
	return c->mapping <= LAB_NAT_ADDRESS_AND_PORT_DEPENDENT &&
	       c->filtering <= LAB_NAT_ADDRESS_AND_PORT_DEPENDENT &&
	       c->allocation <= LAB_NAT_BLOCK && c->port_step && c->port_step < PORT_COUNT &&
	       c->port_block >= LAB_NAT_PORT_BLOCK_MIN && c->port_block <= PORT_COUNT &&
	       c->mappings_max <= LAB_NAT_MAPPINGS_MAX && c->mappings_max && c->udp_timeout_ns &&
	       c->tcp_timeout_ns && c->icmp_timeout_ns && lab_wall_config_is_sound(&c->wall);
}

int lab_nat_configure(struct lab_nat *nat, const struct lab_nat_config *config)
{
	const struct lab_nat_config *old = &nat->config;
	bool is_other = config->mapping != old->mapping || config->filtering != old->filtering ||
	                config->allocation != old->allocation ||
	                config->port_step != old->port_step ||
	                config->port_block != old->port_block ||
	                config->wall.filtering6 != old->wall.filtering6 ||
	                config->pooling_arbitrary != old->pooling_arbitrary ||
	                config->public_count != old->public_count;

	if (!config_is_sound(config)) {
		return -EINVAL;
	}
	for (size_t i = 0; i < config->public_count && !is_other; i++) {
		is_other = config->public_ip[i] != old->public_ip[i];
	}
	nat->config = *config;
	nat->wall.config = config->wall;
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
	lab_wall_clear(&nat->wall);
	nat->block_count = 0;
	nat->touched = 0;
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
	for (uint32_t i = 0; i < nat->touched; i++) {
		if (nat->mappings[i].expires_at && nat->mappings[i].expires_at <= now) {
			forget(nat, i);
		}
	}
}

/* Only for a table that is full: it looks at all of them. */
static void forget_oldest(struct lab_nat *nat)
{
	uint32_t oldest = 0;

	LAB_ASSERT(nat->used > 0 && nat->used <= nat->touched);
	while (!nat->mappings[oldest].expires_at) {
		oldest++;
	}
	for (uint32_t i = oldest + 1; i < nat->touched; i++) {
		if (nat->mappings[i].expires_at &&
		    nat->mappings[i].used_order < nat->mappings[oldest].used_order) {
			oldest = i;
		}
	}
	forget(nat, oldest);
	nat->evicted++;
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

/* Ports from which one is taken: @count of them from @begin on, tried from @first on. */
struct port_range {
	uint64_t begin;
	uint64_t count;
	uint64_t first; /* counted from @begin */
};

static bool block_is_taken(const struct lab_nat *nat, uint32_t outside_ip, uint32_t number)
{
	for (size_t i = 0; i < nat->block_count; i++) {
		if (nat->blocks[i].outside_ip == outside_ip && nat->blocks[i].number == number) {
			return true;
		}
	}
	return false;
}

/* A host keeps its block until the router forgets everything. */
static bool choose_block(struct lab_nat *nat, uint32_t inside_ip, uint32_t outside_ip,
                         uint32_t *number)
{
	uint32_t count = (uint32_t)(PORT_COUNT / nat->config.port_block);
	uint32_t first;

	for (size_t i = 0; i < nat->block_count; i++) {
		if (nat->blocks[i].inside_ip == inside_ip &&
		    nat->blocks[i].outside_ip == outside_ip) {
			*number = nat->blocks[i].number;
			return true;
		}
	}
	if (nat->block_count == LAB_NAT_BLOCKS_MAX) {
		return false;
	}
	first = (uint32_t)lab_rng_below(&nat->rng, count);
	for (uint32_t i = 0; i < count; i++) {
		*number = (first + i) % count;
		if (!block_is_taken(nat, outside_ip, *number)) {
			nat->blocks[nat->block_count++] =
				(struct lab_block){ inside_ip, outside_ip, *number };
			return true;
		}
	}
	return false;
}

static bool choose_range(struct lab_nat *nat, const struct lab_flow *flow, uint32_t ip,
                         struct port_range *range)
{
	uint16_t preserved = (uint16_t)(flow->src_port + nat->port_offset);
	uint32_t number;

	*range = (struct port_range){ PORT_MIN, PORT_COUNT, 0 };
	switch ((enum lab_nat_allocation)nat->config.allocation) {
	case LAB_NAT_PRESERVING:
		range->first = preserved < PORT_MIN ? preserved : preserved - PORT_MIN;
		return true;
	case LAB_NAT_SEQUENTIAL:
		range->first = nat->port_base - PORT_MIN;
		return true;
	case LAB_NAT_RANDOM:
		range->first = lab_rng_below(&nat->rng, PORT_COUNT);
		return true;
	case LAB_NAT_BLOCK:
		if (!choose_block(nat, flow->src, ip, &number)) {
			return false;
		}
		range->begin = PORT_MIN + number * nat->config.port_block;
		range->count = nat->config.port_block;
		range->first = lab_rng_below(&nat->rng, range->count);
		return true;
	}
	abort(); /* config_is_sound() says that there is no other */
}

static bool choose_port(struct lab_nat *nat, const struct lab_flow *flow, uint64_t now, uint32_t ip,
                        uint16_t *port)
{
	struct port_range range;
	uint32_t taken;

	if (!choose_range(nat, flow, ip, &range)) {
		return false;
	}
	for (uint64_t i = 0; i < range.count; i++) {
		uint64_t at = (range.first + i) % range.count;
		uint16_t candidate = (uint16_t)(range.begin + at);
		struct lab_key key = outside_key(flow->protocol, ip, candidate);

		if (!find(nat, &nat->outside, &key, now, &taken)) {
			nat->port_base = port_of(candidate - PORT_MIN + nat->config.port_step);
			*port = candidate;
			return true;
		}
	}
	return false;
}

static bool make_room(struct lab_nat *nat, uint64_t now)
{
	const struct lab_nat_config *c = &nat->config;

	if (nat->used >= c->mappings_max) {
		lab_nat_expire(nat, now);
	}
	while (nat->used >= c->mappings_max && c->table_full_evicts) {
		forget_oldest(nat);
	}
	return nat->used < c->mappings_max;
}

static void count_new(struct lab_nat *nat, uint32_t index, bool is_udp)
{
	nat->used++;
	nat->created++;
	nat->created_udp += is_udp;
	if (nat->used > nat->used_peak) {
		nat->used_peak = nat->used;
	}
	if (index >= nat->touched) {
		nat->touched = index + 1;
	}
}

/* LAB_NAT_FORWARD, or why there is no mapping. */
static enum lab_nat_verdict create(struct lab_nat *nat, const struct lab_flow *flow, uint64_t now,
                                   const struct lab_key *inside_key, uint32_t *index)
{
	uint32_t ip;
	uint16_t port;
	struct lab_mapping *m;
	int r;

	if (!make_room(nat, now)) {
		return LAB_NAT_TABLE_FULL;
	}
	if (!nat->config.public_count) {
		return LAB_NAT_NO_PORT;
	}
	ip = choose_address(nat, flow);
	if (!choose_port(nat, flow, now, ip, &port)) {
		return LAB_NAT_NO_PORT;
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
	count_new(nat, *index, flow->protocol == IPPROTO_UDP);
	return LAB_NAT_FORWARD;
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

static enum lab_nat_verdict translate_out(struct lab_nat *nat, uint64_t now, struct lab_packet *p,
                                          struct lab_flow *flow)
{
	enum lab_nat_verdict verdict = LAB_NAT_FORWARD;
	struct lab_mapping *m;
	struct lab_key key;
	uint32_t index;

	key = (struct lab_key){ {
		flow->protocol,
		endpoint(flow->src, flow->src_port),
		endpoint_by_rule(nat->config.mapping, flow->dst, remote_port(flow, flow->dst_port)),
	} };
	if (!find(nat, &nat->inside, &key, now, &index)) {
		verdict = create(nat, flow, now, &key, &index);
		if (verdict != LAB_NAT_FORWARD) {
			return verdict;
		}
	}
	m = &nat->mappings[index];
	m->used_order = ++nat->uses;
	m->expires_at = now + lifetime(nat, flow);
	permit(nat, flow, now, index);
	if (flow->is_fragment) {
		key = fragment_key(flow);
		note_fragment(nat, &key, true, m->outside_ip);
	}
	lab_packet_rewrite(p, flow, true, m->outside_ip, m->outside_port);
	return LAB_NAT_FORWARD;
}

enum lab_nat_verdict lab_nat_outbound(struct lab_nat *nat, uint64_t now, struct lab_packet *p,
                                      struct lab_flow *flow)
{
	enum lab_nat_verdict verdict;

	if (!is_translatable(flow)) {
		return LAB_NAT_UNSUPPORTED;
	}
	if (flow->is_later_fragment) {
		return follow_first(nat, p, flow, true);
	}
	if (lab_wall_refuses(&nat->wall, flow, true)) {
		return LAB_NAT_UDP_BLOCKED;
	}
	if (flow->is_icmp_error) {
		return outbound_error(nat, now, p, flow);
	}
	verdict = translate_out(nat, now, p, flow);
	if (verdict == LAB_NAT_FORWARD &&
	    lab_wall_is_spent(&nat->wall, now, p, flow, lifetime(nat, flow))) {
		return LAB_NAT_UDP_SPENT;
	}
	return verdict;
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

/* The mapping that a packet from outside meets, and the permission it has (index + 1; 0: it needs
 * none). Nothing changes. */
static enum lab_nat_verdict meet(struct lab_nat *nat, uint64_t now, const struct lab_flow *flow,
                                 uint32_t *index, uint32_t *permission)
{
	struct lab_key key = outside_key(flow->protocol, flow->dst, flow->dst_port);
	uint32_t at;

	*permission = 0;
	if (!find(nat, &nat->outside, &key, now, index)) {
		return LAB_NAT_NO_MAPPING;
	}
	if (nat->config.filtering == LAB_NAT_ENDPOINT_INDEPENDENT) {
		return LAB_NAT_FORWARD;
	}
	key = permission_key(nat, *index, flow->src, remote_port(flow, flow->src_port));
	if (!lab_table_get(&nat->allowed, &key, &at) || nat->permissions[at].expires_at <= now) {
		return LAB_NAT_FILTERED;
	}
	*permission = at + 1;
	return LAB_NAT_FORWARD;
}

enum lab_nat_verdict lab_nat_inbound(struct lab_nat *nat, uint64_t now, struct lab_packet *p,
                                     struct lab_flow *flow)
{
	enum lab_nat_verdict verdict;
	struct lab_mapping *m;
	struct lab_key key;
	uint32_t index;
	uint32_t permission;

	if (!is_translatable(flow)) {
		return LAB_NAT_UNSUPPORTED;
	}
	if (flow->is_later_fragment) {
		return follow_first(nat, p, flow, false);
	}
	if (lab_wall_refuses(&nat->wall, flow, false)) {
		return LAB_NAT_UDP_BLOCKED;
	}
	if (flow->is_icmp_error) {
		return inbound_error(nat, now, p, flow);
	}
	verdict = meet(nat, now, flow, &index, &permission);
	if (lab_wall_bans(&nat->wall, now, p, flow, verdict != LAB_NAT_FORWARD)) {
		return LAB_NAT_BLACKLISTED;
	}
	if (verdict != LAB_NAT_FORWARD) {
		return verdict;
	}
	if (lab_wall_is_spent(&nat->wall, now, p, flow, lifetime(nat, flow))) {
		return LAB_NAT_UDP_SPENT;
	}
	m = &nat->mappings[index];
	m->used_order = ++nat->uses;
	if (nat->config.inbound_refresh) {
		m->expires_at = now + lifetime(nat, flow);
		if (permission) {
			nat->permissions[permission - 1].expires_at = m->expires_at;
		}
	}
	if (flow->is_fragment) {
		key = fragment_key(flow);
		note_fragment(nat, &key, false, m->inside_ip);
	}
	lab_packet_rewrite(p, flow, false, m->inside_ip, m->inside_port);
	return LAB_NAT_FORWARD;
}

/* IPv6 ---------------------------------------------------------------------- */

/* Fragments and other extension headers hide the ports, so a router that filters drops them. */
static bool is_readable6(const struct lab_nat *nat, const struct lab_flow *flow)
{
	return nat->config.wall.filtering6 == LAB_WALL_OPEN6 || flow->protocol == IPPROTO_UDP ||
	       flow->protocol == IPPROTO_TCP || flow->protocol == IPPROTO_ICMPV6;
}

enum lab_nat_verdict lab_nat_outbound6(struct lab_nat *nat, uint64_t now,
                                       const struct lab_packet *p, const struct lab_flow *flow)
{
	uint64_t span = lifetime(nat, flow);

	if (!is_readable6(nat, flow)) {
		return LAB_NAT_UNSUPPORTED;
	}
	if (lab_wall_refuses(&nat->wall, flow, true)) {
		return LAB_NAT_UDP_BLOCKED;
	}
	if (lab_wall_is_spent(&nat->wall, now, p, flow, span)) {
		return LAB_NAT_UDP_SPENT;
	}
	lab_wall_open6(&nat->wall, now, p, flow, span);
	return LAB_NAT_FORWARD;
}

enum lab_nat_verdict lab_nat_inbound6(struct lab_nat *nat, uint64_t now, const struct lab_packet *p,
                                      const struct lab_flow *flow)
{
	uint64_t span = lifetime(nat, flow);
	bool is_admitted;

	if (!is_readable6(nat, flow)) {
		return LAB_NAT_UNSUPPORTED;
	}
	if (lab_wall_refuses(&nat->wall, flow, false)) {
		return LAB_NAT_UDP_BLOCKED;
	}
	is_admitted =
		lab_wall_admits6(&nat->wall, now, p, flow, nat->config.inbound_refresh ? span : 0);
	if (lab_wall_bans(&nat->wall, now, p, flow, !is_admitted)) {
		return LAB_NAT_BLACKLISTED;
	}
	if (!is_admitted) {
		return LAB_NAT_FILTERED;
	}
	return lab_wall_is_spent(&nat->wall, now, p, flow, span) ? LAB_NAT_UDP_SPENT
	                                                         : LAB_NAT_FORWARD;
}

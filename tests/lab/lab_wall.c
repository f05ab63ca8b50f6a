/* SPDX-License-Identifier: MIT */
#include "lab_wall.h"

#include <netinet/in.h>

enum {
	PORTS_MAX = 4, /* of 16 bits, in udp_ports */
};

int lab_wall_init(struct lab_wall *wall)
{
	int r;

	*wall = (struct lab_wall){ 0 };
	r = lab_states_init(&wall->flows);
	r = r ? r : lab_states_init(&wall->bans);
	return r ? r : lab_states_init(&wall->holes);
}

void lab_wall_deinit(struct lab_wall *wall)
{
	lab_states_deinit(&wall->flows);
	lab_states_deinit(&wall->bans);
	lab_states_deinit(&wall->holes);
}

bool lab_wall_config_is_sound(const struct lab_wall_config *c)
{
	return c->udp <= LAB_WALL_UDP_REJECT && c->udp_direction <= LAB_WALL_IN &&
	       c->filtering6 <= LAB_WALL_FILTERING6 + LAB_NAT_ADDRESS_AND_PORT_DEPENDENT;
}

void lab_wall_clear(struct lab_wall *wall)
{
	lab_states_clear(&wall->flows);
	lab_states_clear(&wall->bans);
	lab_states_clear(&wall->holes);
}

bool lab_wall_refuses(const struct lab_wall *wall, const struct lab_flow *flow, bool is_outbound)
{
	const struct lab_wall_config *c = &wall->config;
	uint16_t port = is_outbound ? flow->dst_port : flow->src_port;

	if (c->udp == LAB_WALL_UDP_PASS || flow->protocol != IPPROTO_UDP ||
	    c->udp_direction == (is_outbound ? LAB_WALL_IN : LAB_WALL_OUT)) {
		return false;
	}
	for (unsigned i = 0; i < PORTS_MAX; i++) {
		if (port && port == (c->udp_ports >> 16 * i & 0xffff)) {
			return false;
		}
	}
	return true;
}

/* Addresses as numbers: an IPv4 address is its own, an IPv6 one is folded, with a chance of
 * 2^-64 to be taken for another. */
static struct lab_key key_of(uint64_t a, uint64_t b, uint32_t ports)
{
	return (struct lab_key){ { a, b, ports } };
}

bool lab_wall_is_spent(struct lab_wall *wall, uint64_t now, const struct lab_packet *p,
                       const struct lab_flow *flow, uint64_t lifetime)
{
	uint64_t src;
	uint64_t dst;
	uint64_t lower;
	uint32_t ports;
	struct lab_state *state;
	struct lab_key key;

	if (!wall->config.udp_packets_max || flow->protocol != IPPROTO_UDP) {
		return false;
	}
	lab_packet_ends(p, flow, &src, &dst);
	/* One key for both ways: the smaller end first. */
	lower = src < dst ? src : dst;
	ports = src < dst ? (uint32_t)flow->src_port << 16 | flow->dst_port
	                  : (uint32_t)flow->dst_port << 16 | flow->src_port;
	key = key_of(lower, src ^ dst, ports);
	state = lab_states_touch(&wall->flows, now, &key, lifetime);
	state->count += lab_packet_segment_count(p, flow);
	return state->count > wall->config.udp_packets_max;
}

bool lab_wall_bans(struct lab_wall *wall, uint64_t now, const struct lab_packet *p,
                   const struct lab_flow *flow, bool is_unsolicited)
{
	const struct lab_wall_config *c = &wall->config;
	bool is_udp = flow->protocol == IPPROTO_UDP;
	bool is_banned;
	struct lab_key key;
	uint64_t src;
	uint64_t dst;

	if (!c->blacklist_ns || (!is_udp && !c->blacklist_by_address)) {
		return false;
	}
	lab_packet_ends(p, flow, &src, &dst);
	key = key_of(src, 0, c->blacklist_by_address ? 0 : flow->src_port);
	is_banned = lab_states_find(&wall->bans, now, &key);
	if (is_unsolicited && is_udp) {
		(void)lab_states_touch(&wall->bans, now, &key, c->blacklist_ns);
	}
	return is_banned;
}

/* IPv6 ---------------------------------------------------------------------- */

static struct lab_key hole_key(const struct lab_wall *wall, const struct lab_packet *p,
                               const struct lab_flow *flow, bool is_outbound)
{
	uint64_t rule = wall->config.filtering6 - LAB_WALL_FILTERING6;
	uint32_t inside_port = is_outbound ? flow->src_port : flow->dst_port;
	uint32_t remote_port = is_outbound ? flow->dst_port : flow->src_port;
	uint64_t src;
	uint64_t dst;
	uint64_t remote;

	lab_packet_ends(p, flow, &src, &dst);
	remote = is_outbound ? dst : src;
	if (rule == LAB_NAT_ENDPOINT_INDEPENDENT) {
		remote = 0;
	}
	if (rule != LAB_NAT_ADDRESS_AND_PORT_DEPENDENT) {
		remote_port = 0;
	}
	/* The protocol is part of the inside's number, which has room for it. */
	return key_of((is_outbound ? src : dst) ^ flow->protocol, remote,
	              inside_port << 16 | remote_port);
}

void lab_wall_open6(struct lab_wall *wall, uint64_t now, const struct lab_packet *p,
                    const struct lab_flow *flow, uint64_t lifetime)
{
	struct lab_key key;

	if (wall->config.filtering6 != LAB_WALL_OPEN6 && flow->protocol != IPPROTO_ICMPV6) {
		key = hole_key(wall, p, flow, true);
		(void)lab_states_touch(&wall->holes, now, &key, lifetime);
	}
}

bool lab_wall_admits6(struct lab_wall *wall, uint64_t now, const struct lab_packet *p,
                      const struct lab_flow *flow, uint64_t lifetime)
{
	struct lab_state *hole;
	struct lab_key key;

	if (wall->config.filtering6 == LAB_WALL_OPEN6 || flow->protocol == IPPROTO_ICMPV6) {
		return true;
	}
	key = hole_key(wall, p, flow, false);
	hole = lab_states_find(&wall->holes, now, &key);
	if (hole && lifetime) {
		hole->expires_at = now + lifetime;
	}
	return hole;
}

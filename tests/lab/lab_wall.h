#pragma once
/* SPDX-License-Identifier: MIT */

/*
 * lab_wall - what a router refuses whatever it translates: UDP as a whole or to
 * most ports, flows of UDP that have had their share, senders that have knocked
 * uninvited, and over IPv6 what nobody inside has asked for (RFC 6092).
 *
 * It knows nothing of mappings; lab_nat asks it, for IPv4 with the endpoints as
 * they are outside.
 */

#include "lab_packet.h"
#include "lab_states.h"

enum lab_nat_rule {
	LAB_NAT_ENDPOINT_INDEPENDENT,
	LAB_NAT_ADDRESS_DEPENDENT,
	LAB_NAT_ADDRESS_AND_PORT_DEPENDENT,
};

enum lab_wall_udp {
	LAB_WALL_UDP_PASS,
	LAB_WALL_UDP_DROP,   /* silently */
	LAB_WALL_UDP_REJECT, /* the inside is told "administratively prohibited" */
};

enum lab_wall_direction { LAB_WALL_BOTH, LAB_WALL_OUT, LAB_WALL_IN };

enum lab_wall_filtering6 {
	LAB_WALL_OPEN6,      /* whoever knows the address may send to it */
	LAB_WALL_FILTERING6, /* and enum lab_nat_rule from here on */
};

/* All fields are uint64_t, for the table of names that sets them. */
struct lab_wall_config {
	uint64_t udp;
	uint64_t udp_direction; /* which one lab_wall_udp is about */
	uint64_t udp_ports; /* up to four remote ports of 16 bits that pass all the same; 0: none */
	uint64_t udp_packets_max;      /* of one flow, both ways together; 0: no limit */
	uint64_t blacklist_ns;         /* a sender nobody asked is not heard for so long; 0: off */
	uint64_t blacklist_by_address; /* 1: nor is anything else from its address */
	uint64_t filtering6;
};

struct lab_wall {
	struct lab_wall_config config;
	struct lab_states flows; /* what has passed of udp_packets_max */
	struct lab_states bans;
	struct lab_states holes; /* IPv6 endpoints inside, and remote as the rule says */
};

/** lab_wall_init() - Return: 0 or -ENOMEM. */
LAB_NODISCARD int lab_wall_init(struct lab_wall *wall);

void lab_wall_deinit(struct lab_wall *wall);

bool lab_wall_config_is_sound(const struct lab_wall_config *config);

/** lab_wall_clear() - forget flows, bans and holes, as a reboot does. */
void lab_wall_clear(struct lab_wall *wall);

/** lab_wall_refuses() - whether UDP like this is blocked in this direction. */
bool lab_wall_refuses(const struct lab_wall *wall, const struct lab_flow *flow, bool is_outbound);

/**
 * lab_wall_is_spent() - count a packet against its flow
 * @lifetime: after so long without a packet the count begins anew
 *
 * Return: true when the flow has had more than its share with this one.
 */
bool lab_wall_is_spent(struct lab_wall *wall, uint64_t now, const struct lab_packet *p,
                       const struct lab_flow *flow, uint64_t lifetime);

/**
 * lab_wall_bans() - whether the sender of a packet from outside is not heard
 * @is_unsolicited: nobody inside asked for it: its sender is banned from now on, or longer
 */
bool lab_wall_bans(struct lab_wall *wall, uint64_t now, const struct lab_packet *p,
                   const struct lab_flow *flow, bool is_unsolicited);

/** lab_wall_open6() - an IPv6 packet goes out: answers may come in for @lifetime. */
void lab_wall_open6(struct lab_wall *wall, uint64_t now, const struct lab_packet *p,
                    const struct lab_flow *flow, uint64_t lifetime);

/**
 * lab_wall_admits6() - whether an IPv6 packet may come in
 * @lifetime: that it gives to the hole it comes through; 0: none
 *
 * ICMPv6 may, always: RFC 4890 lets through what paths need.
 */
bool lab_wall_admits6(struct lab_wall *wall, uint64_t now, const struct lab_packet *p,
                      const struct lab_flow *flow, uint64_t lifetime);

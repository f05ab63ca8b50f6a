#pragma once
/* SPDX-License-Identifier: MIT */

/*
 * lab_nat - a router with a network address translator in the terms of RFC 4787.
 *
 * Mapping (which flows share an outside port), filtering (who may answer) and
 * allocation (which port it is) are chosen separately. TCP follows the same
 * rules with its own, longer timeout; ICMP echo is a flow whose port is its
 * identifier. IPv6 passes untranslated. What is refused for other reasons than
 * a missing translation is lab_wall's.
 *
 * It knows nothing of links, routes or clocks: `now` is an argument.
 */

#include "lab_packet.h"
#include "lab_table.h"
#include "lab_wall.h"

enum lab_nat_allocation {
	LAB_NAT_PRESERVING, /* the inside port, or the next one free */
	LAB_NAT_SEQUENTIAL, /* port_step after the one before, or the next one free */
	LAB_NAT_RANDOM,
	LAB_NAT_BLOCK, /* at random in a block of port_block ports, one for each inside host */
};

enum {
	LAB_NAT_PUBLIC_MAX = 8,
	LAB_NAT_PORT_BLOCK_MIN = 16,
	LAB_NAT_BLOCKS_MAX = 4032, /* of the smallest, at one address */
	LAB_NAT_MAPPINGS_MAX = 32768,
	LAB_NAT_PERMISSIONS_MAX = 65536,
	LAB_NAT_FRAGMENTS_MAX = 64, /* datagrams in pieces, remembered by their first piece */
};

/* All fields but the addresses are uint64_t, for the table of names that sets them. */
struct lab_nat_config {
	uint64_t mapping;
	uint64_t filtering;
	uint64_t allocation;
	uint64_t port_step;
	uint64_t port_block;
	uint64_t hairpin;
	uint64_t inbound_refresh;   /* 1: packets from outside keep a mapping alive too */
	uint64_t pooling_arbitrary; /* 1: any public address for any flow, RFC 4787 4.1 */
	uint64_t mappings_max;
	uint64_t table_full_evicts; /* 1: what was unused the longest makes room */
	uint64_t udp_timeout_ns;
	uint64_t tcp_timeout_ns;
	uint64_t icmp_timeout_ns;
	struct lab_wall_config wall;
	uint32_t public_ip[LAB_NAT_PUBLIC_MAX];
	size_t public_count;
};

enum lab_nat_verdict {
	LAB_NAT_FORWARD,     /* translated */
	LAB_NAT_NO_MAPPING,  /* from outside to a port nobody has */
	LAB_NAT_FILTERED,    /* mapped, but this sender may not */
	LAB_NAT_UDP_BLOCKED, /* dropped; with LAB_WALL_UDP_REJECT the inside wants an error */
	LAB_NAT_UDP_SPENT,   /* the flow has had its udp_packets_max */
	LAB_NAT_BLACKLISTED,
	LAB_NAT_NO_HAIRPIN,
	LAB_NAT_TABLE_FULL,
	LAB_NAT_NO_PORT,     /* all that this host may have are taken */
	LAB_NAT_TTL_OVER,    /* the network's verdict, counted here */
	LAB_NAT_UNSUPPORTED, /* protocols without ports, and fragments before their first */
	LAB_NAT_VERDICTS,    /* how many there are */
};

struct lab_mapping {
	struct lab_key inside_key;
	struct lab_key outside_key;
	uint64_t expires_at; /* 0: free */
	uint64_t used_order; /* of the last use: several packets may share an instant */
	uint32_t inside_ip;
	uint32_t outside_ip;
	uint16_t inside_port;
	uint16_t outside_port;
	uint32_t permission; /* first of a list of index + 1 */
	uint32_t next;       /* free list, index + 1 */
};

/* "This remote endpoint was sent something through this mapping." */
struct lab_permission {
	struct lab_key key;
	uint64_t expires_at;
	uint32_t next; /* of the same mapping, or of the free list; index + 1 */
};

/* The ports of one inside host at one outside address. */
struct lab_block {
	uint32_t inside_ip;
	uint32_t outside_ip;
	uint32_t number; /* from 0 on, in units of port_block */
};

/* Where the later fragments of a datagram go: where the first one went. */
struct lab_fragment {
	struct lab_key key; /* as the pieces arrive here */
	uint32_t ip;        /* that replaces the source, or the destination */
	bool is_outbound;
};

struct lab_nat {
	struct lab_nat_config config; /* change it with lab_nat_configure() */
	uint64_t counters[LAB_NAT_VERDICTS];
	uint64_t uses;
	uint64_t created;
	uint64_t created_udp; /* of them */
	uint64_t evicted;
	uint64_t reboots;
	uint32_t used;
	uint32_t used_peak; /* the most at one time; what is over but was not looked at counts */
	uint32_t touched; /* mappings from this index on were never used since all were forgotten */
	struct lab_mapping *mappings;       /* owned */
	struct lab_permission *permissions; /* owned */
	uint32_t mapping_free;
	uint32_t permission_free;
	struct lab_table inside;  /* inside endpoint, and remote as the rule says, to mapping */
	struct lab_table outside; /* outside endpoint to mapping */
	struct lab_table allowed; /* mapping and remote to permission */
	struct lab_wall wall;
	struct lab_block *blocks; /* owned; of LAB_NAT_BLOCK */
	size_t block_count;
	struct lab_fragment fragments[LAB_NAT_FRAGMENTS_MAX];
	size_t fragment_next; /* the oldest, to be overwritten */
	struct lab_rng rng;
	uint16_t port_base;   /* of sequential allocation: the next one to try */
	uint16_t port_offset; /* of preserving allocation: inside + offset; 0 until a reboot */
};

/** lab_nat_new() - heap; owned by the caller. NULL when there is no memory. */
LAB_NODISCARD struct lab_nat *lab_nat_new(uint64_t seed);

void lab_nat_free(struct lab_nat *nat);

/**
 * lab_nat_configure() - become another NAT
 *
 * A change of rules or addresses forgets all mappings, as a change of router
 * does. A change of timeouts, hairpin or blocking does not.
 *
 * Return: 0 or -EINVAL (then nothing has changed).
 */
LAB_NODISCARD int lab_nat_configure(struct lab_nat *nat, const struct lab_nat_config *config);

/** lab_nat_reboot() - forget all; unless @keeps_ports, hand out other ports than before. */
void lab_nat_reboot(struct lab_nat *nat, bool keeps_ports);

/** lab_nat_expire() - forget what has timed out at @now; only counting needs it. */
void lab_nat_expire(struct lab_nat *nat, uint64_t now);

bool lab_nat_owns(const struct lab_nat *nat, uint32_t ip);

/** lab_nat_outbound() - translate the source; the packet changes only with LAB_NAT_FORWARD. */
LAB_NODISCARD enum lab_nat_verdict lab_nat_outbound(struct lab_nat *nat, uint64_t now,
                                                    struct lab_packet *p, struct lab_flow *flow);

/** lab_nat_inbound() - translate the destination, if the sender may. */
LAB_NODISCARD enum lab_nat_verdict lab_nat_inbound(struct lab_nat *nat, uint64_t now,
                                                   struct lab_packet *p, struct lab_flow *flow);

/** lab_nat_outbound6() - let an IPv6 packet out, as the wall says. */
LAB_NODISCARD enum lab_nat_verdict lab_nat_outbound6(struct lab_nat *nat, uint64_t now,
                                                     const struct lab_packet *p,
                                                     const struct lab_flow *flow);

/** lab_nat_inbound6() - let an IPv6 packet in, as the wall says. */
LAB_NODISCARD enum lab_nat_verdict lab_nat_inbound6(struct lab_nat *nat, uint64_t now,
                                                    const struct lab_packet *p,
                                                    const struct lab_flow *flow);

#pragma once
/* SPDX-License-Identifier: MIT */

/*
 * lab_nat - a network address translator in the terms of RFC 4787.
 *
 * Mapping (which flows share an outside port), filtering (who may answer) and
 * allocation (which port it is) are chosen separately. TCP follows the same
 * rules with its own, longer timeout; ICMP echo is a flow whose port is its
 * identifier. IPv6 passes beside it, untranslated.
 *
 * It knows nothing of links, routes or clocks: `now` is an argument.
 */

#include "lab_packet.h"
#include "lab_table.h"

enum lab_nat_rule {
	LAB_NAT_ENDPOINT_INDEPENDENT,
	LAB_NAT_ADDRESS_DEPENDENT,
	LAB_NAT_ADDRESS_AND_PORT_DEPENDENT,
};

enum lab_nat_allocation {
	LAB_NAT_PRESERVING, /* the inside port, or the next one free */
	LAB_NAT_SEQUENTIAL,
	LAB_NAT_RANDOM,
};

enum lab_nat_udp {
	LAB_NAT_UDP_PASS,
	LAB_NAT_UDP_DROP,   /* silently, both ways */
	LAB_NAT_UDP_REJECT, /* with "administratively prohibited" to the inside */
};

enum {
	LAB_NAT_PUBLIC_MAX = 8,
	LAB_NAT_MAPPINGS_MAX = 32768,
	LAB_NAT_PERMISSIONS_MAX = 65536,
	LAB_NAT_FRAGMENTS_MAX = 64, /* datagrams in pieces, remembered by their first piece */
};

/* All fields but the addresses are uint64_t, for the table of names that sets them. */
struct lab_nat_config {
	uint64_t mapping;
	uint64_t filtering;
	uint64_t allocation;
	uint64_t udp;
	uint64_t hairpin;
	uint64_t inbound_refresh;   /* 1: packets from outside keep a mapping alive too */
	uint64_t pooling_arbitrary; /* 1: any public address for any flow, RFC 4787 4.1 */
	uint64_t mappings_max;
	uint64_t udp_timeout_ns;
	uint64_t tcp_timeout_ns;
	uint64_t icmp_timeout_ns;
	uint32_t public_ip[LAB_NAT_PUBLIC_MAX];
	size_t public_count;
};

enum lab_nat_verdict {
	LAB_NAT_FORWARD,     /* translated */
	LAB_NAT_NO_MAPPING,  /* from outside to a port nobody has */
	LAB_NAT_FILTERED,    /* mapped, but this sender may not */
	LAB_NAT_UDP_BLOCKED, /* dropped; with LAB_NAT_UDP_REJECT the inside wants an error */
	LAB_NAT_NO_HAIRPIN,
	LAB_NAT_TABLE_FULL,
	LAB_NAT_UNSUPPORTED, /* protocols without ports, and fragments before their first */
	LAB_NAT_VERDICTS,    /* how many there are */
};

struct lab_mapping {
	struct lab_key inside_key;
	struct lab_key outside_key;
	uint64_t expires_at; /* 0: free */
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

/* Where the later fragments of a datagram go: where the first one went. */
struct lab_fragment {
	struct lab_key key; /* as the pieces arrive here */
	uint32_t ip;        /* that replaces the source, or the destination */
	bool is_outbound;
};

struct lab_nat {
	struct lab_nat_config config; /* change it with lab_nat_configure() */
	uint64_t counters[LAB_NAT_VERDICTS];
	uint64_t created;
	uint64_t reboots;
	uint32_t used;
	struct lab_mapping *mappings;       /* owned */
	struct lab_permission *permissions; /* owned */
	uint32_t mapping_free;
	uint32_t permission_free;
	struct lab_table inside;  /* inside endpoint, and remote as the rule says, to mapping */
	struct lab_table outside; /* outside endpoint to mapping */
	struct lab_table allowed; /* mapping and remote to permission */
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

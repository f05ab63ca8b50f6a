#pragma once
/* SPDX-License-Identifier: MIT */

/*
 * lab_net - the internet: a tree of nodes, and the way of a packet through it.
 *
 *                  internet (node 0)
 *                /      |           \        each line is a link with two
 *           server   home (NAT)   carrier (NAT)    directions, "out" up the
 *                      /   \          |            tree and "in" down it; it
 *                     a     b     office (NAT)     belongs to its lower end
 *                                     |
 *                                     c
 *
 * A packet climbs until a node knows the way down to its destination. A NAT
 * delivers between its own children without translating: they share a LAN.
 */

#include "lab_host.h"
#include "lab_link.h"
#include "lab_nat.h"

enum {
	LAB_NODES_MAX = 512,
	LAB_NAME_SIZE = 32,
	LAB_INTERNET = 0,
	LAB_ROUTES_MAX = 8192,
	LAB_BURST_MAX = 64, /* packets read from one host before the others get a turn */
};

enum lab_direction {
	LAB_IN,  /* towards the host: down the tree */
	LAB_OUT, /* from the host: up the tree */
	LAB_DIRECTIONS,
};

enum lab_kind {
	LAB_KIND_INTERNET,
	LAB_KIND_HOST,
	LAB_KIND_NAT,
};

struct lab_node {
	char name[LAB_NAME_SIZE];
	enum lab_kind kind;
	uint16_t parent;
	struct lab_link links[LAB_DIRECTIONS]; /* to the parent; unused in the internet */
	struct lab_host host;                  /* of a host */
	struct lab_nat *nat;                   /* of a NAT; owned */
	struct lab_address addresses[LAB_ADDRESSES_MAX];
	size_t address_count;
};

struct lab_net {
	struct lab_node nodes[LAB_NODES_MAX];
	size_t node_count;
	struct lab_table routes; /* node and destination to the child on the way there */
	struct lab_pool pool;
	struct lab_queue queue;
	uint64_t now;
	uint64_t seed;
	uint64_t drop_no_route;
	uint64_t drop_malformed;
	uint64_t drop_ttl;
	uint64_t hops;    /* routers of the internet between any two of its children */
	uint64_t carried; /* packets that waited in a link and went on */
	uint64_t late;    /* those of them that went on a millisecond after their time or more */
	uint64_t late_max_ns; /* the worst of them, of all */
	bool has_offload;
	struct lab_packet rx; /* the packet being read; borrows rx_bytes */
	uint8_t rx_bytes[LAB_VNET_SIZE + LAB_SUPER_SIZE_MAX];
};

/** lab_net_init() - an internet without hosts. Return: 0 or -ENOMEM. */
LAB_NODISCARD int lab_net_init(struct lab_net *net, uint64_t seed, bool has_offload);

/** lab_net_deinit() - kill all hosts and free everything. */
void lab_net_deinit(struct lab_net *net);

/** lab_net_find() - node index by name, or -ENOENT. */
LAB_NODISCARD int lab_net_find(const struct lab_net *net, const char *name);

/** lab_net_add_host() - Return: index, or negative errno. */
LAB_NODISCARD int lab_net_add_host(struct lab_net *net, const struct lab_host_config *config);

/** lab_net_add_nat() - Return: index, or negative errno. */
LAB_NODISCARD int lab_net_add_nat(struct lab_net *net, const char *name);

/**
 * lab_net_place() - hang a node under @parent with these addresses, instead of where it was
 *
 * Packets under way to it are not called back. Only a node without children may
 * change its parent (their IPv6 routes lead through it): otherwise -EBUSY.
 *
 * Return: 0, or negative errno.
 */
LAB_NODISCARD int lab_net_place(struct lab_net *net, uint16_t node, uint16_t parent,
                                const struct lab_address *addresses, size_t count);

/** lab_net_on_readable() - forward what the host has sent. */
void lab_net_on_readable(struct lab_net *net, uint16_t node, uint64_t now);

/** lab_net_on_deadline() - forward what is due at @now. */
void lab_net_on_deadline(struct lab_net *net, uint64_t now);

uint64_t lab_net_deadline(const struct lab_net *net);

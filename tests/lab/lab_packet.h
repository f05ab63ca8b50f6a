#pragma once
/* SPDX-License-Identifier: MIT */

/*
 * lab_packet - one IP packet on its way: buffers, checksums, segmentation.
 *
 * The only file that knows the layouts of IP, TCP, UDP and ICMP. A packet may
 * be a super-packet of the sender's TSO or USO (RFC-less, see virtio_net_hdr);
 * it then counts as lab_packet_segment_count() packets and travels whole only
 * over links that do nothing to it.
 *
 * Checksums are "partial" while vnet.flags says so: the field then holds the
 * sum of the pseudo header alone and nobody has looked at the payload yet.
 */

#include <linux/virtio_net.h>

#include "lab_base.h"

enum {
	LAB_VNET_SIZE = 12,         /* header before each packet on a TUN; 12 keeps IP aligned */
	LAB_PACKET_SIZE_MAX = 1900, /* a packet that waits; bounds the MTU of every link */
	LAB_SUPER_SIZE_MAX = 65536,
	LAB_PACKETS_MAX = 131072, /* all that wait at one time; 256 MiB when all are used */
};

struct lab_packet {
	struct lab_packet *next; /* free list */
	uint64_t at;             /* instant at which it leaves the link it waits in */
	uint64_t order;          /* ties of `at` are broken by arrival */
	uint8_t *data;           /* IP header; LAB_VNET_SIZE bytes before it are ours too */
	uint32_t size;           /* bytes from the IP header on */
	uint16_t node;           /* link in which it waits */
	uint8_t direction;
	bool is_borrowed; /* the reader's buffer: copy it, never keep or free it */
	struct virtio_net_hdr vnet;
};

/* What routing, NAT and links want to know; offsets are into packet->data. */
struct lab_flow {
	uint8_t version;
	uint8_t protocol;
	uint8_t tcp_flags;
	bool is_fragment;       /* not a whole datagram */
	bool is_later_fragment; /* not the first: it has no ports and no checksum */
	uint16_t id;            /* of the fragments that belong together, IPv4 */
	bool is_icmp_error;
	uint16_t l4_offset;
	uint16_t payload_offset; /* behind the TCP, UDP or ICMP header */
	uint16_t src_port;       /* of an ICMP echo: its identifier, in both */
	uint16_t dst_port;
	uint32_t src; /* IPv4 only, host order */
	uint32_t dst;
};

struct lab_pool {
	struct lab_packet *free;
	size_t made_count;
	size_t used_count;
};

/** lab_pool_take() - an empty packet, owned by the caller; NULL when LAB_PACKETS_MAX wait. */
LAB_NODISCARD struct lab_packet *lab_pool_take(struct lab_pool *pool);

/** lab_pool_put() - give a packet back; a borrowed one is left alone. */
void lab_pool_put(struct lab_pool *pool, struct lab_packet *p);

/** lab_packet_read() - parse the headers. Return: false when @p is no sound IP packet. */
LAB_NODISCARD bool lab_packet_read(const struct lab_packet *p, struct lab_flow *flow);

/** lab_packet_segment_count() - how many packets @p is on a real wire; 1 without GSO. */
size_t lab_packet_segment_count(const struct lab_packet *p, const struct lab_flow *flow);

/** lab_packet_segment_size() - size of the largest of these packets. */
size_t lab_packet_segment_size(const struct lab_packet *p, const struct lab_flow *flow);

/** lab_packet_segment() - write number @index of these packets to @out. */
void lab_packet_segment(const struct lab_packet *p, const struct lab_flow *flow, size_t index,
                        struct lab_packet *out);

/** lab_packet_copy() - @out becomes a copy of @p, which must not be a super-packet. */
void lab_packet_copy(const struct lab_packet *p, struct lab_packet *out);

/**
 * lab_packet_rewrite() - replace the source or destination endpoint, IPv4
 * @is_source: which of the two
 *
 * Checksums follow incrementally (RFC 1624); @flow follows too.
 */
void lab_packet_rewrite(struct lab_packet *p, struct lab_flow *flow, bool is_source, uint32_t ip,
                        uint16_t port);

/** lab_packet_read_quoted() - headers of the packet an IPv4 ICMP error complains about. */
LAB_NODISCARD bool lab_packet_read_quoted(const struct lab_packet *p, const struct lab_flow *flow,
                                          struct lab_flow *quoted);

/** lab_packet_rewrite_quoted() - replace an endpoint inside the complaint. */
void lab_packet_rewrite_quoted(struct lab_packet *p, const struct lab_flow *flow,
                               const struct lab_flow *quoted, bool is_source, uint32_t ip,
                               uint16_t port);

/* The two ECN bits of the IP header. */
enum { LAB_ECN_NONE = 0, LAB_ECN_CE = 3 };
unsigned lab_packet_ecn(const struct lab_packet *p);
/** lab_packet_set_ecn() - writes them; the checksum of an IPv4 header follows. */
void lab_packet_set_ecn(struct lab_packet *p, unsigned ecn);

/**
 * lab_packet_corrupt() - flip one payload bit
 * @keeps_checksum_right: the damage then reaches the application; otherwise the kernel drops it
 *
 * Return: false when there is no payload to damage.
 */
bool lab_packet_corrupt(struct lab_packet *p, const struct lab_flow *flow, struct lab_rng *rng,
                        bool keeps_checksum_right);

/** lab_packet_too_big() - @out: the ICMP error that tells the sender of @p about @mtu. */
void lab_packet_too_big(const struct lab_packet *p, const struct lab_flow *flow, uint32_t mtu,
                        struct lab_packet *out);

/** lab_packet_time_exceeded() - @out: the ICMP error that says that @p was too long under way. */
void lab_packet_time_exceeded(const struct lab_packet *p, const struct lab_flow *flow,
                              struct lab_packet *out);

/** lab_packet_prohibited() - @out: "communication administratively prohibited". */
void lab_packet_prohibited(const struct lab_packet *p, const struct lab_flow *flow,
                           struct lab_packet *out);

/**
 * lab_packet_age() - a router passes @p on: its TTL or hop limit becomes smaller by @hops
 *
 * Return: false when it would have to become 0; then nothing has changed.
 */
LAB_NODISCARD bool lab_packet_age(struct lab_packet *p, unsigned hops);

/** lab_packet_ends() - a number for each address; those of IPv6 are folded into 64 bits. */
void lab_packet_ends(const struct lab_packet *p, const struct lab_flow *flow, uint64_t *src,
                     uint64_t *dst);

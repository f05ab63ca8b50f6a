#pragma once
/* SPDX-License-Identifier: MIT */

/*
 * lab_link - one direction of one wire, and all the harm it can do.
 *
 * The order of work is that of a real path: the MTU of the interface, a
 * drop-tail queue in front of a serialiser, and behind it, on the wire, loss,
 * damage, duplication and delay. So a lost packet has used its share of the rate.
 *
 * A link with nothing to do is "clear" and costs nothing: packets, also the
 * super-packets of TSO and USO, pass straight through. Any other link takes
 * them apart and treats each segment as the packet it would be on a wire.
 */

#include "lab_queue.h"

/* What some networks do to packets that may be marked (ECT). */
enum lab_link_ecn { LAB_LINK_ECN_PASS, LAB_LINK_ECN_CLEAR, LAB_LINK_ECN_DROP };

/* All fields are uint64_t, so that one table of names and offsets can set them. */
struct lab_link_config {
	uint64_t delay_ns;
	uint64_t jitter_ns;       /* added to the delay, uniform in [0, jitter] */
	uint64_t jitter_reorders; /* 0: a packet never overtakes; 1: it may, by jitter */
	uint64_t rate_bps;        /* of IP bytes; 0: endless */
	uint64_t queue_size;      /* bytes in front of the serialiser, the one in it included */
	uint64_t loss_ppm;        /* independent; in the good state of the burst model */
	uint64_t burst_enter_ppm; /* Gilbert-Elliott, per packet: good to bad */
	uint64_t burst_leave_ppm; /* bad to good */
	uint64_t burst_loss_ppm;  /* loss in the bad state */
	uint64_t reorder_ppm;     /* packets held back by reorder_ns, overtaken meanwhile */
	uint64_t reorder_ns;
	uint64_t duplicate_ppm;
	uint64_t corrupt_ppm;
	uint64_t corrupt_checksum_wrong; /* 0: damage reaches the application; 1: it does not */
	uint64_t mtu_size;               /* 0: no limit of its own */
	uint64_t mtu_icmp;               /* 1: answer "too big"; 0: swallow silently */
	uint64_t is_down;                /* swallows everything */
	uint64_t mark_size;              /* ECT becomes CE when more bytes are queued; 0: never */
	uint64_t ecn;                    /* enum lab_link_ecn */
};

/* Counts are of packets as on a wire: a super-packet counts its segments. */
struct lab_link_counters {
	uint64_t packets; /* that came out at the far end or are on their way to it */
	uint64_t bytes;
	uint64_t udp_packets; /* that were offered, whatever became of them */
	uint64_t drop_down;
	uint64_t drop_mtu;
	uint64_t drop_queue;
	uint64_t drop_loss;
	uint64_t drop_no_buffer;
	uint64_t duplicated;
	uint64_t corrupted;
	uint64_t reordered;
	uint64_t marked;   /* ECT that became CE */
	uint64_t drop_ecn; /* for being ECT */
};

struct lab_link {
	struct lab_link_config config; /* change it with lab_link_configure() */
	struct lab_link_counters counters;
	struct lab_rng rng;
	uint64_t idle_at; /* when the serialiser will have sent all it was given */
	uint64_t last_at; /* latest instant given to a packet that may not be overtaken */
	uint16_t node;    /* stamped on packets that wait */
	uint8_t direction;
	bool is_clear;
	bool is_bad; /* state of the burst model */
};

/* What a link needs of the world in one call. */
struct lab_link_world {
	struct lab_pool *pool;
	struct lab_queue *queue;
	uint64_t now;
};

enum lab_link_verdict {
	LAB_LINK_PASS,    /* nothing was done: carry on with the packet */
	LAB_LINK_TAKEN,   /* it waits, was copied, or is gone: the packet is not yours any more */
	LAB_LINK_TOO_BIG, /* dropped for its size, yours still: an ICMP error is wanted */
};

void lab_link_init(struct lab_link *link, uint16_t node, uint8_t direction, uint64_t seed);

/** lab_link_configure() - new behaviour from the next packet on. Return: 0 or -EINVAL. */
LAB_NODISCARD int lab_link_configure(struct lab_link *link, const struct lab_link_config *config);

/** lab_link_pass() - put @p on the wire; @flow is what lab_packet_read() says of it. */
LAB_NODISCARD enum lab_link_verdict lab_link_pass(struct lab_link *link,
                                                  const struct lab_link_world *world,
                                                  struct lab_packet *p,
                                                  const struct lab_flow *flow);

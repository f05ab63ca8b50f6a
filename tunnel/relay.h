/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * relay - channels of a server: packets that two agents have sealed for each other
 * go from one to the other by a random 64-bit number, swapped in place (protocol
 * rules 2.3, 5.9, 6.4).
 *
 * Each end of a channel has its own number, known to it and to the server alone. A packet passes
 * only from the present path of the port that owns the number, and only to the present path of the
 * other port, heard from within 30 s or as long as it said that it may be silent. No call takes an
 * address to send to: one packet in, at most one out, never larger, never to anybody who did not
 * open a session.
 *
 * Knows neither keys nor tags. Memory is taken when a channel is opened; forwarding takes none.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/idmap.h"
#include "base/list.h"
#include "base/ratelimit.h"
#include "base/rng.h"
#include "base/time.h"
#include "tunnel/train.h"
#include "tunnel/wire.h"

enum {
	RELAY_QUEUE_PACKETS = 64, /* per destination, while the shell takes nothing */
	RELAY_QUEUE_BYTES = 96 * 1024,
	/* Bytes behind the header that pass even when the quota is spent ... */
	RELAY_SMALL_MAX = MESSAGE_RATE_SMALL_BYTES,
	RELAY_SMALL_RATE = 20, /* ... so many a second and channel: rekeys and punching */
};

/* One agent; embedded in its session. Its owner writes path, heard_at and strayed_at. */
struct relay_port {
	struct addr path; /* validated; ADDR_NONE: lost, and nothing passes */
	uint16_t socket;
	uint16_t silence_s; /* it may be silent for so long and still be there, if more than 30 */
	/* A TCP connection that it has left for another path: what is in its queue still comes. */
	struct addr before;
	cv_time before_until;
	cv_time heard_at;   /* something opened */
	cv_time strayed_at; /* since when what opens comes from elsewhere only; 0: it does not */
	struct bucket from, to; /* what it sends, what it gets */
	struct list channels;   /* ends */
	struct list ready;      /* in relay.ready while packets wait */
	uint32_t first, last;   /* of its queue */
	uint32_t count, bytes;
};

struct relay_channel;
struct relay_packets;

struct relay {
	struct idmap by_number;       /* to 2 * slot + side */
	struct relay_channel **slots; /* owned */
	uint32_t *unused;             /* stack of slots */
	uint32_t unused_count;
	uint32_t count, max;
	struct relay_packets *packets; /* owned pool of waiting packets */
	struct list ready;             /* ports, in turn */
	uint64_t rate;                 /* bytes/s a port and direction; 0: no cap */
	bool is_small_only;            /* the operator does not lend his bandwidth */
	uint64_t rx_bytes, rx_packets, tx_bytes;
	uint64_t dropped; /* from full queues */
};

enum relay_verdict {
	RELAY_FORWARDED,
	RELAY_MALFORMED,
	RELAY_UNKNOWN,      /* no such number */
	RELAY_WRONG_SOURCE, /* not from its owner's path: perhaps that has moved */
	RELAY_SILENT,       /* the other end was not heard for that long, or has no path */
	RELAY_TOO_LARGE,
	RELAY_QUOTA,
	RELAY_FULL,
};

/* One end of a channel as its owner names it. */
struct relay_end_info {
	uint64_t number;
	uint32_t name; /* as given to relay_open() */
	uint32_t other_name;
	struct relay_port *other;
};

/* @ports_max bounds channels (4 a port) and waiting packets. */
CV_NODISCARD int relay_init(struct relay *r, uint32_t ports_max, uint64_t rate, bool is_small_only,
                            uint64_t seed);
void relay_deinit(struct relay *r);
/* No address yet: nothing passes. */
void relay_port_init(struct relay_port *p);
/* Its channels have been closed; what waits for it is dropped. */
void relay_port_deinit(struct relay *r, struct relay_port *p);

/**
 * relay_open() - make a channel between two ports
 * @a_name, @b_name: what the owner calls its ends
 * @a_number, @b_number: receive the number of each end
 * Return: 0, -ENOBUFS at the limit, -ENOMEM.
 */
CV_NODISCARD int relay_open(struct relay *r, const struct rng *rng, struct relay_port *a,
                            uint32_t a_name, struct relay_port *b, uint32_t b_name,
                            uint64_t *a_number, uint64_t *b_number);
/* False when @number is not @owner's. */
bool relay_find(const struct relay *r, const struct relay_port *owner, uint64_t number,
                struct relay_end_info *out);
/* Both numbers are gone. */
void relay_close(struct relay *r, uint64_t number);
/* Some channel of @p; false: it has none. */
bool relay_first(const struct relay *r, const struct relay_port *p, struct relay_end_info *out);
/* What a node of relay_port.channels is. Closing it while walking with list_for_each() is allowed.
 */
void relay_describe(const struct relay *r, struct list *node, struct relay_end_info *out);

/* True when what comes from there is @p's own: its path, or for a moment the one before. */
bool relay_port_is_at(const struct relay_port *p, cv_time now, uint16_t socket,
                      const struct addr *from);
/* Nothing comes from @p's path any more, though its agent lives: what goes there opens no router,
 * and makes those that ban who was not asked refuse us where the agent is now. */
bool relay_port_is_left(const struct relay_port *p, cv_time now);
/* Its path is lost: what waits for it is dropped, and nothing passes until it has another. */
void relay_port_lose(struct relay *r, struct relay_port *p);

/* A RELAY datagram. *@owner: whose number it carries, NULL for an unknown one. */
enum relay_verdict relay_on_datagram(struct relay *r, cv_time now, uint16_t socket,
                                     const struct addr *from, const uint8_t *bytes, size_t size,
                                     struct relay_port **owner);
/* The next train: packets of one destination, equal in size but for the last. */
bool relay_write(struct relay *r, struct train *out);
/* The same, of what waits for @p. */
bool relay_write_to(struct relay *r, struct relay_port *p, struct train *out);
bool relay_check(const struct relay *r);

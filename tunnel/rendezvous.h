/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * rendezvous - the agent's side of one server: handshake, registration of meeting
 * tags, keepalive, the address the server sees, and channels to peers (rules 2.1-2.9).
 *
 * Where UDP does not pass, a TCP connection carries the session, made on demand by the shell; back
 * to UDP when that answers (rule 6.1).
 *
 * One object a configured server. The endpoint hands it the datagrams that are its own, asks it to
 * write, and pulls its events. It sends only to its server's addresses. Never closed; retries for
 * ever.
 *
 *   RESOLVING -> CONNECTING -> UP -> (silence) CONNECTING ...
 *
 * Keepalive: a PROBE challenge as often as rendezvous_set_keepalive() says, 25 s at first, answered
 * with the address seen; an unanswered one is repeated after 1, 2, 3 s, then the session is taken
 * for lost and a continuing INIT goes out. A challenge of the server's means that it sees us
 * elsewhere, or not at all: it is answered, and answered by one of ours, which brings the new
 * address.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/rng.h"
#include "base/time.h"
#include "base/trace.h"
#include "tunnel/assoc.h"
#include "tunnel/initiator.h"
#include "tunnel/link.h"
#include "tunnel/train.h"

struct rendezvous; /* opaque */

enum {
	RENDEZVOUS_ADDRESSES_MAX = 8,
	RENDEZVOUS_TCP_ADDRESSES_MAX = 2 * RENDEZVOUS_ADDRESSES_MAX,
	RENDEZVOUS_TCP_PORT_USUAL = 443, /* that the strictest networks let through */
};

struct rendezvous_options {
	const struct identity *me;
	const uint8_t *server_pk; /* 32 bytes, copied */
	struct indexes *indexes;
	uint64_t owner;        /* for the indices */
	const struct rng *rng; /* borrowed for its life */
	const struct trace *trace;
	uint32_t number; /* of this server, for trace and sources */
};

CV_NODISCARD int rendezvous_new(struct rendezvous **out, cv_time now,
                                const struct rendezvous_options *opt);
void rendezvous_free(struct rendezvous *r, cv_time now);

/* Fresh addresses of the server (resolved at every attempt by the shell, see
 * RENDEZVOUS_EVENT_RESOLVE); tries them all, 250 ms apart. */
void rendezvous_set_addresses(struct rendezvous *r, cv_time now, const struct addr *list,
                              unsigned count);

/* A peer that may be met here; @peer is the endpoint's number for it. 0 or -ENOMEM. */
CV_NODISCARD int rendezvous_add_peer(struct rendezvous *r, uint32_t peer,
                                     const uint8_t peer_pk[32]);
void rendezvous_remove_peer(struct rendezvous *r, cv_time now, uint32_t peer);
/* Opens a channel to @peer (idempotent), carrying @init (WIRE_INIT_SIZE bytes, copied) in the
 * message if not NULL. Before the server session is up it is remembered and rides in the first
 * packet. */
void rendezvous_open(struct rendezvous *r, cv_time now, uint32_t peer, const uint8_t *init);
/* The channel of @peer, 0: none. */
uint64_t rendezvous_channel(const struct rendezvous *r, uint32_t peer);

/* Receives: a RESP, COOKIE or VERSION that names our handshake's index, or DATA/PROBE that names
 * one of our epochs. In place. */
void rendezvous_on_datagram(struct rendezvous *r, cv_time now, uint16_t socket,
                            const struct addr *from, uint8_t *bytes, size_t size);
/* Where it listens to TCP, in the order to try them: on @port, if that was set, else on the port
 * that it has for UDP and on 443. Returns their number. */
unsigned rendezvous_tcp_addresses(const struct rendezvous *r,
                                  struct addr out[RENDEZVOUS_TCP_ADDRESSES_MAX]);
void rendezvous_set_tcp_port(struct rendezvous *r, uint16_t port);
/* The connection asked for is there: datagrams by it have the socket SOCKET_TCP and the address
 * @to.
 */
void rendezvous_on_tcp(struct rendezvous *r, cv_time now, const struct addr *to);
/* It ended, or could not be made. */
void rendezvous_on_tcp_closed(struct rendezvous *r, cv_time now);

/* True when @from is the server's current address: RELAY is taken from nowhere else. */
bool rendezvous_is_from(const struct rendezvous *r, uint16_t socket, const struct addr *from);
/* A RELAY of one of our channels came from there: by TCP that shows that the connection lives,
 * though what was asked waits in a queue. */
void rendezvous_on_relayed(struct rendezvous *r, cv_time now, uint16_t socket);
/* Which peer a channel number announced here belongs to; false: unknown. */
bool rendezvous_find_channel(const struct rendezvous *r, uint64_t channel, uint32_t *peer);
/* Where RELAY datagrams go now; false when the server is not up. */
bool rendezvous_address(const struct rendezvous *r, uint16_t *socket, struct addr *to);

/* Next datagram to the server; false when none is due. Fills a train of one. */
bool rendezvous_write(struct rendezvous *r, cv_time now, struct train *out);
cv_time rendezvous_deadline(const struct rendezvous *r);
void rendezvous_on_deadline(struct rendezvous *r, cv_time now);
/* ICMP refusal and the like: check the server at once. */
void rendezvous_check_now(struct rendezvous *r, cv_time now);
/* Network changed, wake-up: likewise, and what was found out about UDP and TCP counts no more. */
void rendezvous_on_network(struct rendezvous *r, cv_time now);
/* Somebody waits for a peer: check now, and no pause if what runs should fail. */
void rendezvous_want(struct rendezvous *r, cv_time now);
/* A way to a peer is silent, perhaps because we moved: likewise, but not again within a second. */
void rendezvous_doubt(struct rendezvous *r, cv_time now);
/* How long the session may be idle; the server is told. Random, up to a fifth shorter. */
void rendezvous_set_keepalive(struct rendezvous *r, cv_time now, cv_duration longest);
/* A challenge from @socket, which is not the session's: the server answers there, after @seconds.
 * False: the session is not up. */
bool rendezvous_write_aside(struct rendezvous *r, cv_time now, uint16_t socket, uint16_t seconds,
                            uint64_t token, struct train *out);
/* The token of an answer that came to another socket than the session's; false: none. */
bool rendezvous_take_aside(struct rendezvous *r, uint64_t *token);
/* Says goodbye (best effort, one datagram via rendezvous_write) so that the server tells the
 * matched peers at once. */
void rendezvous_close(struct rendezvous *r, cv_time now);

enum rendezvous_event_kind {
	RENDEZVOUS_EVENT_RESOLVE, /* wants rendezvous_set_addresses() */
	RENDEZVOUS_EVENT_UP,
	RENDEZVOUS_EVENT_DOWN,
	RENDEZVOUS_EVENT_ADDRESS, /* the address it sees us at is new: .addr */
	RENDEZVOUS_EVENT_PRESENT, /* .peer is registered there */
	RENDEZVOUS_EVENT_ABSENT,  /* .peer is not (or not mutual, or unknown); .is_gone: it was, and
	                             its process ended or its port refuses */
	RENDEZVOUS_EVENT_OFFER, /* .peer opened .channel; .init is its INIT or NULL: borrowed until
	                           the next call */
	RENDEZVOUS_EVENT_CHANNEL, /* .channel to .peer is open */
	RENDEZVOUS_EVENT_CHANNEL_GONE,
	RENDEZVOUS_EVENT_REFUSED,   /* .text: why the server will not serve us */
	RENDEZVOUS_EVENT_TCP_OPEN,  /* wants a TCP connection to one of rendezvous_tcp_addresses(),
	                               then rendezvous_on_tcp(); or rendezvous_on_tcp_closed() */
	RENDEZVOUS_EVENT_TCP_CLOSE, /* it, or the attempt, is of no use any more */
	RENDEZVOUS_EVENT_LEG,       /* .leg is what our end of every channel is carried by now */
};

struct rendezvous_event {
	enum rendezvous_event_kind kind;
	uint32_t peer;
	bool is_gone;
	uint64_t channel;
	uint32_t rate_kbit; /* CHANNEL, OFFER: granted relay rate, 0: no cap */
	uint8_t leg;        /* enum leg_kind: CHANNEL, OFFER: of the other end; LEG: of ours */
	struct addr addr;
	const uint8_t *init;
	const char *text;
};
bool rendezvous_next_event(struct rendezvous *r, struct rendezvous_event *out);

struct rendezvous_stats {
	bool is_up;
	cv_duration rtt;            /* 0: unknown */
	struct addr public_address; /* ADDR_NONE: unknown */
	struct addr address;        /* of the server, as used */
	bool is_tcp;                /* by TCP, as UDP does not pass */
	const char *why;            /* it is not up, in words; NULL: it is */
	uint8_t version_seen;
};
void rendezvous_stats(const struct rendezvous *r, struct rendezvous_stats *out);
bool rendezvous_check(const struct rendezvous *r);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * endpoint - an agent's core: one port, all its peers and servers. Datagram ->
 * session or rendezvous; trains, deadlines and events out. Sans-I/O: the shell (src/net/udp_port)
 * pumps it, the simulator and the fuzzers too. Not thread-safe, calls nobody back.
 *
 * After any call that takes `now` the owner drains, in this order:
 *
 *	while (endpoint_next_event(e, now, &event))   act on it (streams may be written meanwhile)
 *	while (endpoint_next_datagram(e, ...))        hand it to its flow
 *	while (endpoint_write(e, now, &train))        send it
 *	arm one timer for endpoint_deadline(e)
 *
 * `now` never goes backwards. A turn of the loop begins with endpoint_on_turn(), which notices
 *sleep.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/pool.h"
#include "base/rng.h"
#include "base/time.h"
#include "base/trace.h"
#include "tunnel/cc.h"
#include "tunnel/handshake.h"
#include "tunnel/nat.h"
#include "tunnel/punch_budget.h"
#include "tunnel/rendezvous.h"
#include "tunnel/streams.h"
#include "tunnel/train.h"

struct endpoint;

enum {
	ENDPOINT_PEERS_MAX = 4096,
	ENDPOINT_SERVERS_MAX = 8,
	ENDPOINT_ADDRESSES_MAX = 8, /* static addresses of one peer or server */
	ENDPOINT_LOCAL_MAX = 12,    /* interface addresses announced */
	ENDPOINT_MAPPED_MAX = 2,    /* port mappings announced */
};

struct endpoint_options {
	const struct identity *me; /* borrowed */
	const struct rng *rng;     /* borrowed */
	const struct trace *trace; /* borrowed, or NULL */
	struct pool *pool;         /* borrowed: the process's budget */
	uint8_t aead_bits;         /* aead_available(), or less in tests */
	uint32_t streams_max;
	enum cc_kind congestion;
	/* Largest datagram that the shell receives, and sends unless its interface refuses it; 0:
	 * what an Ethernet carries, and none is refused. */
	uint32_t datagram_max;
	/* Budget of punching; 0: the defaults of punch.h. */
	uint32_t punch_sockets, punch_packets, punch_rate, punch_hourly;
};

/* Return: 0, -ENOMEM. */
CV_NODISCARD int endpoint_new(struct endpoint **out, cv_time now,
                              const struct endpoint_options *opt);
void endpoint_free(struct endpoint *e, cv_time now);

/* 0 with the server's number, -ENOBUFS, -ENOMEM. */
CV_NODISCARD int endpoint_add_server(struct endpoint *e, cv_time now, const uint8_t pk[32],
                                     uint32_t *server);

/* No longer configured: it hears a goodbye, and what it relayed finds another way. The number may
 * be given to another server. */
void endpoint_remove_server(struct endpoint *e, cv_time now, uint32_t server);
/* The port at which the server listens to TCP; without it, and for 0, the one that it has for UDP,
 * and 443. */
void endpoint_tcp_set_port(struct endpoint *e, uint32_t server, uint16_t port);

struct endpoint_peer {
	const uint8_t *pk;  /* 32 bytes, copied */
	const uint8_t *psk; /* 32 bytes or NULL, copied */
	uint8_t policy;     /* enum path_policy */
	bool has_address;   /* a static address will be given */
};
/* 0 with the peer's number, -EINVAL for an unusable key (low order, our own, or configured twice),
 * -EBUSY (it was removed just now and its streams are not let go), -ENOBUFS, -ENOMEM. A number is
 * given to another peer only when the one before has gone without a trace; none is lower than it
 * must be. */
CV_NODISCARD int endpoint_add_peer(struct endpoint *e, cv_time now,
                                   const struct endpoint_peer *peer, uint32_t *number);
/**
 * endpoint_change_peer() - the same peer (.pk is not looked at) is configured otherwise
 *
 * Policy and address change in place: paths that the policy does not allow are left at once, the
 * peer is told by a handshake. After a change of .has_address its addresses are to be set. Another
 * pre-shared key ends the session: CLOSE(removed), streams reset, and a new one begins.
 *
 * Return: 0; -EBUSY and nothing changed: too many sessions ended whose streams are not let go.
 */
CV_NODISCARD int endpoint_change_peer(struct endpoint *e, cv_time now, uint32_t number,
                                      const struct endpoint_peer *peer);
/* No longer configured: it hears CLOSE(removed), its streams get STREAM_EVENT_RESET in this turn.
 * The number may be used only for what events still name it, and to release streams. */
void endpoint_remove_peer(struct endpoint *e, cv_time now, uint32_t number);

/* Answers to ENDPOINT_EVENT_RESOLVE_*; may come again at any time; an empty list: the name did not
 * resolve. */
void endpoint_set_server_addresses(struct endpoint *e, cv_time now, uint32_t server,
                                   const struct addr *list, unsigned count);
void endpoint_set_peer_addresses(struct endpoint *e, cv_time now, uint32_t peer,
                                 const struct addr *list, unsigned count);
/* Addresses of our interfaces, with the port of the main socket: candidates. Loopback and
 * link-local ones are left out here. */
void endpoint_set_local_addresses(struct endpoint *e, cv_time now, const struct addr *list,
                                  unsigned count);
/**
 * endpoint_set_mapped_addresses() - ports that gateways forward to the main socket (net/portmap)
 * @list: addresses outside, at most ENDPOINT_MAPPED_MAX count; the list replaces the one before
 *
 * Candidates, announced to peers like the others. A gateway may say anything: what nobody may be
 * told is left out here, and who is told applies the rules of tunnel/candidate. A private or
 * shared address (a NAT behind a NAT) is told too, for peers between the two.
 */
void endpoint_set_mapped_addresses(struct endpoint *e, cv_time now, const struct addr *list,
                                   unsigned count);

/* Foreign STUN servers, which help to know what our router does. */
void endpoint_set_stun_addresses(struct endpoint *e, cv_time now, const struct addr *list,
                                 unsigned count);
/* The answer to ENDPOINT_EVENT_OPEN_SOCKETS: the first @opened of them are open on these local
 * @ports, the others could not be opened. */
void endpoint_on_sockets_opened(struct endpoint *e, cv_time now, uint16_t first, unsigned count,
                                unsigned opened, const uint16_t *ports);

/* Notices a gap (sleep, SIGSTOP): silence timers start again, paths are probed (rule 8.4). */
void endpoint_on_turn(struct endpoint *e, cv_time now);
/* One batch, opened in place. When @in->stays, what streams got of it may be read where it lies:
 * pull events after some of these, then endpoint_keep(). */
void endpoint_on_arrival(struct endpoint *e, cv_time now, struct arrival *in);
/* True when something was left where it came. */
bool endpoint_has_loans(const struct endpoint *e);
/* The arrivals' memory goes: what nobody has read yet is copied. */
void endpoint_keep(struct endpoint *e);
/* ICMP said that nobody listens at @to: a hint only. */
void endpoint_on_refused(struct endpoint *e, cv_time now, uint16_t socket, const struct addr *to);
/* EMSGSIZE: a datagram of @size did not leave. */
void endpoint_on_too_large(struct endpoint *e, cv_time now, uint16_t socket, const struct addr *to,
                           size_t size);
/*
 * TCP to servers, for networks that block UDP. ENDPOINT_EVENT_TCP_OPEN asks for a connection to one
 * of endpoint_tcp_addresses(), tried in that order. Datagrams come and go by it with the socket
 * SOCKET_TCP and the address of its far end (tunnel/carriage frames them).
 */
/* Returns their number. */
unsigned endpoint_tcp_addresses(const struct endpoint *e, uint32_t server,
                                struct addr out[RENDEZVOUS_TCP_ADDRESSES_MAX]);
/* The connection is there, to @to. */
void endpoint_tcp_on_open(struct endpoint *e, cv_time now, uint32_t server, const struct addr *to);
/* It has ended, or could not be made. Not in answer to ENDPOINT_EVENT_TCP_CLOSE. */
void endpoint_tcp_on_closed(struct endpoint *e, cv_time now, uint32_t server);
/* False: its queue is not empty, so that no data are to be built for it. Until then, true. */
void endpoint_tcp_on_writable(struct endpoint *e, cv_time now, uint32_t server, bool is_writable);
/* Next train; @out->bytes is TRAIN_BYTES_MAX of the shell's memory. A built train counts as sent: a
 * shell that is refused keeps it. */
bool endpoint_write(struct endpoint *e, cv_time now, struct train *out);
/* Remembers what it said: a turn much later than that is a gap. */
cv_time endpoint_deadline(struct endpoint *e);
void endpoint_on_deadline(struct endpoint *e, cv_time now);
/* The shell changed something in a peer's streams outside an event: it will be written and its
 * deadlines count. */
void endpoint_touch(struct endpoint *e, uint32_t peer);
/* Goodbye to every peer and server; drained by endpoint_write(). */
void endpoint_close(struct endpoint *e, cv_time now);

enum endpoint_event_kind {
	ENDPOINT_EVENT_RESOLVE_SERVER, /* wants endpoint_set_server_addresses(.server) */
	ENDPOINT_EVENT_RESOLVE_PEER,   /* wants endpoint_set_peer_addresses(.peer) */
	ENDPOINT_EVENT_PEER_UP,        /* an object is bound: streams flow */
	ENDPOINT_EVENT_PEER_DOWN, /* it is lost; its streams have got or get STREAM_EVENT_RESET.
	                             .code: enum wire_close_code or 0 */
	ENDPOINT_EVENT_PATH,      /* the path that data take has changed */
	ENDPOINT_EVENT_STREAM,    /* .streams and .stream */
	ENDPOINT_EVENT_SERVER_UP,
	ENDPOINT_EVENT_SERVER_DOWN,
	ENDPOINT_EVENT_SERVER_REFUSED, /* .text */
	ENDPOINT_EVENT_OPEN_SOCKETS,   /* wants sockets .socket ... + .count - 1 of IPv4 and
	                                  endpoint_on_sockets_opened() */
	ENDPOINT_EVENT_CLOSE_SOCKET,   /* .socket is not needed any longer */
	ENDPOINT_EVENT_CLASH,          /* one side says `path: direct`, the other `path: relay` */
	ENDPOINT_EVENT_DUPLICATE,      /* another agent uses this identity (.peer, or .server) */
	ENDPOINT_EVENT_TCP_OPEN,       /* wants a TCP connection to .server */
	ENDPOINT_EVENT_TCP_CLOSE,      /* wants it no longer, be it made or not */
};

struct endpoint_event {
	enum endpoint_event_kind kind;
	uint32_t peer, server;
	uint16_t code;
	uint16_t socket, count;
	const char *text;        /* static or borrowed until the next call */
	struct streams *streams; /* owner of .stream.stream; needed in calls about it */
	struct stream_event stream;
};
bool endpoint_next_event(struct endpoint *e, cv_time now, struct endpoint_event *out);

enum peer_state {
	PEER_CONNECTING, /* an attempt is under way, and none has failed since the last success */
	PEER_CONNECTED,
	PEER_DOWN, /* known to be down: the last attempt failed, its server says it is absent, or it
	              said goodbye */
};
enum peer_state endpoint_peer_state(const struct endpoint *e, uint32_t peer);
/* A client waits: an attempt begins at once if none runs. */
void endpoint_want_peer(struct endpoint *e, cv_time now, uint32_t peer);

/* The streams that new opens belong to; changes when the object is replaced, so ask each time. */
struct streams *endpoint_streams(struct endpoint *e, uint32_t peer);

/* True while streams to the peer wait because one side says `path: direct` and only a relay is
 * there; @since: for how long. */
bool endpoint_peer_is_held(const struct endpoint *e, cv_time now, uint32_t peer,
                           cv_duration *since);

/* `path: relay` holds: neither side tells the other an address of its network. */
bool endpoint_peer_is_relay_only(const struct endpoint *e, uint32_t peer);

/**
 * endpoint_send_datagram() - one datagram of a flow, unreliable
 * @flow:  id of the stream that opened the flow
 * @bytes: copied; @size may be 0
 *
 * It leaves within 100 ms or never. The first ones of a flow may be given right after its stream
 * was opened: they ride with the open.
 *
 * Return: 0; -EMSGSIZE over 65,507 bytes; -ENOBUFS when the budget is used up (dropped, counted);
 * -ENOTCONN when there is no session, or no way that this peer's policy allows: not counted, and
 * the caller may keep it.
 */
CV_NODISCARD int endpoint_send_datagram(struct endpoint *e, cv_time now, uint32_t peer,
                                        uint64_t flow, const uint8_t *bytes, size_t size);
/* Bytes of datagrams to the peer that wait for the pacer; above 256 KiB some are dropped: the
 * oldest of the flow that has most. */
size_t endpoint_datagrams_queued(const struct endpoint *e, uint32_t peer);
/* Of them, those of @flow, and perhaps of few others. */
size_t endpoint_flow_queued(const struct endpoint *e, uint32_t peer, uint64_t flow);
/* The next datagram that arrived, after events were pulled: the open of its flow may be among them.
 * Borrowed, with all those before it, until something arrives or endpoint_write() is called. */
bool endpoint_next_datagram(struct endpoint *e, uint32_t *peer, uint64_t *flow,
                            const uint8_t **bytes, size_t *size);
bool endpoint_has_datagrams(const struct endpoint *e);

struct endpoint_ping {
	cv_duration rtt;
	const char *path_kind; /* that it took, as in endpoint_peer_stats */
	struct addr address;   /* of the peer, or of the relaying server */
	uint32_t server;       /* that relayed it; UINT32_MAX: none */
};
/* What a stream may be held up by; used by `ping`: measures a round trip on the active path, or on
 * the first there is. The answer is in endpoint_ping_result(). */
void endpoint_ping(struct endpoint *e, cv_time now, uint32_t peer);
/* To be asked after events; true once for each answer. */
bool endpoint_ping_result(struct endpoint *e, cv_time now, uint32_t peer,
                          struct endpoint_ping *out);

enum { ENDPOINT_WHY_MAX = 320 };

struct endpoint_peer_stats {
	enum peer_state state;
	const char *path_kind;       /* "lan", "direct", "relay", "tcp", "none" */
	struct addr path_address;    /* of the peer, or of the relaying server */
	cv_duration rtt;             /* 0: unknown */
	uint32_t mtu;                /* 0: unknown */
	uint64_t sent_10s, lost_10s; /* packets over the last 10 s */
	char why[ENDPOINT_WHY_MAX];  /* why the path is not direct, or why there is none; empty: it
	                                is direct */
	uint32_t streams;
	uint64_t tx_bytes, rx_bytes; /* payload of streams and datagrams since start */
	double tx_bps, rx_bps;       /* over about a second */
};
void endpoint_peer_stats(struct endpoint *e, cv_time now, uint32_t peer,
                         struct endpoint_peer_stats *out);
void endpoint_server_stats(const struct endpoint *e, uint32_t server, struct rendezvous_stats *out);

/* What is known of the routers in front of us, and what finding ways through them has cost. */
struct endpoint_nat_stats {
	struct nat_profile nat;                         /* all unknown at first */
	uint64_t attempts, succeeded, packets, sockets; /* of punching, since the start */
	struct punch_limits limits;
	struct punch_left left;
};
void endpoint_nat_stats(const struct endpoint *e, cv_time now, struct endpoint_nat_stats *out);

struct endpoint_counters {
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes;
	uint64_t malformed, unknown_index, forged, replayed, gate_drops, relay_strays;
	uint64_t datagrams_dropped; /* of flows: too old, pushed out, never whole, no memory */
};
void endpoint_counters(const struct endpoint *e, struct endpoint_counters *out);
bool endpoint_check(const struct endpoint *e);

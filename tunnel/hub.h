/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * hub - the server: one port, all its agents. Datagram -> gate, server session or relay; rendezvous
 * through the directory; relay through channels. Sans-I/O like the rest: the shell
 * (src/net/udp_port) pumps it, the simulator too. A TCP connection is, to the hub, one more
 * address: datagrams that came by it have the socket SOCKET_TCP, and so have trains that leave by
 * it.
 *
 * State is in memory only, at most `agents` registrations of <= 2 KiB, and nothing is kept for a
 * source before its cookie. The hub has no verb that holds an address: it sends only to addresses
 * that proved themselves in a session.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/rng.h"
#include "base/time.h"
#include "base/trace.h"
#include "tunnel/binding.h"
#include "tunnel/handshake.h"
#include "tunnel/train.h"

struct hub;

struct hub_options {
	const struct identity *me;
	const struct rng *rng;
	const struct trace *trace;
	uint32_t agents_max;             /* 131,072 */
	uint32_t agents_per_address_max; /* 4,096 */
	bool relay_enabled;
	uint64_t relay_rate; /* bytes per second per agent, each direction; 0: no cap */
	bool access_anyone;
	const uint8_t (*access)[32]; /* borrowed list of keys when not anyone */
	size_t access_count;
	enum binding_mode stun;
};

CV_NODISCARD int hub_new(struct hub **out, cv_time now, const struct hub_options *opt);
void hub_free(struct hub *h, cv_time now);
/**
 * hub_change() - other options for a running hub
 * @opt: its access list, limit per address and relay count; the rest is as it was
 *
 * Agents that may not be here any longer hear CLOSE(policy) and are gone; channels that are open
 * stay so, at the new rate.
 *
 * Return: 0, or -ENOMEM and nothing has changed.
 */
CV_NODISCARD int hub_change(struct hub *h, cv_time now, const struct hub_options *opt);
/* One batch as received, opened in place. A relayed GRO batch leaves as trains again. */
void hub_on_arrival(struct hub *h, cv_time now, struct arrival *in);
/* The sockets under the port, for answers to STUN; without them they leave whence the request came
 * and name no address of ours. */
void hub_set_places(struct hub *h, const struct binding_place *list, unsigned count);
/* A destination refused our datagrams (ICMP port unreachable): check that session at once. */
void hub_on_refused(struct hub *h, cv_time now, uint16_t socket, const struct addr *to);
/* The TCP connection from @from has ended: nothing goes there any more. */
void hub_on_tcp_closed(struct hub *h, cv_time now, const struct addr *from);
/* True while the TCP connection from @from is the path of an agent. One that is not, for 10 s after
 * it came or ever later, is nobody's and may be closed. */
bool hub_has_tcp(const struct hub *h, const struct addr *from);
bool hub_write(struct hub *h, cv_time now, struct train *out);
cv_time hub_deadline(const struct hub *h);
void hub_on_deadline(struct hub *h, cv_time now);
/* Tells every agent goodbye; drained by hub_write(). */
void hub_close(struct hub *h, cv_time now);

#define HUB_DROPS(X)                                                                               \
	X(malformed)                                                                               \
	X(bad_mac)                                                                                 \
	X(limited)                                                                                 \
	X(unknown_index)                                                                           \
	X(forged)                                                                                  \
	X(replay)                                                                                  \
	X(access)                                                                                  \
	X(unknown_channel)                                                                         \
	X(wrong_source)                                                                            \
	X(silent_peer)                                                                             \
	X(quota)                                                                                   \
	X(queue_full)                                                                              \
	X(too_large)                                                                               \
	X(agents_full)                                                                             \
	X(address_full)                                                                            \
	X(stun_limited)                                                                            \
	X(stun_silent)

struct hub_stats {
	uint64_t agents, channels, relay_rx_bytes, relay_tx_bytes, relay_rx_packets, stun_answers;
#define HUB_DROP_FIELD(name) uint64_t drop_##name;
	HUB_DROPS(HUB_DROP_FIELD)
#undef HUB_DROP_FIELD
};
void hub_stats(const struct hub *h, struct hub_stats *out);
bool hub_check(const struct hub *h);

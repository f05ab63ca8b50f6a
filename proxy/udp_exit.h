/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * udp_exit - where the datagrams of one association leave: to any address or name, each judged by
 * the policy; and whose answers may come back.
 *
 * Knows the names that were looked up (for 60 s), the few datagrams that wait for a lookup, and the
 * hosts that the client has sent to. Opens no socket and asks no resolver: it hands out actions and
 * is told results, as dial does. The bytes in front of a datagram are udp_header's.
 *
 * One socket a family sends everything, so every destination sees the same port (RFC 4787, REQ-1:
 * endpoint-independent mapping), which is what hole punching between games and STUN need. What may
 * come back is address-dependent (REQ-8): any port of an address to which the client has sent
 * within the last 5 minutes. A stranger's datagram never enters the tunnel.
 *
 *   v = udp_exit_on_datagram(x, now, &acl, &host, &data, &to);     SEND: sendto(to)
 *   while (udp_exit_next_action(x, now, &acl, &action)) ...        after each input
 *
 * Nothing here has a deadline: what is old is seen to be old when it is next looked at, and a
 * lookup ends by the resolver's. About 60 KiB; nothing is allocated.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/hostport.h"
#include "base/time.h"
#include "proxy/acl.h"
#include "proxy/dial.h"

enum {
	UDP_EXIT_MAPPINGS_MAX = 512,   /* addresses sent to; the longest unused makes room */
	UDP_EXIT_NAMES_MAX = 64,       /* likewise */
	UDP_EXIT_ADDRESSES_MAX = 8,    /* kept of an answer, in the resolver's order */
	UDP_EXIT_LOOKUPS_MAX = 8,      /* at once */
	UDP_EXIT_KEPT_MAX = 16,        /* datagrams that wait for a lookup, in all */
	UDP_EXIT_KEPT_EACH_MAX = 4,    /* for one name */
	UDP_EXIT_KEPT_SIZE_MAX = 1500, /* a larger one does not wait: it is dropped */
};

/* Then it is looked up again, while what is known still serves: a flow neither stops nor moves to
 * another address that is as good. */
#define UDP_EXIT_NAME_AGE CV_SEC(60)
#define UDP_EXIT_FAILURE_AGE CV_SEC(5)    /* a flood to a bad name costs one lookup in that time */
#define UDP_EXIT_MAPPING_IDLE CV_SEC(300) /* RFC 4787, REQ-5 recommends 5 minutes */

enum udp_exit_verdict {
	UDP_EXIT_SEND,       /* now */
	UDP_EXIT_KEPT,       /* copied; it waits for its name */
	UDP_EXIT_DENIED,     /* by the policy */
	UDP_EXIT_UNRESOLVED, /* the name does not resolve, or did not a moment ago */
	UDP_EXIT_LIMIT,      /* too much waits already */
};

enum udp_exit_name_state {
	UDP_EXIT_FREE,
	UDP_EXIT_RESOLVING,
	UDP_EXIT_KNOWN,
	UDP_EXIT_REFRESHING, /* known, and being looked up again */
	UDP_EXIT_FAILED,
};

struct udp_exit_name {
	uint8_t state; /* enum udp_exit_name_state */
	bool is_asked; /* RESOLVING, REFRESHING: the action was handed out */
	uint8_t address_count;
	uint8_t current; /* of the addresses: those before it could not be sent to */
	uint8_t kept_count;
	cv_time good_until_at; /* KNOWN and FAILED */
	cv_time used_at;
	struct addr addresses[UDP_EXIT_ADDRESSES_MAX]; /* without port */
	char text[HOST_DNS_MAX + 1];
};

struct udp_exit_kept {
	bool is_used;
	uint8_t name_index;
	uint16_t port;
	uint16_t size;
	uint64_t number; /* they leave in the order of their coming */
	uint8_t bytes[UDP_EXIT_KEPT_SIZE_MAX];
};

/* Indices of a list are one more than those of the table: 0 is none. */
struct udp_exit_mapping {
	struct addr ip; /* without port */
	cv_time used_at;
	uint16_t chain;        /* next of the same bucket */
	uint16_t newer, older; /* by used_at */
};

struct udp_exit {
	uint64_t seed;
	uint64_t kept_number;
	uint8_t lookup_count, kept_count;
	uint16_t mapping_count, newest, oldest;
	uint16_t buckets[UDP_EXIT_MAPPINGS_MAX];
	struct udp_exit_mapping mappings[UDP_EXIT_MAPPINGS_MAX];
	struct udp_exit_name names[UDP_EXIT_NAMES_MAX];
	struct udp_exit_kept kept[UDP_EXIT_KEPT_MAX];
};

enum udp_exit_action_kind {
	UDP_EXIT_DO_NOTHING,
	UDP_EXIT_DO_RESOLVE, /* look up .name; then udp_exit_on_resolved() or _failed() with .index
	                      */
	UDP_EXIT_DO_SEND,    /* .bytes to .to */
	UDP_EXIT_DO_DROP,    /* a datagram to .name is dropped for .why: for logs and counters */
};

struct udp_exit_action {
	enum udp_exit_action_kind kind;
	unsigned index;   /* of the name, until it is told */
	const char *name; /* borrowed until the next call */
	struct addr to;   /* DO_SEND; DO_DROP has its port alone */
	const uint8_t *bytes;
	size_t size;
	enum udp_exit_verdict why;
};

/* A datagram's payload; borrowed for the call. */
struct udp_exit_bytes {
	const uint8_t *at;
	size_t size;
};

/* @seed: random; keeps strangers from choosing what falls into one bucket. */
void udp_exit_init(struct udp_exit *x, uint64_t seed);

/**
 * udp_exit_on_datagram() - the client sends this there
 * @acl:  of this moment; not kept
 * @host: HOST_ADDR or HOST_NAME
 * @to:   set with UDP_EXIT_SEND: the address that the policy has judged, and no other
 *
 * `localhost` is 127.0.0.1, and ::1 only where the policy or the host has no 127.0.0.1: datagrams
 * tell nobody that they were not received, so the one that most services have comes first.
 */
CV_NODISCARD enum udp_exit_verdict udp_exit_on_datagram(struct udp_exit *x, cv_time now,
                                                        const struct acl *acl,
                                                        const struct hostport *host,
                                                        const struct udp_exit_bytes *data,
                                                        struct addr *to);

/**
 * udp_exit_on_unreachable() - the host has no way to @to (ENETUNREACH, EADDRNOTAVAIL, ...)
 * @to: what could not be sent to; replaced by the next address of the same name
 *
 * Where @to came from a name that has more addresses, these are used from now on.
 * Return: true with another @to for the same datagram, false when there is none.
 */
CV_NODISCARD bool udp_exit_on_unreachable(struct udp_exit *x, cv_time now, const struct acl *acl,
                                          struct addr *to);

/* Results of UDP_EXIT_DO_RESOLVE, once each. An answer without addresses is "not found"; for
 * another reason what was known before stays so for a while. */
void udp_exit_on_resolved(struct udp_exit *x, cv_time now, unsigned index, const struct addr *addrs,
                          size_t count);
void udp_exit_on_resolve_failed(struct udp_exit *x, cv_time now, unsigned index,
                                enum dial_resolve_error why);

/* Something came from there: true if it may go to the client. */
CV_NODISCARD bool udp_exit_on_arrival(struct udp_exit *x, cv_time now, const struct addr *from);

/* What to do next; false: nothing now. @acl of this moment. */
CV_NODISCARD bool udp_exit_next_action(struct udp_exit *x, cv_time now, const struct acl *acl,
                                       struct udp_exit_action *out);
bool udp_exit_check(const struct udp_exit *x);

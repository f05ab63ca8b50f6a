/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * netcheck - everything that STUN can find out from here, once: who answers and how fast, what the
 * routers do with mappings, packets from strangers, their own hosts and the order of ports, and how
 * large a datagram reaches a server. Sans-I/O; needs no key and no session. Discovery, the agent's
 * own, asks less and goes on; both conclude by tunnel/nat.
 *
 *	ASKING   from one socket each server; of ours the next port up and the other address, of
 *	         others both ports of the other address, where there is one
 *	TESTING  from fresh sockets: eight in order; and those of the next step hear their server
 *	LAST     answers from another port, from another address, round the router; sizes
 *
 * Where a server says that it, or we, can be reached is asked only if a peer could have us probe it
 * (tunnel/candidate).
 *
 * A step ends when each question is answered or has been asked often enough.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/ratelimit.h"
#include "base/rng.h"
#include "base/time.h"
#include "tunnel/candidate.h"
#include "tunnel/nat.h"
#include "tunnel/train.h"

/* Sockets that the shell opens before the start; those it cannot are left out. */
enum netcheck_socket {
	NETCHECK_MAIN,
	NETCHECK_MAIN6, /* the only one of IPv6 */
	NETCHECK_PORT,  /* hears its server only, and then its other port? */
	NETCHECK_IP,    /* the same for another address */
	NETCHECK_HAIRPIN,
	NETCHECK_SAMPLE,
	NETCHECK_SAMPLES = 8,
	NETCHECK_SOCKETS = NETCHECK_SAMPLE + NETCHECK_SAMPLES,
};

enum {
	NETCHECK_PLACES_MAX = 32,
	NETCHECK_QUESTIONS_MAX = 3 * NETCHECK_PLACES_MAX + 64,
	NETCHECK_TRIES_MAX = 4, /* of a question */
	/* Requests per second and server, and at once: what it answers (10/s), less what an
	 * agent behind the same address may ask meanwhile. */
	NETCHECK_RATE = 8,
	NETCHECK_BURST = 12,
};

/* Whom to ask: one address of a server. */
struct netcheck_place {
	struct addr address;
	bool is_own; /* a server of ours: answers padded requests on two ports */
	/* What was found. */
	bool is_answered;
	bool has_next;       /* answers on its next port up as well */
	cv_duration rtt;     /* the least; 0: not known */
	struct addr seen;    /* our main socket, as it sees it */
	struct addr other;   /* its OTHER-ADDRESS, or ADDR_NONE */
	uint32_t mtu;        /* the largest UDP payload that reaches it; 0: not known */
	struct bucket asked; /* what may be sent there */
	uint32_t size_good, size_bad;
};

struct netcheck_question {
	uint8_t id[12];
	uint8_t purpose;
	uint8_t state;
	uint8_t tries, tries_max;
	uint8_t change;
	uint8_t place;
	uint16_t socket;
	uint16_t size; /* padded to; 0: not at all */
	bool is_refused;
	struct addr to;
	struct addr seen;
	cv_time sent_at[NETCHECK_TRIES_MAX], due_at;
};

struct netcheck {
	const struct rng *rng; /* borrowed */
	uint8_t step;
	struct netcheck_place places[NETCHECK_PLACES_MAX];
	unsigned place_count;
	uint16_t ports[NETCHECK_SOCKETS]; /* local; 0: not open */
	struct addr local[NAT_SEEN_MAX];  /* addresses of interfaces */
	unsigned local_count;
	struct candidate_scope scope; /* of those, and all others */
	struct netcheck_question questions[NETCHECK_QUESTIONS_MAX];
	unsigned question_count, written; /* the last one written */
	struct nat_view view, view6;      /* of the main sockets */
	uint64_t asked;                   /* requests sent */
};

/* @rng: borrowed. */
void netcheck_init(struct netcheck *n, const struct rng *rng);
/* False: too many, or there already. */
bool netcheck_add(struct netcheck *n, const struct addr *address, bool is_own);
/* @port: the local port of an open socket. */
void netcheck_set_socket(struct netcheck *n, unsigned socket, uint16_t port);
/* Of the interfaces, ports 0. */
void netcheck_set_local(struct netcheck *n, const struct addr *list, unsigned count);
void netcheck_start(struct netcheck *n, cv_time now);

void netcheck_on_datagram(struct netcheck *n, cv_time now, uint16_t socket, const struct addr *from,
                          const uint8_t *bytes, size_t size);
/* EMSGSIZE for what the last netcheck_write() gave. */
void netcheck_on_too_large(struct netcheck *n);
bool netcheck_write(struct netcheck *n, cv_time now, struct train *out);
/* CV_TIME_NEVER: netcheck_is_done(). */
cv_time netcheck_deadline(const struct netcheck *n);
void netcheck_on_deadline(struct netcheck *n, cv_time now);
bool netcheck_is_done(const struct netcheck *n);

enum netcheck_bool { NETCHECK_UNKNOWN, NETCHECK_NO, NETCHECK_YES };

/* .places of the netcheck itself tell the rest. */
struct netcheck_result {
	bool is_answered; /* anything at all */
	enum nat_rule mapping, filtering;
	enum nat_rule mapping6;           /* IPv6 */
	bool has_compared_ports;          /* .mapping: two ports of one address were asked */
	enum netcheck_bool filters_ports; /* a stranger's port matters to the filter */
	enum netcheck_bool hairpin; /* two hosts behind it reach each other by outside addresses */
	struct nat_profile ports;   /* .ports, .step, .port_low, .port_high alone */
	struct addr public4, public6; /* of the main sockets; ADDR_NONE: not known */
};
void netcheck_read(const struct netcheck *n, struct netcheck_result *out);
bool netcheck_check(const struct netcheck *n);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * gate - who may make us work: the order in which an INIT is checked before
 * anything is kept (rule 9.1): size, mac1, version, session mac2 or cookie, bucket of the source.
 * Agents ask for cookies under load only, a server always.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ratelimit.h"
#include "base/rng.h"
#include "base/time.h"
#include "tunnel/assoc.h"
#include "tunnel/cookie.h"
#include "tunnel/handshake.h"

/* A source is a path (rule 3.1): its name in bytes, and its address for the buckets. */
struct gate_source {
	uint8_t name[COOKIE_SOURCE_MAX];
	uint8_t name_size;
	bool is_proven;     /* it receives what is sent there: TCP has seen to it */
	struct addr addr;   /* of a bare datagram; ADDR_NONE for a relayed one */
	uint64_t relay_key; /* of a relayed one: link and channel, for its bucket */
};
/* Of SOCKET_TCP: no cookie is asked for. */
void gate_source_addr(struct gate_source *s, uint16_t socket, const struct addr *from);
void gate_source_relay(struct gate_source *s, uint32_t link, uint64_t channel);

struct gate {
	const struct identity *me; /* borrowed */
	bool is_strict;            /* a server: cookie always */
	struct cookie_jar jar;
	struct source_limit
		sources; /* 20/s, burst 5: address and port with a cookie, prefix without */
	struct source_limit prefixes; /* COOKIE and VERSION: 200/s, burst 100 */
	struct bucket global;         /* 1,000 full handshakes/s */
	struct bucket relayed;        /* all servers together: half of it */
	struct source_limit channels; /* 20/s, burst 5 */
	cv_time pressed_until;        /* cookie mode */
	uint64_t *seen;               /* owned: INITs seen under this cookie secret, by mac1 */
	cv_time seen_since;
	uint64_t drops[8]; /* by enum gate_verdict */
};

enum gate_verdict {
	GATE_PASS,      /* do the first DH */
	GATE_CONTINUES, /* the same, and it continues the association it names; its number is taken
	                 */
	GATE_COOKIE,    /* send back what gate_check() wrote */
	GATE_VERSION,   /* likewise */
	GATE_MALFORMED,
	GATE_BAD_MAC,
	GATE_LIMITED,
	GATE_STALE, /* genuine and seen before: perhaps a repeat (pendings_repeat()), else nothing
	             */
};

CV_NODISCARD int gate_init(struct gate *g, const struct identity *me, bool is_strict,
                           uint32_t sources_max, uint64_t seed);
void gate_deinit(struct gate *g);
/* Replay pressure (rule 3.3) or load: cookies for the next 10 s. */
void gate_press(struct gate *g, cv_time now);

/**
 * gate_check() - may this INIT cost us a DH?
 * @continues: the association that its receiver index names, or NULL
 * @reply: receives COOKIE or VERSION (at most WIRE_INIT_SIZE bytes); *@reply_size its size
 */
enum gate_verdict gate_check(struct gate *g, cv_time now, const struct rng *rng,
                             const struct gate_source *from, struct assoc *continues,
                             const uint8_t *init, size_t size, struct wire_handshake *head,
                             uint8_t *reply, size_t *reply_size);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * mapper - keeps one UDP port mapped at one gateway, by PCP (RFC 6887) or, where the gateway knows
 * only that or nothing answers, by NAT-PMP (RFC 6886).
 *
 * Knows when to ask, whom to believe, when to renew, what a restart of the gateway means. Knows no
 * sockets and no gateway but the one it is told. Open struct, embedded by its owner; used from
 * src/net/portmap, which also has UPnP to fall back on.
 *
 * Who is believed: the gateway's own address and port, in answer to what was asked just now; in PCP
 * also our nonce. That keeps out everybody who is not on the way between us and the gateway; who
 * is there could map ports himself.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/rng.h"
#include "base/time.h"
#include "base/trace.h"
#include "tunnel/pcp.h"

enum {
	MAPPER_LIFETIME_S = 7200, /* asked for; RFC 6886, 3.3, recommends it */
};

enum mapper_protocol { MAPPER_NONE, MAPPER_PCP, MAPPER_NATPMP };

/*
 *            start                    both answered
 *      OFF ────────▸ ASKING ───────────────────────▸ MAPPED ◂─────────┐
 *       ▴              │ ▴ ◂─────── expired ─────────┘ │ half life,   │ answered, or
 *       │  refused,    ▾ │ later                       ▾ announcement │ no answer yet
 *       │  silent   WAITING ◂─────── refused ─────── RENEWING ────────┘
 *       │                                              │
 *       └── answered, or tried long enough ── DELETING ◂── stop
 */
enum mapper_state {
	MAPPER_OFF,
	MAPPER_ASKING,
	MAPPER_WAITING,
	MAPPER_MAPPED,
	MAPPER_RENEWING,
	MAPPER_DELETING,
};

/* Whom to ask, for whom. */
struct mapper_target {
	struct addr gateway; /* its port is not looked at */
	struct addr client;  /* ours, as the gateway sees it; the port is the one to be mapped */
};

/* Read only outside mapper.c. */
struct mapper {
	const struct rng *rng;
	const struct trace *trace;
	struct mapper_target target;
	enum mapper_state state;
	enum mapper_protocol protocol; /* asked by now, or of the mapping */
	/* ADDR_NONE: no mapping. May be private or shared: then another NAT follows. */
	struct addr external;
	cv_time expires_at;
	/* Why there is no mapping: static, or NULL while there is one or none was asked for. */
	const char *why;
	bool was_answered; /* in any way, since the first request to this gateway */

	/* the round of requests */
	cv_time next_at; /* of the next request, round, look or renewal; CV_TIME_NEVER: OFF */
	cv_duration pause;
	unsigned tries_left;
	bool must_ask_port, must_ask_address; /* datagrams that are due */
	bool has_port, has_address;           /* what this round has been told */
	struct addr told;
	uint32_t told_s;

	/* between renewals: is the gateway still the same? */
	cv_time renew_at, look_at;
	bool must_look, is_looking;

	unsigned failures; /* rounds in a row that ended WAITING */
	cv_time confirmed_at, asked_at;
	uint8_t nonce[PCP_NONCE_SIZE];
	bool has_epoch;
	uint32_t epoch_s;
	cv_time epoch_at;

	/* datagrams that were not believed, by reason */
	uint64_t foreign, malformed, unasked;
};

/* @rng and @trace (may be NULL) are borrowed. */
void mapper_init(struct mapper *m, const struct rng *rng, const struct trace *trace);
/**
 * mapper_start() - want a mapping at this gateway
 * Also to be called when the network may have changed: the same target again is asked anew, or
 * renewed, but not within some seconds of the last time. Another target: what was mapped at the
 * old one is forgotten and ends there by itself. Not while DELETING.
 */
void mapper_start(struct mapper *m, cv_time now, const struct mapper_target *target);
/* There may be no mapping any more (a NAT has restarted, perhaps): renews what was not confirmed
 * just now. */
void mapper_renew(struct mapper *m, cv_time now);
/* Forgets all and tells nobody: the gateway is gone, or another protocol has made it. */
void mapper_drop(struct mapper *m, cv_time now);
/* Takes the mapping back, if there is or may be one; MAPPER_OFF at last, within 0.75 s. */
void mapper_stop(struct mapper *m, cv_time now);

/* One datagram that came to the socket of requests. */
void mapper_on_datagram(struct mapper *m, cv_time now, const struct addr *from,
                        const uint8_t *bytes, size_t size);
/* One that came to PCP_ANNOUNCE_PORT: the gateway tells everybody that it has restarted or has
 * another address. */
void mapper_on_announcement(struct mapper *m, cv_time now, const struct addr *from,
                            const uint8_t *bytes, size_t size);
/* Appends the next request, for port PCP_PORT of the gateway. False: none is due. */
bool mapper_write(struct mapper *m, cv_time now, struct wr *w);
cv_time mapper_deadline(const struct mapper *m);
void mapper_on_deadline(struct mapper *m, cv_time now);
bool mapper_check(const struct mapper *m);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * discovery - asks servers by STUN what the routers in front of this host do, and keeps the answer
 * (a nat_profile) up to date. Knows when to ask whom from which socket; what the answers mean is
 * nat's business. Never answers anything.
 *
 *   IDLE -begin-> ASKING -the mapping is known, and hard-> SAMPLING
 *                   \----- all answered, or 2.5 s -----> IDLE <----/
 *
 * ASKING: from the main socket what two ports of each server of ours and the foreign servers see;
 * from a fresh one whether an answer from the server's other port comes in. SAMPLING, only where
 * new destinations get new ports: eight fresh sockets, in order. A router thus gets at most one
 * mapping a destination asked and nine more, and only when the network has changed: six rounds at
 * once, then one in ten seconds, whatever servers say. What is known is told at once: that nothing
 * comes from the other port takes longer than all else.
 *
 * What a server's session saw of us stands in for its answer where it gives none (`stun: off`), and
 * only if somebody who did answer saw the same address: it may be from before the network changed.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ratelimit.h"
#include "base/rng.h"
#include "base/time.h"
#include "tunnel/extras.h"
#include "tunnel/nat.h"
#include "tunnel/train.h"

enum {
	DISCOVERY_SERVERS_MAX = 4, /* of ours; what more would say is known by then */
	DISCOVERY_FOREIGN_MAX = 4,
	DISCOVERY_QUESTIONS_MAX = 32,
	DISCOVERY_SAMPLES = 8,
	DISCOVERY_NOBODY = 0xff, /* no question */
};

struct discovery_server {
	struct addr address; /* ADDR_NONE: none */
	struct addr seen;    /* our main socket, as it sees it; ADDR_NONE: not told */
	bool is_up;          /* by UDP */
	bool was_asked;      /* in the newest round */
};

struct discovery_question {
	uint8_t id[12];
	uint8_t purpose; /* 0: free */
	uint8_t tries;
	bool is_answered;
	uint16_t socket;
	struct addr to;
	struct addr seen;
	cv_time due_at;
};

struct discovery {
	struct extras *extras; /* borrowed */
	uint8_t state;
	struct discovery_server servers[DISCOVERY_SERVERS_MAX];
	struct addr foreign[DISCOVERY_FOREIGN_MAX];
	unsigned foreign_count;
	struct addr local[16]; /* of the main socket, one an interface */
	unsigned local_count;
	struct discovery_question questions[DISCOVERY_QUESTIONS_MAX];
	cv_time begin_at;         /* the next round; CV_TIME_NEVER: none is planned */
	cv_time began_at, until;  /* the present round */
	cv_time turn_at;          /* an answer came */
	uint16_t filter, samples; /* sockets taken for the round, the first of them; 0: none */
	uint16_t sampled[DISCOVERY_SAMPLES]; /* local ports of the round before */
	unsigned answering; /* bit a server, then bit a foreign one: it answered in the newest round
	                     */
	struct bucket rounds;
	bool is_suspect; /* plain probes failed, though nothing is known against the mapping */
	struct nat_profile profile;
	bool has_profile;
	bool is_new;    /* discovery_take_news() */
	uint64_t asked; /* requests sent, for the user */
};

void discovery_init(struct discovery *d, struct extras *extras);
/* It is up by UDP. IPv4 only; what does not change starts no round. */
void discovery_set_server(struct discovery *d, cv_time now, unsigned i, const struct addr *address,
                          const struct addr *seen);
/* It is down, or reached by TCP: it is not asked, and what it saw does not count. */
void discovery_drop_server(struct discovery *d, unsigned i);
void discovery_set_foreign(struct discovery *d, cv_time now, const struct addr *list,
                           unsigned count);
/* The network is another one, or may be: the present round is given up for a new one. */
void discovery_set_local(struct discovery *d, cv_time now, const struct addr *list, unsigned count);
/* No more is asked; what is known holds. */
void discovery_stop(struct discovery *d);
/* Something went against the profile: a new round soon. */
void discovery_restart(struct discovery *d, cv_time now);
/* Plain probes to and from us fail. Where one server address alone could be asked, the mapping may
 * depend on it: ports are sampled, and the profile says so. */
void discovery_suspect(struct discovery *d, cv_time now);
/* True once after the profile has changed. */
bool discovery_take_news(struct discovery *d);

/* One sample for a punch: asks a server from @socket, an open extra one. The question, or
 * DISCOVERY_NOBODY when there is no server or no room. */
uint8_t discovery_sample(struct discovery *d, cv_time now, const struct rng *rng, uint16_t socket);
/* True when it was answered; @seen is then set. */
bool discovery_is_sampled(const struct discovery *d, uint8_t question, struct addr *seen);
void discovery_forget(struct discovery *d, uint8_t question);

/* A datagram that begins as STUN does. False: it answers nothing that was asked. */
bool discovery_on_datagram(struct discovery *d, cv_time now, uint16_t socket,
                           const struct addr *from, const uint8_t *bytes, size_t size);
bool discovery_write(struct discovery *d, cv_time now, struct train *out);
cv_time discovery_deadline(const struct discovery *d);
void discovery_on_deadline(struct discovery *d, cv_time now, const struct rng *rng);
bool discovery_check(const struct discovery *d);

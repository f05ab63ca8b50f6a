/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * lifetime - how long the routers in front of us keep a mapping that nobody uses, found by asking a
 * server to answer later; from it, how rare keepalives may be. Knows what to ask when, and what
 * silence means; sends nothing itself.
 *
 *   OFF -server-> OPENING -socket-> WARMING -answered twice-> WAITING -answer, or silence twice-+
 *                                      ^                                                       |
 *                                      +------------- the next step of the ladder -------------+
 *   and RESTING: all is known, or nothing can be; until something happens.
 *
 * Questions leave by a socket of their own, so that nothing else keeps its mapping alive. It is
 * warmed first: netfilter, for one, keeps what was answered longer than what was not. A lost answer
 * is no proof, hence twice.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/rng.h"
#include "base/time.h"
#include "tunnel/extras.h"

enum lifetime_state {
	LIFETIME_OFF,
	LIFETIME_OPENING,
	LIFETIME_WARMING,
	LIFETIME_WAITING,
	LIFETIME_RESTING,
};

struct lifetime {
	struct extras *extras; /* borrowed */
	uint8_t state;         /* enum lifetime_state */
	uint8_t warm;          /* answers that came in WARMING */
	uint8_t tries;         /* of the question in hand */
	uint8_t silences;      /* after asked_s, in a row */
	uint16_t socket;       /* taken; 0: none */
	uint16_t proven_s;     /* a mapping lived for so long unused; 0: nothing is known */
	uint16_t refuted_s;    /* and not for so long; 0: nothing is known */
	uint16_t asked_s;      /* WARMING, WAITING: the step that is tried */
	cv_time lost_at;       /* the newest lifetime_on_lost() */
	uint64_t token;        /* of the newest question; 0: none */
	cv_time asked_at;      /* when it left */
	cv_time due_at;        /* OPENING, RESTING: begins again; WARMING, WAITING: next question */
	cv_time until;         /* WAITING: silence by then is one */
};

void lifetime_init(struct lifetime *l, struct extras *extras);
/* A server can be asked (another one than before, perhaps): goes on with what is not known yet. */
void lifetime_begin(struct lifetime *l, cv_time now);
/* No server: what was learnt holds, and nothing more can be. */
void lifetime_stop(struct lifetime *l);
/* The network is another one, or may be: all is learnt anew. */
void lifetime_forget(struct lifetime *l, cv_time now);
/* Somebody sees us elsewhere though the network is the same: a mapping may have been lost while it
 * was idle. What several tell within half a minute is one loss. */
void lifetime_on_lost(struct lifetime *l, cv_time now);
/* Idle mappings should be used at least as often. */
cv_duration lifetime_keepalive(const struct lifetime *l);

struct lifetime_question {
	uint16_t socket;
	uint16_t seconds; /* 0: answer at once */
	uint64_t token;
};
/* True when a question is due; it counts as sent. */
bool lifetime_next(struct lifetime *l, cv_time now, const struct rng *rng,
                   struct lifetime_question *out);
void lifetime_on_answer(struct lifetime *l, cv_time now, uint64_t token);
cv_time lifetime_deadline(const struct lifetime *l);
void lifetime_on_deadline(struct lifetime *l, cv_time now);
bool lifetime_check(const struct lifetime *l);

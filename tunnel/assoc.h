/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * assoc - which object of ours is joined to which object of the other side, and
 * under which keys: incarnations and epochs (protocol rules 3.4-3.8, 4.1-4.4).
 *
 * Used alike by sessions between agents and by server sessions, and by both
 * ends. Knows no datagrams, paths or timers of retries (initiator does those).
 *
 * An *object* is whatever lives and dies as one (streams, packet numbers, sent
 * records). It has a random incarnation and is bound once to one incarnation
 * of the other side. Every later handshake between the same two objects adds an epoch.
 *
 *   unbound --RESP read--> bound      (we began)
 *   unbound --first packet opened under a pending epoch--> bound   (they began)
 *   bound   --RESP names another incarnation, or a candidate is confirmed--> replaced: a new object
 *
 * The candidate for an incarnation of the other side is a keyed hash of it, so that it is
 * offered to that one alone, is the same at every repeat, and needs no memory that a replayed
 * INIT could take away from a genuine one.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ratelimit.h"
#include "base/rng.h"
#include "base/time.h"
#include "tunnel/handshake.h"
#include "tunnel/indexes.h"
#include "tunnel/keys.h"

enum { ASSOC_EPOCHS_MAX = 4, ASSOC_EPOCHS_LIGHT = 2 };

struct assoc_options {
	struct indexes *indexes; /* borrowed */
	uint64_t owner;          /* what an index of ours leads to */
	const struct epoch_limits *limits;
	struct epoch *epochs; /* borrowed memory, zeroed: @epochs_max of them */
	uint8_t *states; /* 2 * AEAD_STATE_SIZE bytes an epoch, 16-byte aligned, or NULL (light) */
	uint8_t epochs_max;
	bool has_smaller_key;
};

struct assoc {
	struct assoc_options opt;
	uint8_t incarnation[INCARNATION_SIZE];
	uint8_t peer_incarnation[INCARNATION_SIZE]; /* when bound */
	uint8_t candidate_secret[32]; /* our next incarnation is a hash of theirs under it */
	bool is_bound;
	uint8_t peer_policy;      /* enum path_policy, of the newest handshake */
	uint64_t number_accepted; /* highest handshake number taken in a continuing INIT */
	uint64_t number_next;     /* of our next INIT */
	struct bucket continuing; /* 10 continuing INITs a second (rule 3.2) */
	uint8_t send_slot;        /* epoch that data go under */
	uint8_t confirm_slot;     /* epoch that we began and must confirm; epochs_max: none */
	cv_duration jitter;       /* of the rekey, up to 5 s */
};

/* A new unbound object. */
void assoc_init(struct assoc *a, const struct assoc_options *opt, const struct rng *rng);
/* Names an unbound object: what a responder drew for the pending entry before it had an object. */
void assoc_rename(struct assoc *a, const uint8_t incarnation[INCARNATION_SIZE]);
/* Frees the indices and wipes every key. */
void assoc_deinit(struct assoc *a, cv_time now);
/* Drops the object, for whatever reason: keys wiped, a new unbound incarnation drawn. */
void assoc_reset(struct assoc *a, cv_time now, const struct rng *rng);

enum assoc_verdict {
	ASSOC_ADDED, /* one more epoch between the same two objects */
	ASSOC_BOUND, /* the object is now joined: it begins to live (what waited in it unsent stays)
	              */
	ASSOC_REPLACED, /* the old object is gone (keys wiped, already a new incarnation and bound);
	                   its streams must be reset */
	ASSOC_RESTART,  /* the old object is gone and the new one is unbound: begin a handshake at
	                   once */
	ASSOC_VOID,     /* nothing changed: forget this handshake */
};

/* What a responder offers to @theirs (rule 3.5): copies one of our incarnations to @ours. */
void assoc_offer(const struct assoc *a, const uint8_t theirs[INCARNATION_SIZE],
                 uint8_t ours[INCARNATION_SIZE]);

/* One finished handshake, to be joined. */
struct assoc_join {
	const struct handshake_secrets *secrets;
	const uint8_t *ours; /* incarnation: as offered (responder), as sent in INIT (initiator) */
	const uint8_t *theirs;
	bool is_initiator;
	bool was_bound; /* initiator: the object was bound when the INIT was made */
	uint8_t aead;   /* enum aead_kind */
	uint8_t policy;
	uint32_t local_index; /* ours; on ASSOC_VOID and ASSOC_RESTART it has been freed */
	uint32_t remote_index;
};

/* The initiator has read RESP (rule 3.6), or the responder has opened the first packet under a
 * pending epoch (rule 3.5). */
enum assoc_verdict assoc_join(struct assoc *a, cv_time now, const struct rng *rng,
                              const struct assoc_join *j);

/* The epoch that @index names, or NULL. Expired ones are found too (their mac2 secret lives on):
 * check epoch_can_open(). */
struct epoch *assoc_find(struct assoc *a, uint32_t index);
/* A packet was opened under @e: sending may move to it (rule 4.2). */
void assoc_on_opened(struct assoc *a, struct epoch *e);
/* The epoch for data, or NULL when none may seal now. */
struct epoch *assoc_send_epoch(struct assoc *a, cv_time now);
/* An epoch that we began and that nothing has arrived under, while an older one carries data: it
 * needs one ack-eliciting packet. NULL: none. */
struct epoch *assoc_confirm_epoch(struct assoc *a, cv_time now);
/* The index that a continuing INIT names, and its mac2 secret; false: none, the INIT is a new one.
 */
bool assoc_continues(const struct assoc *a, uint32_t *remote_index, const uint8_t **mac2_secret);
/* True when a continuing INIT with this number may be taken; call after mac2 has verified. */
bool assoc_accepts_number(const struct assoc *a, uint64_t number);
/* Takes it, within 10/s; false: too many, nothing changed. gate_check() does both. */
bool assoc_take_number(struct assoc *a, cv_time now, uint64_t number);
/* When a new handshake is due by age or by count (then: at or before @now); CV_TIME_NEVER without a
 * live epoch. */
cv_time assoc_rekey_at(const struct assoc *a, cv_time now);
/* When the newest epoch stops sealing; CV_TIME_NEVER without one. */
cv_time assoc_dead_at(const struct assoc *a);
bool assoc_is_live(const struct assoc *a, cv_time now);
bool assoc_check(const struct assoc *a);

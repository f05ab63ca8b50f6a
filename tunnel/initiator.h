/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * initiator - our side of one handshake attempt: the INIT, when it is repeated,
 * and the cookie of each path it goes out on. An INIT is repeated for 5 s at most, byte-identical
 * but for mac2, then made anew (rule 1.2); 250 ms x 1.5, at most 1 s apart.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/rng.h"
#include "base/time.h"
#include "tunnel/assoc.h"
#include "tunnel/handshake.h"

enum { INITIATOR_COOKIES = 8 };
#define INITIATOR_INIT_LIFE CV_SEC(5)

struct initiator_cookie {
	uint64_t path; /* the owner's name of a path; 0: free */
	cv_time at;
	uint8_t cookie[COOKIE_SIZE];
};

struct initiator {
	struct handshake hs;
	uint8_t init[WIRE_INIT_SIZE];
	bool is_running;
	bool was_bound; /* the object was bound when this INIT was made */
	uint8_t ours[INCARNATION_SIZE];
	uint32_t local_index; /* taken for this attempt */
	cv_time made_at, send_at, started_at;
	cv_duration interval;
	uint32_t tries;
	uint64_t sent_to;       /* by the first path that this INIT took; 0: none yet */
	bool is_sent_elsewhere; /* and by others */
	uint8_t version_seen;   /* a responder listed only other versions: 0 none */
	struct initiator_cookie cookies[INITIATOR_COOKIES];
};

void initiator_init(struct initiator *i);
/* Begins an attempt now, unless one runs: then the next repeat goes out at once. */
void initiator_start(struct initiator *i, cv_time now);
/* What runs is repeated at once, and then as often as at first. */
void initiator_hasten(struct initiator *i, cv_time now);
/* Ends it: nothing more is sent; an index not used is freed. */
void initiator_stop(struct initiator *i, cv_time now, struct assoc *a);
/* When an INIT is due; CV_TIME_NEVER when none runs. */
cv_time initiator_deadline(const struct initiator *i);

/**
 * initiator_turn() - an INIT is due: make or remake it, plan the next repeat
 * Afterwards initiator_write() gives it for each path that it should go out on.
 * Return: false when no index could be had (try again later; the repeat is planned).
 */
bool initiator_turn(struct initiator *i, cv_time now, struct assoc *a, const struct identity *me,
                    const struct remote *peer, enum handshake_role role, const struct rng *rng,
                    uint8_t aead_bits, uint8_t policy);
/* The INIT for one path, with mac2 of the epoch it continues, else of that path's cookie, else
 * zero. */
void initiator_write(struct initiator *i, const struct assoc *a, cv_time now, uint64_t path,
                     uint8_t out[WIRE_INIT_SIZE]);
/* The INIT in hand, written for no path (0), went to servers. */
void initiator_on_opens(struct initiator *i);
/* The INIT in hand went by that path and by no other: who answers it is there. */
bool initiator_asked_only(const struct initiator *i, uint64_t path);
/* A COOKIE came on @path: keep it and repeat at once. False: forged or unasked. */
bool initiator_on_cookie(struct initiator *i, cv_time now, const struct remote *peer, uint64_t path,
                         const uint8_t *bytes, size_t size);
/* A VERSION came: only remembers it, for the error message. */
void initiator_on_version(struct initiator *i, const struct remote *peer, const uint8_t *bytes,
                          size_t size);
/* True when RESP names our attempt's index. */
bool initiator_matches(const struct initiator *i, uint32_t receiver);

/* Reads RESP and joins the association. On success (verdict not ASSOC_VOID through forgery) the
 * attempt is over;
 * *@is_forged says that the RESP was not genuine and nothing changed. */
enum assoc_verdict initiator_on_resp(struct initiator *i, cv_time now, struct assoc *a,
                                     const struct identity *me, const struct remote *peer,
                                     const struct rng *rng, const uint8_t *bytes, size_t size,
                                     bool *is_forged);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * pending - handshakes answered but not confirmed, of all associations of an
 * endpoint: keys and two incarnations, no stream, no ring (rule 3.5). At most two a
 * remote and a fixed number in all, 5 s each; a repeat of the same INIT is answered with the stored
 * RESP.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/idmap.h"
#include "base/time.h"
#include "tunnel/assoc.h"

enum { PENDING_PER_OWNER = 2, PENDING_SOURCES = 4 };
#define PENDING_NONE UINT32_MAX
#define PENDING_LIFE CV_SEC(5)

struct pending {
	uint32_t index; /* ours; 0: free slot */
	uint32_t remote_index;
	uint64_t owner;  /* association, by the endpoint's number */
	uint64_t number; /* handshake number of the INIT */
	cv_time made_at;
	bool is_continuing; /* has a slot of its own (rule 3.2) */
	uint8_t init_mac1[MAC_SIZE];
	uint8_t ours[INCARNATION_SIZE], theirs[INCARNATION_SIZE];
	uint8_t aead, policy;
	struct handshake_secrets secrets;
	/* Names of the paths that RESP was sent to: whoever confirms from elsewhere is not yet
	 * proven to be there. */
	uint64_t sources[PENDING_SOURCES];
	uint8_t source_count;
	uint8_t resp[WIRE_RESP_SIZE];
	uint32_t older,
		newer; /* by age; PENDING_NONE at the ends. Free ones: newer is the next free */
	uint32_t next_of_owner;
};

struct pendings {
	struct pending *slots;                    /* owned */
	struct idmap by_index, by_mac1, by_owner; /* to slots; of an owner the newest */
	uint32_t oldest, newest, free;
	uint32_t fresh; /* taken last, not yet in the maps: its owner is filling it */
	uint32_t cap, count;
	uint32_t expired; /* unconfirmed ones that ended, within the last 5 s: replay pressure
	                     (rule 3.3) */
	cv_time expired_since;
};

CV_NODISCARD int pendings_init(struct pendings *p, uint32_t cap);
void pendings_deinit(struct pendings *p, cv_time now, struct indexes *indexes);
/* A slot for @owner: the oldest of its own is evicted at two (a continuing one counts apart, one an
 * owner), the oldest of all at the cap. The caller fills in the rest before the next call; with
 * index 0 it is free again. */
struct pending *pendings_take(struct pendings *p, cv_time now, struct indexes *indexes,
                              uint64_t owner, bool is_continuing);
/* RESP goes to this path, too. */
void pending_add_source(struct pending *e, uint64_t name);
bool pending_was_sent_to(const struct pending *e, uint64_t name);
/* And nowhere else: who knows what it says is there. */
bool pending_was_sent_only_to(const struct pending *e, uint64_t name);
struct pending *pendings_find(struct pendings *p, uint32_t index);
/* The answered handshake of this very INIT, or NULL. */
struct pending *pendings_repeat(struct pendings *p, const uint8_t mac1[MAC_SIZE]);
/* Wipes the slot; its index is freed unless @keep_index (it became an epoch's). */
void pendings_drop(struct pendings *p, cv_time now, struct indexes *indexes, struct pending *e,
                   bool keep_index);
void pendings_drop_owner(struct pendings *p, cv_time now, struct indexes *indexes, uint64_t owner);
void pendings_expire(struct pendings *p, cv_time now, struct indexes *indexes);
cv_time pendings_deadline(const struct pendings *p);
/* True while three or more expired or were evicted within 5 s. */
bool pendings_under_pressure(const struct pendings *p, cv_time now);

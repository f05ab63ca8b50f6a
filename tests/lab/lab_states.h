#pragma once
/* SPDX-License-Identifier: MIT */

/*
 * lab_states - keys that live for a time, with a count each: what a router
 * remembers of flows and of senders.
 *
 * Of a fixed size. One more than fits takes the place of one that is over, or
 * of an old one where all that are looked at still live.
 */

#include "lab_table.h"

enum {
	LAB_STATES_MAX = 16384,
};

struct lab_state {
	struct lab_key key;
	uint64_t expires_at; /* 0: free */
	uint64_t count;      /* the user's; 0 in a new one */
};

struct lab_states {
	struct lab_table table;
	struct lab_state *entries; /* owned */
	uint32_t next;             /* the slot to look at first for a new one */
};

/** lab_states_init() - Return: 0 or -ENOMEM. */
LAB_NODISCARD int lab_states_init(struct lab_states *s);

void lab_states_deinit(struct lab_states *s);

/** lab_states_clear() - forget all. */
void lab_states_clear(struct lab_states *s);

/** lab_states_find() - the one that lives at @now, or NULL; valid until the next call of touch. */
struct lab_state *lab_states_find(struct lab_states *s, uint64_t now, const struct lab_key *key);

/** lab_states_touch() - the one of this key, made if need be; it lives until @now + @lifetime. */
struct lab_state *lab_states_touch(struct lab_states *s, uint64_t now, const struct lab_key *key,
                                   uint64_t lifetime);

/* SPDX-License-Identifier: MIT */
#include "lab_states.h"

#include <errno.h>
#include <string.h>

enum {
	/* Slots that are looked at for one that is over, before an old one is given up. */
	LOOKS_MAX = 64,
};

int lab_states_init(struct lab_states *s)
{
	int r = lab_table_init(&s->table, LAB_STATES_MAX);

	s->entries = r ? NULL : calloc(LAB_STATES_MAX, sizeof(*s->entries));
	s->next = 0;
	if (!r && !s->entries) {
		lab_table_deinit(&s->table);
		r = -ENOMEM;
	}
	return r;
}

void lab_states_deinit(struct lab_states *s)
{
	lab_table_deinit(&s->table);
	free(s->entries);
	*s = (struct lab_states){ 0 };
}

void lab_states_clear(struct lab_states *s)
{
	lab_table_clear(&s->table);
	memset(s->entries, 0, LAB_STATES_MAX * sizeof(*s->entries));
	s->next = 0;
}

struct lab_state *lab_states_find(struct lab_states *s, uint64_t now, const struct lab_key *key)
{
	uint32_t at;

	if (!lab_table_get(&s->table, key, &at) || s->entries[at].expires_at <= now) {
		return NULL;
	}
	return &s->entries[at];
}

static uint32_t take_slot(struct lab_states *s, uint64_t now)
{
	uint32_t at = s->next;

	for (uint32_t i = 0; i < LOOKS_MAX && s->entries[at].expires_at > now; i++) {
		at = (at + 1) % LAB_STATES_MAX;
	}
	s->next = (at + 1) % LAB_STATES_MAX;
	if (s->entries[at].expires_at) {
		lab_table_remove(&s->table, &s->entries[at].key);
	}
	return at;
}

struct lab_state *lab_states_touch(struct lab_states *s, uint64_t now, const struct lab_key *key,
                                   uint64_t lifetime)
{
	uint32_t at;
	int r;

	LAB_ASSERT(now + lifetime > 0);
	if (!lab_table_get(&s->table, key, &at)) {
		at = take_slot(s, now);
		s->entries[at] = (struct lab_state){ .key = *key };
		r = lab_table_add(&s->table, key, at);
		LAB_ASSERT(!r); /* it is as large as the array */
	} else if (s->entries[at].expires_at <= now) {
		s->entries[at].count = 0;
	}
	s->entries[at].expires_at = now + lifetime;
	return &s->entries[at];
}

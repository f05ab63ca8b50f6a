/* SPDX-License-Identifier: MIT */
#include "lab_table.h"

#include <errno.h>
#include <string.h>

static uint32_t bucket_of(const struct lab_table *t, const struct lab_key *key)
{
	struct lab_rng mix = { key->word[0] };

	mix.state = lab_rng_next(&mix) ^ key->word[1];
	mix.state = lab_rng_next(&mix) ^ key->word[2];
	return (uint32_t)lab_rng_next(&mix) & t->mask;
}

static bool same(const struct lab_key *a, const struct lab_key *b)
{
	return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2];
}

int lab_table_init(struct lab_table *t, uint32_t capacity)
{
	uint32_t buckets = 16;

	LAB_ASSERT(capacity > 0 && capacity < UINT32_MAX / 4);
	while (buckets < capacity) {
		buckets *= 2;
	}
	*t = (struct lab_table){ .mask = buckets - 1, .capacity = capacity };
	t->entries = calloc(capacity, sizeof(*t->entries));
	t->buckets = calloc(buckets, sizeof(*t->buckets));
	if (!t->entries || !t->buckets) {
		lab_table_deinit(t);
		return -ENOMEM;
	}
	return 0;
}

void lab_table_deinit(struct lab_table *t)
{
	free(t->entries);
	free(t->buckets);
	*t = (struct lab_table){ 0 };
}

void lab_table_clear(struct lab_table *t)
{
	memset(t->buckets, 0, ((size_t)t->mask + 1) * sizeof(*t->buckets));
	t->fresh = 0;
	t->free = 0;
}

bool lab_table_get(const struct lab_table *t, const struct lab_key *key, uint32_t *value)
{
	uint32_t at = t->buckets[bucket_of(t, key)];

	while (at) {
		const struct lab_table_entry *e = &t->entries[at - 1];

		if (same(&e->key, key)) {
			*value = e->value;
			return true;
		}
		at = e->next;
	}
	return false;
}

int lab_table_add(struct lab_table *t, const struct lab_key *key, uint32_t value)
{
	uint32_t *bucket = &t->buckets[bucket_of(t, key)];
	uint32_t at = t->free;

	if (at) {
		t->free = t->entries[at - 1].next;
	} else if (t->fresh < t->capacity) {
		at = ++t->fresh;
	} else {
		return -ENOSPC;
	}
	t->entries[at - 1] = (struct lab_table_entry){ *key, value, *bucket };
	*bucket = at;
	return 0;
}

void lab_table_remove(struct lab_table *t, const struct lab_key *key)
{
	uint32_t *from = &t->buckets[bucket_of(t, key)];

	while (*from) {
		struct lab_table_entry *e = &t->entries[*from - 1];
		uint32_t at = *from;

		if (same(&e->key, key)) {
			*from = e->next;
			e->next = t->free;
			t->free = at;
			return;
		}
		from = &e->next;
	}
}

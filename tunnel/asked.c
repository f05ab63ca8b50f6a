/* SPDX-License-Identifier: MIT */
#include "tunnel/asked.h"

/* Somebody else may have the address by then. */
#define KEPT_FOR CV_SEC(300)

void asked_init(struct asked *t, uint64_t seed)
{
	*t = (struct asked){ .seed = seed };
}

struct asked_entry *asked_find(struct asked *t, cv_time now, const struct addr *a)
{
	uint64_t key = addr_hash(a, t->seed);
	struct asked_entry *e = &t->list[key & (ASKED_MAX - 1)];

	if (e->key != key || cv_time_since(now, e->at) >= KEPT_FOR)
		*e = (struct asked_entry){ .key = key };
	return e;
}

void asked_forget(struct asked *t, const struct addr *a)
{
	uint64_t key = addr_hash(a, t->seed);
	struct asked_entry *e = &t->list[key & (ASKED_MAX - 1)];

	if (e->key == key)
		*e = (struct asked_entry){ 0 };
}

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * asked - how often addresses that never answered were asked, by all sessions of an endpoint
 * together. Peers that all name one address, or a server that tells all of them that they are
 * there, would else have it asked once for each of them (T40).
 *
 * A table of fixed size, in which an address may lose its place to another: the budget of each
 * session (paths) bounds how many there are.
 */

#include <stdint.h>

#include "base/addr.h"
#include "base/time.h"

enum { ASKED_MAX = 1024 /* a power of two */ };

struct asked_entry {
	uint64_t key; /* of the address */
	cv_time at;   /* last; 0: not yet, or heard since */
	unsigned count;
};

struct asked {
	uint64_t seed;
	struct asked_entry list[ASKED_MAX];
};

void asked_init(struct asked *t, uint64_t seed);
/* The entry of @a, new if there is none or if nobody asked for five minutes. */
struct asked_entry *asked_find(struct asked *t, cv_time now, const struct addr *a);
/* It has answered. */
void asked_forget(struct asked *t, const struct addr *a);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * punch_talk - what two peers tell each other about their routers (NAT) and want of each other in a
 * punch (PUNCH): the frames of one session, each told until it has arrived or a newer one stands in
 * its place. Decides nothing: punch.c does.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/wr.h"
#include "tunnel/nat.h"
#include "tunnel/sent.h"
#include "tunnel/wire.h"

struct punch_talk {
	struct nat_profile peer; /* what the peer told of itself */
	bool has_peer;
	bool is_peer_new; /* it told something new, and nobody has looked at it yet */
	uint64_t peer_at; /* packet number of that, plus 1: older ones may arrive later */
	uint64_t told;    /* version of our profile in the newest NAT sent */

	struct wire_punch out; /* ours, newest */
	uint32_t out_number;   /* counts ours; 0: none yet */
	bool is_out_due;

	struct wire_punch in; /* the peer's, newest */
	bool has_in;          /* and not yet looked at */
	uint64_t in_at;       /* packet number of that, plus 1 */
};

/* The object is a new one: the peer may be, too. */
void punch_talk_reset(struct punch_talk *t);
void punch_talk_say(struct punch_talk *t, const struct wire_punch *what);
/* True once for each PUNCH that came. */
bool punch_talk_next(struct punch_talk *t, struct wire_punch *out);

/* @number: of the packet; of several frames that of the largest holds. */
void punch_talk_on_frame(struct punch_talk *t, uint64_t number, const struct wire_frame *f);
/* @version: of our profile @nat, 0: nothing is known yet. */
bool punch_talk_is_due(const struct punch_talk *t, uint64_t version);
void punch_talk_write(struct punch_talk *t, uint64_t version, const struct nat_profile *nat,
                      struct wr *w, struct sent *sent);
void punch_talk_on_lost(struct punch_talk *t, const struct note *n);

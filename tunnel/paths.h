/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * paths - every way to one peer and the choice between them. The side with the
 * smaller key decides between living paths and nominates; the other follows once it has validated;
 * either falls back alone when its own view is dead (rule 5.5). LAN before direct before relay,
 * then the measured round trip with hysteresis.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/ratelimit.h"
#include "base/rng.h"
#include "base/time.h"
#include "tunnel/asked.h"
#include "tunnel/path.h"

enum { PATHS_MAX = 24, PATHS_NONE = 0xff };

struct paths {
	struct path list[PATHS_MAX];
	uint8_t active;        /* slot that data take, or PATHS_NONE */
	uint8_t congestion;    /* enum cc_kind */
	uint64_t seed;         /* of the paths' congestion control; moves with each of them */
	bool has_smaller_key;  /* we decide */
	bool is_relay_only;    /* policy `relay` of either side */
	cv_duration keepalive; /* of each */
	uint32_t datagram_max; /* of the shell, for new paths; 0: an Ethernet's */
	cv_time heard_at;      /* newest of the paths that are gone: silence does not begin anew */
	cv_time announced_at;  /* the newest list of candidates came */
	struct bucket strangers; /* what goes to where nothing was ever heard (T40) */
	struct asked *asked;     /* borrowed: and what all sessions have sent there */
};

void paths_init(struct paths *ps, enum cc_kind congestion, bool has_smaller_key, uint64_t seed,
                struct asked *asked);
/* The slot of a path to @o, or PATHS_NONE. */
uint8_t paths_find(const struct paths *ps, const struct origin *o);
/* There is a path to @o, and something came by it within 2 s. */
bool paths_hear(const struct paths *ps, cv_time now, const struct origin *o);
/* Finds or adds; a full table gives up what is worth least: ports that nobody announced before
 * addresses of the newest list, and of equals the one named longest ago. PATHS_NONE when all are
 * relays, candidates that live, active or in flight. */
uint8_t paths_add(struct paths *ps, cv_time now, const struct origin *o);
void paths_remove(struct paths *ps, uint8_t slot);
/* How long a path may be idle. */
void paths_set_keepalive(struct paths *ps, cv_time now, cv_duration longest);
/* Until when silence on the active path does not yet mean that it is dead, counted from what was
 * heard; PATH_ALIVE without one. */
cv_duration paths_alive(const struct paths *ps);
/* NULL for PATHS_NONE. */
struct path *paths_active(struct paths *ps);
/* The path of a sent record, or NULL when that slot now holds another one. */
struct path *paths_of(struct paths *ps, uint8_t slot, uint8_t age);
/* Looks again at who is best; true when the active path changed, with the slot before in *@before.
 */
bool paths_choose(struct paths *ps, cv_time now, uint8_t *before);
/* Network event, doubt, peer's news: every path is probed now. */
void paths_check_now(struct paths *ps, cv_time now);
/* True when @size bytes may go to @p: whoever was heard within five minutes gets what he needs,
 * all others together have a budget. */
bool paths_may_ask(struct paths *ps, cv_time now, struct path *p, size_t size);
/* The next probe due, its path in *@slot. */
bool paths_probe_due(struct paths *ps, cv_time now, const struct rng *rng, bool is_busy,
                     uint8_t *slot, struct path_probe *out);
cv_time paths_deadline(const struct paths *ps);
/* Retries failed candidates, forgets failed others. */
void paths_on_deadline(struct paths *ps, cv_time now);
/* True while any path but @except may carry data. */
bool paths_have_other(const struct paths *ps, cv_time now, uint8_t except);
/* When anything authentic was last heard, on whatever path; 0: never. */
cv_time paths_heard_at(const struct paths *ps);
bool paths_check(const struct paths *ps);

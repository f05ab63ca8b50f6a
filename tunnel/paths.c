/* SPDX-License-Identifier: MIT */
#include "tunnel/paths.h"

/* Heard so lately, a path surely lives: longer than a beat of a path that carries data would be
 * late. */
#define FRESH CV_SEC(2)

/* Addresses that never answered may be victims that the peer points us at: 200 small probes at
 * once, then one a second (T40 allows 256 for ten thousand addresses). A quarter of it is kept for
 * those that were announced just now: the others have had their try. In units of 32 bytes. */
enum {
	STRANGER_UNIT = WIRE_PROBE_MIN / 2,
	STRANGER_RATE = 2,
	STRANGER_BURST = 400,
	STRANGER_RESERVE = STRANGER_BURST / 4,
	STRANGER_MANY = 64,
};
#define STRANGER_NEW CV_SEC(10)
#define STRANGER_WAIT CV_SEC(1)
#define STRANGER_WAIT_LONG CV_SEC(10)
/* Somebody else may have the address by then; as long as streams wait. */
#define STRANGER_AFTER CV_SEC(300)

void paths_init(struct paths *ps, enum cc_kind congestion, bool has_smaller_key, uint64_t seed,
                struct asked *asked)
{
	*ps = (struct paths){
		.active = PATHS_NONE,
		.congestion = (uint8_t)congestion,
		.seed = seed,
		.keepalive = PATH_KEEPALIVE,
		.has_smaller_key = has_smaller_key,
		.asked = asked,
	};
}

uint8_t paths_find(const struct paths *ps, const struct origin *o)
{
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		if (path_is_to(&ps->list[i], o))
			return i;
	}
	return PATHS_NONE;
}

static bool is_fresh(const struct path *p, cv_time now)
{
	return cv_time_since(now, p->heard_at) < FRESH;
}

bool paths_hear(const struct paths *ps, cv_time now, const struct origin *o)
{
	uint8_t slot = paths_find(ps, o);

	return slot != PATHS_NONE && is_fresh(&ps->list[slot], now);
}

/* Of candidates; what is in no list, like a relay, is announced for ever. */
static bool is_announced(const struct paths *ps, const struct path *p)
{
	return p->announced_at == 0 || p->announced_at == ps->announced_at;
}

enum { WORTH_KEEPING = 10 };

/* What a slot is worth when the table is full; the least is given up, never one that surely lives,
 * nor a relay's, which is all that is left when everything else has failed, and which nobody would
 * announce again. Each address that a peer's router gave it once is a path, and usable until it is
 * found to be silent: they must not keep out the relay, nor where the peer is now, which it says
 * but once. */
static unsigned worth(const struct paths *ps, const struct path *p, cv_time now)
{
	bool is_stray = !p->is_candidate, is_listed = !is_stray && is_announced(ps, p);

	if (p->state != PATH_FREE && p->to.is_relay)
		return WORTH_KEEPING;
	switch ((enum path_state)p->state) {
	case PATH_FREE:
		return 0;
	case PATH_FAILED:
		return is_listed ? 8 : is_stray ? 1 : 2;
	case PATH_CHECKING:
		return is_listed ? 9 : !is_stray ? 5 : is_fresh(p, now) ? 7 : 3;
	case PATH_VALID:
	case PATH_USABLE:
		/* After an attempt at punching there may be as many as the table has slots. */
		if (is_stray)
			return is_fresh(p, now) ? 7 : p->is_doubtful ? 4 : 6;
		return WORTH_KEEPING;
	}
	CV_UNREACHABLE();
}

static cv_time named_at(const struct path *p)
{
	return CV_MAX(p->made_at, p->announced_at);
}

uint8_t paths_add(struct paths *ps, cv_time now, const struct origin *o)
{
	uint8_t slot = paths_find(ps, o);
	unsigned least = WORTH_KEEPING;

	if (slot != PATHS_NONE)
		return slot;
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		unsigned w = worth(ps, &ps->list[i], now);

		if (i == ps->active || ps->list[i].inflight > 0 || w > least)
			continue;
		/* Of equals the one longest not announced: else a long list of candidates would
		 * replace itself, and who is announced again and again would be new each time. */
		if (w < least || (slot != PATHS_NONE && w > 0 &&
		                  named_at(&ps->list[i]) < named_at(&ps->list[slot]))) {
			least = w;
			slot = i;
		}
	}
	if (slot == PATHS_NONE)
		return PATHS_NONE;
	ps->heard_at = CV_MAX(ps->heard_at, ps->list[slot].heard_at);
	/* An odd constant: every path has another one. */
	ps->seed += UINT64_C(0x9e3779b97f4a7c15);
	path_init(&ps->list[slot], now, slot, o, (enum cc_kind)ps->congestion, ps->seed);
	path_set_datagram_max(&ps->list[slot], ps->datagram_max);
	path_set_keepalive(&ps->list[slot], now, ps->keepalive);
	return slot;
}

void paths_set_keepalive(struct paths *ps, cv_time now, cv_duration longest)
{
	ps->keepalive = longest;
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		if (ps->list[i].state != PATH_FREE)
			path_set_keepalive(&ps->list[i], now, longest);
	}
}

cv_duration paths_alive(const struct paths *ps)
{
	return ps->active == PATHS_NONE ? PATH_ALIVE : path_alive(&ps->list[ps->active]);
}

void paths_remove(struct paths *ps, uint8_t slot)
{
	CV_ASSERT(slot < PATHS_MAX);
	if (ps->active == slot)
		ps->active = PATHS_NONE;
	ps->heard_at = CV_MAX(ps->heard_at, ps->list[slot].heard_at);
	ps->list[slot].state = PATH_FREE;
	ps->list[slot].inflight = 0;
}

struct path *paths_active(struct paths *ps)
{
	return ps->active == PATHS_NONE ? NULL : &ps->list[ps->active];
}

struct path *paths_of(struct paths *ps, uint8_t slot, uint8_t age)
{
	struct path *p = slot < PATHS_MAX ? &ps->list[slot] : NULL;

	return p && p->state != PATH_FREE && p->age == age ? p : NULL;
}

static bool may_choose(const struct paths *ps, const struct path *p, cv_time now)
{
	if (ps->is_relay_only && !p->to.is_relay)
		return false;
	return path_can_carry(p, now) && !p->is_doubtful;
}

/* True when @a is clearly better than @b: proven, another kind, or a round trip shorter by a fifth
 * and 2 ms. */
static bool is_better(const struct path *a, const struct path *b)
{
	if (a->is_claimed != b->is_claimed)
		return b->is_claimed;
	if (a->is_scant != b->is_scant)
		return b->is_scant;
	if (a->kind != b->kind)
		return a->kind > b->kind;
	if ((a->state == PATH_USABLE) != (b->state == PATH_USABLE))
		return a->state == PATH_USABLE;
	if (a->probe_rtt == 0 || b->probe_rtt == 0)
		return a->probe_rtt != 0 && b->probe_rtt == 0;
	return a->probe_rtt * 5 / 4 + CV_MS(2) < b->probe_rtt;
}

static uint8_t best(const struct paths *ps, cv_time now, bool wants_fresh)
{
	uint8_t slot = PATHS_NONE;

	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		if (wants_fresh && !is_fresh(&ps->list[i], now))
			continue;
		if (may_choose(ps, &ps->list[i], now) &&
		    (slot == PATHS_NONE || is_better(&ps->list[i], &ps->list[slot])))
			slot = i;
	}
	return slot;
}

static uint8_t nominated(const struct paths *ps, cv_time now)
{
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		if (ps->list[i].is_nominated && ps->list[i].state == PATH_USABLE &&
		    may_choose(ps, &ps->list[i], now))
			return i;
	}
	return PATHS_NONE;
}

/* The active path died. What was heard just now lives; the others may have died with it, or before,
 * and are in doubt until they answer. */
static uint8_t refuge(struct paths *ps, cv_time now)
{
	uint8_t slot = best(ps, now, true);

	if (slot == PATHS_NONE)
		return best(ps, now, false);
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		struct path *p = &ps->list[i];

		if (p->state != PATH_USABLE || is_fresh(p, now))
			continue;
		p->is_doubtful = true;
		path_check_now(p, now);
	}
	return slot;
}

bool paths_choose(struct paths *ps, cv_time now, uint8_t *before)
{
	struct path *active = paths_active(ps);
	uint8_t next = PATHS_NONE;

	*before = ps->active;
	if (!active || !may_choose(ps, active, now)) {
		next = refuge(ps, now);
		/* A doubtful path is better than none; a failed one is not. */
		if (next == PATHS_NONE && active && path_can_carry(active, now))
			return false;
	} else if (ps->has_smaller_key || active->is_claimed) {
		/* Nobody nominates what only we believe in. */
		next = best(ps, now, false);
		if (next == PATHS_NONE || !is_better(&ps->list[next], active))
			return false;
	} else {
		next = nominated(ps, now);
		if (next == PATHS_NONE)
			return false;
	}
	if (next == ps->active)
		return false;
	/* What killed the one may have killed the others, and who only receives would never know.
	 * And whatever it was, it may be over, or have opened another way. */
	if (active && !may_choose(ps, active, now))
		paths_check_now(ps, now);
	ps->active = next;
	if (next != PATHS_NONE && ps->has_smaller_key) {
		ps->list[next].must_nominate = true;
		ps->list[next].probe_at = now;
		ps->list[next].settled_at = cv_time_after(now, active ? path_patience(active) : 0);
	}
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		ps->list[i].is_nominated = false;
		if (i != next)
			ps->list[i].must_nominate = false;
	}
	return true;
}

void paths_check_now(struct paths *ps, cv_time now)
{
	for (uint8_t i = 0; i < PATHS_MAX; i++)
		path_check_now(&ps->list[i], now);
}

bool paths_may_ask(struct paths *ps, cv_time now, struct path *p, size_t size)
{
	uint64_t cost = (size + STRANGER_UNIT - 1) / STRANGER_UNIT, reserve = STRANGER_RESERVE;
	bool was_heard = p->heard_at != 0 && cv_time_since(now, p->heard_at) < STRANGER_AFTER;
	struct asked_entry *all;
	unsigned count;
	cv_time at;

	if (p->to.is_relay)
		return true;
	if (was_heard) {
		asked_forget(ps->asked, &p->to.addr);
		return true;
	}
	all = asked_find(ps->asked, now, &p->to.addr);
	count = CV_MAX(p->asked_count, all->count);
	at = CV_MAX(p->asked_at, all->at);
	/* One a second, whatever it is, after the first few; one in ten seconds after many. */
	if ((size != WIRE_PROBE_MIN || count > PATH_CHECK_SLOW) && at != 0 &&
	    cv_time_since(now, at) < (count < STRANGER_MANY ? STRANGER_WAIT : STRANGER_WAIT_LONG))
		return false;
	if (cv_time_since(now, named_at(p)) < STRANGER_NEW)
		reserve = 0;
	else if (!is_announced(ps, p))
		reserve *= 2; /* of an older list: what is left when the newest has been asked */
	if (reserve > 0 && bucket_ready_at(&ps->strangers, now, STRANGER_RATE, STRANGER_BURST,
	                                   cost + reserve) > now)
		return false;
	if (!bucket_take(&ps->strangers, now, STRANGER_RATE, STRANGER_BURST, cost))
		return false;
	p->asked_at = all->at = now;
	if (p->asked_count < STRANGER_MANY)
		p->asked_count++;
	if (all->count < STRANGER_MANY)
		all->count++;
	return true;
}

/* A small probe is due where nobody was ever heard; it waits if there have been too many. */
static bool must_wait(struct paths *ps, struct path *p, cv_time now)
{
	if (p->state != PATH_CHECKING || p->tries >= PATH_CHECK_TRIES || now < p->probe_at ||
	    paths_may_ask(ps, now, p, WIRE_PROBE_MIN))
		return false;
	p->probe_at = cv_time_after(now, STRANGER_WAIT);
	return true;
}

bool paths_probe_due(struct paths *ps, cv_time now, const struct rng *rng, bool is_busy,
                     uint8_t *slot, struct path_probe *out)
{
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		struct path *p = &ps->list[i];
		uint8_t missed = p->beats_missed;

		if (p->state == PATH_FREE || path_deadline(p) > now || must_wait(ps, p, now))
			continue;
		if (path_probe_due(p, now, rng, is_busy, i == ps->active, out)) {
			/* Every probe of the chosen path says so: a word that was lost or
			 * overtaken is said again with the next beat. */
			if (i == ps->active && ps->has_smaller_key)
				out->flags |= PROBE_FLAG_NOMINATE;
			/* One beat was missed: by the second it is known which other ways live. */
			if (i == ps->active && missed < PATH_BEATS_MISSED &&
			    p->beats_missed == PATH_BEATS_MISSED)
				paths_check_now(ps, now);
			*slot = i;
			return true;
		}
	}
	return false;
}

cv_time paths_deadline(const struct paths *ps)
{
	cv_time at = CV_TIME_NEVER;

	for (uint8_t i = 0; i < PATHS_MAX; i++)
		at = cv_time_min(at, path_deadline(&ps->list[i]));
	return at;
}

void paths_on_deadline(struct paths *ps, cv_time now)
{
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		struct path *p = &ps->list[i];

		if (p->state != PATH_FAILED || now < p->retry_at)
			continue;
		/* Relays, and what else is in no list, are tried for ever. */
		if (p->is_candidate && is_announced(ps, p))
			path_retry(p, now);
		else if (!p->is_candidate && i != ps->active && p->inflight == 0)
			paths_remove(ps, i);
		else /* also one that is not announced any more: forgotten, it would be new */
			p->retry_at = cv_time_after(now, PATH_RETRY_MIN);
	}
}

bool paths_have_other(const struct paths *ps, cv_time now, uint8_t except)
{
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		if (i != except && may_choose(ps, &ps->list[i], now))
			return true;
	}
	return false;
}

cv_time paths_heard_at(const struct paths *ps)
{
	cv_time at = ps->heard_at;

	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		if (ps->list[i].state != PATH_FREE)
			at = CV_MAX(at, ps->list[i].heard_at);
	}
	return at;
}

bool paths_check(const struct paths *ps)
{
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		if (!path_check(&ps->list[i]))
			return false;
	}
	return ps->active == PATHS_NONE || ps->list[ps->active].state != PATH_FREE;
}

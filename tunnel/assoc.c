/* SPDX-License-Identifier: MIT */
#include "tunnel/assoc.h"

#include <sodium.h>
#include <string.h>

#include "tunnel/aead.h"

/*
 * The whole of joining is two tables. What a finished handshake means depends on which object of
 * ours it names, on whether that is bound, and to whom:
 *
 *   responder     ours is      object     theirs     then
 *   (rule 3.5)    the object   bound      the same   ADDED
 *                 the object   bound      another    VOID: bound elsewhere by now
 *                 the object   unbound    any        BOUND
 *                 candidate    bound      any        REPLACED
 *                 candidate    unbound    any        BOUND, as the candidate
 *                 else                               VOID: of an object that is gone
 *
 *   initiator     the object   bound      the same   ADDED
 *   (rule 3.6)    the object   bound      another    RESTART, or VOID if INIT left unbound
 *                 the object   unbound    any        BOUND
 *                 else                               VOID
 *
 * An unbound object that a candidate replaces has no keys and was never heard: whatever waits in
 * it has not been sent. It takes the candidate's name and begins to live, instead of being reset.
 *
 * A responder that becomes bound always does it on a packet that opened, and an initiator on an
 * answer to a fresh ephemeral key: a replayed INIT reaches neither table.
 */

/* The last two epochs keep index and mac2 secret as long as the object lives (rule 4.2). */
enum { KEPT_FOR_MAC2 = 2 };

/* Jitter keeps two ends that started together from rekeying together (rule 4.3). */
#define JITTER_MAX CV_SEC(5)

enum { CONTINUING_RATE = 10, CONTINUING_BURST = 10 };

static bool is_same(const uint8_t *a, const uint8_t *b)
{
	return memcmp(a, b, INCARNATION_SIZE) == 0;
}

static unsigned slot_of(const struct assoc *a, const struct epoch *e)
{
	return (unsigned)(e - a->opt.epochs);
}

static void make_candidate(const struct assoc *a, const uint8_t *theirs, uint8_t *out)
{
	int r = crypto_generichash(out, INCARNATION_SIZE, theirs, INCARNATION_SIZE,
	                           a->candidate_secret, sizeof(a->candidate_secret));

	CV_ASSERT(r == 0);
}

static void drop_epoch(struct assoc *a, cv_time now, struct epoch *e)
{
	CV_ASSERT(e->local_index != 0);
	indexes_free(a->opt.indexes, now, e->local_index);
	epoch_wipe(e);
	if (a->confirm_slot == slot_of(a, e))
		a->confirm_slot = a->opt.epochs_max;
}

static void drop_epochs(struct assoc *a, cv_time now)
{
	for (unsigned i = 0; i < a->opt.epochs_max; i++) {
		if (a->opt.epochs[i].local_index != 0)
			drop_epoch(a, now, &a->opt.epochs[i]);
	}
	a->send_slot = 0;
}

/* A new object under the name @incarnation; numbers of handshakes go on, so that they never repeat.
 */
static void begin_object(struct assoc *a, const struct rng *rng, const uint8_t *incarnation)
{
	memmove(a->incarnation, incarnation, INCARNATION_SIZE);
	memset(a->peer_incarnation, 0, sizeof(a->peer_incarnation));
	rng_fill(rng, a->candidate_secret, sizeof(a->candidate_secret));
	a->is_bound = false;
	a->number_accepted = 0; /* its epochs are gone: no earlier INIT can continue them */
	a->confirm_slot = a->opt.epochs_max;
	a->send_slot = 0;
}

void assoc_init(struct assoc *a, const struct assoc_options *opt, const struct rng *rng)
{
	uint8_t incarnation[INCARNATION_SIZE];

	CV_ASSERT(opt->epochs_max >= ASSOC_EPOCHS_LIGHT);
	CV_ASSERT(opt->epochs_max <= ASSOC_EPOCHS_MAX);
	*a = (struct assoc){ .opt = *opt, .number_next = 1 };
	rng_fill(rng, incarnation, sizeof(incarnation));
	begin_object(a, rng, incarnation);
	a->jitter = rng_below(rng, JITTER_MAX);
}

void assoc_rename(struct assoc *a, const uint8_t incarnation[INCARNATION_SIZE])
{
	CV_ASSERT(!a->is_bound);
	memcpy(a->incarnation, incarnation, INCARNATION_SIZE);
}

void assoc_deinit(struct assoc *a, cv_time now)
{
	if (!a->opt.epochs)
		return;
	drop_epochs(a, now);
	sodium_memzero(a, sizeof(*a));
}

void assoc_reset(struct assoc *a, cv_time now, const struct rng *rng)
{
	uint8_t incarnation[INCARNATION_SIZE];

	drop_epochs(a, now);
	rng_fill(rng, incarnation, sizeof(incarnation));
	begin_object(a, rng, incarnation);
}

/* An unbound object is offered to all who ask: a name of its own for each would meet our own INIT,
 * which has the object's, on the way, and each side would end up joined to something that the other
 * has already given up. Whoever confirms first has it; the others find out (rule 3.7). */
void assoc_offer(const struct assoc *a, const uint8_t theirs[INCARNATION_SIZE],
                 uint8_t ours[INCARNATION_SIZE])
{
	if (!a->is_bound || is_same(a->peer_incarnation, theirs))
		memcpy(ours, a->incarnation, INCARNATION_SIZE);
	else
		make_candidate(a, theirs, ours);
}

/* The epoch made last, among those that @want (NULL: any); NULL when there is none. */
static struct epoch *newest(const struct assoc *a, bool (*want)(const struct epoch *e))
{
	struct epoch *best = NULL;

	for (unsigned i = 0; i < a->opt.epochs_max; i++) {
		struct epoch *e = &a->opt.epochs[i];

		if (e->local_index == 0 || (want && !want(e)))
			continue;
		if (!best || e->made_at > best->made_at)
			best = e;
	}
	return best;
}

static struct epoch *oldest_but(const struct assoc *a, unsigned spare, unsigned spare_too)
{
	struct epoch *best = NULL;

	for (unsigned i = 0; i < a->opt.epochs_max; i++) {
		struct epoch *e = &a->opt.epochs[i];

		if (e->local_index == 0 || i == spare || i == spare_too)
			continue;
		if (!best || e->made_at < best->made_at)
			best = e;
	}
	return best;
}

/* Epochs past their age lose their keys, and all but the last two their index. */
static void prune(struct assoc *a, cv_time now)
{
	for (unsigned i = 0; i < a->opt.epochs_max; i++) {
		struct epoch *e = &a->opt.epochs[i];
		unsigned newer = 0;

		if (e->local_index == 0 || epoch_can_open(e, now, a->opt.limits))
			continue;
		for (unsigned k = 0; k < a->opt.epochs_max; k++) {
			const struct epoch *other = &a->opt.epochs[k];

			newer += other->local_index != 0 && other->made_at > e->made_at;
		}
		epoch_wipe_data(e); /* index and mac2 secret stay */
		if (newer >= KEPT_FOR_MAC2)
			drop_epoch(a, now, e);
	}
}

static struct epoch *make_room(struct assoc *a, cv_time now)
{
	struct epoch *e;

	for (unsigned i = 0; i < a->opt.epochs_max; i++) {
		if (a->opt.epochs[i].local_index == 0)
			return &a->opt.epochs[i];
	}
	e = oldest_but(a, a->send_slot, a->confirm_slot);
	if (!e) /* two slots, and both have a task: data go on */
		e = oldest_but(a, a->send_slot, a->send_slot);
	CV_ASSERT(e);
	drop_epoch(a, now, e);
	return e;
}

static bool can_send(const struct assoc *a, cv_time now)
{
	const struct epoch *e = &a->opt.epochs[a->send_slot];

	return e->local_index != 0 && epoch_can_seal(e, now, a->opt.limits);
}

/* Data stay under an older epoch while it lives (rule 4.2); one that was never heard does not: the
 * other side may have forgotten it with its pending entry. */
static bool must_stay(const struct assoc *a, cv_time now)
{
	return can_send(a, now) && a->opt.epochs[a->send_slot].has_heard;
}

static void add_epoch(struct assoc *a, cv_time now, const struct rng *rng,
                      const struct assoc_join *j)
{
	struct epoch *e;
	uint8_t *states;
	unsigned slot;

	prune(a, now);
	e = make_room(a, now);
	slot = slot_of(a, e);
	states = a->opt.states ? a->opt.states + (size_t)slot * 2 * AEAD_STATE_SIZE : NULL;
	CV_ASSERT(states || j->aead == AEAD_CHACHA20_POLY1305);
	epoch_init(e, j->secrets, j->is_initiator, (enum aead_kind)j->aead, j->local_index,
	           j->remote_index, now, states);
	e->has_heard = !j->is_initiator; /* a responder joins on a packet that opened */
	indexes_give(a->opt.indexes, j->local_index, a->opt.owner);
	a->peer_policy = j->policy;
	a->jitter = rng_below(rng, JITTER_MAX);
	if (j->is_initiator)
		a->confirm_slot = (uint8_t)slot;
	if (!j->is_initiator || !must_stay(a, now))
		a->send_slot = (uint8_t)slot;
}

static void bind_object(struct assoc *a, const uint8_t *theirs)
{
	memcpy(a->peer_incarnation, theirs, INCARNATION_SIZE);
	a->is_bound = true;
}

static enum assoc_verdict judge_response(const struct assoc *a, const struct assoc_join *j)
{
	if (!is_same(j->ours, a->incarnation))
		return ASSOC_VOID;
	if (!a->is_bound)
		return ASSOC_BOUND;
	if (is_same(j->theirs, a->peer_incarnation))
		return ASSOC_ADDED;
	return j->was_bound ? ASSOC_RESTART : ASSOC_VOID;
}

static enum assoc_verdict judge_confirmation(const struct assoc *a, const struct assoc_join *j)
{
	uint8_t candidate[INCARNATION_SIZE];

	if (is_same(j->ours, a->incarnation)) {
		if (!a->is_bound)
			return ASSOC_BOUND;
		return is_same(j->theirs, a->peer_incarnation) ? ASSOC_ADDED : ASSOC_VOID;
	}
	make_candidate(a, j->theirs, candidate);
	if (!is_same(j->ours, candidate))
		return ASSOC_VOID;
	return a->is_bound ? ASSOC_REPLACED : ASSOC_BOUND;
}

/* Our object is gone because theirs is. The candidate, if one was offered to their new incarnation,
 * is what its own INIT has in hand, so the new object takes that name. */
static void restart(struct assoc *a, cv_time now, const struct rng *rng, const uint8_t *theirs)
{
	uint8_t candidate[INCARNATION_SIZE];

	make_candidate(a, theirs, candidate);
	drop_epochs(a, now);
	begin_object(a, rng, candidate);
}

enum assoc_verdict assoc_join(struct assoc *a, cv_time now, const struct rng *rng,
                              const struct assoc_join *j)
{
	enum assoc_verdict verdict =
		j->is_initiator ? judge_response(a, j) : judge_confirmation(a, j);

	CV_ASSERT(j->local_index != 0);
	switch (verdict) {
	case ASSOC_ADDED:
		add_epoch(a, now, rng, j);
		return verdict;
	case ASSOC_REPLACED:
	case ASSOC_BOUND:
		if (!is_same(j->ours, a->incarnation)) {
			drop_epochs(a, now);
			begin_object(a, rng, j->ours);
		}
		bind_object(a, j->theirs);
		add_epoch(a, now, rng, j);
		return verdict;
	case ASSOC_RESTART:
		indexes_free(a->opt.indexes, now, j->local_index);
		restart(a, now, rng, j->theirs);
		return verdict;
	case ASSOC_VOID:
		indexes_free(a->opt.indexes, now, j->local_index);
		return verdict;
	}
	CV_UNREACHABLE();
}

struct epoch *assoc_find(struct assoc *a, uint32_t index)
{
	if (index == 0)
		return NULL;
	for (unsigned i = 0; i < a->opt.epochs_max; i++) {
		if (a->opt.epochs[i].local_index == index)
			return &a->opt.epochs[i];
	}
	return NULL;
}

void assoc_on_opened(struct assoc *a, struct epoch *e)
{
	const struct epoch *sending = &a->opt.epochs[a->send_slot];

	CV_ASSERT(e->local_index != 0);
	e->has_heard = true;
	if (a->confirm_slot == slot_of(a, e))
		a->confirm_slot = a->opt.epochs_max;
	/* A straggler of an older epoch must not take the data back to it. */
	if (sending->local_index == 0 || e->made_at > sending->made_at || !sending->has_heard)
		a->send_slot = (uint8_t)slot_of(a, e);
}

struct epoch *assoc_send_epoch(struct assoc *a, cv_time now)
{
	struct epoch *best = NULL;

	if (can_send(a, now))
		return &a->opt.epochs[a->send_slot];
	for (unsigned i = 0; i < a->opt.epochs_max; i++) {
		struct epoch *e = &a->opt.epochs[i];

		if (e->local_index == 0 || !epoch_can_seal(e, now, a->opt.limits))
			continue;
		if (!best || e->made_at > best->made_at)
			best = e;
	}
	if (best)
		a->send_slot = (uint8_t)slot_of(a, best);
	else
		prune(a, now);
	return best;
}

struct epoch *assoc_confirm_epoch(struct assoc *a, cv_time now)
{
	struct epoch *e;

	if (a->confirm_slot == a->opt.epochs_max || a->confirm_slot == a->send_slot)
		return NULL;
	e = &a->opt.epochs[a->confirm_slot];
	return epoch_can_seal(e, now, a->opt.limits) ? e : NULL;
}

static bool has_heard(const struct epoch *e)
{
	return e->has_heard;
}

bool assoc_continues(const struct assoc *a, uint32_t *remote_index, const uint8_t **mac2_secret)
{
	/* Of an epoch that was never heard the other side may hold nothing, or a pending entry. */
	const struct epoch *e = newest(a, has_heard);

	if (!e)
		return false;
	*remote_index = e->remote_index;
	*mac2_secret = e->mac2_secret;
	return true;
}

bool assoc_accepts_number(const struct assoc *a, uint64_t number)
{
	return number > a->number_accepted;
}

bool assoc_take_number(struct assoc *a, cv_time now, uint64_t number)
{
	CV_ASSERT(assoc_accepts_number(a, number));
	if (!bucket_take(&a->continuing, now, CONTINUING_RATE, CONTINUING_BURST, 1))
		return false;
	a->number_accepted = number;
	return true;
}

cv_time assoc_rekey_at(const struct assoc *a, cv_time now)
{
	const struct epoch *e = newest(a, NULL);

	if (!e || !assoc_is_live(a, now))
		return CV_TIME_NEVER;
	return epoch_rekey_at(e, a->opt.limits, a->opt.has_smaller_key, a->jitter);
}

cv_time assoc_dead_at(const struct assoc *a)
{
	const struct epoch *e = newest(a, NULL);

	return e ? cv_time_after(e->made_at, a->opt.limits->reject_after) : CV_TIME_NEVER;
}

bool assoc_is_live(const struct assoc *a, cv_time now)
{
	for (unsigned i = 0; i < a->opt.epochs_max; i++) {
		const struct epoch *e = &a->opt.epochs[i];

		if (e->local_index != 0 && epoch_can_seal(e, now, a->opt.limits))
			return true;
	}
	return false;
}

bool assoc_check(const struct assoc *a)
{
	unsigned count = 0;

	if (a->send_slot >= a->opt.epochs_max || a->confirm_slot > a->opt.epochs_max)
		return false;
	for (unsigned i = 0; i < a->opt.epochs_max; i++) {
		const struct epoch *e = &a->opt.epochs[i];

		if (e->local_index == 0)
			continue;
		count++;
		if (indexes_find(a->opt.indexes, e->local_index) != a->opt.owner)
			return false;
		for (unsigned k = 0; k < i; k++) {
			if (a->opt.epochs[k].local_index == e->local_index)
				return false;
		}
	}
	if (a->is_bound != (count > 0)) /* an object is bound by an epoch, and keeps the last two */
		return false;
	if (count > 0 && a->opt.epochs[a->send_slot].local_index == 0)
		return false;
	return a->confirm_slot == a->opt.epochs_max ||
	       (a->opt.epochs[a->confirm_slot].local_index != 0 &&
	        a->opt.epochs[a->confirm_slot].is_initiator);
}

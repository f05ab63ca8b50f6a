/* SPDX-License-Identifier: MIT */

/*
 * Goal: whatever handshakes cross, are replayed, lost or repeated, two objects that exchange
 * packets are bound to each other, and a living object is never touched by a handshake that is not
 * confirmed (rules 3.4-3.8, 4.1-4.4). Method: two ends and a handshake cut into its four steps, so
 * that a test can put steps of several in any order; real epochs show which keys open what.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tunnel/assoc.h"

struct end {
	struct assoc assoc;
	struct epoch epochs[ASSOC_EPOCHS_MAX];
	struct indexes indexes;
	uint64_t number_next;
};

static struct rng_seeded seeded;
static struct rng rng;
static cv_time now;

static void end_init(struct end *e, uint8_t epochs_max, bool has_smaller_key)
{
	struct assoc_options opt = { .indexes = &e->indexes,
		                     .owner = 5,
		                     .limits = &EPOCH_LIMITS_AGENT,
		                     .epochs = e->epochs,
		                     .epochs_max = epochs_max,
		                     .has_smaller_key = has_smaller_key };

	memset(e, 0, sizeof(*e));
	assert_int_equal(indexes_init(&e->indexes, 1), 0);
	assoc_init(&e->assoc, &opt, &rng);
}

static void end_deinit(struct end *e)
{
	assoc_deinit(&e->assoc, now);
	indexes_deinit(&e->indexes);
}

static void begin(struct end *a, struct end *b)
{
	rng_seeded_init(&seeded, 1);
	rng = rng_from_seeded(&seeded);
	now = CV_SEC(100);
	end_init(a, ASSOC_EPOCHS_MAX, true);
	end_init(b, ASSOC_EPOCHS_MAX, false);
}

/* One handshake of @from with @to, step by step. */
struct shake {
	struct end *from, *to;
	struct handshake_secrets secrets;
	uint8_t ours[INCARNATION_SIZE];   /* in INIT */
	uint8_t theirs[INCARNATION_SIZE]; /* in RESP */
	bool was_bound;
	uint32_t from_index, to_index;
};

static struct shake init(struct end *from)
{
	struct shake s = { .from = from, .was_bound = from->assoc.is_bound };

	rng_fill(&rng, &s.secrets, sizeof(s.secrets));
	memcpy(s.ours, from->assoc.incarnation, INCARNATION_SIZE);
	s.from_index = indexes_take(&from->indexes, now, &rng, 0);
	return s;
}

/* @to answers; a second answer to the same INIT is another handshake with other keys. */
static struct shake resp(const struct shake *init, struct end *to)
{
	struct shake s = *init;

	s.to = to;
	rng_fill(&rng, &s.secrets, sizeof(s.secrets));
	assoc_offer(&to->assoc, s.ours, s.theirs);
	s.to_index = indexes_take(&to->indexes, now, &rng, 0);
	return s;
}

static enum assoc_verdict finish(struct shake *s)
{
	struct assoc_join j = { .secrets = &s->secrets,
		                .ours = s->ours,
		                .theirs = s->theirs,
		                .is_initiator = true,
		                .was_bound = s->was_bound,
		                .aead = AEAD_CHACHA20_POLY1305,
		                .policy = POLICY_RELAY,
		                .local_index = s->from_index,
		                .remote_index = s->to_index };
	enum assoc_verdict v = assoc_join(&s->from->assoc, now, &rng, &j);

	assert_true(assoc_check(&s->from->assoc));
	return v;
}

static enum assoc_verdict confirm(struct shake *s)
{
	struct assoc_join j = { .secrets = &s->secrets,
		                .ours = s->theirs,
		                .theirs = s->ours,
		                .aead = AEAD_CHACHA20_POLY1305,
		                .local_index = s->to_index,
		                .remote_index = s->from_index };
	enum assoc_verdict v = assoc_join(&s->to->assoc, now, &rng, &j);

	assert_true(assoc_check(&s->to->assoc));
	return v;
}

/* A packet from @from under its sending epoch: does it open, and join bound objects? */
static bool talks(struct end *from, struct end *to)
{
	struct epoch *e = assoc_send_epoch(&from->assoc, now);
	uint8_t packet[WIRE_DATA_OVERHEAD + 4] = { 0 };
	struct wire_data head;
	struct epoch *r;
	size_t size;

	if (!e)
		return false;
	size = epoch_seal_data(e, 0, from->number_next++, packet, 4);
	assert_true(wire_read_data(packet, size, &head));
	r = assoc_find(&to->assoc, head.receiver);
	if (!r || !epoch_can_open(r, now, &EPOCH_LIMITS_AGENT) ||
	    !epoch_open_data(r, head.number, packet, size, &size))
		return false;
	assoc_on_opened(&to->assoc, r);
	/* The oracle of all that is in this file. */
	assert_memory_equal(from->assoc.peer_incarnation, to->assoc.incarnation, INCARNATION_SIZE);
	assert_memory_equal(to->assoc.peer_incarnation, from->assoc.incarnation, INCARNATION_SIZE);
	return true;
}

static void join_pair(struct end *a, struct end *b)
{
	struct shake s = init(a);

	s = resp(&s, b);
	assert_int_equal(finish(&s), ASSOC_BOUND);
	assert_int_equal(confirm(&s), ASSOC_BOUND);
	assert_true(talks(a, b));
	assert_true(talks(b, a));
}

static void first_handshake_binds_both(void **state)
{
	struct end a, b;

	(void)state;
	begin(&a, &b);
	assert_false(assoc_is_live(&a.assoc, now));
	assert_int_equal(assoc_rekey_at(&a.assoc, now), CV_TIME_NEVER);
	join_pair(&a, &b);
	assert_true(assoc_is_live(&a.assoc, now));
	assert_int_equal(a.assoc.peer_policy, POLICY_RELAY);
	end_deinit(&a);
	end_deinit(&b);
}

static void rekey_adds_an_epoch(void **state)
{
	struct end a, b;
	struct shake s;
	struct epoch *old;

	(void)state;
	begin(&a, &b);
	join_pair(&a, &b);
	old = assoc_send_epoch(&a.assoc, now);
	now += CV_SEC(120);
	s = init(&a);
	s = resp(&s, &b);
	assert_int_equal(finish(&s), ASSOC_ADDED);
	/* Data stay where they are known to arrive; one packet goes under the new epoch (4.2). */
	assert_ptr_equal(assoc_send_epoch(&a.assoc, now), old);
	assert_non_null(assoc_confirm_epoch(&a.assoc, now));
	assert_true(talks(&a, &b));
	assert_int_equal(confirm(&s), ASSOC_ADDED);
	assert_true(talks(&b, &a)); /* the responder has moved, and with its packet the initiator */
	assert_null(assoc_confirm_epoch(&a.assoc, now));
	assert_ptr_not_equal(assoc_send_epoch(&a.assoc, now), old);
	assert_true(talks(&a, &b));
	end_deinit(&a);
	end_deinit(&b);
}

/* Both begin at once; any of the two confirmations may be lost. */
static void crossing_handshakes_are_harmless(void **state)
{
	(void)state;
	for (unsigned order = 0; order < 16; order++) {
		struct end a, b;
		struct shake ab, ba;

		begin(&a, &b);
		ab = init(&a);
		ba = init(&b);
		ab = resp(&ab, &b);
		ba = resp(&ba, &a);
		if (order & 1) {
			assert_int_equal(finish(&ab), ASSOC_BOUND);
			assert_int_equal(finish(&ba), ASSOC_BOUND);
		} else {
			assert_int_equal(finish(&ba), ASSOC_BOUND);
			assert_int_equal(finish(&ab), ASSOC_BOUND);
		}
		now += CV_MS(10);
		if (order & 2)
			assert_int_equal(confirm(&ab), ASSOC_ADDED);
		if (order & 4)
			assert_int_equal(confirm(&ba), ASSOC_ADDED);
		if (order & 8) /* rekey on top: nothing was broken */
			now += CV_SEC(100);
		ab = init(&a);
		ab = resp(&ab, &b);
		assert_int_equal(finish(&ab), ASSOC_ADDED);
		assert_int_equal(confirm(&ab), ASSOC_ADDED);
		assert_true(talks(&b, &a));
		assert_true(talks(&a, &b));
		end_deinit(&a);
		end_deinit(&b);
	}
}

static void both_rekey_at_once(void **state)
{
	struct end a, b;
	struct shake ab, ba;

	(void)state;
	begin(&a, &b);
	join_pair(&a, &b);
	now += CV_SEC(120);
	ab = init(&a);
	ba = init(&b);
	ab = resp(&ab, &b);
	ba = resp(&ba, &a);
	assert_int_equal(finish(&ab), ASSOC_ADDED);
	assert_int_equal(finish(&ba), ASSOC_ADDED);
	assert_int_equal(confirm(&ab), ASSOC_ADDED);
	assert_int_equal(confirm(&ba), ASSOC_ADDED);
	assert_true(talks(&a, &b));
	assert_true(talks(&b, &a));
	end_deinit(&a);
	end_deinit(&b);
}

/* B restarts and begins: A's living object stays until B has confirmed (rules 3.5, 3.7). */
static void restarted_peer_is_believed_at_confirmation(void **state)
{
	struct end a, b, b2;
	struct shake s;

	(void)state;
	begin(&a, &b);
	join_pair(&a, &b);
	end_init(&b2, ASSOC_EPOCHS_MAX, false);
	s = init(&b2);
	s = resp(&s, &a);
	assert_memory_not_equal(s.theirs, a.assoc.incarnation, INCARNATION_SIZE);
	assert_true(talks(&a, &b)); /* untouched so far */
	assert_int_equal(finish(&s), ASSOC_BOUND);
	assert_int_equal(confirm(&s), ASSOC_REPLACED);
	assert_false(talks(&b, &a));
	assert_true(talks(&a, &b2));
	assert_true(talks(&b2, &a));
	end_deinit(&a);
	end_deinit(&b);
	end_deinit(&b2);
}

/* B restarts and A begins: A finds another incarnation in RESP (rule 3.6). */
static void initiator_finds_a_restarted_peer(void **state)
{
	struct end a, b, b2;
	struct shake s;
	uint8_t old[INCARNATION_SIZE];

	(void)state;
	begin(&a, &b);
	join_pair(&a, &b);
	memcpy(old, a.assoc.incarnation, sizeof(old));
	end_init(&b2, ASSOC_EPOCHS_MAX, false);
	s = init(&a);
	s = resp(&s, &b2);
	assert_int_equal(finish(&s), ASSOC_RESTART);
	assert_false(a.assoc.is_bound);
	assert_memory_not_equal(old, a.assoc.incarnation, sizeof(old));
	assert_int_equal(indexes_find(&a.indexes, s.from_index), INDEXES_NONE);
	s = init(&a);
	s = resp(&s, &b2);
	assert_int_equal(finish(&s), ASSOC_BOUND);
	assert_int_equal(confirm(&s), ASSOC_BOUND); /* b2 had offered its object to a's old one */
	assert_true(talks(&a, &b2));
	assert_true(talks(&b2, &a));
	end_deinit(&a);
	end_deinit(&b);
	end_deinit(&b2);
}

/* Both find each other's restart at once: the candidate is the new object's name. */
static void restart_and_its_own_handshake_agree(void **state)
{
	struct end a, b, b2;
	struct shake ab, ba;

	(void)state;
	begin(&a, &b);
	join_pair(&a, &b);
	end_init(&b2, ASSOC_EPOCHS_MAX, false);
	ab = init(&a);
	ba = init(&b2);
	ba = resp(&ba, &a); /* the candidate, offered to b2 */
	ab = resp(&ab, &b2);
	assert_int_equal(finish(&ab), ASSOC_RESTART);
	assert_memory_equal(ba.theirs, a.assoc.incarnation, INCARNATION_SIZE);
	assert_int_equal(finish(&ba), ASSOC_BOUND);
	assert_int_equal(confirm(&ba), ASSOC_BOUND);
	assert_true(talks(&b2, &a));
	assert_true(talks(&a, &b2));
	end_deinit(&a);
	end_deinit(&b);
	end_deinit(&b2);
}

/* INITs of an earlier incarnation, replayed while the living one starts: they get candidates, and
 * none of theirs pushes out the one that counts. */
static void replayed_inits_change_nothing(void **state)
{
	struct end a, b, old;
	struct shake replayed, s, r;

	(void)state;
	begin(&a, &b);
	end_init(&old, ASSOC_EPOCHS_MAX, false);
	replayed = init(&old);
	r = resp(&replayed, &a); /* takes the unbound object's offer */
	s = init(&b);
	s = resp(&s, &a);
	for (unsigned i = 0; i < 100; i++)
		r = resp(&replayed, &a);
	assert_int_equal(finish(&s), ASSOC_BOUND);
	assert_int_equal(confirm(&s), ASSOC_BOUND); /* the candidate, of an unbound object */
	assert_true(talks(&a, &b));
	for (unsigned i = 0; i < 100; i++)
		r = resp(&replayed, &a);
	assert_true(talks(&b, &a));
	assert_memory_not_equal(r.theirs, a.assoc.incarnation, INCARNATION_SIZE);
	end_deinit(&a);
	end_deinit(&b);
	end_deinit(&old);
}

/* A candidate is offered to one incarnation alone, always the same one. */
static void candidates_are_not_shared(void **state)
{
	static struct end a, b, c, d;
	struct shake first, again, other;

	(void)state;
	begin(&a, &b);
	end_init(&c, ASSOC_EPOCHS_MAX, false);
	end_init(&d, ASSOC_EPOCHS_MAX, false);
	join_pair(&a, &b);
	first = init(&c);
	other = init(&d);
	first = resp(&first, &a);
	other = resp(&other, &a);
	again = init(&c);
	again = resp(&again, &a);
	assert_memory_equal(first.theirs, again.theirs, INCARNATION_SIZE);
	assert_memory_not_equal(first.theirs, other.theirs, INCARNATION_SIZE);
	assert_int_equal(finish(&first), ASSOC_BOUND);
	assert_int_equal(confirm(&first), ASSOC_REPLACED);
	/* Of the object before: void, and its index is free again. */
	assert_int_equal(confirm(&other), ASSOC_VOID);
	assert_int_equal(indexes_find(&a.indexes, other.to_index), INDEXES_NONE);
	assert_int_equal(finish(&again), ASSOC_ADDED);
	assert_int_equal(confirm(&again), ASSOC_ADDED);
	assert_true(talks(&a, &c));
	end_deinit(&a);
	end_deinit(&b);
	end_deinit(&c);
	end_deinit(&d);
}

static void confirmation_of_an_object_bound_elsewhere_is_void(void **state)
{
	struct end a, b, c;
	struct shake s, mine;

	(void)state;
	begin(&a, &b);
	end_init(&c, ASSOC_EPOCHS_MAX, false);
	s = init(&c);
	s = resp(&s, &a); /* a's object is offered to c ... */
	mine = init(&a);
	mine = resp(&mine, &b);
	assert_int_equal(finish(&mine), ASSOC_BOUND); /* ... and bound to b */
	assert_int_equal(finish(&s), ASSOC_BOUND);
	assert_int_equal(confirm(&s), ASSOC_VOID);
	assert_int_equal(confirm(&mine), ASSOC_BOUND);
	assert_true(talks(&a, &b));
	end_deinit(&a);
	end_deinit(&b);
	end_deinit(&c);
}

/* Who asked first died in mid-handshake; the next one's INIT crosses our own. */
static void an_unbound_object_is_offered_to_all(void **state)
{
	struct end a, b, dead;
	struct shake s, ab, ba;

	(void)state;
	begin(&a, &b);
	end_init(&dead, ASSOC_EPOCHS_MAX, false);
	s = init(&dead);
	(void)resp(&s, &a);
	ba = init(&b);
	ab = init(&a);
	ba = resp(&ba, &a);
	assert_memory_equal(ba.theirs, a.assoc.incarnation, INCARNATION_SIZE);
	assert_int_equal(finish(&ba), ASSOC_BOUND);
	ab = resp(&ab, &b);
	assert_int_equal(finish(&ab), ASSOC_BOUND);
	assert_int_equal(confirm(&ba), ASSOC_ADDED);
	assert_int_equal(confirm(&ab), ASSOC_ADDED);
	assert_true(talks(&a, &b));
	assert_true(talks(&b, &a));
	end_deinit(&a);
	end_deinit(&b);
	end_deinit(&dead);
}

/* INIT left while unbound; meanwhile the object was bound: RESP of another incarnation is void. */
static void late_resp_to_an_unbound_init_is_void(void **state)
{
	struct end a, b, c;
	struct shake late, s;

	(void)state;
	begin(&a, &b);
	end_init(&c, ASSOC_EPOCHS_MAX, false);
	late = init(&a);
	late = resp(&late, &c);
	s = init(&b);
	s = resp(&s, &a);
	assert_int_equal(finish(&s), ASSOC_BOUND);
	assert_int_equal(confirm(&s), ASSOC_BOUND);
	assert_int_equal(finish(&late), ASSOC_VOID);
	assert_true(talks(&a, &b));
	/* And one of an object that is gone. */
	late = init(&a);
	late = resp(&late, &b);
	assoc_reset(&a.assoc, now, &rng);
	assert_int_equal(finish(&late), ASSOC_VOID);
	assert_true(assoc_check(&a.assoc));
	end_deinit(&a);
	end_deinit(&b);
	end_deinit(&c);
}

static void twins_take_turns_whole(void **state)
{
	struct end a, b, twin;
	struct shake s;

	(void)state;
	begin(&a, &b);
	end_init(&twin, ASSOC_EPOCHS_MAX, true);
	join_pair(&a, &b);
	s = init(&twin);
	s = resp(&s, &b);
	assert_int_equal(finish(&s), ASSOC_BOUND);
	assert_int_equal(confirm(&s), ASSOC_REPLACED);
	assert_true(talks(&twin, &b));
	assert_false(talks(&a, &b));
	s = init(&a); /* bound to an object that is gone: it restarts, and wins again */
	s = resp(&s, &b);
	assert_int_equal(finish(&s), ASSOC_RESTART);
	s = init(&a);
	s = resp(&s, &b);
	assert_int_equal(finish(&s), ASSOC_BOUND);
	assert_int_equal(confirm(&s), ASSOC_REPLACED);
	assert_true(talks(&a, &b));
	assert_false(talks(&twin, &b));
	end_deinit(&a);
	end_deinit(&b);
	end_deinit(&twin);
}

static void continuing_names_an_epoch_that_was_heard(void **state)
{
	struct end a, b;
	struct shake s;
	const uint8_t *secret;
	uint32_t index;

	(void)state;
	begin(&a, &b);
	assert_false(assoc_continues(&a.assoc, &index, &secret));
	join_pair(&a, &b);
	assert_true(assoc_continues(&a.assoc, &index, &secret));
	assert_memory_equal(assoc_find(&b.assoc, index)->mac2_secret, secret, 32);
	now += CV_SEC(120);
	s = init(&a);
	s = resp(&s, &b);
	assert_int_equal(finish(&s), ASSOC_ADDED);
	assert_true(assoc_continues(&a.assoc, &index, &secret));
	assert_int_not_equal(index, s.to_index); /* b may not have it */
	now += CV_SEC(3600);                     /* no keys live, but the secret does (rule 4.2) */
	assert_null(assoc_send_epoch(&a.assoc, now));
	assert_null(assoc_send_epoch(&b.assoc, now));
	assert_true(assoc_continues(&a.assoc, &index, &secret));
	assert_memory_equal(assoc_find(&b.assoc, index)->mac2_secret, secret, 32);
	s = init(&a);
	s = resp(&s, &b);
	assert_int_equal(finish(&s), ASSOC_ADDED); /* the object lives on */
	assert_int_equal(confirm(&s), ASSOC_ADDED);
	assert_true(talks(&a, &b));
	end_deinit(&a);
	end_deinit(&b);
}

static void numbers_only_rise(void **state)
{
	struct end a, b;

	(void)state;
	begin(&a, &b);
	assert_false(assoc_accepts_number(&a.assoc, 0));
	assert_true(assoc_take_number(&a.assoc, now, 7));
	assert_false(assoc_accepts_number(&a.assoc, 6));
	assert_false(assoc_accepts_number(&a.assoc, 7));
	assert_true(assoc_accepts_number(&a.assoc, 8));
	for (uint64_t n = 8; n < 17; n++)
		assert_true(assoc_take_number(&a.assoc, now, n));
	assert_false(assoc_take_number(&a.assoc, now, 17)); /* 10/s a session */
	assert_true(assoc_accepts_number(&a.assoc, 17));
	assert_true(assoc_take_number(&a.assoc, now + CV_MS(101), 17));
	end_deinit(&a);
	end_deinit(&b);
}

static void the_smaller_key_rekeys_first(void **state)
{
	struct end a, b;

	(void)state;
	begin(&a, &b);
	join_pair(&a, &b);
	assert_in_range(assoc_rekey_at(&a.assoc, now), now + CV_SEC(115), now + CV_SEC(125));
	assert_in_range(assoc_rekey_at(&b.assoc, now), now + CV_SEC(145), now + CV_SEC(155));
	assert_int_equal(assoc_dead_at(&a.assoc), now + CV_SEC(180));
	assoc_send_epoch(&a.assoc, now)->sealed = EPOCH_LIMITS_AGENT.rekey_packets;
	assert_true(assoc_rekey_at(&a.assoc, now) <= now);
	assoc_send_epoch(&a.assoc, now)->sealed = EPOCH_LIMITS_AGENT.reject_packets;
	assert_null(assoc_send_epoch(&a.assoc, now));
	end_deinit(&a);
	end_deinit(&b);
}

/* More epochs than slots: the oldest go, data never stop, and indices rest. */
static void old_epochs_make_room(void **state)
{
	static const uint8_t slots[] = { ASSOC_EPOCHS_LIGHT, ASSOC_EPOCHS_MAX };

	(void)state;
	for (unsigned i = 0; i < CV_ARRAY_SIZE(slots); i++) {
		struct end a, b;

		begin(&a, &b);
		end_deinit(&a);
		end_deinit(&b);
		end_init(&a, slots[i], true);
		end_init(&b, slots[i], false);
		join_pair(&a, &b);
		for (unsigned k = 0; k < 20; k++) {
			struct shake s = init(k % 3 ? &a : &b);

			now += CV_SEC(20);
			s = resp(&s, s.from == &a ? &b : &a);
			assert_int_equal(finish(&s), ASSOC_ADDED);
			if (k % 5 == 4)
				continue; /* the confirmation is lost */
			assert_int_equal(confirm(&s), ASSOC_ADDED);
			assert_true(talks(s.to, s.from));
			assert_true(talks(s.from, s.to));
		}
		assert_true(a.indexes.map.count - a.indexes.rest_count <= (size_t)slots[i] + 1);
		end_deinit(&a);
		end_deinit(&b);
	}
}

/* Random steps of random handshakes, some repeated, some restarts: the oracle of talks() holds, and
 * in calm both ends agree after two handshakes. */
static void any_order_of_steps_converges(void **state)
{
	enum { SHAKES = 8 };

	(void)state;
	for (unsigned run = 0; run < 300; run++) {
		struct end ends[2];
		struct shake shakes[SHAKES] = { 0 };
		uint8_t step[SHAKES] = { 0 };

		begin(&ends[0], &ends[1]);
		rng_seeded_init(&seeded, run);
		for (unsigned k = 0; k < 200; k++) {
			unsigned i = (unsigned)rng_below(&rng, SHAKES);
			unsigned side = (unsigned)rng_below(&rng, 2);

			now += CV_MS(1);
			switch (rng_below(&rng, 40) == 0 ? 9 : step[i]) {
			case 0:
				shakes[i] = init(&ends[side]);
				step[i] = 1;
				break;
			case 1:
				shakes[i] = resp(&shakes[i],
				                 shakes[i].from == &ends[0] ? &ends[1] : &ends[0]);
				step[i] = 2;
				break;
			case 2:
				step[i] = finish(&shakes[i]) == ASSOC_VOID ? 0 : 3;
				break;
			case 3:
				(void)confirm(&shakes[i]);
				step[i] = 0;
				break;
			default:
				assoc_reset(&ends[side].assoc, now, &rng);
				break;
			}
			(void)talks(&ends[side], &ends[!side]);
		}
		for (unsigned k = 0; k < 3; k++) {
			struct shake s = init(&ends[0]);

			now += CV_MS(1);
			s = resp(&s, &ends[1]);
			if (finish(&s) != ASSOC_RESTART)
				(void)confirm(&s);
		}
		/* The responder first: it is what moves the initiator to the newest epoch. */
		assert_true(talks(&ends[1], &ends[0]));
		assert_true(talks(&ends[0], &ends[1]));
		end_deinit(&ends[0]);
		end_deinit(&ends[1]);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_handshake_binds_both),
		cmocka_unit_test(rekey_adds_an_epoch),
		cmocka_unit_test(crossing_handshakes_are_harmless),
		cmocka_unit_test(both_rekey_at_once),
		cmocka_unit_test(restarted_peer_is_believed_at_confirmation),
		cmocka_unit_test(initiator_finds_a_restarted_peer),
		cmocka_unit_test(restart_and_its_own_handshake_agree),
		cmocka_unit_test(replayed_inits_change_nothing),
		cmocka_unit_test(candidates_are_not_shared),
		cmocka_unit_test(confirmation_of_an_object_bound_elsewhere_is_void),
		cmocka_unit_test(an_unbound_object_is_offered_to_all),
		cmocka_unit_test(late_resp_to_an_unbound_init_is_void),
		cmocka_unit_test(twins_take_turns_whole),
		cmocka_unit_test(continuing_names_an_epoch_that_was_heard),
		cmocka_unit_test(numbers_only_rise),
		cmocka_unit_test(the_smaller_key_rekeys_first),
		cmocka_unit_test(old_epochs_make_room),
		cmocka_unit_test(any_order_of_steps_converges),
	};

	return cmocka_run_group_tests_name("assoc", tests, NULL, NULL);
}

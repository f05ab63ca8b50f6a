/* SPDX-License-Identifier: MIT */

/*
 * Goal: data take the best living path, both ends agree on it, and a dead one is left at
 * once. Method: paths put into the state that a row asks for, then paths_choose(); the state
 * machine of one path is tested in test_path.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "tunnel/paths.h"

#define NOW CV_SEC(900)
#define DECIDES true
#define FOLLOWS false

static struct paths ps;
static struct rng_seeded seeded;
static struct rng rng;
static struct asked asked;

static struct origin direct(unsigned i)
{
	return (struct origin){ .addr = addr_v4(198, 51, (uint8_t)(i >> 8), (uint8_t)i, 4000) };
}

static struct origin lan(unsigned i)
{
	return (struct origin){ .addr = addr_v4(10, 0, 0, (uint8_t)i, 4000) };
}

static struct origin relay(unsigned i)
{
	return (struct origin){ .is_relay = true, .server = i, .channel = 1000 + i };
}

static void begin(bool decides)
{
	asked_init(&asked, 7);
	rng_seeded_init(&seeded, 9);
	rng = rng_from_seeded(&seeded);
	paths_init(&ps, CC_CUBIC, decides, 1, &asked);
	assert_int_equal(ps.active, PATHS_NONE);
	assert_null(paths_active(&ps));
	assert_int_equal(paths_heard_at(&ps), 0);
}

static struct path *path(uint8_t slot)
{
	assert_true(slot < PATHS_MAX);
	return &ps.list[slot];
}

/* A usable path that was heard just now. */
static uint8_t add(struct origin to, cv_duration probe_rtt)
{
	uint8_t slot = paths_add(&ps, NOW, &to);

	path(slot)->state = PATH_USABLE;
	path(slot)->probe_rtt = probe_rtt;
	path(slot)->probe_at = NOW + CV_SEC(5);
	path_on_heard(path(slot), NOW);
	assert_true(paths_check(&ps));
	return slot;
}

static bool choose(void)
{
	uint8_t before, active = ps.active;
	bool changed = paths_choose(&ps, NOW, &before);

	assert_int_equal(before, active);
	assert_int_equal(changed, ps.active != active);
	assert_true(paths_check(&ps));
	return changed;
}

static void expect(uint8_t slot)
{
	(void)choose();
	assert_int_equal(ps.active, slot);
	assert_false(choose()); /* and stays there */
}

/* ---- choice ---- */

static const struct {
	const char *what;
	struct {
		enum path_kind kind;
		unsigned us;
		bool is_first; /* carried the handshake, the padded exchange is to come */
	} active, other;
	bool moves;
} choices[] = {
	{ "lan before direct", { PATH_KIND_DIRECT, 1000, 0 }, { PATH_KIND_LAN, 9000, 0 }, true },
	{ "direct before relay",
	  { PATH_KIND_RELAY, 1000, 0 },
	  { PATH_KIND_DIRECT, 90000, 0 },
	  true },
	{ "never from direct to relay",
	  { PATH_KIND_DIRECT, 90000, 0 },
	  { PATH_KIND_RELAY, 1000, 0 },
	  false },
	{ "never from lan to direct",
	  { PATH_KIND_LAN, 90000, 0 },
	  { PATH_KIND_DIRECT, 1000, 0 },
	  false },
	{ "the same", { PATH_KIND_DIRECT, 50000, 0 }, { PATH_KIND_DIRECT, 50000, 0 }, false },
	{ "a little shorter",
	  { PATH_KIND_DIRECT, 50000, 0 },
	  { PATH_KIND_DIRECT, 45000, 0 },
	  false },
	/* 38.4 ms * 5/4 + 2 ms is 50 ms: no longer clearly shorter */
	{ "a fifth and 2 ms, less a bit",
	  { PATH_KIND_DIRECT, 50000, 0 },
	  { PATH_KIND_DIRECT, 38400, 0 },
	  false },
	{ "a fifth and 2 ms",
	  { PATH_KIND_DIRECT, 50000, 0 },
	  { PATH_KIND_DIRECT, 38399, 0 },
	  true },
	{ "microseconds are no reason",
	  { PATH_KIND_LAN, 1900, 0 },
	  { PATH_KIND_LAN, 1, 0 },
	  false },
	{ "measured before unmeasured",
	  { PATH_KIND_DIRECT, 0, 0 },
	  { PATH_KIND_DIRECT, 90000, 0 },
	  true },
	{ "unmeasured is no better",
	  { PATH_KIND_DIRECT, 90000, 0 },
	  { PATH_KIND_DIRECT, 0, 0 },
	  false },
	{ "proven before believed",
	  { PATH_KIND_DIRECT, 1000, true },
	  { PATH_KIND_DIRECT, 90000, 0 },
	  true },
	{ "kind counts more than proof",
	  { PATH_KIND_RELAY, 1000, 0 },
	  { PATH_KIND_DIRECT, 1000, true },
	  true },
};

/* What only a handshake claims is left for whatever is proven, whoever decides: the other side
 * never nominates anything else as long as it uses that itself. */
static void claims_are_left_by_either(void **state)
{
	struct origin to = direct(1);

	(void)state;
	for (unsigned decides = 0; decides < 2; decides++) {
		begin(decides != 0);
		path_on_handshake(path(paths_add(&ps, NOW, &to)), NOW, false);
		expect(paths_find(&ps, &to));
		expect(add(relay(2), CV_MS(90)));
	}
}

static void the_better_kind_then_the_shorter_way(void **state)
{
	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(choices); i++) {
		uint8_t slot[2];

		print_message("%s\n", choices[i].what);
		begin(DECIDES);
		for (unsigned k = 0; k < 2; k++) {
			enum path_kind kind = k ? choices[i].other.kind : choices[i].active.kind;
			unsigned us = k ? choices[i].other.us : choices[i].active.us;
			struct origin to = direct(k);

			if (kind == PATH_KIND_LAN)
				to = lan(k);
			if (kind == PATH_KIND_RELAY)
				to = relay(k);
			slot[k] = add(to, CV_US(us));
			assert_int_equal(path(slot[k])->kind, kind);
			if (k ? choices[i].other.is_first : choices[i].active.is_first) {
				path(slot[k])->state = PATH_VALID;
				path(slot[k])->is_first = true;
			}
			if (k == 0)
				assert_true(choose());
		}
		expect(slot[choices[i].moves]);
	}
}

static void what_cannot_carry_is_not_chosen(void **state)
{
	uint8_t good, other;

	(void)state;
	begin(DECIDES);
	good = add(relay(0), CV_MS(80));
	other = add(direct(0), CV_MS(5));
	path(other)->state = PATH_CHECKING;
	expect(good);
	path(other)->state = PATH_VALID; /* not the handshake's */
	expect(good);
	path(other)->state = PATH_USABLE;
	path(other)->is_doubtful = true;
	expect(good);
	path(other)->is_doubtful = false;
	path(other)->heard_at = NOW - PATH_ALIVE;
	expect(good);
	path(other)->heard_at = NOW;
	expect(other);
}

static void the_relay_alone_where_the_policy_says_so(void **state)
{
	uint8_t slot;

	(void)state;
	begin(DECIDES);
	ps.is_relay_only = true;
	(void)add(lan(0), CV_MS(1));
	expect(PATHS_NONE);
	slot = add(relay(0), CV_MS(90));
	expect(slot);
	assert_false(paths_have_other(&ps, NOW, slot));
}

/* ---- who decides ---- */

static void the_smaller_key_decides_and_nominates(void **state)
{
	uint8_t a, b, c;

	(void)state;
	begin(DECIDES);
	a = add(relay(0), CV_MS(50));
	expect(a);
	assert_true(path(a)->must_nominate);
	b = add(direct(0), CV_MS(20));
	expect(b);
	assert_true(path(b)->must_nominate);
	assert_true(path(b)->probe_at <= NOW); /* told at once */
	assert_false(path(a)->must_nominate);
	/* The other's wishes do not count. */
	c = add(direct(1), CV_MS(19));
	path(c)->is_nominated = true;
	expect(b);
}

static void the_other_follows(void **state)
{
	uint8_t a, b;

	(void)state;
	begin(FOLLOWS);
	a = add(relay(0), CV_MS(50));
	expect(a); /* the first one needs no word */
	assert_false(path(a)->must_nominate);
	b = add(lan(0), CV_MS(1));
	expect(a); /* better, but nobody said so */
	path(b)->is_nominated = true;
	path(b)->state = PATH_VALID;
	path(b)->is_first = true;
	expect(a); /* not before it has validated */
	path(b)->state = PATH_USABLE;
	expect(b);
	assert_false(path(b)->is_nominated); /* done: an older word does not pull back later */
	path(a)->is_nominated = true;
	expect(a); /* even to a worse one */
}

static void either_leaves_a_dead_path_alone(void **state)
{
	bool sides[] = { DECIDES, FOLLOWS };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(sides); i++) {
		uint8_t a, b;

		begin(sides[i]);
		a = add(direct(0), CV_MS(20));
		expect(a);
		b = add(relay(0), CV_MS(50));
		expect(a);
		path(a)->is_doubtful = true;
		expect(b);
		assert_int_equal(path(b)->must_nominate, sides[i]);
		/* It comes back. */
		path(a)->is_doubtful = false;
		path(a)->is_nominated = true;
		expect(a);
		path_fail(path(a), NOW);
		expect(b);
		path_fail(path(b), NOW);
		expect(PATHS_NONE);
	}
}

/* What only receives would never know that its relay went with it; and another way may have
 * opened. */
static void a_death_is_a_question_to_all(void **state)
{
	bool sides[] = { DECIDES, FOLLOWS };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(sides); i++) {
		uint8_t a, b, c;

		begin(sides[i]);
		a = add(direct(0), CV_MS(20));
		b = add(relay(0), CV_MS(50));
		c = add(direct(1), CV_MS(20));
		path_fail(path(c), NOW - CV_SEC(1));
		expect(a);
		path(b)->probe_at = path(a)->probe_at = NOW + CV_SEC(20);
		path(a)->is_doubtful = true;
		expect(b);
		assert_true(path(a)->is_questioned && path(b)->is_questioned);
		assert_true(path(a)->probe_at <= NOW && path(b)->probe_at <= NOW);
		assert_int_equal(path(c)->state, PATH_CHECKING);
		assert_true(path(c)->probe_at <= NOW);
	}
}

static void a_doubtful_path_is_better_than_none(void **state)
{
	uint8_t a;

	(void)state;
	begin(DECIDES);
	a = add(direct(0), CV_MS(20));
	expect(a);
	path(a)->is_doubtful = true;
	expect(a);
	path(a)->heard_at = NOW - PATH_ALIVE;
	expect(PATHS_NONE);
}

/* What died may have taken others with it: those heard lately are the refuge. */
static void flight_is_to_what_was_heard_lately(void **state)
{
	uint8_t dead, stale, fresh;

	(void)state;
	begin(DECIDES);
	dead = add(lan(0), CV_MS(1));
	expect(dead);
	stale = add(direct(0), CV_MS(5));
	fresh = add(relay(0), CV_MS(80));
	path(stale)->heard_at = NOW - CV_SEC(2);
	path(stale)->probe_at = NOW + CV_SEC(3);
	path(dead)->is_doubtful = true;
	expect(fresh);
	assert_true(path(stale)->is_doubtful); /* until it answers */
	assert_true(path(stale)->probe_at <= NOW);

	/* With nothing fresh the best of the others must do. */
	path(fresh)->heard_at = NOW - CV_SEC(2);
	path(fresh)->is_doubtful = true;
	path(stale)->is_doubtful = false;
	expect(stale);
}

static void is_there_another(void **state)
{
	uint8_t a, b;

	(void)state;
	begin(DECIDES);
	a = add(direct(0), CV_MS(20));
	assert_false(paths_have_other(&ps, NOW, a));
	b = add(relay(0), CV_MS(50));
	assert_true(paths_have_other(&ps, NOW, a));
	path(b)->is_doubtful = true;
	assert_false(paths_have_other(&ps, NOW, a));
	assert_true(paths_have_other(&ps, NOW, b));
}

/* ---- the table ---- */

static void a_path_is_found_again(void **state)
{
	struct origin a = direct(0), b = direct(1);
	uint8_t slot;

	(void)state;
	begin(DECIDES);
	assert_int_equal(paths_find(&ps, &a), PATHS_NONE);
	slot = paths_add(&ps, NOW, &a);
	assert_int_equal(paths_find(&ps, &a), slot);
	assert_int_equal(paths_find(&ps, &b), PATHS_NONE);
	path(slot)->tries = 4;
	assert_int_equal(paths_add(&ps, NOW, &a), slot); /* and not begun again */
	assert_int_equal(path(slot)->tries, 4);
}

static void a_record_finds_its_path_or_nobody(void **state)
{
	struct origin a = direct(0), b = direct(1);
	uint8_t slot, age;

	(void)state;
	begin(DECIDES);
	slot = paths_add(&ps, NOW, &a);
	age = path(slot)->age;
	assert_ptr_equal(paths_of(&ps, slot, age), path(slot));
	assert_null(paths_of(&ps, slot, (uint8_t)(age + 1)));
	assert_null(paths_of(&ps, PATHS_NONE, age));
	paths_remove(&ps, slot);
	assert_null(paths_of(&ps, slot, age));
	assert_int_equal(paths_add(&ps, NOW, &b), slot);
	assert_null(paths_of(&ps, slot, age));
}

static void removal_forgets_the_path_but_not_the_peer(void **state)
{
	uint8_t a, b;
	struct origin to = direct(0);

	(void)state;
	begin(DECIDES);
	a = add(to, CV_MS(20));
	expect(a);
	path(a)->heard_at = NOW - CV_SEC(1);
	path(a)->inflight = 5000;
	paths_remove(&ps, a);
	assert_int_equal(ps.active, PATHS_NONE);
	assert_int_equal(paths_find(&ps, &to), PATHS_NONE);
	assert_int_equal(path(a)->inflight, 0);
	assert_int_equal(paths_heard_at(&ps), NOW - CV_SEC(1));
	b = add(direct(1), CV_MS(20));
	assert_int_equal(paths_heard_at(&ps), NOW);
	/* Of a slot that is taken over too. */
	path_fail(path(b), NOW);
	for (unsigned i = 2; i < 2 + PATHS_MAX; i++) {
		struct origin o = direct(i);

		(void)paths_add(&ps, NOW, &o);
	}
	assert_int_equal(paths_find(&ps, &(struct origin){ .addr = direct(1).addr }), PATHS_NONE);
	assert_int_equal(paths_heard_at(&ps), NOW);
	assert_true(paths_check(&ps));
}

static void failed_candidates_are_tried_again_others_forgotten(void **state)
{
	uint8_t candidate, stranger, loaded;
	struct origin to = direct(1);

	(void)state;
	begin(DECIDES);
	candidate = add(direct(0), CV_MS(20));
	stranger = add(to, CV_MS(20));
	loaded = add(direct(2), CV_MS(20));
	path(candidate)->is_candidate = true;
	path(loaded)->inflight = 1000;
	path_fail(path(candidate), NOW);
	path_fail(path(stranger), NOW);
	path_fail(path(loaded), NOW);
	assert_int_equal(paths_deadline(&ps), NOW + PATH_RETRY_MIN);

	paths_on_deadline(&ps, NOW + PATH_RETRY_MIN - 1);
	assert_int_equal(path(candidate)->state, PATH_FAILED);
	assert_int_equal(path(stranger)->state, PATH_FAILED);
	paths_on_deadline(&ps, NOW + PATH_RETRY_MIN);
	assert_int_equal(path(candidate)->state, PATH_CHECKING);
	assert_int_equal(path(stranger)->state, PATH_FREE);
	assert_int_equal(paths_find(&ps, &to), PATHS_NONE);
	/* Until its flight is accounted for. */
	assert_int_equal(path(loaded)->state, PATH_FAILED);
	path(loaded)->inflight = 0;
	paths_on_deadline(&ps, NOW + 2 * PATH_RETRY_MIN);
	assert_int_equal(path(loaded)->state, PATH_FREE);
}

static void news_make_every_path_answer(void **state)
{
	struct path_probe out;
	uint8_t slot;
	unsigned probes = 0;
	bool seen[PATHS_MAX] = { false };

	(void)state;
	begin(DECIDES);
	for (unsigned i = 0; i < 5; i++)
		(void)add(direct(i), CV_MS(20));
	for (unsigned i = 0; i < 5; i++) {
		path((uint8_t)i)->is_doubtful = true; /* asks whatever was heard */
		path((uint8_t)i)->pmtud.due_at = CV_TIME_NEVER;
	}
	assert_false(paths_probe_due(&ps, NOW, &rng, false, &slot, &out));
	paths_check_now(&ps, NOW);
	assert_int_equal(paths_deadline(&ps), NOW);
	while (paths_probe_due(&ps, NOW, &rng, false, &slot, &out)) {
		assert_false(seen[slot]);
		seen[slot] = true;
		probes++;
	}
	assert_int_equal(probes, 5);
	assert_true(paths_deadline(&ps) > NOW);
}

/* Ten thousand addresses that never answer get 256 probes within half a minute; then an address
 * that is new is still probed at once, and one that was heard is never counted. */
static void strangers_have_a_budget(void **state)
{
	struct path_probe out;
	unsigned probes = 0, fresh = 0;
	cv_time now = NOW;
	uint8_t slot, heard;

	(void)state;
	begin(DECIDES);
	for (unsigned i = 0; i < 3000; i++, now += CV_MS(10)) {
		slot = paths_add(&ps, now,
		                 &(struct origin){ .addr = addr_v4(20, (uint8_t)(i >> 8),
		                                                   (uint8_t)i, 1, 9999) });
		assert_true(slot != PATHS_NONE);
		path(slot)->is_candidate = true;
		while (paths_probe_due(&ps, now, &rng, false, &slot, &out))
			probes++;
	}
	assert_in_range(probes, 200, 256);
	/* All of them are old now, and take what there is, but for the rest that is kept. */
	for (unsigned i = 0; i < 600; i++, now += CV_SEC(1)) {
		paths_on_deadline(&ps, now);
		while (paths_probe_due(&ps, now, &rng, false, &slot, &out))
			probes++;
	}
	heard = paths_add(&ps, now, &(struct origin){ .addr = addr_v4(99, 1, 1, 1, 9999) });
	path(heard)->is_candidate = true;
	assert_true(paths_probe_due(&ps, now, &rng, false, &slot, &out));
	assert_int_equal(slot, heard);
	for (unsigned i = 0; i < 300; i++) {
		path(heard)->asked_at = 0;
		asked_forget(&asked, &path(heard)->to.addr);
		fresh += paths_may_ask(&ps, now, path(heard), WIRE_PROBE_MIN);
	}
	assert_in_range(fresh, 50, 56);
	assert_false(paths_may_ask(&ps, now, path(heard), WIRE_PROBE_MIN));
	path_on_heard(path(heard), now);
	assert_true(paths_may_ask(&ps, now, path(heard), WIRE_INIT_SIZE));
	assert_true(paths_may_ask(&ps, now, path(add(relay(1), 0)), WIRE_INIT_SIZE));
	assert_true(paths_may_ask(&ps, now + CV_SEC(299), path(heard), WIRE_INIT_SIZE));
	ps.strangers.filled_at = now + CV_SEC(300);
	assert_false(paths_may_ask(&ps, now + CV_SEC(300), path(heard), WIRE_INIT_SIZE));
}

/* What the newest list of candidates lacks is not tried again by itself, but known when it is
 * announced once more. */
static void older_lists_are_left_alone(void **state)
{
	uint8_t old, listed, other;

	(void)state;
	begin(DECIDES);
	old = paths_add(&ps, NOW, &(struct origin){ .addr = addr_v4(20, 1, 1, 1, 9999) });
	listed = paths_add(&ps, NOW, &(struct origin){ .addr = addr_v4(20, 1, 1, 2, 9999) });
	path(old)->is_candidate = path(listed)->is_candidate = true;
	path(old)->announced_at = NOW - 1;
	path(listed)->announced_at = ps.announced_at = NOW;
	other = paths_add(&ps, NOW, &(struct origin){ .is_relay = true, .channel = 7 });
	path(other)->is_candidate = true;
	path_fail(path(other), NOW);
	path_fail(path(old), NOW);
	path_fail(path(listed), NOW);
	paths_on_deadline(&ps, NOW + CV_SEC(60));
	assert_int_equal(path(listed)->state, PATH_CHECKING);
	assert_int_equal(path(other)->state, PATH_CHECKING);
	assert_int_equal(path(old)->state, PATH_FAILED);
	assert_true(paths_check(&ps));
	paths_check_now(&ps, NOW + CV_SEC(61));
	assert_int_equal(path(old)->state, PATH_CHECKING);
}

/* Heard 40 s ago, as the keepalive was long: it is asked at once, and no dead path meanwhile. */
static void a_shorter_keepalive_kills_nobody(void **state)
{
	struct path_probe out;
	uint8_t slot, i;

	(void)state;
	begin(DECIDES);
	i = add(direct(1), CV_MS(20));
	path_set_keepalive(path(i), NOW, CV_SEC(100));
	path(i)->probe_at = NOW + CV_SEC(100);
	path(i)->pmtud.due_at = CV_TIME_NEVER;
	path_set_keepalive(path(i), NOW + CV_SEC(40), CV_SEC(25));
	assert_true(path_can_carry(path(i), NOW + CV_SEC(40)));
	assert_true(paths_probe_due(&ps, NOW + CV_SEC(40), &rng, false, &slot, &out));
	assert_true(path_can_carry(path(i), NOW + CV_SEC(44)));
	assert_false(path_can_carry(path(i), NOW + CV_SEC(46)));
}

static void a_shorter_keepalive_holds_at_once(void **state)
{
	struct path p = { .state = PATH_USABLE,
		          .keepalive = CV_SEC(100),
		          .heard_at = CV_SEC(1),
		          .probe_at = CV_SEC(90) };

	(void)state;
	path_set_keepalive(&p, CV_SEC(1), CV_SEC(200));
	assert_int_equal(p.probe_at, CV_SEC(90));
	path_set_keepalive(&p, CV_SEC(1), CV_SEC(8));
	assert_int_equal(p.probe_at, CV_SEC(9));
}

static void another_port_is_a_lost_mapping(void **state)
{
	struct addr none = { 0 }, a = addr_v4(198, 51, 100, 7, 4000);
	struct path p = { 0 };

	(void)state;
	assert_false(path_on_seen(&p, &none));
	assert_false(path_on_seen(&p, &a));
	assert_false(path_on_seen(&p, &a));
	a.port++;
	assert_true(path_on_seen(&p, &a));
	assert_false(path_on_seen(&p, &none));
	a.ip[0]++; /* another network */
	assert_false(path_on_seen(&p, &a));
}

/* Own address, peer's news and a lost beat come within one round trip: nothing was missed yet. */
static void many_questions_are_one_beat(void **state)
{
	struct path_probe out;
	cv_time now = NOW;
	uint8_t slot, i;

	(void)state;
	begin(DECIDES);
	i = add(direct(1), CV_MS(146));
	path(i)->pmtud.due_at = CV_TIME_NEVER;
	for (unsigned k = 0; k < 5; k++, now += CV_MS(20)) {
		path_check_now(path(i), now);
		assert_true(paths_probe_due(&ps, now, &rng, true, &slot, &out));
		assert_int_equal(path(i)->beats_missed, 1);
		assert_false(path(i)->is_doubtful);
	}
	for (unsigned k = 2; k <= 3; k++) {
		now += path_patience(path(i));
		path_check_now(path(i), now);
		assert_true(paths_probe_due(&ps, now, &rng, true, &slot, &out));
		assert_int_equal(path(i)->is_doubtful, k == 3);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_shorter_keepalive_holds_at_once),
		cmocka_unit_test(a_shorter_keepalive_kills_nobody),
		cmocka_unit_test(another_port_is_a_lost_mapping),
		cmocka_unit_test(claims_are_left_by_either),
		cmocka_unit_test(the_better_kind_then_the_shorter_way),
		cmocka_unit_test(what_cannot_carry_is_not_chosen),
		cmocka_unit_test(the_relay_alone_where_the_policy_says_so),
		cmocka_unit_test(the_smaller_key_decides_and_nominates),
		cmocka_unit_test(the_other_follows),
		cmocka_unit_test(either_leaves_a_dead_path_alone),
		cmocka_unit_test(a_death_is_a_question_to_all),
		cmocka_unit_test(a_doubtful_path_is_better_than_none),
		cmocka_unit_test(flight_is_to_what_was_heard_lately),
		cmocka_unit_test(is_there_another),
		cmocka_unit_test(a_path_is_found_again),
		cmocka_unit_test(a_record_finds_its_path_or_nobody),
		cmocka_unit_test(removal_forgets_the_path_but_not_the_peer),
		cmocka_unit_test(failed_candidates_are_tried_again_others_forgotten),
		cmocka_unit_test(news_make_every_path_answer),
		cmocka_unit_test(strangers_have_a_budget),
		cmocka_unit_test(older_lists_are_left_alone),
		cmocka_unit_test(many_questions_are_one_beat),
	};

	return cmocka_run_group_tests_name("paths", tests, NULL, NULL);
}

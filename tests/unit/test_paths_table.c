/* SPDX-License-Identifier: MIT */

/*
 * Goal: when the table of paths is full, room is made by giving up what matters least, and never a
 * way to the peer that nobody would name again. Method: tables filled with paths in the states that
 * a row asks for, then paths_add().
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tunnel/paths.h"

#define NOW CV_SEC(900)

static struct paths ps;
static struct asked asked;

static struct origin direct(unsigned i)
{
	return (struct origin){ .addr = addr_v4(198, 51, (uint8_t)(i >> 8), (uint8_t)i, 4000) };
}

static struct path *path(uint8_t slot)
{
	assert_true(slot < PATHS_MAX);
	return &ps.list[slot];
}

/* As many usable paths as there is room for, heard @ago; announced, or not. */
static void fill(cv_duration ago, bool is_candidate)
{
	asked_init(&asked, 7);
	paths_init(&ps, CC_CUBIC, true, 1, &asked);
	for (unsigned i = 0; i < PATHS_MAX; i++) {
		struct origin to = direct(i);
		struct path *p = path(paths_add(&ps, NOW, &to));

		p->state = PATH_USABLE;
		p->is_candidate = is_candidate;
		p->probe_rtt = CV_MS(20);
		p->probe_at = NOW + CV_SEC(5);
		p->made_at = p->heard_at = NOW - ago;
	}
	assert_true(paths_check(&ps));
}

/* Every slot is worth something, in this order; the one that is worth least goes. */
static void a_full_table_gives_up_what_is_worth_least(void **state)
{
	enum list { NOT, OLD, NEWEST };
	static const struct {
		const char *what;
		enum path_state state;
		enum list list;
		bool is_doubtful, is_silent;
	} worth[] = {
		{ "failed, never announced", PATH_FAILED, NOT, false, true },
		{ "failed, announced before", PATH_FAILED, OLD, false, true },
		{ "under test and silent, never announced", PATH_CHECKING, NOT, false, true },
		{ "in doubt, never announced", PATH_USABLE, NOT, true, true },
		{ "under test, announced before", PATH_CHECKING, OLD, false, true },
		{ "silent, never announced", PATH_USABLE, NOT, false, true },
		{ "alive, never announced", PATH_USABLE, NOT, false, false },
		{ "failed candidate", PATH_FAILED, NEWEST, false, true },
		{ "candidate under test", PATH_CHECKING, NEWEST, false, true },
	};
	static const cv_time announced_at[] = { 0, NOW - CV_SEC(9), NOW - CV_SEC(3) };
	struct origin fresh = direct(500);

	(void)state;
	for (unsigned least = 0; least <= CV_ARRAY_SIZE(worth); least++) {
		uint8_t victim = PATHS_NONE;

		fill(0, true);
		ps.announced_at = announced_at[NEWEST];
		for (unsigned k = CV_ARRAY_SIZE(worth); k-- > least;) {
			victim = (uint8_t)(22 - 2 * k); /* not by its place */
			path(victim)->state = (uint8_t)worth[k].state;
			path(victim)->is_candidate = worth[k].list != NOT;
			path(victim)->announced_at = announced_at[worth[k].list];
			path(victim)->is_doubtful = worth[k].is_doubtful;
			if (worth[k].is_silent)
				path(victim)->heard_at = NOW - CV_SEC(2);
			path(victim)->retry_at = NOW;
		}
		print_message("%s\n", victim == PATHS_NONE ? "nothing" : worth[least].what);
		assert_int_equal(paths_add(&ps, NOW, &fresh), victim);
		assert_int_equal(paths_find(&ps, &fresh), victim);
		if (victim != PATHS_NONE)
			assert_int_equal(path(victim)->state, PATH_CHECKING);
	}
}

/* A router that changes its host's port often leaves many paths that look usable. */
static void the_relay_finds_room(void **state)
{
	struct origin fresh = direct(500);
	struct origin server = { .is_relay = true, .server = 1, .channel = 1001 };
	uint8_t slot;

	(void)state;
	fill(CV_SEC(10), false);
	slot = paths_add(&ps, NOW, &server);
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		path(i)->is_candidate = true;
		path(i)->state = PATH_CHECKING;
	}
	path(slot)->state = PATH_FAILED; /* the server may come back */
	for (unsigned i = 0; i < 2 * PATHS_MAX; i++, fresh.addr.port++)
		assert_int_not_equal(paths_add(&ps, NOW, &fresh), PATHS_NONE);
	assert_int_equal(paths_find(&ps, &server), slot);
}

/* And so do all the addresses of a list, each beside those before it. */
static void a_list_finds_room(void **state)
{
	struct origin to;

	(void)state;
	/* All of them live, as after punching; one carries data. */
	fill(0, false);
	ps.active = 3;
	ps.announced_at = NOW;
	for (unsigned i = 0; i < 8; i++) {
		uint8_t slot;

		to = direct(700 + i);
		slot = paths_add(&ps, NOW, &to);
		path(slot)->is_candidate = true;
		path(slot)->announced_at = NOW;
	}
	for (unsigned i = 0; i < 8; i++) {
		to = direct(700 + i);
		assert_int_not_equal(paths_find(&ps, &to), PATHS_NONE);
	}
}

/* Where a packet just came from is where the peer is now, until that is tested. */
static void what_was_just_heard_finds_room(void **state)
{
	struct origin now = direct(600), fresh = direct(500);
	uint8_t slot;

	(void)state;
	fill(CV_SEC(10), false);
	slot = paths_add(&ps, NOW, &now);
	path_on_heard(path(slot), NOW);
	for (unsigned i = 0; i < PATHS_MAX - 1; i++, fresh.addr.port++)
		assert_int_not_equal(paths_add(&ps, NOW, &fresh), slot);
	assert_int_equal(paths_find(&ps, &now), slot);
}

static void of_equals_the_oldest_goes(void **state)
{
	struct origin fresh = direct(500);

	(void)state;
	fill(0, true);
	for (uint8_t i = 0; i < PATHS_MAX; i++)
		path(i)->made_at = NOW - CV_SEC(i);
	for (uint8_t i = 2; i < 9; i++) {
		path(i)->state = PATH_CHECKING;
		path(i)->is_candidate = true;
	}
	for (uint8_t i = 8; i >= 2; i--) {
		assert_int_equal(paths_add(&ps, NOW + 1, &fresh), i);
		path(i)->is_candidate = true;
		fresh.addr.port++;
	}
}

static void neither_the_active_path_nor_a_flight_is_given_up(void **state)
{
	struct origin fresh = direct(500);

	(void)state;
	fill(0, true);
	ps.active = 4;
	path_fail(path(4), NOW);
	path_fail(path(6), NOW);
	path(6)->inflight = 1;
	assert_int_equal(paths_add(&ps, NOW, &fresh), PATHS_NONE);
	path(6)->inflight = 0;
	assert_int_equal(paths_add(&ps, NOW, &fresh), 6);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_full_table_gives_up_what_is_worth_least),
		cmocka_unit_test(the_relay_finds_room),
		cmocka_unit_test(a_list_finds_room),
		cmocka_unit_test(what_was_just_heard_finds_room),
		cmocka_unit_test(of_equals_the_oldest_goes),
		cmocka_unit_test(neither_the_active_path_nor_a_flight_is_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: in no second, hour or two minutes more leaves or opens than the header promises, whoever
 * asks and however often; and what was spent comes back. Method: someone who takes whatever he can
 * get, for hours of virtual time, and windows of time moved over what he took.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/compiler.h"
#include "tunnel/punch_budget.h"

enum { TAKEN_MAX = 40000 };

static cv_time taken[TAKEN_MAX];
static unsigned taken_count;
static struct punch_share none; /* a peer that has cost nothing yet */

/* The most in any window of this length. */
static unsigned most_in(cv_duration window)
{
	unsigned first = 0, most = 0;

	for (unsigned i = 0; i < taken_count; i++) {
		while (taken[i] - taken[first] >= window)
			first++;
		most = CV_MAX(most, i + 1 - first);
	}
	return most;
}

/* @asked: of the peer who wants it; NULL: it is our own wish, each time for another peer. */
static void spend(struct punch_budget *b, cv_time now, cv_duration d, struct punch_share *asked)
{
	cv_time end = now + d;

	while (now < end) {
		struct punch_share own = { 0 };
		cv_time at = punch_budget_ready_at(b, now, asked ? asked : &own, asked != NULL);

		if (at <= now) {
			punch_budget_take_packet(b, now, asked ? asked : &own, asked != NULL);
			assert_true(taken_count < TAKEN_MAX);
			taken[taken_count++] = now;
		} else {
			now = cv_time_min(
				CV_MAX(at == CV_TIME_NEVER ? now + CV_MS(100) : at, now + 1), end);
		}
	}
}

static struct punch_budget make(uint32_t sockets, uint32_t packets, uint32_t rate, uint32_t hourly)
{
	struct punch_limits limits = { sockets, packets, rate, hourly };
	struct punch_budget b;

	punch_budget_init(&b, &limits);
	taken_count = 0;
	none = (struct punch_share){ 0 };
	return b;
}

static void defaults_and_bounds(void **state)
{
	struct punch_budget b = make(0, 0, 0, 0);

	(void)state;
	assert_int_equal(b.limits.sockets_max, PUNCH_SOCKETS_DEFAULT);
	assert_int_equal(b.limits.packets_max, PUNCH_PACKETS_DEFAULT);
	assert_int_equal(b.limits.rate, PUNCH_RATE_DEFAULT);
	assert_int_equal(b.limits.hourly, PUNCH_HOURLY_DEFAULT);
	/* The largest that can be said are no overflow. */
	b = make(UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX);
	assert_true(punch_budget_has_attempt(&b, CV_SEC(1), &none, 1024, PUNCH_PACKETS_DEFAULT));
	assert_true(punch_budget_ready_at(&b, CV_SEC(1), &none, false) <= CV_SEC(1));
	punch_budget_take_packet(&b, CV_SEC(1), &none, false);
}

static void no_second_and_no_hour_has_more(void **state)
{
	static const struct {
		uint32_t rate, hourly;
	} rows[] = { { 100, 6144 }, { 10, 6144 }, { 1, 50 }, { 10000, 1000 }, { 100, 1 } };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct punch_budget b = make(256, 768, rows[i].rate, rows[i].hourly);

		spend(&b, CV_SEC(100), CV_SEC(3 * 3600), NULL);
		assert_true(most_in(CV_SEC(3600)) <= rows[i].hourly);
		/* A full bucket and a second's worth. */
		assert_true(most_in(CV_SEC(1)) <= CV_MIN(rows[i].rate, 25u) + rows[i].rate);
		/* And nothing is withheld for ever: of three hours two and a half. */
		if (rows[i].hourly > 1 && rows[i].rate * 3600 > rows[i].hourly)
			assert_true(taken_count >= rows[i].hourly * 17 / 10);
	}
}

/* Each peer on its own: all at once, then as much in 75 s; one does not cost the other. */
static void peers_cannot_have_more(void **state)
{
	struct punch_budget b = make(256, 768, 10000, 1000000);
	struct punch_share first = { 0 }, second = { 0 };

	(void)state;
	spend(&b, CV_SEC(100), CV_SEC(300), &first);
	assert_true(most_in(CV_SEC(75)) <= 2 * 768);
	assert_true(taken_count <= 768 * 5);
	assert_true(taken_count >= 768 * 5 - 16);
	taken_count = 0;
	spend(&b, CV_SEC(400), CV_MS(200), &second);
	assert_true(taken_count >= 768 && taken_count <= 768 + 3);
	assert_true(punch_budget_ready_at(&b, CV_MS(400200), &none, false) <= CV_MS(400200));
}

/* Whoever asks for ever, and be he two, leaves what an attempt of our own needs, and what another
 * peer needs of us. */
static void nobody_takes_it_all(void **state)
{
	struct punch_budget b = make(256, 768, 100, 6144);
	struct punch_share first = { 0 }, second = { 0 }, third = { 0 };
	cv_time now = CV_SEC(100);

	(void)state;
	for (unsigned i = 0; i < 100; i++, now += CV_SEC(108)) {
		spend(&b, now, CV_SEC(108), &first);
		assert_true(punch_budget_has_attempt(&b, now + CV_SEC(108), &none, 256,
		                                     PUNCH_PACKETS_DEFAULT));
	}
	assert_true(most_in(CV_SEC(3600)) <= 6144 / 2);
	assert_true(taken_count >= 6144 / 4 * 3);
	taken_count = 0;
	spend(&b, now, CV_SEC(30), &second);
	assert_true(taken_count >= 768);
	/* Two of them have no more than there is. */
	for (unsigned i = 0; i < 100; i++, now += CV_SEC(108)) {
		spend(&b, now, CV_SEC(54), &second);
		spend(&b, now + CV_SEC(54), CV_SEC(54), &third);
		assert_true(punch_budget_has_attempt(&b, now + CV_SEC(108), &none, 256,
		                                     PUNCH_PACKETS_DEFAULT));
	}
	for (unsigned i = 0; i < 3600; i++, now += CV_SEC(1)) {
		(void)punch_budget_take_sockets(&b, now, 2, true);
		(void)punch_budget_take_sockets(&b, now, 2, true);
		assert_true(punch_budget_has_attempt(&b, now, &none, 256, PUNCH_PACKETS_DEFAULT));
	}
}

static void sockets_are_few(void **state)
{
	struct punch_budget b = make(256, 768, 100, 6144);
	cv_time now = CV_SEC(100);
	unsigned sum = 0;

	(void)state;
	assert_false(punch_budget_take_sockets(&b, now, 257, false));
	assert_true(punch_budget_take_sockets(&b, now, 256, false));
	assert_true(punch_budget_take_sockets(&b, now, 256, false));
	assert_false(punch_budget_take_sockets(&b, now, 1, false));
	assert_false(punch_budget_take_sockets(&b, now + CV_SEC(119), 256, false));
	assert_true(punch_budget_take_sockets(&b, now + CV_SEC(120), 256, false));
	/* One by one, as fast as it goes: never more in the life of a mapping than the router has
	 * room for. */
	b = make(256, 768, 100, 6144);
	for (unsigned i = 0; i < 600 * 100; i++) {
		if (!punch_budget_take_sockets(&b, now + i * CV_MS(10), 1, false))
			continue;
		taken[taken_count++] = now + i * CV_MS(10);
		sum++;
	}
	assert_true(most_in(CV_SEC(120)) <= 3 * 256);
	assert_true(sum >= 2 * 256 + 4 * 256);
	/* A low limit leaves the rounds of a prediction. */
	b = make(5, 768, 100, 6144);
	for (unsigned i = 0; i < 4; i++)
		assert_true(punch_budget_take_sockets(&b, now, 5, false));
	assert_false(punch_budget_take_sockets(&b, now, 6, false));
}

static void attempts_need_a_whole_share(void **state)
{
	struct punch_budget b = make(256, 768, 10000, 2 * 1000);
	cv_time now = CV_SEC(100);

	(void)state;
	assert_true(punch_budget_has_attempt(&b, now, &none, 256, PUNCH_PACKETS_DEFAULT));
	spend(&b, now, CV_MS(30), NULL);
	assert_true(taken_count > 240);
	assert_false(
		punch_budget_has_attempt(&b, now + CV_MS(30), &none, 256, PUNCH_PACKETS_DEFAULT));
	/* Unless a whole share is less. */
	b = make(256, 768, 100, 100);
	assert_true(punch_budget_has_attempt(&b, now, &none, 256, PUNCH_PACKETS_DEFAULT));
	punch_budget_take_packet(&b, now, &none, false);
	assert_false(punch_budget_has_attempt(&b, now, &none, 256, PUNCH_PACKETS_DEFAULT));
	/* Nor without sockets. */
	b = make(256, 768, 100, 6144);
	assert_true(punch_budget_take_sockets(&b, now, 256, false));
	assert_true(punch_budget_has_attempt(&b, now, &none, 256, PUNCH_PACKETS_DEFAULT));
	assert_true(punch_budget_take_sockets(&b, now, 1, false));
	assert_false(punch_budget_has_attempt(&b, now, &none, 256, PUNCH_PACKETS_DEFAULT));
}

/* What is said to be left is what may be taken, and no more. */
static void what_is_left_can_be_taken(void **state)
{
	struct punch_budget b = make(256, 768, 10000, 2 * 1000);
	cv_time now = CV_SEC(100);
	struct punch_left left;
	struct punch_share share = { 0 }; /* each time another peer's */
	unsigned more = 0;

	(void)state;
	punch_budget_left(&b, now, &left);
	assert_int_equal(left.packets, 1000);
	assert_int_equal(left.sockets, 512);
	for (unsigned i = 0; i < 25; i++)
		punch_budget_take_packet(&b, now, &share, false);
	assert_true(punch_budget_take_sockets(&b, now, 200, false));
	punch_budget_left(&b, now, &left);
	assert_int_equal(left.packets, 975);
	assert_int_equal(left.sockets, 312);
	for (; punch_budget_ready_at(&b, now, &none, false) != CV_TIME_NEVER; more++) {
		now = CV_MAX(now, punch_budget_ready_at(&b, now, &none, false));
		share = none;
		punch_budget_take_packet(&b, now, &share, false);
	}
	assert_true(more >= left.packets && more <= left.packets + 1); /* 0.1 s accrue */
	punch_budget_left(&b, now, &left);
	assert_int_equal(left.packets, 0);
	punch_budget_left(&b, now + CV_SEC(3600), &left);
	assert_int_equal(left.packets, 1000);
	assert_int_equal(left.sockets, 512);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(defaults_and_bounds),
		cmocka_unit_test(no_second_and_no_hour_has_more),
		cmocka_unit_test(peers_cannot_have_more),
		cmocka_unit_test(nobody_takes_it_all),
		cmocka_unit_test(sockets_are_few),
		cmocka_unit_test(attempts_need_a_whole_share),
		cmocka_unit_test(what_is_left_can_be_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

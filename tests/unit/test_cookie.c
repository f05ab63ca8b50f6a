/* SPDX-License-Identifier: MIT */

/*
 * Goal: a cookie is good for the one source it was given to, for as long as its secret lives, and
 * for nothing else. Method: one right INIT, then a table of everything that can be wrong with it:
 * address, port, age, each bit of message, cookie and datagram.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "tunnel/cookie.h"

enum { MAC1_AT = WIRE_INIT_SIZE - 2 * MAC_SIZE };

static const uint8_t here[] = { 4, 0x1f, 0x90, 192, 0, 2, 1 }; /* 192.0.2.1:8080 */
static const uint8_t other_ip[] = { 4, 0x1f, 0x90, 192, 0, 2, 2 };
static const uint8_t other_port[] = { 4, 0x1f, 0x91, 192, 0, 2, 1 };
static const uint8_t longer[] = { 4, 0x1f, 0x90, 192, 0, 2, 1, 0 };

struct scene {
	struct rng_seeded seeded;
	struct rng rng;
	struct mac_keys responder, stranger;
	struct cookie_jar jar;
	uint8_t init[WIRE_INIT_SIZE]; /* with a mac2 for `here`, made at START */
	uint8_t reply[WIRE_COOKIE_SIZE];
	uint8_t cookie[COOKIE_SIZE];
};

#define START CV_SEC(1000)

static void scene_init(struct scene *s)
{
	const uint8_t pk[32] = { 1 }, stranger_pk[32] = { 2 };

	memset(s, 0, sizeof(*s));
	rng_seeded_init(&s->seeded, 1);
	s->rng = rng_from_seeded(&s->seeded);
	mac_keys_init(&s->responder, pk);
	mac_keys_init(&s->stranger, stranger_pk);
	s->init[0] = WIRE_INIT;
	memcpy(s->init + 4, "\x11\x22\x33\x44", 4);
	cookie_write_mac1(&s->responder, s->init, sizeof(s->init), 2 * (size_t)MAC_SIZE);
	cookie_jar_turn(&s->jar, START, &s->rng);
	cookie_write(&s->jar, &s->responder, &s->rng, here, sizeof(here), s->init, s->reply);
	assert_true(cookie_read(&s->responder, s->init + MAC1_AT, s->reply, sizeof(s->reply),
	                        s->cookie));
	cookie_write_mac2(s->cookie, sizeof(s->cookie), s->init);
}

static void mac1_is_the_key_holders(void **state)
{
	struct scene s;

	(void)state;
	scene_init(&s);
	assert_true(cookie_check_mac1(&s.responder, s.init, sizeof(s.init), 32));
	assert_false(cookie_check_mac1(&s.stranger, s.init, sizeof(s.init), 32));
	for (size_t bit = 0; bit < 8 * sizeof(s.init); bit++) {
		s.init[bit / 8] ^= (uint8_t)(1u << bit % 8);
		/* mac2 is not covered by mac1: repeats differ in it. */
		assert_int_equal(cookie_check_mac1(&s.responder, s.init, sizeof(s.init), 32),
		                 bit / 8 >= MAC1_AT + MAC_SIZE);
		s.init[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	cookie_write_mac1(&s.responder, s.init, WIRE_RESP_SIZE, 16);
	assert_true(cookie_check_mac1(&s.responder, s.init, WIRE_RESP_SIZE, 16));
	assert_false(cookie_check_mac1(&s.responder, s.init, WIRE_RESP_SIZE, 32));
}

/* T6. `turned_at` 0: the jar is not turned in between. */
static const struct {
	const char *what;
	cv_time turned_at, now;
	const uint8_t *source;
	size_t source_size;
	bool is_good;
} rows[] = {
	{ "right", 0, START, here, sizeof(here), true },
	{ "another address", 0, START, other_ip, sizeof(other_ip), false },
	{ "another port", 0, START, other_port, sizeof(other_port), false },
	{ "a longer name", 0, START, longer, sizeof(longer), false },
	{ "a shorter name", 0, START, here, sizeof(here) - 1, false },
	{ "just before the secret is old", 0, START + CV_SEC(120) - 1, here, sizeof(here), true },
	{ "turned early: the same secret", START + CV_SEC(120) - 1, START + CV_SEC(120) - 1, here,
	  sizeof(here), true },
	{ "turned: within the grace", START + CV_SEC(120), START + CV_SEC(125) - 1, here,
	  sizeof(here), true },
	{ "turned: the grace is over", START + CV_SEC(120), START + CV_SEC(125), here, sizeof(here),
	  false },
	{ "turned: another port in the grace", START + CV_SEC(120), START + CV_SEC(120), other_port,
	  sizeof(other_port), false },
	{ "nobody turned it: the end of the grace", 0, START + CV_SEC(125) - 1, here, sizeof(here),
	  true },
	{ "nobody turned it: old all the same", 0, START + CV_SEC(125), here, sizeof(here), false },
};

static void cookies_are_bound_to_source_and_time(void **state)
{
	struct scene s;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		scene_init(&s);
		if (rows[i].turned_at)
			cookie_jar_turn(&s.jar, rows[i].turned_at, &s.rng);
		if (cookie_check(&s.jar, rows[i].now, rows[i].source, rows[i].source_size,
		                 s.init) != rows[i].is_good)
			fail_msg("%s", rows[i].what);
	}
}

static void two_turns_forget(void **state)
{
	struct scene s;

	(void)state;
	scene_init(&s);
	cookie_jar_turn(&s.jar, START + CV_SEC(120), &s.rng);
	cookie_jar_turn(&s.jar, START + CV_SEC(240), &s.rng);
	assert_false(cookie_check(&s.jar, START + CV_SEC(240), here, sizeof(here), s.init));
}

/* A simulation's clock begins at 0, which must not be taken for "never". */
static void a_jar_works_at_time_zero(void **state)
{
	struct scene s;
	uint8_t before[32];

	(void)state;
	scene_init(&s);
	s.jar = (struct cookie_jar){ 0 };
	assert_false(cookie_check(&s.jar, 0, here, sizeof(here), s.init));
	cookie_jar_turn(&s.jar, 0, &s.rng);
	memcpy(before, s.jar.secret, sizeof(before));
	cookie_jar_turn(&s.jar, 0, &s.rng);
	assert_memory_equal(before, s.jar.secret, sizeof(before));
	assert_false(s.jar.has_previous);
}

static void mac2_covers_every_bit(void **state)
{
	struct scene s;
	uint8_t zero[COOKIE_SIZE] = { 0 };

	(void)state;
	scene_init(&s);
	for (size_t bit = 0; bit < 8 * sizeof(s.init); bit++) {
		s.init[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(cookie_check(&s.jar, START, here, sizeof(here), s.init));
		s.init[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_true(cookie_check(&s.jar, START, here, sizeof(here), s.init));
	for (size_t bit = 0; bit < 8 * sizeof(s.cookie); bit++) {
		s.cookie[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cookie_write_mac2(s.cookie, sizeof(s.cookie), s.init);
		assert_false(cookie_check(&s.jar, START, here, sizeof(here), s.init));
		s.cookie[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	cookie_write_mac2(zero, sizeof(zero), s.init);
	assert_false(cookie_check(&s.jar, START, here, sizeof(here), s.init));
	memset(s.init + WIRE_INIT_SIZE - MAC_SIZE, 0, MAC_SIZE);
	assert_false(cookie_check(&s.jar, START, here, sizeof(here), s.init));
}

static void another_responder_knows_nothing_of_it(void **state)
{
	struct scene a, b;

	(void)state;
	scene_init(&a);
	scene_init(&b);
	rng_fill(&b.rng, b.jar.secret, sizeof(b.jar.secret));
	assert_true(cookie_check(&a.jar, START, here, sizeof(here), a.init));
	assert_false(cookie_check(&b.jar, START, here, sizeof(here), a.init));
}

/* The other form of mac2: 32 bytes of an epoch. */
static void an_epochs_secret_makes_a_mac2(void **state)
{
	struct scene s;
	uint8_t secret[32] = { 5 };

	(void)state;
	scene_init(&s);
	cookie_write_mac2(secret, sizeof(secret), s.init);
	assert_true(cookie_check_mac2(secret, sizeof(secret), s.init));
	assert_false(cookie_check_mac2(secret, COOKIE_SIZE, s.init));
	assert_false(cookie_check(&s.jar, START, here, sizeof(here), s.init));
	secret[31] ^= 1;
	assert_false(cookie_check_mac2(secret, sizeof(secret), s.init));
}

static void forged_cookies_are_refused(void **state)
{
	struct scene s;
	uint8_t cookie[COOKIE_SIZE], mac1[MAC_SIZE];
	const uint8_t untouched[COOKIE_SIZE] = { 0 };

	(void)state;
	scene_init(&s);
	memset(cookie, 0, sizeof(cookie));
	memcpy(mac1, s.init + MAC1_AT, sizeof(mac1));
	assert_memory_equal(s.reply + 4, s.init + 4, 4);
	for (size_t bit = 8 * 8; bit < 8 * sizeof(s.reply); bit++) {
		s.reply[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(cookie_read(&s.responder, mac1, s.reply, sizeof(s.reply), cookie));
		s.reply[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (size_t size = 0; size < sizeof(s.reply); size++)
		assert_false(cookie_read(&s.responder, mac1, s.reply, size, cookie));
	assert_false(cookie_read(&s.stranger, mac1, s.reply, sizeof(s.reply), cookie));
	mac1[3] ^= 1; /* the answer to another INIT */
	assert_false(cookie_read(&s.responder, mac1, s.reply, sizeof(s.reply), cookie));
	mac1[3] ^= 1;
	s.reply[0] = WIRE_RESP;
	assert_false(cookie_read(&s.responder, mac1, s.reply, sizeof(s.reply), cookie));
	assert_memory_equal(cookie, untouched, sizeof(cookie));
	s.reply[0] = WIRE_COOKIE;
	assert_true(cookie_read(&s.responder, mac1, s.reply, sizeof(s.reply), cookie));
	assert_memory_equal(cookie, s.cookie, sizeof(cookie));
}

static void versions_are_told_by_the_responder_alone(void **state)
{
	struct scene s;
	uint8_t bytes[WIRE_VERSION_SIZE], newest = 0;
	const uint8_t *mac1 = s.init + MAC1_AT;

	(void)state;
	scene_init(&s);
	cookie_write_version(&s.responder, s.init, bytes);
	for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(
			cookie_read_version(&s.responder, mac1, bytes, sizeof(bytes), &newest));
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (size_t size = 0; size < sizeof(bytes); size++)
		assert_false(cookie_read_version(&s.responder, mac1, bytes, size, &newest));
	assert_false(cookie_read_version(&s.stranger, mac1, bytes, sizeof(bytes), &newest));
	assert_int_equal(newest, 0);
	assert_true(cookie_read_version(&s.responder, mac1, bytes, sizeof(bytes), &newest));
	assert_int_equal(newest, WIRE_VERSION_1);
	s.init[MAC1_AT] ^= 1;
	assert_false(cookie_read_version(&s.responder, mac1, bytes, sizeof(bytes), &newest));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mac1_is_the_key_holders),
		cmocka_unit_test(cookies_are_bound_to_source_and_time),
		cmocka_unit_test(two_turns_forget),
		cmocka_unit_test(a_jar_works_at_time_zero),
		cmocka_unit_test(mac2_covers_every_bit),
		cmocka_unit_test(another_responder_knows_nothing_of_it),
		cmocka_unit_test(an_epochs_secret_makes_a_mac2),
		cmocka_unit_test(forged_cookies_are_refused),
		cmocka_unit_test(versions_are_told_by_the_responder_alone),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests_name("cookie", tests, NULL, NULL);
}

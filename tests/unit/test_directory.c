/* SPDX-License-Identifier: MIT */

/*
 * Goal: exactly those meet who registered each other; each hears the newest word and no more.
 * Method: stories with three members, a flood of equal tags, random operations against a naive
 * model.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "tunnel/directory.h"

enum { MEMBERS = 6 };

static struct rng_seeded seeded;
static struct rng rng;
static const uint8_t server_pk[32] = { 9 };
static uint8_t keys[MEMBERS][32];
static struct directory_member members[MEMBERS];
static struct directory d;

static int setup(void **state)
{
	(void)state;
	rng_seeded_init(&seeded, 1);
	rng = rng_from_seeded(&seeded);
	for (unsigned i = 0; i < MEMBERS; i++) {
		rng_fill(&rng, keys[i], 32);
		directory_member_init(&members[i], keys[i]);
	}
	return directory_init(&d, server_pk, 1000, 1);
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < MEMBERS; i++)
		directory_remove_member(&d, &members[i], false);
	assert_int_equal(d.count, 0);
	assert_true(directory_check(&d));
	directory_deinit(&d);
	return 0;
}

static void tag_of(unsigned a, unsigned b, uint8_t out[TAG_SIZE])
{
	directory_tag(server_pk, keys[a], keys[b], out);
}

/* @a registers the tag of itself and @b. */
static int add(unsigned a, unsigned b)
{
	uint8_t tag[TAG_SIZE];
	int r;

	tag_of(a, b, tag);
	r = directory_add(&d, &members[a], tag);
	assert_true(directory_check(&d));
	return r;
}

static uint32_t entry(unsigned a, unsigned b)
{
	uint8_t tag[TAG_SIZE];

	tag_of(a, b, tag);
	return directory_find(&d, &members[a], tag);
}

/* The next news of @a is @type about @b. */
static void expect(unsigned a, unsigned b, uint8_t type, bool is_gone)
{
	struct wire_message m;
	uint8_t tag[TAG_SIZE];

	tag_of(a, b, tag);
	assert_true(directory_next_news(&d, &members[a], &m));
	assert_int_equal(m.type, type);
	assert_memory_equal(m.tag, tag, TAG_SIZE);
	assert_int_equal(m.is_gone, is_gone);
	directory_told(&d, &members[a]);
	assert_true(directory_check(&d));
}

static void expect_nothing(unsigned a)
{
	struct wire_message m;

	assert_false(directory_next_news(&d, &members[a], &m));
}

static void a_tag_does_not_depend_on_the_order(void **state)
{
	uint8_t ab[TAG_SIZE], ba[TAG_SIZE], other[TAG_SIZE];
	const uint8_t other_server[32] = { 8 };

	(void)state;
	directory_tag(server_pk, keys[0], keys[1], ab);
	directory_tag(server_pk, keys[1], keys[0], ba);
	assert_memory_equal(ab, ba, TAG_SIZE);
	directory_tag(other_server, keys[0], keys[1], other);
	assert_memory_not_equal(ab, other, TAG_SIZE);
	directory_tag(server_pk, keys[0], keys[2], other);
	assert_memory_not_equal(ab, other, TAG_SIZE);
}

static void both_must_register(void **state)
{
	(void)state;
	assert_int_equal(add(0, 1), 0);
	assert_null(directory_next_member(&d));
	assert_int_equal(directory_match(&d, entry(0, 1)), DIRECTORY_NONE);
	assert_int_equal(add(1, 0), 0);
	assert_int_equal(directory_match(&d, entry(0, 1)), entry(1, 0));
	expect(0, 1, MESSAGE_PRESENT, false);
	expect(1, 0, MESSAGE_PRESENT, false);
	assert_null(directory_next_member(&d));
	assert_int_equal(add(1, 0), 0); /* again: no news */
	expect_nothing(0);
	assert_int_equal(d.count, 2);
}

/* A third who knows both keys registers their tag: he matches nobody, and they do. */
static void the_tag_of_others_matches_nothing(void **state)
{
	uint8_t tag[TAG_SIZE];

	(void)state;
	tag_of(0, 1, tag);
	assert_int_equal(directory_add(&d, &members[2], tag), 0);
	assert_int_equal(add(0, 1), 0);
	expect_nothing(0);
	assert_int_equal(add(1, 0), 0);
	expect_nothing(2);
	expect(0, 1, MESSAGE_PRESENT, false);
	expect(1, 0, MESSAGE_PRESENT, false);
}

static void a_flood_of_one_tag_stays_short(void **state)
{
	static uint8_t flood_keys[100][32];
	static struct directory_member flood[100];
	uint8_t tag[TAG_SIZE];

	(void)state;
	tag_of(0, 1, tag);
	assert_int_equal(add(0, 1), 0);
	assert_int_equal(add(1, 0), 0);
	for (unsigned i = 0; i < 100; i++) {
		rng_fill(&rng, flood_keys[i], 32);
		directory_member_init(&flood[i], flood_keys[i]);
		assert_int_equal(directory_add(&d, &flood[i], tag), 0);
		assert_true(d.count <= DIRECTORY_SAME_TAG_MAX);
	}
	assert_int_equal(directory_match(&d, entry(0, 1)), entry(1, 0)); /* who matched stays */
	for (unsigned i = 0; i < 100; i++)
		directory_remove_member(&d, &flood[i], false);
}

static void who_leaves_is_absent(void **state)
{
	(void)state;
	assert_int_equal(add(0, 1) | add(1, 0) | add(0, 2) | add(2, 0), 0);
	expect(1, 0, MESSAGE_PRESENT, false);
	directory_remove_member(&d, &members[0], true);
	expect(1, 0, MESSAGE_ABSENT, true);
	expect(2, 0, MESSAGE_ABSENT, true); /* the PRESENT it never heard is overtaken */
	expect_nothing(2);
	assert_int_equal(add(0, 1), 0);
	expect(1, 0, MESSAGE_PRESENT, false);
}

static void the_newest_word_holds(void **state)
{
	(void)state;
	assert_int_equal(add(1, 0), 0);
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(add(0, 1), 0);
		if (i < 999)
			directory_remove_member(&d, &members[0], false);
	}
	expect(1, 0, MESSAGE_PRESENT, false);
	expect_nothing(1);
}

static void channels_are_news(void **state)
{
	struct wire_message m;

	(void)state;
	assert_int_equal(add(0, 1) | add(1, 0), 0);
	directory_set_channel(&d, entry(0, 1), 77);
	directory_tell(&d, entry(0, 1), DIRECTORY_OPENED);
	expect(0, 1, MESSAGE_PRESENT, false);
	assert_true(directory_next_news(&d, &members[0], &m));
	assert_int_equal(m.type, MESSAGE_OPENED);
	assert_int_equal(m.channel, 77);
	directory_told(&d, &members[0]);
	directory_set_channel(&d, entry(0, 1), 0);
	assert_true(directory_next_news(&d, &members[0], &m));
	assert_int_equal(m.type, MESSAGE_CHANNEL_GONE);
	assert_int_equal(m.channel, 77);
	/* Opened and gone again before it was told: only the first needs telling. */
	directory_set_channel(&d, entry(0, 1), 78);
	directory_tell(&d, entry(0, 1), DIRECTORY_OPENED);
	directory_set_channel(&d, entry(0, 1), 0);
	assert_true(directory_next_news(&d, &members[0], &m));
	assert_int_equal(m.channel, 77);
	directory_told(&d, &members[0]);
	expect_nothing(0);
}

static void deferring_keeps_news(void **state)
{
	(void)state;
	assert_int_equal(add(0, 1) | add(1, 0), 0);
	assert_ptr_equal(directory_next_member(&d), &members[1]);
	directory_defer(&members[1]);
	assert_ptr_equal(directory_next_member(&d), &members[0]);
	directory_defer(&members[0]);
	assert_null(directory_next_member(&d));
	assert_int_equal(add(0, 2) | add(2, 0), 0); /* more news do not resume */
	assert_ptr_equal(directory_next_member(&d), &members[2]);
	directory_defer(&members[2]);
	assert_null(directory_next_member(&d));
	directory_resume(&d, &members[0]);
	assert_ptr_equal(directory_next_member(&d), &members[0]);
	expect(0, 1, MESSAGE_PRESENT, false);
	expect(0, 2, MESSAGE_PRESENT, false);
	assert_null(directory_next_member(&d));
	directory_resume(&d, &members[0]); /* nothing to resume */
	assert_null(directory_next_member(&d));
}

static void a_new_registration_keeps_what_it_names(void **state)
{
	uint8_t tags[2][TAG_SIZE];

	(void)state;
	assert_int_equal(add(0, 1) | add(1, 0) | add(0, 2) | add(2, 0), 0);
	expect(1, 0, MESSAGE_PRESENT, false);
	expect(2, 0, MESSAGE_PRESENT, false);
	tag_of(0, 1, tags[0]);
	tag_of(0, 3, tags[1]);
	directory_keep(&d, &members[0], (const uint8_t(*)[TAG_SIZE])tags, 2);
	assert_true(directory_check(&d));
	expect_nothing(1);
	expect(2, 0, MESSAGE_ABSENT, false);
	assert_int_equal(members[0].count, 1);
}

static void limits_hold(void **state)
{
	uint8_t tag[TAG_SIZE];
	unsigned count = 0;
	int r;

	(void)state;
	do {
		rng_fill(&rng, tag, sizeof(tag));
		r = directory_add(&d, &members[count % 3], tag);
		count += r == 0;
	} while (r == 0);
	assert_int_equal(r, -ENOBUFS);
	assert_int_equal(count, 1000);
	assert_true(directory_check(&d));
}

static void random_operations_agree_with_a_model(void **state)
{
	bool has[MEMBERS][MEMBERS] = { 0 };

	(void)state;
	for (unsigned step = 0; step < 10000; step++) {
		unsigned a = (unsigned)rng_below(&rng, MEMBERS);
		unsigned b = (a + 1 + (unsigned)rng_below(&rng, MEMBERS - 1)) % MEMBERS;
		struct wire_message m;

		switch (rng_below(&rng, 8)) {
		case 0:
			directory_remove_member(&d, &members[a], rng_below(&rng, 2));
			memset(has[a], 0, sizeof(has[a]));
			break;
		case 1:
		case 2:
			if (directory_next_news(&d, &members[a], &m))
				directory_told(&d, &members[a]);
			break;
		case 3:
			if (has[a][b])
				directory_set_channel(&d, entry(a, b), rng_below(&rng, 3));
			break;
		default:
			assert_int_equal(add(a, b), 0);
			has[a][b] = true;
			break;
		}
		for (unsigned i = 0; i < MEMBERS; i++) {
			for (unsigned k = 0; k < MEMBERS; k++) {
				uint32_t e = i == k ? DIRECTORY_NONE : entry(i, k);

				assert_int_equal(e != DIRECTORY_NONE, has[i][k]);
				if (has[i][k])
					assert_int_equal(directory_match(&d, e) != DIRECTORY_NONE,
					                 has[k][i]);
			}
		}
	}
	assert_true(directory_check(&d));
}

static void without_memory_nothing_changes(void **state)
{
	(void)state;
	for (uint64_t k = 1; k < 5; k++) {
		uint32_t count = d.count;

		cv_alloc_fail_at(k);
		if (add(0, (unsigned)k) < 0)
			assert_int_equal(d.count, count);
		cv_alloc_fail_at(0);
		assert_int_equal(add(0, (unsigned)k), 0);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_tag_does_not_depend_on_the_order),
		TEST(both_must_register),
		TEST(the_tag_of_others_matches_nothing),
		TEST(a_flood_of_one_tag_stays_short),
		TEST(who_leaves_is_absent),
		TEST(the_newest_word_holds),
		TEST(channels_are_news),
		TEST(deferring_keeps_news),
		TEST(a_new_registration_keeps_what_it_names),
		TEST(limits_hold),
		TEST(random_operations_agree_with_a_model),
		TEST(without_memory_nothing_changes),
	};

	return cmocka_run_group_tests_name("directory", tests, NULL, NULL);
}

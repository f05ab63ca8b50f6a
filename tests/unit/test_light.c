/* SPDX-License-Identifier: MIT */

/*
 * Goal: what one end seals the other opens, once; and nothing else. Method: two ends with one epoch
 * in common; every verdict.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tunnel/light.h"

static struct rng_seeded seeded;
static struct rng rng;
static struct indexes indexes;
static struct light a, b;
static cv_time now;

static void join(struct light *l, const struct light *other, bool is_initiator,
                 const struct handshake_secrets *secrets, uint32_t ours, uint32_t theirs)
{
	struct assoc_join j = { .secrets = secrets,
		                .ours = l->assoc.incarnation,
		                .theirs = other->assoc.incarnation,
		                .is_initiator = is_initiator,
		                .aead = AEAD_CHACHA20_POLY1305,
		                .local_index = ours,
		                .remote_index = theirs };

	assert_int_equal(assoc_join(&l->assoc, now, &rng, &j), ASSOC_BOUND);
}

static int setup(void **state)
{
	struct handshake_secrets secrets;
	uint32_t x, y;

	(void)state;
	now = CV_SEC(1);
	rng_seeded_init(&seeded, 1);
	rng = rng_from_seeded(&seeded);
	rng_fill(&rng, &secrets, sizeof(secrets));
	assert_int_equal(indexes_init(&indexes, 1), 0);
	light_init(&a, &indexes, 1, true, &rng);
	light_init(&b, &indexes, 2, false, &rng);
	x = indexes_take(&indexes, now, &rng, 0);
	y = indexes_take(&indexes, now, &rng, 0);
	join(&a, &b, true, &secrets, x, y);
	join(&b, &a, false, &secrets, y, x);
	assert_int_equal(indexes_find(&indexes, x), 1); /* the index leads to its owner */
	assert_int_equal(indexes_find(&indexes, y), 2);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_true(light_check(&a));
	assert_true(light_check(&b));
	light_deinit(&a, now);
	light_deinit(&b, now);
	indexes_deinit(&indexes);
	return 0;
}

static size_t seal(uint8_t packet[100])
{
	memset(packet, 0, 100);
	return light_seal(&a, assoc_send_epoch(&a.assoc, now), packet, 5);
}

static enum light_verdict open(const uint8_t *packet, size_t size)
{
	uint8_t copy[200];
	struct epoch *e;
	size_t plain_size;

	memcpy(copy, packet, size);
	return light_open(&b, now, copy, size, &plain_size, &e);
}

static void a_packet_opens_once(void **state)
{
	uint8_t first[100], second[100];
	size_t size;

	(void)state;
	size = seal(first);
	(void)seal(second);
	assert_int_equal(open(second, size), LIGHT_OPENED);
	assert_int_equal(open(first, size), LIGHT_OPENED); /* reordered */
	assert_int_equal(open(first, size), LIGHT_REPLAY);
	for (unsigned i = 0; i < LIGHT_WINDOW; i++) {
		size = seal(second);
		if (i == 0)
			memcpy(first, second, sizeof(first));
	}
	assert_int_equal(open(second, size), LIGHT_OPENED);
	assert_int_equal(open(first, size), LIGHT_OPENED); /* the last of the window */
	for (unsigned i = 0; i < 3 * LIGHT_WINDOW; i++)
		size = seal(second);
	(void)seal(first);
	assert_int_equal(open(first, size), LIGHT_OPENED);
}

static void damage_is_named(void **state)
{
	uint8_t packet[100];
	size_t size = seal(packet);

	(void)state;
	assert_int_equal(open(packet, WIRE_DATA_OVERHEAD - 1), LIGHT_MALFORMED);
	for (size_t i = 1; i < size; i++) {
		enum light_verdict v;

		packet[i] ^= 0x40;
		v = open(packet, size);
		if (i < 5)
			assert_int_equal(v, LIGHT_UNKNOWN);
		else
			assert_int_not_equal(v, LIGHT_OPENED);
		packet[i] ^= 0x40;
	}
	now += CV_SEC(7200);
	assert_int_equal(open(packet, size), LIGHT_UNKNOWN);
}

static void probes_have_their_own_numbers(void **state)
{
	struct wire_probe probe = { .type = PROBE_CHALLENGE, .token = 9 };
	uint8_t packet[200];
	size_t size;

	(void)state;
	size = light_write_probe(assoc_send_epoch(&a.assoc, now), packet, 128, &probe);
	assert_int_equal(size, 128);
	assert_int_equal(open(packet, size), LIGHT_OPENED);
	assert_int_equal(open(packet, size), LIGHT_FORGED); /* replayed */
	size = light_write_probe(assoc_send_epoch(&a.assoc, now), packet, 0, &probe);
	assert_int_equal(size, LIGHT_PROBE_MIN);
	assert_true(size <= WIRE_PROBE_MIN);
	assert_int_equal(a.number_next, 0);
}

static void beginning_again_forgets_numbers(void **state)
{
	struct wire_message m = { .type = MESSAGE_CHANNEL_GONE };
	uint8_t packet[100];
	size_t size;

	(void)state;
	assert_int_equal(link_send(&b.link, &m), 0);
	size = seal(packet);
	assert_int_equal(open(packet, size), LIGHT_OPENED);
	light_begin(&b);
	assert_int_equal(open(packet, size), LIGHT_OPENED);
	assert_int_equal(b.link.queued, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_packet_opens_once),
		TEST(damage_is_named),
		TEST(probes_have_their_own_numbers),
		TEST(beginning_again_forgets_numbers),
	};

	return cmocka_run_group_tests_name("light", tests, NULL, NULL);
}

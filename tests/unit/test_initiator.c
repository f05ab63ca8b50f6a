/* SPDX-License-Identifier: MIT */

/*
 * Goal: an attempt says one thing, again and again, for five seconds and then another; it believes
 * only who it asked. Method: a real responder in a few lines; every due time looked at.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tunnel/aead.h"
#include "tunnel/initiator.h"

static struct rng_seeded seeded;
static struct rng rng;
static cv_time now;
static uint8_t a_sk[32], b_sk[32];
static struct identity a, b;
static struct remote b_seen, a_seen;
static struct indexes indexes;
static struct assoc assoc;
static struct epoch epochs[ASSOC_EPOCHS_MAX];
static struct initiator initiator;
static uint8_t init[WIRE_INIT_SIZE];
static uint8_t b_incarnation[INCARNATION_SIZE];

static int setup(void **state)
{
	struct assoc_options opt = { .indexes = &indexes,
		                     .owner = 3,
		                     .limits = &EPOCH_LIMITS_AGENT,
		                     .epochs = epochs,
		                     .epochs_max = ASSOC_EPOCHS_MAX };

	(void)state;
	rng_seeded_init(&seeded, 1);
	rng = rng_from_seeded(&seeded);
	now = CV_SEC(1000);
	rng_fill(&rng, a_sk, sizeof(a_sk));
	rng_fill(&rng, b_sk, sizeof(b_sk));
	rng_fill(&rng, b_incarnation, sizeof(b_incarnation));
	identity_init(&a, a_sk);
	identity_init(&b, b_sk);
	assert_int_equal(remote_init(&b_seen, &a, b.pk, NULL), 0);
	assert_int_equal(remote_init(&a_seen, &b, a.pk, NULL), 0);
	assert_int_equal(indexes_init(&indexes, 1), 0);
	memset(epochs, 0, sizeof(epochs));
	assoc_init(&assoc, &opt, &rng);
	initiator_init(&initiator);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	initiator_stop(&initiator, now, &assoc);
	assoc_deinit(&assoc, now);
	/* Every index that was taken has been given back. */
	assert_int_equal(indexes.map.count, indexes.rest_count);
	indexes_deinit(&indexes);
	return 0;
}

static bool turn(void)
{
	bool ok = initiator_turn(&initiator, now, &assoc, &a, &b_seen, HANDSHAKE_PEER, &rng,
	                         AEAD_BIT_CHACHA, POLICY_DIRECT);

	if (ok)
		initiator_write(&initiator, &assoc, now, 1, init);
	return ok;
}

/* RESP of b to @message. */
static void respond(const uint8_t *message, uint32_t index, uint8_t out[WIRE_RESP_SIZE])
{
	struct handshake_payload payload = { .aead_bits = AEAD_BIT_CHACHA, .policy = POLICY_RELAY };
	struct handshake_secrets secrets;
	struct handshake_in in;

	memcpy(payload.incarnation, b_incarnation, INCARNATION_SIZE);
	assert_int_equal(handshake_read_init_key(&in, &b, HANDSHAKE_PEER, message), HANDSHAKE_OK);
	assert_int_equal(handshake_read_init_payload(&in, &a_seen, message), HANDSHAKE_OK);
	assert_int_equal(in.payload.policy, POLICY_DIRECT);
	handshake_write_resp(&in, &b, &a_seen, &rng, index, &payload, out, &secrets);
}

static enum assoc_verdict take_resp(const uint8_t *resp, bool *is_forged)
{
	return initiator_on_resp(&initiator, now, &assoc, &a, &b_seen, &rng, resp, WIRE_RESP_SIZE,
	                         is_forged);
}

/* 250 ms x 1.5 up to 1 s, the last fifth by chance; the same bytes for 5 s (rule 1.2). */
static void repeats_are_the_same_bytes(void **state)
{
	static const unsigned at_most_ms[] = { 250, 375, 563, 844, 1000, 1000 };
	uint8_t first[WIRE_INIT_SIZE];
	cv_time began = now, before;

	(void)state;
	assert_int_equal(initiator_deadline(&initiator), CV_TIME_NEVER);
	initiator_start(&initiator, now);
	assert_int_equal(initiator_deadline(&initiator), now);
	assert_true(turn());
	memcpy(first, init, sizeof(first));
	for (unsigned i = 0; i < CV_ARRAY_SIZE(at_most_ms); i++) {
		before = now;
		now = initiator_deadline(&initiator);
		assert_in_range(now - before, CV_MS(at_most_ms[i]) * 79 / 100,
		                CV_MS(at_most_ms[i]));
		assert_true(turn());
		assert_memory_equal(init, first, sizeof(first));
	}
	while (now - began < INITIATOR_INIT_LIFE) {
		now = initiator_deadline(&initiator);
		assert_true(turn());
	}
	assert_memory_not_equal(init, first, sizeof(first));
	assert_int_equal(initiator.started_at, began);
}

static void start_again_repeats_at_once(void **state)
{
	uint8_t first[WIRE_INIT_SIZE];

	(void)state;
	initiator_start(&initiator, now);
	assert_true(turn());
	memcpy(first, init, sizeof(first));
	now += CV_MS(10);
	initiator_start(&initiator, now);
	assert_int_equal(initiator_deadline(&initiator), now);
	assert_true(turn());
	assert_memory_equal(init, first, sizeof(first));
}

static void what_is_hastened_is_repeated_as_at_first(void **state)
{
	uint8_t first[WIRE_INIT_SIZE];

	(void)state;
	initiator_start(&initiator, now);
	assert_true(turn());
	memcpy(first, init, sizeof(first));
	for (unsigned i = 0; i < 4; i++) {
		now = initiator_deadline(&initiator);
		assert_true(turn());
	}
	assert_true(initiator_deadline(&initiator) > now + CV_MS(250));
	initiator_hasten(&initiator, now);
	assert_int_equal(initiator_deadline(&initiator), now);
	assert_true(turn());
	assert_in_range(initiator_deadline(&initiator) - now, CV_MS(197), CV_MS(250));
	assert_memory_equal(init, first, sizeof(first));
}

static void resp_ends_the_attempt(void **state)
{
	uint8_t resp[WIRE_RESP_SIZE], old[WIRE_RESP_SIZE];
	struct wire_handshake head;
	bool is_forged;

	(void)state;
	initiator_start(&initiator, now);
	assert_true(turn());
	respond(init, 77, old);
	now += INITIATOR_INIT_LIFE; /* made anew: the answer to the first is nobody's */
	assert_true(turn());
	assert_true(wire_read_handshake(old, sizeof(old), &head));
	assert_false(initiator_matches(&initiator, head.receiver));
	assert_int_equal(take_resp(old, &is_forged), ASSOC_VOID);
	assert_true(is_forged);

	respond(init, 78, resp);
	assert_true(wire_read_handshake(resp, sizeof(resp), &head));
	assert_true(initiator_matches(&initiator, head.receiver));
	for (size_t i = 0; i < sizeof(resp); i++) {
		resp[i] ^= 1;
		assert_int_equal(take_resp(resp, &is_forged), ASSOC_VOID);
		assert_true(is_forged);
		resp[i] ^= 1;
	}
	assert_int_equal(take_resp(resp, &is_forged), ASSOC_BOUND);
	assert_false(is_forged);
	assert_int_equal(assoc.peer_policy, POLICY_RELAY);
	assert_memory_equal(assoc.peer_incarnation, b_incarnation, INCARNATION_SIZE);
	assert_int_equal(initiator_deadline(&initiator), CV_TIME_NEVER);
	assert_int_equal(take_resp(resp, &is_forged), ASSOC_VOID);
	assert_true(is_forged);
}

static void a_dropped_object_remakes_the_init(void **state)
{
	uint8_t first[WIRE_INIT_SIZE];

	(void)state;
	initiator_start(&initiator, now);
	assert_true(turn());
	memcpy(first, init, sizeof(first));
	assoc_reset(&assoc, now, &rng);
	assert_true(turn());
	assert_memory_not_equal(init, first, sizeof(first));
}

/* Each path has its own cookie for the same INIT; it repeats once for each, not for a duplicate. */
static void cookies_belong_to_paths(void **state)
{
	struct cookie_jar jar = { 0 };
	uint8_t one[WIRE_COOKIE_SIZE], two[WIRE_COOKIE_SIZE], other[WIRE_INIT_SIZE];
	const uint8_t here[] = { 1 }, there[] = { 2 };

	(void)state;
	initiator_start(&initiator, now);
	assert_true(turn());
	cookie_jar_turn(&jar, now, &rng);
	cookie_write(&jar, &b.macs, &rng, here, 1, init, one);
	cookie_write(&jar, &b.macs, &rng, there, 1, init, two);
	now += CV_MS(20);
	assert_true(initiator_on_cookie(&initiator, now, &b_seen, 1, one, sizeof(one)));
	assert_int_equal(initiator_deadline(&initiator), now);
	assert_true(turn());
	assert_true(initiator_on_cookie(&initiator, now, &b_seen, 1, one, sizeof(one)));
	assert_int_not_equal(initiator_deadline(&initiator), now);
	assert_true(initiator_on_cookie(&initiator, now, &b_seen, 2, two, sizeof(two)));
	one[WIRE_COOKIE_SIZE - 1] ^= 1;
	assert_false(initiator_on_cookie(&initiator, now, &b_seen, 1, one, sizeof(one)));

	initiator_write(&initiator, &assoc, now, 1, init);
	assert_true(cookie_check(&jar, now, here, 1, init));
	initiator_write(&initiator, &assoc, now, 2, other);
	assert_true(cookie_check(&jar, now, there, 1, other));
	assert_memory_equal(init, other, WIRE_INIT_SIZE - MAC_SIZE);
	initiator_write(&initiator, &assoc, now, 3, other);
	assert_false(cookie_check(&jar, now, here, 1, other));
}

/* More paths than room: the oldest cookie is given up. */
static void old_cookies_make_room(void **state)
{
	struct cookie_jar jar = { 0 };
	uint8_t bytes[WIRE_COOKIE_SIZE];
	uint8_t source[1] = { 0 };

	(void)state;
	initiator_start(&initiator, now);
	assert_true(turn());
	cookie_jar_turn(&jar, now, &rng);
	for (uint8_t path = 1; path <= INITIATOR_COOKIES + 1; path++) {
		source[0] = path;
		now += 1;
		cookie_write(&jar, &b.macs, &rng, source, 1, init, bytes);
		assert_true(
			initiator_on_cookie(&initiator, now, &b_seen, path, bytes, sizeof(bytes)));
	}
	for (uint8_t path = 1; path <= INITIATOR_COOKIES + 1; path++) {
		source[0] = path;
		initiator_write(&initiator, &assoc, now, path, init);
		assert_int_equal(cookie_check(&jar, now, source, 1, init), path > 1);
	}
}

/* A continuing INIT carries mac2 of its epoch; a cookie for it says that the epoch is not known. */
static void a_restarted_responder_gets_its_cookie(void **state)
{
	struct cookie_jar jar = { 0 };
	uint8_t resp[WIRE_RESP_SIZE], bytes[WIRE_COOKIE_SIZE];
	const uint8_t here[] = { 1 };
	struct epoch *e;
	bool is_forged;

	(void)state;
	initiator_start(&initiator, now);
	assert_true(turn());
	respond(init, 77, resp);
	assert_int_equal(take_resp(resp, &is_forged), ASSOC_BOUND);
	e = assoc_send_epoch(&assoc, now);
	assoc_on_opened(&assoc, e);
	now += CV_SEC(120);
	initiator_start(&initiator, now);
	assert_true(turn());
	assert_int_equal(initiator.hs.head.receiver, 77);
	assert_true(cookie_check_mac2(e->mac2_secret, sizeof(e->mac2_secret), init));
	cookie_jar_turn(&jar, now, &rng);
	cookie_write(&jar, &b.macs, &rng, here, 1, init, bytes);
	assert_true(initiator_on_cookie(&initiator, now, &b_seen, 1, bytes, sizeof(bytes)));
	initiator_write(&initiator, &assoc, now, 1, init);
	assert_true(cookie_check(&jar, now, here, 1, init));
	initiator_write(&initiator, &assoc, now, 2, init); /* no cookie from there */
	assert_true(cookie_check_mac2(e->mac2_secret, sizeof(e->mac2_secret), init));
}

static void version_is_only_remembered(void **state)
{
	uint8_t bytes[WIRE_VERSION_SIZE];

	(void)state;
	initiator_start(&initiator, now);
	assert_true(turn());
	cookie_write_version(&b.macs, init, bytes);
	bytes[WIRE_VERSION_SIZE - 1] ^= 1;
	initiator_on_version(&initiator, &b_seen, bytes, sizeof(bytes));
	assert_int_equal(initiator.version_seen, 0);
	bytes[WIRE_VERSION_SIZE - 1] ^= 1;
	initiator_on_version(&initiator, &b_seen, bytes, sizeof(bytes));
	assert_int_equal(initiator.version_seen, WIRE_VERSION_1);
	assert_true(initiator.is_running);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(repeats_are_the_same_bytes),
		TEST(start_again_repeats_at_once),
		TEST(what_is_hastened_is_repeated_as_at_first),
		TEST(resp_ends_the_attempt),
		TEST(a_dropped_object_remakes_the_init),
		TEST(cookies_belong_to_paths),
		TEST(old_cookies_make_room),
		TEST(a_restarted_responder_gets_its_cookie),
		TEST(version_is_only_remembered),
	};

	return cmocka_run_group_tests_name("initiator", tests, NULL, NULL);
}

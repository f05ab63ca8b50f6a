/* SPDX-License-Identifier: MIT */

/*
 * Goal: only the message that the other side made gets through, in the role, version and
 * conversation it was made for, and anything else leaves no trace. Method: two ends with seeded
 * randomness, so that each golden message is known; every bit flipped with mac1 made right again;
 * wrong psk, role, key, conversation; the known points of low order; replays.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "tunnel/aead.h"
#include "tunnel/handshake.h"

enum { INIT_MACS = 2 * MAC_SIZE, NOISE_AT = WIRE_HANDSHAKE_HEADER };

/* An initiator and a responder that know each other. */
struct scene {
	struct rng_seeded seeded;
	struct rng rng;
	uint8_t a_sk[32], b_sk[32];
	struct identity a, b;
	struct remote b_at_a, a_at_b;
	struct handshake hs;
	struct handshake_payload a_payload, b_payload;
	uint8_t init[WIRE_INIT_SIZE], resp[WIRE_RESP_SIZE];
	struct handshake_secrets b_secrets;
};

static const struct wire_handshake init_head = {
	.version = WIRE_VERSION_1, .sender = 0xa1a2a3a4, .receiver = 7, .number = 9
};

enum { B_INDEX = 0x0b0b0b0b };

static void scene_init(struct scene *s, const uint8_t *psk)
{
	memset(s, 0, sizeof(*s));
	rng_seeded_init(&s->seeded, 1);
	s->rng = rng_from_seeded(&s->seeded);
	rng_fill(&s->rng, s->a_sk, 32);
	rng_fill(&s->rng, s->b_sk, 32);
	identity_init(&s->a, s->a_sk);
	identity_init(&s->b, s->b_sk);
	assert_int_equal(remote_init(&s->b_at_a, &s->a, s->b.pk, psk), 0);
	assert_int_equal(remote_init(&s->a_at_b, &s->b, s->a.pk, psk), 0);
	s->a_payload = (struct handshake_payload){
		.aead_bits = AEAD_BIT_CHACHA | AEAD_BIT_AES,
		.policy = POLICY_RELAY,
		.incarnation = "initiator's",
	};
	s->b_payload = (struct handshake_payload){
		.aead_bits = AEAD_BIT_AES,
		.policy = POLICY_DIRECT,
		.incarnation = "responder's",
	};
	handshake_write_init(&s->hs, &s->a, &s->b_at_a, HANDSHAKE_PEER, &s->rng, &init_head,
	                     &s->a_payload, s->init);
}

/* The responder's whole way; each step as the verdicts say. */
static enum handshake_verdict accept_init(const struct scene *s, enum handshake_role role,
                                          const uint8_t *init, struct handshake_in *in)
{
	struct wire_handshake head;
	enum handshake_verdict verdict = handshake_check_init(&s->b, init, WIRE_INIT_SIZE, &head);

	if (verdict == HANDSHAKE_OK)
		verdict = handshake_read_init_key(in, &s->b, role, init);
	if (verdict != HANDSHAKE_OK)
		return verdict;
	if (memcmp(in->peer_pk, s->a.pk, 32) != 0)
		return HANDSHAKE_FORGED;
	return handshake_read_init_payload(in, &s->a_at_b, init);
}

static void respond(struct scene *s)
{
	struct handshake_in in = { 0 };

	assert_int_equal(accept_init(s, HANDSHAKE_PEER, s->init, &in), HANDSHAKE_OK);
	handshake_write_resp(&in, &s->b, &s->a_at_b, &s->rng, B_INDEX, &s->b_payload, s->resp,
	                     &s->b_secrets);
	handshake_in_wipe(&in);
	assert_true(sodium_is_zero((const uint8_t *)&in, sizeof(in)));
}

static enum handshake_verdict read_resp(struct scene *s, const uint8_t *resp, size_t size)
{
	struct handshake_payload payload;
	struct handshake_secrets secrets;
	uint32_t index;

	return handshake_read_resp(&s->hs, &s->a, &s->b_at_a, resp, size, &payload, &index,
	                           &secrets);
}

static void check_both_roles(const uint8_t *psk)
{
	struct handshake_payload payload;
	struct handshake_secrets secrets;
	struct handshake_in in = { 0 };
	struct scene s;
	uint32_t index;

	scene_init(&s, psk);
	assert_int_equal(s.init[0], WIRE_INIT);
	assert_true(sodium_is_zero(s.init + WIRE_INIT_SIZE - MAC_SIZE, MAC_SIZE));
	assert_memory_equal(s.hs.mac1, s.init + WIRE_INIT_SIZE - INIT_MACS, MAC_SIZE);

	assert_int_equal(accept_init(&s, HANDSHAKE_PEER, s.init, &in), HANDSHAKE_OK);
	assert_memory_equal(in.peer_pk, s.a.pk, 32);
	assert_int_equal(in.head.sender, init_head.sender);
	assert_int_equal(in.head.receiver, init_head.receiver);
	assert_int_equal(in.payload.aead_bits, s.a_payload.aead_bits);
	assert_int_equal(in.payload.policy, POLICY_RELAY);
	assert_memory_equal(in.payload.incarnation, s.a_payload.incarnation, INCARNATION_SIZE);

	respond(&s);
	assert_int_equal(handshake_read_resp(&s.hs, &s.a, &s.b_at_a, s.resp, sizeof(s.resp),
	                                     &payload, &index, &secrets),
	                 HANDSHAKE_OK);
	assert_int_equal(index, B_INDEX);
	assert_int_equal(payload.aead_bits, AEAD_BIT_AES);
	assert_int_equal(payload.policy, POLICY_DIRECT);
	assert_memory_equal(payload.incarnation, s.b_payload.incarnation, INCARNATION_SIZE);
	assert_memory_equal(&secrets, &s.b_secrets, sizeof(secrets));
	assert_memory_not_equal(secrets.to_responder, secrets.to_initiator, 32);
	assert_true(sodium_is_zero((const uint8_t *)&s.hs, sizeof(s.hs)));
}

static void both_ends_agree(void **state)
{
	const uint8_t psk[32] = { 42 };

	(void)state;
	check_both_roles(NULL);
	check_both_roles(psk);
}

static void a_seed_gives_the_same_bytes(void **state)
{
	struct scene a, b;

	(void)state;
	scene_init(&a, NULL);
	scene_init(&b, NULL);
	respond(&a);
	respond(&b);
	assert_memory_equal(a.init, b.init, sizeof(a.init));
	assert_memory_equal(a.resp, b.resp, sizeof(a.resp));
}

/* psk2 comes after the first message: the responder reads it, the initiator refuses the answer. */
static void a_wrong_psk_is_found_at_resp(void **state)
{
	const uint8_t psk[32] = { 42 }, other_psk[32] = { 43 };
	const uint8_t *theirs[] = { NULL, other_psk };
	struct handshake before;
	struct scene s;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		scene_init(&s, psk);
		assert_int_equal(remote_init(&s.a_at_b, &s.b, s.a.pk, theirs[i]), 0);
		respond(&s);
		before = s.hs;
		assert_int_equal(read_resp(&s, s.resp, sizeof(s.resp)), HANDSHAKE_FORGED);
		assert_memory_equal(&s.hs, &before, sizeof(before));
	}
}

static void every_bit_of_init_counts(void **state)
{
	uint8_t init[WIRE_INIT_SIZE];
	struct handshake_in in;
	struct scene s;

	(void)state;
	scene_init(&s, NULL);
	for (size_t bit = 0; bit < (size_t)8 * (WIRE_INIT_SIZE - MAC_SIZE); bit++) {
		memcpy(init, s.init, sizeof(init));
		init[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_not_equal(accept_init(&s, HANDSHAKE_PEER, init, &in), HANDSHAKE_OK);
		if (bit / 8 >= WIRE_INIT_SIZE - INIT_MACS)
			continue;
		/* mac1 is no secret: whoever knows our key makes it right again. */
		cookie_write_mac1(&s.b.macs, init, sizeof(init), INIT_MACS);
		assert_int_not_equal(accept_init(&s, HANDSHAKE_PEER, init, &in), HANDSHAKE_OK);
	}
	/* mac2 is the one part that repeats may differ in. */
	memset(s.init + WIRE_INIT_SIZE - MAC_SIZE, 0xcc, MAC_SIZE);
	assert_int_equal(accept_init(&s, HANDSHAKE_PEER, s.init, &in), HANDSHAKE_OK);
}

static void every_bit_of_resp_counts(void **state)
{
	uint8_t resp[WIRE_RESP_SIZE];
	struct handshake before;
	struct scene s;

	(void)state;
	scene_init(&s, NULL);
	respond(&s);
	before = s.hs;
	for (size_t bit = 0; bit < (size_t)8 * WIRE_RESP_SIZE; bit++) {
		memcpy(resp, s.resp, sizeof(resp));
		resp[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_not_equal(read_resp(&s, resp, sizeof(resp)), HANDSHAKE_OK);
		if (bit / 8 < WIRE_RESP_SIZE - MAC_SIZE) {
			cookie_write_mac1(&s.a.macs, resp, sizeof(resp), MAC_SIZE);
			assert_int_not_equal(read_resp(&s, resp, sizeof(resp)), HANDSHAKE_OK);
		}
		assert_memory_equal(&s.hs, &before, sizeof(before));
	}
	for (size_t size = 0; size < WIRE_RESP_SIZE; size++)
		assert_int_equal(read_resp(&s, s.resp, size), HANDSHAKE_MALFORMED);
	assert_int_equal(read_resp(&s, s.init, sizeof(s.init)), HANDSHAKE_MALFORMED);
	assert_int_equal(read_resp(&s, s.resp, sizeof(s.resp)), HANDSHAKE_OK);
}

static void verdicts_name_the_reason(void **state)
{
	struct wire_handshake head = { 0 };
	struct scene s;

	(void)state;
	scene_init(&s, NULL);
	for (size_t size = 0; size < WIRE_INIT_SIZE; size++)
		assert_int_equal(handshake_check_init(&s.b, s.init, size, &head),
		                 HANDSHAKE_MALFORMED);
	assert_int_equal(handshake_check_init(&s.a, s.init, sizeof(s.init), &head),
	                 HANDSHAKE_BAD_MAC);
	assert_int_equal(head.sender, 0);
	s.init[1] = 2;
	assert_int_equal(handshake_check_init(&s.b, s.init, sizeof(s.init), &head),
	                 HANDSHAKE_BAD_MAC);
	cookie_write_mac1(&s.b.macs, s.init, sizeof(s.init), INIT_MACS);
	assert_int_equal(handshake_check_init(&s.b, s.init, sizeof(s.init), &head),
	                 HANDSHAKE_BAD_VERSION);
	assert_int_equal(head.sender, init_head.sender);
	s.init[0] = WIRE_RESP;
	assert_int_equal(handshake_check_init(&s.b, s.init, sizeof(s.init), &head),
	                 HANDSHAKE_MALFORMED);
}

/* T3: recorded between an agent and a server, played to an agent with the same key. */
static void a_role_is_no_other(void **state)
{
	struct handshake_in in;
	struct scene s;

	(void)state;
	scene_init(&s, NULL);
	assert_int_equal(accept_init(&s, HANDSHAKE_SERVER, s.init, &in), HANDSHAKE_FORGED);
	assert_true(sodium_is_zero((const uint8_t *)&in, sizeof(in)));
	handshake_write_init(&s.hs, &s.a, &s.b_at_a, HANDSHAKE_SERVER, &s.rng, &init_head,
	                     &s.a_payload, s.init);
	assert_int_equal(accept_init(&s, HANDSHAKE_PEER, s.init, &in), HANDSHAKE_FORGED);
	assert_int_equal(accept_init(&s, HANDSHAKE_SERVER, s.init, &in), HANDSHAKE_OK);
}

static void a_resp_answers_one_init(void **state)
{
	struct handshake first;
	struct scene s;

	(void)state;
	scene_init(&s, NULL);
	respond(&s);
	first = s.hs;
	handshake_write_init(&s.hs, &s.a, &s.b_at_a, HANDSHAKE_PEER, &s.rng, &init_head,
	                     &s.a_payload, s.init);
	/* Same indices, same number, other ephemeral. */
	assert_int_equal(read_resp(&s, s.resp, sizeof(s.resp)), HANDSHAKE_FORGED);
	s.hs = first;
	assert_int_equal(read_resp(&s, s.resp, sizeof(s.resp)), HANDSHAKE_OK);
}

/* A replayed INIT reads again (it is for pending slots to bear that) but yields other keys. */
static void a_replayed_init_gives_new_keys(void **state)
{
	struct handshake_secrets before;
	struct scene s;

	(void)state;
	scene_init(&s, NULL);
	respond(&s);
	before = s.b_secrets;
	respond(&s);
	assert_memory_not_equal(&before, &s.b_secrets, sizeof(before));
}

/* Someone who knows both public keys, and no private one but his own. */
static void a_stranger_cannot_be_the_peer(void **state)
{
	struct handshake_in in;
	struct handshake hs;
	struct identity stranger;
	struct remote b_at_stranger;
	struct scene s;
	const uint8_t sk[32] = { 99 };

	(void)state;
	scene_init(&s, NULL);
	identity_init(&stranger, sk);
	assert_int_equal(remote_init(&b_at_stranger, &stranger, s.b.pk, NULL), 0);
	memcpy(stranger.pk, s.a.pk, 32); /* claims to be A */
	handshake_write_init(&hs, &stranger, &b_at_stranger, HANDSHAKE_PEER, &s.rng, &init_head,
	                     &s.a_payload, s.init);
	assert_int_equal(handshake_read_init_key(&in, &s.b, HANDSHAKE_PEER, s.init), HANDSHAKE_OK);
	assert_memory_equal(in.peer_pk, s.a.pk, 32);
	{
		const struct handshake_in before = in;

		assert_int_equal(handshake_read_init_payload(&in, &s.a_at_b, s.init),
		                 HANDSHAKE_FORGED);
		assert_memory_equal(&in, &before, sizeof(before));
	}
}

/* A choice that was not offered could be a cipher that our CPU lacks. */
static void the_choice_must_have_been_offered(void **state)
{
	struct scene s;

	(void)state;
	scene_init(&s, NULL);
	s.a_payload.aead_bits = AEAD_BIT_CHACHA;
	handshake_write_init(&s.hs, &s.a, &s.b_at_a, HANDSHAKE_PEER, &s.rng, &init_head,
	                     &s.a_payload, s.init);
	respond(&s);
	assert_int_equal(read_resp(&s, s.resp, sizeof(s.resp)), HANDSHAKE_MALFORMED);
	assert_true(s.hs.is_live);
	s.b_payload.aead_bits = AEAD_BIT_CHACHA;
	respond(&s);
	assert_int_equal(read_resp(&s, s.resp, sizeof(s.resp)), HANDSHAKE_OK);
}

/*
 * The points of small order, https://cr.yp.to/ecdh.html. Five of the twelve listed there are
 * numbers beyond 2^255; X25519 ignores that bit (RFC 7748, 5), which makes them ordinary points.
 * Instead each of the seven comes a second time with the bit set.
 */
static const char *const low_order[] = {
	"0000000000000000000000000000000000000000000000000000000000000000",
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
};

static void low_order_points_are_refused(void **state)
{
	uint8_t point[32], before[sizeof(struct remote)];
	struct handshake_in in;
	struct remote r;
	struct scene s;

	(void)state;
	scene_init(&s, NULL);
	memset(&r, 0x77, sizeof(r));
	memcpy(before, &r, sizeof(r));
	for (size_t i = 0; i < CV_ARRAY_SIZE(low_order); i++) {
		assert_int_equal(sodium_hex2bin(point, 32, low_order[i], 64, NULL, NULL, NULL), 0);
		assert_int_equal(remote_init(&r, &s.a, point, NULL), -EINVAL);
		assert_memory_equal(&r, before, sizeof(r));

		scene_init(&s, NULL);
		memcpy(s.init + NOISE_AT, point, 32);
		cookie_write_mac1(&s.b.macs, s.init, sizeof(s.init), INIT_MACS);
		assert_int_equal(accept_init(&s, HANDSHAKE_PEER, s.init, &in), HANDSHAKE_FORGED);

		scene_init(&s, NULL);
		respond(&s);
		memcpy(s.resp + NOISE_AT, point, 32);
		cookie_write_mac1(&s.a.macs, s.resp, sizeof(s.resp), MAC_SIZE);
		assert_int_equal(read_resp(&s, s.resp, sizeof(s.resp)), HANDSHAKE_FORGED);
		assert_true(s.hs.is_live);
	}
}

static void remotes_are_others(void **state)
{
	struct remote r;
	struct scene s;

	(void)state;
	scene_init(&s, NULL);
	assert_int_equal(remote_init(&r, &s.a, s.a.pk, NULL), -EINVAL);
	assert_memory_equal(s.b_at_a.ss, s.a_at_b.ss, 32);
	remote_wipe(&s.b_at_a);
	assert_true(sodium_is_zero((const uint8_t *)&s.b_at_a, sizeof(s.b_at_a)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_ends_agree),
		cmocka_unit_test(a_seed_gives_the_same_bytes),
		cmocka_unit_test(a_wrong_psk_is_found_at_resp),
		cmocka_unit_test(every_bit_of_init_counts),
		cmocka_unit_test(every_bit_of_resp_counts),
		cmocka_unit_test(verdicts_name_the_reason),
		cmocka_unit_test(a_role_is_no_other),
		cmocka_unit_test(a_resp_answers_one_init),
		cmocka_unit_test(a_replayed_init_gives_new_keys),
		cmocka_unit_test(a_stranger_cannot_be_the_peer),
		cmocka_unit_test(the_choice_must_have_been_offered),
		cmocka_unit_test(low_order_points_are_refused),
		cmocka_unit_test(remotes_are_others),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests_name("handshake", tests, NULL, NULL);
}

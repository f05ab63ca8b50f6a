/* SPDX-License-Identifier: MIT */

/*
 * Goal: what one end seals the other opens, under keys that no other use shares, until a limit
 * says stop. Method: both ends from one pair of secrets, with each cipher; every bit flipped;
 * every key compared with every other; limits at their last step, at it and behind it; and the
 * slot searched for key bytes after the wipe.
 */
#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "tunnel/keys.h"

struct ends {
	struct epoch a, b; /* initiator, responder */
	alignas(16) uint8_t a_states[2 * AEAD_STATE_SIZE];
	alignas(16) uint8_t b_states[2 * AEAD_STATE_SIZE];
	struct handshake_secrets secrets;
};

#define MADE CV_SEC(50)

static void ends_init(struct ends *e, enum aead_kind kind)
{
	const bool is_light = kind == AEAD_CHACHA20_POLY1305;

	memset(e, 0, sizeof(*e));
	memset(e->secrets.to_responder, 1, 32);
	memset(e->secrets.to_initiator, 2, 32);
	epoch_init(&e->a, &e->secrets, true, kind, 10, 20, MADE, is_light ? NULL : e->a_states);
	epoch_init(&e->b, &e->secrets, false, kind, 20, 10, MADE, is_light ? NULL : e->b_states);
}

static void ends_deinit(struct ends *e)
{
	epoch_wipe(&e->a);
	epoch_wipe(&e->b);
}

/* The ciphers of this machine: chacha, then AES if it is there. */
static unsigned kinds(enum aead_kind out[2])
{
	out[0] = AEAD_CHACHA20_POLY1305;
	out[1] = AEAD_AES256_GCM;
	return aead_available() & AEAD_BIT_AES ? 2 : 1;
}

static size_t seal(struct epoch *e, uint64_t number, uint8_t *packet)
{
	memcpy(packet + WIRE_DATA_HEADER, "frames", 6);
	return epoch_seal_data(e, WIRE_FLAG_ACK_NOW, number, packet, 6);
}

static void expect_open(struct epoch *e, uint64_t number, uint8_t *packet, size_t size)
{
	size_t plain_size = 0;

	assert_true(epoch_open_data(e, number, packet, size, &plain_size));
	assert_int_equal(plain_size, 6);
	assert_memory_equal(packet + WIRE_DATA_HEADER, "frames", 6);
}

static void each_end_opens_the_others(void **state)
{
	enum aead_kind kind[2];
	uint8_t packet[64];
	struct wire_data head;
	struct ends e;
	size_t size;

	(void)state;
	for (unsigned i = 0; i < kinds(kind); i++) {
		ends_init(&e, kind[i]);
		size = seal(&e.a, 77, packet);
		assert_int_equal(size, 6 + WIRE_DATA_OVERHEAD);
		assert_true(wire_read_data(packet, size, &head));
		assert_int_equal(packet[0], WIRE_DATA | WIRE_FLAG_ACK_NOW);
		assert_int_equal(head.receiver, 20);
		assert_true(head.number == 77);
		assert_false(e.b.has_heard);
		expect_open(&e.b, 77, packet, size);
		assert_true(e.b.has_heard);
		assert_int_equal(e.b.opened, 1);
		assert_int_equal(e.a.sealed, 1);
		size = seal(&e.b, 77, packet);
		expect_open(&e.a, 77, packet, size);
		ends_deinit(&e);
	}
}

static void our_own_packets_are_not_the_others(void **state)
{
	uint8_t packet[128];
	struct ends e;
	size_t size, plain_size;

	(void)state;
	ends_init(&e, AEAD_CHACHA20_POLY1305);
	size = seal(&e.a, 5, packet);
	assert_false(epoch_open_data(&e.a, 5, packet, size, &plain_size));
	assert_int_equal(e.a.forged, 1);
	memset(packet, 0, sizeof(packet));
	size = epoch_seal_probe(&e.a, packet, 40);
	assert_false(epoch_open_probe(&e.a, packet, size, &plain_size));
}

static void forgeries_change_counters_alone(void **state)
{
	enum aead_kind kind[2];
	uint8_t sealed[64], packet[64];
	struct epoch before;
	struct ends e;
	size_t size, plain_size = 99;

	(void)state;
	for (unsigned i = 0; i < kinds(kind); i++) {
		ends_init(&e, kind[i]);
		size = seal(&e.a, 5, sealed);
		before = e.b;
		for (size_t bit = 0; bit < 8 * size; bit++) {
			memcpy(packet, sealed, size);
			packet[bit / 8] ^= (uint8_t)(1u << bit % 8);
			assert_false(epoch_open_data(&e.b, 5, packet, size, &plain_size));
		}
		memcpy(packet, sealed, size);
		assert_false(epoch_open_data(&e.b, 6, packet, size, &plain_size));
		before.forged = 8 * size + 1;
		assert_memory_equal(&e.b, &before, sizeof(before));
		assert_int_equal(plain_size, 99);
		expect_open(&e.b, 5, sealed, size);
		ends_deinit(&e);
	}
}

static void probes_have_a_counter_and_a_window(void **state)
{
	uint8_t sealed[3][64 + WIRE_DATA_OVERHEAD], packet[64 + WIRE_DATA_OVERHEAD];
	struct ends e;
	size_t size = 0, plain_size;

	(void)state;
	ends_init(&e, AEAD_CHACHA20_POLY1305);
	for (unsigned i = 0; i < 3; i++) {
		memset(sealed[i], (int)i, sizeof(sealed[i]));
		size = epoch_seal_probe(&e.a, sealed[i], 64);
		assert_int_equal(size, sizeof(sealed[i]));
		assert_int_equal(sealed[i][0], WIRE_PROBE);
		assert_int_equal(sealed[i][12], i);
	}
	for (unsigned i = 3; i-- > 0;) {
		memcpy(packet, sealed[i], size);
		packet[size - 1] ^= 1;
		assert_false(epoch_open_probe(&e.b, packet, size, &plain_size));
		memcpy(packet, sealed[i], size);
		assert_true(epoch_open_probe(&e.b, packet, size, &plain_size));
		assert_int_equal(plain_size, 64);
		assert_int_equal(packet[WIRE_DATA_HEADER], i);
		memcpy(packet, sealed[i], size);
		assert_false(epoch_open_probe(&e.b, packet, size, &plain_size));
	}
	assert_true(e.b.has_heard);
	assert_int_equal(e.b.forged, 3); /* a replay is not a forgery */
	for (size_t cut = 0; cut < WIRE_DATA_OVERHEAD; cut++)
		assert_false(epoch_open_probe(&e.b, packet, cut, &plain_size));
	assert_int_equal(e.a.sealed, 0); /* probes have keys of their own */
}

static void no_two_keys_are_equal(void **state)
{
	const uint8_t *keys[12];
	struct ends e;
	struct epoch other = { 0 };
	alignas(16) uint8_t states[2 * AEAD_STATE_SIZE];
	unsigned count = 0;

	(void)state;
	ends_init(&e, AEAD_CHACHA20_POLY1305);
	keys[count++] = e.secrets.to_responder;
	keys[count++] = e.secrets.to_initiator;
	keys[count++] = e.a.send_key;
	keys[count++] = e.a.recv_key;
	keys[count++] = e.a.send_probe_key;
	keys[count++] = e.a.recv_probe_key;
	keys[count++] = e.a.mac2_secret;
	assert_memory_equal(e.a.mac2_secret, e.b.mac2_secret, 32);
	assert_memory_equal(e.a.send_key, e.b.recv_key, 32);
	assert_memory_equal(e.a.send_probe_key, e.b.recv_probe_key, 32);
	if (aead_available() & AEAD_BIT_AES) {
		epoch_init(&other, &e.secrets, true, AEAD_AES256_GCM, 1, 2, 0, states);
		keys[count++] = other.send_key;
		keys[count++] = other.recv_key;
	}
	for (unsigned i = 0; i < count; i++)
		for (unsigned k = 0; k < i; k++)
			assert_memory_not_equal(keys[i], keys[k], 32);
	epoch_wipe(&other);
}

static void limits_of_age(void **state)
{
	const struct epoch_limits *all[] = { &EPOCH_LIMITS_AGENT, &EPOCH_LIMITS_SERVER };
	struct ends e;

	(void)state;
	ends_init(&e, AEAD_CHACHA20_POLY1305);
	for (unsigned i = 0; i < 2; i++) {
		const struct epoch_limits *l = all[i];
		const cv_time end = MADE + l->reject_after;

		assert_true(l->rekey_after < l->rekey_later && l->rekey_later < l->reject_after);
		assert_true(epoch_can_seal(&e.a, MADE, l) && epoch_can_open(&e.a, MADE, l));
		assert_true(epoch_can_seal(&e.a, end - 1, l) && epoch_can_open(&e.a, end - 1, l));
		assert_false(epoch_can_seal(&e.a, end, l) || epoch_can_open(&e.a, end, l));
		assert_true(epoch_rekey_at(&e.a, l, true, 3) == MADE + l->rekey_after + 3);
		assert_true(epoch_rekey_at(&e.a, l, false, 0) == MADE + l->rekey_later);
	}
}

static void limits_of_use(void **state)
{
	const struct epoch_limits *l = &EPOCH_LIMITS_AGENT;
	static uint8_t packet[65000 + WIRE_DATA_OVERHEAD];
	struct ends e;

	(void)state;
	ends_init(&e, AEAD_CHACHA20_POLY1305);
	e.a.sealed = l->rekey_packets - 1;
	assert_true(epoch_rekey_at(&e.a, l, true, 0) > MADE);
	e.a.sealed = l->rekey_packets;
	assert_true(epoch_rekey_at(&e.a, l, true, 0) == MADE);
	e.a.sealed = l->reject_packets - 1;
	assert_true(epoch_can_seal(&e.a, MADE, l));
	e.a.sealed = l->reject_packets;
	assert_false(epoch_can_seal(&e.a, MADE, l));
	assert_true(epoch_can_open(&e.a, MADE, l)); /* what the peer seals is his to count */

	e.a.forged = (UINT64_C(1) << 30) - 1;
	e.a.sealed = 0;
	assert_true(epoch_rekey_at(&e.a, l, true, 0) > MADE);
	e.a.forged++;
	assert_true(epoch_rekey_at(&e.a, l, true, 0) == MADE);
	e.a.forged = (UINT64_C(1) << 36) - 1;
	assert_true(epoch_can_open(&e.a, MADE, l));
	e.a.forged++;
	assert_false(epoch_can_open(&e.a, MADE, l));

	/* A packet of 64 KiB wears a key out as 32 of 2 KiB do. */
	(void)epoch_seal_data(&e.b, 0, 0, packet, 65000);
	assert_int_equal(e.b.sealed, 32);
	(void)epoch_seal_data(&e.b, 0, 1, packet, 1450);
	assert_int_equal(e.b.sealed, 33);
}

static void a_wiped_epoch_holds_nothing(void **state)
{
	enum aead_kind kind[2];
	struct ends e;

	(void)state;
	for (unsigned i = 0; i < kinds(kind); i++) {
		ends_init(&e, kind[i]);
		epoch_wipe(&e.a);
		epoch_wipe(&e.a);
		assert_true(sodium_is_zero((const uint8_t *)&e.a, sizeof(e.a)));
		assert_true(sodium_is_zero(e.a_states, sizeof(e.a_states)));
		assert_false(epoch_can_seal(&e.a, 0, &EPOCH_LIMITS_AGENT));
		assert_false(epoch_can_open(&e.a, 0, &EPOCH_LIMITS_AGENT));
		/* Without its data keys alone it can still be told. */
		epoch_wipe_data(&e.b);
		assert_true(sodium_is_zero(e.b.send_key, 4 * AEAD_KEY_SIZE));
		assert_true(sodium_is_zero(e.b_states, sizeof(e.b_states)));
		assert_false(sodium_is_zero(e.b.mac2_secret, sizeof(e.b.mac2_secret)));
		assert_int_equal(e.b.local_index, 20);
		ends_deinit(&e);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_end_opens_the_others),
		cmocka_unit_test(our_own_packets_are_not_the_others),
		cmocka_unit_test(forgeries_change_counters_alone),
		cmocka_unit_test(probes_have_a_counter_and_a_window),
		cmocka_unit_test(no_two_keys_are_equal),
		cmocka_unit_test(limits_of_age),
		cmocka_unit_test(limits_of_use),
		cmocka_unit_test(a_wiped_epoch_holds_nothing),
	};

	return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}

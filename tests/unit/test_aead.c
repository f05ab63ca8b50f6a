/* SPDX-License-Identifier: MIT */

/*
 * Goal: the two ciphers are the published ones, with Noise's nonces, and refuse what was changed.
 * Method: known answers (those of RFC 8439 and of the GCM specification whose first four bytes of
 * nonce are zero, as all of ours are); then each bit flipped, each cut, each wrong input.
 */
#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "tunnel/aead.h"
#include "tunnel/libcrypto.h"

#ifdef CULVERT_LIBCRYPTO
#include <openssl/crypto.h>
#include <stdlib.h>

#define HAS_LIBCRYPTO true

/* Its heap, counted. */
static unsigned heap_calls;

static void *counted_alloc(size_t size, const char *file, int line)
{
	(void)file, (void)line;
	heap_calls++;
	return malloc(size);
}

static void *counted_realloc(void *p, size_t size, const char *file, int line)
{
	(void)file, (void)line;
	heap_calls++;
	return realloc(p, size);
}

static void counted_free(void *p, const char *file, int line)
{
	(void)file, (void)line;
	free(p);
}

/* Before its first allocation, or it refuses. */
static int count_heap(void)
{
	return CRYPTO_set_mem_functions(counted_alloc, counted_realloc, counted_free);
}
#else
#define HAS_LIBCRYPTO false

static unsigned heap_calls;

static int count_heap(void)
{
	return 1;
}
#endif

enum { TEXT_MAX = 1024 };

struct answer {
	const char *what;
	enum aead_kind kind;
	const char *key, *ad, *plain, *sealed;
	uint64_t number;
};

static const struct answer answers[] = {
	{
		.what = "RFC 8439, A.5",
		.kind = AEAD_CHACHA20_POLY1305,
		.key = "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0",
		.ad = "f33388860000000000004e91",
		.number = UINT64_C(0x0807060504030201), /* little-endian in the nonce */
		.plain = "496e7465726e65742d4472616674732061726520647261667420646f63756d65"
			 "6e74732076616c696420666f722061206d6178696d756d206f6620736978206d"
			 "6f6e74687320616e64206d617920626520757064617465642c207265706c6163"
			 "65642c206f72206f62736f6c65746564206279206f7468657220646f63756d65"
			 "6e747320617420616e792074696d652e20497420697320696e617070726f7072"
			 "6961746520746f2075736520496e7465726e65742d4472616674732061732072"
			 "65666572656e6365206d6174657269616c206f7220746f206369746520746865"
			 "6d206f74686572207468616e206173202fe2809c776f726b20696e2070726f67"
			 "726573732e2fe2809d",
		.sealed = "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb2"
			  "4c6cfc18755d43eea09ee94e382d26b0bdb7b73c321b0100d4f03b7f355894cf"
			  "332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c855"
			  "9797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4"
			  "b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523e"
			  "af4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a"
			  "0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a10"
			  "49e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29"
			  "a6ad5cb4022b02709beead9d67890cbb22392336fea1851f38",
	},
	{
		.what = "GCM specification, test case 14",
		.kind = AEAD_AES256_GCM,
		.key = "0000000000000000000000000000000000000000000000000000000000000000",
		.ad = "",
		.number = 0,
		.plain = "00000000000000000000000000000000",
		.sealed = "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919",
	},
	{
		.what = "AES-256-GCM with a number, computed with OpenSSL",
		.kind = AEAD_AES256_GCM,
		.key = "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0",
		.ad = "f33388860000000000004e91",
		.number = UINT64_C(0x0102030405060708), /* big-endian in the nonce */
		.plain = "496e7465726e65742d4472616674732061726520647261667420646f63756d65"
			 "6e74732076616c69",
		.sealed = "9d838bf45ffaa3333d2a35b6fcdd59f551df3162982ac14c3cbcb56ff18717ba"
			  "9e4fa8195d62c69434828484bb5b199bab4443f3ff29f770",
	},
};

/* A key in the form that the cipher wants. */
struct key {
	alignas(16) uint8_t state[AEAD_STATE_SIZE];
	uint8_t raw[AEAD_KEY_SIZE];
	const void *use;
	const struct aead_ops *ops;
};

static void key_init(struct key *k, enum aead_kind kind, const uint8_t raw[AEAD_KEY_SIZE])
{
	const struct aead_ops *ops = aead_ops(kind);

	memcpy(k->raw, raw, sizeof(k->raw));
	k->use = k->raw;
	if (ops->state_size > 0) {
		assert_true(ops->state_size <= sizeof(k->state));
		ops->expand(k->state, raw);
		k->use = k->state;
	}
	k->ops = ops;
}

static void key_deinit(struct key *k)
{
	if (k->ops->state_size > 0)
		k->ops->wipe(k->state);
	assert_true(sodium_is_zero(k->state, k->ops->state_size));
}

static size_t from_hex(const char *text, uint8_t *out, size_t cap)
{
	size_t size;

	assert_int_equal(sodium_hex2bin(out, cap, text, strlen(text), NULL, &size, NULL), 0);
	return size;
}

static bool is_available(enum aead_kind kind)
{
	return aead_available() >> kind & 1;
}

static void known_answers(void **state)
{
	uint8_t raw[AEAD_KEY_SIZE], ad[64], text[TEXT_MAX], plain[TEXT_MAX], sealed[TEXT_MAX];
	struct key key;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(answers); i++) {
		const struct answer *a = &answers[i];
		const struct aead_ops *ops = aead_ops(a->kind);
		const size_t ad_size = from_hex(a->ad, ad, sizeof(ad));
		const size_t size = from_hex(a->plain, plain, sizeof(plain));

		if (!is_available(a->kind)) {
			print_message("skipped, not on this CPU: %s\n", a->what);
			continue;
		}
		(void)from_hex(a->key, raw, sizeof(raw));
		assert_int_equal(from_hex(a->sealed, sealed, sizeof(sealed)), size + AEAD_TAG_SIZE);
		key_init(&key, a->kind, raw);
		memcpy(text, plain, size);
		ops->seal(key.use, a->number, ad, ad_size, text, size);
		assert_memory_equal(text, sealed, size + AEAD_TAG_SIZE);
		assert_true(ops->open(key.use, a->number, ad, ad_size, text, size + AEAD_TAG_SIZE));
		assert_memory_equal(text, plain, size);
		key_deinit(&key);
	}
}

static void check_tampering(enum aead_kind kind, size_t plain)
{
	const struct aead_ops *ops = aead_ops(kind);
	const uint8_t raw[AEAD_KEY_SIZE] = { 1, 2, 3 }, other_raw[AEAD_KEY_SIZE] = { 1, 2, 4 };
	const uint8_t ad[13] = { 0x80 };
	uint8_t sealed[TEXT_MAX] = "forty bytes of something worth keeping", text[TEXT_MAX];
	const size_t sealed_size = plain + AEAD_TAG_SIZE;
	struct key key, other;

	key_init(&key, kind, raw);
	key_init(&other, kind, other_raw);
	ops->seal(key.use, 7, ad, sizeof(ad), sealed, plain);
	for (size_t bit = 0; bit < 8 * sealed_size; bit++) {
		memcpy(text, sealed, sealed_size);
		text[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(ops->open(key.use, 7, ad, sizeof(ad), text, sealed_size));
	}
	for (size_t bit = 0; bit < 8 * sizeof(ad); bit++) {
		uint8_t other_ad[13];

		memcpy(other_ad, ad, sizeof(ad));
		other_ad[bit / 8] ^= (uint8_t)(1u << bit % 8);
		memcpy(text, sealed, sealed_size);
		assert_false(ops->open(key.use, 7, other_ad, sizeof(ad), text, sealed_size));
	}
	for (size_t size = 0; size < sealed_size; size++) {
		memcpy(text, sealed, sealed_size);
		assert_false(ops->open(key.use, 7, ad, sizeof(ad), text, size));
	}
	memcpy(text, sealed, sealed_size);
	assert_false(ops->open(key.use, 6, ad, sizeof(ad), text, sealed_size));
	memcpy(text, sealed, sealed_size);
	assert_false(ops->open(other.use, 7, ad, sizeof(ad), text, sealed_size));
	memcpy(text, sealed, sealed_size);
	assert_false(ops->open(key.use, 7, ad, sizeof(ad) - 1, text, sealed_size));
	memcpy(text, sealed, sealed_size);
	assert_true(ops->open(key.use, 7, ad, sizeof(ad), text, sealed_size));
	key_deinit(&key);
	key_deinit(&other);
}

static void chacha_refuses_what_was_changed(void **state)
{
	(void)state;
	check_tampering(AEAD_CHACHA20_POLY1305, 40);
}

static void aes_refuses_what_was_changed(void **state)
{
	(void)state;
	if (!is_available(AEAD_AES256_GCM)) {
		print_message("skipped: this CPU has no AES instructions\n");
		skip();
		return;
	}
	check_tampering(AEAD_AES256_GCM, 40);
	check_tampering(AEAD_AES256_GCM, 600); /* another library may do these */
}

/* Every size round the blocks of both ciphers; nothing is written behind the tag. */
static void every_size_comes_back(void **state)
{
	const uint8_t raw[AEAD_KEY_SIZE] = { 9 };
	uint8_t text[300 + AEAD_TAG_SIZE + 1];
	struct key key;

	(void)state;
	for (unsigned kind = AEAD_CHACHA20_POLY1305; kind <= AEAD_AES256_GCM; kind++) {
		const struct aead_ops *ops = aead_ops((enum aead_kind)kind);

		if (!is_available((enum aead_kind)kind))
			continue;
		key_init(&key, (enum aead_kind)kind, raw);
		for (size_t size = 0; size <= 300; size++) {
			memset(text, (int)size, sizeof(text));
			ops->seal(key.use, size, NULL, 0, text, size);
			assert_int_equal(text[size + AEAD_TAG_SIZE], size & 0xff);
			assert_true(ops->open(key.use, size, NULL, 0, text, size + AEAD_TAG_SIZE));
			for (size_t i = 0; i < size; i++)
				assert_int_equal(text[i], size & 0xff);
		}
		key_deinit(&key);
	}
}

/* Two libraries share the work by size; who receives may have another. */
static void both_libraries_say_the_same(void **state)
{
	static const size_t sizes[] = { 1, 511, 512, 513, 1024, 1438, 1439, 8923, 65478 };
	static uint8_t text[65478 + AEAD_TAG_SIZE], other[65478 + AEAD_TAG_SIZE];
	alignas(16) crypto_aead_aes256gcm_state sodium;
	uint8_t raw[AEAD_KEY_SIZE] = { 5 }, ad[13] = { 0x80, 7 }, nonce[12];
	const struct aead_ops *ops = aead_ops(AEAD_AES256_GCM);
	struct key key;

	(void)state;
	if (!is_available(AEAD_AES256_GCM)) {
		skip();
		return;
	}
	key_init(&key, AEAD_AES256_GCM, raw);
	(void)crypto_aead_aes256gcm_beforenm(&sodium, raw);
	for (uint64_t i = 0; i < CV_ARRAY_SIZE(sizes); i++) {
		size_t size = sizes[i];

		memset(nonce, 0, sizeof(nonce));
		nonce[11] = (uint8_t)i;
		memset(text, (int)i + 1, size);
		memset(other, (int)i + 1, size);
		ops->seal(key.use, i, ad, sizeof(ad), text, size);
		(void)crypto_aead_aes256gcm_encrypt_detached_afternm(
			other, other + size, NULL, other, size, ad, sizeof(ad), NULL, nonce,
			(const void *)&sodium);
		assert_memory_equal(text, other, size + AEAD_TAG_SIZE);
		assert_true(ops->open(key.use, i, ad, sizeof(ad), text, size + AEAD_TAG_SIZE));
		assert_int_equal(text[size - 1], i + 1);
	}
	key_deinit(&key);
}

/* Where it is built in, it does work, else nobody would notice that it does not; and no packet
 * reaches the heap. */
static void libcrypto_is_used(void **state)
{
	const uint8_t raw[AEAD_KEY_SIZE] = { 1 }, nonce[LIBCRYPTO_NONCE_SIZE] = { 2 };
	uint8_t text[1000 + LIBCRYPTO_TAG_SIZE] = { 3 };
	unsigned calls;
	void *context;

	(void)state;
	if (!HAS_LIBCRYPTO) {
		assert_false(libcrypto_is_available());
		skip();
		return;
	}
	assert_true(libcrypto_is_available());
	context = libcrypto_new(raw);
	assert_non_null(context);
	calls = heap_calls;
	assert_true(calls > 0);
	for (unsigned i = 0; i < 100; i++) {
		libcrypto_seal(context, nonce, raw, 13, text, 1000);
		assert_true(libcrypto_open(context, nonce, raw, 13, text, 1000));
		text[i] ^= 1;
		assert_false(libcrypto_open(context, nonce, raw, 13, text, 1000));
	}
	assert_int_equal(heap_calls, calls); /* nothing for a packet */
	libcrypto_free(context);
	libcrypto_free(NULL);
}

static void the_best_of_both_is_chosen(void **state)
{
	const uint8_t both = AEAD_BIT_CHACHA | AEAD_BIT_AES;

	(void)state;
	assert_true(aead_available() & AEAD_BIT_CHACHA);
	assert_int_equal(aead_choose(both, both), AEAD_AES256_GCM);
	assert_int_equal(aead_choose(both, AEAD_BIT_CHACHA), AEAD_CHACHA20_POLY1305);
	assert_int_equal(aead_choose(AEAD_BIT_CHACHA, both), AEAD_CHACHA20_POLY1305);
	assert_int_equal(aead_choose(both, 0), AEAD_CHACHA20_POLY1305);
	/* Bits of ciphers to come are nobody's choice yet. */
	assert_int_equal(aead_choose(both, 0xf0), AEAD_CHACHA20_POLY1305);
	assert_int_equal(aead_choose(0xff, 0xff), AEAD_AES256_GCM);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_answers),
		cmocka_unit_test(chacha_refuses_what_was_changed),
		cmocka_unit_test(aes_refuses_what_was_changed),
		cmocka_unit_test(every_size_comes_back),
		cmocka_unit_test(both_libraries_say_the_same),
		cmocka_unit_test(libcrypto_is_used),
		cmocka_unit_test(the_best_of_both_is_chosen),
	};

	if (!count_heap())
		return 1;
	return cmocka_run_group_tests_name("aead", tests, NULL, NULL);
}

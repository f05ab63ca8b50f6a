/* SPDX-License-Identifier: MIT */
#include "tunnel/noise.h"

#include <sodium.h>
#include <string.h>

#include "tunnel/aead.h"

/*
 * One token per step, in the order of the pattern, as the document has them. Each function that
 * reads computes in a copy and commits it after the last tag; the copy is wiped on every way out.
 *
 * The names are the document's: MixKey, MixHash, EncryptAndHash, ... (5.2). Where a pattern has a
 * psk, the token "e" also mixes the ephemeral into the key (9.2): a psk is not random to someone
 * who shares it, and two handshakes with it must never meet in one key.
 */

enum { HMAC_BLOCK = 128, PSK_SIZE = 32 };

_Static_assert(crypto_scalarmult_BYTES == NOISE_DH_SIZE, "X25519");
_Static_assert(crypto_generichash_BYTES_MAX == NOISE_HASH_SIZE, "BLAKE2b at its full length");
_Static_assert((int)NOISE_KEY_SIZE == (int)AEAD_KEY_SIZE, "one cipher");
_Static_assert((int)NOISE_TAG_SIZE == (int)AEAD_TAG_SIZE, "one cipher");

/* Noise names have 33 and 37 letters: not more than a hash, so h starts as the padded name. */
static const char *const pattern_names[] = {
	[NOISE_IK] = "Noise_IK_25519_ChaChaPoly_BLAKE2b",
	[NOISE_IKPSK2] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b",
};

/* BLAKE2b-512 of two strings, either of which may be empty. */
static void hash_two(uint8_t out[NOISE_HASH_SIZE], const uint8_t *a, size_t a_size,
                     const uint8_t *b, size_t b_size)
{
	crypto_generichash_state state;

	/* None of the three can fail for an unkeyed hash of a legal size. */
	(void)crypto_generichash_init(&state, NULL, 0, NOISE_HASH_SIZE);
	(void)crypto_generichash_update(&state, a, a_size);
	if (b_size)
		(void)crypto_generichash_update(&state, b, b_size);
	(void)crypto_generichash_final(&state, out, NOISE_HASH_SIZE);
	sodium_memzero(&state, sizeof(state));
}

/* HMAC (RFC 2104) over BLAKE2b; libsodium has keyed BLAKE2b, which is another function. */
static void hmac(uint8_t out[NOISE_HASH_SIZE], const uint8_t *key, size_t key_size,
                 const uint8_t *input, size_t input_size)
{
	uint8_t block[HMAC_BLOCK] = { 0 };
	uint8_t inner[NOISE_HASH_SIZE];

	CV_ASSERT(key_size <= HMAC_BLOCK);
	memcpy(block, key, key_size);
	for (unsigned i = 0; i < HMAC_BLOCK; i++)
		block[i] ^= 0x36;
	hash_two(inner, block, sizeof(block), input, input_size);
	for (unsigned i = 0; i < HMAC_BLOCK; i++)
		block[i] ^= 0x36 ^ 0x5c;
	hash_two(out, block, sizeof(block), inner, sizeof(inner));
	sodium_memzero(block, sizeof(block));
	sodium_memzero(inner, sizeof(inner));
}

/* HKDF of 4.3: each output is HMAC(temp, the one before || its number). */
static void hkdf(const uint8_t *key, size_t key_size, const uint8_t *input, size_t input_size,
                 uint8_t (*out)[NOISE_HASH_SIZE], unsigned count)
{
	uint8_t temp_key[NOISE_HASH_SIZE];
	uint8_t chain[NOISE_HASH_SIZE + 1];

	hmac(temp_key, key, key_size, input, input_size);
	for (unsigned i = 0; i < count; i++) {
		if (i > 0)
			memcpy(chain, out[i - 1], NOISE_HASH_SIZE);
		chain[i > 0 ? NOISE_HASH_SIZE : 0] = (uint8_t)(i + 1);
		hmac(out[i], temp_key, sizeof(temp_key), chain, i > 0 ? sizeof(chain) : 1);
	}
	sodium_memzero(temp_key, sizeof(temp_key));
	sodium_memzero(chain, sizeof(chain));
}

void noise_hkdf(const uint8_t *key, size_t key_size, const uint8_t *input, size_t input_size,
                uint8_t first[NOISE_HASH_SIZE], uint8_t second[NOISE_HASH_SIZE])
{
	uint8_t out[2][NOISE_HASH_SIZE];

	hkdf(key, key_size, input, input_size, out, second ? 2 : 1);
	memcpy(first, out[0], NOISE_HASH_SIZE);
	if (second)
		memcpy(second, out[1], NOISE_HASH_SIZE);
	sodium_memzero(out, sizeof(out));
}

/* ---- symmetric state (5.2) ---- */

static void mix_hash(struct noise *n, const uint8_t *bytes, size_t size)
{
	hash_two(n->hash, n->hash, sizeof(n->hash), bytes, size);
}

static void mix_key(struct noise *n, const uint8_t *input, size_t size)
{
	uint8_t out[2][NOISE_HASH_SIZE];

	hkdf(n->chaining_key, sizeof(n->chaining_key), input, size, out, 2);
	memcpy(n->chaining_key, out[0], sizeof(n->chaining_key));
	memcpy(n->cipher_key, out[1], sizeof(n->cipher_key));
	n->nonce = 0;
	sodium_memzero(out, sizeof(out));
}

static void mix_key_and_hash(struct noise *n, const uint8_t psk[PSK_SIZE])
{
	uint8_t out[3][NOISE_HASH_SIZE];

	hkdf(n->chaining_key, sizeof(n->chaining_key), psk, PSK_SIZE, out, 3);
	memcpy(n->chaining_key, out[0], sizeof(n->chaining_key));
	mix_hash(n, out[1], NOISE_HASH_SIZE);
	memcpy(n->cipher_key, out[2], sizeof(n->cipher_key));
	n->nonce = 0;
	sodium_memzero(out, sizeof(out));
}

/* @out: @size bytes and a tag. */
static void encrypt_and_hash(struct noise *n, const uint8_t *plain, size_t size, uint8_t *out)
{
	if (size)
		memcpy(out, plain, size);
	aead_ops(AEAD_CHACHA20_POLY1305)
		->seal(n->cipher_key, n->nonce++, n->hash, sizeof(n->hash), out, size);
	mix_hash(n, out, size + NOISE_TAG_SIZE);
}

/* @size: with the tag. @out, never at @sealed, is zeroed when the tag does not verify. */
static bool decrypt_and_hash(struct noise *n, const uint8_t *sealed, size_t size, uint8_t *out)
{
	const size_t plain_size = size - NOISE_TAG_SIZE;
	uint8_t nonce[12] = { 0 };

	CV_ASSERT(size >= NOISE_TAG_SIZE);
	for (unsigned i = 0; i < 8; i++)
		nonce[4 + i] = (uint8_t)(n->nonce >> 8 * i);
	if (crypto_aead_chacha20poly1305_ietf_decrypt_detached(
		    out, NULL, sealed, plain_size, sealed + plain_size, n->hash, sizeof(n->hash),
		    nonce, n->cipher_key) != 0)
		return false;
	n->nonce++;
	mix_hash(n, sealed, size);
	return true;
}

/* ---- tokens ---- */

static void mix_ephemeral(struct noise *n, const uint8_t pk[NOISE_DH_SIZE])
{
	mix_hash(n, pk, NOISE_DH_SIZE);
	if (n->pattern == NOISE_IKPSK2)
		mix_key(n, pk, NOISE_DH_SIZE);
}

/* Noise leaves a zero result to the application (12.1): here it ends the handshake. */
static bool mix_dh(struct noise *n, const uint8_t *sk, const uint8_t *pk)
{
	uint8_t dh_secret[NOISE_DH_SIZE];
	const bool is_good = crypto_scalarmult(dh_secret, sk, pk) == 0;

	if (is_good)
		mix_key(n, dh_secret, sizeof(dh_secret));
	sodium_memzero(dh_secret, sizeof(dh_secret));
	return is_good;
}

static bool mix_ss(struct noise *n, const struct noise_static *me)
{
	if (!me->ss_secret)
		return mix_dh(n, me->sk, n->remote_static);
	mix_key(n, me->ss_secret, NOISE_DH_SIZE);
	return true;
}

static void mix_psk(struct noise *n, const struct noise_static *me)
{
	if (n->pattern == NOISE_IK)
		return;
	CV_ASSERT(me->psk);
	mix_key_and_hash(n, me->psk);
}

/* Draws our ephemeral key and writes its public half. */
static void write_ephemeral(struct noise *n, const struct rng *rng, uint8_t pk[NOISE_DH_SIZE])
{
	rng_fill(rng, n->ephemeral_sk, sizeof(n->ephemeral_sk));
	(void)crypto_scalarmult_base(pk, n->ephemeral_sk); /* a clamped scalar: never zero */
	mix_ephemeral(n, pk);
}

/* ---- messages ---- */

void noise_init(struct noise *n, enum noise_pattern pattern, bool is_initiator,
                const uint8_t responder_pk[NOISE_DH_SIZE], const uint8_t *prologue,
                size_t prologue_size)
{
	const char *name = pattern_names[pattern];
	const size_t name_size = strlen(name);

	CV_ASSERT(name_size <= NOISE_HASH_SIZE);
	*n = (struct noise){
		.state = NOISE_FIRST,
		.pattern = pattern,
		.is_initiator = is_initiator,
	};
	memcpy(n->hash, name, name_size);
	memcpy(n->chaining_key, n->hash, sizeof(n->chaining_key));
	mix_hash(n, prologue, prologue_size);
	mix_hash(n, responder_pk, NOISE_DH_SIZE);
	if (is_initiator)
		memcpy(n->remote_static, responder_pk, NOISE_DH_SIZE);
}

/* -> e, es, s, ss */
bool noise_write_first(struct noise *n, const struct noise_static *me, const struct rng *rng,
                       const uint8_t *payload, size_t size, uint8_t *out)
{
	CV_ASSERT(n->state == NOISE_FIRST && n->is_initiator);

	/* e */
	write_ephemeral(n, rng, out);
	out += NOISE_DH_SIZE;

	/* es */
	if (!mix_dh(n, n->ephemeral_sk, n->remote_static))
		goto fail;

	/* s */
	encrypt_and_hash(n, me->pk, NOISE_DH_SIZE, out);
	out += NOISE_DH_SIZE + NOISE_TAG_SIZE;

	/* ss */
	if (!mix_ss(n, me))
		goto fail;

	encrypt_and_hash(n, payload, size, out);
	n->state = NOISE_SECOND;
	return true;

fail:
	noise_wipe(n);
	return false;
}

/* -> e, es, s */
bool noise_read_first_key(struct noise *n, const struct noise_static *me, const uint8_t *message,
                          uint8_t key[NOISE_DH_SIZE])
{
	struct noise next = *n;
	bool is_good = false;

	CV_ASSERT(n->state == NOISE_FIRST && !n->is_initiator);

	/* e */
	memcpy(next.remote_ephemeral, message, NOISE_DH_SIZE);
	mix_ephemeral(&next, next.remote_ephemeral);

	/* es */
	if (!mix_dh(&next, me->sk, next.remote_ephemeral))
		goto out;

	/* s */
	if (!decrypt_and_hash(&next, message + NOISE_DH_SIZE, NOISE_DH_SIZE + NOISE_TAG_SIZE,
	                      next.remote_static))
		goto out;

	next.state = NOISE_HALF;
	*n = next;
	memcpy(key, next.remote_static, NOISE_DH_SIZE);
	is_good = true;
out:
	noise_wipe(&next);
	return is_good;
}

/* -> ss, payload */
bool noise_read_first_payload(struct noise *n, const struct noise_static *me,
                              const uint8_t *message, size_t size, uint8_t *payload)
{
	struct noise next = *n;
	bool is_good = false;

	CV_ASSERT(n->state == NOISE_HALF);
	if (size < NOISE_FIRST_OVERHEAD)
		goto out;

	/* ss */
	if (!mix_ss(&next, me))
		goto out;

	if (!decrypt_and_hash(&next, message + NOISE_FIRST_HEAD, size - NOISE_FIRST_HEAD, payload))
		goto out;

	next.state = NOISE_SECOND;
	*n = next;
	is_good = true;
out:
	noise_wipe(&next);
	return is_good;
}

/* <- e, ee, se, [psk] */
bool noise_write_second(struct noise *n, const struct noise_static *me, const struct rng *rng,
                        const uint8_t *payload, size_t size, uint8_t *out)
{
	CV_ASSERT(n->state == NOISE_SECOND && !n->is_initiator);

	/* e */
	write_ephemeral(n, rng, out);
	out += NOISE_DH_SIZE;

	/* ee */
	if (!mix_dh(n, n->ephemeral_sk, n->remote_ephemeral))
		goto fail;

	/* se */
	if (!mix_dh(n, n->ephemeral_sk, n->remote_static))
		goto fail;

	/* psk */
	mix_psk(n, me);

	encrypt_and_hash(n, payload, size, out);
	n->state = NOISE_SPLITTABLE;
	return true;

fail:
	noise_wipe(n);
	return false;
}

/* <- e, ee, se, [psk] */
bool noise_read_second(struct noise *n, const struct noise_static *me, const uint8_t *message,
                       size_t size, uint8_t *payload)
{
	struct noise next = *n;
	bool is_good = false;

	CV_ASSERT(n->state == NOISE_SECOND && n->is_initiator);
	if (size < NOISE_SECOND_OVERHEAD)
		goto out;

	/* e */
	memcpy(next.remote_ephemeral, message, NOISE_DH_SIZE);
	mix_ephemeral(&next, next.remote_ephemeral);

	/* ee */
	if (!mix_dh(&next, next.ephemeral_sk, next.remote_ephemeral))
		goto out;

	/* se */
	if (!mix_dh(&next, me->sk, next.remote_ephemeral))
		goto out;

	/* psk */
	mix_psk(&next, me);

	if (!decrypt_and_hash(&next, message + NOISE_DH_SIZE, size - NOISE_DH_SIZE, payload))
		goto out;

	next.state = NOISE_SPLITTABLE;
	*n = next;
	is_good = true;
out:
	noise_wipe(&next);
	return is_good;
}

void noise_split(struct noise *n, uint8_t to_responder[NOISE_KEY_SIZE],
                 uint8_t to_initiator[NOISE_KEY_SIZE])
{
	uint8_t out[2][NOISE_HASH_SIZE];

	CV_ASSERT(n->state == NOISE_SPLITTABLE);
	hkdf(n->chaining_key, sizeof(n->chaining_key), NULL, 0, out, 2);
	memcpy(to_responder, out[0], NOISE_KEY_SIZE);
	memcpy(to_initiator, out[1], NOISE_KEY_SIZE);
	sodium_memzero(out, sizeof(out));
	noise_wipe(n);
}

void noise_wipe(struct noise *n)
{
	sodium_memzero(n, sizeof(*n));
}

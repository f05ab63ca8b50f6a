/* SPDX-License-Identifier: MIT */
#include "tunnel/aead.h"

#include <sodium.h>
#include <string.h>

#include "base/rd.h"
#include "base/wr.h"
#include "tunnel/libcrypto.h"

/* An expanded key of AES-256-GCM. */
struct aes {
	crypto_aead_aes256gcm_state sodium;
	void *context; /* NULL: not available */
};

_Static_assert(sizeof(struct aes) <= AEAD_STATE_SIZE, "the expanded key fits");
_Static_assert(LIBCRYPTO_KEY_SIZE == (int)AEAD_KEY_SIZE && LIBCRYPTO_TAG_SIZE == (int)AEAD_TAG_SIZE,
               "one cipher by two libraries");
_Static_assert(crypto_aead_chacha20poly1305_IETF_ABYTES == AEAD_TAG_SIZE, "tag of the wire");
_Static_assert(crypto_aead_aes256gcm_ABYTES == AEAD_TAG_SIZE, "tag of the wire");
_Static_assert(crypto_aead_chacha20poly1305_IETF_KEYBYTES == AEAD_KEY_SIZE, "one size of key");
_Static_assert(crypto_aead_aes256gcm_KEYBYTES == AEAD_KEY_SIZE, "one size of key");

enum {
	NONCE_SIZE = 12,
	/* From here on libcrypto is faster: its calls cost some 300 ns a packet, libsodium's bytes
	 * 0.6 ns, its own 0.3. */
	LIBCRYPTO_SIZE_MIN = 512,
};

_Static_assert(crypto_aead_chacha20poly1305_IETF_NPUBBYTES == NONCE_SIZE,
               "4 zero bytes, 8 of number");
_Static_assert(crypto_aead_aes256gcm_NPUBBYTES == NONCE_SIZE, "4 zero bytes, 8 of number");

/* Noise rev 34, 12.3: little-endian. */
static void chacha_nonce(uint8_t nonce[NONCE_SIZE], uint64_t number)
{
	memset(nonce, 0, 4);
	for (unsigned i = 0; i < 8; i++)
		nonce[4 + i] = (uint8_t)(number >> 8 * i);
}

static void chacha_seal(const void *key, uint64_t number, const uint8_t *ad, size_t ad_size,
                        uint8_t *text, size_t size)
{
	uint8_t nonce[NONCE_SIZE];

	chacha_nonce(nonce, number);
	(void)crypto_aead_chacha20poly1305_ietf_encrypt_detached(
		text, text + size, NULL, text, size, ad, ad_size, NULL, nonce, key); /* always 0 */
}

static bool chacha_open(const void *key, uint64_t number, const uint8_t *ad, size_t ad_size,
                        uint8_t *text, size_t size)
{
	uint8_t nonce[NONCE_SIZE];
	const size_t plain_size = size - AEAD_TAG_SIZE;

	if (size < AEAD_TAG_SIZE)
		return false;
	chacha_nonce(nonce, number);
	return crypto_aead_chacha20poly1305_ietf_decrypt_detached(text, NULL, text, plain_size,
	                                                          text + plain_size, ad, ad_size,
	                                                          nonce, key) == 0;
}

/* Noise rev 34, 12.4: big-endian. */
static void aes_nonce(uint8_t nonce[NONCE_SIZE], uint64_t number)
{
	memset(nonce, 0, 4);
	cv_store64(nonce + 4, number);
}

static void aes_expand(void *state, const uint8_t key[AEAD_KEY_SIZE])
{
	struct aes *a = state;

	CV_ASSERT(((uintptr_t)state & 15) == 0);
	(void)crypto_aead_aes256gcm_beforenm(&a->sodium, key); /* always 0 where it is available */
	a->context = libcrypto_new(key);
}

static void aes_wipe(void *state)
{
	struct aes *a = state;

	libcrypto_free(a->context);
	sodium_memzero(a, sizeof(*a));
}

static void aes_seal(const void *key, uint64_t number, const uint8_t *ad, size_t ad_size,
                     uint8_t *text, size_t size)
{
	const struct aes *a = key;
	uint8_t nonce[NONCE_SIZE];

	aes_nonce(nonce, number);
	if (a->context && size >= LIBCRYPTO_SIZE_MIN) {
		libcrypto_seal(a->context, nonce, ad, ad_size, text, size);
		return;
	}
	/* Fails only beyond 2^36 bytes. */
	(void)crypto_aead_aes256gcm_encrypt_detached_afternm(text, text + size, NULL, text, size,
	                                                     ad, ad_size, NULL, nonce, &a->sodium);
}

static bool aes_open(const void *key, uint64_t number, const uint8_t *ad, size_t ad_size,
                     uint8_t *text, size_t size)
{
	const struct aes *a = key;
	uint8_t nonce[NONCE_SIZE];
	const size_t plain_size = size - AEAD_TAG_SIZE;

	if (size < AEAD_TAG_SIZE)
		return false;
	aes_nonce(nonce, number);
	if (a->context && plain_size >= LIBCRYPTO_SIZE_MIN)
		return libcrypto_open(a->context, nonce, ad, ad_size, text, plain_size);
	return crypto_aead_aes256gcm_decrypt_detached_afternm(text, NULL, text, plain_size,
	                                                      text + plain_size, ad, ad_size, nonce,
	                                                      &a->sodium) == 0;
}

static const struct aead_ops chacha = {
	.name = "ChaChaPoly",
	.seal = chacha_seal,
	.open = chacha_open,
};

static const struct aead_ops aes = {
	.name = "AESGCM",
	.state_size = sizeof(struct aes),
	.expand = aes_expand,
	.wipe = aes_wipe,
	.seal = aes_seal,
	.open = aes_open,
};

const struct aead_ops *aead_ops(enum aead_kind kind)
{
	switch (kind) {
	case AEAD_CHACHA20_POLY1305:
		return &chacha;
	case AEAD_AES256_GCM:
		return &aes;
	}
	CV_UNREACHABLE();
}

uint8_t aead_available(void)
{
	/* libsodium looks at the CPU in its initialisation; later calls return at once. */
	if (sodium_init() < 0)
		return AEAD_BIT_CHACHA;
	(void)libcrypto_is_available(); /* loads it now, rather than with the first key */
	return crypto_aead_aes256gcm_is_available() ? AEAD_BIT_CHACHA | AEAD_BIT_AES
	                                            : AEAD_BIT_CHACHA;
}

enum aead_kind aead_choose(uint8_t ours, uint8_t theirs)
{
	return ours & theirs & AEAD_BIT_AES ? AEAD_AES256_GCM : AEAD_CHACHA20_POLY1305;
}

/* SPDX-License-Identifier: MIT */

/*
 * The library gets a context of its own, so that neither /etc/ssl/openssl.cnf nor another user of
 * libcrypto in this process decides which implementation is fetched. One cipher context serves both
 * directions: with GCM the expanded key is the same, and initialising with a nonce alone keeps it.
 */
#include "tunnel/libcrypto.h"

#ifdef CULVERT_LIBCRYPTO

#include <limits.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

static EVP_CIPHER *cipher; /* for the life of the process */
static bool was_asked;

bool libcrypto_is_available(void)
{
	OSSL_LIB_CTX *library;

	if (was_asked)
		return cipher != NULL;
	was_asked = true;
	if (OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG | OPENSSL_INIT_NO_ATEXIT, NULL) != 1)
		return false;
	library = OSSL_LIB_CTX_new();
	if (!library)
		return false;
	cipher = EVP_CIPHER_fetch(library, "AES-256-GCM", "provider=default");
	if (!cipher)
		OSSL_LIB_CTX_free(library);
	return cipher != NULL;
}

void *libcrypto_new(const uint8_t key[LIBCRYPTO_KEY_SIZE])
{
	EVP_CIPHER_CTX *ctx = libcrypto_is_available() ? EVP_CIPHER_CTX_new() : NULL;

	if (ctx && EVP_EncryptInit_ex2(ctx, cipher, key, NULL, NULL) != 1) {
		EVP_CIPHER_CTX_free(ctx);
		ctx = NULL;
	}
	return ctx;
}

void libcrypto_free(void *context)
{
	EVP_CIPHER_CTX_free(context); /* cleanses */
}

void libcrypto_seal(void *context, const uint8_t nonce[LIBCRYPTO_NONCE_SIZE], const uint8_t *ad,
                    size_t ad_size, uint8_t *text, size_t size)
{
	EVP_CIPHER_CTX *ctx = context;
	int done, r;

	CV_ASSERT(size <= INT_MAX && ad_size <= INT_MAX);
	r = EVP_EncryptInit_ex2(ctx, NULL, NULL, nonce, NULL);
	r &= EVP_EncryptUpdate(ctx, NULL, &done, ad, (int)ad_size);
	r &= EVP_EncryptUpdate(ctx, text, &done, text, (int)size);
	r &= EVP_EncryptFinal_ex(ctx, text + size, &done);
	r &= EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, LIBCRYPTO_TAG_SIZE, text + size);
	CV_ASSERT(r == 1); /* nothing in it depends on what a peer sends, or on memory */
}

bool libcrypto_open(void *context, const uint8_t nonce[LIBCRYPTO_NONCE_SIZE], const uint8_t *ad,
                    size_t ad_size, uint8_t *text, size_t size)
{
	EVP_CIPHER_CTX *ctx = context;
	int done, r;

	CV_ASSERT(size <= INT_MAX && ad_size <= INT_MAX);
	r = EVP_DecryptInit_ex2(ctx, NULL, NULL, nonce, NULL);
	r &= EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, LIBCRYPTO_TAG_SIZE, text + size);
	r &= EVP_DecryptUpdate(ctx, NULL, &done, ad, (int)ad_size);
	r &= EVP_DecryptUpdate(ctx, text, &done, text, (int)size);
	CV_ASSERT(r == 1);
	return EVP_DecryptFinal_ex(ctx, text + size, &done) == 1;
}

#else

bool libcrypto_is_available(void)
{
	return false;
}

void *libcrypto_new(const uint8_t key[LIBCRYPTO_KEY_SIZE])
{
	(void)key;
	return NULL;
}

void libcrypto_free(void *context)
{
	CV_ASSERT(!context);
}

void libcrypto_seal(void *context, const uint8_t nonce[LIBCRYPTO_NONCE_SIZE], const uint8_t *ad,
                    size_t ad_size, uint8_t *text, size_t size)
{
	(void)context, (void)nonce, (void)ad, (void)ad_size, (void)text, (void)size;
	CV_UNREACHABLE();
}

bool libcrypto_open(void *context, const uint8_t nonce[LIBCRYPTO_NONCE_SIZE], const uint8_t *ad,
                    size_t ad_size, uint8_t *text, size_t size)
{
	(void)context, (void)nonce, (void)ad, (void)ad_size, (void)text, (void)size;
	CV_UNREACHABLE();
}

#endif

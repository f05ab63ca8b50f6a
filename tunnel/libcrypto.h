/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * libcrypto - AES-256-GCM of OpenSSL's library, where the program was built with it: of packets of
 * some size nearly twice as fast as libsodium's on CPUs with wide vectors. The bytes are the same,
 * so it is no matter of the protocol: aead.c takes it for what it is faster at.
 *
 * Contexts are on its heap: one for a key, made when the key is expanded, nothing for a packet.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

enum { LIBCRYPTO_KEY_SIZE = 32, LIBCRYPTO_NONCE_SIZE = 12, LIBCRYPTO_TAG_SIZE = 16 };

/* True when it is built in and works. Loads the cipher at the first call: once, at start. Reads no
 * file, registers no handler. */
bool libcrypto_is_available(void);
/* A context of this key; NULL when it is not available or there is no memory. */
void *libcrypto_new(const uint8_t key[LIBCRYPTO_KEY_SIZE]);
/* Wipes and frees; NULL is nothing. */
void libcrypto_free(void *context);
/* As aead_ops. @context: of libcrypto_new(), not NULL. */
void libcrypto_seal(void *context, const uint8_t nonce[LIBCRYPTO_NONCE_SIZE], const uint8_t *ad,
                    size_t ad_size, uint8_t *text, size_t size);
/* @size: without the tag, which follows @text. */
CV_NODISCARD bool libcrypto_open(void *context, const uint8_t nonce[LIBCRYPTO_NONCE_SIZE],
                                 const uint8_t *ad, size_t ad_size, uint8_t *text, size_t size);

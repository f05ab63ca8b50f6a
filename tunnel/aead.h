/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * aead - the ciphers behind one small table, so that another can join later.
 * Nonce: 4 zero bytes and the 64-bit packet number, little-endian for
 * ChaCha20-Poly1305 and big-endian for AES-256-GCM, as Noise has them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

enum aead_kind {
	AEAD_CHACHA20_POLY1305 = 1, /* mandatory */
	AEAD_AES256_GCM = 2,        /* where both CPUs have the instructions */
};

enum {
	AEAD_KEY_SIZE = 32,
	AEAD_TAG_SIZE = 16,
	AEAD_STATE_SIZE = 528, /* largest expanded key of the table; 16-byte aligned */
	AEAD_BIT_CHACHA = 1 << AEAD_CHACHA20_POLY1305,
	AEAD_BIT_AES = 1 << AEAD_AES256_GCM,
};

struct aead_ops {
	const char *name;  /* goes into the key derivation */
	size_t state_size; /* 0: works on the raw key */
	void (*expand)(void *state, const uint8_t key[AEAD_KEY_SIZE]);
	void (*wipe)(void *state); /* of every state that was expanded, once */
	/* In place: @size bytes at @text, tag written behind them. @key: raw key or expanded state.
	 */
	void (*seal)(const void *key, uint64_t number, const uint8_t *ad, size_t ad_size,
	             uint8_t *text, size_t size);
	/* In place: @size includes the tag; false (text undefined) when the tag does not verify. */
	bool (*open)(const void *key, uint64_t number, const uint8_t *ad, size_t ad_size,
	             uint8_t *text, size_t size);
};

/* Never NULL for the kinds above. */
const struct aead_ops *aead_ops(enum aead_kind kind);
/* Bits of what this CPU and library have; an argument of the core, so a seed replays anywhere.
 * Initialises libsodium, without which even ChaCha20 is slow: the shell calls it once, before
 * anything is sealed. */
uint8_t aead_available(void);
/* The best kind both sides have; ChaCha20-Poly1305 if nothing else. */
enum aead_kind aead_choose(uint8_t ours, uint8_t theirs);

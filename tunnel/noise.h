/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * noise - the Noise Protocol Framework (revision 34) for two patterns and one
 * suite: Noise_IK_25519_ChaChaPoly_BLAKE2b and Noise_IKpsk2_....
 *
 *	IK:     <- s                        IKpsk2:  <- s
 *	        ...                                  ...
 *	        -> e, es, s, ss                      -> e, es, s, ss
 *	        <- e, ee, se                         <- e, ee, se, psk
 *
 * Knows the two messages and Split(); knows neither datagrams nor peers, and draws no randomness
 * but from the rng it is given. Both patterns are here so that the published vectors run against
 * the very code that culvert uses; culvert speaks IKpsk2 alone.
 *
 * A message that does not verify changes nothing, so that forging one costs its author a packet
 * and us the arithmetic. Reading the first message is cut in two: its first half costs one DH and
 * says which key claims to have sent it; only for a key that is wanted is the rest computed.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/rng.h"

enum {
	NOISE_DH_SIZE = 32,
	NOISE_HASH_SIZE = 64,
	NOISE_KEY_SIZE = 32,
	NOISE_TAG_SIZE = 16,
	/* e, encrypted s */
	NOISE_FIRST_HEAD = NOISE_DH_SIZE + NOISE_DH_SIZE + NOISE_TAG_SIZE,
	/* what a message adds to its payload */
	NOISE_FIRST_OVERHEAD = NOISE_FIRST_HEAD + NOISE_TAG_SIZE,
	NOISE_SECOND_OVERHEAD = NOISE_DH_SIZE + NOISE_TAG_SIZE,
};

enum noise_pattern { NOISE_IK, NOISE_IKPSK2 };

/* The only order in which the functions below may be called; anything else is our own mistake. */
enum noise_state {
	NOISE_WIPED,     /* zeroed or finished */
	NOISE_FIRST,     /* nothing sent or read yet */
	NOISE_HALF,      /* responder: the initiator's static key is known, not proven */
	NOISE_SECOND,    /* the first message is done */
	NOISE_SPLITTABLE /* both are done */
};

/* Touch the members only in noise.c. */
struct noise {
	enum noise_state state;
	enum noise_pattern pattern;
	bool is_initiator;
	uint64_t nonce;
	uint8_t hash[NOISE_HASH_SIZE];
	uint8_t chaining_key[NOISE_HASH_SIZE];
	uint8_t cipher_key[NOISE_KEY_SIZE];
	uint8_t ephemeral_sk[NOISE_DH_SIZE]; /* ours */
	uint8_t remote_ephemeral[NOISE_DH_SIZE];
	uint8_t remote_static[NOISE_DH_SIZE];
};

/* What outlives a handshake, lent for the length of a call. */
struct noise_static {
	const uint8_t *sk;
	const uint8_t *pk;
	const uint8_t *ss_secret; /* DH(our static, theirs) if it is known already, or NULL */
	const uint8_t *psk;       /* IKpsk2 only, where it is never NULL */
};

/* @responder_pk: of either side, whoever calls. */
void noise_init(struct noise *n, enum noise_pattern pattern, bool is_initiator,
                const uint8_t responder_pk[NOISE_DH_SIZE], const uint8_t *prologue,
                size_t prologue_size);

/**
 * noise_write_first() - the initiator's message
 * @payload: @size bytes; never at @out
 * @out:     NOISE_FIRST_OVERHEAD + @size bytes
 *
 * Return: false when the responder's key is a low-order point; @n and the message are then
 * unusable.
 */
CV_NODISCARD bool noise_write_first(struct noise *n, const struct noise_static *me,
                                    const struct rng *rng, const uint8_t *payload, size_t size,
                                    uint8_t *out);

/**
 * noise_read_first_key() - e, es, s: who claims to have sent this?
 * @message: at least NOISE_FIRST_HEAD bytes
 * @key:     the claimed static key of the initiator, proven by the next step only
 *
 * Return: false when it does not verify, @n unchanged. Costs one DH.
 */
CV_NODISCARD bool noise_read_first_key(struct noise *n, const struct noise_static *me,
                                       const uint8_t *message, uint8_t key[NOISE_DH_SIZE]);
/* ss and the payload: @size bytes of the same message, overhead included; writes @size less
 * NOISE_FIRST_OVERHEAD bytes. False when it does not verify: @n unchanged, @payload undefined. */
CV_NODISCARD bool noise_read_first_payload(struct noise *n, const struct noise_static *me,
                                           const uint8_t *message, size_t size, uint8_t *payload);

/* The responder's message: NOISE_SECOND_OVERHEAD + @size bytes at @out. False as for the first. */
CV_NODISCARD bool noise_write_second(struct noise *n, const struct noise_static *me,
                                     const struct rng *rng, const uint8_t *payload, size_t size,
                                     uint8_t *out);
/* Writes @size less NOISE_SECOND_OVERHEAD bytes. False when it does not verify: @n unchanged,
 * @payload undefined. */
CV_NODISCARD bool noise_read_second(struct noise *n, const struct noise_static *me,
                                    const uint8_t *message, size_t size, uint8_t *payload);

/* Split(): the key of packets to the responder, then of those to the initiator. Wipes @n. */
void noise_split(struct noise *n, uint8_t to_responder[NOISE_KEY_SIZE],
                 uint8_t to_initiator[NOISE_KEY_SIZE]);
/* Safe on a zeroed or finished one. */
void noise_wipe(struct noise *n);

/**
 * noise_hkdf() - HKDF() of Noise rev 34, 4.3, with two outputs of NOISE_HASH_SIZE bytes
 * @key:    chaining key or secret, @key_size <= 128
 * @input:  input key material or label; NULL when @input_size is 0
 * @first, @second: either may be where @key is; @second may be NULL (not wanted)
 */
void noise_hkdf(const uint8_t *key, size_t key_size, const uint8_t *input, size_t input_size,
                uint8_t first[NOISE_HASH_SIZE], uint8_t second[NOISE_HASH_SIZE]);

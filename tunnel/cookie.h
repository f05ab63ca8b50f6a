/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * cookie - proof that a source can receive, before any state is kept for it,
 * and mac1/mac2 of handshake messages. As WireGuard has them (paper, 5.3, 5.4.4, 5.4.7)
 * with keyed BLAKE2b-128 and XChaCha20-Poly1305.
 *
 *   mac1 key   = BLAKE2b-256("culvert mac1" || responder's public key)
 *   cookie key = BLAKE2b-256("culvert cookie" || responder's public key)
 *   cookie     = keyed BLAKE2b-128(secret of this responder, source), the secret changes every 120
 * s and the one before it is accepted 5 s more COOKIE     = nonce, XChaCha20-Poly1305(cookie key,
 * nonce, cookie, ad = mac1 of the INIT) mac2       = keyed BLAKE2b-128(cookie or epoch secret,
 * message up to mac2)
 *
 * A source is a path: the bytes that name it (address and port, or link and channel).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/rng.h"
#include "base/time.h"
#include "tunnel/wire.h"

enum { COOKIE_SIZE = 16, MAC_SIZE = 16, COOKIE_SOURCE_MAX = 32 };

/* Derived once from a public key. */
struct mac_keys {
	uint8_t mac1[32];
	uint8_t cookie[32];
};
void mac_keys_init(struct mac_keys *k, const uint8_t responder_pk[32]);

/* Fills mac1 over everything before it. @size: whole message incl. @macs (16: mac1 only, 32: both).
 */
void cookie_write_mac1(const struct mac_keys *k, uint8_t *message, size_t size, size_t macs);
bool cookie_check_mac1(const struct mac_keys *k, const uint8_t *message, size_t size, size_t macs);
/* mac2 is the last 16 bytes of an INIT; @key has @key_size 16 (cookie) or 32 (epoch secret) bytes.
 */
void cookie_write_mac2(const uint8_t *key, size_t key_size, uint8_t init[WIRE_INIT_SIZE]);
bool cookie_check_mac2(const uint8_t *key, size_t key_size, const uint8_t init[WIRE_INIT_SIZE]);

/* The responder's changing secret. */
struct cookie_jar {
	uint8_t secret[32], previous[32];
	cv_time changed_at; /* 0: never */
	bool has_previous;
};
/* Makes a new secret when the old one is 120 s old; call before use. */
void cookie_jar_turn(struct cookie_jar *j, cv_time now, const struct rng *rng);
/* Writes the COOKIE datagram that answers @init from @source. */
void cookie_write(struct cookie_jar *j, const struct mac_keys *me, const struct rng *rng,
                  const uint8_t *source, size_t source_size, const uint8_t init[WIRE_INIT_SIZE],
                  uint8_t out[WIRE_COOKIE_SIZE]);
/* True when @init carries a mac2 made with a cookie given to @source. */
bool cookie_check(const struct cookie_jar *j, cv_time now, const uint8_t *source,
                  size_t source_size, const uint8_t init[WIRE_INIT_SIZE]);
/* The initiator opens a COOKIE: @mac1 of the INIT it answers. False: forged. */
bool cookie_read(const struct mac_keys *peer, const uint8_t mac1[MAC_SIZE], const uint8_t *bytes,
                 size_t size, uint8_t out[COOKIE_SIZE]);
/* VERSION, MACed under the cookie key with the INIT's mac1 as associated data (protocol rule 1.3).
 */
void cookie_write_version(const struct mac_keys *me, const uint8_t init[WIRE_INIT_SIZE],
                          uint8_t out[WIRE_VERSION_SIZE]);
bool cookie_read_version(const struct mac_keys *peer, const uint8_t mac1[MAC_SIZE],
                         const uint8_t *bytes, size_t size, uint8_t *newest);

/* SPDX-License-Identifier: MIT */
#include "tunnel/cookie.h"

#include <sodium.h>
#include <string.h>

/*
 * WireGuard's economy: whoever does not know our public key gets silence for the price of one
 * hash (mac1); whoever cannot receive at the address it sends from gets no arithmetic (mac2); and
 * what proves that it can is kept by nobody but itself. Nothing is stored for a source: its cookie
 * is computed again from the secret of the day.
 */

enum {
	INIT_MAC1_AT = WIRE_INIT_SIZE - 2 * MAC_SIZE,
	INIT_MAC2_AT = WIRE_INIT_SIZE - MAC_SIZE,

	COOKIE_RECEIVER_AT = 4,
	COOKIE_NONCE_AT = 8,
	COOKIE_SEALED_AT = COOKIE_NONCE_AT + 24,

	VERSION_RECEIVER_AT = 4,
	VERSION_LIST_AT = 8,
	VERSION_LIST_MAX = 8,
	VERSION_MAC_AT = VERSION_LIST_AT + VERSION_LIST_MAX,
};

_Static_assert(COOKIE_SEALED_AT + COOKIE_SIZE + 16 == WIRE_COOKIE_SIZE, "layout and size agree");
_Static_assert(VERSION_MAC_AT + (int)MAC_SIZE == (int)WIRE_VERSION_SIZE, "layout and size agree");
_Static_assert(crypto_aead_xchacha20poly1305_ietf_NPUBBYTES == 24, "nonce of the layout");

/* As WireGuard (paper, 6.1): life of a cookie secret, and the grace after it. */
#define SECRET_LIFE CV_SEC(120)
#define SECRET_GRACE CV_SEC(5)

static void derive(uint8_t out[32], const char *label, const uint8_t pk[32])
{
	crypto_generichash_state state;

	/* Unkeyed and of legal size: cannot fail. */
	(void)crypto_generichash_init(&state, NULL, 0, 32);
	(void)crypto_generichash_update(&state, (const uint8_t *)label, strlen(label));
	(void)crypto_generichash_update(&state, pk, 32);
	(void)crypto_generichash_final(&state, out, 32);
}

void mac_keys_init(struct mac_keys *k, const uint8_t responder_pk[32])
{
	derive(k->mac1, "culvert mac1", responder_pk);
	derive(k->cookie, "culvert cookie", responder_pk);
}

static void mac(uint8_t out[MAC_SIZE], const uint8_t *key, size_t key_size, const uint8_t *bytes,
                size_t size)
{
	CV_ASSERT(key_size >= crypto_generichash_KEYBYTES_MIN);
	CV_ASSERT(key_size <= crypto_generichash_KEYBYTES_MAX);
	(void)crypto_generichash(out, MAC_SIZE, bytes, size, key,
	                         key_size); /* sizes checked above */
}

static bool mac_is(const uint8_t expected[MAC_SIZE], const uint8_t *key, size_t key_size,
                   const uint8_t *bytes, size_t size)
{
	uint8_t computed[MAC_SIZE];
	bool is_equal;

	mac(computed, key, key_size, bytes, size);
	is_equal = sodium_memcmp(computed, expected, MAC_SIZE) == 0;
	sodium_memzero(computed, sizeof(computed));
	return is_equal;
}

void cookie_write_mac1(const struct mac_keys *k, uint8_t *message, size_t size, size_t macs)
{
	CV_ASSERT(macs == MAC_SIZE || macs == 2 * (size_t)MAC_SIZE);
	CV_ASSERT(size > macs);
	mac(message + size - macs, k->mac1, sizeof(k->mac1), message, size - macs);
}

bool cookie_check_mac1(const struct mac_keys *k, const uint8_t *message, size_t size, size_t macs)
{
	CV_ASSERT(macs == MAC_SIZE || macs == 2 * (size_t)MAC_SIZE);
	CV_ASSERT(size > macs);
	return mac_is(message + size - macs, k->mac1, sizeof(k->mac1), message, size - macs);
}

void cookie_write_mac2(const uint8_t *key, size_t key_size, uint8_t init[WIRE_INIT_SIZE])
{
	CV_ASSERT(key_size == COOKIE_SIZE || key_size == 32);
	mac(init + INIT_MAC2_AT, key, key_size, init, INIT_MAC2_AT);
}

bool cookie_check_mac2(const uint8_t *key, size_t key_size, const uint8_t init[WIRE_INIT_SIZE])
{
	CV_ASSERT(key_size == COOKIE_SIZE || key_size == 32);
	return mac_is(init + INIT_MAC2_AT, key, key_size, init, INIT_MAC2_AT);
}

void cookie_jar_turn(struct cookie_jar *j, cv_time now, const struct rng *rng)
{
	if (j->changed_at != 0 && cv_time_since(now, j->changed_at) < SECRET_LIFE)
		return;
	/* A jar that was long left alone holds a secret whose grace is over, too. */
	j->has_previous = j->changed_at != 0 &&
	                  cv_time_since(now, j->changed_at) < SECRET_LIFE + SECRET_GRACE;
	memcpy(j->previous, j->secret, sizeof(j->previous));
	rng_fill(rng, j->secret, sizeof(j->secret));
	j->changed_at = CV_MAX(now, 1); /* 0 is "never", and a simulation begins there */
}

static void bake(uint8_t out[COOKIE_SIZE], const uint8_t secret[32], const uint8_t *source,
                 size_t source_size)
{
	CV_ASSERT(source_size > 0 && source_size <= COOKIE_SOURCE_MAX);
	mac(out, secret, 32, source, source_size);
}

/* COOKIE:  0x60  0:24  receiver:32  nonce:192  cookie:128  tag:128 */
void cookie_write(struct cookie_jar *j, const struct mac_keys *me, const struct rng *rng,
                  const uint8_t *source, size_t source_size, const uint8_t init[WIRE_INIT_SIZE],
                  uint8_t out[WIRE_COOKIE_SIZE])
{
	uint8_t cookie[COOKIE_SIZE];

	CV_ASSERT(j->changed_at != 0);
	bake(cookie, j->secret, source, source_size);
	memset(out, 0, COOKIE_NONCE_AT);
	out[0] = WIRE_COOKIE;
	memcpy(out + COOKIE_RECEIVER_AT, init + 4, 4); /* the sender's index of the INIT */
	rng_fill(rng, out + COOKIE_NONCE_AT, 24);
	(void)crypto_aead_xchacha20poly1305_ietf_encrypt(
		out + COOKIE_SEALED_AT, NULL, cookie, sizeof(cookie), init + INIT_MAC1_AT, MAC_SIZE,
		NULL, out + COOKIE_NONCE_AT, me->cookie); /* always 0 */
	sodium_memzero(cookie, sizeof(cookie));
}

static bool check_under(const uint8_t secret[32], const uint8_t *source, size_t source_size,
                        const uint8_t init[WIRE_INIT_SIZE])
{
	uint8_t cookie[COOKIE_SIZE];
	bool is_good;

	bake(cookie, secret, source, source_size);
	is_good = cookie_check_mac2(cookie, sizeof(cookie), init);
	sodium_memzero(cookie, sizeof(cookie));
	return is_good;
}

bool cookie_check(const struct cookie_jar *j, cv_time now, const uint8_t *source,
                  size_t source_size, const uint8_t init[WIRE_INIT_SIZE])
{
	const cv_duration age = cv_time_since(now, j->changed_at);

	/* A jar that was not turned in time must not keep its cookies alive by that. */
	if (j->changed_at == 0 || age >= SECRET_LIFE + SECRET_GRACE)
		return false;
	if (check_under(j->secret, source, source_size, init))
		return true;
	return j->has_previous && age < SECRET_GRACE &&
	       check_under(j->previous, source, source_size, init);
}

bool cookie_read(const struct mac_keys *peer, const uint8_t mac1[MAC_SIZE], const uint8_t *bytes,
                 size_t size, uint8_t out[COOKIE_SIZE])
{
	uint8_t cookie[COOKIE_SIZE];
	bool is_good;

	if (size != WIRE_COOKIE_SIZE || (bytes[0] & WIRE_KIND_MASK) != WIRE_COOKIE)
		return false;
	/* Into a local: libsodium zeroes its output when the tag is wrong. */
	is_good = crypto_aead_xchacha20poly1305_ietf_decrypt(
			  cookie, NULL, NULL, bytes + COOKIE_SEALED_AT, COOKIE_SIZE + 16, mac1,
			  MAC_SIZE, bytes + COOKIE_NONCE_AT, peer->cookie) == 0;
	if (is_good)
		memcpy(out, cookie, COOKIE_SIZE);
	sodium_memzero(cookie, sizeof(cookie));
	return is_good;
}

/* The MAC covers the datagram before it and the mac1 that it answers. */
static void version_mac(uint8_t out[MAC_SIZE], const struct mac_keys *k, const uint8_t *bytes,
                        const uint8_t mac1[MAC_SIZE])
{
	uint8_t text[VERSION_MAC_AT + MAC_SIZE];

	memcpy(text, bytes, VERSION_MAC_AT);
	memcpy(text + VERSION_MAC_AT, mac1, MAC_SIZE);
	mac(out, k->cookie, sizeof(k->cookie), text, sizeof(text));
}

/* VERSION:  0x70  count:8  0:16  receiver:32  versions:64  mac:128 */
void cookie_write_version(const struct mac_keys *me, const uint8_t init[WIRE_INIT_SIZE],
                          uint8_t out[WIRE_VERSION_SIZE])
{
	memset(out, 0, WIRE_VERSION_SIZE);
	out[0] = WIRE_VERSION;
	out[1] = 1;
	memcpy(out + VERSION_RECEIVER_AT, init + 4, 4);
	out[VERSION_LIST_AT] = WIRE_VERSION_1;
	version_mac(out + VERSION_MAC_AT, me, out, init + INIT_MAC1_AT);
}

bool cookie_read_version(const struct mac_keys *peer, const uint8_t mac1[MAC_SIZE],
                         const uint8_t *bytes, size_t size, uint8_t *newest)
{
	uint8_t computed[MAC_SIZE];
	uint8_t best = 0;

	if (size != WIRE_VERSION_SIZE || (bytes[0] & WIRE_KIND_MASK) != WIRE_VERSION)
		return false;
	if (bytes[1] == 0 || bytes[1] > VERSION_LIST_MAX)
		return false;
	version_mac(computed, peer, bytes, mac1);
	if (sodium_memcmp(computed, bytes + VERSION_MAC_AT, MAC_SIZE) != 0)
		return false;
	for (unsigned i = 0; i < bytes[1]; i++)
		best = CV_MAX(best, bytes[VERSION_LIST_AT + i]);
	*newest = best;
	return true;
}

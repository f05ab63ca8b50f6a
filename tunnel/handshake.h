/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * handshake - INIT and RESP: Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b in culvert's
 * datagrams. Makes and reads messages; keeps no timers, decides nothing about
 * sessions (assoc does).
 *
 * Prologue: "culvert" || version || role || the clear header of INIT (all of its bytes).
 * PSK: all zero where none is set.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/rng.h"
#include "tunnel/cookie.h"
#include "tunnel/keys.h"
#include "tunnel/noise.h"
#include "tunnel/wire.h"

enum handshake_role { HANDSHAKE_PEER = 1, HANDSHAKE_SERVER = 2 };

enum { INCARNATION_SIZE = 16 };

/* Our long-term key; allocated by the shell (guarded memory), lent to the core. */
struct identity {
	const uint8_t *sk; /* 32 bytes, borrowed */
	uint8_t pk[32];
	struct mac_keys macs; /* of pk */
};
void identity_init(struct identity *me, const uint8_t *sk);

/* What is known of the other side before a packet; computed when it is configured. */
struct remote {
	uint8_t pk[32];
	uint8_t psk[32];      /* zero: none */
	uint8_t ss[32];       /* DH(our static, their static) */
	struct mac_keys macs; /* of pk */
};
/* 0 or -EINVAL when @pk is a low-order point (or our own key). @psk may be NULL. */
CV_NODISCARD int remote_init(struct remote *r, const struct identity *me, const uint8_t pk[32],
                             const uint8_t *psk);
void remote_wipe(struct remote *r);

enum path_policy { POLICY_AUTO = 0, POLICY_DIRECT = 1, POLICY_RELAY = 2 };

/* Sealed payload of INIT and RESP. */
struct handshake_payload {
	uint8_t aead_bits; /* INIT: what the initiator has; RESP: exactly one bit, the choice */
	uint8_t policy;    /* enum path_policy */
	uint8_t incarnation[INCARNATION_SIZE]; /* of the object of whoever sends it */
};

enum handshake_verdict {
	HANDSHAKE_OK,
	HANDSHAKE_MALFORMED,
	HANDSHAKE_BAD_VERSION, /* mac1 is right, the version is not ours */
	HANDSHAKE_BAD_MAC,
	HANDSHAKE_FORGED,
};

/* Initiator, between INIT and RESP. Wipe with handshake_wipe(). */
struct handshake {
	struct noise noise;
	struct wire_handshake head;
	uint8_t mac1[MAC_SIZE]; /* of the INIT, to open a COOKIE */
	uint8_t aead_bits;      /* offered: the choice must be one of them */
	bool is_live;
};

/* Writes INIT with mac1 and an all-zero mac2. */
void handshake_write_init(struct handshake *hs, const struct identity *me,
                          const struct remote *peer, enum handshake_role role,
                          const struct rng *rng, const struct wire_handshake *head,
                          const struct handshake_payload *payload, uint8_t out[WIRE_INIT_SIZE]);
/* On HANDSHAKE_OK: payload, the responder's index and the secrets; hs is then wiped. Else
 * unchanged. */
enum handshake_verdict handshake_read_resp(struct handshake *hs, const struct identity *me,
                                           const struct remote *peer, const uint8_t *bytes,
                                           size_t size, struct handshake_payload *payload,
                                           uint32_t *responder_index,
                                           struct handshake_secrets *secrets);
void handshake_wipe(struct handshake *hs);

/* Responder, one INIT at a time, on the stack: whoever began to read must wipe it, whatever came of
 * it. */
struct handshake_in {
	struct noise noise;
	struct wire_handshake head;
	uint8_t peer_pk[32];
	struct handshake_payload payload;
};

/* Size, kind and mac1, then the version: no secret but a hash is touched. @head is filled on
 * HANDSHAKE_OK and HANDSHAKE_BAD_VERSION. */
enum handshake_verdict handshake_check_init(const struct identity *me, const uint8_t *bytes,
                                            size_t size, struct wire_handshake *head);
/* One DH: who claims to send this? Fills in->peer_pk, not yet proven. @bytes have passed
 * handshake_check_init(). */
enum handshake_verdict handshake_read_init_key(struct handshake_in *in, const struct identity *me,
                                               enum handshake_role role, const uint8_t *bytes);
/* With the remote found by peer_pk (its ss): the payload, which proves the key. Unless
 * HANDSHAKE_OK, @in is unchanged, so that another psk can be tried. */
enum handshake_verdict handshake_read_init_payload(struct handshake_in *in,
                                                   const struct remote *peer, const uint8_t *bytes);
/* The other DHs; RESP and the secrets. Of @in only the noise is wiped: who it was can still be
 * read. */
void handshake_write_resp(struct handshake_in *in, const struct identity *me,
                          const struct remote *peer, const struct rng *rng, uint32_t local_index,
                          const struct handshake_payload *payload, uint8_t out[WIRE_RESP_SIZE],
                          struct handshake_secrets *secrets);
void handshake_in_wipe(struct handshake_in *in);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * keys - one epoch: the keys that one handshake made, its two indices, its age
 * and its limits. Knows sealing and opening of DATA and PROBE; knows neither
 * handshakes nor which epoch to use (assoc does).
 *
 * Split() of Noise gives one secret for each direction. Every key is
 * HKDF-BLAKE2b(secret, label): "culvert data " + AEAD name, "culvert probe"; the mac2 secret
 * comes from both, "culvert mac2" (protocol rule 4.5).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/time.h"
#include "tunnel/aead.h"
#include "tunnel/replay.h"
#include "tunnel/wire.h"

/* A power of two of words, of which one is always being recycled: a window of 1,024 would take
 * twice the memory, and a server keeps two of these for each agent. */
enum { EPOCH_PROBE_WORDS = 16, EPOCH_PROBE_WINDOW = (EPOCH_PROBE_WORDS - 1) * 64 };

/* Output of a finished handshake; wiped by whoever holds it. */
struct handshake_secrets {
	uint8_t to_responder[32]; /* Split(): first key */
	uint8_t to_initiator[32];
};

/* Limits by kind of session; constants EPOCH_LIMITS_AGENT and EPOCH_LIMITS_SERVER. */
struct epoch_limits {
	cv_duration rekey_after; /* the side with the smaller key; the other waits rekey_later */
	cv_duration rekey_later;
	cv_duration reject_after;
	uint64_t rekey_packets;
	uint64_t reject_packets;
};
extern const struct epoch_limits EPOCH_LIMITS_AGENT;  /* 120 / 150 / 180 s, 2^27 / 2^28 packets */
extern const struct epoch_limits EPOCH_LIMITS_SERVER; /* 3600 / 3700 / 7200 s, the same packets */

struct epoch {
	uint32_t local_index; /* 0: this slot is empty */
	uint32_t remote_index;
	uint8_t aead;      /* enum aead_kind of data */
	bool is_initiator; /* we began this handshake */
	bool has_heard;    /* something opened under it */
	cv_time made_at;
	uint64_t sealed; /* packets under the data key; one larger than 2 KiB counts as several */
	uint64_t opened;
	uint64_t forged;     /* failed opens */
	uint64_t probe_next; /* counter of probes sent */
	struct replay probe_window;
	uint64_t probe_words[EPOCH_PROBE_WORDS];
	uint8_t send_key[AEAD_KEY_SIZE], recv_key[AEAD_KEY_SIZE];
	uint8_t send_probe_key[AEAD_KEY_SIZE], recv_probe_key[AEAD_KEY_SIZE];
	uint8_t mac2_secret[32];
	/* Expanded keys, or NULL: AEAD_STATE_SIZE bytes each, 16-byte aligned, borrowed. */
	void *send_state, *recv_state;
};

/**
 * epoch_init() - derive every key
 * @states: 2 * AEAD_STATE_SIZE bytes, 16-byte aligned, borrowed until epoch_wipe(); NULL for a
 * light session (then @aead must be AEAD_CHACHA20_POLY1305)
 */
void epoch_init(struct epoch *e, const struct handshake_secrets *secrets, bool is_initiator,
                enum aead_kind aead, uint32_t local_index, uint32_t remote_index, cv_time now,
                void *states);
/* Zeroes what data and probes need: nothing is sealed or opened any more. */
void epoch_wipe_data(struct epoch *e);
/* Zeroes every key and the slot. Also an empty one. */
void epoch_wipe(struct epoch *e);

/**
 * epoch_seal_data() - seal one packet in place
 * @packet: WIRE_DATA_HEADER bytes of room, then @plain_size bytes of frames, then room for the tag
 * @number: never sealed before under any epoch of this object
 * Return: size of the packet. The caller has checked epoch_can_seal().
 */
size_t epoch_seal_data(struct epoch *e, uint8_t flags, uint64_t number, uint8_t *packet,
                       size_t plain_size);
/* Opens in place; the frames begin at packet + WIRE_DATA_HEADER. False: forged; nothing but
 * counters changed. */
bool epoch_open_data(struct epoch *e, uint64_t number, uint8_t *packet, size_t size,
                     size_t *plain_size);
/* As above for PROBE; always ChaCha20-Poly1305, numbers from the epoch's own counter. */
size_t epoch_seal_probe(struct epoch *e, uint8_t *packet, size_t plain_size);
/* Also refuses a replayed probe. */
bool epoch_open_probe(struct epoch *e, uint8_t *packet, size_t size, size_t *plain_size);

bool epoch_can_seal(const struct epoch *e, cv_time now, const struct epoch_limits *l);
bool epoch_can_open(const struct epoch *e, cv_time now, const struct epoch_limits *l);
/* When a new handshake is due by age, @jitter later; already past when by packets or forgeries. */
cv_time epoch_rekey_at(const struct epoch *e, const struct epoch_limits *l, bool has_smaller_key,
                       cv_duration jitter);

/* SPDX-License-Identifier: MIT */
#include "tunnel/keys.h"

#include <sodium.h>
#include <string.h>

#include "base/wr.h"
#include "tunnel/noise.h"

/*
 * Split() stays as in the published vectors; its two outputs are nothing but inputs of HKDF, with
 * a label for each use. So no key is used by two ciphers, in two directions or for two kinds of
 * packet, whatever the ends negotiate, and a probe's counter may start at 0 beside the data's.
 */

#define REKEY_PACKETS (UINT64_C(1) << 27)  /* half of the limit */
#define REJECT_PACKETS (UINT64_C(1) << 28) /* AES-GCM, 2 KiB each: RFC 9001, B.1.1 */

/* Forgeries that failed under one key: ChaCha20-Poly1305's integrity limit (RFC 9001, 6.6) is the
 * lower of the two ciphers'; new keys are asked for long before. */
#define REKEY_FORGED (UINT64_C(1) << 30)
#define REJECT_FORGED (UINT64_C(1) << 36)

/* The packet limits hold for packets of this size; a larger one counts as several. */
enum { PACKET_UNIT_SHIFT = 11 };

const struct epoch_limits EPOCH_LIMITS_AGENT = {
	.rekey_after = CV_SEC(120),
	.rekey_later = CV_SEC(150),
	.reject_after = CV_SEC(180),
	.rekey_packets = REKEY_PACKETS,
	.reject_packets = REJECT_PACKETS,
};

/* Rekeying 100,000 agents every two minutes would cost a fifth of a core in X25519 alone. */
const struct epoch_limits EPOCH_LIMITS_SERVER = {
	.rekey_after = CV_SEC(3600),
	.rekey_later = CV_SEC(3700),
	.reject_after = CV_SEC(7200),
	.rekey_packets = REKEY_PACKETS,
	.reject_packets = REJECT_PACKETS,
};

static void derive(uint8_t key[AEAD_KEY_SIZE], const uint8_t *secret, size_t secret_size,
                   const char *label, const char *name)
{
	uint8_t out_key[NOISE_HASH_SIZE];
	uint8_t text[40];
	struct wr w = wr_init(text, sizeof(text));

	wr_copy(&w, label, strlen(label));
	wr_copy(&w, name, strlen(name));
	CV_ASSERT(!w.bad);
	noise_hkdf(secret, secret_size, text, wr_size(&w), out_key, NULL);
	memcpy(key, out_key, AEAD_KEY_SIZE);
	sodium_memzero(out_key, sizeof(out_key));
}

void epoch_init(struct epoch *e, const struct handshake_secrets *secrets, bool is_initiator,
                enum aead_kind aead, uint32_t local_index, uint32_t remote_index, cv_time now,
                void *states)
{
	const struct aead_ops *ops = aead_ops(aead);
	const uint8_t *send_secret = is_initiator ? secrets->to_responder : secrets->to_initiator;
	const uint8_t *recv_secret = is_initiator ? secrets->to_initiator : secrets->to_responder;
	uint8_t both_secret[2 * 32];

	CV_ASSERT(local_index != 0);
	CV_ASSERT(states || ops->state_size == 0);
	*e = (struct epoch){
		.local_index = local_index,
		.remote_index = remote_index,
		.aead = (uint8_t)aead,
		.is_initiator = is_initiator,
		.made_at = now,
	};
	replay_init(&e->probe_window, e->probe_words, EPOCH_PROBE_WORDS, EPOCH_PROBE_WINDOW);

	derive(e->send_key, send_secret, 32, "culvert data ", ops->name);
	derive(e->recv_key, recv_secret, 32, "culvert data ", ops->name);
	derive(e->send_probe_key, send_secret, 32, "culvert probe", "");
	derive(e->recv_probe_key, recv_secret, 32, "culvert probe", "");
	memcpy(both_secret, secrets->to_responder, 32);
	memcpy(both_secret + 32, secrets->to_initiator, 32);
	derive(e->mac2_secret, both_secret, sizeof(both_secret), "culvert mac2", "");
	sodium_memzero(both_secret, sizeof(both_secret));

	if (ops->state_size > 0) {
		e->send_state = states;
		e->recv_state = (uint8_t *)states + AEAD_STATE_SIZE;
		ops->expand(e->send_state, e->send_key);
		ops->expand(e->recv_state, e->recv_key);
	}
}

void epoch_wipe_data(struct epoch *e)
{
	sodium_memzero(e->send_key, sizeof(e->send_key));
	sodium_memzero(e->recv_key, sizeof(e->recv_key));
	sodium_memzero(e->send_probe_key, sizeof(e->send_probe_key));
	sodium_memzero(e->recv_probe_key, sizeof(e->recv_probe_key));
	if (e->send_state)
		aead_ops((enum aead_kind)e->aead)->wipe(e->send_state);
	if (e->recv_state)
		aead_ops((enum aead_kind)e->aead)->wipe(e->recv_state);
	e->send_state = e->recv_state = NULL;
}

void epoch_wipe(struct epoch *e)
{
	epoch_wipe_data(e);
	sodium_memzero(e, sizeof(*e));
}

/* What this packet counts towards the packet limits. */
static uint64_t packet_units(size_t plain_size)
{
	return 1 + (plain_size >> PACKET_UNIT_SHIFT);
}

size_t epoch_seal_data(struct epoch *e, uint8_t flags, uint64_t number, uint8_t *packet,
                       size_t plain_size)
{
	const struct wire_data head = {
		.flags = flags,
		.receiver = e->remote_index,
		.number = number,
	};

	CV_ASSERT(e->local_index != 0);
	wire_write_data(packet, WIRE_DATA, &head);
	aead_ops((enum aead_kind)e->aead)
		->seal(e->send_state ? e->send_state : e->send_key, number, packet,
	               WIRE_DATA_HEADER, packet + WIRE_DATA_HEADER, plain_size);
	e->sealed += packet_units(plain_size);
	return plain_size + WIRE_DATA_OVERHEAD;
}

bool epoch_open_data(struct epoch *e, uint64_t number, uint8_t *packet, size_t size,
                     size_t *plain_size)
{
	CV_ASSERT(e->local_index != 0);
	CV_ASSERT(size >= WIRE_DATA_OVERHEAD);
	if (!aead_ops((enum aead_kind)e->aead)
	             ->open(e->recv_state ? e->recv_state : e->recv_key, number, packet,
	                    WIRE_DATA_HEADER, packet + WIRE_DATA_HEADER, size - WIRE_DATA_HEADER)) {
		e->forged++;
		return false;
	}
	e->opened++;
	e->has_heard = true;
	*plain_size = size - WIRE_DATA_OVERHEAD;
	return true;
}

size_t epoch_seal_probe(struct epoch *e, uint8_t *packet, size_t plain_size)
{
	const struct wire_data head = {
		.receiver = e->remote_index,
		.number = e->probe_next,
	};

	CV_ASSERT(e->local_index != 0);
	wire_write_data(packet, WIRE_PROBE, &head);
	aead_ops(AEAD_CHACHA20_POLY1305)
		->seal(e->send_probe_key, head.number, packet, WIRE_DATA_HEADER,
	               packet + WIRE_DATA_HEADER, plain_size);
	e->probe_next++;
	return plain_size + WIRE_DATA_OVERHEAD;
}

bool epoch_open_probe(struct epoch *e, uint8_t *packet, size_t size, size_t *plain_size)
{
	enum replay_verdict verdict;
	struct wire_data head;

	CV_ASSERT(e->local_index != 0);
	if (!wire_read_data(packet, size, &head))
		return false;
	if (replay_check(&e->probe_window, head.number) != REPLAY_FRESH)
		return false;
	if (!aead_ops(AEAD_CHACHA20_POLY1305)
	             ->open(e->recv_probe_key, head.number, packet, WIRE_DATA_HEADER,
	                    packet + WIRE_DATA_HEADER, size - WIRE_DATA_HEADER)) {
		e->forged++;
		return false;
	}
	verdict = replay_accept(&e->probe_window, head.number);
	CV_ASSERT(verdict == REPLAY_FRESH); /* as it was a moment ago */
	e->has_heard = true;
	*plain_size = size - WIRE_DATA_OVERHEAD;
	return true;
}

bool epoch_can_seal(const struct epoch *e, cv_time now, const struct epoch_limits *l)
{
	return e->local_index != 0 && cv_time_since(now, e->made_at) < l->reject_after &&
	       e->sealed < l->reject_packets;
}

bool epoch_can_open(const struct epoch *e, cv_time now, const struct epoch_limits *l)
{
	return e->local_index != 0 && cv_time_since(now, e->made_at) < l->reject_after &&
	       e->forged < REJECT_FORGED;
}

cv_time epoch_rekey_at(const struct epoch *e, const struct epoch_limits *l, bool has_smaller_key,
                       cv_duration jitter)
{
	const cv_duration age = has_smaller_key ? l->rekey_after : l->rekey_later;

	if (e->sealed >= l->rekey_packets || e->forged >= REKEY_FORGED)
		return e->made_at;
	return cv_time_after(cv_time_after(e->made_at, age), jitter);
}

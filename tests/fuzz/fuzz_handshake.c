/* SPDX-License-Identifier: MIT */

/*
 * Two ends with fixed keys, between INIT and RESP; the input is what arrives. The first byte is
 * the mode: who reads (bits 0-1), with a psk or without (bit 2), whether mac1 is made right first
 * (bit 3: a fuzzer cannot guess it, but whoever knows a public key can), and whether the rest is
 * the datagram itself or triples of (place, place, difference) that change the right one (bit 4).
 *
 * Oracles: only the very message that was made is accepted; whoever refuses one has not changed,
 * and has allocated nothing; no answer is longer than what it answers.
 */
#include <sodium.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "tunnel/aead.h"
#include "tunnel/handshake.h"

enum {
	MODE_READER = 0x03,
	MODE_PSK = 0x04,
	MODE_FIX_MAC = 0x08,
	MODE_PATCH = 0x10,

	INIT_MACS = 2 * MAC_SIZE,
	INIT_MAC1_AT = WIRE_INIT_SIZE - INIT_MACS,
};

static const uint8_t source[] = { 4, 0x1f, 0x90, 192, 0, 2, 1 };

struct scene {
	struct rng_seeded seeded;
	uint8_t a_sk[32], b_sk[32];
	struct identity a, b;
	struct remote b_at_a, a_at_b;
	struct handshake hs;
	struct cookie_jar jar;
	uint8_t init[WIRE_INIT_SIZE], resp[WIRE_RESP_SIZE];
	uint8_t cookie[WIRE_COOKIE_SIZE], version[WIRE_VERSION_SIZE];
};

static void make_scene(struct scene *s, const uint8_t *psk)
{
	const struct wire_handshake head = { .version = WIRE_VERSION_1, .sender = 1, .number = 2 };
	const struct handshake_payload ours = { .aead_bits = AEAD_BIT_CHACHA | AEAD_BIT_AES };
	const struct handshake_payload theirs = { .aead_bits = AEAD_BIT_AES };
	struct handshake_secrets secrets;
	struct handshake_in in;
	struct rng rng;
	bool is_good;

	rng_seeded_init(&s->seeded, 1);
	rng = rng_from_seeded(&s->seeded);
	rng_fill(&rng, s->a_sk, 32);
	rng_fill(&rng, s->b_sk, 32);
	identity_init(&s->a, s->a_sk);
	identity_init(&s->b, s->b_sk);
	is_good = remote_init(&s->b_at_a, &s->a, s->b.pk, psk) == 0 &&
	          remote_init(&s->a_at_b, &s->b, s->a.pk, psk) == 0;
	CV_ASSERT(is_good);

	handshake_write_init(&s->hs, &s->a, &s->b_at_a, HANDSHAKE_PEER, &rng, &head, &ours,
	                     s->init);
	is_good = handshake_read_init_key(&in, &s->b, HANDSHAKE_PEER, s->init) == HANDSHAKE_OK &&
	          handshake_read_init_payload(&in, &s->a_at_b, s->init) == HANDSHAKE_OK;
	CV_ASSERT(is_good);
	handshake_write_resp(&in, &s->b, &s->a_at_b, &rng, 3, &theirs, s->resp, &secrets);
	handshake_in_wipe(&in);

	cookie_jar_turn(&s->jar, 1, &rng);
	cookie_write(&s->jar, &s->b.macs, &rng, source, sizeof(source), s->init, s->cookie);
	cookie_write_version(&s->b.macs, s->init, s->version);
}

static void responder_reads(struct scene *s, uint8_t *bytes, size_t size)
{
	const struct rng rng = rng_from_seeded(&s->seeded);
	struct wire_handshake head;
	struct handshake_in in, before;
	uint8_t reply[WIRE_COOKIE_SIZE];
	enum handshake_verdict verdict = handshake_check_init(&s->b, bytes, size, &head);

	if (verdict == HANDSHAKE_OK || verdict == HANDSHAKE_BAD_VERSION) {
		CV_ASSERT(sizeof(reply) <= size && WIRE_VERSION_SIZE <= size);
		cookie_write(&s->jar, &s->b.macs, &rng, source, sizeof(source), bytes, reply);
		CV_ASSERT(memcmp(reply + 4, bytes + 4, 4) == 0);
		CV_ASSERT(!cookie_check(&s->jar, 1, source, sizeof(source), bytes));
	}
	if (verdict != HANDSHAKE_OK)
		return;
	if (handshake_read_init_key(&in, &s->b, HANDSHAKE_PEER, bytes) != HANDSHAKE_OK)
		return;
	if (memcmp(in.peer_pk, s->a.pk, 32) != 0)
		return;
	before = in;
	if (handshake_read_init_payload(&in, &s->a_at_b, bytes) == HANDSHAKE_OK)
		CV_ASSERT(memcmp(bytes, s->init, WIRE_INIT_SIZE - MAC_SIZE) == 0);
	else
		CV_ASSERT(memcmp(&in, &before, sizeof(in)) == 0);
	handshake_in_wipe(&in);
}

static void initiator_reads(const struct scene *s, const uint8_t *bytes, size_t size)
{
	struct handshake hs = s->hs;
	struct handshake_payload payload;
	struct handshake_secrets secrets;
	uint32_t index;

	if (handshake_read_resp(&hs, &s->a, &s->b_at_a, bytes, size, &payload, &index, &secrets) ==
	    HANDSHAKE_OK) {
		CV_ASSERT(size == WIRE_RESP_SIZE && memcmp(bytes, s->resp, size) == 0);
		CV_ASSERT(index == 3 && payload.aead_bits == AEAD_BIT_AES);
		CV_ASSERT(sodium_is_zero((const uint8_t *)&hs, sizeof(hs)));
	} else {
		CV_ASSERT(memcmp(&hs, &s->hs, sizeof(hs)) == 0);
	}
}

/* The answers that come before any session. The first eight bytes of a COOKIE are clear. */
static void initiator_reads_refusal(const struct scene *s, const uint8_t *bytes, size_t size)
{
	const uint8_t *mac1 = s->init + INIT_MAC1_AT;
	uint8_t cookie[COOKIE_SIZE], newest;

	if (cookie_read(&s->b.macs, mac1, bytes, size, cookie)) {
		CV_ASSERT(size == WIRE_COOKIE_SIZE);
		CV_ASSERT(memcmp(bytes + 8, s->cookie + 8, size - 8) == 0);
	}
	if (cookie_read_version(&s->b.macs, mac1, bytes, size, &newest))
		CV_ASSERT(size == WIRE_VERSION_SIZE && memcmp(bytes, s->version, size) == 0);
}

/* @size: of the right message before, of the datagram after. */
static void make_datagram(uint8_t mode, const uint8_t *data, size_t data_size, uint8_t *bytes,
                          size_t *size)
{
	if (!(mode & MODE_PATCH)) {
		*size = CV_MIN(data_size, WIRE_INIT_SIZE);
		memcpy(bytes, data, *size);
		return;
	}
	for (size_t i = 0; i + 3 <= data_size; i += 3)
		bytes[(size_t)(data[i] << 8 | data[i + 1]) % *size] ^= data[i + 2];
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t psk[32] = { 7 };
	static struct scene scenes[2];
	const uint64_t calls = cv_alloc_calls();
	uint8_t bytes[WIRE_INIT_SIZE] = { 0 };
	size_t bytes_size;
	struct scene *s;
	uint8_t mode;

	if (!scenes[0].hs.is_live) {
		make_scene(&scenes[0], NULL);
		make_scene(&scenes[1], psk);
	}
	if (size == 0)
		return 0;
	mode = data[0];
	s = &scenes[mode & MODE_PSK ? 1 : 0];
	{
		const uint8_t *golden[] = { s->init, s->resp, s->cookie, s->version };
		const size_t sizes[] = { WIRE_INIT_SIZE, WIRE_RESP_SIZE, WIRE_COOKIE_SIZE,
			                 WIRE_VERSION_SIZE };

		bytes_size = sizes[mode & MODE_READER];
		memcpy(bytes, golden[mode & MODE_READER], bytes_size);
	}
	make_datagram(mode, data + 1, size - 1, bytes, &bytes_size);

	if ((mode & MODE_READER) == 0) {
		if (mode & MODE_FIX_MAC && bytes_size == WIRE_INIT_SIZE)
			cookie_write_mac1(&s->b.macs, bytes, bytes_size, INIT_MACS);
		responder_reads(s, bytes, bytes_size);
	} else if ((mode & MODE_READER) == 1) {
		if (mode & MODE_FIX_MAC && bytes_size == WIRE_RESP_SIZE)
			cookie_write_mac1(&s->a.macs, bytes, bytes_size, MAC_SIZE);
		initiator_reads(s, bytes, bytes_size);
	} else {
		initiator_reads_refusal(s, bytes, bytes_size);
	}
	CV_ASSERT(cv_alloc_calls() == calls);
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

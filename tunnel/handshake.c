/* SPDX-License-Identifier: MIT */
#include "tunnel/handshake.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "tunnel/aead.h"

/*
 *   INIT   header:160  e:256  {static key}:384  {payload}:896  mac1:128  mac2:128
 *   RESP   header:160  e:256  {payload}:512  mac1:128
 *
 *   payload   aead bits:8  policy:8  0:16  incarnation:128  [ RESP: index:32 ]  zero...
 *
 * Every bit that a receiver acts on is authenticated: INIT's header stands in the prologue. RESP's
 * is not part of a Noise message; but all of it is known beforehand to the initiator except the
 * responder's index, which is therefore repeated inside the payload. Without that, whoever sits
 * between could aim a finished handshake at nobody.
 *
 * mac1 is keyed by the public key of whoever receives the message.
 */

enum {
	NOISE_AT = WIRE_HANDSHAKE_HEADER,
	INIT_NOISE_SIZE = WIRE_INIT_SIZE - WIRE_HANDSHAKE_HEADER - 2 * MAC_SIZE,
	RESP_NOISE_SIZE = WIRE_RESP_SIZE - WIRE_HANDSHAKE_HEADER - MAC_SIZE,
	INIT_MAC1_AT = WIRE_INIT_SIZE - 2 * MAC_SIZE,

	PAYLOAD_INCARNATION_AT = 4,
	PAYLOAD_INDEX_AT = PAYLOAD_INCARNATION_AT + INCARNATION_SIZE,

	PROLOGUE_NAME_SIZE = 7,
	PROLOGUE_SIZE = PROLOGUE_NAME_SIZE + 1 + 1 + WIRE_HANDSHAKE_HEADER,
};

_Static_assert((int)NOISE_FIRST_OVERHEAD + (int)WIRE_PAYLOAD_INIT == (int)INIT_NOISE_SIZE, "INIT");
_Static_assert((int)NOISE_SECOND_OVERHEAD + (int)WIRE_PAYLOAD_RESP == (int)RESP_NOISE_SIZE, "RESP");
_Static_assert((int)PAYLOAD_INDEX_AT + 4 <= (int)WIRE_PAYLOAD_RESP, "the payload has room");

void identity_init(struct identity *me, const uint8_t *sk)
{
	*me = (struct identity){ .sk = sk };
	(void)crypto_scalarmult_base(me->pk, sk); /* a clamped scalar: never zero */
	mac_keys_init(&me->macs, me->pk);
}

int remote_init(struct remote *r, const struct identity *me, const uint8_t pk[32],
                const uint8_t *psk)
{
	uint8_t ss_secret[32];
	int ret = -EINVAL;

	if (sodium_memcmp(pk, me->pk, 32) == 0)
		goto out;
	/* Fails for a low-order point: its shared secret would be known to everybody. */
	if (crypto_scalarmult(ss_secret, me->sk, pk) != 0)
		goto out;
	*r = (struct remote){ 0 };
	memcpy(r->pk, pk, sizeof(r->pk));
	if (psk)
		memcpy(r->psk, psk, sizeof(r->psk));
	memcpy(r->ss, ss_secret, sizeof(r->ss));
	mac_keys_init(&r->macs, pk);
	ret = 0;
out:
	sodium_memzero(ss_secret, sizeof(ss_secret));
	return ret;
}

void remote_wipe(struct remote *r)
{
	sodium_memzero(r, sizeof(*r));
}

static struct noise_static statics(const struct identity *me, const struct remote *peer)
{
	return (struct noise_static){
		.sk = me->sk,
		.pk = me->pk,
		.ss_secret = peer ? peer->ss : NULL,
		.psk = peer ? peer->psk : NULL,
	};
}

/*
 * The role keeps apart the two kinds of session that one static key takes part in: what was
 * recorded between an agent and a server means nothing between two agents.
 */
static void start(struct noise *noise, bool is_initiator, enum handshake_role role,
                  const uint8_t responder_pk[32], const uint8_t *header)
{
	uint8_t prologue[PROLOGUE_SIZE];

	memcpy(prologue, "culvert", PROLOGUE_NAME_SIZE);
	prologue[PROLOGUE_NAME_SIZE] = WIRE_VERSION_1;
	prologue[PROLOGUE_NAME_SIZE + 1] = (uint8_t)role;
	memcpy(prologue + PROLOGUE_NAME_SIZE + 2, header, WIRE_HANDSHAKE_HEADER);
	noise_init(noise, NOISE_IKPSK2, is_initiator, responder_pk, prologue, sizeof(prologue));
}

static void write_payload(uint8_t *out, size_t size, const struct handshake_payload *in)
{
	CV_ASSERT(in->policy <= POLICY_RELAY);
	memset(out, 0, size);
	out[0] = in->aead_bits;
	out[1] = in->policy;
	memcpy(out + PAYLOAD_INCARNATION_AT, in->incarnation, INCARNATION_SIZE);
}

/* Bits of ciphers that we do not know are another build's business; a policy is an order. */
static bool read_payload(const uint8_t *bytes, struct handshake_payload *out)
{
	if (bytes[1] > POLICY_RELAY)
		return false;
	out->aead_bits = bytes[0];
	out->policy = bytes[1];
	memcpy(out->incarnation, bytes + PAYLOAD_INCARNATION_AT, INCARNATION_SIZE);
	return true;
}

/* ---- initiator ---- */

void handshake_write_init(struct handshake *hs, const struct identity *me,
                          const struct remote *peer, enum handshake_role role,
                          const struct rng *rng, const struct wire_handshake *head,
                          const struct handshake_payload *payload, uint8_t out[WIRE_INIT_SIZE])
{
	const struct noise_static keys = statics(me, peer);
	uint8_t plain[WIRE_PAYLOAD_INIT];
	bool is_good;

	CV_ASSERT(head->version == WIRE_VERSION_1);
	CV_ASSERT(payload->aead_bits & AEAD_BIT_CHACHA);
	*hs = (struct handshake){ .head = *head, .aead_bits = payload->aead_bits };
	memset(out, 0, WIRE_INIT_SIZE);
	wire_write_handshake(out, WIRE_INIT, head);
	write_payload(plain, sizeof(plain), payload);

	start(&hs->noise, true, role, peer->pk, out);
	is_good = noise_write_first(&hs->noise, &keys, rng, plain, sizeof(plain), out + NOISE_AT);
	CV_ASSERT(is_good); /* remote_init() has refused low-order points */
	cookie_write_mac1(&peer->macs, out, WIRE_INIT_SIZE, 2 * (size_t)MAC_SIZE);

	memcpy(hs->mac1, out + INIT_MAC1_AT, sizeof(hs->mac1));
	hs->is_live = true;
	sodium_memzero(plain, sizeof(plain));
}

/* All that is clear in a RESP and known before it comes, reserved bits included. */
static bool resp_header_is_ours(const struct handshake *hs, const uint8_t *bytes,
                                const struct wire_handshake *head)
{
	return bytes[0] == WIRE_RESP && bytes[2] == 0 && bytes[3] == 0 &&
	       head->receiver == hs->head.sender && head->number == hs->head.number;
}

/* The choice is one of those that we offered: anything else could be one that our CPU lacks. */
static bool read_resp_payload(const struct handshake *hs, const uint8_t *plain, uint32_t index,
                              struct handshake_payload *out)
{
	const unsigned choice = plain[0];

	if (index == 0 || choice == 0 || (choice & (choice - 1)) != 0 ||
	    (choice & hs->aead_bits) == 0)
		return false;
	return cv_load32(plain + PAYLOAD_INDEX_AT) == index && read_payload(plain, out);
}

enum handshake_verdict handshake_read_resp(struct handshake *hs, const struct identity *me,
                                           const struct remote *peer, const uint8_t *bytes,
                                           size_t size, struct handshake_payload *payload,
                                           uint32_t *responder_index,
                                           struct handshake_secrets *secrets)
{
	const struct noise_static keys = statics(me, peer);
	enum handshake_verdict verdict = HANDSHAKE_FORGED;
	uint8_t plain[WIRE_PAYLOAD_RESP];
	struct wire_handshake head;
	struct noise next;

	CV_ASSERT(hs->is_live);
	if (size != WIRE_RESP_SIZE || !wire_read_handshake(bytes, size, &head))
		return HANDSHAKE_MALFORMED;
	if (!cookie_check_mac1(&me->macs, bytes, size, MAC_SIZE))
		return HANDSHAKE_BAD_MAC;
	if (head.version != WIRE_VERSION_1)
		return HANDSHAKE_BAD_VERSION;
	if (!resp_header_is_ours(hs, bytes, &head))
		return HANDSHAKE_FORGED;

	next = hs->noise;
	if (!noise_read_second(&next, &keys, bytes + NOISE_AT, RESP_NOISE_SIZE, plain))
		goto out;
	if (!read_resp_payload(hs, plain, head.sender, payload)) {
		verdict = HANDSHAKE_MALFORMED;
		goto out;
	}
	noise_split(&next, secrets->to_responder, secrets->to_initiator);
	*responder_index = head.sender;
	handshake_wipe(hs);
	verdict = HANDSHAKE_OK;
out:
	noise_wipe(&next);
	sodium_memzero(plain, sizeof(plain));
	return verdict;
}

void handshake_wipe(struct handshake *hs)
{
	sodium_memzero(hs, sizeof(*hs));
}

/* ---- responder ---- */

enum handshake_verdict handshake_check_init(const struct identity *me, const uint8_t *bytes,
                                            size_t size, struct wire_handshake *head)
{
	struct wire_handshake h;

	if (size != WIRE_INIT_SIZE || !wire_read_handshake(bytes, size, &h))
		return HANDSHAKE_MALFORMED;
	if (!cookie_check_mac1(&me->macs, bytes, size, 2 * (size_t)MAC_SIZE))
		return HANDSHAKE_BAD_MAC;
	*head = h;
	return h.version == WIRE_VERSION_1 ? HANDSHAKE_OK : HANDSHAKE_BAD_VERSION;
}

enum handshake_verdict handshake_read_init_key(struct handshake_in *in, const struct identity *me,
                                               enum handshake_role role, const uint8_t *bytes)
{
	const struct noise_static keys = statics(me, NULL);

	*in = (struct handshake_in){ 0 };
	if (!wire_read_handshake(bytes, WIRE_INIT_SIZE, &in->head) || in->head.sender == 0)
		return HANDSHAKE_MALFORMED;
	start(&in->noise, false, role, me->pk, bytes);
	if (!noise_read_first_key(&in->noise, &keys, bytes + NOISE_AT, in->peer_pk)) {
		handshake_in_wipe(in);
		return HANDSHAKE_FORGED;
	}
	return HANDSHAKE_OK;
}

enum handshake_verdict handshake_read_init_payload(struct handshake_in *in,
                                                   const struct remote *peer, const uint8_t *bytes)
{
	const struct noise_static keys = { .ss_secret = peer->ss, .psk = peer->psk };
	enum handshake_verdict verdict = HANDSHAKE_FORGED;
	uint8_t plain[WIRE_PAYLOAD_INIT];
	struct noise next = in->noise;

	CV_ASSERT(sodium_memcmp(in->peer_pk, peer->pk, sizeof(peer->pk)) == 0);
	if (!noise_read_first_payload(&next, &keys, bytes + NOISE_AT, INIT_NOISE_SIZE, plain))
		goto out;
	if (!read_payload(plain, &in->payload)) {
		verdict = HANDSHAKE_MALFORMED;
		goto out;
	}
	in->noise = next;
	verdict = HANDSHAKE_OK;
out:
	noise_wipe(&next);
	sodium_memzero(plain, sizeof(plain));
	return verdict;
}

void handshake_write_resp(struct handshake_in *in, const struct identity *me,
                          const struct remote *peer, const struct rng *rng, uint32_t local_index,
                          const struct handshake_payload *payload, uint8_t out[WIRE_RESP_SIZE],
                          struct handshake_secrets *secrets)
{
	const struct noise_static keys = statics(me, peer);
	const struct wire_handshake head = {
		.version = WIRE_VERSION_1,
		.sender = local_index,
		.receiver = in->head.sender,
		.number = in->head.number,
	};
	uint8_t plain[WIRE_PAYLOAD_RESP];
	bool is_good;

	CV_ASSERT(local_index != 0);
	CV_ASSERT(payload->aead_bits == AEAD_BIT_CHACHA || payload->aead_bits == AEAD_BIT_AES);
	wire_write_handshake(out, WIRE_RESP, &head);
	write_payload(plain, sizeof(plain), payload);
	cv_store32(plain + PAYLOAD_INDEX_AT, local_index);

	is_good = noise_write_second(&in->noise, &keys, rng, plain, sizeof(plain), out + NOISE_AT);
	/* e was refused in the first message, s in remote_init(), if of low order. */
	CV_ASSERT(is_good);
	cookie_write_mac1(&peer->macs, out, WIRE_RESP_SIZE, MAC_SIZE);
	noise_split(&in->noise, secrets->to_responder, secrets->to_initiator);
	sodium_memzero(plain, sizeof(plain));
}

void handshake_in_wipe(struct handshake_in *in)
{
	sodium_memzero(in, sizeof(*in));
}

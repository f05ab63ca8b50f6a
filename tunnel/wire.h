/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * wire - the only room that knows layouts: of datagrams and frames (wire.c), and of what agents and
 * servers say to each other (wire_message.c). Everything above handles plain structs in host order.
 * All integers are big-endian. tunnel/PROTOCOL.md is the specification, true with this file.
 *
 * Datagrams are told apart by the high nibble of the first byte. STUN (RFC 8489)
 * begins with 0x00..0x03 and never collides (RFC 7983).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/rd.h"
#include "base/wr.h"
#include "tunnel/nat.h"

enum wire_kind {
	WIRE_INIT = 0x40,    /* Noise message 1 */
	WIRE_RESP = 0x50,    /* Noise message 2 */
	WIRE_COOKIE = 0x60,  /* "show me that you are there", before any state */
	WIRE_VERSION = 0x70, /* "I speak other versions", MACed like COOKIE */
	WIRE_DATA = 0x80,    /* sealed frames */
	WIRE_PROBE = 0x90,   /* sealed path probe */
	WIRE_RELAY = 0xa0,   /* channel number round one of the others */
};

enum {
	WIRE_KIND_MASK = 0xf0,
	WIRE_FLAGS_MASK = 0x0f,
	WIRE_FLAG_ACK_NOW = 0x01, /* DATA: answer with an ACK at once */

	WIRE_VERSION_1 = 1, /* the protocol version in INIT and in the prologue */

	/* kind+flags, receiver index, whole packet number */
	WIRE_DATA_HEADER = 1 + 4 + 8,
	WIRE_TAG = 16,
	WIRE_DATA_OVERHEAD = WIRE_DATA_HEADER + WIRE_TAG,
	/* kind, channel number */
	WIRE_RELAY_HEADER = 1 + 8,

	/* kind, version, 2 reserved, sender, receiver, number */
	WIRE_HANDSHAKE_HEADER = 1 + 1 + 2 + 4 + 4 + 8,
	WIRE_PAYLOAD_INIT = 96, /* sealed payload, padded: room for an invitation */
	WIRE_PAYLOAD_RESP = 48,
	/* header, e, s+tag, payload+tag, mac1, mac2 */
	WIRE_INIT_SIZE = WIRE_HANDSHAKE_HEADER + 32 + 48 + WIRE_PAYLOAD_INIT + 16 + 16 + 16,
	/* header, e, payload+tag, mac1 */
	WIRE_RESP_SIZE = WIRE_HANDSHAKE_HEADER + 32 + WIRE_PAYLOAD_RESP + 16 + 16,
	/* kind, 3 reserved, receiver, nonce, sealed cookie */
	WIRE_COOKIE_SIZE = 1 + 3 + 4 + 24 + 16 + 16,
	/* kind, count, 2 reserved, receiver, 8 versions, mac */
	WIRE_VERSION_SIZE = 1 + 1 + 2 + 4 + 8 + 16,

	WIRE_PROBE_MIN = 64, /* a challenge is padded to this, so that an answer is never larger */

	WIRE_DATAGRAM_BASE = 1200, /* every usable path carries this UDP payload */
	WIRE_DATAGRAM_MAX = 65507,
	WIRE_RELAYED_MAX = 1452, /* behind the RELAY header */
};

_Static_assert(WIRE_RESP_SIZE <= WIRE_INIT_SIZE, "an answer is never larger than its question");
_Static_assert(WIRE_COOKIE_SIZE <= WIRE_INIT_SIZE, "an answer is never larger than its question");
_Static_assert(WIRE_VERSION_SIZE <= WIRE_INIT_SIZE, "an answer is never larger than its question");

/* True for a first byte that belongs to STUN. */
static inline bool wire_is_stun(uint8_t first)
{
	return first <= 3;
}

struct wire_data {
	uint8_t flags;
	uint32_t receiver;
	uint64_t number;
};

/* Header of DATA or PROBE; false when @size cannot hold header and tag, or for a number that no
 * sender may use. The caller has looked at the kind. */
bool wire_read_data(const uint8_t *bytes, size_t size, struct wire_data *out);
void wire_write_data(uint8_t out[WIRE_DATA_HEADER], enum wire_kind kind,
                     const struct wire_data *in);

struct wire_handshake {
	uint8_t version;
	uint32_t sender;
	uint32_t receiver;
	uint64_t number;
};

/* Header of INIT or RESP; false unless @size is exactly that of its kind. Says nothing about the
 * version. */
bool wire_read_handshake(const uint8_t *bytes, size_t size, struct wire_handshake *out);
void wire_write_handshake(uint8_t out[WIRE_HANDSHAKE_HEADER], enum wire_kind kind,
                          const struct wire_handshake *in);

/* RELAY: returns the channel number; false when too short. The inner datagram follows. */
bool wire_read_relay(const uint8_t *bytes, size_t size, uint64_t *channel);
void wire_write_relay(uint8_t out[WIRE_RELAY_HEADER], uint64_t channel);

/* ---- PROBE, after opening ---- */

enum wire_probe_type { PROBE_CHALLENGE = 1, PROBE_ANSWER = 2 };

enum {
	PROBE_FLAG_NOMINATE = 0x01,   /* "send your data here" */
	PROBE_FLAG_PAD_ANSWER = 0x02, /* the answer is to be as large as this challenge */
	/* To a server only; both have .seconds: */
	PROBE_FLAG_ASIDE = 0x04, /* from a socket that is not the session's: "answer there, then" */
	PROBE_FLAG_INTERVAL = 0x08, /* "as long as that you may hear nothing from me" */
	PROBE_FLAGS_TIMED = PROBE_FLAG_ASIDE | PROBE_FLAG_INTERVAL,
};

struct wire_probe {
	uint8_t type;
	uint8_t flags;
	uint64_t token;   /* chosen by the challenger, echoed */
	struct addr seen; /* in an answer: the source address of the challenge; ADDR_NONE through a
	                     relay */
	uint16_t seconds; /* only with one of those flags, and never in an answer */
};

enum { WIRE_PROBE_PLAIN = 1 + 1 + 8 + ADDR_WIRE_MAX };

/* The rest of the plaintext is padding and ignored. False for anything malformed. */
bool wire_read_probe(const uint8_t *plain, size_t size, struct wire_probe *out);
/* Writes and zero-pads to @size bytes (>= WIRE_PROBE_PLAIN). */
void wire_write_probe(uint8_t *plain, size_t size, const struct wire_probe *in);

/* ---- frames inside DATA ---- */

enum wire_frame_type {
	FRAME_PADDING = 0x00,
	FRAME_PING = 0x01,
	FRAME_ACK = 0x02,
	FRAME_ACK_FREQUENCY = 0x03,
	FRAME_ACK_ECN = 0x04, /* an ACK with counts; read as FRAME_ACK */
	FRAME_STREAM = 0x08,  /* | FRAME_STREAM_FIN | FRAME_STREAM_LEN */
	FRAME_RESET = 0x10,
	FRAME_STOP = 0x11,
	FRAME_MAX_DATA = 0x12,
	FRAME_MAX_STREAM_DATA = 0x13,
	FRAME_MAX_STREAMS = 0x14,
	FRAME_DATA_BLOCKED = 0x15,
	FRAME_STREAM_BLOCKED = 0x16,
	FRAME_DATAGRAM = 0x18,
	FRAME_CANDIDATES = 0x20,
	FRAME_NAT = 0x21,
	FRAME_PUNCH = 0x23,
	FRAME_CLOSE = 0x22,
	FRAME_MESSAGE = 0x30,     /* agent-server sessions only */
	FRAME_MESSAGE_ACK = 0x31, /* agent-server sessions only */
};

enum {
	FRAME_STREAM_FIN = 0x01,
	FRAME_STREAM_LEN = 0x02, /* a length follows; without it the data end with the packet */
	FRAME_STREAM_HEADER_MAX = 1 + 6 + 6 + 2,
	FRAME_ACK_RANGES_MAX = 32, /* ranges sent; up to 64 are accepted */
	FRAME_ACK_RANGES_READ_MAX = 64,
	FRAME_ACK_SIZE_MAX = 1 + 6 + 2 + 1 + 8 + FRAME_ACK_RANGES_MAX * 16 + 3 * 8,
	FRAME_CANDIDATES_MAX = 16,
	FRAME_CLOSE_TEXT_MAX = 120,
	FRAME_MESSAGE_MAX = 1024,      /* body of a MESSAGE */
	FRAME_DATAGRAM_PARTS_MAX = 64, /* fragments of one datagram */
	FRAME_ACK_DELAY_UNIT_NS = 8000,
};

#define WIRE_STREAM_ID_MAX ((UINT64_C(1) << 48) - 1)
#define WIRE_OFFSET_MAX ((UINT64_C(1) << 48) - 1)
#define WIRE_NUMBER_MAX ((UINT64_C(1) << 48) - 1)

/* [begin, end) of packet numbers. */
struct wire_range {
	uint64_t begin;
	uint64_t end;
};

/* Packets of an object that arrived with each codepoint. Below 2^62. */
struct wire_ecn {
	uint64_t ect0, ect1, ce;
};

enum candidate_kind {
	CANDIDATE_HOST = 1,   /* an interface address */
	CANDIDATE_SERVER = 2, /* as a server sees us */
	CANDIDATE_PEER = 3,   /* as the peer's probes see us */
	CANDIDATE_MAPPED = 4, /* a port that our gateway forwards */
};

struct wire_candidate {
	uint8_t kind;
	struct addr addr;
};

/* What a PUNCH asks for; .address and the ports are those of its author's router. */
enum punch_kind {
	PUNCH_ROW = 1,    /* "send to port .address.port + i * .step, i < .count" */
	PUNCH_RANGE = 2,  /* "send to random ports from .address.port to .port_high" */
	PUNCH_ASK = 3,    /* a row, and "tell me yours": both routers choose new ports */
	PUNCH_ANSWER = 4, /* to an ASK; both send the i-th packet to the other's i-th port. To a
	                     CROSS: "you aim at this row", or at .count ports of this range */
	PUNCH_CROSS = 5,  /* "aim new mappings at .address.port to .port_high, as I do at yours" */
};

struct wire_punch {
	uint8_t kind;
	uint8_t shift;  /* ASK: how many ports its author believes that others took */
	uint16_t round; /* of the author's; an ANSWER repeats that of the wish */
	int16_t step;   /* of a row */
	uint16_t count; /* of a row; of an ANSWER with a range the probes that its author sends */
	uint16_t port_high; /* of a range; 0: a row */
	struct addr address;
};

enum wire_close_code {
	CLOSE_NONE = 0,
	CLOSE_SHUTDOWN = 1, /* the process ends */
	CLOSE_REPLACED = 2, /* another incarnation took this one's place */
	CLOSE_REMOVED = 3,  /* no longer configured here */
	CLOSE_PROTOCOL = 4, /* the peer broke a rule */
	CLOSE_LIMIT = 5,
	CLOSE_POLICY = 6,    /* of a server: the agent is no longer on its list */
	CLOSE_DUPLICATE = 7, /* server: another agent uses this identity */
};

/* One frame in host order. Pointers are borrowed from the packet. */
struct wire_frame {
	uint8_t type; /* enum wire_frame_type, stream flags removed */
	union {
		struct {
			uint64_t delay_ns;
			struct wire_ecn ecn; /* all zero in an ACK without counts */
			unsigned count;      /* ranges, newest first */
			struct wire_range ranges[FRAME_ACK_RANGES_READ_MAX];
		} ack;
		struct {
			uint16_t threshold; /* ack-eliciting packets before an ACK is due */
			uint32_t delay_us;
			uint16_t reorder; /* numbers that a gap is behind when it is urgent */
		} ack_frequency;
		struct {
			uint64_t id;
			uint64_t offset;
			const uint8_t *bytes;
			size_t size;
			bool fin;
		} stream;
		struct {
			uint64_t id;
			uint64_t final_size; /* RESET only */
			uint16_t code;
		} reset; /* RESET and STOP */
		struct {
			uint64_t id; /* *_STREAM_* only */
			uint64_t max;
		} limit; /* MAX_* and *_BLOCKED */
		struct {
			uint64_t flow;
			uint16_t id; /* of the datagram, for its fragments */
			uint8_t index, count;
			const uint8_t *bytes;
			size_t size;
		} datagram;
		struct {
			unsigned count;
			struct wire_candidate list[FRAME_CANDIDATES_MAX];
		} candidates;
		struct nat_profile nat;
		struct wire_punch punch;
		struct {
			uint16_t code;
			const uint8_t *text;
			size_t text_size;
		} close;
		struct {
			uint16_t seq;
			uint8_t type;
			const uint8_t *body;
			size_t size;
		} message;
		struct {
			uint16_t next; /* cumulative: everything before it has arrived */
		} message_ack;
	};
};

enum wire_verdict {
	WIRE_FRAME, /* one frame was read */
	WIRE_END,   /* nothing (but padding) was left */
	WIRE_BAD,   /* malformed or unknown: the packet's author broke the protocol */
};

/**
 * wire_read_frame() - read the next frame of an opened packet
 * Total: any bytes give a verdict. Ranges of an ACK are strictly descending, non-empty and without
 * underflow; offsets plus sizes never exceed WIRE_OFFSET_MAX; a datagram's index is below its
 * count. Padding is skipped.
 *
 * On WIRE_FRAME and WIRE_END the bytes are consumed; on WIRE_BAD nothing is. @out is undefined
 * unless WIRE_FRAME is returned: clearing 1 KiB per frame would cost more than reading most of
 * them.
 */
enum wire_verdict wire_read_frame(struct rd *in, struct wire_frame *out);
/* Writes one frame of any type (a STREAM always with a length); @w is bad when it does not fit.
 * For tests and rare frames: the hot ones below are written piecewise. */
void wire_write_frame(struct wr *w, const struct wire_frame *in);

/* An ACK_ECN when @ecn counts anything. */
void wire_write_ack(struct wr *w, const struct wire_range *newest_first, unsigned count,
                    uint64_t delay_ns, const struct wire_ecn *ecn);
/* Header only; the caller appends @size bytes. Without @with_length the data must end the packet.
 */
void wire_write_stream_header(struct wr *w, uint64_t id, uint64_t offset, size_t size, bool fin,
                              bool with_length);
/* QUIC's variable-length integer (RFC 9000, 16); values below 2^62. */
uint64_t wire_read_varint(struct rd *r);
void wire_write_varint(struct wr *w, uint64_t v);

/* ---- messages between an agent and a server (MESSAGE bodies) ---- */

enum wire_message_type {
	MESSAGE_REGISTER = 1, /* A->S: meeting tags */
	MESSAGE_OPEN = 2,     /* A->S: make a channel, forward this INIT */
	MESSAGE_CLOSE_CHANNEL = 3,
	MESSAGE_PRESENT = 8, /* S->A: who shares this tag is here */
	MESSAGE_ABSENT = 9,  /* S->A: is not, or not mutual, or unknown: one answer */
	MESSAGE_OFFER = 10,  /* S->A: the peer opened a channel; its INIT */
	MESSAGE_OPENED = 11, /* S->A: your number for the channel */
	MESSAGE_CHANNEL_GONE = 12,
	MESSAGE_REFUSED = 13, /* S->A: a limit or policy, in words */
};

enum {
	TAG_SIZE = 16,
	MESSAGE_TAGS_MAX = 48, /* tags in one REGISTER; further ones in further messages */
	MESSAGE_TEXT_MAX = 120,
};

enum leg_kind { LEG_UDP = 0, LEG_TCP = 1 };

/* Instead of a rate in kbit/s: the relay is not lent, and packets of so many bytes behind the
 * header alone pass. It is what they come to, 20 a second. */
enum { MESSAGE_RATE_SMALL = 96, MESSAGE_RATE_SMALL_BYTES = 600 };

struct wire_message {
	uint8_t type;
	bool is_first;      /* REGISTER: forget the tags registered before */
	bool is_gone;       /* ABSENT: it was here, and its process ended or its port refuses */
	uint8_t leg;        /* OFFER, OPENED: enum leg_kind of the other leg */
	unsigned tag_count; /* REGISTER */
	uint8_t tags[MESSAGE_TAGS_MAX][TAG_SIZE];
	uint8_t tag[TAG_SIZE]; /* OPEN, PRESENT, ABSENT, OFFER, OPENED */
	uint64_t channel;      /* OFFER, OPENED, CLOSE_CHANNEL, CHANNEL_GONE */
	uint32_t rate_kbit;    /* OFFER, OPENED: granted relay rate; 0: no cap; or the above */
	const uint8_t *init;   /* OPEN, OFFER: WIRE_INIT_SIZE bytes or NULL (none); borrowed */
	char text[MESSAGE_TEXT_MAX + 1]; /* REFUSED */
};

/* False (@out unchanged) for an unknown @type and for anything malformed, bytes too many included.
 */
bool wire_read_message(const uint8_t *body, size_t size, uint8_t type, struct wire_message *out);
/* Returns the size of the body written. @cap >= FRAME_MESSAGE_MAX. */
size_t wire_write_message(uint8_t *body, size_t cap, const struct wire_message *in);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * stun - Binding requests and their answers: RFC 8489, the attributes of RFC 5780 that ask how a
 * NAT behaves, and RFC 3489 for old clients. A codec: knows no time, no sockets, no policy.
 *
 * An answer is written into the room that the caller gives it, and leaves out what does not fit. A
 * server that gives it no more room than the request took is no amplifier.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"

enum stun_type { STUN_REQUEST, STUN_SUCCESS, STUN_ERROR };

/* Bits of CHANGE-REQUEST: where the answer is to come from. */
enum { STUN_CHANGE_PORT = 0x2, STUN_CHANGE_IP = 0x4 };

enum {
	STUN_HEADER = 20,  /* bytes */
	STUN_ID_SIZE = 12, /* of a transaction, behind the magic cookie */
	STUN_UNKNOWN_MAX = 8,
	/* The largest answer: five IPv6 addresses. */
	STUN_ANSWER_MAX = STUN_HEADER + 5 * 24,
	/* A request of this size leaves room for every attribute of its answer. */
	STUN_PADDED_SIZE = STUN_ANSWER_MAX,
	STUN_REQUEST_MAX = 1472, /* of those that we write: what IPv4 on Ethernet carries */
	/* Codes of errors */
	STUN_UNKNOWN_ATTRIBUTE = 420,
};

struct stun_message {
	enum stun_type type;
	bool is_classic; /* no magic cookie: RFC 3489 */
	uint8_t change;  /* STUN_CHANGE_* of a request */
	uint16_t port;   /* RESPONSE-PORT of a request: where the answer is to go; 0: back */
	uint8_t id[16];  /* magic cookie and transaction, or the whole of a classic id */
	/* Of an answer, each ADDR_NONE when absent. */
	struct addr mapped; /* XOR-MAPPED-ADDRESS, else MAPPED-ADDRESS */
	struct addr
		origin;    /* RESPONSE-ORIGIN or SOURCE-ADDRESS: where the answer says it is from */
	struct addr other; /* OTHER-ADDRESS or CHANGED-ADDRESS: other address *and* port */
	uint16_t error;    /* of STUN_ERROR: 300 to 699; 0 when it names none */
	/* Attributes that would have to be understood. An answer that has some is void. */
	unsigned unknown_count;
	uint16_t unknown[STUN_UNKNOWN_MAX];
};

/**
 * stun_read() - read one datagram
 * What follows MESSAGE-INTEGRITY is ignored, as is FINGERPRINT: we have no passwords, and the
 * first byte already told the protocols apart. Of repeated attributes the first counts.
 * Return: false for what is malformed or neither a Binding request nor an answer to one; @out is
 * then unchanged.
 */
bool stun_read(const uint8_t *bytes, size_t size, struct stun_message *out);

/* True when @m answers our request @id. */
bool stun_is_answer(const struct stun_message *m, const uint8_t id[STUN_ID_SIZE]);

/**
 * stun_write_request() - a request with the magic cookie
 * @change: STUN_CHANGE_*, or 0
 * @size:   what it is filled up to with PADDING: a multiple of 4, at most STUN_REQUEST_MAX; 0: not
 *          at all. Our own servers answer no request that is smaller than the answer. Foreign ones
 *          get 0: to those of RFC 8489 alone PADDING is an error, and those of RFC 5780 answer it
 *          with as much.
 * Return: its size; 0 when it does not fit into @cap.
 */
size_t stun_write_request(uint8_t *out, size_t cap, const uint8_t id[STUN_ID_SIZE], unsigned change,
                          size_t size);

/* What an answer tells; of the last two either may be ADDR_NONE. */
struct stun_told {
	struct addr mapped; /* where the request came from */
	struct addr origin; /* where the answer is sent from */
	struct addr other;  /* where else this server answers */
};

/**
 * stun_write_answer() - the answer to @request, in the words of its RFC
 * @cap: room; addresses but the mapped one are left out when they do not fit
 * Return: its size; 0 when not even .mapped fits.
 */
size_t stun_write_answer(uint8_t *out, size_t cap, const struct stun_message *request,
                         const struct stun_told *told);

/* Count CHANGE-REQUEST or RESPONSE-PORT among what is not understood: for a server that cannot do
 * as they say, or does not want to. */
void stun_refuse_change(struct stun_message *request);
void stun_refuse_port(struct stun_message *request);
/* Says which attributes of @request are not understood (420). Return: its size; 0: does not fit. */
size_t stun_write_unknown(uint8_t *out, size_t cap, const struct stun_message *request);

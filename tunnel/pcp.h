/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * pcp - messages of the Port Control Protocol and of its predecessor NAT-PMP, which share a port
 * of the gateway: requests are written, answers are read. Alone knows their layouts (pcp.c).
 *
 * Knows neither when to ask nor whom to believe: that is tunnel/mapper.
 *
 * Source: RFC 6887 (PCP, version 2) and RFC 6886 (NAT-PMP, version 0).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/wr.h"

enum {
	PCP_PORT = 5351,          /* of a gateway; RFC 6887, 19.1 */
	PCP_ANNOUNCE_PORT = 5350, /* of clients, for what gateways tell everybody; ibidem */
	PCP_NONCE_SIZE = 12,
	PCP_REQUEST_MAX = 60,  /* the longest request that we write, bytes */
	PCP_ANSWER_MAX = 1100, /* RFC 6887, 7 */
};

enum pcp_kind {
	PCP_ANNOUNCE,   /* PCP: are you there, and since when? */
	PCP_MAP,        /* PCP: a mapping */
	NATPMP_ADDRESS, /* NAT-PMP: what is the address outside? */
	NATPMP_MAP,     /* NAT-PMP: a mapping */
};

/* Both protocols have these under the same numbers only as far as 0 to 2. */
enum pcp_result {
	PCP_SUCCESS = 0,
	PCP_UNSUPP_VERSION = 1,
	PCP_NOT_AUTHORIZED = 2,
	PCP_MALFORMED_REQUEST = 3, /* NAT-PMP: network failure */
	PCP_UNSUPP_OPCODE = 4,     /* NAT-PMP: out of resources */
	PCP_UNSUPP_OPTION = 5,     /* NAT-PMP: unsupported opcode */
	PCP_MALFORMED_OPTION = 6,
	PCP_NETWORK_FAILURE = 7,
	PCP_NO_RESOURCES = 8,
	PCP_UNSUPP_PROTOCOL = 9,
	PCP_USER_EX_QUOTA = 10,
	PCP_CANNOT_PROVIDE_EXTERNAL = 11,
	PCP_ADDRESS_MISMATCH = 12, /* a NAT lies between us and the gateway */
	PCP_EXCESSIVE_REMOTE_PEERS = 13,
};

/* A mapping is always one of UDP. */
struct pcp_request {
	enum pcp_kind kind;
	struct addr client;            /* PCP: our address, as the gateway sees it */
	uint8_t nonce[PCP_NONCE_SIZE]; /* PCP_MAP */
	uint32_t lifetime_s;           /* 0: delete */
	uint16_t internal_port;
	struct addr suggested; /* its port alone if ADDR_NONE; NAT-PMP: the port alone */
};

struct pcp_answer {
	enum pcp_kind kind;
	uint8_t version;               /* 2, 0; with PCP_UNSUPP_VERSION what the gateway speaks */
	uint16_t result;               /* enum pcp_result, or a number that is none of them */
	uint32_t lifetime_s;           /* of a mapping; PCP with an error: how long it will last */
	uint32_t epoch_s;              /* since the gateway lost its state */
	uint8_t nonce[PCP_NONCE_SIZE]; /* PCP_MAP, also with an error: the request's */
	uint16_t internal_port;        /* of a mapping */
	/* With success. PCP_MAP: address and port; NATPMP_ADDRESS: the address; NATPMP_MAP: the
	 * port, in an ADDR_NONE. */
	struct addr external;
};

void pcp_write_request(struct wr *w, const struct pcp_request *in);

enum pcp_read {
	PCP_READ_DONE,
	PCP_READ_MALFORMED, /* also: no answer, another protocol than UDP, an opcode we never ask */
};

/* Options after a PCP answer are ignored: we ask with none. @out is written on PCP_READ_DONE. */
CV_NODISCARD enum pcp_read pcp_read_answer(const uint8_t *bytes, size_t size,
                                           struct pcp_answer *out);

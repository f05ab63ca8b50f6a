/* SPDX-License-Identifier: MIT */

/*
 * PCP request (RFC 6887, 7.1)             PCP answer (7.2)
 *
 *   version:8 = 2                           version:8 = 2
 *   0:1 opcode:7                            1:1 opcode:7
 *   reserved:16                             reserved:8  result:8
 *   lifetime:32                             lifetime:32
 *   client's address:128                    epoch:32  reserved:96
 *
 * Data of opcode 1, MAP (11.1), the same both ways; opcode 0, ANNOUNCE, has none:
 *
 *   nonce:96  protocol:8  reserved:24  internal port:16  external port:16  external address:128
 *
 * NAT-PMP (RFC 6886, 3.2 and 3.3)
 *
 *   request   0:8  opcode:8  { reserved:16  internal:16  external:16  lifetime:32 }
 *   answer    0:8  128+opcode:8  result:16  epoch:32
 *             opcode 0: { address:32 }    opcode 1: { internal:16  external:16  lifetime:32 }
 *
 * What { } holds is read only with success: gateways that refuse often leave it out.
 *
 * The version byte tells the two apart, for both begin with it; also in a refusal of the version,
 * where it is the one that the gateway speaks (RFC 6887, 9 and appendix A).
 */
#include "tunnel/pcp.h"

#include <string.h>

#include "base/rd.h"

enum {
	VERSION_PCP = 2,
	VERSION_NATPMP = 0,
	ANSWER_BIT = 0x80,
	OPCODE_FIRST = 0, /* PCP: ANNOUNCE; NAT-PMP: address */
	OPCODE_MAP = 1,   /* NAT-PMP: of UDP */
	PROTOCOL_UDP = 17,
	NATPMP_HEADER_SIZE = 8,
};

static const uint8_t v4_mapped[12] = { [10] = 0xff, [11] = 0xff };

/* 16 bytes: an IPv4 address as ::ffff:a.b.c.d (RFC 6887, 5). */
static void write_ip(struct wr *w, const struct addr *a)
{
	if (a->family == ADDR_V6) {
		wr_copy(w, a->ip, 16);
		return;
	}
	wr_copy(w, v4_mapped, sizeof(v4_mapped));
	wr_copy(w, a->ip, 4);
}

static struct addr read_ip(struct rd *r)
{
	struct addr a = { .family = ADDR_V6 };
	uint8_t ip[16];

	rd_copy(r, ip, sizeof(ip));
	if (memcmp(ip, v4_mapped, sizeof(v4_mapped)) == 0)
		return addr_v4(ip[12], ip[13], ip[14], ip[15], 0);
	memcpy(a.ip, ip, sizeof(ip));
	return a;
}

static void write_pcp(struct wr *w, const struct pcp_request *in)
{
	/* "No address suggested" is the unspecified one of the family that is wanted (11.1). */
	const struct addr none = { .family = in->client.family };

	CV_ASSERT(in->client.family != ADDR_NONE);
	wr_u8(w, VERSION_PCP);
	wr_u8(w, in->kind == PCP_MAP ? OPCODE_MAP : OPCODE_FIRST);
	wr_u16(w, 0);
	wr_u32(w, in->kind == PCP_MAP ? in->lifetime_s : 0);
	write_ip(w, &in->client);
	if (in->kind != PCP_MAP)
		return;
	wr_copy(w, in->nonce, PCP_NONCE_SIZE);
	wr_u8(w, PROTOCOL_UDP);
	wr_zero(w, 3);
	wr_u16(w, in->internal_port);
	wr_u16(w, in->suggested.port);
	write_ip(w, in->suggested.family == ADDR_NONE ? &none : &in->suggested);
}

void pcp_write_request(struct wr *w, const struct pcp_request *in)
{
	switch (in->kind) {
	case PCP_ANNOUNCE:
	case PCP_MAP:
		write_pcp(w, in);
		return;
	case NATPMP_ADDRESS:
		wr_u8(w, VERSION_NATPMP);
		wr_u8(w, OPCODE_FIRST);
		return;
	case NATPMP_MAP:
		wr_u8(w, VERSION_NATPMP);
		wr_u8(w, OPCODE_MAP);
		wr_u16(w, 0);
		wr_u16(w, in->internal_port);
		wr_u16(w, in->suggested.port);
		wr_u32(w, in->lifetime_s);
		return;
	}
	CV_UNREACHABLE();
}

static bool read_pcp(struct rd *r, struct pcp_answer *out)
{
	uint8_t protocol;

	out->kind = rd_u8(r) == (ANSWER_BIT | OPCODE_MAP) ? PCP_MAP : PCP_ANNOUNCE;
	(void)rd_u8(r);
	out->result = rd_u8(r);
	out->lifetime_s = rd_u32(r);
	out->epoch_s = rd_u32(r);
	(void)rd_take(r, 12);
	if (out->kind != PCP_MAP)
		return !r->bad;
	rd_copy(r, out->nonce, PCP_NONCE_SIZE);
	protocol = rd_u8(r);
	(void)rd_take(r, 3);
	out->internal_port = rd_u16(r);
	out->external.port = rd_u16(r);
	if (out->result == PCP_SUCCESS) {
		uint16_t port = out->external.port;

		out->external = read_ip(r);
		out->external.port = port;
	} else {
		out->external = (struct addr){ .family = ADDR_NONE };
		(void)rd_take(r, 16);
	}
	return !r->bad && protocol == PROTOCOL_UDP;
}

static bool read_natpmp(struct rd *r, struct pcp_answer *out)
{
	uint8_t ip[4];

	out->kind = rd_u8(r) == (ANSWER_BIT | OPCODE_MAP) ? NATPMP_MAP : NATPMP_ADDRESS;
	out->result = rd_u16(r);
	out->epoch_s = rd_u32(r);
	if (r->bad || out->result != PCP_SUCCESS)
		return !r->bad;
	if (out->kind == NATPMP_ADDRESS) {
		rd_copy(r, ip, sizeof(ip));
		out->external = addr_v4(ip[0], ip[1], ip[2], ip[3], 0);
	} else {
		out->internal_port = rd_u16(r);
		out->external.port = rd_u16(r);
		out->lifetime_s = rd_u32(r);
	}
	return !r->bad;
}

enum pcp_read pcp_read_answer(const uint8_t *bytes, size_t size, struct pcp_answer *out)
{
	struct pcp_answer a = { .version = 0 };
	struct rd r = rd_init(bytes, size);
	bool is_good;

	/* The opcodes that we ask with, and their answers: nothing else. */
	if (size < 2 || size > PCP_ANSWER_MAX || bytes[1] < (ANSWER_BIT | OPCODE_FIRST) ||
	    bytes[1] > (ANSWER_BIT | OPCODE_MAP))
		return PCP_READ_MALFORMED;
	a.version = rd_u8(&r);
	switch (a.version) {
	case VERSION_PCP:
		is_good = read_pcp(&r, &a);
		break;
	case VERSION_NATPMP:
		is_good = read_natpmp(&r, &a);
		break;
	default: /* of a gateway that speaks another one, this much is the same in all (9) */
		is_good = size >= NATPMP_HEADER_SIZE && bytes[3] == PCP_UNSUPP_VERSION;
		a.kind = bytes[1] == (ANSWER_BIT | OPCODE_MAP) ? PCP_MAP : PCP_ANNOUNCE;
		a.result = PCP_UNSUPP_VERSION;
		break;
	}
	if (!is_good)
		return PCP_READ_MALFORMED;
	*out = a;
	return PCP_READ_DONE;
}

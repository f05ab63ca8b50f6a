/* SPDX-License-Identifier: MIT */

/*
 * An answer of a gateway as anybody in the LAN may send it. Oracles besides the sanitizers: a
 * refused one leaves the result alone; one that is read does not depend on bytes behind the fixed
 * part; what was read, written down again, is read as the same.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tunnel/pcp.h"

static void write_natpmp(struct wr *w, const struct pcp_answer *a)
{
	wr_u8(w, a->version);
	wr_u8(w, a->kind == NATPMP_MAP ? 0x81 : 0x80);
	wr_u16(w, a->result);
	wr_u32(w, a->epoch_s);
	wr_copy(w, a->external.ip, a->kind == NATPMP_MAP ? 0 : 4);
	if (a->kind != NATPMP_MAP)
		return;
	wr_u16(w, a->internal_port);
	wr_u16(w, a->external.port);
	wr_u32(w, a->lifetime_s);
}

static void write_pcp(struct wr *w, const struct pcp_answer *a)
{
	const bool is_v4 = a->external.family == ADDR_V4;

	wr_u8(w, a->version);
	wr_u8(w, a->kind == PCP_MAP ? 0x81 : 0x80);
	wr_u16(w, a->result);
	wr_u32(w, a->lifetime_s);
	wr_u32(w, a->epoch_s);
	wr_zero(w, 12);
	if (a->kind != PCP_MAP)
		return;
	wr_copy(w, a->nonce, sizeof(a->nonce));
	wr_u32(w, UINT32_C(17) << 24);
	wr_u16(w, a->internal_port);
	wr_u16(w, a->external.port);
	wr_zero(w, is_v4 ? 10 : 0);
	if (is_v4)
		wr_u16(w, 0xffff);
	wr_copy(w, a->external.ip, is_v4 ? 4 : 16);
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pcp_answer before, a, again;
	uint8_t bytes[128];
	struct wr w = wr_init(bytes, sizeof(bytes));

	memset(&before, 0xa5, sizeof(before));
	a = before;
	if (size == 0)
		return 0;
	if (pcp_read_answer(data, size, &a) != PCP_READ_DONE) {
		CV_ASSERT(memcmp(&a, &before, sizeof(a)) == 0);
		return 0;
	}
	if (a.version == 0)
		write_natpmp(&w, &a);
	else
		write_pcp(&w, &a);
	CV_ASSERT(!w.bad);
	CV_ASSERT(pcp_read_answer(bytes, wr_size(&w), &again) == PCP_READ_DONE);
	CV_ASSERT(again.kind == a.kind && again.version == a.version && again.result == a.result);
	CV_ASSERT(again.lifetime_s == a.lifetime_s && again.epoch_s == a.epoch_s);
	CV_ASSERT(memcmp(again.nonce, a.nonce, sizeof(a.nonce)) == 0);
	CV_ASSERT(again.internal_port == a.internal_port);
	CV_ASSERT(addr_equal(&again.external, &a.external));
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

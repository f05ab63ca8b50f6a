/* SPDX-License-Identifier: MIT */

/*
 * One datagram (F15). Oracles: an answer that gets the request's room is not larger, reads back,
 * carries its id and the address; what stands behind MESSAGE-INTEGRITY changes nothing; no request
 * is taken for an answer.
 */
#include <string.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "tunnel/stun.h"

enum { DATAGRAM_MAX = 1500, MESSAGE_INTEGRITY = 0x0008 };

static void check_answer(const struct stun_message *request, size_t request_size)
{
	struct stun_told told = { .mapped = addr_v4(192, 0, 2, 1, 1000),
		                  .origin = addr_v4(198, 51, 100, 1, 28583),
		                  .other = addr_v4(198, 51, 100, 1, 28584) };
	uint8_t bytes[DATAGRAM_MAX];
	struct stun_message answer;
	size_t size = stun_write_answer(bytes, request_size, request, &told);

	CV_ASSERT(size <= request_size && size <= STUN_ANSWER_MAX);
	if (size > 0) {
		CV_ASSERT(stun_read(bytes, size, &answer));
		CV_ASSERT(answer.type == STUN_SUCCESS);
		CV_ASSERT(answer.is_classic == request->is_classic);
		CV_ASSERT(memcmp(answer.id, request->id, sizeof(answer.id)) == 0);
		CV_ASSERT(addr_equal(&answer.mapped, &told.mapped));
	}
	size = stun_write_unknown(bytes, request_size, request);
	CV_ASSERT(size <= request_size);
	if (size > 0) {
		CV_ASSERT(stun_read(bytes, size, &answer));
		CV_ASSERT(answer.type == STUN_ERROR && answer.error == STUN_UNKNOWN_ATTRIBUTE);
	}
}

static bool says_the_same(const struct stun_message *a, const struct stun_message *b)
{
	return a->type == b->type && a->is_classic == b->is_classic && a->change == b->change &&
	       memcmp(a->id, b->id, sizeof(a->id)) == 0 && addr_equal(&a->mapped, &b->mapped) &&
	       addr_equal(&a->origin, &b->origin) && addr_equal(&a->other, &b->other) &&
	       a->error == b->error && a->unknown_count == b->unknown_count &&
	       memcmp(a->unknown, b->unknown, sizeof(a->unknown)) == 0;
}

/* Cut behind the first MESSAGE-INTEGRITY, the message says the same. */
static void check_sealed(const uint8_t *bytes, size_t size, const struct stun_message *whole)
{
	uint8_t cut[DATAGRAM_MAX];
	struct stun_message m;
	size_t at = STUN_HEADER, next = 0;

	for (; at < size; at = next) {
		next = at + 4 + (((size_t)cv_load16(bytes + at + 2) + 3) & ~(size_t)3);
		if (cv_load16(bytes + at) == MESSAGE_INTEGRITY)
			break;
	}
	if (at >= size)
		return;
	memcpy(cut, bytes, next);
	cv_store16(cut + 2, (uint16_t)(next - STUN_HEADER));
	CV_ASSERT(stun_read(cut, next, &m));
	CV_ASSERT(says_the_same(&m, whole));
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stun_message m;

	if (size == 0 || size > DATAGRAM_MAX || !stun_read(data, size, &m))
		return 0;
	CV_ASSERT(size >= STUN_HEADER && m.unknown_count <= STUN_UNKNOWN_MAX);
	CV_ASSERT(m.error == 0 || (m.error >= 300 && m.error <= 699));
	if (m.type == STUN_REQUEST) {
		CV_ASSERT(!stun_is_answer(&m, m.id + 4));
		check_answer(&m, size);
	}
	check_sealed(data, size, &m);
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

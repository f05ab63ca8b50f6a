/* SPDX-License-Identifier: MIT */

/*
 * The header and the status of a stream, as a peer may send them. The first byte
 * chooses which.
 *
 * Oracles besides the sanitizers: what was read is written and read back the same;
 * a message is consumed whole or not at all; every prefix wants more or has the
 * verdict already; any code of a reset has an answer.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proxy/target.h"

static void check_request(const uint8_t *data, size_t size)
{
	struct target_request req, again;
	uint8_t bytes[TARGET_REQUEST_MAX];
	struct wr w = wr_init(bytes, sizeof(bytes));
	struct rd in = rd_init(data, size);
	enum target_read read = target_read_request(&in, &req);
	enum target_read part;

	CV_ASSERT(read == TARGET_READ_DONE || in.pos == data);
	for (size_t cut = 0; cut < size && cut < TARGET_REQUEST_MAX; cut++) {
		struct rd prefix = rd_init(data, cut);

		part = target_read_request(&prefix, &again);
		CV_ASSERT(part == TARGET_READ_NEED_MORE || part == read);
	}
	if (read != TARGET_READ_DONE)
		return;
	CV_ASSERT(size - rd_left(&in) <= TARGET_REQUEST_MAX);
	target_write_request(&w, &req);
	CV_ASSERT(!w.bad);
	in = rd_init(bytes, wr_size(&w));
	CV_ASSERT(target_read_request(&in, &again) == TARGET_READ_DONE);
	CV_ASSERT(rd_left(&in) == 0);
	CV_ASSERT(again.kind == req.kind);
	CV_ASSERT(hostport_equal(&again.to, &req.to));
	CV_ASSERT(again.has_listener == req.has_listener && again.listener == req.listener);
	CV_ASSERT(!req.has_listener || req.to.kind == HOST_NONE);
}

static void check_status(const uint8_t *data, size_t size)
{
	uint8_t bytes[TARGET_STATUS_MAX];
	struct wr w = wr_init(bytes, sizeof(bytes));
	struct rd in = rd_init(data, size);
	struct addr bound, again;
	enum target_read read = target_read_status(&in, &bound);

	CV_ASSERT(read != TARGET_READ_UNSUPPORTED);
	CV_ASSERT(read == TARGET_READ_DONE || in.pos == data);
	if (read != TARGET_READ_DONE)
		return;
	target_write_status(&w, &bound);
	CV_ASSERT(!w.bad);
	in = rd_init(bytes, wr_size(&w));
	CV_ASSERT(target_read_status(&in, &again) == TARGET_READ_DONE);
	CV_ASSERT(addr_equal(&bound, &again));
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum target_code code;

	if (size == 0)
		return 0;
	if (data[0] & 1)
		check_status(data + 1, size - 1);
	else
		check_request(data + 1, size - 1);
	if (size >= 9) {
		code = target_code_from_wire(cv_load64(data + 1));
		CV_ASSERT(code != TARGET_OK);
		CV_ASSERT(target_code_socks5(code) != 0);
		CV_ASSERT(target_code_text(code)[0] != 0);
	}
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

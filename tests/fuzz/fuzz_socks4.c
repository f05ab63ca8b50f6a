/* SPDX-License-Identifier: MIT */

/*
 * A SOCKS4 client as a fuzzer sends it. The first byte chooses whether there are users and how the
 * rest is cut up.
 *
 * Oracles besides the sanitizers: the answer, the verdict, the target and the stream data are the
 * same however the bytes are cut; nobody gets through where a password is asked for; a refusal is
 * eight bytes or, to what is no SOCKS4, none.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proxy/socks4.h"

struct transcript {
	enum socks4_verdict verdict;
	enum socks4_command command;
	size_t out_size;
	uint8_t out[SOCKS4_REPLY_SIZE];
	struct hostport target;
	size_t taken; /* bytes that were the request's */
};

/* @step: bytes a segment. */
static struct transcript run(bool has_users, size_t step, const uint8_t *data, size_t size)
{
	struct transcript t = { .verdict = SOCKS4_NEED_MORE };
	struct socks4 s;

	socks4_init(&s, has_users);
	for (size_t at = 0; at < size && t.verdict == SOCKS4_NEED_MORE; at += step) {
		size_t part = CV_MIN(step, size - at);
		struct rd in = rd_init(data + at, part);

		t.verdict = socks4_on_bytes(&s, &in);
		CV_ASSERT(!in.bad);
		t.taken += part - rd_left(&in);
		t.out_size = s.out_size;
		memcpy(t.out, s.out, s.out_size);
	}
	if (t.verdict == SOCKS4_REQUEST) {
		t.command = s.command;
		t.target = s.target;
	}
	return t;
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const size_t steps[] = { 1, 2, 7, size ? data[0] / 2u + 1 : 1 };
	struct transcript whole, cut;
	bool has_users;

	if (size < 2)
		return 0;
	has_users = data[0] & 1;
	data++;
	size--;
	whole = run(has_users, size, data, size);
	for (size_t i = 0; i < CV_ARRAY_SIZE(steps); i++) {
		cut = run(has_users, steps[i], data, size);
		CV_ASSERT(cut.verdict == whole.verdict);
		CV_ASSERT(cut.command == whole.command);
		CV_ASSERT(cut.out_size == whole.out_size);
		CV_ASSERT(memcmp(cut.out, whole.out, whole.out_size) == 0);
		CV_ASSERT(cut.taken == whole.taken);
		CV_ASSERT(hostport_equal(&cut.target, &whole.target));
	}
	switch (whole.verdict) {
	case SOCKS4_NEED_MORE:
		CV_ASSERT(whole.taken == size && whole.out_size == 0);
		break;
	case SOCKS4_REQUEST:
		CV_ASSERT(!has_users && data[0] == 4 && whole.out_size == 0);
		CV_ASSERT(data[whole.taken - 1] == 0);
		CV_ASSERT(whole.target.port != 0 || whole.command == SOCKS4_BIND);
		CV_ASSERT(whole.target.kind == HOST_ADDR || whole.target.kind == HOST_NAME);
		break;
	case SOCKS4_CLOSE:
		CV_ASSERT(whole.out_size == (data[0] == 4 ? SOCKS4_REPLY_SIZE : 0));
		break;
	}
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

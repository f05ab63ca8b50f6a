/* SPDX-License-Identifier: MIT */

/*
 * A SOCKS5 client as a fuzzer sends it. The first byte chooses whether there are
 * users and how the rest is cut up.
 *
 * Oracles besides the sanitizers: the answers, the verdict, the target and the
 * stream data are the same however the bytes are cut; a target is one that the
 * tunnel's own codec carries; nothing is asked for without the password.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proxy/socks5.h"

enum { OUT_MAX = 64 };

struct transcript {
	uint8_t out[OUT_MAX];
	size_t out_size;
	enum socks5_verdict verdict;
	enum socks5_command command;
	struct hostport target;
	size_t taken; /* bytes that were the handshake's */
	const char *user;
};

static const struct auth_user users[] = { { "u", "p" } };

static void feed(struct socks5 *s, struct transcript *t, const uint8_t *bytes, size_t size)
{
	struct rd in = rd_init(bytes, size);

	while (t->verdict == SOCKS5_NEED_MORE || t->verdict == SOCKS5_REPLY) {
		t->verdict = socks5_on_bytes(s, &in);
		CV_ASSERT(!in.bad);
		CV_ASSERT(t->out_size + s->out_size <= OUT_MAX);
		memcpy(t->out + t->out_size, s->out, s->out_size);
		t->out_size += s->out_size;
		if (t->verdict == SOCKS5_NEED_MORE)
			break;
	}
	t->taken += size - rd_left(&in);
	t->user = s->user;
	if (t->verdict == SOCKS5_REQUEST) {
		t->command = s->command;
		t->target = s->target;
	}
}

/* @step: bytes a segment; 0: all at once. */
static struct transcript run(bool has_users, size_t step, const uint8_t *data, size_t size)
{
	struct transcript t = { .verdict = SOCKS5_NEED_MORE };
	struct socks5 s;
	size_t at = 0, part;

	socks5_init(&s, has_users ? users : NULL, has_users ? 1 : 0);
	do {
		part = step && step < size - at ? step : size - at;
		feed(&s, &t, data + at, part);
		at += part;
	} while (at < size && t.verdict != SOCKS5_REQUEST && t.verdict != SOCKS5_CLOSE);
	return t;
}

static void check_target(const struct hostport *target)
{
	struct target_request req = { .kind = TARGET_KIND_TCP, .to = *target }, got;
	uint8_t bytes[TARGET_REQUEST_MAX];
	struct wr w = wr_init(bytes, sizeof(bytes));
	struct rd in;

	target_write_request(&w, &req);
	CV_ASSERT(!w.bad);
	in = rd_init(bytes, wr_size(&w));
	CV_ASSERT(target_read_request(&in, &got) == TARGET_READ_DONE);
	CV_ASSERT(rd_left(&in) == 0);
	CV_ASSERT(hostport_equal(&got.to, target));
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const size_t steps[] = { 1, 2, 3, size ? data[0] / 2u + 1 : 1 };
	struct transcript whole, cut;
	bool has_users;

	if (size == 0)
		return 0;
	has_users = data[0] & 1;
	data++;
	size--;
	whole = run(has_users, 0, data, size);
	for (size_t i = 0; i < CV_ARRAY_SIZE(steps); i++) {
		cut = run(has_users, steps[i], data, size);
		CV_ASSERT(cut.verdict == whole.verdict);
		CV_ASSERT(cut.out_size == whole.out_size);
		CV_ASSERT(memcmp(cut.out, whole.out, whole.out_size) == 0);
		CV_ASSERT(cut.taken == whole.taken);
		CV_ASSERT(cut.user == whole.user);
		CV_ASSERT(cut.command == whole.command);
		CV_ASSERT(hostport_equal(&cut.target, &whole.target));
	}
	if (whole.verdict == SOCKS5_REQUEST) {
		CV_ASSERT(!has_users || whole.user);
		CV_ASSERT(whole.command != SOCKS5_CONNECT || whole.target.port != 0);
		if (whole.target.port != 0)
			check_target(&whole.target);
	} else {
		CV_ASSERT(whole.target.kind == HOST_NONE);
	}
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

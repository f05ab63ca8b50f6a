/* SPDX-License-Identifier: MIT */

/*
 * A client of the HTTP proxy as a fuzzer sends it: a head and what comes behind it. The first byte
 * chooses whether there are users and how the rest is cut up.
 *
 * Oracles besides the sanitizers: the verdict, status, target, rewritten head and filtered body are
 * the same however the bytes are cut; nobody gets through without the password; what goes on to the
 * target is a head that our own parser takes, line by line, has the Host of the target, no field
 * that was between client and proxy, one framing, and no byte behind its body.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/http.h"

enum { INPUT_MAX = 16384 };

static const struct auth_user users[] = { { "u", "p" } };

struct transcript {
	enum http_verdict verdict;
	uint16_t status;
	struct hostport target;
	const char *user;
	size_t taken; /* bytes that were the head's */
	bool is_done, is_bad;
	size_t size;
	uint8_t *sent; /* owned: head and body as the target gets them */
};

static void take_body(struct transcript *t, struct http_body *b, const uint8_t *bytes, size_t size)
{
	uint8_t *at = t->sent + t->size;

	memcpy(at, bytes, size);
	t->size += http_body_filter(b, at, size);
	t->is_done = http_body_is_done(b);
	t->is_bad = http_body_is_bad(b);
}

static void feed(struct http *h, uint8_t **memory, struct transcript *t, const uint8_t *bytes,
                 size_t size)
{
	struct rd in = rd_init(bytes, size);

	if (t->verdict == HTTP_FORWARD) {
		take_body(t, &h->body, bytes, size);
		return;
	}
	while ((t->verdict = http_on_bytes(h, &in)) == HTTP_NEED_ROOM) {
		size_t cap = CV_MIN(h->head.cap * 3, (size_t)HTTP_HEAD_MAX);
		uint8_t *more = malloc(cap);

		CV_ASSERT(more);
		http_lend(h, more, cap);
		free(*memory);
		*memory = more;
	}
	t->taken += size - rd_left(&in);
	if (t->verdict == HTTP_FORWARD) {
		struct wr w = wr_init(t->sent, h->head.size + HTTP_REQUEST_EXTRA);

		http_write_request(h, &w);
		CV_ASSERT(!w.bad);
		t->size = wr_size(&w);
		take_body(t, &h->body, in.pos, rd_left(&in));
	}
}

/* @step: bytes a segment. */
static struct transcript run(bool has_users, size_t step, const uint8_t *data, size_t size)
{
	struct transcript t = { .verdict = HTTP_NEED_MORE };
	uint8_t *memory = malloc(HTTP_HEAD_METHOD_MAX);
	struct http h;

	t.sent = malloc(size + HTTP_REQUEST_EXTRA);
	CV_ASSERT(memory && t.sent);
	http_init(&h, has_users ? users : NULL, has_users ? 1 : 0, memory, HTTP_HEAD_METHOD_MAX);
	for (size_t at = 0; at < size; at += step) {
		if (t.verdict != HTTP_NEED_MORE && t.verdict != HTTP_FORWARD)
			break;
		feed(&h, &memory, &t, data + at, CV_MIN(step, size - at));
	}
	if (t.verdict == HTTP_CLOSE)
		t.status = h.status;
	if (t.verdict == HTTP_CONNECT || t.verdict == HTTP_FORWARD)
		t.target = h.target;
	t.user = h.user;
	free(memory);
	return t;
}

static bool has(const struct http_head *h, const char *name, unsigned count)
{
	for (size_t i = 0; i < h->field_count; i++)
		count -= http_head_field_is(h, &h->fields[i], name);
	return count == 0;
}

/* What the target gets is one request, with nothing behind it. */
static void check_sent(const struct transcript *t)
{
	static const char *const gone[] = {
		"proxy-authorization", "proxy-connection", "keep-alive", "te", "trailer", "upgrade"
	};
	uint8_t *memory = malloc(HTTP_HEAD_MAX);
	struct rd in = rd_init(t->sent, t->size);
	struct http_head h;

	CV_ASSERT(memory);
	http_head_init(&h, memory, HTTP_HEAD_MAX);
	CV_ASSERT(http_head_on_bytes(&h, &in) == HTTP_HEAD_LINE);
	CV_ASSERT(memory[h.target_at] == '/' || memory[h.target_at] == '*');
	/* The Host may be one field more than there were, and so may Connection. */
	if (http_head_on_bytes(&h, &in) == HTTP_HEAD_DONE) {
		CV_ASSERT(has(&h, "host", 1));
		CV_ASSERT(http_head_field_is(&h, &h.fields[0], "host"));
		CV_ASSERT(has(&h, "connection", 1));
		for (size_t i = 0; i < CV_ARRAY_SIZE(gone); i++)
			CV_ASSERT(has(&h, gone[i], 0));
		CV_ASSERT(has(&h, "content-length", 0) || has(&h, "transfer-encoding", 0));
		if (has(&h, "content-length", 0) && has(&h, "transfer-encoding", 0))
			CV_ASSERT(rd_left(&in) == 0 && t->is_done);
	} else {
		CV_ASSERT(h.status == 431);
	}
	free(memory);
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const size_t steps[] = { 1, 2, 5, size ? data[0] / 2u + 1 : 1 };
	struct transcript whole, cut;
	bool has_users;

	if (size < 2 || size > INPUT_MAX)
		return 0;
	has_users = data[0] & 1;
	data++;
	size--;
	whole = run(has_users, size, data, size);
	for (size_t i = 0; i < CV_ARRAY_SIZE(steps); i++) {
		cut = run(has_users, steps[i], data, size);
		CV_ASSERT(cut.verdict == whole.verdict);
		CV_ASSERT(cut.status == whole.status);
		CV_ASSERT(cut.taken == whole.taken);
		CV_ASSERT(cut.user == whole.user);
		CV_ASSERT(hostport_equal(&cut.target, &whole.target));
		CV_ASSERT(cut.is_done == whole.is_done && cut.is_bad == whole.is_bad);
		CV_ASSERT(cut.size == whole.size);
		CV_ASSERT(memcmp(cut.sent, whole.sent, whole.size) == 0);
		free(cut.sent);
	}
	if (whole.verdict == HTTP_CONNECT || whole.verdict == HTTP_FORWARD) {
		CV_ASSERT(!has_users || whole.user);
		CV_ASSERT(whole.target.kind == HOST_ADDR || whole.target.kind == HOST_NAME);
		CV_ASSERT(whole.target.port != 0);
		CV_ASSERT(!memchr(data, 0, whole.taken));
	}
	if (whole.verdict == HTTP_FORWARD)
		check_sent(&whole);
	CV_ASSERT(whole.verdict != HTTP_CLOSE || (whole.status >= 400 && whole.status < 600));
	free(whole.sent);
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

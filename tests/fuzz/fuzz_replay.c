/* SPDX-License-Identifier: MIT */

/*
 * The first byte chooses the window; each three after it are one number, near the front, far
 * below it, or a jump. Oracle: a list of all numbers accepted so far gives the same verdicts, the
 * check changes nothing, and the accepted follow from the check.
 */
#include <string.h>

#include "base/compiler.h"
#include "tunnel/replay.h"

enum { WINDOW_MAX = 1024, OPERATIONS_MAX = 1024 };

struct oracle {
	uint64_t accepted[OPERATIONS_MAX];
	unsigned count;
	uint64_t next;
};

static enum replay_verdict judge(const struct oracle *o, uint64_t number, uint32_t window)
{
	if (number == UINT64_MAX)
		return REPLAY_TOO_OLD;
	if (number < o->next && o->next - number > window)
		return REPLAY_TOO_OLD;
	for (unsigned i = 0; i < o->count; i++)
		if (o->accepted[i] == number)
			return REPLAY_DUPLICATE;
	return REPLAY_FRESH;
}

static uint64_t pick(const uint8_t *op, const struct oracle *o)
{
	const uint64_t value = (uint64_t)op[1] << 8 | op[2];

	switch (op[0] & 7) {
	case 0:
		return o->next + op[2];
	case 1:
		return o->next + value;
	case 2:
		return o->next - op[2]; /* wraps at first, on purpose */
	case 3:
		return o->next - value;
	case 4:
		return o->count ? o->accepted[value % o->count] : value;
	case 5:
		return value;
	case 6:
		return o->next + (value << (op[0] >> 3));
	default:
		return UINT64_MAX - value;
	}
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct oracle o;
	uint64_t words[REPLAY_WORDS(WINDOW_MAX)];
	uint32_t window;
	struct replay w;

	if (size == 0)
		return 0;
	window = UINT32_C(64) << data[0] % 5;
	memset(&o, 0, sizeof(o));
	memset(words, 0xff, sizeof(words)); /* the init must clear them */
	replay_init(&w, words, REPLAY_WORDS(window), window);
	for (size_t at = 1; at + 3 <= size && o.count < OPERATIONS_MAX; at += 3) {
		const uint64_t number = pick(data + at, &o);
		const struct replay before = w;
		const enum replay_verdict expected = judge(&o, number, window);

		CV_ASSERT(replay_check(&w, number) == expected);
		CV_ASSERT(memcmp(&w, &before, sizeof(w)) == 0);
		CV_ASSERT(replay_accept(&w, number) == expected);
		if (expected == REPLAY_FRESH) {
			o.accepted[o.count++] = number;
			o.next = CV_MAX(o.next, number + 1);
		}
		CV_ASSERT(w.next == o.next);
	}
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

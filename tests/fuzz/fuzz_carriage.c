/* SPDX-License-Identifier: MIT */

/*
 * A TCP connection's bytes as anybody may send them. The first byte says how the rest is cut.
 *
 * Oracles besides the sanitizers: the datagrams, and whether and where the stream breaks, are the
 * same however the bytes are cut; each datagram is written back as the very bytes it was read from;
 * what is not copied lies among the bytes that were given.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tunnel/carriage.h"

enum { ROOM = 8192 };

struct transcript {
	uint8_t out[ROOM];
	size_t size; /* of frames written again */
	unsigned count;
	bool is_broken;
};

static void feed(struct carriage *c, struct transcript *t, uint8_t *bytes, size_t size)
{
	const uint8_t *begin = bytes, *end = bytes + size;
	struct carriage_datagram d;
	enum carriage_verdict v;

	while ((v = carriage_next(c, &bytes, &size, &d)) == CARRIAGE_DATAGRAM) {
		CV_ASSERT(bytes + size == end);
		CV_ASSERT(d.is_copied || (d.bytes > begin && d.bytes + d.size <= end));
		CV_ASSERT(t->size + CARRIAGE_HEADER + d.size <= ROOM);
		carriage_write_header(t->out + t->size, d.size);
		memcpy(t->out + t->size + CARRIAGE_HEADER, d.bytes, d.size);
		t->size += CARRIAGE_HEADER + d.size;
		t->count++;
	}
	CV_ASSERT(v == CARRIAGE_BROKEN || size == 0);
	t->is_broken = v == CARRIAGE_BROKEN;
}

static void run(struct transcript *t, size_t step, const uint8_t *data, size_t size)
{
	uint8_t part[ROOM];
	struct carriage c;

	*t = (struct transcript){ .is_broken = false };
	carriage_init(&c);
	for (size_t at = 0; at < size; at += step) {
		memcpy(part, data + at, CV_MIN(step, size - at));
		feed(&c, t, part, CV_MIN(step, size - at));
	}
	CV_ASSERT(t->is_broken || c.have + t->size == size);
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct transcript whole, cut;
	const size_t steps[] = { 1, 2, 3, size ? data[0] + 1u : 1, size ? data[0] * 7u + 1 : 1 };

	if (size < 2 || size > ROOM)
		return 0;
	data++;
	size--;
	run(&whole, size, data, size);
	CV_ASSERT(memcmp(whole.out, data, whole.size) == 0);
	for (size_t i = 0; i < CV_ARRAY_SIZE(steps); i++) {
		run(&cut, steps[i], data, size);
		CV_ASSERT(cut.is_broken == whole.is_broken && cut.count == whole.count);
		CV_ASSERT(cut.size == whole.size && memcmp(cut.out, whole.out, cut.size) == 0);
	}
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

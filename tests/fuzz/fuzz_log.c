/* SPDX-License-Identifier: MIT */

/*
 * Oracle: the escaped text is printable ASCII, within its bound, ended by a NUL,
 * a prefix of what a larger buffer gets, and not changed by escaping it again. The first byte
 * is the size of the small buffer.
 */
#include <string.h>

#include "base/compiler.h"
#include "base/log.h"

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *text, size_t size, size_t cap)
{
	CV_ASSERT(size < cap);
	CV_ASSERT(text[size] == 0);
	for (size_t i = 0; i < size; i++)
		CV_ASSERT(text[i] >= ' ' && text[i] <= '~');
}

static const char *sunk;

static void keep(void *ctx, enum log_level level, const char *line)
{
	(void)ctx;
	(void)level;
	check(line, strlen(line), LOG_LINE_MAX);
	sunk = line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char whole[4 * 4096 + 1], again[sizeof(whole)];
	char part[256], line[4097];
	size_t whole_size, part_size, cap;

	if (size < 1 || size > 4096)
		return 0;
	cap = data[0] ? data[0] : 1;
	data++;
	size--;

	whole_size = log_escape(whole, sizeof(whole), (const char *)data, size);
	check(whole, whole_size, sizeof(whole));
	CV_ASSERT(whole_size >= size);
	part_size = log_escape(part, cap, (const char *)data, size);
	check(part, part_size, cap);
	CV_ASSERT(memcmp(part, whole, part_size) == 0);
	/* Stopped because the next character, four bytes at most, did not fit. */
	CV_ASSERT(part_size == whole_size || cap - part_size <= 4);
	CV_ASSERT(log_escape(again, sizeof(again), whole, whole_size) == whole_size);
	CV_ASSERT(memcmp(again, whole, whole_size) == 0);

	memcpy(line, data, size);
	line[size] = 0;
	sunk = NULL;
	log_init(LOG_INFO, keep, NULL);
	log_info("text=%s", line);
	CV_ASSERT(sunk);
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

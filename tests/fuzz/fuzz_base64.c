/* SPDX-License-Identifier: MIT */

/*
 * Oracle: a text that is read is the one text of its key, and a text that is
 * refused leaves the key alone. Bytes that are long enough are also a key, which
 * must come back from its text.
 */
#include <string.h>

#include "base/base64.h"
#include "base/compiler.h"

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[KEY_TEXT_SIZE + 1];
	uint8_t key[KEY_SIZE], untouched[KEY_SIZE];

	memset(untouched, 0xee, sizeof(untouched));
	memcpy(key, untouched, sizeof(key));
	if (base64_key_read((const char *)data, size, key) == 0) {
		CV_ASSERT(size == KEY_TEXT_SIZE);
		base64_key_write(text, key);
		CV_ASSERT(memcmp(text, data, KEY_TEXT_SIZE) == 0);
	} else {
		CV_ASSERT(memcmp(key, untouched, sizeof(key)) == 0);
	}
	if (size >= KEY_SIZE) {
		base64_key_write(text, data);
		CV_ASSERT(strlen(text) == KEY_TEXT_SIZE);
		CV_ASSERT(base64_key_read(text, KEY_TEXT_SIZE, key) == 0);
		CV_ASSERT(memcmp(key, data, KEY_SIZE) == 0);
	}
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

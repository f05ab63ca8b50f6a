/* SPDX-License-Identifier: MIT */

/*
 * An answer to a UPnP search, from anybody in the LAN. Oracles besides the sanitizers: a URL that
 * comes out is printable, ended, and stands in the answer as it is; what is said to lie at the
 * gateway begins with its address and goes on with nothing but a port and a path.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "net/ssdp.h"

static bool stands_in(const uint8_t *data, size_t size, const char *text)
{
	const size_t text_size = strlen(text);

	for (size_t at = 0; at + text_size <= size; at++) {
		if (memcmp(data + at, text, text_size) == 0)
			return true;
	}
	return false;
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct addr gateway = addr_v4(192, 168, 1, 1, 0);
	char url[SSDP_URL_MAX];
	size_t at;

	memset(url, 'x', sizeof(url));
	if (size == 0 || !ssdp_read_answer(data, size, url))
		return 0;
	CV_ASSERT(memchr(url, '\0', sizeof(url)));
	CV_ASSERT(url[0] != '\0');
	for (const char *c = url; *c; c++)
		CV_ASSERT(*c > ' ' && *c <= '~');
	CV_ASSERT(stands_in(data, size, url));
	if (!ssdp_is_at(url, &gateway))
		return 0;
	CV_ASSERT(memcmp(url + 7, "192.168.1.1", 11) == 0);
	at = 18 + strspn(url + 18, ":0123456789");
	CV_ASSERT(url[at] == '/' || url[at] == '\0');
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

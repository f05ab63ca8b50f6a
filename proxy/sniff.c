/* SPDX-License-Identifier: MIT */
#include "proxy/sniff.h"

enum sniff_kind sniff_first_byte(const struct rd *in)
{
	struct rd r = *in;
	uint8_t first = rd_u8(&r);

	if (r.bad)
		return SNIFF_NEED_MORE;
	if (first == 5)
		return SNIFF_SOCKS5;
	if (first == 4)
		return SNIFF_SOCKS4;
	/* RFC 9110, 9.1: methods are case-sensitive, and all that are registered are capitals. */
	if (first >= 'A' && first <= 'Z')
		return SNIFF_HTTP;
	return SNIFF_UNKNOWN;
}

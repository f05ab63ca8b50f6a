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

#define HTTP_BODY "This port speaks SOCKS5 only.\n"

/* Both refusals name no target and need no more of the request than its first byte. */
void sniff_write_refusal(struct wr *w, enum sniff_kind kind)
{
	/* VN 0, CD 91 "request rejected or failed", then a port and an address without meaning. */
	static const uint8_t socks4[8] = { 0, 0x5b };
	static const char http[] = "HTTP/1.1 501 Not Implemented\r\n"
				   "Content-Type: text/plain; charset=utf-8\r\n"
				   "Content-Length: 30\r\n"
				   "Connection: close\r\n"
				   "\r\n" HTTP_BODY;

	_Static_assert(sizeof(HTTP_BODY) - 1 == 30, "Content-Length");
	_Static_assert(sizeof(http) <= SNIFF_REFUSAL_MAX, "fits");
	switch (kind) {
	case SNIFF_SOCKS4:
		wr_copy(w, socks4, sizeof(socks4));
		return;
	case SNIFF_HTTP:
		wr_copy(w, http, sizeof(http) - 1);
		return;
	case SNIFF_NEED_MORE:
	case SNIFF_SOCKS5:
	case SNIFF_UNKNOWN: /* not one byte for whoever probes ports */
		return;
	}
	CV_UNREACHABLE();
}

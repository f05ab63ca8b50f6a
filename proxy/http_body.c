/* SPDX-License-Identifier: MIT */
#include "proxy/http_body.h"

#include <string.h>

#include "proxy/http_head.h"

/*
 *   chunk    = 1*HEXDIG [ ";" extension ] CRLF bytes CRLF          extension: dropped
 *   last     = 1*"0"    [ ";" extension ] CRLF
 *   trailers = *( name ":" value CRLF )                            dropped
 *   end      = CRLF
 *
 * Blanks about a size are refused though RFC 9112, 7.1.1 lets them be: servers differ about them,
 * and what two read differently is how a request is smuggled.
 */

void http_body_init_length(struct http_body *b, uint64_t size)
{
	*b = (struct http_body){ .state = size ? HTTP_BODY_LENGTH : HTTP_BODY_DONE, .left = size };
}

void http_body_init_chunked(struct http_body *b)
{
	*b = (struct http_body){ .state = HTTP_BODY_SIZE };
}

bool http_body_is_done(const struct http_body *b)
{
	return b->state == HTTP_BODY_DONE;
}

bool http_body_is_bad(const struct http_body *b)
{
	return b->state == HTTP_BODY_BAD;
}

/* 0..15, or 16. */
static unsigned hex(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - (unsigned)'0';
	if (c >= 'a' && c <= 'f')
		return c - (unsigned)'a' + 10;
	return c >= 'A' && c <= 'F' ? c - (unsigned)'A' + 10 : 16;
}

static bool on_size(struct http_body *b, uint8_t c)
{
	unsigned digit = hex(c);

	if (digit < 16 && b->digits < HTTP_BODY_DIGITS_MAX) {
		b->left = b->left << 4 | digit;
		b->digits++;
		return true;
	}
	if (b->digits == 0 || digit < 16 || (c != ';' && c != '\r'))
		b->state = HTTP_BODY_BAD;
	else
		b->state = c == ';' ? HTTP_BODY_EXTENSION : HTTP_BODY_SIZE_LF;
	return b->state == HTTP_BODY_SIZE_LF;
}

/* To @next if this is what must come here. */
static bool expect(struct http_body *b, uint8_t c, uint8_t wanted, enum http_body_state next)
{
	b->state = c == wanted ? next : HTTP_BODY_BAD;
	return c == wanted;
}

/* One byte of an extension or a trailer, which go no further. @next: after its CR. */
static bool on_extra(struct http_body *b, uint8_t c, enum http_body_state next)
{
	if (c == '\r')
		b->state = next;
	else if (!http_head_is_value(c) || ++b->extras > HTTP_BODY_EXTRAS_MAX)
		b->state = HTTP_BODY_BAD;
	return false;
}

static bool on_trailer_name(struct http_body *b, uint8_t c)
{
	bool is_first = b->state == HTTP_BODY_TRAILER;

	if (is_first && c == '\r') {
		b->state = HTTP_BODY_END_LF;
		return true;
	}
	if (!is_first && c == ':')
		b->state = HTTP_BODY_TRAILER_VALUE;
	else if (http_head_is_token(c) && ++b->extras <= HTTP_BODY_EXTRAS_MAX)
		b->state = HTTP_BODY_TRAILER_NAME;
	else
		b->state = HTTP_BODY_BAD;
	return false;
}

/* One byte that is no data; true when it goes on to the target. */
static bool on_byte(struct http_body *b, uint8_t c)
{
	switch (b->state) {
	case HTTP_BODY_SIZE:
		return on_size(b, c);
	case HTTP_BODY_EXTENSION:
		/* Its CR goes on: it ends the line of the size. */
		(void)on_extra(b, c, HTTP_BODY_SIZE_LF);
		return b->state == HTTP_BODY_SIZE_LF;
	case HTTP_BODY_SIZE_LF:
		return expect(b, c, '\n', b->left ? HTTP_BODY_CHUNK : HTTP_BODY_TRAILER);
	case HTTP_BODY_CHUNK_CR:
		return expect(b, c, '\r', HTTP_BODY_CHUNK_LF);
	case HTTP_BODY_CHUNK_LF:
		b->digits = 0;
		return expect(b, c, '\n', HTTP_BODY_SIZE);
	case HTTP_BODY_TRAILER:
	case HTTP_BODY_TRAILER_NAME:
		return on_trailer_name(b, c);
	case HTTP_BODY_TRAILER_VALUE:
		return on_extra(b, c, HTTP_BODY_TRAILER_LF);
	case HTTP_BODY_TRAILER_LF:
		(void)expect(b, c, '\n', HTTP_BODY_TRAILER);
		return false;
	case HTTP_BODY_END_LF:
		return expect(b, c, '\n', HTTP_BODY_DONE);
	case HTTP_BODY_LENGTH: /* data: not byte by byte */
	case HTTP_BODY_CHUNK:
	case HTTP_BODY_DONE:
	case HTTP_BODY_BAD:
		break;
	}
	CV_UNREACHABLE();
}

size_t http_body_filter(struct http_body *b, uint8_t *bytes, size_t size)
{
	size_t at = 0, kept = 0, run;
	uint8_t c;

	while (at < size && b->state != HTTP_BODY_DONE && b->state != HTTP_BODY_BAD) {
		if (b->state != HTTP_BODY_LENGTH && b->state != HTTP_BODY_CHUNK) {
			c = bytes[at++];
			if (on_byte(b, c))
				bytes[kept++] = c;
			continue;
		}
		run = b->left < size - at ? (size_t)b->left : size - at;
		if (kept != at)
			memmove(bytes + kept, bytes + at, run);
		kept += run;
		at += run;
		b->left -= run;
		if (b->left == 0)
			b->state =
				b->state == HTTP_BODY_CHUNK ? HTTP_BODY_CHUNK_CR : HTTP_BODY_DONE;
	}
	CV_ASSERT(kept <= size);
	return kept;
}

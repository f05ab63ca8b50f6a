/* SPDX-License-Identifier: MIT */
#include "proxy/http_head.h"

#include <string.h>

/*
 *   METHOD SP TARGET SP VERSION CR LF        FIELD = NAME ":" BLANK VALUE CR LF
 *   FIELD*
 *   CR LF
 *
 * One byte is one step, so cutting the bytes up cannot matter, and a request that is wrong is
 * answered before more of it is waited for.
 */

/* In h->bytes, and as long as places are 16 bits wide. */
_Static_assert(HTTP_HEAD_MAX - 1 <= UINT16_MAX, "every byte has a place");
_Static_assert(HTTP_HEAD_FIELDS_MAX <= UINT8_MAX, "field_count");

void http_head_init(struct http_head *h, uint8_t *bytes, size_t cap)
{
	CV_ASSERT(cap >= HTTP_HEAD_METHOD_MAX);
	memset(h, 0, sizeof(*h));
	h->bytes = bytes;
	h->cap = cap;
}

void http_head_lend(struct http_head *h, uint8_t *bytes, size_t cap)
{
	CV_ASSERT(cap > h->size);
	CV_ASSERT(cap <= HTTP_HEAD_MAX);
	memcpy(bytes, h->bytes, h->size);
	h->bytes = bytes;
	h->cap = cap;
}

bool http_head_is_token(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != 0 && strchr("!#$%&'*+-.^_`|~", c));
}

bool http_head_is_value(uint8_t c)
{
	return c == '\t' || (c >= ' ' && c != 0x7f);
}

static uint8_t lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c - 'A' + 'a') : c;
}

bool http_head_equal(const uint8_t *bytes, size_t size, const char *text)
{
	if (strlen(text) != size)
		return false;
	for (size_t i = 0; i < size; i++) {
		if (lower(bytes[i]) != (uint8_t)text[i])
			return false;
	}
	return true;
}

bool http_head_field_is(const struct http_head *h, const struct http_head_field *f,
                        const char *name)
{
	return http_head_equal(h->bytes + f->name_at, f->name_size, name);
}

static void fail(struct http_head *h, uint16_t status, const char *why)
{
	h->status = status;
	h->why = why;
	h->state = HTTP_HEAD_BROKEN;
}

static bool method_is(const struct http_head *h, const char *name)
{
	return h->method_size == strlen(name) && memcmp(h->bytes, name, h->method_size) == 0;
}

static void on_method(struct http_head *h, uint8_t c)
{
	if (c == ' ' && h->size > 0) {
		h->method_size = (uint16_t)h->size;
		h->is_connect = method_is(h, "CONNECT");
		h->target_at = (uint16_t)(h->size + 1);
		h->state = HTTP_HEAD_TARGET;
		/* TRACE would echo what the client told the proxy; PRI begins HTTP/2. */
		if (method_is(h, "PRI"))
			fail(h, 405, "this proxy does not speak HTTP/2");
		else if (method_is(h, "TRACE"))
			fail(h, 405, "the method TRACE is not supported");
		return;
	}
	if (!http_head_is_token(c))
		fail(h, 400, "the request does not begin with a method and one space");
	else if (!(c >= 'A' && c <= 'Z') && c != '-')
		fail(h, 405, "methods are written in capitals");
	else if (h->size == HTTP_HEAD_METHOD_MAX)
		fail(h, 405, "no method has so long a name");
}

static void on_target(struct http_head *h, uint8_t c)
{
	size_t size = h->size - h->target_at;

	if (c == ' ' && size > 0) {
		h->target_size = (uint16_t)size;
		h->version_at = (uint16_t)(h->size + 1);
		h->state = HTTP_HEAD_VERSION;
	} else if (c == '\r' || c == '\n') {
		fail(h, 400, "the request line has no version: HTTP/0.9 is not supported");
	} else if (c <= ' ' || c == 0x7f) {
		fail(h, 400, "the request's target has a character that needs encoding");
	}
}

/* "HTTP/", a digit, a dot, a digit. */
static void on_version(struct http_head *h, uint8_t c)
{
	static const char form[] = "HTTP/#.#\r";
	size_t at = h->size - h->version_at;
	bool is_digit = c >= '0' && c <= '9';

	CV_ASSERT(at < sizeof(form) - 1);
	if (form[at] == '\r') {
		h->state = HTTP_HEAD_LINE_LF;
		if (c != '\r')
			fail(h, 400, "the request line does not end in CR LF");
	} else if (form[at] == '#' ? !is_digit : c != (uint8_t)form[at]) {
		fail(h, 400, "the request line does not end in a version");
	} else if (at == 5 ? c != '1' : at == 7 && c > '1') {
		fail(h, 505, "this proxy speaks HTTP/1.0 and HTTP/1.1");
	} else if (at == 7) {
		h->minor = (uint8_t)(c - '0');
	}
}

/* At the beginning of a line. */
static void on_field(struct http_head *h, uint8_t c)
{
	if (c == '\r') {
		h->state = HTTP_HEAD_END_LF;
	} else if (c == ' ' || c == '\t') {
		fail(h, 400, "a field is folded over two lines");
	} else if (!http_head_is_token(c)) {
		fail(h, 400, "a line is neither a field nor empty");
	} else if (h->field_count == HTTP_HEAD_FIELDS_MAX) {
		fail(h, 431, "the request has too many fields");
	} else {
		h->fields[h->field_count].name_at = (uint16_t)h->size;
		h->state = HTTP_HEAD_NAME;
	}
}

static void on_name(struct http_head *h, uint8_t c)
{
	struct http_head_field *f = &h->fields[h->field_count];

	if (c == ':') {
		f->name_size = (uint16_t)(h->size - f->name_at);
		h->state = HTTP_HEAD_BLANK;
	} else if (!http_head_is_token(c)) {
		fail(h, 400, "a field's name does not end in a colon");
	}
}

/* A value, from its first byte; blanks at its end are cut off when the line ends. */
static void on_value(struct http_head *h, uint8_t c)
{
	struct http_head_field *f = &h->fields[h->field_count];
	size_t end = h->size;

	if (h->state == HTTP_HEAD_BLANK && (c == ' ' || c == '\t'))
		return;
	if (h->state == HTTP_HEAD_BLANK) {
		f->value_at = (uint16_t)h->size;
		h->state = HTTP_HEAD_VALUE;
	}
	if (c == '\r') {
		while (end > f->value_at && (h->bytes[end - 1] == ' ' || h->bytes[end - 1] == '\t'))
			end--;
		f->value_size = (uint16_t)(end - f->value_at);
		h->field_count++;
		h->state = HTTP_HEAD_FIELD_LF;
	} else if (!http_head_is_value(c)) {
		fail(h, 400,
		     c == '\n' ? "a line does not end in CR LF"
		               : "a field has a control character");
	}
}

static void on_lf(struct http_head *h, uint8_t c, enum http_head_state next)
{
	h->state = next;
	if (c != '\n')
		fail(h, 400, "a CR without LF");
}

static void on_byte(struct http_head *h, uint8_t c)
{
	switch (h->state) {
	case HTTP_HEAD_METHOD:
		on_method(h, c);
		return;
	case HTTP_HEAD_TARGET:
		on_target(h, c);
		return;
	case HTTP_HEAD_VERSION:
		on_version(h, c);
		return;
	case HTTP_HEAD_LINE_LF:
		on_lf(h, c, HTTP_HEAD_FIELD);
		return;
	case HTTP_HEAD_FIELD:
		on_field(h, c);
		return;
	case HTTP_HEAD_NAME:
		on_name(h, c);
		return;
	case HTTP_HEAD_BLANK:
	case HTTP_HEAD_VALUE:
		on_value(h, c);
		return;
	case HTTP_HEAD_FIELD_LF:
		on_lf(h, c, HTTP_HEAD_FIELD);
		return;
	case HTTP_HEAD_END_LF:
		on_lf(h, c, HTTP_HEAD_READ);
		return;
	case HTTP_HEAD_READ:
	case HTTP_HEAD_BROKEN:
		break;
	}
	CV_UNREACHABLE();
}

/* One byte more is one too many. */
static void fail_for_size(struct http_head *h)
{
	if (h->state <= HTTP_HEAD_LINE_LF)
		fail(h, 414, "the request's target is too long");
	else
		fail(h, 431, "the request's fields are too long");
}

enum http_head_verdict http_head_on_bytes(struct http_head *h, struct rd *in)
{
	if (h->state == HTTP_HEAD_READ)
		return HTTP_HEAD_NEED_MORE;
	while (h->state != HTTP_HEAD_BROKEN) {
		enum http_head_state before = h->state;
		uint8_t c;

		if (rd_left(in) == 0)
			return HTTP_HEAD_NEED_MORE;
		if (h->size == (h->is_connect ? HTTP_HEAD_CONNECT_MAX : HTTP_HEAD_MAX)) {
			fail_for_size(h);
			break;
		}
		if (h->size == h->cap)
			return HTTP_HEAD_NEED_ROOM;
		c = rd_u8(in);
		on_byte(h, c);
		if (h->state == HTTP_HEAD_BROKEN)
			break;
		h->bytes[h->size++] = c;
		if (h->state == HTTP_HEAD_READ)
			return HTTP_HEAD_DONE;
		if (before == HTTP_HEAD_LINE_LF)
			return HTTP_HEAD_LINE;
	}
	return HTTP_HEAD_BAD;
}

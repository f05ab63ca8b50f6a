/* SPDX-License-Identifier: MIT */
#include "proxy/http.h"

#include <string.h>

#include "base/decimal.h"

/*
 *   LINE --target is good--> FIELDS --all is good--> ASKED
 *     |                        |
 *     +-- 4xx, 5xx ------------+-------------------> CLOSED
 */

static const char established[] = "HTTP/1.1 200 Connection established\r\n\r\n";
_Static_assert(sizeof(established) - 1 == HTTP_ESTABLISHED_SIZE, "as the header says");

#define TO(state) (1u << (state))
static const unsigned edges[] = {
	[HTTP_LINE] = TO(HTTP_FIELDS) | TO(HTTP_CLOSED),
	[HTTP_FIELDS] = TO(HTTP_ASKED) | TO(HTTP_CLOSED),
	[HTTP_ASKED] = 0,
	[HTTP_CLOSED] = 0,
};

/* The only place that writes h->state. */
static void enter(struct http *h, enum http_state next)
{
	CV_ASSERT(edges[h->state] & TO(next));
	h->state = next;
}

void http_init(struct http *h, const struct auth_user *users, size_t user_count, uint8_t *bytes,
               size_t cap)
{
	CV_ASSERT(users || user_count == 0);
	memset(h, 0, offsetof(struct http, head));
	h->users = users;
	h->user_count = user_count;
	http_head_init(&h->head, bytes, cap);
}

void http_lend(struct http *h, uint8_t *bytes, size_t cap)
{
	http_head_lend(&h->head, bytes, cap);
}

/* Returns false, so that a check may end in it. */
static bool fail(struct http *h, uint16_t status, const char *why)
{
	h->status = status;
	h->why = why;
	enter(h, HTTP_CLOSED);
	return false;
}

/* ---- the target ---- */

/* ":" and 1 to 65535. */
static bool read_port(const uint8_t *text, size_t size, uint16_t *out)
{
	unsigned port;

	if (text[0] != ':' || !decimal_read((const char *)text + 1, size - 1, UINT16_MAX, &port) ||
	    port == 0)
		return false;
	*out = (uint16_t)port;
	return true;
}

/* HOST[:PORT]; @port: what is meant without one, 0: it must be there. */
static bool read_authority(struct http *h, const uint8_t *text, size_t size, uint16_t port)
{
	const uint8_t *end = size ? memchr(text, text[0] == '[' ? ']' : ':', size) : NULL;
	size_t host_size = end ? (size_t)(end - text) + (text[0] == '[') : size;
	struct hostport t;

	if (memchr(text, '@', size))
		return fail(h, 400, "a user name has no place in the target of a request");
	if (host_size == size && port == 0)
		return fail(h, 400, "CONNECT needs HOST:PORT");
	if (host_size < size && !read_port(text + host_size, size - host_size, &port))
		return fail(h, 400, "a port is a number from 1 to 65535");
	if (hostport_from_name((const char *)text, host_size, port, &t) < 0)
		return fail(h, 400, "the target's host is neither an address nor a valid name");
	if (t.kind == HOST_ADDR) {
		t.addr = addr_canonical(&t.addr);
		t.addr.port = port;
	}
	h->target = t;
	return true;
}

static bool begins(const uint8_t *bytes, size_t size, const char *text)
{
	return size >= strlen(text) && http_head_equal(bytes, strlen(text), text);
}

/* "http://" AUTHORITY, then nothing or a path or a query. */
static bool read_absolute(struct http *h, const uint8_t *target, size_t size)
{
	static const char scheme[] = "http://";
	size_t at = sizeof(scheme) - 1, end = at;

	if (target[0] == '/')
		return fail(h, 400,
		            "this is a proxy, and the request names only a path, as if it "
		            "were a web server");
	if (begins(target, size, "https://"))
		return fail(h, 400, "a proxy serves https by CONNECT");
	if (!begins(target, size, scheme))
		return fail(h, 400, "the target of a request is a URL that begins with http://");
	if (memchr(target, '#', size))
		return fail(h, 400, "a fragment has no place in the target of a request");
	while (end < size && target[end] != '/' && target[end] != '?')
		end++;
	h->authority_at = (uint16_t)(h->head.target_at + at);
	h->authority_size = (uint16_t)(end - at);
	h->path_at = (uint16_t)(h->head.target_at + end);
	return read_authority(h, target + at, end - at, 80);
}

static bool read_target(struct http *h)
{
	const uint8_t *target = h->head.bytes + h->head.target_at;
	size_t size = h->head.target_size;

	return h->head.is_connect ? read_authority(h, target, size, 0)
	                          : read_absolute(h, target, size);
}

/* ---- the fields ---- */

static bool read_length(const uint8_t *text, size_t size, uint64_t *out)
{
	uint64_t v = 0;

	if (size == 0 || size > 18)
		return false;
	for (size_t i = 0; i < size; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(text[i] - '0');
	}
	*out = v;
	return true;
}

/* Finds the only field of this name, or sets *@out to NULL; false when there are two. */
static bool find_single(struct http *h, const char *name, const struct http_head_field **out)
{
	*out = NULL;
	for (size_t i = 0; i < h->head.field_count; i++) {
		if (!http_head_field_is(&h->head, &h->head.fields[i], name))
			continue;
		if (*out)
			return fail(h, 400, "a field that may stand there once stands there twice");
		*out = &h->head.fields[i];
	}
	return true;
}

/* RFC 9112, 6.3. Where two could differ about the body's end there is no body. */
static bool read_framing(struct http *h)
{
	const struct http_head_field *length, *coding;
	uint64_t size = 0;

	if (!find_single(h, "content-length", &length) ||
	    !find_single(h, "transfer-encoding", &coding))
		return false;
	if (h->head.is_connect && (length || coding))
		return fail(h, 400, "CONNECT has no body");
	if (length && coding)
		return fail(h, 400, "Content-Length and Transfer-Encoding exclude each other");
	if (coding && h->head.minor == 0)
		return fail(h, 400, "HTTP/1.0 has no Transfer-Encoding");
	if (coding &&
	    !http_head_equal(h->head.bytes + coding->value_at, coding->value_size, "chunked"))
		return fail(h, 501, "the only Transfer-Encoding supported is chunked");
	if (length && !read_length(h->head.bytes + length->value_at, length->value_size, &size))
		return fail(h, 400, "Content-Length is not a number");
	if (coding)
		http_body_init_chunked(&h->body);
	else
		http_body_init_length(&h->body, size);
	return true;
}

static bool check_user(struct http *h)
{
	const struct http_head_field *field;
	const struct auth_user *user;
	uint8_t *value;

	if (!find_single(h, "proxy-authorization", &field))
		return false;
	if (h->user_count == 0)
		return true;
	if (!field)
		return fail(h, 407, "this proxy asks for a user and a password");
	value = h->head.bytes + field->value_at;
	user = auth_find_basic(h->users, h->user_count, value, field->value_size);
	auth_wipe(value, field->value_size);
	if (!user)
		return fail(h, 407, "user or password wrong");
	h->user = user->name;
	return true;
}

static enum http_verdict on_fields(struct http *h)
{
	const struct http_head_field *host;

	/* RFC 9112, 3.2: more than one is 400. Its value is never used. */
	if (!find_single(h, "host", &host) || !read_framing(h) || !check_user(h))
		return HTTP_CLOSE;
	enter(h, HTTP_ASKED);
	return h->head.is_connect ? HTTP_CONNECT : HTTP_FORWARD;
}

enum http_verdict http_on_bytes(struct http *h, struct rd *in)
{
	if (h->state == HTTP_CLOSED)
		return HTTP_CLOSE;
	if (h->state == HTTP_ASKED)
		return HTTP_NEED_MORE;
	for (;;) {
		switch (http_head_on_bytes(&h->head, in)) {
		case HTTP_HEAD_NEED_MORE:
			return HTTP_NEED_MORE;
		case HTTP_HEAD_NEED_ROOM:
			return HTTP_NEED_ROOM;
		case HTTP_HEAD_LINE:
			if (!read_target(h))
				return HTTP_CLOSE;
			enter(h, HTTP_FIELDS);
			continue;
		case HTTP_HEAD_DONE:
			return on_fields(h);
		case HTTP_HEAD_BAD:
			(void)fail(h, h->head.status, h->head.why);
			return HTTP_CLOSE;
		}
		CV_UNREACHABLE();
	}
}

/* ---- the request as the target gets it ---- */

static bool has_name(const struct http_head *head, const struct http_head_field *f,
                     const uint8_t *name, size_t size)
{
	const uint8_t *own = head->bytes + f->name_at;

	if (f->name_size != size)
		return false;
	for (size_t i = 0; i < size; i++) {
		/* Token characters that differ in this bit alone are letters, or "^~", "`@". */
		if (own[i] != name[i] &&
		    ((own[i] ^ name[i]) != 0x20 || (own[i] | 0x20) < 'a' || (own[i] | 0x20) > 'z'))
			return false;
	}
	return true;
}

/* True when a Connection field names @f. */
static bool is_named(const struct http *h, const struct http_head_field *f)
{
	const struct http_head *head = &h->head;

	for (size_t i = 0; i < head->field_count; i++) {
		const struct http_head_field *list = &head->fields[i];
		const uint8_t *at = head->bytes + list->value_at, *end = at + list->value_size;

		if (!http_head_field_is(head, list, "connection"))
			continue;
		while (at < end) {
			const uint8_t *comma = memchr(at, ',', (size_t)(end - at));
			const uint8_t *last = comma ? comma : end;

			while (at < last && (*at == ' ' || *at == '\t'))
				at++;
			while (last > at && (last[-1] == ' ' || last[-1] == '\t'))
				last--;
			if (has_name(head, f, at, (size_t)(last - at)))
				return true;
			at = comma ? comma + 1 : end;
		}
	}
	return false;
}

/* RFC 9110, 7.6.1: what is between the client and its proxy, and Host, which is written anew. */
static bool is_dropped(const struct http *h, const struct http_head_field *f)
{
	static const char *const names[] = { "host", "connection", "keep-alive",
		                             "te",   "trailer",    "upgrade" };
	static const char *const kept[] = { "content-length", "transfer-encoding" };

	for (size_t i = 0; i < CV_ARRAY_SIZE(names); i++) {
		if (http_head_field_is(&h->head, f, names[i]))
			return true;
	}
	if (begins(h->head.bytes + f->name_at, f->name_size, "proxy-"))
		return true;
	/* Whoever names these would have the target read another body than was let through. */
	for (size_t i = 0; i < CV_ARRAY_SIZE(kept); i++) {
		if (http_head_field_is(&h->head, f, kept[i]))
			return false;
	}
	return is_named(h, f);
}

static void write_text(struct wr *w, const char *text)
{
	wr_copy(w, text, strlen(text));
}

void http_write_request(const struct http *h, struct wr *w)
{
	const struct http_head *head = &h->head;
	size_t target_end = (size_t)head->target_at + head->target_size;
	size_t path_size = target_end - h->path_at;

	CV_ASSERT(h->state == HTTP_ASKED);
	CV_ASSERT(!head->is_connect);
	wr_copy(w, head->bytes, (size_t)head->method_size + 1);
	/* RFC 9112, 3.2.1 and 3.2.4: an empty path is "/", and "*" for OPTIONS. */
	if (path_size == 0 && http_head_equal(head->bytes, head->method_size, "options"))
		write_text(w, "*");
	else if (path_size == 0 || head->bytes[h->path_at] != '/')
		write_text(w, "/");
	wr_copy(w, head->bytes + h->path_at, path_size);
	write_text(w, head->minor ? " HTTP/1.1\r\nHost: " : " HTTP/1.0\r\nHost: ");
	wr_copy(w, head->bytes + h->authority_at, h->authority_size);
	write_text(w, "\r\n");
	for (size_t i = 0; i < head->field_count; i++) {
		const struct http_head_field *f = &head->fields[i];
		size_t end = f->value_size ? (size_t)f->value_at + f->value_size
		                           : (size_t)f->name_at + f->name_size + 1;

		if (is_dropped(h, f))
			continue;
		wr_copy(w, head->bytes + f->name_at, end - f->name_at);
		write_text(w, "\r\n");
	}
	write_text(w, "Connection: close\r\n\r\n");
	CV_ASSERT(w->bad || wr_size(w) <= head->size + HTTP_REQUEST_EXTRA);
}

/* ---- answers ---- */

void http_write_established(struct wr *w)
{
	wr_copy(w, established, HTTP_ESTABLISHED_SIZE);
}

static const char *reason(uint16_t status)
{
	static const struct {
		uint16_t status;
		const char *text;
	} reasons[] = {
		{ 400, "Bad Request" },
		{ 403, "Forbidden" },
		{ 405, "Method Not Allowed" },
		{ 407, "Proxy Authentication Required" },
		{ 408, "Request Timeout" },
		{ 414, "URI Too Long" },
		{ 431, "Request Header Fields Too Large" },
		{ 500, "Internal Server Error" },
		{ 501, "Not Implemented" },
		{ 502, "Bad Gateway" },
		{ 503, "Service Unavailable" },
		{ 504, "Gateway Timeout" },
		{ 505, "HTTP Version Not Supported" },
	};

	for (size_t i = 0; i < CV_ARRAY_SIZE(reasons); i++) {
		if (reasons[i].status == status)
			return reasons[i].text;
	}
	CV_UNREACHABLE();
}

static void write_number(struct wr *w, size_t v)
{
	uint8_t digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (uint8_t)('0' + v % 10);
		v /= 10;
	} while (v > 0);
	wr_copy(w, digits + at, sizeof(digits) - at);
}

void http_write_error(const struct http *h, struct wr *w, uint16_t status, const char *cause,
                      const struct hostport *target)
{
	char name[HOSTPORT_TEXT_MAX];
	uint8_t bytes[HTTP_CAUSE_MAX + HOSTPORT_TEXT_MAX + 64];
	struct wr body = wr_init(bytes, sizeof(bytes));

	if (target) {
		write_text(&body, "culvert cannot connect to ");
		write_text(&body, hostport_format(target, name));
		write_text(&body, ": ");
	} else {
		write_text(&body, "culvert refused this request: ");
	}
	wr_copy(&body, cause, CV_MIN(strlen(cause), (size_t)HTTP_CAUSE_MAX));
	write_text(&body, ".\n");
	CV_ASSERT(!body.bad);

	write_text(w, "HTTP/1.1 ");
	write_number(w, status);
	write_text(w, " ");
	write_text(w, reason(status));
	write_text(w, "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ");
	write_number(w, wr_size(&body));
	write_text(w, "\r\nConnection: close\r\n");
	if (status == 407)
		write_text(w, "Proxy-Authenticate: Basic realm=\"culvert\", charset=\"UTF-8\"\r\n");
	if (status == 405) /* RFC 9110, 15.5.6: MUST */
		write_text(w, "Allow: CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\n");
	write_text(w, "\r\n");
	/* RFC 9110, 9.3.2: the length of what GET would have been told, without it. */
	if (h->head.method_size != 4 || memcmp(h->head.bytes, "HEAD", 4) != 0)
		wr_copy(w, bytes, wr_size(&body));
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: every request has one verdict, one target, one status and one form in which it goes on,
 * however TCP cut its bytes up; what two readers could take differently is refused.
 * Method: every row whole, byte by byte, and cut in two at every place, with memory that grows as
 * it must; no prefix of a row decides otherwise than the row.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/http.h"
#include "proxy/target.h"

#define BYTES(text) (text), sizeof(text) - 1

static const struct auth_user users[] = { { "alice", "secret" } };

struct client {
	struct http h;
	uint8_t *memory;
	enum http_verdict verdict;
	size_t taken;
};

static void client_init(struct client *c, bool has_users)
{
	memset(c, 0, sizeof(*c));
	c->memory = malloc(HTTP_HEAD_METHOD_MAX);
	http_init(&c->h, has_users ? users : NULL, has_users ? 1 : 0, c->memory,
	          HTTP_HEAD_METHOD_MAX);
}

static void client_free(struct client *c)
{
	free(c->memory);
}

static void grow(struct client *c)
{
	size_t cap = c->h.head.cap * 2;
	uint8_t *memory;

	if (cap > HTTP_HEAD_MAX)
		cap = HTTP_HEAD_MAX;
	memory = malloc(cap);
	assert_non_null(memory);
	http_lend(&c->h, memory, cap);
	free(c->memory);
	c->memory = memory;
}

static void client_send(struct client *c, const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size + (size == 0));
	struct rd in;

	assert_non_null(copy);
	memcpy(copy, bytes, size);
	in = rd_init(copy, size);
	while (c->verdict == HTTP_NEED_MORE) {
		c->verdict = http_on_bytes(&c->h, &in);
		if (c->verdict != HTTP_NEED_ROOM)
			break;
		grow(c);
		c->verdict = HTTP_NEED_MORE;
	}
	c->taken += size - rd_left(&in);
	free(copy);
}

/* Everything that can be seen of a client, as text. */
static void describe(struct client *c, char *out, size_t cap)
{
	uint8_t head[1024];
	char name[HOSTPORT_TEXT_MAX];
	struct wr w = wr_init(head, sizeof(head));

	switch (c->verdict) {
	case HTTP_NEED_MORE:
		(void)snprintf(out, cap, "more");
		return;
	case HTTP_CONNECT:
		(void)snprintf(out, cap, "connect %s", hostport_format(&c->h.target, name));
		return;
	case HTTP_FORWARD:
		http_write_request(&c->h, &w);
		assert_false(w.bad);
		assert_true(wr_size(&w) <= c->h.head.size + HTTP_REQUEST_EXTRA);
		(void)snprintf(out, cap, "forward %s %.*s", hostport_format(&c->h.target, name),
		               (int)wr_size(&w), (const char *)head);
		return;
	case HTTP_CLOSE:
		(void)snprintf(out, cap, "%u", c->h.status);
		assert_non_null(c->h.why);
		return;
	case HTTP_NEED_ROOM:
		break;
	}
	fail();
}

/* What comes of @text, checked at every cut; @left: bytes behind the head. */
static void outcome_of(bool has_users, const char *text, size_t size, char out[1200], size_t *left)
{
	const uint8_t *bytes = (const uint8_t *)text;
	struct client c;
	char cut[1200];

	client_init(&c, has_users);
	client_send(&c, bytes, size);
	describe(&c, out, 1200);
	*left = size - c.taken;
	client_free(&c);
	for (size_t a = 0; a <= size + 1; a++) {
		client_init(&c, has_users);
		for (size_t i = 0; a > size && i < size; i++)
			client_send(&c, bytes + i, 1);
		if (a <= size) {
			client_send(&c, bytes, a);
			assert_true(c.verdict == HTTP_NEED_MORE || a > 0);
			client_send(&c, bytes + a, size - a);
		}
		describe(&c, cut, sizeof(cut));
		assert_string_equal(cut, out);
		assert_int_equal(size - c.taken, *left);
		client_free(&c);
	}
}

struct row {
	const char *what;
	const char *bytes;
	size_t size;
	const char *outcome;
	size_t left;
};

#define END "\r\n\r\n"
#define V11 " HTTP/1.1\r\n"
#define CLOSE "Connection: close" END

static const struct row rows[] = {
	/* CONNECT */
	{ "nothing", BYTES(""), "more", 0 },
	{ "CONNECT", BYTES("CONNECT example.com:443" V11 "\r\n"), "connect example.com:443", 0 },
	{ "CONNECT, 1.0", BYTES("CONNECT example.com:443 HTTP/1.0" END), "connect example.com:443",
	  0 },
	{ "as Chromium",
	  BYTES("CONNECT Example.com:443" V11 "Host: Example.com:443\r\n"
	        "Proxy-Connection: keep-alive\r\nUser-Agent: Mozilla/5.0 (X11)" END),
	  "connect example.com:443", 0 },
	{ "sent ahead", BYTES("CONNECT a:1" V11 "\r\n\x16\x03\x01\0\r\n"), "connect a:1", 6 },
	{ "Host is not where it goes", BYTES("CONNECT a:1" V11 "Host: evil:2" END), "connect a:1",
	  0 },
	{ "IPv4", BYTES("CONNECT 192.0.2.1:22" V11 "\r\n"), "connect 192.0.2.1:22", 0 },
	{ "IPv6", BYTES("CONNECT [2001:db8::1]:22" V11 "\r\n"), "connect [2001:db8::1]:22", 0 },
	{ "IPv4 in IPv6", BYTES("CONNECT [::ffff:127.0.0.1]:22" V11 "\r\n"), "connect 127.0.0.1:22",
	  0 },
	{ "port 65535", BYTES("CONNECT a:65535" V11 "\r\n"), "connect a:65535", 0 },
	{ "no port", BYTES("CONNECT a" V11), "400", 0 },
	{ "an empty port", BYTES("CONNECT a:" V11), "400", 0 },
	{ "port 0", BYTES("CONNECT a:0" V11), "400", 0 },
	{ "port 65536", BYTES("CONNECT a:65536" V11), "400", 0 },
	{ "port 99999999999", BYTES("CONNECT a:99999999999" V11), "400", 0 },
	{ "port +80", BYTES("CONNECT a:+80" V11), "400", 0 },
	{ "port -1", BYTES("CONNECT a:-1" V11), "400", 0 },
	{ "port 080", BYTES("CONNECT a:080" V11), "400", 0 },
	{ "port 0x50", BYTES("CONNECT a:0x50" V11), "400", 0 },
	{ "a zone", BYTES("CONNECT [fe80::1%eth0]:80" V11), "400", 0 },
	{ "a zone, encoded", BYTES("CONNECT [fe80::1%25eth0]:80" V11), "400", 0 },
	{ "userinfo", BYTES("CONNECT a@b:443" V11), "400", 0 },
	{ "two colons", BYTES("CONNECT a:b:443" V11), "400", 0 },
	{ "two ports", BYTES("CONNECT a:80:443" V11), "400", 0 },
	{ "IPv6 without brackets", BYTES("CONNECT ::1:443" V11), "400", 0 },
	{ "IPv4 in brackets", BYTES("CONNECT [127.0.0.1]:443" V11), "400", 0 },
	{ "no closing bracket", BYTES("CONNECT [::1:443" V11), "400", 0 },
	{ "no port behind brackets", BYTES("CONNECT [::1]" V11), "400", 0 },
	{ "bytes behind brackets", BYTES("CONNECT [::1]a:443" V11), "400", 0 },
	{ "no host", BYTES("CONNECT :443" V11), "400", 0 },
	{ "a disguise", BYTES("CONNECT 2130706433:443" V11), "400", 0 },
	{ "another disguise", BYTES("CONNECT 0x7f.1:443" V11), "400", 0 },
	{ "a URL", BYTES("CONNECT http://a:443/" V11), "400", 0 },
	{ "a path", BYTES("CONNECT a:443/" V11), "400", 0 },
	{ "a % in the name", BYTES("CONNECT a%6eb:443" V11), "400", 0 },
	{ "CONNECT with a length", BYTES("CONNECT a:1" V11 "Content-Length: 5" END), "400", 0 },
	{ "and with 0", BYTES("CONNECT a:1" V11 "Content-Length: 0" END), "400", 0 },
	{ "CONNECT with chunks", BYTES("CONNECT a:1" V11 "Transfer-Encoding: chunked" END), "400",
	  0 },
	/* absolute form */
	{ "absolute", BYTES("GET http://example.com/a?b=c" V11 "Host: example.com\r\nA: b" END),
	  "forward example.com:80 GET /a?b=c" V11 "Host: example.com\r\nA: b\r\n" CLOSE, 0 },
	{ "1.0 stays 1.0", BYTES("GET http://example.com/ HTTP/1.0" END),
	  "forward example.com:80 GET / HTTP/1.0\r\nHost: example.com\r\n" CLOSE, 0 },
	{ "a port", BYTES("GET HTTP://Example.com:8080/" V11 "\r\n"),
	  "forward example.com:8080 GET /" V11 "Host: Example.com:8080\r\n" CLOSE, 0 },
	{ "no path", BYTES("GET http://a" V11 "\r\n"), "forward a:80 GET /" V11 "Host: a\r\n" CLOSE,
	  0 },
	{ "only a query", BYTES("GET http://a?x" V11 "\r\n"),
	  "forward a:80 GET /?x" V11 "Host: a\r\n" CLOSE, 0 },
	{ "OPTIONS of the server", BYTES("OPTIONS http://a" V11 "\r\n"),
	  "forward a:80 OPTIONS *" V11 "Host: a\r\n" CLOSE, 0 },
	{ "OPTIONS of a page", BYTES("OPTIONS http://a/" V11 "\r\n"),
	  "forward a:80 OPTIONS /" V11 "Host: a\r\n" CLOSE, 0 },
	{ "IPv6, absolute", BYTES("GET http://[::1]:81/" V11 "\r\n"),
	  "forward [::1]:81 GET /" V11 "Host: [::1]:81\r\n" CLOSE, 0 },
	{ "@ and : in a path", BYTES("GET http://a/u:p@h?http://b/" V11 "\r\n"),
	  "forward a:80 GET /u:p@h?http://b/" V11 "Host: a\r\n" CLOSE, 0 },
	{ "bytes above 127 in a path", BYTES("GET http://a/\xc3\xa4" V11 "\r\n"),
	  "forward a:80 GET /\xc3\xa4" V11 "Host: a\r\n" CLOSE, 0 },
	{ "methods of WebDAV", BYTES("VERSION-CONTROL http://a/" V11 "\r\n"),
	  "forward a:80 VERSION-CONTROL /" V11 "Host: a\r\n" CLOSE, 0 },
	{ "the target is Host", BYTES("GET http://a/" V11 "X: 1\r\nHost: evil\r\nY: 2" END),
	  "forward a:80 GET /" V11 "Host: a\r\nX: 1\r\nY: 2\r\n" CLOSE, 0 },
	{ "between client and proxy",
	  BYTES("GET http://a/" V11
	        "Proxy-Connection: keep-alive\r\nConnection: Keep-Alive, X-Own\r\n"
	        "Keep-Alive: 5\r\nProxy-Authorization: Basic eA==\r\nTE: trailers\r\nTrailer: X\r\n"
	        "x-oWN: 1\r\nUpgrade: websocket\r\nProxy-Foo: 1\r\nX-Other: 2" END),
	  "forward a:80 GET /" V11 "Host: a\r\nX-Other: 2\r\n" CLOSE, 0 },
	{ "Connection cannot take the body",
	  BYTES("POST http://a/" V11 "Connection: content-length, host\r\nContent-Length: 2" END
	        "hi"),
	  "forward a:80 POST /" V11 "Host: a\r\nContent-Length: 2\r\n" CLOSE, 2 },
	{ "a browser's upgrade",
	  BYTES("GET http://a/ws" V11 "Connection: Upgrade\r\nUpgrade: websocket\r\n"
	        "Sec-WebSocket-Version: 13" END),
	  "forward a:80 GET /ws" V11 "Host: a\r\nSec-WebSocket-Version: 13\r\n" CLOSE, 0 },
	{ "chunks", BYTES("POST http://a/" V11 "Transfer-Encoding:\tChunked \r\n\r\n0" END),
	  "forward a:80 POST /" V11 "Host: a\r\nTransfer-Encoding:\tChunked\r\n" CLOSE, 5 },
	{ "Expect goes on",
	  BYTES("PUT http://a/" V11 "Expect: 100-continue\r\nContent-Length: 1" END),
	  "forward a:80 PUT /" V11 "Host: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n" CLOSE,
	  0 },
	{ "an empty value", BYTES("GET http://a/" V11 "A:\r\nB: \t" END),
	  "forward a:80 GET /" V11 "Host: a\r\nA:\r\nB:\r\n" CLOSE, 0 },
	{ "values are not touched", BYTES("GET http://a/" V11 "A: \xff\tx  y;:, " END),
	  "forward a:80 GET /" V11 "Host: a\r\nA: \xff\tx  y;:,\r\n" CLOSE, 0 },
	{ "a list with holes", BYTES("GET http://a/" V11 "Connection: ,, b\t,\r\nB: 1\r\nC: 2" END),
	  "forward a:80 GET /" V11 "Host: a\r\nC: 2\r\n" CLOSE, 0 },
	{ "a NUL is no name", BYTES("GET http://a/" V11 "Connection: @\r\n`: 1" END),
	  "forward a:80 GET /" V11 "Host: a\r\n`: 1\r\n" CLOSE, 0 },
	/* what takes this port for a web server (T72), and other targets */
	{ "origin form", BYTES("GET / HTTP/1.1\r\n"), "400", 0 },
	{ "origin form, POST", BYTES("POST /admin HTTP/1.1\r\n"), "400", 0 },
	{ "origin form, OPTIONS", BYTES("OPTIONS /x HTTP/1.1\r\n"), "400", 0 },
	{ "two slashes", BYTES("GET //a/ HTTP/1.1\r\n"), "400", 0 },
	{ "asterisk", BYTES("OPTIONS * HTTP/1.1\r\n"), "400", 0 },
	{ "TRACE", BYTES("TRACE "), "405", 0 },
	{ "PRI", BYTES("PRI "), "405", 0 },
	{ "no more of it is read", BYTES("GET / HTTP/1.1\r\nHost: x"), "400", 7 },
	{ "https", BYTES("GET https://a/" V11), "400", 0 },
	{ "ftp", BYTES("GET ftp://a/" V11), "400", 0 },
	{ "ws", BYTES("GET ws://a/" V11), "400", 0 },
	{ "file", BYTES("GET file:///etc/passwd" V11), "400", 0 },
	{ "authority form with GET", BYTES("GET a:80" V11), "400", 0 },
	{ "one slash", BYTES("GET http:/a/" V11), "400", 0 },
	{ "no host, absolute", BYTES("GET http:///x" V11), "400", 0 },
	{ "userinfo, absolute", BYTES("GET http://u:p@a/" V11), "400", 0 },
	{ "a fragment", BYTES("GET http://a/#x" V11), "400", 0 },
	{ "a fragment alone", BYTES("GET http://a#x" V11), "400", 0 },
	{ "port 0, absolute", BYTES("GET http://a:0/" V11), "400", 0 },
	{ "an empty port, absolute", BYTES("GET http://a:/" V11), "400", 0 },
	{ "a backslash", BYTES("GET http://a\\@b/" V11), "400", 0 },
	{ "a space in the host", BYTES("GET http://a b/" V11), "400", 12 },
	/* the line */
	{ "HTTP/0.9", BYTES("GET http://a/\r\n"), "400", 1 },
	{ "HTTP/2.0", BYTES("GET http://a/ HTTP/2.0\r\n"), "505", 4 },
	{ "HTTP/1.2", BYTES("GET http://a/ HTTP/1.2\r\n"), "505", 2 },
	{ "HTTP/0.9 in words", BYTES("GET http://a/ HTTP/0.9\r\n"), "505", 4 },
	{ "http/1.1", BYTES("GET http://a/ http/1.1\r\n"), "400", 9 },
	{ "HTTP/1.10", BYTES("GET http://a/ HTTP/1.10\r\n"), "400", 2 },
	{ "HTTP/1", BYTES("GET http://a/ HTTP/1\r\n"), "400", 1 },
	{ "a space behind", BYTES("GET http://a/ HTTP/1.1 \r\n"), "400", 2 },
	{ "two spaces", BYTES("GET  http://a/ HTTP/1.1\r\n"), "400", 20 },
	{ "two spaces later", BYTES("GET http://a/  HTTP/1.1\r\n"), "400", 10 },
	{ "a tab", BYTES("GET\thttp://a/"), "400", 9 },
	{ "a small letter", BYTES("Get http://a/"), "405", 11 },
	{ "a digit", BYTES("M1 http://a/"), "405", 10 },
	{ "a quote", BYTES("G\"T http://a/"), "400", 11 },
	{ "LF", BYTES("GET http://a/ HTTP/1.1\n\n"), "400", 1 },
	{ "CR alone", BYTES("GET http://a/ HTTP/1.1\rA"), "400", 0 },
	{ "NUL in the target", BYTES("GET http://a/\0 HTTP/1.1\r\n"), "400", 11 },
	{ "DEL in the target", BYTES("GET http://a/\x7f"), "400", 0 },
	/* fields */
	{ "LF behind a field", BYTES("GET http://a/" V11 "A: b\n\n"), "400", 1 },
	{ "CR alone in a field", BYTES("GET http://a/" V11 "A: b\rc"), "400", 0 },
	{ "CR CR LF", BYTES("GET http://a/" V11 "A: b\r\r\n"), "400", 1 },
	{ "LF ends the head", BYTES("GET http://a/" V11 "A: b\r\n\n"), "400", 0 },
	{ "CR ends the head", BYTES("GET http://a/" V11 "A: b\r\n\rX"), "400", 0 },
	{ "NUL in a value", BYTES("GET http://a/" V11 "A: \0\r\n"), "400", 2 },
	{ "a control in a value", BYTES("GET http://a/" V11 "A: x\x1f\r\n"), "400", 2 },
	{ "NUL in a name", BYTES("GET http://a/" V11 "A\0: x\r\n"), "400", 5 },
	{ "folded", BYTES("GET http://a/" V11 "A: b\r\n c: d" END), "400", 8 },
	{ "folded by a tab", BYTES("GET http://a/" V11 "A: b\r\n\tc: d" END), "400", 8 },
	{ "the first is folded", BYTES("GET http://a/" V11 " A: b" END), "400", 8 },
	{ "no colon", BYTES("GET http://a/" V11 "Host a" END), "400", 5 },
	{ "no colon at all", BYTES("GET http://a/" V11 "Host" END), "400", 3 },
	{ "a space before the colon", BYTES("GET http://a/" V11 "Host : a" END), "400", 7 },
	{ "no name", BYTES("GET http://a/" V11 ": a" END), "400", 6 },
	{ "bytes above 127 in a name", BYTES("GET http://a/" V11 "\xc3\xa4: a" END), "400", 8 },
	{ "two Hosts", BYTES("GET http://a/" V11 "Host: a\r\nHost: a" END), "400", 0 },
	{ "two Hosts, CONNECT", BYTES("CONNECT a:1" V11 "Host: a\r\nhOST: b" END), "400", 0 },
	{ "two Proxy-Authorizations",
	  BYTES("CONNECT a:1" V11 "Proxy-Authorization: Basic eA==\r\n"
	        "Proxy-Authorization: Basic eA==" END),
	  "400", 0 },
	/* framing */
	{ "two lengths", BYTES("POST http://a/" V11 "Content-Length: 1\r\nContent-Length: 2" END),
	  "400", 0 },
	{ "the same length twice",
	  BYTES("POST http://a/" V11 "Content-Length: 1\r\nContent-Length: 1" END), "400", 0 },
	{ "a list of lengths", BYTES("POST http://a/" V11 "Content-Length: 1, 1" END), "400", 0 },
	{ "both", BYTES("POST http://a/" V11 "Content-Length: 1\r\nTransfer-Encoding: chunked" END),
	  "400", 0 },
	{ "length +1", BYTES("POST http://a/" V11 "Content-Length: +1" END), "400", 0 },
	{ "length -1", BYTES("POST http://a/" V11 "Content-Length: -1" END), "400", 0 },
	{ "length 0x1", BYTES("POST http://a/" V11 "Content-Length: 0x1" END), "400", 0 },
	{ "an empty length", BYTES("POST http://a/" V11 "Content-Length:" END), "400", 0 },
	{ "length 1 1", BYTES("POST http://a/" V11 "Content-Length: 1 1" END), "400", 0 },
	{ "a huge length", BYTES("POST http://a/" V11 "Content-Length: 18446744073709551617" END),
	  "400", 0 },
	{ "two codings", BYTES("POST http://a/" V11 "Transfer-Encoding: gzip, chunked" END), "501",
	  0 },
	{ "chunked twice",
	  BYTES("POST http://a/" V11
	        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked" END),
	  "400", 0 },
	{ "identity", BYTES("POST http://a/" V11 "Transfer-Encoding: identity" END), "501", 0 },
	{ "a coding in quotes", BYTES("POST http://a/" V11 "Transfer-Encoding: \"chunked\"" END),
	  "501", 0 },
	{ "a vertical tab", BYTES("POST http://a/" V11 "Transfer-Encoding: \vchunked" END), "400",
	  11 },
	{ "chunks in 1.0", BYTES("POST http://a/ HTTP/1.0\r\nTransfer-Encoding: chunked" END),
	  "400", 0 },
};

#define AUTH "Proxy-Authorization: "

static const struct row rows_of_users[] = {
	{ "right", BYTES("CONNECT a:1" V11 AUTH "Basic YWxpY2U6c2VjcmV0" END), "connect a:1", 0 },
	{ "right, absolute", BYTES("GET http://a/" V11 AUTH "basic YWxpY2U6c2VjcmV0" END),
	  "forward a:80 GET /" V11 "Host: a\r\n" CLOSE, 0 },
	{ "wrong", BYTES("CONNECT a:1" V11 AUTH "Basic YWxpY2U6c2VjcmV1" END), "407", 0 },
	{ "none", BYTES("CONNECT a:1" V11 "\r\n"), "407", 0 },
	{ "none, absolute", BYTES("GET http://a/" V11 "\r\n"), "407", 0 },
	{ "the target's own",
	  BYTES("GET http://a/" V11 "Authorization: Basic YWxpY2U6c2VjcmV0" END), "407", 0 },
	{ "another scheme", BYTES("CONNECT a:1" V11 AUTH "Digest x" END), "407", 0 },
	{ "empty", BYTES("CONNECT a:1" V11 AUTH END), "407", 0 },
	{ "twice", BYTES("CONNECT a:1" V11 AUTH "Basic YWxpY2U6c2VjcmV0\r\n" AUTH "x" END), "400",
	  0 },
	{ "malformed comes first", BYTES("GET / HTTP/1.1\r\n"), "400", 0 },
};

static void requests_at_every_cut(void **state)
{
	const struct row *tables[] = { rows, rows_of_users };
	const size_t sizes[] = { CV_ARRAY_SIZE(rows), CV_ARRAY_SIZE(rows_of_users) };
	char out[1200];
	size_t left;

	(void)state;
	for (size_t t = 0; t < 2; t++) {
		for (size_t i = 0; i < sizes[t]; i++) {
			const struct row *row = &tables[t][i];

			print_message("%s\n", row->what);
			outcome_of(t == 1, row->bytes, row->size, out, &left);
			assert_string_equal(out, row->outcome);
			if (row->outcome[0] != '4' || row->left)
				assert_int_equal(left, row->left);
		}
	}
}

/* A head of @size bytes whose line is @line; the verdict's number, or 0 when it is accepted. */
static unsigned head_of(const char *line, size_t size, bool is_in_target)
{
	char *text = malloc(size);
	size_t at = strlen(line);
	struct client c;
	unsigned status;

	assert_non_null(text);
	memset(text, 'x', size);
	memcpy(text, line, at);
	if (is_in_target)
		memcpy(text + size - 13, " HTTP/1.1\r\n\r\n", 13);
	else
		memcpy(text + size - 4, END, 4);
	client_init(&c, false);
	client_send(&c, (const uint8_t *)text, size);
	assert_int_not_equal(c.verdict, HTTP_NEED_MORE);
	status = c.verdict == HTTP_CLOSE ? c.h.status : 0;
	if (c.verdict == HTTP_FORWARD) {
		uint8_t *head = malloc(size + HTTP_REQUEST_EXTRA);
		struct wr w = wr_init(head, size + HTTP_REQUEST_EXTRA);

		http_write_request(&c.h, &w);
		assert_false(w.bad);
		assert_memory_equal(head + wr_size(&w) - strlen("\r\n" CLOSE) - 8, "xxxxxxxx", 8);
		free(head);
	}
	client_free(&c);
	free(text);
	return status;
}

static void heads_at_their_limits(void **state)
{
	char line[256] = "";

	(void)state;
	assert_int_equal(head_of("CONNECT a:1" V11 "A: ", 8191, false), 0);
	assert_int_equal(head_of("CONNECT a:1" V11 "A: ", 8192, false), 0);
	assert_int_equal(head_of("CONNECT a:1" V11 "A: ", 8193, false), 431);
	assert_int_equal(head_of("CONNECT a", 8210, true), 414);
	assert_int_equal(head_of("GET http://a/" V11 "A: ", 65535, false), 0);
	assert_int_equal(head_of("GET http://a/" V11 "A: ", 65536, false), 0);
	assert_int_equal(head_of("GET http://a/" V11 "A: ", 65537, false), 431);
	assert_int_equal(head_of("GET http://a/" V11, 65600, false), 431);
	assert_int_equal(head_of("GET http://a/", 65550, true), 414);
	memset(line, 'M', HTTP_HEAD_METHOD_MAX);
	memcpy(line + HTTP_HEAD_METHOD_MAX, " http://a/" V11 "A: ", 25);
	assert_int_equal(head_of(line, 100, false), 0);
	memset(line, 'M', HTTP_HEAD_METHOD_MAX + 1);
	assert_int_equal(head_of(line, 100, false), 405);
}

static void fields_at_their_limit(void **state)
{
	char text[1024] = "GET http://a/" V11;

	(void)state;
	for (int count = 64; count <= 65; count++) {
		struct client c;
		size_t at = 24;

		for (int i = 0; i < count; i++, at += 6)
			memcpy(text + at, "a: b\r\n", 6);
		memcpy(text + at, "\r\n", 2);
		client_init(&c, false);
		client_send(&c, (const uint8_t *)text, at + 2);
		assert_int_equal(c.verdict, count == 64 ? HTTP_FORWARD : HTTP_CLOSE);
		assert_int_equal(c.h.status, count == 64 ? 0 : 431);
		client_free(&c);
	}
}

static void no_password_stays(void **state)
{
	static const char text[] = "GET http://a/" V11 AUTH "Basic YWxpY2U6c2VjcmV0" END;
	struct client c;

	(void)state;
	client_init(&c, true);
	client_send(&c, (const uint8_t *)text, sizeof(text) - 1);
	assert_string_equal(c.h.user, "alice");
	for (size_t i = 0; i + 4 <= c.h.head.size; i++)
		assert_memory_not_equal(c.memory + i, "YWxp", 4);
	client_free(&c);
}

static void error_of(const char *request, uint16_t status, const char *cause,
                     const struct hostport *target, const char *expected)
{
	uint8_t out[HTTP_ERROR_MAX + 1];
	struct wr w = wr_init(out, HTTP_ERROR_MAX);
	struct client c;

	client_init(&c, false);
	client_send(&c, (const uint8_t *)request, strlen(request));
	http_write_error(&c.h, &w, status, cause, target);
	assert_false(w.bad);
	out[wr_size(&w)] = 0;
	if (expected)
		assert_string_equal(out, expected);
	client_free(&c);
}

#define PLAIN(size)                                                                                \
	"Content-Type: text/plain; charset=utf-8\r\nContent-Length: " size                         \
	"\r\nConnection: close\r\n"

static void errors_name_their_cause(void **state)
{
	struct hostport to = { .kind = HOST_NAME, .port = 80, .text = "example.com" };
	char cause[2 * HTTP_CAUSE_MAX];

	(void)state;
	error_of("GET http://example.com/" V11 "\r\n", 502, "the target refused the connection",
	         &to,
	         "HTTP/1.1 502 Bad Gateway\r\n" PLAIN(
			 "77") "\r\n"
	                       "culvert cannot connect to example.com:80: the target refused the "
	                       "connection.\n");
	error_of("G", 400, "it is too short", NULL,
	         "HTTP/1.1 400 Bad Request\r\n" PLAIN(
			 "47") "\r\n"
	                       "culvert refused this request: it is too short.\n");
	error_of(
		"TRACE ", 405, "no", NULL,
		"HTTP/1.1 405 Method Not Allowed\r\n" PLAIN(
			"34") "Allow: CONNECT, DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT\r\n\r\n"
			      "culvert refused this request: no.\n");
	error_of("CONNECT ", 407, "no", NULL,
	         "HTTP/1.1 407 Proxy Authentication Required\r\n" PLAIN(
			 "34") "Proxy-Authenticate: Basic realm=\"culvert\", "
	                       "charset=\"UTF-8\"\r\n\r\n"
	                       "culvert refused this request: no.\n");
	error_of("HEAD http://example.com/" V11 "\r\n", 504, "no", &to,
	         "HTTP/1.1 504 Gateway Timeout\r\n" PLAIN("46") "\r\n");
	/* The longest there is fits. */
	memset(cause, 'x', sizeof(cause) - 1);
	cause[sizeof(cause) - 1] = 0;
	memset(to.text, 'a', HOST_DNS_MAX);
	to.text[HOST_DNS_MAX] = 0;
	to.port = 65535;
	error_of("GET ", 407, cause, &to, NULL);
	/* Every status that a reason or the parser has can be said. */
	for (uint16_t i = 0; i < 20; i++)
		error_of("GET ", target_code_http(target_code_from_wire(i ? i : 1)), "x", NULL,
		         NULL);
	error_of("GET ", 408, "x", NULL, NULL);
	error_of("GET ", 414, "x", NULL, NULL);
	error_of("GET ", 431, "x", NULL, NULL);
	error_of("GET ", 501, "x", NULL, NULL);
	error_of("GET ", 505, "x", NULL, NULL);
}

static void established(void **state)
{
	uint8_t out[HTTP_ESTABLISHED_SIZE];
	struct wr w = wr_init(out, sizeof(out));

	(void)state;
	http_write_established(&w);
	assert_int_equal(wr_size(&w), sizeof(out));
	assert_memory_equal(out, "HTTP/1.1 200 Connection established" END, sizeof(out));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_at_every_cut),   cmocka_unit_test(heads_at_their_limits),
		cmocka_unit_test(fields_at_their_limit),   cmocka_unit_test(no_password_stays),
		cmocka_unit_test(errors_name_their_cause), cmocka_unit_test(established),
	};

	return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: a client gets one answer however TCP cuts its bytes up, to the byte, and
 * what follows its request reaches the stream whole.
 * Method: every row is one client's bytes from the greeting on, sent at once, byte
 * by byte, and cut in two and in three at every place; each way must give the same
 * transcript: the bytes answered, the last verdict, the target, the stream data.
 * Every prefix of a row must be undecided or already give the row's own answer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/socks5.h"

#define BYTES(text) (text), sizeof(text) - 1

static const struct auth_user users[] = {
	{ "alice", "secret" },
	{ "bob", "b" },
	{ "carol", "" }, /* refused at load; must not be a way in here either */
};

struct transcript {
	uint8_t out[64];
	size_t out_size;
	enum socks5_verdict verdict;         /* the last one */
	char target[HOSTPORT_TEXT_MAX + 16]; /* after "BIND " or "ASSOCIATE " */
	uint8_t stream[64];
	size_t stream_size;
	const char *user;
};

struct client {
	struct socks5 socks5;
	struct transcript t;
};

static void append(uint8_t *to, size_t *to_size, const uint8_t *bytes, size_t size)
{
	assert_true(*to_size + size <= 64);
	if (size)
		memcpy(to + *to_size, bytes, size);
	*to_size += size;
}

static void client_init(struct client *c, bool has_users)
{
	memset(c, 0, sizeof(*c));
	socks5_init(&c->socks5, has_users ? users : NULL, has_users ? 3 : 0);
}

static void describe(const struct socks5 *s, char *out)
{
	static const char *const commands[] = {
		[SOCKS5_CONNECT] = "", [SOCKS5_BIND] = "BIND ", [SOCKS5_ASSOCIATE] = "ASSOCIATE "
	};

	memcpy(out, commands[s->command], strlen(commands[s->command]) + 1);
	hostport_format(&s->target, out + strlen(out));
}

static void take(struct client *c, struct rd *in)
{
	while (c->t.verdict != SOCKS5_CLOSE && c->t.verdict != SOCKS5_REQUEST) {
		c->t.verdict = socks5_on_bytes(&c->socks5, in);
		append(c->t.out, &c->t.out_size, c->socks5.out, c->socks5.out_size);
		if (c->t.verdict == SOCKS5_REQUEST)
			describe(&c->socks5, c->t.target);
		if (c->t.verdict == SOCKS5_NEED_MORE) {
			assert_int_equal(rd_left(in), 0);
			return;
		}
	}
	c->t.user = c->socks5.user;
	if (c->t.verdict == SOCKS5_REQUEST)
		append(c->t.stream, &c->t.stream_size, in->pos, rd_left(in));
}

/* One segment arrives; in memory of its own, so that a sanitizer sees a byte too many. */
static void client_send(struct client *c, const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size + (size == 0));
	struct rd in;

	assert_non_null(copy);
	if (size)
		memcpy(copy, bytes, size);
	in = rd_init(copy, size);
	take(c, &in);
	free(copy);
}

static void send_cut(struct client *c, const uint8_t *bytes, size_t size, size_t a, size_t b)
{
	client_send(c, bytes, a);
	client_send(c, bytes + a, b - a);
	client_send(c, bytes + b, size - b);
}

static void assert_same(const struct transcript *a, const struct transcript *b)
{
	assert_int_equal(a->verdict, b->verdict);
	assert_int_equal(a->out_size, b->out_size);
	assert_memory_equal(a->out, b->out, a->out_size);
	assert_string_equal(a->target, b->target);
	assert_int_equal(a->stream_size, b->stream_size);
	assert_memory_equal(a->stream, b->stream, a->stream_size);
	assert_ptr_equal(a->user, b->user);
}

/* The transcript of @bytes, which every way of cutting them up must give. */
static struct transcript transcript_of(bool has_users, const char *text, size_t size)
{
	const uint8_t *bytes = (const uint8_t *)text;
	struct client whole, cut;

	client_init(&whole, has_users);
	client_send(&whole, bytes, size);

	client_init(&cut, has_users);
	for (size_t i = 0; i < size; i++)
		client_send(&cut, bytes + i, 1);
	assert_same(&cut.t, &whole.t);

	for (size_t a = 0; a <= size; a++) {
		for (size_t b = a; b <= size && (b < a + 4 || b + 4 > size); b++) {
			client_init(&cut, has_users);
			send_cut(&cut, bytes, size, a, b);
			assert_same(&cut.t, &whole.t);
		}
	}
	/* A client that stops anywhere has got a beginning of the same answer. */
	for (size_t a = 0; a <= size; a++) {
		client_init(&cut, has_users);
		client_send(&cut, bytes, a);
		assert_true(cut.t.out_size <= whole.t.out_size);
		assert_memory_equal(cut.t.out, whole.t.out, cut.t.out_size);
		assert_true(cut.t.verdict == SOCKS5_NEED_MORE || cut.t.verdict == whole.t.verdict);
	}
	return whole.t;
}

struct row {
	const char *what;
	const char *bytes;
	size_t size;
	const char *out; /* everything the client is answered */
	size_t out_size;
	enum socks5_verdict verdict;
	const char *target; /* for SOCKS5_REQUEST */
	const char *stream; /* bytes after the request */
	bool has_users;
};

/* The ten bytes of an error. */
#define ERROR(rep) "\x05" rep "\0\x01\0\0\0\0\0\0"
#define HELLO "\x05\x01\0"
#define WELCOME "\x05\0"
#define NEED_MORE SOCKS5_NEED_MORE
#define REQUEST SOCKS5_REQUEST
#define CLOSE SOCKS5_CLOSE

static const struct row rows[] = {
	/* greeting */
	{ "nothing", BYTES(""), BYTES(""), NEED_MORE, 0, 0, false },
	{ "version 0", BYTES("\0\x01\0"), BYTES(""), CLOSE, 0, 0, false },
	{ "version 4", BYTES("\x04\x01\0\x50"), BYTES(""), CLOSE, 0, 0, false },
	{ "version 6", BYTES("\x06\x01\0"), BYTES(""), CLOSE, 0, 0, false },
	{ "HTTP", BYTES("GET / HTTP/1.1\r\n"), BYTES(""), CLOSE, 0, 0, false },
	{ "no methods", BYTES("\x05\0"), BYTES("\x05\xff"), CLOSE, 0, 0, false },
	{ "no usable method", BYTES("\x05\x02\x01\x02"), BYTES("\x05\xff"), CLOSE, 0, 0, false },
	{ "no authentication", BYTES(HELLO), BYTES(WELCOME), NEED_MORE, 0, 0, false },
	{ "0 among others", BYTES("\x05\x03\x02\x01\0"), BYTES(WELCOME), NEED_MORE, 0, 0, false },
	/* user and password */
	{ "users: only 0 offered", BYTES("\x05\x01\0"), BYTES("\x05\xff"), CLOSE, 0, 0, true },
	{ "users: 0 is never chosen", BYTES("\x05\x02\0\x02"), BYTES("\x05\x02"), NEED_MORE, 0, 0,
	  true },
	{ "right",
	  BYTES("\x05\x01\x02\x01\x05"
	        "alice\x06"
	        "secret"),
	  BYTES("\x05\x02\x01\0"), NEED_MORE, 0, 0, true },
	{ "second user",
	  BYTES("\x05\x01\x02\x01\x03"
	        "bob\x01"
	        "b"),
	  BYTES("\x05\x02\x01\0"), NEED_MORE, 0, 0, true },
	{ "another one's password",
	  BYTES("\x05\x01\x02\x01\x05"
	        "alice\x01"
	        "b"),
	  BYTES("\x05\x02\x01\x01"), CLOSE, 0, 0, true },
	{ "password too short",
	  BYTES("\x05\x01\x02\x01\x05"
	        "alice\x05"
	        "secre"),
	  BYTES("\x05\x02\x01\x01"), CLOSE, 0, 0, true },
	{ "password too long",
	  BYTES("\x05\x01\x02\x01\x05"
	        "alice\x07"
	        "secretX"),
	  BYTES("\x05\x02\x01\x01"), CLOSE, 0, 0, true },
	{ "password with a NUL after it",
	  BYTES("\x05\x01\x02\x01\x05"
	        "alice\x07"
	        "secret\0"),
	  BYTES("\x05\x02\x01\x01"), CLOSE, 0, 0, true },
	{ "last byte differs",
	  BYTES("\x05\x01\x02\x01\x05"
	        "alice\x06"
	        "secreT"),
	  BYTES("\x05\x02\x01\x01"), CLOSE, 0, 0, true },
	{ "empty name",
	  BYTES("\x05\x01\x02\x01\0\x06"
	        "secret"),
	  BYTES("\x05\x02\x01\x01"), CLOSE, 0, 0, true },
	{ "empty password",
	  BYTES("\x05\x01\x02\x01\x05"
	        "carol\0"),
	  BYTES("\x05\x02\x01\x01"), CLOSE, 0, 0, true },
	{ "unknown user",
	  BYTES("\x05\x01\x02\x01\x03"
	        "eve\x06"
	        "secret"),
	  BYTES("\x05\x02\x01\x01"), CLOSE, 0, 0, true },
	{ "version 5 of the authentication",
	  BYTES("\x05\x01\x02\x05\x01"
	        "a\x01"
	        "b"),
	  BYTES("\x05\x02\x01\x01"), CLOSE, 0, 0, true },
	{ "a request instead of the password", BYTES("\x05\x01\x02\x05\x01\0\x01"),
	  BYTES("\x05\x02\x01\x01"), CLOSE, 0, 0, true },
	/* requests */
	{ "IPv4", BYTES(HELLO "\x05\x01\0\x01\xc0\0\x02\x07\x1f\x90"), BYTES(WELCOME), REQUEST,
	  "192.0.2.7:8080", "", false },
	{ "IPv6", BYTES(HELLO "\x05\x01\0\x04\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\x50"),
	  BYTES(WELCOME), REQUEST, "[2001:db8::1]:80", "", false },
	{ "IPv4 in IPv6",
	  BYTES(HELLO "\x05\x01\0\x04\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\x01\0\x50"),
	  BYTES(WELCOME), REQUEST, "127.0.0.1:80", "", false },
	{ "name",
	  BYTES(HELLO "\x05\x01\0\x03\x07"
	              "a.b_c-d\0\x50"),
	  BYTES(WELCOME), REQUEST, "a.b_c-d:80", "", false },
	{ "capitals and trailing dot",
	  BYTES(HELLO "\x05\x01\0\x03\x04"
	              "Ab.C\0\x50"),
	  BYTES(WELCOME), REQUEST, "ab.c:80", "", false },
	{ "trailing dot",
	  BYTES(HELLO "\x05\x01\0\x03\x0a"
	              "localhost.\0\x50"),
	  BYTES(WELCOME), REQUEST, "localhost:80", "", false },
	{ "IPv4 as a name",
	  BYTES(HELLO "\x05\x01\0\x03\x07"
	              "1.2.3.4\0\x50"),
	  BYTES(WELCOME), REQUEST, "1.2.3.4:80", "", false },
	{ "IPv6 as a name",
	  BYTES(HELLO "\x05\x01\0\x03\x0b"
	              "2001:db8::1\0\x50"),
	  BYTES(WELCOME), REQUEST, "[2001:db8::1]:80", "", false },
	{ "IPv6 as a name in brackets",
	  BYTES(HELLO "\x05\x01\0\x03\x05"
	              "[::1]\0\x50"),
	  BYTES(WELCOME), REQUEST, "[::1]:80", "", false },
	{ "IPv4 in IPv6 as a name",
	  BYTES(HELLO "\x05\x01\0\x03\x12"
	              "[::ffff:127.0.0.1]\0\x50"),
	  BYTES(WELCOME), REQUEST, "127.0.0.1:80", "", false },
	{ "highest port", BYTES(HELLO "\x05\x01\0\x01\x01\x02\x03\x04\xff\xff"), BYTES(WELCOME),
	  REQUEST, "1.2.3.4:65535", "", false },
	{ "reserved byte", BYTES(HELLO "\x05\x01\xaa\x01\x01\x02\x03\x04\0\x50"), BYTES(WELCOME),
	  REQUEST, "1.2.3.4:80", "", false },
	{ "sent ahead: payload", BYTES(HELLO "\x05\x01\0\x01\x01\x02\x03\x04\0\x50\x05\x01\0"),
	  BYTES(WELCOME), REQUEST, "1.2.3.4:80", HELLO, false },
	{ "sent ahead: everything",
	  BYTES("\x05\x02\0\x02\x01\x05"
	        "alice\x06"
	        "secret\x05\x01\0\x03\x01"
	        "a\0\x50payload"),
	  BYTES("\x05\x02\x01\0"), REQUEST, "a:80", "payload", true },
	{ "port 0", BYTES(HELLO "\x05\x01\0\x01\x01\x02\x03\x04\0\0"), BYTES(WELCOME ERROR("\x01")),
	  CLOSE, 0, 0, false },
	{ "version 4 in the request", BYTES(HELLO "\x04\x01\0\x01"), BYTES(WELCOME ERROR("\x01")),
	  CLOSE, 0, 0, false },
	{ "command 0", BYTES(HELLO "\x05\0\0\x01\x01\x02\x03\x04\0\x50"),
	  BYTES(WELCOME ERROR("\x07")), CLOSE, 0, 0, false },
	{ "BIND", BYTES(HELLO "\x05\x02\0\x01\x01\x02\x03\x04\0\x50"), BYTES(WELCOME), REQUEST,
	  "BIND 1.2.3.4:80", "", false },
	{ "BIND for anyone", BYTES(HELLO "\x05\x02\0\x01\0\0\0\0\0\0"), BYTES(WELCOME), REQUEST,
	  "BIND 0.0.0.0:0", "", false },
	{ "BIND: no name", BYTES(HELLO "\x05\x02\0\x03\0\0\x50"), BYTES(WELCOME ERROR("\x01")),
	  CLOSE, 0, 0, false },
	{ "UDP ASSOCIATE", BYTES(HELLO "\x05\x03\0\x01\0\0\0\0\0\0"), BYTES(WELCOME), REQUEST,
	  "ASSOCIATE 0.0.0.0:0", "", false },
	{ "UDP ASSOCIATE, IPv6",
	  BYTES(HELLO "\x05\x03\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x35"), BYTES(WELCOME),
	  REQUEST, "ASSOCIATE [::]:53", "", false },
	{ "UDP ASSOCIATE, a name that is none", BYTES(HELLO "\x05\x03\0\x03\x01\x30\x12\x34"),
	  BYTES(WELCOME), REQUEST, "ASSOCIATE 0.0.0.0:4660", "", false },
	{ "UDP ASSOCIATE, no name", BYTES(HELLO "\x05\x03\0\x03\0\0\0"), BYTES(WELCOME), REQUEST,
	  "ASSOCIATE 0.0.0.0:0", "", false },
	{ "command 4", BYTES(HELLO "\x05\x04\0\x01\x01\x02\x03\x04\0\x50"),
	  BYTES(WELCOME ERROR("\x07")), CLOSE, 0, 0, false },
	{ "command 255",
	  BYTES(HELLO "\x05\xff\0\x03\x01"
	              "a\0\x50"),
	  BYTES(WELCOME ERROR("\x07")), CLOSE, 0, 0, false },
	{ "address type 0", BYTES(HELLO "\x05\x01\0\0"), BYTES(WELCOME ERROR("\x08")), CLOSE, 0, 0,
	  false },
	{ "address type 2", BYTES(HELLO "\x05\x01\0\x02"), BYTES(WELCOME ERROR("\x08")), CLOSE, 0,
	  0, false },
	{ "address type 5", BYTES(HELLO "\x05\x01\0\x05"), BYTES(WELCOME ERROR("\x08")), CLOSE, 0,
	  0, false },
	{ "address type 255", BYTES(HELLO "\x05\x01\0\xff"), BYTES(WELCOME ERROR("\x08")), CLOSE, 0,
	  0, false },
};

static void clients_are_answered_at_every_cut(void **state)
{
	struct transcript t;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];

		print_message("%s\n", row->what);
		t = transcript_of(row->has_users, row->bytes, row->size);
		assert_int_equal(t.verdict, row->verdict);
		assert_int_equal(t.out_size, row->out_size);
		assert_memory_equal(t.out, row->out, row->out_size);
		if (row->verdict != REQUEST)
			continue;
		assert_string_equal(t.target, row->target);
		/* Payloads may hold NULs: what stands in the row is a beginning. */
		assert_true(t.stream_size >= strlen(row->stream));
		assert_memory_equal(t.stream, row->stream, strlen(row->stream));
		if (row->has_users)
			assert_string_equal(t.user, "alice");
	}
}

/* The row of HELLO as payload ends in a NUL; here its length counts. */
static void stream_data_is_whole(void **state)
{
	static const char bytes[] = HELLO "\x05\x01\0\x01\x01\x02\x03\x04\0\x50\0\x05\0\0";
	struct transcript t = transcript_of(false, bytes, sizeof(bytes) - 1);

	(void)state;
	assert_int_equal(t.verdict, REQUEST);
	assert_int_equal(t.stream_size, 4);
	assert_memory_equal(t.stream, "\0\x05\0\0", 4);
}

/* A request for @name, port 80; returns its transcript. */
static struct transcript ask_for(const char *name, size_t size)
{
	char bytes[3 + SOCKS5_REQUEST_MAX] = HELLO "\x05\x01\0\x03";
	struct client c;

	assert_true(size <= 255);
	bytes[7] = (char)(uint8_t)size;
	memcpy(bytes + 8, name, size);
	bytes[8 + size] = 0;
	bytes[8 + size + 1] = 80;
	if (size < 40)
		return transcript_of(false, bytes, 8 + size + 2);
	client_init(&c, false);
	for (size_t i = 0; i < 8 + size + 2; i++)
		client_send(&c, (const uint8_t *)bytes + i, 1);
	return c.t;
}

static void names_that_are_refused(void **state)
{
	static const struct {
		const char *name;
		size_t size;
	} names[] = {
		{ BYTES("") },
		{ BYTES(".") },
		{ BYTES("a\0b") },
		{ BYTES("127.0.0.1\0.example") },
		{ BYTES("a b") },
		{ BYTES("a%n") },
		{ BYTES("fe80::1%eth0") },
		{ BYTES("a\nb") },
		{ BYTES("a/b") },
		{ BYTES("a:80") },
		{ BYTES("user@host") },
		{ BYTES("\xc3\xa4.example") },
		{ BYTES("a\xff") },
		{ BYTES(".a") },
		{ BYTES("a..b") },
		{ BYTES("a..") },
		{ BYTES("0x7f.1") },
		{ BYTES("0177.0.0.1") },
		{ BYTES("2130706433") },
		{ BYTES("127.1") },
		{ BYTES("0x7f000001") },
		{ BYTES("1.2.3.4.5") },
		{ BYTES("1.2.3.256") },
		{ BYTES("[::1") },
		{ BYTES("::1]") },
		{ BYTES("[1.2.3.4]") },
		{ BYTES("[a]") },
		{ BYTES("[]") },
		{ BYTES(":::") },
	};
	struct transcript t;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(names); i++) {
		print_message("%s\n", names[i].name);
		t = ask_for(names[i].name, names[i].size);
		assert_int_equal(t.verdict, CLOSE);
		assert_int_equal(t.out_size, 12);
		assert_memory_equal(t.out, WELCOME ERROR("\x01"), 12);
	}
}

/* "aaa...a.aaa...a" of @size characters with labels of at most @label. */
static void make_name(char *out, size_t size, size_t label)
{
	for (size_t i = 0; i < size; i++)
		out[i] = (i + 1) % (label + 1) == 0 ? '.' : 'a';
}

static void names_at_their_limits(void **state)
{
	char name[256];

	(void)state;
	make_name(name, 253, 63);
	assert_int_equal(ask_for(name, 253).verdict, REQUEST);
	name[253] = '.';
	assert_int_equal(ask_for(name, 254).verdict, REQUEST);
	name[254] = '.';
	assert_int_equal(ask_for(name, 255).verdict, CLOSE);
	make_name(name, 254, 50);
	assert_int_equal(ask_for(name, 254).verdict, CLOSE);
	make_name(name, 255, 50);
	name[254] = 'a';
	assert_int_equal(ask_for(name, 255).verdict, CLOSE);

	assert_int_equal(ask_for("a", 1).verdict, REQUEST);
	memset(name, 'a', sizeof(name));
	assert_int_equal(ask_for(name, 63).verdict, REQUEST);
	assert_int_equal(ask_for(name, 64).verdict, CLOSE);
}

/* The longest greeting and password there can be, one byte at a time. */
static void messages_at_their_limits(void **state)
{
	uint8_t greeting[SOCKS5_GREETING_MAX] = { 5, 255 };
	uint8_t auth[SOCKS5_AUTH_MAX] = { 1, 255 };
	char text[256];
	struct auth_user user = { text, text };
	struct client c;

	(void)state;
	memset(greeting + 2, 9, 255);
	greeting[256] = 2;
	memset(text, 'x', 255);
	text[255] = 0;
	memset(auth + 2, 'x', 255);
	auth[257] = 255;
	memset(auth + 258, 'x', 255);

	for (unsigned wrong = 0; wrong < 2; wrong++) {
		client_init(&c, false);
		socks5_init(&c.socks5, &user, 1);
		for (size_t i = 0; i < sizeof(greeting); i++)
			client_send(&c, greeting + i, 1);
		assert_memory_equal(c.t.out, "\x05\x02", 2);
		auth[512] = wrong ? 'y' : 'x';
		for (size_t i = 0; i < sizeof(auth); i++)
			client_send(&c, auth + i, 1);
		assert_int_equal(c.t.out_size, 4);
		assert_int_equal(c.t.out[3], wrong);
		assert_int_equal(c.t.verdict, wrong ? CLOSE : NEED_MORE);
		/* No password stays behind in memory. */
		for (size_t i = 0; i < sizeof(c.socks5.in); i++)
			assert_int_equal(c.socks5.in[i], 0);
	}
}

static void what_comes_after_the_end_is_ignored(void **state)
{
	static const uint8_t more[] = "more";
	static const char request[] = HELLO "\x05\x01\0\x01\x01\x02\x03\x04\0\x50";
	struct rd in = rd_init(more, sizeof(more));
	struct client c;

	(void)state;
	client_init(&c, false);
	client_send(&c, (const uint8_t *)request, sizeof(request) - 1);
	assert_int_equal(c.t.verdict, REQUEST);
	assert_int_equal(socks5_on_bytes(&c.socks5, &in), NEED_MORE);
	assert_int_equal(c.socks5.out_size, 0);
	assert_int_equal(rd_left(&in), sizeof(more));

	client_init(&c, false);
	client_send(&c, (const uint8_t *)"\x06", 1);
	assert_int_equal(c.t.verdict, CLOSE);
	assert_non_null(c.socks5.why);
	assert_int_equal(socks5_on_bytes(&c.socks5, &in), CLOSE);
	assert_int_equal(c.socks5.out_size, 0);
	assert_int_equal(rd_left(&in), sizeof(more));
}

static void replies_are_whole(void **state)
{
	struct addr v4 = addr_v4(192, 0, 2, 1, 4660), none = { 0 };
	struct addr v6 = { .family = ADDR_V6, .port = 1, .ip = { 0x20, 1, [15] = 9 } };
	uint8_t out[SOCKS5_REPLY_MAX];
	struct wr w = wr_init(out, sizeof(out));

	(void)state;
	socks5_write_reply(&w, TARGET_OK, &v4);
	assert_int_equal(wr_size(&w), 10);
	assert_memory_equal(out, "\x05\0\0\x01\xc0\0\x02\x01\x12\x34", 10);

	w = wr_init(out, sizeof(out));
	socks5_write_reply(&w, TARGET_OK, &v6);
	assert_int_equal(wr_size(&w), 22);
	assert_memory_equal(out, "\x05\0\0\x04\x20\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\x09\0\x01", 22);

	w = wr_init(out, sizeof(out));
	socks5_write_reply(&w, TARGET_OK, &none);
	assert_int_equal(wr_size(&w), 10);
	assert_memory_equal(out, ERROR("\0"), 10);

	w = wr_init(out, sizeof(out));
	socks5_write_reply(&w, TARGET_TIMEOUT, NULL);
	assert_int_equal(wr_size(&w), 10);
	assert_memory_equal(out, ERROR("\x06"), 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clients_are_answered_at_every_cut),
		cmocka_unit_test(stream_data_is_whole),
		cmocka_unit_test(names_that_are_refused),
		cmocka_unit_test(names_at_their_limits),
		cmocka_unit_test(messages_at_their_limits),
		cmocka_unit_test(what_comes_after_the_end_is_ignored),
		cmocka_unit_test(replies_are_whole),
	};

	return cmocka_run_group_tests_name("socks5", tests, NULL, NULL);
}

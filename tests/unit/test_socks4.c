/* SPDX-License-Identifier: MIT */

/*
 * Goal: a client gets one answer however TCP cuts its bytes up, to the byte, and what follows its
 * request reaches the stream whole.
 * Method: every row is one client's bytes, sent at once, byte by byte, and cut in two at every
 * place; each way must give the same transcript.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/socks4.h"

#define BYTES(text) (text), sizeof(text) - 1

struct transcript {
	enum socks4_verdict verdict;
	enum socks4_command command;
	uint8_t out[SOCKS4_REPLY_SIZE];
	size_t out_size;
	char target[HOSTPORT_TEXT_MAX];
	size_t taken;
};

/* In memory of its own, so that a sanitizer sees a byte too many. */
static void client_send(struct socks4 *s, struct transcript *t, const uint8_t *bytes, size_t size)
{
	uint8_t *copy = malloc(size + (size == 0));
	struct rd in;

	assert_non_null(copy);
	memcpy(copy, bytes, size);
	in = rd_init(copy, size);
	if (t->verdict == SOCKS4_NEED_MORE) {
		t->verdict = socks4_on_bytes(s, &in);
		memcpy(t->out, s->out, s->out_size);
		t->out_size += s->out_size;
		t->taken += size - rd_left(&in);
		if (t->verdict == SOCKS4_REQUEST) {
			hostport_format(&s->target, t->target);
			t->command = s->command;
		}
		if (t->verdict == SOCKS4_NEED_MORE)
			assert_int_equal(rd_left(&in), 0);
		/* Neither is said twice, and nothing more is taken. */
		else if (t->verdict == SOCKS4_CLOSE)
			assert_int_equal(socks4_on_bytes(s, &in), SOCKS4_CLOSE);
		else
			assert_int_equal(socks4_on_bytes(s, &in), SOCKS4_NEED_MORE);
	}
	free(copy);
}

static struct transcript transcript_of(bool has_users, const char *text, size_t size)
{
	const uint8_t *bytes = (const uint8_t *)text;
	struct transcript whole = { 0 }, cut;
	struct socks4 s;

	socks4_init(&s, has_users);
	client_send(&s, &whole, bytes, size);
	for (size_t a = 0; a <= size + 1; a++) {
		memset(&cut, 0, sizeof(cut));
		socks4_init(&s, has_users);
		for (size_t i = 0; a > size && i < size; i++)
			client_send(&s, &cut, bytes + i, 1);
		if (a <= size) {
			client_send(&s, &cut, bytes, a);
			assert_true(cut.out_size <= whole.out_size);
			client_send(&s, &cut, bytes + a, size - a);
		}
		assert_memory_equal(&cut, &whole, sizeof(cut));
	}
	return whole;
}

#define NO "\0\x5b\0\0\0\0\0\0"
#define HEAD "\x04\x01\0\x50\x01\x02\x03\x04"
#define HEAD_4A "\x04\x01\0\x50\0\0\0\x01"

static const struct {
	const char *what;
	const char *bytes;
	size_t size;
	enum socks4_verdict verdict;
	const char *target; /* SOCKS4_REQUEST */
	size_t left;        /* bytes behind the request */
	bool has_users;
	bool is_silent; /* closed without a reply */
} rows[] = {
	{ "nothing", BYTES(""), SOCKS4_NEED_MORE, 0, 0, false, false },
	{ "version 5", BYTES("\x05\x01\0\x50"), SOCKS4_CLOSE, 0, 0, false, true },
	{ "no user id", BYTES(HEAD "\0"), SOCKS4_REQUEST, "1.2.3.4:80", 0, false, false },
	{ "a user id", BYTES(HEAD "me\0"), SOCKS4_REQUEST, "1.2.3.4:80", 0, false, false },
	{ "any bytes in it", BYTES(HEAD "\xff\n%n\0"), SOCKS4_REQUEST, "1.2.3.4:80", 0, false,
	  false },
	{ "sent ahead", BYTES(HEAD "me\0payload"), SOCKS4_REQUEST, "1.2.3.4:80", 7, false, false },
	{ "sent ahead: a NUL", BYTES(HEAD "\0\0\0"), SOCKS4_REQUEST, "1.2.3.4:80", 2, false,
	  false },
	{ "the id has no end yet", BYTES(HEAD "me"), SOCKS4_NEED_MORE, 0, 0, false, false },
	{ "0.0.0.0 is no name", BYTES("\x04\x01\0\x50\0\0\0\0\0"), SOCKS4_REQUEST, "0.0.0.0:80", 0,
	  false, false },
	{ "0.0.1.0 is no name", BYTES("\x04\x01\0\x50\0\0\x01\0\0"), SOCKS4_REQUEST, "0.0.1.0:80",
	  0, false, false },
	{ "4a", BYTES(HEAD_4A "\0Example.COM.\0x"), SOCKS4_REQUEST, "example.com:80", 1, false,
	  false },
	{ "4a, 0.0.0.255",
	  BYTES("\x04\x01\xff\xff\0\0\0\xff"
	        "me\0a\0"),
	  SOCKS4_REQUEST, "a:65535", 0, false, false },
	{ "4a: an address as the name",
	  BYTES(HEAD_4A "\0"
	                "127.0.0.1\0"),
	  SOCKS4_REQUEST, "127.0.0.1:80", 0, false, false },
	{ "4a: IPv6 as the name", BYTES(HEAD_4A "\0[2001:db8::1]\0"), SOCKS4_REQUEST,
	  "[2001:db8::1]:80", 0, false, false },
	{ "4a: IPv4 in IPv6", BYTES(HEAD_4A "\0::ffff:127.0.0.1\0"), SOCKS4_REQUEST, "127.0.0.1:80",
	  0, false, false },
	{ "4a: the name does not come", BYTES(HEAD_4A "me\0"), SOCKS4_NEED_MORE, 0, 0, false,
	  false },
	{ "4a: no name", BYTES(HEAD_4A "me\0\0"), SOCKS4_CLOSE, 0, 0, false, false },
	{ "4a: a space", BYTES(HEAD_4A "\0a b\0"), SOCKS4_CLOSE, 0, 0, false, false },
	{ "4a: a disguise",
	  BYTES(HEAD_4A "\0"
	                "2130706433\0"),
	  SOCKS4_CLOSE, 0, 0, false, false },
	{ "4a: UTF-8", BYTES(HEAD_4A "\0\xc3\xa4\0"), SOCKS4_CLOSE, 0, 0, false, false },
	{ "port 0", BYTES("\x04\x01\0\0\x01\x02\x03\x04\0"), SOCKS4_CLOSE, 0, 0, false, false },
	{ "command 0", BYTES("\x04\0\0\x50\x01\x02\x03\x04\0"), SOCKS4_CLOSE, 0, 0, false, false },
	{ "command 3", BYTES("\x04\x03\0\x50\x01\x02\x03\x04\0"), SOCKS4_CLOSE, 0, 0, false,
	  false },
	{ "command 255", BYTES("\x04\xff\0\x50\x01\x02\x03\x04\0"), SOCKS4_CLOSE, 0, 0, false,
	  false },
	{ "BIND for anyone", BYTES("\x04\x02\0\0\0\0\0\0\0"), SOCKS4_REQUEST, "0.0.0.0:0", 0, false,
	  false },
	/* T71: there is nothing that a client could say instead of a password. */
	{ "users", BYTES(HEAD "alice\0"), SOCKS4_CLOSE, 0, 0, true, false },
	{ "users, 4a", BYTES(HEAD_4A "alice\0a\0"), SOCKS4_CLOSE, 0, 0, true, false },
	{ "users: refused when it is whole", BYTES(HEAD "alice"), SOCKS4_NEED_MORE, 0, 0, true,
	  false },
};

static void clients_are_answered_at_every_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct transcript t;

		print_message("%s\n", rows[i].what);
		t = transcript_of(rows[i].has_users, rows[i].bytes, rows[i].size);
		assert_int_equal(t.verdict, rows[i].verdict);
		assert_string_equal(t.target, rows[i].target ? rows[i].target : "");
		if (t.verdict == SOCKS4_REQUEST) {
			assert_int_equal(rows[i].size - t.taken, rows[i].left);
			assert_int_equal(t.command, rows[i].bytes[1]);
		}
		if (t.verdict == SOCKS4_CLOSE && !rows[i].is_silent) {
			assert_int_equal(t.out_size, 8);
			assert_memory_equal(t.out, NO, 8);
		} else {
			assert_int_equal(t.out_size, 0);
		}
	}
}

/* The limits of the two parts that have no length in front. */
static void parts_at_their_limits(void **state)
{
	char bytes[8 + 256 + 1 + 256 + 1];

	(void)state;
	memcpy(bytes, HEAD, 8);
	memset(bytes + 8, 'u', 256);
	bytes[8 + 255] = 0;
	assert_int_equal(transcript_of(false, bytes, 8 + 256).verdict, SOCKS4_REQUEST);
	bytes[8 + 255] = 'u';
	/* Refused without waiting for an end that may never come. */
	assert_int_equal(transcript_of(false, bytes, 8 + 255).verdict, SOCKS4_NEED_MORE);
	assert_int_equal(transcript_of(false, bytes, 8 + 256).verdict, SOCKS4_CLOSE);
	assert_int_equal(transcript_of(true, bytes, 8 + 256).verdict, SOCKS4_CLOSE);

	memcpy(bytes, HEAD_4A, 8);
	bytes[8] = 0;
	for (size_t i = 0; i < 256; i++)
		bytes[9 + i] = i % 50 == 49 ? '.' : 'a';
	bytes[9 + 253] = 0;
	assert_int_equal(transcript_of(false, bytes, 9 + 254).verdict, SOCKS4_REQUEST);
	bytes[9 + 253] = '.';
	bytes[9 + 254] = 0;
	assert_int_equal(transcript_of(false, bytes, 9 + 255).verdict, SOCKS4_REQUEST);
	bytes[9 + 253] = 'a';
	assert_int_equal(transcript_of(false, bytes, 9 + 255).verdict, SOCKS4_CLOSE);
	bytes[9 + 254] = 'a';
	assert_int_equal(transcript_of(false, bytes, 9 + 255).verdict, SOCKS4_NEED_MORE);
	bytes[9 + 255] = 'a';
	assert_int_equal(transcript_of(false, bytes, 9 + 256).verdict, SOCKS4_CLOSE);
}

static void replies_are_whole(void **state)
{
	struct addr v4 = addr_v4(192, 0, 2, 1, 4660);
	struct addr v6 = { .family = ADDR_V6, .port = 1, .ip = { 0x20, 1 } };
	uint8_t out[SOCKS4_REPLY_SIZE];
	struct wr w = wr_init(out, sizeof(out));

	(void)state;
	socks4_write_reply(&w, TARGET_OK, &v4);
	assert_int_equal(wr_size(&w), 8);
	assert_memory_equal(out, "\0\x5a\x12\x34\xc0\0\x02\x01", 8);
	w = wr_init(out, sizeof(out));
	socks4_write_reply(&w, TARGET_OK, &v6);
	assert_memory_equal(out, "\0\x5a\0\0\0\0\0\0", 8);
	w = wr_init(out, sizeof(out));
	socks4_write_reply(&w, TARGET_TIMEOUT, NULL);
	assert_memory_equal(out, NO, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(clients_are_answered_at_every_cut),
		cmocka_unit_test(parts_at_their_limits),
		cmocka_unit_test(replies_are_whole),
	};

	return cmocka_run_group_tests_name("socks4", tests, NULL, NULL);
}

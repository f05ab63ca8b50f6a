/* SPDX-License-Identifier: MIT */

/*
 * Goal: no more goes out than came in where that is promised, answers leave from where they were
 * asked to, and nothing is claimed that the server does not have. Method: servers with one and two
 * addresses, all kinds of requests, ten thousand sources.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/addr.h"
#include "base/alloc.h"
#include "tunnel/binding.h"

enum { CLASSIC = 1 << 8, PORT = 1 << 9 };

static const uint8_t id[STUN_ID_SIZE] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 };

struct world {
	struct binding b;
	cv_time now;
	struct addr from;
	uint16_t socket;
	struct binding_answer answer;
	struct stun_message m; /* the answer, read */
};

/* One place a port of each address, in the order in which the shell numbers them. */
static void open_server(struct world *w, enum binding_mode mode, unsigned addresses)
{
	struct binding_place places[8] = { { 0 } };
	unsigned count = 0;

	*w = (struct world){ .now = CV_SEC(100), .from = addr_v4(203, 0, 113, 9, 4000) };
	assert_int_equal(binding_init(&w->b, mode, 1), 0);
	for (uint16_t port = 28583; port <= 28584; port++) {
		for (unsigned i = 0; i < addresses; i++) {
			places[count].socket = (uint16_t)count;
			places[count].local = addr_v4(198, 51, 100, (uint8_t)(1 + i), port);
			places[count].real = places[count].local;
			count++;
		}
	}
	/* Another family under the same number. */
	places[count].local = places[count].real =
		(struct addr){ .family = ADDR_V6, .port = 28583, .ip = { 0x20, 1, 0xd, 0xb8 } };
	binding_set_places(&w->b, places, count + 1);
}

/* @size 0: not padded. */
static size_t make(uint8_t out[STUN_REQUEST_MAX], unsigned what, size_t size)
{
	size_t written = stun_write_request(out, STUN_REQUEST_MAX, id, what & 0xff, size);

	if (what & PORT) {
		memcpy(out + written, (const uint8_t[]){ 0, 0x27, 0, 4, 0x20, 0, 0, 0 }, 8);
		written += 8;
		cv_store16(out + 2, (uint16_t)(written - STUN_HEADER));
	}
	if (what & CLASSIC)
		cv_store32(out + 4, 7);
	return written;
}

static enum binding_verdict ask(struct world *w, unsigned what, size_t size)
{
	uint8_t bytes[STUN_REQUEST_MAX];
	size_t written = make(bytes, what, size);
	enum binding_verdict verdict;

	w->answer = (struct binding_answer){ .socket = w->socket, .to = w->from };
	w->now += CV_SEC(1); /* the bucket is another test's subject */
	verdict = binding_on_datagram(&w->b, w->now, bytes, written, &w->answer);
	if (verdict != BINDING_ANSWERED)
		return verdict;
	assert_true(w->b.mode == BINDING_ANY || w->answer.size <= written);
	assert_true(stun_read(w->answer.bytes, w->answer.size, &w->m));
	assert_memory_equal(w->m.id + 4, id, sizeof(id));
	return verdict;
}

static void assert_addr(const struct addr *a, const char *text)
{
	char out[ADDR_TEXT_MAX];

	assert_string_equal(addr_format(a, out), text);
}

static void assert_success(struct world *w, unsigned what, unsigned socket, const char *origin)
{
	assert_int_equal(ask(w, what, STUN_PADDED_SIZE), BINDING_ANSWERED);
	assert_int_equal(w->m.type, STUN_SUCCESS);
	assert_int_equal(w->answer.socket, socket);
	assert_addr(&w->m.mapped, "203.0.113.9:4000");
	assert_addr(&w->m.origin, origin);
}

static void assert_refused(struct world *w, unsigned what, uint16_t attribute)
{
	assert_int_equal(ask(w, what, STUN_PADDED_SIZE), BINDING_ANSWERED);
	assert_int_equal(w->m.type, STUN_ERROR);
	assert_int_equal(w->m.error, 420);
	assert_int_equal(w->answer.socket, w->socket);
	assert_int_equal(cv_load16(w->answer.bytes + 32), attribute);
}

/* ---- tests ---- */

static void test_one_address(void **state)
{
	struct world w;

	(void)state;
	open_server(&w, BINDING_PADDED, 1);
	assert_success(&w, 0, 0, "198.51.100.1:28583");
	assert_addr(&w.m.other, "none"); /* RFC 5780, 7.4 */
	assert_success(&w, STUN_CHANGE_PORT, 1, "198.51.100.1:28584");
	assert_refused(&w, STUN_CHANGE_IP, 0x0003);
	assert_refused(&w, STUN_CHANGE_IP | STUN_CHANGE_PORT, 0x0003);
	/* Back again, from the other port. */
	w.socket = 1;
	assert_success(&w, 0, 1, "198.51.100.1:28584");
	assert_success(&w, STUN_CHANGE_PORT, 0, "198.51.100.1:28583");
	/* RFC 3489 wants a CHANGED-ADDRESS; and to its clients a refusal is an answer. */
	w.socket = 0;
	assert_success(&w, CLASSIC, 0, "198.51.100.1:28583");
	assert_true(w.m.is_classic);
	assert_addr(&w.m.other, "198.51.100.1:28584");
	assert_success(&w, CLASSIC | STUN_CHANGE_PORT, 1, "198.51.100.1:28584");
	assert_int_equal(ask(&w, CLASSIC | STUN_CHANGE_IP, STUN_PADDED_SIZE), BINDING_SILENT);
	binding_deinit(&w.b);
}

static void test_two_addresses(void **state)
{
	static const char *const names[] = { "198.51.100.1:28583", "198.51.100.2:28583",
		                             "198.51.100.1:28584", "198.51.100.2:28584" };
	struct world w;

	(void)state;
	open_server(&w, BINDING_PADDED, 2);
	for (unsigned i = 0; i < 4; i++) {
		w.socket = (uint16_t)i;
		for (unsigned classic = 0; classic <= CLASSIC; classic += CLASSIC) {
			assert_success(&w, classic, i, names[i]);
			assert_addr(&w.m.other, names[i ^ 3]);
			assert_success(&w, classic | STUN_CHANGE_IP, i ^ 1, names[i ^ 1]);
			assert_success(&w, classic | STUN_CHANGE_PORT, i ^ 2, names[i ^ 2]);
			assert_success(&w, classic | STUN_CHANGE_IP | STUN_CHANGE_PORT, i ^ 3,
			               names[i ^ 3]);
		}
	}
	binding_deinit(&w.b);
}

/* A server that knows neither its sockets nor its addresses still says what it sees. */
static void test_no_places(void **state)
{
	struct world w = { .now = CV_SEC(1), .from = addr_v4(203, 0, 113, 9, 4000), .socket = 5 };

	(void)state;
	assert_int_equal(binding_init(&w.b, BINDING_PADDED, 1), 0);
	assert_success(&w, 0, 5, "none");
	assert_refused(&w, STUN_CHANGE_PORT, 0x0003);
	binding_deinit(&w.b);
}

static void test_private_addresses(void **state)
{
	struct binding_place places[2] = {
		{ 0, addr_v4(0, 0, 0, 0, 28583), addr_v4(10, 0, 0, 5, 28583) },
		{ 1, addr_v4(0, 0, 0, 0, 28584), addr_v4(10, 0, 0, 5, 28584) },
	};
	struct world w = { .now = CV_SEC(1), .from = addr_v4(8, 8, 8, 8, 4000) };

	(void)state;
	assert_int_equal(binding_init(&w.b, BINDING_ANY, 1), 0);
	binding_set_places(&w.b, places, 2);
	assert_int_equal(ask(&w, CLASSIC, 0), BINDING_ANSWERED);
	assert_addr(&w.m.origin, "none");
	assert_addr(&w.m.other, "none");
	w.from = addr_v4(10, 0, 0, 9, 4000);
	assert_int_equal(ask(&w, CLASSIC, 0), BINDING_ANSWERED);
	assert_addr(&w.m.origin, "10.0.0.5:28583");
	assert_addr(&w.m.other, "10.0.0.5:28584");
	binding_deinit(&w.b);
}

static void test_modes(void **state)
{
	struct world w;

	(void)state;
	open_server(&w, BINDING_OFF, 1);
	assert_int_equal(ask(&w, 0, STUN_PADDED_SIZE), BINDING_SILENT);
	binding_deinit(&w.b);

	open_server(&w, BINDING_PADDED, 1);
	assert_int_equal(ask(&w, 0, 0), BINDING_SILENT);
	assert_int_equal(ask(&w, CLASSIC, 0), BINDING_SILENT);
	assert_int_equal(ask(&w, STUN_CHANGE_IP, 0), BINDING_SILENT); /* nor a refusal of 36 */
	assert_int_equal(ask(&w, 0, 32), BINDING_ANSWERED);           /* what fits */
	assert_addr(&w.m.mapped, "203.0.113.9:4000");
	assert_addr(&w.m.origin, "none");
	assert_refused(&w, PORT, 0x0027);
	binding_deinit(&w.b);

	open_server(&w, BINDING_ANY, 2);
	assert_int_equal(ask(&w, 0, 0), BINDING_ANSWERED);
	assert_addr(&w.m.other, "198.51.100.2:28584");
	assert_int_equal(ask(&w, CLASSIC, 0), BINDING_ANSWERED);
	assert_int_equal(ask(&w, PORT, 0), BINDING_ANSWERED);
	assert_addr(&w.answer.to, "203.0.113.9:8192");
	assert_addr(&w.m.mapped, "203.0.113.9:4000");
	binding_deinit(&w.b);
}

static void test_not_a_request(void **state)
{
	static const uint8_t answer[] = { 1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 1,  2,
		                          3, 4, 5, 6, 7,    8,    9,    10,   11, 12 };
	struct world w;

	(void)state;
	open_server(&w, BINDING_ANY, 1);
	w.answer = (struct binding_answer){ .to = w.from };
	assert_int_equal(binding_on_datagram(&w.b, w.now, answer, sizeof(answer), &w.answer),
	                 BINDING_MALFORMED);
	assert_int_equal(binding_on_datagram(&w.b, w.now, answer, 1, &w.answer), BINDING_MALFORMED);
	binding_deinit(&w.b);
}

/* T44: so many a second a source; whatever is sent, no more comes out. */
static void test_limits(void **state)
{
	uint64_t live = cv_alloc_live(), in = 0, out = 0, after;
	uint8_t bytes[STUN_REQUEST_MAX];
	struct world w;
	size_t size = make(bytes, 0, STUN_PADDED_SIZE);
	unsigned answered = 0;

	(void)state;
	open_server(&w, BINDING_PADDED, 1);
	after = cv_alloc_live();
	for (unsigned i = 0; i < 3000; i++) { /* 3 s, from changing ports */
		w.now += CV_MS(1);
		w.answer.to = w.from;
		w.answer.to.port = (uint16_t)(4000 + i);
		answered += binding_on_datagram(&w.b, w.now, bytes, size, &w.answer) ==
		            BINDING_ANSWERED;
	}
	assert_in_range(answered, BINDING_BURST + 3 * BINDING_RATE - 2,
	                BINDING_BURST + 3 * BINDING_RATE);

	for (unsigned i = 0; i < 10000; i++) { /* from forged sources */
		unsigned what = i % 7 == 0 ? CLASSIC : i % 5 == 0 ? STUN_CHANGE_IP : 0;

		size = make(bytes, what, i % 3 ? STUN_PADDED_SIZE : 4 * (i % 32));
		in += size;
		w.answer.socket = 0;
		w.answer.to = addr_v4(10, 1, (uint8_t)(i >> 8), (uint8_t)i, 53);
		if (binding_on_datagram(&w.b, w.now, bytes, size, &w.answer) == BINDING_ANSWERED)
			out += w.answer.size;
	}
	assert_true(out > 0 && out <= in);
	assert_int_equal(cv_alloc_live(), after); /* nothing is kept but what was there */
	binding_deinit(&w.b);
	assert_int_equal(cv_alloc_live(), live);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_address), cmocka_unit_test(test_two_addresses),
		cmocka_unit_test(test_no_places),   cmocka_unit_test(test_private_addresses),
		cmocka_unit_test(test_modes),       cmocka_unit_test(test_not_a_request),
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

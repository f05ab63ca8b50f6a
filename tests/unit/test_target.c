/* SPDX-License-Identifier: MIT */

/*
 * Goal: what one end writes the other reads, at every cut; what nobody could have
 * written is malformed; every reason has its answer in every language.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/target.h"

#define BYTES(text) (text), sizeof(text) - 1

/* Offers every prefix of a whole request, then the request with a byte after it. */
static void check_request(const struct target_request *req, const char *wire, size_t wire_size)
{
	uint8_t bytes[TARGET_REQUEST_MAX + 1];
	struct wr w = wr_init(bytes, TARGET_REQUEST_MAX);
	struct target_request got;
	struct rd in;

	target_write_request(&w, req);
	assert_false(w.bad);
	if (wire) {
		assert_int_equal(wr_size(&w), wire_size);
		assert_memory_equal(bytes, wire, wire_size);
	}
	for (size_t size = 0; size < wr_size(&w); size++) {
		in = rd_init(bytes, size);
		assert_int_equal(target_read_request(&in, &got), TARGET_READ_NEED_MORE);
		assert_ptr_equal(in.pos, bytes);
	}
	bytes[wr_size(&w)] = 0xaa;
	in = rd_init(bytes, wr_size(&w) + 1);
	assert_int_equal(target_read_request(&in, &got), TARGET_READ_DONE);
	assert_int_equal(rd_left(&in), 1);
	assert_int_equal(got.kind, req->kind);
	assert_true(hostport_equal(&got.to, &req->to));
	assert_int_equal(got.has_listener, req->has_listener);
	assert_int_equal(got.listener, req->listener);
	if (got.to.kind == HOST_ADDR)
		assert_int_equal(got.to.addr.port, req->to.port);
}

static struct target_request request(const char *text)
{
	struct target_request req = { .kind = TARGET_KIND_TCP };
	const char *why;

	assert_int_equal(hostport_parse(text, 0, &req.to, &why), 0);
	return req;
}

static void requests_travel(void **state)
{
	static const struct {
		const char *text;
		const char *wire;
		size_t wire_size;
	} rows[] = {
		{ "192.0.2.1:80", BYTES("\0\x0a\x01\x01\x01\x04\0\x50\xc0\0\x02\x01") },
		{ "[::1]:65535",
		  BYTES("\0\x16\x01\x01\x01\x06\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01") },
		{ "a.example:443", BYTES("\0\x0f\x01\x01\x02\x09"
		                         "a.example\x01\xbb") },
		{ "unix:/run/x", BYTES("\0\x0a\x01\x01\x03\x06/run/x") },
		{ "service:web", BYTES("\0\x07\x01\x01\x04\x03web") },
	};
	struct target_request req;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		print_message("%s\n", rows[i].text);
		req = request(rows[i].text);
		check_request(&req, rows[i].wire, rows[i].wire_size);
	}
}

static void every_kind_travels(void **state)
{
	static const struct {
		const char *text; /* NULL: no host */
		const char *wire;
		size_t wire_size;
		uint64_t listener; /* with no host; 0: none */
		enum target_kind kind;
	} rows[] = {
		{ NULL, BYTES("\0\x03\x01\x02\0"), 0, TARGET_KIND_UDP },
		{ NULL, BYTES("\0\x09\x01\x02\x05\0\0\0\0\0\x05"), 5, TARGET_KIND_UDP },
		{ NULL, BYTES("\0\x09\x01\x01\x05\xff\xff\xff\xff\xff\xff"),
		  (UINT64_C(1) << 48) - 1, TARGET_KIND_TCP },
		{ "192.0.2.1:53", BYTES("\0\x0a\x01\x02\x01\x04\0\x35\xc0\0\x02\x01"), 0,
		  TARGET_KIND_UDP },
		{ "service:dns",
		  BYTES("\0\x07\x01\x02\x04\x03"
		        "dns"),
		  0, TARGET_KIND_UDP },
		{ "127.0.0.1:0", BYTES("\0\x0a\x01\x03\x01\x04\0\0\x7f\0\0\x01"), 0,
		  TARGET_KIND_LISTEN },
		{ "[::]:80", BYTES("\0\x16\x01\x03\x01\x06\0\x50\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
		  0, TARGET_KIND_LISTEN },
		{ "unix:/run/x", BYTES("\0\x0a\x01\x03\x03\x06/run/x"), 0, TARGET_KIND_LISTEN },
		{ "127.0.0.1:53", BYTES("\0\x0a\x01\x04\x01\x04\0\x35\x7f\0\0\x01"), 0,
		  TARGET_KIND_LISTEN_UDP },
		{ NULL, BYTES("\0\x03\x01\x05\0"), 0, TARGET_KIND_BIND },
		{ "192.0.2.1:0", BYTES("\0\x0a\x01\x05\x01\x04\0\0\xc0\0\x02\x01"), 0,
		  TARGET_KIND_BIND },
		{ "a.b:0",
		  BYTES("\0\x09\x01\x05\x02\x03"
		        "a.b\0\0"),
		  0, TARGET_KIND_BIND },
	};
	struct target_request req;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		print_message("%zu %s\n", i, rows[i].text ? rows[i].text : "-");
		req = (struct target_request){ .to.kind = HOST_NONE };
		if (rows[i].text)
			req = request(rows[i].text);
		req.kind = rows[i].kind;
		req.listener = rows[i].listener;
		req.has_listener = rows[i].listener != 0;
		check_request(&req, rows[i].wire, rows[i].wire_size);
	}
}

static void the_longest_requests_travel(void **state)
{
	struct target_request req = { .kind = TARGET_KIND_TCP };

	(void)state;
	req.to.kind = HOST_NAME;
	req.to.port = 1;
	for (size_t i = 0; i < 253; i++)
		req.to.text[i] = i % 64 == 63 ? '.' : 'a';
	check_request(&req, NULL, 0);

	req = (struct target_request){ .kind = TARGET_KIND_TCP, .to.kind = HOST_UNIX };
	memset(req.to.text, '/', HOST_UNIX_MAX);
	check_request(&req, NULL, 0);

	req = (struct target_request){ .kind = TARGET_KIND_TCP, .to.kind = HOST_SERVICE };
	memset(req.to.text, 'a', HOST_LABEL_MAX);
	check_request(&req, NULL, 0);
}

static void addresses_are_reduced(void **state)
{
	static const char wire[] =
		"\0\x16\x01\x01\x01\x06\0\x50\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\x01";
	struct rd in = rd_init((const uint8_t *)wire, sizeof(wire) - 1);
	struct addr loopback = addr_v4(127, 0, 0, 1, 80);
	struct target_request got;

	(void)state;
	assert_int_equal(target_read_request(&in, &got), TARGET_READ_DONE);
	assert_true(addr_equal(&got.to.addr, &loopback));
}

static const struct {
	const char *what;
	const char *wire;
	size_t size;
	enum target_read read;
} bad_rows[] = {
	{ "size 0", BYTES("\0\0"), TARGET_READ_MALFORMED },
	{ "size 1", BYTES("\0\x01\x01"), TARGET_READ_MALFORMED },
	{ "no host", BYTES("\0\x02\x01\x01"), TARGET_READ_MALFORMED },
	{ "size 318 is still awaited", BYTES("\x01\x3e"), TARGET_READ_NEED_MORE },
	{ "size 319", BYTES("\x01\x3f"), TARGET_READ_MALFORMED },
	{ "size 65535", BYTES("\xff\xff"), TARGET_READ_MALFORMED },
	{ "version 0", BYTES("\0\x07\0\x01\x04\x03web"), TARGET_READ_UNSUPPORTED },
	{ "version 2", BYTES("\0\x02\x02\x01"), TARGET_READ_UNSUPPORTED },
	{ "kind 0", BYTES("\0\x07\x01\0\x04\x03web"), TARGET_READ_UNSUPPORTED },
	{ "kind 6", BYTES("\0\x07\x01\x06\x04\x03web"), TARGET_READ_UNSUPPORTED },
	{ "kind 255", BYTES("\0\x03\x01\xff\0"), TARGET_READ_UNSUPPORTED },
	{ "host 0 for TCP", BYTES("\0\x03\x01\x01\0"), TARGET_READ_MALFORMED },
	{ "host 0 for LISTEN", BYTES("\0\x03\x01\x03\0"), TARGET_READ_MALFORMED },
	{ "host 0 and bytes", BYTES("\0\x04\x01\x02\0\0"), TARGET_READ_MALFORMED },
	{ "host 6", BYTES("\0\x09\x01\x01\x06\0\0\0\0\0\x01"), TARGET_READ_MALFORMED },
	{ "host 32", BYTES("\0\x03\x01\x02\x20"), TARGET_READ_MALFORMED },
	{ "a short number", BYTES("\0\x08\x01\x01\x05\0\0\0\0\x01"), TARGET_READ_MALFORMED },
	{ "a long number", BYTES("\0\x0a\x01\x01\x05\0\0\0\0\0\0\x01"), TARGET_READ_MALFORMED },
	{ "LISTEN for a listener", BYTES("\0\x09\x01\x03\x05\0\0\0\0\0\x01"),
	  TARGET_READ_MALFORMED },
	{ "BIND for a listener", BYTES("\0\x09\x01\x05\x05\0\0\0\0\0\x01"), TARGET_READ_MALFORMED },
	{ "LISTEN on a name",
	  BYTES("\0\x09\x01\x03\x02\x03"
	        "a.b\0\x50"),
	  TARGET_READ_MALFORMED },
	{ "LISTEN on a service", BYTES("\0\x07\x01\x03\x04\x03web"), TARGET_READ_MALFORMED },
	{ "LISTEN_UDP on a path", BYTES("\0\x0a\x01\x04\x03\x06/run/x"), TARGET_READ_MALFORMED },
	{ "UDP to a path", BYTES("\0\x0a\x01\x02\x03\x06/run/x"), TARGET_READ_MALFORMED },
	{ "UDP, port 0", BYTES("\0\x0a\x01\x02\x01\x04\0\0\x01\x02\x03\x04"),
	  TARGET_READ_MALFORMED },
	{ "a byte too many", BYTES("\0\x08\x01\x01\x04\x03web\0"), TARGET_READ_MALFORMED },
	{ "a byte too few", BYTES("\0\x06\x01\x01\x04\x03we"), TARGET_READ_MALFORMED },
	{ "family 0", BYTES("\0\x04\x01\x01\x01\0"), TARGET_READ_MALFORMED },
	{ "family 5", BYTES("\0\x0a\x01\x01\x01\x05\0\x50\x01\x02\x03\x04"),
	  TARGET_READ_MALFORMED },
	{ "address, port 0", BYTES("\0\x0a\x01\x01\x01\x04\0\0\x01\x02\x03\x04"),
	  TARGET_READ_MALFORMED },
	{ "name, port 0",
	  BYTES("\0\x07\x01\x01\x02\x01"
	        "a\0\0"),
	  TARGET_READ_MALFORMED },
	{ "empty name", BYTES("\0\x06\x01\x01\x02\0\0\x50"), TARGET_READ_MALFORMED },
	{ "capital",
	  BYTES("\0\x07\x01\x01\x02\x01"
	        "A\0\x50"),
	  TARGET_READ_MALFORMED },
	{ "trailing dot",
	  BYTES("\0\x08\x01\x01\x02\x02"
	        "a.\0\x50"),
	  TARGET_READ_MALFORMED },
	{ "NUL in the name",
	  BYTES("\0\x09\x01\x01\x02\x03"
	        "a\0b\0\x50"),
	  TARGET_READ_MALFORMED },
	{ "address as a name",
	  BYTES("\0\x0d\x01\x01\x02\x07"
	        "1.2.3.4\0\x50"),
	  TARGET_READ_MALFORMED },
	{ "disguise",
	  BYTES("\0\x0b\x01\x01\x02\x05"
	        "127.1\0\x50"),
	  TARGET_READ_MALFORMED },
	{ "relative path",
	  BYTES("\0\x07\x01\x01\x03\x03"
	        "a/b"),
	  TARGET_READ_MALFORMED },
	{ "root", BYTES("\0\x05\x01\x01\x03\x01/"), TARGET_READ_MALFORMED },
	{ "NUL in the path", BYTES("\0\x08\x01\x01\x03\x04/a\0b"), TARGET_READ_MALFORMED },
	{ "service in capitals", BYTES("\0\x07\x01\x01\x04\x03WEB"), TARGET_READ_MALFORMED },
	{ "service with a dot", BYTES("\0\x07\x01\x01\x04\x03w.b"), TARGET_READ_MALFORMED },
	{ "empty service", BYTES("\0\x04\x01\x01\x04\0"), TARGET_READ_MALFORMED },
};

static void bad_requests_are_told_apart(void **state)
{
	struct target_request got;
	enum target_read read = TARGET_READ_NEED_MORE;
	struct rd in;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(bad_rows); i++) {
		print_message("%s\n", bad_rows[i].what);
		for (size_t size = 0; size <= bad_rows[i].size; size++) {
			in = rd_init((const uint8_t *)bad_rows[i].wire, size);
			read = target_read_request(&in, &got);
			assert_ptr_equal(in.pos, bad_rows[i].wire);
			assert_true(read == bad_rows[i].read || read == TARGET_READ_NEED_MORE);
		}
		assert_int_equal(read, bad_rows[i].read);
	}
}

static void a_path_one_byte_too_long(void **state)
{
	uint8_t bytes[TARGET_REQUEST_MAX] = { 0, 4 + 108, 1, 1, 3, 108 };
	struct rd in = rd_init(bytes, 2 + 4 + 108);
	struct target_request got;

	(void)state;
	memset(bytes + 6, '/', 108);
	assert_int_equal(target_read_request(&in, &got), TARGET_READ_MALFORMED);
}

static void statuses_travel(void **state)
{
	const struct addr bound[] = {
		{ 0 },
		addr_v4(192, 0, 2, 1, 80),
		{ .family = ADDR_V6, .port = 9, .ip = { 0x20, 1, [15] = 7 } },
	};
	static const size_t sizes[] = { 2, 8, 20 };
	uint8_t bytes[TARGET_STATUS_MAX + 1];
	struct addr got;
	struct wr w;
	struct rd in;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		w = wr_init(bytes, TARGET_STATUS_MAX);
		target_write_status(&w, &bound[i]);
		assert_int_equal(wr_size(&w), sizes[i]);
		for (size_t size = 0; size < sizes[i]; size++) {
			in = rd_init(bytes, size);
			assert_int_equal(target_read_status(&in, &got), TARGET_READ_NEED_MORE);
			assert_ptr_equal(in.pos, bytes);
		}
		bytes[sizes[i]] = 0xaa;
		in = rd_init(bytes, sizes[i] + 1);
		assert_int_equal(target_read_status(&in, &got), TARGET_READ_DONE);
		assert_int_equal(rd_left(&in), 1);
		assert_true(addr_equal(&got, &bound[i]));
	}
	in = rd_init((const uint8_t *)"\x01\0", 2);
	assert_int_equal(target_read_status(&in, &got), TARGET_READ_MALFORMED);
	in = rd_init((const uint8_t *)"\0\x05", 2);
	assert_int_equal(target_read_status(&in, &got), TARGET_READ_MALFORMED);
}

/* The table of the user's contract. */
static void reasons_have_their_answers(void **state)
{
	static const struct {
		enum target_code code;
		uint8_t socks5;
		uint16_t http;
		int nc;
	} rows[] = {
		{ TARGET_OK, 0, 200, 0 },
		{ TARGET_POLICY, 2, 403, 4 },
		{ TARGET_NET_UNREACHABLE, 3, 502, 4 },
		{ TARGET_HOST_UNREACHABLE, 4, 502, 4 },
		{ TARGET_NAME_NOT_RESOLVED, 4, 502, 4 },
		{ TARGET_SERVICE_UNKNOWN, 4, 502, 4 },
		{ TARGET_NO_ROUTE, 4, 502, 4 },
		{ TARGET_IN_USE, 1, 503, 4 },
		{ TARGET_RESOLVER_TIMEOUT, 4, 504, 4 },
		{ TARGET_REFUSED, 5, 502, 4 },
		{ TARGET_TIMEOUT, 6, 504, 4 },
		{ TARGET_PEER_DOWN, 1, 503, 3 },
		{ TARGET_SESSION_LOST, 1, 503, 3 },
		{ TARGET_LIMIT, 1, 503, 4 },
		{ TARGET_UNSUPPORTED, 7, 405, 4 },
		{ TARGET_ADDRESS_UNSUPPORTED, 8, 405, 4 },
		{ TARGET_MALFORMED, 1, 400, 4 },
		{ TARGET_INTERNAL, 1, 500, 4 },
		{ TARGET_ABORTED, 1, 502, 4 },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		assert_int_equal(target_code_socks5(rows[i].code), rows[i].socks5);
		assert_int_equal(target_code_http(rows[i].code), rows[i].http);
		assert_int_equal(target_code_exit(rows[i].code), rows[i].nc);
		assert_true(strlen(target_code_text(rows[i].code)) > 0);
		if (rows[i].code != TARGET_OK)
			assert_int_equal(target_code_from_wire(rows[i].code), rows[i].code);
	}
	/* Every number from 0 on has a row above. */
	assert_int_equal(CV_ARRAY_SIZE(rows), TARGET_IN_USE + 1);
	assert_int_equal(target_code_from_wire(0), TARGET_INTERNAL);
	assert_int_equal(target_code_from_wire(TARGET_IN_USE + 1), TARGET_INTERNAL);
	assert_int_equal(target_code_from_wire(UINT64_MAX), TARGET_INTERNAL);
	assert_int_equal(target_code_from_wire((UINT64_C(1) << 32) + 7), TARGET_INTERNAL);
}

static void errors_have_reasons(void **state)
{
	static const struct {
		int error;
		enum target_code code;
	} rows[] = {
		{ ECONNREFUSED, TARGET_REFUSED },
		{ ENETUNREACH, TARGET_NET_UNREACHABLE },
		{ EAFNOSUPPORT, TARGET_NET_UNREACHABLE },
		{ EHOSTUNREACH, TARGET_HOST_UNREACHABLE },
		{ EADDRINUSE, TARGET_IN_USE },
		{ ENOENT, TARGET_HOST_UNREACHABLE },
		{ ETIMEDOUT, TARGET_TIMEOUT },
		{ EACCES, TARGET_POLICY },
		{ EMFILE, TARGET_LIMIT },
		{ ECANCELED, TARGET_ABORTED },
		{ 0, TARGET_INTERNAL },
		{ 9999, TARGET_INTERNAL },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		assert_int_equal(target_code_from_errno(rows[i].error), rows[i].code);
		assert_int_equal(target_code_from_errno(-rows[i].error), rows[i].code);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_travel),
		cmocka_unit_test(every_kind_travels),
		cmocka_unit_test(the_longest_requests_travel),
		cmocka_unit_test(addresses_are_reduced),
		cmocka_unit_test(bad_requests_are_told_apart),
		cmocka_unit_test(a_path_one_byte_too_long),
		cmocka_unit_test(statuses_travel),
		cmocka_unit_test(reasons_have_their_answers),
		cmocka_unit_test(errors_have_reasons),
	};

	return cmocka_run_group_tests_name("target", tests, NULL, NULL);
}

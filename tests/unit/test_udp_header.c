/* SPDX-License-Identifier: MIT */

/*
 * Goal: what RFC 1928, 7 says of the header in front of a datagram, byte for byte, at every
 * truncation; and the same for the address that the tunnel carries.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "proxy/udp_header.h"

#define BYTES(text) (text), sizeof(text) - 1

static struct rd reader(const char *bytes, size_t size)
{
	return rd_init((const uint8_t *)bytes, size);
}

static const struct {
	const char *what;
	const char *wire;
	size_t size;
	const char *host;   /* as hostport_format() has it */
	const char *tunnel; /* the same in the tunnel */
	size_t tunnel_size;
	bool is_canonical; /* written again it is the same */
} rows[] = {
	{ "IPv4", BYTES("\0\0\0\x01\xc0\0\x02\x01\0\x35"), "192.0.2.1:53",
	  BYTES("\x01\x04\0\x35\xc0\0\x02\x01"), true },
	{ "IPv6", BYTES("\0\0\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\xff\xff"), "[::1]:65535",
	  BYTES("\x01\x06\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"), true },
	{ "a name",
	  BYTES("\0\0\0\x03\x09"
	        "a.example\x01\xbb"),
	  "a.example:443",
	  BYTES("\x02\x09"
	        "a.example\x01\xbb"),
	  true },
	{ "RSV is ignored", BYTES("\xff\xfe\0\x01\xc0\0\x02\x01\0\x35"), "192.0.2.1:53",
	  BYTES("\x01\x04\0\x35\xc0\0\x02\x01"), false },
	{ "capitals and a trailing dot",
	  BYTES("\0\0\0\x03\x0a"
	        "A.Example.\x01\xbb"),
	  "a.example:443",
	  BYTES("\x02\x09"
	        "a.example\x01\xbb"),
	  false },
	{ "IPv4 as a name",
	  BYTES("\0\0\0\x03\x09"
	        "192.0.2.1\0\x35"),
	  "192.0.2.1:53", BYTES("\x01\x04\0\x35\xc0\0\x02\x01"), false },
	{ "IPv6 as a name in brackets",
	  BYTES("\0\0\0\x03\x05"
	        "[::1]\0\x35"),
	  "[::1]:53", BYTES("\x01\x06\0\x35\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"), false },
};

/* Reads every truncation, then the whole with two bytes of data behind it. */
static void headers_are_read(void **state)
{
	char bytes[UDP_HEADER_SOCKS5_MAX + 2], text[HOSTPORT_TEXT_MAX];
	struct hostport to;
	struct rd in;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		print_message("%s\n", rows[i].what);
		for (size_t size = 0; size < rows[i].size; size++) {
			in = reader(rows[i].wire, size);
			assert_int_equal(udp_header_read_socks5(&in, &to), UDP_HEADER_MALFORMED);
			assert_ptr_equal(in.pos, rows[i].wire);
		}
		memcpy(bytes, rows[i].wire, rows[i].size);
		memcpy(bytes + rows[i].size, "hi", 2);
		in = reader(bytes, rows[i].size + 2);
		assert_int_equal(udp_header_read_socks5(&in, &to), UDP_HEADER_DONE);
		assert_int_equal(rd_left(&in), 2);
		assert_string_equal(hostport_format(&to, text), rows[i].host);
	}
}

static void headers_are_written(void **state)
{
	uint8_t bytes[UDP_HEADER_SOCKS5_MAX];
	struct hostport to;
	struct rd in;
	struct wr w;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		in = reader(rows[i].wire, rows[i].size);
		assert_int_equal(udp_header_read_socks5(&in, &to), UDP_HEADER_DONE);
		w = wr_init(bytes, sizeof(bytes));
		udp_header_write_socks5(&w, &to);
		assert_false(w.bad);
		if (rows[i].is_canonical) {
			assert_int_equal(wr_size(&w), rows[i].size);
			assert_memory_equal(bytes, rows[i].wire, rows[i].size);
		}
		for (size_t room = 0; room < wr_size(&w); room++) {
			struct wr small = wr_init(bytes, room);

			udp_header_write_socks5(&small, &to);
			assert_true(small.bad);
		}
	}
}

static void the_tunnel_carries_them(void **state)
{
	uint8_t bytes[UDP_HEADER_TUNNEL_MAX];
	struct hostport to, got;
	struct rd in;
	struct wr w;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		in = reader(rows[i].wire, rows[i].size);
		assert_int_equal(udp_header_read_socks5(&in, &to), UDP_HEADER_DONE);
		w = wr_init(bytes, sizeof(bytes));
		udp_header_write_tunnel(&w, &to);
		assert_int_equal(wr_size(&w), rows[i].tunnel_size);
		assert_memory_equal(bytes, rows[i].tunnel, rows[i].tunnel_size);
		for (size_t size = 0; size < wr_size(&w); size++) {
			in = rd_init(bytes, size);
			assert_int_equal(udp_header_read_tunnel(&in, &got), UDP_HEADER_MALFORMED);
			assert_ptr_equal(in.pos, bytes);
		}
		in = rd_init(bytes, wr_size(&w));
		assert_int_equal(udp_header_read_tunnel(&in, &got), UDP_HEADER_DONE);
		assert_int_equal(rd_left(&in), 0);
		assert_true(hostport_equal(&got, &to));
	}
}

static const struct {
	const char *what;
	const char *wire;
	size_t size;
	enum udp_header_read read;
} bad_rows[] = {
	{ "FRAG 1", BYTES("\0\0\x01\x01\xc0\0\x02\x01\0\x35"), UDP_HEADER_FRAGMENT },
	{ "FRAG 128, end of a sequence", BYTES("\0\0\x80\x01\xc0\0\x02\x01\0\x35"),
	  UDP_HEADER_FRAGMENT },
	{ "a fragment of nothing known", BYTES("\0\0\x01\x09"), UDP_HEADER_FRAGMENT },
	{ "ATYP 0", BYTES("\0\0\0\0\xc0\0\x02\x01\0\x35"), UDP_HEADER_MALFORMED },
	{ "ATYP 2", BYTES("\0\0\0\x02\xc0\0\x02\x01\0\x35"), UDP_HEADER_MALFORMED },
	{ "ATYP 5", BYTES("\0\0\0\x05\xc0\0\x02\x01\0\x35"), UDP_HEADER_MALFORMED },
	{ "IPv4, port 0", BYTES("\0\0\0\x01\xc0\0\x02\x01\0\0"), UDP_HEADER_MALFORMED },
	{ "name, port 0",
	  BYTES("\0\0\0\x03\x01"
	        "a\0\0"),
	  UDP_HEADER_MALFORMED },
	{ "empty name", BYTES("\0\0\0\x03\0\0\x35"), UDP_HEADER_MALFORMED },
	{ "a NUL in a name",
	  BYTES("\0\0\0\x03\x03"
	        "a\0b\0\x35"),
	  UDP_HEADER_MALFORMED },
	{ "a numeric disguise",
	  BYTES("\0\0\0\x03\x05"
	        "127.1\0\x35"),
	  UDP_HEADER_MALFORMED },
};

static void bad_headers_are_told_apart(void **state)
{
	struct hostport to = { .kind = HOST_NONE };
	struct rd in;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(bad_rows); i++) {
		print_message("%s\n", bad_rows[i].what);
		in = reader(bad_rows[i].wire, bad_rows[i].size);
		assert_int_equal(udp_header_read_socks5(&in, &to), bad_rows[i].read);
		assert_ptr_equal(in.pos, bad_rows[i].wire);
		assert_int_equal(to.kind, HOST_NONE);
	}
}

static void the_longest_name_fits(void **state)
{
	uint8_t bytes[UDP_HEADER_SOCKS5_MAX + 1];
	struct hostport from = { .kind = HOST_NAME, .port = 1 }, got;
	struct wr w;
	struct rd in;

	(void)state;
	for (size_t i = 0; i < HOST_DNS_MAX; i++)
		from.text[i] = i % 64 == 63 ? '.' : 'a';
	w = wr_init(bytes, UDP_HEADER_SOCKS5_MAX);
	udp_header_write_socks5(&w, &from);
	assert_false(w.bad);
	in = rd_init(bytes, wr_size(&w));
	assert_int_equal(udp_header_read_socks5(&in, &got), UDP_HEADER_DONE);
	assert_true(hostport_equal(&got, &from));
	w = wr_init(bytes, UDP_HEADER_TUNNEL_MAX);
	udp_header_write_tunnel(&w, &from);
	assert_false(w.bad);
	assert_int_equal(wr_size(&w), UDP_HEADER_TUNNEL_MAX);
	in = rd_init(bytes, wr_size(&w));
	assert_int_equal(udp_header_read_tunnel(&in, &got), UDP_HEADER_DONE);
	assert_true(hostport_equal(&got, &from));
}

/* A stream's other hosts are no place for a datagram. */
static void the_tunnel_refuses_what_is_no_datagrams(void **state)
{
	static const struct {
		const char *what;
		const char *wire;
		size_t size;
	} table[] = {
		{ "host 0", BYTES("\0") },
		{ "a unix path", BYTES("\x03\x06/run/x") },
		{ "a service", BYTES("\x04\x03web") },
		{ "host 6", BYTES("\x06\x04\0\x35\xc0\0\x02\x01") },
		{ "port 0", BYTES("\x01\x04\0\0\xc0\0\x02\x01") },
		{ "family 0", BYTES("\x01\0\0\x35\xc0\0\x02\x01") },
		{ "an address as a name", BYTES("\x02\x09"
		                                "192.0.2.1\0\x35") },
		{ "a capital", BYTES("\x02\x01"
		                     "A\0\x35") },
	};
	struct hostport to;
	struct rd in;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(table); i++) {
		print_message("%s\n", table[i].what);
		in = reader(table[i].wire, table[i].size);
		assert_int_equal(udp_header_read_tunnel(&in, &to), UDP_HEADER_MALFORMED);
		assert_ptr_equal(in.pos, table[i].wire);
	}
}

/* IPv4 in IPv6 is what it reaches before anything is decided. */
static void the_tunnel_reduces_addresses(void **state)
{
	static const char wire[] = "\x01\x06\0\x35\0\0\0\0\0\0\0\0\0\0\xff\xff\x7f\0\0\x01";
	struct rd in = reader(wire, sizeof(wire) - 1);
	struct addr loopback = addr_v4(127, 0, 0, 1, 53);
	struct hostport to;

	(void)state;
	assert_int_equal(udp_header_read_tunnel(&in, &to), UDP_HEADER_DONE);
	assert_true(addr_equal(&to.addr, &loopback));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_are_read),
		cmocka_unit_test(headers_are_written),
		cmocka_unit_test(the_tunnel_carries_them),
		cmocka_unit_test(bad_headers_are_told_apart),
		cmocka_unit_test(the_longest_name_fits),
		cmocka_unit_test(the_tunnel_refuses_what_is_no_datagrams),
		cmocka_unit_test(the_tunnel_reduces_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

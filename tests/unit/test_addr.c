/* SPDX-License-Identifier: MIT */

/*
 * Goal: an address means one thing however it is spelt, and no spelling of a
 * special address passes for another class. Method: every way of putting IPv4
 * into IPv6 times every class; network membership against whole-number
 * arithmetic on 128 bits; every cut of the wire form.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/addr.h"
#include "base/rng.h"

static struct addr ip(const char *text)
{
	struct addr a;

	if (addr_parse_ip(text, strlen(text), &a) < 0)
		fail_msg("%s does not parse", text);
	return a;
}

static const struct {
	const char *text;
	enum addr_class class;
	unsigned bits; /* of the range that makes it so */
} classes_v4[] = {
	{ "0.0.0.0", ADDR_CLASS_INVALID, 8 },
	{ "0.255.255.255", ADDR_CLASS_INVALID, 8 },
	{ "1.0.0.0", ADDR_CLASS_GLOBAL, 0 },
	{ "9.255.255.255", ADDR_CLASS_GLOBAL, 0 },
	{ "10.0.0.0", ADDR_CLASS_PRIVATE, 8 },
	{ "10.255.255.255", ADDR_CLASS_PRIVATE, 8 },
	{ "11.0.0.0", ADDR_CLASS_GLOBAL, 0 },
	{ "100.63.255.255", ADDR_CLASS_GLOBAL, 0 },
	{ "100.64.0.0", ADDR_CLASS_SHARED, 10 },
	{ "100.127.255.255", ADDR_CLASS_SHARED, 10 },
	{ "100.128.0.0", ADDR_CLASS_GLOBAL, 0 },
	{ "126.255.255.255", ADDR_CLASS_GLOBAL, 0 },
	{ "127.0.0.0", ADDR_CLASS_LOOPBACK, 8 },
	{ "127.0.0.1", ADDR_CLASS_LOOPBACK, 8 },
	{ "127.255.255.255", ADDR_CLASS_LOOPBACK, 8 },
	{ "128.0.0.0", ADDR_CLASS_GLOBAL, 0 },
	{ "169.253.255.255", ADDR_CLASS_GLOBAL, 0 },
	{ "169.254.0.0", ADDR_CLASS_LINK_LOCAL, 16 },
	{ "169.254.169.254", ADDR_CLASS_LINK_LOCAL, 16 },
	{ "169.254.255.255", ADDR_CLASS_LINK_LOCAL, 16 },
	{ "169.255.0.0", ADDR_CLASS_GLOBAL, 0 },
	{ "172.15.255.255", ADDR_CLASS_GLOBAL, 0 },
	{ "172.16.0.0", ADDR_CLASS_PRIVATE, 12 },
	{ "172.31.255.255", ADDR_CLASS_PRIVATE, 12 },
	{ "172.32.0.0", ADDR_CLASS_GLOBAL, 0 },
	{ "192.167.255.255", ADDR_CLASS_GLOBAL, 0 },
	{ "192.168.0.0", ADDR_CLASS_PRIVATE, 16 },
	{ "192.168.255.255", ADDR_CLASS_PRIVATE, 16 },
	{ "192.169.0.0", ADDR_CLASS_GLOBAL, 0 },
	{ "223.255.255.255", ADDR_CLASS_GLOBAL, 0 },
	{ "224.0.0.0", ADDR_CLASS_MULTICAST, 4 },
	{ "239.255.255.255", ADDR_CLASS_MULTICAST, 4 },
	{ "240.0.0.0", ADDR_CLASS_INVALID, 4 },
	{ "255.255.255.255", ADDR_CLASS_INVALID, 4 },
};

static const struct {
	const char *text;
	enum addr_class class;
	unsigned bits;
} classes_v6[] = {
	{ "::", ADDR_CLASS_INVALID, 128 },
	{ "::1", ADDR_CLASS_LOOPBACK, 128 },
	{ "2001:db8::1", ADDR_CLASS_GLOBAL, 0 },
	{ "2001:ffff::", ADDR_CLASS_GLOBAL, 0 },
	{ "2003::", ADDR_CLASS_GLOBAL, 0 },
	{ "64:ff9b:2::7f00:1", ADDR_CLASS_GLOBAL, 0 },
	{ "64:ff9b:0:0:0:1:7f00:1", ADDR_CLASS_GLOBAL, 0 },
	{ "::1:0:7f00:1", ADDR_CLASS_GLOBAL, 0 },
	{ "::fffe:7f00:1", ADDR_CLASS_GLOBAL, 0 },
	{ "fbff:ffff::", ADDR_CLASS_GLOBAL, 0 },
	{ "fc00::", ADDR_CLASS_PRIVATE, 7 },
	{ "fd00:ec2::253", ADDR_CLASS_PRIVATE, 7 },
	{ "fd00:ec2::254", ADDR_CLASS_LINK_LOCAL, 128 },
	{ "fd00:ec2::255", ADDR_CLASS_PRIVATE, 7 },
	{ "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ADDR_CLASS_PRIVATE, 7 },
	{ "fe00::", ADDR_CLASS_GLOBAL, 0 },
	{ "fe7f:ffff::", ADDR_CLASS_GLOBAL, 0 },
	{ "fe80::", ADDR_CLASS_LINK_LOCAL, 9 },
	{ "febf:ffff::1", ADDR_CLASS_LINK_LOCAL, 9 },
	{ "fec0::", ADDR_CLASS_LINK_LOCAL, 9 },
	{ "feff:ffff::1", ADDR_CLASS_LINK_LOCAL, 9 },
	{ "ff00::", ADDR_CLASS_MULTICAST, 8 },
	{ "ff02::1", ADDR_CLASS_MULTICAST, 8 },
};

/* The ways to write a.b.c.d as IPv6: what stands before and between, and where the octets go. */
static const struct {
	uint8_t prefix[12];
	uint8_t at[4];
} forms[] = {
	{ { [10] = 0xff, [11] = 0xff }, { 12, 13, 14, 15 } },
	{ { 0 }, { 12, 13, 14, 15 } },
	{ { 0x20, 0x02 }, { 2, 3, 4, 5 } },
	{ { 0, 0x64, 0xff, 0x9b }, { 12, 13, 14, 15 } },
	{ { 0, 0x64, 0xff, 0x9b, 0, 1 }, { 12, 13, 14, 15 } },
	{ { 0, 0x64, 0xff, 0x9b, 0, 1, 0xab, 0xcd, 0, 0xef }, { 12, 13, 14, 15 } },
	{ { 0, 0x64, 0xff, 0x9b, 0, 1 }, { 6, 7, 9, 10 } },
	{ { 0, 0x64, 0xff, 0x9b, 0, 1, 0xab }, { 7, 9, 10, 11 } },
	{ { 0, 0x64, 0xff, 0x9b, 0, 1, 0xab, 0xcd }, { 9, 10, 11, 12 } },
};

static struct addr embed(unsigned form, const uint8_t v[4])
{
	struct addr a = { .family = ADDR_V6, .port = 443 };

	memcpy(a.ip, forms[form].prefix, 12);
	for (unsigned i = 0; i < 4; i++)
		a.ip[forms[form].at[i]] = v[i];
	return a;
}

static void every_encoding_has_the_class_of_its_ipv4(void **state)
{
	char text[ADDR_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(classes_v4); i++) {
		struct addr v4 = ip(classes_v4[i].text);
		struct addr other, reduced, again;

		v4.port = 443;
		assert_int_equal(addr_class(&v4), classes_v4[i].class);
		assert_int_equal(addr_class_bits(&v4), classes_v4[i].bits);
		for (unsigned form = 0; form < CV_ARRAY_SIZE(forms); form++) {
			other = embed(form, v4.ip);
			if (form == 1 && memcmp(v4.ip, "\0\0\0", 4) == 0)
				continue; /* "::" is an address of its own */
			/* A network's own address leaves the length of a local prefix open. */
			if (form >= 4 && v4.ip[3] == 0)
				continue;
			print_message("%s as form %u: %s\n", classes_v4[i].text, form,
			              addr_format(&other, text));
			reduced = addr_canonical(&other);
			assert_true(addr_equal(&reduced, &v4));
			again = addr_canonical(&reduced);
			assert_true(addr_equal(&again, &reduced));
			assert_int_equal(addr_class(&other), classes_v4[i].class);
			assert_int_equal(addr_class_bits(&other), classes_v4[i].bits);
		}
	}
}

static void ipv6_has_its_class(void **state)
{
	struct addr none = { 0 };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(classes_v6); i++) {
		struct addr a = ip(classes_v6[i].text);
		struct addr c = addr_canonical(&a);

		print_message("%s\n", classes_v6[i].text);
		assert_true(addr_equal(&a, &c));
		assert_int_equal(addr_class(&a), classes_v6[i].class);
		assert_int_equal(addr_class_bits(&a), classes_v6[i].bits);
	}
	assert_int_equal(addr_class(&none), ADDR_CLASS_INVALID);
}

static void only_strict_literals_parse(void **state)
{
	static const char *const good[] = {
		"0.0.0.0",
		"255.255.255.255",
		"192.0.2.1",
		"::",
		"::1",
		"2001:db8::1",
		"1:2:3:4:5:6:7:8",
		"::192.0.2.1",
		"::ffff:192.0.2.1",
	};
	static const char *const bad[] = {
		"",
		"1",
		"1.2.3",
		"1.2.3.4.5",
		"1.2.3.",
		".1.2.3",
		"1..2.3",
		"256.1.1.1",
		"1.1.1.256",
		"01.2.3.4",
		"1.2.3.04",
		"0x7f.0.0.1",
		"127.1",
		"2130706433",
		"0177.0.0.1",
		" 1.2.3.4",
		"1.2.3.4 ",
		"+1.2.3.4",
		"1.2.3.-4",
		"1.2.3.4/8",
		"[::1]",
		"::1%lo",
		"fe80::1%1",
		"1:2:3:4:5:6:7",
		":::",
		"1::2::3",
		"12345::",
		"::g",
		"1:2:3:4:5:6:7:8:9",
		"::1.2.3",
		"::ffff:1.2.3.256",
		"1.2.3.4:5",
	};
	char text[ADDR_TEXT_MAX];
	struct addr a = { 0 }, b;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(good); i++) {
		a = ip(good[i]);
		b = ip(addr_format_ip(&a, text));
		assert_true(addr_equal(&a, &b));
		assert_string_equal(text, good[i]);
	}
	b = a;
	for (size_t i = 0; i < CV_ARRAY_SIZE(bad); i++) {
		print_message("'%s'\n", bad[i]);
		assert_int_equal(addr_parse_ip(bad[i], strlen(bad[i]), &a), -EINVAL);
		assert_true(addr_equal(&a, &b));
	}
	/* A NUL inside would end the text early for a library. */
	assert_int_equal(addr_parse_ip("::1\0", 4, &a), -EINVAL);
	assert_int_equal(addr_parse_ip("1.2.3.4\0", 8, &a), -EINVAL);
}

static void address_and_port_round_trip(void **state)
{
	static const struct {
		const char *text;
		int result;
	} rows[] = {
		{ "192.0.2.1:80", 0 },
		{ "192.0.2.1:0", 0 },
		{ "192.0.2.1:65535", 0 },
		{ "192.0.2.1:65536", -EINVAL },
		{ "192.0.2.1:080", -EINVAL },
		{ "192.0.2.1:", -EINVAL },
		{ "192.0.2.1", -EINVAL },
		{ "192.0.2.1:-1", -EINVAL },
		{ "[::1]:80", 0 },
		{ "[2001:db8::1]:65535", 0 },
		{ "::1:80", -EINVAL },
		{ "[::1]", -EINVAL },
		{ "[192.0.2.1]:80", -EINVAL },
		{ "[::1]:", -EINVAL },
		{ "[::1:80", -EINVAL },
		{ "[]:80", -EINVAL },
		{ "", -EINVAL },
		{ ":80", -EINVAL },
	};
	char text[ADDR_TEXT_MAX];
	struct addr a, none = { 0 };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		print_message("'%s'\n", rows[i].text);
		assert_int_equal(addr_parse(rows[i].text, &a), rows[i].result);
		if (rows[i].result == 0)
			assert_string_equal(addr_format(&a, text), rows[i].text);
	}
	assert_string_equal(addr_format(&none, text), "none");
	/* The longest text there is. */
	a = ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
	a.port = 65535;
	a.scope = UINT32_MAX;
	assert_string_equal(addr_format(&a, text),
	                    "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535");
}

static cv_u128 number(const struct addr *a, unsigned size)
{
	cv_u128 v = 0;

	for (unsigned i = 0; i < size; i++)
		v = v << 8 | a->ip[i];
	return v;
}

/* Membership as arithmetic: both have the same quotient by the size of the network. */
static bool in_net_slowly(const struct addr *a, const struct addr *net, unsigned bits)
{
	unsigned size = a->family == ADDR_V4 ? 4 : 16;
	unsigned shift = 8 * size - bits;

	if (a->family != net->family)
		return false;
	return shift == 128 || number(a, size) >> shift == number(net, size) >> shift;
}

static void membership_equals_arithmetic(void **state)
{
	struct rng_seeded seeded;
	struct rng rng = rng_from_seeded(&seeded);

	(void)state;
	rng_seeded_init(&seeded, 1);
	for (unsigned i = 0; i < 20000; i++) {
		struct addr a = { .family = rng_below(&rng, 2) ? ADDR_V4 : ADDR_V6 };
		struct addr net = a;
		unsigned bits_max = a.family == ADDR_V4 ? 32 : 128;
		unsigned flipped = (unsigned)rng_below(&rng, bits_max);

		rng_fill(&rng, a.ip, bits_max / 8);
		memcpy(net.ip, a.ip, sizeof(net.ip));
		net.ip[flipped / 8] ^= (uint8_t)(0x80 >> flipped % 8);
		for (unsigned bits = 0; bits <= bits_max; bits++) {
			assert_true(addr_in_net(&a, &a, bits));
			assert_int_equal(addr_in_net(&a, &net, bits), bits <= flipped);
			assert_int_equal(addr_in_net(&a, &net, bits),
			                 in_net_slowly(&a, &net, bits));
			i++;
		}
	}
}

static void families_do_not_mix(void **state)
{
	struct addr v4 = ip("0.0.0.0"), v6 = ip("::"), none = { 0 };

	(void)state;
	assert_false(addr_in_net(&v4, &v6, 0));
	assert_false(addr_in_net(&v6, &v4, 0));
	assert_false(addr_in_net(&none, &none, 0));
	assert_false(addr_equal(&v4, &v6));
}

static void equality_and_hash_agree(void **state)
{
	struct addr a = addr_v4(192, 0, 2, 1, 80), b = a;

	(void)state;
	assert_true(addr_equal(&a, &b));
	assert_int_equal(addr_hash(&a, 7), addr_hash(&b, 7));
	assert_int_not_equal(addr_hash(&a, 7), addr_hash(&a, 8));
	b.port = 81;
	assert_false(addr_equal(&a, &b));
	assert_true(addr_equal_ip(&a, &b));
	assert_int_not_equal(addr_hash(&a, 7), addr_hash(&b, 7));
	b = a;
	b.ip[3] = 2;
	assert_false(addr_equal_ip(&a, &b));
	assert_int_not_equal(addr_hash(&a, 7), addr_hash(&b, 7));
	a = ip("fe80::1");
	b = a;
	b.scope = 2;
	assert_false(addr_equal_ip(&a, &b));
	assert_int_not_equal(addr_hash(&a, 7), addr_hash(&b, 7));
}

static void wire_form_is_read_at_every_cut(void **state)
{
	struct addr in[3] = { { 0 }, addr_v4(192, 0, 2, 1, 65535), ip("2001:db8::1") };
	static const size_t sizes[3] = { 1, 7, 19 };
	uint8_t bytes[ADDR_WIRE_MAX];

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct wr w = wr_init(bytes, sizeof(bytes));

		wr_addr(&w, &in[i]);
		assert_false(w.bad);
		assert_int_equal(wr_size(&w), sizes[i]);
		for (size_t cut = 0; cut <= sizes[i]; cut++) {
			struct rd r = rd_init(bytes, cut);
			struct addr out = rd_addr(&r);

			assert_int_equal(r.bad, cut < sizes[i]);
			assert_true(addr_equal(&out, r.bad ? &in[0] : &in[i]));
		}
	}
	for (unsigned family = 0; family < 256; family++) {
		struct rd r = rd_init(bytes, sizeof(bytes));

		bytes[0] = (uint8_t)family;
		(void)rd_addr(&r);
		assert_int_equal(r.bad, family != 0 && family != 4 && family != 6);
	}
}

static void unspecified_addresses(void **state)
{
	struct addr v4 = addr_v4(0, 0, 0, 0, 80), v6 = { .family = ADDR_V6 };

	(void)state;
	assert_true(addr_is_unspecified(&v4) && addr_is_unspecified(&v6));
	v4.ip[3] = 1;
	v6.ip[15] = 1;
	assert_false(addr_is_unspecified(&v4) || addr_is_unspecified(&v6));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unspecified_addresses),
		cmocka_unit_test(every_encoding_has_the_class_of_its_ipv4),
		cmocka_unit_test(ipv6_has_its_class),
		cmocka_unit_test(only_strict_literals_parse),
		cmocka_unit_test(address_and_port_round_trip),
		cmocka_unit_test(membership_equals_arithmetic),
		cmocka_unit_test(families_do_not_mix),
		cmocka_unit_test(equality_and_hash_agree),
		cmocka_unit_test(wire_form_is_read_at_every_cut),
	};

	return cmocka_run_group_tests_name("addr", tests, NULL, NULL);
}

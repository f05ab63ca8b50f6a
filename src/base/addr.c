/* SPDX-License-Identifier: MIT */
#include "base/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/decimal.h"

_Static_assert(sizeof(struct addr) == 24, "no padding: compared and hashed as bytes");

static unsigned ip_size(const struct addr *a)
{
	return a->family == ADDR_V4 ? 4 : a->family == ADDR_V6 ? 16 : 0;
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

bool addr_equal_ip(const struct addr *a, const struct addr *b)
{
	return a->family == b->family && a->scope == b->scope &&
	       memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

struct addr addr_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint16_t port)
{
	return (struct addr){ .family = ADDR_V4, .port = port, .ip = { a, b, c, d } };
}

const char *addr_format_ip(const struct addr *a, char out[ADDR_TEXT_MAX])
{
	size_t size;

	if (ip_size(a) == 0) {
		(void)snprintf(out, ADDR_TEXT_MAX, "none");
		return out;
	}
	/* Cannot fail: the family is one of two, and the text of either is at most 45 long. */
	if (!inet_ntop(a->family == ADDR_V4 ? AF_INET : AF_INET6, a->ip, out, ADDR_TEXT_MAX))
		CV_UNREACHABLE();
	size = strlen(out);
	if (a->scope)
		(void)snprintf(out + size, ADDR_TEXT_MAX - size, "%%%u", (unsigned)a->scope);
	return out;
}

const char *addr_format(const struct addr *a, char out[ADDR_TEXT_MAX])
{
	char ip[ADDR_TEXT_MAX];
	int size;

	addr_format_ip(a, ip);
	if (a->family == ADDR_V6)
		size = snprintf(out, ADDR_TEXT_MAX, "[%.*s]:%u", ADDR_TEXT_MAX - 10, ip, a->port);
	else if (a->family == ADDR_V4)
		size = snprintf(out, ADDR_TEXT_MAX, "%.15s:%u", ip, a->port);
	else
		size = snprintf(out, ADDR_TEXT_MAX, "none");
	CV_ASSERT(size > 0);
	CV_ASSERT(size < ADDR_TEXT_MAX);
	return out;
}

/* Our own, because libraries differ: inet_aton() takes "0x7f.1", and some inet_pton() "010". */
static bool read_v4(const char *text, size_t size, uint8_t out[4])
{
	const char *end = text + size;
	const char *dot;
	unsigned v;

	for (unsigned i = 0; i < 4; i++) {
		dot = i < 3 ? memchr(text, '.', (size_t)(end - text)) : end;
		if (!dot || !decimal_read(text, (size_t)(dot - text), 255, &v))
			return false;
		out[i] = (uint8_t)v;
		text = dot + (i < 3);
	}
	return true;
}

int addr_parse_ip(const char *text, size_t size, struct addr *out)
{
	struct addr a = { .family = ADDR_V4 };
	char copy[INET6_ADDRSTRLEN];

	if (read_v4(text, size, a.ip)) {
		*out = a;
		return 0;
	}
	/* Longer than any address, or a NUL that would end it early for inet_pton(). */
	if (size >= sizeof(copy) || memchr(text, 0, size))
		return -EINVAL;
	memcpy(copy, text, size);
	copy[size] = 0;
	a = (struct addr){ .family = ADDR_V6 };
	if (inet_pton(AF_INET6, copy, a.ip) != 1)
		return -EINVAL;
	*out = a;
	return 0;
}

int addr_parse(const char *text, struct addr *out)
{
	const char *colon = strrchr(text, ':');
	struct addr a;
	unsigned port;
	size_t size;

	if (!colon || !decimal_read(colon + 1, strlen(colon + 1), UINT16_MAX, &port))
		return -EINVAL;
	size = (size_t)(colon - text);
	if (size >= 2 && text[0] == '[' && text[size - 1] == ']') {
		if (addr_parse_ip(text + 1, size - 2, &a) < 0 || a.family != ADDR_V6)
			return -EINVAL;
	} else if (addr_parse_ip(text, size, &a) < 0 || a.family != ADDR_V4) {
		return -EINVAL;
	}
	a.port = (uint16_t)port;
	*out = a;
	return 0;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (bytes[i])
			return false;
	}
	return true;
}

bool addr_is_unspecified(const struct addr *a)
{
	return is_zero(a->ip, sizeof(a->ip));
}

static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (memcmp(a, b, whole) != 0)
		return false;
	return rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0;
}

/*
 * Where the IPv4 address lies in a NAT64 address of the local prefix, whose length the
 * operator chooses (RFC 6052, 2.2; bits 64 to 71, "u", are skipped; the suffix is zero):
 *
 *	octet    6  7 |u 8| 9 10 11 12 13 14 15
 *	 /48     a  b   0   c  d  0  0  0  0  0
 *	 /56     .  a   0   b  c  d  0  0  0  0
 *	 /64     .  .   0   a  b  c  d  0  0  0
 *	 /96     .  .   .   .  .  .  a  b  c  d
 *
 * The zeros tell. Where they leave a doubt the guess decides what is dialled as well as what
 * is judged, so it opens nothing.
 */
static struct addr from_local_nat64(const uint8_t *ip, uint16_t port)
{
	if (ip[8] == 0 && is_zero(ip + 11, 5))
		return addr_v4(ip[6], ip[7], ip[9], ip[10], port);
	if (ip[8] == 0 && is_zero(ip + 12, 4))
		return addr_v4(ip[7], ip[9], ip[10], ip[11], port);
	if (ip[8] == 0 && is_zero(ip + 13, 3))
		return addr_v4(ip[9], ip[10], ip[11], ip[12], port);
	return addr_v4(ip[12], ip[13], ip[14], ip[15], port);
}

struct addr addr_canonical(const struct addr *a)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	static const uint8_t nat64[12] = { 0x00, 0x64, 0xff, 0x9b };
	static const uint8_t nat64_local[6] = { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 };
	const uint8_t *ip = a->ip;

	if (a->family != ADDR_V6)
		return *a;
	/* "::" and "::1" are addresses of their own, not IPv4-compatible: RFC 4291, 2.5.2-3. */
	if (is_zero(ip, 15) && ip[15] <= 1)
		return *a;
	if (is_zero(ip, 12) || memcmp(ip, mapped, 12) == 0 || memcmp(ip, nat64, 12) == 0)
		return addr_v4(ip[12], ip[13], ip[14], ip[15], a->port);
	if (ip[0] == 0x20 && ip[1] == 0x02)
		return addr_v4(ip[2], ip[3], ip[4], ip[5], a->port);
	if (memcmp(ip, nat64_local, 6) == 0)
		return from_local_nat64(ip, a->port);
	return *a;
}

bool addr_in_net(const struct addr *ip, const struct addr *net, unsigned bits)
{
	if (ip->family != net->family || ip_size(ip) == 0)
		return false;
	CV_ASSERT(bits <= ip_size(ip) * 8);
	return bits_equal(ip->ip, net->ip, bits);
}

/* Narrower before wider where they overlap; what is in no row is global. */
static const struct range {
	uint8_t family;
	uint8_t bits;
	uint8_t class; /* enum addr_class */
	uint8_t ip[16];
} ranges[] = {
	{ ADDR_V4, 8, ADDR_CLASS_INVALID, { 0 } },
	{ ADDR_V4, 4, ADDR_CLASS_INVALID, { 240 } },
	{ ADDR_V4, 8, ADDR_CLASS_LOOPBACK, { 127 } },
	{ ADDR_V4, 16, ADDR_CLASS_LINK_LOCAL, { 169, 254 } },
	{ ADDR_V4, 4, ADDR_CLASS_MULTICAST, { 224 } },
	{ ADDR_V4, 8, ADDR_CLASS_PRIVATE, { 10 } },
	{ ADDR_V4, 12, ADDR_CLASS_PRIVATE, { 172, 16 } },
	{ ADDR_V4, 16, ADDR_CLASS_PRIVATE, { 192, 168 } },
	{ ADDR_V4, 10, ADDR_CLASS_SHARED, { 100, 64 } },
	{ ADDR_V6, 128, ADDR_CLASS_INVALID, { 0 } },
	{ ADDR_V6, 128, ADDR_CLASS_LOOPBACK, { [15] = 1 } },
	/* The metadata service of a large cloud, inside what else is private. */
	{ ADDR_V6,
	  128,
	  ADDR_CLASS_LINK_LOCAL,
	  { 0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54 } },
	/* fe80::/10 and the deprecated fec0::/10 (RFC 3879) side by side. */
	{ ADDR_V6, 9, ADDR_CLASS_LINK_LOCAL, { 0xfe, 0x80 } },
	{ ADDR_V6, 8, ADDR_CLASS_MULTICAST, { 0xff } },
	{ ADDR_V6, 7, ADDR_CLASS_PRIVATE, { 0xfc } },
};

static const struct range *range_of(const struct addr *a)
{
	struct addr c = addr_canonical(a);

	for (size_t i = 0; i < CV_ARRAY_SIZE(ranges); i++) {
		if (ranges[i].family == c.family && bits_equal(c.ip, ranges[i].ip, ranges[i].bits))
			return &ranges[i];
	}
	return NULL;
}

enum addr_class addr_class(const struct addr *a)
{
	const struct range *range = range_of(a);

	if (ip_size(a) == 0)
		return ADDR_CLASS_INVALID;
	return range ? (enum addr_class)range->class : ADDR_CLASS_GLOBAL;
}

unsigned addr_class_bits(const struct addr *a)
{
	const struct range *range = range_of(a);

	return range ? range->bits : 0;
}

void wr_addr(struct wr *w, const struct addr *a)
{
	CV_ASSERT(a->family == ADDR_NONE || ip_size(a) != 0);
	wr_u8(w, a->family);
	if (a->family == ADDR_NONE)
		return;
	wr_u16(w, a->port);
	wr_copy(w, a->ip, ip_size(a));
}

struct addr rd_addr(struct rd *r)
{
	struct addr a = { .family = rd_u8(r) };

	if (a.family == ADDR_NONE)
		return a;
	if (ip_size(&a) == 0)
		r->bad = true;
	a.port = rd_u16(r);
	rd_copy(r, a.ip, ip_size(&a));
	return r->bad ? (struct addr){ 0 } : a;
}

static uint64_t rotate_left(uint64_t v, unsigned bits)
{
	return v << bits | v >> (64 - bits);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate_left(v[1], 13) ^ v[0];
	v[0] = rotate_left(v[0], 32);
	v[2] += v[3];
	v[3] = rotate_left(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate_left(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate_left(v[1], 17) ^ v[2];
	v[2] = rotate_left(v[2], 32);
}

/*
 * SipHash-1-3 of the 24 bytes (Aumasson and Bernstein, 2012; the rounds that hash tables use).
 * Addresses are chosen by whoever sends, so a hash that can be steered would be an attack on
 * every table keyed by it.
 */
uint64_t addr_hash(const struct addr *a, uint64_t seed)
{
	uint64_t v[4] = {
		seed ^ UINT64_C(0x736f6d6570736575),
		~seed ^ UINT64_C(0x646f72616e646f6d),
		seed ^ UINT64_C(0x6c7967656e657261),
		~seed ^ UINT64_C(0x7465646279746573),
	};
	uint64_t words[4] = {
		(uint64_t)a->family << 48 | (uint64_t)a->port << 32 | a->scope, cv_load64(a->ip),
		cv_load64(a->ip + 8), UINT64_C(24) << 56, /* the length, in the last block */
	};

	for (unsigned i = 0; i < 4; i++) {
		v[3] ^= words[i];
		sip_round(v);
		v[0] ^= words[i];
	}
	v[2] ^= 0xff;
	for (unsigned i = 0; i < 3; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

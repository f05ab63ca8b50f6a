/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * addr - an IP address with a port, as a value that can be compared with ==.
 *
 * Knows nothing of sockets: net/convert turns it into a sockaddr. An IPv4
 * address is stored in the first four bytes; the unused bytes are zero, so that
 * memcmp() of equal addresses is 0. Parsing keeps what was written; IPv4-in-IPv6
 * forms are reduced by addr_canonical() at the edge, before anything is decided.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/rd.h"
#include "base/wr.h"

enum addr_family {
	ADDR_NONE = 0,
	ADDR_V4 = 4,
	ADDR_V6 = 6,
};

struct addr {
	uint8_t family; /* enum addr_family */
	uint8_t zero;   /* always 0 */
	uint16_t port;  /* host order */
	uint32_t scope; /* IPv6 link-local interface index, else 0; never on the wire */
	uint8_t ip[16]; /* network order; IPv4 in ip[0..3] */
};

enum {
	ADDR_TEXT_MAX = 64, /* "[ffff:...]:65535" with a scope, and the NUL */
	ADDR_WIRE_MAX = 19, /* family, port, 16 bytes */
};

bool addr_equal(const struct addr *a, const struct addr *b);
bool addr_equal_ip(const struct addr *a, const struct addr *b);
struct addr addr_v4(uint8_t a, uint8_t b, uint8_t c, uint8_t d, uint16_t port);

/* "192.0.2.1:80", "[2001:db8::1]:80"; "none" for ADDR_NONE. Returns @out. */
const char *addr_format(const struct addr *a, char out[ADDR_TEXT_MAX]);
/* As addr_format() without brackets and port. */
const char *addr_format_ip(const struct addr *a, char out[ADDR_TEXT_MAX]);

/**
 * addr_parse_ip() - read a strict IPv4 or IPv6 literal (no port, no brackets)
 * Only dotted-quad decimal without leading zeros, and RFC 4291 text: the numeric
 * disguises ("0x7f.1", "127.1") are not addresses here.
 * Return: 0 with @out->port = 0, or -EINVAL.
 */
CV_NODISCARD int addr_parse_ip(const char *text, size_t size, struct addr *out);
/* "IP:PORT" or "[IP6]:PORT"; 0 or -EINVAL. */
CV_NODISCARD int addr_parse(const char *text, struct addr *out);

/**
 * addr_canonical() - reduce every IPv4-in-IPv6 form to the IPv4 address it reaches
 * ::ffff:0:0/96, ::a.b.c.d, 2002::/16 (6to4), 64:ff9b::/96 and 64:ff9b:1::/48
 * (NAT64). Idempotent. The port is kept. Dial the result, not the argument: then what
 * was judged is what is reached. Source: RFC 4291 2.5.5, 3056, 6052, 8215.
 */
struct addr addr_canonical(const struct addr *a);

/* True when the first @bits (at most 32 or 128) of @ip equal those of @net, of the same family. */
bool addr_in_net(const struct addr *ip, const struct addr *net, unsigned bits);

/* 0.0.0.0 or :: (and ADDR_NONE), whatever the port: every address to bind, none to name. */
bool addr_is_unspecified(const struct addr *a);

/* What kind of address this is. Where ranges overlap, the narrower one decides. */
enum addr_class {
	ADDR_CLASS_INVALID,    /* 0.0.0.0/8, ::, 240/4, broadcast */
	ADDR_CLASS_LOOPBACK,   /* 127/8, ::1 */
	ADDR_CLASS_LINK_LOCAL, /* 169.254/16, fe80::/10, fec0::/10, and fd00:ec2::254 (metadata) */
	ADDR_CLASS_MULTICAST,  /* 224/4, ff00::/8 */
	ADDR_CLASS_PRIVATE,    /* RFC 1918, fc00::/7 */
	ADDR_CLASS_SHARED,     /* 100.64/10, RFC 6598: behind a carrier's NAT */
	ADDR_CLASS_GLOBAL,
};

/* The class of the canonical form of @a. */
enum addr_class addr_class(const struct addr *a);
/* Length of the widest prefix round the canonical form of @a that lies in its class whole; for
 * ADDR_CLASS_GLOBAL 0. A network that contains @a lies inside the class if it has at least
 * as many bits. */
unsigned addr_class_bits(const struct addr *a);

/* Wire form: u8 family (0, 4, 6), then u16 port and 4 or 16 bytes unless 0. */
void wr_addr(struct wr *w, const struct addr *a);
/* Marks @r bad for an unknown family. */
struct addr rd_addr(struct rd *r);

/* 64-bit hash under @seed; equal addresses have equal hashes. */
uint64_t addr_hash(const struct addr *a, uint64_t seed);

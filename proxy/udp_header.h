/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * udp_header - what stands in front of each datagram of an association: at the client's side the
 * header of SOCKS5, in the tunnel the address alone.
 *
 * Knows the bytes of both. Does not know who may send what where (udp_exit), nor sockets.
 *
 *   SOCKS5 (RFC 1928, 7), both directions         in the tunnel (PROTOCOL.md, 12)
 *   +-------+------+------+----------+------+     +------+---------------------------+------+
 *   | RSV 2 | FRAG | ATYP | ADDR     | PORT | ... | host | 1: family, port, address  | ...  |
 *   |   0   |  1   |  1   | variable |  2   |     |  1   | 2: name size, name, port  |      |
 *   +-------+------+------+----------+------+     +------+---------------------------+------+
 *
 * To the far side it names where the datagram goes, from it where the datagram came from.
 * A datagram arrives whole or not at all, so there is no "need more": too short is malformed.
 */

#include "base/addr.h"
#include "base/compiler.h"
#include "base/hostport.h"
#include "base/rd.h"
#include "base/wr.h"

enum {
	UDP_HEADER_SOCKS5_MAX = 262, /* 4 + 1 + 255 + 2 */
	UDP_HEADER_TUNNEL_MAX = 257, /* 1 + 1 + 253 + 2; an address needs at most 20 */
};

enum udp_header_read {
	UDP_HEADER_DONE,
	/* FRAG is not 0: "An implementation that does not support fragmentation MUST drop any
	 * datagram whose FRAG field is other than X'00'." */
	UDP_HEADER_FRAGMENT,
	UDP_HEADER_MALFORMED, /* too short, unknown ATYP, no name that could exist, port 0 */
};

/**
 * udp_header_read_socks5() - read the header of a client's datagram
 * @in: consumed up to the data with UDP_HEADER_DONE, else untouched
 * @to: HOST_ADDR or HOST_NAME; a literal in the place of a name is an address
 *
 * RSV is ignored. Source: RFC 1928, 7.
 */
CV_NODISCARD enum udp_header_read udp_header_read_socks5(struct rd *in, struct hostport *to);
/* HOST_ADDR or HOST_NAME; marks @w bad when it does not fit, UDP_HEADER_SOCKS5_MAX bytes always do.
 */
void udp_header_write_socks5(struct wr *w, const struct hostport *from);

/* Never UDP_HEADER_FRAGMENT. An address comes out in its canonical form. */
CV_NODISCARD enum udp_header_read udp_header_read_tunnel(struct rd *in, struct hostport *host);
/* HOST_ADDR or HOST_NAME, port not 0; UDP_HEADER_TUNNEL_MAX bytes always suffice. */
void udp_header_write_tunnel(struct wr *w, const struct hostport *host);

/* SPDX-License-Identifier: MIT */
#include "proxy/udp_header.h"

#include <string.h>

#include "proxy/target.h"

/* RFC 1928, 5 */
enum {
	ATYP_V4 = 1,
	ATYP_NAME = 3,
	ATYP_V6 = 4,
};

_Static_assert(4 + 1 + HOST_DNS_MAX + 2 <= UDP_HEADER_SOCKS5_MAX, "a name fits");
_Static_assert(1 + ADDR_WIRE_MAX <= UDP_HEADER_TUNNEL_MAX, "an address fits");
_Static_assert(1 + 1 + HOST_DNS_MAX + 2 <= UDP_HEADER_TUNNEL_MAX, "a name fits");

static bool read_ip(struct rd *r, enum addr_family family, struct hostport *to)
{
	struct addr addr = { .family = (uint8_t)family };

	rd_copy(r, addr.ip, family == ADDR_V4 ? 4 : 16);
	addr.port = rd_u16(r);
	if (r->bad || addr.port == 0)
		return false;
	*to = (struct hostport){ .kind = HOST_ADDR, .port = addr.port, .addr = addr };
	return true;
}

static bool read_name(struct rd *r, struct hostport *to)
{
	size_t size = rd_u8(r);
	const uint8_t *text = rd_take(r, size);
	uint16_t port = rd_u16(r);

	return !r->bad && port != 0 && hostport_from_name((const char *)text, size, port, to) == 0;
}

enum udp_header_read udp_header_read_socks5(struct rd *in, struct hostport *to)
{
	struct rd r = *in;
	uint8_t frag, atyp;
	bool is_good;

	(void)rd_u16(&r);
	frag = rd_u8(&r);
	atyp = rd_u8(&r);
	if (r.bad)
		return UDP_HEADER_MALFORMED;
	if (frag != 0)
		return UDP_HEADER_FRAGMENT;
	switch (atyp) {
	case ATYP_V4:
		is_good = read_ip(&r, ADDR_V4, to);
		break;
	case ATYP_V6:
		is_good = read_ip(&r, ADDR_V6, to);
		break;
	case ATYP_NAME:
		is_good = read_name(&r, to);
		break;
	default:
		is_good = false;
	}
	if (!is_good)
		return UDP_HEADER_MALFORMED;
	*in = r;
	return UDP_HEADER_DONE;
}

void udp_header_write_socks5(struct wr *w, const struct hostport *from)
{
	size_t size;

	wr_zero(w, 3);
	switch (from->kind) {
	case HOST_ADDR:
		wr_u8(w, from->addr.family == ADDR_V4 ? ATYP_V4 : ATYP_V6);
		wr_copy(w, from->addr.ip, from->addr.family == ADDR_V4 ? 4 : 16);
		wr_u16(w, from->port);
		return;
	case HOST_NAME:
		size = strlen(from->text);
		CV_ASSERT(size <= HOST_DNS_MAX);
		wr_u8(w, ATYP_NAME);
		wr_u8(w, (uint8_t)size);
		wr_copy(w, from->text, size);
		wr_u16(w, from->port);
		return;
	case HOST_NONE:
	case HOST_UNIX:
	case HOST_SERVICE:
		break;
	}
	CV_UNREACHABLE();
}

enum udp_header_read udp_header_read_tunnel(struct rd *in, struct hostport *host)
{
	struct rd r = *in;
	struct hostport got = { .kind = HOST_NONE };

	if (!target_read_host(&r, &got) || (got.kind != HOST_ADDR && got.kind != HOST_NAME))
		return UDP_HEADER_MALFORMED;
	*host = got;
	*in = r;
	return UDP_HEADER_DONE;
}

void udp_header_write_tunnel(struct wr *w, const struct hostport *host)
{
	CV_ASSERT(host->kind == HOST_ADDR || host->kind == HOST_NAME);
	CV_ASSERT(host->port != 0);
	target_write_host(w, host);
}

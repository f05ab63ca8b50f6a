/* SPDX-License-Identifier: MIT */

/*
 * The header of a datagram, as a client of SOCKS5 or a peer may send it. The first byte chooses
 * which.
 *
 * Oracles besides the sanitizers: a header is consumed whole or not at all; what was read is
 * written and read back the same, in both encodings, so that whatever a client may name the tunnel
 * carries; a shorter one never has another meaning.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proxy/udp_header.h"

static void check_tunnel(const struct hostport *host)
{
	uint8_t bytes[UDP_HEADER_TUNNEL_MAX];
	struct wr w = wr_init(bytes, sizeof(bytes));
	struct hostport got;
	struct addr canonical;
	struct rd in;

	udp_header_write_tunnel(&w, host);
	CV_ASSERT(!w.bad);
	in = rd_init(bytes, wr_size(&w));
	CV_ASSERT(udp_header_read_tunnel(&in, &got) == UDP_HEADER_DONE);
	CV_ASSERT(rd_left(&in) == 0);
	CV_ASSERT(got.kind == host->kind && got.port == host->port);
	if (host->kind == HOST_NAME) {
		CV_ASSERT(strcmp(got.text, host->text) == 0);
		return;
	}
	canonical = addr_canonical(&host->addr);
	CV_ASSERT(addr_equal_ip(&got.addr, &canonical));
}

static void check_written(const struct hostport *host)
{
	uint8_t bytes[UDP_HEADER_SOCKS5_MAX];
	struct wr w = wr_init(bytes, sizeof(bytes));
	struct hostport got;
	struct rd in;

	udp_header_write_socks5(&w, host);
	CV_ASSERT(!w.bad);
	in = rd_init(bytes, wr_size(&w));
	CV_ASSERT(udp_header_read_socks5(&in, &got) == UDP_HEADER_DONE);
	CV_ASSERT(rd_left(&in) == 0);
	CV_ASSERT(hostport_equal(&got, host));
}

static void check_socks5(const uint8_t *data, size_t size)
{
	struct rd in = rd_init(data, size);
	struct hostport to, part;
	enum udp_header_read read = udp_header_read_socks5(&in, &to);
	size_t header = size - rd_left(&in);

	CV_ASSERT(read == UDP_HEADER_DONE || header == 0);
	if (read != UDP_HEADER_DONE)
		return;
	CV_ASSERT(header <= UDP_HEADER_SOCKS5_MAX);
	for (size_t cut = 0; cut < header; cut++) {
		in = rd_init(data, cut);
		CV_ASSERT(udp_header_read_socks5(&in, &part) == UDP_HEADER_MALFORMED);
	}
	check_written(&to);
	check_tunnel(&to);
}

static void check_from_tunnel(const uint8_t *data, size_t size)
{
	struct rd in = rd_init(data, size);
	struct hostport host, part;
	enum udp_header_read read = udp_header_read_tunnel(&in, &host);
	size_t header = size - rd_left(&in);

	CV_ASSERT(read != UDP_HEADER_FRAGMENT);
	CV_ASSERT(read == UDP_HEADER_DONE || header == 0);
	if (read != UDP_HEADER_DONE)
		return;
	CV_ASSERT(header <= UDP_HEADER_TUNNEL_MAX);
	CV_ASSERT(host.kind == HOST_ADDR || host.kind == HOST_NAME);
	for (size_t cut = 0; cut < header; cut++) {
		in = rd_init(data, cut);
		CV_ASSERT(udp_header_read_tunnel(&in, &part) == UDP_HEADER_MALFORMED);
	}
	check_tunnel(&host);
	check_written(&host);
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] & 1)
		check_from_tunnel(data + 1, size - 1);
	else
		check_socks5(data + 1, size - 1);
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

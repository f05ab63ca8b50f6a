/* SPDX-License-Identifier: MIT */
#include "net/udp_bind.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/limits.h"
#include "base/log.h"
#include "net/convert.h"
#include "net/fds.h"

enum {
	BUFFER_SIZE = 7 * 1024 * 1024, /* 10 Gbit/s for 5 ms; the default lasts 0.2 ms */
	BUFFER_SIZE_LOW = 1024 * 1024, /* below this, bursts are lost: worth a warning */
	PAIR_TRIES_MAX = 16,           /* free ports tried until both families have the same */
};

/* Linux doubles what was asked for and reports the double. */
static int buffer_size(int fd, int name)
{
	int size = 0;
	socklen_t length = sizeof(size);

	if (getsockopt(fd, SOL_SOCKET, name, &size, &length) < 0)
		return 0;
#ifdef __linux__
	size /= 2;
#endif
	return size;
}

static int set_buffer(int fd, int name, int wanted)
{
	fds_option(fd, SOL_SOCKET, name, wanted);
#ifdef SO_RCVBUFFORCE
	/* Beyond net.core.[rw]mem_max, for those who may. */
	if (buffer_size(fd, name) < wanted)
		fds_option(fd, SOL_SOCKET, name == SO_RCVBUF ? SO_RCVBUFFORCE : SO_SNDBUFFORCE,
		           wanted);
#endif
	return buffer_size(fd, name);
}

void udp_bind_set_buffers(int fd, int wanted)
{
	(void)set_buffer(fd, SO_RCVBUF, wanted);
	(void)set_buffer(fd, SO_SNDBUF, wanted);
}

static void set_buffers(int fd, const struct udp_port_options *opt)
{
	int wanted = opt->buffer_size ? (int)opt->buffer_size : BUFFER_SIZE;
	int rx = set_buffer(fd, SO_RCVBUF, wanted), tx = set_buffer(fd, SO_SNDBUF, wanted);
	int least = CV_MIN(wanted, BUFFER_SIZE_LOW);

	if (rx < least || tx < least)
		log_warn("small socket buffers receive=%d send=%d wanted=%d hint=\"raise "
		         "net.core.rmem_max and net.core.wmem_max\"",
		         rx, tx, wanted);
}

/* Binds one socket; *@port_number gets the real port. */
static int open_one(const struct udp_port_options *opt, struct udp_bound *b, const struct addr *at)
{
	struct udp_socket s = { .fd = -1, .family = at->family };
	struct sockaddr_storage sa;
	socklen_t size = convert_to_sockaddr(at, &sa);
	int r;

	if (b->count >= UDP_PORT_SOCKETS_MAX)
		return -EINVAL;
	s.fd = r = fds_socket(sa.ss_family, SOCK_DGRAM, 0);
	if (r < 0)
		return r;
	if (at->family == ADDR_V6)
		fds_option(s.fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (bind(s.fd, (struct sockaddr *)&sa, size) < 0) {
		r = -errno;
		fds_close(&s.fd);
		return r;
	}
	set_buffers(s.fd, opt);
	s.local = fds_local(s.fd);
	for (unsigned i = 0; i < b->count; i++)
		s.index = (uint16_t)(s.index + (b->sockets[i].family == s.family));
	b->sockets[b->count++] = s;
	return 0;
}

static void drop_from(struct udp_bound *b, unsigned count)
{
	while (b->count > count)
		fds_close(&b->sockets[--b->count].fd);
}

/* The kernel was built without this family, or told to forget it. */
static bool is_missing(int error)
{
	return error == -EAFNOSUPPORT || error == -EADDRNOTAVAIL;
}

/* Every address of both families, one port number for both: NAT mappings and candidates then
 * name one port. */
static int open_pair(const struct udp_port_options *opt, struct udp_bound *b, uint16_t port)
{
	struct addr v4 = addr_v4(0, 0, 0, 0, port), v6 = { .family = ADDR_V6, .port = port };
	unsigned before = b->count;
	int r = 0;

	for (int tries = 0; tries < PAIR_TRIES_MAX; tries++) {
		r = open_one(opt, b, &v4);
		if (r < 0 && !is_missing(r))
			return r;
		if (r == 0)
			v6.port = b->sockets[before].local.port;
		r = open_one(opt, b, &v6);
		if (r == 0 || (is_missing(r) && b->count > before))
			return 0;
		drop_from(b, before);
		if (r != -EADDRINUSE || port != 0)
			return r;
	}
	return r;
}

static int open_bind(const struct udp_port_options *opt, struct udp_bound *b, const struct addr *at)
{
	return at->family == ADDR_NONE ? open_pair(opt, b, at->port) : open_one(opt, b, at);
}

/* @port: that of the bind itself. */
static void open_next(const struct udp_port_options *opt, struct udp_bound *b, struct addr at,
                      uint16_t port)
{
	int r = -EADDRNOTAVAIL;

	at.port = port;
	if (at.port < UINT16_MAX) {
		at.port++;
		r = open_bind(opt, b, &at);
	}
	if (r < 0)
		log_info("second port not opened port=%u", (unsigned)at.port);
}

int udp_bind_open(const struct udp_port_options *opt, struct udp_bound *out)
{
	uint16_t ports[UDP_PORT_BINDS_MAX];
	struct udp_bound b = { .count = 0 };
	int r;

	if (opt->bind_count < 1 || opt->bind_count > UDP_PORT_BINDS_MAX)
		return -EINVAL;
	for (unsigned i = 0; i < opt->bind_count; i++) {
		unsigned before = b.count;

		r = open_bind(opt, &b, &opt->binds[i]);
		if (r < 0) {
			drop_from(&b, 0);
			return r;
		}
		ports[i] = b.sockets[before].local.port;
	}
	/* After all that were asked for: those come first in number, and must not find their port
	 * taken. */
	for (unsigned i = 0; opt->with_next && i < opt->bind_count; i++)
		open_next(opt, &b, opt->binds[i], ports[i]);
	*out = b;
	return 0;
}

int udp_bind_extra(struct udp_socket *out)
{
	struct udp_socket s = { .family = ADDR_V4 };
	struct sockaddr_in any = { .sin_family = AF_INET };
	int r;

	s.fd = r = fds_socket(AF_INET, SOCK_DGRAM, 0);
	if (r < 0)
		return r;
	if (bind(s.fd, (struct sockaddr *)&any, sizeof(any)) < 0) {
		r = -errno;
		fds_close(&s.fd);
		return r;
	}
	(void)set_buffer(s.fd, SO_RCVBUF, BUFFER_SIZE);
	(void)set_buffer(s.fd, SO_SNDBUF, BUFFER_SIZE);
	s.local = fds_local(s.fd);
	*out = s;
	return 0;
}

/* SPDX-License-Identifier: MIT */
#include "net/portmap_socket.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/alloc.h"
#include "net/convert.h"
#include "net/fds.h"
#include "tunnel/pcp.h"

enum { BURST_MAX = 16 }; /* datagrams a turn; more is a flood */

struct portmap_socket {
	uv_poll_t poll;
	int fd;
	portmap_socket_fn *on_datagram;
	void *ctx;
	bool is_closing;
	void (*on_closed)(void *ctx);
	void *closed_ctx;
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct portmap_socket *s)
{
	int r = uv_poll_start(&s->poll, UV_READABLE, on_poll);

	CV_ASSERT(r == 0); /* fails only for a handle that is closing */
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct portmap_socket *s = poll->data;
	struct sockaddr_storage sa;
	socklen_t sa_size;
	uint8_t bytes[PCP_ANSWER_MAX + 1]; /* one more, so that too long is seen to be */
	struct addr from;
	ssize_t size;

	(void)events;
	if (status < 0) {
		(void)fds_take_error(s->fd); /* cleared, or polling would stop again at once */
		watch(s);
	}
	for (unsigned i = 0; i < BURST_MAX && !s->is_closing; i++) {
		sa_size = sizeof(sa);
		size = recvfrom(s->fd, bytes, sizeof(bytes), 0, (struct sockaddr *)&sa, &sa_size);
		if (size < 0)
			return;
		from = convert_from_sockaddr((struct sockaddr *)&sa, sa_size);
		if (size > 0 && from.family != ADDR_NONE)
			s->on_datagram(s->ctx, &from, bytes, (size_t)size);
	}
}

static int bind_to(int fd, int family, uint16_t port)
{
	struct addr any = { .family = family == AF_INET ? ADDR_V4 : ADDR_V6, .port = port };
	struct sockaddr_storage sa;
	socklen_t size = convert_to_sockaddr(&any, &sa);

	if (family == AF_INET6)
		fds_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (port != 0) {
		/* All who listen for announcements must want to share; they differ in the word. */
		fds_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
#ifdef SO_REUSEPORT
		fds_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
#endif
	}
	/* 224.0.0.1 and ff02::1, all hosts of the link, need not be joined. */
	return bind(fd, (struct sockaddr *)&sa, size) < 0 ? -errno : 0;
}

int portmap_socket_open(uv_loop_t *loop, int family, uint16_t port, portmap_socket_fn *on_datagram,
                        void *ctx, struct portmap_socket **out)
{
	struct portmap_socket *s = cv_zalloc(sizeof(*s));
	int r = -ENOMEM;

	if (!s)
		return r;
	s->on_datagram = on_datagram;
	s->ctx = ctx;
	s->fd = fds_socket(family, SOCK_DGRAM, 0);
	r = s->fd < 0 ? s->fd : bind_to(s->fd, family, port);
	if (r == 0)
		r = uv_poll_init(loop, &s->poll, s->fd);
	if (r < 0) {
		fds_close(&s->fd);
		cv_free(s);
		return r;
	}
	s->poll.data = s;
	watch(s);
	*out = s;
	return 0;
}

/* IPV6_PKTINFO, or IPv4's of the same kind where there is one: the source address. */
static size_t write_source(struct cmsghdr *c, const struct addr *own, const struct addr *to)
{
	if (own->family == ADDR_V6) {
		struct in6_pktinfo info = { .ipi6_ifindex = to->scope };

		memcpy(&info.ipi6_addr, own->ip, sizeof(info.ipi6_addr));
		c->cmsg_level = IPPROTO_IPV6;
		c->cmsg_type = IPV6_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		return CMSG_SPACE(sizeof(info));
	}
#ifdef __linux__
	struct in_pktinfo info = { .ipi_ifindex = 0 };

	memcpy(&info.ipi_spec_dst, own->ip, sizeof(info.ipi_spec_dst));
	c->cmsg_level = IPPROTO_IP;
	c->cmsg_type = IP_PKTINFO;
	c->cmsg_len = CMSG_LEN(sizeof(info));
	memcpy(CMSG_DATA(c), &info, sizeof(info));
	return CMSG_SPACE(sizeof(info));
#else
	return 0;
#endif
}

void portmap_socket_send(struct portmap_socket *s, const struct addr *own, const struct addr *to,
                         const uint8_t *bytes, size_t size)
{
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(struct in6_pktinfo))] = { 0 };
	struct sockaddr_storage sa;
	struct iovec iov = { .iov_len = size };
	struct msghdr msg = { .msg_name = &sa, .msg_iov = &iov, .msg_iovlen = 1 };

	memcpy(&iov.iov_base, &bytes, sizeof(bytes)); /* it is not written to */
	msg.msg_namelen = convert_to_sockaddr(to, &sa);
	msg.msg_control = control;
	msg.msg_controllen = write_source((struct cmsghdr *)(void *)control, own, to);
	(void)sendmsg(s->fd, &msg, 0);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct portmap_socket *s = handle->data;

	s->on_closed(s->closed_ctx);
	cv_free(s);
}

void portmap_socket_close(struct portmap_socket *s, void (*on_closed)(void *ctx), void *ctx)
{
	s->is_closing = true;
	s->on_closed = on_closed;
	s->closed_ctx = ctx;
	uv_close((uv_handle_t *)&s->poll, on_handle_closed);
	fds_close(&s->fd);
}

/* SPDX-License-Identifier: MIT */
#include "net/gateway.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#ifdef __linux__
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#endif

#include "net/convert.h"
#include "net/fds.h"

/* The route's own, or by the rules of source address selection. Connecting a UDP socket sends
 * nothing. */
int gateway_source(const struct addr *to, struct addr *out)
{
	struct sockaddr_storage sa;
	socklen_t size = convert_to_sockaddr(to, &sa);
	int fd = fds_socket(sa.ss_family, SOCK_DGRAM, 0);
	int r = 0;

	if (fd < 0)
		return fd;
	if (connect(fd, (struct sockaddr *)&sa, size) < 0)
		r = -errno;
	else
		*out = fds_local(fd);
	fds_close(&fd);
	if (r < 0)
		return r;
	out->port = 0;
	return out->family == to->family ? 0 : -ENETUNREACH;
}

#ifdef __linux__

/* Where "the internet" is, for a look-up in the routing tables: any address that is neither
 * reserved nor likely to be routed on its own. Anycast resolvers. */
static struct addr somewhere(enum addr_family family)
{
	static const uint8_t v6[16] = { 0x26, 0x20, 0x00, 0xfe, [15] = 0xfe };
	struct addr a = addr_v4(9, 9, 9, 9, 53);

	if (family == ADDR_V6) {
		a = (struct addr){ .family = ADDR_V6, .port = 53 };
		memcpy(a.ip, v6, sizeof(v6));
	}
	return a;
}

struct question {
	struct nlmsghdr head;
	struct rtmsg route;
	struct rtattr attr;
	uint8_t ip[16];
};

static void ask(const struct addr *to, struct question *q)
{
	const unsigned short size = to->family == ADDR_V4 ? 4 : 16;

	*q = (struct question){
		.head = { .nlmsg_len = (uint32_t)(offsetof(struct question, ip) + size),
		          .nlmsg_type = RTM_GETROUTE,
		          .nlmsg_flags = NLM_F_REQUEST,
		          .nlmsg_seq = 1 },
		.route = { .rtm_family = to->family == ADDR_V4 ? AF_INET : AF_INET6,
		           .rtm_dst_len = (unsigned char)(size * 8) },
		.attr = { .rta_len = (unsigned short)(sizeof(struct rtattr) + size),
		          .rta_type = RTA_DST },
	};
	memcpy(q->ip, to->ip, size);
}

_Static_assert(offsetof(struct question, attr) == NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(struct rtmsg)),
               "attributes follow the fixed part");
_Static_assert(offsetof(struct question, ip) == offsetof(struct question, attr) + RTA_LENGTH(0),
               "the address follows its head");

/* Attributes of one route, as far as they fit in @size bytes. */
static int read_route(const struct rtmsg *route, const uint8_t *at, size_t size,
                      struct gateway *out)
{
	const size_t ip_size = route->rtm_family == AF_INET ? 4 : 16;
	struct rtattr attr;
	uint32_t index = 0;

	*out = (struct gateway){ .address = { .family = ADDR_NONE } };
	while (size >= sizeof(attr)) {
		memcpy(&attr, at, sizeof(attr));
		if (attr.rta_len < sizeof(attr) || attr.rta_len > size)
			break;
		if (attr.rta_type == RTA_GATEWAY && attr.rta_len >= sizeof(attr) + ip_size) {
			out->address.family = ip_size == 4 ? ADDR_V4 : ADDR_V6;
			memcpy(out->address.ip, at + sizeof(attr), ip_size);
		}
		if (attr.rta_type == RTA_OIF && attr.rta_len >= sizeof(attr) + sizeof(index))
			memcpy(&index, at + sizeof(attr), sizeof(index));
		at += CV_MIN(size, (size_t)RTA_ALIGN(attr.rta_len));
		size -= CV_MIN(size, (size_t)RTA_ALIGN(attr.rta_len));
	}
	if (out->address.family == ADDR_NONE)
		return -ENOENT;
	if (addr_class(&out->address) == ADDR_CLASS_LINK_LOCAL && out->address.family == ADDR_V6)
		out->address.scope = index;
	return 0;
}

static int read_answer(const uint8_t *bytes, size_t size, struct gateway *out)
{
	struct nlmsghdr head;
	struct nlmsgerr error;
	struct rtmsg route;
	const size_t fixed = NLMSG_HDRLEN + NLMSG_ALIGN(sizeof(route));

	if (size < NLMSG_HDRLEN)
		return -EPROTO;
	memcpy(&head, bytes, sizeof(head));
	if (head.nlmsg_len > size)
		return -EPROTO;
	if (head.nlmsg_type == NLMSG_ERROR && size >= NLMSG_HDRLEN + sizeof(error)) {
		memcpy(&error, bytes + NLMSG_HDRLEN, sizeof(error));
		return error.error < 0 ? error.error : -EPROTO;
	}
	if (head.nlmsg_type != RTM_NEWROUTE || head.nlmsg_len < fixed)
		return -EPROTO;
	memcpy(&route, bytes + NLMSG_HDRLEN, sizeof(route));
	/* `unreachable` and `blackhole` are routes too. */
	if (route.rtm_type != RTN_UNICAST)
		return -ENETUNREACH;
	return read_route(&route, bytes + fixed, head.nlmsg_len - fixed, out);
}

int gateway_find(enum addr_family family, struct gateway *out)
{
	const struct addr to = somewhere(family);
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct question question;
	struct gateway found = { .address = { .family = ADDR_NONE } };
	uint8_t bytes[2048];
	ssize_t size = -1;
	int fd, r = 0;

	fd = fds_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
	if (fd < 0)
		return fd;
	ask(&to, &question);
	/* The kernel answers before sendto() returns. */
	if (sendto(fd, &question, question.head.nlmsg_len, 0, (struct sockaddr *)&kernel,
	           sizeof(kernel)) >= 0)
		size = recv(fd, bytes, sizeof(bytes), 0);
	if (size < 0)
		r = -errno;
	fds_close(&fd);
	if (r == 0)
		r = read_answer(bytes, (size_t)size, &found);
	if (r == 0)
		r = gateway_source(&to, &found.own);
	if (r == 0)
		*out = found;
	return r;
}

#else

int gateway_find(enum addr_family family, struct gateway *out)
{
	(void)family;
	(void)out;
	return -ENOTSUP;
}

#endif

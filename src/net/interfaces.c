/* SPDX-License-Identifier: MIT */
#include "net/interfaces.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#ifdef __linux__
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#endif

#include "base/alloc.h"
#include "net/convert.h"
#include "net/fds.h"

enum {
	DEBOUNCE_MS = 200,  /* a new address comes as ten messages over some 100 ms */
	COMPARE_MS = 10000, /* without netlink */
};

struct interfaces {
	uv_poll_t poll;
	uv_timer_t timer;
	unsigned handles_open;
	int fd;          /* netlink, or -1: compare instead */
	bool is_waiting; /* the debounce runs */
	struct addr seen[INTERFACES_MAX];
	unsigned seen_count;
	void (*on_change)(void *ctx);
	void *ctx;
	void (*on_closed)(void *ctx);
	void *closed_ctx;
};

static struct addr address_of(const struct ifaddrs *at)
{
	struct addr a = { .family = ADDR_NONE };

	if (!at->ifa_addr || !(at->ifa_flags & IFF_UP) || (at->ifa_flags & IFF_LOOPBACK))
		return a;
	if (at->ifa_addr->sa_family == AF_INET)
		a = convert_from_sockaddr(at->ifa_addr, sizeof(struct sockaddr_in));
	else if (at->ifa_addr->sa_family == AF_INET6)
		a = convert_from_sockaddr(at->ifa_addr, sizeof(struct sockaddr_in6));
	a.port = 0;
	return a;
}

unsigned interfaces_list(struct addr *out, unsigned cap)
{
	struct ifaddrs *list = NULL;
	unsigned count = 0;
	struct addr a;

	if (getifaddrs(&list) < 0)
		return 0;
	for (const struct ifaddrs *at = list; at && count < cap; at = at->ifa_next) {
		a = address_of(at);
		if (a.family == ADDR_NONE || addr_class(&a) == ADDR_CLASS_LOOPBACK ||
		    addr_class(&a) == ADDR_CLASS_MULTICAST)
			continue;
		out[count++] = a;
	}
	freeifaddrs(list);
	return count;
}

static void on_timer(uv_timer_t *timer)
{
	struct interfaces *i = timer->data;
	struct addr now[INTERFACES_MAX];
	unsigned count;

	if (i->fd >= 0) {
		i->is_waiting = false;
		i->on_change(i->ctx);
		return;
	}
	count = interfaces_list(now, INTERFACES_MAX);
	if (count == i->seen_count && memcmp(now, i->seen, count * sizeof(now[0])) == 0)
		return;
	memcpy(i->seen, now, count * sizeof(now[0]));
	i->seen_count = count;
	i->on_change(i->ctx);
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct interfaces *i = handle->data;

	CV_ASSERT(i->handles_open > 0);
	if (--i->handles_open > 0)
		return;
	if (i->on_closed)
		i->on_closed(i->closed_ctx);
	cv_free(i);
}

#ifdef __linux__

static void on_netlink(uv_poll_t *poll, int status, int events);

static void watch(struct interfaces *i)
{
	int r = uv_poll_start(&i->poll, UV_READABLE, on_netlink);

	CV_ASSERT(r == 0); /* fails only for a handle that is closing */
}

/* What changed is not read: the list is asked for again anyhow, and lost messages (ENOBUFS)
 * mean only that very much changed. */
static void on_netlink(uv_poll_t *poll, int status, int events)
{
	struct interfaces *i = poll->data;
	char bytes[4096];
	ssize_t n;

	(void)events;
	for (int budget = 64; budget > 0; budget--) {
		n = recv(i->fd, bytes, sizeof(bytes), MSG_TRUNC);
		if (n < 0 && errno != ENOBUFS && errno != EINTR)
			break;
	}
	if (status < 0) {
		(void)fds_take_error(i->fd); /* cleared, or polling would stop again at once */
		watch(i);
	}
	if (i->is_waiting)
		return;
	i->is_waiting = true;
	(void)uv_timer_start(&i->timer, on_timer, DEBOUNCE_MS, 0);
}

static int open_netlink(void)
{
	struct sockaddr_nl at = { .nl_family = AF_NETLINK };
	int fd = fds_socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE), r;

	if (fd < 0)
		return fd;
	at.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE |
	               RTMGRP_IPV6_ROUTE;
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
		return fd;
	r = -errno;
	fds_close(&fd);
	return r;
}

/* False: compare instead. A sandbox may forbid netlink. */
static bool watch_netlink(struct interfaces *i, uv_loop_t *loop)
{
	i->fd = open_netlink();
	if (i->fd < 0)
		return false;
	if (uv_poll_init(loop, &i->poll, i->fd) < 0) {
		fds_close(&i->fd);
		return false;
	}
	i->poll.data = i;
	i->handles_open++;
	watch(i);
	return true;
}

#else

static bool watch_netlink(struct interfaces *i, uv_loop_t *loop)
{
	(void)loop;
	i->fd = -1;
	return false;
}

#endif

int interfaces_open(uv_loop_t *loop, void (*on_change)(void *ctx), void *ctx,
                    struct interfaces **out)
{
	struct interfaces *i = cv_zalloc(sizeof(*i));
	int r;

	if (!i)
		return -ENOMEM;
	i->on_change = on_change;
	i->ctx = ctx;
	r = uv_timer_init(loop, &i->timer);
	if (r < 0) {
		cv_free(i);
		return r;
	}
	i->timer.data = i;
	i->handles_open = 1;
	if (!watch_netlink(i, loop)) {
		i->seen_count = interfaces_list(i->seen, INTERFACES_MAX);
		(void)uv_timer_start(&i->timer, on_timer, COMPARE_MS, COMPARE_MS);
	}
	*out = i;
	return 0;
}

void interfaces_close(struct interfaces *i, void (*on_closed)(void *ctx), void *ctx)
{
	i->on_closed = on_closed;
	i->closed_ctx = ctx;
	uv_close((uv_handle_t *)&i->timer, on_handle_closed);
	if (i->fd < 0)
		return;
	uv_close((uv_handle_t *)&i->poll, on_handle_closed);
	fds_close(&i->fd);
}

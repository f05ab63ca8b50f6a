/* SPDX-License-Identifier: MIT */

/*
 * Facts that are easy to get wrong, each of which has cost some project its data:
 *
 * - The control message of UDP_GRO is a 4-byte int, that of UDP_SEGMENT two bytes.
 * - A GRO buffer below 65,535 bytes loses what does not fit.
 * - With IP_RECVERR an ICMP error is left on the socket as well as in the queue, and the
 *   next call, whatever its destination, fails with it *instead of* sending: try again
 *   before believing any error. Even EMSGSIZE may be such a leftover.
 * - EIO: the device cannot checksum (until Linux 6.11). EINVAL: virtio and IPv6, or a
 *   segment larger than the MTU on older kernels, which newer ones call EMSGSIZE. Which
 *   of the two it was, a single datagram tells.
 * - With IP_RECVERR a full device queue shows as ENOBUFS while the socket stays writable:
 *   polling for it would spin.
 * - UDP_SEGMENT is given only for two datagrams and more.
 * - IP_TOS comes as one byte and leaves as an int; IPV6_TCLASS is an int both ways.
 *
 * The mark is a control message of each train that has one. On an unconnected socket it costs
 * nothing that can be measured (60 bytes over loopback: 1,405 ns against 1,402), whereas IP_TOS set
 * as an option whenever marked and other trains take turns costs 0.3 us each time. To be shown the
 * mark costs 45 ns an arrival, which with GRO is a whole train.
 */
#include "net/udp_batch.h"

#ifdef __linux__

#include <errno.h>
#include <time.h> /* errqueue.h needs it, and sorts before it */

#include <linux/errqueue.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "net/convert.h"
#include "net/fds.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
	LEFTOVERS_MAX = 3, /* tries before an error counts as this datagram's own */
	CONTROL_SIZE = 64, /* of one arrival: an int, with room */
	SELF_TEST_MS = 100,
};

/* Aligned as struct cmsghdr wants it. */
union control {
	struct cmsghdr align;
	uint8_t bytes[CMSG_SPACE(sizeof(uint16_t)) + 2 * CMSG_SPACE(sizeof(int))];
};

void udp_batch_prepare(const struct udp_socket *s, bool with_gro)
{
	if (s->family == ADDR_V4) {
		fds_option(s->fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
		fds_option(s->fd, IPPROTO_IP, IP_RECVERR, 1);
		fds_option(s->fd, IPPROTO_IP, IP_RECVTOS, 1);
	} else {
		fds_option(s->fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
		fds_option(s->fd, IPPROTO_IPV6, IPV6_RECVERR, 1);
		fds_option(s->fd, IPPROTO_IPV6, IPV6_RECVTCLASS, 1);
	}
	if (with_gro)
		fds_option(s->fd, SOL_UDP, UDP_GRO, 1);
}

/* The size of the datagrams in a coalesced buffer; 0 when it holds just one. */
static size_t segment_size(struct msghdr *msg)
{
	int size;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_UDP || c->cmsg_type != UDP_GRO ||
		    c->cmsg_len < CMSG_LEN(sizeof(size)))
			continue;
		memcpy(&size, CMSG_DATA(c), sizeof(size));
		return size > 0 ? (size_t)size : 0;
	}
	return 0;
}

static uint8_t codepoint(struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		int class;

		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_TOS)
			return *CMSG_DATA(c) & ECN_CE;
		if (c->cmsg_level != IPPROTO_IPV6 || c->cmsg_type != IPV6_TCLASS)
			continue;
		memcpy(&class, CMSG_DATA(c), sizeof(class));
		return (uint8_t) class & ECN_CE;
	}
	return ECN_NOT_ECT;
}

int udp_batch_receive(const struct udp_socket *s, uint8_t *bytes, struct udp_received *out)
{
	struct mmsghdr msgs[UDP_BATCH_BUFFERS];
	struct iovec iov[UDP_BATCH_BUFFERS];
	struct sockaddr_storage from[UDP_BATCH_BUFFERS];
	_Alignas(struct cmsghdr) uint8_t control[UDP_BATCH_BUFFERS][CONTROL_SIZE];
	struct arrival *a;
	struct msghdr *m;
	int n;

	memset(msgs, 0, sizeof(msgs));
	for (unsigned i = 0; i < UDP_BATCH_BUFFERS; i++) {
		iov[i].iov_base = bytes + (size_t)i * UDP_BATCH_BUFFER_SIZE;
		iov[i].iov_len = UDP_BATCH_BUFFER_SIZE;
		m = &msgs[i].msg_hdr;
		m->msg_name = &from[i];
		m->msg_namelen = sizeof(from[i]);
		m->msg_iov = &iov[i];
		m->msg_iovlen = 1;
		m->msg_control = control[i];
		m->msg_controllen = sizeof(control[i]);
	}
	n = recvmmsg(s->fd, msgs, UDP_BATCH_BUFFERS, MSG_DONTWAIT, NULL);
	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;

	*out = (struct udp_received){ .is_full = n == UDP_BATCH_BUFFERS };
	for (int i = 0; i < n; i++) {
		m = &msgs[i].msg_hdr;
		if (m->msg_flags & MSG_TRUNC) {
			out->truncated++;
			continue;
		}
		if (msgs[i].msg_len == 0)
			continue; /* an empty datagram is nobody's */
		a = &out->arrivals[out->count];
		a->bytes = bytes + (size_t)i * UDP_BATCH_BUFFER_SIZE;
		a->size = msgs[i].msg_len;
		a->segment_size = segment_size(m);
		if (a->segment_size == 0 || a->segment_size > a->size)
			a->segment_size = a->size;
		a->socket = s->index;
		a->ecn = codepoint(m);
		a->from = convert_from_sockaddr((const struct sockaddr *)&from[i], m->msg_namelen);
		if (a->from.family != ADDR_NONE)
			out->count++;
	}
	return 0;
}

static size_t put_control(struct cmsghdr *c, int level, int type, const void *value, size_t size)
{
	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(size);
	memcpy(CMSG_DATA(c), value, size);
	return CMSG_SPACE(size);
}

/* What the kernel has to be told about datagrams of @size bytes in all. */
static void put_controls(const struct udp_socket *s, const struct train *t, size_t size,
                         struct msghdr *msg, union control *control)
{
	const bool is_v4 = s->family == ADDR_V4;
	const uint16_t segment = (uint16_t)t->segment_size;
	const int mark = t->ecn, ttl = t->ttl;
	struct cmsghdr *c;
	size_t used = 0;

	memset(control, 0, sizeof(*control));
	msg->msg_control = control;
	msg->msg_controllen = sizeof(*control);
	c = CMSG_FIRSTHDR(msg);
	if (size > t->segment_size) {
		used += put_control(c, SOL_UDP, UDP_SEGMENT, &segment, sizeof(segment));
		c = CMSG_NXTHDR(msg, c);
	}
	if (mark && s->has_ecn) {
		used += put_control(c, is_v4 ? IPPROTO_IP : IPPROTO_IPV6,
		                    is_v4 ? IP_TOS : IPV6_TCLASS, &mark, sizeof(mark));
		c = CMSG_NXTHDR(msg, c);
	}
	if (ttl)
		used += put_control(c, is_v4 ? IPPROTO_IP : IPPROTO_IPV6,
		                    is_v4 ? IP_TTL : IPV6_HOPLIMIT, &ttl, sizeof(ttl));
	msg->msg_controllen = used;
}

/* What the bytes from *@offset on have to leave as, in one call. */
static int send_whole(const struct udp_socket *s, const struct train *t, size_t *offset,
                      struct sockaddr_storage *to, socklen_t to_size)
{
	struct iovec iov = { .iov_base = t->bytes + *offset, .iov_len = t->size - *offset };
	struct msghdr msg = { .msg_name = to, .msg_namelen = to_size };
	union control control;

	msg.msg_iov = &iov;
	msg.msg_iovlen = 1;
	put_controls(s, t, iov.iov_len, &msg, &control);
	if (sendmsg(s->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return -errno;
	*offset = t->size;
	return 0;
}

/* One by one, as many as the kernel takes. 0 when at least one went. */
static int send_singles(const struct udp_socket *s, const struct train *t, size_t *offset,
                        struct sockaddr_storage *to, socklen_t to_size)
{
	struct mmsghdr msgs[TRAIN_SEGMENTS_MAX];
	struct iovec iov[TRAIN_SEGMENTS_MAX];
	union control control;
	size_t at = *offset;
	unsigned count = 0;
	int n;

	memset(msgs, 0, sizeof(msgs));
	for (; at < t->size && count < TRAIN_SEGMENTS_MAX; count++) {
		iov[count].iov_base = t->bytes + at;
		iov[count].iov_len = CV_MIN(t->segment_size, t->size - at);
		at += iov[count].iov_len;
		msgs[count].msg_hdr.msg_name = to;
		msgs[count].msg_hdr.msg_namelen = to_size;
		msgs[count].msg_hdr.msg_iov = &iov[count];
		msgs[count].msg_hdr.msg_iovlen = 1;
		put_controls(s, t, 0, &msgs[count].msg_hdr, &control); /* all the same */
	}
	n = sendmmsg(s->fd, msgs, count, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++)
		*offset += iov[i].iov_len;
	return n > 0 ? 0 : -EAGAIN;
}

/* The verdict about an error that is this datagram's own. */
static enum udp_sent verdict(int error, size_t *offset, size_t *failed)
{
	if (error == -EAGAIN || error == -EINTR) {
		*failed = 0;
		return UDP_BLOCKED;
	}
	if (error == -ENOBUFS || error == -ENOMEM) {
		*failed = 0;
		return UDP_CONGESTED;
	}
	*offset += *failed;
	return error == -EMSGSIZE ? UDP_TOO_LARGE : UDP_LOST;
}

enum udp_sent udp_batch_send(struct udp_socket *s, const struct train *t, size_t *offset,
                             size_t *failed, uint64_t *calls)
{
	struct sockaddr_storage to;
	socklen_t to_size = convert_to_sockaddr(&t->to, &to);
	bool is_whole = s->has_gso, is_doubted = false;
	unsigned tries = 0;
	size_t left;
	int r;

	CV_ASSERT(t->segment_size > 0);
	while (*offset < t->size) {
		left = t->size - *offset;
		++*calls;
		r = is_whole ? send_whole(s, t, offset, &to, to_size)
		             : send_singles(s, t, offset, &to, to_size);
		if (r == 0) {
			if (is_doubted)
				s->has_gso = false; /* the size was not the fault */
			tries = 0;
			continue;
		}
		if (is_whole && left > t->segment_size && (r == -EIO || r == -EINVAL)) {
			is_doubted = r == -EINVAL;
			s->has_gso = r != -EIO;
			is_whole = false;
			continue;
		}
		*failed = is_whole ? left : CV_MIN(left, t->segment_size);
		if (r == -EAGAIN || r == -ENOBUFS || r == -ENOMEM || ++tries >= LEFTOVERS_MAX)
			return verdict(r, offset, failed);
	}
	*failed = 0;
	return UDP_SENT;
}

bool udp_batch_next_error(const struct udp_socket *s, struct udp_error *out)
{
	_Alignas(struct cmsghdr) uint8_t control[256]; /* the error, and the offender's address */
	struct sockaddr_storage to;
	struct sock_extended_err ee;
	struct msghdr msg = { .msg_name = &to, .msg_namelen = sizeof(to) };

	memset(&to, 0, sizeof(to));
	msg.msg_control = control;
	msg.msg_controllen = sizeof(control);
	if (recvmsg(s->fd, &msg, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
		return false;
	*out = (struct udp_error){ .is_refused = false };
	out->to = convert_from_sockaddr((const struct sockaddr *)&to, msg.msg_namelen);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		if (c->cmsg_len < CMSG_LEN(sizeof(ee)) ||
		    !((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
		      (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR)))
			continue;
		memcpy(&ee, CMSG_DATA(c), sizeof(ee));
		out->is_refused =
			(ee.ee_origin == SO_EE_ORIGIN_ICMP && ee.ee_type == ICMP_DEST_UNREACH &&
		         ee.ee_code == ICMP_PORT_UNREACH) ||
			(ee.ee_origin == SO_EE_ORIGIN_ICMP6 && ee.ee_type == ICMP6_DST_UNREACH &&
		         ee.ee_code == ICMP6_DST_UNREACH_NOPORT);
	}
	return true;
}

static int open_loopback(struct udp_socket *s, uint8_t family)
{
	struct addr any = addr_v4(127, 0, 0, 1, 0);
	struct sockaddr_storage sa;
	socklen_t size;

	if (family == ADDR_V6)
		any = (struct addr){ .family = ADDR_V6, .ip = { [15] = 1 } };
	size = convert_to_sockaddr(&any, &sa);
	*s = (struct udp_socket){ .family = family, .has_gso = true, .has_ecn = true };
	s->fd = fds_socket(family == ADDR_V4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
	if (s->fd < 0)
		return s->fd;
	if (bind(s->fd, (struct sockaddr *)&sa, size) < 0)
		return -errno;
	s->local = fds_local(s->fd);
	return 0;
}

/* Two datagrams of 100 and 50 bytes in one call, to @rx. */
static bool test_send(struct udp_socket *tx, const struct udp_socket *rx)
{
	uint8_t bytes[150] = { 0 };
	struct train t = { .bytes = bytes, .size = sizeof(bytes), .segment_size = 100, .count = 2 };
	size_t offset = 0, failed;
	uint64_t calls = 0;

	t.to = rx->local;
	return udp_batch_send(tx, &t, &offset, &failed, &calls) == UDP_SENT && tx->has_gso;
}

/* True when both arrive as one buffer that says how to cut it. */
static bool test_receive(const struct udp_socket *rx)
{
	struct pollfd p = { .fd = rx->fd, .events = POLLIN };
	_Alignas(struct cmsghdr) uint8_t control[CONTROL_SIZE];
	uint8_t bytes[256];
	struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	msg.msg_control = control;
	msg.msg_controllen = sizeof(control);
	return poll(&p, 1, SELF_TEST_MS) == 1 && recvmsg(rx->fd, &msg, MSG_DONTWAIT) == 150 &&
	       segment_size(&msg) == 100;
}

/* One marked datagram, alone, as it has to work without GSO as well. */
static bool test_mark(uint8_t family)
{
	struct udp_socket tx = { .fd = -1 }, rx = { .fd = -1 };
	_Alignas(struct cmsghdr) uint8_t control[CONTROL_SIZE];
	uint8_t bytes[32] = { 0 };
	struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct train t = { .bytes = bytes, .size = 8, .segment_size = 8, .ecn = ECN_ECT0 };
	struct pollfd p = { .events = POLLIN };
	size_t offset = 0, failed;
	uint64_t calls = 0;
	bool has_mark = false;

	if (open_loopback(&tx, family) == 0 && open_loopback(&rx, family) == 0) {
		udp_batch_prepare(&rx, false);
		msg.msg_control = control;
		msg.msg_controllen = sizeof(control);
		t.to = rx.local;
		p.fd = rx.fd;
		has_mark = udp_batch_send(&tx, &t, &offset, &failed, &calls) == UDP_SENT &&
		           poll(&p, 1, SELF_TEST_MS) == 1 &&
		           recvmsg(rx.fd, &msg, MSG_DONTWAIT) == 8 && codepoint(&msg) == ECN_ECT0;
	}
	fds_close(&tx.fd);
	fds_close(&rx.fd);
	return has_mark;
}

struct udp_offloads udp_batch_self_test(void)
{
	struct udp_offloads found = {
		.has_ecn_v4 = test_mark(ADDR_V4),
		.has_ecn_v6 = test_mark(ADDR_V6),
	};
	struct udp_socket tx = { .fd = -1 }, rx = { .fd = -1 };

	if (open_loopback(&tx, ADDR_V4) == 0 && open_loopback(&rx, ADDR_V4) == 0) {
		udp_batch_prepare(&rx, true);
		found.has_gso = test_send(&tx, &rx);
		/* Without GSO nothing coalesces here; a card's GRO may still work, but then
		 * nobody has seen this kernel get it right. */
		found.has_gro = found.has_gso && test_receive(&rx);
	}
	fds_close(&tx.fd);
	fds_close(&rx.fd);
	return found;
}

#else
/* ISO C wants a declaration in every translation unit. */
extern int udp_linux_is_empty;
#endif

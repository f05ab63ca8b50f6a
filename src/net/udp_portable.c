/* SPDX-License-Identifier: MIT */

/* One datagram a call, for systems without Linux's batches. */
#include "net/udp_batch.h"

#ifndef __linux__

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "net/convert.h"
#include "net/fds.h"

void udp_batch_prepare(const struct udp_socket *s, bool with_gro)
{
	(void)with_gro;
#ifdef IP_DONTFRAG
	if (s->family == ADDR_V4)
		fds_option(s->fd, IPPROTO_IP, IP_DONTFRAG, 1);
#endif
#ifdef IPV6_DONTFRAG
	if (s->family == ADDR_V6)
		fds_option(s->fd, IPPROTO_IPV6, IPV6_DONTFRAG, 1);
#endif
}

int udp_batch_receive(const struct udp_socket *s, uint8_t *bytes, struct udp_received *out)
{
	struct sockaddr_storage from;
	socklen_t size = sizeof(from);
	ssize_t n =
		recvfrom(s->fd, bytes, UDP_BATCH_BUFFER_SIZE, 0, (struct sockaddr *)&from, &size);
	struct arrival *a = &out->arrivals[0];

	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	*out = (struct udp_received){ .is_full = true };
	*a = (struct arrival){ .bytes = bytes, .socket = s->index };
	a->size = a->segment_size = (size_t)n;
	a->from = convert_from_sockaddr((const struct sockaddr *)&from, size);
	out->count = n > 0 && a->from.family != ADDR_NONE ? 1 : 0;
	return 0;
}

enum udp_sent udp_batch_send(struct udp_socket *s, const struct train *t, size_t *offset,
                             size_t *failed, uint64_t *calls)
{
	struct sockaddr_storage to;
	socklen_t to_size = convert_to_sockaddr(&t->to, &to);
	size_t size;

	CV_ASSERT(t->segment_size > 0);
	*failed = 0;
	while (*offset < t->size) {
		size = CV_MIN(t->segment_size, t->size - *offset);
		++*calls;
		if (sendto(s->fd, t->bytes + *offset, size, 0, (struct sockaddr *)&to, to_size) >=
		    0) {
			*offset += size;
			continue;
		}
		if (errno == EAGAIN || errno == EINTR)
			return UDP_BLOCKED;
		if (errno == ENOBUFS || errno == ENOMEM)
			return UDP_CONGESTED; /* the BSDs never block on UDP: they say this */
		*offset += size;
		*failed = size;
		return errno == EMSGSIZE ? UDP_TOO_LARGE : UDP_LOST;
	}
	return UDP_SENT;
}

/* An unconnected socket hears nothing of ICMP here. */
bool udp_batch_next_error(const struct udp_socket *s, struct udp_error *out)
{
	(void)s;
	(void)out;
	return false;
}

struct udp_offloads udp_batch_self_test(void)
{
	return (struct udp_offloads){ .has_gso = false };
}

#else
/* ISO C wants a declaration in every translation unit. */
extern int udp_portable_is_empty;
#endif

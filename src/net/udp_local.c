/* SPDX-License-Identifier: MIT */
#include "net/udp_local.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/uio.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "base/list.h"
#include "net/clock.h"
#include "net/convert.h"
#include "net/fds.h"
#include "net/udp_batch.h"
#include "net/udp_bind.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum {
	SLOTS = 32, /* arrivals of one call */
	SLOT_SIZE = 65536,
	QUEUE_MAX = 128,   /* datagrams gathered */
	SEGMENTS_MAX = 64, /* of one send with UDP_SEGMENT: what every kernel takes */
	SEGMENT_SIZE_MAX =
		1452,      /* larger ones may have to be cut by IP, which a train may not be */
	TRAIN_MAX = 65000, /* bytes of it */
	LEFTOVERS_MAX = 3, /* tries before an error counts as this datagram's own */
	BOUND_BUFFER = 4 * 1024 * 1024,     /* many clients: 1 Gbit/s for 30 ms */
	CONNECTED_BUFFER = 2 * 1024 * 1024, /* one target's answers */
	ERRORS_MAX = 16,                    /* sockets with errors to be told, of one flush */
};

/* The address it was sent to, and UDP_GRO; or the address to send from, and UDP_SEGMENT. */
#define CONTROL_SIZE (CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int)))

struct waiting {
	struct udp_local *u;
	const struct udp_dest *dest;
	struct iovec piece;
};

struct udp_set {
	uv_loop_t *loop;
	struct udp_offloads can;
	uint8_t *bytes; /* SLOTS of SLOT_SIZE */
	struct mmsghdr in[SLOTS];
	struct iovec in_pieces[SLOTS];
	struct sockaddr_storage in_from[SLOTS];
	_Alignas(struct cmsghdr) uint8_t in_control[SLOTS][CONTROL_SIZE];
	struct waiting queue[QUEUE_MAX];
	unsigned count;
	struct mmsghdr out[QUEUE_MAX];
	struct iovec out_pieces[QUEUE_MAX];
	_Alignas(struct cmsghdr) uint8_t out_control[QUEUE_MAX][CONTROL_SIZE];
	struct udp_local *errors[ERRORS_MAX];
	unsigned error_count;
	struct list sockets; /* not those that are closing */
	uv_timer_t timer;    /* of 0 ms: errors are told from the loop */
	bool is_closed;
	struct udp_set_counters counters;
};

struct udp_local {
	uv_poll_t poll;
	struct list node;
	struct udp_set *set;
	struct udp_local_events events;
	void *ctx;
	void (*on_closed)(void *ctx);
	void *closed_ctx;
	struct addr local;
	int fd;
	int error;         /* to be told */
	bool is_connected; /* else bound */
	bool is_wildcard;
	bool has_gso;
	bool is_paused;
	bool is_closing;
};

/* ---- the set ---- */

int udp_set_open(uv_loop_t *loop, struct udp_set **out)
{
	struct udp_set *set = cv_zalloc(sizeof(*set));

	if (!set)
		return -ENOMEM;
	set->loop = loop;
	list_init(&set->sockets);
	set->bytes = cv_zalloc((size_t)SLOTS * SLOT_SIZE);
	if (!set->bytes) {
		cv_free(set);
		return -ENOMEM;
	}
	set->can = udp_batch_self_test();
	(void)uv_timer_init(loop, &set->timer); /* never fails */
	set->timer.data = set;
	for (unsigned i = 0; i < SLOTS; i++) {
		set->in_pieces[i].iov_base = set->bytes + (size_t)i * SLOT_SIZE;
		set->in_pieces[i].iov_len = SLOT_SIZE;
		set->in[i].msg_hdr.msg_iov = &set->in_pieces[i];
		set->in[i].msg_hdr.msg_iovlen = 1;
		set->in[i].msg_hdr.msg_name = &set->in_from[i];
		set->in[i].msg_hdr.msg_control = set->in_control[i];
	}
	*out = set;
	return 0;
}

void udp_set_close(struct udp_set *set)
{
	udp_set_flush(set);
	set->is_closed = true;
	uv_close((uv_handle_t *)&set->timer, NULL);
}

void udp_set_free(struct udp_set *set)
{
	if (!set)
		return;
	CV_ASSERT(set->count == 0 && set->is_closed);
	cv_free(set->bytes);
	cv_free(set);
}

void udp_set_counters(const struct udp_set *set, struct udp_set_counters *out)
{
	*out = set->counters;
}

bool udp_set_has(const struct udp_set *set, const struct addr *from)
{
	for (struct list *at = set->sockets.next; at != &set->sockets; at = at->next) {
		const struct addr *a = &list_entry(at, struct udp_local, node)->local;

		if (a->port == from->port &&
		    (addr_equal_ip(a, from) ||
		     (a->family == from->family && addr_is_unspecified(a))))
			return true;
	}
	return false;
}

/* ---- in ---- */

/* At most SLOTS datagrams, or coalesced buffers of them. */
static int receive(struct udp_local *u)
{
	struct udp_set *set = u->set;
	int n;

	for (unsigned i = 0; i < SLOTS; i++) {
		set->in[i].msg_hdr.msg_namelen = sizeof(set->in_from[i]);
		set->in[i].msg_hdr.msg_controllen = CONTROL_SIZE;
		set->in[i].msg_hdr.msg_flags = 0;
	}
#ifdef __linux__
	n = recvmmsg(u->fd, set->in, SLOTS, MSG_DONTWAIT, NULL);
#else
	{
		ssize_t size = recvmsg(u->fd, &set->in[0].msg_hdr, MSG_DONTWAIT);

		n = size < 0 ? -1 : 1;
		set->in[0].msg_len = size < 0 ? 0 : (unsigned)size;
	}
#endif
	set->counters.rx_calls++;
	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	return n;
}

/* What the kernel says beside the bytes. */
struct beside {
	struct addr to;
	size_t segment; /* 0: the datagram is alone */
};

static struct beside read_control(struct msghdr *msg)
{
	struct beside out = { .segment = 0 };

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		int size;

		if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO &&
		    c->cmsg_len >= CMSG_LEN(sizeof(size))) {
			memcpy(&size, CMSG_DATA(c), sizeof(size));
			out.segment = size > 0 ? (size_t)size : 0;
		}
#ifdef IP_PKTINFO
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;
			uint8_t ip[4];

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			memcpy(ip, &info.ipi_addr, sizeof(ip));
			out.to = addr_v4(ip[0], ip[1], ip[2], ip[3], 0);
		}
#endif
		if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(c), sizeof(info));
			out.to = (struct addr){ .family = ADDR_V6 };
			memcpy(out.to.ip, &info.ipi6_addr, sizeof(out.to.ip));
			if (addr_class(&out.to) == ADDR_CLASS_LINK_LOCAL)
				out.to.scope = info.ipi6_ifindex;
		}
	}
	return out;
}

/* Hands out what slot @i holds. False: the socket was closed meanwhile. */
static bool deliver(struct udp_local *u, cv_time now, unsigned i, unsigned *datagrams)
{
	struct udp_set *set = u->set;
	struct msghdr *msg = &set->in[i].msg_hdr;
	size_t size = set->in[i].msg_len, at = 0, step;
	struct beside beside = read_control(msg);
	struct addr from = { .family = ADDR_NONE };
	struct udp_local_arrival in = { .now = now, .from = &from, .to = &beside.to };

	if (msg->msg_flags & MSG_TRUNC)
		return true;
	from = convert_from_sockaddr((const struct sockaddr *)&set->in_from[i], msg->msg_namelen);
	if (from.family == ADDR_NONE && !u->is_connected)
		return true;
	step = beside.segment && beside.segment < size ? beside.segment : size;
	do {
		in.bytes = set->bytes + (size_t)i * SLOT_SIZE + at;
		in.size = CV_MIN(step, size - at);
		at += in.size;
		++*datagrams;
		set->counters.rx_datagrams++;
		u->events.on_datagram(u->ctx, &in);
		if (u->is_closing)
			return false;
	} while (at < size);
	return true;
}

static void tell_error(struct udp_local *u, int error)
{
	if (u->is_connected && !u->is_closing)
		u->events.on_error(u->ctx, error);
}

/* As much as other sockets can wait for. */
static void read_some(struct udp_local *u)
{
	cv_time began = clock_now(), now = began;
	unsigned datagrams = 0;
	int n;

	do {
		n = receive(u);
		for (int i = 0; i < n; i++) {
			if (!deliver(u, now, (unsigned)i, &datagrams))
				return;
		}
		if (n > 0)
			u->events.on_batch(u->ctx);
		now = clock_now();
	} while (n == SLOTS && !u->is_paused && !u->is_closing && datagrams < READ_BURST_MAX &&
	         cv_time_since(now, began) < READ_BURST_TIME);
	if (n < 0 && n != -EAGAIN)
		tell_error(u, n);
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct udp_local *u)
{
	int r = uv_poll_start(&u->poll, UV_READABLE, on_poll);

	CV_ASSERT(r == 0); /* fails only for a handle that is closing */
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct udp_local *u = poll->data;
	int error;

	(void)events;
	if (status >= 0) {
		read_some(u);
		return;
	}
	/* libuv has stopped it for a POLLERR: ICMP. */
	error = fds_take_error(u->fd);
	if (!u->is_paused)
		watch(u);
	if (error)
		tell_error(u, error);
}

void udp_local_pause(struct udp_local *u, bool is_paused)
{
	if (u->is_paused == is_paused || u->is_closing)
		return;
	u->is_paused = is_paused;
	if (is_paused)
		(void)uv_poll_stop(&u->poll);
	else
		watch(u);
}

/* ---- out ---- */

struct udp_dest udp_dest_make(const struct addr *to, const struct addr *from)
{
	struct udp_dest d = { .from = *from };

	d.to_size = convert_to_sockaddr(to, &d.to);
	return d;
}

static struct cmsghdr *put_control(struct msghdr *msg, size_t *used, int level, int type,
                                   size_t size)
{
	struct cmsghdr *c = (void *)((uint8_t *)msg->msg_control + *used);

	c->cmsg_level = level;
	c->cmsg_type = type;
	c->cmsg_len = CMSG_LEN(size);
	*used += CMSG_SPACE(size);
	return c;
}

static void put_source(struct msghdr *msg, size_t *used, const struct addr *from)
{
	if (from->family == ADDR_V6) {
		struct in6_pktinfo info = { .ipi6_ifindex = from->scope };

		memcpy(&info.ipi6_addr, from->ip, sizeof(info.ipi6_addr));
		memcpy(CMSG_DATA(put_control(msg, used, IPPROTO_IPV6, IPV6_PKTINFO, sizeof(info))),
		       &info, sizeof(info));
	}
#ifdef IP_PKTINFO
	if (from->family == ADDR_V4) {
		struct in_pktinfo info = { .ipi_ifindex = 0 };

		memcpy(&info.ipi_spec_dst, from->ip, sizeof(info.ipi_spec_dst));
		memcpy(CMSG_DATA(put_control(msg, used, IPPROTO_IP, IP_PKTINFO, sizeof(info))),
		       &info, sizeof(info));
	}
#endif
}

/* How many of the datagrams from @i on may leave as one train: same way, same size; the last may be
 * smaller. */
static unsigned train_length(const struct udp_set *set, unsigned i, unsigned end)
{
	const struct waiting *first = &set->queue[i];
	size_t size = first->piece.iov_len, total = size;
	unsigned n = 1;

	if (!first->u->has_gso || size == 0 || size > SEGMENT_SIZE_MAX)
		return 1;
	while (i + n < end && n < SEGMENTS_MAX) {
		const struct waiting *w = &set->queue[i + n];

		if (w->dest != first->dest || w->piece.iov_len == 0 || w->piece.iov_len > size ||
		    total + w->piece.iov_len > TRAIN_MAX)
			break;
		total += w->piece.iov_len;
		n++;
		if (w->piece.iov_len < size)
			break;
	}
	return n;
}

/* One message for @n datagrams from @i on. */
static void fill_message(struct udp_set *set, unsigned message, unsigned i, unsigned n)
{
	struct waiting *w = &set->queue[i];
	struct msghdr *msg = &set->out[message].msg_hdr;
	uint16_t segment = (uint16_t)w->piece.iov_len;
	size_t used = 0;

	*msg = (struct msghdr){ .msg_iov = &set->out_pieces[i], .msg_iovlen = n };
	for (unsigned k = 0; k < n; k++)
		set->out_pieces[i + k] = set->queue[i + k].piece;
	msg->msg_control = set->out_control[message];
	if (w->dest) {
		/* The kernel only reads it. */
		msg->msg_name = (void *)(uintptr_t)&w->dest->to;
		msg->msg_namelen = w->dest->to_size;
		put_source(msg, &used, &w->dest->from);
	}
	if (n > 1)
		memcpy(CMSG_DATA(put_control(msg, &used, SOL_UDP, UDP_SEGMENT, sizeof(segment))),
		       &segment, sizeof(segment));
	if (used == 0)
		msg->msg_control = NULL;
	msg->msg_controllen = used;
}

static void on_errors(uv_timer_t *timer)
{
	struct udp_set *set = timer->data;

	while (set->error_count > 0) {
		struct udp_local *u = set->errors[--set->error_count];
		int error = u->error;

		u->error = 0;
		tell_error(u, error);
	}
}

/* Remembers it: whoever sends is in the middle of something. */
static void note_error(struct udp_local *u, int error)
{
	struct udp_set *set = u->set;

	if (!u->is_connected || u->error || set->error_count == ERRORS_MAX)
		return;
	u->error = error;
	set->errors[set->error_count++] = u;
	if (!set->is_closed)
		(void)uv_timer_start(&set->timer, on_errors, 0, 0); /* never fails here */
}

static int send_messages(const struct udp_local *u, struct mmsghdr *msgs, unsigned count)
{
	int n;

#ifdef __linux__
	n = sendmmsg(u->fd, msgs, count, MSG_DONTWAIT | MSG_NOSIGNAL);
#else
	(void)count;
	n = sendmsg(u->fd, &msgs[0].msg_hdr, MSG_DONTWAIT) < 0 ? -1 : 1;
#endif
	return n < 0 ? -errno : n;
}

/* Sends the datagrams [@i, @end) of one socket. */
static void send_run(struct udp_set *set, unsigned i, unsigned end)
{
	struct udp_local *u = set->queue[i].u;
	unsigned count = 0, done = 0, tries = 0, at = i;
	int r;

	for (unsigned n; at < end; at += n) {
		n = train_length(set, at, end);
		fill_message(set, count++, at, n);
	}
	while (done < count) {
		size_t pieces = set->out[done].msg_hdr.msg_iovlen;

		set->counters.tx_calls++;
		r = send_messages(u, &set->out[done], count - done);
		if (r > 0) {
			for (int k = 0; k < r; k++)
				i += (unsigned)set->out[done++].msg_hdr.msg_iovlen;
			tries = 0;
			continue;
		}
		if (pieces > 1 && (r == -EIO || r == -EINVAL || r == -EMSGSIZE)) {
			/* No train by this way: one by one, here and from now on. */
			u->has_gso = false;
			send_run(set, i, end);
			return;
		}
		/* What ICMP left behind fails a call for any datagram, once. */
		if (r == -ECONNREFUSED)
			note_error(u, r);
		if (r != -EAGAIN && r != -ENOBUFS && ++tries < LEFTOVERS_MAX)
			continue;
		if (r != -EAGAIN && r != -ENOBUFS)
			note_error(u, r);
		set->counters.tx_dropped += pieces;
		i += (unsigned)pieces;
		done++;
		tries = 0;
	}
}

void udp_set_flush(struct udp_set *set)
{
	unsigned at = 0, end;

	for (; at < set->count; at = end) {
		for (end = at + 1; end < set->count; end++) {
			if (set->queue[end].u != set->queue[at].u)
				break;
		}
		send_run(set, at, end);
	}
	set->counters.tx_datagrams += set->count;
	set->count = 0;
}

void udp_local_send(struct udp_local *u, const struct udp_dest *dest, const uint8_t *bytes,
                    size_t size)
{
	struct udp_set *set = u->set;

	CV_ASSERT(u->is_connected == !dest);
	if (u->is_closing)
		return;
	if (set->count == QUEUE_MAX)
		udp_set_flush(set);
	set->queue[set->count++] = (struct waiting){
		.u = u,
		.dest = dest,
		.piece = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = size },
	};
}

/* ---- life ---- */

static int make(struct udp_set *set, uint8_t family, const struct udp_local_events *events,
                void *ctx, struct udp_local **out)
{
	struct udp_local *u = cv_zalloc(sizeof(*u));
	int fd;

	if (!u)
		return -ENOMEM;
	fd = fds_socket(family == ADDR_V4 ? AF_INET : AF_INET6, SOCK_DGRAM, 0);
	if (fd < 0) {
		cv_free(u);
		return fd;
	}
	u->set = set;
	u->fd = fd;
	u->events = *events;
	u->ctx = ctx;
	u->has_gso = set->can.has_gso;
	if (set->can.has_gro)
		fds_option(fd, SOL_UDP, UDP_GRO, 1);
	*out = u;
	return 0;
}

static void unmake(struct udp_local *u)
{
	fds_close(&u->fd);
	cv_free(u);
}

static int start(struct udp_local *u, struct udp_local **out)
{
	int r = uv_poll_init_socket(u->set->loop, &u->poll, u->fd);

	if (r < 0) {
		unmake(u);
		return r;
	}
	u->poll.data = u;
	u->local = fds_local(u->fd);
	list_init(&u->node);
	list_add_tail(&u->set->sockets, &u->node);
	watch(u);
	*out = u;
	return 0;
}

int udp_local_bind(struct udp_set *set, const struct addr *at,
                   const struct udp_local_events *events, void *ctx, struct udp_local **out)
{
	struct sockaddr_storage sa;
	socklen_t size = convert_to_sockaddr(at, &sa);
	struct udp_local *u;
	int r = make(set, at->family, events, ctx, &u);

	if (r < 0)
		return r;
	u->is_wildcard = addr_is_unspecified(at);
	if (at->family == ADDR_V6)
		fds_option(u->fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	if (bind(u->fd, (struct sockaddr *)&sa, size) < 0) {
		r = -errno;
		unmake(u);
		return r;
	}
	udp_bind_set_buffers(u->fd, BOUND_BUFFER);
	/* An answer must come from the address that was asked. */
#ifdef IP_PKTINFO
	if (u->is_wildcard && at->family == ADDR_V4)
		fds_option(u->fd, IPPROTO_IP, IP_PKTINFO, 1);
#endif
	if (u->is_wildcard && at->family == ADDR_V6)
		fds_option(u->fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1);
	return start(u, out);
}

int udp_local_connect(struct udp_set *set, const struct addr *to,
                      const struct udp_local_events *events, void *ctx, struct udp_local **out)
{
	struct sockaddr_storage sa;
	socklen_t size = convert_to_sockaddr(to, &sa);
	struct udp_local *u;
	int r = make(set, to->family, events, ctx, &u);

	if (r < 0)
		return r;
	u->is_connected = true;
	if (connect(u->fd, (struct sockaddr *)&sa, size) < 0) {
		r = -errno;
		unmake(u);
		return r;
	}
	udp_bind_set_buffers(u->fd, CONNECTED_BUFFER);
	return start(u, out);
}

struct addr udp_local_address(const struct udp_local *u)
{
	return u->local;
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct udp_local *u = handle->data;

	fds_close(&u->fd);
	if (u->on_closed)
		u->on_closed(u->closed_ctx);
	cv_free(u);
}

void udp_local_close(struct udp_local *u, void (*on_closed)(void *ctx), void *ctx)
{
	struct udp_set *set = u->set;

	CV_ASSERT(!u->is_closing);
	udp_set_flush(set);
	list_remove(&u->node);
	u->is_closing = true;
	for (unsigned i = 0; i < set->error_count; i++) {
		if (set->errors[i] == u)
			set->errors[i--] = set->errors[--set->error_count];
	}
	u->on_closed = on_closed;
	u->closed_ctx = ctx;
	uv_close((uv_handle_t *)&u->poll, on_handle_closed);
}

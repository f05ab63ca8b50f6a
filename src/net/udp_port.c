/* SPDX-License-Identifier: MIT */

/*
 * One iteration of the loop, as this file uses it:
 *
 *	timers -> prepare: pump what timers and closings made dirty
 *	       -> poll:    UDP and TCP sockets are read, cores are fed, ports become dirty
 *	       -> check:   pump
 *
 * Pumping in the poll phase would send a train for every socket that was read; by the check
 * phase everything that arrived together leaves together.
 *
 * What a pump leaves undone (too many trains, events without end) must not wait for the
 * next packet: the deadline is then `now`, and the loop comes back after it has looked at
 * the other sockets.
 *
 * libuv stops a poll on POLLERR (status UV_EBADF), and every ICMP error is one. The pending
 * error is cleared, the error queue emptied, the poll started again; else the port is deaf,
 * or the loop spins.
 */
#include "net/udp_port.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "net/clock.h"
#include "net/deadline.h"
#include "net/fds.h"
#include "net/udp_batch.h"
#include "net/udp_bind.h"

enum {
	ROUNDS_MAX = 8,              /* events and writes that cause each other, per pump */
	TRAINS_MAX = 64,             /* per pump, so that small ones do not cost a turn each */
	PUMP_BYTES_MAX = 256 * 1024, /* per pump: 0.2 ms of sealing and sending, then others */
	ERRORS_MAX = 64,             /* ICMP errors per wake-up */
	RETRIES_MAX = 4,             /* pending errors that come instead of a read */
};
/* A device's queue of 1,000 full packets drains within 12 ms at 1 Gbit/s: a part of that. */
#define CONGESTED_DELAY CV_MS(1)

struct port_socket {
	struct udp_socket s;
	uv_poll_t poll;
	struct udp_port *port;
	bool wants_write;
};

struct udp_port {
	struct udp_core core;
	struct port_socket sockets[UDP_PORT_SOCKETS_MAX];
	unsigned count;
	struct port_socket *extras[SOCKETS_EXTRA_MAX]; /* owned; by number less SOCKET_EXTRA */
	uv_loop_t *loop;
	struct udp_offloads offloads;
	uv_prepare_t prepare;
	uv_check_t check;
	struct deadline timer;
	unsigned handles_open;

	bool is_dirty;   /* something happened that a pump has to look at */
	bool is_turn;    /* on_turn was called in this iteration */
	bool is_pumping; /* only to see misuse */
	bool has_train;  /* one that the kernel refused */
	bool is_closing;
	cv_time due_at;   /* what the core said last */
	cv_time retry_at; /* for a congested device; CV_TIME_NEVER: none */
	struct train train;
	size_t train_offset;
	uint8_t *tx_bytes; /* TRAIN_BYTES_MAX */
	uint8_t *rx_bytes; /* UDP_BATCH_BYTES */
	struct udp_port_counters counters;
	void (*on_closed)(void *ctx);
	void *closed_ctx;
};

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct port_socket *ps)
{
	int r = uv_poll_start(&ps->poll, UV_READABLE | (ps->wants_write ? UV_WRITABLE : 0),
	                      on_poll);

	CV_ASSERT(r == 0); /* fails only for a handle that is closing */
}

static void begin_turn(struct udp_port *port, cv_time now)
{
	if (port->is_turn)
		return;
	port->is_turn = true;
	if (port->core.on_turn)
		port->core.on_turn(port->core.ctx, now);
}

/* ---- Reading ---- */

static void drain_errors(struct port_socket *ps, cv_time now)
{
	struct udp_port *port = ps->port;
	struct udp_error error;

	for (int i = 0; i < ERRORS_MAX && udp_batch_next_error(&ps->s, &error); i++) {
		if (!error.is_refused || error.to.family == ADDR_NONE)
			continue;
		port->counters.refused++;
		if (port->core.on_refused)
			port->core.on_refused(port->core.ctx, now, ps->s.index, &error.to);
	}
}

static void settle(struct udp_port *port, cv_time now)
{
	if (!port->core.settle)
		return;
	CV_ASSERT(!port->is_pumping);
	port->is_pumping = true; /* nor may this close the port */
	port->core.settle(port->core.ctx, now);
	port->is_pumping = false;
}

void udp_port_feed(struct udp_port *port, cv_time now, struct arrival *in)
{
	CV_ASSERT(!port->is_pumping);
	begin_turn(port, now);
	port->is_dirty = true;
	port->core.on_arrival(port->core.ctx, now, in);
}

void udp_port_settle(struct udp_port *port, cv_time now)
{
	settle(port, now);
}

static unsigned feed(struct udp_port *port, cv_time now, struct udp_received *in)
{
	uint64_t before = port->counters.rx_packets;
	struct arrival *a;

	port->counters.rx_calls++;
	port->counters.rx_truncated += in->truncated;
	for (unsigned i = 0; i < in->count; i++) {
		a = &in->arrivals[i];
		port->counters.rx_bytes += a->size;
		port->counters.rx_packets += (a->size + a->segment_size - 1) / a->segment_size;
		a->stays = port->core.settle != NULL;
		port->core.on_arrival(port->core.ctx, now, a);
	}
	settle(port, now);
	return (unsigned)(port->counters.rx_packets - before);
}

static void read_some(struct port_socket *ps, cv_time now)
{
	struct udp_received in;
	unsigned packets = 0, retries = 0;
	int r;

	while (packets < READ_BURST_MAX && cv_time_since(clock_now(), now) < READ_BURST_TIME) {
		r = udp_batch_receive(&ps->s, ps->port->rx_bytes, &in);
		if (r == -EAGAIN)
			return;
		if (r < 0) {
			/* An ICMP error came instead of a datagram, and is cleared by that. */
			drain_errors(ps, now);
			if (++retries > RETRIES_MAX)
				return;
			continue;
		}
		packets += feed(ps->port, now, &in);
		if (!in.is_full)
			return;
	}
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct port_socket *ps = poll->data;
	struct udp_port *port = ps->port;
	cv_time now = clock_now();

	begin_turn(port, now);
	port->is_dirty = true;
	if (status < 0) {
		port->counters.poll_errors++;
		(void)fds_take_error(ps->s.fd); /* it is in the queue too, with its address */
		drain_errors(ps, now);
	}
	if (status < 0 || (events & UV_READABLE))
		read_some(ps, now);
	if (status < 0 || (events & UV_WRITABLE)) {
		ps->wants_write = false; /* the pump asks again if it has to */
		watch(ps);
	}
}

/* ---- Writing ---- */

static struct port_socket *socket_for(struct udp_port *port, const struct train *t)
{
	struct port_socket *other = NULL;

	if (t->socket >= SOCKET_EXTRA)
		return t->socket < SOCKET_EXTRA + SOCKETS_EXTRA_MAX && t->to.family == ADDR_V4
		               ? port->extras[t->socket - SOCKET_EXTRA]
		               : NULL;
	for (unsigned i = 0; i < port->count; i++) {
		if (port->sockets[i].s.family != t->to.family)
			continue;
		if (port->sockets[i].s.index == t->socket)
			return &port->sockets[i];
		if (!other)
			other = &port->sockets[i];
	}
	return other;
}

static void gso_off(struct udp_port *port, uint8_t family)
{
	for (unsigned i = 0; i < port->count; i++) {
		if (port->sockets[i].s.family == family)
			port->sockets[i].s.has_gso = false;
	}
	log_warn("kernel refuses segmentation offload, sending single datagrams family=ipv%u",
	         (unsigned)family);
}

static void count_sent(struct udp_port *port, size_t from, size_t to)
{
	size_t size = port->train.segment_size;

	port->counters.tx_bytes += to - from;
	port->counters.tx_packets += (to - from + size - 1) / size;
}

/* One call to the kernel (or several, for single datagrams), and what it says. */
static enum udp_sent send_part(struct udp_port *port, struct port_socket *ps, cv_time now)
{
	size_t before = port->train_offset, failed;
	bool had_gso = ps->s.has_gso;
	enum udp_sent sent;

	sent = udp_batch_send(&ps->s, &port->train, &port->train_offset, &failed,
	                      &port->counters.tx_calls);
	if (had_gso && !ps->s.has_gso)
		gso_off(port, ps->s.family);
	count_sent(port, before, port->train_offset - failed);
	if (sent == UDP_TOO_LARGE) {
		port->counters.tx_too_large++;
		if (port->core.on_too_large)
			port->core.on_too_large(port->core.ctx, now, ps->s.index, &port->train.to,
			                        CV_MIN(failed, port->train.segment_size));
	}
	if (sent == UDP_LOST)
		port->counters.tx_errors++;
	return sent;
}

static void wait_for_room(struct udp_port *port, struct port_socket *ps, enum udp_sent why,
                          cv_time now)
{
	port->counters.tx_blocked++;
	if (why == UDP_CONGESTED) {
		port->retry_at = cv_time_after(now, CONGESTED_DELAY);
	} else if (!ps->wants_write) {
		ps->wants_write = true;
		watch(ps);
	}
}

/* False when the train, or the rest of it, has to wait. */
static bool send_train(struct udp_port *port, cv_time now)
{
	struct port_socket *ps;
	enum udp_sent sent;

	if (port->train.socket == SOCKET_TCP) {
		if (port->core.send_tcp)
			port->core.send_tcp(port->core.ctx, now, &port->train);
		port->has_train = false;
		return true;
	}
	ps = socket_for(port, &port->train);
	if (!ps) {
		port->counters.tx_errors++;
		port->has_train = false; /* to the core it is loss */
		return true;
	}
	while (port->train_offset < port->train.size) {
		sent = send_part(port, ps, now);
		if (sent == UDP_BLOCKED || sent == UDP_CONGESTED) {
			wait_for_room(port, ps, sent, now);
			return false;
		}
	}
	port->has_train = false;
	return true;
}

static bool next_train(struct udp_port *port, cv_time now)
{
	struct train *t = &port->train;

	*t = (struct train){ .bytes = port->tx_bytes };
	port->train_offset = 0;
	if (!port->core.write(port->core.ctx, now, t))
		return false;
	CV_ASSERT(t->bytes == port->tx_bytes);
	CV_ASSERT(t->size > 0 && t->size <= TRAIN_BYTES_MAX);
	CV_ASSERT(t->segment_size > 0 && t->segment_size <= t->size);
	CV_ASSERT((t->size + t->segment_size - 1) / t->segment_size <= TRAIN_SEGMENTS_MAX);
	CV_ASSERT(t->to.family == ADDR_V4 || t->to.family == ADDR_V6);
	port->has_train = true;
	return true;
}

static bool is_waiting(struct udp_port *port)
{
	if (!port->has_train)
		return false;
	if (port->retry_at != CV_TIME_NEVER)
		return true;
	/* Only the kept train waits, for one socket. */
	return socket_for(port, &port->train) && socket_for(port, &port->train)->wants_write;
}

/* False when the budget ended it. */
static bool write_trains(struct udp_port *port, cv_time now)
{
	uint64_t end = port->counters.tx_bytes + PUMP_BYTES_MAX;

	if (port->retry_at <= now)
		port->retry_at = CV_TIME_NEVER;
	for (unsigned i = 0; i < TRAINS_MAX && port->counters.tx_bytes < end; i++) {
		if (is_waiting(port) || (!port->has_train && !next_train(port, now)) ||
		    !send_train(port, now))
			return true;
	}
	return false;
}

/* ---- The pump ---- */

static void arm_timer(struct udp_port *port, cv_time now, bool is_unfinished)
{
	cv_time at;

	port->due_at = port->core.deadline(port->core.ctx);
	at = is_unfinished ? now : port->due_at;
	/* A core that may not write may want to at once, for ever. */
	if (is_waiting(port))
		at = CV_MAX(at, cv_time_after(now, CONGESTED_DELAY));
	deadline_arm(&port->timer, now, cv_time_min(at, port->retry_at));
}

static void pump(struct udp_port *port)
{
	cv_time now = clock_now();
	bool is_done = true, has_event = false;

	CV_ASSERT(!port->is_pumping);
	port->is_pumping = true;
	begin_turn(port, now);
	if (port->due_at <= now)
		port->core.on_deadline(port->core.ctx, now);
	for (int round = 0; round < ROUNDS_MAX; round++) {
		port->is_dirty = false;
		has_event = port->core.drain_events && port->core.drain_events(port->core.ctx, now);
		is_done = write_trains(port, now);
		if (!is_done || (!has_event && !port->is_dirty))
			break;
	}
	arm_timer(port, now, !is_done || has_event || port->is_dirty);
	port->is_dirty = false;
	port->is_turn = false;
	port->is_pumping = false;
}

static void on_prepare(uv_prepare_t *handle)
{
	struct udp_port *port = handle->data;

	if (port->is_dirty)
		pump(port);
}

static void on_check(uv_check_t *handle)
{
	struct udp_port *port = handle->data;

	if (port->is_dirty)
		pump(port);
}

static void on_due(void *ctx)
{
	struct udp_port *port = ctx;

	begin_turn(port, clock_now());
	port->is_dirty = true;
}

void udp_port_kick(struct udp_port *port)
{
	port->is_dirty = true;
}

bool udp_port_flush(struct udp_port *port)
{
	cv_time now = clock_now();
	bool is_done = false;

	CV_ASSERT(!port->is_pumping);
	begin_turn(port, now);
	for (int round = 0; round < ROUNDS_MAX && !is_done; round++)
		is_done = write_trains(port, now);
	port->is_dirty = true;
	return is_done && !port->has_train;
}

/* ---- Life ---- */

static void free_port(struct udp_port *port)
{
	cv_free(port->tx_bytes);
	cv_free(port->rx_bytes);
	cv_free(port);
}

static void release(struct udp_port *port)
{
	CV_ASSERT(port->handles_open > 0);
	if (--port->handles_open > 0)
		return;
	if (port->on_closed)
		port->on_closed(port->closed_ctx);
	free_port(port);
}

static void on_handle_closed(uv_handle_t *handle)
{
	release(handle->data);
}

static void on_poll_closed(uv_handle_t *handle)
{
	struct port_socket *ps = handle->data;

	release(ps->port);
}

static void on_timer_closed(void *ctx)
{
	release(ctx);
}

static bool gso_is_wanted(const struct udp_port_options *opt)
{
	const char *text = getenv("CULVERT_UDP_GSO");

	return !opt->without_gso && !(text && strcmp(text, "0") == 0);
}

static struct udp_port *new_port(const struct udp_core *core)
{
	struct udp_port *port = cv_zalloc(sizeof(*port));

	if (!port)
		return NULL;
	port->core = *core;
	port->due_at = port->retry_at = CV_TIME_NEVER;
	port->tx_bytes = cv_zalloc_aligned(TRAIN_BYTES_MAX, 64);
	port->rx_bytes = cv_zalloc_aligned(UDP_BATCH_BYTES, 64);
	if (port->tx_bytes && port->rx_bytes)
		return port;
	free_port(port);
	return NULL;
}

/* Puts a bound socket under libuv; closes it when that fails. */
static int take_socket(struct udp_port *port, struct port_socket *ps, const struct udp_socket *s)
{
	const struct udp_offloads *o = &port->offloads;
	int r;

	ps->s = *s;
	ps->s.has_gso = o->has_gso;
	ps->s.has_ecn = s->family == ADDR_V4 ? o->has_ecn_v4 : o->has_ecn_v6;
	ps->port = port;
	r = uv_poll_init(port->loop, &ps->poll, ps->s.fd);
	if (r < 0) {
		fds_close(&ps->s.fd);
		return r;
	}
	ps->poll.data = ps;
	udp_batch_prepare(&ps->s, o->has_gro);
	port->handles_open++;
	watch(ps);
	return 0;
}

/* All of them, or what is not taken is closed. */
static int take_sockets(struct udp_port *port, struct udp_bound *bound)
{
	int r = 0;

	for (unsigned i = 0; i < bound->count; i++) {
		if (r == 0)
			r = take_socket(port, &port->sockets[port->count], &bound->sockets[i]);
		else
			fds_close(&bound->sockets[i].fd);
		port->count += r == 0;
	}
	return r;
}

int udp_port_open(uv_loop_t *loop, const struct udp_port_options *opt, const struct udp_core *core,
                  struct udp_port **out)
{
	struct udp_offloads offloads = udp_batch_self_test();
	struct udp_bound bound;
	struct udp_port *port;
	int r;

	port = new_port(core);
	if (!port)
		return -ENOMEM;
	r = udp_bind_open(opt, &bound);
	if (r < 0) {
		free_port(port);
		return r;
	}
	offloads.has_gso = offloads.has_gso && gso_is_wanted(opt);
	port->counters.is_gro = offloads.has_gro;
	r = deadline_open(&port->timer, loop, on_due, port);
	if (r < 0) {
		for (unsigned i = 0; i < bound.count; i++)
			fds_close(&bound.sockets[i].fd);
		free_port(port);
		return r;
	}
	r = uv_prepare_init(loop, &port->prepare);
	CV_ASSERT(r == 0); /* libuv's never fail */
	r = uv_check_init(loop, &port->check);
	CV_ASSERT(r == 0);
	port->prepare.data = port;
	port->check.data = port;
	port->handles_open = 3;
	port->loop = loop;
	port->offloads = offloads;
	(void)uv_prepare_start(&port->prepare, on_prepare);
	(void)uv_check_start(&port->check, on_check);
	r = take_sockets(port, &bound);
	if (r < 0) {
		udp_port_close(port, NULL, NULL);
		return r;
	}
	port->is_dirty = true;
	*out = port;
	return 0;
}

unsigned udp_port_places(const struct udp_port *port, struct addr *out, uint16_t *index,
                         unsigned cap)
{
	unsigned count = 0;

	for (uint16_t next = 0; next < UDP_PORT_SOCKETS_MAX; next++) {
		for (unsigned i = 0; i < port->count && count < cap; i++) {
			if (port->sockets[i].s.index != next)
				continue;
			if (index)
				index[count] = next;
			out[count++] = port->sockets[i].s.local;
		}
	}
	return count;
}

unsigned udp_port_local(const struct udp_port *port, struct addr *out, unsigned cap)
{
	return udp_port_places(port, out, NULL, cap);
}

uint16_t udp_port_number(const struct udp_port *port)
{
	return port->sockets[0].s.local.port; /* the first bound has index 0 of its family */
}

uint16_t udp_port_number_at(const struct udp_port *port, const struct addr *own)
{
	struct addr local[UDP_PORT_SOCKETS_MAX];
	unsigned count = udp_port_local(port, local, UDP_PORT_SOCKETS_MAX);

	for (unsigned i = 0; i < count; i++) {
		const struct addr any = { .family = local[i].family };

		if (local[i].family == own->family &&
		    (addr_equal_ip(&local[i], &any) || addr_equal_ip(&local[i], own)))
			return local[i].port;
	}
	return 0;
}

/* ---- sockets beside the main ones ---- */

static void on_extra_closed(uv_handle_t *handle)
{
	struct port_socket *ps = handle->data;
	struct udp_port *port = ps->port;

	cv_free(ps);
	release(port);
}

static int open_extra(struct udp_port *port, uint16_t number)
{
	struct port_socket *ps = cv_zalloc(sizeof(*ps));
	struct udp_socket s;
	int r;

	if (!ps)
		return -ENOMEM;
	r = udp_bind_extra(&s);
	if (r == 0) {
		s.index = number;
		r = take_socket(port, ps, &s);
	}
	if (r < 0) {
		cv_free(ps);
		return r;
	}
	port->extras[number - SOCKET_EXTRA] = ps;
	return 0;
}

unsigned udp_port_open_extras(struct udp_port *port, uint16_t first, unsigned count,
                              uint16_t *numbers)
{
	CV_ASSERT(first >= SOCKET_EXTRA && first + count <= SOCKET_EXTRA + SOCKETS_EXTRA_MAX);
	for (unsigned i = 0; i < count; i++) {
		uint16_t number = (uint16_t)(first + i);

		CV_ASSERT(!port->extras[number - SOCKET_EXTRA]);
		if (port->is_closing || open_extra(port, number) < 0)
			return i;
		numbers[i] = port->extras[number - SOCKET_EXTRA]->s.local.port;
	}
	return count;
}

void udp_port_close_extra(struct udp_port *port, uint16_t number)
{
	struct port_socket **at;

	CV_ASSERT(number >= SOCKET_EXTRA && number < SOCKET_EXTRA + SOCKETS_EXTRA_MAX);
	at = &port->extras[number - SOCKET_EXTRA];
	if (!*at)
		return;
	uv_close((uv_handle_t *)&(*at)->poll, on_extra_closed);
	fds_close(&(*at)->s.fd);
	*at = NULL;
}

void udp_port_close(struct udp_port *port, void (*on_closed)(void *ctx), void *ctx)
{
	CV_ASSERT(!port->is_closing);
	CV_ASSERT(!port->is_pumping);
	port->is_closing = true;
	port->on_closed = on_closed;
	port->closed_ctx = ctx;
	uv_close((uv_handle_t *)&port->prepare, on_handle_closed);
	uv_close((uv_handle_t *)&port->check, on_handle_closed);
	deadline_close(&port->timer, on_timer_closed);
	for (unsigned i = 0; i < port->count; i++) {
		uv_close((uv_handle_t *)&port->sockets[i].poll, on_poll_closed);
		fds_close(&port->sockets[i].s.fd);
	}
	for (unsigned i = 0; i < SOCKETS_EXTRA_MAX; i++)
		udp_port_close_extra(port, (uint16_t)(SOCKET_EXTRA + i));
}

void udp_port_counters(const struct udp_port *port, struct udp_port_counters *out)
{
	*out = port->counters;
	for (unsigned i = 0; i < port->count; i++) {
		const struct udp_socket *s = &port->sockets[i].s;

		if (s->family == ADDR_V4) {
			out->is_gso_v4 = s->has_gso;
			out->is_ecn_v4 = s->has_ecn;
		} else {
			out->is_gso_v6 = s->has_gso;
			out->is_ecn_v6 = s->has_ecn;
		}
	}
}

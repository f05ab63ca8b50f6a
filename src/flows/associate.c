/* SPDX-License-Identifier: MIT */

/*
 * associate - SOCKS5's UDP ASSOCIATE: datagrams of a client, as long as its connection lives.
 *
 *	client ── UDP socket ──┬─ leg: the default peer's
 *	   └───── TCP ── flow     ├─ leg: of a peer that a route named
 *	                          └─ leg: of a peer's service, whose datagrams carry no address
 *
 * The client hears success when the default peer has accepted its flow, within the same times as
 * for CONNECT. The other legs are opened when the first datagram needs them; one that is refused is
 * tried again after a second at the earliest. The association ends when the connection does, in
 * whatever way, and the connection ends when the default peer's flow does.
 *
 * Whose datagrams count: those from the address that the connection comes from (127.0.0.1 for a
 * unix socket), and from one port of it: that of the request's DST.PORT if it is not 0 and DST.ADDR
 * is that address or zero, else that of the first datagram with a header. A DST.ADDR which is
 * another address is what a client behind a NAT believes of itself, and tells nothing.
 */
#include "flows/associate.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/clock.h"
#include "proxy/udp_header.h"

enum { LEGS_MAX = 16 };
#define ANSWER_TIMEOUT CV_MS(11800)
#define RETRY_INTERVAL CV_SEC(1)

struct leg {
	struct udp_flow udp; /* .stream NULL: none, or refused */
	struct associate *owner;
	bool is_default;
	cv_time retry_at;
	char service[HOST_LABEL_MAX + 1]; /* "": datagrams carry addresses */
	struct hostport asked;            /* of a service: what the client called it last */
};

struct associate {
	struct flow *control;
	struct udp_local *socket;
	struct udp_pause pause;
	uint32_t busy_peer; /* to which the last datagram went, */
	uint64_t busy_flow; /* by which flow */
	struct addr client; /* whose datagrams count; port 0: not known yet */
	struct udp_dest dest;
	uint32_t peer; /* the default one; ROUTE_NO_PEER: none */
	uint32_t proxy_index;
	const struct route_table *routes; /* NULL: the proxy is gone */
	unsigned leg_count;
	struct leg *legs[LEGS_MAX]; /* owned */
	struct log_gate gate;
	uint64_t up, down;
	/* dropped: FRAG, no header, other sources, nobody for it, too large */
	uint64_t fragments, malformed, strangers, unrouted, oversized;
};

static const struct hostport nowhere = { .kind = HOST_NONE };

/* ---- legs ---- */

static struct leg *leg_of(struct udp_flow *f)
{
	return CV_CONTAINER_OF(f, struct leg, udp);
}

static const char *peer_name(const struct associate *a, uint32_t peer)
{
	return peer == ROUTE_NO_PEER ? "-" : a->control->b->peers[peer].name;
}

static void on_leg_end(struct udp_flow *f, cv_time now, enum target_code code)
{
	struct leg *leg = leg_of(f);
	struct associate *a = leg->owner;

	(void)now;
	log_info("association's flow lost peer=%s%s%s cause=\"%s\"", peer_name(a, f->peer),
	         leg->service[0] ? " service=" : "", leg->service, target_code_text(code));
	udp_flow_remove(f, TARGET_ABORTED);
	if (leg->is_default)
		flow_abandon(a->control, TARGET_ABORTED, false);
}

/* The first bytes are the status: accepted. Nothing else means anything but the end. */
static void on_leg_readable(struct udp_flow *f, cv_time now)
{
	if (stream_readable(f->stream) > 0)
		udp_flow_set_deadline(f, CV_TIME_NEVER);
	if (udp_flow_discard(f, now))
		on_leg_end(f, now, TARGET_ABORTED);
}

static void on_leg_deadline(struct udp_flow *f, cv_time now)
{
	on_leg_end(f, now, TARGET_TIMEOUT);
}

/* To the client. */
static void on_leg_datagram(struct udp_flow *f, cv_time now, const uint8_t *bytes, size_t size)
{
	const struct leg *leg = leg_of(f);
	struct associate *a = leg->owner;
	struct rd data = rd_init(bytes, size);
	struct hostport from;
	size_t room;
	struct wr w;

	(void)now;
	if (a->client.port == 0)
		return; /* nobody has asked for anything */
	if (leg->service[0]) {
		from = leg->asked;
	} else if (udp_header_read_tunnel(&data, &from) != UDP_HEADER_DONE) {
		a->malformed++;
		return;
	}
	room = UDP_HEADER_SOCKS5_MAX + rd_left(&data);
	w = wr_init(udp_scratch_keep(f->b, room), room);
	udp_header_write_socks5(&w, &from);
	wr_copy(&w, data.pos, rd_left(&data));
	CV_ASSERT(!w.bad);
	udp_local_send(a->socket, &a->dest, w.start, wr_size(&w));
	a->down++;
}

static const struct udp_flow_ops leg_ops = {
	.on_datagram = on_leg_datagram,
	.on_readable = on_leg_readable,
	.on_end = on_leg_end,
	.on_deadline = on_leg_deadline,
};

static struct leg *new_leg(struct associate *a, uint32_t peer, const char *service)
{
	struct leg *leg = cv_zalloc(sizeof(*leg));

	if (!leg)
		return NULL;
	leg->owner = a;
	leg->udp.b = a->control->b;
	leg->udp.ops = &leg_ops;
	leg->udp.peer = peer;
	memcpy(leg->service, service, strlen(service) + 1);
	return leg;
}

static bool write_request(struct leg *leg)
{
	struct target_request request = { .kind = TARGET_KIND_UDP };
	uint8_t head[TARGET_REQUEST_MAX];
	struct wr w = wr_init(head, sizeof(head));

	if (leg->service[0]) {
		request.to.kind = HOST_SERVICE;
		memcpy(request.to.text, leg->service, sizeof(leg->service));
	}
	target_write_request(&w, &request);
	CV_ASSERT(!w.bad);
	return stream_write(leg->udp.streams, leg->udp.stream, head, wr_size(&w)) == wr_size(&w);
}

/* Opens the stream; datagrams may follow at once. Without success it has none. */
static void open_leg(struct leg *leg, cv_time now)
{
	struct udp_flow *f = &leg->udp;
	struct endpoint *e = f->b->endpoint;

	leg->retry_at = cv_time_after(now, RETRY_INTERVAL);
	endpoint_want_peer(e, now, f->peer);
	endpoint_touch(e, f->peer);
	if (endpoint_peer_state(e, f->peer) == PEER_DOWN)
		return;
	f->streams = endpoint_streams(e, f->peer);
	if (streams_open(f->streams, &f->stream) < 0) {
		f->stream = NULL;
		return;
	}
	if (udp_flow_add(f, now) < 0) {
		stream_release(f->streams, f->stream, TARGET_LIMIT);
		f->stream = NULL;
		return;
	}
	if (!write_request(leg)) {
		udp_flow_remove(f, TARGET_LIMIT);
		return;
	}
	udp_flow_set_deadline(f, cv_time_after(now, ANSWER_TIMEOUT));
}

/* The place for another leg: a new one, or that of one that came to nothing. */
static struct leg **leg_place(struct associate *a)
{
	if (a->leg_count < LEGS_MAX)
		return &a->legs[a->leg_count++];
	for (unsigned i = 0; i < LEGS_MAX; i++) {
		if (a->legs[i] && a->legs[i]->udp.stream)
			continue;
		cv_free(a->legs[i]);
		a->legs[i] = NULL;
		return &a->legs[i];
	}
	return NULL;
}

/* NULL: nobody serves it now. */
static struct leg *find_leg(struct associate *a, cv_time now, uint32_t peer, const char *service)
{
	struct leg *leg = NULL, **place;

	for (unsigned i = 0; i < a->leg_count && !leg; i++) {
		struct leg *l = a->legs[i];

		if (l && l->udp.peer == peer && strcmp(l->service, service) == 0)
			leg = l;
	}
	if (!leg) {
		place = leg_place(a);
		leg = place ? new_leg(a, peer, service) : NULL;
		if (!leg)
			return NULL;
		*place = leg;
	}
	if (!leg->udp.stream && now >= leg->retry_at)
		open_leg(leg, now);
	return leg->udp.stream ? leg : NULL;
}

/* ---- from the client ---- */

static bool is_the_client(struct associate *a, const struct addr *from)
{
	return addr_equal_ip(&a->client, from) &&
	       (a->client.port == 0 || a->client.port == from->port);
}

/* From a socket that this agent opened for a peer: nobody's proxy is open to peers by loopback. */
static bool is_peers_doing(struct associate *a, const struct addr *from)
{
	struct addr ours = udp_local_address(a->socket);

	return (addr_class(from) == ADDR_CLASS_LOOPBACK || addr_equal_ip(from, &ours)) &&
	       udp_set_has(a->control->b->udp.set, from);
}

static void set_client_port(struct associate *a, uint16_t port)
{
	static const struct addr any = { .family = ADDR_NONE };

	a->client.port = port;
	a->dest = udp_dest_make(&a->client, &any);
}

static void send_up(struct associate *a, cv_time now, struct leg *leg, const struct hostport *to,
                    const struct rd *data)
{
	struct bridge *b = a->control->b;
	uint8_t *frame = udp_scratch_frame(b);
	struct wr w = wr_init(frame, UDP_SCRATCH_FRAME);

	if (!leg->service[0])
		udp_header_write_tunnel(&w, to);
	wr_copy(&w, data->pos, rd_left(data));
	CV_ASSERT(!w.bad);
	if (wr_size(&w) > DATAGRAM_SIZE_MAX) {
		a->oversized++;
		return;
	}
	udp_flow_send(&leg->udp, now, frame, wr_size(&w));
	a->busy_peer = leg->udp.peer;
	a->busy_flow = leg->udp.id;
	a->up++;
}

/* Which peer, which flow of it. */
static void route(struct associate *a, cv_time now, const struct hostport *to,
                  const struct rd *data)
{
	struct hostport what = *to;
	uint32_t peer = a->routes ? route_find(a->routes, to, &what) : a->peer;
	bool is_service = what.kind == HOST_SERVICE;
	char text[HOSTPORT_TEXT_MAX];
	struct leg *leg = NULL;
	uint64_t suppressed;

	if (peer != ROUTE_NO_PEER)
		leg = find_leg(a, now, peer, is_service ? what.text : "");
	if (leg) {
		if (is_service)
			leg->asked = *to;
		send_up(a, now, leg, &what, data);
		return;
	}
	a->unrouted++;
	if (log_gate_pass(&a->gate, now, &suppressed))
		log_info("datagram refused peer=%s target=%s cause=\"%s\" suppressed=%llu",
		         peer_name(a, peer), hostport_format(to, text),
		         target_code_text(peer == ROUTE_NO_PEER ? TARGET_NO_ROUTE
		                                                : TARGET_PEER_DOWN),
		         (unsigned long long)suppressed);
}

static void on_datagram(void *ctx, const struct udp_local_arrival *in)
{
	struct associate *a = ctx;
	struct rd data = rd_init(in->bytes, in->size);
	struct hostport to;

	if (!is_the_client(a, in->from)) {
		a->strangers++;
		return;
	}
	switch (udp_header_read_socks5(&data, &to)) {
	case UDP_HEADER_FRAGMENT:
		a->fragments++;
		return;
	case UDP_HEADER_MALFORMED:
		a->malformed++;
		return;
	case UDP_HEADER_DONE:
		break;
	}
	if (a->client.port == 0) {
		if (is_peers_doing(a, in->from)) {
			a->strangers++;
			return;
		}
		set_client_port(a, in->from->port);
	}
	route(a, in->now, &to, &data);
}

static void on_batch(void *ctx)
{
	struct associate *a = ctx;

	udp_flow_after_batch(a->control->b, &a->pause, a->socket, a->busy_peer, a->busy_flow);
}

static void on_socket_error(void *ctx, int error)
{
	(void)ctx; /* only connected sockets have any */
	(void)error;
}

static const struct udp_local_events socket_events = {
	.on_datagram = on_datagram,
	.on_batch = on_batch,
	.on_error = on_socket_error,
};

/* ---- the client's connection ---- */

static uint8_t *control_alloc(void *ctx, size_t *size)
{
	const struct flow *f = ctx;

	*size = UDP_SCRATCH_FRAME;
	return udp_scratch_frame(f->b);
}

/* RFC 1928 gives what a client sends on it no meaning. */
static void control_read(void *ctx, size_t size)
{
	(void)ctx;
	(void)size;
}

static void control_eof(void *ctx)
{
	flow_abandon(ctx, TARGET_ABORTED, false);
}

static void control_error(void *ctx, int error)
{
	(void)error;
	control_eof(ctx);
}

static void control_writable(void *ctx)
{
	(void)ctx;
}

static const struct tcp_conn_events control_events = {
	.alloc = control_alloc,
	.on_read = control_read,
	.on_eof = control_eof,
	.on_error = control_error,
	.on_writable = control_writable,
	.on_closed = flow_on_closed,
};

static void take_hint(struct associate *a, const struct hostport *hint)
{
	if (hint->kind != HOST_ADDR || hint->port == 0)
		return;
	if (addr_is_unspecified(&hint->addr) || addr_equal_ip(&hint->addr, &a->client))
		set_client_port(a, hint->port);
}

static int open_socket(struct associate *a)
{
	struct flow *f = a->control;
	struct addr at = addr_v4(127, 0, 0, 1, 0);

	a->client = at;
	if (!tcp_conn_is_unix(f->conn)) {
		at = tcp_conn_local_address(f->conn);
		a->client = tcp_conn_peer_address(f->conn);
		at.port = a->client.port = 0;
	}
	return udp_local_bind(udp_flows_set(f->b), &at, &socket_events, a, &a->socket);
}

static struct associate *make(struct flow *f)
{
	struct associate *a;
	int r;

	if (!udp_scratch_reserve(f->b) || !udp_flows_set(f->b) || !(a = cv_zalloc(sizeof(*a))))
		return NULL;
	a->control = f;
	a->peer = f->peer;
	a->proxy_index = f->near->proxy_index;
	a->routes = f->near->routes;
	r = open_socket(a);
	if (r < 0) {
		log_warn("cannot open a UDP socket for a SOCKS client: %s", uv_strerror(r));
		cv_free(a);
		return NULL;
	}
	take_hint(a, &f->near->socks.target);
	return a;
}

/* The stream that was opened for the client becomes a leg. */
static bool take_stream(struct associate *a, cv_time now)
{
	struct flow *f = a->control;
	struct leg *leg = new_leg(a, f->peer, "");

	if (!leg)
		return false;
	leg->is_default = true;
	leg->udp.streams = f->streams;
	leg->udp.stream = f->stream;
	if (udp_flow_add(&leg->udp, now) < 0) {
		cv_free(leg);
		return false;
	}
	f->stream = NULL;
	a->legs[a->leg_count++] = leg;
	return true;
}

void associate_start(struct flow *f, cv_time now)
{
	struct associate *a = make(f);
	struct addr bound;

	if (!a) {
		near_refuse(f, TARGET_LIMIT);
		return;
	}
	f->associate = a;
	if (f->stream && stream_is_at_end(f->stream)) {
		near_refuse(f, TARGET_INTERNAL); /* accepted and over: nobody will say so again */
		return;
	}
	if (f->stream && !take_stream(a, now)) {
		near_refuse(f, TARGET_LIMIT);
		return;
	}
	bound = udp_local_address(a->socket);
	if (!near_proxy_accept(f, &bound)) {
		flow_abandon(f, TARGET_ABORTED, true);
		return;
	}
	near_free(f);
	flow_set_deadline(f, CV_TIME_NEVER);
	f->state = FLOW_ASSOCIATED;
	tcp_conn_start(f->conn, &control_events, f);
	tcp_conn_read_start(f->conn);
}

void associate_free(struct flow *f)
{
	struct associate *a = f->associate;

	if (!a)
		return;
	f->associate = NULL;
	log_info("association ended peer=%s up=%llu down=%llu fragments=%llu malformed=%llu "
	         "strangers=%llu unrouted=%llu oversized=%llu",
	         peer_name(a, a->peer), (unsigned long long)a->up, (unsigned long long)a->down,
	         (unsigned long long)a->fragments, (unsigned long long)a->malformed,
	         (unsigned long long)a->strangers, (unsigned long long)a->unrouted,
	         (unsigned long long)a->oversized);
	for (unsigned i = 0; i < a->leg_count; i++) {
		if (a->legs[i] && a->legs[i]->udp.stream)
			udp_flow_remove(&a->legs[i]->udp, TARGET_ABORTED);
		cv_free(a->legs[i]);
	}
	udp_flow_forget_pause(&a->pause);
	udp_local_close(a->socket, NULL, NULL);
	cv_free(a);
}

void associate_rebind(struct flow *f, const uint32_t *proxies)
{
	struct associate *a = f->associate;

	if (a->routes)
		a->proxy_index = proxies[a->proxy_index];
	/* Of a proxy that is gone it goes on with what it has. */
	a->routes =
		a->proxy_index == UINT32_MAX ? NULL : &f->b->tables.proxies[a->proxy_index].routes;
}

void associate_open(struct flow *f)
{
	cv_time now = clock_now();

	f->peer = f->near->routes->default_peer;
	f->near->to = nowhere;
	f->near->request_kind = TARGET_KIND_UDP;
	f->near->early_size = 0; /* means nothing */
	if (f->peer == ROUTE_NO_PEER)
		associate_start(f, now);
	else
		near_open(f, now);
}

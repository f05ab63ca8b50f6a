/* SPDX-License-Identifier: MIT */
#include "agent_tcp.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/clock.h"
#include "net/gateway.h"
#include "net/tcp_carrier.h"
#include "net/tcp_dial.h"

enum {
	STAGGER_MS = 250,   /* RFC 8305, 5: Connection Attempt Delay */
	TIMEOUT_MS = 10000, /* since the last one was dialled */
	CONNS_MAX = ENDPOINT_SERVERS_MAX,
};

struct attempt {
	struct way *way;
	struct tcp_dial *dial; /* NULL: over */
};

/* To one server. */
struct way {
	struct agent_tcp *owner;
	uint32_t server;
	bool is_wanted;
	struct addr peer;  /* of its connection; ADDR_NONE: none */
	struct addr local; /* likewise */
	struct addr list[RENDEZVOUS_TCP_ADDRESSES_MAX];
	unsigned count, next, running;
	struct attempt attempts[RENDEZVOUS_TCP_ADDRESSES_MAX];
	uv_timer_t timer;
};

struct agent_tcp {
	struct agent_tcp_options opt;
	struct tcp_carrier *carrier;
	struct way ways[ENDPOINT_SERVERS_MAX];
	unsigned timers_open;
};

/* ---- dialling ---- */

static void dial_next(struct way *w);

static void cancel_all(struct way *w)
{
	for (unsigned i = 0; i < w->count; i++) {
		if (w->attempts[i].dial)
			tcp_dial_cancel(w->attempts[i].dial);
		w->attempts[i].dial = NULL;
	}
	w->running = 0;
	w->next = w->count;
	(void)uv_timer_stop(&w->timer);
}

static void give_up(struct way *w, cv_time now)
{
	cancel_all(w);
	w->is_wanted = false;
	endpoint_tcp_on_closed(w->owner->opt.endpoint, now, w->server);
	udp_port_kick(w->owner->opt.port);
}

static void on_timer(uv_timer_t *timer)
{
	struct way *w = timer->data;

	if (w->next < w->count)
		dial_next(w);
	else
		give_up(w, clock_now());
}

static void on_connected(struct way *w, struct tcp_conn *conn)
{
	struct addr peer = tcp_conn_peer_address(conn);
	struct addr local = tcp_conn_local_address(conn);
	cv_time now = clock_now();

	cancel_all(w);
	if (!tcp_carrier_take(w->owner->carrier, conn)) {
		give_up(w, now);
		return;
	}
	w->peer = peer;
	w->local = local;
	endpoint_tcp_on_open(w->owner->opt.endpoint, now, w->server, &peer);
	udp_port_kick(w->owner->opt.port);
}

static void on_dialled(void *ctx, struct tcp_conn *conn, int error)
{
	struct attempt *a = ctx;
	struct way *w = a->way;
	char text[ADDR_TEXT_MAX];

	a->dial = NULL;
	w->running--;
	if (conn) {
		on_connected(w, conn);
		return;
	}
	log_debug("tcp to=%s failed: %s", addr_format(&w->list[a - w->attempts], text),
	          uv_strerror(error));
	if (w->next < w->count)
		dial_next(w);
	else if (w->running == 0)
		give_up(w, clock_now());
}

static void dial_next(struct way *w)
{
	struct hostport to = { .kind = HOST_ADDR };
	struct attempt *a = NULL;
	int r = -ENOENT;

	while (r < 0 && w->next < w->count) {
		a = &w->attempts[w->next];
		*a = (struct attempt){ .way = w };
		to.addr = addr_canonical(&w->list[w->next]);
		to.port = to.addr.port;
		w->next++;
		r = tcp_dial_start(tcp_carrier_set(w->owner->carrier), &to, on_dialled, a,
		                   &a->dial);
	}
	if (r == 0)
		w->running++;
	/* With none running there is nothing to wait for, but this is a call of the core's. */
	(void)uv_timer_start(&w->timer, on_timer,
	                     w->running == 0      ? 0
	                     : w->next < w->count ? STAGGER_MS
	                                          : TIMEOUT_MS,
	                     0);
}

static void dial(struct way *w)
{
	w->count = endpoint_tcp_addresses(w->owner->opt.endpoint, w->server, w->list);
	w->next = 0;
	dial_next(w);
}

void agent_tcp_connect(struct agent_tcp *a, uint32_t server)
{
	struct way *w = &a->ways[server];

	CV_ASSERT(server < ENDPOINT_SERVERS_MAX);
	CV_ASSERT(!w->is_wanted);
	w->is_wanted = true;
	dial(w);
}

void agent_tcp_disconnect(struct agent_tcp *a, uint32_t server)
{
	struct way *w = &a->ways[server];

	CV_ASSERT(server < ENDPOINT_SERVERS_MAX);
	w->is_wanted = false;
	cancel_all(w);
	if (w->peer.family != ADDR_NONE)
		tcp_carrier_drop(a->carrier, &w->peer);
	w->peer = (struct addr){ .family = ADDR_NONE };
}

/* ---- another network ---- */

/* Packets to its server would leave from another address by now: it is silent, and TCP would find
 * out in minutes. Without any route one is waited for, which may be the old one. */
static bool is_stranded(const struct way *w)
{
	struct addr source;

	return gateway_source(&w->peer, &source) == 0 && !addr_equal_ip(&source, &w->local);
}

void agent_tcp_on_network_change(struct agent_tcp *a, cv_time now)
{
	for (unsigned i = 0; i < ENDPOINT_SERVERS_MAX; i++) {
		struct way *w = &a->ways[i];

		if (!w->is_wanted)
			continue;
		if (w->peer.family == ADDR_NONE) {
			/* What was dialled before would be repeated from the old address. */
			cancel_all(w);
			dial(w);
		} else if (is_stranded(w)) {
			agent_tcp_disconnect(a, i);
			endpoint_tcp_on_closed(a->opt.endpoint, now, i);
		}
	}
}

/* ---- the carrier's owner ---- */

static struct way *way_to(struct agent_tcp *a, const struct addr *peer)
{
	for (unsigned i = 0; i < ENDPOINT_SERVERS_MAX; i++) {
		if (a->ways[i].peer.family != ADDR_NONE && addr_equal(&a->ways[i].peer, peer))
			return &a->ways[i];
	}
	return NULL;
}

static void on_arrival(void *ctx, cv_time now, struct arrival *in)
{
	udp_port_feed(((struct agent_tcp *)ctx)->opt.port, now, in);
}

static void on_settle(void *ctx, cv_time now)
{
	udp_port_settle(((struct agent_tcp *)ctx)->opt.port, now);
}

static void on_closed(void *ctx, cv_time now, const struct addr *peer)
{
	struct agent_tcp *a = ctx;
	struct way *w = way_to(a, peer);

	if (!w)
		return;
	w->is_wanted = false;
	w->peer = (struct addr){ .family = ADDR_NONE };
	endpoint_tcp_on_closed(a->opt.endpoint, now, w->server);
	udp_port_kick(a->opt.port);
}

static void on_writable(void *ctx, cv_time now, const struct addr *peer, bool is_writable)
{
	struct agent_tcp *a = ctx;
	struct way *w = way_to(a, peer);

	if (!w)
		return;
	endpoint_tcp_on_writable(a->opt.endpoint, now, w->server, is_writable);
	udp_port_kick(a->opt.port);
}

static const struct tcp_carrier_ops ops = {
	.on_arrival = on_arrival,
	.settle = on_settle,
	.on_closed = on_closed,
	.on_writable = on_writable,
};

void agent_tcp_send(struct agent_tcp *a, cv_time now, const struct train *t)
{
	tcp_carrier_send(a->carrier, now, t);
}

/* ---- life ---- */

int agent_tcp_open(uv_loop_t *loop, const struct agent_tcp_options *opt, struct agent_tcp **out)
{
	const struct tcp_carrier_options carrier = { .conns_max = CONNS_MAX };
	struct agent_tcp *a = cv_zalloc(sizeof(*a));
	int r;

	if (!a)
		return -ENOMEM;
	a->opt = *opt;
	r = tcp_carrier_open(loop, &carrier, &ops, a, &a->carrier);
	if (r < 0) {
		cv_free(a);
		return r;
	}
	for (unsigned i = 0; i < ENDPOINT_SERVERS_MAX; i++) {
		struct way *w = &a->ways[i];

		w->owner = a;
		w->server = i;
		(void)uv_timer_init(loop, &w->timer); /* libuv's never fails */
		w->timer.data = w;
		a->timers_open++;
	}
	*out = a;
	return 0;
}

static void on_timer_closed(uv_handle_t *handle)
{
	struct agent_tcp *a = ((struct way *)handle->data)->owner;

	if (--a->timers_open == 0)
		cv_free(a);
}

void agent_tcp_close(struct agent_tcp *a)
{
	for (unsigned i = 0; i < ENDPOINT_SERVERS_MAX; i++) {
		agent_tcp_disconnect(a, i);
		uv_close((uv_handle_t *)&a->ways[i].timer, on_timer_closed);
	}
	tcp_carrier_close(a->carrier);
}

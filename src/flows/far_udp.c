/* SPDX-License-Identifier: MIT */
#include "flows/far_udp.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "net/clock.h"
#include "net/udp_local.h"
#include "proxy/udp_dial.h"

/* The opener ends a flow that nobody uses; this is for one that does not. */
#define IDLE CV_SEC(600)
/* While another address may still be tried, the first datagrams are kept for it. */
#define KEEP CV_SEC(2)
#define USE_STEP CV_SEC(1)

struct target {
	struct udp_flow flow;
	struct list node; /* of all, the longest unused first */
	struct udp_dial dial;
	struct udp_local *sock; /* NULL: not connected yet */
	struct udp_pause pause;
	uint64_t lookup; /* 0: none */
	cv_time ordered_at;
	cv_time keep_until;
	bool is_operators_own;
	bool is_accepted;
	bool is_answered;
};

static const struct udp_local_events events;

static struct acl policy(const struct target *t)
{
	struct acl acl = bridge_acl(t->flow.b, t->flow.peer);

	acl.is_operators_own = t->is_operators_own;
	return acl;
}

static void close_socket(struct target *t)
{
	udp_flow_forget_pause(&t->pause);
	udp_local_close(t->sock, NULL, NULL); /* sends what is gathered */
	t->sock = NULL;
	t->flow.b->udp.far_sockets--;
}

static void end(struct target *t, enum target_code code)
{
	struct bridge *b = t->flow.b;

	if (t->lookup)
		resolver_cancel(b->resolver, t->lookup);
	list_remove(&t->node);
	b->peers[t->flow.peer].udp_flows--;
	if (t->sock)
		close_socket(t);
	udp_flow_remove(&t->flow, code);
	cv_free(t);
}

static void refuse(struct target *t, enum target_code code)
{
	char text[HOSTPORT_TEXT_MAX];

	log_info("stream refused peer=%s target=%s protocol=udp cause=\"%s\"",
	         t->flow.b->peers[t->flow.peer].name, hostport_format(&t->dial.to, text),
	         target_code_text(code));
	end(t, code);
}

static void touch(struct target *t, cv_time now)
{
	t->flow.used_at = now;
	if (cv_time_since(now, t->ordered_at) < USE_STEP)
		return;
	t->ordered_at = now;
	list_remove(&t->node);
	list_add_tail(&t->flow.b->udp.far, &t->node);
}

/* ---- connecting ---- */

/* The answer to the opener, once. */
static bool accept_flow(struct target *t)
{
	struct udp_flow *f = &t->flow;
	uint8_t status[TARGET_STATUS_MAX];
	struct wr w = wr_init(status, sizeof(status));
	struct addr bound = { .family = ADDR_NONE };
	char text[HOSTPORT_TEXT_MAX];

	/* Who wants a relay does not want his network known. */
	if (!endpoint_peer_is_relay_only(f->b->endpoint, f->peer))
		bound = udp_local_address(t->sock);
	target_write_status(&w, &bound);
	stream_accept(f->streams, f->stream);
	if (stream_write(f->streams, f->stream, status, wr_size(&w)) != wr_size(&w))
		return false;
	t->is_accepted = true;
	endpoint_touch(f->b->endpoint, f->peer);
	udp_flow_kick(f->b);
	log_info("stream opened peer=%s target=%s protocol=udp", f->b->peers[f->peer].name,
	         hostport_format(&t->dial.to, text));
	return true;
}

static int open_socket(struct target *t)
{
	struct bridge *b = t->flow.b;
	struct udp_set *set = udp_flows_set(b);
	int r;

	if (!set)
		return -ENOMEM;
	if (b->udp.far_sockets >= b->udp.far_sockets_max)
		return -EMFILE;
	r = udp_local_connect(set, &t->dial.addr, &events, t, &t->sock);
	if (r < 0)
		t->sock = NULL;
	else
		b->udp.far_sockets++;
	return r;
}

/* Does what @v says, until there is a socket or the end. */
static void go_on(struct target *t, cv_time now, enum udp_dial_verdict v)
{
	struct acl acl = policy(t);
	int r;

	while (v == UDP_DIAL_CONNECT) {
		r = open_socket(t);
		if (r == 0)
			break;
		v = udp_dial_on_failed(&t->dial, &acl, r);
	}
	if (v == UDP_DIAL_FAIL) {
		refuse(t, t->dial.code);
		return;
	}
	CV_ASSERT(v == UDP_DIAL_CONNECT);
	if (!t->is_accepted && !accept_flow(t)) {
		refuse(t, TARGET_LIMIT);
		return;
	}
	t->keep_until = cv_time_after(now, KEEP);
	for (const struct udp_held *h = t->flow.held; h; h = h->next)
		udp_local_send(t->sock, NULL, h->bytes, h->size);
	udp_set_flush(t->flow.b->udp.set);
	if (!udp_dial_has_next(&t->dial))
		udp_flow_drop_held(&t->flow);
}

static void on_lookup(void *ctx, uint64_t id, enum resolver_verdict verdict,
                      const struct addr *list, unsigned count)
{
	struct target *t = ctx;
	struct acl acl = policy(t);
	enum udp_dial_verdict v;

	(void)id;
	t->lookup = 0;
	if (verdict == RESOLVER_OK)
		v = udp_dial_on_resolved(&t->dial, &acl, list, count);
	else
		v = udp_dial_on_resolve_failed(&t->dial, flow_resolve_error(verdict));
	go_on(t, clock_now(), v);
}

/* ---- datagrams ---- */

static void on_datagram(struct udp_flow *f, cv_time now, const uint8_t *bytes, size_t size)
{
	struct target *t = CV_CONTAINER_OF(f, struct target, flow);

	touch(t, now);
	if (!t->sock) {
		(void)udp_flow_hold(f, bytes, size);
		return;
	}
	if (f->held && now >= t->keep_until)
		udp_flow_drop_held(f);
	else if (!t->is_answered && udp_dial_has_next(&t->dial) && now < t->keep_until)
		(void)udp_flow_hold(f, bytes, size);
	udp_local_send(t->sock, NULL, bytes, size);
}

static void on_answer(void *ctx, const struct udp_local_arrival *in)
{
	struct target *t = ctx;

	if (!t->is_answered) {
		t->is_answered = true;
		udp_flow_drop_held(&t->flow);
	}
	touch(t, in->now);
	/* Dropped while the peer is not connected: it is too old when it is again. */
	if (udp_flow_try_send(&t->flow, in->now, in->bytes, in->size) == -ENOTCONN)
		t->flow.b->udp.counters.dropped++;
}

static void on_batch(void *ctx)
{
	struct target *t = ctx;

	udp_flow_after_batch(t->flow.b, &t->pause, t->sock, t->flow.peer, t->flow.id);
}

static void on_error(void *ctx, int error)
{
	struct target *t = ctx;
	struct acl acl = policy(t);

	if (error == -EMSGSIZE)
		return; /* that one was too large for its way, no more */
	if (t->is_answered && error != -ECONNREFUSED)
		return; /* a way that has worked may work again */
	if (t->is_answered) {
		refuse(t, target_code_from_errno(error));
		return;
	}
	close_socket(t);
	go_on(t, clock_now(), udp_dial_on_failed(&t->dial, &acl, error));
}

static const struct udp_local_events events = {
	.on_datagram = on_answer,
	.on_batch = on_batch,
	.on_error = on_error,
};

/* ---- the stream ---- */

/* Nothing comes by it but its end. */
static void on_readable(struct udp_flow *f, cv_time now)
{
	struct target *t = CV_CONTAINER_OF(f, struct target, flow);

	if (udp_flow_discard(f, now))
		end(t, TARGET_ABORTED);
}

static void on_end(struct udp_flow *f, cv_time now, enum target_code code)
{
	(void)now;
	(void)code;
	end(CV_CONTAINER_OF(f, struct target, flow), TARGET_ABORTED);
}

static void on_deadline(struct udp_flow *f, cv_time now)
{
	if (now >= cv_time_after(f->used_at, IDLE))
		end(CV_CONTAINER_OF(f, struct target, flow), TARGET_ABORTED);
	else
		udp_flow_set_deadline(f, cv_time_after(f->used_at, IDLE));
}

static const struct udp_flow_ops target_ops = {
	.on_datagram = on_datagram,
	.on_readable = on_readable,
	.on_end = on_end,
	.on_deadline = on_deadline,
};

/* ---- opening ---- */

/* Room for one more of @peer: its longest unused goes, or that of the peer that has most. */
static void make_room(struct bridge *b, uint32_t peer)
{
	struct list *at, *next;

	if (b->peers[peer].udp_flows < UDP_FLOWS_PER_PEER_MAX && b->udp.count < UDP_FLOWS_MAX &&
	    b->udp.far_sockets < b->udp.far_sockets_max)
		return;
	for (uint32_t i = 0; i < b->peers_size; i++) {
		if (b->peers[i].udp_flows > b->peers[peer].udp_flows)
			peer = i;
	}
	list_for_each(at, next, &b->udp.far)
	{
		struct target *t = list_entry(at, struct target, node);

		if (t->flow.peer != peer)
			continue;
		end(t, TARGET_ABORTED); /* as an idle one: it is no refusal */
		return;
	}
}

static void open_target(struct target *t, cv_time now, enum udp_dial_verdict v)
{
	struct bridge *b = t->flow.b;
	uint64_t id = t->flow.id;
	uint32_t peer = t->flow.peer;

	if (v == UDP_DIAL_RESOLVE) {
		t->lookup = resolver_start(b->resolver, peer, t->dial.to.text, t->dial.to.port,
		                           on_lookup, t);
		if (t->lookup == 0) {
			t->dial.code = TARGET_LIMIT;
			refuse(t, TARGET_LIMIT);
			return;
		}
	} else {
		go_on(t, now, v);
	}
	/* It may have been refused. */
	udp_flows_adopt_early(b, now, peer, id);
}

void far_udp_open(struct flow *f, cv_time now, const struct hostport *to, bool is_operators_own)
{
	struct bridge *b = f->b;
	struct target *t;
	struct acl acl;

	make_room(b, f->peer);
	t = b->peers[f->peer].udp_flows < UDP_FLOWS_PER_PEER_MAX ? cv_zalloc(sizeof(*t)) : NULL;
	if (!t) {
		flow_abandon(f, TARGET_LIMIT, true);
		return;
	}
	t->flow = (struct udp_flow){
		.b = b,
		.ops = &target_ops,
		.peer = f->peer,
		.streams = f->streams,
		.stream = f->stream,
	};
	if (udp_flow_add(&t->flow, now) < 0) {
		cv_free(t);
		flow_abandon(f, TARGET_LIMIT, true);
		return;
	}
	/* It is this flow's from now on. */
	f->stream = NULL;
	flow_abandon(f, TARGET_ABORTED, false);
	t->is_operators_own = is_operators_own;
	t->ordered_at = now;
	list_init(&t->node);
	list_add_tail(&b->udp.far, &t->node);
	b->peers[t->flow.peer].udp_flows++;
	udp_flow_set_deadline(&t->flow, cv_time_after(now, IDLE));
	acl = policy(t);
	open_target(t, now, udp_dial_begin(&t->dial, &acl, to));
}

void far_udp_close_all(struct bridge *b)
{
	while (!list_is_empty(&b->udp.far))
		end(list_entry(b->udp.far.next, struct target, node), TARGET_SESSION_LOST);
}

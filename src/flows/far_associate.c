/* SPDX-License-Identifier: MIT */

/*
 * far_associate - the far side of an association: its sockets, one a family, and its lookups. What
 * may be sent, whereto and who is heard is proxy/udp_exit's.
 *
 * What cannot be sent is not reported to the client: SOCKS5 has no way to. Some of it is logged.
 */
#include "flows/associate.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/clock.h"
#include "net/entropy.h"
#include "proxy/udp_exit.h"
#include "proxy/udp_header.h"

/* One a family, opened when first needed. */
struct far_socket {
	struct far_associate *owner;
	struct udp_local *u; /* NULL: not yet */
	struct udp_pause pause;
	bool is_missing; /* this host has none of that family */
};

struct far_associate {
	struct udp_exit exit;
	struct udp_flow udp;
	struct list node;
	struct far_socket v4, v6;
	struct far_lookup {
		struct far_associate *owner;
		uint64_t id; /* of the resolver; 0: none */
		unsigned name;
	} lookups[UDP_EXIT_LOOKUPS_MAX];
	/* Where the last one went: many in a row go there. Memory of the bridge's scratch. */
	struct udp_dest *dest;
	struct addr dest_of;
	uint64_t dest_round;
	uint64_t out, in, dropped, strangers;
};

static void close_socket(struct far_socket *s)
{
	if (!s->u)
		return;
	udp_flow_forget_pause(&s->pause);
	udp_local_close(s->u, NULL, NULL);
	s->owner->udp.b->udp.far_sockets--;
}

static void end(struct far_associate *a)
{
	struct bridge *b = a->udp.b;

	log_info("association ended peer=%s out=%llu in=%llu dropped=%llu strangers=%llu",
	         b->peers[a->udp.peer].name, (unsigned long long)a->out, (unsigned long long)a->in,
	         (unsigned long long)a->dropped, (unsigned long long)a->strangers);
	for (unsigned i = 0; i < CV_ARRAY_SIZE(a->lookups); i++) {
		if (a->lookups[i].id)
			resolver_cancel(b->resolver, a->lookups[i].id);
	}
	close_socket(&a->v4);
	close_socket(&a->v6);
	b->peers[a->udp.peer].associations--;
	b->association_count--;
	list_remove(&a->node);
	udp_flow_remove(&a->udp, TARGET_ABORTED);
	cv_free(a);
}

void far_associate_close_all(struct bridge *b)
{
	struct list *at, *next;

	list_for_each(at, next, &b->far_associations)
	{
		end(list_entry(at, struct far_associate, node));
	}
}

/* ---- from targets ---- */

static void on_arrival(void *ctx, const struct udp_local_arrival *in)
{
	struct far_associate *a = ((const struct far_socket *)ctx)->owner;
	struct hostport from = { .kind = HOST_ADDR, .port = in->from->port, .addr = *in->from };
	uint8_t *frame = udp_scratch_frame(a->udp.b);
	struct wr w = wr_init(frame, UDP_SCRATCH_FRAME);

	if (from.port == 0 || !udp_exit_on_arrival(&a->exit, in->now, in->from)) {
		a->strangers++;
		return;
	}
	udp_header_write_tunnel(&w, &from);
	wr_copy(&w, in->bytes, in->size);
	CV_ASSERT(!w.bad);
	if (wr_size(&w) > DATAGRAM_SIZE_MAX) {
		a->dropped++;
		return;
	}
	udp_flow_send(&a->udp, in->now, frame, wr_size(&w));
	a->in++;
}

static void on_batch(void *ctx)
{
	struct far_socket *s = ctx;
	const struct udp_flow *f = &s->owner->udp;

	udp_flow_after_batch(f->b, &s->pause, s->u, f->peer, f->id);
}

static void on_socket_error(void *ctx, int error)
{
	(void)ctx; /* only connected sockets have any */
	(void)error;
}

static const struct udp_local_events socket_events = {
	.on_datagram = on_arrival,
	.on_batch = on_batch,
	.on_error = on_socket_error,
};

/* ---- to targets ---- */

/* NULL: this host has none of that family, or no descriptor left. */
static struct udp_local *socket_for(struct far_associate *a, uint8_t family)
{
	struct addr any = { .family = family };
	struct far_socket *s = family == ADDR_V4 ? &a->v4 : &a->v6;
	struct udp_flows *all = &a->udp.b->udp;
	int r;

	if (s->u || s->is_missing || all->far_sockets >= all->far_sockets_max)
		return s->u;
	s->owner = a;
	r = udp_local_bind(udp_flows_set(a->udp.b), &any, &socket_events, s, &s->u);
	if (r < 0) {
		s->u = NULL;
		s->is_missing = r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL;
		return NULL;
	}
	all->far_sockets++;
	return s->u;
}

static bool is_missing(const struct far_associate *a, uint8_t family)
{
	return family == ADDR_V4 ? a->v4.is_missing : a->v6.is_missing;
}

/* One struct for all that go there in a row: then they can leave in one train. */
static const struct udp_dest *dest_for(struct far_associate *a, const struct addr *to)
{
	static const struct addr any = { .family = ADDR_NONE };
	struct bridge *b = a->udp.b;

	if (a->dest && addr_equal(to, &a->dest_of) && a->dest_round == udp_scratch_round(b))
		return a->dest;
	a->dest = (void *)udp_scratch_keep(b, sizeof(*a->dest));
	a->dest_round = udp_scratch_round(b);
	*a->dest = udp_dest_make(to, &any);
	a->dest_of = *to;
	return a->dest;
}

static void note_dropped(struct far_associate *a, cv_time now, const struct hostport *to,
                         enum target_code code)
{
	struct bridge_peer *p = &a->udp.b->peers[a->udp.peer];
	char text[HOSTPORT_TEXT_MAX];
	uint64_t suppressed;

	a->dropped++;
	if (log_gate_pass(&p->refusals, now, &suppressed))
		log_info("datagram refused peer=%s target=%s cause=\"%s\" suppressed=%llu", p->name,
		         hostport_format(to, text), target_code_text(code),
		         (unsigned long long)suppressed);
}

/* @bytes stay until the next flush. */
static void send_out(struct far_associate *a, cv_time now, struct addr to, const uint8_t *bytes,
                     size_t size)
{
	struct acl acl = bridge_acl(a->udp.b, a->udp.peer);
	struct udp_local *u;

	while (!(u = socket_for(a, to.family))) {
		/* Without descriptors no other address is better; there may be some later. */
		if (!is_missing(a, to.family) ||
		    !udp_exit_on_unreachable(&a->exit, now, &acl, &to)) {
			a->dropped++;
			return;
		}
	}
	udp_local_send(u, dest_for(a, &to), bytes, size);
	a->out++;
}

static enum target_code code_of(enum udp_exit_verdict why)
{
	switch (why) {
	case UDP_EXIT_DENIED:
		return TARGET_POLICY;
	case UDP_EXIT_UNRESOLVED:
		return TARGET_NAME_NOT_RESOLVED;
	case UDP_EXIT_LIMIT:
		return TARGET_LIMIT;
	case UDP_EXIT_SEND:
	case UDP_EXIT_KEPT:
		break;
	}
	CV_UNREACHABLE();
}

static void on_lookup(void *ctx, uint64_t id, enum resolver_verdict verdict,
                      const struct addr *list, unsigned count);

static void look_up(struct far_associate *a, cv_time now, const struct udp_exit_action *action)
{
	struct bridge *b = a->udp.b;
	struct far_lookup *l = a->lookups;

	while (l->id)
		l++;
	CV_ASSERT(l < a->lookups + CV_ARRAY_SIZE(a->lookups));
	l->owner = a;
	l->name = action->index;
	l->id = resolver_start(b->resolver, a->udp.peer, action->name, 1, on_lookup, l);
	if (l->id == 0)
		udp_exit_on_resolve_failed(&a->exit, now, action->index, DIAL_RESOLVE_LIMIT);
}

static void act(struct far_associate *a, cv_time now)
{
	struct acl acl = bridge_acl(a->udp.b, a->udp.peer);
	struct hostport to = { .kind = HOST_NAME };
	struct udp_exit_action action;
	uint8_t *bytes;

	while (udp_exit_next_action(&a->exit, now, &acl, &action)) {
		switch (action.kind) {
		case UDP_EXIT_DO_RESOLVE:
			look_up(a, now, &action);
			break;
		case UDP_EXIT_DO_SEND:
			/* The next action may take its place. */
			bytes = udp_scratch_keep(a->udp.b, action.size);
			memcpy(bytes, action.bytes, action.size);
			send_out(a, now, action.to, bytes, action.size);
			break;
		case UDP_EXIT_DO_DROP:
			memcpy(to.text, action.name, strlen(action.name) + 1);
			to.port = action.to.port;
			note_dropped(a, now, &to, code_of(action.why));
			break;
		case UDP_EXIT_DO_NOTHING:
			CV_UNREACHABLE();
		}
	}
}

static void on_lookup(void *ctx, uint64_t id, enum resolver_verdict verdict,
                      const struct addr *list, unsigned count)
{
	struct far_lookup *l = ctx;
	struct far_associate *a = l->owner;
	cv_time now = clock_now();

	(void)id;
	l->id = 0;
	if (verdict == RESOLVER_OK)
		udp_exit_on_resolved(&a->exit, now, l->name, list, count);
	else
		udp_exit_on_resolve_failed(&a->exit, now, l->name, flow_resolve_error(verdict));
	act(a, now);
	udp_set_flush(udp_flows_set(a->udp.b));
}

static void on_datagram(struct udp_flow *f, cv_time now, const uint8_t *bytes, size_t size)
{
	struct far_associate *a = CV_CONTAINER_OF(f, struct far_associate, udp);
	struct acl acl = bridge_acl(f->b, f->peer);
	struct rd in = rd_init(bytes, size);
	struct udp_exit_bytes data;
	enum udp_exit_verdict v;
	struct hostport host;
	struct addr to;

	if (udp_header_read_tunnel(&in, &host) != UDP_HEADER_DONE) {
		a->dropped++;
		return;
	}
	data = (struct udp_exit_bytes){ in.pos, rd_left(&in) };
	v = udp_exit_on_datagram(&a->exit, now, &acl, &host, &data, &to);
	if (v == UDP_EXIT_SEND)
		send_out(a, now, to, data.at, data.size);
	else if (v != UDP_EXIT_KEPT)
		note_dropped(a, now, &host, code_of(v));
	if (host.kind == HOST_NAME)
		act(a, now);
}

/* ---- the flow ---- */

static void on_end(struct udp_flow *f, cv_time now, enum target_code code)
{
	(void)now;
	(void)code;
	end(CV_CONTAINER_OF(f, struct far_associate, udp));
}

/* What comes on the stream means nothing but its end. */
static void on_readable(struct udp_flow *f, cv_time now)
{
	if (udp_flow_discard(f, now))
		on_end(f, now, TARGET_ABORTED);
}

static void on_deadline(struct udp_flow *f, cv_time now)
{
	(void)f; /* it has none: it lives as long as its stream */
	(void)now;
}

static const struct udp_flow_ops flow_ops = {
	.on_datagram = on_datagram,
	.on_readable = on_readable,
	.on_end = on_end,
	.on_deadline = on_deadline,
};

static struct far_associate *make(struct flow *f, cv_time now)
{
	struct bridge *b = f->b;
	struct far_associate *a;

	if (b->peers[f->peer].associations >= ASSOCIATIONS_PER_PEER_MAX ||
	    b->association_count >= ASSOCIATIONS_MAX || !udp_scratch_reserve(b) ||
	    !udp_flows_set(b) || !(a = cv_zalloc(sizeof(*a))))
		return NULL;
	a->udp = (struct udp_flow){ .b = b,
		                    .ops = &flow_ops,
		                    .peer = f->peer,
		                    .streams = f->streams,
		                    .stream = f->stream };
	if (udp_flow_add(&a->udp, now) < 0) {
		cv_free(a);
		return NULL;
	}
	udp_exit_init(&a->exit, entropy_u64());
	b->peers[f->peer].associations++;
	b->association_count++;
	list_init(&a->node);
	list_add_tail(&b->far_associations, &a->node);
	return a;
}

enum target_code far_associate_open(struct flow *f, cv_time now)
{
	struct bridge *b = f->b;
	const struct addr none = { .family = ADDR_NONE };
	struct far_associate *a = make(f, now);
	uint8_t status[TARGET_STATUS_MAX];
	struct wr w = wr_init(status, sizeof(status));
	uint32_t peer = f->peer;
	uint64_t id;

	if (!a)
		return TARGET_LIMIT;
	f->stream = NULL; /* the association's now */
	flow_abandon(f, TARGET_OK, false);
	id = a->udp.id;
	target_write_status(&w, &none);
	stream_accept(a->udp.streams, a->udp.stream);
	log_info("stream opened peer=%s target=udp", b->peers[peer].name);
	if (stream_write(a->udp.streams, a->udp.stream, status, wr_size(&w)) != wr_size(&w)) {
		end(a); /* no memory even for this */
		return TARGET_OK;
	}
	endpoint_touch(b->endpoint, peer);
	udp_flow_kick(b);
	udp_flows_adopt_early(b, now, peer, id);
	return TARGET_OK;
}

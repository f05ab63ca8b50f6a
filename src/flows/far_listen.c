/* SPDX-License-Identifier: MIT */
#include "flows/far_listen.h"

#include <errno.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "proxy/listen_acl.h"

static struct listen_acl policy(const struct flow *f)
{
	const struct tables_peer *p = tables_peer(&f->b->tables, f->peer);

	return (struct listen_acl){ .allow = p->allow_listen,
		                    .allow_count = p->allow_listen_count };
}

enum target_code far_listen_new(struct flow *f, cv_time now)
{
	struct bridge_peer *p = &f->b->peers[f->peer];

	if (p->listeners >= LISTENERS_PER_PEER_MAX || f->b->listeners >= LISTENERS_OF_PEERS_MAX ||
	    !bucket_take(&p->opens, now, OPEN_RATE, OPEN_BURST, 1))
		return TARGET_LIMIT;
	f->listen = cv_zalloc(sizeof(*f->listen));
	if (!f->listen)
		return TARGET_LIMIT;
	p->listeners++;
	f->b->listeners++;
	return TARGET_OK;
}

static void close_listener(struct flow *f, struct far_listen *fl)
{
	if (fl->at.kind == HOST_UNIX)
		bridge_remove_own_unix(f->b, fl->at.text);
	else
		bridge_remove_own(f->b, &fl->at.addr);
	if (fl->udp)
		near_udp_close(fl->udp, NULL, NULL);
	else
		tcp_listener_close(fl->l, NULL, NULL);
}

void far_listen_free(struct flow *f)
{
	struct far_listen *fl = f->kind == FLOW_FAR ? f->listen : NULL;

	if (!fl)
		return;
	f->listen = NULL;
	if (fl->lookup)
		resolver_cancel(f->b->resolver, fl->lookup);
	if (fl->l || fl->udp)
		close_listener(f, fl);
	CV_ASSERT(f->b->peers[f->peer].listeners > 0);
	f->b->peers[f->peer].listeners--;
	f->b->listeners--;
	cv_free(fl);
}

bool far_listen_may_any(const struct flow *f)
{
	struct listen_acl acl = policy(f);

	for (size_t i = 0; i < acl.allow_count; i++) {
		if (acl.allow[i].kind != PATTERN_UNIX && !acl.allow[i].is_udp)
			return true;
	}
	return false;
}

static int open_socket(struct flow *f, const struct hostport *at, tcp_listener_accept on_accept)
{
	struct far_listen *fl = f->listen;
	int r;

	if (!fl->is_udp) {
		r = tcp_listener_open(f->b->conns, at, on_accept, f, &fl->l);
		if (r < 0)
			fl->l = NULL;
		return r;
	}
	r = near_udp_open(f->b, &at->addr, &fl->udp); /* the policy has no unix sockets for UDP */
	if (r < 0)
		fl->udp = NULL;
	return r;
}

static int try_ports(struct flow *f, const struct hostport *at, tcp_listener_accept on_accept)
{
	struct listen_acl acl = policy(f);
	struct hostport real = *at;
	uint16_t port;
	int r = -EADDRINUSE;

	if (at->kind != HOST_ADDR || at->port != 0)
		return open_socket(f, at, on_accept);
	for (uint32_t i = 0; i < LISTEN_TRIES_MAX && r == -EADDRINUSE; i++) {
		if (!listen_acl_port(&acl, at, f->listen->is_udp, i, &port))
			break;
		real.port = port;
		real.addr.port = port;
		r = open_socket(f, &real, on_accept);
	}
	return r;
}

/* Where the flows of its clients go. */
static void set_udp_role(struct flow *f)
{
	const struct near_udp_role role = {
		.peer = f->peer,
		.of = f->streams,
		.request = { .kind = TARGET_KIND_UDP,
		             .listener = stream_id(f->stream),
		             .has_listener = true },
	};

	near_udp_set_role(f->listen->udp, &role);
}

enum target_code far_listen_bind(struct flow *f, const struct hostport *at,
                                 tcp_listener_accept on_accept)
{
	struct far_listen *fl = f->listen;
	struct listen_acl acl = policy(f);
	struct hostport wanted = *at;
	int r;

	if (!listen_acl_allows(&acl, at, fl->is_udp))
		return TARGET_POLICY;
	wanted.addr.port = wanted.port;
	r = try_ports(f, &wanted, on_accept);
	if (r < 0)
		return target_code_from_errno(r);
	if (fl->udp) {
		fl->at = (struct hostport){ .kind = HOST_ADDR, .addr = near_udp_local(fl->udp) };
		fl->at.port = fl->at.addr.port;
		set_udp_role(f);
	} else {
		tcp_listener_local(fl->l, &fl->at);
	}
	if (fl->at.kind == HOST_UNIX)
		bridge_add_own_unix(f->b, fl->at.text);
	else
		bridge_add_own(f->b, &fl->at.addr);
	return TARGET_OK;
}

static void refuse(struct flow *f, const struct hostport *at, enum target_code code)
{
	char text[HOSTPORT_TEXT_MAX];

	log_info("listener refused peer=%s listen=%s cause=\"%s\"", flow_peer_name(f),
	         hostport_format(at, text),
	         code == TARGET_POLICY ? "allow_listen does not include it"
	                               : target_code_text(code));
	flow_abandon(f, code, true);
}

static void on_accept(void *ctx, struct tcp_conn *conn)
{
	near_accept_remote(ctx, conn);
}

void far_listen_open(struct flow *f, cv_time now, const struct target_request *request)
{
	bool is_pure = stream_readable(f->stream) == 0 && !stream_is_at_end(f->stream);
	enum target_code code = is_pure ? far_listen_new(f, now) : TARGET_MALFORMED;
	uint8_t status[TARGET_STATUS_MAX];
	struct wr w = wr_init(status, sizeof(status));
	struct addr bound = { .family = ADDR_NONE };
	char text[HOSTPORT_TEXT_MAX];

	if (code == TARGET_OK) {
		f->listen->is_udp = request->kind == TARGET_KIND_LISTEN_UDP;
		code = far_listen_bind(f, &request->to, on_accept);
	}
	if (code != TARGET_OK) {
		refuse(f, &request->to, code);
		return;
	}
	f->state = FLOW_LISTENING;
	flow_set_deadline(f, CV_TIME_NEVER);
	if (f->listen->at.kind == HOST_ADDR)
		bound = f->listen->at.addr;
	target_write_status(&w, &bound);
	stream_accept(f->streams, f->stream);
	if (stream_write(f->streams, f->stream, status, wr_size(&w)) != wr_size(&w)) {
		refuse(f, &request->to, TARGET_LIMIT);
		return;
	}
	log_info("listener opened peer=%s listen=%s%s", flow_peer_name(f),
	         hostport_format(&f->listen->at, text), f->listen->is_udp ? "/udp" : "");
	flow_kick(f);
}

void far_listen_on_stream(struct flow *f, cv_time now, const struct endpoint_event *ev)
{
	char text[HOSTPORT_TEXT_MAX];

	(void)now;
	switch (ev->stream.kind) {
	case STREAM_EVENT_READABLE: /* its end, or bytes that have no meaning */
	case STREAM_EVENT_RESET:
	case STREAM_EVENT_STOPPED:
		log_info("listener closed peer=%s listen=%s%s", flow_peer_name(f),
		         hostport_format(&f->listen->at, text), f->listen->is_udp ? "/udp" : "");
		flow_abandon(f, TARGET_ABORTED, true);
		return;
	case STREAM_EVENT_WRITABLE:
	case STREAM_EVENT_ACKED:
	case STREAM_EVENT_OPENED:
	case STREAM_EVENT_OPENABLE:
		return;
	}
	CV_UNREACHABLE();
}

void far_listen_adopt(struct bridge *b)
{
	struct list *at, *next;

	list_for_each(at, next, &b->flows)
	{
		struct flow *f = list_entry(at, struct flow, node);
		struct listen_acl acl;

		/* A BIND that listens already; before that it will ask the policy itself. */
		if (f->state != FLOW_LISTENING && !(f->state == FLOW_BINDING && f->listen->l))
			continue;
		acl = policy(f);
		if (!listen_acl_allows(&acl, &f->listen->at, f->listen->is_udp))
			refuse(f, &f->listen->at, TARGET_POLICY);
	}
}

size_t far_listen_list(const struct bridge *b, struct far_listen_info *out, size_t cap)
{
	struct list *at, *next;
	size_t n = 0;

	list_for_each(at, next, &b->flows)
	{
		const struct flow *f = list_entry(at, struct flow, node);

		if (f->state != FLOW_LISTENING)
			continue;
		if (n < cap) {
			out[n].peer = flow_peer_name(f);
			(void)hostport_format(&f->listen->at, out[n].address);
		}
		n++;
	}
	return n;
}

/* SPDX-License-Identifier: MIT */

/*
 * far - a peer's stream until it is connected or refused: the header, the policy, lookup and happy
 * eyeballs (proxy/dial decides, this file carries out), and the status that goes back.
 *
 * What the peer has opened counts until its lookup and its sockets are really gone (T24).
 */
#include "flows/bridge.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "flows/associate.h"
#include "flows/far_listen.h"
#include "flows/far_udp.h"
#include "flows/remote.h"
#include "net/clock.h"

#define REQUEST_TIMEOUT CV_SEC(10)

struct acl bridge_acl(const struct bridge *b, uint32_t peer)
{
	const struct tables_peer *p = tables_peer(&b->tables, peer);

	return (struct acl){
		.allow = p->allow,
		.allow_count = p->allow_count,
		.own = b->own,
		.own_count = b->own_count,
		.local = b->local,
		.local_count = b->local_count,
	};
}

static struct acl policy(const struct flow *f)
{
	struct acl acl = bridge_acl(f->b, f->peer);

	acl.is_operators_own = f->far && f->far->is_own;
	return acl;
}

static void stop_attempt(struct far_attempt *a)
{
	if (a->dial)
		tcp_dial_cancel(a->dial);
	if (a->conn)
		tcp_conn_reset(a->conn);
	a->dial = NULL;
	a->conn = NULL;
}

void far_free(struct flow *f)
{
	struct far *r = f->far;

	if (!r)
		return;
	f->far = NULL;
	if (r->lookup)
		resolver_cancel(f->b->resolver, r->lookup);
	for (unsigned i = 0; i < DIAL_ATTEMPTS_MAX; i++)
		stop_attempt(&r->attempts[i]);
	CV_ASSERT(f->b->dials > 0);
	f->b->dials--;
	f->b->peers[f->peer].dials--;
	cv_free(r);
}

static void refuse(struct flow *f, enum target_code code)
{
	char text[HOSTPORT_TEXT_MAX] = "-";

	if (f->far)
		(void)hostport_format(&f->far->asked, text);
	log_info("stream refused peer=%s target=%s cause=\"%s\"", flow_peer_name(f), text,
	         target_code_text(code));
	flow_abandon(f, code, true);
}

static void connected(struct flow *f, cv_time now, struct tcp_conn *conn)
{
	uint8_t status[TARGET_STATUS_MAX];
	struct wr w = wr_init(status, sizeof(status));
	struct addr bound = { .family = ADDR_NONE };
	char text[HOSTPORT_TEXT_MAX];

	f->conn = conn;
	/* Who wants a relay does not want his network known. */
	if (!endpoint_peer_is_relay_only(f->b->endpoint, f->peer))
		bound = tcp_conn_local_address(conn);
	target_write_status(&w, &bound);
	stream_accept(f->streams, f->stream);
	if (stream_write(f->streams, f->stream, status, wr_size(&w)) != wr_size(&w)) {
		/* No memory even for this: the connection must not outlive its flow. */
		tcp_conn_reset(conn);
		f->conn = NULL;
		refuse(f, TARGET_LIMIT);
		return;
	}
	log_info("stream opened peer=%s target=%s", flow_peer_name(f),
	         hostport_format(&f->far->asked, text));
	flow_start(f, now);
	flow_kick(f);
}

static void pump_dial(struct flow *f, cv_time now);

static void on_lookup(void *ctx, uint64_t id, enum resolver_verdict verdict,
                      const struct addr *list, unsigned count)
{
	struct flow *f = ctx;
	cv_time now = clock_now();

	(void)id;
	f->far->lookup = 0;
	if (verdict == RESOLVER_OK)
		dial_on_resolved(&f->far->dial, now, list, count);
	else
		dial_on_resolve_failed(&f->far->dial, now, flow_resolve_error(verdict));
	pump_dial(f, now);
}

static void on_dialled(void *ctx, struct tcp_conn *conn, int error)
{
	struct far_attempt *a = ctx;
	struct flow *f = a->flow;
	cv_time now = clock_now();

	a->dial = NULL;
	a->conn = conn;
	if (conn)
		dial_on_connected(&f->far->dial, now, a->index);
	else
		dial_on_connect_failed(&f->far->dial, now, a->index, error);
	pump_dial(f, now);
}

/* Our own sockets are protected from patterns that end in `*`. */
static bool names_unix(const struct flow *f, const char *path)
{
	const struct tables_peer *p = tables_peer(&f->b->tables, f->peer);

	for (size_t i = 0; i < p->allow_count; i++) {
		if (!p->allow[i].is_prefix && pattern_match_unix(&p->allow[i], path))
			return true;
	}
	return false;
}

/* The only place where this process connects to anything for a peer; dial asked the policy about
 * just this address. */
static void connect_to(struct flow *f, cv_time now, const struct dial_action *action)
{
	struct far_attempt *a = &f->far->attempts[action->index];
	struct hostport to = { .kind = HOST_ADDR, .port = action->addr.port, .addr = action->addr };
	int r;

	if (action->kind == DIAL_CONNECT_UNIX) {
		if (!f->far->is_own && bridge_is_own_unix(f->b, action->name) &&
		    !names_unix(f, action->name)) {
			dial_on_connect_failed(&f->far->dial, now, action->index, -EACCES);
			return;
		}
		to = (struct hostport){ .kind = HOST_UNIX };
		memcpy(to.text, action->name, strlen(action->name) + 1);
	}
	a->flow = f;
	a->index = action->index;
	r = tcp_dial_start(f->b->conns, &to, on_dialled, a, &a->dial);
	if (r < 0) {
		a->dial = NULL;
		dial_on_connect_failed(&f->far->dial, now, action->index, r);
	}
}

static void pump_dial(struct flow *f, cv_time now)
{
	struct far *r = f->far;
	struct acl acl = policy(f);
	struct dial_action action;
	struct tcp_conn *conn;

	while (dial_next_action(&r->dial, now, &acl, &action)) {
		switch (action.kind) {
		case DIAL_RESOLVE:
			r->lookup = resolver_start(f->b->resolver, f->peer, action.name, r->to.port,
			                           on_lookup, f);
			if (r->lookup == 0)
				dial_on_resolve_failed(&r->dial, now, DIAL_RESOLVE_LIMIT);
			break;
		case DIAL_CANCEL_RESOLVE:
			resolver_cancel(f->b->resolver, r->lookup);
			r->lookup = 0;
			break;
		case DIAL_CONNECT:
		case DIAL_CONNECT_UNIX:
			connect_to(f, now, &action);
			break;
		case DIAL_CANCEL:
			stop_attempt(&r->attempts[action.index]);
			break;
		case DIAL_DONE:
			conn = r->attempts[action.index].conn;
			r->attempts[action.index].conn = NULL;
			connected(f, now, conn);
			return;
		case DIAL_FAIL:
			refuse(f, action.code);
			return;
		case DIAL_NONE:
			CV_UNREACHABLE();
		}
	}
	flow_set_deadline(f, dial_deadline(&r->dial));
}

/* The service @name for @peer. What the peer may not use it does not hear of; our log does. */
static const struct config_service *find_service(const struct flow *f, const char *name,
                                                 bool is_udp)
{
	const struct config *c = f->b->config;

	for (size_t i = 0; i < c->service_count; i++) {
		const struct config_service *s = &c->services[i];

		if (strcmp(s->name, name) != 0 || (s->protocol == CONFIG_UDP) != is_udp)
			continue;
		for (size_t k = 0; k < s->allow_count; k++) {
			if (tables_peer_number(&f->b->tables, &s->allow[k]) == f->peer)
				return s;
		}
		log_info("service withheld peer=%s service=%s cause=\"its allow does not name the "
		         "peer\"",
		         flow_peer_name(f), name);
	}
	return NULL;
}

enum target_code far_target(const struct flow *f, const struct target_request *request,
                            struct hostport *to, bool *is_own)
{
	bool is_udp = request->kind == TARGET_KIND_UDP;
	const struct config_service *service;
	const struct hostport *own;

	*to = request->to;
	*is_own = false;
	if (request->has_listener) {
		own = remote_target(f, request->listener, is_udp);
		if (!own)
			return TARGET_POLICY;
		*to = *own;
		*is_own = true;
	} else if (request->to.kind == HOST_SERVICE) {
		service = find_service(f, request->to.text, is_udp);
		if (!service)
			return TARGET_SERVICE_UNKNOWN;
		*to = service->to.host;
		*is_own = true;
	}
	return TARGET_OK;
}

/* The header is whole: may the peer go there, and is there room to try? */
static void on_request(struct flow *f, cv_time now, const struct target_request *request)
{
	struct bridge *b = f->b;
	struct bridge_peer *p = &b->peers[f->peer];
	enum target_code code;
	struct acl acl;

	if (p->dials >= DIALS_PER_PEER_MAX || b->dials >= DIALS_MAX ||
	    !bucket_take(&p->opens, now, OPEN_RATE, OPEN_BURST, 1)) {
		refuse(f, TARGET_LIMIT);
		return;
	}
	f->far = cv_zalloc(sizeof(*f->far));
	if (!f->far) {
		refuse(f, TARGET_LIMIT);
		return;
	}
	p->dials++;
	b->dials++;
	f->far->flow = f;
	f->far->asked = request->to;
	f->state = FLOW_DIALLING;
	code = far_target(f, request, &f->far->to, &f->far->is_own);
	if (code != TARGET_OK) {
		refuse(f, code);
		return;
	}
	if (request->has_listener)
		f->far->asked = f->far->to; /* its number tells nobody anything */
	acl = policy(f);
	if (acl_check_name(&acl, &f->far->to, false) != ACL_ALLOW) {
		refuse(f, TARGET_POLICY);
		return;
	}
	dial_init(&f->far->dial, now, &f->far->to, false);
	pump_dial(f, now);
}

static void associate(struct flow *f, cv_time now)
{
	enum target_code code = far_associate_open(f, now);

	if (code != TARGET_OK)
		refuse(f, code);
}

static void on_udp_request(struct flow *f, cv_time now, const struct target_request *request)
{
	enum target_code code;
	struct hostport to;
	bool is_own;

	if (!bucket_take(&f->b->peers[f->peer].opens, now, OPEN_RATE, OPEN_BURST, 1)) {
		refuse(f, TARGET_LIMIT);
		return;
	}
	code = far_target(f, request, &to, &is_own);
	if (code == TARGET_OK && to.kind == HOST_NONE) {
		associate(f, now);
		return;
	}
	if (code == TARGET_OK && to.kind != HOST_ADDR && to.kind != HOST_NAME)
		code = TARGET_UNSUPPORTED;
	if (code == TARGET_OK)
		far_udp_open(f, now, &to, is_own);
	else
		refuse(f, code);
}

static void dispatch(struct flow *f, cv_time now, const struct target_request *request)
{
	switch (request->kind) {
	case TARGET_KIND_TCP:
		on_request(f, now, request);
		return;
	case TARGET_KIND_LISTEN:
	case TARGET_KIND_LISTEN_UDP:
		far_listen_open(f, now, request);
		return;
	case TARGET_KIND_BIND:
		far_bind_open(f, now, request);
		return;
	case TARGET_KIND_UDP:
		on_udp_request(f, now, request);
		return;
	}
	CV_UNREACHABLE();
}

static void read_request(struct flow *f, cv_time now)
{
	uint8_t bytes[TARGET_REQUEST_MAX];
	struct target_request request;
	size_t size = flow_peek(f, bytes, sizeof(bytes));
	struct rd in = rd_init(bytes, size);

	switch (target_read_request(&in, &request)) {
	case TARGET_READ_NEED_MORE:
		if (size == sizeof(bytes) || stream_is_at_end(f->stream))
			refuse(f, TARGET_MALFORMED);
		return;
	case TARGET_READ_UNSUPPORTED:
		refuse(f, TARGET_UNSUPPORTED);
		return;
	case TARGET_READ_MALFORMED:
		refuse(f, TARGET_MALFORMED);
		return;
	case TARGET_READ_DONE:
		stream_consume(f->streams, f->stream, now, (size_t)(in.pos - bytes));
		dispatch(f, now, &request);
		return;
	}
	CV_UNREACHABLE();
}

void far_open(struct bridge *b, cv_time now, const struct endpoint_event *ev)
{
	struct flow *f = flow_new(b, FLOW_FAR, FLOW_REQUEST);

	if (!f) {
		stream_release(ev->streams, ev->stream.stream, TARGET_LIMIT);
		endpoint_touch(b->endpoint, ev->peer);
		return;
	}
	f->peer = ev->peer;
	f->streams = ev->streams;
	f->stream = ev->stream.stream;
	stream_set_tag(f->stream, (uint64_t)(uintptr_t)f);
	flow_set_deadline(f, cv_time_after(now, REQUEST_TIMEOUT));
	read_request(f, now);
}

void far_on_stream(struct flow *f, cv_time now, const struct endpoint_event *ev, bool is_lost)
{
	(void)is_lost;
	switch (ev->stream.kind) {
	case STREAM_EVENT_READABLE:
		if (f->state == FLOW_REQUEST)
			read_request(f, now);
		return;
	case STREAM_EVENT_RESET:
	case STREAM_EVENT_STOPPED:
		/* The client went away: nobody to refuse to. */
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

void far_on_deadline(struct flow *f, cv_time now)
{
	if (f->state == FLOW_REQUEST) {
		refuse(f, TARGET_MALFORMED);
		return;
	}
	dial_on_deadline(&f->far->dial, now);
	pump_dial(f, now);
}

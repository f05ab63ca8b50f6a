/* SPDX-License-Identifier: MIT */
#include "flows/remote.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "net/clock.h"

#define RETRY_MIN CV_SEC(1)
#define RETRY_MAX CV_SEC(30)

/* One listener at a peer; it copies what it needs of the configuration. */
struct remote_forward {
	struct flow *flow; /* its LISTEN stream; NULL: none */
	uint32_t peer;
	bool is_udp;
	bool is_open;
	bool is_second; /* the other half of `localhost`: any free port is that of the one before */
	struct hostport at;
	struct hostport to;
	struct addr bound;       /* while it is open; ADDR_NONE: a unix socket */
	enum target_code code;   /* why it is not open; TARGET_OK: nothing is known */
	enum target_code logged; /* the last that was logged */
	cv_time retry_at;
	cv_duration backoff;
};

/* A refusal's sentence is about targets; here it is about a listener. */
static const char *cause_of(enum target_code code)
{
	switch (code) {
	case TARGET_POLICY:
		return "the peer's allow_listen does not include it, or its system does not "
		       "permit it";
	case TARGET_HOST_UNREACHABLE:
		return "it is no address of the peer's";
	case TARGET_NET_UNREACHABLE:
		return "the peer has no such kind of address";
	case TARGET_UNSUPPORTED:
	case TARGET_ADDRESS_UNSUPPORTED:
	case TARGET_MALFORMED:
		return "the peer's version has no such listeners";
	case TARGET_LIMIT:
		return "the peer is at its limit of listeners";
	case TARGET_ABORTED:
		return "the peer closed it";
	case TARGET_OK:
	case TARGET_NAME_NOT_RESOLVED:
	case TARGET_SERVICE_UNKNOWN:
	case TARGET_RESOLVER_TIMEOUT:
	case TARGET_REFUSED:
	case TARGET_TIMEOUT:
	case TARGET_PEER_DOWN:
	case TARGET_INTERNAL:
	case TARGET_SESSION_LOST:
	case TARGET_NO_ROUTE:
	case TARGET_IN_USE:
		return target_code_text(code);
	}
	CV_UNREACHABLE();
}

static const char *peer_name(const struct bridge *b, const struct remote_forward *r)
{
	return b->peers[r->peer].name;
}

void remote_forget(struct flow *f)
{
	if (f->kind != FLOW_REMOTE || !f->remote)
		return;
	f->remote->flow = NULL;
	f->remote->is_open = false;
	f->remote = NULL;
}

/* ---- asking ---- */

static void retry_later(struct remote_forward *r, cv_time now)
{
	r->backoff = r->backoff ? CV_MIN(r->backoff * 2, RETRY_MAX) : RETRY_MIN;
	r->retry_at = cv_time_after(now, r->backoff);
}

/* Any free port of two families is one port. */
static bool port_is_known(const struct remote_forward *r, struct hostport *at)
{
	*at = r->at;
	if (at->kind != HOST_ADDR || at->port != 0 || !r->is_second)
		return true;
	if (!r[-1].is_open)
		return false;
	at->port = r[-1].bound.port;
	return true;
}

static int open_stream(struct flow *f, const struct target_request *request)
{
	uint8_t head[TARGET_REQUEST_MAX];
	struct wr w = wr_init(head, sizeof(head));
	int r;

	r = streams_open(f->streams, &f->stream);
	if (r < 0) {
		f->stream = NULL;
		return r;
	}
	stream_set_tag(f->stream, (uint64_t)(uintptr_t)f);
	target_write_request(&w, request);
	CV_ASSERT(!w.bad);
	return stream_write(f->streams, f->stream, head, wr_size(&w)) == wr_size(&w) ? 0 : -1;
}

static void ask(struct bridge *b, cv_time now, struct remote_forward *r)
{
	struct target_request request = { .kind = r->is_udp ? TARGET_KIND_LISTEN_UDP
		                                            : TARGET_KIND_LISTEN };
	struct flow *f;

	if (!port_is_known(r, &request.to))
		return;
	f = flow_new(b, FLOW_REMOTE, FLOW_ASKING);
	if (!f) {
		retry_later(r, now);
		return;
	}
	f->peer = r->peer;
	f->streams = endpoint_streams(b->endpoint, r->peer);
	if (open_stream(f, &request) < 0) {
		retry_later(r, now);
		flow_abandon(f, TARGET_ABORTED, false);
		return;
	}
	f->remote = r;
	r->flow = f;
	flow_kick(f);
}

void remote_on_peer(struct bridge *b, cv_time now, uint32_t peer)
{
	for (size_t i = 0; i < b->remote_count; i++) {
		struct remote_forward *r = &b->remotes[i];

		if (r->peer == peer && !r->flow && now >= r->retry_at)
			ask(b, now, r);
	}
}

/* ---- answers ---- */

static void not_open(struct flow *f, cv_time now, enum target_code code)
{
	struct bridge *b = f->b;
	struct remote_forward *r = f->remote;
	bool was_open = r->is_open;
	char text[HOSTPORT_TEXT_MAX];

	flow_abandon(f, TARGET_ABORTED, false);
	r->code = code;
	if (code == TARGET_SESSION_LOST) {
		/* Nobody's fault: again as soon as there is a session. */
		r->backoff = 0;
		r->retry_at = now;
		return;
	}
	if (was_open)
		r->backoff = 0;
	retry_later(r, now);
	if (r->logged == code)
		return;
	r->logged = code;
	log_warn("remote forward not open peer=%s listen=%s%s cause=\"%s\"", peer_name(b, r),
	         hostport_format(&r->at, text), r->is_udp ? "/udp" : "", cause_of(code));
}

static void opened(struct flow *f, const struct addr *bound)
{
	struct remote_forward *r = f->remote;
	char listen[HOSTPORT_TEXT_MAX], to[HOSTPORT_TEXT_MAX], text[ADDR_TEXT_MAX];

	r->is_open = true;
	r->bound = *bound;
	r->code = TARGET_OK;
	r->logged = TARGET_OK;
	r->backoff = 0;
	log_info("remote forward open peer=%s listen=%s%s to=%s", flow_peer_name(f),
	         bound->family == ADDR_NONE ? hostport_format(&r->at, listen)
	                                    : addr_format(bound, text),
	         r->is_udp ? "/udp" : "", hostport_format(&r->to, to));
}

static void on_readable(struct flow *f, cv_time now)
{
	uint8_t bytes[TARGET_STATUS_MAX];
	size_t size = flow_peek(f, bytes, sizeof(bytes));
	struct addr bound;
	struct rd in = rd_init(bytes, size);

	if (f->remote->is_open) {
		/* Its end; anything else does not belong here. */
		not_open(f, now, size > 0 ? TARGET_INTERNAL : TARGET_ABORTED);
		return;
	}
	switch (target_read_status(&in, &bound)) {
	case TARGET_READ_NEED_MORE:
		if (stream_is_at_end(f->stream))
			not_open(f, now, TARGET_INTERNAL);
		return;
	case TARGET_READ_UNSUPPORTED:
	case TARGET_READ_MALFORMED:
		not_open(f, now, TARGET_INTERNAL);
		return;
	case TARGET_READ_DONE:
		stream_consume(f->streams, f->stream, now, (size_t)(in.pos - bytes));
		if (stream_readable(f->stream) > 0 || stream_is_at_end(f->stream))
			not_open(f, now, TARGET_INTERNAL);
		else
			opened(f, &bound);
		return;
	}
	CV_UNREACHABLE();
}

void remote_on_stream(struct flow *f, cv_time now, const struct endpoint_event *ev, bool is_lost)
{
	enum target_code code = target_code_from_wire(ev->stream.code);

	switch (ev->stream.kind) {
	case STREAM_EVENT_READABLE:
		on_readable(f, now);
		return;
	case STREAM_EVENT_RESET:
	case STREAM_EVENT_STOPPED:
		not_open(f, now, is_lost ? TARGET_SESSION_LOST : code);
		return;
	case STREAM_EVENT_WRITABLE:
	case STREAM_EVENT_ACKED:
	case STREAM_EVENT_OPENED:
	case STREAM_EVENT_OPENABLE:
		return;
	}
	CV_UNREACHABLE();
}

const struct hostport *remote_target(const struct flow *f, uint64_t number, bool is_udp)
{
	for (size_t i = 0; i < f->b->remote_count; i++) {
		const struct remote_forward *r = &f->b->remotes[i];

		if (r->peer == f->peer && r->is_udp == is_udp && r->flow &&
		    r->flow->streams == f->streams && stream_id(r->flow->stream) == number)
			return &r->to;
	}
	return NULL;
}

/* ---- another configuration ---- */

static bool is_same(const struct remote_forward *a, const struct remote_forward *b)
{
	return a->peer == b->peer && a->is_udp == b->is_udp && hostport_equal(&a->at, &b->at);
}

static size_t count_all(const struct config *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->remote_forward_count; i++) {
		const struct config_listen *l = &c->remote_forwards[i].listen;

		n += l->unix_path ? 1 : l->addr_count;
	}
	return n;
}

static void fill(const struct bridge *b, const struct config_forward *f, struct remote_forward *out)
{
	const struct config_listen *l = &f->listen;
	struct remote_forward r = {
		.peer = tables_peer_number(&b->tables, &f->peer),
		.is_udp = f->protocol == CONFIG_UDP,
		.to = f->to.host,
	};

	if (l->unix_path) {
		r.at.kind = HOST_UNIX;
		memcpy(r.at.text, l->unix_path, strlen(l->unix_path) + 1);
		*out = r;
		return;
	}
	for (uint8_t i = 0; i < l->addr_count; i++) {
		r.at = (struct hostport){ .kind = HOST_ADDR, .port = l->addrs[i].port };
		r.at.addr = addr_canonical(&l->addrs[i]);
		r.is_second = i > 0;
		out[i] = r;
	}
}

/* @r was asked for before: its stream stays, where its connections lead may change. */
static void take_over(struct bridge *b, struct remote_forward *r)
{
	for (size_t i = 0; i < b->remote_count; i++) {
		struct remote_forward *before = &b->remotes[i];
		struct hostport to = r->to;
		bool is_second = r->is_second;

		if (!before->flow || !is_same(before, r))
			continue;
		*r = *before;
		r->to = to;
		r->is_second = is_second;
		r->flow->remote = r;
		before->flow = NULL;
		return;
	}
}

void remote_adopt(struct bridge *b)
{
	size_t count = count_all(b->config), at = 0;
	struct remote_forward *list = cv_zalloc_array(CV_MAX(count, 1), sizeof(*list));
	cv_time now = clock_now();

	if (!list) {
		log_error("out of memory: remote forwards stay as they were");
		return;
	}
	for (size_t i = 0; i < b->config->remote_forward_count; i++) {
		const struct config_forward *f = &b->config->remote_forwards[i];

		fill(b, f, &list[at]);
		at += f->listen.unix_path ? 1 : f->listen.addr_count;
	}
	CV_ASSERT(at == count);
	for (size_t i = 0; i < count; i++)
		take_over(b, &list[i]);
	for (size_t i = 0; i < b->remote_count; i++) {
		if (b->remotes[i].flow)
			flow_abandon(b->remotes[i].flow, TARGET_ABORTED, false);
	}
	cv_free(b->remotes);
	b->remotes = list;
	b->remote_count = count;
	for (size_t i = 0; i < count; i++) {
		if (!list[i].flow &&
		    endpoint_peer_state(b->endpoint, list[i].peer) == PEER_CONNECTED)
			ask(b, now, &list[i]);
	}
}

void remote_status(const struct bridge *b, size_t i, struct remote_status *out)
{
	const struct remote_forward *r = &b->remotes[i];
	char text[ADDR_TEXT_MAX];

	*out = (struct remote_status){ .peer = peer_name(b, r) };
	(void)hostport_format(&r->at, out->listen);
	(void)hostport_format(&r->to, out->to);
	if (r->is_open)
		(void)snprintf(out->bound, sizeof(out->bound), "%s",
		               r->bound.family == ADDR_NONE ? out->listen
		                                            : addr_format(&r->bound, text));
	else if (r->code != TARGET_OK)
		(void)snprintf(out->why, sizeof(out->why), "%s", cause_of(r->code));
	else
		(void)snprintf(out->why, sizeof(out->why), "%s",
		               r->flow ? "the peer has not answered yet"
		                       : "the peer is not connected");
}

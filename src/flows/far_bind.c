/* SPDX-License-Identifier: MIT */

/*
 * far_bind - SOCKS5's BIND for a peer: one listener for one connection.
 *
 * It listens at the address of ours that its expected peer would see, so that an FTP server reaches
 * what it was told; with nobody named, at the one that the default route uses. `allow_listen` must
 * have that address, and the port is the first free one that it has there.
 */
#include "flows/far_listen.h"

#include <errno.h>

#include "base/log.h"
#include "net/clock.h"
#include "net/gateway.h"

#define ACCEPT_TIMEOUT CV_SEC(120)

static void refuse(struct flow *f, enum target_code code)
{
	log_info("bind refused peer=%s cause=\"%s\"", flow_peer_name(f),
	         code == TARGET_POLICY ? "allow_listen does not include it"
	                               : target_code_text(code));
	flow_abandon(f, code, true);
}

static bool say(struct flow *f, const struct addr *bound)
{
	uint8_t status[TARGET_STATUS_MAX];
	struct wr w = wr_init(status, sizeof(status));

	target_write_status(&w, bound);
	return stream_write(f->streams, f->stream, status, wr_size(&w)) == wr_size(&w);
}

static bool is_expected(const struct far_listen *fl, const struct addr *who)
{
	struct addr a = addr_canonical(who);

	for (unsigned i = 0; i < fl->from_count; i++) {
		if (addr_equal_ip(&fl->from[i], &a))
			return true;
	}
	return fl->from_count == 0;
}

static void on_accept(void *ctx, struct tcp_conn *conn)
{
	struct flow *f = ctx;
	struct addr who = tcp_conn_peer_address(conn);
	char text[ADDR_TEXT_MAX];

	if (!is_expected(f->listen, &who)) {
		log_info("bind not for this one peer=%s from=%s", flow_peer_name(f),
		         addr_format(&who, text));
		tcp_conn_reset(conn);
		return;
	}
	far_listen_free(f);
	if (!say(f, &who)) {
		tcp_conn_reset(conn);
		refuse(f, TARGET_LIMIT);
		return;
	}
	log_info("bind connected peer=%s from=%s", flow_peer_name(f), addr_format(&who, text));
	f->conn = conn;
	flow_start(f, clock_now());
	flow_kick(f);
}

static struct addr somewhere(void)
{
	return addr_v4(192, 0, 2, 1, 9); /* a documentation address: its route is the default one */
}

static void listen_for(struct flow *f, cv_time now)
{
	struct far_listen *fl = f->listen;
	struct addr to = fl->from_count > 0 ? fl->from[0] : somewhere();
	struct hostport at = { .kind = HOST_ADDR };
	enum target_code code;
	char text[HOSTPORT_TEXT_MAX];
	int r;

	to.port = 9; /* any; nothing is sent there */
	r = gateway_source(&to, &at.addr);
	code = r < 0 ? target_code_from_errno(r) : far_listen_bind(f, &at, on_accept);
	if (code != TARGET_OK) {
		refuse(f, code);
		return;
	}
	stream_accept(f->streams, f->stream);
	if (!say(f, &fl->at.addr)) {
		refuse(f, TARGET_LIMIT);
		return;
	}
	log_info("bind listens peer=%s listen=%s", flow_peer_name(f),
	         hostport_format(&fl->at, text));
	flow_set_deadline(f, cv_time_after(now, ACCEPT_TIMEOUT));
	flow_kick(f);
}

static void on_lookup(void *ctx, uint64_t id, enum resolver_verdict verdict,
                      const struct addr *list, unsigned count)
{
	static const enum target_code codes[] = {
		[RESOLVER_OK] = TARGET_OK,
		[RESOLVER_NOT_FOUND] = TARGET_NAME_NOT_RESOLVED,
		[RESOLVER_NO_ANSWER] = TARGET_RESOLVER_TIMEOUT,
		[RESOLVER_LIMIT] = TARGET_LIMIT,
	};
	struct flow *f = ctx;
	struct far_listen *fl = f->listen;

	(void)id;
	fl->lookup = 0;
	for (unsigned i = 0; i < count && fl->from_count < CV_ARRAY_SIZE(fl->from); i++)
		fl->from[fl->from_count++] = addr_canonical(&list[i]);
	if (verdict != RESOLVER_OK || fl->from_count == 0)
		refuse(f, verdict == RESOLVER_OK ? TARGET_NAME_NOT_RESOLVED : codes[verdict]);
	else
		listen_for(f, clock_now());
}

void far_bind_open(struct flow *f, cv_time now, const struct target_request *request)
{
	struct bridge *b = f->b;
	enum target_code code = far_listen_new(f, now);

	if (code == TARGET_OK && !far_listen_may_any(f))
		code = TARGET_POLICY; /* not even a lookup */
	if (code != TARGET_OK) {
		refuse(f, code);
		return;
	}
	f->state = FLOW_BINDING;
	flow_set_deadline(f, cv_time_after(now, ACCEPT_TIMEOUT));
	if (request->to.kind == HOST_NAME) {
		f->listen->lookup =
			resolver_start(b->resolver, f->peer, request->to.text, 1, on_lookup, f);
		if (f->listen->lookup == 0)
			refuse(f, TARGET_LIMIT);
		return;
	}
	if (request->to.kind == HOST_ADDR)
		f->listen->from[f->listen->from_count++] = request->to.addr;
	listen_for(f, now);
}

void far_bind_on_stream(struct flow *f, const struct endpoint_event *ev)
{
	switch (ev->stream.kind) {
	case STREAM_EVENT_RESET:
	case STREAM_EVENT_STOPPED:
		/* The client went away: nobody to refuse to. */
		flow_abandon(f, TARGET_ABORTED, true);
		return;
	case STREAM_EVENT_READABLE: /* data for whoever connects */
	case STREAM_EVENT_WRITABLE:
	case STREAM_EVENT_ACKED:
	case STREAM_EVENT_OPENED:
	case STREAM_EVENT_OPENABLE:
		return;
	}
	CV_UNREACHABLE();
}

void far_bind_on_deadline(struct flow *f)
{
	refuse(f, TARGET_TIMEOUT);
}

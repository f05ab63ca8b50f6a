/* SPDX-License-Identifier: MIT */

/*
 * near_proxy - a proxy's client from its first byte to its answer: which protocol it speaks, what
 * it asks for, and what it is told.
 */
#include "flows/bridge.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "flows/once.h"
#include "net/clock.h"
#include "net/entropy.h"

#define SAID_INTERVAL CV_SEC(60) /* between two lines about clients that were dropped */

/* Memory for a head grows in three steps; the last is HTTP_HEAD_MAX. */
enum { HEAD_FIRST = 2048, HEAD_SECOND = HTTP_HEAD_CONNECT_MAX };

/* It has asked, or is gone: it cannot lose its place to a new client any more. */
static void leave_asking(struct flow *f)
{
	if (list_is_empty(&f->near->asking))
		return;
	list_remove(&f->near->asking);
	f->b->asking_count--;
}

void near_proxy_forget(struct flow *f)
{
	struct near *n = f->near;

	leave_asking(f);
	if (n->head) {
		if (n->http.head.cap > HEAD_SECOND)
			f->b->heads--;
		auth_wipe(n->head, n->http.head.cap);
		cv_free(n->head);
	}
	auth_wipe(n, sizeof(*n));
}

/* ---- answers ---- */

static void say_http_error(struct flow *f, uint16_t status, const char *cause,
                           const struct hostport *target)
{
	uint8_t bytes[HTTP_ERROR_MAX];
	struct wr w = wr_init(bytes, sizeof(bytes));

	http_write_error(&f->near->http, &w, status, cause, target);
	CV_ASSERT(!w.bad);
	(void)near_say(f, bytes, wr_size(&w)); /* a client that is gone needs no answer */
}

void near_proxy_refuse(struct flow *f, enum target_code code, const char *cause)
{
	struct near *n = f->near;
	uint8_t reply[SOCKS5_REPLY_MAX];
	struct wr w = wr_init(reply, sizeof(reply));

	if (n->is_answered) {
		flow_abandon(f, TARGET_ABORTED, true);
		return;
	}
	if (n->protocol == SNIFF_HTTP) {
		say_http_error(f, target_code_http(code), cause, &n->to);
		flow_linger(f);
		return;
	}
	if (n->protocol == SNIFF_SOCKS4)
		socks4_write_reply(&w, code, NULL);
	else
		socks5_write_reply(&w, code, NULL);
	(void)near_say(f, reply, wr_size(&w));
	flow_linger(f);
}

bool near_proxy_accept(struct flow *f, const struct addr *bound)
{
	uint8_t reply[CV_MAX((int)SOCKS5_REPLY_MAX, (int)HTTP_ESTABLISHED_SIZE)];
	struct wr w = wr_init(reply, sizeof(reply));

	if (f->near->is_answered || f->once)
		return true; /* what the target says is the answer to an HTTP request */
	if (f->near->protocol == SNIFF_HTTP)
		http_write_established(&w);
	else if (f->near->protocol == SNIFF_SOCKS4)
		socks4_write_reply(&w, TARGET_OK, bound);
	else
		socks5_write_reply(&w, TARGET_OK, bound);
	CV_ASSERT(!w.bad);
	return near_say(f, reply, wr_size(&w));
}

void near_proxy_on_timeout(struct flow *f)
{
	if (f->near->protocol != SNIFF_HTTP) {
		flow_abandon(f, TARGET_ABORTED, false);
		return;
	}
	say_http_error(f, 408, "it did not come whole within 10 s", NULL);
	flow_linger(f);
}

/* The request itself is at fault; what its protocol says to that has been said. */
static void turn_away(struct flow *f, const char *why)
{
	log_info("refused proxy client cause=\"%s\"", why);
	flow_linger(f);
}

/* ---- the request ---- */

static void go(struct flow *f)
{
	struct near *n = f->near;

	near_open(f, clock_now());
	if (f->state != FLOW_WAITING || !n->proxy->is_optimistic || f->once)
		return;
	if (!near_proxy_accept(f, NULL)) {
		flow_abandon(f, TARGET_ABORTED, true);
		return;
	}
	n->is_answered = true;
	near_go_eager(f);
}

/* The client has said what it wants. */
static void has_asked(struct flow *f)
{
	tcp_conn_read_stop(f->conn);
	leave_asking(f);
}

/* Of @to; what is left of @rest was sent ahead. False: refused, or the client is gone. */
static bool find_route(struct flow *f, const struct hostport *to, const struct rd *rest)
{
	struct near *n = f->near;
	size_t left = rd_left(rest);

	has_asked(f);
	/* What the client sent ahead is stream data: keep it at the front of the buffer. */
	memmove(n->in, rest->pos, left);
	n->early_size = left;
	n->to = *to;
	f->peer = route_find(n->routes, to, &n->to);
	if (f->peer != ROUTE_NO_PEER)
		return true;
	near_refuse(f, TARGET_NO_ROUTE);
	return false;
}

static void on_connect(struct flow *f, const struct hostport *to, const struct rd *rest)
{
	if (find_route(f, to, rest))
		go(f);
}

static void on_bind(struct flow *f, const struct hostport *to, const struct rd *rest)
{
	if (find_route(f, to, rest))
		near_bind(f);
}

static void on_associate(struct flow *f, const struct hostport *from)
{
	has_asked(f);
	f->near->to = *from;
	associate_open(f);
}

/* A request in absolute form: the head goes rewritten, the body filtered. */
static void on_forward(struct flow *f, const struct rd *rest)
{
	struct near *n = f->near;
	int r;

	if (!find_route(f, &n->http.target, rest))
		return;
	r = once_new(f, &n->http, n->in, n->early_size);
	n->early_size = 0;
	if (r == -EBADMSG)
		near_refuse(f, TARGET_MALFORMED);
	else if (r < 0)
		near_refuse(f, TARGET_LIMIT);
	else
		go(f);
}

/* ---- the three protocols ---- */

static void on_socks5(struct flow *f, struct rd *in)
{
	struct socks5 *s = &f->near->socks;

	for (;;) {
		enum socks5_verdict v = socks5_on_bytes(s, in);

		if (s->out_size > 0 && !near_say(f, s->out, s->out_size)) {
			flow_abandon(f, TARGET_ABORTED, true);
			return;
		}
		switch (v) {
		case SOCKS5_REPLY:
			continue;
		case SOCKS5_NEED_MORE:
			return;
		case SOCKS5_REQUEST:
			if (s->command == SOCKS5_ASSOCIATE)
				on_associate(f, &s->target);
			else if (s->command == SOCKS5_BIND)
				on_bind(f, &s->target, in);
			else
				on_connect(f, &s->target, in);
			return;
		case SOCKS5_CLOSE:
			turn_away(f, s->why ? s->why : "malformed");
			return;
		}
		CV_UNREACHABLE();
	}
}

static void on_socks4(struct flow *f, struct rd *in)
{
	struct socks4 *s = &f->near->socks4;

	switch (socks4_on_bytes(s, in)) {
	case SOCKS4_NEED_MORE:
		return;
	case SOCKS4_REQUEST:
		if (s->command == SOCKS4_BIND)
			on_bind(f, &s->target, in);
		else
			on_connect(f, &s->target, in);
		return;
	case SOCKS4_CLOSE:
		(void)near_say(f, s->out, s->out_size);
		turn_away(f, s->why);
		return;
	}
	CV_UNREACHABLE();
}

/* More memory for a head; false when there is none. */
static bool lend(struct flow *f)
{
	struct near *n = f->near;
	size_t before = n->http.head.cap;
	size_t cap = before < HEAD_SECOND ? (size_t)HEAD_SECOND : (size_t)HTTP_HEAD_MAX;
	uint8_t *head;

	if (cap == HTTP_HEAD_MAX && f->b->heads == HTTP_HEADS_MAX)
		return false;
	head = cv_zalloc(cap);
	if (!head)
		return false;
	http_lend(&n->http, head, cap);
	auth_wipe(n->head, before);
	cv_free(n->head);
	n->head = head;
	if (cap == HTTP_HEAD_MAX)
		f->b->heads++;
	return true;
}

static void on_http(struct flow *f, struct rd *in)
{
	struct http *h = &f->near->http;

	for (;;) {
		switch (http_on_bytes(h, in)) {
		case HTTP_NEED_MORE:
			return;
		case HTTP_NEED_ROOM:
			if (lend(f))
				continue;
			say_http_error(f, 503, "this proxy is at a limit", NULL);
			turn_away(f, "too many clients have long heads");
			return;
		case HTTP_CONNECT:
			on_connect(f, &h->target, in);
			return;
		case HTTP_FORWARD:
			on_forward(f, in);
			return;
		case HTTP_CLOSE:
			say_http_error(f, h->status, h->why, NULL);
			turn_away(f, h->why);
			return;
		}
		CV_UNREACHABLE();
	}
}

/* The first byte tells the protocol. False: the client is gone. */
static bool sniff(struct flow *f, const struct rd *in)
{
	struct near *n = f->near;
	const struct tables_proxy *t = &f->b->tables.proxies[n->proxy_index];

	switch (sniff_first_byte(in)) {
	case SNIFF_SOCKS5:
		socks5_init(&n->socks, t->users, t->user_count);
		n->protocol = SNIFF_SOCKS5;
		return true;
	case SNIFF_SOCKS4:
		socks4_init(&n->socks4, t->user_count > 0);
		n->protocol = SNIFF_SOCKS4;
		return true;
	case SNIFF_HTTP:
		n->head = cv_zalloc(HEAD_FIRST);
		if (!n->head)
			break;
		http_init(&n->http, t->users, t->user_count, n->head, HEAD_FIRST);
		n->protocol = SNIFF_HTTP;
		return true;
	case SNIFF_NEED_MORE: /* there is a byte */
	case SNIFF_UNKNOWN:   /* not one byte for whoever probes ports */
		log_info("refused proxy client cause=\"neither SOCKS nor HTTP\"");
		break;
	}
	flow_abandon(f, TARGET_ABORTED, false);
	return false;
}

static void on_client_bytes(struct flow *f, size_t size)
{
	struct rd in = rd_init(f->near->in, size);

	if (f->near->protocol == SNIFF_NEED_MORE && !sniff(f, &in))
		return;
	if (f->near->protocol == SNIFF_SOCKS5)
		on_socks5(f, &in);
	else if (f->near->protocol == SNIFF_SOCKS4)
		on_socks4(f, &in);
	else
		on_http(f, &in);
}

/* ---- the connection ---- */

static uint8_t *client_alloc(void *ctx, size_t *size)
{
	struct flow *f = ctx;

	if (f->state != FLOW_HANDSHAKE)
		return NULL;
	*size = sizeof(f->near->in);
	return f->near->in;
}

static void client_read(void *ctx, size_t size)
{
	struct flow *f = ctx;

	if (size > 0)
		on_client_bytes(f, size);
}

/* Before the answer an end of file means that the client gave up, for a proxy; nothing was promised
 * to it. */
static void client_eof(void *ctx)
{
	struct flow *f = ctx;

	flow_abandon(f, TARGET_ABORTED, false);
}

static void client_error(void *ctx, int error)
{
	struct flow *f = ctx;

	(void)error;
	flow_abandon(f, TARGET_ABORTED, true);
}

static void client_writable(void *ctx)
{
	(void)ctx; /* replies are whole or the client is dropped */
}

static const struct tcp_conn_events client_events = {
	.alloc = client_alloc,
	.on_read = client_read,
	.on_eof = client_eof,
	.on_error = client_error,
	.on_writable = client_writable,
	.on_closed = flow_on_closed,
};

/* ---- the gate ---- */

/* A client from elsewhere takes a place; one that has not asked may lose its own. */
static void take_place(struct flow *f)
{
	struct bridge *b = f->b;
	uint32_t over = b->asking_count - CV_MIN(b->asking_count, (uint32_t)ASKING_CLIENTS_BEGIN);
	uint32_t percent =
		ASKING_CLIENTS_PERCENT +
		(100 - ASKING_CLIENTS_PERCENT) * over / (ASKING_CLIENTS_MAX - ASKING_CLIENTS_BEGIN);
	struct list *at = b->asking.next;
	cv_time now = clock_now();

	if (b->asking_count >= ASKING_CLIENTS_BEGIN && entropy_u64() % 100 < percent) {
		for (uint64_t i = entropy_u64() % b->asking_count; i > 0; i--)
			at = at->next;
		if (!b->dropped_said_at ||
		    cv_time_since(now, b->dropped_said_at) >= SAID_INTERVAL) {
			b->dropped_said_at = now;
			log_warn("proxy clients dropped cause=\"%u of them have not said what they "
			         "want\"",
			         b->asking_count);
		}
		flow_abandon(list_entry(at, struct near, asking)->flow, TARGET_ABORTED, true);
	}
	list_add_tail(&b->asking, &f->near->asking);
	b->asking_count++;
	CV_ASSERT(b->asking_count <= ASKING_CLIENTS_MAX);
}

void near_proxy_rebind(struct flow *f, uint32_t proxy)
{
	const struct tables_proxy *t = &f->b->tables.proxies[proxy];
	struct near *n = f->near;

	n->proxy_index = proxy;
	n->proxy = &f->b->config->proxies[proxy];
	n->routes = &t->routes;
	/* Whoever has authenticated has; the name was borrowed from the users before. */
	if (n->protocol == SNIFF_SOCKS5) {
		n->socks.users = t->users;
		n->socks.user_count = t->user_count;
		n->socks.user = NULL;
	} else if (n->protocol == SNIFF_SOCKS4) {
		n->socks4.has_users = t->user_count > 0;
	} else if (n->protocol == SNIFF_HTTP) {
		n->http.users = t->users;
		n->http.user_count = t->user_count;
		n->http.user = NULL;
	}
}

void near_accept_proxy(struct bridge *b, uint32_t proxy, struct tcp_conn *conn)
{
	struct flow *f = near_new(b, FLOW_PROXY, conn);
	struct addr from;

	if (!f) {
		tcp_conn_reset(conn);
		return;
	}
	near_proxy_rebind(f, proxy);
	flow_set_deadline(f, cv_time_after(f->began_at, PROXY_HANDSHAKE_TIMEOUT));
	tcp_conn_start(conn, &client_events, f);
	tcp_conn_read_start(conn);
	from = tcp_conn_peer_address(conn);
	if (from.family != ADDR_NONE && addr_class(&from) != ADDR_CLASS_LOOPBACK)
		take_place(f);
}

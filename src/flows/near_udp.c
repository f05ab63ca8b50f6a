/* SPDX-License-Identifier: MIT */
#include "flows/near_udp.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "net/entropy.h"

/* How long a flow may be silent. RFC 4787, REQ-5: not less than 2 minutes, 5 or more recommended
 * (here for those that have been answered); REQ-5a allows less for well-known ports: a resolver
 * asks every time from another port, and each is done with its answer. */
#define IDLE_ANSWERED CV_SEC(300)
#define IDLE_UNANSWERED CV_SEC(120)
#define IDLE_DNS_ANSWERED CV_SEC(5)
#define IDLE_DNS_UNANSWERED CV_SEC(20)
/* As for a TCP client. */
#define PATIENCE CV_MS(9500)
/* Before the next flow after a refusal: what is our side's or the policy's fault stays so for
 * longer than what may be a restart of the target. */
#define REFUSED_PAUSE CV_SEC(1)
#define DENIED_PAUSE CV_SEC(5)
/* The order of use is kept this exactly. */
#define USE_STEP CV_SEC(1)

enum { DNS_PORT = 53, NO_ROOM_SAID = 60 /* seconds between two lines */ };

struct client {
	struct udp_flow flow;
	struct near_udp *l;
	struct list node;    /* of the port's, the longest unused first */
	struct client *next; /* with the same key */
	uint64_t key;
	struct addr from;     /* the client */
	struct addr to;       /* our address that it sent to, on a wildcard */
	struct udp_dest dest; /* of answers */
	cv_time began_at;
	cv_time ordered_at; /* when it was last put last */
	bool is_accepted;
	bool is_answered;
};

struct near_udp {
	struct bridge *b;
	struct udp_local *sock;
	struct udp_pause pause;
	struct near_udp_role role;
	bool has_role;
	struct idmap by_key; /* client; the first of those with one key */
	uint64_t seed;
	struct list clients;
	uint32_t count;
	struct client *last;
	cv_time refused_until;
	enum target_code refused_code;
	cv_time full_said_at;
	void (*on_closed)(void *ctx);
	void *closed_ctx;
};

static const struct udp_flow_ops client_ops;

/* ---- clients by address ---- */

static uint64_t key_of(const struct near_udp *l, const struct addr *from, const struct addr *to)
{
	uint64_t key = addr_hash(from, l->seed);

	return to->family == ADDR_NONE ? key : key ^ addr_hash(to, ~l->seed);
}

static bool is_client(const struct client *c, const struct addr *from, const struct addr *to)
{
	return addr_equal(&c->from, from) && (to->family == ADDR_NONE || addr_equal_ip(&c->to, to));
}

static struct client *find(struct near_udp *l, const struct addr *from, const struct addr *to)
{
	struct client *c = l->last;
	uint64_t value;

	if (c && is_client(c, from, to))
		return c;
	value = idmap_find(&l->by_key, key_of(l, from, to));
	c = value == IDMAP_NONE ? NULL : (struct client *)(uintptr_t)value;
	while (c && !is_client(c, from, to))
		c = c->next;
	if (c)
		l->last = c;
	return c;
}

/* Off the map of addresses. */
static void unmap(struct near_udp *l, struct client *c)
{
	uint64_t value = idmap_find(&l->by_key, c->key);
	struct client *at = (struct client *)(uintptr_t)value;

	CV_ASSERT(value != IDMAP_NONE);
	if (at == c) {
		(void)idmap_remove(&l->by_key, c->key);
		/* In the place that has just become free. */
		if (c->next)
			CV_ASSERT(idmap_add(&l->by_key, c->key, (uint64_t)(uintptr_t)c->next) == 0);
		return;
	}
	while (at->next != c)
		at = at->next;
	at->next = c->next;
}

static int map(struct near_udp *l, struct client *c)
{
	uint64_t value = idmap_find(&l->by_key, c->key);

	c->next = value == IDMAP_NONE ? NULL : (struct client *)(uintptr_t)value;
	return idmap_add(&l->by_key, c->key, (uint64_t)(uintptr_t)c);
}

static void end(struct client *c, enum target_code code)
{
	struct near_udp *l = c->l;

	/* What was gathered to be sent has its address in here. */
	udp_set_flush(l->b->udp.set);
	if (l->last == c)
		l->last = NULL;
	unmap(l, c);
	list_remove(&c->node);
	l->count--;
	udp_flow_remove(&c->flow, code);
	cv_free(c);
}

/* ---- time ---- */

static cv_duration idle_time(const struct client *c)
{
	if (c->l->role.request.to.port == DNS_PORT)
		return c->is_answered ? IDLE_DNS_ANSWERED : IDLE_DNS_UNANSWERED;
	return c->is_answered ? IDLE_ANSWERED : IDLE_UNANSWERED;
}

static void on_deadline(struct udp_flow *f, cv_time now)
{
	struct client *c = CV_CONTAINER_OF(f, struct client, flow);
	cv_time idle_at = cv_time_after(f->used_at, idle_time(c));

	/* Its datagrams have waited as long as a client of TCP would. */
	if (f->held && now >= cv_time_after(c->began_at, PATIENCE))
		udp_flow_drop_held(f);
	if (now >= idle_at) {
		log_debug("flow idle peer=%s", f->b->peers[f->peer].name);
		end(c, TARGET_ABORTED);
		return;
	}
	if (f->held)
		idle_at = cv_time_min(idle_at, cv_time_after(c->began_at, PATIENCE));
	udp_flow_set_deadline(f, idle_at);
}

static void touch(struct client *c, cv_time now)
{
	c->flow.used_at = now;
	if (cv_time_since(now, c->ordered_at) < USE_STEP)
		return;
	c->ordered_at = now;
	list_remove(&c->node);
	list_add_tail(&c->l->clients, &c->node);
}

/* ---- the far side's answers ---- */

static void refused(struct near_udp *l, cv_time now, enum target_code code)
{
	char text[HOSTPORT_TEXT_MAX] = "-";
	bool is_lasting = code == TARGET_POLICY || code == TARGET_UNSUPPORTED ||
	                  code == TARGET_SERVICE_UNKNOWN || code == TARGET_NAME_NOT_RESOLVED;

	l->refused_until = cv_time_after(now, is_lasting ? DENIED_PAUSE : REFUSED_PAUSE);
	l->refused_code = code;
	if (!l->role.request.has_listener)
		(void)hostport_format(&l->role.request.to, text);
	log_info("refused peer=%s target=%s protocol=udp cause=\"%s\"",
	         l->role.peer == ROUTE_NO_PEER ? "-" : l->b->peers[l->role.peer].name, text,
	         target_code_text(code));
}

static void on_end(struct udp_flow *f, cv_time now, enum target_code code)
{
	struct client *c = CV_CONTAINER_OF(f, struct client, flow);

	/* Reset for nothing in particular is the far side's idle end. */
	if (code != TARGET_SESSION_LOST && code != TARGET_ABORTED)
		refused(c->l, now, code);
	end(c, TARGET_ABORTED);
}

/* The status; after it there is nothing to come but the end. */
static void on_readable(struct udp_flow *f, cv_time now)
{
	struct client *c = CV_CONTAINER_OF(f, struct client, flow);

	c->is_accepted = true;
	if (udp_flow_discard(f, now))
		end(c, TARGET_ABORTED);
}

static void on_answer(struct udp_flow *f, cv_time now, const uint8_t *bytes, size_t size)
{
	struct client *c = CV_CONTAINER_OF(f, struct client, flow);

	if (!c->is_answered) {
		c->is_answered = true;
		udp_flow_set_deadline(f, cv_time_after(now, idle_time(c)));
	}
	touch(c, now);
	udp_local_send(c->l->sock, &c->dest, bytes, size);
}

static const struct udp_flow_ops client_ops = {
	.on_datagram = on_answer,
	.on_readable = on_readable,
	.on_end = on_end,
	.on_deadline = on_deadline,
};

/* ---- a client's datagrams ---- */

/* Room for one more: the longest unused goes, unless all are in use. */
static bool make_room(struct near_udp *l, cv_time now)
{
	struct client *oldest;

	if (l->count < UDP_FLOWS_PER_PORT_MAX && l->b->udp.count < UDP_FLOWS_MAX)
		return true;
	oldest = list_is_empty(&l->clients) ? NULL
	                                    : list_entry(l->clients.next, struct client, node);
	if (oldest &&
	    (!oldest->is_answered || cv_time_since(now, oldest->flow.used_at) >= 2 * USE_STEP)) {
		end(oldest, TARGET_ABORTED);
		return true;
	}
	if (!l->full_said_at || cv_time_since(now, l->full_said_at) >= CV_SEC(NO_ROOM_SAID)) {
		l->full_said_at = now;
		log_warn("too many UDP flows at one port flows=%u", l->count);
	}
	return false;
}

/* The header of the stream: where this flow goes. */
static bool write_request(struct client *c)
{
	uint8_t head[TARGET_REQUEST_MAX];
	struct wr w = wr_init(head, sizeof(head));

	target_write_request(&w, &c->l->role.request);
	CV_ASSERT(!w.bad);
	return stream_write(c->flow.streams, c->flow.stream, head, wr_size(&w)) == wr_size(&w);
}

static bool open_stream(struct client *c, cv_time now)
{
	struct udp_flow *f = &c->flow;

	f->streams = endpoint_streams(f->b->endpoint, f->peer);
	if (streams_open(f->streams, &f->stream) < 0)
		return false;
	if (udp_flow_add(f, now) < 0) {
		stream_release(f->streams, f->stream, TARGET_LIMIT);
		return false;
	}
	if (write_request(c))
		return true;
	udp_flow_remove(f, TARGET_LIMIT);
	return false;
}

static struct client *new_client(struct near_udp *l, cv_time now, const struct addr *from,
                                 const struct addr *to)
{
	struct client *c = cv_zalloc(sizeof(*c));

	if (!c)
		return NULL;
	c->l = l;
	c->from = *from;
	c->to = *to;
	c->dest = udp_dest_make(from, to);
	c->key = key_of(l, from, to);
	c->began_at = c->ordered_at = now;
	c->flow.b = l->b;
	c->flow.ops = &client_ops;
	c->flow.peer = l->role.peer;
	list_init(&c->node);
	if (map(l, c) < 0) {
		cv_free(c);
		return NULL;
	}
	if (!open_stream(c, now)) {
		unmap(l, c);
		cv_free(c);
		return NULL;
	}
	list_add_tail(&l->clients, &c->node);
	l->count++;
	l->last = c;
	udp_flow_set_deadline(&c->flow, cv_time_after(now, CV_MIN(PATIENCE, idle_time(c))));
	return c;
}

/* May another flow be opened now? */
static bool may_open(struct near_udp *l, cv_time now)
{
	if (l->b->is_closing || !l->has_role || l->role.peer == ROUTE_NO_PEER ||
	    now < l->refused_until)
		return false;
	if (l->role.of && l->role.of != endpoint_streams(l->b->endpoint, l->role.peer))
		return false;
	endpoint_want_peer(l->b->endpoint, now, l->role.peer);
	if (endpoint_peer_state(l->b->endpoint, l->role.peer) == PEER_DOWN) {
		udp_flow_kick(l->b);
		refused(l, now, TARGET_PEER_DOWN);
		return false;
	}
	return make_room(l, now);
}

static void on_datagram(void *ctx, const struct udp_local_arrival *in)
{
	struct near_udp *l = ctx;
	struct client *c = find(l, in->from, in->to);

	if (!c) {
		c = may_open(l, in->now) ? new_client(l, in->now, in->from, in->to) : NULL;
		if (!c)
			return;
	}
	touch(c, in->now);
	udp_flow_send(&c->flow, in->now, in->bytes, in->size);
}

static void on_batch(void *ctx)
{
	struct near_udp *l = ctx;

	if (l->last)
		udp_flow_after_batch(l->b, &l->pause, l->sock, l->role.peer, l->last->flow.id);
	else
		udp_flow_kick(l->b);
}

static void on_error(void *ctx, int error)
{
	(void)ctx; /* nobody's in particular: the socket is not connected */
	(void)error;
}

static const struct udp_local_events events = {
	.on_datagram = on_datagram,
	.on_batch = on_batch,
	.on_error = on_error,
};

/* ---- life ---- */

int near_udp_open(struct bridge *b, const struct addr *at, struct near_udp **out)
{
	struct udp_set *set = udp_flows_set(b);
	struct near_udp *l = cv_zalloc(sizeof(*l));
	int r = -ENOMEM;

	if (!l || !set)
		goto fail;
	l->seed = entropy_u64();
	idmap_init(&l->by_key, entropy_u64());
	l->b = b;
	list_init(&l->clients);
	r = udp_local_bind(set, at, &events, l, &l->sock);
	if (r < 0)
		goto fail;
	*out = l;
	return 0;

fail:
	cv_free(l);
	return r;
}

static void end_all(struct near_udp *l)
{
	while (!list_is_empty(&l->clients))
		end(list_entry(l->clients.next, struct client, node), TARGET_ABORTED);
}

static bool is_same_request(const struct target_request *a, const struct target_request *b)
{
	return a->has_listener == b->has_listener && a->listener == b->listener &&
	       a->to.kind == b->to.kind &&
	       (a->to.kind == HOST_NONE || hostport_equal(&a->to, &b->to));
}

void near_udp_set_role(struct near_udp *l, const struct near_udp_role *role)
{
	if (l->has_role &&
	    (l->role.peer != role->peer || !is_same_request(&l->role.request, &role->request)))
		end_all(l);
	l->role = *role;
	l->has_role = true;
	l->refused_until = 0;
}

struct addr near_udp_local(const struct near_udp *l)
{
	return udp_local_address(l->sock);
}

uint32_t near_udp_flows(const struct near_udp *l)
{
	return l->count;
}

static void on_closed(void *ctx)
{
	struct near_udp *l = ctx;

	if (l->on_closed)
		l->on_closed(l->closed_ctx);
	idmap_deinit(&l->by_key);
	cv_free(l);
}

void near_udp_close(struct near_udp *l, void (*closed)(void *ctx), void *ctx)
{
	end_all(l);
	udp_flow_forget_pause(&l->pause);
	l->on_closed = closed;
	l->closed_ctx = ctx;
	udp_local_close(l->sock, on_closed, l);
}

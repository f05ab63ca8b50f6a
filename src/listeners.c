/* SPDX-License-Identifier: MIT */
#include "listeners.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

static int fail(struct listeners *ls, int code, const char *fmt, ...) CV_PRINTF(3, 4);
static int fail(struct listeners *ls, int code, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(ls->why, sizeof(ls->why), fmt, args);
	va_end(args);
	return code;
}

/* The pages' library has its own way with a socket. */
static void give_to_metrics(struct listeners *ls, struct tcp_conn *conn)
{
	int fd = ls->metrics ? tcp_conn_dup(conn) : -ENOTSUP;

	if (fd >= 0)
		metrics_take(ls->metrics, fd, tcp_conn_is_unix(conn));
	tcp_conn_close(conn);
}

static void on_accept(void *ctx, struct tcp_conn *conn)
{
	struct listener *l = ctx;
	struct bridge *b = l->all->bridge;

	if (l->all->is_closed) {
		tcp_conn_close(conn);
	} else if (l->role.kind == LISTENER_METRICS) {
		give_to_metrics(l->all, conn);
	} else if (l->role.kind == LISTENER_PROXY) {
		near_accept_proxy(b, l->role.index, conn);
	} else if (l->role.peer == ROUTE_NO_PEER) {
		log_info("refused forward peer=%s cause=\"no such peer is configured\"",
		         l->role.peer_name);
		tcp_conn_reset(conn);
	} else {
		near_accept_forward(b, l->role.peer, &l->role.to, conn);
	}
}

void listeners_init(struct listeners *ls, struct tcp_set *conns, struct bridge *bridge)
{
	*ls = (struct listeners){ .conns = conns, .bridge = bridge };
}

static bool is_forward(const struct listener_role *r)
{
	return r->kind == LISTENER_FORWARD || r->kind == LISTENER_ADDED;
}

static bool is_same_forward(const struct listener_role *a, const struct listener_role *b)
{
	return is_forward(a) && is_forward(b) && strcmp(a->peer_name, b->peer_name) == 0 &&
	       hostport_equal(&a->to, &b->to) && a->is_udp == b->is_udp;
}

/* ---- one socket ---- */

static int open_socket(struct listeners *ls, struct listener *l, const struct hostport *at,
                       bool is_udp)
{
	int r;

	if (!is_udp) {
		r = tcp_listener_open(ls->conns, at, on_accept, l, &l->l);
		if (r == 0)
			tcp_listener_local(l->l, &l->local);
		return r;
	}
	/* The configuration has none: UDP by a unix socket is not what a forward means. */
	if (at->kind != HOST_ADDR)
		return -EAFNOSUPPORT;
	r = near_udp_open(ls->bridge, &at->addr, &l->udp);
	if (r < 0)
		return r;
	l->local = (struct hostport){ .kind = HOST_ADDR, .addr = near_udp_local(l->udp) };
	l->local.port = l->local.addr.port;
	return 0;
}

static int open_one(struct listeners *ls, const struct hostport *at, bool is_udp,
                    struct listener **out)
{
	struct listener *l;
	int r;

	if (ls->count == LISTENERS_MAX)
		return -ENOBUFS;
	l = cv_zalloc(sizeof(*l));
	if (!l)
		return -ENOMEM;
	*l = (struct listener){ .all = ls, .asked = *at, .is_new = true };
	r = open_socket(ls, l, at, is_udp);
	if (r < 0) {
		cv_free(l);
		return r;
	}
	(void)hostport_format(&l->local, l->address);
	ls->list[ls->count++] = l;
	*out = l;
	return 0;
}

/* Where the flows of a UDP port go from now on. */
static void set_udp_role(struct listener *l)
{
	struct near_udp_role role = {
		.peer = l->role.peer,
		.request = { .kind = TARGET_KIND_UDP, .to = l->role.to },
	};

	if (role.request.to.kind == HOST_ADDR)
		role.request.to.addr = addr_canonical(&role.request.to.addr);
	near_udp_set_role(l->udp, &role);
}

static void on_closed(void *ctx)
{
	cv_free(ctx);
}

/* Takes it off the list, too. */
static void close_at(struct listeners *ls, unsigned i)
{
	struct listener *l = ls->list[i];

	ls->list[i] = ls->list[--ls->count];
	if (!l->is_new && l->local.kind == HOST_ADDR)
		bridge_remove_own(ls->bridge, &l->local.addr);
	else if (!l->is_new)
		bridge_remove_own_unix(ls->bridge, l->local.text);
	if (l->udp)
		near_udp_close(l->udp, on_closed, l);
	else
		tcp_listener_close(l->l, on_closed, l);
}

/* ---- what a configuration wants ---- */

/* "Any free port" is nobody's address: it stays with what it was opened for, if that is there. */
static unsigned likeness(const struct listener *l, const struct hostport *at,
                         const struct listener_role *role)
{
	if (l->is_wanted || !hostport_equal(&l->asked, at) || (l->udp != NULL) != role->is_udp)
		return 0;
	if (at->kind != HOST_ADDR || at->port != 0)
		return 1;
	if (l->role.kind != role->kind)
		return 0;
	if (!is_forward(role))
		return l->role.index == role->index ? 2 : 1;
	return is_same_forward(&l->role, role) ? 2 : 1;
}

/* One that is open there already and not yet taken. */
static struct listener *find_open(struct listeners *ls, const struct hostport *at,
                                  const struct listener_role *role)
{
	struct listener *best = NULL;
	unsigned most = 0;

	for (unsigned i = 0; i < ls->count; i++) {
		unsigned like = likeness(ls->list[i], at, role);

		if (like > most) {
			most = like;
			best = ls->list[i];
		}
	}
	return best;
}

/* What is wanted at @at: one that is open, or a new one. 0 with *@out, or NULL where a host without
 * IPv6 has no ::1: the other half of `localhost` serves. */
static int want(struct listeners *ls, const struct hostport *at, const struct hostport *real,
                bool is_optional, const struct listener_role *role, struct listener **out)
{
	struct listener *l = find_open(ls, at, role);
	int r;

	*out = NULL;
	if (l && l->role.kind == LISTENER_ADDED && !is_same_forward(&l->role, role))
		return -EEXIST;
	if (!l) {
		r = open_one(ls, real, role->is_udp, &l);
		if (r < 0)
			return is_optional && r != -ENOBUFS && r != -ENOMEM ? 0 : r;
		l->asked = *at;
	}
	l->is_wanted = true;
	l->next = *role;
	*out = l;
	return 0;
}

/* The @i-th address of @spec. */
static struct hostport place_of(const struct config_listen *spec, unsigned i)
{
	struct hostport at = { .kind = HOST_UNIX };

	if (spec->unix_path) {
		memcpy(at.text, spec->unix_path, strlen(spec->unix_path) + 1);
		return at;
	}
	at = (struct hostport){ .kind = HOST_ADDR, .addr = spec->addrs[i] };
	at.port = at.addr.port;
	return at;
}

static unsigned places_in(const struct config_listen *spec)
{
	return spec->unix_path ? 1 : spec->addr_count;
}

static int want_all(struct listeners *ls, const struct config_listen *spec,
                    const struct listener_role *role)
{
	struct listener *l = NULL;
	uint16_t port = 0;
	int r = 0;

	for (unsigned i = 0; i < places_in(spec) && r == 0; i++) {
		struct hostport at = place_of(spec, i), real = at;
		bool is_optional = spec->addr_count > 1 && at.addr.family == ADDR_V6;

		/* "Any free port" of two families is one port. */
		if (at.kind == HOST_ADDR && at.port == 0)
			real.port = real.addr.port = port;
		r = want(ls, &at, &real, is_optional, role, &l);
		if (r == 0 && l && l->local.kind == HOST_ADDR)
			port = l->local.port;
	}
	return r;
}

static int want_spec(struct listeners *ls, const struct config *config,
                     const struct config_listen *spec, const struct listener_role *role)
{
	int r = want_all(ls, spec, role);

	if (r == -ENOBUFS)
		return fail(ls, r, "%s:%u: more than %d listeners", config->file, spec->mark.line,
		            LISTENERS_MAX);
	if (r < 0)
		return fail(ls, r, "%s:%u: cannot listen on %s: %s", config->file, spec->mark.line,
		            spec->text,
		            r == -EEXIST ? "another forward was added there by "
		                           "`culvert forward`; remove it first"
		                         : uv_strerror(r));
	return 0;
}

static struct listener_role forward_role(const struct config_forward *f, uint32_t index,
                                         const uint32_t *slots)
{
	struct listener_role role = {
		.kind = LISTENER_FORWARD,
		.index = index,
		.peer = slots[f->peer.index],
		.to = f->to.host,
		.is_udp = f->protocol == CONFIG_UDP,
	};

	memcpy(role.peer_name, f->peer.name, strlen(f->peer.name) + 1);
	return role;
}

int listeners_prepare(struct listeners *ls, const struct config *config, const uint32_t *slots)
{
	int r = 0;

	for (uint32_t i = 0; i < config->proxy_count && r == 0; i++) {
		struct listener_role role = { .kind = LISTENER_PROXY, .index = i };

		r = want_spec(ls, config, &config->proxies[i].listen, &role);
	}
	for (uint32_t i = 0; i < config->forward_count && r == 0; i++) {
		struct listener_role role = forward_role(&config->forwards[i], i, slots);

		r = want_spec(ls, config, &config->forwards[i].listen, &role);
	}
	if (r == 0 && places_in(&config->metrics) > 0) {
		struct listener_role role = { .kind = LISTENER_METRICS };

		r = want_spec(ls, config, &config->metrics, &role);
	}
	if (r < 0)
		listeners_abort(ls);
	return r;
}

void listeners_abort(struct listeners *ls)
{
	for (unsigned i = ls->count; i-- > 0;) {
		ls->list[i]->is_wanted = false;
		if (ls->list[i]->is_new)
			close_at(ls, i);
	}
}

static void put_in_place(struct listeners *ls, struct listener *l, uint32_t *proxies)
{
	if (l->is_new && l->local.kind == HOST_ADDR)
		bridge_add_own(ls->bridge, &l->local.addr);
	else if (l->is_new)
		bridge_add_own_unix(ls->bridge, l->local.text);
	if (proxies && !l->is_new && l->role.kind == LISTENER_PROXY &&
	    l->next.kind == LISTENER_PROXY && proxies[l->role.index] == UINT32_MAX)
		proxies[l->role.index] = l->next.index;
	l->role = l->next;
	if (l->udp)
		set_udp_role(l);
	l->is_new = l->is_wanted = false;
}

/* The peer that an added forward means may have come, gone, or got another number. */
static void set_peer(struct listener *l, const struct config *config, const uint32_t *slots)
{
	l->role.peer = ROUTE_NO_PEER;
	for (size_t i = 0; i < config->peer_count; i++) {
		if (strcmp(config->peers[i].name, l->role.peer_name) == 0)
			l->role.peer = slots[i];
	}
	if (l->udp)
		set_udp_role(l);
}

void listeners_commit(struct listeners *ls, const struct config *config, const uint32_t *slots,
                      uint32_t *proxies)
{
	for (unsigned i = ls->count; i-- > 0;) {
		struct listener *l = ls->list[i];

		if (l->is_wanted)
			put_in_place(ls, l, proxies);
		else if (l->role.kind == LISTENER_ADDED)
			set_peer(l, config, slots);
		else
			close_at(ls, i);
	}
}

/* ---- forwards that no configuration has ---- */

static struct listener *find_place(struct listeners *ls, const struct hostport *at, bool is_udp,
                                   unsigned *index)
{
	for (unsigned i = 0; i < ls->count; i++) {
		struct listener *l = ls->list[i];

		*index = i;
		if (l->role.is_udp == is_udp &&
		    (hostport_equal(&l->asked, at) || hostport_equal(&l->local, at)))
			return l;
	}
	return NULL;
}

int listeners_add(struct listeners *ls, const struct config_listen *at,
                  const struct listener_role *role, unsigned *first)
{
	unsigned before = ls->count, index;
	int r = 0;

	CV_ASSERT(role->kind == LISTENER_ADDED);
	for (unsigned i = 0; i < places_in(at); i++) {
		struct hostport place = place_of(at, i);

		if (place.kind == HOST_ADDR && place.port == 0)
			continue;
		if (find_place(ls, &place, role->is_udp, &index))
			r = -EADDRINUSE;
	}
	if (r == 0)
		r = want_all(ls, at, role);
	if (r == -ENOBUFS)
		(void)fail(ls, r, "more than %d listeners", LISTENERS_MAX);
	else if (r < 0)
		(void)fail(ls, r, "cannot listen on %s: %s", at->text, uv_strerror(r));
	if (r < 0) {
		listeners_abort(ls);
		return r;
	}
	for (unsigned i = before; i < ls->count; i++)
		put_in_place(ls, ls->list[i], NULL);
	*first = before;
	return 0;
}

int listeners_remove(struct listeners *ls, const struct config_listen *at, bool is_udp)
{
	bool is_configured = false, any = false;
	unsigned index;

	for (unsigned i = 0; i < places_in(at); i++) {
		struct hostport place = place_of(at, i);
		const struct listener *l = find_place(ls, &place, is_udp, &index);

		if (l && l->role.kind == LISTENER_ADDED) {
			close_at(ls, index);
			any = true;
		} else if (l) {
			is_configured = true;
		}
	}
	if (any)
		return 0;
	return fail(ls, -ENOENT,
	            is_configured ? "%s is in the configuration: remove it there, and reload"
	                          : "no forward was added on %s",
	            at->text);
}

void listeners_close(struct listeners *ls)
{
	ls->is_closed = true;
	while (ls->count > 0)
		close_at(ls, ls->count - 1);
}

/* SPDX-License-Identifier: MIT */

/*
 * A lookup lives in one of three lists: `asked` while c-ares works on it, `ready` from then
 * until the timer reports it, and `late` when nobody waits for it any more: c-ares cannot
 * cancel one query. What is late counts against the limits until c-ares lets go of it, or
 * cancelling would be a way round them.
 *
 * Answers are reported by the timer and by nothing else: c-ares may answer from within its
 * own functions, and owners may call any of ours from theirs.
 *
 * To read the system's configuration again is to make another channel. ares_destroy() ends
 * all its queries; those that are still wanted are asked again on the new one.
 */
#include "net/resolver.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/time.h>

#include <ares.h>

#include "base/alloc.h"
#include "base/hostport.h"
#include "base/limits.h"
#include "base/list.h"
#include "net/clock.h"
#include "net/convert.h"

#define RESOLV_CONF "/etc/resolv.conf"
#define CONF_INTERVAL CV_SEC(1) /* between two looks at it */

enum {
	TRIES = 2, /* of each server; the second waits twice as long */
	TRY_MIN_MS = 100,
	TRY_MAX_MS = 1650,
};

struct resolver;

struct lookup {
	struct list node;
	struct resolver *resolver;
	uint64_t id, owner;
	resolver_done done; /* NULL: nobody waits any more */
	void *ctx;
	cv_time due_at;
	uint16_t port;
	bool is_asked; /* c-ares will call back */
	enum resolver_verdict verdict;
	unsigned count;
	struct addr list[RESOLVER_ADDRESSES_MAX];
	char name[HOST_DNS_MAX + 1];
};

/* One socket of c-ares. */
struct watch {
	uv_poll_t poll;
	struct list node;
	struct resolver *resolver;
	ares_socket_t fd;
	int events;
};

struct resolver {
	uv_loop_t *loop;
	uv_timer_t timer;
	unsigned handles_open;
	ares_channel channel; /* NULL: could not be made; tried again at the next lookup */
	char *servers;        /* NULL: the system's */
	cv_duration timeout;
	uint32_t owner_max, total_max;
	struct list asked; /* in order of due_at */
	struct list late;
	struct list ready;
	struct list watches;
	uint32_t count; /* of @asked and @late */
	uint64_t last_id;
	struct stat conf; /* of the file that was read */
	cv_time conf_seen_at;
	bool is_stale; /* the configuration is to be read again */
	bool is_closing;
	void (*on_closed)(void *ctx);
	void *closed_ctx;
};

static void on_poll(uv_poll_t *poll, int status, int events);
static void on_timer(uv_timer_t *timer);

/* ---- c-ares' sockets and time ---- */

/* @least: ms. libuv runs a timer of 0 ms that is started by a timer in the same turn, without
 * end. */
static void arm_timer(struct resolver *r, uint64_t least)
{
	struct timeval tv, *next;
	cv_time now = clock_now(), at = CV_TIME_NEVER;
	uint64_t ms;

	if (r->is_closing)
		return;
	if (!list_is_empty(&r->ready)) {
		at = now;
	} else if (r->count > 0) {
		if (!list_is_empty(&r->asked))
			at = list_entry(r->asked.next, struct lookup, node)->due_at;
		next = r->channel ? ares_timeout(r->channel, NULL, &tv) : NULL;
		if (next)
			at = cv_time_min(at, now + CV_SEC(next->tv_sec) + CV_US(next->tv_usec));
	}
	if (at == CV_TIME_NEVER) {
		(void)uv_timer_stop(&r->timer);
		return;
	}
	ms = (cv_time_since(at, now) + CV_MS(1) - 1) / CV_MS(1);
	(void)uv_timer_start(&r->timer, on_timer, CV_MAX(ms, least), 0);
}

static void release(struct resolver *r)
{
	CV_ASSERT(r->handles_open > 0);
	if (--r->handles_open > 0)
		return;
	if (r->on_closed)
		r->on_closed(r->closed_ctx);
	ares_library_cleanup();
	cv_free(r->servers);
	cv_free(r);
}

static void on_timer_closed(uv_handle_t *handle)
{
	release(handle->data);
}

static void on_watch_closed(uv_handle_t *handle)
{
	struct watch *w = handle->data;
	struct resolver *r = w->resolver;

	cv_free(w);
	release(r);
}

static struct watch *find_watch(struct resolver *r, ares_socket_t fd)
{
	struct list *at, *next;

	list_for_each(at, next, &r->watches)
	{
		if (list_entry(at, struct watch, node)->fd == fd)
			return list_entry(at, struct watch, node);
	}
	return NULL;
}

static struct watch *new_watch(struct resolver *r, ares_socket_t fd)
{
	struct watch *w = cv_zalloc(sizeof(*w));

	if (!w)
		return NULL;
	if (uv_poll_init(r->loop, &w->poll, fd) < 0) {
		cv_free(w);
		return NULL;
	}
	w->poll.data = w;
	w->resolver = r;
	w->fd = fd;
	list_init(&w->node);
	list_add_tail(&r->watches, &w->node);
	r->handles_open++;
	return w;
}

static void start_watch(struct watch *w)
{
	int error = uv_poll_start(&w->poll, w->events, on_poll);

	CV_ASSERT(error == 0); /* fails only for a handle that is closing */
}

/* c-ares: what it wants to know of a socket; nothing: it is about to close it. */
static void on_socket(void *data, ares_socket_t fd, int readable, int writable)
{
	struct resolver *r = data;
	struct watch *w = find_watch(r, fd);

	if (!readable && !writable) {
		if (!w)
			return;
		list_remove(&w->node);
		uv_close((uv_handle_t *)&w->poll, on_watch_closed);
		return;
	}
	if (!w)
		w = new_watch(r, fd);
	if (!w)
		return; /* no memory: the query times out */
	w->events = (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0);
	start_watch(w);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct watch *w = poll->data;
	struct resolver *r = w->resolver;
	ares_socket_t fd = w->fd;

	/* POLLERR has stopped the poll. c-ares finds the error by reading, and most often
	 * closes the socket over it. */
	if (status < 0) {
		events = UV_READABLE | UV_WRITABLE;
		start_watch(w);
	}
	ares_process_fd(r->channel, events & UV_READABLE ? fd : ARES_SOCKET_BAD,
	                events & UV_WRITABLE ? fd : ARES_SOCKET_BAD);
	arm_timer(r, 0);
}

/* ---- The channel ---- */

static unsigned server_count(ares_channel channel)
{
	struct ares_addr_port_node *list = NULL;
	unsigned count = 0;

	if (ares_get_servers_ports(channel, &list) != ARES_SUCCESS)
		return 1;
	for (const struct ares_addr_port_node *at = list; at; at = at->next)
		count++;
	ares_free_data(list);
	return count ? count : 1;
}

static int make_channel(struct resolver *r, int try_ms, ares_channel *out)
{
	char lookups[] = "fb"; /* the hosts file first */
	struct ares_options opt = { .timeout = try_ms, .tries = TRIES, .lookups = lookups };
	int status;

	opt.sock_state_cb = on_socket;
	opt.sock_state_cb_data = r;
	status = ares_init_options(out, &opt,
	                           ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
	                                   ARES_OPT_SOCK_STATE_CB);
	if (status != ARES_SUCCESS)
		return -ENOMEM;
	if (!r->servers || ares_set_servers_ports_csv(*out, r->servers) == ARES_SUCCESS)
		return 0;
	ares_destroy(*out);
	*out = NULL;
	return -EINVAL;
}

/* Every server is to get its tries within a lookup's time, nearly all of it, as the last may be
 * slow: n * t + n * 2t. How many there are, only a channel knows. */
static int open_channel(struct resolver *r)
{
	uint64_t ms;
	int error = make_channel(r, TRY_MAX_MS, &r->channel);

	if (error < 0)
		return error;
	ms = r->timeout / CV_MS(1) * 99 / 100 / ((uint64_t)3 * server_count(r->channel));
	ms = CV_MIN(CV_MAX(ms, (uint64_t)TRY_MIN_MS), (uint64_t)TRY_MAX_MS);
	if (ms == TRY_MAX_MS)
		return 0;
	ares_destroy(r->channel);
	r->channel = NULL;
	return make_channel(r, (int)ms, &r->channel);
}

/* ---- Lookups ---- */

static void make_ready(struct lookup *l, enum resolver_verdict verdict)
{
	struct resolver *r = l->resolver;

	l->verdict = verdict;
	list_remove(&l->node);
	list_add_tail(&r->ready, &l->node);
}

/* Each family has its half of the places, as the answer has one of them first. */
static void copy_addresses(struct lookup *l, const struct ares_addrinfo *info)
{
	unsigned left4 = RESOLVER_ADDRESSES_MAX / 2, left6 = RESOLVER_ADDRESSES_MAX / 2;
	struct addr a;
	unsigned i;

	for (const struct ares_addrinfo_node *at = info->nodes; at; at = at->ai_next) {
		unsigned *left = at->ai_family == AF_INET6 ? &left6 : &left4;

		if (*left == 0)
			continue;
		a = convert_from_sockaddr(at->ai_addr, at->ai_addrlen);
		a.port = l->port;
		for (i = 0; i < l->count; i++) {
			if (addr_equal(&l->list[i], &a))
				break;
		}
		if (a.family == ADDR_NONE || i < l->count)
			continue;
		l->list[l->count++] = a;
		(*left)--;
	}
}

static enum resolver_verdict verdict_of(int status, const struct lookup *l)
{
	switch (status) {
	case ARES_SUCCESS:
		return l->count > 0 ? RESOLVER_OK : RESOLVER_NOT_FOUND;
	case ARES_ENODATA:
	case ARES_ENOTFOUND:
	case ARES_ENONAME:
	case ARES_EBADNAME:
		return RESOLVER_NOT_FOUND;
	case ARES_ENOMEM:
		return RESOLVER_LIMIT;
	default:
		return RESOLVER_NO_ANSWER;
	}
}

/* c-ares: exactly once for each query, perhaps before ares_getaddrinfo() returns. */
static void on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
	struct lookup *l = arg;
	struct resolver *r = l->resolver;

	(void)timeouts;
	CV_ASSERT(l->is_asked);
	l->is_asked = false;
	if (l->done && status == ARES_EDESTRUCTION && !r->is_closing) {
		/* asked again by ask_again() */
	} else if (l->done) {
		r->count--;
		if (info)
			copy_addresses(l, info);
		make_ready(l, verdict_of(status, l));
	} else {
		r->count--;
		list_remove(&l->node);
		cv_free(l);
	}
	if (info)
		ares_freeaddrinfo(info);
}

/* @l may be in the other list afterwards. */
static void ask(struct lookup *l)
{
	/* c-ares would sort by connecting a socket to each address: thousands of system calls for
	 * an answer of thousands. The name server's order does; who dials has families take turns.
	 */
	struct ares_addrinfo_hints hints = { .ai_family = AF_UNSPEC,
		                             .ai_socktype = SOCK_STREAM,
		                             .ai_flags = ARES_AI_NOSORT };

	l->is_asked = true;
	ares_getaddrinfo(l->resolver->channel, l->name, NULL, &hints, on_answer, l);
}

static struct lookup *first_unasked(struct resolver *r)
{
	struct list *at, *next;

	list_for_each(at, next, &r->asked)
	{
		if (!list_entry(at, struct lookup, node)->is_asked)
			return list_entry(at, struct lookup, node);
	}
	return NULL;
}

/* From the start each time: asking may answer others, too. */
static void ask_again(struct resolver *r)
{
	struct lookup *l;

	while ((l = first_unasked(r))) {
		if (r->channel) {
			ask(l);
		} else {
			r->count--;
			make_ready(l, RESOLVER_LIMIT);
		}
	}
}

/* Looks, at most once a second, whether the file is still the one that was read. */
static void look_at_conf(struct resolver *r, cv_time now)
{
	struct stat st;

	if (r->servers || (r->conf_seen_at && cv_time_since(now, r->conf_seen_at) < CONF_INTERVAL))
		return;
	r->conf_seen_at = now;
	if (stat(RESOLV_CONF, &st) < 0)
		return; /* between two versions, or none: keep what we have */
	if (st.st_mtime == r->conf.st_mtime && st.st_ctime == r->conf.st_ctime &&
	    st.st_size == r->conf.st_size && st.st_ino == r->conf.st_ino)
		return;
	r->is_stale = true;
	r->conf = st;
}

static void refresh(struct resolver *r, cv_time now)
{
	look_at_conf(r, now);
	if (!r->is_stale && r->channel)
		return;
	if (r->channel)
		ares_destroy(r->channel);
	r->channel = NULL;
	r->is_stale = open_channel(r) < 0;
	ask_again(r);
}

static uint32_t count_owner(struct list *list, uint64_t owner)
{
	struct list *at, *next;
	uint32_t count = 0;

	list_for_each(at, next, list) count += list_entry(at, struct lookup, node)->owner == owner;
	return count;
}

static bool is_at_limit(struct resolver *r, uint64_t owner)
{
	return r->count >= r->total_max ||
	       count_owner(&r->asked, owner) + count_owner(&r->late, owner) >= r->owner_max;
}

/* Names that mean an address without asking: literals, and RFC 6761's localhost. */
static bool answer_at_once(struct lookup *l)
{
	static const char suffix[] = ".localhost";
	size_t size = strlen(l->name);
	struct addr a;

	if (addr_parse_ip(l->name, size, &a) == 0) {
		l->list[l->count++] = a;
	} else if (strcmp(l->name, suffix + 1) == 0 ||
	           (size >= sizeof(suffix) &&
	            strcmp(l->name + size - (sizeof(suffix) - 1), suffix) == 0)) {
		l->list[l->count++] = (struct addr){ .family = ADDR_V6, .ip = { [15] = 1 } };
		l->list[l->count++] = addr_v4(127, 0, 0, 1, 0);
	}
	for (unsigned i = 0; i < l->count; i++)
		l->list[i].port = l->port;
	return l->count > 0;
}

uint64_t resolver_start(struct resolver *r, uint64_t owner, const char *name, uint16_t port,
                        resolver_done done, void *ctx)
{
	struct lookup *l = cv_zalloc(sizeof(*l));
	size_t size = strlen(name);
	cv_time now = clock_now();
	uint64_t id;

	CV_ASSERT(done);
	CV_ASSERT(!r->is_closing);
	CV_ASSERT(size > 0 && size <= HOST_DNS_MAX);
	if (!l)
		return 0;
	id = ++r->last_id;
	*l = (struct lookup){ .resolver = r, .id = id, .owner = owner, .done = done, .ctx = ctx };
	l->port = port;
	l->due_at = cv_time_after(now, r->timeout);
	memcpy(l->name, name, size);
	list_init(&l->node);
	if (answer_at_once(l)) {
		make_ready(l, RESOLVER_OK);
	} else if (is_at_limit(r, owner)) {
		make_ready(l, RESOLVER_LIMIT);
	} else {
		refresh(r, now);
		if (r->channel) {
			r->count++;
			list_add_tail(&r->asked, &l->node);
			ask(l);
		} else {
			make_ready(l, RESOLVER_LIMIT);
		}
	}
	arm_timer(r, 0);
	return id;
}

static struct lookup *find_in(struct list *list, uint64_t id)
{
	struct list *at, *next;

	list_for_each(at, next, list)
	{
		if (list_entry(at, struct lookup, node)->id == id)
			return list_entry(at, struct lookup, node);
	}
	return NULL;
}

/* From now on c-ares works for nobody; on_answer() frees it. */
static void make_late(struct lookup *l)
{
	l->done = NULL;
	list_remove(&l->node);
	list_add_tail(&l->resolver->late, &l->node);
}

void resolver_cancel(struct resolver *r, uint64_t id)
{
	struct lookup *l = find_in(&r->ready, id);

	if (l) {
		list_remove(&l->node);
		cv_free(l);
		return;
	}
	l = find_in(&r->asked, id);
	if (l)
		make_late(l);
}

static void expire(struct resolver *r, cv_time now)
{
	struct lookup *l, *said;

	while (!list_is_empty(&r->asked)) {
		l = list_entry(r->asked.next, struct lookup, node);
		if (l->due_at > now)
			return;
		said = cv_zalloc(sizeof(*said));
		if (!said) {
			l->due_at = cv_time_after(now, CV_SEC(1)); /* first still */
			return;
		}
		*said = *l;
		list_init(&said->node);
		make_ready(said, RESOLVER_NO_ANSWER);
		make_late(l);
	}
}

static void on_timer(uv_timer_t *timer)
{
	struct resolver *r = timer->data;
	uint64_t last = r->last_id;
	struct lookup *l;

	if (r->channel)
		ares_process_fd(r->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	expire(r, clock_now());
	while (!list_is_empty(&r->ready)) {
		l = list_entry(r->ready.next, struct lookup, node);
		if (l->id > last)
			break; /* begun by a callback of this turn: the next one's */
		list_remove(&l->node);
		l->done(l->ctx, l->id, l->verdict, l->list, l->count);
		cv_free(l);
	}
	arm_timer(r, 1);
}

void resolver_network_changed(struct resolver *r)
{
	r->is_stale = true;
	if (r->count == 0)
		return;
	/* What was asked in the network before may find no answer any more. */
	refresh(r, clock_now());
	arm_timer(r, 0);
}

uint32_t resolver_count(const struct resolver *r)
{
	return r->count;
}

int resolver_open(uv_loop_t *loop, const struct resolver_options *opt, struct resolver **out)
{
	static const struct resolver_options defaults = { .servers = NULL };
	struct resolver *r = cv_zalloc(sizeof(*r));
	int error;

	if (!r)
		return -ENOMEM;
	if (!opt)
		opt = &defaults;
	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
		cv_free(r);
		return -ENOMEM;
	}
	*r = (struct resolver){ .loop = loop, .handles_open = 1 };
	r->timeout = opt->timeout ? opt->timeout : RESOLVER_TIMEOUT;
	r->owner_max = opt->owner_max ? opt->owner_max : (uint32_t)RESOLVE_PER_PEER_MAX;
	r->total_max = opt->total_max ? opt->total_max : (uint32_t)RESOLVE_MAX;
	list_init(&r->asked);
	list_init(&r->late);
	list_init(&r->ready);
	list_init(&r->watches);
	error = -ENOMEM;
	if (opt->servers) {
		r->servers = cv_strdup(opt->servers);
		if (!r->servers)
			goto fail;
	}
	look_at_conf(r, clock_now());
	r->is_stale = false;
	error = open_channel(r);
	if (error < 0)
		goto fail;
	error = uv_timer_init(loop, &r->timer);
	CV_ASSERT(error == 0); /* libuv's never fails */
	r->timer.data = r;
	*out = r;
	return 0;

fail:
	ares_library_cleanup();
	cv_free(r->servers);
	cv_free(r);
	return error;
}

static void drop_all(struct list *list)
{
	struct lookup *l;

	while (!list_is_empty(list)) {
		l = list_entry(list->next, struct lookup, node);
		list_remove(&l->node);
		cv_free(l);
	}
}

void resolver_close(struct resolver *r, void (*on_closed)(void *ctx), void *ctx)
{
	CV_ASSERT(!r->is_closing);
	r->is_closing = true;
	r->on_closed = on_closed;
	r->closed_ctx = ctx;
	/* Ends every query, which puts it into `ready` or frees it, and every socket. */
	if (r->channel)
		ares_destroy(r->channel);
	r->channel = NULL;
	CV_ASSERT(list_is_empty(&r->asked));
	CV_ASSERT(list_is_empty(&r->late));
	drop_all(&r->ready);
	uv_close((uv_handle_t *)&r->timer, on_timer_closed);
}

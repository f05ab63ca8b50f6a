/* SPDX-License-Identifier: MIT */

/*
 * Names first, then all questions at once from sockets of its own, and TCP connections to each
 * server beside them. The loop runs empty when all of it is done.
 */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <uv.h>

#include "base/alloc.h"
#include "base/log.h"
#include "command.h"
#include "net/clock.h"
#include "net/convert.h"
#include "net/entropy.h"
#include "net/fds.h"
#include "net/interfaces.h"
#include "net/portprobe.h"
#include "net/resolver.h"
#include "netcheck_report.h"
#include "status.h"
#include "tunnel/netcheck.h"
#include "tunnel/rendezvous.h"

enum {
	FAMILIES = 2,
	HOSTS_MAX = 32,
	ROWS_MAX = HOSTS_MAX + NETCHECK_PLACES_MAX,
	TCP_TIMEOUT = 3000, /* ms: three SYNs */
	DATAGRAM_MAX = 2048,
};

struct checker;
struct host;

/* One TCP connection. */
struct dial {
	struct host *host;
	unsigned family; /* index of host.list */
	uv_tcp_t tcp;
	uv_timer_t timer;
	uv_connect_t request;
};

struct host {
	struct checker *checker;
	const struct config_host *spec;
	struct addr list[FAMILIES]; /* IPv4, IPv6; ADDR_NONE: not known */
	const char *why;            /* neither is known */
	bool is_own;
	uint16_t tcp_port; /* configured; 0: that of the address, and 443 */
	enum netcheck_bool tcp[FAMILIES];
	struct dial dials[2 * FAMILIES];
	unsigned dial_count;
};

struct socket {
	struct checker *checker;
	uint16_t number;
	int fd; /* -1: not open */
	uv_poll_t poll;
};

struct checker {
	uv_loop_t loop;
	struct entropy entropy;
	struct rng rng;
	struct netcheck netcheck;
	struct host hosts[HOSTS_MAX];
	unsigned host_count, lookups;
	bool has_v4, has_v6;
	struct resolver *resolver;
	struct socket sockets[NETCHECK_SOCKETS];
	uv_timer_t timer;
	struct portprobe_result gateway;
	bool has_gateway; /* it was asked */
	uint8_t bytes[DATAGRAM_MAX];
};

/* ---- sockets ---- */

static void pump(struct checker *c);

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct socket *s = poll->data;
	struct checker *c = s->checker;
	struct sockaddr_storage sa;
	socklen_t sa_size = sizeof(sa);
	ssize_t size;

	(void)status;
	(void)events;
	while ((size = recvfrom(s->fd, c->bytes, sizeof(c->bytes), 0, (struct sockaddr *)&sa,
	                        &sa_size)) >= 0) {
		struct addr from = convert_from_sockaddr((struct sockaddr *)&sa, sa_size);

		netcheck_on_datagram(&c->netcheck, clock_now(), s->number, &from, c->bytes,
		                     (size_t)size);
		sa_size = sizeof(sa);
	}
	pump(c);
}

static void send_one(struct checker *c, const struct train *t)
{
	struct sockaddr_storage sa;
	socklen_t sa_size = convert_to_sockaddr(&t->to, &sa);

	/* What the kernel refuses for another reason is as good as lost. */
	if (sendto(c->sockets[t->socket].fd, t->bytes, t->size, 0, (struct sockaddr *)&sa,
	           sa_size) < 0 &&
	    errno == EMSGSIZE)
		netcheck_on_too_large(&c->netcheck);
}

/* Sizes are to be measured, not fragmented, and not by what the kernel remembers of the path. */
static void forbid_fragments(int fd, int family)
{
#ifdef IP_PMTUDISC_PROBE
	if (family == AF_INET)
		fds_option(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
	else
		fds_option(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
#else
	(void)fd;
	(void)family;
#endif
}

static void open_socket(struct checker *c, uint16_t number)
{
	struct socket *s = &c->sockets[number];
	int family = number == NETCHECK_MAIN6 ? AF_INET6 : AF_INET;
	struct addr any = { .family = family == AF_INET6 ? ADDR_V6 : ADDR_V4 };
	struct sockaddr_storage sa;
	socklen_t size = convert_to_sockaddr(&any, &sa);

	*s = (struct socket){ .checker = c, .number = number };
	s->fd = fds_socket(family, SOCK_DGRAM, 0);
	if (s->fd < 0)
		return;
	if (family == AF_INET6)
		fds_option(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
	forbid_fragments(s->fd, family);
	if (bind(s->fd, (struct sockaddr *)&sa, size) < 0 ||
	    uv_poll_init(&c->loop, &s->poll, s->fd) < 0) {
		fds_close(&s->fd);
		return;
	}
	s->poll.data = s;
	(void)uv_poll_start(&s->poll, UV_READABLE, on_readable); /* fails for a closing one only */
	netcheck_set_socket(&c->netcheck, number, fds_local(s->fd).port);
}

static void on_poll_closed(uv_handle_t *handle)
{
	fds_close(&((struct socket *)handle->data)->fd);
}

static void close_sockets(struct checker *c)
{
	for (unsigned i = 0; i < NETCHECK_SOCKETS; i++) {
		if (c->sockets[i].checker && c->sockets[i].fd >= 0)
			uv_close((uv_handle_t *)&c->sockets[i].poll, on_poll_closed);
	}
	uv_close((uv_handle_t *)&c->timer, NULL);
}

static void on_timer(uv_timer_t *timer)
{
	pump(timer->data);
}

static void pump(struct checker *c)
{
	cv_time now = clock_now(), at;
	struct train t = { .bytes = c->bytes };

	if (uv_is_closing((uv_handle_t *)&c->timer))
		return;
	for (unsigned i = 0; i < 2; i++) { /* what is over makes place for more */
		netcheck_on_deadline(&c->netcheck, now);
		while (netcheck_write(&c->netcheck, now, &t))
			send_one(c, &t);
	}
	if (netcheck_is_done(&c->netcheck)) {
		close_sockets(c);
		return;
	}
	at = netcheck_deadline(&c->netcheck);
	(void)uv_timer_start(&c->timer, on_timer, at > now ? (at - now) / CV_MS(1) + 1 : 0, 0);
}

/* ---- TCP ---- */

static void close_dial(struct dial *d)
{
	if (uv_is_closing((uv_handle_t *)&d->timer))
		return;
	uv_close((uv_handle_t *)&d->tcp, NULL);
	uv_close((uv_handle_t *)&d->timer, NULL);
}

static void on_connected(uv_connect_t *request, int status)
{
	struct dial *d = request->data;
	struct host *h = d->host;

	close_dial(d);
	if (status != 0)
		return;
	h->tcp[d->family] = NETCHECK_YES;
	for (unsigned i = 0; i < h->dial_count; i++) {
		if (h->dials[i].family == d->family)
			close_dial(&h->dials[i]);
	}
}

static void on_dial_timeout(uv_timer_t *timer)
{
	close_dial(timer->data);
}

static void dial(struct checker *c, struct host *h, unsigned family, uint16_t port)
{
	struct dial *d = &h->dials[h->dial_count++];
	struct addr to = h->list[family];
	struct sockaddr_storage sa;

	*d = (struct dial){ .host = h, .family = family };
	to.port = port;
	(void)convert_to_sockaddr(&to, &sa);
	(void)uv_tcp_init(&c->loop, &d->tcp); /* neither fails */
	(void)uv_timer_init(&c->loop, &d->timer);
	d->timer.data = d->request.data = d;
	h->tcp[family] = NETCHECK_NO;
	if (uv_tcp_connect(&d->request, &d->tcp, (struct sockaddr *)&sa, on_connected) < 0 ||
	    uv_timer_start(&d->timer, on_dial_timeout, TCP_TIMEOUT, 0) < 0)
		close_dial(d);
}

/* On the ports on which an agent would, all at once. */
static void try_tcp(struct checker *c, struct host *h)
{
	for (unsigned k = 0; k < FAMILIES && h->is_own; k++) {
		uint16_t port = h->tcp_port ? h->tcp_port : h->list[k].port;

		if (h->list[k].family == ADDR_NONE)
			continue;
		dial(c, h, k, port);
		if (h->tcp_port == 0 && port != RENDEZVOUS_TCP_PORT_USUAL)
			dial(c, h, k, RENDEZVOUS_TCP_PORT_USUAL);
	}
}

/* ---- the gateway ---- */

static void on_probed(void *ctx, const struct portprobe_result *result)
{
	struct checker *c = ctx;

	c->gateway = *result;
	c->has_gateway = true;
}

/* ---- names ---- */

static void ask_all(struct checker *c)
{
	for (unsigned i = 0; i < c->host_count; i++) {
		struct host *h = &c->hosts[i];

		for (unsigned k = 0; k < FAMILIES; k++) {
			if (h->list[k].family != ADDR_NONE)
				(void)netcheck_add(&c->netcheck, &h->list[k], h->is_own);
		}
		try_tcp(c, h);
	}
	netcheck_start(&c->netcheck, clock_now());
	pump(c);
}

/* Asking by a family that this host has not would be silence that says nothing. */
static void set_addresses(struct host *h, const struct addr *list, unsigned count)
{
	const struct checker *c = h->checker;

	for (unsigned i = count; i-- > 0;) { /* the first of its family stays */
		struct addr a = addr_canonical(&list[i]);

		if ((a.family == ADDR_V4 ? c->has_v4 : c->has_v6) ||
		    addr_class(&a) == ADDR_CLASS_LOOPBACK)
			h->list[a.family == ADDR_V6] = a;
	}
	if (h->list[0].family != ADDR_NONE || h->list[1].family != ADDR_NONE)
		return;
	h->why = c->has_v4   ? "it has an IPv6 address only, this host has none"
	         : c->has_v6 ? "it has an IPv4 address only, this host has none"
	                     : "this host has no address";
}

static void on_lookup(void *ctx, uint64_t id, enum resolver_verdict verdict,
                      const struct addr *list, unsigned count)
{
	struct host *h = ctx;

	(void)id;
	if (verdict == RESOLVER_OK)
		set_addresses(h, list, count);
	else
		h->why =
			verdict == RESOLVER_NOT_FOUND ? "no such name" : "its name is not resolved";
	if (--h->checker->lookups > 0)
		return;
	resolver_close(h->checker->resolver, NULL, NULL);
	ask_all(h->checker);
}

/* @own: NULL: a foreign one. */
static void add_host(struct checker *c, const struct config_host *spec,
                     const struct config_server_ref *own)
{
	struct host *h = &c->hosts[c->host_count];

	if (c->host_count == HOSTS_MAX)
		return;
	c->host_count++;
	*h = (struct host){ .checker = c, .spec = spec, .is_own = own != NULL };
	h->tcp_port = (uint16_t)(own ? own->tcp_port : 0);
	if (spec->host.kind == HOST_ADDR) {
		struct addr a = spec->host.addr;

		a.port = spec->host.port;
		set_addresses(h, &a, 1);
	} else if (resolver_start(c->resolver, UINT64_MAX, spec->host.text, spec->host.port,
	                          on_lookup, h) != 0) {
		c->lookups++;
	} else {
		h->why = "out of memory";
	}
}

/* ---- the whole ---- */

static void look_around(struct checker *c)
{
	struct addr list[INTERFACES_MAX];
	unsigned count = interfaces_list(list, INTERFACES_MAX);

	for (unsigned i = 0; i < count; i++) {
		c->has_v4 |= list[i].family == ADDR_V4;
		c->has_v6 |=
			list[i].family == ADDR_V6 && addr_class(&list[i]) != ADDR_CLASS_LINK_LOCAL;
	}
	netcheck_set_local(&c->netcheck, list, count);
}

static int check(struct checker *c, const struct config *config)
{
	struct portprobe *probe;

	entropy_init(&c->entropy);
	c->rng = entropy_rng(&c->entropy);
	netcheck_init(&c->netcheck, &c->rng);
	look_around(c);
	if (uv_loop_init(&c->loop) < 0)
		return -ENOMEM;
	(void)uv_timer_init(&c->loop, &c->timer); /* never fails */
	c->timer.data = c;
	for (uint16_t i = 0; i < NETCHECK_SOCKETS; i++)
		open_socket(c, i);
	if (resolver_open(&c->loop, NULL, &c->resolver) < 0) {
		close_sockets(c);
		(void)uv_run(&c->loop, UV_RUN_DEFAULT);
		(void)uv_loop_close(&c->loop);
		return -ENOMEM;
	}
	for (size_t i = 0; i < config->server_count; i++)
		add_host(c, &config->servers[i].address, &config->servers[i]);
	for (size_t i = 0; i < config->stun_count; i++)
		add_host(c, &config->stun[i], NULL);
	/* Where it may not be asked, or cannot be, nothing is said of it. */
	if (config->has_portmap && portprobe_start(&c->loop, on_probed, c, &probe) < 0)
		log_warn("the gateway cannot be asked");
	if (c->lookups == 0) {
		resolver_close(c->resolver, NULL, NULL);
		ask_all(c);
	}
	(void)uv_run(&c->loop, UV_RUN_DEFAULT);
	CV_ASSERT(uv_loop_close(&c->loop) == 0);
	entropy_deinit(&c->entropy);
	return 0;
}

static const struct netcheck_place *find_place(const struct checker *c, const struct addr *a)
{
	for (unsigned i = 0; i < c->netcheck.place_count; i++) {
		if (addr_equal(&c->netcheck.places[i].address, a))
			return &c->netcheck.places[i];
	}
	return NULL;
}

static size_t make_rows(const struct checker *c, struct netcheck_row rows[ROWS_MAX])
{
	size_t count = 0;

	for (unsigned i = 0; i < c->host_count; i++) {
		const struct host *h = &c->hosts[i];
		size_t before = count;
		struct netcheck_row row = { .name = h->spec->text,
			                    .is_own = h->is_own,
			                    .why = h->why };

		for (unsigned k = 0; k < FAMILIES; k++) {
			row.place = find_place(c, &h->list[k]);
			row.tcp = h->tcp[k];
			if (row.place)
				rows[count++] = row;
		}
		if (count == before)
			rows[count++] = row;
	}
	return count;
}

static int print(const struct command_line *line, const struct netcheck_report *report)
{
	json_t *json = netcheck_report_json(report);

	if (!json) {
		command_error("out of memory");
		return EXIT_FAILED;
	}
	if (line->json) {
		(void)json_dumpf(json, stdout, STATUS_JSON_FLAGS | JSON_INDENT(2));
		(void)fputc('\n', stdout);
	} else {
		netcheck_report_print(json, stdout);
	}
	json_decref(json);
	if (fflush(stdout) == 0)
		return EXIT_DONE;
	command_error("cannot write to standard output");
	return EXIT_FAILED;
}

static int run(const struct command_line *line, const struct config *config, struct checker *c)
{
	struct netcheck_row rows[ROWS_MAX];
	struct netcheck_report report = { .rows = rows };
	bool is_reached;
	int code;

	if (check(c, config) < 0) {
		command_error("out of memory");
		return EXIT_FAILED;
	}
	report.row_count = make_rows(c, rows);
	report.gateway = c->has_gateway ? &c->gateway : NULL;
	netcheck_read(&c->netcheck, &report.result);
	report.has_network = c->has_v4 || c->has_v6;
	is_reached = report.result.is_answered;
	for (size_t i = 0; i < report.row_count; i++)
		is_reached |= rows[i].tcp == NETCHECK_YES;
	code = print(line, &report);
	return code == EXIT_DONE && !is_reached ? EXIT_UNREACHABLE : code;
}

int cmd_netcheck(const struct command_line *line)
{
	struct config *config = command_load_config(line, CONFIG_ROLE_CLIENT);
	struct checker *c;
	int code;

	if (!config)
		return EXIT_USAGE;
	(void)signal(SIGPIPE, SIG_IGN); /* portprobe talks TCP to the gateway */
	c = cv_zalloc(sizeof(*c));
	if (c) {
		code = run(line, config, c);
	} else {
		command_error("out of memory");
		code = EXIT_FAILED;
	}
	cv_free(c);
	config_free(config);
	return code;
}

/* SPDX-License-Identifier: MIT */
#include "server.h"

#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "base/alloc.h"
#include "base/log.h"
#include "config/keyfile.h"
#include "control.h"
#include "net/clock.h"
#include "net/entropy.h"
#include "net/interfaces.h"
#include "net/signals.h"
#include "net/udp_port.h"
#include "reload.h"
#include "server_pages.h"
#include "server_tcp.h"
#include "status.h"
#include "tunnel/hub.h"

#define DRAIN_MS 1000 /* how long goodbyes may take to leave */

struct server {
	uv_loop_t loop;
	struct config *config; /* owned; a reload puts another in its place */
	const struct server_options *options;
	uint8_t *sk; /* guarded memory */
	struct identity me;
	struct entropy entropy;
	struct rng rng;
	struct hub *hub;
	struct udp_port *port;
	struct server_tcp *tcp;
	struct server_pages *pages; /* NULL: none */
	struct signals *signals;
	struct control *control;
	uint8_t (*access)[KEY_SIZE];
	uv_timer_t drain, later;
	cv_time started_at;
	char public_key[KEY_TEXT_SIZE + 1];
	struct addr local[UDP_PORT_SOCKETS_MAX + SERVER_TCP_LISTENERS_MAX];
	unsigned local_count, udp_count; /* those of UDP come first */
	bool is_stopping;
	int exit_code;
};

/* ---- the port's core ---- */

static void core_on_arrival(void *ctx, cv_time now, struct arrival *in)
{
	hub_on_arrival(((struct server *)ctx)->hub, now, in);
}

static void core_on_refused(void *ctx, cv_time now, uint16_t socket, const struct addr *to)
{
	hub_on_refused(((struct server *)ctx)->hub, now, socket, to);
}

static void core_send_tcp(void *ctx, cv_time now, const struct train *t)
{
	struct server *s = ctx;

	if (s->tcp)
		server_tcp_send(s->tcp, now, t);
}

static bool core_write(void *ctx, cv_time now, struct train *out)
{
	return hub_write(((struct server *)ctx)->hub, now, out);
}

static cv_time core_deadline(void *ctx)
{
	return hub_deadline(((struct server *)ctx)->hub);
}

static void core_on_deadline(void *ctx, cv_time now)
{
	hub_on_deadline(((struct server *)ctx)->hub, now);
}

/* ---- control ---- */

static json_t *on_status(void *ctx)
{
	struct server *s = ctx;
	struct status_listener listeners[CV_ARRAY_SIZE(s->local) + SERVER_PAGES_PLACES_MAX];
	char text[CV_ARRAY_SIZE(s->local)][ADDR_TEXT_MAX];
	struct tcp_carrier_counters tcp = { 0 };
	struct status_server out = {
		.public_key = s->public_key,
		.uptime_s = (double)(clock_now() - s->started_at) / 1e9,
		.listeners = listeners,
		.listener_count = s->local_count,
	};

	for (unsigned i = 0; i < s->local_count; i++)
		listeners[i] = (struct status_listener){
			.kind = i < s->udp_count ? "udp" : "tcp",
			.address = addr_format(&s->local[i], text[i]),
		};
	out.listener_count += server_pages_list(s->pages, &listeners[s->local_count]);
	hub_stats(s->hub, &out.stats);
	if (s->tcp)
		server_tcp_counters(s->tcp, &tcp);
	out.tcp_connections = tcp.conns;
	out.stats.drop_queue_full += tcp.dropped;
	return status_server_json(&out);
}

static void on_later(uv_timer_t *timer);

/* ---- the configuration, now and later ---- */

static void apply_log(struct server *s)
{
	const struct config_log *log = &s->config->server.log;

	s->options->sink->is_json = log->format == CONFIG_LOG_JSON;
	log_set_level(log->level);
}

/* The keys of the list, as the hub borrows them; NULL: out of memory. */
static uint8_t (*copy_access(const struct config_server *c))[KEY_SIZE]
{
	uint8_t(*access)[KEY_SIZE] = cv_zalloc_array(CV_MAX(c->access_count, 1), sizeof(*access));

	for (size_t i = 0; access && i < c->access_count; i++)
		memcpy(access[i], c->access[i].key, KEY_SIZE);
	return access;
}

static enum binding_mode stun_mode(enum config_stun stun)
{
	switch (stun) {
	case CONFIG_STUN_OFF:
		return BINDING_OFF;
	case CONFIG_STUN_PADDED:
		return BINDING_PADDED;
	case CONFIG_STUN_ANY:
		return BINDING_ANY;
	}
	CV_UNREACHABLE();
}

static struct hub_options hub_options_of(const struct server *s, const struct config *config,
                                         uint8_t (*access)[KEY_SIZE])
{
	const struct config_server *c = &config->server;

	return (struct hub_options){
		.me = &s->me,
		.rng = &s->rng,
		.agents_max = c->agents_max,
		.agents_per_address_max = c->agents_per_address_max,
		.relay_enabled = c->relay.is_enabled,
		.relay_rate = c->relay.rate / 8,
		.access_anyone = c->access_anyone,
		.access = (const uint8_t(*)[32])access,
		.access_count = c->access_count,
		.stun = stun_mode(c->stun),
	};
}

static int build_hub(struct server *s)
{
	struct hub_options opt;
	char why[KEYFILE_WHY_MAX];

	s->sk = sodium_malloc(KEY_SIZE);
	if (!s->sk || keyfile_read(s->config->identity.path, s->sk, why) < 0) {
		log_error("%s", s->sk ? why : "out of memory");
		return -1;
	}
	(void)sodium_mprotect_readonly(s->sk); /* a second line of defence only */
	identity_init(&s->me, s->sk);
	base64_key_write(s->public_key, s->me.pk);
	s->access = copy_access(&s->config->server);
	opt = hub_options_of(s, s->config, s->access);
	if (!s->access || hub_new(&s->hub, s->started_at, &opt) < 0) {
		log_error("out of memory");
		return -1;
	}
	return 0;
}

static bool is_same_pages(const struct config_listen *a, const struct config_listen *b)
{
	if (!a->unix_path || !b->unix_path)
		return !a->unix_path == !b->unix_path && reload_is_same_listen(a, 1, b, 1);
	return strcmp(a->unix_path, b->unix_path) == 0;
}

/* Names every key that differs and may not while the server runs. */
static bool may_take_over(const struct server *s, const struct config *next, FILE *out)
{
	const struct config_server *a = &s->config->server, *b = &next->server;
	const struct {
		const char *key;
		bool is_same;
	} table[] = {
		{ "identity", reload_is_same_key(&next->identity, s->sk) },
		{ "server.listen",
		  reload_is_same_listen(a->listen, a->listen_count, b->listen, b->listen_count) },
		{ "server.tcp", reload_is_same_listen(a->tcp, a->tcp_count, b->tcp, b->tcp_count) },
		{ "server.stun", a->stun == b->stun },
		{ "server.metrics", is_same_pages(&a->metrics, &b->metrics) },
		{ "server.control", strcmp(a->control, b->control) == 0 },
		{ "server.limits.agents", a->agents_max == b->agents_max },
		{ "server.limits.connections", a->connections_max == b->connections_max },
		{ "server.limits.connections_per_address",
		  a->connections_per_address_max == b->connections_per_address_max },
	};
	bool may = true;

	for (size_t i = 0; i < CV_ARRAY_SIZE(table); i++) {
		if (table[i].is_same)
			continue;
		(void)fprintf(out, "%s: '%s' cannot change while the server runs: restart it\n",
		              next->file, table[i].key);
		may = false;
	}
	return may;
}

static int take_over(struct server *s, struct config *next, FILE *out)
{
	uint8_t(*access)[KEY_SIZE] = copy_access(&next->server);
	struct hub_options opt = hub_options_of(s, next, access);

	if (!access || hub_change(s->hub, clock_now(), &opt) < 0) {
		(void)fprintf(out, "out of memory\n");
		cv_free(access);
		return EXIT_FAILED;
	}
	cv_free(s->access);
	s->access = access;
	config_free(s->config);
	s->config = next;
	apply_log(s);
	udp_port_kick(s->port);
	return EXIT_DONE;
}

/* Whole or not at all. An exit code; @ctx is the server. */
static int reload(void *ctx, FILE *out)
{
	struct server *s = ctx;
	struct config *next = reload_read(s->config->file, CONFIG_ROLE_SERVER, out);
	int r;

	if (!next)
		return EXIT_USAGE;
	r = may_take_over(s, next, out) ? take_over(s, next, out) : EXIT_USAGE;
	if (r != EXIT_DONE)
		config_free(next);
	return r;
}

static void on_reload(void *ctx)
{
	struct server *s = ctx;

	if (!s->is_stopping)
		reload_into_log(reload, s);
}

static json_t *on_manage(void *ctx, const struct request *request)
{
	struct server *s = ctx;

	switch (request->verb) {
	case REQUEST_RELOAD:
		return reload_into_json(reload, s);
	case REQUEST_STOP:
		(void)uv_timer_start(&s->later, on_later, 0, 0); /* never fails here */
		return json_pack("{s:b}", "ok", 1);
	case REQUEST_FORWARD:
	case REQUEST_FORWARD_REMOVE:
	case REQUEST_FORWARDS:
		return json_pack("{s:b,s:s,s:i}", "ok", 0, "error", "a server has no forwards",
		                 "exit", EXIT_USAGE);
	case REQUEST_STATUS:
	case REQUEST_PING:
	case REQUEST_NC:
		break;
	}
	CV_UNREACHABLE();
}

static const struct metrics_ops pages_ops = { .status = on_status };
static const struct control_ops control_ops = { .status = on_status, .manage = on_manage };

/* ---- start and stop ---- */

/* The address of this host in @family, if there is no doubt which: the only global one, else the
 * only one. Port 0. */
static struct addr own_address(uint8_t family)
{
	struct addr list[INTERFACES_MAX], global = { 0 }, any = { 0 };
	unsigned count = interfaces_list(list, INTERFACES_MAX), globals = 0, all = 0;

	for (unsigned i = 0; i < count; i++) {
		enum addr_class class = addr_class(&list[i]);

		if (list[i].family != family || class == ADDR_CLASS_LINK_LOCAL)
			continue;
		any = list[i];
		all++;
		if (class != ADDR_CLASS_GLOBAL)
			continue;
		global = list[i];
		globals++;
	}
	if (globals == 1)
		return global;
	return globals == 0 && all == 1 ? any : (struct addr){ 0 };
}

/* What answers to STUN leave from, and say of it. */
static void tell_places(struct server *s)
{
	static const uint8_t zero[16];
	struct binding_place places[UDP_PORT_SOCKETS_MAX] = { { 0 } };
	uint16_t index[UDP_PORT_SOCKETS_MAX];
	struct addr local[UDP_PORT_SOCKETS_MAX];
	unsigned count = udp_port_places(s->port, local, index, UDP_PORT_SOCKETS_MAX);

	for (unsigned i = 0; i < count; i++) {
		places[i].socket = index[i];
		places[i].local = places[i].real = local[i];
		if (memcmp(local[i].ip, zero, sizeof(zero)) == 0)
			places[i].real = own_address(local[i].family);
		places[i].real.port = local[i].port;
	}
	hub_set_places(s->hub, places, count);
}

static int open_port(struct server *s)
{
	const struct udp_core core = {
		.ctx = s,
		.on_arrival = core_on_arrival,
		.on_refused = core_on_refused,
		.write = core_write,
		.send_tcp = core_send_tcp,
		.deadline = core_deadline,
		.on_deadline = core_on_deadline,
	};
	struct addr binds[UDP_PORT_BINDS_MAX] = { { .port = CONFIG_DEFAULT_PORT } };
	struct udp_port_options opt = { .binds = binds, .with_next = true };
	unsigned n = 0;
	int r;

	for (size_t i = 0; i < s->config->server.listen_count; i++) {
		for (uint8_t k = 0; k < s->config->server.listen[i].addr_count; k++) {
			if (n < UDP_PORT_BINDS_MAX)
				binds[n++] = s->config->server.listen[i].addrs[k];
		}
	}
	opt.bind_count = CV_MAX(n, 1);
	r = udp_port_open(&s->loop, &opt, &core, &s->port);
	if (r < 0) {
		log_error("cannot open UDP port %u: %s", binds[0].port, uv_strerror(r));
		return -1;
	}
	s->udp_count = udp_port_local(s->port, s->local, UDP_PORT_SOCKETS_MAX);
	tell_places(s);
	r = server_tcp_open(
		&s->loop,
		&(struct server_tcp_options){ .config = s->config, .hub = s->hub, .port = s->port },
		&s->tcp);
	if (r < 0)
		return -1;
	s->local_count = s->udp_count + server_tcp_local(s->tcp, s->local + s->udp_count,
	                                                 SERVER_TCP_LISTENERS_MAX);
	return 0;
}

static void on_stop(void *ctx);

static int start(struct server *s)
{
	const char *control = s->options->control;
	const struct signals_events events = { .on_stop = on_stop, .on_reload = on_reload };
	char why[CONTROL_WHY_MAX];

	if (build_hub(s) < 0 || signals_open(&s->loop, &events, s, &s->signals) < 0)
		return -1;
	if (control_open(&s->loop, control, &control_ops, s, &s->control, why) < 0) {
		log_error("%s", why);
		return -1;
	}
	if (open_port(s) < 0)
		return -1;
	return server_pages_open(&s->loop, s->config, &pages_ops, s, &s->pages);
}

static void close_port(struct server *s)
{
	if (s->tcp)
		server_tcp_close(s->tcp);
	s->tcp = NULL;
	if (s->port)
		udp_port_close(s->port, NULL, NULL);
	s->port = NULL;
	if (!uv_is_closing((uv_handle_t *)&s->drain))
		uv_close((uv_handle_t *)&s->drain, NULL);
}

static void on_drained(uv_timer_t *timer)
{
	close_port(timer->data);
}

static void stop(struct server *s)
{
	if (s->is_stopping)
		return;
	s->is_stopping = true;
	if (s->control)
		control_close(s->control, NULL, NULL);
	server_pages_close(s->pages);
	s->pages = NULL;
	if (s->signals)
		signals_close(s->signals, NULL, NULL);
	uv_close((uv_handle_t *)&s->later, NULL);
	if (s->port) {
		hub_close(s->hub, clock_now());
		udp_port_kick(s->port);
	}
	if (!s->port || udp_port_flush(s->port))
		close_port(s);
	else
		(void)uv_timer_start(&s->drain, on_drained, DRAIN_MS, 0); /* never fails here */
}

static void on_stop(void *ctx)
{
	log_info("stopping");
	stop(ctx);
}

static void on_later(uv_timer_t *timer)
{
	on_stop(timer->data);
}

int server_run(struct config *config, const struct server_options *options)
{
	struct server *s = cv_zalloc(sizeof(*s));
	int exit_code;

	if (!s || uv_loop_init(&s->loop) < 0) {
		log_error("out of memory");
		cv_free(s);
		config_free(config);
		return EXIT_FAILED;
	}
	s->config = config;
	s->options = options;
	apply_log(s);
	s->started_at = clock_now();
	entropy_init(&s->entropy);
	s->rng = entropy_rng(&s->entropy);
	(void)uv_timer_init(&s->loop, &s->drain); /* never fails */
	(void)uv_timer_init(&s->loop, &s->later);
	s->drain.data = s;
	s->later.data = s;
	if (start(s) < 0) {
		s->exit_code = EXIT_FAILED;
		stop(s);
	} else {
		log_info("ready key=%s port=%u", s->public_key, udp_port_number(s->port));
	}
	(void)uv_run(&s->loop, UV_RUN_DEFAULT);
	CV_ASSERT(uv_loop_close(&s->loop) == 0);
	exit_code = s->exit_code;
	hub_free(s->hub, clock_now());
	cv_free(s->access);
	entropy_deinit(&s->entropy);
	sodium_free(s->sk);
	config_free(s->config);
	cv_free(s);
	return exit_code;
}

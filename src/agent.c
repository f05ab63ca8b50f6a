/* SPDX-License-Identifier: MIT */
#include <string.h>

#include <sodium.h>

#include "agent_inner.h"
#include "base/alloc.h"
#include "base/log.h"
#include "config/keyfile.h"
#include "process.h"
#include "tunnel/aead.h"

#define TICK_MS 250   /* how soon a waiting client hears that its peer is down */
#define DRAIN_MS 1000 /* how long goodbyes may take to leave */

/* What the core tells of itself, one line an event, for developers. */
static void on_trace(void *ctx, cv_time now, enum trace_event event, uint64_t x, uint64_t y,
                     uint64_t z)
{
	(void)ctx;
	log_debug("trace t=%llu.%06u %s %s=%llu %s=%llu %s=%llu",
	          (unsigned long long)(now / CV_SEC(1)), (unsigned)(now % CV_SEC(1) / 1000),
	          trace_name(event), trace_field(event, 0), (unsigned long long)x,
	          trace_field(event, 1), (unsigned long long)y, trace_field(event, 2),
	          (unsigned long long)z);
}

void agent_apply_log(struct agent *a)
{
	const struct config_log *log = &a->config->log;

	a->options->sink->is_json = log->format == CONFIG_LOG_JSON;
	log_set_level(log->level);
	a->trace.emit = log_enabled(LOG_DEBUG) ? on_trace : NULL;
}

static void on_foreign(void *ctx, const struct addr *list, unsigned count)
{
	struct agent *a = ctx;

	endpoint_set_stun_addresses(a->endpoint, clock_now(), list, count);
	udp_port_kick(a->port);
}

int agent_open_foreign(struct agent *a)
{
	return foreign_open(&a->loop, a->config, a->resolver, on_foreign, a, &a->foreign);
}

/* ---- start ---- */

static int read_identity(struct agent *a)
{
	char why[KEYFILE_WHY_MAX];

	a->sk = sodium_malloc(KEY_SIZE);
	if (!a->sk || keyfile_read(a->config->identity.path, a->sk, why) < 0) {
		log_error("%s", a->sk ? why : "out of memory");
		return -1;
	}
	(void)sodium_mprotect_readonly(a->sk); /* a second line of defence only */
	identity_init(&a->me, a->sk);
	base64_key_write(a->public_key, a->me.pk);
	return 0;
}

static int build_core(struct agent *a)
{
	struct endpoint_options opt = {
		.me = &a->me,
		.rng = &a->rng,
		.pool = &a->pool,
		.trace = &a->trace,
		.aead_bits = aead_available(),
		.streams_max = a->config->tunnel.streams_max,
		.congestion = a->config->tunnel.congestion == CONFIG_CUBIC ? CC_CUBIC : CC_BBR,
		.datagram_max = TRAIN_BYTES_MAX,
		.punch_sockets = a->config->punch.sockets_max,
		.punch_packets = a->config->punch.packets_max,
		.punch_rate = a->config->punch.rate,
		.punch_hourly = a->config->punch.hourly,
	};

	struct agent_plan plan;

	if (endpoint_new(&a->endpoint, a->started_at, &opt) < 0) {
		log_error("out of memory");
		return -1;
	}
	if (agent_peers_prepare(a, a->started_at, a->config, &plan) < 0) {
		log_error("%s", plan.why);
		return -1;
	}
	agent_peers_commit(a, a->started_at, NULL, &plan);
	return 0;
}

/* What this host is reachable at: candidates for peers, and what the policy knows as ours. */
static void tell_local_addresses(struct agent *a, cv_time now)
{
	struct addr list[INTERFACES_MAX];
	unsigned count = interfaces_list(list, INTERFACES_MAX);
	unsigned heard = 0;

	bridge_set_local(&a->bridge, list, count);
	for (unsigned i = 0; i < count; i++) {
		list[heard] = list[i];
		list[heard].port = udp_port_number_at(a->port, &list[i]);
		heard += list[heard].port != 0;
	}
	endpoint_set_local_addresses(a->endpoint, now, list, heard);
}

static void on_network_change(void *ctx)
{
	struct agent *a = ctx;
	cv_time now = clock_now();

	if (a->is_stopping)
		return;
	resolver_network_changed(a->resolver);
	if (a->foreign)
		foreign_network_changed(a->foreign);
	agent_tcp_on_network_change(a->tcp, now);
	tell_local_addresses(a, now);
	mapping_on_network_change(&a->mapping);
	udp_port_kick(a->port);
}

static int open_port(struct agent *a)
{
	const struct udp_core core = agent_core(a);
	struct addr binds[UDP_PORT_BINDS_MAX] = { { 0 } };
	struct udp_port_options opt = { .binds = binds, .bind_count = 1 };
	unsigned n = 0;
	int r;

	for (size_t i = 0; i < a->config->listen_count; i++) {
		for (uint8_t k = 0; k < a->config->listen[i].addr_count; k++) {
			if (n < UDP_PORT_BINDS_MAX)
				binds[n++] = a->config->listen[i].addrs[k];
		}
	}
	opt.bind_count = CV_MAX(n, 1);
	r = udp_port_open(&a->loop, &opt, &core, &a->port);
	if (r < 0) {
		log_error("cannot open the tunnel's UDP port: %s", uv_strerror(r));
		return -1;
	}
	if (agent_tcp_open(&a->loop, &(struct agent_tcp_options){ a->endpoint, a->port }, &a->tcp) <
	    0) {
		log_error("out of memory");
		return -1;
	}
	a->bridge.port = a->port;
	n = udp_port_local(a->port, binds, UDP_PORT_BINDS_MAX);
	for (unsigned i = 0; i < n; i++)
		bridge_add_own(&a->bridge, &binds[i]);
	return 0;
}

static void on_tick(uv_timer_t *timer)
{
	struct agent *a = timer->data;

	for (size_t i = 0; i < a->config->peer_count; i++)
		bridge_on_peer(&a->bridge, clock_now(), a->slots[i]);
}

static void on_stop(void *ctx);

/* Flows and listeners of the first configuration. */
static int open_bridge(struct agent *a)
{
	struct tables tables;

	if (tables_init(&tables, a->config, a->slots) < 0 ||
	    bridge_reserve_peers(&a->bridge, a->peers_size) < 0) {
		log_error("out of memory");
		tables_deinit(&tables);
		return -1;
	}
	bridge_adopt(&a->bridge, &tables, NULL);
	if (listeners_prepare(&a->listeners, a->config, a->slots) < 0) {
		log_error("%s", a->listeners.why);
		return -1;
	}
	listeners_commit(&a->listeners, a->config, a->slots, NULL);
	return 0;
}

static int start(struct agent *a)
{
	const char *control = a->options->control;
	const struct signals_events events = {
		.on_stop = on_stop,
		.on_reload = agent_reload_on_signal,
	};
	char why[CONTROL_WHY_MAX];

	if (read_identity(a) < 0 || build_core(a) < 0)
		return -1;
	if (tcp_set_open(&a->loop, process_conns_max(a->config->tunnel.streams_max * 2),
	                 &a->conns) < 0 ||
	    resolver_open(&a->loop, NULL, &a->resolver) < 0 ||
	    bridge_init(&a->bridge, &a->loop, a->config, a->endpoint, a->conns, a->resolver) < 0) {
		log_error("out of memory");
		return -1;
	}
	a->has_bridge = true;
	bridge_limit_udp_sockets(&a->bridge, process_udp_sockets_max());
	a->bridge.write_nc_line = control_nc_line;
	listeners_init(&a->listeners, a->conns, &a->bridge);
	if (agent_metrics_open(a) < 0) {
		log_error("out of memory");
		return -1;
	}
	if (signals_open(&a->loop, &events, a, &a->signals) < 0)
		return -1;
	if (control_open(&a->loop, control, &agent_status_ops, a, &a->control, why) < 0) {
		log_error("%s", why);
		return -1;
	}
	bridge_add_own_unix(&a->bridge, control);
	if (open_port(a) < 0 || open_bridge(a) < 0 || agent_open_foreign(a) < 0)
		return -1;
	if (interfaces_open(&a->loop, on_network_change, a, &a->interfaces) < 0)
		log_warn("changes of the network will go unnoticed");
	tell_local_addresses(a, a->started_at);
	if (a->config->has_portmap)
		mapping_open(&a->mapping, &a->loop, a->endpoint, a->port, &a->rng, &a->trace);
	(void)uv_timer_start(&a->tick, on_tick, TICK_MS, TICK_MS); /* never fails here */
	return 0;
}

/* ---- stop: listeners, flows, goodbyes, ports, then the loop runs empty ---- */

static void close_port(struct agent *a)
{
	if (a->tcp)
		agent_tcp_close(a->tcp);
	a->tcp = NULL;
	if (a->port)
		udp_port_close(a->port, NULL, NULL);
	a->port = NULL;
	a->bridge.port = NULL;
	if (!uv_is_closing((uv_handle_t *)&a->drain))
		uv_close((uv_handle_t *)&a->drain, NULL);
}

static void on_drained(uv_timer_t *timer)
{
	close_port(timer->data);
}

static void stop(struct agent *a)
{
	if (a->is_stopping)
		return;
	a->is_stopping = true;
	listeners_close(&a->listeners);
	if (a->listeners.metrics)
		metrics_close(a->listeners.metrics);
	a->listeners.metrics = NULL;
	if (a->has_bridge)
		bridge_close(&a->bridge);
	if (a->control)
		control_close(a->control, NULL, NULL);
	mapping_close(&a->mapping);
	if (a->interfaces)
		interfaces_close(a->interfaces, NULL, NULL);
	if (a->signals)
		signals_close(a->signals, NULL, NULL);
	if (a->foreign)
		foreign_close(a->foreign);
	if (a->resolver)
		resolver_close(a->resolver, NULL, NULL);
	if (a->conns)
		tcp_set_close(a->conns);
	uv_close((uv_handle_t *)&a->tick, NULL);
	uv_close((uv_handle_t *)&a->later, NULL);
	if (a->port) {
		endpoint_close(a->endpoint, clock_now());
		udp_port_kick(a->port);
		if (udp_port_flush(a->port))
			close_port(a);
		else
			(void)uv_timer_start(&a->drain, on_drained, DRAIN_MS, 0);
	} else {
		close_port(a);
	}
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

void agent_stop_soon(struct agent *a)
{
	if (!a->is_stopping)
		(void)uv_timer_start(&a->later, on_later, 0, 0); /* never fails here */
}

static void free_agent(struct agent *a)
{
	if (a->has_bridge)
		bridge_deinit(&a->bridge);
	endpoint_free(a->endpoint, clock_now());
	agent_peers_close(a);
	pool_deinit(&a->pool);
	entropy_deinit(&a->entropy);
	sodium_free(a->sk);
	config_free(a->config);
	cv_free(a);
}

int agent_run(struct config *config, const struct agent_options *options)
{
	struct agent *a = cv_zalloc(sizeof(*a));
	int exit_code;

	if (!a || uv_loop_init(&a->loop) < 0) {
		log_error("out of memory");
		cv_free(a);
		config_free(config);
		return EXIT_FAILED;
	}
	a->config = config;
	a->options = options;
	a->started_at = clock_now();
	entropy_init(&a->entropy);
	a->rng = entropy_rng(&a->entropy);
	agent_apply_log(a);
	pool_init(&a->pool, config->tunnel.memory_size);
	(void)uv_timer_init(&a->loop, &a->tick); /* neither fails */
	(void)uv_timer_init(&a->loop, &a->drain);
	(void)uv_timer_init(&a->loop, &a->later);
	a->tick.data = a;
	a->later.data = a;
	a->drain.data = a;
	if (start(a) < 0) {
		a->exit_code = EXIT_FAILED;
		stop(a);
	} else {
		log_info("ready key=%s port=%u listeners=%u", a->public_key,
		         udp_port_number(a->port), a->listeners.count);
	}
	(void)uv_run(&a->loop, UV_RUN_DEFAULT);
	CV_ASSERT(uv_loop_close(&a->loop) == 0);
	exit_code = a->exit_code;
	free_agent(a);
	return exit_code;
}

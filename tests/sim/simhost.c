/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <stdlib.h>
#include <string.h>

#include "tunnel/aead.h"

enum {
	SPINS_MAX = 64,       /* turns at one instant */
	EVENTS_MAX = 100000,  /* pulled in one turn */
	TRAINS_MAX = 20000,   /* likewise */
	POOL_SIZE = 64 << 20, /* bytes of buffers a process has */
};

/* ---- making ---- */

static void on_trace(void *ctx, cv_time now, enum trace_event event, uint64_t a, uint64_t b,
                     uint64_t c)
{
	struct sim_host *h = ctx;

	(void)now;
	/* The sink has no way to the world but this. */
	sim_tell(h->sim, trace_name(event), h->number, b, c);
	(void)a;
}

static struct addr address_in(int zone, int host)
{
	uint8_t side = (uint8_t)(host + 1);

	return zone == SIM_ROOT ? addr_v4(11, 0, 0, side, SIM_PORT)
	                        : addr_v4(192, 168, (uint8_t)zone, side, SIM_PORT);
}

static struct addr address6_in(int zone, int host)
{
	return (struct addr){ .family = ADDR_V6,
		              .port = SIM_PORT,
		              .ip = { 0x2a, 0x00, 0,
		                      (uint8_t)(zone + 1), [15] = (uint8_t)(host + 1) } };
}

void simhost_add_v6(struct sim_host *h, bool is_alone)
{
	h->address6 = address6_in(h->zone, h->number);
	h->lacks_v4 = is_alone;
}

static struct sim_host *add(struct sim *sim, const char *name, int zone,
                            const struct sim_link *link)
{
	int i = sim->host_count++;
	struct sim_host *h = &sim->hosts[i];

	CV_ASSERT(i < SIM_HOSTS_MAX);
	*h = (struct sim_host){
		.sim = sim,
		.name = name,
		.number = i,
		.is_trusted = true,
		.zone = zone,
		.aead_bits = AEAD_BIT_CHACHA, /* on every CPU: a seed tells the same story */
		.congestion = sim->congestion,
		.deadline = CV_TIME_NEVER,
		.timer_at = CV_TIME_NEVER,
	};
	h->address = address_in(zone, i);
	h->bound_ports[SOCKET_MAIN] = SIM_PORT;
	simhost_set_link(h, link);
	rng_fill(&sim->rng, h->sk, sizeof(h->sk));
	identity_init(&h->me, h->sk);
	h->trace = (struct trace){ on_trace, h };
	return h;
}

void simhost_set_link(struct sim_host *h, const struct sim_link *link)
{
	if (link) {
		h->up = *link;
		h->down = *link;
	}
}

struct sim_host *simhost_add_agent(struct sim *sim, const char *name, int zone,
                                   const struct sim_link *link)
{
	return add(sim, name, zone, link);
}

struct sim_host *simhost_add_hub(struct sim *sim, const char *name, const struct sim_link *link)
{
	struct sim_host *h = add(sim, name, SIM_ROOT, link);

	h->is_hub = true;
	/* A second port, from which STUN sees what a router makes of it. */
	h->bound_ports[1] = SIM_PORT + 1;
	return h;
}

struct sim_host *simhost_add_attacker(struct sim *sim, const struct sim_link *link)
{
	struct sim_host *h = add(sim, "evil", SIM_ROOT, link);

	h->is_trusted = false;
	h->is_silent = true;
	return h;
}

void simhost_know(struct sim_host *a, struct sim_host *b, bool with_address)
{
	a->knows[b->number] = true;
	b->knows[a->number] = true;
	a->is_static[b->number] = with_address;
}

void simhost_use_hub(struct sim_host *agent, struct sim_host *hub)
{
	agent->knows[hub->number] = true;
}

struct addr simhost_public_address(struct sim *sim, const struct sim_host *h)
{
	struct addr a = h->address;

	for (int zone = h->zone; zone != SIM_ROOT; zone = sim->nats[zone].zone) {
		uint16_t port = a.port;

		a = sim->nats[zone].address;
		a.port = port;
	}
	return a;
}

/* ---- sockets ---- */

uint16_t simhost_port_of(const struct sim_host *h, uint16_t socket)
{
	if (socket < SIM_BOUND_MAX)
		return h->bound_ports[socket];
	if (socket >= SOCKET_EXTRA && socket < SOCKET_EXTRA + SOCKETS_EXTRA_MAX)
		return h->extra_ports[socket - SOCKET_EXTRA];
	return 0;
}

bool simhost_socket_at(const struct sim_host *h, uint16_t port, uint16_t *socket)
{
	for (uint16_t i = 0; i < SIM_BOUND_MAX; i++) {
		*socket = i;
		if (h->bound_ports[i] == port)
			return true;
	}
	for (uint16_t i = 0; i < SOCKETS_EXTRA_MAX && h->extra_open > 0; i++) {
		*socket = (uint16_t)(SOCKET_EXTRA + i);
		if (h->extra_ports[i] == port)
			return true;
	}
	return false;
}

/* As a kernel does it: any port of its range that nobody has. */
unsigned simhost_open_sockets(struct sim *sim, struct sim_host *h, uint16_t first, unsigned count)
{
	unsigned opened = 0;
	uint16_t unused;

	CV_ASSERT(first >= SOCKET_EXTRA);
	CV_ASSERT((unsigned)(first - SOCKET_EXTRA) + count <= SOCKETS_EXTRA_MAX);
	for (; opened < count && (h->extra_max == 0 || h->extra_open < h->extra_max); opened++) {
		uint16_t *port = &h->extra_ports[(unsigned)(first - SOCKET_EXTRA) + opened], drawn;

		if (*port != 0)
			sim_fail(sim, "%s opens socket %u twice", h->name,
			         (unsigned)first + opened);
		do {
			drawn = (uint16_t)(32768 + sim_below(sim, 28232));
		} while (simhost_socket_at(h, drawn, &unused));
		*port = drawn;
		h->extra_open++;
	}
	h->extra_opened += opened;
	h->extra_peak = CV_MAX(h->extra_peak, h->extra_open);
	sim_tell(sim, "opens sockets", h->number, first, opened);
	return opened;
}

void simhost_close_socket(struct sim *sim, struct sim_host *h, uint16_t socket)
{
	if (simhost_port_of(h, socket) == 0 || socket < SOCKET_EXTRA) {
		sim_fail(sim, "%s closes socket %u, which is not open", h->name, socket);
		return;
	}
	h->extra_ports[socket - SOCKET_EXTRA] = 0;
	h->extra_open--;
	sim_tell(sim, "closes a socket", h->number, socket, h->extra_open);
}

/* ---- life ---- */

static struct hub_options hub_options(const struct sim_host *h)
{
	return (struct hub_options){
		.me = &h->me,
		.rng = &h->rng,
		.trace = &h->trace,
		.agents_max = 64,
		.agents_per_address_max = 64,
		.relay_enabled = !h->lends_no_relay,
		.relay_rate = h->relay_rate,
		.access_anyone = true,
		.stun = BINDING_PADDED,
	};
}

void simhost_lend_relay(struct sim *sim, struct sim_host *h)
{
	struct hub_options opt;

	h->lends_no_relay = false;
	opt = hub_options(h);
	CV_ASSERT(hub_change(h->hub, sim->now, &opt) == 0);
	simhost_poke(sim, h);
}

static void start_hub(struct sim *sim, struct sim_host *h)
{
	struct hub_options opt = hub_options(h);
	struct binding_place places[2] = {
		{ .socket = 0, .local = h->address, .real = h->address },
		{ .socket = 1, .local = h->address, .real = h->address }
	};

	CV_ASSERT(hub_new(&h->hub, sim->now, &opt) == 0);
	places[1].local.port = places[1].real.port = (uint16_t)(h->address.port + 1);
	hub_set_places(h->hub, places, 2);
}

static void tell_addresses(struct sim *sim, struct sim_host *h)
{
	struct addr list[2];
	unsigned count = 0;

	if (!h->lacks_v4)
		list[count++] = h->address;
	if (h->address6.family != ADDR_NONE)
		list[count++] = h->address6;
	endpoint_set_local_addresses(h->endpoint, sim->now, list, count);
}

static void start_agent(struct sim *sim, struct sim_host *h)
{
	struct endpoint_options opt = {
		.me = &h->me,
		.rng = &h->rng,
		.trace = &h->trace,
		.pool = &h->pool,
		.aead_bits = h->aead_bits,
		.streams_max = 256,
		.congestion = h->congestion,
	};
	uint32_t number;

	pool_init(&h->pool, h->pool_size ? h->pool_size : POOL_SIZE);
	CV_ASSERT(endpoint_new(&h->endpoint, sim->now, &opt) == 0);
	for (int i = 0; i < sim->host_count; i++) {
		struct endpoint_peer peer = {
			.pk = sim->hosts[i].me.pk,
			.policy = h->policy,
			.has_address = h->is_static[i],
		};

		if (!h->knows[i])
			continue;
		if (sim->hosts[i].is_hub) {
			CV_ASSERT(endpoint_add_server(h->endpoint, sim->now, peer.pk, &number) ==
			          0);
			h->servers[i] = number;
		} else {
			CV_ASSERT(endpoint_add_peer(h->endpoint, sim->now, &peer, &number) == 0);
			h->peers[i] = number;
		}
	}
	tell_addresses(sim, h);
}

static void drain(struct sim *sim, struct sim_host *h);

void simhost_start(struct sim *sim, struct sim_host *h)
{
	if (!h->is_trusted || h->is_running)
		return;
	h->births++;
	rng_seeded_init(&h->seeded, rng_u64(&sim->rng));
	h->rng = rng_from_seeded(&h->seeded);
	h->is_running = true;
	h->is_asleep = false;
	h->deadline = CV_TIME_NEVER;
	h->spin_at = 0;
	for (int i = 0; i < SIM_HOSTS_MAX; i++) {
		h->peers[i] = SIM_NO_PEER;
		h->servers[i] = SIM_NO_PEER;
		h->is_up[i] = false;
	}
	sim_tell(sim, "starts", h->number, h->births, 0);
	if (h->is_hub)
		start_hub(sim, h);
	else
		start_agent(sim, h);
	drain(sim, h);
}

void simhost_start_all(struct sim *sim)
{
	for (int i = 0; i < sim->host_count; i++)
		simhost_start(sim, &sim->hosts[i]);
}

void simhost_kill(struct sim *sim, struct sim_host *h, bool is_polite)
{
	if (!h->is_running)
		return;
	sim_tell(sim, "ends", h->number, h->births, is_polite);
	if (is_polite && h->is_hub)
		hub_close(h->hub, sim->now);
	else if (is_polite)
		endpoint_close(h->endpoint, sim->now);
	if (is_polite)
		drain(sim, h);
	h->is_running = false;
	memset(h->extra_ports, 0, sizeof(h->extra_ports));
	h->extra_open = 0;
	simapp_on_dead(sim, h);
	simtcp_on_dead(sim, h);
	if (h->is_hub) {
		hub_free(h->hub, sim->now);
		h->hub = NULL;
		return;
	}
	endpoint_free(h->endpoint, sim->now);
	h->endpoint = NULL;
	if (h->pool.used != 0)
		sim_fail(sim, "%s: %llu bytes of the pool are out", h->name,
		         (unsigned long long)h->pool.used);
	else
		pool_deinit(&h->pool);
}

/* ---- the drain that endpoint.h prescribes ---- */

static int host_of_peer(const struct sim_host *h, uint32_t peer)
{
	for (int i = 0; i < SIM_HOSTS_MAX; i++) {
		if (h->knows[i] && h->peers[i] == peer)
			return i;
	}
	return SIM_NOBODY;
}

static void resolve_peer(struct sim *sim, struct sim_host *h, uint32_t peer)
{
	int i = host_of_peer(h, peer);
	struct addr a;

	if (i == SIM_NOBODY || !h->is_static[i])
		return;
	a = simhost_public_address(sim, &sim->hosts[i]);
	endpoint_set_peer_addresses(h->endpoint, sim->now, peer, &a, 1);
}

static void resolve_server(struct sim *sim, struct sim_host *h, uint32_t server)
{
	for (int i = 0; i < sim->host_count; i++) {
		const struct sim_host *s = &sim->hosts[i];
		struct addr list[2] = { s->address6, s->address };
		unsigned first = s->address6.family == ADDR_NONE ? 1u : 0u;
		unsigned count = (s->lacks_v4 ? 1u : 2u) - first;

		if (s->is_hub && h->knows[i] && h->servers[i] == server)
			endpoint_set_server_addresses(h->endpoint, sim->now, server, &list[first],
			                              count);
	}
}

static void open_sockets(struct sim *sim, struct sim_host *h, uint16_t first, uint16_t count)
{
	unsigned opened = simhost_open_sockets(sim, h, first, count);
	uint16_t ports[SOCKETS_EXTRA_MAX];

	for (unsigned i = 0; i < opened; i++)
		ports[i] = simhost_port_of(h, (uint16_t)(first + i));
	endpoint_on_sockets_opened(h->endpoint, sim->now, first, count, opened, ports);
}

static void on_event(struct sim *sim, struct sim_host *h, const struct endpoint_event *ev)
{
	int i = host_of_peer(h, ev->peer);

	sim_tell(sim, "event", h->number, ev->kind, ev->code);
	switch (ev->kind) {
	case ENDPOINT_EVENT_RESOLVE_PEER:
		resolve_peer(sim, h, ev->peer);
		return;
	case ENDPOINT_EVENT_RESOLVE_SERVER:
		resolve_server(sim, h, ev->server);
		return;
	case ENDPOINT_EVENT_PEER_UP:
		CV_ASSERT(i != SIM_NOBODY);
		if (h->is_up[i])
			sim_fail(sim, "%s: up twice", h->name);
		if (sim->hosts[i].births == 0)
			sim_fail(sim, "P6: %s has a session with %s, who never lived", h->name,
			         sim->hosts[i].name);
		h->is_up[i] = true;
		h->ups[i]++;
		h->up_at[i] = sim->now;
		return;
	case ENDPOINT_EVENT_PEER_DOWN:
		CV_ASSERT(i != SIM_NOBODY);
		if (!h->is_up[i])
			sim_fail(sim, "%s: down without up", h->name);
		h->is_up[i] = false;
		h->downs[i]++;
		return;
	case ENDPOINT_EVENT_PATH:
		return;
	case ENDPOINT_EVENT_STREAM:
		simapp_on_event(sim, h, ev);
		return;
	case ENDPOINT_EVENT_SERVER_UP:
		h->server_ups++;
		return;
	case ENDPOINT_EVENT_SERVER_DOWN:
		h->server_downs++;
		return;
	case ENDPOINT_EVENT_TCP_OPEN:
		simtcp_open(sim, h, ev->server);
		return;
	case ENDPOINT_EVENT_TCP_CLOSE:
		simtcp_close(sim, h);
		return;
	case ENDPOINT_EVENT_SERVER_REFUSED:
		return;
	case ENDPOINT_EVENT_OPEN_SOCKETS:
		open_sockets(sim, h, ev->socket, ev->count);
		return;
	case ENDPOINT_EVENT_CLOSE_SOCKET:
		simhost_close_socket(sim, h, ev->socket);
		return;
	case ENDPOINT_EVENT_CLASH:
		return;
	case ENDPOINT_EVENT_DUPLICATE:
		h->duplicates++;
		return;
	}
	CV_UNREACHABLE();
}

static bool write_train(struct sim *sim, struct sim_host *h)
{
	sim->train = (struct train){ .bytes = sim->train_bytes };
	return h->is_hub ? hub_write(h->hub, sim->now, &sim->train)
	                 : endpoint_write(h->endpoint, sim->now, &sim->train);
}

static void send_train(struct sim *sim, struct sim_host *h)
{
	const struct train *t = &sim->train;

	if (h->interface_mtu == 0 || t->segment_size <= h->interface_mtu || h->is_hub)
		simnet_send(sim, h, t);
	else
		endpoint_on_too_large(h->endpoint, sim->now, t->socket, &t->to, t->segment_size);
}

/* No turn without end, none that asks for itself at once for ever. */
static void check_spin(struct sim *sim, struct sim_host *h)
{
	if (h->spin_at != sim->now) {
		h->spin_at = sim->now;
		h->spins = 0;
	}
	if (h->deadline <= sim->now && ++h->spins > SPINS_MAX)
		sim_fail(sim, "%s: spins: its deadline never leaves the past", h->name);
	if (cv_time_since(sim->now, h->turns_since) >= CV_SEC(1)) {
		h->turns_since = sim->now;
		h->turns = 0;
	}
	if (++h->turns > sim->turns_max)
		sim_fail(sim, "%s: more than %llu turns a second", h->name,
		         (unsigned long long)sim->turns_max);
}

static void arm(struct sim *sim, struct sim_host *h)
{
	h->deadline = h->is_hub ? hub_deadline(h->hub) : endpoint_deadline(h->endpoint);
	check_spin(sim, h);
	if (h->deadline >= h->timer_at)
		return;
	h->timer_at = CV_MAX(h->deadline, sim->now);
	sim_push(sim, (struct sim_event){
			      .at = h->timer_at,
			      .kind = SIM_EVENT_TIMER,
			      .number = h->number,
		      });
}

static void drain(struct sim *sim, struct sim_host *h)
{
	struct endpoint_event ev;
	unsigned events = 0, trains = 0;

	while (!h->is_hub && endpoint_next_event(h->endpoint, sim->now, &ev)) {
		on_event(sim, h, &ev);
		if (++events > EVENTS_MAX || sim->has_failed) {
			sim_fail(sim, "%s: events without end", h->name);
			return;
		}
	}
	if (!h->is_hub)
		simgram_drain(sim, h);
	while (write_train(sim, h)) {
		if (sim->train.socket == SOCKET_TCP)
			simtcp_send(sim, h, &sim->train);
		else
			send_train(sim, h);
		if (++trains > TRAINS_MAX || sim->has_failed) {
			sim_fail(sim, "%s: trains without end", h->name);
			return;
		}
	}
	arm(sim, h);
	if (h->turns % sim->check_interval != 0)
		return;
	if (h->is_hub ? !hub_check(h->hub) : !endpoint_check(h->endpoint))
		sim_fail(sim, "%s: an invariant is broken", h->name);
	else if (!h->is_hub && !pool_check(&h->pool))
		sim_fail(sim, "%s: the pool's sums are wrong", h->name);
}

/* ---- events ---- */

/* P6: what is damaged is as if it had not come. */
static void check_silence(struct sim *sim, struct sim_host *h)
{
	struct endpoint_event ev;
	const uint8_t *bytes = sim->train_bytes;

	if (h->deadline <= sim->now)
		return;
	if (!h->is_hub && endpoint_next_event(h->endpoint, sim->now, &ev)) {
		sim_fail(sim, "P6: %s tells of a damaged datagram: event %d", h->name, ev.kind);
		return;
	}
	if (!write_train(sim, h))
		return;
	if ((bytes[0] & WIRE_KIND_MASK) == WIRE_RELAY)
		bytes += WIRE_RELAY_HEADER;
	/* A repeat of INIT is known by its mac1 and gets the stored RESP; no state moves. */
	if ((bytes[0] & WIRE_KIND_MASK) != WIRE_RESP)
		sim_fail(sim, "P6: %s answers a damaged datagram with kind %x", h->name,
		         bytes[0] & WIRE_KIND_MASK);
}

static void on_arrival(struct sim *sim, struct sim_host *h, struct sim_datagram *d)
{
	struct arrival in = {
		.bytes = d->bytes,
		.size = d->size,
		.segment_size = d->size,
		.socket = d->tcp_serial != 0 ? SOCKET_TCP : SOCKET_MAIN,
		.ecn = d->ecn,
		.from = d->src,
	};
	unsigned kind = d->bytes[0] & WIRE_KIND_MASK;
	bool is_damaged = d->is_corrupt && !simwatch_is_whole(sim, d);

	if (d->tcp_serial != 0 && !simtcp_is_whole(sim, h, d))
		return;
	if (!h->is_running || h->is_asleep ||
	    (d->tcp_serial == 0 && !simhost_socket_at(h, d->dst.port, &in.socket))) {
		if (!h->is_silent && !h->is_asleep && h->is_trusted)
			simnet_refuse(sim, d);
		return;
	}
	if (d->tcp_serial == 0)
		simwatch_on_arrival(sim, h, d);
	h->received++;
	if (d->from >= 0)
		h->heard_at[d->from] = sim->now;
	sim_tell(sim, d->is_corrupt ? "gets damaged" : "gets", h->number, d->size, kind);
	if (h->is_hub) {
		hub_on_arrival(h->hub, sim->now, &in);
	} else {
		endpoint_on_turn(h->endpoint, sim->now);
		endpoint_on_arrival(h->endpoint, sim->now, &in);
		if (is_damaged)
			check_silence(sim, h);
	}
	drain(sim, h);
}

static void on_refused(struct sim *sim, struct sim_host *h, const struct sim_datagram *d)
{
	if (!h->is_running || h->is_asleep)
		return;
	sim_tell(sim, "refused", h->number, d->size, d->bytes[0]);
	if (h->is_hub) {
		hub_on_refused(h->hub, sim->now, d->socket, &d->sent_to);
	} else {
		endpoint_on_turn(h->endpoint, sim->now);
		endpoint_on_refused(h->endpoint, sim->now, d->socket, &d->sent_to);
	}
	drain(sim, h);
}

static void on_timer(struct sim *sim, struct sim_host *h)
{
	if (h->timer_at != sim->now)
		return; /* an earlier one has come instead */
	h->timer_at = CV_TIME_NEVER;
	if (!h->is_running || h->is_asleep)
		return;
	if (h->is_hub) {
		if (h->deadline <= sim->now)
			hub_on_deadline(h->hub, sim->now);
	} else {
		endpoint_on_turn(h->endpoint, sim->now);
		if (h->deadline <= sim->now)
			endpoint_on_deadline(h->endpoint, sim->now);
	}
	drain(sim, h);
}

void simhost_poke(struct sim *sim, struct sim_host *h)
{
	if (!h->is_running || h->is_asleep)
		return;
	if (h->is_hub) {
		drain(sim, h);
		return;
	}
	endpoint_on_turn(h->endpoint, sim->now);
	for (int i = 0; i < sim->host_count; i++) {
		if (h->knows[i] && h->peers[i] != SIM_NO_PEER)
			endpoint_touch(h->endpoint, h->peers[i]);
	}
	drain(sim, h);
}

void simhost_on_event(struct sim *sim, const struct sim_event *event)
{
	struct sim_host *h = &sim->hosts[event->number];

	switch (event->kind) {
	case SIM_EVENT_ARRIVE:
		on_arrival(sim, h, event->datagram);
		break;
	case SIM_EVENT_REFUSED:
		on_refused(sim, h, event->datagram);
		break;
	case SIM_EVENT_TIMER:
		on_timer(sim, h);
		break;
	case SIM_EVENT_APP:
		h->app_is_due = false;
		if (!h->is_running || h->is_asleep)
			break;
		endpoint_on_turn(h->endpoint, sim->now);
		simapp_tick(sim, h);
		simhost_poke(sim, h);
		break;
	case SIM_EVENT_ROUTE:
	case SIM_EVENT_CALL:
		CV_UNREACHABLE();
	}
	simnet_free(sim, event->datagram);
}

void simhost_sleep(struct sim_host *h)
{
	h->is_asleep = true;
}

void simhost_wake(struct sim *sim, struct sim_host *h)
{
	h->is_asleep = false;
	if (!h->is_running)
		return;
	sim_tell(sim, "wakes", h->number, 0, 0);
	if (!h->is_hub)
		endpoint_on_turn(h->endpoint, sim->now);
	if (h->is_hub ? h->deadline <= sim->now : false)
		hub_on_deadline(h->hub, sim->now);
	else if (!h->is_hub && h->deadline <= sim->now)
		endpoint_on_deadline(h->endpoint, sim->now);
	drain(sim, h);
	simapp_wake(sim, h);
}

void simhost_move(struct sim *sim, struct sim_host *h, int zone)
{
	h->zone = zone;
	h->address = address_in(zone, h->number);
	simtcp_on_moved(sim, h);
	if (h->address6.family != ADDR_NONE)
		h->address6 = address6_in(zone, h->number);
	sim_tell(sim, "moves", h->number, (uint64_t)zone, 0);
	if (!h->is_running || h->is_hub)
		return;
	endpoint_on_turn(h->endpoint, sim->now);
	tell_addresses(sim, h);
	simhost_poke(sim, h);
}

/* ---- looking ---- */

void simhost_stats(struct sim *sim, struct sim_host *h, const struct sim_host *peer,
                   struct endpoint_peer_stats *out)
{
	*out = (struct endpoint_peer_stats){ .path_kind = "none" };
	if (h->is_running && h->peers[peer->number] != SIM_NO_PEER)
		endpoint_peer_stats(h->endpoint, sim->now, h->peers[peer->number], out);
}

const char *simhost_path(struct sim *sim, struct sim_host *h, const struct sim_host *peer)
{
	struct endpoint_peer_stats stats;

	simhost_stats(sim, h, peer, &stats);
	return stats.path_kind;
}

bool simhost_is_up(const struct sim_host *h, const struct sim_host *peer)
{
	return h->is_running && h->is_up[peer->number];
}

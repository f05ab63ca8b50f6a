/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * agent_inner - the state of one running agent, for the files that it is made of: agent.c (life),
 * agent_core.c (events of the core, and the port's calls into it), agent_peers.c (peers and servers
 * of the configuration), agent_status.c (what the control socket asks), agent_manage.c (what it
 * changes), agent_reload.c (another configuration). For nobody else.
 */

#include <stdio.h>

#include "agent.h"
#include "agent_tcp.h"
#include "control.h"
#include "flows/bridge.h"
#include "foreign.h"
#include "listeners.h"
#include "mapping.h"
#include "net/clock.h"
#include "net/entropy.h"
#include "net/interfaces.h"
#include "net/signals.h"

struct agent;

struct agent_ping {
	uint64_t id; /* 0: none */
	uint32_t peer;
	cv_time until; /* then the control socket has answered in our place */
};

/* A lookup of the tunnel's own, for a peer or a server; owned by one of them. */
struct agent_lookup {
	struct agent *agent;
	uint64_t id;     /* of the resolver; 0: none runs */
	uint32_t number; /* the core's, of the peer or server */
	bool is_server;
	bool is_wanted_again; /* asked for while it ran: should it fail, the next one at once */
};

/* A peer, or a server, by its number in the core, which it keeps over reloads. */
struct agent_peer {
	bool is_used;    /* is configured */
	bool is_staying; /* within agent_peers_commit() */
	uint32_t index;  /* in the configuration; valid while is_used */
	struct agent_lookup *lookup;
};

struct agent {
	uv_loop_t loop;
	struct config *config; /* owned; a reload puts another in its place */
	const struct agent_options *options;
	uint8_t *sk; /* guarded memory */
	struct identity me;
	struct entropy entropy;
	struct rng rng;
	struct pool pool;
	struct trace trace;
	struct endpoint *endpoint;
	struct udp_port *port;
	struct agent_tcp *tcp;
	struct tcp_set *conns;
	struct resolver *resolver;
	struct foreign *foreign;
	struct interfaces *interfaces;
	struct mapping mapping;
	struct signals *signals;
	struct control *control;
	struct bridge bridge;
	bool has_bridge;
	struct listeners listeners;
	struct agent_peer *peers; /* owned; by number */
	uint32_t peers_size;      /* numbers that it has room for */
	uint32_t *slots;          /* owned: the number of each peer of the configuration */
	struct agent_peer servers[ENDPOINT_SERVERS_MAX]; /* likewise */
	uint32_t server_slots[ENDPOINT_SERVERS_MAX];
	struct agent_ping pings[32];
	uv_timer_t tick, drain, later;
	cv_time started_at;
	char public_key[KEY_TEXT_SIZE + 1];
	bool is_stopping;
	int exit_code;
};

/* ---- agent_core.c ---- */

/* What the UDP port calls. */
struct udp_core agent_core(struct agent *a);

/* ---- agent_peers.c ---- */

enum { AGENT_WHY_MAX = 512 };

/* What another configuration will mean for peers and servers. */
struct agent_plan {
	const struct config *config; /* borrowed */
	uint32_t *slots;             /* by place in it: numbers in the core; these are owned */
	bool *is_new;                /* likewise */
	uint8_t (*psks)[KEY_SIZE];   /* likewise; zero: none */
	uint32_t peers_size;         /* no number is above */
	uint32_t server_slots[ENDPOINT_SERVERS_MAX];
	bool server_is_new[ENDPOINT_SERVERS_MAX];
	char why[AGENT_WHY_MAX]; /* of a failure */
};

/* Adds to the core what @config has and it has not; nothing else changes. 0, or a negative errno
 * with plan->why and nothing has changed. One of the next two follows within the turn. */
CV_NODISCARD int agent_peers_prepare(struct agent *a, cv_time now, const struct config *config,
                                     struct agent_plan *plan);
void agent_peers_abort(struct agent *a, cv_time now, struct agent_plan *plan);
/* It holds: changes peers, removes those that it has not. a->config is the new one already,
 * @before the old one, or NULL at the start. Deinits @plan. */
void agent_peers_commit(struct agent *a, cv_time now, const struct config *before,
                        struct agent_plan *plan);
/* Looks its address up, or takes it as it is: answers ENDPOINT_EVENT_RESOLVE_*. */
void agent_peers_resolve(struct agent *a, cv_time now, bool is_server, uint32_t number);
/* For the log; of a peer that was just removed: "-". */
const char *agent_peers_name(const struct agent *a, uint32_t peer);
const char *agent_peers_server_name(const struct agent *a, uint32_t server);
/* The number of the peer called @name; UINT32_MAX: none. */
uint32_t agent_peers_find(const struct agent *a, const char *name);
void agent_peers_close(struct agent *a);

/* ---- agent_reload.c ---- */

/**
 * agent_reload() - reads the configuration again and puts it in the place of the present one
 * @ctx: the agent
 * @out: what is to be said of it, lines as `culvert check` prints them
 *
 * All of it, or nothing: whatever fails, fails before anything has changed.
 *
 * Return: an exit code: 0; 2 when the file is wrong, or changes what needs a restart; 1 when a
 * socket cannot be bound or memory ran out.
 */
int agent_reload(void *ctx, FILE *out);
/* SIGHUP: the outcome is in the log. */
void agent_reload_on_signal(void *ctx);

/* ---- agent.c ---- */

/* The log's level and format, as the configuration has them. */
void agent_apply_log(struct agent *a);
/* The configuration's `stun` list, looked up and told to the core. 0 or a negative errno. */
CV_NODISCARD int agent_open_foreign(struct agent *a);
/* As after SIGTERM, but not before this turn of the loop is over. */
void agent_stop_soon(struct agent *a);

/* ---- agent_metrics.c ---- */

/* The pages, for whichever listener a configuration gives them. 0 or a negative errno. */
CV_NODISCARD int agent_metrics_open(struct agent *a);

/* ---- agent_manage.c ---- */

/* control_ops.manage */
json_t *agent_manage(void *ctx, const struct request *request);

/* ---- agent_status.c ---- */

/* What the control socket may ask. */
extern const struct control_ops agent_status_ops;
/* Pings that have come back are answered. */
void agent_status_answer_pings(struct agent *a, cv_time now);
/* A peer is removed: so are its pings. */
void agent_status_forget_peer(struct agent *a, uint32_t peer);

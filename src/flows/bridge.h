/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * bridge - flows: local connections at one side, streams of the tunnel at the other.
 *
 * Knows who asks (proxy's client, forward, nc), who answers (the far side's dial), and carries
 * bytes between the two with back-pressure both ways. The decisions are proxy/'s (socks5, route,
 * acl, dial, pump); the protocol is tunnel/'s.
 *
 * near.c: a client of ours until the far side has answered; near_proxy.c: what a proxy's client
 * says and is told; near_bind.c, associate.c: its other two commands. far.c: a peer's stream until
 * it is connected or refused. flow.c: bytes, once both ends exist. bridge.c: the table, deadlines,
 * events.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "base/heap.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/log.h"
#include "base/ratelimit.h"
#include "config/config.h"
#include "flows/tables.h"
#include "flows/udp_flow.h"
#include "flows/udp_scratch.h"
#include "net/resolver.h"
#include "net/tcp_conn.h"
#include "net/tcp_dial.h"
#include "net/udp_port.h"
#include "proxy/acl.h"
#include "proxy/dial.h"
#include "proxy/http.h"
#include "proxy/pump.h"
#include "proxy/route.h"
#include "proxy/sniff.h"
#include "proxy/socks4.h"
#include "proxy/socks5.h"
#include "proxy/target.h"
#include "tunnel/endpoint.h"

enum flow_state {
	FLOW_HANDSHAKE, /* near: the client has not said what it wants */
	FLOW_WAITING,   /* near: the stream is open, the far side has not answered */
	FLOW_REQUEST,   /* far: the header has not come whole */
	FLOW_DIALLING,  /* far */
	FLOW_ASKING,    /* near: a listener of a remote forward, asked for or open */
	FLOW_LISTENING, /* far: such a listener */
	FLOW_BINDING,   /* far: a BIND that nobody has connected to */
	FLOW_PUMPING,
	FLOW_ASSOCIATED, /* near: the connection of an association */
	FLOW_LINGERING,  /* near: refused, and told why; has no stream */
	FLOW_CLOSING,    /* the connection is going; the stream is released */
};

enum flow_kind { FLOW_PROXY, FLOW_FORWARD, FLOW_NC, FLOW_FAR, FLOW_REMOTE };

struct flow;
struct once;

/* What a client needs only until it is answered. */
struct near {
	enum sniff_kind protocol; /* FLOW_PROXY; SNIFF_NEED_MORE until its first byte */
	union {
		struct socks5 socks;
		struct socks4 socks4;
		struct http http;
	};
	uint8_t *head;      /* owned: http's, while its head comes */
	struct list asking; /* of bridge.asking, when it stands there */
	struct flow *flow;
	/* FLOW_PROXY: its number in the configuration of now; a reload changes these three. */
	uint32_t proxy_index;
	const struct config_proxy *proxy;
	const struct route_table *routes;
	bool is_answered; /* `optimistic`: success was said, a refusal is a reset */
	bool is_eager;    /* its bytes run before the far side has answered */
	struct hostport to;
	/* HOST_NONE above: a listener of ours accepted this for whoever asked for the listener */
	uint64_t listener;
	bool has_listener;
	uint8_t request_kind; /* enum target_kind; 0: TCP */
	bool is_bound;        /* BIND: the first answer has come, the second must by then */
	cv_time bound_until;
	size_t early_size; /* bytes behind the request: stream data */
	uint8_t in[2048];
};

/* What a peer's stream needs only until it is connected. */
struct far {
	struct dial dial;
	struct hostport asked; /* for the log */
	struct hostport to;    /* what is dialled */
	bool is_own;           /* by our own configuration: a service, a remote forward */
	uint64_t lookup;       /* of the resolver, 0: none */
	struct flow *flow;
	struct far_attempt {
		struct flow *flow;
		struct tcp_dial *dial;
		struct tcp_conn *conn; /* connected, not yet chosen */
		unsigned index;
	} attempts[DIAL_ATTEMPTS_MAX];
};

/* Small: there are thousands of idle ones. */
struct flow {
	struct bridge *b;
	struct list node;
	struct heap_node deadline;
	struct streams *streams;
	struct stream *stream; /* NULL: none or released */
	struct tcp_conn *conn; /* NULL: none or closed */
	struct near *near;     /* owned, until answered */
	struct far *far;       /* owned, until connected */
	union {
		struct far_listen *listen;     /* FLOW_FAR that listens; owned */
		struct remote_forward *remote; /* FLOW_REMOTE; borrowed */
	};
	struct once *once;           /* owned; NULL but for an HTTP request in absolute form */
	struct associate *associate; /* owned; of FLOW_ASSOCIATED */
	struct pump pump;
	cv_time began_at; /* and of a broken connection: when it broke */
	uint32_t peer;
	uint8_t state;      /* enum flow_state */
	uint8_t kind;       /* enum flow_kind */
	bool is_at_end;     /* FIN was reported to the pump */
	bool had_local_eof; /* while waiting: told to the pump when there is one */
	bool had_acked;     /* likewise */
	bool is_broken;     /* the connection is; what it said before is on its way */
	bool is_read_out;   /* likewise, and it has been read to its end */
	bool had_fin;       /* likewise: its end stood before the reset */
};

/* Of a peer, by its number in the core: what outlives a reload. Its policy is in the tables. */
struct bridge_peer {
	char name[HOST_LABEL_MAX + 1]; /* also of one that was just removed, for the log */
	uint32_t dials;                /* in flight for this peer */
	uint32_t listeners;            /* that it asked for */
	uint32_t udp_flows;            /* that it has opened here */
	uint32_t associations;         /* likewise */
	struct log_gate refusals;      /* lines about single datagrams of it */
	struct bucket opens;
};

enum { BRIDGE_NC_LINE_MAX = 512 };

struct bridge {
	uv_loop_t *loop;
	struct endpoint *endpoint;
	struct udp_port *port; /* set when it is open */
	/* Set before the first near_accept_nc(): what `culvert nc` reads first, which says that it
	 * was accepted (@exit_code 0) or why not. Returns the line's size. */
	size_t (*write_nc_line)(char line[BRIDGE_NC_LINE_MAX], int exit_code, const char *cause);
	struct tcp_set *conns;
	struct resolver *resolver;
	const struct config *config; /* of now: nothing may point into it for longer than a call */
	struct tables tables;        /* made of it */
	struct bridge_peer *peers;   /* owned; by number */
	uint32_t peers_size;
	/* Our listeners, for the policy: the configuration's, the tunnel's, and those of peers. */
	struct addr own[320 + LISTENERS_OF_PEERS_MAX];
	size_t own_count;
	struct own_socket {
		dev_t device;
		ino_t number;
	} own_unix[320 + LISTENERS_OF_PEERS_MAX]; /* those that are files, and the control socket */
	size_t own_unix_count;
	struct addr local[64];
	size_t local_count;
	struct remote_forward *remotes; /* owned; remote.h */
	size_t remote_count;
	struct list flows;
	uint32_t flow_count, flows_max;
	uint32_t dials;
	struct list asking; /* clients from elsewhere that have not asked yet */
	uint32_t asking_count;
	uint32_t heads; /* of HTTP that need the largest memory */
	cv_time dropped_said_at;
	struct udp_flows udp;
	struct udp_scratch *udp_scratch; /* owned, or NULL */
	struct list far_associations;
	uint32_t association_count; /* of them */
	uint32_t listeners;         /* that peers asked for */
	struct heap deadlines;
	uv_timer_t timer;
	bool is_timer_closed;
	bool is_closing;
};

/* 0 or -ENOMEM. Everything is borrowed. bridge_adopt() must follow before anything is accepted. */
CV_NODISCARD int bridge_init(struct bridge *b, uv_loop_t *loop, const struct config *config,
                             struct endpoint *endpoint, struct tcp_set *conns,
                             struct resolver *resolver);
/* UDP sockets that peers may open here, all together; without this as many as flows. */
void bridge_limit_udp_sockets(struct bridge *b, uint32_t max);
/* Room for peers with numbers below @size. 0 or -ENOMEM. */
CV_NODISCARD int bridge_reserve_peers(struct bridge *b, uint32_t size);
/**
 * bridge_adopt() - another configuration holds from now on
 * @tables:  of it; moved from, and left empty. There is room for its peers
 * @proxies: what each proxy of the configuration before is called in this one; UINT32_MAX: it is
 *           gone. NULL the first time
 *
 * Policies and routes count from the next stream, and for clients that have not said yet where they
 * want to go; those of a proxy that is gone and that have not been answered are closed. What runs
 * goes on. Afterwards nothing here points into the configuration before.
 */
void bridge_adopt(struct bridge *b, struct tables *tables, const uint32_t *proxies);
/* Resets every flow; the timer closes through the loop. */
void bridge_close(struct bridge *b);
/* After the loop has run empty. */
void bridge_deinit(struct bridge *b);
/* An address of ours that the policy protects; also for the control and tunnel ports. */
void bridge_add_own(struct bridge *b, const struct addr *a);
/* The same for a unix socket, by whatever path it is reached. */
void bridge_add_own_unix(struct bridge *b, const char *path);
/* One of them is no longer ours; of a unix socket before its file is removed. */
void bridge_remove_own(struct bridge *b, const struct addr *a);
void bridge_remove_own_unix(struct bridge *b, const char *path);
bool bridge_is_own_unix(const struct bridge *b, const char *path);
void bridge_set_local(struct bridge *b, const struct addr *list, size_t count);

/* A client of proxy number @proxy of the configuration was accepted. Takes @conn. */
void near_accept_proxy(struct bridge *b, uint32_t proxy, struct tcp_conn *conn);
/* What a listener that the peer of @listener (FLOW_LISTENING) asked for has accepted. Takes @conn.
 */
void near_accept_remote(const struct flow *listener, struct tcp_conn *conn);
/* A client of a forward to @to at peer number @peer was accepted. Takes @conn; @to is copied. */
void near_accept_forward(struct bridge *b, uint32_t peer, const struct hostport *to,
                         struct tcp_conn *conn);
/* The control socket's nc: takes @conn on 0; else -ENOENT (no such peer), -EINVAL (no target) or
 * -EMFILE (a limit), and *@why is a sentence. */
int near_accept_nc(struct bridge *b, const char *peer, const char *target, struct tcp_conn *conn,
                   const uint8_t *early, size_t early_size, const char **why);

/* One event of the endpoint about a stream. */
void bridge_on_stream(struct bridge *b, cv_time now, const struct endpoint_event *ev);
/* A peer's state changed: waiting clients of it hear at once. */
void bridge_on_peer(struct bridge *b, cv_time now, uint32_t peer);

/* The budget is nearly gone: the stalled stream that holds most unread bytes is reset (protocol
 * rule 7.4). */
void bridge_relieve(struct bridge *b);

/* ---- inside the room ---- */

struct flow *flow_new(struct bridge *b, enum flow_kind kind, enum flow_state state);
void flow_set_deadline(struct flow *f, cv_time at);
/* The peer's datagrams and deadlines may have changed. */
void flow_kick(struct flow *f);
/* Copies the stream's first unread bytes, @cap at most: a header or status that may have come in
 * pieces. Consumes nothing. */
size_t flow_peek(const struct flow *f, uint8_t *out, size_t cap);
/* Both ends exist: bytes run. */
void flow_start(struct flow *f, cv_time now);
/* Ends it before it ran: the stream is reset with @code, the connection closed (or reset). */
void flow_abandon(struct flow *f, enum target_code code, bool resets);
/* The same, after a refusal was written: what the client still sends is read and dropped until its
 * end, for a second at most, since bytes left unread make a reset that overtakes the answer. */
void flow_linger(struct flow *f);
/* The connection has said all. */
void flow_local_eof(struct flow *f);
/* This side gives the flow up: both ends are reset. */
void flow_overrun(struct flow *f);
void flow_on_deadline(struct flow *f, cv_time now);
void flow_on_stream(struct flow *f, cv_time now, const struct endpoint_event *ev, bool is_lost);
void near_on_stream(struct flow *f, cv_time now, const struct endpoint_event *ev, bool is_lost);
void near_on_deadline(struct flow *f, cv_time now);
void near_free(struct flow *f);
/* A client of @kind that has not asked; NULL (nothing taken) at the limit or without memory. */
struct flow *near_new(struct bridge *b, enum flow_kind kind, struct tcp_conn *conn);
/* Peer and target (f->peer, near->to) are known: opens the stream. May refuse, which ends the flow.
 */
void near_open(struct flow *f, cv_time now);
/* Logs the refusal, tells the client in its own protocol, and ends the flow. */
void near_refuse(struct flow *f, enum target_code code);
/* Replies are small: false when the client does not take all of it at once. */
bool near_say(struct flow *f, const void *bytes, size_t size);
/* The stream is open: the client's bytes run before the answer. */
void near_go_eager(struct flow *f);
/* What near_free() does for a proxy's client: no password stays. */
void near_proxy_forget(struct flow *f);
/* Tells the client in its own protocol and ends the flow. */
void near_proxy_refuse(struct flow *f, enum target_code code, const char *cause);
/* False: the client is gone. */
bool near_proxy_accept(struct flow *f, const struct addr *bound);
/* A client in its handshake goes on with proxy number @proxy of a new configuration. */
void near_proxy_rebind(struct flow *f, uint32_t proxy);
/* The client has not asked for anything in time. */
void near_proxy_on_timeout(struct flow *f);
/* SOCKS5's BIND: near->to is DST.ADDR and DST.PORT, both of which may be zero; f->peer serves it.
 * The client is not being read, near->in holds what it sent ahead. */
void near_bind(struct flow *f);
/* Its first reply was said: waits for the second. */
void near_bind_wait(struct flow *f, cv_time now);
/* SOCKS5's UDP ASSOCIATE: near->to is where datagrams will come from, if the client knows that;
 * each of them names its own target, so no route has been looked for. */
void associate_open(struct flow *f);
/* What @request (TCP, UDP) means here: @to is to be reached, and @is_own says that our own
 * configuration named it. TARGET_OK, or why not. @f is the stream's flow. */
enum target_code far_target(const struct flow *f, const struct target_request *request,
                            struct hostport *to, bool *is_own);
void far_open(struct bridge *b, cv_time now, const struct endpoint_event *ev);
void far_on_stream(struct flow *f, cv_time now, const struct endpoint_event *ev, bool is_lost);
void far_on_deadline(struct flow *f, cv_time now);
void far_free(struct flow *f);
/* What @peer may reach, at this moment. */
struct acl bridge_acl(const struct bridge *b, uint32_t peer);
/* For conns whose owner is the flow: its only job is to free it at the last callback. */
void flow_on_closed(void *ctx);
const char *flow_peer_name(const struct flow *f);
/* Of a lookup that has no addresses. */
enum dial_resolve_error flow_resolve_error(enum resolver_verdict verdict);

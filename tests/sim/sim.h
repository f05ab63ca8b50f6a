/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * sim - a world in virtual time round the production core: hosts with an
 * endpoint or a hub each, NATs by RFC 4787, links with every fault, an application
 * that knows each byte it should see. One seed is one story, bit for bit.
 *
 *	sim.c       clock, queue of events, story, failure
 *	simlink.c   one link; simnet.c the way of a datagram over several; simnat.c translators
 *	simtcp.c    TCP between an agent and its server
 *	simhost.c   one process: the drain that endpoint.h prescribes
 *	simapp.c    streams with known contents
 *	simgram.c   datagrams of flows, each known
 *	simworld.c  two agents and a server
 *	simwatch.c  oracles that look at every datagram; simtarget.c what goes to nobody
 *	simmalice.c a server with bad intentions: its own header
 *	simload.c   pairs of hosts that compete for one bottleneck, and what they get
 *	soak.c      a day
 *	swarm.c     a world drawn from a seed; cases_*.c the named scenarios; matrix.c the matrix
 *
 * Everything is open to the scenarios. Single-threaded, no clock, no address of memory decides
 * anything.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/pool.h"
#include "base/rng.h"
#include "base/time.h"
#include "base/trace.h"
#include "tunnel/endpoint.h"
#include "tunnel/hub.h"

enum {
	SIM_HOSTS_MAX = 8,
	SIM_NATS_MAX = 16,
	SIM_HOPS = 8, /* routers between two networks of the internet, unless the scenario says */
	SIM_FLOWS_MAX = 256,
	SIM_NOBODY = -1,
	SIM_ROOT = -1, /* the internet, as a zone */
	SIM_PORT = 28583,
	SIM_BOUND_MAX = 2, /* sockets with ports that others know; agents have one of them */
	SIM_DATAGRAM_MAX = 2048,
	SIM_SHARED_MAX = 4,
	SIM_CHANGES_MAX = 32,
	SIM_IP_UDP = 28, /* bytes that a link carries round each datagram */
	SIM_PAIRS_MAX = 3,
	SIM_SAMPLES_MAX = 8192,
};

#define SIM_START CV_SEC(100000)

struct sim;

/* What is known of a flow's datagrams. */
struct sim_grams {
	uint64_t sent, arrived;
	cv_duration delay_max; /* of those that arrived */
};

/* The same value on machines of either byte order; spelt so that it is one load. */
static inline uint64_t sim_little(uint64_t v)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	v = __builtin_bswap64(v);
#endif
	return v;
}

/* ---- events ---- */

enum sim_event_kind {
	SIM_EVENT_ROUTE,   /* a datagram has left its host's uplink */
	SIM_EVENT_ARRIVE,  /* and reaches host .number */
	SIM_EVENT_REFUSED, /* ICMP port unreachable reaches host .number */
	SIM_EVENT_TIMER,   /* host .number's one timer */
	SIM_EVENT_APP,     /* its application moves */
	SIM_EVENT_CALL,    /* the scenario's .call */
};

struct sim_datagram {
	struct sim_datagram *next; /* in the heap of spare ones */
	struct addr src, dst;      /* as written on it now */
	struct addr sent_to;       /* as its sender wrote it */
	int from;                  /* host */
	int zone;                  /* where it is */
	uint16_t socket;           /* that it left by */
	uint8_t ttl;               /* routers that it may pass, and one; 0: enough */
	bool is_corrupt;
	bool is_spoofed;
	bool has_crossed;    /* the link that its hosts share with others */
	uint8_t ecn;         /* enum ecn_codepoint */
	uint64_t tcp_serial; /* of the connection that it came by; 0: by UDP */
	uint16_t size;
	uint8_t bytes[SIM_DATAGRAM_MAX];
};

typedef void sim_call(struct sim *sim, uint64_t arg);

struct sim_event {
	cv_time at;
	uint64_t shuffle; /* events of one instant come in an order of the seed's */
	uint64_t sequence;
	enum sim_event_kind kind;
	int number;
	struct sim_datagram *datagram;
	sim_call *call;
	uint64_t arg;
};

/* ---- links and NATs ---- */

enum { SIM_WAIT_STEPS = 16, SIM_WAITS = 48 * SIM_WAIT_STEPS };

/* What a link saw; only where somebody asks for it. */
struct sim_meter {
	uint64_t passed, passed_bytes;
	uint64_t lost;    /* by chance, mask, number, MTU or because the link was down */
	uint64_t dropped; /* the queue was full */
	uint64_t policed;
	uint64_t marked;
	cv_duration wait_max;
	/* How long each datagram that passed waited before its own bits left: 16 steps an octave.
	 */
	uint32_t waits[SIM_WAITS];
};

/* One direction. Zero is a perfect link without delay. In the order of a datagram's way: */
struct sim_link {
	bool is_down;
	uint32_t mtu; /* largest UDP payload that passes; 0: 1472 */
	uint32_t loss_ppm;
	uint32_t burst_ppm;   /* a datagram begins a burst of losses (Gilbert-Elliott) */
	uint32_t burst_mean;  /* its mean length, datagrams */
	uint64_t drop_mask;   /* bit i: of every 64 datagrams number i gets lost */
	uint64_t drop_number; /* this one, counted from 1, gets lost; 0: none */
	uint64_t police_rate; /* bytes a second of a token bucket; 0: nobody polices */
	uint32_t police_burst;
	cv_time held_until;  /* the radio is silent: what enters waits in the queue */
	uint64_t rate;       /* bytes a second; 0: no bound */
	uint32_t queue;      /* bytes that wait for it; 0: 128 KiB */
	uint32_t mark_queue; /* bytes that wait, from which on ECN-capable datagrams are marked; 0:
	                        never */
	cv_duration delay, jitter; /* jitter reorders, unless */
	bool keeps_order;
	/* Leaves only at multiples of this: aggregation of Wi-Fi, grants of cable and LTE. */
	cv_duration grant_interval;
	uint32_t reorder_ppm; /* a datagram comes this much later: */
	cv_duration reorder_delay;
	uint32_t duplicate_ppm;
	uint32_t corrupt_ppm;
	/* Not even an event: what enters leaves within the same call. Only for a host whose traffic
	 * all crosses a shared link. */
	bool is_instant;
	struct sim_meter *meter; /* borrowed, or NULL */
	/* state */
	bool is_bursting;
	uint64_t count; /* datagrams that came */
	cv_time busy_until;
	cv_time stale_until; /* what waited at a change of rate leaves at the old one, until then */
	uint64_t stale_rate;
	cv_time last_at; /* out of the link */
	uint64_t tokens; /* bytes, in billionths */
	cv_time tokens_at;
};

/* At an instant a link becomes another one; its state stays. */
struct sim_change {
	struct sim_link *link;
	struct sim_link to;
};

/* RFC 4787: endpoint-independent, address-dependent, address- and port-dependent. */
enum sim_rule { SIM_EI, SIM_AD, SIM_APD };

/* Which outside port a new mapping gets. */
enum sim_allocation {
	SIM_PRESERVE,   /* the inside one, if nobody has it; else as .fallback says */
	SIM_SEQUENTIAL, /* the next one: .step further, within the range */
	SIM_RANDOM,     /* any of the range */
	SIM_BLOCKS,     /* any of the block of .block_size ports that the inside host has */
};

/* What @inside is called outside, for @remote as far as the rule looks. Lives as long as one of its
 * sessions does. */
struct sim_mapping {
	struct addr inside, outside, remote;
	cv_time made_at;
	uint32_t sessions;          /* the newest of its list */
	uint32_t next_in, next_out; /* of one hash; the first of the free ones: next_in */
	bool is_used;
};

/* One remote that a mapping talks to: an entry in the router's table. */
struct sim_session {
	struct addr remote;
	uint32_t mapping;
	cv_time used_at;
	uint32_t next;           /* of one hash, or free */
	uint32_t before, behind; /* of its mapping */
	uint32_t older, newer;   /* of those that have got an answer, or of those that have not */
	bool is_answered;
};

enum {
	SIM_NAT_BUCKETS = 1024,
	SIM_NAT_BLOCKS = 64,
	SIM_BLACKLIST_MAX = 64,
	SIM_NOBODYS = 0, /* numbers of mappings and sessions begin at 1 */
};

struct sim_nat_state; /* simnat.c */

/* A router that translates IPv4. Zero and the defaults of simnat_add() are one that knows no
 * limits. */
struct sim_nat {
	enum sim_rule mapping, filtering;
	enum sim_allocation allocation;
	enum sim_allocation fallback; /* where a port cannot be preserved; SIM_PRESERVE: the next */
	int step;                     /* 0: 1 */
	uint16_t range_first, range_last; /* 0: 1,024 to 61,023 when random, to 65,535 else */
	uint16_t block_size;
	unsigned blocks_per_host; /* 0: one; when they are full nothing more leaves */
	/* A port may serve several remotes at once, as netfilter's may: with preserved ports an
	 * address- and port-dependent mapping looks like an independent one until two hosts want
	 * the same port. */
	bool overloads;
	bool hairpins, blocks_udp;
	bool refuses; /* tells who is not let in: ICMP port unreachable */
	cv_duration timeout;
	cv_duration timeout_answered; /* of a session that has got an answer; 0: the same */
	bool inbound_refreshes;       /* what comes in keeps a session alive, too */
	cv_duration rebinds_after;    /* a mapping gets another port at this age; 0: never */
	uint32_t table_max;           /* sessions; 0: no bound */
	bool refuses_new;             /* when full; else the one longest unused has to go */
	uint32_t noise_rate;          /* sessions a second that other hosts behind it begin */
	cv_duration blacklist; /* who sends what nobody asked for is not let in for so long */
	unsigned pool;         /* public addresses, drawn for each mapping; 0: one */
	bool is_paired;        /* but all of an inside host's mappings have the same */
	unsigned hops;         /* routers between its inside and itself */
	struct addr address;   /* outside; port 0; the first of the pool */
	int zone;              /* that its outside is in */
	/* IPv6 is not translated: its hosts have addresses of their own behind a firewall (RFC
	 * 6092), whose filtering is: */
	enum sim_rule filtering6;
	bool is_open6; /* or none */
	uint16_t port_next;
	/* what it did */
	uint64_t made, evicted, refused_new, blacklisted;
	uint32_t session_count, session_peak;
	struct sim_nat_state *state;
};

/* ---- TCP ---- */

struct sim_tcp_way {
	cv_time busy_until, last_at;
	uint64_t bytes;
};

/* The one connection of an agent. */
struct sim_tcp {
	uint64_t serial; /* tells it from those before */
	int agent, hub;
	uint64_t births; /* of the hub's process that it is with */
	bool is_wanted, is_open;
	bool is_dead; /* nothing passes, and nobody is told */
	bool is_blocked;
	struct addr client, server;
	struct sim_tcp_way ways[2]; /* to the agent, to the hub */
};

/* ---- hosts ---- */

struct sim_host {
	struct sim *sim; /* for the sink of traces */
	const char *name;
	int number;
	bool is_hub;
	bool is_running;
	bool is_silent;  /* while dead: no ICMP either, the machine is off */
	bool is_asleep;  /* nothing runs; datagrams are lost */
	bool is_trusted; /* false: an attacker, without a core */
	int zone;
	struct addr address;
	struct addr address6; /* ADDR_NONE: IPv4 only */
	bool lacks_v4;        /* IPv6 only */
	/* Local ports of sockets: the main one and what is bound with it, then those that the core
	 * had opened for a punch; 0: closed. */
	uint16_t bound_ports[SIM_BOUND_MAX];
	uint16_t extra_ports[SOCKETS_EXTRA_MAX];
	unsigned extra_open, extra_peak;
	uint64_t extra_opened;
	unsigned extra_max; /* more are not opened: the process has no more descriptors; 0: all */
	uint32_t interface_mtu; /* EMSGSIZE above this UDP payload; 0: never */
	struct sim_link up, down;

	uint8_t sk[32];
	struct identity me;
	struct rng_seeded seeded;
	struct rng rng;
	struct trace trace;
	struct pool pool;
	uint64_t births;
	uint8_t aead_bits;
	uint8_t policy;
	enum cc_kind congestion;
	uint64_t pool_size;  /* bytes of buffers it may have; 0: 64 MiB */
	uint64_t relay_rate; /* hub */
	bool lends_no_relay; /* hub */
	bool has_tcp;        /* hub: listens to TCP; agents then may use it */

	struct endpoint *endpoint;
	struct hub *hub;
	uint32_t peers[SIM_HOSTS_MAX]; /* by host; SIM_NO_PEER */
	uint32_t servers[SIM_HOSTS_MAX];
	bool is_static[SIM_HOSTS_MAX]; /* the host's address is configured here */
	bool knows[SIM_HOSTS_MAX];     /* is a peer, or a server */

	cv_time deadline; /* as asked for */
	cv_time timer_at; /* of the event in the queue; CV_TIME_NEVER: none */
	cv_time spin_at;
	unsigned spins;
	uint64_t turns;
	cv_time turns_since;
	bool app_is_due; /* an APP event is in the queue */

	/* what happened */
	bool is_up[SIM_HOSTS_MAX]; /* as told by events */
	unsigned ups[SIM_HOSTS_MAX], downs[SIM_HOSTS_MAX], duplicates, server_ups, server_downs;
	uint64_t sent, received;
	uint64_t unanswered;   /* sent to where nobody is, or is let in */
	uint64_t sent_payload; /* bytes of streams, as far as large datagrams of DATA tell it */
	cv_time up_at[SIM_HOSTS_MAX];
	cv_time heard_at[SIM_HOSTS_MAX]; /* the newest datagram that a host sent right here */
};

#define SIM_NO_PEER UINT32_MAX

/* ---- the application ---- */

struct sim_side {
	int host;
	uint64_t birth; /* of the host's process that owns the stream */
	struct streams *streams;
	struct stream *stream; /* NULL: not yet, or released */
	uint64_t size;         /* to write */
	uint64_t written, read;
	uint64_t reset_at; /* abandons after so many bytes; UINT64_MAX: never */
	uint64_t hold_at;  /* writes nothing beyond, for now; UINT64_MAX: all */
	uint32_t chunk;    /* writes at most so much at once; 0: all */
	uint32_t sip;      /* reads at most so much at once; 0: all */
	bool is_slow;      /* reads on ticks only, not whenever something comes */
	bool is_patient;   /* reads nothing until told */
	bool refuses;      /* does not accept: the far side keeps its first window */
	bool was_finished, was_reset, is_reset, was_ended, was_acked, is_lost, was_released;
	bool was_stopped;
	cv_time first_at, end_at;
};

struct sim_flow {
	bool is_used;
	uint16_t generation; /* of its place in the table; part of its name */
	bool may_reset;      /* a reset is no surprise */
	uint64_t key;
	struct sim_side side[2]; /* 0 opened it */
	cv_time begun_at;
};

/* ---- load: pairs of hosts that compete for one link ---- */

/* Host 2 i sends to host 2 i + 1; there and back they cross the links that all pairs share. */
struct sim_load_spec {
	uint64_t rate; /* of the bottleneck, bits a second */
	cv_duration rtt;
	unsigned buffer_permille; /* of rate * rtt; 4 packets at least */
	uint32_t loss_ppm;        /* each way, behind the bottleneck: it has cost its time there */
	unsigned pairs;           /* 0: one */
};

struct sim_load {
	struct sim_load_spec spec;
	struct sim_link *there, *back;
	struct sim_meter meter; /* of there */
	struct sim_flow *bulk[SIM_PAIRS_MAX];
	cv_time begun_at; /* the first sample */
	/* Every SIM_SAMPLE: bytes that the far side had read, and payload that the near one had
	 * sent. */
	uint64_t samples[SIM_PAIRS_MAX][SIM_SAMPLES_MAX];
	uint64_t sent[SIM_PAIRS_MAX][SIM_SAMPLES_MAX];
	unsigned sample_count;
	/* since simload_mark(): */
	cv_time marked_at;
	uint64_t read_before[SIM_PAIRS_MAX], sent_before[SIM_PAIRS_MAX], new_before[SIM_PAIRS_MAX];
};

#define SIM_SAMPLE CV_MS(20)

/* ---- the world ---- */

struct sim_watch; /* simwatch.c */

typedef bool sim_filter(struct sim *sim, const struct sim_datagram *d); /* true: drop */
typedef void sim_mangle(struct sim *sim, struct sim_datagram *d);

struct sim {
	uint64_t seed;
	const char *scenario;
	struct rng_seeded seeded;
	struct rng rng;
	cv_time now;
	uint64_t sequence, events;
	struct sim_event *queue; /* binary heap */
	size_t queue_count, queue_cap;

	struct sim_host hosts[SIM_HOSTS_MAX];
	int host_count;
	struct sim_nat nats[SIM_NATS_MAX];
	int nat_count;
	struct sim_tcp tcps[SIM_HOSTS_MAX]; /* by agent */
	uint16_t tcp_ports;
	struct sim_flow flows[SIM_FLOWS_MAX];
	unsigned flow_count;
	uint16_t flow_generation;
	bool blocked[SIM_HOSTS_MAX][SIM_HOSTS_MAX];      /* one way */
	uint32_t pair_mtu[SIM_HOSTS_MAX][SIM_HOSTS_MAX]; /* 0: none of its own */
	cv_duration pair_delay[SIM_HOSTS_MAX][SIM_HOSTS_MAX];
	unsigned hops; /* routers between any two networks of the internet */
	struct sim_link shared[SIM_SHARED_MAX];
	struct sim_link *via[SIM_HOSTS_MAX][SIM_HOSTS_MAX]; /* crossed between up and down */
	struct sim_change changes[SIM_CHANGES_MAX];
	unsigned change_count;
	sim_filter *filter;
	uint64_t filter_arg, filter_count;
	sim_filter *tap;    /* sees what leaves; its verdict is ignored */
	sim_mangle *mangle; /* changes what has left its host's link */

	struct sim_load load;
	struct sim_watch *watch;
	bool may_reset;          /* faults are on that may end streams */
	bool has_gusts;          /* swarm.c */
	unsigned hours;          /* soak.c; 0: 24 */
	enum cc_kind congestion; /* of hosts added from now on */
	uint64_t events_max;     /* a longer story does not end */
	uint64_t turns_max;      /* of one host in a second */
	unsigned check_interval; /* invariants are looked at after one of so many events */
	bool is_light;           /* no look at bytes: for what is measured, not tested */
	bool is_traced;
	bool prints_measures;
	bool has_failed;
	char why[256];
	uint64_t hash;
	uint64_t live_before;
	struct sim_datagram *spare;
	struct train train;
	uint8_t *train_bytes;
};

/* sim.c */
void sim_init(struct sim *sim, uint64_t seed, const char *scenario, bool is_traced);
/* Frees everything and checks that it was everything. True: the story was good. */
bool sim_deinit(struct sim *sim);
void sim_fail(struct sim *sim, const char *format, ...) CV_PRINTF(2, 3);
/* A line of the story; the numbers enter the hash too. */
void sim_tell(struct sim *sim, const char *what, int host, uint64_t a, uint64_t b);
void sim_push(struct sim *sim, struct sim_event event);
void sim_at(struct sim *sim, cv_time at, sim_call *call, uint64_t arg);
/* Runs everything until @at. */
void sim_run(struct sim *sim, cv_duration d);
typedef bool sim_predicate(struct sim *sim);
/* Runs until @is_true, at most for @bound; else fails with @what. */
bool sim_until(struct sim *sim, cv_duration bound, sim_predicate *is_true, const char *what);
#define sim_expect(sim, cond)                                                                      \
	do {                                                                                       \
		if (!(cond))                                                                       \
			sim_fail(sim, "%s:%d: %s", __func__, __LINE__, #cond);                     \
	} while (0)
uint64_t sim_below(struct sim *sim, uint64_t bound);
bool sim_chance(struct sim *sim, uint32_t ppm);
/* Log-uniform in [low, high]. */
uint64_t sim_draw(struct sim *sim, uint64_t low, uint64_t high);

/* simlink.c */
/* When @d is through @l; CV_TIME_NEVER: lost. */
cv_time simlink_pass(struct sim *sim, struct sim_link *l, struct sim_datagram *d);
/* At @at @l becomes @to: all but its state and its meter. */
void simlink_change_at(struct sim *sim, cv_time at, struct sim_link *l, const struct sim_link *to);
/* How long all but @permille of the datagrams waited at most; to 1/16. */
cv_duration simlink_wait(const struct sim_meter *m, unsigned permille);
/* A bit flipped, or cut short; behind a RELAY header. */
void simlink_damage(struct sim *sim, struct sim_datagram *d);
uint64_t simlink_digest(const uint8_t *bytes, size_t size, uint64_t h);

/* simnet.c */
/* Its header is zero, its bytes are not set. */
struct sim_datagram *simnet_new(struct sim *sim);
void simnet_free(struct sim *sim, struct sim_datagram *d);
/* A datagram of @h's, whatever it says, begins its way. */
void simnet_launch(struct sim *sim, struct sim_host *h, struct sim_datagram *d);
void simnet_send(struct sim *sim, struct sim_host *h, const struct train *t);
/* As if @as had sent it: replays and forgeries. */
void simnet_inject(struct sim *sim, int from, const struct addr *as, const struct addr *to,
                   const uint8_t *bytes, size_t size);
/* A copy of what has left its host goes on @later, past filter and mangle's eyes. */
void simnet_delay(struct sim *sim, const struct sim_datagram *d, cv_duration later);
void simnet_route(struct sim *sim, struct sim_datagram *d);
void simnet_refuse(struct sim *sim, const struct sim_datagram *d);

/* simnat.c */
int simnat_add(struct sim *sim, enum sim_rule mapping, enum sim_rule filtering, int zone);
/* Rewrites the source; false: dropped. */
bool simnat_out(struct sim *sim, struct sim_nat *n, struct sim_datagram *d);
/* Rewrites the destination; false: dropped. */
bool simnat_in(struct sim *sim, struct sim_nat *n, struct sim_datagram *d);
/* Every mapping is forgotten; with @is_moved the address changes too. */
void simnat_reboot(struct sim *sim, int nat, bool is_moved);
bool simnat_has_address(const struct sim_nat *n, const struct addr *a);
/* Entries of its table now. */
uint32_t simnat_sessions(struct sim *sim, int nat);
void simnat_deinit(struct sim_nat *n);

/* simtcp.c */
/* As ENDPOINT_EVENT_TCP_OPEN and _CLOSE ask. */
void simtcp_open(struct sim *sim, struct sim_host *h, uint32_t server);
void simtcp_close(struct sim *sim, struct sim_host *h);
/* Somebody between ends the connection of @h: both hear. */
void simtcp_reset(struct sim *sim, struct sim_host *h);
void simtcp_on_dead(struct sim *sim, struct sim_host *h);
void simtcp_on_moved(struct sim *sim, struct sim_host *h);
void simtcp_send(struct sim *sim, struct sim_host *h, const struct train *t);
/* The connection that brings @d to @to is still the same. */
bool simtcp_is_whole(const struct sim *sim, const struct sim_host *to,
                     const struct sim_datagram *d);

/* simhost.c */
struct sim_host *simhost_add_agent(struct sim *sim, const char *name, int zone,
                                   const struct sim_link *link);
struct sim_host *simhost_add_hub(struct sim *sim, const char *name, const struct sim_link *link);
struct sim_host *simhost_add_attacker(struct sim *sim, const struct sim_link *link);
void simhost_set_link(struct sim_host *h, const struct sim_link *link);
/* Both know each other's keys; @with_address: the first has the other's address. */
void simhost_know(struct sim_host *a, struct sim_host *b, bool with_address);
void simhost_use_hub(struct sim_host *agent, struct sim_host *hub);
void simhost_start(struct sim *sim, struct sim_host *h);
void simhost_start_all(struct sim *sim);
/* Without a word, or with goodbyes. */
void simhost_kill(struct sim *sim, struct sim_host *h, bool is_polite);
void simhost_sleep(struct sim_host *h);
void simhost_wake(struct sim *sim, struct sim_host *h);
/* The server's configuration is read again, and its relay is lent. */
void simhost_lend_relay(struct sim *sim, struct sim_host *h);
/* Into the network behind another NAT; its process sees its interface change. */
void simhost_move(struct sim *sim, struct sim_host *h, int zone);
void simhost_on_event(struct sim *sim, const struct sim_event *event);
/* A turn after the scenario touched the streams. */
void simhost_poke(struct sim *sim, struct sim_host *h);
void simhost_stats(struct sim *sim, struct sim_host *h, const struct sim_host *peer,
                   struct endpoint_peer_stats *out);
bool simhost_is_up(const struct sim_host *h, const struct sim_host *peer);
const char *simhost_path(struct sim *sim, struct sim_host *h, const struct sim_host *peer);
struct addr simhost_public_address(struct sim *sim, const struct sim_host *h);
/* An IPv6 address beside the other one; @is_alone: instead of it. Before the start. */
void simhost_add_v6(struct sim_host *h, bool is_alone);
/* Sockets @first to @first + @count - 1 of SOCKET_EXTRA on. Return: how many were opened. */
unsigned simhost_open_sockets(struct sim *sim, struct sim_host *h, uint16_t first, unsigned count);
void simhost_close_socket(struct sim *sim, struct sim_host *h, uint16_t socket);
/* The local port of @socket; 0: it is closed. */
uint16_t simhost_port_of(const struct sim_host *h, uint16_t socket);
/* The socket that listens at @port. */
bool simhost_socket_at(const struct sim_host *h, uint16_t port, uint16_t *socket);

/* simapp.c */
struct sim_flow *simapp_open(struct sim *sim, struct sim_host *from, struct sim_host *to,
                             uint64_t size, uint64_t size_back);
/* The same in the place of a flow that is done, or that never was. */
void simapp_reopen(struct sim *sim, struct sim_flow *f, struct sim_host *from, struct sim_host *to,
                   uint64_t size, uint64_t size_back);
/* Set before the first byte moves: simapp_begin() starts it. */
void simapp_begin(struct sim *sim, struct sim_flow *f);
void simapp_on_event(struct sim *sim, struct sim_host *h, const struct endpoint_event *event);
void simapp_tick(struct sim *sim, struct sim_host *h);
/* It may have slept through a tick. */
void simapp_wake(struct sim *sim, struct sim_host *h);
/* simgram.c */
/* Forgets those of earlier stories. */
void simgram_begin(struct sim *sim);
/* Of at least 4 bytes, between hosts; what endpoint_send_datagram() returns. */
int simgram_send(struct sim *sim, unsigned from, unsigned to, uint16_t flow, size_t size);
void simgram_drain(struct sim *sim, struct sim_host *h);
/* Those of @flow that were sent at @since or later. */
struct sim_grams simgram_seen(const struct sim *sim, uint16_t flow, cv_time since);
void simapp_on_dead(struct sim *sim, struct sim_host *h);
/* Every flow has ended, at both ends that still live. */
bool simapp_are_done(struct sim *sim);
bool simapp_is_done(const struct sim *sim, const struct sim_flow *f);
/* It ended well: every byte of both directions. */
bool simapp_is_whole(const struct sim_flow *f);
void simapp_abort(struct sim *sim, struct sim_flow *f, unsigned side);
/* Lets go of the stream as it is: what is unfinished of it, either way, is reset. */
void simapp_drop(struct sim *sim, struct sim_flow *f, unsigned side);
/* All of them are done, and there is room for new ones. */
void simapp_forget(struct sim *sim);
void simapp_print(const struct sim *sim, FILE *out);

/* simworld.c */
/* Agents 0 and 1, server 2 in the internet; they know each other, nobody's address is configured.
 */
void simworld_add(struct sim *sim, int zone_a, int zone_b, const struct sim_link *agents,
                  const struct sim_link *server);
/* Begins at once. */
struct sim_flow *simworld_transfer(struct sim *sim, int from, int to, uint64_t size, uint64_t back);
/* Both say so. */
bool simworld_is_path(struct sim *sim, const char *kind);
bool simworld_is_direct(struct sim *sim);
bool simworld_is_relayed(struct sim *sim);
bool simworld_is_connected(struct sim *sim);
/* Every flow ended well, and nobody was ever told that the other is down. */
void simworld_check_whole(struct sim *sim);

/* simwatch.c */
void simwatch_init(struct sim *sim);
void simwatch_deinit(struct sim *sim);
void simwatch_on_sent(struct sim *sim, const struct sim_datagram *d);
void simwatch_on_arrival(struct sim *sim, const struct sim_host *h, const struct sim_datagram *d);
/* True for DATA and PROBE exactly as their author sealed them. */
bool simwatch_is_whole(const struct sim *sim, const struct sim_datagram *d);
/* Numbers that were used are forgotten: a long story has too many. */
void simwatch_forget(struct sim *sim);
/* Bytes that went to an address that nobody has: a victim's. */
void simwatch_add_victim(struct sim *sim, const struct addr *victim);

/* simtarget.c: what agents send to addresses that nobody has */
struct sim_targets {
	uint64_t packets, bytes;
	uint32_t addresses;
};
/* From now on, of these hosts (bits), as sim->tap; one address gets more than five packets only at
 * one a second, unless they may punch: then it is the sum that counts. */
void simtarget_begin(struct sim *sim, unsigned hosts, bool they_may_punch);
bool simtarget_tap(struct sim *sim, const struct sim_datagram *d);
void simtarget_seen(int from, struct sim_targets *out);
uint64_t simtarget_bytes(const struct addr *a);
/* An address that nobody has, and that may be probed. */
struct addr simtarget_draw(struct sim *sim);

/* simload.c */
/* Builds the world, starts it, and waits until every pair is connected. */
void simload_init(struct sim *sim, const struct sim_load_spec *spec);
/* The same without waiting: links may be changed. */
void simload_build(struct sim *sim, const struct sim_load_spec *spec);
void simload_connect(struct sim *sim);
/* Without end from host 2 @pair; sampled from now on. */
struct sim_flow *simload_bulk(struct sim *sim, unsigned pair);
/* What is measured begins now. */
void simload_mark(struct sim *sim);
/* Bytes of @pair's that were read since the mark, in thousandths of what the link could carry. */
uint64_t simload_goodput(const struct sim *sim, unsigned pair);
/* Of @rate (bits a second) between two instants. */
uint64_t simload_goodput_between(const struct sim *sim, unsigned pair, uint64_t rate, cv_time begin,
                                 cv_time end);
/* Of the worst @window between the instants. */
uint64_t simload_window(const struct sim *sim, unsigned pair, uint64_t rate, cv_duration window,
                        cv_time begin, cv_time end);
/**
 * simload_reaches() - from @begin until @permille of @rate were read for 100 ms
 * simload_sends()   - likewise sent: what a slow reader has left in its buffer does not count
 *
 * Return: CV_SEC(99) when it did not come to that.
 */
cv_duration simload_reaches(const struct sim *sim, unsigned pair, uint64_t rate, unsigned permille,
                            cv_time begin);
cv_duration simload_sends(const struct sim *sim, unsigned pair, uint64_t rate, unsigned permille,
                          cv_time begin);
/* The longest time without progress. */
cv_duration simload_stall(const struct sim *sim, unsigned pair, cv_time begin, cv_time end);
/* Bytes sent more than once, in 10,000ths of all sent since the mark. */
uint64_t simload_resent(const struct sim *sim, unsigned pair);
/* Datagrams that found no room or no tokens at the bottleneck, in thousandths, since the mark. */
uint64_t simload_dropped(const struct sim *sim);
/* Datagrams that no congestion control holds back: @rate bits a second in periods of @on and @off,
 * over the bottleneck, until the end. */
void simload_blast(struct sim *sim, uint64_t rate, cv_duration on, cv_duration off);
uint64_t simload_bdp(const struct sim_load_spec *spec); /* bytes */

/* Congestion controls, by name. */
struct sim_kind {
	const char *name;
	enum cc_kind kind;
	bool is_bbr; /* the bounds for BBR hold, not the ones for CUBIC */
};
extern const struct sim_kind SIM_KINDS[]; /* ends with a name of NULL */
const struct sim_kind *sim_kind(enum cc_kind kind);
/* One of them, whatever the number. */
const struct sim_kind *sim_kind_number(uint64_t number);
/**
 * sim_least(), sim_most() - state a bound, and print what was measured under --measures
 * @bbr, @cubic: bound for worlds of that kind; 0: none, @value is only recorded
 */
void sim_least(struct sim *sim, const char *what, uint64_t value, uint64_t bbr, uint64_t cubic);
void sim_most(struct sim *sim, const char *what, uint64_t value, uint64_t bbr, uint64_t cubic);

/* matrix.c */
struct matrix_options {
	const struct sim_kind *kind;
	const char *cells;   /* "all", "quick", or RATE:RTT:LOSS:BUFFER with stars */
	const char *csv;     /* written; NULL: standard output, unless compared */
	const char *compare; /* read; NULL: nothing to compare with */
	uint64_t seed;       /* of the first cell */
};
/* Return: the exit code. */
int matrix_run(const struct matrix_options *opt);

/* soak.c: a day of everything; prints what it was like. */
void churn_run(struct sim *sim);
void soak_run(struct sim *sim);

/* swarm.c */
void swarm_run(struct sim *sim);
/* And with what moves congestion control: agents of each kind. */
void swarm_gusts(struct sim *sim);

/* cases */
struct sim_case {
	const char *name;
	void (*run)(struct sim *sim);
	const char *what;
	unsigned variants; /* seeds that tell different stories: sim_variant(); 0: one */
};
/* Which variant this seed is. */
static inline unsigned sim_variant(const struct sim *sim, unsigned variants)
{
	return (unsigned)((sim->seed + variants - 1) % variants);
}
extern const struct sim_case CASES_START[], CASES_PATHS[], CASES_STREAMS[], CASES_LIVES[];
extern const struct sim_case CASES_LINKS[], CASES_RETURNS[], CASES_MODELS[], CASES_NATS[];
extern const struct sim_case CASES_OUTAGES[], CASES_ATTACKS[], CASES_MALICE[];
extern const struct sim_case CASES_PUNCH[], CASES_TCP[], CASES_IDLE[];
/* Run with each congestion control. */
extern const struct sim_case CASES_BULK[], CASES_CHANGES[], CASES_RIVALS[], CASES_DATAGRAMS[];

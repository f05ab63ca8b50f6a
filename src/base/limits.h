/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * limits - every maximum that a user, a peer or an operator can run into, with
 * its unit and its reason. `configurable` marks defaults of a key of the
 * configuration. Limits that are a detail of one module (ports in a pattern,
 * bytes of a log line) stand in that module's header.
 *
 * The sum, for an agent: what lives in the pools (stream buffers, sent records,
 * reassembly) is charged to MEMORY_DEFAULT, whoever asks; what is admitted
 * outside of them is
 *
 *	PEERS_MAX x one session, without its streams
 *	STREAMS_MAX_DEFAULT x one idle stream, per session that has them
 *	FRONTENDS_MAX_DEFAULT x one connection without buffers
 *
 * and for a server AGENTS_MAX_DEFAULT x AGENT_SIZE_MAX = 256 MiB.
 */

#include <stdint.h>

#include "base/time.h"

#define CV_KIB(n) ((uint64_t)(n) << 10)
#define CV_MIB(n) ((uint64_t)(n) << 20)

/* Streams and connections. Each end of a stream holds one descriptor; with all clients and as
 * many dials for peers, half of LimitNOFILE 65,536 is in use. */
enum {
	STREAMS_MAX_DEFAULT = 16384,   /* streams per session; configurable */
	FRONTENDS_MAX_DEFAULT = 16384, /* clients' connections per agent; configurable */
	FILES_WANTED = 65536,          /* RLIMIT_NOFILE that all of the above need */
	STREAMS_FIRST_MAX = 128,       /* streams each way before settings arrive */
	PEERS_MAX = 4096,              /* peers in one configuration */
};

/* What a peer may ask of the exit. A browser opens some hundred connections at once; a
 * scanner, thousands a second for ever. */
enum {
	OPEN_RATE = 4000,              /* stream opens and connects per second and peer */
	OPEN_BURST = 8000,             /* two seconds of it at once */
	DIALS_PER_PEER_MAX = 256,      /* connects in flight; configurable */
	DIALS_MAX = 2048,              /* connects in flight, all peers; configurable */
	RESOLVE_PER_PEER_MAX = 64,     /* name lookups in flight */
	RESOLVE_MAX = 512,             /* name lookups in flight, all peers */
	LISTENERS_PER_PEER_MAX = 64,   /* that a peer has asked for, BINDs included */
	LISTENERS_OF_PEERS_MAX = 1024, /* of all peers: each is looked at with every dial */
	LISTEN_TRIES_MAX = 1024,       /* ports that "any free one" tries */
};

/* Flows of datagrams: one a client address. A resolver of a busy network opens a thousand a second,
 * each for some seconds; the longest unused makes room. Each costs half a KiB, at the far side a
 * descriptor too. */
enum {
	UDP_FLOWS_PER_PORT_MAX = 2048, /* at one local port */
	UDP_FLOWS_PER_PEER_MAX = 4096, /* that one peer has opened here */
	UDP_FLOWS_MAX = 8192,          /* of a process */
	/* Far sides of SOCKS5's UDP ASSOCIATE: names, mappings and what waits are 64 KiB each. */
	ASSOCIATIONS_PER_PEER_MAX = 256,
	ASSOCIATIONS_MAX = 1024, /* of all peers */
};

/* Receive windows, bytes. The first values are constants of the protocol version: the first
 * streams ride behind the handshake's answer, before settings can arrive. The largest serve
 * 1 Gbit/s at 270 ms and 540 ms. */
#define STREAM_WINDOW_UNACCEPTED CV_KIB(16) /* a stream nobody has accepted yet */
#define STREAM_WINDOW_INITIAL CV_KIB(256)
#define STREAM_WINDOW_MAX CV_MIB(32)
#define SESSION_WINDOW_INITIAL CV_MIB(1)
#define SESSION_WINDOW_MAX CV_MIB(64)
/* Bytes that all buffers of a process may take; configurable (`tunnel.memory`). */
#define MEMORY_DEFAULT CV_MIB(256)

_Static_assert(STREAM_WINDOW_INITIAL <= SESSION_WINDOW_INITIAL, "a first stream fits");
_Static_assert(STREAM_WINDOW_MAX <= SESSION_WINDOW_MAX, "a stream fits into its session");
_Static_assert(SESSION_WINDOW_MAX <= MEMORY_DEFAULT, "a session fits into the process");

/* Replay windows, packet numbers: moving from a 200 ms to a 5 ms path at 90,000 packets/s
 * overtakes 17,500 packets; a server session sends a few a minute. */
enum {
	REPLAY_WINDOW_AGENT = 65536,
	REPLAY_WINDOW_SERVER = 128,
};

/* Keys. Packets per key: RFC 9001, B.1.1, for AES-GCM: 2^28 of at most 2 KiB, 2^23 of up to
 * 64 KiB; a new handshake starts at half of that. */
#define REKEY_AFTER CV_SEC(120)         /* WireGuard's REKEY_AFTER_TIME */
#define REKEY_AFTER_SECOND CV_SEC(150)  /* the other side, so that they seldom cross */
#define REJECT_AFTER CV_SEC(180)        /* WireGuard's REJECT_AFTER_TIME */
#define REKEY_AFTER_SERVER CV_SEC(3600) /* every 120 s, 100,000 agents cost 19 % of a core */
#define REJECT_AFTER_SERVER CV_SEC(7200)
#define REKEY_PACKETS (UINT64_C(1) << 27)
#define REJECT_PACKETS (UINT64_C(1) << 28)
#define REKEY_PACKETS_LARGE (UINT64_C(1) << 22)
#define REJECT_PACKETS_LARGE (UINT64_C(1) << 23)
enum { REKEY_LARGE_ABOVE = 2048 }; /* datagram bytes from which the smaller pair holds */
/* How long streams wait for a new handshake of the same incarnations before they are reset. */
#define LINGER_TIMEOUT CV_SEC(300)

/* Handshake. Retries grow by half: four fit into the first two seconds of a lossy path. */
#define HANDSHAKE_RETRY_INITIAL CV_MS(250)
#define HANDSHAKE_RETRY_MAX CV_SEC(1)
#define HANDSHAKE_DEMAND_TIMEOUT CV_SEC(9) /* then the client is told, within 10 s */

/* Probe timeouts (RFC 9002, 6.2, with a smaller start: most paths are shorter than 100 ms). */
#define RTT_INITIAL CV_MS(100)
#define PTO_BACKOFF_MAX CV_SEC(2) /* while streams are open and a path is believed alive */

/* The loop. */
enum { READ_BURST_MAX = 256 };     /* packets per wake-up, so that clients get theirs */
#define READ_BURST_TIME CV_US(500) /* the same in time */
#define WAKE_UP_AFTER CV_SEC(2)    /* a turn this late means that the host slept */

/* Proxy. A client that says nothing holds a descriptor. */
#define PROXY_HANDSHAKE_TIMEOUT CV_SEC(10) /* from accept to a whole request */
enum {
	HTTP_HEAD_MAX = 64 * 1024,        /* bytes: absolute-form, with the browser's cookies */
	HTTP_HEAD_CONNECT_MAX = 8 * 1024, /* bytes: CONNECT carries few fields */
	/* Clients from beyond this host that have not asked yet. From the first number on a new one
	 * may cost another's place (30 %, growing to 100 % at the second), as with sshd's
	 * MaxStartups 10:30:100; but it is one of those that wait that goes, so who asks at once is
	 * served. */
	ASKING_CLIENTS_BEGIN = 64,
	ASKING_CLIENTS_MAX = 256,
	ASKING_CLIENTS_PERCENT = 30,
	HTTP_HEADS_MAX = 128, /* at once that need all of HTTP_HEAD_MAX: 8 MiB */
};

/* Server. */
enum {
	AGENTS_MAX_DEFAULT = 131072,           /* registrations; configurable */
	AGENTS_PER_ADDRESS_MAX_DEFAULT = 4096, /* of one prefix: a carrier's NAT; configurable */
	AGENT_SIZE_MAX = 2048,                 /* bytes that one registration may cost */
	CONNECTIONS_MAX_DEFAULT = 16384,       /* TCP connections, of agents whose UDP is blocked: 2
	                                          KiB each, and half as much that waits; configurable */
	CONNECTIONS_PER_ADDRESS_MAX_DEFAULT = 1024, /* of one prefix; configurable */
};
#define RELAY_RATE_DEFAULT UINT64_C(50000000) /* bit/s per agent; configurable */

/* Configuration and control. libyaml has no nesting limit of its own and is quadratic in depth. */
enum {
	TUNNEL_PORT_DEFAULT = 28583,     /* of an `address` without a port */
	CONFIG_FILE_MAX = 256 * 1024,    /* bytes */
	CONFIG_DEPTH_MAX = 8,            /* collections inside each other */
	CONTROL_REQUEST_MAX = 64 * 1024, /* bytes of one request on the control socket */
};

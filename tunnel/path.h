/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * path - one way to a peer: (socket, remote address) or (server, channel), its
 * validation by probes, its liveness, and the measures that belong to it alone (rule 5.1): RTT,
 * congestion, pacing, loss, packet size. Knows no other path: paths.c compares and chooses.
 *
 *   FREE -> CHECKING -(answer)-> VALID -(1,200 bytes answered with 1,200)-> USABLE
 *              |                   |                                          |
 *              +--- no answer ---> FAILED <--- narrow, or silent -------------+
 *                                    | retry_at: CHECKING again
 *
 * The path that carried the handshake enters at VALID: it may carry data before the padded
 * exchange, because both ends proved themselves on it; if that exchange then fails it is not used
 * any longer. Where the handshake went by other ways as well, whoever read it there may only claim
 * to be here: such a path stays in CHECKING, and until a challenge is answered it carries three
 * times what came by it and no more (RFC 9000, 8.1).
 *
 * A relay that its server does not lend carries 600 bytes: there a small answer makes it USABLE,
 * for all but flows.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/rng.h"
#include "base/time.h"
#include "tunnel/cc.h"
#include "tunnel/delivery.h"
#include "tunnel/ecn.h"
#include "tunnel/loss.h"
#include "tunnel/pacer.h"
#include "tunnel/pmtud.h"
#include "tunnel/rtt.h"
#include "tunnel/wire.h"

enum path_state { PATH_FREE, PATH_CHECKING, PATH_VALID, PATH_USABLE, PATH_FAILED };

/* In order of preference. */
enum path_kind {
	PATH_KIND_NONE,
	PATH_KIND_TCP, /* relayed, and one of the two legs is TCP */
	PATH_KIND_RELAY,
	PATH_KIND_DIRECT,
	PATH_KIND_LAN,
};

enum {
	PATH_TOKENS = 4,      /* probes whose answers are still awaited */
	PATH_CHECK_TRIES = 9, /* 0, 0.1, 0.3, 0.7, 1.5 ... 5.5 s */
	PATH_CHECK_SLOW = 4,  /* the first of those a second apart: a retry makes no others */
	PATH_PAD_TRIES = 8,
	PATH_PAD_SLOW = 4, /* so many of them remain after something happened */
	/* Past our own routers, one or two of them, but not to the peer's: some block a source
	 * whose packet came before they had seen one to it. */
	PATH_FIRST_TTL = 4,
	PATH_BEATS_MISSED = 2, /* then the path is doubtful */
	PATH_REFUSALS = 3,     /* ICMP, a quarter of a second apart: nobody is there */
};

/* What flowed has stopped: one beat asks whether the way has, too. */
#define PATH_BEAT_TAIL CV_MS(500)
#define PATH_BEAT_BUSY                                                                             \
	CV_SEC(5) /* while streams are open: keeps the promise of 8 s without a server (rule 3.7)  \
	           */
#define PATH_BEAT_MISSED_MAX CV_SEC(2) /* between unanswered ones, until PATH_ALIVE is over */
/* Idle, less up to a fifth: below the 30 s of impatient NATs (RFC 8085, 3.5), until it is known how
 * long ours keeps a mapping. While streams are open never longer, so that there is a refuge. */
#define PATH_KEEPALIVE CV_SEC(25)
/* Consent: silent for longer, nothing is sent there (RFC 7675, 5.1). Beyond a longer keepalive it
 * is PATH_ALIVE_MARGIN: who is silent because we did not ask is asked with the first data. */
#define PATH_ALIVE CV_SEC(30)
#define PATH_ALIVE_MARGIN CV_SEC(5)
#define PATH_ROUND CV_SEC(5) /* between the beginnings of quick rounds, whatever happens */
#define PATH_RETRY_MIN CV_SEC(2)
#define PATH_RETRY_MAX CV_SEC(60)

struct path_token {
	uint64_t token; /* 0: free */
	cv_time sent_at;
	uint32_t size; /* of the datagram, relay header included */
};

/* Where a datagram came from, or goes to. */
struct origin {
	bool is_relay;
	uint16_t socket;  /* direct */
	uint8_t ecn;      /* direct, as a source: enum ecn_codepoint it came with */
	struct addr addr; /* direct: the remote address */
	uint32_t server;  /* relay */
	uint64_t channel; /* relay */
};

struct path {
	uint8_t state;      /* enum path_state */
	uint8_t kind;       /* enum path_kind */
	uint8_t age;        /* generation of the slot, never 0 while in use */
	bool is_first;      /* carried the handshake: data before the padded exchange */
	bool is_claimed;    /* is_first, but only the peer says so: as much as .credit */
	bool is_candidate;  /* announced by the peer: retried as long as its newest list has it; all
	                     else is  forgotten when it fails */
	bool is_doubtful;   /* beats missed or probe timeouts: data go elsewhere if they can */
	bool is_narrow;     /* small probes pass, 1,200 bytes do not */
	bool is_nominated;  /* the peer wants its data here */
	bool must_nominate; /* we do, and it has not been answered yet */
	bool was_unannounced; /* the peer's packets began to come from here (rule 5.8) */
	bool is_flowing;      /* data came since the last beat */
	bool is_pinging;      /* `culvert ping` waits for the next answer */
	bool is_questioned;   /* something happened: a beat goes out, heard of late or not */
	uint8_t asked_count;  /* packets since it was heard, up to many */
	uint8_t tries, beats_missed, refusals;
	bool is_tcp_here;  /* relay: our own leg */
	bool is_tcp_there; /* and the peer's */
	bool is_scant;   /* relay: its server does not lend it, only small packets pass: no flows */
	bool is_blocked; /* the connection takes no more now: nothing is built for it */
	struct origin to;
	struct addr seen; /* whence the peer says that our probes come */
	struct path_token tokens[PATH_TOKENS];
	cv_time made_at, heard_at, sent_at, probe_at, retry_at, refused_at;
	cv_time asked_at;     /* something left for an address that is not known to answer */
	cv_time announced_at; /* in the newest list that had it; 0: in none */
	cv_time beat_at;      /* the newest of beats_missed */
	cv_time grace_until;  /* alive, though a shorter keepalive says otherwise */
	cv_time round_at;     /* the newest quick round of checks began */
	cv_time settled_at;   /* older nominations, of other paths, have arrived or never will */
	cv_duration retry_interval;
	cv_duration keepalive; /* the longest time that it may be idle */
	cv_duration probe_rtt; /* smoothed, by probes only: paths are compared by nothing else; 0:
	                          none */
	cv_duration ping_rtt;
	int64_t credit; /* is_claimed: bytes that may still leave; the last packet may exceed it */
	uint64_t inflight; /* bytes */
	struct rtt rtt;
	struct delivery delivery;
	struct cc cc;
	struct pacer pacer;
	struct loss loss;
	struct pmtud pmtud;
	struct ecn ecn;
};

/* Makes a path in a free slot; probing begins at once. @seed: for its congestion control. */
void path_init(struct path *p, cv_time now, uint8_t slot, const struct origin *to,
               enum cc_kind congestion, uint64_t seed);
/* For a new path: datagrams of up to @max leave whole, or the shell says that its interface does
 * not carry them; more than an Ethernet's are then tried. Less than that changes nothing. */
void path_set_datagram_max(struct path *p, uint32_t max);
bool path_is_to(const struct path *p, const struct origin *o);
/* What carries a relayed path's two legs. With TCP packets come late rather than not at all (rule
 * 6.3). True when its kind is another now. */
bool path_set_legs(struct path *p, bool is_tcp_here, bool is_tcp_there);
/* How long it may be silent before it counts as dead. */
static inline cv_duration path_alive(const struct path *p)
{
	return CV_MAX(PATH_ALIVE, p->keepalive + PATH_ALIVE_MARGIN);
}
/* A shorter one holds at once. */
void path_set_keepalive(struct path *p, cv_time now, cv_duration longest);
/* Bytes before a packet: the relay's header. */
static inline uint32_t path_overhead(const struct path *p)
{
	return p->to.is_relay ? WIRE_RELAY_HEADER : 0;
}
/* The most that it carries behind that header. */
size_t path_packet_max(const struct path *p);
/* May carry data now. */
bool path_can_carry(const struct path *p, cv_time now);
/* An authenticated packet came by it. */
void path_on_heard(struct path *p, cv_time now);
/* Data came by it, so more may be expected. */
void path_on_flow(struct path *p, cv_time now);
/* The handshake passed here: VALID at least, unless it is but a claim. */
void path_on_handshake(struct path *p, cv_time now, bool is_proven);
/* A datagram of @size bytes, of the peer's, came by it. */
void path_on_received(struct path *p, size_t size);
/* One of ours left; not a probe. */
void path_on_packet(struct path *p, size_t size);
/* Nothing but probes may leave, until more is heard. */
static inline bool path_is_spent(const struct path *p)
{
	return p->is_claimed && p->credit <= 0;
}
/* Something happened (network event, doubt, news): what this path is found to be is asked anew,
 * soon and several times. */
void path_check_now(struct path *p, cv_time now);
/* Nothing happened but time: a failed path is tried again, slowly. */
void path_retry(struct path *p, cv_time now);

/* Until the answer to a probe is late. */
cv_duration path_patience(const struct path *p);

/* What a due probe should be. */
struct path_probe {
	uint32_t size; /* of the datagram without the relay header */
	uint8_t flags;
	uint8_t ttl; /* hops it may go; 0: as usual */
	uint64_t token;
};
/* True when a challenge is due: fills @out and plans the next. @is_busy: streams are open on this
 * session; @is_active: data go here. */
bool path_probe_due(struct path *p, cv_time now, const struct rng *rng, bool is_busy,
                    bool is_active, struct path_probe *out);
/* True when a challenge with this token went out here and awaits its answer. */
bool path_has_asked(const struct path *p, uint64_t token);
/* An answer came by this path. @size: of the datagram. True when the token was ours; state and RTT
 * are updated. */
bool path_on_answer(struct path *p, cv_time now, uint64_t token, uint32_t size);
/* The peer told in an answer whence the challenge came. True: another port than before, so the
 * mapping between was lost or made anew. */
bool path_on_seen(struct path *p, const struct addr *seen);
/* ICMP refusal. */
void path_on_refused(struct path *p, cv_time now);
/* Congestion control begins again after the time in which this path carried nothing. */
void path_restart_control(struct path *p, cv_time now);
void path_fail(struct path *p, cv_time now);
cv_time path_deadline(const struct path *p);
/* Addresses of this machine or its NAT changed: what was learnt of the network is asked again. */
void path_on_network(struct path *p, cv_time now);
/* Timers of the peer's silence begin again (rule 8.4). */
void path_restart(struct path *p, cv_time now);
bool path_check(const struct path *p);
const char *path_kind_name(enum path_kind kind);

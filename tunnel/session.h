/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * session - one peer: the order of work, no mechanism. It lives as long as the
 * peer is configured; its *object* (streams, packet numbers, sent records, epochs) comes and goes
 * with incarnations.
 *
 * Conductor of: assoc + initiator (keys), acks, recovery (sent, loss, congestion), streams,
 * datagrams, paths + candidates (ways), builder (trains). Those see this struct; the endpoint sees
 * the functions below.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/heap.h"
#include "base/list.h"
#include "base/pool.h"
#include "base/ratelimit.h"
#include "base/rng.h"
#include "base/trace.h"
#include "tunnel/acks.h"
#include "tunnel/assoc.h"
#include "tunnel/candidate.h"
#include "tunnel/datagram.h"
#include "tunnel/endpoint.h"
#include "tunnel/gate.h"
#include "tunnel/initiator.h"
#include "tunnel/paths.h"
#include "tunnel/pending.h"
#include "tunnel/punch_budget.h"
#include "tunnel/punch_talk.h"
#include "tunnel/replay.h"
#include "tunnel/sent.h"
#include "tunnel/streams.h"

enum {
	SESSION_REPLAY_WINDOW = 65536, /* packets; rule 4.1 */
	SESSION_SENT_MAX = 131072,
	SESSION_MARKS = 11,
	SESSION_OLD_STREAMS = 8, /* replaced objects whose streams the shell has not let go yet */
};

#define SESSION_ATTEMPT                                                                            \
	CV_SEC(9) /* an attempt on demand fails then, so that a client hears within 10 s */
#define SESSION_LINGER                                                                             \
	CV_SEC(300) /* streams wait so long for a path and a handshake between the same            \
	               incarnations */
#define SESSION_RETRY CV_SEC(5)
#define SESSION_LEAVE CV_SEC(1)
#define SESSION_RETRY_MAX CV_SEC(60)
#define SESSION_REFUSED_SILENCE CV_SEC(2)

/* What all sessions of an endpoint share; borrowed. */
struct session_core {
	const struct identity *me;
	const struct rng *rng;
	const struct trace *trace;
	struct pool *pool;
	struct indexes *indexes;
	struct pendings *pendings;
	uint8_t aead_bits;
	uint32_t streams_max;
	enum cc_kind congestion;
	uint32_t datagram_max;
	cv_duration keepalive; /* how long paths may be idle */
	/* Our candidates, told to every peer whose policy allows it. */
	struct wire_candidate candidates[FRAME_CANDIDATES_MAX];
	unsigned candidate_count;
	uint64_t candidate_version;
	/* One of them is a mapping with a global IPv4 address: our NAT lets strangers in there, so
	 * that for a peer's plan it is an easy one. */
	bool has_mapping;
	struct candidate_scope scope;
	/* What is known of the routers in front of us; version 0: nothing yet. */
	struct nat_profile nat;
	uint64_t nat_version;
	struct recvbuf_loans loans;
	struct asked asked;
};

/* Things that the endpoint turns into events. */
enum {
	SESSION_NEWS_UP = 1 << 0,
	SESSION_NEWS_DOWN = 1 << 1,
	SESSION_NEWS_PATH = 1 << 2,
	SESSION_NEWS_RESOLVE = 1 << 3,
	SESSION_NEWS_DUPLICATE = 1 << 4,
	SESSION_NEWS_CLASH = 1 << 5,
};

struct session {
	struct session_core *core;
	uint32_t number;
	struct remote remote;
	uint8_t policy; /* ours, enum path_policy */
	bool has_smaller_key;
	bool has_address; /* configured with a static address */

	/* keys */
	struct assoc assoc;
	struct initiator initiator;
	struct epoch epochs[ASSOC_EPOCHS_MAX];
	_Alignas(16) uint8_t states[ASSOC_EPOCHS_MAX][2 * AEAD_STATE_SIZE];
	cv_time attempt_at; /* when the next attempt begins; CV_TIME_NEVER: one runs or none is
	                       needed */
	cv_time attempt_began_at;
	cv_duration attempt_pause;
	uint32_t attempts_failed; /* since the last success */
	bool is_wanted;           /* somebody waits who came while the attempt was running */
	uint32_t init_paths;      /* slots that the INIT which is due still has to leave on */
	bool init_servers;        /* and the servers without a channel */
	struct addr addresses[ENDPOINT_ADDRESSES_MAX];
	unsigned address_count;
	uint8_t address_next;    /* static address that the INIT leaves for next: they go out 250 ms
	                            apart */
	cv_time address_at;      /* CV_TIME_NEVER: none is waiting */
	cv_time duplicate_until; /* another agent uses this identity: nothing is started before */
	cv_duration duplicate_pause;
	uint64_t absent_servers;  /* bit a server: it says the peer is absent */
	cv_time absent_at;        /* the first of them said so */
	uint64_t gone_servers;    /* bit a server: it saw the peer's process end */
	cv_time gone_at;          /* the first of them said so */
	cv_time gone_asked_at;    /* and the peer was asked whether it is so */
	uint8_t address_refusals; /* static address without a path: ICMP says nobody listens */
	cv_time address_refused_at;
	uint16_t down_code; /* enum wire_close_code of the last goodbye */

	/* object */
	struct streams *streams;
	struct streams *old_streams[SESSION_OLD_STREAMS];
	struct datagrams *datagrams;
	struct sent sent;
	struct acks acks;
	int32_t datagrams_lead; /* bytes that datagrams are ahead of streams that wait too */
	uint32_t acks_alone;    /* packets in a row that had nothing but an ACK */
	struct ecn_ledger ecn_ledger;
	struct replay replay;
	uint64_t *replay_words;
	uint64_t candidate_told;      /* version in the newest CANDIDATES sent */
	uint64_t skip_at;             /* packet number to skip (T20) */
	uint16_t frequency_threshold; /* last ACK_FREQUENCY told */
	uint16_t frequency_reorder;
	cv_duration frequency_delay;
	bool frequency_due;
	uint8_t probes_due; /* probe-timeout packets to send beyond the window */
	bool is_pinging;    /* a PING frame is due (confirmation of an epoch, probe without data) */
	cv_time confirm_at; /* an epoch that we began is confirmed again then */
	cv_duration confirm_interval;
	cv_time turned_at; /* `now` of the newest call */
	uint8_t farewell[WIRE_RELAY_HEADER + WIRE_DATA_OVERHEAD +
	                 8]; /* CLOSE, sealed before its keys were wiped */
	uint8_t farewell_size;
	uint8_t farewell_left; /* copies of it to be sent */
	struct origin farewell_to;
	uint16_t close_code; /* to be sent; CLOSE_NONE: none */
	uint8_t close_left;  /* copies of it */
	bool is_up;          /* PEER_UP was told */
	bool has_clashed;    /* CLASH was, of these two policies */
	bool is_leaving;     /* no longer configured: says goodbye, and waits for its streams */
	bool is_spent;       /* it leaves, and there was no room for a new object */
	cv_time leaves_at;   /* not let go before */

	/* ways */
	struct paths paths;
	struct bucket strangers; /* paths made for sources that nobody announced */
	bool must_settle; /* ACKs were read in this batch: loss, congestion and windows are due */
	struct bucket candidates; /* new addresses that the peer may have us probe (T40) */
	struct addr unfit[FRAME_CANDIDATES_MAX]; /* of its newest list, out of our scope */
	unsigned unfit_count;
	cv_time hint_at;       /* newest continuing INIT that a doubt caused */
	bool has_lost_mapping; /* the peer sees us at another port than before */
	bool wants_ping;       /* as soon as there is a path */
	cv_time relayed_at;    /* since when all goes by a relay; 0: it does not */
	cv_time held_at;       /* other ways were last asked for by somebody who waits for them */
	bool asks_servers; /* a way died: perhaps we have another address now, and they see it */
	cv_time wanted_at;
	bool wants_servers;    /* streams wait: no server is left alone for a minute */
	struct session_batch { /* per path, within a batch of ACKs */
		uint64_t acked, newest_number, inflight_before;
		cv_time newest_sent_at;
		cv_duration sample, ack_delay;
		struct delivery_sample rate;
		bool is_app_limited, is_touched, is_spurious;
		uint32_t ce;
	} batch[PATHS_MAX];

	struct punch_talk punch;
	const char *punch_doing;        /* static: what is tried now, in words; NULL: nothing */
	cv_time punch_at;               /* not before */
	cv_time range_at;               /* no ports at random before, on either side */
	uint32_t punch_one_in;          /* so few attempts would meet that none is made; else 0 */
	cv_time punch_ended_at;         /* the last attempt; 0: none yet */
	uint8_t punches_failed;         /* since the last success or event */
	cv_time punch_replan_at;        /* nor given up for another plan */
	cv_time punch_help_at;          /* the peer is not helped again before */
	struct punch_share punch_share; /* of the budget */

	/* the newest nomination: epoch and number of its probe */
	uint32_t nominated_index;
	uint64_t nominated_number;

	/* answers to probes, in the order they came */
	struct {
		uint8_t slot; /* path to answer on */
		uint64_t token;
		uint32_t size;
		struct addr seen;
	} answers[8];
	uint8_t answer_count;

	uint32_t news;
	struct heap_node deadline_node;
	struct list
		ready_node; /* on the endpoint's list of sessions that may have output or events */

	/* statistics */
	uint64_t tx_bytes, rx_bytes; /* of streams and datagrams of objects gone by */
	uint64_t dropped;            /* datagrams, likewise */
	uint64_t sent_packets, lost_packets;
	struct {
		cv_time at;
		uint64_t sent, lost, tx, rx;
	} marks[SESSION_MARKS]; /* a second apart: loss over 10 s, rates over 1 s */
	unsigned mark_next;
	uint64_t forged, replayed;
};

/* 0, -EINVAL for an unusable key, -ENOMEM. */
CV_NODISCARD int session_new(struct session **out, cv_time now, struct session_core *core,
                             uint32_t number, const struct endpoint_peer *peer);
void session_free(struct session *s, cv_time now);

/* ---- in (packets: inbound.h; hints: liveness.h) ---- */

/* After each batch: what the ACKs in it mean. */
void session_settle(struct session *s, cv_time now);

void session_set_addresses(struct session *s, cv_time now, const struct addr *list, unsigned count);
void session_add_relay(struct session *s, cv_time now, uint32_t server, uint64_t channel,
                       uint32_t rate_kbit, uint8_t leg);
void session_drop_relay(struct session *s, cv_time now, uint32_t server);
/* Our leg of the channels at @server is TCP, or is not; @is_blocked: it takes nothing now. */
void session_set_leg(struct session *s, cv_time now, uint32_t server, bool is_tcp, bool is_blocked);
void session_on_candidates_changed(struct session *s, cv_time now);
void session_want(struct session *s, cv_time now);
void session_close(struct session *s, cv_time now, uint16_t code);
/* Ours is another from now on; the peer learns it by a handshake. */
void session_set_policy(struct session *s, cv_time now, uint8_t policy);
/* The peer is no longer configured: CLOSE(removed), streams reset, no more handshakes. */
void session_leave(struct session *s, cv_time now);
/* True when all of that is done. */
bool session_has_left(const struct session *s, cv_time now);
/* It is configured again: begins anew with @psk (NULL: none). The keys of a living session go with
 * CLOSE(removed). 0, or -EBUSY while session_has_room() is false. */
CV_NODISCARD int session_restart(struct session *s, cv_time now, const uint8_t *psk);

/* ---- out ---- */

/* Where a train goes. */
struct session_out {
	struct origin to;
	bool opens_channels; /* not a datagram: @train holds an INIT for rendezvous_open() at every
	                        server without a channel */
};
bool session_write(struct session *s, cv_time now, struct train *train, struct session_out *out);
/* One small challenge to @to, which is no path (yet): a hole is to be made. False without keys. */
bool session_write_probe(struct session *s, cv_time now, const struct origin *to,
                         struct train *train);
cv_time session_deadline(const struct session *s);
void session_on_deadline(struct session *s, cv_time now);
bool session_next_stream_event(struct session *s, struct streams **streams,
                               struct stream_event *out);

/* ---- state ---- */

enum peer_state session_state(const struct session *s, cv_time now);
enum path_policy session_policy(const struct session *s);
bool session_is_busy(const struct session *s);
/* Whether streams and datagrams may take @p: not a relay where the policy is `direct` (rule 5.10),
 * nor one that is not lent. */
bool session_lets_flow(const struct session *s, const struct path *p);
/* Streams wait: the path that there is does not let them flow. */
bool session_is_held(const struct session *s);
bool session_check(const struct session *s);

/* ---- used inside the room ---- */

/* The object is gone: streams get a reset with @code, everything of it begins anew. The association
 * was reset or replaced by the caller. */
void session_renew_object(struct session *s, cv_time now, uint16_t code);
/* Looks at the paths again and does what a change of the active one means. */
void session_rechoose(struct session *s, cv_time now);
/* The peer's object is gone for good: its streams are reset with @code, and an attempt follows
 * after @pause. Does nothing while session_has_room() is false. */
void session_drop_object(struct session *s, cv_time now, uint16_t code, cv_duration pause);
/* True while one more object can be replaced: the shell has let go of the streams of those before.
 */
bool session_has_room(const struct session *s);
/* One side insists on direct, the other on the relay. */
bool session_policies_clash(const struct session *s);
/* A handshake has ended: what both policies mean for paths and streams. */
void session_on_policies(struct session *s, cv_time now);
/* Seals CLOSE(@code) for a bound object whose keys are about to be wiped. */
void session_seal_farewell(struct session *s, cv_time now, uint16_t code);
/* The peer broke a rule. */
void session_protocol_error(struct session *s, cv_time now);

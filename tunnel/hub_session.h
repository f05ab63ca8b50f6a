/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * hub_session - one registered agent at a server, and the life of all of them: begin,
 * hear, tell, check, lapse. For hub alone, which decides what reaches a session and what of it
 * goes out when.
 *
 * A session is found by number (from an index), by key, and by address. It costs at most
 * AGENT_SIZE_MAX bytes with its maps and tags; nothing here walks all of them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/heap.h"
#include "base/idmap.h"
#include "base/list.h"
#include "base/ratelimit.h"
#include "base/time.h"
#include "tunnel/binding.h"
#include "tunnel/directory.h"
#include "tunnel/gate.h"
#include "tunnel/hub.h"
#include "tunnel/light.h"
#include "tunnel/pending.h"
#include "tunnel/relay.h"

struct hub_session {
	uint8_t pk[32];
	uint32_t number; /* its slot, and the owner of its indices */
	uint64_t prefix; /* counted under */
	struct light light;
	struct relay_port port; /* path and heard_at */
	struct directory_member member;
	struct heap_node due;
	struct list ready; /* in hub.ready while it may have something to write */
	cv_time resume_at; /* news that had no memory */

	struct addr doubtful; /* an address that it may have moved to */
	uint16_t doubtful_socket;
	bool is_challenge_due;
	struct bucket challenges; /* 4/s */
	uint64_t challenge_token; /* 0: none is out */

	cv_time check_at; /* next step of a check after a refusal; NEVER: none */
	uint8_t check_count;
	bool is_check_due;
	bool was_refused_again;

	struct bucket opens, registers;

	struct { /* an answer that was asked for later: one at most */
		struct addr to;
		uint16_t socket;
		bool is_due;
		uint64_t token;
		cv_time at; /* CV_TIME_NEVER: none */
	} later;
};

_Static_assert(sizeof(struct hub_session) + 320 <= 2048,
               "with a few tags, maps and the allocator's share: AGENT_SIZE_MAX");

/* A datagram that answers another and needs no session. */
struct hub_reply {
	struct addr to;
	uint16_t socket;
	uint16_t size;
	uint8_t bytes[WIRE_INIT_SIZE];
};

/* Beside each pending handshake: whose, and where its INIT came from. */
struct hub_pending {
	uint8_t pk[32];
	struct addr from; /* of the newest of its INITs: RESP went there */
	uint16_t socket;
	bool has_others; /* and elsewhere, before */
};

enum {
	HUB_REPLIES_MAX = 256, /* a power of two */
	HUB_PENDING_MIN = 256, /* as many as agents, within these two */
	HUB_PENDING_MAX = 4096,
	HUB_SOURCES_MIN = 1024,
	HUB_SOURCES_MAX = 65536,
};
/* Owner of an index that belongs to no session yet. */
#define HUB_PENDING_OWNER ((uint64_t)UINT32_MAX)

struct hub {
	struct hub_options opt;
	struct gate gate;
	struct indexes indexes;
	struct pendings pendings;
	struct hub_pending *pending_info; /* owned, by slot */
	struct directory directory;
	struct relay relay;
	struct binding binding;

	struct hub_session **sessions; /* owned, by number */
	uint32_t *unused;              /* stack of numbers given back */
	uint32_t unused_count;
	uint32_t count;
	struct idmap by_key, by_addr; /* to numbers */
	struct idmap by_prefix;       /* to counts */
	struct idmap access;          /* to places in opt.access */
	uint64_t seed;
	struct heap deadlines;
	struct list ready;
	uint32_t closing_next; /* hub_close(): goodbyes up to here are written */
	bool is_closing;

	struct hub_reply *replies; /* owned ring */
	unsigned reply_first, reply_count;
	struct hub_stats stats;
};

/* ---- hub.c ---- */

/* CLOSE under its keys, at its address, while it has them: the object, or the agent, goes. */
void hub_say_close(struct hub *h, cv_time now, struct hub_session *s, uint16_t code,
                   const char *text);

/* ---- hub_config.c ---- */

/* The keys of @opt by h's seed, in a new map. 0 or -ENOMEM, and @out is to be deinited. */
CV_NODISCARD int hub_list_access(const struct hub *h, const struct hub_options *opt,
                                 struct idmap *out);
bool hub_is_listed(const struct hub *h, const uint8_t pk[32]);

/* ---- hub_session.c ---- */

/* 64 bits under the hub's seed that stand for a public key. */
uint64_t hub_session_key(const struct hub *h, const uint8_t pk[32]);
struct hub_session *hub_session_find(const struct hub *h, const uint8_t pk[32]);
/* Whose path is @from; UDP sockets are not told apart, TCP is. */
struct hub_session *hub_session_at(const struct hub *h, uint16_t socket, const struct addr *from);
struct hub_session *hub_session_by_number(const struct hub *h, uint64_t number);

enum hub_admission { HUB_ADMITTED, HUB_AGENTS_FULL, HUB_ADDRESS_FULL, HUB_NO_MEMORY };
/* A new session of @pk at @from; its object is unbound and named @incarnation. */
enum hub_admission hub_session_new(struct hub *h, cv_time now, const uint8_t pk[32],
                                   uint16_t socket, const struct addr *from,
                                   const uint8_t incarnation[INCARNATION_SIZE],
                                   struct hub_session **out);
/* Ends it: those it matched hear ABSENT, the other ends of its channels CHANNEL_GONE. */
void hub_session_drop(struct hub *h, cv_time now, struct hub_session *s, bool is_gone);
/* Its object was replaced by another of the same identity: what was registered is gone. */
void hub_session_begin_again(struct hub *h, cv_time now, struct hub_session *s);
/* Agents at the other ends of its channels hear what they are granted there, and how it is reached,
 * for either has changed. */
void hub_session_tell_others(struct hub *h, struct hub_session *s);
/* The validated path is @from now. Those who relay to it hear when that is TCP and was not, or the
 * other way round (rule 6.3). */
void hub_session_move(struct hub *h, cv_time now, struct hub_session *s, uint16_t socket,
                      const struct addr *from);
/* The TCP connection that was its path has ended. It has none until it is heard elsewhere. */
void hub_session_on_closed(struct hub *h, struct hub_session *s);

/* Something opened under its keys, from @from; @budget: bytes that may go back there unproven. */
void hub_session_on_opened(struct hub *h, cv_time now, struct hub_session *s, uint16_t socket,
                           const struct addr *from, size_t budget);
/* Sends a challenge to @from, where the session may have moved; false: not now. */
bool hub_session_doubt(struct hub *h, cv_time now, struct hub_session *s, uint16_t socket,
                       const struct addr *from, size_t budget);
/* Something came by its path: it has not left it. */
void hub_session_stays(struct hub *h, struct hub_session *s);
/* A challenge that says nothing of the session's path: it is answered where it came from, at once
 * or after its seconds. False: at once, which the caller does. */
bool hub_session_on_aside(struct hub *h, cv_time now, struct hub_session *s, uint16_t socket,
                          const struct addr *from, const struct wire_probe *probe);
/* The agent may be silent for so long. */
void hub_session_on_interval(struct hub_session *s, uint16_t seconds);
/* The frames of a DATA packet. The session may be gone afterwards. */
void hub_session_on_frames(struct hub *h, cv_time now, struct hub_session *s, const uint8_t *plain,
                           size_t size);
void hub_session_on_answer(struct hub *h, cv_time now, struct hub_session *s, uint16_t socket,
                           const struct addr *from, uint64_t token);
/* ICMP says that nobody listens at its path. */
void hub_session_on_refused(struct hub *h, cv_time now, struct hub_session *s);
void hub_session_on_deadline(struct hub *h, cv_time now, struct hub_session *s);
/* What it has to say; false: nothing now (and it is no longer ready). */
bool hub_session_write(struct hub *h, cv_time now, struct hub_session *s, struct train *out);
/* It may have something to write. */
void hub_session_wake(struct hub *h, struct hub_session *s);
/* Plans its next deadline. */
void hub_session_plan(struct hub *h, struct hub_session *s);

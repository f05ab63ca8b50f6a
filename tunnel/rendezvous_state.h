/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * rendezvous_state - what the two halves of rendezvous share: states and time
 * (rendezvous.c), datagrams (rendezvous_packets.c). For nobody else.
 */

#include "tunnel/contacts.h"
#include "tunnel/light.h"
#include "tunnel/rendezvous.h"

enum rendezvous_state {
	STATE_RESOLVING,
	STATE_CONNECTING,
	STATE_UP,
	STATE_PAUSED,
	STATE_HELD,
	STATE_CLOSED,
};

enum {
	EVENTS_MAX = 64, /* about peers; a power of two */
	ANSWERS_MAX = 4, /* PROBE answers waiting to be written */
	PROBES_MAX = 4,  /* unanswered ones until the session is taken for lost */
	/* Room for an answer and a challenge of the server's, should it see us at a new address:
	 * it sends no more than it has received. */
	CHALLENGE_SIZE = 128,
};

struct answer {
	struct addr to;
	uint64_t token;
	size_t size;
};

/* A challenge of ours. */
struct question {
	uint64_t token;
	cv_time sent_at; /* 0: none, or answered */
};

/* An event about a peer, as it came from the contacts. */
struct peer_event {
	enum contacts_news news;
	struct contacts_event about;
};

struct rendezvous {
	struct rendezvous_options opt;
	enum rendezvous_state state;
	struct remote server;
	struct light session;
	struct initiator initiator;
	struct contacts contacts;

	struct addr addresses[RENDEZVOUS_ADDRESSES_MAX];
	unsigned address_count;
	unsigned init_due;   /* bits of addresses that the INIT in hand still goes to */
	unsigned rounds;     /* of INITs in this attempt */
	cv_time init_at;     /* of the last round */
	struct addr current; /* where the last RESP came from */
	struct addr public_address;

	cv_time attempt_until; /* CONNECTING: when it is given up */
	cv_time resume_at;     /* RESOLVING, PAUSED, HELD: the next attempt */
	cv_duration pause;     /* of the last pause */
	cv_duration hold;      /* of the last hold */
	cv_time up_since;

	cv_time probe_at; /* next challenge, or the end of waiting for the last one */
	cv_duration probe_interval;
	unsigned probes; /* since the server was last heard */
	unsigned asks; /* what we want is the answer, whatever else is heard: so many more times */
	struct question questions[PROBES_MAX]; /* a ring */
	unsigned question_next;
	cv_duration rtt;
	bool is_probe_due;
	cv_duration keepalive; /* the longest time between two challenges */
	uint64_t aside;        /* token of an answer at another socket; 0: none */
	cv_time asked_at;      /* the newest challenge left */

	cv_time confirm_at; /* next packet that confirms the newest epoch; NEVER: confirmed */
	cv_duration confirm_interval;
	cv_time rekey_until; /* a rekey is given up */
	cv_time rekey_again_at;
	cv_time register_at; /* a part of the registration was refused: all of it again */
	bool is_goodbye_due;

	struct answer answers[ANSWERS_MAX];
	unsigned answer_count;
	struct peer_event events[EVENTS_MAX];
	unsigned event_first, event_count;
	bool wants_addresses; /* the rest of what next_event() has to tell */
	bool was_up;
	bool is_address_new;
	bool is_refusal_new;
	bool is_refused;
	char refusal[FRAME_CLOSE_TEXT_MAX + 1];
};

/* Changes the state, with all that entering the next one means. */
void rendezvous_enter(struct rendezvous *r, cv_time now, enum rendezvous_state next);
/* Nothing of the old session may be taken for the new one's. */
void rendezvous_begin_session(struct rendezvous *r);
/* The server closed the session, for a reason that trying again does not change: 60 s or more. */
void rendezvous_hold(struct rendezvous *r, cv_time now);
/* The server goes and will come back, as all its agents do: up to 5 s. */
void rendezvous_wait_for_restart(struct rendezvous *r, cv_time now);
/* Something was heard: the next challenge is a keepalive again, unless an answer is wanted. */
void rendezvous_on_heard(struct rendezvous *r, cv_time now);
/* A challenge was answered, hence our address is known. */
void rendezvous_on_answered(struct rendezvous *r, cv_time now);
bool rendezvous_is_server(const struct rendezvous *r, const struct addr *a);
/* Messages wait while the server is not heard, but the first packet under a new session is what
 * makes it be heard. */
bool rendezvous_may_talk(const struct rendezvous *r);

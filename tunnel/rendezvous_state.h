/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * rendezvous_state - what the parts of rendezvous share: states and time
 * (rendezvous.c), datagrams (rendezvous_packets.c), TCP for where UDP does not pass
 * (rendezvous_tcp.c). For nobody else.
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
	uint16_t socket;
	uint64_t token;
	size_t size;
};

/* A challenge of ours. */
struct question {
	uint64_t token;
	cv_time sent_at; /* 0: none, or answered */
};

/* The one TCP connection to the server. */
enum rendezvous_tcp_state { TCP_CLOSED, TCP_OPENING, TCP_OPEN };

/* Where the INIT in hand goes. */
enum rendezvous_aim {
	AIM_ANY, /* addresses of the list, more with each round; and TCP where one is open */
	AIM_TCP,
	AIM_TRIAL, /* the UDP address that answers again */
};

struct rendezvous_tcp {
	enum rendezvous_tcp_state state;
	struct addr addr;       /* OPEN: of the server's end */
	uint16_t port;          /* configured; 0: the server's own, then 443 */
	bool is_open_due;       /* to be told to the shell: to close the one, then to open one */
	bool is_close_due;      /* likewise */
	cv_time wanted_at;      /* CONNECTING: UDP has had its time by then */
	cv_time tried_at;       /* the newest one began */
	cv_time retry_at;       /* no other before */
	cv_duration pause;      /* after the last failure */
	cv_time close_at;       /* UP by UDP: it is of no use from then on */
	cv_time left_at;        /* UDP was found good again; 0: never */
	cv_duration stay;       /* how long TCP stays the path at least */
	cv_time move_at;        /* from then on UDP may take over, if it is steady */
	cv_time trial_at;       /* UP by TCP: the next challenge by UDP, or the end of waiting */
	uint64_t trial_token;   /* that is out; 0: none */
	unsigned trial_due;     /* bits of addresses that it still goes to */
	unsigned trial_count;   /* answered in a row */
	struct addr trial_addr; /* that answered */
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
	unsigned init_due; /* bits of addresses that the INIT in hand still goes to; INIT_TCP */
	enum rendezvous_aim aim;
	unsigned rounds;            /* of INITs in this attempt */
	cv_time init_at;            /* of the last round */
	struct addr current;        /* where the last RESP came from */
	uint16_t socket;            /* of that: SOCKET_MAIN or SOCKET_TCP */
	struct addr public_address; /* of UDP */
	struct rendezvous_tcp tcp;

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
	bool is_checking;      /* its answer is awaited sooner than that of a keepalive */
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
	bool has_failed;  /* an attempt, since it was up */
	unsigned changes; /* of the network, in this attempt */
	bool is_address_new;
	bool is_leg_new;
	bool is_refusal_new;
	bool is_refused;
	char refusal[FRAME_CLOSE_TEXT_MAX + 1];
};

#define INIT_TCP (1u << 31) /* beside the bits of addresses */

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
/* Unanswered handshakes and rekeys give up after this. */
#define RENDEZVOUS_ATTEMPT_TIME CV_SEC(5)
/* Asks where it sees us, at once. */
void rendezvous_ask(struct rendezvous *r, cv_time now);
/* The server asked us something: so do we, but not as often as it likes. */
void rendezvous_on_challenged(struct rendezvous *r, cv_time now);

/* ---- rendezvous_tcp.c ---- */

/* The state is entered: an attempt begins, or what TCP was for is over. */
void rendezvous_tcp_on_state(struct rendezvous *r, cv_time now);
cv_time rendezvous_tcp_deadline(const struct rendezvous *r);
void rendezvous_tcp_on_deadline(struct rendezvous *r, cv_time now);
/* What was found out about TCP may be true no longer. */
void rendezvous_tcp_forgive(struct rendezvous *r, cv_time now);
/* Another network, and TCP is not the path: what there is of a connection is given up. */
void rendezvous_tcp_leave(struct rendezvous *r);
/* The attempt failed, or the connection is silent: it is given up. */
void rendezvous_tcp_give_up(struct rendezvous *r, cv_time now);
/* Something was heard by UDP. */
void rendezvous_tcp_on_udp(struct rendezvous *r, cv_time now);
/* RESP came from there: that is the path now. */
void rendezvous_set_path(struct rendezvous *r, cv_time now, uint16_t socket,
                         const struct addr *from);
/* False when the path was a connection that has ended. */
bool rendezvous_has_path(const struct rendezvous *r);
/* An answer by UDP while TCP is the path; false: to none of our trials. */
bool rendezvous_trial_on_answer(struct rendezvous *r, cv_time now, const struct addr *from,
                                uint64_t token);
/* A handshake that was to move the path was given up. */
void rendezvous_trial_on_failed(struct rendezvous *r, cv_time now);
/* The next address that a trial goes to; false: none. */
bool rendezvous_trial_next(struct rendezvous *r, unsigned *address);
bool rendezvous_tcp_next_event(struct rendezvous *r, struct rendezvous_event *out);
bool rendezvous_tcp_check(const struct rendezvous *r);

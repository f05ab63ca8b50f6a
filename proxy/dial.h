/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * dial - from a target to one connected socket: policy, lookup, happy eyeballs.
 *
 * Knows the order of things (RFC 8305: families alternate, IPv6 first, a new
 * attempt every 250 ms or as soon as one failed) and which failure to report.
 * Opens no socket and asks no resolver: it hands out actions and is told results.
 *
 * Feed one input, then pull actions until DIAL_NONE:
 *
 *   while (dial_next_action(d, now, acl, &action)) ...
 *
 * The last action is DIAL_DONE or DIAL_FAIL, and comes exactly once unless
 * dial_cancel() was called; every lookup and attempt that was still running has
 * been cancelled before it. Results of what was cancelled are ignored.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/hostport.h"
#include "base/time.h"
#include "proxy/acl.h"
#include "proxy/target.h"

enum {
	DIAL_ATTEMPTS_MAX = 4,    /* addresses dialled; denied ones do not count */
	DIAL_CANDIDATES_MAX = 16, /* addresses kept of an answer */
};

#define DIAL_TOTAL_TIMEOUT CV_SEC(10)    /* in all */
#define DIAL_LOOKUP_TIMEOUT CV_SEC(5)    /* of it for the lookup */
#define DIAL_STAGGER_INTERVAL CV_MS(250) /* RFC 8305, 5: Connection Attempt Delay */

enum dial_action_kind {
	DIAL_NONE,
	DIAL_RESOLVE, /* look up .name (both families); then dial_on_resolved() or _failed() */
	DIAL_CANCEL_RESOLVE, /* the answer is not wanted any more */
	DIAL_CONNECT,        /* connect attempt .index to .addr */
	DIAL_CONNECT_UNIX,   /* connect attempt .index to the path .name */
	DIAL_CANCEL,         /* close attempt .index */
	DIAL_DONE,           /* attempt .index is the connection */
	DIAL_FAIL,           /* refuse with .code */
};

struct dial_action {
	enum dial_action_kind kind;
	unsigned index;   /* below DIAL_ATTEMPTS_MAX */
	struct addr addr; /* as resolved: the policy saw its canonical form */
	const char *name; /* borrowed from the dial */
	enum target_code code;
};

enum dial_resolve_error {
	DIAL_RESOLVE_NOT_FOUND, /* no such name, or it has no address */
	DIAL_RESOLVE_TIMEOUT,   /* nobody answered */
	DIAL_RESOLVE_LIMIT,     /* too many lookups in flight, or no memory */
};

enum dial_state {
	DIAL_START,
	DIAL_RESOLVING,
	DIAL_CONNECTING,
	DIAL_CONNECTED, /* final */
	DIAL_FAILED,    /* final */
	DIAL_CANCELLED, /* final: the client went away */
};

enum dial_attempt {
	DIAL_ATTEMPT_NONE,
	DIAL_ATTEMPT_RUNNING,
	DIAL_ATTEMPT_OVER, /* failed, cancelled, or handed over */
};

/* Open so that it can be embedded; only dial.c and its test look inside. */
struct dial {
	enum dial_state state;
	enum target_code code; /* the best explanation so far; of DIAL_FAIL in the end */
	struct hostport to;
	bool is_udp;
	bool is_resolving; /* a lookup is out */
	bool is_reported;  /* DIAL_DONE or DIAL_FAIL was handed out */
	uint8_t denied_count;
	uint8_t attempt_count;
	uint8_t winner;
	uint8_t attempts[DIAL_ATTEMPTS_MAX]; /* enum dial_attempt */
	uint8_t candidate_count;
	uint8_t candidate_index; /* next one to look at */
	struct addr candidates[DIAL_CANDIDATES_MAX];
	cv_time give_up_at;
	cv_time resolve_until_at;
	cv_time next_attempt_at;
};

/* Starts the clock. @to is copied and is an address, a name or a unix path (services were
 * replaced). */
void dial_init(struct dial *d, cv_time now, const struct hostport *to, bool is_udp);
/* @addrs in the resolver's order of preference, ports ignored; 0 of them is DIAL_RESOLVE_NOT_FOUND.
 */
void dial_on_resolved(struct dial *d, cv_time now, const struct addr *addrs, size_t count);
void dial_on_resolve_failed(struct dial *d, cv_time now, enum dial_resolve_error why);
void dial_on_connected(struct dial *d, cv_time now, unsigned index);
/* @error: an errno, its sign ignored. */
void dial_on_connect_failed(struct dial *d, cv_time now, unsigned index, int error);
/* The client went away: what runs is cancelled, and neither DIAL_DONE nor DIAL_FAIL follows. */
void dial_cancel(struct dial *d);
/* CV_TIME_NEVER in a final state. */
cv_time dial_deadline(const struct dial *d);
void dial_on_deadline(struct dial *d, cv_time now);

/**
 * dial_next_action() - what to do next
 * @acl: of this moment; not kept
 * Return: true with *@out set, or false (DIAL_NONE) when there is nothing to do now.
 */
CV_NODISCARD bool dial_next_action(struct dial *d, cv_time now, const struct acl *acl,
                                   struct dial_action *out);
/* True when nothing is running any more and the outcome was handed out: @d may go. */
bool dial_is_over(const struct dial *d);
bool dial_check(const struct dial *d);

/**
 * dial_form() - the form of a resolved address that is dialled
 *
 * It must be the one that the policy judges, and that is the canonical one. The exception is the
 * well-known NAT64 prefix, which a resolver with DNS64 answers: it reaches exactly the IPv4 address
 * that was judged, and on a host without IPv4 nothing else does.
 */
struct addr dial_form(const struct addr *a);
/* RFC 6761, 6.3: localhost and everything below it is loopback, and no resolver is asked. */
bool dial_is_localhost(const char *name);
/* Which of two failures of one target says more about it; TARGET_OK says least. */
enum target_code dial_more_telling(enum target_code a, enum target_code b);

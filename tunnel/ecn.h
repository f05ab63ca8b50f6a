/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * ecn - whether packets of one path may leave as ECT(0), and what the peer's counts mean. RFC 9000,
 * 13.4 and A.4; RFC 9002, 7.1. Knows numbers and counts; no frames, no congestion control.
 *
 *   TESTING -(10 packets marked, or a probe timeout)-> UNKNOWN -(counts are right)-> CAPABLE
 *      ^  ^                                             |   ^                          |   |
 *      |  +--- an unmarked packet got through ----------+   +---- two timeouts --------+   |
 *      |                          all marked ones lost, or all CE                 wrong counts
 *      +-- network changed -- FAILED <-- or wrong counts --+-------------------------------+
 *
 * Marked packets leave in TESTING and CAPABLE. OFF is for paths through a relay: the mark would end
 * at the server.
 *
 * Counts are those of the object, because an ACK names numbers, which belong to no path. They judge
 * a path when all marked packets that the ACK newly acknowledges were sent on it; when several
 * paths share an ACK, as at a move from one to another, counts that are too low judge nobody.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "tunnel/train.h"
#include "tunnel/wire.h"

enum ecn_state { ECN_OFF, ECN_TESTING, ECN_UNKNOWN, ECN_CAPABLE, ECN_FAILED };

enum {
	ECN_TEST_PACKETS = 10,   /* RFC 9000, A.4 */
	ECN_SILENT_TIMEOUTS = 2, /* in a row; then marked packets may be what is dropped */
};

struct ecn {
	uint8_t state;       /* enum ecn_state */
	bool is_silent;      /* UNKNOWN because of timeouts: tested again when something arrives */
	uint32_t test_sent;  /* marked packets of the newest test */
	uint32_t test_acked; /* of those, acknowledged */
	uint32_t test_lost;  /* of those, declared lost */
	uint32_t test_ce;    /* of those, acknowledged by ACKs that count nothing but CE */
	uint64_t test_begin; /* number of the first one; valid when test_sent > 0 */
	uint64_t marked_acked; /* marked packets that the ACK being read newly acknowledges */
};

/* What the peer counted, per object: told by the ACK with the largest number so far. */
struct ecn_ledger {
	struct wire_ecn counts;
	uint64_t largest;
	bool has_largest;
};

/* What one ACK adds to it. */
struct ecn_news {
	bool is_new;      /* its largest number is: else it proves nothing (RFC 9000, 13.4.2.1) */
	bool is_wrong;    /* a count fell, or counts what is never sent */
	uint64_t arrived; /* with any mark */
	uint64_t ce;      /* of those, and not yet answered for */
	bool has_ect0;
};

void ecn_init(struct ecn *e, bool is_relay);
/* The network may have changed: what was learnt is void, and the test begins anew. */
void ecn_restart(struct ecn *e);

/* The codepoint of the next train, enum ecn_codepoint. */
static inline uint8_t ecn_mark(const struct ecn *e)
{
	return e->state == ECN_TESTING || e->state == ECN_CAPABLE ? ECN_ECT0 : ECN_NOT_ECT;
}

/* A packet left with ECT(0). */
void ecn_on_sent(struct ecn *e, uint64_t number);
/* For every packet of this path that an ACK newly acknowledges, late ones too. */
void ecn_on_acked(struct ecn *e, uint64_t number, bool is_marked);
/* Only what a later packet of this path proves lost. True when the mark explains it: nothing of the
 * test has come through, and the later packet had none. It is no sign of congestion then. */
bool ecn_on_lost(struct ecn *e, uint64_t number, bool is_marked);
/* The probe timeout fired, for the @count-th time in a row. */
void ecn_on_timeout(struct ecn *e, uint32_t count);
/* What was in flight was given up without a proof of loss. */
void ecn_on_left(struct ecn *e);

/* Once per ACK, after ecn_on_acked() for all that it acknowledges. */
void ecn_ledger_read(struct ecn_ledger *l, uint64_t largest, const struct wire_ecn *counts,
                     struct ecn_news *out);
/* How many newly acknowledged packets the news should cover on this path. */
static inline uint64_t ecn_claims(const struct ecn *e)
{
	return e->state == ECN_OFF || e->state == ECN_FAILED ? 0 : e->marked_acked;
}
/**
 * ecn_on_news() - what an ACK means for one path that it touches
 * @claims: sum of ecn_claims() over all paths
 *
 * Ends what ecn_on_acked() of this ACK began; to be called for every path touched.
 *
 * Return: marks of congestion that this path has to answer for, which are taken off @news.
 */
uint64_t ecn_on_news(struct ecn *e, struct ecn_news *news, uint64_t claims);
bool ecn_check(const struct ecn *e);

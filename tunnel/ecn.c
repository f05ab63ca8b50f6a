/* SPDX-License-Identifier: MIT */
#include "tunnel/ecn.h"

/*
 * Three kinds of broken network have to be told from a good one, at the cost of a round trip and a
 * few packets:
 *
 * - it clears the field: counts stay behind what is acknowledged;
 * - it drops what carries the field: all of the test is lost while unmarked packets pass. The first
 *   probe timeout ends the test, so its probes are unmarked and such a path costs one timeout;
 * - it sets all bits of the old TOS octet: everything that arrives is CE.
 *
 * Counts are taken only from ACKs that raise the largest number; reordered ones would seem to count
 * backwards. What an ACK counts in excess (packets acknowledged by an ACK that came too late to be
 * read, duplicates of a lost ACK) is spent with it and never excuses a later one.
 */

void ecn_init(struct ecn *e, bool is_relay)
{
	*e = (struct ecn){ .state = is_relay ? ECN_OFF : ECN_TESTING };
}

static void enter(struct ecn *e, enum ecn_state next)
{
	CV_ASSERT(e->state != ECN_OFF && next != ECN_OFF);
	e->state = (uint8_t)next;
	e->is_silent = false;
	if (next == ECN_TESTING)
		e->test_sent = e->test_acked = e->test_lost = e->test_ce = 0;
}

void ecn_restart(struct ecn *e)
{
	if (e->state != ECN_OFF)
		enter(e, ECN_TESTING);
}

void ecn_on_sent(struct ecn *e, uint64_t number)
{
	/* The test may end within a train, which leaves with one codepoint. */
	if (e->state != ECN_TESTING && e->state != ECN_UNKNOWN)
		return;
	if (e->test_sent++ == 0)
		e->test_begin = number;
	if (e->state == ECN_TESTING && e->test_sent >= ECN_TEST_PACKETS)
		enter(e, ECN_UNKNOWN);
}

static bool is_of_test(const struct ecn *e, uint64_t number)
{
	return e->test_sent > 0 && number >= e->test_begin &&
	       e->test_acked + e->test_lost < e->test_sent;
}

void ecn_on_acked(struct ecn *e, uint64_t number, bool is_marked)
{
	if (is_marked) {
		e->marked_acked++;
		if (is_of_test(e, number))
			e->test_acked++;
	} else if (e->state == ECN_UNKNOWN && e->is_silent) {
		enter(e, ECN_TESTING);
	}
}

/* All that is left of a test says that this network does not carry the field. */
static bool is_hopeless(const struct ecn *e)
{
	return e->state == ECN_UNKNOWN && e->test_sent > 0 &&
	       e->test_lost + e->test_ce >= e->test_sent;
}

bool ecn_on_lost(struct ecn *e, uint64_t number, bool is_marked)
{
	if (!is_marked || !is_of_test(e, number))
		return false;
	e->test_lost++;
	if (is_hopeless(e))
		enter(e, ECN_FAILED);
	return e->test_acked == 0;
}

void ecn_on_timeout(struct ecn *e, uint32_t count)
{
	if (e->state == ECN_TESTING && e->test_sent > 0 && e->test_acked == 0) {
		enter(e, ECN_UNKNOWN);
	} else if (e->state == ECN_CAPABLE && count >= ECN_SILENT_TIMEOUTS) {
		enter(e, ECN_UNKNOWN);
		e->test_sent = e->test_acked = e->test_lost = e->test_ce = 0;
		e->is_silent = true;
	}
}

void ecn_on_left(struct ecn *e)
{
	if (e->state == ECN_UNKNOWN)
		enter(e, ECN_TESTING);
}

void ecn_ledger_read(struct ecn_ledger *l, uint64_t largest, const struct wire_ecn *counts,
                     struct ecn_news *out)
{
	const struct wire_ecn *old = &l->counts;

	*out = (struct ecn_news){ .is_new = !l->has_largest || largest > l->largest };
	if (!out->is_new)
		return;
	/* Nothing here ever leaves as ECT(1). */
	out->is_wrong =
		counts->ect0 < old->ect0 || counts->ce < old->ce || counts->ect1 != old->ect1;
	if (!out->is_wrong) {
		out->ce = counts->ce - old->ce;
		out->arrived = counts->ect0 - old->ect0 + out->ce;
		out->has_ect0 = counts->ect0 > old->ect0;
	}
	l->counts = *counts;
	l->largest = largest;
	l->has_largest = true;
}

/* A test of which everything has arrived or is lost, and nothing was decided. */
static void retry(struct ecn *e)
{
	if (e->state == ECN_UNKNOWN && e->test_sent > 0 &&
	    e->test_acked + e->test_lost >= e->test_sent)
		enter(e, is_hopeless(e) ? ECN_FAILED : ECN_TESTING);
}

/* What @own newly acknowledged packets, all of them counted, mean. Return: CE to answer for. */
static uint64_t accept(struct ecn *e, const struct ecn_news *news, uint64_t own)
{
	if (e->state != ECN_CAPABLE) {
		if (!news->has_ect0) {
			e->test_ce += (uint32_t)CV_MIN(own, e->test_acked - e->test_ce);
			return 0;
		}
		enter(e, ECN_CAPABLE);
	}
	return CV_MIN(news->ce, own);
}

uint64_t ecn_on_news(struct ecn *e, struct ecn_news *news, uint64_t claims)
{
	uint64_t own = ecn_claims(e), ce = 0;

	e->marked_acked = 0;
	if (own > 0 && news->is_new) {
		CV_ASSERT(own <= claims);
		if (!news->is_wrong && news->arrived >= claims)
			ce = accept(e, news, own);
		else if (own == claims)
			enter(e, ECN_FAILED);
	}
	retry(e);
	news->ce -= ce;
	return ce;
}

bool ecn_check(const struct ecn *e)
{
	if (e->state > ECN_FAILED || e->test_acked + e->test_lost > e->test_sent)
		return false;
	if (e->state == ECN_TESTING && e->test_sent >= ECN_TEST_PACKETS)
		return false;
	return e->test_ce <= e->test_acked && (!e->is_silent || e->state == ECN_UNKNOWN);
}

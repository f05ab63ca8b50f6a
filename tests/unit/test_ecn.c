/* SPDX-License-Identifier: MIT */

/*
 * Goal: marked packets leave where the network carries the mark and nowhere else; congestion is
 * told to the path that has it; nothing that a peer or a network counts breaks more than one path's
 * marks. Method: stories of packets and ACKs against one path and two; the same over a pair of
 * endpoints whose network clears, drops, sets or fakes the field; 20,000 random events with
 * ecn_check() after each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/endpoint_pair.h"
#include "tunnel/ecn.h"
#include "tunnel/recovery.h"

enum { A = 0, B = 1 };

/* ---- one path ---- */

struct story {
	struct ecn path;
	struct ecn_ledger ledger;
	struct wire_ecn counts; /* of the peer */
	uint64_t next;
};

static void begin(struct story *s)
{
	*s = (struct story){ .next = 100 };
	ecn_init(&s->path, false);
}

/* Sends @count packets as the path wishes; returns the number of the first. */
static uint64_t send(struct story *s, unsigned count)
{
	uint64_t first = s->next;

	for (unsigned i = 0; i < count; i++) {
		if (ecn_mark(&s->path) == ECN_ECT0)
			ecn_on_sent(&s->path, s->next);
		s->next++;
		assert_true(ecn_check(&s->path));
	}
	return first;
}

/* An ACK of [from, to), all of which were marked or not. Return: CE. */
static uint64_t ack(struct story *s, uint64_t from, uint64_t to, bool marked)
{
	struct ecn_news news;
	uint64_t ce;

	for (uint64_t n = from; n < to; n++)
		ecn_on_acked(&s->path, n, marked);
	ecn_ledger_read(&s->ledger, to - 1, &s->counts, &news);
	ce = ecn_on_news(&s->path, &news, ecn_claims(&s->path));
	assert_true(ecn_check(&s->path));
	return ce;
}

/* One more packet, marked if the path wishes it, and its ACK. */
static uint64_t one_more(struct story *s)
{
	bool marked = ecn_mark(&s->path) == ECN_ECT0;
	uint64_t number = send(s, 1);

	return ack(s, number, number + 1, marked);
}

static void become_capable(struct story *s)
{
	uint64_t first;

	begin(s);
	first = send(s, ECN_TEST_PACKETS);
	s->counts.ect0 += ECN_TEST_PACKETS;
	assert_int_equal(ack(s, first, s->next, true), 0);
	assert_int_equal(s->path.state, ECN_CAPABLE);
}

static void ten_packets_are_marked_until_one_is_counted(void **state)
{
	struct story s;
	uint64_t first;

	(void)state;
	begin(&s);
	assert_int_equal(ecn_mark(&s.path), ECN_ECT0);
	first = send(&s, ECN_TEST_PACKETS - 1);
	assert_int_equal(ecn_mark(&s.path), ECN_ECT0);
	(void)send(&s, 1);
	assert_int_equal(ecn_mark(&s.path), ECN_NOT_ECT);
	s.counts.ect0 = 1;
	assert_int_equal(ack(&s, first, first + 1, true), 0);
	assert_int_equal(ecn_mark(&s.path), ECN_ECT0);
	assert_int_equal(s.path.state, ECN_CAPABLE);
	/* The rest of the test arrives, too. */
	s.counts.ect0 = ECN_TEST_PACKETS;
	(void)ack(&s, first + 1, s.next, true);
	assert_int_equal(s.path.state, ECN_CAPABLE);
}

static void through_a_relay_nothing_is_marked(void **state)
{
	struct story s;

	(void)state;
	begin(&s);
	ecn_init(&s.path, true);
	assert_int_equal(ecn_mark(&s.path), ECN_NOT_ECT);
	ecn_restart(&s.path);
	ecn_on_timeout(&s.path, 5);
	ecn_on_left(&s.path);
	assert_int_equal(one_more(&s), 0);
	assert_int_equal(s.path.state, ECN_OFF);
}

static void counts_judge(void **state)
{
	static const struct {
		const char *what;
		struct wire_ecn counts;
		enum ecn_state then;
		uint64_t ce;
	} rows[] = {
		{ "all are counted", { 16, 0, 0 }, ECN_CAPABLE, 0 },
		{ "one is marked as congestion", { 15, 0, 1 }, ECN_CAPABLE, 1 },
		{ "all are", { 10, 0, 6 }, ECN_CAPABLE, 6 },
		{ "more than was acknowledged", { 30, 0, 0 }, ECN_CAPABLE, 0 },
		{ "more congestion than packets", { 16, 0, 9 }, ECN_CAPABLE, 6 },
		{ "one was cleared", { 15, 0, 0 }, ECN_FAILED, 0 },
		{ "all were cleared", { 10, 0, 0 }, ECN_FAILED, 0 },
		{ "an ACK without counts", { 0, 0, 0 }, ECN_FAILED, 0 },
		{ "a count fell", { 9, 0, 10 }, ECN_FAILED, 0 },
		{ "the other codepoint", { 16, 1, 0 }, ECN_FAILED, 0 },
		{ "as much as a frame can say",
		  { UINT64_MAX >> 2, 0, UINT64_MAX >> 2 },
		  ECN_CAPABLE,
		  6 },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct story s;
		uint64_t first;

		print_message("%s\n", rows[i].what);
		become_capable(&s);
		first = send(&s, 6);
		s.counts = rows[i].counts;
		assert_int_equal(ack(&s, first, s.next, true), rows[i].ce);
		assert_int_equal(s.path.state, rows[i].then);
		if (rows[i].then == ECN_FAILED) {
			/* For good, whatever is counted, until the network changes. */
			assert_int_equal(ecn_mark(&s.path), ECN_NOT_ECT);
			s.counts.ect0 += 100;
			assert_int_equal(one_more(&s), 0);
			assert_int_equal(ecn_mark(&s.path), ECN_NOT_ECT);
			ecn_restart(&s.path);
			assert_int_equal(ecn_mark(&s.path), ECN_ECT0);
		}
	}
}

/* RFC 9000, 13.4.2.1: "Validating ECN counts from reordered ACK frames can result in failure." */
static void an_old_ack_proves_nothing(void **state)
{
	struct story s;
	uint64_t first;

	(void)state;
	become_capable(&s);
	first = send(&s, 6);
	s.counts.ect0 += 6;
	(void)ack(&s, first + 3, s.next, true);
	s.counts.ect0 -= 3;
	assert_int_equal(ack(&s, first, first + 3, true), 0);
	assert_int_equal(s.path.state, ECN_CAPABLE);
	/* Nor does what it left over excuse the next one. */
	s.counts.ect0 += 3;
	assert_int_equal(one_more(&s), 0);
	assert_int_equal(s.path.state, ECN_FAILED);
}

static void a_network_that_drops_marks(void **state)
{
	struct story s;
	uint64_t first;

	(void)state;
	begin(&s);
	first = send(&s, 3);
	ecn_on_timeout(&s.path, 1); /* the probe is to leave unmarked */
	assert_int_equal(ecn_mark(&s.path), ECN_NOT_ECT);
	assert_int_equal(one_more(&s), 0);
	assert_int_equal(s.path.state, ECN_UNKNOWN);
	for (unsigned i = 0; i < 3; i++)
		assert_true(ecn_on_lost(&s.path, first + i, true));
	assert_int_equal(s.path.state, ECN_FAILED);
	assert_false(ecn_on_lost(&s.path, first + 3, false));
}

static void losses_alone_are_not_that(void **state)
{
	struct story s;
	uint64_t first;

	(void)state;
	begin(&s);
	first = send(&s, ECN_TEST_PACKETS);
	for (unsigned i = 0; i < ECN_TEST_PACKETS - 1; i++)
		(void)ecn_on_lost(&s.path, first + i, true);
	assert_int_equal(s.path.state, ECN_UNKNOWN);
	s.counts.ect0 = 1;
	(void)ack(&s, s.next - 1, s.next, true);
	assert_int_equal(s.path.state, ECN_CAPABLE);
	/* Of a path that works any number may be lost. */
	first = send(&s, 50);
	for (unsigned i = 0; i < 50; i++)
		assert_false(ecn_on_lost(&s.path, first + i, true));
	assert_int_equal(s.path.state, ECN_CAPABLE);
}

static void a_network_that_marks_everything(void **state)
{
	struct story s;
	uint64_t first;

	(void)state;
	begin(&s);
	first = send(&s, ECN_TEST_PACKETS);
	s.counts.ce = 4;
	assert_int_equal(ack(&s, first, first + 4, true), 0);
	assert_int_equal(s.path.state, ECN_UNKNOWN);
	assert_false(ecn_on_lost(&s.path, first + 4, true));
	s.counts.ce = 9;
	assert_int_equal(ack(&s, first + 5, s.next, true), 0);
	assert_int_equal(s.path.state, ECN_FAILED);

	/* One packet that is not makes it congestion. */
	begin(&s);
	first = send(&s, ECN_TEST_PACKETS);
	s.counts = (struct wire_ecn){ 1, 0, 9 };
	assert_int_equal(ack(&s, first, s.next, true), 9);
	assert_int_equal(s.path.state, ECN_CAPABLE);
}

static void silence_is_tried_without_marks(void **state)
{
	struct story s;

	(void)state;
	become_capable(&s);
	ecn_on_timeout(&s.path, 1);
	assert_int_equal(ecn_mark(&s.path), ECN_ECT0);
	(void)send(&s, 2);
	ecn_on_timeout(&s.path, 2);
	assert_int_equal(ecn_mark(&s.path), ECN_NOT_ECT);
	/* An outage: the first thing to arrive brings a new test. */
	assert_int_equal(one_more(&s), 0);
	assert_int_equal(s.path.state, ECN_TESTING);

	/* The marked one arrived after all: nothing was wrong. */
	become_capable(&s);
	ecn_on_timeout(&s.path, 2);
	s.counts.ect0++;
	(void)ack(&s, s.next, s.next + 1, true);
	assert_int_equal(s.path.state, ECN_CAPABLE);
}

static void a_test_without_result_is_made_again(void **state)
{
	struct story s;
	struct ecn_news news;

	(void)state;
	/* Its flight was taken back. */
	begin(&s);
	(void)send(&s, ECN_TEST_PACKETS);
	ecn_on_left(&s.path);
	assert_int_equal(s.path.state, ECN_TESTING);
	(void)send(&s, ECN_TEST_PACKETS);
	assert_int_equal(s.path.state, ECN_UNKNOWN);

	/* Another path's packets shared all of its ACKs, and too few were counted. */
	begin(&s);
	for (uint64_t n = send(&s, ECN_TEST_PACKETS); n < s.next; n++)
		ecn_on_acked(&s.path, n, true);
	ecn_ledger_read(&s.ledger, s.next - 1, &s.counts, &news);
	assert_int_equal(ecn_on_news(&s.path, &news, ECN_TEST_PACKETS + 1), 0);
	assert_int_equal(s.path.state, ECN_TESTING);
}

/* ---- two paths in one ACK ---- */

static void what_two_paths_share_condemns_neither(void **state)
{
	static const struct {
		const char *what;
		struct wire_ecn more;
		enum ecn_state then;
		uint64_t ce[2];
	} rows[] = {
		{ "all are counted", { 10, 0, 0 }, ECN_CAPABLE, { 0, 0 } },
		{ "some are not", { 9, 0, 0 }, ECN_CAPABLE, { 0, 0 } },
		{ "congestion", { 7, 0, 3 }, ECN_CAPABLE, { 3, 0 } },
		{ "of both", { 1, 0, 9 }, ECN_CAPABLE, { 4, 5 } },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct story s[2];
		struct ecn_news news;
		uint64_t claims;

		print_message("%s\n", rows[i].what);
		become_capable(&s[0]);
		become_capable(&s[1]);
		for (uint64_t n = 200; n < 210; n++)
			ecn_on_acked(&s[n >= 204].path, n, true);
		s[0].counts.ect0 += rows[i].more.ect0;
		s[0].counts.ce += rows[i].more.ce;
		ecn_ledger_read(&s[0].ledger, 209, &s[0].counts, &news);
		claims = ecn_claims(&s[0].path) + ecn_claims(&s[1].path);
		assert_int_equal(claims, 10);
		for (unsigned k = 0; k < 2; k++) {
			assert_int_equal(ecn_on_news(&s[k].path, &news, claims), rows[i].ce[k]);
			assert_int_equal(s[k].path.state, rows[i].then);
		}
	}
}

static void random_events(void **state)
{
	struct rng_seeded seeded;
	struct rng rng;
	struct story s;

	(void)state;
	rng_seeded_init(&seeded, 7);
	rng = rng_from_seeded(&seeded);
	begin(&s);
	for (unsigned i = 0; i < 20000; i++) {
		uint64_t n = s.next - rng_below(&rng, 40);

		switch (rng_below(&rng, 9)) {
		case 0:
			(void)ecn_on_lost(&s.path, n, rng_below(&rng, 2));
			break;
		case 1:
			ecn_on_timeout(&s.path, (uint32_t)rng_below(&rng, 4));
			break;
		case 2:
			if (rng_below(&rng, 10) == 0)
				ecn_restart(&s.path);
			break;
		case 3:
			ecn_on_left(&s.path);
			break;
		case 4:
			s.counts.ce += rng_below(&rng, 5);
			s.counts.ect1 += rng_below(&rng, 50) == 0;
			break;
		case 5:
			(void)ack(&s, n, n + rng_below(&rng, 20) + 1, rng_below(&rng, 2));
			break;
		default:
			(void)send(&s, (unsigned)rng_below(&rng, 30));
			s.counts.ect0 += rng_below(&rng, 30);
			break;
		}
		assert_true(ecn_check(&s.path));
	}
}

/* ---- a pair of endpoints ---- */

static struct pair p;
static uint64_t marks;

static struct path *active(unsigned side)
{
	return paths_active(&pair_session(&p, side)->paths);
}

static bool as_it_is(struct pair *pair, struct pair_datagram *d)
{
	(void)pair;
	marks += d->ecn == ECN_ECT0;
	return false;
}

static bool clears(struct pair *pair, struct pair_datagram *d)
{
	(void)as_it_is(pair, d);
	d->ecn = ECN_NOT_ECT;
	return false;
}

static bool drops(struct pair *pair, struct pair_datagram *d)
{
	(void)as_it_is(pair, d);
	return d->ecn != ECN_NOT_ECT;
}

static bool sets_everywhere(struct pair *pair, struct pair_datagram *d)
{
	(void)as_it_is(pair, d);
	d->ecn = ECN_CE;
	return false;
}

static bool sets_one_in(struct pair *pair, struct pair_datagram *d)
{
	if (d->ecn == ECN_ECT0 && d->size > 1000 && rng_below(&pair->rng, pair->arg) == 0)
		d->ecn = ECN_CE;
	return false;
}

static void a_network_decides(void **state)
{
	static const struct {
		const char *what;
		bool (*filter)(struct pair *p, struct pair_datagram *d);
		enum ecn_state then;
	} rows[] = {
		{ "carries marks", as_it_is, ECN_CAPABLE },
		{ "clears them", clears, ECN_FAILED },
		{ "drops what has one", drops, ECN_FAILED },
		{ "sets all bits", sets_everywhere, ECN_FAILED },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct pair_flow *f;

		print_message("%s\n", rows[i].what);
		pair_init(&p, 40 + i);
		p.filter = rows[i].filter;
		pair_start(&p);
		assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
		f = pair_open(&p, A, 300000);
		pair_run(&p, CV_SEC(3));
		assert_true(pair_is_echoed(f));
		assert_int_equal(active(A)->ecn.state, rows[i].then);
		assert_int_equal(active(B)->ecn.state, rows[i].then);
		marks = 0;
		(void)pair_open(&p, A, 100000);
		pair_run(&p, CV_SEC(1));
		assert_true((marks > 60) == (rows[i].then == ECN_CAPABLE));
		assert_true(marks == 0 || rows[i].then == ECN_CAPABLE);
		pair_deinit(&p);
	}
}

/* What drops marks costs one probe timeout, no more. */
static void a_request_over_a_network_that_drops_marks(void **state)
{
	struct pair_flow *f;

	(void)state;
	pair_init(&p, 50);
	p.filter = drops;
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	f = pair_open(&p, A, 500);
	pair_run(&p, CV_MS(800));
	assert_true(pair_is_echoed(f));
	/* Nor is it taken for congestion. */
	assert_true(pair_session(&p, A)->lost_packets > 0);
	assert_true(active(A)->cc.cwnd >= (uint64_t)CC_INITIAL_PACKETS * WIRE_DATAGRAM_BASE);
	assert_int_equal(active(A)->cc.cubic.ssthresh, UINT64_MAX);
	pair_deinit(&p);
}

static void congestion_slows_down_and_loses_nothing(void **state)
{
	uint64_t before;

	(void)state;
	pair_init(&p, 51);
	p.filter = as_it_is;
	p.sinks = true;
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	pair_run(&p, CV_SEC(2));
	p.is_unchecked = true;
	cc_set_cwnd_max(&active(A)->cc, 400000);
	(void)pair_open(&p, A, 100000000);
	pair_run(&p, CV_MS(500));
	assert_int_equal(active(A)->ecn.state, ECN_CAPABLE);
	before = active(A)->cc.cwnd;
	p.filter = sets_one_in;
	p.arg = 20;
	pair_run(&p, CV_MS(25));
	assert_true(active(A)->cc.cwnd < before);
	pair_run(&p, CV_SEC(1));
	assert_true(active(A)->cc.cwnd < before / 2);
	assert_int_equal(active(A)->ecn.state, ECN_CAPABLE);
	assert_int_equal(pair_session(&p, A)->lost_packets, 0);
	pair_deinit(&p);
}

/* A path that starts to drop marks while data flow. */
static void a_route_that_turns_bad(void **state)
{
	struct pair_flow *f;

	(void)state;
	pair_init(&p, 52);
	p.filter = as_it_is;
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	(void)pair_open(&p, A, 100000);
	pair_run(&p, CV_SEC(2));
	assert_int_equal(active(A)->ecn.state, ECN_CAPABLE);
	p.filter = drops;
	f = pair_open(&p, A, 100000);
	pair_run(&p, CV_SEC(3));
	assert_true(pair_is_echoed(f));
	assert_int_equal(active(A)->ecn.state, ECN_FAILED);

	/* Another network: tested again. */
	p.filter = as_it_is;
	path_restart(active(A), p.now);
	(void)pair_open(&p, A, 100000);
	pair_run(&p, CV_SEC(2));
	assert_int_equal(active(A)->ecn.state, ECN_CAPABLE);
	pair_deinit(&p);
}

/* Whoever begins anew counts from nothing. */
static void another_object(void **state)
{
	(void)state;
	pair_init(&p, 53);
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	(void)pair_open(&p, A, 100000);
	pair_run(&p, CV_SEC(2));
	assert_int_equal(active(A)->ecn.state, ECN_CAPABLE);
	active(A)->ecn.state = ECN_FAILED;
	pair_stop_side(&p, B, true);
	pair_start_side(&p, B);
	pair_run(&p, CV_SEC(10));
	assert_int_equal(p.side[A].ups, 2);
	(void)pair_open(&p, A, 100000);
	pair_run(&p, CV_SEC(2));
	assert_int_equal(active(A)->ecn.state, ECN_CAPABLE);
	pair_deinit(&p);
}

static void a_path_that_is_given_up(void **state)
{
	struct session *s;

	(void)state;
	pair_init(&p, 54);
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	pair_run(&p, CV_SEC(2));
	s = pair_session(&p, A);
	p.is_cut[A][PAIR_PUBLIC] = true;
	ecn_restart(&active(A)->ecn);
	for (unsigned i = 0; i < 4; i++)
		(void)pair_open(&p, A, 8000);
	pair_run(&p, CV_MS(15)); /* as paced */
	assert_int_equal(active(A)->ecn.state, ECN_UNKNOWN);
	recovery_take_back(s, p.now, s->paths.active);
	assert_int_equal(active(A)->ecn.state, ECN_TESTING);
	active(A)->ecn.state = ECN_FAILED;
	path_fail(active(A), p.now);
	assert_int_equal(active(A)->ecn.state, ECN_TESTING);
	pair_deinit(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ten_packets_are_marked_until_one_is_counted),
		cmocka_unit_test(through_a_relay_nothing_is_marked),
		cmocka_unit_test(counts_judge),
		cmocka_unit_test(an_old_ack_proves_nothing),
		cmocka_unit_test(a_network_that_drops_marks),
		cmocka_unit_test(losses_alone_are_not_that),
		cmocka_unit_test(a_network_that_marks_everything),
		cmocka_unit_test(silence_is_tried_without_marks),
		cmocka_unit_test(a_test_without_result_is_made_again),
		cmocka_unit_test(what_two_paths_share_condemns_neither),
		cmocka_unit_test(random_events),
		cmocka_unit_test(a_network_decides),
		cmocka_unit_test(a_request_over_a_network_that_drops_marks),
		cmocka_unit_test(congestion_slows_down_and_loses_nothing),
		cmocka_unit_test(a_route_that_turns_bad),
		cmocka_unit_test(another_object),
		cmocka_unit_test(a_path_that_is_given_up),
	};

	return cmocka_run_group_tests_name("ecn", tests, NULL, NULL);
}

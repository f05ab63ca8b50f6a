/* SPDX-License-Identifier: MIT */

/*
 * Goal: what is lost comes again, at the pace and on the path that the evidence allows,
 * and nothing is learnt from what proves nothing. Method: a pair of endpoints whose datagrams are
 * lost, late or cut off; the state of paths is read before and after.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/endpoint_pair.h"
#include "tunnel/recovery.h"

enum { A = 0, B = 1, TIMES_MAX = 64 };

static struct pair p;

static void meet(uint64_t seed)
{
	pair_init(&p, seed);
	pair_start(&p);
	assert_true(pair_until(&p, CV_SEC(2), pair_is_up));
	pair_run(&p, CV_SEC(2));
}

static struct path *active(unsigned side)
{
	return paths_active(&pair_session(&p, side)->paths);
}

static bool lose_one_in(struct pair *pair, struct pair_datagram *d)
{
	(void)d;
	return rng_below(&pair->rng, pair->arg) == 0;
}

static void every_byte_arrives_whatever_is_lost(void **state)
{
	static const unsigned one_in[] = { 1000, 100, 20, 5 };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(one_in); i++) {
		struct pair_flow *f;

		print_message("one in %u\n", one_in[i]);
		meet(1 + i);
		p.filter = lose_one_in;
		p.arg = one_in[i];
		f = pair_open(&p, A, 300000);
		pair_run(&p, CV_SEC(60));
		assert_true(pair_is_echoed(f));
		assert_true(one_in[i] > 500 || pair_session(&p, A)->lost_packets > 0);
		pair_deinit(&p);
	}
}

static void nothing_is_lost_where_nothing_is(void **state)
{
	struct pair_flow *f;

	(void)state;
	meet(10);
	f = pair_open(&p, A, 2000000);
	pair_run(&p, CV_SEC(5));
	assert_true(pair_is_echoed(f));
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(pair_session(&p, i)->lost_packets, 0);
		assert_int_equal(active(i)->inflight, 0);
		assert_int_equal(active(i)->rtt.min, 2 * p.delay);
		assert_in_range(active(i)->rtt.smoothed, 2 * p.delay, 2 * p.delay + CV_MS(3));
	}
	pair_deinit(&p);
}

/* One late packet among many is no loss in the end: the window comes back. */
static bool delay_one(struct pair *pair, struct pair_datagram *d)
{
	if (d->sender == A && d->size > 1000 && pair->arg > 0 && --pair->arg == 0)
		d->at += CV_MS(30);
	return false;
}

static void a_late_packet_is_forgiven(void **state)
{
	struct pair_flow *f;
	uint64_t before;

	(void)state;
	meet(11);
	p.is_unchecked = true;
	cc_set_cwnd_max(&active(A)->cc, 400000);
	f = pair_open(&p, A, 40000000);
	pair_run(&p, CV_MS(400));
	before = active(A)->cc.cwnd;
	p.filter = delay_one;
	p.arg = 3;
	pair_run(&p, CV_MS(30));
	assert_int_equal(p.arg, 0);
	assert_true(pair_session(&p, A)->lost_packets > 0);
	assert_true(active(A)->cc.cwnd < before); /* it was taken for lost */
	pair_run(&p, CV_MS(60));
	assert_true(active(A)->cc.cwnd >= before);
	assert_true(active(A)->loss.reorder_threshold > LOSS_REORDER_INITIAL);
	assert_false(f->is_reset);
	pair_deinit(&p);
}

/* RFC 9002, 7.6: what is lost on both sides of three timeouts; and only that. */
static void after_an_outage_the_window_is_small(void **state)
{
	static const struct {
		const char *what;
		cv_duration outage;
		bool is_persistent;
	} rows[] = {
		{ "a moment", CV_MS(60), false },
		{ "three timeouts", CV_SEC(3), true },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		uint64_t min;

		print_message("%s\n", rows[i].what);
		meet(30 + i);
		p.is_unchecked = true;
		p.sinks = true;
		cc_set_cwnd_max(&active(A)->cc, 400000);
		(void)pair_open(&p, A, 400000000);
		pair_run(&p, CV_SEC(1));
		assert_true(active(A)->cc.cwnd > 100000);
		p.is_cut[A][PAIR_PUBLIC] = true;
		pair_run(&p, rows[i].outage);
		p.is_cut[A][PAIR_PUBLIC] = false;
		min = active(A)->cc.cwnd;
		for (unsigned k = 0; k < 2500; k++) {
			pair_run(&p, CV_MS(1));
			min = CV_MIN(min, active(A)->cc.cwnd);
		}
		/* The packet that arrived has let it grow again. */
		assert_true((min <= UINT64_C(2) * CC_MIN_PACKETS * active(A)->cc.mss) ==
		            rows[i].is_persistent);
		assert_int_equal(active(A)->loss.pto_count, 0);
		pair_deinit(&p);
	}
}

static cv_time times[TIMES_MAX];
static unsigned time_count;

static void note_data(struct pair *pair, unsigned side, const struct train *t)
{
	if (side == A && (t->bytes[0] & WIRE_KIND_MASK) == WIRE_DATA && time_count < TIMES_MAX)
		times[time_count++] = pair->now;
}

static void silence_is_asked_ever_more_rarely(void **state)
{
	cv_duration gap, last = 0;

	(void)state;
	meet(12);
	p.is_cut[A][PAIR_PUBLIC] = true;
	time_count = 0;
	p.on_train = note_data;
	(void)pair_open(&p, A, 500);
	pair_run(&p, CV_SEC(25));
	assert_in_range(time_count, 10, TIMES_MAX - 1);
	for (unsigned i = 1; i < time_count; i++) {
		gap = times[i] - times[i - 1];
		if (gap == 0)
			continue; /* two at a time */
		assert_true(gap + CV_MS(1) >= last);
		assert_true(gap <= LOSS_PTO_CAP);
		last = gap;
	}
	assert_true(times[0] < p.now && last == LOSS_PTO_CAP);
	pair_deinit(&p);
}

/* Rule 5.3: from a dead path everything returns at once, without a signal to any controller. */
static void what_a_dead_path_held_is_taken_back(void **state)
{
	struct session *s;
	struct path *old;
	uint64_t cwnd, lost, sendable;
	uint8_t slot;

	(void)state;
	meet(13);
	s = pair_session(&p, A);
	p.is_cut[A][PAIR_PUBLIC] = true;
	(void)pair_open(&p, A, 30000);
	pair_run(&p, CV_MS(12)); /* the pacer lets go of some trains, nobody misses an answer yet */
	old = active(A);
	slot = s->paths.active;
	cwnd = old->cc.cwnd;
	lost = s->lost_packets;
	assert_true(old->inflight > 10000);
	sendable = streams_sendable(s->streams);
	recovery_take_back(s, p.now, slot);
	assert_int_equal(old->inflight, 0);
	assert_int_equal(old->loss.eliciting_count, 0);
	assert_true(streams_sendable(s->streams) > sendable + 10000);
	assert_int_equal(old->cc.cwnd, cwnd);
	assert_int_equal(s->lost_packets, lost);
	assert_true(session_check(s));
	recovery_take_back(s, p.now, slot); /* nothing more */
	p.is_cut[A][PAIR_PUBLIC] = false;
	pair_poke(&p, A);
	pair_run(&p, CV_SEC(1));
	assert_int_equal(p.side[A].flows[0].read, 30000);
	pair_deinit(&p);
}

static void a_fast_sender_wishes_for_fewer_acks(void **state)
{
	(void)state;
	meet(14);
	p.sinks = true;
	assert_in_range(pair_session(&p, B)->acks.threshold, ACKS_THRESHOLD_DEFAULT, 4);
	(void)pair_open(&p, A, 5000000);
	pair_run(&p, CV_MS(400));
	assert_true(pair_session(&p, B)->acks.threshold > 8);
	assert_in_range(pair_session(&p, B)->acks.delay, CV_MS(1), CV_MS(10));
	/* And gets them: one for many. */
	p.side[A].datagrams = p.side[B].datagrams = 0;
	(void)pair_open(&p, A, 5000000);
	pair_run(&p, CV_SEC(3));
	assert_true(p.side[B].datagrams * 4 < p.side[A].datagrams);
	pair_deinit(&p);
}

/* Frames are lost, not packets: what must be known is told again. */
static bool lose_all(struct pair *pair, struct pair_datagram *d)
{
	(void)pair;
	return d->sender == A && (d->bytes[0] & WIRE_KIND_MASK) == WIRE_DATA;
}

static void candidates_that_are_lost_are_told_again(void **state)
{
	struct origin lan;

	(void)state;
	meet(15);
	lan = (struct origin){ .addr = p.side[A].addr[PAIR_LAN] };
	p.side[B].e->core.scope.has_private[2] = true; /* without an address that it could tell */
	p.filter = lose_all;
	endpoint_set_local_addresses(p.side[A].e, p.now, &p.side[A].addr[PAIR_LAN], 1);
	pair_poke(&p, A);
	pair_run(&p, CV_MS(200));
	p.filter = NULL;
	assert_int_equal(paths_find(&pair_session(&p, B)->paths, &lan), PATHS_NONE);
	pair_run(&p, CV_SEC(5));
	assert_int_not_equal(paths_find(&pair_session(&p, B)->paths, &lan), PATHS_NONE);
	pair_deinit(&p);
}

static void one_ack_settles_one_packet_once(void **state)
{
	struct session *s;
	struct wire_frame f = { .type = FRAME_ACK, .ack = { .count = 1 } };
	uint64_t inflight, number;

	(void)state;
	meet(16);
	s = pair_session(&p, A);
	p.is_cut[A][PAIR_PUBLIC] = true;
	(void)pair_open(&p, A, 20000);
	inflight = active(A)->inflight;
	number = sent_next_inflight(&s->sent, s->sent.begin);
	while (sent_find(&s->sent, number)->size != 1472)
		number = sent_next_inflight(&s->sent, number + 1);
	f.ack.ranges[0] = (struct wire_range){ number, number + 1 };
	p.now += CV_MS(20);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(recovery_on_ack(s, p.now, &f), 0);
		recovery_settle(s, p.now);
		assert_int_equal(inflight - active(A)->inflight, 1472);
	}
	assert_int_equal(active(A)->rtt.latest, CV_MS(20));
	assert_true(session_check(s));
	pair_deinit(&p);
}

/* RFC 9002, 5.1: "the largest acknowledged packet number is newly acknowledged". */
static void a_late_packet_is_no_round_trip(void **state)
{
	struct session *s;
	struct wire_frame f = { .type = FRAME_ACK, .ack = { .count = 1 } };
	cv_duration smoothed = 0;
	uint64_t number, lost = 0;

	(void)state;
	meet(18);
	s = pair_session(&p, A);
	p.is_cut[A][PAIR_PUBLIC] = true;
	number = s->sent.next;
	for (unsigned i = 0; i < 3; i++)
		(void)pair_open(&p, A, 300);
	assert_true(s->sent.next >= number + 3);
	for (unsigned i = 0; i < 2; i++) {
		number = sent_next_inflight(&s->sent, i ? number - 1 : number + 1);
		f.ack.ranges[0] = (struct wire_range){ number, number + 1 };
		p.now += i ? CV_MS(1) : CV_MS(20);
		assert_int_equal(recovery_on_ack(s, p.now, &f), 0);
		recovery_settle(s, p.now);
		assert_int_equal(active(A)->rtt.latest, CV_MS(20));
		if (i)
			assert_int_equal(active(A)->rtt.smoothed, smoothed);
		assert_true(i == 0 || s->lost_packets == lost); /* it is not a late one */
		lost = s->lost_packets;
		smoothed = active(A)->rtt.smoothed;
	}
	pair_deinit(&p);
}

/* Rule 8.4: the ACK lay in the socket while we slept. */
static void what_was_slept_over_is_no_round_trip(void **state)
{
	struct wire_frame f = { .type = FRAME_ACK, .ack = { .count = 1 } };
	cv_duration smoothed;
	struct session *s;
	uint64_t number;

	(void)state;
	meet(23);
	s = pair_session(&p, A);
	p.is_cut[A][PAIR_PUBLIC] = true;
	(void)pair_open(&p, A, 300);
	smoothed = active(A)->rtt.smoothed;
	number = sent_next_inflight(&s->sent, s->sent.begin);
	f.ack.ranges[0] = (struct wire_range){ number, number + 1 };
	p.now += CV_SEC(12);
	path_restart(active(A), p.now);
	assert_int_equal(recovery_on_ack(s, p.now, &f), 0);
	recovery_settle(s, p.now);
	assert_int_equal(sent_find(&s->sent, number) ? SENT_INFLIGHT : SENT_ACKED, SENT_ACKED);
	assert_int_equal(active(A)->rtt.smoothed, smoothed);
	pair_deinit(&p);
}

/* With nothing in flight no ACK would come that makes room: the object would stand still for ever.
 */
static void what_is_lost_is_not_kept_at_any_price(void **state)
{
	struct session *s;

	(void)state;
	meet(24);
	s = pair_session(&p, A);
	p.is_cut[A][PAIR_PUBLIC] = true;
	(void)pair_open(&p, A, 20000);
	recovery_take_back(s, p.now, s->paths.active);
	assert_true(s->sent.lost_count > 0);
	p.now += CV_MS(1);
	s->sent.cap_max = s->sent.cap;
	assert_int_equal(sent_reserve(&s->sent, s->sent.cap, 1), -ENOBUFS);
	assert_true(recovery_make_room(s, p.now, s->sent.cap, 1));
	assert_int_equal(s->sent.lost_count, 0);
	assert_true(session_check(s));
	pair_deinit(&p);
}

/* What was lost on a slow path may still come when a fast one is active. */
static void a_late_one_is_known_for_long_enough(void **state)
{
	struct wire_frame f = { .type = FRAME_ACK, .ack = { .count = 2 } };
	const struct origin o = { .addr = addr_v4(198, 51, 100, 99, 9) };
	struct session *s;
	uint64_t number;

	(void)state;
	for (unsigned is_slow = 0; is_slow < 2; is_slow++) {
		meet(22);
		s = pair_session(&p, A);
		p.is_cut[A][PAIR_PUBLIC] = true;
		number = s->sent.next;
		for (unsigned i = 0; i < 5; i++)
			(void)pair_open(&p, A, 300);
		if (is_slow) {
			struct path *slow = &s->paths.list[9];

			path_init(slow, p.now, 9, &o, CC_CUBIC, 1);
			rtt_on_sample(&slow->rtt, CV_MS(500), 0);
			slow->loss.next_number = s->sent.next;
		}
		f.ack.ranges[0] = (struct wire_range){ number + 1, number + 5 };
		f.ack.ranges[1] = (struct wire_range){ s->sent.begin, number };
		for (unsigned i = 0; i < 2; i++) {
			assert_int_equal(recovery_on_ack(s, p.now, &f), 0);
			recovery_settle(s, p.now);
			assert_true(i > 0 || sent_find(&s->sent, number)->state == SENT_LOST);
			p.now += CV_MS(1000);
		}
		assert_true((sent_find(&s->sent, number) != NULL) == (is_slow == 1));
		pair_deinit(&p);
	}
}

/* RFC 9002, 6.2.4: what is new is of use whether or not the old was lost. */
static void a_probe_carries_new_data_if_there_are_any(void **state)
{
	struct streams_stats before, after;
	struct session *s;

	(void)state;
	meet(19);
	s = pair_session(&p, A);
	p.sinks = true;
	cc_set_cwnd_max(&active(A)->cc, 20000);
	(void)pair_open(&p, A, 10000000);
	pair_run(&p, CV_SEC(1));
	p.is_cut[A][PAIR_PUBLIC] = p.is_cut[B][PAIR_PUBLIC] = true;
	pair_run(&p, CV_MS(15)); /* the window is used up */
	streams_stats(s->streams, &before);
	assert_true(before.unsent_bytes > 0);
	while (active(A)->loss.pto_count == 0)
		pair_run(&p, CV_MS(1));
	streams_stats(s->streams, &after);
	assert_true(after.sent_bytes >= before.sent_bytes + 2000);
	pair_deinit(&p);

	/* Else the oldest that is not acknowledged. */
	meet(20);
	s = pair_session(&p, A);
	p.is_cut[A][PAIR_PUBLIC] = true;
	(void)pair_open(&p, A, 500);
	p.side[A].bytes = 0;
	while (active(A)->loss.pto_count == 0)
		pair_run(&p, CV_MS(1));
	assert_true(p.side[A].bytes > 500);
	pair_deinit(&p);
}

/* Backoff is of the network that was silent, not of the one that is there now. */
static void another_network_is_asked_at_once(void **state)
{
	struct pair_flow *f;
	uint64_t data;

	(void)state;
	meet(21);
	p.is_cut[A][PAIR_PUBLIC] = true;
	f = pair_open(&p, A, 500);
	pair_run(&p, CV_SEC(20));
	assert_true(active(A)->loss.pto_count > 4);
	active(A)->ecn.state = ECN_FAILED;
	p.is_cut[A][PAIR_PUBLIC] = false;
	while (loss_pto_at(&active(A)->loss, &active(A)->rtt, true) < p.now + CV_SEC(1))
		pair_run(&p, CV_MS(1));
	data = p.side[A].kinds[WIRE_DATA >> 4];
	endpoint_set_local_addresses(p.side[A].e, p.now, p.side[A].addr, 2);
	pair_poke(&p, A);
	pair_run(&p, CV_MS(1));
	assert_int_equal(p.side[A].kinds[WIRE_DATA >> 4], data + 1);
	assert_in_range(active(A)->ecn.state, ECN_TESTING, ECN_CAPABLE);
	pair_run(&p, 6 * p.delay);
	assert_int_equal(active(A)->loss.pto_count, 0);
	assert_true(pair_is_echoed(f));
	pair_deinit(&p);
}

static void a_lie_changes_nothing(void **state)
{
	struct session *s;
	struct wire_frame f = { .type = FRAME_ACK, .ack = { .count = 1 } };
	uint64_t inflight;

	(void)state;
	meet(17);
	s = pair_session(&p, A);
	p.is_cut[A][PAIR_PUBLIC] = true;
	(void)pair_open(&p, A, 20000);
	inflight = active(A)->inflight;
	f.ack.ranges[0] = (struct wire_range){ s->sent.begin, s->sent.next + 1 };
	assert_true(recovery_on_ack(s, p.now, &f) < 0);
	recovery_settle(s, p.now);
	assert_int_equal(active(A)->inflight, inflight);
	pair_deinit(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_byte_arrives_whatever_is_lost),
		cmocka_unit_test(nothing_is_lost_where_nothing_is),
		cmocka_unit_test(a_late_packet_is_forgiven),
		cmocka_unit_test(after_an_outage_the_window_is_small),
		cmocka_unit_test(silence_is_asked_ever_more_rarely),
		cmocka_unit_test(what_a_dead_path_held_is_taken_back),
		cmocka_unit_test(a_fast_sender_wishes_for_fewer_acks),
		cmocka_unit_test(candidates_that_are_lost_are_told_again),
		cmocka_unit_test(one_ack_settles_one_packet_once),
		cmocka_unit_test(a_late_packet_is_no_round_trip),
		cmocka_unit_test(what_was_slept_over_is_no_round_trip),
		cmocka_unit_test(what_is_lost_is_not_kept_at_any_price),
		cmocka_unit_test(a_late_one_is_known_for_long_enough),
		cmocka_unit_test(a_probe_carries_new_data_if_there_are_any),
		cmocka_unit_test(another_network_is_asked_at_once),
		cmocka_unit_test(a_lie_changes_nothing),
	};

	return cmocka_run_group_tests_name("recovery", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: the window follows RFC 9438 and RFC 9406, and a path is filled without flooding its queue.
 * Method: single events with their arithmetic done by hand, and a link of one queue, in
 * virtual time, driven through the real controller, pacer and RTT estimate.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "base/rng.h"
#include "tunnel/cc.h"
#include "tunnel/pacer.h"

#define MSS UINT64_C(1200)
#define MIB (UINT64_C(1) << 20)
enum { FLIGHT_MAX = 1 << 15 };

/* ---- a link ---- */

struct packet {
	cv_time sent_at;
	cv_time acked_at; /* when the ACK is back; 0: dropped */
	bool is_app_limited;
};

struct link {
	uint64_t rate;      /* bytes per second */
	cv_duration rtt;    /* without queue */
	uint64_t buffer;    /* bytes */
	uint64_t app_rate;  /* bytes per second that the application has; 0: endless */
	cv_duration jitter; /* drawn anew every 5 ms; packets stay in order */

	cv_time now;
	cv_time busy_until; /* when the queue will be empty */
	cv_time last_acked_at, jitter_at;
	cv_duration delay; /* the present jitter */
	struct rng_seeded seeded;
	struct packet flight[FLIGHT_MAX];
	uint64_t begin, next; /* numbers in flight */
	uint64_t inflight;
	uint64_t app_credit;
	cv_time app_at;
	uint64_t acked, dropped, reductions;
	struct cc cc;
	struct pacer pacer;
	struct rtt estimate;
};

static struct link the_link;

static struct link *link_new(uint64_t mbit, cv_duration rtt, uint64_t buffer_percent)
{
	struct link *l = &the_link;

	*l = (struct link){ .rate = mbit * 125000, .rtt = rtt, .now = CV_SEC(1) };
	rng_seeded_init(&l->seeded, rtt);
	l->buffer = l->rate * (rtt / 1000) / 1000000 * buffer_percent / 100;
	l->app_at = l->now;
	cc_init(&l->cc, CC_CUBIC, MSS, 64 * MIB, l->now, 1);
	pacer_init(&l->pacer, l->now);
	rtt_init(&l->estimate);
	rtt_on_sample(&l->estimate, rtt, 0); /* the handshake's */
	return l;
}

static cv_duration link_jitter(struct link *l)
{
	struct rng rng = rng_from_seeded(&l->seeded);

	if (l->jitter && l->now >= l->jitter_at + CV_MS(5)) {
		l->jitter_at = l->now;
		l->delay = rng_below(&rng, l->jitter);
	}
	return l->delay;
}

static void link_set_app(struct link *l, uint64_t rate)
{
	l->app_rate = rate;
	l->app_credit = 0;
	l->app_at = l->now;
}

static void link_send_one(struct link *l, bool is_app_limited)
{
	struct packet *p = &l->flight[l->next % FLIGHT_MAX];
	cv_time start = CV_MAX(l->now, l->busy_until);

	assert_true(l->next - l->begin < FLIGHT_MAX);
	*p = (struct packet){ .sent_at = l->now, .is_app_limited = is_app_limited };
	if ((start - l->now) * l->rate / CV_SEC(1) + MSS > l->buffer) {
		l->dropped++;
	} else {
		l->busy_until = start + MSS * CV_SEC(1) / l->rate;
		p->acked_at = CV_MAX(l->last_acked_at, l->busy_until + l->rtt + link_jitter(l));
		l->last_acked_at = p->acked_at;
	}
	l->cc.ops->on_sent(&l->cc, l->now,
	                   &(struct cc_sent){ .number = l->next,
	                                      .bytes = MSS,
	                                      .inflight_before = l->inflight });
	l->inflight += MSS;
	l->next++;
}

/* Sends what window, pacer and application allow. Return: when to try again. */
static cv_time link_send(struct link *l)
{
	uint64_t budget = pacer_budget(&l->pacer, l->now, UINT64_MAX);
	uint64_t window = l->cc.cwnd > l->inflight ? l->cc.cwnd - l->inflight : 0;
	uint64_t sent = 0;

	if (l->app_rate) {
		l->app_credit += l->app_rate * (l->now - l->app_at) / CV_SEC(1);
		l->app_at = l->now;
	} else {
		l->app_credit = UINT64_MAX / 2;
	}
	while (sent + MSS <= CV_MIN(CV_MIN(budget, window), 65536) && l->app_credit >= MSS) {
		l->app_credit -= MSS;
		link_send_one(l, l->app_credit < MSS);
		sent += MSS;
	}
	pacer_on_sent(&l->pacer, l->now, sent);
	if (sent + MSS > window)
		return CV_TIME_NEVER; /* the next ACK opens it */
	if (l->app_credit < MSS)
		return l->now + CV_MS(1);
	return CV_MAX(pacer_ready_at(&l->pacer, l->now, UINT64_MAX), l->now + 1);
}

/* ACKs come back in batches of a millisecond. */
static cv_time link_ack_at(const struct link *l)
{
	for (uint64_t n = l->begin; n < l->next; n++) {
		cv_time at = l->flight[n % FLIGHT_MAX].acked_at;

		if (at)
			return (at + CV_MS(1) - 1) / CV_MS(1) * CV_MS(1);
	}
	return CV_TIME_NEVER;
}

static void link_on_acks(struct link *l)
{
	struct cc_ack ack = { .inflight_before = l->inflight, .next_number = l->next };
	struct cc_loss loss = { 0 };
	uint64_t before = l->cc.cwnd;

	for (; l->begin < l->next; l->begin++) {
		struct packet *p = &l->flight[l->begin % FLIGHT_MAX];

		if (p->acked_at > l->now)
			break;
		l->inflight -= MSS;
		if (p->acked_at == 0) {
			loss.lost += MSS;
			loss.newest_number = l->begin;
			continue;
		}
		l->acked += MSS;
		ack.acked += MSS;
		ack.newest_number = l->begin;
		ack.rtt_sample = l->now - p->sent_at;
		ack.is_app_limited = p->is_app_limited;
	}
	if (ack.rtt_sample)
		rtt_on_sample(&l->estimate, ack.rtt_sample, 0);
	if (loss.lost)
		l->cc.ops->on_loss(&l->cc, l->now, &loss, &l->estimate);
	l->reductions += l->cc.cwnd < before;
	if (ack.acked)
		l->cc.ops->on_ack(&l->cc, l->now, &ack, &l->estimate);
	pacer_set_rate(&l->pacer, l->now, l->cc.pacing_rate, MSS);
	assert_true(cc_check(&l->cc));
	assert_true(pacer_check(&l->pacer));
}

static void link_run(struct link *l, cv_duration d)
{
	cv_time end = l->now + d;
	cv_time ack_at, send_at;

	while (l->now < end) {
		send_at = link_send(l);
		ack_at = link_ack_at(l);
		l->now = cv_time_min(cv_time_min(send_at, ack_at), end);
		if (ack_at <= l->now)
			link_on_acks(l);
	}
}

static void a_pipe_is_filled(void **state)
{
	struct link *l = link_new(100, CV_MS(50), 100);
	uint64_t before;

	(void)state;
	link_run(l, CV_SEC(3));
	before = l->acked;
	link_run(l, CV_SEC(30));
	print_message("%u %% of the link, %u dropped\n",
	              (unsigned)((l->acked - before) * 100 / (l->rate * 30)), (unsigned)l->dropped);
	assert_true(l->acked - before >= l->rate * 30 / 100 * 97);
	/* A shallow queue costs some. */
	l = link_new(100, CV_MS(50), 20);
	link_run(l, CV_SEC(33));
	print_message("%u %% with a fifth of the queue, %u dropped\n",
	              (unsigned)(l->acked * 100 / (l->rate * 33)), (unsigned)l->dropped);
	assert_true(l->acked >= l->rate * 33 / 100 * 75);
}

/*
 * The worst phase of doubling reaches the path's capacity just after a round began, so many
 * round-trip times are tried: each moves the phase. The very worst may spill a little.
 */
static void slow_start_ends_before_the_queue_is_full(void **state)
{
	unsigned spilt = 0, tried = 0;

	(void)state;
	for (cv_duration rtt = CV_MS(30); rtt <= CV_MS(210); rtt += CV_MS(7)) {
		struct link *l = link_new(100, rtt, 100);

		link_run(l, CV_SEC(4));
		print_message("%u ms: %u of %u packets dropped, window %u %% of the pipe\n",
		              (unsigned)(rtt / CV_MS(1)), (unsigned)l->dropped,
		              (unsigned)(l->buffer / MSS),
		              (unsigned)(l->cc.cwnd * 100 / l->buffer));
		assert_true(l->dropped * MSS <= l->buffer / 8);
		assert_true(l->cc.cubic.ssthresh < UINT64_MAX);
		assert_in_range(l->cc.cwnd, l->buffer, l->buffer * (l->dropped ? 21 : 16) / 10);
		spilt += l->dropped > 0;
		tried++;
	}
	assert_true(spilt <= tried / 3);
}

/* 25 ms of jitter on 40: slow start must not take it for a queue. */
static void jitter_does_not_end_slow_start(void **state)
{
	struct link *l = link_new(100, CV_MS(40), 200);

	(void)state;
	l->jitter = CV_MS(25);
	link_run(l, CV_SEC(2));
	print_message("window %u %% of the pipe, %u %% of the link used\n",
	              (unsigned)(l->cc.cwnd * 200 / l->buffer),
	              (unsigned)(l->acked * 100 / (l->rate * 2)));
	assert_true(l->cc.cwnd >= l->buffer / 2);
	assert_true(l->acked >= l->rate * 2 / 100 * 75);
}

static void an_idle_application_does_not_grow_the_window(void **state)
{
	struct link *l = link_new(100, CV_MS(50), 100);
	uint64_t window;

	(void)state;
	link_set_app(l, 100000); /* 5 KB a round trip */
	link_run(l, CV_SEC(10));
	assert_int_equal(l->cc.cwnd, CC_INITIAL_PACKETS * MSS);

	link_set_app(l, 0);
	link_run(l, CV_SEC(4));
	window = l->cc.cwnd;
	assert_true(window > 300000);
	link_set_app(l, 100000);
	link_run(l, CV_SEC(30));
	assert_in_range(l->cc.cwnd, window, window + 20 * MSS);
	/* The idle minute was not a minute of the curve. */
	link_set_app(l, 0);
	link_run(l, CV_MS(300));
	assert_true(l->cc.cwnd < window + window / 4);
}

/* ---- single events ---- */

struct fixture {
	struct cc cc;
	struct rtt rtt;
	cv_time now;
	uint64_t number;
};

static void begin(struct fixture *f, cv_duration rtt, uint64_t packets)
{
	*f = (struct fixture){ .now = CV_SEC(1), .number = 100 };
	cc_init(&f->cc, CC_CUBIC, MSS, 64 * MIB, f->now, 1);
	rtt_init(&f->rtt);
	rtt_on_sample(&f->rtt, rtt, 0);
	if (packets)
		f->cc.cwnd = packets * MSS;
}

static void lose(struct fixture *f, uint64_t number, bool is_persistent)
{
	struct cc_loss loss = { .lost = MSS,
		                .newest_number = number,
		                .is_persistent = is_persistent };

	f->cc.ops->on_loss(&f->cc, f->now, &loss, &f->rtt);
	assert_true(cc_check(&f->cc));
}

static void ack(struct fixture *f, uint64_t bytes, uint64_t inflight_before)
{
	uint64_t first = f->number;
	struct cc_ack a = { .acked = bytes,
		            .inflight_before = inflight_before,
		            .rtt_sample = f->rtt.latest };

	f->number += CV_MAX(bytes / MSS, 1);
	for (uint64_t n = first; n < f->number; n++)
		f->cc.ops->on_sent(&f->cc, f->now,
		                   &(struct cc_sent){ .number = n,
		                                      .bytes = MSS,
		                                      .inflight_before = inflight_before });
	a.newest_number = f->number - 1;
	a.next_number = f->number;
	f->cc.ops->on_ack(&f->cc, f->now, &a, &f->rtt);
	assert_true(cc_check(&f->cc));
}

/* One full window acknowledged in ten batches. */
static void round_trip(struct fixture *f)
{
	for (unsigned i = 0; i < 10; i++) {
		f->now += f->rtt.smoothed / 10;
		ack(f, f->cc.cwnd / 10, f->cc.cwnd);
	}
}

static void a_loss_takes_three_tenths_once_a_round(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, CV_MS(50), 1000);
	f.cc.ops->on_sent(&f.cc, f.now, &(struct cc_sent){ .number = 999, .bytes = MSS });
	lose(&f, 100, false);
	assert_int_equal(f.cc.cwnd, 700 * MSS);
	assert_int_equal(f.cc.cubic.ssthresh, 700 * MSS);
	lose(&f, 500, false);
	lose(&f, 999, false);
	assert_int_equal(f.cc.cwnd, 700 * MSS);
	/* Nor does the window grow while the old flight comes in. */
	ack(&f, MSS, f.cc.cwnd);
	assert_int_equal(f.cc.cwnd, 700 * MSS);
	lose(&f, 1000, false);
	assert_int_equal(f.cc.cwnd, 490 * MSS);
	/* Fast convergence: below the old plateau, the new one is lower still. */
	assert_int_equal(f.cc.cubic.w_max, 595 * MSS);
	for (uint64_t n = 2000; n < 2030; n++)
		lose(&f, n, false);
	assert_int_equal(f.cc.cwnd, CC_MIN_PACKETS * MSS);
}

static void mark(struct fixture *f, uint64_t number)
{
	struct cc_ack a = { .acked = MSS,
		            .inflight_before = f->cc.cwnd / 4,
		            .newest_number = number,
		            .next_number = number + 1,
		            .rtt_sample = f->rtt.latest,
		            .ce = 1 };

	f->cc.ops->on_ack(&f->cc, f->now, &a, &f->rtt);
	assert_true(cc_check(&f->cc));
}

/* RFC 8511; and RFC 9002, 7.1: what is marked was not lost, so it cannot turn out not to be. */
static void a_mark_takes_less_once_a_round(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, CV_MS(50), 1000);
	f.cc.cubic.ssthresh = f.cc.cwnd;
	f.cc.ops->on_sent(&f.cc, f.now, &(struct cc_sent){ .number = 999, .bytes = MSS });
	mark(&f, 100);
	assert_int_equal(f.cc.cwnd, 850 * MSS);
	assert_int_equal(f.cc.cubic.ssthresh, 850 * MSS);
	mark(&f, 500);
	lose(&f, 999, false); /* of the same round */
	assert_int_equal(f.cc.cwnd, 850 * MSS);
	f.cc.ops->on_spurious(&f.cc, f.now);
	assert_int_equal(f.cc.cwnd, 850 * MSS);
	mark(&f, 1000);
	assert_int_equal(f.cc.cwnd, 7225 * MSS / 10);
	assert_in_range(f.cc.cubic.w_max, 786 * MSS, 787 * MSS); /* 92.5 % of 850 */

	/* In slow start it is as good as a loss. */
	begin(&f, CV_MS(50), 1000);
	mark(&f, 100);
	assert_int_equal(f.cc.cwnd, 700 * MSS);
	assert_int_equal(f.cc.cubic.ssthresh, 700 * MSS);
}

static void the_curve_returns_to_its_plateau(void **state)
{
	struct fixture f;
	cv_time lost_at;

	(void)state;
	begin(&f, CV_MS(100), 1000);
	lose(&f, f.number, false);
	f.number++;
	lost_at = f.now;
	round_trip(&f);
	/* K = cbrt(300 / 0.4) = 9.085 s */
	assert_in_range(f.cc.cubic.k_ms, 9080, 9086);
	while (f.now < lost_at + CV_SEC(5))
		round_trip(&f);
	/* 1000 - 0.4 * 4.085^3 = 973 */
	assert_in_range(f.cc.cwnd / MSS, 968, 976);
	while (f.now < lost_at + CV_SEC(9))
		round_trip(&f);
	assert_in_range(f.cc.cwnd / MSS, 997, 1001);
	while (f.now < lost_at + CV_SEC(15))
		round_trip(&f);
	/* 1000 + 0.4 * 5.915^3 = 1083 */
	assert_in_range(f.cc.cwnd / MSS, 1072, 1092);
}

static void short_paths_are_fair_to_reno(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, CV_MS(10), 20);
	lose(&f, f.number, false);
	f.number++;
	assert_int_equal(f.cc.cwnd, 14 * MSS);
	for (unsigned i = 0; i < 11; i++)
		round_trip(&f);
	/* 9/17 of a packet a round: 14 + 11 * 0.53 = 19.8, while the cubic is still at 14.6 */
	assert_in_range(f.cc.cwnd / MSS, 19, 20);
	for (unsigned i = 0; i < 10; i++)
		round_trip(&f);
	assert_in_range(f.cc.cwnd / MSS, 28, 31);
}

static void a_mistake_is_undone(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, CV_MS(50), 1000);
	lose(&f, f.number, false);
	f.cc.ops->on_spurious(&f.cc, f.now);
	assert_int_equal(f.cc.cwnd, 1000 * MSS);
	assert_int_equal(f.cc.cubic.ssthresh, UINT64_MAX);
	assert_int_equal(f.cc.cubic.w_max, 0);
	/* Once. */
	f.cc.cwnd = 500 * MSS;
	f.cc.ops->on_spurious(&f.cc, f.now);
	assert_int_equal(f.cc.cwnd, 500 * MSS);
	/* Slow start goes on. */
	f.number++;
	ack(&f, 100 * MSS, 500 * MSS);
	assert_int_equal(f.cc.cwnd, 600 * MSS);
}

static void after_an_outage_it_starts_over(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, CV_MS(50), 1000);
	lose(&f, f.number, true);
	assert_int_equal(f.cc.cwnd, CC_MIN_PACKETS * MSS);
	assert_int_equal(f.cc.cubic.ssthresh, 700 * MSS);
	/* The second timeout of the same outage does not forget the window before it. */
	f.number += 10;
	lose(&f, f.number, true);
	assert_int_equal(f.cc.cubic.ssthresh, 700 * MSS);
	f.number++;
	for (unsigned i = 0; i < 9; i++)
		round_trip(&f);
	assert_int_equal(f.cc.cwnd >= 700 * MSS, true);
	assert_in_range(f.cc.cwnd / MSS, 700, 720);
}

static void idleness_fades_the_window(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, CV_MS(50), 1000);
	f.cc.cubic.ssthresh = 600 * MSS;
	f.cc.ops->on_idle(&f.cc, f.now, CV_MS(900));
	assert_int_equal(f.cc.cwnd, 1000 * MSS);
	f.cc.ops->on_idle(&f.cc, f.now, CV_SEC(2));
	assert_int_equal(f.cc.cwnd, 250 * MSS);
	assert_int_equal(f.cc.cubic.ssthresh, 750 * MSS);
	f.cc.ops->on_idle(&f.cc, f.now, UINT64_MAX);
	assert_int_equal(f.cc.cwnd, CC_INITIAL_PACKETS * MSS);
	f.cc.cwnd = 8 * MSS;
	f.cc.ops->on_idle(&f.cc, f.now, UINT64_MAX);
	assert_int_equal(f.cc.cwnd, 8 * MSS);
}

static void a_lan_is_not_paced(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, CV_US(200), 0);
	ack(&f, MSS, MSS);
	assert_int_equal(f.cc.pacing_rate, 0);
	assert_int_equal(f.cc.cwnd, 256 * MSS);
	/* The scheduler's delays are no queue: slow start goes on whatever the samples say. */
	for (unsigned i = 0; i < 200; i++) {
		f.rtt.latest = CV_US(200) + CV_MS(i / 10);
		ack(&f, 10 * MSS, f.cc.cwnd);
	}
	assert_int_equal(f.cc.cubic.ssthresh, UINT64_MAX);
	for (unsigned i = 0; i < 40; i++)
		lose(&f, f.number++, false);
	assert_int_equal(f.cc.cwnd, 256 * MSS);
	assert_int_equal(f.cc.pacing_rate, 0);
}

static void the_rate_follows_the_window(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, CV_MS(100), 0);
	/* Before any ACK: the initial window twice per initial RTT. */
	assert_int_equal(f.cc.pacing_rate, UINT64_C(20) * CC_INITIAL_PACKETS * MSS);
	ack(&f, MSS, f.cc.cwnd);
	assert_int_equal(f.cc.pacing_rate, UINT64_C(20) * f.cc.cwnd);
	lose(&f, f.number, false);
	assert_int_equal(f.cc.pacing_rate, f.cc.cwnd * 25 / 2);
}

static void limits_hold(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f, CV_MS(50), 1000);
	cc_set_cwnd_max(&f.cc, 100 * MSS);
	assert_int_equal(f.cc.cwnd, 100 * MSS);
	for (unsigned i = 0; i < 5; i++)
		round_trip(&f);
	assert_int_equal(f.cc.cwnd, 100 * MSS);
	cc_set_cwnd_max(&f.cc, 0);
	assert_int_equal(f.cc.cwnd, CC_MIN_PACKETS * MSS);
	/* Four of the largest would not fit into a small receive buffer. */
	cc_set_mss(&f.cc, CC_MSS_MAX);
	assert_int_equal(f.cc.cwnd, UINT64_C(2) * CC_MSS_MAX);
	cc_set_cwnd_max(&f.cc, UINT64_MAX);
	cc_set_mss(&f.cc, 9000);
	assert_int_equal(f.cc.cwnd, UINT64_C(2) * CC_MSS_MAX);
	for (unsigned i = 0; i < 40; i++)
		round_trip(&f);
	assert_int_equal(f.cc.cwnd, CC_CWND_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pipe_is_filled),
		cmocka_unit_test(slow_start_ends_before_the_queue_is_full),
		cmocka_unit_test(jitter_does_not_end_slow_start),
		cmocka_unit_test(an_idle_application_does_not_grow_the_window),
		cmocka_unit_test(a_loss_takes_three_tenths_once_a_round),
		cmocka_unit_test(a_mark_takes_less_once_a_round),
		cmocka_unit_test(the_curve_returns_to_its_plateau),
		cmocka_unit_test(short_paths_are_fair_to_reno),
		cmocka_unit_test(a_mistake_is_undone),
		cmocka_unit_test(after_an_outage_it_starts_over),
		cmocka_unit_test(idleness_fades_the_window),
		cmocka_unit_test(a_lan_is_not_paced),
		cmocka_unit_test(the_rate_follows_the_window),
		cmocka_unit_test(limits_hold),
	};

	return cmocka_run_group_tests_name("cubic", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT */

/*
 * Goal: only a later packet of the same path proves a loss, by number or by time; what was
 * wrong once is not done wrong again; the probe timeout backs off within its caps. Method:
 * hand-made flights of packets over one and two paths, the clock set by the test, loss_check()
 * after each step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tunnel/loss.h"

/* Two paths over one number space. */
struct fixture {
	struct sent s;
	struct loss loss[2];
	struct rtt rtt;
};

static void begin(struct fixture *f)
{
	*f = (struct fixture){ 0 };
	sent_init(&f->s, 4096);
	assert_int_equal(sent_reserve(&f->s, 4096, 16), 0);
	loss_init(&f->loss[0], 0, 1, CV_MS(25));
	loss_init(&f->loss[1], 1, 1, CV_MS(25));
	rtt_init(&f->rtt);
	for (unsigned i = 0; i < 100; i++)
		rtt_on_sample(&f->rtt, CV_MS(80), 0);
}

static void check(struct fixture *f)
{
	assert_true(sent_check(&f->s));
	assert_true(loss_check(&f->loss[0], &f->s));
	assert_true(loss_check(&f->loss[1], &f->s));
}

static void send(struct fixture *f, cv_time now, uint8_t path, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		uint64_t n = sent_open(&f->s);

		sent_commit(&f->s, now, path, 1, 1200, true, false);
		loss_on_sent(&f->loss[path], now, n, true, false);
	}
	check(f);
}

static void ack(struct fixture *f, uint64_t number)
{
	struct sent_record *r = sent_find(&f->s, number);
	struct loss *l = &f->loss[r->path];

	if (r->state == SENT_LOST) {
		loss_on_spurious(l, number, 0, 100);
	} else {
		loss_on_gone(l, r);
		loss_on_acked(l, &f->rtt, number, r);
		loss_on_answer(l);
	}
	sent_settle(&f->s, r, number, SENT_ACKED);
	check(f);
}

/* Settles the lost ones of @path. Return: how many; they must be the oldest in flight. */
static unsigned lose(struct fixture *f, cv_time now, uint8_t path)
{
	struct loss *l = &f->loss[path];
	uint64_t number = l->scan_from;
	struct sent_record *r;
	unsigned count = 0;

	while ((r = loss_next(l, &f->s, &f->rtt, now, &number)) != NULL) {
		assert_int_equal(r->path, path);
		loss_on_gone(l, r);
		sent_settle(&f->s, r, number, SENT_LOST);
		count++;
	}
	assert_true(l->loss_at > now);
	check(f);
	return count;
}

static void end(struct fixture *f)
{
	sent_deinit(&f->s);
}

static void three_later_ones_prove_a_loss(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	send(&f, CV_SEC(1), 0, 6); /* 0..5 */
	ack(&f, 2);
	assert_int_equal(lose(&f, CV_SEC(1) + CV_MS(80), 0), 0);
	ack(&f, 3);
	assert_int_equal(lose(&f, CV_SEC(1) + CV_MS(80), 0), 1); /* 0 */
	assert_int_equal(sent_find(&f.s, 0)->state, SENT_LOST);
	ack(&f, 4);
	assert_int_equal(lose(&f, CV_SEC(1) + CV_MS(80), 0), 1); /* 1 */
	assert_int_equal(f.loss[0].loss_at, CV_TIME_NEVER);
	assert_int_equal(f.loss[0].eliciting_count, 1);
	end(&f);
}

static void time_proves_the_rest(void **state)
{
	struct fixture f;
	cv_time due = CV_SEC(1) + CV_MS(90); /* 80 * 9/8 */

	(void)state;
	begin(&f);
	send(&f, CV_SEC(1), 0, 2);
	ack(&f, 1);
	assert_int_equal(lose(&f, CV_SEC(1) + CV_MS(80), 0), 0);
	assert_in_range(f.loss[0].loss_at, due - 1000, due);
	due = f.loss[0].loss_at;
	assert_int_equal(lose(&f, due - 1, 0), 0);
	assert_int_equal(lose(&f, due, 0), 1);
	assert_int_equal(f.loss[0].loss_at, CV_TIME_NEVER);
	end(&f);
}

static void another_path_proves_nothing(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	send(&f, CV_SEC(1), 0, 10);
	send(&f, CV_SEC(1), 1, 10);
	for (uint64_t n = 10; n < 20; n++)
		ack(&f, n);
	assert_int_equal(lose(&f, CV_SEC(9), 1), 0);
	assert_int_equal(lose(&f, CV_SEC(9), 0), 0);
	/* The scan of the new path does not pass over the old flight again. */
	assert_int_equal(f.loss[1].scan_from, 20);
	assert_int_equal(f.loss[0].eliciting_count, 10);
	/* A slot that was reused is another path. */
	f.loss[1].path = 0;
	f.loss[1].path_age = 2;
	f.loss[1].scan_from = 0;
	f.loss[1].largest_acked = 19;
	assert_int_equal(lose(&f, CV_SEC(9), 1), 0);
	end(&f);
}

static void a_late_packet_moves_the_threshold(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	send(&f, CV_SEC(1), 0, 30);
	for (uint64_t n = 1; n <= 12; n++)
		ack(&f, n);
	assert_int_equal(lose(&f, CV_SEC(1) + CV_MS(80), 0), 1);
	assert_false(loss_is_undone(&f.loss[0]));
	ack(&f, 0);
	assert_true(loss_is_undone(&f.loss[0]));
	assert_int_equal(f.loss[0].reorder_threshold, 13);
	assert_int_equal(f.loss[0].time_eighths, 1);

	/* The same displacement is now tolerated, one more is not. */
	for (uint64_t n = 14; n <= 25; n++)
		ack(&f, n);
	assert_int_equal(lose(&f, CV_SEC(1) + CV_MS(80), 0), 0);
	ack(&f, 26);
	assert_int_equal(lose(&f, CV_SEC(1) + CV_MS(80), 0), 1);

	/* Two windows bound it: beyond one it is out of reach. */
	loss_on_spurious(&f.loss[0], 13, 0, 10);
	assert_int_equal(f.loss[0].reorder_threshold, 14);
	send(&f, CV_SEC(2), 0, 300);
	ack(&f, 320);
	loss_on_spurious(&f.loss[0], 31, 0, 100);
	assert_int_equal(f.loss[0].reorder_threshold, 200);
	end(&f);
}

/* Three packets that are acknowledged after 150 ms where the newest of each flight takes 50. */
static void a_late_age_is_waited_for(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	send(&f, CV_SEC(1), 0, 3);
	ack(&f, 2);
	assert_int_equal(lose(&f, CV_SEC(1) + CV_MS(95), 0), 2);
	loss_on_spurious(&f.loss[0], 0, CV_MS(150), 100);
	send(&f, CV_SEC(2), 0, 2);
	ack(&f, 4);
	assert_int_equal(lose(&f, CV_SEC(2) + CV_MS(168), 0), 0);
	assert_int_equal(lose(&f, CV_SEC(2) + CV_MS(169), 0), 1);
	end(&f);
}

static void a_wrong_clock_is_relaxed_once_a_flight(void **state)
{
	struct fixture f;
	cv_time late = CV_SEC(1) + CV_MS(95);

	(void)state;
	begin(&f);
	send(&f, CV_SEC(1), 0, 3);
	ack(&f, 2);
	assert_int_equal(lose(&f, late, 0), 2);
	ack(&f, 0);
	assert_false(loss_is_undone(&f.loss[0]));
	ack(&f, 1);
	assert_true(loss_is_undone(&f.loss[0]));
	assert_int_equal(f.loss[0].time_eighths, 2);
	for (unsigned i = 0; i < 6; i++) {
		uint64_t n = f.s.next;

		send(&f, CV_SEC(10 * (i + 1)), 0, 2);
		ack(&f, n + 1);
		assert_int_equal(lose(&f, CV_SEC(10 * (i + 1) + 1), 0), 1);
		ack(&f, n);
	}
	assert_int_equal(f.loss[0].time_eighths, 8);
	end(&f);
}

static void the_threshold_decays_when_nothing_is_late(void **state)
{
	struct fixture f;
	cv_time now = CV_SEC(1);

	(void)state;
	begin(&f);
	send(&f, now, 0, 60);
	ack(&f, 40);
	assert_int_equal(lose(&f, now + CV_MS(80), 0), 38);
	ack(&f, 0);
	assert_int_equal(f.loss[0].reorder_threshold, 41);
	for (unsigned i = 0; i < 40; i++) {
		now += CV_MS(80) * 16;
		send(&f, now, 0, 1);
		ack(&f, f.s.next - 1);
	}
	assert_int_equal(f.loss[0].reorder_threshold, LOSS_REORDER_INITIAL);
	end(&f);
}

static void a_tcp_leg_is_given_time(void **state)
{
	struct fixture f;
	cv_time now = CV_SEC(1);

	(void)state;
	begin(&f);
	f.loss[0].is_tcp_leg = true;
	send(&f, now, 0, 100);
	ack(&f, 99);
	assert_int_equal(lose(&f, now + CV_MS(150), 0), 0);
	assert_in_range(f.loss[0].loss_at, now + CV_MS(160) - 1000, now + CV_MS(160));
	assert_in_range(loss_pto_at(&f.loss[0], &f.rtt, true), now + CV_SEC(1), now + CV_SEC(2));
	assert_int_equal(lose(&f, now + CV_MS(160), 0), 99);
	end(&f);
}

static void probes_back_off_to_their_cap(void **state)
{
	struct fixture f;
	cv_time now = CV_SEC(1);
	cv_duration timeout, before = 0;

	(void)state;
	begin(&f);
	assert_int_equal(loss_pto_at(&f.loss[0], &f.rtt, true), CV_TIME_NEVER);
	send(&f, now, 0, 1);
	timeout = loss_pto_at(&f.loss[0], &f.rtt, true) - now;
	assert_int_equal(timeout, rtt_pto(&f.rtt) + CV_MS(25));
	for (unsigned i = 0; i < 100; i++) {
		timeout = loss_pto_at(&f.loss[0], &f.rtt, true) - now;
		assert_true(timeout >= before);
		assert_true(timeout <= LOSS_PTO_CAP);
		before = timeout;
		now += timeout;
		loss_on_pto(&f.loss[0], now);
		check(&f);
	}
	assert_int_equal(before, LOSS_PTO_CAP);
	assert_int_equal(loss_pto_at(&f.loss[0], &f.rtt, false), now + LOSS_PTO_CAP_IDLE);
	ack(&f, 0);
	assert_int_equal(f.loss[0].pto_count, 0);
	assert_int_equal(loss_pto_at(&f.loss[0], &f.rtt, true), CV_TIME_NEVER);
	/* The tail that asked for an ACK does not wait for the peer's delay. */
	loss_on_sent(&f.loss[0], now, 1, true, true);
	assert_int_equal(loss_pto_at(&f.loss[0], &f.rtt, true), now + rtt_pto(&f.rtt));
	end(&f);
}

static void a_restart_forgives_old_silence(void **state)
{
	struct fixture f;
	cv_time wake = CV_SEC(7200);

	(void)state;
	begin(&f);
	send(&f, CV_SEC(1), 0, 3);
	ack(&f, 2);
	assert_int_equal(lose(&f, CV_SEC(1) + CV_MS(80), 0), 0);
	loss_on_pto(&f.loss[0], CV_SEC(2));
	loss_restart(&f.loss[0], wake);
	assert_int_equal(f.loss[0].loss_at, wake);
	assert_int_equal(lose(&f, wake, 0), 0);
	assert_in_range(f.loss[0].loss_at, wake + CV_MS(89), wake + CV_MS(90));
	assert_true(loss_pto_at(&f.loss[0], &f.rtt, true) > wake + CV_MS(80));
	assert_int_equal(lose(&f, wake + CV_MS(90), 0), 2);
	end(&f);
}

/*
 * Random flights over both paths. The naive judge looks at every packet in flight; the
 * module stops at the first survivor and must find the same.
 */
static unsigned naive_count(const struct fixture *f, uint8_t path, cv_time now)
{
	const struct loss *l = &f->loss[path];
	cv_duration base = CV_MAX(f->rtt.smoothed, f->rtt.latest);
	unsigned count = 0;

	for (uint64_t n = f->s.begin; l->has_acked && n < l->largest_acked; n++) {
		const struct sent_record *r = sent_find(&f->s, n);

		if (!r || r->state != SENT_INFLIGHT || r->path != path)
			continue;
		count += l->largest_acked - n >= l->reorder_threshold ||
		         r->sent_at + base + base / 8 * l->time_eighths <= now;
	}
	return count;
}

static void equals_a_naive_judge(void **state)
{
	struct rng_seeded seeded;
	struct rng rng = rng_from_seeded(&seeded);
	struct fixture f;
	cv_time now = CV_SEC(1);

	(void)state;
	begin(&f);
	rng_seeded_init(&seeded, 5);
	for (unsigned i = 0; i < 10000; i++) {
		uint8_t path = (uint8_t)rng_below(&rng, 2);
		uint64_t n = sent_next_inflight(&f.s, f.s.begin + rng_below(&rng, 30));
		unsigned lost;

		now += rng_below(&rng, CV_MS(10));
		if (rng_below(&rng, 3) > 0 && f.s.next - f.s.begin < 200)
			send(&f, now, path, 1 + (unsigned)rng_below(&rng, 4));
		else if (n < f.s.next)
			ack(&f, n);
		lost = naive_count(&f, path, now);
		assert_int_equal(lose(&f, now, path), lost);
		n = f.s.begin;
		if (rng_below(&rng, 4) == 0 && sent_find(&f.s, n) &&
		    sent_find(&f.s, n)->state == SENT_LOST)
			ack(&f, n);
		sent_reclaim(&f.s, now > CV_MS(300) ? now - CV_MS(300) : 0);
	}
	end(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(three_later_ones_prove_a_loss),
		cmocka_unit_test(time_proves_the_rest),
		cmocka_unit_test(another_path_proves_nothing),
		cmocka_unit_test(a_late_packet_moves_the_threshold),
		cmocka_unit_test(a_late_age_is_waited_for),
		cmocka_unit_test(a_wrong_clock_is_relaxed_once_a_flight),
		cmocka_unit_test(the_threshold_decays_when_nothing_is_late),
		cmocka_unit_test(a_tcp_leg_is_given_time),
		cmocka_unit_test(probes_back_off_to_their_cap),
		cmocka_unit_test(a_restart_forgives_old_silence),
		cmocka_unit_test(equals_a_naive_judge),
	};

	return cmocka_run_group_tests_name("loss", tests, NULL, NULL);
}

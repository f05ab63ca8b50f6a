/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

/* Does a link do what it says? No host is in these worlds: datagrams of 972 bytes, 1,000 on the
 * wire, are put into one link by hand. */

enum { SIZE = 972 };

static cv_time pass(struct sim *sim, struct sim_link *l, uint8_t ecn, uint8_t *ecn_out)
{
	struct sim_datagram *d = simnet_new(sim);
	cv_time at;

	d->size = SIZE;
	d->ecn = ecn;
	at = simlink_pass(sim, l, d);
	if (ecn_out)
		*ecn_out = d->ecn;
	simnet_free(sim, d);
	return at;
}

/* How many of @count, one every @gap, get through. */
static unsigned feed(struct sim *sim, struct sim_link *l, unsigned count, cv_duration gap)
{
	unsigned through = 0;

	for (unsigned i = 0; i < count; i++, sim->now += gap)
		through += pass(sim, l, ECN_NOT_ECT, NULL) != CV_TIME_NEVER;
	return through;
}

/* A megabyte a second: a millisecond each. */
static void queues(struct sim *sim)
{
	struct sim_meter m = { 0 };
	struct sim_link l = { .rate = 1000000, .queue = 9000, .delay = CV_MS(7), .meter = &m };
	uint8_t ecn;

	/* One in service, nine that wait behind it when the tenth of them comes. */
	sim_expect(sim, pass(sim, &l, ECN_NOT_ECT, NULL) == sim->now + CV_MS(8));
	sim_expect(sim, feed(sim, &l, 20, 0) == 9);
	sim_expect(sim, l.busy_until == sim->now + CV_MS(10) && m.dropped == 11);
	sim_expect(sim, m.wait_max == CV_MS(9) && m.passed == 10);
	sim_expect(sim, simlink_wait(&m, 500) >= CV_MS(4) && simlink_wait(&m, 500) < CV_US(4300));
	sim_expect(sim, simlink_wait(&m, 1000) == CV_MS(9));
	/* A second of load at the link's rate changes nothing, twice of it drops half. */
	sim_expect(sim, feed(sim, &l, 1000, CV_MS(1)) >= 999);
	sim_expect(sim, feed(sim, &l, 2000, CV_US(500)) <= 1001);
	sim->now = l.busy_until;
	l.mark_queue = 2000;
	for (unsigned i = 0; i < 4; i++) {
		(void)pass(sim, &l, ECN_ECT0, &ecn);
		sim_expect(sim, (ecn == ECN_CE) == (i >= 2));
	}
	(void)pass(sim, &l, ECN_NOT_ECT, &ecn);
	sim_expect(sim, ecn == ECN_NOT_ECT && m.marked == 2);
}

static void polices(struct sim *sim)
{
	struct sim_meter m = { 0 };
	struct sim_link l = { .police_rate = 100000, .police_burst = 20000, .meter = &m };

	sim_expect(sim, feed(sim, &l, 30, 0) == 20 && m.policed == 10);
	/* 100 a second from now on, however many come. */
	sim->now += CV_MS(10);
	sim_expect(sim, feed(sim, &l, 1000, CV_MS(1)) == 100);
	sim->now += CV_SEC(100);
	sim_expect(sim, feed(sim, &l, 30, 0) == 20); /* the bucket is not deeper for that */
}

static void loses(struct sim *sim)
{
	struct sim_link mask = { .drop_mask = 5 }, number = { .drop_number = 3 };
	struct sim_link bursts = { .burst_ppm = 10000, .burst_mean = 8 };
	unsigned through;

	for (unsigned i = 0; i < 130; i++)
		sim_expect(sim, (feed(sim, &mask, 1, 0) == 0) == (i % 64 == 0 || i % 64 == 2));
	for (unsigned i = 1; i < 100; i++)
		sim_expect(sim, (feed(sim, &number, 1, 0) == 0) == (i == 3));
	/* 1 in 100 begins one of 8: 7.4 % */
	through = feed(sim, &bursts, 100000, 0);
	sim_expect(sim, through > 91000 && through < 94000);
}

static void delays(struct sim *sim)
{
	struct sim_link grants = { .delay = CV_MS(3), .grant_interval = CV_MS(20) };
	struct sim_link jitter = { .delay = CV_MS(3), .jitter = CV_MS(20) };
	cv_time last = 0, at;
	unsigned back = 0;

	for (unsigned i = 0; i < 1000; i++, sim->now += CV_US(700)) {
		at = pass(sim, &grants, ECN_NOT_ECT, NULL);
		sim_expect(sim, at % CV_MS(20) == 0 && at >= sim->now + CV_MS(3) &&
		                        at < sim->now + CV_MS(23));
	}
	for (unsigned i = 0; i < 2000; i++, sim->now += CV_US(100)) {
		jitter.keeps_order = i >= 1000;
		at = pass(sim, &jitter, ECN_NOT_ECT, NULL);
		back += at < last;
		sim_expect(sim, i < 1000 || at >= last);
		last = CV_MAX(at, last);
	}
	sim_expect(sim, back > 500);
}

/* The queue is counted in bytes across changes of the rate; a silence is not. */
static void changes(struct sim *sim)
{
	struct sim_link l = { .rate = 1000000, .queue = 10000 }, to = l;
	cv_time begin;

	sim_expect(sim, feed(sim, &l, 8, 0) == 8);
	to.rate = 100000;
	simlink_change_at(sim, sim->now, &l, &to);
	sim_run(sim, 0);
	/* 8,000 bytes leave as fast as before; room for three behind them. */
	sim_expect(sim, feed(sim, &l, 8, 0) == 3);
	sim_expect(sim, l.busy_until == sim->now + CV_MS(38));
	sim_run(sim, CV_SEC(1));
	begin = sim->now;
	to.held_until = begin + CV_SEC(1);
	simlink_change_at(sim, begin, &l, &to);
	sim_run(sim, 0);
	sim_expect(sim, pass(sim, &l, ECN_NOT_ECT, NULL) == begin + CV_MS(1010));
	sim_expect(sim, feed(sim, &l, 20, CV_MS(40)) == 10);
}

const struct sim_case CASES_LINKS[] = {
	{ "link-queues", queues, "serialiser, queue, meter, marks", 0 },
	{ "link-polices", polices, "a token bucket", 0 },
	{ "link-loses", loses, "mask, number, bursts", 0 },
	{ "link-delays", delays, "grants, jitter with and without reordering", 0 },
	{ "link-changes", changes, "rate and silence", 0 },
	{ NULL, NULL, NULL, 0 },
};

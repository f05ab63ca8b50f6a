/* SPDX-License-Identifier: MIT */

/*
 * Goal: every message arrives once and in order, over a pipe that loses, doubles and reorders; and
 * an idle link holds nothing. Method: two links and a pipe of packets whose fate a seed decides.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "tunnel/link.h"

enum { PIPE_MAX = 32, PACKET_MAX = 1100 };

struct pipe {
	struct {
		uint8_t bytes[PACKET_MAX];
		size_t size;
		cv_time at;
	} packets[PIPE_MAX];
	unsigned count;
};

static struct rng_seeded seeded;
static struct rng rng;

/* Everything that @from wants to send goes into the pipe, or is lost. */
static void send(struct link *from, cv_time now, struct pipe *p, unsigned loss)
{
	while (link_has_output(from, now) && p->count < PIPE_MAX) {
		struct wr w = wr_init(p->packets[p->count].bytes, PACKET_MAX);

		if (link_write(from, now, &w) == 0)
			break;
		p->packets[p->count].size = wr_size(&w);
		p->packets[p->count].at = now + CV_MS(rng_below(&rng, 100));
		if (rng_below(&rng, 100) >= loss)
			p->count++;
		assert_true(link_check(from));
	}
}

static void check_next(const struct wire_message *m, uint64_t *next)
{
	assert_int_equal(m->type, MESSAGE_CHANNEL_GONE);
	assert_int_equal(m->channel, *next);
	(*next)++;
}

/* What is due arrives at @to, sometimes twice. */
static void arrive(struct link *to, cv_time now, struct pipe *p, unsigned duplicate, uint64_t *next)
{
	for (unsigned i = 0; i < p->count;) {
		struct rd r = rd_init(p->packets[i].bytes, p->packets[i].size);
		struct wire_frame f;
		struct wire_message m;

		if (p->packets[i].at > now) {
			i++;
			continue;
		}
		while (wire_read_frame(&r, &f) == WIRE_FRAME) {
			if (link_on_frame(to, now, &f, &m))
				check_next(&m, next);
		}
		assert_true(link_check(to));
		if (rng_below(&rng, 100) >= duplicate)
			p->packets[i] = p->packets[--p->count];
	}
}

static void run_lossy(uint64_t seed, unsigned loss, unsigned count)
{
	struct wire_message m = { .type = MESSAGE_CHANNEL_GONE };
	static struct pipe there, back;
	uint64_t queued[2] = { 0 }, taken[2] = { 0 };
	struct link a, b;
	cv_time now = CV_SEC(1);

	there.count = 0;
	back.count = 0;
	rng_seeded_init(&seeded, seed);
	rng = rng_from_seeded(&seeded);
	link_init(&a);
	link_init(&b);
	while (taken[0] < count || taken[1] < count) {
		now += CV_MS(rng_below(&rng, 50));
		assert_true(now < CV_SEC(100000));
		m.channel = queued[0];
		if (queued[0] < count && rng_below(&rng, 2) && link_send(&a, &m) == 0)
			queued[0]++;
		m.channel = queued[1];
		if (queued[1] < count && rng_below(&rng, 2) && link_send(&b, &m) == 0)
			queued[1]++;
		send(&a, now, &there, loss);
		send(&b, now, &back, loss);
		arrive(&b, now, &there, 20, &taken[0]);
		arrive(&a, now, &back, 20, &taken[1]);
		/* No message waits without a timer: else it would wait for ever. */
		if (a.sent_seq != a.acked_seq)
			assert_int_not_equal(link_deadline(&a), CV_TIME_NEVER);
	}
	link_deinit(&a);
	link_deinit(&b);
}

static void messages_arrive_once_and_in_order(void **state)
{
	uint64_t live = cv_alloc_live();

	(void)state;
	for (uint64_t seed = 0; seed < 20; seed++)
		run_lossy(seed, (unsigned)seed * 3, 300);
	assert_int_equal(cv_alloc_live(), live);
}

static void numbers_wrap(void **state)
{
	(void)state;
	run_lossy(99, 5, 70000);
}

static void an_idle_link_holds_nothing(void **state)
{
	struct wire_message m = { .type = MESSAGE_CHANNEL_GONE };
	struct wire_frame ack = { .type = FRAME_MESSAGE_ACK };
	uint64_t live = cv_alloc_live();
	uint8_t bytes[PACKET_MAX];
	struct wr w = wr_init(bytes, sizeof(bytes));
	struct link l;

	(void)state;
	link_init(&l);
	assert_false(link_has_output(&l, 0));
	assert_int_equal(link_send(&l, &m), 0);
	assert_true(link_has_output(&l, 0));
	assert_true(link_write(&l, 0, &w) > 0);
	assert_false(link_has_output(&l, 0));
	ack.message_ack.next = 1;
	assert_false(link_on_frame(&l, 0, &ack, &m));
	assert_int_equal(cv_alloc_live(), live);
	assert_int_equal(link_deadline(&l), CV_TIME_NEVER);
	link_deinit(&l);
}

static void repeats_slow_down(void **state)
{
	static const unsigned after_ms[] = { 250, 500, 1000, 2000, 2000, 2000 };
	struct wire_message m = { .type = MESSAGE_CHANNEL_GONE };
	struct link l;
	cv_time now = CV_SEC(1);
	uint8_t bytes[PACKET_MAX];

	(void)state;
	link_init(&l);
	assert_int_equal(link_send(&l, &m), 0);
	for (unsigned i = 0; i < CV_ARRAY_SIZE(after_ms); i++) {
		struct wr w = wr_init(bytes, sizeof(bytes));

		assert_true(link_write(&l, now, &w) > 0);
		assert_int_equal(link_deadline(&l), now + CV_MS(after_ms[i]));
		assert_false(link_has_output(&l, link_deadline(&l) - 1));
		now = link_deadline(&l);
		assert_true(link_has_output(&l, now));
	}
	link_deinit(&l);
}

static void only_a_window_is_in_flight(void **state)
{
	struct wire_message m = { .type = MESSAGE_CHANNEL_GONE };
	struct wire_frame ack = { .type = FRAME_MESSAGE_ACK };
	static uint8_t bytes[8 * PACKET_MAX];
	struct wr w = wr_init(bytes, sizeof(bytes));
	struct link l;

	(void)state;
	link_init(&l);
	for (unsigned i = 0; i < LINK_QUEUE_MAX; i++)
		assert_int_equal(link_send(&l, &m), 0);
	assert_int_equal(link_send(&l, &m), -ENOBUFS);
	(void)link_write(&l, 0, &w);
	assert_int_equal(l.sent_seq, LINK_WINDOW);
	ack.message_ack.next = LINK_QUEUE_MAX + 1; /* of what was never sent */
	assert_false(link_on_frame(&l, 0, &ack, &m));
	assert_int_equal(l.queued, LINK_QUEUE_MAX);
	ack.message_ack.next = 3;
	assert_false(link_on_frame(&l, 0, &ack, &m));
	assert_int_equal(l.queued, LINK_QUEUE_MAX - 3);
	(void)link_write(&l, 0, &w);
	assert_int_equal(l.sent_seq, LINK_WINDOW + 3);
	assert_true(link_check(&l));
	link_deinit(&l);
}

/* A message of a later version, or nonsense: acknowledged, or it would come for ever. */
static void nonsense_is_taken_and_ignored(void **state)
{
	const uint8_t body[] = { 1, 2, 3 };
	struct wire_frame f = { .type = FRAME_MESSAGE };
	struct wire_message m;
	struct link l;

	(void)state;
	link_init(&l);
	f.message.type = 250;
	f.message.body = body;
	f.message.size = sizeof(body);
	assert_false(link_on_frame(&l, 0, &f, &m));
	assert_int_equal(l.expected_seq, 1);
	assert_true(l.is_ack_due);
	link_deinit(&l);
}

static void without_memory_nothing_changes(void **state)
{
	struct wire_message m = { .type = MESSAGE_CHANNEL_GONE };
	struct link l;

	(void)state;
	link_init(&l);
	cv_alloc_fail_at(1);
	assert_int_equal(link_send(&l, &m), -ENOMEM);
	cv_alloc_fail_at(0);
	assert_true(link_check(&l));
	assert_int_equal(l.next_seq, 0);
	assert_int_equal(link_send(&l, &m), 0);
	link_deinit(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_arrive_once_and_in_order),
		cmocka_unit_test(numbers_wrap),
		cmocka_unit_test(an_idle_link_holds_nothing),
		cmocka_unit_test(repeats_slow_down),
		cmocka_unit_test(only_a_window_is_in_flight),
		cmocka_unit_test(nonsense_is_taken_and_ignored),
		cmocka_unit_test(without_memory_nothing_changes),
	};

	return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}

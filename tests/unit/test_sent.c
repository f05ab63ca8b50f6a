/* SPDX-License-Identifier: MIT */

/*
 * Goal: every number is settled once, notes come back as they were given, a lying ACK
 * is recognised, and nothing but sent_reserve() allocates. Method: rows for the edges; 10,000
 * random operations against an array of plain records; the allocator's counter around
 * a packet's whole life.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "tunnel/sent.h"

enum { MODEL_MAX = 20000 };

static uint64_t send_one(struct sent *s, cv_time now, uint8_t path, unsigned notes)
{
	uint64_t number = sent_open(s);

	for (unsigned i = 0; i < notes; i++)
		sent_note(s, &(struct note){ .tag = NOTE_STREAM, .id = number, .offset = i });
	sent_commit(s, now, path, 1, 1200, true, false);
	return number;
}

/* Acknowledges [begin, end) and returns how many records that settled. */
static unsigned ack(struct sent *s, uint64_t begin, uint64_t end)
{
	struct wire_range one = { .begin = begin, .end = end };
	struct sent_record *r;
	unsigned range = 0, count = 0;
	uint64_t number = 0;

	while ((r = sent_ack_next(s, &one, 1, &range, &number)) != NULL) {
		assert_in_range(number, begin, end - 1);
		assert_ptr_equal(r, sent_find(s, number));
		sent_settle(s, r, number, SENT_ACKED);
		count++;
	}
	return count;
}

static void notes_come_back(void **state)
{
	struct sent s;
	struct sent_record *r;

	(void)state;
	sent_init(&s, 64);
	assert_int_equal(sent_reserve(&s, 3, 300), 0);
	assert_int_equal(send_one(&s, 5, 2, 255), 0);
	assert_int_equal(send_one(&s, 6, 3, 2), 1);

	(void)sent_open(&s);
	sent_note(&s, &(struct note){ .tag = NOTE_PING });
	sent_abort(&s);
	assert_int_equal(sent_open(&s), 2);
	assert_int_equal(sent_notes_left(&s), 255);
	sent_abort(&s);

	r = sent_find(&s, 1);
	assert_non_null(r);
	assert_int_equal(r->path, 3);
	assert_int_equal(r->note_count, 2);
	assert_int_equal(sent_record_note(&s, r, 1)->id, 1);
	assert_int_equal(sent_record_note(&s, r, 1)->offset, 1);
	assert_int_equal(sent_record_note(&s, sent_find(&s, 0), 254)->offset, 254);
	assert_null(sent_find(&s, 2));
	assert_true(sent_check(&s));
	sent_deinit(&s);
	sent_deinit(&s);
}

static void room_is_bounded(void **state)
{
	struct sent s;

	(void)state;
	sent_init(&s, 16);
	assert_int_equal(sent_reserve(&s, 17, 0), -ENOBUFS);
	assert_int_equal(sent_reserve(&s, 1, 513), -ENOBUFS);
	assert_int_equal(sent_reserve(&s, 16, 16), 0);
	for (unsigned i = 0; i < 16; i++)
		(void)send_one(&s, i, 0, 1);
	assert_int_equal(sent_reserve(&s, 1, 0), -ENOBUFS);
	assert_int_equal(ack(&s, 0, 1), 1);
	assert_int_equal(sent_reserve(&s, 1, 0), -ENOBUFS);
	sent_reclaim(&s, 0);
	assert_int_equal(sent_reserve(&s, 1, 1), 0);
	assert_int_equal(send_one(&s, 9, 0, 1), 16);
	assert_int_equal(sent_next_inflight(&s, 0), 1);
	assert_true(sent_check(&s));
	sent_deinit(&s);
}

static void a_failed_reserve_keeps_all(void **state)
{
	struct sent s;

	(void)state;
	for (uint64_t k = 1; k <= 3; k++) {
		sent_init(&s, 1024);
		assert_int_equal(sent_reserve(&s, 2, 2), 0);
		(void)send_one(&s, 0, 0, 1);
		cv_alloc_fail_at(k);
		assert_int_equal(sent_reserve(&s, 500, 500), -ENOMEM);
		cv_alloc_fail_at(0);
		assert_true(sent_check(&s));
		assert_int_equal(sent_record_note(&s, sent_find(&s, 0), 0)->id, 0);
		assert_int_equal(sent_reserve(&s, 500, 500), 0);
		sent_deinit(&s);
	}
	assert_int_equal(cv_alloc_live(), 0);
}

static void lies_are_recognised(void **state)
{
	struct sent s;
	struct wire_range r[2];

	(void)state;
	sent_init(&s, 64);
	assert_int_equal(sent_reserve(&s, 20, 20), 0);
	for (unsigned i = 0; i < 4; i++)
		(void)send_one(&s, i, 0, 1);
	sent_skip(&s); /* 4 */
	for (unsigned i = 0; i < 4; i++)
		(void)send_one(&s, i, 0, 1);
	assert_null(sent_find(&s, 4));

	r[0] = (struct wire_range){ 5, 9 };
	r[1] = (struct wire_range){ 0, 4 };
	assert_false(sent_ack_is_lie(&s, r, 2));
	r[0].end = 10;
	assert_true(sent_ack_is_lie(&s, r, 2));
	r[0] = (struct wire_range){ 4, 9 };
	assert_true(sent_ack_is_lie(&s, r, 2));
	r[0] = (struct wire_range){ 3, 5 };
	assert_true(sent_ack_is_lie(&s, r, 1));

	/* It is still a lie when all around it is settled and forgotten. */
	assert_int_equal(ack(&s, 0, 9), 8);
	sent_reclaim(&s, 0);
	assert_int_equal(s.begin, 9);
	assert_true(sent_ack_is_lie(&s, r, 1));
	sent_deinit(&s);
}

static void a_late_ack_finds_the_lost(void **state)
{
	struct sent s;
	struct sent_record *r;
	struct wire_range one = { 0, 3 };
	unsigned range = 0;
	uint64_t number = 0;

	(void)state;
	sent_init(&s, 16);
	assert_int_equal(sent_reserve(&s, 3, 3), 0);
	for (unsigned i = 0; i < 3; i++)
		(void)send_one(&s, 100 + i, 0, 1);
	sent_settle(&s, sent_find(&s, 0), 0, SENT_LOST);
	assert_int_equal(ack(&s, 1, 2), 1);
	sent_reclaim(&s, 100); /* not sent before 100: kept */
	assert_int_equal(s.begin, 0);

	r = sent_ack_next(&s, &one, 1, &range, &number);
	assert_non_null(r);
	assert_int_equal(number, 0);
	assert_int_equal(r->state, SENT_LOST);
	sent_settle(&s, r, number, SENT_ACKED);
	r = sent_ack_next(&s, &one, 1, &range, &number);
	assert_int_equal(number, 2);
	sent_settle(&s, r, number, SENT_ACKED);
	assert_null(sent_ack_next(&s, &one, 1, &range, &number));
	sent_reclaim(&s, 0);
	assert_int_equal(s.begin, 3);

	/* Too old to come back: forgotten. */
	assert_int_equal(sent_reserve(&s, 1, 1), 0);
	assert_int_equal(send_one(&s, 200, 0, 1), 3);
	sent_settle(&s, sent_find(&s, 3), 3, SENT_LOST);
	sent_reclaim(&s, 201);
	assert_int_equal(s.begin, 4);
	assert_int_equal(s.lost_count, 0);
	assert_true(sent_check(&s));
	sent_deinit(&s);
}

static void the_packet_path_never_allocates(void **state)
{
	struct sent s;
	uint64_t calls, live;

	(void)state;
	sent_init(&s, 1024);
	assert_int_equal(sent_reserve(&s, 100, 400), 0);
	calls = cv_alloc_calls();
	live = cv_alloc_live();
	for (unsigned round = 0; round < 1000; round++) {
		uint64_t first = s.next;

		assert_int_equal(sent_reserve(&s, 100, 400), 0);
		for (unsigned i = 0; i < 99; i++)
			(void)send_one(&s, round, 0, 4);
		sent_skip(&s);
		sent_settle(&s, sent_find(&s, first), first, SENT_LOST);
		assert_int_equal(ack(&s, first + 1, s.next), 98);
		sent_reclaim(&s, round + 1);
	}
	assert_int_equal(cv_alloc_calls(), calls);
	assert_int_equal(cv_alloc_live(), live);
	sent_deinit(&s);
}

/* ---- against a plain array ---- */

struct model {
	struct sent s;
	struct rng rng;
	cv_time now;
	uint8_t state[MODEL_MAX];
	uint8_t notes[MODEL_MAX];
	cv_time sent_at[MODEL_MAX];
};

static struct model model;

static void model_send(struct model *m)
{
	unsigned notes = (unsigned)rng_below(&m->rng, 5);
	int r = sent_reserve(&m->s, 2, notes);
	uint64_t n;

	if (r < 0) {
		assert_int_equal(r, -ENOBUFS);
		assert_true(m->s.next - m->s.begin + 2 > 128);
		return;
	}
	if (rng_below(&m->rng, 20) == 0) {
		m->state[m->s.next] = SENT_NONE;
		sent_skip(&m->s);
	}
	n = send_one(&m->s, m->now, 0, notes);
	m->state[n] = SENT_INFLIGHT;
	m->notes[n] = (uint8_t)notes;
	m->sent_at[n] = m->now;
}

static void model_ack(struct model *m)
{
	uint64_t begin = m->s.begin > 5 ? m->s.begin - 5 : 0;
	uint64_t from = begin + rng_below(&m->rng, m->s.next - begin + 1);
	uint64_t end = from + rng_below(&m->rng, 12);
	unsigned count = 0;

	end = end > m->s.next ? m->s.next : end;
	for (uint64_t n = from > m->s.begin ? from : m->s.begin; n < end; n++) {
		if (m->state[n] == SENT_INFLIGHT || m->state[n] == SENT_LOST) {
			m->state[n] = SENT_ACKED;
			count++;
		}
	}
	if (from < end)
		assert_int_equal(ack(&m->s, from, end), count);
}

static void model_lose(struct model *m)
{
	uint64_t n = sent_next_inflight(
		&m->s, m->s.begin + rng_below(&m->rng, m->s.next - m->s.begin + 1));

	if (n == m->s.next)
		return;
	assert_int_equal(m->state[n], SENT_INFLIGHT);
	sent_settle(&m->s, sent_find(&m->s, n), n, SENT_LOST);
	m->state[n] = SENT_LOST;
}

static void model_compare(struct model *m)
{
	uint64_t next = m->s.next, oldest = m->s.next;

	assert_true(sent_check(&m->s));
	for (uint64_t n = m->s.next; n-- > m->s.begin;) {
		struct sent_record *r = sent_find(&m->s, n);

		if (m->state[n] == SENT_NONE) {
			assert_null(r);
			continue;
		}
		assert_int_equal(r->state, m->state[n]);
		assert_int_equal(r->note_count, m->notes[n]);
		for (unsigned i = 0; i < r->note_count; i++)
			assert_int_equal(sent_record_note(&m->s, r, i)->id, n);
		if (r->state == SENT_INFLIGHT)
			next = n;
		oldest = n;
	}
	assert_int_equal(sent_next_inflight(&m->s, 0), next);
	assert_true(oldest >= m->s.begin);
}

static void equals_an_array(void **state)
{
	struct rng_seeded seeded;
	struct model *m = &model;

	(void)state;
	rng_seeded_init(&seeded, 7);
	m->rng = rng_from_seeded(&seeded);
	sent_init(&m->s, 128);
	for (unsigned i = 0; i < 10000; i++) {
		uint64_t begin = m->s.begin;
		cv_time lost_before = m->now > 50 ? m->now - 50 : 0;

		m->now += rng_below(&m->rng, 3);
		switch (rng_below(&m->rng, 8)) {
		case 0:
		case 1:
			model_ack(m);
			break;
		case 2:
			model_lose(m);
			break;
		case 3:
			sent_reclaim(&m->s, lost_before);
			for (uint64_t n = begin; n < m->s.begin; n++)
				assert_true(
					m->state[n] != SENT_INFLIGHT &&
					(m->state[n] != SENT_LOST || m->sent_at[n] < lost_before));
			break;
		default:
			model_send(m);
			break;
		}
		model_compare(m);
	}
	assert_true(m->s.next > 2000);
	sent_deinit(&m->s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(notes_come_back),
		cmocka_unit_test(room_is_bounded),
		cmocka_unit_test(a_failed_reserve_keeps_all),
		cmocka_unit_test(lies_are_recognised),
		cmocka_unit_test(a_late_ack_finds_the_lost),
		cmocka_unit_test(the_packet_path_never_allocates),
		cmocka_unit_test(equals_an_array),
	};

	return cmocka_run_group_tests_name("sent", tests, NULL, NULL);
}

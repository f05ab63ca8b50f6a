/* SPDX-License-Identifier: MIT */

/*
 * Goal: what arrived is told neither late nor too often, holes are urgent unless two
 * paths made them, and what the peer knows is not told for ever. Method: rows with the instant at
 * which an ACK is due after each packet; ACKs are read back from their bytes; 10,000 random packets
 * against an array of booleans.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/rng.h"
#include "tunnel/acks.h"
#include "tunnel/wire.h"

#define NOW CV_SEC(100)
#define RTT CV_MS(40)

enum { SLOT_A = 3, SLOT_B = 7, NUMBERS = 20000 };

struct told {
	size_t size;
	struct wire_frame frame;
	struct note note;
	unsigned notes;
};

/* Writes an ACK into @room bytes and reads it back; size 0: nothing was written. */
static void tell(struct acks *a, cv_time now, size_t room, struct told *out)
{
	uint8_t bytes[1200];
	struct wr w = wr_init(bytes, room);
	struct sent sent;
	struct sent_record *r;
	struct rd in;

	memset(out, 0, sizeof(*out));
	sent_init(&sent, 64);
	assert_int_equal(sent_reserve(&sent, 1, 4), 0);
	(void)sent_open(&sent);
	acks_write(a, now, &w, &sent);
	assert_false(w.bad);
	sent_commit(&sent, now, 0, 1, 100, true, false);
	out->size = wr_size(&w);
	r = sent_find(&sent, 0);
	out->notes = r->note_count;
	if (out->notes > 0)
		out->note = *sent_record_note(&sent, r, 0);
	in = rd_init(bytes, out->size);
	if (out->size > 0) {
		assert_int_equal(wire_read_frame(&in, &out->frame), WIRE_FRAME);
		assert_int_equal(out->frame.type, FRAME_ACK);
		assert_int_equal(rd_left(&in), 0);
	}
	sent_deinit(&sent);
	assert_true(acks_check(a));
}

static void settle(struct acks *a, cv_time now)
{
	struct told told;

	tell(a, now, 1200, &told);
	assert_true(told.size > 0);
}

static void arrive(struct acks *a, cv_time now, uint64_t number)
{
	acks_on_packet(a, now, number, true, false, SLOT_A, RTT);
	assert_true(acks_check(a));
}

static void wish(struct acks *a, uint16_t threshold, cv_duration delay, uint16_t reorder)
{
	acks_on_frequency(
		a, a->largest,
		&(struct acks_wish){ .threshold = threshold, .delay = delay, .reorder = reorder });
}

/* Past the packets that are always told at once; the newest number is 63 and nothing is owed. */
static void begin(struct acks *a)
{
	acks_init(a);
	for (uint64_t i = 0; i < ACKS_EAGER_PACKETS; i++)
		arrive(a, NOW, i);
	settle(a, NOW);
}

static void the_first_packets_are_told_at_once(void **state)
{
	struct acks a;

	(void)state;
	acks_init(&a);
	assert_int_equal(a.due_at, CV_TIME_NEVER);
	for (uint64_t i = 0; i < ACKS_EAGER_PACKETS; i++) {
		arrive(&a, NOW, i);
		assert_true(acks_are_due(&a, NOW));
		settle(&a, NOW);
		assert_false(acks_are_due(&a, NOW + CV_SEC(1000)));
	}
	arrive(&a, NOW, ACKS_EAGER_PACKETS);
	assert_false(acks_are_due(&a, NOW));
}

static void at_the_threshold_or_after_the_delay(void **state)
{
	static const struct {
		const char *what;
		uint16_t told;
		uint64_t threshold;
		cv_duration delay, waits;
	} rows[] = {
		{ "nothing was asked for", 0, 2, 0, ACKS_DELAY_DEFAULT },
		{ "every packet", 1, 1, CV_MS(1), CV_MS(1) },
		{ "ten packets", 10, 10, CV_MS(10), CV_MS(10) },
		{ "the longest delay", 64, 64, ACKS_DELAY_MAX, ACKS_DELAY_MAX },
		{ "a longer one is cut", 64, 64, ACKS_DELAY_MAX + 1, ACKS_DELAY_MAX },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct acks a;

		print_message("%s\n", rows[i].what);
		begin(&a);
		if (rows[i].told)
			wish(&a, rows[i].told, rows[i].delay, 3);
		for (uint64_t n = 1; n < rows[i].threshold; n++) {
			/* The oldest packet decides: later ones do not put it off. */
			arrive(&a, NOW + n * 1000 - 1000, 63 + n);
			assert_int_equal(a.due_at, NOW + rows[i].waits);
		}
		arrive(&a, NOW + CV_US(900), 63 + rows[i].threshold);
		assert_int_equal(a.due_at, NOW + CV_US(900));
	}
}

static void a_threshold_of_nothing_is_one(void **state)
{
	struct acks a;

	(void)state;
	begin(&a);
	wish(&a, 0, CV_MS(10), 3);
	arrive(&a, NOW, 64);
	assert_true(acks_are_due(&a, NOW));
}

static void an_ack_is_never_owed_for_an_ack(void **state)
{
	struct acks a;
	struct told told;

	(void)state;
	begin(&a);
	acks_on_packet(&a, NOW, 64, false, true, SLOT_A, RTT);
	acks_on_packet(&a, NOW, 99, false, true, SLOT_A, RTT);
	assert_int_equal(a.due_at, CV_TIME_NEVER);
	/* Yet an ACK that leaves for another reason names it. */
	tell(&a, NOW, 1200, &told);
	assert_int_equal(told.frame.ack.ranges[0].begin, 99);
	assert_int_equal(told.frame.ack.ranges[1].end, 65);
}

static void when_asked_at_once(void **state)
{
	struct acks a;

	(void)state;
	begin(&a);
	wish(&a, 64, ACKS_DELAY_MAX, 3);
	acks_on_packet(&a, NOW, 64, true, true, SLOT_A, RTT);
	assert_true(acks_are_due(&a, NOW));
}

static void congestion_is_urgent_and_counted(void **state)
{
	static const uint8_t came[] = { ECN_ECT0, ECN_NOT_ECT, ECN_CE, ECN_ECT1, ECN_ECT0 };
	struct acks a;
	struct told told;

	(void)state;
	begin(&a);
	wish(&a, 64, ACKS_DELAY_MAX, 3);
	tell(&a, NOW, 1200, &told);
	assert_int_equal(told.size, 1 + 6 + 2 + 1 + 1); /* without counts */
	for (uint64_t i = 0; i < CV_ARRAY_SIZE(came); i++) {
		acks_on_ecn(&a, (enum ecn_codepoint)came[i]);
		arrive(&a, NOW, 64 + i);
		/* Due from the mark on, until it is told. */
		assert_int_equal(acks_are_due(&a, NOW), i >= 2);
	}
	tell(&a, NOW, 1200, &told);
	assert_int_equal(told.frame.ack.ecn.ect0, 2);
	assert_int_equal(told.frame.ack.ecn.ect1, 1);
	assert_int_equal(told.frame.ack.ecn.ce, 1);
	acks_on_ecn(&a, ECN_ECT0);
	arrive(&a, NOW, 69);
	assert_false(acks_are_due(&a, NOW));
	tell(&a, NOW, 1200, &told);
	assert_int_equal(told.frame.ack.ecn.ect0, 3);

	/* A mark on what needs no ACK waits for one that does. */
	acks_on_ecn(&a, ECN_CE);
	acks_on_packet(&a, NOW, 70, false, false, SLOT_A, RTT);
	assert_int_equal(a.due_at, CV_TIME_NEVER);
	arrive(&a, NOW, 71);
	assert_true(acks_are_due(&a, NOW));
}

static void a_hole_is_urgent_when_it_is_old(void **state)
{
	static const struct {
		const char *what;
		uint16_t reorder;
		uint64_t first, number; /* first: arrives before; 0: nothing does */
		bool is_urgent;
	} rows[] = {
		{ "the next one", 3, 0, 64, false },
		{ "one is missing", 3, 0, 65, false },
		{ "one is missing, two behind", 3, 65, 66, false },
		{ "one is missing, three behind", 3, 65, 67, true },
		{ "many are missing", 3, 0, 1000, true },
		{ "one that is told as missing", 3, 0, 10, true },
		{ "one that is not told", 3, 65, 64, false },
		{ "any gap at once", 1, 0, 65, true },
		{ "99 behind of 100", 100, 65, 163, false },
		{ "100 behind of 100", 100, 65, 164, true },
		{ "no gap is ever urgent", 0, 65, 9999, false },
		{ "nor what comes late", 0, 65, 10, false },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct acks a;

		print_message("%s\n", rows[i].what);
		begin(&a);
		wish(&a, 1000, ACKS_DELAY_MAX, rows[i].reorder);
		if (rows[i].first) {
			arrive(&a, NOW, rows[i].first);
			assert_int_equal(acks_are_due(&a, NOW), rows[i].reorder == 1);
		}
		arrive(&a, NOW, rows[i].number);
		assert_int_equal(acks_are_due(&a, NOW), rows[i].is_urgent);
	}
}

/* A gap is told once it is old, and then is no news, however much follows. */
static void a_hole_is_told_once(void **state)
{
	struct acks a;

	(void)state;
	begin(&a);
	wish(&a, 1000, ACKS_DELAY_MAX, 10);
	arrive(&a, NOW, 65); /* without 64 */
	settle(&a, NOW);     /* for another reason: the gap is only one behind */
	for (uint64_t n = 66; n < 74; n++)
		arrive(&a, NOW, n);
	assert_false(acks_are_due(&a, NOW));
	arrive(&a, NOW, 74);
	assert_true(acks_are_due(&a, NOW));
	settle(&a, NOW);
	for (uint64_t n = 75; n < 200; n++)
		arrive(&a, NOW, n);
	assert_false(acks_are_due(&a, NOW));
	/* It was only late: the sender wants to know. */
	arrive(&a, NOW, 64);
	assert_true(acks_are_due(&a, NOW));
}

/* Every fifth packet is three late: an ACK by the threshold, not for each of them. */
static void a_path_that_reorders_is_not_acked_per_packet(void **state)
{
	struct acks a;
	unsigned told = 0;

	(void)state;
	begin(&a);
	wish(&a, 50, ACKS_DELAY_MAX, 8);
	for (uint64_t n = 64; n < 1064; n++) {
		uint64_t number = n;

		if (n % 5 == 3)
			number = n - 3;
		else if (n % 5 < 3)
			number = n + 1;
		arrive(&a, NOW, number);
		if (acks_are_due(&a, NOW)) {
			told++;
			settle(&a, NOW);
		}
	}
	assert_int_equal(told, 20);
	assert_int_equal(a.received.count, 1);
}

static void an_older_wish_is_not_heard(void **state)
{
	struct acks a;

	(void)state;
	begin(&a);
	acks_on_frequency(&a, 70, &(struct acks_wish){ 20, 9, CV_MS(8) });
	acks_on_frequency(&a, 69, &(struct acks_wish){ 2, 3, CV_MS(1) });
	assert_int_equal(a.threshold, 20);
	assert_int_equal(a.reorder, 9);
	assert_int_equal(a.delay, CV_MS(8));
	acks_on_frequency(&a, 71, &(struct acks_wish){ 2, 3, CV_MS(1) });
	assert_int_equal(a.threshold, 2);
}

static void the_first_packets_of_a_path_are_told_at_once(void **state)
{
	struct acks a;

	(void)state;
	begin(&a);
	wish(&a, 1000, ACKS_DELAY_MAX, 0);
	arrive(&a, NOW, 64);
	assert_false(acks_are_due(&a, NOW));
	for (uint64_t n = 65; n < 65 + ACKS_EAGER_PACKETS; n++) {
		acks_on_packet(&a, NOW, n, true, false, SLOT_B, RTT);
		assert_true(acks_are_due(&a, NOW));
		settle(&a, NOW);
	}
	/* Two that take turns do not begin anew with each packet. */
	for (uint64_t n = 129; n < 1000; n++) {
		acks_on_packet(&a, NOW, n, true, false, n % 2 ? SLOT_A : SLOT_B, RTT);
		assert_false(acks_are_due(&a, NOW));
	}
}

/* Rule 5.2: what overtakes on another path leaves holes that are no losses. */
static void not_while_a_flight_lands_on_the_old_path(void **state)
{
	struct acks a;
	const cv_time moved = NOW + CV_MS(1);

	(void)state;
	begin(&a);
	wish(&a, 64, ACKS_DELAY_MAX, 3);
	acks_on_packet(&a, moved, 80, true, false, SLOT_B, RTT);
	assert_int_equal(a.path, SLOT_B);
	a.eager_left = 0;
	settle(&a, moved);
	a.told_below = 64;
	acks_on_packet(&a, moved, 81, true, false, SLOT_B, RTT);
	assert_int_equal(a.due_at, moved + ACKS_DELAY_MAX);

	/* The old flight lands: it neither hurries nor counts as a move back. */
	acks_on_packet(&a, moved + 1, 64, true, false, SLOT_A, RTT);
	assert_int_equal(a.path, SLOT_B);
	acks_on_packet(&a, moved + RTT - 1, 82, true, false, SLOT_B, RTT);
	assert_int_equal(a.due_at, moved + ACKS_DELAY_MAX);

	/* One round trip later a hole is a hole. */
	settle(&a, moved + RTT - 1);
	acks_on_packet(&a, moved + RTT, 86, true, false, SLOT_B, RTT);
	assert_true(acks_are_due(&a, moved + RTT));
}

static void an_ack_says_what_came_and_when(void **state)
{
	struct acks a;
	struct told told;

	(void)state;
	acks_init(&a);
	tell(&a, NOW, 1200, &told);
	assert_int_equal(told.size, 0);
	assert_int_equal(told.notes, 0);

	arrive(&a, NOW, 5);
	arrive(&a, NOW, 6);
	arrive(&a, NOW + CV_MS(1), 9);
	arrive(&a, NOW + CV_MS(2), 2); /* late: the delay is about the newest */
	tell(&a, NOW + CV_MS(9), 1200, &told);
	assert_int_equal(told.frame.ack.count, 3);
	assert_int_equal(told.frame.ack.ranges[0].begin, 9);
	assert_int_equal(told.frame.ack.ranges[0].end, 10);
	assert_int_equal(told.frame.ack.ranges[1].begin, 5);
	assert_int_equal(told.frame.ack.ranges[1].end, 7);
	assert_int_equal(told.frame.ack.ranges[2].begin, 2);
	assert_int_equal(told.frame.ack.ranges[2].end, 3);
	assert_int_equal(told.frame.ack.delay_ns, CV_MS(8));
	assert_int_equal(told.notes, 1);
	assert_int_equal(told.note.tag, NOTE_ACK);
	assert_int_equal(told.note.offset, 9);
	assert_int_equal(a.owed, 0);
	assert_int_equal(a.due_at, CV_TIME_NEVER);
}

static void what_does_not_fit_stays_owed(void **state)
{
	struct acks a;
	struct told told;
	size_t size;

	(void)state;
	acks_init(&a);
	for (uint64_t i = 0; i < 20; i += 2)
		arrive(&a, NOW, i);
	tell(&a, NOW, 1200, &told);
	size = told.size;
	arrive(&a, NOW, 20);
	for (size_t room = 0; room < size; room++) {
		tell(&a, NOW, room, &told);
		assert_int_equal(told.size, 0);
		assert_int_equal(told.notes, 0);
		assert_true(acks_are_due(&a, NOW));
	}
}

static void an_ack_has_32_ranges_at_most(void **state)
{
	static const struct {
		unsigned spans, told, kept;
	} rows[] = {
		{ FRAME_ACK_RANGES_MAX - 1, FRAME_ACK_RANGES_MAX - 1, FRAME_ACK_RANGES_MAX - 1 },
		{ FRAME_ACK_RANGES_MAX, FRAME_ACK_RANGES_MAX, FRAME_ACK_RANGES_MAX },
		{ FRAME_ACK_RANGES_MAX + 1, FRAME_ACK_RANGES_MAX, FRAME_ACK_RANGES_MAX + 1 },
		{ ACKS_SPANS, FRAME_ACK_RANGES_MAX, ACKS_SPANS },
		{ ACKS_SPANS + 1, FRAME_ACK_RANGES_MAX, ACKS_SPANS },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		struct acks a;
		struct told told;

		acks_init(&a);
		for (uint64_t n = 0; n < rows[i].spans; n++)
			arrive(&a, NOW, 2 * n);
		assert_int_equal(a.received.count, rows[i].kept);
		tell(&a, NOW, 1200, &told);
		assert_int_equal(told.frame.ack.count, rows[i].told);
		assert_in_range(told.size, 1, FRAME_ACK_SIZE_MAX);
		/* The newest are told. */
		assert_int_equal(told.frame.ack.ranges[0].begin, 2 * (rows[i].spans - 1));
	}
}

static void what_the_peer_knows_is_told_no_more(void **state)
{
	struct acks a;
	struct told told;

	(void)state;
	acks_init(&a);
	for (uint64_t n = 0; n < 40; n++) {
		if (n != 3 && n != 17 && n != 30)
			arrive(&a, NOW, n);
	}
	acks_on_acked(&a, 0); /* names nothing that could be left out */
	assert_int_equal(a.received.count, 4);

	/* The span that the peer heard of last stays whole: below it no hole is told. */
	acks_on_acked(&a, 25);
	tell(&a, NOW, 1200, &told);
	assert_int_equal(told.frame.ack.count, 2);
	assert_int_equal(told.frame.ack.ranges[1].begin, 18);
	assert_int_equal(told.frame.ack.ranges[1].end, 30);

	acks_on_acked(&a, 20); /* an older one, late */
	tell(&a, NOW, 1200, &told);
	assert_int_equal(told.frame.ack.ranges[1].begin, 18);

	acks_on_acked(&a, 39);
	tell(&a, NOW, 1200, &told);
	assert_int_equal(told.frame.ack.count, 1);
	assert_int_equal(told.frame.ack.ranges[0].begin, 31);
	assert_int_equal(told.frame.ack.ranges[0].end, 40);
}

static void equals_an_array(void **state)
{
	static bool has[NUMBERS];
	struct acks a;
	struct rng_seeded seeded;
	struct rng rng;
	struct told told;
	uint64_t newest = 0, floor = 0;

	(void)state;
	rng_seeded_init(&seeded, 42);
	rng = rng_from_seeded(&seeded);
	acks_init(&a);
	for (unsigned i = 0; i < 10000; i++) {
		uint64_t number = newest + rng_below(&rng, 4);
		uint64_t late = rng_below(&rng, 8) == 0 ? rng_below(&rng, 20) : 0;

		number -= CV_MIN(number, late);
		if (number >= NUMBERS)
			break;
		has[number] = true;
		newest = CV_MAX(newest, number);
		acks_on_packet(&a, NOW + i, number, rng_below(&rng, 4) > 0, false,
		               rng_below(&rng, 50) == 0 ? SLOT_B : SLOT_A, RTT);
		tell(&a, NOW + i, 1200, &told);
		assert_int_equal(told.frame.ack.ranges[0].end, newest + 1);
		for (unsigned k = 0; k < told.frame.ack.count; k++) {
			const struct wire_range *r = &told.frame.ack.ranges[k];

			/* Exactly what came, as wide as can be; below the floor only stragglers. */
			assert_true(!has[r->end] || r->end < floor);
			assert_true(r->begin == 0 || !has[r->begin - 1] || r->begin <= floor);
			for (uint64_t n = r->begin; n < r->end; n++)
				assert_true(has[n]);
		}
		if (rng_below(&rng, 30) == 0) {
			acks_on_acked(&a, newest);
			floor = a.spans[0].begin;
			assert_int_equal(a.received.count, 1);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_packets_are_told_at_once),
		cmocka_unit_test(at_the_threshold_or_after_the_delay),
		cmocka_unit_test(a_threshold_of_nothing_is_one),
		cmocka_unit_test(an_ack_is_never_owed_for_an_ack),
		cmocka_unit_test(when_asked_at_once),
		cmocka_unit_test(congestion_is_urgent_and_counted),
		cmocka_unit_test(a_hole_is_urgent_when_it_is_old),
		cmocka_unit_test(a_hole_is_told_once),
		cmocka_unit_test(a_path_that_reorders_is_not_acked_per_packet),
		cmocka_unit_test(an_older_wish_is_not_heard),
		cmocka_unit_test(the_first_packets_of_a_path_are_told_at_once),
		cmocka_unit_test(not_while_a_flight_lands_on_the_old_path),
		cmocka_unit_test(an_ack_says_what_came_and_when),
		cmocka_unit_test(what_does_not_fit_stays_owed),
		cmocka_unit_test(an_ack_has_32_ranges_at_most),
		cmocka_unit_test(what_the_peer_knows_is_told_no_more),
		cmocka_unit_test(equals_an_array),
	};

	return cmocka_run_group_tests_name("acks", tests, NULL, NULL);
}

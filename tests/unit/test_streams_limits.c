/* SPDX-License-Identifier: MIT */

/*
 * Goal: nothing a peer sends gets past the limits, and limits stop only whom they
 * are meant for. Method: two ends joined by a pipe (streams_world.h), and a table
 * of frames with the verdict of each.
 */
#include "streams_world.h"

/* ---- windows ---- */

static void nothing_beyond_16_kib_before_accept(void **state)
{
	static struct world w;
	struct stream *near, *far;
	uint64_t written = 0, read = 0;

	(void)state;
	world_init(&w, 1, 1000);
	assert_int_equal(streams_open(w.side[0].streams, &near), 0);
	for (unsigned i = 0; i < 20; i++) {
		while (write_pattern(&w, &w.side[0], near, &written, 4000) > 0)
			;
		(void)turn(&w, 64);
	}
	assert_int_equal(written, STREAM_FIRST_WINDOW_UNACCEPTED);
	far = expect_event(&w.side[1], STREAM_EVENT_OPENED, 0);
	/* Reading alone brings no more. */
	assert_int_equal(read_pattern(&w, &w.side[1], far, &read, SIZE_MAX), written);
	settle(&w);
	assert_int_equal(stream_room(w.side[0].streams, near), 0);
	drop_events(&w.side[0]);
	stream_accept(w.side[1].streams, far);
	settle(&w);
	assert_ptr_equal(expect_event(&w.side[0], STREAM_EVENT_WRITABLE, 0), near);
	assert_int_equal(stream_room(w.side[0].streams, near), (size_t)128 * 1024);
	world_deinit(&w);
}

/* Accepts what the peer opened; the last of them, or NULL. */
static struct stream *accept_all(struct side *b)
{
	struct stream *last = NULL;
	struct stream_event e;

	while (streams_next_event(b->streams, &e)) {
		if (e.kind == STREAM_EVENT_OPENED) {
			last = e.stream;
			stream_accept(b->streams, last);
		}
	}
	return last;
}

/* 64 streams full of what nobody reads. */
static void fill_unread(struct world *w)
{
	struct stream *stuck[64];
	uint64_t written[64] = { 0 };

	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(streams_open(w->side[0].streams, &stuck[i]), 0);
	for (unsigned round = 0; round < 300; round++) {
		for (unsigned i = 0; i < 64; i++)
			(void)write_pattern(w, &w->side[0], stuck[i], &written[i], 16384);
		(void)turn(w, 128);
		(void)accept_all(&w->side[1]);
	}
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(written[i], STREAM_FIRST_WINDOW_OPENER);
}

/* Rule 7.4: they are there, and one that must not notice. */
static void unread_streams_stall_only_themselves(void **state)
{
	static struct world w;
	struct stream *fast, *far = NULL, *opened;
	uint64_t written = 0, read = 0;
	unsigned turns = 0;

	(void)state;
	world_init(&w, 1, 1000);
	fill_unread(&w);
	assert_int_equal(streams_open(w.side[0].streams, &fast), 0);
	while (read < 8000000) {
		while (write_pattern(&w, &w.side[0], fast, &written, 65536) > 0)
			;
		(void)turn(&w, 128);
		opened = accept_all(&w.side[1]);
		far = opened ? opened : far;
		if (far)
			(void)read_pattern(&w, &w.side[1], far, &read, SIZE_MAX);
		assert_true(++turns < 200);
	}
	/* 128 packets or the unsent cap (128 KiB) a turn: 8 MB take at least 61 turns. */
	assert_true(turns < 80);
	assert_non_null(streams_most_held(w.side[1].streams));
	world_deinit(&w);
}

static void a_window_grows_for_a_reader_that_keeps_up(void **state)
{
	static struct world w;
	struct stream *near, *far;
	uint64_t written = 5, read = 5;

	(void)state;
	world_init(&w, 1, 1000);
	near = open_pair(&w, &far);
	stream_consume(w.side[1].streams, far, w.now, 5);
	for (unsigned i = 0; i < 2; i++)
		streams_set_unsent_cap(w.side[i].streams, SIZE_MAX / 2, SIZE_MAX / 2);
	for (unsigned i = 0; i < 400; i++) {
		while (write_pattern(&w, &w.side[0], near, &written, 65536) > 0)
			;
		(void)turn(&w, 250);
		(void)read_pattern(&w, &w.side[1], far, &read, SIZE_MAX);
	}
	/* All that may be written is the window: it has grown to more than 4 MiB. */
	assert_true(written - read > 4u << 20);
	world_deinit(&w);
}

/* Its target or its status: without it there would be no stream. */
static void first_words_do_not_wait_for_others(void **state)
{
	static struct world w;
	struct stream *a, *fara, *b, *farb;
	uint8_t bytes[4096] = { 0 };
	uint64_t written = 5;

	(void)state;
	world_init(&w, 1, 1000);
	a = open_pair(&w, &fara);
	b = open_pair(&w, &farb);
	streams_set_unsent_cap(w.side[0].streams, 100000, 100000);
	while (write_pattern(&w, &w.side[0], a, &written, 65536) > 0)
		;
	assert_int_equal(stream_write(w.side[0].streams, a, "x", 1), 0);
	assert_int_equal(stream_write(w.side[0].streams, b, bytes, sizeof(bytes)), 0);
	assert_int_equal(stream_write(w.side[0].streams, b, bytes, sizeof(bytes) - 5),
	                 sizeof(bytes) - 5);
	assert_int_equal(stream_write(w.side[0].streams, b, "x", 1), 0);
	world_deinit(&w);
}

/* Ten streams that always have more, asked in the same order, with room for two at a time. */
static void room_goes_round(void **state)
{
	enum { STREAMS = 10, ROUNDS = 100 };
	static struct world w;
	struct stream *st[STREAMS], *far;
	uint64_t written[STREAMS], least = UINT64_MAX, most = 0;

	(void)state;
	world_init(&w, 1, 1000);
	for (unsigned i = 0; i < STREAMS; i++) {
		st[i] = open_pair(&w, &far);
		written[i] = 5;
	}
	streams_set_unsent_cap(w.side[0].streams, 20000, 40000);
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct stream_event ev;

		for (unsigned i = 0; i < STREAMS; i++)
			(void)write_pattern(&w, &w.side[0], st[i], &written[i], 65536);
		assert_true(turn(&w, 8));
		while (streams_next_event(w.side[0].streams, &ev))
			;
	}
	for (unsigned i = 0; i < STREAMS; i++) {
		least = CV_MIN(least, written[i]);
		most = CV_MAX(most, written[i]);
	}
	assert_true(least * 8 > most); /* without taking turns: some seventy times */
	world_deinit(&w);
}

static void room_comes_back_with_an_event(void **state)
{
	static struct world w;
	struct stream *a, *fara, *b, *farb;
	uint64_t written = 5;

	(void)state;
	world_init(&w, 1, 1000);
	a = open_pair(&w, &fara);
	b = open_pair(&w, &farb);
	streams_set_unsent_cap(w.side[0].streams, 100000, 100000);
	while (write_pattern(&w, &w.side[0], a, &written, 65536) > 0)
		;
	assert_int_equal(written, 5 + 100000);
	/* The cap of all is used up, so the other waits too. */
	assert_int_equal(stream_room(w.side[0].streams, b), 0);
	expect_silence(&w.side[0]);
	for (unsigned i = 0; i < 10; i++)
		assert_true(side_send(&w, &w.side[0], i == 0, 65536));
	expect_silence(&w.side[0]); /* not for every byte */
	for (unsigned i = 0; i < 40; i++)
		assert_true(side_send(&w, &w.side[0], i == 0, 65536));
	assert_ptr_equal(expect_event(&w.side[0], STREAM_EVENT_WRITABLE, 0), a);
	assert_ptr_equal(expect_event(&w.side[0], STREAM_EVENT_WRITABLE, 0), b);
	expect_silence(&w.side[0]);
	settle(&w);
	world_deinit(&w);
}

static void memory_refused_is_asked_for_again(void **state)
{
	static struct world w;
	struct stream *near, *far;
	uint64_t all;
	size_t size = 4000;

	(void)state;
	world_init(&w, 1, 1000);
	near = open_pair(&w, &far);
	all = w.pool.budget - w.pool.used;
	assert_int_equal(pool_charge(&w.pool, all), 0);
	assert_null(stream_reserve(w.side[0].streams, near, &size));
	expect_silence(&w.side[0]);
	pool_uncharge(&w.pool, all);
	assert_ptr_equal(expect_event(&w.side[0], STREAM_EVENT_WRITABLE, 0), near);
	size = 4000;
	assert_non_null(stream_reserve(w.side[0].streams, near, &size));
	stream_commit(w.side[0].streams, near, 0);
	world_deinit(&w);
}

/* ---- numbers of streams ---- */

static void max_streams_is_given_back_when_both_ends_are_gone(void **state)
{
	static struct world w;
	struct stream *near[8], *far[8], *extra;

	(void)state;
	/* Fewer than the 128 of the version: that many still may come. */
	world_init(&w, 1, 128);
	for (unsigned i = 0; i < 120; i++)
		assert_int_equal(streams_open(w.side[0].streams, &extra), 0);
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(streams_open(w.side[0].streams, &near[i]), 0);
		assert_int_equal(stream_write(w.side[0].streams, near[i], "x", 1), 1);
	}
	assert_int_equal(streams_open(w.side[0].streams, &extra), -EAGAIN);
	settle(&w);
	for (unsigned i = 0; i < 8; i++)
		far[i] = expect_event(&w.side[1], STREAM_EVENT_OPENED, 0);
	for (unsigned i = 0; i < 8; i++)
		stream_release(w.side[0].streams, near[i], 0);
	settle(&w);
	assert_int_equal(streams_open(w.side[0].streams, &extra), -EAGAIN);
	drop_events(&w.side[0]);
	drop_events(&w.side[1]);
	/* Both halves ended, but the application there still has a dial or a socket. */
	for (unsigned i = 0; i < 8; i++)
		stream_release(w.side[1].streams, far[i], 0);
	settle(&w);
	/* 8 of 128 are less than an eighth: not told yet. */
	assert_int_equal(streams_open(w.side[0].streams, &extra), -EAGAIN);
	expect_silence(&w.side[0]);
	for (uint64_t id = 0; id < 16; id += 2)
		stream_release(w.side[0].streams, streams_find(w.side[0].streams, id), 0);
	settle(&w);
	for (unsigned i = 0; i < 8; i++) {
		extra = expect_event(&w.side[1], STREAM_EVENT_OPENED, 0);
		(void)expect_event(&w.side[1], STREAM_EVENT_RESET, 0);
		(void)expect_event(&w.side[1], STREAM_EVENT_STOPPED, 0);
		stream_release(w.side[1].streams, extra, 0);
	}
	settle(&w);
	assert_null(expect_event(&w.side[0], STREAM_EVENT_OPENABLE, 0));
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(streams_open(w.side[0].streams, &extra), 0);
	assert_int_equal(streams_open(w.side[0].streams, &extra), -EAGAIN);
	world_deinit(&w);
}

static void openable_when_the_limit_rises(void **state)
{
	static struct world w;
	struct stream *st;

	(void)state;
	world_init(&w, 1, 300);
	for (unsigned i = 0; i < STREAM_FIRST_COUNT; i++)
		assert_int_equal(streams_open(w.side[0].streams, &st), 0);
	assert_int_equal(streams_open(w.side[0].streams, &st), -EAGAIN);
	assert_true(streams_has_control(w.side[1].streams)); /* MAX_STREAMS 300 */
	settle(&w);
	assert_null(expect_event(&w.side[0], STREAM_EVENT_OPENABLE, 0));
	for (unsigned i = STREAM_FIRST_COUNT; i < 300; i++)
		assert_int_equal(streams_open(w.side[0].streams, &st), 0);
	assert_int_equal(stream_id(st), 2 * 299);
	assert_int_equal(streams_open(w.side[0].streams, &st), -EAGAIN);
	expect_silence(&w.side[0]);
	assert_int_equal(streams_open(w.side[1].streams, &st), 0);
	assert_int_equal(stream_id(st), 1);
	world_deinit(&w);
}

static void idle_streams_are_small(void **state)
{
	static struct world w;
	struct stream *st;
	uint64_t before;

	(void)state;
	world_init(&w, 1, 16384);
	settle(&w);
	before = cv_alloc_live();
	for (unsigned i = 0; i < 10000; i++)
		assert_int_equal(streams_open(w.side[0].streams, &st), 0);
	assert_true(cv_alloc_live() - before <= UINT64_C(10000) * 1024);
	world_deinit(&w);
}

/* ---- rules ---- */

struct rule {
	const char *what;
	struct wire_frame frame[2];
	int result; /* of the last one; those before it are fine */
};

#define RESET(i, n)                                                                                \
	{                                                                                          \
		.type = FRAME_RESET, .reset = {.id = (i), .final_size = (n), .code = 1 }           \
	}
#define LIMIT(t, i, m)                                                                             \
	{                                                                                          \
		.type = (t), .limit = {.id = (i), .max = (m) }                                     \
	}
#define STOP(i)                                                                                    \
	{                                                                                          \
		.type = FRAME_STOP, .reset = {.id = (i), .code = 1 }                               \
	}

/* Frames to side 1, which opened streams 1 and 3; the peer may open 0 .. 254. */
static const struct rule rules[] = {
	{ "data of the peer's last stream", { DATA(254, 0, 1, false) }, 0 },
	{ "data of the stream above the limit", { DATA(256, 0, 1, false) }, -EPROTO },
	{ "RESET of the stream above the limit", { RESET(256, 0) }, -EPROTO },
	{ "STOP of the stream above the limit", { STOP(256) }, -EPROTO },
	{ "window for it", { LIMIT(FRAME_MAX_STREAM_DATA, 256, 1) }, -EPROTO },
	{ "BLOCKED of it", { LIMIT(FRAME_STREAM_BLOCKED, 256, 1) }, -EPROTO },
	{ "our stream that is open", { DATA(3, 0, 1, false) }, 0 },
	{ "our stream that was never opened", { DATA(5, 0, 1, false) }, -EPROTO },
	{ "STOP of it", { STOP(5) }, -EPROTO },
	{ "RESET of it", { RESET(5, 0) }, -EPROTO },
	{ "window for it, ours", { LIMIT(FRAME_MAX_STREAM_DATA, 5, 1) }, -EPROTO },
	{ "up to the window", { DATA(0, 16383, 1, false) }, 0 },
	{ "one byte beyond the window", { DATA(0, 16384, 1, false) }, -EPROTO },
	{ "FIN alone at the window", { DATA(0, 16384, 0, true) }, 0 },
	{ "FIN alone beyond it", { DATA(0, 16385, 0, true) }, -EPROTO },
	{ "the largest offset", { DATA(0, WIRE_OFFSET_MAX - 1, 1, false) }, -EPROTO },
	{ "RESET at the window", { RESET(0, 16384) }, 0 },
	{ "RESET beyond the window", { RESET(0, 16385) }, -EPROTO },
	{ "RESET at the end of numbers", { RESET(0, UINT64_MAX) }, -EPROTO },
	{ "data beyond FIN", { DATA(0, 0, 10, true), DATA(0, 10, 1, false) }, -EPROTO },
	{ "data before FIN again", { DATA(0, 0, 10, true), DATA(0, 5, 5, false) }, 0 },
	{ "two equal FINs", { DATA(0, 5, 10, true), DATA(0, 15, 0, true) }, 0 },
	{ "a smaller second FIN", { DATA(0, 5, 10, true), DATA(0, 14, 0, true) }, -EPROTO },
	{ "a larger second FIN", { DATA(0, 5, 10, true), DATA(0, 16, 0, true) }, -EPROTO },
	{ "FIN below what was seen", { DATA(0, 5, 10, false), DATA(0, 14, 0, true) }, -EPROTO },
	{ "RESET below what was seen", { DATA(0, 5, 10, false), RESET(0, 14) }, -EPROTO },
	{ "RESET that repeats the FIN", { DATA(0, 5, 10, true), RESET(0, 15) }, 0 },
	{ "RESET that denies the FIN", { DATA(0, 0, 10, true), RESET(0, 11) }, -EPROTO },
	{ "data below a RESET", { RESET(0, 100), DATA(0, 50, 50, false) }, 0 },
	{ "data beyond a RESET", { RESET(0, 100), DATA(0, 51, 50, false) }, -EPROTO },
	{ "another RESET", { RESET(0, 100), RESET(0, 99) }, -EPROTO },
	{ "the same RESET", { RESET(0, 100), RESET(0, 100) }, 0 },
	{ "a window that shrinks",
	  { LIMIT(FRAME_MAX_STREAM_DATA, 1, 100), LIMIT(FRAME_MAX_DATA, 0, 100) },
	  0 },
	{ "a window beyond numbers", { LIMIT(FRAME_MAX_DATA, 0, UINT64_MAX) }, 0 },
	{ "BLOCKED of a stream not seen", { LIMIT(FRAME_STREAM_BLOCKED, 8, 1) }, 0 },
	{ "a frame that is not of streams", { { .type = FRAME_PING } }, -EPROTO },
};

static void rules_are_kept(void **state)
{
	static struct world w;
	struct stream *st;
	int r = 0;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rules); i++) {
		unsigned count = rules[i].frame[1].type != FRAME_PADDING ? 2 : 1;

		world_init(&w, 1, 128);
		assert_int_equal(streams_open(w.side[1].streams, &st), 0);
		assert_int_equal(streams_open(w.side[1].streams, &st), 0);
		for (unsigned k = 0; k < count; k++) {
			assert_int_equal(r, 0);
			r = streams_on_frame(w.side[1].streams, w.now, &rules[i].frame[k]);
		}
		if (r != rules[i].result)
			fail_msg("%s: %d", rules[i].what, r);
		r = 0;
		world_check(&w);
		world_deinit(&w);
	}
}

/* Many streams, each within its window, together beyond the session's; data and RESET alike. */
static void the_session_window_holds(void **state)
{
	static struct world w;
	struct wire_frame f = DATA(0, 16383, 1, false);
	struct wire_frame reset = RESET(UINT64_C(2) * 64, 1);

	(void)state;
	world_init(&w, 1, 128);
	for (uint64_t i = 0; i < 64; i++) {
		/* Out of order, so that nothing is given back. */
		f.stream.id = UINT64_C(2) * i;
		assert_int_equal(streams_on_frame(w.side[1].streams, w.now, &f), 0);
	}
	f.stream.id = UINT64_C(2) * 64;
	f.stream.offset = 0;
	assert_int_equal(streams_on_frame(w.side[1].streams, w.now, &f), -EPROTO);
	assert_int_equal(streams_on_frame(w.side[1].streams, w.now, &reset), -EPROTO);
	world_check(&w);
	/* A RESET returns what its stream had used. */
	reset.reset.id = 0;
	reset.reset.final_size = 16384;
	assert_int_equal(streams_on_frame(w.side[1].streams, w.now, &reset), 0);
	for (unsigned i = 1; i < 32; i++) {
		reset.reset.id = UINT64_C(2) * i;
		assert_int_equal(streams_on_frame(w.side[1].streams, w.now, &reset), 0);
	}
	settle(&w); /* MAX_DATA is told */
	assert_int_equal(streams_on_frame(w.side[1].streams, w.now, &f), 0);
	world_check(&w);
	world_deinit(&w);
}

/* T22: one byte of every second one. The stream is refused, not the memory exceeded. */
static void crumbs_are_refused(void **state)
{
	static struct world w;
	struct wire_frame f = DATA(0, 0, 1, false);
	unsigned refused = 0;
	uint64_t used;

	(void)state;
	world_init(&w, 1, 128);
	used = w.pool.used;
	for (uint64_t i = 0; i < 8000; i++) {
		f.stream.offset = 1 + 2 * i;
		if (streams_on_frame(w.side[1].streams, w.now, &f) == -ENOBUFS)
			refused++;
	}
	assert_true(refused > 7000);
	assert_true(w.pool.used - used <=
	            UINT64_C(64) * 1024); /* a slab, spans, chunks of 16 KiB */
	f = (struct wire_frame)DATA(0, 0, 16384, false);
	assert_int_equal(streams_on_frame(w.side[1].streams, w.now, &f), 0);
	world_check(&w);
	assert_non_null(expect_event(&w.side[1], STREAM_EVENT_OPENED, 0));
	world_deinit(&w);
}

static void no_memory_changes_nothing(void **state)
{
	static struct world w;
	struct wire_frame f = DATA(0, 0, 10, true);
	struct streams_stats stats;
	uint64_t all;

	(void)state;
	world_init(&w, 1, 128);
	all = w.pool.budget - w.pool.used;
	for (uint64_t left = 0; left < 3; left++) {
		/* For nothing; for less than a slab; for a slab and no chunk. */
		uint64_t spare = left == 2 ? 25000 : left * 4000;

		assert_int_equal(pool_charge(&w.pool, all - spare), 0);
		assert_int_equal(streams_on_frame(w.side[1].streams, w.now, &f), -ENOBUFS);
		streams_stats(w.side[1].streams, &stats);
		assert_int_equal(stats.open, 0);
		world_check(&w);
		pool_uncharge(&w.pool, all - spare);
		expect_silence(&w.side[1]);
		all = w.pool.budget - w.pool.used;
	}
	assert_int_equal(streams_on_frame(w.side[1].streams, w.now, &f), 0);
	(void)expect_event(&w.side[1], STREAM_EVENT_OPENED, 0);
	world_deinit(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_beyond_16_kib_before_accept),
		cmocka_unit_test(unread_streams_stall_only_themselves),
		cmocka_unit_test(a_window_grows_for_a_reader_that_keeps_up),
		cmocka_unit_test(first_words_do_not_wait_for_others),
		cmocka_unit_test(room_goes_round),
		cmocka_unit_test(room_comes_back_with_an_event),
		cmocka_unit_test(memory_refused_is_asked_for_again),
		cmocka_unit_test(max_streams_is_given_back_when_both_ends_are_gone),
		cmocka_unit_test(openable_when_the_limit_rises),
		cmocka_unit_test(idle_streams_are_small),
		cmocka_unit_test(rules_are_kept),
		cmocka_unit_test(the_session_window_holds),
		cmocka_unit_test(crumbs_are_refused),
		cmocka_unit_test(no_memory_changes_nothing),
	};

	return cmocka_run_group_tests_name("streams_limits", tests, NULL, NULL);
}

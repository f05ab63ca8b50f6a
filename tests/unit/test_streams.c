/* SPDX-License-Identifier: MIT */

/*
 * Goal: what one side writes is what the other reads, whatever becomes of the
 * frames between them, and every stream ends at both sides. Method: two ends
 * joined by a pipe with faults (streams_world.h).
 */
#include "streams_world.h"

/* ---- bytes ---- */

enum { MANY = 12 };

struct transfer {
	struct stream *from, *to;
	uint64_t id, written, read, size;
};

static void accept_opened(struct side *b, struct transfer *list)
{
	struct stream_event e;

	while (streams_next_event(b->streams, &e)) {
		if (e.kind != STREAM_EVENT_OPENED)
			continue;
		for (unsigned i = 0; i < MANY; i++) {
			if (list[i].id == e.id)
				list[i].to = e.stream;
		}
		stream_accept(b->streams, e.stream);
	}
}

/* Writes and reads what can be; true when the reader is at the end. */
static bool transfer_some(struct world *w, struct transfer *t)
{
	while (t->written < t->size &&
	       write_pattern(w, &w->side[0], t->from, &t->written,
	                     (size_t)CV_MIN(t->size - t->written, 70000)) > 0)
		;
	if (t->written == t->size)
		stream_finish(w->side[0].streams, t->from);
	if (!t->to)
		return false;
	(void)read_pattern(w, &w->side[1], t->to, &t->read, SIZE_MAX);
	return stream_is_at_end(t->to);
}

static void transfer_all(struct world *w, struct transfer *list)
{
	unsigned done = 0;

	for (unsigned round = 0; round < 5000 && done < MANY; round++) {
		done = 0;
		for (unsigned i = 0; i < MANY; i++)
			done += transfer_some(w, &list[i]);
		(void)turn(w, 100);
		accept_opened(&w->side[1], list);
	}
	assert_int_equal(done, MANY);
}

static void expect_nothing_left(struct world *w)
{
	struct streams_stats stats;

	for (unsigned i = 0; i < 2; i++) {
		streams_stats(w->side[i].streams, &stats);
		assert_int_equal(stats.open, 0);
		assert_int_equal(stats.unsent_bytes, 0);
		assert_int_equal(stats.buffered_bytes, 0);
	}
}

static void transfer_under(uint64_t seed, unsigned loss, unsigned duplicate, unsigned spurious)
{
	static struct world w;
	struct transfer list[MANY] = { 0 };

	world_init(&w, seed, 1000);
	w.loss_permille = loss;
	w.duplicate_permille = duplicate;
	w.spurious_permille = spurious;
	w.reorders = true;
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(streams_open(w.side[0].streams, &list[i].from), 0);
		list[i].id = stream_id(list[i].from);
		list[i].size = rng_below(&w.rng, i < 2 ? 1500000 : 60000);
	}
	transfer_all(&w, list);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(list[i].read, list[i].size);
		stream_release(w.side[0].streams, list[i].from, 1);
		stream_release(w.side[1].streams, list[i].to, 1);
	}
	settle(&w);
	expect_nothing_left(&w);
	world_deinit(&w);
}

static void bytes_are_exact_on_any_pipe(void **state)
{
	(void)state;
	transfer_under(1, 0, 0, 0);
	transfer_under(2, 50, 10, 10);
	transfer_under(3, 300, 100, 100);
	for (uint64_t seed = 10; seed < 13; seed++)
		transfer_under(seed, 100, 50, 200);
}

/* ---- ends ---- */

static void finish_both_ways(void **state)
{
	static struct world w;
	struct streams_stats stats;
	struct stream *near, *far;

	(void)state;
	world_init(&w, 1, 1000);
	near = open_pair(&w, &far);
	stream_consume(w.side[1].streams, far, w.now, 5);
	stream_finish(w.side[0].streams, near);
	stream_finish(w.side[0].streams, near);
	assert_true(streams_has_data(w.side[0].streams));
	settle(&w);
	assert_ptr_equal(expect_event(&w.side[0], STREAM_EVENT_ACKED, 0), near);
	assert_ptr_equal(expect_event(&w.side[1], STREAM_EVENT_READABLE, 0), far);
	assert_true(stream_is_at_end(far));
	/* The other half is still open. */
	assert_int_equal(stream_write(w.side[1].streams, far, "bye", 3), 3);
	stream_finish(w.side[1].streams, far);
	settle(&w);
	assert_ptr_equal(expect_event(&w.side[0], STREAM_EVENT_READABLE, 0), near);
	assert_false(stream_is_at_end(near));
	stream_consume(w.side[0].streams, near, w.now, 3);
	assert_true(stream_is_at_end(near));
	assert_int_equal(stream_write(w.side[1].streams, far, "x", 1), 0);
	stream_release(w.side[0].streams, near, 9);
	stream_release(w.side[1].streams, far, 9);
	settle(&w);
	expect_silence(&w.side[0]);
	expect_silence(&w.side[1]);
	streams_stats(w.side[1].streams, &stats);
	assert_int_equal(stats.open, 0);
	world_deinit(&w);
}

/* The FIN went alone, and arrives while the byte before it is lost. */
static void fin_overtakes_its_data(void **state)
{
	static struct world w;
	struct stream *near, *far;

	(void)state;
	world_init(&w, 1, 1000);
	near = open_pair(&w, &far);
	(void)stream_write(w.side[0].streams, near, "!", 1);
	w.loss_permille = 1000;
	assert_true(side_send(&w, &w.side[0], true, 65536));
	deliver(&w, &w.side[0], &w.side[1]);
	w.loss_permille = 0;
	stream_finish(w.side[0].streams, near);
	assert_true(side_send(&w, &w.side[0], true, 65536));
	deliver(&w, &w.side[0], &w.side[1]);
	/* First the later packet, then the loss. */
	w.side[0].fates[2] = w.side[0].fates[0];
	w.side[0].fates[0] = w.side[0].fates[1];
	w.side[0].fates[1] = w.side[0].fates[2];
	tell_fates(&w, &w.side[0]);
	world_check(&w);
	expect_silence(&w.side[0]);
	settle(&w);
	(void)expect_event(&w.side[0], STREAM_EVENT_ACKED, 0);
	(void)expect_event(&w.side[1], STREAM_EVENT_READABLE, 0);
	assert_int_equal(stream_readable(far), 6);
	world_deinit(&w);
}

static void reset_tells_and_returns_credit(void **state)
{
	static struct world w;
	struct streams_stats stats;
	struct stream *near, *far;
	uint64_t written = 5;

	(void)state;
	world_init(&w, 1, 1000);
	near = open_pair(&w, &far);
	while (write_pattern(&w, &w.side[0], near, &written, 4000) > 0)
		;
	for (unsigned i = 0; i < 8; i++)
		(void)side_send(&w, &w.side[0], i == 0, 65536);
	w.loss_permille = 500;
	stream_reset(w.side[0].streams, near, 77);
	assert_int_equal(stream_room(w.side[0].streams, near), 0);
	settle(&w);
	w.loss_permille = 0;
	settle(&w);
	while (true) {
		struct stream_event e;

		assert_true(streams_next_event(w.side[1].streams, &e));
		if (e.kind == STREAM_EVENT_READABLE)
			continue;
		assert_int_equal(e.kind, STREAM_EVENT_RESET);
		assert_int_equal(e.code, 77);
		break;
	}
	assert_int_equal(stream_readable(far), 0);
	assert_false(stream_is_at_end(far));
	streams_stats(w.side[1].streams, &stats);
	assert_int_equal(stats.buffered_bytes, 0);
	world_deinit(&w);
}

static void reset_after_fin_until_acknowledged(void **state)
{
	static struct world w;
	struct stream *near, *far;

	(void)state;
	world_init(&w, 1, 1000);
	near = open_pair(&w, &far);
	(void)stream_write(w.side[0].streams, near, "more", 4);
	stream_finish(w.side[0].streams, near);
	w.loss_permille = 1000;
	assert_true(side_send(&w, &w.side[0], true, 65536));
	stream_reset(w.side[0].streams, near, 5); /* the FIN is on its way */
	deliver(&w, &w.side[0], &w.side[1]);
	tell_fates(&w, &w.side[0]);
	w.loss_permille = 0;
	settle(&w);
	assert_ptr_equal(expect_event(&w.side[1], STREAM_EVENT_RESET, 5), far);
	expect_silence(&w.side[0]);
	/* Once all is acknowledged it has no effect. */
	near = open_pair(&w, &far);
	stream_finish(w.side[0].streams, near);
	settle(&w);
	(void)expect_event(&w.side[0], STREAM_EVENT_ACKED, 0);
	stream_reset(w.side[0].streams, near, 5);
	assert_false(streams_has_control(w.side[0].streams));
	world_deinit(&w);
}

static void stop_is_answered_by_reset(void **state)
{
	static struct world w;
	struct streams_stats stats;
	struct stream *near, *far;

	(void)state;
	world_init(&w, 1, 1000);
	near = open_pair(&w, &far);
	(void)stream_write(w.side[0].streams, near, "more", 4);
	stream_stop(w.side[1].streams, far, 33);
	assert_int_equal(stream_readable(far), 0);
	settle(&w);
	assert_ptr_equal(expect_event(&w.side[0], STREAM_EVENT_STOPPED, 33), near);
	assert_int_equal(stream_write(w.side[0].streams, near, "x", 1), 0);
	/* Who asked for it is not told that it happened. */
	expect_silence(&w.side[1]);
	/* The other direction lives on. */
	assert_int_equal(stream_write(w.side[1].streams, far, "still", 5), 5);
	settle(&w);
	(void)expect_event(&w.side[0], STREAM_EVENT_READABLE, 0);
	stream_release(w.side[1].streams, far, 44);
	settle(&w);
	(void)expect_event(&w.side[0], STREAM_EVENT_RESET, 44);
	stream_release(w.side[0].streams, near, 0);
	settle(&w);
	streams_stats(w.side[0].streams, &stats);
	assert_int_equal(stats.open, 0);
	streams_stats(w.side[1].streams, &stats);
	assert_int_equal(stats.open, 0);
	world_deinit(&w);
}

/* Each side does two of these, in any order, under loss: both tables must end empty. */
static void do_end(struct world *w, struct side *a, struct stream *st, uint64_t what)
{
	(void)w;
	switch (what) {
	case 0:
		stream_finish(a->streams, st);
		return;
	case 1:
		stream_reset(a->streams, st, 1);
		return;
	case 2:
		stream_stop(a->streams, st, 2);
		return;
	case 3:
		(void)stream_write(a->streams, st, "12345678", 8);
		return;
	case 4:
		stream_consume(a->streams, st, w->now, stream_readable(st));
		return;
	default:
		return;
	}
}

static void every_order_of_ends(void **state)
{
	static struct world w;
	struct streams_stats stats;
	struct stream *pair[2];

	(void)state;
	world_init(&w, 5, 1000);
	w.reorders = true;
	for (unsigned round = 0; round < 600; round++) {
		w.loss_permille = 0;
		pair[0] = open_pair(&w, &pair[1]);
		w.loss_permille = (unsigned)rng_below(&w.rng, 400);
		w.duplicate_permille = 100;
		w.spurious_permille = 100;
		for (unsigned step = 0; step < 6; step++) {
			uint64_t who = rng_below(&w.rng, 2);

			do_end(&w, &w.side[who], pair[who], rng_below(&w.rng, 6));
			if (chance(&w, 400))
				(void)turn(&w, 4);
		}
		w.loss_permille = 100;
		stream_release(w.side[0].streams, pair[0], 3);
		if (chance(&w, 500))
			(void)turn(&w, 4);
		stream_release(w.side[1].streams, pair[1], 4);
		settle(&w);
		drop_events(&w.side[0]);
		drop_events(&w.side[1]);
		streams_stats(w.side[0].streams, &stats);
		assert_int_equal(stats.open, 0);
		streams_stats(w.side[1].streams, &stats);
		assert_int_equal(stats.open, 0);
	}
	assert_int_equal(w.pool.used > 0, 1); /* the slabs */
	world_deinit(&w);
}

static void an_unused_stream_ends_at_both_sides(void **state)
{
	static struct world w;
	struct streams_stats stats;
	struct stream *near, *far;

	(void)state;
	world_init(&w, 1, 1000);
	assert_int_equal(streams_open(w.side[0].streams, &near), 0);
	stream_release(w.side[0].streams, near, 8);
	settle(&w);
	far = expect_event(&w.side[1], STREAM_EVENT_OPENED, 0);
	(void)expect_event(&w.side[1], STREAM_EVENT_RESET, 8);
	(void)expect_event(&w.side[1], STREAM_EVENT_STOPPED, 8);
	stream_release(w.side[1].streams, far, 0);
	settle(&w);
	streams_stats(w.side[0].streams, &stats);
	assert_int_equal(stats.open, 0);
	streams_stats(w.side[1].streams, &stats);
	assert_int_equal(stats.open, 0);
	world_deinit(&w);
}

static void abort_ends_all_at_once(void **state)
{
	static struct world w;
	struct streams_stats stats;
	struct stream *near, *far, *again;

	(void)state;
	world_init(&w, 1, 1000);
	near = open_pair(&w, &far);
	(void)stream_write(w.side[0].streams, near, "more", 4);
	streams_abort_all(w.side[0].streams, 99);
	world_check(&w);
	assert_false(streams_has_data(w.side[0].streams));
	assert_false(streams_has_control(w.side[0].streams));
	assert_ptr_equal(expect_event(&w.side[0], STREAM_EVENT_RESET, 99), near);
	assert_int_equal(streams_open(w.side[0].streams, &again), -EAGAIN);
	stream_release(w.side[0].streams, near, 0);
	streams_stats(w.side[0].streams, &stats);
	assert_int_equal(stats.open, 0);
	world_deinit(&w);
}

/* ---- small promises ---- */

static void a_probe_repeats_the_oldest(void **state)
{
	static struct world w;
	struct stream *near, *far;

	(void)state;
	world_init(&w, 1, 1000);
	assert_false(streams_probe_data(w.side[0].streams));
	near = open_pair(&w, &far);
	assert_false(streams_probe_data(w.side[0].streams));
	(void)stream_write(w.side[0].streams, near, "tail", 4);
	stream_finish(w.side[0].streams, near);
	assert_true(side_send(&w, &w.side[0], true, 65536));
	w.side[0].pipe_count = 0; /* it vanishes, and nobody is told */
	assert_true(streams_is_drained(w.side[0].streams));
	assert_true(streams_probe_data(w.side[0].streams));
	assert_true(streams_has_data(w.side[0].streams));
	assert_true(side_send(&w, &w.side[0], true, 65536));
	assert_true(streams_probe_data(w.side[0].streams));
	assert_true(side_send(&w, &w.side[0], true, 65536));
	settle(&w);
	(void)expect_event(&w.side[1], STREAM_EVENT_READABLE, 0);
	assert_int_equal(stream_readable(far), 9);
	world_deinit(&w);
}

static void a_late_frame_of_a_finished_stream_is_ignored(void **state)
{
	static struct world w;
	struct wire_frame f = DATA(0, 0, 5, true);
	struct stream *near, *far;

	(void)state;
	world_init(&w, 1, 1000);
	near = open_pair(&w, &far);
	stream_release(w.side[0].streams, near, 0);
	settle(&w);
	stream_release(w.side[1].streams, far, 0);
	settle(&w);
	drop_events(&w.side[1]);
	assert_int_equal(streams_on_frame(w.side[1].streams, w.now, &f), 0);
	expect_silence(&w.side[1]);
	f.stream.id = 0;
	assert_int_equal(streams_on_frame(w.side[0].streams, w.now, &f), 0);
	assert_null(streams_find(w.side[1].streams, 0));
	world_deinit(&w);
}

/* Idle blocks, as a process has them that was busy before. */
static void warm_up(struct pool *pool)
{
	void *block[POOL_CLASSES][64];

	for (unsigned class = 0; class < POOL_CLASSES; class ++) {
		for (unsigned i = 0; i < 64; i++)
			block[class][i] = pool_take(pool, (enum pool_class) class);
	}
	for (unsigned class = 0; class < POOL_CLASSES; class ++) {
		for (unsigned i = 0; i < 64; i++)
			pool_give(pool, (enum pool_class) class, block[class][i]);
	}
}

static void steady_transfer_does_not_touch_the_heap(void **state)
{
	static struct world w;
	struct stream *near, *far;
	uint64_t written = 5, read = 5, calls = 0;

	(void)state;
	world_init(&w, 1, 1000);
	near = open_pair(&w, &far);
	stream_consume(w.side[1].streams, far, w.now, 5);
	warm_up(&w.pool);
	for (unsigned i = 0; i < 600; i++) {
		w.loss_permille = i % 50 == 25 ? 100 : 0;
		while (write_pattern(&w, &w.side[0], near, &written, 65536) > 0)
			;
		(void)turn(&w, 100);
		(void)read_pattern(&w, &w.side[1], far, &read, SIZE_MAX);
		if (i == 300) /* the ring of sent packets has its size */
			calls = cv_alloc_calls();
	}
	assert_true(read > 10000000);
	assert_int_equal(cv_alloc_calls(), calls);
	world_deinit(&w);
}

/* Every allocation in turn fails: whatever was refused left both sides whole. */
static void failing_memory_is_survived(void **state)
{
	static struct world w;
	struct stream *st;
	struct streams *none = NULL;
	struct streams_options opt;

	(void)state;
	world_init(&w, 1, 1000);
	settle(&w);
	opt = options(&w, 0, 10);
	cv_alloc_fail_at(1);
	assert_int_equal(streams_new(&none, &opt), -ENOMEM);
	assert_null(none);
	for (uint64_t k = 1; k < 8; k++) {
		for (unsigned i = 0; i < 70; i++) {
			cv_alloc_fail_at(k);
			if (streams_open(w.side[0].streams, &st) == 0)
				(void)stream_write(w.side[0].streams, st, "abc", 3);
			world_check(&w);
		}
		for (unsigned i = 0; i < 10; i++) {
			cv_alloc_fail_at(0);
			(void)side_send(&w, &w.side[0], true, 65536);
			cv_alloc_fail_at(k);
			deliver(&w, &w.side[0], &w.side[1]);
			world_check(&w);
		}
		cv_alloc_fail_at(0);
		settle(&w);
	}
	world_deinit(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_are_exact_on_any_pipe),
		cmocka_unit_test(finish_both_ways),
		cmocka_unit_test(fin_overtakes_its_data),
		cmocka_unit_test(reset_tells_and_returns_credit),
		cmocka_unit_test(reset_after_fin_until_acknowledged),
		cmocka_unit_test(stop_is_answered_by_reset),
		cmocka_unit_test(every_order_of_ends),
		cmocka_unit_test(an_unused_stream_ends_at_both_sides),
		cmocka_unit_test(abort_ends_all_at_once),
		cmocka_unit_test(a_probe_repeats_the_oldest),
		cmocka_unit_test(a_late_frame_of_a_finished_stream_is_ignored),
		cmocka_unit_test(steady_transfer_does_not_touch_the_heap),
		cmocka_unit_test(failing_memory_is_survived),
	};

	return cmocka_run_group_tests_name("streams", tests, NULL, NULL);
}

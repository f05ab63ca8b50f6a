/* SPDX-License-Identifier: MIT */

/*
 * Goal: what one side writes is what the other reads, whatever becomes of the
 * frames between them; and nothing a peer sends gets past the limits. Method:
 * two `struct streams` with real `struct sent` notes, joined by a pipe of packets
 * that loses, reorders and duplicates by a seed; every packet's fate is told to
 * its sender once, late or even wrongly (lost, then acknowledged). After each
 * turn both sides must pass streams_check().
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
#include "tunnel/streams.h"

enum { PACKET_ROOM = 1200, PIPE_MAX = 256, FATES_MAX = 4096 };

struct packet {
	uint64_t number;
	size_t size;
	uint8_t bytes[PACKET_ROOM];
};

struct fate {
	uint64_t number;
	bool is_acked;
};

struct side {
	struct streams *streams;
	struct sent sent;
	struct packet pipe[PIPE_MAX]; /* towards the other side */
	unsigned pipe_count;
	struct fate fates[FATES_MAX]; /* of our packets, not yet told */
	unsigned fate_count;
};

struct world {
	struct pool pool;
	struct side side[2]; /* side 0 has the smaller key */
	struct rng_seeded seeded;
	struct rng rng;
	cv_time now;
	unsigned loss_permille, duplicate_permille, spurious_permille;
	bool reorders;
};

static struct streams_options options(struct world *w, unsigned i, uint32_t streams_max)
{
	return (struct streams_options){
		.pool = &w->pool,
		.streams_max = streams_max,
		.has_smaller_key = i == 0,
		.seed = 7,
		.stream_window_max = 32 * 1024 * 1024,
		.session_window_max = 64 * 1024 * 1024,
	};
}

static void world_init(struct world *w, uint64_t seed, uint32_t streams_max)
{
	struct streams_options opt;

	memset(w, 0, sizeof(*w));
	pool_init(&w->pool, UINT64_C(256) << 20);
	rng_seeded_init(&w->seeded, seed);
	w->rng = rng_from_seeded(&w->seeded);
	w->now = CV_SEC(1);
	for (unsigned i = 0; i < 2; i++) {
		opt = options(w, i, streams_max);
		assert_int_equal(streams_new(&w->side[i].streams, &opt), 0);
		sent_init(&w->side[i].sent, 65536);
	}
}

static void world_deinit(struct world *w)
{
	for (unsigned i = 0; i < 2; i++) {
		streams_free(w->side[i].streams);
		sent_deinit(&w->side[i].sent);
	}
	assert_true(pool_check(&w->pool));
	pool_deinit(&w->pool);
}

static void world_check(struct world *w)
{
	assert_true(streams_check(w->side[0].streams));
	assert_true(streams_check(w->side[1].streams));
}

static bool chance(struct world *w, unsigned permille)
{
	return rng_below(&w->rng, 1000) < permille;
}

/* Builds one packet into the pipe; false when there was nothing to send. */
static bool side_send(struct world *w, struct side *a, bool is_first, size_t quantum)
{
	struct packet *p = &a->pipe[a->pipe_count];
	struct wr out;

	if (a->pipe_count == PIPE_MAX ||
	    !(streams_has_control(a->streams) || streams_has_data(a->streams)))
		return false;
	assert_int_equal(sent_reserve(&a->sent, 1, 255), 0);
	p->number = sent_open(&a->sent);
	out = wr_init(p->bytes, PACKET_ROOM);
	streams_write_control(a->streams, w->now, &out, &a->sent);
	(void)streams_write_data(a->streams, w->now, &out, &a->sent, is_first, quantum);
	assert_false(out.bad);
	p->size = wr_size(&out);
	if (p->size == 0) {
		sent_abort(&a->sent);
		return false;
	}
	sent_commit(&a->sent, w->now, 0, 0, (uint16_t)p->size, true, false);
	a->pipe_count++;
	return true;
}

/* 0, or the first frame's refusal: then the packet is not acknowledged. */
static int side_receive(struct world *w, struct side *b, const struct packet *p)
{
	struct rd in = rd_init(p->bytes, p->size);
	struct wire_frame f;
	int r;

	while (wire_read_frame(&in, &f) == WIRE_FRAME) {
		r = streams_on_frame(b->streams, w->now, &f);
		if (r < 0)
			return r;
	}
	assert_int_equal(rd_left(&in), 0);
	return 0;
}

static void add_fate(struct side *a, uint64_t number, bool is_acked)
{
	assert_true(a->fate_count < FATES_MAX);
	a->fates[a->fate_count++] = (struct fate){ .number = number, .is_acked = is_acked };
}

/* Empties the pipe of @a into @b. */
static void deliver(struct world *w, struct side *a, struct side *b)
{
	unsigned i;
	struct packet p;
	int r;

	while (a->pipe_count > 0) {
		i = w->reorders ? (unsigned)rng_below(&w->rng, a->pipe_count) : 0;
		p = a->pipe[i];
		a->pipe_count--;
		memmove(&a->pipe[i], &a->pipe[i + 1], (a->pipe_count - i) * sizeof(p));
		if (chance(w, w->loss_permille)) {
			add_fate(a, p.number, false);
			continue;
		}
		r = side_receive(w, b, &p);
		assert_true(r == 0 || r == -ENOBUFS);
		if (r == 0 && chance(w, w->duplicate_permille))
			assert_int_equal(side_receive(w, b, &p), 0);
		if (r == 0 && chance(w, w->spurious_permille))
			add_fate(a, p.number, false); /* and acknowledged after that */
		add_fate(a, p.number, r == 0);
	}
}

static void tell_fates(struct world *w, struct side *a)
{
	struct fate fate;
	struct sent_record *record;
	const struct note *note;
	unsigned i;

	while (a->fate_count > 0) {
		/* Of one packet the order stays: it is the first found. */
		i = w->reorders ? (unsigned)rng_below(&w->rng, a->fate_count) : 0;
		for (unsigned k = 0; k < i; k++) {
			if (a->fates[k].number == a->fates[i].number)
				i = k;
		}
		fate = a->fates[i];
		a->fate_count--;
		memmove(&a->fates[i], &a->fates[i + 1], (a->fate_count - i) * sizeof(fate));
		record = sent_find(&a->sent, fate.number);
		assert_non_null(record);
		for (unsigned n = 0; n < record->note_count; n++) {
			note = sent_record_note(&a->sent, record, n);
			if (fate.is_acked)
				streams_on_acked(a->streams, w->now, note);
			else
				streams_on_lost(a->streams, note);
		}
		sent_settle(&a->sent, record, fate.number, fate.is_acked ? SENT_ACKED : SENT_LOST);
	}
	sent_reclaim(&a->sent, w->now > CV_SEC(1) ? w->now - CV_SEC(1) : 0);
}

/* One round trip: trains both ways, then what became of them. True when something moved. */
static bool turn(struct world *w, unsigned train)
{
	bool moved = false;

	for (unsigned i = 0; i < 2; i++) {
		for (unsigned n = 0; n < train; n++) {
			if (!side_send(w, &w->side[i], n % 16 == 0, 16 * PACKET_ROOM))
				break;
			moved = true;
		}
	}
	w->now += CV_MS(10);
	deliver(w, &w->side[0], &w->side[1]);
	deliver(w, &w->side[1], &w->side[0]);
	w->now += CV_MS(10);
	tell_fates(w, &w->side[0]);
	tell_fates(w, &w->side[1]);
	world_check(w);
	return moved;
}

static void settle(struct world *w)
{
	for (unsigned i = 0; i < 10000; i++) {
		if (!turn(w, 64))
			return;
	}
	fail_msg("the two sides never fall silent");
}

static uint8_t byte_at(uint64_t id, uint64_t offset)
{
	return (uint8_t)(offset * 31 + (offset >> 8) * 7 + id * 13);
}

/* Writes up to @size bytes of the stream's own pattern, in place or by copy. */
static size_t write_pattern(struct world *w, struct side *a, struct stream *st, uint64_t *offset,
                            size_t size)
{
	uint8_t bytes[4000];
	uint8_t *to = bytes;
	size_t n = CV_MIN(size, sizeof(bytes));
	bool in_place = chance(w, 500);

	if (n == 0)
		return 0;
	if (in_place) {
		n = size;
		to = stream_reserve(a->streams, st, &n);
		if (!to)
			return 0;
	}
	for (size_t i = 0; i < n; i++)
		to[i] = byte_at(stream_id(st), *offset + i);
	if (in_place)
		stream_commit(a->streams, st, n);
	else
		n = stream_write(a->streams, st, bytes, n);
	*offset += n;
	return n;
}

/* Reads and verifies; returns how much. */
static size_t read_pattern(struct world *w, struct side *b, struct stream *st, uint64_t *offset,
                           size_t max)
{
	struct stream_vec vec[4];
	size_t total = 0, n;
	unsigned count;

	while (total < max && (count = stream_peek(st, vec, 4)) > 0) {
		size_t had = 0;

		for (unsigned i = 0; i < count && total < max; i++) {
			n = CV_MIN(vec[i].size, max - total);
			for (size_t k = 0; k < n; k++)
				assert_int_equal(vec[i].bytes[k],
				                 byte_at(stream_id(st), *offset + k));
			*offset += n;
			total += n;
			had += n;
		}
		stream_consume(b->streams, st, w->now, had);
	}
	return total;
}

static struct stream *expect_event(struct side *a, enum stream_event_kind kind, uint16_t code)
{
	struct stream_event e;

	assert_true(streams_next_event(a->streams, &e));
	assert_int_equal(e.kind, kind);
	assert_int_equal(e.code, code);
	return e.stream;
}

static void expect_silence(struct side *a)
{
	struct stream_event e;

	assert_false(streams_next_event(a->streams, &e));
}

static void drop_events(struct side *a)
{
	struct stream_event e;

	while (streams_next_event(a->streams, &e))
		;
}

/* ---- bytes ---- */

enum { MANY = 12 };

struct transfer {
	struct stream *from, *to;
	uint64_t id, written, read, size;
};

static void accept_opened(struct world *w, struct side *b, struct transfer *list)
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
	(void)w;
}

static void transfer_under(uint64_t seed, unsigned loss, unsigned duplicate, unsigned spurious)
{
	static struct world w;
	struct transfer list[MANY] = { 0 };
	struct streams_stats stats;
	unsigned done = 0;

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
	for (unsigned round = 0; round < 5000 && done < MANY; round++) {
		done = 0;
		for (unsigned i = 0; i < MANY; i++) {
			struct transfer *t = &list[i];

			while (t->written < t->size &&
			       write_pattern(&w, &w.side[0], t->from, &t->written,
			                     (size_t)CV_MIN(t->size - t->written, 70000)) > 0)
				;
			if (t->written == t->size)
				stream_finish(w.side[0].streams, t->from);
			if (t->to)
				(void)read_pattern(&w, &w.side[1], t->to, &t->read, SIZE_MAX);
			if (t->to && stream_is_at_end(t->to))
				done++;
		}
		(void)turn(&w, 100);
		accept_opened(&w, &w.side[1], list);
	}
	assert_int_equal(done, MANY);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(list[i].read, list[i].size);
		stream_release(w.side[0].streams, list[i].from, 1);
		stream_release(w.side[1].streams, list[i].to, 1);
	}
	settle(&w);
	for (unsigned i = 0; i < 2; i++) {
		streams_stats(w.side[i].streams, &stats);
		assert_int_equal(stats.open, 0);
		assert_int_equal(stats.unsent_bytes, 0);
		assert_int_equal(stats.buffered_bytes, 0);
	}
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

static struct stream *open_pair(struct world *w, struct stream **far)
{
	struct stream *st;

	assert_int_equal(streams_open(w->side[0].streams, &st), 0);
	assert_int_equal(stream_write(w->side[0].streams, st, "hello", 5), 5);
	settle(w);
	*far = expect_event(&w->side[1], STREAM_EVENT_OPENED, 0);
	assert_int_equal(stream_readable(*far), 5);
	stream_accept(w->side[1].streams, *far);
	settle(w);
	return st;
}

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
	assert_int_equal(stream_room(w.side[0].streams, near), 128 * 1024);
	world_deinit(&w);
}

/* Rule 7.4: 64 streams that nobody reads, and one that must not notice. */
static void unread_streams_stall_only_themselves(void **state)
{
	static struct world w;
	struct stream *stuck[64], *fast, *far = NULL;
	uint64_t written[64] = { 0 }, fast_written = 0, fast_read = 0;
	struct stream_event e;
	unsigned turns = 0;

	(void)state;
	world_init(&w, 1, 1000);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(streams_open(w.side[0].streams, &stuck[i]), 0);
	for (unsigned round = 0; round < 400; round++) {
		for (unsigned i = 0; i < 64; i++)
			(void)write_pattern(&w, &w.side[0], stuck[i], &written[i], 16384);
		(void)turn(&w, 128);
		while (streams_next_event(w.side[1].streams, &e)) {
			if (e.kind == STREAM_EVENT_OPENED)
				stream_accept(w.side[1].streams, e.stream);
		}
	}
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(written[i], STREAM_FIRST_WINDOW_OPENER);
	assert_int_equal(streams_open(w.side[0].streams, &fast), 0);
	while (fast_read < 8000000) {
		while (write_pattern(&w, &w.side[0], fast, &fast_written, 65536) > 0)
			;
		(void)turn(&w, 128);
		while (streams_next_event(w.side[1].streams, &e)) {
			if (e.kind == STREAM_EVENT_OPENED) {
				far = e.stream;
				stream_accept(w.side[1].streams, far);
			}
		}
		if (far)
			(void)read_pattern(&w, &w.side[1], far, &fast_read, SIZE_MAX);
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
	assert_true(cv_alloc_live() - before <= 10000 * 1024);
	world_deinit(&w);
}

/* ---- rules ---- */

struct rule {
	const char *what;
	struct wire_frame frame[2];
	int result; /* of the last one; those before it are fine */
};

#define DATA(i, o, n, f)                                                                           \
	{                                                                                          \
		.type = FRAME_STREAM, .stream = {                                                  \
			.id = (i),                                                                 \
			.offset = (o),                                                             \
			.bytes = zeros,                                                            \
			.size = (n),                                                               \
			.fin = (f)                                                                 \
		}                                                                                  \
	}
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

static const uint8_t zeros[32768];

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
	struct wire_frame reset = RESET(2 * 64, 1);

	(void)state;
	world_init(&w, 1, 128);
	for (uint64_t i = 0; i < 64; i++) {
		/* Out of order, so that nothing is given back. */
		f.stream.id = 2 * i;
		assert_int_equal(streams_on_frame(w.side[1].streams, w.now, &f), 0);
	}
	f.stream.id = 2 * 64;
	f.stream.offset = 0;
	assert_int_equal(streams_on_frame(w.side[1].streams, w.now, &f), -EPROTO);
	assert_int_equal(streams_on_frame(w.side[1].streams, w.now, &reset), -EPROTO);
	world_check(&w);
	/* A RESET returns what its stream had used. */
	reset.reset.id = 0;
	reset.reset.final_size = 16384;
	assert_int_equal(streams_on_frame(w.side[1].streams, w.now, &reset), 0);
	for (unsigned i = 1; i < 32; i++) {
		reset.reset.id = 2 * i;
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
	assert_true(w.pool.used - used <= 64 * 1024); /* a slab, spans, chunks of 16 KiB */
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
		cmocka_unit_test(nothing_beyond_16_kib_before_accept),
		cmocka_unit_test(unread_streams_stall_only_themselves),
		cmocka_unit_test(a_window_grows_for_a_reader_that_keeps_up),
		cmocka_unit_test(room_comes_back_with_an_event),
		cmocka_unit_test(memory_refused_is_asked_for_again),
		cmocka_unit_test(max_streams_is_given_back_when_both_ends_are_gone),
		cmocka_unit_test(openable_when_the_limit_rises),
		cmocka_unit_test(idle_streams_are_small),
		cmocka_unit_test(rules_are_kept),
		cmocka_unit_test(the_session_window_holds),
		cmocka_unit_test(crumbs_are_refused),
		cmocka_unit_test(no_memory_changes_nothing),
		cmocka_unit_test(a_probe_repeats_the_oldest),
		cmocka_unit_test(a_late_frame_of_a_finished_stream_is_ignored),
		cmocka_unit_test(steady_transfer_does_not_touch_the_heap),
		cmocka_unit_test(failing_memory_is_survived),
	};

	return cmocka_run_group_tests_name("streams", tests, NULL, NULL);
}

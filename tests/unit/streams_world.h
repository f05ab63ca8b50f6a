/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * streams_world - two `struct streams` with real `struct sent` notes, joined by a
 * pipe of packets that loses, reorders and duplicates by a seed. Every packet's
 * fate is told to its sender once, late or even wrongly (lost, then
 * acknowledged); after each turn both sides must pass streams_check().
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

static inline struct streams_options options(struct world *w, unsigned i, uint32_t streams_max)
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

static inline void world_init(struct world *w, uint64_t seed, uint32_t streams_max)
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

static inline void world_deinit(struct world *w)
{
	for (unsigned i = 0; i < 2; i++) {
		streams_free(w->side[i].streams);
		sent_deinit(&w->side[i].sent);
	}
	assert_true(pool_check(&w->pool));
	pool_deinit(&w->pool);
}

static inline void world_check(struct world *w)
{
	assert_true(streams_check(w->side[0].streams));
	assert_true(streams_check(w->side[1].streams));
}

static inline bool chance(struct world *w, unsigned permille)
{
	return rng_below(&w->rng, 1000) < permille;
}

/* Builds one packet into the pipe; false when there was nothing to send. */
static inline bool side_send(struct world *w, struct side *a, bool is_first, size_t quantum)
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
static inline int side_receive(struct world *w, struct side *b, const struct packet *p)
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

static inline void add_fate(struct side *a, uint64_t number, bool is_acked)
{
	assert_true(a->fate_count < FATES_MAX);
	a->fates[a->fate_count++] = (struct fate){ .number = number, .is_acked = is_acked };
}

/* Empties the pipe of @a into @b. */
static inline void deliver(struct world *w, struct side *a, struct side *b)
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

static inline void tell_fates(struct world *w, struct side *a)
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
static inline bool turn(struct world *w, unsigned train)
{
	bool moved = false;

	for (unsigned i = 0; i < 2; i++) {
		for (unsigned n = 0; n < train; n++) {
			if (!side_send(w, &w->side[i], n % 16 == 0, (size_t)16 * PACKET_ROOM))
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

static inline void settle(struct world *w)
{
	for (unsigned i = 0; i < 10000; i++) {
		if (!turn(w, 64))
			return;
	}
	fail_msg("the two sides never fall silent");
}

static inline uint8_t byte_at(uint64_t id, uint64_t offset)
{
	return (uint8_t)(offset * 31 + (offset >> 8) * 7 + id * 13);
}

/* Writes up to @size bytes of the stream's own pattern, in place or by copy. */
static inline size_t write_pattern(struct world *w, struct side *a, struct stream *st,
                                   uint64_t *offset, size_t size)
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
static inline size_t read_pattern(struct world *w, struct side *b, struct stream *st,
                                  uint64_t *offset, size_t max)
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

static inline struct stream *expect_event(struct side *a, enum stream_event_kind kind,
                                          uint16_t code)
{
	struct stream_event e;

	assert_true(streams_next_event(a->streams, &e));
	assert_int_equal(e.kind, kind);
	assert_int_equal(e.code, code);
	return e.stream;
}

static inline void expect_silence(struct side *a)
{
	struct stream_event e;

	assert_false(streams_next_event(a->streams, &e));
}

static inline void drop_events(struct side *a)
{
	struct stream_event e;

	while (streams_next_event(a->streams, &e))
		;
}

/* A stream that side 0 opened with "hello" and side 1 accepted. */
static inline struct stream *open_pair(struct world *w, struct stream **far)
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

static const uint8_t zeros[32768];

/* A STREAM frame of @n zeros. */
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

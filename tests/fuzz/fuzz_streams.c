/* SPDX-License-Identifier: MIT */

/*
 * A peer that sends any frames at all to a live `struct streams`, whose
 * application answers by the same bytes. Input: operations of one byte; some take
 * a frame, read by the real parser from what follows. Oracles besides the
 * sanitizers: streams_check() after each, memory within the budget and nothing
 * left of it at the end; what is written fits and reads back.
 */
#include <errno.h>
#include <string.h>

#include "tunnel/streams.h"

enum { ROOM = 1200, STREAMS = 16 };

struct target {
	struct streams *streams;
	struct sent sent;
	struct stream *known[STREAMS];
	uint64_t told; /* packets below have had their fate */
	cv_time now;
};

static void keep(struct target *t, struct stream *st)
{
	for (unsigned i = 0; i < STREAMS; i++) {
		if (!t->known[i]) {
			t->known[i] = st;
			return;
		}
	}
	stream_release(t->streams, st, 1);
}

static void take_events(struct target *t)
{
	struct stream_event e;

	while (streams_next_event(t->streams, &e)) {
		if (e.kind == STREAM_EVENT_OPENED)
			keep(t, e.stream);
	}
}

static void send_packet(struct target *t)
{
	uint8_t bytes[ROOM];
	struct wr out = wr_init(bytes, sizeof(bytes));
	struct wire_frame f;
	struct rd in;

	if (sent_reserve(&t->sent, 1, 255) < 0)
		return;
	(void)sent_open(&t->sent);
	streams_write_control(t->streams, t->now, &out, &t->sent);
	(void)streams_write_data(t->streams, t->now, &out, &t->sent, true, 65536);
	CV_ASSERT(!out.bad);
	sent_commit(&t->sent, t->now, 0, 0, (uint16_t)wr_size(&out), true, false);
	in = rd_init(bytes, wr_size(&out));
	while (wire_read_frame(&in, &f) == WIRE_FRAME)
		;
	CV_ASSERT(rd_left(&in) == 0);
}

static void tell_fate(struct target *t, bool is_acked)
{
	struct sent_record *r;
	const struct note *note;

	if (t->told == t->sent.next)
		return;
	r = sent_find(&t->sent, t->told);
	CV_ASSERT(r);
	for (unsigned i = 0; i < r->note_count; i++) {
		note = sent_record_note(&t->sent, r, i);
		/* Some of the lost ones arrived after all. */
		if (!is_acked)
			streams_on_lost(t->streams, note);
		if (is_acked || t->told % 3 == 0)
			streams_on_acked(t->streams, t->now, note);
	}
	sent_settle(&t->sent, r, t->told, is_acked ? SENT_ACKED : SENT_LOST);
	t->told++;
	sent_reclaim(&t->sent, t->now);
}

static void use_stream(struct target *t, unsigned what, unsigned i)
{
	static const uint8_t zeros[20000];
	struct stream *st = t->known[i];
	size_t size = sizeof(zeros);
	uint8_t *to;

	if (!st) {
		if (streams_open(t->streams, &t->known[i]) < 0)
			t->known[i] = NULL;
		return;
	}
	switch (what) {
	case 0:
		stream_accept(t->streams, st);
		return;
	case 1:
		(void)stream_write(t->streams, st, zeros, sizeof(zeros));
		return;
	case 2:
		to = stream_reserve(t->streams, st, &size);
		if (to)
			memset(to, 1, size);
		stream_commit(t->streams, st, to ? size : 0);
		return;
	case 3:
		stream_finish(t->streams, st);
		return;
	case 4:
		stream_reset(t->streams, st, 2);
		return;
	case 5:
		stream_stop(t->streams, st, 3);
		return;
	case 6:
		stream_consume(t->streams, st, t->now, stream_readable(st));
		return;
	default:
		stream_release(t->streams, st, 4);
		t->known[i] = NULL;
		return;
	}
}

/* False when the peer broke a rule: the session would end. */
static bool receive(struct target *t, struct rd *in)
{
	struct wire_frame f;
	int r;

	if (wire_read_frame(in, &f) != WIRE_FRAME)
		return false;
	if (f.type != FRAME_STREAM && (f.type < FRAME_RESET || f.type > FRAME_STREAM_BLOCKED))
		return true;
	r = streams_on_frame(t->streams, t->now, &f);
	CV_ASSERT(r == 0 || r == -EPROTO || r == -ENOBUFS);
	return r != -EPROTO;
}

static bool step(struct target *t, struct rd *in)
{
	uint8_t what = rd_u8(in);

	t->now += CV_MS(what & 15);
	switch (what >> 4) {
	case 0:
	case 1:
	case 2:
	case 3:
		return receive(t, in);
	case 4:
		send_packet(t);
		return true;
	case 5:
		tell_fate(t, true);
		return true;
	case 6:
		tell_fate(t, false);
		return true;
	case 7:
		(void)streams_probe_data(t->streams);
		return true;
	default:
		use_stream(t, (what >> 4) - 8u, what & 15u);
		return true;
	}
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct target t = { .now = CV_SEC(1) };
	struct streams_options opt = { .streams_max = 64, .has_smaller_key = true, .seed = 1 };
	struct pool pool;
	struct rd in = rd_init(data, size);

	pool_init(&pool, UINT64_C(16384) * (1u + rd_u8(&in)));
	opt.pool = &pool;
	opt.stream_window_max = 1 << 20;
	opt.session_window_max = 2 << 20;
	if (streams_new(&t.streams, &opt) < 0)
		return 0;
	sent_init(&t.sent, 4096);
	while (rd_left(&in) > 0 && step(&t, &in)) {
		CV_ASSERT(streams_check(t.streams));
		CV_ASSERT(pool_check(&pool));
		take_events(&t);
	}
	streams_abort_all(t.streams, 9);
	CV_ASSERT(streams_check(t.streams));
	take_events(&t);
	streams_free(t.streams);
	sent_deinit(&t.sent);
	pool_deinit(&pool);
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

/* SPDX-License-Identifier: MIT */
#include "tunnel/streams.h"

#include <errno.h>

#include "base/alloc.h"
#include "tunnel/stream.h"

/*
 * The session's side of all streams. A frame comes in, is matched to a stream
 * by id and handed to its half (stream.c); frames go out from two lists: of
 * streams that owe control frames, and of the scheduler's for data.
 *
 *	application          streams                        session
 *	write, finish  -->   sendbuf --> sched -----------> STREAM frames, notes
 *	peek, consume  <--   recvbuf <--------------------- STREAM frames
 *	               -->   flow ---> owing -------------> MAX_*, RESET, STOP
 *	events         <--   ready                          fate of notes
 */

enum {
	/* A data frame with fewer bytes than this is put off to the next packet, unless it is
	 * the first or carries all there is. */
	FRAME_DATA_MIN = 32,
	/* kind, id, offset; and the length where it is not the packet's end that says it */
	HEADER_BARE = 1 + 6 + 6,
	HEADER_WITH_LENGTH = HEADER_BARE + 2,
	/* What a probe repeats: fits in a packet of every path. */
	PROBE_SIZE = 1150,
	/* Smoothed RTT until one was measured. */
	RTT_FIRST_MS = 100,
	/* An application that waits for memory is woken below this share of the budget. */
	WAKE_PERMILLE = 980,
};

_Static_assert(HEADER_WITH_LENGTH == (int)FRAME_STREAM_HEADER_MAX, "the header that wire.c writes");

int streams_new(struct streams **out, const struct streams_options *opt)
{
	struct streams *s = cv_zalloc(sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->pool = opt->pool;
	s->loans = opt->loans;
	stream_table_init(&s->table, opt->pool, opt->seed, opt->has_smaller_key, opt->streams_max);
	sched_init(&s->sched);
	list_init(&s->ready);
	list_init(&s->owing);
	list_init(&s->unacked);
	list_init(&s->waiting);
	s->rtt = CV_MS(RTT_FIRST_MS);
	flow_in_init(&s->in_limit, STREAM_FIRST_SESSION_WINDOW);
	flow_out_init(&s->out_limit, STREAM_FIRST_SESSION_WINDOW);
	s->stream_window_max = CV_MAX(opt->stream_window_max, STREAM_FIRST_WINDOW_OPENER);
	s->session_window_max = CV_MAX(opt->session_window_max, STREAM_FIRST_SESSION_WINDOW);
	s->unsent_cap = (size_t)128 * 1024;
	s->unsent_cap_all = (size_t)1024 * 1024;
	/* The first limit is a constant of the version; ours is told with the first packet. */
	if (opt->streams_max > STREAM_FIRST_COUNT)
		s->owes |= STREAMS_OWE_MAX_STREAMS;
	*out = s;
	return 0;
}

void streams_free(struct streams *s)
{
	uint32_t at = 0;
	struct stream *st;

	if (!s)
		return;
	while ((st = stream_table_next(&s->table, &at)) != NULL)
		stream_deinit(s, st);
	stream_table_deinit(&s->table);
	cv_free(s);
}

/* ---- the application's side ---- */

int streams_open(struct streams *s, struct stream **out)
{
	struct stream *st;
	int r;

	if (s->is_aborted || !stream_table_can_open(&s->table)) {
		s->wants_open = true;
		return -EAGAIN;
	}
	r = stream_table_add_own(&s->table, &st);
	if (r < 0)
		return r;
	stream_init(s, st, st->id, true);
	*out = st;
	return 0;
}

/* A released stream is none of the application's any more. */
struct stream *streams_find(const struct streams *s, uint64_t id)
{
	struct stream *st = stream_table_find(&s->table, id);

	return st && !st->is_released ? st : NULL;
}

/* Those that waited for the session's cap or for memory, oldest first. */
static void wake_waiting(struct streams *s)
{
	struct list *node, *next;
	size_t left;

	if (list_is_empty(&s->waiting) || s->unsent > s->unsent_cap_all / 4 * 3 ||
	    pool_permille(s->pool) >= WAKE_PERMILLE)
		return;
	/* A small budget can be spent below that share: who is woken must find a chunk, or he
	 * would be woken again at once. */
	if (pool_charge(s->pool, pool_block_size(POOL_4K)) < 0)
		return;
	pool_uncharge(s->pool, pool_block_size(POOL_4K));
	/* No more of them than there is room for: who reads first among those that are woken is not
	 * ours to say. */
	left = s->unsent_cap_all - s->unsent;
	list_for_each(node, next, &s->waiting)
	{
		left -= CV_MIN(left, stream_wake(s, list_entry(node, struct stream, waiting)));
		if (left == 0)
			break;
	}
}

void streams_set_unsent_cap(struct streams *s, size_t per_stream, size_t all)
{
	s->unsent_cap = per_stream;
	s->unsent_cap_all = all;
	wake_waiting(s);
}

void streams_set_rtt(struct streams *s, cv_duration smoothed)
{
	s->rtt = smoothed ? smoothed : CV_MS(RTT_FIRST_MS);
}

static void fill_event(struct stream_event *out, const struct stream *st)
{
	switch (out->kind) {
	case STREAM_EVENT_RESET:
		out->code = st->peer_reset_code;
		return;
	case STREAM_EVENT_STOPPED:
		out->code = st->peer_stop_code;
		return;
	case STREAM_EVENT_OPENED:
	case STREAM_EVENT_READABLE:
	case STREAM_EVENT_WRITABLE:
	case STREAM_EVENT_ACKED:
	case STREAM_EVENT_OPENABLE:
		return;
	}
	CV_UNREACHABLE();
}

bool streams_has_events(const struct streams *s)
{
	return s->is_openable || !list_is_empty(&s->ready);
}

bool streams_next_event(struct streams *s, struct stream_event *out)
{
	struct stream *st;
	unsigned kind;

	wake_waiting(s);
	if (s->is_openable) {
		s->is_openable = false;
		s->wants_open = false;
		*out = (struct stream_event){ .kind = STREAM_EVENT_OPENABLE };
		return true;
	}
	if (list_is_empty(&s->ready))
		return false;
	st = list_entry(s->ready.next, struct stream, ready);
	CV_ASSERT(st->events != 0);
	CV_ASSERT(!st->is_released);
	/* The lowest bit first: OPENED before all that can be said of the stream. */
	kind = (unsigned)__builtin_ctz(st->events);
	st->events &= (uint8_t)(st->events - 1);
	if (st->events == 0)
		list_remove(&st->ready);
	*out = (struct stream_event){
		.kind = (enum stream_event_kind)kind,
		.stream = st,
		.id = st->id,
	};
	fill_event(out, st);
	return true;
}

void streams_abort_all(struct streams *s, uint16_t code)
{
	uint32_t at = 0;
	struct stream *st;

	s->is_aborted = true;
	s->owes = 0;
	s->is_openable = false;
	while ((st = stream_table_next(&s->table, &at)) != NULL)
		stream_abort(s, st, code);
	s->owes = 0;
	s->is_openable = false;
}

struct stream *streams_most_held(const struct streams *s)
{
	uint32_t at = 0;
	struct stream *st, *most = NULL;

	while ((st = stream_table_next(&s->table, &at)) != NULL) {
		if (!st->is_released && recvbuf_held(&st->in) > 0 &&
		    (!most || recvbuf_held(&st->in) > recvbuf_held(&most->in)))
			most = st;
	}
	return most;
}

/* ---- frames in ---- */

/* The stream of @id, opened if the peer may: 0 with *@out NULL when the frame is to be ignored. */
static int find_or_admit(struct streams *s, uint64_t id, struct stream **out, bool *is_new)
{
	*out = NULL;
	*is_new = false;
	switch (stream_table_classify(&s->table, id, out)) {
	case STREAM_ID_OPEN:
	case STREAM_ID_FINISHED:
		return 0;
	case STREAM_ID_FORBIDDEN:
		return -EPROTO;
	case STREAM_ID_NEW:
		if (stream_table_add_peer(&s->table, id, out) < 0) {
			*out = NULL;
			return -ENOBUFS;
		}
		stream_init(s, *out, id, false);
		*is_new = true;
		return 0;
	}
	CV_UNREACHABLE();
}

static void undo_admission(struct streams *s, struct stream *st)
{
	stream_deinit(s, st);
	stream_table_undo(&s->table, st);
}

static int on_stream(struct streams *s, const struct wire_frame *f)
{
	struct stream *st;
	bool is_new;
	int r;

	r = find_or_admit(s, f->stream.id, &st, &is_new);
	if (r < 0 || !st)
		return r;
	r = stream_on_data(s, st, f);
	if (r < 0 && is_new)
		undo_admission(s, st);
	return r;
}

static int on_reset(struct streams *s, const struct wire_frame *f)
{
	struct stream *st;
	bool is_new;
	int r;

	r = find_or_admit(s, f->reset.id, &st, &is_new);
	if (r < 0 || !st)
		return r;
	r = stream_on_reset(s, st, f);
	if (r < 0 && is_new)
		undo_admission(s, st);
	return r;
}

static int on_stop(struct streams *s, const struct wire_frame *f)
{
	struct stream *st;
	bool is_new;
	int r;

	r = find_or_admit(s, f->reset.id, &st, &is_new);
	if (r == 0 && st)
		stream_on_stop(s, st, f->reset.code);
	return r;
}

static int on_max_stream_data(struct streams *s, const struct wire_frame *f)
{
	struct stream *st;
	bool is_new;
	int r;

	r = find_or_admit(s, f->limit.id, &st, &is_new);
	if (r == 0 && st)
		stream_on_max_data(s, st, f->limit.max);
	return r;
}

/* A hint only, so that it admits nothing. */
static int on_stream_blocked(struct streams *s, const struct wire_frame *f)
{
	struct stream *st = NULL;

	switch (stream_table_classify(&s->table, f->limit.id, &st)) {
	case STREAM_ID_OPEN:
		if (st->receive == STREAM_RECEIVE_OPEN && !st->is_stopped && st->is_accepted)
			stream_on_blocked(s, st);
		return 0;
	case STREAM_ID_NEW:
	case STREAM_ID_FINISHED:
		return 0;
	case STREAM_ID_FORBIDDEN:
		return -EPROTO;
	}
	CV_UNREACHABLE();
}

int streams_on_frame(struct streams *s, cv_time now, const struct wire_frame *f)
{
	s->now = CV_MAX(s->now, now);
	if (s->is_aborted)
		return 0;
	switch (f->type) {
	case FRAME_STREAM:
		return on_stream(s, f);
	case FRAME_RESET:
		return on_reset(s, f);
	case FRAME_STOP:
		return on_stop(s, f);
	case FRAME_MAX_DATA:
		(void)flow_out_raise(&s->out_limit, f->limit.max); /* an old one changes nothing */
		return 0;
	case FRAME_MAX_STREAM_DATA:
		return on_max_stream_data(s, f);
	case FRAME_MAX_STREAMS:
		if (stream_table_raise(&s->table, f->limit.max) && s->wants_open &&
		    stream_table_can_open(&s->table))
			s->is_openable = true;
		return 0;
	case FRAME_DATA_BLOCKED:
		s->in_limit.is_blocked = true;
		stream_renew_session_window(s);
		return 0;
	case FRAME_STREAM_BLOCKED:
		return on_stream_blocked(s, f);
	default: /* not ours: the session's dispatch is wrong, or a new type */
		return -EPROTO;
	}
}

/* ---- control frames out ---- */

bool streams_has_control(const struct streams *s)
{
	return s->owes != 0 || !list_is_empty(&s->owing);
}

/* Writes @f whole, with @note (NULL: nobody cares what becomes of it), or nothing. */
static bool put(struct wr *w, struct sent *sent, const struct wire_frame *f,
                const struct note *note)
{
	struct wr before = *w;

	if (note && sent_notes_left(sent) == 0)
		return false;
	wire_write_frame(w, f);
	if (w->bad) {
		*w = before;
		return false;
	}
	if (note)
		sent_note(sent, note);
	return true;
}

static bool put_limit(struct wr *w, struct sent *sent, enum wire_frame_type type, uint64_t id,
                      uint64_t max, enum note_tag tag)
{
	struct note note = { .tag = (uint8_t)tag, .id = id, .offset = max };
	struct wire_frame f;

	f.type = (uint8_t)type;
	f.limit.id = id;
	f.limit.max = max;
	return put(w, sent, &f, tag == NOTE_NONE ? NULL : &note);
}

static bool put_end(struct wr *w, struct sent *sent, const struct stream *st,
                    enum wire_frame_type type)
{
	bool is_reset = type == FRAME_RESET;
	struct note note = { .tag = is_reset ? NOTE_RESET : NOTE_STOP, .id = st->id };
	struct wire_frame f;

	f.type = (uint8_t)type;
	f.reset.id = st->id;
	f.reset.final_size = is_reset ? st->out.sent : 0;
	f.reset.code = is_reset ? st->reset_code : st->stop_code;
	return put(w, sent, &f, &note);
}

/* One frame that the session owes. */
static bool write_session_frame(struct streams *s, struct wr *w, struct sent *sent, unsigned what)
{
	switch (what) {
	case STREAMS_OWE_MAX_DATA:
		return put_limit(w, sent, FRAME_MAX_DATA, 0, flow_in_tell(&s->in_limit, s->in_done),
		                 NOTE_MAX_DATA);
	case STREAMS_OWE_MAX_STREAMS:
		return put_limit(w, sent, FRAME_MAX_STREAMS, 0, stream_table_tell(&s->table),
		                 NOTE_MAX_STREAMS);
	case STREAMS_OWE_BLOCKED:
		return put_limit(w, sent, FRAME_DATA_BLOCKED, 0, s->out_limit.max, NOTE_NONE);
	default:
		CV_UNREACHABLE();
	}
}

/* One frame that a stream owes; true also when it has become pointless. */
static bool write_stream_frame(struct stream *st, struct wr *w, struct sent *sent, unsigned what)
{
	switch (what) {
	case STREAM_OWES_RESET:
		return st->send != STREAM_SEND_RESET || put_end(w, sent, st, FRAME_RESET);
	case STREAM_OWES_STOP:
		return stream_receive_is_over(st) || put_end(w, sent, st, FRAME_STOP);
	case STREAM_OWES_MAX_DATA:
		return st->receive != STREAM_RECEIVE_OPEN || st->is_stopped ||
		       put_limit(w, sent, FRAME_MAX_STREAM_DATA, st->id,
		                 flow_in_tell(&st->in_limit, st->in.consumed),
		                 NOTE_MAX_STREAM_DATA);
	case STREAM_OWES_BLOCKED:
		return st->send != STREAM_SEND_OPEN || st->out.sent < st->out_limit.max ||
		       put_limit(w, sent, FRAME_STREAM_BLOCKED, st->id, st->out_limit.max,
		                 NOTE_NONE);
	default:
		CV_UNREACHABLE();
	}
}

void streams_write_control(struct streams *s, cv_time now, struct wr *w, struct sent *sent)
{
	struct stream *st;
	unsigned what;

	s->now = CV_MAX(s->now, now);
	while (s->owes) {
		what = s->owes & -(unsigned)s->owes;
		if (!write_session_frame(s, w, sent, what))
			return;
		s->owes &= (uint8_t)~what;
	}
	while (!list_is_empty(&s->owing)) {
		st = list_entry(s->owing.next, struct stream, owing);
		while (st->owes) {
			what = st->owes & -(unsigned)st->owes;
			if (!write_stream_frame(st, w, sent, what))
				return;
			st->owes &= (uint8_t)~what;
		}
		list_remove(&st->owing);
	}
}

/* ---- data out ---- */

static uint64_t session_left(const struct streams *s)
{
	return flow_out_left(&s->out_limit, s->out_used);
}

bool streams_has_data(const struct streams *s)
{
	return sched_has_urgent(&s->sched) || (sched_has_data(&s->sched) && session_left(s) > 0);
}

bool streams_has_sparse(const struct streams *s)
{
	return !list_is_empty(&s->sched.sparse) && session_left(s) > 0;
}

size_t streams_sendable(const struct streams *s)
{
	if (!streams_has_data(s))
		return 0;
	/* 1 for a FIN alone: it is something. */
	return (size_t)CV_MAX(s->lost + CV_MIN(s->unsent, session_left(s)), 1U);
}

bool streams_is_drained(const struct streams *s)
{
	return !streams_has_data(s);
}

/* What a STREAM frame of this stream would carry, given all the room. */
struct piece {
	uint64_t begin, end;
	bool is_new;
};

static struct piece next_piece(const struct streams *s, const struct stream *st)
{
	const struct sendbuf *out = &st->out;
	struct piece p = { .begin = out->sent, .end = out->sent, .is_new = true };
	struct span lost;
	uint64_t size;

	if (CV_UNLIKELY(sendbuf_next_lost(out, &lost)))
		return (struct piece){ .begin = lost.begin, .end = lost.end };
	size = CV_MIN(out->end, st->out_limit.max) - out->sent;
	p.end += CV_MIN(size, session_left(s));
	return p;
}

/*
 * How many of @have bytes go into @room behind a header. Without a length the data
 * end the packet, so that form is used only when they fill it to the last byte:
 *
 *	have >= room - 13	no length, room - 13 bytes
 *	otherwise		a length, at most room - 15 bytes; one or two stay for the next
 *packet
 */
static size_t fit(size_t have, size_t room, bool *with_length)
{
	*with_length = have < room - HEADER_BARE;
	return *with_length ? CV_MIN(have, room - HEADER_WITH_LENGTH) : room - HEADER_BARE;
}

static void account(struct streams *s, struct stream *st, const struct piece *p, size_t size,
                    bool fin)
{
	uint64_t lost = sendbuf_lost(&st->out);

	sendbuf_on_sent(&st->out, s->pool, p->begin, p->begin + size);
	if (p->is_new) {
		s->unsent -= size;
		s->out_used += size;
		if (sched_charge(&s->sched, &st->turn, size))
			s->current = NULL;
	} else {
		s->lost += sendbuf_lost(&st->out) - lost;
		if (sendbuf_lost(&st->out) == 0)
			s->current =
				NULL; /* what was lost jumped the queue; the rest has its turn */
	}
	if (fin) {
		st->is_fin_due = false;
		st->is_fin_sent = true;
	}
	stream_reschedule(s, st);
	/* One that waits for the session has its turn in wake_waiting(). */
	if (p->is_new && st->wants_room &&
	    (!list_is_linked(&st->waiting) || sendbuf_unsent(&st->out) == 0))
		(void)stream_wake(s, st);
}

/* One frame of @st; false when the packet has no room for it. */
static bool write_frame(struct streams *s, struct stream *st, struct wr *w, struct sent *sent,
                        size_t *written)
{
	struct piece p = next_piece(s, st);
	size_t room = wr_left(w), size = (size_t)CV_MIN(p.end - p.begin, (uint64_t)UINT16_MAX);
	size_t have = size;
	bool with_length = true, fin;
	uint8_t *to;

	/* A byte at least, or a FIN alone. */
	if (room < HEADER_WITH_LENGTH + (size_t)(have > 0) || sent_notes_left(sent) == 0)
		return false;
	size = fit(have, room, &with_length);
	if (size < CV_MIN(have, (size_t)FRAME_DATA_MIN) && *written > 0)
		return false;
	fin = st->is_fin_due && p.begin + size == st->out.end;
	CV_ASSERT(size > 0 || fin);

	wire_write_stream_header(w, st->id, p.begin, size, fin, with_length);
	to = wr_take(w, size);
	CV_ASSERT(to);
	if (size > 0)
		sendbuf_copy(&st->out, p.begin, to, size);
	sent_note(sent, &(struct note){
				.tag = NOTE_STREAM,
				.fin = fin,
				.size = (uint32_t)size,
				.id = st->id,
				.offset = p.begin,
			});
	*written += size;
	account(s, st, &p, size, fin);
	return true;
}

/* Whose turn it is: who had it in this train, while there is something left. */
static struct stream *pick(struct streams *s)
{
	struct sched_node *n;
	struct stream *st = s->current;
	bool has_window = session_left(s) > 0;

	if (st && (list_is_linked(&st->turn.urgent) || (st->turn.place != SCHED_OUT && has_window)))
		return st;
	n = sched_pick(&s->sched, has_window);
	s->current = n ? CV_CONTAINER_OF(n, struct stream, turn) : NULL;
	return s->current;
}

size_t streams_write_data(struct streams *s, cv_time now, struct wr *w, struct sent *sent,
                          bool is_first, size_t quantum)
{
	size_t written = 0;
	struct stream *st;

	s->now = CV_MAX(s->now, now);
	if (is_first) {
		s->current = NULL;
		sched_set_quantum(&s->sched, quantum);
	}
	while (wr_left(w) >= HEADER_WITH_LENGTH) {
		st = pick(s);
		if (!st || !write_frame(s, st, w, sent, &written))
			break;
	}
	if (session_left(s) == 0 && sched_has_data(&s->sched) &&
	    flow_out_block(&s->out_limit, s->out_used))
		s->owes |= STREAMS_OWE_BLOCKED;
	return written;
}

/* ---- the fate of frames ---- */

void streams_on_acked(struct streams *s, cv_time now, const struct note *note)
{
	struct stream *st;

	s->now = CV_MAX(s->now, now);
	switch ((enum note_tag)note->tag) {
	case NOTE_STREAM:
	case NOTE_RESET:
		st = stream_table_find_cached(&s->table, note->id);
		if (st)
			stream_on_acked(s, st, note);
		return;
	case NOTE_STOP:
	case NOTE_MAX_DATA:
	case NOTE_MAX_STREAM_DATA:
	case NOTE_MAX_STREAMS:
	case NOTE_NONE:
	case NOTE_ACK:
	case NOTE_CANDIDATES:
	case NOTE_NAT:
	case NOTE_PUNCH:
	case NOTE_ACK_FREQUENCY:
	case NOTE_DATAGRAM:
	case NOTE_PING:
		return;
	}
	CV_UNREACHABLE();
}

void streams_on_lost(struct streams *s, const struct note *note)
{
	struct stream *st;

	if (s->is_aborted)
		return;
	switch ((enum note_tag)note->tag) {
	case NOTE_STREAM:
	case NOTE_RESET:
	case NOTE_STOP:
	case NOTE_MAX_STREAM_DATA:
		st = stream_table_find_cached(&s->table, note->id);
		if (st)
			stream_on_lost(s, st, note);
		return;
	case NOTE_MAX_DATA:
		if (note->offset == s->in_limit.told)
			s->owes |= STREAMS_OWE_MAX_DATA;
		return;
	case NOTE_MAX_STREAMS:
		if (note->offset == s->table.peer_told)
			s->owes |= STREAMS_OWE_MAX_STREAMS;
		return;
	case NOTE_NONE:
	case NOTE_ACK:
	case NOTE_CANDIDATES:
	case NOTE_NAT:
	case NOTE_PUNCH:
	case NOTE_ACK_FREQUENCY:
	case NOTE_DATAGRAM:
	case NOTE_PING:
		return;
	}
	CV_UNREACHABLE();
}

bool streams_probe_data(struct streams *s)
{
	struct stream *st;

	if (list_is_empty(&s->unacked))
		return false;
	st = list_entry(s->unacked.next, struct stream, unacked);
	stream_probe(s, st, PROBE_SIZE);
	return true;
}

void streams_stats(const struct streams *s, struct streams_stats *out)
{
	*out = (struct streams_stats){
		.open = s->table.own_open + s->table.peer_open,
		.sent_bytes = s->out_used,
		.acked_bytes = s->acked,
		.received_bytes = s->delivered,
		.unsent_bytes = s->unsent,
		.buffered_bytes = s->held,
	};
}

bool streams_check(const struct streams *s)
{
	uint64_t unsent = 0, lost = 0, held = 0;
	uint32_t at = 0;
	const struct stream *st;

	while ((st = stream_table_next(&s->table, &at)) != NULL) {
		if (!stream_check(s, st))
			return false;
		unsent += sendbuf_unsent(&st->out);
		lost += sendbuf_lost(&st->out);
		held += recvbuf_held(&st->in);
	}
	return unsent == s->unsent && lost == s->lost && held == s->held &&
	       s->in_done <= s->in_used && s->in_used <= s->in_limit.told &&
	       s->out_used <= s->out_limit.max && flow_in_check(&s->in_limit, s->in_done) &&
	       sched_check(&s->sched) && stream_table_check(&s->table);
}

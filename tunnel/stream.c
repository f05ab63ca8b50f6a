/* SPDX-License-Identifier: MIT */
#include "tunnel/stream.h"

#include <errno.h>

/*
 * The send half:
 *
 *	        finish                all and FIN acknowledged
 *	OPEN -----------> FINISHED --------------------------> ACKED (final)
 *	  |                  |
 *	  +-- reset, STOP ---+--> RESET --- RESET acknowledged --> ENDED (final)
 *
 * The receive half:
 *
 *	        FIN              last hole filled
 *	OPEN ---------> SIZED ----------------------> ALL (final)
 *	  |               |
 *	  +--- RESET -----+--> RESET (final)
 *
 * A FIN behind the last byte takes OPEN to ALL in two steps at once. From every
 * state that is not final stream_abort() leads to ENDED and RESET, because then
 * the peer that would answer is gone.
 */
#define TO(state) (1u << (state))
static const unsigned send_edges[] = {
	[STREAM_SEND_OPEN] =
		TO(STREAM_SEND_FINISHED) | TO(STREAM_SEND_RESET) | TO(STREAM_SEND_ENDED),
	[STREAM_SEND_FINISHED] =
		TO(STREAM_SEND_ACKED) | TO(STREAM_SEND_RESET) | TO(STREAM_SEND_ENDED),
	[STREAM_SEND_ACKED] = 0,
	[STREAM_SEND_RESET] = TO(STREAM_SEND_ENDED),
	[STREAM_SEND_ENDED] = 0,
};

static const unsigned receive_edges[] = {
	[STREAM_RECEIVE_OPEN] = TO(STREAM_RECEIVE_SIZED) | TO(STREAM_RECEIVE_RESET),
	[STREAM_RECEIVE_SIZED] = TO(STREAM_RECEIVE_ALL) | TO(STREAM_RECEIVE_RESET),
	[STREAM_RECEIVE_ALL] = 0,
	[STREAM_RECEIVE_RESET] = 0,
};

enum {
	/* The window grows only while less of the budget is lent out, in thousandths. */
	GROW_PERMILLE = 750,
	/* WRITABLE waits until so much room is back: a read of less is not worth its calls. */
	WAKE_ROOM = 64 * 1024,
	/* What a stream says first, its target or its status, does not wait for the others' bytes:
	 * without it there is no stream. */
	FIRST_WORDS = 4 * 1024,
	/* What a stream with nothing to send may hand over while others wait: the scheduler lets
	 * as much of a sparse stream go ahead. */
	SPARSE_ROOM = 16 * 1024,
};

static bool can_send(const struct stream *st)
{
	return st->send == STREAM_SEND_OPEN || st->send == STREAM_SEND_FINISHED;
}

bool stream_send_is_over(const struct stream *st)
{
	return st->send == STREAM_SEND_ACKED || st->send == STREAM_SEND_ENDED;
}

bool stream_receive_is_over(const struct stream *st)
{
	return st->receive == STREAM_RECEIVE_ALL || st->receive == STREAM_RECEIVE_RESET;
}

static void clear_event(struct stream *st, enum stream_event_kind kind)
{
	st->events &= (uint8_t)~TO(kind);
	if (st->events == 0)
		list_remove(&st->ready);
}

/* Drops the send buffer and what the session counted for it. */
static void drop_out(struct streams *s, struct stream *st)
{
	s->unsent -= sendbuf_unsent(&st->out);
	s->lost -= sendbuf_lost(&st->out);
	sendbuf_drop(&st->out, s->pool);
	st->out.end = st->out.sent;
	st->is_fin_due = false;
	st->wants_room = false;
	list_remove(&st->waiting);
}

/* The only place that writes st->send. */
static void enter_send(struct streams *s, struct stream *st, enum stream_send_state next)
{
	CV_ASSERT(send_edges[st->send] & TO(next));
	st->send = (uint8_t)next;

	switch (next) {
	case STREAM_SEND_FINISHED:
		st->is_fin_due = true;
		st->wants_room = false;
		list_remove(&st->waiting);
		break;
	case STREAM_SEND_ACKED:
		stream_add_event(s, st, STREAM_EVENT_ACKED);
		break;
	case STREAM_SEND_RESET:
		drop_out(s, st);
		stream_owe(s, st, STREAM_OWES_RESET);
		break;
	case STREAM_SEND_ENDED:
		drop_out(s, st);
		break;
	case STREAM_SEND_OPEN: /* no edge leads here */
		CV_UNREACHABLE();
	}
	stream_reschedule(s, st);
}

/* Credit of what will never be read in order: all that was seen counts as done. */
static void give_credit_back(struct streams *s, struct stream *st)
{
	if (!st->is_stopped) /* else it was given as it came */
		s->in_done += st->in_highest - st->in.in_order;
	s->held -= recvbuf_held(&st->in);
	recvbuf_drop(&st->in, s->pool);
	stream_renew_session_window(s);
}

/* The only place that writes st->receive. */
static void enter_receive(struct streams *s, struct stream *st, enum stream_receive_state next)
{
	CV_ASSERT(receive_edges[st->receive] & TO(next));
	st->receive = (uint8_t)next;

	switch (next) {
	case STREAM_RECEIVE_SIZED:
		return;
	case STREAM_RECEIVE_RESET:
		give_credit_back(s, st);
		clear_event(st, STREAM_EVENT_READABLE);
		return;
	case STREAM_RECEIVE_ALL:
		return;
	case STREAM_RECEIVE_OPEN: /* no edge leads here */
		break;
	}
	CV_UNREACHABLE();
}

void stream_init(struct streams *s, struct stream *st, uint64_t id, bool is_ours)
{
	CV_ASSERT(st->is_live);
	CV_ASSERT(st->id == id);
	sched_node_init(&st->turn);
	list_init(&st->ready);
	list_init(&st->owing);
	list_init(&st->unacked);
	list_init(&st->waiting);
	sendbuf_init(&st->out);
	recvbuf_init(&st->in, s->loans);
	st->in_final = STREAM_SIZE_UNKNOWN;
	st->is_ours = is_ours;
	st->is_announced = is_ours;
	st->is_accepted = is_ours;
	/* Rule 1.4: the opener may send little before it is accepted; the answer may be long. */
	flow_in_init(&st->in_limit,
	             is_ours ? STREAM_FIRST_WINDOW_OPENER : STREAM_FIRST_WINDOW_UNACCEPTED);
	flow_out_init(&st->out_limit,
	              is_ours ? STREAM_FIRST_WINDOW_UNACCEPTED : STREAM_FIRST_WINDOW_OPENER);
	st->in_limit.tune_at = s->now;
}

void stream_deinit(struct streams *s, struct stream *st)
{
	drop_out(s, st);
	s->held -= recvbuf_held(&st->in);
	recvbuf_drop(&st->in, s->pool);
	sched_remove(&st->turn);
	list_remove(&st->ready);
	list_remove(&st->owing);
	list_remove(&st->unacked);
	if (s->current == st)
		s->current = NULL;
}

void stream_add_event(struct streams *s, struct stream *st, enum stream_event_kind kind)
{
	if (st->is_released || !st->is_announced)
		return;
	st->events |= (uint8_t)TO(kind);
	if (!list_is_linked(&st->ready))
		list_add_tail(&s->ready, &st->ready);
}

void stream_announce(struct streams *s, struct stream *st)
{
	if (st->is_announced)
		return;
	st->is_announced = true;
	stream_add_event(s, st, STREAM_EVENT_OPENED);
}

void stream_owe(struct streams *s, struct stream *st, unsigned what)
{
	st->owes |= (uint8_t)what;
	if (!list_is_linked(&st->owing))
		list_add_tail(&s->owing, &st->owing);
}

void stream_reschedule(struct streams *s, struct stream *st)
{
	const struct sendbuf *out = &st->out;
	bool is_alive = can_send(st);
	bool has_data = is_alive && out->sent < CV_MIN(out->end, st->out_limit.max);
	bool is_urgent =
		is_alive && (sendbuf_lost(out) > 0 || (st->is_fin_due && out->sent == out->end));
	bool is_unacked =
		is_alive && (out->acked < out->sent || (st->is_fin_sent && !st->is_fin_acked));

	sched_set(&s->sched, &st->turn, s->now, s->rtt, is_urgent, has_data);
	if (is_unacked == list_is_linked(&st->unacked))
		return;
	if (is_unacked)
		list_add_tail(&s->unacked, &st->unacked);
	else
		list_remove(&st->unacked);
}

void stream_settle(struct streams *s, struct stream *st)
{
	if (!st->is_released || !stream_send_is_over(st) || !stream_receive_is_over(st))
		return;
	stream_deinit(s, st);
	stream_table_finish(&s->table, st);
	if (stream_table_is_due(&s->table))
		s->owes |= STREAMS_OWE_MAX_STREAMS;
	if (s->wants_open && stream_table_can_open(&s->table))
		s->is_openable = true;
}

/* ---- sending: the application's side ---- */

static size_t room_below(size_t cap, uint64_t used)
{
	return used < cap ? cap - (size_t)used : 0;
}

/* What the stream itself has room for. */
static size_t own_room(const struct streams *s, const struct stream *st)
{
	uint64_t window;
	size_t room;

	if (st->send != STREAM_SEND_OPEN)
		return 0;
	window = flow_out_left(&st->out_limit, st->out.end);
	room = room_below(s->unsent_cap, sendbuf_unsent(&st->out));
	return (size_t)CV_MIN((uint64_t)room, window);
}

static void await_session(struct streams *s, struct stream *st)
{
	st->wants_room = true;
	if (!list_is_linked(&st->waiting)) {
		/* Whose turn it was when another took the room is the next again. */
		if (st->has_turn)
			list_add_head(&s->waiting, &st->waiting);
		else
			list_add_tail(&s->waiting, &st->waiting);
	}
	st->has_turn = false;
}

/* Tells the peer, once a limit, that its window stops an application that has more. */
static void call_blocked(struct streams *s, struct stream *st)
{
	if (flow_out_block(&st->out_limit, st->out.sent))
		stream_owe(s, st, STREAM_OWES_BLOCKED);
}

size_t stream_room(struct streams *s, struct stream *st)
{
	size_t own = own_room(s, st);
	size_t room = CV_MIN(own, room_below(s->unsent_cap_all, s->unsent));

	/* Whoever has something to send already stands behind those that wait, else the first to
	 * come would keep the session's room among them. Who has not is let through with a little.
	 */
	if (!list_is_empty(&s->waiting) && !st->has_turn)
		room = sendbuf_unsent(&st->out) > 0 ? 0 : CV_MIN(room, (size_t)SPARSE_ROOM);
	if (room > 0) {
		st->wants_room = false;
		list_remove(&st->waiting);
		return room;
	}
	if (st->send != STREAM_SEND_OPEN)
		return 0;
	if (own > 0) {
		await_session(s, st);
	} else {
		st->wants_room = true;
		call_blocked(s, st);
	}
	return 0;
}

size_t stream_wake(struct streams *s, struct stream *st)
{
	size_t own;

	if (!st->wants_room)
		return 0;
	own = own_room(s, st);
	/* With nothing left to send, any room will do: more may never come. */
	if (own == 0 ||
	    (own < CV_MIN(s->unsent_cap / 4, (size_t)WAKE_ROOM) && sendbuf_unsent(&st->out) > 0)) {
		if (own == 0)
			call_blocked(s, st);
		/* It is its own windows that it waits for, and nobody behind it. */
		list_remove(&st->waiting);
		return 0;
	}
	if (s->unsent >= s->unsent_cap_all) {
		await_session(s, st);
		return 0;
	}
	st->wants_room = false;
	st->has_turn = list_is_linked(&st->waiting);
	list_remove(&st->waiting);
	stream_add_event(s, st, STREAM_EVENT_WRITABLE);
	return own;
}

uint8_t *stream_reserve(struct streams *s, struct stream *st, size_t *size)
{
	size_t room = stream_room(s, st);
	uint8_t *bytes;

	*size = CV_MIN(*size, room);
	if (*size == 0)
		return NULL;
	bytes = sendbuf_reserve(&st->out, s->pool, size);
	if (!bytes)
		await_session(s, st);
	return bytes;
}

void stream_commit(struct streams *s, struct stream *st, size_t size)
{
	/* Reset since the reservation: the memory is gone and nobody wants the bytes. */
	if (st->send != STREAM_SEND_OPEN)
		return;
	sendbuf_commit(&st->out, s->pool, size);
	st->has_turn = st->has_turn && size == 0;
	s->unsent += size;
	stream_reschedule(s, st);
}

size_t stream_write(struct streams *s, struct stream *st, const void *bytes, size_t size)
{
	size_t room = stream_room(s, st);
	size_t taken;

	if (room < size && size <= FIRST_WORDS && st->out.end <= FIRST_WORDS - size)
		room = own_room(s, st);
	taken = CV_MIN(size, room);
	if (taken > 0) {
		size = taken;
		taken = sendbuf_append(&st->out, s->pool, bytes, size);
		if (taken < size)
			await_session(s, st);
		st->has_turn = false;
		s->unsent += taken;
		stream_reschedule(s, st);
	}
	return taken;
}

void stream_finish(struct streams *s, struct stream *st)
{
	if (st->send == STREAM_SEND_OPEN)
		enter_send(s, st, STREAM_SEND_FINISHED);
}

void stream_reset(struct streams *s, struct stream *st, uint16_t code)
{
	if (!can_send(st))
		return;
	st->reset_code = code;
	enter_send(s, st, STREAM_SEND_RESET);
}

/* ---- sending: the fate of frames ---- */

static void on_data_acked(struct streams *s, struct stream *st, const struct note *note)
{
	uint64_t lost = sendbuf_lost(&st->out);
	uint64_t acked = st->out.acked;

	sendbuf_on_acked(&st->out, s->pool, note->offset, note->offset + note->size);
	s->acked += st->out.acked - acked;
	s->lost += sendbuf_lost(&st->out) - lost;
	if (note->fin) {
		st->is_fin_acked = true;
		st->is_fin_due = false;
	}
	if (st->send == STREAM_SEND_FINISHED && st->is_fin_acked && st->out.acked == st->out.end)
		enter_send(s, st, STREAM_SEND_ACKED); /* schedules */
	else
		stream_reschedule(s, st);
}

void stream_on_acked(struct streams *s, struct stream *st, const struct note *note)
{
	if (note->tag == NOTE_STREAM && can_send(st))
		on_data_acked(s, st, note);
	else if (note->tag == NOTE_RESET && st->send == STREAM_SEND_RESET)
		enter_send(s, st, STREAM_SEND_ENDED);
	stream_settle(s, st);
}

void stream_on_lost(struct streams *s, struct stream *st, const struct note *note)
{
	uint64_t lost = sendbuf_lost(&st->out);

	if (note->tag == NOTE_STREAM && can_send(st)) {
		sendbuf_on_lost(&st->out, s->pool, note->offset, note->offset + note->size);
		s->lost += sendbuf_lost(&st->out) - lost;
		if (note->fin && !st->is_fin_acked)
			st->is_fin_due = true;
		stream_reschedule(s, st);
	} else if (note->tag == NOTE_RESET && st->send == STREAM_SEND_RESET) {
		stream_owe(s, st, STREAM_OWES_RESET);
	} else if (note->tag == NOTE_STOP && !stream_receive_is_over(st)) {
		stream_owe(s, st, STREAM_OWES_STOP);
	} else if (note->tag == NOTE_MAX_STREAM_DATA && st->receive == STREAM_RECEIVE_OPEN &&
	           !st->is_stopped && note->offset == st->in_limit.told) {
		/* An older limit than the last one told is of no use any more. */
		stream_owe(s, st, STREAM_OWES_MAX_DATA);
	}
}

void stream_probe(struct streams *s, struct stream *st, size_t size)
{
	uint64_t lost = sendbuf_lost(&st->out);

	CV_ASSERT(can_send(st));
	if (!sendbuf_probe(&st->out, s->pool, size) && st->is_fin_sent && !st->is_fin_acked)
		st->is_fin_due = true;
	s->lost += sendbuf_lost(&st->out) - lost;
	stream_reschedule(s, st);
}

void stream_on_stop(struct streams *s, struct stream *st, uint16_t code)
{
	stream_announce(s, st);
	if (!can_send(st)) /* all has arrived, or was reset already */
		return;
	st->peer_stop_code = code;
	stream_reset(s, st, code);
	stream_add_event(s, st, STREAM_EVENT_STOPPED);
	clear_event(st, STREAM_EVENT_WRITABLE);
}

void stream_on_max_data(struct streams *s, struct stream *st, uint64_t max)
{
	if (!flow_out_raise(&st->out_limit, max) || !can_send(st))
		return;
	stream_reschedule(s, st);
	(void)stream_wake(s, st);
}

/* ---- receiving: the application's side ---- */

void stream_accept(struct streams *s, struct stream *st)
{
	if (st->is_accepted)
		return;
	st->is_accepted = true;
	st->in_limit.window = STREAM_FIRST_WINDOW_OPENER;
	st->in_limit.tune_done = st->in.consumed;
	st->in_limit.tune_at = s->now;
	if (st->receive == STREAM_RECEIVE_OPEN && !st->is_stopped)
		stream_owe(s, st, STREAM_OWES_MAX_DATA);
}

unsigned stream_peek(const struct stream *st, struct stream_vec *vec, unsigned max)
{
	struct recvbuf_piece piece[16];
	unsigned count = recvbuf_peek(&st->in, piece, CV_MIN(max, CV_ARRAY_SIZE(piece)));

	for (unsigned i = 0; i < count; i++)
		vec[i] = (struct stream_vec){ .bytes = piece[i].bytes, .size = piece[i].size };
	return count;
}

size_t stream_readable(const struct stream *st)
{
	return recvbuf_readable(&st->in);
}

static void renew_window(struct streams *s, struct stream *st)
{
	uint64_t done = st->in.consumed;
	uint32_t window;
	bool may_grow;

	if (st->receive != STREAM_RECEIVE_OPEN || st->is_stopped || !st->is_accepted ||
	    !flow_in_is_due(&st->in_limit, done))
		return;
	/* The reader keeps up: what it leaves behind is less than half of the window. */
	may_grow = recvbuf_readable(&st->in) <= st->in_limit.window / 2 &&
	           pool_permille(s->pool) < GROW_PERMILLE;
	flow_in_tune(&st->in_limit, s->now, done, s->rtt, s->stream_window_max, may_grow);
	stream_owe(s, st, STREAM_OWES_MAX_DATA);
	/* A session's window is half as large again as any of its streams' (as in quic-go), so
	 * that one stream at full speed does not wait for it. */
	window = st->in_limit.window;
	window = window > s->session_window_max / 3 * 2 ? s->session_window_max
	                                                : window + window / 2;
	s->in_limit.window = CV_MAX(s->in_limit.window, window);
}

void stream_renew_session_window(struct streams *s)
{
	if (!flow_in_is_due(&s->in_limit, s->in_done))
		return;
	flow_in_tune(&s->in_limit, s->now, s->in_done, s->rtt, s->session_window_max,
	             pool_permille(s->pool) < GROW_PERMILLE);
	s->owes |= STREAMS_OWE_MAX_DATA;
}

void stream_consume(struct streams *s, struct stream *st, cv_time now, size_t size)
{
	s->now = CV_MAX(s->now, now);
	recvbuf_consume(&st->in, s->pool, size);
	s->held -= size;
	renew_window(s, st);
}

void stream_on_blocked(struct streams *s, struct stream *st)
{
	st->in_limit.is_blocked = true;
	renew_window(s, st);
}

bool stream_is_at_end(const struct stream *st)
{
	return st->receive == STREAM_RECEIVE_ALL && st->in.consumed == st->in_final;
}

bool stream_is_delivered(const struct stream *st)
{
	if (st->send == STREAM_SEND_OPEN)
		return st->out.acked == st->out.end;
	return st->send != STREAM_SEND_FINISHED;
}

void stream_stop(struct streams *s, struct stream *st, uint16_t code)
{
	switch ((enum stream_receive_state)st->receive) {
	case STREAM_RECEIVE_OPEN:
		if (st->is_stopped)
			return;
		give_credit_back(s, st);
		st->is_stopped = true;
		st->stop_code = code;
		stream_owe(s, st, STREAM_OWES_STOP);
		break;
	case STREAM_RECEIVE_SIZED:
		/* The peer has sent it all; what is missing may still come, and is ignored. */
		enter_receive(s, st, STREAM_RECEIVE_RESET);
		break;
	case STREAM_RECEIVE_ALL:
		s->held -= recvbuf_held(&st->in);
		recvbuf_drop(&st->in, s->pool);
		break;
	case STREAM_RECEIVE_RESET:
		return;
	}
	clear_event(st, STREAM_EVENT_READABLE);
}

void stream_release(struct streams *s, struct stream *st, uint16_t code)
{
	CV_ASSERT(!st->is_released);
	if (st->send == STREAM_SEND_OPEN)
		stream_reset(s, st, code);
	stream_stop(s, st, code);
	st->is_released = true;
	st->events = 0;
	list_remove(&st->ready);
	stream_settle(s, st);
}

/* ---- receiving: frames ---- */

/* Rules on sizes; all of them before anything changes. */
static int check_size(const struct streams *s, const struct stream *st, uint64_t end, bool is_final)
{
	if (st->in_final != STREAM_SIZE_UNKNOWN) {
		if (end > st->in_final || (is_final && end != st->in_final))
			return -EPROTO;
		return 0;
	}
	if (is_final && end < st->in_highest)
		return -EPROTO;
	if (end <= st->in_highest)
		return 0;
	if (end > st->in_limit.told || end - st->in_highest > s->in_limit.told - s->in_used)
		return -EPROTO;
	return 0;
}

/* Counts against the windows; of a stopped stream it is done at once. */
static void count(struct streams *s, struct stream *st, uint64_t end)
{
	uint64_t more = end > st->in_highest ? end - st->in_highest : 0;

	st->in_highest += more;
	s->in_used += more;
	if (st->is_stopped)
		s->in_done += more;
}

static void on_data_stopped(struct streams *s, struct stream *st, uint64_t end, bool fin)
{
	count(s, st, end);
	stream_renew_session_window(s);
	if (!fin)
		return;
	st->in_final = end;
	enter_receive(s, st, STREAM_RECEIVE_RESET);
	stream_settle(s, st);
}

int stream_on_data(struct streams *s, struct stream *st, const struct wire_frame *f)
{
	uint64_t end, before, held;
	int r;

	if (__builtin_add_overflow(f->stream.offset, f->stream.size, &end))
		return -EPROTO;
	r = check_size(s, st, end, f->stream.fin);
	if (r < 0)
		return r;
	if (stream_receive_is_over(st))
		return 0;
	if (st->is_stopped) {
		on_data_stopped(s, st, end, f->stream.fin);
		return 0;
	}

	before = st->in.in_order;
	held = recvbuf_held(&st->in);
	r = recvbuf_write(&st->in, s->pool, f->stream.offset, f->stream.bytes, f->stream.size);
	if (r < 0)
		return r;
	count(s, st, end);
	s->in_done += st->in.in_order - before;
	s->delivered += st->in.in_order - before;
	s->held += recvbuf_held(&st->in) - held;
	stream_renew_session_window(s);

	if (f->stream.fin && st->receive == STREAM_RECEIVE_OPEN) {
		st->in_final = end;
		enter_receive(s, st, STREAM_RECEIVE_SIZED);
	}
	if (st->receive == STREAM_RECEIVE_SIZED && st->in.in_order == st->in_final) {
		enter_receive(s, st, STREAM_RECEIVE_ALL);
		before = UINT64_MAX; /* the end is news even without a byte */
	}
	if (st->in.in_order != before) {
		if (st->is_announced)
			stream_add_event(s, st, STREAM_EVENT_READABLE);
		stream_announce(s, st);
	}
	stream_settle(s, st);
	return 0;
}

int stream_on_reset(struct streams *s, struct stream *st, const struct wire_frame *f)
{
	int r = check_size(s, st, f->reset.final_size, true);

	if (r < 0)
		return r;
	/* All of it is here, and what is here is delivered. */
	if (stream_receive_is_over(st))
		return 0;
	count(s, st, f->reset.final_size);
	st->in_final = f->reset.final_size;
	st->peer_reset_code = f->reset.code;
	enter_receive(s, st, STREAM_RECEIVE_RESET);
	stream_announce(s, st);
	if (!st->is_stopped) /* else it is the answer that was asked for */
		stream_add_event(s, st, STREAM_EVENT_RESET);
	stream_settle(s, st);
	return 0;
}

void stream_abort(struct streams *s, struct stream *st, uint16_t code)
{
	bool was_over = stream_send_is_over(st) && stream_receive_is_over(st);

	st->owes = 0;
	list_remove(&st->owing);
	if (!stream_send_is_over(st))
		enter_send(s, st, STREAM_SEND_ENDED);
	if (!stream_receive_is_over(st))
		enter_receive(s, st, STREAM_RECEIVE_RESET);
	if (!st->is_announced)
		st->is_released = true; /* nobody will */
	if (!was_over) {
		st->peer_reset_code = code;
		clear_event(st, STREAM_EVENT_WRITABLE);
		stream_add_event(s, st, STREAM_EVENT_RESET);
	}
	stream_settle(s, st);
}

/* ---- small things ---- */

uint64_t stream_id(const struct stream *st)
{
	return st->id;
}

void stream_set_tag(struct stream *st, uint64_t tag)
{
	st->tag = tag;
}

uint64_t stream_tag(const struct stream *st)
{
	return st->tag;
}

bool stream_check(const struct streams *s, const struct stream *st)
{
	bool is_over = stream_send_is_over(st) || st->send == STREAM_SEND_RESET;
	uint64_t done = st->is_stopped ? st->in_highest : st->in.in_order;

	if (!sendbuf_check(&st->out) || !recvbuf_check(&st->in))
		return false;
	if (!flow_in_check(&st->in_limit, st->in.consumed) || st->in_highest > st->in_limit.told)
		return false;
	if (st->out.sent > st->out_limit.max || done > st->in_highest)
		return false;
	if (st->in_final != STREAM_SIZE_UNKNOWN && st->in_highest > st->in_final)
		return false;
	if ((st->in_final == STREAM_SIZE_UNKNOWN) &&
	    (st->receive == STREAM_RECEIVE_SIZED || st->receive == STREAM_RECEIVE_ALL))
		return false;
	if (is_over &&
	    (st->turn.place != SCHED_OUT || list_is_linked(&st->turn.urgent) ||
	     list_is_linked(&st->unacked) || list_is_linked(&st->waiting) || st->wants_room))
		return false;
	if ((st->events != 0) != list_is_linked(&st->ready) ||
	    (st->owes != 0) != list_is_linked(&st->owing))
		return false;
	/* Nothing is held of a half that is given up. */
	if (is_over && st->out.head)
		return false;
	if (st->receive == STREAM_RECEIVE_RESET && st->in.head)
		return false;
	if (st->is_released && stream_send_is_over(st) && stream_receive_is_over(st))
		return false;
	return s->table.ids.count > 0;
}

/* SPDX-License-Identifier: MIT */
#include "tunnel/link.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"

/*
 * Go-back-N: what arrives out of turn is thrown away, and a timeout sends everything again from
 * the first message that is not acknowledged. A server session exchanges a few messages a minute,
 * so the simplest scheme that is never wrong costs nothing; and the receiver needs no buffer,
 * which is what lets a hundred thousand of them exist.
 *
 *	acked_seq        sent_seq              next_seq
 *	    | sent, not acked | queued, not sent  |
 *	    first ------------------------------- last
 *
 * Sequence numbers have 16 bits and wrap; at most LINK_QUEUE_MAX are in use, so the difference of
 * two of them says which comes first.
 */

#define RESEND_FIRST CV_MS(250)
#define RESEND_MAX CV_SEC(2)

enum { MESSAGE_HEADER = 1 + 2 + 1 + 2 }; /* frame type, seq, type, size: see wire.c */

struct link_message {
	struct link_message *next;
	uint16_t seq;
	uint16_t size;
	uint8_t type;
	uint8_t body[]; /* @size bytes */
};

/* How far @seq lies behind @from. */
static uint16_t distance(uint16_t from, uint16_t seq)
{
	return (uint16_t)(seq - from);
}

void link_init(struct link *l)
{
	*l = (struct link){ .resend_at = CV_TIME_NEVER };
}

static void drop_first(struct link *l)
{
	struct link_message *m = l->first;

	l->first = m->next;
	if (!l->first)
		l->last = NULL;
	CV_ASSERT(l->queued > 0);
	l->queued--;
	cv_free(m);
}

void link_deinit(struct link *l)
{
	while (l->first)
		drop_first(l);
	link_init(l);
}

int link_send(struct link *l, const struct wire_message *m)
{
	uint8_t body[FRAME_MESSAGE_MAX];
	struct link_message *e;
	size_t size;

	if (l->queued >= LINK_QUEUE_MAX)
		return -ENOBUFS;
	size = wire_write_message(body, sizeof(body), m);
	e = cv_zalloc(sizeof(*e) + size);
	if (!e)
		return -ENOMEM;
	e->seq = l->next_seq++;
	e->type = m->type;
	e->size = (uint16_t)size;
	memcpy(e->body, body, size);
	if (l->last)
		l->last->next = e;
	else
		l->first = e;
	l->last = e;
	l->queued++;
	return 0;
}

/* 250 ms doubling to 2 s. */
static cv_duration resend_delay(const struct link *l)
{
	cv_duration delay = RESEND_FIRST << CV_MIN(l->tries, 8);

	return CV_MIN(delay, RESEND_MAX);
}

static void on_ack(struct link *l, cv_time now, uint16_t next)
{
	uint16_t count = distance(l->acked_seq, next);
	bool was_behind = distance(l->acked_seq, l->sent_seq) < count;

	/* Beyond what was ever queued: not from a sane peer. */
	if (count == 0 || count > l->queued)
		return;
	for (uint16_t i = 0; i < count; i++)
		drop_first(l);
	l->acked_seq = next;
	if (was_behind) /* the acknowledgement of what was about to be sent again */
		l->sent_seq = next;
	l->tries = 0;
	l->resend_at =
		l->sent_seq != l->acked_seq ? cv_time_after(now, RESEND_FIRST) : CV_TIME_NEVER;
}

bool link_on_frame(struct link *l, cv_time now, const struct wire_frame *f, struct wire_message *m)
{
	if (f->type == FRAME_MESSAGE_ACK) {
		on_ack(l, now, f->message_ack.next);
		return false;
	}
	CV_ASSERT(f->type == FRAME_MESSAGE);
	l->is_ack_due = true;
	if (f->message.seq != l->expected_seq)
		return false;
	/* Taken even if it makes no sense: a message that is never acknowledged is sent for ever.
	 */
	l->expected_seq++;
	return wire_read_message(f->message.body, f->message.size, f->message.type, m);
}

static bool can_send_new(const struct link *l)
{
	return l->sent_seq != l->next_seq && distance(l->acked_seq, l->sent_seq) < LINK_WINDOW;
}

bool link_has_output(const struct link *l, cv_time now)
{
	return l->is_ack_due || can_send_new(l) || now >= l->resend_at;
}

static bool write_message(const struct link_message *m, struct wr *w)
{
	struct wire_frame f = { .type = FRAME_MESSAGE };

	if (wr_left(w) < (size_t)MESSAGE_HEADER + m->size)
		return false;
	f.message.seq = m->seq;
	f.message.type = m->type;
	f.message.body = m->body;
	f.message.size = m->size;
	wire_write_frame(w, &f);
	CV_ASSERT(!w->bad);
	return true;
}

static void write_messages(struct link *l, cv_time now, struct wr *w)
{
	const struct link_message *m = l->first;

	for (uint16_t i = distance(l->acked_seq, l->sent_seq); i > 0; i--)
		m = m->next;
	while (can_send_new(l) && write_message(m, w)) {
		m = m->next;
		l->sent_seq++;
	}
	if (l->resend_at == CV_TIME_NEVER && l->sent_seq != l->acked_seq)
		l->resend_at = cv_time_after(now, resend_delay(l));
}

size_t link_write(struct link *l, cv_time now, struct wr *w)
{
	struct wire_frame f = { .type = FRAME_MESSAGE_ACK };
	size_t before = wr_size(w);

	if (l->is_ack_due && wr_left(w) >= 3) {
		f.message_ack.next = l->expected_seq;
		wire_write_frame(w, &f);
		l->is_ack_due = false;
	}
	if (now >= l->resend_at) {
		l->sent_seq = l->acked_seq;
		l->resend_at = CV_TIME_NEVER;
		l->tries = (uint8_t)CV_MIN(l->tries + 1, UINT8_MAX);
	}
	write_messages(l, now, w);
	return wr_size(w) - before;
}

bool link_is_doubtful(const struct link *l)
{
	return l->resend_at != CV_TIME_NEVER && l->tries >= 2;
}

cv_time link_deadline(const struct link *l)
{
	return l->resend_at;
}

bool link_check(const struct link *l)
{
	uint16_t count = 0;

	for (const struct link_message *m = l->first; m; m = m->next) {
		if (m->seq != (uint16_t)(l->acked_seq + count))
			return false;
		if (!m->next && m != l->last)
			return false;
		count++;
	}
	if (count != l->queued || distance(l->acked_seq, l->next_seq) != count)
		return false;
	if (distance(l->acked_seq, l->sent_seq) > count)
		return false;
	return (l->sent_seq != l->acked_seq) <= (l->resend_at != CV_TIME_NEVER);
}

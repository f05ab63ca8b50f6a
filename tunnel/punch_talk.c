/* SPDX-License-Identifier: MIT */
#include "tunnel/punch_talk.h"

void punch_talk_reset(struct punch_talk *t)
{
	*t = (struct punch_talk){ 0 };
}

void punch_talk_say(struct punch_talk *t, const struct wire_punch *what)
{
	t->out = *what;
	t->out_number++;
	t->is_out_due = true;
}

bool punch_talk_next(struct punch_talk *t, struct wire_punch *out)
{
	if (!t->has_in)
		return false;
	*out = t->in;
	t->has_in = false;
	return true;
}

/* Packets overtake each other, and what was lost is told again: the newest word counts. */
void punch_talk_on_frame(struct punch_talk *t, uint64_t number, const struct wire_frame *f)
{
	if (f->type == FRAME_NAT) {
		if (number + 1 < t->peer_at)
			return;
		t->peer_at = number + 1;
		/* News stay news until somebody has looked, also when they are told twice. */
		t->is_peer_new |= !t->has_peer || !nat_profile_is_equal(&t->peer, &f->nat);
		t->peer = f->nat;
		t->has_peer = true;
		return;
	}
	if (number + 1 < t->in_at)
		return;
	t->in_at = number + 1;
	t->in = f->punch;
	t->has_in = true;
}

bool punch_talk_is_due(const struct punch_talk *t, uint64_t version)
{
	return t->is_out_due || t->told != version;
}

/* True when it fitted. */
static bool put(const struct wire_frame *f, struct wr *w, struct sent *sent,
                const struct note *note)
{
	struct wr undo = *w;

	if (sent_notes_left(sent) == 0)
		return false;
	wire_write_frame(w, f);
	if (w->bad) {
		*w = undo;
		return false;
	}
	sent_note(sent, note);
	return true;
}

void punch_talk_write(struct punch_talk *t, uint64_t version, const struct nat_profile *nat,
                      struct wr *w, struct sent *sent)
{
	struct wire_frame f = { .type = FRAME_NAT };

	/* Before any PUNCH, which the peer judges by it. */
	if (t->told != version) {
		f.nat = *nat;
		if (!put(&f, w, sent, &(struct note){ .tag = NOTE_NAT, .offset = version }))
			return;
		t->told = version;
	}
	if (!t->is_out_due)
		return;
	f = (struct wire_frame){ .type = FRAME_PUNCH };
	f.punch = t->out;
	if (put(&f, w, sent, &(struct note){ .tag = NOTE_PUNCH, .offset = t->out_number }))
		t->is_out_due = false;
}

void punch_talk_on_lost(struct punch_talk *t, const struct note *n)
{
	if (n->tag == NOTE_NAT && n->offset == t->told)
		t->told = 0; /* never the version of something known: told again */
	if (n->tag == NOTE_PUNCH && n->offset == t->out_number)
		t->is_out_due = true;
}

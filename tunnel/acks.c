/* SPDX-License-Identifier: MIT */
#include "tunnel/acks.h"

void acks_init(struct acks *a)
{
	*a = (struct acks){
		.due_at = CV_TIME_NEVER,
		.eager_left = ACKS_EAGER_PACKETS,
		.threshold = ACKS_THRESHOLD_DEFAULT,
		.reorder = ACKS_REORDER_DEFAULT,
		.delay = ACKS_DELAY_DEFAULT,
	};
	ranges_init(&a->received, a->spans, ACKS_SPANS);
}

void acks_on_ecn(struct acks *a, enum ecn_codepoint codepoint)
{
	switch (codepoint) {
	case ECN_NOT_ECT:
		return;
	case ECN_ECT0:
		a->ecn.ect0++;
		return;
	case ECN_ECT1:
		a->ecn.ect1++;
		return;
	case ECN_CE:
		a->ecn.ce++;
		a->is_congested = true;
		return;
	}
	CV_UNREACHABLE();
}

/* True when @number, which was added, shows the sender a loss or takes one back. */
static bool is_urgent(const struct acks *a, uint64_t number)
{
	uint64_t gap;

	if (a->reorder == 0)
		return false;
	if (number < a->told_below)
		return true;
	gap = ranges_first_gap(&a->received, a->told_below);
	return gap < a->largest && a->largest - gap >= a->reorder;
}

void acks_on_packet(struct acks *a, cv_time now, uint64_t number, bool is_eliciting, bool ask_now,
                    uint8_t path, cv_duration rtt)
{
	/* Two paths overtake each other: what looks like holes is a flight on the slower one. */
	if (a->has_any && number > a->largest && path != a->path) {
		/* The other side's controller has to learn this one, too. */
		if (now >= a->calm_until)
			a->eager_left = ACKS_EAGER_PACKETS;
		a->calm_until = cv_time_after(now, rtt);
	}
	ranges_add_forget(&a->received, number, number + 1);
	if (!a->has_any || number > a->largest) {
		a->largest = number;
		a->largest_at = now;
		a->path = path;
		a->has_any = true;
	}
	if (!is_eliciting)
		return;

	a->owed++;
	if (a->eager_left > 0) {
		a->eager_left--;
		ask_now = true;
	}
	if (ask_now || a->is_congested || a->owed >= a->threshold ||
	    (now >= a->calm_until && is_urgent(a, number)))
		a->due_at = now;
	else
		a->due_at = cv_time_min(a->due_at, cv_time_after(now, a->delay));
}

void acks_on_frequency(struct acks *a, uint64_t number, const struct acks_wish *wish)
{
	if (number < a->frequency_number)
		return;
	a->frequency_number = number;
	a->threshold = wish->threshold ? wish->threshold : 1;
	a->reorder = wish->reorder;
	a->delay = CV_MIN(wish->delay, ACKS_DELAY_MAX);
}

bool acks_are_due(const struct acks *a, cv_time now)
{
	return a->due_at <= now;
}

void acks_write(struct acks *a, cv_time now, struct wr *w, struct sent *sent)
{
	struct wire_range out[FRAME_ACK_RANGES_MAX];
	struct wr undo = *w;
	unsigned count = 0;

	if (a->received.count == 0 || sent_notes_left(sent) == 0)
		return;
	for (uint32_t i = a->received.count; i > 0 && count < FRAME_ACK_RANGES_MAX; i--) {
		out[count].begin = a->spans[i - 1].begin;
		out[count].end = a->spans[i - 1].end;
		count++;
	}
	wire_write_ack(w, out, count, cv_time_since(now, a->largest_at), &a->ecn);
	if (w->bad) {
		*w = undo;
		return;
	}
	sent_note(sent, &(struct note){ .tag = NOTE_ACK, .offset = a->largest });
	/* What lies less than the threshold behind has to be told again when it has grown old. */
	if (a->reorder > 0 && a->largest + 1 > a->reorder)
		a->told_below = CV_MAX(a->told_below, a->largest + 1 - a->reorder);
	a->owed = 0;
	a->is_congested = false;
	a->due_at = CV_TIME_NEVER;
}

void acks_on_acked(struct acks *a, uint64_t largest)
{
	/*
	 * Everything up to `largest` was told in an ACK that the peer has. Keep that newest
	 * span whole: the next ACK begins there, and the peer sees no hole that is none.
	 */
	if (a->received.count == 0 || largest == 0)
		return;
	for (uint32_t i = a->received.count; i > 0; i--) {
		if (a->spans[i - 1].begin <= largest) {
			ranges_drop_below(&a->received, a->spans[i - 1].begin);
			return;
		}
	}
}

bool acks_check(const struct acks *a)
{
	if (!ranges_check(&a->received))
		return false;
	if (a->owed > 0 && a->due_at == CV_TIME_NEVER)
		return false;
	return !a->has_any || a->received.count == 0 ||
	       a->spans[a->received.count - 1].end == a->largest + 1;
}

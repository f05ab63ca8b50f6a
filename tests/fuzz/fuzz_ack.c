/* SPDX-License-Identifier: MIT */

/*
 * Input: a story of two paths over one number space: packets sent, numbers skipped, ACK frames
 * with any ranges, losses by number and by time, records forgotten, gaps of the clock.
 *
 * Oracles: a ledger with one line per number. A number that was never sent, or was skipped, is
 * never settled and an ACK naming it is called a lie; every packet is in exactly one state,
 * bytes in flight are the sum of their lines and never below zero; each note is
 * handed out at most once as acknowledged, and only a note of that packet; only a later
 * acknowledged packet of the same path makes a loss; the checks of the modules hold.
 */
#include <string.h>

#include "base/compiler.h"
#include "base/rd.h"
#include "tunnel/loss.h"
#include "tunnel/sent.h"

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NUMBERS = 4096, CAP = 256, PATHS = 2, RANGES_MAX = 8 };

struct line {
	uint8_t state; /* enum sent_state */
	uint8_t path;
	uint8_t notes;
	uint16_t size;
};

struct world {
	struct sent sent;
	struct loss loss[PATHS];
	struct rtt rtt;
	cv_time now;
	struct line ledger[NUMBERS];
	uint64_t inflight[PATHS];
	uint64_t bytes_sent, bytes_acked, bytes_lost;
	uint64_t highest_acked[PATHS]; /* one above; 0: none */
};

static struct world world;

static void on_send(struct world *w, uint8_t what)
{
	uint8_t path = what & 1;
	uint8_t notes = (what >> 1) & 3;
	bool is_eliciting = what & 8;
	uint16_t size = is_eliciting ? (uint16_t)(100 + what * 5) : 0;
	uint64_t number;

	if (w->sent.next + 2 > NUMBERS || sent_reserve(&w->sent, 1, notes) < 0)
		return;
	number = sent_open(&w->sent);
	for (uint64_t i = 0; i < notes; i++)
		sent_note(&w->sent,
		          &(struct note){ .tag = NOTE_STREAM, .id = number, .offset = i });
	if (what & 16) {
		sent_abort(&w->sent);
		return;
	}
	sent_commit(&w->sent, w->now, path, 1, size, is_eliciting, false);
	loss_on_sent(&w->loss[path], w->now, number, is_eliciting, what & 32);
	w->ledger[number] =
		(struct line){ .state = SENT_INFLIGHT, .path = path, .notes = notes, .size = size };
	w->inflight[path] += size;
	w->bytes_sent += size;
}

static void on_skip(struct world *w)
{
	if (w->sent.next + 2 <= NUMBERS && sent_reserve(&w->sent, 1, 0) == 0)
		sent_skip(&w->sent);
}

/* Ranges as a codec gives them: strictly descending, not empty, no underflow. */
static unsigned read_ranges(struct world *w, struct rd *in, struct wire_range *out)
{
	unsigned count = 1u + rd_u8(in) % RANGES_MAX, n = 0;
	uint64_t top = w->sent.next + rd_u8(in) % 3;

	top -= CV_MIN(top, (uint64_t)rd_u8(in) % 64);
	for (; n < count && top > 0; n++) {
		uint64_t size = 1u + rd_u8(in) % 40u;
		uint64_t gap = 1u + rd_u8(in) % 20u;

		out[n].end = top;
		out[n].begin = top - CV_MIN(top, size);
		top = out[n].begin - CV_MIN(out[n].begin, gap);
	}
	return n;
}

static bool is_lie(const struct world *w, const struct wire_range *r, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		for (uint64_t n = r[i].begin; n < r[i].end; n++) {
			if (n >= w->sent.next || w->ledger[n].state == SENT_NONE)
				return true;
		}
	}
	return false;
}

static void settle_acked(struct world *w, struct sent_record *r, uint64_t number)
{
	struct line *line = &w->ledger[number];

	CV_ASSERT(number < w->sent.next);
	CV_ASSERT(line->state == r->state);
	CV_ASSERT(line->state == SENT_INFLIGHT || line->state == SENT_LOST);
	CV_ASSERT(r->path == line->path && r->size == line->size);
	CV_ASSERT(r->note_count == line->notes);
	for (unsigned i = 0; i < r->note_count; i++) {
		CV_ASSERT(sent_record_note(&w->sent, r, i)->id == number);
		CV_ASSERT(sent_record_note(&w->sent, r, i)->offset == i);
	}
	if (r->state == SENT_LOST) {
		w->bytes_lost -= line->size;
		loss_on_spurious(&w->loss[line->path], number, CV_MS(number % 500), 64);
	} else {
		CV_ASSERT(w->inflight[line->path] >= line->size);
		w->inflight[line->path] -= line->size;
		loss_on_gone(&w->loss[line->path], r);
		loss_on_acked(&w->loss[line->path], &w->rtt, number, r);
		loss_on_answer(&w->loss[line->path]);
		rtt_on_sample(&w->rtt, w->now - r->sent_at, 0);
		w->highest_acked[line->path] = CV_MAX(w->highest_acked[line->path], number + 1);
	}
	w->bytes_acked += line->size;
	line->state = SENT_ACKED;
	sent_settle(&w->sent, r, number, SENT_ACKED);
}

/* What an ACK names, and is still kept, is settled for good. */
static void assert_all_acked(const struct world *w, const struct wire_range *r, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		for (uint64_t n = CV_MAX(r[i].begin, w->sent.begin); n < r[i].end; n++)
			CV_ASSERT(w->ledger[n].state == SENT_ACKED ||
			          w->ledger[n].state == SENT_NONE);
	}
}

static void on_ack(struct world *w, struct rd *in)
{
	struct wire_range ranges[RANGES_MAX];
	unsigned count = read_ranges(w, in, ranges), range = 0;
	uint64_t number = 0, seen = 0;
	struct sent_record *r;
	bool lies;

	if (in->bad || count == 0)
		return;
	lies = sent_ack_is_lie(&w->sent, ranges, count);
	/* Old skipped numbers may be forgotten, honest ACKs are never accused. */
	if (lies)
		CV_ASSERT(is_lie(w, ranges, count));
	if (ranges[0].end > w->sent.next)
		CV_ASSERT(lies);
	if (lies)
		return;
	while ((r = sent_ack_next(&w->sent, ranges, count, &range, &number)) != NULL) {
		CV_ASSERT(range < count);
		CV_ASSERT(number >= ranges[range].begin && number < ranges[range].end);
		settle_acked(w, r, number);
		CV_ASSERT(++seen <= CAP);
	}
	assert_all_acked(w, ranges, count);
}

static void on_lose(struct world *w, uint8_t path)
{
	struct loss *l = &w->loss[path];
	uint64_t number = l->scan_from;
	struct sent_record *r;

	while ((r = loss_next(l, &w->sent, &w->rtt, w->now, &number)) != NULL) {
		struct line *line = &w->ledger[number];

		CV_ASSERT(line->state == SENT_INFLIGHT && line->path == path);
		CV_ASSERT(number + 1 < w->highest_acked[path]);
		w->inflight[path] -= line->size;
		w->bytes_lost += line->size;
		line->state = SENT_LOST;
		loss_on_gone(l, r);
		sent_settle(&w->sent, r, number, SENT_LOST);
	}
	CV_ASSERT(l->loss_at > w->now);
}

static void on_reclaim(struct world *w, cv_duration keep)
{
	uint64_t begin = w->sent.begin;

	sent_reclaim(&w->sent, w->now - CV_MIN(w->now, keep));
	for (uint64_t n = begin; n < w->sent.begin; n++)
		CV_ASSERT(w->ledger[n].state != SENT_INFLIGHT);
}

static void on_clock(struct world *w, uint8_t what)
{
	cv_time due;

	w->now += CV_US(100) << (what & 15);
	for (unsigned i = 0; i < PATHS; i++) {
		due = loss_pto_at(&w->loss[i], &w->rtt, what & 16);
		if (due <= w->now) {
			loss_on_pto(&w->loss[i], w->now);
			CV_ASSERT(loss_pto_at(&w->loss[i], &w->rtt, what & 16) > w->now);
		}
		if (what & 32)
			loss_restart(&w->loss[i], w->now);
	}
}

static void check(const struct world *w)
{
	uint64_t inflight[PATHS] = { 0 };

	CV_ASSERT(sent_check(&w->sent));
	for (uint64_t n = w->sent.begin; n < w->sent.next; n++) {
		const struct sent_record *r = sent_find(&w->sent, n);

		CV_ASSERT((r ? r->state : SENT_NONE) == w->ledger[n].state);
		if (w->ledger[n].state == SENT_INFLIGHT)
			inflight[w->ledger[n].path] += w->ledger[n].size;
	}
	for (unsigned i = 0; i < PATHS; i++) {
		CV_ASSERT(inflight[i] == w->inflight[i]);
		CV_ASSERT(loss_check(&w->loss[i], &w->sent));
	}
	CV_ASSERT(w->bytes_sent == w->bytes_acked + w->bytes_lost + inflight[0] + inflight[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rd in = rd_init(data, size);
	struct world *w = &world;

	memset(w, 0, sizeof(*w));
	w->now = CV_SEC(1);
	sent_init(&w->sent, CAP);
	rtt_init(&w->rtt);
	for (unsigned i = 0; i < PATHS; i++)
		loss_init(&w->loss[i], (uint8_t)i, 1, CV_MS(25));
	for (unsigned i = 0; i < 1000 && rd_left(&in) >= 2; i++) {
		uint8_t op = rd_u8(&in);
		uint8_t what = rd_u8(&in);

		switch (op & 7) {
		case 0:
			on_skip(w);
			break;
		case 1:
		case 2:
			on_ack(w, &in);
			break;
		case 3:
			on_lose(w, what & 1);
			break;
		case 4:
			on_reclaim(w, CV_MS(what));
			break;
		case 5:
			on_clock(w, what);
			break;
		default:
			for (unsigned k = 0; k <= op >> 4; k++)
				on_send(w, what);
			break;
		}
		check(w);
	}
	sent_deinit(&w->sent);
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

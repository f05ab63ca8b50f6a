/* SPDX-License-Identifier: MIT */
#include "tunnel/sent.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"

/*
 * One slot per packet number, found by masking:
 *
 *	          begin                          next
 *	 ... free | ACKED LOST ACKED INFLIGHT ... | free ...
 *	            kept until all before it are settled, and lost ones too old to come back
 *
 * Two bitmaps stand beside the ring, one bit per slot: in flight, and lost. An ACK
 * mostly repeats what is known, and a scan for losses mostly passes over what is
 * acknowledged; both skip 64 settled packets with one load. Rings smaller than a word
 * use its low bits only.
 *
 * Notes lie in the order of their packets in a ring of their own, so they are freed by
 * moving its begin; their indices run freely and are masked on use.
 *
 * A skipped number has a slot with no notes in state NONE. The numbers themselves are also
 * kept in a small list, because an ACK is checked against them before anything is settled, at a
 * cost that the peer cannot raise (T21): ranges * SENT_SKIPS_MAX comparisons.
 */

enum {
	WORD_BITS = 64,
	CAP_FIRST = 16,
	NOTE_CAP_FIRST = 16,
	MARK_CAP_FIRST = 8,
	NOTE_CAP_MIN = 512, /* of a small session: a few packets full of control frames */
};

_Static_assert((SENT_SKIPS_MAX & (SENT_SKIPS_MAX - 1)) == 0, "the list is indexed by a mask");

static uint32_t slot_of(const struct sent *s, uint64_t number)
{
	return (uint32_t)number & (s->cap - 1);
}

static uint64_t bit_of(uint32_t slot)
{
	return UINT64_C(1) << (slot % WORD_BITS);
}

static uint32_t words_of(uint32_t cap)
{
	return (cap + WORD_BITS - 1) / WORD_BITS;
}

static uint32_t notes_used(const struct sent *s)
{
	return s->note_next - s->note_begin;
}

static uint32_t note_cap_max(const struct sent *s)
{
	return CV_MAX(s->cap_max * SENT_NOTES_RATIO, (uint32_t)NOTE_CAP_MIN);
}

void sent_init(struct sent *s, uint32_t cap_max)
{
	CV_ASSERT(cap_max > 0 && (cap_max & (cap_max - 1)) == 0);
	CV_ASSERT(cap_max <= UINT32_C(1) << 24);
	*s = (struct sent){ .cap_max = cap_max };
}

void sent_deinit(struct sent *s)
{
	cv_free(s->records);
	cv_free(s->notes);
	cv_free(s->marks);
	cv_free(s->unsettled);
	*s = (struct sent){ 0 };
}

/* Smallest doubling of @cap that is at least @need. @need is far below 2^32. */
static uint32_t grown(uint32_t cap, uint64_t need)
{
	while (cap < need)
		cap *= 2;
	return cap;
}

static int grow_records(struct sent *s, uint64_t need)
{
	uint32_t cap = grown(s->cap ? s->cap : CV_MIN((uint32_t)CAP_FIRST, s->cap_max), need);
	struct sent old = *s;
	struct sent_record *records;
	uint64_t *maps;

	records = cv_zalloc_array(cap, sizeof(*records));
	maps = cv_zalloc_array(2 * (size_t)words_of(cap), sizeof(*maps));
	if (!records || !maps) {
		cv_free(records);
		cv_free(maps);
		return -ENOMEM;
	}
	s->records = records;
	s->unsettled = maps;
	s->lost = maps + words_of(cap);
	s->cap = cap;
	for (uint64_t n = s->begin; n < s->next; n++) {
		const struct sent_record *r = &old.records[slot_of(&old, n)];
		uint32_t slot = slot_of(s, n);

		s->records[slot] = *r;
		if (r->state == SENT_INFLIGHT)
			s->unsettled[slot / WORD_BITS] |= bit_of(slot);
		else if (r->state == SENT_LOST)
			s->lost[slot / WORD_BITS] |= bit_of(slot);
	}
	cv_free(old.records);
	cv_free(old.unsettled);
	return 0;
}

static int grow_notes(struct sent *s, uint64_t need)
{
	uint32_t cap = grown(s->note_cap ? s->note_cap : NOTE_CAP_FIRST, need);
	struct note *notes = cv_zalloc_array(cap, sizeof(*notes));

	if (!notes)
		return -ENOMEM;
	for (uint32_t i = s->note_begin; i != s->note_next; i++)
		notes[i & (cap - 1)] = s->notes[i & (s->note_cap - 1)];
	cv_free(s->notes);
	s->notes = notes;
	s->note_cap = cap;
	return 0;
}

static int grow_marks(struct sent *s)
{
	uint32_t cap = s->mark_cap ? s->mark_cap * 2 : MARK_CAP_FIRST;
	struct delivery_mark *marks = cv_zalloc_array(cap, sizeof(*marks));

	if (!marks)
		return -ENOMEM;
	for (uint32_t i = s->mark_begin; i != s->mark_next; i++)
		marks[i & (cap - 1)] = s->marks[i & (s->mark_cap - 1)];
	cv_free(s->marks);
	s->marks = marks;
	s->mark_cap = cap;
	return 0;
}

/* There are never more trains than packets, so the cap on those bounds the marks, too. */
static bool has_mark_room(const struct sent *s)
{
	return s->mark_next - s->mark_begin < s->mark_cap;
}

int sent_reserve(struct sent *s, uint32_t packets, uint32_t notes)
{
	uint64_t need = s->next - s->begin + packets;
	uint64_t note_need = (uint64_t)notes_used(s) + notes;
	int r;

	CV_ASSERT(!s->is_open);
	if (CV_LIKELY(need <= s->cap && note_need <= s->note_cap && has_mark_room(s)))
		return 0;
	if (need > s->cap_max || note_need > note_cap_max(s))
		return -ENOBUFS;
	if (need > s->cap) {
		r = grow_records(s, need);
		if (r < 0)
			return r;
	}
	/* When these fail the larger rings stay: nothing that is kept has changed. */
	if (!has_mark_room(s)) {
		r = grow_marks(s);
		if (r < 0)
			return r;
	}
	return note_need > s->note_cap ? grow_notes(s, note_need) : 0;
}

struct delivery_mark *sent_train(struct sent *s)
{
	CV_ASSERT(has_mark_room(s));
	return &s->marks[s->mark_next++ & (s->mark_cap - 1)];
}

struct delivery_mark *sent_record_mark(const struct sent *s, const struct sent_record *r)
{
	CV_ASSERT(r->train - s->mark_begin < s->mark_next - s->mark_begin);
	return &s->marks[r->train & (s->mark_cap - 1)];
}

uint64_t sent_open(struct sent *s)
{
	struct sent_record *r;

	CV_ASSERT(!s->is_open);
	CV_ASSERT(s->next - s->begin < s->cap);
	r = &s->records[slot_of(s, s->next)];
	r->note_begin = s->note_next;
	r->note_count = 0;
	r->is_ect = false;
	s->is_open = true;
	return s->next;
}

void sent_note(struct sent *s, const struct note *note)
{
	struct sent_record *r;

	CV_ASSERT(s->is_open);
	CV_ASSERT(notes_used(s) < s->note_cap);
	r = &s->records[slot_of(s, s->next)];
	CV_ASSERT(r->note_count < SENT_NOTES_MAX);
	s->notes[s->note_next & (s->note_cap - 1)] = *note;
	s->note_next++;
	r->note_count++;
}

void sent_set_ect(struct sent *s)
{
	CV_ASSERT(s->is_open);
	s->records[slot_of(s, s->next)].is_ect = true;
}

uint32_t sent_notes_left(const struct sent *s)
{
	uint32_t room = s->note_cap - notes_used(s);
	uint32_t used = s->is_open ? s->records[slot_of(s, s->next)].note_count : 0;

	return CV_MIN(room, SENT_NOTES_MAX - used);
}

/* A record has this many facts, and a struct to pass them would be the record again. */
/* NOLINTNEXTLINE(readability-function-size) */
void sent_commit(struct sent *s, cv_time now, uint8_t path, uint8_t path_age, uint16_t size,
                 bool is_eliciting, bool is_app_limited)
{
	uint32_t slot = slot_of(s, s->next);
	struct sent_record *r;

	CV_ASSERT(s->is_open);
	r = &s->records[slot];
	r->sent_at = now;
	r->train = s->mark_next - 1;
	r->size = size;
	r->path = path;
	r->path_age = path_age;
	r->state = SENT_INFLIGHT;
	r->is_eliciting = is_eliciting;
	r->is_app_limited = is_app_limited;
	s->unsettled[slot / WORD_BITS] |= bit_of(slot);
	s->inflight_count++;
	s->is_open = false;
	s->next++;
}

void sent_abort(struct sent *s)
{
	CV_ASSERT(s->is_open);
	s->note_next = s->records[slot_of(s, s->next)].note_begin;
	s->is_open = false;
}

void sent_skip(struct sent *s)
{
	CV_ASSERT(!s->is_open);
	CV_ASSERT(s->next - s->begin < s->cap);
	s->records[slot_of(s, s->next)] = (struct sent_record){ .note_begin = s->note_next };
	s->skips[s->skip_count++ % SENT_SKIPS_MAX] = s->next;
	s->next++;
}

struct sent_record *sent_find(const struct sent *s, uint64_t number)
{
	struct sent_record *r;

	if (number < s->begin || number >= s->next)
		return NULL;
	r = &s->records[slot_of(s, number)];
	return r->state == SENT_NONE ? NULL : r;
}

const struct note *sent_record_note(const struct sent *s, const struct sent_record *r, unsigned i)
{
	CV_ASSERT(i < r->note_count);
	return &s->notes[(r->note_begin + i) & (s->note_cap - 1)];
}

/* First number in [from, end) whose bit is set in @a or @b (may be the same map), or @end. */
static uint64_t next_set(const struct sent *s, const uint64_t *a, const uint64_t *b, uint64_t from,
                         uint64_t end)
{
	uint32_t slot, room;
	uint64_t word;

	while (from < end) {
		slot = slot_of(s, from);
		word = (a[slot / WORD_BITS] | b[slot / WORD_BITS]) >> (slot % WORD_BITS);
		if (word != 0) {
			/* A bit of the same word beyond @end is of no interest. */
			from += (uint64_t)__builtin_ctzll(word);
			return CV_MIN(from, end);
		}
		/* On to the next word, or round to slot 0. */
		room = CV_MIN(WORD_BITS - slot % WORD_BITS, s->cap - slot);
		from += room;
	}
	return end;
}

uint64_t sent_next_inflight(const struct sent *s, uint64_t from)
{
	if (s->inflight_count == 0)
		return s->next;
	return next_set(s, s->unsettled, s->unsettled, CV_MAX(from, s->begin), s->next);
}

struct sent_record *sent_ack_next(struct sent *s, const struct wire_range *ranges, unsigned count,
                                  unsigned *range, uint64_t *number)
{
	/* Without a lost packet its map is all zeros: reading one map is enough. */
	const uint64_t *lost = s->lost_count ? s->lost : s->unsettled;
	uint64_t from, end, found;

	for (; *range < count; (*range)++, *number = 0) {
		end = CV_MIN(ranges[*range].end, s->next);
		/* Newest first: once below what is kept, all the others are too. */
		if (end <= s->begin)
			break;
		from = CV_MAX(CV_MAX(ranges[*range].begin, s->begin), *number);
		found = next_set(s, s->unsettled, lost, from, end);
		if (found < end) {
			*number = found;
			return &s->records[slot_of(s, found)];
		}
	}
	*range = count;
	return NULL;
}

bool sent_ack_is_lie(const struct sent *s, const struct wire_range *ranges, unsigned count)
{
	uint32_t skips = CV_MIN(s->skip_count, (uint32_t)SENT_SKIPS_MAX);

	for (unsigned i = 0; i < count; i++) {
		if (ranges[i].end > s->next)
			return true;
		for (uint32_t k = 0; k < skips; k++) {
			if (s->skips[k] >= ranges[i].begin && s->skips[k] < ranges[i].end)
				return true;
		}
	}
	return false;
}

void sent_settle(struct sent *s, struct sent_record *r, uint64_t number, enum sent_state state)
{
	uint32_t slot = slot_of(s, number);

	CV_ASSERT(number >= s->begin && number < s->next);
	CV_ASSERT(r == &s->records[slot]);
	CV_ASSERT(state == SENT_ACKED || state == SENT_LOST);

	if (r->state == SENT_INFLIGHT) {
		CV_ASSERT(s->inflight_count > 0);
		s->inflight_count--;
		s->unsettled[slot / WORD_BITS] &= ~bit_of(slot);
	} else {
		CV_ASSERT(r->state == SENT_LOST && state == SENT_ACKED);
		CV_ASSERT(s->lost_count > 0);
		s->lost_count--;
		s->lost[slot / WORD_BITS] &= ~bit_of(slot);
	}
	if (state == SENT_LOST) {
		s->lost_count++;
		s->lost[slot / WORD_BITS] |= bit_of(slot);
	}
	r->state = (uint8_t)state;
}

void sent_reclaim(struct sent *s, cv_time lost_before)
{
	while (s->begin < s->next) {
		uint32_t slot = slot_of(s, s->begin);
		struct sent_record *r = &s->records[slot];

		if (r->state == SENT_INFLIGHT)
			return;
		if (r->state == SENT_LOST) {
			if (r->sent_at >= lost_before)
				return;
			s->lost_count--;
			s->lost[slot / WORD_BITS] &= ~bit_of(slot);
		}
		CV_ASSERT(r->note_begin == s->note_begin);
		s->note_begin += r->note_count;
		/* Skipped numbers and what left outside of a train name no mark that is kept. */
		if (r->state != SENT_NONE &&
		    r->train - s->mark_begin < s->mark_next - s->mark_begin)
			s->mark_begin = r->train;
		r->state = SENT_NONE;
		s->begin++;
	}
	s->mark_begin = s->mark_next;
}

/* True when the slot's bits agree with its state; counts it. */
static bool check_slot(const struct sent *s, uint32_t slot, uint32_t *inflight, uint32_t *lost)
{
	bool is_unsettled = s->unsettled[slot / WORD_BITS] & bit_of(slot);
	bool is_lost = s->lost[slot / WORD_BITS] & bit_of(slot);
	uint8_t state = s->records[slot].state;

	*inflight += is_unsettled;
	*lost += is_lost;
	return is_unsettled == (state == SENT_INFLIGHT) && is_lost == (state == SENT_LOST);
}

bool sent_check(const struct sent *s)
{
	uint32_t inflight = 0, lost = 0, note = s->note_begin;

	if (s->next - s->begin + s->is_open > s->cap || notes_used(s) > s->note_cap ||
	    s->mark_next - s->mark_begin > s->mark_cap)
		return false;
	if (s->cap > s->cap_max || s->note_cap > note_cap_max(s))
		return false;
	for (uint32_t slot = 0; slot < s->cap; slot++) {
		if (!check_slot(s, slot, &inflight, &lost))
			return false;
	}
	if (inflight != s->inflight_count || lost != s->lost_count)
		return false;
	for (uint64_t n = s->begin; n < s->next + s->is_open; n++) {
		const struct sent_record *r = &s->records[slot_of(s, n)];

		if (r->note_begin != note)
			return false;
		note += r->note_count;
	}
	return note == s->note_next;
}

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * sent - the packets of one object that are not yet settled: a power-of-two ring
 * indexed by packet number, and beside it a ring of notes saying what each packet
 * carried, and one of marks, which say how its path delivered when its train left. Packets are
 * never sent again; what was in a lost one goes back to its owner.
 *
 * One number space over all paths and epochs (protocol rule 4.1); a record names its
 * path. Knows no congestion control and no frames: the session walks the records that an
 * ACK settled and hands each note to its owner by tag.
 *
 * Lost records stay until their slot is reclaimed (3 PTO), so that a late ACK is recognised as a
 * spurious loss. Memory: grows by doubling up to a cap, only in sent_reserve(); sent_push() cannot
 * fail after it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/time.h"
#include "tunnel/delivery.h"
#include "tunnel/wire.h"

enum note_tag {
	NOTE_NONE,
	NOTE_ACK,             /* offset: largest number acknowledged by the packet's ACK */
	NOTE_STREAM,          /* id, offset, size, fin */
	NOTE_RESET,           /* id */
	NOTE_STOP,            /* id */
	NOTE_MAX_DATA,        /* offset: the limit told */
	NOTE_MAX_STREAM_DATA, /* id, offset */
	NOTE_MAX_STREAMS,     /* offset */
	NOTE_CANDIDATES,      /* offset: version of the list */
	NOTE_NAT,             /* offset: version of our profile */
	NOTE_PUNCH,           /* offset: its number */
	NOTE_ACK_FREQUENCY,   /* offset: sequence */
	NOTE_DATAGRAM,        /* nothing to do when lost */
	NOTE_PING,
};

struct note {
	uint8_t tag; /* enum note_tag */
	bool fin;
	uint32_t size;
	uint64_t id;
	uint64_t offset;
};

enum {
	SENT_NOTES_MAX = 255, /* notes of one record */
	SENT_SKIPS_MAX = 8,   /* skipped numbers remembered */
	SENT_NOTES_RATIO = 4, /* the note ring holds at most this many times @cap_max, or 512 */
};

enum sent_state {
	SENT_NONE, /* number skipped, or slot free */
	SENT_INFLIGHT,
	SENT_ACKED,
	SENT_LOST,
};

struct sent_record {
	cv_time sent_at;
	uint32_t note_begin; /* index into the note ring, masked on use */
	uint32_t train;      /* index into the ring of marks, masked on use */
	uint16_t size;       /* bytes on the wire; 0 counts nothing in flight */
	uint8_t note_count;
	uint8_t path;        /* slot of the session's path table */
	uint8_t state;       /* enum sent_state */
	bool is_eliciting;   /* the peer will acknowledge it */
	bool is_app_limited; /* nothing more was waiting when it left */
	bool is_ect;         /* left with ECT(0) */
	uint8_t path_age; /* generation of that path slot, so that a reused slot is not mistaken */
};

struct sent {
	struct sent_record *records;      /* owned ring */
	struct note *notes;               /* owned ring */
	struct delivery_mark *marks;      /* owned ring, one for each train */
	uint64_t *unsettled;              /* owned bitmap: bit per slot, set while SENT_INFLIGHT */
	uint64_t *lost;                   /* the same while SENT_LOST; second half of that block */
	uint32_t cap, note_cap, mark_cap; /* powers of two */
	uint32_t cap_max;
	uint64_t begin;                 /* oldest number kept */
	uint64_t next;                  /* number of the next packet */
	uint32_t note_begin, note_next; /* free-running */
	uint32_t mark_begin, mark_next; /* free-running */
	uint32_t inflight_count, lost_count;
	uint64_t skips[SENT_SKIPS_MAX]; /* ring of skipped numbers, kept even when settled */
	uint32_t skip_count;            /* free-running */
	bool is_open;                   /* between sent_open() and sent_commit() */
};

/* @cap_max: most records (131,072 between agents). Nothing is allocated before sent_reserve(). */
void sent_init(struct sent *s, uint32_t cap_max);
void sent_deinit(struct sent *s);

/**
 * sent_reserve() - make room for a train, @packets more packets with @notes notes in all
 * A skipped number takes the room of a packet. Grows by doubling through base/alloc when a ring is
 * full; two comparisons when it is not.
 *
 * Return: 0, -ENOBUFS at the cap, -ENOMEM.
 */
CV_NODISCARD int sent_reserve(struct sent *s, uint32_t packets, uint32_t notes);

/* Begins the record of the next number and returns that number; notes may follow. Skip a number on
 * purpose (optimistic-ACK defence, T20) with sent_skip(). */
uint64_t sent_open(struct sent *s);
/* Appends a note to the open record; room was reserved. */
void sent_note(struct sent *s, const struct note *note);
/* The open record's packet leaves with ECT(0). */
void sent_set_ect(struct sent *s);
/* Notes still allowed in this record (at most 255, and what was reserved). */
uint32_t sent_notes_left(const struct sent *s);
/* A train begins: the records that are committed from now on share the mark, which the caller fills
 * in. Room was reserved. Valid until the next sent_reserve(). */
struct delivery_mark *sent_train(struct sent *s);
/* The mark of the train that @r, which was committed in one, belongs to. */
struct delivery_mark *sent_record_mark(const struct sent *s, const struct sent_record *r);
/* Ends the record. */
void sent_commit(struct sent *s, cv_time now, uint8_t path, uint8_t path_age, uint16_t size,
                 bool is_eliciting, bool is_app_limited);
/* Takes the open record back: nothing was sent under its number, which will be used next. */
void sent_abort(struct sent *s);
/* Leaves the next number out; room was reserved. An ACK that names one of the last SENT_SKIPS_MAX
 * such numbers is a lie. */
void sent_skip(struct sent *s);

/* The record of @number, or NULL when it is not kept or was skipped. */
struct sent_record *sent_find(const struct sent *s, uint64_t number);
const struct note *sent_record_note(const struct sent *s, const struct sent_record *r, unsigned i);

/* First number >= @from that is SENT_INFLIGHT, or s->next. O(1) per 64 settled ones. */
uint64_t sent_next_inflight(const struct sent *s, uint64_t from);

/**
 * sent_ack_next() - walk what an ACK newly settles, oldest first within each range
 * @ranges: as read from the frame, newest first
 * @range, @number: cursor; start with *range = 0, *number = 0
 *
 * Visits every SENT_INFLIGHT record in the ranges, and every SENT_LOST one (late ACK: spurious).
 * The caller reads record->state and must then call sent_settle(): until it does, the same record
 * is returned again.
 *
 * Time: O(1) per record returned, and per 64 settled ones between them.
 * Return: the record (its number in *number), or NULL at the end.
 */
struct sent_record *sent_ack_next(struct sent *s, const struct wire_range *ranges, unsigned count,
                                  unsigned *range, uint64_t *number);
/* True when an ACK names a number never sent, or one skipped: the peer lies (T20). */
bool sent_ack_is_lie(const struct sent *s, const struct wire_range *ranges, unsigned count);
/* INFLIGHT -> ACKED or LOST, LOST -> ACKED. */
void sent_settle(struct sent *s, struct sent_record *r, uint64_t number, enum sent_state state);
/* Frees settled records at the old end; lost ones only when sent before @lost_before. */
void sent_reclaim(struct sent *s, cv_time lost_before);
bool sent_check(const struct sent *s);

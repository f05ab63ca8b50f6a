/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * streams - all ordered byte streams of one session object: opening, halves,
 * flow control, buffers and the order in which they are sent. Implemented in stream.c
 * (one stream's two halves), sendbuf.c, recvbuf.c, flow.c (limits) and sched.c (who is next); this
 * header is their face.
 *
 * Sans-I/O. Knows frames and notes; knows no packets, keys, paths or congestion windows. Protocol
 * rules 7.1-7.5.
 *
 * Ids have 48 bits: bit 0 is 0 for streams opened by the side with the smaller key; the rest rises
 * by one per opener and is never reused. Finished ids are kept as a set of ranges; a late frame for
 * one is ignored.
 *
 * Limits in force before anything is told (constants of the version, rule 1.4): 16 KiB for an
 * unaccepted stream, 256 KiB towards the opener, 1 MiB a session, 128 streams each way.
 *
 * Memory: buffers come from the pool, charged; a stream object is ~256 bytes from a slab that grows
 * at admission.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/pool.h"
#include "base/time.h"
#include "tunnel/recvbuf.h"
#include "tunnel/sent.h"
#include "tunnel/wire.h"

struct stream;  /* opaque, stable address while the stream lives */
struct streams; /* opaque */

enum {
	STREAM_FIRST_WINDOW_UNACCEPTED = 16 * 1024,
	STREAM_FIRST_WINDOW_OPENER = 256 * 1024,
	STREAM_FIRST_SESSION_WINDOW = 1024 * 1024,
	STREAM_FIRST_COUNT = 128,
};

struct streams_options {
	struct pool *pool;           /* borrowed; the process's budget */
	struct recvbuf_loans *loans; /* borrowed; NULL: packets' memory never stays */
	uint32_t streams_max;        /* streams open at once each way (16,384) */
	bool has_smaller_key;        /* our ids are even */
	uint64_t seed;               /* for the id table */
	uint32_t stream_window_max;  /* 32 MiB */
	uint32_t session_window_max; /* 64 MiB */
};

CV_NODISCARD int streams_new(struct streams **out, const struct streams_options *opt);
void streams_free(struct streams *s);

/* ---- the application's side ---- */

/* Opens a stream; 0, or -EAGAIN (the peer's or our limit of streams), -ENOMEM. Nothing is sent
 * until data are written. */
CV_NODISCARD int streams_open(struct streams *s, struct stream **out);
/* The stream of @id that the application has not released, or NULL. */
struct stream *streams_find(const struct streams *s, uint64_t id);
uint64_t stream_id(const struct stream *st);
/* One word of the application's, 0 at first. */
void stream_set_tag(struct stream *st, uint64_t tag);
uint64_t stream_tag(const struct stream *st);

/* The far side takes the stream: the real windows are given. Without it 16 KiB is all that comes.
 */
void stream_accept(struct streams *s, struct stream *st);

/**
 * stream_room() - bytes that the application should hand over now
 * Bounded by the unsent cap (stream_set_unsent_cap), and by what the stream's and session's windows
 * let it send soon: a local socket is read only while this is not 0, so a slow reader stalls only
 * itself (rule 7.4).
 */
size_t stream_room(struct streams *s, struct stream *st);
/* Memory for at most *@size bytes to be written in place (libuv reads into it); NULL when room or
 * budget is out. Valid until the next call on the stream. */
uint8_t *stream_reserve(struct streams *s, struct stream *st, size_t *size);
/* @size bytes of the reserved memory were filled; 0 gives it back. Every reservation ends with
 * this. */
void stream_commit(struct streams *s, struct stream *st, size_t size);
/* Copies up to @size bytes; returns how many were taken. The first 4 KiB of a stream do not wait
 * for room that other streams have used up. */
size_t stream_write(struct streams *s, struct stream *st, const void *bytes, size_t size);
/* No more will be written: FIN after the last byte. Harmless when finished or reset. */
void stream_finish(struct streams *s, struct stream *st);
/* Abandon sending: RESET with @code. Allowed after FIN until everything is acknowledged. */
void stream_reset(struct streams *s, struct stream *st, uint16_t code);
/* Ask the peer to stop sending; what arrives is dropped. */
void stream_stop(struct streams *s, struct stream *st, uint16_t code);

struct stream_vec {
	const uint8_t *bytes;
	size_t size;
};
/* In-order bytes not yet consumed, as up to @max pieces; returns the number of pieces. Borrowed
 * until stream_consume(). */
unsigned stream_peek(const struct stream *st, struct stream_vec *vec, unsigned max);
size_t stream_readable(const struct stream *st);
/* The application is done with @size bytes: windows move. */
void stream_consume(struct streams *s, struct stream *st, cv_time now, size_t size);
/* Every byte up to FIN was consumed. */
bool stream_is_at_end(const struct stream *st);
/* Everything written so far was acknowledged, and the end if it was finished; or will never be. */
bool stream_is_delivered(const struct stream *st);
/* The application forgets the stream: what is unfinished is reset/stopped with @code; the object
 * goes when both halves have ended, and only then the stream counts no more against MAX_STREAMS. */
void stream_release(struct streams *s, struct stream *st, uint16_t code);

/* Unsent bytes a stream may hold: max(128 KiB, pacing rate * 20 ms); all together max(1 MiB, rate *
 * 50 ms). */
void streams_set_unsent_cap(struct streams *s, size_t per_stream, size_t all);
/* A smoothed RTT for window growth. */
void streams_set_rtt(struct streams *s, cv_duration smoothed);

enum stream_event_kind {
	STREAM_EVENT_OPENED,   /* the peer opened it; first bytes are readable */
	STREAM_EVENT_READABLE, /* new in-order bytes, or the end */
	STREAM_EVENT_WRITABLE, /* stream_room() was 0 when last asked and is not any more */
	STREAM_EVENT_RESET,    /* the peer abandoned sending; code. Not after our stream_stop() */
	STREAM_EVENT_STOPPED, /* the peer asks us to stop sending; ours was reset in answer; code */
	STREAM_EVENT_ACKED,   /* everything incl. FIN was acknowledged */
	STREAM_EVENT_OPENABLE, /* streams_open() said -EAGAIN and would not now; stream NULL */
};

struct stream_event {
	enum stream_event_kind kind;
	uint16_t code;
	struct stream *stream;
	uint64_t id;
};
/* Pulls events; each kind at most once per stream until pulled (flags on a ready list, no queue to
 * overflow). Never for released streams. */
bool streams_next_event(struct streams *s, struct stream_event *out);
/* Some wait to be pulled: sending makes room too, after the turn's events were taken. */
bool streams_has_events(const struct streams *s);

/* ---- the session's side ---- */

/* Consumes STREAM, RESET, STOP, MAX_*, *_BLOCKED. 0, or -EPROTO when the peer broke a rule (window,
 * final size, id), -ENOBUFS: the packet must not be acknowledged (reassembly or memory is full),
 * nothing changed by this frame. */
CV_NODISCARD int streams_on_frame(struct streams *s, cv_time now, const struct wire_frame *f);

/* True when something could be written now: control frames (which do not wait for the session
 * window), or data within the windows. */
bool streams_has_control(const struct streams *s);
bool streams_has_data(const struct streams *s);
/* Some of it is of streams that are new or were at rest: little, and somebody waits for it. */
bool streams_has_sparse(const struct streams *s);
/* Bytes of data that could be sent now within the windows; an estimate from above for train
 * planning. */
size_t streams_sendable(const struct streams *s);
/* Appends due RESET, STOP, MAX_*, *_BLOCKED frames with their notes. */
void streams_write_control(struct streams *s, cv_time now, struct wr *w, struct sent *sent);
/**
 * streams_write_data() - fill the rest of the packet with STREAM frames and their notes
 * @is_first: first packet of a train: the scheduler picks who is next (new and sparse streams
 * first, bulk by deficit round robin, quantum @quantum bytes); later packets stay with the same
 * stream while it has data. A frame that ends the packet has no length field. Return: bytes of
 * stream data written.
 */
size_t streams_write_data(struct streams *s, cv_time now, struct wr *w, struct sent *sent,
                          bool is_first, size_t quantum);
/* The fate of a note with tag NOTE_STREAM, RESET, STOP, MAX_*: lost ones are queued again ahead of
 * new data; acknowledged bytes free their chunks. */
void streams_on_acked(struct streams *s, cv_time now, const struct note *note);
void streams_on_lost(struct streams *s, const struct note *note);
/* For a probe: make the oldest unacknowledged data (or FIN) pending again. False: none. */
bool streams_probe_data(struct streams *s);

/* The object is lost (restart, linger over): every stream that has not ended both ways gets
 * STREAM_EVENT_RESET with @code and sends nothing more. */
void streams_abort_all(struct streams *s, uint16_t code);

/* The stream with most unread bytes, or NULL; O(streams). At 95 % of the budget the owner resets it
 * (rule 7.4). */
struct stream *streams_most_held(const struct streams *s);

struct streams_stats {
	uint32_t open;       /* streams that exist */
	uint64_t sent_bytes; /* payload handed to packets for the first time */
	uint64_t acked_bytes;
	uint64_t received_bytes; /* in-order payload delivered */
	uint64_t unsent_bytes;
	uint64_t buffered_bytes; /* receive side, incl. out of order */
};
void streams_stats(const struct streams *s, struct streams_stats *out);
bool streams_check(const struct streams *s);

/* For sessions that ask for an ACK at the tail: true when the last streams_write_data() emptied
 * everything sendable. */
bool streams_is_drained(const struct streams *s);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * stream - one stream: a send half and a receive half, each with its own state;
 * and the state of the session's streams that both halves touch. Internal to
 * stream.c, stream_table.c, streams.c; others see streams.h.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/pool.h"
#include "base/time.h"
#include "tunnel/flow.h"
#include "tunnel/recvbuf.h"
#include "tunnel/sched.h"
#include "tunnel/sendbuf.h"
#include "tunnel/stream_table.h"
#include "tunnel/streams.h"

enum stream_send_state {
	STREAM_SEND_OPEN,     /* the application may write */
	STREAM_SEND_FINISHED, /* no more is written; FIN goes with or after the last byte */
	STREAM_SEND_ACKED,    /* everything and FIN arrived (final) */
	STREAM_SEND_RESET,    /* abandoned; RESET not yet acknowledged */
	STREAM_SEND_ENDED,    /* RESET arrived, or the object is lost (final) */
};

enum stream_receive_state {
	STREAM_RECEIVE_OPEN,
	STREAM_RECEIVE_SIZED, /* the final size is known, bytes are missing */
	STREAM_RECEIVE_ALL,   /* every byte is here (final) */
	STREAM_RECEIVE_RESET, /* the rest will never come, or is not wanted (final) */
};

/* Control frames that a stream owes. */
enum {
	STREAM_OWES_RESET = 0x01,
	STREAM_OWES_STOP = 0x02,
	STREAM_OWES_MAX_DATA = 0x04,
	STREAM_OWES_BLOCKED = 0x08,
};

#define STREAM_SIZE_UNKNOWN UINT64_MAX

struct stream {
	struct sched_node turn;
	struct list ready;   /* streams.ready: has events */
	struct list owing;   /* streams.owing: has control frames to send */
	struct list unacked; /* streams.unacked: has bytes or a FIN in flight */
	struct list waiting; /* streams.waiting: for the session's cap or for memory */
	uint64_t id;
	uint64_t tag;

	struct sendbuf out;
	struct flow_out out_limit;

	struct recvbuf in;
	struct flow_in in_limit;
	uint64_t in_highest; /* one above the highest byte seen: what counts against the windows */
	uint64_t in_final;   /* STREAM_SIZE_UNKNOWN, or the final size */

	uint32_t slot;       /* in the table */
	uint16_t reset_code; /* of the RESET we send */
	uint16_t stop_code;  /* of the STOP we send */
	uint16_t peer_reset_code;
	uint16_t peer_stop_code;
	uint8_t send;    /* enum stream_send_state */
	uint8_t receive; /* enum stream_receive_state */
	uint8_t events;  /* bits of enum stream_event_kind */
	uint8_t owes;

	bool is_live : 1;      /* the slot is in use */
	bool is_ours : 1;      /* we opened it */
	bool is_announced : 1; /* the application knows it, or is about to be told */
	bool is_accepted : 1;  /* the real windows were given; always for ours */
	bool is_released : 1;  /* the application forgot it */
	bool is_stopped : 1;   /* we sent STOP: what arrives is dropped */
	bool is_fin_due : 1;   /* FIN must go out (again) */
	bool is_fin_sent : 1;
	bool is_fin_acked : 1;
	bool wants_room : 1; /* stream_room() was 0 */
	bool has_turn : 1;   /* it has waited for the session's room, and some is there */
};

/* Session-wide control frames that are owed. */
enum {
	STREAMS_OWE_MAX_DATA = 0x01,
	STREAMS_OWE_MAX_STREAMS = 0x02,
	STREAMS_OWE_BLOCKED = 0x04,
};

struct streams {
	struct pool *pool;
	struct recvbuf_loans *loans; /* borrowed, or NULL */
	struct stream_table table;
	struct sched sched;
	struct list ready, owing, unacked, waiting;
	struct stream *current; /* keeps its turn in this train, or NULL */
	cv_time now;            /* the latest we were told */
	cv_duration rtt;

	struct flow_out out_limit;
	uint64_t out_used; /* new bytes sent, of all streams */
	struct flow_in in_limit;
	uint64_t in_used; /* sum of in_highest: counts against in_limit */
	uint64_t in_done; /* of these, in order, or of streams that are reset */

	size_t unsent_cap, unsent_cap_all;
	uint64_t unsent; /* sums over all streams */
	uint64_t lost;   /* an estimate from above, as sendbuf_lost() is */
	uint64_t held;   /* by receive buffers */
	uint64_t acked;  /* for statistics */
	uint64_t delivered;

	uint32_t stream_window_max, session_window_max;
	uint8_t owes;
	bool is_aborted;
	bool wants_open; /* streams_open() was refused */
	bool is_openable;
};

/* Sets up a zeroed object that is in the table. */
void stream_init(struct streams *s, struct stream *st, uint64_t id, bool is_ours);
/* Frees what it holds and takes it off every list. */
void stream_deinit(struct streams *s, struct stream *st);

/* Notes an event for the application, unless it has released the stream. */
void stream_add_event(struct streams *s, struct stream *st, enum stream_event_kind kind);
/* Makes the stream known to the application, once. */
void stream_announce(struct streams *s, struct stream *st);
/* Notes a control frame to send. */
void stream_owe(struct streams *s, struct stream *st, unsigned what);
/* After any change of what could be sent: lists of the scheduler and of unacknowledged streams. */
void stream_reschedule(struct streams *s, struct stream *st);
/* WRITABLE, when it was asked for and there is room worth a read. Returns what it may take then. */
size_t stream_wake(struct streams *s, struct stream *st);
/* The object goes when both halves ended and the application released it. It may be gone after. */
void stream_settle(struct streams *s, struct stream *st);
/* Session window: tells the peer when enough was used up. */
void stream_renew_session_window(struct streams *s);

/* Input of the receive half: 0, -EPROTO, -ENOBUFS (unchanged). */
CV_NODISCARD int stream_on_data(struct streams *s, struct stream *st, const struct wire_frame *f);
CV_NODISCARD int stream_on_reset(struct streams *s, struct stream *st, const struct wire_frame *f);
/* Input of the send half. */
void stream_on_stop(struct streams *s, struct stream *st, uint16_t code);
void stream_on_max_data(struct streams *s, struct stream *st, uint64_t max);
void stream_on_acked(struct streams *s, struct stream *st, const struct note *note);
void stream_on_lost(struct streams *s, struct stream *st, const struct note *note);
/* The oldest unacknowledged bytes, up to @size, or the FIN, become pending. */
void stream_probe(struct streams *s, struct stream *st, size_t size);
/* The peer says that our window stops it. */
void stream_on_blocked(struct streams *s, struct stream *st);
/* Ends both halves without another word to the peer. */
void stream_abort(struct streams *s, struct stream *st, uint16_t code);

bool stream_send_is_over(const struct stream *st);
bool stream_receive_is_over(const struct stream *st);
bool stream_check(const struct streams *s, const struct stream *st);

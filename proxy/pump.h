/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * pump - how a flow ends: a local socket at one side, a byte pipe (a stream of the
 * tunnel) at the other.
 *
 * Knows the two halves and which end of one becomes which end of the other. Moves
 * no bytes and holds none: the caller does, and tells what happened; each event
 * returns actions, PUMP_* bits, to be done in the order of the list below.
 *
 * The rule: an end is passed on as an end, an abort as an abort. EOF becomes FIN,
 * and FIN a shutdown after the last byte; reset, error and a lost session become
 * RESET + STOP, and over there RST. No abort ever looks like an end of file: half a
 * download must not pass for a whole one.
 *
 *          up: local -> pipe                      down: pipe -> local
 *          OPEN       read and send               OPEN       receive and write
 *           | local EOF: FIN                       | FIN
 *          FINISHING  until all is acknowledged   FINISHING  until all is written
 *           | acknowledged                         | flushed: shutdown(WR)
 *          FINISHED (final)                       FINISHED (final)
 *          RESET (final)  from OPEN and FINISHING, both halves at once
 *
 * An abort may overtake its own FIN until that is acknowledged, hence the FINISHING
 * of both halves. A pump starts when the far side has accepted, both ends existing;
 * a refused stream never has one. It has no deadline of its own: as long as a half
 * is not final its stream lives, and the session keeps the deadline of that and
 * calls a session lost that stays silent.
 */

#include <stdbool.h>

#include "base/compiler.h"
#include "proxy/target.h"

enum pump_half {
	PUMP_OPEN,
	PUMP_FINISHING,
	PUMP_FINISHED,
	PUMP_RESET,
};

enum {
	PUMP_STREAM_FIN = 1 << 0,        /* end the sending half after what was written */
	PUMP_STREAM_RESET = 1 << 1,      /* abort the sending half with p->code */
	PUMP_STREAM_STOP = 1 << 2,       /* want no more bytes: abort the receiving half, p->code */
	PUMP_LOCAL_SHUTDOWN_WR = 1 << 3, /* everything is written: shutdown(WR) */
	PUMP_LOCAL_RST = 1 << 4,         /* SO_LINGER {1, 0} and close; a unix socket: close */
	PUMP_LOCAL_CLOSE = 1 << 5,       /* close: both halves ended well */
	PUMP_DONE = 1 << 6,              /* once, and nothing follows: the pump may go */
};

/* Open so that it can be embedded; code is readable, and TARGET_OK unless the flow was aborted. */
struct pump {
	enum pump_half up;
	enum pump_half down;
	enum target_code code;
};

void pump_init(struct pump *p);

/* The local socket read an end of file. */
CV_NODISCARD unsigned pump_on_local_eof(struct pump *p);
/* The local socket was reset, a read or write of it failed, or this side gives up; @code is not OK.
 */
CV_NODISCARD unsigned pump_on_local_error(struct pump *p, enum target_code code);
/* The peer acknowledged everything sent, FIN included. */
CV_NODISCARD unsigned pump_on_stream_acked(struct pump *p);
/* The peer's FIN: no more bytes will come, though some may still have to be written. */
CV_NODISCARD unsigned pump_on_stream_fin(struct pump *p);
/**
 * pump_on_down_flushed() - every byte received so far has been written locally
 * Call it whenever the queue towards the socket runs empty, and after
 * pump_on_stream_fin() when it is empty already. Means something only after the FIN.
 */
CV_NODISCARD unsigned pump_on_down_flushed(struct pump *p);
/* The peer aborted its sending half. */
CV_NODISCARD unsigned pump_on_stream_reset(struct pump *p, enum target_code code);
/* The peer wants no more bytes. */
CV_NODISCARD unsigned pump_on_stream_stopped(struct pump *p, enum target_code code);
/* The stream is gone without a word: nothing is sent on it any more. */
CV_NODISCARD unsigned pump_on_session_lost(struct pump *p);

/* True while bytes may be read locally and sent. */
bool pump_wants_local(const struct pump *p);
/* True while bytes of the pipe are to be written locally. */
bool pump_wants_stream(const struct pump *p);
bool pump_is_done(const struct pump *p);
bool pump_check(const struct pump *p);

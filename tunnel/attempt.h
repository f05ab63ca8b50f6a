/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * attempt - when a handshake with a peer is begun, where its INIT goes, and what
 * its end means: on demand, after a failure with growing pauses, at rekey, and at every doubt
 * (rules 3.6-3.10, 4.3).
 */

#include <stdbool.h>

#include "base/time.h"
#include "tunnel/session.h"
#include "tunnel/train.h"

/* Begins an attempt unless one runs or another agent uses our identity. */
void attempt_begin(struct session *s, cv_time now);
/* Plans the next one, no later than after @pause. */
void attempt_plan(struct session *s, cv_time now, cv_duration pause);
bool attempt_write(struct session *s, cv_time now, struct train *train, struct session_out *out);
cv_time attempt_deadline(const struct session *s);
void attempt_on_deadline(struct session *s, cv_time now);
/* Continuing INIT on every known path: something may have happened to the peer. At most one a
 * second. */
void attempt_doubt(struct session *s, cv_time now);
/* The handshake is done: pauses begin anew. */
void attempt_succeeded(struct session *s, cv_time now);
/* A path's name for its cookie; 0: no path, but servers. */
uint64_t attempt_path_name(const struct origin *o);

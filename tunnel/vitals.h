/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * vitals - what a session tells its user: path, rates, loss, and in words why the
 * path is not direct. Taken from the state that decides, so that it cannot lie.
 */

#include "tunnel/session.h"
#include "tunnel/why.h"

/* Keeps marks a second apart, for rates; call at least when asked and at every turn with traffic.
 */
void vitals_mark(struct session *s, cv_time now);
void vitals_read(struct session *s, cv_time now, enum why_servers servers,
                 struct endpoint_peer_stats *out);
/* The object is about to go: what it has sent and received still counts. */
void vitals_keep(struct session *s);

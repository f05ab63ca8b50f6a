/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * builder - one session's next train: what goes in, in which order, and sealed in
 * place (rule 8.1). First packet of a train: ACK, control, candidates, datagrams, then stream data;
 * the others stream data only, at exactly the same size. Probes and handshakes travel alone
 * (session.c).
 */

#include <stdbool.h>

#include "base/time.h"
#include "tunnel/session.h"
#include "tunnel/train.h"

/* Builds a train of DATA for the active path (or a lone ACK for the path that the newest packet
 * came by). False: nothing may go now. */
bool builder_write(struct session *s, cv_time now, struct train *train, struct session_out *out);
/* When pacing alone, or an owed ACK, will let something go; CV_TIME_NEVER: it waits for nothing but
 * input. */
cv_time builder_deadline(const struct session *s);
/* One DATA packet under @e on @slot with what @fill appends, outside all windows: CLOSE. */
bool builder_write_close(struct session *s, cv_time now, struct epoch *e, uint8_t slot,
                         uint16_t code, struct train *train, struct session_out *out);

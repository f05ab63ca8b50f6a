/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * recovery - what the peer's ACKs mean: which packets arrived, which are lost,
 * what congestion control learns from it, and to whom each note goes back. One pass a batch, per
 * path (rules 5.1, 5.3). Knows no frames but ACK.
 */

#include <stdbool.h>

#include "base/compiler.h"
#include "base/time.h"
#include "tunnel/session.h"
#include "tunnel/wire.h"

/* One ACK frame, which came by @slot. 0, or -EPROTO when it names what was never sent. */
CV_NODISCARD int recovery_on_ack(struct session *s, cv_time now, const struct wire_frame *f);
/* Room for @packets records and @notes: false when too much is in flight, or for want of memory. */
bool recovery_make_room(struct session *s, cv_time now, uint32_t packets, uint32_t notes);
/* Before the first eliciting packet of a train is committed; room for it was reserved. */
void recovery_on_train(struct session *s, cv_time now, uint8_t slot);
/* After a batch: losses, congestion, pacing, windows, old records. */
void recovery_settle(struct session *s, cv_time now);
/* When a loss is to be declared, a probe sent or a left path's flight taken back. */
cv_time recovery_deadline(const struct session *s);
void recovery_on_deadline(struct session *s, cv_time now);
/* Takes back all that is in flight on @slot, without a signal to any controller: the path is dead
 * or was left. */
void recovery_take_back(struct session *s, cv_time now, uint8_t slot);
/* A packet was built. */
void recovery_on_sent(struct session *s, cv_time now, uint8_t slot, uint64_t number, uint16_t size,
                      bool is_eliciting, bool asked_ack);

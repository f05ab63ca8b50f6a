/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * link - reliable, ordered control messages of one server session, at either
 * end: a queue, a cumulative acknowledgement, a timer (250 ms doubling to 2 s). "The same protocol
 * in a smaller size" (rule 2.8): no streams, no rings; an idle link holds no buffer. Knows no keys
 * and no paths.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/rd.h"
#include "base/time.h"
#include "base/wr.h"
#include "tunnel/wire.h"

enum { LINK_WINDOW = 16, LINK_QUEUE_MAX = 256 };

struct link_message;

struct link {
	struct link_message *first, *last; /* owned queue: sent and unacknowledged, then unsent */
	uint16_t queued;
	uint16_t next_seq;     /* of the next message queued */
	uint16_t acked_seq;    /* everything before it was acknowledged */
	uint16_t sent_seq;     /* everything before it was sent since the last timeout */
	uint16_t expected_seq; /* next message to take */
	bool is_ack_due;
	uint8_t tries;
	cv_time resend_at; /* CV_TIME_NEVER: nothing unacknowledged */
};

void link_init(struct link *l);
/* Frees what is queued. */
void link_deinit(struct link *l);
/* Queues a copy. 0, -ENOBUFS at LINK_QUEUE_MAX, -ENOMEM. */
CV_NODISCARD int link_send(struct link *l, const struct wire_message *m);
/* MESSAGE and MESSAGE_ACK. True: @m was filled with a new message, in order; act on it now (its
 * pointers are borrowed from the packet). */
bool link_on_frame(struct link *l, cv_time now, const struct wire_frame *f, struct wire_message *m);
bool link_has_output(const struct link *l, cv_time now);
/* Appends the acknowledgement and as many messages as fit and the window allows. Return: bytes
 * written. */
size_t link_write(struct link *l, cv_time now, struct wr *w);
cv_time link_deadline(const struct link *l);
/* Two timeouts in a row: the other end may have gone. */
bool link_is_doubtful(const struct link *l);
bool link_check(const struct link *l);

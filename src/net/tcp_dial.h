/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * tcp_dial - one connect attempt, TCP or unix.
 *
 * Knows connect() and its end; order, policy and time limits are proxy/dial's.
 */

#include "base/compiler.h"
#include "base/hostport.h"
#include "net/tcp_conn.h"

struct tcp_dial;

/* Once, from the loop: @conn (the callee's now) and 0, or NULL and a negative errno. The dial is
 * gone. */
typedef void (*tcp_dial_done)(void *ctx, struct tcp_conn *conn, int error);

/**
 * tcp_dial_start() - begin to connect
 * @set: the conn will be of it; borrowed
 * @to:  HOST_ADDR or HOST_UNIX; dialled as it stands, so canonical already; not kept
 *
 * Return: 0, and @done comes once unless cancelled; else a negative errno at once, and @done does
 * not come: -EMFILE (set full, or no descriptor), -ENAMETOOLONG, -EINVAL, -ENOMEM. What
 * connect() itself says comes through @done.
 */
CV_NODISCARD int tcp_dial_start(struct tcp_set *set, const struct hostport *to, tcp_dial_done done,
                                void *ctx, struct tcp_dial **out);
/* Takes @dial; its done does not come. Not after done came. */
void tcp_dial_cancel(struct tcp_dial *dial);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * tcp_listener - accepts local connections, TCP or unix.
 *
 * When descriptors run out (EMFILE and its kin) or the set of conns is full it stops
 * accepting, for 100 ms at first and at most 1 s, and says so once: clients wait in the
 * backlog of 512, and the loop does not spin.
 */

#include <uv.h>

#include "base/compiler.h"
#include "base/hostport.h"
#include "net/tcp_conn.h"

struct tcp_listener;

/* @conn is the callee's: tcp_conn_start() it, or close it. */
typedef void (*tcp_listener_accept)(void *ctx, struct tcp_conn *conn);

/**
 * tcp_listener_open() - bind and listen
 * @set: conns are made in it; borrowed, outlives the listener
 * @at:  HOST_ADDR (port 0: any free one) or HOST_UNIX; copied. `localhost` is the caller's to
 *       expand
 *
 * A unix socket gets mode 0600. A path that exists is taken over only if it is a socket that
 * belongs to us and nobody answers there.
 *
 * Return: 0; -EADDRINUSE (also: a unix path that is answered, is not ours or is no socket),
 * -EADDRNOTAVAIL, -EACCES, -ENAMETOOLONG, -EINVAL, -ENOMEM, ...
 */
CV_NODISCARD int tcp_listener_open(struct tcp_set *set, const struct hostport *at,
                                   tcp_listener_accept on_accept, void *ctx,
                                   struct tcp_listener **out);
/* Where it really listens: the port is never 0. */
void tcp_listener_local(const struct tcp_listener *l, struct hostport *out);
/* Takes @l. Its unix path is removed if it is still the same file. on_accept does not come again;
 * @on_closed (may be NULL) comes from the loop. */
void tcp_listener_close(struct tcp_listener *l, void (*on_closed)(void *ctx), void *ctx);

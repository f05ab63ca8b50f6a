/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * tcp_conn - one local connection, TCP or unix, accepted or dialled.
 *
 * Knows a stream socket: reading into memory that the reader lends (a stream's own send
 * buffer), writing many pieces at once, half-close, reset, and that a client may vanish
 * while nobody reads it. Copies nothing and queues nothing.
 *
 * A conn belongs to a set: it counts the conns, bounds them, and has the one timer that
 * looks once a second after those that are not polled.
 *
 * Callbacks come from the loop only, never from within a call of the owner. After
 * tcp_conn_close() or tcp_conn_reset(), which are allowed inside any callback, only
 * on_closed follows, once; the conn is gone after it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>
#include <uv.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/list.h"

struct tcp_set;
struct tcp_conn;

enum { TCP_CONN_PIECES_MAX = 64 }; /* pieces of one write; more are left for the next */

struct tcp_conn_events {
	/* Memory for the next read: returns it and sets *@size (> 0); NULL: stop reading now,
	 * as tcp_conn_read_stop(). Borrowed until the on_read, on_eof or on_error that follows,
	 * at once; a read that found nothing is followed by on_read with 0. */
	uint8_t *(*alloc)(void *ctx, size_t *size);
	void (*on_read)(void *ctx, size_t size);
	/* The other side will send no more. Reading has stopped for good. */
	void (*on_eof)(void *ctx);
	/* Reset, timed out, ...; @error negative. Nothing works any more: close it. Comes once,
	 * also while reading is stopped (then within a second). */
	void (*on_error)(void *ctx, int error);
	/* There is room after tcp_conn_writev() took less than all. */
	void (*on_writable)(void *ctx);
	/* The last call: the owner may go. */
	void (*on_closed)(void *ctx);
};

/* @conns_max: conns alive at once (listeners pause, dials get -EMFILE). 0 or -ENOMEM. */
CV_NODISCARD int tcp_set_open(uv_loop_t *loop, uint32_t conns_max, struct tcp_set **out);
/* All conns, listeners and dials of the set must have been closed; they may still be closing. */
void tcp_set_close(struct tcp_set *set);
/* Conns alive, those closing included. */
uint32_t tcp_set_count(const struct tcp_set *set);
bool tcp_set_has_room(const struct tcp_set *set);
/* Who waits for room; embedded, its node initialised. */
struct tcp_set_waiter {
	struct list node; /* list_remove() gives up waiting */
	void (*on_room)(struct tcp_set_waiter *w);
};
/* on_room comes once, when a conn has gone; others may take the place before. Idempotent. */
void tcp_set_await_room(struct tcp_set *set, struct tcp_set_waiter *w);
uv_loop_t *tcp_set_loop(const struct tcp_set *set);

/**
 * tcp_conn_new() - make a conn of a connected socket
 * @fd: taken, also on failure; made non-blocking. TCP gets no-delay and keepalive (60 s), and
 *      its urgent byte is read in its place.
 *
 * For tcp_listener and tcp_dial, and for descriptors that come from elsewhere. Nothing is
 * polled before tcp_conn_start().
 *
 * Return: 0, -EMFILE (the set is full), -ENOMEM, or what libuv says.
 */
CV_NODISCARD int tcp_conn_new(struct tcp_set *set, int fd, struct tcp_conn **out);
/* Who hears of it from now on; @events is borrowed (static). Before this a conn may only be closed.
 * Reading is off. May be called again to hand the conn to another owner; closing is then his. */
void tcp_conn_start(struct tcp_conn *conn, const struct tcp_conn_events *events, void *ctx);

/* The kernel keeps at most about @unsent bytes that it has not sent yet, and says that the conn is
 * writable when it has fewer; without effect where it cannot. */
void tcp_conn_keep_short(struct tcp_conn *conn, int unsent);

/* Both idempotent; without effect after end of file or error. */
void tcp_conn_read_start(struct tcp_conn *conn);
void tcp_conn_read_stop(struct tcp_conn *conn);
bool tcp_conn_is_reading(const struct tcp_conn *conn);

/**
 * tcp_conn_writev() - write what the kernel takes now
 * @taken: bytes written, from the front; less than all: on_writable will come
 * Return: 0, or -EPIPE, -ECONNRESET, ... (then on_error does not come).
 */
CV_NODISCARD int tcp_conn_writev(struct tcp_conn *conn, const struct iovec *pieces, unsigned count,
                                 size_t *taken);
/* No more writes: FIN after what was written. Idempotent. */
void tcp_conn_shutdown(struct tcp_conn *conn);
/* An orderly end. (The kernel makes a reset of it when bytes were left unread.) */
void tcp_conn_close(struct tcp_conn *conn);
/* An abort: RST at once, unsent bytes are dropped. A unix socket has no reset: it closes. */
void tcp_conn_reset(struct tcp_conn *conn);

/**
 * tcp_conn_tell_reset() - before tcp_conn_reset() of a unix socket whose reader knows this sign
 *
 * A unix socket cannot say RST: to its reader an abort looks like an end. So the last byte sent,
 * which is no data, carries a descriptor (SCM_RIGHTS). Without effect on TCP, and lost when the
 * socket's buffer is full.
 */
void tcp_conn_tell_reset(struct tcp_conn *conn);
/* The client of this unix socket sends such a sign before its end: an end without it is an error
 * (-ECONNRESET), as a client that was killed is. */
void tcp_conn_expect_end(struct tcp_conn *conn);
/* A descriptor of its own for the same connection, which lives on when @conn is closed; or a
 * negative errno. */
CV_NODISCARD int tcp_conn_dup(const struct tcp_conn *conn);
bool tcp_conn_is_unix(const struct tcp_conn *conn);
/* ADDR_NONE for unix sockets. */
struct addr tcp_conn_local_address(const struct tcp_conn *conn);
struct addr tcp_conn_peer_address(const struct tcp_conn *conn);

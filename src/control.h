/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * control - the server side of the control socket, for `culvert run` and `culvert server`.
 *
 * Knows lines: one JSON object a line as a request, one a line as the answer, in order.
 *
 *	{"command":"status"}                                 {"ok":true,"status":{...}}
 *	{"command":"ping","peer":"home"}                     {"ok":true,"rtt_ms":21.4,
 *	                                                      "path":{"kind":"direct","address":"..."}}
 *	{"command":"nc","peer":"home","target":"localhost:22"}  {"ok":true}, then the stream's bytes
 *	{"command":"reload"}                                 {"ok":true,"report":"..."}
 *	{"command":"stop"}                                   {"ok":true}, and then the end
 *	{"command":"forward","peer":"home","target":"localhost:22","listen":"2222"}
 *	                                                     {"ok":true,"addresses":["..."]}
 *	{"command":"forward-remove","listen":"2222"}         {"ok":true}
 *	{"command":"forwards"}                               {"ok":true,"forwards":[...]}
 *	anything that fails                                  {"ok":false,"error":"...","exit":4}
 *
 * Does not know what an agent is: that is in the ops. Unix sockets only (mode 0600), only for
 * our own user and root. Bounded in everything: CONTROL_CONNS_MAX connections, 64 KiB a
 * request, one answer in flight per connection (the next request waits until the reader took
 * it), 10 s for a request to come or an answer to be taken. Nobody can block the loop.
 *
 * No op is called from within a call of the owner; ops may call control_ping_done() at once.
 */

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <uv.h>

#include "base/compiler.h"
#include "base/time.h"
#include "net/tcp_conn.h"
#include "request.h"

struct control;

enum {
	CONTROL_CONNS_MAX = 32, /* that still speak lines; more are answered "busy" and closed */
	CONTROL_NC_MAX = 1024,  /* that were given away by ops->nc */
	CONTROL_WHY_MAX = 512,  /* an error text and its NUL */
	CONTROL_LINE_MAX = 512, /* of control_nc_line() */
};

#define CONTROL_IDLE_TIMEOUT CV_SEC(10) /* no request, or an answer that is not read */
#define CONTROL_PING_TIMEOUT CV_SEC(5)  /* then control itself answers "no reply" */

/* A failed op returns an exit code of the contract (2 unknown peer, 3 unreachable, 4 refused,
 * 1 else) and sets *@why to a sentence, borrowed until the next call of an op. For an unknown
 * peer the sentence need not list the known ones: the commands add them. Strings given to ops
 * are borrowed for the call. NULL: this process has no such command. */
struct control_ops {
	/* A new reference, or NULL when memory ran out. */
	json_t *(*status)(void *ctx);
	/* Starts one ping; 0: control_ping_done() or control_ping_failed() will follow with @id.
	 * At most one is under way per connection. */
	int (*ping)(void *ctx, const char *peer, uint64_t id, const char **why);
	/**
	 * nc() - make @conn the local end of a flow to @target
	 * @target: a text that hostport_parse() accepts
	 * @early:  bytes of the stream that came with the request; borrowed for the call
	 *
	 * On 0 @conn is taken: call tcp_conn_start() for it, now or later; nothing was written to
	 * it. The flow writes control_nc_line(): when the far side has accepted, before any data,
	 * or when it refused, and closes.
	 */
	int (*nc)(void *ctx, const char *peer, const char *target, struct tcp_conn *conn,
	          const uint8_t *early, size_t early_size, const char **why);
	/* Every other verb: the whole answer, a new reference; NULL when memory ran out. Must not
	 * close the control before it has returned. */
	json_t *(*manage)(void *ctx, const struct request *request);
};

/**
 * control_open() - bind the control socket at @path and answer there
 * @ops: borrowed for the life of the control, as is @ctx
 * @why: on failure, a sentence for the user that names @path
 *
 * A directory that is missing is made (mode 0700, one level). A socket that is answered is
 * never taken over; one that is stale is, if it is ours.
 *
 * Return: 0; -EADDRINUSE, -EACCES, -ENAMETOOLONG, -ENOMEM, ...: exit 1 in every case.
 */
CV_NODISCARD int control_open(uv_loop_t *loop, const char *path, const struct control_ops *ops,
                              void *ctx, struct control **out, char why[CONTROL_WHY_MAX]);

/* The answer to a ping; without effect when its client is gone. @address: text, or NULL. */
void control_ping_done(struct control *c, uint64_t id, cv_duration rtt, const char *path_kind,
                       const char *address);
/* As above; @exit_code as ops return them. */
void control_ping_failed(struct control *c, uint64_t id, int exit_code, const char *error);

/* What the flow of an `nc` writes first, that it was accepted (@exit_code 0, @error NULL) or why
 * not: a line, without NUL; returns its size. */
size_t control_nc_line(char line[CONTROL_LINE_MAX], int exit_code, const char *error);

/* Takes @c; removes the socket, closes every connection that still speaks lines. The conns that
 * ops->nc took must have been closed before (they may still be closing). @on_closed (may be
 * NULL) comes from the loop. */
void control_close(struct control *c, void (*on_closed)(void *ctx), void *ctx);

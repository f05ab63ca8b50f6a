/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * http - the server's side of one client of an HTTP proxy: what its request means, and what it is
 * told (RFC 9110, RFC 9112).
 *
 * Knows CONNECT, and requests in absolute form of the scheme http; everything else is refused, so
 * that a page in a browser which takes this port for a web server gets an answer and nothing more.
 * The target of the request decides where it goes, the Host field never. The grammar is
 * http_head's, the body http_body's. Does not know who serves the target.
 *
 * A request in absolute form is the only one of its connection: what the target gets says
 * `Connection: close`, the response passes untouched, and ends the connection. Upgrade is taken
 * away like all that is between a client and its proxy alone: who wants a WebSocket uses CONNECT
 * (RFC 6455, 4.1). The version stays the client's, since it is the client who reads the response;
 * for the same reason there is no Via.
 *
 *   for (;;) {
 *           verdict = http_on_bytes(h, &in);
 *           NEED_MORE  wait for more bytes
 *           NEED_ROOM  http_lend() more memory, go round again
 *           CONNECT    h->target; what is left of @in is stream data
 *           FORWARD    h->target; http_write_request(), then what h->body lets through
 *           CLOSE      http_write_error() with h->status and h->why; close (drain first)
 *   }
 *
 * The verdicts are the same however TCP cut the bytes up.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/hostport.h"
#include "base/rd.h"
#include "base/wr.h"
#include "proxy/auth.h"
#include "proxy/http_body.h"
#include "proxy/http_head.h"

enum {
	/* What http_write_request() writes beyond the size of the head it read. */
	HTTP_REQUEST_EXTRA = 64,
	HTTP_CAUSE_MAX = 512, /* bytes of a cause that an error shows; more is cut off */
	HTTP_ERROR_MAX = 512 + HTTP_CAUSE_MAX + HOSTPORT_TEXT_MAX,
	HTTP_ESTABLISHED_SIZE = 39,
};

enum http_state {
	HTTP_LINE,   /* expects the request line */
	HTTP_FIELDS, /* its target is good */
	HTTP_ASKED,  /* final */
	HTTP_CLOSED, /* final */
};

enum http_verdict {
	HTTP_NEED_MORE,
	HTTP_NEED_ROOM,
	HTTP_CONNECT,
	HTTP_FORWARD,
	HTTP_CLOSE,
};

/* Open so that it can be embedded. Readable: target, body, user, status, why. */
struct http {
	enum http_state state;
	uint16_t status;               /* of the refusal, once closed */
	const char *why;               /* likewise: a static sentence */
	const struct auth_user *users; /* borrowed; NULL when there are none */
	size_t user_count;
	const char *user;       /* who authenticated, or NULL; borrowed from users */
	struct hostport target; /* valid from HTTP_CONNECT or HTTP_FORWARD on */
	struct http_body body;  /* HTTP_FORWARD: expects its first byte */
	uint16_t authority_at, authority_size, path_at; /* in the head; the path ends the target */
	struct http_head head;
};

/**
 * http_init() - expect a client's request
 * @users: borrowed; with a count of 0 nobody is asked for a password
 * @bytes: borrowed until http_lend(); it comes to hold a password
 */
void http_init(struct http *h, const struct auth_user *users, size_t user_count, uint8_t *bytes,
               size_t cap);
/* More memory, HTTP_HEAD_MAX at most; the memory before is not used any more. */
void http_lend(struct http *h, uint8_t *bytes, size_t cap);

/**
 * http_on_bytes() - take what the client sent, as far as the head goes
 * @in: consumed up to what gave the verdict, never beyond the head
 */
CV_NODISCARD enum http_verdict http_on_bytes(struct http *h, struct rd *in);

/* After HTTP_FORWARD: appends the head as the target gets it; it fits in the size of the head plus
 * HTTP_REQUEST_EXTRA bytes. */
void http_write_request(const struct http *h, struct wr *w);

/* After HTTP_CONNECT: appends the answer that the way is open, HTTP_ESTABLISHED_SIZE bytes. */
void http_write_established(struct wr *w);

/**
 * http_write_error() - append the whole answer to a request that is refused
 * @cause:  a sentence without capital and full stop: why
 * @target: what could not be reached, or NULL when the request itself is at fault
 * Fits in HTTP_ERROR_MAX bytes. Has no body where the method was HEAD.
 */
void http_write_error(const struct http *h, struct wr *w, uint16_t status, const char *cause,
                      const struct hostport *target);

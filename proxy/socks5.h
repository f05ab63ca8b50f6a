/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * socks5 - the server's side of one SOCKS5 client (RFC 1928, RFC 1929).
 *
 * Knows the three messages of a client (greeting, user and password, request) and
 * their answers. Does not know who serves the target (route) nor what became of
 * it: the caller says so in socks5_write_reply(). Has no deadline of its own; the
 * caller closes a client that has not asked for anything within 10 s.
 *
 *   for (;;) {
 *           verdict = socks5_on_bytes(s, &in);
 *           write s->out[0 .. s->out_size), then
 *           NEED_MORE  wait for more bytes
 *           REPLY      go round again: the client may have sent ahead
 *           REQUEST    s->command, s->target; what is left of @in is stream data
 *           CLOSE      close (drain first); s->why is for the log
 *   }
 *
 * The verdicts, the bytes out and where the stream data begins are the same
 * however TCP cut the bytes up.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/hostport.h"
#include "base/rd.h"
#include "base/wr.h"
#include "proxy/auth.h"
#include "proxy/target.h"

enum {
	SOCKS5_GREETING_MAX = 257, /* 2 + 255 methods */
	SOCKS5_AUTH_MAX = 513,     /* 3 + 255 + 255 */
	SOCKS5_REQUEST_MAX = 262,  /* 4 + 1 + 255 + 2 */
	SOCKS5_REPLY_MAX = 22,     /* 10 for IPv4 and for every error, 22 for IPv6 */
};

enum socks5_state {
	SOCKS5_GREETING,
	SOCKS5_AUTH,
	SOCKS5_ASK,    /* expects the request */
	SOCKS5_ASKED,  /* final: a request was read */
	SOCKS5_CLOSED, /* final */
};

/* RFC 1928, 4: CMD */
enum socks5_command {
	SOCKS5_CONNECT = 1,
	SOCKS5_BIND = 2,
	SOCKS5_ASSOCIATE = 3,
};

enum socks5_verdict {
	SOCKS5_NEED_MORE,
	SOCKS5_REPLY,
	SOCKS5_REQUEST,
	SOCKS5_CLOSE,
};

/* Open so that it can be embedded. Readable between calls: out, out_size, command, target, user,
 * why. */
struct socks5 {
	enum socks5_state state;
	const char *why;               /* a static sentence for the log, once closed */
	const struct auth_user *users; /* borrowed; NULL when there are none */
	size_t user_count;
	const char *user;            /* who authenticated, or NULL; borrowed from users */
	enum socks5_command command; /* valid from SOCKS5_REQUEST on */
	/* Likewise. CONNECT's always names something; BIND's and ASSOCIATE's may be 0.0.0.0 or
	 * port 0: what the client does not know yet. */
	struct hostport target;
	size_t out_size; /* bytes to write after this call; 0 mostly */
	uint8_t out[SOCKS5_REPLY_MAX];
	uint16_t in_size; /* bytes of the present message in in[] */
	uint16_t wanted;  /* its size as far as it is known */
	uint8_t in[SOCKS5_AUTH_MAX];
};

/**
 * socks5_init() - expect a client's greeting
 * @users: borrowed until the client is gone; with a count of 0 nobody is asked for
 *         a password, otherwise nobody is let in without one
 */
void socks5_init(struct socks5 *s, const struct auth_user *users, size_t user_count);

/**
 * socks5_on_bytes() - take what the client sent, as far as the handshake goes
 * @in: consumed up to the end of the message that gave the verdict, never beyond
 *
 * After SOCKS5_REQUEST and SOCKS5_CLOSE nothing is consumed any more and the
 * verdicts are SOCKS5_NEED_MORE and SOCKS5_CLOSE.
 */
CV_NODISCARD enum socks5_verdict socks5_on_bytes(struct socks5 *s, struct rd *in);

/**
 * socks5_write_reply() - append the answer to a request
 * @bound: the far side's end; NULL or ADDR_NONE is written as 0.0.0.0:0
 * Fits in SOCKS5_REPLY_MAX bytes; errors are whole replies too.
 */
void socks5_write_reply(struct wr *w, enum target_code code, const struct addr *bound);

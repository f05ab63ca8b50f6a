/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * socks4 - the server's side of one SOCKS4 or SOCKS4a client (Ying-Da Lee's two memos).
 *
 * Knows the one message of a client and its answer. SOCKS4 has no password, so a listener that
 * asks for one refuses every such client: the user id is whatever the client likes to say, and is
 * not looked at. Does not know who serves the target.
 *
 *   verdict = socks4_on_bytes(s, &in);
 *           write s->out[0 .. s->out_size), then
 *           NEED_MORE  wait for more bytes
 *           REQUEST    s->command, s->target; what is left of @in is stream data
 *           CLOSE      close (drain first); s->why is for the log
 *
 * The verdict, the bytes out and where the stream data begins are the same however TCP cut the
 * bytes up.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/hostport.h"
#include "base/rd.h"
#include "base/wr.h"
#include "proxy/target.h"

enum {
	SOCKS4_USER_MAX = 255, /* bytes of a user id; our limit, the memo has none */
	SOCKS4_NAME_MAX = 255,
	SOCKS4_REPLY_SIZE = 8,
};

enum socks4_command {
	SOCKS4_CONNECT = 1,
	SOCKS4_BIND = 2,
};

enum socks4_state {
	SOCKS4_HEAD,   /* the eight bytes of fixed size */
	SOCKS4_USER,   /* up to its NUL */
	SOCKS4_NAME,   /* 4a: up to its NUL */
	SOCKS4_ASKED,  /* final: a request was read */
	SOCKS4_CLOSED, /* final */
};

enum socks4_verdict {
	SOCKS4_NEED_MORE,
	SOCKS4_REQUEST,
	SOCKS4_CLOSE,
};

/* Open so that it can be embedded. Readable between calls: out, out_size, command, target, why. */
struct socks4 {
	enum socks4_state state;
	const char *why; /* a static sentence for the log, once closed */
	bool has_users;
	enum socks4_command command; /* valid from SOCKS4_REQUEST on */
	struct hostport target;      /* likewise; BIND's may be 0.0.0.0 or port 0 */
	size_t out_size;             /* bytes to write after this call */
	uint8_t out[SOCKS4_REPLY_SIZE];
	uint16_t in_size; /* bytes of the present state's part */
	uint8_t head[8];
	uint8_t name[SOCKS4_NAME_MAX];
};

/* @has_users: the listener asks for a password; then nobody is let in. */
void socks4_init(struct socks4 *s, bool has_users);

/**
 * socks4_on_bytes() - take what the client sent, as far as the request goes
 * @in: consumed up to the end of the request, never beyond
 *
 * After SOCKS4_REQUEST and SOCKS4_CLOSE nothing is consumed any more and the verdicts are
 * SOCKS4_NEED_MORE and SOCKS4_CLOSE.
 */
CV_NODISCARD enum socks4_verdict socks4_on_bytes(struct socks4 *s, struct rd *in);

/**
 * socks4_write_reply() - append the answer to a request: always SOCKS4_REPLY_SIZE bytes
 * @bound: the far side's end; NULL or anything but IPv4 is written as 0.0.0.0:0
 * There is one way to say no (91), whatever the reason.
 */
void socks4_write_reply(struct wr *w, enum target_code code, const struct addr *bound);

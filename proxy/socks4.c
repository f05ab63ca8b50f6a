/* SPDX-License-Identifier: MIT */
#include "proxy/socks4.h"

#include <string.h>

/*
 *   VN 4   CD 1   DSTPORT 2   DSTIP 4   USERID ... 0   [ 4a, DSTIP 0.0.0.x:  NAME ... 0 ]
 *
 * Two parts have no length in front: they are read byte by byte up to their NUL, so what comes
 * behind the request is never touched. A request is refused only when it is whole (or has no
 * end), since closing a socket with unread bytes makes a RST that may overtake the reply.
 *
 *   HEAD ---> USER ---4a---> NAME ---> ASKED
 *     |          \-----------------------^
 *     +-- refused: from each ------------> CLOSED
 */

enum {
	VERSION = 4,
	GRANTED = 90,
	REJECTED = 91,
};

#define TO(state) (1u << (state))
static const unsigned edges[] = {
	[SOCKS4_HEAD] = TO(SOCKS4_USER) | TO(SOCKS4_CLOSED),
	[SOCKS4_USER] = TO(SOCKS4_NAME) | TO(SOCKS4_ASKED) | TO(SOCKS4_CLOSED),
	[SOCKS4_NAME] = TO(SOCKS4_ASKED) | TO(SOCKS4_CLOSED),
	[SOCKS4_ASKED] = 0,
	[SOCKS4_CLOSED] = 0,
};

/* The only place that writes s->state: a new state begins with an empty part. */
static void enter(struct socks4 *s, enum socks4_state next)
{
	CV_ASSERT(edges[s->state] & TO(next));
	s->state = next;
	s->in_size = 0;
}

void socks4_init(struct socks4 *s, bool has_users)
{
	memset(s, 0, sizeof(*s));
	s->has_users = has_users;
	s->state = SOCKS4_HEAD;
}

static enum socks4_verdict refuse(struct socks4 *s, const char *why)
{
	struct wr w = wr_init(s->out, sizeof(s->out));

	socks4_write_reply(&w, TARGET_MALFORMED, NULL);
	CV_ASSERT(wr_size(&w) == SOCKS4_REPLY_SIZE);
	s->out_size = SOCKS4_REPLY_SIZE;
	s->why = why;
	enter(s, SOCKS4_CLOSED);
	return SOCKS4_CLOSE;
}

/* 0.0.0.x, x not 0: "the name follows". */
static bool is_4a(const struct socks4 *s)
{
	return s->head[4] == 0 && s->head[5] == 0 && s->head[6] == 0 && s->head[7] != 0;
}

/* The request is whole; @name_size is 0 without a name. */
static enum socks4_verdict on_request(struct socks4 *s, size_t name_size)
{
	uint16_t port = cv_load16(s->head + 2);
	struct hostport t = { .kind = HOST_ADDR, .port = port };

	if (s->has_users)
		return refuse(s, "SOCKS4 has no password, and this proxy asks for one");
	if (s->head[1] != SOCKS4_CONNECT && s->head[1] != SOCKS4_BIND)
		return refuse(s, target_code_text(TARGET_UNSUPPORTED));
	if (port == 0 && s->head[1] == SOCKS4_CONNECT)
		return refuse(s, "port 0");
	if (is_4a(s)) {
		if (hostport_from_name((const char *)s->name, name_size, port, &t) < 0)
			return refuse(s, "neither an address nor a valid name");
	} else {
		t.addr = addr_v4(s->head[4], s->head[5], s->head[6], s->head[7], port);
	}
	if (t.kind == HOST_ADDR) {
		t.addr = addr_canonical(&t.addr);
		t.addr.port = port;
	}
	s->command = (enum socks4_command)s->head[1];
	s->target = t;
	enter(s, SOCKS4_ASKED);
	return SOCKS4_REQUEST;
}

static enum socks4_verdict on_byte(struct socks4 *s, uint8_t byte)
{
	switch (s->state) {
	case SOCKS4_HEAD:
		if (s->in_size == 0 && byte != VERSION) {
			s->why = "not SOCKS4";
			enter(s, SOCKS4_CLOSED); /* nothing that it would understand */
			return SOCKS4_CLOSE;
		}
		s->head[s->in_size++] = byte;
		if (s->in_size == sizeof(s->head))
			enter(s, SOCKS4_USER);
		return SOCKS4_NEED_MORE;
	case SOCKS4_USER:
		if (byte != 0)
			return ++s->in_size > SOCKS4_USER_MAX ? refuse(s, "the user id has no end")
			                                      : SOCKS4_NEED_MORE;
		if (!is_4a(s))
			return on_request(s, 0);
		enter(s, SOCKS4_NAME);
		return SOCKS4_NEED_MORE;
	case SOCKS4_NAME:
		if (byte == 0)
			return on_request(s, s->in_size);
		if (s->in_size == SOCKS4_NAME_MAX)
			return refuse(s, "the name has no end");
		s->name[s->in_size++] = byte;
		return SOCKS4_NEED_MORE;
	case SOCKS4_ASKED:
	case SOCKS4_CLOSED:
		break;
	}
	CV_UNREACHABLE();
}

enum socks4_verdict socks4_on_bytes(struct socks4 *s, struct rd *in)
{
	enum socks4_verdict verdict = SOCKS4_NEED_MORE;

	s->out_size = 0;
	if (s->state == SOCKS4_ASKED)
		return SOCKS4_NEED_MORE; /* stream data: not ours to look at */
	if (s->state == SOCKS4_CLOSED)
		return SOCKS4_CLOSE;
	while (verdict == SOCKS4_NEED_MORE && rd_left(in) > 0)
		verdict = on_byte(s, rd_u8(in));
	return verdict;
}

/*   VN 0   CD   DSTPORT 2   DSTIP 4 */
void socks4_write_reply(struct wr *w, enum target_code code, const struct addr *bound)
{
	bool has_address = bound && bound->family == ADDR_V4;

	wr_u8(w, 0);
	wr_u8(w, code == TARGET_OK ? GRANTED : REJECTED);
	if (!has_address) {
		wr_zero(w, 2 + 4);
		return;
	}
	wr_u16(w, bound->port);
	wr_copy(w, bound->ip, 4);
}

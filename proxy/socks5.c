/* SPDX-License-Identifier: MIT */
#include "proxy/socks5.h"

#include <string.h>

/*
 * The three messages have their own lengths inside, so each is gathered in in[]
 * byte for byte as far as it is known to reach: `wanted` grows as the lengths
 * arrive, and no byte after the message is ever touched. What follows a request is
 * the stream's. (One recv() taken for one message is the classic failure here, and
 * losing what a client sent ahead is the other.)
 *
 *   GREETING --no users, offers 0--------------------> ASK ---request--> ASKED
 *      |  \--users, offers 2--> AUTH --right-----------^ |
 *      |                          |                       |
 *      +-- no method -------------+-- wrong --------------+-- refused --> CLOSED
 */

enum {
	VERSION = 5,
	AUTH_VERSION = 1, /* RFC 1929 */

	METHOD_NONE = 0,
	METHOD_USER = 2,
	METHOD_NOT_ACCEPTED = 0xff,

	ATYP_V4 = 1,
	ATYP_NAME = 3,
	ATYP_V6 = 4,
};

_Static_assert(SOCKS5_GREETING_MAX <= SOCKS5_AUTH_MAX, "in[] holds the longest message");
_Static_assert(SOCKS5_REQUEST_MAX <= SOCKS5_AUTH_MAX, "in[] holds the longest message");

#define TO(state) (1u << (state))
static const unsigned edges[] = {
	[SOCKS5_GREETING] = TO(SOCKS5_AUTH) | TO(SOCKS5_ASK) | TO(SOCKS5_CLOSED),
	[SOCKS5_AUTH] = TO(SOCKS5_ASK) | TO(SOCKS5_CLOSED),
	[SOCKS5_ASK] = TO(SOCKS5_ASKED) | TO(SOCKS5_CLOSED),
	[SOCKS5_ASKED] = 0,
	[SOCKS5_CLOSED] = 0,
};

/* The only place that writes s->state: a new state begins with an empty message. */
static void enter(struct socks5 *s, enum socks5_state next)
{
	CV_ASSERT(edges[s->state] & TO(next));
	s->state = next;
	s->in_size = 0;
	s->wanted = 1;
}

void socks5_init(struct socks5 *s, const struct auth_user *users, size_t user_count)
{
	CV_ASSERT(users || user_count == 0);
	memset(s, 0, sizeof(*s));
	s->users = users;
	s->user_count = user_count;
	s->state = SOCKS5_GREETING;
	s->wanted = 1;
}

static void answer(struct socks5 *s, uint8_t version, uint8_t value)
{
	s->out[0] = version;
	s->out[1] = value;
	s->out_size = 2;
}

/* Asks for the message up to @size bytes; it is never shorter than what was asked before. */
static enum socks5_verdict want(struct socks5 *s, size_t size)
{
	CV_ASSERT(size > s->wanted);
	CV_ASSERT(size <= sizeof(s->in));
	s->wanted = (uint16_t)size;
	return SOCKS5_NEED_MORE;
}

static enum socks5_verdict leave(struct socks5 *s, const char *why)
{
	s->why = why;
	enter(s, SOCKS5_CLOSED);
	return SOCKS5_CLOSE;
}

/* RFC 1928, 3:  VER  NMETHODS  METHODS */
static enum socks5_verdict on_greeting(struct socks5 *s)
{
	uint8_t method = s->user_count ? METHOD_USER : METHOD_NONE;
	size_t size;

	if (s->in[0] != VERSION)
		return leave(s, "not SOCKS5"); /* nothing that it would understand */
	if (s->in_size < 2)
		return want(s, 2);
	size = 2 + (size_t)s->in[1];
	if (s->in_size < size)
		return want(s, size);

	/* One method is acceptable to each listener, so there is nothing to downgrade to. */
	if (!memchr(s->in + 2, method, s->in[1])) {
		answer(s, VERSION, METHOD_NOT_ACCEPTED);
		return leave(s, s->user_count ? "the client offers no user and password"
		                              : "the client insists on authentication");
	}
	answer(s, VERSION, method);
	enter(s, method == METHOD_USER ? SOCKS5_AUTH : SOCKS5_ASK);
	return SOCKS5_REPLY;
}

/* RFC 1929, 2:  VER  ULEN  UNAME  PLEN  PASSWD */
static enum socks5_verdict on_auth(struct socks5 *s)
{
	const struct auth_user *found;
	size_t name_size, password_size, size;

	if (s->in[0] != AUTH_VERSION) {
		answer(s, AUTH_VERSION, 1);
		return leave(s, "malformed user and password");
	}
	if (s->in_size < 2)
		return want(s, 2);
	name_size = s->in[1];
	size = 2 + name_size + 1;
	if (s->in_size < size)
		return want(s, size);
	password_size = s->in[size - 1];
	if (s->in_size < size + password_size)
		return want(s, size + password_size);

	found = auth_find(s->users, s->user_count, s->in + 2, name_size, s->in + size,
	                  password_size);
	auth_wipe(s->in, sizeof(s->in));
	if (!found) {
		answer(s, AUTH_VERSION, 1);
		return leave(s, "user or password wrong");
	}
	s->user = found->name;
	answer(s, AUTH_VERSION, 0);
	enter(s, SOCKS5_ASK);
	return SOCKS5_REPLY;
}

/* The whole error reply at once: some clients read ten bytes whatever the second one says. */
static enum socks5_verdict refuse(struct socks5 *s, enum target_code why)
{
	struct wr w = wr_init(s->out, sizeof(s->out));

	socks5_write_reply(&w, why, NULL);
	CV_ASSERT(!w.bad);
	s->out_size = wr_size(&w);
	return leave(s, target_code_text(why));
}

/* Sets *@size to the length of the whole request as far as in[] tells; false for an unknown ATYP.
 */
static bool request_size(const struct socks5 *s, size_t *size)
{
	switch (s->in[3]) {
	case ATYP_V4:
		*size = 4 + 4 + 2;
		return true;
	case ATYP_V6:
		*size = 4 + 16 + 2;
		return true;
	case ATYP_NAME:
		*size = s->in_size < 5 ? 5 : 4 + 1 + (size_t)s->in[4] + 2;
		return true;
	default: /* a byte from the client, so any value can come */
		return false;
	}
}

/* Reads DST.ADDR and DST.PORT of a whole request; false when it is malformed. */
static bool read_target(const struct socks5 *s, struct hostport *out)
{
	struct rd r = rd_init(s->in, s->in_size);
	struct hostport t = { .kind = HOST_ADDR };
	const uint8_t *name = NULL;
	size_t name_size = 0;

	rd_take(&r, 4);
	switch (s->in[3]) {
	case ATYP_V4:
		t.addr.family = ADDR_V4;
		rd_copy(&r, t.addr.ip, 4);
		break;
	case ATYP_V6:
		t.addr.family = ADDR_V6;
		rd_copy(&r, t.addr.ip, 16);
		break;
	default:
		name_size = rd_u8(&r);
		name = rd_take(&r, name_size);
		break;
	}
	t.port = rd_u16(&r);
	CV_ASSERT(!r.bad);
	CV_ASSERT(rd_left(&r) == 0);
	if (t.port == 0 && s->in[1] == SOCKS5_CONNECT)
		return false;
	/* Where the datagrams will come from. A name says nothing about that, and need not be one:
	 * PySocks sends "0". */
	if (name && s->in[1] == SOCKS5_ASSOCIATE) {
		name = NULL;
		t.addr.family = ADDR_V4;
	}
	/* Chromium sends addresses as names too, IPv6 in brackets: hostport knows. */
	if (name && hostport_from_name((const char *)name, name_size, t.port, &t) < 0)
		return false;
	if (t.kind == HOST_ADDR) {
		t.addr = addr_canonical(&t.addr);
		t.addr.port = t.port;
	}
	*out = t;
	return true;
}

/*
 * RFC 1928, 4:  VER  CMD  RSV  ATYP  DST.ADDR  DST.PORT
 *
 * RSV is ignored: some clients leave rubbish there. A command that is not
 * supported is refused only when its request is whole, since closing a socket with
 * unread bytes makes a RST that may overtake the reply.
 */
static enum socks5_verdict on_request(struct socks5 *s)
{
	enum socks5_command command;
	size_t size;

	if (s->in[0] != VERSION)
		return refuse(s, TARGET_MALFORMED);
	if (s->in_size < 4)
		return want(s, 4);
	if (!request_size(s, &size))
		return refuse(s, TARGET_ADDRESS_UNSUPPORTED);
	if (s->in_size < size)
		return want(s, size);

	if (s->in[1] < SOCKS5_CONNECT || s->in[1] > SOCKS5_ASSOCIATE)
		return refuse(s, TARGET_UNSUPPORTED);
	command = (enum socks5_command)s->in[1];
	if (!read_target(s, &s->target))
		return refuse(s, TARGET_MALFORMED);
	s->command = command;
	enter(s, SOCKS5_ASKED);
	return SOCKS5_REQUEST;
}

/* in[] holds as much as was wanted: decide, or want more. */
static enum socks5_verdict step(struct socks5 *s)
{
	switch (s->state) {
	case SOCKS5_GREETING:
		return on_greeting(s);
	case SOCKS5_AUTH:
		return on_auth(s);
	case SOCKS5_ASK:
		return on_request(s);
	case SOCKS5_ASKED:
	case SOCKS5_CLOSED:
		break;
	}
	CV_UNREACHABLE();
}

enum socks5_verdict socks5_on_bytes(struct socks5 *s, struct rd *in)
{
	enum socks5_verdict verdict;
	size_t size;

	s->out_size = 0;
	if (s->state == SOCKS5_ASKED)
		return SOCKS5_NEED_MORE; /* stream data: not ours to look at */
	if (s->state == SOCKS5_CLOSED)
		return SOCKS5_CLOSE;

	for (;;) {
		CV_ASSERT(s->in_size < s->wanted);
		size = CV_MIN((size_t)(s->wanted - s->in_size), rd_left(in));
		rd_copy(in, s->in + s->in_size, size);
		s->in_size = (uint16_t)(s->in_size + size);
		if (s->in_size < s->wanted)
			return SOCKS5_NEED_MORE;
		verdict = step(s);
		if (verdict != SOCKS5_NEED_MORE)
			return verdict;
	}
}

/* RFC 1928, 6:  VER  REP  RSV  ATYP  BND.ADDR  BND.PORT */
void socks5_write_reply(struct wr *w, enum target_code code, const struct addr *bound)
{
	bool is_v6 = bound && bound->family == ADDR_V6;

	wr_u8(w, VERSION);
	wr_u8(w, target_code_socks5(code));
	wr_u8(w, 0);
	wr_u8(w, is_v6 ? ATYP_V6 : ATYP_V4);
	if (!bound || bound->family == ADDR_NONE) {
		wr_zero(w, 4 + 2);
		return;
	}
	wr_copy(w, bound->ip, is_v6 ? 16 : 4);
	wr_u16(w, bound->port);
}

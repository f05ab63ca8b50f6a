/* SPDX-License-Identifier: MIT */
#include "proxy/target.h"

#include <errno.h>
#include <string.h>

/* Numbers of their own: enum host_kind may be reordered, the wire may not. */
enum {
	WIRE_NONE = 0,
	WIRE_ADDR = 1,
	WIRE_NAME = 2,
	WIRE_UNIX = 3,
	WIRE_SERVICE = 4,
	WIRE_LISTENER = 5,
	WIRE_HOSTS,
};

#define BIT(host) (UINT32_C(1) << (host))
#define LISTENER_MAX ((UINT64_C(1) << 48) - 1)

/* By kind: the hosts it admits, and whether a port of 0 has a meaning. */
static const struct {
	uint32_t hosts;
	bool admits_port_0;
} kinds[] = {
	[TARGET_KIND_TCP] = { BIT(WIRE_ADDR) | BIT(WIRE_NAME) | BIT(WIRE_UNIX) | BIT(WIRE_SERVICE) |
	                              BIT(WIRE_LISTENER),
	                      false },
	[TARGET_KIND_UDP] = { BIT(WIRE_NONE) | BIT(WIRE_ADDR) | BIT(WIRE_NAME) | BIT(WIRE_SERVICE) |
	                              BIT(WIRE_LISTENER),
	                      false },
	[TARGET_KIND_LISTEN] = { BIT(WIRE_ADDR) | BIT(WIRE_UNIX), true },
	[TARGET_KIND_LISTEN_UDP] = { BIT(WIRE_ADDR), true },
	[TARGET_KIND_BIND] = { BIT(WIRE_NONE) | BIT(WIRE_ADDR) | BIT(WIRE_NAME), true },
};

enum { SIZE_FIELD = 2 };

_Static_assert(SIZE_FIELD + 3 + 1 + HOST_TEXT_MAX + 2 <= TARGET_REQUEST_MAX, "a name fits");
_Static_assert(SIZE_FIELD + 3 + ADDR_WIRE_MAX <= TARGET_REQUEST_MAX, "an address fits");

static void write_text(struct wr *w, const char *text)
{
	size_t size = strlen(text);

	CV_ASSERT(size > 0);
	CV_ASSERT(size <= HOST_TEXT_MAX);
	wr_u8(w, (uint8_t)size);
	wr_copy(w, text, size);
}

static uint8_t wire_host(const struct target_request *req)
{
	switch (req->to.kind) {
	case HOST_NONE:
		return req->has_listener ? WIRE_LISTENER : WIRE_NONE;
	case HOST_ADDR:
		return WIRE_ADDR;
	case HOST_NAME:
		return WIRE_NAME;
	case HOST_UNIX:
		return WIRE_UNIX;
	case HOST_SERVICE:
		return WIRE_SERVICE;
	}
	CV_UNREACHABLE();
}

static void write_host(struct wr *w, const struct target_request *req)
{
	uint8_t host = wire_host(req);
	struct addr addr;

	CV_ASSERT(req->kind > 0 && req->kind < CV_ARRAY_SIZE(kinds));
	CV_ASSERT(kinds[req->kind].hosts & BIT(host));
	wr_u8(w, host);
	switch (req->to.kind) {
	case HOST_NONE:
		CV_ASSERT(req->listener <= LISTENER_MAX);
		if (req->has_listener)
			wr_u48(w, req->listener);
		return;
	case HOST_ADDR:
		addr = addr_canonical(&req->to.addr);
		addr.port = req->to.port;
		CV_ASSERT(addr.family != ADDR_NONE);
		wr_addr(w, &addr);
		return;
	case HOST_NAME:
		write_text(w, req->to.text);
		wr_u16(w, req->to.port);
		return;
	case HOST_UNIX:
	case HOST_SERVICE:
		write_text(w, req->to.text);
		return;
	}
	CV_UNREACHABLE();
}

void target_write_request(struct wr *w, const struct target_request *req)
{
	uint8_t *size_at = wr_take(w, SIZE_FIELD);
	size_t before = wr_size(w);

	wr_u8(w, TARGET_VERSION);
	wr_u8(w, (uint8_t)req->kind);
	write_host(w, req);
	if (size_at && !w->bad)
		cv_store16(size_at, (uint16_t)(wr_size(w) - before));
}

/* A text of @size_min or more bytes without NUL, or NULL and @r bad. */
static const char *read_text(struct rd *r, size_t size_min, size_t *size)
{
	const uint8_t *text;

	*size = rd_u8(r);
	text = rd_take(r, *size);
	if (!text || *size < size_min || memchr(text, 0, *size)) {
		r->bad = true;
		return NULL;
	}
	return (const char *)text;
}

static bool read_addr(struct rd *r, struct hostport *to)
{
	struct addr addr = rd_addr(r);

	if (r->bad || addr.family == ADDR_NONE)
		return false;
	to->kind = HOST_ADDR;
	to->addr = addr_canonical(&addr);
	to->port = addr.port;
	return true;
}

/* Only what the other side's hostport_from_name() could have made: it alone decides what a name is.
 */
static bool read_name(struct rd *r, struct hostport *to)
{
	size_t size;
	const char *text = read_text(r, 1, &size);
	uint16_t port = rd_u16(r);

	if (r->bad || hostport_from_name(text, size, port, to) < 0)
		return false;
	return to->kind == HOST_NAME && strlen(to->text) == size &&
	       memcmp(to->text, text, size) == 0;
}

static bool read_unix(struct rd *r, struct hostport *to)
{
	size_t size;
	const char *text = read_text(r, 2, &size);

	if (!text || size > HOST_UNIX_MAX || text[0] != '/')
		return false;
	to->kind = HOST_UNIX;
	memcpy(to->text, text, size);
	return true;
}

static bool read_service(struct rd *r, struct hostport *to)
{
	size_t size;
	const char *text = read_text(r, 1, &size);

	if (!text || !host_label_is_valid(text, size))
		return false;
	to->kind = HOST_SERVICE;
	memcpy(to->text, text, size);
	return true;
}

static bool read_host(struct rd *r, struct target_request *req)
{
	bool needs_port = !kinds[req->kind].admits_port_0;
	uint8_t host = rd_u8(r);

	if (r->bad || host >= WIRE_HOSTS || !(kinds[req->kind].hosts & BIT(host)))
		return false;
	switch (host) {
	case WIRE_NONE:
		return true;
	case WIRE_ADDR:
		return read_addr(r, &req->to) && !(needs_port && req->to.port == 0);
	case WIRE_NAME:
		return read_name(r, &req->to) && !(needs_port && req->to.port == 0);
	case WIRE_UNIX:
		return read_unix(r, &req->to);
	case WIRE_SERVICE:
		return read_service(r, &req->to);
	default: /* WIRE_LISTENER: the mask has no other */
		req->listener = rd_u48(r);
		req->has_listener = true;
		return !r->bad;
	}
}

void target_write_host(struct wr *w, const struct hostport *to)
{
	struct addr addr;

	CV_ASSERT(to->kind == HOST_ADDR || to->kind == HOST_NAME);
	if (to->kind == HOST_NAME) {
		wr_u8(w, WIRE_NAME);
		write_text(w, to->text);
		wr_u16(w, to->port);
		return;
	}
	addr = addr_canonical(&to->addr);
	addr.port = to->port;
	wr_u8(w, WIRE_ADDR);
	wr_addr(w, &addr);
}

bool target_read_host(struct rd *r, struct hostport *to)
{
	switch (rd_u8(r)) {
	case WIRE_ADDR:
		return read_addr(r, to) && to->port != 0;
	case WIRE_NAME:
		return read_name(r, to) && to->port != 0;
	default:
		return false;
	}
}

enum target_read target_read_request(struct rd *in, struct target_request *out)
{
	struct rd r = *in; /* a copy: nothing is consumed until the header is whole */
	struct target_request req = { .kind = TARGET_KIND_TCP };
	const uint8_t *bytes;
	uint16_t size;
	struct rd body;
	uint8_t version, kind;

	size = rd_u16(&r);
	if (r.bad)
		return TARGET_READ_NEED_MORE;
	if (size == 0 || size > TARGET_REQUEST_MAX - SIZE_FIELD)
		return TARGET_READ_MALFORMED;
	bytes = rd_take(&r, size);
	if (!bytes)
		return TARGET_READ_NEED_MORE;

	body = rd_init(bytes, size);
	version = rd_u8(&body);
	kind = rd_u8(&body);
	if (body.bad)
		return TARGET_READ_MALFORMED;
	/* Told apart from malformed, so that a newer peer learns that we are older. */
	if (version != TARGET_VERSION || kind == 0 || kind >= CV_ARRAY_SIZE(kinds))
		return TARGET_READ_UNSUPPORTED;
	req.kind = (enum target_kind)kind;
	/* Left-over bytes would be a second meaning that only one of the two ends sees. */
	if (!read_host(&body, &req) || rd_left(&body) != 0)
		return TARGET_READ_MALFORMED;

	*out = req;
	*in = r;
	return TARGET_READ_DONE;
}

void target_write_status(struct wr *w, const struct addr *bound)
{
	wr_u8(w, TARGET_OK);
	wr_addr(w, bound);
}

enum target_read target_read_status(struct rd *in, struct addr *bound)
{
	struct rd r = *in;
	struct rd look;
	struct addr addr;
	uint8_t status = rd_u8(&r);
	uint8_t family;

	if (r.bad)
		return TARGET_READ_NEED_MORE;
	if (status != TARGET_OK)
		return TARGET_READ_MALFORMED;
	/* rd_addr() says "bad" for too short and for unknown alike: the family tells them apart. */
	look = r;
	family = rd_u8(&look);
	if (look.bad)
		return TARGET_READ_NEED_MORE;
	if (family != ADDR_NONE && family != ADDR_V4 && family != ADDR_V6)
		return TARGET_READ_MALFORMED;
	addr = rd_addr(&r);
	if (r.bad)
		return TARGET_READ_NEED_MORE;
	*bound = addr_canonical(&addr);
	*in = r;
	return TARGET_READ_DONE;
}

/* One row a reason; the list has no gaps, so the number is the index. */
static const struct {
	const char *text;
	uint16_t http;
	uint8_t socks5;
	uint8_t nc;
} codes[] = {
#define ROW(name, number, socks5_, http_, nc_, text_)                                              \
	[number] = { .text = (text_), .http = (http_), .socks5 = (socks5_), .nc = (nc_) },
	TARGET_CODES(ROW)
#undef ROW
};

_Static_assert(CV_ARRAY_SIZE(codes) == TARGET_IN_USE + 1, "the last code is the last row");

enum target_code target_code_from_wire(uint64_t code)
{
	/* An aborted stream was not "connected", whatever number came. */
	if (code == TARGET_OK || code >= CV_ARRAY_SIZE(codes))
		return TARGET_INTERNAL;
	return (enum target_code)code;
}

/*
 * connect(2), unix(7) and tcp(7). Not every system has all of these; Linux, the
 * BSDs and macOS do.
 */
enum target_code target_code_from_errno(int error)
{
	switch (error < 0 ? -error : error) {
	case ECONNREFUSED:
	case ECONNRESET: /* during the handshake: as good as refused */
	case EPROTOTYPE: /* a unix socket of another type */
	case EAGAIN:     /* a unix socket's backlog is full */
		return TARGET_REFUSED;
	case ENETUNREACH:
	case ENETDOWN:
	case EAFNOSUPPORT: /* a host without IPv6 */
	case EPROTONOSUPPORT:
		return TARGET_NET_UNREACHABLE;
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case EADDRNOTAVAIL: /* ::1 where IPv6 is switched off */
	case EINVAL:        /* a link-local address without its interface */
	case ENOENT:        /* no such unix socket */
	case ENOTDIR:
		return TARGET_HOST_UNREACHABLE;
	case EADDRINUSE:
		return TARGET_IN_USE;
	case ETIMEDOUT:
		return TARGET_TIMEOUT;
	case EACCES: /* the host's firewall, or the unix socket's mode */
	case EPERM:
		return TARGET_POLICY;
	case EMFILE:
	case ENFILE:
	case ENOBUFS:
	case ENOMEM:
		return TARGET_LIMIT;
	case EPIPE:
	case ECONNABORTED:
	case ECANCELED:
		return TARGET_ABORTED;
	default: /* the kernel's word, so any value can come */
		return TARGET_INTERNAL;
	}
}

uint8_t target_code_socks5(enum target_code code)
{
	CV_ASSERT(code < CV_ARRAY_SIZE(codes));
	return codes[code].socks5;
}

uint16_t target_code_http(enum target_code code)
{
	CV_ASSERT(code < CV_ARRAY_SIZE(codes));
	return codes[code].http;
}

int target_code_exit(enum target_code code)
{
	CV_ASSERT(code < CV_ARRAY_SIZE(codes));
	return codes[code].nc;
}

const char *target_code_text(enum target_code code)
{
	CV_ASSERT(code < CV_ARRAY_SIZE(codes));
	return codes[code].text;
}

/* SPDX-License-Identifier: MIT */
#include "tunnel/stun.h"

#include <string.h>

/*
 *   0                   1                   2                   3
 *   0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *  |              type             |  length of all that follows   |
 *  +                               +       the first 20 bytes      +
 *  |                 magic cookie, in RFC 3489 a part of the id    |
 *  |                        transaction id, 96 bits                |
 *  +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *  |           attribute           |    length without padding     |
 *  |                   value, padded to 32 bits                    |
 *
 * An address is  0:8  family:8  port:16  4 or 16 bytes;  XORed, the port is covered by the first
 * half of the cookie, an IPv4 address by the cookie, an IPv6 address by cookie and transaction id:
 * routers that rewrite every copy of an inside address in a payload then find none.
 *
 * Attributes below 0x8000 have to be understood by whoever acts on the message (RFC 8489, 14).
 * RESPONSE-ADDRESS of RFC 3489 is not: it makes a server send to somebody who did not ask.
 */

enum {
	MAGIC_COOKIE = 0x2112a442,

	TYPE_REQUEST = 0x0001,
	TYPE_SUCCESS = 0x0101,
	TYPE_ERROR = 0x0111,

	MAPPED_ADDRESS = 0x0001,
	CHANGE_REQUEST = 0x0003,
	SOURCE_ADDRESS = 0x0004,
	CHANGED_ADDRESS = 0x0005,
	USERNAME = 0x0006,
	PASSWORD = 0x0007, /* RFC 3489 only */
	MESSAGE_INTEGRITY = 0x0008,
	ERROR_CODE = 0x0009,
	UNKNOWN_ATTRIBUTES = 0x000a,
	REFLECTED_FROM = 0x000b, /* RFC 3489 only */
	REALM = 0x0014,
	NONCE = 0x0015,
	MESSAGE_INTEGRITY_SHA256 = 0x001c,
	PASSWORD_ALGORITHM = 0x001d,
	USERHASH = 0x001e,
	XOR_MAPPED_ADDRESS = 0x0020,
	PADDING = 0x0026,
	RESPONSE_PORT = 0x0027,
	OPTIONAL = 0x8000, /* from here on: ignored where not understood */
	FINGERPRINT = 0x8028,
	RESPONSE_ORIGIN = 0x802b,
	OTHER_ADDRESS = 0x802c,

	FAMILY_V4 = 1,
	FAMILY_V6 = 2,
	ATTRIBUTE_HEADER = 4,
};

_Static_assert(STUN_REQUEST_MAX % 4 == 0 && STUN_PADDED_SIZE % 4 == 0, "messages are aligned");
_Static_assert(STUN_PADDED_SIZE <= STUN_REQUEST_MAX, "what is asked can be written");

/* Where attributes are kept while they are read: mapped addresses come in two forms. */
struct reading {
	struct stun_message m;
	struct addr xored, plain;
	bool has_change;
	bool is_sealed; /* MESSAGE-INTEGRITY or FINGERPRINT came: the rest is anybody's */
};

static size_t padded(size_t size)
{
	return (size + 3) & ~(size_t)3;
}

static void xor_addr(struct addr *a, const uint8_t id[16])
{
	size_t size = a->family == ADDR_V4 ? 4 : 16;

	a->port ^= cv_load16(id);
	for (size_t i = 0; i < size; i++)
		a->ip[i] ^= id[i];
}

/* The first of its kind counts. False: malformed. */
static bool read_addr(struct rd r, struct addr *out)
{
	struct addr a = { 0 };
	uint8_t family;

	(void)rd_u8(&r);
	family = rd_u8(&r);
	if (family != FAMILY_V4 && family != FAMILY_V6)
		return false;
	a.family = family == FAMILY_V4 ? ADDR_V4 : ADDR_V6;
	a.port = rd_u16(&r);
	rd_copy(&r, a.ip, family == FAMILY_V4 ? 4 : 16);
	if (r.bad || rd_left(&r) > 0)
		return false;
	if (out->family == ADDR_NONE)
		*out = a;
	return true;
}

static bool read_xored(struct rd r, const uint8_t id[16], struct addr *out)
{
	struct addr a = { 0 };

	if (!read_addr(r, &a))
		return false;
	xor_addr(&a, id);
	if (out->family == ADDR_NONE)
		*out = a;
	return true;
}

static bool read_change(struct rd r, struct reading *in)
{
	uint32_t bits = rd_u32(&r);

	if (r.bad || rd_left(&r) > 0)
		return false;
	if (!in->has_change)
		in->m.change = (uint8_t)(bits & (STUN_CHANGE_IP | STUN_CHANGE_PORT));
	in->has_change = true;
	return true;
}

static bool read_port(struct rd r, struct reading *in)
{
	uint16_t port = rd_u16(&r);

	/* RFC 5780, 7.5: a length of 4 with two bytes unused, or of 2 (erratum). */
	if (r.bad || rd_left(&r) > 2)
		return false;
	if (in->m.port == 0)
		in->m.port = port;
	return true;
}

static bool read_error(struct rd r, struct reading *in)
{
	uint32_t word = rd_u32(&r);
	unsigned class = word >> 8 & 7, number = word & 0xff;

	if (r.bad || class < 3 || class > 6 || number > 99)
		return false;
	if (in->m.error == 0)
		in->m.error = (uint16_t)(class * 100 + number);
	return true;
}

static void note_unknown(struct stun_message *m, uint16_t type)
{
	for (unsigned i = 0; i < m->unknown_count; i++) {
		if (m->unknown[i] == type)
			return;
	}
	if (m->unknown_count < STUN_UNKNOWN_MAX)
		m->unknown[m->unknown_count++] = type;
}

static bool read_attribute(struct reading *in, uint16_t type, struct rd value)
{
	switch (type) {
	case MAPPED_ADDRESS:
		return read_addr(value, &in->plain);
	case XOR_MAPPED_ADDRESS:
		return read_xored(value, in->m.id, &in->xored);
	case SOURCE_ADDRESS:
	case RESPONSE_ORIGIN:
		return read_addr(value, &in->m.origin);
	case CHANGED_ADDRESS:
	case OTHER_ADDRESS:
		return read_addr(value, &in->m.other);
	case CHANGE_REQUEST:
		return read_change(value, in);
	case RESPONSE_PORT:
		return read_port(value, in);
	case ERROR_CODE:
		return read_error(value, in);
	case MESSAGE_INTEGRITY:
	case MESSAGE_INTEGRITY_SHA256:
	case FINGERPRINT:
		in->is_sealed = true;
		return true;
	case USERNAME:
	case PASSWORD:
	case UNKNOWN_ATTRIBUTES:
	case REFLECTED_FROM:
	case REALM:
	case NONCE:
	case PASSWORD_ALGORITHM:
	case USERHASH:
	case PADDING:
		return true; /* understood, and of no use without passwords */
	default:
		if (type < OPTIONAL)
			note_unknown(&in->m, type);
		return true;
	}
}

static bool read_attributes(struct reading *in, struct rd r)
{
	while (rd_left(&r) > 0) {
		uint16_t type = rd_u16(&r);
		size_t size = rd_u16(&r);
		const uint8_t *value = rd_take(&r, padded(size));

		if (!value)
			return false;
		if (!in->is_sealed && !read_attribute(in, type, rd_init(value, size)))
			return false;
	}
	return true;
}

bool stun_read(const uint8_t *bytes, size_t size, struct stun_message *out)
{
	struct reading in = { 0 };
	struct rd r = rd_init(bytes, size);
	uint16_t type = rd_u16(&r);
	size_t length = rd_u16(&r);

	rd_copy(&r, in.m.id, sizeof(in.m.id));
	if (r.bad || length != rd_left(&r))
		return false;
	switch (type) {
	case TYPE_REQUEST:
		in.m.type = STUN_REQUEST;
		break;
	case TYPE_SUCCESS:
		in.m.type = STUN_SUCCESS;
		break;
	case TYPE_ERROR:
		in.m.type = STUN_ERROR;
		break;
	default:
		return false;
	}
	in.m.is_classic = cv_load32(in.m.id) != MAGIC_COOKIE;
	if (!read_attributes(&in, r))
		return false;
	in.m.mapped = in.xored.family != ADDR_NONE ? in.xored : in.plain;
	*out = in.m;
	return true;
}

bool stun_is_answer(const struct stun_message *m, const uint8_t id[STUN_ID_SIZE])
{
	return m->type != STUN_REQUEST && !m->is_classic &&
	       memcmp(m->id + 4, id, STUN_ID_SIZE) == 0;
}

/* ---- writing ---- */

static void begin(struct wr *w, uint16_t type, const uint8_t id[16])
{
	wr_u16(w, type);
	wr_u16(w, 0); /* see end() */
	wr_copy(w, id, 16);
}

static size_t end(struct wr *w)
{
	if (w->bad)
		return 0;
	CV_ASSERT(wr_size(w) >= STUN_HEADER && wr_size(w) % 4 == 0);
	cv_store16(w->start + 2, (uint16_t)(wr_size(w) - STUN_HEADER));
	return wr_size(w);
}

size_t stun_write_request(uint8_t *out, size_t cap, const uint8_t id[STUN_ID_SIZE], unsigned change,
                          size_t size)
{
	struct wr w = wr_init(out, cap);
	uint8_t whole[16];

	CV_ASSERT(size % 4 == 0 && size <= STUN_REQUEST_MAX);
	CV_ASSERT((change & ~(unsigned)(STUN_CHANGE_IP | STUN_CHANGE_PORT)) == 0);
	cv_store32(whole, MAGIC_COOKIE);
	memcpy(whole + 4, id, STUN_ID_SIZE);
	begin(&w, TYPE_REQUEST, whole);
	if (change != 0) {
		wr_u16(&w, CHANGE_REQUEST);
		wr_u16(&w, 4);
		wr_u32(&w, change);
	}
	if (wr_size(&w) + ATTRIBUTE_HEADER <= size) {
		size_t fill = size - wr_size(&w) - ATTRIBUTE_HEADER;

		wr_u16(&w, PADDING);
		wr_u16(&w, (uint16_t)fill);
		wr_zero(&w, fill);
	}
	return end(&w);
}

static void write_addr(struct wr *w, uint16_t type, const struct addr *a)
{
	size_t size = a->family == ADDR_V4 ? 4 : 16;

	CV_ASSERT(a->family != ADDR_NONE);
	wr_u16(w, type);
	wr_u16(w, (uint16_t)(4 + size));
	wr_u8(w, 0);
	wr_u8(w, a->family == ADDR_V4 ? FAMILY_V4 : FAMILY_V6);
	wr_u16(w, a->port);
	wr_copy(w, a->ip, size);
}

/* Nothing at all when it is not known or does not fit. */
static void write_addr_if(struct wr *w, uint16_t type, const struct addr *a)
{
	struct wr before = *w;

	if (a->family == ADDR_NONE || w->bad)
		return;
	write_addr(w, type, a);
	if (w->bad)
		*w = before;
}

size_t stun_write_answer(uint8_t *out, size_t cap, const struct stun_message *request,
                         const struct stun_told *told)
{
	struct wr w = wr_init(out, cap);
	struct addr xored = told->mapped;

	CV_ASSERT(request->type == STUN_REQUEST);
	begin(&w, TYPE_SUCCESS, request->id);
	if (request->is_classic) {
		write_addr(&w, MAPPED_ADDRESS, &told->mapped);
		write_addr_if(&w, SOURCE_ADDRESS, &told->origin);
		write_addr_if(&w, CHANGED_ADDRESS, &told->other);
		return end(&w);
	}
	xor_addr(&xored, request->id);
	write_addr(&w, XOR_MAPPED_ADDRESS, &xored);
	write_addr_if(&w, OTHER_ADDRESS, &told->other);
	write_addr_if(&w, RESPONSE_ORIGIN, &told->origin);
	/* "MAPPED-ADDRESS" as well: who compares them finds a router that rewrites payloads
	 * (RFC 5780, 3.6). */
	write_addr_if(&w, MAPPED_ADDRESS, &told->mapped);
	return end(&w);
}

void stun_refuse_change(struct stun_message *request)
{
	note_unknown(request, CHANGE_REQUEST);
}

void stun_refuse_port(struct stun_message *request)
{
	note_unknown(request, RESPONSE_PORT);
}

size_t stun_write_unknown(uint8_t *out, size_t cap, const struct stun_message *request)
{
	struct wr w = wr_init(out, cap);
	unsigned count = request->unknown_count;

	CV_ASSERT(request->type == STUN_REQUEST && count <= STUN_UNKNOWN_MAX);
	begin(&w, TYPE_ERROR, request->id);
	wr_u16(&w, ERROR_CODE);
	wr_u16(&w, 4); /* no reason phrase: it would only be larger */
	wr_u32(&w, STUN_UNKNOWN_ATTRIBUTE / 100 << 8 | STUN_UNKNOWN_ATTRIBUTE % 100);
	wr_u16(&w, UNKNOWN_ATTRIBUTES);
	wr_u16(&w, (uint16_t)(2 * count));
	for (unsigned i = 0; i < count; i++)
		wr_u16(&w, request->unknown[i]);
	/* RFC 3489, 11.2.10: an odd list is filled up by repeating one. */
	if (count % 2 != 0)
		wr_u16(&w, request->unknown[0]);
	return end(&w);
}

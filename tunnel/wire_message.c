/* SPDX-License-Identifier: MIT */
#include "tunnel/wire.h"

#include <string.h>

/*
 * ---- messages: the body of a MESSAGE, whose type stands in the frame ----
 *
 *   REGISTER                      flags:8  count:8  { tag:128 }...
 *   OPEN                          tag:128  has_init:8  [ INIT ]
 *   OFFER                         tag:128  channel:64  rate:32  leg:8  has_init:8  [ INIT ]
 *   OPENED                        tag:128  channel:64  rate:32  leg:8
 *   PRESENT                       tag:128
 *   ABSENT                        tag:128  is_gone:8
 *   CLOSE_CHANNEL, CHANNEL_GONE   channel:64
 *   REFUSED                       size:8  text...
 *
 * A body ends where its message ends: what follows would be read by one version and not by
 * another, and versions are agreed on, not guessed.
 */

enum { REGISTER_FLAG_FIRST = 0x01 };

_Static_assert(1 + 1 + MESSAGE_TAGS_MAX * TAG_SIZE <= FRAME_MESSAGE_MAX, "REGISTER fits");
_Static_assert(TAG_SIZE + 8 + 4 + 1 + 1 + WIRE_INIT_SIZE <= FRAME_MESSAGE_MAX, "OFFER fits");

static bool read_register(struct rd *r, struct wire_message *m)
{
	m->is_first = rd_u8(r) & REGISTER_FLAG_FIRST;
	m->tag_count = rd_u8(r);
	if (m->tag_count > MESSAGE_TAGS_MAX)
		return false;
	rd_copy(r, m->tags[0], (size_t)m->tag_count * TAG_SIZE);
	return true;
}

/* The INIT that may end an OPEN or OFFER. */
static bool read_optional_init(struct rd *r, struct wire_message *m)
{
	switch (rd_u8(r)) {
	case 0:
		return true;
	case 1:
		m->init = rd_take(r, WIRE_INIT_SIZE);
		return true;
	default:
		return false;
	}
}

static bool read_grant(struct rd *r, struct wire_message *m)
{
	rd_copy(r, m->tag, TAG_SIZE);
	m->channel = rd_u64(r);
	m->rate_kbit = rd_u32(r);
	m->leg = rd_u8(r);
	return m->leg == LEG_UDP || m->leg == LEG_TCP;
}

static bool read_absent(struct rd *r, struct wire_message *m)
{
	uint8_t is_gone;

	rd_copy(r, m->tag, TAG_SIZE);
	is_gone = rd_u8(r);
	m->is_gone = is_gone == 1;
	return is_gone <= 1;
}

static bool read_refused(struct rd *r, struct wire_message *m)
{
	const size_t size = rd_u8(r);
	const uint8_t *text = rd_take(r, size);

	if (!text || size > MESSAGE_TEXT_MAX)
		return false;
	if (memchr(text, 0, size)) /* would be cut short, and not be what was sent */
		return false;
	memcpy(m->text, text, size);
	return true;
}

bool wire_read_message(const uint8_t *body, size_t size, uint8_t type, struct wire_message *out)
{
	struct rd r = rd_init(body, size);
	struct wire_message m = { .type = type };
	bool is_good = true;

	switch (type) {
	case MESSAGE_REGISTER:
		is_good = read_register(&r, &m);
		break;
	case MESSAGE_OPEN:
		rd_copy(&r, m.tag, TAG_SIZE);
		is_good = read_optional_init(&r, &m);
		break;
	case MESSAGE_OFFER:
		is_good = read_grant(&r, &m) && read_optional_init(&r, &m);
		break;
	case MESSAGE_OPENED:
		is_good = read_grant(&r, &m);
		break;
	case MESSAGE_PRESENT:
		rd_copy(&r, m.tag, TAG_SIZE);
		break;
	case MESSAGE_ABSENT:
		is_good = read_absent(&r, &m);
		break;
	case MESSAGE_CLOSE_CHANNEL:
	case MESSAGE_CHANNEL_GONE:
		m.channel = rd_u64(&r);
		break;
	case MESSAGE_REFUSED:
		is_good = read_refused(&r, &m);
		break;
	default: /* a byte from the other side */
		return false;
	}
	if (!is_good || r.bad || rd_left(&r) > 0)
		return false;
	*out = m;
	return true;
}

static void write_optional_init(struct wr *w, const struct wire_message *in)
{
	wr_u8(w, in->init != NULL);
	if (in->init)
		wr_copy(w, in->init, WIRE_INIT_SIZE);
}

static void write_grant(struct wr *w, const struct wire_message *in)
{
	CV_ASSERT(in->leg == LEG_UDP || in->leg == LEG_TCP);
	wr_copy(w, in->tag, TAG_SIZE);
	wr_u64(w, in->channel);
	wr_u32(w, in->rate_kbit);
	wr_u8(w, in->leg);
}

static void write_refused(struct wr *w, const struct wire_message *in)
{
	const char *end = memchr(in->text, 0, sizeof(in->text));
	size_t size;

	CV_ASSERT(end);
	size = (size_t)(end - in->text);
	wr_u8(w, (uint8_t)size);
	wr_copy(w, in->text, size);
}

static void write_body(struct wr *w, const struct wire_message *in)
{
	switch ((enum wire_message_type)in->type) {
	case MESSAGE_REGISTER:
		CV_ASSERT(in->tag_count <= MESSAGE_TAGS_MAX);
		wr_u8(w, in->is_first ? REGISTER_FLAG_FIRST : 0);
		wr_u8(w, (uint8_t)in->tag_count);
		wr_copy(w, in->tags, (size_t)in->tag_count * TAG_SIZE);
		return;
	case MESSAGE_OPEN:
		wr_copy(w, in->tag, TAG_SIZE);
		write_optional_init(w, in);
		return;
	case MESSAGE_OFFER:
		write_grant(w, in);
		write_optional_init(w, in);
		return;
	case MESSAGE_OPENED:
		write_grant(w, in);
		return;
	case MESSAGE_PRESENT:
		wr_copy(w, in->tag, TAG_SIZE);
		return;
	case MESSAGE_ABSENT:
		wr_copy(w, in->tag, TAG_SIZE);
		wr_u8(w, in->is_gone);
		return;
	case MESSAGE_CLOSE_CHANNEL:
	case MESSAGE_CHANNEL_GONE:
		wr_u64(w, in->channel);
		return;
	case MESSAGE_REFUSED:
		write_refused(w, in);
		return;
	}
	CV_UNREACHABLE();
}

size_t wire_write_message(uint8_t *body, size_t cap, const struct wire_message *in)
{
	struct wr w = wr_init(body, cap);

	CV_ASSERT(cap >= FRAME_MESSAGE_MAX);
	write_body(&w, in);
	CV_ASSERT(!w.bad);
	return wr_size(&w);
}

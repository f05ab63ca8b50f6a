/* SPDX-License-Identifier: MIT */
#include "tunnel/wire.h"

#include <string.h>

/*
 * Datagrams. The first byte carries the kind in its high nibble, flags in the low.
 *
 *   DATA, PROBE   kind|flags  receiver:32  number:64  sealed...  tag:128
 *   INIT, RESP    kind  version  0:16  sender:32  receiver:32  number:64  Noise message...  macs
 *   RELAY         kind  channel:64  one of the others...
 *
 * Frames, after opening a DATA packet: a type byte, then
 *
 *   PADDING, PING      -
 *   ACK                largest:48  delay:16 (8 us)  ranges:8  length-1:v  { gap-1:v length-1:v }...
 *   ACK_ECN            the same, then  ECT(0):v  ECT(1):v  CE:v
 *   ACK_FREQUENCY      threshold:16  delay:32 (us)  reorder:16
 *   STREAM             id:48  offset:48  [ size:16 ]  bytes...
 *   RESET              id:48  final size:48  code:16
 *   STOP               id:48  code:16
 *   MAX_DATA, MAX_STREAMS, DATA_BLOCKED         max:48
 *   MAX_STREAM_DATA, STREAM_BLOCKED             id:48  max:48
 *   DATAGRAM           flow:48  id:16  index:8  count:8  size:16  bytes...
 *   CANDIDATES         count:8  { kind:8  address }...
 *   NAT                mapping:8  filtering:8  ports:8  flags:8  step:16  low:16  high:16  address
 *   PUNCH              kind:8  shift:8  round:16  step:16  count:16  high:16  address
 *   CLOSE              code:16  size:8  text...
 *   MESSAGE            seq:16  type:8  size:16  body...
 *   MESSAGE_ACK        next:16
 *
 * "v" is QUIC's variable-length integer. An ACK walks downwards as RFC 9000, 19.3.1 does: the
 * number in front of each field less one makes empty ranges and touching ranges inexpressible, so
 * the only thing left to check is the underflow. Everything else has a fixed place, because the
 * two frames that fill a busy connection are read once per packet.
 */

enum {
	STREAM_MASK = 0xfc,
	STREAM_FIXED = 1 + 6 + 6, /* type, id, offset */
	ACK_FIXED = 1 + 6 + 2 + 1,
	NAT_FLAG_MAPPED = 0x01,
	NAT_FLAG_SUSPECT = 0x02,
};

_Static_assert(STREAM_FIXED + 2 == FRAME_STREAM_HEADER_MAX, "the header counts the same bytes");

bool wire_read_data(const uint8_t *bytes, size_t size, struct wire_data *out)
{
	uint64_t number;

	if (size < WIRE_DATA_OVERHEAD)
		return false;
	number = cv_load64(bytes + 5);
	if (number > WIRE_NUMBER_MAX)
		return false;
	out->flags = bytes[0] & WIRE_FLAGS_MASK;
	out->receiver = cv_load32(bytes + 1);
	out->number = number;
	return true;
}

void wire_write_data(uint8_t out[WIRE_DATA_HEADER], enum wire_kind kind, const struct wire_data *in)
{
	CV_ASSERT(kind == WIRE_DATA || kind == WIRE_PROBE);
	CV_ASSERT((in->flags & WIRE_KIND_MASK) == 0);
	CV_ASSERT(in->number <= WIRE_NUMBER_MAX);
	out[0] = (uint8_t)(kind | in->flags);
	cv_store32(out + 1, in->receiver);
	cv_store64(out + 5, in->number);
}

bool wire_read_handshake(const uint8_t *bytes, size_t size, struct wire_handshake *out)
{
	uint8_t kind;

	if (size < WIRE_HANDSHAKE_HEADER)
		return false;
	kind = bytes[0] & WIRE_KIND_MASK;
	if (kind == WIRE_INIT ? size != WIRE_INIT_SIZE
	                      : kind != WIRE_RESP || size != WIRE_RESP_SIZE)
		return false;
	out->version = bytes[1];
	out->sender = cv_load32(bytes + 4);
	out->receiver = cv_load32(bytes + 8);
	out->number = cv_load64(bytes + 12);
	return true;
}

void wire_write_handshake(uint8_t out[WIRE_HANDSHAKE_HEADER], enum wire_kind kind,
                          const struct wire_handshake *in)
{
	CV_ASSERT(kind == WIRE_INIT || kind == WIRE_RESP);
	out[0] = (uint8_t)kind;
	out[1] = in->version;
	out[2] = 0;
	out[3] = 0;
	cv_store32(out + 4, in->sender);
	cv_store32(out + 8, in->receiver);
	cv_store64(out + 12, in->number);
}

bool wire_read_relay(const uint8_t *bytes, size_t size, uint64_t *channel)
{
	if (size < WIRE_RELAY_HEADER)
		return false;
	*channel = cv_load64(bytes + 1);
	return true;
}

void wire_write_relay(uint8_t out[WIRE_RELAY_HEADER], uint64_t channel)
{
	out[0] = WIRE_RELAY;
	cv_store64(out + 1, channel);
}

/* PROBE:  type:8  flags:8  token:64  address  [ seconds:16 ]  padding... */
bool wire_read_probe(const uint8_t *plain, size_t size, struct wire_probe *out)
{
	struct rd r = rd_init(plain, size);
	struct wire_probe p = { 0 };

	p.type = rd_u8(&r);
	/* Unknown flags are ignored, so that they can be given a meaning. */
	p.flags = rd_u8(&r) & (PROBE_FLAG_NOMINATE | PROBE_FLAG_PAD_ANSWER | PROBE_FLAGS_TIMED);
	if (p.type == PROBE_ANSWER)
		p.flags &= (uint8_t)~PROBE_FLAGS_TIMED; /* challenges alone ask for a time */
	p.token = rd_u64(&r);
	p.seen = rd_addr(&r);
	p.seconds = p.flags & PROBE_FLAGS_TIMED ? rd_u16(&r) : 0;
	if (r.bad || (p.type != PROBE_CHALLENGE && p.type != PROBE_ANSWER))
		return false;
	*out = p;
	return true;
}

void wire_write_probe(uint8_t *plain, size_t size, const struct wire_probe *in)
{
	struct wr w = wr_init(plain, size);

	CV_ASSERT(size >= WIRE_PROBE_PLAIN);
	CV_ASSERT(in->type == PROBE_CHALLENGE || !(in->flags & PROBE_FLAGS_TIMED));
	CV_ASSERT(in->type == PROBE_CHALLENGE || in->type == PROBE_ANSWER);
	wr_u8(&w, in->type);
	wr_u8(&w, in->flags);
	wr_u64(&w, in->token);
	wr_addr(&w, &in->seen);
	if (in->flags & PROBE_FLAGS_TIMED)
		wr_u16(&w, in->seconds);
	wr_zero(&w, wr_left(&w));
	CV_ASSERT(!w.bad);
}

uint64_t wire_read_varint(struct rd *r)
{
	const uint8_t *p = rd_take(r, 1);

	if (!p)
		return 0;
	switch (p[0] >> 6) {
	case 0:
		return p[0];
	case 1:
		return rd_take(r, 1) ? cv_load16(p) & 0x3fff : 0;
	case 2:
		return rd_take(r, 3) ? cv_load32(p) & 0x3fffffff : 0;
	default:
		return rd_take(r, 7) ? cv_load64(p) & (UINT64_MAX >> 2) : 0;
	}
}

void wire_write_varint(struct wr *w, uint64_t v)
{
	uint8_t *p;

	CV_ASSERT(v >> 62 == 0);
	if (v < 1u << 6) {
		wr_u8(w, (uint8_t)v);
	} else if (v < 1u << 14) {
		wr_u16(w, (uint16_t)(v | 0x4000));
	} else if (v < 1u << 30) {
		wr_u32(w, (uint32_t)v | 0x80000000);
	} else {
		p = wr_take(w, 8);
		if (p)
			cv_store64(p, v | UINT64_C(3) << 62);
	}
}

/* ---- reading frames ---- */

/* @r stands behind the type byte. One check of the size covers the whole fixed part. */
static bool read_stream(struct rd *r, uint8_t type, struct wire_frame *out)
{
	const size_t fixed = (size_t)STREAM_FIXED - 1 + (type & FRAME_STREAM_LEN ? 2u : 0u);
	const uint8_t *p = rd_take(r, fixed);
	size_t size;

	if (!p)
		return false;
	size = type & FRAME_STREAM_LEN ? cv_load16(p + 12) : rd_left(r);
	out->type = FRAME_STREAM;
	out->stream.id = cv_load48(p);
	out->stream.offset = cv_load48(p + 6);
	out->stream.size = size;
	out->stream.fin = type & FRAME_STREAM_FIN;
	out->stream.bytes = rd_take(r, size);
	return out->stream.bytes && out->stream.offset + size <= WIRE_OFFSET_MAX;
}

static bool read_ack(struct rd *r, uint8_t type, struct wire_frame *out)
{
	const uint8_t *p = rd_take(r, ACK_FIXED - 1);
	struct wire_range *range = out->ack.ranges;
	uint64_t begin, gap, length;
	unsigned count, i;

	if (!p)
		return false;
	count = p[8];
	if (count == 0 || count > FRAME_ACK_RANGES_READ_MAX)
		return false;
	out->ack.delay_ns = (uint64_t)cv_load16(p + 6) * FRAME_ACK_DELAY_UNIT_NS;
	out->ack.count = count;
	out->ack.ecn = (struct wire_ecn){ 0 };

	/*
	 *   ... ####....##########          begin of the previous range is where the gap ends
	 *     ^   ^   ^
	 *     |   |   begin               length and gap are at least 1 by their encoding,
	 *     |   end = begin - gap       below 2^62 + 1, so nothing here can wrap before
	 *     end - length                it is compared
	 */
	begin = cv_load48(p) + 1;
	for (i = 0; i < count; i++) {
		gap = i > 0 ? wire_read_varint(r) + 1 : 0;
		length = wire_read_varint(r) + 1;
		if (r->bad || gap > begin || length > begin - gap)
			return false;
		range[i].end = begin - gap;
		range[i].begin = range[i].end - length;
		begin = range[i].begin;
	}
	if (type == FRAME_ACK)
		return true;
	out->type = FRAME_ACK;
	out->ack.ecn.ect0 = wire_read_varint(r);
	out->ack.ecn.ect1 = wire_read_varint(r);
	out->ack.ecn.ce = wire_read_varint(r);
	return !r->bad;
}

static bool read_limit(struct rd *r, bool has_id, struct wire_frame *out)
{
	out->limit.id = has_id ? rd_u48(r) : 0;
	out->limit.max = rd_u48(r);
	return !r->bad;
}

static bool read_datagram(struct rd *r, struct wire_frame *out)
{
	out->datagram.flow = rd_u48(r);
	out->datagram.id = rd_u16(r);
	out->datagram.index = rd_u8(r);
	out->datagram.count = rd_u8(r);
	out->datagram.size = rd_u16(r);
	out->datagram.bytes = rd_take(r, out->datagram.size);
	return !r->bad && out->datagram.index < out->datagram.count &&
	       out->datagram.count <= FRAME_DATAGRAM_PARTS_MAX;
}

static bool read_candidates(struct rd *r, struct wire_frame *out)
{
	const unsigned count = rd_u8(r);

	if (count > FRAME_CANDIDATES_MAX)
		return false;
	out->candidates.count = count;
	for (unsigned i = 0; i < count; i++) {
		struct wire_candidate *c = &out->candidates.list[i];

		c->kind = rd_u8(r);
		c->addr = rd_addr(r);
		if (r->bad || c->kind < CANDIDATE_HOST || c->kind > CANDIDATE_MAPPED ||
		    c->addr.family == ADDR_NONE)
			return false;
	}
	return !r->bad;
}

static bool read_nat(struct rd *r, struct nat_profile *out)
{
	uint8_t flags;

	*out = (struct nat_profile){ 0 };
	out->mapping = rd_u8(r);
	out->filtering = rd_u8(r);
	out->ports = rd_u8(r);
	flags = rd_u8(r);
	out->has_mapped = (flags & NAT_FLAG_MAPPED) != 0;
	out->is_suspect = (flags & NAT_FLAG_SUSPECT) != 0;
	out->step = (int16_t)rd_u16(r);
	out->port_low = rd_u16(r);
	out->port_high = rd_u16(r);
	out->address = rd_addr(r);
	return !r->bad && out->mapping < NAT_RULES && out->filtering < NAT_RULES &&
	       out->ports < NAT_PORTS_KINDS;
}

static bool read_punch(struct rd *r, struct wire_punch *out)
{
	*out = (struct wire_punch){ 0 };
	out->kind = rd_u8(r);
	out->shift = rd_u8(r);
	out->round = rd_u16(r);
	out->step = (int16_t)rd_u16(r);
	out->count = rd_u16(r);
	out->port_high = rd_u16(r);
	out->address = rd_addr(r);
	return !r->bad && out->kind >= PUNCH_ROW && out->kind <= PUNCH_CROSS &&
	       out->address.family != ADDR_NONE;
}

static bool read_close(struct rd *r, struct wire_frame *out)
{
	out->close.code = rd_u16(r);
	out->close.text_size = rd_u8(r);
	out->close.text = rd_take(r, out->close.text_size);
	return !r->bad && out->close.text_size <= FRAME_CLOSE_TEXT_MAX;
}

static bool read_message_frame(struct rd *r, struct wire_frame *out)
{
	out->message.seq = rd_u16(r);
	out->message.type = rd_u8(r);
	out->message.size = rd_u16(r);
	out->message.body = rd_take(r, out->message.size);
	return !r->bad && out->message.size <= FRAME_MESSAGE_MAX;
}

/* Everything but STREAM; @r stands behind the type byte. */
static bool read_frame(struct rd *r, uint8_t type, struct wire_frame *out)
{
	out->type = type;
	switch (type) {
	case FRAME_PING:
		return true;
	case FRAME_ACK:
	case FRAME_ACK_ECN:
		return read_ack(r, type, out);
	case FRAME_ACK_FREQUENCY:
		out->ack_frequency.threshold = rd_u16(r);
		out->ack_frequency.delay_us = rd_u32(r);
		out->ack_frequency.reorder = rd_u16(r);
		return !r->bad;
	case FRAME_RESET:
	case FRAME_STOP:
		out->reset.id = rd_u48(r);
		out->reset.final_size = type == FRAME_RESET ? rd_u48(r) : 0;
		out->reset.code = rd_u16(r);
		return !r->bad;
	case FRAME_MAX_DATA:
	case FRAME_MAX_STREAMS:
	case FRAME_DATA_BLOCKED:
		return read_limit(r, false, out);
	case FRAME_MAX_STREAM_DATA:
	case FRAME_STREAM_BLOCKED:
		return read_limit(r, true, out);
	case FRAME_DATAGRAM:
		return read_datagram(r, out);
	case FRAME_CANDIDATES:
		return read_candidates(r, out);
	case FRAME_NAT:
		return read_nat(r, &out->nat);
	case FRAME_PUNCH:
		return read_punch(r, &out->punch);
	case FRAME_CLOSE:
		return read_close(r, out);
	case FRAME_MESSAGE:
		return read_message_frame(r, out);
	case FRAME_MESSAGE_ACK:
		out->message_ack.next = rd_u16(r);
		return !r->bad;
	default: /* whoever sealed this speaks another version than he agreed to */
		return false;
	}
}

enum wire_verdict wire_read_frame(struct rd *in, struct wire_frame *out)
{
	struct rd r = *in; /* a copy: a frame is consumed whole or not at all */
	bool is_good;
	uint8_t type;

	if (r.bad)
		return WIRE_BAD;
	while (r.pos < r.end && *r.pos == FRAME_PADDING)
		r.pos++;
	if (r.pos == r.end) {
		*in = r;
		return WIRE_END;
	}

	type = *r.pos++;
	if (CV_LIKELY((type & STREAM_MASK) == FRAME_STREAM))
		is_good = read_stream(&r, type, out);
	else
		is_good = read_frame(&r, type, out);
	if (!is_good)
		return WIRE_BAD;
	*in = r;
	return WIRE_FRAME;
}

/* ---- writing frames ---- */

void wire_write_stream_header(struct wr *w, uint64_t id, uint64_t offset, size_t size, bool fin,
                              bool with_length)
{
	uint8_t *p = wr_take(w, STREAM_FIXED + (with_length ? 2u : 0u));

	CV_ASSERT(id <= WIRE_STREAM_ID_MAX);
	CV_ASSERT(offset <= WIRE_OFFSET_MAX && size <= WIRE_OFFSET_MAX - offset);
	CV_ASSERT(size <= UINT16_MAX);
	if (!p)
		return;
	p[0] = (uint8_t)(FRAME_STREAM | (fin ? FRAME_STREAM_FIN : 0) |
	                 (with_length ? FRAME_STREAM_LEN : 0));
	cv_store48(p + 1, id);
	cv_store48(p + 7, offset);
	if (with_length)
		cv_store16(p + 13, (uint16_t)size);
}

void wire_write_ack(struct wr *w, const struct wire_range *newest_first, unsigned count,
                    uint64_t delay_ns, const struct wire_ecn *ecn)
{
	const bool has_counts = ecn->ect0 || ecn->ect1 || ecn->ce;
	const uint64_t delay = delay_ns / FRAME_ACK_DELAY_UNIT_NS;
	uint8_t *p = wr_take(w, ACK_FIXED);
	const struct wire_range *range = newest_first;

	CV_ASSERT(count > 0 && count <= FRAME_ACK_RANGES_READ_MAX);
	CV_ASSERT(range[0].end > range[0].begin && range[0].end <= WIRE_NUMBER_MAX + 1);
	if (!p)
		return;
	p[0] = has_counts ? FRAME_ACK_ECN : FRAME_ACK;
	cv_store48(p + 1, range[0].end - 1);
	cv_store16(p + 7, (uint16_t)CV_MIN(delay, UINT16_MAX));
	p[9] = (uint8_t)count;
	wire_write_varint(w, range[0].end - range[0].begin - 1);
	for (unsigned i = 1; i < count; i++) {
		CV_ASSERT(range[i].begin < range[i].end && range[i].end < range[i - 1].begin);
		wire_write_varint(w, range[i - 1].begin - range[i].end - 1);
		wire_write_varint(w, range[i].end - range[i].begin - 1);
	}
	if (!has_counts)
		return;
	wire_write_varint(w, ecn->ect0);
	wire_write_varint(w, ecn->ect1);
	wire_write_varint(w, ecn->ce);
}

static void write_limit(struct wr *w, const struct wire_frame *in, bool has_id)
{
	wr_u8(w, in->type);
	if (has_id)
		wr_u48(w, in->limit.id);
	wr_u48(w, in->limit.max);
}

static void write_datagram(struct wr *w, const struct wire_frame *in)
{
	CV_ASSERT(in->datagram.size <= UINT16_MAX);
	CV_ASSERT(in->datagram.index < in->datagram.count);
	CV_ASSERT(in->datagram.count <= FRAME_DATAGRAM_PARTS_MAX);
	wr_u8(w, FRAME_DATAGRAM);
	wr_u48(w, in->datagram.flow);
	wr_u16(w, in->datagram.id);
	wr_u8(w, in->datagram.index);
	wr_u8(w, in->datagram.count);
	wr_u16(w, (uint16_t)in->datagram.size);
	wr_copy(w, in->datagram.bytes, in->datagram.size);
}

static void write_candidates(struct wr *w, const struct wire_frame *in)
{
	CV_ASSERT(in->candidates.count <= FRAME_CANDIDATES_MAX);
	wr_u8(w, FRAME_CANDIDATES);
	wr_u8(w, (uint8_t)in->candidates.count);
	for (unsigned i = 0; i < in->candidates.count; i++) {
		CV_ASSERT(in->candidates.list[i].addr.family != ADDR_NONE);
		wr_u8(w, in->candidates.list[i].kind);
		wr_addr(w, &in->candidates.list[i].addr);
	}
}

static void write_nat(struct wr *w, const struct nat_profile *in)
{
	wr_u8(w, FRAME_NAT);
	wr_u8(w, in->mapping);
	wr_u8(w, in->filtering);
	wr_u8(w, in->ports);
	wr_u8(w, (uint8_t)((in->has_mapped ? NAT_FLAG_MAPPED : 0) |
	                   (in->is_suspect ? NAT_FLAG_SUSPECT : 0)));
	wr_u16(w, (uint16_t)in->step);
	wr_u16(w, in->port_low);
	wr_u16(w, in->port_high);
	wr_addr(w, &in->address);
}

static void write_punch(struct wr *w, const struct wire_punch *in)
{
	wr_u8(w, FRAME_PUNCH);
	wr_u8(w, in->kind);
	wr_u8(w, in->shift);
	wr_u16(w, in->round);
	wr_u16(w, (uint16_t)in->step);
	wr_u16(w, in->count);
	wr_u16(w, in->port_high);
	wr_addr(w, &in->address);
}

static void write_message_frame(struct wr *w, const struct wire_frame *in)
{
	CV_ASSERT(in->message.size <= FRAME_MESSAGE_MAX);
	wr_u8(w, FRAME_MESSAGE);
	wr_u16(w, in->message.seq);
	wr_u8(w, in->message.type);
	wr_u16(w, (uint16_t)in->message.size);
	wr_copy(w, in->message.body, in->message.size);
}

static void write_close(struct wr *w, const struct wire_frame *in)
{
	CV_ASSERT(in->close.text_size <= FRAME_CLOSE_TEXT_MAX);
	wr_u8(w, FRAME_CLOSE);
	wr_u16(w, in->close.code);
	wr_u8(w, (uint8_t)in->close.text_size);
	wr_copy(w, in->close.text, in->close.text_size);
}

static void write_reset(struct wr *w, const struct wire_frame *in)
{
	wr_u8(w, in->type);
	wr_u48(w, in->reset.id);
	if (in->type == FRAME_RESET)
		wr_u48(w, in->reset.final_size);
	wr_u16(w, in->reset.code);
}

void wire_write_frame(struct wr *w, const struct wire_frame *in)
{
	switch ((enum wire_frame_type)in->type) {
	case FRAME_PADDING:
	case FRAME_PING:
		wr_u8(w, in->type);
		return;
	case FRAME_ACK:
	case FRAME_ACK_ECN:
		wire_write_ack(w, in->ack.ranges, in->ack.count, in->ack.delay_ns, &in->ack.ecn);
		return;
	case FRAME_ACK_FREQUENCY:
		wr_u8(w, FRAME_ACK_FREQUENCY);
		wr_u16(w, in->ack_frequency.threshold);
		wr_u32(w, in->ack_frequency.delay_us);
		wr_u16(w, in->ack_frequency.reorder);
		return;
	case FRAME_STREAM:
		wire_write_stream_header(w, in->stream.id, in->stream.offset, in->stream.size,
		                         in->stream.fin, true);
		wr_copy(w, in->stream.bytes, in->stream.size);
		return;
	case FRAME_RESET:
	case FRAME_STOP:
		write_reset(w, in);
		return;
	case FRAME_MAX_DATA:
	case FRAME_MAX_STREAMS:
	case FRAME_DATA_BLOCKED:
		write_limit(w, in, false);
		return;
	case FRAME_MAX_STREAM_DATA:
	case FRAME_STREAM_BLOCKED:
		write_limit(w, in, true);
		return;
	case FRAME_DATAGRAM:
		write_datagram(w, in);
		return;
	case FRAME_CANDIDATES:
		write_candidates(w, in);
		return;
	case FRAME_NAT:
		write_nat(w, &in->nat);
		return;
	case FRAME_PUNCH:
		write_punch(w, &in->punch);
		return;
	case FRAME_CLOSE:
		write_close(w, in);
		return;
	case FRAME_MESSAGE:
		write_message_frame(w, in);
		return;
	case FRAME_MESSAGE_ACK:
		wr_u8(w, FRAME_MESSAGE_ACK);
		wr_u16(w, in->message_ack.next);
		return;
	}
	CV_UNREACHABLE();
}

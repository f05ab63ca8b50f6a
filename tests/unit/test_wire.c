/* SPDX-License-Identifier: MIT */

/*
 * Goal: what is written is read back, and any bytes at all give a verdict without reading past
 * them. Method: one sample of each frame and message at its boundaries goes there and back, at
 * every cut and into every size of memory too small for it; then rows of bytes that no honest
 * side writes. Buffers are exactly as long as their contents, so that a sanitizer sees one byte
 * too many.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "tunnel/wire.h"

#define U48_MAX ((UINT64_C(1) << 48) - 1)

static const uint8_t some[FRAME_MESSAGE_MAX] = "bytes of no importance";

/* ---- headers of datagrams ---- */

static void data_header(void **state)
{
	const struct wire_data in = { .flags = 1, .receiver = 0x01020304, .number = U48_MAX };
	static const uint8_t expected[] = { 0x81, 1,    2,    3,    4,    0,   0,
		                            0xff, 0xff, 0xff, 0xff, 0xff, 0xff };
	uint8_t bytes[WIRE_DATA_OVERHEAD] = { 0 };
	struct wire_data out;

	(void)state;
	wire_write_data(bytes, WIRE_DATA, &in);
	assert_memory_equal(bytes, expected, sizeof(expected));
	for (size_t size = 0; size < WIRE_DATA_OVERHEAD; size++)
		assert_false(wire_read_data(bytes, size, &out));
	assert_true(wire_read_data(bytes, sizeof(bytes), &out));
	assert_int_equal(out.flags, in.flags);
	assert_int_equal(out.receiver, in.receiver);
	assert_true(out.number == in.number);
	bytes[6] = 1; /* 2^48: no sender gets there */
	assert_false(wire_read_data(bytes, sizeof(bytes), &out));

	wire_write_data(bytes, WIRE_PROBE, &(struct wire_data){ .receiver = 1 });
	assert_int_equal(bytes[0], WIRE_PROBE);
}

static void handshake_header(void **state)
{
	const struct wire_handshake in = {
		.version = 1, .sender = 0xfffffffe, .receiver = 3, .number = UINT64_MAX
	};
	const enum wire_kind kinds[] = { WIRE_INIT, WIRE_RESP };
	const size_t sizes[] = { WIRE_INIT_SIZE, WIRE_RESP_SIZE };
	uint8_t bytes[WIRE_INIT_SIZE + 1] = { 0 };
	struct wire_handshake out;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		memset(bytes, 0xff, sizeof(bytes));
		wire_write_handshake(bytes, kinds[i], &in);
		assert_int_equal(bytes[2] | bytes[3], 0);
		for (size_t size = 0; size <= sizeof(bytes); size++)
			assert_int_equal(wire_read_handshake(bytes, size, &out), size == sizes[i]);
		assert_true(wire_read_handshake(bytes, sizes[i], &out));
		assert_int_equal(out.version, in.version);
		assert_true(out.sender == in.sender && out.receiver == in.receiver);
		assert_true(out.number == in.number);
	}
	for (unsigned first = 0; first < 256; first++) {
		bytes[0] = (uint8_t)first;
		assert_int_equal(wire_read_handshake(bytes, WIRE_INIT_SIZE, &out),
		                 (first & 0xf0) == WIRE_INIT);
		assert_int_equal(wire_read_handshake(bytes, WIRE_RESP_SIZE, &out),
		                 (first & 0xf0) == WIRE_RESP);
	}
}

static void relay_header(void **state)
{
	uint8_t bytes[WIRE_RELAY_HEADER];
	uint64_t channel = 0;

	(void)state;
	wire_write_relay(bytes, UINT64_C(0x8877665544332211));
	for (size_t size = 0; size < sizeof(bytes); size++)
		assert_false(wire_read_relay(bytes, size, &channel));
	assert_true(wire_read_relay(bytes, sizeof(bytes), &channel));
	assert_true(channel == UINT64_C(0x8877665544332211));
}

static void probe_there_and_back(void **state)
{
	const struct addr v4 = addr_v4(192, 0, 2, 1, 65535);
	const struct addr v6 = { .family = ADDR_V6, .port = 1, .ip = { 0x20, 1, 0xd, 0xb8 } };
	const struct addr addrs[] = { { 0 }, v4, v6 };
	uint8_t plain[WIRE_PROBE_MIN];
	struct wire_probe out;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		const struct wire_probe in = {
			.type = i ? PROBE_ANSWER : PROBE_CHALLENGE,
			.flags = PROBE_FLAG_NOMINATE | PROBE_FLAG_PAD_ANSWER,
			.token = UINT64_MAX - i,
			.seen = addrs[i],
		};
		const size_t used = 11 + (size_t[]){ 0, 6, 18 }[i];

		memset(plain, 0xee, sizeof(plain));
		wire_write_probe(plain, sizeof(plain), &in);
		for (size_t size = 0; size <= sizeof(plain); size++)
			assert_int_equal(wire_read_probe(plain, size, &out), size >= used);
		assert_true(out.type == in.type && out.flags == in.flags && out.token == in.token);
		assert_true(addr_equal(&out.seen, &in.seen));
		for (size_t k = used; k < sizeof(plain); k++)
			assert_int_equal(plain[k], 0);
	}
}

static void probes_with_seconds(void **state)
{
	static const uint8_t flags[] = { PROBE_FLAG_ASIDE, PROBE_FLAG_INTERVAL };
	uint8_t plain[WIRE_PROBE_PLAIN];
	struct wire_probe out;

	(void)state;
	for (unsigned i = 0; i < CV_ARRAY_SIZE(flags); i++) {
		const struct wire_probe in = {
			.type = PROBE_CHALLENGE, .flags = flags[i], .token = 7, .seconds = 0x1234
		};

		wire_write_probe(plain, sizeof(plain), &in);
		for (size_t size = 0; size <= sizeof(plain); size++)
			assert_int_equal(wire_read_probe(plain, size, &out), size >= 13);
		assert_true(out.flags == flags[i] && out.token == 7 && out.seconds == 0x1234);
	}
	wire_write_probe(plain, sizeof(plain),
	                 &(struct wire_probe){ .type = PROBE_CHALLENGE, .seconds = 9 });
	assert_true(wire_read_probe(plain, sizeof(plain), &out));
	assert_int_equal(out.seconds, 0); /* nobody asked */
}

static void bad_probes(void **state)
{
	uint8_t plain[WIRE_PROBE_MIN];
	struct wire_probe out;

	(void)state;
	wire_write_probe(plain, sizeof(plain), &(struct wire_probe){ .type = PROBE_ANSWER });
	plain[1] = 0xff; /* unknown flags are ignored */
	assert_true(wire_read_probe(plain, sizeof(plain), &out));
	/* ... and those of a time in an answer, which has none */
	assert_int_equal(out.flags, PROBE_FLAG_NOMINATE | PROBE_FLAG_PAD_ANSWER);
	plain[0] = PROBE_CHALLENGE;
	assert_true(wire_read_probe(plain, sizeof(plain), &out));
	assert_int_equal(out.flags, PROBE_FLAG_NOMINATE | PROBE_FLAG_PAD_ANSWER | PROBE_FLAG_ASIDE |
	                                    PROBE_FLAG_INTERVAL);
	plain[0] = 0;
	assert_false(wire_read_probe(plain, sizeof(plain), &out));
	plain[0] = 3;
	assert_false(wire_read_probe(plain, sizeof(plain), &out));
	plain[0] = PROBE_CHALLENGE;
	plain[10] = 5; /* no such family */
	assert_false(wire_read_probe(plain, sizeof(plain), &out));
}

/* ---- varints ---- */

static void varints(void **state)
{
	/* The last four are the examples of RFC 9000, A.1. */
	static const struct {
		uint64_t v;
		size_t size;
	} rows[] = { { 0, 1 },
		     { 63, 1 },
		     { 64, 2 },
		     { 16383, 2 },
		     { 16384, 4 },
		     { (1u << 30) - 1, 4 },
		     { 1u << 30, 8 },
		     { UINT64_MAX >> 2, 8 },
		     { UINT64_C(151288809941952652), 8 },
		     { 494878333, 4 },
		     { 15293, 2 },
		     { 37, 1 } };
	static const uint8_t example[] = { 0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c };
	uint8_t bytes[8];

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		for (size_t cap = 0; cap <= sizeof(bytes); cap++) {
			struct wr w = wr_init(bytes, cap);
			struct rd r;

			wire_write_varint(&w, rows[i].v);
			assert_int_equal(w.bad, cap < rows[i].size);
			if (w.bad)
				continue;
			assert_int_equal(wr_size(&w), rows[i].size);
			r = rd_init(bytes, rows[i].size);
			assert_true(wire_read_varint(&r) == rows[i].v);
			assert_true(!r.bad && rd_left(&r) == 0);
			r = rd_init(bytes, rows[i].size - 1);
			(void)wire_read_varint(&r);
			assert_true(r.bad);
		}
	}
	{
		struct wr w = wr_init(bytes, sizeof(bytes));

		wire_write_varint(&w, rows[8].v);
		assert_memory_equal(bytes, example, sizeof(example));
	}
}

/* ---- frames ---- */

static void equal_stream(const struct wire_frame *a, const struct wire_frame *b)
{
	assert_true(a->stream.id == b->stream.id && a->stream.offset == b->stream.offset);
	assert_int_equal(a->stream.fin, b->stream.fin);
	assert_int_equal(a->stream.size, b->stream.size);
	assert_memory_equal(a->stream.bytes, b->stream.bytes, b->stream.size);
}

static void equal_ack(const struct wire_frame *a, const struct wire_frame *b)
{
	assert_true(a->ack.delay_ns == b->ack.delay_ns);
	assert_int_equal(a->ack.count, b->ack.count);
	assert_memory_equal(a->ack.ranges, b->ack.ranges, b->ack.count * sizeof(b->ack.ranges[0]));
	assert_memory_equal(&a->ack.ecn, &b->ack.ecn, sizeof(b->ack.ecn));
}

static void equal_datagram(const struct wire_frame *a, const struct wire_frame *b)
{
	assert_true(a->datagram.flow == b->datagram.flow && a->datagram.id == b->datagram.id);
	assert_true(a->datagram.index == b->datagram.index &&
	            a->datagram.count == b->datagram.count);
	assert_int_equal(a->datagram.size, b->datagram.size);
	assert_memory_equal(a->datagram.bytes, b->datagram.bytes, b->datagram.size);
}

static void equal_candidates(const struct wire_frame *a, const struct wire_frame *b)
{
	assert_int_equal(a->candidates.count, b->candidates.count);
	for (unsigned i = 0; i < b->candidates.count; i++) {
		assert_int_equal(a->candidates.list[i].kind, b->candidates.list[i].kind);
		assert_true(addr_equal(&a->candidates.list[i].addr, &b->candidates.list[i].addr));
	}
}

static void equal_message(const struct wire_frame *a, const struct wire_frame *b)
{
	assert_true(a->message.seq == b->message.seq && a->message.type == b->message.type);
	assert_int_equal(a->message.size, b->message.size);
	assert_memory_equal(a->message.body, b->message.body, b->message.size);
}

static void equal_frames(const struct wire_frame *a, const struct wire_frame *b)
{
	assert_int_equal(a->type, b->type);
	switch ((enum wire_frame_type)b->type) {
	case FRAME_PADDING:
	case FRAME_PING:
		return;
	case FRAME_ACK:
	case FRAME_ACK_ECN:
		equal_ack(a, b);
		return;
	case FRAME_ACK_FREQUENCY:
		assert_int_equal(a->ack_frequency.threshold, b->ack_frequency.threshold);
		assert_true(a->ack_frequency.delay_us == b->ack_frequency.delay_us);
		assert_int_equal(a->ack_frequency.reorder, b->ack_frequency.reorder);
		return;
	case FRAME_STREAM:
		equal_stream(a, b);
		return;
	case FRAME_RESET:
	case FRAME_STOP:
		assert_true(a->reset.id == b->reset.id && a->reset.code == b->reset.code);
		assert_true(a->reset.final_size == b->reset.final_size);
		return;
	case FRAME_MAX_DATA:
	case FRAME_MAX_STREAMS:
	case FRAME_DATA_BLOCKED:
	case FRAME_MAX_STREAM_DATA:
	case FRAME_STREAM_BLOCKED:
		assert_true(a->limit.id == b->limit.id && a->limit.max == b->limit.max);
		return;
	case FRAME_DATAGRAM:
		equal_datagram(a, b);
		return;
	case FRAME_CANDIDATES:
		equal_candidates(a, b);
		return;
	case FRAME_NAT:
		assert_true(nat_profile_is_equal(&a->nat, &b->nat));
		return;
	case FRAME_PUNCH:
		assert_int_equal(a->punch.kind, b->punch.kind);
		assert_int_equal(a->punch.shift, b->punch.shift);
		assert_int_equal(a->punch.round, b->punch.round);
		assert_int_equal(a->punch.step, b->punch.step);
		assert_int_equal(a->punch.count, b->punch.count);
		assert_int_equal(a->punch.port_high, b->punch.port_high);
		assert_true(addr_equal(&a->punch.address, &b->punch.address));
		return;
	case FRAME_CLOSE:
		assert_int_equal(a->close.code, b->close.code);
		assert_int_equal(a->close.text_size, b->close.text_size);
		assert_memory_equal(a->close.text, b->close.text, b->close.text_size);
		return;
	case FRAME_MESSAGE:
		equal_message(a, b);
		return;
	case FRAME_MESSAGE_ACK:
		assert_int_equal(a->message_ack.next, b->message_ack.next);
		return;
	}
	fail();
}

/* Into memory of every size; back from every cut, each in a block of its own. */
static void there_and_back(const struct wire_frame *in)
{
	static uint8_t bytes[4096];
	struct wr w = wr_init(bytes, sizeof(bytes));
	struct wire_frame out;
	size_t size;

	wire_write_frame(&w, in);
	assert_false(w.bad);
	size = wr_size(&w);
	for (size_t cut = 0; cut <= size; cut++) {
		uint8_t *part = cv_zalloc(cut + 1);
		struct wr small;
		struct rd r;

		assert_non_null(part);
		small = wr_init(part + 1, cut);
		wire_write_frame(&small, in);
		assert_int_equal(small.bad, cut < size);
		memcpy(part + 1, bytes, cut);
		r = rd_init(part + 1, cut);
		if (cut == 0) {
			assert_int_equal(wire_read_frame(&r, &out), WIRE_END);
		} else if (cut < size) {
			assert_int_equal(wire_read_frame(&r, &out), WIRE_BAD);
			assert_ptr_equal(r.pos, part + 1); /* nothing is consumed */
		} else {
			assert_int_equal(wire_read_frame(&r, &out), WIRE_FRAME);
			equal_frames(&out, in);
			assert_int_equal(wire_read_frame(&r, &out), WIRE_END);
		}
		cv_free(part);
	}
}

static void simple_frames_there_and_back(void **state)
{
	static const struct wire_frame frames[] = {
		{ .type = FRAME_PING },
		{ .type = FRAME_ACK_FREQUENCY, .ack_frequency = { UINT16_MAX, UINT32_MAX, 300 } },
		{ .type = FRAME_RESET, .reset = { U48_MAX, U48_MAX, UINT16_MAX } },
		{ .type = FRAME_STOP, .reset = { .id = 7, .code = 9 } },
		{ .type = FRAME_MAX_DATA, .limit = { .max = U48_MAX } },
		{ .type = FRAME_MAX_STREAMS, .limit = { .max = 128 } },
		{ .type = FRAME_DATA_BLOCKED, .limit = { .max = 0 } },
		{ .type = FRAME_MAX_STREAM_DATA, .limit = { U48_MAX, U48_MAX } },
		{ .type = FRAME_STREAM_BLOCKED, .limit = { 1, 2 } },
		{ .type = FRAME_DATAGRAM, .datagram = { U48_MAX, 65535, 63, 64, some, 700 } },
		{ .type = FRAME_DATAGRAM, .datagram = { 1, 1, 0, 1, some, 0 } },
		{ .type = FRAME_CLOSE, .close = { CLOSE_SHUTDOWN, some, FRAME_CLOSE_TEXT_MAX } },
		{ .type = FRAME_CLOSE, .close = { CLOSE_NONE, some, 0 } },
		{ .type = FRAME_MESSAGE, .message = { 65535, 255, some, FRAME_MESSAGE_MAX } },
		{ .type = FRAME_MESSAGE, .message = { 0, 0, some, 0 } },
		{ .type = FRAME_MESSAGE_ACK, .message_ack = { 65535 } },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(frames); i++)
		there_and_back(&frames[i]);
}

static void streams_there_and_back(void **state)
{
	static const struct wire_frame frames[] = {
		{ .type = FRAME_STREAM, .stream = { 0, 0, some, 0, false } },
		{ .type = FRAME_STREAM, .stream = { 1, 2, some, 900, true } },
		{ .type = FRAME_STREAM, .stream = { U48_MAX, U48_MAX, some, 0, true } },
		{ .type = FRAME_STREAM, .stream = { U48_MAX, U48_MAX - 5, some, 5, false } },
	};

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(frames); i++)
		there_and_back(&frames[i]);
}

/* Without a length the data end with the packet, padding-like bytes included. */
static void stream_without_length(void **state)
{
	uint8_t bytes[FRAME_STREAM_HEADER_MAX + 10] = { 0 };
	struct wr w = wr_init(bytes, sizeof(bytes));
	struct wire_frame out;
	struct rd r;

	(void)state;
	wire_write_stream_header(&w, 5, 6, 12, true, false);
	assert_int_equal(wr_size(&w), FRAME_STREAM_HEADER_MAX - 2);
	r = rd_init(bytes, sizeof(bytes));
	assert_int_equal(wire_read_frame(&r, &out), WIRE_FRAME);
	assert_true(out.stream.id == 5 && out.stream.offset == 6 && out.stream.fin);
	assert_int_equal(out.stream.size, 12);
	assert_ptr_equal(out.stream.bytes, bytes + FRAME_STREAM_HEADER_MAX - 2);
	assert_int_equal(wire_read_frame(&r, &out), WIRE_END);
}

static void acks_there_and_back(void **state)
{
	struct wire_frame f = { .type = FRAME_ACK };

	(void)state;
	f.ack.count = 1;
	f.ack.ranges[0] = (struct wire_range){ 0, 1 };
	there_and_back(&f);
	f.ack.ranges[0] = (struct wire_range){ 0, WIRE_NUMBER_MAX + 1 };
	f.ack.delay_ns = UINT64_C(65535) * FRAME_ACK_DELAY_UNIT_NS;
	there_and_back(&f);
	f.ack.ecn = (struct wire_ecn){ .ce = 1 };
	there_and_back(&f);
	f.ack.ecn = (struct wire_ecn){ 1, 1 << 14, UINT64_C(1) << 30 };
	there_and_back(&f);
	f.ack.count = 2;
	f.ack.ranges[0] = (struct wire_range){ WIRE_NUMBER_MAX, WIRE_NUMBER_MAX + 1 };
	f.ack.ranges[1] = (struct wire_range){ 0, WIRE_NUMBER_MAX - 1 };
	there_and_back(&f);
	f.ack.ranges[1] = (struct wire_range){ 0, 1 };
	there_and_back(&f);

	/* As many as are accepted, as close as they can be, down to 0. */
	f.ack.count = FRAME_ACK_RANGES_READ_MAX;
	for (unsigned i = 0; i < f.ack.count; i++)
		f.ack.ranges[f.ack.count - 1 - i] =
			(struct wire_range){ UINT64_C(2) * i, UINT64_C(2) * i + 1 };
	there_and_back(&f);
}

static void the_largest_ack_fits_its_bound(void **state)
{
	struct wire_range ranges[FRAME_ACK_RANGES_MAX];
	uint8_t bytes[FRAME_ACK_SIZE_MAX];
	struct wr w = wr_init(bytes, sizeof(bytes));
	const uint64_t step = (WIRE_NUMBER_MAX + 1) / FRAME_ACK_RANGES_MAX;
	const uint64_t most = (UINT64_C(1) << 62) - 1;
	const struct wire_ecn ecn = { most, most, most };
	struct wire_frame out;
	struct rd r;

	(void)state;
	for (uint64_t i = 0; i < FRAME_ACK_RANGES_MAX; i++)
		ranges[FRAME_ACK_RANGES_MAX - 1 - i] =
			(struct wire_range){ i * step, i * step + step / 2 };
	wire_write_ack(&w, ranges, FRAME_ACK_RANGES_MAX, UINT64_MAX, &ecn);
	assert_false(w.bad);
	r = rd_init(bytes, wr_size(&w));
	assert_int_equal(wire_read_frame(&r, &out), WIRE_FRAME);
	assert_memory_equal(out.ack.ranges, ranges, sizeof(ranges));
	assert_memory_equal(&out.ack.ecn, &ecn, sizeof(ecn));
	assert_true(out.ack.delay_ns == UINT64_C(65535) * FRAME_ACK_DELAY_UNIT_NS);
}

static void candidates_there_and_back(void **state)
{
	struct wire_frame f = { .type = FRAME_CANDIDATES };

	(void)state;
	there_and_back(&f);
	f.candidates.count = FRAME_CANDIDATES_MAX;
	for (unsigned i = 0; i < FRAME_CANDIDATES_MAX; i++) {
		struct wire_candidate *c = &f.candidates.list[i];

		c->kind = (uint8_t)(CANDIDATE_HOST + i % 4);
		c->addr = addr_v4(198, 51, 100, (uint8_t)i, (uint16_t)(i * 4096));
		if (i % 2)
			c->addr = (struct addr){ .family = ADDR_V6, .port = 9, .ip = { 0x20, 1 } };
	}
	there_and_back(&f);
}

static void words_about_routers_there_and_back(void **state)
{
	struct wire_frame f = { .type = FRAME_NAT };

	(void)state;
	there_and_back(&f);
	f.nat = (struct nat_profile){ .mapping = NAT_ADDRESS_AND_PORT_DEPENDENT,
		                      .filtering = NAT_ADDRESS_DEPENDENT,
		                      .ports = NAT_PORTS_REGULAR,
		                      .has_mapped = true,
		                      .step = -2,
		                      .port_low = 1024,
		                      .port_high = 65535,
		                      .address = addr_v4(198, 51, 100, 7, 4000) };
	there_and_back(&f);
	f = (struct wire_frame){ .type = FRAME_PUNCH };
	for (unsigned kind = PUNCH_ROW; kind <= PUNCH_CROSS; kind++) {
		f.punch = (struct wire_punch){ .kind = (uint8_t)kind,
			                       .shift = 3,
			                       .round = 65535,
			                       .step = -1,
			                       .count = 16,
			                       .port_high = 2047,
			                       .address = addr_v4(198, 51, 100, 7, 1024) };
		there_and_back(&f);
	}
}

/* Bytes that no honest side writes. */
static const struct {
	const char *what;
	size_t size;
	uint8_t bytes[32];
} bad_frames[] = {
	{ "a type that does not exist", 1, { 0x05 } },
	{ "a type that does not exist", 4, { 0xff, 0, 0, 0 } },
	{ "a type behind padding", 3, { 0, 0, 0x7f } },
	{ "the bare stream bits of another type", 2, { 0x0c, 0 } },
	{ "ack without ranges", 10, { 2, 0, 0, 0, 0, 0, 9, 0, 0, 0 } },
	{ "ack below zero", 11, { 2, 0, 0, 0, 0, 0, 9, 0, 0, 1, 10 } },
	{ "ack with 65 ranges", 11, { 2, 0, 0, 0, 0, 0, 9, 0, 0, 65, 0 } },
	{ "second range below zero", 13, { 2, 0, 0, 0, 0, 0, 9, 0, 0, 2, 3, 4, 1 } },
	{ "gap below zero", 13, { 2, 0, 0, 0, 0, 0, 9, 0, 0, 2, 3, 6, 0 } },
	{ "gap to zero leaves no room", 13, { 2, 0, 0, 0, 0, 0, 9, 0, 0, 2, 3, 5, 0 } },
	{ "a length of 2^62",
	  18,
	  { 2, 0, 0, 0, 0, 0, 9, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } },
	{ "counts that are missing", 11, { 4, 0, 0, 0, 0, 0, 9, 0, 0, 1, 3 } },
	{ "a third count that is missing", 13, { 4, 0, 0, 0, 0, 0, 9, 0, 0, 1, 3, 1, 1 } },
	{ "stream past the last offset",
	  16,
	  { 0x0a, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 1, 'x' } },
	{ "the same without a length",
	  14,
	  { 0x08, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 'x' } },
	{ "stream longer than its packet", 16, { 0x0a, [14] = 2, [15] = 'x' } },
	{ "datagram of no parts", 13, { 0x18, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0 } },
	{ "datagram's part behind the last", 13, { 0x18, 0, 0, 0, 0, 0, 1, 0, 1, 2, 2, 0, 0 } },
	{ "datagram of 65 parts", 13, { 0x18, 0, 0, 0, 0, 0, 1, 0, 1, 0, 65, 0, 0 } },
	{ "17 candidates", 2, { 0x20, 17 } },
	{ "a candidate of no kind", 9, { 0x20, 1, 0, 4, 0, 1, 1, 2, 3 } },
	{ "a candidate of a fifth kind", 10, { 0x20, 1, 5, 4, 0, 1, 1, 2, 3, 4 } },
	{ "a candidate without address", 4, { 0x20, 1, 1, 0 } },
	{ "a candidate of family 5", 10, { 0x20, 1, 1, 5, 0, 1, 1, 2, 3, 4 } },
	{ "a message that is too long", 6, { 0x30, 0, 0, 1, 4, 1 } },
};

static void bad_frames_are_refused(void **state)
{
	struct wire_frame out;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(bad_frames); i++) {
		struct rd r = rd_init(bad_frames[i].bytes, bad_frames[i].size);

		if (wire_read_frame(&r, &out) != WIRE_BAD)
			fail_msg("read: %s", bad_frames[i].what);
		assert_ptr_equal(r.pos, bad_frames[i].bytes);
	}
}

static void too_long_by_its_length(void **state)
{
	static uint8_t bytes[2 * FRAME_MESSAGE_MAX];
	struct wire_frame out;
	struct rd r = rd_init(bytes, sizeof(bytes));

	(void)state;
	bytes[0] = FRAME_MESSAGE;
	cv_store16(bytes + 4, FRAME_MESSAGE_MAX + 1);
	assert_int_equal(wire_read_frame(&r, &out), WIRE_BAD);
	cv_store16(bytes + 4, FRAME_MESSAGE_MAX);
	assert_int_equal(wire_read_frame(&r, &out), WIRE_FRAME);

	memset(bytes, 0, sizeof(bytes));
	r = rd_init(bytes, sizeof(bytes));
	bytes[0] = FRAME_CLOSE;
	bytes[3] = FRAME_CLOSE_TEXT_MAX + 1;
	assert_int_equal(wire_read_frame(&r, &out), WIRE_BAD);
	bytes[3] = FRAME_CLOSE_TEXT_MAX;
	assert_int_equal(wire_read_frame(&r, &out), WIRE_FRAME);
	assert_int_equal(wire_read_frame(&r, &out), WIRE_END); /* the rest is padding */
}

static void a_packet_of_several(void **state)
{
	uint8_t bytes[64];
	struct wr w = wr_init(bytes, sizeof(bytes));
	const struct wire_range range = { 3, 8 };
	struct wire_frame out;
	struct rd r;

	(void)state;
	wr_u8(&w, FRAME_PADDING);
	wire_write_ack(&w, &range, 1, 16000, &(struct wire_ecn){ 0 });
	wr_zero(&w, 3);
	wr_u8(&w, FRAME_PING);
	wire_write_stream_header(&w, 1, 0, 2, false, false);
	wr_copy(&w, "hi", 2);
	r = rd_init(bytes, wr_size(&w));
	assert_int_equal(wire_read_frame(&r, &out), WIRE_FRAME);
	assert_int_equal(out.type, FRAME_ACK);
	assert_true(out.ack.ranges[0].begin == 3 && out.ack.ranges[0].end == 8);
	assert_true(out.ack.delay_ns == 16000);
	assert_int_equal(wire_read_frame(&r, &out), WIRE_FRAME);
	assert_int_equal(out.type, FRAME_PING);
	assert_int_equal(wire_read_frame(&r, &out), WIRE_FRAME);
	assert_memory_equal(out.stream.bytes, "hi", 2);
	assert_int_equal(wire_read_frame(&r, &out), WIRE_END);
}

/* ---- messages ---- */

static void message_there_and_back(const struct wire_message *in)
{
	uint8_t body[FRAME_MESSAGE_MAX];
	const size_t size = wire_write_message(body, sizeof(body), in);
	struct wire_message out, untouched;

	memset(&untouched, 0x55, sizeof(untouched));
	for (size_t cut = 0; cut <= size + 1; cut++) {
		uint8_t *part = cv_zalloc(cut + 1); /* one more than needed: never size 0 */

		assert_non_null(part);
		memcpy(part + 1, body, CV_MIN(cut, size));
		memset(&out, 0x55, sizeof(out));
		assert_int_equal(wire_read_message(part + 1, cut, in->type, &out), cut == size);
		if (cut != size) {
			assert_memory_equal(&out, &untouched, sizeof(out));
		} else {
			assert_int_equal(out.init != NULL, in->init != NULL);
			if (in->init)
				assert_memory_equal(out.init, in->init, WIRE_INIT_SIZE);
			out.init = in->init;
			assert_int_equal(out.type, in->type);
			assert_int_equal(out.is_first, in->is_first);
			assert_int_equal(out.is_gone, in->is_gone);
			assert_int_equal(out.tag_count, in->tag_count);
			assert_memory_equal(out.tags, in->tags, sizeof(in->tags));
			assert_memory_equal(out.tag, in->tag, sizeof(in->tag));
			assert_true(out.channel == in->channel && out.leg == in->leg);
			assert_true(out.rate_kbit == in->rate_kbit);
			assert_string_equal(out.text, in->text);
		}
		cv_free(part);
	}
}

static void messages_there_and_back(void **state)
{
	static struct wire_message m[] = {
		{ .type = MESSAGE_REGISTER, .is_first = true },
		{ .type = MESSAGE_REGISTER, .tag_count = MESSAGE_TAGS_MAX },
		{ .type = MESSAGE_OPEN, .tag = { 1 } },
		{ .type = MESSAGE_OPEN, .tag = { 1 }, .init = some },
		{ .type = MESSAGE_OFFER, .tag = { 2 }, .channel = UINT64_MAX, .leg = LEG_TCP },
		{ .type = MESSAGE_OFFER, .rate_kbit = UINT32_MAX, .init = some },
		{ .type = MESSAGE_OPENED, .tag = { 3 }, .channel = 1, .rate_kbit = 50000 },
		{ .type = MESSAGE_PRESENT, .tag = { 4 } },
		{ .type = MESSAGE_ABSENT, .tag = { [15] = 255 } },
		{ .type = MESSAGE_ABSENT, .is_gone = true },
		{ .type = MESSAGE_CLOSE_CHANNEL, .channel = UINT64_MAX },
		{ .type = MESSAGE_CHANNEL_GONE, .channel = 0 },
		{ .type = MESSAGE_REFUSED, .text = "" },
		{ .type = MESSAGE_REFUSED },
	};

	(void)state;
	memset(m[1].tags, 0xab, sizeof(m[1].tags));
	memset(m[13].text, 'w', MESSAGE_TEXT_MAX);
	for (size_t i = 0; i < CV_ARRAY_SIZE(m); i++)
		message_there_and_back(&m[i]);
}

static void bad_messages_are_refused(void **state)
{
	static uint8_t body[FRAME_MESSAGE_MAX];
	struct wire_message out;

	(void)state;
	for (unsigned type = 0; type < 256; type++) {
		const bool is_known = (type >= MESSAGE_REGISTER && type <= MESSAGE_CLOSE_CHANNEL) ||
		                      (type >= MESSAGE_PRESENT && type <= MESSAGE_REFUSED);
		bool is_read = false;

		/* All zero, each type has exactly one size at which it is whole. */
		for (size_t size = 0; size < 64; size++)
			is_read |= wire_read_message(body, size, (uint8_t)type, &out);
		assert_int_equal(is_read, is_known);
	}
	body[1] = MESSAGE_TAGS_MAX + 1;
	assert_false(wire_read_message(body, 2 + (size_t)16 * body[1], MESSAGE_REGISTER, &out));
	body[16] = 2; /* neither with nor without an INIT */
	assert_false(wire_read_message(body, 17, MESSAGE_OPEN, &out));
	assert_false(wire_read_message(body, 17 + WIRE_INIT_SIZE, MESSAGE_OPEN, &out));
	memset(body, 0, sizeof(body));
	body[16] = 2; /* neither gone nor not */
	assert_false(wire_read_message(body, 17, MESSAGE_ABSENT, &out));
	body[16] = 0;
	body[28] = 2; /* no such leg */
	assert_false(wire_read_message(body, 29, MESSAGE_OPENED, &out));
	body[0] = 3;
	body[1] = 'a';
	body[2] = 0;
	body[3] = 'b';
	assert_false(wire_read_message(body, 4, MESSAGE_REFUSED, &out));
	memset(body, 'a', sizeof(body));
	body[0] = MESSAGE_TEXT_MAX + 1;
	assert_false(wire_read_message(body, 1 + (size_t)body[0], MESSAGE_REFUSED, &out));
}

/* Noise with a frame's type in front: no crash, and whatever is read is consumed forwards. */
static void any_bytes_give_a_verdict(void **state)
{
	struct rng_seeded seeded;
	struct rng rng;
	uint8_t bytes[48];

	(void)state;
	rng_seeded_init(&seeded, 4);
	rng = rng_from_seeded(&seeded);
	for (unsigned i = 0; i < 100000; i++) {
		const size_t size = rng_below(&rng, sizeof(bytes) + 1);
		struct wire_frame out;
		struct wire_message message;
		struct rd r;

		rng_fill(&rng, bytes, sizeof(bytes));
		bytes[0] &= 0x3f;
		r = rd_init(bytes, size);
		for (const uint8_t *pos = NULL; wire_read_frame(&r, &out) == WIRE_FRAME;
		     pos = r.pos)
			assert_true(r.pos > pos && r.pos <= r.end);
		(void)wire_read_message(bytes, size, bytes[0] & 15, &message);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(data_header),
		cmocka_unit_test(handshake_header),
		cmocka_unit_test(relay_header),
		cmocka_unit_test(probe_there_and_back),
		cmocka_unit_test(probes_with_seconds),
		cmocka_unit_test(bad_probes),
		cmocka_unit_test(varints),
		cmocka_unit_test(simple_frames_there_and_back),
		cmocka_unit_test(streams_there_and_back),
		cmocka_unit_test(stream_without_length),
		cmocka_unit_test(acks_there_and_back),
		cmocka_unit_test(the_largest_ack_fits_its_bound),
		cmocka_unit_test(candidates_there_and_back),
		cmocka_unit_test(words_about_routers_there_and_back),
		cmocka_unit_test(bad_frames_are_refused),
		cmocka_unit_test(too_long_by_its_length),
		cmocka_unit_test(a_packet_of_several),
		cmocka_unit_test(messages_there_and_back),
		cmocka_unit_test(bad_messages_are_refused),
		cmocka_unit_test(any_bytes_give_a_verdict),
	};

	return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}

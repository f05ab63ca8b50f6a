/* SPDX-License-Identifier: MIT */

/*
 * The first byte says what the rest is: frames, the body of a message (its type follows), a
 * probe, or a whole datagram. Oracles: a reader moves forwards and stays inside; what is read can
 * be written, is read back, and is written as the same bytes again; what is refused is not
 * consumed; values stay within the limits that the header promises.
 */
#include <string.h>

#include "base/compiler.h"
#include "tunnel/wire.h"

enum { ENCODED_MAX = 1 << 17 };

static uint8_t first[ENCODED_MAX], second[ENCODED_MAX];

static void check_ack(const struct wire_frame *f)
{
	uint64_t above = WIRE_NUMBER_MAX + 2;

	CV_ASSERT(f->ack.count >= 1 && f->ack.count <= FRAME_ACK_RANGES_READ_MAX);
	for (unsigned i = 0; i < f->ack.count; i++) {
		CV_ASSERT(f->ack.ranges[i].begin < f->ack.ranges[i].end);
		CV_ASSERT(f->ack.ranges[i].end < above);
		above = f->ack.ranges[i].begin;
	}
}

static void check_inside(const uint8_t *bytes, size_t size, const uint8_t *at, size_t at_size)
{
	CV_ASSERT(at >= bytes && at_size <= size);
	CV_ASSERT((size_t)(at - bytes) <= size - at_size);
}

static void check_frame(const struct wire_frame *f, const uint8_t *data, size_t size)
{
	if (f->type == FRAME_ACK)
		check_ack(f);
	if (f->type == FRAME_STREAM) {
		check_inside(data, size, f->stream.bytes, f->stream.size);
		CV_ASSERT(f->stream.id <= WIRE_STREAM_ID_MAX);
		CV_ASSERT(f->stream.offset + f->stream.size <= WIRE_OFFSET_MAX);
	}
	if (f->type == FRAME_DATAGRAM) {
		check_inside(data, size, f->datagram.bytes, f->datagram.size);
		CV_ASSERT(f->datagram.index < f->datagram.count);
	}
	if (f->type == FRAME_CLOSE)
		check_inside(data, size, f->close.text, f->close.text_size);
	if (f->type == FRAME_MESSAGE)
		check_inside(data, size, f->message.body, f->message.size);
	if (f->type == FRAME_CANDIDATES)
		CV_ASSERT(f->candidates.count <= FRAME_CANDIDATES_MAX);
}

/* Written, read and written again: the same bytes. */
static void check_frame_round_trip(const struct wire_frame *f)
{
	struct wr w = wr_init(first, sizeof(first));
	struct wr again = wr_init(second, sizeof(second));
	struct wire_frame back;
	struct rd r;

	wire_write_frame(&w, f);
	CV_ASSERT(!w.bad);
	r = rd_init(first, wr_size(&w));
	CV_ASSERT(wire_read_frame(&r, &back) == WIRE_FRAME);
	CV_ASSERT(rd_left(&r) == 0);
	CV_ASSERT(back.type == f->type);
	wire_write_frame(&again, &back);
	CV_ASSERT(wr_size(&again) == wr_size(&w));
	CV_ASSERT(memcmp(first, second, wr_size(&w)) == 0);
}

static void fuzz_frames(const uint8_t *data, size_t size)
{
	struct rd r = rd_init(data, size);
	enum wire_verdict verdict = WIRE_FRAME;
	struct wire_frame f;

	while (verdict == WIRE_FRAME) {
		const uint8_t *before = r.pos;

		verdict = wire_read_frame(&r, &f);
		CV_ASSERT(r.pos <= r.end);
		CV_ASSERT(verdict != WIRE_BAD || r.pos == before);
		CV_ASSERT(verdict != WIRE_END || r.pos == r.end);
		if (verdict == WIRE_FRAME) {
			CV_ASSERT(r.pos > before);
			check_frame(&f, data, size);
			check_frame_round_trip(&f);
		}
	}
}

static void fuzz_message(const uint8_t *data, size_t size)
{
	struct wire_message m, back;
	size_t written;

	if (size == 0 || !wire_read_message(data + 1, size - 1, data[0], &m))
		return;
	written = wire_write_message(first, FRAME_MESSAGE_MAX, &m);
	CV_ASSERT(written == size - 1);
	CV_ASSERT(wire_read_message(first, written, data[0], &back));
	CV_ASSERT(wire_write_message(second, FRAME_MESSAGE_MAX, &back) == written);
	CV_ASSERT(memcmp(first, second, written) == 0);
	/* Only the unused bits of REGISTER's flags may differ from what came. */
	CV_ASSERT(data[0] == MESSAGE_REGISTER || memcmp(first, data + 1, written) == 0);
}

static void fuzz_probe(const uint8_t *data, size_t size)
{
	struct wire_probe p, back;

	if (!wire_read_probe(data, size, &p))
		return;
	/* A time takes two bytes more; what carries one is padded to more than that. */
	wire_write_probe(first, WIRE_PROBE_PLAIN + 2, &p);
	CV_ASSERT(wire_read_probe(first, WIRE_PROBE_PLAIN + 2, &back));
	CV_ASSERT(back.type == p.type && back.flags == p.flags && back.token == p.token);
	CV_ASSERT(back.seconds == p.seconds);
	CV_ASSERT(addr_equal(&back.seen, &p.seen));
}

static void fuzz_headers(const uint8_t *data, size_t size)
{
	struct wire_handshake handshake;
	struct wire_data sealed;
	uint64_t channel;

	if (wire_read_data(data, size, &sealed)) {
		wire_write_data(first, WIRE_DATA, &sealed);
		CV_ASSERT(memcmp(first + 1, data + 1, WIRE_DATA_HEADER - 1) == 0);
		CV_ASSERT((first[0] ^ data[0]) <= 0xf0 && ((first[0] ^ data[0]) & 0x0f) == 0);
	}
	if (wire_read_relay(data, size, &channel)) {
		wire_write_relay(first, channel);
		CV_ASSERT(memcmp(first + 1, data + 1, WIRE_RELAY_HEADER - 1) == 0);
	}
	if (wire_read_handshake(data, size, &handshake)) {
		CV_ASSERT(size == WIRE_INIT_SIZE || size == WIRE_RESP_SIZE);
		wire_write_handshake(first, size == WIRE_INIT_SIZE ? WIRE_INIT : WIRE_RESP,
		                     &handshake);
		CV_ASSERT(memcmp(first + 4, data + 4, WIRE_HANDSHAKE_HEADER - 4) == 0);
	}
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* A frame is never larger than its packet. */
	if (size == 0 || size > WIRE_DATAGRAM_MAX)
		return 0;
	switch (data[0] & 3) {
	case 0:
		fuzz_frames(data + 1, size - 1);
		break;
	case 1:
		fuzz_message(data + 1, size - 1);
		break;
	case 2:
		fuzz_probe(data + 1, size - 1);
		break;
	default:
		fuzz_headers(data + 1, size - 1);
		break;
	}
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

/* SPDX-License-Identifier: MIT */

/*
 * Datagrams of one session to another, through packets that are lost, late, doubled and of any
 * size. The input is a budget of memory and a list of operations of four bytes: what, and three
 * numbers. A third session gets frames that nobody sent, with any part of any datagram. Oracles
 * besides the sanitizers: what arrives was sent, by that flow, so large and with these bytes;
 * datagrams_check(), which has the bounds of queues and reassemblies; all
 * memory comes back, and no more is ever used than the bounds together.
 */
#include <errno.h>
#include <string.h>

#include "tunnel/datagram.h"
#include "tunnel/fairq.h"

enum {
	FLOWS = 256,
	SENT_MAX = 1024,
	PACKETS = 32,
	PACKET_MAX = 9000,
	ROOM_MIN = 300,
	/* Out; in, with blocks half full; reassemblies. Of three. */
	MEMORY_MAX = 3 * (FAIRQ_BLOCKS * 65536 + 35 * 65536 + 128 * 1024),
};

static struct {
	uint16_t size;
	uint8_t flow;
} sent[SENT_MAX];
static unsigned sent_count;
static bool was_small[2][FLOWS]; /* of no byte, of one */

static struct packet {
	size_t size;
	uint8_t bytes[PACKET_MAX];
} packets[PACKETS];
static unsigned packet_count;

static uint8_t scratch[UINT16_MAX + 1];

/* The first two bytes are its number; the others follow from it. */
static void fill(uint8_t *out, unsigned number, size_t size)
{
	for (size_t i = 0; i < size; i++)
		out[i] = i == 0 ? (uint8_t)(number >> 8)
		                : (uint8_t)(number + (i - 1) * 7 + (i - 1) / 256);
}

static void send(struct datagrams *d, cv_time now, uint8_t flow, size_t size)
{
	int r;

	if (sent_count == SENT_MAX)
		return;
	fill(scratch, sent_count, size);
	r = datagrams_send(d, now, flow, scratch, size);
	CV_ASSERT(r == 0 || r == -ENOBUFS || (r == -EMSGSIZE && size > FAIRQ_DATAGRAM_MAX));
	if (r < 0)
		return;
	if (size < 2) {
		was_small[size][flow] = true;
		return;
	}
	sent[sent_count].size = (uint16_t)size;
	sent[sent_count++].flow = flow;
}

static void write_packet(struct datagrams *d, cv_time now, size_t most, size_t taken, bool may_cut)
{
	struct packet *p = &packets[packet_count++ % PACKETS];
	struct wr w = wr_init(p->bytes, taken < most ? most - taken : 0);

	p->size = datagrams_write(d, now, &w, most, may_cut);
	CV_ASSERT(!w.bad && p->size == wr_size(&w));
}

static void take_packet(struct datagrams *d, cv_time now, const struct packet *p)
{
	struct rd in = rd_init(p->bytes, p->size);
	enum wire_verdict v;
	struct wire_frame f;
	int r;

	while ((v = wire_read_frame(&in, &f)) == WIRE_FRAME) {
		r = datagrams_on_frame(d, now, &f);
		CV_ASSERT(r == 0); /* we breach nothing */
	}
	CV_ASSERT(rd_left(&in) == 0);
}

static void read_some(struct datagrams *d, unsigned count)
{
	const uint8_t *bytes;
	uint64_t flow;
	size_t size;

	while (count-- > 0 && datagrams_next(d, &flow, &bytes, &size)) {
		unsigned number;

		CV_ASSERT(flow < FLOWS);
		if (size < 2) {
			CV_ASSERT(was_small[size][flow]);
			continue;
		}
		number = (unsigned)bytes[0] << 8 | bytes[1];
		CV_ASSERT(number < sent_count);
		CV_ASSERT(sent[number].flow == flow && sent[number].size == size);
		fill(scratch, number, size);
		CV_ASSERT(memcmp(scratch, bytes, size) == 0);
	}
	datagrams_settle(d);
}

/* @what: which part of how many; few numbers, so that they meet. */
static void invent(struct datagrams *d, cv_time now, unsigned what, unsigned id, size_t size)
{
	struct wire_frame f = { .type = FRAME_DATAGRAM };
	const uint8_t *bytes;
	uint64_t flow;
	size_t got;
	int r;

	f.datagram.flow = id & 3;
	f.datagram.id = (uint16_t)(id >> 2 & 15);
	f.datagram.count = (uint8_t)(what & 15 ? what & 15 : 65);
	f.datagram.index = (uint8_t)(what >> 4);
	f.datagram.bytes = scratch;
	f.datagram.size = size;
	r = datagrams_on_frame(d, now, &f);
	CV_ASSERT(r == 0 || r == -EPROTO);
	if (id & 0x80) {
		while (datagrams_next(d, &flow, &bytes, &got))
			CV_ASSERT(flow < 4 && got <= FAIRQ_DATAGRAM_MAX);
	}
}

static void step(struct datagrams *d[3], cv_time *now, const uint8_t *op)
{
	size_t large = (size_t)op[2] << 8 | op[3];
	size_t most = ROOM_MIN + large % (PACKET_MAX - ROOM_MIN);

	switch (op[0] & 15) {
	case 0:
	case 1:
	case 2:
		send(d[0], *now, op[1], large % 1500);
		break;
	case 3:
		send(d[0], *now, op[1], large);
		break;
	case 4: /* a run of one flow */
		for (unsigned i = 0; i < op[2]; i++)
			send(d[0], *now, op[1], 4u * op[3]);
		break;
	case 5:
	case 6:
	case 7:
		write_packet(d[0], *now, most, 4u * op[1], (op[0] & 16) == 0);
		break;
	case 8:
		for (unsigned i = 0; i < op[1] && datagrams_has_data(d[0]); i++)
			write_packet(d[0], *now, most, 0, true);
		break;
	case 9:
	case 10:
		take_packet(d[1], *now, &packets[op[1] % PACKETS]);
		break;
	case 11: /* all that are left, from any of them on */
		for (unsigned i = 0; i < PACKETS; i++)
			take_packet(d[1], *now, &packets[(op[1] + i) % PACKETS]);
		break;
	case 12:
		read_some(d[1], op[1]);
		break;
	case 13:
	case 14:
		invent(d[2], *now, op[1], op[0] & 16 ? op[2] : op[2] & 0x83, large);
		break;
	default:
		*now += CV_MS(op[1]);
		for (unsigned i = 0; i < 3 && (op[2] & 1); i++)
			datagrams_on_deadline(d[i], *now);
		break;
	}
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct datagrams *d[3];
	cv_time now = CV_SEC(1);
	struct pool pool;

	if (size < 1 || size > 2048)
		return 0;
	/* Some runs are short of memory. */
	pool_init(&pool, data[0] < 128 ? UINT64_C(8192) * (1u + data[0]) : UINT64_C(64) << 20);
	sent_count = packet_count = 0;
	memset(was_small, 0, sizeof(was_small));
	for (unsigned i = 0; i < PACKETS; i++)
		packets[i].size = 0;
	for (unsigned i = 0; i < 3; i++) {
		if (datagrams_new(&d[i], &pool) < 0)
			return 0;
	}
	for (size_t i = 1; i + 4 <= size; i += 4) {
		step(d, &now, data + i);
		for (unsigned k = 0; k < 3; k++)
			CV_ASSERT(datagrams_check(d[k]));
		CV_ASSERT(pool.used <= MEMORY_MAX);
	}
	for (unsigned i = 0; i < 3; i++)
		datagrams_free(d[i]);
	CV_ASSERT(pool.used == 0);
	pool_deinit(&pool);
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

/* SPDX-License-Identifier: MIT */

/*
 * A peer that holds the right keys and sends anything at all: the input is a list of
 * packets, sealed with the keys of a live session, among steps of time and acts of the victim's
 * application. ACKs may be made relative to what the victim has sent, so that they name real
 * packets. Oracles besides the sanitizers: endpoint_check() after each turn; the session is open,
 * or it was closed with a code that the protocol knows; a broken rule closes it at once and it says
 * so; everything frees cleanly.
 */
#include "tests/unit/endpoint_pair.h"

enum { EVIL = 0, VICTIM = 1, PACKETS_MAX = 200, STEPS_MAX = 3000 };

static struct pair p;
static bool is_deaf; /* the evil side's own endpoint hears nothing: it never gives up by itself */
static uint32_t loss;
static unsigned steps_left;
static bool must_close; /* a rule was certainly broken: the victim has to say so */

static bool lose(struct pair *pair, struct pair_datagram *d)
{
	(void)pair;
	if (d->sender == EVIL)
		return false;
	loss = loss * 1103515245 + 12345;
	return is_deaf || (loss >> 16) % 16 == 0;
}

/* True when what the evil side seals now will be opened, from an address that is known. */
static bool is_heard(void)
{
	struct session *evil = pair_session(&p, EVIL), *victim = pair_session(&p, VICTIM);
	const struct epoch *e = assoc_send_epoch(&evil->assoc, p.now);
	const struct path *path = paths_active(&evil->paths);
	const struct epoch *theirs = e ? assoc_find(&victim->assoc, e->remote_index) : NULL;

	return path && theirs && epoch_can_open(theirs, p.now, &EPOCH_LIMITS_AGENT) &&
	       victim->close_code == CLOSE_NONE &&
	       pair_network(&p, VICTIM, &path->to.addr) < PAIR_NETWORKS;
}

/* Everything that a peer may learn of is what the victim has really sent. */
static void forge_ack(struct rd *in)
{
	uint64_t next = pair_session(&p, VICTIM)->sent.next;
	struct wire_frame f = { .type = FRAME_ACK };
	uint64_t at = next + 2;
	bool heard = is_heard();
	uint8_t what;

	f.ack.delay_ns = (uint64_t)rd_u8(in) * 100000;
	what = rd_u8(in);
	f.ack.count = 1u + what % 8u;
	/* Counts of marks, mostly near what can be. */
	if (what & 0x40)
		f.ack.ecn = (struct wire_ecn){ rd_u8(in), what & 0x20, rd_u8(in) };
	if ((what & 0xc0) == 0xc0)
		f.ack.ecn.ect0 += next;
	for (unsigned i = 0; i < f.ack.count; i++) {
		uint64_t gap = rd_u8(in) % 32u, size = 1u + rd_u8(in) % 32u;

		if (at < gap + size + 2)
			f.ack.count = i;
		else
			f.ack.ranges[i] = (struct wire_range){ at - gap - size, at - gap };
		at -= CV_MIN(at, gap + size + 1);
	}
	/* Some name what cannot have been sent when they arrive. */
	if (f.ack.count > 0 && f.ack.delay_ns == 255 * 100000)
		f.ack.ranges[0].end = next + 100000;
	if (f.ack.count > 0 && pair_forge_frame(&p, EVIL, &f))
		must_close |= heard && f.ack.ranges[0].end > next + 1000;
}

static void forge_probe(struct rd *in)
{
	struct session *s = pair_session(&p, EVIL);
	struct epoch *e = assoc_send_epoch(&s->assoc, p.now);
	const struct path *path = paths_active(&s->paths);
	uint8_t packet[PAIR_DATAGRAM_MAX];
	size_t size = 64 + 8 * (size_t)rd_u8(in) - WIRE_DATA_OVERHEAD;
	size_t part = rd_u8(in);

	size = CV_MIN(size, sizeof(packet) - WIRE_DATA_OVERHEAD);
	part = CV_MIN(part, CV_MIN(rd_left(in), size));
	if (!e || !path)
		return;
	memset(packet, 0, sizeof(packet));
	if (part > 0)
		memcpy(packet + WIRE_DATA_HEADER, rd_take(in, part), part);
	size = epoch_seal_probe(e, packet, size);
	pair_send(&p, EVIL, &path->to.addr, packet, size);
}

static void forge_bytes(struct rd *in, unsigned flags)
{
	size_t size = 4 * (size_t)rd_u8(in);

	bool heard = is_heard();
	const uint8_t *frames;

	size = CV_MIN(size, rd_left(in));
	if (size == 0)
		return;
	frames = rd_take(in, size);
	if (pair_forge(&p, EVIL, (uint8_t)flags, frames, size))
		must_close |= heard && frames[0] >= FRAME_MESSAGE;
}

static void use_victim(unsigned what)
{
	struct pair_side *s = &p.side[VICTIM];
	struct pair_flow *f = s->flow_count ? &s->flows[what % s->flow_count] : NULL;

	if (!f || !f->stream || what < 6) {
		(void)pair_open(&p, VICTIM, UINT64_C(1000) << what);
		return;
	}
	if (what & 1)
		stream_reset(f->streams, f->stream, 7);
	pair_close_flow(f);
	pair_poke(&p, VICTIM);
}

static void step(struct rd *in)
{
	uint8_t op = rd_u8(in);
	unsigned low = op & 15;

	switch (op >> 4) {
	case 0:
	case 1:
	case 2:
	case 3:
	case 4:
	case 5:
	case 6:
		forge_bytes(in, low);
		return;
	case 7:
	case 8:
	case 9:
		forge_ack(in);
		return;
	case 10:
	case 11:
		forge_probe(in);
		return;
	case 12:
	case 13:
		use_victim(low);
		return;
	default:
		for (unsigned i = 0; i < 400 && steps_left > 0; i++, steps_left--) {
			if (!pair_step(&p, p.now + (CV_MS(1) << low)))
				return;
		}
	}
}

static void check_codes(void)
{
	const struct pair_side *s = &p.side[VICTIM];

	if (must_close)
		CV_ASSERT(s->downs > 0);
	if (pair_session(&p, VICTIM)->close_code != CLOSE_NONE)
		CV_ASSERT(pair_session(&p, VICTIM)->close_code == CLOSE_PROTOCOL);
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rd in = rd_init(data, CV_MIN(size, 4096));
	uint64_t live = cv_alloc_live();
	unsigned steps = 0;

	pair_init(&p, 1);
	p.is_hostile = true;
	is_deaf = must_close = false;
	loss = 1;
	steps_left = STEPS_MAX;
	p.filter = NULL;
	p.side[VICTIM].announced = 7;
	pair_start(&p);
	CV_ASSERT(pair_until(&p, CV_SEC(5), pair_is_up));
	(void)pair_open(&p, VICTIM, 5000);
	(void)pair_open(&p, EVIL, 5000);
	pair_run(&p, CV_MS(300));
	p.filter = lose;
	is_deaf = (rd_u8(&in) & 1) != 0;
	while (rd_left(&in) > 0 && steps++ < PACKETS_MAX) {
		step(&in);
		/* What it sealed arrives now, and the answer has left. */
		if (must_close)
			pair_run(&p, p.delay);
		check_codes();
	}
	for (unsigned i = 0; i < 400; i++) {
		if (!pair_step(&p, p.now + CV_SEC(10)))
			break;
	}
	check_codes();
	pair_deinit(&p);
	CV_ASSERT(cv_alloc_live() == live);
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

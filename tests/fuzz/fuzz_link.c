/* SPDX-License-Identifier: MIT */

/*
 * Two ends of a link and the pipe between them. Input: the first byte says whether the pipe may
 * also carry frames of the input's own; then operations of one byte: queue, write, deliver, drop,
 * double, wait. Oracles besides the sanitizers: link_check() after each; in an honest pipe every
 * message arrives once and in order; and when it stops losing, all that was queued arrives.
 */
#include "base/alloc.h"
#include "tunnel/link.h"

enum { PIPE = 16, ROOM = 600 };

struct packet {
	uint8_t bytes[ROOM];
	size_t size;
	bool to_b;
};

struct target {
	struct link ends[2];
	uint64_t queued[2], taken[2]; /* by end; messages carry their number */
	struct packet pipe[PIPE];
	unsigned count;
	cv_time now;
	bool is_honest;
};

static void queue(struct target *t, unsigned end)
{
	struct wire_message m = { .type = MESSAGE_CHANNEL_GONE, .channel = t->queued[end] };

	if (link_send(&t->ends[end], &m) == 0)
		t->queued[end]++;
}

static void write_packet(struct target *t, unsigned end)
{
	struct packet *p = &t->pipe[t->count];
	struct wr w = wr_init(p->bytes, sizeof(p->bytes));

	if (t->count == PIPE || !link_has_output(&t->ends[end], t->now))
		return;
	(void)link_write(&t->ends[end], t->now, &w);
	CV_ASSERT(!w.bad);
	p->size = wr_size(&w);
	p->to_b = end == 0;
	t->count += p->size > 0;
}

static void take(struct target *t, unsigned end, struct rd *in)
{
	struct wire_message m;
	struct wire_frame f;

	while (wire_read_frame(in, &f) == WIRE_FRAME) {
		if (f.type != FRAME_MESSAGE && f.type != FRAME_MESSAGE_ACK)
			continue;
		if (!link_on_frame(&t->ends[end], t->now, &f, &m))
			continue;
		CV_ASSERT(!t->is_honest || m.channel == t->taken[end]);
		t->taken[end]++;
	}
}

static void deliver(struct target *t, unsigned i)
{
	struct rd in = rd_init(t->pipe[i].bytes, t->pipe[i].size);

	take(t, t->pipe[i].to_b, &in);
}

static void forget(struct target *t, unsigned i)
{
	t->pipe[i] = t->pipe[--t->count];
}

static void step(struct target *t, struct rd *in)
{
	uint8_t op = rd_u8(in);
	unsigned end = op >> 4 & 1;
	unsigned i = t->count ? (op >> 5) % t->count : 0;

	switch (op & 7) {
	case 0:
	case 1:
		queue(t, end);
		break;
	case 2:
		write_packet(t, end);
		break;
	case 3:
	case 4: /* 4: and once more, later */
		if (t->count > 0)
			deliver(t, i);
		if (t->count > 0 && (op & 7) == 3)
			forget(t, i);
		break;
	case 5:
		if (t->count > 0)
			forget(t, i);
		break;
	case 6:
		t->now += CV_MS(1) << (op >> 4);
		break;
	default:
		if (!t->is_honest)
			take(t, end, in);
		break;
	}
	CV_ASSERT(link_check(&t->ends[0]));
	CV_ASSERT(link_check(&t->ends[1]));
}

/* Calm: nothing is lost any more. */
static void settle(struct target *t)
{
	for (unsigned round = 0; round < 2 * LINK_QUEUE_MAX; round++) {
		t->now += CV_SEC(3);
		t->count = 0;
		write_packet(t, 0);
		write_packet(t, 1);
		for (unsigned i = 0; i < t->count; i++)
			deliver(t, i);
	}
	CV_ASSERT(t->taken[1] == t->queued[0]);
	CV_ASSERT(t->taken[0] == t->queued[1]);
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct target t;
	uint64_t live = cv_alloc_live();
	struct rd in;

	t = (struct target){ .now = CV_SEC(1) };
	link_init(&t.ends[0]);
	link_init(&t.ends[1]);
	in = rd_init(size > 0 ? data : (const uint8_t *)"", size);
	t.is_honest = rd_u8(&in) & 1;
	while (rd_left(&in) > 0 && !in.bad)
		step(&t, &in);
	if (t.is_honest)
		settle(&t);
	link_deinit(&t.ends[0]);
	link_deinit(&t.ends[1]);
	CV_ASSERT(cv_alloc_live() == live);
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

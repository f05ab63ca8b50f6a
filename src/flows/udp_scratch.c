/* SPDX-License-Identifier: MIT */
#include "flows/udp_scratch.h"

#include <stdalign.h>

#include "base/alloc.h"
#include "flows/bridge.h"

enum {
	RING_SIZE = 512 * 1024, /* more than a set gathers of datagrams of an Ethernet's size */
	ALIGN = alignof(max_align_t),
};

struct udp_scratch {
	uint64_t round;
	size_t used;
	uint8_t frame[UDP_SCRATCH_FRAME];
	alignas(max_align_t) uint8_t ring[RING_SIZE];
};

_Static_assert(UDP_SCRATCH_FRAME + ALIGN <= RING_SIZE, "a datagram fits");

bool udp_scratch_reserve(struct bridge *b)
{
	if (!b->udp_scratch)
		b->udp_scratch = cv_zalloc(sizeof(*b->udp_scratch));
	return b->udp_scratch != NULL;
}

uint8_t *udp_scratch_frame(struct bridge *b)
{
	return b->udp_scratch->frame;
}

uint8_t *udp_scratch_keep(struct bridge *b, size_t size)
{
	struct udp_scratch *s = b->udp_scratch;
	size_t aligned = (size + ALIGN - 1) / ALIGN * ALIGN;

	CV_ASSERT(aligned <= RING_SIZE);
	if (RING_SIZE - s->used < aligned) {
		if (b->udp.set)
			udp_set_flush(b->udp.set);
		s->used = 0;
		s->round++;
	}
	s->used += aligned;
	return s->ring + s->used - aligned;
}

uint64_t udp_scratch_round(const struct bridge *b)
{
	return b->udp_scratch->round;
}

void udp_scratch_free(struct bridge *b)
{
	cv_free(b->udp_scratch);
	b->udp_scratch = NULL;
}

/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

/*
 * Datagrams of flows: their numbers are known here, and what each has to bring, when it left and
 * whether it has come. Any may get lost; none comes twice, changed, or to somebody else.
 */

enum { GRAMS_MAX = 1 << 18, NUMBER = 4 /* bytes of it in front */, SIZE_MAX_GRAM = 65507 };

static struct gram {
	cv_time sent_at, arrived_at; /* 0: not yet */
	uint32_t size;
	uint16_t flow;
	uint8_t from, to;
} grams[GRAMS_MAX];
static uint32_t count;
static uint8_t block[SIZE_MAX_GRAM];

static void fill(const struct sim *sim, uint32_t number, size_t size)
{
	uint64_t w = sim->seed * UINT64_C(0x9e3779b97f4a7c15) + number;

	for (size_t i = 0; i < size; i++) {
		if (i % 8 == 0)
			w = (w ^ w >> 29) * UINT64_C(0xbf58476d1ce4e5b9) + 1;
		block[i] = i < NUMBER ? (uint8_t)(number >> (8 * i)) : (uint8_t)(w >> 8 * (i % 8));
	}
}

void simgram_begin(struct sim *sim)
{
	(void)sim;
	count = 0;
}

int simgram_send(struct sim *sim, unsigned from, unsigned to, uint16_t flow, size_t size)
{
	struct sim_host *h = &sim->hosts[from];
	int r;

	CV_ASSERT(count < GRAMS_MAX && size >= NUMBER && size <= SIZE_MAX_GRAM);
	fill(sim, count, size);
	endpoint_on_turn(h->endpoint, sim->now);
	r = endpoint_send_datagram(h->endpoint, sim->now, h->peers[to], flow, block, size);
	if (r < 0)
		return r;
	grams[count++] = (struct gram){
		.sent_at = sim->now,
		.size = (uint32_t)size,
		.flow = flow,
		.from = (uint8_t)from,
		.to = (uint8_t)to,
	};
	simhost_poke(sim, h);
	return 0;
}

static void on_datagram(struct sim *sim, struct sim_host *h, uint32_t peer, uint64_t flow,
                        const uint8_t *bytes, size_t size)
{
	uint32_t number = 0;
	struct gram *g;

	for (unsigned i = 0; i < NUMBER && i < size; i++)
		number |= (uint32_t)bytes[i] << (8 * i);
	if (size < NUMBER || number >= count) {
		sim_fail(sim, "%s: a datagram that nobody sent", h->name);
		return;
	}
	g = &grams[number];
	fill(sim, number, size);
	if (g->size != size || g->flow != flow || g->to != h->number || h->peers[g->from] != peer ||
	    memcmp(block, bytes, size) != 0)
		sim_fail(sim, "%s: datagram %u is another one", h->name, number);
	if (g->arrived_at)
		sim_fail(sim, "%s: datagram %u comes twice", h->name, number);
	g->arrived_at = sim->now;
	sim_tell(sim, "datagram", h->number, number, size);
}

void simgram_drain(struct sim *sim, struct sim_host *h)
{
	const uint8_t *bytes;
	uint32_t peer;
	uint64_t flow;
	size_t size;

	while (endpoint_next_datagram(h->endpoint, &peer, &flow, &bytes, &size))
		on_datagram(sim, h, peer, flow, bytes, size);
}

struct sim_grams simgram_seen(const struct sim *sim, uint16_t flow, cv_time since)
{
	struct sim_grams out = { .sent = 0 };

	for (uint32_t i = 0; i < count; i++) {
		const struct gram *g = &grams[i];

		if (g->flow != flow || g->sent_at < since || g->sent_at > sim->now)
			continue;
		out.sent++;
		if (!g->arrived_at)
			continue;
		out.arrived++;
		out.delay_max = CV_MAX(out.delay_max, g->arrived_at - g->sent_at);
	}
	return out;
}

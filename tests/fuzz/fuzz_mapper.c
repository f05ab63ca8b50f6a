/* SPDX-License-Identifier: MIT */

/*
 * The whole life of a mapping at a gateway that does what it likes. Each step is a byte that says
 * what happens, and what that needs: time goes by, the network changes, an answer comes (some of
 * its fields made right, or nobody would ever be believed), an announcement, the end.
 *
 * Oracles: mapper_check() after each step; it never spins; a mapping only
 * after an answer with our nonce (PCP) or port (NAT-PMP); when stopped it is off within a second.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tunnel/mapper.h"

enum { PORT = 4660, STEPS_MAX = 512 };

struct life {
	struct mapper m;
	struct rng_seeded seeded;
	struct rng rng;
	struct mapper_target target;
	cv_time now;
	uint8_t nonce[PCP_NONCE_SIZE]; /* of the newest request */
	bool was_told;                 /* something that could be a mapping */
};

static void pump(struct life *l)
{
	uint8_t bytes[PCP_REQUEST_MAX];

	mapper_on_deadline(&l->m, l->now);
	CV_ASSERT(mapper_check(&l->m));
	for (unsigned i = 0;; i++) {
		struct wr w = wr_init(bytes, sizeof(bytes));

		CV_ASSERT(i <= 2);
		if (!mapper_write(&l->m, l->now, &w))
			break;
		if (bytes[0] == 2)
			memcpy(l->nonce, bytes + 24, sizeof(l->nonce));
	}
	CV_ASSERT(mapper_deadline(&l->m) > l->now);
}

static void pass(struct life *l, cv_duration d)
{
	const cv_time until = l->now + d;
	unsigned turns = 0;

	while (mapper_deadline(&l->m) <= until) {
		l->now = CV_MAX(l->now, mapper_deadline(&l->m));
		pump(l);
		/* No state in which it spins. */
		CV_ASSERT(++turns <= 64 + d / CV_SEC(1));
	}
	l->now = until;
	pump(l);
}

static void answer(struct life *l, struct rd *r, bool is_announcement)
{
	struct addr from = l->target.gateway;
	uint8_t bytes[128] = { 0 };
	uint8_t how = rd_u8(r);
	size_t size = CV_MIN((size_t)rd_u8(r) % sizeof(bytes), rd_left(r));

	from.port = how & 1 ? PCP_PORT : 1;
	if (how & 2)
		from.ip[3] ^= 1;
	rd_copy(r, bytes, size);
	if (how & 4 && size >= 60 && bytes[0] == 2) {
		memcpy(bytes + 24, l->nonce, sizeof(l->nonce));
		bytes[36] = 17;
		cv_store16(bytes + 40, PORT);
	}
	if (how & 4 && size >= 16 && bytes[0] == 0)
		cv_store16(bytes + 8, PORT);
	l->was_told |= how & 4 || bytes[0] == 0;
	if (is_announcement)
		mapper_on_announcement(&l->m, l->now, &from, bytes, size);
	else
		mapper_on_datagram(&l->m, l->now, &from, bytes, size);
	CV_ASSERT(mapper_check(&l->m));
	CV_ASSERT(l->was_told || l->m.external.family == ADDR_NONE);
}

static void step(struct life *l, struct rd *r)
{
	const uint8_t what = rd_u8(r);

	switch (what & 7) {
	case 0:
		pass(l, CV_MS(rd_u8(r)) * 8);
		return;
	case 1:
		pass(l, CV_SEC(rd_u8(r)) * 64);
		return;
	case 2:
		l->target.client.ip[3] ^= rd_u8(r) & 1;
		mapper_start(&l->m, l->now, &l->target);
		break;
	case 3:
		mapper_renew(&l->m, l->now);
		break;
	case 4:
		answer(l, r, true);
		break;
	case 5:
		mapper_drop(&l->m, l->now);
		break;
	default:
		answer(l, r, false);
		break;
	}
	pump(l);
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct life l = { .now = CV_SEC(1000) };
	struct rd r;

	if (size == 0)
		return 0;
	r = rd_init(data, size);
	rng_seeded_init(&l.seeded, 1);
	l.rng = rng_from_seeded(&l.seeded);
	l.target.gateway = addr_v4(192, 168, 1, 1, 0);
	l.target.client = addr_v4(192, 168, 1, 5, PORT);
	mapper_init(&l.m, &l.rng, NULL);
	mapper_start(&l.m, l.now, &l.target);
	pump(&l);
	for (unsigned i = 0; i < STEPS_MAX && rd_left(&r) > 0; i++)
		step(&l, &r);
	mapper_stop(&l.m, l.now);
	pass(&l, CV_SEC(1));
	CV_ASSERT(l.m.state == MAPPER_OFF);
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

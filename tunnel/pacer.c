/* SPDX-License-Identifier: MIT */
#include "tunnel/pacer.h"

#include "base/compiler.h"
#include "tunnel/wire.h"

enum {
	QUANTUM_PACKETS = 2,
};

/* Bytes that @rate brings in @d, saturated; far above every depth when it does not fit. */
static uint64_t bytes_in(uint64_t rate, cv_duration d)
{
	uint64_t product;

	if (__builtin_mul_overflow(rate, d, &product))
		return INT64_MAX;
	return product / CV_SEC(1);
}

/* The bucket follows from the rate; the level stays what it is, within the new depth. */
static void shape(struct pacer *p)
{
	uint64_t rate = p->asked;
	uint64_t least;

	if (p->cap != 0)
		rate = rate == 0 ? p->cap : CV_MIN(rate, p->cap);
	rate = CV_MIN(rate, PACER_RATE_MAX);

	least = (uint64_t)p->mss * QUANTUM_PACKETS;
	p->quantum = CV_MIN(CV_MAX(rate / 1000, least), (uint64_t)PACER_QUANTUM_MAX);
	p->depth = p->quantum + rate / 1000;
	/* Nobody counted while it was unpaced: begin with one whole bucket. */
	if (p->rate == 0)
		p->level = (int64_t)p->depth;
	p->level = CV_MIN(p->level, (int64_t)p->depth);
	p->rate = rate;
}

void pacer_init(struct pacer *p, cv_time now)
{
	*p = (struct pacer){ .mss = WIRE_DATAGRAM_BASE, .filled_at = now };
	shape(p);
}

/*
 * Only the time that made whole bytes is used up. A slow rate that is asked often would
 * otherwise lose every fraction and never get anywhere.
 */
static void fill(struct pacer *p, cv_time now)
{
	uint64_t bytes, room;

	if (p->rate == 0 || now <= p->filled_at) {
		p->filled_at = CV_MAX(p->filled_at, now);
		return;
	}
	CV_ASSERT(p->level <= (int64_t)p->depth);
	bytes = bytes_in(p->rate, now - p->filled_at);
	room = (uint64_t)((int64_t)p->depth - p->level);
	if (bytes >= room) {
		p->level = (int64_t)p->depth;
		p->filled_at = now;
		return;
	}
	p->level += (int64_t)bytes;
	/* Rounded up, so that no byte is counted twice. */
	p->filled_at += (bytes * CV_SEC(1) + p->rate - 1) / p->rate;
}

void pacer_set_cap(struct pacer *p, uint64_t bytes_per_second)
{
	p->cap = bytes_per_second;
	shape(p);
}

void pacer_set_rate(struct pacer *p, cv_time now, uint64_t bytes_per_second, uint32_t mss)
{
	CV_ASSERT(mss > 0 && mss <= WIRE_DATAGRAM_MAX);
	if (p->asked == bytes_per_second && p->mss == mss)
		return;
	fill(p, now);
	p->asked = bytes_per_second;
	p->mss = mss;
	shape(p);
}

uint64_t pacer_budget(struct pacer *p, cv_time now, uint64_t want)
{
	if (p->rate == 0)
		return UINT64_MAX;
	fill(p, now);
	if (p->level <= 0 || (uint64_t)p->level < CV_MIN(want, p->quantum))
		return 0;
	return (uint64_t)p->level;
}

void pacer_on_sent(struct pacer *p, cv_time now, uint64_t bytes)
{
	if (p->rate == 0)
		return;
	fill(p, now);
	p->level -= (int64_t)CV_MIN(bytes, p->depth + PACER_DEBT_MAX);
	p->level = CV_MAX(p->level, -(int64_t)PACER_DEBT_MAX);
}

cv_time pacer_ready_at(const struct pacer *p, cv_time now, uint64_t want)
{
	int64_t need = (int64_t)CV_MAX(CV_MIN(want, p->quantum), 1);
	uint64_t missing;

	if (p->rate == 0 || p->level >= need)
		return now;
	missing = (uint64_t)(need - p->level);
	/* At most two quanta are missing: far from 2^64 ns-bytes. */
	return CV_MAX(now,
	              cv_time_after(p->filled_at, (missing * CV_SEC(1) + p->rate - 1) / p->rate));
}

bool pacer_check(const struct pacer *p)
{
	return p->quantum >= p->mss && p->quantum <= PACER_QUANTUM_MAX && p->depth >= p->quantum &&
	       p->level <= (int64_t)p->depth && p->level >= -(int64_t)PACER_DEBT_MAX &&
	       p->rate <= PACER_RATE_MAX;
}

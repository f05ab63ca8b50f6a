/* SPDX-License-Identifier: MIT */
#include "tunnel/punch_budget.h"

#include "base/compiler.h"

/*
 * Tokens of a bucket are what accrues in a second for each packet or socket of its limit: a packet
 * then costs as many tokens as there are seconds until it has accrued, and nothing is rounded.
 */
enum {
	RATE_BURST = 25,
	HOUR = 3600,
	HOURLY_COST =
		2 * HOUR, /* a full bucket, and what accrues in an hour: half the share each */
	/* One peer's part of it is a quarter: in any hour half of it. */
	SHARE_COST = 4 * HOUR,
	ASKED_COST = 75, /* what nobody answered is forgotten by then, by most routers */
	SOCKET_COST = 120,
	SOCKETS_MIN = 16,    /* predictions need a few even where the limit is low */
	LIMIT_MAX = 1 << 21, /* times HOUR it is a bucket's depth */
};

static void limit(uint32_t *value, uint32_t fallback)
{
	*value = CV_MIN(*value ? *value : fallback, (uint32_t)LIMIT_MAX);
}

void punch_budget_init(struct punch_budget *b, const struct punch_limits *limits)
{
	*b = (struct punch_budget){ .limits = *limits };
	limit(&b->limits.sockets_max, PUNCH_SOCKETS_DEFAULT);
	limit(&b->limits.packets_max, PUNCH_PACKETS_DEFAULT);
	limit(&b->limits.rate, PUNCH_RATE_DEFAULT);
	limit(&b->limits.hourly, PUNCH_HOURLY_DEFAULT);
}

/* ---- depths of the buckets ---- */

static uint64_t rate_burst(const struct punch_budget *b)
{
	return CV_MIN(b->limits.rate, (uint32_t)RATE_BURST);
}

static uint64_t hourly_burst(const struct punch_budget *b)
{
	return CV_MAX((uint64_t)b->limits.hourly * HOURLY_COST / 2, (uint64_t)HOURLY_COST);
}

static uint64_t asked_burst(const struct punch_budget *b)
{
	return (uint64_t)b->limits.packets_max * ASKED_COST;
}

/* A packet at the least, as of the hour itself. */
static uint64_t share_burst(const struct punch_budget *b)
{
	return CV_MAX((uint64_t)b->limits.hourly * HOUR, (uint64_t)SHARE_COST);
}

/* An attempt of our own; where the hour's share is small, half of what there can be. */
static uint64_t hourly_reserve(const struct punch_budget *b)
{
	return CV_MIN((uint64_t)b->limits.packets_max * HOURLY_COST, hourly_burst(b) / 2);
}

static uint64_t sockets_rate(const struct punch_budget *b)
{
	return CV_MAX(b->limits.sockets_max, (uint32_t)SOCKETS_MIN);
}

static uint64_t sockets_burst(const struct punch_budget *b)
{
	return 2 * sockets_rate(b) * SOCKET_COST;
}

/* ---- what is left ---- */

cv_time punch_budget_ready_at(const struct punch_budget *b, cv_time now,
                              const struct punch_share *share, bool is_asked)
{
	const struct punch_limits *l = &b->limits;
	cv_time at = bucket_ready_at(&b->rate, now, l->rate, rate_burst(b), 1);
	uint64_t cost = HOURLY_COST + (is_asked ? hourly_reserve(b) : 0);

	if (bucket_ready_at(&b->hourly, now, l->hourly, hourly_burst(b), cost) > now ||
	    bucket_ready_at(&share->hourly, now, l->hourly, share_burst(b), SHARE_COST) > now)
		return CV_TIME_NEVER;
	if (!is_asked)
		return at;
	return CV_MAX(at, bucket_ready_at(&share->asked, now, l->packets_max, asked_burst(b),
	                                  ASKED_COST));
}

void punch_budget_take_packet(struct punch_budget *b, cv_time now, struct punch_share *share,
                              bool is_asked)
{
	const struct punch_limits *l = &b->limits;

	(void)bucket_take(&b->rate, now, l->rate, rate_burst(b), 1);
	(void)bucket_take(&b->hourly, now, l->hourly, hourly_burst(b), HOURLY_COST);
	(void)bucket_take(&share->hourly, now, l->hourly, share_burst(b), SHARE_COST);
	if (is_asked)
		(void)bucket_take(&share->asked, now, l->packets_max, asked_burst(b), ASKED_COST);
}

static bool has_sockets(const struct punch_budget *b, cv_time now, unsigned count, bool is_asked)
{
	uint64_t cost = (uint64_t)count * SOCKET_COST;

	/* Of the two attempts' worth that there may be, one is our own. */
	if (is_asked)
		cost += sockets_rate(b) * SOCKET_COST;
	return count <= b->limits.sockets_max &&
	       bucket_ready_at(&b->sockets, now, sockets_rate(b), sockets_burst(b), cost) <= now;
}

bool punch_budget_take_sockets(struct punch_budget *b, cv_time now, unsigned count, bool is_asked)
{
	return has_sockets(b, now, count, is_asked) &&
	       bucket_take(&b->sockets, now, sockets_rate(b), sockets_burst(b),
	                   (uint64_t)count * SOCKET_COST);
}

void punch_budget_left(const struct punch_budget *b, cv_time now, struct punch_left *out)
{
	uint64_t packets = bucket_level(&b->hourly, now, b->limits.hourly, hourly_burst(b));
	uint64_t sockets = bucket_level(&b->sockets, now, sockets_rate(b), sockets_burst(b));

	out->packets = (uint32_t)(packets / HOURLY_COST); /* of LIMIT_MAX at most */
	out->sockets = (uint32_t)(sockets / SOCKET_COST);
}

bool punch_budget_has_attempt(const struct punch_budget *b, cv_time now,
                              const struct punch_share *share, unsigned sockets, uint64_t packets)
{
	uint64_t hourly = b->limits.hourly;
	uint64_t burst = hourly_burst(b), of_peer = share_burst(b);

	return has_sockets(b, now, sockets, false) &&
	       bucket_ready_at(&b->hourly, now, hourly, burst,
	                       CV_MIN(packets * HOURLY_COST, burst)) <= now &&
	       bucket_ready_at(&share->hourly, now, hourly, of_peer,
	                       CV_MIN(packets * SHARE_COST, of_peer)) <= now;
}

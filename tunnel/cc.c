/* SPDX-License-Identifier: MIT */
#include "tunnel/cc.h"

/* Four packets of 64 KiB are more than the receive buffer that Debian gives to a user. */
enum { LEAST_BYTES = 16384 };

uint64_t cc_least(const struct cc *cc)
{
	uint64_t few = (uint64_t)CC_MIN_PACKETS * cc->mss;

	return CV_MAX(CV_MIN(few, (uint64_t)LEAST_BYTES), UINT64_C(2) * cc->mss);
}

uint64_t cc_clamp(const struct cc *cc, uint64_t cwnd, uint32_t floor_packets)
{
	uint64_t min = cc_least(cc);
	uint64_t max = CV_MAX(CV_MIN(cc->cwnd_max, CC_CWND_MAX), min);
	uint64_t floor = CV_MIN(CV_MAX((uint64_t)floor_packets * cc->mss, min), max);

	return CV_MIN(CV_MAX(cwnd, floor), max);
}

void cc_init(struct cc *cc, enum cc_kind kind, uint32_t mss, uint64_t cwnd_max, cv_time now,
             uint64_t seed)
{
	CV_ASSERT(mss > 0 && mss <= CC_MSS_MAX);
	*cc = (struct cc){ .mss = mss, .cwnd_max = cwnd_max };
	switch (kind) {
	case CC_BBR:
		cc->ops = &bbr_ops;
		break;
	case CC_CUBIC:
		cc->ops = &cubic_ops;
		break;
	}
	CV_ASSERT(cc->ops);
	cc->cwnd = cc_clamp(cc, (uint64_t)CC_INITIAL_PACKETS * mss, 0);
	cc->ops->init(cc, now, seed);
	CV_ASSERT(cc_check(cc));
}

void cc_set_mss(struct cc *cc, uint32_t mss)
{
	CV_ASSERT(mss > 0 && mss <= CC_MSS_MAX);
	cc->mss = mss;
	cc->cwnd = cc_clamp(cc, cc->cwnd, 0);
}

void cc_set_cwnd_max(struct cc *cc, uint64_t cwnd_max)
{
	cc->cwnd_max = cwnd_max;
	cc->cwnd = cc_clamp(cc, cc->cwnd, 0);
}

bool cc_check(const struct cc *cc)
{
	return cc->ops && cc->mss > 0 && cc->mss <= CC_MSS_MAX &&
	       cc->cwnd == cc_clamp(cc, cc->cwnd, 0);
}

/* SPDX-License-Identifier: MIT */
#include "tunnel/rtt.h"

#include "base/compiler.h"

/* No answer that takes longer says anything about the path; it also keeps the sums far from 2^64.
 */
#define SAMPLE_MAX CV_SEC(600)

void rtt_init(struct rtt *r)
{
	*r = (struct rtt){
		.latest = RTT_INITIAL,
		.smoothed = RTT_INITIAL,
		.var = RTT_INITIAL / 2,
		.min = CV_TIME_NEVER,
	};
}

/* RFC 9002, 5.3. */
void rtt_on_sample(struct rtt *r, cv_duration sample, cv_duration ack_delay)
{
	cv_duration adjusted, deviation;

	/* Two reads of a coarse clock may be the same instant; 0 would mean "no path". */
	sample = CV_MIN(CV_MAX(sample, 1), SAMPLE_MAX);
	r->latest = sample;

	if (!r->has_sample) {
		r->has_sample = true;
		r->min = sample;
		r->smoothed = sample;
		r->var = sample / 2;
		return;
	}

	/* The minimum ignores the delay: a peer that lies about it cannot shrink it. */
	r->min = CV_MIN(r->min, sample);
	adjusted = sample;
	if (ack_delay <= sample - r->min)
		adjusted -= ack_delay;

	deviation = adjusted > r->smoothed ? adjusted - r->smoothed : r->smoothed - adjusted;
	r->var = (3 * r->var + deviation) / 4;
	r->smoothed = (7 * r->smoothed + adjusted) / 8;
	CV_ASSERT(r->smoothed <= SAMPLE_MAX);
}

cv_duration rtt_pto(const struct rtt *r)
{
	return r->smoothed + CV_MAX(4 * r->var, RTT_GRANULARITY);
}

/* SPDX-License-Identifier: MIT */
#pragma once

/* rtt - round-trip estimation of one path. RFC 9002, 5. */

#include <stdbool.h>
#include <stdint.h>

#include "base/time.h"

#define RTT_INITIAL CV_MS(100)
#define RTT_GRANULARITY CV_MS(1)

struct rtt {
	cv_duration latest;
	cv_duration smoothed; /* RTT_INITIAL before the first sample */
	cv_duration var;
	cv_duration min; /* CV_TIME_NEVER before the first sample */
	bool has_sample;
};

void rtt_init(struct rtt *r);
/* @ack_delay: as the peer reported it; ignored where it would take the sample below the minimum. */
void rtt_on_sample(struct rtt *r, cv_duration sample, cv_duration ack_delay);
/* smoothed + max(4 * var, granularity), without the peer's ACK delay. RFC 9002, 6.2.1. */
cv_duration rtt_pto(const struct rtt *r);

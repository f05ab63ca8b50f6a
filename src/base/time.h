/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * time - the only clock type in the tree. Nothing here reads a clock: `now` is
 * always a parameter, so a test decides what time it is. The shell takes it from
 * CLOCK_BOOTTIME, which counts sleep.
 */

#include <stdint.h>

typedef uint64_t cv_time;     /* instant, ns from an arbitrary origin, never decreasing */
typedef uint64_t cv_duration; /* length of time, ns */

#define CV_TIME_NEVER UINT64_MAX
#define CV_US(n) (UINT64_C(1000) * (uint64_t)(n))
#define CV_MS(n) (UINT64_C(1000000) * (uint64_t)(n))
#define CV_SEC(n) (UINT64_C(1000000000) * (uint64_t)(n))

/* Saturates: adding to CV_TIME_NEVER, or past it, is CV_TIME_NEVER. */
static inline cv_time cv_time_after(cv_time at, cv_duration d)
{
	return d < CV_TIME_NEVER - at ? at + d : CV_TIME_NEVER;
}

static inline cv_time cv_time_min(cv_time a, cv_time b)
{
	return a < b ? a : b;
}

/* Time from @past to @now; 0 when @past lies in the future. */
static inline cv_duration cv_time_since(cv_time now, cv_time past)
{
	return now > past ? now - past : 0;
}

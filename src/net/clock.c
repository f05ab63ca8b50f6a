/* SPDX-License-Identifier: MIT */
#include "net/clock.h"

#include <time.h>

#include "base/compiler.h"

/* OpenBSD has CLOCK_BOOTTIME too, FreeBSD counts sleep in CLOCK_MONOTONIC or does not sleep. */
#ifdef CLOCK_BOOTTIME
static const clockid_t source = CLOCK_BOOTTIME;
#else
static const clockid_t source = CLOCK_MONOTONIC;
#endif

cv_time clock_now(void)
{
	struct timespec ts;
	int r = clock_gettime(source, &ts);

	/* The clock exists since before we could be started; there is no other to ask. */
	CV_ASSERT(r == 0);
	return CV_SEC(ts.tv_sec) + (cv_time)ts.tv_nsec;
}

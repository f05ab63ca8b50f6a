/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * clock - the one place where the process asks what time it is.
 *
 * The clock counts sleep (CLOCK_BOOTTIME on Linux, CLOCK_MONOTONIC on macOS, where that one
 * does): a session must notice that the host slept. Taken once per entry from libuv and
 * passed down.
 */

#include "base/time.h"

/* Nanoseconds from an arbitrary origin; never decreases. */
cv_time clock_now(void);

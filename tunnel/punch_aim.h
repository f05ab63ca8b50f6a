/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * punch_aim - where the next probe of an attempt goes, and from which socket. Knows no budget, no
 * keys and no session.
 */

#include <stdbool.h>

#include "tunnel/path.h"
#include "tunnel/punch.h"

#define PUNCH_SWEEP_PAUSE CV_MS(300) /* between two probes by the same way */
#define PUNCH_SPRAY_TAIL CV_MS(1500) /* after the last probe: its answer may be under way */

/* The next one; false: none is due now, and .due_at or .until say when that is looked at again. */
bool punch_aim(struct punch_attempt *a, cv_time now, const struct extras *extras,
               struct origin *to);

/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

const struct sim_case CASES_STREAMS[] = {
	{ NULL, NULL, NULL, 0 },
};

/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"
const struct sim_case CASES_ATTACKS[] = { { NULL, NULL, NULL, 0 } };

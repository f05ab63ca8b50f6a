/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

static const struct sim_link FIFTY = { .delay = CV_MS(12), .jitter = CV_MS(1) };

/* Two agents meet without a server, one knows the other's address; both directions carry data. */
static void static_address(struct sim *sim)
{
	struct sim_host *a = simhost_add_agent(sim, "a", SIM_ROOT, &FIFTY);
	struct sim_host *b = simhost_add_agent(sim, "b", SIM_ROOT, &FIFTY);

	simhost_know(a, b, true);
	simhost_start_all(sim);
	simapp_begin(sim, simapp_open(sim, a, b, 300000, 200000));
	if (!sim_until(sim, CV_SEC(10), simapp_are_done, "a transfer both ways"))
		return;
	sim_expect(sim, simapp_is_whole(&sim->flows[0]));
	simapp_begin(sim, simapp_open(sim, b, a, 10, 0));
	sim_until(sim, CV_SEC(2), simapp_are_done, "a stream the other way");
	sim_run(sim, CV_SEC(400));
	simapp_begin(sim, simapp_open(sim, b, a, 1000, 1000));
	sim_until(sim, CV_SEC(2), simapp_are_done, "a stream after 400 s of idling");
}

const struct sim_case CASES_START[] = {
	{ "static-address", static_address, "two public agents, one address" },
	{ NULL, NULL, NULL },
};

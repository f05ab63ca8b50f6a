/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

/* The world of most stories: agents 0 and 1, and server 2. */

void simworld_add(struct sim *sim, int zone_a, int zone_b, const struct sim_link *agents,
                  const struct sim_link *server)
{
	struct sim_host *a = simhost_add_agent(sim, "a", zone_a, agents);
	struct sim_host *b = simhost_add_agent(sim, "b", zone_b, agents);
	struct sim_host *s = simhost_add_hub(sim, "s", server);

	simhost_know(a, b, false);
	simhost_use_hub(a, s);
	simhost_use_hub(b, s);
}

struct sim_flow *simworld_transfer(struct sim *sim, int from, int to, uint64_t size, uint64_t back)
{
	struct sim_flow *f = simapp_open(sim, &sim->hosts[from], &sim->hosts[to], size, back);

	simapp_begin(sim, f);
	return f;
}

bool simworld_is_path(struct sim *sim, const char *kind)
{
	return strcmp(simhost_path(sim, &sim->hosts[0], &sim->hosts[1]), kind) == 0 &&
	       strcmp(simhost_path(sim, &sim->hosts[1], &sim->hosts[0]), kind) == 0;
}

bool simworld_is_direct(struct sim *sim)
{
	return simworld_is_path(sim, "direct");
}

bool simworld_is_relayed(struct sim *sim)
{
	return simworld_is_path(sim, "relay");
}

bool simworld_is_connected(struct sim *sim)
{
	return simhost_is_up(&sim->hosts[0], &sim->hosts[1]) &&
	       simhost_is_up(&sim->hosts[1], &sim->hosts[0]);
}

void simworld_check_whole(struct sim *sim)
{
	for (unsigned i = 0; i < sim->flow_count; i++)
		sim_expect(sim, simapp_is_whole(&sim->flows[i]));
	sim_expect(sim, sim->hosts[0].downs[1] == 0 && sim->hosts[1].downs[0] == 0);
}

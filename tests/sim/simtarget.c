/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <string.h>

/*
 * T40: what agents send to addresses that nobody has, address by address. Somebody pointed them
 * there: a peer, a server, a router between.
 */

enum { TARGETS_MAX = 65536, BUCKETS = 16384, FIRST_FREE = 5 };

struct target {
	struct addr addr;
	int from;
	uint32_t next;
	unsigned packets;
	uint64_t bytes;
	cv_time last_at;
};

static struct target targets[TARGETS_MAX]; /* number 0 is nobody's */
static uint32_t heads[BUCKETS], count;
static struct sim_targets seen[SIM_HOSTS_MAX];
static unsigned watched;
static bool may_punch;

static struct target *find(int from, const struct addr *a)
{
	uint32_t *head = &heads[addr_hash(a, (uint64_t)from) % BUCKETS], i = *head;

	while (i != 0 && !(targets[i].from == from && addr_equal(&targets[i].addr, a)))
		i = targets[i].next;
	if (i != 0)
		return &targets[i];
	i = ++count;
	CV_ASSERT(i < TARGETS_MAX);
	targets[i] = (struct target){ .addr = *a, .from = from, .next = *head };
	*head = i;
	seen[from].addresses++;
	return &targets[i];
}

static bool is_somebodys(const struct sim *sim, const struct addr *a)
{
	for (int i = 0; i < sim->host_count; i++) {
		if (addr_equal_ip(&sim->hosts[i].address, a))
			return true;
	}
	for (int i = 0; i < sim->nat_count; i++) {
		if (simnat_has_address(&sim->nats[i], a))
			return true;
	}
	return false;
}

bool simtarget_tap(struct sim *sim, const struct sim_datagram *d)
{
	cv_duration spacing;
	struct target *t;

	if (d->from < 0 || !(watched >> d->from & 1) || is_somebodys(sim, &d->dst))
		return false;
	t = find(d->from, &d->dst);
	spacing = cv_time_since(sim->now, t->last_at);
	if (!may_punch && t->packets >= FIRST_FREE && spacing < CV_SEC(1) - CV_MS(1))
		sim_fail(sim,
		         "T40: %u packets to one address that never answered, two within %llu ms",
		         t->packets + 1, (unsigned long long)(spacing / CV_MS(1)));
	t->packets++;
	t->bytes += d->size;
	t->last_at = sim->now;
	seen[d->from].packets++;
	seen[d->from].bytes += d->size;
	return false;
}

void simtarget_begin(struct sim *sim, unsigned hosts, bool they_may_punch)
{
	memset(heads, 0, sizeof(heads));
	memset(seen, 0, sizeof(seen));
	count = 0;
	watched = hosts;
	may_punch = they_may_punch;
	sim->tap = simtarget_tap;
}

void simtarget_seen(int from, struct sim_targets *out)
{
	*out = seen[from];
}

uint64_t simtarget_bytes(const struct addr *a)
{
	uint64_t bytes = 0;

	for (uint32_t i = 1; i <= count; i++) {
		if (addr_equal(&targets[i].addr, a))
			bytes += targets[i].bytes;
	}
	return bytes;
}

struct addr simtarget_draw(struct sim *sim)
{
	return addr_v4((uint8_t)(20 + sim_below(sim, 80)), (uint8_t)sim_below(sim, 256),
	               (uint8_t)sim_below(sim, 256), (uint8_t)(1 + sim_below(sim, 250)),
	               (uint16_t)(20000 + sim_below(sim, 40000)));
}

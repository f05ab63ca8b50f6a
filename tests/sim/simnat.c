/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <string.h>

/* RFC 4787: which part of a remote address a rule looks at. */
static struct addr part(enum sim_rule rule, const struct addr *remote)
{
	struct addr a = *remote;

	switch (rule) {
	case SIM_EI:
		return (struct addr){ 0 };
	case SIM_AD:
		a.port = 0;
		return a;
	case SIM_APD:
		return a;
	}
	CV_UNREACHABLE();
}

int simnat_add(struct sim *sim, enum sim_rule mapping, enum sim_rule filtering, int zone)
{
	int i = sim->nat_count++;

	CV_ASSERT(i < SIM_NATS_MAX);
	sim->nats[i] = (struct sim_nat){
		.mapping = mapping,
		.filtering = filtering,
		.timeout = CV_SEC(30),
		.zone = zone,
		.port_next = (uint16_t)(20000 + sim_below(sim, 20000)),
	};
	if (zone == SIM_ROOT)
		sim->nats[i].address = addr_v4(12, 0, (uint8_t)i, 1, 0);
	else
		sim->nats[i].address = addr_v4(10, (uint8_t)(zone + 1), (uint8_t)i, 2, 0);
	return i;
}

static bool is_alive(const struct sim *sim, const struct sim_nat *n, const struct sim_mapping *m)
{
	return m->is_used && cv_time_since(sim->now, m->used_at) < n->timeout;
}

static bool is_port_taken(const struct sim *sim, const struct sim_nat *n, uint16_t port)
{
	for (unsigned i = 0; i < SIM_MAPPINGS_MAX; i++) {
		if (is_alive(sim, n, &n->list[i]) && n->list[i].outside.port == port)
			return true;
	}
	return false;
}

static uint16_t take_port(struct sim *sim, struct sim_nat *n, uint16_t wanted)
{
	uint16_t port = wanted;

	if (n->allocation == SIM_PRESERVE && !is_port_taken(sim, n, port))
		return port;
	do {
		if (n->allocation == SIM_RANDOM)
			port = (uint16_t)(1024 + sim_below(sim, 60000));
		else
			port = n->port_next++;
		if (n->port_next < 1024)
			n->port_next = 1024;
	} while (is_port_taken(sim, n, port));
	return port;
}

static struct sim_mapping *find_out(struct sim *sim, struct sim_nat *n,
                                    const struct sim_datagram *d)
{
	struct addr remote = part(n->mapping, &d->dst);
	struct sim_mapping *oldest = &n->list[0];

	for (unsigned i = 0; i < SIM_MAPPINGS_MAX; i++) {
		struct sim_mapping *m = &n->list[i];

		if (is_alive(sim, n, m) && addr_equal(&m->inside, &d->src) &&
		    addr_equal(&m->remote, &remote))
			return m;
		if (m->used_at < oldest->used_at)
			oldest = m;
	}
	*oldest = (struct sim_mapping){
		.inside = d->src,
		.outside = n->address,
		.remote = remote,
		.is_used = true,
	};
	oldest->outside.port = take_port(sim, n, d->src.port);
	return oldest;
}

bool simnat_out(struct sim *sim, struct sim_nat *n, struct sim_datagram *d)
{
	struct sim_mapping *m;
	struct addr to = part(n->filtering, &d->dst);
	unsigned known;

	if (n->blocks_udp)
		return false;
	m = find_out(sim, n, d);
	m->used_at = sim->now;
	known = CV_MIN(m->allowed_count, (unsigned)CV_ARRAY_SIZE(m->allowed));
	for (unsigned i = 0; i < known; i++) {
		if (addr_equal(&m->allowed[i], &to))
			goto out;
	}
	m->allowed[m->allowed_count++ % CV_ARRAY_SIZE(m->allowed)] = to;
out:
	d->src = m->outside;
	return true;
}

bool simnat_in(struct sim *sim, struct sim_nat *n, struct sim_datagram *d)
{
	struct addr from = part(n->filtering, &d->src);

	for (unsigned i = 0; i < SIM_MAPPINGS_MAX && !n->blocks_udp; i++) {
		struct sim_mapping *m = &n->list[i];
		unsigned known = CV_MIN(m->allowed_count, (unsigned)CV_ARRAY_SIZE(m->allowed));

		if (!is_alive(sim, n, m) || !addr_equal(&m->outside, &d->dst))
			continue;
		for (unsigned k = 0; k < known; k++) {
			if (!addr_equal(&m->allowed[k], &from))
				continue;
			d->dst = m->inside;
			return true;
		}
	}
	return false;
}

void simnat_reboot(struct sim *sim, int nat, bool is_moved)
{
	struct sim_nat *n = &sim->nats[nat];

	memset(n->list, 0, sizeof(n->list));
	n->port_next = (uint16_t)(20000 + sim_below(sim, 20000));
	if (n->allocation == SIM_PRESERVE)
		n->allocation = SIM_SEQUENTIAL; /* else nothing would have changed */
	if (is_moved)
		n->address.ip[3]++;
	sim_tell(sim, "nat reboots", SIM_NOBODY, (uint64_t)nat, is_moved);
}

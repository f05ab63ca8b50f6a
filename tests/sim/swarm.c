/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <string.h>

/*
 * swarm - a world drawn from a seed: which faults there are and how strong, each
 * on its own, so that most worlds have few and strong ones. First safety: faults and
 * transfers, only the oracles count. Then calm: the faults stop, and every stream must
 * end and a new one must work, both within a bound.
 */

#define CALM_FRESH CV_SEC(15) /* the longest of the promises: a server that came back */
#define CALM_ALL CV_SEC(90)   /* what is left of transfers, over the slowest link */

enum kind { STATIC_PUBLIC, STATIC_NAT, HUB_ONLY, HUB_AND_STATIC, RELAY_ONLY };

static const enum kind KINDS[] = { STATIC_PUBLIC, STATIC_NAT, HUB_ONLY, HUB_AND_STATIC,
	                           RELAY_ONLY };

struct world {
	struct sim *sim;
	enum kind kind;
	struct sim_host *agents[2], *hub;
	int nats[2];
	cv_time calm_at;
};

/* ---- faults, as events ---- */

static void fault_kill(struct sim *sim, uint64_t host)
{
	simhost_kill(sim, &sim->hosts[host & 0xff], (host & 0x100) != 0);
}

static void fault_start(struct sim *sim, uint64_t host)
{
	simhost_start(sim, &sim->hosts[host]);
}

static void fault_sleep(struct sim *sim, uint64_t host)
{
	sim_tell(sim, "sleeps", (int)host, 0, 0);
	simhost_sleep(&sim->hosts[host]);
}

static void fault_wake(struct sim *sim, uint64_t host)
{
	simhost_wake(sim, &sim->hosts[host]);
}

static void fault_nat(struct sim *sim, uint64_t nat)
{
	simnat_reboot(sim, (int)(nat & 0xff), (nat & 0x100) != 0);
}

static void fault_block(struct sim *sim, uint64_t pair)
{
	sim_tell(sim, "blocked", (int)(pair >> 8 & 0xff), pair & 0xff, pair >> 16);
	sim->blocked[pair >> 8 & 0xff][pair & 0xff] = pair >> 16 != 0;
}

static void fault_down(struct sim *sim, uint64_t host)
{
	struct sim_host *h = &sim->hosts[host & 0xff];

	sim_tell(sim, "link", h->number, host >> 8, 0);
	h->up.is_down = h->down.is_down = host >> 8 != 0;
}

static void begin_flow(struct sim *sim, uint64_t i)
{
	simapp_begin(sim, &sim->flows[i]);
}

static void open_flow(struct sim *sim, uint64_t i)
{
	struct sim_flow *f = &sim->flows[i];

	if (sim->hosts[f->side[0].host].is_asleep)
		sim_at(sim, sim->now + CV_SEC(1), open_flow, i);
	else
		begin_flow(sim, i);
}

/* ---- drawing ---- */

static bool half(struct sim *sim)
{
	return sim_below(sim, 2) == 0;
}

static bool one_in(struct sim *sim, uint64_t n)
{
	return sim_below(sim, n) == 0;
}

/* What the links of real networks do besides: grants, policers, order kept, marks. */
static void draw_gusts(struct sim *sim, struct sim_link *l)
{
	l->keeps_order = half(sim);
	if (one_in(sim, 4))
		l->grant_interval = sim_draw(sim, CV_US(500), CV_MS(50));
	if (one_in(sim, 6)) {
		l->police_rate = sim_draw(sim, 50000, 5000000);
		l->police_burst = (uint32_t)sim_draw(sim, 8000, 200000);
	}
	if (one_in(sim, 6))
		l->drop_mask = rng_u64(&sim->rng) & rng_u64(&sim->rng) & rng_u64(&sim->rng);
	if (l->rate && half(sim))
		l->mark_queue = l->queue / 4;
}

static void draw_link(struct sim *sim, struct sim_host *h)
{
	struct sim_link l = { .delay = sim_draw(sim, CV_US(100), CV_MS(100)) };

	if (half(sim))
		l.jitter = sim_draw(sim, CV_US(10), l.delay);
	if (one_in(sim, 3))
		l.loss_ppm = (uint32_t)sim_draw(sim, 500, 100000);
	if (one_in(sim, 6)) {
		l.burst_ppm = (uint32_t)sim_draw(sim, 500, 10000);
		l.burst_mean = (uint32_t)sim_draw(sim, 2, 40);
	}
	if (one_in(sim, 4))
		l.duplicate_ppm = (uint32_t)sim_draw(sim, 1000, 200000);
	if (one_in(sim, 4))
		l.corrupt_ppm = (uint32_t)sim_draw(sim, 1000, 100000);
	if (one_in(sim, 4)) {
		l.reorder_ppm = (uint32_t)sim_draw(sim, 1000, 200000);
		l.reorder_delay = sim_draw(sim, CV_MS(1), CV_SEC(1));
	}
	if (one_in(sim, 4)) {
		l.rate = sim_draw(sim, 50000, 10000000);
		l.queue = (uint32_t)sim_draw(sim, 8000, 200000);
	}
	if (one_in(sim, 5))
		l.mtu = (uint32_t)(1232 + sim_below(sim, 240));
	if (sim->has_gusts)
		draw_gusts(sim, &l);
	simhost_set_link(h, &l);
}

static enum sim_rule draw_rule(struct sim *sim)
{
	static const enum sim_rule rules[] = { SIM_EI, SIM_AD, SIM_APD };

	return rules[sim_below(sim, 3)];
}

static int draw_nat(struct sim *sim)
{
	static const enum sim_allocation ways[] = { SIM_PRESERVE, SIM_SEQUENTIAL, SIM_RANDOM };
	int outer = one_in(sim, 6) ? simnat_add(sim, SIM_EI, draw_rule(sim), SIM_ROOT) : SIM_ROOT;
	int i = simnat_add(sim, half(sim) ? SIM_EI : draw_rule(sim), draw_rule(sim), outer);

	sim->nats[i].allocation = ways[sim_below(sim, 3)];
	sim->nats[i].hairpins = half(sim);
	sim->nats[i].timeout = sim_draw(sim, CV_SEC(30), CV_SEC(120));
	return i;
}

static void draw_hosts(struct world *w)
{
	struct sim *sim = w->sim;
	bool is_same_nat = one_in(sim, 8);

	w->kind = KINDS[sim_below(sim, CV_ARRAY_SIZE(KINDS))];
	for (int i = 0; i < 2; i++) {
		bool has_nat = w->kind == STATIC_NAT ? i == 0 : w->kind != STATIC_PUBLIC;

		w->nats[i] = SIM_ROOT;
		if (has_nat && (w->kind == STATIC_NAT || !one_in(sim, 4)))
			w->nats[i] = i == 1 && is_same_nat ? w->nats[0] : draw_nat(sim);
		w->agents[i] = simhost_add_agent(sim, i ? "b" : "a", w->nats[i], NULL);
		draw_link(sim, w->agents[i]);
		w->agents[i]->is_silent = one_in(sim, 3);
	}
	if (w->kind == RELAY_ONLY)
		w->agents[sim_below(sim, 2)]->policy = POLICY_RELAY;
	simhost_know(w->agents[0], w->agents[1],
	             w->kind == STATIC_PUBLIC || w->kind == STATIC_NAT ||
	                     (w->kind == HUB_AND_STATIC && w->nats[1] == SIM_ROOT));
	if (w->kind == STATIC_PUBLIC || w->kind == STATIC_NAT)
		return;
	w->hub = simhost_add_hub(sim, "s", NULL);
	draw_link(sim, w->hub);
	simhost_use_hub(w->agents[0], w->hub);
	simhost_use_hub(w->agents[1], w->hub);
}

static cv_time draw_instant(struct world *w)
{
	return w->sim->now + sim_below(w->sim, w->calm_at - w->sim->now);
}

static void draw_restart(struct world *w, struct sim_host *h)
{
	struct sim *sim = w->sim;
	cv_time at = draw_instant(w);

	sim_at(sim, at, fault_kill, (uint64_t)h->number | (half(sim) ? 0x100u : 0u));
	sim_at(sim, at + sim_draw(sim, CV_MS(1), CV_SEC(20)), fault_start, (uint64_t)h->number);
	if (!h->is_hub)
		sim->may_reset = true;
}

static void draw_gap(struct world *w, struct sim_host *h)
{
	struct sim *sim = w->sim;
	static const cv_duration gaps[] = { CV_MS(2500), CV_SEC(10), CV_SEC(20), CV_SEC(200),
		                            CV_SEC(7200) };
	unsigned i = (unsigned)sim_below(sim, 12);
	cv_duration gap = gaps[i < CV_ARRAY_SIZE(gaps) ? i : i % 3];
	cv_time at = draw_instant(w);

	sim_at(sim, at, fault_sleep, (uint64_t)h->number);
	sim_at(sim, at + gap, fault_wake, (uint64_t)h->number);
	if (gap > CV_SEC(60))
		sim->may_reset = true;
}

static void draw_outage(struct world *w)
{
	struct sim *sim = w->sim;
	uint64_t a = sim_below(sim, (uint64_t)sim->host_count);
	uint64_t b = sim_below(sim, (uint64_t)sim->host_count);
	cv_time at = draw_instant(w);
	cv_time end = at + sim_draw(sim, CV_MS(200), CV_SEC(25));

	if (a == b) {
		sim_at(sim, at, fault_down, 0x100 | a);
		sim_at(sim, end, fault_down, a);
	} else {
		sim_at(sim, at, fault_block, 0x10000 | a << 8 | b);
		sim_at(sim, end, fault_block, a << 8 | b);
	}
}

/* A link gets longer or shorter, faster or slower, narrower, or is silent for a while. */
static void draw_change(struct world *w, struct sim_host *h)
{
	struct sim *sim = w->sim;
	struct sim_link *l = half(sim) ? &h->up : &h->down, to = *l;
	cv_time at = draw_instant(w);

	if (half(sim))
		to.delay = sim_draw(sim, CV_US(100), CV_MS(200));
	if (half(sim)) {
		to.rate = sim_draw(sim, 50000, 10000000);
		to.queue = (uint32_t)sim_draw(sim, 8000, 200000);
	}
	if (one_in(sim, 4))
		to.mtu = (uint32_t)(1232 + sim_below(sim, 240));
	if (one_in(sim, 4))
		to.held_until = at + sim_draw(sim, CV_MS(20), CV_SEC(3));
	simlink_change_at(sim, at, l, &to);
}

static void draw_faults(struct world *w)
{
	struct sim *sim = w->sim;

	for (int i = 0; sim->has_gusts && i < sim->host_count; i++) {
		for (int k = 0; k < 4 && half(sim); k++)
			draw_change(w, &sim->hosts[i]);
	}
	for (int i = 0; i < sim->host_count; i++) {
		if (one_in(sim, 6))
			draw_restart(w, &sim->hosts[i]);
	}
	if (one_in(sim, 6))
		draw_gap(w, w->agents[sim_below(sim, 2)]);
	while (one_in(sim, 3))
		draw_outage(w);
	while (sim->nat_count > 0 && one_in(sim, 4))
		sim_at(sim, draw_instant(w), fault_nat,
		       sim_below(sim, (uint64_t)sim->nat_count) | (half(sim) ? 0x100u : 0u));
}

/* Bytes a tick, so that @size takes at most some seconds. */
static uint32_t draw_pace(struct sim *sim, uint64_t size)
{
	uint64_t pace = sim_draw(sim, 16, 20000);

	return (uint32_t)CV_MAX(pace, size / 500 + 8);
}

static void draw_flows(struct world *w)
{
	struct sim *sim = w->sim;
	unsigned count = (unsigned)sim_draw(sim, 1, 16);

	for (unsigned i = 0; i < count; i++) {
		unsigned from = (unsigned)sim_below(sim, 2);
		struct sim_flow *f = simapp_open(sim, w->agents[from], w->agents[!from],
		                                 sim_draw(sim, 8, 200000),
		                                 half(sim) ? 0 : sim_draw(sim, 1, 200000));

		for (unsigned k = 0; k < 2; k++) {
			struct sim_side *s = &f->side[k];

			if (one_in(sim, 4))
				s->chunk = draw_pace(sim, s->size);
			if (one_in(sim, 6))
				s->sip = draw_pace(sim, f->side[!k].size);
			if (one_in(sim, 10))
				s->reset_at = sim_below(sim, s->size + 1);
		}
		/* The header says which flow it is: an opener gives up after it. */
		f->side[0].reset_at = CV_MAX(f->side[0].reset_at, UINT64_C(8));
		sim_at(sim, draw_instant(w), open_flow, i);
	}
}

/* ---- calm ---- */

static void calm(struct sim_link *l)
{
	*l = (struct sim_link){
		.delay = l->delay,
		.rate = l->rate,
		.queue = l->rate ? CV_MAX(l->queue, 100000u) : 0,
		.mtu = l->mtu,
		.busy_until = l->busy_until,
	};
}

static bool is_fresh_whole(struct sim *sim)
{
	return simapp_is_done(sim, &sim->flows[sim->flow_count - 1]) &&
	       simapp_is_done(sim, &sim->flows[sim->flow_count - 2]);
}

static void be_calm(struct world *w)
{
	struct sim *sim = w->sim;
	struct sim_flow *f[2];

	sim_tell(sim, "CALM", SIM_NOBODY, 0, 0);
	memset(sim->blocked, 0, sizeof(sim->blocked));
	for (int i = 0; i < sim->host_count; i++) {
		calm(&sim->hosts[i].up);
		calm(&sim->hosts[i].down);
	}
	for (int i = 0; i < 2; i++) {
		f[i] = simapp_open(sim, w->agents[i], w->agents[!i], 2000, 2000);
		/* What was left of an old object may take this one with it. */
		f[i]->may_reset = sim->may_reset;
		simapp_begin(sim, f[i]);
	}
	if (!sim_until(sim, CALM_FRESH, is_fresh_whole, "a new stream in calm"))
		return;
	/* Crossing handshakes of restarted agents may replace an object once more, within 4 s. */
	sim_run(sim, sim->may_reset ? CV_SEC(4) : 0);
	for (int i = 0; i < 2 && sim->may_reset; i++) {
		f[i] = simapp_open(sim, w->agents[i], w->agents[!i], 2000, 2000);
		simapp_begin(sim, f[i]);
	}
	if (sim->may_reset && !sim_until(sim, CALM_FRESH, is_fresh_whole, "another one"))
		return;
	sim_expect(sim, simapp_is_whole(f[0]) && simapp_is_whole(f[1]));
	(void)sim_until(sim, CALM_ALL, simapp_are_done, "the end of every stream");
}

/* Faults that were drawn last beyond the phase of safety. */
static bool is_over(struct sim *sim)
{
	for (size_t i = 0; i < sim->queue_count; i++) {
		if (sim->queue[i].kind == SIM_EVENT_CALL)
			return false;
	}
	return true;
}

/* Another swarm, so that the seeds of the first still tell what they told. */
void swarm_gusts(struct sim *sim)
{
	sim->has_gusts = true;
	swarm_run(sim);
}

void swarm_run(struct sim *sim)
{
	struct world w = { .sim = sim };

	w.calm_at = sim->now + CV_SEC(2) + sim_draw(sim, CV_SEC(1), CV_SEC(30));
	draw_hosts(&w);
	draw_faults(&w);
	draw_flows(&w);
	for (int i = 0; sim->has_gusts && i < 2; i++)
		w.agents[i]->congestion = sim_kind_number(sim->seed + (uint64_t)i)->kind;
	simhost_start_all(sim);
	sim_run(sim, w.calm_at - sim->now);
	if (!sim_until(sim, CV_SEC(8000), is_over, "the end of the faults"))
		return;
	be_calm(&w);
	if (!sim->has_failed && half(sim)) {
		simhost_kill(sim, w.agents[0], true);
		sim_run(sim, CV_SEC(1));
	}
}

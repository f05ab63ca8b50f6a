/* SPDX-License-Identifier: MIT */
#include "tunnel/punch_steps.h"

#include "tunnel/endpoint_inner.h"
#include "tunnel/punch_aim.h"

bool punch_leads(unsigned role)
{
	return role == PUNCH_LEAD_ROW || role == PUNCH_LEAD_RANGE || role == PUNCH_LEAD_PAIR ||
	       role == PUNCH_LEAD_CROSS;
}

bool punch_is_preserving(const struct endpoint *e)
{
	return e->core.nat.ports == NAT_PORTS_PRESERVED;
}

cv_duration punch_spending_time(const struct endpoint *e, unsigned packets)
{
	return CV_SEC(1) * packets / e->punch.budget.limits.rate;
}

cv_duration punch_helping_time(const struct endpoint *e)
{
	unsigned packets = e->punch.budget.limits.packets_max;

	return CV_MAX(PUNCH_RANGE_TIME_MIN, punch_spending_time(e, packets) + CV_SEC(3));
}

/* ---- the budget ---- */

bool punch_may_send(const struct punch *p, cv_time now, struct session *s, struct punch_attempt *a)
{
	a->due_at = punch_budget_ready_at(&p->budget, now, &s->punch_share, !punch_leads(a->role));
	if (a->packets >= p->budget.limits.packets_max || a->due_at == CV_TIME_NEVER) {
		a->due_at = CV_TIME_NEVER;
		a->until = cv_time_min(a->until, cv_time_after(now, PUNCH_SPRAY_TAIL));
		return false;
	}
	return a->due_at <= now;
}

void punch_count_packet(struct punch *p, cv_time now, struct session *s, struct punch_attempt *a)
{
	punch_budget_take_packet(&p->budget, now, &s->punch_share, !punch_leads(a->role));
	a->packets++;
	p->stats.packets++;
}

/* ---- what is told ---- */

/* The row of ports that follow @sample, which a server saw; or the socket's own. */
static void say_row(struct endpoint *e, struct punch_attempt *a, enum punch_kind kind,
                    const struct addr *sample)
{
	struct wire_punch out = {
		.kind = (uint8_t)kind,
		.round = a->number,
		.shift = a->shift,
		.step = a->has_sample ? e->core.nat.step : 1,
		.count = PUNCH_PAIR_COUNT,
		.address = sample ? *sample : e->core.nat.address,
	};

	if (kind == PUNCH_ROW)
		out.count = (uint16_t)(PUNCH_ROW_COUNT << CV_MIN(a->rounds, 4));
	if (a->role == PUNCH_HELP_CROSS)
		out.count = a->told;
	if (sample)
		out.address.port = punch_plan_port(sample->port, out.step);
	else
		out.address.port = extras_port(&e->extras, a->first);
	punch_talk_say(&e->sessions[a->peer]->punch, &out);
	endpoint_touch_session(e, e->sessions[a->peer]);
}

static void say_range(struct endpoint *e, struct punch_attempt *a, enum punch_kind kind)
{
	const struct nat_profile *mine = &e->core.nat;
	struct wire_punch out = {
		.kind = (uint8_t)kind,
		.round = a->number,
		.count = a->told,
		.port_high = mine->port_high ? mine->port_high : UINT16_MAX,
		.address = mine->address,
	};

	out.address.port = mine->port_high ? mine->port_low : NAT_PORT_MIN;
	punch_talk_say(&e->sessions[a->peer]->punch, &out);
	endpoint_touch_session(e, e->sessions[a->peer]);
}

/* ---- steps ---- */

bool punch_are_settled(const struct endpoint *e, const struct punch_attempt *a)
{
	for (uint16_t i = 0; i < a->count; i++) {
		if (!extras_is_settled(&e->extras, (uint16_t)(a->first + i)))
			return false;
	}
	return true;
}

/* The peer has then probed all of it, if its budget is like ours. */
static cv_duration range_time(const struct endpoint *e)
{
	unsigned packets = e->punch.budget.limits.packets_max;

	packets = CV_MIN(packets, punch_plan_ports(&e->core.nat));
	return punch_spending_time(e, packets) + CV_SEC(3);
}

/* The port of the first socket is what a row begins with, or follows: a server is asked. False: it
 * cannot be. */
static bool ask_server(struct endpoint *e, cv_time now, struct punch_attempt *a)
{
	struct session *s = e->sessions[a->peer];

	/* What it costs the router is a mapping, like any other packet. The rate may be exceeded by
	 * one: nothing may come between it and the probes. */
	if (!punch_may_send(&e->punch, now, s, a) && a->due_at == CV_TIME_NEVER)
		return false;
	a->question = discovery_sample(&e->discovery, now, e->core.rng, a->first);
	if (a->question == DISCOVERY_NOBODY)
		return false;
	punch_count_packet(&e->punch, now, s, a);
	return true;
}

void punch_set_cells(struct endpoint *e, struct punch_attempt *a, uint32_t ports, uint32_t packets)
{
	uint32_t sockets = a->count - (a->has_sample ? 1u : 0u);

	ports = CV_MIN(ports, (UINT16_MAX + 1) / sockets);
	punch_order_init(&a->order, sockets * ports, rng_u64(e->core.rng));
	a->order.left = CV_MIN(a->order.left, packets);
}

/* Our ports in a cross at the peer's wish: a row that cannot be told before a server has seen what
 * comes before it, or a range. */
static void answer_cross(struct endpoint *e, cv_time now, struct punch_attempt *a)
{
	const struct addr *no_sample = NULL;

	a->phase = PUNCH_SENDING;
	a->until = cv_time_after(now, punch_helping_time(e));
	if (!punch_plan_is_known(&e->core.nat))
		say_range(e, a, PUNCH_ANSWER);
	else if (!a->has_sample)
		say_row(e, a, PUNCH_ANSWER, no_sample);
}

/* What each begins with, its sockets being open. */
static void go_on(struct endpoint *e, cv_time now, struct punch_attempt *a)
{
	const struct addr *no_sample = NULL;

	switch ((enum punch_role)a->role) {
	case PUNCH_LEAD_ROW:
		a->phase = PUNCH_SENDING;
		if (!a->has_sample)
			say_row(e, a, PUNCH_ROW, no_sample);
		return;
	case PUNCH_LEAD_RANGE:
		a->phase = PUNCH_SENDING;
		a->until = cv_time_after(now, range_time(e));
		say_range(e, a, PUNCH_RANGE);
		return;
	case PUNCH_LEAD_PAIR:
		a->phase = a->has_sample ? PUNCH_SAMPLING : PUNCH_WAITING;
		if (!a->has_sample)
			say_row(e, a, PUNCH_ASK, no_sample);
		return;
	case PUNCH_HELP_PAIR:
		a->phase = a->has_sample ? PUNCH_SAMPLING : PUNCH_SENDING;
		if (!a->has_sample)
			say_row(e, a, PUNCH_ANSWER, no_sample);
		return;
	case PUNCH_LEAD_CROSS:
		a->phase = PUNCH_WAITING;
		say_range(e, a, PUNCH_CROSS);
		return;
	case PUNCH_HELP_CROSS:
		answer_cross(e, now, a);
		return;
	case PUNCH_NOBODY:
	case PUNCH_HELP_SPRAY:
	case PUNCH_ROLES:
		break;
	}
	CV_UNREACHABLE();
}

bool punch_on_opened(struct endpoint *e, cv_time now, struct punch_attempt *a)
{
	/* The shell opens some, from the first on, or none. */
	if (!extras_is_open(&e->extras, a->first) || (a->has_sample && !ask_server(e, now, a)))
		return false;
	a->until =
		cv_time_after(now, PUNCH_ROUND_TIME + (punch_leads(a->role) ? 0 : PUNCH_HELP_TAIL));
	a->due_at = now;
	go_on(e, now, a);
	return true;
}

void punch_on_sampled(struct endpoint *e, cv_time now, struct punch_attempt *a,
                      const struct addr *seen)
{
	discovery_forget(&e->discovery, a->question);
	a->question = DISCOVERY_NOBODY;
	if (a->role == PUNCH_LEAD_ROW) {
		say_row(e, a, PUNCH_ROW, seen);
		return;
	}
	say_row(e, a, a->role == PUNCH_LEAD_PAIR ? PUNCH_ASK : PUNCH_ANSWER, seen);
	if (a->role == PUNCH_HELP_CROSS)
		return;
	a->phase = a->role == PUNCH_LEAD_PAIR ? PUNCH_WAITING : PUNCH_SENDING;
	a->due_at = now;
}

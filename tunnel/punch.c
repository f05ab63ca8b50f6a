/* SPDX-License-Identifier: MIT */
#include "tunnel/punch.h"

#include "tunnel/candidate.h"
#include "tunnel/endpoint_inner.h"
#include "tunnel/punch_aim.h"
#include "tunnel/punch_sockets.h"
#include "tunnel/punch_steps.h"

/* The first plain probes to what was announced have left by then: their mappings do not come in
 * between those of a row. */
#define START_DELAY CV_MS(20)
#define OPEN_TIME CV_SEC(1)
#define SPACING CV_MS(2)      /* so that the router sees them in this order */
#define HOLD_TIME CV_MS(1500) /* something was heard: it may become a path */
#define HOLD_MAX CV_SEC(5)    /* in this time, or it does not */
#define HEARD_SPACING CV_MS(250)
#define HELP_SPACING CV_SEC(5) /* nobody leads more often */
#define RETRY_MIN CV_SEC(20)
#define RETRY_MAX CV_SEC(1800)
#define EVENT_SPACING CV_SEC(5)
/* A router that keeps 1,024 entries has room for one range; what nobody answered goes within a
 * minute (RFC 4787 asks for two, netfilter takes half of one). */
#define RANGE_SPACING CV_SEC(75)
/* Half of a carrier's block is taken by one cross: a second one before the router has forgotten the
 * first, after RFC 4787's two minutes, would leave the user's other connections no port. */
#define CROSS_SPACING CV_SEC(125)
#define HINTED_TIME CV_SEC(4) /* plain probes have had this time */
#define WAIT_TIME CV_SEC(1)   /* for what an attempt needs */
#define SWEEP_SPACING CV_SEC(10)

void punch_init(struct punch *p, const struct punch_limits *limits, struct extras *extras,
                struct discovery *discovery)
{
	*p = (struct punch){ .extras = extras, .discovery = discovery, .sweep_at = CV_TIME_NEVER };
	punch_budget_init(&p->budget, limits);
}

static struct punch_attempt *find(struct punch *p, uint32_t peer)
{
	for (unsigned i = 0; i < PUNCH_ATTEMPTS_MAX; i++) {
		if (p->list[i].role != PUNCH_NOBODY && p->list[i].peer == peer)
			return &p->list[i];
	}
	return NULL;
}

/* ---- ends ---- */

static void release_sockets(struct endpoint *e, cv_time now, struct punch_attempt *a)
{
	discovery_forget(&e->discovery, a->question);
	a->question = DISCOVERY_NOBODY;
	if (a->first == 0)
		return;
	if (punch_sockets_release(e, now, a->first, a->count))
		e->punch.sweep_at = cv_time_after(now, SWEEP_SPACING);
	a->first = a->count = 0;
}

/* A range that is not to be followed by another one soon. */
static bool has_spent_range(const struct endpoint *e, const struct punch_attempt *a)
{
	return (a->role == PUNCH_LEAD_RANGE || a->order.size > 0) &&
	       a->packets > e->punch.budget.limits.packets_max / 2;
}

/* Before that the ports of an earlier attempt are not free again. */
static cv_time ports_at(const struct endpoint *e, const struct session *s, enum punch_role role)
{
	if (role == PUNCH_LEAD_CROSS)
		return CV_MAX(s->range_at, e->punch.cross_at);
	return role == PUNCH_LEAD_RANGE ? s->range_at : 0;
}

static void finish(struct endpoint *e, cv_time now, struct punch_attempt *a, bool has_succeeded)
{
	struct session *s = e->sessions[a->peer];
	enum punch_role role = (enum punch_role)a->role;
	bool leads = punch_leads(role);
	cv_duration pause = RETRY_MIN << CV_MIN(s->punches_failed, 7);

	trace_emit(e->core.trace, now, TRACE_PUNCH_END, a->peer, has_succeeded, a->packets);
	release_sockets(e, now, a);
	if (a->role == PUNCH_HELP_CROSS)
		/* Who leads ends sooner than we do, and has to find us ready again. */
		s->range_at = cv_time_after(a->began_at, RANGE_SPACING);
	else if (a->role == PUNCH_LEAD_CROSS ? a->packets > 0 : has_spent_range(e, a))
		s->range_at = cv_time_after(now, RANGE_SPACING);
	a->role = PUNCH_NOBODY;
	s->punch_ended_at = now;
	s->punch_doing = NULL;
	if (has_succeeded) {
		e->punch.stats.succeeded += leads;
		s->punches_failed = 0;
	} else if (leads) {
		/* What the user is told, too. */
		s->punch_at =
			CV_MAX(cv_time_after(now, CV_MIN(pause, RETRY_MAX)), ports_at(e, s, role));
		s->punches_failed = (uint8_t)CV_MIN(s->punches_failed + 1, UINT8_MAX);
	}
	endpoint_touch_session(e, s);
}

/* ---- beginnings ---- */

/* In words for the user. */
static const char *describe(enum punch_role role)
{
	static const char *const words[] = {
		[PUNCH_NOBODY] = NULL,
		[PUNCH_LEAD_ROW] = "our router's next ports are being guessed",
		[PUNCH_LEAD_RANGE] = "many ports of our router are being tried",
		[PUNCH_LEAD_PAIR] = "the next ports of both routers are being guessed",
		[PUNCH_HELP_PAIR] = "the next ports of both routers are being guessed",
		[PUNCH_HELP_SPRAY] = "ports of the peer's router are being tried",
		[PUNCH_LEAD_CROSS] = "many ports of both routers are being tried",
		[PUNCH_HELP_CROSS] = "many ports of both routers are being tried",
	};

	return words[role];
}

/* NULL: there are too many, or too many at peers' wishes, or at this one's. */
static struct punch_attempt *begin(struct endpoint *e, cv_time now, struct session *s,
                                   enum punch_role role)
{
	bool leads = punch_leads(role);
	struct punch_attempt *a = NULL;
	struct punch *p = &e->punch;
	unsigned helps = 0;

	for (unsigned i = 0; i < PUNCH_ATTEMPTS_MAX; i++) {
		if (p->list[i].role == PUNCH_NOBODY)
			a = &p->list[i];
		else
			helps += !punch_leads(p->list[i].role);
	}
	if (!a || (!leads && (helps == PUNCH_HELPS_MAX || now < s->punch_help_at)))
		return NULL;
	*a = (struct punch_attempt){
		.role = (uint8_t)role,
		.peer = s->number,
		.question = DISCOVERY_NOBODY,
		.began_at = now,
		.due_at = CV_TIME_NEVER,
		.until = now,
	};
	if (!leads)
		s->punch_help_at = cv_time_after(now, HELP_SPACING);
	s->punch_doing = describe(role);
	p->stats.attempts += leads;
	trace_emit(e->core.trace, now, TRACE_PUNCH_START, s->number, role, 0);
	return a;
}

/* New sockets, and one more for a server to see, if a sample is needed. Nothing is sent before the
 * shell has opened them. */
static bool open_sockets(struct endpoint *e, cv_time now, struct punch_attempt *a, unsigned count,
                         bool has_sample)
{
	count += has_sample;
	release_sockets(e, now, a);
	if (!punch_budget_take_sockets(&e->punch.budget, now, count, !punch_leads(a->role)))
		return false;
	a->first = extras_take(&e->extras, count);
	if (a->first == 0)
		return false;
	a->count = (uint16_t)count;
	a->has_sample = has_sample;
	a->phase = PUNCH_OPENING;
	a->at = a->sweeps = 0;
	a->due_at = now;
	a->until = cv_time_after(now, OPEN_TIME);
	e->punch.stats.sockets += count;
	return true;
}

/* One more round of a row or pair, with fresh ports. */
static void next_round(struct endpoint *e, cv_time now, struct punch_attempt *a)
{
	unsigned count = a->role == PUNCH_LEAD_ROW ? PUNCH_ROW_SOCKETS : 1;

	if (a->rounds == PUNCH_ROUNDS_MAX ||
	    !open_sockets(e, now, a, count, !punch_is_preserving(e))) {
		finish(e, now, a, false);
		return;
	}
	/* Twice as it should be, then as if others had taken a port, or two. */
	a->shift = (uint8_t)(a->rounds < 2 ? 0 : a->rounds - 1);
	a->rounds++;
	a->number = ++e->punch.number;
}

struct punch_cost {
	unsigned sockets;
	uint64_t packets;
};

/* As many as an attempt opens at once. */
static unsigned sockets_for(const struct endpoint *e, enum punch_plan_kind kind)
{
	const struct punch_limits *l = &e->punch.budget.limits;
	const struct nat_profile *mine = &e->core.nat;

	if (kind == PUNCH_PLAN_BIRTHDAY)
		return punch_plan_sockets(punch_plan_ports(mine), l->sockets_max, l->packets_max);
	return (kind == PUNCH_PLAN_PREDICT ? PUNCH_ROW_SOCKETS : 1u) + !punch_is_preserving(e);
}

/* Ours in a plan. */
static enum punch_role role_in(struct punch_plan plan)
{
	static const enum punch_role roles[] = {
		[PUNCH_PLAN_NONE] = PUNCH_NOBODY,         [PUNCH_PLAN_PREDICT] = PUNCH_LEAD_ROW,
		[PUNCH_PLAN_BIRTHDAY] = PUNCH_LEAD_RANGE, [PUNCH_PLAN_BOTH] = PUNCH_LEAD_PAIR,
		[PUNCH_PLAN_CROSS] = PUNCH_LEAD_CROSS,
	};

	return plan.leads ? roles[plan.kind] : PUNCH_NOBODY;
}

static void lead(struct endpoint *e, cv_time now, struct session *s, enum punch_role role,
                 unsigned sockets)
{
	struct punch_attempt *a = begin(e, now, s, role);

	if (!a) {
		s->punch_at = cv_time_after(now, WAIT_TIME);
		return;
	}
	a->target = s->punch.peer.address;
	if (a->role == PUNCH_LEAD_ROW || a->role == PUNCH_LEAD_PAIR) {
		next_round(e, now, a);
		return;
	}
	a->number = ++e->punch.number;
	if (!open_sockets(e, now, a, sockets, false))
		finish(e, now, a, false);
}

/* Half of a random router's ports may be taken soon. */
static void note_cross(struct endpoint *e, cv_time now)
{
	if (!punch_plan_is_known(&e->core.nat))
		e->punch.cross_at = cv_time_after(now, CROSS_SPACING);
}

/* ---- what the peer asks for ---- */

/* One more round of the attempt that helps, or its first; NULL: there were enough, or it is the one
 * that we are at, told twice. */
static struct punch_attempt *help(struct endpoint *e, cv_time now, struct session *s,
                                  enum punch_role role, uint16_t round)
{
	struct punch_attempt *a = find(&e->punch, s->number);

	if (a && (punch_leads(a->role) || a->rounds == PUNCH_HELP_ROUNDS_MAX || a->number == round))
		return NULL;
	if (!a)
		a = begin(e, now, s, role);
	if (!a)
		return NULL;
	/* Who leads may have come to another plan. */
	release_sockets(e, now, a);
	a->role = (uint8_t)role;
	a->phase = PUNCH_SENDING;
	a->row_count = 0;
	s->punch_doing = describe(role);
	a->rounds++;
	a->number = round;
	return a;
}

static void begin_spray(struct endpoint *e, cv_time now, struct session *s,
                        const struct wire_punch *in)
{
	uint32_t low = CV_MAX(in->address.port, (uint32_t)NAT_PORT_MIN);
	bool is_range = in->kind == PUNCH_RANGE;
	struct punch_attempt *a;

	if (is_range ? in->port_high < low || now < s->range_at : in->count == 0)
		return;
	/* The next round of the same attempt spends what is left of its budget. */
	a = help(e, now, s, PUNCH_HELP_SPRAY, in->round);
	if (!a)
		return;
	a->has_sample = false;
	a->target = in->address;
	a->step = in->step;
	a->row_count = is_range ? 0 : CV_MIN(in->count, (uint16_t)PUNCH_ROW_COUNT_MAX);
	a->at = a->sweeps = 0;
	a->due_at = now;
	a->until = cv_time_after(now, PUNCH_ROUND_TIME + PUNCH_HELP_TAIL);
	if (!is_range)
		return;
	a->target.port = (uint16_t)low;
	punch_order_init(&a->order, in->port_high - low + 1, rng_u64(e->core.rng));
	/* Where each port of the peer's makes another mapping, half of what may be ours. */
	if (nat_is_hard(&e->core.nat))
		a->order.left = CV_MIN(a->order.left, punch_plan_ports(&e->core.nat) / 2);
	a->until = cv_time_after(now, punch_helping_time(e));
}

static void set_row(struct punch_attempt *a, const struct wire_punch *in)
{
	a->target = in->address;
	a->step = in->step;
	a->row_count = CV_MIN(in->count, (uint16_t)PUNCH_PAIR_COUNT);
}

static void answer_pair(struct endpoint *e, cv_time now, struct session *s,
                        const struct wire_punch *in)
{
	struct punch_attempt *a = help(e, now, s, PUNCH_HELP_PAIR, in->round);

	if (!a)
		return;
	if (!open_sockets(e, now, a, 1, !punch_is_preserving(e))) {
		finish(e, now, a, false);
		return;
	}
	set_row(a, in);
	a->shift = in->shift;
}

/* Our part in a cross, into the range that is told. */
static void begin_cross(struct endpoint *e, cv_time now, struct session *s,
                        const struct wire_punch *in)
{
	const struct punch_limits *l = &e->punch.budget.limits;
	const struct nat_profile *mine = &e->core.nat;
	uint32_t low = CV_MAX(in->address.port, (uint32_t)NAT_PORT_MIN), ports;
	bool has_sample = mine->ports == NAT_PORTS_REGULAR;
	struct punch_part part;
	struct punch_attempt *a;

	if (!nat_is_hard(mine) || in->port_high < low || now < s->range_at ||
	    (!punch_plan_is_known(mine) && now < e->punch.cross_at))
		return;
	ports = in->port_high - low + 1;
	part = punch_plan_part(mine, ports, l->sockets_max, l->packets_max);
	a = help(e, now, s, PUNCH_HELP_CROSS, in->round);
	if (!a)
		return;
	if (part.packets == 0 || !open_sockets(e, now, a, part.sockets, has_sample)) {
		finish(e, now, a, false);
		return;
	}
	note_cross(e, now);
	a->target = in->address;
	a->target.port = (uint16_t)low;
	if (part.aims == 1)
		a->target.port = (uint16_t)(low + rng_below(e->core.rng, ports));
	punch_set_cells(e, a, part.aims, part.packets);
	a->told = (uint16_t)(punch_plan_is_known(mine) ? part.ports : a->order.left);
}

static void on_cross_answer(struct endpoint *e, cv_time now, struct punch_attempt *a,
                            const struct wire_punch *in)
{
	const struct punch_limits *l = &e->punch.budget.limits;
	uint32_t low = CV_MAX(in->address.port, (uint32_t)NAT_PORT_MIN), ports;
	unsigned packets = punch_plan_ports(&e->core.nat) / 2, theirs = 0;

	if (in->port_high == 0 ? in->count == 0 : in->port_high < low)
		return;
	a->target = in->address;
	a->step = in->step;
	a->row_count = 0;
	if (in->port_high == 0) {
		a->row_count = CV_MIN(in->count, (uint16_t)PUNCH_ROW_COUNT_MAX);
		ports = a->row_count;
	} else {
		a->target.port = (uint16_t)low;
		ports = in->port_high - low + 1;
		theirs = in->count;
	}
	packets = CV_MIN(packets, l->packets_max);
	punch_set_cells(e, a, ports, packets);
	note_cross(e, now);
	/* Until both have sent all, as far as our own budget tells. */
	theirs = CV_MIN(theirs, l->packets_max);
	a->until = cv_time_after(now, punch_spending_time(e, CV_MAX(packets, theirs)) + CV_SEC(3));
	a->phase = PUNCH_SENDING;
	a->due_at = now;
}

static void on_answer(struct endpoint *e, cv_time now, struct punch_attempt *a,
                      const struct wire_punch *in)
{
	if (!a || a->phase != PUNCH_WAITING || a->number != in->round)
		return;
	if (a->role == PUNCH_LEAD_CROSS) {
		on_cross_answer(e, now, a, in);
		return;
	}
	set_row(a, in);
	a->phase = PUNCH_SENDING;
	a->due_at = now;
}

static void on_punch(struct endpoint *e, cv_time now, struct session *s,
                     const struct wire_punch *in)
{
	struct punch_attempt *a = find(&e->punch, s->number);

	if (in->address.family != ADDR_V4 || !candidate_is_allowed(&e->core.scope, &in->address))
		return;
	/* What each knew of the other was not the same: both lead, and the larger key gives way. */
	if (a && in->kind != PUNCH_ANSWER && punch_leads(a->role) && !s->has_smaller_key) {
		uint8_t failed = s->punches_failed;

		finish(e, now, a, false);
		s->punches_failed = failed;
		s->punch_replan_at = cv_time_after(now, EVENT_SPACING);
	}
	switch ((enum punch_kind)in->kind) {
	case PUNCH_ROW:
	case PUNCH_RANGE:
		begin_spray(e, now, s, in);
		return;
	case PUNCH_ASK:
		answer_pair(e, now, s, in);
		return;
	case PUNCH_ANSWER:
		on_answer(e, now, a, in);
		return;
	case PUNCH_CROSS:
		begin_cross(e, now, s, in);
		return;
	}
	CV_UNREACHABLE();
}

/* ---- steps ---- */

/* A packet of this peer came by a direct way since the attempt began; what does not become a path
 * in good time never does. */
static bool has_heard(const struct session *s, cv_time now, struct punch_attempt *a)
{
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		const struct path *path = &s->paths.list[i];

		if (path->state == PATH_FREE || path->state == PATH_FAILED || path->to.is_relay ||
		    path->heard_at < a->began_at || cv_time_since(now, path->heard_at) >= HOLD_TIME)
			continue;
		if (a->held_at == 0)
			a->held_at = now;
		return cv_time_since(now, a->held_at) < HOLD_MAX;
	}
	return false;
}

static bool is_direct(const struct session *s)
{
	return s->paths.active != PATHS_NONE && !s->paths.list[s->paths.active].to.is_relay;
}

static void turn(struct endpoint *e, cv_time now, struct punch_attempt *a)
{
	struct session *s = e->sessions[a->peer];
	struct addr seen;

	if (is_direct(s)) {
		finish(e, now, a, true);
		return;
	}
	if (!s->assoc.is_bound || s->paths.is_relay_only) {
		finish(e, now, a, false);
		return;
	}
	if (a->phase == PUNCH_OPENING && punch_are_settled(e, a) && !punch_on_opened(e, now, a))
		finish(e, now, a, false);
	if (a->role != PUNCH_NOBODY && a->question != DISCOVERY_NOBODY &&
	    discovery_is_sampled(&e->discovery, a->question, &seen))
		punch_on_sampled(e, now, a, &seen);
	if (a->role == PUNCH_NOBODY || now < a->until)
		return;
	if (has_heard(s, now, a))
		a->until = cv_time_after(now, HEARD_SPACING);
	else if (a->role == PUNCH_LEAD_ROW || a->role == PUNCH_LEAD_PAIR)
		next_round(e, now, a);
	else
		finish(e, now, a, false);
}

/* ---- probes ---- */

/* False: nothing is due of this one now; its deadline says when. */
static bool write_one(struct endpoint *e, cv_time now, struct punch_attempt *a, struct train *out)
{
	struct session *s = e->sessions[a->peer];
	struct origin to;

	while (a->role != PUNCH_NOBODY && a->phase == PUNCH_SENDING && a->due_at <= now) {
		/* What was heard may be the hole: no more holes before that is known. */
		if (has_heard(s, now, a)) {
			a->due_at = cv_time_after(now, CV_MS(100));
			return false;
		}
		if (!punch_may_send(&e->punch, now, s, a))
			return false;
		if (!punch_aim(a, now, &e->extras, &to)) {
			a->due_at = a->due_at <= now ? cv_time_after(now, PUNCH_SWEEP_PAUSE)
			                             : a->due_at;
			return false;
		}
		/* Never to where an amplifier may listen, whatever the peer asks for. */
		if (!candidate_is_allowed(&e->core.scope, &to.addr))
			continue;
		a->due_at = cv_time_after(now, SPACING);
		if (!session_write_probe(s, now, &to, out))
			return false;
		punch_count_packet(&e->punch, now, s, a);
		return true;
	}
	return false;
}

bool punch_write(struct endpoint *e, cv_time now, struct train *out)
{
	/* By turns: else whoever comes first in the list has the whole rate. */
	for (unsigned i = 0; i < PUNCH_ATTEMPTS_MAX; i++) {
		unsigned at = (e->punch.turn + i) % PUNCH_ATTEMPTS_MAX;

		if (!write_one(e, now, &e->punch.list[at], out))
			continue;
		e->punch.turn = (at + 1) % PUNCH_ATTEMPTS_MAX;
		return true;
	}
	return false;
}

/* ---- when ---- */

static bool is_validating(const struct session *s)
{
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		const struct path *path = &s->paths.list[i];

		if ((path->state == PATH_VALID || path->state == PATH_USABLE) && !path->to.is_relay)
			return true;
	}
	return false;
}

/* Every announced address was tried, and none answered. @is_hinted: so they were by the peer. */
static bool have_failed(const struct session *s, cv_time now, bool is_hinted)
{
	unsigned failed = 0;

	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		const struct path *path = &s->paths.list[i];
		bool is_old = is_hinted && cv_time_since(now, path->made_at) >= HINTED_TIME;

		if (path->state == PATH_FREE || path->to.is_relay || !path->is_candidate)
			continue;
		if (path->state == PATH_VALID || path->state == PATH_USABLE ||
		    (path->retry_interval == PATH_RETRY_MIN && !is_old))
			return false;
		failed += path->kind == PATH_KIND_DIRECT;
	}
	return failed > 0;
}

/* There are gateways that say that they forward a port, and forward nothing: what they say does not
 * count where plain probes have failed. Who leads by that finds help: that needs no plan. */
static struct punch_plan plan_for(const struct endpoint *e, cv_time now, const struct session *s)
{
	struct nat_profile mine = e->core.nat;

	if (mine.has_mapped)
		mine.has_mapped = !have_failed(s, now, false);
	return punch_plan(&mine, &s->punch.peer, s->has_smaller_key);
}

/* What is tried was planned for other routers than we know of by now: what they call for is tried
 * at once, but such news may come for ever. */
static void replan(struct endpoint *e, cv_time now, struct session *s, enum punch_role role)
{
	struct punch_attempt *a = find(&e->punch, s->number);
	cv_time ended_at = s->punch_ended_at;

	/* Who helps goes on unless it is to lead. */
	if (!a || role == (enum punch_role)a->role ||
	    (role == PUNCH_NOBODY && !punch_leads(a->role)))
		return;
	if (has_heard(s, now, a))
		s->punch_replan_at = CV_MAX(s->punch_replan_at, cv_time_after(now, HEARD_SPACING));
	if (now < s->punch_replan_at)
		return;
	finish(e, now, a, false);
	s->punches_failed = 0;
	s->punch_ended_at = ended_at;
	s->punch_at = cv_time_after(now, START_DELAY);
	s->punch_replan_at = cv_time_after(now, EVENT_SPACING);
}

/* What a plan takes of our budget, and whether it is worth that. */
static struct punch_cost weigh(const struct endpoint *e, struct session *s, struct punch_plan *plan)
{
	const struct punch_limits *l = &e->punch.budget.limits;
	const struct nat_profile *mine = &e->core.nat, *theirs = &s->punch.peer;
	struct punch_cost out = { .packets = l->packets_max };
	struct punch_cross cross;

	s->punch_one_in = 0;
	if (plan->kind != PUNCH_PLAN_CROSS) {
		out.sockets = sockets_for(e, plan->kind);
		return out;
	}
	cross = punch_plan_cross(plan->leads ? mine : theirs, plan->leads ? theirs : mine,
	                         l->sockets_max, l->packets_max);
	if (!cross.is_worth_it) {
		s->punch_one_in = cross.one_in;
		plan->leads = false;
	}
	return (struct punch_cost){ cross.leader.sockets, cross.leader.packets };
}

void punch_consider(struct endpoint *e, cv_time now, struct session *s)
{
	struct punch_plan plan;
	struct punch_cost cost;
	enum punch_role role;
	struct wire_punch in;
	bool is_hinted;

	if (!s->assoc.is_bound || s->paths.is_relay_only || e->is_closing)
		return;
	if (s->punch.is_peer_new)
		punch_on_network(now, s);
	s->punch.is_peer_new = false;
	if (punch_talk_next(&s->punch, &in) && !is_direct(s))
		on_punch(e, now, s, &in);
	if (is_direct(s) || e->core.nat_version == 0 || !s->punch.has_peer ||
	    s->punch.peer.address.family != ADDR_V4)
		return;
	plan = plan_for(e, now, s);
	/* Nothing is known against either, or only this against the peer's: it may be ours. */
	is_hinted = s->punch.peer.is_suspect;
	if ((plan.kind == PUNCH_PLAN_NONE || is_hinted) && have_failed(s, now, is_hinted))
		discovery_suspect(&e->discovery, now);
	cost = weigh(e, s, &plan);
	role = role_in(plan);
	replan(e, now, s, role);
	if (find(&e->punch, s->number) || now < s->punch_at || role == PUNCH_NOBODY)
		return;
	if (now < ports_at(e, s, role)) {
		s->punch_at = ports_at(e, s, role);
		return;
	}
	if (s->paths.active == PATHS_NONE || is_validating(s) ||
	    e->core.nat.address.family != ADDR_V4 ||
	    !candidate_is_allowed(&e->core.scope, &s->punch.peer.address) ||
	    !punch_budget_has_attempt(&e->punch.budget, now, &s->punch_share, cost.sockets,
	                              cost.packets)) {
		s->punch_at = cv_time_after(now, WAIT_TIME);
		return;
	}
	lead(e, now, s, role, cost.sockets);
}

void punch_on_network(cv_time now, struct session *s)
{
	s->punches_failed = 0;
	s->punch_at = cv_time_after(now, START_DELAY);
	if (s->punch_ended_at != 0)
		s->punch_at = CV_MAX(s->punch_at, cv_time_after(s->punch_ended_at, EVENT_SPACING));
}

cv_time punch_deadline(const struct punch *p)
{
	cv_time at = p->sweep_at;

	for (unsigned i = 0; i < PUNCH_ATTEMPTS_MAX; i++) {
		const struct punch_attempt *a = &p->list[i];

		if (a->role == PUNCH_NOBODY)
			continue;
		at = cv_time_min(at, a->until);
		if (a->phase == PUNCH_SENDING)
			at = cv_time_min(at, a->due_at);
	}
	return at;
}

void punch_on_deadline(struct endpoint *e, cv_time now)
{
	for (unsigned i = 0; i < PUNCH_ATTEMPTS_MAX; i++) {
		if (e->punch.list[i].role != PUNCH_NOBODY)
			turn(e, now, &e->punch.list[i]);
	}
	if (now < e->punch.sweep_at)
		return;
	/* Paths come and go; a socket that none of them has is closed. */
	e->punch.sweep_at =
		punch_sockets_sweep(e) ? cv_time_after(now, SWEEP_SPACING) : CV_TIME_NEVER;
}

void punch_stop_peer(struct endpoint *e, cv_time now, uint32_t peer)
{
	struct punch_attempt *a = find(&e->punch, peer);

	if (a)
		finish(e, now, a, false);
}

void punch_stop(struct endpoint *e, cv_time now)
{
	for (unsigned i = 0; i < PUNCH_ATTEMPTS_MAX; i++) {
		if (e->punch.list[i].role != PUNCH_NOBODY)
			finish(e, now, &e->punch.list[i], false);
	}
}

bool punch_check(const struct punch *p)
{
	unsigned helps = 0;

	for (unsigned i = 0; i < PUNCH_ATTEMPTS_MAX; i++) {
		const struct punch_attempt *a = &p->list[i];

		if (a->role == PUNCH_NOBODY ? a->first != 0 : a->until == CV_TIME_NEVER)
			return false;
		if (a->packets > p->budget.limits.packets_max ||
		    a->count > p->budget.limits.sockets_max || a->rounds > PUNCH_HELP_ROUNDS_MAX)
			return false;
		helps += a->role != PUNCH_NOBODY && !punch_leads(a->role);
	}
	return helps <= PUNCH_HELPS_MAX;
}

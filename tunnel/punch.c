/* SPDX-License-Identifier: MIT */
#include "tunnel/punch.h"

#include "tunnel/candidate.h"
#include "tunnel/endpoint_inner.h"
#include "tunnel/punch_aim.h"
#include "tunnel/punch_sockets.h"

/*
 *   PUNCH_LEAD_ROW     OPENING -> SENDING, and a ROW is told as soon as the sample is there
 *   PUNCH_LEAD_RANGE   OPENING -> SENDING, and a RANGE is told
 *   PUNCH_LEAD_PAIR    OPENING -> SAMPLING -ASK-> WAITING -ANSWER-> SENDING
 *   PUNCH_HELP_PAIR    OPENING -> SAMPLING -ANSWER-> SENDING
 *   PUNCH_HELP_SPRAY   SENDING
 *
 * The first socket of a row or pair is the sample: a server sees its port, and the ports that come
 * next are the row's. So nothing may make a mapping between it and the others: it is asked for and
 * the probes leave in one go, before its answer is known. A router that preserves ports needs no
 * sample, its row begins with the port of the socket itself.
 */

enum phase { OPENING, SAMPLING, WAITING, SENDING };

enum {
	ROW_SOCKETS = 4,
	ROW_COUNT = 8, /* twice as many ports are told each round; others may take some of them */
	PAIR_COUNT = 8,
	ROUNDS_MAX = 4,
	HELP_ROUNDS_MAX = ROUNDS_MAX + 1, /* and one of a plan that was given up */
	ROW_COUNT_MAX = 128,              /* that a peer may ask for */
};

/* The first plain probes to what was announced have left by then: their mappings do not come in
 * between those of a row. */
#define START_DELAY CV_MS(20)
#define OPEN_TIME CV_SEC(1)
#define SPACING CV_MS(2) /* so that the router sees them in this order */
#define ROUND_TIME CV_MS(2000)
#define HOLD_TIME CV_MS(1500)     /* something was heard: it may become a path */
#define HOLD_MAX CV_SEC(5)        /* in this time, or it does not */
#define RANGE_TIME_MIN CV_SEC(30) /* at a peer's wish: others may share the rate */
#define HELP_TAIL CV_MS(1500)     /* the next round of who leads comes after a round trip */
#define HELP_SPACING CV_SEC(5)    /* nobody leads more often */
#define RETRY_MIN CV_SEC(20)
#define RETRY_MAX CV_SEC(1800)
#define EVENT_SPACING CV_SEC(5)
/* A router that keeps 1,024 entries has room for one range; what nobody answered goes within a
 * minute (RFC 4787 asks for two, netfilter takes half of one). */
#define RANGE_SPACING CV_SEC(75)
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

static bool is_lead(const struct punch_attempt *a)
{
	return a->role == PUNCH_LEAD_ROW || a->role == PUNCH_LEAD_RANGE ||
	       a->role == PUNCH_LEAD_PAIR;
}

/* ---- the budget ---- */

/* Every limit allows one packet more now; else @a waits, or its budget is spent. */
static bool may_send(const struct punch *p, cv_time now, struct session *s, struct punch_attempt *a)
{
	a->due_at = punch_budget_ready_at(&p->budget, now, &s->punch_share, !is_lead(a));
	if (a->packets >= p->budget.limits.packets_max || a->due_at == CV_TIME_NEVER) {
		a->due_at = CV_TIME_NEVER;
		a->until = cv_time_min(a->until, cv_time_after(now, PUNCH_SPRAY_TAIL));
		return false;
	}
	return a->due_at <= now;
}

static void count_packet(struct punch *p, cv_time now, struct session *s, struct punch_attempt *a)
{
	punch_budget_take_packet(&p->budget, now, &s->punch_share, !is_lead(a));
	a->packets++;
	p->stats.packets++;
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

static void finish(struct endpoint *e, cv_time now, struct punch_attempt *a, bool has_succeeded)
{
	struct session *s = e->sessions[a->peer];
	bool leads = is_lead(a);
	cv_duration pause = RETRY_MIN << CV_MIN(s->punches_failed, 7);

	trace_emit(e->core.trace, now, TRACE_PUNCH_END, a->peer, has_succeeded, a->packets);
	release_sockets(e, now, a);
	if ((a->role == PUNCH_LEAD_RANGE || a->order.size > 0) &&
	    a->packets > e->punch.budget.limits.packets_max / 2)
		s->range_at = cv_time_after(now, RANGE_SPACING);
	a->role = PUNCH_NOBODY;
	s->punch_ended_at = now;
	s->punch_doing = NULL;
	if (has_succeeded) {
		e->punch.stats.succeeded += leads;
		s->punches_failed = 0;
	} else if (leads) {
		s->punch_at = cv_time_after(now, CV_MIN(pause, RETRY_MAX));
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
	};

	return words[role];
}

/* NULL: there are too many, or too many at peers' wishes, or at this one's. */
static struct punch_attempt *begin(struct endpoint *e, cv_time now, struct session *s,
                                   enum punch_role role)
{
	bool leads = role != PUNCH_HELP_PAIR && role != PUNCH_HELP_SPRAY;
	struct punch_attempt *a = NULL;
	struct punch *p = &e->punch;
	unsigned helps = 0;

	for (unsigned i = 0; i < PUNCH_ATTEMPTS_MAX; i++) {
		if (p->list[i].role == PUNCH_NOBODY)
			a = &p->list[i];
		else
			helps += !is_lead(&p->list[i]);
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
	if (!punch_budget_take_sockets(&e->punch.budget, now, count, !is_lead(a)))
		return false;
	a->first = extras_take(&e->extras, count);
	if (a->first == 0)
		return false;
	a->count = (uint16_t)count;
	a->has_sample = has_sample;
	a->phase = OPENING;
	a->at = a->sweeps = 0;
	a->due_at = now;
	a->until = cv_time_after(now, OPEN_TIME);
	e->punch.stats.sockets += count;
	return true;
}

static bool is_preserving(const struct endpoint *e)
{
	return e->core.nat.ports == NAT_PORTS_PRESERVED;
}

/* One more round of a row or pair, with fresh ports. */
static void next_round(struct endpoint *e, cv_time now, struct punch_attempt *a)
{
	unsigned count = a->role == PUNCH_LEAD_ROW ? ROW_SOCKETS : 1;

	if (a->rounds == ROUNDS_MAX || !open_sockets(e, now, a, count, !is_preserving(e))) {
		finish(e, now, a, false);
		return;
	}
	/* Twice as it should be, then as if others had taken a port, or two. */
	a->shift = (uint8_t)(a->rounds < 2 ? 0 : a->rounds - 1);
	a->rounds++;
	a->number = ++e->punch.number;
}

/* As many as an attempt opens at once. */
static unsigned sockets_for(const struct endpoint *e, enum punch_plan_kind kind)
{
	const struct punch_limits *l = &e->punch.budget.limits;
	const struct nat_profile *mine = &e->core.nat;
	unsigned ports = (unsigned)(mine->port_high - mine->port_low) + 1;

	if (kind == PUNCH_PLAN_BIRTHDAY) {
		if (mine->port_high == 0)
			ports = UINT16_MAX + 1 - NAT_PORT_MIN;
		return punch_plan_sockets(ports, l->sockets_max, l->packets_max);
	}
	return (kind == PUNCH_PLAN_PREDICT ? ROW_SOCKETS : 1u) + !is_preserving(e);
}

/* Ours in a plan. */
static enum punch_role role_in(struct punch_plan plan)
{
	static const enum punch_role roles[] = {
		[PUNCH_PLAN_NONE] = PUNCH_NOBODY,         [PUNCH_PLAN_PREDICT] = PUNCH_LEAD_ROW,
		[PUNCH_PLAN_BIRTHDAY] = PUNCH_LEAD_RANGE, [PUNCH_PLAN_BOTH] = PUNCH_LEAD_PAIR,
		[PUNCH_PLAN_HOPELESS] = PUNCH_NOBODY,
	};

	return plan.leads ? roles[plan.kind] : PUNCH_NOBODY;
}

static void lead(struct endpoint *e, cv_time now, struct session *s, enum punch_plan_kind kind)
{
	const struct punch_plan plan = { .kind = kind, .leads = true };
	struct punch_attempt *a = begin(e, now, s, role_in(plan));

	if (!a) {
		s->punch_at = cv_time_after(now, WAIT_TIME);
		return;
	}
	a->target = s->punch.peer.address;
	if (a->role != PUNCH_LEAD_RANGE) {
		next_round(e, now, a);
		return;
	}
	a->number = ++e->punch.number;
	if (!open_sockets(e, now, a, sockets_for(e, kind), false))
		finish(e, now, a, false);
}

/* ---- what the peer asks for ---- */

/* One more round of the attempt that helps, or its first; NULL: there were enough, or it is the one
 * that we are at, told twice. */
static struct punch_attempt *help(struct endpoint *e, cv_time now, struct session *s,
                                  enum punch_role role, uint16_t round)
{
	struct punch_attempt *a = find(&e->punch, s->number);

	if (a && (is_lead(a) || a->rounds == HELP_ROUNDS_MAX || a->number == round))
		return NULL;
	if (!a)
		a = begin(e, now, s, role);
	if (!a)
		return NULL;
	/* Who leads may have come to another plan. */
	release_sockets(e, now, a);
	a->role = (uint8_t)role;
	a->phase = SENDING;
	a->row_count = 0;
	s->punch_doing = describe(role);
	a->rounds++;
	a->number = round;
	return a;
}

/* All that our packets allow, one after the other. */
static cv_duration spending_time(const struct endpoint *e, unsigned packets)
{
	return CV_SEC(1) * packets / e->punch.budget.limits.rate;
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
	a->row_count = is_range ? 0 : CV_MIN(in->count, (uint16_t)ROW_COUNT_MAX);
	a->at = a->sweeps = 0;
	a->due_at = now;
	a->until = cv_time_after(now, ROUND_TIME + HELP_TAIL);
	if (!is_range)
		return;
	a->target.port = (uint16_t)low;
	punch_order_init(&a->order, in->port_high - low + 1, rng_u64(e->core.rng));
	a->until = cv_time_after(
		now, CV_MAX(RANGE_TIME_MIN,
	                    spending_time(e, e->punch.budget.limits.packets_max) + CV_SEC(3)));
}

static void set_row(struct punch_attempt *a, const struct wire_punch *in)
{
	a->target = in->address;
	a->step = in->step;
	a->row_count = CV_MIN(in->count, (uint16_t)PAIR_COUNT);
}

static void answer_pair(struct endpoint *e, cv_time now, struct session *s,
                        const struct wire_punch *in)
{
	struct punch_attempt *a = help(e, now, s, PUNCH_HELP_PAIR, in->round);

	if (!a)
		return;
	if (!open_sockets(e, now, a, 1, !is_preserving(e))) {
		finish(e, now, a, false);
		return;
	}
	set_row(a, in);
	a->shift = in->shift;
}

static void on_punch(struct endpoint *e, cv_time now, struct session *s,
                     const struct wire_punch *in)
{
	struct punch_attempt *a = find(&e->punch, s->number);

	if (in->address.family != ADDR_V4 || !candidate_is_allowed(&e->core.scope, &in->address))
		return;
	/* What each knew of the other was not the same: both lead, and the larger key gives way. */
	if (a && in->kind != PUNCH_ANSWER && is_lead(a) && !s->has_smaller_key) {
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
		if (!a || a->role != PUNCH_LEAD_PAIR || a->phase != WAITING ||
		    a->number != in->round)
			return;
		set_row(a, in);
		a->phase = SENDING;
		a->due_at = now;
		return;
	}
	CV_UNREACHABLE();
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
		.count = PAIR_COUNT,
		.address = sample ? *sample : e->core.nat.address,
	};

	if (kind == PUNCH_ROW)
		out.count = (uint16_t)(ROW_COUNT << CV_MIN(a->rounds, 4));
	if (sample)
		out.address.port = punch_plan_port(sample->port, out.step);
	else
		out.address.port = extras_port(&e->extras, a->first);
	punch_talk_say(&e->sessions[a->peer]->punch, &out);
	endpoint_touch_session(e, e->sessions[a->peer]);
}

static void say_range(struct endpoint *e, struct punch_attempt *a)
{
	const struct nat_profile *mine = &e->core.nat;
	struct wire_punch out = {
		.kind = PUNCH_RANGE,
		.round = a->number,
		.port_high = mine->port_high ? mine->port_high : UINT16_MAX,
		.address = mine->address,
	};

	out.address.port = mine->port_high ? mine->port_low : NAT_PORT_MIN;
	punch_talk_say(&e->sessions[a->peer]->punch, &out);
	endpoint_touch_session(e, e->sessions[a->peer]);
}

/* ---- steps ---- */

static bool are_settled(const struct endpoint *e, const struct punch_attempt *a)
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
	unsigned ports = (unsigned)(e->core.nat.port_high - e->core.nat.port_low) + 1;

	if (e->core.nat.port_high != 0)
		packets = CV_MIN(packets, ports);
	return spending_time(e, packets) + CV_SEC(3);
}

/* The port of the first socket is what a row begins with, or follows: a server is asked. False: it
 * cannot be. */
static bool ask_server(struct endpoint *e, cv_time now, struct punch_attempt *a)
{
	struct session *s = e->sessions[a->peer];

	/* What it costs the router is a mapping, like any other packet. The rate may be exceeded by
	 * one: nothing may come between it and the probes. */
	if (!may_send(&e->punch, now, s, a) && a->due_at == CV_TIME_NEVER)
		return false;
	a->question = discovery_sample(&e->discovery, now, e->core.rng, a->first);
	if (a->question == DISCOVERY_NOBODY)
		return false;
	count_packet(&e->punch, now, s, a);
	return true;
}

static void on_opened(struct endpoint *e, cv_time now, struct punch_attempt *a)
{
	const struct addr *no_sample = NULL;

	/* The shell opens some, from the first on, or none. */
	if (!extras_is_open(&e->extras, a->first) || (a->has_sample && !ask_server(e, now, a))) {
		finish(e, now, a, false);
		return;
	}
	a->until = cv_time_after(now, ROUND_TIME + (is_lead(a) ? 0 : HELP_TAIL));
	a->due_at = now;
	switch ((enum punch_role)a->role) {
	case PUNCH_LEAD_ROW:
		a->phase = SENDING;
		if (!a->has_sample)
			say_row(e, a, PUNCH_ROW, no_sample);
		return;
	case PUNCH_LEAD_RANGE:
		a->phase = SENDING;
		a->until = cv_time_after(now, range_time(e));
		say_range(e, a);
		return;
	case PUNCH_LEAD_PAIR:
		a->phase = a->has_sample ? SAMPLING : WAITING;
		if (!a->has_sample)
			say_row(e, a, PUNCH_ASK, no_sample);
		return;
	case PUNCH_HELP_PAIR:
		a->phase = a->has_sample ? SAMPLING : SENDING;
		if (!a->has_sample)
			say_row(e, a, PUNCH_ANSWER, no_sample);
		return;
	case PUNCH_NOBODY:
	case PUNCH_HELP_SPRAY:
		break;
	}
	CV_UNREACHABLE();
}

static void on_sampled(struct endpoint *e, cv_time now, struct punch_attempt *a,
                       const struct addr *seen)
{
	discovery_forget(&e->discovery, a->question);
	a->question = DISCOVERY_NOBODY;
	if (a->role == PUNCH_LEAD_ROW) {
		say_row(e, a, PUNCH_ROW, seen);
		return;
	}
	say_row(e, a, a->role == PUNCH_LEAD_PAIR ? PUNCH_ASK : PUNCH_ANSWER, seen);
	a->phase = a->role == PUNCH_LEAD_PAIR ? WAITING : SENDING;
	a->due_at = now;
}

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
	if (a->phase == OPENING && are_settled(e, a))
		on_opened(e, now, a);
	if (a->role != PUNCH_NOBODY && a->question != DISCOVERY_NOBODY &&
	    discovery_is_sampled(&e->discovery, a->question, &seen))
		on_sampled(e, now, a, &seen);
	if (a->role == PUNCH_NOBODY || now < a->until)
		return;
	if (has_heard(s, now, a))
		a->until = cv_time_after(now, CV_MS(250));
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

	while (a->role != PUNCH_NOBODY && a->phase == SENDING && a->due_at <= now) {
		/* What was heard may be the hole: no more holes before that is known. */
		if (has_heard(s, now, a)) {
			a->due_at = cv_time_after(now, CV_MS(100));
			return false;
		}
		if (!may_send(&e->punch, now, s, a))
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
		count_packet(&e->punch, now, s, a);
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
static void replan(struct endpoint *e, cv_time now, struct session *s, struct punch_plan plan)
{
	struct punch_attempt *a = find(&e->punch, s->number);
	enum punch_role role = role_in(plan);
	cv_time ended_at = s->punch_ended_at;

	/* Who helps goes on unless it is to lead. */
	if (!a || role == (enum punch_role)a->role || (role == PUNCH_NOBODY && !is_lead(a)) ||
	    now < s->punch_replan_at || has_heard(s, now, a))
		return;
	finish(e, now, a, false);
	s->punches_failed = 0;
	s->punch_ended_at = ended_at;
	s->punch_at = cv_time_after(now, START_DELAY);
	s->punch_replan_at = cv_time_after(now, EVENT_SPACING);
}

void punch_consider(struct endpoint *e, cv_time now, struct session *s)
{
	struct punch_plan plan;
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
	replan(e, now, s, plan);
	if (find(&e->punch, s->number) || now < s->punch_at)
		return;
	if (role_in(plan) == PUNCH_NOBODY)
		return;
	if (plan.kind == PUNCH_PLAN_BIRTHDAY && now < s->range_at) {
		s->punch_at = s->range_at;
		return;
	}
	if (s->paths.active == PATHS_NONE || is_validating(s) ||
	    e->core.nat.address.family != ADDR_V4 ||
	    !candidate_is_allowed(&e->core.scope, &s->punch.peer.address) ||
	    !punch_budget_has_attempt(&e->punch.budget, now, &s->punch_share,
	                              sockets_for(e, plan.kind))) {
		s->punch_at = cv_time_after(now, WAIT_TIME);
		return;
	}
	lead(e, now, s, plan.kind);
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
		if (a->phase == SENDING)
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
		    a->count > p->budget.limits.sockets_max || a->rounds > HELP_ROUNDS_MAX)
			return false;
		helps += a->role == PUNCH_HELP_PAIR || a->role == PUNCH_HELP_SPRAY;
	}
	return helps <= PUNCH_HELPS_MAX;
}

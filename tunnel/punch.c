/* SPDX-License-Identifier: MIT */
#include "tunnel/punch.h"

#include <string.h>

#include "tunnel/candidate.h"
#include "tunnel/endpoint_inner.h"
#include "tunnel/recovery.h"

/*
 *   LEAD_ROW     OPENING -> SENDING, and a ROW is told as soon as the sample is there
 *   LEAD_RANGE   OPENING -> SENDING, and a RANGE is told
 *   LEAD_PAIR    OPENING -> SAMPLING -ASK-> WAITING -ANSWER-> SENDING
 *   HELP_PAIR    OPENING -> SAMPLING -ANSWER-> SENDING
 *   HELP_SPRAY   SENDING
 *
 * The first socket of a row or pair is the sample: a server sees its port, and the ports that come
 * next are the row's. So nothing may make a mapping between it and the others: it is asked for and
 * the probes leave in one go, before its answer is known. A router that preserves ports needs no
 * sample, its row begins with the port of the socket itself.
 */

enum role { NOBODY, LEAD_ROW, LEAD_RANGE, LEAD_PAIR, HELP_PAIR, HELP_SPRAY };
enum phase { OPENING, SAMPLING, WAITING, SENDING };

enum {
	ROW_SOCKETS = 4,
	ROW_COUNT = 8, /* ports told in the first round; others may take some in between */
	PAIR_COUNT = 8,
	ROUNDS_MAX = 4,
	ROW_COUNT_MAX = 128, /* that a peer may ask for */
	RATE_BURST = 25,
	HOUR = 3600,
};

/* The first plain probes to what was announced have left by then: their mappings do not come in
 * between those of a row. */
#define START_DELAY CV_MS(20)
#define OPEN_TIME CV_SEC(1)
#define SPACING CV_MS(2) /* so that the router sees them in this order */
#define ROUND_TIME CV_MS(2000)
#define SWEEP_PAUSE CV_MS(300)
#define HOLD_TIME CV_MS(1500) /* something was heard: it may become a path */
#define SPRAY_TAIL CV_MS(1500)
#define RETRY_MIN CV_SEC(20)
#define RETRY_MAX CV_SEC(1800)
#define EVENT_SPACING CV_SEC(5)
/* A router that keeps 1,024 entries has room for one range; what nobody answered goes within a
 * minute (RFC 4787 asks for two, netfilter takes half of one). */
#define RANGE_SPACING CV_SEC(75)
#define SWEEP_SPACING CV_SEC(10)

void punch_init(struct punch *p, const struct punch_limits *limits, struct extras *extras,
                struct discovery *discovery)
{
	*p = (struct punch){ .limits = *limits,
		             .extras = extras,
		             .discovery = discovery,
		             .sweep_at = CV_TIME_NEVER };
	if (p->limits.sockets_max == 0)
		p->limits.sockets_max = PUNCH_SOCKETS_DEFAULT;
	if (p->limits.packets_max == 0)
		p->limits.packets_max = PUNCH_PACKETS_DEFAULT;
	if (p->limits.rate == 0)
		p->limits.rate = PUNCH_RATE_DEFAULT;
	if (p->limits.hourly == 0)
		p->limits.hourly = PUNCH_HOURLY_DEFAULT;
}

static struct punch_attempt *find(struct punch *p, uint32_t peer)
{
	for (unsigned i = 0; i < PUNCH_ATTEMPTS_MAX; i++) {
		if (p->list[i].role != NOBODY && p->list[i].peer == peer)
			return &p->list[i];
	}
	return NULL;
}

/* ---- the budget ---- */

/* In thousandths of a packet: an hour's share of a second is less than two. */
static bool has_hourly(const struct punch *p, cv_time now, unsigned packets)
{
	uint64_t burst = (uint64_t)p->limits.hourly * 1000;

	return bucket_ready_at(&p->hourly, now, CV_MAX(burst / HOUR, 1u), burst,
	                       CV_MIN((uint64_t)packets * 1000, burst)) <= now;
}

/* Every limit allows one packet more now; else @a waits, or its budget is spent. */
static bool may_send(const struct punch *p, cv_time now, struct punch_attempt *a)
{
	uint64_t depth = CV_MIN(p->limits.rate, (uint32_t)RATE_BURST);

	if (a->packets >= p->limits.packets_max || !has_hourly(p, now, 1)) {
		a->due_at = CV_TIME_NEVER;
		a->until = cv_time_min(a->until, cv_time_after(now, SPRAY_TAIL));
		return false;
	}
	a->due_at = bucket_ready_at(&p->rate, now, p->limits.rate, depth, 1);
	return a->due_at <= now;
}

static void count_packet(struct punch *p, cv_time now, struct punch_attempt *a)
{
	uint64_t burst = (uint64_t)p->limits.hourly * 1000;
	uint64_t depth = CV_MIN(p->limits.rate, (uint32_t)RATE_BURST);

	(void)bucket_take(&p->rate, now, p->limits.rate, depth, 1);
	(void)bucket_take(&p->hourly, now, CV_MAX(burst / HOUR, 1u), burst, 1000);
	a->packets++;
	p->stats.packets++;
}

/* ---- ends ---- */

/* Sockets that a path has are left to it if data take that path; the others go, and so do the
 * paths on them: one hole is enough. */
static void release_sockets(struct endpoint *e, cv_time now, struct punch_attempt *a)
{
	struct session *s = e->sessions[a->peer];

	discovery_forget(&e->discovery, a->question);
	a->question = DISCOVERY_NOBODY;
	if (a->first == 0)
		return;
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		struct path *path = &s->paths.list[i];

		if (path->state == PATH_FREE || path->to.is_relay || path->to.socket < a->first ||
		    path->to.socket >= a->first + a->count)
			continue;
		if (i == s->paths.active) {
			extras_adopt(&e->extras, path->to.socket);
			e->punch.sweep_at = cv_time_after(now, SWEEP_SPACING);
			continue;
		}
		if (path->inflight > 0)
			recovery_take_back(s, now, i);
		paths_remove(&s->paths, i);
	}
	extras_give_back(&e->extras, a->first, a->count);
	a->first = a->count = 0;
}

static bool is_lead(const struct punch_attempt *a)
{
	return a->role == LEAD_ROW || a->role == LEAD_RANGE || a->role == LEAD_PAIR;
}

static void finish(struct endpoint *e, cv_time now, struct punch_attempt *a, bool has_succeeded)
{
	struct session *s = e->sessions[a->peer];
	bool leads = is_lead(a);
	cv_duration pause = RETRY_MIN << CV_MIN(s->punches_failed, 7);

	trace_emit(e->core.trace, now, TRACE_PUNCH_END, a->peer, has_succeeded, a->packets);
	release_sockets(e, now, a);
	if ((a->role == LEAD_RANGE || a->order.size > 0) &&
	    a->packets > e->punch.limits.packets_max / 2)
		s->range_at = cv_time_after(now, RANGE_SPACING);
	a->role = NOBODY;
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

/* What is known has changed: this attempt means nothing any more, and another plan may follow. */
static void give_up(struct endpoint *e, cv_time now, struct punch_attempt *a)
{
	struct session *s = e->sessions[a->peer];

	finish(e, now, a, false);
	s->punches_failed--;
	s->punch_at = cv_time_after(now, START_DELAY);
}

/* ---- beginnings ---- */

static const enum role roles[] = {
	[PUNCH_PLAN_NONE] = NOBODY,         [PUNCH_PLAN_PREDICT] = LEAD_ROW,
	[PUNCH_PLAN_BIRTHDAY] = LEAD_RANGE, [PUNCH_PLAN_BOTH] = LEAD_PAIR,
	[PUNCH_PLAN_HOPELESS] = NOBODY,
};

/* In words for the user. */
static const char *describe(enum role role)
{
	static const char *const words[] = {
		[NOBODY] = NULL,
		[LEAD_ROW] = "our router's next ports are being guessed",
		[LEAD_RANGE] = "many ports of our router are being tried",
		[LEAD_PAIR] = "the next ports of both routers are being guessed",
		[HELP_PAIR] = "the next ports of both routers are being guessed",
		[HELP_SPRAY] = "ports of the peer's router are being tried",
	};

	return words[role];
}

static struct punch_attempt *begin(struct endpoint *e, cv_time now, struct session *s,
                                   enum role role)
{
	struct punch *p = &e->punch;

	for (unsigned i = 0; i < PUNCH_ATTEMPTS_MAX; i++) {
		struct punch_attempt *a = &p->list[i];

		if (a->role != NOBODY)
			continue;
		*a = (struct punch_attempt){
			.role = (uint8_t)role,
			.peer = s->number,
			.question = DISCOVERY_NOBODY,
			.began_at = now,
			.due_at = CV_TIME_NEVER,
			.until = now,
		};
		s->punch_doing = describe(role);
		p->stats.attempts += role != HELP_PAIR && role != HELP_SPRAY;
		trace_emit(e->core.trace, now, TRACE_PUNCH_START, s->number, role, 0);
		return a;
	}
	return NULL;
}

/* New sockets, and nothing is sent before the shell has opened them. */
static bool open_sockets(struct endpoint *e, cv_time now, struct punch_attempt *a, unsigned count)
{
	release_sockets(e, now, a);
	a->first = extras_take(&e->extras, count);
	a->count = (uint16_t)(a->first ? count : 0);
	a->phase = OPENING;
	a->at = a->sweeps = 0;
	a->due_at = now;
	a->until = cv_time_after(now, OPEN_TIME);
	e->punch.stats.sockets += a->count;
	return a->first != 0;
}

static bool is_preserving(const struct endpoint *e)
{
	return e->core.nat.ports == NAT_PORTS_PRESERVED;
}

/* One more round of a row or pair, with fresh ports. */
static void next_round(struct endpoint *e, cv_time now, struct punch_attempt *a)
{
	unsigned count = a->role == LEAD_ROW ? ROW_SOCKETS : 1;

	if (a->rounds == ROUNDS_MAX ||
	    !open_sockets(e, now, a, count + (is_preserving(e) ? 0 : 1))) {
		finish(e, now, a, false);
		return;
	}
	/* Twice as it should be, then as if others had taken a port, or two. */
	a->shift = (uint8_t)(a->rounds < 2 ? 0 : a->rounds - 1);
	a->rounds++;
	a->number = ++e->punch.number;
}

static void lead(struct endpoint *e, cv_time now, struct session *s, enum punch_plan_kind kind)
{
	const struct nat_profile *mine = &e->core.nat;
	struct punch_limits *l = &e->punch.limits;
	struct punch_attempt *a = begin(e, now, s, roles[kind]);
	unsigned ports = (unsigned)(mine->port_high - mine->port_low) + 1;

	if (!a)
		return; /* asked again when the session has news, or an attempt has ended */
	a->target = s->punch.peer.address;
	if (a->role != LEAD_RANGE) {
		next_round(e, now, a);
		return;
	}
	if (mine->port_high == 0)
		ports = UINT16_MAX - NAT_PORT_MIN;
	a->number = ++e->punch.number;
	if (!open_sockets(e, now, a, punch_plan_sockets(ports, l->sockets_max, l->packets_max)))
		finish(e, now, a, false);
}

/* ---- what the peer asks for ---- */

static void begin_spray(struct endpoint *e, cv_time now, struct session *s,
                        const struct wire_punch *in)
{
	struct punch_attempt *a = find(&e->punch, s->number);
	uint32_t low = CV_MAX(in->address.port, (uint32_t)NAT_PORT_MIN);
	bool is_range = in->kind == PUNCH_RANGE;

	if (is_range && (in->port_high < low || now < s->range_at))
		return;
	/* The next round of the same attempt spends what is left of its budget. */
	if (a && a->role != HELP_SPRAY)
		return;
	if (!a)
		a = begin(e, now, s, HELP_SPRAY);
	if (!a)
		return;
	a->phase = SENDING;
	a->target = in->address;
	a->step = in->step;
	a->row_count = is_range ? 0 : CV_MIN(in->count, (uint16_t)ROW_COUNT_MAX);
	a->at = a->sweeps = 0;
	a->due_at = now;
	if (is_range) {
		a->target.port = (uint16_t)low;
		punch_order_init(&a->order, in->port_high - low + 1, rng_u64(e->core.rng));
	}
	a->until = cv_time_after(now, is_range ? CV_SEC(30) : ROUND_TIME);
}

static void set_row(struct punch_attempt *a, const struct wire_punch *in)
{
	a->target = in->address;
	a->step = in->step;
	a->row_count = CV_MIN(in->count, (uint16_t)PAIR_COUNT);
}

static void on_punch(struct endpoint *e, cv_time now, struct session *s,
                     const struct wire_punch *in)
{
	struct punch_attempt *a = find(&e->punch, s->number);

	if (!candidate_is_allowed(&e->core.scope, &in->address) || in->address.family != ADDR_V4)
		return;
	/* What each knew of the other was not the same: both lead, and the larger key gives way. */
	if (a && in->kind != PUNCH_ANSWER && is_lead(a) && !s->has_smaller_key) {
		give_up(e, now, a);
		a = NULL;
	}
	switch ((enum punch_kind)in->kind) {
	case PUNCH_ROW:
	case PUNCH_RANGE:
		begin_spray(e, now, s, in);
		return;
	case PUNCH_ASK:
		if (a && a->role != HELP_PAIR)
			return;
		if (!a)
			a = begin(e, now, s, HELP_PAIR);
		if (!a || !open_sockets(e, now, a, is_preserving(e) ? 1 : 2))
			return;
		set_row(a, in);
		a->number = in->round;
		a->shift = in->shift;
		return;
	case PUNCH_ANSWER:
		if (!a || a->role != LEAD_PAIR || a->phase != WAITING || a->number != in->round)
			return;
		set_row(a, in);
		a->phase = SENDING;
		a->due_at = now;
		return;
	}
	CV_UNREACHABLE();
}

/* ---- what is told ---- */

static int16_t own_step(const struct endpoint *e)
{
	return is_preserving(e) ? 1 : e->core.nat.step;
}

/* The row of ports that follow @sample, which a server saw; or the socket's own. */
static void say_row(struct endpoint *e, struct punch_attempt *a, enum punch_kind kind,
                    const struct addr *sample)
{
	struct wire_punch out = {
		.kind = (uint8_t)kind,
		.round = a->number,
		.shift = a->shift,
		.step = own_step(e),
		.count = PAIR_COUNT,
		.address = sample ? *sample : e->core.nat.address,
	};

	if (kind == PUNCH_ROW)
		out.count = (uint16_t)(ROW_COUNT << CV_MIN(a->rounds, 4));
	if (sample)
		out.address.port = (uint16_t)(sample->port + out.step);
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
	const struct punch_limits *l = &e->punch.limits;
	unsigned ports = (unsigned)(e->core.nat.port_high - e->core.nat.port_low) + 1;

	if (e->core.nat.port_high == 0 || ports > l->packets_max)
		ports = l->packets_max;
	return CV_SEC(1) * ports / l->rate + CV_SEC(3);
}

static void on_opened(struct endpoint *e, cv_time now, struct punch_attempt *a)
{
	const struct addr *no_sample = NULL;
	bool has_sample = !is_preserving(e);

	if (has_sample && a->role != LEAD_RANGE) {
		a->question = discovery_sample(&e->discovery, now, e->core.rng, a->first);
		if (a->question == DISCOVERY_NOBODY) {
			finish(e, now, a, false);
			return;
		}
	}
	a->until = cv_time_after(now, ROUND_TIME);
	a->due_at = now;
	switch ((enum role)a->role) {
	case LEAD_ROW:
		a->phase = SENDING;
		if (!has_sample)
			say_row(e, a, PUNCH_ROW, no_sample);
		return;
	case LEAD_RANGE:
		a->phase = SENDING;
		a->until = cv_time_after(now, range_time(e));
		say_range(e, a);
		return;
	case LEAD_PAIR:
		a->phase = has_sample ? SAMPLING : WAITING;
		if (!has_sample)
			say_row(e, a, PUNCH_ASK, no_sample);
		return;
	case HELP_PAIR:
		a->phase = has_sample ? SAMPLING : SENDING;
		if (!has_sample)
			say_row(e, a, PUNCH_ANSWER, no_sample);
		return;
	case NOBODY:
	case HELP_SPRAY:
		break;
	}
	CV_UNREACHABLE();
}

static void on_sampled(struct endpoint *e, cv_time now, struct punch_attempt *a,
                       const struct addr *seen)
{
	discovery_forget(&e->discovery, a->question);
	a->question = DISCOVERY_NOBODY;
	if (a->role == LEAD_ROW) {
		say_row(e, a, PUNCH_ROW, seen);
		return;
	}
	say_row(e, a, a->role == LEAD_PAIR ? PUNCH_ASK : PUNCH_ANSWER, seen);
	a->phase = a->role == LEAD_PAIR ? WAITING : SENDING;
	a->due_at = now;
}

/* A packet of this peer came by a direct way since the attempt began. */
static bool has_heard(const struct session *s, cv_time now, const struct punch_attempt *a)
{
	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		const struct path *path = &s->paths.list[i];

		if ((path->state == PATH_CHECKING || path->state == PATH_VALID ||
		     path->state == PATH_USABLE) &&
		    !path->to.is_relay && path->heard_at >= a->began_at &&
		    cv_time_since(now, path->heard_at) < HOLD_TIME)
			return true;
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
	if (a->role != NOBODY && a->question != DISCOVERY_NOBODY &&
	    discovery_is_sampled(&e->discovery, a->question, &seen))
		on_sampled(e, now, a, &seen);
	if (a->role == NOBODY || now < a->until)
		return;
	if (has_heard(s, now, a))
		a->until = cv_time_after(now, CV_MS(250));
	else if (a->role == LEAD_ROW || a->role == LEAD_PAIR)
		next_round(e, now, a);
	else
		finish(e, now, a, false);
}

/* ---- probes ---- */

/* The next of one sweep over @count; false: the sweep is over, and the next begins later. */
static bool sweep(struct punch_attempt *a, cv_time now, unsigned count, unsigned *i)
{
	if (a->at < count) {
		*i = a->at++;
		return true;
	}
	a->at = 0;
	a->sweeps++;
	a->due_at = cv_time_after(now, SWEEP_PAUSE);
	return false;
}

static uint16_t row_port(const struct punch_attempt *a, unsigned i)
{
	return (uint16_t)(a->target.port + (int)i * a->step);
}

/* Where the next probe goes, and from where; false: none is due now. */
static bool aim(struct endpoint *e, cv_time now, struct punch_attempt *a, struct origin *to)
{
	unsigned skip = a->role == LEAD_RANGE || is_preserving(e) ? 0 : 1, i;
	uint32_t offset;

	*to = (struct origin){ .addr = a->target };
	switch ((enum role)a->role) {
	case LEAD_ROW:
	case LEAD_RANGE:
		do {
			if (!sweep(a, now, a->count - skip, &i))
				return false;
			to->socket = (uint16_t)(a->first + skip + i);
		} while (!extras_is_open(&e->extras, to->socket));
		return true;
	case LEAD_PAIR:
	case HELP_PAIR:
		if (!sweep(a, now, a->row_count, &i))
			return false;
		/* The asker's ports may have moved on by what others took. */
		to->addr.port = row_port(a, i + (a->role == HELP_PAIR ? a->shift : 0));
		to->socket = (uint16_t)(a->first + skip);
		return extras_is_open(&e->extras, to->socket);
	case HELP_SPRAY:
		if (a->row_count > 0) {
			if (a->sweeps == 2 || !sweep(a, now, a->row_count, &i))
				return false;
			to->addr.port = row_port(a, i);
			return true;
		}
		if (!punch_order_next(&a->order, &offset)) {
			a->due_at = CV_TIME_NEVER;
			a->until = cv_time_min(a->until, cv_time_after(now, SPRAY_TAIL));
			return false;
		}
		to->addr.port = (uint16_t)(a->target.port + offset);
		return true;
	case NOBODY:
		break;
	}
	CV_UNREACHABLE();
}

/* False: nothing is due of this one now; its deadline says when. */
static bool write_one(struct endpoint *e, cv_time now, struct punch_attempt *a, struct train *out)
{
	struct session *s = e->sessions[a->peer];
	struct origin to;

	while (a->role != NOBODY && a->phase == SENDING && a->due_at <= now) {
		/* What was heard may be the hole: no more holes before that is known. */
		if (has_heard(s, now, a)) {
			a->due_at = cv_time_after(now, CV_MS(100));
			return false;
		}
		if (!may_send(&e->punch, now, a))
			return false;
		if (!aim(e, now, a, &to)) {
			a->due_at = a->due_at <= now ? cv_time_after(now, SWEEP_PAUSE) : a->due_at;
			return false;
		}
		/* Never to where an amplifier may listen, whatever the peer asks for. */
		if (!candidate_is_allowed(&e->core.scope, &to.addr))
			continue;
		count_packet(&e->punch, now, a);
		a->due_at = cv_time_after(now, SPACING);
		return session_write_probe(s, now, &to, out);
	}
	return false;
}

bool punch_write(struct endpoint *e, cv_time now, struct train *out)
{
	for (unsigned i = 0; i < PUNCH_ATTEMPTS_MAX; i++) {
		if (write_one(e, now, &e->punch.list[i], out))
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

/* Every announced address was tried, and none answered. */
static bool have_failed(const struct session *s)
{
	unsigned failed = 0;

	for (uint8_t i = 0; i < PATHS_MAX; i++) {
		const struct path *path = &s->paths.list[i];

		if (path->state == PATH_FREE || path->to.is_relay || !path->is_candidate)
			continue;
		if (path->state == PATH_VALID || path->state == PATH_USABLE ||
		    path->retry_interval == PATH_RETRY_MIN)
			return false;
		failed += path->kind == PATH_KIND_DIRECT;
	}
	return failed > 0;
}

void punch_consider(struct endpoint *e, cv_time now, struct session *s)
{
	struct punch_attempt *a;
	struct punch_plan plan;
	struct wire_punch in;

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
	plan = punch_plan(&e->core.nat, &s->punch.peer, s->has_smaller_key);
	/* If the peer only suspects itself it may as well be us. */
	if ((plan.kind == PUNCH_PLAN_NONE || s->punch.peer.is_suspect) && have_failed(s))
		discovery_suspect(&e->discovery, now);
	a = find(&e->punch, s->number);
	if (a && is_lead(a) && roles[plan.kind] != a->role)
		give_up(e, now, a);
	if (a || now < s->punch_at)
		return;
	if (plan.kind == PUNCH_PLAN_NONE || plan.kind == PUNCH_PLAN_HOPELESS || !plan.leads)
		return;
	if (plan.kind == PUNCH_PLAN_BIRTHDAY && now < s->range_at) {
		s->punch_at = s->range_at;
		return;
	}
	if (s->paths.active == PATHS_NONE || is_validating(s) ||
	    !candidate_is_allowed(&e->core.scope, &s->punch.peer.address) ||
	    !has_hourly(&e->punch, now, e->punch.limits.packets_max)) {
		s->punch_at = cv_time_after(now, CV_SEC(1));
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

		if (a->role == NOBODY)
			continue;
		at = cv_time_min(at, a->until);
		if (a->phase == SENDING)
			at = cv_time_min(at, a->due_at);
	}
	return at;
}

/* Paths come and go; a socket that none of them has is closed. */
static void sweep_sockets(struct endpoint *e, cv_time now)
{
	e->punch.sweep_at = CV_TIME_NEVER;
	if (e->extras.adopted == 0)
		return;
	extras_sweep_begin(&e->extras);
	for (uint32_t i = 0; i < e->session_count; i++) {
		for (uint8_t k = 0; k < PATHS_MAX; k++) {
			const struct path *path = &e->sessions[i]->paths.list[k];

			if (path->state != PATH_FREE && !path->to.is_relay &&
			    path->to.socket >= SOCKET_EXTRA && path->to.socket != SOCKET_TCP)
				extras_keep(&e->extras, path->to.socket);
		}
	}
	extras_sweep_end(&e->extras);
	if (e->extras.adopted > 0)
		e->punch.sweep_at = cv_time_after(now, SWEEP_SPACING);
}

void punch_on_deadline(struct endpoint *e, cv_time now)
{
	for (unsigned i = 0; i < PUNCH_ATTEMPTS_MAX; i++) {
		if (e->punch.list[i].role != NOBODY)
			turn(e, now, &e->punch.list[i]);
	}
	if (now >= e->punch.sweep_at)
		sweep_sockets(e, now);
}

bool punch_check(const struct punch *p)
{
	for (unsigned i = 0; i < PUNCH_ATTEMPTS_MAX; i++) {
		const struct punch_attempt *a = &p->list[i];

		if (a->role == NOBODY ? a->first != 0 : a->until == CV_TIME_NEVER)
			return false;
		if (a->packets > p->limits.packets_max)
			return false;
	}
	return true;
}

/* SPDX-License-Identifier: MIT */
#include "tunnel/rendezvous.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "base/alloc.h"
#include "tunnel/directory.h"
#include "tunnel/rendezvous_state.h"

/*
 *                addresses             first packet opened
 *   RESOLVING ---------------> CONNECTING ----------------> UP
 *       ^                      |   ^   ^                     |
 *       |   pause over         |   |   +--- four probes -----+
 *       +--------- PAUSED <----+   |        unanswered       |
 *                    5 s           |                         |
 *                                  +---- 60 s or more --- HELD   (it closed the session)
 *
 * and CLOSED from everywhere. An attempt begins with the addresses that are known and asks for
 * fresh ones at the same time: resolving must not cost a round trip where nothing has changed.
 *
 * The session outlives UP: four unanswered probes only start a continuing INIT. If its answer names
 * the object that we are bound to, everything (tags, channels) still stands; if not, the server
 * has restarted, and contacts_reset() asks for all of it again.
 *
 * An attempt that goes out to several addresses is one INIT with a cookie for each; the first RESP
 * decides which address is the server's. One of them may be a TCP connection: rendezvous_tcp.c.
 */

#define ATTEMPT_TIME RENDEZVOUS_ATTEMPT_TIME
#define PAUSE_MAX CV_SEC(60)
#define RESOLVE_TIME CV_SEC(10)
#define HOLD_MIN CV_SEC(60)
#define HOLD_MAX CV_SEC(600)
#define KEEPALIVE CV_SEC(25)           /* until something else is known */
#define PROBE_INTERVAL CV_SEC(1)       /* of a keepalive: lost within 30 s of the server's death */
#define PROBE_INTERVAL_FAST CV_MS(400) /* of a check: lost within 2 s */
/* A server asks as often, and may tell another address each time. */
#define ASKED_SPACING CV_MS(250)
#define DOUBT_SPACING CV_SEC(1) /* a hundred peers that fall silent are one reason to ask */
#define CONFIRM_INTERVAL CV_MS(250)
#define REKEY_RETRY CV_SEC(60)
#define RESTART_SPREAD CV_SEC(5)
#define CHANGES_MAX 5 /* of the network, in one attempt, for which TCP has to wait */
#define TO(state) (1u << (state))
static const unsigned edges[] = {
	[STATE_RESOLVING] = TO(STATE_CONNECTING) | TO(STATE_CLOSED),
	[STATE_CONNECTING] = TO(STATE_CONNECTING) | TO(STATE_UP) | TO(STATE_PAUSED) |
	                     TO(STATE_HELD) | TO(STATE_CLOSED),
	[STATE_UP] = TO(STATE_CONNECTING) | TO(STATE_PAUSED) | TO(STATE_HELD) | TO(STATE_CLOSED),
	[STATE_PAUSED] = TO(STATE_PAUSED) | TO(STATE_HELD) | TO(STATE_CONNECTING) |
	                 TO(STATE_RESOLVING) | TO(STATE_UP) | TO(STATE_CLOSED),
	[STATE_HELD] = TO(STATE_CONNECTING) | TO(STATE_RESOLVING) | TO(STATE_CLOSED),
	[STATE_CLOSED] = 0,
};

static cv_time keepalive_after(const struct rendezvous *r, cv_time now)
{
	/* How long a mapping of UDP lives says nothing of TCP's. */
	cv_duration longest =
		r->socket == SOCKET_TCP ? CV_MIN(r->keepalive, KEEPALIVE) : r->keepalive;

	return cv_time_after(now, longest - rng_below(r->opt.rng, longest / 5));
}

/* The only place that writes the state. */
void rendezvous_enter(struct rendezvous *r, cv_time now, enum rendezvous_state next)
{
	CV_ASSERT(edges[r->state] & TO(next));
	if (r->state == STATE_UP)
		trace_emit(r->opt.trace, now, TRACE_SERVER_DOWN, r->opt.number, next, 0);
	r->state = next;
	r->resume_at = CV_TIME_NEVER;
	r->attempt_until = CV_TIME_NEVER;
	r->probe_at = CV_TIME_NEVER;
	r->is_probe_due = false;
	r->probes = 0;
	r->asks = 0;
	rendezvous_tcp_on_state(r, now);
	switch (next) {
	case STATE_UP:
		trace_emit(r->opt.trace, now, TRACE_SERVER_UP, r->opt.number, 0, 0);
		initiator_stop(&r->initiator, now, &r->session.assoc);
		r->init_due = 0;
		r->pause = 0;
		r->up_since = now;
		r->is_refused = false;
		r->has_failed = false;
		r->changes = 0;
		r->probe_at = now; /* at once: it brings our address and the RTT */
		r->probe_interval = PROBE_INTERVAL;
		r->is_checking = false;
		r->asks = PROBES_MAX;
		return;
	case STATE_CONNECTING:
		r->attempt_until = cv_time_after(now, ATTEMPT_TIME);
		r->rounds = 0;
		initiator_start(&r->initiator, now);
		return;
	case STATE_RESOLVING:
	case STATE_PAUSED:
	case STATE_HELD:
	case STATE_CLOSED:
		initiator_stop(&r->initiator, now, &r->session.assoc);
		r->init_due = 0;
		r->confirm_at = CV_TIME_NEVER;
		return;
	}
	CV_UNREACHABLE();
}

static void connect_or_resolve(struct rendezvous *r, cv_time now)
{
	r->wants_addresses = true;
	if (r->address_count > 0) {
		rendezvous_enter(r, now, STATE_CONNECTING);
		return;
	}
	if (r->state != STATE_RESOLVING)
		rendezvous_enter(r, now, STATE_RESOLVING);
	r->resume_at = cv_time_after(now, RESOLVE_TIME);
}

/* An attempt failed: 0, 1, 2, 4 ... 60 s, less up to a quarter. */
static void pause_for(struct rendezvous *r, cv_time now)
{
	cv_duration pause = r->pause;

	r->has_failed = true;
	r->changes = 0;
	rendezvous_tcp_give_up(r, now);
	rendezvous_enter(r, now, STATE_PAUSED);
	r->resume_at = cv_time_after(now, pause - rng_below(r->opt.rng, pause / 4));
	r->pause = pause == 0 ? CV_SEC(1) : CV_MIN(pause * 2, PAUSE_MAX);
}

/* Coming back at once would only be refused again; or, with a twin, throw him out, who would throw
 * us out, for ever (rule 3.8). */
void rendezvous_hold(struct rendezvous *r, cv_time now)
{
	bool was_long_up = r->state == STATE_UP && cv_time_since(now, r->up_since) >= HOLD_MAX;

	r->hold = r->hold == 0 || was_long_up ? HOLD_MIN : CV_MIN(r->hold * 2, HOLD_MAX);
	rendezvous_enter(r, now, STATE_HELD);
	r->resume_at = cv_time_after(now, r->hold);
}

void rendezvous_wait_for_restart(struct rendezvous *r, cv_time now)
{
	rendezvous_enter(r, now, STATE_PAUSED);
	r->resume_at = cv_time_after(now, rng_below(r->opt.rng, RESTART_SPREAD));
}

void rendezvous_begin_session(struct rendezvous *r)
{
	light_begin(&r->session);
	r->register_at = CV_TIME_NEVER;
	r->answer_count = 0;
	r->event_count = 0;
	contacts_reset(&r->contacts);
}

int rendezvous_new(struct rendezvous **out, cv_time now, const struct rendezvous_options *opt)
{
	struct rendezvous *r = cv_zalloc(sizeof(*r));
	int ret;

	if (!r)
		return -ENOMEM;
	ret = remote_init(&r->server, opt->me, opt->server_pk, NULL);
	if (ret < 0) {
		cv_free(r);
		return ret;
	}
	r->opt = *opt;
	r->opt.server_pk = r->server.pk;
	/* The server never begins a handshake: the shorter of the two ages is ours. */
	light_init(&r->session, opt->indexes, opt->owner, true, opt->rng);
	initiator_init(&r->initiator);
	contacts_init(&r->contacts, rng_u64(opt->rng));
	rendezvous_begin_session(r);
	r->state = STATE_RESOLVING;
	r->wants_addresses = true;
	r->keepalive = KEEPALIVE;
	r->resume_at = cv_time_after(now, RESOLVE_TIME);
	r->attempt_until = CV_TIME_NEVER;
	r->probe_at = CV_TIME_NEVER;
	r->confirm_at = CV_TIME_NEVER;
	*out = r;
	return 0;
}

void rendezvous_free(struct rendezvous *r, cv_time now)
{
	if (!r)
		return;
	initiator_stop(&r->initiator, now, &r->session.assoc);
	light_deinit(&r->session, now);
	contacts_deinit(&r->contacts);
	remote_wipe(&r->server);
	sodium_memzero(r, sizeof(*r));
	cv_free(r);
}

/* ---- addresses ---- */

static bool is_listed(const struct addr *list, unsigned count, const struct addr *a)
{
	for (unsigned i = 0; i < count; i++) {
		if (addr_equal(&list[i], a))
			return true;
	}
	return false;
}

bool rendezvous_is_server(const struct rendezvous *r, const struct addr *a)
{
	if (r->socket != SOCKET_TCP && r->current.family != ADDR_NONE && addr_equal(&r->current, a))
		return true;
	return is_listed(r->addresses, r->address_count, a);
}

void rendezvous_set_addresses(struct rendezvous *r, cv_time now, const struct addr *list,
                              unsigned count)
{
	/* What the server sees of us is of use to peers over IPv4 only: our IPv6 addresses are no
	 * others than our interfaces'. Who talks to it over IPv6 has no way to a peer without. Then
	 * goes the one that worked: an attempt begins with it alone. */
	static const uint8_t families[] = { ADDR_V4, ADDR_V6 };
	struct addr next[RENDEZVOUS_ADDRESSES_MAX];
	unsigned n = 0;
	bool is_new = false;

	for (unsigned i = 0; i < CV_ARRAY_SIZE(families); i++) {
		if (r->current.family == families[i] && is_listed(list, count, &r->current))
			next[n++] = r->current;
		for (unsigned k = 0; k < count && n < RENDEZVOUS_ADDRESSES_MAX; k++) {
			if (list[k].family != families[i] || is_listed(next, n, &list[k]))
				continue;
			is_new = is_new || !rendezvous_is_server(r, &list[k]);
			next[n++] = list[k];
		}
	}
	if (n == 0)
		return; /* resolving failed: the old ones may still be good */
	memcpy(r->addresses, next, n * sizeof(next[0]));
	r->address_count = n;
	r->init_due = 0; /* bits of the old list; the next round is at most a second away */
	if (is_new)
		r->pause = 0;
	if (r->state == STATE_RESOLVING || (r->state == STATE_PAUSED && is_new))
		rendezvous_enter(r, now, STATE_CONNECTING);
	else if (r->state == STATE_CONNECTING && is_new)
		initiator_start(&r->initiator, now);
}

/* ---- peers ---- */

int rendezvous_add_peer(struct rendezvous *r, uint32_t peer, const uint8_t peer_pk[32])
{
	uint8_t tag[TAG_SIZE];

	directory_tag(r->server.pk, r->opt.me->pk, peer_pk, tag);
	return contacts_add(&r->contacts, peer, tag);
}

void rendezvous_remove_peer(struct rendezvous *r, cv_time now, uint32_t peer)
{
	(void)now;
	contacts_remove(&r->contacts, peer);
}

void rendezvous_open(struct rendezvous *r, cv_time now, uint32_t peer, const uint8_t *init)
{
	contacts_open(&r->contacts, now, peer, init);
}

uint64_t rendezvous_channel(const struct rendezvous *r, uint32_t peer)
{
	return contacts_channel(&r->contacts, peer);
}

bool rendezvous_find_channel(const struct rendezvous *r, uint64_t channel, uint32_t *peer)
{
	return contacts_find_channel(&r->contacts, channel, peer);
}

bool rendezvous_is_from(const struct rendezvous *r, uint16_t socket, const struct addr *from)
{
	if (!r->session.assoc.is_bound)
		return false;
	/* Also where it has left TCP for UDP: what was in the queues still comes. */
	if (socket == SOCKET_TCP)
		return r->tcp.state == TCP_OPEN && addr_equal(&r->tcp.addr, from);
	return socket == r->socket && addr_equal(&r->current, from);
}

bool rendezvous_address(const struct rendezvous *r, uint16_t *socket, struct addr *to)
{
	if (r->state != STATE_UP)
		return false;
	*socket = r->socket;
	*to = r->current;
	return true;
}

/* ---- time ---- */

bool rendezvous_may_talk(const struct rendezvous *r)
{
	return r->session.assoc.is_bound &&
	       (r->state == STATE_UP || r->confirm_at != CV_TIME_NEVER);
}

cv_time rendezvous_deadline(const struct rendezvous *r)
{
	cv_time at = cv_time_min(r->resume_at, r->attempt_until);

	if (r->state == STATE_CLOSED)
		return CV_TIME_NEVER;
	at = cv_time_min(at, initiator_deadline(&r->initiator));
	at = cv_time_min(at, r->probe_at);
	at = cv_time_min(at, r->confirm_at);
	at = cv_time_min(at, rendezvous_tcp_deadline(r));
	if (rendezvous_may_talk(r)) {
		at = cv_time_min(at, link_deadline(&r->session.link));
		at = cv_time_min(at, contacts_deadline(&r->contacts));
		at = cv_time_min(at, r->register_at);
	}
	if (r->state != STATE_UP)
		return at;
	at = cv_time_min(at, assoc_dead_at(&r->session.assoc));
	if (r->initiator.is_running)
		return cv_time_min(at, r->rekey_until);
	return cv_time_min(at, CV_MAX(assoc_rekey_at(&r->session.assoc, 0), r->rekey_again_at));
}

static void turn_rekey(struct rendezvous *r, cv_time now)
{
	if (r->initiator.is_running) {
		if (now < r->rekey_until)
			return;
		initiator_stop(&r->initiator, now, &r->session.assoc);
		r->init_due = 0;
		if (r->aim == AIM_ANY)
			r->rekey_again_at = cv_time_after(now, REKEY_RETRY);
		rendezvous_trial_on_failed(r, now);
		return;
	}
	if (now < r->rekey_again_at || now < assoc_rekey_at(&r->session.assoc, now))
		return;
	r->rounds = 0;
	r->aim = r->socket == SOCKET_TCP ? AIM_TCP : AIM_ANY;
	r->rekey_until = cv_time_after(now, ATTEMPT_TIME);
	initiator_start(&r->initiator, now);
}

static void turn_probe(struct rendezvous *r, cv_time now)
{
	if (now < r->probe_at)
		return;
	if (r->probes == PROBES_MAX) {
		/* Silent. The continuing INIT finds out whether it still has us. */
		if (r->socket == SOCKET_TCP)
			rendezvous_tcp_give_up(r, now);
		r->wants_addresses = true;
		rendezvous_enter(r, now, STATE_CONNECTING);
		return;
	}
	r->probes++;
	r->asks -= CV_MIN(r->asks, 1);
	r->is_probe_due = true;
	r->probe_at = cv_time_after(now, r->probe_interval);
}

void rendezvous_on_deadline(struct rendezvous *r, cv_time now)
{
	switch (r->state) {
	case STATE_RESOLVING:
	case STATE_PAUSED:
	case STATE_HELD:
		if (now >= r->resume_at)
			connect_or_resolve(r, now);
		break;
	case STATE_CONNECTING:
		if (now >= r->attempt_until)
			pause_for(r, now);
		break;
	case STATE_UP:
		if (!assoc_is_live(&r->session.assoc, now)) {
			rendezvous_enter(r, now, STATE_CONNECTING);
			break;
		}
		turn_rekey(r, now);
		/* A server that lost its state never answers: not at the next keepalive, now. */
		if (link_is_doubtful(&r->session.link))
			rendezvous_check_now(r, now);
		turn_probe(r, now);
		break;
	case STATE_CLOSED:
		return;
	}
	rendezvous_tcp_on_deadline(r, now);
	if (!rendezvous_may_talk(r))
		return;
	contacts_on_deadline(&r->contacts, now);
	if (now >= r->register_at) {
		r->register_at = CV_TIME_NEVER;
		contacts_register_again(&r->contacts);
	}
}

void rendezvous_on_heard(struct rendezvous *r, cv_time now)
{
	if (r->probes == 0)
		return;
	r->probes = 0;
	/* It lives. Where it sees us only an answer tells: without one our peers would not learn of
	 * a new address before the next keepalive. */
	if (r->asks > 0)
		return;
	r->probe_at = keepalive_after(r, now);
	r->probe_interval = PROBE_INTERVAL;
	r->is_checking = false;
}

void rendezvous_on_answered(struct rendezvous *r, cv_time now)
{
	r->asks = 0;
	if (r->state != STATE_UP)
		return;
	r->probe_at = keepalive_after(r, now);
	r->probe_interval = PROBE_INTERVAL;
	r->is_checking = false;
}

/* What TCP delivers may wait for what was lost before it. */
static cv_duration fast_interval(const struct rendezvous *r)
{
	return r->socket == SOCKET_TCP ? PROBE_INTERVAL : PROBE_INTERVAL_FAST;
}

static void ask_at(struct rendezvous *r, cv_time now, cv_time at)
{
	r->probes = 0;
	r->asks = PROBES_MAX;
	r->probe_interval = fast_interval(r);
	r->is_checking = true;
	r->probe_at = at;
	turn_probe(r, now);
}

void rendezvous_ask(struct rendezvous *r, cv_time now)
{
	ask_at(r, now, now);
}

static bool is_being_checked(const struct rendezvous *r)
{
	return r->is_checking && (r->probes > 0 || r->asks > 0);
}

void rendezvous_on_challenged(struct rendezvous *r, cv_time now)
{
	if (r->state == STATE_UP && !is_being_checked(r))
		ask_at(r, now, CV_MAX(now, cv_time_after(r->asked_at, ASKED_SPACING)));
}

void rendezvous_check_now(struct rendezvous *r, cv_time now)
{
	switch (r->state) {
	case STATE_UP:
		if (!is_being_checked(r))
			rendezvous_ask(r, now);
		return;
	case STATE_CONNECTING:
		/* Our own INIT may be what was refused: no faster than it is repeated anyway. */
		if (cv_time_since(now, r->init_at) >= CONFIRM_INTERVAL && r->initiator.is_running)
			initiator_start(&r->initiator, now);
		return;
	case STATE_RESOLVING:
	case STATE_PAUSED:
		r->pause = 0;
		connect_or_resolve(r, now);
		return;
	case STATE_HELD: /* nothing that happens here changes what the server said */
	case STATE_CLOSED:
		return;
	}
	CV_UNREACHABLE();
}

/* What runs was begun in another network: UDP comes first again, and TCP when that has had its
 * time. Not for ever: where something changes all the time TCP has its turn, too. */
static void begin_anew(struct rendezvous *r, cv_time now)
{
	r->wants_addresses = true; /* a name may mean another address there */
	if (r->changes++ >= CHANGES_MAX)
		return;
	rendezvous_tcp_leave(r);
	if (r->state == STATE_PAUSED || !r->initiator.is_running)
		return;
	rendezvous_enter(r, now, STATE_CONNECTING);
	initiator_hasten(&r->initiator, now);
}

void rendezvous_on_network(struct rendezvous *r, cv_time now)
{
	rendezvous_tcp_forgive(r, now);
	if (r->state == STATE_CONNECTING || r->state == STATE_PAUSED)
		begin_anew(r, now);
	rendezvous_check_now(r, now);
}

void rendezvous_want(struct rendezvous *r, cv_time now)
{
	if (r->state != STATE_UP)
		rendezvous_tcp_forgive(r, now);
	/* What runs may be in its last second, and the pause behind it long. */
	if (r->state == STATE_CONNECTING)
		r->pause = 0;
	rendezvous_check_now(r, now);
}

void rendezvous_doubt(struct rendezvous *r, cv_time now)
{
	if (r->state == STATE_UP && cv_time_since(now, r->asked_at) >= DOUBT_SPACING)
		rendezvous_check_now(r, now);
}

void rendezvous_set_keepalive(struct rendezvous *r, cv_time now, cv_duration longest)
{
	bool is_shorter = longest < r->keepalive;

	CV_ASSERT(longest >= CV_SEC(1));
	r->keepalive = longest;
	/* A longer one begins with the next challenge, which tells it to the server. */
	if (is_shorter && r->state == STATE_UP)
		r->probe_at = cv_time_min(r->probe_at, keepalive_after(r, now));
}

bool rendezvous_take_aside(struct rendezvous *r, uint64_t *token)
{
	*token = r->aside;
	r->aside = 0;
	return *token != 0;
}

void rendezvous_close(struct rendezvous *r, cv_time now)
{
	if (r->state == STATE_CLOSED)
		return;
	r->is_goodbye_due = r->state == STATE_UP;
	rendezvous_enter(r, now, STATE_CLOSED);
}

/* ---- events ---- */

static const enum rendezvous_event_kind kinds[] = {
	[CONTACTS_PRESENT] = RENDEZVOUS_EVENT_PRESENT,
	[CONTACTS_ABSENT] = RENDEZVOUS_EVENT_ABSENT,
	[CONTACTS_OFFER] = RENDEZVOUS_EVENT_OFFER,
	[CONTACTS_CHANNEL] = RENDEZVOUS_EVENT_CHANNEL,
	[CONTACTS_CHANNEL_GONE] = RENDEZVOUS_EVENT_CHANNEL_GONE,
};

static void describe(struct rendezvous_event *out, enum contacts_news news,
                     const struct contacts_event *e)
{
	*out = (struct rendezvous_event){
		.kind = kinds[news],
		.peer = e->peer,
		.is_gone = e->is_gone,
		.channel = e->channel,
		.rate_kbit = e->rate_kbit,
		.leg = e->leg,
		.init = e->init,
	};
}

/* About the server itself: what is true now, not each step that led here. */
static bool next_own_event(struct rendezvous *r, struct rendezvous_event *out)
{
	*out = (struct rendezvous_event){ 0 };
	if (r->wants_addresses && r->state != STATE_CLOSED) {
		r->wants_addresses = false;
		out->kind = RENDEZVOUS_EVENT_RESOLVE;
		return true;
	}
	if (r->is_refusal_new) {
		r->is_refusal_new = false;
		out->kind = RENDEZVOUS_EVENT_REFUSED;
		out->text = r->refusal;
		return true;
	}
	if (r->was_up != (r->state == STATE_UP)) {
		r->was_up = !r->was_up;
		out->kind = r->was_up ? RENDEZVOUS_EVENT_UP : RENDEZVOUS_EVENT_DOWN;
		return true;
	}
	if (r->is_address_new) {
		r->is_address_new = false;
		out->kind = RENDEZVOUS_EVENT_ADDRESS;
		out->addr = r->public_address;
		return true;
	}
	return rendezvous_tcp_next_event(r, out);
}

bool rendezvous_next_event(struct rendezvous *r, struct rendezvous_event *out)
{
	struct contacts_event gone;
	struct peer_event e;

	if (next_own_event(r, out))
		return true;
	if (contacts_next_gone(&r->contacts, &gone)) {
		describe(out, CONTACTS_CHANNEL_GONE, &gone);
		return true;
	}
	while (r->event_count > 0) {
		e = r->events[r->event_first];
		r->event_first = (r->event_first + 1) & (EVENTS_MAX - 1);
		r->event_count--;
		if (!contacts_has(&r->contacts, e.about.peer))
			continue; /* removed meanwhile */
		describe(out, e.news, &e.about);
		return true;
	}
	return false;
}

/* A server does not answer whom it does not know, nor a wrong key: that looks like no server. */
static const char *why_down(const struct rendezvous *r)
{
	if (r->state == STATE_UP)
		return NULL;
	if (r->is_refused)
		return r->refusal;
	if (r->initiator.version_seen)
		return "it speaks another protocol version";
	if (r->address_count == 0)
		return "its name is not resolved";
	if (r->has_failed) /* by then TCP has had its time as well */
		return "no answer by UDP or TCP (server off, network, wrong key, or this agent is "
		       "not on its list)";
	return "connecting";
}

void rendezvous_stats(const struct rendezvous *r, struct rendezvous_stats *out)
{
	*out = (struct rendezvous_stats){
		.is_up = r->state == STATE_UP,
		.rtt = r->rtt,
		.public_address = r->public_address,
		.address = r->current,
		.is_tcp = r->socket == SOCKET_TCP,
		.why = why_down(r),
		.version_seen = r->initiator.version_seen,
	};
}

bool rendezvous_check(const struct rendezvous *r)
{
	if (!light_check(&r->session) || !contacts_check(&r->contacts))
		return false;
	if (r->state == STATE_UP && !r->session.assoc.is_bound)
		return false;
	if (!rendezvous_tcp_check(r))
		return false;
	/* A state without a way out is a server that is never tried again. */
	return r->state == STATE_CLOSED || rendezvous_deadline(r) != CV_TIME_NEVER;
}

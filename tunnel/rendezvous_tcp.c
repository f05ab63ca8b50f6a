/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "tunnel/rendezvous_state.h"

/*
 * TCP to the server, for networks that block UDP: one more path of the session (rule 6.1). The
 * shell connects on demand and says so; the first thing on every connection is an INIT, which needs
 * no cookie there, and RESP makes the connection the path, as it does with an address.
 *
 *	attempt begins --1 s without an answer by UDP--> OPENING --connected--> OPEN: INIT goes by
 *both UP by UDP -----three challenges unanswered-----> OPENING --connected--> OPEN: INIT by TCP UP
 *by TCP --every 30 s, and when the network changes: challenges by UDP--> three answered in a row, a
 *second apart: INIT by UDP, RESP makes that the path; TCP is closed 5 s later
 *
 * So the session and its channels live on, and only the path changes. The server moves when the
 * handshake is confirmed, and our packets come behind that; what was in the TCP's queues by then
 * is taken by both ends until the connection is closed.
 *
 * We answer a challenge of the server's only where our path is: it asks wherever it hears us, and
 * one answer would move it before UDP has shown that it lasts. Where UDP dies again within a minute
 * (a firewall that looks at the first packets), the next return is later: up to 10 min. Trials go
 *on meanwhile, for the address that they tell: the peers may reach us there.
 */

#define UDP_FIRST CV_SEC(1) /* from the beginning of an attempt, or the last word by UDP */
#define PAUSE_MIN CV_SEC(2) /* after a failure, doubling */
#define PAUSE_MAX CV_SEC(60)
#define LASTING CV_SEC(10) /* a connection that held so long may be made again at once */
#define FORGIVEN_AFTER CV_SEC(1)
#define CLOSE_AFTER CV_SEC(5) /* 96 KiB at 150 kbit/s: what waits in the server's queue */
#define TRIAL_FIRST CV_SEC(5)
#define TRIAL_INTERVAL CV_SEC(30)
#define STAY_FIRST CV_SEC(30) /* after a relapse, doubling */
#define STAY_MAX CV_SEC(600)
#define TRIAL_STEP CV_SEC(1) /* between answers, and how long one may take */
#define RELAPSE CV_SEC(60)
#define ANSWER_TIME CV_SEC(3) /* that an attempt leaves to a new connection */

enum {
	SILENT_PROBES = 3, /* by UDP; the last of them has just left */
	TRIALS = 3,
};

static bool is_on_tcp(const struct rendezvous *r)
{
	return r->socket == SOCKET_TCP;
}

static void open_tcp(struct rendezvous *r, cv_time now)
{
	CV_ASSERT(r->tcp.state == TCP_CLOSED);
	r->tcp.state = TCP_OPENING;
	r->tcp.is_open_due = true;
	r->tcp.tried_at = now;
}

static void close_tcp(struct rendezvous *r)
{
	if (r->tcp.state == TCP_CLOSED)
		return;
	r->tcp.state = TCP_CLOSED;
	/* What the shell was never told to open need not be closed. */
	if (r->tcp.is_open_due)
		r->tcp.is_open_due = false;
	else
		r->tcp.is_close_due = true;
	r->init_due &= ~INIT_TCP;
}

/* It is over; how soon may the next one be made? */
static void punish(struct rendezvous *r, cv_time now)
{
	if (is_on_tcp(r) && cv_time_since(now, r->tcp.tried_at) >= LASTING)
		r->tcp.pause = 0;
	else
		r->tcp.pause = CV_MAX(r->tcp.pause, PAUSE_MIN);
	r->tcp.retry_at = cv_time_after(now, r->tcp.pause);
	r->tcp.pause = r->tcp.pause == 0 ? PAUSE_MIN : CV_MIN(r->tcp.pause * 2, PAUSE_MAX);
}

void rendezvous_tcp_give_up(struct rendezvous *r, cv_time now)
{
	if (r->tcp.state != TCP_OPEN)
		return; /* the shell says when connecting has failed */
	close_tcp(r);
	punish(r, now);
}

void rendezvous_tcp_leave(struct rendezvous *r)
{
	if (!is_on_tcp(r))
		close_tcp(r);
}

void rendezvous_tcp_forgive(struct rendezvous *r, cv_time now)
{
	r->tcp.pause = 0;
	r->tcp.retry_at = cv_time_min(r->tcp.retry_at,
	                              CV_MAX(now, cv_time_after(r->tcp.tried_at, FORGIVEN_AFTER)));
	if (r->state != STATE_UP || !is_on_tcp(r))
		return;
	r->tcp.stay = 0;
	r->tcp.move_at = now;
	/* One that runs is about the same network, or is over in a second. */
	if (r->tcp.trial_token == 0 && r->tcp.trial_count == 0 && r->aim != AIM_TRIAL)
		r->tcp.trial_at = now;
}

void rendezvous_tcp_on_state(struct rendezvous *r, cv_time now)
{
	r->tcp.trial_at = CV_TIME_NEVER;
	r->tcp.trial_token = 0;
	r->tcp.trial_due = 0;
	r->tcp.trial_count = 0;
	r->aim = AIM_ANY;
	switch (r->state) {
	case STATE_CONNECTING:
		/* Where TCP was needed a moment ago, UDP has had its time. */
		r->tcp.wanted_at = is_on_tcp(r) ? now : cv_time_after(now, UDP_FIRST);
		return;
	case STATE_UP:
		r->tcp.close_at = now;
		/* UDP was not slow, perhaps: there was no network yet. */
		if (is_on_tcp(r))
			r->tcp.trial_at = r->changes > 0 ? now : cv_time_after(now, TRIAL_FIRST);
		return;
	case STATE_HELD:
	case STATE_RESOLVING:
		close_tcp(r);
		return;
	case STATE_PAUSED: /* it may still be connecting */
	case STATE_CLOSED: /* goodbye goes by it */
		return;
	}
	CV_UNREACHABLE();
}

void rendezvous_tcp_on_udp(struct rendezvous *r, cv_time now)
{
	r->tcp.wanted_at = cv_time_after(now, UDP_FIRST);
}

/* ---- the path ---- */

static void on_move(struct rendezvous *r, cv_time now)
{
	r->is_leg_new = true;
	if (is_on_tcp(r)) {
		/* Gone again so soon: it is no use to come back every half minute. */
		if (r->tcp.left_at != 0 && cv_time_since(now, r->tcp.left_at) < RELAPSE)
			r->tcp.stay = CV_MAX(STAY_FIRST, CV_MIN(r->tcp.stay * 2, STAY_MAX));
		else
			r->tcp.stay = 0;
		r->tcp.move_at = cv_time_after(now, r->tcp.stay);
		r->tcp.trial_at = cv_time_after(now, TRIAL_FIRST);
	} else {
		r->tcp.left_at = now;
		r->tcp.close_at = cv_time_after(now, CLOSE_AFTER);
		r->tcp.trial_at = CV_TIME_NEVER;
	}
	r->tcp.trial_token = 0;
	r->tcp.trial_due = 0;
	r->tcp.trial_count = 0;
	if (r->state == STATE_UP)
		rendezvous_ask(r, now);
}

void rendezvous_set_path(struct rendezvous *r, cv_time now, uint16_t socket,
                         const struct addr *from)
{
	bool is_move = socket != r->socket;

	r->current = *from;
	r->socket = socket;
	r->aim = AIM_ANY;
	if (is_on_tcp(r))
		r->tcp.pause = 0; /* what is behind it serves us */
	if (is_move)
		on_move(r, now);
}

/* ---- the shell's word ---- */

void rendezvous_on_tcp(struct rendezvous *r, cv_time now, const struct addr *to)
{
	/* Of one that was given up meanwhile, which the shell has yet to hear. */
	if (r->tcp.state != TCP_OPENING || r->tcp.is_open_due || r->tcp.is_close_due)
		return;
	r->tcp.state = TCP_OPEN;
	r->tcp.addr = *to;
	if (r->state == STATE_PAUSED) {
		rendezvous_enter(r, now, STATE_CONNECTING);
	} else if (r->state == STATE_CONNECTING && r->initiator.is_running) {
		if (r->initiator.local_index != 0)
			r->init_due |= INIT_TCP; /* not at the next repeat */
		r->attempt_until = CV_MAX(r->attempt_until, cv_time_after(now, ANSWER_TIME));
	} else if (r->state == STATE_UP && r->probes > 0 && !is_on_tcp(r)) {
		r->aim = AIM_TCP;
		r->rounds = 0;
		r->rekey_until = cv_time_after(now, RENDEZVOUS_ATTEMPT_TIME);
		initiator_start(&r->initiator, now);
	}
}

void rendezvous_on_relayed(struct rendezvous *r, cv_time now, uint16_t socket)
{
	if (r->state == STATE_UP && is_on_tcp(r) && socket == SOCKET_TCP)
		rendezvous_on_heard(r, now);
}

void rendezvous_on_tcp_closed(struct rendezvous *r, cv_time now)
{
	if (r->tcp.is_close_due) {
		r->tcp.is_close_due = false;
		return;
	}
	if (r->tcp.state == TCP_CLOSED || r->tcp.is_open_due)
		return;
	r->tcp.state = TCP_CLOSED;
	r->init_due &= ~INIT_TCP;
	punish(r, now);
	if (!is_on_tcp(r))
		return;
	if (r->state == STATE_UP) {
		r->wants_addresses = true;
		rendezvous_enter(r, now, STATE_CONNECTING);
	} else if (r->state == STATE_CONNECTING) { /* before it was confirmed */
		r->confirm_at = CV_TIME_NEVER;
		initiator_start(&r->initiator, now);
	}
}

bool rendezvous_has_path(const struct rendezvous *r)
{
	return !is_on_tcp(r) || r->tcp.state == TCP_OPEN;
}

void rendezvous_set_tcp_port(struct rendezvous *r, uint16_t port)
{
	r->tcp.port = port;
}

unsigned rendezvous_tcp_addresses(const struct rendezvous *r,
                                  struct addr out[RENDEZVOUS_TCP_ADDRESSES_MAX])
{
	unsigned count = 0;

	for (unsigned i = 0; i < r->address_count; i++) {
		out[count] = r->addresses[i];
		if (r->tcp.port != 0)
			out[count].port = r->tcp.port;
		count++;
	}
	for (unsigned i = 0; i < r->address_count && r->tcp.port == 0; i++) {
		if (r->addresses[i].port == RENDEZVOUS_TCP_PORT_USUAL)
			continue;
		out[count] = r->addresses[i];
		out[count++].port = RENDEZVOUS_TCP_PORT_USUAL;
	}
	return count;
}

bool rendezvous_tcp_next_event(struct rendezvous *r, struct rendezvous_event *out)
{
	if (r->tcp.is_close_due) {
		r->tcp.is_close_due = false;
		out->kind = RENDEZVOUS_EVENT_TCP_CLOSE;
		return true;
	}
	if (r->tcp.is_open_due) {
		r->tcp.is_open_due = false;
		out->kind = RENDEZVOUS_EVENT_TCP_OPEN;
		return true;
	}
	if (r->is_leg_new) {
		r->is_leg_new = false;
		out->kind = RENDEZVOUS_EVENT_LEG;
		out->leg = is_on_tcp(r) ? LEG_TCP : LEG_UDP;
		return true;
	}
	return false;
}

/* ---- is UDP back? ---- */

bool rendezvous_trial_on_answer(struct rendezvous *r, cv_time now, const struct addr *from,
                                uint64_t token)
{
	if (r->tcp.trial_token == 0 || token != r->tcp.trial_token)
		return false;
	r->tcp.trial_token = 0;
	r->tcp.trial_due = 0;
	r->tcp.trial_addr = *from;
	if (now < r->tcp.move_at) { /* good to know, and no more yet */
		r->tcp.trial_at = cv_time_after(now, TRIAL_INTERVAL);
		return true;
	}
	r->tcp.trial_count++;
	r->tcp.trial_at = r->tcp.trial_count < TRIALS ? cv_time_after(now, TRIAL_STEP) : now;
	return true;
}

void rendezvous_trial_on_failed(struct rendezvous *r, cv_time now)
{
	r->aim = AIM_ANY;
	r->tcp.trial_token = 0;
	r->tcp.trial_due = 0;
	r->tcp.trial_count = 0;
	if (is_on_tcp(r))
		r->tcp.trial_at = cv_time_after(now, TRIAL_INTERVAL);
}

static void turn_trial(struct rendezvous *r, cv_time now)
{
	if (r->initiator.is_running) { /* a rekey, or the move itself */
		r->tcp.trial_at = cv_time_after(now, TRIAL_STEP);
		return;
	}
	if (r->tcp.trial_token != 0) {
		rendezvous_trial_on_failed(r, now);
		return;
	}
	if (r->tcp.trial_count >= TRIALS) {
		r->aim = AIM_TRIAL;
		r->rounds = 0;
		r->rekey_until = cv_time_after(now, RENDEZVOUS_ATTEMPT_TIME);
		r->tcp.trial_at = r->rekey_until;
		initiator_start(&r->initiator, now);
		return;
	}
	r->tcp.trial_token = rng_u64(r->opt.rng) | 1;
	r->tcp.trial_due = (1u << r->address_count) - 1;
	r->tcp.trial_at = cv_time_after(now, TRIAL_STEP);
}

bool rendezvous_trial_next(struct rendezvous *r, unsigned *address)
{
	for (unsigned i = 0; i < r->address_count; i++) {
		if (!(r->tcp.trial_due & 1u << i))
			continue;
		r->tcp.trial_due &= ~(1u << i);
		/* Once one of them has answered it is asked alone. */
		if (r->tcp.trial_count > 0 && !addr_equal(&r->addresses[i], &r->tcp.trial_addr))
			continue;
		*address = i;
		return true;
	}
	return false;
}

/* ---- time ---- */

/* When one should be opened; NEVER: none is wanted. */
static cv_time open_at(const struct rendezvous *r)
{
	if (r->tcp.state != TCP_CLOSED || r->address_count == 0)
		return CV_TIME_NEVER;
	if (r->state == STATE_CONNECTING)
		return CV_MAX(r->tcp.wanted_at, r->tcp.retry_at);
	if (r->state == STATE_UP && !is_on_tcp(r) && r->probes >= SILENT_PROBES)
		return r->tcp.retry_at;
	return CV_TIME_NEVER;
}

/* When the one there is should be closed: UDP carries the session. */
static cv_time close_at(const struct rendezvous *r)
{
	if (r->tcp.state == TCP_CLOSED || r->state != STATE_UP || is_on_tcp(r) || r->probes > 0)
		return CV_TIME_NEVER;
	return r->tcp.close_at;
}

cv_time rendezvous_tcp_deadline(const struct rendezvous *r)
{
	cv_time at = cv_time_min(open_at(r), close_at(r));

	return r->state == STATE_UP && is_on_tcp(r) ? cv_time_min(at, r->tcp.trial_at) : at;
}

void rendezvous_tcp_on_deadline(struct rendezvous *r, cv_time now)
{
	if (now >= open_at(r))
		open_tcp(r, now);
	if (now >= close_at(r)) {
		if (r->aim == AIM_TCP) {
			initiator_stop(&r->initiator, now, &r->session.assoc);
			r->aim = AIM_ANY;
		}
		close_tcp(r);
	}
	if (r->state == STATE_UP && is_on_tcp(r) && now >= r->tcp.trial_at)
		turn_trial(r, now);
}

bool rendezvous_tcp_check(const struct rendezvous *r)
{
	/* The path is a connection that there is; while none is up, it may just have ended. */
	if (r->state == STATE_UP && is_on_tcp(r) && r->tcp.state != TCP_OPEN)
		return false;
	if (r->state == STATE_UP && is_on_tcp(r) && r->tcp.trial_at == CV_TIME_NEVER)
		return false;
	return !(r->tcp.is_open_due && r->tcp.state != TCP_OPENING);
}

/* SPDX-License-Identifier: MIT */
#include "proxy/pump.h"

#define TO(state) (1u << (state))
static const unsigned edges[] = {
	[PUMP_OPEN] = TO(PUMP_FINISHING) | TO(PUMP_RESET),
	[PUMP_FINISHING] = TO(PUMP_FINISHED) | TO(PUMP_RESET),
	[PUMP_FINISHED] = 0,
	[PUMP_RESET] = 0,
};

/* The only place that writes a half. */
static void enter(enum pump_half *half, enum pump_half next)
{
	CV_ASSERT(edges[*half] & TO(next));
	*half = next;
}

static bool is_final(enum pump_half half)
{
	return half == PUMP_FINISHED || half == PUMP_RESET;
}

void pump_init(struct pump *p)
{
	*p = (struct pump){ .up = PUMP_OPEN, .down = PUMP_OPEN, .code = TARGET_OK };
}

/*
 * One end of the flow is broken, so both halves are: what has not ended well by now
 * is reset. A half that has ended stays ended: its bytes arrived, whole.
 */
static unsigned abort_flow(struct pump *p, enum target_code code)
{
	unsigned actions = 0;

	CV_ASSERT(code != TARGET_OK);
	if (!is_final(p->up)) {
		enter(&p->up, PUMP_RESET);
		actions |= PUMP_STREAM_RESET;
	}
	if (!is_final(p->down)) {
		enter(&p->down, PUMP_RESET);
		actions |= PUMP_STREAM_STOP;
	}
	if (actions == 0)
		return 0; /* over already */
	p->code = code;
	CV_ASSERT(pump_check(p));
	return actions | PUMP_LOCAL_RST | PUMP_DONE;
}

/* After a half ended well: the socket may go when both have. */
static unsigned close_if_finished(const struct pump *p)
{
	CV_ASSERT(pump_check(p));
	return pump_is_done(p) ? PUMP_LOCAL_CLOSE | PUMP_DONE : 0;
}

unsigned pump_on_local_eof(struct pump *p)
{
	if (p->up != PUMP_OPEN)
		return 0; /* told twice, or over */
	enter(&p->up, PUMP_FINISHING);
	return PUMP_STREAM_FIN;
}

unsigned pump_on_local_error(struct pump *p, enum target_code code)
{
	return abort_flow(p, code);
}

unsigned pump_on_stream_acked(struct pump *p)
{
	if (p->up != PUMP_FINISHING)
		return 0; /* there is more to come, or it is over */
	enter(&p->up, PUMP_FINISHED);
	return close_if_finished(p);
}

unsigned pump_on_stream_fin(struct pump *p)
{
	if (p->down == PUMP_OPEN)
		enter(&p->down, PUMP_FINISHING);
	return 0; /* the shutdown waits for the last byte: pump_on_down_flushed() */
}

unsigned pump_on_down_flushed(struct pump *p)
{
	if (p->down != PUMP_FINISHING)
		return 0; /* the queue ran empty in mid-stream */
	enter(&p->down, PUMP_FINISHED);
	return PUMP_LOCAL_SHUTDOWN_WR | close_if_finished(p);
}

unsigned pump_on_stream_reset(struct pump *p, enum target_code code)
{
	/* After the last byte was written a RESET of that half is only a late one. */
	if (is_final(p->down))
		return 0;
	/* No STOP: the peer has just said that it sends no more. */
	return abort_flow(p, code) & ~(unsigned)PUMP_STREAM_STOP;
}

unsigned pump_on_stream_stopped(struct pump *p, enum target_code code)
{
	/* Everything was acknowledged: what the STOP does not want has arrived. */
	if (is_final(p->up))
		return 0;
	return abort_flow(p, code);
}

unsigned pump_on_session_lost(struct pump *p)
{
	return abort_flow(p, TARGET_SESSION_LOST) &
	       ~(unsigned)(PUMP_STREAM_RESET | PUMP_STREAM_STOP);
}

bool pump_wants_local(const struct pump *p)
{
	return p->up == PUMP_OPEN;
}

bool pump_wants_stream(const struct pump *p)
{
	return !is_final(p->down);
}

bool pump_is_done(const struct pump *p)
{
	return is_final(p->up) && is_final(p->down);
}

bool pump_check(const struct pump *p)
{
	bool is_reset = p->up == PUMP_RESET || p->down == PUMP_RESET;

	/* A reset takes the socket with it, so no other half can still be under way. */
	if (is_reset && !pump_is_done(p))
		return false;
	return is_reset == (p->code != TARGET_OK);
}

/* SPDX-License-Identifier: MIT */
#include "tunnel/flow.h"

#include "tunnel/wire.h"

/* Before anything was measured: the initial RTT of the loss recovery. */
#define RTT_UNKNOWN CV_MS(100)

void flow_in_init(struct flow_in *f, uint32_t window)
{
	CV_ASSERT(window > 0);
	*f = (struct flow_in){ .told = window, .window = window };
}

static uint64_t limit(const struct flow_in *f, uint64_t done)
{
	return CV_MIN(done + f->window, WIRE_OFFSET_MAX);
}

bool flow_in_is_due(const struct flow_in *f, uint64_t done)
{
	uint64_t next = limit(f, done);

	if (next <= f->told)
		return false;
	return f->is_blocked || next - f->told >= f->window / 4;
}

void flow_in_tune(struct flow_in *f, cv_time now, uint64_t done, cv_duration rtt,
                  uint32_t window_max, bool may_grow)
{
	uint64_t used = done - f->tune_done;
	bool is_fast;

	CV_ASSERT(done >= f->tune_done);
	if (used < f->window / 2 && !f->is_blocked)
		return;
	is_fast = cv_time_since(now, f->tune_at) < 2 * (rtt ? rtt : RTT_UNKNOWN);
	if (may_grow && f->window < window_max && (is_fast || f->is_blocked))
		f->window = f->window > window_max / 2 ? window_max : f->window * 2;
	/* Also when it must not grow: the peer says it again at the next limit. */
	f->is_blocked = false;
	f->tune_done = done;
	f->tune_at = now;
}

uint64_t flow_in_tell(struct flow_in *f, uint64_t done)
{
	f->told = CV_MAX(f->told, limit(f, done));
	return f->told;
}

bool flow_in_check(const struct flow_in *f, uint64_t done)
{
	return f->tune_done <= done && done <= f->told && f->told <= WIRE_OFFSET_MAX &&
	       f->window > 0;
}

void flow_out_init(struct flow_out *f, uint64_t max)
{
	*f = (struct flow_out){ .max = max };
}

bool flow_out_raise(struct flow_out *f, uint64_t max)
{
	if (max <= f->max)
		return false;
	f->max = CV_MIN(max, WIRE_OFFSET_MAX);
	return true;
}

bool flow_out_block(struct flow_out *f, uint64_t used)
{
	if (used < f->max || f->blocked_at == f->max)
		return false;
	f->blocked_at = f->max;
	return true;
}

/* SPDX-License-Identifier: MIT */
#include "tunnel/punch_aim.h"

/* The next of one sweep over @count; false: the sweep is over, and the next begins later. */
static bool sweep(struct punch_attempt *a, cv_time now, unsigned count, unsigned *i)
{
	if (a->at < count) {
		*i = a->at++;
		return true;
	}
	a->at = 0;
	a->sweeps++;
	a->due_at = cv_time_after(now, PUNCH_SWEEP_PAUSE);
	return false;
}

static uint16_t row_port(const struct punch_attempt *a, unsigned i)
{
	return punch_plan_port(a->target.port, (int)i * a->step);
}

/* Each cell is a socket and a port; of those that were drawn one is sent from each that is open.
 * Nothing is sent twice: whichever of two packets that meet comes later passes both routers. */
static bool aim_across(struct punch_attempt *a, const struct extras *extras, struct origin *to)
{
	uint32_t skip = a->has_sample, sockets = a->count - skip;
	uint32_t cell;

	while (punch_order_next(&a->order, &cell)) {
		uint32_t port = cell / sockets;

		to->socket = (uint16_t)(a->first + skip + cell % sockets);
		if (a->row_count > 0)
			to->addr.port = row_port(a, port);
		else
			to->addr.port = (uint16_t)(a->target.port + port);
		if (extras_is_open(extras, to->socket))
			return true;
	}
	a->due_at = CV_TIME_NEVER;
	return false;
}

bool punch_aim(struct punch_attempt *a, cv_time now, const struct extras *extras, struct origin *to)
{
	unsigned skip = a->has_sample ? 1 : 0, i;
	uint32_t offset;

	*to = (struct origin){ .addr = a->target };
	switch ((enum punch_role)a->role) {
	case PUNCH_LEAD_ROW:
	case PUNCH_LEAD_RANGE:
		do {
			if (!sweep(a, now, a->count - skip, &i))
				return false;
			to->socket = (uint16_t)(a->first + skip + i);
		} while (!extras_is_open(extras, to->socket));
		return true;
	case PUNCH_LEAD_PAIR:
	case PUNCH_HELP_PAIR:
		if (!sweep(a, now, a->row_count, &i))
			return false;
		/* The asker's ports may have moved on by what others took. */
		to->addr.port = row_port(a, i + (a->role == PUNCH_HELP_PAIR ? a->shift : 0));
		to->socket = (uint16_t)(a->first + skip);
		return extras_is_open(extras, to->socket);
	case PUNCH_HELP_SPRAY:
		if (a->row_count > 0) {
			if (a->sweeps == 2 || !sweep(a, now, a->row_count, &i))
				return false;
			to->addr.port = row_port(a, i);
			return true;
		}
		if (!punch_order_next(&a->order, &offset)) {
			a->due_at = CV_TIME_NEVER;
			a->until = cv_time_min(a->until, cv_time_after(now, PUNCH_SPRAY_TAIL));
			return false;
		}
		to->addr.port = (uint16_t)(a->target.port + offset);
		return true;
	case PUNCH_LEAD_CROSS:
	case PUNCH_HELP_CROSS:
		return aim_across(a, extras, to);
	case PUNCH_NOBODY:
	case PUNCH_ROLES:
		break;
	}
	CV_UNREACHABLE();
}

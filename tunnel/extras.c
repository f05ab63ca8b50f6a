/* SPDX-License-Identifier: MIT */
#include "tunnel/extras.h"

enum state { FREE, WANTED, ASKED, OPEN, REFUSED, CLOSING, ABANDONED };

static unsigned index_of(uint16_t number)
{
	CV_ASSERT(number >= SOCKET_EXTRA && number < SOCKET_EXTRA + SOCKETS_EXTRA_MAX);
	return (unsigned)number - SOCKET_EXTRA;
}

uint16_t extras_take(struct extras *x, unsigned count)
{
	unsigned run = 0;

	CV_ASSERT(count > 0);
	for (unsigned i = 0; i < SOCKETS_EXTRA_MAX; i++) {
		run = x->list[i].state == FREE ? run + 1 : 0;
		if (run < count)
			continue;
		for (unsigned k = i + 1 - count; k <= i; k++)
			x->list[k].state = WANTED;
		x->used += count;
		x->has_wish = true;
		return (uint16_t)(SOCKET_EXTRA + i + 1 - count);
	}
	return 0;
}

static void release(struct extras *x, unsigned i)
{
	switch ((enum state)x->list[i].state) {
	case FREE:
	case CLOSING:
	case ABANDONED:
		return;
	case ASKED: /* the shell's answer is still to come */
		x->list[i].state = ABANDONED;
		return;
	case WANTED:
	case REFUSED:
		x->list[i].state = FREE;
		x->used--;
		return;
	case OPEN:
		x->list[i].state = CLOSING;
		x->has_wish = true;
		return;
	}
	CV_UNREACHABLE();
}

void extras_give_back(struct extras *x, uint16_t first, unsigned count)
{
	for (unsigned i = index_of(first); count > 0; i++, count--) {
		if (!x->list[i].is_adopted)
			release(x, i);
	}
}

void extras_adopt(struct extras *x, uint16_t number)
{
	unsigned i = index_of(number);

	CV_ASSERT(x->list[i].state == OPEN);
	x->adopted += !x->list[i].is_adopted;
	x->list[i].is_adopted = true;
}

bool extras_is_open(const struct extras *x, uint16_t number)
{
	return x->list[index_of(number)].state == OPEN;
}

bool extras_is_settled(const struct extras *x, uint16_t number)
{
	uint8_t state = x->list[index_of(number)].state;

	return state == OPEN || state == REFUSED;
}

uint16_t extras_port(const struct extras *x, uint16_t number)
{
	return x->list[index_of(number)].port;
}

/* ---- which are needed ---- */

void extras_sweep_begin(struct extras *x)
{
	for (unsigned i = 0; i < SOCKETS_EXTRA_MAX; i++)
		x->list[i].is_seen = false;
}

void extras_keep(struct extras *x, uint16_t number)
{
	x->list[index_of(number)].is_seen = true;
}

void extras_sweep_end(struct extras *x)
{
	for (unsigned i = 0; i < SOCKETS_EXTRA_MAX; i++) {
		if (!x->list[i].is_adopted || x->list[i].is_seen)
			continue;
		x->list[i].is_adopted = false;
		x->adopted--;
		release(x, i);
	}
}

/* ---- the shell ---- */

/* Closed before others are opened: no more are open at once than were asked for. */
static bool next_close(struct extras *x, struct extras_wish *out)
{
	for (unsigned i = 0; i < SOCKETS_EXTRA_MAX; i++) {
		if (x->list[i].state != CLOSING)
			continue;
		x->list[i].state = FREE;
		x->used--;
		*out = (struct extras_wish){ true, (uint16_t)(SOCKET_EXTRA + i), 1 };
		return true;
	}
	return false;
}

bool extras_next_wish(struct extras *x, struct extras_wish *out)
{
	if (!x->has_wish)
		return false;
	if (next_close(x, out))
		return true;
	for (unsigned i = 0; i < SOCKETS_EXTRA_MAX; i++) {
		if (x->list[i].state != WANTED)
			continue;
		*out = (struct extras_wish){ false, (uint16_t)(SOCKET_EXTRA + i), 0 };
		for (; i < SOCKETS_EXTRA_MAX && x->list[i].state == WANTED; i++) {
			x->list[i].state = ASKED;
			out->count++;
		}
		return true;
	}
	x->has_wish = false;
	return false;
}

void extras_on_opened(struct extras *x, uint16_t first, unsigned count, unsigned opened,
                      const uint16_t *ports)
{
	CV_ASSERT(opened <= count);
	for (unsigned i = 0; i < count; i++) {
		unsigned at = index_of((uint16_t)(first + i));
		bool is_wanted = x->list[at].state == ASKED;

		CV_ASSERT(is_wanted || x->list[at].state == ABANDONED);
		if (i < opened) {
			x->list[at].state = OPEN;
			x->list[at].port = ports[i];
		} else {
			x->list[at].state = REFUSED;
		}
		if (!is_wanted)
			release(x, at);
	}
}

bool extras_check(const struct extras *x)
{
	unsigned used = 0, adopted = 0;

	for (unsigned i = 0; i < SOCKETS_EXTRA_MAX; i++) {
		used += x->list[i].state != FREE;
		adopted += x->list[i].is_adopted;
		if (x->list[i].is_adopted && x->list[i].state != OPEN)
			return false;
	}
	return used == x->used && adopted == x->adopted;
}

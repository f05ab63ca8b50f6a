/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "tunnel/endpoint_inner.h"

/* Datagrams of flows, between the shell and the sessions that carry them. */

/* There is an object at the other end, and a way to it that flows may use. */
static bool can_carry(const struct session *s, cv_time now)
{
	return s->assoc.is_bound && assoc_is_live(&s->assoc, now) &&
	       s->paths.active != PATHS_NONE && !session_is_held(s) && !session_policies_clash(s);
}

int endpoint_send_datagram(struct endpoint *e, cv_time now, uint32_t peer, uint64_t flow,
                           const uint8_t *bytes, size_t size)
{
	struct session *s = endpoint_find_session(e, peer);

	if (!s || !can_carry(s, now))
		return -ENOTCONN;
	endpoint_touch_session(e, s);
	return datagrams_send(s->datagrams, now, flow, bytes, size);
}

size_t endpoint_datagrams_queued(const struct endpoint *e, uint32_t peer)
{
	const struct session *s = endpoint_find_session(e, peer);

	return s ? datagrams_queued(s->datagrams) : 0;
}

size_t endpoint_flow_queued(const struct endpoint *e, uint32_t peer, uint64_t flow)
{
	const struct session *s = endpoint_find_session(e, peer);

	return s ? datagrams_flow_queued(s->datagrams, flow) : 0;
}

/* A session that something arrived for is on this list until the next endpoint_write(). */
bool endpoint_next_datagram(struct endpoint *e, uint32_t *peer, uint64_t *flow,
                            const uint8_t **bytes, size_t *size)
{
	struct list *at, *next;

	list_for_each(at, next, &e->ready)
	{
		struct session *s = list_entry(at, struct session, ready_node);

		if (datagrams_next(s->datagrams, flow, bytes, size)) {
			*peer = s->number;
			return true;
		}
	}
	return false;
}

bool endpoint_has_datagrams(const struct endpoint *e)
{
	for (struct list *at = e->ready.next; at != &e->ready; at = at->next) {
		if (datagrams_has_arrived(list_entry(at, struct session, ready_node)->datagrams))
			return true;
	}
	return false;
}

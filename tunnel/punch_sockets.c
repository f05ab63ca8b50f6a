/* SPDX-License-Identifier: MIT */
#include "tunnel/punch_sockets.h"

#include "tunnel/endpoint_inner.h"
#include "tunnel/recovery.h"

static bool is_on(const struct path *p, uint16_t first, uint16_t count)
{
	return p->state != PATH_FREE && !p->to.is_relay && p->to.socket >= first &&
	       p->to.socket - first < count;
}

static void remove_path(struct session *s, cv_time now, uint8_t slot)
{
	if (s->paths.list[slot].inflight > 0)
		recovery_take_back(s, now, slot);
	paths_remove(&s->paths, slot);
}

bool punch_sockets_release(struct endpoint *e, cv_time now, uint16_t first, uint16_t count)
{
	bool stays = false;
	struct session *s;

	/* Also those of other peers, whose packets may come by any of them. */
	endpoint_for_each_session(e, i, s)
	{
		for (uint8_t k = 0; k < PATHS_MAX; k++) {
			struct path *p = &s->paths.list[k];

			if (!is_on(p, first, count))
				continue;
			if (k == s->paths.active) {
				extras_adopt(&e->extras, p->to.socket);
				stays = true;
			} else {
				remove_path(s, now, k);
			}
		}
	}
	extras_give_back(&e->extras, first, count);
	return stays;
}

void punch_sockets_on_close(struct endpoint *e, cv_time now, uint16_t socket)
{
	struct session *s;

	endpoint_for_each_session(e, i, s)
	{
		bool is_changed = false;

		for (uint8_t k = 0; k < PATHS_MAX; k++) {
			if (!is_on(&s->paths.list[k], socket, 1))
				continue;
			remove_path(s, now, k);
			is_changed = true;
		}
		if (!is_changed)
			continue;
		s->news |= SESSION_NEWS_PATH;
		session_rechoose(s, now);
		endpoint_touch_session(e, s);
	}
}

bool punch_sockets_sweep(struct endpoint *e)
{
	const struct session *s;

	if (e->extras.adopted == 0)
		return false;
	extras_sweep_begin(&e->extras);
	endpoint_for_each_session(e, i, s)
	{
		for (uint8_t k = 0; k < PATHS_MAX; k++) {
			const struct path *p = &s->paths.list[k];

			if (is_on(p, SOCKET_EXTRA, SOCKETS_EXTRA_MAX))
				extras_keep(&e->extras, p->to.socket);
		}
	}
	extras_sweep_end(&e->extras);
	return e->extras.adopted > 0;
}

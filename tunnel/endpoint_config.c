/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include <sodium.h>

#include "tunnel/endpoint_inner.h"
#include "tunnel/intake.h"
#include "tunnel/traversal.h"

/*
 * Peers and servers come and go while the agent runs. Their numbers are what everything else knows
 * them by (sessions own indices, paths name servers), so a number outlives what it stood for:
 *
 *   a peer that is removed keeps its session, without keys, until its goodbye has left and the
 *   shell has let go of every stream; then the number is free. Added again before that, it is
 *   revived.
 *
 *   a server that is removed keeps its object, closed for good: nothing is sent to it or taken from
 *   it. Only the next server that finds no other number takes that one.
 */

/* ---- servers ---- */

/* A number nobody has had yet, if there is one; -ENOBUFS. */
static int free_server(const struct endpoint *e, uint32_t *out)
{
	if (e->server_count < ENDPOINT_SERVERS_MAX) {
		*out = e->server_count;
		return 0;
	}
	for (uint32_t i = 0; i < e->server_count; i++) {
		if (!e->servers[i].is_removed)
			continue;
		*out = i;
		return 0;
	}
	return -ENOBUFS;
}

int endpoint_add_server(struct endpoint *e, cv_time now, const uint8_t pk[32], uint32_t *server)
{
	struct rendezvous_options opt = {
		.me = e->core.me,
		.server_pk = pk,
		.indexes = &e->indexes,
		.rng = e->core.rng,
		.trace = e->core.trace,
	};
	struct rendezvous *r = NULL;
	struct session *s;
	int error;

	error = free_server(e, &opt.number);
	opt.owner = (uint64_t)OWNER_SERVER + opt.number;
	if (error == 0)
		error = rendezvous_new(&r, now, &opt);
	if (error < 0)
		return error;
	endpoint_for_each_session(e, i, s)
	{
		error = s->is_leaving ? 0 : rendezvous_add_peer(r, i, s->remote.pk);
		if (error < 0) {
			rendezvous_free(r, now);
			return error;
		}
	}
	if (opt.number < e->server_count)
		rendezvous_free(e->servers[opt.number].r, now);
	e->servers[opt.number] = (struct server){ .r = r };
	e->server_count = CV_MAX(e->server_count, opt.number + 1);
	rendezvous_set_keepalive(r, now, e->core.keepalive);
	*server = opt.number;
	return 0;
}

void endpoint_remove_server(struct endpoint *e, cv_time now, uint32_t server)
{
	struct session *s;

	CV_ASSERT(server < e->server_count && !e->servers[server].is_removed);
	rendezvous_close(e->servers[server].r, now);
	e->servers[server].is_removed = true;
	e->servers[server].is_up = false;
	traversal_on_server(e, now, server);
	endpoint_for_each_session(e, i, s)
	{
		s->absent_servers &= ~(UINT64_C(1) << server);
		s->gone_servers &= ~(UINT64_C(1) << server);
		session_drop_relay(s, now, server);
		endpoint_touch_session(e, s);
	}
	endpoint_announce(e, now);
}

/* ---- peers ---- */

static bool is_same_psk(const struct session *s, const uint8_t *psk)
{
	static const uint8_t none[32];

	return sodium_memcmp(s->remote.psk, psk ? psk : none, sizeof(none)) == 0;
}

/* What changes in place. */
static void configure(struct session *s, cv_time now, const struct endpoint_peer *peer)
{
	if (!peer->has_address)
		s->address_count = 0;
	s->has_address = peer->has_address;
	session_set_policy(s, now, peer->policy);
}

static int revive(struct endpoint *e, cv_time now, struct session *s,
                  const struct endpoint_peer *peer)
{
	int r = session_restart(s, now, peer->psk);

	if (r < 0)
		return r;
	e->leaving_count--;
	configure(s, now, peer);
	endpoint_touch_session(e, s);
	return 0;
}

static uint32_t free_number(const struct endpoint *e)
{
	uint32_t i = 0;

	while (i < e->session_count && e->sessions[i])
		i++;
	return i;
}

static int add_session(struct endpoint *e, cv_time now, const struct endpoint_peer *peer,
                       uint32_t number)
{
	struct session *s;
	int r;

	r = session_new(&s, now, &e->core, number, peer);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < e->server_count; i++) {
		r = rendezvous_add_peer(e->servers[i].r, s->number, peer->pk);
		if (r < 0) {
			while (i > 0)
				rendezvous_remove_peer(e->servers[--i].r, now, s->number);
			session_free(s, now);
			return r;
		}
	}
	e->sessions[number] = s;
	e->session_count = CV_MAX(e->session_count, number + 1);
	endpoint_touch_session(e, s);
	return 0;
}

int endpoint_add_peer(struct endpoint *e, cv_time now, const struct endpoint_peer *peer,
                      uint32_t *number)
{
	struct session *known = intake_find_peer(e, peer->pk);
	uint32_t free = free_number(e);
	int r;

	if (known && !known->is_leaving)
		return -EINVAL;
	if (known) {
		*number = known->number;
		return revive(e, now, known, peer);
	}
	if (free == ENDPOINT_PEERS_MAX)
		return -ENOBUFS;
	r = heap_reserve(&e->deadlines, e->session_count + 1);
	if (r == 0)
		r = add_session(e, now, peer, free);
	if (r == 0)
		*number = free;
	return r;
}

int endpoint_change_peer(struct endpoint *e, cv_time now, uint32_t number,
                         const struct endpoint_peer *peer)
{
	struct session *s = endpoint_find_session(e, number);
	int r = 0;

	CV_ASSERT(s && !s->is_leaving);
	if (!is_same_psk(s, peer->psk))
		r = session_restart(s, now, peer->psk);
	if (r < 0)
		return r;
	configure(s, now, peer);
	endpoint_touch_session(e, s);
	return 0;
}

void endpoint_remove_peer(struct endpoint *e, cv_time now, uint32_t number)
{
	struct session *s = endpoint_find_session(e, number);

	CV_ASSERT(s);
	punch_stop_peer(e, now, number);
	session_leave(s, now);
	e->leaving_count++;
	endpoint_touch_session(e, s);
}

void endpoint_sweep_peers(struct endpoint *e, cv_time now)
{
	struct session *s;

	if (e->leaving_count == 0)
		return;
	endpoint_for_each_session(e, i, s)
	{
		if (!session_has_left(s, now))
			continue;
		for (uint32_t k = 0; k < e->server_count; k++)
			rendezvous_remove_peer(e->servers[k].r, now, i);
		heap_remove(&e->deadlines, &s->deadline_node);
		list_remove(&s->ready_node);
		session_free(s, now);
		e->sessions[i] = NULL;
		e->leaving_count--;
	}
	while (e->session_count > 0 && !e->sessions[e->session_count - 1])
		e->session_count--;
}

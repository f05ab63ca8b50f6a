/* SPDX-License-Identifier: MIT */

/*
 * agent_reload - another configuration for a running agent, whole or not at all.
 *
 *	read, check        the same report as `culvert check`
 *	compare            what needs a restart is refused
 *	prepare            new peers and servers in the core, new tables, new sockets bound
 *	commit             cannot fail: pointers are exchanged, what is not wanted is let go
 *
 * All of it within one turn of the loop, so that nobody sees a half.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "agent_inner.h"
#include "base/alloc.h"
#include "base/log.h"
#include "reload.h"

/* ---- what needs a restart ---- */

static void refuse_key(const struct config *c, const struct report_mark *mark, const char *key,
                       FILE *out)
{
	if (mark && mark->line)
		(void)fprintf(out, "%s:%u:%u: ", c->file, mark->line, mark->column);
	else
		(void)fprintf(out, "%s: ", c->file);
	(void)fprintf(out, "'%s' cannot change while the agent runs: restart it\n", key);
}

/* Names every key that differs and may not; true when there is none. */
static bool may_take_over(const struct agent *a, const struct config *next, FILE *out)
{
	const struct config *c = a->config;
	const struct {
		const char *key;
		bool is_same;
		const struct report_mark *mark;
	} table[] = {
		{ "identity", reload_is_same_key(&next->identity, a->sk), &next->identity.mark },
		{ "listen",
		  reload_is_same_listen(c->listen, c->listen_count, next->listen,
		                        next->listen_count),
		  next->listen_count ? &next->listen[0].mark : NULL },
		{ "portmap", c->has_portmap == next->has_portmap, NULL },
		{ "control", strcmp(c->control, next->control) == 0, NULL },
		{ "state", strcmp(c->state, next->state) == 0, NULL },
		{ "sandbox", c->sandbox == next->sandbox, NULL },
		{ "tunnel.congestion", c->tunnel.congestion == next->tunnel.congestion, NULL },
		{ "tunnel.streams_max", c->tunnel.streams_max == next->tunnel.streams_max, NULL },
		{ "tunnel.memory", c->tunnel.memory_size == next->tunnel.memory_size, NULL },
		{ "punch", memcmp(&c->punch, &next->punch, sizeof(c->punch)) == 0, NULL },
	};
	bool may = true;

	for (size_t i = 0; i < CV_ARRAY_SIZE(table); i++) {
		if (table[i].is_same)
			continue;
		refuse_key(next, table[i].mark, table[i].key, out);
		may = false;
	}
	return may;
}

/* ---- the change ---- */

struct change {
	struct config *next;
	struct agent_plan plan;
	struct tables tables;
	uint32_t *proxies; /* owned: what each proxy of now is called then */
};

/* All that can fail. */
static int prepare(struct agent *a, cv_time now, struct change *c, FILE *out)
{
	int r = agent_peers_prepare(a, now, c->next, &c->plan);

	if (r < 0) {
		(void)fprintf(out, "%s\n", c->plan.why);
		return r == -EINVAL ? EXIT_USAGE : EXIT_FAILED;
	}
	c->proxies = cv_zalloc_array(CV_MAX(a->config->proxy_count, 1), sizeof(*c->proxies));
	if (!c->proxies || tables_init(&c->tables, c->next, c->plan.slots) < 0 ||
	    bridge_reserve_peers(&a->bridge, c->plan.peers_size) < 0) {
		(void)fprintf(out, "out of memory\n");
		goto undo;
	}
	if (listeners_prepare(&a->listeners, c->next, c->plan.slots) < 0) {
		(void)fprintf(out, "%s\n", a->listeners.why);
		goto undo;
	}
	return EXIT_DONE;

undo:
	cv_free(c->proxies);
	tables_deinit(&c->tables);
	agent_peers_abort(a, now, &c->plan);
	udp_port_kick(a->port);
	return EXIT_FAILED;
}

static void take_over_stun(struct agent *a, cv_time now)
{
	if (a->foreign && foreign_rebind(a->foreign, a->config))
		return;
	if (a->foreign)
		foreign_close(a->foreign);
	a->foreign = NULL;
	endpoint_set_stun_addresses(a->endpoint, now, NULL, 0);
	if (agent_open_foreign(a) < 0)
		a->foreign = NULL; /* it was said; the tunnel does without */
}

static void commit(struct agent *a, cv_time now, struct change *c)
{
	struct config *before = a->config;

	for (size_t i = 0; i < before->proxy_count; i++)
		c->proxies[i] = UINT32_MAX;
	a->config = c->next;
	agent_apply_log(a);
	agent_peers_commit(a, now, before, &c->plan);
	listeners_commit(&a->listeners, a->config, a->slots, c->proxies);
	bridge_adopt(&a->bridge, &c->tables, c->proxies);
	take_over_stun(a, now);
	cv_free(c->proxies);
	config_free(before);
	udp_port_kick(a->port);
}

/* ---- the whole ---- */

int agent_reload(void *ctx, FILE *out)
{
	struct agent *a = ctx;
	struct change change = { .next = NULL };
	cv_time now = clock_now();
	int r;

	change.next = reload_read(a->config->file, CONFIG_ROLE_AGENT, out);
	if (!change.next)
		return EXIT_USAGE;
	r = command_can_serve(change.next, out) && may_take_over(a, change.next, out)
	            ? prepare(a, now, &change, out)
	            : EXIT_USAGE;
	if (r == EXIT_DONE)
		commit(a, now, &change);
	else
		config_free(change.next);
	return r;
}

void agent_reload_on_signal(void *ctx)
{
	struct agent *a = ctx;

	if (!a->is_stopping)
		reload_into_log(agent_reload, a);
}

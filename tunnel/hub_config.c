/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "tunnel/hub.h"
#include "tunnel/hub_session.h"

/* Who may be here, and how that changes while the hub runs. */

static const char gone_text[] = "not on this server's list of agents";

int hub_list_access(const struct hub *h, const struct hub_options *opt, struct idmap *out)
{
	int r = 0;

	idmap_init(out, h->seed);
	for (size_t i = 0; !opt->access_anyone && i < opt->access_count && r == 0; i++)
		r = idmap_add(out, hub_session_key(h, opt->access[i]), i);
	return r;
}

bool hub_is_listed(const struct hub *h, const uint8_t pk[32])
{
	uint64_t i;

	if (h->opt.access_anyone)
		return true;
	i = idmap_find(&h->access, hub_session_key(h, pk));
	return i != IDMAP_NONE && memcmp(h->opt.access[i], pk, 32) == 0;
}

static void drop_unlisted(struct hub *h, cv_time now)
{
	for (uint32_t i = 0; i < h->opt.agents_max; i++) {
		struct hub_session *s = h->sessions[i];

		if (!s || hub_is_listed(h, s->pk))
			continue;
		hub_say_close(h, now, s, CLOSE_POLICY, gone_text);
		hub_session_drop(h, now, s, true);
	}
}

/* By agents that wait for a direct path, and by those that now have to. */
static void tell_grants(struct hub *h)
{
	for (uint32_t i = 0; i < h->opt.agents_max; i++) {
		if (h->sessions[i])
			hub_session_tell_others(h, h->sessions[i]);
	}
}

int hub_change(struct hub *h, cv_time now, const struct hub_options *opt)
{
	bool is_lent_anew = h->opt.relay_enabled != opt->relay_enabled;
	struct idmap access;
	int r = hub_list_access(h, opt, &access);

	if (r < 0) {
		idmap_deinit(&access);
		return r;
	}
	idmap_deinit(&h->access);
	h->access = access;
	h->opt.access_anyone = opt->access_anyone;
	h->opt.access = opt->access;
	h->opt.access_count = opt->access_count;
	h->opt.agents_per_address_max = opt->agents_per_address_max;
	h->opt.relay_enabled = opt->relay_enabled;
	h->opt.relay_rate = opt->relay_rate;
	h->relay.rate = opt->relay_rate;
	h->relay.is_small_only = !opt->relay_enabled;
	drop_unlisted(h, now);
	if (is_lent_anew)
		tell_grants(h);
	return 0;
}

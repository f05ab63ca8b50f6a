/* SPDX-License-Identifier: MIT */
#include "flows/tables.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"

static size_t patterns_of(const struct config *c)
{
	size_t total = 0;

	for (size_t i = 0; i < c->peer_count; i++)
		total += c->peers[i].allow_count + c->peers[i].allow_listen_count;
	return total;
}

static void copy_peers(struct tables *t)
{
	size_t at = 0;

	for (uint32_t i = 0; i < t->peers_size; i++)
		t->names[i] = "";
	for (size_t i = 0; i < t->config->peer_count; i++) {
		const struct config_peer *p = &t->config->peers[i];

		t->names[t->slots[i]] = p->name;
		t->peers[t->slots[i]] = (struct tables_peer){
			.config = p,
			.allow = &t->patterns[at],
			.allow_count = p->allow_count,
			.allow_listen = &t->patterns[at + p->allow_count],
			.allow_listen_count = p->allow_listen_count,
		};
		for (size_t k = 0; k < p->allow_count; k++)
			t->patterns[at++] = p->allow[k].pattern;
		for (size_t k = 0; k < p->allow_listen_count; k++)
			t->patterns[at++] = p->allow_listen[k].pattern;
	}
}

static void copy_proxy(struct tables *t, size_t i, size_t *rule, size_t *user)
{
	const struct config_proxy *p = &t->config->proxies[i];

	t->proxies[i] = (struct tables_proxy){
		.routes = {
			.rules = &t->rules[*rule],
			.rule_count = p->route_count,
			.peer_names = t->names,
			.peer_count = t->peers_size,
			.default_peer = tables_peer_number(t, &p->peer),
		},
		.users = p->user_count ? &t->users[*user] : NULL,
		.user_count = p->user_count,
	};
	for (size_t k = 0; k < p->route_count; k++) {
		t->rules[*rule].to = p->routes[k].to.pattern;
		t->rules[(*rule)++].peer = tables_peer_number(t, &p->routes[k].peer);
	}
	for (size_t k = 0; k < p->user_count; k++) {
		t->users[*user].name = p->users[k].name;
		t->users[(*user)++].password = p->users[k].password;
	}
}

int tables_init(struct tables *t, const struct config *config, const uint32_t *slots)
{
	size_t rules = 0, users = 0;

	*t = (struct tables){ .config = config };
	for (size_t i = 0; i < config->peer_count; i++)
		t->peers_size = CV_MAX(t->peers_size, slots[i] + 1);
	for (size_t i = 0; i < config->proxy_count; i++) {
		rules += config->proxies[i].route_count;
		users += config->proxies[i].user_count;
	}
	t->slots = cv_zalloc_array(CV_MAX(config->peer_count, 1), sizeof(*t->slots));
	t->peers = cv_zalloc_array(CV_MAX(t->peers_size, 1), sizeof(*t->peers));
	t->names = cv_zalloc_array(CV_MAX(t->peers_size, 1), sizeof(*t->names));
	t->patterns = cv_zalloc_array(CV_MAX(patterns_of(config), 1), sizeof(*t->patterns));
	t->proxies = cv_zalloc_array(CV_MAX(config->proxy_count, 1), sizeof(*t->proxies));
	t->rules = cv_zalloc_array(CV_MAX(rules, 1), sizeof(*t->rules));
	t->users = cv_zalloc_array(CV_MAX(users, 1), sizeof(*t->users));
	if (!t->slots || !t->peers || !t->names || !t->patterns || !t->proxies || !t->rules ||
	    !t->users) {
		tables_deinit(t);
		return -ENOMEM;
	}
	for (size_t i = 0; i < config->peer_count; i++)
		t->slots[i] = slots[i];
	copy_peers(t);
	rules = 0;
	users = 0;
	for (size_t i = 0; i < config->proxy_count; i++)
		copy_proxy(t, i, &rules, &users);
	return 0;
}

void tables_deinit(struct tables *t)
{
	cv_free(t->slots);
	cv_free(t->peers);
	cv_free(t->names);
	cv_free(t->patterns);
	cv_free(t->proxies);
	cv_free(t->rules);
	cv_free(t->users);
	*t = (struct tables){ .config = NULL };
}

const struct tables_peer *tables_peer(const struct tables *t, uint32_t peer)
{
	static const struct tables_peer nobody;

	return peer < t->peers_size ? &t->peers[peer] : &nobody;
}

uint32_t tables_peer_number(const struct tables *t, const struct config_peer_ref *ref)
{
	return ref->name ? t->slots[ref->index] : ROUTE_NO_PEER;
}

uint32_t tables_find_peer(const struct tables *t, const char *name)
{
	for (size_t i = 0; i < t->config->peer_count; i++) {
		if (strcmp(t->config->peers[i].name, name) == 0)
			return t->slots[i];
	}
	return ROUTE_NO_PEER;
}

/* SPDX-License-Identifier: MIT */
#pragma once

/* config_load - texts through config_parse(), for tests; after cmocka.h. */

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "config/config.h"

#define K1 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
#define K2 "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
#define PEER "peers: { home: { key: " K1 " } }\n"
#define AGENT "identity: id.key\n" PEER

struct loaded {
	struct report report;
	struct config *config;
	int result;
};

static inline struct loaded parse_as(const char *text, size_t size, enum config_role role)
{
	struct loaded l = { 0 };

	report_init(&l.report, "culvert.yaml");
	l.result = config_parse("dir/culvert.yaml", text, size, role, &l.report, &l.config);
	return l;
}

static inline struct loaded parse(const char *text)
{
	return parse_as(text, strlen(text), CONFIG_ROLE_AGENT);
}

/* Parses what must be good. */
static inline struct loaded parse_good(const char *text)
{
	struct loaded l = parse(text);

	report_print(&l.report, REPORT_ERROR, stdout);
	assert_int_equal(l.result, 0);
	assert_non_null(l.config);
	return l;
}

static inline void drop(struct loaded *l)
{
	config_free(l->config);
	report_deinit(&l->report);
	assert_int_equal(cv_alloc_live(), 0);
}

/* The @index-th error; warnings are not counted. */
static inline const struct report_item *error_at(const struct report *report, uint32_t index)
{
	static const struct report_item none = { 0 };
	const struct report_item *item;

	for (uint32_t i = 0; (item = report_at(report, i)) != NULL; i++) {
		if (item->severity == REPORT_ERROR && index-- == 0)
			return item;
	}
	fail_msg("fewer errors than expected");
	return &none;
}

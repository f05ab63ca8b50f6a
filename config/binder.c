/* SPDX-License-Identifier: MIT */

/*
 * Maps wait in a queue, outer ones before inner ones, instead of on the stack:
 * a file decides how deep it is, not how much stack we use. For each, its keys
 * are looked up in the table; then what was not there gets its default.
 *
 * Errors of the file are counted in the report and do not stop the work. The
 * functions return an error only when memory is out.
 */
#include "config/binder.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "config/schema.h"
#include "config/value.h"

struct work {
	const struct yaml_node *node; /* a YAML_MAP, or NULL: only defaults */
	const struct schema_table *table;
	unsigned char *base; /* the struct to fill */
};

struct binder {
	struct config *config;
	struct report *report;
	struct work *queue; /* owned */
	size_t head, tail, cap;
};

/* One value on its way. */
struct slot {
	const struct schema_key *key;
	const struct yaml_node *node; /* NULL: a default */
	const char *text;             /* in the arena */
	struct report_mark mark;
	void *at;
};

static void wrong(struct binder *b, struct report_mark mark, const struct schema_key *key,
                  const char *why)
{
	report_add(b->report, REPORT_ERROR, mark, "'%s': %s", key->name, why);
}

static void not_yet(struct binder *b, struct report_mark mark, const char *what)
{
	report_add(b->report, REPORT_ERROR, mark, "'%s' is not supported yet", what);
}

static const char *kind_text(const struct yaml_node *node)
{
	switch (node->kind) {
	case YAML_LIST:
		return "a list";
	case YAML_MAP:
		return "a mapping";
	case YAML_TEXT:
		return node->is_plain && node->size == 0 ? "nothing" : "a single value";
	}
	CV_UNREACHABLE();
}

static void expected(struct binder *b, const struct schema_key *key, const char *what,
                     const struct yaml_node *node)
{
	report_add(b->report, REPORT_ERROR, node->mark, "'%s': expected %s, found %s", key->name,
	           what, kind_text(node));
}

/* `key:` with nothing behind it. */
static bool is_nothing(const struct yaml_node *node)
{
	return node->kind == YAML_TEXT && node->is_plain && node->size == 0;
}

static void enqueue(struct binder *b, const struct yaml_node *node,
                    const struct schema_table *table, void *base)
{
	CV_ASSERT(b->tail < b->cap);
	b->queue[b->tail++] = (struct work){
		.node = node && node->kind == YAML_MAP ? node : NULL,
		.table = table,
		.base = base,
	};
}

/*
 * Readers of one type each: from slot->text to slot->at. They return 0, or
 * -EINVAL with why.
 */

/* Adds as much of @more to @text as fits. */
static void append(char *text, size_t cap, const char *more)
{
	size_t at = strlen(text);
	size_t size = CV_MIN(strlen(more), cap - 1 - at);

	memcpy(text + at, more, size);
	text[at + size] = '\0';
}

static int read_choice(struct binder *b, const struct slot *slot, char why[VALUE_WHY_MAX])
{
	char list[VALUE_WHY_MAX / 2] = "";

	for (const struct schema_choice *c = slot->key->choices; c->name; c++) {
		if (strcmp(c->name, slot->text) == 0) {
			memcpy(slot->at, &c->value, sizeof(c->value));
			if (!c->is_supported)
				report_add(b->report, REPORT_ERROR, slot->mark,
				           "'%s: %s' is not supported yet", slot->key->name,
				           c->name);
			return 0;
		}
		append(list, sizeof(list), list[0] ? " | " : "");
		append(list, sizeof(list), c->name);
	}
	(void)snprintf(why, VALUE_WHY_MAX, "expected %s, found '%.60s'", list, slot->text);
	return -EINVAL;
}

static int read_number(const struct slot *slot, char why[VALUE_WHY_MAX])
{
	const struct schema_key *key = slot->key;
	uint64_t v = 0;
	uint32_t small;
	int r;

	if (key->type == SCHEMA_SIZE) {
		r = value_read_size(slot->text, key->min, key->max, &v, why);
	} else if (key->type == SCHEMA_RATE) {
		r = value_read_rate(slot->text, key->min, key->max, &v, why);
	} else {
		CV_ASSERT(key->max <= UINT32_MAX);
		r = value_read_integer(slot->text, key->min, key->max, &v, why);
		small = (uint32_t)v;
		if (r == 0)
			memcpy(slot->at, &small, sizeof(small));
		return r;
	}
	if (r == 0)
		memcpy(slot->at, &v, sizeof(v));
	return r;
}

static int read_bool(const struct slot *slot, char why[VALUE_WHY_MAX])
{
	bool v = false;
	int r = value_read_bool(slot->text, &v, why);

	if (r < 0)
		return r;
	memcpy(slot->at, &v, sizeof(v));
	return 0;
}

/* Resolves a path into the arena; *@out is NULL when memory is out. */
static int read_path(struct binder *b, const struct slot *slot, const char **out,
                     char why[VALUE_WHY_MAX])
{
	char path[CONFIG_PATH_MAX];
	size_t size;

	if (value_read_path(slot->text, b->config->file, path, why) < 0)
		return -EINVAL;
	size = strlen(path);
	if (slot->key->type == SCHEMA_SOCKET && size > HOST_UNIX_MAX) {
		(void)snprintf(why, VALUE_WHY_MAX,
		               "the path of a socket has at most %d bytes, this one has %zu",
		               HOST_UNIX_MAX, size);
		return -EINVAL;
	}
	*out = arena_copy(&b->config->arena, path, size);
	return *out ? 0 : -ENOMEM;
}

static int read_plain_path(struct binder *b, const struct slot *slot, char why[VALUE_WHY_MAX])
{
	const char *path = NULL;
	int r = read_path(b, slot, &path, why);

	if (r == 0)
		memcpy(slot->at, &path, sizeof(path));
	return r;
}

static int read_keyfile(struct binder *b, const struct slot *slot, char why[VALUE_WHY_MAX])
{
	struct config_keyfile *f = slot->at;

	f->mark = slot->mark;
	if (strncmp(slot->text, "credential:", strlen("credential:")) == 0) {
		f->path = slot->text;
		return 0;
	}
	return read_path(b, slot, &f->path, why);
}

static int read_key(const struct slot *slot, char why[VALUE_WHY_MAX])
{
	struct config_key *k = slot->at;
	size_t size = strlen(slot->text);

	k->mark = slot->mark;
	if (slot->key->type == SCHEMA_ACCESS && strcmp(slot->text, "anyone") == 0) {
		k->is_anyone = true;
		return 0;
	}
	if (base64_key_read(slot->text, size, k->key) < 0) {
		(void)snprintf(why, VALUE_WHY_MAX, "expected %s, found %zu characters%s",
		               schema_type_text(slot->key->type), size,
		               size == KEY_TEXT_SIZE ? " that are no key" : "");
		return -EINVAL;
	}
	k->is_set = true;
	return 0;
}

static int read_host(const struct slot *slot, char why[VALUE_WHY_MAX])
{
	struct config_host *h = slot->at;
	uint16_t port = slot->key->type == SCHEMA_STUN ? CONFIG_STUN_PORT : CONFIG_DEFAULT_PORT;
	int r = slot->key->type == SCHEMA_TARGET
	                ? value_read_target(slot->text, &h->host, why)
	                : value_read_address(slot->text, port, &h->host, why);

	h->mark = slot->mark;
	h->text = slot->text;
	return r;
}

/* "80", "8000-8999" and "*" in [ ] are what a comma in a pattern leaves over. */
static bool is_torn_by_comma(const struct yaml_node *node)
{
	return node && node->is_in_flow && node->is_plain && node->size > 0 &&
	       node->text[strspn(node->text, "0123456789-*/udp")] == '\0';
}

static int read_pattern(const struct slot *slot, char why[VALUE_WHY_MAX])
{
	struct config_pattern *p = slot->at;
	const char *cause = "";
	int r = slot->key->type == SCHEMA_PATTERN
	                ? pattern_parse(slot->text, &p->pattern, &cause)
	                : pattern_parse_host(slot->text, &p->pattern, &cause);

	p->mark = slot->mark;
	p->text = slot->text;
	if (r < 0)
		(void)snprintf(why, VALUE_WHY_MAX, "expected %s, found '%.80s': %s%s",
		               schema_type_text(slot->key->type), slot->text, cause,
		               is_torn_by_comma(slot->node)
		                       ? " (a value with a comma inside [ ] needs quotes)"
		                       : "");
	return r;
}

static int read_peer(const struct slot *slot)
{
	struct config_peer_ref *p = slot->at;

	p->mark = slot->mark;
	p->name = slot->text;
	return 0;
}

static int read_password(const struct slot *slot, char why[VALUE_WHY_MAX])
{
	enum { SIZE_MAX_RFC1929 = 255 };
	struct config_user *u = slot->at;
	size_t name_size = strlen(u->name);

	/* HTTP's Basic scheme (RFC 7617) ends the name at the first colon. */
	if (name_size == 0 || name_size > SIZE_MAX_RFC1929 || strchr(u->name, ':')) {
		(void)snprintf(why, VALUE_WHY_MAX, "a user's name has 1 to 255 bytes and no colon");
		return -EINVAL;
	}
	if (strlen(slot->text) > SIZE_MAX_RFC1929) {
		(void)snprintf(why, VALUE_WHY_MAX, "a password has at most 255 bytes");
		return -EINVAL;
	}
	if (slot->text[0] == '\0') {
		(void)snprintf(why, VALUE_WHY_MAX, "an empty password is refused%s",
		               slot->node && slot->node->is_in_flow && slot->node->is_plain
		                       ? " (one with a comma inside { } needs quotes)"
		                       : "");
		return -EINVAL;
	}
	u->password = slot->text;
	return 0;
}

static int read_listen(const struct slot *slot, char why[VALUE_WHY_MAX])
{
	struct config_listen *l = slot->at;

	l->mark = slot->mark;
	return value_read_listen(slot->text, slot->key->type == SCHEMA_TUNNEL, l, why);
}

static int read_value(struct binder *b, const struct slot *slot, char why[VALUE_WHY_MAX])
{
	switch (slot->key->type) {
	case SCHEMA_MAP:
		break;
	case SCHEMA_BOOL:
		return read_bool(slot, why);
	case SCHEMA_INTEGER:
	case SCHEMA_SIZE:
	case SCHEMA_RATE:
		return read_number(slot, why);
	case SCHEMA_CHOICE:
		return read_choice(b, slot, why);
	case SCHEMA_DIRECTORY:
	case SCHEMA_SOCKET:
		return read_plain_path(b, slot, why);
	case SCHEMA_KEYFILE:
		return read_keyfile(b, slot, why);
	case SCHEMA_KEY:
	case SCHEMA_ACCESS:
		return read_key(slot, why);
	case SCHEMA_LISTEN:
	case SCHEMA_TUNNEL:
		return read_listen(slot, why);
	case SCHEMA_ADDRESS:
	case SCHEMA_STUN:
	case SCHEMA_TARGET:
		return read_host(slot, why);
	case SCHEMA_PATTERN:
	case SCHEMA_ROUTE_HOST:
		return read_pattern(slot, why);
	case SCHEMA_PEER:
		return read_peer(slot);
	case SCHEMA_PASSWORD:
		return read_password(slot, why);
	}
	CV_UNREACHABLE();
}

/* A scalar may say "\0" or "\n" in double quotes; no value of ours has such. */
static bool has_control(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F)
			return true;
	}
	return false;
}

static int bind_text(struct binder *b, const struct schema_key *key, const struct yaml_node *node,
                     void *at)
{
	struct slot slot = { .key = key, .node = node, .mark = node->mark, .at = at };
	char why[VALUE_WHY_MAX];
	int r;

	/* Also when it is wrong: it was set, so it is not missing. */
	if (key->type == SCHEMA_KEYFILE)
		memcpy(at, &node->mark, sizeof(node->mark));
	if (node->kind != YAML_TEXT ||
	    (key->type != SCHEMA_PASSWORD && node->is_plain && node->size == 0)) {
		expected(b, key, schema_type_text(key->type), node);
		return 0;
	}
	if (has_control(node->text, node->size)) {
		wrong(b, node->mark, key, "a control character or line break in the value");
		return 0;
	}
	slot.text = arena_copy(&b->config->arena, node->text, node->size);
	if (!slot.text)
		return -ENOMEM;
	r = read_value(b, &slot, why);
	if (r == -EINVAL)
		wrong(b, node->mark, key, why);
	return r == -ENOMEM ? r : 0;
}

/* The default's text goes the way of the user's: what the manual says is what is done. */
static int bind_fallback(struct binder *b, const struct schema_key *key, void *at)
{
	struct slot slot = { .key = key, .at = at };
	char why[VALUE_WHY_MAX];
	int r;

	slot.text = arena_copy(&b->config->arena, key->fallback, strlen(key->fallback));
	if (!slot.text)
		return -ENOMEM;
	r = read_value(b, &slot, why);
	CV_ASSERT(r != -EINVAL);
	return r;
}

static void *value_at(const struct work *w, const struct schema_key *key)
{
	return w->base + key->offset;
}

/* Takes an array of @count elements into its place; NULL for none or without memory. */
static unsigned char *new_array(struct binder *b, const struct work *w,
                                const struct schema_key *key, size_t count)
{
	void *array = arena_zalloc(&b->config->arena, count, key->element_size);

	if (!array)
		return NULL;
	memcpy(w->base + key->offset, &array, sizeof(array));
	memcpy(w->base + key->count_offset, &count, sizeof(count));
	return array;
}

static void check_label(struct binder *b, const struct schema_key *key,
                        const struct yaml_node *node)
{
	if (has_control(node->key, node->key_size))
		wrong(b, node->key_mark, key, "a control character or line break in the name");
	else if ((key->flags & SCHEMA_LABEL) && !host_label_is_valid(node->key, node->key_size))
		report_add(b->report, REPORT_ERROR, node->key_mark,
		           "'%s': expected a name of 1 to 63 of a-z, 0-9 and '-', found '%.80s'",
		           key->name, node->key);
}

/* One element of an array: from the list's, the map's, or the only value. */
static int bind_element(struct binder *b, const struct schema_key *key,
                        const struct yaml_node *node, unsigned char *element)
{
	struct report_mark mark = node->mark;
	const char *name;

	if (key->shape == SCHEMA_NAMED) {
		check_label(b, key, node);
		name = arena_copy(&b->config->arena, node->key, node->key_size);
		if (!name)
			return -ENOMEM;
		memcpy(element + schema_name_offset, &name, sizeof(name));
		mark = node->key_mark;
	}
	memcpy(element, &mark, sizeof(mark));
	if (key->type != SCHEMA_MAP)
		return bind_text(b, key, node, element);
	if (node->kind == YAML_MAP || (key->shape == SCHEMA_NAMED && is_nothing(node)))
		enqueue(b, node, key->table, element);
	else
		expected(b, key, schema_type_text(SCHEMA_MAP), node);
	return 0;
}

static int bind_array(struct binder *b, const struct work *w, const struct schema_key *key,
                      const struct yaml_node *node)
{
	enum yaml_kind kind = key->shape == SCHEMA_NAMED ? YAML_MAP : YAML_LIST;
	const struct yaml_node *child = node->first;
	unsigned char *element;
	size_t count = node->count;
	int r = 0;

	if (is_nothing(node))
		return 0; /* `peers:` whose entries are all commented out */
	if (key->shape == SCHEMA_ONE_OR_LIST && node->kind == YAML_TEXT) {
		child = node;
		count = 1;
	} else if (node->kind != kind) {
		expected(b, key, kind == YAML_MAP ? "a mapping from names" : "a list", node);
		return 0;
	}
	if (count > key->count_max) {
		report_add(b->report, REPORT_ERROR, node->mark, "'%s': %zu entries, at most %u",
		           key->name, count, key->count_max);
		return 0;
	}
	if (count == 0)
		return 0;
	element = new_array(b, w, key, count);
	if (!element)
		return -ENOMEM;
	for (size_t i = 0; i < count && r == 0; i++) {
		r = bind_element(b, key, child, element + i * key->element_size);
		child = child->next;
	}
	return r;
}

static int bind_entry(struct binder *b, const struct work *w, const struct schema_key *key,
                      const struct yaml_node *node)
{
	if (key->flags & SCHEMA_NOT_YET)
		not_yet(b, node->key_mark, key->name);
	if (key->flags & SCHEMA_SECRET)
		report_hide(b->report, node->key_mark.line, node->last_line);
	if (key->shape != SCHEMA_ONE)
		return bind_array(b, w, key, node);
	if (key->type != SCHEMA_MAP)
		return bind_text(b, key, node, value_at(w, key));
	if (node->kind == YAML_MAP || is_nothing(node))
		enqueue(b, node, key->table, value_at(w, key));
	else
		expected(b, key, schema_type_text(SCHEMA_MAP), node);
	return 0;
}

static void unknown_key(struct binder *b, const struct schema_table *table,
                        const struct yaml_node *node)
{
	/* A report that is full needs no suggestions; looking for them takes its time. */
	const char *like = report_errors(b->report) < REPORT_ITEMS_MAX
	                           ? schema_suggest(table, node->key)
	                           : NULL;

	if (like)
		report_add(b->report, REPORT_ERROR, node->key_mark,
		           "unknown key '%.80s' (did you mean '%s'?)", node->key, like);
	else
		report_add(b->report, REPORT_ERROR, node->key_mark, "unknown key '%.80s'",
		           node->key);
}

/* What @seen does not have: a default, or an error. */
static int bind_missing(struct binder *b, const struct work *w, uint64_t seen)
{
	const struct schema_table *table = w->table;
	struct report_mark mark = { 0 };
	int r = 0;

	for (size_t i = 0; i < table->key_count && r == 0; i++) {
		const struct schema_key *key = &table->keys[i];
		unsigned char *element;

		if (seen & UINT64_C(1) << i)
			continue;
		if (key->type == SCHEMA_MAP && key->shape == SCHEMA_ONE) {
			enqueue(b, NULL, key->table, value_at(w, key));
		} else if (key->fallback && key->shape == SCHEMA_ONE) {
			r = bind_fallback(b, key, value_at(w, key));
		} else if (key->fallback) {
			element = new_array(b, w, key, 1);
			r = element ? bind_fallback(b, key, element) : -ENOMEM;
		} else if (key->flags & SCHEMA_REQUIRED) {
			/* The element's mark: its name, or where it begins. */
			memcpy(&mark, w->base, sizeof(mark));
			if (mark.line > 0)
				report_add(b->report, REPORT_ERROR, mark, "%s needs '%s' (%s)",
				           table->title, key->name, schema_type_text(key->type));
		}
	}
	return r;
}

static int bind_map(struct binder *b, const struct work *w)
{
	const struct schema_table *table = w->table;
	const struct yaml_node *node = w->node ? w->node->first : NULL;
	uint64_t seen = 0;
	int r = 0;

	CV_ASSERT(table->key_count <= 64);
	if (table->inherit_size > 0)
		memcpy(w->base, (const unsigned char *)b->config + table->inherit_offset,
		       table->inherit_size);
	for (; node && r == 0; node = node->next) {
		const struct schema_key *key = schema_find(table, node->key);

		if (node->is_duplicate)
			continue;
		if (!key) {
			if (strcmp(node->key, "<<") != 0) /* refused by the reader */
				unknown_key(b, table, node);
			continue;
		}
		seen |= UINT64_C(1) << (key - table->keys);
		r = bind_entry(b, w, key, node);
	}
	return r == 0 ? bind_missing(b, w, seen) : r;
}

/* `server` is the one section whose presence means something. */
static void note_server(struct config *config, const struct yaml_node *root)
{
	for (const struct yaml_node *node = root ? root->first : NULL; node; node = node->next) {
		if (strcmp(node->key, "server") == 0 && !is_nothing(node)) {
			config->server.is_set = true;
			config->server.mark = node->key_mark;
			return;
		}
	}
}

int binder_run(const struct yaml_tree *tree, struct config *config, struct report *report)
{
	enum { SECTIONS_MAX = 32 }; /* maps that defaults add: one for each SCHEMA_ONE map */
	struct binder b = { .config = config, .report = report };
	const struct yaml_node *root = tree->root;
	int r = 0;

	if (root && root->kind != YAML_MAP && !is_nothing(root)) {
		report_add(report, REPORT_ERROR, root->mark,
		           "expected a mapping of keys to values, found %s", kind_text(root));
		return -EINVAL;
	}
	if (root && root->kind != YAML_MAP)
		root = NULL;
	b.cap = (size_t)tree->map_count + tree->node_count + SECTIONS_MAX;
	b.queue = cv_zalloc_array(b.cap, sizeof(*b.queue));
	if (!b.queue)
		return -ENOMEM;
	note_server(config, root);
	enqueue(&b, root, &schema_root, config);
	while (b.head < b.tail && r == 0)
		r = bind_map(&b, &b.queue[b.head++]);
	cv_free(b.queue);
	return r;
}

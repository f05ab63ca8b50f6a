/* SPDX-License-Identifier: MIT */

/*
 * Three steps, each refusing what the next one could trip over:
 *
 *	check_text	UTF-8 without control characters or exotic line breaks, so that
 *			libyaml, this project and the user's editor count alike
 *	events		libyaml's, into a tree; never more than YAML_DEPTH_MAX deep:
 *			libyaml 0.2.5 has no limit of its own and is quadratic in depth
 *	explain		libyaml's errors, in the words of somebody who meant an address
 *
 * The event interface is used rather than libyaml's documents because those
 * resolve aliases and grow before anybody can say no.
 */
#include "config/yaml_reader.h"

#include <errno.h>
#include <string.h>
#include <yaml.h>

#include "base/alloc.h"
#include "config/keyfile.h"

enum { HASH_SLOTS = 1024 };

struct builder {
	struct report *report;
	struct yaml_tree *tree;
	struct yaml_node *open[YAML_DEPTH_MAX];   /* collections not ended yet, outermost first */
	struct yaml_node *last[YAML_DEPTH_MAX];   /* their last child */
	bool has_key[YAML_DEPTH_MAX];             /* a key was read, its value not yet */
	struct yaml_node pending[YAML_DEPTH_MAX]; /* .key, .key_size, .key_mark of that */
	uint32_t depth;
	uint32_t document_count;
	/* Children of one map by hash of the key, as index + 1 into the tree's nodes. */
	uint32_t slots[HASH_SLOTS];
	uint32_t *chain; /* owned; the next node of the same slot */
};

static struct report_mark mark_of(const yaml_mark_t *from, const yaml_mark_t *to)
{
	/* A value over several lines is underlined to the end of its first one. */
	size_t length = to->line == from->line ? to->column - from->column : 1000;

	return (struct report_mark){
		.line = (uint32_t)from->line + 1,
		.column = (uint32_t)from->column + 1,
		.length = length > 0 ? (uint32_t)length : 1,
	};
}

/* Number of bytes of the well-formed UTF-8 character at @p, 0 when it is none; RFC 3629, 4. */
static size_t read_character(const unsigned char *p, size_t left, uint32_t *out)
{
	static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t size = p[0] < 0x80 ? 1 : p[0] < 0xC0 ? 0 : p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
	uint32_t c;

	if (size == 0 || size > left || p[0] > 0xF4)
		return 0;
	c = size == 1 ? p[0] : p[0] & (0x7Fu >> size);
	for (size_t i = 1; i < size; i++) {
		if ((p[i] & 0xC0u) != 0x80u)
			return 0;
		c = c << 6 | (p[i] & 0x3Fu);
	}
	if (c < smallest[size] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
		return 0;
	*out = c;
	return size;
}

/* Why a character may not stand in a file, or NULL. */
static const char *refuse_character(uint32_t c, bool is_before_newline)
{
	if (c == 0)
		return "a NUL byte; the file must be plain UTF-8 text";
	if (c == '\r')
		return is_before_newline ? NULL : "a carriage return that ends no line";
	if (c == 0x85 || c == 0x2028 || c == 0x2029)
		return "an unusual line break; use plain newlines";
	if ((c < 0x20 && c != '\t' && c != '\n') || (c >= 0x7F && c < 0xA0))
		return "a control character";
	if (c == 0xFEFF || c == 0xFFFE || c == 0xFFFF)
		return "a byte order mark inside the file";
	return NULL;
}

static int check_text(const char *text, size_t size, struct report *report)
{
	const unsigned char *p = (const unsigned char *)text;
	struct report_mark mark = { 1, 1, 1 };

	if (size >= 2 && ((p[0] == 0xFE && p[1] == 0xFF) || (p[0] == 0xFF && p[1] == 0xFE))) {
		report_add(report, REPORT_ERROR, mark, "UTF-16; the file must be UTF-8 text");
		return -EINVAL;
	}
	for (size_t i = 0; i < size;) {
		uint32_t c = 0;
		size_t length = read_character(&p[i], size - i, &c);
		const char *why = "not UTF-8 text";

		if (length > 0)
			why = refuse_character(c, i + 1 < size && p[i + 1] == '\n');
		if (why) {
			report_add(report, REPORT_ERROR, mark, "%s", why);
			return -EINVAL;
		}
		mark.column++;
		if (c == '\n') {
			mark.line++;
			mark.column = 1;
		}
		i += length;
	}
	return 0;
}

/* A node for the value of @event inside the innermost open collection; NULL: no room. */
static struct yaml_node *add_node(struct builder *b, const yaml_event_t *event)
{
	struct yaml_tree *t = b->tree;
	struct yaml_node *node;
	uint32_t level = b->depth - 1;

	if (t->node_count == t->node_cap) {
		report_add(b->report, REPORT_ERROR, mark_of(&event->start_mark, &event->end_mark),
		           "too many values; a file has at most %u", (unsigned)YAML_NODES_MAX);
		return NULL;
	}
	node = &t->nodes[t->node_count++];
	node->mark = mark_of(&event->start_mark, &event->end_mark);
	node->last_line = (uint32_t)event->end_mark.line + 1;
	if (b->depth == 0) {
		t->root = node;
		return node;
	}
	if (b->open[level]->kind == YAML_MAP) {
		CV_ASSERT(b->has_key[level]);
		node->key = b->pending[level].key;
		node->key_size = b->pending[level].key_size;
		node->key_mark = b->pending[level].key_mark;
		b->has_key[level] = false;
	}
	node->is_in_flow = b->open[level]->is_in_flow;
	if (b->last[level])
		b->last[level]->next = node;
	else
		b->open[level]->first = node;
	b->last[level] = node;
	b->open[level]->count++;
	return node;
}

/* Keeps a copy of a scalar. Decoding grows text at most by half ("\L" is three bytes). */
static const char *keep_text(struct yaml_tree *t, const void *text, size_t size)
{
	char *at = t->text + t->text_used;

	CV_ASSERT(size < t->text_size - t->text_used);
	memcpy(at, text, size);
	at[size] = '\0';
	t->text_used += size + 1;
	return at;
}

/* True where the next event of a map is a key. */
static bool wants_key(const struct builder *b)
{
	return b->depth > 0 && b->open[b->depth - 1]->kind == YAML_MAP && !b->has_key[b->depth - 1];
}

static void refuse_anchor_and_tag(struct builder *b, const yaml_event_t *event,
                                  const yaml_char_t *anchor, const yaml_char_t *tag)
{
	struct report_mark mark = mark_of(&event->start_mark, &event->end_mark);

	if (anchor)
		report_add(b->report, REPORT_ERROR, mark,
		           "anchors are not supported; a value that starts with '&' needs quotes");
	if (tag)
		report_add(b->report, REPORT_ERROR, mark,
		           "tags are not supported; a value that starts with '!' needs quotes");
}

/* Takes a text as a key or as a value. */
static int on_text(struct builder *b, const yaml_event_t *event, const char *text, size_t size,
                   bool is_plain)
{
	struct yaml_node *node;
	struct yaml_node *pending;

	if (wants_key(b)) {
		pending = &b->pending[b->depth - 1];
		pending->key_mark = mark_of(&event->start_mark, &event->end_mark);
		pending->key = keep_text(b->tree, text, size);
		pending->key_size = size;
		b->has_key[b->depth - 1] = true;
		if (is_plain && strcmp(text, "<<") == 0)
			report_add(b->report, REPORT_ERROR, pending->key_mark,
			           "merge keys are not supported");
		return 0;
	}
	node = add_node(b, event);
	if (!node)
		return -EINVAL;
	node->kind = YAML_TEXT;
	node->is_plain = is_plain;
	node->text = keep_text(b->tree, text, size);
	node->size = size;
	return 0;
}

static int on_scalar(struct builder *b, const yaml_event_t *event)
{
	refuse_anchor_and_tag(b, event, event->data.scalar.anchor, event->data.scalar.tag);
	return on_text(b, event, (const char *)event->data.scalar.value, event->data.scalar.length,
	               event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE);
}

static int on_alias(struct builder *b, const yaml_event_t *event)
{
	report_add(b->report, REPORT_ERROR, mark_of(&event->start_mark, &event->end_mark),
	           "aliases are not supported; a value that starts with '*' needs quotes");
	return on_text(b, event, "", 0, true);
}

static int on_start(struct builder *b, const yaml_event_t *event, enum yaml_kind kind, bool is_flow)
{
	struct report_mark mark = mark_of(&event->start_mark, &event->end_mark);
	struct yaml_node *node;

	if (wants_key(b)) {
		report_add(
			b->report, REPORT_ERROR, mark,
			"a key must be text; an address in [ ] needs quotes, as in \"[::1]:1080\"");
		return -EINVAL;
	}
	if (b->depth == YAML_DEPTH_MAX) {
		report_add(b->report, REPORT_ERROR, mark, "nested more than %u levels deep",
		           (unsigned)YAML_DEPTH_MAX);
		return -EINVAL;
	}
	node = add_node(b, event);
	if (!node)
		return -EINVAL;
	node->kind = kind;
	node->is_in_flow = is_flow;
	if (kind == YAML_MAP)
		b->tree->map_count++;
	b->open[b->depth] = node;
	b->last[b->depth] = NULL;
	b->has_key[b->depth] = false;
	b->depth++;
	return 0;
}

/* FNV-1a; an attacker who makes collisions spends his own file on it. */
static uint32_t slot_of(const char *key, size_t size)
{
	uint32_t hash = 2166136261u;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ (unsigned char)key[i]) * 16777619u;
	return (hash ^ hash >> 16) % HASH_SLOTS;
}

static bool has_same_key(const struct yaml_node *a, const struct yaml_node *b)
{
	return a->key_size == b->key_size && memcmp(a->key, b->key, a->key_size) == 0;
}

/* Reports keys of @map that come twice. */
static void find_duplicates(struct builder *b, const struct yaml_node *map)
{
	memset(b->slots, 0, sizeof(b->slots));
	for (struct yaml_node *node = map->first; node; node = node->next) {
		uint32_t *slot = &b->slots[slot_of(node->key, node->key_size)];
		uint32_t index = *slot;

		while (index > 0 && !has_same_key(&b->tree->nodes[index - 1], node))
			index = b->chain[index - 1];
		if (index > 0) {
			node->is_duplicate = true;
			report_add(b->report, REPORT_ERROR, node->key_mark,
			           "duplicate key '%s' (first on line %u)", node->key,
			           b->tree->nodes[index - 1].key_mark.line);
			continue;
		}
		index = (uint32_t)(node - b->tree->nodes) + 1;
		b->chain[index - 1] = *slot;
		*slot = index;
	}
}

static void on_end(struct builder *b, const yaml_event_t *event)
{
	struct yaml_node *node;

	CV_ASSERT(b->depth > 0);
	node = b->open[--b->depth];
	node->last_line = (uint32_t)event->end_mark.line + 1;
	if (node->kind == YAML_MAP)
		find_duplicates(b, node);
}

static int on_document(struct builder *b, const yaml_event_t *event)
{
	if (b->document_count++ == 0)
		return 0;
	report_add(b->report, REPORT_ERROR, mark_of(&event->start_mark, &event->end_mark),
	           "a second document; a file holds one");
	return -EINVAL;
}

static int on_event(struct builder *b, const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_NO_EVENT:
	case YAML_STREAM_START_EVENT:
	case YAML_STREAM_END_EVENT:
	case YAML_DOCUMENT_END_EVENT:
		return 0;
	case YAML_DOCUMENT_START_EVENT:
		return on_document(b, event);
	case YAML_ALIAS_EVENT:
		return on_alias(b, event);
	case YAML_SCALAR_EVENT:
		return on_scalar(b, event);
	case YAML_SEQUENCE_START_EVENT:
		refuse_anchor_and_tag(b, event, event->data.sequence_start.anchor,
		                      event->data.sequence_start.tag);
		return on_start(b, event, YAML_LIST,
		                event->data.sequence_start.style == YAML_FLOW_SEQUENCE_STYLE);
	case YAML_MAPPING_START_EVENT:
		refuse_anchor_and_tag(b, event, event->data.mapping_start.anchor,
		                      event->data.mapping_start.tag);
		return on_start(b, event, YAML_MAP,
		                event->data.mapping_start.style == YAML_FLOW_MAPPING_STYLE);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		on_end(b, event);
		return 0;
	}
	CV_UNREACHABLE();
}

/* The text of line @line (from 0), without its end. */
static const char *line_of(const char *text, size_t size, size_t line, size_t *length)
{
	const char *end = text + size;
	const char *newline;

	while ((newline = memchr(text, '\n', (size_t)(end - text))) && line > 0) {
		text = newline + 1;
		line--;
	}
	if (line > 0)
		text = end;
	*length = (size_t)((newline ? newline : end) - text);
	return text;
}

/* Size of "[v6 address or network]:" at @at, 0 when there is none. */
static size_t bracketed_address(const char *at, size_t left)
{
	size_t i = 1;
	bool has_colon = false;

	if (left == 0 || at[0] != '[')
		return 0;
	for (; i < left && strchr("0123456789abcdefABCDEF:./%", at[i]) && at[i] != '\0'; i++)
		has_colon = has_colon || at[i] == ':';
	return has_colon && i + 1 < left && at[i] == ']' && at[i + 1] == ':' ? i + 2 : 0;
}

/* What is wrong with the value that starts at @at; its size in @size_out. NULL: nothing. */
static const char *pitfall_at(const char *at, size_t left, uint32_t *size_out)
{
	size_t size = bracketed_address(at, left);

	if (size > 0) {
		*size_out = (uint32_t)size;
		return "an address in [ ] needs quotes, as in \"[::1]:1080\"";
	}
	*size_out = 1;
	return *at == '*' ? "a value that starts with '*' needs quotes" : NULL;
}

/*
 * Looks for what users write without quotes and YAML reads as its own syntax.
 * It may stand anywhere in the line, so the first that is outside of quotes is
 * taken. Returns what to say, with the place in @mark; NULL when nothing is found.
 */
static const char *find_pitfall(const char *line, size_t size, struct report_mark *mark)
{
	const char *why = NULL;
	char before = ' ';
	char quote = '\0';

	mark->column = 0;
	for (size_t i = 0; i < size && !why; i++) {
		char c = line[i];
		bool is_start = quote == '\0' && strchr(" \t[{,", before);

		mark->column += ((unsigned char)c & 0xC0u) != 0x80u;
		if (is_start && c == '#')
			return NULL;
		if (is_start)
			why = pitfall_at(&line[i], size - i, &mark->length);
		if (is_start && (c == '"' || c == '\''))
			quote = c;
		else if (c == quote)
			quote = '\0';
		before = c;
	}
	return why;
}

/* What to say of the character at which libyaml gave up; NULL: what libyaml says. */
static const char *explain_character(const char *line, size_t size, size_t column,
                                     const char *problem)
{
	/* Columns are bytes as long as the line is ASCII. */
	if (column < size && line[column] == '\t')
		return "a tab cannot indent or separate; use spaces";
	if (strcmp(problem, "found character that cannot start any token") == 0)
		return "a value that starts with this character needs quotes";
	if (strcmp(problem, "mapping values are not allowed in this context") == 0)
		return "a second ':' here; check the indentation, or quote a value that holds ': '";
	if (strcmp(problem, "found unexpected end of stream") == 0)
		return "the quote opened here is never closed";
	return NULL;
}

static void explain(const yaml_parser_t *parser, const char *text, size_t size,
                    struct report *report)
{
	yaml_mark_t at = parser->problem_mark;
	const char *problem = parser->problem ? parser->problem : "not YAML";
	bool is_open_quote = strcmp(problem, "found unexpected end of stream") == 0;
	struct report_mark mark;
	const char *line;
	const char *why;
	size_t length;

	if (parser->error == YAML_MEMORY_ERROR) {
		report_add(report, REPORT_ERROR, (struct report_mark){ 0 }, "out of memory");
		return;
	}
	line = line_of(text, size, at.line, &length);
	/* At the end of the file the place to look at is where the construct began. */
	if (is_open_quote || (length == 0 && parser->context_mark.line < at.line)) {
		at = parser->context_mark;
		line = line_of(text, size, at.line, &length);
	}
	mark = mark_of(&at, &at);
	why = is_open_quote ? NULL : find_pitfall(line, length, &mark);
	if (!why) {
		mark = mark_of(&at, &at);
		why = explain_character(line, length, at.column, problem);
	}
	if (why)
		report_add(report, REPORT_ERROR, mark, "%s", why);
	else
		report_add(report, REPORT_ERROR, mark, "%s%s%s",
		           parser->context ? parser->context : "", parser->context ? ": " : "",
		           problem);
}

/* Feeds libyaml's events to the builder until the stream ends. */
static int build(struct builder *b, const char *text, size_t size)
{
	yaml_parser_t parser;
	yaml_event_t event;
	bool is_done = false;
	int r = 0;

	if (!yaml_parser_initialize(&parser))
		return -ENOMEM;
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, size);
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	while (r == 0 && !is_done) {
		if (!yaml_parser_parse(&parser, &event)) {
			explain(&parser, text, size, b->report);
			r = -EINVAL;
			break;
		}
		is_done = event.type == YAML_STREAM_END_EVENT;
		r = on_event(b, &event);
		yaml_event_delete(&event);
	}
	yaml_parser_delete(&parser);
	return r;
}

int yaml_reader_parse(const char *text, size_t size, struct report *report, struct yaml_tree *out)
{
	struct builder *b;
	int r;

	*out = (struct yaml_tree){ 0 };
	r = check_text(text, size, report);
	if (r < 0)
		return r;
	/* No two nodes start at the same byte, but for a collection and its first child. */
	out->node_cap = (uint32_t)CV_MIN(2 * size + 2, (size_t)YAML_NODES_MAX);
	out->text_size = 2 * size + 16;
	out->nodes = cv_zalloc_array(out->node_cap, sizeof(*out->nodes));
	out->text = cv_zalloc(out->text_size);
	b = cv_zalloc(sizeof(*b));
	if (b)
		b->chain = cv_zalloc_array(out->node_cap, sizeof(*b->chain));
	if (!out->nodes || !out->text || !b || !b->chain) {
		r = -ENOMEM;
	} else {
		b->report = report;
		b->tree = out;
		r = build(b, text, size);
	}
	if (r == -ENOMEM)
		report_add(report, REPORT_ERROR, (struct report_mark){ 0 }, "out of memory");
	if (b)
		cv_free(b->chain);
	cv_free(b);
	return r;
}

void yaml_reader_deinit(struct yaml_tree *t)
{
	if (t->text)
		keyfile_wipe(t->text, t->text_size);
	cv_free(t->text);
	cv_free(t->nodes);
	*t = (struct yaml_tree){ 0 };
}

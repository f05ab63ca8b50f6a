/* SPDX-License-Identifier: MIT */
#include "config/report.h"

#include <stdarg.h>
#include <string.h>

#include "base/alloc.h"

void report_init(struct report *r, const char *file)
{
	size_t size = strlen(file);

	*r = (struct report){ 0 };
	if (size >= sizeof(r->file))
		file += size - (sizeof(r->file) - 1);
	memcpy(r->file, file, strlen(file) + 1);
}

void report_deinit(struct report *r)
{
	cv_free(r->items);
	*r = (struct report){ 0 };
}

void report_attach(struct report *r, const char *text, size_t size)
{
	r->text = text;
	r->size = text ? size : 0;
}

static bool is_hidden(const struct report *r, uint32_t line)
{
	for (uint32_t i = 0; i < r->hidden_count; i++) {
		if (r->hidden[i].first <= line && line <= r->hidden[i].last)
			return true;
	}
	return false;
}

void report_hide(struct report *r, uint32_t first_line, uint32_t last_line)
{
	/* Out of ranges: the last one grows, which hides too much rather than too little. */
	if (r->hidden_count == REPORT_HIDDEN_MAX) {
		r->hidden_count--;
		first_line = CV_MIN(first_line, r->hidden[r->hidden_count].first);
		last_line = CV_MAX(last_line, r->hidden[r->hidden_count].last);
	}
	r->hidden[r->hidden_count].first = first_line;
	r->hidden[r->hidden_count].last = last_line;
	r->hidden_count++;
	for (uint32_t i = 0; i < r->count; i++) {
		if (!is_hidden(r, r->items[i].mark.line))
			continue;
		memset(r->items[i].source, 0, sizeof(r->items[i].source));
		r->items[i].has_source = false;
	}
}

/* UTF-8: every byte but the continuation bytes starts a character. */
static bool starts_character(char c)
{
	return ((unsigned char)c & 0xC0u) != 0x80u;
}

/* The first byte after @count characters of [at, end). */
static const char *skip_characters(const char *at, const char *end, uint32_t count)
{
	while (at < end && count > 0) {
		at++;
		while (at < end && !starts_character(*at))
			at++;
		count--;
	}
	return at;
}

/* Finds line @line of the attached text; false when it has fewer. */
static bool find_line(const struct report *r, uint32_t line, const char **begin, const char **end)
{
	const char *at = r->text;
	const char *stop = r->text + r->size;
	const char *newline;

	for (; line > 1; line--) {
		newline = memchr(at, '\n', (size_t)(stop - at));
		if (!newline)
			return false;
		at = newline + 1;
	}
	newline = memchr(at, '\n', (size_t)(stop - at));
	*begin = at;
	*end = newline ? newline : stop;
	if (*end > at && (*end)[-1] == '\r')
		(*end)--;
	return true;
}

/* The end of a text without a last newline is, to libyaml, on a line that is not there. */
static void clamp_mark(const struct report *r, struct report_mark *mark)
{
	const char *begin = NULL;
	const char *end = NULL;
	uint32_t line = 0;

	if (!r->text || mark->line == 0 || find_line(r, mark->line, &begin, &end))
		return;
	while (find_line(r, line + 1, &begin, &end))
		line++;
	*mark = (struct report_mark){ .line = line, .column = 1, .length = 1 };
	for (; begin < end; begin++)
		mark->column += starts_character(*begin);
}

/* A long line is shown from a little before the place on. */
static void copy_source(const struct report *r, struct report_item *item)
{
	enum { COLUMN_MAX = 120, LEAD = 40 };
	const char *begin;
	const char *end;
	size_t size;

	if (!r->text || item->mark.line == 0 || is_hidden(r, item->mark.line))
		return;
	if (!find_line(r, item->mark.line, &begin, &end))
		return;
	if (item->mark.column > COLUMN_MAX) {
		item->source_cut = item->mark.column - LEAD;
		begin = skip_characters(begin, end, item->source_cut);
	}
	size = (size_t)(end - begin);
	if (size >= REPORT_SOURCE_MAX) {
		size = REPORT_SOURCE_MAX - 1;
		while (size > 0 && !starts_character(begin[size]))
			size--;
	}
	for (size_t i = 0; i < size; i++) {
		unsigned char c = (unsigned char)begin[i];

		if ((c < 0x20 && c != '\t') || c == 0x7F)
			item->source[i] = '?';
		else
			item->source[i] = begin[i];
	}
	item->source[size] = '\0';
	item->has_source = true;
}

/* Messages quote what was found, so they may hold anything; a terminal must not obey it. */
static void make_printable(char *text)
{
	unsigned char *at = (unsigned char *)text;

	for (; *at; at++) {
		if (*at < 0x20 || *at == 0x7F)
			*at = '?';
		/* U+0080..U+009F, the second set of control characters */
		if (*at == 0xC2 && at[1] >= 0x80 && at[1] < 0xA0)
			at[0] = at[1] = '?';
	}
}

static bool is_before(const struct report_item *a, const struct report_item *b)
{
	if (a->mark.line != b->mark.line)
		return a->mark.line < b->mark.line;
	return a->mark.column < b->mark.column;
}

static bool is_same(const struct report_item *a, const struct report_item *b)
{
	return a->severity == b->severity && a->mark.line == b->mark.line &&
	       a->mark.column == b->mark.column && strcmp(a->message, b->message) == 0;
}

/* Puts @item where its place belongs, behind those of the same place. */
static void insert(struct report *r, const struct report_item *item)
{
	uint32_t at = r->count;

	while (at > 0 && is_before(item, &r->items[at - 1]))
		at--;
	memmove(&r->items[at + 1], &r->items[at], (r->count - at) * sizeof(*item));
	r->items[at] = *item;
	r->count++;
}

void report_add(struct report *r, enum report_severity severity, struct report_mark mark,
                const char *fmt, ...)
{
	struct report_item item = { .severity = severity, .mark = mark };
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(item.message, sizeof(item.message), fmt, ap); /* cut when too long */
	va_end(ap);
	make_printable(item.message);

	for (uint32_t i = 0; i < r->count; i++) {
		if (is_same(&r->items[i], &item))
			return;
	}
	if (severity == REPORT_ERROR)
		r->error_count++;
	if (!r->items)
		r->items = cv_zalloc_array(REPORT_ITEMS_MAX, sizeof(*r->items));
	if (!r->items || r->count == REPORT_ITEMS_MAX) {
		r->dropped += severity == REPORT_ERROR;
		return;
	}
	clamp_mark(r, &item.mark);
	copy_source(r, &item);
	insert(r, &item);
}

uint32_t report_errors(const struct report *r)
{
	return r->error_count;
}

const struct report_item *report_at(const struct report *r, uint32_t index)
{
	return index < r->count ? &r->items[index] : NULL;
}

/*
 *	   14 |     forwrads:
 *	      |     ^~~~~~~~
 *
 * Tabs are repeated below the line, so that the caret stands right at any tab width.
 */
static void print_source(const struct report_item *item, FILE *out)
{
	const char *at = item->source;
	const char *end = at + strlen(at);
	uint32_t column = item->source_cut + 1;
	uint32_t underlined = 0;

	(void)fprintf(out, "%5u | %s\n      | ", item->mark.line, item->source);
	for (; at < end && column < item->mark.column; column++) {
		(void)fputc(*at == '\t' ? '\t' : ' ', out);
		at = skip_characters(at, end, 1);
	}
	(void)fputc('^', out);
	at = skip_characters(at, end, 1);
	for (underlined = 1; at < end && underlined < item->mark.length; underlined++) {
		(void)fputc('~', out);
		at = skip_characters(at, end, 1);
	}
	(void)fputc('\n', out);
}

void report_print(const struct report *r, enum report_severity severity, FILE *out)
{
	for (uint32_t i = 0; i < r->count; i++) {
		const struct report_item *item = &r->items[i];

		if (item->severity != severity)
			continue;
		(void)fprintf(out, "%s:", r->file);
		if (item->mark.line > 0)
			(void)fprintf(out, "%u:%u:", item->mark.line, item->mark.column);
		(void)fprintf(out, " %s%s\n", severity == REPORT_WARNING ? "warning: " : "",
		              item->message);
		if (item->has_source)
			print_source(item, out);
	}
	if (r->dropped > 0 && severity == REPORT_ERROR)
		(void)fprintf(out, "%s: and %u more\n", r->file, r->dropped);
}

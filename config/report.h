/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * report - everything that is wrong with a file, gathered so that it can be
 * shown in one go: errors and warnings, each with its place and its source line.
 *
 * Knows text and places, nothing of YAML or of keys. An item copies what it
 * needs, so a report outlives the text it speaks of.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/compiler.h"

enum {
	REPORT_ITEMS_MAX =
		100, /* more than anybody repairs before the next run; the rest is counted */
	REPORT_MESSAGE_MAX = 320, /* bytes with the NUL; longer ones are cut */
	REPORT_SOURCE_MAX = 200,  /* bytes of a source line that are shown, with the NUL */
	REPORT_HIDDEN_MAX = 64,   /* ranges of lines that hold secrets */
};

/* A place in a file. */
struct report_mark {
	uint32_t line;   /* from 1; 0: the file as a whole, or a default that no file holds */
	uint32_t column; /* from 1, in characters, as editors count */
	uint32_t length; /* characters to underline, at least 1 */
};

enum report_severity { REPORT_ERROR, REPORT_WARNING };

struct report_item {
	enum report_severity severity;
	struct report_mark mark;
	bool has_source;
	uint32_t source_cut; /* characters left out at the start of a long line */
	char message[REPORT_MESSAGE_MAX];
	char source[REPORT_SOURCE_MAX];
};

/* Open, so that it can live on a stack; touch the members only in report.c. */
struct report {
	const char *text; /* borrowed while the file is read, else NULL */
	size_t size;
	struct report_item *items; /* owned; sorted by place; NULL before the first */
	uint32_t count;
	uint32_t error_count; /* all, also those beyond REPORT_ITEMS_MAX */
	uint32_t dropped;     /* errors there was no room for; nobody misses a warning then */
	uint32_t hidden_count;
	struct {
		uint32_t first, last;
	} hidden[REPORT_HIDDEN_MAX];
	char file[256]; /* the name to print */
};

/* @file: the name to print, copied (its end, when it is longer than 255 bytes). */
void report_init(struct report *r, const char *file);
/* Safe on a zeroed report and when called twice. */
void report_deinit(struct report *r);

/* Source lines of later items come from @text; NULL when it goes away. */
void report_attach(struct report *r, const char *text, size_t size);

/* The source of these lines is never shown: they hold passwords. */
void report_hide(struct report *r, uint32_t first_line, uint32_t last_line);

/* Adds one; an identical second item at the same place is not added. */
void report_add(struct report *r, enum report_severity severity, struct report_mark mark,
                const char *fmt, ...) CV_PRINTF(4, 5);

/* Number of errors so far, 0: the file is good. */
uint32_t report_errors(const struct report *r);
/* The items in the order of their places, or NULL past the end. */
const struct report_item *report_at(const struct report *r, uint32_t index);

/**
 * report_print() - write all items of one severity
 *
 * "file:line:col: message", then the source line and a caret under it; a warning
 * says "warning: " before its message. Control bytes of the file do not reach @out.
 */
void report_print(const struct report *r, enum report_severity severity, FILE *out);

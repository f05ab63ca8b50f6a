/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * yaml_reader - the small, safe part of YAML as a tree with places.
 *
 * Knows YAML, nothing of culvert's keys. Anchors, aliases, tags, merges, a second
 * document, keys that are not text, duplicate keys and deep nesting are errors:
 * they are how a small file becomes a large one, or two readers disagree.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "config/report.h"

enum {
	YAML_DEPTH_MAX = 8,
	YAML_NODES_MAX = 32768, /* a file of 256 KiB that means anything has fewer */
};

enum yaml_kind { YAML_TEXT, YAML_LIST, YAML_MAP };

struct yaml_node {
	enum yaml_kind kind;
	bool is_plain;     /* YAML_TEXT without quotes */
	bool is_in_flow;   /* a text directly inside [ ] or { }; a list or map written so */
	bool is_duplicate; /* a key seen before in its map, and reported */
	struct report_mark mark;
	uint32_t last_line;
	const char *text; /* YAML_TEXT, NUL-terminated; may hold a NUL of its own */
	size_t size;      /* of text */
	const char *key;  /* inside a YAML_MAP, else NULL; as text */
	size_t key_size;
	struct report_mark key_mark;
	struct yaml_node *next;  /* in its list or map */
	struct yaml_node *first; /* YAML_LIST and YAML_MAP */
	uint32_t count;          /* of those */
};

struct yaml_tree {
	struct yaml_node *nodes; /* owned */
	char *text;              /* owned */
	size_t text_size;        /* capacity, for wiping */
	size_t text_used;
	uint32_t node_cap;
	uint32_t node_count;
	uint32_t map_count;     /* nodes that are YAML_MAP */
	struct yaml_node *root; /* NULL for an empty file */
};

/**
 * yaml_reader_parse() - read a text into a tree
 * @report: receives the errors; the text must be attached to it by the caller
 * @out:    receives the tree also when there were errors that leave something
 *          to look at; yaml_reader_deinit() it in every case
 *
 * Time: a hostile text of 256 KiB takes some milliseconds.
 *
 * Return: 0 when @out is worth looking at (the report may hold errors); -EINVAL
 *         when the text is no YAML, or of the refused kind; -ENOMEM.
 */
CV_NODISCARD int yaml_reader_parse(const char *text, size_t size, struct report *report,
                                   struct yaml_tree *out);

/* Wipes and frees: passwords are in there. Safe on a zeroed tree. */
void yaml_reader_deinit(struct yaml_tree *t);

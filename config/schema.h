/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * schema - the one table of keys: name, type, unit, range, default, help, and
 * where the value goes in struct config. Reading, checking, the manual and the
 * example file follow it; a key that is not here does not exist.
 *
 * A key that a version knows but does not do yet carries a *_NOT_YET flag (or a
 * choice that is not is_supported): setting it is an error at its place. Doing
 * it is then one word here.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/compiler.h"

enum schema_type {
	SCHEMA_MAP,       /* .table says what is inside */
	SCHEMA_BOOL,      /* bool */
	SCHEMA_INTEGER,   /* uint32_t, .min .. .max */
	SCHEMA_SIZE,      /* uint64_t bytes, .min .. .max; `64KiB` */
	SCHEMA_RATE,      /* uint64_t bits per second, .min .. .max; `50Mbit` */
	SCHEMA_CHOICE,    /* an enum; .choices */
	SCHEMA_DIRECTORY, /* const char *, resolved */
	SCHEMA_SOCKET,    /* const char *, resolved, fits a sockaddr_un */
	SCHEMA_KEYFILE,   /* struct config_keyfile */
	SCHEMA_KEY,       /* struct config_key */
	SCHEMA_ACCESS,    /* struct config_key, or the word `anyone` */
	SCHEMA_LISTEN,    /* struct config_listen of users: HOST:PORT, PORT on localhost, unix: */
	SCHEMA_TUNNEL,    /* struct config_listen of the tunnel: HOST:PORT, PORT on all addresses */
	SCHEMA_ADDRESS,   /* struct config_host: a host that is connected to over the network */
	SCHEMA_STUN,      /* the same, with STUN's port */
	SCHEMA_TARGET,    /* struct config_host: what the far agent connects to */
	SCHEMA_PATTERN,   /* struct config_pattern, HOST:PORTS[/udp] */
	SCHEMA_ROUTE_HOST, /* struct config_pattern, HOST */
	SCHEMA_PEER,       /* struct config_peer_ref; config_validate() finds the peer */
	SCHEMA_PASSWORD,   /* struct config_user */
};

enum schema_shape {
	SCHEMA_ONE,
	SCHEMA_LIST,
	SCHEMA_ONE_OR_LIST, /* a single value stands for a list of one */
	SCHEMA_NAMED,       /* a mapping from names to values; the order of the file is kept */
};

enum schema_flags {
	SCHEMA_REQUIRED = 1 << 0, /* wherever its map appears */
	SCHEMA_LABEL = 1 << 1,    /* SCHEMA_NAMED: the names are DNS labels */
	SCHEMA_SECRET = 1 << 2,   /* its lines are never shown */
	SCHEMA_NOT_YET = 1 << 3,  /* setting it is refused */
};

struct schema_choice {
	const char *name;
	int value;
	bool is_supported;
};

struct schema_key {
	const char *name;
	enum schema_type type;
	enum schema_shape shape;
	unsigned flags;     /* enum schema_flags */
	uint32_t count_max; /* of elements; lists only */
	size_t offset;      /* in the struct of its table: the value, or the pointer to the array */
	size_t count_offset;  /* of the array's size_t; lists only */
	size_t element_size;  /* of the array; lists only */
	uint64_t min, max;    /* numbers only */
	const char *fallback; /* the default as text; NULL: nothing, or made at load time */
	const char *help;     /* one line for the manual */
	const struct schema_choice *choices; /* ends with a NULL name */
	const struct schema_table *table;    /* SCHEMA_MAP only */
};

struct schema_table {
	const char *title; /* for messages: "a peer" */
	const struct schema_key *keys;
	size_t key_count;
	/* Values that are not set are those of another part of struct config: offset and size
	 * there. Size 0: none. The other part must come first in a file's order of levels. */
	size_t inherit_offset;
	size_t inherit_size;
};

/* Every struct that is an element of an array starts with its mark; of a SCHEMA_NAMED one, its
 * name follows at this offset. */
extern const size_t schema_name_offset;

/* The keys of struct config. */
extern const struct schema_table schema_root;

/* The key called @name, or NULL. */
const struct schema_key *schema_find(const struct schema_table *table, const char *name);

/* The key whose name is most like @name, or NULL when none is like it. */
const char *schema_suggest(const struct schema_table *table, const char *name);

/**
 * schema_is_like() - could @text be a slip for @name?
 * @distance: in: a slip must be closer than this; out: how close it is, when like
 *
 * Distance: insertions, deletions, replacements and swaps of neighbours; at most a
 * third of the name.
 */
bool schema_is_like(const char *text, const char *name, unsigned *distance);

/* The type in words, as "a size with its unit, such as 64KiB". */
const char *schema_type_text(enum schema_type type);

/* All keys as the manual lists them: path, type, range, default, help. */
void schema_write_manual(FILE *out);

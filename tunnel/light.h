/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * light - a session between an agent and a server, the same at both ends: "the same
 * protocol in a smaller size" (protocol rule 2.8). One association with two epochs of raw
 * ChaCha20-Poly1305 keys, a window of 128 packet numbers, a link for messages; no streams.
 *
 * Knows how to open and seal; knows neither addresses nor what the messages say. Never moves: its
 * association points into it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/rng.h"
#include "base/time.h"
#include "tunnel/assoc.h"
#include "tunnel/link.h"
#include "tunnel/replay.h"
#include "tunnel/wire.h"

enum {
	LIGHT_WINDOW = 128,
	LIGHT_PLAIN_MAX = WIRE_DATAGRAM_BASE - WIRE_DATA_OVERHEAD,
	LIGHT_PROBE_MIN = WIRE_PROBE_PLAIN + WIRE_DATA_OVERHEAD, /* smallest PROBE datagram */
};

struct light {
	struct assoc assoc;
	struct epoch epochs[ASSOC_EPOCHS_LIGHT];
	struct link link;
	struct replay window;
	uint64_t window_words[REPLAY_WORDS(LIGHT_WINDOW)];
	uint64_t number_next;
};

enum light_verdict {
	LIGHT_OPENED,
	LIGHT_MALFORMED,
	LIGHT_UNKNOWN, /* no epoch has this index, or it is too old */
	LIGHT_REPLAY,
	LIGHT_FORGED,
};

/* @has_smaller_key: the side that begins rekeys. */
void light_init(struct light *l, struct indexes *indexes, uint64_t owner, bool has_smaller_key,
                const struct rng *rng);
/* Frees indices and messages, wipes every key. */
void light_deinit(struct light *l, cv_time now);
/* The object is a new one: numbers, window and messages of the old are forgotten. */
void light_begin(struct light *l);

/**
 * light_open() - open one DATA or PROBE in place
 * @epoch: the epoch it came under; assoc_on_opened() has been called
 *
 * What was opened begins at @bytes + WIRE_DATA_HEADER.
 */
enum light_verdict light_open(struct light *l, cv_time now, uint8_t *bytes, size_t size,
                              size_t *plain_size, struct epoch **epoch);
/* Seals @plain_size bytes that stand at @packet + WIRE_DATA_HEADER. Return: size of the datagram.
 */
size_t light_seal(struct light *l, struct epoch *e, uint8_t *packet, size_t plain_size);
/* Writes and seals @probe, padded to a datagram of @size or, if that is too small, LIGHT_PROBE_MIN
 * bytes. */
size_t light_write_probe(struct epoch *e, uint8_t *packet, size_t size,
                         const struct wire_probe *probe);
bool light_check(const struct light *l);

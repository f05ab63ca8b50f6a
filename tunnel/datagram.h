/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * datagram - unreliable datagrams of one session: a bounded queue out (256 KiB or 100 ms, fair
 * between flows: fairq), fragments and their reassembly in (64 fragments; 8 reassemblies and 128
 * KiB a session, 500 ms), a bounded queue for the reader. Protocol rule 7.8.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/pool.h"
#include "base/time.h"
#include "tunnel/wire.h"

struct datagrams;

struct datagrams_stats {
	uint64_t sent, received;             /* whole datagrams */
	uint64_t sent_bytes, received_bytes; /* payload */
	uint64_t dropped; /* too old, pushed out, never whole, nobody read them, or no memory */
};

CV_NODISCARD int datagrams_new(struct datagrams **out, struct pool *pool);
void datagrams_free(struct datagrams *d);
/* 0; -EMSGSIZE over 65,507; -ENOBUFS out of memory (dropped, counted). Copies. */
CV_NODISCARD int datagrams_send(struct datagrams *d, cv_time now, uint64_t flow,
                                const uint8_t *bytes, size_t size);
bool datagrams_has_data(const struct datagrams *d);
/* Bytes waiting to be sent, with what they cost in memory. */
size_t datagrams_queued(const struct datagrams *d);
/* Of them, those of @flow, and perhaps of few others. */
size_t datagrams_flow_queued(const struct datagrams *d, uint64_t flow);
/**
 * datagrams_write() - append as much as fits to one packet
 * @most:    the room of a packet with nothing else in it
 * @may_cut: false: this packet is smaller than that, as those before it in its train
 *
 * Drops what is older than 100 ms.
 * Return: bytes written.
 */
size_t datagrams_write(struct datagrams *d, cv_time now, struct wr *w, size_t most, bool may_cut);
/* -EPROTO for impossible fragment numbers, else 0. */
CV_NODISCARD int datagrams_on_frame(struct datagrams *d, cv_time now, const struct wire_frame *f);
bool datagrams_has_arrived(const struct datagrams *d);
/* The next whole datagram. Borrowed, with all those before it, until something arrives or
 * datagrams_settle() is called. */
bool datagrams_next(struct datagrams *d, uint64_t *flow, const uint8_t **bytes, size_t *size);
/* What was read goes, if that was all. */
void datagrams_settle(struct datagrams *d);
cv_time datagrams_deadline(const struct datagrams *d);
void datagrams_on_deadline(struct datagrams *d, cv_time now);
void datagrams_stats(const struct datagrams *d, struct datagrams_stats *out);
bool datagrams_check(const struct datagrams *d);

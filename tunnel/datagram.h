/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * datagram - unreliable datagrams of one session: a bounded queue out (256 KiB or 100 ms, oldest
 * dropped), fragments and their reassembly in (64 fragments; 8 reassemblies and 128 KiB a session,
 * 500 ms). Protocol rule 7.8.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/pool.h"
#include "base/time.h"
#include "tunnel/sent.h"
#include "tunnel/wire.h"

struct datagrams;

CV_NODISCARD int datagrams_new(struct datagrams **out, struct pool *pool);
void datagrams_free(struct datagrams *d);
/* 0; -EMSGSIZE over 65,507 or more than 64 fragments of @packet_room; -ENOBUFS out of memory
 * (dropped, counted). Copies. */
CV_NODISCARD int datagrams_send(struct datagrams *d, cv_time now, uint64_t flow,
                                const uint8_t *bytes, size_t size);
bool datagrams_has_data(const struct datagrams *d);
/* Appends as much as fits, with NOTE_DATAGRAM notes; drops what is older than 100 ms. Returns bytes
 * written. */
size_t datagrams_write(struct datagrams *d, cv_time now, struct wr *w, struct sent *sent);
/* -EPROTO for impossible fragment numbers, else 0. */
CV_NODISCARD int datagrams_on_frame(struct datagrams *d, cv_time now, const struct wire_frame *f);
/* The next whole datagram; borrowed until the next call. */
bool datagrams_next(struct datagrams *d, uint64_t *flow, const uint8_t **bytes, size_t *size);
cv_time datagrams_deadline(const struct datagrams *d);
void datagrams_on_deadline(struct datagrams *d, cv_time now);
bool datagrams_check(const struct datagrams *d);

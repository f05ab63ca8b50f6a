/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * intake - whose datagram is this? By kind, receiver index, channel or key it finds the session or
 * the server that a datagram is for; INITs pass the gate here (rule 9.1). Answers nothing else.
 */

#include "tunnel/endpoint_inner.h"

/* The peer with this key, or NULL. */
struct session *intake_find_peer(const struct endpoint *e, const uint8_t pk[32]);
/* An INIT, bare or relayed, or out of a server's OFFER. */
void intake_init(struct endpoint *e, cv_time now, const struct origin *from, const uint8_t *bytes,
                 size_t size);
/* Anything but RELAY; opened in place. */
void intake_datagram(struct endpoint *e, cv_time now, const struct origin *from, uint8_t *bytes,
                     size_t size);
/* RELAY: taken only from the server in whose session the channel was announced (rule 3.1). */
void intake_relayed(struct endpoint *e, cv_time now, const struct origin *outer, uint8_t *bytes,
                    size_t size);

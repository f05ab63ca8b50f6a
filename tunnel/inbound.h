/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * inbound - what one peer's datagrams do to its session: handshake messages, packets and their
 * frames, probes. Verifies everything before anything changes; the endpoint has found the session
 * by key or index.
 */

#include "tunnel/session.h"

/* An INIT of this peer that passed the gate and its payload: answers into @resp (true), or not. */
bool inbound_on_init(struct session *s, cv_time now, struct handshake_in *in, const uint8_t *init,
                     const struct origin *from, bool is_continuing, uint8_t resp[WIRE_RESP_SIZE]);
void inbound_on_resp(struct session *s, cv_time now, const struct origin *from,
                     const uint8_t *bytes, size_t size);
void inbound_on_cookie(struct session *s, cv_time now, const struct origin *from,
                       const uint8_t *bytes, size_t size);
void inbound_on_version(struct session *s, const uint8_t *bytes, size_t size);
/* DATA or PROBE that names one of our indices. Opened in place. */
void inbound_on_data(struct session *s, cv_time now, const struct origin *from, uint8_t *bytes,
                     size_t size);
void inbound_on_probe(struct session *s, cv_time now, const struct origin *from, uint8_t *bytes,
                      size_t size);
/* Our own addresses changed, and with them what the peer may have us probe: what did not fit before
 * may now be on our LAN, and its owner has no cause to say it again. */
void inbound_on_scope(struct session *s, cv_time now);

/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * liveness - is the peer still there? Servers' news, ICMP refusals, sleep and silence
 * (rules 3.7, 8.4).
 *
 * A silent network is waited for (300 s, 60 s when a server says that the peer is absent). A peer
 * whose host answers but whose process does not is given up within seconds: silence *and* a refusal
 * on every way, or its server saw it end.
 */

#include "tunnel/session.h"

/* News from a server: a hint that may cause a handshake, never a reset by itself (rule 3.7). */
void liveness_on_presence(struct session *s, cv_time now, uint32_t server, bool is_present,
                          bool is_gone);
void liveness_on_refused(struct session *s, cv_time now, uint16_t socket, const struct addr *to);
/* Everything stood still for a while: sleep, SIGSTOP. */
void liveness_on_gap(struct session *s, cv_time now);
/* Resets the streams when the peer is certainly gone. */
void liveness_consider_gone(struct session *s, cv_time now);
/* Streams wait and there is no way: servers that are not there are tried again, whatever pause they
 * are left in; every five seconds. */
void liveness_want_servers(struct session *s, cv_time now);
/* When waiting ends; CV_TIME_NEVER while nothing waits. */
cv_time liveness_linger_at(const struct session *s);

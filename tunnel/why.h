/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * why - in words for the user: why a path is not direct, or why there is none, and when it is tried
 * again. Read from the state that decides, by nobody but vitals.
 */

#include "tunnel/session.h"

/* Of an endpoint's servers: there are none, none of them is connected, one is. */
enum why_servers { WHY_SERVERS_NONE, WHY_SERVERS_DOWN, WHY_SERVERS_UP };

void why_clash(char out[ENDPOINT_WHY_MAX]);
void why_no_session(const struct session *s, cv_time now, enum why_servers servers,
                    char out[ENDPOINT_WHY_MAX]);
/* Why the relay is reached by TCP, if it is: stands in front of the next one's words. */
void why_tcp(const struct path *p, char out[ENDPOINT_WHY_MAX]);
void why_relayed(const struct session *s, cv_time now, char out[ENDPOINT_WHY_MAX]);

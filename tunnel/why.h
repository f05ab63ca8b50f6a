/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * why - in words for the user: why a path is not direct, or why there is none, and when it is tried
 * again. Read from the state that decides, by nobody but vitals.
 */

#include "tunnel/session.h"

void why_clash(char out[ENDPOINT_WHY_MAX]);
void why_no_session(const struct session *s, cv_time now, char out[ENDPOINT_WHY_MAX]);
/* Why the relay is reached by TCP, if it is: stands in front of the next one's words. */
void why_tcp(const struct path *p, char out[ENDPOINT_WHY_MAX]);
void why_relayed(const struct session *s, cv_time now, char out[ENDPOINT_WHY_MAX]);

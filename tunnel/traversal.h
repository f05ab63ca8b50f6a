/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * traversal - the endpoint's order of work where routers are concerned: what servers and interfaces
 * say goes to discovery, what that finds goes to the sessions and to punch, what those want of the
 * shell becomes events. For endpoint.c alone.
 */

#include "tunnel/endpoint_inner.h"

void traversal_init(struct endpoint *e, const struct endpoint_options *opt);
/* A server came up, went, or sees us elsewhere. */
void traversal_on_server(struct endpoint *e, cv_time now, uint32_t server);
/* Our addresses changed, or time stood still: everything may be otherwise. */
void traversal_on_network(struct endpoint *e, cv_time now);
/* A server sees us at another address than before. */
void traversal_on_address(struct endpoint *e, cv_time now, uint32_t server);
/* A peer may see us at another port. */
void traversal_on_session(struct endpoint *e, cv_time now, struct session *s);
/* What changed since the last time; before events are told. */
void traversal_turn(struct endpoint *e, cv_time now);
bool traversal_next_event(struct endpoint *e, cv_time now, struct endpoint_event *out);
/* The agent closes: nothing is asked or tried any more. */
void traversal_close(struct endpoint *e, cv_time now);
bool traversal_write(struct endpoint *e, cv_time now, struct train *out);
cv_time traversal_deadline(const struct endpoint *e);
void traversal_on_deadline(struct endpoint *e, cv_time now);
bool traversal_check(const struct endpoint *e);

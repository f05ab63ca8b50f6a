/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * config_validate - what the values of a configuration must be to each other:
 * names that exist, places to listen that do not collide, proxies that are not
 * open by accident, keys that one role needs.
 */

#include "config/config.h"
#include "config/report.h"

/* Resolves references to peers, then reports what is wrong or strange. Copes with
 * a @config whose values were refused. */
void config_validate(struct config *config, enum config_role role, struct report *report);

/* Reads each key file once, and wipes it: one that is missing or exposed is reported at its place.
 */
void config_validate_keyfiles(const struct config *config, struct report *report);

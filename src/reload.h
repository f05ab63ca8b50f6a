/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * reload - what an agent and a server have in common when their configuration is read again: the
 * file, what of it can be compared, and how the outcome is told, to the command that asked or,
 * after SIGHUP, to the log. What changes is their own.
 */

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>

#include "config/config.h"

/* Reads the configuration again, all of it or nothing; writes lines as `culvert check` does.
 * Return: an exit code. */
typedef int (*reload_function)(void *ctx, FILE *out);

/* The next configuration, or NULL; what is wrong or suspicious about it is written to @report. */
struct config *reload_read(const char *file, enum config_role role, FILE *report);
/* By their addresses; paths of unix sockets are no part of it. */
bool reload_is_same_listen(const struct config_listen *a, size_t a_count,
                           const struct config_listen *b, size_t b_count);
/* Is @sk in that file? It may have moved: it is the key that counts. */
bool reload_is_same_key(const struct config_keyfile *file, const uint8_t sk[KEY_SIZE]);

/* The answer of the control socket: a new reference, or NULL when memory ran out. */
json_t *reload_into_json(reload_function reload, void *ctx);
void reload_into_log(reload_function reload, void *ctx);

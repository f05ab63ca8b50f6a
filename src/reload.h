/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * reload - how a process tells of another configuration: to the command that asked, or, after
 * SIGHUP, to the log. What it does is the agent's and the server's own.
 */

#include <stdio.h>

#include <jansson.h>

/* Reads the configuration again, all of it or nothing; writes lines as `culvert check` does.
 * Return: an exit code. */
typedef int (*reload_function)(void *ctx, FILE *out);

/* The answer of the control socket: a new reference, or NULL when memory ran out. */
json_t *reload_into_json(reload_function reload, void *ctx);
void reload_into_log(reload_function reload, void *ctx);

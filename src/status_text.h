/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * status_text - a status object for people: tables of servers, peers and listeners.
 *
 * Reads the JSON that an agent or server answered, perhaps of another version: a field that is
 * missing or of another type is shown as "-". Everything is escaped before a terminal sees it.
 */

#include <stdio.h>

#include <jansson.h>

/* Prints an agent's or a server's status. */
void status_text_print(const json_t *status, FILE *out);

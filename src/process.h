/* SPDX-License-Identifier: MIT */
#pragma once

/* process - what both long-running commands do to their process before anything else: limits, no
 * core dumps, no dumping of secrets. */

#include <stdbool.h>
#include <stdint.h>

#include "command.h"

/* Raises the descriptor limit (at most 65,536), forbids core dumps and ptrace by equals, warns
 * about root. */
void process_prepare(void);
/* @wanted, or fewer if the descriptors do not suffice: some stay for all that is no connection, so
 * that clients who take every place take nothing else. */
uint32_t process_conns_max(uint32_t wanted);
/* UDP sockets that peers may have opened here: no more than a part of the descriptors, so that
 * datagrams leave some to connections. */
uint32_t process_udp_sockets_max(void);
/* --control, $CULVERT_CONTROL, else @configured. False after an error was printed. */
bool process_control_path(const struct command_line *line, const char *configured,
                          char out[CONFIG_PATH_MAX]);

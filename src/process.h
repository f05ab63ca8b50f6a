/* SPDX-License-Identifier: MIT */
#pragma once

/* process - what both long-running commands do to their process before anything else: limits, no
 * core dumps, no dumping of secrets. */

#include <stdbool.h>

#include "command.h"

/* Raises the descriptor limit (at most 65,536), forbids core dumps and ptrace by equals, warns
 * about root. */
void process_prepare(void);
/* --control, $CULVERT_CONTROL, else @configured. False after an error was printed. */
bool process_control_path(const struct command_line *line, const char *configured,
                          char out[CONFIG_PATH_MAX]);

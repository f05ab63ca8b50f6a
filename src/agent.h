/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * agent - one running `culvert run`: builds the core and its shell from a configuration, connects
 * them, and takes them down in order. The whole process; runs the loop.
 */

#include "command.h"

/* Runs until a signal. @config is borrowed. Return: the process's exit code. */
int agent_run(const struct config *config, const char *control);

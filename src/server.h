/* SPDX-License-Identifier: MIT */
#pragma once

/* server - one running `culvert server`: a hub behind one UDP port, and its control socket. */

#include "command.h"

/* Runs until a signal. @config is borrowed. Return: the process's exit code. */
int server_run(const struct config *config, const char *control);

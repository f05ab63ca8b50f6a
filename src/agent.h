/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * agent - one running `culvert run`: builds the core and its shell from a configuration, connects
 * them, and takes them down in order. The whole process; runs the loop.
 */

#include "command.h"
#include "net/logsink.h"

/* All borrowed. */
struct agent_options {
	const char *control;  /* path of the control socket */
	struct logsink *sink; /* of the log: a reload may change its format */
};

/* Runs until a signal. Takes @config. Return: the process's exit code. */
int agent_run(struct config *config, const struct agent_options *options);

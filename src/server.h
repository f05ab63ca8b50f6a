/* SPDX-License-Identifier: MIT */
#pragma once

/* server - one running `culvert server`: the hub, its port and its control socket. */

#include "command.h"
#include "net/logsink.h"

/* All borrowed. */
struct server_options {
	const char *control;  /* path of the control socket */
	struct logsink *sink; /* of the log: a reload may change its format */
};

/* Runs until a signal. Takes @config. Return: the process's exit code. */
int server_run(struct config *config, const struct server_options *options);

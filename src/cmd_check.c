/* SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "command.h"

int cmd_check(const struct command_line *line)
{
	struct config *config = command_load_config(line, CONFIG_ROLE_CHECK);

	if (!config)
		return EXIT_USAGE;
	config_describe(config, CONFIG_ROLE_CHECK, stdout);
	config_free(config);
	return fflush(stdout) == 0 ? EXIT_DONE : EXIT_FAILED;
}

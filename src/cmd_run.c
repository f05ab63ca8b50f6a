/* SPDX-License-Identifier: MIT */
#include <unistd.h>

#include "agent.h"
#include "net/logsink.h"
#include "process.h"

int cmd_run(const struct command_line *line)
{
	struct config *config = command_load_config(line, CONFIG_ROLE_AGENT);
	char control[CONFIG_PATH_MAX];
	struct logsink sink;

	if (!config)
		return EXIT_USAGE;
	if (!process_control_path(line, config->control, control)) {
		config_free(config);
		return EXIT_USAGE;
	}
	logsink_init(&sink, STDERR_FILENO, config->log.format == CONFIG_LOG_JSON);
	log_init(config->log.level, logsink_write, &sink);
	process_prepare();
	return agent_run(config, &(struct agent_options){ .control = control, .sink = &sink });
}

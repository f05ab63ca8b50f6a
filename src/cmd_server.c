/* SPDX-License-Identifier: MIT */
#include <unistd.h>

#include "base/log.h"
#include "net/logsink.h"
#include "process.h"
#include "server.h"

int cmd_server(const struct command_line *line)
{
	struct config *config = command_load_config(line, CONFIG_ROLE_SERVER);
	char control[CONFIG_PATH_MAX];
	struct logsink sink;

	if (!config)
		return EXIT_USAGE;
	if (!process_control_path(line, config->server.control, control)) {
		config_free(config);
		return EXIT_USAGE;
	}
	logsink_init(&sink, STDERR_FILENO, config->server.log.format == CONFIG_LOG_JSON);
	log_init(config->server.log.level, logsink_write, &sink);
	process_prepare();
	return server_run(config, &(struct server_options){ .control = control, .sink = &sink });
}

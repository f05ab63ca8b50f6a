/* SPDX-License-Identifier: MIT */
#include "reload.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "command.h"

/* @text: what it wrote, free(); NULL when memory ran out. */
static int run(reload_function reload, void *ctx, char **text)
{
	size_t size;
	FILE *out;
	int r;

	*text = NULL;
	out = open_memstream(text, &size);
	if (!out)
		return EXIT_FAILED;
	r = reload(ctx, out);
	if (fclose(out) != 0) {
		free(*text);
		*text = NULL;
	}
	if (r == EXIT_DONE)
		log_info("reloaded");
	else
		log_error("the configuration was not reloaded: nothing has changed");
	return r;
}

json_t *reload_into_json(reload_function reload, void *ctx)
{
	char *text;
	int r = run(reload, ctx, &text);
	json_t *answer;

	if (r == EXIT_DONE)
		answer = json_pack("{s:b}", "ok", 1);
	else
		answer = json_pack("{s:b,s:s,s:i}", "ok", 0, "error", "nothing has changed", "exit",
		                   r);
	/* Of a text that is not UTF-8 there is none: the reader takes UTF-8 only. */
	if (answer && text)
		(void)json_object_set_new(answer, "report", json_string(text));
	free(text);
	return answer;
}

void reload_into_log(reload_function reload, void *ctx)
{
	char *text, *line, *rest;
	int r = run(reload, ctx, &text);

	for (line = text; line && *line; line = rest ? rest : line + strlen(line)) {
		rest = strchr(line, '\n');
		if (rest)
			*rest++ = 0;
		log_write(r == EXIT_DONE ? LOG_WARN : LOG_ERROR, "%s", line);
	}
	free(text);
}

/* SPDX-License-Identifier: MIT */
#include "reload.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/log.h"
#include "command.h"
#include "config/keyfile.h"
#include "config/report.h"

/* ---- what is read ---- */

struct config *reload_read(const char *file, enum config_role role, FILE *report)
{
	struct config *next = NULL;
	struct report r;
	int error;

	report_init(&r, file);
	error = config_load(file, role, &r, &next);
	if (error < 0)
		report_print(&r, REPORT_ERROR, report);
	report_print(&r, REPORT_WARNING, report);
	report_deinit(&r);
	return error < 0 ? NULL : next;
}

bool reload_is_same_listen(const struct config_listen *a, size_t a_count,
                           const struct config_listen *b, size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++) {
		if (a[i].addr_count != b[i].addr_count)
			return false;
		for (uint8_t k = 0; k < a[i].addr_count; k++) {
			if (!addr_equal(&a[i].addrs[k], &b[i].addrs[k]))
				return false;
		}
	}
	return true;
}

bool reload_is_same_key(const struct config_keyfile *file, const uint8_t sk[KEY_SIZE])
{
	char why[KEYFILE_WHY_MAX];
	uint8_t *next = sodium_malloc(KEY_SIZE);
	bool is_same = next && keyfile_read(file->path, next, why) == 0 &&
	               sodium_memcmp(next, sk, KEY_SIZE) == 0;

	sodium_free(next);
	return is_same;
}

/* ---- what is told ---- */

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

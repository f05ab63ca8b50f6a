/* SPDX-License-Identifier: MIT */

/*
 * Any bytes as a configuration file. Oracles besides the sanitizers: a refusal
 * has a reason, and every place it names lies in the file; reading it again gives
 * the same report and the same description; nothing stays allocated.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "config/config.h"

/* What one reading said: the report, then the description. */
static char *read_once(const char *text, size_t size, int *result)
{
	struct report report;
	struct config *config = NULL;
	char *said = NULL;
	size_t said_size = 0;
	FILE *out = open_memstream(&said, &said_size);
	uint32_t line_count = 1;
	const struct report_item *item;

	CV_ASSERT(out);
	for (size_t i = 0; i < size; i++)
		line_count += text[i] == '\n';

	report_init(&report, "culvert.yaml");
	*result = config_parse("culvert.yaml", text, size, CONFIG_ROLE_CHECK, &report, &config);
	CV_ASSERT(*result == 0 || *result == -EINVAL);
	CV_ASSERT((*result == 0) == (config != NULL));
	CV_ASSERT((*result == 0) == (report_errors(&report) == 0));
	for (uint32_t i = 0; (item = report_at(&report, i)) != NULL; i++) {
		CV_ASSERT(item->message[0] != '\0');
		CV_ASSERT(item->mark.line <= line_count);
		CV_ASSERT(item->mark.line == 0 || item->mark.column >= 1);
		CV_ASSERT(item->mark.column <= size + 1);
		/* Only a file as a whole, or one that cannot be shown, has no source. */
		CV_ASSERT(item->mark.line == 0 || item->has_source || report.hidden_count > 0);
	}
	report_print(&report, REPORT_ERROR, out);
	report_print(&report, REPORT_WARNING, out);
	if (config)
		config_describe(config, CONFIG_ROLE_CHECK, out);
	CV_ASSERT(fclose(out) == 0);
	config_free(config);
	report_deinit(&report);
	return said;
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint64_t live = cv_alloc_live();
	int first_result;
	int second_result;
	char *first = read_once((const char *)data, size, &first_result);
	char *second = read_once((const char *)data, size, &second_result);

	CV_ASSERT(first_result == second_result);
	CV_ASSERT(strcmp(first, second) == 0);
	free(first);
	free(second);
	CV_ASSERT(cv_alloc_live() == live);
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */

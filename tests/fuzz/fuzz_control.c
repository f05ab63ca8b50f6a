/* SPDX-License-Identifier: MIT */

/*
 * What a client of the control socket may send: lines, each a request.
 *
 * Oracles besides the sanitizers: a request that is accepted has a peer that is a label and a
 * target that the tunnel understands; one that is refused leaves the output alone; the refusal is
 * one short line of JSON that says the sentence again.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <jansson.h>

#include "base/compiler.h"
#include "request.h"

static void check_accepted(const struct request *r)
{
	struct hostport target;
	const char *why;

	if (r->verb == REQUEST_PING || r->verb == REQUEST_NC || r->verb == REQUEST_FORWARD)
		CV_ASSERT(host_label_is_valid(r->peer, strlen(r->peer)));
	if (r->verb == REQUEST_NC || r->verb == REQUEST_FORWARD)
		CV_ASSERT(hostport_parse(r->target, 0, &target, &why) == 0);
}

static void check_refusal(const char *why)
{
	char line[REQUEST_LINE_MAX];
	size_t size = request_write_error(line, 2, why);
	json_t *object;

	CV_ASSERT(size > 0 && size < sizeof(line));
	CV_ASSERT(memchr(line, '\n', size) == line + size - 1);
	object = json_loadb(line, size, JSON_REJECT_DUPLICATES, NULL);
	CV_ASSERT(object);
	CV_ASSERT(json_is_false(json_object_get(object, "ok")));
	CV_ASSERT(json_integer_value(json_object_get(object, "exit")) == 2);
	/* What is said is printable already: it must come back as it was. */
	CV_ASSERT(strcmp(json_string_value(json_object_get(object, "error")), why) == 0);
	json_decref(object);
}

static void check_line(const char *line, size_t size)
{
	struct request request, before;
	char why[REQUEST_WHY_MAX];
	int r;

	memset(&request, 0x5a, sizeof(request));
	memcpy(&before, &request, sizeof(request));
	r = request_parse(line, size, &request, why);
	if (r == 0) {
		check_accepted(&request);
		return;
	}
	CV_ASSERT(memcmp(&before, &request, sizeof(request)) == 0);
	CV_ASSERT(memchr(why, 0, sizeof(why)));
	check_refusal(why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *at = (const char *)data;
	const char *newline;

	while (size > 0 && (newline = memchr(at, '\n', size)) != NULL) {
		check_line(at, (size_t)(newline - at));
		size -= (size_t)(newline - at) + 1;
		at = newline + 1;
	}
	if (size > 0)
		check_line(at, size);
	return 0;
}

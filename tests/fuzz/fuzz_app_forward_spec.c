/* SPDX-License-Identifier: MIT */

/*
 * What a user may type behind `culvert forward PEER`.
 *
 * Oracles besides the sanitizers: what is accepted is a target and a place that the agent can read;
 * what is refused leaves the output alone and says why.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "forward_spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct forward_spec spec = { .listen = "before", .target = "before" };
	char text[1024] = { 0 }, why[FORWARD_SPEC_WHY_MAX] = "", listen[HOSTPORT_TEXT_MAX];
	struct hostport h;
	const char *cause;

	memcpy(text, data, CV_MIN(size, sizeof(text) - 1));
	if (forward_spec_parse(text, &spec, why) < 0) {
		CV_ASSERT(why[0] && strcmp(spec.listen, "before") == 0);
	} else {
		const char *place = spec.listen[0] == '*' ? spec.listen + 2 : spec.listen;

		CV_ASSERT(hostport_parse(spec.target, 0, &h, &cause) == 0);
		CV_ASSERT(hostport_parse(place, 0, &h, &cause) == 0);
		CV_ASSERT(h.kind != HOST_SERVICE);
	}
	why[0] = 0;
	if (forward_spec_parse_listen(text, listen, why) < 0)
		CV_ASSERT(why[0]);
	return 0;
}
